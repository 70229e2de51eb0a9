//! A valve: `open` and `close` arrive on the channel `set`, its state leaves on `state` whenever it changes.
//!
//! It drives the pin in the setting `pin`. The setting `sense` names a pin that shows whether it really moved: its
//! changes leave on `moved`. Where there are no pins it does without.
#![no_std]

use wasmbed_guest::{
    Edges, Errno, Level, Module, Result, config_number, gpio_watch, gpio_write, log,
    messages::{Message, publish, subscribe},
    module, timer_set,
};

/// Bytes of the longest order.
const ORDER_BYTES: usize = 8;

struct Valve {
    pin: Option<u32>,
    open: bool,
}

impl Module for Valve {
    fn start() -> Result<Self> {
        subscribe("set")?;
        if let Some(sense) = config_number("sense")? {
            gpio_watch(sense, Edges::Both)?;
        }
        timer_set(60_000)?;
        let valve = Valve { pin: config_number("pin")?, open: false };
        valve.drive()?;
        Ok(valve)
    }

    fn tick(&mut self) {
        self.tell();
    }

    fn message(&mut self, message: Message) {
        let mut buffer = [0; ORDER_BYTES];
        let open = match message.read(&mut buffer) {
            Ok(b"open") => true,
            Ok(b"close") => false,
            _ => {
                log(Level::Warn, "neither open nor close").ok();
                return;
            }
        };
        self.open = open;
        if self.drive().is_err() {
            log(Level::Error, "the pin cannot be driven").ok();
        }
        self.tell();
    }

    fn gpio_edge(&mut self, _: u32, high: bool) {
        publish("moved", if high { "open" } else { "closed" }).ok();
    }
}

impl Valve {
    fn drive(&self) -> Result<()> {
        match self.pin.map(|pin| gpio_write(pin, self.open)) {
            None | Some(Err(Errno::Unsupported)) => Ok(()),
            Some(driven) => driven,
        }
    }

    fn tell(&self) {
        // A link that is behind hears it with the next tick.
        publish("state", if self.open { "open" } else { "closed" }).ok();
    }
}

module!(Valve, message, gpio_edge);
