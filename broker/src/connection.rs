//! The life of one connection, and of the session it leaves behind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::io::{InspectReader, InspectWriter};
use tracing::Instrument;

use crate::admission::{self, Client, Refusal};
use crate::credentials::Role;
use crate::hub::Hub;
use crate::message::{Message, Parts};
use crate::outbox::Terms;
use crate::packet::frame::Framed;
use crate::packet::write::{self, Welcome};
use crate::packet::{Publish, Version, Violation, Will, reason};
use crate::router::PublishError;
use crate::serve::{End, RECEIVE_MAXIMUM, Serve, sleep_until_some};
use crate::session::Session;
use crate::sessions::{Request, Seat};
use crate::tls::{Certified, Tls};
use crate::transport::{self, OpenError, Stream};

/// How long a client may take to read why it is sent away.
const GOODBYE: Duration = Duration::from_millis(500);
const TAKEN_OVER_GOODBYE: Duration = Duration::from_millis(20);

/// Serves one client from its first byte on; `handshake` is its place among the connecting.
///
/// It is expected to speak TLS if it `is_tls`.
pub(crate) async fn run(
    hub: Arc<Hub>,
    stream: TcpStream,
    is_tls: bool,
    peer: impl fmt::Display,
    handshake: OwnedSemaphorePermit,
) {
    let tls = hub.tls.as_ref().filter(|_| is_tls);
    let admitted = tokio::select! {
        admitted = timeout(hub.limits.handshake, Box::pin(admit(&hub, stream, tls))) => admitted,
        () = hub.ended() => return,
    };
    let (framed, client) = match admitted {
        Ok(Ok((framed, Ok(client)))) => (framed, client),
        Ok(Ok((framed, Err(refusal)))) => return refuse(&hub, framed, &refusal, &peer).await,
        Ok(Err(error)) => {
            hub.counters.refused_transport.add(1);
            let error: &dyn std::error::Error = &error;
            tracing::info!(%peer, error, "refused");
            return;
        }
        Err(_) => {
            hub.counters.refused_timeout.add(1);
            tracing::info!(%peer, "refused: no complete CONNECT in time");
            return;
        }
    };
    drop(handshake);
    let span =
        tracing::info_span!("client", role = %client.role.username(), id = %client.connect.client_id, %peer);
    let connection = async {
        // Most connections stand idle most of the time: what is needed at their start and at their end only is kept
        // apart, so that it is given back.
        if let Some(mut client) = Box::pin(welcome(hub, framed, client, &peer)).await {
            let end = client.serve().await;
            Box::pin(client.end(end)).await;
        }
    };
    Box::pin(connection).instrument(span).await;
}

/// A client's transport, and what came of its CONNECT.
type Admitted = (Framed<Box<dyn Stream>>, Result<Client, Refusal>);

async fn admit(hub: &Arc<Hub>, stream: TcpStream, tls: Option<&Tls>) -> Result<Admitted, OpenError> {
    let (stream, certified) = transport::open(counted(stream, hub), tls).await?;
    let mut framed = Framed::new(stream, hub.limits.device_packet_bytes);
    let client = admission::admit(hub, &mut framed, certified).await;
    Ok((framed, client))
}

/// Counts the bytes of a connection as they are on the network.
fn counted(stream: TcpStream, hub: &Hub) -> impl Stream + use<> {
    let (to, from) = (Arc::clone(&hub.counters), Arc::clone(&hub.counters));
    let stream = InspectWriter::new(stream, move |bytes: &[u8]| to.bytes_out.add(bytes.len() as u64));
    InspectReader::new(stream, move |bytes: &[u8]| from.bytes_in.add(bytes.len() as u64))
}

async fn refuse<S>(hub: &Hub, mut framed: Framed<S>, refusal: &Refusal, peer: &impl fmt::Display)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    refusal.counter(&hub.counters).add(1);
    match refusal {
        Refusal::Silent(error) => tracing::debug!(%peer, %error, "gone before CONNECT"),
        Refusal::Violation(violation) => {
            tracing::info!(%peer, %violation, "refused");
            if violation.reason == reason::UNSUPPORTED_VERSION {
                write::refusal(&mut framed.output, Version::V311, violation.reason);
                framed.close(GOODBYE).await;
            }
        }
        Refusal::Refused { version, reason, what } => {
            tracing::info!(%peer, what, "refused");
            write::refusal(&mut framed.output, *version, *reason);
            framed.close(GOODBYE).await;
        }
    }
}

