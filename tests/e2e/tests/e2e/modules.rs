//! What modules can do on a device, seen from outside.

use std::{collections::HashSet, fs};

use anyhow::{Context, Result, ensure};
use ed25519_compact::{PublicKey, Signature};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, Subscription, features, hex, module};

/// Publishes on `draw` what sealing the text `same` gives at each start: a nonce, the text encrypted, a tag.
const SEALER: &str = r#"(module
  (import "wasmbed" "seal" (func $seal (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasmbed" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 256 256 (pagesize 1))
  (data (i32.const 0) "same") (data (i32.const 4) "draw")
  (func (export "init") (result i32)
    (i32.ne (call $seal (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.const 64) (i32.const 32)) (i32.const 32)))
  (func (export "health") (result i32)
    (i32.ne (call $open (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 32)
      (i32.const 128) (i32.const 4)) (i32.const 4)))
  (func (export "tick")
    (drop (call $telemetry (i32.const 4) (i32.const 4) (i32.const 64) (i32.const 32)))))"#;

/// Writes a byte to the EEPROM at its start, and publishes on `chips` what it reads there and from the converter.
const CHIPS: &str = r#"(module
  (import "wasmbed" "i2c_transfer" (func $i2c (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasmbed" "spi_transfer" (func $spi (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64 64 (pagesize 1))
  (data (i32.const 0) "chips\00\10\ab\8f\00\00")
  (func (export "init") (result i32)
    (call $i2c (i32.const 3) (i32.const 0x50) (i32.const 5) (i32.const 3) (i32.const 0) (i32.const 0)))
  (func (export "health") (result i32)
    (i32.or
      (call $i2c (i32.const 3) (i32.const 0x50) (i32.const 5) (i32.const 2) (i32.const 16) (i32.const 1))
      (call $spi (i32.const 4) (i32.const 0) (i32.const 8) (i32.const 17) (i32.const 3))))
  (func (export "tick")
    (drop (call $telemetry (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 4)))))"#;

#[test]
fn a_module_signs_with_a_key_that_the_device_keeps() -> Result<()> {
    let devices = features::KEYS.devices;
    let fleet = Fleet::start_with(BrokerKind::Embedded, devices)?;
    fleet.add_idle("n2-9", "netduino2")?;
    fleet.cli(&["module", "push", &module("witness")?.to_string_lossy(), "--version", "1.0.0"])?;
    let refusal = fleet.cli_fails(&["deploy", "witness", "--to", "n2-9"])?;
    assert!(refusal.contains("mcu"), "{refusal}");

    let mut keys = HashSet::new();
    for (device, _) in devices {
        fleet.cli(&["deploy", "witness", "--to", device, "--wait"])?;
        let key = testimony(&fleet, device)?;
        fleet.pull_the_power(device)?;
        fleet.wait_running(device, "witness", Limit::seconds(20))?;
        assert_eq!(testimony(&fleet, device)?, key, "the key of {device} is another after a restart");
        assert!(keys.insert(key), "two devices have the same key");
    }
    Ok(())
}

#[test]
fn a_module_sums_in_several_threads() -> Result<()> {
    let devices = features::THREADS.devices;
    let fleet = Fleet::start_with(BrokerKind::Embedded, devices)?;
    fleet.add_idle("n2-9", "netduino2")?;
    fleet.cli(&["module", "push", &module("sum")?.to_string_lossy(), "--version", "1.0.0"])?;
    let refusal = fleet.cli_fails(&["deploy", "sum", "--to", "n2-9"])?;
    ensure!(refusal.contains("mcu"), "{refusal}");
    for (device, _) in devices {
        fleet.cli(&["deploy", "sum", "--to", device, "--wait"])?;
        let sum = fleet.subscribe_once(&format!("wasmbed/v1/{device}/up/tm/sum"))?;
        // Of the numbers below 2^20.
        ensure!(sum.trim() == "549755289600", "{device} sums up to {sum}");
    }
    Ok(())
}

#[test]
fn a_module_reads_which_chip_is_on_the_bus_of_its_board() -> Result<()> {
    // The board has Winbond's W25Q80; the same module finds Micron's M25P40 where that takes its place.
    for (chip, id) in [("w25q80", "ef5014"), ("m25p40", "202013")] {
        let altered = |board: &str| Ok(board.replace("\"w25q80\"", &format!("\"{chip}\"")));
        let fleet = Fleet::start_altered(&[("n2-1", "netduino2")], altered)?;
        fleet.cli(&["module", "grant", "chip", "bus"])?;
        fleet.cli(&["module", "push", &module("chip")?.to_string_lossy(), "--version", "1.0.0"])?;
        fleet.cli(&["deploy", "chip", "--to", "n2-1", "--wait"])?;
        let found = fleet.subscribe_once("wasmbed/v1/n2-1/up/tm/chip")?;
        ensure!(found.trim() == id, "{found} instead of {id} for {chip}");
    }
    Ok(())
}

#[test]
fn a_module_measures_what_the_thermometer_of_its_board_is_told() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("mps-1", "mps2-an385")])?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "thermo", "--to", "mps-1", "--wait"])?;
    let readings = Subscription::open(&fleet, "wasmbed/v1/mps-1/up/tm/temperature")?;
    // Multiples of what the chip can tell apart, a sixteenth of a degree.
    for (thousandths, text) in [(30_500, "30.5"), (-12_750, "-12.7"), (85_125, "85.1")] {
        fleet.set_property("mps-1", "/machine/peripheral/thermometer", "temperature", thousandths)?;
        readings.next(|reading| reading == hex(text))?;
    }
    Ok(())
}

