//! Vehicles under an autopilot that speaks MAVLink, such as PX4.
//!
//! `vehicle` is a MAVLink system id, 1 to 255; 0 is the only vehicle there is. Nothing here waits: a command is a
//! [`Ticket`], whose [`result`](Ticket::result) is asked for in later ticks.
//!
//! What is heard of a vehicle is kept as the device last heard it; [`STALE`] says that this is too long ago to be
//! relied upon.

use crate::{Errno, Result, errno::check, raw};

/// In `flags`: nothing was heard for too long, so the rest is how it was and perhaps not how it is.
pub const STALE: u8 = 1;
/// In a status's `flags`: motors may turn.
pub const ARMED: u8 = 2;
/// A number that the vehicle does not know.
pub const UNKNOWN: i32 = i32::MIN;
/// A battery's `remaining` that the vehicle does not know.
pub const UNKNOWN_PERCENT: u8 = u8::MAX;
/// A command's `frame` that has none: its parameters are no position.
pub const NO_FRAME: u8 = u8::MAX;

/// A command: `MAV_CMD` of MAVLink's common messages, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct VehicleCommand {
    /// `MAV_CMD`, which also says what the parameters are and in which units.
    pub command: u16,
    /// MAVLink system id of the vehicle; 0 is the only one there is.
    pub vehicle: u8,
    /// MAVLink component id of what is to carry it out; 0 is the autopilot.
    pub component: u8,
    /// `MAV_FRAME` of a command about a position: parameters 5 and 6 are degrees of latitude and longitude, or metres
    /// in a local frame, and parameter 7 metres. [`NO_FRAME`] if it is not about one.
    pub frame: u8,
    /// Parameter 1. Not a number stands for what the command leaves to the vehicle, here and below.
    pub param1: f32,
    /// Parameter 2.
    pub param2: f32,
    /// Parameter 3.
    pub param3: f32,
    /// Parameter 4.
    pub param4: f32,
    /// Parameter 5. Without a frame it is carried as `f32`.
    pub param5: f64,
    /// Parameter 6. Without a frame it is carried as `f32`.
    pub param6: f64,
    /// Parameter 7.
    pub param7: f32,
}

impl Default for VehicleCommand {
    /// Command 0 to the autopilot of the only vehicle, about no position, with zeros.
    fn default() -> Self {
        let ([param1, param2, param3, param4, param7], [param5, param6]) = Default::default();
        let (command, vehicle, component, frame) = (0, 0, 0, NO_FRAME);
        VehicleCommand {
            command,
            vehicle,
            component,
            frame,
            param1,
            param2,
            param3,
            param4,
            param5,
            param6,
            param7,
        }
    }
}

/// How a vehicle is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VehicleStatus {
    /// Time since the heartbeat it is from, in milliseconds.
    pub age_ms: u32,
    /// [`STALE`] from 3 seconds on, [`ARMED`].
    pub flags: u8,
    /// MAVLink system id.
    pub vehicle: u8,
    /// `MAV_TYPE`: 1 fixed wing, 2 quadrotor, 10 rover, …
    pub kind: u8,
    /// `MAV_AUTOPILOT`: 12 PX4, 3 ArduPilot, …
    pub autopilot: u8,
    /// `MAV_MODE_FLAG`, bits.
    pub base_mode: u8,
    /// `MAV_STATE`: 3 standby, 4 active, 5 critical, 6 emergency, …
    pub system_status: u8,
    /// `MAV_LANDED_STATE`: 0 unknown, 1 on ground, 2 in air, 3 taking off, 4 landing.
    pub landed_state: u8,
    /// `MAV_VTOL_STATE`: 0 no VTOL or unknown, 3 multicopter, 4 fixed wing.
    pub vtol_state: u8,
    /// The autopilot's own mode. PX4: main mode in bits 16 to 23, sub mode in bits 24 to 31.
    pub custom_mode: u32,
    /// `MAV_SYS_STATUS_SENSOR`, bits: what it has; 0 if unknown.
    pub sensors_present: u32,
    /// What of it is in use.
    pub sensors_enabled: u32,
    /// What of it is well.
    pub sensors_health: u32,
    /// How busy the autopilot is, in thousandths.
    pub load: u16,
    /// Messages to it that were lost, in hundredths of a percent.
    pub drop_rate: u16,
}

