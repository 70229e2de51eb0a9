//! A device for the tests, and both ways to run a module on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use wasmbed_abi::{
    BatteryStatus, Capabilities, Destination, Edges, Errno, FilePath, LocalPosition, NodeInfo, ParameterName,
    RosName, Sensor, TopicInfo, Typed, VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_runtime::{Host, Instance, LoadError, Module, Runtime, Settings, StartError, Target, compile};
use wasmbed_wire::{Channel, limits::Class, topic::Level};

/// How a module is run: as on Linux, and as on boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Native,
    Bytecode,
}

pub(crate) const PATHS: [Path; 2] = [Path::Native, Path::Bytecode];

/// What a module did to the device.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) telemetry: Vec<(String, Vec<u8>)>,
    pub(crate) published: Vec<(String, Vec<u8>)>,
    pub(crate) pins: BTreeMap<u32, bool>,
    pub(crate) watched: BTreeMap<u32, Edges>,
    pub(crate) values: BTreeMap<String, Vec<u8>>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What was sent on connection 0, if it is open.
    pub(crate) connection: Option<Vec<u8>>,
    pub(crate) secret: Option<[u8; 32]>,
    /// To the vehicle; a takeoff is one with its altitude as parameter 7.
    pub(crate) commands: Vec<VehicleCommand>,
    /// Parameters of vehicles that were asked for.
    pub(crate) parameters: Vec<(u8, ParameterName)>,
    /// Topics of ROS 2, as they are listened to.
    pub(crate) topics: Vec<String>,
    /// Requests to the service.
    pub(crate) requests: Vec<Vec<u8>>,
    pub(crate) responses: Vec<Vec<u8>>,
    /// Bytes drawn at random so far.
    pub(crate) drawn: u8,
}

#[derive(Clone, Default)]
pub(crate) struct Device(Arc<Mutex<Seen>>);

impl Device {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("no test panics while it looks")
    }
}