/// Gives a client its place and its session, unless there is none.
async fn welcome<S>(
    hub: Arc<Hub>,
    mut framed: Framed<S>,
    client: Client,
    peer: &impl fmt::Display,
) -> Option<Connected<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Client { role, assigned, connect, certified } = client;
    let key = (role, connect.client_id.clone());
    let busy = |reason, what| Refusal::Refused { version: connect.version, reason, what };
    let place = hub.places.clone().try_acquire_owned().ok();
    // Whoever comes back gets the place of the connection it replaces.
    if place.is_none() && !hub.sessions.is_held(&key) {
        let refusal = busy(reason::SERVER_BUSY, "too many clients");
        refuse(&hub, framed, &refusal, peer).await;
        return None;
    }
    let Ok((seat, resumed)) = hub.sessions.claim(key, !connect.clean_start).await else {
        let refusal = busy(reason::SERVER_UNAVAILABLE, "its previous connection does not end");
        refuse(&hub, framed, &refusal, peer).await;
        return None;
    };
    let Some(place) = place.or_else(|| hub.places.clone().try_acquire_owned().ok()) else {
        let refusal = busy(reason::SERVER_BUSY, "too many clients");
        refuse(&hub, framed, &refusal, peer).await;
        return None;
    };

    let packet_bytes = if role.is_small() { hub.limits.device_packet_bytes } else { hub.limits.packet_bytes };
    framed.admit(packet_bytes);
    let welcome = Welcome {
        session_present: resumed.is_some(),
        session_expiry_s: connect.session_expiry_s,
        receive_maximum: RECEIVE_MAXIMUM,
        maximum_packet_bytes: packet_bytes as u32,
        client_id: assigned.then_some(connect.client_id.as_str()),
    };
    write::welcome(&mut framed.output, connect.version, &welcome);
    let terms = Terms {
        version: connect.version,
        window: usize::from(connect.receive_maximum.min(hub.limits.inflight)),
        packet_bytes: connect.maximum_packet_bytes.map_or(usize::MAX, |bytes| bytes as usize),
    };
    let mut session = resumed.unwrap_or_else(|| Session::new(role, seat.ticket()));
    session.outbox.repeat();

    hub.counters.accepted.add(1);
    tracing::info!(version = ?connect.version, session_present = welcome.session_present, "connected");
    let serve = Serve::new(&hub, role, terms, &connect);
    let held = Held { hub, seat, session, will: connect.will, role, certified };
    Some(Connected { held, framed, serve, place })
}

/// A session in the hands of its one holder.
struct Held {
    hub: Arc<Hub>,
    seat: Seat,
    session: Session,
    will: Option<Will>,
    role: Role,
    certified: Option<Certified>,
}

/// A client that is served.
struct Connected<S> {
    held: Held,
    framed: Framed<S>,
    serve: Serve,
    place: OwnedSemaphorePermit,
}

impl<S> Connected<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn serve(&mut self) -> End {
        let Connected { held, framed, serve, .. } = self;
        let _present = held.hub.counters.connections.present();
        tokio::select! {
            end = serve.run(framed, &mut held.session) => end,
            Some(request) = held.seat.requests.recv() => End::TakenOver(request),
            void = Box::pin(held.hub.void(held.certified.as_ref())) => End::Void(void),
            () = held.hub.ended() => End::Ending,
        }
    }

    async fn end(self, end: End) {
        let Connected { mut held, mut framed, serve, place } = self;
        let hub = held.hub.clone();
        let expiry_s = serve.session_expiry_s;
        match end {
            End::RouterStopped => tracing::error!(reason = %end, "disconnected"),
            _ => tracing::info!(reason = %end, "disconnected"),
        }
        if let Some(reason) = end.disconnect_reason()
            && framed.output.is_empty()
        {
            write::disconnect(&mut framed.output, serve.version(), reason);
        }
        if let Some(counter) = end.counter(&hub.counters) {
            counter.add(1);
        }
        let goodbye = framed.close(GOODBYE);
        drop(place);
        if let End::TakenOver(request) = end {
            // The new connection waits for us, so the old one gets next to no time to read its goodbye.
            let _ = timeout(TAKEN_OVER_GOODBYE, goodbye).await;
            let resume = request.resume && expiry_s > 0;
            return held.hand_over(request, resume).await;
        }
        if matches!(end, End::Left { with_will: false } | End::Ending) {
            held.will = None;
        }
        let expiry_s = if matches!(end, End::Overrun | End::Void(_) | End::Ending) { 0 } else { expiry_s };
        tokio::join!(goodbye, held.keep(expiry_s));
    }
}

