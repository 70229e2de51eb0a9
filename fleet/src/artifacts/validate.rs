//! What each device class says to a WebAssembly file, before anything is compiled.
//!
//! The file is read once ([`Facts`]); each class then holds what was found against its limits. What breaks
//! a rule is refused; what may only be slow, or fail only in some calls, is warned of ([`advice`]).

mod advice;
mod code;
mod facts;
mod names;
mod stack;

use wasmbed_abi::{
    Capabilities, Export, ExportError, IMPORT_MODULE, Import, MemoryError, OPTIONAL_IMPORT_MODULE, ValueType,
};
use wasmbed_wire::limits::Class;
use wasmparser::{ExternalKind, ValType, Validator};

use self::{facts::Facts, stack::Stack};
use super::violation;
use crate::api::{ClassReport, Violation};

/// What there is to say about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What each class says, in the order of their numbers.
    pub classes: Vec<ClassReport>,
    /// What it must be granted.
    pub needs: Capabilities,
    /// What it has a use for, with what it needs.
    pub uses: Capabilities,
    /// Stack that a call into it takes at most as bytecode, in bytes; none if there is no bound, as functions call each
    /// other.
    pub stack_bytes: Option<u32>,
}

/// What functions of a file are called, by their indices; nothing for a file that cannot be read.
pub fn function_names(wasm: &[u8], functions: &[u32]) -> Vec<String> {
    let Ok(facts) = Facts::read(wasm) else { return Vec::new() };
    functions.iter().map(|index| facts.name(*index)).collect()
}

/// Looks a file over for every class. Its size is the caller's to check.
pub fn check(wasm: &[u8]) -> Checked {
    let found = Facts::read(wasm).map(|facts| (Stack::of(&facts), facts));
    let named = |modules: &[&str]| {
        let imports = found.iter().flat_map(|(_, facts)| &facts.imports);
        let from = imports.filter(|(module, ..)| modules.contains(&module.as_str()));
        from.filter_map(|(_, name, _)| wasmbed_abi::Call::by_name(name))
            .map(|call| call.capability())
            .collect()
    };
    let needs = named(&[IMPORT_MODULE]);
    let uses = named(&[IMPORT_MODULE, OPTIONAL_IMPORT_MODULE]);
    let classes = Class::ALL
        .into_iter()
        .map(|class| {
            let (violations, warnings) = match &found {
                Err(broken) => (vec![broken.clone()], Vec::new()),
                Ok((stack, facts)) => {
                    (violations(facts, stack, class, wasm), advice::of(facts, stack, class))
                }
            };
            ClassReport { class, admitted: violations.is_empty(), violations, warnings }
        })
        .collect();
    let stack_bytes = found.ok().and_then(|(stack, _)| stack.bytes());
    Checked { classes, needs, uses, stack_bytes }
}

fn violations(facts: &Facts, stack: &Stack, class: Class, wasm: &[u8]) -> Vec<Violation> {
    let mut found = Vec::new();
    let features = wasmbed_runtime::wasm_features(class);
    if let Err(error) = Validator::new_with_features(features).validate_all(wasm) {
        let limit = format!("only the features of class {class} are allowed");
        found.push(violation("feature", format!("{} (at byte {})", error.message(), error.offset()), limit));
    }
    check_memory(facts, class, &mut found);
    check_functions(facts, class, &mut found);
    check_tables(facts, class, &mut found);
    check_imports(facts, class, &mut found);
    check_exports(facts, &mut found);
    if let Some(cycle) = &stack.always {
        let limit =
            format!("a call ends within {} bytes of stack on class {class}", class.limits().stack_bytes);
        found.push(violation("stack", format!("{cycle}, whatever happens: it never returns"), limit));
    }
    found
}

fn check_memory(facts: &Facts, class: Class, found: &mut Vec<Violation>) {
    // More than one is a feature that no class has.
    for memory in facts.memories() {
        let Err(error) = memory.check(class) else { continue };
        let allowed = |limit: u64| format!("at most {limit} on class {class}");
        found.push(match error {
            MemoryError::TooLarge { found, limit } => {
                violation("memory", format!("{found} bytes of memory at start"), allowed(limit))
            }
            MemoryError::MaximumTooLarge { found, limit } => {
                violation("memory", format!("a shared memory of up to {found} bytes"), allowed(limit))
            }
            shared => violation(
                "memory",
                shared.to_string(),
                "a memory of the module's own, or one that the threads of class mpu share",
            ),
        });
    }
}

fn check_functions(facts: &Facts, class: Class, found: &mut Vec<Violation>) {
    let limit = class.limits().functions;
    let functions = facts.functions.len();
    if functions > limit as usize {
        found.push(violation(
            "functions",
            format!("{functions} functions"),
            format!("at most {limit} on class {class}"),
        ));
    }
}

fn check_tables(facts: &Facts, class: Class, found: &mut Vec<Violation>) {
    let limit = class.limits().table_elements;
    let elements = facts.tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.initial));
    if elements > limit.into() {
        found.push(violation(
            "tables",
            format!("{elements} elements in tables at start"),
            format!("at most {limit} on class {class}"),
        ));
    }
}

fn check_imports(facts: &Facts, class: Class, found: &mut Vec<Violation>) {
    for (module, name, ty) in &facts.imports {
        // Names are the author's and may hold anything.
        let import = format!("{}.{}", module.escape_debug(), name.escape_debug());
        let Some(ty) = ty else {
            let limit =
                format!("only functions of {IMPORT_MODULE:?} and {OPTIONAL_IMPORT_MODULE:?} may be imported");
            found.push(violation("import", format!("{import} is not a function"), limit));
            continue;
        };
        let params = ty.params().iter().map(value_type);
        let results = ty.results().iter().map(value_type);
        if let Err(error) = Import::read(class, module, name, params, results) {
            found.push(violation("import", import, error.to_string()));
        }
    }
}

fn check_exports(facts: &Facts, found: &mut Vec<Violation>) {
    for wanted in Export::ALL {
        if let Err(error) = check_export(facts, wanted) {
            found.push(violation(
                "export",
                error.to_string(),
                "a module exports `memory`, `tick()`, and if it likes `init() -> i32` and `health() -> i32`",
            ));
        }
    }
}

fn check_export(facts: &Facts, wanted: Export) -> Result<(), ExportError> {
    let Some((kind, index)) = facts.export(wanted.name()) else {
        return if wanted.required() { Err(ExportError::Missing(wanted)) } else { Ok(()) };
    };
    if wanted.signature().is_none() {
        let is_memory = kind == ExternalKind::Memory;
        return if is_memory { Ok(()) } else { Err(ExportError::WrongType(wanted)) };
    }
    if !matches!(kind, ExternalKind::Func | ExternalKind::FuncExact) {
        return Err(ExportError::WrongType(wanted));
    }
    let ty = facts.function_type(index);
    wanted.check_function(ty.params().iter().map(value_type), ty.results().iter().map(value_type))
}

/// The type as the guest ABI knows it.
fn value_type(ty: &ValType) -> Option<ValueType> {
    match ty {
        ValType::I32 => Some(ValueType::I32),
        ValType::I64 => Some(ValueType::I64),
        ValType::F32 => Some(ValueType::F32),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
