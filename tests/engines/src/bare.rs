//! The engine below our runtime.

use alloc::vec::Vec;

use wasmtime::{Engine, Func, Module, Result, Store, TypedFunc, Val, error::Context as _};

use crate::{Machine, PLENTY};

/// The engine without what our runtime adds: host functions look at no argument, and calls have no limit.
pub struct Bare {
    store: Store<()>,
    tick: TypedFunc<(), ()>,
    health: TypedFunc<(), i32>,
}

impl Bare {
    /// Makes an instance.
    ///
    /// # Errors
    /// If it cannot be made, or is not a module for devices.
    pub fn new(engine: &Engine, module: &Module) -> Result<Self> {
        let mut store = Store::try_new(engine, ())?;
        // No clock runs, so that this is never.
        #[cfg(target_has_atomic = "64")]
        store.set_epoch_deadline(PLENTY);
        // Fails where fuel is not counted.
        let _ = store.set_fuel(PLENTY);
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
