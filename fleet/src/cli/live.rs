//! A table of devices that is refreshed in place.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use anyhow::Result;

use super::{output, table::Table};
use crate::{api::Device, host_api::ProcessStatus};

/// Time between two looks at the fleet.
pub(super) const REFRESH: Duration = Duration::from_millis(500);

/// The devices as a table.
pub(super) fn table(devices: &[Device]) -> Table<7> {
    let mut table = Table::new(["DEVICE", "BOARD", "STATUS", "FIRMWARE", "UPTIME", "HEAP", "MODULES"]);
    for device in devices {
        let none = || "-".to_owned();
        // What was true of a device that is gone is not true now.
        let heartbeat = device.heartbeat.as_ref().filter(|_| device.is_online());
        let total = device.info.as_ref().map_or(0, |info| info.heap_bytes);
        let heap = heartbeat.map(|beat| match total {
            0 => output::bytes(beat.heap_used.into()),
            total => format!("{} of {}", output::bytes(beat.heap_used.into()), output::bytes(total.into())),
        });
        table.row([
            device.id.to_string(),
            device.board.to_string(),
            output::status(device).to_owned(),
            device.info.as_ref().map_or_else(none, |info| info.firmware.clone()),
            heartbeat.map_or_else(none, |beat| output::length(Duration::from_millis(beat.uptime_ms))),
            heap.unwrap_or_else(none),
            output::modules(device),
        ]);
    }
    table
}

/// The devices as a table, and below it what keeps some of them from running.
pub(super) fn text(devices: &[Device]) -> String {
    let mut text = table(devices).to_string();
    for device in devices.iter().filter(|device| !device.is_online()) {
        let process = device.process.as_ref();
        let failing =
            process.filter(|process| matches!(process.status, ProcessStatus::Error | ProcessStatus::Backoff));
        if let Some(reason) = failing.and_then(|process| process.reason.as_deref()) {
            text.push_str(&format!("{}: {reason}\n", device.id));
        }
    }
    text
}

/// What of the devices changes seldom.
pub(super) fn gist(devices: &[Device]) -> String {
    let line =
        |device: &Device| format!("{} {} {}", device.id, output::status(device), output::modules(device));
    devices.iter().map(line).collect()
}

/// Prints a text again and again in the same place; where there is no terminal, only when its gist changed.
pub(super) struct Live {
    in_place: bool,
    last: String,
    gist: String,
}

impl Live {
    pub(super) fn new() -> Self {
        Live { in_place: stdout().is_terminal(), last: String::new(), gist: String::new() }
    }

    /// Shows a text. `gist` is what has to change for it to be worth a new print where there is no
    /// terminal.
    pub(super) fn show(&mut self, text: String, gist: String) -> Result<()> {
        let is_news = if self.in_place { text != self.last } else { gist != self.gist };
        if !is_news {
            return Ok(());
        }
        self.gist = gist;
        if self.in_place && !self.last.is_empty() {
            // Up to the first line of what was printed before, and clear from there.
            output::text(format_args!("\x1b[{}A\x1b[J", self.last.lines().count()))?;
        }
        if self.in_place {
            // Lines that do not fit are cut: a wrapped one would count as two.
            output::text(format_args!("\x1b[?7l{text}\x1b[?7h"))?;
        } else {
            output::text(&text)?;
        }
        self.last = text;
        Ok(())
    }

    /// Whether it refreshes in place.
    pub(super) fn is_terminal(&self) -> bool {
        self.in_place
    }
}
