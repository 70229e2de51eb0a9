//! Answers requests for blocks, at once and beside everything else: a deployment is as fast as this.
//!
//! Requests that find the queue full are dropped; devices ask again. Several devices that fetch the same
//! artifact share one read of the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::{QoS, v5::PublishProperties};
use tokio::sync::mpsc;
use wasmbed_broker_client::Client;
use wasmbed_wire::{
    ArtifactId, DeviceId,
    message::{Block, Get},
    topic::{Down, Full},
};

use super::fleet::Claimed;
use crate::store::{Payloads, Served, StoreError};

/// Requests that may wait.
pub(super) const MAX_WAITING: usize = 256;
/// Artifacts kept in memory, in bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What encodes around the bytes of a block, at most.
const HEAD_BYTES: usize = 16;

/// One device's request, as it came.
#[derive(Debug)]
pub(super) struct BlockRequest {
    pub(super) device: DeviceId,
    pub(super) payload: Bytes,
}

/// Serves blocks to registered devices.
pub(super) struct BlockServer {
    payloads: Arc<Mutex<Payloads>>,
    claimed: Claimed,
    client: Client,
    prefix: String,
    cache: Cache,
}

impl BlockServer {
    pub(super) fn new(payloads: Payloads, claimed: Claimed, client: Client, prefix: String) -> Self {
        let payloads = Arc::new(Mutex::new(payloads));
        BlockServer { payloads, claimed, client, prefix, cache: Cache::default() }
    }

    /// Serves until `requests` is closed.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<BlockRequest>) {
        while let Some(request) = requests.recv().await {
            let Ok(get) = minicbor::decode::<Get>(&request.payload) else { continue };
            if !self.is_registered(&request.device) {
                continue;
            }
            match self.artifact(get.artifact).await {
                Ok(Some(artifact)) => self.send(&request.device, &artifact, get).await,
                Ok(None) => {
                    tracing::debug!(device = %request.device, artifact = %get.artifact, "asked for an unknown artifact");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot read an artifact");
                }
            }
        }
    }

    async fn send(&self, device: &DeviceId, artifact: &Served, get: Get) {
        let topic = Full { prefix: &self.prefix, device, rest: Down::Block(artifact.id) }.to_string();
        let wanted = (0..32).filter(|bit| get.bitmap & 1 << bit != 0);
        for index in wanted.filter_map(|bit: u32| get.base.checked_add(bit)) {
            let Some(bytes) = block(artifact, index) else { return };
            let mut payload = Vec::with_capacity(HEAD_BYTES + bytes.len());
            if minicbor::encode(Block { index, bytes }, &mut payload).is_err() {
                return;
            }
            // Fails when the service is stopping only.
            let properties = PublishProperties::default();
            if self.client.publish(&topic, QoS::AtMostOnce, false, payload, properties).await.is_err() {
                return;
            }
        }
    }

    async fn artifact(&mut self, id: ArtifactId) -> Result<Option<Arc<Served>>, StoreError> {
        if let Some(found) = self.cache.get(&id) {
            return Ok(Some(found));
        }
        let payloads = Arc::clone(&self.payloads);
        let read = move || payloads.lock().unwrap_or_else(PoisonError::into_inner).artifact(&id);
        let read = tokio::task::spawn_blocking(read).await.unwrap_or(Ok(None))?;
        Ok(read.map(|artifact| self.cache.put(artifact)))
    }

    fn is_registered(&self, device: &DeviceId) -> bool {
        self.claimed.read().unwrap_or_else(PoisonError::into_inner).contains(device)
    }
}

/// The bytes of one block: 0 is the manifest, the rest the pieces of the payload.
fn block(artifact: &Served, index: u32) -> Option<&[u8]> {
    let Some(piece) = index.checked_sub(1) else { return Some(&artifact.manifest) };
    let size = usize::from(artifact.block_bytes);
    let start = usize::try_from(piece).ok()?.checked_mul(size)?;
    let end = start.saturating_add(size).min(artifact.payload.len());
    artifact.payload.get(start..end).filter(|bytes| !bytes.is_empty())
}

/// The artifacts used last, newest first.
#[derive(Default)]
struct Cache(VecDeque<Arc<Served>>);

impl Cache {
    fn get(&mut self, id: &ArtifactId) -> Option<Arc<Served>> {
        let at = self.0.iter().position(|artifact| artifact.id == *id)?;
        let found = self.0.remove(at)?;
        self.0.push_front(Arc::clone(&found));
        Some(found)
    }

    fn put(&mut self, artifact: Served) -> Arc<Served> {
        let artifact = Arc::new(artifact);
        self.0.push_front(Arc::clone(&artifact));
        let size = |artifact: &Arc<Served>| artifact.payload.len() + artifact.manifest.len();
        while self.0.len() > 1 && self.0.iter().map(size).sum::<usize>() > CACHE_BYTES {
            self.0.pop_back();
        }
        artifact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(id: u8, payload: usize) -> Served {
        Served {
            id: ArtifactId([id; 8]),
            block_bytes: 256,
            manifest: Bytes::from_static(b"manifest"),
            payload: (0..payload).map(|byte| byte as u8).collect::<Vec<u8>>().into(),
        }
    }

    #[test]
    fn block_zero_is_the_manifest_and_the_last_one_is_short() {
        let artifact = artifact(1, 600);
        assert_eq!(block(&artifact, 0), Some(&b"manifest"[..]));
        assert_eq!(block(&artifact, 1).map(<[u8]>::len), Some(256));
        assert_eq!(block(&artifact, 3).map(<[u8]>::len), Some(88));
        assert_eq!(block(&artifact, 4), None);
        assert_eq!(block(&artifact, u32::MAX), None);
    }

    #[test]
    fn the_cache_forgets_what_was_used_longest_ago() {
        let mut cache = Cache::default();
        for id in 0..4 {
            cache.put(artifact(id, CACHE_BYTES / 3));
            cache.get(&ArtifactId([0; 8]));
        }
        assert!(cache.get(&ArtifactId([0; 8])).is_some());
        assert!(cache.get(&ArtifactId([3; 8])).is_some());
        assert!(cache.get(&ArtifactId([1; 8])).is_none());
    }
}
