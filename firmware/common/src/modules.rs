//! The modules that run, one per slot.
//!
//! [`Modules`] carries out what the agent decided and answers with what came of it. A module's payload
//! is pinned in its slot exactly as long as anything of the module is left.

mod host;
mod keeper;
#[cfg(feature = "px4")]
mod px4;
#[cfg(not(feature = "px4"))]
#[path = "modules/px4/none.rs"]
mod px4;
#[cfg(feature = "ros")]
mod ros;
#[cfg(not(feature = "ros"))]
#[path = "modules/ros/none.rs"]
mod ros;
mod secrets;

use alloc::{rc::Rc, vec::Vec};
use core::{cell::RefCell, fmt};

use heapless::Deque;
use host::ModuleHost;
#[cfg(feature = "px4")]
pub(crate) use px4::Autopilot;
use wasmbed_abi::{Capabilities, MAX_MESSAGE_BYTES};
use wasmbed_core::{Assignment, ModuleEvent, Slot, Used};
use wasmbed_runtime::{
    Instance, LoadError, Module, Runtime, Settings, SetupError, StartError, Stopped, Target,
};
use wasmbed_wire::{
    Backtrace, Channel, RuntimeId, Seq,
    limits::Class,
    message::{Reason, Setting},
};

use crate::{Board, device::SharedSlots, port::Port};

pub(crate) use keeper::Keeper;

/// Heap that must be left beside the module's stack before one is started: running out in the middle
/// of an engine's work resets the device, so it is not begun.
const SPARE_BYTES: usize = 10 * 1024;

/// Messages that may wait for modules: what a link brings at once.
const MESSAGES: usize = 4;

/// Whether this program runs modules.
pub(crate) const ARE_RUN: bool = true;

/// The runtime that modules are compiled for.
pub(crate) fn runtime_id(class: Class) -> RuntimeId {
    Target::of(class).runtime_id()
}

/// Running modules and the engine they share.
pub(crate) struct Modules<B: Board, const SLOTS: usize> {
    port: Rc<Port<B>>,
    slots: SharedSlots<SLOTS>,
    class: Class,
    keeper: Rc<RefCell<Keeper>>,
    runtime: Option<Runtime>,
    prepared: bool,
    inbox: Deque<(Slot, Channel, Vec<u8>), MESSAGES>,
    #[cfg_attr(not(feature = "ros"), expect(dead_code, reason = "there is nothing in it"))]
    absent: ros::Absent,
    autopilot: px4::Autopilot,
    running: [Option<Instance<ModuleHost<B>>>; SLOTS],
}

/// Why a module did not start.
enum NotStarted {
    Empty,
    NoMemory,
    Engine(SetupError),
    Load(LoadError),
    Start(StartError),
    Stopped(Stopped, Backtrace),
    Answered { export: &'static str, code: i32 },
}

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    pub(crate) fn new(
        port: Rc<Port<B>>,
        slots: SharedSlots<SLOTS>,
        class: Class,
        keeper: Rc<RefCell<Keeper>>,
    ) -> Self {
        let running = [const { None }; SLOTS];
        let (inbox, absent, autopilot) = (Deque::new(), ros::Absent::default(), px4::Autopilot::of(&port));
        Modules {
            port,
            slots,
            class,
            keeper,
            runtime: None,
            prepared: false,
            inbox,
            absent,
            autopilot,
            running,
        }
    }

    /// Whether the engine is set up, or could not be.
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// Sets the engine up, so that the first module starts without delay.
    #[inline(never)]
    pub(crate) fn prepare(&mut self) {
        self.prepared = true;
        if let Err(error) = self.runtime() {
            self.port.say(format_args!("{error}"));
        }
    }

    /// Starts the module in `slot`; its signature and digest have been verified.
    #[inline(never)]
    pub(crate) fn start(
        &mut self,
        slot: Slot,
        assignment: &Assignment,
        settings: Seq<'_, Setting<'_>>,
    ) -> ModuleEvent {
        self.end(slot);
        let start_us = self.port.now_us();
        match self.try_start(slot, assignment, settings) {
            Ok(mut instance) => {
                let period_ms = instance.interval_ms();
                let used = used(self.since(start_us), &mut instance);
                if let Some(place) = self.running.get_mut(slot.index()) {
                    *place = Some(instance);
                }
                ModuleEvent::Started { period_ms, used }
            }
            Err(why) => {
                self.end(slot);
                self.port.say(format_args!("module {} does not start: {why}", assignment.instance));
                let used = Used { took_us: clamped(self.since(start_us)), ..Used::default() };
                ModuleEvent::Stopped { reason: why.reason(), used, backtrace: why.backtrace() }
            }
        }
    }

