//! What modules are told: messages, and changes of pins; and what is told of them.

use std::time::{Duration, Instant};

use wasmbed_wire::{
    message::{Heartbeat, ModuleState, Reason, Trap},
    topic::{Down, Up},
};

use crate::fleet::{Fleet, free_port};

/// Hears the channel `in`, says the same on `out`, drives pin 4 by its first letter, and traps when told `!`.
const ECHO: &str = r#"(module
    (import "wasmbed" "subscribe" (func $subscribe (param i32 i32) (result i32)))
    (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
    (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
    (import "wasmbed" "gpio_write" (func $write (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "inout")
    (func (export "init") (result i32) (call $subscribe (i32.const 0) (i32.const 2)))
    (func (export "tick"))
    (func $judge (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 33)) (then unreachable)))
    (func (export "message") (param i32 i32)
        (drop (call $read (i32.const 16) (i32.const 100)))
        (call $judge)
        (drop (call $write (i32.const 4) (i32.and (i32.load8_u (i32.const 16)) (i32.const 1))))
        (drop (call $publish (i32.const 2) (i32.const 3) (i32.const 16) (local.get 1)))))"#;

/// Says on `out` which level pin 4 has changed to.
const WATCH: &str = r#"(module
    (import "wasmbed" "gpio_watch" (func $watch (param i32 i32) (result i32)))
    (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "out")
    (func (export "init") (result i32) (call $watch (i32.const 4) (i32.const 3)))
    (func (export "tick"))
    (func (export "gpio_edge") (param i32 i32)
        (i32.store8 (i32.const 16) (i32.add (i32.const 48) (local.get 1)))
        (drop (call $publish (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 1)))))"#;

fn said(instance: &str) -> Up {
    Up::Message(instance.parse().unwrap(), "out".parse().unwrap())
}

fn tell(fleet: &Fleet, instance: &str, text: &str) {
    let topic = Down::Message(instance.parse().unwrap(), "in".parse().unwrap());
    fleet.say(topic, text.as_bytes().to_vec());
}

/// Waits until all of this was said, in any order, and nothing else was.
fn hear(fleet: &mut Fleet, expected: &[(&str, &str)]) {
    let mut left: Vec<_> =
        expected.iter().map(|(instance, text)| (said(instance), text.as_bytes().to_vec())).collect();
    while !left.is_empty() {
        let heard = fleet.wait_for(|topic, _| matches!(topic, Up::Message(..)));
        let at = left.iter().position(|expected| *expected == heard);
        left.remove(at.unwrap_or_else(|| panic!("{heard:?} was said, not {left:?}")));
    }
}

#[test]
fn each_instance_hears_its_own_messages_and_a_pin_is_heard_by_who_watches_it() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent_with("simulate = true");
    let echo = fleet.publish_artifact("echo", ECHO);
    let watch = fleet.publish_artifact("watch", WATCH);
    fleet.desire(1, &[("left", echo), ("right", echo), ("watch", watch)]);
    fleet.wait_for_report(|report| {
        ["left", "right", "watch"].iter().all(|name| report.state(name) == Some(ModuleState::Running))
    });
    // An odd letter drives the pin high.
    tell(&fleet, "left", "a");
    hear(&mut fleet, &[("left", "a"), ("watch", "1")]);
    tell(&fleet, "nobody", "x");
    tell(&fleet, "right", "bee");
    hear(&mut fleet, &[("right", "bee"), ("watch", "0")]);
}

#[test]
fn a_message_that_ends_a_module_is_told_with_where_it_was_and_others_go_on() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent_with("simulate = true");
    let echo = fleet.publish_artifact("echo", ECHO);
    fleet.desire(1, &[("left", echo), ("right", echo)]);
    fleet.wait_for_report(|report| {
        ["left", "right"].iter().all(|name| report.state(name) == Some(ModuleState::Running))
    });
    tell(&fleet, "left", "!");
    let (_, payload) = fleet.wait_for(|topic, _| topic == Up::Trap);
    let trap: Trap<'_> = minicbor::decode(&payload).unwrap();
    assert_eq!(
        (trap.name.as_str(), trap.artifact, trap.reason, trap.stops),
        ("left", echo, Reason::Trapped, 1)
    );
    // Four imports, then init, tick, $judge and message.
    let functions: Vec<u32> = trap.frames.iter().map(|frame| frame.function).collect();
    assert_eq!(functions, [6, 7]);
    assert!(trap.frames.iter().all(|frame| frame.offset > 0), "Linux keeps offsets");

    tell(&fleet, "right", "c");
    fleet.wait_for(|topic, payload| topic == said("right") && payload == b"c");
    let (_, payload) = fleet.wait_for(|topic, payload| {
        topic == Up::Heartbeat && minicbor::decode::<Heartbeat<'_>>(payload).unwrap().modules.len() == 2
    });
    let heartbeat: Heartbeat<'_> = minicbor::decode(&payload).unwrap();
    let used: Vec<_> = heartbeat.modules.iter().map(|used| (used.name.to_string(), used.stops)).collect();
    assert_eq!(used, [("left".to_owned(), 1), ("right".to_owned(), 0)]);
    assert!(heartbeat.modules.iter().all(|used| used.memory_bytes == 65_536));
}

#[test]
fn the_agent_tells_how_it_is() {
    let mut fleet = Fleet::start();
    let metrics = format!("127.0.0.1:{}", free_port());
    let _agent = fleet.agent_with(&format!("simulate = true\nmetrics_listen = '{metrics}'"));
    let echo = fleet.publish_artifact("echo", ECHO);
    fleet.desire(1, &[("echo", echo)]);
    fleet.wait_for_report(|report| report.state("echo") == Some(ModuleState::Running));
    tell(&fleet, "echo", "!");
    fleet.wait_for(|topic, _| topic == Up::Trap);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        wasmbed_metrics::healthy(&metrics).await.unwrap();
        let (_, page) = wasmbed_metrics::get(&metrics, "/metrics").await.unwrap();
        for expected in [
            "wasmbed_agent_broker_connected 1\n",
            "wasmbed_agent_module_failures_total{reason=\"trapped\"} 1\n",
            "process_resident_memory_bytes ",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
    });
    fleet.stop_broker();
    let is_healthy = || runtime.block_on(wasmbed_metrics::healthy(&metrics)).is_ok();
    let start = Instant::now();
    while is_healthy() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not notice that the broker is gone");
    }
}
