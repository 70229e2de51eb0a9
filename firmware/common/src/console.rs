//! Text for people, on the same line as the link.

use core::fmt;

use heapless::Vec;
use wasmbed_wire::link;

/// Longest line, in bytes; the rest is cut off.
const LINE_BYTES: usize = 240;
/// Bytes of a frame with the longest line.
const FRAME_BYTES: usize = 1 + link::encoded_bytes(LINE_BYTES);

/// One line of text, ready to be sent as a frame of its own.
///
/// It needs no heap and no link, so that a crash can be told with it.
pub struct Line(Vec<u8, FRAME_BYTES>);

impl Line {
    /// The line with this text.
    pub fn new(text: fmt::Arguments<'_>) -> Self {
        let mut line = Text(Vec::new());
        // An error means that the line was cut; what is there is told.
        let _ = fmt::write(&mut line, text);
        let mut frame = Vec::new();
        // The capacity is the size.
        let _ = frame.resize(FRAME_BYTES, 0);
        let len = link::console_frame(&line.0, &mut frame);
        frame.truncate(len);
        Line(frame)
    }

    /// The bytes for the line.
    pub fn frame(&self) -> &[u8] {
        &self.0
    }
}

struct Text(Vec<u8, LINE_BYTES>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(LINE_BYTES - self.0.len());
        let (kept, cut) = text.as_bytes().split_at(fits);
        let kept = self.0.extend_from_slice(kept);
        if cut.is_empty() { kept.map_err(|_| fmt::Error) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use wasmbed_wire::link::{Config, Event, Link};

    use super::*;

    fn told(text: fmt::Arguments<'_>) -> std::string::String {
        let config = Config { window: 1, resend_ms: 100, ping_ms: None, dead_ms: 1000 };
        let mut link = Link::<512, 64>::new(0, config, 1);
        let line = Line::new(text);
        assert_eq!(link.on_bytes(0, line.frame()), line.frame().len());
        match link.poll_event() {
            Some(Event::Console(text)) => std::str::from_utf8(text).expect("text").into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_arrives_as_console_text() {
        assert_eq!(told(format_args!("{} is {}", "answer", 42)), "answer is 42");
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let long = "€".repeat(LINE_BYTES);
        assert_eq!(told(format_args!("x{long}")).len(), 1 + (LINE_BYTES - 1) / 3 * 3);
    }
}
