//! COSE_Sign1 (RFC 9052, section 4.2) around a manifest, with EdDSA over Ed25519 (RFC 9053, section
//! 2.2).
//!
//! Only the one form this system writes is accepted: tagged, one algorithm, the key id in the
//! unprotected header, the payload attached, no external data. Verifying is the caller's: this module
//! says which bytes were signed.

use minicbor::{
    Decoder, Encoder,
    data::Tag,
    encode::write::{Cursor, EndOfSlice},
};

use crate::{KeyId, limits::MAX_KEYRING_BYTES};

/// COSE_Sign1's CBOR tag.
const TAG: Tag = Tag::new(18);
/// The protected header, `{1: -8}`: algorithm EdDSA.
const PROTECTED: [u8; 3] = [0xa1, 0x01, 0x27];
/// The label of the key id in the unprotected header.
const KEY_ID: u8 = 4;
/// Length of an Ed25519 signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of a Sig_structure around its payload.
const STRUCTURE_BYTES: usize = 24;

/// A signed message as received; nothing in it has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign1<'a> {
    /// Which key is said to have signed.
    pub key: KeyId,
    /// What is said to be signed.
    pub payload: &'a [u8],
    /// The signature over [`signed_bytes`] of the payload.
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
        write!(f, "more than the {MAX_KEYRING_BYTES} bytes that can be signed; shorten names and versions")
    }
}

impl core::error::Error for TooLarge {}

impl From<minicbor::encode::Error<EndOfSlice>> for TooLarge {
    fn from(_: minicbor::encode::Error<EndOfSlice>) -> Self {
        TooLarge
    }
}

/// What a signature covers before the payload, which follows it: the rest of the Sig_structure of RFC 9052,
/// section 4.4.
pub struct SignedHead {
    bytes: [u8; STRUCTURE_BYTES],
    len: usize,
}

impl AsRef<[u8]> for SignedHead {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What is signed before a payload of this many bytes.
pub fn signed_head(payload_bytes: usize) -> Result<SignedHead, TooLarge> {
    if payload_bytes > MAX_KEYRING_BYTES {
        return Err(TooLarge);
    }
    let mut bytes = [0; STRUCTURE_BYTES];
    let mut e = Encoder::new(Cursor::new(&mut bytes[..]));
    e.array(4)
        .and_then(|e| {
            e.str("Signature1")?.bytes(&PROTECTED)?.bytes(&[])?.bytes_len(payload_bytes as u64)?.ok()
        })
        .map_err(TooLarge::from)?;
    let len = e.into_writer().position();
    Ok(SignedHead { bytes, len })
}

/// The exact bytes a signature covers: [`signed_head`] and the payload.
pub struct SignedBytes {
    bytes: [u8; MAX_KEYRING_BYTES + STRUCTURE_BYTES],
    len: usize,
}

impl AsRef<[u8]> for SignedBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What is signed for `payload`.
pub fn signed_bytes(payload: &[u8]) -> Result<SignedBytes, TooLarge> {
    let head = signed_head(payload.len())?;
    let mut bytes = [0; MAX_KEYRING_BYTES + STRUCTURE_BYTES];
    let len = head.len + payload.len();
    let (before, after) = bytes.get_mut(..len).ok_or(TooLarge)?.split_at_mut(head.len);
    before.copy_from_slice(head.as_ref());
    after.copy_from_slice(payload);
    Ok(SignedBytes { bytes, len })
}
