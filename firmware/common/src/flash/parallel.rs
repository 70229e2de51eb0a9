//! NOR chips of 16 bits in the address space, one or two side by side, which take Intel's command set (CFI
//! command set 1).
//!
//! After every operation the chips read as memory again, so whoever else looks at them sees their contents.
//! Not here: block locks, which such chips may have.

use wasmbed_update::{Fault, Flash};

/// Words programmed with one command: what every chip takes that buffers writes of 512 bytes.
const BUFFER_WORDS: u32 = 256;
/// Bytes looked at together before they are programmed.
const CHECK_BYTES: usize = 64;

const ERASE: u16 = 0x20;
const CLEAR_STATUS: u16 = 0x50;
const READ_STATUS: u16 = 0x70;
const WRITE_BUFFER: u16 = 0xe8;
const CONFIRM: u16 = 0xd0;
const READ_ARRAY: u16 = 0xff;

const READY: u16 = 0x80;
/// Erase, program, voltage and lock errors.
const ERRORS: u16 = 0x3a;

/// Looks at the status before an operation is given up: seconds on any processor.
const PATIENCE: u32 = 20_000_000;

/// The chips' bus. A word has 16 bits of each chip, the first chip's lowest; offsets are multiples of a word,
/// counted in bytes from where the chips begin.
pub trait Chips {
    /// How many lie side by side, 1 or 2.
    const COUNT: u32;

    /// Reads a word.
    fn read(&mut self, offset: u32) -> u32;

    /// Writes a word.
    fn write(&mut self, offset: u32, word: u32);
}

/// The chips.
#[derive(Debug)]
pub struct ParallelNor<C> {
    chips: C,
    bytes: u32,
    sector_bytes: u32,
}

impl<C: Chips> ParallelNor<C> {
    const WORD_BYTES: u32 = 2 * C::COUNT;

    /// Chips of `bytes` bytes, with sectors of `sector_bytes`, both counted over all of them.
    pub const fn new(chips: C, bytes: u32, sector_bytes: u32) -> Self {
        ParallelNor { chips, bytes, sector_bytes }
    }

    fn check(&self, address: u32, len: usize) -> Result<(), Fault> {
        let end = u64::from(address) + len as u64;
        if end > u64::from(self.bytes) { Err(Fault::OutOfRange) } else { Ok(()) }
    }

    /// The word at `offset` with those of its bytes replaced that `bytes`, which lie at `address`, has.
    fn merged(&mut self, offset: u32, address: u32, bytes: &[u8]) -> u32 {
        let mut word = self.chips.read(offset).to_le_bytes();
        for (at, byte) in (offset..offset + Self::WORD_BYTES).zip(&mut word) {
            let new = at.checked_sub(address).and_then(|index| bytes.get(index as usize));
            *byte = new.copied().unwrap_or(*byte);
        }
        u32::from_le_bytes(word)
    }

    /// Programs bytes that one buffer holds.
    #[inline(never)]
    fn program_buffer(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        let first = address - address % Self::WORD_BYTES;
        let offsets = (first..address + bytes.len() as u32).step_by(Self::WORD_BYTES as usize);
        let count = offsets.len() as u16;
        // The chips do not read as memory once they have the command.
        let mut words = [0; BUFFER_WORDS as usize];
        for (word, offset) in words.iter_mut().zip(offsets.clone()) {
            *word = self.merged(offset, address, bytes);
        }
        self.command(first, WRITE_BUFFER);
        if let Err(fault) = self.wait(first) {
            self.command(first, READ_ARRAY);
            return Err(fault);
        }
        self.command(first, count - 1);
        for (word, offset) in words.iter().zip(offsets) {
            self.chips.write(offset, *word);
        }
        self.command(first, CONFIRM);
        self.finish(first)
    }

    /// Waits for the end of an operation; the chips read as memory after it.
    fn finish(&mut self, offset: u32) -> Result<(), Fault> {
        self.command(offset, READ_STATUS);
        let done = self.wait(offset);
        self.command(offset, CLEAR_STATUS);
        self.command(offset, READ_ARRAY);
        done
    }

    fn wait(&mut self, offset: u32) -> Result<(), Fault> {
        for _ in 0..PATIENCE {
            let status = self.chips.read(offset);
            if status & Self::each(READY) == Self::each(READY) {
                return if status & Self::each(ERRORS) == 0 { Ok(()) } else { Err(Fault::Failed) };
            }
        }
        Err(Fault::Failed)
    }

