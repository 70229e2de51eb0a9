//! What modules can ask of the device, and what bad arguments are answered with.

use crate::world::{Device, World, on_both};
use wasmbed_abi::{Call, Errno, ValueType};
use wasmbed_runtime::Instance;
use wasmbed_wire::{limits::Class, topic::Level};

const MEMORY: usize = 65536;

/// A module whose tick makes one call and stores its 32-bit answer at address 0.
fn calling(call: Call, args: &[i32], data: &str) -> String {
    let signature = call.signature();
    let list = |types: &[ValueType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let args = signature.params.iter().zip(args).map(|(ty, arg)| format!("({ty}.const {arg})"));
    let args: String = args.collect();
    format!(
        r#"(module
            (import "wasmbed" "{}" (func $call (param {}) (result {})))
            (memory (export "memory") 1 1)
            (data (i32.const 8) "{data}")
            (func (export "health") (result i32) (i32.load (i32.const 0)))
            (func (export "tick") (i32.store (i32.const 0) (call $call {args}))))"#,
        call.name(),
        list(signature.params),
        list(signature.results),
    )
}

/// What a call answers, with `data` at address 8.
pub(crate) fn answer(world: &World, call: Call, args: &[i32], data: &str) -> (i32, Instance<Device>) {
    let mut instance = world.run(&calling(call, args, data));
    instance.tick().expect("a call never traps");
    (instance.health().expect("reading the answer never traps"), instance)
}

#[test]
fn log_takes_a_line_with_its_level() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::Log, &[1, 8, 5], "hello").0, 0);
        assert_eq!(world.device.seen().log, [(Level::Warn, "hello".to_owned())]);
    });
}

#[test]
fn log_refuses_unknown_levels_and_what_is_not_text() {
    on_both(Class::Mcu, |world| {
        for args in [[4, 8, 5], [-1, 8, 5]] {
            assert_eq!(answer(&world, Call::Log, &args, "hello").0, Errno::Invalid.code());
        }
        assert_eq!(answer(&world, Call::Log, &[0, 8, 2], "\\ff\\fe").0, Errno::Invalid.code());
        assert_eq!(answer(&world, Call::Log, &[0, 8, 201], "").0, Errno::TooLong.code());
        assert!(world.device.seen().log.is_empty());
    });
}

#[test]
fn telemetry_carries_bytes_as_they_are() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::Telemetry, &[8, 4, 12, 3], "temp\\00\\ff\\80").0, 0);
        assert_eq!(world.device.seen().telemetry, [("temp".to_owned(), vec![0, 255, 128])]);
    });
}

#[test]
fn telemetry_refuses_what_is_not_a_channel() {
    on_both(Class::Mcu, |world| {
        for channel in ["Temp", "a/b", "te+p"] {
            let args = [8, channel.len() as i32, 8, 1];
            assert_eq!(answer(&world, Call::Telemetry, &args, channel).0, Errno::Invalid.code());
        }
        assert_eq!(answer(&world, Call::Telemetry, &[8, 0, 8, 1], "temp").0, Errno::Invalid.code());
        assert_eq!(answer(&world, Call::Telemetry, &[8, 33, 8, 1], "temp").0, Errno::Invalid.code());
        assert_eq!(answer(&world, Call::Telemetry, &[8, 4, 8, 1025], "temp").0, Errno::TooLong.code());
        assert!(world.device.seen().telemetry.is_empty());
    });
}

#[test]
fn uptime_is_all_64_bits_of_it() {
    on_both(Class::Mcu, |world| {
        let mut instance = world.run(
            r#"(module (import "wasmbed" "uptime_ms" (func $u (result i64)))
                (memory (export "memory") 0 0) (func (export "tick"))
                (func (export "health") (result i32) (i64.ne (call $u) (i64.const 0x1_0000_0001))))"#,
        );
        assert_eq!(instance.health(), Ok(0));
    });
}

