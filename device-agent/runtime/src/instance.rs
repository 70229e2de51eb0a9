//! Modules at work.

use alloc::{sync::Arc, vec::Vec};

use wasmbed_abi::{Call, Capabilities, DEFAULT_INTERVAL_MS, Export, RosName};
use wasmbed_wire::{Backtrace, Channel};
use wasmtime::{Store, TypedFunc};

use crate::{
    Host, Module, Runtime, Stopped,
    limiter::Limiter,
    link::{Mailbox, link},
    memory::GuestMemory,
    meter::Meter,
    stop,
    threads::{Group, Main},
};

/// What one instance is granted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Calls it may make.
    pub capabilities: Capabilities,
}

/// A running module.
///
/// Its functions answer with an error once the module was stopped, and with the same error from then on.
pub struct Instance<H: Host> {
    store: Store<Guest<H>>,
    memory: Option<GuestMemory>,
    init: Option<TypedFunc<(), i32>>,
    tick: TypedFunc<(), ()>,
    health: Option<TypedFunc<(), i32>>,
    message: Option<TypedFunc<(i32, i32), ()>>,
    gpio_edge: Option<TypedFunc<(i32, i32), ()>>,
    request: Option<TypedFunc<(i32, i32, i32), ()>>,
    control: Control,
}

/// What the host keeps for a module while it runs.
pub(crate) struct Guest<H> {
    pub(crate) host: H,
    pub(crate) memory: Option<GuestMemory>,
    /// The threads it may start.
    pub(crate) threads: Option<Arc<Group>>,
    pub(crate) interval_ms: u32,
    pub(crate) mailbox: Mailbox,
    limiter: Limiter,
    #[cfg(feature = "security")]
    meter: Arc<Meter>,
    #[cfg(feature = "security")]
    call_ms: u32,
}

#[cfg(feature = "security")]
impl<H> Guest<H> {
    /// The fuel of a call into the module; none where a clock limits it.
    pub(crate) fn budget(&self) -> Option<u64> {
        self.meter.budget(self.call_ms)
    }
}

/// Limits and counters of an instance.
struct Control {
    /// The other threads; they end with it.
    threads: Option<Main>,
    meter: Arc<Meter>,
    call_ms: u32,
    calls: u32,
    last_fuel: u64,
    /// Fuel used since it was last asked for.
    fuel: u64,
    stopped: Option<Stopped>,
    backtrace: Backtrace,
}

/// What an instance used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls into the module, with instantiation.
    pub calls: u32,
    /// Fuel the last call used; 0 where a clock limits calls.
    pub last_fuel: u64,
    /// Its linear memory, in bytes, which all of its threads share; it only grows, so this is its peak too.
    pub memory_bytes: u64,
}

/// Why a module did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It imports a call it was not granted.
    #[error("it uses `{}`, which needs the capability {}", .0.name(), .0.capability())]
    Denied(Call),
    /// Instantiating it failed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Runtime {
    /// Makes an instance and runs the module's start function, if it has one; `init` is a step of its own.
    ///
    /// # Errors
    /// If the module is not granted what it imports, there is no memory for it, or its start function
    /// is stopped.
    pub fn instantiate<H: Host>(
        &self,
        module: &Module,
        host: H,
        settings: Settings,
    ) -> Result<Instance<H>, StartError> {
        let granted = settings.capabilities;
        if let Some(denied) = module.imports.iter().find(|import| !import.is_met_by(granted)) {
            return Err(StartError::Denied(denied.call));
        }
        let limits = self.limits;
        let guest = Guest {
            host,
            memory: None,
            threads: None,
            interval_ms: DEFAULT_INTERVAL_MS,
            mailbox: Mailbox::default(),
            limiter: Limiter::new(limits),
            #[cfg(feature = "security")]
            meter: Arc::clone(&self.meter),
            #[cfg(feature = "security")]
            call_ms: limits.call_ms,
        };
        let control = Control {
            threads: None,
            meter: Arc::clone(&self.meter),
            call_ms: limits.call_ms,
            calls: 0,
            last_fuel: 0,
            fuel: 0,
            stopped: None,
            backtrace: Backtrace::default(),
        };
        Ok(Instance::start(self, module, granted, guest, control)?)
    }
}

