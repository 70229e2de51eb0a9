//! Modules with threads: they share a memory, keep to their number, and end with their instance. What they must not
//! hold for ever is tested with a short limit, beside the code.

use wasmbed_abi::{Capabilities, Capability, Errno};
use wasmbed_runtime::{Instance, LoadError, Settings, Stopped, TrapCode};
use wasmbed_wire::{
    Backtrace,
    limits::Class,
    message::{Frame, Reason},
};

use crate::world::{Device, Path, World};

/// A module with a shared memory; `start` is what its threads do with `$id` and `$arg`.
struct Threaded<'a> {
    fields: &'a str,
    start: &'a str,
    tick: &'a str,
    health: &'a str,
}

const NOTHING: Threaded<'_> = Threaded { fields: "", start: "", tick: "", health: "(i32.const 0)" };

impl Threaded<'_> {
    fn text(&self) -> String {
        let Threaded { fields, start, tick, health } = self;
        format!(
            r#"(module
                (import "wasmbed" "thread_spawn" (func $spawn (param i32) (result i32)))
                (import "wasmbed" "uptime_ms" (func $uptime (result i64)))
                (import "wasmbed" "gpio_read" (func $gpio_read (param i32) (result i32)))
                (import "wasmbed" "file_size" (func $file_size (param i32 i32) (result i64)))
                (import "wasmbed" "log" (func $log (param i32 i32 i32) (result i32)))
                (import "wasmbed" "config_get" (func $config_get (param i32 i32 i32 i32) (result i32)))
                (import "env" "memory" (memory 1 4 shared))
                (export "memory" (memory 0))
                {fields}
                (func $wait (param $at i32)
                    (drop (memory.atomic.wait32 (local.get $at) (i32.const 0) (i64.const -1))))
                (func $set (param $at i32) (param $value i32)
                    (i32.atomic.store (local.get $at) (local.get $value))
                    (drop (memory.atomic.notify (local.get $at) (i32.const -1))))
                (func $thread (export "thread_start") (param $id i32) (param $arg i32) {start})
                (func (export "tick") {tick})
                (func (export "health") (result i32) {health}))"#
        )
    }

    fn run(&self) -> (World, Instance<Device>) {
        let world = World::new(Path::Native, Class::Mpu);
        let instance = world.run(&self.text());
        (world, instance)
    }
}

#[test]
fn a_thread_gets_its_id_and_its_argument_and_shares_the_memory() {
    let (_world, mut instance) = Threaded {
        start: "(call $set (local.get $arg) (i32.add (i32.const 100) (local.get $id)))",
        // The id it is answered, and the one that the thread has.
        health: "(i32.store (i32.const 0) (call $spawn (i32.const 16))) (call $wait (i32.const 16))
            (i32.add (i32.mul (i32.const 1000) (i32.load (i32.const 0))) (i32.atomic.load (i32.const 16)))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.health(), Ok(1101));
}

#[test]
fn a_thread_is_an_instance_of_its_own_whose_start_function_runs() {
    let (_world, mut instance) = Threaded {
        fields: "(global $own (mut i32) (i32.const 5))
            (func $begin (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))) (start $begin)",
        start: "(global.set $own (i32.add (global.get $own) (i32.const 1))) (call $set (local.get $arg) (global.get $own))",
        tick: "(global.set $own (i32.const 1000)) (drop (call $spawn (i32.const 16))) (call $wait (i32.const 16))",
        health: "(i32.add (i32.mul (i32.const 10) (i32.atomic.load (i32.const 16))) (i32.atomic.load (i32.const 0)))",
    }
    .run();
    assert_eq!(instance.tick(), Ok(()));
    assert_eq!(instance.health(), Ok(62));
}

