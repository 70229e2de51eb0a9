//! Processes are started, watched, started again and ended as desired.

use std::{net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};
use wasmbed_fleet::{
    host,
    host_api::{EventKind, Power, ProcessStatus, Reported},
    shutdown,
};
use wasmbed_wire::{PublicKey, provision::Provision};

use crate::{
    board::Board,
    broker::{Broker, LIMIT},
    world::{World, config, device, exists, gone, json, script, signal},
};

async fn quiet() -> World {
    World::new(&[script("quiet", "exec sleep 1000")]).await
}

#[tokio::test]
async fn a_killed_process_is_reported_with_its_signal_and_started_again_at_once() {
    let mut world = quiet().await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let first = world.running(0).await;
    let killed = Instant::now();
    signal(first.pid, Signal::SIGKILL);
    assert_eq!(world.event(EventKind::Exited).await.reason, "killed by SIGKILL");
    let again = world.running(0).await;
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    assert_eq!((again.restarts, again.reason.as_deref()), (1, Some("killed by SIGKILL")));
    assert!(exists(again.pid));
}

#[tokio::test]
async fn a_process_that_cannot_live_uses_up_its_budget_and_a_cycle_forgives() {
    // The pauses between restarts are real time.
    let mut world = World::new(&[script("dying", "echo out of magic smoke >&2; exit 3")]).await;
    let mut desired = device("pump-1", "dying");
    world.desire(&[desired.clone()]).await;
    let event = world.event(EventKind::BudgetExhausted).await;
    assert!(event.reason.contains("exit code 3: out of magic smoke"), "{}", event.reason);
    let reported = world.reported("an error", |device| device.status == ProcessStatus::Error).await;
    assert_eq!((reported.restarts, reported.pid), (5, None));
    desired.cycle = 1;
    world.desire(&[desired]).await;
    assert_eq!(world.event(EventKind::Started).await.reason, "power cycle");
}

#[tokio::test]
async fn a_suspended_process_is_cycled_hard() {
    let mut world = quiet().await;
    let mut desired = device("pump-1", "quiet");
    world.desire(&[desired.clone()]).await;
    let first = world.running(0).await;
    signal(first.pid, Signal::SIGSTOP);
    desired.cycle = 1;
    let asked = Instant::now();
    world.desire(&[desired.clone()]).await;
    let second = world.running(1).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!exists(first.pid) && exists(second.pid));
    // The same demand again is no new demand.
    let revision = world.desire(&[desired]).await;
    let third = world
        .service
        .until("the revision", |topic, publish| {
            let reported: wasmbed_fleet::host_api::Reported = json("up/reported", topic, publish)?;
            (reported.revision == revision).then(|| reported.devices[0].clone())
        })
        .await;
    assert_eq!(third.pid, second.pid);
}

