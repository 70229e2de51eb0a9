use std::{fs, sync::mpsc};

use super::{report::Line, *};
use crate::api::Violation;

/// Runs a module with these arguments and returns what was said, and how it ended.
fn run(text: &str, arguments: &[&str]) -> (Vec<String>, Result<(), String>) {
    run_file(&wat::parse_str(text).expect("a module"), arguments, None)
}

/// The same with a file, and a script of peripherals.
pub(in crate::cli::module) fn run_file(
    wasm: &[u8],
    arguments: &[&str],
    script: Option<&str>,
) -> (Vec<String>, Result<(), String>) {
    let (lines, ended) = file_lines(wasm, arguments, script);
    (lines.iter().map(|line| line.to_string().trim_start().to_owned()).collect(), ended)
}

fn lines(text: &str, arguments: &[&str], script: Option<&str>) -> (Vec<Line>, Result<(), String>) {
    file_lines(&wat::parse_str(text).expect("a module"), arguments, script)
}

fn file_lines(wasm: &[u8], arguments: &[&str], script: Option<&str>) -> (Vec<Line>, Result<(), String>) {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        run: Run,
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("module.wasm");
    fs::write(&file, wasm).expect("a file");
    let peripherals = dir.path().join("peripherals.toml");
    let mut all = vec!["run".into(), file.into_os_string()];
    all.extend(arguments.iter().map(Into::into));
    if let Some(script) = script {
        fs::write(&peripherals, script).expect("a file");
        all.extend(["--peripherals".into(), peripherals.into_os_string()]);
    }
    let Cli { run } = <Cli as clap::Parser>::try_parse_from(all).expect("arguments");
    let (said, heard) = mpsc::channel();
    let sink: Sink = Box::new(move |line: &Line| Ok(said.send(line.clone())?));
    let thread = std::thread::Builder::new().stack_size(Runtime::thread_stack_bytes(run.class));
    let ended = thread.spawn(move || run.run_here(sink)).expect("a thread").join().expect("an answer");
    (heard.iter().collect(), ended.map_err(|error| format!("{error:#}")))
}

/// A module with this body of `tick`, and all it may call.
fn module(tick: &str) -> String {
    format!(
        r#"(module
        (import "wasmbed" "log" (func $log (param i32 i32 i32) (result i32)))
        (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
        (import "wasmbed" "uptime_ms" (func $uptime (result i64)))
        (import "wasmbed" "sensor_read" (func $sensor (param i32 i32) (result i32)))
        (import "wasmbed" "gpio_write" (func $write (param i32 i32) (result i32)))
        (import "wasmbed" "gpio_read" (func $read (param i32) (result i32)))
        (import "wasmbed" "config_get" (func $config (param i32 i32 i32 i32) (result i32)))
        (import "wasmbed" "timer_set" (func $timer (param i32) (result i32)))
        (memory (export "memory") 1 1) (global $n (mut i32) (i32.const 0))
        (data (i32.const 0) "level") (data (i32.const 16) "\1b[1mhi") (data (i32.const 32) "\ff\01")
        (func (export "init") (result i32) (call $timer (i32.const 2500)))
        (func (export "tick") (global.set $n (i32.add (global.get $n) (i32.const 1))) {tick}))"#
    )
}

#[test]
fn a_run_is_told_from_start_to_end_in_time_of_its_own() {
    let text = module(
        "(drop (call $log (i32.const 1) (i32.const 16) (i32.const 6)))
         (drop (call $telemetry (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 2)))
         (drop (call $write (i32.const 13) (i32.and (global.get $n) (i32.const 1))))",
    );
    let (said, ended) = run(&text, &["--ticks", "2", "--class", "mpu"]);
    assert_eq!(ended, Ok(()));
    assert_eq!(
        said,
        [
            "0 ms  started    class mpu, 65536 bytes of memory, a tick every 2500 ms",
            "0 ms  log        warn: \\u{1b}[1mhi",
            "0 ms  telemetry  level: 0xff01",
            "0 ms  gpio       pin 13 high",
            "0 ms  tick       1",
            "2500 ms  log        warn: \\u{1b}[1mhi",
            "2500 ms  telemetry  level: 0xff01",
            "2500 ms  gpio       pin 13 low",
            "2500 ms  tick       2",
            "2500 ms  ended      2 ticks, 65536 bytes of memory",
        ]
    );
}

