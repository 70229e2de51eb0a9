//! Whatever is refused changes nothing but what is said about it.

use std::{format, string::String, vec::Vec};

use wasmbed_update::model::Nor;
use wasmbed_wire::{
    ArtifactId, DeviceId, PublicKey, Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
    message::{Command, Verb},
};

use super::*;
use crate::{
    Config,
    testing::{Bench, DEVICE, LAYOUT, command, desired, encoded, keys, online, settle, sign, sign_for, told},
};

const ARTIFACT: ArtifactId = ArtifactId([7; 8]);
const DESIRED: &str = "dn/desired";
const CONTROLLER: u8 = 3;
const MINUTE: Instant = Instant(REPORT_MS);

type Device = Agent<Bench, 2>;

fn hear(agent: &mut Device, ms: u64, topic: &str, bytes: &[u8]) -> Result<(), Refusal> {
    match agent.on_message(Instant(ms), topic, bytes) {
        Err(Rejected::Refused(refusal)) => Err(refusal),
        other => {
            assert_eq!(other, Ok(()));
            Ok(())
        }
    }
}

/// What was said about what was refused.
fn reports(agent: &mut Device) -> Vec<Refused> {
    let said = settle(agent).into_iter();
    let refused = said.filter(|(topic, _)| topic == "up/refused");
    refused.map(|(_, payload)| minicbor::decode(&payload).expect("a whole one")).collect()
}

fn state(revision: u64) -> Vec<u8> {
    encoded(&Desired { revision, modules: Seq::default(), heartbeat_ms: None, firmware: None })
}

fn signed(device: &str, topic: &str, payload: &[u8], key: u8) -> Vec<u8> {
    let id: DeviceId = device.parse().expect("a name");
    sign_for(Audience::Device { id: &id, topic }, payload, key)
}

/// A device whose keyring trusts [`CONTROLLER`] with what is desired, one key with everything else and one no longer.
fn with_a_keyring() -> Device {
    let trusted =
        |key: u8, roles, not_after_s| TrustedKey { key: PublicKey(*keys(key).pk), roles, not_after_s };
    let others = Roles::from_iter(Role::ALL.into_iter().filter(|role| *role != Role::Control));
    let control = Roles::default().with(Role::Control);
    let all = [trusted(1, others, None), trusted(CONTROLLER, control, None), trusted(4, control, Some(999))];
    let ring = encoded(&Keyring { version: 1, issued_s: 1_000, keys: Seq::new(&all) });
    let mut agent = online(Bench::default());
    assert_eq!(hear(&mut agent, 1, "dn/keys", &sign(&ring, 1)), Ok(()));
    settle(&mut agent);
    agent
}

#[test]
fn a_desired_state_that_the_fleet_did_not_sign_for_this_device_and_topic_changes_nothing() {
    let good = signed(DEVICE, DESIRED, &state(5), CONTROLLER);
    let mut changed = good.clone();
    changed[40] ^= 1;
    let mut other_signature = good.clone();
    let last = other_signature.len() - 1;
    other_signature[last] ^= 1;
    let cases = [
        ("unsigned", state(5), Refusal::Malformed),
        ("nothing", Vec::new(), Refusal::Malformed),
        ("something else", signed(DEVICE, DESIRED, b"\xff", CONTROLLER), Refusal::Malformed),
        ("a stranger's", signed(DEVICE, DESIRED, &state(5), 2), Refusal::UnknownKey),
        ("of a key for other things", signed(DEVICE, DESIRED, &state(5), 1), Refusal::WrongRole),
        ("of a key that has expired", signed(DEVICE, DESIRED, &state(5), 4), Refusal::KeyExpired),
        ("for another device", signed("pump-8", DESIRED, &state(5), CONTROLLER), Refusal::Forged),
        ("for another topic", signed(DEVICE, "dn/cmd/desired", &state(5), CONTROLLER), Refusal::Forged),
        ("for everybody", sign(&state(5), CONTROLLER), Refusal::Forged),
        ("changed", changed, Refusal::Forged),
        ("with another signature", other_signature, Refusal::Forged),
    ];
    for (what, bytes, refusal) in cases {
        let mut agent = with_a_keyring();
        assert_eq!(hear(&mut agent, 5, DESIRED, &bytes), Err(refusal), "{what}");
        let expected = Refused { boot: 1, count: 1, subject: Subject::Desired, reason: refusal, revision: 0 };
        assert_eq!(reports(&mut agent), [expected], "{what}");
        assert_eq!((agent.revision, &agent.platform().desired), (0, &None), "{what}");
        assert_eq!(hear(&mut agent, 5 + CALM_MS, DESIRED, &good), Ok(()), "{what}, then the true one");
        assert_eq!(agent.revision, 5);
    }
}

