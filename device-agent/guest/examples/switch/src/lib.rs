//! A switch: answers the ROS 2 service in the setting `service`, of the type `std_srvs/srv/SetBool`, by driving the pin in
//! the setting `pin`. The device's configuration has the service with `encoding = "cdr"`, as is its default.
#![no_std]

use wasmbed_guest::{
    Errno, Level, Module, Result, config_get, config_number, gpio_write, log, module,
    ros::{Request, Service},
    timer_set,
};

/// A request: its encapsulation, and what to set.
const REQUEST_BYTES: usize = 5;
/// Bytes of the longest name of a service.
const NAME_BYTES: usize = 247;
/// A response: its encapsulation, whether it worked, and a text with its length before it.
const DONE: &[u8] = b"\0\x01\0\0\x01\0\0\0\x01\0\0\0\0";
const FAILED: &[u8] = b"\0\x01\0\0\0\0\0\0\x19\0\0\0the pin cannot be driven\0";

struct Switch {
    pin: u32,
}

impl Module for Switch {
    fn start() -> Result<Self> {
        let mut buffer = [0; NAME_BYTES];
        let name = core::str::from_utf8(config_get("service", &mut buffer)?).map_err(|_| Errno::Invalid)?;
        Service::new(name)?;
        timer_set(60_000)?;
        Ok(Switch { pin: config_number("pin")?.ok_or(Errno::NotFound)? })
    }

    fn tick(&mut self) {}

    fn service_request(&mut self, request: Request) {
        let mut buffer = [0; REQUEST_BYTES];
        // The device has checked that it is of the service's type.
        let Ok([.., on]) = request.read(&mut buffer) else { return };
        let response = if gpio_write(self.pin, *on != 0).is_ok() { DONE } else { FAILED };
        if request.reply.send(response).is_err() {
            log(Level::Error, "a request could not be answered").ok();
        }
    }
}

module!(Switch, service_request);
