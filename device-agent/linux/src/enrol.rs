//! How this device gets its certificate: with a token the first time, with the certificate it has from then on.
//!
//! The key is made here and stays in the data folder, in `identity/`.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rumqttc::v5::{
    AsyncClient, Event, EventLoop, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Packet, SubscribeReasonCode},
    },
};
use wasmbed_broker_client::{EnrolAnswer, EnrolRequest, Identity};
use wasmbed_wire::topic::{ENROL, ENROLLED, Full};

use crate::settings::{Enrolment, Settings};

/// How long the service may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// What is left of a certificate's life when another one is asked for.
const RENEW_AT: f64 = 1.0 / 3.0;
/// How often that is looked at, and asked again.
const LOOK: Duration = Duration::from_secs(3600);

/// Has this device get its certificate, if it has none yet.
pub(crate) async fn enrol(settings: &mut Settings) -> anyhow::Result<()> {
    let Some(Enrolment { dir, token }) = settings.enrolment.clone() else { return Ok(()) };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let identity = Identity::load_or_make(&dir)?;
    if identity.life_left().is_none() {
        let token =
            token.context("this device has no certificate yet; give it a token with `enrol_token`")?;
        tracing::info!(broker = %settings.broker, "asking for a certificate");
        let answer = tokio::time::timeout(ANSWER, ask(settings, &identity, token));
        let answer = answer.await.with_context(|| {
            format!("no answer to the request for a certificate within {} s", ANSWER.as_secs())
        })?;
        keep(&identity, answer?)?;
        tracing::info!("got a certificate");
    }
    settings.show(identity.files())
}

/// One session with the token for a password.
async fn ask(settings: &Settings, identity: &Identity, token: String) -> anyhow::Result<EnrolAnswer> {
    let topic = |rest| Full { prefix: &settings.prefix, device: settings.device, rest }.to_string();
    let mut options = MqttOptions::new(settings.device.as_str(), &settings.broker.host, settings.broker.port);
    options.set_credentials(settings.device.as_str(), &token).set_clean_start(true);
    if let Some(tls) = &settings.tls {
        options.set_transport(tls.transport());
    }
    let request = EnrolRequest { request: identity.request(settings.device.as_str())?, token: Some(token) };
    let request = serde_json::to_vec(&request)?;
    let (client, mut events): (AsyncClient, EventLoop) = AsyncClient::new(options, 8);
    loop {
        match events.poll().await.context("cannot ask the broker for a certificate")? {
            Event::Incoming(Packet::ConnAck(_)) => client.try_subscribe(topic(ENROLLED), QoS::AtLeastOnce)?,
            Event::Incoming(Packet::SubAck(ack)) => {
                let is_granted = matches!(ack.return_codes.first(), Some(SubscribeReasonCode::Success(_)));
                ensure!(is_granted, "the broker refuses the answer to a request for a certificate");
                client.try_publish(topic(ENROL), QoS::AtLeastOnce, false, request.clone())?;
            }
            Event::Incoming(Packet::Publish(publish)) => {
                return serde_json::from_slice(&publish.payload).context("the answer cannot be read");
            }
            _ => {}
        }
    }
}

fn keep(identity: &Identity, answer: EnrolAnswer) -> anyhow::Result<()> {
    match answer {
        EnrolAnswer::Issued { certificate, authority } => {
            ensure!(identity.fits(&certificate), "the certificate is for another key");
            Ok(identity.keep(&certificate, &authority)?)
        }
        EnrolAnswer::Refused { problem } => bail!("there is no certificate for this device: {problem}"),
    }
}

/// Looks after the certificate of a device that has enrolled.
pub(crate) struct Renewal {
    identity: Option<Identity>,
    looked: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new(settings: &Settings) -> Self {
        let dir = settings.enrolment.as_ref().map(|enrolment| enrolment.dir.as_path());
        let load = |dir: &Path| {
            Identity::load_or_make(dir).inspect_err(|error| tracing::error!(%error, "no renewal")).ok()
        };
        Renewal { identity: dir.and_then(load), looked: None }
    }

    /// What to publish on `up/renew` now.
    pub(crate) fn request(&mut self, settings: &Settings, now: Instant) -> Option<Vec<u8>> {
        let identity = self.identity.as_ref()?;
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return None;
        }
        self.looked = Some(now);
        identity.life_left().filter(|left| *left < RENEW_AT)?;
        let request = identity.request(settings.device.as_str()).ok()?;
        serde_json::to_vec(&EnrolRequest { request, token: None }).ok()
    }

    /// Keeps what came on `dn/enrol`; the next connect uses it.
    pub(crate) fn take(&mut self, payload: &[u8]) {
        let Some(identity) = &self.identity else { return };
        let kept = serde_json::from_slice(payload).map_err(anyhow::Error::from);
        match kept.and_then(|answer| keep(identity, answer)) {
            Ok(()) => tracing::info!("the certificate was renewed"),
            Err(error) => tracing::warn!("the certificate was not renewed: {error:#}"),
        }
    }
}