#[test]
fn a_desired_state_cut_anywhere_changes_nothing() {
    let good =
        told(DESIRED, &Desired { revision: 1, modules: Seq::default(), heartbeat_ms: None, firmware: None });
    let mut agent: Device = online(Bench::default());
    for len in 0..good.len() {
        assert_eq!(hear(&mut agent, 1, DESIRED, &good[..len]), Err(Refusal::Malformed), "{len} bytes");
    }
    assert_eq!(agent.revision, 0);
}

#[test]
fn an_old_desired_state_is_refused_also_after_a_restart() {
    let lasting = || Bench { nor: Some(Nor::new(LAYOUT.end(), 0x1000)), ..Bench::default() };
    // Boards keep nothing of a desired state but its revision, others without slots for firmware keep it whole.
    for (bench, keeps_it) in [(lasting(), false), (Bench::default(), true)] {
        let mut agent: Device = online(bench);
        for revision in [7, 8] {
            assert_eq!(hear(&mut agent, 1, DESIRED, &desired(revision, ARTIFACT)), Ok(()));
        }
        assert_eq!(hear(&mut agent, 1, DESIRED, &desired(7, ARTIFACT)), Err(Refusal::Stale));
        let mut bench = agent.platform().clone();
        if !keeps_it {
            bench.desired = None;
        }
        let mut agent: Device = online(bench);
        assert_eq!(agent.revision, if keeps_it { 8 } else { 0 });
        assert_eq!(hear(&mut agent, 1, DESIRED, &desired(7, ARTIFACT)), Err(Refusal::Stale));
        assert_eq!(reports(&mut agent).first().map(|refused| refused.revision), Some(8));
        assert_eq!(hear(&mut agent, 1, DESIRED, &desired(8, ARTIFACT)), Ok(()), "the one it had");
        assert_eq!(agent.revision, 8);
    }
}

#[test]
fn the_same_desired_state_again_costs_neither_flash_nor_a_signature() {
    let mut nor = Nor::new(LAYOUT.end(), 0x1000);
    let mut operations = Vec::new();
    for _ in 0..3 {
        let mut agent: Device = online(Bench { nor: Some(nor), ..Bench::default() });
        for _ in 0..3 {
            assert_eq!(hear(&mut agent, 1, DESIRED, &desired(8, ARTIFACT)), Ok(()));
        }
        // Known by its signature alone; the change in it is not even looked at.
        let mut again = desired(8, ARTIFACT);
        *again.last_mut().expect("a signature") ^= 1;
        assert_eq!(hear(&mut agent, 1, DESIRED, &again), Ok(()));
        nor = agent.platform_mut().nor.take().expect("a flash");
        operations.push(nor.operations());
    }
    assert!(operations[0] > 0);
    assert_eq!(operations[1..], [operations[0]; 2], "written once");
}

