//! Manifests in COSE_Sign1 and provisioning blobs.

use ed25519_compact::{KeyPair, Noise, Seed, Signature};
use expect_test::expect;
use serde_cbor::Value;
use wasmbed_wire::{
    ArtifactId, Digest, KeyId, PublicKey, RuntimeId, Seq,
    keyring::Role,
    limits::{BLOCK_BYTES, Class, MAX_KEYRING_BYTES, MAX_KEYS, MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES},
    manifest::{Classes, Kind, Manifest, Patch, Trial},
    provision::{Broker, DeviceSecret, HEADER_BYTES, MAX_BYTES, PrivateKey, Provision, ProvisionError, Tls},
    sign1::{Audience, Malformed, OVERHEAD_BYTES, SIGNATURE_BYTES, Sign1, TooLarge, signed_head},
    topic,
};

use super::{
    samples::{parsed, samples},
    source::{self, Shape},
};

pub(crate) const KEY: KeyId = KeyId([0xc0, 1, 2, 3, 4, 5, 6, 7]);

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn key_pair() -> KeyPair {
    KeyPair::from_seed(Seed::new([7; 32]))
}

fn manifest_bytes() -> Vec<u8> {
    samples().into_iter().find(|sample| sample.name == "Manifest").expect("a sample").bytes
}

/// What a signature covers.
pub(crate) fn covered(audience: Audience<'_>, payload: &[u8]) -> Vec<u8> {
    [signed_head(audience, payload.len()).expect("fits").as_ref(), payload].concat()
}

pub(crate) fn sign(payload: &[u8]) -> Vec<u8> {
    let covered = covered(Audience::Everyone, payload);
    // Without noise Ed25519 is deterministic, so that the bytes can be pinned.
    let signature = key_pair().sk.sign(covered, None::<Noise>);
    let mut out = [0; MAX_KEYRING_BYTES];
    let sign1 = Sign1 { key: KEY, payload, signature: &signature };
    let len = sign1.encode(&mut out).expect("fits");
    out[..len].to_vec()
}

#[test]
fn the_signed_bytes_are_the_sig_structure() {
    // ["Signature1", << {1: -8} >>, h'', h'7061796c6f6164']
    expect!["846a5369676e61747572653143a1012740477061796c6f6164"]
        .assert_eq(&hex(&covered(Audience::Everyone, b"payload")));
}

#[test]
fn what_is_for_one_device_is_bound_to_it_and_to_its_topic() {
    let (id, other) = (parsed("pump-7"), parsed("pump-8"));
    let bound = covered(Audience::Device { id: &id, topic: "dn/desired" }, b"payload");
    // ["Signature1", << {1: -8} >>, 'pump-7/dn/desired', 'payload']
    expect!["846a5369676e61747572653143a101275170756d702d372f646e2f64657369726564477061796c6f6164"]
        .assert_eq(&hex(&bound));
    for audience in [
        Audience::Everyone,
        Audience::Device { id: &other, topic: "dn/desired" },
        Audience::Device { id: &id, topic: "dn/cmd/desired" },
    ] {
        assert_ne!(covered(audience, b"payload"), bound, "{audience:?}");
    }
    let longest = "d".repeat(topic::MAX_BYTES);
    let long_id = parsed(&"i".repeat(32));
    let head = |topic: &str| signed_head(Audience::Device { id: &long_id, topic }, u32::MAX as usize).is_ok();
    assert!(head(&longest));
    assert!(!head(&format!("{longest}d")));
}

#[test]
fn a_message_has_no_more_bytes_around_its_payload_than_is_said() {
    for bytes in [0, 23, 24, 255, 256, 70_000] {
        let payload = vec![0; bytes];
        let mut out = vec![0; bytes + OVERHEAD_BYTES];
        let sign1 = Sign1 { key: KEY, payload: &payload, signature: &[0; SIGNATURE_BYTES] };
        assert!(sign1.encode(&mut out).is_ok(), "{bytes} bytes");
    }
}

#[test]
fn a_signed_manifest_is_these_bytes() {
    expect!["d28443a10127a10448c00102030405060758aaae00020164626173650265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d10719020008696e65746475696e6f3209070aa2005820d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d20ba200050119012c0c160d19058058400b455bc06589b34d58b8335403f534ee2e2d1e855597f7fc7c3deb4d8421db896d71c4bfa61f8bc6386031bbf688c5aeae4da84bf7a7ae7fa371c62d5ea76101"].assert_eq(&hex(&sign(&manifest_bytes())));
}

