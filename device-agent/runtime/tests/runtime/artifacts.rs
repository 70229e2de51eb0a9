//! An artifact runs on the runtime it was made for and is refused by every other.
#![allow(unsafe_code, reason = "bytes are loaded right after they were compiled, or must be refused")]

use std::{collections::HashSet, ptr::NonNull};

use wasmbed_runtime::{LoadError, Module, Runtime, Stopped, Target, TrapCode, compile};
use wasmbed_wire::limits::Class;

use crate::world::Device;

const SMALL: &str = r#"(module (memory (export "memory") 64 64 (pagesize 1)) (func (export "tick")))"#;

fn small() -> Vec<u8> {
    wat::parse_str(SMALL).expect("valid text")
}

fn board(class: Class) -> Runtime {
    Runtime::bytecode(class, 8192).expect("the engine starts")
}

fn load(runtime: &Runtime, bytes: &[u8]) -> Result<Module, LoadError> {
    // SAFETY: what `compile` made is loaded as it is; the rest is refused before any of it is trusted.
    unsafe { runtime.load_copied(bytes, 0) }
}

fn refusal(runtime: &Runtime, bytes: &[u8]) -> String {
    load(runtime, bytes).map(|_| ()).expect_err("the artifact is for another runtime").to_string()
}

#[test]
fn one_artifact_runs_on_both_board_classes() {
    let bytes = compile(&small(), Target::Pulley64, Class::Mcu).expect("it compiles");
    assert!(load(&board(Class::Mcu), &bytes).is_ok());
    assert!(load(&board(Class::Riscv), &bytes).is_ok());
}

#[test]
fn an_artifact_with_features_a_class_lacks_is_refused() {
    let bytes = compile(&small(), Target::Pulley64, Class::Riscv).expect("it compiles");
    let refusal = refusal(&board(Class::Mcu), &bytes);
    assert!(refusal.contains("feature"), "{refusal}");
}

#[test]
fn an_artifact_for_another_pointer_size_is_refused() {
    let bytes = compile(&small(), Target::Pulley32, Class::Mcu).expect("it compiles");
    let refusal = refusal(&board(Class::Mcu), &bytes);
    assert!(refusal.contains("pulley32"), "{refusal}");
}

#[test]
fn an_artifact_of_another_wasmtime_is_refused() {
    let mut bytes = compile(&small(), Target::Pulley64, Class::Mcu).expect("it compiles");
    // The engine section starts with a format byte, then a length and the version's text.
    let version = b"48";
    let at = bytes
        .windows(3)
        .position(|window| window == [2, version[0], version[1]])
        .expect("the version is there");
    bytes[at + 2] = b'7';
    let refusal = refusal(&board(Class::Mcu), &bytes);
    assert!(refusal.contains("version '47'"), "{refusal}");
}

#[test]
fn what_is_no_artifact_is_refused() {
    let runtime = board(Class::Mcu);
    assert!(load(&runtime, &[]).is_err());
    assert!(load(&runtime, &[0; 4096]).is_err());
    assert!(load(&runtime, &small()).is_err());
}

#[test]
fn artifacts_at_odd_addresses_are_refused() {
    let bytes = [0u8; 64];
    let odd = &bytes[bytes.as_ptr().align_offset(16) + 1..];
    // SAFETY: refused before it is looked at.
    let result = unsafe { board(Class::Mcu).load(NonNull::from(odd), 0) };
    assert!(matches!(result, Err(LoadError::Misaligned)));
}

#[test]
fn an_artifact_is_run_where_it_lies() {
    #[repr(align(16))]
    struct Slot([u8; 8192]);
    let compiled = compile(&small(), Target::Pulley64, Class::Mcu).expect("it compiles");
    let mut slot = Box::new(Slot([0; 8192]));
    slot.0[..compiled.len()].copy_from_slice(&compiled);
    let runtime = board(Class::Mcu);
    for _ in 0..2 {
        // SAFETY: compiled above, not changed since; the module goes before the slot and the next load.
        let module = unsafe { runtime.load(NonNull::from(&slot.0[..compiled.len()]), 0) }.expect("it loads");
        let host = Device::default();
        let mut instance = runtime.instantiate(&module, host, Default::default()).expect("it starts");
        assert_eq!(instance.tick(), Ok(()));
    }
}

#[test]
fn an_instance_has_the_stack_its_artifact_says_and_no_more_than_its_class_allows() {
    let deep = r#"(module (memory (export "memory") 64 64 (pagesize 1))
        (func $down (param i64) (result i64) (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 0))
            (else (i64.add (call $down (i64.sub (local.get 0) (i64.const 1))) (local.get 0)))))
        (func (export "tick") (drop (call $down (i64.const 60)))))"#;
    let wasm = wat::parse_str(deep).expect("valid text");
    let bytes = compile(&wasm, Target::Pulley64, Class::Mcu).expect("it compiles");
    let runtime = board(Class::Mcu);
    let tick = |stack_bytes: u32| {
        // SAFETY: compiled above.
        let module = unsafe { runtime.load_copied(&bytes, stack_bytes) }.expect("it loads");
        runtime.instantiate(&module, Device::default(), Default::default()).expect("it starts").tick()
    };
    for little in [1, 1024] {
        assert_eq!(tick(little), Err(Stopped::Trap(TrapCode::STACK_OVERFLOW)), "{little}");
    }
    for enough in [0, 4096, 8192, u32::MAX] {
        assert_eq!(tick(enough), Ok(()), "{enough}");
    }
}

#[test]
fn compiling_is_reproducible() {
    for target in [Target::Wasm, Target::Pulley32, Target::Pulley64] {
        let once = compile(&small(), target, Class::Mcu).expect("it compiles");
        assert!(compile(&small(), target, Class::Mcu).expect("it compiles") == once, "{target:?}");
    }
}

#[test]
fn broken_files_are_refused_with_a_reason() {
    let wasm = small();
    for target in [Target::Wasm, Target::Pulley32] {
        for broken in [&wasm[..wasm.len() / 2], &[0; 4096], b"", b"(module)"] {
            let error = compile(broken, target, Class::Mcu).expect_err("not a module").to_string();
            assert!(!error.is_empty());
        }
    }
}

#[test]
fn every_target_has_an_id_of_its_own() {
    let ids: HashSet<_> = [Target::Wasm, Target::Pulley32, Target::Pulley64].map(Target::runtime_id).into();
    assert_eq!(ids.len(), 3);
    assert_eq!(board(Class::Mcu).id(), Target::Pulley64.runtime_id());
    assert_eq!(Runtime::new(Class::Mpu).expect("the engine starts").id(), Target::Wasm.runtime_id());
}
