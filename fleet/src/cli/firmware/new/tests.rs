use std::{fs, path::Path};

use super::*;

/// This repository.
fn sdk() -> Sdk {
    Sdk::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("the SDK")
}

fn written(board: &str, name: &str) -> (tempfile::TempDir, Project) {
    let sdk = sdk();
    let boards = sdk.boards().expect("boards");
    let (board, firmware) = find(&boards, &board.parse().expect("a name")).expect("a board with firmware");
    let dir = tempfile::tempdir().expect("a folder");
    let project = Project::new(&sdk, board, firmware, name).expect("a project");
    project.write(&dir.path().join("new")).expect("written");
    (dir, project)
}

fn new(board: &str, dir: &Path, sdk: Option<&Path>) -> Result<(), String> {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        new: New,
    }
    let mut arguments = vec!["new".as_ref(), "--board".as_ref(), board.as_ref(), dir.as_os_str()];
    arguments.extend(sdk.into_iter().flat_map(|sdk| ["--sdk".as_ref(), sdk.as_os_str()]));
    let Cli { common, new } = <Cli as clap::Parser>::try_parse_from(arguments).expect("arguments");
    new.run(&common).map_err(|error| format!("{error:#}"))
}

#[test]
fn every_board_with_firmware_gets_a_project_of_its_target_memory_and_program() {
    for (board, target, package, region) in [
        ("mps2-an385", "thumbv7m-none-eabi", "cortex-m3", "ORIGIN = 0x00040000, LENGTH = 0x100000"),
        ("netduino2", "thumbv7m-none-eabi", "cortex-m3", "ORIGIN = 0x08020000, LENGTH = 0xc0000"),
        ("rv32-virt", "riscv32imac-unknown-none-elf", "riscv32", "ORIGIN = 0x80200000, LENGTH = 0x100000"),
        ("hifive1", "riscv32imac-unknown-none-elf", "riscv32", "ORIGIN = 0x20430000, LENGTH = 0x40000"),
    ] {
        let (dir, _) = written(board, "mine");
        let dir = dir.path().join("new");
        let text = |path: &str| fs::read_to_string(dir.join(path)).expect(path);
        let table = |path: &str| text(path).parse::<toml::Table>().expect(path);

        let manifest = table("Cargo.toml");
        assert!(manifest.contains_key("workspace"));
        assert_eq!(manifest["package"]["name"].as_str(), Some("mine"));
        assert_eq!(manifest["bin"][0]["name"].as_str(), Some("mine"));
        assert_eq!(manifest["profile"], sdk().table("firmware/Cargo.toml").expect("a table")["profile"]);
        let path = manifest["dependencies"][&format!("wasmbed-firmware-{package}")]["path"].as_str();
        assert_eq!(path.map(Path::new), Some(&*sdk().root().join("firmware").join(package)));
        let has_runtime =
            manifest["dependencies"][&format!("wasmbed-firmware-{package}")].get("default-features");
        assert_eq!(has_runtime.and_then(toml::Value::as_bool), (board == "hifive1").then_some(false));
        for (name, spec) in manifest["dependencies"].as_table().expect("dependencies") {
            assert!(spec.get("workspace").is_none(), "{name} = {spec}");
            assert!(spec.get("path").is_some() || spec.get("version").is_some(), "{name} = {spec}");
        }

        let config = table(".cargo/config.toml");
        assert_eq!(config["build"]["target"].as_str(), Some(target));
        assert_eq!(config["target"].as_table().map(toml::Table::len), Some(1));
        assert!(config["target"][target]["rustflags"].is_array());
        let measuring_loop = &config["env"]["WASMBED_MEASURING_LOOP"];
        assert_eq!(measuring_loop["relative"].as_bool(), Some(true));
        let measuring_loop = dir.join(measuring_loop["value"].as_str().expect("a path"));
        assert!(fs::metadata(measuring_loop).expect("the loop").len() > 0);

        assert_eq!(table("rust-toolchain.toml")["toolchain"]["targets"][0].as_str(), Some(target));
        assert!(text("memory.x").contains(&format!("FLASH : {region}")), "{board}");
        let program = sdk().root().join(format!("firmware/{package}/src/bin/{board}.rs"));
        assert_eq!(text("src/main.rs"), fs::read_to_string(program).expect("a program"));
        assert!(text("build.rs").contains(&format!("join(\"{board}\")")));
        assert!(text("README.md").contains(&format!("push target/{target}/release/mine --board {board}")));
    }
}

