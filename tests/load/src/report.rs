//! What became of the devices of a swarm.

use std::time::Instant;

use wasmbed_wire::{
    DeviceId, Digest,
    message::{FirmwareReport, FirmwareState, Get, Reason},
};

/// One simulated device, as it sees itself.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which one.
    pub device: DeviceId,
    /// Whether its connection is up.
    pub is_online: bool,
    /// How often it started.
    pub starts: u32,
    /// Blocks it asked for, each as often as it did.
    pub asked: u64,
    /// Blocks that came, wanted or not.
    pub blocks: u64,
    /// The bytes in them.
    pub block_bytes: u64,
    /// When the first and the last block of a payload came, and how many bytes came after the first.
    pub pieces: Option<Pieces>,
    /// What it last said about its firmware.
    pub firmware: Option<FirmwareReport>,
    /// When it said something else than before.
    pub changes: Vec<Change>,
    /// Why it does not go on.
    pub failure: Option<String>,
}

/// The blocks of a payload, as they came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// The first one.
    pub first: Instant,
    /// The last one.
    pub last: Instant,
    /// Bytes in those after the first.
    pub bytes: u64,
}

/// A device got to another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// About which image.
    pub image: Digest,
    /// How far it is.
    pub state: FirmwareState,
    /// Why it got no further.
    pub reason: Option<Reason>,
}

impl Report {
    pub(crate) fn new(device: DeviceId) -> Self {
        Report {
            device,
            is_online: false,
            starts: 0,
            asked: 0,
            blocks: 0,
            block_bytes: 0,
            pieces: None,
            firmware: None,
            changes: Vec::new(),
            failure: None,
        }
    }

    /// Whether it runs this image for good.
    pub fn has_confirmed(&self, image: &Digest) -> bool {
        self.firmware
            .is_some_and(|firmware| firmware.image == *image && firmware.state == FirmwareState::Confirmed)
    }

    /// When it got to this state, the last time.
    pub fn reached(&self, state: FirmwareState) -> Option<Instant> {
        self.changes.iter().rev().find(|change| change.state == state).map(|change| change.at)
    }

    pub(crate) fn ask(&mut self, get: &Get) {
        self.asked += u64::from(get.bitmap.count_ones());
    }

    pub(crate) fn block(&mut self, index: u32, bytes: usize) {
        self.blocks += 1;
        self.block_bytes += bytes as u64;
        // Block 0 is the manifest; room is made between it and the rest.
        if index > 0 {
            let last = Instant::now();
            self.pieces = Some(match self.pieces {
                None => Pieces { first: last, last, bytes: 0 },
                Some(pieces) => Pieces { last, bytes: pieces.bytes + bytes as u64, ..pieces },
            });
        }
    }

    pub(crate) fn tell(&mut self, firmware: Option<FirmwareReport>) {
        if let Some(FirmwareReport { image, state, reason, .. }) = firmware {
            let change = Change { at: Instant::now(), image, state, reason };
            let last = self.changes.last();
            if last.is_none_or(|last| (last.image, last.state, last.reason) != (image, state, reason)) {
                self.changes.push(change);
            }
        }
        self.firmware = firmware;
    }

    /// Counts from here on.
    pub(crate) fn forget(&mut self) {
        *self = Report {
            is_online: self.is_online,
            firmware: self.firmware,
            failure: self.failure.take(),
            ..Report::new(self.device)
        };
    }
}
