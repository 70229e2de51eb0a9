//! Firmware images, and a fleet that offers them.

use std::{process::Command, sync::OnceLock};

use ed25519_compact::KeyPair;
use sha2::{Digest as _, Sha256};
use wasmbed_runtime::Target;
use wasmbed_wire::{
    ArtifactId, Digest,
    limits::Class,
    manifest::{Classes, Kind, Manifest, Trial},
    message::{DesiredFirmware, FirmwareReport, FirmwareState},
};

use crate::fleet::{Fleet, keys};

pub(crate) const BLOCK_BYTES: u16 = 16 << 10;

/// The agent as an image: the same program, but another image for each name.
pub(crate) fn agent(name: &str) -> Vec<u8> {
    static STRIPPED: OnceLock<Vec<u8>> = OnceLock::new();
    let stripped = STRIPPED.get_or_init(|| {
        let whole = env!("CARGO_BIN_EXE_wasmbed-agent");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stripped");
        // Symbols are most of it, and do nothing here; without binutils they stay.
        let strip = Command::new("strip").arg("-o").arg(&path).arg(whole).status();
        let is_stripped = strip.is_ok_and(|status| status.success());
        std::fs::read(if is_stripped { path } else { whole.into() }).unwrap()
    });
    // What follows an executable's last section is nobody's.
    [stripped, name.as_bytes()].concat()
}

pub(crate) fn digest(image: &[u8]) -> Digest {
    Digest(Sha256::digest(image).into())
}

/// The manifest of an image as a release for this board; `tries` starts to prove itself.
pub(crate) fn manifest<'a>(version: &'a str, image: &[u8], tries: u8) -> Manifest<'a> {
    Manifest {
        kind: Kind::Firmware,
        name: "wasmbed-agent".parse().unwrap(),
        version,
        classes: Classes::default().with(Class::Mpu),
        runtime: Target::of(Class::Mpu).runtime_id(),
        size: image.len() as u32,
        digest: digest(image),
        block_bytes: BLOCK_BYTES,
        board: Some("linux".parse().unwrap()),
        counter: 1,
        patch: None,
        trial: Some(Trial { tries, confirm_s: 60 }),
        capabilities: 0,
        stack_bytes: 0,
    }
}

/// How this image is wished for.
pub(crate) fn wish(artifact: ArtifactId, image: &[u8]) -> DesiredFirmware {
    DesiredFirmware { artifact, image: digest(image), patch: None, generation: 0, confirm: None }
}

impl Fleet {
    pub(crate) fn publish_firmware(&self, version: &str, image: &[u8], tries: u8) -> DesiredFirmware {
        wish(self.publish(&manifest(version, image, tries), image, &keys(1)), image)
    }

    pub(crate) fn publish_firmware_signed(
        &self,
        manifest: &Manifest<'_>,
        image: &[u8],
        keys: &KeyPair,
    ) -> DesiredFirmware {
        wish(self.publish(manifest, image, keys), image)
    }

    /// Waits until the device says this about this image.
    pub(crate) fn wait_for_firmware(
        &mut self,
        wish: &DesiredFirmware,
        state: FirmwareState,
    ) -> FirmwareReport {
        let matches = |report: &FirmwareReport| (report.image, report.state) == (wish.image, state);
        let report = self.wait_for_report(|report| report.firmware.as_ref().is_some_and(matches));
        report.firmware.unwrap()
    }

    /// Wishes for an image, waits for its trial and confirms it.
    pub(crate) fn update_to(&mut self, revision: u64, wish: DesiredFirmware) {
        self.desire_firmware(revision, wish);
        let trial = self.wait_for_firmware(&wish, FirmwareState::Trial);
        assert_eq!(trial.since, Some(self.state().boot));
        let slots = self.info().slots.unwrap();
        assert_eq!(slots.running, Some(wish.image));
        self.desire_firmware(revision + 1, DesiredFirmware { confirm: trial.since, ..wish });
        self.wait_for_firmware(&wish, FirmwareState::Confirmed);
    }
}
