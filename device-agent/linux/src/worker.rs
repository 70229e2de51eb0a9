//! Modules at work, each on a thread of its own, so that none delays another or the agent.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use wasmbed_abi::{
    ALLOW_NETWORK, BatteryStatus, Capabilities, Destination, Edges, Errno, FilePath, LocalPosition,
    ParameterName, RosName, Sensor, VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_core::{Assignment, ModuleEvent, Owner, Slot, Used};
use wasmbed_px4::Order;
use wasmbed_ros::{Event, Refused, Ros};
use wasmbed_runtime::{Host, Instance, Runtime, Settings, StartError, Stopped};
use wasmbed_sandbox::{Connections, Files, Network};
use wasmbed_wire::{
    Backtrace, Channel, ModuleName,
    message::Reason,
    topic::{Level, Up},
};

use crate::{
    buses::Buses,
    device::CLASS,
    folders::Folders,
    pins::Pins,
    px4::{Pilot, Px4},
    ros::Post,
    secrets::{self, Secrets},
    sensors::Sensors,
    values::Values,
};

/// Time between two questions for a module's health.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// Messages of all modules on their way to the broker.
pub(crate) const OUTBOX: usize = 128;

/// Calls that may wait for a module, besides the tick; more of them are dropped.
const MAX_WAITING: usize = 32;

/// What a module's thread says.
#[derive(Debug)]
pub(crate) enum News {
    Event(Slot, ModuleEvent),
    /// The thread is over and holds nothing any more; with the reason, if the module stopped by itself.
    Over(Slot, Option<Ended>),
}

/// How a module stopped by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) reason: Reason,
    pub(crate) used: Used,
    pub(crate) backtrace: Backtrace,
}

impl From<Reason> for Ended {
    /// Before it was called.
    fn from(reason: Reason) -> Self {
        Ended { reason, used: Used::default(), backtrace: Backtrace::default() }
    }
}

/// A message of a module.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Up,
    pub(crate) payload: Vec<u8>,
}

/// What all modules share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) outbox: mpsc::Sender<Message>,
    /// Whether messages of modules have somewhere to go.
    pub(crate) online: Arc<AtomicBool>,
    pub(crate) sensors: Sensors,
    pub(crate) pins: Pins,
    pub(crate) buses: Buses,
    pub(crate) secrets: Secrets,
    pub(crate) values: Values,
    pub(crate) folders: Folders,
    pub(crate) network: Network,
    pub(crate) px4: Px4,
    pub(crate) ros: Option<Ros>,
    pub(crate) start: Instant,
}

/// A call that a module's thread is to make.
#[derive(Debug)]
enum Call {
    Tick,
    Message(Channel, Vec<u8>),
    GpioEdge {
        pin: u32,
        high: bool,
    },
    /// Something of ROS 2 waits for the module.
    Ros,
}

impl Call {
    /// Whether only one of its kind waits at a time, however much there is to do.
    fn is_single(&self) -> bool {
        matches!(self, Call::Tick | Call::Ros)
    }
}

/// The way to a module's thread.
#[derive(Debug)]
pub(crate) struct Line {
    name: ModuleName,
    calls: std_mpsc::Sender<Call>,
    queue: Arc<Queue>,
}

/// What both ends of a line know.
#[derive(Debug, Default)]
struct Queue {
    /// Calls that were not made yet, of kinds of which several wait.
    waiting: AtomicUsize,
    /// Some were dropped since all that waited were made.
    is_behind: AtomicBool,
    /// Nobody is interested any more in calls that wait.
    over: AtomicBool,
}

impl Line {
    /// Tells the module that a pin has changed.
    pub(crate) fn gpio_edge(&self, pin: u32, high: bool) {
        self.call(Call::GpioEdge { pin, high });
    }

    /// Tells the module what has come over ROS 2, one at a time.
    pub(crate) fn ros(&self) {
        // A thread that is over says so itself.
        let _ = self.calls.send(Call::Ros);
    }

    fn call(&self, call: Call) {
        if self.queue.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
            // Once, not for each: a pin may change thousands of times a second.
            if !self.queue.is_behind.swap(true, Ordering::Relaxed) {
                tracing::warn!(module = %self.name, "{MAX_WAITING} calls wait already; others are dropped");
            }
            return;
        }
        // A thread that is over says so itself.
        let _ = self.calls.send(call);
    }
}