impl Host for Device {
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno> {
        self.seen().log.push((level, line.to_owned()));
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.seen().telemetry.push((channel.as_str().to_owned(), payload.to_vec()));
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        0x1_0000_0001
    }

    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        match sensor {
            Sensor::Temperature => Ok(-1500),
            Sensor::Adc(input) => Ok(i64::from(input) * 100),
            _ => Err(Errno::NotFound),
        }
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        self.seen().pins.insert(pin, high);
        Ok(())
    }

    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        self.seen().pins.get(&pin).copied().ok_or(Errno::NotFound)
    }

    fn gpio_watch(&mut self, pin: u32, edges: Edges) -> Result<(), Errno> {
        self.seen().watched.insert(pin, edges);
        Ok(())
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.seen().published.push((channel.as_str().to_owned(), payload.to_vec()));
        Ok(())
    }

    /// A chip at 0x48 of bus 1 that answers what was written plus one, and then zeros.
    fn i2c_transfer(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        match (bus, address) {
            (1, 0x48) => {
                read.fill(0);
                read.iter_mut().zip(write).for_each(|(out, byte)| *out = byte + 1);
                Ok(())
            }
            (1, _) => Err(Errno::Io),
            _ => Err(Errno::NotFound),
        }
    }

    /// A chip that answers what was written plus two.
    fn spi_transfer(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        if (bus, chip_select) != (2, 1) {
            return Err(Errno::NotFound);
        }
        bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(2));
        Ok(())
    }

    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let seen = self.seen();
        let value = seen.values.get(key).ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value);
        Ok(value.len())
    }

    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        self.seen().values.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        self.seen().values.remove(key).map(drop).ok_or(Errno::NotFound)
    }

    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        self.seen().secret.ok_or(Errno::Unsupported)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        let mut seen = self.seen();
        out.iter_mut().for_each(|byte| {
            seen.drawn = seen.drawn.wrapping_add(1);
            *byte = seen.drawn;
        });
        Ok(())
    }

    fn file_read(&mut self, path: FilePath<'_>, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        let seen = self.seen();
        let file = seen.files.get(path.as_str()).ok_or(Errno::NotFound)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn file_write(&mut self, path: FilePath<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).ok().filter(|offset| *offset < 1 << 20).ok_or(Errno::NoSpace)?;
        let mut seen = self.seen();
        let file = seen.files.entry(path.as_str().to_owned()).or_default();
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn file_size(&mut self, path: FilePath<'_>) -> Result<u64, Errno> {
        self.seen().files.get(path.as_str()).map(|file| file.len() as u64).ok_or(Errno::NotFound)
    }

    fn file_truncate(&mut self, path: FilePath<'_>, size: u64) -> Result<(), Errno> {
        let mut seen = self.seen();
        seen.files.get_mut(path.as_str()).ok_or(Errno::NotFound)?.truncate(size as usize);
        Ok(())
    }

    fn file_remove(&mut self, path: FilePath<'_>) -> Result<(), Errno> {
        self.seen().files.remove(path.as_str()).map(drop).ok_or(Errno::NotFound)
    }

    fn file_rename(&mut self, from: FilePath<'_>, to: FilePath<'_>) -> Result<(), Errno> {
        let mut seen = self.seen();
        let file = seen.files.remove(from.as_str()).ok_or(Errno::NotFound)?;
        seen.files.insert(to.as_str().to_owned(), file);
        Ok(())
    }

    fn file_list(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let seen = self.seen();
        let path = seen.files.keys().nth(nth as usize).ok_or(Errno::NotFound)?;
        out.get_mut(..path.len()).ok_or(Errno::NoSpace)?.copy_from_slice(path.as_bytes());
        Ok(path.len())
    }

    fn net_connect(&mut self, destination: Destination<'_>) -> Result<u32, Errno> {
        if !destination.is_allowed_by("tcp:*.example:1") {
            return Err(Errno::Denied);
        }
        self.seen().connection = Some(Vec::new());
        Ok(0)
    }

    fn net_send(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        let mut seen = self.seen();
        let sent = seen.connection.as_mut().filter(|_| number == 0).ok_or(Errno::NotFound)?;
        sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn net_receive(&mut self, number: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.seen().connection.as_ref().filter(|_| number == 0).ok_or(Errno::NotFound)?;
        out.fill(b'x');
        Ok(out.len())
    }

    fn net_close(&mut self, number: u32) -> Result<(), Errno> {
        self.seen().connection.take().filter(|_| number == 0).map(drop).ok_or(Errno::NotFound)
    }

    /// Vehicle 1, the only one.
    fn send_vehicle_command(&mut self, command: VehicleCommand) -> Result<u32, Errno> {
        if command.vehicle > 1 {
            return Err(Errno::NotFound);
        }
        let mut seen = self.seen();
        seen.commands.push(command);
        Ok(seen.commands.len() as u32 - 1)
    }

    fn takeoff(&mut self, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        self.send_vehicle_command(VehicleCommand::takeoff(vehicle, altitude))
    }

    fn vehicle_command_result(&mut self, ticket: u32) -> Result<u8, Errno> {
        self.seen().commands.get(ticket as usize).ok_or(Errno::NotFound)?;
        if ticket == 0 { Err(Errno::TimedOut) } else { Ok(3) }
    }

    fn vehicle_status(&mut self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        if vehicle > 1 {
            return Err(Errno::NotFound);
        }
        Ok(VehicleStatus { age_ms: 7, vehicle: 1, ..VehicleStatus::default() })
    }

    fn battery_status(&mut self, _: u8) -> Result<BatteryStatus, Errno> {
        Ok(BatteryStatus { age_ms: 8, remaining: 99, ..BatteryStatus::default() })
    }

    fn local_position(&mut self, _: u8) -> Result<LocalPosition, Errno> {
        Ok(LocalPosition { age_ms: 9, z: -5.0, ..LocalPosition::default() })
    }

    fn vehicle_parameter(&mut self, vehicle: u8, name: ParameterName) -> Result<VehicleParameter, Errno> {
        let mut seen = self.seen();
        seen.parameters.push((vehicle, name));
        if seen.parameters.len() == 1 {
            return Err(Errno::Busy);
        }
        Ok(VehicleParameter { value: -2.5, kind: 9 })
    }

    fn publish_message(&mut self, topic: RosName<'_>, message: &[u8]) -> Result<(), Errno> {
        if !topic.is_allowed_by("/a*") {
            return Err(Errno::Denied);
        }
        self.seen().published.push((topic.as_str().to_owned(), message.to_vec()));
        Ok(())
    }

    fn subscribe_topic(&mut self, topic: RosName<'_>) -> Result<(), Errno> {
        if !topic.is_allowed_by("/a*") {
            return Err(Errno::Denied);
        }
        self.seen().topics.push(topic.as_str().to_owned());
        Ok(())
    }

    fn unsubscribe_topic(&mut self, topic: RosName<'_>) {
        self.seen().topics.retain(|known| known != topic.as_str());
    }

    fn create_service_client(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        if service.is_allowed_by("/a*") { Ok(0) } else { Err(Errno::Denied) }
    }

    fn call_service(&mut self, client: u32, request: &[u8]) -> Result<u32, Errno> {
        if client != 0 {
            return Err(Errno::NotFound);
        }
        let mut seen = self.seen();
        seen.requests.push(request.to_vec());
        Ok(seen.requests.len() as u32 - 1)
    }

    /// The request itself.
    fn service_response(&mut self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let seen = self.seen();
        let response = seen.requests.get(ticket as usize).ok_or(Errno::NotFound)?;
        out.get_mut(..response.len()).ok_or(Errno::NoSpace)?.copy_from_slice(response);
        Ok(response.len())
    }

    fn create_service(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        if service.is_allowed_by("/a*") { Ok(3) } else { Err(Errno::Denied) }
    }

    fn send_response(&mut self, ticket: u32, response: &[u8]) -> Result<(), Errno> {
        if ticket != 7 {
            return Err(Errno::NotFound);
        }
        self.seen().responses.push(response.to_vec());
        Ok(())
    }

    fn available_topic(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        if nth > 0 {
            return Err(Errno::NotFound);
        }
        TopicInfo { publishers: 2, ..TopicInfo::default() }.write(Typed { name: "/a", ty: "T" }, out)
    }

    fn node_info(&mut self, node: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        NodeInfo::write([&[], &[Typed { name: node.as_str(), ty: "T" }], &[], &[]], out)
    }

    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = if key == "name" { "pump" } else { return Err(Errno::NotFound) };
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value.as_bytes());
        Ok(value.len())
    }
}

