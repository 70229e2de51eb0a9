//! Firmware over a real broker: pushed as a file, fetched in blocks, followed on the command line.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};
use wasmbed_broker::credentials::Role;
use wasmbed_delta::{Applier, Failed, Old, Sink};
use wasmbed_fleet::{
    api::{Device, Firmware, FirmwareChanged},
    artifacts::{Signer, Trust},
};
use wasmbed_wire::{
    ArtifactId, Digest, RuntimeId, Seq,
    keyring::{Role as KeyRole, Roles, TrustedKey},
    limits::Class,
    manifest::{Kind, Manifest, Patch},
    message::{
        Block, Desired, DesiredFirmware, FirmwareReport, FirmwareSlots, FirmwareState, Get, Info, PROTOCOL,
        Reported, ResetCause,
    },
    sign1::Sign1,
};

use crate::peer::{self, Peer, World};

const LIMIT: Duration = Duration::from_secs(60);

/// A flat image for netduino2: a vector table, then this text many times.
pub(crate) fn image(text: &str) -> Vec<u8> {
    let mut image = [0x2001_0000_u32, 0x0802_0401].map(u32::to_le_bytes).concat();
    for line in 0..2_000 {
        image.extend(format!("{text} {line};").bytes());
    }
    image
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A device that plays the part of an agent.
pub(crate) struct Pump {
    peer: Peer,
    boot: u32,
    pub(crate) slots: FirmwareSlots,
}

impl Pump {
    pub(crate) async fn new(world: &World, running: &[u8]) -> Self {
        let peer = world.device("pump").await;
        let slots = FirmwareSlots {
            running: Some(sha256(running)),
            other: None,
            image_bytes: 0x2_0000,
            patch_bytes: 0x1_0000,
            counter: 0,
        };
        let mut pump = Pump { peer, boot: 0, slots };
        pump.connect().await;
        pump
    }

    pub(crate) async fn connect(&mut self) {
        self.boot += 1;
        self.peer.online(self.boot).await;
        let info = Info {
            boot: self.boot,
            protocol: PROTOCOL,
            board: "netduino2".parse().unwrap(),
            class: Class::Mcu,
            firmware: "0.1.0",
            runtime: RuntimeId([0; 8]),
            reset: ResetCause::Power,
            slots: 2,
            slot_bytes: 32_768,
            block_bytes: 1024,
            heap_bytes: 65_536,
            firmware_slots: Some(self.slots),
        };
        self.peer.publish("up/info", minicbor::to_vec(info).unwrap(), true).await;
    }

    pub(crate) async fn wish(
        &mut self,
        is_meant: impl Fn(&DesiredFirmware) -> bool,
    ) -> (u64, DesiredFirmware) {
        let meant = |payload: &[u8]| {
            let desired: Desired<'_> = minicbor::decode(Sign1::decode(payload).unwrap().payload).unwrap();
            desired.firmware.filter(&is_meant).map(|firmware| (desired.revision, firmware))
        };
        let payload = self.peer.next_where("dn/desired", |payload| meant(payload).is_some()).await;
        meant(&payload).unwrap()
    }

    pub(crate) async fn report(
        &self,
        (revision, wish): (u64, DesiredFirmware),
        state: FirmwareState,
        progress: u8,
    ) {
        let since = (state == FirmwareState::Trial).then_some(self.boot);
        let firmware = Some(FirmwareReport {
            image: wish.image,
            state,
            progress,
            reason: None,
            generation: wish.generation,
            since,
        });
        let reported =
            Reported { boot: self.boot, revision, modules: Seq::default(), firmware, keyring: None };
        self.peer.publish("up/reported", minicbor::to_vec(reported).unwrap(), true).await;
    }

    /// Fetches one artifact: its signed manifest and its payload.
    async fn fetch(&mut self, artifact: ArtifactId) -> (Vec<u8>, Vec<u8>) {
        let topic = format!("dn/blk/{artifact}");
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        let mut wanted = 1;
        while blocks.len() < wanted {
            let base = blocks.len() as u32;
            let get = Get { artifact, base, bitmap: 1 };
            self.peer.publish("up/get", minicbor::to_vec(get).unwrap(), false).await;
            let payload = self.peer.next_where(&topic, |_| true).await;
            let block: Block<'_> = minicbor::decode(&payload).unwrap();
            assert_eq!(block.index, base);
            blocks.push(block.bytes.to_vec());
            if base == 0 {
                let signed = wasmbed_wire::sign1::Sign1::decode(&blocks[0]).unwrap();
                let manifest: Manifest<'_> = minicbor::decode(signed.payload).unwrap();
                wanted = 1 + manifest.payload_blocks() as usize;
            }
        }
        let manifest = blocks.remove(0);
        (manifest, blocks.concat())
    }
}

struct Bytes(Vec<u8>);

impl Old for Bytes {
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Failed> {
        let start = offset as usize;
        out.copy_from_slice(&self.0[start..start + out.len()]);
        Ok(())
    }
}

impl Sink for Bytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.0.extend(bytes);
        Ok(())
    }
}

