//! A module gets what its class allows and not more, and whatever it does, control comes back.

use std::time::{Duration, Instant};

use crate::world::{PATHS, Path, World, on_both};
use wasmbed_abi::MemoryError;
use wasmbed_runtime::{LoadError, StartError, Stopped, TrapCode};
use wasmbed_wire::{limits::Class, message::Reason};

const CLASSES: [Class; 3] = Class::ALL;

/// A module with this body of `tick`, and a memory of one byte per page.
fn ticking(body: &str) -> String {
    module("(memory (export \"memory\") 1024 65536 (pagesize 1))", body)
}

fn module(memory: &str, body: &str) -> String {
    format!("(module {memory} (func $tick (export \"tick\") {body}))")
}

#[test]
fn an_endless_loop_is_stopped_in_time() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(&ticking("(loop $l (br $l))"));
        let start = Instant::now();
        let stopped = instance.tick().expect_err("the loop does not end by itself");
        assert_eq!(stopped, Stopped::TimedOut { limit_ms: 100 });
        assert_eq!(stopped.reason(), Reason::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn native_code_keeps_its_limit_to_the_clock() {
    let world = World::new(Path::Native, Class::Mcu);
    let mut instance = world.run(&ticking("(loop $l (br $l))"));
    let start = Instant::now();
    assert!(instance.tick().is_err());
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
}

#[test]
fn an_endless_loop_of_host_calls_is_stopped_too() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(
            r#"(module
                (import "wasmbed" "uptime_ms" (func $uptime (result i64)))
                (memory (export "memory") 1 1 (pagesize 1))
                (func (export "tick") (loop $l (drop (call $uptime)) (br $l))))"#,
        );
        assert_eq!(instance.tick(), Err(Stopped::TimedOut { limit_ms: 100 }));
    });
}

#[test]
fn an_endless_start_function_is_stopped() {
    on_both(Class::Mcu, |world| {
        let result = world.start(
            r#"(module (memory (export "memory") 0 0)
                (func $start (loop $l (br $l))) (start $start) (func (export "tick")))"#,
        );
        let timed_out = StartError::Stopped(Stopped::TimedOut { limit_ms: 100 });
        assert!(result.is_err_and(|error| error == timed_out));
    });
}

#[test]
fn endless_init_and_health_are_stopped() {
    on_both(Class::Mcu, |world| {
        let text = r#"(module (memory (export "memory") 0 0) (func (export "tick"))
            (func (export "init") (result i32) (loop $l (br $l)) (i32.const 0))
            (func (export "health") (result i32) (loop $l (br $l)) (i32.const 0)))"#;
        assert_eq!(world.run(text).init(), Err(Stopped::TimedOut { limit_ms: 100 }));
        assert_eq!(world.run(text).health(), Err(Stopped::TimedOut { limit_ms: 100 }));
    });
}

#[test]
fn a_call_within_its_time_leaves_the_next_one_all_of_it() {
    on_both(Class::Mcu, |world| {
        // More than half of what the bytecode's fuel allows.
        let mut instance = world.run(&ticking(
            "(local $n i32) (loop $l (br_if $l (i32.lt_u
                (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 8000))))",
        ));
        for _ in 0..5 {
            assert_eq!(instance.tick(), Ok(()));
        }
        assert_eq!(instance.stats().calls, 6);
    });
}

#[test]
fn a_trap_is_reported_with_its_code() {
    on_both(Class::Mcu, |world| {
        let mut panics = world.run(&ticking("unreachable"));
        assert_eq!(panics.tick(), Err(Stopped::Trap(TrapCode::UNREACHABLE)));

        let mut reads_too_far = world.run(&ticking("(drop (i32.load (i32.const 1021)))"));
        assert_eq!(reads_too_far.tick(), Err(Stopped::Trap(TrapCode::MEMORY_OUT_OF_BOUNDS)));

        let mut divides = world.run(&ticking("(drop (i32.div_u (i32.const 1) (i32.const 0)))"));
        let stopped = divides.tick().expect_err("a division by zero traps");
        assert!(stopped.to_string().contains("divide by zero"), "{stopped}");
        assert_eq!(stopped.reason(), Reason::Trapped);
    });
}

