//! The gateway's end: what one instance of a module on a device is told.

use alloc::{string::String, vec::Vec};

use wasmbed_abi::Errno;
use wasmbed_wire::ros::{RosHave, RosTell, RosWhat};

use crate::{encoded, window::Window};

/// Between the first two times that something is told; each pause is twice the one before, up to the last.
const FIRST_PAUSE_MS: u64 = 1_000;
const LAST_PAUSE_MS: u64 = 30_000;

/// One thing for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tell {
    /// What it is.
    pub what: RosWhat,
    /// The topic of a message, the service of a request; otherwise empty.
    pub name: String,
    /// Of a request, what it is answered with; otherwise that of the call or question.
    pub ticket: u32,
    /// The message, request, response, answer or text, or why there is none.
    pub content: Result<Vec<u8>, Errno>,
}

/// One run of an instance. Times are in milliseconds of any clock that only goes forward.
#[derive(Debug)]
pub struct GatewayEnd {
    run: u32,
    /// Of what it wants.
    number: u32,
    /// Of what it is told, or is told next.
    seq: u64,
    under_way: Option<UnderWay>,
    calls: Window,
}

/// What was not taken yet.
#[derive(Debug)]
struct UnderWay {
    tell: Tell,
    due_ms: u64,
    pause_ms: u64,
}

impl GatewayEnd {
    /// A run that is told things numbered from `first` on: a number above all that a gateway gave before, which the
    /// milliseconds of Unix time are.
    pub fn new(run: u32, first: u64) -> Self {
        GatewayEnd { run, number: 0, seq: first, under_way: None, calls: Window::default() }
    }

    /// Which run it is.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Whether a want with this number is newer than what is known; then it is known.
    pub fn is_newer(&mut self, number: u32) -> bool {
        let is_newer = number > self.number;
        self.number = self.number.max(number);
        is_newer
    }

    /// What to answer to a want.
    pub fn have(&self, patience_ms: u32) -> RosHave {
        RosHave { run: self.run, number: self.number, patience_ms }
    }

    /// Whether a call with this ticket was not made yet; then it is.
    pub fn is_first_call(&mut self, ticket: u32) -> bool {
        self.calls.is_first(ticket)
    }

    /// Whether the next thing can be told.
    pub fn is_free(&self) -> bool {
        self.under_way.is_none()
    }

    /// Tells something, when the last was taken.
    pub fn tell(&mut self, now_ms: u64, tell: Tell) {
        self.under_way = Some(UnderWay { tell, due_ms: now_ms, pause_ms: FIRST_PAUSE_MS });
    }

    /// The instance has taken everything up to this number.
    pub fn on_taken(&mut self, now_ms: u64, seq: u64) {
        let Some(under_way) = &mut self.under_way else { return };
        if seq == self.seq {
            self.seq = seq.saturating_add(1);
            self.under_way = None;
        } else if seq > self.seq {
            // It heard another gateway, whose clock was ahead of this one.
            self.seq = seq.saturating_add(1);
            under_way.due_ms = now_ms;
        }
    }

    /// The message that is due, to be said now.
    pub fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let under_way = self.under_way.as_mut().filter(|under_way| under_way.due_ms <= now_ms)?;
        under_way.due_ms = now_ms.saturating_add(under_way.pause_ms);
        under_way.pause_ms = under_way.pause_ms.saturating_mul(2).min(LAST_PAUSE_MS);
        let Tell { what, name, ticket, content } = &under_way.tell;
        let error = content.as_ref().err().and_then(|errno| u8::try_from(-errno.code()).ok());
        let bytes = content.as_deref().unwrap_or_default();
        let (run, seq, ticket) = (self.run, self.seq, *ticket);
        encoded(RosTell { run, seq, what: *what, name, ticket, error, bytes }).ok()
    }

    /// When to poll again even if nothing happens.
    pub fn next_deadline(&self) -> Option<u64> {
        self.under_way.as_ref().map(|under_way| under_way.due_ms)
    }
}
