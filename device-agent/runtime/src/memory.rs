//! The memory of a module, as calls read and write it.
//!
//! One that threads share changes while a call runs, so a call works on copies there: it never sees a byte in two
//! states, and writes nothing but its answer. One that belongs to a single thread is lent as it is.

#[cfg(not(feature = "compile"))]
#[path = "memory/not_shared.rs"]
mod shared;
#[cfg(feature = "compile")]
mod shared;

use core::ops::{Deref, Range};

use wasmbed_abi::Errno;
use wasmtime::{AsContext, Caller, Extern, Memory};

pub(crate) use shared::Shared;

/// What a module exports as its memory.
#[derive(Clone)]
pub(crate) enum GuestMemory {
    /// Of one thread.
    Own(Memory),
    /// Of several.
    Shared(Shared),
}

/// The memory during a call.
pub(crate) enum View<'a> {
    Own(&'a mut [u8]),
    Shared(Shared),
}

/// Bytes of the memory as they are, or as they were.
pub(crate) enum Bytes<'a> {
    Lent(&'a [u8]),
    Copied(shared::Copied),
}

impl GuestMemory {
    pub(crate) fn new(exported: Extern) -> Option<Self> {
        match exported {
            Extern::Memory(memory) => Some(GuestMemory::Own(memory)),
            Extern::SharedMemory(memory) => Shared::new(memory).map(GuestMemory::Shared),
            _ => None,
        }
    }

    /// Its size, in bytes.
    pub(crate) fn size(&self, store: impl AsContext) -> u64 {
        let bytes = match self {
            GuestMemory::Own(memory) => memory.data_size(store),
            GuestMemory::Shared(memory) => memory.len(),
        };
        bytes as u64
    }

    /// The memory, and what the store keeps besides.
    pub(crate) fn view<'a, T: 'static>(self, caller: &'a mut Caller<'_, T>) -> (View<'a>, &'a mut T) {
        match self {
            GuestMemory::Own(memory) => {
                let (bytes, data) = memory.data_and_store_mut(caller);
                (View::Own(bytes), data)
            }
            GuestMemory::Shared(memory) => (View::Shared(memory), caller.data_mut()),
        }
    }
}

impl View<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            View::Own(bytes) => bytes.len(),
            View::Shared(memory) => memory.len(),
        }
    }

    pub(crate) fn read(&self, at: Range<usize>) -> Result<Bytes<'_>, Errno> {
        match self {
            View::Own(bytes) => bytes.get(at).map(Bytes::Lent).ok_or(Errno::Fault),
            View::Shared(memory) => memory.read(at).map(Bytes::Copied),
        }
    }

    pub(crate) fn write(&mut self, at: Range<usize>, answer: &[u8]) -> Result<(), Errno> {
        match self {
            View::Own(bytes) => bytes.get_mut(at).ok_or(Errno::Fault)?.copy_from_slice(answer),
            View::Shared(memory) => memory.write(at.start, answer)?,
        }
        Ok(())
    }

    /// Has an answer written into a room, and tells how long it is. Of a shared memory, no more than that is written.
    pub(crate) fn fill(
        &mut self,
        room: Range<usize>,
        answer: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        match self {
            View::Own(bytes) => answer(bytes.get_mut(room).ok_or(Errno::Fault)?),
            View::Shared(memory) => memory.fill(room, answer),
        }
    }

    /// Has bytes changed where they lie.
    #[cfg(feature = "security")]
    pub(crate) fn edit<R>(
        &mut self,
        at: Range<usize>,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, Errno> {
        match self {
            View::Own(bytes) => Ok(change(bytes.get_mut(at).ok_or(Errno::Fault)?)),
            View::Shared(memory) => memory.edit(at, change),
        }
    }

    /// Copies bytes to another place, which may overlap; both are in the memory.
    #[cfg(feature = "security")]
    pub(crate) fn copy_within(&mut self, from: Range<usize>, to: usize) -> Result<(), Errno> {
        match self {
            View::Own(bytes) => {
                bytes.copy_within(from, to);
                Ok(())
            }
            View::Shared(memory) => memory.write(to, &memory.read(from)?),
        }
    }
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Lent(bytes) => bytes,
            Bytes::Copied(bytes) => bytes,
        }
    }
}
