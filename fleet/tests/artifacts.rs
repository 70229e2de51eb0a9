//! What is admitted, what is refused and why, and what becomes of what is admitted.
#![allow(clippy::unwrap_used, reason = "a test may stop where its world is wrong")]

use ed25519_compact::{PublicKey, Signature};
use sha2::{Digest as _, Sha256};
use wasmbed_boards::Boards;
use wasmbed_fleet::{
    api::{Code, Problem},
    artifacts::{Signer, build, check, check_size},
    store::NewModule,
};
use wasmbed_runtime::Target;
use wasmbed_wire::{
    limits::{Class, MAX_MODULE_BYTES},
    manifest::Manifest,
    sign1::{Audience, Sign1, signed_head},
};

/// A module with these further fields, otherwise as small as can be.
fn module(fields: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(module {fields} (memory (export "memory") 1) (func (export "tick")))"#))
        .unwrap()
}

/// Classes that admit a file.
fn admitted(wasm: &[u8]) -> Vec<Class> {
    check(wasm).classes.into_iter().filter(|report| report.admitted).map(|report| report.class).collect()
}

/// The rules a class says are broken, with what was found.
fn broken(wasm: &[u8], class: Class) -> Vec<(String, String)> {
    let report = check(wasm).classes.into_iter().find(|report| report.class == class).unwrap();
    report.violations.into_iter().map(|violation| (violation.rule, violation.found)).collect()
}

#[track_caller]
fn refused(wasm: &[u8], class: Class, rule: &str, found: &str) {
    let violations = broken(wasm, class);
    let is_named = |(r, f): &(String, String)| r == rule && f.contains(found);
    assert!(violations.iter().any(is_named), "no {rule} {found:?} in {violations:?}");
}

fn signer() -> Signer {
    Signer::from_seed([7; 32])
}

fn built(version: &str, wasm: Vec<u8>) -> Result<NewModule, Problem> {
    build(&signer(), &Boards::embedded().unwrap(), "thermo".parse().unwrap(), version, wasm.into())
}

