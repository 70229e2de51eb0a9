//! Ways to run a module.

use std::time::Instant;

use wasmbed_abi::{Capabilities, Errno};
use wasmbed_runtime::{Host, Instance, Module, Runtime, Settings, Target, compile};
use wasmbed_wire::{Channel, limits::Class, topic::Level};
use wasmtime::{Config, Engine, Func, Result, Store, TypedFunc, Val, error::Context as _};

/// The class whose bytecode is measured: the one of the larger boards.
const BOARD: Class = Class::Riscv;
/// Never used up.
const PLENTY: u64 = 1 << 60;

/// Something with the two calls that are measured.
pub(crate) trait Machine {
    /// The work.
    fn tick(&mut self) -> Result<()>;
    /// A number that depends on all work so far.
    fn health(&mut self) -> Result<i32>;
}

/// The workload in this program.
pub(crate) struct Native {
    work: fn(u32) -> u32,
    last: u32,
}

impl Native {
    pub(crate) fn new(work: fn(u32) -> u32) -> Self {
        Native { work, last: 0 }
    }
}

impl Machine for Native {
    fn tick(&mut self) -> Result<()> {
        self.last = std::hint::black_box(self.work)(self.last);
        Ok(())
    }

    fn health(&mut self) -> Result<i32> {
        Ok(self.last.cast_signed())
    }
}

/// A device that does nothing with what it is asked for.
pub(crate) struct Mute;

impl Host for Mute {
    fn log(&mut self, _: Level, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn telemetry(&mut self, _: Channel, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        0
    }
}

/// The runtime of a Linux device.
pub(crate) fn linux() -> Result<Runtime> {
    Ok(Runtime::new(Class::Mpu)?)
}

/// The runtime of a board.
pub(crate) fn board() -> Result<Runtime> {
    let runtime = Runtime::bytecode(BOARD, BOARD.limits().stack_bytes as usize)?;
    let start = Instant::now();
    runtime.calibrate(|| start.elapsed().as_micros() as u64)?;
    Ok(runtime)
}

/// What the fleet sends to a board, for this machine.
pub(crate) fn bytecode(wasm: &[u8]) -> Result<Vec<u8>> {
    Ok(compile(wasm, Target::HERE, BOARD)?)
}

/// Takes what [`bytecode`] made.
pub(crate) fn load(runtime: &Runtime, bytecode: &[u8]) -> Result<Module> {
    #[allow(unsafe_code, reason = "the contract is kept: `bytecode` made the bytes in this program")]
    // SAFETY: see above.
    let module = unsafe { runtime.load_copied(bytecode) };
    Ok(module?)
}

/// A module on our runtime, with everything it is granted.
pub(crate) fn start(runtime: &Runtime, module: &Module) -> Result<Instance<Mute>> {
    let settings = Settings { capabilities: Capabilities::all(runtime.class()) };
    Ok(runtime.instantiate(module, Mute, settings)?)
}

/// Our runtime, as devices have it.
pub(crate) struct Ours {
    /// Ends calls while it lives.
    _runtime: Runtime,
    instance: Instance<Mute>,
}

impl Ours {
    pub(crate) fn linux(wasm: &[u8]) -> Result<Self> {
        let runtime = linux()?;
        let module = runtime.load_wasm(wasm)?;
        let instance = start(&runtime, &module)?;
        Ok(Ours { _runtime: runtime, instance })
    }

    pub(crate) fn pulley(wasm: &[u8]) -> Result<Self> {
        let runtime = board()?;
        let instance = start(&runtime, &load(&runtime, &bytecode(wasm)?)?)?;
        Ok(Ours { _runtime: runtime, instance })
    }
}

impl Machine for Ours {
    fn tick(&mut self) -> Result<()> {
        Ok(self.instance.tick()?)
    }

    fn health(&mut self) -> Result<i32> {
        Ok(self.instance.health()?)
    }
}

/// The engine below our runtime, without what the runtime adds: host functions look at no argument.
pub(crate) struct Bare {
    store: Store<()>,
    tick: TypedFunc<(), ()>,
    health: TypedFunc<(), i32>,
}

impl Bare {
    /// An engine as Linux devices have it.
    pub(crate) fn linux(wasm: &[u8]) -> Result<Self> {
        let engine = linux()?.engine().clone();
        let module = wasmtime::Module::from_binary(&engine, wasm)?;
        let mut store = Store::new(&engine, ());
        // No clock runs, so that this is never.
        store.set_epoch_deadline(PLENTY);
        Self::start(store, &module)
    }

