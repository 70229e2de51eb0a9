//! Connections to where the operator of the device allows, on Linux devices.
//!
//! Nothing here waits: what is not there yet is answered with `Busy`, and asked for again in a later tick. A module
//! has at most 8 connections and sends and receives at most 256 KiB a second.

use crate::{Errno, Result, errno::check, raw};

/// A connection; it closes when it is dropped.
#[derive(Debug)]
pub struct Connection(i32);

impl Connection {
    /// Begins to open a connection to `tcp:HOST:PORT` or `udp:HOST:PORT`; an IPv6 address is in brackets.
    ///
    /// # Errors
    /// `Denied` if the module may not go there, `NoSpace` if it has too many connections, `Busy` if it has sent or
    /// looked up too much just now, `Invalid` if this is no destination.
    pub fn open(destination: &str) -> Result<Self> {
        // SAFETY: pointer and length are those of a string.
        let answer = unsafe { raw::net_connect(destination.as_ptr(), destination.len()) };
        check(answer).map(|number| Connection(number.cast_signed()))
    }

    /// Sends at most 16 KiB: a datagram, or as much of a stream as there is room for. Answers how many bytes went.
    ///
    /// # Errors
    /// `Busy` while it opens or has no room, `Io` if it was refused or has ended, or if the name is unknown.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<usize> {
        let bytes = bytes.as_ref();
        // SAFETY: pointer and length are those of a slice.
        check(unsafe { raw::net_send(self.0, bytes.as_ptr(), bytes.len()) }).map(|sent| sent as usize)
    }

    /// What has arrived, kept in `buffer`: one datagram, or bytes of a stream; none at a stream's end.
    ///
    /// # Errors
    /// `Busy` if there is nothing yet, `NoSpace` if a datagram is longer than the buffer, and as for
    /// [`send`](Connection::send).
    pub fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        // SAFETY: pointer and length are those of a slice.
        let answer = unsafe { raw::net_receive(self.0, buffer.as_mut_ptr(), buffer.len()) };
        buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It exists, so this succeeds.
        raw::net_close(self.0);
    }
}
