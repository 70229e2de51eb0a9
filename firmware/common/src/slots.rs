//! Module slots in memory: payloads lie on the heap, at a multiple of 16, until the next reset.
//!
//! A payload that a loaded module reads is pinned: until it is released, the slot refuses every
//! change. That is what makes running it where it lies sound, whatever the agent asks for.

use alloc::vec::Vec;
#[cfg(feature = "modules")]
use core::ptr::NonNull;

use wasmbed_core::{Slot, StoreError};

/// What the runtime asks of the address of a payload.
const ALIGN: usize = 16;

/// The slots of a board.
#[derive(Debug)]
pub(crate) struct Slots<const N: usize> {
    slots: [Option<Payload>; N],
}

#[derive(Debug)]
struct Payload {
    /// Never grows, so that the payload stays where it is.
    buffer: Vec<u8>,
    start: usize,
    size: usize,
    pinned: bool,
}

impl<const N: usize> Slots<N> {
    /// No payloads.
    pub(crate) fn new() -> Self {
        Slots { slots: [const { None }; N] }
    }

    /// Empties the slot and makes room for `size` bytes.
    pub(crate) fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        let place = self.changeable(slot)?;
        *place = None;
        *place = Some(Payload::new(size)?);
        Ok(())
    }

    /// Writes a piece of the payload.
    pub(crate) fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let payload = self.changeable(slot)?.as_mut().ok_or(StoreError)?;
        let offset = usize::try_from(offset).map_err(|_| StoreError)?;
        let end = offset.checked_add(bytes.len()).ok_or(StoreError)?;
        payload.bytes_mut().get_mut(offset..end).ok_or(StoreError)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Reads a piece of the payload.
    pub(crate) fn read(&self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        let bytes = self.slots.get(slot.index()).and_then(Option::as_ref).ok_or(StoreError)?.bytes();
        let offset = usize::try_from(offset).map_err(|_| StoreError)?;
        let end = offset.checked_add(out.len()).ok_or(StoreError)?;
        out.copy_from_slice(bytes.get(offset..end).ok_or(StoreError)?);
        Ok(())
    }

    /// Empties the slot, unless its payload is pinned.
    pub(crate) fn discard(&mut self, slot: Slot) {
        if let Ok(place) = self.changeable(slot) {
            *place = None;
        }
    }

    /// Keeps the payload as it is until [`Slots::unpin`]; `None` if the slot is empty. The bytes stay
    /// valid and unchanged until then.
    #[cfg(feature = "modules")]
    pub(crate) fn pin(&mut self, slot: Slot) -> Option<NonNull<[u8]>> {
        let payload = self.slots.get_mut(slot.index())?.as_mut()?;
        payload.pinned = true;
        Some(NonNull::from(payload.bytes()))
    }

    /// Ends what [`Slots::pin`] began; nothing may read the bytes it gave from now on.
    #[cfg(feature = "modules")]
    pub(crate) fn unpin(&mut self, slot: Slot) {
        if let Some(Some(payload)) = self.slots.get_mut(slot.index()) {
            payload.pinned = false;
        }
    }

    fn changeable(&mut self, slot: Slot) -> Result<&mut Option<Payload>, StoreError> {
        let place = self.slots.get_mut(slot.index()).ok_or(StoreError)?;
        if place.as_ref().is_some_and(|payload| payload.pinned) { Err(StoreError) } else { Ok(place) }
    }
}

impl Payload {
    fn new(size: u32) -> Result<Self, StoreError> {
        let size = usize::try_from(size).map_err(|_| StoreError)?;
        let room = size.checked_add(ALIGN - 1).ok_or(StoreError)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(room).map_err(|_| StoreError)?;
        buffer.resize(room, 0);
        let start = buffer.as_ptr().align_offset(ALIGN);
        if start >= ALIGN {
            return Err(StoreError);
        }
        Ok(Payload { buffer, start, size, pinned: false })
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.size).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.start + self.size).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Slot = Slot(0);

    #[test]
    fn a_payload_is_aligned_and_reads_back() {
        let mut slots = Slots::<2>::new();
        slots.begin(A, 5).expect("room");
        slots.write(A, 3, b"de").expect("inside");
        slots.write(A, 0, b"abc").expect("inside");
        let mut out = [0; 4];
        slots.read(A, 1, &mut out).expect("inside");
        assert_eq!(&out, b"bcde");
        assert_eq!(slots.pin(A).expect("a payload").cast::<u8>().addr().get() % ALIGN, 0);
    }

    #[test]
    fn nothing_reaches_beyond_a_payload() {
        let mut slots = Slots::<1>::new();
        slots.begin(A, 4).expect("room");
        assert_eq!(slots.write(A, 2, b"abc"), Err(StoreError));
        assert_eq!(slots.write(A, u32::MAX, b"a"), Err(StoreError));
        assert_eq!(slots.read(A, 4, &mut [0]), Err(StoreError));
        assert_eq!(slots.begin(Slot(1), 4), Err(StoreError));
    }

    #[test]
    fn a_pinned_payload_cannot_be_changed() {
        let mut slots = Slots::<1>::new();
        slots.begin(A, 4).expect("room");
        assert!(slots.pin(A).is_some());
        assert_eq!(slots.begin(A, 4), Err(StoreError));
        assert_eq!(slots.write(A, 0, b"a"), Err(StoreError));
        slots.discard(A);
        assert!(slots.pin(A).is_some());
        slots.unpin(A);
        slots.discard(A);
        assert!(slots.pin(A).is_none());
    }
}
