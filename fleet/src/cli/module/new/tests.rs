use std::{fs, path::Path, process::Command};

use super::*;
use crate::{artifacts, cli::module::run::tests::run_file};

/// This repository.
fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn new(lang: &str, dir: &Path, sdk: &Path) -> Result<(), String> {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        new: New,
    }
    let arguments = [
        "new".as_ref(),
        dir.as_os_str(),
        "--lang".as_ref(),
        lang.as_ref(),
        "--sdk".as_ref(),
        sdk.as_os_str(),
    ];
    let Cli { common, new } =
        <Cli as clap::Parser>::try_parse_from(arguments).map_err(|error| error.to_string())?;
    new.run(&common).map_err(|error| format!("{error:#}"))
}

/// Writes a project, builds it with this command, and runs it in every class with its own peripherals.
#[track_caller]
fn builds_and_runs(lang: &str, build: &mut Command, expected: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    let project = dir.path().join("my-module");
    new(lang, &project, &sdk()).expect("a project");
    let output = build.current_dir(&project).output().expect("the build starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = Project::new(
        &Checkout::at(&sdk()).expect("the SDK"),
        Lang::from_str(lang, false).expect("a language"),
        "my-module",
    );
    let wasm = fs::read(project.join(made.expect("a project").wasm)).expect("the module");
    let script = fs::read_to_string(project.join("peripherals.toml")).expect("a script");
    for report in artifacts::check(&wasm).classes {
        assert!(report.admitted && report.warnings.is_empty(), "{report:?}");
        let arguments = ["--class", report.class.name(), "--for", "9s"];
        let (said, ended) = run_file(&wasm, &arguments, Some(&script));
        assert_eq!(ended, Ok(()));
        for expected in expected {
            assert!(said.iter().any(|line| line.contains(expected)), "no {expected}: {said:?}");
        }
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    // Settings of the run that tests this are not those of the project.
    for setting in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(setting);
    }
    cargo.args(["build", "--offline", "--quiet"]).args(arguments);
    cargo
}

/// Whether a program is here; what it would build is not tested otherwise, and said to be so.
fn exists(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("not tested: {program} is missing");
    }
    found
}

#[test]
fn a_rust_project_builds_and_runs_in_every_class() {
    let expected =
        ["0 ms  telemetry  temperature: 21.5", "5000 ms  telemetry  temperature: 22.2", "no temperature"];
    builds_and_runs("rust", &mut cargo(&["--release"]), &expected);
}

#[test]
fn a_rust_project_that_is_not_optimised_is_warned_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let project = dir.path().join("my-module");
    new("rust", &project, &sdk()).expect("a project");
    assert!(cargo(&[]).current_dir(&project).status().expect("Cargo").success());
    let file = project.join("target/wasm32-unknown-unknown/debug/my_module.wasm");
    for report in artifacts::check(&fs::read(file).expect("the module")).classes {
        for rule in ["optimization", "debug"] {
            assert!(report.warnings.iter().any(|warning| warning.rule == rule), "{rule}: {report:?}");
        }
    }
}

#[test]
fn a_c_project_builds_and_runs_in_every_class() {
    if !exists("clang") || !exists("make") {
        return;
    }
    builds_and_runs("c", &mut Command::new("make"), &["9000 ms  telemetry  counter: 10"]);
}

#[test]
fn an_assemblyscript_project_builds_and_runs_in_every_class() {
    if !exists("npm") {
        return;
    }
    // The compiler comes from the registry, which need not be reachable.
    let reachable =
        Command::new("npm").args(["view", "assemblyscript", "version", "--fetch-retries=0"]).output();
    if !reachable.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: the registry of npm cannot be reached");
        return;
    }
    let mut build = Command::new("sh");
    build.args(["-c", "npm install --silent --no-audit --no-fund && npm run --silent build"]);
    builds_and_runs(
        "as",
        &mut build,
        &["2000 ms  telemetry  level: 0.75", "3000 ms  gpio       pin 13 high"],
    );
}

#[test]
fn what_is_in_a_folder_already_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("main.c"), "mine").expect("a file");
    for lang in ["rust", "c", "as"] {
        let said = new(lang, dir.path(), &sdk()).expect_err("not empty");
        assert!(said.contains("is not empty"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}

#[test]
fn names_and_languages_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    for (lang, folder, expected) in [
        ("rust", "core", "use another --name"),
        ("rust", "2nd", "begins with a letter"),
        ("c", "a.b", "cannot be a module's name; use --name NAME"),
        ("zig", "mine", "possible values: rust, c, as"),
    ] {
        let said = new(lang, &dir.path().join(folder), &sdk()).expect_err(folder);
        assert!(said.contains(expected), "{said}");
    }
    let said = new("c", &dir.path().join("mine"), dir.path()).expect_err("no SDK");
    assert!(said.contains("is not a checkout of wasmbed"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
}