/// The thread of one module. Dropping it ends the thread after the call that is going on.
pub(crate) struct Worker {
    /// The only lasting reference: with it goes the sender, and the thread ends.
    line: Arc<Line>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.line.queue.over.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// Starts to load, link and run the module whose payload is this file.
    pub(crate) fn start(
        surroundings: &Surroundings,
        slot: Slot,
        assignment: &Assignment,
        settings: Vec<(String, String)>,
        payload: PathBuf,
    ) -> io::Result<Self> {
        let (calls, due) = std_mpsc::channel();
        let Assignment { instance: name, grants, .. } = *assignment;
        let queue = Arc::new(Queue::default());
        let line = Arc::new(Line { name, calls, queue: Arc::clone(&queue) });
        let job = Job { slot, name, grants, due, queue, news: surroundings.news.clone() };
        let host = ModuleHost::new(assignment.owner(), Arc::downgrade(&line), settings, surroundings.clone());
        std::thread::Builder::new()
            .name(name.to_string())
            .stack_size(Runtime::thread_stack_bytes(CLASS))
            .spawn(move || {
                let ended = job.run(&payload, host);
                if let Err(Ended { reason, .. }) = &ended {
                    tracing::warn!(module = %job.name, ?reason, "stopped");
                }
                // Fails only while the agent ends.
                let _ = job.news.blocking_send(News::Over(slot, ended.err()));
            })?;
        Ok(Worker { line })
    }

    /// Calls the module's `tick` soon.
    pub(crate) fn tick(&self) {
        // The agent asks for one at a time; a thread that is over says so itself.
        let _ = self.line.calls.send(Call::Tick);
    }

    /// Gives the module a message soon, if it listens to the channel.
    pub(crate) fn message(&self, channel: Channel, payload: Vec<u8>) {
        self.line.call(Call::Message(channel, payload));
    }
}

struct Job {
    slot: Slot,
    name: ModuleName,
    grants: u32,
    due: std_mpsc::Receiver<Call>,
    queue: Arc<Queue>,
    news: mpsc::Sender<News>,
}

impl Job {
    /// Runs the module until nobody calls it any more, or until it stops by itself.
    fn run(&self, payload: &PathBuf, host: ModuleHost) -> Result<(), Ended> {
        let start = Instant::now();
        let mut instance = self.instantiate(payload, host)?;
        let used = used_since(start, &mut instance);
        self.tell(ModuleEvent::Started { period_ms: instance.interval_ms(), used });
        let mut asked = Instant::now();
        while let Ok(call) = self.due.recv() {
            if self.queue.over.load(Ordering::Relaxed) {
                break;
            }
            let start = Instant::now();
            let (is_tick, is_single) = (matches!(call, Call::Tick), call.is_single());
            if !is_single && self.queue.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.queue.is_behind.store(false, Ordering::Relaxed);
            }
            let mut made = self.make(&mut instance, call);
            if made.is_ok() && is_tick && asked.elapsed() >= HEALTH_EVERY {
                made = self.check("health", instance.health());
                asked = Instant::now();
            }
            let used = used_since(start, &mut instance);
            let backtrace = instance.backtrace();
            made.map_err(|reason| Ended { reason, used, backtrace })?;
            self.tell(match is_tick {
                true => ModuleEvent::Ran { period_ms: instance.interval_ms(), used },
                false => ModuleEvent::Handled { used },
            });
        }
        Ok(())
    }

    fn make(&self, instance: &mut Instance<ModuleHost>, call: Call) -> Result<(), Reason> {
        let made = match call {
            Call::Tick => instance.tick(),
            Call::Message(channel, payload) => instance.message(&channel, payload).map(drop),
            Call::GpioEdge { pin, high } => instance.gpio_edge(pin, high).map(drop),
            Call::Ros => match instance.host_mut().post.next() {
                Some(Event::Message { topic, bytes }) => match RosName::parse(topic.as_bytes()) {
                    Ok(topic) => instance.topic_message(topic, bytes).map(drop),
                    // Only what has been such a name is listened to.
                    Err(_) => Ok(()),
                },
                Some(Event::Request { service, ticket, bytes }) => {
                    instance.service_request(service, ticket, bytes).map(drop)
                }
                Some(Event::Notice(text)) => {
                    // Its answer is about nothing: the console has it in any case.
                    let _ = instance.host_mut().log(Level::Warn, &text);
                    Ok(())
                }
                None => Ok(()),
            },
        };
        made.map_err(|stopped| self.stopped(stopped))
    }

    fn instantiate(&self, payload: &PathBuf, host: ModuleHost) -> Result<Instance<ModuleHost>, Ended> {
        let wasm = fs::read(payload).map_err(|error| self.failed(&error, Reason::StoreFailed))?;
        let runtime = Arc::clone(&host.surroundings.runtime);
        let module = runtime.load_wasm(&wasm).map_err(|error| self.failed(&error, Reason::LoadFailed))?;
        let granted = Capabilities::from_bits(self.grants).and(Capabilities::all(CLASS));
        let settings = Settings { capabilities: granted };
        let start = Instant::now();
        let mut instance = runtime.instantiate(&module, host, settings).map_err(|error| match error {
            StartError::Denied(_) => self.failed(&error, Reason::Denied),
            StartError::Stopped(stopped) => self.stopped(stopped),
        })?;
        let ready = self.check("init", instance.init());
        match ready.and_then(|()| self.check("health", instance.health())) {
            Ok(()) => Ok(instance),
            Err(reason) => {
                Err(Ended { reason, used: used_since(start, &mut instance), backtrace: instance.backtrace() })
            }
        }
    }

    fn check(&self, step: &str, answer: Result<i32, Stopped>) -> Result<(), Reason> {
        match answer.map_err(|stopped| self.stopped(stopped))? {
            0 => Ok(()),
            status => {
                tracing::warn!(module = %self.name, "{step} answered {status}");
                Err(Reason::Unhealthy)
            }
        }
    }

    fn failed(&self, error: &dyn std::error::Error, reason: Reason) -> Reason {
        tracing::warn!(module = %self.name, "{error}");
        reason
    }

    fn stopped(&self, stopped: Stopped) -> Reason {
        self.failed(&stopped, stopped.reason())
    }

    fn tell(&self, event: ModuleEvent) {
        // Fails only while the agent ends.
        let _ = self.news.blocking_send(News::Event(self.slot, event));
    }
}