#[test]
fn the_same_run_is_the_same_to_the_last_instruction() {
    let text = module("(drop (call $uptime))");
    let (first, ended) = run(&text, &["--class", "riscv"]);
    assert_eq!(ended, Ok(()));
    assert_eq!(run(&text, &["--class", "riscv"]).0, first);
    assert!(first.iter().any(|line| line.starts_with("22500 ms  tick       10, ")), "{first:?}");
}

#[test]
fn a_run_ends_after_its_time_or_its_ticks_whichever_comes_first() {
    let ticks = |arguments: &[&str]| match lines(&module(""), arguments, None) {
        (lines, Ok(())) => lines.iter().filter(|line| matches!(line.event, Event::Tick { .. })).count(),
        (_, Err(error)) => panic!("{error}"),
    };
    assert_eq!(ticks(&[]), 10);
    assert_eq!(ticks(&["--for", "10s"]), 5);
    assert_eq!(ticks(&["--for", "9999ms"]), 4);
    assert_eq!(ticks(&["--for", "1h"]), 1441);
    assert_eq!(ticks(&["--for", "1h", "--ticks", "3"]), 3);
    assert_eq!(ticks(&["--ticks", "0"]), 0);
    for (text, length) in [("5m", Ok(Length(300_000))), ("0s", Ok(Length(0)))] {
        assert_eq!(text.parse(), length);
    }
    for text in ["", "5", "s", "-5s", "5 s", "5d", "99999999999999999h"] {
        assert!(text.parse::<Length>().is_err(), "{text}");
    }
}

#[test]
fn real_time_passes_when_asked_for() {
    let start = Instant::now();
    let text = module("").replace("2500", "10");
    assert!(run(&text, &["--realtime", "--ticks", "4"]).1.is_ok());
    assert!(start.elapsed().as_millis() >= 30);
}

#[test]
fn a_module_that_fails_is_said_to_and_ends_the_run() {
    for (tick, class, expected) in [
        ("(if (i32.eq (global.get $n) (i32.const 3)) (then unreachable))", "mcu", "tick 3: trap "),
        ("(loop $l (br $l))", "mcu", "tick 1: the call took longer than 100 ms"),
        ("(drop (i32.load (i32.const 65536)))", "riscv", "tick 1: trap "),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "mpu", "tick 1: trap "),
    ] {
        let (said, ended) = run(&module(tick), &["--class", class]);
        let error = ended.expect_err(tick);
        assert!(error.contains(expected), "{error}");
        assert!(said.last().is_some_and(|last| last.contains("failed     tick ")), "{said:?}");
    }
    let with = |export: &str, body: &str| {
        format!(
            r#"(module (memory (export "memory") 1 1) (func (export "{export}") (result i32) {body})
            (func (export "tick")))"#
        )
    };
    for (export, expected) in [("init", "init answered -3"), ("health", "health answered -3")] {
        let error = run(&with(export, "(i32.const -3)"), &[]).1.expect_err(export);
        assert!(error.contains(expected), "{error}");
    }
    let start =
        r#"(module (memory (export "memory") 1 1) (func $s unreachable) (start $s) (func (export "tick")))"#;
    let error = run(start, &[]).1.expect_err("a trap");
    assert!(error.contains("does not start: trap "), "{error}");
}

#[test]
fn a_module_that_becomes_unhealthy_ends_the_run_when_it_is_asked() {
    let text = module("").replace(
        "(func (export \"tick\")",
        "(func (export \"health\") (result i32) (i32.ge_u (global.get $n) (i32.const 3))) (func (export \"tick\")",
    );
    let (said, ended) = run(&text, &["--for", "1h"]);
    assert_eq!(ended, Err("health answered 1; 0 is expected".into()));
    assert!(said.last().is_some_and(|last| last.starts_with("10000 ms  failed")), "{said:?}");
}

