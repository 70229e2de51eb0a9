//! What the firmware flash says, for people and scripts; nothing is changed.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use serde::Serialize;
use wasmbed_core::{Fault, Flash};
use wasmbed_update::{Attempt, BootKeys, ImageSlot, Journal, Record, Target, What, artifact_id, read_header};
use wasmbed_wire::{BoardName, message::Reason, sign1::Sign1};

use crate::{
    boot::{self, manifest},
    flash::{FileFlash, LAYOUT},
    launch::slot_name,
    settings::Settings,
};

/// The boot record and everything it is about.
#[derive(Serialize, Default)]
struct Slots {
    /// The slot that runs.
    active: Option<&'static str>,
    trial: Option<Trial>,
    /// The highest security counter that was confirmed.
    counter: u32,
    /// Version of the keyring in use, if it is not the provisioned one.
    keyring: Option<u32>,
    transfer: Option<Transfer>,
    slots: BTreeMap<&'static str, Image>,
}

#[derive(Serialize)]
struct Trial {
    slot: &'static str,
    tries_left: u8,
    started: bool,
    generation: u32,
}

/// A download under way.
#[derive(Serialize)]
struct Transfer {
    artifact: String,
    to: &'static str,
    blocks: u32,
    /// The first block that is missing, counted from 0.
    missing: u32,
}

/// A complete image.
#[derive(Serialize)]
struct Image {
    name: String,
    version: String,
    artifact: String,
    /// SHA-256 of the image as the manifest says it.
    image: String,
    size_bytes: u32,
    counter: u32,
    /// Why it would not be started, whatever the record says.
    refused: Option<Reason>,
    /// Why it is not tried again.
    blocked: Option<Reason>,
}

/// Prints it as JSON.
pub(crate) fn print(settings: &Settings) -> anyhow::Result<()> {
    let flash = FileFlash::inspect(&settings.data_dir).context("cannot open the firmware flash")?;
    let found = match flash {
        Some(mut flash) => read(settings, &mut flash)
            .map_err(|fault| anyhow!("the firmware flash cannot be read ({fault:?})"))?,
        None => Slots::default(),
    };
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(())
}

fn read(settings: &Settings, flash: &mut impl Flash) -> Result<Slots, Fault> {
    let record = Record::load(flash, &LAYOUT)?;
    let (keyring, keys) = boot::keys(settings, flash)?;
    let mut slots = BTreeMap::new();
    for slot in ImageSlot::ALL {
        if let Some(image) = image(flash, settings.board, &keys, &record, slot)? {
            slots.insert(slot_name(slot), image);
        }
    }
    Ok(Slots {
        active: record.active.map(slot_name),
        trial: record.trial.map(|Attempt { slot, tries, generation, started }| Trial {
            slot: slot_name(slot),
            tries_left: tries,
            started,
            generation,
        }),
        counter: record.counter,
        keyring: keyring.version(),
        transfer: transfer(flash)?,
        slots,
    })
}

fn transfer(flash: &mut impl Flash) -> Result<Option<Transfer>, Fault> {
    let journal = Journal::new(&LAYOUT);
    let Some(filling) = journal.filling(flash)? else { return Ok(None) };
    let to = match filling.what {
        What::Slot(slot) => slot_name(slot),
        What::Patch => "patch",
    };
    let (missing, _) = journal.missing(flash, filling.blocks)?;
    Ok(Some(Transfer { artifact: filling.artifact.to_string(), to, blocks: filling.blocks, missing }))
}

fn image(
    flash: &mut impl Flash,
    board: BoardName,
    keys: &BootKeys,
    record: &Record,
    slot: ImageSlot,
) -> Result<Option<Image>, Fault> {
    let Some(header) = read_header(flash, &LAYOUT, slot)? else { return Ok(None) };
    let Some(manifest) = manifest(&header) else { return Ok(None) };
    let payload = Sign1::decode(header.as_ref()).map(|signed| signed.payload).unwrap_or_default();
    let target = Target { board, counter: record.counter, image_bytes: LAYOUT.image_bytes };
    let blocked = record.find(&manifest.digest).map(|blocked| blocked.reason);
    Ok(Some(Image {
        name: manifest.name.to_string(),
        version: manifest.version.to_owned(),
        artifact: artifact_id(payload).to_string(),
        image: manifest.digest.to_string(),
        size_bytes: manifest.size,
        counter: manifest.counter,
        refused: keys.judge(&target, header.as_ref()).err(),
        blocked,
    }))
}
