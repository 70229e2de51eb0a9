//! Frames: one fixed header and its body, read from and written to a stream with limits.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::{Violation, reason};

/// Memory grows with the bytes that arrive, not with the length a header claims: what is read at once is this at first,
/// twice as much whenever all of it was filled, up to the most, and half as much whenever little came.
const LEAST_READ_BYTES: usize = 256;
const MOST_READ_BYTES: usize = 16 * 1024;

/// First byte of CONNECT.
pub(crate) const CONNECT: u8 = 0x10;

/// One packet as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Packet type and flags.
    pub(crate) first: u8,
    pub(crate) body: Bytes,
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("reading failed")]
    Io(#[source] io::Error),
    #[error("protocol violation")]
    Violation(#[source] Violation),
}

/// Why buffered output could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the peer did not take its data in time")]
    Slow,
    #[error("writing failed")]
    Io(#[source] io::Error),
}

/// A stream cut into frames.
#[derive(Debug)]
pub(crate) struct Framed<S> {
    stream: S,
    input: BytesMut,
    /// Encoded packets waiting for [`Framed::flush`].
    pub(crate) output: BytesMut,
    limit_bytes: usize,
    /// The only first byte accepted until the client is admitted.
    wanted: Option<u8>,
    heard: Instant,
    /// How much is to be read at once.
    step_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// Frames of more than `limit_bytes` are refused from their header on, and so is anything but CONNECT until
    /// [`Framed::admit`].
    pub(crate) fn new(stream: S, limit_bytes: usize) -> Self {
        Framed {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            limit_bytes,
            wanted: Some(CONNECT),
            heard: Instant::now(),
            step_bytes: LEAST_READ_BYTES,
        }
    }

    /// From now on any packet may come, with another limit.
    pub(crate) fn admit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        self.wanted = None;
    }

    /// When the last byte came. Bytes count as a sign of life, not only whole packets: a large one may take longer than
    /// the keep-alive.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// The next frame; may be cancelled at any time without losing bytes.
    pub(crate) async fn frame(&mut self) -> Result<Frame, ReadError> {
        loop {
            if let Some(frame) = self.buffered_frame().map_err(ReadError::Violation)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// The next frame if all of it has been read already.
    pub(crate) fn buffered_frame(&mut self) -> Result<Option<Frame>, Violation> {
        if let (Some(wanted), Some(first)) = (self.wanted, self.input.first())
            && *first != wanted
        {
            return Err(Violation::protocol("the first packet is not CONNECT"));
        }
        let Some(header) = Header::parse(&self.input)? else { return Ok(None) };
        if header.len + header.body_len > self.limit_bytes {
            return Err(Violation {
                reason: reason::PACKET_TOO_LARGE,
                what: "the packet is larger than allowed",
            });
        }
        if self.input.len() < header.len + header.body_len {
            return Ok(None);
        }
        let mut body = self.input.split_to(header.len + header.body_len).freeze();
        let _ = body.split_to(header.len);
        Ok(Some(Frame { first: header.first, body }))
    }

    /// Reads whatever there is.
    async fn fill(&mut self) -> Result<(), ReadError> {
        if self.input.is_empty() && self.input.capacity() > self.step_bytes {
            self.input = BytesMut::new();
        }
        self.input.reserve(self.step_bytes);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(ReadError::Closed),
            Ok(count) => {
                if count >= self.step_bytes {
                    self.step_bytes = MOST_READ_BYTES.min(self.step_bytes * 2);
                } else if count < self.step_bytes / 4 {
                    self.step_bytes = LEAST_READ_BYTES.max(self.step_bytes / 2);
                }
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) => Err(ReadError::Io(error)),
        }
    }

    /// Writes all buffered output, or fails when the peer takes nothing for `patience`.
    ///
    /// What was written is taken out of the buffer at once, so that a cancelled flush can go on later.
    pub(crate) async fn flush(&mut self, patience: Duration) -> Result<(), WriteError> {
        let Framed { stream, output, .. } = self;
        let wait = |result: Result<io::Result<usize>, _>| match result {
            Err(_) => Err(WriteError::Slow),
            Ok(Ok(0)) => Err(WriteError::Io(io::ErrorKind::WriteZero.into())),
            Ok(done) => done.map_err(WriteError::Io),
        };
        while !output.is_empty() {
            wait(tokio::time::timeout(patience, stream.write_buf(output)).await)?;
        }
        wait(tokio::time::timeout(patience, async { stream.flush().await.map(|()| 1) }).await)?;
        Ok(())
    }

    /// Says goodbye: writes what is left, then gives the peer up to `patience` to read it.
    ///
    /// Closing at once with unread input makes the system discard our last packet.
    pub(crate) async fn close(mut self, patience: Duration) {
        if self.flush(patience).await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            loop {
                self.input.clear();
                if self.fill().await.is_err() {
                    return;
                }
            }
        };
        // A peer that keeps sending has had its time to read.
        let _ = tokio::time::timeout(patience, drain).await;
    }
}

struct Header {
    first: u8,
    len: usize,
    body_len: usize,
}

impl Header {
    /// `None` while bytes are missing.
    fn parse(input: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let mut body_len = 0;
        for (at, byte) in rest.iter().take(4).enumerate() {
            body_len |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(Some(Header { first, len: at + 2, body_len }));
            }
        }
        if rest.len() >= 4 {
            return Err(Violation::malformed("the remaining length has more than four bytes"));
        }
        Ok(None)
    }
}
