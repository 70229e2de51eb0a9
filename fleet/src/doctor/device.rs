//! What a device can do, and must not.
//!
//! Each attempt has a connection of its own, because a broker may end it. What counts is the effect: a broker may well
//! acknowledge what it then drops.

use std::{collections::BTreeSet, time::Duration};

use rumqttc::v5::{
    MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Filter, LastWill, PublishProperties},
    },
};
use wasmbed_broker_client::Version;
use wasmbed_wire::topic::VERSION;

use super::{
    Finding, Suspect,
    Verdict::{Differs, Fails, Hole},
    peer::{Broken, Peer},
    token,
};
use crate::connection::Connection;

/// How long what must not arrive is waited for. A broker that passes it on has done so long before.
const GRACE: Duration = Duration::from_millis(700);
/// How long what must arrive is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Examination<'a> {
    service: &'a Connection,
    suspect: &'a Suspect,
    version: Version,
    token: String,
    /// A device that does not exist.
    other: String,
}

impl<'a> Examination<'a> {
    pub(super) fn new(service: &'a Connection, suspect: &'a Suspect, version: Version) -> Self {
        let token = token();
        let other = token.clone();
        Examination { service, suspect, version, token, other }
    }

    pub(super) async fn run(&self, findings: &mut Vec<Finding>) {
        let mine = self.own().await;
        let works = mine.as_ref().is_ok_and(|finding| finding.verdict != Fails);
        findings.push(broken_is("device", Fails, mine));
        if !works {
            return;
        }
        findings.push(broken_is("device-publish", Fails, self.publish_holes().await));
        findings.push(broken_is("device-subscribe", Fails, self.subscribe_holes().await));
        findings.push(broken_is("device-will", Fails, self.will_hole().await));
        findings.push(self.foreign_id().await);
        findings.push(self.strangers().await);
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{VERSION}/{rest}", self.service.prefix)
    }

    fn options(&self) -> MqttOptions {
        self.suspect.connection.options(self.suspect.id.as_str())
    }

    async fn device(&self) -> Result<Peer, Broken> {
        Peer::connect(self.options(), self.version).await
    }

    async fn service(&self) -> Result<Peer, Broken> {
        Peer::connect(self.service.options(format!("wasmbed-{}", self.token)), self.version).await
    }

    /// What a device needs.
    async fn own(&self) -> Result<Finding, Broken> {
        let (mut device, mut service) = (self.device().await?, self.service().await?);
        let id = &self.suspect.id;
        let (up, down) =
            (self.topic(&format!("{id}/up/tm/doctor")), self.topic(&format!("{id}/dn/msg/doctor/x")));
        service.subscribe(Filter::new(&up, QoS::AtLeastOnce)).await?;
        device.subscribe(Filter::new(self.topic(&format!("{id}/dn/#")), QoS::AtLeastOnce)).await?;
        device.publish(&up, false, self.token.clone(), PublishProperties::default()).await?;
        service.publish(&down, false, self.token.clone(), PublishProperties::default()).await?;
        let speaks = service.on_topic(&up, PATIENCE).await.is_some();
        let hears = device.on_topic(&down, PATIENCE).await.is_some();
        let found = match (speaks, hears) {
            (true, true) => "speaks below up/ and hears below dn/",
            (false, _) => "cannot publish below its up/",
            (true, false) => "cannot read below its dn/",
        };
        let advice =
            "let it write {prefix}/v1/ID/up/# and read {prefix}/v1/ID/dn/#: see `wasmbed broker acl`";
        Ok(Finding::either("device", speaks && hears, found, Fails, advice))
    }

    async fn publish_holes(&self) -> Result<Finding, Broken> {
        let id = &self.suspect.id;
        let topics = [
            format!("{}/up/tm/doctor", self.other),
            format!("{}/dn/msg/doctor/x", self.other),
            format!("{id}/dn/msg/doctor/x"),
            format!("_host/{}/up/event", self.other),
            format!("_host/{}/dn/ctl/doctor", self.other),
            "_fleet/cmd/doctor".to_owned(),
            "_fleet/put/module/doctor/0.0.0".to_owned(),
            "_fleet/events".to_owned(),
        ];
        let mut service = self.service().await?;
        for rest in &topics {
            service.subscribe(Filter::new(self.topic(rest), QoS::AtLeastOnce)).await?;
        }
        for rest in &topics {
            let mut device = self.device().await?;
            // An answer, a refusal and the end of the connection are all the same here.
            let topic = self.topic(rest);
            let _ = device.publish(&topic, false, self.token.clone(), PublishProperties::default()).await;
        }
        let mut came = BTreeSet::new();
        while let Some(message) = service.next_within(GRACE).await {
            if message.payload == self.token {
                came.insert(message.topic);
            }
        }
        let holes: Vec<String> =
            topics.into_iter().filter(|rest| came.contains(self.topic(rest).as_bytes())).collect();
        Ok(judge("device-publish", &holes, "publishes to", PUBLISH_ADVICE))
    }

