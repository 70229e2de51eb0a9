//! What is delivered to a module, and what it is not granted.

use wasmbed_abi::{Capabilities, Capability, Errno, MAX_SUBSCRIPTIONS};
use wasmbed_runtime::{Settings, StartError, Stopped, TrapCode};
use wasmbed_wire::{Channel, limits::Class};

use crate::world::on_both;

/// Listens to `a` and `b`, ends `a` when told `x`, and publishes what it hears on the channel `echo`.
const ECHO: &str = r#"(module
    (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
    (import "wasmbed" "subscribe" (func $subscribe (param i32 i32) (result i32)))
    (import "wasmbed" "unsubscribe" (func $unsubscribe (param i32) (result i32)))
    (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "abecho")
    (func (export "init") (result i32)
        (drop (call $subscribe (i32.const 0) (i32.const 1)))
        (drop (call $subscribe (i32.const 1) (i32.const 1)))
        ;; the same channel has the same number
        (i32.sub (call $subscribe (i32.const 1) (i32.const 1)) (i32.const 1)))
    ;; no message is being delivered
    (func (export "health") (result i32) (i32.add (call $read (i32.const 0) (i32.const 8)) (i32.const 7)))
    (func (export "tick"))
    (func (export "message") (param $subscription i32) (param $len i32)
        (local $read i32)
        ;; too small a place, then the place it needs
        (if (i32.ne (call $read (i32.const 64) (i32.sub (local.get $len) (i32.const 1))) (i32.const -8))
            (then unreachable))
        (local.set $read (call $read (i32.const 64) (i32.const 100)))
        (if (i32.ne (local.get $read) (local.get $len)) (then unreachable))
        (i32.store8 (i32.const 63) (i32.add (i32.const 48) (local.get $subscription)))
        (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 120))
            (then (drop (call $unsubscribe (local.get $subscription)))))
        (drop (call $publish (i32.const 2) (i32.const 4) (i32.const 63) (i32.add (local.get $len) (i32.const 1))))))"#;

fn channel(name: &str) -> Channel {
    name.parse().expect("a channel")
}

#[test]
fn a_module_hears_what_it_subscribed_to_and_nothing_else() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(ECHO);
        assert_eq!(instance.init(), Ok(0));
        assert_eq!(instance.health(), Ok(0));
        assert_eq!(instance.message(&channel("a"), b"hello".to_vec()), Ok(true));
        assert_eq!(instance.message(&channel("b"), b"there".to_vec()), Ok(true));
        assert_eq!(instance.message(&channel("c"), b"nobody".to_vec()), Ok(false));
        assert_eq!(instance.message(&channel("a"), b"x".to_vec()), Ok(true));
        assert_eq!(instance.message(&channel("a"), b"late".to_vec()), Ok(false));
        assert_eq!(instance.health(), Ok(0), "a delivered message is gone afterwards");
        let seen = world.device.seen().published.clone();
        let texts: Vec<_> = seen.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
        assert_eq!(texts, ["0hello", "1there", "0x"]);
        assert!(seen.iter().all(|(channel, _)| channel == "echo"));
    });
}

#[test]
fn ten_thousand_subscriptions_are_refused_after_the_last_that_is_allowed() {
    // Channels are named with two letters of a table, so that all differ.
    let text = r#"(module
        (import "wasmbed" "subscribe" (func $subscribe (param i32 i32) (result i32)))
        (import "wasmbed" "telemetry" (func $tell (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "last")
        (func (export "tick")
            (local $n i32)
            (loop $next
                (i32.store8 (i32.const 16) (i32.add (i32.const 97) (i32.rem_u (local.get $n) (i32.const 26))))
                (i32.store8 (i32.const 17)
                    (i32.add (i32.const 97) (i32.rem_u (i32.div_u (local.get $n) (i32.const 26)) (i32.const 26))))
                (i32.store (i32.const 32) (call $subscribe (i32.const 16) (i32.const 2)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $n) (i32.const 600))))
            (drop (call $tell (i32.const 0) (i32.const 4) (i32.const 32) (i32.const 4)))))"#;
    on_both(Class::Riscv, move |world| {
        let mut instance = world.run(text);
        // 600 different channels each time, 10,000 calls in all.
        for _ in 0..17 {
            assert_eq!(instance.tick(), Ok(()));
        }
        let seen = world.device.seen();
        let (_, last) = seen.telemetry.last().expect("it tells the last answer");
        assert_eq!(last[..], Errno::NoSpace.code().to_le_bytes());
        assert_eq!(MAX_SUBSCRIPTIONS, 16);
    });
}

#[test]
fn changes_of_a_pin_are_told_and_may_stop_the_module() {
    let text = r#"(module
        (import "wasmbed" "gpio_watch" (func $watch (param i32 i32) (result i32)))
        (import "wasmbed" "gpio_write" (func $write (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "init") (result i32)
            (if (i32.ne (call $watch (i32.const 4) (i32.const 4)) (i32.const -1)) (then unreachable))
            (call $watch (i32.const 4) (i32.const 3)))
        (func (export "tick"))
        (func $inner (param $level i32) (if (local.get $level) (then unreachable)))
        (func (export "gpio_edge") (param $pin i32) (param $level i32)
            (drop (call $write (i32.add (local.get $pin) (i32.const 1)) (local.get $level)))
            (call $inner (local.get $level))))"#;
    on_both(Class::Mcu, move |world| {
        let mut instance = world.run(text);
        assert_eq!(instance.init(), Ok(0));
        assert_eq!(world.device.seen().watched.get(&4).map(|edges| edges.watch(true)), Some(true));
        assert_eq!(instance.gpio_edge(4, false), Ok(true));
        assert_eq!(world.device.seen().pins.get(&5), Some(&false));
        assert!(instance.backtrace().frames().is_empty());

        let stopped = Err(Stopped::Trap(TrapCode::UNREACHABLE));
        assert_eq!(instance.gpio_edge(4, true), stopped);
        let functions: Vec<u32> = instance.backtrace().frames().iter().map(|frame| frame.function).collect();
        // Imports count: $inner is the third function it defines, the edge the fourth.
        assert_eq!(functions, [4, 5]);
        assert_eq!(instance.message(&channel("a"), Vec::new()), stopped.map(|_: bool| false));
    });
}

#[test]
fn what_is_optional_and_not_granted_answers_that_it_is_not_supported() {
    let text = |from: &str| {
        format!(
            r#"(module
            (import "{from}" "random" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "tick"))
            (func (export "init") (result i32) (call $random (i32.const 0) (i32.const 4))))"#
        )
    };
    on_both(Class::Riscv, move |world| {
        let start = |from: &str, capabilities| {
            let module = world.load(&text(from)).expect("the class has the call");
            let settings = Settings { capabilities };
            world.runtime.instantiate(&module, world.device.clone(), settings)
        };
        let all = Capabilities::all(Class::Riscv);
        let without = all.without(Capabilities::BASE.with(Capability::Security));
        assert!(matches!(start("wasmbed", without), Err(StartError::Denied(_))));
        let mut denied = start("wasmbed-optional", without).expect("it can do without");
        assert_eq!(denied.init(), Ok(Errno::Unsupported.code()));
        let mut granted = start("wasmbed-optional", all).expect("it starts");
        assert_eq!(granted.init(), Ok(0));
    });
    on_both(Class::Mcu, move |world| {
        assert!(world.load(&text("wasmbed")).is_err(), "the class lacks it");
        let mut instance = world.run(&text("wasmbed-optional"));
        assert_eq!(instance.init(), Ok(Errno::Unsupported.code()));
    });
}
