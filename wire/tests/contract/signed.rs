//! Manifests in COSE_Sign1 and provisioning blobs.

use ed25519_compact::{KeyPair, Noise, Seed, Signature};
use expect_test::expect;
use serde_cbor::Value;
use wasmbed_wire::{
    ArtifactId, Digest, KeyId, PublicKey, RuntimeId, Seq,
    limits::{BLOCK_BYTES, Class, MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES},
    manifest::{Classes, Kind, Manifest},
    provision::{HEADER_BYTES, MAX_BYTES, Provision, ProvisionError},
    sign1::{Malformed, SIGNATURE_BYTES, Sign1, TooLarge, signed_bytes},
};

use super::{
    samples::{parsed, samples},
    source::{self, Field, Shape},
};

const KEY: KeyId = KeyId([0xc0, 1, 2, 3, 4, 5, 6, 7]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_pair() -> KeyPair {
    KeyPair::from_seed(Seed::new([7; 32]))
}

fn manifest_bytes() -> Vec<u8> {
    samples().into_iter().find(|sample| sample.name == "Manifest").expect("a sample").bytes
}

fn sign(payload: &[u8]) -> Vec<u8> {
    let covered = signed_bytes(payload).expect("fits");
    // Without noise Ed25519 is deterministic, so that the bytes can be pinned.
    let signature = key_pair().sk.sign(covered, None::<Noise>);
    let mut out = [0; MAX_MANIFEST_BYTES];
    let sign1 = Sign1 { key: KEY, payload, signature: &signature };
    let len = sign1.encode(&mut out).expect("fits");
    out[..len].to_vec()
}

#[test]
fn the_signed_bytes_are_the_sig_structure() {
    let covered = signed_bytes(b"payload").expect("fits");
    // ["Signature1", << {1: -8} >>, h'', h'7061796c6f6164']
    expect!["846a5369676e61747572653143a1012740477061796c6f6164"].assert_eq(&hex(covered.as_ref()));
}

#[test]
fn a_signed_manifest_is_these_bytes() {
    expect!["d28443a10127a10448c0010203040506075849a800000166746865726d6f0265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1071902005840f8b83b6a7b040128be9d5f2a8788caaefb36c981a84c8982f6db82a89463c11279903e50b5e0b5c712cf532cec860fa07675a7f61b3c3265ff0863ff447cf900"].assert_eq(&hex(&sign(&manifest_bytes())));
}

#[test]
fn a_signature_verifies_over_what_was_received_and_over_nothing_else() {
    let message = sign(&manifest_bytes());
    let received = Sign1::decode(&message).expect("well-formed");
    assert_eq!((received.key, received.payload), (KEY, &manifest_bytes()[..]));
    let verify = |payload: &[u8]| {
        let covered = signed_bytes(payload).expect("fits");
        key_pair().pk.verify(covered, &Signature::new(*received.signature))
    };
    assert!(verify(received.payload).is_ok());
    for at in 0..received.payload.len() {
        let mut forged = received.payload.to_vec();
        forged[at] ^= 1;
        assert!(verify(&forged).is_err(), "byte {at}");
    }
}

#[test]
fn an_independent_reader_finds_a_cose_sign1() {
    let message = sign(&manifest_bytes());
    assert_eq!(message[0], 0xd2, "tag 18");
    let Ok(Value::Array(parts)) = serde_cbor::from_slice(&message) else { panic!("a tagged array") };
    let [Value::Bytes(protected), unprotected, Value::Bytes(payload), Value::Bytes(signature)] = &parts[..]
    else {
        panic!("protected, unprotected, payload, signature")
    };
    let algorithm = [(Value::Integer(1), Value::Integer(-8))].into();
    assert_eq!(serde_cbor::from_slice::<Value>(protected).ok(), Some(Value::Map(algorithm)));
    let key_id = [(Value::Integer(4), Value::Bytes(KEY.0.to_vec()))].into();
    assert_eq!(*unprotected, Value::Map(key_id));
    assert_eq!(*payload, manifest_bytes());
    assert_eq!(signature.len(), SIGNATURE_BYTES);
}

#[test]
fn the_schema_for_other_tools_has_the_same_fields() {
    let cddl = include_str!("../../manifest.cddl");
    let listed = cddl.lines().skip_while(|line| *line != "manifest = {").skip(1);
    let listed: Vec<_> = listed.take_while(|line| !line.contains('*')).map(str::trim).collect();
    let manifest = source::declared("manifest.rs").into_iter().find(|declared| declared.name == "Manifest");
    let Some(Shape::Map(fields)) = manifest.map(|manifest| manifest.kind) else { panic!("a map") };
    let line = |field: &Field| format!("{} => {},", field.number, field.name.replace('_', "-"));
    assert_eq!(listed, fields.iter().map(line).collect::<Vec<_>>());
}

#[test]
fn any_other_form_of_cose_is_refused() {
    let good = sign(b"payload");
    assert!(Sign1::decode(&good).is_ok());
    for len in 0..good.len() {
        assert_eq!(Sign1::decode(&good[..len]), Err(Malformed), "cut to {len} bytes");
    }
    assert_eq!(Sign1::decode(&[&good[..], &[0]].concat()), Err(Malformed), "a byte too many");
    assert_eq!(Sign1::decode(&good[1..]), Err(Malformed), "untagged");
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        assert_ne!(bytes[at], to);
        bytes[at] = to;
        Sign1::decode(&bytes).map(|sign1| sign1.key)
    };
    assert_eq!(changed(0, 0xd1), Err(Malformed), "COSE_Mac0's tag");
    assert_eq!(changed(1, 0x85), Err(Malformed), "five parts");
    assert_eq!(changed(5, 0x26), Err(Malformed), "another algorithm");
    assert_eq!(changed(6, 0xa2), Err(Malformed), "two unprotected headers");
    assert_eq!(changed(7, 0x05), Err(Malformed), "another header than the key id");
}