/// One runtime and its device.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) device: Device,
    pub(crate) path: Path,
}

impl World {
    pub(crate) fn new(path: Path, class: Class) -> Self {
        let runtime = match path {
            Path::Native => Runtime::new(class),
            Path::Bytecode => Runtime::bytecode(class, class.limits().stack_bytes as usize),
        }
        .expect("the engine starts");
        // A fast machine, so that time limits are short in the tests.
        runtime.set_fuel_per_ms(1000);
        World { runtime, device: Device::default(), path }
    }

    pub(crate) fn load(&self, text: &str) -> Result<Module, LoadError> {
        let wasm = wat::parse_str(text).expect("the test's module is valid text");
        match self.path {
            Path::Native => self.runtime.load_wasm(&wasm),
            Path::Bytecode => {
                let bytes = compile(&wasm, Target::Pulley64, self.runtime.class())
                    .map_err(|error| LoadError::Rejected(error.to_string()))?;
                // SAFETY: just compiled.
                #[allow(unsafe_code, reason = "the contract is kept: nobody touched the bytes")]
                unsafe {
                    self.runtime.load_copied(&bytes, 0)
                }
            }
        }
    }

    pub(crate) fn start(&self, text: &str) -> Result<Instance<Device>, StartError> {
        let module = self.load(text).expect("the test's module is acceptable");
        let settings = Settings { capabilities: Capabilities::all(self.runtime.class()) };
        self.runtime.instantiate(&module, self.device.clone(), settings)
    }

    pub(crate) fn run(&self, text: &str) -> Instance<Device> {
        self.start(text).expect("the test's module starts")
    }
}

/// Runs a test on a thread with the stack that native code needs.
pub(crate) fn on_both(class: Class, test: impl Fn(World) + Copy + Send + 'static) {
    for path in PATHS {
        std::thread::Builder::new()
            .stack_size(Runtime::thread_stack_bytes(class))
            .name(format!("{path:?}"))
            .spawn(move || test(World::new(path, class)))
            .expect("a thread starts")
            .join()
            .unwrap_or_else(|_| panic!("failed on the path {path:?}"));
    }
}
