//! A memory that threads share.
//!
//! The only way to it is by atomic access: other threads run the module's code meanwhile, and what they write while
//! it is read is as undefined to them as it is to the module, but not to this program.
#![allow(
    unsafe_code,
    reason = "wasmtime gives cells, whose only sound use besides its own is as atomic numbers"
)]

use std::{
    ops::Range,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    vec::Vec,
};

use wasmbed_abi::Errno;
use wasmtime::SharedMemory;

/// What was read of it.
pub(crate) type Copied = Vec<u8>;

#[derive(Clone)]
pub(crate) struct Shared(SharedMemory);

impl Shared {
    #[expect(clippy::unnecessary_wraps, reason = "boards have none")]
    pub(crate) fn new(memory: SharedMemory) -> Option<Self> {
        Some(Shared(memory))
    }

    /// Its size, in bytes; it only grows.
    pub(crate) fn len(&self) -> usize {
        self.0.data_size()
    }

    pub(super) fn read(&self, at: Range<usize>) -> Result<Copied, Errno> {
        let bytes = self.bytes().get(at).ok_or(Errno::Fault)?;
        Ok(bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect())
    }

    pub(super) fn write(&self, start: usize, answer: &[u8]) -> Result<(), Errno> {
        let bytes =
            self.bytes().get(start..).and_then(|bytes| bytes.get(..answer.len())).ok_or(Errno::Fault)?;
        bytes.iter().zip(answer).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
        Ok(())
    }

    pub(super) fn fill(
        &self,
        room: Range<usize>,
        answer: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let mut written = vec![0; room.len()];
        let len = answer(&mut written)?;
        self.write(room.start, written.get(..len).unwrap_or(&written))?;
        Ok(len)
    }

    pub(super) fn edit<R>(&self, at: Range<usize>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R, Errno> {
        let start = at.start;
        let mut bytes = self.read(at)?;
        let result = change(&mut bytes);
        self.write(start, &bytes)?;
        Ok(result)
    }

    fn bytes(&self) -> &[AtomicU8] {
        let cells = self.0.data();
        // SAFETY: `AtomicU8` has the size, alignment and validity of `UnsafeCell<u8>`; all access of this program goes
        // through here, and that of modules is not Rust's. The memory lives as long as `self` and never moves.
        unsafe { &*(std::ptr::from_ref(cells) as *const [AtomicU8]) }
    }

    /// The number at an address; none if it is not within the memory or not aligned.
    pub(crate) fn load_u32(&self, at: usize) -> Option<u32> {
        let number = self.bytes().get(at..)?.get(..4)?.as_ptr().cast::<AtomicU32>();
        // SAFETY: it is aligned and its four bytes lie in the memory, of which `bytes` says the rest.
        let number = unsafe { number.is_aligned().then(|| &*number)? };
        Some(u32::from_le(number.load(Ordering::SeqCst)))
    }

    /// As [`load_u32`](Self::load_u32), for 64 bits.
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        let number = self.bytes().get(at..)?.get(..8)?.as_ptr().cast::<AtomicU64>();
        // SAFETY: as above, with eight bytes.
        let number = unsafe { number.is_aligned().then(|| &*number)? };
        Some(u64::from_le(number.load(Ordering::SeqCst)))
    }
}
