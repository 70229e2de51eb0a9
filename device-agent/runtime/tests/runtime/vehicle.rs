//! Calls about vehicles: what reaches the host, and what bad arguments are answered with.

use wasmbed_abi::{Call, Errno, NO_FRAME, ParameterName, VehicleCommand};
use wasmbed_wire::limits::Class;

use crate::{
    calls::answer,
    world::{World, on_both},
};

const MEMORY: i32 = 65536;

#[test]
fn commands_reach_the_vehicle_and_have_a_result() {
    on_both(Class::Mcu, |world| {
        let ask = |call, args: &[i32]| answer(&world, call, args, "").0;
        assert_eq!(ask(Call::VehicleCommandResult, &[0]), Errno::NotFound.code());
        assert_eq!(ask(Call::ArmVehicle, &[0]), 0);
        assert_eq!(ask(Call::DisarmVehicle, &[1]), 1);
        assert_eq!(ask(Call::Land, &[1]), 2);
        assert_eq!(ask(Call::Takeoff, &[0, 5]), 3);
        let given = VehicleCommand { param6: -0.5, component: 2, ..VehicleCommand::arm(1, true) };
        let text: String = given.encode().iter().map(|byte| format!("\\{byte:02x}")).collect();
        assert_eq!(answer(&world, Call::SendVehicleCommand, &[8, 48], &text).0, 4);
        assert_eq!(ask(Call::VehicleCommandResult, &[0]), Errno::TimedOut.code());
        assert_eq!(ask(Call::VehicleCommandResult, &[4]), 3);
        let commands = world.device.seen().commands.clone();
        assert_eq!(commands[..2], [VehicleCommand::arm(0, true), VehicleCommand::arm(1, false)]);
        assert_eq!((commands[2].command, commands[2].frame), (21, NO_FRAME));
        assert!(commands[2].param5.is_nan() && commands[2].param4.is_nan(), "where it is, as it is turned");
        assert_eq!((commands[3].command, commands[3].param7), (22, 5.0));
        assert_eq!(commands[4], given);
    });
}

#[test]
fn what_is_no_vehicle_altitude_or_command_does_not_reach_the_host() {
    on_both(Class::Mcu, |world| {
        let ask = |call, args: &[i32]| answer(&world, call, args, "").0;
        for vehicle in [-1, 256, i32::MIN, i32::MAX] {
            for call in [Call::ArmVehicle, Call::DisarmVehicle, Call::Land] {
                assert_eq!(ask(call, &[vehicle]), Errno::Invalid.code(), "{call:?} {vehicle}");
            }
            assert_eq!(ask(Call::Takeoff, &[vehicle, 5]), Errno::Invalid.code());
            assert_eq!(ask(Call::GetVehicleStatus, &[vehicle, 8, 64]), Errno::Invalid.code());
        }
        assert_eq!(ask(Call::ArmVehicle, &[2]), Errno::NotFound.code());
        for altitude in [0, -5] {
            assert_eq!(ask(Call::Takeoff, &[0, altitude]), Errno::Invalid.code());
        }
        for altitude in ["nan", "inf", "-inf", "-0"] {
            let text = format!(
                r#"(module (import "wasmbed" "takeoff" (func $takeoff (param i32 f32) (result i32)))
                (memory (export "memory") 1 1) (func (export "tick"))
                (func (export "health") (result i32) (call $takeoff (i32.const 0) (f32.const {altitude}))))"#
            );
            assert_eq!(world.run(&text).health(), Ok(Errno::Invalid.code()), "{altitude}");
        }
        for len in [0, 47, 49, 1000] {
            assert_eq!(ask(Call::SendVehicleCommand, &[8, len]), Errno::Invalid.code(), "{len}");
        }
        for (ptr, len) in [(MEMORY - 47, 48), (-1, 48), (8, -1), (i32::MIN, i32::MIN)] {
            assert_eq!(ask(Call::SendVehicleCommand, &[ptr, len]), Errno::Fault.code());
        }
        for ticket in [-1, i32::MIN, i32::MAX] {
            assert_eq!(ask(Call::VehicleCommandResult, &[ticket]), Errno::NotFound.code());
        }
        assert!(world.device.seen().commands.is_empty());
    });
}

