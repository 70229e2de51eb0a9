//! A host that dies, and what becomes of its processes.

use std::{
    env, fs,
    io::Write,
    os::unix::{net::UnixListener, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use wasmbed_fleet::{
    host,
    host_api::{EventKind, HostConfig, Power, ProcessStatus, Reported, ReportedDevice},
    shutdown,
};

use crate::{
    broker::connection,
    world::{World, config, device, exists, gone, json, script, signal},
};

/// Longer than any test: another host comes, or the test ends the keeper.
const LONG: Duration = Duration::from_secs(60);

const HOST: &str = "WASMBED_TEST_HOST";
const KEEPER: &str = "WASMBED_TEST_KEEPER";

/// Not a test: the host that others kill.
#[tokio::test]
#[ignore = "run by other tests"]
async fn host_in_a_process_of_its_own() {
    let Ok(what) = env::var(HOST) else { return };
    let mut what = what.splitn(3, ' ');
    let mut next = || what.next().expect("port, grace and folder");
    let (port, grace) = (next().parse().expect("a port"), next().parse().expect("milliseconds"));
    let config = config(connection(port, "_host.h1", "h"), next().into());
    let (_trigger, shutdown) = shutdown::channel();
    host::run(HostConfig { grace: Duration::from_millis(grace), ..config }, shutdown).await.expect("a host");
}

/// Not a test: a keeper that a host finds and does not understand.
#[test]
#[ignore = "run by other tests"]
fn keeper_of_another_version() {
    let Ok(socket) = env::var(KEEPER) else { return };
    let listener = UnixListener::bind(socket).expect("a socket");
    let (mut host, _) = listener.accept().expect("a host");
    host.write_all(b"{\"version\":4711,\"holds\":7}\n").expect("a greeting");
    std::thread::sleep(LONG);
}

fn this_program(test: &str, variable: &str, value: String) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", test, "--ignored"])
        .env(variable, value)
        .stdout(Stdio::null())
        .spawn()
        .expect("a process")
}

/// Puts a host in a process of its own in the place of the world's.
async fn host_to_kill(world: &mut World, grace: Duration) -> Child {
    world.stop_host().await;
    let config = world.config();
    let (port, dir) = (config.connection.address.port, config.data_dir);
    let what = format!("{port} {} {}", grace.as_millis(), dir.display());
    this_program("adoption::host_in_a_process_of_its_own", HOST, what)
}

fn kill(mut child: Child) {
    child.kill().expect("a running process");
    child.wait().expect("a child");
}

/// The keeper, which is every device's parent.
fn keeper_of(pid: Option<u32>) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid?)).expect("a process");
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// What is reported once every device of this revision has settled.
async fn settled(world: &mut World, revision: u64) -> Vec<ReportedDevice> {
    let is_settled = |device: &ReportedDevice| match device.status {
        ProcessStatus::Stopped => device.pid.is_none(),
        _ => device.pid.is_some(),
    };
    let pick = |topic: &str, publish: &_| {
        let reported: Reported = json("up/reported", topic, publish)?;
        (reported.revision == revision && reported.devices.iter().all(is_settled)).then_some(reported.devices)
    };
    world.service.until("a settled host", pick).await
}

#[tokio::test]
async fn a_process_runs_on_under_the_next_host() {
    let talking = "trap 'echo hello >&2' USR1; while :; do sleep 0.02; done";
    let mut world = World::new(&[script("talking", talking)]).await;
    let host = host_to_kill(&mut world, LONG).await;
    world.desire(&[device("pump-1", "talking")]).await;
    let first = world.running(0).await;
    kill(host);
    world.start_host();
    world.event(EventKind::Adopted).await;
    let second = world.running(0).await;
    assert_eq!((second.pid, second.restarts), (first.pid, 0));
    signal(second.pid, Signal::SIGUSR1);
    let said = |topic: &str, publish: &rumqttc::v5::mqttbytes::v5::Publish| {
        (topic == "_host/h1/up/console/pump-1").then(|| publish.payload.clone())
    };
    assert_eq!(world.service.until("what it says", said).await, "hello");
    // The end of the host in order is that of its processes, whoever started them, and of their keeper.
    let keeper = keeper_of(second.pid);
    world.stop_host().await;
    assert!(!exists(second.pid));
    gone(keeper).await;
}

