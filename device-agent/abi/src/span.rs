//! Checks of the (pointer, length) pairs modules hand over.

use core::ops::Range;

use crate::Errno;

/// The bytes `ptr..ptr + len` of a memory of `memory_bytes`, at most `max_bytes` of them.
///
/// # Errors
/// [`Errno::Fault`] if they do not all lie inside the memory, [`Errno::TooLong`] if they are too many.
pub fn span(memory_bytes: usize, ptr: i32, len: i32, max_bytes: usize) -> Result<Range<usize>, Errno> {
    // In 64 bits the sum of two 32-bit values cannot overflow.
    let start = u64::from(ptr as u32);
    let end = start + u64::from(len as u32);
    if end > memory_bytes as u64 {
        return Err(Errno::Fault);
    }
    // Both are at most `memory_bytes`, a `usize`.
    let range = start as usize..end as usize;
    if range.len() > max_bytes { Err(Errno::TooLong) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: usize = usize::MAX;

    #[test]
    fn a_span_inside_the_memory_is_the_bytes_it_names() {
        assert_eq!(span(100, 10, 20, ANY), Ok(10..30));
        assert_eq!(span(100, 0, 100, 100), Ok(0..100));
        assert_eq!(span(100, 100, 0, ANY), Ok(100..100));
        assert_eq!(span(0, 0, 0, 0), Ok(0..0));
    }

    #[test]
    fn a_span_that_leaves_the_memory_is_a_fault() {
        assert_eq!(span(100, 81, 20, ANY), Err(Errno::Fault));
        assert_eq!(span(100, 101, 0, ANY), Err(Errno::Fault));
        assert_eq!(span(0, 0, 1, ANY), Err(Errno::Fault));
    }

    #[test]
    fn pointers_and_lengths_are_unsigned_and_their_sum_never_wraps() {
        assert_eq!(span(100, -1, 1, ANY), Err(Errno::Fault));
        assert_eq!(span(100, 1, -1, ANY), Err(Errno::Fault));
        assert_eq!(span(100, -1, -1, ANY), Err(Errno::Fault));
        assert_eq!(span(100, i32::MIN, i32::MIN, ANY), Err(Errno::Fault));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(span(1 << 32, i32::MIN, 1, ANY), Ok(0x8000_0000..0x8000_0001));
    }

    #[test]
    fn a_span_with_too_many_bytes_is_told_apart_from_a_fault() {
        assert_eq!(span(100, 0, 11, 10), Err(Errno::TooLong));
        assert_eq!(span(100, 0, 101, 10), Err(Errno::Fault));
    }
}
