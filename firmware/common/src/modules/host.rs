//! What a module can ask of the board.

use alloc::{rc::Rc, vec::Vec};
use core::{cell::RefCell, fmt};

use wasmbed_abi::{
    BatteryStatus, Errno, LocalPosition, MAX_LOG_BYTES, ParameterName, RosName, Sensor, VehicleCommand,
    VehicleParameter, VehicleStatus,
};
use wasmbed_core::{OWNER_BYTES, Owner, Token};
use wasmbed_runtime::Host;
use wasmbed_wire::{
    Channel, ModuleName, Seq,
    message::Setting,
    topic::{Level, Up},
};

use super::{Keeper, px4, ros};
use crate::{Board, port::Port};

/// Bytes of a line with the module's name before it.
const LINE_BYTES: usize = wasmbed_wire::id::MAX_NAME_BYTES + 2 + MAX_LOG_BYTES;

/// One module's handle of the board.
pub(crate) struct ModuleHost<B> {
    pub(super) port: Rc<Port<B>>,
    pub(super) keeper: Rc<RefCell<Keeper>>,
    /// The instance.
    pub(super) name: ModuleName,
    owner: heapless::String<OWNER_BYTES>,
    /// The settings, as CBOR: small, and read seldom.
    settings: Vec<u8>,
    #[cfg_attr(not(feature = "ros"), expect(dead_code, reason = "there is nothing in it"))]
    pub(super) ros: ros::Post,
    #[cfg_attr(not(feature = "px4"), expect(dead_code, reason = "there is nothing in it"))]
    pub(super) px4: px4::Pilot,
}

impl<B: Board> ModuleHost<B> {
    /// A handle with a copy of the settings.
    pub(crate) fn new(
        port: Rc<Port<B>>,
        keeper: Rc<RefCell<Keeper>>,
        px4: px4::Pilot,
        owner: Owner,
        settings: Seq<'_, Setting<'_>>,
    ) -> Self {
        let mut copy = Vec::new();
        // Writing to memory cannot fail; an empty copy would hold no settings.
        let _ = minicbor::encode(settings, &mut copy);
        let mut text = heapless::String::new();
        // As long as it can be.
        let _ = fmt::write(&mut text, format_args!("{owner}"));
        let ros = ros::Post::default();
        ModuleHost { port, keeper, name: owner.instance, owner: text, settings: copy, ros, px4 }
    }

    /// The value of a setting.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        let settings: Seq<'_, Setting<'_>> = minicbor::decode(&self.settings).ok()?;
        settings.iter().find(|setting| setting.key == key).map(|setting| setting.value)
    }

    /// Says on the console that the flash failed, which the module alone would know.
    fn told<T>(&self, done: Result<T, Errno>) -> Result<T, Errno> {
        if let Err(Errno::Io) = done {
            self.port.say(format_args!("{}: the flash with its values fails", self.name));
        }
        done
    }
}

impl<B: Board> Host for ModuleHost<B> {
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno> {
        let mut text = heapless::String::<LINE_BYTES>::new();
        fmt::write(&mut text, format_args!("{}: {line}", self.name)).map_err(|_| Errno::TooLong)?;
        if self.port.publish(Up::Log(level), text.as_bytes(), Token(0)).is_err() {
            // Nobody else hears it now.
            self.port.say(format_args!("{} {text}", level.name()));
        }
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.port.publish(Up::Telemetry(channel), payload, Token(0)).map_err(|_| Errno::Busy)
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.port.publish(Up::Message(self.name, channel), payload, Token(0)).map_err(|_| Errno::Busy)
    }

    fn uptime_ms(&mut self) -> u64 {
        self.port.now_ms()
    }

    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        self.port.board.borrow_mut().sensor(sensor)
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        self.port.board.borrow_mut().gpio_write(pin, high)
    }

    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        self.port.board.borrow_mut().gpio_read(pin)
    }

    fn i2c_transfer(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        self.port.board.borrow_mut().i2c(bus, address, write, read)
    }

    fn spi_transfer(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        self.port.board.borrow_mut().spi(bus, chip_select, bytes)
    }

    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        self.told(self.keeper.borrow_mut().get(&self.owner, key, out))
    }

    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        self.told(self.keeper.borrow_mut().set(self.port.now_ms(), &self.owner, key, value))
    }

    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        self.told(self.keeper.borrow_mut().remove(self.port.now_ms(), &self.owner, key))
    }

    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        self.keeper.borrow().secret(&self.owner)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        self.told(self.keeper.borrow_mut().random(self.port.now_us(), out))
    }

    fn send_vehicle_command(&mut self, command: VehicleCommand) -> Result<u32, Errno> {
        px4::send(self, command)
    }

    fn takeoff(&mut self, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        px4::takeoff(self, vehicle, altitude)
    }

    fn vehicle_command_result(&mut self, ticket: u32) -> Result<u8, Errno> {
        px4::result(self, ticket)
    }

    fn vehicle_status(&mut self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        px4::status(self, vehicle)
    }

    fn battery_status(&mut self, vehicle: u8) -> Result<BatteryStatus, Errno> {
        px4::battery(self, vehicle)
    }

    fn local_position(&mut self, vehicle: u8) -> Result<LocalPosition, Errno> {
        px4::position(self, vehicle)
    }

    fn vehicle_parameter(&mut self, vehicle: u8, name: ParameterName) -> Result<VehicleParameter, Errno> {
        px4::parameter(self, vehicle, name)
    }

    fn publish_message(&mut self, topic: RosName<'_>, message: &[u8]) -> Result<(), Errno> {
        ros::publish(self, topic, message)
    }

    fn subscribe_topic(&mut self, topic: RosName<'_>) -> Result<(), Errno> {
        ros::subscribe(self, topic)
    }

    fn unsubscribe_topic(&mut self, topic: RosName<'_>) {
        ros::unsubscribe(self, topic);
    }

    fn create_service_client(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        ros::client(self, service)
    }

    fn call_service(&mut self, client: u32, request: &[u8]) -> Result<u32, Errno> {
        ros::call(self, client, request)
    }

    fn service_response(&mut self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        ros::response(self, ticket, out)
    }

    fn create_service(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        ros::offer(self, service)
    }

    fn send_response(&mut self, ticket: u32, response: &[u8]) -> Result<(), Errno> {
        ros::respond(self, ticket, response)
    }

    fn available_topic(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        ros::topic(self, nth, out)
    }

    fn node_info(&mut self, node: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        ros::node(self, node, out)
    }

    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = self.setting(key).ok_or(Errno::NotFound)?.as_bytes();
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value);
        Ok(value.len())
    }
}
