//! Vehicles at the end of the board's line to an autopilot.
//!
//! The board is silent there until something has come or a module has asked. Where neither happens, the line takes neither
//! time nor heap.
//!
//! Frames are not signed, and signatures of those that come are not looked at: a signature has the time in it, which a board
//! does not know, and the line has one end.

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    fmt,
};

use wasmbed_abi::{
    BatteryStatus, Errno, LocalPosition, ParameterName, VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_px4::{COMPONENT, Config, Deframer, Framer, Order, Owner, SENT_BYTES, SYSTEM, Vehicles};
use wasmbed_runtime::Host as _;
use wasmbed_wire::{message::HeardVehicle, topic::Level};

use super::{Modules, host::ModuleHost};
use crate::{Board, Serial, port::Port};

/// Who the board is to vehicles, and of how many it keeps how they are.
const OWN: Config = Config { system: SYSTEM, component: COMPONENT, vehicles: 4 };
/// Bytes taken from the line at once.
const READ_BYTES: usize = 64;
/// Longest line about an order.
const ORDER_BYTES: usize = 64;

/// The board's end of the line; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Autopilot(Rc<Shared>);

#[derive(Default)]
struct Shared {
    /// Pilots so far.
    pilots: Cell<u32>,
    /// Once the line is used.
    link: RefCell<Option<Box<Link>>>,
}

/// What one module has to do with vehicles. Its commands are not sent again once it is dropped.
pub(super) struct Pilot {
    autopilot: Autopilot,
    owner: Owner,
}

impl Autopilot {
    /// That of the board.
    pub(super) fn of<B>(port: &Port<B>) -> Self {
        port.autopilot.clone()
    }

    /// The vehicles on the line, as many as there is room for; none before the line is used.
    pub(crate) fn heard(&self, now_ms: u64, heard: &mut [HeardVehicle]) -> usize {
        self.0.link.borrow().as_ref().map_or(0, |link| link.vehicles.heard(now_ms, heard))
    }

    /// A module's handle.
    pub(super) fn pilot(&self) -> Pilot {
        let number = self.0.pilots.get();
        self.0.pilots.set(number.wrapping_add(1));
        Pilot { autopilot: self.clone(), owner: Owner(number) }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if let Some(link) = &mut *self.autopilot.0.link.borrow_mut() {
            link.vehicles.forget(self.owner);
        }
    }
}

pub(super) fn send<B: Board>(host: &mut ModuleHost<B>, command: VehicleCommand) -> Result<u32, Errno> {
    let ticket = with(host, |_, owner, vehicles| vehicles.send(owner, command))?;
    note(host, Order::Command(command));
    Ok(ticket)
}

pub(super) fn takeoff<B: Board>(host: &mut ModuleHost<B>, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
    let ticket = with(host, |_, owner, vehicles| vehicles.takeoff(owner, vehicle, altitude))?;
    note(host, Order::TakeOff { vehicle, altitude });
    Ok(ticket)
}

pub(super) fn result<B: Board>(host: &mut ModuleHost<B>, ticket: u32) -> Result<u8, Errno> {
    with(host, |_, owner, vehicles| vehicles.result(owner, ticket))
}

pub(super) fn status<B: Board>(host: &mut ModuleHost<B>, vehicle: u8) -> Result<VehicleStatus, Errno> {
    with(host, |now_ms, _, vehicles| vehicles.status(now_ms, vehicle))
}

pub(super) fn battery<B: Board>(host: &mut ModuleHost<B>, vehicle: u8) -> Result<BatteryStatus, Errno> {
    with(host, |now_ms, _, vehicles| vehicles.battery(now_ms, vehicle))
}

pub(super) fn position<B: Board>(host: &mut ModuleHost<B>, vehicle: u8) -> Result<LocalPosition, Errno> {
    with(host, |now_ms, _, vehicles| vehicles.position(now_ms, vehicle))
}

pub(super) fn parameter<B: Board>(
    host: &mut ModuleHost<B>,
    vehicle: u8,
    name: ParameterName,
) -> Result<VehicleParameter, Errno> {
    with(host, |now_ms, owner, vehicles| vehicles.parameter(now_ms, owner, vehicle, name))
}

/// Asks or commands; a board without such a line has no vehicles.
fn with<B: Board, R>(
    host: &mut ModuleHost<B>,
    act: impl FnOnce(u64, Owner, &mut Vehicles) -> Result<R, Errno>,
) -> Result<R, Errno> {
    if host.port.board.borrow_mut().autopilot().is_none() {
        return Err(Errno::Unsupported);
    }
    let now_ms = host.port.now_ms();
    let Pilot { autopilot, owner } = &host.px4;
    let mut link = autopilot.0.link.borrow_mut();
    act(now_ms, *owner, &mut link.get_or_insert_default().vehicles)
}

/// Leaves a trace of who moved a vehicle, at the broker or on the console.
fn note<B: Board>(host: &mut ModuleHost<B>, order: Order) {
    let mut text = heapless::String::<ORDER_BYTES>::new();
    // As long as it can be.
    let _ = fmt::write(&mut text, format_args!("{order}"));
    let _ = host.log(Level::Info, &text);
}

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    /// Takes in what has come on the line, and says what is due.
    #[inline(never)]
    pub(crate) fn poll_px4(&mut self) {
        let now_ms = self.port.now_ms();
        let mut board = self.port.board.borrow_mut();
        let Some(line) = board.autopilot() else { return };
        let mut link = self.autopilot.0.link.borrow_mut();
        let mut bytes = [0; READ_BYTES];
        loop {
            let read = line.read(&mut bytes);
            if read > 0 {
                link.get_or_insert_default().hear(now_ms, bytes.get(..read).unwrap_or_default());
            }
            if read < READ_BYTES {
                break;
            }
        }
        if let Some(link) = &mut *link {
            link.speak(now_ms, line);
        }
    }

    /// When to poll again even if nothing comes.
    pub(crate) fn px4_deadline(&self) -> Option<u64> {
        let link = self.autopilot.0.link.borrow();
        link.as_ref().map(|link| link.vehicles.next_deadline(self.port.now_ms()))
    }
}

/// A line in use.
struct Link {
    vehicles: Vehicles,
    framer: Framer,
    deframer: Deframer,
}

impl Default for Link {
    fn default() -> Self {
        Link { vehicles: Vehicles::new(OWN), framer: Framer::new(OWN), deframer: Deframer::default() }
    }
}

impl Link {
    fn hear(&mut self, now_ms: u64, bytes: &[u8]) {
        let Link { vehicles, deframer, .. } = self;
        deframer
            .hear(bytes, |frame| vehicles.on_message(now_ms, frame.source(), frame.id(), frame.payload()));
    }

    /// Says what is due as long as the line takes it.
    fn speak(&mut self, now_ms: u64, line: &mut dyn Serial) {
        let mut out = [0; SENT_BYTES];
        while line.room() >= out.len()
            && let Some(message) = self.vehicles.poll_message(now_ms)
        {
            line.write(self.framer.frame(&message, false, &mut out));
        }
    }
}

#[cfg(test)]
mod tests;
