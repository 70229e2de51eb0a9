//! What an artifact's payload is made for.

use wasmbed_wire::{RuntimeId, limits::Class};

use crate::tunables;

/// A form of a module's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The WebAssembly file itself; the device compiles it.
    Wasm,
    /// Bytecode for devices with 32-bit pointers.
    Pulley32,
    /// Bytecode for machines with 64-bit pointers: the boards' path, run by tests on the host.
    Pulley64,
}

impl Target {
    /// What devices of this class run.
    pub const fn of(class: Class) -> Target {
        match class {
            Class::Mpu => Target::Wasm,
            Class::Mcu | Class::Riscv => Target::Pulley32,
        }
    }

    /// The bytecode this machine can run.
    pub const HERE: Target =
        if cfg!(target_pointer_width = "32") { Target::Pulley32 } else { Target::Pulley64 };

    /// The id manifests carry, so that a device refuses an artifact made for another runtime before it
    /// loads it. Covers target, guest ABI and, for bytecode, wasmtime's version and the tunables.
    pub const fn runtime_id(self) -> RuntimeId {
        let id = fnv1a(0xcbf2_9ce4_8422_2325, tunables::GUEST_ABI.as_bytes());
        let id = fnv1a(id, self.name().as_bytes());
        let id = match self {
            Target::Wasm => id,
            Target::Pulley32 | Target::Pulley64 => {
                fnv1a(fnv1a(id, tunables::WASMTIME_VERSION.as_bytes()), &[tunables::REVISION])
            }
        };
        RuntimeId(id.to_be_bytes())
    }

    /// Its name; for bytecode, wasmtime's name of the target.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Wasm => "wasm",
            Target::Pulley32 => "pulley32",
            Target::Pulley64 => "pulley64",
        }
    }
}

/// Fowler-Noll-Vo 1a: tells versions apart; it protects against mistakes, the signature against the rest.
const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    // A zero byte ends each part, so that "ab", "c" and "a", "bc" differ.
    hash.wrapping_mul(0x0100_0000_01b3)
}
