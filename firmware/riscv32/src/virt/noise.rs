//! Noise: virtio-rng on the second transport.

use virtio_drivers::device::rng::VirtIORng;

use super::mmio::{Memory, Place, transport};

/// What the emulator has from its host; `None` if it has no such device. It waits until the emulator has answered, for a
/// moment.
pub(super) fn take() -> Option<[u8; 32]> {
    let mut device: VirtIORng<Memory, _> = VirtIORng::new(transport(Place::Noise)?).ok()?;
    let mut noise = [0; 32];
    let mut rest = &mut noise[..];
    while !rest.is_empty() {
        match device.request_entropy(rest).ok()? {
            0 => return None,
            filled => rest = rest.get_mut(filled..)?,
        }
    }
    Some(noise)
}