    /// An engine as boards have it.
    pub(crate) fn pulley(wasm: &[u8]) -> Result<Self> {
        let runtime = board()?;
        #[allow(unsafe_code, reason = "the contract is kept: `bytecode` made the bytes in this program")]
        // SAFETY: see above.
        let module = unsafe { wasmtime::Module::deserialize(runtime.engine(), bytecode(wasm)?) }?;
        let mut store = Store::new(runtime.engine(), ());
        store.set_fuel(PLENTY)?;
        Self::start(store, &module)
    }

    /// Native code that does not look whether its time is over.
    pub(crate) fn linux_unlimited(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        Self::unlimited(config.wasm_custom_page_sizes(true), wasm)
    }

    /// Bytecode that does not count; memory is checked as on boards, where no hardware does it.
    pub(crate) fn pulley_unlimited(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.target(Target::HERE.name())?;
        config
            .memory_reservation(0)
            .memory_guard_size(0)
            .memory_reservation_for_growth(0)
            .memory_init_cow(false)
            .signals_based_traps(false)
            .wasm_simd(false)
            .wasm_relaxed_simd(false)
            .wasm_custom_page_sizes(true);
        Self::unlimited(&config, wasm)
    }

    fn unlimited(config: &Config, wasm: &[u8]) -> Result<Self> {
        let engine = Engine::new(config)?;
        let module = wasmtime::Module::from_binary(&engine, wasm)?;
        Self::start(Store::new(&engine, ()), &module)
    }

    fn start(mut store: Store<()>, module: &wasmtime::Module) -> Result<Self> {
        let mut imports = Vec::new();
        for import in module.imports() {
            let ty = import.ty().func().context("an import that is no function")?.clone();
            let answer = ty.results().next().as_ref().and_then(Val::default_for_ty).unwrap_or(Val::I32(0));
            let function = Func::new(&mut store, ty, move |_, _, results| {
                results.fill(answer);
                Ok(())
            });
            imports.push(function.into());
        }
        let instance = wasmtime::Instance::new(&mut store, module, &imports)?;
        let tick = instance.get_typed_func(&mut store, "tick")?;
        let health = instance.get_typed_func(&mut store, "health")?;
        Ok(Bare { store, tick, health })
    }
}

impl Machine for Bare {
    fn tick(&mut self) -> Result<()> {
        self.tick.call(&mut self.store, ())
    }

    fn health(&mut self) -> Result<i32> {
        self.health.call(&mut self.store, ())
    }
}

/// Another interpreter; its host functions look at no argument.
pub(crate) struct Wasmi {
    store: wasmi::Store<()>,
    tick: wasmi::TypedFunc<(), ()>,
    health: wasmi::TypedFunc<(), i32>,
}

impl Wasmi {
    /// As fast as it is: without limits.
    pub(crate) fn new(wasm: &[u8]) -> Result<Self> {
        Self::with(Self::engine(false), wasm)
    }

    /// With its own count of fuel.
    pub(crate) fn metered(wasm: &[u8]) -> Result<Self> {
        Self::with(Self::engine(true), wasm)
    }

    pub(crate) fn engine(counts: bool) -> wasmi::Engine {
        let mut config = wasmi::Config::default();
        config.wasm_custom_page_sizes(true).consume_fuel(counts);
        wasmi::Engine::new(&config)
    }

    fn with(engine: wasmi::Engine, wasm: &[u8]) -> Result<Self> {
        let module = wasmi::Module::new(&engine, wasm)?;
        Self::start(&engine, &module)
    }

    pub(crate) fn start(engine: &wasmi::Engine, module: &wasmi::Module) -> Result<Self> {
        let mut store = wasmi::Store::new(engine, ());
        // Fails where fuel is not counted.
        let _ = store.set_fuel(PLENTY);
        let mut linker = wasmi::Linker::new(engine);
        linker.func_wrap("wasmbed", "log", |_: i32, _: i32, _: i32| 0_i32)?;
        linker.func_wrap("wasmbed", "uptime_ms", || 0_i64)?;
        linker.func_wrap("wasmbed", "telemetry", |_: i32, _: i32, _: i32, _: i32| 0_i32)?;
        let instance = linker.instantiate_and_start(&mut store, module)?;
        let tick = instance.get_typed_func(&store, "tick")?;
        let health = instance.get_typed_func(&store, "health")?;
        Ok(Wasmi { store, tick, health })
    }
}

impl Machine for Wasmi {
    fn tick(&mut self) -> Result<()> {
        Ok(self.tick.call(&mut self.store, ())?)
    }

    fn health(&mut self) -> Result<i32> {
        Ok(self.health.call(&mut self.store, ())?)
    }
}
