//! In the place of ROS 2 for classes that do not have it.

use wasmbed_abi::{Errno, RosName};
use wasmbed_core::{ModuleEvent, Slot};
use wasmbed_wire::{ModuleName, topic::RosDown};

use super::{Modules, host::ModuleHost};
use crate::Board;

/// Nothing.
#[derive(Default)]
pub(super) struct Post;

/// Nobody.
#[derive(Default)]
pub(super) struct Absent;

pub(super) fn publish<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>, _: &[u8]) -> Result<(), Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn subscribe<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>) -> Result<(), Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn unsubscribe<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>) {}

pub(super) fn client<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>) -> Result<u32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn call<B: Board>(_: &mut ModuleHost<B>, _: u32, _: &[u8]) -> Result<u32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn response<B: Board>(_: &mut ModuleHost<B>, _: u32, _: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn offer<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>) -> Result<u32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn respond<B: Board>(_: &mut ModuleHost<B>, _: u32, _: &[u8]) -> Result<(), Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn topic<B: Board>(_: &mut ModuleHost<B>, _: u32, _: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn node<B: Board>(_: &mut ModuleHost<B>, _: RosName<'_>, _: &mut [u8]) -> Result<usize, Errno> {
    Err(Errno::Unsupported)
}

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    pub(crate) fn hear(&mut self, _: Option<Slot>, _: ModuleName, _: RosDown, _: &[u8]) {}

    pub(crate) fn connected(&mut self) {}

    pub(crate) fn poll_ros(&mut self) {}

    pub(crate) fn ros_deadline(&self) -> Option<u64> {
        None
    }

    pub(super) fn has_ros_events(&self) -> bool {
        false
    }

    pub(super) fn deliver_ros(&mut self) -> Option<(Slot, ModuleEvent)> {
        None
    }

    pub(super) fn leave_ros(&mut self, _: Slot) {}
}
