//! Values in test files, and those that modules return.

use wasmtime::{ExternRef, Result, Store, V128, Val, ValType};
use wast::{
    WastArg, WastRet,
    core::{NanPattern, V128Pattern, WastArgCore, WastRetCore},
    token::{F32, F64},
};

use crate::machine::error;

/// The quiet bit of a NaN, alone in its payload where the NaN is canonical.
const QUIET_F32: u32 = 1 << 22;
const QUIET_F64: u64 = 1 << 51;

/// A value to pass where a parameter has this type.
pub(crate) fn argument(store: &mut Store<()>, arg: &WastArg<'_>, ty: &ValType) -> Result<Val> {
    let WastArg::Core(arg) = arg else { return Err(error(format!("no argument of a module: {arg:?}"))) };
    Ok(match arg {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(V128::from(u128::from_le_bytes(value.to_le_bytes()))),
        WastArgCore::RefNull(_) => {
            Val::default_for_ty(ty).ok_or_else(|| error(format!("null is no value of {ty}")))?
        }
        WastArgCore::RefExtern(number) => Val::ExternRef(Some(ExternRef::new(store, *number)?)),
        WastArgCore::RefHost(_) => return Err(error("the runtime passes no references of hosts")),
    })
}

/// Whether a value is what a test expects.
pub(crate) fn matches(store: &Store<()>, value: &Val, expected: &WastRet<'_>) -> Result<bool> {
    match expected {
        WastRet::Core(expected) => matches_core(store, value, expected),
        _ => Err(error(format!("no result of a module: {expected:?}"))),
    }
}

fn matches_core(store: &Store<()>, value: &Val, expected: &WastRetCore<'_>) -> Result<bool> {
    Ok(match (value, expected) {
        (_, WastRetCore::Either(choices)) => {
            for choice in choices {
                if matches_core(store, value, choice)? {
                    return Ok(true);
                }
            }
            false
        }
        (Val::I32(value), WastRetCore::I32(expected)) => value == expected,
        (Val::I64(value), WastRetCore::I64(expected)) => value == expected,
        (Val::F32(value), WastRetCore::F32(expected)) => matches_f32(*value, expected),
        (Val::F64(value), WastRetCore::F64(expected)) => matches_f64(*value, expected),
        (Val::V128(value), WastRetCore::V128(expected)) => matches_v128(value.as_u128(), expected),
        (Val::FuncRef(None) | Val::ExternRef(None) | Val::AnyRef(None), WastRetCore::RefNull(_)) => true,
        (Val::FuncRef(Some(_)), WastRetCore::RefFunc(None)) => true,
        (Val::ExternRef(Some(_)), WastRetCore::RefExtern(None)) => true,
        (Val::ExternRef(Some(value)), WastRetCore::RefExtern(Some(expected))) => {
            value.data(store)?.and_then(|data| data.downcast_ref::<u32>()) == Some(expected)
        }
        _ => false,
    })
}

fn matches_f32(bits: u32, expected: &NanPattern<F32>) -> bool {
    let magnitude = bits & !(1 << 31);
    match expected {
        NanPattern::CanonicalNan => magnitude == f32::INFINITY.to_bits() | QUIET_F32,
        NanPattern::ArithmeticNan => f32::from_bits(bits).is_nan() && bits & QUIET_F32 != 0,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn matches_f64(bits: u64, expected: &NanPattern<F64>) -> bool {
    let magnitude = bits & !(1 << 63);
    match expected {
        NanPattern::CanonicalNan => magnitude == f64::INFINITY.to_bits() | QUIET_F64,
        NanPattern::ArithmeticNan => f64::from_bits(bits).is_nan() && bits & QUIET_F64 != 0,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn matches_v128(value: u128, expected: &V128Pattern) -> bool {
    match expected {
        V128Pattern::I8x16(lanes) => lanes_match(value, 8, lanes, |lane, want| lane as i8 == *want),
        V128Pattern::I16x8(lanes) => lanes_match(value, 16, lanes, |lane, want| lane as i16 == *want),
        V128Pattern::I32x4(lanes) => lanes_match(value, 32, lanes, |lane, want| lane as i32 == *want),
        V128Pattern::I64x2(lanes) => lanes_match(value, 64, lanes, |lane, want| lane as i64 == *want),
        V128Pattern::F32x4(lanes) => {
            lanes_match(value, 32, lanes, |lane, want| matches_f32(lane as u32, want))
        }
        V128Pattern::F64x2(lanes) => {
            lanes_match(value, 64, lanes, |lane, want| matches_f64(lane as u64, want))
        }
    }
}

/// Compares lane by lane; the first is in the lowest bits.
fn lanes_match<T>(value: u128, bits: usize, lanes: &[T], is: impl Fn(u128, &T) -> bool) -> bool {
    lanes.iter().enumerate().all(|(index, want)| is(value >> (index * bits), want))
}
