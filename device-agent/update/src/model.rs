//! A NOR flash in memory that keeps the rules, counts, and loses power in the middle of an operation.

use std::{vec, vec::Vec};

use crate::{Fault, Flash};

/// When the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// So many erase and program operations are done first; the next one is torn.
    pub after: u64,
    /// Decides which bits the torn operation changed.
    pub seed: u64,
}

/// How something ended that used the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The power stayed.
    Done(T),
    /// The power failed meanwhile.
    PowerCut,
}

/// The flash.
#[derive(Debug, Clone)]
pub struct Nor {
    bytes: Vec<u8>,
    sector_bytes: u32,
    erases: u64,
    programs: u64,
    cut: Option<Cut>,
    is_dead: bool,
}

impl Nor {
    /// An erased flash.
    pub fn new(bytes: u32, sector_bytes: u32) -> Self {
        let bytes = vec![0xff; bytes as usize];
        Nor { bytes, sector_bytes, erases: 0, programs: 0, cut: None, is_dead: false }
    }

    /// A flash full of noise, as it comes from the factory.
    pub fn noisy(bytes: u32, sector_bytes: u32, seed: u64) -> Self {
        let mut nor = Nor::new(bytes, sector_bytes);
        let mut random = Random(seed);
        nor.bytes.iter_mut().for_each(|byte| *byte = random.byte());
        nor
    }

    /// Lets the power fail.
    pub fn cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// Whether the power has failed: nothing works until [`Nor::power_on`].
    pub fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Power comes back.
    pub fn power_on(&mut self) {
        self.is_dead = false;
        self.cut = None;
    }

    /// Runs something, and brings power back if it failed meanwhile.
    pub fn run<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Outcome<T> {
        let done = act(self);
        let is_cut = self.is_dead;
        self.power_on();
        if is_cut { Outcome::PowerCut } else { Outcome::Done(done) }
    }

    /// Erase operations so far.
    pub fn erases(&self) -> u64 {
        self.erases
    }

    /// Erase and program operations so far.
    pub fn operations(&self) -> u64 {
        self.erases + self.programs
    }

    /// Everything in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything in it, past all rules.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn range(&self, address: u32, len: usize) -> Result<core::ops::Range<usize>, Fault> {
        let start = address as usize;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(Fault::OutOfRange)?;
        Ok(start..end)
    }

    /// Does an operation on a range, or half of it if the power fails now.
    fn change(&mut self, range: core::ops::Range<usize>, new: impl Fn(usize, u8) -> u8) -> Result<(), Fault> {
        let torn = match &mut self.cut {
            Some(Cut { after: 0, seed }) => Some(*seed),
            Some(cut) => {
                cut.after -= 1;
                None
            }
            None => None,
        };
        let Some(seed) = torn else {
            for (at, byte) in self.bytes[range].iter_mut().enumerate() {
                *byte = new(at, *byte);
            }
            return Ok(());
        };
        let mut random = Random(seed);
        // All of it, none of it, a part of it, or any bits of it.
        let len = range.len();
        let (whole, mixed) = match random.byte() % 4 {
            0 => (len, 0),
            1 => (0, 0),
            2 => (random.next() as usize % (len + 1), 1),
            _ => (0, len),
        };
        for (at, byte) in self.bytes[range].iter_mut().enumerate() {
            let mask = match at {
                _ if at < whole => 0xff,
                _ if at < whole + mixed => random.byte(),
                _ => 0,
            };
            *byte = *byte & !mask | new(at, *byte) & mask;
        }
        self.is_dead = true;
        Err(Fault::Failed)
    }
}

impl Flash for Nor {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        if self.is_dead {
            return Err(Fault::Failed);
        }
        let range = self.range(address, out.len())?;
        out.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        if self.is_dead {
            return Err(Fault::Failed);
        }
        let range = self.range(address, bytes.len())?;
        if self.bytes[range.clone()].iter().zip(bytes).any(|(old, new)| old & new != *new) {
            return Err(Fault::NotErased);
        }
        self.programs += 1;
        self.change(range, |at, old| old & bytes[at])
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        if self.is_dead {
            return Err(Fault::Failed);
        }
        if !address.is_multiple_of(self.sector_bytes) {
            return Err(Fault::Misaligned);
        }
        let range = self.range(address, self.sector_bytes as usize)?;
        self.erases += 1;
        self.change(range, |_, _| 0xff)
    }
}

/// Marsaglia's xorshift with a multiplication.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programming_clears_bits_and_erasing_sets_them() {
        let mut nor = Nor::new(0x2000, 0x1000);
        assert_eq!(nor.program(0x0ffe, &[0xf0, 0x0f, 0x00]), Ok(()));
        assert_eq!(nor.program(0x0ffe, &[0x70]), Ok(()));
        assert_eq!(nor.program(0x0fff, &[0x10]), Err(Fault::NotErased));
        assert_eq!(nor.bytes()[0x0ffd..0x1002], [0xff, 0x70, 0x0f, 0x00, 0xff]);
        assert_eq!(nor.erase(0x800), Err(Fault::Misaligned));
        assert_eq!(nor.erase(0x2000), Err(Fault::OutOfRange));
        assert_eq!(nor.program(0x1fff, &[0, 0]), Err(Fault::OutOfRange));
        assert_eq!(nor.erase(0), Ok(()));
        assert_eq!(nor.bytes()[0x0ffd..0x1002], [0xff, 0xff, 0xff, 0x00, 0xff]);
    }

    #[test]
    fn a_cut_tears_one_operation_and_stops_the_rest() {
        for seed in 0..100 {
            let mut nor = Nor::new(0x1000, 0x1000);
            nor.cut(Cut { after: 1, seed });
            let outcome = nor.run(|nor| {
                assert_eq!(nor.program(0, &[1; 8]), Ok(()));
                assert_eq!(nor.program(8, &[0; 8]), Err(Fault::Failed));
                assert_eq!(nor.program(16, &[0; 8]), Err(Fault::Failed));
            });
            assert_eq!(outcome, Outcome::PowerCut);
            assert_eq!(nor.bytes()[..8], [1; 8]);
            assert_eq!(nor.bytes()[16..24], [0xff; 8]);
        }
    }
}
