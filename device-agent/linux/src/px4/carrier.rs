//! What carries frames: UDP to this machine, UDP to another, TCP to another, or a serial line.

mod serial;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, lookup_host},
    time::{sleep, timeout},
};

use wasmbed_px4::Deframer;

use self::serial::{Serial, Speed};
use super::frames::{Frames, Heard};

/// Time between two attempts to open a connection.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Time for opening one, and for what is sent to find room.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest datagram that a system sends: several frames may share one.
const DATAGRAM_BYTES: usize = 65_535;

/// A connection as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// Vehicles send here, and are answered where they sent from.
    UdpIn(SocketAddr),
    /// To a host and port.
    UdpOut(String),
    /// To a host and port.
    TcpOut(String),
    /// A terminal of this machine.
    Serial(PathBuf, Speed),
}

impl FromStr for Connection {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let read = || {
            let (kind, place) = text.split_once(':')?;
            let (host, port) = place.rsplit_once(':')?;
            if kind == "serial" {
                let speed = Speed::of(port.parse().ok()?)?;
                return Some(Connection::Serial(host.into(), speed)).filter(|_| host.starts_with('/'));
            }
            let is_place = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
            match kind {
                "udpin" => place.parse().ok().map(Connection::UdpIn),
                "udpout" if is_place => Some(Connection::UdpOut(place.to_owned())),
                "tcpout" if is_place => Some(Connection::TcpOut(place.to_owned())),
                _ => None,
            }
        };
        read().with_context(|| {
            format!(
                "px4 has the connection {text:?}; write udpin:HOST:PORT with an address of this machine, \
                 udpout:HOST:PORT, tcpout:HOST:PORT or serial:/dev/NAME:SPEED with a speed such as 57600 or 921600"
            )
        })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Connection::UdpIn(address) => write!(f, "udpin:{address}"),
            Connection::UdpOut(place) => write!(f, "udpout:{place}"),
            Connection::TcpOut(place) => write!(f, "tcpout:{place}"),
            Connection::Serial(path, speed) => write!(f, "serial:{}:{}", path.display(), speed.bits_per_s()),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Carrier {
    /// With where each system was last heard from.
    UdpIn(UdpSocket, BTreeMap<u8, SocketAddr>),
    UdpOut(UdpSocket),
    Tcp(TcpStream, Deframer),
    Serial(Serial, Deframer),
}

/// Tries until it is open.
pub(super) async fn open(connection: Connection, mut delay: Duration) -> Carrier {
    let mut said = None;
    loop {
        sleep(delay).await;
        let opened = timeout(PATIENCE, try_open(&connection)).await;
        let error = match opened {
            Ok(Ok(carrier)) => {
                tracing::info!("{connection} is open");
                return carrier;
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        // Once is enough.
        if said.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!("{connection} cannot be opened: {error}");
        }
        delay = RETRY;
    }
}

async fn try_open(connection: &Connection) -> io::Result<Carrier> {
    match connection {
        Connection::UdpIn(address) => Ok(Carrier::UdpIn(UdpSocket::bind(address).await?, BTreeMap::new())),
        Connection::UdpOut(place) => {
            let to = lookup_host(place).await?.next().ok_or(io::ErrorKind::NotFound)?;
            // Only as wide as need be: what is not for other machines is not open to them.
            let own: SocketAddr = match (to, to.ip().is_loopback()) {
                (_, true) => (to.ip(), 0).into(),
                (SocketAddr::V4(_), false) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                (SocketAddr::V6(_), false) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(own).await?;
            socket.connect(to).await?;
            Ok(Carrier::UdpOut(socket))
        }
        Connection::TcpOut(place) => {
            let stream = TcpStream::connect(place).await?;
            stream.set_nodelay(true)?;
            Ok(Carrier::Tcp(stream, Deframer::default()))
        }
        Connection::Serial(path, speed) => {
            Ok(Carrier::Serial(Serial::open(path, *speed)?, Deframer::default()))
        }
    }
}

impl Carrier {
    /// What was heard next, perhaps nothing that is understood.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn receive(&mut self, frames: &Frames) -> io::Result<Vec<Heard>> {
        match self {
            Carrier::UdpIn(socket, places) => {
                let mut datagram = vec![0; DATAGRAM_BYTES];
                let (len, from) = socket.recv_from(&mut datagram).await?;
                let heard = frames.decode(&mut Deframer::default(), datagram.get(..len).unwrap_or_default());
                places.extend(heard.iter().map(|(source, _)| (source.system, from)));
                Ok(heard)
            }
            Carrier::UdpOut(socket) => {
                let mut datagram = vec![0; DATAGRAM_BYTES];
                match socket.recv(&mut datagram).await {
                    Ok(len) => {
                        Ok(frames.decode(&mut Deframer::default(), datagram.get(..len).unwrap_or_default()))
                    }
                    // Nobody listens there now.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Vec::new()),
                    Err(error) => Err(error),
                }
            }
            Carrier::Tcp(socket, stream) => {
                let mut bytes = vec![0; DATAGRAM_BYTES];
                match socket.read(&mut bytes).await? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    len => Ok(frames.decode(stream, bytes.get(..len).unwrap_or_default())),
                }
            }
            Carrier::Serial(serial, stream) => {
                let mut bytes = vec![0; DATAGRAM_BYTES];
                let len = serial.read(&mut bytes).await?;
                Ok(frames.decode(stream, bytes.get(..len).unwrap_or_default()))
            }
        }
    }

    /// Sends a frame to a system, 0 for all. A datagram that finds no room is lost, as it may be further on.
    ///
    /// # Errors
    /// If the connection has ended, or takes nothing any more.
    pub(super) async fn send(&mut self, to: u8, frame: &[u8]) -> io::Result<()> {
        match self {
            Carrier::UdpIn(socket, places) => {
                let mut addresses: Vec<SocketAddr> = places
                    .iter()
                    .filter(|(system, _)| to == 0 || **system == to)
                    .map(|(_, at)| *at)
                    .collect();
                addresses.sort();
                addresses.dedup();
                for address in addresses {
                    lost(socket.try_send_to(frame, address))?;
                }
                Ok(())
            }
            Carrier::UdpOut(socket) => lost(socket.try_send(frame)),
            Carrier::Tcp(socket, _) => in_time(socket.write_all(frame)).await,
            Carrier::Serial(serial, _) => in_time(serial.write_all(frame)).await,
        }
    }
}

/// What is sent finds room, or the connection is given up.
async fn in_time(sent: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(PATIENCE, sent).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Errors of which the next datagram may know nothing.
fn lost(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error)
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}