#[test]
fn the_largest_manifest_fits_and_a_larger_one_says_so() {
    let version = "10000.10000.10000-rc.1+0123456789";
    let manifest = Manifest {
        kind: Kind::Module,
        name: parsed(&"m".repeat(32)),
        version,
        classes: Classes::from_iter(Class::ALL),
        runtime: RuntimeId([0xff; 8]),
        size: MAX_PAYLOAD_BYTES,
        digest: Digest([0xff; 32]),
        block_bytes: *BLOCK_BYTES.end() as u16,
    };
    let payload = minicbor::to_vec(manifest).expect("vectors grow");
    assert!(sign(&payload).len() <= *BLOCK_BYTES.start() as usize, "{} bytes", sign(&payload).len());
    let large = [0; MAX_MANIFEST_BYTES + 10];
    assert!(signed_bytes(&large).is_err());
    let sign1 = Sign1 { key: KEY, payload: &payload, signature: &[0; SIGNATURE_BYTES] };
    let needed = sign1.encode(&mut [0; MAX_MANIFEST_BYTES]).expect("fits");
    for room in 0..needed {
        assert_eq!(sign1.encode(&mut vec![0; room]), Err(TooLarge), "{room} bytes");
    }
}

#[test]
fn blocks_are_counted_without_remainder_or_division_by_zero() {
    let manifest = |size, block_bytes| Manifest {
        kind: Kind::Module,
        name: parsed("m"),
        version: "1.0.0",
        classes: Classes::default(),
        runtime: RuntimeId([0; 8]),
        size,
        digest: Digest([0; 32]),
        block_bytes,
    };
    for (size, block, blocks) in [(0, 256, 0), (1, 256, 1), (256, 256, 1), (257, 256, 2), (5, 0, 5)] {
        assert_eq!(manifest(size, block).payload_blocks(), blocks);
    }
}

#[test]
fn classes_are_bits_by_number() {
    let classes: Classes = [Class::Mpu, Class::Riscv].into_iter().collect();
    assert_eq!(minicbor::to_vec(classes).expect("vectors grow"), [0b101]);
    assert_eq!(classes.iter().collect::<Vec<_>>(), [Class::Mpu, Class::Riscv]);
    assert!(!classes.contains(Class::Mcu) && !classes.is_empty() && Classes::default().is_empty());
    // A class of a later version is no class of this one.
    let later: Classes = minicbor::decode(&[0x18, 0b1000_0010]).expect("a number");
    assert_eq!(later.iter().collect::<Vec<_>>(), [Class::Mcu]);
}

#[test]
fn an_artifact_is_named_by_the_start_of_its_digest() {
    let digest: [u8; 32] = std::array::from_fn(|i| i as u8);
    assert_eq!(ArtifactId::from_manifest_digest(&digest), ArtifactId([0, 1, 2, 3, 4, 5, 6, 7]));
}

// ---- provisioning ----

fn provision_area() -> (Vec<u8>, usize) {
    let keys = [PublicKey([0xe1; 32])];
    let provision = Provision { device: parsed("pump-7"), trusted: Seq::new(&keys), boot_floor: 0 };
    let mut area = vec![0xff; MAX_BYTES];
    let len = provision.write(&mut area).expect("fits");
    (area, len)
}

#[test]
fn a_blob_is_these_bytes_in_erased_flash() {
    let (area, len) = provision_area();
    expect!["574250562f00a3006670756d702d3701815820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e10200"].assert_eq(&hex(&area[..len]));
    assert!(area[len..].iter().all(|byte| *byte == 0xff), "the rest stays erased");
    let read = Provision::read(&area).expect("readable");
    assert_eq!(read.device.as_str(), "pump-7");
    assert_eq!(read.trusted.iter().collect::<Vec<_>>(), [PublicKey([0xe1; 32])]);
}

#[test]
fn a_blob_that_is_not_there_differs_from_one_that_is_damaged() {
    let (area, len) = provision_area();
    assert_eq!(Provision::read(&[0xff; 64]), Err(ProvisionError::Missing));
    for cut in 0..len {
        let expected = if cut < 4 { ProvisionError::Missing } else { ProvisionError::Malformed };
        assert_eq!(Provision::read(&area[..cut]), Err(expected), "cut to {cut} bytes");
    }
    let mut endless = area.clone();
    endless[4..HEADER_BYTES].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(Provision::read(&endless), Err(ProvisionError::Malformed));
}

#[test]
fn a_blob_without_room_is_not_written() {
    let (_, len) = provision_area();
    let keys = [PublicKey([0xe1; 32])];
    let provision = Provision { device: parsed("pump-7"), trusted: Seq::new(&keys), boot_floor: 0 };
    for room in 0..=len {
        assert_eq!(provision.write(&mut vec![0; room]).is_some(), room == len, "{room} bytes");
    }
    let many = [PublicKey([1; 32]); 2_000];
    let large = Provision { trusted: Seq::new(&many), ..provision };
    assert_eq!(large.write(&mut vec![0; 100_000]), None, "its length does not fit the header");
}
