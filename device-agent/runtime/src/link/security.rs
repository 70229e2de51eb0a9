//! Calls for security. The host gives a module's secret and randomness; what is made of them is the same on
//! every device.
//!
//! Keys never enter the module's memory: each is derived from the secret, its number and its purpose, so that
//! a key for signatures says nothing about one for encryption.

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmbed_abi::{Call, Errno, KEYS, MAX_AAD_BYTES, MAX_SECURITY_BYTES, SEAL_BYTES, span};
use wasmtime::Caller;

use super::{Args, Copied, bytes, charge, memory};
use crate::{Host, instance::Guest, memory::View};

/// Operations on the curve that use up a call of the module. A share of the call and not an amount of fuel: boards
/// whose interpreter is slow for what their processor does would have none to spare for a single one.
const CURVE_OPERATIONS: u64 = 10;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What a key is for; part of its derivation, so that texts stay as they are.
const MAC: &str = "wasmbed hmac";
const SEAL: &str = "wasmbed seal";
const SIGN: &str = "wasmbed ed25519";

pub(super) fn answer<H: Host>(
    call: Call,
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    match call {
        Call::Sha256 => sha256(caller, args),
        Call::HmacSha256 => hmac_sha256(caller, args),
        Call::Seal => seal(caller, args),
        Call::Open => open(caller, args),
        Call::Ed25519Public => ed25519_public(caller, args),
        Call::Ed25519Sign => ed25519_sign(caller, args),
        Call::Ed25519Verify => ed25519_verify(caller, args),
        Call::Random => random(caller, args),
        _ => Err(Errno::Unsupported),
    }
}

fn sha256<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, _) = memory(caller)?;
    let given = bytes(&memory, args, MAX_SECURITY_BYTES)?;
    let (digest, len) = (Sha256::digest(&*given), given.len());
    store(&mut memory, args, &digest)?;
    charge(caller, len as u64);
    Ok(0)
}

fn hmac_sha256<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let key = key(caller, args, MAC)?;
    let (mut memory, _) = memory(caller)?;
    let given = bytes(&memory, args, MAX_SECURITY_BYTES)?;
    let (code, len) = (mac(&key, &[&given]), given.len());
    store(&mut memory, args, &code)?;
    charge(caller, len as u64);
    Ok(0)
}

fn seal<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let cipher = cipher(caller, args)?;
    let (mut memory, guest) = memory(caller)?;
    let aad = Aad::take(&memory, args)?;
    let given = span(memory.len(), args.i32(), args.i32(), MAX_SECURITY_BYTES)?;
    let len = given.len();
    let out = place(&memory, args, len + SEAL_BYTES)?;
    let mut nonce = [0; NONCE_BYTES];
    guest.host.random(&mut nonce)?;
    memory.copy_within(given, out.start + NONCE_BYTES)?;
    memory.edit(out.clone(), |out| {
        let (head, rest) = out.split_first_chunk_mut::<NONCE_BYTES>().ok_or(Errno::Fault)?;
        let (text, tail) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Errno::Fault)?;
        let tag = cipher
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), aad.get(), text)
            .map_err(|_| Errno::TooLong)?;
        (*head, *tail) = (nonce, tag.into());
        Ok(())
    })??;
    charge(caller, len as u64);
    i32::try_from(out.len()).map_err(|_| Errno::TooLong)
}

fn open<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let cipher = cipher(caller, args)?;
    let (mut memory, _) = memory(caller)?;
    let aad = Aad::take(&memory, args)?;
    let given = span(memory.len(), args.i32(), args.i32(), MAX_SECURITY_BYTES + SEAL_BYTES)?;
    let len = given.len().checked_sub(SEAL_BYTES).ok_or(Errno::Forged)?;
    let out = place(&memory, args, len)?;
    let sealed = memory.read(given.clone())?;
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Errno::Forged)?;
    let (_, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Errno::Forged)?;
    let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
    memory.copy_within(given.start + NONCE_BYTES..given.end - TAG_BYTES, out.start)?;
    let opened = memory.edit(out, |text| {
        let opened = cipher.decrypt_in_place_detached(&nonce, aad.get(), text, &tag);
        if opened.is_err() {
            text.fill(0);
        }
        opened
    })?;
    charge(caller, len as u64);
    opened.map_err(|_| Errno::Forged)?;
    i32::try_from(len).map_err(|_| Errno::TooLong)
}

