//! What modules keep on the board: values in flash, and the secrets that their keys are made from.

use alloc::rc::Rc;
use core::cell::RefCell;

use wasmbed_abi::Errno;
use wasmbed_core::{Flash, Layout};
use wasmbed_values::{Refused, Values};
use wasmbed_wire::provision::Provision;

use super::secrets::Secrets;
use crate::flash::SharedFlash;

/// The owner of the board's own values: no module has this name.
const BOARD: &str = "";
/// The number of the last start in which random bytes were drawn.
const STARTS: &str = "starts";

/// The keeper of all modules.
pub(crate) struct Keeper {
    flash: Rc<RefCell<dyn Flash>>,
    /// `None` on a board without room for them.
    values: Option<Values>,
    secrets: Secrets,
}

impl Keeper {
    /// A keeper that has touched nothing yet; `starts` counts those since power came on, and `noise` is the hardware's.
    pub(crate) fn new<F: Flash + 'static>(
        flash: &SharedFlash<F>,
        layout: &Layout,
        provision: &Provision<'_>,
        starts: u32,
        noise: Option<[u8; 32]>,
    ) -> Self {
        let values = (layout.values.bytes > 0).then(|| Values::new(layout.values));
        Keeper { flash: flash.share(), values, secrets: Secrets::new(provision, starts, noise) }
    }

    /// See [`Values::get`].
    pub(crate) fn get(&mut self, owner: &str, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        self.with_values(|values, flash| values.get(flash, owner, key, out))
    }

    /// See [`Values::set`].
    pub(crate) fn set(&mut self, now_ms: u64, owner: &str, key: &str, value: &[u8]) -> Result<(), Errno> {
        self.with_values(|values, flash| values.set(now_ms, flash, owner, key, value))
    }

    /// See [`Values::remove`].
    pub(crate) fn remove(&mut self, now_ms: u64, owner: &str, key: &str) -> Result<(), Errno> {
        self.with_values(|values, flash| values.remove(now_ms, flash, owner, key))
    }

    /// The secret of an owner ([`wasmbed_core::Owner`]).
    ///
    /// # Errors
    /// [`Errno::Unsupported`] if the board was given none.
    pub(crate) fn secret(&self, owner: &str) -> Result<[u8; 32], Errno> {
        self.secrets.of(owner)
    }

    /// Fills `out` at random.
    ///
    /// # Errors
    /// [`Errno::Unsupported`] if the board was given no secret and has no noise, [`Errno::Io`] if it cannot count its
    /// starts, which it has to without noise.
    pub(crate) fn random(&mut self, now_us: u64, out: &mut [u8]) -> Result<(), Errno> {
        if !self.secrets.can_draw()? {
            let start = if self.secrets.has_noise() { 0 } else { self.next_start(now_us / 1000)? };
            self.secrets.seed(start, now_us)?;
        }
        self.secrets.draw(out)
    }

    /// A number that no other start had or will have. It is in flash before it is used.
    fn next_start(&mut self, now_ms: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        let before = match self.with_values(|values, flash| values.get(flash, BOARD, STARTS, &mut bytes)) {
            Ok(_) => u64::from_le_bytes(bytes),
            Err(Errno::NotFound) => 0,
            Err(error) => return Err(error),
        };
        let start = before.checked_add(1).ok_or(Errno::Io)?;
        self.with_values(|values, flash| values.set(now_ms, flash, BOARD, STARTS, &start.to_le_bytes()))?;
        Ok(start)
    }

    fn with_values<T>(
        &mut self,
        act: impl FnOnce(&mut Values, &mut dyn Flash) -> Result<T, Refused>,
    ) -> Result<T, Errno> {
        let values = self.values.as_mut().ok_or(Errno::Unsupported)?;
        act(values, &mut *self.flash.borrow_mut()).map_err(|refused| match refused {
            Refused::NotFound => Errno::NotFound,
            Refused::NoSpace => Errno::NoSpace,
            Refused::BadLength => Errno::TooLong,
            Refused::Busy => Errno::Busy,
            Refused::Flash(_) => Errno::Io,
        })
    }
}

#[cfg(test)]
mod tests;
