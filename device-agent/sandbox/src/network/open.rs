//! How a connection is opened.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, sync::Semaphore, task::spawn_blocking, time::timeout};
use wasmbed_abi::{Destination, Errno, Peer, Protocol};

use super::Open;

/// How long it may take to open a connection, with looking a name up.
const OPENING: Duration = Duration::from_secs(20);

/// What opens a connection once it is polled.
///
/// # Errors
/// [`Errno::Busy`] if there are too many names to look up.
pub(super) fn open(
    lookups: &Arc<Semaphore>,
    destination: Destination<'_>,
) -> Result<impl Future<Output = io::Result<Open>> + use<>, Errno> {
    let Destination { protocol, peer, port } = destination;
    let lookup = match peer {
        Peer::Address(address) => Lookup::Done(SocketAddr::new(address, port)),
        Peer::Name(name) => {
            let permit = Arc::clone(lookups).try_acquire_owned().map_err(|_| Errno::Busy)?;
            Lookup::Name { name: name.to_owned(), port, permit }
        }
    };
    Ok(async move {
        let opened = timeout(OPENING, async {
            let addresses = lookup.run().await?;
            match protocol {
                Protocol::Tcp => Ok(Open::Stream(TcpStream::connect(&*addresses).await?.into_std()?)),
                Protocol::Udp => datagrams(&addresses).map(|socket| Open::Datagrams(socket, None)),
            }
        });
        opened.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    })
}

enum Lookup {
    Done(SocketAddr),
    Name { name: String, port: u16, permit: tokio::sync::OwnedSemaphorePermit },
}

impl Lookup {
    async fn run(self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Lookup::Done(address) => Ok(vec![address]),
            Lookup::Name { name, port, permit } => {
                let found = spawn_blocking(move || {
                    let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
                    // Only now: nobody can stop the resolver.
                    drop(permit);
                    found
                });
                found.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        }
    }
}

/// A socket that exchanges datagrams with the first address that there is a way to.
fn datagrams(addresses: &[SocketAddr]) -> io::Result<UdpSocket> {
    let mut failed = io::ErrorKind::NotFound.into();
    for address in addresses {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local)?;
        match socket.connect(address).and_then(|()| socket.set_nonblocking(true)) {
            Ok(()) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
