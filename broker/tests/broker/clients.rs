//! Clients that others wrote, in both versions: rumqttc, Eclipse Paho, and mosquitto's tools where they are installed.

use std::process::Stdio;
use std::time::Duration;

use crate::common::*;
use rumqttc::v5;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use wasmbed_broker::credentials::Role;

fn options4(running: &Running, role: Role, id: &str) -> rumqttc::MqttOptions {
    let mut options = rumqttc::MqttOptions::new(id, "127.0.0.1", running.address.port());
    options.set_credentials(role.username(), password(&role)).set_keep_alive(Duration::from_secs(5));
    options
}

/// Runs the event loop; its publications come out of the channel.
fn run4(mut events: rumqttc::EventLoop) -> tokio::sync::mpsc::UnboundedReceiver<rumqttc::Publish> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
                let _ = sender.send(publish);
            }
        }
    });
    receiver
}

#[tokio::test]
async fn rumqttc_speaks_3_1_1() {
    let running = Running::start().await;
    let (service, events) = rumqttc::AsyncClient::new(options4(&running, Role::Service, "fleet"), 10);
    let mut received = run4(events);
    service.subscribe("wasmbed/v1/+/up/#", rumqttc::QoS::AtLeastOnce).await.expect("queued");
    let (pump, events) = rumqttc::AsyncClient::new(options4(&running, device("pump-7"), "pump-7"), 10);
    run4(events);
    for (number, qos) in [rumqttc::QoS::AtMostOnce, rumqttc::QoS::AtLeastOnce, rumqttc::QoS::ExactlyOnce]
        .into_iter()
        .enumerate()
    {
        running.until(|count| count.connections == 2).await;
        pump.publish(STATE, qos, false, number.to_string()).await.expect("queued");
        let publish = within(received.recv()).await.expect("a message");
        assert_eq!(
            (publish.topic.as_str(), publish.payload.as_ref()),
            (STATE, number.to_string().as_bytes())
        );
    }
}

#[tokio::test]
async fn rumqttc_speaks_5_and_sees_request_properties() {
    let running = Running::start().await;
    let mut options = v5::MqttOptions::new("me", "127.0.0.1", running.address.port());
    options.set_credentials(Role::Operator.username(), password(&Role::Operator));
    let (operator, mut events) = v5::AsyncClient::new(options, 10);
    let mut service = running.connect5(Role::Service, "fleet").await;
    service.subscribe("wasmbed/v1/_fleet/cmd/+", 1).await;
    operator.subscribe("wasmbed/v1/_fleet/res/+", v5::mqttbytes::QoS::AtLeastOnce).await.expect("queued");
    let properties = v5::mqttbytes::v5::PublishProperties {
        response_topic: Some("wasmbed/v1/_fleet/res/1".to_owned()),
        correlation_data: Some("c1".into()),
        content_type: Some("application/json".to_owned()),
        message_expiry_interval: Some(30),
        ..Default::default()
    };
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    let cmd = "wasmbed/v1/_fleet/cmd/list";
    operator.publish_with_properties(cmd, qos, false, "{}", properties).await.expect("queued");
    let answers = tokio::spawn(async move {
        loop {
            let event = events.poll().await.expect("connected");
            if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(publish)) = event {
                return publish;
            }
        }
    });
    let request = service.received().await;
    assert_eq!((request.topic.as_str(), request.qos), (cmd, 1));
    service.publish_with("wasmbed/v1/_fleet/res/1", b"[]", 1, false, 1, &[9, 0, 2, b'c', b'1']).await;
    let answer = within(answers).await.expect("an answer");
    assert_eq!(answer.payload.as_ref(), b"[]");
    assert_eq!(
        answer.properties.and_then(|properties| properties.correlation_data).as_deref(),
        Some(&b"c1"[..])
    );
}

fn mosquitto(running: &Running, program: &str, role: Role, arguments: &[&str]) -> Option<Command> {
    let installed = std::process::Command::new(program).arg("--help").output().is_ok();
    if !installed {
        eprintln!("{program} is not installed: not tested");
        return None;
    }
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &running.address.port().to_string()]);
    command.args(["-u", &role.username(), "-P", &password(&role)]).args(arguments);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    Some(command)
}

async fn publish(mut command: Command) {
    assert!(within(command.status()).await.expect("started").success());
}

/// The lines a subscriber prints.
struct Lines {
    _child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Lines {
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Lines { _child: child, lines }
    }

    async fn next(&mut self) -> String {
        within(self.lines.next_line()).await.expect("readable").expect("a line")
    }
}

#[tokio::test]
async fn mosquitto_sees_retained_messages_wills_and_properties() {
    let running = Running::start().await;
    let version = ["-V", "mqttv5"];
    let state = ["-t", STATE, "-r", "-q", "1", "-i", "pump-7"];
    let online = [&version[..], &state, &["-m", "online"]].concat();
    let Some(online) = mosquitto(&running, "mosquitto_pub", device("pump-7"), &online) else { return };
    publish(online).await;
    let filter = ["-t", "wasmbed/v1/+/up/#", "-q", "1", "-F", "%t %p %r %q %C %R %D"];
    let subscribe = [&version[..], &filter].concat();
    let Some(subscribe) = mosquitto(&running, "mosquitto_sub", Role::Operator, &subscribe) else { return };
    let mut lines = Lines::of(subscribe);
    assert_eq!(lines.next().await.trim_end(), format!("{STATE} online 1 1"));

    let properties =
        ["-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "a/b"];
    let crash = ["-t", "wasmbed/v1/pump-7/up/crash", "-i", "pump-7", "-m", "oops", "-q", "2"];
    let correlation = ["-D", "publish", "correlation-data", "42"];
    let crash = [&version[..], &crash, &properties, &correlation].concat();
    publish(mosquitto(&running, "mosquitto_pub", device("pump-7"), &crash).expect("installed")).await;
    assert_eq!(lines.next().await, "wasmbed/v1/pump-7/up/crash oops 0 1 text/plain a/b 42");

    let will = ["--will-topic", STATE, "--will-payload", "offline", "--will-qos", "1", "--will-retain"];
    let waiting = ["-t", "wasmbed/v1/pump-7/dn/#", "-i", "pump-7"];
    let waiting = [&version[..], &waiting, &will].concat();
    let mut device = mosquitto(&running, "mosquitto_sub", device("pump-7"), &waiting)
        .expect("installed")
        .spawn()
        .expect("started");
    // Two publishers, the reader, and this one; a count of those connected now could still hold a publisher.
    running.until(|count| count.accepted == 4).await;
    device.kill().await.expect("killed");
    assert_eq!(lines.next().await.trim_end(), format!("{STATE} offline 0 1"));
}

/// What Eclipse Paho's client does is in `with_paho.py`.
async fn paho_speaks(version: &str) {
    let Some(python) = std::env::var_os("WASMBED_PYTHON") else {
        println!("skipped: WASMBED_PYTHON is not set; `cargo xtask test` sets it up");
        return;
    };
    let running = Running::start().await;
    let user = |role: Role| format!("{}={}", role.username(), password(&role));
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/with_paho.py"));
    command.args([
        &running.address.port().to_string(),
        version,
        &user(Role::Service),
        &user(device("pump-7")),
    ]);
    let output = command.kill_on_drop(true).output().await.expect("it starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_speaks_3_1_1() {
    paho_speaks("4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_speaks_5() {
    paho_speaks("5").await;
}
