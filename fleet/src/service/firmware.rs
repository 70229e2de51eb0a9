//! What follows from what devices say about their firmware.

use wasmbed_wire::{
    Digest,
    message::{FirmwareReport, FirmwareState, Reason},
};

use super::{
    devices::reason_text,
    fleet::{Fleet, Record},
};
use crate::{
    api,
    store::{FirmwareRow, FirmwareWish, NewEvent, Severity, Told},
};

/// Progress is told at multiples of this, in percent.
const STEP_PERCENT: u8 = 25;

/// What a report leads to.
#[derive(Default)]
pub(super) struct Followed {
    /// What is worth telling.
    pub(super) events: Vec<NewEvent>,
    /// What was told of this attempt so far, with that.
    pub(super) told: Option<Told>,
    /// What the device should run from now on, if that changes.
    pub(super) wish: Option<FirmwareWish>,
}

impl Record {
    /// What it said last of its slots; none if nothing is known, or its firmware cannot be replaced.
    pub(super) fn firmware_slots(&self) -> Option<api::FirmwareSlots> {
        self.row.memory.info.as_ref()?.firmware_slots
    }

    /// Whether the image that runs has not been confirmed yet.
    pub(super) fn is_in_trial(&self) -> bool {
        let Some(slots) = self.firmware_slots() else { return false };
        // A start into a trial is known by the slots before it is reported.
        let is_tried = |report: &api::FirmwareReport| {
            let is_before =
                matches!(report.state, FirmwareState::Staged | FirmwareState::Armed | FirmwareState::Trial);
            is_before && slots.running == Some(report.image)
        };
        self.row.memory.firmware.as_ref().is_some_and(is_tried)
    }

    /// The image it runs, or goes back to after a trial.
    pub(super) fn confirmed_image(&self) -> Option<Digest> {
        let slots = self.firmware_slots()?;
        if self.is_in_trial() { slots.other } else { slots.running }
    }
}

impl Record {
    /// What it says about this attempt at the firmware it should run.
    pub(super) fn firmware_answer(&self) -> Option<&api::FirmwareReport> {
        let wish = self.firmware.as_ref()?;
        let is_meant = |report: &&api::FirmwareReport| {
            report.image == wish.image && report.generation >= wish.generation
        };
        self.row.memory.firmware.as_ref().filter(is_meant)
    }

    /// The version it has in this image: the last one pushed, of those with the same image.
    pub(super) fn version_of<'f>(&self, known: &'f [FirmwareRow], image: &Digest) -> Option<&'f FirmwareRow> {
        let is_meant = |row: &&FirmwareRow| row.digest == *image && row.board == self.row.board;
        known.iter().filter(is_meant).max_by_key(|row| row.at_ms)
    }

    /// Whether it can take a firmware, by what it said of itself last and whoever signed it.
    pub(super) fn takes(&self, firmware: &FirmwareRow) -> Result<(), String> {
        if self.row.board != firmware.board {
            return Err(format!("it is a {}, the firmware is for {}", self.row.board, firmware.board));
        }
        let Some(info) = &self.row.memory.info else { return Ok(()) };
        let Some(slots) = info.firmware_slots else {
            return Err("its firmware cannot be replaced from here".to_owned());
        };
        if firmware.size_bytes > slots.image_bytes {
            return Err(format!(
                "the image has {} bytes, its slots hold {}",
                firmware.size_bytes, slots.image_bytes
            ));
        }
        if firmware.counter < slots.counter {
            return Err(format!(
                "the firmware's security counter is {}, it has confirmed {} and refuses what is below",
                firmware.counter, slots.counter
            ));
        }
        Ok(())
    }
}

/// A report as it is kept. A device that has just started does not know yet what was asked of it: what it
/// then says of the wanted image is about the attempt that is being made.
pub(super) fn kept(record: &Record, report: FirmwareReport) -> api::FirmwareReport {
    let FirmwareReport { image, state, progress, reason, generation, since } = report;
    let wish = record.firmware.as_ref().filter(|wish| wish.image == image && generation == 0);
    let generation = wish.map_or(generation, |wish| wish.generation);
    api::FirmwareReport { image, state, progress, reason, generation, since }
}

impl Fleet {
    /// What follows from what a device reports.
    pub(super) fn follow_firmware(record: &Record, report: Option<&api::FirmwareReport>) -> Followed {
        let told = record.row.memory.told.clone();
        let Some(report) = report else { return Followed { told, ..Followed::default() } };
        let wish = record.firmware.as_ref().filter(|wish| wish.image == report.image);
        let (events, told) = tell(record, wish, report, told);
        let wish =
            wish.and_then(|wish| confirmed(wish, report).or_else(|| without_patch(record, wish, report)));
        Followed { events, told, wish }
    }
}

/// A trial is over once the fleet has seen the image run; by then the patch has done its work.
fn confirmed(wish: &FirmwareWish, report: &api::FirmwareReport) -> Option<FirmwareWish> {
    let since = report.since.filter(|_| report.state == FirmwareState::Trial)?;
    let is_news = wish.confirm.is_none_or(|confirm| confirm < since);
    is_news.then(|| FirmwareWish { confirm: Some(since), patch: None, ..wish.clone() })
}

