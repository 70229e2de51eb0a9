//! An engine with what a file of tests has instantiated on it so far.

use std::collections::HashMap;

use wasmbed_runtime::{Runtime, Target, compile};
use wasmbed_wire::limits::Class;
use wasmtime::{Error, Instance, Linker, Module, Result, Store};

use crate::spectest;

/// How modules are run: as on Linux, and as on boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Native,
    Bytecode,
}

/// More than any test uses; copying 4 GiB costs as much.
const FUEL: u64 = 1 << 40;
/// No clock runs, so that this is never.
const EPOCHS: u64 = 1 << 32;

pub(crate) struct Machine {
    runtime: Runtime,
    path: Path,
    pub(crate) store: Store<()>,
    linker: Linker<()>,
    definitions: HashMap<Option<String>, Module>,
    instances: HashMap<Option<String>, Instance>,
}

impl Machine {
    pub(crate) fn new(path: Path, class: Class) -> Result<Self> {
        let runtime = match path {
            Path::Native => Runtime::new(class),
            Path::Bytecode => Runtime::bytecode(class, class.limits().stack_bytes as usize),
        }?;
        let mut store = Store::new(runtime.engine(), ());
        let mut linker = Linker::new(runtime.engine());
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store)?;
        let (definitions, instances) = Default::default();
        Ok(Machine { runtime, path, store, linker, definitions, instances })
    }

    /// Makes a module as the fleet, or an agent on Linux, does.
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Module> {
        let engine = self.runtime.engine();
        match self.path {
            Path::Native => Module::from_binary(engine, wasm),
            Path::Bytecode => {
                let bytes = compile(wasm, Target::HERE, self.runtime.class())?;
                #[allow(unsafe_code, reason = "the contract is kept: nobody touched the bytes")]
                // SAFETY: just compiled.
                unsafe {
                    Module::deserialize(engine, &bytes)
                }
            }
        }
    }

    pub(crate) fn define(&mut self, name: Option<String>, module: Module) {
        self.definitions.insert(None, module.clone());
        self.definitions.insert(name, module);
    }

    pub(crate) fn defined(&self, name: Option<&str>) -> Option<Module> {
        self.definitions.get(&name.map(str::to_owned)).cloned()
    }

    /// Makes an instance; it becomes the one that is meant where none is named.
    pub(crate) fn instantiate(&mut self, name: Option<String>, module: &Module) -> Result<()> {
        let instance = self.try_instantiate(module)?;
        self.instances.insert(None, instance);
        self.instances.insert(name, instance);
        Ok(())
    }

    /// Makes an instance that nothing refers to.
    pub(crate) fn try_instantiate(&mut self, module: &Module) -> Result<Instance> {
        self.refill()?;
        self.linker.instantiate(&mut self.store, module)
    }

    /// Forgets the module of this name, and the one that is meant where none is named; their instances too.
    pub(crate) fn forget(&mut self, name: Option<String>) {
        self.definitions.remove(&None);
        self.definitions.remove(&name);
        self.forget_instance(name);
    }

    /// Forgets the instance of this name, and the one that is meant where none is named.
    pub(crate) fn forget_instance(&mut self, name: Option<String>) {
        self.instances.remove(&None);
        self.instances.remove(&name);
    }

    pub(crate) fn instance(&self, name: Option<&str>) -> Option<Instance> {
        self.instances.get(&name.map(str::to_owned)).copied()
    }

    /// Offers an instance's exports to modules.
    pub(crate) fn register(&mut self, name: &str, instance: Instance) -> Result<()> {
        self.linker.instance(&mut self.store, name, instance)?;
        Ok(())
    }

    /// Gives the next call all the time it needs.
    pub(crate) fn refill(&mut self) -> Result<()> {
        match self.path {
            Path::Native => self.store.set_epoch_deadline(EPOCHS),
            Path::Bytecode => self.store.set_fuel(FUEL)?,
        }
        Ok(())
    }
}

/// An error with this text.
pub(crate) fn error(text: impl Into<String>) -> Error {
    Error::msg(text.into())
}
