//! Artifacts become modules that are known to fit the device.
#![allow(unsafe_code, reason = "precompiled code is trusted by its loader; the contract is on `load`")]

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::ptr::NonNull;

use wasmbed_abi::{Export, ExportError, Import, ImportError, ValueType};
use wasmbed_wire::limits::Class;
use wasmtime::{ExternType, FuncType, ValType};

use crate::{Runtime, SetupError};

/// Alignment of precompiled bytes, in bytes.
const ALIGN: usize = 16;

/// A module that can be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) inner: wasmtime::Module,
    /// What its imports mean, in their order.
    pub(crate) imports: Vec<Import>,
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
    /// Its memory is larger at the start than the class allows.
    #[error("its memory starts with {found} bytes; the class allows {limit}")]
    TooMuchMemory {
        /// Bytes it asks for.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// It defines more functions than the class allows.
    #[error("it defines {found} functions; the class allows {limit}")]
    TooManyFunctions {
        /// Functions it defines.
        found: usize,
        /// Functions allowed.
        limit: u32,
    },
    /// It has a memory shared between threads, and modules run on one.
    #[error("its memory is shared between threads; a module runs on one thread only")]
    SharedMemory,
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
        Module::check(module, self.class)
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
        Module::check(module, self.class)
    }
}

impl Module {
    pub(crate) fn check(module: wasmtime::Result<wasmtime::Module>, class: Class) -> Result<Self, LoadError> {
        let inner = module.map_err(|error| LoadError::Rejected(format!("{error:#}")))?;
        let imports = imports(&inner, class)?;
        Export::ALL.into_iter().try_for_each(|export| check_export(&inner, export, class))?;
        let limit = class.limits().functions;
        let found = inner.functions().len();
        if found > limit as usize {
            return Err(LoadError::TooManyFunctions { found, limit });
        }
        Ok(Module { inner, imports })
    }
}

fn imports(module: &wasmtime::Module, class: Class) -> Result<Vec<Import>, LoadError> {
    module
        .imports()
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

fn check_export(module: &wasmtime::Module, export: Export, class: Class) -> Result<(), LoadError> {
    match (module.get_export(export.name()), export) {
        (Some(ExternType::Memory(memory)), Export::Memory) => check_memory(&memory, class),
        (Some(ExternType::Func(ty)), _) => Ok(export.check_function(params(&ty), results(&ty))?),
        (Some(_), _) => Err(ExportError::WrongType(export).into()),
        (None, _) if export.required() => Err(ExportError::Missing(export).into()),
        (None, _) => Ok(()),
    }
}

fn check_memory(memory: &wasmtime::MemoryType, class: Class) -> Result<(), LoadError> {
    if memory.is_shared() {
        return Err(LoadError::SharedMemory);
    }
    let limit = class.limits().memory_bytes;
    let found = memory.minimum().saturating_mul(memory.page_size());
    if found > limit { Err(LoadError::TooMuchMemory { found, limit }) } else { Ok(()) }
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
