//! Random bytes: ChaCha20 (RFC 8439) under a key that each draw replaces (Bernstein, "Fast-key-erasure random-number
//! generators", 2017). What is in memory tells nothing about what was drawn before. The bytes are as good as the first
//! key.

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use wasmbed_abi::Errno;

/// The key of the next draw.
pub(crate) struct Random([u8; 32]);

impl Random {
    /// A source whose first key nobody else has, and nobody will have again.
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Random(key)
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// [`Errno::TooLong`] if it is longer than what one key is good for, 256 GiB.
    pub(crate) fn draw(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        let Random(key) = self;
        let mut stream = ChaCha20::new(&(*key).into(), &Default::default());
        *key = [0; 32];
        stream.apply_keystream(key);
        out.fill(0);
        stream.try_apply_keystream(out).map_err(|_| Errno::TooLong)
    }
}
