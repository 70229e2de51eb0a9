//! The network controller: virtio-net on the first transport.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    device::net::{TxBuffer, VirtIONet},
    transport::mmio::{MmioTransport, VirtIOHeader},
};
use wasmbed_firmware_common::{FRAME_BYTES, Nic};

use super::{machine::NETWORK, virtio::REGISTERS};
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
        let (base, bytes) = REGISTERS;
        let header = NonNull::new(base as *mut VirtIOHeader)?;
        // SAFETY: a transport's registers are at this address on this machine, whatever is behind them. The handler
        // of its interrupt uses two of them, which the driver leaves alone.
        let transport = unsafe { MmioTransport::new(header, bytes) }.ok()?;
        let net = VirtIONet::new(transport, BUFFER_BYTES).ok()?;
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

/// Memory that the processor and the controller see at the same addresses.
struct Memory;

fn pages(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}

// SAFETY: what `dma_alloc` returns comes from the heap, aligned to pages and zeroed, and is given back once.
unsafe impl Hal for Memory {
    fn dma_alloc(count: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let none = (0, NonNull::dangling());
        let Some(layout) = pages(count).filter(|layout| layout.size() > 0) else { return none };
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map_or(none, |block| (address(block.as_ptr()), block))
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, count: usize) -> i32 {
        if let Some(layout) = pages(count) {
            // SAFETY: the caller returns what it got from `dma_alloc`, with this layout.
            unsafe { dealloc(block.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as usize as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        address(buffer.as_ptr().cast())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn address(block: *const u8) -> PhysAddr {
    block as usize as PhysAddr
}
