//! The guest SDK says what the table says: the C header and the Rust crate are compared with it.

use std::{fs, path::Path};

use wasmbed_abi::{
    BatteryStatus, Call, Errno, Field, IMPORT_MODULE, LocalPosition, NodeInfo, Number, Sensor, TopicInfo,
    ValueType, VehicleCommand, VehicleParameter, VehicleStatus,
};

fn guest(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// On one line each, so that a declaration can be looked for as a text.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `NotFound` as `NOT_FOUND`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

#[test]
fn the_header_declares_every_call_with_its_type_and_no_other() {
    let header = flat(&guest("c/wasmbed.h"));
    for call in Call::ALL {
        let start = format!("WASMBED_IMPORT(\"{name}\") ", name = call.name());
        let declaration = header.split(&start).nth(1).and_then(|rest| rest.split(';').next());
        let declaration = declaration.unwrap_or_else(|| panic!("{} is not declared", call.name()));
        assert_eq!(c_types(declaration), types(*call), "{declaration}");
        assert!(declaration.contains(&format!(" wasmbed_{}(", call.name())), "{declaration}");
    }
    assert_eq!(header.matches("WASMBED_IMPORT(\"").count(), Call::ALL.len());
    assert!(header.contains(&format!("import_module(\"{IMPORT_MODULE}\")")));
}

#[test]
fn the_rust_crate_declares_every_call_with_its_type_and_no_other() {
    let raw = flat(&guest("src/raw.rs"));
    for call in Call::ALL {
        let declaration =
            raw.split(&format!("fn {}(", call.name())).nth(1).and_then(|rest| rest.split(';').next());
        let declaration = declaration.unwrap_or_else(|| panic!("{} is not declared", call.name()));
        let (params, result) = declaration.split_once(") -> ").expect("every call has a result");
        let params =
            params.split(", ").filter_map(|param| param.split_once(": ")).map(|(_, ty)| rust_type(ty));
        assert_eq!((params.collect(), rust_type(result)), types(*call), "{declaration}");
    }
    assert_eq!(raw.matches(" fn ").count(), Call::ALL.len());
    assert!(raw.contains(&format!("wasm_import_module = \"{IMPORT_MODULE}\"")));
}

#[test]
fn both_know_every_error() {
    let (header, errno) = (flat(&guest("c/wasmbed.h")), flat(&guest("src/errno.rs")));
    for error in Errno::ALL {
        let (name, code) = (error.name(), error.code());
        let c = format!("WASMBED_{} = {code}", constant(name));
        assert!(header.contains(&c), "{c}");
        assert!(errno.contains(&format!("{name} = {code},")), "{name}");
        assert!(errno.contains(&format!("{code} => return Err(Errno::{name})")), "{name}");
    }
}

#[test]
fn both_know_every_sensor() {
    let (header, sensor) = (flat(&guest("c/wasmbed.h")), flat(&guest("src/sensor.rs")));
    for known in (0..16).filter_map(Sensor::from_id) {
        let (name, id) = (format!("{known:?}"), known.id());
        assert!(header.contains(&format!("WASMBED_{} = {id}", constant(&name))), "{name}");
        assert!(sensor.contains(&format!("Sensor::{name} => {id}")), "{name}");
    }
    let first_input = Sensor::Adc(0).id();
    assert!(header.contains(&format!("WASMBED_ADC = {first_input}")));
    assert!(sensor.contains(&format!("Sensor::Adc(input) => {first_input} + input")));
}

#[test]
fn the_structures_have_the_fields_of_the_layout() {
    let (header, vehicle) = (flat(&uncommented(&guest("c/wasmbed.h"))), guest("src/vehicle.rs"));
    let c = |struct_name: &str, fields: &[Field]| {
        let fields: String =
            fields.iter().map(|field| format!("{} {}; ", c_number(field.number), field.name)).collect();
        let wanted = format!("struct wasmbed_{struct_name} {{ {fields}}};");
        assert!(header.contains(&wanted), "{wanted}");
    };
    let rust = |struct_name: &str, fields: &[Field]| {
        let start = format!("#[repr(C)]\npub struct {struct_name} {{\n");
        let body = vehicle.split(&start).nth(1).and_then(|rest| rest.split('}').next()).expect(struct_name);
        let lines = body.lines().map(str::trim).filter(|line| line.starts_with("pub "));
        let wanted: Vec<String> =
            fields.iter().map(|field| format!("pub {}: {},", field.name, field.number)).collect();
        assert_eq!(lines.collect::<Vec<_>>(), wanted);
    };
    c("vehicle_command", VehicleCommand::FIELDS);
    rust("VehicleCommand", VehicleCommand::FIELDS);
    c("vehicle_status", VehicleStatus::FIELDS);
    rust("VehicleStatus", VehicleStatus::FIELDS);
    c("battery_status", BatteryStatus::FIELDS);
    rust("BatteryStatus", BatteryStatus::FIELDS);
    c("local_position", LocalPosition::FIELDS);
    rust("LocalPosition", LocalPosition::FIELDS);
    c("vehicle_parameter", VehicleParameter::FIELDS);
    rust("VehicleParameter", VehicleParameter::FIELDS);
    c("topic_info", TopicInfo::FIELDS);
    c("node_info", NodeInfo::FIELDS);
}

fn uncommented(text: &str) -> String {
    text.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect()
}

fn c_number(number: Number) -> &'static str {
    match number {
        Number::U8 => "uint8_t",
        Number::U16 => "uint16_t",
        Number::U32 => "uint32_t",
        Number::I32 => "int32_t",
        Number::F32 => "float",
        Number::F64 => "double",
    }
}

fn types(call: Call) -> (Vec<ValueType>, ValueType) {
    (call.signature().params.to_vec(), call.signature().results[0])
}

/// Of a declaration such as `int32_t wasmbed_log(int32_t level, const char *text, uint32_t len)`.
fn c_types(declaration: &str) -> (Vec<ValueType>, ValueType) {
    let (function, params) = declaration.split_once('(').expect("a function");
    let params = params.trim_end_matches(')').split(", ").filter(|param| *param != "void");
    (params.map(c_type).collect(), c_type(function))
}

/// Pointers are 32 bits wide on the border, whatever they point to.
fn c_type(declarator: &str) -> ValueType {
    match declarator.split_once(' ') {
        Some(("int64_t", _)) if !declarator.contains('*') => ValueType::I64,
        Some(("float", _)) if !declarator.contains('*') => ValueType::F32,
        _ => ValueType::I32,
    }
}

fn rust_type(ty: &str) -> ValueType {
    match ty {
        "i64" => ValueType::I64,
        "f32" => ValueType::F32,
        _ => ValueType::I32,
    }
}
