//! A serial line with a ring in each direction.

/// A line on which nothing waits.
pub trait Serial {
    /// Moves received bytes into `out` and returns how many there were.
    fn read(&mut self, out: &mut [u8]) -> usize;

    /// How many bytes [`Serial::write`] takes now.
    fn room(&self) -> usize;

    /// Queues bytes to send; the caller has checked [`Serial::room`].
    fn write(&mut self, bytes: &[u8]);
}
