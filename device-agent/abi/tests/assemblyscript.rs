//! The AssemblyScript part of the guest SDK says what the table says.

use std::{fs, path::Path};

use wasmbed_abi::{Call, Errno, IMPORT_MODULE, Sensor, ValueType};

/// On one line, so that a declaration can be looked for as a text.
fn sdk() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/as/wasmbed.ts");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn value_type(ty: &str) -> ValueType {
    match ty {
        "i64" => ValueType::I64,
        "f32" => ValueType::F32,
        "i32" | "u32" | "usize" => ValueType::I32,
        _ => panic!("{ty} does not cross the border"),
    }
}

#[test]
fn it_declares_every_call_with_its_type_and_no_other() {
    let sdk = sdk();
    for call in Call::ALL {
        let start = format!("@external(\"{IMPORT_MODULE}\", \"{0}\") declare function raw_{0}(", call.name());
        let declaration = sdk.split(&start).nth(1).and_then(|rest| rest.split(';').next());
        let declaration = declaration.unwrap_or_else(|| panic!("{} is not declared", call.name()));
        let (params, result) = declaration.split_once("): ").expect("every call has a result");
        let params = params.split(", ").filter_map(|param| param.split_once(": "));
        let params: Vec<ValueType> = params.map(|(_, ty)| value_type(ty)).collect();
        assert_eq!(params, call.signature().params, "{declaration}");
        assert_eq!([value_type(result)], call.signature().results, "{declaration}");
    }
    assert_eq!(sdk.matches("@external(").count(), Call::ALL.len());
}

#[test]
fn it_knows_every_error_and_sensor() {
    let sdk = sdk();
    let has = |name: &str, number: i32| {
        let mut constant = String::new();
        for letter in name.chars() {
            let is_word = letter.is_uppercase() && !constant.is_empty();
            constant.extend(is_word.then_some('_'));
            constant.push(letter.to_ascii_uppercase());
        }
        let wanted = format!("export const {constant}: i32 = {number};");
        assert!(sdk.contains(&wanted), "{wanted}");
    };
    Errno::ALL.iter().for_each(|error| has(error.name(), error.code()));
    for sensor in (0..16).filter_map(Sensor::from_id) {
        has(&format!("{sensor:?}"), sensor.id());
    }
    has("Adc", Sensor::Adc(0).id());
}