#[test]
fn as_many_threads_run_as_the_class_allows_and_no_more() {
    let limit = Class::Mpu.limits().threads;
    let (_world, mut instance) = Threaded {
        // Waits to be released and counts itself out.
        start: "(call $wait (i32.const 16)) (drop (i32.atomic.rmw.add (i32.const 20) (i32.const 1)))",
        // Starts threads until there are no more: how many, and why.
        health: "(local $answer i32) (local $started i32)
            (block $over (loop $next
                (br_if $over (i32.lt_s (local.tee $answer (call $spawn (i32.const 0))) (i32.const 0)))
                (local.set $started (i32.add (local.get $started) (i32.const 1)))
                (br $next)))
            (i32.sub (i32.mul (local.get $started) (i32.const 100)) (local.get $answer))",
        // Releases them, and starts another one as soon as one is over.
        tick: "(call $set (i32.const 16) (i32.const 1))
            (loop $again (br_if $again (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0))))",
        ..NOTHING
    }
    .run();
    let all = limit.cast_signed() * 100 - Errno::Busy.code();
    assert_eq!(instance.health(), Ok(all));
    assert_eq!(instance.health(), Ok(-Errno::Busy.code()));
    assert_eq!(instance.tick(), Ok(()));
}

#[test]
fn a_thread_outlives_the_tick_that_started_it() {
    let (_world, mut instance) = Threaded {
        start: "(call $wait (i32.const 16)) (call $set (i32.const 20) (i32.const 42))",
        tick: "(drop (call $spawn (i32.const 0)))",
        health: "(call $set (i32.const 16) (i32.const 1)) (call $wait (i32.const 20)) (i32.atomic.load (i32.const 20))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Ok(()));
    assert_eq!(instance.health(), Ok(42));
}

#[test]
fn threads_start_threads_within_the_same_limit() {
    let (_world, mut instance) = Threaded {
        // Each starts two more, until nothing is left; the one that finds nothing says so, and all stay.
        start: "(if (i32.or (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0))
                (i32.lt_s (call $spawn (i32.const 0)) (i32.const 0)))
                (then (call $set (i32.const 16) (i32.const 1))))
            (drop (i32.atomic.rmw.add (i32.const 20) (i32.const 1)))
            (loop $ever (br $ever))",
        tick: "(drop (call $spawn (i32.const 0))) (call $wait (i32.const 16))",
        health: "(i32.atomic.load (i32.const 20))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Ok(()));
    while instance.health() != Ok(Class::Mpu.limits().threads.cast_signed()) {
        assert!(instance.health().is_ok_and(|running| running < 9));
    }
    // Which ends what never does so itself.
    drop(instance);
}

#[test]
fn an_instance_takes_its_threads_with_it_whether_they_run_or_wait() {
    for start in ["(loop $ever (br $ever))", "(call $wait (i32.const 16))"] {
        let start = format!("(drop (i32.atomic.rmw.add (i32.const 20) (i32.const 1))) {start}");
        let (_world, mut instance) = Threaded {
            start: &start,
            tick: "(drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 0)))",
            health: "(i32.atomic.load (i32.const 20))",
            ..NOTHING
        }
        .run();
        assert_eq!(instance.tick(), Ok(()));
        while instance.health() != Ok(2) {}
        // Comes back when they are over.
        drop(instance);
    }
}

#[test]
fn a_trap_in_a_thread_stops_the_call_that_waits_for_it_and_says_where_it_was() {
    let threaded = Threaded {
        fields: "(func $deeper (drop (memory.atomic.notify offset=8 (i32.const 8) (i32.const 1))) unreachable)",
        start: "(call $deeper)",
        tick: "(drop (call $spawn (i32.const 0))) (loop $ever (call $wait (i32.const 16)) (br $ever))",
        ..NOTHING
    };
    let (_world, mut instance) = threaded.run();
    let stopped = instance.tick().expect_err("the thread trapped");
    assert_eq!(stopped, Stopped::Trap(TrapCode::UNREACHABLE));
    assert_eq!(stopped.reason(), Reason::Trapped);
    let frames: Vec<Frame> = instance.backtrace().frames().to_vec();
    let wasm = wat::parse_str(threaded.text()).expect("valid text");
    // The functions as the author's file has them, and the bytes that are there.
    assert_eq!(frames.iter().map(|frame| frame.function).collect::<Vec<_>>(), [6, 9]);
    let byte = |frame: &Frame| wasm[frame.offset as usize];
    assert_eq!((byte(&frames[0]), byte(&frames[1])), (0x00, 0x10), "unreachable, called by call: {frames:?}");
    // It stays stopped, for the same reason.
    assert_eq!(instance.health(), Err(stopped));
}

