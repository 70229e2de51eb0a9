//! What the compiler calls for atomic operations, for a core without the instruction: interrupts are masked
//! meanwhile, and there is one core. The names and arguments are those of GCC's libatomic.

use crate::cpu::{disable_interrupts, restore_interrupts};

/// Runs `f` on the value at `place`, and stores what it returns, if anything; returns the value before.
///
/// # Safety
///
/// The place is valid for reads and writes, and aligned.
unsafe fn update<T: Copy>(place: *mut T, f: impl FnOnce(T) -> Option<T>) -> T {
    let ps = disable_interrupts();
    // SAFETY: the caller's promise. Volatile, so that none of this becomes such a call again.
    let old = unsafe { place.read_volatile() };
    if let Some(new) = f(old) {
        // SAFETY: the caller's promise.
        unsafe { place.write_volatile(new) };
    }
    // SAFETY: as it was.
    unsafe { restore_interrupts(ps) };
    old
}

macro_rules! atomic {
    ($int:ty: $load:ident $store:ident $exchange:ident $compare_exchange:ident $($fetch:ident $op:expr),*) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $load(place: *const $int, _order: i32) -> $int {
            // SAFETY: the compiler passes a valid place; reading one is one instruction.
            unsafe { place.read_volatile() }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $store(place: *mut $int, value: $int, _order: i32) {
            // SAFETY: the compiler passes a valid place; writing one is one instruction.
            unsafe { place.write_volatile(value) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $exchange(place: *mut $int, value: $int, _order: i32) -> $int {
            // SAFETY: the compiler passes a valid place.
            unsafe { update(place, |_| Some(value)) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $compare_exchange(
            place: *mut $int,
            expected: *mut $int,
            value: $int,
            _success: i32,
            _failure: i32,
        ) -> bool {
            // SAFETY: the compiler passes two valid places.
            let wanted = unsafe { expected.read() };
            // SAFETY: the same.
            let old = unsafe { update(place, |old| (old == wanted).then_some(value)) };
            // SAFETY: the same.
            unsafe { expected.write(old) };
            old == wanted
        }

        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $fetch(place: *mut $int, value: $int, _order: i32) -> $int {
                let op: fn($int, $int) -> $int = $op;
                // SAFETY: the compiler passes a valid place.
                unsafe { update(place, |old| Some(op(old, value))) }
            }
        )*
    };
}

atomic!(u8: __atomic_load_1 __atomic_store_1 __atomic_exchange_1 __atomic_compare_exchange_1);
atomic!(u32: __atomic_load_4 __atomic_store_4 __atomic_exchange_4 __atomic_compare_exchange_4
    __atomic_fetch_add_4 u32::wrapping_add,
    __atomic_fetch_sub_4 u32::wrapping_sub);