#[test]
fn a_reading_is_written_little_endian_and_signed() {
    on_both(Class::Mcu, |world| {
        // At an odd address, and read back as one value.
        let mut instance = world.run(
            r#"(module (import "wasmbed" "sensor_read" (func $read (param i32 i32) (result i32)))
                (memory (export "memory") 1 1) (func (export "tick"))
                (func (export "health") (result i32)
                  (drop (call $read (i32.const 0) (i32.const 33)))
                  (i32.wrap_i64 (i64.load align=1 (i32.const 33)))))"#,
        );
        assert_eq!(instance.health(), Ok(-1500));
    });
}

#[test]
fn an_unknown_sensor_is_not_found() {
    on_both(Class::Mcu, |world| {
        for sensor in [-1, 1, 5, 32, i32::MAX] {
            assert_eq!(answer(&world, Call::SensorRead, &[sensor, 16], "").0, Errno::NotFound.code());
        }
        assert_eq!(answer(&world, Call::SensorRead, &[18, 16], "").0, 0);
    });
}

#[test]
fn pins_are_written_and_read() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::GpioWrite, &[5, 1], "").0, 0);
        assert_eq!(answer(&world, Call::GpioRead, &[5], "").0, 1);
        assert_eq!(answer(&world, Call::GpioWrite, &[5, 0], "").0, 0);
        assert_eq!(answer(&world, Call::GpioRead, &[5], "").0, 0);
        assert_eq!(answer(&world, Call::GpioRead, &[6], "").0, Errno::NotFound.code());
        assert_eq!(answer(&world, Call::GpioWrite, &[5, 2], "").0, Errno::Invalid.code());
        assert_eq!(answer(&world, Call::GpioWrite, &[-1, 1], "").0, Errno::Invalid.code());
        assert_eq!(answer(&world, Call::GpioRead, &[-1], "").0, Errno::Invalid.code());
    });
}

#[test]
fn settings_are_read_by_key_even_over_the_key() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::ConfigGet, &[8, 4, 8, 64], "name").0, 4);
        assert_eq!(answer(&world, Call::ConfigGet, &[8, 4, 8, 3], "name").0, Errno::NoSpace.code());
        assert_eq!(answer(&world, Call::ConfigGet, &[8, 4, 8, 64], "nope").0, Errno::NotFound.code());
        assert_eq!(answer(&world, Call::ConfigGet, &[8, 65, 8, 64], "name").0, Errno::TooLong.code());
        assert_eq!(answer(&world, Call::ConfigGet, &[8, 2, 8, 64], "\\ff\\fe").0, Errno::Invalid.code());
    });
}

#[test]
fn values_are_stored_found_and_forgotten() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::KvGet, &[8, 4, 8, 64], "name").0, Errno::NotFound.code());
        assert_eq!(answer(&world, Call::KvSet, &[8, 4, 12, 3], "name\\00\\ff\\80").0, 0);
        assert_eq!(world.device.seen().values["name"], [0, 255, 128]);
        assert_eq!(answer(&world, Call::KvGet, &[8, 4, 8, 64], "name").0, 3, "also over the key");
        assert_eq!(answer(&world, Call::KvGet, &[8, 4, 8, 2], "name").0, Errno::NoSpace.code());
        assert_eq!(answer(&world, Call::KvRemove, &[8, 4], "name").0, 0);
        assert_eq!(answer(&world, Call::KvRemove, &[8, 4], "name").0, Errno::NotFound.code());
    });
}

