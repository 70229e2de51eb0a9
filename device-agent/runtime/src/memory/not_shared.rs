//! In the place of shared memories on devices without threads: there is none, so nothing of this is ever called.

use core::ops::{Deref, Range};

use wasmbed_abi::Errno;
use wasmtime::SharedMemory;

#[derive(Clone)]
pub(crate) enum Shared {}

pub(crate) enum Copied {}

impl Deref for Copied {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match *self {}
    }
}

impl Shared {
    pub(crate) fn new(_: SharedMemory) -> Option<Self> {
        None
    }

    pub(crate) fn len(&self) -> usize {
        match *self {}
    }

    pub(super) fn read(&self, _: Range<usize>) -> Result<Copied, Errno> {
        match *self {}
    }

    pub(super) fn write(&self, _: usize, _: &[u8]) -> Result<(), Errno> {
        match *self {}
    }

    pub(super) fn fill(
        &self,
        _: Range<usize>,
        _: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        match *self {}
    }

    #[cfg(feature = "security")]
    pub(super) fn edit<R>(&self, _: Range<usize>, _: impl FnOnce(&mut [u8]) -> R) -> Result<R, Errno> {
        match *self {}
    }
}