#[test]
fn a_plain_module_is_admitted_everywhere() {
    let wasm = module(r#"(import "wasmbed" "log" (func (param i32 i32 i32) (result i32)))"#);
    assert_eq!(admitted(&wasm), Class::ALL);
}

#[test]
fn what_is_no_module_is_refused_by_every_class() {
    let good = module("");
    let component = b"\0asm\x0d\0\x01\0";
    let cases: [(&[u8], &str); 5] = [
        (b"", "begin"),
        (b"#!/bin/sh", "begin"),
        (&good[..good.len() - 3], "unexpected end"),
        (component, "component"),
        (b"\0asm\x01\0\0\0\xff", "malformed"),
    ];
    for (wasm, found) in cases {
        for class in Class::ALL {
            refused(wasm, class, "format", found);
        }
    }
}

#[test]
fn memory_is_limited_by_class() {
    let big = wat::parse_str(r#"(module (memory (export "memory") 2) (func (export "tick")))"#).unwrap();
    refused(&big, Class::Mcu, "memory", "131072 bytes");
    assert_eq!(admitted(&big), [Class::Mpu, Class::Riscv]);
    let bigger = wat::parse_str(r#"(module (memory (export "memory") 9) (func (export "tick")))"#).unwrap();
    assert_eq!(admitted(&bigger), [Class::Mpu]);
}

#[test]
fn functions_are_limited_by_class() {
    let wasm = module(&"(func)".repeat(50));
    refused(&wasm, Class::Mcu, "functions", "51 functions");
    assert_eq!(admitted(&wasm), [Class::Mpu, Class::Riscv]);
}

#[test]
fn features_a_class_lacks_are_named() {
    let simd = module("(func (drop (v128.const i64x2 0 0)))");
    refused(&simd, Class::Mcu, "feature", "SIMD");
    assert_eq!(admitted(&simd), [Class::Mpu]);
    let multi_value = module("(func (result i32 i32) i32.const 0 i32.const 0)");
    assert_eq!(admitted(&multi_value), [Class::Mpu, Class::Riscv]);
}

#[test]
fn imports_are_known_by_module_name_and_type() {
    for (import, found) in [
        (r#"(import "env" "abort" (func))"#, "env.abort"),
        (r#"(import "wasmbed" "fly" (func))"#, "wasmbed.fly"),
        (r#"(import "wasmbed" "log" (func (param i64)))"#, "wasmbed.log"),
        (r#"(import "wasmbed" "table" (table 1 funcref))"#, "wasmbed.table is not a function"),
    ] {
        for class in Class::ALL {
            refused(&module(import), class, "import", found);
        }
    }
}

#[test]
fn exports_a_module_must_have_are_asked_for() {
    let wrong_type = r#"(module (memory (export "memory") 1) (func (export "tick") (param i32)))"#;
    let wrong_kind = r#"(module (memory (export "tick") 1) (func (export "memory")))"#;
    for (text, found) in
        [("(module)", "memory"), ("(module)", "tick"), (wrong_type, "tick"), (wrong_kind, "memory")]
    {
        refused(&wat::parse_str(text).unwrap(), Class::Mpu, "export", found);
    }
}

#[test]
fn size_is_looked_at_before_anything_else() {
    let problem = built("1.0.0", vec![0; 64 << 20]).unwrap_err();
    assert_eq!(problem.code, Code::TooLarge);
    assert!(problem.message.contains("67108864"), "{problem}");
    assert!(check_size(u64::from(MAX_MODULE_BYTES)).is_ok());
}

#[test]
fn a_module_nobody_admits_is_refused_with_every_class_and_rule() {
    let problem = built("1.0.0", module(r#"(import "env" "abort" (func))"#)).unwrap_err();
    assert_eq!(problem.code, Code::Refused);
    for class in Class::ALL {
        assert!(problem.message.contains(&format!("{class}: import: env.abort")), "{problem}");
    }
}

#[test]
fn versions_are_semantic_and_fit_a_topic() {
    for version in ["", "1", "1.2", "1.2.x", "01.2.3", "1.2.3+build", "1.2.3/4", "1.2.3-", "v1.2.3"] {
        let problem = built(version, module("")).unwrap_err();
        assert_eq!(problem.code, Code::BadRequest, "{version}");
    }
    for version in ["0.0.0", "1.2.3", "10.20.30-rc.1"] {
        assert!(built(version, module("")).is_ok(), "{version}");
    }
}

#[test]
fn boards_share_one_artifact_and_linux_gets_the_file() {
    let wasm = module("");
    let module = built("1.0.0", wasm.clone()).unwrap();
    let for_class =
        |class: Class| module.artifacts.iter().find(|a| a.classes & 1 << class as u8 != 0).unwrap();
    assert_eq!(module.artifacts.len(), 2);
    assert_eq!(for_class(Class::Mcu).id, for_class(Class::Riscv).id);
    assert_eq!(for_class(Class::Mpu).payload, wasm);
    assert_eq!(for_class(Class::Mcu).runtime, Target::Pulley32.runtime_id());
}

#[test]
fn the_same_file_gives_the_same_artifacts() {
    let ids = |wasm| built("1.0.0", wasm).unwrap().artifacts.into_iter().map(|a| (a.id, a.manifest));
    assert!(ids(module("")).eq(ids(module(""))));
}

#[test]
fn an_artifact_carries_what_its_signed_manifest_says() {
    let key = PublicKey::new(signer().public().0);
    for artifact in built("1.2.3", module("")).unwrap().artifacts {
        let signed = Sign1::decode(&artifact.manifest).unwrap();
        let head = signed_head(Audience::Everyone, signed.payload.len()).unwrap();
        let covered = [head.as_ref(), signed.payload].concat();
        assert!(key.verify(covered, &Signature::new(*signed.signature)).is_ok());
        let manifest: Manifest<'_> = minicbor::decode(signed.payload).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.version), ("thermo", "1.2.3"));
        assert_eq!(manifest.size as usize, artifact.payload.len());
        assert_eq!(manifest.digest.0, *Sha256::digest(&artifact.payload));
        assert_eq!(manifest.block_bytes, artifact.block_bytes);
        assert_eq!(manifest.runtime, artifact.runtime);
        assert_eq!(artifact.id.0, Sha256::digest(signed.payload)[..8]);
    }
}