#[tokio::test]
async fn power_off_and_removal_end_the_process_even_one_that_does_not_listen() {
    let mut world = World::new(&[script("stubborn", "trap '' TERM; while :; do sleep 1000; done")]).await;
    let mut desired = device("pump-1", "stubborn");
    world.desire(&[desired.clone()]).await;
    let first = world.running(0).await;
    desired.power = Power::Off;
    world.desire(&[desired.clone()]).await;
    world.reported("stopped", |device| device.status == ProcessStatus::Stopped && device.pid.is_none()).await;
    assert!(!exists(first.pid));
    desired.power = Power::On;
    world.desire(&[desired]).await;
    let second = world.running(0).await;
    world.desire(&[]).await;
    gone(second.pid).await;
    let dir = world.data.path().join("devices/pump-1");
    timeout(LIMIT, async {
        while dir.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the device's folder to go");
}

#[tokio::test]
async fn each_start_is_provisioned_with_the_keys_of_now_and_higher_numbers() {
    let (name, text) = script("provisioned", "exec sleep 1000");
    let text = text.replace("files = []", "files = [{ holds = 'provision', name = 'p.bin' }]");
    let mut world = World::new(&[(name, text)]).await;
    let mut desired = device("pump-1", "provisioned");
    world.desire(&[desired.clone()]).await;
    let first = world.running(0).await;
    let path = world.data.path().join("devices/pump-1/p.bin");
    let before = std::fs::read(&path).expect("a blob");
    let before = Provision::read(&before).expect("a blob");
    assert!(before.device == desired.id && before.trusted.is_empty() && before.boot_floor > 0);
    let secret = before.secret.expect("a secret");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the secret is nobody else's");

    desired.trusted = vec![PublicKey([7; 32])];
    let revision = world.desire(&[desired.clone()]).await;
    let accepted = |topic: &str, publish: &_| {
        let reported: Reported = json("up/reported", topic, publish)?;
        (reported.revision == revision).then(|| reported.devices[0].pid)
    };
    assert_eq!(world.service.until("the revision", accepted).await, first.pid, "new keys stop nothing");
    signal(first.pid, Signal::SIGKILL);
    world.event(EventKind::Restarted).await;
    let after = std::fs::read(&path).expect("a blob");
    let after = Provision::read(&after).expect("a blob");
    assert!(after.trusted.iter().eq(desired.trusted));
    assert!(after.boot_floor > before.boot_floor);
    assert_eq!(after.secret, Some(secret), "it stays the same");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (name, text) = script("nowhere", "");
    let text = text.replace("/bin/sh", "qemu-system-nowhere").replace("dash", "qemu-system-misc");
    let mut world = World::new(&[(name, text)]).await;
    world.desire(&[device("pump-1", "nowhere")]).await;
    let reason = world.event(EventKind::StartFailed).await.reason;
    assert_eq!(reason, "qemu-system-nowhere was not found; install the Debian package qemu-system-misc");

    world.desire(&[device("pump-1", "netduino9")]).await;
    let reason = world.event(EventKind::StartFailed).await.reason;
    assert!(reason.contains("no board netduino9; it knows hifive1, linux, linux-x86-64, lx60"), "{reason}");

    world.desire(&[device("pump-1", "netduino2")]).await;
    let reason = world.event(EventKind::StartFailed).await.reason;
    assert!(reason.contains("no bootloader for netduino2") && reason.contains("cargo xtask fw"), "{reason}");
}

#[tokio::test]
async fn a_broker_that_is_away_disturbs_no_process_and_loses_no_event() {
    let mut world = quiet().await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let first = world.running(0).await;
    let _board = Board::start(&world.link("pump-1"), 1).await;
    world.broker.stop();
    signal(first.pid, Signal::SIGTERM);
    gone(first.pid).await;
    world.broker.restart();
    world.service.reconnected().await;
    assert_eq!(world.event(EventKind::Exited).await.reason, "killed by SIGTERM");
    let second = world.running(0).await;
    assert!(exists(second.pid) && second.restarts == 1);
}

#[tokio::test]
async fn the_end_of_the_host_is_the_end_of_its_processes() {
    let mut world = quiet().await;
    world.desire(&[device("pump-1", "quiet"), device("pump-2", "quiet")]).await;
    let started = |topic: &str, publish: &_| {
        let reported: Reported = json("up/reported", topic, publish)?;
        reported.devices.iter().map(|device| device.pid.map(Some)).collect::<Option<Vec<_>>>()
    };
    let pids = world.service.until("two processes", started).await;
    assert_eq!(pids.len(), 2);
    world.stop_host().await;
    assert!(!pids.into_iter().any(exists));
    // And the folder is free for the next one, which goes by what is desired then.
    world.desire(&[device("pump-1", "quiet")]).await;
    world.start_host();
    assert!(exists(world.running(0).await.pid));
    let has_folder = |id: &str| world.data.path().join("devices").join(id).exists();
    assert!(has_folder("pump-1") && !has_folder("pump-2"));
}

#[tokio::test]
async fn a_second_host_in_the_same_folder_is_refused() {
    let mut world = quiet().await;
    world.desire(&[]).await;
    world.service.until("a host", |topic, _| (topic == "_host/h1/up/info").then_some(())).await;
    let (_trigger, shutdown) = shutdown::channel();
    let error = host::run(world.config(), shutdown).await.expect_err("a refusal").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_long_path_of_the_data_folder_does_not_matter() {
    let broker = Broker::start();
    let mut service = broker.service().await;
    let dir = tempfile::tempdir().expect("a folder");
    let (trigger, shutdown) = shutdown::channel();
    let host = tokio::spawn(host::run(
        config(broker.connection("_host.h1", "h"), dir.path().join("x".repeat(120))),
        shutdown,
    ));
    service.until("a host", |topic, _| (topic == "_host/h1/up/info").then_some(())).await;
    trigger.fire();
    host.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_host_whose_id_another_process_has_stops_and_says_so() {
    let mut world = quiet().await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let pid = world.running(0).await.pid;
    world.holder_ms = u64::MAX;
    world.desire(&[device("pump-1", "quiet")]).await;
    let error = world.host_ends().await.expect_err("another is meant").to_string();
    assert!(error.contains("another process runs as host h1") && error.contains("--id"), "{error}");
    gone(pid).await;
}

#[tokio::test]
async fn the_host_tells_how_it_and_its_devices_are() {
    let mut world = quiet().await;
    world.stop_host().await;
    // Free a moment ago.
    let metrics = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    world.metrics = Some(metrics);
    world.start_host();
    world.desire(&[device("pump-1", "quiet")]).await;
    let first = world.running(0).await;
    signal(first.pid, Signal::SIGKILL);
    world.event(EventKind::Restarted).await;
    world.running(0).await;
    let address = metrics.to_string();
    wasmbed_metrics::healthy(&address).await.expect("healthy");
    let (_, page) = wasmbed_metrics::get(&address, "/metrics").await.expect("an answer");
    for expected in [
        "wasmbed_host_broker_connected 1\n",
        "wasmbed_host_device_restarts_total{device=\"pump-1\"} 1\n",
        "wasmbed_host_events_total{kind=\"exited\"} 1\n",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    world.broker.stop();
    timeout(LIMIT, async { while wasmbed_metrics::healthy(&address).await.is_ok() {} })
        .await
        .expect("it notices that the broker is gone");
    world.stop_host().await;
}

#[tokio::test]
async fn devices_wait_for_their_turn_to_start() {
    let mut world = quiet().await;
    // As many as may come up at once, and one more; none of them ever says that it has.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let ids: Vec<String> = (0..=4 * processors).map(|nth| format!("pump-{nth}")).collect();
    let all: Vec<_> = ids.iter().map(|id| device(id, "quiet")).collect();
    world.desire(&all).await;
    let waiting = world
        .reported("one that waits", |device| {
            device.reason.as_deref().is_some_and(|reason| reason.contains("its turn to start"))
        })
        .await;
    assert_eq!((waiting.status, waiting.pid), (ProcessStatus::Starting, None));

    // One that goes makes room for it.
    let mut fewer = all.clone();
    let gone = fewer.iter().position(|device| device.id != waiting.id).expect("another one");
    fewer.remove(gone);
    world.desire(&fewer).await;
    world.reported("it runs", |device| device.id == waiting.id && device.pid.is_some()).await;
    world.stop_host().await;
}
