//! The service's MQTT connection and the tasks around the fleet.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use bytes::Bytes;
use rumqttc::v5::{
    Event,
    mqttbytes::{
        QoS,
        v5::{Filter, LastWill, Packet, Publish as Received, PublishProperties, SubscribeReasonCode},
    },
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use wasmbed_boards::Boards;
use wasmbed_broker::credentials::Secret;
use wasmbed_broker_client::{Client, Error, Events};
use wasmbed_metrics::{Server, maybe_serve};
use wasmbed_plan::Policy;
use wasmbed_wire::{
    ModuleName,
    topic::{self, VERSION},
};

use super::{
    FLEET_LEVEL, Fleet, Options, Publish,
    blocks::{self, BlockRequest, BlockServer},
    fleet_topic,
    metrics::Metrics,
    patches,
    uploads::{self, Upload},
    worker::{self, Clock, Input, Outputs, Reply},
};
use crate::{
    api::Grants,
    api::{Answer, ServiceState},
    artifacts::Signer,
    ca::Ca,
    connection::Connection,
    lock::lock,
    shutdown::Shutdown,
    store::Store,
};

/// The service's MQTT client id: a second service of the same fleet would end the first one's connection.
const CLIENT_ID: &str = "wasmbed-service";
/// Name of the file with the service's own key, in the data directory.
pub const KEY_FILE: &str = "signing.key";
/// Messages that may wait for the fleet; then the connection is no longer read.
const MAX_INPUTS: usize = 1024;
/// Messages that may wait for the connection.
const MAX_REQUESTS: usize = 256;
/// First and longest pause before connecting again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// How long the last messages may take at a stop.
const GOODBYE: Duration = Duration::from_secs(2);

/// Everything the service needs to run.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Its connection to the broker.
    pub connection: Connection,
    /// Where it keeps `fleet.db` and `signing.key`; created if missing.
    pub data_dir: PathBuf,
    /// A folder of further boards, see [`Boards::with_overrides`].
    pub boards_dir: Option<PathBuf>,
    /// What passwords of emulated devices are made from.
    pub secret: Secret,
    /// Folder of the authority that gives them certificates instead.
    pub ca_dir: Option<PathBuf>,
    /// How long a certificate of that authority is good.
    pub certificate_life: Duration,
    /// How patient it is with devices.
    pub policy: Policy,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// Whether unknown devices of known boards are registered when they first speak.
    pub auto_register: bool,
    /// What modules are granted that have no grants of their own.
    pub grants: Grants,
    /// How large `fleet.db` may become, in bytes; as large as the disk allows if absent.
    pub max_store_bytes: Option<u64>,
    /// Where to answer `/metrics` and `/healthz`; nowhere if absent.
    pub metrics_listen: Option<SocketAddr>,
}