#[test]
fn the_class_decides_what_is_run_at_all() {
    let simd = module("(drop (v128.const i64x2 0 0))");
    let (said, ended) = run(&simd, &["--class", "mcu"]);
    let error = ended.expect_err("no vectors");
    assert!(
        said.is_empty() && error.contains("class mcu refuses") && error.contains("feature: SIMD"),
        "{error}"
    );
    assert_eq!(run(&simd, &["--class", "mpu"]).1, Ok(()));
}

#[test]
fn warnings_come_first() {
    let text = module("(if (i32.eqz (global.get $n)) (then (call $tick)))")
        .replace("(func (export \"tick\")", "(func $tick (export \"tick\")");
    let (said, ended) = run(&text, &["--ticks", "1"]);
    assert_eq!(ended, Ok(()));
    assert!(said.first().is_some_and(|first| first.contains("warning    stack: no bound")), "{said:?}");
}

#[test]
fn peripherals_follow_their_script_and_what_is_missing_is_said_once() {
    // Pin 13 follows input 4; the reading goes out as bytes.
    let text = module(
        "(drop (call $write (i32.const 13) (call $read (i32.const 4))))
         (drop (call $sensor (i32.const 16) (i32.const 40)))
         (drop (call $sensor (i32.const 0) (i32.const 48)))
         (drop (call $telemetry (i32.const 0) (i32.const 5) (i32.const 40) (i32.const 2)))",
    );
    let script = "[sensors]\nadc0 = [{ at_ms = 0, value = 0.513 }, { at_ms = 2000, value = 0.258 }]\n\
                  [gpio]\n4 = [{ at_ms = 0, value = true }, { at_ms = 5000, value = false }]";
    let (lines, ended) = lines(&text, &["--ticks", "3"], Some(script));
    assert_eq!(ended, Ok(()));
    let at = |at_ms, event| Line { at_ms, event };
    let gpio = |high| Event::Gpio { pin: 13, high };
    let telemetry = |text: &str| Event::Telemetry { channel: "level".into(), text: text.into() };
    let told: Vec<Line> =
        lines.into_iter().filter(|line| !matches!(line.event, Event::Tick { .. })).collect();
    assert_eq!(
        told[1..told.len() - 1],
        [
            at(0, gpio(true)),
            at(0, Event::Missing { what: "sensor temperature".into() }),
            at(0, telemetry("\u{1}\u{2}")),
            at(2500, telemetry("\u{2}\u{1}")),
            at(5000, gpio(false)),
            at(5000, telemetry("\u{2}\u{1}")),
        ]
    );
}

#[test]
fn settings_reach_the_module() {
    let text = module(
        "(drop (call $log (i32.const 2) (i32.const 64)
            (call $config (i32.const 0) (i32.const 5) (i32.const 64) (i32.const 16))))",
    );
    let (said, _) = run(&text, &["--ticks", "1", "--set", "level=a=b", "--set", "other=1"]);
    assert!(said.contains(&"0 ms  log        info: a=b".to_owned()), "{said:?}");
}

#[test]
fn lines_are_objects_for_programs() {
    let line = Line { at_ms: 5, event: Event::Gpio { pin: 13, high: true } };
    assert_eq!(
        serde_json::to_string(&line).expect("JSON"),
        r#"{"at_ms":5,"event":"gpio","pin":13,"high":true}"#
    );
    let warning = Violation { rule: "debug".into(), found: "8 bytes".into(), limit: "0".into() };
    let line = Line { at_ms: 0, event: Event::Warning(warning) };
    assert_eq!(
        serde_json::to_string(&line).expect("JSON"),
        r#"{"at_ms":0,"event":"warning","rule":"debug","found":"8 bytes","limit":"0"}"#
    );
}

/// A module whose tick makes a call and publishes what lies at 32 then, and the lowest byte of the answer.
fn calling(name: &str, signature: &str, data: &str, call: &str) -> String {
    format!(
        r#"(module
        (import "wasmbed" "{name}" (func $call {signature}))
        (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1 1) (data (i32.const 0) "t") (data (i32.const 8) "{data}")
        (func (export "tick")
            (i32.store8 (i32.const 40) (call $call {call}))
            (drop (call $telemetry (i32.const 0) (i32.const 1) (i32.const 32) (i32.const 9)))))"#
    )
}

