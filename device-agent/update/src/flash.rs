//! NOR flash as everything above sees it.

pub use wasmbed_wire::nor::Fault;

/// A NOR flash: erasing sets all bits of a sector, programming only clears bits.
///
/// Calls block until the operation is done. An operation that returns `Ok` survives a power cut; one that
/// a power cut interrupts leaves any mixture of old and new bits in the bytes it was about.
pub trait Flash {
    /// Bytes erased together.
    fn sector_bytes(&self) -> u32;

    /// Fills `out` with what lies at `address` and after it.
    ///
    /// # Errors
    /// [`Fault::OutOfRange`], or [`Fault::Failed`] if the flash does not answer.
    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault>;

    /// Clears the bits that are clear in `bytes`. They may lie in several sectors.
    ///
    /// # Errors
    /// [`Fault::NotErased`] if a bit would have to be set, and those of [`Flash::read`]; nothing of the
    /// sector in question has been changed then.
    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault>;

    /// Sets all bits of the sector that begins at `address`.
    ///
    /// # Errors
    /// [`Fault::Misaligned`] if none begins there, and those of [`Flash::read`].
    fn erase(&mut self, address: u32) -> Result<(), Fault>;
}

/// The flash of a device whose firmware cannot be replaced: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFlash {}

impl Flash for NoFlash {
    fn sector_bytes(&self) -> u32 {
        match *self {}
    }

    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Fault> {
        match *self {}
    }

    fn program(&mut self, _: u32, _: &[u8]) -> Result<(), Fault> {
        match *self {}
    }

    fn erase(&mut self, _: u32) -> Result<(), Fault> {
        match *self {}
    }
}

/// A range of addresses that begins and ends with a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The first address.
    pub origin: u32,
    /// How many bytes.
    pub bytes: u32,
}

impl Region {
    /// The address after the last one.
    pub const fn end(&self) -> u32 {
        self.origin.saturating_add(self.bytes)
    }
}
