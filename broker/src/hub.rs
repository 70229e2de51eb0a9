//! What all connections share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::counters::Counters;
use crate::credentials::Secret;
use crate::router::Router;
use crate::sessions::Sessions;
use crate::settings::Limits;
use crate::shares::Shares;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) prefix: String,
    pub(crate) limits: Limits,
    pub(crate) secret: Secret,
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
}
