//! A client of the service: asks on the control topics and waits for answers, as any MQTT program could.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::{
    Event,
    mqttbytes::{
        QoS,
        v5::{Filter, Packet, PublishProperties, SubscribeReasonCode},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use wasmbed_broker_client::{Client as Mqtt, Error, Events, Version};

use crate::{
    api::{Answer, Problem, ServiceState},
    connection::Connection,
    service::fleet_topic,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How long compiling an upload may take.
const UPLOAD: Duration = Duration::from_secs(300);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Messages that may wait for their reader.
const MAX_WAITING: usize = 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker cannot be reached or does not let us in.
    #[error("cannot use the broker {address}: {reason}")]
    Broker {
        /// Its address.
        address: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// The service said that it is not running.
    #[error(
        "the fleet service is not running, or uses another broker or topic prefix; start it with `wasmbed up` \
         or `wasmbed serve`"
    )]
    ServiceOffline,
    /// Nobody answered.
    #[error(
        "no answer within {} s; is a fleet service (`wasmbed serve`) connected to this broker, with the \
         same prefix?", .0.as_secs()
    )]
    NoAnswer(Duration),
    /// The service answered that it cannot be done.
    #[error("{}", Explained(.0))]
    Refused(Box<Problem>),
    /// The answer is not what was expected.
    #[error("the service's answer cannot be read; are both of the same version?")]
    Unreadable(#[source] serde_json::Error),
}

struct Explained<'p>(&'p Problem);

impl std::fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A message that was subscribed to.
#[derive(Debug, Clone)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// The message.
    pub payload: Bytes,
    /// Whether the broker had kept it.
    pub retained: bool,
}

/// A connection to the fleet's control topics.
pub struct Client {
    mqtt: Mqtt,
    connection: Connection,
    answers: String,
    messages: mpsc::Receiver<Message>,
    requests: u64,
    poll: JoinHandle<()>,
    failure: mpsc::Receiver<String>,
}

impl Client {
    /// Connects and subscribes to answers.
    ///
    /// # Errors
    /// If the broker cannot be reached or refuses.
    pub async fn connect(connection: Connection) -> Result<Self, ClientError> {
        let name = random_name();
        let (mqtt, events) = connection.client(connection.options(format!("wasmbed-cli-{name}")), 16);
        let (sender, messages) = mpsc::channel(MAX_WAITING);
        let (fail, failure) = mpsc::channel(1);
        let (ready, mut is_ready) = mpsc::channel(1);
        let answers = fleet_topic(&connection.prefix, format_args!("res/{name}"));
        let filters = Filters {
            v5: [format!("{answers}/+")].into(),
            v311: ["res/+", "res/put/#"].map(|rest| fleet_topic(&connection.prefix, rest)).into(),
            state: fleet_topic(&connection.prefix, "state"),
        };
        let poll = tokio::spawn(poll(events, mqtt.clone(), filters, sender, ready, fail));
        let mut client = Client { mqtt, connection, answers, messages, requests: 0, poll, failure };
        let deadline = Instant::now() + CONNECT;
        tokio::select! {
            Ok(Some(())) = timeout_at(deadline, is_ready.recv()) => Ok(client),
            Some(reason) = client.failure.recv() => Err(client.broken(reason)),
            else => Err(client.broken("no answer to the connection attempt".into())),
        }
    }

