//! A Mosquitto of the test's own, and a client that stands for the service.

use std::{
    collections::VecDeque,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rumqttc::v5::{
    AsyncClient, Event,
    mqttbytes::{
        QoS,
        v5::{Packet, Publish},
    },
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use wasmbed_fleet::connection::{Address, Connection, Dialect};

pub(crate) const PREFIX: &str = "test/fleet";
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Who may connect: the service sees everything, a device only what is its own.
const USERS: [(&str, &str); 4] = [("service", "s"), ("_host.h1", "h"), ("pump-1", "p1"), ("pump-2", "p2")];
const ACL: &str = "user service
topic readwrite #
user _host.h1
topic write test/fleet/v1/_host/h1/up/#
topic read test/fleet/v1/_host/h1/dn/#
user pump-1
topic write test/fleet/v1/pump-1/up/#
topic read test/fleet/v1/pump-1/dn/#
user pump-2
topic write test/fleet/v1/pump-2/up/#
topic read test/fleet/v1/pump-2/dn/#
";

/// A broker that ends with the test.
pub(crate) struct Broker {
    child: Option<Child>,
    dir: TempDir,
    port: u16,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Broker {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let passwords = dir.path().join("passwords");
        fs::write(&passwords, "").expect("a file");
        for (user, password) in USERS {
            let made =
                Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args([user, password]).status();
            assert!(made.expect("this test needs the Debian package mosquitto").success());
        }
        fs::write(dir.path().join("acl"), ACL).expect("a file");
        let mut broker = Broker { child: None, dir, port: 0 };
        broker.restart();
        broker
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a running broker");
            child.wait().expect("a child");
        }
    }

    /// Starts it, on the same port if it ran before. A port found free can be taken before the broker
    /// has it; then it is tried again with another.
    pub(crate) fn restart(&mut self) {
        for _ in 0..20 {
            if self.port == 0 {
                let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                self.port = free.local_addr().expect("an address").port();
            }
            if self.try_start() {
                return;
            }
            self.port = 0;
        }
        panic!("mosquitto does not start");
    }

    fn try_start(&mut self) -> bool {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        // As root it would become another user, who cannot read the files.
        let config = format!(
            "listener {} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {}\nacl_file {}\n",
            self.port,
            path("passwords"),
            path("acl"),
        );
        fs::write(path("conf"), config).expect("a file");
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .into_iter()
            .find(|program| Path::new(program).exists())
            .unwrap_or("mosquitto");
        let mut child = Command::new(program)
            .args(["-c", &path("conf")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto");
        loop {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().expect("a child").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connection(&self, username: &str, password: &str) -> Connection {
        connection(self.port, username, password)
    }

    pub(crate) async fn service(&self) -> Service {
        let options = self.connection("service", "s").options("service");
        let (client, mut eventloop) = AsyncClient::new(options, 64);
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(packet)) => {
                        if sender.send(packet).is_err() {
                            return;
                        }
                    }
                    Ok(Event::Outgoing(_)) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let mut service = Service { client, messages, seen: VecDeque::new() };
        service.subscribe().await;
        service
    }
}

/// A way to the broker on this port.
pub(crate) fn connection(port: u16, username: &str, password: &str) -> Connection {
    Connection {
        address: Address { host: "127.0.0.1".into(), port, is_tls: false },
        tls: None,
        username: username.into(),
        password: password.into(),
        prefix: PREFIX.into(),
        dialect: Dialect::default(),
    }
}

/// The service's connection: sees all messages of the fleet, in order.
pub(crate) struct Service {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Packet>,
    seen: VecDeque<String>,
}

impl Service {
    pub(crate) async fn subscribe(&mut self) {
        self.client.subscribe(format!("{PREFIX}/#"), QoS::AtLeastOnce).await.expect("a client");
        timeout(LIMIT, async { while !matches!(self.messages.recv().await, Some(Packet::SubAck(_))) {} })
            .await
            .expect("a subscription");
    }

    /// After a restart of the broker.
    pub(crate) async fn reconnected(&mut self) {
        timeout(LIMIT, async { while !matches!(self.messages.recv().await, Some(Packet::ConnAck(_))) {} })
            .await
            .expect("a connection");
        self.subscribe().await;
    }

    pub(crate) async fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        let topic = format!("{PREFIX}/v1/{topic}");
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload.into()).await.expect("a client");
    }

    pub(crate) async fn publish_qos0(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let topic = format!("{PREFIX}/v1/{topic}");
        self.client.publish(topic, QoS::AtMostOnce, false, payload.into()).await.expect("a client");
    }

    /// The first message from now on for which `pick` has an answer; topics without their front.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&str, &Publish) -> Option<T>,
    ) -> T {
        let found = timeout(LIMIT, async {
            loop {
                let Some(Packet::Publish(publish)) = self.messages.recv().await else { continue };
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let topic = topic.strip_prefix(&format!("{PREFIX}/v1/")).unwrap_or(&topic).to_owned();
                self.seen.push_back(format!("{topic} {}", String::from_utf8_lossy(&publish.payload)));
                if let Some(found) = pick(&topic, &publish) {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{what} did not come; seen: {:#?}", self.seen),
        }
    }
}
