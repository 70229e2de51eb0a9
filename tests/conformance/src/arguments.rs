//! Arguments by what a parameter is called.

use wasmbed_abi::Call;

/// Where texts and bytes for calls lie.
pub(crate) const GIVEN_AT: i32 = 64;
/// What lies there: a name that is good as key, channel and path, and one of ROS 2 from its second byte on.
pub(crate) const GIVEN: &str = "a/a";
/// Where answers may be written.
pub(crate) const ANSWER_AT: i32 = 512;
/// How long they may be, in bytes.
const ANSWER_BYTES: i64 = 64;

fn argument(param: &str) -> i64 {
    match param {
        // Of ROS 2.
        "topic_ptr" | "name_ptr" => i64::from(GIVEN_AT) + 1,
        "topic_len" | "name_len" => 2,
        // A structure, of whatever is there.
        "command_len" => 48,
        _ if is_answer(param) && is_pointer(param) => ANSWER_AT.into(),
        _ if is_pointer(param) => GIVEN_AT.into(),
        _ if param.ends_with("cap") => ANSWER_BYTES,
        _ if param.ends_with("len") => 1,
        "level" => 1,
        "pin" => 4,
        "edges" => 3,
        "interval_ms" => 1_000,
        "altitude" => 5,
        // A temperature sensor's address, as far as a call has one.
        "address" => 0x48,
        _ => 0,
    }
}

/// What a hostile module gives for a parameter.
pub fn hostile(param: &str, memory_bytes: i32) -> Vec<i64> {
    let wild = [-1, i32::MIN, i32::MAX, memory_bytes, memory_bytes + 1];
    let mut values: Vec<i64> = wild.map(i64::from).into();
    if is_pointer(param) {
        values.push(i64::from(memory_bytes) - 1);
    }
    values
}

fn is_pointer(param: &str) -> bool {
    param.ends_with("ptr")
}

fn is_answer(param: &str) -> bool {
    param.starts_with("out") || param.starts_with("read")
}

/// The call's arguments as WebAssembly.
pub(crate) fn constants(call: Call, arguments: &[i64]) -> String {
    let types = call.signature().params.iter();
    types.zip(arguments).map(|(ty, value)| format!("({ty}.const {value}) ")).collect()
}

/// The arguments of a call that is to do its work.
pub fn good(call: Call) -> Vec<i64> {
    call.params().iter().map(|param| argument(param)).collect()
}

/// The call as an import named `$name`.
pub(crate) fn import(call: Call, from: &str) -> String {
    let signature = call.signature();
    let params: String = signature.params.iter().map(|ty| format!(" {ty}")).collect();
    let name = call.name();
    format!(r#"(import "{from}" "{name}" (func ${name} (param{params}) (result {})))"#, signature.results[0])
}

/// Makes the call and leaves its answer as 32 bits.
pub(crate) fn made(call: Call, arguments: &[i64]) -> String {
    let made = format!("(call ${} {})", call.name(), constants(call, arguments));
    match call.signature().results[0] {
        wasmbed_abi::ValueType::I32 => made,
        wasmbed_abi::ValueType::I64 => format!("(i32.wrap_i64 {made})"),
        wasmbed_abi::ValueType::F32 => format!("(i32.reinterpret_f32 {made})"),
    }
}
