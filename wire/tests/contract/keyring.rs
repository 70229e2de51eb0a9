//! Keyrings: whom a device trusts from now on.

use ed25519_compact::Signature;
use expect_test::expect;
use wasmbed_wire::{
    PublicKey, Seq,
    keyring::{Keyring, Role, Roles, TrustedKey, UnknownRole},
    limits::{MAX_KEYRING_BYTES, MAX_KEYS},
    sign1::{Audience, Sign1},
};

use super::{
    samples::samples,
    signed::{covered, hex, key_pair, sign},
};

fn keyring_bytes() -> Vec<u8> {
    samples().into_iter().find(|sample| sample.name == "Keyring").expect("a sample").bytes
}

#[test]
fn a_signed_keyring_is_these_bytes() {
    expect!["d28443a10127a10448c0010203040506075864a30005011a6b49d2000282a3005820e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e201181f021a713fb300a3005820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1010a021a713fb3005840c82df9c7d63f4a6cad6dfef8a375d395d436b351cf61aefc4b565aeb25891f6905518ab3967adba7903b21754bd31a1aba7e247a352b47d718d1d07edd7abd02"].assert_eq(&hex(&sign(&keyring_bytes())));
}

#[test]
fn a_signed_keyring_is_verified_and_read() {
    let message = sign(&keyring_bytes());
    let received = Sign1::decode(&message).expect("well-formed");
    let covered = covered(Audience::Everyone, received.payload);
    assert!(key_pair().pk.verify(covered, &Signature::new(*received.signature)).is_ok());
    let keyring = minicbor::decode::<Keyring>(received.payload).expect("readable");
    let of_roles: Vec<Vec<Role>> = keyring.keys.iter().map(|key| key.roles.iter().collect()).collect();
    assert_eq!(keyring.version, 5);
    assert_eq!(of_roles, [Role::ALL.to_vec(), vec![Role::Firmware, Role::Patch]]);
}

#[test]
fn a_keyring_is_not_read_as_a_manifest_nor_a_manifest_as_a_keyring() {
    assert!(minicbor::decode::<wasmbed_wire::manifest::Manifest>(&keyring_bytes()).is_err());
    let manifest = samples().into_iter().find(|sample| sample.name == "Manifest").expect("a sample").bytes;
    assert!(minicbor::decode::<Keyring>(&manifest).is_err());
}

#[test]
fn the_largest_keyring_fits() {
    // Roles of later versions need a byte more.
    let roles: Roles = minicbor::decode(&[0x18, 0xff]).expect("a number");
    let key = TrustedKey { key: PublicKey([0xff; 32]), roles, not_after_s: Some(u32::MAX) };
    let keys = [key; MAX_KEYS];
    let keyring = Keyring { version: u32::MAX, issued_s: u32::MAX, keys: Seq::new(&keys) };
    let signed = sign(&minicbor::to_vec(keyring).expect("vectors grow"));
    assert!(signed.len() <= MAX_KEYRING_BYTES, "{} bytes", signed.len());
}

#[test]
fn roles_are_bits_by_number() {
    for (bit, role) in Role::ALL.into_iter().enumerate() {
        let roles = Roles::default().with(role);
        assert_eq!(minicbor::to_vec(roles).expect("vectors grow"), [1 << bit]);
        assert_eq!(roles.iter().collect::<Vec<_>>(), [role]);
        assert!(Role::ALL.into_iter().all(|other| roles.contains(other) == (other == role)));
    }
    assert_eq!(Roles::from_iter(Role::ALL), Roles::ALL);
    assert_eq!(Roles::default().iter().count(), 0);
    // A role of a later version is no role of this one.
    let later: Roles = minicbor::decode(&[0x18, 0b1010_0010]).expect("a number");
    assert_eq!(later.iter().collect::<Vec<_>>(), [Role::Firmware]);
}

#[test]
fn a_role_is_read_by_its_name_alone() {
    for role in Role::ALL {
        assert_eq!(role.name().parse(), Ok(role));
        assert_eq!(role.to_string(), role.name());
    }
    for text in ["", "Root", "root ", "modules"] {
        assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text}");
    }
}