impl<H: Host> Instance<H> {
    fn start(
        runtime: &Runtime,
        module: &Module,
        granted: Capabilities,
        guest: Guest<H>,
        mut control: Control,
    ) -> Result<Self, Stopped> {
        let call_ms = control.call_ms;
        let engine_error = |error: wasmtime::Error| Stopped::from_error(&error, call_ms);
        let mut store = Store::try_new(module.inner.engine(), guest).map_err(engine_error)?;
        store.limiter(|guest| &mut guest.limiter);
        control.threads = Main::new(runtime, module, granted).map_err(engine_error)?;
        if let Some(threads) = &control.threads {
            threads.watch(&mut store);
            store.data_mut().threads = Some(threads.group());
        }
        let imports = link(&mut store, module, granted, control.threads.as_ref()).map_err(engine_error)?;
        let instance =
            control.call(&mut store, |store| wasmtime::Instance::new(store, &module.inner, &imports))?;
        let tick = instance.get_typed_func(&mut store, Export::Tick.name()).map_err(engine_error)?;
        // Loading has checked their types, so that these fail only where they are absent.
        let init = instance.get_typed_func(&mut store, Export::Init.name()).ok();
        let health = instance.get_typed_func(&mut store, Export::Health.name()).ok();
        let message = instance.get_typed_func(&mut store, Export::Message.name()).ok();
        let gpio_edge = instance.get_typed_func(&mut store, Export::GpioEdge.name()).ok();
        let request = instance.get_typed_func(&mut store, Export::ServiceRequest.name()).ok();
        let memory = instance.get_export(&mut store, Export::Memory.name()).and_then(GuestMemory::new);
        Ok(Instance { store, memory, init, tick, health, message, gpio_edge, request, control })
    }

