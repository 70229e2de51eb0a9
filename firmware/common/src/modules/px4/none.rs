//! In the place of vehicles where no board has a line to any.

use wasmbed_abi::{
    BatteryStatus, Errno, LocalPosition, ParameterName, VehicleCommand, VehicleParameter, VehicleStatus,
};

use super::{Modules, host::ModuleHost};
use crate::{Board, port::Port};

/// Nobody.
pub(super) struct Autopilot;

/// Of nothing.
pub(super) struct Pilot;

impl Autopilot {
    pub(super) fn of<B>(_: &Port<B>) -> Self {
        Autopilot
    }

    pub(super) fn pilot(&self) -> Pilot {
        Pilot
    }
}

pub(super) fn send<B: Board>(_: &mut ModuleHost<B>, _: VehicleCommand) -> Result<u32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn takeoff<B: Board>(_: &mut ModuleHost<B>, _: u8, _: f32) -> Result<u32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn result<B: Board>(_: &mut ModuleHost<B>, _: u32) -> Result<u8, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn status<B: Board>(_: &mut ModuleHost<B>, _: u8) -> Result<VehicleStatus, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn battery<B: Board>(_: &mut ModuleHost<B>, _: u8) -> Result<BatteryStatus, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn position<B: Board>(_: &mut ModuleHost<B>, _: u8) -> Result<LocalPosition, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn parameter<B: Board>(
    _: &mut ModuleHost<B>,
    _: u8,
    _: ParameterName,
) -> Result<VehicleParameter, Errno> {
    Err(Errno::Unsupported)
}

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    pub(crate) fn poll_px4(&mut self) {}

    pub(crate) fn px4_deadline(&self) -> Option<u64> {
        None
    }
}
