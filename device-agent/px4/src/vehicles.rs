//! All vehicles on a link, and the commands to them.

use alloc::vec::Vec;

use wasmbed_abi::{
    BatteryStatus, Errno, LocalPosition, NO_FRAME, ParameterName, VehicleCommand, VehicleParameter,
    VehicleStatus,
};
use wasmbed_wire::message::HeardVehicle;

use crate::{
    messages::{
        COMMAND_ACK, Fields, HEARTBEAT, Message, NO_AUTOPILOT, PARAM_ERROR, PARAM_VALUE, SET_MESSAGE_INTERVAL,
    },
    requests::Requests,
    vehicle::Vehicle,
};

/// Time between two heartbeats of this device, in milliseconds (MAVLink guide, Heartbeat protocol).
const HEARTBEAT_MS: u64 = 1_000;
/// `MAV_COMP_ID_AUTOPILOT1`.
const AUTOPILOT: u8 = 1;
/// `MAV_PARAM_ERROR`: there is no such parameter, it is not told, there is no such component.
const DOES_NOT_EXIST: u8 = 1;
const PERMISSION_DENIED: u8 = 3;
const COMPONENT_NOT_FOUND: u8 = 4;

/// MAVLink system id of a device that is given no other: a system of its own.
pub const SYSTEM: u8 = 245;
/// Its component id, `MAV_COMP_ID_ONBOARD_COMPUTER`.
pub const COMPONENT: u8 = 191;

/// Who this device is to vehicles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// MAVLink system id, 1 to 255.
    pub system: u8,
    /// MAVLink component id, 1 to 255.
    pub component: u8,
    /// Most vehicles at once; each takes less than 400 bytes.
    pub vehicles: usize,
}

/// Who sent a message, or is to get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// MAVLink system id.
    pub system: u8,
    /// MAVLink component id.
    pub component: u8,
}

/// Whose commands they are: one cannot ask for what became of those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub u32);

/// Vehicles, and what they were asked to do or to say. `now` is in milliseconds and never goes back.
#[derive(Debug)]
pub struct Vehicles {
    config: Config,
    vehicles: Vec<Vehicle>,
    requests: Requests,
    heartbeat_due: u64,
}

impl Vehicles {
    /// None are known yet.
    pub fn new(config: Config) -> Self {
        Vehicles { config, vehicles: Vec::new(), requests: Requests::default(), heartbeat_due: 0 }
    }

    /// Takes a message whose frame was in order; others than those that matter are ignored, whatever they hold.
    pub fn on_message(&mut self, now: u64, from: Source, id: u32, payload: &[u8]) {
        let fields = Fields(payload);
        match id {
            COMMAND_ACK => return self.on_ack(now, from, fields),
            PARAM_VALUE => return self.on_parameter(now, from, fields),
            PARAM_ERROR => return self.on_parameter_error(now, from, fields),
            _ => {}
        }
        // Cameras and ground stations say that they are there too.
        let is_vehicle = from.component == AUTOPILOT && from.system != 0;
        if !is_vehicle || id == HEARTBEAT && fields.u8(5) == NO_AUTOPILOT {
            return;
        }
        match self.vehicles.iter_mut().find(|vehicle| vehicle.system == from.system) {
            Some(known) => known.on_message(now, id, fields),
            None if id == HEARTBEAT => self.add(now, Vehicle::new(now, from.system, fields)),
            None => {}
        }
    }

    fn add(&mut self, now: u64, vehicle: Vehicle) {
        if self.vehicles.len() >= self.config.vehicles {
            // Whoever was silent longest makes room, if nobody hears it any more.
            let silent = self.vehicles.iter().enumerate().filter(|(_, known)| known.is_stale(now));
            let Some((nth, _)) = silent.min_by_key(|(_, known)| known.heartbeat_ms()) else { return };
            self.vehicles.swap_remove(nth);
        }
        if self.vehicles.try_reserve(1).is_ok() {
            self.vehicles.push(vehicle);
        }
    }

    fn on_ack(&mut self, now: u64, from: Source, fields: Fields<'_>) {
        // Senders of before MAVLink 2 do not say whom they answer.
        if self.is_for_us(fields.u8(8), fields.u8(9)) {
            self.requests.on_ack(now, from, fields.u16(0), fields.u8(2));
        }
    }

    fn on_parameter(&mut self, now: u64, from: Source, fields: Fields<'_>) {
        let vehicle = self.vehicles.iter().find(|vehicle| vehicle.system == from.system);
        let (Some(vehicle), Some(name)) = (vehicle, fields.parameter_name(8)) else { return };
        self.requests.on_parameter(now, from, name, Ok(fields.parameter(vehicle.sends_floats())));
    }

    fn on_parameter_error(&mut self, now: u64, from: Source, fields: Fields<'_>) {
        let Some(name) = fields.parameter_name(4).filter(|_| self.is_for_us(fields.u8(2), fields.u8(3)))
        else {
            return;
        };
        let why = match fields.u8(20) {
            DOES_NOT_EXIST | COMPONENT_NOT_FOUND => Errno::NotFound,
            PERMISSION_DENIED => Errno::Denied,
            _ => Errno::Io,
        };
        self.requests.on_parameter(now, from, name, Err(why));
    }

    /// Whether an answer is to this device, or to whom it may concern.
    const fn is_for_us(&self, system: u8, component: u8) -> bool {
        (system == 0 || system == self.config.system)
            && (component == 0 || component == self.config.component)
    }

