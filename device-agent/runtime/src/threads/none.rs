//! In the place of threads on devices that have none.

use alloc::{sync::Arc, vec::Vec};

use wasmbed_abi::{Capabilities, Errno};
use wasmbed_wire::{Backtrace, message::Frame};
use wasmtime::{Extern, Store};

use crate::{Module, Runtime, Stopped, host::Host, instance::Guest};

/// Added to what a module imports.
pub(crate) const ADDED_IMPORTS: usize = 0;

#[derive(Debug, Clone)]
pub(crate) enum Plan {}

impl Plan {
    pub(crate) fn has_active_data(&self) -> bool {
        match *self {}
    }
}

pub(crate) enum Group {}

pub(crate) enum Main {}

impl Main {
    pub(crate) fn new(_: &Runtime, _: &Module, _: Capabilities) -> wasmtime::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn memory(&self) -> Extern {
        match *self {}
    }

    pub(crate) fn waits<T: 'static>(&self, _: &mut Store<T>) -> Vec<Extern> {
        match *self {}
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        match *self {}
    }

    pub(crate) fn watch<T: 'static>(&self, _: &mut Store<T>) {
        match *self {}
    }

    pub(crate) fn begin<T: 'static>(&self, _: &mut Store<T>, _: u32) {
        match *self {}
    }

    pub(crate) fn origin(&self, _: Frame) -> Frame {
        match *self {}
    }

    pub(crate) fn failure(&self) -> Option<(Stopped, Backtrace)> {
        match *self {}
    }
}

pub(crate) fn spawn<H: Host>(_: &mut Guest<H>, _: i32) -> Result<i32, Errno> {
    Err(Errno::Unsupported)
}