/// What an instance used since then.
fn used_since(start: Instant, instance: &mut Instance<ModuleHost>) -> Used {
    Used {
        took_us: u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX),
        fuel: instance.take_fuel(),
        memory_bytes: instance.stats().memory_bytes,
    }
}

/// What this device offers one module.
struct ModuleHost {
    owner: Owner,
    line: Weak<Line>,
    settings: Vec<(String, String)>,
    /// Once it has asked.
    secret: Option<[u8; 32]>,
    /// Once it has used one.
    files: Option<Files>,
    connections: Connections,
    pilot: Pilot,
    post: Post,
    surroundings: Surroundings,
}

impl ModuleHost {
    fn new(
        owner: Owner,
        line: Weak<Line>,
        settings: Vec<(String, String)>,
        surroundings: Surroundings,
    ) -> Self {
        let allowed = settings.iter().find(|(key, _)| key == ALLOW_NETWORK);
        let connections = surroundings.network.connections(allowed.map_or("", |(_, patterns)| patterns));
        let pilot = surroundings.px4.pilot();
        let post = Post::new(surroundings.ros.as_ref(), owner.instance, &settings, &line);
        ModuleHost {
            owner,
            line,
            settings,
            secret: None,
            files: None,
            connections,
            pilot,
            post,
            surroundings,
        }
    }

    /// Leaves a trace of who moved a vehicle, on the device and at the broker.
    fn ordered(&mut self, order: Order) {
        // Its answer is about nothing: the console has it in any case.
        let _ = self.log(Level::Info, &order.to_string());
    }

    /// What a module is answered; why is in the log, once a second at most for all of them.
    fn told<T>(&mut self, what: impl std::fmt::Display, said: Result<T, Refused>) -> Result<T, Errno> {
        said.map_err(|refused| {
            if self.post.may_explain() {
                let _ = self.log(Level::Warn, &format!("{what}: {refused}"));
            }
            refused.errno
        })
    }

    fn send(&self, topic: Up, payload: &[u8]) -> Result<(), Errno> {
        if !self.surroundings.online.load(Ordering::Relaxed) {
            return Err(Errno::Busy);
        }
        let message = Message { topic, payload: payload.to_vec() };
        self.surroundings.outbox.try_send(message).map_err(|_| Errno::Busy)
    }

    fn files(&mut self) -> Result<&Files, Errno> {
        match self.files {
            Some(ref files) => Ok(files),
            ref mut none @ None => Ok(none.insert(self.surroundings.folders.of(&self.owner)?)),
        }
    }
}

impl Host for ModuleHost {
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno> {
        match level {
            Level::Error => tracing::error!(module = %self.owner.instance, "{line}"),
            Level::Warn => tracing::warn!(module = %self.owner.instance, "{line}"),
            Level::Info => tracing::info!(module = %self.owner.instance, "{line}"),
            Level::Debug => tracing::debug!(module = %self.owner.instance, "{line}"),
        }
        // The console has it; that is all there is without a connection.
        let _ = self.send(Up::Log(level), format!("{}: {line}", self.owner.instance).as_bytes());
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.send(Up::Telemetry(channel), payload)
    }

    fn uptime_ms(&mut self) -> u64 {
        u64::try_from(self.surroundings.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        let uptime_ms = self.uptime_ms();
        self.surroundings.sensors.read(sensor, uptime_ms)
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        self.surroundings.pins.write(pin, high)
    }

    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        self.surroundings.pins.read(pin)
    }

    fn gpio_watch(&mut self, pin: u32, edges: Edges) -> Result<(), Errno> {
        self.surroundings.pins.watch(pin, edges, &self.line)
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.send(Up::Message(self.owner.instance, channel), payload)
    }

