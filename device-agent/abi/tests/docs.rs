//! `docs/abi.md` says what the table says.

use std::{fs, path::Path};

use wasmbed_abi::{
    BatteryStatus, Call, Capability, Errno, Export, Field, LocalPosition, NodeInfo, TopicInfo,
    VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_wire::limits::Class;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of the page about a capability.
fn section(page: &str, capability: Capability) -> &str {
    let classes: Vec<&str> = [Class::Mpu, Class::Mcu, Class::Riscv]
        .into_iter()
        .filter(|class| capability.allowed_on(*class))
        .map(Class::name)
        .collect();
    let heading = format!("### {capability}: {}\n", classes.join(", "));
    let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    rest.split("\n##").next().unwrap_or(rest)
}

/// `(i32, i32) -> i32` of `name(ptr: i32, len: i32) -> i32`.
fn types(declaration: &str) -> String {
    let (params, result) = declaration.split_once(')').expect("parameters");
    let (_, params) = params.split_once('(').expect("parameters");
    let params: Vec<&str> = params.split(", ").filter_map(|param| param.split(": ").nth(1)).collect();
    format!("({}){result}", params.join(", "))
}

#[test]
fn every_call_is_described_once_with_its_type_and_classes() {
    let page = page();
    for call in Call::ALL {
        let start = format!("\n| `{}(", call.name());
        assert_eq!(page.matches(&start).count(), 1, "{}", call.name());
        let (_, rest) = section(&page, call.capability())
            .split_once(&start)
            .unwrap_or_else(|| panic!("{} is in another section", call.name()));
        let declaration = rest.split('`').next().expect("an end");
        assert_eq!(types(&format!("({declaration}")), call.signature().to_string(), "{}", call.name());
    }
    let (_, calls) = page.split_once("## Calls").expect("calls");
    assert_eq!(calls.matches(") -> i").count(), Call::ALL.len());
}

#[test]
fn every_structure_is_described_field_by_field() {
    let page = page();
    for (name, bytes, fields) in [
        ("VehicleCommand", VehicleCommand::BYTES, VehicleCommand::FIELDS),
        ("VehicleStatus", VehicleStatus::BYTES, VehicleStatus::FIELDS),
        ("BatteryStatus", BatteryStatus::BYTES, BatteryStatus::FIELDS),
        ("LocalPosition", LocalPosition::BYTES, LocalPosition::FIELDS),
        ("VehicleParameter", VehicleParameter::BYTES, VehicleParameter::FIELDS),
        ("TopicInfo", TopicInfo::BYTES, TopicInfo::FIELDS),
        ("NodeInfo", NodeInfo::BYTES, NodeInfo::FIELDS),
    ] {
        let (_, section) = page.split_once(&format!("### {name}: {bytes} bytes\n")).expect(name);
        let rows = section.split("\n##").next().unwrap_or(section).lines();
        let rows: Vec<&str> = rows.filter(|row| row.starts_with("| ")).skip(1).collect();
        assert_eq!(rows.len(), fields.len(), "{name}");
        for (row, Field { name, number, at }) in rows.iter().zip(fields) {
            assert!(row.starts_with(&format!("| {at} | `{name}` | {number} | ")), "{row}");
        }
    }
}

#[test]
fn every_export_and_error_is_described() {
    let page = page();
    for export in Export::ALL {
        assert!(page.contains(&format!("\n| `{}` |", export.name())), "{}", export.name());
    }
    for error in Errno::ALL {
        let row = format!("\n| {} | `", error.code());
        let (_, rest) = page.split_once(&row).unwrap_or_else(|| panic!("no row for {error:?}"));
        let name: String = rest.split('`').next().unwrap_or_default().to_lowercase().replace('_', "");
        assert_eq!(name, error.name().to_lowercase());
        assert!(
            rest.split('\n').next().is_some_and(|row| row.ends_with(&format!("| {error} |"))),
            "{error:?}"
        );
    }
}