#[test]
fn a_parameter_is_asked_for_by_a_name_and_written_where_it_fits() {
    on_both(Class::Mcu, |world| {
        let ask = |args: [i32; 5], name: &str| answer(&world, Call::GetVehicleParameter, &args, name).0;
        let name = "SYS_AUTOSTART";
        for vehicle in [-1, 256] {
            assert_eq!(ask([vehicle, 8, 13, 100, 16], name), Errno::Invalid.code());
        }
        for len in [0, 14, 17] {
            assert_eq!(ask([1, 8, len, 100, 16], name), Errno::Invalid.code(), "{len}");
        }
        assert_eq!(ask([1, 8, 13, 100, 15], name), Errno::NoSpace.code());
        for (ptr, len) in [(MEMORY - 3, 16), (-1, 16), (8, -1), (i32::MIN, i32::MIN)] {
            assert_eq!(ask([1, ptr, len.min(13), 100, 16], name), Errno::Fault.code());
            assert_eq!(ask([1, 8, 13, ptr, len], name), Errno::Fault.code());
        }
        assert!(world.device.seen().parameters.is_empty(), "none of them asks a vehicle");

        assert_eq!(ask([1, 8, 13, 100, 16], name), Errno::Busy.code());
        assert_eq!(ask([1, 8, 13, 100, 16], name), 16);
        let asked = (1, ParameterName::new(name.as_bytes()).expect("a name"));
        assert_eq!(world.device.seen().parameters, [asked, asked]);
    });
}

/// The last four bytes of what a call wrote to 100, and its answer.
fn written(world: &World, call: Call, cap: i32, at: i32) -> (i32, i32) {
    let mut instance = world.run(&format!(
        r#"(module (import "wasmbed" "{}" (func $call (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1 1) (global $answer (mut i32) (i32.const 0))
        (func (export "init") (result i32)
            (global.set $answer (call $call (i32.const 0) (i32.const 100) (i32.const {cap}))) (i32.const 0))
        (func (export "tick")) (func (export "health") (result i32)
            (if (result i32) (i32.eq (i32.load (i32.const 0)) (i32.const 0))
                (then (i32.store (i32.const 0) (i32.const 1)) (global.get $answer))
                (else (i32.load (i32.const {at}))))))"#,
        call.name()
    ));
    assert_eq!(instance.init(), Ok(0));
    let mut next = || instance.health().expect("it never traps");
    (next(), next())
}

#[test]
fn what_was_heard_is_written_where_it_fits() {
    on_both(Class::Mcu, |world| {
        assert_eq!(written(&world, Call::GetVehicleStatus, 32, 100), (32, 7));
        assert_eq!(written(&world, Call::GetBatteryStatus, 64, 104), (32, 99 << 16));
        assert_eq!(
            written(&world, Call::GetVehicleLocalPosition, 36, 120),
            (36, (-5f32).to_bits().cast_signed())
        );
        assert_eq!(written(&world, Call::GetVehicleLocalPosition, 35, 120), (Errno::NoSpace.code(), 0));
        let ask = |call, args: &[i32]| answer(&world, call, args, "").0;
        assert_eq!(ask(Call::GetVehicleStatus, &[2, 8, 64]), Errno::NotFound.code());
        for call in [Call::GetVehicleStatus, Call::GetBatteryStatus, Call::GetVehicleLocalPosition] {
            assert_eq!(ask(call, &[0, 8, 0]), Errno::NoSpace.code());
            for (ptr, len) in [(MEMORY - 3, 36), (-1, 36), (8, -1), (i32::MIN, i32::MIN)] {
                assert_eq!(ask(call, &[0, ptr, len]), Errno::Fault.code());
            }
        }
    });
}