#[test]
fn keys_and_values_have_their_bounds() {
    on_both(Class::Mcu, |world| {
        assert_eq!(answer(&world, Call::KvSet, &[8, 64, 8, 4096], "").0, 0);
        assert_eq!(answer(&world, Call::KvSet, &[8, 65, 8, 1], "").0, Errno::TooLong.code());
        assert_eq!(answer(&world, Call::KvSet, &[8, 4, 8, 4097], "name").0, Errno::TooLong.code());
        for call in [Call::KvSet, Call::KvGet] {
            assert_eq!(answer(&world, call, &[8, 0, 8, 1], "name").0, Errno::Invalid.code());
            assert_eq!(answer(&world, call, &[8, 2, 8, 1], "\\ff\\fe").0, Errno::Invalid.code());
        }
        assert_eq!(answer(&world, Call::KvRemove, &[8, 0], "").0, Errno::Invalid.code());
    });
}

#[test]
fn the_interval_is_a_second_until_set_and_stays_in_range() {
    on_both(Class::Mcu, |world| {
        let (_, instance) = answer(&world, Call::GpioRead, &[0], "");
        assert_eq!(instance.interval_ms(), 1000);
        let (code, instance) = answer(&world, Call::TimerSet, &[250], "");
        assert_eq!((code, instance.interval_ms()), (0, 250));
        for interval in [0, 9, -1, 86_400_001] {
            let (code, instance) = answer(&world, Call::TimerSet, &[interval], "");
            assert_eq!((code, instance.interval_ms()), (Errno::Invalid.code(), 1000));
        }
    });
}

#[test]
fn bad_pointers_are_faults_and_never_traps() {
    on_both(Class::Mcu, |world| {
        let end = MEMORY as i32;
        for (ptr, len) in
            [(end, 1), (end - 3, 4), (-1, 1), (8, -1), (-8, -8), (i32::MIN, i32::MIN), (i32::MAX, i32::MAX)]
        {
            let fault = |call, args: &[i32]| {
                assert_eq!(answer(&world, call, args, "name").0, Errno::Fault.code(), "{call:?} {args:?}");
            };
            fault(Call::Log, &[0, ptr, len]);
            fault(Call::Telemetry, &[ptr, len, 8, 1]);
            fault(Call::Telemetry, &[8, 4, ptr, len]);
            fault(Call::KvGet, &[ptr, len, 8, 8]);
            fault(Call::KvGet, &[8, 4, ptr, len]);
            fault(Call::KvSet, &[ptr, len, 8, 8]);
            fault(Call::KvSet, &[8, 4, ptr, len]);
            fault(Call::KvRemove, &[ptr, len]);
            fault(Call::ConfigGet, &[ptr, len, 8, 8]);
            fault(Call::ConfigGet, &[8, 4, ptr, len]);
        }
        for ptr in [end, end - 7, -1, -8, i32::MIN, i32::MAX] {
            assert_eq!(answer(&world, Call::SensorRead, &[0, ptr], "").0, Errno::Fault.code(), "{ptr}");
        }
        assert_eq!(answer(&world, Call::SensorRead, &[0, end - 8], "").0, 0);
    });
}

#[test]
fn a_start_function_may_call_the_host() {
    on_both(Class::Mcu, |world| {
        world.run(
            r#"(module (import "wasmbed" "log" (func $log (param i32 i32 i32) (result i32)))
                (memory (export "memory") 1 1) (data (i32.const 8) "early") (func (export "tick"))
                (func $start (drop (call $log (i32.const 2) (i32.const 8) (i32.const 5)))) (start $start))"#,
        );
        assert_eq!(world.device.seen().log, [(Level::Info, "early".to_owned())]);
    });
}

#[test]
fn init_and_health_answer_what_the_module_says_or_zero() {
    on_both(Class::Mcu, |world| {
        let mut silent = world.run(r#"(module (memory (export "memory") 0 0) (func (export "tick")))"#);
        assert_eq!((silent.init(), silent.health()), (Ok(0), Ok(0)));
        let mut ill = world.run(
            r#"(module (memory (export "memory") 0 0) (func (export "tick"))
                (func (export "init") (result i32) (i32.const 7))
                (func (export "health") (result i32) (i32.const -7)))"#,
        );
        assert_eq!((ill.init(), ill.health()), (Ok(7), Ok(-7)));
    });
}
