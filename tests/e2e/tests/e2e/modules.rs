//! What modules can do on a device, seen from outside.

use anyhow::{Context, Result, ensure};
use ed25519_compact::{PublicKey, Signature};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

#[test]
fn a_module_signs_with_a_key_that_the_device_keeps() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("hub-1", "linux")])?;
    fleet.add_idle("n2-9", "netduino2")?;
    fleet.cli(&["module", "push", &module("witness")?.to_string_lossy(), "--version", "1.0.0"])?;
    let refusal = fleet.cli_fails(&["deploy", "witness", "--to", "n2-9"])?;
    assert!(refusal.contains("mcu"), "{refusal}");

    fleet.cli(&["deploy", "witness", "--to", "hub-1", "--wait"])?;
    let key = testimony(&fleet)?;
    let pid = fleet.pid("hub-1")?;
    fleet.cli(&["device", "restart", "hub-1"])?;
    fleet.wait("hub-1 in another process", Limit::seconds(20), || {
        Ok(fleet.pid("hub-1").is_ok_and(|now| now != pid))
    })?;
    fleet.wait_running("hub-1", "witness", Limit::seconds(20))?;
    assert_eq!(testimony(&fleet)?, key, "the key is another after a restart");
    Ok(())
}

#[test]
fn a_module_reads_which_chip_is_on_the_bus_of_its_board() -> Result<()> {
    // The board has Winbond's W25Q80; the same module finds Micron's M25P40 where that takes its place.
    for (chip, id) in [("w25q80", "ef5014"), ("m25p40", "202013")] {
        let altered = |board: &str| board.replace("\"w25q80\"", &format!("\"{chip}\""));
        let fleet = Fleet::start_altered(&[("n2-1", "netduino2")], altered)?;
        fleet.cli(&["module", "push", &module("chip")?.to_string_lossy(), "--version", "1.0.0"])?;
        fleet.cli(&["deploy", "chip", "--to", "n2-1", "--wait"])?;
        let found = fleet.subscribe_once("wasmbed/v1/n2-1/up/tm/chip")?;
        ensure!(found.trim() == id, "{found} instead of {id} for {chip}");
    }
    Ok(())
}

/// Checks the next reading of `witness` and returns whose it is.
fn testimony(fleet: &Fleet) -> Result<[u8; 32]> {
    let payload = fleet.subscribe_bytes("wasmbed/v1/hub-1/up/tm/witness")?;
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
