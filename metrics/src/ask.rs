//! Asking a role how it is, as a container's health check does.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Why a role is not known to do its work.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It says so.
    #[error("{0}")]
    Unhealthy(String),
    /// It is not there, or something else answers.
    #[error("nothing at {address} tells how it is ({reason}); is `metrics_listen` configured?")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What came instead.
        reason: String,
    },
}

/// Asks the role that has its metrics at `address`, `HOST:PORT`, whether it does its work.
///
/// # Errors
/// If it does not say that it does.
pub async fn healthy(address: &str) -> Result<(), AskError> {
    match get(address, "/healthz").await? {
        (StatusCode::OK, _) => Ok(()),
        (StatusCode::SERVICE_UNAVAILABLE, reason) => Err(AskError::Unhealthy(reason.trim_end().to_owned())),
        (other, _) => Err(AskError::unreachable(address, format!("HTTP status {other}"))),
    }
}

/// What the role at `address`, `HOST:PORT`, answers for a path.
///
/// # Errors
/// If there is no answer in time, or a very long one.
pub async fn get(address: &str, path: &str) -> Result<(StatusCode, String), AskError> {
    match timeout(PATIENCE, exchange(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(AskError::unreachable(address, error.to_string())),
        Err(_) => Err(AskError::unreachable(address, format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

impl AskError {
    fn unreachable(address: &str, reason: String) -> Self {
        AskError::Unreachable { address: address.to_owned(), reason }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: &str, path: &str) -> Result<(StatusCode, String), Failed> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(address)?);
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end before its last bytes were looked at.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