#[test]
fn a_trap_in_a_thread_between_two_calls_is_told_by_a_later_one() {
    let (_world, mut instance) = Threaded {
        start: "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        tick: "(drop (call $spawn (i32.const 0)))",
        ..NOTHING
    }
    .run();
    let stopped = loop {
        if let Err(stopped) = instance.tick() {
            break stopped;
        }
    };
    assert!(stopped.to_string().contains("divide by zero"), "{stopped}");
    assert!(instance.backtrace() != Backtrace::default());
}

#[test]
fn a_trap_of_the_main_thread_ends_the_others() {
    let (_world, mut instance) = Threaded {
        start: "(loop $ever (br $ever))",
        tick: "(drop (call $spawn (i32.const 0))) unreachable",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Err(Stopped::Trap(TrapCode::UNREACHABLE)));
}

#[test]
fn endless_recursion_in_a_thread_is_a_trap() {
    let (_world, mut instance) = Threaded {
        fields: "(func $f (param i64) (result i64)
            (i64.add (call $f (i64.add (local.get 0) (i64.const 1))) (local.get 0)))",
        start: "(drop (call $f (i64.const 0)))",
        tick: "(drop (call $spawn (i32.const 0))) (loop $ever (call $wait (i32.const 64)) (br $ever))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Err(Stopped::Trap(TrapCode::STACK_OVERFLOW)));
}

#[test]
fn threads_know_the_time_and_start_threads_and_reach_nothing_else() {
    let (world, mut instance) = Threaded {
        start: "(i32.store (i32.const 32) (call $gpio_read (i32.const 4)))
            (i32.store (i32.const 36) (i32.wrap_i64 (call $file_size (i32.const 0) (i32.const 1))))
            (i32.store (i32.const 40) (call $log (i32.const 1) (i32.const 0) (i32.const 1)))
            (i32.store (i32.const 44) (i64.ge_u (call $uptime) (i64.const 0x100000001)))
            (call $set (i32.const 16) (i32.const 1))",
        tick: "(drop (call $spawn (i32.const 0))) (call $wait (i32.const 16))",
        health:
            "(i32.add (i32.add (i32.load (i32.const 32)) (i32.mul (i32.const 100) (i32.load (i32.const 36))))
            (i32.mul (i32.const 10000) (i32.add (i32.load (i32.const 40)) (i32.load (i32.const 44)))))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Ok(()));
    let wrong = Errno::WrongThread.code();
    assert_eq!(instance.health(), Ok(wrong + 100 * wrong + 10_000 * (wrong + 1)));
    assert!(world.device.seen().log.is_empty());
}

#[test]
fn a_module_that_was_not_granted_threads_is_refused_or_told_so() {
    let world = World::new(Path::Native, Class::Mpu);
    let text = Threaded { health: "(call $spawn (i32.const 0))", ..NOTHING }.text();
    let all = Capabilities::all(Class::Mpu);
    let without = Settings { capabilities: all.without(Capabilities::BASE.with(Capability::Threads)) };
    let module = world.load(&text).expect("it loads");
    let refused = world.runtime.instantiate(&module, world.device.clone(), without).map(drop);
    let refused = refused.expect_err("it needs threads").to_string();
    assert_eq!(refused, "it uses `thread_spawn`, which needs the capability threads");
    let optional = text.replacen("\"wasmbed\"", "\"wasmbed-optional\"", 1);
    let module = world.load(&optional).expect("it loads");
    let mut instance = world.runtime.instantiate(&module, world.device.clone(), without).expect("it starts");
    assert_eq!(instance.health(), Ok(Errno::Unsupported.code()));
}

