//! The heap: a two-level segregated fit allocator over one fixed arena, with the numbers the
//! heartbeat reports.
//!
//! Constant time and little fragmentation matter more here than the last byte: modules come and go
//! for years without a restart. When memory runs out, allocation fails; what cannot cope panics,
//! which leaves a record and resets. So that a module which grows until nothing is left does not get
//! that far, large allocations fail while there is still a reserve for small ones.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::RefCell,
    mem::MaybeUninit,
    ptr::{self, NonNull},
};

use critical_section::Mutex;
use rlsf::Tlsf;

/// Size classes: with 16-byte granules on 32-bit machines the largest block is 2 MiB.
const FIRST_LEVEL: usize = 17;
const SECOND_LEVEL: usize = 8;

/// What counts as large, in bytes: memories and payloads of modules, and hardly anything else.
const LARGE_BYTES: usize = 1024;
/// The part of the arena that large allocations leave alone.
const RESERVE: usize = 16;

type Blocks = Tlsf<'static, u32, u8, FIRST_LEVEL, SECOND_LEVEL>;

/// The allocator; a board declares one as its `#[global_allocator]`.
pub struct Heap {
    inner: Mutex<RefCell<Inner>>,
}

struct Inner {
    blocks: Blocks,
    use_: HeapUse,
}

/// How much of the heap is used, in bytes as requested (without the allocator's own headers).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeapUse {
    /// The arena's size.
    pub total: usize,
    /// Allocated now.
    pub used: usize,
    /// Most that was ever allocated at once.
    pub peak: usize,
}

impl Heap {
    /// A heap without memory: every allocation fails until [`Heap::give`].
    pub const fn new() -> Self {
        let inner = Inner { blocks: Tlsf::new(), use_: HeapUse { total: 0, used: 0, peak: 0 } };
        Heap { inner: Mutex::new(RefCell::new(inner)) }
    }

    /// Hands memory over.
    pub fn give(&self, arena: &'static mut [MaybeUninit<u8>]) {
        self.with(|inner| {
            inner.use_.total += arena.len();
            inner.blocks.insert_free_block(arena);
        });
    }

    /// Hands over the memory that the linker left; called once, first thing in `main`.
    ///
    /// # Safety
    ///
    /// The symbols `__sheap` and `_ram_end` enclose memory that nothing else uses, and this is not
    /// called again.
    #[cfg(target_os = "none")]
    pub unsafe fn give_rest_of_ram(&self) {
        unsafe extern "C" {
            static mut __sheap: MaybeUninit<u8>;
            static mut _ram_end: MaybeUninit<u8>;
        }
        let (start, end) = (&raw mut __sheap, &raw mut _ram_end);
        // SAFETY: the caller's promise; uninitialised bytes are what the type allows.
        self.give(unsafe { core::slice::from_raw_parts_mut(start, end.offset_from_unsigned(start)) });
    }

    /// The current numbers.
    pub fn usage(&self) -> HeapUse {
        self.with(|inner| inner.use_)
    }

    /// Lets the peak be of what is allocated from now on; for programs that measure one thing after another.
    pub fn forget_peak(&self) {
        self.with(|inner| inner.use_.peak = inner.use_.used);
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        critical_section::with(|cs| f(&mut self.inner.borrow_ref_mut(cs)))
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapUse {
    fn allows(&self, bytes: usize) -> bool {
        let left = self.total.saturating_sub(self.used).saturating_sub(bytes);
        bytes < LARGE_BYTES || left >= self.total / RESERVE
    }

    fn add(&mut self, bytes: usize) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
    }
}

// SAFETY: memory comes only from the blocks TLSF manages, each handed out once until it is given
// back; the mutex serialises all access; the bookkeeping cannot panic or allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|inner| {
            let allowed = inner.use_.allows(layout.size());
            match allowed.then(|| inner.blocks.allocate(layout)).flatten() {
                Some(block) => {
                    inner.use_.add(layout.size());
                    block.as_ptr()
                }
                None => ptr::null_mut(),
            }
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        self.with(|inner| {
            // SAFETY: the caller returns a block it got from `alloc` with this layout.
            unsafe { inner.blocks.deallocate(block, layout.align()) };
            inner.use_.used -= layout.size();
        });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        self.with(|inner| {
            // While it moves, both the old and the new block may exist.
            if new_size > layout.size() && !inner.use_.allows(new_size) {
                return ptr::null_mut();
            }
            // SAFETY: the caller guarantees that `new_size` with this alignment does not overflow.
            let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
            // SAFETY: the block came from `alloc` with an alignment of `layout.align()`.
            let moved = unsafe { inner.blocks.reallocate(block, new_layout) };
            match moved {
                Some(moved) => {
                    inner.use_.used -= layout.size();
                    inner.use_.add(new_size);
                    moved.as_ptr()
                }
                None => ptr::null_mut(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap() -> Heap {
        let heap = Heap::new();
        heap.give(std::vec![MaybeUninit::uninit(); 4096].leak());
        heap
    }

    #[test]
    fn usage_follows_allocations_and_remembers_the_peak() {
        let heap = heap();
        let layout = Layout::from_size_align(1000, 16).expect("a valid layout");
        // SAFETY: the block is given back with the layout it was taken with, and not used after.
        unsafe {
            let block = heap.alloc(layout);
            assert_eq!(block.align_offset(16), 0);
            let block = heap.realloc(block, layout, 2000);
            assert!(!block.is_null());
            heap.dealloc(block, Layout::from_size_align(2000, 16).expect("a valid layout"));
        }
        assert_eq!(heap.usage(), HeapUse { total: 4096, used: 0, peak: 2000 });
        heap.forget_peak();
        assert_eq!(heap.usage().peak, 0);
    }

    #[test]
    fn large_allocations_leave_a_reserve_for_small_ones() {
        let heap = heap();
        let large = Layout::from_size_align(3900, 8).expect("a valid layout");
        let small = Layout::from_size_align(1000, 8).expect("a valid layout");
        // SAFETY: the layouts are not empty.
        unsafe {
            assert!(heap.alloc(large).is_null());
            assert!(!heap.alloc(small).is_null());
        }
    }

    #[test]
    fn too_much_is_refused_and_not_counted() {
        let heap = heap();
        let layout = Layout::from_size_align(5000, 8).expect("a valid layout");
        // SAFETY: the layout is not empty.
        assert!(unsafe { heap.alloc(layout) }.is_null());
        assert_eq!(heap.usage().used, 0);
    }
}
