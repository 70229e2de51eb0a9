//! Calls for buses: what reaches the host, and what bad arguments are answered with.

use wasmbed_abi::{Call, Errno, MAX_BUS_BYTES};
use wasmbed_wire::limits::Class;

use crate::{
    calls::answer,
    world::{World, on_both},
};

const MEMORY: i32 = 65536;

/// What a call answers and then what the module has at 8, where it had "abcd".
fn after(world: &World, call: Call, args: &[i32]) -> (i32, Vec<u8>) {
    let args: String = args.iter().map(|arg| format!("(i32.const {arg})")).collect();
    let params = "i32 ".repeat(call.signature().params.len());
    let mut instance = world.run(&format!(
        r#"(module
            (import "wasmbed" "{}" (func $call (param {params}) (result i32)))
            (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1 1) (data (i32.const 0) "m") (data (i32.const 8) "abcd")
            (global $answer (mut i32) (i32.const 0))
            (func (export "health") (result i32) (global.get $answer))
            (func (export "tick") (global.set $answer (call $call {args}))
                (drop (call $telemetry (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 8)))))"#,
        call.name()
    ));
    instance.tick().expect("a call never traps");
    let (_, memory) = world.device.seen().telemetry.pop().expect("the memory");
    (instance.health().expect("the answer"), memory)
}

#[test]
fn a_chip_is_written_and_read_also_in_the_same_place() {
    on_both(Class::Mcu, |world| {
        let i2c = |args: &[i32]| after(&world, Call::I2cTransfer, args);
        assert_eq!(i2c(&[1, 0x48, 8, 2, 12, 3]), (0, b"abcdbc\0\0".to_vec()));
        assert_eq!(i2c(&[1, 0x48, 8, 4, 9, 4]), (0, b"abcde\0\0\0".to_vec()));
        assert_eq!(i2c(&[1, 0x48, 8, 1, 8, 0]), (0, b"abcd\0\0\0\0".to_vec()));
        assert_eq!(i2c(&[1, 0x48, 8, 0, 8, 1]), (0, b"\0bcd\0\0\0\0".to_vec()));
        let spi = |args: &[i32]| after(&world, Call::SpiTransfer, args);
        assert_eq!(spi(&[2, 1, 8, 12, 2]), (0, b"abcdcd\0\0".to_vec()));
        assert_eq!(spi(&[2, 1, 8, 9, 4]), (0, b"acdef\0\0\0".to_vec()));
        assert_eq!(spi(&[2, 1, 9, 8, 3]), (0, b"defd\0\0\0\0".to_vec()));
    });
}

#[test]
fn buses_chips_and_lengths_have_their_bounds() {
    on_both(Class::Mcu, |world| {
        let i2c = |args: &[i32]| answer(&world, Call::I2cTransfer, args, "abcd").0;
        for bus in [0, 2, -1, i32::MIN] {
            assert_eq!(i2c(&[bus, 0x48, 8, 1, 8, 1]), Errno::NotFound.code(), "{bus}");
        }
        for address in [0, 7, 0x78, 0x7f, 0x80, 0x148, -1] {
            assert_eq!(i2c(&[1, address, 8, 1, 8, 1]), Errno::Invalid.code(), "{address}");
        }
        assert_eq!(i2c(&[1, 0x49, 8, 1, 8, 1]), Errno::Io.code());
        assert_eq!(i2c(&[1, 0x48, 8, 0, 8, 0]), Errno::Invalid.code());
        let most = MAX_BUS_BYTES as i32;
        assert_eq!(i2c(&[1, 0x48, 8, most, 8, most]), 0);
        assert_eq!(i2c(&[1, 0x48, 8, most + 1, 8, 1]), Errno::TooLong.code());
        assert_eq!(i2c(&[1, 0x48, 8, 1, 8, most + 1]), Errno::TooLong.code());
        let spi = |args: &[i32]| answer(&world, Call::SpiTransfer, args, "abcd").0;
        for (bus, chip_select) in [(0, 1), (2, 0), (-1, 1), (2, -1)] {
            assert_eq!(spi(&[bus, chip_select, 8, 8, 1]), Errno::NotFound.code());
        }
        assert_eq!(spi(&[2, 1, 8, 8, 0]), Errno::Invalid.code());
        assert_eq!(spi(&[2, 1, 8, 8, most]), 0);
        assert_eq!(spi(&[2, 1, 8, 8, most + 1]), Errno::TooLong.code());
    });
}

#[test]
fn bad_pointers_are_faults_and_never_traps() {
    on_both(Class::Mcu, |world| {
        for (ptr, len) in [(MEMORY, 1), (MEMORY - 3, 4), (-1, 1), (8, -1), (-8, -8), (i32::MIN, i32::MIN)] {
            for (call, args) in [
                (Call::I2cTransfer, [1, 0x48, ptr, len, 8, 1]),
                (Call::I2cTransfer, [1, 0x48, 8, 1, ptr, len]),
                (Call::SpiTransfer, [2, 1, ptr, 8, len, 0]),
                (Call::SpiTransfer, [2, 1, 8, ptr, len, 0]),
            ] {
                let args = &args[..call.signature().params.len()];
                assert_eq!(answer(&world, call, args, "abcd").0, Errno::Fault.code(), "{call:?} {args:?}");
            }
        }
    });
}

#[test]
fn time_on_a_bus_is_the_modules() {
    let world = World::new(crate::world::Path::Bytecode, Class::Mcu);
    // A hundred of the longest take seconds on a real bus.
    let mut instance = world.run(
        r#"(module (import "wasmbed" "i2c_transfer" (func $i2c (param i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1 1)
            (func (export "tick") (local $left i32) (local.set $left (i32.const 100))
              (loop $again
                (drop (call $i2c (i32.const 1) (i32.const 0x48) (i32.const 0) (i32.const 256) (i32.const 0)
                  (i32.const 256)))
                (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#,
    );
    assert!(
        instance.tick().is_err_and(|stopped| stopped.reason() == wasmbed_wire::message::Reason::TimedOut)
    );
}
