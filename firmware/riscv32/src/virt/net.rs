//! The network controller: virtio-net on the first transport.

use virtio_drivers::{
    device::net::{TxBuffer, VirtIONet},
    transport::mmio::MmioTransport,
};
use wasmbed_firmware_common::{FRAME_BYTES, Nic};

use super::{
    machine::NETWORK,
    mmio::{Memory, Place, transport},
};
use crate::plic;

/// Frames that may wait for the loop.
const FRAMES: usize = 8;
/// A frame and what virtio puts before it.
const BUFFER_BYTES: usize = (FRAME_BYTES + 16).next_multiple_of(4);

/// The controller.
pub(super) struct VirtioNet(VirtIONet<Memory, MmioTransport<'static>, FRAMES>);

impl VirtioNet {
    /// Switches the controller and its interrupt on; `None` if there is none.
    pub(super) fn start() -> Option<Self> {
        let net = VirtIONet::new(transport(Place::Network)?, BUFFER_BYTES).ok()?;
        // SAFETY: the handler is static and ready.
        unsafe { plic::enable(NETWORK) };
        Some(VirtioNet(net))
    }
}

impl Nic for VirtioNet {
    fn mac(&self) -> [u8; 6] {
        self.0.mac_address()
    }

    fn receive(&mut self, frame: &mut [u8; FRAME_BYTES]) -> Option<usize> {
        let buffer = self.0.receive().ok()?;
        let received = buffer.packet();
        let len = received.len();
        let place = frame.get_mut(..len).map(|place| place.copy_from_slice(received));
        self.0.recycle_rx_buffer(buffer).ok()?;
        place.map(|()| len)
    }

    fn can_send(&self) -> bool {
        self.0.can_send()
    }

    fn send(&mut self, frame: &[u8]) {
        // It waits until the emulator has the frame, for a moment. One that is lost is sent again by whoever
        // misses its answer.
        let _ = self.0.send(TxBuffer::from(frame));
    }
}