#[test]
fn a_command_that_the_fleet_did_not_sign_for_this_connect_is_not_carried_out() {
    let topic = "dn/cmd/r-1";
    let restart = |boot, number| encoded(&Command { verb: Verb::Restart, boot, number });
    let good = signed(DEVICE, topic, &restart(1, 9), CONTROLLER);
    let cases = [
        ("unsigned", restart(1, 9), Refusal::Malformed),
        ("of the first protocol", signed(DEVICE, topic, b"\xa1\x00\x01", CONTROLLER), Refusal::Malformed),
        ("cut short", good[..good.len() - 1].to_vec(), Refusal::Malformed),
        ("a stranger's", signed(DEVICE, topic, &restart(1, 9), 2), Refusal::UnknownKey),
        ("of a key for other things", signed(DEVICE, topic, &restart(1, 9), 1), Refusal::WrongRole),
        ("for another device", signed("pump-8", topic, &restart(1, 9), CONTROLLER), Refusal::Forged),
        ("under another id", signed(DEVICE, "dn/cmd/r-2", &restart(1, 9), CONTROLLER), Refusal::Forged),
        ("of the connect before", signed(DEVICE, topic, &restart(0, 9), CONTROLLER), Refusal::Stale),
        ("of a connect to come", signed(DEVICE, topic, &restart(2, 9), CONTROLLER), Refusal::Stale),
    ];
    for (what, bytes, refusal) in cases {
        let mut agent = with_a_keyring();
        assert_eq!(hear(&mut agent, 5, topic, &bytes), Err(refusal), "{what}");
        let said: Vec<String> = settle(&mut agent).into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(said, ["up/refused"], "{what}: no answer, no goodbye");
    }
}

#[test]
fn a_command_of_before_is_refused_once_its_answer_is_forgotten() {
    let mut agent: Device = online(Bench::default());
    let topics: Vec<String> = (1..=8).map(|nth| format!("dn/cmd/p-{nth}")).collect();
    for (number, topic) in (1..).zip(&topics) {
        for _ in 0..2 {
            assert_eq!(hear(&mut agent, 1, topic, &command(topic, Verb::Ping, number)), Ok(()));
            let said = settle(&mut agent);
            assert_eq!(said.iter().filter(|(said, _)| said.starts_with("up/res/")).count(), 1);
        }
    }
    assert_eq!(hear(&mut agent, 1, &topics[0], &command(&topics[0], Verb::Ping, 1)), Err(Refusal::Stale));

    agent.on_disconnected(Instant(2));
    agent.on_deadline(Instant(10_000));
    settle(&mut agent);
    agent.on_connected(Instant(10_001));
    settle(&mut agent);
    let last = command(&topics[7], Verb::Ping, 8);
    assert_eq!(hear(&mut agent, 10_002, &topics[7], &last), Err(Refusal::Stale), "of another connect");
    // A service that counts anew is heard with the next connect.
    let first = told("dn/cmd/n-1", &Command { verb: Verb::Ping, boot: 2, number: 1 });
    assert_eq!(hear(&mut agent, 10_002, "dn/cmd/n-1", &first), Ok(()));
}

#[test]
fn after_something_forged_no_signature_is_tried_for_a_while() {
    let mut agent: Device = online(Bench::default());
    let forged = signed("pump-8", DESIRED, &state(6), 1);
    let (topic, ping) = ("dn/cmd/p-1", command("dn/cmd/p-1", Verb::Ping, 1));
    assert_eq!(hear(&mut agent, 10, DESIRED, &forged), Err(Refusal::Forged));
    let ring = encoded(&Keyring { version: 1, issued_s: 0, keys: Seq::new(&[]) });
    for ms in [10, 11, 9 + CALM_MS] {
        assert_eq!(hear(&mut agent, ms, DESIRED, &forged), Err(Refusal::Unchecked));
        assert_eq!(hear(&mut agent, ms, DESIRED, &desired(5, ARTIFACT)), Err(Refusal::Unchecked));
        assert_eq!(hear(&mut agent, ms, topic, &ping), Err(Refusal::Unchecked));
        assert_eq!(hear(&mut agent, ms, "dn/keys", &sign(&ring, 1)), Err(Refusal::Unchecked));
    }
    assert_eq!(hear(&mut agent, 10 + CALM_MS, DESIRED, &desired(5, ARTIFACT)), Ok(()));
    assert_eq!(hear(&mut agent, 10 + CALM_MS, topic, &ping), Ok(()));
}