/// Runs the service until the shutdown.
///
/// # Errors
/// If its data cannot be used, or its thread fails. A broker that cannot be reached is none: the service
/// tries again for ever.
pub async fn run(config: ServiceConfig, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = lock(&config.data_dir, "serve")?;
    let metrics = match config.metrics_listen {
        Some(listen) => Some(Server::bind(listen).await?),
        None => None,
    };
    let prefix = config.connection.prefix.clone();
    let signer = Arc::new(Signer::load_or_create(&config.data_dir.join(KEY_FILE))?);
    let boards = match &config.boards_dir {
        Some(dir) => Boards::with_overrides(dir)?,
        None => Boards::embedded()?,
    };
    let clock = Clock::new();
    let (client, events) = connect(&config.connection, clock);
    let store = Store::open(&config.data_dir.join("fleet.db"))?;
    if let Some(bytes) = config.max_store_bytes {
        store.limit_bytes(bytes)?;
    }
    let (payloads, images) = (store.payloads()?, store.payloads()?);
    let options = Options {
        prefix: prefix.clone(),
        policy: config.policy,
        heartbeat_ms: config.heartbeat_ms,
        auto_register: config.auto_register,
        boards: boards.clone(),
        secret: config.secret,
        signer: Arc::clone(&signer),
        grants: config.grants,
        certificate_life: config.certificate_life,
    };
    let ca = config.ca_dir.as_deref().map(Ca::load).transpose()?;
    let fleet = Fleet::open(clock.now(), store, options, ca)?;
    let outdated = fleet.outdated()?;

    let (input, inputs) = mpsc::channel(MAX_INPUTS);
    let (out, outgoing) = mpsc::unbounded_channel();
    let (block, block_requests) = mpsc::channel(blocks::MAX_WAITING);
    let metrics = maybe_serve(metrics, Arc::new(Metrics(input.downgrade())));
    let (upload, upload_requests) = mpsc::channel(uploads::MAX_WAITING);
    let (patch, patch_orders) = mpsc::unbounded_channel();
    let server = BlockServer::new(payloads, fleet.claimed(), client.clone(), prefix.clone());
    let blocks = tokio::spawn(server.run(block_requests));
    let patcher = tokio::spawn(patches::make_all(Arc::clone(&signer), images, patch_orders, input.clone()));
    let builder = tokio::spawn(uploads::build_all(signer, Arc::new(boards), upload_requests, input.clone()));
    let rebuild = tokio::spawn(rebuild(outdated, upload.clone()));
    let publisher = tokio::spawn(publish_all(client.clone(), outgoing));
    let thread = worker::start(
        Handle::current(),
        clock,
        fleet,
        inputs,
        Outputs { publish: out.clone(), patches: patch },
    )?;

    let mut link = LinkTask { client, events, prefix, input, block, upload, out, connected: false };
    let ended = tokio::select! {
        () = shutdown.wait() => Ok(()),
        ended = link.run() => ended,
        never = metrics => match never {},
    };
    link.say_goodbye(clock).await;
    drop(link);
    // No more inputs: the thread writes what is left and ends, and the tasks with it.
    blocks.abort();
    builder.abort();
    patcher.abort();
    rebuild.abort();
    publisher.abort();
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    if joined.is_err() {
        bail!("the fleet's thread failed; its store is as it was before the step that failed");
    }
    ended
}

fn connect(connection: &Connection, clock: Clock) -> (Client, Events) {
    let mut options = connection.options(CLIENT_ID);
    let topic = fleet_topic(&connection.prefix, "state");
    let will = Publish::json(topic, &state(clock, false), true);
    options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true, None));
    connection.client(options, MAX_REQUESTS)
}

