//! `docs/conformance.md`: what every class and device does with every call, and where that is tested.
//!
//! This writes the table of classes with `WASMBED_BLESS=1`; the one of devices is written by the end-to-end test
//! `survey`, which asks real ones.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use wasmbed_abi::{Call, Capabilities, Errno, IMPORT_MODULE};
use wasmbed_conformance::{CHANNEL, Obliging, answers, survey};
use wasmbed_runtime::{Runtime, Settings};
use wasmbed_wire::limits::Class;

/// Where tests of calls are, and a module that some of them run.
const TESTS: [&str; 6] = [
    "device-agent/runtime/tests/runtime",
    "device-agent/linux/tests/agent",
    "tests/conformance/tests",
    "tests/e2e/tests/e2e",
    "fleet/src/cli/module/run",
    "tests/peers/src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files with tests that name the call.
fn tested_in(call: Call) -> Vec<String> {
    let mut files = Vec::new();
    for dir in TESTS {
        for entry in fs::read_dir(root().join(dir)).into_iter().flatten() {
            let path = entry.expect("a folder can be listed").path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            let names = [format!("Call::{call:?}"), format!("\"{}\"", call.name())];
            if names.iter().any(|name| text.contains(name)) {
                files.push(format!("{dir}/{}", path.file_name().unwrap_or_default().to_string_lossy()));
            }
        }
    }
    files.sort();
    files
}

/// Whether a module that imports the call is loaded on the class, as it was compiled for it.
fn verdict(call: Call, class: Class) -> &'static str {
    let runtime = Runtime::new(class).expect("the engine starts");
    let signature = call.signature();
    let params: String = signature.params.iter().map(|ty| format!(" {ty}")).collect();
    let text = format!(
        r#"(module (import "{IMPORT_MODULE}" "{}" (func (param{params}) (result {})))
        (memory (export "memory") 1) (func (export "tick")))"#,
        call.name(),
        signature.results[0],
    );
    match runtime.load_wasm(&wat::parse_str(text).expect("valid text")) {
        Ok(_) => "allowed",
        Err(error) => {
            assert!(error.to_string().contains(call.capability().name()), "{error}");
            "refused"
        }
    }
}

#[test]
fn the_page_says_what_every_class_does_with_every_call() {
    let mut table = String::from(
        "| call | capability | mpu | mcu | riscv | tested in, besides the sweeps |\n|---|---|---|---|---|---|\n",
    );
    for call in Call::ALL.iter().copied() {
        let verdicts = [Class::Mpu, Class::Mcu, Class::Riscv].map(|class| verdict(call, class));
        let tests = tested_in(call);
        assert!(!tests.is_empty(), "nothing tests {} by name", call.name());
        table.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            call.name(),
            call.capability(),
            verdicts.join(" | "),
            tests.join(", ")
        ));
    }
    let path = root().join("docs/conformance.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (before, rest) = page.split_once("## Classes\n\n").expect("a section on classes");
    let (_, after) = rest.split_once("\n## Devices").expect("a section on devices");
    let expected = format!("{before}## Classes\n\n{table}\n## Devices{after}");
    if std::env::var_os("WASMBED_BLESS").is_some() {
        return fs::write(&path, expected).expect("the page can be written");
    }
    assert_eq!(page, expected, "WASMBED_BLESS=1 writes the page anew");
}

#[test]
fn a_device_that_has_everything_answers_the_survey_for_its_class() {
    for class in [Class::Mpu, Class::Riscv, Class::Mcu] {
        let runtime = Runtime::new(class).expect("the engine starts");
        let module =
            runtime.load_wasm(&wat::parse_str(survey()).expect("valid text")).expect("every class takes it");
        let told = std::rc::Rc::default();
        let device = Obliging::telling(CHANNEL, std::rc::Rc::clone(&told));
        let settings = Settings { capabilities: Capabilities::all(class) };
        let mut instance = runtime.instantiate(&module, device, settings).expect("it starts");
        assert_eq!(instance.tick(), Ok(()));
        let answers = answers(&told.borrow()).expect("an answer for every call");
        for (call, answer) in answers {
            let is_allowed = call.capability().allowed_on(class);
            assert!(
                is_allowed || answer == Err(Errno::Unsupported),
                "{class}: {} answers {answer:?}",
                call.name()
            );
        }
    }
}