#[test]
fn what_is_refused_is_counted_and_said_once_a_minute() {
    let mut agent: Device = online(Bench::default());
    let forged = signed("pump-8", DESIRED, &state(6), 1);
    assert_eq!(hear(&mut agent, 1, DESIRED, &forged), Err(Refusal::Forged));
    let first =
        Refused { boot: 1, count: 1, subject: Subject::Desired, reason: Refusal::Forged, revision: 0 };
    assert_eq!(reports(&mut agent), [first]);
    for ms in 2..1_000 {
        assert!(hear(&mut agent, ms, DESIRED, &forged).is_err());
        assert_eq!(reports(&mut agent), []);
    }
    let until = MINUTE.after(1);
    assert_eq!(agent.control.deadline(), Some(until));
    agent.on_deadline(until);
    assert_eq!(reports(&mut agent), [Refused { count: 999, ..first }], "what followed does not hide it");
    agent.on_deadline(until.after(2 * REPORT_MS));
    assert_eq!(reports(&mut agent), [], "nothing new");
}

#[test]
fn what_is_old_does_not_hide_what_was_forged_before_it_is_reported() {
    let mut agent: Device = online(Bench::default());
    assert_eq!(hear(&mut agent, 1, DESIRED, &desired(5, ARTIFACT)), Ok(()));
    settle(&mut agent);
    let refused = |count, reason| Refused { boot: 1, count, subject: Subject::Desired, reason, revision: 5 };
    let old = || desired(4, ARTIFACT);
    let forged = signed("pump-8", DESIRED, &state(6), 1);
    assert_eq!(hear(&mut agent, 2, DESIRED, &forged), Err(Refusal::Forged));
    assert_eq!(hear(&mut agent, 3, DESIRED, &old()), Err(Refusal::Stale));
    assert_eq!(reports(&mut agent), [refused(2, Refusal::Forged)]);
    assert_eq!(hear(&mut agent, 4, DESIRED, &old()), Err(Refusal::Stale));
    agent.on_deadline(MINUTE.after(3));
    assert_eq!(reports(&mut agent), [refused(3, Refusal::Stale)], "the forgery has been told");
}

#[test]
fn a_forged_keyring_is_reported_and_a_known_one_is_not() {
    let mut agent = with_a_keyring();
    let one = [TrustedKey { key: PublicKey(*keys(2).pk), roles: Roles::ALL, not_after_s: None }];
    let ring = |version| encoded(&Keyring { version, issued_s: 0, keys: Seq::new(&one) });
    assert_eq!(hear(&mut agent, 5, "dn/keys", &sign(&ring(1), 2)), Ok(()), "the broker repeats old ones");
    assert_eq!(reports(&mut agent), []);
    for (signer, refusal) in
        [(2, Refusal::UnknownKey), (CONTROLLER, Refusal::WrongRole), (4, Refusal::WrongRole)]
    {
        assert_eq!(hear(&mut agent, 5, "dn/keys", &sign(&ring(2), signer)), Err(refusal));
    }
    assert_eq!(reports(&mut agent).last().map(|refused| refused.subject), Some(Subject::Keys));
    assert_eq!(agent.ring.version(), Some(1));
}

#[test]
fn a_device_that_trusts_nobody_is_told_nothing() {
    let mut agent: Device = Agent::new(Bench { trusts_nobody: true, ..Bench::default() }, Config::default());
    assert_eq!(hear(&mut agent, 1, DESIRED, &desired(1, ARTIFACT)), Err(Refusal::UnknownKey));
    assert_eq!(hear(&mut agent, 1, DESIRED, &state(1)), Err(Refusal::Malformed));
}