    /// Calls the module's periodic function.
    pub(crate) fn tick(&mut self, slot: Slot) -> ModuleEvent {
        let ran = self.call(slot, |instance| instance.tick().map(|()| instance.interval_ms()));
        ran.unwrap_or(ModuleEvent::Stopped {
            reason: Reason::LoadFailed,
            used: Used::default(),
            backtrace: Backtrace::default(),
        })
    }

    /// Keeps a message until [`Modules::deliver`]; it is dropped if too many wait.
    #[inline(never)]
    pub(crate) fn post(&mut self, slot: Slot, channel: Channel, payload: &[u8]) {
        let mut copy = Vec::new();
        let fits = payload.len() <= MAX_MESSAGE_BYTES && copy.try_reserve_exact(payload.len()).is_ok();
        if fits {
            copy.extend_from_slice(payload);
        }
        if !fits || self.inbox.push_back((slot, channel, copy)).is_err() {
            self.port.say(format_args!("a message of {} bytes for {channel} was dropped", payload.len()));
        }
    }

    /// Calls the module that something of ROS 2 or the oldest message is for; what came of it, if it was called at all.
    pub(crate) fn deliver(&mut self) -> Option<(Slot, ModuleEvent)> {
        self.deliver_ros().or_else(|| self.deliver_message())
    }

    #[inline(never)]
    fn deliver_message(&mut self) -> Option<(Slot, ModuleEvent)> {
        let (slot, channel, payload) = self.inbox.pop_front()?;
        let event = self.call(slot, |instance| instance.message(&channel, payload).map(|_| 0))?;
        Some((slot, handled(event)))
    }

    /// Whether messages wait.
    pub(crate) fn has_messages(&self) -> bool {
        !self.inbox.is_empty() || self.has_ros_events()
    }

    /// Calls a running module; ends it if it is stopped.
    fn call(
        &mut self,
        slot: Slot,
        call: impl FnOnce(&mut Instance<ModuleHost<B>>) -> Result<u32, Stopped>,
    ) -> Option<ModuleEvent> {
        let start_us = self.port.now_us();
        let instance = self.running.get_mut(slot.index())?.as_mut()?;
        let ended = call(instance);
        let backtrace = instance.backtrace();
        let used = used(self.port.now_us().saturating_sub(start_us), instance);
        Some(match ended {
            Ok(period_ms) => ModuleEvent::Ran { period_ms, used },
            Err(stopped) => {
                self.end(slot);
                self.port.say(format_args!("module in slot {}: {stopped}", slot.0));
                ModuleEvent::Stopped { reason: stopped.reason(), used, backtrace }
            }
        })
    }

    /// Ends the module, if there is one.
    pub(crate) fn stop(&mut self, slot: Slot) -> ModuleEvent {
        self.end(slot);
        ModuleEvent::Halted
    }

    /// Time since then, in microseconds.
    fn since(&self, start_us: u64) -> u64 {
        self.port.now_us().saturating_sub(start_us)
    }

    fn end(&mut self, slot: Slot) {
        self.leave_ros(slot);
        if let Some(place) = self.running.get_mut(slot.index()) {
            *place = None;
        }
        // After the instance: it reads the payload while it is dropped.
        self.slots.borrow_mut().unpin(slot);
    }

