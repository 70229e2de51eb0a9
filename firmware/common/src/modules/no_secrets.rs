//! No secrets and no random bytes, on boards whose class has no calls for security.

use wasmbed_abi::Errno;
use wasmbed_wire::provision::Provision;

pub(super) struct Secrets;

impl Secrets {
    pub(super) fn new(_: &Provision<'_>, _: u32) -> Self {
        Secrets
    }

    pub(super) fn of(&self, _: &str) -> Result<[u8; 32], Errno> {
        Err(Errno::Unsupported)
    }

    pub(super) fn can_draw(&self) -> Result<bool, Errno> {
        Err(Errno::Unsupported)
    }

    pub(super) fn seed(&mut self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::Unsupported)
    }

    pub(super) fn draw(&mut self, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::Unsupported)
    }
}
