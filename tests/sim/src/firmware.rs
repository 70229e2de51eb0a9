//! Firmware images and patches, properly signed, and what a device does that runs them.

use sha2::{Digest as _, Sha256};
use wasmbed_wire::{
    ArtifactId, Digest,
    manifest::{Classes, Kind, Manifest, Patch, Trial},
};

use crate::{
    artifact::{Artifact, CLASS, RUNTIME, TRUSTED},
    rng::Rng,
};

/// Size of every block but the last of an image or a patch, in bytes.
pub const FIRMWARE_BLOCK_BYTES: u16 = 512;
/// The board of every simulated device.
pub(crate) const BOARD: &str = "simulated";

/// A firmware that the fleet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Its artifact.
    pub artifact: ArtifactId,
    /// SHA-256 of the image.
    pub digest: Digest,
}

/// What becomes of a start with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It works.
    Well,
    /// It crashes at once.
    Panics,
    /// It hangs until the watchdog resets the device.
    Hangs,
    /// It works but never reaches the broker.
    Mute,
    /// It reaches the broker and fails its self-test.
    Unfit,
}

/// Describes a firmware; what is not said is as it should be.
#[derive(Debug, Clone)]
pub struct Build {
    pub(crate) payload: Vec<u8>,
    pub(crate) start: Start,
    version: &'static str,
    kind: Kind,
    size: u32,
    counter: u32,
    board: &'static str,
    trial: Option<Trial>,
    key: u8,
    spoilt: bool,
}

impl Build {
    /// A firmware of this size in bytes that works. Versions differ in a few bytes of every page.
    pub fn new(version: &'static str, size: usize) -> Self {
        let mut rng = Rng::seeded(4);
        let mut payload: Vec<u8> = (0..size).map(|_| rng.next() as u8).collect();
        let own = Sha256::digest(version);
        for page in payload.chunks_mut(4_096) {
            for (byte, own) in page.iter_mut().skip(100).zip(own) {
                *byte = own;
            }
        }
        Build {
            size: payload.len() as u32,
            payload,
            start: Start::Well,
            version,
            kind: Kind::Firmware,
            counter: 0,
            board: BOARD,
            trial: None,
            key: TRUSTED,
            spoilt: false,
        }
    }

    /// What becomes of a start with it.
    #[must_use]
    pub fn starting(self, start: Start) -> Self {
        Build { start, ..self }
    }

    /// Its security counter.
    #[must_use]
    pub fn counter(self, counter: u32) -> Self {
        Build { counter, ..self }
    }

    /// How it proves itself.
    #[must_use]
    pub fn trial(self, tries: u8, confirm_s: u16) -> Self {
        Build { trial: Some(Trial { tries, confirm_s }), ..self }
    }

    /// Made for another board.
    #[must_use]
    pub fn for_board(self, board: &'static str) -> Self {
        Build { board, ..self }
    }

    /// Signed as something else than a firmware.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Self {
        Build { kind, ..self }
    }

    /// Signed with this size in bytes, whatever it is.
    #[must_use]
    pub fn claiming_size(self, size: u32) -> Self {
        Build { size, ..self }
    }

    /// Signed with the key of this number.
    #[must_use]
    pub fn signed_by(self, key: u8) -> Self {
        Build { key, ..self }
    }

    /// The payload served is not the one that was signed.
    #[must_use]
    pub fn with_spoilt_payload(self) -> Self {
        Build { spoilt: true, ..self }
    }

    pub(crate) fn make(&self) -> Artifact {
        let manifest = Manifest {
            kind: self.kind,
            name: "firmware".parse().expect("a name"),
            version: self.version,
            classes: Classes::default().with(CLASS),
            runtime: RUNTIME,
            size: self.size,
            digest: Digest(Sha256::digest(&self.payload).into()),
            block_bytes: FIRMWARE_BLOCK_BYTES,
            board: Some(self.board.parse().expect("a board name")),
            counter: self.counter,
            patch: None,
            trial: self.trial,
            capabilities: 0,
            stack_bytes: 0,
        };
        let mut payload = self.payload.clone();
        if self.spoilt {
            payload[0] ^= 1;
        }
        Artifact::new(&manifest, self.key, &payload)
    }
}

/// Describes a patch from one image to another; what is not said is as it should be.
#[derive(Debug, Clone)]
pub struct Delta {
    pub(crate) payload: Vec<u8>,
    pub(crate) base: Image,
    pub(crate) makes: Image,
    pub(crate) key: u8,
}

impl Delta {
    /// Signed for another base than it was made from.
    #[must_use]
    pub fn claiming_base(self, base: Image) -> Self {
        Delta { base, ..self }
    }

    /// Signed for another result than it makes.
    #[must_use]
    pub fn claiming_to_make(self, makes: Image) -> Self {
        Delta { makes, ..self }
    }

    /// Signed with the key of this number.
    #[must_use]
    pub fn signed_by(self, key: u8) -> Self {
        Delta { key, ..self }
    }

    /// With these bytes instead of a patch.
    #[must_use]
    pub fn of_bytes(self, payload: Vec<u8>) -> Self {
        Delta { payload, ..self }
    }

    pub(crate) fn make(&self) -> Artifact {
        let manifest = Manifest {
            kind: Kind::Patch,
            name: "firmware".parse().expect("a name"),
            version: "0.0.0",
            classes: Classes::default().with(CLASS),
            runtime: RUNTIME,
            size: self.payload.len() as u32,
            digest: Digest(Sha256::digest(&self.payload).into()),
            block_bytes: FIRMWARE_BLOCK_BYTES,
            board: Some(BOARD.parse().expect("a board name")),
            counter: 0,
            patch: Some(Patch { base: self.base.digest, image: self.makes.digest }),
            trial: None,
            capabilities: 0,
            stack_bytes: 0,
        };
        Artifact::new(&manifest, self.key, &self.payload)
    }
}