    fn command(&mut self, offset: u32, command: u16) {
        self.chips.write(offset, Self::each(command));
    }

    /// The same for each chip.
    const fn each(half: u16) -> u32 {
        if C::COUNT == 1 { half as u32 } else { (half as u32) << 16 | half as u32 }
    }
}

impl<C: Chips> Flash for ParallelNor<C> {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.check(address, out.len())?;
        let mut offset = address - address % Self::WORD_BYTES;
        let mut skip = (address % Self::WORD_BYTES) as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let word = self.chips.read(offset).to_le_bytes();
            let word = word.get(skip..Self::WORD_BYTES as usize).unwrap_or_default();
            let (now, later) = rest.split_at_mut(word.len().min(rest.len()));
            now.iter_mut().zip(word).for_each(|(place, byte)| *place = *byte);
            (offset, skip, rest) = (offset + Self::WORD_BYTES, 0, later);
        }
        Ok(())
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.check(address, bytes.len())?;
        let mut old = [0; CHECK_BYTES];
        for (at, piece) in (address..).step_by(CHECK_BYTES).zip(bytes.chunks(CHECK_BYTES)) {
            let old = old.get_mut(..piece.len()).unwrap_or_default();
            self.read(at, old)?;
            if old.iter().zip(piece).any(|(old, new)| old & new != *new) {
                return Err(Fault::NotErased);
            }
        }
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let buffer = BUFFER_WORDS * Self::WORD_BYTES;
            let in_buffer = buffer - at % buffer;
            let (piece, after) = rest.split_at(rest.len().min(in_buffer as usize));
            self.program_buffer(at, piece)?;
            at += piece.len() as u32;
            rest = after;
        }
        Ok(())
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        if !address.is_multiple_of(self.sector_bytes) {
            return Err(Fault::Misaligned);
        }
        self.check(address, self.sector_bytes as usize)?;
        self.command(address, ERASE);
        self.command(address, CONFIRM);
        self.finish(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u32 = 0x1_0000;
    const SECTOR: u32 = 0x4000;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Mode {
        Array,
        Status,
        EraseSetUp,
        Count,
        Words(u16),
        Confirm,
    }

    /// One or two chips in memory, which hold their driver to the rules.
    struct Model<const COUNT: u32> {
        bytes: Vec<u8>,
        mode: Mode,
        status: u16,
        buffer: Vec<(u32, u32)>,
        /// The next operation fails.
        fails: bool,
    }

    impl<const COUNT: u32> Model<COUNT> {
        const WORD_BYTES: u32 = 2 * COUNT;

        fn new() -> Self {
            let bytes = (0..BYTES).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
            Model { bytes, mode: Mode::Array, status: READY, buffer: Vec::new(), fails: false }
        }

        /// What every chip gets or says alike.
        fn each(half: u16) -> u32 {
            (0..COUNT).fold(0, |word, _| word << 16 | u32::from(half))
        }

        fn end(&mut self) {
            self.status = if std::mem::take(&mut self.fails) { READY | 0x10 } else { READY };
            self.mode = Mode::Status;
        }
    }

    impl<const COUNT: u32> Chips for Model<COUNT> {
        const COUNT: u32 = COUNT;

        fn read(&mut self, offset: u32) -> u32 {
            assert_eq!(offset % Self::WORD_BYTES, 0);
            match self.mode {
                Mode::Array => {
                    let bytes = self.bytes[offset as usize..][..Self::WORD_BYTES as usize].iter().rev();
                    bytes.fold(0, |word, byte| word << 8 | u32::from(*byte))
                }
                Mode::Status | Mode::Count => Self::each(self.status),
                mode => panic!("read in {mode:?}"),
            }
        }

        fn write(&mut self, offset: u32, word: u32) {
            let half = word as u16;
            let command = || {
                assert_eq!(word, Self::each(half), "every chip has to get it");
                half
            };
            self.mode = match self.mode {
                Mode::Array | Mode::Status => match command() {
                    ERASE => Mode::EraseSetUp,
                    WRITE_BUFFER => Mode::Count,
                    READ_STATUS => Mode::Status,
                    CLEAR_STATUS => {
                        self.status = READY;
                        self.mode
                    }
                    READ_ARRAY => Mode::Array,
                    other => panic!("command {other:#x}"),
                },
                Mode::EraseSetUp => {
                    assert_eq!(command(), CONFIRM);
                    let start = (offset / SECTOR * SECTOR) as usize;
                    self.bytes[start..start + SECTOR as usize].fill(0xff);
                    self.end();
                    self.mode
                }
                Mode::Count => Mode::Words(command() + 1),
                Mode::Words(left) => {
                    self.buffer.push((offset, word));
                    if left == 1 { Mode::Confirm } else { Mode::Words(left - 1) }
                }
                Mode::Confirm => {
                    assert_eq!(command(), CONFIRM);
                    let buffer = BUFFER_WORDS * Self::WORD_BYTES;
                    for (at, word) in self.buffer.drain(..) {
                        assert_eq!(at / buffer, offset / buffer, "all in one buffer");
                        let bytes = self.bytes[at as usize..].iter_mut().zip(word.to_le_bytes());
                        bytes.take(Self::WORD_BYTES as usize).for_each(|(old, new)| *old &= new);
                    }
                    self.end();
                    self.mode
                }
            };
        }
    }

    fn flash_of<const COUNT: u32>() -> ParallelNor<Model<COUNT>> {
        ParallelNor::new(Model::new(), BYTES, SECTOR)
    }

    fn flash() -> ParallelNor<Model<2>> {
        flash_of()
    }

    fn contents<const COUNT: u32>(flash: &ParallelNor<Model<COUNT>>) -> Vec<u8> {
        assert_eq!(flash.chips.mode, Mode::Array, "what is left reads as memory");
        flash.chips.bytes.clone()
    }

    #[test]
    fn bytes_at_any_address_are_programmed_and_nothing_beside_them() {
        programs_any_bytes::<1>();
        programs_any_bytes::<2>();
    }

    fn programs_any_bytes<const COUNT: u32>() {
        let bytes: Vec<u8> = (0..2100).map(|n| (n % 253) as u8).collect();
        for (address, len) in [(0x4000, 2100), (0x4001, 1), (0x43ff, 2), (0x7ffd, 2100), (0x4006, 1023)] {
            let mut flash = flash_of::<COUNT>();
            flash.erase(0x4000).expect("erased");
            flash.erase(0x8000).expect("erased");
            let before = contents(&flash);
            flash.program(address, &bytes[..len]).expect("programmed");
            let mut expected = before;
            expected[address as usize..][..len].copy_from_slice(&bytes[..len]);
            assert!(contents(&flash) == expected, "{len} bytes at {address:#x}");
            let mut back = vec![0; len];
            flash.read(address, &mut back).expect("readable");
            assert_eq!(back, bytes[..len]);
        }
    }

    #[test]
    fn a_bit_that_would_have_to_be_set_leaves_everything_as_it_was() {
        let mut flash = flash();
        flash.erase(0x4000).expect("erased");
        flash.program(0x4007, &[0xf0]).expect("programmed");
        let before = contents(&flash);
        assert_eq!(flash.program(0x4000, &[0xff, 0, 0, 0, 0, 0, 0, 0x01]), Err(Fault::NotErased));
        assert!(contents(&flash) == before);
        assert_eq!(flash.program(0x4007, &[0x70]), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let mut flash = flash();
        assert_eq!(flash.read(BYTES - 1, &mut [0; 2]), Err(Fault::OutOfRange));
        assert_eq!(flash.program(u32::MAX, &[0; 2]), Err(Fault::OutOfRange));
        assert_eq!(flash.erase(BYTES), Err(Fault::OutOfRange));
        assert_eq!(flash.erase(SECTOR + 4), Err(Fault::Misaligned));
    }

    #[test]
    fn a_failure_is_told_and_does_not_stay() {
        let mut flash = flash();
        flash.chips.fails = true;
        assert_eq!(flash.erase(0x4000), Err(Fault::Failed));
        assert_eq!(flash.erase(0x4000), Ok(()));
        flash.chips.fails = true;
        assert_eq!(flash.program(0x4000, &[1]), Err(Fault::Failed));
        assert_eq!(flash.program(0x4004, &[1]), Ok(()));
        assert_eq!(contents(&flash)[0x4004], 1);
    }
}