    /// Asks the service; a request with the same fields and `id` is carried out once.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub async fn request<T: DeserializeOwned>(
        &mut self,
        verb: &str,
        fields: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut fields = serde_json::to_value(fields).map_err(ClientError::Unreadable)?;
        // Where a message cannot say where its answer goes, its id does.
        let answer = match (self.mqtt.version(), &mut fields) {
            (Version::V311, Value::Object(fields)) => {
                let id = fields.entry("id").or_insert_with(|| random_name().into());
                Some(format!("res/{}", id.as_str().unwrap_or_default()))
            }
            _ => None,
        };
        self.ask(&format!("cmd/{verb}"), fields.to_string().into_bytes(), ANSWER, answer).await
    }

    /// Uploads a module.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub async fn put_module<T: DeserializeOwned>(
        &mut self,
        name: &str,
        version: &str,
        file: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.put(&format!("put/module/{name}/{version}"), file).await
    }

    /// Uploads a firmware: a signed file, or an image under the name of its board.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub async fn put_firmware<T: DeserializeOwned>(
        &mut self,
        name: &str,
        version: &str,
        file: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.put(&format!("put/firmware/{name}/{version}"), file).await
    }

    async fn put<T: DeserializeOwned>(&mut self, topic: &str, file: Vec<u8>) -> Result<T, ClientError> {
        let answer = (self.mqtt.version() == Version::V311).then(|| format!("res/{topic}"));
        self.ask(topic, file, UPLOAD, answer).await
    }

    /// Waits until the service says that it is connected.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn wait_for_service(&mut self) -> Result<(), ClientError> {
        let state = fleet_topic(&self.connection.prefix, "state");
        loop {
            let message = self.next().await?;
            let online = |state: ServiceState| state.online;
            if message.topic == state && serde_json::from_slice(&message.payload).is_ok_and(online) {
                return Ok(());
            }
        }
    }

    /// Subscribes to further topics below `{prefix}/v1/`; read them with [`Client::next`].
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn subscribe(&mut self, rest: &[String]) -> Result<(), ClientError> {
        let filters = rest.iter().map(|rest| {
            let topic = format!("{}/{}/{rest}", self.connection.prefix, wasmbed_wire::topic::VERSION);
            Filter::new(topic, QoS::AtLeastOnce)
        });
        let sent = self.mqtt.subscribe_many(filters.collect()).await;
        sent.map_err(|error| self.broken(error.to_string()))
    }

    /// The next message that was subscribed to.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn next(&mut self) -> Result<Message, ClientError> {
        tokio::select! {
            Some(message) = self.messages.recv() => Ok(message),
            Some(reason) = self.failure.recv() => Err(self.broken(reason)),
            else => Err(self.broken("the connection ended".into())),
        }
    }

    /// Asks; the answer comes on a topic of our own, or on this one below those of the fleet.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
        patience: Duration,
        answer: Option<String>,
    ) -> Result<T, ClientError> {
        self.requests += 1;
        let own = format!("{}/{}", self.answers, self.requests);
        let wanted = answer.map_or_else(|| own.clone(), |rest| fleet_topic(&self.connection.prefix, rest));
        let correlation = Bytes::copy_from_slice(&self.requests.to_be_bytes());
        let properties = PublishProperties {
            response_topic: Some(own),
            correlation_data: Some(correlation),
            ..PublishProperties::default()
        };
        let topic = fleet_topic(&self.connection.prefix, topic);
        let sent = self.mqtt.publish(topic, QoS::AtLeastOnce, false, payload, properties).await;
        sent.map_err(|error| self.broken(error.to_string()))?;
        self.answer(patience, &wanted).await
    }

    async fn answer<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
        wanted: &str,
    ) -> Result<T, ClientError> {
        let state = fleet_topic(&self.connection.prefix, "state");
        let deadline = Instant::now() + patience;
        loop {
            let Ok(message) = timeout_at(deadline, self.next()).await else {
                return Err(ClientError::NoAnswer(patience));
            };
            let message = message?;
            if message.topic == state {
                let offline = |state: ServiceState| !state.online;
                if serde_json::from_slice(&message.payload).is_ok_and(offline) {
                    return Err(ClientError::ServiceOffline);
                }
            }
            if is_same(&message.topic, wanted) {
                return read(&message.payload);
            }
        }
    }

    fn broken(&self, reason: String) -> ClientError {
        ClientError::Broker { address: self.connection.address.to_string(), reason }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

/// RabbitMQ turns the dots of a version into levels.
fn is_same(topic: &str, wanted: &str) -> bool {
    topic == wanted || topic == wanted.replace('.', "/")
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ClientError> {
    let answer: Answer = serde_json::from_slice(payload).map_err(ClientError::Unreadable)?;
    match answer.error {
        Some(problem) => Err(ClientError::Refused(Box::new(problem))),
        None => serde_json::from_value(answer.result.unwrap_or(Value::Null)).map_err(ClientError::Unreadable),
    }
}

/// What is subscribed to.
struct Filters {
    /// Answers to us alone.
    v5: Vec<String>,
    /// All answers: whose one is, its last level says.
    v311: Vec<String>,
    state: String,
}

impl Filters {
    fn of(&self, version: Version) -> Vec<Filter> {
        let answers = match version {
            Version::V5 => &self.v5,
            Version::V311 => &self.v311,
        };
        answers.iter().chain([&self.state]).map(|filter| Filter::new(filter, QoS::AtLeastOnce)).collect()
    }
}

/// Polls one connection; a client of people does not connect again, it says what happened.
async fn poll(
    mut events: Events,
    mqtt: Mqtt,
    filters: Filters,
    messages: mpsc::Sender<Message>,
    ready: mpsc::Sender<()>,
    failure: mpsc::Sender<String>,
) {
    loop {
        let reason = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // The queue is empty: this is the first thing anybody sends.
                mqtt.try_subscribe_many(filters.of(mqtt.version())).err().map(|error| error.to_string())
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                let is_refused = ack.return_codes.iter().any(refused);
                let _ = ready.try_send(());
                is_refused.then(|| format!("it refuses the subscription ({:?})", ack.return_codes))
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                let message = Message { topic, payload: message.payload, retained: message.retain };
                // A reader that is too slow misses lines rather than answers stopping.
                let _ = messages.try_send(message);
                None
            }
            Ok(_) => None,
            Err(error) => Some(explain(&error)),
        };
        if let Some(reason) = reason {
            // Nobody waits for it when the client is gone.
            let _ = failure.send(reason).await;
            return;
        }
    }
}

fn explain(error: &Error) -> String {
    match error.refusal() {
        Some(code) => format!("it refuses us ({code}); check --user and --password-file"),
        None => format!("{error}; check --broker, and that the broker is running"),
    }
}

/// A name no other client has.
pub(crate) fn random_name() -> String {
    let mut bytes = [0; 8];
    // Without random numbers the process id has to do: names only have to differ.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = u64::from(std::process::id()).to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}
