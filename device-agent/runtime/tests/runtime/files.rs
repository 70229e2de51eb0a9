//! Calls for files: what reaches the host, and what bad arguments are answered with.

use wasmbed_abi::{Call, Errno, FilePath, MAX_FILE_CALL_BYTES, MAX_PATH_BYTES, ValueType};
use wasmbed_wire::limits::Class;

use crate::world::{World, on_both};

const MEMORY: i64 = 65536;
/// In memory at 8.
const TEXT: &str = "a/b c/d../x hello";

/// What a call answers to a module of two pages, with "a/b c/d../x hello" at 8.
fn answer(world: &World, call: Call, args: &[i64]) -> i64 {
    let signature = call.signature();
    let types = |types: &[ValueType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let args: String =
        signature.params.iter().zip(args).map(|(ty, arg)| format!("({ty}.const {arg})")).collect();
    let call_it = format!("(call $call {args})");
    let wide = signature.results == [ValueType::I64];
    let answer = if wide { call_it } else { format!("(i64.extend_i32_s {call_it})") };
    let mut instance = world.run(&format!(
        r#"(module
            (import "wasmbed" "{}" (func $call (param {}) (result {})))
            (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2 2)
            (data (i32.const 8) "{TEXT}") (data (i32.const 100) "answer")
            (func (export "tick")
                (i64.store (i32.const 200) {answer})
                (drop (call $telemetry (i32.const 100) (i32.const 6) (i32.const 200) (i32.const 8)))))"#,
        call.name(),
        types(signature.params),
        types(signature.results),
    ));
    instance.tick().expect("a call never traps");
    let (_, answer) = world.device.seen().telemetry.pop().expect("the answer");
    i64::from_le_bytes(answer.try_into().expect("eight bytes"))
}

fn code(errno: Errno) -> i64 {
    errno.code().into()
}

#[test]
fn files_are_written_read_measured_and_cut() {
    on_both(Class::Mpu, |world| {
        let answer = |call, args: &[i64]| answer(&world, call, args);
        assert_eq!(answer(Call::FileWrite, &[8, 3, 4, 20, 5]), 0);
        assert_eq!(world.device.seen().files["a/b"], *b"\0\0\0\0hello");
        assert_eq!(answer(Call::FileSize, &[8, 3]), 9);
        assert_eq!(answer(Call::FileSize, &[8, 1]), code(Errno::NotFound));
        assert_eq!(answer(Call::FileRead, &[8, 3, 4, 8, 64]), 5, "also over the path");
        assert_eq!(answer(Call::FileRead, &[8, 3, 9, 8, 64]), 0);
        assert_eq!(answer(Call::FileRead, &[8, 3, 0, 8, 0]), 0);
        assert_eq!(answer(Call::FileTruncate, &[8, 3, 2]), 0);
        assert_eq!(answer(Call::FileList, &[0, 64, 3]), 3);
        assert_eq!(answer(Call::FileList, &[0, 64, 2]), code(Errno::NoSpace));
        assert_eq!(answer(Call::FileList, &[1, 64, 3]), code(Errno::NotFound));
        assert_eq!(answer(Call::FileRename, &[8, 3, 8, 1]), 0);
        assert_eq!(answer(Call::FileRemove, &[8, 3]), code(Errno::NotFound));
        assert_eq!(answer(Call::FileRemove, &[8, 1]), 0);
    });
}

#[test]
fn paths_lead_nowhere_else() {
    on_both(Class::Mpu, |world| {
        // "c/d../x" is a path, "../x" and "/b" are none.
        assert_eq!(answer(&world, Call::FileWrite, &[12, 7, 0, 20, 1]), 0);
        for (ptr, len) in [(15, 2), (15, 4), (9, 2), (8, 2), (8, 0)] {
            for call in
                [Call::FileRead, Call::FileWrite, Call::FileSize, Call::FileTruncate, Call::FileRemove]
            {
                assert_eq!(
                    answer(&world, call, &[ptr, len, 0, 64, 1]),
                    code(Errno::Invalid),
                    "{call:?} {ptr} {len}"
                );
            }
            for args in [[ptr, len, 8, 3], [8, 3, ptr, len]] {
                assert_eq!(answer(&world, Call::FileRename, &args), code(Errno::Invalid), "{args:?}");
            }
        }
        assert_eq!(world.device.seen().files.len(), 1);
        assert!(FilePath::parse(b"../x").is_err());
    });
}

