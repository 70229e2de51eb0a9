//! Signed firmware files, `NAME.wbfw`: what is pushed, and what devices are flashed with at the factory.
//!
//! ```text
//! magic      "WBFW"
//! version    u8, 1; then 3 bytes of zero
//! manifest   u32 little-endian length, COSE_Sign1 (wasmbed_wire::sign1) of a firmware's manifest
//! metadata   u32 little-endian length, JSON: release notes and facts about the build, not signed
//! payload    the flat image, up to the end
//! ```
//!
//! [`FirmwareFile::parse`] only takes a file apart. What it says is believed after
//! [`FirmwareFile::verify_payload`] and a check of the signature ([`super::Trust`]).

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmbed_update::artifact_id;
use wasmbed_wire::{
    ArtifactId, Digest,
    limits::{MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES},
    manifest::{Kind, Manifest},
    sign1::Sign1,
};

/// The first four bytes of a signed firmware file.
pub const MAGIC: [u8; 4] = *b"WBFW";
/// The only version of the format.
const FORMAT: u8 = 1;
/// Longest metadata, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;

/// A signed firmware file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFile {
    /// The signed manifest.
    pub manifest: Bytes,
    /// What people and build servers want to know.
    pub metadata: Metadata,
    /// The flat image.
    pub payload: Bytes,
}

/// What a firmware file says besides its manifest; not signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What is new, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Facts about the build.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build: BTreeMap<String, String>,
}

/// Why bytes are no usable firmware file.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareFileError {
    /// It begins with something else.
    #[error("it begins with {found}; a signed firmware file begins with \"WBFW\"")]
    Magic {
        /// The first bytes, as text.
        found: String,
    },
    /// It was written by a newer program.
    #[error("it has format version {found}; this program reads version {FORMAT}")]
    Format {
        /// Its version.
        found: u8,
    },
    /// It ends too early.
    #[error("it is cut short in its {part}: {needed} bytes are needed, {found} are left")]
    Truncated {
        /// The part that is not whole.
        part: &'static str,
        /// The bytes that part has to have.
        needed: usize,
        /// The bytes there are.
        found: usize,
    },
    /// A part is longer than allowed.
    #[error("its {part} has {found} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its size, in bytes.
        found: usize,
        /// The largest, in bytes.
        limit: usize,
    },
    /// The manifest cannot be read.
    #[error("its manifest is not the signed manifest of a firmware")]
    Manifest,
    /// The metadata cannot be read.
    #[error("its metadata is not the JSON it should be")]
    Metadata(#[source] serde_json::Error),
    /// The payload is not what the manifest promises.
    #[error(
        "its image has {found_bytes} bytes and SHA-256 {found}; its manifest promises {expected_bytes} \
             bytes and {expected}"
    )]
    Digest {
        /// SHA-256 of the payload.
        found: Digest,
        /// Size of the payload, in bytes.
        found_bytes: usize,
        /// SHA-256 in the manifest.
        expected: Digest,
        /// Size in the manifest, in bytes.
        expected_bytes: u32,
    },
}

impl FirmwareFile {
    /// Takes a file apart.
    ///
    /// # Errors
    /// If it is not of this format, or parts of it are missing or too large.
    pub fn parse(mut file: Bytes) -> Result<Self, FirmwareFileError> {
        if !file.starts_with(&MAGIC) {
            let found = format!("{:?}", String::from_utf8_lossy(file.get(..4).unwrap_or(&file)));
            return Err(FirmwareFileError::Magic { found });
        }
        let format = take(&mut file, "header", 8)?.get(4).copied().unwrap_or_default();
        if format != FORMAT {
            return Err(FirmwareFileError::Format { found: format });
        }
        let manifest = take_part(&mut file, "manifest", MAX_MANIFEST_BYTES)?;
        let metadata = take_part(&mut file, "metadata", MAX_METADATA_BYTES)?;
        let metadata = serde_json::from_slice(&metadata).map_err(FirmwareFileError::Metadata)?;
        check_size("image", file.len(), MAX_PAYLOAD_BYTES as usize)?;
        let file = FirmwareFile { manifest, metadata, payload: file };
        let size = file.manifest()?.size as usize;
        if file.payload.len() < size {
            let found = file.payload.len();
            return Err(FirmwareFileError::Truncated { part: "image", needed: size, found });
        }
        Ok(file)
    }

    /// The file as it is stored and sent.
    pub fn to_bytes(&self) -> Bytes {
        // Two texts always have a JSON form.
        let metadata = serde_json::to_vec(&self.metadata).unwrap_or_else(|_| b"{}".to_vec());
        let mut file = Vec::with_capacity(16 + self.manifest.len() + metadata.len() + self.payload.len());
        file.extend(MAGIC);
        file.extend([FORMAT, 0, 0, 0]);
        for part in [&self.manifest[..], &metadata] {
            file.extend((part.len() as u32).to_le_bytes());
            file.extend(part);
        }
        file.extend(&self.payload);
        file.into()
    }

    /// The manifest; nothing in it has been verified.
    ///
    /// # Errors
    /// If it cannot be read or describes something else than a firmware.
    pub fn manifest(&self) -> Result<Manifest<'_>, FirmwareFileError> {
        let signed = Sign1::decode(&self.manifest).map_err(|_| FirmwareFileError::Manifest)?;
        let manifest: Manifest<'_> =
            minicbor::decode(signed.payload).map_err(|_| FirmwareFileError::Manifest)?;
        let is_whole = manifest.kind == Kind::Firmware && manifest.board.is_some();
        if !is_whole || manifest.block_bytes == 0 || manifest.size == 0 {
            return Err(FirmwareFileError::Manifest);
        }
        Ok(manifest)
    }

    /// The artifact's id.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn artifact(&self) -> Result<ArtifactId, FirmwareFileError> {
        let signed = Sign1::decode(&self.manifest).map_err(|_| FirmwareFileError::Manifest)?;
        Ok(artifact_id(signed.payload))
    }

    /// Holds the payload against the manifest.
    ///
    /// # Errors
    /// If it has another size or SHA-256 than the manifest promises.
    pub fn verify_payload(&self) -> Result<(), FirmwareFileError> {
        let manifest = self.manifest()?;
        let found = Digest(Sha256::digest(&self.payload).into());
        if found == manifest.digest && self.payload.len() == manifest.size as usize {
            return Ok(());
        }
        Err(FirmwareFileError::Digest {
            found,
            found_bytes: self.payload.len(),
            expected: manifest.digest,
            expected_bytes: manifest.size,
        })
    }
}

fn take(file: &mut Bytes, part: &'static str, bytes: usize) -> Result<Bytes, FirmwareFileError> {
    if file.len() < bytes {
        return Err(FirmwareFileError::Truncated { part, needed: bytes, found: file.len() });
    }
    Ok(file.split_to(bytes))
}

fn take_part(file: &mut Bytes, part: &'static str, limit: usize) -> Result<Bytes, FirmwareFileError> {
    let len = take(file, part, 4)?.get_u32_le() as usize;
    check_size(part, len, limit)?;
    take(file, part, len)
}

const fn check_size(part: &'static str, found: usize, limit: usize) -> Result<(), FirmwareFileError> {
    if found > limit { Err(FirmwareFileError::TooLarge { part, found, limit }) } else { Ok(()) }
}