    /// The next message to send. Without a link they are lost like those on it.
    pub fn poll_message(&mut self, now: u64) -> Option<Message> {
        if self.heartbeat_due <= now {
            self.heartbeat_due = now + HEARTBEAT_MS;
            return Some(Message::heartbeat());
        }
        if let Some(message) = self.requests.next_message(now) {
            return Some(message);
        }
        let requests = &self.requests;
        // Its acknowledgement would be taken for that of the module's command.
        let may_ask = |vehicle: &&mut Vehicle| !requests.awaits(vehicle.system, SET_MESSAGE_INTERVAL);
        self.vehicles.iter_mut().filter(may_ask).find_map(|vehicle| {
            let (id, interval_us) = vehicle.next_request(now)?;
            let command = VehicleCommand {
                command: SET_MESSAGE_INTERVAL,
                frame: NO_FRAME,
                // Both are small.
                param1: id as f32,
                param2: interval_us as f32,
                ..VehicleCommand::default()
            };
            Some(Message::command(&command, vehicle.system, AUTOPILOT, 0))
        })
    }

    /// When [`poll_message`](Vehicles::poll_message) may have something next.
    pub fn next_deadline(&self, now: u64) -> u64 {
        let there = self.vehicles.iter().filter(|vehicle| {
            !vehicle.is_stale(now) && !self.requests.awaits(vehicle.system, SET_MESSAGE_INTERVAL)
        });
        let asked = there.map(Vehicle::next_deadline).min().unwrap_or(u64::MAX);
        self.heartbeat_due.min(self.requests.next_deadline()).min(asked)
    }

    /// Gives a vehicle a command and returns its ticket.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if the vehicle was never heard of, or is to be the only one and is not; [`Errno::Busy`] if
    /// all commands that an owner may have are under way.
    pub fn send(&mut self, owner: Owner, command: VehicleCommand) -> Result<u32, Errno> {
        let system = self.vehicle(command.vehicle)?.system;
        let component = if command.component == 0 { AUTOPILOT } else { command.component };
        self.requests.command(owner, Source { system, component }, command)
    }

    /// Has a vehicle go up to so many metres above the place where it started.
    ///
    /// # Errors
    /// As for [`send`](Vehicles::send); [`Errno::Busy`] too as long as the vehicle does not say how high that place is.
    pub fn takeoff(&mut self, owner: Owner, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        let above = self.vehicle(vehicle)?.above_home(altitude).ok_or(Errno::Busy)?;
        self.send(owner, VehicleCommand::takeoff(vehicle, above))
    }

    /// The `MAV_RESULT` that a vehicle answered to a command.
    ///
    /// # Errors
    /// [`Errno::Busy`] while it is under way, [`Errno::TimedOut`] if nobody answered, [`Errno::NotFound`] if the owner has
    /// no such ticket.
    pub fn result(&self, owner: Owner, ticket: u32) -> Result<u8, Errno> {
        self.requests.result(owner, ticket)
    }

    /// What a vehicle answered to the question for a parameter, told once. Whoever did not ask before, or left the answer
    /// for [`ANSWER_STALE_MS`](wasmbed_abi::ANSWER_STALE_MS), asks.
    ///
    /// # Errors
    /// [`Errno::Busy`] until it has answered, or while all that an owner may have is under way; [`Errno::TimedOut`] if it
    /// does not; [`Errno::NotFound`] if it says that it has no such parameter, was never heard of, or is to be the only one
    /// and is not; [`Errno::Denied`] if it does not tell it, [`Errno::Io`] if it cannot.
    pub fn parameter(
        &mut self,
        now: u64,
        owner: Owner,
        vehicle: u8,
        name: ParameterName,
    ) -> Result<VehicleParameter, Errno> {
        let system = self.vehicle(vehicle)?.system;
        self.requests.parameter(now, owner, Source { system, component: AUTOPILOT }, name)
    }

    /// Forgets an owner: its commands are not sent again, and nobody asks for their results.
    pub fn forget(&mut self, owner: Owner) {
        self.requests.forget(owner);
    }

    /// How a vehicle is.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if that was never heard, or it is to be the only vehicle and is not.
    pub fn status(&self, now: u64, vehicle: u8) -> Result<VehicleStatus, Errno> {
        Ok(self.vehicle(vehicle)?.status(now))
    }

    /// How its battery is.
    ///
    /// # Errors
    /// As for [`status`](Vehicles::status).
    pub fn battery(&self, now: u64, vehicle: u8) -> Result<BatteryStatus, Errno> {
        self.vehicle(vehicle)?.battery(now)
    }

    /// Where it is.
    ///
    /// # Errors
    /// As for [`status`](Vehicles::status).
    pub fn position(&self, now: u64, vehicle: u8) -> Result<LocalPosition, Errno> {
        self.vehicle(vehicle)?.position(now)
    }

    /// How all of them are, as many as there is room for: those that are heard before those that were.
    pub fn heard(&self, now: u64, heard: &mut [HeardVehicle]) -> usize {
        let of = |stale: bool| self.vehicles.iter().filter(move |vehicle| vehicle.is_stale(now) == stale);
        let mut count = 0;
        for (place, vehicle) in heard.iter_mut().zip(of(false).chain(of(true))) {
            *place = vehicle.heard_as(now);
            count += 1;
        }
        count
    }

    fn vehicle(&self, system: u8) -> Result<&Vehicle, Errno> {
        match (system, self.vehicles.as_slice()) {
            (0, [only]) => Ok(only),
            (0, _) => Err(Errno::NotFound),
            (_, all) => all.iter().find(|vehicle| vehicle.system == system).ok_or(Errno::NotFound),
        }
    }
}

#[cfg(test)]
mod tests;
