//! The connections of one instance: to where it may, and not more than it may.
//!
//! Nothing here waits. A connection is opened by a task of its own; what is sent and received goes through sockets
//! that do not block. All of them close when their [`Connections`] are dropped.

mod budget;
mod open;

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    sync::Arc,
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        oneshot::{self, Receiver, error::TryRecvError},
    },
    task::AbortHandle,
};
use wasmbed_abi::{Destination, Errno, MAX_SOCKETS, NET_BYTES_PER_SECOND};

use self::budget::Budget;

/// Names looked up at once, for all modules of a device: each takes a thread until the resolver answers.
const LOOKUPS: usize = 4;
/// What opening a connection costs of the bytes per second, so that they are not opened in a row.
const OPENING_BYTES: usize = 4096;
/// Longest datagram (RFC 768: its length has 16 bits).
const DATAGRAM_BYTES: usize = 65_535;

/// What the connections of all modules share; clones are the same.
#[derive(Debug, Clone)]
pub struct Network {
    tasks: Handle,
    lookups: Arc<Semaphore>,
}

/// The connections of one instance, numbered from 0.
#[derive(Debug)]
pub struct Connections {
    network: Network,
    allowed: String,
    sockets: [Option<Socket>; MAX_SOCKETS],
    budget: Budget,
}

#[derive(Debug)]
enum Socket {
    Opening { opened: Receiver<io::Result<Open>>, task: AbortHandle },
    Open(Open),
    Failed,
}

#[derive(Debug)]
enum Open {
    Stream(TcpStream),
    /// With a datagram that was too long for the room it was given.
    Datagrams(UdpSocket, Option<Vec<u8>>),
}

impl Network {
    /// Connections are opened by tasks of this runtime.
    pub fn new(tasks: Handle) -> Self {
        Network { tasks, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// None yet; `allowed` are patterns separated by spaces ([`wasmbed_abi::Pattern`]).
    pub fn connections(&self, allowed: &str) -> Connections {
        Connections {
            network: self.clone(),
            allowed: allowed.to_owned(),
            sockets: Default::default(),
            budget: Budget::new(NET_BYTES_PER_SECOND, Instant::now()),
        }
    }
}

impl Connections {
    /// Begins to open a connection and returns its number.
    ///
    /// # Errors
    /// [`Errno::Denied`] if it may not go there, [`Errno::NoSpace`] if too many are open, [`Errno::Busy`] if too much
    /// was sent or looked up just now.
    pub fn connect(&mut self, destination: Destination<'_>) -> Result<u32, Errno> {
        if !destination.is_allowed_by(&self.allowed) {
            return Err(Errno::Denied);
        }
        let free = self.sockets.iter().position(Option::is_none).ok_or(Errno::NoSpace)?;
        let number = u32::try_from(free).map_err(|_| Errno::NoSpace)?;
        if self.budget.left(Instant::now()) < OPENING_BYTES {
            return Err(Errno::Busy);
        }
        let opening = open::open(&self.network.lookups, destination)?;
        let (sender, opened) = oneshot::channel();
        let task = self.network.tasks.spawn(async move {
            // Fails if it was closed meanwhile.
            let _ = sender.send(opening.await);
        });
        self.budget.spend(OPENING_BYTES);
        if let Some(place) = self.sockets.get_mut(free) {
            *place = Some(Socket::Opening { opened, task: task.abort_handle() });
        }
        Ok(number)
    }

    /// Sends bytes and returns how many: all of a datagram, or as much of a stream as there is room for.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such connection, [`Errno::Busy`] while it opens or has no room,
    /// [`Errno::TooLong`] for a datagram that no network carries, [`Errno::Io`] if it failed.
    pub fn send(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        let left = self.budget.left(Instant::now());
        let socket = self.socket(number)?;
        let sent = match socket.opened()? {
            Open::Stream(stream) => {
                let fits = bytes.get(..bytes.len().min(left)).unwrap_or_default();
                if fits.is_empty() && !bytes.is_empty() {
                    return Err(Errno::Busy);
                }
                stream.write(fits)
            }
            Open::Datagrams(..) if bytes.len() > left => return Err(Errno::Busy),
            Open::Datagrams(socket, _) => socket.send(bytes),
        };
        let sent = sent.map_err(|error| socket.failed(&error))?;
        self.budget.spend(sent);
        Ok(sent)
    }

    /// Receives into `out`, which is not empty, and returns how many bytes: those of one datagram, or what there is of
    /// a stream; 0 at a stream's end.
    ///
    /// # Errors
    /// As for [`send`](Connections::send); [`Errno::Busy`] if there is nothing yet, [`Errno::NoSpace`] if the datagram
    /// is longer: it stays.
    pub fn receive(&mut self, number: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let left = self.budget.left(Instant::now());
        let socket = self.socket(number)?;
        let open = socket.opened()?;
        if left == 0 {
            return Err(Errno::Busy);
        }
        let received = match open {
            Open::Stream(stream) => {
                let len = out.len().min(left);
                stream.read(out.get_mut(..len).unwrap_or_default())
            }
            Open::Datagrams(socket, waiting) => take_datagram(socket, waiting).and_then(|datagram| {
                let Some(place) = out.get_mut(..datagram.len()) else {
                    *waiting = Some(datagram);
                    return Err(io::ErrorKind::FileTooLarge.into());
                };
                place.copy_from_slice(&datagram);
                Ok(datagram.len())
            }),
        };
        let received = received.map_err(|error| socket.failed(&error))?;
        self.budget.spend(received);
        Ok(received)
    }

    /// Closes a connection, opened or not.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such connection.
    pub fn close(&mut self, number: u32) -> Result<(), Errno> {
        let place = self.sockets.get_mut(number as usize).ok_or(Errno::NotFound)?;
        place.take().map(drop).ok_or(Errno::NotFound)
    }

    fn socket(&mut self, number: u32) -> Result<&mut Socket, Errno> {
        self.sockets.get_mut(number as usize).and_then(Option::as_mut).ok_or(Errno::NotFound)
    }
}

impl Socket {
    fn opened(&mut self) -> Result<&mut Open, Errno> {
        if let Socket::Opening { opened, .. } = self {
            *self = match opened.try_recv() {
                Ok(Ok(open)) => Socket::Open(open),
                Ok(Err(error)) => {
                    tracing::debug!("a module's connection was not opened: {error}");
                    Socket::Failed
                }
                Err(TryRecvError::Empty) => return Err(Errno::Busy),
                Err(TryRecvError::Closed) => Socket::Failed,
            };
        }
        match self {
            Socket::Open(open) => Ok(open),
            _ => Err(Errno::Io),
        }
    }

    /// What the module is told; a stream that failed stays so.
    fn failed(&mut self, error: &io::Error) -> Errno {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Errno::Busy,
            io::ErrorKind::FileTooLarge => return Errno::NoSpace,
            _ if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => return Errno::TooLong,
            _ => {}
        }
        if matches!(self, Socket::Open(Open::Stream(_))) {
            tracing::debug!("a module's connection ended: {error}");
            *self = Socket::Failed;
        }
        Errno::Io
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Socket::Opening { task, .. } = self {
            task.abort();
        }
    }
}

fn take_datagram(socket: &UdpSocket, waiting: &mut Option<Vec<u8>>) -> io::Result<Vec<u8>> {
    if let Some(datagram) = waiting.take() {
        return Ok(datagram);
    }
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let len = socket.recv(&mut datagram)?;
    datagram.truncate(len);
    Ok(datagram)
}

#[cfg(test)]
mod tests;
