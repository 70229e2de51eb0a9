//! Calls for security: what they answer, and what they answer to modules that mean no good.

use crate::world::{Path, World, on_both};
use wasmbed_abi::{Call, Errno, SEAL_BYTES};
use wasmbed_wire::{limits::Class, message::Reason};

/// "abc" lies at 8; 32 bytes and more are free from 64 on.
const TEXT: &str = "abc";
/// SHA-256 of "abc": FIPS 180-4, appendix B.1 of its predecessor.
const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// RFC 8032, section 7.1, test 3.
const PUBLIC: &str = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
const SIGNATURE: &str = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";

/// The calls a test makes one after the other, and what to begin with in memory.
struct Script(Vec<(Call, Vec<i32>)>, String);

impl Script {
    /// The answers, and then the first KiB of memory: the module publishes it.
    fn run(&self, world: &World) -> (Vec<i32>, Vec<u8>) {
        let show = (Call::Telemetry, vec![1000, 1, 0, 1024]);
        let mut used: Vec<Call> = self.0.iter().chain([&show]).map(|(call, _)| *call).collect();
        used.sort_by_key(|call| call.name());
        used.dedup();
        let imports: String = used
            .iter()
            .map(|call| {
                let params = "i32 ".repeat(call.signature().params.len());
                let name = call.name();
                format!("(import \"wasmbed\" \"{name}\" (func ${name} (param {params}) (result i32)))")
            })
            .collect();
        let calls: String = self
            .0
            .iter()
            .chain([&show])
            .enumerate()
            .map(|(nth, (call, args))| {
                let args: String = args.iter().map(|arg| format!("(i32.const {arg})")).collect();
                format!("(i32.store (i32.const {}) (call ${} {args}))", 1024 + 4 * nth, call.name())
            })
            .collect();
        let data = &self.1;
        let mut instance = world.run(&format!(
            r#"(module {imports} (memory (export "memory") 1 1) {data} (data (i32.const 1000) "m")
                (global $at (mut i32) (i32.const 1024))
                (func (export "init") (result i32) {calls} (i32.const 0))
                (func (export "tick"))
                (func (export "health") (result i32)
                  (global.set $at (i32.add (global.get $at) (i32.const 4)))
                  (i32.load (i32.sub (global.get $at) (i32.const 4)))))"#
        ));
        assert_eq!(instance.init(), Ok(0), "a call never traps");
        let answers = self.0.iter().map(|_| instance.health().expect("an answer")).collect();
        let (_, memory) = world.device.seen().telemetry.pop().expect("what the module published");
        (answers, memory)
    }
}

fn data(at: u32, hex: &str) -> String {
    let bytes: String = (0..hex.len())
        .step_by(2)
        .filter_map(|nth| hex.get(nth..nth + 2))
        .map(|byte| format!("\\{byte}"))
        .collect();
    format!("(data (i32.const {at}) \"{bytes}\")")
}

fn text() -> String {
    format!("(data (i32.const 8) \"{TEXT}\")")
}

fn keeping_secrets(world: &World) {
    world.device.seen().secret = Some([7; 32]);
}

fn digest_of(at: i32, len: i32, out: i32) -> (Call, Vec<i32>) {
    (Call::Sha256, vec![at, len, out])
}

#[test]
fn a_digest_is_the_standards() {
    on_both(Class::Riscv, |world| {
        let (answers, memory) = Script(vec![digest_of(8, 3, 64)], text()).run(&world);
        assert_eq!(answers, [0]);
        assert_eq!(hex(&memory[64..96]), DIGEST);
    });
}

#[test]
fn a_signature_is_checked_as_the_standard_does() {
    on_both(Class::Riscv, |world| {
        let given = [data(8, "af82"), data(100, PUBLIC), data(200, SIGNATURE)].concat();
        let check = |len, public, signature| (Call::Ed25519Verify, vec![public, 8, len, signature]);
        let calls = vec![check(2, 100, 200), check(1, 100, 200), check(2, 101, 200), check(2, 100, 201)];
        let (answers, _) = Script(calls, given).run(&world);
        assert_eq!(answers, [0, Errno::Forged.code(), Errno::Forged.code(), Errno::Forged.code()]);
    });
}

