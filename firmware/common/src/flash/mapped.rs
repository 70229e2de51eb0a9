//! Memory in the address space that lasts and takes any byte (battery-backed RAM, MRAM, a file of an emulator), under
//! the rules of NOR flash: so what relies on them is the same on every board.

use wasmbed_update::{Fault, Flash};

/// Bytes looked at or written together.
const PIECE_BYTES: usize = 256;

/// The memory. Offsets are counted from where it begins, and the driver keeps to its size.
pub trait Memory {
    /// Copies what lies there to `out`.
    fn read(&self, offset: u32, out: &mut [u8]);

    /// Writes bytes there.
    fn write(&mut self, offset: u32, bytes: &[u8]);
}

/// The memory as flash.
#[derive(Debug)]
pub struct Mapped<M> {
    memory: M,
    bytes: u32,
    sector_bytes: u32,
}

impl<M: Memory> Mapped<M> {
    /// Memory of `bytes` bytes, of which `sector_bytes` are erased together.
    pub const fn new(memory: M, bytes: u32, sector_bytes: u32) -> Self {
        Mapped { memory, bytes, sector_bytes }
    }

    fn check(&self, address: u32, len: usize) -> Result<(), Fault> {
        let end = u64::from(address) + len as u64;
        if end > u64::from(self.bytes) { Err(Fault::OutOfRange) } else { Ok(()) }
    }
}

impl<M: Memory> Flash for Mapped<M> {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.check(address, out.len())?;
        self.memory.read(address, out);
        Ok(())
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.check(address, bytes.len())?;
        let mut old = [0; PIECE_BYTES];
        for (at, piece) in (address..).step_by(PIECE_BYTES).zip(bytes.chunks(PIECE_BYTES)) {
            let old = old.get_mut(..piece.len()).unwrap_or_default();
            self.memory.read(at, old);
            if old.iter().zip(piece).any(|(old, new)| old & new != *new) {
                return Err(Fault::NotErased);
            }
        }
        self.memory.write(address, bytes);
        Ok(())
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        if !address.is_multiple_of(self.sector_bytes) {
            return Err(Fault::Misaligned);
        }
        self.check(address, self.sector_bytes as usize)?;
        let end = address + self.sector_bytes;
        for at in (address..end).step_by(PIECE_BYTES) {
            let len = (end - at).min(PIECE_BYTES as u32) as usize;
            self.memory.write(at, [0xff; PIECE_BYTES].get(..len).unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u32 = 0x4000;
    const SECTOR: u32 = 0x1000;

    struct Ram(Vec<u8>);

    impl Memory for Ram {
        fn read(&self, offset: u32, out: &mut [u8]) {
            out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) {
            self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    fn flash() -> Mapped<Ram> {
        Mapped::new(Ram(vec![0; BYTES as usize]), BYTES, SECTOR)
    }

    #[test]
    fn a_sector_is_erased_and_nothing_beside_it() {
        let mut flash = flash();
        flash.erase(SECTOR).expect("erased");
        let mut expected = vec![0; BYTES as usize];
        expected[SECTOR as usize..2 * SECTOR as usize].fill(0xff);
        assert!(flash.memory.0 == expected);
    }

    #[test]
    fn programming_only_clears_bits() {
        let mut flash = flash();
        flash.erase(0).expect("erased");
        let bytes: Vec<u8> = (0..700).map(|n| n as u8).collect();
        assert_eq!(flash.program(3, &bytes), Ok(()));
        let mut back = vec![0; 700];
        flash.read(3, &mut back).expect("readable");
        assert_eq!(back, bytes);
        assert_eq!(flash.program(3, &[0; 700]), Ok(()));
        // The last byte is in the way, and nothing changes.
        assert_eq!(flash.program(703, &[0xff; 300]), Ok(()));
        assert_eq!(flash.program(702, &[1; 2]), Err(Fault::NotErased));
        assert_eq!(flash.memory.0[702..704], [0, 0xff]);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let mut flash = flash();
        assert_eq!(flash.read(BYTES - 1, &mut [0; 2]), Err(Fault::OutOfRange));
        assert_eq!(flash.program(u32::MAX, &[0; 2]), Err(Fault::OutOfRange));
        assert_eq!(flash.erase(BYTES), Err(Fault::OutOfRange));
        assert_eq!(flash.erase(SECTOR + 4), Err(Fault::Misaligned));
    }
}
