//! Threads of a module: each is another instance of it over the same shared memory, on a thread of the system.
//!
//! Whatever a thread does, control comes back: its life is one call, with the time limit of one; it is interrupted where
//! it runs ([`Member::verdict`]) and where it waits ([`parking`]). A thread that is stopped stops the instance. Who
//! ends the instance waits for its threads, so that none is left when [`Main`] is dropped.
//!
//! Only the main thread has the device's host: what reaches out stays in one order, and hosts need not be prepared
//! for several threads. Other threads know the time and start threads.

mod parking;
#[cfg(test)]
mod tests;
mod waits;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
    vec::Vec,
};

use wasmbed_abi::{Call, Capabilities, Errno, Export, Import, ValueType};
use wasmbed_wire::{Backtrace, limits::Limits, message::Frame};
use wasmtime::{Extern, ExternType, Func, SharedMemory, Store, UpdateDeadline, Val};

use self::{
    parking::{Parking, Woken},
    waits::Origins,
};
use crate::{
    Module, Runtime, Stopped, artifact::is_memory, host::Host, instance::Guest, limiter::Limiter,
    memory::Shared, meter::Meter, stop,
};

pub(crate) use self::waits::{ADDED_IMPORTS, rewrite};

/// Ids of threads are 1 to this, as in WASI: higher bits are for locks that tell who holds them.
const MAX_THREAD_ID: u32 = (1 << 29) - 1;

/// What is known of the file of a module whose memory is shared.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    origins: Arc<Origins>,
    active_data: bool,
}

impl Plan {
    pub(crate) fn has_active_data(&self) -> bool {
        self.active_data
    }
}

/// The threads of an instance and what they have in common.
pub(crate) struct Group {
    module: Module,
    granted: Capabilities,
    memory: SharedMemory,
    cells: Shared,
    parking: Parking,
    state: Mutex<State>,
    meter: Arc<Meter>,
    limits: &'static Limits,
    stack_bytes: usize,
}

#[derive(Default)]
struct State {
    failure: Option<(Stopped, Backtrace)>,
    last_id: u32,
    threads: Vec<JoinHandle<()>>,
}

/// One thread of a group, the main one or another.
pub(crate) struct Member {
    group: Arc<Group>,
    /// When the call that is going on has taken too long.
    deadline: Mutex<Instant>,
}

/// The main thread's place in its group. Dropping it ends the other threads.
pub(crate) struct Main(Arc<Member>);

/// Time as a thread knows it: the host's when it was started, and what has passed since.
#[derive(Debug, Clone, Copy)]
struct Clock {
    started_ms: u64,
    started: Instant,
}

impl Main {
    /// A group for a module whose memory is shared; none for others.
    pub(crate) fn new(
        runtime: &Runtime,
        module: &Module,
        granted: Capabilities,
    ) -> wasmtime::Result<Option<Self>> {
        let memory = module.declared_imports().find(is_memory).map(|import| import.ty());
        let Some(ExternType::Memory(ty)) = memory else { return Ok(None) };
        let memory = SharedMemory::new(&runtime.engine, ty)?;
        let Some(cells) = Shared::new(memory.clone()) else { return Ok(None) };
        let group = Group {
            module: module.clone(),
            granted,
            memory,
            cells,
            parking: Parking::default(),
            state: Mutex::default(),
            meter: Arc::clone(&runtime.meter),
            limits: runtime.limits,
            stack_bytes: Runtime::thread_stack_bytes(runtime.class),
        };
        Ok(Some(Main(Member::new(Arc::new(group)))))
    }

    pub(crate) fn memory(&self) -> Extern {
        self.0.group.memory.clone().into()
    }

    /// What the module imports besides what its author wrote.
    pub(crate) fn waits<T: 'static>(&self, store: &mut Store<T>) -> Vec<Extern> {
        waits::link(store, &self.0)
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.0.group)
    }

    /// Has the store's calls end when the group does.
    pub(crate) fn watch<T: 'static>(&self, store: &mut Store<T>) {
        self.0.watch(store);
    }

    pub(crate) fn begin<T: 'static>(&self, store: &mut Store<T>, limit_ms: u32) {
        self.0.begin(store, limit_ms);
    }

    /// A place in the code as the author knows it.
    pub(crate) fn origin(&self, frame: Frame) -> Frame {
        self.0.group.origin(frame)
    }

    /// Why a thread was stopped, if one was.
    pub(crate) fn failure(&self) -> Option<(Stopped, Backtrace)> {
        self.0.group.state().failure
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        let group = &self.0.group;
        let threads = {
            let mut state = group.state();
            // While the state is held, so that no thread is started from now on.
            group.parking.close();
            std::mem::take(&mut state.threads)
        };
        for thread in threads {
            // How it ended, it has said.
            let _ = thread.join();
        }
    }
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origin(&self, frame: Frame) -> Frame {
        self.module.threads.as_ref().map_or(frame, |plan| plan.origins.of(frame))
    }

    /// Starts a thread.
    fn spawn(self: &Arc<Self>, arg: i32, uptime_ms: u64) -> Result<i32, Errno> {
        if self.module.inner.get_export(Export::ThreadStart.name()).is_none() {
            return Err(Errno::Unsupported);
        }
        let mut state = self.state();
        state.reap();
        if self.parking.is_closed() || state.threads.len() >= self.limits.threads as usize {
            return Err(Errno::Busy);
        }
        let id = state.last_id % MAX_THREAD_ID + 1;
        state.last_id = id;
        let member = Member::new(Arc::clone(self));
        let clock = Clock { started_ms: uptime_ms, started: Instant::now() };
        let thread = std::thread::Builder::new()
            .name("wasm-thread".into())
            .stack_size(self.stack_bytes)
            .spawn(move || member.run(id.cast_signed(), arg, clock))
            .map_err(|_| Errno::Busy)?;
        state.threads.push(thread);
        Ok(id.cast_signed())
    }

    /// Stops the instance because one of its threads was stopped; not if that is what ended the thread.
    fn fail(&self, stopped: Stopped, backtrace: Backtrace) {
        let mut state = self.state();
        if !self.parking.is_closed() {
            state.failure = Some((stopped, backtrace));
            self.parking.close();
        }
    }
}

