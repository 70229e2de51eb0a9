//! What is ordered for a running device is done, and what cannot be is refused with the reason.

use std::fs;

use serde_json::{Value, json};
use wasmbed_fleet::{
    api::Answer,
    host_api::{EventKind, Power, ProcessStatus},
};

use crate::{
    board::{Board, Heard},
    world::{World, device, exists, script},
};

/// A host with a device that runs, and its process.
async fn world() -> (World, Option<u32>) {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let pid = world.running(0).await.pid;
    (world, pid)
}

impl World {
    async fn give(&mut self, id: &str, device: &str, control: Value) {
        let order = json!({ "device": device, "control": control }).to_string();
        self.service.publish(&format!("_host/h1/dn/ctl/{id}"), false, order).await;
    }

    /// Gives an order and waits for its answer.
    async fn order(&mut self, id: &str, device: &str, control: Value) -> Answer {
        self.give(id, device, control).await;
        self.answer(id).await
    }

    /// Gives an order and waits for the event that tells of it, which comes before the answer.
    async fn told(&mut self, id: &str, control: Value, kind: EventKind) -> String {
        self.give(id, "pump-1", control).await;
        let event = self.event(kind).await;
        let answer = self.answer(id).await;
        assert!(answer.ok, "{:?}", answer.error);
        event.reason
    }

    async fn answer(&mut self, id: &str) -> Answer {
        let answer = format!("_host/h1/up/res/{id}");
        self.service
            .until("an answer", |topic, publish| {
                (topic == answer).then(|| serde_json::from_slice(&publish.payload).expect("JSON"))
            })
            .await
    }

    async fn done(&mut self, id: &str, control: Value) -> Value {
        let answer = self.order(id, "pump-1", control).await;
        assert!(answer.ok, "{:?}", answer.error);
        answer.result.expect("a result")
    }

    async fn refused(&mut self, id: &str, device: &str, control: Value) -> String {
        self.order(id, device, control).await.error.expect("a refusal").message
    }
}

/// The state of a process: `T` if it is suspended.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = stat.rsplit_once(") ").expect("a state");
    rest.chars().next().expect("a state")
}

async fn until_state(pid: u32, expected: impl Fn(char) -> bool) {
    tokio::time::timeout(crate::broker::LIMIT, async {
        while !expected(state(pid)) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("that state");
}

#[tokio::test]
async fn a_frozen_device_stands_still_for_its_time_or_until_it_is_calmed() {
    let (mut world, pid) = world().await;
    let pid = pid.expect("a process");
    let reason = world.told("a", json!({ "do": "freeze", "for_ms": 200 }), EventKind::Ordered).await;
    assert_eq!(reason, "suspended for 200ms, as ordered");
    until_state(pid, |state| state != 'T').await;
    world.done("b", json!({ "do": "freeze", "for_ms": 3_600_000 })).await;
    until_state(pid, |state| state == 'T').await;
    world.done("c", json!({ "do": "calm" })).await;
    until_state(pid, |state| state != 'T').await;
}

#[tokio::test]
async fn a_power_cut_ends_the_process_and_costs_nothing_of_the_budget() {
    let (mut world, mut before) = world().await;
    // More often than a device may die.
    for n in 0..8 {
        let reason = world.told(&format!("cut-{n}"), json!({ "do": "cut" }), EventKind::Exited).await;
        assert_eq!(reason, "power cut on request");
        assert!(!exists(before));
        let pid = before;
        before =
            world.reported("another process", |device| device.pid.is_some() && device.pid != pid).await.pid;
    }
}

#[tokio::test]
async fn the_power_stays_off_as_long_as_wanted() {
    let (mut world, _) = world().await;
    world.done("a", json!({ "do": "cut", "for_ms": 3_600_000 })).await;
    world.reported("off", |device| device.status == ProcessStatus::Backoff && device.pid.is_none()).await;
    let refusal = world.refused("b", "pump-1", json!({ "do": "calm" })).await;
    assert!(refusal.contains("does not run"), "{refusal}");
    // Nobody has to wait for it.
    let mut cycled = device("pump-1", "quiet");
    cycled.cycle = 1;
    world.desire(&[cycled]).await;
    world.running(1).await;
}

#[tokio::test]
async fn a_board_is_kept_from_its_broker_and_back_afterwards() {
    let (mut world, _) = world().await;
    let mut board = Board::start(&world.link("pump-1"), 1).await;
    board.until(&Heard::Up).await;
    board.open(1);
    board.until(&Heard::Session(true)).await;
    world.done("a", json!({ "do": "network", "for_ms": 3_600_000 })).await;
    board.until(&Heard::Session(false)).await;
    for _ in 0..2 {
        board.open(2);
        board.until(&Heard::Session(false)).await;
    }
    world.done("b", json!({ "do": "calm" })).await;
    board.open(3);
    board.until(&Heard::Session(true)).await;
}

#[tokio::test]
async fn a_disturbed_line_loses_nothing_that_is_acknowledged() {
    let (mut world, _) = world().await;
    let mut board = Board::start(&world.link("pump-1"), 1).await;
    board.until(&Heard::Up).await;
    board.open(1);
    board.until(&Heard::Session(true)).await;
    let noise =
        json!({ "do": "serial", "for_ms": 3_600_000, "corrupt": 0.0005, "lose": 0.0002, "repeat": 0.0002 });
    world.done("a", noise).await;
    for token in 1..60 {
        board.publish(token, "up/info", &[7; 200]);
        board.until(&Heard::Acked(token)).await;
    }
    let broken = world.reported("a broken frame", |device| device.link.is_some_and(|link| link.corrupt > 0));
    broken.await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_reason() {
    let (mut world, _) = world().await;
    let cases = [
        ("nobody", json!({ "do": "calm" }), "this host does not run nobody"),
        ("pump-1", json!({ "do": "freeze", "for_ms": 1 }), "for_ms is 1; use 10 to 3600000"),
        ("pump-1", json!({ "do": "cut", "for_ms": 3_600_001 }), "for_ms is 3600001; use"),
        ("pump-1", json!({ "do": "serial", "for_ms": 100 }), "nothing is disturbed"),
        ("pump-1", json!({ "do": "serial", "for_ms": 100, "lose": 2.0 }), "lose is 2"),
        ("pump-1", json!({ "do": "network", "for_ms": 100, "delay_ms": 5 }), "packets could be delayed"),
        ("pump-1", json!({ "do": "flip", "bits": 0 }), "0 bits to invert; use 1 to 10000"),
        // Its emulator is a script, which has no monitor.
        ("pump-1", json!({ "do": "pause" }), "the emulator did not do it"),
    ];
    for (n, (device, control, expected)) in cases.into_iter().enumerate() {
        let message = world.refused(&format!("a-{n}"), device, control).await;
        assert!(message.contains(expected), "{message}");
    }
    let mut off = device("pump-1", "quiet");
    off.power = Power::Off;
    world.desire(&[off]).await;
    world.reported("stopped", |device| device.status == ProcessStatus::Stopped).await;
    let message = world.refused("b", "pump-1", json!({ "do": "calm" })).await;
    assert!(message.contains("the device does not run"), "{message}");
}
