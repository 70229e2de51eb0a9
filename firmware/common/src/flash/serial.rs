//! A NOR chip behind a serial line ([`wasmbed_wire::nor`]).
//!
//! What is lost or damaged on the line is asked for again; request numbers tell a late answer from the one
//! that is waited for.

use wasmbed_update::{Fault, Flash};
use wasmbed_wire::nor::{Answer, Frames, MAX_DATA_BYTES, MAX_FRAME_BYTES, Operation, Request};

/// How often a request is made before the chip is given up.
const TRIES: u32 = 8;

/// The line to the chip.
pub trait SerialLine {
    /// Sends these bytes.
    fn send(&mut self, bytes: &[u8]);

    /// The next byte; `None` if none came within the time a chip has to answer.
    fn receive(&mut self) -> Option<u8>;
}

/// The chip.
pub struct SerialNor<L> {
    line: L,
    sector_bytes: u32,
    number: u8,
    frames: Frames,
    /// Where the processor sees the chip's contents.
    window: &'static [u8],
    /// What it sees there: the contents from this address on.
    shown: Option<u32>,
}

impl<L: SerialLine> SerialNor<L> {
    /// The chip at the end of this line, with sectors of this size; its contents are visible in `window` once
    /// [`SerialNor::map`] or [`SerialNor::is_mapped`] says which.
    pub const fn new(line: L, sector_bytes: u32, window: &'static [u8]) -> Self {
        SerialNor { line, sector_bytes, number: 0, frames: Frames::new(), window, shown: None }
    }