#[test]
fn what_a_key_signed_is_its_own_and_no_other_keys() {
    on_both(Class::Riscv, |world| {
        keeping_secrets(&world);
        let calls = vec![
            (Call::Ed25519Public, vec![0, 100]),
            (Call::Ed25519Public, vec![1, 140]),
            (Call::Ed25519Sign, vec![0, 8, 3, 200]),
            (Call::Ed25519Verify, vec![100, 8, 3, 200]),
            (Call::Ed25519Verify, vec![140, 8, 3, 200]),
        ];
        assert_eq!(Script(calls, text()).run(&world).0, [0, 0, 0, 0, Errno::Forged.code()]);
    });
}

#[test]
fn an_authentication_code_depends_on_key_and_bytes() {
    on_both(Class::Riscv, |world| {
        keeping_secrets(&world);
        let code = |key, len, out| (Call::HmacSha256, vec![key, 8, len, out]);
        let calls = vec![code(0, 3, 100), code(0, 3, 140), code(1, 3, 180), code(0, 2, 220)];
        let (answers, memory) = Script(calls, text()).run(&world);
        assert_eq!(answers, [0; 4]);
        let codes = [100, 140, 180, 220].map(|at| &memory[at..at + 32]);
        assert_eq!(codes[0], codes[1]);
        assert!(codes[0] != codes[2] && codes[0] != codes[3], "{codes:?}");
    });
}

#[test]
fn what_was_sealed_is_opened_with_its_key_and_data_only() {
    on_both(Class::Riscv, |world| {
        keeping_secrets(&world);
        let sealed_len = 3 + SEAL_BYTES as i32;
        let open = |key, aad_len, len, out| (Call::Open, vec![key, 40, aad_len, 100, len, out, 3]);
        let calls = vec![
            (Call::Seal, vec![0, 40, 2, 8, 3, 100, 64]),
            (Call::Seal, vec![0, 40, 2, 8, 3, 150, 64]),
            open(0, 2, sealed_len, 200),
            open(1, 2, sealed_len, 210),
            open(0, 1, sealed_len, 210),
            open(0, 2, sealed_len - 1, 210),
            open(0, 2, 27, 210),
            (Call::Open, vec![0, 40, 2, 100, sealed_len, 210, 2]),
            (Call::Seal, vec![0, 40, 2, 8, 3, 100, sealed_len - 1]),
        ];
        let (answers, memory) = Script(calls, text()).run(&world);
        let (forged, no_space) = (Errno::Forged.code(), Errno::NoSpace.code());
        assert_eq!(answers, [sealed_len, sealed_len, 3, forged, forged, forged, forged, no_space, no_space]);
        assert_ne!(memory[100..131], memory[150..181], "the nonce is another each time");
        assert_eq!(memory[200..203], *b"abc");
        assert_eq!(memory[210..213], [0; 3], "nothing of what was not authentic");
    });
}

#[test]
fn places_may_overlap() {
    on_both(Class::Riscv, |world| {
        keeping_secrets(&world);
        for out in 0..40 {
            let calls = vec![
                (Call::Seal, vec![0, 8, 3, 8, 3, out, 64]),
                (Call::Open, vec![0, 500, 3, out, 3 + SEAL_BYTES as i32, out + 5, 64]),
                digest_of(out + 5, 3, 200),
            ];
            // The data that is authenticated may be overwritten too: its copy is used.
            let (answers, memory) = Script(calls, text() + &data(500, "616263")).run(&world);
            assert_eq!(answers, [31, 3, 0], "{out}");
            assert_eq!(hex(&memory[200..232]), DIGEST, "{out}");
        }
    });
}

