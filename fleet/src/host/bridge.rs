//! The serial bridge: ends a board's link and holds the board's own MQTT connection.
//!
//! A board speaks only below `up/` and hears only what is below `dn/` of its own id: the bridge adds the
//! front of the topics and takes quality of service and retain from the contract. One
//! [`FromBoard::Open`] is one attempt to connect; its end, whatever the reason, is
//! [`ToBoard::Session`] `{ up: false }`, and the board decides when to try again. A board that restarts
//! or falls silent loses its connection without a DISCONNECT, so that its last will is published.
//!
//! Memory is bounded on both ways: what the broker does not take in time is dropped (QoS 0) or ends
//! the connection (QoS 1), what the board does not take in time waits in the session's inbox.
//!
//! Not here: who starts the board (`device`), how the link repairs bytes (`wire::link`).

use std::{borrow::Cow, convert::Infallible, io, time::Duration};

use rumqttc::v5::mqttbytes::{QoS, v5::LastWill};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use wasmbed_wire::{
    DeviceId,
    bridge::{FromBoard, OVERHEAD_BYTES, ToBoard},
    link::{self, Link},
    message::LinkCounters,
    topic::{Down, Full as Topic, Up},
};

use super::{
    faults::{Disturber, Faults},
    session::{Event, Policy, Session, Subscription},
};
use crate::connection::Connection;

/// Largest datagram taken from a board: a telemetry message of 4 KiB and its topic.
const FROM_BOARD_BYTES: usize = 4096 + OVERHEAD_BYTES;
/// Datagrams queued towards a board, in bytes; holds one block of the largest size.
const TO_BOARD_BYTES: usize = 20 * 1024;
const RX: usize = FROM_BOARD_BYTES + link::RX_OVERHEAD_BYTES;
/// Bytes read from the line at once.
const READ_BYTES: usize = 4096;
/// Longest last will taken from a board, in bytes.
const WILL_BYTES: usize = 256;
/// MQTT keep-alive, in seconds: the client library's least, and a bound on how late a dead bridge is
/// noticed by the broker.
const KEEP_ALIVE_S: std::ops::RangeInclusive<u16> = 5..=600;

/// Pause after a failure that is the machine's (no file descriptors left), not the line's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A board is asked for a sign of life after 2 s and given up after 6 s: longer than any erase or
/// module call, and than the pauses of a busy machine.
const LINK: link::Config = link::Config { window: 8, resend_ms: 300, ping_ms: Some(2_000), dead_ms: 6_000 };

/// Whose link it is, and where its messages go.
#[derive(Debug, Clone)]
pub(super) struct Port {
    /// The board.
    pub(super) device: DeviceId,
    /// The broker under the board's own name.
    pub(super) connection: Connection,
    /// What is made to be wrong with line and connection.
    pub(super) faults: watch::Receiver<Faults>,
}

/// What a bridge tells its owner.
pub(super) trait Observer {
    /// The line is there.
    fn connected(&mut self);
    /// The board gave a sign of life on a link that is up.
    fn heard(&mut self);
    /// The board printed this.
    fn console(&mut self, text: &[u8]);
    /// The link's counters; called often.
    fn counters(&mut self, counters: LinkCounters);
}

/// Runs the bridge over whatever connects to `listener`, one after the other, for ever: whether the
/// emulator still lives is not its business.
pub(super) async fn attend(port: &Port, listener: &UnixListener, observer: &mut impl Observer) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((line, _)) => {
                observer.connected();
                let error = run(port, line, observer).await;
                tracing::debug!(device = %port.device, %error, "serial line ended");
            }
            Err(error) => {
                tracing::warn!(device = %port.device, %error, "could not accept a serial line");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Runs the bridge over `line` until the line ends.
async fn run(port: &Port, line: UnixStream, observer: &mut impl Observer) -> io::Error {
    let start = Instant::now();
    let mut bridge = Bridge::new(port, start);
    let mut faults = port.faults.clone();
    let mut input = [0; READ_BYTES];
    loop {
        bridge.obey(*faults.borrow_and_update());
        bridge.fill_line(observer);
        observer.counters(bridge.link.counters());
        let deadline = bridge.link.next_deadline().map(|ms| start + Duration::from_millis(ms));
        let done: io::Result<()> = tokio::select! {
            ready = line.readable() => match ready.and_then(|()| line.try_read(&mut input)) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    bridge.on_bytes(&input[..len], observer);
                    Ok(())
                }
                Err(error) => would_block_is_fine(error),
            },
            ready = line.writable(), if bridge.has_output() => {
                match ready.and_then(|()| line.try_write(bridge.output())) {
                    Ok(len) => {
                        bridge.written += len;
                        Ok(())
                    }
                    Err(error) => would_block_is_fine(error),
                }
            }
            event = next(bridge.session.as_ref()), if bridge.waiting.is_none() => {
                bridge.on_session(event);
                Ok(())
            }
            () = sleep_until(deadline.unwrap_or(start)), if deadline.is_some() => Ok(()),
            Ok(()) = faults.changed() => Ok(()),
        };
        if let Err(error) = done {
            return error;
        }
    }
}