    /// Makes the contents from `address` on, the beginning of a sector, visible and returns them. The board
    /// may be reset meanwhile.
    ///
    /// # Errors
    /// Those of [`Flash::read`].
    pub fn map(&mut self, address: u32) -> Result<&'static [u8], Fault> {
        self.ask(Operation::Map { address }, &mut [])?;
        self.shown = Some(address);
        Ok(self.window)
    }

    /// Notes what was mapped before this program started: nothing of it is read through the line again.
    pub fn is_mapped(&mut self, address: u32) {
        self.shown = Some(address);
    }

    /// Makes a request until it is answered; the answer has to fill `out`.
    fn ask(&mut self, operation: Operation<'_>, out: &mut [u8]) -> Result<(), Fault> {
        for _ in 0..TRIES {
            self.number = self.number.wrapping_add(1);
            let mut frame = [0; MAX_FRAME_BYTES];
            let request = Request { number: self.number, operation };
            let len = request.encode(&mut frame).ok_or(Fault::OutOfRange)?;
            self.line.send(frame.get(..len).unwrap_or_default());
            if let Some(result) = self.answer(out) {
                return result;
            }
        }
        Err(Fault::Failed)
    }

    /// The answer to the last request; `None` if it does not come.
    fn answer(&mut self, out: &mut [u8]) -> Option<Result<(), Fault>> {
        loop {
            let byte = self.line.receive()?;
            let Some(Ok(answer)) = self.frames.push(byte).map(Answer::decode) else { continue };
            match answer.result {
                _ if answer.number != self.number => {}
                Ok(data) if data.len() == out.len() => {
                    out.copy_from_slice(data);
                    return Some(Ok(()));
                }
                // Not an answer to what was asked.
                Ok(_) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    /// These bytes, if the window shows all of them.
    fn visible(&self, address: u32, len: usize) -> Option<&'static [u8]> {
        let start = address.checked_sub(self.shown?)? as usize;
        self.window.get(start..start.checked_add(len)?)
    }

    /// The window still shows what was there when the board started.
    fn forget_window(&mut self, address: u32, len: usize) {
        let overlaps = self.shown.is_some_and(|shown| {
            let (start, end) = (u64::from(address), u64::from(address) + len as u64);
            start < u64::from(shown) + self.window.len() as u64 && u64::from(shown) < end
        });
        if overlaps {
            self.shown = None;
        }
    }
}

impl<L: SerialLine> Flash for SerialNor<L> {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        if let Some(bytes) = self.visible(address, out.len()) {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        let mut at = address;
        for piece in out.chunks_mut(MAX_DATA_BYTES) {
            self.ask(Operation::Read { address: at, len: piece.len() as u16 }, piece)?;
            at = at.checked_add(piece.len() as u32).ok_or(Fault::OutOfRange)?;
        }
        Ok(())
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.forget_window(address, bytes.len());
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let in_sector = self.sector_bytes - at % self.sector_bytes;
            let (piece, after) = rest.split_at(rest.len().min(MAX_DATA_BYTES).min(in_sector as usize));
            self.ask(Operation::Program { address: at, data: piece }, &mut [])?;
            at = at.checked_add(piece.len() as u32).ok_or(Fault::OutOfRange)?;
            rest = after;
        }
        Ok(())
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        self.forget_window(address, self.sector_bytes as usize);
        self.ask(Operation::Erase { address }, &mut [])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use wasmbed_update::model::Nor;

    use super::*;

    const SECTOR: u32 = 0x1000;

    /// What happens to the next answers, in turn.
    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Arrives,
        Lost,
        Damaged,
        /// Comes with the answer after it.
        Late,
    }

    /// A chip in memory that answers at once.
    struct Chip {
        nor: Nor,
        requests: Frames,
        answers: VecDeque<u8>,
        late: Vec<u8>,
        fates: VecDeque<Fate>,
        heard: u32,
    }

    impl Chip {
        fn new(fates: &[Fate]) -> Self {
            Chip {
                nor: Nor::noisy(0x8000, SECTOR, 3),
                requests: Frames::new(),
                answers: VecDeque::new(),
                late: Vec::new(),
                fates: fates.iter().copied().collect(),
                heard: 0,
            }
        }

        fn answer(&mut self, request: Request<'_>) {
            self.heard += 1;
            let mut data = vec![0; MAX_DATA_BYTES];
            let result = match request.operation {
                Operation::Read { address, len } => {
                    data.truncate(len.into());
                    self.nor.read(address, &mut data)
                }
                operation => {
                    data.clear();
                    match operation {
                        Operation::Program { address, data } => {
                            assert!(address % SECTOR + data.len() as u32 <= SECTOR, "across a border");
                            self.nor.program(address, data)
                        }
                        Operation::Erase { address } => self.nor.erase(address),
                        _ => Ok(()),
                    }
                }
            };
            let answer = Answer { number: request.number, result: result.map(|()| &data[..]) };
            let mut frame = [0; MAX_FRAME_BYTES];
            let len = answer.encode(&mut frame).expect("room");
            match self.fates.pop_front().unwrap_or(Fate::Arrives) {
                Fate::Arrives => {
                    self.answers.extend(self.late.drain(..));
                    self.answers.extend(&frame[..len]);
                }
                Fate::Lost => {}
                Fate::Damaged => {
                    frame[len / 2] ^= 0x10;
                    self.answers.extend(&frame[..len]);
                }
                Fate::Late => self.late.extend(&frame[..len]),
            }
        }
    }

    impl SerialLine for Chip {
        fn send(&mut self, bytes: &[u8]) {
            for byte in bytes {
                let body = self.requests.push(*byte).map(<[u8]>::to_vec);
                if let Some(body) = body {
                    self.answer(Request::decode(&body).expect("a request"));
                }
            }
        }

        fn receive(&mut self) -> Option<u8> {
            self.answers.pop_front()
        }
    }

    fn flash(fates: &[Fate]) -> SerialNor<Chip> {
        SerialNor::new(Chip::new(fates), SECTOR, &[])
    }

    #[test]
    fn long_reads_and_programs_are_whole_and_respect_sectors() {
        let mut flash = flash(&[]);
        let bytes: Vec<u8> = (0..1500).map(|n| (n % 251) as u8).collect();
        flash.erase(0x1000).expect("erased");
        flash.erase(0x2000).expect("erased");
        flash.program(0x1f00 - 7, &bytes).expect("programmed");
        let mut back = vec![0; bytes.len()];
        flash.read(0x1f00 - 7, &mut back).expect("readable");
        assert_eq!(back, bytes);
        assert_eq!(flash.line.nor.bytes()[0x1f00 - 7..][..1500], bytes[..]);
    }

    #[test]
    fn what_the_chip_refuses_is_refused() {
        let mut flash = flash(&[]);
        assert_eq!(flash.erase(0x800), Err(Fault::Misaligned));
        assert_eq!(flash.read(0x7fff, &mut [0; 2]), Err(Fault::OutOfRange));
        assert_eq!(flash.program(0, &[0xff; 8]), Err(Fault::NotErased));
        assert_eq!(flash.line.heard, 3, "a refusal is an answer");
    }

    #[test]
    fn lost_damaged_and_late_answers_are_made_up_for() {
        use Fate::{Arrives, Damaged, Late, Lost};
        for fates in [&[Lost, Lost][..], &[Damaged], &[Late], &[Arrives, Late, Damaged, Lost, Late]] {
            let mut flash = flash(fates);
            flash.erase(0).expect("erased");
            flash.program(0, &[7; 300]).expect("programmed");
            let mut back = [0; 300];
            flash.read(0, &mut back).expect("readable");
            assert_eq!(back, [7; 300]);
        }
    }

    #[test]
    fn a_silent_chip_is_given_up() {
        let mut flash = flash(&[Fate::Lost; 100]);
        assert_eq!(flash.read(0, &mut [0; 4]), Err(Fault::Failed));
        assert_eq!(flash.line.heard, TRIES);
    }

    #[test]
    fn what_the_window_shows_is_not_asked_for() {
        let window: &'static [u8] = vec![0x42; 0x1000].leak();
        let mut flash = SerialNor::new(Chip::new(&[]), SECTOR, window);
        assert_eq!(flash.map(0x2000), Ok(window));
        let mut back = [0; 300];
        flash.read(0x2d00, &mut back).expect("readable");
        assert_eq!((back, flash.line.heard), ([0x42; 300], 1));
        // One byte more than it shows.
        flash.read(0x2d00, &mut [0; 0x301]).expect("readable");
        assert!(flash.line.heard > 1);
    }

    #[test]
    fn a_window_is_not_believed_after_its_contents_changed() {
        let window: &'static [u8] = vec![0x42; 0x1000].leak();
        let mut flash = SerialNor::new(Chip::new(&[]), SECTOR, window);
        flash.is_mapped(0x2000);
        flash.erase(0x3000).expect("erased");
        flash.erase(0x1000).expect("erased");
        let mut back = [0; 1];
        flash.read(0x2000, &mut back).expect("readable");
        assert_eq!(back, [0x42]);
        flash.erase(0x2000).expect("erased");
        flash.read(0x2000, &mut back).expect("readable");
        assert_eq!(back, [0xff]);
    }
}
