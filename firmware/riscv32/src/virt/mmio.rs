//! What drivers of virtio devices need: registers (Virtual I/O Device 1.2, section 4.2) and memory.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    transport::mmio::{MmioTransport, VirtIOHeader},
};

use super::virtio::REGISTERS;

/// Which transport a device is on, as the board's `run.arguments` have it.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Network = 0,
    Noise = 1,
}

/// The device there, if there is one. Each place has one driver at a time.
pub(super) fn transport(place: Place) -> Option<MmioTransport<'static>> {
    let (first, bytes) = REGISTERS;
    let header = NonNull::new((first + place as usize * bytes) as *mut VirtIOHeader)?;
    // SAFETY: transports' registers are at these addresses on this machine, whatever is behind them. The handler of the
    // network's interrupt uses two of them, which the driver leaves alone.
    unsafe { MmioTransport::new(header, bytes) }.ok()
}

/// Memory that the processor and virtio devices see at the same addresses.
pub(super) struct Memory;

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
