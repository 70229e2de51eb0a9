//! Serving a connected client: its packets, its messages, its keep-alive.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use crate::connection::message;
use crate::counters::{Counter, Counters};
use crate::credentials::Role;
use crate::hub::Hub;
use crate::outbox::Terms;
use crate::packet::frame::{Frame, Framed, ReadError, WriteError};
use crate::packet::{self, Ack, Connect, Packet, Publish, Qos, Request, Version, Violation, reason, write};
use crate::router::{PublishError, RouterStopped};
use crate::session::Session;
use crate::sessions;
use crate::tls::Void;

/// Messages of [`Qos::ExactlyOnce`] that one client may have under way to us.
pub(crate) const RECEIVE_MAXIMUM: u16 = 64;

/// Answers beyond which they are written before more packets are looked at.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said so.
    Left {
        with_will: bool,
    },
    /// The network said so.
    Lost,
    /// No packet for one and a half times the keep-alive.
    Silent,
    /// The client did not read.
    Slow,
    /// The client read too slowly and messages are lost to it.
    Overrun,
    Violation(Violation),
    TakenOver(sessions::Request),
    Void(Void),
    Ending,
    RouterStopped,
}

impl End {
    /// The counter it belongs to.
    pub(crate) fn counter<'c>(&self, counters: &'c Counters) -> Option<&'c Counter> {
        match self {
            End::Left { .. } | End::Lost | End::Ending | End::RouterStopped => None,
            End::Silent => Some(&counters.lost_silent),
            End::Slow | End::Overrun => Some(&counters.lost_slow),
            End::Violation(_) => Some(&counters.lost_violation),
            End::TakenOver(_) => Some(&counters.taken_over),
            End::Void(_) => Some(&counters.lost_certificate),
        }
    }

    /// What an MQTT 5 client is told.
    pub(crate) fn disconnect_reason(&self) -> Option<u8> {
        match self {
            End::Left { .. } | End::Lost | End::Slow => None,
            End::Silent => Some(reason::KEEP_ALIVE_TIMEOUT),
            End::Overrun => Some(reason::QUOTA_EXCEEDED),
            End::Violation(violation) => Some(violation.reason),
            End::TakenOver(_) => Some(reason::TAKEN_OVER),
            End::Void(_) => Some(reason::NOT_AUTHORIZED),
            End::Ending => Some(reason::SHUTTING_DOWN),
            End::RouterStopped => Some(reason::UNSPECIFIED),
        }
    }
}

impl From<RouterStopped> for End {
    fn from(_: RouterStopped) -> Self {
        End::RouterStopped
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        End::Violation(violation)
    }
}

/// One connected client.
#[derive(Debug)]
pub(crate) struct Serve {
    hub: Arc<Hub>,
    role: Role,
    terms: Terms,
    keep_alive: Option<Duration>,
    /// How long the session is kept after this connection.
    pub(crate) session_expiry_s: u32,
    has_refused: bool,
}