#[test]
fn a_signature_verifies_over_what_was_received_and_over_nothing_else() {
    let message = sign(&manifest_bytes());
    let received = Sign1::decode(&message).expect("well-formed");
    assert_eq!((received.key, received.payload), (KEY, &manifest_bytes()[..]));
    let verify = |payload: &[u8]| {
        let covered = covered(Audience::Everyone, payload);
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

/// The fields of a map in `manifest.cddl`: number, type, whether it may be absent.
fn cddl_fields(rule: &str) -> Vec<(u64, String, bool)> {
    let cddl = include_str!("../../manifest.cddl");
    let (_, body) = cddl.split_once(&format!("\n{rule} = {{")).expect("the rule is there");
    let (body, _) = body.split_once('}').expect("it is closed");
    let entries =
        body.split(',').map(str::trim).filter(|entry| !entry.is_empty() && *entry != "* uint => any");
    let field = |entry: &str| {
        let optional = entry.starts_with("? ");
        let (number, of) = entry.trim_start_matches("? ").split_once(" => ").expect("a number and a type");
        (number.parse().expect("a number"), of.to_owned(), optional)
    };
    entries.map(field).collect()
}

#[test]
fn the_schema_for_other_tools_has_the_same_fields() {
    let rules = [
        ("manifest", "Manifest"),
        ("patch", "Patch"),
        ("trial", "Trial"),
        ("keyring", "Keyring"),
        ("trusted-key", "TrustedKey"),
    ];
    for (rule, name) in rules {
        let declared = source::all().into_iter().find(|declared| declared.name == name);
        let Some(Shape::Map(fields)) = declared.map(|declared| declared.kind) else { panic!("a map") };
        let listed = cddl_fields(rule);
        let numbers: Vec<_> = listed.iter().map(|(number, _, optional)| (*number, *optional)).collect();
        assert_eq!(numbers, fields.iter().map(|f| (f.number, f.optional)).collect::<Vec<_>>(), "{rule}");
        if rule == "manifest" {
            let names: Vec<_> = listed.iter().map(|(_, name, _)| name.replace('-', "_")).collect();
            assert_eq!(names, fields.iter().map(|f| f.name.clone()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_schema_for_other_tools_has_the_same_numbers() {
    let cddl = include_str!("../../manifest.cddl");
    let (most, least) = (Trial { tries: u8::MAX, confirm_s: u16::MAX }, Trial { tries: 0, confirm_s: 0 });
    let (most, least) = (most.clamped(), least.clamped());
    let roles: Vec<_> = Role::ALL.into_iter().map(|role| format!("{} {role}", role as u8)).collect();
    for text in [
        format!("\nkind = 0..{}\n", Kind::Patch as u8),
        format!("\nsize = 1..{MAX_PAYLOAD_BYTES}\n"),
        format!("\nblock-bytes = {}..{}\n", BLOCK_BYTES.start(), BLOCK_BYTES.end()),
        format!("{{ 0 => {}..{}, 1 => ", least.tries, most.tries),
        format!(" 1 => {}..{}, * uint => any }}", least.confirm_s, most.confirm_s),
        format!(" 2 => [1*{MAX_KEYS} trusted-key],"),
        format!("(one bit each: {})", roles.join(", ")),
    ] {
        assert!(cddl.contains(&text), "{text}");
    }
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

/// As long as names, versions and numbers can make it; the longest version the service takes is shorter.
fn largest(kind: Kind) -> Vec<u8> {
    let digest = Digest([0xff; 32]);
    let of_firmware = kind != Kind::Module;
    let manifest = Manifest {
        kind,
        name: parsed(&"m".repeat(32)),
        version: "10000.10000.10000-rc.1+0123456789",
        classes: Classes::from_iter(Class::ALL),
        runtime: RuntimeId([0xff; 8]),
        size: MAX_PAYLOAD_BYTES,
        digest,
        block_bytes: *BLOCK_BYTES.end() as u16,
        board: of_firmware.then(|| parsed(&"b".repeat(32))),
        counter: if of_firmware { u32::MAX } else { 0 },
        patch: (kind == Kind::Patch).then_some(Patch { base: digest, image: digest }),
        trial: of_firmware.then_some(Trial { tries: u8::MAX, confirm_s: u16::MAX }),
        capabilities: if of_firmware { 0 } else { u32::MAX },
        stack_bytes: if of_firmware { 0 } else { u32::MAX },
    };
    minicbor::to_vec(manifest).expect("vectors grow")
}

#[test]
fn the_largest_manifests_fit() {
    for (kind, room) in [
        (Kind::Module, *BLOCK_BYTES.start() as usize),
        (Kind::Firmware, MAX_MANIFEST_BYTES),
        (Kind::Patch, MAX_MANIFEST_BYTES),
    ] {
        let signed = sign(&largest(kind));
        assert!(signed.len() <= room, "{kind:?}: {} bytes", signed.len());
    }
}

#[test]
fn what_has_no_room_says_so() {
    let payload = largest(Kind::Patch);
    let sign1 = Sign1 { key: KEY, payload: &payload, signature: &[0; SIGNATURE_BYTES] };
    let needed = sign1.encode(&mut [0; MAX_MANIFEST_BYTES]).expect("fits");
    for room in 0..needed {
        assert_eq!(sign1.encode(&mut vec![0; room]), Err(TooLarge), "{room} bytes");
    }
}

#[test]
fn a_trial_is_brought_into_range() {
    let clamped = |tries, confirm_s| {
        let Trial { tries, confirm_s } = Trial { tries, confirm_s }.clamped();
        (tries, confirm_s)
    };
    assert_eq!(clamped(0, 0), (1, 5));
    assert_eq!(clamped(1, 4), (1, 5));
    assert_eq!(clamped(15, 3600), (15, 3600));
    assert_eq!(clamped(16, 3601), (15, 3600));
    assert_eq!(clamped(u8::MAX, u16::MAX), (15, 3600));
    assert_eq!(Trial::DEFAULT.clamped(), Trial::DEFAULT);
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
        board: None,
        counter: 0,
        patch: None,
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
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
    let provision = Provision {
        device: parsed("pump-7"),
        trusted: Seq::new(&keys),
        boot_floor: 0,
        secret: None,
        broker: None,
    };
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
fn a_secret_is_in_the_blob_and_nowhere_else() {
    let secret = Some(DeviceSecret([0x5e; 32]));
    let provision =
        Provision { device: parsed("pump-7"), trusted: Seq::default(), boot_floor: 0, secret, broker: None };
    let mut area = vec![0xff; MAX_BYTES];
    provision.write(&mut area).expect("fits");
    assert_eq!(Provision::read(&area).map(|read| read.secret), Ok(secret));
    let shown = format!("{provision:?}");
    assert!(shown.contains("DeviceSecret(..)") && !shown.contains("94"), "{shown}");
    let at = area.windows(32).position(|bytes| bytes == [0x5e; 32]).expect("it is there");
    area[at - 1] = 31;
    assert_eq!(Provision::read(&area), Err(ProvisionError::Malformed));
}

#[test]
fn a_broker_is_in_the_blob_and_its_password_nowhere_else() {
    let broker = Broker {
        host: "broker.example",
        port: 1883,
        username: "pump-7",
        password: "hush",
        prefix: "plant/a",
        tls: None,
    };
    let provision = Provision {
        device: parsed("pump-7"),
        trusted: Seq::default(),
        boot_floor: 0,
        secret: None,
        broker: Some(broker),
    };
    let mut area = vec![0xff; MAX_BYTES];
    provision.write(&mut area).expect("fits");
    assert_eq!(Provision::read(&area).map(|read| read.broker), Ok(Some(broker)));
    let shown = format!("{provision:?}");
    assert!(shown.contains("broker.example") && !shown.contains("hush"), "{shown}");
}

#[test]
fn certificates_are_in_the_blob_and_the_private_key_nowhere_else() {
    let tls = Tls {
        ca: &[0xca; 900],
        certificate: &[0xce; 900],
        key: PrivateKey([0x6b; 32]),
        name: Some("localhost"),
    };
    let broker = Broker {
        host: "10.0.2.2",
        port: 8883,
        username: "pump-7",
        password: "",
        prefix: "wasmbed",
        tls: Some(tls),
    };
    let keys = [PublicKey([0xe1; 32]); 16];
    let provision = Provision {
        device: parsed("pump-7"),
        trusted: Seq::new(&keys),
        boot_floor: 0,
        secret: Some(DeviceSecret([0x5e; 32])),
        broker: Some(broker),
    };
    let mut area = vec![0xff; MAX_BYTES];
    provision.write(&mut area).expect("fits");
    assert_eq!(Provision::read(&area).map(|read| read.broker), Ok(Some(broker)));
    let shown = format!("{provision:?}");
    assert!(shown.contains("PrivateKey(..)") && !shown.contains("107"), "{shown}");
    let at = area.windows(32).position(|bytes| bytes == [0x6b; 32]).expect("it is there");
    area[at - 1] = 31;
    assert_eq!(Provision::read(&area), Err(ProvisionError::Malformed));
}

/// As the hosts of the version before this one wrote them.
#[test]
fn a_blob_without_tls_is_read() {
    let cbor = "a5006670756d702d37018002000358205e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e04a5006831302e302e322e320119075b026670756d702d3703646875736804677761736d626564";
    let cbor: Vec<u8> = cbor
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("text"), 16).expect("hexadecimal"))
        .collect();
    let blob = [b"WBPV", &(cbor.len() as u16).to_le_bytes()[..], &cbor].concat();
    let read = Provision::read(&blob).expect("readable");
    let broker = read.broker.expect("it names one");
    assert_eq!((broker.host, broker.port, broker.password, broker.tls), ("10.0.2.2", 1883, "hush", None));
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
    let provision = Provision {
        device: parsed("pump-7"),
        trusted: Seq::new(&keys),
        boot_floor: 0,
        secret: None,
        broker: None,
    };
    for room in 0..=len {
        assert_eq!(provision.write(&mut vec![0; room]).is_some(), room == len, "{room} bytes");
    }
    let many = [PublicKey([1; 32]); 2_000];
    let large = Provision { trusted: Seq::new(&many), ..provision };
    assert_eq!(large.write(&mut vec![0; 100_000]), None, "its length does not fit the header");
}
