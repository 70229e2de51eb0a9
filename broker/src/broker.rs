//! The broker as a whole: listening, accepting, ending.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use wasmbed_metrics::{Listen, Server, maybe_serve};

use crate::connection;
use crate::counters::{Counters, Snapshot};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::router::{Router, RouterStopped};
use crate::settings::Settings;

/// How long connections may take to end with the broker.
const GOODBYE: Duration = Duration::from_secs(3);
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the broker cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}; choose another address with `listen`")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address for metrics is taken or not ours.
    #[error("the broker cannot tell how it is")]
    Metrics(#[from] Listen),
    /// Nothing is delivered any more.
    #[error("the broker cannot go on")]
    Router(#[from] RouterStopped),
}

/// A broker that listens; clients are served while [`Broker::run`] runs.
#[derive(Debug)]
pub struct Broker {
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
    metrics: Option<Server>,
    hub: Arc<Hub>,
    ending: watch::Sender<bool>,
}

/// Reads the counters of a running broker.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Counters>);

impl Meter {
    /// All counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }
}

impl Broker {
    /// Starts to listen and starts the router's thread.
    ///
    /// That thread goes on until the process ends, also after [`Broker::run`].
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let Settings { listen, listen_tls, metrics_listen, tls, password_roles, secret, prefix, limits } =
            settings;
        let (plain, secure) = (bind(listen).await?, bind(listen_tls).await?);
        let metrics = match metrics_listen {
            Some(listen) => Some(Server::bind(listen).await?),
            None => None,
        };
        let counters = Arc::new(Counters::default());
        let (ending, is_ending) = watch::channel(false);
        let hub = Hub {
            router: Router::start(&prefix, &limits, counters.clone())?,
            prefix,
            secret,
            password_roles,
            tls,
            sessions: Arc::default(),
            shares: Arc::default(),
            counters,
            places: Arc::new(Semaphore::new(limits.connections)),
            kept_places: Arc::new(Semaphore::new(limits.kept_sessions)),
            ending: is_ending,
            limits,
        };
        Ok(Broker { plain, secure, metrics, hub: Arc::new(hub), ending })
    }

    /// Where it listens without TLS, if it does; with the port the system chose if none was configured.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.plain.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where it listens for TLS, if it does.
    pub fn local_tls_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where it answers `/metrics` and `/healthz`, if it does.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Server::local_addr)
    }

    /// A handle on the counters that outlives `self`.
    pub fn meter(&self) -> Meter {
        Meter(self.hub.counters.clone())
    }

    /// Serves clients until `shutdown` is done or the router stops; the latter is an error and the process should end.
    ///
    /// Clients of MQTT 5 are told why they are disconnected; wills are not published.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut connections = JoinSet::new();
        let metrics = maybe_serve(self.metrics.take(), Arc::new(Metrics(self.hub.clone())));
        let ended = tokio::select! {
            never = self.accept(&mut connections) => match never {},
            never = self.follow_files() => match never {},
            never = metrics => match never {},
            () = shutdown => Ok(()),
            stopped = self.hub.router.clone().watch() => Err(Error::Router(stopped)),
        };
        drop((self.plain, self.secure));
        // Nobody listens if there are no connections.
        let _ = self.ending.send(true);
        let all_gone = async { while connections.join_next().await.is_some() {} };
        // Those that do not end in time are cancelled with the set.
        let _ = tokio::time::timeout(GOODBYE, all_gone).await;
        ended
    }

    async fn follow_files(&self) -> std::convert::Infallible {
        match &self.hub.tls {
            Some(tls) => tls.follow().await,
            None => std::future::pending().await,
        }
    }

    async fn accept(&self, connections: &mut JoinSet<()>) -> std::convert::Infallible {
        let handshakes = Arc::new(Semaphore::new(self.hub.limits.handshakes));
        loop {
            let (accepted, is_tls) = tokio::select! {
                accepted = accept(self.plain.as_ref()) => (accepted, false),
                accepted = accept(self.secure.as_ref()) => (accepted, true),
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                    continue;
                }
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match handshakes.clone().try_acquire_owned() {
                Ok(handshake) => {
                    set_up(&stream);
                    connections.spawn(connection::run(self.hub.clone(), stream, is_tls, peer, handshake));
                }
                Err(_) => self.hub.counters.refused_busy.add(1),
            }
        }
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|source| Error::Listen { address, source })
}

/// The next connection; for ever if there is no listener.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn set_up(stream: &TcpStream) {
    // Packets are written whole; waiting to fill segments only adds delay. Without it all works, only slower.
    let _ = stream.set_nodelay(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;
    use crate::settings::Config;

    #[tokio::test]
    async fn the_death_of_the_router_ends_the_broker_with_an_error() {
        let config = Config { listen: "127.0.0.1:0".to_owned(), ..Config::default() };
        let broker = Broker::bind(config.with_secret(Secret::new([1; 32])).expect("settings"))
            .await
            .expect("a broker");
        let router = broker.hub.router.clone();
        let running = tokio::spawn(broker.run(std::future::pending()));
        router.kill().await;
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await.expect("in time");
        assert!(matches!(ended.expect("no panic"), Err(Error::Router(_))));
    }
}
