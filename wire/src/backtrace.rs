//! Where a module stopped, before it is a message.

use crate::message::{Frame, MAX_FRAMES};

/// Functions that were being executed when a module stopped, innermost first; the outermost may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backtrace {
    frames: [Frame; MAX_FRAMES],
    len: u8,
}

impl Backtrace {
    /// The frames.
    pub fn frames(&self) -> &[Frame] {
        self.frames.get(..self.len.into()).unwrap_or_default()
    }
}

impl FromIterator<Frame> for Backtrace {
    fn from_iter<I: IntoIterator<Item = Frame>>(frames: I) -> Self {
        let mut backtrace = Backtrace::default();
        for (place, frame) in backtrace.frames.iter_mut().zip(frames) {
            *place = frame;
            backtrace.len += 1;
        }
        backtrace
    }
}