#[test]
fn lengths_offsets_and_numbers_have_their_bounds() {
    on_both(Class::Mpu, |world| {
        let answer = |call, args: &[i64]| answer(&world, call, args);
        let (most, path) = (MAX_FILE_CALL_BYTES as i64, MAX_PATH_BYTES as i64);
        assert_eq!(answer(Call::FileWrite, &[8, 3, 0, 8, most]), 0);
        assert_eq!(answer(Call::FileWrite, &[8, 3, 0, 8, most + 1]), code(Errno::TooLong));
        assert_eq!(answer(Call::FileWrite, &[8, 3, most, 8, 10]), 0);
        assert_eq!(answer(Call::FileRead, &[8, 3, 0, 300, 2 * MEMORY - 300]), most, "so much at once");
        assert_eq!(answer(Call::FileWrite, &[8, path + 1, 0, 8, 1]), code(Errno::TooLong));
        for offset in [-1, i64::MIN] {
            assert_eq!(answer(Call::FileWrite, &[8, 3, offset, 8, 1]), code(Errno::Invalid));
            assert_eq!(answer(Call::FileRead, &[8, 3, offset, 8, 1]), code(Errno::Invalid));
            assert_eq!(answer(Call::FileTruncate, &[8, 3, offset]), code(Errno::Invalid));
        }
        assert_eq!(answer(Call::FileWrite, &[8, 3, i64::MAX, 8, 1]), code(Errno::NoSpace));
        assert_eq!(answer(Call::FileRead, &[8, 3, i64::MAX, 8, 1]), 0);
        assert_eq!(answer(Call::FileList, &[-1, 8, 64]), code(Errno::Invalid));
    });
}

#[test]
fn bad_pointers_are_faults_and_never_traps() {
    on_both(Class::Mpu, |world| {
        let end = 2 * MEMORY;
        for (ptr, len) in [(end, 1), (end - 3, 4), (-1, 1), (8, -1), (-8, -8), (1 << 31, 1 << 31)] {
            let (ptr, len) = (i64::from(ptr as i32), i64::from(len));
            for (call, args) in [
                (Call::FileRead, &[ptr, len, 0, 64, 8][..]),
                (Call::FileRead, &[8, 3, 0, ptr, len]),
                (Call::FileWrite, &[ptr, len, 0, 64, 8]),
                (Call::FileWrite, &[8, 3, 0, ptr, len]),
                (Call::FileSize, &[ptr, len]),
                (Call::FileTruncate, &[ptr, len, 0]),
                (Call::FileRemove, &[ptr, len]),
                (Call::FileRename, &[ptr, len, 8, 3]),
                (Call::FileRename, &[8, 3, ptr, len]),
                (Call::FileList, &[0, ptr, len]),
            ] {
                assert_eq!(answer(&world, call, args), code(Errno::Fault), "{call:?} {args:?}");
            }
        }
        assert!(world.device.seen().files.is_empty());
    });
}

#[test]
fn boards_have_no_files() {
    for class in [Class::Mcu, Class::Riscv] {
        let world = World::new(crate::world::Path::Bytecode, class);
        let loaded = world.load(
            r#"(module (import "wasmbed" "file_remove" (func (param i32 i32) (result i32)))
                (memory (export "memory") 0 0) (func (export "tick")))"#,
        );
        let refusal = loaded.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refusal.contains("files"), "{class}: {refusal}");
    }
}
