//! In the place of the modules where none run: in a bootloader, and on a board without slots for them.

use alloc::rc::Rc;
use core::{cell::RefCell, marker::PhantomData};

use wasmbed_core::{Assignment, Layout, ModuleEvent, Slot, Used};
use wasmbed_wire::{
    Backtrace, Channel, ModuleName, RuntimeId, Seq,
    limits::Class,
    message::{Reason, Setting},
    provision::Provision,
    topic::RosDown,
};

use crate::{Board, device::SharedSlots, flash::SharedFlash, port::Port};

/// Whether this program runs modules.
pub(crate) const ARE_RUN: bool = false;

/// No runtime: no module was compiled for it.
pub(crate) fn runtime_id(_: Class) -> RuntimeId {
    RuntimeId([0; 8])
}

/// Nothing is kept.
pub(crate) struct Keeper;

impl Keeper {
    pub(crate) fn new<F>(
        _: &SharedFlash<F>,
        _: &Layout,
        _: &Provision<'_>,
        _: u32,
        _: Option<[u8; 32]>,
    ) -> Self {
        Keeper
    }
}

/// No modules.
pub(crate) struct Modules<B: Board, const SLOTS: usize>(PhantomData<B>);

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    pub(crate) fn new(_: Rc<Port<B>>, _: SharedSlots<SLOTS>, _: Class, _: Rc<RefCell<Keeper>>) -> Self {
        Modules(PhantomData)
    }

    /// There is nothing to set up.
    pub(crate) fn is_prepared(&self) -> bool {
        true
    }

    pub(crate) fn prepare(&mut self) {}

    pub(crate) fn start(&mut self, _: Slot, _: &Assignment, _: Seq<'_, Setting<'_>>) -> ModuleEvent {
        cannot()
    }

    pub(crate) fn tick(&mut self, _: Slot) -> ModuleEvent {
        cannot()
    }

    pub(crate) fn post(&mut self, _: Slot, _: Channel, _: &[u8]) {}

    pub(crate) fn hear(&mut self, _: Option<Slot>, _: ModuleName, _: RosDown, _: &[u8]) {}

    pub(crate) fn connected(&mut self) {}

    pub(crate) fn poll_ros(&mut self) {}

    pub(crate) fn ros_deadline(&self) -> Option<u64> {
        None
    }

    pub(crate) fn poll_px4(&mut self) {}

    pub(crate) fn px4_deadline(&self) -> Option<u64> {
        None
    }

    pub(crate) fn deliver(&mut self) -> Option<(Slot, ModuleEvent)> {
        None
    }

    pub(crate) fn has_messages(&self) -> bool {
        false
    }

    pub(crate) fn stop(&mut self, _: Slot) -> ModuleEvent {
        ModuleEvent::Halted
    }
}

fn cannot() -> ModuleEvent {
    ModuleEvent::Stopped {
        reason: Reason::LoadFailed,
        used: Used::default(),
        backtrace: Backtrace::default(),
    }
}
