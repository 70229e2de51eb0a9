//! COSE_Sign1 (RFC 9052, section 4.2) around whatever devices believe only with a signature, with EdDSA over
//! Ed25519 (RFC 9053, section 2.2).
//!
//! Only the one form this system writes is accepted: tagged, one algorithm, the key id in the
//! unprotected header, the payload attached. What is meant for one device is bound to it by external data,
//! see [`Audience`]. Verifying is the caller's: this module says which bytes were signed.

use minicbor::{
    Decoder, Encoder,
    data::Tag,
    encode::write::{Cursor, EndOfSlice},
};

use crate::{DeviceId, KeyId, id::MAX_NAME_BYTES, topic};

/// COSE_Sign1's CBOR tag.
const TAG: Tag = Tag::new(18);
/// The protected header, `{1: -8}`: algorithm EdDSA.
const PROTECTED: [u8; 3] = [0xa1, 0x01, 0x27];
/// The label of the key id in the unprotected header.
const KEY_ID: u8 = 4;
/// Length of an Ed25519 signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of a message around its payload, at most.
pub const OVERHEAD_BYTES: usize = 1 + 1 + 4 + 11 + 5 + 2 + SIGNATURE_BYTES;
/// Longest external data, in bytes: device, slash, topic.
const EXTERNAL_BYTES: usize = MAX_NAME_BYTES + 1 + topic::MAX_BYTES;
/// Bytes of a Sig_structure before its payload, at most.
const HEAD_BYTES: usize = 1 + 11 + 4 + 2 + EXTERNAL_BYTES + 5;

/// A signed message as received; nothing in it has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign1<'a> {
    /// Which key is said to have signed.
    pub key: KeyId,
    /// What is said to be signed.
    pub payload: &'a [u8],
    /// The signature over [`signed_head`] and the payload.
    pub signature: &'a [u8; SIGNATURE_BYTES],
}

/// The bytes are not a COSE_Sign1 of the form this system uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not a COSE_Sign1 with EdDSA, a key id and an attached payload")
    }
}

impl core::error::Error for Malformed {}

impl<'a> Sign1<'a> {
    /// Reads one message that fills `bytes` completely.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse(bytes).ok().flatten().ok_or(Malformed)
    }

    fn parse(bytes: &'a [u8]) -> Result<Option<Self>, minicbor::decode::Error> {
        let mut d = Decoder::new(bytes);
        if d.tag()? != TAG || d.array()? != Some(4) || d.bytes()? != PROTECTED {
            return Ok(None);
        }
        if d.map()? != Some(1) || d.u8()? != KEY_ID {
            return Ok(None);
        }
        let key = d.decode()?;
        let payload = d.bytes()?;
        let Ok(signature) = d.bytes()?.try_into() else {
            return Ok(None);
        };
        Ok((d.position() == bytes.len()).then_some(Sign1 { key, payload, signature }))
    }

    /// Writes the message into `out` and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, TooLarge> {
        let mut e = Encoder::new(Cursor::new(out));
        e.tag(TAG)
            .and_then(|e| e.array(4)?.bytes(&PROTECTED)?.map(1)?.u8(KEY_ID)?.encode(self.key))
            .and_then(|e| e.bytes(self.payload)?.bytes(self.signature)?.ok())
            .map_err(TooLarge::from)?;
        Ok(e.into_writer().position())
    }
}

/// The output has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl core::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("more bytes than have room in a signed message; shorten names and versions")
    }
}

impl core::error::Error for TooLarge {}

impl From<minicbor::encode::Error<EndOfSlice>> for TooLarge {
    fn from(_: minicbor::encode::Error<EndOfSlice>) -> Self {
        TooLarge
    }
}

/// For whom a signature holds, of those who trust its key. It is no part of the message: who verifies a signature knows
/// who it is and where the message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Everyone, wherever it comes: manifests and keyrings. There is no external data.
    Everyone,
    /// One device on one topic. The external data is `{device}/{topic}` in UTF-8.
    Device {
        /// The device.
        id: &'a DeviceId,
        /// The topic below the device's, as [`topic::Down`] writes it.
        topic: &'a str,
    },
}

/// What a signature covers before the payload, which follows it: the rest of the Sig_structure of RFC 9052,
/// section 4.4.
pub struct SignedHead {
    bytes: [u8; HEAD_BYTES],
    len: usize,
}

impl AsRef<[u8]> for SignedHead {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What is signed before a payload of this many bytes.
///
/// # Errors
/// If the topic of the audience is longer than [`topic::MAX_BYTES`].
pub fn signed_head(audience: Audience<'_>, payload_bytes: usize) -> Result<SignedHead, TooLarge> {
    let mut bytes = [0; HEAD_BYTES];
    let mut external = [0; EXTERNAL_BYTES];
    let external = audience.external(&mut external).ok_or(TooLarge)?;
    let mut e = Encoder::new(Cursor::new(&mut bytes[..]));
    e.array(4)
        .and_then(|e| {
            e.str("Signature1")?.bytes(&PROTECTED)?.bytes(external)?.bytes_len(payload_bytes as u64)?.ok()
        })
        .map_err(TooLarge::from)?;
    let len = e.into_writer().position();
    Ok(SignedHead { bytes, len })
}

impl Audience<'_> {
    /// The external data, written to the start of `out`.
    fn external<'o>(&self, out: &'o mut [u8]) -> Option<&'o [u8]> {
        let Audience::Device { id, topic } = self else { return Some(&[]) };
        let mut len = 0;
        for part in [id.as_str(), "/", topic] {
            out.get_mut(len..len + part.len())?.copy_from_slice(part.as_bytes());
            len += part.len();
        }
        out.get(..len)
    }
}
