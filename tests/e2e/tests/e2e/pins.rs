//! Pins of a Linux machine: lines of a GPIO controller, by way of its kernel's driver.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;
use wasmbed_e2e::{Fleet, GpioChip, GpioTable, Limit, Subscription, with_gpio};

const BUTTON: u32 = 9;
const LAMP: u32 = 5;
const SENSE: u32 = 14;
const TAKEN: u32 = 17;

/// Pins 1 to 6: a button by name and active low, a lamp, an input, a line that the kernel keeps, one that the controller
/// lacks, and one of a chip that is not there.
const PINS: &str = r#"
[[agent.gpio]]
pin = 1
line = "BUTTON"
active_low = true
bias = "pull-up"

[[agent.gpio]]
pin = 2
chip = "/dev/gpiochip0"
line = 5

[[agent.gpio]]
pin = 3
chip = "AMDI0030:00"
line = 14
direction = "input"

[[agent.gpio]]
pin = 4
chip = "/dev/gpiochip0"
line = 17

[[agent.gpio]]
pin = 5
chip = "/dev/gpiochip0"
line = 1000

[[agent.gpio]]
pin = 6
chip = "/dev/gpiochip7"
line = 0
"#;

/// Has the lamp show the button, and says the button's level on `button` each time.
const SWITCH: &str = r#"(module
  (import "wasmbed" "gpio_watch" (func $watch (param i32 i32) (result i32)))
  (import "wasmbed" "gpio_write" (func $write (param i32 i32) (result i32)))
  (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64 64 (pagesize 1))
  (data (i32.const 0) "button")
  (func (export "init") (result i32)
    (i32.or (call $write (i32.const 2) (i32.const 0)) (call $watch (i32.const 1) (i32.const 3))))
  (func (export "tick"))
  (func (export "gpio_edge") (param i32 i32)
    (drop (call $write (i32.const 2) (local.get 1)))
    (i32.store8 (i32.const 16) (local.get 1))
    (drop (call $telemetry (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 1)))))"#;

/// Says on `pins` what each pin answers to being read, and some to other calls.
const ASKER: &str = r#"(module
  (import "wasmbed" "gpio_read" (func $read (param i32) (result i32)))
  (import "wasmbed" "gpio_watch" (func $watch (param i32 i32) (result i32)))
  (import "wasmbed" "gpio_write" (func $write (param i32 i32) (result i32)))
  (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64 64 (pagesize 1))
  (data (i32.const 0) "pins")
  (func $say (param $at i32) (param $answer i32) (i32.store8 offset=16 (local.get $at) (local.get $answer)))
  (func (export "tick")
    (call $say (i32.const 0) (call $read (i32.const 1)))
    (call $say (i32.const 1) (call $read (i32.const 2)))
    (call $say (i32.const 2) (call $read (i32.const 3)))
    (call $say (i32.const 3) (call $read (i32.const 4)))
    (call $say (i32.const 4) (call $read (i32.const 5)))
    (call $say (i32.const 5) (call $read (i32.const 6)))
    (call $say (i32.const 6) (call $read (i32.const 99)))
    (call $say (i32.const 7) (call $write (i32.const 1) (i32.const 1)))
    (call $say (i32.const 8) (call $watch (i32.const 2) (i32.const 1)))
    (call $say (i32.const 9) (call $write (i32.const 3) (i32.const 1)))
    (drop (call $telemetry (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 10)))))"#;

const DENIED: i8 = -4;
const BUSY: i8 = -6;
const NOT_FOUND: i8 = -7;
const IO: i8 = -9;

#[test]
fn modules_read_drive_and_watch_lines_of_the_kernel() -> Result<()> {
    let dir = TempDir::with_prefix("wasmbed-gpio-")?;
    let table = dir.path().join("gpio.aml");
    GpioTable { named: (BUTTON, "BUTTON"), taken: TAKEN }.write(&table)?;
    let fleet = Fleet::start_altered(&[("vm-1", "linux-x86-64")], |board| with_gpio(board, &table, PINS))?;
    let mut chip = GpioChip::connect(&fleet, "vm-1")?;
    // The button rests: it is low when pressed.
    chip.set_input(BUTTON, true)?;
    assert_eq!(chip.output(LAMP)?, None, "nobody drives it yet");

    deploy(&fleet, "switch", SWITCH)?;
    assert_eq!(chip.output(LAMP)?, Some(false));
    assert!(chip.is_pulled_up(BUTTON)? && chip.is_watched(BUTTON)?);
    let button = Subscription::open(&fleet, "wasmbed/v1/vm-1/up/tm/button")?;
    for is_pressed in [true, false, true] {
        chip.set_input(BUTTON, !is_pressed)?;
        button.next(|said| said == if is_pressed { "01" } else { "00" })?;
        assert_eq!(chip.output(LAMP)?, Some(is_pressed));
    }

    // Another module reads the same lines, and hears what each of them cannot.
    chip.set_input(SENSE, true)?;
    // What this controller reads back of an output is the line's level, which this side decides.
    chip.set_input(LAMP, true)?;
    deploy(&fleet, "asker", ASKER)?;
    let pins = Subscription::open(&fleet, "wasmbed/v1/vm-1/up/tm/pins")?;
    let expected = [1, 1, 1, BUSY, IO, IO, NOT_FOUND, BUSY, BUSY, DENIED];
    pins.next(|said| said == hex(&expected))?;
    chip.set_input(SENSE, false)?;
    let expected = [1, 1, 0, BUSY, IO, IO, NOT_FOUND, BUSY, BUSY, DENIED];
    pins.next(|said| said == hex(&expected))?;

    // The first one noticed nothing of that. With it goes its interest; the lamp stays as it was.
    chip.set_input(BUTTON, true)?;
    button.next(|said| said == "00")?;
    assert_eq!(chip.output(LAMP)?, Some(false));
    fleet.cli(&["undeploy", "switch", "--to", "vm-1", "--wait"])?;
    assert_eq!(chip.output(LAMP)?, Some(false));
    let expected = [0, 1, 0, BUSY, IO, IO, NOT_FOUND, 0, BUSY, DENIED];
    pins.next(|said| said == hex(&expected))?;
    fleet.wait("the button's line to be driven", Limit::seconds(20), || {
        Ok(chip.output(BUTTON)? == Some(false))
    })
}

fn deploy(fleet: &Fleet, name: &str, text: &str) -> Result<()> {
    let file = fleet.dir().join(format!("{name}.wasm"));
    fs::write(&file, wat::parse_str(text)?)?;
    fleet.cli(&["module", "push", &file.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", name, "--to", "vm-1", "--wait"]).map(drop)
}

fn hex(answers: &[i8]) -> String {
    answers.iter().map(|answer| format!("{answer:02x}")).collect()
}
