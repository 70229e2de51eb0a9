//! What a board supplies.

use wasmbed_abi::{Errno, Sensor};
use wasmbed_update::Layout;
use wasmbed_wire::{limits::Class, provision::Provision};

use crate::{AnyUplink, Entropy, Serial, heap::HeapUse};

/// One board's hardware, as the driver sees it. Nothing blocks but [`Board::sleep`].
pub trait Board: 'static {
    /// Largest agent the board has a place for, in bytes; a larger one does not compile.
    const AGENT_BYTES: usize = usize::MAX;

    /// Microseconds since the device started.
    fn now_us(&self) -> u64;

    /// Moves bytes received on the link into `out` and returns how many there were.
    fn read(&mut self, out: &mut [u8]) -> usize;

    /// How many bytes [`Board::write`] takes now.
    fn room(&self) -> usize;

    /// Queues bytes for the link; the caller has checked [`Board::room`].
    fn write(&mut self, bytes: &[u8]);

    /// The board's own way to the broker that its provisioning names, if it has one; asked for once. `seed` differs
    /// from start to start.
    fn uplink(&mut self, provision: &Provision<'static>, seed: u64, entropy: Entropy) -> Option<AnyUplink> {
        let _ = (provision, seed, entropy);
        None
    }

    /// Noise that nobody can foretell, where the hardware has any; asked for once.
    fn noise(&mut self) -> Option<[u8; 32]> {
        None
    }

    /// The line to an autopilot, where the board has one, for modules that have to do with vehicles.
    fn autopilot(&mut self) -> Option<&mut dyn Serial> {
        None
    }

    /// Sleeps until a frame of the link or of the autopilot's line has ended, or one of the uplink's network has arrived,
    /// since the last call, until `deadline_ms` if one is given, or for no reason.
    fn sleep(&mut self, deadline_ms: Option<u64>);

    /// Waits until everything queued for the link is sent, then resets. Memory keeps its contents.
    fn reset(&mut self) -> !;

    /// The current use of the heap.
    fn heap(&self) -> HeapUse;

    /// Stack never touched so far, in bytes.
    fn stack_free(&self) -> usize;

    /// Measures, in thousandths of the sensor's unit.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such sensor.
    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        let _ = sensor;
        Err(Errno::NotFound)
    }

    /// Writes to a chip on an I2C bus and then reads from it, in one transaction.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such bus, [`Errno::Io`] if nobody answers.
    fn i2c(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        let _ = (bus, address, write, read);
        Err(Errno::Unsupported)
    }

    /// Exchanges bytes with a chip on an SPI bus, in place.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such bus or chip select, [`Errno::Io`] if it does not work.
    fn spi(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let _ = (bus, chip_select, bytes);
        Err(Errno::Unsupported)
    }

    /// Sets an output.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such output.
    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        let _ = (pin, high);
        Err(Errno::Unsupported)
    }

    /// Reads an input, or what an output was set to.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such pin.
    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        let _ = pin;
        Err(Errno::Unsupported)
    }

    /// Milliseconds since the device started.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// Lets this many milliseconds pass. What arrives meanwhile is of no use to a program that does this, but
    /// would keep the board awake: it is lost.
    fn wait_ms(&mut self, ms: u64) {
        let until_ms = self.now_ms().saturating_add(ms);
        while self.now_ms() < until_ms {
            while self.read(&mut [0; 64]) > 0 {}
            self.sleep(Some(until_ms));
        }
    }
}

/// What a board is: the part of its `board.toml` that the firmware needs.
#[derive(Debug, Clone, Copy)]
pub struct Sheet {
    /// Its name.
    pub name: &'static str,
    /// The class of its limits.
    pub class: Class,
    /// Largest module payload, in bytes.
    pub slot_bytes: u32,
    /// Largest block, in bytes.
    pub block_bytes: u16,
    /// Blocks taken in at once.
    pub window_blocks: u8,
    /// Largest desired state, in bytes; a recovery hears of all modules too.
    pub desired_bytes: usize,
    /// What lies where in its firmware flash.
    pub layout: Layout,
}
