//! Has waits of threads go through [`parking`](super::parking).
//!
//! The engine does not say how `memory.atomic.wait32`, `memory.atomic.wait64` and `memory.atomic.notify` are done, so
//! in the file of a module whose memory is shared they are replaced with calls of three imports that are added to it.
//! Functions move by these three, and code by what the numbers of functions take; [`Origins`] leads back from there.

use std::{borrow::Cow, convert::Infallible, format, string::String, sync::Arc, time::Duration, vec::Vec};

use wasm_encoder::{
    CodeSection, EntityType, ImportSection, Instruction, TypeSection, ValType,
    reencode::{self, Reencode, utils},
};
use wasmbed_abi::MEMORY_IMPORT;
use wasmbed_wire::message::Frame;
use wasmtime::{
    Extern, Func, Store, Trap, Val,
    wasmparser::{
        BinaryReaderError, DataKind, FunctionBody, ImportSectionReader, MemArg, MemoryType, Operator, Parser,
        Payload, TypeRef, TypeSectionReader,
    },
};

use super::{Member, Plan};

/// Added to what a module imports: to wait for 32 bits, for 64, and to notify.
pub(crate) const ADDED_IMPORTS: usize = 3;
/// Their module name. It is nobody's who writes modules: that they are the last ones tells them from imports that
/// only look like them.
const ADDED_MODULE: &str = "threads";

/// Where code of a rewritten file was in the file that the author has.
#[derive(Debug)]
pub(super) struct Origins {
    /// Functions it imports; all others follow what was added.
    imported: u32,
    places: Vec<Place>,
}

/// From here on, code has moved by as much.
#[derive(Debug, Clone, Copy)]
struct Place {
    is: usize,
    was: usize,
}

impl Origins {
    pub(super) fn of(&self, frame: Frame) -> Frame {
        let is_own = frame.function < self.imported;
        let function =
            if is_own { frame.function } else { frame.function.saturating_sub(ADDED_IMPORTS as u32) };
        let offset = frame.offset as usize;
        let place = self.places.partition_point(|place| place.is <= offset).checked_sub(1);
        let was =
            place.and_then(|nth| self.places.get(nth)).map_or(offset, |place| offset - place.is + place.was);
        Frame { function, offset: u32::try_from(was).unwrap_or(0) }
    }
}

/// What is to be known of a file before it is rewritten.
#[derive(Default)]
struct Survey {
    memory: Option<MemoryType>,
    types: u32,
    imported_functions: u32,
    active_data: bool,
}

impl Survey {
    fn of(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut survey = Survey::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        survey.types += u32::try_from(group?.types().len()).unwrap_or(u32::MAX);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        match import.ty {
                            TypeRef::Memory(memory) if (import.module, import.name) == MEMORY_IMPORT => {
                                survey.memory = Some(memory);
                            }
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => survey.imported_functions += 1,
                            _ => {}
                        }
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        survey.active_data |= matches!(segment?.kind, DataKind::Active { .. });
                    }
                }
                _ => {}
            }
        }
        Ok(survey)
    }
}

/// Replaces the waits in a file that imports a shared memory. Any other is left as it is, also one that cannot be read.
///
/// # Errors
/// If it is no valid module, according to `validate`.
pub(crate) fn rewrite(
    wasm: &[u8],
    validate: impl FnOnce() -> Result<(), String>,
) -> Result<(Cow<'_, [u8]>, Option<Plan>), String> {
    let Ok(Survey { memory: Some(memory), types: types @ 1.., imported_functions, active_data }) =
        Survey::of(wasm)
    else {
        return Ok((wasm.into(), None));
    };
    if !memory.shared {
        return Ok((wasm.into(), None));
    }
    validate()?;
    let address = if memory.memory64 { ValType::I64 } else { ValType::I32 };
    let mut rewriter = Rewriter { types, imported: imported_functions, address, code: Vec::new() };
    let mut module = wasm_encoder::Module::new();
    let broken = |error: &dyn std::fmt::Display| format!("its waits cannot be replaced: {error}");
    rewriter.parse_core_module(&mut module, Parser::new(0), wasm).map_err(|error| broken(&error))?;
    let rewritten = module.finish();
    let origins = rewriter.origins(&rewritten).map_err(|error| broken(&error))?;
    Ok((rewritten.into(), Some(Plan { origins: Arc::new(origins), active_data })))
}

struct Rewriter {
    /// Types, and functions that are imported, before the added ones.
    types: u32,
    imported: u32,
    address: ValType,
    /// Of each function, the places within its body from which on code has moved by as much.
    code: Vec<Vec<Place>>,
}

type Encoded<T = ()> = Result<T, reencode::Error<Infallible>>;

impl Reencode for Rewriter {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Encoded<u32> {
        Ok(if function < self.imported { function } else { function + ADDED_IMPORTS as u32 })
    }

