//! Secrets of modules and random bytes, both made from the secret that the board was given when it was
//! provisioned.
//!
//! Random bytes are ChaCha20 (RFC 8439) under a key that each draw replaces (Bernstein, "Fast-key-erasure
//! random-number generators", 2017): what is in memory tells nothing about what was drawn before. The first key is
//! derived from the device's secret, a number that no other start had, and what differs by chance. So the bytes are
//! as good as the secret: whoever has it, and the number, can tell them.

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wasmbed_abi::Errno;
use wasmbed_wire::provision::{DeviceSecret, Provision};

/// What is derived; part of the derivation, so that texts stay as they are.
const MODULE: &[u8] = b"wasmbed module secret";
const RANDOM: &[u8] = b"wasmbed random";

/// What is derived from the device's secret.
pub(super) struct Secrets {
    device: Option<DeviceSecret>,
    boot_floor: u32,
    starts: u32,
    /// The key of the next draw.
    key: Option<[u8; 32]>,
}

impl Secrets {
    pub(super) fn new(provision: &Provision<'_>, starts: u32) -> Self {
        let Provision { secret, boot_floor, .. } = *provision;
        Secrets { device: secret, boot_floor, starts, key: None }
    }

    /// The secret of an owner.
    pub(super) fn of(&self, owner: &str) -> Result<[u8; 32], Errno> {
        self.derive(&[MODULE, owner.as_bytes()])
    }

    /// Whether random bytes can be drawn without [`Secrets::seed`].
    pub(super) fn can_draw(&self) -> Result<bool, Errno> {
        self.device.map(|_| self.key.is_some()).ok_or(Errno::Unsupported)
    }

    /// Makes the first key. No other start has this number.
    pub(super) fn seed(&mut self, start: u64, now_us: u64) -> Result<(), Errno> {
        let (floor, starts) = (self.boot_floor.to_le_bytes(), self.starts.to_le_bytes());
        let key = self.derive(&[RANDOM, &start.to_le_bytes(), &floor, &starts, &now_us.to_le_bytes()])?;
        self.key = Some(key);
        Ok(())
    }

    /// Fills `out`.
    pub(super) fn draw(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        let key = self.key.as_mut().ok_or(Errno::Io)?;
        let mut stream = ChaCha20::new(&(*key).into(), &Default::default());
        *key = [0; 32];
        stream.apply_keystream(key);
        out.fill(0);
        stream.try_apply_keystream(out).map_err(|_| Errno::TooLong)
    }

    /// HMAC-SHA-256 (RFC 2104) over these parts. All but the last have a fixed length where the first is the same.
    fn derive(&self, parts: &[&[u8]]) -> Result<[u8; 32], Errno> {
        let DeviceSecret(secret) = self.device.as_ref().ok_or(Errno::Unsupported)?;
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret).map_err(|_| Errno::Io)?;
        parts.iter().for_each(|part| mac.update(part));
        Ok(mac.finalize().into_bytes().into())
    }
}