/// A patch that did not fit says nothing against the image: the whole image is sent instead.
fn without_patch(record: &Record, wish: &FirmwareWish, report: &api::FirmwareReport) -> Option<FirmwareWish> {
    if !is_for_patch(wish, report) {
        return None;
    }
    let generation = u32::try_from(record.row.revision + 1).unwrap_or(u32::MAX);
    Some(FirmwareWish { patch: None, generation, ..wish.clone() })
}

fn is_for_patch(wish: &FirmwareWish, report: &api::FirmwareReport) -> bool {
    let is_about_patch = matches!(report.reason, Some(Reason::WrongBase | Reason::BadPatch));
    wish.patch.is_some()
        && is_about_patch
        && report.state == FirmwareState::Refused
        && report.generation >= wish.generation
}

/// Events of a report: each state of one attempt once, however often a restart repeats it.
fn tell(
    record: &Record,
    wish: Option<&FirmwareWish>,
    report: &api::FirmwareReport,
    told: Option<Told>,
) -> (Vec<NewEvent>, Option<Told>) {
    let is_same = |told: &Told| told.image == report.image && told.generation == report.generation;
    let mut told = told.filter(is_same).unwrap_or_else(|| Told {
        image: report.image,
        generation: report.generation,
        percent: None,
        states: Vec::new(),
    });
    let name = wish.map(|wish| wish.name);
    let version = wish
        .map_or_else(|| format!("the image {}", report.image), |wish| format!("version {}", wish.version));
    let mut events = Vec::new();
    let mut add = |severity, kind, reason| {
        let event = NewEvent { firmware: name, ..NewEvent::new(severity, kind, reason) };
        events.push(event.device(record.row.id));
    };
    if let Some(percent) = percent(record, report, &told) {
        told.percent = Some(percent);
        let bytes = wish.map_or(0, FirmwareWish::transfer_bytes);
        let what = if wish.is_some_and(|wish| wish.patch.is_some()) { " of a patch" } else { "" };
        add(Severity::Info, "firmware-downloading", format!("{version}: {percent} % of {bytes} bytes{what}"));
    }
    // A device that was never told which firmware to run has nothing to confirm.
    // Devices pass from staged to armed without waiting.
    let state = if report.state == FirmwareState::Armed { FirmwareState::Staged } else { report.state };
    let is_news = !told.states.contains(&state) && (wish.is_some() || report.reason.is_some());
    if let Some((severity, kind)) = telling(state).filter(|_| is_news) {
        told.states.push(state);
        let why = report.reason.map_or("", reason_text);
        match state {
            FirmwareState::Trial => add(severity, kind, format!("{version} runs and has to prove itself")),
            FirmwareState::Confirmed => add(severity, kind, format!("{version} runs for good")),
            FirmwareState::Reverted => {
                add(severity, kind, format!("{version}: {why}; the firmware before runs again"));
            }
            FirmwareState::Refused if wish.is_some_and(|wish| is_for_patch(wish, report)) => {
                let reason = format!("{version}: {why}; the whole image is sent instead");
                add(Severity::Warning, kind, reason);
            }
            FirmwareState::Refused => add(severity, kind, format!("{version}: {why}")),
            _ => add(severity, kind, format!("{version} is complete in its slot")),
        }
    }
    (events, Some(told))
}

/// The progress worth telling now.
fn percent(record: &Record, report: &api::FirmwareReport, told: &Told) -> Option<u8> {
    let before = record.row.memory.firmware.as_ref();
    let was_loading = before.is_some_and(|before| {
        before.image == report.image
            && before.generation == report.generation
            && before.state == FirmwareState::Downloading
    });
    let reached = match report.state {
        FirmwareState::Downloading => report.progress.min(100) / STEP_PERCENT * STEP_PERCENT,
        // The last block is followed by the next step at once.
        FirmwareState::Patching
        | FirmwareState::Verifying
        | FirmwareState::Staged
        | FirmwareState::Armed
        | FirmwareState::Trial
            if was_loading =>
        {
            100
        }
        _ => return None,
    };
    told.percent.is_none_or(|percent| percent < reached).then_some(reached)
}

/// Which states are worth an event.
const fn telling(state: FirmwareState) -> Option<(Severity, &'static str)> {
    match state {
        FirmwareState::Staged => Some((Severity::Info, "firmware-staged")),
        FirmwareState::Trial => Some((Severity::Info, "firmware-trial")),
        FirmwareState::Confirmed => Some((Severity::Info, "firmware-confirmed")),
        FirmwareState::Reverted => Some((Severity::Alert, "firmware-reverted")),
        FirmwareState::Refused => Some((Severity::Alert, "firmware-refused")),
        FirmwareState::Checking
        | FirmwareState::Downloading
        | FirmwareState::Patching
        | FirmwareState::Verifying
        | FirmwareState::Armed => None,
    }
}