#[test]
fn a_stopped_instance_stays_stopped() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(&ticking("unreachable"));
        let stopped = instance.tick();
        assert_eq!(instance.tick(), stopped);
        assert_eq!(instance.health().map(|_| ()), stopped);
        assert_eq!(instance.stats().calls, 2);
    });
}

#[test]
fn the_trap_of_one_instance_leaves_others_alone() {
    on_both(Class::Mcu, |world| {
        let text = ticking("(if (i32.eqz (i32.load8_u (i32.const 0))) (then unreachable))");
        let good = text.replace("(func $tick", "(data (i32.const 0) \"\\01\") (func $tick");
        let mut bad = world.run(&text);
        let mut good = world.run(&good);
        assert!(bad.tick().is_err());
        assert_eq!(good.tick(), Ok(()));
    });
}

#[test]
fn endless_recursion_is_a_trap_in_every_class() {
    for class in CLASSES {
        on_both(class, |world| {
            let mut instance = world.run(
                r#"(module (memory (export "memory") 0 0) (func $f (param i64) (result i64)
                    (i64.add (call $f (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
                  (func (export "tick") (drop (call $f (i64.const 0)))))"#,
            );
            assert_eq!(instance.tick(), Err(Stopped::Trap(TrapCode::STACK_OVERFLOW)));
            // The next instance has a whole stack again.
            assert_eq!(world.run(&ticking("")).tick(), Ok(()));
        });
    }
}

#[test]
fn memory_grows_up_to_the_class_limit_and_no_further() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(&module(
            "(memory (export \"memory\") 1024 (pagesize 1))",
            // Grows to the limit, then asks for one byte more and expects to be refused.
            "(if (i32.ne (memory.grow (i32.const 64512)) (i32.const 1024)) (then unreachable))
             (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))",
        ));
        assert_eq!(instance.stats().memory_bytes, 1024);
        assert_eq!(instance.tick(), Ok(()));
        assert_eq!(instance.stats().memory_bytes, 65536);
    });
}

#[test]
fn a_memory_that_starts_too_large_is_refused_at_load() {
    on_both(Class::Mcu, |world| {
        let result = world.load(&module("(memory (export \"memory\") 2)", ""));
        assert!(
            matches!(result, Err(LoadError::Memory(MemoryError::TooLarge { found: 131072, limit: 65536 }))),
            "{:?}",
            result.err()
        );
    });
    on_both(Class::Riscv, |world| {
        assert!(world.load(&module("(memory (export \"memory\") 8)", "")).is_ok());
        assert!(world.load(&module("(memory (export \"memory\") 9)", "")).is_err());
    });
}

#[test]
fn a_table_that_starts_too_large_stops_the_start() {
    on_both(Class::Mcu, |world| {
        let text =
            r#"(module (memory (export "memory") 0 0) (table 2000000 funcref) (func (export "tick")))"#;
        assert!(matches!(world.start(text), Err(StartError::Stopped(_))));
    });
}

#[test]
fn too_many_functions_are_refused() {
    on_both(Class::Mcu, |world| {
        let with = |extra: usize| {
            module("(memory (export \"memory\") 0 0) ", "")
                .replace("(func $tick", &format!("{} (func $tick", "(func)".repeat(extra)))
        };
        assert!(world.load(&with(49)).is_ok());
        let refused = world.load(&with(50));
        assert!(matches!(refused, Err(LoadError::TooManyFunctions { found: 51, limit: 50 })));
    });
}