impl Held {
    /// Keeps the session of a client that is away until it comes back or time is up.
    async fn keep(mut self, expiry_s: u32) {
        let delay_s = self.will.as_ref().map_or(0, |will| will.delay_s).min(expiry_s);
        if delay_s == 0 {
            self.publish_will().await;
        }
        let place = self.hub.kept_places.clone().try_acquire_owned();
        let (true, Ok(place)) = (expiry_s > 0, place) else {
            self.publish_will().await;
            return self.session.close(&self.hub).await;
        };
        let hub = self.hub.clone();
        let present = hub.counters.kept_sessions.present();
        let now = Instant::now();
        let (will_at, end_at) = (now + seconds(delay_s), now + seconds(expiry_s));
        loop {
            let will_at = self.will.as_ref().map(|_| will_at);
            tokio::select! {
                Some(request) = self.seat.requests.recv() => {
                    let resume = request.resume;
                    drop((present, place));
                    return self.hand_over(request, resume).await;
                }
                () = hub.ended() => {
                    self.will = None;
                    break;
                }
                () = sleep_until(end_at) => break,
                () = sleep_until_some(will_at) => {
                    self.publish_will().await;
                }
                arrival = self.session.next() => {
                    let Ok(arrival) = arrival else { break };
                    let taken = arrival.map_or(Ok(()), |arrival| self.session.take(arrival, false, &hub.counters));
                    let outbox = &self.session.outbox;
                    let queue = hub.limits.queue;
                    if taken.is_err() || outbox.queued() > queue.messages || outbox.queued_bytes() > queue.bytes {
                        hub.counters.lost_slow.add(1);
                        tracing::info!("its session ends: too many messages while it was away");
                        break;
                    }
                }
            }
        }
        self.publish_will().await;
        self.session.close(&self.hub).await;
    }

    /// Gives the session, if it goes on, to the connection that asked for it.
    async fn hand_over(mut self, request: Request, resume: bool) {
        let delayed = self.will.as_ref().is_some_and(|will| will.delay_s > 0);
        if resume && delayed {
            self.will = None;
        }
        self.publish_will().await;
        let Held { hub, seat, session, .. } = self;
        let session = if resume {
            Some(session)
        } else {
            session.close(&hub).await;
            None
        };
        drop(seat);
        request.answer(session);
    }

    async fn publish_will(&mut self) {
        let Some(will) = self.will.take() else { return };
        let message = message(&self.hub, &will.publish, self.session.origin);
        match self.hub.router.publish(self.role, &message).await {
            Ok(()) => self.hub.counters.messages_in.add(1),
            Err(PublishError::Full(_)) => self.hub.counters.retain_refused.add(1),
            // The broker is ending; everybody is told by that.
            Err(PublishError::Stopped(_)) => {}
        }
    }
}

/// The message of a PUBLISH or a will, published now.
pub(crate) fn message(hub: &Hub, publish: &Publish, origin: u64) -> Message {
    let deadline = |seconds: u32| hub.router.now_ms() + u64::from(seconds) * 1000;
    Message::new(&Parts {
        topic: &publish.topic,
        payload: &publish.payload,
        properties: &publish.properties,
        qos: publish.qos,
        retain: publish.retain,
        origin,
        deadline_ms: publish.expiry_s.map(deadline),
    })
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Left { with_will: false } => f.write_str("it left"),
            End::Left { with_will: true } => f.write_str("it left and wants its will published"),
            End::Lost => f.write_str("the connection was lost"),
            End::Silent => f.write_str("it was silent for longer than it promised"),
            End::Slow => f.write_str("it did not take its data in time"),
            End::Overrun => f.write_str("it was too slow and missed messages"),
            End::Violation(Violation { what, .. }) => write!(f, "protocol violation: {what}"),
            End::TakenOver(_) => f.write_str("it connected again"),
            End::Void(void) => void.fmt(f),
            End::Ending => f.write_str("the broker is ending"),
            End::RouterStopped => f.write_str("the router has stopped"),
        }
    }
}
