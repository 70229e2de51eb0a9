//! What one function does, as far as rules are about it.

use std::collections::BTreeSet;

use wasmparser::{
    BinaryReaderError, FuncValidator, FunctionBody, MemArg, Operator, ValType, ValidatorResources,
};

/// Bytes of stack a call takes besides locals and operands: the return address, the caller's frame, and what
/// the compiler adds for its own values.
const CALL_BYTES: u64 = 64;
/// Bytes of stack of one local or operand.
const VALUE_BYTES: u64 = 8;
/// The same in functions with vectors.
const VECTOR_BYTES: u64 = 16;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    /// The function with this index.
    Function(u32),
    /// Any function of the type with this index that something refers to.
    OfType(u32),
}

#[derive(Default)]
pub(super) struct Function {
    /// Stack one call of it may take, in bytes: a compiler keeps most of its values in registers.
    pub(super) frame_bytes: u64,
    /// What it may call.
    pub(super) calls: BTreeSet<Callee>,
    /// What it calls whenever it is called, as nothing before decides otherwise.
    pub(super) always: BTreeSet<u32>,
    pub(super) has_loop: bool,
    /// Accesses to memory of more than a byte.
    pub(super) accesses: u32,
    /// Accesses to memory that are declared with less than their natural alignment.
    pub(super) misaligned: u32,
    /// Targets of its largest `br_table`.
    pub(super) targets: u32,
    pub(super) instructions: u32,
    /// Instructions that read the local that the one before them wrote: optimisers leave none.
    pub(super) detours: u32,
}

/// What is remembered from one instruction to the next.
#[derive(Default)]
struct Scan {
    /// Whether something before decides if what follows is executed.
    decided: bool,
    /// The local that the last instruction wrote.
    written: Option<u32>,
    operands: u32,
    vectors: bool,
}

impl Function {
    /// Notes what a function of a valid file does; functions it refers to are added to `referred`.
    pub(super) fn read(
        validator: &mut FuncValidator<ValidatorResources>,
        body: &FunctionBody<'_>,
        referred: &mut BTreeSet<u32>,
    ) -> Result<Self, BinaryReaderError> {
        validator.read_locals(&mut body.get_binary_reader())?;
        let (mut function, mut scan) = (Function::default(), Scan::default());
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            // Only for the height of the stack of operands.
            validator.op(offset, &operator)?;
            scan.operands = scan.operands.max(validator.operand_stack_height());
            scan.vectors |= validator.get_operand_type(0) == Some(Some(ValType::V128));
            function.note(validator.index(), &operator, &mut scan, referred);
        }
        let locals = validator.len_locals();
        scan.vectors |= (0..locals).any(|local| validator.get_local_type(local) == Some(ValType::V128));
        let value_bytes = if scan.vectors { VECTOR_BYTES } else { VALUE_BYTES };
        function.frame_bytes = CALL_BYTES + (u64::from(locals) + u64::from(scan.operands)) * value_bytes;
        Ok(function)
    }

    fn note(&mut self, own: u32, operator: &Operator<'_>, scan: &mut Scan, referred: &mut BTreeSet<u32>) {
        self.instructions = self.instructions.saturating_add(1);
        let written = scan.written.take();
        match operator {
            Operator::LocalSet { local_index } => scan.written = Some(*local_index),
            Operator::LocalGet { local_index } => self.detours += u32::from(written == Some(*local_index)),
            Operator::Call { function_index } => {
                self.calls.insert(Callee::Function(*function_index));
                if !scan.decided {
                    self.always.insert(*function_index);
                }
            }
            // A function that ends by calling itself again needs no more stack.
            Operator::ReturnCall { function_index } if *function_index == own => {}
            Operator::ReturnCall { function_index } => {
                self.calls.insert(Callee::Function(*function_index));
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => {
                self.calls.insert(Callee::OfType(*type_index));
            }
            Operator::RefFunc { function_index } => {
                referred.insert(*function_index);
            }
            Operator::Loop { .. } => self.has_loop = true,
            Operator::BrTable { targets } => self.targets = self.targets.max(targets.len()),
            _ => {}
        }
        scan.decided |= decides(operator);
        if let Some(access) = access(operator) {
            self.accesses = self.accesses.saturating_add(1);
            self.misaligned += u32::from(access.align < access.max_align);
        }
    }
}

/// Whether what follows may not be executed because of this instruction. Traps do not count: a function that
/// traps does not return either.
fn decides(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::If { .. }
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::Unreachable
            // Of features that no class has: everything else may come after these.
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::Rethrow { .. }
            | Operator::TryTable { .. }
            | Operator::Try { .. }
    )
}

/// Where an instruction reads or writes more than a byte; atomic ones are aligned in a valid file.
fn access(operator: &Operator<'_>) -> Option<MemArg> {
    Some(match operator {
        Operator::I32Load { memarg }
        | Operator::I64Load { memarg }
        | Operator::F32Load { memarg }
        | Operator::F64Load { memarg }
        | Operator::I32Load16S { memarg }
        | Operator::I32Load16U { memarg }
        | Operator::I64Load16S { memarg }
        | Operator::I64Load16U { memarg }
        | Operator::I64Load32S { memarg }
        | Operator::I64Load32U { memarg }
        | Operator::I32Store { memarg }
        | Operator::I64Store { memarg }
        | Operator::F32Store { memarg }
        | Operator::F64Store { memarg }
        | Operator::I32Store16 { memarg }
        | Operator::I64Store16 { memarg }
        | Operator::I64Store32 { memarg }
        | Operator::V128Load { memarg }
        | Operator::V128Store { memarg } => *memarg,
        _ => return None,
    })
}
