//! Topics: their text, and how each travels.

use proptest::prelude::*;
use wasmbed_wire::{
    ArtifactId, DeviceId,
    topic::{DEFAULT_PREFIX, Delivery, Down, Full, Level, MAX_BYTES, RosDown, RosUp, Up, split},
};

use super::samples::parsed;

/// One topic of each kind a device publishes.
pub(crate) fn every_up() -> Vec<Up> {
    let mut all = vec![
        Up::State,
        Up::Info,
        Up::Reported,
        Up::Heartbeat,
        Up::Telemetry(parsed("channel")),
        Up::Message(parsed("instance"), parsed("channel")),
        Up::Nodes,
        Up::Log(Level::Error),
        Up::Crash,
        Up::Trap,
        Up::Refused,
        Up::Get,
        Up::Result(parsed("id")),
    ];
    all.extend(RosUp::ALL.map(|kind| Up::Ros(kind, parsed("instance"))));
    // A topic added later does not compile here until it is in the list.
    for up in &all {
        match up {
            Up::State | Up::Info | Up::Reported | Up::Heartbeat | Up::Telemetry(_) => {}
            Up::Message(..) | Up::Ros(..) | Up::Trap | Up::Refused => {}
            Up::Nodes | Up::Log(_) | Up::Crash | Up::Get | Up::Result(_) => {}
        }
    }
    all
}

/// One topic of each kind a device receives.
pub(crate) fn every_down() -> Vec<Down> {
    let mut all = vec![
        Down::Desired,
        Down::Block(ArtifactId([0; 8])),
        Down::Command(parsed("id")),
        Down::Message(parsed("instance"), parsed("channel")),
        Down::Keys,
    ];
    all.extend(RosDown::ALL.map(|kind| Down::Ros(kind, parsed("instance"))));
    for down in &all {
        match down {
            Down::Desired | Down::Block(_) | Down::Command(_) | Down::Message(..) | Down::Keys => {}
            Down::Ros(..) => {}
        }
    }
    all
}

#[test]
fn topics_have_these_names_and_ways_to_travel() {
    let line = |topic: String, delivery: Delivery| {
        format!("{topic} Q{}{}", delivery.qos, if delivery.retain { " R" } else { "" })
    };
    let ups = every_up().into_iter().map(|up| line(up.to_string(), up.delivery()));
    let downs = every_down().into_iter().map(|down| line(down.to_string(), down.delivery()));
    let expected = [
        "up/state Q1 R",
        "up/info Q1 R",
        "up/reported Q1 R",
        "up/hb Q0",
        "up/tm/channel Q0",
        "up/msg/instance/channel Q0",
        "up/nodes Q0",
        "up/log/error Q0",
        "up/crash Q1",
        "up/trap Q1",
        "up/refused Q1",
        "up/get Q0",
        "up/res/id Q1",
        "up/ros/want/instance Q0",
        "up/ros/publish/instance Q0",
        "up/ros/call/instance Q0",
        "up/ros/reply/instance Q0",
        "up/ros/ask/instance Q0",
        "up/ros/taken/instance Q0",
        "dn/desired Q1 R",
        "dn/blk/0000000000000000 Q0",
        "dn/cmd/id Q1",
        "dn/msg/instance/channel Q0",
        "dn/keys Q1 R",
        "dn/ros/have/instance Q0",
        "dn/ros/tell/instance Q0",
    ];
    assert_eq!(ups.chain(downs).collect::<Vec<_>>(), expected);
}

#[test]
fn topics_are_read_as_written() {
    for up in every_up().into_iter().chain(Level::ALL.map(Up::Log)) {
        assert_eq!(Up::parse(&up.to_string()), Some(up));
        assert_eq!(Down::parse(&up.to_string()), None);
    }
    for down in every_down() {
        assert_eq!(Down::parse(&down.to_string()), Some(down));
        assert_eq!(Up::parse(&down.to_string()), None);
    }
}

#[test]
fn the_longest_topic_fits() {
    let name = "n".repeat(32);
    let longest = [Up::Telemetry(parsed(&name)), Up::Result(parsed(&name))].map(|up| up.to_string().len());
    assert!(longest.iter().all(|len| *len <= MAX_BYTES));
    assert!(Up::Ros(RosUp::Publish, parsed(&name)).to_string().len() <= MAX_BYTES);
    assert!(Down::Command(parsed(&name)).to_string().len() <= MAX_BYTES);
    assert!(Down::Block(ArtifactId([0; 8])).to_string().len() <= MAX_BYTES);
}

#[test]
fn anything_else_is_no_topic() {
    let bad = [
        "",
        "up",
        "up/",
        "up/State",
        "up/state/",
        "up//state",
        "up/tm",
        "up/tm/",
        "up/tm/a/b",
        "up/tm/A",
        "up/tm/+",
        "up/log/trace",
        "up/log/error/x",
        "up/res/",
        "up/ros",
        "up/ros/want",
        "up/ros/want/",
        "up/ros/wants/a",
        "up/ros/have/a",
        "up/ros/want/a/b",
        "up/#",
        "dn/desired/x",
        "dn/desire",
    ];
    bad.iter().for_each(|topic| assert_eq!(Up::parse(topic), None, "{topic}"));
    let bad = [
        "",
        "dn",
        "dn/",
        "dn/desired/",
        "dn/desired/x",
        "dn/blk",
        "dn/blk/",
        "dn/blk/00",
        "dn/key",
        "dn/keys/",
        "dn/keys/x",
        "dn/cmd/",
        "dn/cmd/a b",
        "dn/ros/tell",
        "dn/ros/want/a",
        "dn/ros/tell/A",
        "dn/blk/000000000000000G",
        "dn/blk/00000000000000000",
        "dn/blk/0000000000000000/1",
    ];
    bad.iter().for_each(|topic| assert_eq!(Down::parse(topic), None, "{topic}"));
}

#[test]
fn a_whole_topic_names_prefix_version_and_owner() {
    let device: DeviceId = parsed("pump-7");
    let full = Full { prefix: DEFAULT_PREFIX, device, rest: Up::State }.to_string();
    assert_eq!(full, "wasmbed/v1/pump-7/up/state");
    assert_eq!(split("wasmbed", &full), Some(("pump-7", "up/state")));
    assert_eq!(split("plant/a", "plant/a/v1/_host/h1/up/info"), Some(("_host", "h1/up/info")));
    for other in
        ["wasmbed/v2/pump-7/up/state", "wasmbedx/v1/a/b", "wasmbed/v1/pump-7", "x/wasmbed/v1/a/b", ""]
    {
        assert_eq!(split("wasmbed", other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(text in "(up|dn)/[a-z]{0,8}(/[a-z0-9/-]{0,34})?") {
        prop_assert!(Up::parse(&text).is_none_or(|up| up.to_string() == text));
        prop_assert!(Down::parse(&text).is_none_or(|down| down.to_string() == text));
    }

    #[test]
    fn any_text_is_taken(text in any::<String>(), prefix in any::<String>()) {
        Up::parse(&text);
        Down::parse(&text);
        split(&prefix, &text);
    }
}
