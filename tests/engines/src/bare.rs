//! The engine below our runtime.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use wasmtime::{Caller, Engine, Func, Module, Result, Store, TypedFunc, ValRaw, error::Context as _};

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
            let body = |_: Caller<'_, ()>, values: &mut [MaybeUninit<ValRaw>]| {
                // Zero, as a number of any type.
                values.first_mut().map(|result| result.write(ValRaw::i64(0)));
                Ok(())
            };
            #[allow(unsafe_code, reason = "our runtime makes its functions like this")]
            // SAFETY: it reads no parameter, and zero is what every type of number has.
            let function = unsafe { Func::new_unchecked(&mut store, ty, body) };
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
