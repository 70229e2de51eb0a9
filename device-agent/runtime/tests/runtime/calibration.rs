//! The measuring loop is kept compiled, because boards have no compiler.

use std::{path::Path, time::Instant};

use wasmbed_runtime::{CalibrateError, Runtime, Target, compile};
use wasmbed_wire::limits::Class;

#[test]
fn the_measuring_loop_is_what_the_compiler_makes_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("calibrate");
    let wasm = wat::parse_file(folder.join("loop.wat")).expect("the loop is valid text");
    for target in [Target::Pulley32, Target::Pulley64] {
        let file = folder.join("loop").with_extension(target.name());
        let fresh = compile(&wasm, target, Class::Mcu).expect("the loop compiles");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, &fresh).expect("the folder can be written");
        }
        let kept = std::fs::read(&file).expect("the loop is kept compiled");
        assert!(
            kept == fresh,
            "the compiler makes something else than {}: raise REVISION in tunables.rs, then run with UPDATE_EXPECT=1",
            file.display()
        );
    }
}

#[test]
fn calibration_measures_this_machine_and_is_used() {
    let runtime = Runtime::bytecode(Class::Mcu, 8192).expect("the engine starts");
    let before = runtime.fuel_per_ms();
    let start = Instant::now();
    let measured = runtime.calibrate(|| start.elapsed().as_micros() as u64);
    assert!(measured.is_ok_and(|fuel| fuel > 1000), "{measured:?}");
    assert_ne!(runtime.fuel_per_ms(), before);
    assert_eq!(runtime.fuel_per_ms(), measured.ok());
}

#[test]
fn a_clock_that_stands_still_is_an_error_and_changes_nothing() {
    let runtime = Runtime::bytecode(Class::Mcu, 8192).expect("the engine starts");
    let before = runtime.fuel_per_ms();
    assert_eq!(runtime.calibrate(|| 7), Err(CalibrateError::ClockStandsStill));
    assert_eq!(runtime.fuel_per_ms(), before);
}

#[test]
fn native_code_needs_no_calibration() {
    let runtime = Runtime::new(Class::Mpu).expect("the engine starts");
    assert_eq!(runtime.calibrate(|| 7), Err(CalibrateError::NotMetered));
}
