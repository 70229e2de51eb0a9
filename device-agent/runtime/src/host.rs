//! What a device offers its modules.

use wasmbed_abi::{
    BatteryStatus, Destination, Edges, Errno, FilePath, LocalPosition, ParameterName, RosName, Sensor,
    VehicleCommand, VehicleParameter, VehicleStatus,
};
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

    /// Sees to it that changes of a pin are told to the module ([`Instance::gpio_edge`](crate::Instance::gpio_edge)),
    /// until neither edge is asked for.
    ///
    /// # Errors
    /// As for [`gpio_write`](Host::gpio_write).
    fn gpio_watch(&mut self, pin: u32, edges: Edges) -> Result<(), Errno> {
        let _ = (pin, edges);
        Err(Errno::Unsupported)
    }

    /// Takes one message of at most [`wasmbed_abi::MAX_MESSAGE_BYTES`] bytes for a channel of the instance's own.
    ///
    /// # Errors
    /// [`Errno::Busy`] if it cannot be kept now, [`Errno::TooLong`] if it never can.
    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        let _ = (channel, payload);
        Err(Errno::Unsupported)
    }

    /// Writes to a chip on an I2C bus and then reads from it, in one transaction; at most one part is empty, and both
    /// have at most [`wasmbed_abi::MAX_BUS_BYTES`].
    ///
    /// # Errors
    /// [`Errno::NotFound`] if modules have no such bus, [`Errno::Io`] if nobody answers.
    fn i2c_transfer(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        let _ = (bus, address, write, read);
        Err(Errno::Unsupported)
    }

    /// Exchanges 1 to [`wasmbed_abi::MAX_BUS_BYTES`] bytes with a chip on an SPI bus, in place.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if modules have no such bus or chip select, [`Errno::Io`] if it does not work.
    fn spi_transfer(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let _ = (bus, chip_select, bytes);
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

    /// Copies the bytes of one of the module's files from `offset` on to the start of `out` and returns how many
    /// there were: fewer than `out` has only at the file's end.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such file, [`Errno::Denied`] if it is none, [`Errno::Io`] if it cannot be
    /// read.
    fn file_read(&mut self, path: FilePath<'_>, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (path, offset, out);
        Err(Errno::Unsupported)
    }

    /// Writes all of `bytes` into a file from `offset` on; makes it and its folders if need be.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if the module's files would exceed [`wasmbed_abi::FILES_BYTES`] or
    /// [`wasmbed_abi::MAX_FILES`]; and as for [`file_read`](Host::file_read).
    fn file_write(&mut self, path: FilePath<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let _ = (path, offset, bytes);
        Err(Errno::Unsupported)
    }

    /// How many bytes a file has.
    ///
    /// # Errors
    /// As for [`file_read`](Host::file_read).
    fn file_size(&mut self, path: FilePath<'_>) -> Result<u64, Errno> {
        let _ = path;
        Err(Errno::Unsupported)
    }

    /// Cuts off what a file has beyond `size` bytes.
    ///
    /// # Errors
    /// As for [`file_read`](Host::file_read).
    fn file_truncate(&mut self, path: FilePath<'_>, size: u64) -> Result<(), Errno> {
        let _ = (path, size);
        Err(Errno::Unsupported)
    }

    /// Removes a file, and folders that are empty without it.
    ///
    /// # Errors
    /// As for [`file_read`](Host::file_read).
    fn file_remove(&mut self, path: FilePath<'_>) -> Result<(), Errno> {
        let _ = path;
        Err(Errno::Unsupported)
    }

    /// Gives a file another name, durably, in place of the file that has it.
    ///
    /// # Errors
    /// As for [`file_write`](Host::file_write).
    fn file_rename(&mut self, from: FilePath<'_>, to: FilePath<'_>) -> Result<(), Errno> {
        let _ = (from, to);
        Err(Errno::Unsupported)
    }

    /// Copies the path of file number `nth`, in the order of their paths, to the start of `out` and returns its
    /// length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] after the last one, [`Errno::NoSpace`] if it does not fit, [`Errno::Io`].
    fn file_list(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (nth, out);
        Err(Errno::Unsupported)
    }

    /// Begins to open a connection and returns its number, from 0 to 2^31 - 1. It ends with the instance at the latest.
    ///
    /// # Errors
    /// [`Errno::Denied`] if the module may not go there, [`Errno::NoSpace`] if it has too many, [`Errno::Busy`].
    fn net_connect(&mut self, destination: Destination<'_>) -> Result<u32, Errno> {
        let _ = destination;
        Err(Errno::Unsupported)
    }

    /// Sends bytes and returns how many: those of a datagram, or as many of a stream as there is room for.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such connection, [`Errno::Busy`] if it is not open yet or has no room,
    /// [`Errno::TooLong`] for a datagram, [`Errno::Io`] if it failed.
    fn net_send(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        let _ = (number, bytes);
        Err(Errno::Unsupported)
    }

    /// Receives into `out`, which is not empty, and returns how many bytes: those of one datagram, or what there is of
    /// a stream; 0 at a stream's end.
    ///
    /// # Errors
    /// [`Errno::Busy`] if there is nothing yet, [`Errno::NoSpace`] if the datagram is longer: it stays; and as for
    /// [`net_send`](Host::net_send).
    fn net_receive(&mut self, number: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (number, out);
        Err(Errno::Unsupported)
    }

    /// Closes a connection.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such connection.
    fn net_close(&mut self, number: u32) -> Result<(), Errno> {
        let _ = number;
        Err(Errno::Unsupported)
    }

    /// Sends a command to a vehicle and returns a ticket, from 0 to 2^31 - 1, at once.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if the vehicle was never heard of, or is to be the only one and is not; [`Errno::Busy`] if too
    /// many commands are under way.
    fn send_vehicle_command(&mut self, command: VehicleCommand) -> Result<u32, Errno> {
        let _ = command;
        Err(Errno::Unsupported)
    }

    /// Has a vehicle go up to `altitude`, in metres above the place where it started, more than 0; as
    /// [`send_vehicle_command`](Host::send_vehicle_command).
    ///
    /// # Errors
    /// As there; [`Errno::Busy`] as long as the height of that place is unknown.
    fn takeoff(&mut self, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        let _ = (vehicle, altitude);
        Err(Errno::Unsupported)
    }

    /// The `MAV_RESULT` that a vehicle answered to a command.
    ///
    /// # Errors
    /// [`Errno::Busy`] while it is under way, [`Errno::TimedOut`] if the vehicle does not answer, [`Errno::NotFound`] if
    /// there is no such ticket any more.
    fn vehicle_command_result(&mut self, ticket: u32) -> Result<u8, Errno> {
        let _ = ticket;
        Err(Errno::Unsupported)
    }

    /// How a vehicle is.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if that was never heard.
    fn vehicle_status(&mut self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        let _ = vehicle;
        Err(Errno::Unsupported)
    }

    /// How its battery is.
    ///
    /// # Errors
    /// As for [`vehicle_status`](Host::vehicle_status).
    fn battery_status(&mut self, vehicle: u8) -> Result<BatteryStatus, Errno> {
        let _ = vehicle;
        Err(Errno::Unsupported)
    }

    /// Where it is.
    ///
    /// # Errors
    /// As for [`vehicle_status`](Host::vehicle_status).
    fn local_position(&mut self, vehicle: u8) -> Result<LocalPosition, Errno> {
        let _ = vehicle;
        Err(Errno::Unsupported)
    }

    /// One of its parameters, told once the vehicle has answered; the first call asks for it.
    ///
    /// # Errors
    /// [`Errno::Busy`] until then, [`Errno::TimedOut`] if it does not answer, [`Errno::NotFound`] if it has none of this
    /// name or was never heard of, [`Errno::Denied`] if it does not tell it, [`Errno::Io`] if it cannot.
    fn vehicle_parameter(&mut self, vehicle: u8, name: ParameterName) -> Result<VehicleParameter, Errno> {
        let _ = (vehicle, name);
        Err(Errno::Unsupported)
    }

    /// Publishes at most [`wasmbed_abi::MAX_ROS_BYTES`] bytes on a topic of ROS 2.
    ///
    /// # Errors
    /// [`Errno::Denied`] if the module may not, [`Errno::NotFound`] if the device has no type for it, [`Errno::Invalid`] if
    /// it is not of that type, [`Errno::TooLong`], [`Errno::Busy`].
    fn publish_message(&mut self, topic: RosName<'_>, message: &[u8]) -> Result<(), Errno> {
        let _ = (topic, message);
        Err(Errno::Unsupported)
    }

    /// Sees to it that messages on a topic of ROS 2 are told to the module
    /// ([`Instance::topic_message`](crate::Instance::topic_message)).
    ///
    /// # Errors
    /// [`Errno::Denied`] if the module may not, [`Errno::NotFound`] if the device has no type for it.
    fn subscribe_topic(&mut self, topic: RosName<'_>) -> Result<(), Errno> {
        let _ = topic;
        Err(Errno::Unsupported)
    }

    /// The module does not listen to a topic any more.
    fn unsubscribe_topic(&mut self, topic: RosName<'_>) {
        let _ = topic;
    }

    /// Makes a client of a service of ROS 2, or finds the one there is, and returns its number, less than
    /// [`wasmbed_abi::MAX_SERVICE_CLIENTS`].
    ///
    /// # Errors
    /// [`Errno::Denied`] if the module may not, [`Errno::NotFound`] if the device has no type for it, [`Errno::NoSpace`].
    fn create_service_client(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        let _ = service;
        Err(Errno::Unsupported)
    }

    /// Sends a request and returns a ticket, from 0 to 2^31 - 1, at once.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such client, [`Errno::Invalid`] if it is not of the service's type,
    /// [`Errno::TooLong`], [`Errno::Busy`].
    fn call_service(&mut self, client: u32, request: &[u8]) -> Result<u32, Errno> {
        let _ = (client, request);
        Err(Errno::Unsupported)
    }

    /// Copies the response to a request to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::Busy`] while there is none, [`Errno::TimedOut`] if none came, [`Errno::Io`] if what came is of no use,
    /// [`Errno::NoSpace`] if it does not fit: it stays; [`Errno::NotFound`] if there is no such ticket any more.
    fn service_response(&mut self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (ticket, out);
        Err(Errno::Unsupported)
    }

    /// Offers a service of ROS 2, or finds that it does already, and returns its number, less than
    /// [`wasmbed_abi::MAX_SERVICES`]. Requests are told to the module
    /// ([`Instance::service_request`](crate::Instance::service_request)).
    ///
    /// # Errors
    /// As for [`create_service_client`](Host::create_service_client).
    fn create_service(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        let _ = service;
        Err(Errno::Unsupported)
    }

    /// Answers a request, once.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such ticket any more, [`Errno::Invalid`] if it is not of the service's type,
    /// [`Errno::TooLong`], [`Errno::Busy`].
    fn send_response(&mut self, ticket: u32, response: &[u8]) -> Result<(), Errno> {
        let _ = (ticket, response);
        Err(Errno::Unsupported)
    }

    /// Writes the [`wasmbed_abi::TopicInfo`] of topic number `nth`, in the order of their names, of those the module may
    /// subscribe to, and returns its length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] after the last one, [`Errno::NoSpace`] if it does not fit.
    fn available_topic(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (nth, out);
        Err(Errno::Unsupported)
    }

    /// Writes the [`wasmbed_abi::NodeInfo`] of a node, of what the module may use, and returns its length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such node, [`Errno::NoSpace`] if it does not fit.
    fn node_info(&mut self, node: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        let _ = (node, out);
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