/// How a vehicle's battery is: of several the one with the lowest number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BatteryStatus {
    /// Time since it was heard, in milliseconds.
    pub age_ms: u32,
    /// [`STALE`] from 5 seconds on.
    pub flags: u8,
    /// Which battery; 255 if the vehicle does not number them.
    pub id: u8,
    /// What is left, in percent; [`UNKNOWN_PERCENT`].
    pub remaining: u8,
    /// `MAV_BATTERY_CHARGE_STATE`: 0 unknown, 1 good, 2 low, 3 critical, 4 emergency, …
    pub charge_state: u8,
    /// Of all its cells, in millivolts; [`UNKNOWN`].
    pub voltage: i32,
    /// What is drawn, in milliamperes; [`UNKNOWN`].
    pub current: i32,
    /// What was drawn since the start, in milliampere hours; [`UNKNOWN`].
    pub consumed: i32,
    /// In thousandths of a degree Celsius; [`UNKNOWN`].
    pub temperature: i32,
    /// For how long it lasts, in seconds; [`UNKNOWN`].
    pub time_remaining: i32,
    /// `MAV_BATTERY_FAULT`, bits.
    pub faults: u32,
}

/// Where a vehicle is, from the place where its estimator started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct LocalPosition {
    /// Time since it was heard, in milliseconds.
    pub age_ms: u32,
    /// [`STALE`] from 1 second on.
    pub flags: u8,
    /// Since the vehicle started, in milliseconds.
    pub time_boot_ms: u32,
    /// North, in metres.
    pub x: f32,
    /// East, in metres.
    pub y: f32,
    /// Down, in metres: below zero is up.
    pub z: f32,
    /// To the north, in metres per second.
    pub vx: f32,
    /// To the east, in metres per second.
    pub vy: f32,
    /// Downwards, in metres per second.
    pub vz: f32,
}

/// A parameter of a vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct VehicleParameter {
    /// Its value: whole, if `kind` is that of whole numbers; not a number if it is of another kind than those below.
    pub value: f64,
    /// `MAV_PARAM_TYPE`: 1, 3 and 5 whole numbers of 8, 16 and 32 bits, 2, 4 and 6 those with a sign, 9 `f32`.
    pub kind: u8,
}

/// A command that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(i32);

/// What a vehicle answered to a command: `MAV_RESULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does it, or has done it.
    Accepted,
    /// It cannot now, and may later.
    TemporarilyRejected,
    /// It will not.
    Denied,
    /// It does not know the command.
    Unsupported,
    /// It tried.
    Failed,
    /// Something else put an end to it.
    Cancelled,
    /// Another number.
    Other(u8),
}

impl Ticket {
    /// What the vehicle answered.
    ///
    /// # Errors
    /// `Busy` while the command is under way, `TimedOut` if the vehicle does not answer, `NotFound` if 16 commands came
    /// after it.
    pub fn result(self) -> Result<Outcome> {
        Ok(match check(raw::vehicle_command_result(self.0))? {
            0 => Outcome::Accepted,
            1 => Outcome::TemporarilyRejected,
            2 => Outcome::Denied,
            3 => Outcome::Unsupported,
            4 => Outcome::Failed,
            6 => Outcome::Cancelled,
            other => Outcome::Other(other as u8),
        })
    }
}

/// Sends a command.
///
/// # Errors
/// `NotFound` if the vehicle was never heard of, or 0 and there are several; `Busy` if too many commands are under way.
pub fn send(command: &VehicleCommand) -> Result<Ticket> {
    let at: *const VehicleCommand = command;
    // SAFETY: pointer and length are those of the structure.
    ticket(unsafe { raw::send_vehicle_command(at.cast(), size_of::<VehicleCommand>()) })
}