fn state(clock: Clock, online: bool) -> ServiceState {
    ServiceState { online, since_ms: clock.now().0, version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Has modules built again that were stored by a program with another runtime.
async fn rebuild(outdated: Vec<(ModuleName, String, Bytes)>, upload: mpsc::Sender<Upload>) {
    for (name, version, file) in outdated {
        tracing::info!(%name, version, "building for this program's runtime");
        let what = format!("module/{name}/{version}");
        if upload.send(Upload { what, file, reply: Reply::default() }).await.is_err() {
            return;
        }
    }
}

async fn publish_all(client: Client, mut outgoing: mpsc::UnboundedReceiver<Publish>) {
    while let Some(message) = outgoing.recv().await {
        let (qos, properties) = (message.qos(), message.properties());
        let Publish { topic, payload, delivery, .. } = message;
        let sent = client.publish(&topic, qos, delivery.retain, payload, properties).await;
        if sent.is_err() {
            tracing::warn!(topic, "cannot publish");
        }
    }
}

/// Polls the connection and hands out what comes in. It never waits for anything that waits for it.
struct LinkTask {
    client: Client,
    events: Events,
    prefix: String,
    input: mpsc::Sender<Input>,
    block: mpsc::Sender<BlockRequest>,
    upload: mpsc::Sender<Upload>,
    out: mpsc::UnboundedSender<Publish>,
    connected: bool,
}

impl LinkTask {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut pause = RECONNECT.0;
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(packet)) => {
                    if matches!(packet, Packet::ConnAck(_)) {
                        pause = RECONNECT.0;
                    }
                    self.on_packet(packet).await?;
                }
                Ok(Event::Outgoing(_)) => {}
                Err(error) => {
                    self.on_error(&error, pause).await?;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RECONNECT.1);
                }
            }
        }
    }

    async fn on_packet(&mut self, packet: Packet) -> anyhow::Result<()> {
        match packet {
            Packet::ConnAck(_) => self.subscribe(),
            Packet::SubAck(ack) => {
                let refused = |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                if ack.return_codes.iter().any(refused) {
                    bail!(
                        "the broker refuses the service's subscriptions ({:?}); let its user read and write {}/#",
                        ack.return_codes,
                        self.prefix
                    );
                }
                tracing::info!("connected to the broker");
                self.connected = true;
                self.send(Input::Connected).await?;
            }
            Packet::Publish(message) => self.on_publish(message).await?,
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self) {
        let client = self.client.clone();
        let filters = ["+/up/#", "_host/+/up/#", "_gateway/+/up/nodes/+", "_fleet/cmd/+", "_fleet/put/#"];
        let filters: Vec<Filter> = filters
            .iter()
            .map(|filter| Filter::new(format!("{}/{VERSION}/{filter}", self.prefix), QoS::AtLeastOnce))
            .collect();
        // A task of its own: the queue may be full, and this one empties it.
        tokio::spawn(async move { client.subscribe_many(filters).await });
    }

    async fn on_error(&mut self, error: &Error, pause: Duration) -> anyhow::Result<()> {
        let again = pause.as_millis();
        if std::mem::take(&mut self.connected) {
            tracing::warn!(%error, "the broker is gone; connecting again in {again} ms");
            self.send(Input::Disconnected).await?;
        } else {
            tracing::info!(%error, "cannot connect to the broker; trying again in {again} ms");
        }
        Ok(())
    }

    async fn on_publish(&mut self, message: Received) -> anyhow::Result<()> {
        let Ok(topic) = std::str::from_utf8(&message.topic) else { return Ok(()) };
        let Some((owner, rest)) = topic::split(&self.prefix, topic) else { return Ok(()) };
        if owner == FLEET_LEVEL {
            let rest = rest.to_owned();
            // A retained request would be carried out at every start.
            return if message.retain { Ok(()) } else { self.on_fleet(&rest, message).await };
        }
        if rest == "up/get"
            && let Ok(device) = owner.parse()
        {
            // Dropped when there are too many: the device asks again.
            let _ = self.block.try_send(BlockRequest { device, payload: message.payload.clone() });
        }
        let topic = topic.to_owned();
        self.send(Input::Message { topic, payload: message.payload, retained: message.retain }).await
    }

    async fn on_fleet(&mut self, rest: &str, message: Received) -> anyhow::Result<()> {
        let reply = self.reply(&message);
        match rest.split_once('/') {
            Some(("cmd", verb)) => {
                let verb = verb.to_owned();
                self.send(Input::Request { verb, payload: message.payload, reply }).await
            }
            Some(("put", what)) => {
                let default = || fleet_topic(&self.prefix, format_args!("res/put/{what}"));
                let reply = Reply { topic: reply.topic.or_else(|| Some(default())), ..reply };
                self.on_upload(Upload { what: what.to_owned(), file: message.payload, reply });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_upload(&self, upload: Upload) {
        if let Err(refused) = self.upload.try_send(upload) {
            let reply = refused.into_inner().reply;
            let answer = Answer::new(None, Err(uploads::busy()));
            if let Some(message) = reply.message(&self.prefix, &answer) {
                // Fails when the service is stopping only.
                let _ = self.out.send(message);
            }
        }
    }

    /// Where the answer to a request goes. Only topics meant for answers are taken: whoever may ask the
    /// service must not be able to make it say things in other places.
    fn reply(&self, message: &Received) -> Reply {
        let Some(properties) = &message.properties else { return Reply::default() };
        let front = fleet_topic(&self.prefix, "res/");
        let is_plain = |topic: &String| topic.starts_with(&front) && !topic.contains(['+', '#']);
        let topic = properties.response_topic.clone().filter(is_plain);
        Reply { topic, correlation: properties.correlation_data.clone() }
    }

    // Exclusive, because the connection cannot be shared between threads.
    async fn send(&mut self, input: Input) -> anyhow::Result<()> {
        self.input.send(input).await.map_err(|_| anyhow::anyhow!("the fleet's thread has ended"))
    }

    /// Says that the service is gone and closes the connection in order.
    async fn say_goodbye(&mut self, clock: Clock) {
        if !self.connected {
            return;
        }
        let client = self.client.clone();
        let message = Publish::json(fleet_topic(&self.prefix, "state"), &state(clock, false), true);
        let goodbye = async move {
            let payload: Bytes = message.payload;
            let properties = PublishProperties::default();
            let _ = client.publish(message.topic, QoS::AtLeastOnce, true, payload, properties).await;
            let _ = client.disconnect().await;
        };
        let goodbye = tokio::spawn(goodbye);
        let drained = async { while self.events.poll().await.is_ok() {} };
        let _ = timeout(GOODBYE, drained).await;
        goodbye.abort();
    }
}
