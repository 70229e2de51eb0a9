//! What a file contains, as far as rules are about it.

use std::collections::{BTreeSet, HashMap};

use wasmbed_abi::{DeclaredMemory, MEMORY_IMPORT};
use wasmparser::{
    BinaryReaderError, ConstExpr, DataKind, ElementItems, Encoding, ExternalKind, FuncType,
    FuncValidatorAllocations, Import, MemoryType, Operator, Parser, Payload, TableInit, TableType, TypeRef,
    ValidPayload, Validator, WasmFeatures,
    types::{CoreTypeId, EntityType, Types},
};

use super::{code::Function, names::Names};
use crate::{api::Violation, artifacts::violation};

type Result<T> = std::result::Result<T, BinaryReaderError>;

pub(super) struct Facts {
    types: Types,
    /// Module, name and, for functions, type; without the memories.
    pub(super) imports: Vec<(String, String, Option<FuncType>)>,
    exports: Vec<(String, ExternalKind, u32)>,
    memories: Vec<Memory>,
    /// Whether it writes data whenever an instance is made.
    pub(super) active_data: bool,
    pub(super) tables: Vec<TableType>,
    /// The functions it defines, which follow those it imports.
    pub(super) functions: Vec<Function>,
    imported_functions: u32,
    /// Functions that something refers to, so that they may be called indirectly, by their types.
    referred: HashMap<CoreTypeId, Vec<u32>>,
    /// The start function.
    pub(super) start: Option<u32>,
    /// Size of the sections that only debuggers read, in bytes.
    pub(super) debug_bytes: u64,
    names: Names,
}

/// A memory, of its own or imported from where they are shared.
pub(super) struct Memory {
    ty: MemoryType,
    imported: bool,
}

impl Facts {
    /// Reads a file that is valid with every feature there is; anything else is broken for all classes.
    pub(super) fn read(wasm: &[u8]) -> std::result::Result<Self, Violation> {
        let broken = |found: String| violation("format", found, "a complete WebAssembly module is expected");
        if !wasm.starts_with(b"\0asm") {
            return Err(broken("the file does not begin like a WebAssembly file".into()));
        }
        if let Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) =
            Parser::new(0).parse_all(wasm).next()
        {
            return Err(broken("the file is a component, not a core module".into()));
        }
        let facts = Reader::default().read(wasm).map_err(|error| broken(error.to_string()))?;
        facts.ok_or_else(|| broken("the file ends before the module does".into()))
    }

    /// The memories as rules see them.
    pub(super) fn memories(&self) -> impl Iterator<Item = DeclaredMemory> {
        self.memories.iter().map(|Memory { ty, imported }| {
            let page = 1u64 << ty.page_size_log2.unwrap_or(16);
            DeclaredMemory {
                imported: *imported,
                shared: ty.shared,
                initial_bytes: ty.initial.saturating_mul(page),
                maximum_bytes: ty.maximum.map(|pages| pages.saturating_mul(page)),
                active_data: self.active_data,
            }
        })
    }

    /// Kind and index of what is exported under this name.
    pub(super) fn export(&self, name: &str) -> Option<(ExternalKind, u32)> {
        self.exports.iter().find(|(found, ..)| found == name).map(|(_, kind, index)| (*kind, *index))
    }

    /// The type of a function by its index; only of indices in a valid file.
    pub(super) fn function_type(&self, index: u32) -> &FuncType {
        self.types[self.types.as_ref().core_function_at(index)].unwrap_func()
    }

    /// The function by its index; none if it is imported.
    pub(super) fn function(&self, index: u32) -> Option<&Function> {
        self.functions.get(index.checked_sub(self.imported_functions)? as usize)
    }

    /// The index of the function at a position in [`functions`](Self::functions).
    pub(super) fn index_of(&self, position: usize) -> u32 {
        self.imported_functions.saturating_add(u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// The type with this index; equal types have one id.
    pub(super) fn type_id(&self, ty: u32) -> CoreTypeId {
        self.types.as_ref().core_type_at_in_module(ty)
    }

    /// Functions that a call through a reference of this type may reach.
    pub(super) fn callable(&self, ty: CoreTypeId) -> &[u32] {
        self.referred.get(&ty).map_or(&[], Vec::as_slice)
    }

    /// A function as messages call it.
    pub(super) fn name(&self, index: u32) -> String {
        self.names.of(index, &self.exports)
    }
}

/// Gathers what becomes [`Facts`].
#[derive(Default)]
struct Reader<'a> {
    imports: Vec<Import<'a>>,
    exports: Vec<(String, ExternalKind, u32)>,
    memories: Vec<Memory>,
    active_data: bool,
    tables: Vec<TableType>,
    functions: Vec<Function>,
    referred: BTreeSet<u32>,
    start: Option<u32>,
    debug_bytes: u64,
    names: Names,
}

