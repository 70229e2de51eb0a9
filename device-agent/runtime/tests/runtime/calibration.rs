//! Fuel in terms of time.

use std::time::Instant;

use wasmbed_runtime::{CalibrateError, Runtime};
use wasmbed_wire::limits::Class;

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
