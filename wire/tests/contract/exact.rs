//! Every CBOR message: exact bytes, an independent reader, and what is refused.

use std::collections::BTreeMap;

use serde_cbor::Value;

use super::{
    samples::{Sample, samples},
    source::{self, Declared, Field, Shape},
};

type Map = BTreeMap<Value, Value>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map(sample: &Sample) -> Map {
    match serde_cbor::from_slice(&sample.bytes).expect("CBOR") {
        Value::Map(map) => map,
        other => panic!("{}: a map, not {other:?}", sample.name),
    }
}

fn key(field: &Field) -> Value {
    Value::Integer(field.number.into())
}

fn read(sample: &Sample, map: &Map) -> Option<String> {
    (sample.read)(&serde_cbor::to_vec(map).expect("encodes"))
}

/// The declared fields of a sample's type.
fn fields(sample: &Sample) -> Vec<Field> {
    let declared = source::all().into_iter().find(|declared| declared.name == sample.name);
    match declared.expect("declared").kind {
        Shape::Map(fields) => fields,
        Shape::Enum(_) => panic!("{} is a map", sample.name),
    }
}

#[test]
fn every_message_has_a_sample() {
    let sampled: Vec<_> = samples().iter().map(|sample| sample.name).collect();
    // Those inside others are checked with them.
    let inside =
        ["ModuleReport", "LinkCounters", "DesiredModule", "Setting", "Patch", "Trial", "Broker", "Tls"];
    for declared in source::all() {
        let is_map = matches!(declared.kind, Shape::Map(_));
        let known = sampled.contains(&&*declared.name) || inside.contains(&&*declared.name);
        assert!(!is_map || known, "{} needs a sample", declared.name);
    }
}

#[test]
fn every_message_is_these_bytes() {
    for sample in samples() {
        sample.hex.assert_eq(&hex(&sample.bytes));
    }
}

#[test]
fn what_was_written_is_read() {
    for sample in samples() {
        assert_eq!((sample.read)(&sample.bytes).as_ref(), Some(&sample.debug), "{}", sample.name);
    }
}

#[test]
fn an_independent_reader_finds_the_declared_fields() {
    let declared = source::all();
    for sample in samples() {
        let value = serde_cbor::from_slice(&sample.bytes).expect("CBOR");
        conforms(&value, sample.name, &declared);
    }
}

/// Whether the value is what `of` declares, with every field present, all the way down.
fn conforms(value: &Value, of: &str, declared: &[Declared]) {
    let of = of.trim_end_matches('?');
    if let Some(item) = of.strip_prefix('[').and_then(|of| of.strip_suffix(']')) {
        let Value::Array(items) = value else { panic!("a list, not {value:?}") };
        assert!(!items.is_empty(), "a sample shows at least one {item}");
        return items.iter().for_each(|value| conforms(value, item, declared));
    }
    match (declared.iter().find(|declared| declared.name == of).map(|declared| &declared.kind), value) {
        (Some(Shape::Map(fields)), Value::Map(map)) => {
            let keys: Vec<_> = map.keys().cloned().collect();
            assert_eq!(keys, fields.iter().map(key).collect::<Vec<_>>(), "keys of {of}");
            fields.iter().for_each(|field| conforms(&map[&key(field)], &field.of, declared));
        }
        (Some(Shape::Enum(variants)), Value::Integer(number)) => {
            assert!(variants.iter().any(|(known, _)| i128::from(*known) == *number), "{of} {number}");
        }
        (Some(_), _) => panic!("{of} is not {value:?}"),
        (None, value) => assert!(is_plain(value, of), "{of} is not {value:?}"),
    }
}

fn is_plain(value: &Value, of: &str) -> bool {
    match (of, value) {
        ("u8" | "u16" | "u32" | "u64" | "Classes" | "Roles", Value::Integer(number)) => {
            (0..=largest(of)).contains(number)
        }
        ("text" | "DeviceId" | "ModuleName" | "BoardName", Value::Text(_)) | ("bytes", Value::Bytes(_)) => {
            true
        }
        ("ArtifactId" | "RuntimeId", Value::Bytes(bytes)) => bytes.len() == 8,
        ("Digest" | "PublicKey" | "PrivateKey" | "DeviceSecret", Value::Bytes(bytes)) => bytes.len() == 32,
        _ => false,
    }
}

fn largest(of: &str) -> i128 {
    match of {
        "u8" | "Classes" | "Roles" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        _ => u64::MAX.into(),
    }
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let nested =
        Value::Array(vec![Value::Map([(Value::Text("a".into()), Value::Bool(true))].into()), Value::Null]);
    for sample in samples() {
        for new in [23, 24, 255, 65_536, 0xffff_ffff] {
            for value in [Value::Integer(-1), Value::Text("new".into()), Value::Float(0.5), nested.clone()] {
                let mut newer = map(&sample);
                newer.insert(Value::Integer(new), value);
                assert_eq!(read(&sample, &newer).as_ref(), Some(&sample.debug), "{} with {new}", sample.name);
            }
        }
    }
}

#[test]
fn only_optional_fields_may_be_missing() {
    for sample in samples() {
        for field in fields(&sample) {
            let mut older = map(&sample);
            older.remove(&key(&field));
            let read = read(&sample, &older);
            assert_eq!(read.is_some(), field.optional, "{} without {}", sample.name, field.name);
            if field.of.ends_with('?') {
                assert!(read.is_some_and(|debug| debug.contains(&format!("{}: None", field.name))));
            }
        }
    }
}

#[test]
fn a_field_of_another_type_is_refused() {
    let wrong = [Value::Float(1.5), Value::Bool(true), Value::Map(Map::new()), Value::Integer(-1)];
    for sample in samples() {
        for field in fields(&sample) {
            for value in &wrong {
                let mut bad = map(&sample);
                bad.insert(key(&field), value.clone());
                assert_eq!(read(&sample, &bad), None, "{}.{} = {value:?}", sample.name, field.name);
            }
        }
    }
}

#[test]
fn a_number_out_of_range_is_refused() {
    let declared = source::all();
    for sample in samples() {
        for field in fields(&sample) {
            let of = field.of.trim_end_matches('?');
            let variants =
                declared.iter().find(|declared| declared.name == of).map(|declared| &declared.kind);
            let beyond = match (variants, of) {
                (Some(Shape::Enum(variants)), _) => variants.len() as i128,
                (None, of @ ("u8" | "u16" | "u32" | "Classes" | "Roles")) => largest(of) + 1,
                _ => continue,
            };
            let mut bad = map(&sample);
            bad.insert(key(&field), Value::Integer(beyond));
            assert_eq!(read(&sample, &bad), None, "{}.{} = {beyond}", sample.name, field.name);
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for sample in samples() {
        for len in 0..sample.bytes.len() {
            assert_eq!((sample.read)(&sample.bytes[..len]), None, "{} cut to {len} bytes", sample.name);
        }
    }
}

/// A device answers in one buffer: a list that claims more than the message holds must not get far.
#[test]
fn a_list_longer_than_the_message_is_refused() {
    // {0: 3, 1: 9, 2: a list of 2^64 - 1 modules}
    let endless = [0xa3, 0, 3, 1, 9, 2, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255];
    assert!(minicbor::decode::<wasmbed_wire::message::Reported>(&endless).is_err());
    // The same without a length.
    let open = [0xa3, 0, 3, 1, 9, 2, 0x9f, 0xff];
    assert!(minicbor::decode::<wasmbed_wire::message::Reported>(&open).is_err());
}
