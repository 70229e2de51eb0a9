//! One connection of the load.

use std::{io, net::SocketAddr, pin::Pin, task, task::Poll};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    broker::{Broker, Link, Login},
    wire::{self, CONNACK, Packet, SUBACK},
};

/// Bytes read at once.
const READ_BYTES: usize = 32 * 1024;

/// With or without TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut task::Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Reads packets.
pub(crate) struct Reader {
    stream: ReadHalf<Stream>,
    read: BytesMut,
}

/// Writes packets.
pub(crate) struct Writer {
    stream: WriteHalf<Stream>,
    pub(crate) out: BytesMut,
}

/// Connects and waits until the broker has agreed.
pub(crate) async fn connect(broker: &Broker, link: Link, login: &Login) -> Result<(Reader, Writer)> {
    let address: SocketAddr = broker.address(link);
    let stream = TcpStream::connect(address).await.context("cannot reach the broker")?;
    stream.set_nodelay(true)?;
    let stream = match link {
        Link::Plain => Stream::Plain(stream),
        Link::Tls => {
            let connector = broker.certificates().connector(&login.user)?;
            let name = rustls::pki_types::ServerName::from(address.ip());
            Stream::Tls(Box::new(connector.connect(name, stream).await?))
        }
    };
    let (read, write) = split(stream);
    let mut reader = Reader { stream: read, read: BytesMut::new() };
    let mut writer = Writer { stream: write, out: BytesMut::new() };
    let by_password = matches!(link, Link::Plain).then_some((login.user.as_str(), login.password.as_str()));
    wire::connect(&login.client_id, by_password, &mut writer.out);
    writer.flush().await?;
    let answer = reader.packet().await?;
    ensure!(
        answer.kind() == CONNACK && answer.body.get(1) == Some(&0),
        "the broker refused {}: {:?}",
        login.client_id,
        answer.body
    );
    Ok((reader, writer))
}

impl Writer {
    /// Sends what was put together.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let out: Bytes = self.out.split().freeze();
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }

    pub(crate) async fn subscribe(&mut self, reader: &mut Reader, filter: &str, qos: u8) -> Result<()> {
        wire::subscribe(filter, qos, &mut self.out);
        self.flush().await?;
        let answer = reader.packet().await?;
        ensure!(answer.kind() == SUBACK && answer.body.last() == Some(&qos), "{filter} was not granted");
        Ok(())
    }
}

impl Reader {
    /// The next packet.
    pub(crate) async fn packet(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.ready() {
                return Ok(packet);
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the broker ended the connection");
            }
        }
    }

    /// A packet that has been read already.
    pub(crate) fn ready(&mut self) -> Option<Packet> {
        wire::next(&mut self.read)
    }
}
