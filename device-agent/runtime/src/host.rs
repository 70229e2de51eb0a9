//! What a device offers its modules.

use wasmbed_abi::{Errno, Sensor};
use wasmbed_wire::{Channel, topic::Level};

/// A device, seen from one of its modules: each instance owns one, usually a small handle.
///
/// Arguments arrive checked. Methods must return at once; they are called while the module's call runs.
/// What a device cannot do it leaves to the defaults, which answer [`Errno::Unsupported`].
pub trait Host: 'static {
    /// Takes one line of at most [`wasmbed_abi::MAX_LOG_BYTES`] bytes.
    ///
    /// # Errors
    /// [`Errno::Busy`] if it cannot be kept now.
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno>;

    /// Takes one payload of at most [`wasmbed_abi::MAX_TELEMETRY_BYTES`] bytes for a channel.
    ///
    /// # Errors
    /// [`Errno::Busy`] if it cannot be kept now, [`Errno::TooLong`] if it never can.
    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno>;

    /// Milliseconds since the device started.
    fn uptime_ms(&mut self) -> u64;

    /// Measures; the answer is in thousandths of [`Sensor::unit`].
    ///
    /// # Errors
    /// [`Errno::NotFound`] if the device has no such sensor, [`Errno::Io`] if it does not answer.
    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        let _ = sensor;
        Err(Errno::Unsupported)
    }

    /// Drives a pin.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such pin, [`Errno::Denied`] if it is not for modules.
    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        let _ = (pin, high);
        Err(Errno::Unsupported)
    }

    /// Reads a pin.
    ///
    /// # Errors
    /// As for [`gpio_write`](Host::gpio_write).
    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        let _ = pin;
        Err(Errno::Unsupported)
    }

    /// Copies the value that the module stored under `key`, 1 to [`wasmbed_abi::MAX_KEY_BYTES`] bytes, to the start
    /// of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is none, [`Errno::NoSpace`] if it does not fit, [`Errno::Io`] if it cannot
    /// be read.
    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (key, out);
        Err(Errno::Unsupported)
    }

    /// Stores a value of at most [`wasmbed_abi::MAX_VALUE_BYTES`] bytes, durably: the old one or the new one is
    /// found after a power cut.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if the module has stored as much as it may, [`Errno::TooLong`] if the device takes no value
    /// of this length, [`Errno::Busy`] if the module changes values too often, [`Errno::Io`] if it cannot be kept.
    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        let _ = (key, value);
        Err(Errno::Unsupported)
    }

    /// Forgets the value under a key.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is none, [`Errno::Busy`] as for [`kv_set`](Host::kv_set).
    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        let _ = key;
        Err(Errno::Unsupported)
    }

    /// The secret from which the keys of this module are made: the same at each start and for each version
    /// of the module, another for every other module and device.
    ///
    /// # Errors
    /// [`Errno::Io`] if it cannot be kept.
    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        Err(Errno::Unsupported)
    }

    /// Fills `out` with bytes that nobody can foretell.
    ///
    /// # Errors
    /// [`Errno::Io`] if there is no randomness now.
    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        let _ = out;
        Err(Errno::Unsupported)
    }

    /// Copies the value of the module's setting `key` to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if it is not set, [`Errno::NoSpace`] if it does not fit.
    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (key, out);
        Err(Errno::NotFound)
    }
}
