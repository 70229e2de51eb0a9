//! Signatures of frames (MAVLink guide, Message signing): the first 48 bits of SHA-256 over the key and the frame, with
//! a time that each frame of a stream has to itself, so that none is heard twice.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

use super::KEY_BYTES;

const TIME_BYTES: usize = 6;
const VALUE_BYTES: usize = 6;
/// Times count from 1 January 2015, in seconds of Unix time.
const EPOCH_S: u64 = 1_420_070_400;
/// How late a stream that was not heard before may be, in units of 10 microseconds: a minute.
const LATE: u64 = 60 * 100_000;

/// Which system and component sends on which link.
type StreamId = (u8, u8, u8);

pub(super) struct Signing {
    key: [u8; KEY_BYTES],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest time that was sent or heard, in units of 10 microseconds.
    time: u64,
    /// The time of the last frame of each stream.
    streams: BTreeMap<StreamId, u64>,
}

impl Signing {
    pub(super) fn new(key: [u8; KEY_BYTES]) -> Self {
        Signing { key, state: Mutex::default() }
    }

    /// Fills in the signature that a frame ends with.
    pub(super) fn sign(&self, frame: &mut [u8]) {
        let time = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Later than the one before, however fast they follow.
            state.time = (state.time + 1).max(now());
            state.time.to_le_bytes()
        };
        let Some(signed) = frame.len().checked_sub(VALUE_BYTES) else { return };
        if let Some(place) = frame.get_mut(signed - TIME_BYTES..signed) {
            place.copy_from_slice(&time[..TIME_BYTES]);
        }
        let value = self.value(&frame[..signed]);
        frame[signed..].copy_from_slice(&value);
    }

    /// Whether a frame of this sender is signed with the key and newer than those before.
    pub(super) fn is_valid(&self, system: u8, component: u8, frame: &[u8]) -> bool {
        let Some((signed, value)) = frame.split_last_chunk::<VALUE_BYTES>() else { return false };
        let Some((rest, time)) = signed.split_last_chunk::<TIME_BYTES>() else { return false };
        let Some(link) = rest.last() else { return false };
        let [t0, t1, t2, t3, t4, t5] = *time;
        let time = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, 0, 0]);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.time = state.time.max(now());
        let stream = (*link, system, component);
        let is_new = match state.streams.get(&stream) {
            Some(last) => time > *last,
            None => time + LATE >= state.time,
        };
        let is_valid = is_new && self.value(signed) == *value;
        if is_valid {
            state.streams.insert(stream, time);
            state.time = state.time.max(time);
        }
        is_valid
    }

    fn value(&self, signed: &[u8]) -> [u8; VALUE_BYTES] {
        let digest: [u8; 32] = Sha256::new().chain_update(self.key).chain_update(signed).finalize().into();
        let [v0, v1, v2, v3, v4, v5, ..] = digest;
        [v0, v1, v2, v3, v4, v5]
    }
}

/// In units of 10 microseconds since the epoch of signatures.
fn now() -> u64 {
    let epoch = UNIX_EPOCH + Duration::from_secs(EPOCH_S);
    let since = SystemTime::now().duration_since(epoch).unwrap_or_default();
    u64::try_from(since.as_micros() / 10).unwrap_or(u64::MAX >> 16)
}
