//! Engine settings, defined once: an artifact runs only on an engine set up as its compiler was.
//!
//! [`bytecode`] is both sides of the boards' path: the service compiles with it and boards run with it.
//! wasmtime compares the settings at load; [`REVISION`] makes a difference visible in the manifest
//! already, before anything is downloaded.

use core::num::NonZeroUsize;

use wasmbed_abi::Features;
use wasmbed_wire::{limits::Class, message::MAX_FRAMES};
use wasmtime::{Config, wasmparser::WasmFeatures};

#[cfg(feature = "std")]
use crate::Target;

/// The version both sides are built with; a test compares it with the workspace's dependency.
pub(crate) const WASMTIME_VERSION: &str = "48.0.8";
/// Rises with every change of [`bytecode`] or [`wasm_features`] for boards; a test pins what they say.
pub(crate) const REVISION: u8 = 1;
/// Rises when what modules may import or export grows, and so what an older device cannot load.
pub(crate) const GUEST_ABI: &str = "wasmbed-3";

/// Bytecode: no virtual memory, no signals, no 64-bit atomics; time is fuel. Public for programs that measure
/// what one of these settings costs; devices have a [`Runtime`](crate::Runtime).
#[inline(never)]
pub fn bytecode(class: Class, stack_bytes: usize) -> Config {
    // The interpreter has neither vectors nor threads: the MPU class runs as native code.
    let features = wasm_features(if class == Class::Mpu { Class::Riscv } else { class });
    let mut config = Config::new();
    only(&mut config, features);
    config
        .memory_reservation(0)
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .guard_before_linear_memory(false)
        .memory_init_cow(false)
        .signals_based_traps(false)
        .table_lazy_init(false)
        .concurrency_support(false)
        .consume_fuel(true)
        // What only debuggers read would be most of a small artifact.
        .generate_address_map(false)
        .debug_symbols(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES))
        .max_wasm_stack(stack_bytes)
        // Only compared with the line above; stacks for asynchronous calls are not used.
        .async_stack_size(stack_bytes);
    config
}

/// Bytecode on a machine that has a native target too, which would be the default.
#[cfg(feature = "std")]
pub(crate) fn for_target(mut config: Config, target: Target) -> wasmtime::Result<Config> {
    config.target(target.name())?;
    Ok(config)
}

/// Native code on Linux: guard pages and signals do the checks; a watch thread ends long calls.
#[cfg(feature = "compile")]
pub(crate) fn native(class: Class, stack_bytes: usize) -> Config {
    let mut config = Config::new();
    only(&mut config, wasm_features(class));
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .shared_memory(Features::of(class).threads)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes);
    config
}

/// The features of a class in the terms of the WebAssembly parser, for validators.
pub fn wasm_features(class: Class) -> WasmFeatures {
    let Features {
        sign_extension,
        bulk_memory,
        custom_page_sizes,
        overlong_call_indirect,
        reference_types,
        multi_value,
        extern_references,
        saturating_conversions,
        mutable_globals,
        extended_constants,
        simd,
        threads,
        tail_calls,
        function_references,
        memory64,
    } = Features::of(class);
    [
        (true, WasmFeatures::FLOATS),
        (sign_extension, WasmFeatures::SIGN_EXTENSION),
        (bulk_memory, WasmFeatures::BULK_MEMORY),
        (custom_page_sizes, WasmFeatures::CUSTOM_PAGE_SIZES),
        (overlong_call_indirect, WasmFeatures::CALL_INDIRECT_OVERLONG),
        (reference_types, WasmFeatures::REFERENCE_TYPES),
        (multi_value, WasmFeatures::MULTI_VALUE),
        (extern_references, WasmFeatures::GC_TYPES),
        (saturating_conversions, WasmFeatures::SATURATING_FLOAT_TO_INT),
        (mutable_globals, WasmFeatures::MUTABLE_GLOBAL),
        (extended_constants, WasmFeatures::EXTENDED_CONST),
        (simd, WasmFeatures::SIMD),
        (threads, WasmFeatures::THREADS),
        (tail_calls, WasmFeatures::TAIL_CALL),
        (function_references, WasmFeatures::FUNCTION_REFERENCES),
        (memory64, WasmFeatures::MEMORY64),
    ]
    .into_iter()
    .filter_map(|(wanted, feature)| wanted.then_some(feature))
    .fold(WasmFeatures::empty(), WasmFeatures::union)
}

fn only(config: &mut Config, features: WasmFeatures) {
    // Off first: some features share bits, and those that are wanted win.
    config.wasm_features(features.complement(), false).wasm_features(features, true);
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    #![allow(unsafe_code, clippy::unwrap_used, reason = "tests of what is refused; a panic is a failure")]

    use super::*;
    use wasmtime::{Engine, Module};

    fn board() -> Config {
        for_target(bytecode(Class::Mcu, 8192), Target::Pulley64).unwrap()
    }

    fn loads_when_compiled_with(change: impl Fn(&mut Config)) -> bool {
        let mut config = board();
        change(&mut config);
        let bytes = Engine::new(&config).unwrap().precompile_module(b"\0asm\x01\0\0\0").unwrap();
        // SAFETY: made by this engine or one that differs in a setting that is compared.
        unsafe { Module::deserialize(&Engine::new(&board()).unwrap(), &bytes) }.is_ok()
    }

    #[test]
    fn an_artifact_made_with_any_other_tunable_is_refused() {
        assert!(loads_when_compiled_with(|_| {}));
        let changes: [fn(&mut Config); 6] = [
            |config| _ = config.consume_fuel(false),
            |config| _ = config.epoch_interruption(true),
            |config| _ = config.memory_reservation(1 << 20),
            |config| _ = config.memory_guard_size(1 << 16),
            |config| _ = config.table_lazy_init(true),
            |config| _ = config.wasm_multi_value(true),
        ];
        for (index, change) in changes.iter().enumerate() {
            assert!(!loads_when_compiled_with(change), "change {index}");
        }
    }

    #[test]
    fn the_version_in_ids_is_the_one_that_is_built() {
        let workspace = include_str!("../../../Cargo.toml");
        let dependency = format!("wasmtime = {{ version = \"={WASMTIME_VERSION}\"");
        assert!(workspace.contains(&dependency), "set WASMTIME_VERSION to what Cargo.toml says");
    }
}
