//! WebAssembly beyond its first version: what Linux devices offer does its work there, and is refused where the
//! class does not have it.

use wasmbed_wire::limits::Class;

use crate::world::{Path, World, on_both};

/// A module that needs one feature, whose `health` answers 42.
struct Needs {
    feature: &'static str,
    fields: &'static str,
    body: &'static str,
    /// Whether the RISC-V class has it too.
    on_riscv: bool,
}

const FEATURES: [Needs; 12] = [
    Needs {
        feature: "SIMD",
        fields: r#"(memory (export "memory") 1 1)"#,
        body: "(i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 1 2 40 4) (i32x4.splat (i32.const 2))))",
        on_riscv: false,
    },
    Needs {
        feature: "atomics of threads",
        fields: r#"(memory (export "memory") 1 1)"#,
        body: "(drop (i32.atomic.rmw.add (i32.const 8) (i32.const 42))) (i32.atomic.load (i32.const 8))",
        on_riscv: false,
    },
    Needs {
        feature: "threads",
        fields: r#"(import "wasmbed" "thread_spawn" (func $spawn (param i32) (result i32)))
            (import "env" "memory" (memory 1 2 shared)) (export "memory" (memory 0))
            (func (export "thread_start") (param $id i32) (param $arg i32)
                (i32.atomic.store (i32.const 8) (i32.add (local.get $id) (local.get $arg)))
                (drop (memory.atomic.notify (i32.const 8) (i32.const 1))))"#,
        body: "(drop (call $spawn (i32.const 41)))
            (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1)))
            (i32.atomic.load (i32.const 8))",
        on_riscv: false,
    },
    Needs {
        feature: "tail calls",
        fields: r#"(memory (export "memory") 1 1)
            (func $count (param i32 i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0))
                    (then (local.get 1))
                    (else (return_call $count (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))))"#,
        // So deep that the stack would not do for calls.
        body: "(call $count (i32.const 3000000) (i32.const 42))",
        on_riscv: false,
    },
    Needs {
        feature: "function references",
        fields: r#"(type $f (func (result i32))) (memory (export "memory") 1 1)
            (func $answer (result i32) (i32.const 42)) (elem declare func $answer)"#,
        body: "(call_ref $f (ref.func $answer))",
        on_riscv: false,
    },
    Needs {
        feature: "memory64",
        fields: r#"(memory (export "memory") i64 1 1)"#,
        body: "(i32.store (i64.const 16) (i32.const 42)) (i32.load (i64.const 16))",
        on_riscv: false,
    },
    Needs {
        feature: "saturating conversions",
        fields: r#"(memory (export "memory") 1 1)"#,
        body: "(i32.sub (i32.const 42) (i32.trunc_sat_f64_u (f64.const -1)))",
        on_riscv: false,
    },
    Needs {
        feature: "exported globals that change",
        fields: r#"(memory (export "memory") 1 1) (global $g (export "g") (mut i32) (i32.const 42))"#,
        body: "(global.get $g)",
        on_riscv: false,
    },
    Needs {
        feature: "references of hosts",
        fields: r#"(memory (export "memory") 1 1) (table $t 2 2 externref)"#,
        body: "(i32.add (i32.const 41) (ref.is_null (table.get $t (i32.const 1))))",
        on_riscv: false,
    },
    Needs {
        feature: "reference types",
        fields: r#"(memory (export "memory") 1 1) (table $t 2 2 funcref)"#,
        body: "(i32.add (i32.const 40) (table.size $t))",
        on_riscv: true,
    },
    Needs {
        feature: "multi-value",
        fields: r#"(memory (export "memory") 1 1) (func $two (result i32 i32) (i32.const 50) (i32.const 8))"#,
        body: "(call $two) (i32.sub)",
        on_riscv: true,
    },
    Needs {
        feature: "bulk memory",
        fields: r#"(memory (export "memory") 1 1) (data $d "*")"#,
        body: "(memory.init $d (i32.const 9) (i32.const 0) (i32.const 1))
            (memory.copy (i32.const 3) (i32.const 9) (i32.const 1)) (i32.load8_u (i32.const 3))",
        on_riscv: true,
    },
];

fn module(Needs { fields, body, .. }: &Needs) -> String {
    format!(r#"(module {fields} (func (export "tick")) (func (export "health") (result i32) {body}))"#)
}

#[test]
fn each_feature_of_linux_devices_does_its_work() {
    on_both(Class::Mpu, |world| {
        // Bytecode stands for boards, whose classes have less.
        if world.path == Path::Native {
            for needs in &FEATURES {
                assert_eq!(world.run(&module(needs)).health(), Ok(42), "{}", needs.feature);
            }
        }
    });
}

#[test]
fn each_feature_is_refused_where_the_class_lacks_it() {
    for needs in &FEATURES {
        for path in [Path::Native, Path::Bytecode] {
            let riscv = World::new(path, Class::Riscv).load(&module(needs));
            assert_eq!(riscv.is_ok(), needs.on_riscv, "{} on RISC-V, {path:?}", needs.feature);
        }
    }
}
