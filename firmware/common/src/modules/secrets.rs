//! Secrets of modules, made from the secret that the board was given when it was provisioned, and random bytes.
//!
//! The first key for random bytes ([`Random`]) is derived from the device's secret, from a number that no other start
//! had, from what differs by chance, and from the noise of the hardware where there is any. Without noise the bytes are
//! as good as the secret: whoever has it, and the number, can tell them.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wasmbed_abi::Errno;
use wasmbed_wire::provision::{DeviceSecret, Provision};

use crate::random::Random;

/// What is derived; part of the derivation, so that texts stay as they are.
const MODULE: &[u8] = b"wasmbed module secret";
const RANDOM: &[u8] = b"wasmbed random";

/// What is derived from the device's secret.
pub(super) struct Secrets {
    device: Option<DeviceSecret>,
    noise: Option<[u8; 32]>,
    boot_floor: u32,
    starts: u32,
    random: Option<Random>,
}

impl Secrets {
    pub(super) fn new(provision: &Provision<'_>, starts: u32, noise: Option<[u8; 32]>) -> Self {
        let Provision { secret, boot_floor, .. } = *provision;
        Secrets { device: secret, noise, boot_floor, starts, random: None }
    }

    /// The secret of an owner.
    pub(super) fn of(&self, owner: &str) -> Result<[u8; 32], Errno> {
        let DeviceSecret(secret) = self.device.as_ref().ok_or(Errno::Unsupported)?;
        derive(secret, &[MODULE, owner.as_bytes()])
    }

    /// Whether random bytes can be drawn without [`Secrets::seed`].
    pub(super) fn can_draw(&self) -> Result<bool, Errno> {
        let has_source = self.device.is_some() || self.noise.is_some();
        if has_source { Ok(self.random.is_some()) } else { Err(Errno::Unsupported) }
    }

    /// Whether each start differs from all others without a number.
    pub(super) fn has_noise(&self) -> bool {
        self.noise.is_some()
    }

    /// Makes the first key. Without noise, no other start has this number.
    pub(super) fn seed(&mut self, start: u64, now_us: u64) -> Result<(), Errno> {
        let (floor, starts) = (self.boot_floor.to_le_bytes(), self.starts.to_le_bytes());
        let secret = self.device.map_or([0; 32], |DeviceSecret(secret)| secret);
        let noise = self.noise.as_ref().map_or(&[][..], |noise| noise);
        let parts = [RANDOM, &start.to_le_bytes(), &floor, &starts, &now_us.to_le_bytes(), noise];
        self.random = Some(Random::new(derive(&secret, &parts)?));
        Ok(())
    }

    /// Fills `out`.
    pub(super) fn draw(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        self.random.as_mut().ok_or(Errno::Io)?.draw(out)
    }
}

/// HMAC-SHA-256 (RFC 2104) over these parts. All but the last have a fixed length where the first is the same.
fn derive(secret: &[u8; 32], parts: &[&[u8]]) -> Result<[u8; 32], Errno> {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret).map_err(|_| Errno::Io)?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().into())
}