    fn i2c_transfer(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        self.surroundings.buses.i2c(bus, address, write, read)
    }

    fn spi_transfer(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        self.surroundings.buses.spi(bus, chip_select, bytes)
    }

    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        self.surroundings.values.get(&self.owner, key, out)
    }

    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        self.surroundings.values.set(&self.owner, key, value)
    }

    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        self.surroundings.values.remove(&self.owner, key)
    }

    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        if let Some(secret) = self.secret {
            return Ok(secret);
        }
        let secret = self.surroundings.secrets.of(&self.owner)?;
        self.secret = Some(secret);
        Ok(secret)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        secrets::random(out)
    }

    fn file_read(&mut self, path: FilePath<'_>, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        self.files()?.read(path, offset, out)
    }

    fn file_write(&mut self, path: FilePath<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.files()?.write(path, offset, bytes)
    }

    fn file_size(&mut self, path: FilePath<'_>) -> Result<u64, Errno> {
        self.files()?.size(path)
    }

    fn file_truncate(&mut self, path: FilePath<'_>, size: u64) -> Result<(), Errno> {
        self.files()?.truncate(path, size)
    }

    fn file_remove(&mut self, path: FilePath<'_>) -> Result<(), Errno> {
        self.files()?.remove(path)
    }

    fn file_rename(&mut self, from: FilePath<'_>, to: FilePath<'_>) -> Result<(), Errno> {
        self.files()?.rename(from, to)
    }

    fn file_list(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.files()?.list(nth, out)
    }

    fn net_connect(&mut self, destination: Destination<'_>) -> Result<u32, Errno> {
        self.connections.connect(destination)
    }

    fn net_send(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        self.connections.send(number, bytes)
    }

    fn net_receive(&mut self, number: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.connections.receive(number, out)
    }

    fn net_close(&mut self, number: u32) -> Result<(), Errno> {
        self.connections.close(number)
    }

    fn send_vehicle_command(&mut self, command: VehicleCommand) -> Result<u32, Errno> {
        let ticket = self.pilot.send(command)?;
        self.ordered(Order::Command(command));
        Ok(ticket)
    }

    fn takeoff(&mut self, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        let ticket = self.pilot.takeoff(vehicle, altitude)?;
        self.ordered(Order::TakeOff { vehicle, altitude });
        Ok(ticket)
    }

    fn vehicle_command_result(&mut self, ticket: u32) -> Result<u8, Errno> {
        self.pilot.result(ticket)
    }

    fn vehicle_status(&mut self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        self.pilot.status(vehicle)
    }

    fn battery_status(&mut self, vehicle: u8) -> Result<BatteryStatus, Errno> {
        self.pilot.battery(vehicle)
    }

    fn local_position(&mut self, vehicle: u8) -> Result<LocalPosition, Errno> {
        self.pilot.position(vehicle)
    }

    fn vehicle_parameter(&mut self, vehicle: u8, name: ParameterName) -> Result<VehicleParameter, Errno> {
        self.pilot.parameter(vehicle, name)
    }

    fn publish_message(&mut self, topic: RosName<'_>, message: &[u8]) -> Result<(), Errno> {
        let published = self.post.station()?.publish(topic, message);
        self.told(topic, published)
    }

    fn subscribe_topic(&mut self, topic: RosName<'_>) -> Result<(), Errno> {
        let subscribed = self.post.station()?.subscribe(topic);
        self.told(topic, subscribed)
    }

    fn unsubscribe_topic(&mut self, topic: RosName<'_>) {
        if let Ok(station) = self.post.station() {
            station.unsubscribe(topic);
        }
    }

    fn create_service_client(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        let client = self.post.station()?.client(service);
        self.told(service, client)
    }

    fn call_service(&mut self, client: u32, request: &[u8]) -> Result<u32, Errno> {
        let called = self.post.station()?.call(client, request);
        self.told(format_args!("client {client}"), called)
    }

    fn service_response(&mut self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.post.station()?.response(ticket, out)
    }

    fn create_service(&mut self, service: RosName<'_>) -> Result<u32, Errno> {
        let offered = self.post.station()?.offer(service);
        self.told(service, offered)
    }

    fn send_response(&mut self, ticket: u32, response: &[u8]) -> Result<(), Errno> {
        let sent = self.post.station()?.respond(ticket, response);
        self.told(format_args!("request {ticket}"), sent)
    }

    fn available_topic(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.post.station()?.topic(nth, out)
    }

    fn node_info(&mut self, node: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        self.post.station()?.node(node, out)
    }

    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let found = self.settings.iter().find(|(name, _)| name == key);
        let (_, value) = found.ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value.as_bytes());
        Ok(value.len())
    }
}