    fn parse_type_section(&mut self, types: &mut TypeSection, section: TypeSectionReader<'_>) -> Encoded {
        utils::parse_type_section(self, types, section)?;
        let address = self.address;
        types.ty().function([address, ValType::I32, ValType::I64, address], [ValType::I32]);
        types.ty().function([address, ValType::I64, ValType::I64, address], [ValType::I32]);
        types.ty().function([address, ValType::I32, address], [ValType::I32]);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Encoded {
        utils::parse_import_section(self, imports, section)?;
        for (nth, name) in ["wait32", "wait64", "notify"].into_iter().enumerate() {
            imports.import(ADDED_MODULE, name, EntityType::Function(self.types + nth as u32));
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Encoded {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut places: Vec<Place> = Vec::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, was) = operator?;
            let mut moved = |is: usize| {
                let goes_on = places.last().is_some_and(|last| is + last.was == was + last.is);
                if !goes_on {
                    places.push(Place { is, was });
                }
            };
            moved(function.byte_len());
            let (added, MemArg { offset, .. }) = match operator {
                Operator::MemoryAtomicWait32 { memarg } => (0, memarg),
                Operator::MemoryAtomicWait64 { memarg } => (1, memarg),
                Operator::MemoryAtomicNotify { memarg } => (2, memarg),
                other => {
                    function.instruction(&self.instruction(other)?);
                    continue;
                }
            };
            function.instruction(&match self.address {
                ValType::I64 => Instruction::I64Const(offset.cast_signed()),
                // As the file is valid, the offset is one of 32 bits.
                _ => Instruction::I32Const(offset as i32),
            });
            moved(function.byte_len());
            function.instruction(&Instruction::Call(self.imported + added));
        }
        code.function(&function);
        self.code.push(places);
        Ok(())
    }

    /// Nobody reads them on a device, and what they say of the code holds no more.
    fn parse_custom_section(
        &mut self,
        _: &mut wasm_encoder::Module,
        _: wasmtime::wasmparser::CustomSectionReader<'_>,
    ) -> Encoded {
        Ok(())
    }
}

impl Rewriter {
    /// With the bodies where they came to lie.
    fn origins(self, wasm: &[u8]) -> Result<Origins, BinaryReaderError> {
        let mut places = Vec::new();
        let mut code = self.code.into_iter();
        for payload in Parser::new(0).parse_all(wasm) {
            if let Payload::CodeSectionEntry(body) = payload? {
                let start = body.range().start;
                let moved = code.next().into_iter().flatten();
                places.extend(moved.map(|place| Place { is: start + place.is, ..place }));
            }
        }
        Ok(Origins { imported: self.imported, places })
    }
}

type Body = fn(&Member, &[Val]) -> Result<i32, Trap>;

/// What the added imports do, in their order.
pub(super) fn link<T: 'static>(store: &mut Store<T>, member: &Arc<Member>) -> Vec<Extern> {
    let bodies: [Body; ADDED_IMPORTS] = [wait32, wait64, notify];
    let imports = member.group.module.inner.imports();
    let declared = imports.len() - ADDED_IMPORTS;
    let added = imports.skip(declared).filter_map(|import| import.ty().func().cloned());
    added
        .zip(bodies)
        .map(|(ty, body)| {
            let member = Arc::clone(member);
            let function = Func::new(&mut *store, ty, move |_, args, results| {
                let answer = body(&member, args)?;
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(answer);
                }
                Ok(())
            });
            function.into()
        })
        .collect()
}

fn wait32(member: &Member, args: &[Val]) -> Result<i32, Trap> {
    let [address, Val::I32(expected), Val::I64(timeout_ns), offset] = args else {
        return Err(Trap::MemoryOutOfBounds);
    };
    let at = place(member, address, offset, 4)?;
    let is_expected = || member.group.cells.load_u32(at) == Some(expected.cast_unsigned());
    member.wait(at, is_expected, timeout(*timeout_ns)).map(|woken| woken as i32)
}

fn wait64(member: &Member, args: &[Val]) -> Result<i32, Trap> {
    let [address, Val::I64(expected), Val::I64(timeout_ns), offset] = args else {
        return Err(Trap::MemoryOutOfBounds);
    };
    let at = place(member, address, offset, 8)?;
    let is_expected = || member.group.cells.load_u64(at) == Some(expected.cast_unsigned());
    member.wait(at, is_expected, timeout(*timeout_ns)).map(|woken| woken as i32)
}

fn notify(member: &Member, args: &[Val]) -> Result<i32, Trap> {
    let [address, Val::I32(most), offset] = args else { return Err(Trap::MemoryOutOfBounds) };
    let at = place(member, address, offset, 4)?;
    Ok(member.group.parking.notify(at, most.cast_unsigned()).cast_signed())
}

/// Below zero there is none.
fn timeout(ns: i64) -> Option<Duration> {
    u64::try_from(ns).ok().map(Duration::from_nanos)
}

/// Where an instruction finds its number of so many bytes.
fn place(member: &Member, address: &Val, offset: &Val, bytes: usize) -> Result<usize, Trap> {
    let at = number(address).checked_add(number(offset)).and_then(|at| usize::try_from(at).ok());
    let at = at.ok_or(Trap::MemoryOutOfBounds)?;
    if !at.is_multiple_of(bytes) {
        return Err(Trap::HeapMisaligned);
    }
    let is_inside = at.checked_add(bytes).is_some_and(|end| end <= member.group.cells.len());
    if is_inside { Ok(at) } else { Err(Trap::MemoryOutOfBounds) }
}

/// An address of either width.
fn number(value: &Val) -> u64 {
    match value {
        Val::I32(value) => value.cast_unsigned().into(),
        Val::I64(value) => value.cast_unsigned(),
        _ => u64::MAX,
    }
}