    fn try_start(
        &mut self,
        slot: Slot,
        assignment: &Assignment,
        settings: Seq<'_, Setting<'_>>,
    ) -> Result<Instance<ModuleHost<B>>, NotStarted> {
        self.check_memory(assignment.module.stack_bytes)?;
        let pilot = self.autopilot.pilot();
        let (port, keeper) = (Rc::clone(&self.port), Rc::clone(&self.keeper));
        let host = ModuleHost::new(port, keeper, pilot, assignment.owner(), settings);
        let granted = Capabilities::from_bits(assignment.grants).and(Capabilities::all(self.class));
        let settings = Settings { capabilities: granted };
        let payload = self.slots.borrow_mut().pin(slot).ok_or(NotStarted::Empty)?;
        let runtime = self.runtime()?;
        // SAFETY: the agent has checked signature and digest of the payload, and it cannot have changed
        // since: a slot with a verified payload is only ever begun afresh or discarded. From here it is
        // pinned until `end`, which first drops the instance. What ran in this slot before is gone.
        let module: Module =
            unsafe { runtime.load(payload, assignment.module.stack_bytes) }.map_err(NotStarted::Load)?;
        let mut instance = runtime.instantiate(&module, host, settings).map_err(NotStarted::Start)?;
        let ready = instance.init();
        match ready.map_err(|stopped| NotStarted::Stopped(stopped, instance.backtrace()))? {
            0 => {}
            code => return Err(NotStarted::Answered { export: "init", code }),
        }
        let healthy = instance.health();
        match healthy.map_err(|stopped| NotStarted::Stopped(stopped, instance.backtrace()))? {
            0 => Ok(instance),
            code => Err(NotStarted::Answered { export: "health", code }),
        }
    }

    fn check_memory(&self, stack_bytes: u32) -> Result<(), NotStarted> {
        let heap = self.port.board.borrow().heap();
        let most = self.class.limits().stack_bytes;
        let stack_bytes = if (1..most).contains(&stack_bytes) { stack_bytes } else { most };
        let needed = stack_bytes as usize + SPARE_BYTES;
        if heap.total.saturating_sub(heap.used) < needed { Err(NotStarted::NoMemory) } else { Ok(()) }
    }

    /// The engine, set up and measured when the first module needs it.
    fn runtime(&mut self) -> Result<&Runtime, NotStarted> {
        match self.runtime {
            Some(ref runtime) => Ok(runtime),
            ref mut none @ None => {
                let runtime = Runtime::bytecode(self.class, self.class.limits().stack_bytes as usize)
                    .map_err(NotStarted::Engine)?;
                match runtime.calibrate(|| self.port.now_us()) {
                    Ok(fuel) => self.port.say(format_args!("runtime: {fuel} fuel are a millisecond")),
                    Err(error) => self.port.say(format_args!("runtime: {error}")),
                }
                Ok(none.insert(runtime))
            }
        }
    }
}

/// What came of a call that was no tick.
fn handled(event: ModuleEvent) -> ModuleEvent {
    match event {
        ModuleEvent::Ran { used, .. } => ModuleEvent::Handled { used },
        stopped => stopped,
    }
}

/// What an instance used in so many microseconds.
fn used<B: Board>(took_us: u64, instance: &mut Instance<ModuleHost<B>>) -> Used {
    Used {
        took_us: clamped(took_us),
        fuel: instance.take_fuel(),
        memory_bytes: instance.stats().memory_bytes,
    }
}

fn clamped(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

impl NotStarted {
    fn backtrace(&self) -> Backtrace {
        match self {
            NotStarted::Stopped(_, backtrace) => *backtrace,
            _ => Backtrace::default(),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            NotStarted::Empty => Reason::StoreFailed,
            NotStarted::NoMemory | NotStarted::Engine(_) => Reason::OutOfMemory,
            NotStarted::Load(_) => Reason::LoadFailed,
            NotStarted::Start(StartError::Denied(_)) => Reason::Denied,
            NotStarted::Start(StartError::Stopped(stopped)) | NotStarted::Stopped(stopped, _) => {
                stopped.reason()
            }
            NotStarted::Answered { .. } => Reason::Unhealthy,
        }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotStarted::Empty => f.write_str("its slot is empty"),
            NotStarted::NoMemory => f.write_str("not enough memory is left"),
            NotStarted::Engine(error) => error.fmt(f),
            NotStarted::Load(error) => error.fmt(f),
            NotStarted::Start(error) => error.fmt(f),
            NotStarted::Stopped(stopped, _) => stopped.fmt(f),
            NotStarted::Answered { export, code } => write!(f, "`{export}` answered {code} instead of 0"),
        }
    }
}
