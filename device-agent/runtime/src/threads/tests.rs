#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure")]

use std::{format, string::String, sync::Arc, thread};

use wasmbed_abi::Errno;
use wasmbed_wire::{Channel, limits::Class, topic::Level};

use super::*;
use crate::{Instance, Settings, TrapCode};

/// Of class MPU, but for the time of a call: long enough for a busy machine to start a thread.
static LIMITS: Limits = Limits { call_ms: 1000, ..*Class::Mpu.limits() };
const TIMED_OUT: Stopped = Stopped::TimedOut { limit_ms: LIMITS.call_ms };

struct Silent;

impl Host for Silent {
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

fn run(start: &str, health: &str) -> Instance<Silent> {
    let mut runtime = Runtime::new(Class::Mpu).unwrap();
    runtime.limits = &LIMITS;
    let text: String = format!(
        r#"(module (import "wasmbed" "thread_spawn" (func $spawn (param i32) (result i32)))
            (import "env" "memory" (memory 1 1 shared)) (export "memory" (memory 0))
            (func (export "thread_start") (param $id i32) (param $arg i32) {start})
            (func (export "tick") (drop (call $spawn (i32.const 0))))
            (func (export "health") (result i32) {health}))"#
    );
    let module = runtime.load_wasm(&wat::parse_str(text).unwrap()).unwrap();
    let settings = Settings { capabilities: Capabilities::all(Class::Mpu) };
    runtime.instantiate(&module, Silent, settings).unwrap()
}

const FOR_EVER: &str = "(memory.atomic.wait32 (i32.const 16) (i32.const 0) (i64.const -1))";

#[test]
fn a_main_thread_that_waits_for_ever_is_stopped() {
    assert_eq!(run("", FOR_EVER).health(), Err(TIMED_OUT));
    let for_64 = "(memory.atomic.wait64 (i32.const 16) (i64.const 0) (i64.const 0x7fffffffffffffff))";
    assert_eq!(run("", for_64).health(), Err(TIMED_OUT));
}

#[test]
fn a_main_thread_that_runs_for_ever_is_stopped() {
    assert_eq!(run("", "(loop $ever (br $ever)) (i32.const 0)").health(), Err(TIMED_OUT));
}

#[test]
fn a_thread_that_waits_or_runs_for_ever_stops_the_instance() {
    let waits = format!("(drop {FOR_EVER})");
    // Waits no longer than it takes to be notified, again and again.
    let shortly =
        "(loop $ever (drop (memory.atomic.wait32 (i32.const 16) (i32.const 0) (i64.const 1000))) (br $ever))";
    for start in [&waits, "(loop $ever (br $ever))", shortly] {
        let mut instance = run(start, "(i32.const 0)");
        assert_eq!(instance.tick(), Ok(()));
        let stopped = loop {
            if let Err(stopped) = instance.health() {
                break stopped;
            }
        };
        assert_eq!(stopped, TIMED_OUT);
        assert!(instance.backtrace() != Backtrace::default(), "{start}");
    }
}

#[test]
fn waits_answer_as_webassembly_says() {
    let answers = |wait: &str| run("", wait).health();
    assert_eq!(answers("(memory.atomic.wait32 (i32.const 16) (i32.const 1) (i64.const -1))"), Ok(1));
    assert_eq!(answers("(memory.atomic.wait64 (i32.const 16) (i64.const 1) (i64.const -1))"), Ok(1));
    assert_eq!(answers("(memory.atomic.wait32 (i32.const 16) (i32.const 0) (i64.const 1000))"), Ok(2));
    assert_eq!(answers("(memory.atomic.wait64 (i32.const 16) (i64.const 0) (i64.const 0))"), Ok(2));
    assert_eq!(answers("(memory.atomic.notify (i32.const 65532) (i32.const 1))"), Ok(0));
}

#[test]
fn waits_trap_as_webassembly_says() {
    let traps = |wait: &str| match run("", wait).health() {
        Err(Stopped::Trap(code)) => code,
        other => panic!("{wait}: {other:?}"),
    };
    let outside = TrapCode::MEMORY_OUT_OF_BOUNDS;
    assert_eq!(traps("(memory.atomic.wait32 (i32.const 65536) (i32.const 0) (i64.const 0))"), outside);
    assert_eq!(
        traps("(memory.atomic.wait64 offset=65528 (i32.const 8) (i64.const 0) (i64.const 0))"),
        outside
    );
    assert_eq!(
        traps("(memory.atomic.wait32 offset=0xfffffffc (i32.const 4) (i32.const 0) (i64.const 0))"),
        outside
    );
    assert_eq!(traps("(memory.atomic.notify (i32.const -4) (i32.const 0))"), outside);
    for misaligned in [
        "(memory.atomic.wait32 (i32.const 18) (i32.const 0) (i64.const 0))",
        "(memory.atomic.wait64 (i32.const 20) (i64.const 0) (i64.const 0))",
        "(memory.atomic.notify (i32.const 17) (i32.const 0))",
    ] {
        assert!(format!("{}", traps(misaligned)).contains("unaligned atomic"), "{misaligned}");
    }
}

#[test]
fn who_came_first_is_notified_first_and_as_many_as_was_said() {
    let parking = Arc::new(Parking::default());
    let far = Instant::now() + Duration::from_secs(60);
    let wait = |at: usize| {
        let parking = Arc::clone(&parking);
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = thread::spawn(move || {
            // What it waits for is looked at while it has its place.
            let is_expected = || tell.send(()).is_ok();
            parking.wait(at, is_expected, None, far)
        });
        told.recv().unwrap();
        waiter
    };
    // The first of them is on its way to its place until the second one has the lock.
    let (first, second, other) = (wait(8), wait(8), wait(16));
    assert_eq!(parking.notify(8, 0), 0);
    assert_eq!(parking.notify(8, 1), 1);
    assert_eq!(first.join().unwrap(), Some(Woken::Notified));
    assert_eq!(parking.notify(8, u32::MAX), 1);
    assert_eq!(second.join().unwrap(), Some(Woken::Notified));
    parking.close();
    assert_eq!(other.join().unwrap(), None);
    assert_eq!(parking.wait(8, || true, None, far), None);
}
