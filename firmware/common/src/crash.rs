//! What survives a reset: how often the device started, why it reset itself, and the last crash.
//!
//! One [`Record`] lives in memory that the start-up code does not touch. After power-on it holds
//! noise, which its check tells from a record; after a reset it holds what the run before left.
//!
//! Not here: where the record is placed (the board's `memory.x`, section `.crash`), and reporting it
//! (the agent).

use core::{fmt, fmt::Write as _, str};

use wasmbed_wire::message::ResetCause;

/// Longest crash text that is kept, in bytes; the rest is cut off.
pub const MAX_TEXT_BYTES: usize = 160;

const MAGIC: u32 = u32::from_le_bytes(*b"WBCR");

/// The memory that survives a reset. Its fields mean nothing until [`Record::begin`] has judged them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Record {
    magic: u32,
    starts: u32,
    cause: u32,
    text_len: u32,
    pc: u32,
    /// The connect that preceded the crash, as the agent numbers them.
    boot: u32,
    uptime_ms: [u32; 2],
    text: [u8; MAX_TEXT_BYTES],
    check: u32,
}

/// How a run began, in the words of the run before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Starts since power came on, this one included.
    pub starts: u32,
    /// Why the device started.
    pub cause: ResetCause,
    /// The last connect before, as the agent numbers them; 0 if not known.
    pub last_boot: u32,
    /// The crash that caused the reset, or where the watchdog found the device, if one did.
    pub crash: Option<LastCrash>,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start { starts, cause, crash, .. } = self;
        let cause = match cause {
            ResetCause::Power => "power came on",
            ResetCause::Command => "restarted on request",
            ResetCause::Crash => "crashed",
            ResetCause::Watchdog => "reset from outside",
        };
        write!(f, "start {starts}, {cause}")?;
        match crash {
            Some(crash) => write!(f, " after {} ms at {:#010x}: {}", crash.uptime_ms, crash.pc, crash.text()),
            None => Ok(()),
        }
    }
}

/// A crash, as kept across the reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCrash {
    text: Text,
    /// Where, as a program address; 0 if not known.
    pub pc: u32,
    /// The agent's connect counter at that time.
    pub boot: u32,
    /// When, in milliseconds since that start.
    pub uptime_ms: u64,
}

impl LastCrash {
    /// What was said, perhaps cut short.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }
}

/// Where and when a crash happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// The program address; 0 if not known.
    pub pc: u32,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
}

impl Record {
    /// Nothing known: what power-on finds.
    pub const EMPTY: Record = Record {
        magic: 0,
        starts: 0,
        cause: 0,
        text_len: 0,
        pc: 0,
        boot: 0,
        uptime_ms: [0; 2],
        text: [0; MAX_TEXT_BYTES],
        check: 0,
    };

    /// Why the device starts, without counting this start: for a bootloader, before the firmware's own
    /// [`Record::begin`].
    pub fn reset_cause(&self) -> ResetCause {
        if self.is_intact() { self.cause() } else { ResetCause::Power }
    }

    /// Judges what the last run left, counts this start and prepares the record for this run.
    pub fn begin(&mut self) -> Start {
        let start = if self.is_intact() {
            Start {
                starts: self.starts.saturating_add(1),
                cause: self.reset_cause(),
                last_boot: self.boot,
                crash: self.crash(),
            }
        } else {
            Start { starts: 1, cause: ResetCause::Power, last_boot: 0, crash: None }
        };
        *self = Record { magic: MAGIC, starts: start.starts, boot: start.last_boot, ..Record::EMPTY };
        // A reset nobody announced is the work of a watchdog or of the reset line.
        self.set_cause(ResetCause::Watchdog);
        start
    }

    /// Notes the agent's connect counter, to be told with a later crash.
    pub fn set_boot(&mut self, boot: u32) {
        self.boot = boot;
        self.seal();
    }

    /// Announces a reset on request.
    pub fn command(&mut self) {
        self.set_cause(ResetCause::Command);
    }

    /// Keeps a crash. The first one of a run is the cause; what follows from it changes nothing.
    pub fn crash_with(&mut self, place: Place, text: fmt::Arguments<'_>) {
        self.keep(ResetCause::Crash, place, text);
    }

    /// Keeps where the board's own watchdog found the device, unless that is a crash already.
    pub fn hang_with(&mut self, place: Place, text: fmt::Arguments<'_>) {
        self.keep(ResetCause::Watchdog, place, text);
    }

    fn keep(&mut self, cause: ResetCause, place: Place, text: fmt::Arguments<'_>) {
        if self.is_intact() && self.cause == ResetCause::Crash as u32 {
            return;
        }
        let mut kept = Text::default();
        // An error means that the text was cut; what is there is kept.
        let _ = kept.write_fmt(text);
        self.text = kept.bytes;
        self.text_len = kept.len as u32;
        self.pc = place.pc;
        self.uptime_ms = [place.uptime_ms as u32, (place.uptime_ms >> 32) as u32];
        self.set_cause(cause);
    }

    fn cause(&self) -> ResetCause {
        [ResetCause::Command, ResetCause::Crash, ResetCause::Watchdog]
            .into_iter()
            .find(|cause| *cause as u32 == self.cause)
            .unwrap_or(ResetCause::Power)
    }

    fn crash(&self) -> Option<LastCrash> {
        let is_told = self.cause == ResetCause::Watchdog as u32 && self.text_len > 0;
        (is_told || self.cause == ResetCause::Crash as u32).then_some(LastCrash {
            text: Text { bytes: self.text, len: (self.text_len as usize).min(MAX_TEXT_BYTES) },
            pc: self.pc,
            boot: self.boot,
            uptime_ms: u64::from(self.uptime_ms[0]) | u64::from(self.uptime_ms[1]) << 32,
        })
    }

