//! One flash for the agent and for what modules store.

use alloc::rc::Rc;
use core::cell::RefCell;

use wasmbed_update::{Fault, Flash};

/// A flash with several users, who take turns operation by operation.
pub(crate) struct SharedFlash<F>(Rc<RefCell<F>>);

impl<F> SharedFlash<F> {
    /// The only user of it so far.
    pub(crate) fn new(flash: F) -> Self {
        SharedFlash(Rc::new(RefCell::new(flash)))
    }

    /// Another one.
    #[cfg(feature = "modules")]
    pub(crate) fn share(&self) -> Rc<RefCell<F>> {
        Rc::clone(&self.0)
    }
}

impl<F: Flash> Flash for SharedFlash<F> {
    fn sector_bytes(&self) -> u32 {
        self.0.borrow().sector_bytes()
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.0.borrow_mut().read(address, out)
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.0.borrow_mut().program(address, bytes)
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        self.0.borrow_mut().erase(address)
    }
}