#[test]
fn a_module_uses_the_chips_on_both_buses_of_its_board() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("mps-1", "mps2-an385")])?;
    let path = fleet.dir().join("chips.wasm");
    fs::write(&path, wat::parse_str(CHIPS)?)?;
    fleet.cli(&["module", "grant", "chips", "bus"])?;
    fleet.cli(&["module", "push", &path.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "chips", "--to", "mps-1", "--wait"])?;
    // The first input of QEMU's MAX1111 is at 240 of 256, which comes six bits late.
    let read = fleet.subscribe_bytes("wasmbed/v1/mps-1/up/tm/chips")?;
    assert_eq!(read, [0xab, 0, 240 >> 2, 0]);
    Ok(())
}

#[test]
fn a_module_finds_what_it_stored_after_power_cuts() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    fleet.cli(&["module", "push", &module("tally")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "tally", "--to", "all", "--wait"])?;
    for device in fleet.devices() {
        let mut before = count(&fleet, &device)?;
        for _ in 0..2 {
            fleet.pull_the_power(&device)?;
            fleet.wait_running(&device, "tally", Limit::seconds(20))?;
            let now = count(&fleet, &device)?;
            assert_eq!(now, before + 1, "{device} lost its count");
            before = now;
        }
    }
    // Another module's name is another module: it has no count yet. The first one's stays where it was removed.
    fleet.cli(&[
        "module",
        "push",
        &module("tally")?.to_string_lossy(),
        "--name",
        "other",
        "--version",
        "1.0.0",
    ])?;
    for device in fleet.devices() {
        let before = count(&fleet, &device)?;
        fleet.cli(&["undeploy", "tally", "--to", &device, "--wait"])?;
        fleet.cli(&["deploy", "other", "--to", &device, "--wait"])?;
        assert_eq!(count(&fleet, &device)?, 1, "{device} gave a module the count of another");
        fleet.cli(&["undeploy", "other", "--to", &device, "--wait"])?;
        fleet.cli(&["deploy", "tally", "--to", &device, "--wait"])?;
        assert_eq!(count(&fleet, &device)?, before + 1, "{device} lost the count with its module");
    }
    Ok(())
}

#[test]
fn a_board_seals_with_a_nonce_that_no_start_repeats() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("rv-1", "rv32-virt")])?;
    let path = fleet.dir().join("sealer.wasm");
    fs::write(&path, wat::parse_str(SEALER)?)?;
    fleet.cli(&["module", "push", &path.to_string_lossy(), "--version", "1.0.0"])?;
    // Only one whose health says that what it sealed can be opened counts as deployed.
    fleet.cli(&["deploy", "sealer", "--to", "rv-1", "--wait"])?;
    let mut seen = HashSet::new();
    for start in 0..3 {
        if start > 0 {
            fleet.pull_the_power("rv-1")?;
            fleet.wait_running("rv-1", "sealer", Limit::seconds(20))?;
        }
        let sealed = fleet.subscribe_bytes("wasmbed/v1/rv-1/up/tm/draw")?;
        ensure!(sealed.len() == 32, "{} bytes are sealed", sealed.len());
        assert!(seen.insert(sealed[..12].to_vec()), "a nonce came twice");
        assert!(seen.insert(sealed[12..].to_vec()), "the same bytes came twice");
    }
    Ok(())
}

/// What `tally` publishes next.
fn count(fleet: &Fleet, device: &str) -> Result<u32> {
    let text = fleet.subscribe_once(&format!("wasmbed/v1/{device}/up/tm/tally"))?;
    text.trim().parse().with_context(|| format!("{text:?} is no count"))
}

/// Checks the next reading of `witness` and returns whose it is.
fn testimony(fleet: &Fleet, device: &str) -> Result<[u8; 32]> {
    let payload = fleet.subscribe_bytes(&format!("wasmbed/v1/{device}/up/tm/witness"))?;
    let (key, rest) = payload.split_first_chunk::<32>().context("no key")?;
    let (signature, text) = rest.split_first_chunk::<64>().context("no signature")?;
    PublicKey::new(*key)
        .verify(text, &Signature::new(*signature))
        .context("the signature is not the key's")?;
    let text = std::str::from_utf8(text)?;
    let degrees: f64 = text.split(' ').nth(1).context("no temperature")?.parse()?;
    ensure!((-50.0..150.0).contains(&degrees), "{text}");
    Ok(*key)
}