#[test]
fn features_of_the_workspace_and_of_the_package_are_both_there() {
    let (dir, _) = written("netduino2", "mine");
    let text = fs::read_to_string(dir.path().join("new/Cargo.toml")).expect("a manifest");
    let features = &text.parse::<toml::Table>().expect("a manifest")["dependencies"]["stm32f2"]["features"];
    let features: Vec<&str> = features.as_array().into_iter().flatten().filter_map(|f| f.as_str()).collect();
    assert_eq!(features, ["critical-section", "stm32f215"]);
}

#[test]
fn only_boards_with_firmware_have_projects() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = sdk().root().to_owned();
    for (board, expected) in [
        ("uno", "there is no board uno; boards with firmware are: hifive1, mps2-an385, netduino2, rv32-virt"),
        (
            "linux",
            "linux has no firmware of its own (Linux: the agent as a process); boards with firmware are",
        ),
        ("lx60", "change firmware/xtensa in a checkout of wasmbed and build it with `cargo xtask fw lx60`"),
    ] {
        let said = new(board, &dir.path().join("mine"), Some(&root)).expect_err(board);
        assert!(said.contains(expected), "{said}");
    }
    assert!(!dir.path().join("mine").exists());
}

#[test]
fn what_is_in_a_folder_already_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("Cargo.toml"), "mine").expect("a file");
    let root = sdk().root().to_owned();
    let said = new("netduino2", dir.path(), Some(&root)).expect_err("not empty");
    assert!(said.contains("is not empty"), "{said}");
    let file = dir.path().join("file");
    fs::write(&file, "mine").expect("a file");
    let said = new("netduino2", &file, Some(&root)).expect_err("a file");
    assert!(said.contains("cannot read"), "{said}");
    assert_eq!(fs::read(dir.path().join("Cargo.toml")).expect("a file"), b"mine");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
}

#[test]
fn the_sdk_is_the_nearest_checkout_above() {
    let root = sdk().root().to_owned();
    let within = |path: &str| root.join(path);
    let found = Sdk::above(&[Path::new("/"), &within("firmware/a/folder/to/be")]).expect("the SDK");
    assert_eq!(found.root(), root);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let Err(error) = Sdk::above(&[Path::new("/"), elsewhere.path()]) else { panic!("found one elsewhere") };
    assert!(error.to_string().contains("--sdk PATH"), "{error}");
    let said = new("netduino2", &elsewhere.path().join("mine"), Some(elsewhere.path())).expect_err("no SDK");
    assert!(said.contains("is not a checkout of wasmbed: it has no firmware/common/Cargo.toml"), "{said}");
}

#[test]
fn names_that_cargo_or_the_compiler_would_stumble_over_are_refused() {
    let (_dir, project) = written("rv32-virt", "mine");
    let check = |name: &str| check_name(name.parse().expect("a name"), &project);
    for name in ["core", "riscv", "wasmbed-boards", "wasmbed-firmware-riscv32", "2nd", "-x"] {
        assert!(check(name).is_err(), "{name}");
    }
    assert!(check("pump-2").is_ok());
    assert_eq!(checkout::name_of(Path::new("/a/My_Pump"), "firmware").expect("a name").as_str(), "my-pump");
    assert!(
        checkout::name_of(Path::new("/a/pump.fw"), "firmware")
            .expect_err("a dot")
            .to_string()
            .contains("use --name")
    );
}
