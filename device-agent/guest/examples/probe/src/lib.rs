//! A probe: publishes the temperature as `std_msgs/msg/Float64`, in degrees Celsius, on the ROS 2 topic in the setting
//! `topic` with every tick. The device's configuration has the topic with `encoding = "cdr"`, as is its default.
#![no_std]

use wasmbed_guest::{Errno, Level, Module, Result, Sensor, config_get, log, module, ros, sensor_read};

/// Bytes of the longest name of a topic.
const NAME_BYTES: usize = 247;
/// What stands before a message: CDR, little-endian.
const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];

struct Probe;

impl Module for Probe {
    fn start() -> Result<Self> {
        Ok(Probe)
    }

    fn tick(&mut self) {
        if publish().is_err() {
            log(Level::Warn, "the temperature could not be published").ok();
        }
    }
}

fn publish() -> Result<()> {
    let mut buffer = [0; NAME_BYTES];
    let topic = core::str::from_utf8(config_get("topic", &mut buffer)?).map_err(|_| Errno::Invalid)?;
    let degrees = sensor_read(Sensor::Temperature)? as f64 / 1000.0;
    let mut message = [0; 12];
    let (encapsulation, data) = message.split_at_mut(ENCAPSULATION.len());
    encapsulation.copy_from_slice(&ENCAPSULATION);
    data.copy_from_slice(&degrees.to_le_bytes());
    ros::publish(topic, message)
}

module!(Probe);
