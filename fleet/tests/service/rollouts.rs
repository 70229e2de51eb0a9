//! Rollouts over a real broker, on the command line.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};
use wasmbed_fleet::api::Firmware;
use wasmbed_wire::message::FirmwareState;

use crate::{
    firmware::{Pump, Shell, image, registered, sha256},
    peer::World,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A pump that runs version 1.0.0, and a registry that has 1.1.0 too.
async fn ready(world: &World) -> Pump {
    let mut people = registered(world).await;
    for (version, text) in [("1.0.0", "a"), ("1.1.0", "b")] {
        people.put_firmware::<Firmware>("netduino2", version, image(text)).await.unwrap();
    }
    Pump::new(world, &image("a")).await
}

fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no {text}"));
            assert!(!line.contains('\u{1b}'), "terminal codes in a pipe");
            if line.contains(text) {
                return;
            }
        }
    };
    timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no {text}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_followed_to_its_end_and_over_a_restart_of_the_service() {
    let mut world = World::start().await;
    let mut pump = ready(&world).await;
    let shell = Shell::new(&world);
    let create = "rollout create netduino2@1.1.0 --to pump --groups canary:1,rest --soak 0 --wait";
    let mut follow = shell.command(create).spawn().unwrap();
    let mut lines = lines(&mut follow);
    let wish = pump.wish(|wish| wish.image == sha256(&image("b"))).await;
    pump.report(wish, FirmwareState::Downloading, 50).await;
    line_with(&mut lines, "[##########----------]  50 %  0 of 1 confirmed, 1 updating").await;
    world.restart_service().await;
    pump.slots.running = Some(sha256(&image("b")));
    pump.connect().await;
    pump.report(wish, FirmwareState::Trial, 100).await;
    line_with(&mut lines, "trial").await;
    pump.report(wish, FirmwareState::Confirmed, 100).await;
    line_with(&mut lines, "done").await;
    assert!(timeout(LIMIT, follow.wait()).await.unwrap().unwrap().success());

    let listed = shell.good("rollout list").await;
    assert!(listed.contains("netduino2 1.1.0") && listed.contains("1 of 1"), "{listed}");
    let shown: Value = serde_json::from_str(&shell.good("rollout list --json").await).unwrap();
    let number = shown[0]["rollout"].as_u64().unwrap();
    let shown = shell.good(&format!("rollout show {number}")).await;
    assert!(shown.contains("confirmed after") && shown.contains("canary:1"), "{shown}");
    let (cancelled, text) = shell.ran(&format!("rollout cancel {number}")).await;
    assert!(!cancelled && text.contains("it is done"), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_an_aborted_or_cancelled_rollout_fails_and_says_why() {
    let world = World::start().await;
    let mut pump = ready(&world).await;
    let shell = Shell::new(&world);
    let create = "rollout create netduino2 --to pump --wait";
    let follow = shell.command(create).spawn().unwrap();
    let wish = pump.wish(|wish| wish.image == sha256(&image("b"))).await;
    pump.report(wish, FirmwareState::Refused, 0).await;
    let output = timeout(LIMIT, follow.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("1 failed in the canary group"), "{text}");
    assert!(text.contains("pump: the device refused it"), "{text}");

    let made: Value =
        serde_json::from_str(&shell.good("rollout create netduino2 --to pump --json").await).unwrap();
    let number = made["rollout"].as_u64().unwrap();
    let paused = shell.good(&format!("rollout pause {number}")).await;
    assert!(paused.contains("paused"), "{paused}");
    shell.good(&format!("rollout resume {number}")).await;
    shell.good(&format!("rollout cancel {number}")).await;
    let (good, text) = shell.ran(&format!("rollout watch {number}")).await;
    assert!(!good && text.contains("cancelled"), "{text}");
    let (good, text) = shell.ran("rollout show 77").await;
    assert!(!good && text.contains("wasmbed rollout list"), "{text}");
    let fields = json!({ "rollout": number });
    let mut people = world.client().await;
    let shown: Value = people.request("rollout-show", &fields).await.unwrap();
    assert_eq!(shown["over"], true);
    world.stop().await;
}
