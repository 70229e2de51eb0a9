//! The directives of a test file, one at a time.

use std::collections::{BTreeSet, HashSet};

use wasmbed_runtime::wasm_features;
use wasmbed_wire::limits::Class;
use wasmparser::{Validator, WasmFeatures};
use wasmtime::{Error, Instance, Module, Trap, Val};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastRet, token::Id};

use crate::{
    list,
    machine::{Machine, error},
    values,
};

/// What became of a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It asserts something, and it is so.
    Passed,
    /// It asserts nothing, and it was done.
    Done,
    /// It needs features that the class lacks.
    Lacks,
    /// It is not about a runtime like ours; `skipped.txt` has its kind.
    Aside(&'static str),
}

/// Why there is no outcome that counts.
pub(crate) enum Miss {
    Lacks,
    Wrong(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Miss::Wrong(error)
    }
}

type Found<T> = Result<T, Miss>;

/// What the tests call traps, in the words of every version.
const TRAPS: [(&str, &[Trap]); 17] = [
    ("unreachable", &[Trap::UnreachableCodeReached]),
    ("integer divide by zero", &[Trap::IntegerDivisionByZero]),
    ("integer overflow", &[Trap::IntegerOverflow]),
    ("invalid conversion to integer", &[Trap::BadConversionToInteger]),
    ("out of bounds", &[Trap::MemoryOutOfBounds, Trap::TableOutOfBounds]),
    ("out of bounds memory access", &[Trap::MemoryOutOfBounds]),
    ("out of bounds table access", &[Trap::TableOutOfBounds]),
    ("undefined", &[Trap::TableOutOfBounds]),
    ("undefined element", &[Trap::TableOutOfBounds]),
    ("uninitialized", &[Trap::IndirectCallToNull]),
    ("uninitialized element", &[Trap::IndirectCallToNull]),
    ("indirect call", &[Trap::BadSignature]),
    ("indirect call type mismatch", &[Trap::BadSignature]),
    ("null function reference", &[Trap::NullReference]),
    ("null reference", &[Trap::NullReference]),
    ("unaligned atomic", &[Trap::HeapMisaligned]),
    ("call stack exhausted", &[Trap::StackOverflow]),
];

