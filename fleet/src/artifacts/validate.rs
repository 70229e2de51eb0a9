//! What each device class says to a WebAssembly file, before anything is compiled.

use wasmbed_abi::{Call, Export, ExportError, IMPORT_MODULE, ValueType};
use wasmbed_wire::limits::Class;
use wasmparser::{
    Encoding, ExternalKind, FuncType, MemoryType, Parser, Payload, ValType, Validator, WasmFeatures,
    types::{EntityType, Types},
};

use super::violation;
use crate::api::{ClassReport, Violation};

/// Reports for every class, in the order of their numbers. The file's size is the caller's to check.
pub fn check(wasm: &[u8]) -> Vec<ClassReport> {
    let common = Facts::read(wasm);
    Class::ALL
        .into_iter()
        .map(|class| {
            let violations = match &common {
                Err(broken) => vec![broken.clone()],
                Ok(facts) => facts.violations(class, wasm),
            };
            ClassReport { class, admitted: violations.is_empty(), violations }
        })
        .collect()
}

/// What a file contains, as far as limits are about it.
struct Facts {
    types: Types,
    /// Module, name and, for functions, type.
    imports: Vec<(String, String, Option<FuncType>)>,
    exports: Vec<(String, ExternalKind, u32)>,
    memories: Vec<MemoryType>,
    functions: u32,
}

impl Facts {
    /// Reads a file that is valid with every feature there is; anything else is broken for all classes.
    fn read(wasm: &[u8]) -> Result<Self, Violation> {
        let broken = |found: String| violation("format", found, "a complete WebAssembly module is expected");
        if !wasm.starts_with(b"\0asm") {
            return Err(broken("the file does not begin like a WebAssembly file".into()));
        }
        let read = |wasm| -> Result<Facts, wasmparser::BinaryReaderError> {
            let mut facts = Facts {
                types: Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?,
                imports: Vec::new(),
                exports: Vec::new(),
                memories: Vec::new(),
                functions: 0,
            };
            for payload in Parser::new(0).parse_all(wasm) {
                facts.note(payload?)?;
            }
            Ok(facts)
        };
        if let Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) =
            Parser::new(0).parse_all(wasm).next()
        {
            return Err(broken("the file is a component, not a core module".into()));
        }
        read(wasm).map_err(|error| broken(error.to_string()))
    }

    fn note(&mut self, payload: Payload<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    let ty = match self.types.as_ref().entity_type_from_import(&import) {
                        Some(EntityType::Func(id) | EntityType::FuncExact(id)) => {
                            Some(self.types[id].unwrap_func().clone())
                        }
                        _ => None,
                    };
                    self.imports.push((import.module.to_owned(), import.name.to_owned(), ty));
                }
            }
            Payload::FunctionSection(reader) => self.functions = reader.count(),
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memories.push(memory?);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.exports.push((export.name.to_owned(), export.kind, export.index));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn violations(&self, class: Class, wasm: &[u8]) -> Vec<Violation> {
        let mut found = Vec::new();
        let features = wasmbed_runtime::wasm_features(class);
        if let Err(error) = Validator::new_with_features(features).validate_all(wasm) {
            let limit = format!("only the features of class {class} are allowed");
            found.push(violation("feature", error.message(), limit));
        }
        self.check_memory(class, &mut found);
        self.check_functions(class, &mut found);
        self.check_imports(class, &mut found);
        self.check_exports(&mut found);
        found
    }

    fn check_memory(&self, class: Class, found: &mut Vec<Violation>) {
        let limit = class.limits().memory_bytes;
        let bytes: u64 = self.memories.iter().fold(0, |sum, memory| {
            let page = 1u64 << memory.page_size_log2.unwrap_or(16);
            sum.saturating_add(memory.initial.saturating_mul(page))
        });
        if bytes > limit {
            found.push(violation(
                "memory",
                format!("{bytes} bytes of memory at start"),
                format!("at most {limit} on class {class}"),
            ));
        }
    }

    fn check_functions(&self, class: Class, found: &mut Vec<Violation>) {
        let limit = class.limits().functions;
        if self.functions > limit {
            found.push(violation(
                "functions",
                format!("{} functions", self.functions),
                format!("at most {limit} on class {class}"),
            ));
        }
    }

    fn check_imports(&self, class: Class, found: &mut Vec<Violation>) {
        for (module, name, ty) in &self.imports {
            let Some(ty) = ty else {
                let limit = format!("only functions of {IMPORT_MODULE:?} may be imported");
                found.push(violation("import", format!("{module}.{name} is not a function"), limit));
                continue;
            };
            let params = ty.params().iter().map(value_type);
            let results = ty.results().iter().map(value_type);
            if let Err(error) = Call::import(class, module, name, params, results) {
                found.push(violation("import", format!("{module}.{name}"), error.to_string()));
            }
        }
    }

    fn check_exports(&self, found: &mut Vec<Violation>) {
        for wanted in Export::ALL {
            if let Err(error) = self.check_export(wanted) {
                found.push(violation(
                    "export",
                    error.to_string(),
                    "a module exports `memory`, `tick()`, and if it likes `init() -> i32` and `health() -> i32`",
                ));
            }
        }
    }

    fn check_export(&self, wanted: Export) -> Result<(), ExportError> {
        let export = self.exports.iter().find(|(name, ..)| name == wanted.name());
        let Some((_, kind, index)) = export else {
            return if wanted.required() { Err(ExportError::Missing(wanted)) } else { Ok(()) };
        };
        if wanted.signature().is_none() {
            let is_memory = *kind == ExternalKind::Memory;
            return if is_memory { Ok(()) } else { Err(ExportError::WrongType(wanted)) };
        }
        if !matches!(kind, ExternalKind::Func | ExternalKind::FuncExact) {
            return Err(ExportError::WrongType(wanted));
        }
        let id = self.types.as_ref().core_function_at(*index);
        let ty = self.types[id].unwrap_func();
        wanted.check_function(ty.params().iter().map(value_type), ty.results().iter().map(value_type))
    }
}

/// The type as the guest ABI knows it.
fn value_type(ty: &ValType) -> Option<ValueType> {
    match ty {
        ValType::I32 => Some(ValueType::I32),
        ValType::I64 => Some(ValueType::I64),
        _ => None,
    }
}
