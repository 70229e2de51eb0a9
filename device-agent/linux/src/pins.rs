//! Pins that modules read, drive and watch: lines of this machine's GPIO chips where the configuration names them, and
//! simulated ones where it asks for such.

mod line;
mod watchers;
mod wiring;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use wasmbed_abi::{Edges, Errno};

use crate::worker;
use line::Line;
use watchers::Watchers;
pub(crate) use wiring::{GpioConfig, Wiring};

/// Pins of a simulated device.
const SIMULATED: u32 = 32;

/// The pins of the device; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Pins(Arc<BTreeMap<u32, Pin>>);

#[derive(Debug)]
enum Pin {
    Line(Arc<Line>),
    Simulated(Simulated),
}

impl Pins {
    /// The lines that are wired; with `simulate`, also pins that only modules drive, from 0 to 31.
    pub(crate) fn new(wiring: &Wiring, simulate: bool) -> Self {
        let simulated =
            (0..if simulate { SIMULATED } else { 0 }).map(|pin| (pin, Pin::Simulated(Simulated::default())));
        let lines = wiring.iter().map(|config| (config.pin, Pin::Line(Line::new(config.clone()))));
        Pins(Arc::new(simulated.chain(lines).collect()))
    }

    /// Drives a pin.
    ///
    /// # Errors
    /// [`Errno::Unsupported`] if modules have no pins, or the line cannot do that; [`Errno::NotFound`] if they do not
    /// have this one; [`Errno::Denied`] if it is configured as an input; [`Errno::Busy`] if another program has the
    /// line, or a module watches it; [`Errno::Io`] if it does not work.
    pub(crate) fn write(&self, pin: u32, high: bool) -> Result<(), Errno> {
        match self.find(pin)? {
            Pin::Line(line) => line.write(high),
            Pin::Simulated(simulated) => {
                simulated.write(pin, high);
                Ok(())
            }
        }
    }

    /// The level of a pin.
    ///
    /// # Errors
    /// As for [`write`](Pins::write), except for what is about driving.
    pub(crate) fn read(&self, pin: u32) -> Result<bool, Errno> {
        match self.find(pin)? {
            Pin::Line(line) => line.read(),
            Pin::Simulated(simulated) => Ok(*lock(&simulated.level)),
        }
    }

    /// Has changes of a pin told to a module from now on; no edges end that.
    ///
    /// # Errors
    /// As for [`write`](Pins::write), but [`Errno::Denied`] if it is configured as an output, and [`Errno::Busy`] if
    /// modules drive it.
    pub(crate) fn watch(&self, pin: u32, edges: Edges, module: &Weak<worker::Line>) -> Result<(), Errno> {
        match self.find(pin)? {
            Pin::Line(line) => line.watch(edges, module),
            Pin::Simulated(simulated) => {
                simulated.watchers.set(edges, module);
                Ok(())
            }
        }
    }

    fn find(&self, pin: u32) -> Result<&Pin, Errno> {
        if self.0.is_empty() { Err(Errno::Unsupported) } else { self.0.get(&pin).ok_or(Errno::NotFound) }
    }
}

/// A pin that only modules drive.
#[derive(Debug, Default)]
struct Simulated {
    level: Mutex<bool>,
    watchers: Watchers,
}

impl Simulated {
    fn write(&self, pin: u32, high: bool) {
        let before = std::mem::replace(&mut *lock(&self.level), high);
        if before != high {
            self.watchers.tell(pin, high);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Edges = Edges { rising: true, falling: true };

    fn pins(text: &str, simulate: bool) -> Pins {
        let wiring = Wiring::new(wiring::parsed(text)).expect("a wiring");
        Pins::new(&wiring, simulate)
    }

    #[test]
    fn a_machine_has_the_pins_it_is_given() {
        let none = pins("", false);
        assert_eq!(none.write(1, true), Err(Errno::Unsupported));
        assert_eq!(none.read(1), Err(Errno::Unsupported));
        assert_eq!(none.watch(1, BOTH, &Weak::new()), Err(Errno::Unsupported));
        let simulated = pins("", true);
        assert_eq!(simulated.write(1, true), Ok(()));
        assert_eq!(simulated.read(1), Ok(true));
        assert_eq!(simulated.read(32), Err(Errno::NotFound));
    }

    #[test]
    fn a_chip_that_is_absent_or_no_chip_is_a_failure_of_its_pins_alone() {
        for place in [
            "chip = '/dev/null'\nline = 3",
            "chip = '/dev/no-such-chip'\nline = 3",
            "chip = 'no-such-label'\nline = 3",
            "line = 'NO-SUCH-LINE'",
        ] {
            let pins = pins(&format!("[[gpio]]\npin = 1\n{place}"), true);
            assert_eq!(pins.read(1), Err(Errno::Io), "{place}");
            assert_eq!(pins.write(1, true), Err(Errno::Io), "{place}");
            assert_eq!(pins.watch(1, BOTH, &Weak::new()), Err(Errno::Io), "{place}");
            assert_eq!((pins.write(2, true), pins.read(2)), (Ok(()), Ok(true)), "{place}");
        }
    }

    #[test]
    fn a_direction_that_is_configured_is_kept() {
        let place = "chip = '/dev/no-such-chip'\nline";
        let pins = pins(
            &format!(
                "[[gpio]]\npin = 1\n{place} = 1\ndirection = 'input'\n\
                 [[gpio]]\npin = 2\n{place} = 2\ndirection = 'output'\n"
            ),
            false,
        );
        assert_eq!(pins.write(1, true), Err(Errno::Denied));
        assert_eq!(pins.watch(2, BOTH, &Weak::new()), Err(Errno::Denied));
        assert_eq!(pins.read(3), Err(Errno::NotFound));
    }
}