/// One file while it runs.
pub(crate) struct Script<'a> {
    machine: Machine,
    has: WasmFeatures,
    lacks: &'a [&'static str],
    /// Features without which a module was refused.
    missed: BTreeSet<&'static str>,
    /// Names that would be registered if their instances existed.
    absent: HashSet<String>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(machine: Machine, class: Class, lacks: &'a [&'static str]) -> Self {
        let (missed, absent) = Default::default();
        Script { machine, has: wasm_features(class), lacks, missed, absent }
    }

    /// The listed features that were needed.
    pub(crate) fn missed(self) -> BTreeSet<&'static str> {
        self.missed
    }

    /// Does what a directive says.
    pub(crate) fn run(&mut self, directive: WastDirective<'_>) -> Result<Outcome, Error> {
        match self.step(directive) {
            Ok(outcome) => Ok(outcome),
            Err(Miss::Lacks) => Ok(Outcome::Lacks),
            Err(Miss::Wrong(error)) => Err(error),
        }
    }

    fn step(&mut self, directive: WastDirective<'_>) -> Found<Outcome> {
        match directive {
            WastDirective::Module(module) => self.module(module).map(|()| Outcome::Done),
            WastDirective::ModuleDefinition(mut definition) => {
                let name = owned(definition.name());
                self.machine.forget(name.clone());
                let module = self.compile(&mut definition)?;
                self.machine.define(name, module);
                Ok(Outcome::Done)
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                self.machine.forget_instance(owned(instance));
                let definition = self.machine.defined(module.map(|id| id.name()));
                let module = self.found(definition, "module")?;
                self.link(&module)?;
                self.machine.instantiate(owned(instance), &module)?;
                Ok(Outcome::Done)
            }
            WastDirective::AssertMalformed { module, .. } | WastDirective::AssertInvalid { module, .. } => {
                self.refuses(module)
            }
            WastDirective::Register { name, module, .. } => self.register(name, module),
            WastDirective::Invoke(invoke) => self.invoke(&invoke).map(|_| Outcome::Done),
            WastDirective::AssertReturn { exec, results, .. } => self.returns(exec, &results),
            WastDirective::AssertTrap { exec, message, .. } => {
                let result = self.execute(exec);
                traps(result, message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let result = self.invoke(&call);
                traps(result, message)
            }
            WastDirective::AssertUnlinkable { module, .. } => {
                let module = self.compile(&mut QuoteWat::Wat(module))?;
                self.link(&module)?;
                match self.machine.try_instantiate(&module) {
                    Err(error) if !error.is::<Trap>() => Ok(Outcome::Passed),
                    Err(error) => Err(Miss::Wrong(error)),
                    Ok(_) => Err(wrong("it was linked")),
                }
            }
            WastDirective::AssertException { exec, .. } => match self.execute(exec) {
                Err(Miss::Wrong(error)) if error.is::<wasmtime::ThrownException>() => Ok(Outcome::Passed),
                Err(miss) => Err(miss),
                Ok(_) => Err(wrong("nothing was thrown")),
            },
            WastDirective::AssertSuspension { .. }
            | WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. }
            | WastDirective::Thread(_)
            | WastDirective::Wait { .. } => Err(wrong("this is not expected of a runtime like ours")),
        }
    }

    fn module(&mut self, mut module: QuoteWat<'_>) -> Found<()> {
        let name = owned(module.name());
        self.machine.forget(name.clone());
        let module = self.compile(&mut module)?;
        self.link(&module)?;
        self.machine.define(name.clone(), module.clone());
        self.machine.instantiate(name, &module)?;
        Ok(())
    }

    fn refuses(&self, mut module: QuoteWat<'_>) -> Found<Outcome> {
        let Ok(wasm) = module.encode() else { return Ok(Outcome::Aside("@text")) };
        match self.machine.compile(&wasm) {
            Err(_) => Ok(Outcome::Passed),
            Ok(_) => Err(wrong("it was accepted")),
        }
    }

    fn register(&mut self, name: &str, module: Option<Id<'_>>) -> Found<Outcome> {
        let instance = self.machine.instance(module.map(|id| id.name()));
        if instance.is_none() {
            self.absent.insert(name.to_owned());
        }
        let instance = self.found(instance, "instance")?;
        self.absent.remove(name);
        self.machine.register(name, instance)?;
        Ok(Outcome::Done)
    }

    fn returns(&mut self, exec: WastExecute<'_>, expected: &[WastRet<'_>]) -> Found<Outcome> {
        let values = self.execute(exec)?;
        let mut equal = values.len() == expected.len();
        for (value, expected) in values.iter().zip(expected) {
            equal &= values::matches(&self.machine.store, value, expected)?;
        }
        if equal { Ok(Outcome::Passed) } else { Err(wrong(format!("got {values:?}, not {expected:?}"))) }
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Found<Vec<Val>> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(module) => {
                let module = self.compile(&mut QuoteWat::Wat(module))?;
                self.link(&module)?;
                self.machine.try_instantiate(&module)?;
                Ok(Vec::new())
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                let global = instance.get_global(&mut self.machine.store, global);
                let global = global.ok_or_else(|| wrong("no such global"))?;
                Ok(vec![global.get(&mut self.machine.store)])
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Found<Vec<Val>> {
        let instance = self.instance(invoke.module)?;
        self.machine.refill()?;
        let store = &mut self.machine.store;
        let function = instance.get_func(&mut *store, invoke.name);
        let function = function.ok_or_else(|| wrong(format!("no function {}", invoke.name)))?;
        let ty = function.ty(&*store);
        let mut args = Vec::new();
        for (arg, ty) in invoke.args.iter().zip(ty.params()) {
            args.push(values::argument(store, arg, &ty)?);
        }
        let mut results = vec![Val::I32(0); ty.results().len()];
        function.call(store, &args, &mut results)?;
        Ok(results)
    }

    fn instance(&self, name: Option<Id<'_>>) -> Found<Instance> {
        self.found(self.machine.instance(name.map(|id| id.name())), "instance")
    }

    /// Something that is absent only if what makes it was refused.
    fn found<T>(&self, found: Option<T>, what: &str) -> Found<T> {
        match found {
            Some(found) => Ok(found),
            None if !self.missed.is_empty() => Err(Miss::Lacks),
            None => Err(wrong(format!("no such {what}"))),
        }
    }

    fn compile(&mut self, module: &mut QuoteWat<'_>) -> Found<Module> {
        let wasm = module.encode().map_err(|error| wrong(format!("unreadable: {error}")))?;
        self.machine.compile(&wasm).map_err(|error| self.refused(&wasm, error))
    }

    /// Whether a module was refused for want of the listed features.
    fn refused(&mut self, wasm: &[u8], error: Error) -> Miss {
        let listed: Vec<_> = self.lacks.iter().map(|name| (*name, list::feature(name))).collect();
        if is_valid(wasm, self.has) || !is_valid(wasm, self.has | union(&listed)) {
            let hint = needs(wasm, self.has).join(", ");
            return wrong(format!("refused, lacks {hint}: {}", error.root_cause()));
        }
        for (name, feature) in &listed {
            let others: Vec<_> = listed.iter().filter(|(_, other)| other != feature).copied().collect();
            if !is_valid(wasm, self.has | union(&others)) {
                self.missed.insert(name);
            }
        }
        Miss::Lacks
    }

    /// Whether all can be linked that is offered by instances that exist.
    fn link(&self, module: &Module) -> Found<()> {
        let is_absent = module.imports().any(|import| self.absent.contains(import.module()));
        if is_absent { Err(Miss::Lacks) } else { Ok(()) }
    }
}

/// Reads a file.
pub(crate) fn parse<'a>(buffer: &'a wast::parser::ParseBuffer<'a>) -> Result<Vec<WastDirective<'a>>, String> {
    let wast: Wast<'a> = wast::parser::parse(buffer).map_err(|error| error.to_string())?;
    Ok(wast.directives)
}

fn traps(result: Found<Vec<Val>>, message: &str) -> Found<Outcome> {
    match result {
        Err(Miss::Wrong(error)) => {
            let trap = error.downcast_ref::<Trap>();
            let words = message.trim_end_matches(|char: char| char.is_ascii_digit()).trim_end();
            let meant = TRAPS.iter().find(|(known, _)| *known == words).map(|(_, meant)| *meant);
            let is_meant = trap.is_some_and(|trap| meant.is_some_and(|meant| meant.contains(trap)));
            if is_meant {
                Ok(Outcome::Passed)
            } else {
                Err(wrong(format!("not {message}, but {}", error.root_cause())))
            }
        }
        Err(Miss::Lacks) => Err(Miss::Lacks),
        Ok(values) => Err(wrong(format!("not {message}, but it returned {values:?}"))),
    }
}

fn is_valid(wasm: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(wasm).is_ok()
}

/// The names of features that a module needs in addition to these, if there are any that make it valid.
fn needs(wasm: &[u8], has: WasmFeatures) -> Vec<String> {
    let mut kept: Vec<(&str, WasmFeatures)> =
        WasmFeatures::all().iter_names().filter(|(_, one)| !has.contains(*one)).collect();
    // Later ones first: they imply some that came earlier.
    for index in (0..kept.len()).rev() {
        let dropped = kept.remove(index);
        if !is_valid(wasm, has | union(&kept)) {
            kept.insert(index, dropped);
        }
    }
    kept.into_iter().map(|(name, _)| list::written(name)).collect()
}

fn union(features: &[(&str, WasmFeatures)]) -> WasmFeatures {
    features.iter().fold(WasmFeatures::empty(), |all, (_, one)| all | *one)
}

fn owned(id: Option<Id<'_>>) -> Option<String> {
    id.map(|id| id.name().to_owned())
}

fn wrong(text: impl Into<String>) -> Miss {
    Miss::Wrong(error(text))
}