impl Serve {
    pub(crate) fn new(hub: &Arc<Hub>, role: Role, terms: Terms, connect: &Connect) -> Self {
        let keep_alive = Duration::from_secs(u64::from(connect.keep_alive_s)) * 3 / 2;
        Serve {
            hub: hub.clone(),
            role,
            terms,
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            session_expiry_s: connect.session_expiry_s,
            has_refused: false,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.terms.version
    }

    /// Serves until the connection ends. When cancelled, `framed` and `session` stay whole.
    pub(crate) async fn run<S>(&mut self, framed: &mut Framed<S>, session: &mut Session) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.serve(framed, session).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn serve<S>(
        &mut self,
        framed: &mut Framed<S>,
        session: &mut Session,
    ) -> Result<std::convert::Infallible, End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let hub = &self.hub;
            let more =
                session.outbox.pump(&mut framed.output, &self.terms, hub.router.now_ms(), &hub.counters);
            framed.flush(hub.limits.write).await.map_err(|error| match error {
                WriteError::Slow => End::Slow,
                WriteError::Io(_) => End::Lost,
            })?;
            if more {
                continue;
            }
            let silent_at = self.keep_alive.map(|keep_alive| framed.heard() + keep_alive);
            tokio::select! {
                frame = framed.frame() => {
                    self.on_frames(frame, framed, session).await?;
                }
                arrival = session.next(), if session.has_room() => {
                    if let Some(arrival) = arrival? {
                        session.take(arrival, true, &self.hub.counters).map_err(|_| End::Overrun)?;
                    }
                    self.take_ready(session)?;
                }
                () = sleep_until_some(silent_at) => {
                    if self.keep_alive.is_some_and(|keep_alive| framed.heard().elapsed() >= keep_alive) {
                        return Err(End::Silent);
                    }
                }
            }
        }
    }

    /// Takes what else has arrived, so that many messages share one write.
    fn take_ready(&self, session: &mut Session) -> Result<(), End> {
        while session.has_room() {
            let Some(arrival) = session.next().now_or_never() else { break };
            if let Some(arrival) = arrival? {
                session.take(arrival, true, &self.hub.counters).map_err(|_| End::Overrun)?;
            }
        }
        Ok(())
    }

    /// Handles a frame and those that came with it.
    async fn on_frames<S>(
        &mut self,
        first: Result<Frame, ReadError>,
        framed: &mut Framed<S>,
        session: &mut Session,
    ) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut frame = match first {
            Ok(frame) => Some(frame),
            Err(ReadError::Violation(violation)) => return Err(End::Violation(violation)),
            Err(ReadError::Closed | ReadError::Io(_)) => return Err(End::Lost),
        };
        while let Some(next) = frame {
            let packet = packet::packet(next, self.terms.version)?;
            self.on_packet(packet, &mut framed.output, session).await?;
            frame = if framed.output.len() < ANSWER_BYTES { framed.buffered_frame()? } else { None };
        }
        Ok(())
    }

    async fn on_packet(
        &mut self,
        packet: Packet,
        out: &mut BytesMut,
        session: &mut Session,
    ) -> Result<(), End> {
        let version = self.terms.version;
        match packet {
            Packet::Publish(publish) => self.on_publish(publish, out, session).await?,
            Packet::PubAck(ack) => session.outbox.on_puback(ack),
            Packet::PubRec(ack) => {
                if let Some(answer) = session.outbox.on_pubrec(ack) {
                    write::pubrel(out, version, answer);
                }
            }
            Packet::PubRel(ack) => {
                let known = session.receiving.remove(&ack.id);
                let reason = if known { reason::SUCCESS } else { reason::PACKET_ID_NOT_FOUND };
                write::pubcomp(out, version, Ack { id: ack.id, reason });
            }
            Packet::PubComp(ack) => session.outbox.on_pubcomp(ack),
            Packet::Subscribe { id, requests, identifier } => {
                let reasons = Box::pin(self.on_subscribe(&requests, identifier, session)).await?;
                write::suback(out, version, id, &reasons);
            }
            Packet::Unsubscribe { id, filters } => {
                let mut reasons = Vec::with_capacity(filters.len());
                for filter in &filters {
                    reasons.push(Box::pin(session.unsubscribe(&self.hub, filter)).await?);
                }
                write::unsuback(out, version, id, &reasons);
            }
            Packet::PingReq => write::pingresp(out),
            Packet::Disconnect { reason, session_expiry_s } => {
                return Err(self.on_disconnect(reason, session_expiry_s));
            }
        }
        Ok(())
    }

    async fn on_subscribe(
        &mut self,
        requests: &[Request],
        identifier: Option<u32>,
        session: &mut Session,
    ) -> Result<Vec<u8>, End> {
        let kept = self.session_expiry_s > 0;
        let mut reasons = Vec::with_capacity(requests.len());
        for request in requests {
            reasons.push(session.subscribe(&self.hub, request, identifier, kept).await?);
        }
        Ok(reasons)
    }

    fn on_disconnect(&mut self, reason: u8, session_expiry_s: Option<u32>) -> End {
        if let Some(wanted) = session_expiry_s {
            if wanted > 0 && self.session_expiry_s == 0 {
                return Violation::protocol("a session that ends with the connection cannot be prolonged")
                    .into();
            }
            self.session_expiry_s = wanted.min(self.hub.limits.session_expiry_s);
        }
        End::Left { with_will: reason >= reason::DISCONNECT_WITH_WILL }
    }

    async fn on_publish(
        &mut self,
        publish: Publish,
        out: &mut BytesMut,
        session: &mut Session,
    ) -> Result<(), End> {
        let version = self.terms.version;
        let id = publish.id;
        match publish.qos {
            Qos::AtMostOnce => drop(self.accept(&publish, session.origin).await?),
            Qos::AtLeastOnce => {
                let reason = self.accept(&publish, session.origin).await?;
                write::puback(out, version, Ack { id, reason });
            }
            Qos::ExactlyOnce if session.receiving.contains(&id) => {
                write::pubrec(out, version, Ack { id, reason: reason::SUCCESS });
            }
            Qos::ExactlyOnce => {
                if session.receiving.len() >= usize::from(RECEIVE_MAXIMUM) {
                    let what = "more unreleased messages than the receive maximum";
                    return Err(Violation { reason: reason::RECEIVE_MAXIMUM_EXCEEDED, what }.into());
                }
                let reason = self.accept(&publish, session.origin).await?;
                if reason == reason::SUCCESS || version == Version::V311 {
                    session.receiving.insert(id);
                }
                write::pubrec(out, version, Ack { id, reason });
            }
        }
        Ok(())
    }

    /// Passes a publication on, or says why not; MQTT 3.1.1 has no way to tell the client and drops it.
    async fn accept(&mut self, publish: &Publish, origin: u64) -> Result<u8, End> {
        if !self.role.may_publish(&self.hub.prefix, &publish.topic) {
            self.hub.counters.publish_refused.add(1);
            self.log_refusal(&publish.topic, "the topic is not this client's");
            return Ok(reason::NOT_AUTHORIZED);
        }
        let message = message(&self.hub, publish, origin);
        match self.hub.router.publish(self.role, &message).await {
            Ok(()) => {
                self.hub.counters.messages_in.add(1);
                Ok(reason::SUCCESS)
            }
            Err(PublishError::Full(_)) => {
                self.hub.counters.retain_refused.add(1);
                self.log_refusal(&publish.topic, "too many retained messages");
                Ok(reason::QUOTA_EXCEEDED)
            }
            Err(PublishError::Stopped(stopped)) => Err(stopped.into()),
        }
    }

    /// Once per connection: a client that does it again and again must not fill the log.
    fn log_refusal(&mut self, topic: &str, what: &str) {
        if !self.has_refused {
            tracing::warn!(topic, what, "publication refused; further ones are only counted");
            self.has_refused = true;
        }
    }
}

/// Sleeps for ever without a time.
pub(crate) async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
