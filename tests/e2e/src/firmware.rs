//! The firmware of a test fleet: signed with the fleet's key, as `wasmbed up` does it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wasmbed_boards::{Boards, Holds};
use wasmbed_update::ImageSlot;

use crate::{Fleet, Limit, boards, images, variant, wait_for};

/// The version of what devices run before they are updated.
pub const FACTORY_VERSION: &str = "0.1.0";

impl Fleet {
    /// The folder that the host flashes new devices from.
    pub fn factory(&self) -> PathBuf {
        self.dir().join("firmware")
    }

    /// The service's own key, which every device trusts with everything.
    pub fn service_key(&self) -> PathBuf {
        self.dir().join("service/signing.key")
    }

    /// Signs the images of the fleet's boards for the host, and has the registry know them.
    pub(crate) fn sign_images(&self) -> Result<()> {
        let key = self.service_key();
        wait_for("the service's key", Duration::from_secs(20), || Ok(key.exists()))?;
        fs::create_dir_all(self.factory())?;
        let mut boards = self.boards();
        boards.sort();
        boards.dedup();
        for board in boards {
            for file in [format!("{board}.vmlinuz"), format!("{board}.initramfs")] {
                let from = images()?.join(&file);
                if from.exists() {
                    symlink(from, self.factory().join(file))?;
                }
            }
            let elf = images()?.join(format!("{board}.elf"));
            if !elf.exists() {
                continue;
            }
            let boot = format!("{board}-boot.elf");
            let from = images()?.join(&boot);
            fs::copy(&from, self.factory().join(boot)).with_context(|| from.display().to_string())?;
            let signed = self.factory().join(format!("{board}.wbfw"));
            self.sign(&elf, &board, FACTORY_VERSION, &key, &signed, &[])?;
            self.push(&signed)?;
        }
        Ok(())
    }

    /// Signs an image; `options` are those of `wasmbed firmware sign`.
    pub fn sign(
        &self,
        elf: &Path,
        board: &str,
        version: &str,
        key: &Path,
        signed: &Path,
        options: &[&str],
    ) -> Result<()> {
        let [elf, key, signed] = [elf, key, signed].map(Path::to_string_lossy);
        let mut arguments = vec!["firmware", "sign", &elf, "--board", board, "--version", version];
        arguments.extend(["--key", &key, "--output", &signed]);
        arguments.extend(options);
        self.cli(&arguments).map(drop)
    }

    /// Adds a file to the registry.
    pub fn push(&self, file: &Path) -> Result<Value> {
        self.cli(&["firmware", "push", &file.to_string_lossy(), "--json"])
    }

    /// Signs a variant of a board's firmware with the fleet's key and adds it to the registry.
    pub fn push_variant(&self, board: &str, name: &str, version: &str, options: &[&str]) -> Result<Value> {
        let signed = self.dir().join(format!("{board}-{version}.wbfw"));
        self.sign(&variant(board, name)?, board, version, &self.service_key(), &signed, options)?;
        self.push(&signed)
    }

    /// Writes a new firmware project for a board, builds it, and returns its program.
    pub fn build_project(&self, board: &str) -> Result<PathBuf> {
        let project = self.dir().join(format!("my-{board}"));
        let boards = boards()?;
        let sdk = boards.parent().context("boards are in no checkout")?.to_string_lossy();
        let made = self.cli(&[
            "firmware",
            "new",
            &project.to_string_lossy(),
            "--board",
            board,
            "--sdk",
            &sdk,
            "--json",
        ])?;
        let elf = Path::new(made["elf"].as_str().context("no program")?).strip_prefix("target")?;
        // Where that board's firmware was built, so that only the project itself is compiled.
        let images = images()?;
        let target = elf.components().next().context("no target")?;
        let target_dir = images.parent().context("images are in no folder")?.join("firmware").join(target);
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--target-dir"]).arg(&target_dir).current_dir(&project);
        // The lints of this workspace are not those of a project.
        cargo.env_remove("RUSTC_WORKSPACE_WRAPPER");
        ensure!(cargo.status()?.success(), "the project of {board} does not build");
        Ok(target_dir.join(elf))
    }

    /// Plans power cuts for a device that is switched off: each in the middle of the flash operation after so
    /// many, counted from the start of its emulator; those `in_trial` once the new image is to be started.
    pub fn plan_power_cuts(&self, id: &str, cuts: &[u32], in_trial: &[u32]) -> Result<()> {
        let mut text = String::new();
        for (nth, operations) in cuts.iter().chain(in_trial).enumerate() {
            let after_remap = nth == cuts.len();
            writeln!(text, "[[cut]]\nafter_remap = {after_remap}\nafter_operations = {operations}")?;
        }
        fs::write(self.power_cuts(id), text).context("cannot plan power cuts")
    }

    /// How many of the planned power cuts are still to come.
    pub fn power_cuts_to_come(&self, id: &str) -> usize {
        let text = fs::read_to_string(self.power_cuts(id)).unwrap_or_default();
        text.matches("[[cut]]").count()
    }

    fn power_cuts(&self, id: &str) -> PathBuf {
        self.dir().join("host/devices").join(id).join("fault.toml")
    }

    /// Overwrites both firmware slots of a device that is switched off, but not what it decided about them.
    pub fn damage_slots(&self, id: &str, board: &str) -> Result<()> {
        let boards = Boards::embedded()?;
        let board = boards.get(&board.parse()?).context("there is no such board")?;
        let layout = board.firmware.as_ref().context("the board has no firmware")?.slots.layout();
        let dir = self.dir().join("host/devices").join(id);
        let chip = dir.join("flash.bin");
        let bank = board.run.files().iter().find(|file| file.holds == Holds::Provision);
        let path = if chip.exists() { chip } else { dir.join(&bank.context("no bank")?.name) };
        let mut flash =
            File::options().write(true).open(&path).with_context(|| path.display().to_string())?;
        for slot in [ImageSlot::A, ImageSlot::B] {
            let at = layout.image(slot).origin;
            flash.seek(SeekFrom::Start(at.into()))?;
            flash.write_all(&[0; 4096])?;
        }
        Ok(())
    }

    /// Where a device stands with its firmware.
    pub fn firmware(&self, id: &str) -> Result<Value> {
        let status = self.cli(&["firmware", "status", "--to", id, "--json"])?;
        Ok(status[0].clone())
    }

    /// Waits until a device runs a version for good.
    pub fn wait_version(&self, id: &str, version: &str, limit: Limit) -> Result<()> {
        let mut last = Value::Null;
        self.wait(&format!("{id} with firmware {version}"), limit, || {
            last = self.firmware(id)?;
            let is_settled = last["state"].is_null() || last["state"] == "confirmed";
            Ok(last["status"] == "online" && last["running"]["version"] == version && is_settled)
        })
        .with_context(|| format!("last seen: {last:#}"))
    }

    /// Waits for an event of this kind that tells all of `what`.
    pub fn wait_event(&self, id: &str, kind: &str, what: &[&str], limit: Limit) -> Result<()> {
        self.wait(&format!("an event {kind} of {id} with {what:?}"), limit, || {
            let is_meant = |event: &Value| {
                let text = event["reason"].as_str().unwrap_or_default();
                event["kind"] == kind && what.iter().all(|what| text.contains(what))
            };
            Ok(self.events(id)?.iter().any(is_meant))
        })
    }
}