    /// Calls `init`, once, before everything else. 0 means ready, also for a module without it.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn init(&mut self) -> Result<i32, Stopped> {
        call_status(&mut self.control, &mut self.store, self.init.as_ref())
    }

    /// Calls `tick`.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn tick(&mut self) -> Result<(), Stopped> {
        let tick = &self.tick;
        self.control.call(&mut self.store, |store| tick.call(store, ()))
    }

    /// Calls `health`. 0 means healthy, also for a module without it.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn health(&mut self) -> Result<i32, Stopped> {
        call_status(&mut self.control, &mut self.store, self.health.as_ref())
    }

    /// Calls `message` with a message for a channel; false if the module does not listen to it.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn message(&mut self, channel: &Channel, payload: Vec<u8>) -> Result<bool, Stopped> {
        self.deliver(channel.as_str(), payload)
    }

    /// Calls `message` with a message on a topic of ROS 2; false if the module does not listen to it.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn topic_message(&mut self, topic: RosName<'_>, message: Vec<u8>) -> Result<bool, Stopped> {
        self.deliver(topic.as_str(), message)
    }

    fn deliver(&mut self, name: &str, payload: Vec<u8>) -> Result<bool, Stopped> {
        let mailbox = &mut self.store.data_mut().mailbox;
        let (Some(function), Some(subscription)) = (&self.message, mailbox.subscription(name)) else {
            return self.control.stopped.map_or(Ok(false), Err);
        };
        let Ok(len) = i32::try_from(payload.len()) else { return Ok(false) };
        mailbox.delivered = Some(payload);
        let called = self.control.call(&mut self.store, |store| function.call(store, (subscription, len)));
        self.store.data_mut().mailbox.delivered = None;
        called.map(|()| true)
    }

    /// Calls `service_request` with a request to a service of ROS 2 that the module offers; false if it has no such function.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn service_request(&mut self, service: u32, ticket: u32, request: Vec<u8>) -> Result<bool, Stopped> {
        let Some(function) = &self.request else { return self.control.stopped.map_or(Ok(false), Err) };
        let Ok(len) = i32::try_from(request.len()) else { return Ok(false) };
        self.store.data_mut().mailbox.delivered = Some(request);
        let args = (service.cast_signed(), ticket.cast_signed(), len);
        let called = self.control.call(&mut self.store, |store| function.call(store, args));
        self.store.data_mut().mailbox.delivered = None;
        called.map(|()| true)
    }

    /// Calls `gpio_edge` with the level a pin has changed to; false if the module has no such function.
    ///
    /// # Errors
    /// If the module was stopped.
    pub fn gpio_edge(&mut self, pin: u32, high: bool) -> Result<bool, Stopped> {
        let Some(function) = &self.gpio_edge else { return self.control.stopped.map_or(Ok(false), Err) };
        let args = (pin.cast_signed(), i32::from(high));
        self.control.call(&mut self.store, |store| function.call(store, args)).map(|()| true)
    }

    /// Where it was when it was stopped; empty if it was not, or only the limits of the device know.
    pub fn backtrace(&self) -> Backtrace {
        self.control.backtrace
    }

    /// Time the module wants between the starts of two ticks, in milliseconds.
    pub fn interval_ms(&self) -> u32 {
        self.store.data().interval_ms
    }

    /// What it used so far.
    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.control.calls,
            last_fuel: self.control.last_fuel,
            memory_bytes: self.memory.as_ref().map_or(0, |memory| memory.size(&self.store)),
        }
    }

    /// Fuel it used since this was last called; 0 where a clock limits calls.
    pub fn take_fuel(&mut self) -> u64 {
        core::mem::take(&mut self.control.fuel)
    }

    /// The host it was given.
    pub fn host(&self) -> &H {
        &self.store.data().host
    }

    /// The host it was given.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.store.data_mut().host
    }
}

fn call_status<H: Host>(
    control: &mut Control,
    store: &mut Store<Guest<H>>,
    function: Option<&TypedFunc<(), i32>>,
) -> Result<i32, Stopped> {
    match function {
        Some(function) => control.call(store, |store| function.call(store, ())),
        None => control.stopped.map_or(Ok(0), Err),
    }
}

impl Control {
    fn call<T: 'static, R>(
        &mut self,
        store: &mut Store<T>,
        call: impl FnOnce(&mut Store<T>) -> wasmtime::Result<R>,
    ) -> Result<R, Stopped> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        self.hear_threads()?;
        let threads = self.threads.as_ref();
        let (result, fuel) = self.meter.run(store, self.call_ms, |store| {
            threads.into_iter().for_each(|threads| threads.begin(store, self.call_ms));
            call(store)
        });
        self.calls = self.calls.wrapping_add(1);
        self.last_fuel = fuel;
        self.fuel = self.fuel.saturating_add(fuel);
        // Before the result: a thread that was stopped is why a call ended that waited for it.
        self.hear_threads()?;
        result.map_err(|error| {
            let stopped = Stopped::from_error(&error, self.call_ms);
            let origin = |frame| self.threads.as_ref().map_or(frame, |threads| threads.origin(frame));
            self.stop(stopped, stop::frames(&error, origin))
        })
    }

    /// Stops the instance if one of its threads was stopped.
    fn hear_threads(&mut self) -> Result<(), Stopped> {
        match self.threads.as_ref().and_then(Main::failure) {
            Some((stopped, backtrace)) => Err(self.stop(stopped, backtrace)),
            None => Ok(()),
        }
    }

    fn stop(&mut self, stopped: Stopped, backtrace: Backtrace) -> Stopped {
        self.stopped = Some(stopped);
        self.backtrace = backtrace;
        // A stopped instance does nothing any more.
        self.threads = None;
        stopped
    }
}
