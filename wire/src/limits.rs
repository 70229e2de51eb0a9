//! Device classes and what each allows a module; enforced by the service at admission and by the
//! device at load, from this one table.

use core::{fmt, str::FromStr};

use minicbor::{Decode, Encode};

/// What kind of machine a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum Class {
    /// Linux.
    #[n(0)]
    Mpu,
    /// A Cortex-M3 microcontroller.
    #[n(1)]
    Mcu,
    /// A RISC-V or Xtensa microcontroller.
    #[n(2)]
    Riscv,
}

impl Class {
    /// Every class, in the order of the numbers on the wire.
    pub const ALL: [Class; 3] = [Class::Mpu, Class::Mcu, Class::Riscv];

    /// The name used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Mpu => "mpu",
            Class::Mcu => "mcu",
            Class::Riscv => "riscv",
        }
    }

    /// What a module may use on this class.
    pub const fn limits(self) -> &'static Limits {
        match self {
            Class::Mpu => &MPU,
            Class::Mcu => &MCU,
            Class::Riscv => &RISCV,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownClass;

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a device class; use mpu, mcu or riscv")
    }
}

impl core::error::Error for UnknownClass {}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Class::ALL.into_iter().find(|class| class.name() == text).ok_or(UnknownClass)
    }
}

/// What one class allows a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// WebAssembly stack of one instance, in bytes.
    pub stack_bytes: u32,
    /// Longest call into the module, in milliseconds.
    pub call_ms: u32,
    /// Instances on one device.
    pub instances: u32,
    /// Functions a module may define.
    pub functions: u32,
    /// Elements of an instance's tables; each takes one pointer.
    pub table_elements: u32,
    /// Threads that an instance may have at once, besides the one it is called on; each has a stack of its own.
    pub threads: u32,
    /// Whether the module may use files.
    pub filesystem: bool,
    /// Whether the module may use network, cryptography and microROS.
    pub network: bool,
}

const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * KIB;

const MPU: Limits = Limits {
    memory_bytes: 8 * GIB,
    stack_bytes: 8 * 1024 * 1024,
    call_ms: 60_000,
    instances: 100,
    functions: 1000,
    table_elements: 65_536,
    threads: 8,
    filesystem: true,
    network: true,
};

const MCU: Limits = Limits {
    memory_bytes: 64 * KIB,
    stack_bytes: 8 * 1024,
    call_ms: 100,
    instances: 5,
    functions: 50,
    table_elements: 1024,
    threads: 0,
    filesystem: false,
    network: false,
};

const RISCV: Limits = Limits {
    memory_bytes: 512 * KIB,
    stack_bytes: 32 * 1024,
    call_ms: 500,
    instances: 20,
    functions: 200,
    table_elements: 65_536,
    threads: 0,
    filesystem: false,
    network: true,
};

/// Longest manifest with its signature, in bytes. One block carries it whole, whatever the block size.
pub const MAX_MANIFEST_BYTES: usize = 384;
/// Longest keyring with its signature, in bytes.
pub const MAX_KEYRING_BYTES: usize = 512;
/// Most keys in a keyring.
pub const MAX_KEYS: usize = 8;
/// Smallest and largest block, in bytes.
pub const BLOCK_BYTES: core::ops::RangeInclusive<u32> = 256..=16 * 1024;
/// Largest artifact payload, in bytes.
pub const MAX_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;
/// Largest WebAssembly file, in bytes.
pub const MAX_MODULE_BYTES: u32 = 16 * 1024 * 1024;
/// Default time between two heartbeats, in milliseconds.
pub const HEARTBEAT_MS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_by_its_name_alone() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(class));
        }
        for text in ["", "MCU", "mcu ", "xtensa"] {
            assert_eq!(text.parse::<Class>(), Err(UnknownClass), "{text}");
        }
    }

    #[test]
    fn classes_are_in_the_order_of_their_numbers() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
        }
    }

    #[test]
    fn a_larger_class_allows_at_least_what_a_smaller_one_does() {
        for (small, large) in [(&MCU, &RISCV), (&RISCV, &MPU)] {
            assert!(small.memory_bytes < large.memory_bytes && small.stack_bytes < large.stack_bytes);
            assert!(small.call_ms < large.call_ms && small.instances < large.instances);
            assert!(small.functions < large.functions && small.table_elements <= large.table_elements);
            assert!(small.threads <= large.threads);
            assert!(small.filesystem <= large.filesystem && small.network <= large.network);
        }
    }
}