    async fn subscribe_holes(&self) -> Result<Finding, Broken> {
        let prefix = &self.service.prefix;
        let (theirs, host) =
            (format!("{}/dn/msg/doctor/x", self.other), format!("_host/{}/dn/ctl/doctor", self.other));
        let attempts = [
            ("#".to_owned(), &theirs),
            (format!("{prefix}/#"), &theirs),
            (self.topic("+/dn/#"), &theirs),
            (self.topic(&format!("{}/dn/#", self.other)), &theirs),
            (format!("$share/doctor/{prefix}/#"), &theirs),
            (self.topic("_host/+/dn/#"), &host),
        ];
        let mut holes = Vec::new();
        for (filter, rest) in attempts {
            let topic = self.topic(rest);
            let mut device = self.device().await?;
            if device.subscribe(Filter::new(&filter, QoS::AtLeastOnce)).await.is_ok() {
                let mut service = self.service().await?;
                service.publish(&topic, false, self.token.clone(), PublishProperties::default()).await?;
                if self.came(&mut device, &topic).await {
                    holes.push(filter);
                }
            }
        }
        Ok(judge("device-subscribe", &holes, "reads with", SUBSCRIBE_ADVICE))
    }

    async fn will_hole(&self) -> Result<Finding, Broken> {
        let rest = format!("{}/up/state", self.other);
        let topic = self.topic(&rest);
        let mut service = self.service().await?;
        service.subscribe(Filter::new(&topic, QoS::AtLeastOnce)).await?;
        let mut options = self.options();
        options.set_last_will(LastWill::new(&topic, self.token.clone(), QoS::AtLeastOnce, false, None));
        // A refusal is as good as a will that is dropped.
        drop(Peer::connect(options, self.version).await);
        let holes = if self.came(&mut service, &topic).await { vec![rest] } else { Vec::new() };
        Ok(judge("device-will", &holes, "leaves a last will on", PUBLISH_ADVICE))
    }

    /// Whether a message of this examination comes on a topic.
    async fn came(&self, peer: &mut Peer, topic: &str) -> bool {
        peer.on_topic(topic, GRACE).await.is_some_and(|message| message.payload == self.token)
    }

    async fn foreign_id(&self) -> Finding {
        let options = self.suspect.connection.options(&self.other);
        let refused = Peer::connect(options, self.version).await.is_err();
        let found = if refused { "only its own" } else { "any" };
        let advice = "a device can end another one's connection by its client id; where the broker can, tie client ids \
                      to user names";
        Finding::either("device-client-id", refused, found, Differs, advice)
    }

    async fn strangers(&self) -> Finding {
        let check = "strangers";
        let wrong = self.suspect.stranger.with_identity(self.suspect.id.as_str(), &self.token);
        let refused = Peer::connect(wrong.options(self.suspect.id.as_str()), self.version).await.is_err();
        let advice = "anybody can call himself a device: have the broker check passwords or certificates";
        Finding::either(check, refused, if refused { "refused" } else { "let in" }, Hole, advice)
    }
}

const PUBLISH_ADVICE: &str = "a device can pretend to be somebody else: see `wasmbed broker acl`";
const SUBSCRIBE_ADVICE: &str = "a device can read what is meant for others, passwords of a host's devices among it: see \
                                `wasmbed broker acl`";

fn judge(check: &'static str, holes: &[String], does: &str, advice: &'static str) -> Finding {
    match holes {
        [] => Finding::ok(check, "its own only"),
        holes => Finding::new(check, Hole, format!("{does} {}", holes.join(" ")), advice),
    }
}

fn broken_is(check: &'static str, verdict: super::Verdict, checked: Result<Finding, Broken>) -> Finding {
    checked.unwrap_or_else(|Broken(why)| Finding::new(check, verdict, why, "this could not be examined"))
}
