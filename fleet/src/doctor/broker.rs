//! What every fleet needs, and what it can do without.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use rumqttc::v5::{
    MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Filter, LastWill, PublishProperties, SubscribeReasonCode},
    },
};
use wasmbed_broker_client::Version;
use wasmbed_wire::{limits::MAX_PAYLOAD_BYTES, topic::VERSION};

use super::{
    Finding,
    Verdict::{Differs, Fails},
    peer::{Broken, Peer},
    token,
};
use crate::connection::Connection;

/// Retained messages that a new wildcard subscription should bring.
const RETAINED: usize = 500;
/// Silence after which no more is coming.
const SILENCE: Duration = Duration::from_secs(2);
/// Payloads that are tried, in bytes, with what the smallest has to hold: a block for a Linux device.
const SIZES: [usize; 4] = [20 << 10, 120 << 10, 1 << 20, 8 << 20];
/// The longest name and id, and a version, in the topic of an answer to an upload.
const LONGEST: &str = "_fleet/res/put/firmware/name-that-is-as-long-as-can-be-32/1000.1000.1000";
/// The longest client id: a host's.
const LONGEST_ID: usize = "_host.".len() + 32;
/// Fewer messages of quality of service 1 under way are few.
const FEW: u16 = 10;

type Checked = Result<Finding, Broken>;

pub(super) struct Examination<'a> {
    service: &'a Connection,
    version: Version,
    token: String,
    base: String,
    peers: AtomicU32,
}

impl<'a> Examination<'a> {
    pub(super) fn new(service: &'a Connection, version: Version) -> Self {
        let token = token();
        let base = format!("{}/{VERSION}/_doctor/{token}", service.prefix);
        Examination { service, version, token, base, peers: AtomicU32::new(0) }
    }

    pub(super) async fn run(&self, findings: &mut Vec<Finding>) {
        // Alone: what is large holds up everything else.
        let size = needed("message-size", "artifacts could not be sent", self.message_size()).await;
        let (qos1, retained, wildcard, will, topics, client_id, shared) = tokio::join!(
            needed("qos-1", "devices, service and people could not speak to each other", self.qos1()),
            needed("retained", "commands would not find the service", self.retained()),
            needed("retained-wildcard", "levels would be lost", self.retained_wildcard()),
            needed("will", "lost devices would only be found by their silence", self.will()),
            needed("topics", "uploads could not be answered", self.topics()),
            needed("client-id", "hosts could not connect", self.client_id()),
            unneeded("shared-subscriptions", self.shared()),
        );
        findings.extend([qos1, retained, wildcard, will, size, topics, client_id]);
        if self.version == Version::V5 {
            let answers = "answers would not reach who asked: set broker.protocol = \"3.1.1\"";
            let (properties, expiry, maximum, session, local) = tokio::join!(
                needed("properties", answers, self.properties()),
                needed("message-expiry", answers, self.expiry()),
                needed("receive-maximum", "messages would be lost", self.receive_maximum()),
                unneeded("session-expiry", self.session_expiry()),
                unneeded("no-local", self.no_local()),
            );
            findings.extend([properties, expiry, maximum, session, local]);
        }
        findings.push(shared);
        self.forget().await;
    }

    /// Removes what single checks have retained, whatever became of them.
    async fn forget(&self) {
        if let Ok(mut peer) = self.peer().await {
            let retained = ["retained", "will", "expiry"].map(|rest| (self.topic(rest), Bytes::new()));
            // A broker that does not take this has not taken them either.
            let _ = peer.publish_all(retained, true).await;
        }
    }

    /// Options of a client that is called like no other.
    fn options(&self) -> MqttOptions {
        let number = self.peers.fetch_add(1, Ordering::Relaxed);
        self.service.options(format!("wasmbed-{}-{number}", self.token))
    }

