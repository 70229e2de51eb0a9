//! Artifacts become modules that are known to fit the device.
#![allow(unsafe_code, reason = "precompiled code is trusted by its loader; the contract is on `load`")]

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::ptr::NonNull;

use wasmbed_abi::{
    DeclaredMemory, Export, ExportError, Import, ImportError, MEMORY_IMPORT, MemoryError, ValueType,
};
use wasmbed_wire::limits::Class;
use wasmtime::{ExternType, FuncType, ImportType, ValType};

use crate::{
    Runtime, SetupError,
    threads::{ADDED_IMPORTS, Plan},
};

/// Alignment of precompiled bytes, in bytes.
const ALIGN: usize = 16;

/// A module that can be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) inner: wasmtime::Module,
    /// What the functions that it imports mean, in their order.
    pub(crate) imports: Vec<Import>,
    /// What is known of it if its memory is shared.
    pub(crate) threads: Option<Plan>,
}

/// Why an artifact is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are not at a multiple of 16.
    #[error("the artifact lies at an address that is not a multiple of 16")]
    Misaligned,
    /// There is no engine with the stack it needs.
    #[error(transparent)]
    Engine(#[from] SetupError),
    /// The engine does not take it.
    #[error("not for this runtime: {0}")]
    Rejected(String),
    /// It imports something a device of this class does not have.
    #[error("import `{module}.{name}`: {source}")]
    Import {
        /// Module name of the import.
        module: String,
        /// Name of the import.
        name: String,
        /// What is wrong with it.
        source: ImportError,
    },
    /// It does not export what a module must.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Its memory is too large, or shared in a way that does not work.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It defines more functions than the class allows.
    #[error("it defines {found} functions; the class allows {limit}")]
    TooManyFunctions {
        /// Functions it defines.
        found: usize,
        /// Functions allowed.
        limit: u32,
    },
}

impl Runtime {
    /// Takes precompiled bytes as they lie in memory, without copying them. Its instances get `stack_bytes` of stack, as
    /// its manifest says; all that the class allows if that is 0 or more.
    ///
    /// # Errors
    /// If the bytes are for another engine, lie at an odd address, or do not fit the class; if there is no memory.
    ///
    /// # Safety
    /// The bytes are what [`compile`](fn@crate::compile) made, which a signature checked after they were
    /// last written proves; they are valid and do not change until the module, its clones and
    /// all their instances are dropped. No module loaded from them earlier is left; clone that one.
    pub unsafe fn load(&self, artifact: NonNull<[u8]>, stack_bytes: u32) -> Result<Module, LoadError> {
        if !artifact.cast::<u8>().addr().get().is_multiple_of(ALIGN) {
            return Err(LoadError::Misaligned);
        }
        let engine = self.engine_with(stack_bytes)?;
        // SAFETY: the caller vouches for origin and lifetime of the bytes.
        let module = unsafe { wasmtime::Module::deserialize_raw(&engine, artifact) };
        Module::check(module, self.class, None)
    }

    /// Takes a copy of precompiled bytes, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Safety
    /// The bytes are what [`compile`](fn@crate::compile) made, which a checked signature proves.
    pub unsafe fn load_copied(&self, artifact: &[u8], stack_bytes: u32) -> Result<Module, LoadError> {
        let engine = self.engine_with(stack_bytes)?;
        // SAFETY: the caller vouches for the origin of the bytes.
        let module = unsafe { wasmtime::Module::deserialize(&engine, artifact) };
        Module::check(module, self.class, None)
    }
}

impl Module {
    pub(crate) fn check(
        module: wasmtime::Result<wasmtime::Module>,
        class: Class,
        threads: Option<Plan>,
    ) -> Result<Self, LoadError> {
        let inner = module.map_err(|error| LoadError::Rejected(format!("{error:#}")))?;
        let mut module = Module { inner, imports: Vec::new(), threads };
        module.imports = imports(&module, class)?;
        Export::ALL.into_iter().try_for_each(|export| check_export(&module, export, class))?;
        let limit = class.limits().functions;
        let found = module.inner.functions().len();
        if found > limit as usize {
            return Err(LoadError::TooManyFunctions { found, limit });
        }
        Ok(module)
    }

    /// What its author has it import.
    pub(crate) fn declared_imports(&self) -> impl Iterator<Item = ImportType<'_>> {
        let imports = self.inner.imports();
        let declared = imports.len() - self.threads.as_ref().map_or(0, |_| ADDED_IMPORTS);
        imports.take(declared)
    }
}

fn imports(module: &Module, class: Class) -> Result<Vec<Import>, LoadError> {
    module
        .declared_imports()
        .filter(|import| !is_memory(import))
        .map(|import| {
            let read = match import.ty() {
                ExternType::Func(ty) => {
                    Import::read(class, import.module(), import.name(), params(&ty), results(&ty))
                }
                // A memory, table or global: no call has such a type.
                _ => Import::read(class, import.module(), import.name(), [None], [None]),
            };
            read.map_err(|source| LoadError::Import {
                module: import.module().to_string(),
                name: import.name().to_string(),
                source,
            })
        })
        .collect()
}

/// Whether it is the memory; what it must be is checked where it is exported again.
pub(crate) fn is_memory(import: &ImportType<'_>) -> bool {
    (import.module(), import.name()) == MEMORY_IMPORT && matches!(import.ty(), ExternType::Memory(_))
}

fn check_export(module: &Module, export: Export, class: Class) -> Result<(), LoadError> {
    match (module.inner.get_export(export.name()), export) {
        (Some(ExternType::Memory(memory)), Export::Memory) => Ok(declared(module, &memory).check(class)?),
        (Some(ExternType::Func(ty)), _) => Ok(export.check_function(params(&ty), results(&ty))?),
        (Some(_), _) => Err(ExportError::WrongType(export).into()),
        (None, _) if export.required() => Err(ExportError::Missing(export).into()),
        (None, _) => Ok(()),
    }
}

/// A module has one memory.
fn declared(module: &Module, memory: &wasmtime::MemoryType) -> DeclaredMemory {
    let bytes = |pages: u64| pages.saturating_mul(memory.page_size());
    DeclaredMemory {
        imported: module.declared_imports().any(|import| is_memory(&import)),
        shared: memory.is_shared(),
        initial_bytes: bytes(memory.minimum()),
        maximum_bytes: memory.maximum().map(bytes),
        active_data: module.threads.as_ref().is_some_and(Plan::has_active_data),
    }
}

fn params(ty: &FuncType) -> impl Iterator<Item = Option<ValueType>> {
    ty.params().map(value_type)
}

fn results(ty: &FuncType) -> impl Iterator<Item = Option<ValueType>> {
    ty.results().map(value_type)
}

fn value_type(ty: ValType) -> Option<ValueType> {
    match ty {
        ValType::I32 => Some(ValueType::I32),
        ValType::I64 => Some(ValueType::I64),
        ValType::F32 => Some(ValueType::F32),
        _ => None,
    }
}