async fn next(session: Option<&Session>) -> Event {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

fn would_block_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}

struct Bridge<'a> {
    port: &'a Port,
    start: Instant,
    link: Box<Link<RX, TO_BOARD_BYTES>>,
    session: Option<Session>,
    /// A datagram for which the link has no room yet; while there is one, the session is not read.
    waiting: Option<Vec<u8>>,
    /// Bytes for the line, of which `written` are on it.
    output: Vec<u8>,
    written: usize,
    too_large: u64,
    faults: Faults,
    disturber: Disturber,
}

impl<'a> Bridge<'a> {
    fn new(port: &'a Port, start: Instant) -> Self {
        // Any number that differs from the one before this restart of the host.
        let session = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u16);
        Bridge {
            port,
            start,
            link: Box::new(Link::new(0, LINK, session)),
            session: None,
            waiting: None,
            output: Vec::new(),
            written: 0,
            too_large: 0,
            faults: Faults::default(),
            disturber: Disturber::default(),
        }
    }

    /// What is wrong from now on.
    fn obey(&mut self, faults: Faults) {
        self.faults = faults;
        if self.faults.is_offline() && self.session.take().is_some() {
            self.waiting = Some(encode(&ToBoard::Session { up: false }));
            self.flush_waiting();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Takes the next frame from the link once the last one is on the line, so that the link decides as
    /// late as possible what to say.
    fn fill_line(&mut self, observer: &mut impl Observer) {
        if self.has_output() {
            return;
        }
        let now = self.now();
        self.output.resize(link::encoded_bytes(TO_BOARD_BYTES), 0);
        self.written = 0;
        let len = self.link.transmit(now, &mut self.output);
        self.output.truncate(len);
        if let Cow::Owned(disturbed) = self.disturber.pass(&self.faults, &self.output) {
            self.output = disturbed;
        }
        // Time may have ended the link.
        self.poll_link(observer);
    }

    fn on_bytes(&mut self, bytes: &[u8], observer: &mut impl Observer) {
        let now = self.now();
        let arrived = self.disturber.pass(&self.faults, bytes);
        let mut bytes = arrived.as_ref();
        loop {
            let taken = self.link.on_bytes(now, bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            self.poll_link(observer);
            if bytes.is_empty() {
                break;
            }
        }
        if self.link.is_up() {
            observer.heard();
        }
        self.flush_waiting();
    }

    fn poll_link(&mut self, observer: &mut impl Observer) {
        while let Some(event) = self.link.poll_event() {
            match event {
                link::Event::Up => tracing::debug!(device = %self.port.device, "serial link up"),
                link::Event::Down => {
                    tracing::debug!(device = %self.port.device, "serial link down");
                    self.session = None;
                    self.waiting = None;
                }
                link::Event::Console(text) => observer.console(text),
                link::Event::Datagram(datagram) => match FromBoard::decode(datagram) {
                    Ok(FromBoard::Open { keep_alive_s, will }) => {
                        let is_offline = self.faults.is_offline();
                        self.session = if is_offline { None } else { open(self.port, keep_alive_s, will) };
                        // What the board has not heard of the old connection, it must not take for the new one's.
                        self.waiting =
                            self.session.is_none().then(|| encode(&ToBoard::Session { up: false }));
                    }
                    Ok(FromBoard::Publish { token, topic, payload }) => {
                        if publish(self.port, self.session.as_mut(), token, topic, payload).is_err() {
                            self.session = None;
                            self.waiting = Some(encode(&ToBoard::Session { up: false }));
                        }
                    }
                    Err(_) => tracing::debug!(device = %self.port.device, "a datagram of another version"),
                },
            }
        }
    }

    fn on_session(&mut self, event: Event) {
        let datagram = match event {
            Event::Up => encode(&ToBoard::Session { up: true }),
            Event::Acked(token) => encode(&ToBoard::Acked { token }),
            Event::Message(message) => {
                encode(&ToBoard::Deliver { topic: &message.topic, payload: &message.payload })
            }
            Event::Closed(reason) => {
                tracing::info!(device = %self.port.device, reason, "MQTT connection ended");
                self.session = None;
                encode(&ToBoard::Session { up: false })
            }
        };
        self.waiting = Some(datagram);
        self.flush_waiting();
    }

    fn flush_waiting(&mut self) {
        let Some(datagram) = &self.waiting else {
            return;
        };
        match self.link.send(datagram) {
            Ok(()) => self.waiting = None,
            Err(link::SendError::Full) => {}
            Err(link::SendError::Down) => self.waiting = None,
            Err(link::SendError::TooLarge { limit }) => {
                self.too_large += 1;
                let (device, bytes, count) = (self.port.device, datagram.len(), self.too_large);
                tracing::warn!(%device, bytes, limit, count, "dropped a message that is too large for the board");
                self.waiting = None;
            }
        }
    }
}

/// An empty datagram, which no board understands, stands for one that can never fit.
fn encode(datagram: &ToBoard<'_>) -> Vec<u8> {
    let payload = if let ToBoard::Deliver { payload, .. } = datagram { payload.len() } else { 0 };
    let mut bytes = vec![0; OVERHEAD_BYTES + payload];
    let len = datagram.encode(&mut bytes).unwrap_or(0);
    bytes.truncate(len);
    bytes
}

fn open(port: &Port, keep_alive_s: u16, will: &[u8]) -> Option<Session> {
    if will.len() > WILL_BYTES {
        tracing::warn!(device = %port.device, bytes = will.len(), "the board's last will is too long");
        return None;
    }
    let mut options = port.connection.options(port.device.as_str());
    let keep_alive_s = keep_alive_s.clamp(*KEEP_ALIVE_S.start(), *KEEP_ALIVE_S.end());
    let delivery = Up::State.delivery();
    options.set_keep_alive(Duration::from_secs(keep_alive_s.into())).set_last_will(LastWill::new(
        full(port, Up::State),
        will,
        QoS::AtLeastOnce,
        delivery.retain,
        None,
    ));
    let subscription = Subscription { base: full(port, ""), filter: Down::FILTER, policy };
    Some(Session::open(options, &port.connection.dialect, subscription))
}

fn policy(topic: &str) -> Policy {
    match Down::parse(topic) {
        Some(Down::Desired | Down::Keys) => Policy::Latest,
        Some(Down::Block(_) | Down::Message(..) | Down::Ros(..)) => Policy::Droppable,
        Some(Down::Command(_)) => Policy::Wanted,
        None => Policy::Ignored,
    }
}

/// The broker does not keep up with what must not be lost.
struct Overrun;

fn publish(
    port: &Port,
    session: Option<&mut Session>,
    token: u16,
    topic: &str,
    payload: &[u8],
) -> Result<(), Overrun> {
    let Some(session) = session else {
        // The board has not yet heard that its connection is gone.
        return Ok(());
    };
    let Some(up) = Up::parse(topic) else {
        tracing::warn!(device = %port.device, topic, "the board published to a topic that is not its own");
        return Ok(());
    };
    let delivery = up.delivery();
    match session.publish(token, full(port, up), delivery, payload.to_vec()) {
        Ok(()) => Ok(()),
        Err(_) if delivery.qos == 0 => Ok(()),
        Err(_) => {
            tracing::warn!(device = %port.device, "the broker does not keep up with the board; connecting anew");
            Err(Overrun)
        }
    }
}

fn full(port: &Port, rest: impl std::fmt::Display) -> String {
    Topic { prefix: &port.connection.prefix, device: port.device, rest }.to_string()
}
