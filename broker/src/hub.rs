//! What all connections share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::counters::Counters;
use crate::credentials::{RoleKind, Secret};
use crate::router::Router;
use crate::sessions::Sessions;
use crate::settings::Limits;
use crate::shares::Shares;
use crate::tls::{Certified, Tls, Void};

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) prefix: String,
    pub(crate) limits: Limits,
    pub(crate) secret: Secret,
    /// Who may use a password.
    pub(crate) password_roles: Vec<RoleKind>,
    /// `None` if nothing listens for TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) router: Arc<Router>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) counters: Arc<Counters>,
    /// Places for connected clients.
    pub(crate) places: Arc<Semaphore>,
    /// Places for sessions of clients that are away.
    pub(crate) kept_places: Arc<Semaphore>,
    /// True once the broker is ending.
    pub(crate) ending: watch::Receiver<bool>,
}

impl Hub {
    /// Waits until the broker is ending.
    pub(crate) async fn ended(&self) {
        // The sender only goes away at the end, too.
        let _ = self.ending.clone().wait_for(|ending| *ending).await;
    }

    /// Waits until the certificate a client came with no longer counts; for ever if it came with none.
    pub(crate) async fn void(&self, certified: Option<&Certified>) -> Void {
        match (&self.tls, certified) {
            (Some(tls), Some(certified)) => tls.void(certified).await,
            _ => std::future::pending().await,
        }
    }
}
