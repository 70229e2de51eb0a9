//! What is said while a module runs: one line for each thing that happens.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use wasmbed_wire::limits::Class;

use crate::{api::Violation, cli::output};

/// Something that happened, at a time of the device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    /// Milliseconds since the device started.
    pub(super) at_ms: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// The class admits the module with this.
    Warning(Violation),
    /// It is instantiated, and `init` answered 0.
    Started { class: Class, memory_bytes: u64, interval_ms: u32 },
    /// `tick` came back; `fuel` is 0 where a clock limits calls.
    Tick { number: u64, fuel: u64 },
    /// It wrote to the log.
    Log { level: &'static str, line: String },
    /// It published text.
    Telemetry { channel: String, text: String },
    /// It published bytes that are no text.
    TelemetryBytes { channel: String, hex: String },
    /// It published a message of text.
    Message { channel: String, text: String },
    /// It published a message of bytes that are no text.
    MessageBytes { channel: String, hex: String },
    /// It drove a pin to another level.
    Gpio { pin: u32, high: bool },
    /// It asked for something that the script does not have.
    Missing { what: String },
    /// It failed.
    Failed { reason: String },
    /// It ran for as long as was asked for.
    Ended { ticks: u64, memory_bytes: u64, most_fuel: u64 },
}

/// Takes what happened; where it goes is the caller's to say.
pub(super) type Sink = Box<dyn FnMut(&Line) -> Result<()> + Send>;

/// Prints lines for people, or as JSON, one object a line.
pub(super) fn printer(json: bool) -> Sink {
    if json {
        Box::new(|line| output::line(serde_json::to_string(line)?))
    } else {
        Box::new(|line| output::line(line))
    }
}

impl Event {
    pub(super) fn telemetry(channel: &str, payload: &[u8]) -> Self {
        let channel = channel.to_owned();
        match std::str::from_utf8(payload) {
            Ok(text) => Event::Telemetry { channel, text: text.to_owned() },
            Err(_) => Event::TelemetryBytes { channel, hex: hex(payload) },
        }
    }

    pub(super) fn message(channel: &str, payload: &[u8]) -> Self {
        let channel = channel.to_owned();
        match std::str::from_utf8(payload) {
            Ok(text) => Event::Message { channel, text: text.to_owned() },
            Err(_) => Event::MessageBytes { channel, hex: hex(payload) },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  {}", self.at_ms, self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Warning(Violation { rule, found, limit }) => {
                write!(f, "warning    {rule}: {found}; {limit}")
            }
            Event::Started { class, memory_bytes, interval_ms } => write!(
                f,
                "started    class {class}, {memory_bytes} bytes of memory, a tick every {interval_ms} ms"
            ),
            Event::Tick { number, fuel: 0 } => write!(f, "tick       {number}"),
            Event::Tick { number, fuel } => write!(f, "tick       {number}, {fuel} fuel"),
            // What modules say may hold anything; it must not command the terminal.
            Event::Log { level, line } => write!(f, "log        {level}: {}", output::plain(line)),
            Event::Telemetry { channel, text } => write!(f, "telemetry  {channel}: {}", output::plain(text)),
            Event::TelemetryBytes { channel, hex } => write!(f, "telemetry  {channel}: 0x{hex}"),
            Event::Message { channel, text } => write!(f, "message    {channel}: {}", output::plain(text)),
            Event::MessageBytes { channel, hex } => write!(f, "message    {channel}: 0x{hex}"),
            Event::Gpio { pin, high } => {
                write!(f, "gpio       pin {pin} {}", if *high { "high" } else { "low" })
            }
            Event::Missing { what } => write!(f, "missing    {what}; --peripherals can say what it is"),
            Event::Failed { reason } => write!(f, "failed     {reason}"),
            Event::Ended { ticks, memory_bytes, most_fuel } => {
                write!(
                    f,
                    "ended      {}, {memory_bytes} bytes of memory",
                    output::count(*ticks as usize, "tick")
                )?;
                if *most_fuel > 0 { write!(f, ", at most {most_fuel} fuel for one") } else { Ok(()) }
            }
        }
    }
}