impl<'a> Reader<'a> {
    fn read(mut self, wasm: &'a [u8]) -> Result<Option<Facts>> {
        Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?;
        // Once more for what lies between the instructions.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut allocations = FuncValidatorAllocations::default();
        let mut types = None;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            match validator.payload(&payload)? {
                ValidPayload::Func(function, body) => {
                    let mut validator = function.into_validator(allocations);
                    let function = Function::read(&mut validator, &body, &mut self.referred)?;
                    self.functions.push(function);
                    allocations = validator.into_allocations();
                }
                ValidPayload::End(found) => types = Some(found),
                ValidPayload::Ok | ValidPayload::Parser(_) => {}
            }
            self.note(payload)?;
        }
        Ok(types.map(|types| self.finish(types)))
    }

    fn note(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    match import.ty {
                        TypeRef::Memory(ty) if (import.module, import.name) == MEMORY_IMPORT => {
                            self.memories.push(Memory { ty, imported: true });
                        }
                        _ => self.imports.push(import),
                    }
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    let table = table?;
                    if let TableInit::Expr(init) = &table.init {
                        self.refer(init)?;
                    }
                    self.tables.push(table.ty);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memories.push(Memory { ty: memory?, imported: false });
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    self.refer(&global?.init_expr)?;
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.exports.push((export.name.to_owned(), export.kind, export.index));
                }
            }
            Payload::DataSection(reader) => {
                for segment in reader {
                    self.active_data |= matches!(segment?.kind, DataKind::Active { .. });
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(reader) => {
                for element in reader {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.referred.insert(function?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.refer(&expression?)?;
                            }
                        }
                    }
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                self.debug_bytes += section.data().len() as u64;
            }
            Payload::CustomSection(section) => self.names.note(&section),
            _ => {}
        }
        Ok(())
    }

    /// Notes the functions a constant refers to.
    fn refer(&mut self, constant: &ConstExpr<'_>) -> Result<()> {
        for operator in constant.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.referred.insert(function_index);
            }
        }
        Ok(())
    }

    fn finish(self, types: Types) -> Facts {
        let is_function =
            |import: &&Import<'_>| matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
        let imported_functions = self.imports.iter().filter(is_function).count();
        let imports = self.imports.iter().map(|import| {
            let ty = match types.as_ref().entity_type_from_import(import) {
                Some(EntityType::Func(id) | EntityType::FuncExact(id)) => {
                    Some(types[id].unwrap_func().clone())
                }
                _ => None,
            };
            (import.module.to_owned(), import.name.to_owned(), ty)
        });
        let mut referred: HashMap<_, Vec<u32>> = HashMap::new();
        for index in self.referred {
            referred.entry(types.as_ref().core_function_at(index)).or_default().push(index);
        }
        Facts {
            imports: imports.collect(),
            exports: self.exports,
            memories: self.memories,
            active_data: self.active_data,
            tables: self.tables,
            functions: self.functions,
            imported_functions: u32::try_from(imported_functions).unwrap_or(u32::MAX),
            referred,
            start: self.start,
            debug_bytes: self.debug_bytes,
            names: self.names,
            types,
        }
    }
}