#[test]
fn imports_and_exports_are_checked() {
    on_both(Class::Mcu, |world| {
        let refused = |text: &str, why: &str| {
            let error = world.load(text).map(|_| ()).expect_err("the module is not acceptable").to_string();
            assert!(error.contains(why), "`{error}` does not say `{why}`");
        };
        let memory = r#"(memory (export "memory") 0 0)"#;
        let tick = r#"(func (export "tick"))"#;
        refused(&format!("(module {memory})"), "`tick()`");
        refused(&format!("(module {tick})"), "`memory`");
        refused(&format!(r#"(module {memory} (func (export "tick") (param i32)))"#), "`tick()`");
        refused(&format!(r#"(module {memory} {tick} (func (export "init")))"#), "`init() -> i32`");
        refused(&format!(r#"(module {tick} (func (export "memory")))"#), "`memory`");
        refused(&format!(r#"(module (import "env" "log" (func)) {memory} {tick})"#), "from `wasmbed` and");
        refused(
            &format!(r#"(module (import "wasmbed" "reboot" (func)) {memory} {tick})"#),
            "no such function",
        );
        refused(
            &format!(r#"(module (import "wasmbed" "log" (func)) {memory} {tick})"#),
            "(i32, i32, i32) -> i32",
        );
        refused(&format!(r#"(module (import "wasmbed" "memory" (memory 0)) {tick})"#), "no such function");
    });
}

#[test]
fn an_import_that_was_not_granted_is_refused() {
    on_both(Class::Mcu, |world| {
        let module = world
            .load(
                r#"(module (import "wasmbed" "gpio_read" (func (param i32) (result i32)))
                    (memory (export "memory") 0 0) (func (export "tick")))"#,
            )
            .expect("the import exists");
        let result = world.runtime.instantiate(&module, world.device.clone(), Default::default());
        let error = result.map(|_| ()).expect_err("only the base capability was granted");
        assert_eq!(error.to_string(), "it uses `gpio_read`, which needs the capability gpio");
    });
}

#[test]
fn each_class_has_its_features() {
    let simd = module("(memory (export \"memory\") 0 0)", "(drop (v128.const i64x2 0 0))");
    let tail_call = module("(memory (export \"memory\") 0 0)", "return_call $tick");
    let memory64 = module("(memory (export \"memory\") i64 0 0)", "");
    let references =
        module("(table 1 1 funcref) (memory (export \"memory\") 0 0)", "(drop (table.get (i32.const 0)))");
    let sign =
        module("(memory (export \"memory\") 1 1 (pagesize 1))", "(drop (i32.extend8_s (i32.const 1)))");
    let bulk =
        module("(memory (export \"memory\") 0 0)", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))");
    let atomics = module("(memory (export \"memory\") 1 1)", "(drop (i32.atomic.load (i32.const 0)))");
    let typed = "(module (type $f (func)) (memory (export \"memory\") 0 0)
        (func $g) (elem declare func $g) (func (export \"tick\") (call_ref $f (ref.func $g))))";

    let loads = |path, class, text: &str| World::new(path, class).load(text).is_ok();
    for path in PATHS {
        for class in CLASSES {
            assert!(loads(path, class, &sign), "{path:?} {class}");
            assert!(loads(path, class, &bulk), "{path:?} {class}");
            assert_eq!(loads(path, class, &references), class != Class::Mcu, "{path:?} {class}");
        }
    }
    for class in CLASSES {
        for text in [&simd, &tail_call, &memory64, &atomics, typed] {
            assert_eq!(loads(Path::Native, class, text), class == Class::Mpu, "{class}: {text}");
        }
    }
}

#[test]
fn bytecode_reports_the_fuel_it_used() {
    let world = World::new(Path::Bytecode, Class::Mcu);
    let mut instance = world.run(&ticking("(drop (i32.add (i32.const 1) (i32.const 2)))"));
    assert_eq!(instance.tick(), Ok(()));
    let used = instance.stats().last_fuel;
    assert!((1..100).contains(&used), "{used}");
}
