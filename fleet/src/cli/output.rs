//! What people and programs read on standard output.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde::Serialize;
use wasmbed_wire::message::ModuleState;

use crate::api::{Device, DeviceModule};

/// Characters of a progress bar.
const BAR: usize = 20;

/// Prints a line.
pub(super) fn line(text: impl fmt::Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints text that ends its own lines.
pub(super) fn text(text: impl fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Prints JSON for programs, indented as people may look at it too.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Whether the reader of our output has gone, as `head` does: no reason to complain.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What a device is doing, in one word.
pub(super) fn status(device: &Device) -> &'static str {
    if device.is_online() { "online" } else { device.health.stage.name() }
}

/// What a device's modules are doing, in a few words.
pub(super) fn modules(device: &Device) -> String {
    let is_online = device.is_online();
    let words: Vec<String> = device.modules.iter().map(|of| module(of, is_online)).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// What one module is doing, or did when its device was last heard of, in a few words.
pub(super) fn module(module: &DeviceModule, is_online: bool) -> String {
    let version = module.version.as_deref().unwrap_or("?");
    let state = match module.state {
        None => "waiting".to_owned(),
        Some(ModuleState::Downloading) => format!("{} %", module.progress),
        Some(ModuleState::Starting) => "starting".to_owned(),
        Some(ModuleState::Running) => "running".to_owned(),
        Some(ModuleState::Backoff) => "backoff".to_owned(),
        Some(ModuleState::Failed) => "failed".to_owned(),
        Some(ModuleState::Refused) => "refused".to_owned(),
    };
    let was = if is_online || module.state.is_none() { "" } else { "was " };
    let unwanted = if module.wanted { "" } else { ", leaving" };
    format!("{} {version} ({was}{state}{unwanted})", module.name)
}

/// Bytes as people read them.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// A share of 0 to 100 percent as a picture and a number.
pub(super) fn bar(percent: u8) -> String {
    let percent = percent.min(100);
    let full = BAR * usize::from(percent) / 100;
    let (full, empty) = ("#".repeat(full), "-".repeat(BAR - full));
    format!("[{full}{empty}] {percent:>3} %")
}

/// A number of things.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A length of time as people read it.
pub(super) fn length(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6_000 => format!("{} min", seconds / 60),
        seconds @ 6_000..360_000 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text with control characters as escapes: nothing in it moves a terminal's cursor, or ends a line.
pub(super) fn plain(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// How long ago a moment of Unix time was.
pub(super) fn ago(unix_ms: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", length(now.saturating_sub(Duration::from_millis(unix_ms))))
}

/// A moment of Unix time as UTC, to the second.
pub(super) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date with years that begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_at_the_end_only() {
        assert_eq!(bar(0), "[--------------------]   0 %");
        assert_eq!(bar(99), "[###################-]  99 %");
        assert_eq!(bar(100), "[####################] 100 %");
    }

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(unix_s * 1000), text);
        }
    }
}
