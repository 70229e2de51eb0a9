//! A host, its broker, and boards made for the test.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rumqttc::v5::mqttbytes::v5::Publish;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use wasmbed_fleet::{
    connection::Connection,
    host,
    host_api::{
        Desired, DesiredDevice, Event, EventKind, HostConfig, Power, ProcessStatus, Reported, ReportedDevice,
    },
    shutdown::{self, Trigger},
};

use crate::broker::{Broker, LIMIT, Service};

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) service: Service,
    pub(crate) data: TempDir,
    host: Option<(JoinHandle<anyhow::Result<()>>, Trigger)>,
    revision: u64,
    /// Where the host tells how it is.
    pub(crate) metrics: Option<SocketAddr>,
    /// When the process started that is to run the devices.
    pub(crate) holder_ms: u64,
}

/// A board whose emulator is a shell script.
pub(crate) fn script(name: &str, script: &str) -> (String, String) {
    let arguments = toml::Value::from(vec![
        "-c".to_owned(),
        script.replace('{', "{{").replace("{{link}}", "{link}"),
        // Its name, and the sockets that it is given whether or not it uses them.
        "sh".to_owned(),
        "{link}".to_owned(),
        "{qmp}".to_owned(),
    ]);
    let text = format!(
        r#"
name = "{name}"
title = "a script"
class = "mcu"
[modules]
slots = 1
slot_bytes = 1024
block_bytes = 256
window_blocks = 1
[run]
kind = "qemu"
program = "/bin/sh"
package = "dash"
arguments = {arguments}
files = []
"#
    );
    (name.to_owned(), text)
}

impl World {
    pub(crate) async fn new(boards: &[(String, String)]) -> Self {
        let broker = Broker::start();
        let service = broker.service().await;
        let data = tempfile::tempdir().expect("a folder");
        for (name, text) in boards {
            let dir = data.path().join("boards").join(name);
            fs::create_dir_all(&dir).expect("a folder");
            fs::write(dir.join("board.toml"), text).expect("a file");
        }
        let mut world = World { broker, service, data, host: None, revision: 0, metrics: None, holder_ms: 0 };
        world.start_host();
        world
    }

    pub(crate) fn config(&self) -> HostConfig {
        let config = config(self.broker.connection("_host.h1", "h"), self.data.path().to_owned());
        HostConfig { metrics_listen: self.metrics, ..config }
    }

    pub(crate) fn start_host(&mut self) {
        let (trigger, shutdown) = shutdown::channel();
        self.host = Some((tokio::spawn(host::run(self.config(), shutdown)), trigger));
    }

    pub(crate) async fn stop_host(&mut self) {
        let (task, trigger) = self.host.take().expect("a running host");
        trigger.fire();
        task.await.expect("no panic").expect("no error");
    }

    /// What the host ended with by itself.
    pub(crate) async fn host_ends(&mut self) -> anyhow::Result<()> {
        let (task, _trigger) = self.host.take().expect("a running host");
        timeout(LIMIT, task).await.expect("its end").expect("no panic")
    }

    pub(crate) fn link(&self, device: &str) -> PathBuf {
        self.data.path().join("devices").join(device).join("link.sock")
    }

    /// Publishes what the host should run.
    pub(crate) async fn desire(&mut self, devices: &[DesiredDevice]) -> u64 {
        self.revision += 1;
        let desired =
            Desired { revision: self.revision, devices: devices.to_vec(), holder_ms: self.holder_ms };
        let json = serde_json::to_vec(&desired).expect("JSON");
        self.service.publish("_host/h1/dn/desired", true, json).await;
        self.revision
    }

    pub(crate) async fn reported(
        &mut self,
        what: &str,
        pick: impl Fn(&ReportedDevice) -> bool,
    ) -> ReportedDevice {
        self.service
            .until(what, |topic, publish| {
                let reported: Reported = json("up/reported", topic, publish)?;
                reported.devices.into_iter().find(|device| pick(device))
            })
            .await
    }

    pub(crate) async fn running(&mut self, cycle: u32) -> ReportedDevice {
        self.reported("running", |device| {
            device.cycle == cycle && device.pid.is_some() && device.status != ProcessStatus::Stopping
        })
        .await
    }

    pub(crate) async fn event(&mut self, kind: EventKind) -> Event {
        self.any_event(|found| found == kind).await
    }

    pub(crate) async fn any_event(&mut self, is_wanted: impl Fn(EventKind) -> bool) -> Event {
        self.service
            .until("an event", |topic, publish| {
                json("up/event", topic, publish).filter(|event: &Event| is_wanted(event.kind))
            })
            .await
    }
}

pub(crate) fn config(connection: Connection, data_dir: PathBuf) -> HostConfig {
    HostConfig {
        id: "h1".parse().expect("a name"),
        connection,
        firmware_dir: data_dir.join("firmware"),
        agent: "wasmbed-agent".into(),
        metrics_listen: None,
        program: env!("CARGO_BIN_EXE_wasmbed").into(),
        grace: Duration::ZERO,
        data_dir,
    }
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(rest: &str, topic: &str, publish: &Publish) -> Option<T> {
    (topic == format!("_host/h1/{rest}")).then(|| serde_json::from_slice(&publish.payload).expect("JSON"))
}

pub(crate) fn device(id: &str, board: &str) -> DesiredDevice {
    DesiredDevice {
        machine: Default::default(),
        certificate: None,
        id: id.parse().expect("a name"),
        board: board.parse().expect("a name"),
        power: Power::On,
        cycle: 0,
        password: id.replace("ump-", ""),
        trusted: Vec::new(),
    }
}

pub(crate) fn signal(pid: Option<u32>, signal: Signal) {
    kill(process(pid), signal).expect("a process");
}

pub(crate) fn exists(pid: Option<u32>) -> bool {
    kill(process(pid), None).is_ok()
}

/// Waits for the end of a process.
pub(crate) async fn gone(pid: Option<u32>) {
    timeout(LIMIT, async {
        while exists(pid) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("an end of the process");
}

fn process(pid: Option<u32>) -> Pid {
    Pid::from_raw(pid.expect("a process id").try_into().expect("a process id"))
}
