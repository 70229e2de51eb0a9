//! Another interpreter.

use wasmi::{Config, Engine, Linker, Module, Store, TypedFunc};
use wasmtime::Result;

use crate::{Machine, PLENTY};

/// Another interpreter; its host functions look at no argument.
pub struct Wasmi {
    store: Store<()>,
    tick: TypedFunc<(), ()>,
    health: TypedFunc<(), i32>,
}

impl Wasmi {
    /// As it comes, with or without its own count of fuel.
    pub fn engine(counts_fuel: bool) -> Engine {
        let mut config = Config::default();
        config.wasm_custom_page_sizes(true).consume_fuel(counts_fuel);
        Engine::new(&config)
    }

    /// Translates a module and makes an instance.
    ///
    /// # Errors
    /// If one of them fails.
    pub fn new(engine: &Engine, wasm: &[u8]) -> Result<Self> {
        Self::start(engine, &Module::new(engine, wasm)?)
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn start(engine: &Engine, module: &Module) -> Result<Self> {
        let mut store = Store::new(engine, ());
        // Fails where fuel is not counted.
        let _ = store.set_fuel(PLENTY);
        let mut linker = Linker::new(engine);
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