    fn set_cause(&mut self, cause: ResetCause) {
        self.cause = cause as u32;
        self.seal();
    }

    fn is_intact(&self) -> bool {
        self.magic == MAGIC && self.check == self.expected_check()
    }

    fn seal(&mut self) {
        self.check = self.expected_check();
    }

    /// FNV-1a over everything but the check: it tells a record from noise, not from an attacker.
    fn expected_check(&self) -> u32 {
        let words = [
            self.magic,
            self.starts,
            self.cause,
            self.text_len,
            self.pc,
            self.boot,
            self.uptime_ms[0],
            self.uptime_ms[1],
        ];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).chain(self.text);
        bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// Text of limited length; what does not fit is cut off at a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; MAX_TEXT_BYTES],
    len: usize,
}

impl Text {
    /// The text; what a record spoiled beyond UTF-8 is left out.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
            }
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Text { bytes: [0; MAX_TEXT_BYTES], len: 0 }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = text.floor_char_boundary(room.len());
        for (slot, byte) in room.iter_mut().zip(text.as_bytes().iter().take(fits)) {
            *slot = *byte;
        }
        self.len += fits;
        // An error ends the formatting: a later short piece would look like the end of this one.
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Gives access to the record in the memory that survives a reset.
///
/// `f` must not come back here: it would find the record borrowed.
#[cfg(target_os = "none")]
pub fn with_record<R>(f: impl FnOnce(&mut Record) -> R) -> R {
    unsafe extern "C" {
        /// The board's `memory.x` places it outside everything the start-up code initialises.
        static mut __crash_record: Record;
    }
    critical_section::with(|_| {
        // SAFETY: the symbol names memory reserved for a `Record`, of which every bit pattern is
        // valid; the critical section keeps interrupt handlers out, and `f` does not come back.
        f(unsafe { &mut *core::ptr::addr_of_mut!(__crash_record) })
    })
}

/// For [`Setup::keep_boot`](crate::Setup::keep_boot): the record keeps the agent's connect counter.
#[cfg(target_os = "none")]
pub fn keep_boot(boot: u32) {
    with_record(|record| record.set_boot(boot));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Record {
        let mut record = Record::EMPTY;
        record.begin();
        record
    }

    #[test]
    fn power_on_is_the_first_start() {
        let mut record = Record { text: [0x5a; MAX_TEXT_BYTES], starts: 77, ..Record::EMPTY };
        assert_eq!(record.begin(), Start { starts: 1, cause: ResetCause::Power, last_boot: 0, crash: None });
    }

    #[test]
    fn a_crash_is_told_once_after_the_reset() {
        let mut record = started();
        record.set_boot(9);
        record.crash_with(Place { pc: 0x0800_1234, uptime_ms: 5_000_000_000 }, format_args!("lost {}", 7));
        let start = record.begin();
        let crash = start.crash.expect("a crash");
        assert_eq!((start.starts, start.cause), (2, ResetCause::Crash));
        assert_eq!((crash.text(), crash.pc, crash.boot), ("lost 7", 0x0800_1234, 9));
        assert_eq!(crash.uptime_ms, 5_000_000_000);
        assert_eq!(record.begin().crash, None);
    }

    #[test]
    fn the_first_crash_of_a_run_is_kept() {
        let mut record = started();
        record.crash_with(Place::default(), format_args!("cause"));
        record.crash_with(Place::default(), format_args!("consequence"));
        assert_eq!(record.begin().crash.expect("a crash").text(), "cause");
    }

    #[test]
    fn where_the_watchdog_found_the_device_is_told_unless_it_had_crashed() {
        let mut record = started();
        record.hang_with(Place { pc: 0x0800_1234, uptime_ms: 1 }, format_args!("hung"));
        let start = record.begin();
        assert_eq!(start.cause, ResetCause::Watchdog);
        assert_eq!(start.crash.map(|crash| (crash.pc, crash.boot)), Some((0x0800_1234, 0)));
        assert_eq!(record.begin().crash, None, "a reset from outside tells nothing");
        record.crash_with(Place::default(), format_args!("cause"));
        record.hang_with(Place::default(), format_args!("consequence"));
        let start = record.begin();
        assert_eq!((start.cause, start.crash.expect("a crash").text()), (ResetCause::Crash, "cause"));
    }

    #[test]
    fn a_restart_on_request_is_no_crash() {
        let mut record = started();
        record.set_boot(5);
        record.command();
        let start = Start { starts: 2, cause: ResetCause::Command, last_boot: 5, crash: None };
        assert_eq!(record.reset_cause(), start.cause);
        assert_eq!(record.begin(), start);
        assert_eq!(record.reset_cause(), ResetCause::Watchdog);
        assert_eq!(record.begin().cause, ResetCause::Watchdog);
    }

    #[test]
    fn a_spoiled_record_is_noise() {
        let mut record = started();
        record.crash_with(Place::default(), format_args!("text"));
        record.text[2] ^= 1;
        assert_eq!(record.reset_cause(), ResetCause::Power);
        assert_eq!(record.begin().starts, 1);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let mut text = Text::default();
        assert!((0..MAX_TEXT_BYTES).any(|_| write!(text, "€").is_err()));
        assert_eq!(text.as_str().len(), MAX_TEXT_BYTES - MAX_TEXT_BYTES % 3);
    }
}
