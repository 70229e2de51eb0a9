//! Hashes, keys that the device keeps, encryption, signatures and randomness.
//!
//! On Linux and RISC-V devices. Each call takes at most 64 KiB. A key is one of 8 that the device makes for each
//! module, numbered from 0; it never enters the module's memory, and an update of the module keeps it.

use crate::{Errno, Result, errno::check, raw};

/// What [`seal`] adds to the bytes it encrypts.
pub const SEAL_BYTES: usize = 28;

/// The SHA-256 of bytes.
///
/// # Errors
/// `TooLong` above 64 KiB.
pub fn sha256(bytes: &[u8]) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    // SAFETY: pointer and length are those of a slice; the device writes 32 bytes.
    check(unsafe { raw::sha256(bytes.as_ptr(), bytes.len(), out.as_mut_ptr()) })?;
    Ok(out)
}

/// The HMAC-SHA-256 of bytes.
///
/// # Errors
/// `NotFound` if there is no such key, `Unsupported` if the device keeps none.
pub fn hmac_sha256(key: u8, bytes: &[u8]) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    // SAFETY: as for `sha256`.
    check(unsafe { raw::hmac_sha256(key.into(), bytes.as_ptr(), bytes.len(), out.as_mut_ptr()) })?;
    Ok(out)
}

/// Encrypts bytes and authenticates them together with `aad` (at most 64 bytes), which stays readable.
///
/// # Errors
/// As for [`hmac_sha256`]; `NoSpace` if `out` is not [`SEAL_BYTES`] longer than the bytes.
pub fn seal<'o>(key: u8, aad: &[u8], bytes: &[u8], out: &'o mut [u8]) -> Result<&'o mut [u8]> {
    // SAFETY: all pointers go with the length of what they point to.
    let answer = unsafe {
        raw::seal(
            key.into(),
            aad.as_ptr(),
            aad.len(),
            bytes.as_ptr(),
            bytes.len(),
            out.as_mut_ptr(),
            out.len(),
        )
    };
    out.get_mut(..check(answer)? as usize).ok_or(Errno::NoSpace)
}

/// Decrypts what [`seal`] made with the same key and `aad`.
///
/// # Errors
/// As for [`seal`]; `Forged` if it was not made so.
pub fn open<'o>(key: u8, aad: &[u8], sealed: &[u8], out: &'o mut [u8]) -> Result<&'o mut [u8]> {
    // SAFETY: as for `seal`.
    let answer = unsafe {
        raw::open(
            key.into(),
            aad.as_ptr(),
            aad.len(),
            sealed.as_ptr(),
            sealed.len(),
            out.as_mut_ptr(),
            out.len(),
        )
    };
    out.get_mut(..check(answer)? as usize).ok_or(Errno::NoSpace)
}

/// The Ed25519 public key of a key.
///
/// # Errors
/// As for [`hmac_sha256`].
pub fn public_key(key: u8) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    // SAFETY: the device writes 32 bytes.
    check(unsafe { raw::ed25519_public(key.into(), out.as_mut_ptr()) })?;
    Ok(out)
}

/// Signs bytes with Ed25519.
///
/// # Errors
/// As for [`hmac_sha256`].
pub fn sign(key: u8, bytes: &[u8]) -> Result<[u8; 64]> {
    let mut out = [0; 64];
    // SAFETY: pointer and length are those of a slice; the device writes 64 bytes.
    check(unsafe { raw::ed25519_sign(key.into(), bytes.as_ptr(), bytes.len(), out.as_mut_ptr()) })?;
    Ok(out)
}

/// Checks an Ed25519 signature.
///
/// # Errors
/// `Forged` if it is not one of these bytes by this key.
pub fn verify(public_key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> Result<()> {
    // SAFETY: pointer and length are those of a slice, and the others are as long as the device reads.
    let answer =
        unsafe { raw::ed25519_verify(public_key.as_ptr(), bytes.as_ptr(), bytes.len(), signature.as_ptr()) };
    check(answer).map(drop)
}

/// Fills bytes at random, fit for keys.
///
/// # Errors
/// `Unsupported` if the device has no randomness.
pub fn random(out: &mut [u8]) -> Result<()> {
    // SAFETY: pointer and length are those of a slice.
    check(unsafe { raw::random(out.as_mut_ptr(), out.len()) }).map(drop)
}
