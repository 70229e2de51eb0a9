//! The device's functions with safe arguments.

use crate::{Errno, Result, Sensor, errno::check, raw};

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something does not work.
    Error = 0,
    /// Something may soon not work.
    Warn = 1,
    /// Something worth knowing happened.
    Info = 2,
    /// For the module's author.
    Debug = 3,
}

/// Writes a line of at most 200 bytes to the device's log.
///
/// # Errors
/// `Busy` if the link is behind: the line is lost.
pub fn log(level: Level, line: &str) -> Result<()> {
    // SAFETY: pointer and length are those of a string.
    check(unsafe { raw::log(level as i32, line.as_ptr(), line.len()) }).map(drop)
}

/// Publishes at most 1024 bytes, as they are, on a channel named with 1 to 32 of `a-z`, `0-9` and `-`.
///
/// # Errors
/// `Busy` if the link is behind: the bytes are lost. `TooLong` on devices that take fewer bytes.
pub fn telemetry(channel: &str, payload: impl AsRef<[u8]>) -> Result<()> {
    let payload = payload.as_ref();
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::telemetry(channel.as_ptr(), channel.len(), payload.as_ptr(), payload.len()) };
    check(answer).map(drop)
}

/// Milliseconds since the device started.
pub fn uptime_ms() -> u64 {
    raw::uptime_ms().cast_unsigned()
}

/// Measures; the answer is in thousandths of the sensor's unit.
///
/// # Errors
/// `NotFound` or `Unsupported` if the device has no such sensor, `Io` if it does not answer.
pub fn sensor_read(sensor: Sensor) -> Result<i64> {
    let mut reading = 0;
    // SAFETY: the device writes 8 bytes, the size of an `i64`, little-endian as WebAssembly is.
    check(unsafe { raw::sensor_read(sensor.id(), &raw mut reading) })?;
    Ok(reading)
}

/// Drives a pin.
///
/// # Errors
/// `NotFound` or `Unsupported` if there is no such pin, `Denied` if it is not for modules.
pub fn gpio_write(pin: u32, high: bool) -> Result<()> {
    check(raw::gpio_write(pin.cast_signed(), i32::from(high))).map(drop)
}

/// Reads a pin.
///
/// # Errors
/// As for [`gpio_write`].
pub fn gpio_read(pin: u32) -> Result<bool> {
    check(raw::gpio_read(pin.cast_signed())).map(|level| level != 0)
}

/// Which changes of a pin are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Edges {
    /// None any more.
    None = 0,
    /// From low to high.
    Rising = 1,
    /// From high to low.
    Falling = 2,
    /// Both.
    Both = 3,
}

/// Has changes of a pin told with [`Module::gpio_edge`](crate::Module::gpio_edge).
///
/// # Errors
/// As for [`gpio_write`].
pub fn gpio_watch(pin: u32, edges: Edges) -> Result<()> {
    check(raw::gpio_watch(pin.cast_signed(), edges as i32)).map(drop)
}

/// The value of one of the module's settings, in UTF-8, kept in `buffer`.
///
/// # Errors
/// `NotFound` if it is not set, `NoSpace` if the buffer is too small.
pub fn config_get<'a>(key: &str, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::config_get(key.as_ptr(), key.len(), buffer.as_mut_ptr(), buffer.len()) };
    let len = check(answer)? as usize;
    buffer.get(..len).ok_or(Errno::NoSpace)
}

/// The value of a setting that is a whole number; none if it is not set.
///
/// # Errors
/// `Invalid` if it is no number or too large.
pub fn config_number(key: &str) -> Result<Option<u32>> {
    // As many digits as the largest number has.
    let mut buffer = [0; 10];
    match config_get(key, &mut buffer) {
        Ok(text) => decimal(text).map(Some).ok_or(Errno::Invalid),
        Err(Errno::NotFound | Errno::Unsupported) => Ok(None),
        Err(Errno::NoSpace) => Err(Errno::Invalid),
        Err(error) => Err(error),
    }
}

/// `str::parse` would need the text checked first, and say more than is asked for.
fn decimal(text: &[u8]) -> Option<u32> {
    text.first()?;
    text.iter().try_fold(0u32, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Starts a thread: the export `thread_start(id: i32, arg: i32)` is called in another instance over the same memory.
/// Only for modules that are built with a shared memory, which takes a standard library built with atomics. The export
/// has to give the thread a stack of its own before anything else. Answers the thread's id, from 1.
///
/// # Errors
/// `Busy` if too many run, `Unsupported` if the module has no shared memory or no `thread_start`.
pub fn thread_spawn(arg: i32) -> Result<u32> {
    check(raw::thread_spawn(arg))
}

/// Sets the time between the starts of two ticks: 10 ms to a day.
///
/// # Errors
/// `Invalid` outside that range.
pub fn timer_set(interval_ms: u32) -> Result<()> {
    check(raw::timer_set(interval_ms.cast_signed())).map(drop)
}