#[test]
fn without_a_shared_memory_or_a_place_to_start_there_are_no_threads() {
    let world = World::new(Path::Native, Class::Mpu);
    let spawns = |text: &str| world.run(text).health();
    let text = Threaded { health: "(call $spawn (i32.const 0))", ..NOTHING }.text();
    let nowhere = text.replace("(export \"thread_start\")", "");
    assert_eq!(spawns(&nowhere), Ok(Errno::Unsupported.code()));
    let alone = r#"(module (import "wasmbed" "thread_spawn" (func $spawn (param i32) (result i32)))
        (memory (export "memory") 1) (func (export "thread_start") (param i32 i32))
        (func (export "tick")) (func (export "health") (result i32) (call $spawn (i32.const 0))))"#;
    assert_eq!(spawns(alone), Ok(Errno::Unsupported.code()));
}

#[test]
fn what_a_thread_needs_of_memory_all_share_up_to_its_maximum() {
    let (_world, mut instance) = Threaded {
        start: "(i32.store (i32.const 32) (memory.grow (i32.const 2)))
            (i32.store (i32.const 36) (memory.grow (i32.const 2)))
            (call $set (i32.const 16) (i32.const 1))",
        tick: "(drop (call $spawn (i32.const 0))) (call $wait (i32.const 16))",
        health: "(i32.add (i32.load (i32.const 32)) (i32.mul (i32.const 10) (i32.load (i32.const 36))))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.stats().memory_bytes, 65_536);
    assert_eq!(instance.tick(), Ok(()));
    assert_eq!(instance.health(), Ok(1 - 10));
    assert_eq!(instance.stats().memory_bytes, 3 * 65_536);
}

#[test]
fn the_host_reads_and_writes_what_threads_share() {
    let (world, mut instance) = Threaded {
        fields: r#"(data $name "name")"#,
        tick: "(memory.init $name (i32.const 32) (i32.const 0) (i32.const 4))
            (drop (call $log (i32.const 2) (i32.const 32)
                (call $config_get (i32.const 32) (i32.const 4) (i32.const 32) (i32.const 65000))))",
        ..NOTHING
    }
    .run();
    assert_eq!(instance.tick(), Ok(()));
    assert_eq!(world.device.seen().log[0].1, "pump");
}

#[test]
fn memories_that_threads_could_not_share_are_refused() {
    let world = World::new(Path::Native, Class::Mpu);
    let refused = |fields: &str, why: &str| {
        let result = world.load(&format!(r#"(module {fields} (func (export "tick")))"#)).map(drop);
        let error = result.expect_err("the memory is no good");
        assert!(matches!(error, LoadError::Memory(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    let export = r#"(export "memory" (memory 0))"#;
    refused(r#"(memory (export "memory") 1 1 shared)"#, "link it with --import-memory");
    refused(&format!(r#"(import "env" "memory" (memory 1)) {export}"#), "not shared");
    let active = format!(r#"(import "env" "memory" (memory 1 1 shared)) {export} (data (i32.const 0) "a")"#);
    refused(&active, "active data segments");
    let large = format!(r#"(import "env" "memory" (memory i64 1 131073 shared)) {export}"#);
    refused(&large, "may grow to 8590000128 bytes; the class allows 8589934592");
    // What only looks like an import that the runtime adds is one that there is not.
    let text = r#"(module (import "threads" "wait32" (func (param i32 i32 i64 i32) (result i32)))
        (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0)) (func (export "tick")))"#;
    let error = world.load(text).map(drop).expect_err("there is no such import");
    assert!(matches!(error, LoadError::Import { .. }), "{error}");
}

#[test]
fn a_memory_of_64_bits_may_be_shared_too() {
    let world = World::new(Path::Native, Class::Mpu);
    let mut instance = world.run(
        r#"(module (import "env" "memory" (memory i64 1 1 shared)) (export "memory" (memory 0)) (func (export "tick"))
            (func (export "health") (result i32)
                (i32.add (i32.mul (i32.const 10)
                    (memory.atomic.wait64 offset=8 (i64.const 8) (i64.const 1) (i64.const -1)))
                    (memory.atomic.notify (i64.const 16) (i32.const 1)))))"#,
    );
    assert_eq!(instance.health(), Ok(10));
}