/// What such a module published, in hexadecimal, and what it missed.
fn after(text: &str, class: &str, script: &str) -> Vec<String> {
    let (lines, ended) = lines(text, &["--ticks", "1", "--class", class], Some(script));
    assert_eq!(ended, Ok(()), "{lines:?}");
    let told = lines.into_iter().filter_map(|line| match line.event {
        Event::TelemetryBytes { hex, .. } => Some(hex),
        Event::Telemetry { text, .. } => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        Event::Missing { what } => Some(what),
        _ => None,
    });
    told.collect()
}

#[test]
fn chips_answer_what_the_script_says() {
    let i2c = |address: u8| {
        let call = format!(
            "(i32.const 1) (i32.const {address}) (i32.const 8) (i32.const 1) (i32.const 32) (i32.const 3)"
        );
        calling("i2c_transfer", "(param i32 i32 i32 i32 i32 i32) (result i32)", "\\05", &call)
    };
    let script = "[i2c.\"1.0x48\"]\n05 = \"1234\"\n[spi.\"3.0\"]\n9f = \"00ef4014\"";
    assert_eq!(after(&i2c(0x48), "mcu", script), ["1234ff000000000000"]);
    assert_eq!(after(&i2c(0x49), "mcu", script), ["0000000000000000f7"], "IO");
    assert_eq!(after(&i2c(0x48), "mcu", ""), ["i2c bus 1", "0000000000000000f9"], "NOT_FOUND");
    let call = "(i32.const 3) (i32.const 0) (i32.const 8) (i32.const 32) (i32.const 5)";
    let spi = calling("spi_transfer", "(param i32 i32 i32 i32 i32) (result i32)", "\\9f", call);
    assert_eq!(after(&spi, "mcu", script), ["00ef40140000000000"]);
    assert_eq!(after(&spi, "mcu", ""), ["chip 0 of spi bus 3", "0000000000000000f9"]);
}

#[test]
fn files_values_and_keys_are_those_of_the_run() {
    let script = "";
    let write = calling(
        "file_write",
        "(param i32 i32 i64 i32 i32) (result i32)",
        "a/b",
        "(i32.const 8) (i32.const 3) (i64.const 0) (i32.const 8) (i32.const 3)",
    );
    assert_eq!(after(&write, "mpu", script), ["000000000000000000"]);
    // In another run it is not there any more.
    let size = calling("file_remove", "(param i32 i32) (result i32)", "a/b", "(i32.const 8) (i32.const 3)");
    assert_eq!(after(&size, "mpu", script), ["0000000000000000f9"], "NOT_FOUND");
    let set = calling(
        "kv_set",
        "(param i32 i32 i32 i32) (result i32)",
        "key",
        "(i32.const 8) (i32.const 3) (i32.const 8) (i32.const 3)",
    );
    assert_eq!(after(&set, "mcu", script), ["000000000000000000"]);
    let key = calling(
        "hmac_sha256",
        "(param i32 i32 i32 i32) (result i32)",
        "key",
        "(i32.const 0) (i32.const 8) (i32.const 3) (i32.const 32)",
    );
    let (first, second) = (after(&key, "riscv", script), after(&key, "riscv", script));
    assert_eq!(first, second, "keys are the same in each run");
    assert_ne!(first, ["000000000000000000"]);
}

#[test]
fn connections_go_where_the_script_allows() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let destination = format!("tcp:127.0.0.1:{port}");
    let call = format!("(i32.const 8) (i32.const {})", destination.len());
    let text = calling("net_connect", "(param i32 i32) (result i32)", &destination, &call);
    let denied = after(&text, "mpu", "");
    assert_eq!(denied.first().map(String::as_str), Some(format!("way to {destination}").as_str()));
    assert!(denied.last().is_some_and(|hex| hex.ends_with("fc")), "DENIED: {denied:?}");
    let allowed = after(&text, "mpu", &format!("[network]\nallow = [\"{destination}\"]"));
    assert!(allowed.last().is_some_and(|hex| hex.ends_with("00")), "{allowed:?}");
}
