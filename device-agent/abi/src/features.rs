//! WebAssembly features of each class, beyond the first version of WebAssembly.

use wasmbed_wire::limits::Class;

/// What a class's modules may be built with. The service's validator and the runtime's engine are both
/// set up from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `i32.extend8_s` and its like.
    pub sign_extension: bool,
    /// `memory.copy`, `memory.fill`, passive segments.
    pub bulk_memory: bool,
    /// Pages of one byte, for memories smaller than 64 KiB.
    pub custom_page_sizes: bool,
    /// Longer encodings of `call_indirect`, which compilers emit; they mean the same.
    pub overlong_call_indirect: bool,
    /// Tables of references and their instructions.
    pub reference_types: bool,
    /// Functions and blocks with several results.
    pub multi_value: bool,
    /// References that only hosts can make, on top of those to functions.
    pub extern_references: bool,
    /// Conversions from floats that clamp instead of trapping.
    pub saturating_conversions: bool,
    /// Exported and imported globals that change.
    pub mutable_globals: bool,
    /// Arithmetic in constant expressions.
    pub extended_constants: bool,
    /// 128-bit vectors.
    pub simd: bool,
    /// Atomic instructions, and memory that several threads share.
    pub threads: bool,
    /// `return_call` and its like.
    pub tail_calls: bool,
    /// Typed references to functions.
    pub function_references: bool,
    /// Memories larger than 4 GiB.
    pub memory64: bool,
}

impl Features {
    /// What modules for this class may use.
    pub const fn of(class: Class) -> Features {
        match class {
            Class::Mcu => MCU,
            Class::Riscv => RISCV,
            Class::Mpu => MPU,
        }
    }
}

const MCU: Features = Features {
    sign_extension: true,
    bulk_memory: true,
    custom_page_sizes: true,
    overlong_call_indirect: true,
    reference_types: false,
    multi_value: false,
    extern_references: false,
    saturating_conversions: false,
    mutable_globals: false,
    extended_constants: false,
    simd: false,
    threads: false,
    tail_calls: false,
    function_references: false,
    memory64: false,
};

const RISCV: Features = Features { reference_types: true, multi_value: true, ..MCU };

const MPU: Features = Features {
    extern_references: true,
    saturating_conversions: true,
    mutable_globals: true,
    extended_constants: true,
    simd: true,
    threads: true,
    tail_calls: true,
    function_references: true,
    memory64: true,
    ..RISCV
};