    async fn peer(&self) -> Result<Peer, Broken> {
        Peer::connect(self.options(), self.version).await
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.base)
    }

    async fn qos1(&self) -> Checked {
        let check = "qos-1";
        let (mut speaker, mut listener) = (self.peer().await?, self.peer().await?);
        let topic = self.topic("qos");
        let granted = listener.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        speaker.publish(&topic, false, self.token.clone(), PublishProperties::default()).await?;
        let Some(message) = listener.next().await else {
            return Ok(Finding::new(check, Fails, format!("nothing was delivered ({granted:?})"), NO_ACCESS));
        };
        let found = format!("acknowledged and delivered at {}", message.qos as u8);
        let advice = "what a device should do comes at most once; it comes again with the next connect";
        Ok(Finding::either(check, message.qos == QoS::AtLeastOnce, found, Differs, advice))
    }

    async fn retained(&self) -> Checked {
        let check = "retained";
        let topic = self.topic("retained");
        let mut speaker = self.peer().await?;
        speaker.publish(&topic, true, self.token.clone(), PublishProperties::default()).await?;
        let kept = self.retained_on(&topic).await?;
        speaker.publish(&topic, true, Bytes::new(), PublishProperties::default()).await?;
        let is_gone = self.retained_on(&topic).await? == 0;
        Ok(match (kept, is_gone) {
            (0, _) => Finding::new(
                check,
                Fails,
                "not kept",
                "commands do not find the service: switch retained messages on",
            ),
            (_, false) => Finding::new(
                check,
                Differs,
                "kept, and not removed by an empty one",
                "levels of removed devices stay",
            ),
            _ => Finding::ok(check, "kept, and removed by an empty one"),
        })
    }

    /// How many retained messages a new subscriber gets.
    async fn retained_on(&self, filter: &str) -> Result<usize, Broken> {
        let mut listener = self.peer().await?;
        listener.subscribe(Filter::new(filter, QoS::AtLeastOnce)).await?;
        let mut topics = BTreeSet::new();
        while let Some(message) = listener.next_within(SILENCE).await {
            if message.retain && !message.payload.is_empty() {
                topics.insert(message.topic);
            }
            // One is enough where there can only be one.
            if topics.len() == RETAINED || !filter.contains(['+', '#']) {
                break;
            }
        }
        listener.disconnect().await;
        Ok(topics.len())
    }

    async fn retained_wildcard(&self) -> Checked {
        let mut speaker = self.peer().await?;
        let topics: Vec<String> = (0..RETAINED).map(|at| self.topic(&format!("many/{at}/state"))).collect();
        let messages = topics.iter().map(|topic| (topic.clone(), Bytes::from(self.token.clone())));
        let published = speaker.publish_all(messages, true).await;
        let brought = self.retained_on(&self.topic("many/+/state")).await;
        // Whatever became of it, nothing is left behind.
        let removal = topics.iter().map(|topic| (topic.clone(), Bytes::new()));
        let removed = speaker.publish_all(removal, true).await;
        published.and(removed)?;
        let brought = brought?;
        let found = format!("a new wildcard subscription brings {brought} of {RETAINED}");
        let advice = "a service that starts learns of devices as they next speak, and devices get their desired \
                      state when it hears of them";
        Ok(Finding::either("retained-wildcard", brought == RETAINED, found, Differs, advice))
    }

    async fn will(&self) -> Checked {
        let check = "will";
        let topic = self.topic("will");
        let mut listener = self.peer().await?;
        listener.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        let mut options = self.options();
        options.set_last_will(LastWill::new(&topic, self.token.clone(), QoS::AtLeastOnce, true, None));
        Peer::connect(options.clone(), self.version).await?.disconnect().await;
        let after_goodbye = listener.next_within(SILENCE).await.is_some();
        drop(Peer::connect(options, self.version).await?);
        let after_loss = listener.next().await.is_some();
        let kept = after_loss && self.retained_on(&topic).await? == 1;
        Ok(match (after_loss, after_goodbye, kept) {
            (false, ..) => {
                Finding::new(check, Fails, "not published", "lost devices are only found by their silence")
            }
            (_, true, _) => Finding::new(
                check,
                Differs,
                "published even after a goodbye",
                "devices that end in order count as lost",
            ),
            (.., false) => Finding::new(
                check,
                Differs,
                "published, not retained",
                "who comes later takes a lost device for online until its heartbeat is overdue",
            ),
            _ => Finding::ok(check, "published and retained when a connection is lost, and only then"),
        })
    }

    async fn message_size(&self) -> Checked {
        let check = "message-size";
        let topic = self.topic("size");
        let mut largest = 0;
        for size in SIZES {
            let (mut speaker, mut listener) = (self.peer().await?, self.peer().await?);
            listener.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
            let sent = speaker.publish(&topic, false, vec![0x5a; size], PublishProperties::default()).await;
            let came = match sent {
                Ok(_) => listener.next().await.is_some_and(|message| message.payload.len() == size),
                Err(_) => false,
            };
            if !came {
                break;
            }
            largest = size;
        }
        let announced = self.peer().await?.welcome.properties.as_ref().and_then(|of| of.max_packet_size);
        let announced = announced.map_or(String::new(), |bytes| format!(", {bytes} B announced"));
        let found = format!("messages of {} KiB pass{announced}", largest >> 10);
        const { assert!(SIZES[3] <= MAX_PAYLOAD_BYTES as usize) };
        Ok(match largest {
            0 => Finding::new(
                check,
                Fails,
                found,
                "blocks for Linux devices have 16 KiB: raise the largest message",
            ),
            _ if largest == SIZES[3] => Finding::ok(check, found),
            _ => Finding::new(
                check,
                Differs,
                found,
                "an upload is one message: modules and firmware above that are refused",
            ),
        })
    }

    async fn topics(&self) -> Checked {
        let check = "topics";
        let longest = format!("{}/{VERSION}/{LONGEST}", self.service.prefix);
        let levels = longest.split('/').count();
        let deep = self.topic(&vec!["x"; 16].join("/"));
        let long = self.topic(&"x".repeat(400));
        let mut passed = Vec::new();
        // Nobody may take it for an answer.
        for topic in [self.topic_like(levels, longest.len()), deep, long] {
            passed.push(self.passes(&topic).await);
        }
        let found = format!(
            "{levels} levels and {} bytes: {}, 20 levels: {}, 400 bytes: {}",
            longest.len(),
            yes(passed[0]),
            yes(passed[1]),
            yes(passed[2])
        );
        let advice = "answers to uploads of long names are lost: use a shorter prefix of one level";
        Ok(Finding::either(check, passed[0], found, Fails, advice))
    }

    /// A topic of ours with so many levels and bytes, or a few more.
    fn topic_like(&self, levels: usize, bytes: usize) -> String {
        let mut topic = self.base.clone();
        while topic.split('/').count() < levels {
            topic.push_str("/x");
        }
        let missing = bytes.saturating_sub(topic.len());
        topic + &"x".repeat(missing)
    }

    async fn passes(&self, topic: &str) -> bool {
        let tried = async {
            let (mut speaker, mut listener) = (self.peer().await?, self.peer().await?);
            listener.subscribe(Filter::new(topic, QoS::AtLeastOnce)).await?;
            speaker.publish(topic, false, self.token.clone(), PublishProperties::default()).await?;
            Ok::<_, Broken>(listener.next_within(SILENCE).await.is_some())
        };
        tried.await.unwrap_or(false)
    }

    async fn client_id(&self) -> Checked {
        let mut longest = 0;
        for length in [23, LONGEST_ID, 64, 128, 256] {
            let id = format!("wasmbed-{}_.{}", self.token, "x".repeat(256));
            let id: String = id.chars().take(length).collect();
            if Peer::connect(self.service.options(id), self.version).await.is_err() {
                break;
            }
            longest = length;
        }
        let found = format!("{longest} characters");
        let advice = "hosts are called _host.ID: choose short ids, and allow `_` and `.` in client ids";
        Ok(Finding::either("client-id", longest >= LONGEST_ID, found, Fails, advice))
    }

    async fn properties(&self) -> Checked {
        let (mut speaker, mut listener) = (self.peer().await?, self.peer().await?);
        let topic = self.topic("properties");
        listener.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        let said = PublishProperties {
            response_topic: Some(self.topic("answer")),
            correlation_data: Some(Bytes::from_static(b"17")),
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        speaker.publish(&topic, false, self.token.clone(), said.clone()).await?;
        let heard = listener.next().await.and_then(|message| message.properties).unwrap_or_default();
        let is_same = heard.response_topic == said.response_topic
            && heard.correlation_data == said.correlation_data
            && heard.content_type == said.content_type;
        let found = if is_same { "arrive as sent" } else { "response topic or correlation data are lost" };
        let advice = "answers do not reach who asked: set broker.protocol = \"3.1.1\"";
        Ok(Finding::either("properties", is_same, found, Fails, advice))
    }

    async fn expiry(&self) -> Checked {
        let topic = self.topic("expiry");
        let mut speaker = self.peer().await?;
        let soon = PublishProperties { message_expiry_interval: Some(1), ..PublishProperties::default() };
        speaker.publish(&topic, true, self.token.clone(), soon).await?;
        // Time is what is examined here.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let expired = self.retained_on(&topic).await? == 0;
        let found = if expired { "observed" } else { "ignored" };
        let advice = "commands for devices that are away may be carried out late";
        Ok(Finding::either("message-expiry", expired, found, Differs, advice))
    }

    async fn receive_maximum(&self) -> Checked {
        let check = "receive-maximum";
        let mut options = self.options();
        options.set_receive_maximum(Some(2)).set_manual_acks(true);
        let mut listener = Peer::connect(options, self.version).await?;
        let mut speaker = self.peer().await?;
        let theirs = speaker.welcome.properties.as_ref().and_then(|of| of.receive_max).unwrap_or(u16::MAX);
        let topic = self.topic("maximum");
        listener.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        let messages = (0..5).map(|_| (topic.clone(), Bytes::from(self.token.clone())));
        speaker.publish_all(messages, false).await?;
        let mut came = 0;
        while listener.next_within(SILENCE).await.is_some() {
            came += 1;
        }
        let found = format!("takes {theirs} at a time; sends {came} where 2 are allowed");
        if theirs < FEW {
            return Ok(Finding::new(check, Differs, found, "many messages at once take longer"));
        }
        Ok(Finding::either(
            check,
            came <= 2,
            found,
            Differs,
            "a slow client may be sent more than it has room for",
        ))
    }

    async fn session_expiry(&self) -> Checked {
        let topic = self.topic("session");
        let mut options = self.options();
        options.set_clean_start(false).set_session_expiry_interval(Some(60));
        let mut sleeper = Peer::connect(options.clone(), self.version).await?;
        sleeper.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        sleeper.disconnect().await;
        let mut speaker = self.peer().await?;
        speaker.publish(&topic, false, self.token.clone(), PublishProperties::default()).await?;
        let mut woken = Peer::connect(options.clone(), self.version).await?;
        let present = woken.welcome.session_present;
        let delivered = woken.next_within(SILENCE).await.is_some();
        woken.disconnect().await;
        options.set_clean_start(true).set_session_expiry_interval(Some(0));
        Peer::connect(options, self.version).await?.disconnect().await;
        let found = match (present, delivered) {
            (true, true) => "kept, with messages",
            (true, false) => "kept, without messages",
            (false, _) => "not kept",
        };
        Ok(Finding::either("session-expiry", present && delivered, found, Differs, NOT_NEEDED))
    }

    async fn no_local(&self) -> Checked {
        let topic = self.topic("local");
        let mut peer = self.peer().await?;
        let mut filter = Filter::new(&topic, QoS::AtLeastOnce);
        filter.nolocal = true;
        peer.subscribe(filter).await?;
        peer.publish(&topic, false, self.token.clone(), PublishProperties::default()).await?;
        let observed = peer.next_within(SILENCE).await.is_none();
        let found = if observed { "observed" } else { "ignored" };
        Ok(Finding::either("no-local", observed, found, Differs, NOT_NEEDED))
    }

    async fn shared(&self) -> Checked {
        const SENT: usize = 20;
        let check = "shared-subscriptions";
        let topic = self.topic("shared");
        let filter = format!("$share/doctor/{topic}");
        let (mut one, mut other) = (self.peer().await?, self.peer().await?);
        for peer in [&mut one, &mut other] {
            let granted = peer.subscribe(Filter::new(&filter, QoS::AtLeastOnce)).await?;
            if !matches!(granted, SubscribeReasonCode::Success(_)) {
                return Ok(Finding::new(check, Differs, "refused", NOT_NEEDED));
            }
        }
        let mut speaker = self.peer().await?;
        let messages = (0..SENT).map(|_| (topic.clone(), Bytes::from(self.token.clone())));
        speaker.publish_all(messages, false).await?;
        let mut came = [0_usize; 2];
        for (count, peer) in came.iter_mut().zip([&mut one, &mut other]) {
            while peer.next_within(SILENCE).await.is_some() {
                *count += 1;
            }
        }
        let found = format!("{} and {} of {SENT} messages", came[0], came[1]);
        let is_shared = came.iter().sum::<usize>() == SENT;
        Ok(Finding::either(check, is_shared, found, Differs, NOT_NEEDED))
    }
}

/// What is needed and breaks the connection does not work.
async fn needed(
    check: &'static str,
    otherwise: &'static str,
    checked: impl Future<Output = Checked>,
) -> Finding {
    checked.await.unwrap_or_else(|Broken(why)| Finding::new(check, Fails, why, otherwise))
}

/// Without what it does not use, Wasmbed works.
async fn unneeded(check: &'static str, checked: impl Future<Output = Checked>) -> Finding {
    checked.await.unwrap_or_else(|Broken(why)| Finding::new(check, Differs, why, NOT_NEEDED))
}

const NOT_NEEDED: &str = "Wasmbed does not use it; programs of yours may";
const NO_ACCESS: &str = "nothing reaches anybody: let the service read and write everything below the prefix";

fn yes(passed: bool) -> &'static str {
    if passed { "yes" } else { "no" }
}
