//! The device's functions as they are imported. [The crate's root](crate) has safe ones.

#[link(wasm_import_module = "wasmbed")]
unsafe extern "C" {
    /// Writes a line of text to the log.
    pub fn log(level: i32, ptr: *const u8, len: usize) -> i32;
    /// Publishes bytes on a channel.
    pub fn telemetry(channel_ptr: *const u8, channel_len: usize, ptr: *const u8, len: usize) -> i32;
    /// Milliseconds since the device started.
    pub safe fn uptime_ms() -> i64;
    /// Measures, and writes thousandths of the sensor's unit.
    pub fn sensor_read(sensor: i32, out_ptr: *mut i64) -> i32;
    /// Drives a pin.
    pub safe fn gpio_write(pin: i32, level: i32) -> i32;
    /// Reads a pin.
    pub safe fn gpio_read(pin: i32) -> i32;
    /// Copies a setting.
    pub fn config_get(key_ptr: *const u8, key_len: usize, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Sets the time between two ticks.
    pub safe fn timer_set(interval_ms: i32) -> i32;
}
