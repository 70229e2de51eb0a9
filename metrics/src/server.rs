//! The HTTP listener.

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{Page, process::Process};

/// Connections at a time; one more is closed at once.
pub const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take from its first byte to the last of the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A role that is looked at.
pub trait Source: Send + Sync + 'static {
    /// Whether the role does its work.
    ///
    /// # Errors
    /// If it does not: why, for people.
    fn health(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Writes what the role measures.
    fn metrics(&self, page: &mut Page) -> impl Future<Output = ()> + Send;
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for metrics; choose another address with `metrics_listen`")]
pub struct Listen {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A listener for `/metrics` and `/healthz`.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    process: Process,
}

impl Server {
    /// Starts to listen; with port 0 the system chooses one.
    ///
    /// # Errors
    /// If the address is taken or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, Listen> {
        let failed = |source| Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "metrics listen");
        Ok(Server { listener, address, process: Process::starting() })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever, in tasks of its own that end with themselves.
    pub async fn serve(self, source: Arc<impl Source>) -> Infallible {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (source, process) = (Arc::clone(&source), self.process);
            tokio::spawn(async move {
                let _place = place;
                // A peer that is slow or says nonsense gets no more than this.
                let _ = timeout(PATIENCE, connection(stream, source, process)).await;
            });
        }
    }
}

/// Serves if there is a server, and waits for ever if not.
pub async fn maybe_serve(server: Option<Server>, source: Arc<impl Source>) -> Infallible {
    match server {
        Some(server) => server.serve(source).await,
        None => pending().await,
    }
}

async fn connection(
    stream: TcpStream,
    source: Arc<impl Source>,
    process: Process,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(answer(&request, &*source, process).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    request: &Request<Incoming>,
    source: &impl Source,
    process: Process,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".into());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut page = Page::new();
            process.write(&mut page);
            source.metrics(&mut page).await;
            let mut answer = text(StatusCode::OK, page.into_text());
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        "/healthz" => match source.health().await {
            Ok(()) => text(StatusCode::OK, "ok\n".into()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
