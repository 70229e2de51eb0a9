//! Byte rings between an interrupt handler and the main loop.
//!
//! A [`Ring`] never blocks: what does not fit is refused. On the receiving side that damages a frame,
//! which the link notices and repairs. Every access is a short critical section, so handlers and main
//! loop may use it from either end.

use core::cell::RefCell;

use critical_section::Mutex;
use heapless::Deque;

/// Bytes moved per critical section: bounds how long an interrupt can be held off.
const CHUNK_BYTES: usize = 32;

/// A first-in first-out queue of at most `N` bytes.
pub struct Ring<const N: usize> {
    bytes: Mutex<RefCell<Deque<u8, N>>>,
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    pub const fn new() -> Self {
        Ring { bytes: Mutex::new(RefCell::new(Deque::new())) }
    }

    /// Appends one byte; `false` if the ring is full.
    pub fn push(&self, byte: u8) -> bool {
        self.with(|bytes| bytes.push_back(byte).is_ok())
    }

    /// Takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        self.with(|bytes| bytes.pop_front())
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut written = 0;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let taken =
                self.with(|bytes| chunk.iter().take_while(|byte| bytes.push_back(**byte).is_ok()).count());
            written += taken;
            if taken < chunk.len() {
                break;
            }
        }
        written
    }

    /// Moves the oldest bytes into `out` and returns how many there were.
    pub fn read(&self, out: &mut [u8]) -> usize {
        let mut read = 0;
        for chunk in out.chunks_mut(CHUNK_BYTES) {
            let taken = self.with(|bytes| {
                let mut taken = 0;
                for (slot, byte) in chunk.iter_mut().zip(core::iter::from_fn(|| bytes.pop_front())) {
                    *slot = byte;
                    taken += 1;
                }
                taken
            });
            read += taken;
            if taken < chunk.len() {
                break;
            }
        }
        read
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.with(|bytes| bytes.is_empty())
    }

    /// Free places.
    pub fn room(&self) -> usize {
        self.with(|bytes| N - bytes.len())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Deque<u8, N>) -> R) -> R {
        critical_section::with(|cs| f(&mut self.bytes.borrow_ref_mut(cs)))
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let ring = Ring::<100>::new();
        let sent: [u8; 70] = core::array::from_fn(|i| i as u8);
        assert_eq!(ring.write(&sent), 70);
        let mut out = [0; 100];
        assert_eq!(ring.read(&mut out), 70);
        assert_eq!(out[..70], sent);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_full_ring_refuses() {
        let ring = Ring::<2>::new();
        assert!(ring.push(1) && ring.push(2));
        assert!(!ring.push(3));
        assert_eq!((ring.pop(), ring.pop(), ring.pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn a_write_takes_what_fits() {
        let ring = Ring::<40>::new();
        assert_eq!(ring.write(&[7; 64]), 40);
        assert_eq!(ring.room(), 0);
    }
}