impl State {
    /// Forgets threads that are over.
    fn reap(&mut self) {
        for thread in self.threads.extract_if(.., |thread| thread.is_finished()) {
            // How it ended, it has said.
            let _ = thread.join();
        }
    }
}

impl Member {
    fn new(group: Arc<Group>) -> Arc<Self> {
        Arc::new(Member { group, deadline: Mutex::new(Instant::now()) })
    }

    fn watch<T: 'static>(self: &Arc<Self>, store: &mut Store<T>) {
        let member = Arc::clone(self);
        store.epoch_deadline_callback(move |_| Ok(member.verdict()));
    }

    /// Begins a call with this limit, within what the meter watches.
    fn begin<T: 'static>(&self, store: &mut Store<T>, limit_ms: u32) {
        *self.deadline() = Instant::now() + Duration::from_millis(limit_ms.into());
        // Looks up in every epoch, as the group may end in any.
        store.set_epoch_deadline(1);
    }

    fn verdict(&self) -> UpdateDeadline {
        if self.group.parking.is_closed() || Instant::now() >= *self.deadline() {
            return UpdateDeadline::Interrupt;
        }
        UpdateDeadline::Continue(1)
    }

    fn deadline(&self) -> MutexGuard<'_, Instant> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn run(self: &Arc<Self>, id: i32, arg: i32, clock: Clock) {
        let Group { module, meter, limits, .. } = &*self.group;
        let limit_ms = limits.call_ms;
        let mut store = Store::new(module.inner.engine(), Limiter::new(limits));
        store.limiter(|limiter| limiter);
        self.watch(&mut store);
        let (result, _) = meter.run(&mut store, limit_ms, |store| {
            self.begin(store, limit_ms);
            let imports = self.link(store, clock);
            let instance = wasmtime::Instance::new(&mut *store, &module.inner, &imports)?;
            let start = instance.get_typed_func::<(i32, i32), ()>(&mut *store, Export::ThreadStart.name())?;
            start.call(store, (id, arg))
        });
        if let Err(error) = result {
            self.group.fail(
                Stopped::from_error(&error, limit_ms),
                stop::frames(&error, |frame| self.group.origin(frame)),
            );
        }
    }

    /// What the module imports, for a thread that has no host.
    fn link(self: &Arc<Self>, store: &mut Store<Limiter>, clock: Clock) -> Vec<Extern> {
        let Group { module, memory, granted, .. } = &*self.group;
        let mut calls = module.imports.iter();
        let mut externs = Vec::new();
        for import in module.declared_imports() {
            let Some(ty) = import.ty().func().cloned() else {
                externs.push(memory.clone().into());
                continue;
            };
            let Some(import) = calls.next().copied() else { break };
            let is_granted = granted.contains(import.call.capability());
            let member = Arc::clone(self);
            let function = Func::new(&mut *store, ty, move |_, args, results| {
                let answer = member.answer(import, is_granted, args, clock);
                if let Some(result) = results.first_mut() {
                    *result = answer;
                }
                Ok(())
            });
            externs.push(function.into());
        }
        externs.extend(waits::link(store, self));
        externs
    }

    fn answer(&self, import: Import, is_granted: bool, args: &[Val], clock: Clock) -> Val {
        let answer = match (import.call, args) {
            _ if !is_granted => Err(Errno::Unsupported),
            (Call::UptimeMs, _) => return Val::I64(clock.now_ms().cast_signed()),
            (Call::ThreadSpawn, [Val::I32(arg)]) => self.group.spawn(*arg, clock.now_ms()),
            _ => Err(Errno::WrongThread),
        };
        let answer = answer.unwrap_or_else(Errno::code);
        match import.call.signature().results {
            [ValueType::I64] => Val::I64(answer.into()),
            _ => Val::I32(answer),
        }
    }

    /// Waits as `memory.atomic.wait32` and `memory.atomic.wait64` do, but not beyond the call's time or the group's end.
    fn wait(
        &self,
        at: usize,
        is_expected: impl FnOnce() -> bool,
        timeout: Option<Duration>,
    ) -> Result<Woken, wasmtime::Trap> {
        let deadline = *self.deadline();
        self.group.parking.wait(at, is_expected, timeout, deadline).ok_or(wasmtime::Trap::Interrupt)
    }
}

impl Clock {
    fn now_ms(self) -> u64 {
        let passed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_ms.saturating_add(passed_ms)
    }
}

/// `thread_spawn` of the main thread.
pub(crate) fn spawn<H: Host>(guest: &mut Guest<H>, arg: i32) -> Result<i32, Errno> {
    let uptime_ms = guest.host.uptime_ms();
    guest.threads.as_ref().ok_or(Errno::Unsupported)?.spawn(arg, uptime_ms)
}
