//! The whole service on a real broker in this process, with devices and people played by MQTT clients.
#![allow(clippy::unwrap_used, reason = "a test may stop where its world is wrong")]

#[path = "service/firmware.rs"]
mod firmware;
#[path = "service/peer.rs"]
mod peer;
#[path = "service/rollouts.rs"]
mod rollouts;

use std::time::Duration;

use peer::{Peer, World};
use serde_json::{Value, json};
use wasmbed_broker::credentials::Role;
use wasmbed_fleet::api::{Device, Module};
use wasmbed_wire::{
    Seq,
    message::{Block, Desired, Get, ModuleReport, ModuleState, Reported},
    sign1::Sign1,
};

fn module(memory_pages: u32) -> Vec<u8> {
    wat::parse_str(format!(r#"(module (memory (export "memory") {memory_pages}) (func (export "tick")))"#))
        .unwrap()
}

/// What is desired, in its signature.
fn desired(payload: &[u8]) -> Desired<'_> {
    minicbor::decode(Sign1::decode(payload).unwrap().payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_gets_its_blocks_and_is_seen_running() {
    let world = World::start().await;
    let mut people = world.client().await;
    let _: Device =
        people.request("device-add", &json!({ "device": "hub", "board": "linux" })).await.unwrap();
    let pushed: Module = people.put_module("thermo", "1.0.0", module(1)).await.unwrap();
    let mut hub = world.device("hub").await;
    hub.online(1).await;
    people.request::<Value>("deploy", &json!({ "module": "thermo", "to": "hub" })).await.unwrap();

    let payload = hub.next_where("dn/desired", |payload| !desired(payload).modules.is_empty()).await;
    let Desired { revision, modules, .. } = desired(&payload);
    let wanted = modules.iter().next().unwrap();

    let get = Get { artifact: wanted.artifact, base: 0, bitmap: 0b111 };
    hub.publish("up/get", minicbor::to_vec(get).unwrap(), false).await;
    let topic = format!("dn/blk/{}", wanted.artifact);
    let mut sizes = Vec::new();
    for index in 0..2 {
        let payload = hub.next_where(&topic, |_| true).await;
        let block: Block<'_> = minicbor::decode(&payload).unwrap();
        assert_eq!(block.index, index);
        sizes.push(block.bytes.len() as u64);
    }
    let artifact = pushed.artifacts.iter().find(|artifact| artifact.id == wanted.artifact).unwrap();
    assert_eq!(sizes[1], artifact.payload_bytes, "a small payload is one block");

    let running = [ModuleReport {
        name: wanted.name,
        artifact: wanted.artifact,
        state: ModuleState::Running,
        progress: 100,
        restarts: 0,
        reason: None,
    }];
    let modules = Seq::new(&running);
    let reported = Reported { boot: 1, revision, modules, firmware: None, keyring: None };
    hub.publish("up/reported", minicbor::to_vec(reported).unwrap(), true).await;
    peer::until("the module to be seen running", async || {
        let device: Device = people.request("device-show", &json!({ "device": "hub" })).await.unwrap();
        device.modules[0].state == Some(ModuleState::Running) && device.is_online()
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_again_tells_everybody_again() {
    let mut world = World::start().await;
    let mut people = world.client().await;
    let added: Device =
        people.request("device-add", &json!({ "device": "hub", "board": "linux" })).await.unwrap();
    drop(people);
    world.restart_service().await;
    let mut hub = world.device("hub").await;
    let payload = hub.next_where("dn/desired", |_| true).await;
    assert_eq!(desired(&payload).revision, added.revision.desired);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_refused_with_the_reason() {
    let world = World::start().await;
    let mut people = world.client().await;
    for (name, version, file, expected) in [
        ("thermo", "1.0.0", b"not wasm".to_vec(), "WebAssembly"),
        ("thermo", "one", module(1), "version"),
        ("Thermo", "1.0.0", module(1), "Thermo"),
        ("thermo", "1.0.0", wat::parse_str("(module)").unwrap(), "tick"),
    ] {
        let refusal = people.put_module::<Value>(name, version, file).await.unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
    let modules: Vec<Module> = people.request("module-list", &json!({})).await.unwrap();
    assert_eq!(modules, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_can_ask_and_is_answered_where_it_said_or_by_its_id() {
    let world = World::start().await;
    let mut person = world.peer(&Role::Operator, "_fleet", "someone").await;
    person.publish("cmd/device-list", br#"{"id":"q-1"}"#.to_vec(), false).await;
    let answer: Value = serde_json::from_slice(&person.next_where("res/q-1", |_| true).await).unwrap();
    assert_eq!(answer, json!({ "ok": true, "id": "q-1", "result": [] }));

    let asked = world.topic("_fleet/res/mine");
    person.ask("cmd/device-list", b"nonsense".to_vec(), &asked, b"77").await;
    let answer: Value = serde_json::from_slice(&person.next_where("res/mine", |_| true).await).unwrap();
    assert_eq!(answer["error"]["code"], "bad-request");

    // Asking must not be a way to speak in the service's name elsewhere.
    let _: Device = world
        .client()
        .await
        .request("device-add", &json!({ "device": "hub", "board": "linux" }))
        .await
        .unwrap();
    let mut hub = world.device("hub").await;
    hub.next_where("dn/desired", |_| true).await;
    let elsewhere = world.topic("hub/dn/desired");
    person.ask("cmd/device-list", br#"{"id":"q-2"}"#.to_vec(), &elsewhere, b"78").await;
    person.next_where("res/q-2", |_| true).await;
    assert!(hub.hears_nothing(Duration::from_millis(200)).await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_request_is_not_carried_out_at_the_next_start() {
    let mut world = World::start().await;
    let mut person: Peer = world.peer(&Role::Operator, "_fleet", "someone").await;
    let add = br#"{"device":"hub","board":"linux","id":"once"}"#.to_vec();
    person.publish("cmd/device-add", add, true).await;
    person.next_where("res/once", |_| true).await;
    let mut people = world.client().await;
    people.request::<Value>("device-remove", &json!({ "device": "hub" })).await.unwrap();
    drop(people);
    world.restart_service().await;
    let devices: Vec<Device> = world.client().await.request("device-list", &json!({})).await.unwrap();
    assert_eq!(devices, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_tells_how_it_and_its_fleet_are() {
    let world = World::start().await;
    let mut people = world.client().await;
    let _: Device =
        people.request("device-add", &json!({ "device": "hub", "board": "linux" })).await.unwrap();
    people.request::<Value>("device-show", &json!({ "device": "nobody" })).await.unwrap_err();
    world.health(Result::is_ok).await;
    let page = world.metrics().await;
    for expected in [
        "wasmbed_service_broker_connected 1\n",
        "wasmbed_service_devices{board=\"linux\",status=\"unknown\"} 1\n",
        "wasmbed_service_device_online{device=\"hub\",board=\"linux\"} 0\n",
        "wasmbed_service_requests_total{outcome=\"done\"} 1\n",
        "wasmbed_service_requests_total{outcome=\"refused\"} 1\n",
        "wasmbed_service_store_failures_total 0\n",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let hub = world.device("hub").await;
    hub.online(1).await;
    let online = "wasmbed_service_device_online{device=\"hub\",board=\"linux\"} 1\n";
    let seen = async { while !world.metrics().await.contains(online) {} };
    tokio::time::timeout(Duration::from_secs(20), seen).await.expect("it is seen online");
    world.stop_broker();
    world.health(|health| health.as_ref().is_err_and(|why| why.to_string().contains("broker"))).await;
    assert!(world.metrics().await.contains("wasmbed_service_broker_connected 0\n"));
    world.stop().await;
}
