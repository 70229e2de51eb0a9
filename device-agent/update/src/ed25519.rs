//! Verification of Ed25519 signatures (RFC 8032, section 5.1.7) on a small stack.
//!
//! Tables of multiples, which make libraries fast, take 4 KB; a board with 16 KB of memory has no room for them. So
//! both products of the equation are summed bit by bit here. What is verified is public: how long it takes says
//! nothing to anybody.
//!
//! Where something is not inlined, what one step needs must not lie below what the next one does.

use curve25519_dalek::{
    EdwardsPoint, Scalar, constants::ED25519_BASEPOINT_POINT, edwards::CompressedEdwardsY,
    traits::Identity as _,
};
use sha2::{Digest as _, Sha512};
use wasmbed_wire::{
    PublicKey,
    sign1::{Audience, Sign1, signed_head},
};

/// Bits of a scalar.
const SCALAR_BITS: usize = 253;

/// Whether this key made the signature, for this audience.
#[inline(never)]
pub(crate) fn is_signed_by(key: &PublicKey, signed: &Sign1<'_>, audience: Audience<'_>) -> bool {
    let ([commitment, response], []) = signed.signature.as_chunks() else { return false };
    let (mut point, mut s, mut k) = (EdwardsPoint::identity(), Scalar::ZERO, Scalar::ZERO);
    read_point(key, &mut point).is_some()
        && read_scalar(response, &mut s).is_some()
        && read_challenge(key, commitment, signed.payload, audience, &mut k).is_some()
        && is_sum(&s, &k, &point, commitment)
}

/// The negated point of the key; `None` if it is none, or one of those for which anybody can sign.
#[inline(never)]
fn read_point(key: &PublicKey, out: &mut EdwardsPoint) -> Option<()> {
    *out = -CompressedEdwardsY(key.0).decompress()?;
    (!out.is_small_order()).then_some(())
}

/// `None` if it is not below the order of the group.
#[inline(never)]
fn read_scalar(bytes: &[u8; 32], out: &mut Scalar) -> Option<()> {
    *out = Option::from(Scalar::from_canonical_bytes(*bytes))?;
    Some(())
}

/// What binds the signature to key, audience and message; `None` if there is no such topic.
#[inline(never)]
fn read_challenge(
    key: &PublicKey,
    commitment: &[u8; 32],
    payload: &[u8],
    audience: Audience<'_>,
    out: &mut Scalar,
) -> Option<()> {
    let mut wide = [0; 64];
    hash(&[commitment, &key.0, signed_head(audience, payload.len()).ok()?.as_ref(), payload], &mut wide);
    *out = Scalar::from_bytes_mod_order_wide(&wide);
    Some(())
}

#[inline(never)]
fn hash(parts: &[&[u8]], out: &mut [u8; 64]) {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize_into(out.into());
}

#[inline(never)]
fn is_sum(s: &Scalar, k: &Scalar, point: &EdwardsPoint, encoded: &[u8; 32]) -> bool {
    sum(s, k, point).compress().0 == *encoded
}

/// `s` times the base point plus `k` times `point`.
#[inline(never)]
fn sum(s: &Scalar, k: &Scalar, point: &EdwardsPoint) -> EdwardsPoint {
    let both = added(&ED25519_BASEPOINT_POINT, point);
    let mut sum = EdwardsPoint::identity();
    for nth in (0..SCALAR_BITS).rev() {
        sum = added(&sum, &sum);
        match (bit(s, nth), bit(k, nth)) {
            (true, true) => sum = added(&sum, &both),
            (true, false) => sum = added(&sum, &ED25519_BASEPOINT_POINT),
            (false, true) => sum = added(&sum, point),
            (false, false) => {}
        }
    }
    sum
}

#[inline(never)]
fn added(a: &EdwardsPoint, b: &EdwardsPoint) -> EdwardsPoint {
    a + b
}

fn bit(scalar: &Scalar, nth: usize) -> bool {
    scalar.as_bytes().get(nth / 8).is_some_and(|byte| byte >> (nth % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use ed25519_compact::{KeyPair, Seed};
    use proptest::prelude::*;
    use std::vec::Vec;
    use wasmbed_wire::{KeyId, limits::MAX_KEYRING_BYTES};

    use super::*;

    fn covered(payload: &[u8]) -> Vec<u8> {
        let head = signed_head(Audience::Everyone, payload.len()).expect("it fits");
        [head.as_ref(), payload].concat()
    }

    /// Whether we and another implementation believe this signature; both agree.
    fn is_believed(key: [u8; 32], payload: &[u8], signature: [u8; 64]) -> bool {
        let signed = Sign1 { key: KeyId([0; 8]), payload, signature: &signature };
        let ours = is_signed_by(&PublicKey(key), &signed, Audience::Everyone);
        let message = covered(payload);
        let signature = ed25519_compact::Signature::new(signature);
        let theirs = ed25519_compact::PublicKey::new(key).verify(message, &signature).is_ok();
        assert_eq!(ours, theirs);
        ours
    }

    fn signed(seed: [u8; 32], payload: &[u8]) -> ([u8; 32], [u8; 64]) {
        let pair = KeyPair::from_seed(Seed::new(seed));
        (*pair.pk, *pair.sk.sign(covered(payload), None))
    }

    proptest! {
        #[test]
        fn what_was_signed_is_believed_and_nothing_else(
            seed in any::<[u8; 32]>(),
            payload in prop::collection::vec(any::<u8>(), 0..MAX_KEYRING_BYTES),
            (at, bit) in (0..64_usize, 0..8_u32),
        ) {
            let (key, signature) = signed(seed, &payload);
            prop_assert!(is_believed(key, &payload, signature));
            let mut other = signature;
            other[at] ^= 1 << bit;
            prop_assert!(!is_believed(key, &payload, other));
            let mut other = key;
            other[at % 32] ^= 1 << bit;
            prop_assert!(!is_believed(other, &payload, signature));
            let other: Vec<u8> = payload.iter().copied().chain([1]).collect();
            prop_assert!(!is_believed(key, &other, signature));
        }

        #[test]
        fn noise_is_never_believed(key in any::<[u8; 32]>(), signature in any::<[[u8; 32]; 2]>()) {
            let mut whole = [0; 64];
            whole.as_chunks_mut().0.copy_from_slice(&signature);
            prop_assert!(!is_believed(key, b"noise", whole));
        }
    }

    #[test]
    fn a_response_above_the_order_is_refused() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (key, mut signature) = signed([7; 32], b"payload");
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!is_believed(key, b"payload", signature), "the same response modulo the order");
    }

    #[test]
    fn keys_with_which_anybody_signs_are_refused() {
        // The points of order 1, 2 and 4, and a signature that satisfies the equation with the first.
        let mut one = [0; 32];
        one[0] = 1;
        let minus_one = {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (0xec, 0x7f);
            bytes
        };
        for key in [one, minus_one, [0; 32]] {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&one);
            assert!(!is_believed(key, b"anything", signature));
        }
    }
}
