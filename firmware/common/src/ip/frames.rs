//! A network controller as `smoltcp` sees it.

use alloc::boxed::Box;

use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

use crate::nic::{FRAME_BYTES, Nic};

/// A controller with room for a frame in each direction.
pub(super) struct Frames<N> {
    nic: N,
    received: Box<[u8; FRAME_BYTES]>,
    sent: Box<[u8; FRAME_BYTES]>,
}

impl<N: Nic> Frames<N> {
    pub(super) fn new(nic: N) -> Self {
        Frames { nic, received: Box::new([0; FRAME_BYTES]), sent: Box::new([0; FRAME_BYTES]) }
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        self.nic.mac()
    }
}

impl<N: Nic> Device for Frames<N> {
    type RxToken<'a>
        = Received<'a>
    where
        N: 'a;
    type TxToken<'a>
        = Sending<'a, N>
    where
        N: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_, N>)> {
        // An answer may have to go out.
        if !self.nic.can_send() {
            return None;
        }
        let len = self.nic.receive(&mut self.received)?;
        let frame = self.received.get(..len)?;
        Some((Received(frame), Sending { nic: &mut self.nic, frame: &mut self.sent }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_, N>> {
        self.nic.can_send().then_some(Sending { nic: &mut self.nic, frame: &mut self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Sending<'a, N> {
    nic: &'a mut N,
    frame: &'a mut [u8; FRAME_BYTES],
}

impl<N: Nic> TxToken for Sending<'_, N> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        // The stack keeps to the size it was told.
        let len = len.min(FRAME_BYTES);
        let written = write(&mut self.frame[..len]);
        self.nic.send(&self.frame[..len]);
        written
    }
}