#[tokio::test]
async fn what_is_desired_now_is_not_what_runs_is_stopped() {
    let mut world =
        World::new(&[script("quiet", "exec sleep 1000"), script("other", "exec sleep 1000")]).await;
    let host = host_to_kill(&mut world, LONG).await;
    let mut desired: Vec<_> =
        ["same", "cycled", "changed", "renamed", "off", "unwanted"].map(|id| device(id, "quiet")).into();
    let revision = world.desire(&desired).await;
    let before = settled(&mut world, revision).await;
    kill(host);
    desired[1].cycle = 1;
    desired[2].board = "other".parse().expect("a name");
    desired[3].password = "another".to_owned();
    desired[4].power = Power::Off;
    desired.pop();
    let revision = world.desire(&desired).await;
    world.start_host();
    let after = settled(&mut world, revision).await;
    let pid = |devices: &[ReportedDevice], id: &str| {
        devices.iter().find(|device| device.id.as_str() == id).and_then(|device| device.pid)
    };
    assert_eq!(pid(&after, "same"), pid(&before, "same"));
    assert!(pid(&after, "same").is_some());
    for id in ["cycled", "changed", "renamed"] {
        assert!(exists(pid(&after, id)) && !exists(pid(&before, id)), "{id}");
    }
    assert_eq!(pid(&after, "off"), None);
    for id in ["off", "unwanted"] {
        gone(pid(&before, id)).await;
    }
    world.stop_host().await;
}

#[tokio::test]
async fn a_process_that_dies_while_there_is_no_host_is_started_again_by_the_next() {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    let host = host_to_kill(&mut world, LONG).await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let first = world.running(0).await;
    kill(host);
    signal(first.pid, Signal::SIGKILL);
    gone(first.pid).await;
    world.start_host();
    assert_eq!(world.event(EventKind::Exited).await.reason, "killed by SIGKILL");
    let second = world.running(0).await;
    assert!(exists(second.pid) && second.restarts == 1);
    world.stop_host().await;
}

#[tokio::test]
async fn without_another_host_every_process_and_the_keeper_end_after_the_grace() {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    let host = host_to_kill(&mut world, Duration::from_millis(300)).await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let pid = world.running(0).await.pid;
    let keeper = keeper_of(pid);
    kill(host);
    gone(pid).await;
    gone(keeper).await;
    assert!(!world.data.path().join("keeper.sock").exists());
}

#[tokio::test]
async fn a_keeper_that_dies_takes_its_processes_along_and_is_followed_by_another() {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    world.desire(&[device("pump-1", "quiet")]).await;
    let first = world.running(0).await;
    signal(keeper_of(first.pid), Signal::SIGKILL);
    assert_eq!(world.event(EventKind::Exited).await.reason, "ended with its keeper");
    let second = world.running(0).await;
    gone(first.pid).await;
    assert!(exists(second.pid));
    world.stop_host().await;
    assert!(!exists(second.pid));
}

#[tokio::test]
async fn a_keeper_of_another_version_is_replaced() {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    world.stop_host().await;
    let socket: PathBuf = world.data.path().join("keeper.sock");
    let mut other = this_program("adoption::keeper_of_another_version", KEEPER, socket.display().to_string());
    tokio::time::timeout(crate::broker::LIMIT, async {
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a keeper");
    world.desire(&[device("pump-1", "quiet")]).await;
    world.start_host();
    assert!(exists(world.running(0).await.pid));
    let status = other.wait().expect("a child");
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    world.stop_host().await;
}

#[tokio::test]
async fn a_keeper_that_cannot_start_says_why() {
    let mut world = World::new(&[script("quiet", "exec sleep 1000")]).await;
    world.stop_host().await;
    let failed = |program: &str| {
        let (_trigger, shutdown) = shutdown::channel();
        host::run(HostConfig { program: program.into(), ..world.config() }, shutdown)
    };
    let missing = failed("/nowhere/wasmbed").await.expect_err("no program").to_string();
    assert!(missing.contains("the keeper /nowhere/wasmbed could not be started"), "{missing}");
    let other = failed("/bin/false").await.expect_err("no keeper").to_string();
    assert_eq!(other, "the keeper ended at once: it does not say why");
}
