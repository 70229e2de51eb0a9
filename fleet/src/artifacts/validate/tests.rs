use wasmbed_abi::Errno;
use wasmbed_runtime::{Host, Runtime, Settings};
use wasmbed_wire::{Channel, topic::Level};

use super::*;

/// What one class says to a module with these fields beside a memory and a tick.
fn report(class: Class, fields: &str) -> ClassReport {
    whole(class, &format!(r#"(module {fields} (memory (export "memory") 1 1) (func (export "tick")))"#))
}

fn whole(class: Class, text: &str) -> ClassReport {
    let wasm = wat::parse_str(text).expect("a module");
    check(&wasm).classes.into_iter().find(|report| report.class == class).expect("every class reports")
}

#[track_caller]
fn refused(class: Class, fields: &str, rule: &str, found: &str, limit: &str) {
    let report = report(class, fields);
    assert!(!report.admitted && has(&report.violations, rule, found, limit), "{report:?}");
}

#[track_caller]
fn warned(report: &ClassReport, rule: &str, found: &str, limit: &str) {
    assert!(report.admitted && has(&report.warnings, rule, found, limit), "{report:?}");
}

#[track_caller]
fn clean(report: &ClassReport) {
    assert!(report.admitted && report.warnings.is_empty(), "{report:?}");
}

fn has(violations: &[Violation], rule: &str, found: &str, limit: &str) -> bool {
    let is_it = |v: &Violation| v.rule == rule && v.found.contains(found) && v.limit.contains(limit);
    violations.iter().any(is_it)
}

#[test]
fn tables_are_limited_by_class_together() {
    clean(&report(Class::Mcu, "(table 1024 funcref)"));
    refused(Class::Mcu, "(table 1025 funcref)", "tables", "1025 elements", "at most 1024 on class mcu");
    clean(&report(Class::Riscv, "(table 65000 funcref) (table 536 funcref)"));
    let two = "(table 65000 funcref) (table 537 funcref)";
    refused(Class::Riscv, two, "tables", "65537 elements", "at most 65536 on class riscv");
}

#[test]
fn a_memory_shared_between_threads_is_refused_where_they_could_not_use_it() {
    let module = |fields: &str| {
        format!(r#"(module {fields} (func (export "tick")) (func (export "thread_start") (param i32 i32)))"#)
    };
    let import = r#"(import "env" "memory" (memory 1 65536 shared)) (export "memory" (memory 0))"#;
    clean(&whole(Class::Mpu, &module(&format!(r#"{import} (data "passive")"#))));
    let refused = |class: Class, fields: &str, found: &str, limit: &str| {
        let report = whole(class, &module(fields));
        assert!(has(&report.violations, "memory", found, limit), "{report:?}");
    };
    for class in [Class::Mcu, Class::Riscv] {
        refused(class, import, "have one thread", "class mpu share");
    }
    let own = r#"(memory (export "memory") 1 1 shared)"#;
    refused(Class::Mpu, own, "link it with --import-memory", "share");
    let plain = r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0))"#;
    refused(Class::Mpu, plain, "that is not shared", "of the module's own");
    let active = format!(r#"{import} (data (i32.const 0) "active")"#);
    refused(Class::Mpu, &active, "active data segments", "share");
    let large = r#"(import "env" "memory" (memory i64 1 131073 shared)) (export "memory" (memory 0))"#;
    refused(Class::Mpu, large, "of up to 8590000128 bytes", "at most 8589934592 on class mpu");
}

#[test]
fn a_call_that_a_class_lacks_is_refused_with_its_name() {
    let import = |call: &str, params: &str| {
        format!(r#"(import "wasmbed" "{call}" (func (param {params}) (result i32)))"#)
    };
    let publish = import("publish_message", "i32 i32 i32 i32");
    refused(
        Class::Mcu,
        &publish,
        "import",
        "wasmbed.publish_message",
        "ros.publish, which devices of class mcu lack",
    );
    clean(&report(Class::Riscv, &publish));
    for class in [Class::Mpu, Class::Mcu, Class::Riscv] {
        clean(&report(class, &import("takeoff", "i32 f32")));
        refused(class, &import("takeoff", "i32 i32"), "import", "wasmbed.takeoff", "(i32, f32) -> i32");
    }
}

#[test]
fn a_feature_is_refused_with_the_place_it_is_used_at() {
    refused(
        Class::Mcu,
        "(func (result i32 i32) i32.const 0 i32.const 0)",
        "feature",
        "(at byte ",
        "class mcu",
    );
}

#[test]
fn stack_is_counted_along_the_deepest_chain_of_calls() {
    // Two hundred locals in each of ten functions: about 16 KB, if all of them are on the stack.
    let locals = "i64 ".repeat(100);
    let mut text = String::from(r#"(module (memory (export "memory") 1 1)"#);
    for number in 0..10 {
        let next = if number == 9 { String::new() } else { format!("(call $f{})", number + 1) };
        text += &format!("(func $f{number} (local {locals}) (local {locals}) {next})");
    }
    text += r#"(func $short (call $f9)) (func (export "tick") (call $short) (call $f0)))"#;
    warned(
        &whole(Class::Mcu, &text),
        "stack",
        "17024 bytes of stack in tick -> f0 -> f1",
        "8192 bytes on class mcu",
    );
    clean(&whole(Class::Riscv, &text));
}

#[test]
fn functions_that_may_call_each_other_have_no_bound() {
    let direct = r#"(module (memory (export "memory") 1 1)
        (func $even (param i32) (if (local.get 0) (then (call $odd (local.get 0)))))
        (func $odd (param i32) (call $even (local.get 0)))
        (func (export "tick") (call $even (i32.const 3))))"#;
    for class in Class::ALL {
        warned(
            &whole(class, direct),
            "stack",
            "no bound, as functions call each other: even -> odd -> even",
            class.name(),
        );
    }
    let indirect = r#"(module (memory (export "memory") 1 1) (table 1 funcref) (elem (i32.const 0) $f)
        (type $action (func)) (func $f (if (i32.const 0) (then (call_indirect (type $action) (i32.const 0)))))
        (func (export "tick") (call $f)))"#;
    warned(&whole(Class::Mcu, indirect), "stack", "f -> f", "8192 bytes");
}

#[test]
fn an_indirect_call_reaches_functions_of_its_type_that_something_refers_to() {
    let module = |elements: &str| {
        format!(
            r#"(module (memory (export "memory") 1 1) (table 2 funcref) (elem (i32.const 0) {elements})
                (type $action (func)) (func $nothing) (func $typed (param i32) (call $caller)) (func $back (call $caller))
                (func $caller (call_indirect (type $action) (i32.const 0)))
                (func (export "tick") (call $caller)))"#
        )
    };
    clean(&whole(Class::Mcu, &module("$nothing $typed")));
    warned(&whole(Class::Mcu, &module("$nothing $back")), "stack", "caller -> back -> caller", "");
}

#[test]
fn a_function_that_calls_itself_whatever_happens_is_refused() {
    let text = r#"(module (memory (export "memory") 1 1)
        (func $down (result i32) (block (result i32) (i32.add (call $up) (i32.const 1))))
        (func $up (result i32) (drop (i32.load (i32.const 0))) (call $down))
        (func (export "tick") (drop (call $down))))"#;
    for class in Class::ALL {
        let report = whole(class, text);
        assert!(!report.admitted);
        assert!(
            has(&report.violations, "stack", "down -> up -> down, whatever happens", "bytes of stack"),
            "{report:?}"
        );
        assert!(report.warnings.is_empty(), "{report:?}");
    }
    // Nobody calls it.
    clean(&report(Class::Mcu, "(func $f (call $f))"));
    // It may return before.
    for guard in ["(br_if 0 (i32.const 1))", "(if (i32.const 1) (then return))", "(return)", "(unreachable)"]
    {
        let fields = format!(
            "(func $f (block {guard}) {guard} (call $f)) (export \"init\" (func $init)) (func $init (result i32) (call $f) (i32.const 0))"
        );
        assert!(report(Class::Mcu, &fields).admitted, "{guard}");
    }
}

#[test]
fn a_loop_by_tail_calls_needs_no_more_stack() {
    clean(&whole(
        Class::Mpu,
        r#"(module (memory (export "memory") 1 1)
            (func $f (param i32) (if (local.get 0) (then (return_call $f (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "tick") (call $f (i32.const 9))))"#,
    ));
}

#[test]
fn a_long_chain_of_calls_is_no_danger_to_the_service() {
    let mut text = String::from(r#"(module (memory (export "memory") 1 1)"#);
    for number in 0..200_000 {
        text += &format!("(func (call {}))", number + 1);
    }
    text += r#"(func (export "tick")) (func (export "init") (result i32) (call 0) (i32.const 0)))"#;
    let report = whole(Class::Mpu, &text);
    assert!(has(&report.violations, "functions", "200002 functions", "at most 1000"));
    assert!(
        has(&report.warnings, "stack", "init -> function 0 -> function 1 -> (199996 more) -> ", ""),
        "{:?}",
        report.warnings
    );
}

#[test]
fn start_functions_that_loop_are_warned_of_wherever_the_loop_is() {
    clean(&report(
        Class::Mcu,
        "(global $g (mut i32) (i32.const 0)) (func $s (global.set $g (i32.const 1))) (start $s)",
    ));
    let own = report(Class::Mcu, "(func $s (loop $l (br_if $l (i32.const 0)))) (start $s)");
    warned(&own, "start", "the start function (s) loops", "100 ms on class mcu");
    let called = report(Class::Riscv, "(func $f (loop)) (func $g (call $f)) (func $s (call $g)) (start $s)");
    warned(&called, "start", "(s) may call f, which loops", "500 ms on class riscv");
}

#[test]
fn accesses_without_their_natural_alignment_are_counted_with_their_function() {
    let read = |align: &str, times: usize| format!("(drop (i32.load {align} (i32.const 0)))").repeat(times);
    let fields = format!("(func $packed {}) (func $other {})", read("align=1", 3), read("align=2", 1));
    let report_of = |fields: &str| report(Class::Mcu, fields);
    warned(
        &report_of(&fields),
        "alignment",
        "4 of 4 accesses to memory with less than their natural alignment, in 2 functions, most (3) in packed",
        "up to one of 3",
    );
    clean(&report_of(&format!("{fields} (func {})", read("", 8))));
    clean(&report_of(&format!("(func {})", read("align=1", 3))));
    clean(&report_of(&format!("(func {})", "(drop (i32.load8_u (i32.const 0)))".repeat(9))));
}

#[test]
fn large_branch_tables_are_named_with_their_function() {
    let with = |targets: usize| {
        format!("(func $switch (block (br_table {} (i32.const 0))))", "0 ".repeat(targets + 1))
    };
    clean(&report(Class::Mcu, &with(256)));
    warned(&report(Class::Mcu, &with(257)), "branch-table", "257 targets in switch", "up to 256");
}

#[test]
fn code_that_takes_detours_over_locals_was_not_optimised() {
    // As compilers write `a = a + 1` without optimisation, with the same instructions optimised below.
    let detour = "(local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (local.get 0))".repeat(20);
    let fields = format!("(func (local i32 i32) {detour})");
    warned(&report(Class::Mcu, &fields), "optimization", "20 of 122 instructions", "up to one of 200");
    let tee = "(local.set 1 (local.tee 0 (i32.add (local.get 0) (i32.const 1))))".repeat(25);
    clean(&report(Class::Mcu, &format!("(func (local i32 i32) {tee})")));
}

#[test]
fn sections_for_debuggers_are_weighed_and_names_are_not() {
    let debug = r#"(@custom ".debug_info" "12345") (@custom ".debug_line" "678") (func $named)"#;
    warned(&report(Class::Mpu, debug), "debug", "8 bytes for debuggers", "strip");
    clean(&report(Class::Mpu, r#"(@custom "producers" "") (func $named)"#));
}

#[test]
fn names_are_shown_as_they_were_written_and_harmless() {
    let text = r#"(module (memory (export "memory") 1 1)
        (func $"_ZN4core3fmt5write17h0123456789abcdefE" (if (i32.const 0) (then (call 0))))
        (func (export "tick") (call 0)))"#;
    warned(&whole(Class::Mcu, text), "stack", "core::fmt::write -> core::fmt::write", "");
    let escape = text.replace("_ZN4core3fmt5write17h0123456789abcdefE", r"\1b[31m");
    warned(&whole(Class::Mcu, &escape), "stack", r"\u{1b}[31m", "");
}

/// What the fleet says of the stack a module needs, in bytes.
fn estimate(wasm: &[u8]) -> u64 {
    check(wasm).stack_bytes.expect("a bound").into()
}

/// The least stack with which the module's tick comes back on bytecode, in bytes.
fn least_stack(wasm: &[u8]) -> u64 {
    struct Nothing;
    impl Host for Nothing {
        fn log(&mut self, _: Level, _: &str) -> Result<(), Errno> {
            Ok(())
        }
        fn telemetry(&mut self, _: Channel, _: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
        fn uptime_ms(&mut self) -> u64 {
            0
        }
    }
    let comes_back = |stack_bytes: usize| {
        let runtime = Runtime::bytecode(Class::Riscv, stack_bytes).expect("an engine");
        runtime.set_fuel_per_ms(1_000_000);
        let module = runtime.load_wasm(wasm).expect("a module");
        let all = Settings { capabilities: Capabilities::all(Class::Riscv) };
        let instance = runtime.instantiate(&module, Nothing, all);
        instance.is_ok_and(|mut instance| instance.tick().is_ok())
    };
    // The engine itself cannot tell of a stack that ends on the way into the module.
    let (mut least, mut enough) = (144, 8192);
    assert!(comes_back(enough));
    while enough - least > 8 {
        let middle = (least + enough) / 2;
        if comes_back(middle) { enough = middle } else { least = middle }
    }
    enough as u64
}

#[test]
fn the_estimate_is_no_less_than_the_stack_that_is_needed() {
    let sum = |values: usize| {
        // Values that are all needed after the calls, so that they cannot stay in registers of the caller.
        let reads: String = (0..values).map(|n| format!("(i64.load (i32.const {}))", n * 8)).collect();
        format!("{reads} (call $g) {}", "i64.add ".repeat(values - 1))
    };
    for values in [1, 4, 20, 60] {
        let chain = |depth: usize| {
            let functions: String = (0..depth)
                .map(|n| {
                    let next = if n + 1 == depth {
                        "(call $leaf)".into()
                    } else {
                        format!("(drop (call $f{}))", n + 1)
                    };
                    format!("(func $f{n} (result i64) {})", sum(values).replace("(call $g)", &next))
                })
                .collect();
            format!(
                r#"(module (import "wasmbed" "uptime_ms" (func $uptime (result i64))) (memory (export "memory") 1 1)
                    (func $leaf (drop (call $uptime))) {functions} (func (export "tick") (drop (call $f0))))"#
            )
        };
        for depth in [1, 8] {
            let wasm = wat::parse_str(chain(depth)).expect("a module");
            let (estimate, needed) = (estimate(&wasm), least_stack(&wasm));
            assert!(needed <= estimate, "{values} values, {depth} calls: {needed} bytes, not {estimate}");
        }
    }
}

#[test]
fn the_estimate_has_room_for_every_call_out() {
    let zero = |ty: &ValueType| match ty {
        ValueType::I32 => "(i32.const 0)",
        ValueType::I64 => "(i64.const 0)",
        ValueType::F32 => "(f32.const 0)",
    };
    let name = |ty: &ValueType| match ty {
        ValueType::I32 => "i32",
        ValueType::I64 => "i64",
        ValueType::F32 => "f32",
    };
    let calls = wasmbed_abi::Call::ALL
        .iter()
        .filter(|call| Capabilities::all(Class::Riscv).contains(call.capability()));
    for call in calls {
        let signature = call.signature();
        let types = |types: &[ValueType]| types.iter().map(name).collect::<Vec<_>>().join(" ");
        let wasm = wat::parse_str(format!(
            r#"(module (import "wasmbed" "{call}" (func $call (param {params}) (result {results})))
                (memory (export "memory") 1 1) (func (export "tick") (drop (call $call {zeros}))))"#,
            call = call.name(),
            params = types(signature.params),
            results = types(signature.results),
            zeros = signature.params.iter().map(zero).collect::<String>(),
        ));
        let wasm = wasm.expect("a module");
        let (estimate, needed) = (estimate(&wasm), least_stack(&wasm));
        assert!(needed <= estimate, "{}: {needed} bytes, not {estimate}", call.name());
    }
    // What the engine itself is called for.
    for body in [
        "(drop (memory.grow (i32.const 1)))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 9))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 9))",
        "(memory.init $data (i32.const 0) (i32.const 0) (i32.const 1))",
        "(table.copy (i32.const 0) (i32.const 1) (i32.const 1))",
        "(table.init $functions (i32.const 0) (i32.const 0) (i32.const 1))",
        "(drop (f32.nearest (f32.load (i32.const 0))))",
        "(call_indirect (i32.const 1))",
    ] {
        let wasm = wat::parse_str(format!(
            r#"(module (memory (export "memory") 1 2) (table 2 2 funcref) (elem (i32.const 1) $leaf)
                (elem $functions func $leaf) (data $data "x") (func $leaf)
                (func (export "tick") {body}))"#
        ));
        let wasm = wasm.expect("a module");
        let (estimate, needed) = (estimate(&wasm), least_stack(&wasm));
        assert!(needed <= estimate, "{body}: {needed} bytes, not {estimate}");
    }
}