fn ed25519_public<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let pair = KeyPair::from_seed(Seed::new(key(caller, args, SIGN)?));
    let (mut memory, _) = memory(caller)?;
    store(&mut memory, args, pair.pk.as_ref())?;
    charge_curve(caller, 1);
    Ok(0)
}

fn ed25519_sign<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let key = key(caller, args, SIGN)?;
    let (mut memory, _) = memory(caller)?;
    let given = bytes(&memory, args, MAX_SECURITY_BYTES)?;
    let signature = KeyPair::from_seed(Seed::new(key)).sk.sign(&*given, None);
    let len = given.len();
    store(&mut memory, args, signature.as_ref())?;
    charge_curve(caller, 2);
    charge(caller, len as u64);
    Ok(0)
}

fn ed25519_verify<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, _) = memory(caller)?;
    let public = PublicKey::new(array(&memory, args)?);
    let given = bytes(&memory, args, MAX_SECURITY_BYTES)?;
    let signature = Signature::new(array(&memory, args)?);
    let (verified, len) = (public.verify(&*given, &signature), given.len());
    charge_curve(caller, 2);
    charge(caller, len as u64);
    verified.map(|()| 0).map_err(|_| Errno::Forged)
}

/// Charges for operations on the curve.
fn charge_curve<H: Host>(caller: &mut Caller<'_, Guest<H>>, operations: u64) {
    let budget = caller.data().budget().unwrap_or_default();
    charge(caller, operations * (budget / CURVE_OPERATIONS));
}

fn random<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    let out = span(memory.len(), args.i32(), args.i32(), MAX_SECURITY_BYTES)?;
    let len = memory.fill(out, |out| {
        guest.host.random(out)?;
        Ok(out.len())
    })?;
    charge(caller, len as u64);
    Ok(0)
}

fn cipher<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<ChaCha20Poly1305, Errno> {
    key(caller, args, SEAL).map(|key| ChaCha20Poly1305::new(&key.into()))
}

/// The key whose number is the next argument.
fn key<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
    purpose: &str,
) -> Result<[u8; 32], Errno> {
    let number = u8::try_from(args.i32()).ok().filter(|number| *number < KEYS).ok_or(Errno::NotFound)?;
    let secret = caller.data_mut().host.secret()?;
    Ok(mac(&secret, &[purpose.as_bytes(), &[number]]))
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // Keys shorter than a block of the hash are not refused.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Data that is authenticated and not encrypted.
type Aad = Copied<MAX_AAD_BYTES>;

/// Where the module wants `len` bytes to be written: the next two arguments are a pointer and its room.
fn place(memory: &View<'_>, args: &mut Args<'_>, len: usize) -> Result<core::ops::Range<usize>, Errno> {
    let room = span(memory.len(), args.i32(), args.i32(), usize::MAX)?;
    if room.len() < len { Err(Errno::NoSpace) } else { Ok(room.start..room.start + len) }
}

/// Writes an answer of fixed length to the pointer that is the next argument.
fn store(memory: &mut View<'_>, args: &mut Args<'_>, answer: &[u8]) -> Result<(), Errno> {
    let len = i32::try_from(answer.len()).map_err(|_| Errno::TooLong)?;
    let out = span(memory.len(), args.i32(), len, usize::MAX)?;
    memory.write(out, answer)
}

/// The bytes at the pointer that is the next argument.
fn array<const LEN: usize>(memory: &View<'_>, args: &mut Args<'_>) -> Result<[u8; LEN], Errno> {
    let at = span(memory.len(), args.i32(), LEN as i32, LEN)?;
    memory.read(at)?.first_chunk().copied().ok_or(Errno::Fault)
}
