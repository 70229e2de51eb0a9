//! Random numbers of tests, the same at every run.

pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Less than `end` (xorshift64).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or_default()
    }
}
