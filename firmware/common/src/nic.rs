//! What a network controller's driver supplies.

/// Bytes of the largest Ethernet frame, without its checksum (IEEE 802.3, section 3.2.7).
pub const FRAME_BYTES: usize = 1514;

/// An Ethernet controller. Nothing here waits; frames are without their checksums.
pub trait Nic {
    /// The controller's address.
    fn mac(&self) -> [u8; 6];

    /// Takes the oldest frame that was received and returns its length; one that does not fit is dropped.
    fn receive(&mut self, frame: &mut [u8; FRAME_BYTES]) -> Option<usize>;

    /// Whether [`Nic::send`] takes a frame now.
    fn can_send(&self) -> bool;

    /// Sends a frame of at most [`FRAME_BYTES`].
    fn send(&mut self, frame: &[u8]);
}
