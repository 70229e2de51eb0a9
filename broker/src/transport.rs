//! What carries MQTT: TCP or TLS, with or without WebSocket (RFC 6455) around it.
//!
//! MQTT and WebSocket share a port: the first byte of a client tells them apart.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{
    self, Message,
    handshake::server::{ErrorResponse, Request, Response},
    http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    protocol::WebSocketConfig,
};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::tls::{Certified, Tls};

/// First byte of `GET`, which no MQTT packet has that may come first.
const GET: u8 = b'G';
/// Subprotocols that are MQTT (MQTT 5 section 6), the second one that of MQTT 3.1's clients.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Largest WebSocket message, in bytes: it is held whole before anything in it is looked at.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Buffers of a WebSocket, in bytes; the defaults are meant for few connections.
const BUFFER_BYTES: usize = 4096;

/// Bytes from and to a client.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why a client got no further than its transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("no TLS connection")]
    Tls(#[source] io::Error),
    #[error("it ended before its first byte")]
    Gone(#[source] io::Error),
    #[error("no WebSocket of MQTT")]
    WebSocket(#[source] tungstenite::Error),
}

/// A client whose MQTT can be read, and whose certificate it is if it has shown one.
pub(crate) async fn open(
    stream: impl Stream + 'static,
    tls: Option<&Tls>,
) -> Result<(Box<dyn Stream>, Option<Certified>), OpenError> {
    match tls {
        None => Ok((unwrap_web(stream).await?, None)),
        Some(tls) => {
            let (stream, certified) = tls.accept(stream).await.map_err(OpenError::Tls)?;
            Ok((unwrap_web(stream).await?, certified))
        }
    }
}

/// Takes the WebSocket off, if there is one.
async fn unwrap_web<S: Stream + 'static>(stream: S) -> Result<Box<dyn Stream>, OpenError> {
    // One byte is looked at; everything after it goes past this buffer.
    let mut stream = BufReader::with_capacity(1, stream);
    let first = stream.fill_buf().await.map_err(OpenError::Gone)?.first().copied();
    if first != Some(GET) {
        return Ok(Box::new(stream));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let web = tokio_tungstenite::accept_hdr_async_with_config(stream, choose_subprotocol, Some(config)).await;
    Ok(Box::new(web_bytes(web.map_err(OpenError::WebSocket)?)))
}

#[expect(clippy::result_large_err, reason = "the type is that of the library's callback")]
fn choose_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let offered = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    match offered.map(str::trim).find(|name| SUBPROTOCOLS.contains(name)) {
        Some(name) => {
            if let Ok(name) = HeaderValue::from_str(name) {
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
            }
            Ok(response)
        }
        None => {
            let mut refusal = ErrorResponse::new(Some("offer the WebSocket subprotocol mqtt\n".to_owned()));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            Err(refusal)
        }
    }
}

/// The bytes in a WebSocket's binary messages, which need not be cut as packets are.
fn web_bytes<S: Stream + 'static>(web: WebSocketStream<S>) -> impl Stream {
    let (sink, messages) = web.split();
    let bytes = messages.map_err(io::Error::other).try_filter_map(|message| {
        std::future::ready(match message {
            Message::Binary(bytes) => Ok(Some(bytes)),
            Message::Text(_) => Err(io::Error::other("MQTT comes in binary messages")),
            // The library answers pings and closes.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(None),
        })
    });
    let sink = sink
        .with(|bytes: Bytes| std::future::ready(Ok::<_, tungstenite::Error>(Message::Binary(bytes))))
        .sink_map_err(io::Error::other);
    tokio::io::join(StreamReader::new(bytes), SinkWriter::new(CopyToBytes::new(sink)))
}