/// Lets motors turn.
///
/// # Errors
/// As for [`send`].
pub fn arm(vehicle: u8) -> Result<Ticket> {
    ticket(raw::arm_vehicle(vehicle.into()))
}

/// Stops motors; the vehicle refuses that in the air.
///
/// # Errors
/// As for [`send`].
pub fn disarm(vehicle: u8) -> Result<Ticket> {
    ticket(raw::disarm_vehicle(vehicle.into()))
}

/// Goes up so many metres above the place where it started.
///
/// # Errors
/// As for [`send`]; `Busy` too as long as the vehicle does not know how high that place is, `Invalid` if it is not up.
pub fn takeoff(vehicle: u8, altitude: f32) -> Result<Ticket> {
    ticket(raw::takeoff(vehicle.into(), altitude))
}

/// Lands where it is.
///
/// # Errors
/// As for [`send`].
pub fn land(vehicle: u8) -> Result<Ticket> {
    ticket(raw::land(vehicle.into()))
}

/// How a vehicle is.
///
/// # Errors
/// `NotFound` if that was never heard.
pub fn status(vehicle: u8) -> Result<VehicleStatus> {
    let mut status = VehicleStatus::default();
    let at = (&raw mut status).cast();
    // SAFETY: pointer and length are those of the structure, which has the layout of what is written.
    written(unsafe { raw::get_vehicle_status(vehicle.into(), at, size_of::<VehicleStatus>()) }, status)
}

/// How its battery is.
///
/// # Errors
/// As for [`status`].
pub fn battery(vehicle: u8) -> Result<BatteryStatus> {
    let mut status = BatteryStatus::default();
    let at = (&raw mut status).cast();
    // SAFETY: as for `status`.
    written(unsafe { raw::get_battery_status(vehicle.into(), at, size_of::<BatteryStatus>()) }, status)
}

/// Where it is.
///
/// # Errors
/// As for [`status`].
pub fn local_position(vehicle: u8) -> Result<LocalPosition> {
    let mut position = LocalPosition::default();
    let (at, room) = ((&raw mut position).cast(), size_of::<LocalPosition>());
    // SAFETY: as for `status`.
    written(unsafe { raw::get_vehicle_local_position(vehicle.into(), at, room) }, position)
}

/// One of its parameters, such as `MPC_XY_VEL_MAX`; names have at most 16 bytes. The first call asks the vehicle, and a
/// later one has the answer, once and within 5 seconds: call again in the next tick.
///
/// # Errors
/// `Busy` until the vehicle has answered, and if 16 answers are waited for or not fetched; `TimedOut` if it does not
/// answer, `NotFound` if it says that it has none of this name, or was never heard of, `Denied` if it does not tell it,
/// `Io` if it cannot.
pub fn parameter(vehicle: u8, name: &str) -> Result<VehicleParameter> {
    let mut parameter = VehicleParameter::default();
    let (at, room) = ((&raw mut parameter).cast(), size_of::<VehicleParameter>());
    // SAFETY: as for `status`; the name is readable as long as it is.
    let answer = unsafe { raw::get_vehicle_parameter(vehicle.into(), name.as_ptr(), name.len(), at, room) };
    written(answer, parameter)
}

fn ticket(answer: i32) -> Result<Ticket> {
    check(answer).map(|number| Ticket(number.cast_signed()))
}

/// The structure, if all of it was written.
fn written<T>(answer: i32, structure: T) -> Result<T> {
    if check(answer)? as usize == size_of::<T>() { Ok(structure) } else { Err(Errno::Other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_what_devices_read_and_write() {
        assert_eq!(size_of::<VehicleCommand>(), 48);
        assert_eq!(size_of::<VehicleStatus>(), 32);
        assert_eq!(size_of::<BatteryStatus>(), 32);
        assert_eq!(size_of::<LocalPosition>(), 36);
        assert_eq!(size_of::<VehicleParameter>(), 16);
    }
}