#[test]
fn a_device_without_secrets_says_so_and_other_keys_are_not_found() {
    on_both(Class::Riscv, |world| {
        let calls = vec![(Call::Ed25519Public, vec![0, 100]), (Call::Ed25519Public, vec![8, 100])];
        let (answers, _) = Script(calls, String::new()).run(&world);
        assert_eq!(answers, [Errno::Unsupported.code(), Errno::NotFound.code()]);
        keeping_secrets(&world);
        let calls = vec![(Call::HmacSha256, vec![-1, 8, 3, 100]), (Call::Seal, vec![8, 8, 0, 8, 3, 100, 64])];
        assert_eq!(Script(calls, String::new()).run(&world).0, [Errno::NotFound.code(); 2]);
    });
}

#[test]
fn bad_pointers_and_lengths_are_answered_and_never_trap() {
    on_both(Class::Riscv, |world| {
        keeping_secrets(&world);
        let end = 65536;
        for (ptr, len) in [(end, 1), (end - 3, 4), (-1, 1), (8, -1), (-8, -8), (i32::MIN, i32::MIN)] {
            let calls = vec![
                (Call::Sha256, vec![ptr, len, 64]),
                (Call::HmacSha256, vec![0, ptr, len, 64]),
                (Call::Seal, vec![0, ptr, len, 8, 3, 64, 64]),
                (Call::Seal, vec![0, 8, 3, ptr, len, 64, 64]),
                (Call::Seal, vec![0, 8, 3, 8, 3, ptr, len]),
                (Call::Open, vec![0, ptr, len, 8, 40, 64, 64]),
                (Call::Open, vec![0, 8, 3, ptr, len, 64, 64]),
                (Call::Open, vec![0, 8, 3, 8, 40, ptr, len]),
                (Call::Ed25519Sign, vec![0, ptr, len, 64]),
                (Call::Ed25519Verify, vec![64, ptr, len, 64]),
                (Call::Random, vec![ptr, len]),
            ];
            let count = calls.len();
            assert_eq!(
                Script(calls, String::new()).run(&world).0,
                vec![Errno::Fault.code(); count],
                "{ptr} {len}"
            );
        }
        for ptr in [end, end - 31, -1, i32::MIN] {
            let calls = vec![
                (Call::Sha256, vec![8, 3, ptr]),
                (Call::HmacSha256, vec![0, 8, 3, ptr]),
                (Call::Ed25519Public, vec![0, ptr]),
                (Call::Ed25519Sign, vec![0, 8, 3, ptr]),
                (Call::Ed25519Verify, vec![ptr, 8, 3, 64]),
                (Call::Ed25519Verify, vec![64, 8, 3, ptr]),
            ];
            let count = calls.len();
            assert_eq!(Script(calls, String::new()).run(&world).0, vec![Errno::Fault.code(); count], "{ptr}");
        }
    });
}

#[test]
fn a_call_has_time_for_four_signatures_however_slow_the_interpreter_is() {
    let signing = |times: u32| {
        format!(
            r#"(module (import "wasmbed" "ed25519_sign" (func $sign (param i32 i32 i32 i32) (result i32)))
                (memory (export "memory") 1 1)
                (func (export "tick") (local $left i32) (local.set $left (i32.const {times}))
                  (loop $again
                    (drop (call $sign (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 64)))
                    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#
        )
    };
    for fuel_per_ms in [50, 500, 50_000] {
        let world = World::new(Path::Bytecode, Class::Riscv);
        keeping_secrets(&world);
        world.runtime.set_fuel_per_ms(fuel_per_ms);
        assert_eq!(world.run(&signing(4)).tick(), Ok(()), "at {fuel_per_ms} fuel a millisecond");
        let stopped = world.run(&signing(6)).tick().expect_err("stopped");
        assert_eq!(stopped.reason(), Reason::TimedOut, "{stopped} at {fuel_per_ms} fuel a millisecond");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