fn provisioned(world: &World) -> Trust {
    let key = Signer::load(&world.data_dir().join("signing.key")).unwrap().public();
    Trust { keys: vec![TrustedKey { key, roles: Roles::ALL, not_after_s: None }], now_s: 0 }
}

pub(crate) async fn registered(world: &World) -> wasmbed_fleet::client::Client {
    let mut people = world.client().await;
    let add = json!({ "device": "pump", "board": "netduino2" });
    people.request::<Device>("device-add", &add).await.unwrap();
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_fetches_a_patch_that_makes_the_new_image_of_the_old_one() {
    let world = World::start().await;
    let mut people = registered(&world).await;
    let (old, new) = (image("a"), image("ab"));
    for (version, image) in [("1.0.0", &old), ("1.1.0", &new)] {
        people.put_firmware::<Firmware>("netduino2", version, image.clone()).await.unwrap();
    }
    let mut pump = Pump::new(&world, &old).await;
    peer::until("the device to be known", async || {
        let device: Device = people.request("device-show", &json!({ "device": "pump" })).await.unwrap();
        device.info.is_some()
    })
    .await;
    let deploy = json!({ "firmware": "netduino2", "to": "pump" });
    let changed: FirmwareChanged = people.request("firmware-deploy", &deploy).await.unwrap();
    assert!(changed.devices[0].patch, "the patch was waited for: {changed:?}");

    let (revision, wish) = pump.wish(|wish| wish.image == sha256(&new)).await;
    let trust = provisioned(&world);
    let (signed, payload) = pump.fetch(wish.artifact).await;
    let (_, manifest) = trust.verify(KeyRole::Firmware, &signed).unwrap();
    let manifest: Manifest<'_> = minicbor::decode(manifest).unwrap();
    assert_eq!((manifest.kind, manifest.digest), (Kind::Firmware, sha256(&new)));
    assert_eq!(sha256(&payload), sha256(&new));

    let (signed, patch) = pump.fetch(wish.patch.unwrap()).await;
    let (_, manifest) = trust.verify(KeyRole::Patch, &signed).unwrap();
    let manifest: Manifest<'_> = minicbor::decode(manifest).unwrap();
    assert_eq!(manifest.patch, Some(Patch { base: sha256(&old), image: sha256(&new) }));
    assert_eq!((manifest.kind, manifest.digest), (Kind::Patch, sha256(&patch)));
    let mut made = Bytes(Vec::new());
    let mut applier = Applier::new(old.len() as u32, new.len() as u32);
    applier.push(&patch, &mut Bytes(old.clone()), &mut made).unwrap();
    assert_eq!(applier.finish().ok(), Some(new.len() as u32));
    assert_eq!(sha256(&made.0), wish.image);

    (pump.slots.running, pump.slots.other) = (Some(sha256(&new)), Some(sha256(&old)));
    pump.connect().await;
    pump.report((revision, wish), FirmwareState::Trial, 100).await;
    let (_, confirmed) = pump.wish(|wish| wish.confirm.is_some()).await;
    assert_eq!(confirmed.confirm, Some(pump.boot));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_says_rule_and_reason() {
    let world = World::start().await;
    let mut people = world.client().await;
    for (name, file, expected) in [
        ("pump", b"#!/bin/sh".to_vec(), "WBFW"),
        ("pump", b"WBFW\x01\0\0\0\xff".to_vec(), "cut short"),
        ("netduino2", vec![0; 100], "stack pointer"),
    ] {
        let refusal = people.put_firmware::<Value>(name, "1.0.0", file).await.unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
    let versions: Vec<Firmware> = people.request("firmware-list", &json!({})).await.unwrap();
    assert_eq!(versions, []);
    world.stop().await;
}

// ---- the command line ----

pub(crate) struct Shell {
    dir: tempfile::TempDir,
    common: Vec<String>,
}

impl Shell {
    pub(crate) fn new(world: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, world.password(&Role::Operator)).unwrap();
        let common = vec![
            "--broker".into(),
            world.address().to_string(),
            "--prefix".into(),
            world.topic("").strip_suffix("/v1/").unwrap().to_owned(),
            "--password-file".into(),
            password.display().to_string(),
            "--data-dir".into(),
            dir.path().display().to_string(),
        ];
        Shell { dir, common }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmbed"));
        command.args(line.split(' ')).args(&self.common).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Whether it succeeded, and everything it printed.
    pub(crate) async fn ran(&self, line: &str) -> (bool, String) {
        let output = timeout(LIMIT, self.command(line).output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    pub(crate) fn good(&self, line: &str) -> impl Future<Output = String> {
        let ran = self.command(line).output();
        let line = line.to_owned();
        async move {
            let output = timeout(LIMIT, ran).await.unwrap().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(output.status.success(), "{line}: {text}");
            text
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_signed_elsewhere_is_pushed_once_its_key_is_trusted() {
    let world = World::start().await;
    let shell = Shell::new(&world);
    fs::write(shell.path("netduino2.bin"), image("a")).unwrap();
    let made = shell.good("keys create release").await;
    assert!(made.contains("keys add release"), "{made}");
    let (again, _) = shell.ran("keys create release").await;
    assert!(!again, "a key is never overwritten");
    let sign = "firmware sign netduino2.bin --key release.key --version 2.0.0 --counter 1 --notes better --meta a=b \
                -o pump.wbfw --name pump-control";
    shell.good(sign).await;
    let (pushed, text) = shell.ran("firmware push pump.wbfw").await;
    assert!(!pushed && text.contains("not trusted"), "{text}");

    let public = shell.good("keys public release.key").await;
    let added = shell
        .good(&format!("keys add release {} --roles firmware --not-after 2100-01-01", public.trim()))
        .await;
    assert!(added.contains("keyring 1") && added.contains("2100-01-01"), "{added}");
    let text = shell.good("firmware push pump.wbfw").await;
    assert!(text.contains("pump-control 2.0.0") && text.contains("signed by release"), "{text}");
    let shown = shell.good("firmware show pump-control").await;
    assert!(shown.contains("a=b") && shown.contains("better"), "{shown}");
    let verified = shell.good("firmware verify pump-control@2.0.0").await;
    assert!(verified.contains(&sha256(&image("a")).to_string()), "{verified}");
    let listed: Value = serde_json::from_str(&shell.good("firmware list --json").await).unwrap();
    assert_eq!(listed[0]["counter"], 1);

    shell.good("keys retire release").await;
    let (good, text) = shell.ran("firmware verify pump-control").await;
    assert!(!good && text.contains("not trusted"), "{text}");
    shell.good("firmware remove pump-control@2.0.0").await;
    assert!(shell.good("firmware list").await.contains("no firmware"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_with_the_next_version_and_more_needs_a_key() {
    let world = World::start().await;
    let shell = Shell::new(&world);
    let push = async |text: &str| {
        fs::write(shell.path("netduino2.bin"), image(text)).unwrap();
        shell.good("firmware push netduino2.bin").await
    };
    assert!(push("a").await.contains("netduino2 0.1.0"));
    assert!(push("b").await.contains("netduino2 0.1.1"));
    assert!(push("b").await.contains("netduino2 0.1.1"), "the same image has its version already");
    let (pushed, text) = shell.ran("firmware push netduino2.bin --notes better").await;
    assert!(!pushed && text.contains("--key FILE"), "{text}");
    let key = world.data_dir().join("signing.key");
    fs::copy(key, shell.path("signing.key")).unwrap();
    fs::write(shell.path("netduino2.bin"), image("c")).unwrap();
    let text = shell.good("firmware push netduino2.bin --notes better").await;
    assert!(text.contains("0.1.2") && text.contains("signed by service"), "{text}");
    let (pushed, text) = shell.ran("firmware push password").await;
    assert!(!pushed && text.contains("--board"), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_to_its_end_in_a_pipe() {
    let world = World::start().await;
    let mut people = registered(&world).await;
    for version in ["a", "b"] {
        let number = if version == "a" { "1.0.0" } else { "1.1.0" };
        people.put_firmware::<Firmware>("netduino2", number, image(version)).await.unwrap();
    }
    let mut pump = Pump::new(&world, &image("a")).await;
    let shell = Shell::new(&world);
    let mut follow = shell.command("firmware deploy netduino2 --to pump --no-delta --wait").spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let wish = pump.wish(|wish| wish.image == sha256(&image("b"))).await;
    for (state, progress, shown) in [
        (FirmwareState::Downloading, 50, "[##########----------]  50 %"),
        (FirmwareState::Trial, 100, "running on trial"),
        (FirmwareState::Confirmed, 100, "confirmed"),
    ] {
        pump.report(wish, state, progress).await;
        let found = async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no {shown}"));
                assert!(!line.contains('\u{1b}'), "terminal codes in a pipe");
                if line.contains(shown) {
                    break;
                }
            }
        };
        timeout(LIMIT, found).await.unwrap();
    }
    assert!(timeout(LIMIT, follow.wait()).await.unwrap().unwrap().success());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_made_with_an_offline_root_key_is_imported() {
    let world = World::start().await;
    let shell = Shell::new(&world);
    shell.good("keys create root").await;
    let public = |text: String| text.trim().to_owned();
    let root = public(shell.good("keys public root.key").await);
    shell.good(&format!("keys add root {root} --roles root")).await;
    let own = Signer::load(&world.data_dir().join("signing.key")).unwrap().public();
    let make = format!(
        "keys keyring --sign root.key --version 2 --key {root}:root --key {own}:module+patch -o ring"
    );
    let made = shell.good(&make).await;
    assert!(made.contains("keys import ring"), "{made}");
    let imported = shell.good("keys import ring").await;
    assert!(imported.contains("keyring 2"), "{imported}");
    let (retired, text) = shell.ran("keys retire service").await;
    assert!(!retired && text.contains("wasmbed keys keyring"), "{text}");
    world.stop().await;
}
