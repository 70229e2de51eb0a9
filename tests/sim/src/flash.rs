//! The firmware flash of a simulated device, shared between its agent, its bootloader and the world.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use wasmbed_core::{Fault, Flash, Layout};
use wasmbed_update::{
    Region,
    boot::Place,
    model::{Cut, Nor},
};
use wasmbed_wire::Digest;

/// What lies where in it.
pub(crate) const LAYOUT: Layout = Layout::new(0, 0x1000, 0x1_0000, 0x2000);

/// A handle to the flash.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Rc<RefCell<Inside>>);

#[derive(Debug)]
struct Inside {
    nor: Nor,
    /// Nothing can be changed.
    is_worn: bool,
    /// When the power will fail once more.
    cuts: VecDeque<Cut>,
}

impl Shared {
    /// As it comes from the factory but for what is put there past all rules.
    pub(crate) fn noisy(seed: u64) -> Self {
        let nor = Nor::noisy(LAYOUT.end(), LAYOUT.sector_bytes, seed);
        Shared(Rc::new(RefCell::new(Inside { nor, is_worn: false, cuts: VecDeque::new() })))
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Nor) -> T) -> T {
        act(&mut self.0.borrow_mut().nor)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.with(|nor| nor.is_dead())
    }

    /// Lets the power fail then, and again so many operations after it came back.
    pub(crate) fn cut(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.0.borrow_mut().cuts = cuts.into_iter().collect();
        self.next_cut();
    }

    /// Power is back.
    pub(crate) fn power_on(&self) {
        self.with(Nor::power_on);
        self.next_cut();
    }

    fn next_cut(&self) {
        let mut inside = self.0.borrow_mut();
        if let Some(cut) = inside.cuts.pop_front() {
            inside.nor.cut(cut);
        }
    }

    pub(crate) fn wear(&self, is_worn: bool) {
        self.0.borrow_mut().is_worn = is_worn;
    }

    /// What lies at the start of a region.
    pub(crate) fn bytes(&self, region: Region, len: usize) -> Vec<u8> {
        let start = region.origin as usize;
        self.with(|nor| nor.bytes()[start..start + len].to_vec())
    }

    /// Puts bytes there as a factory does.
    pub(crate) fn put(&self, region: Region, bytes: &[u8]) {
        let start = region.origin as usize;
        self.with(|nor| nor.bytes_mut()[start..start + bytes.len()].copy_from_slice(bytes));
    }
}

impl Flash for Shared {
    fn sector_bytes(&self) -> u32 {
        LAYOUT.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.with(|nor| nor.read(address, out))
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        if self.0.borrow().is_worn {
            return Err(Fault::Failed);
        }
        self.with(|nor| nor.program(address, bytes))
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        if self.0.borrow().is_worn {
            return Err(Fault::Failed);
        }
        self.with(|nor| nor.erase(address))
    }
}

/// Images run where they lie.
pub(crate) struct InFlash;

impl Place<Shared> for InFlash {
    fn place(&mut self, flash: &mut Shared, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let mut hashing = wasmbed_update::Hashing::new(region, bytes);
        hashing.advance(flash, bytes)?.ok_or(Fault::Failed)
    }
}
