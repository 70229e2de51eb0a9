//! How deep the stack ever went: it is painted at the start and searched for paint later.

/// What unused stack is filled with.
pub const PAINT: u32 = 0xdead_57ac;

/// Paints `unused`, the part of the stack below everything in use.
pub fn paint(unused: &mut [u32]) {
    unused.fill(PAINT);
}

/// How many bytes of `stack`, lowest address first, were never touched since they were painted.
pub fn untouched_bytes(stack: &[u32]) -> usize {
    stack.iter().take_while(|word| **word == PAINT).count() * size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_deepest_touch_counts() {
        let mut stack = [0; 16];
        paint(&mut stack[..12]);
        assert_eq!(untouched_bytes(&stack), 48);
        stack[3] = 1;
        assert_eq!(untouched_bytes(&stack), 12);
        stack[0] = 1;
        assert_eq!(untouched_bytes(&stack), 0);
    }
}
