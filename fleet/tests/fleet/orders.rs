//! What devices are told under the service's signature, and what they say of others who try.

use serde_json::json;
use wasmbed_fleet::artifacts::Signer;
use wasmbed_wire::{
    RuntimeId,
    limits::Class,
    message::{Command, Desired, PROTOCOL, Refusal, Refused, Subject, Verb},
};

use crate::world::{FIRST, World, said};

/// The commands a device was sent.
fn commands(world: &World, id: &str) -> Vec<Command> {
    let topic = format!("p/v1/{id}/dn/cmd/");
    let sent = world.sent.iter().filter(|message| message.topic.starts_with(&topic));
    sent.map(|message| minicbor::decode(said(id, message)).unwrap()).collect()
}

fn refused(count: u32, subject: Subject, reason: Refusal, revision: u64) -> Refused {
    Refused { boot: 1, count, subject, reason, revision }
}

#[test]
fn commands_are_for_the_connect_of_the_device_and_numbered() {
    let mut world = World::with_devices();
    for _ in 0..2 {
        world.ask("device-restart", json!({ "to": "hub" }));
    }
    let [first, second] = commands(&world, "hub")[..] else { panic!("two commands") };
    assert_eq!((first.verb, first.boot, second.boot), (Verb::Restart, world.boots, world.boots));
    assert!(first.number < second.number);

    world.sent.clear();
    world.device_online("hub", Class::Mpu, "linux");
    world.die_and_start();
    world.ask("device-restart", json!({ "to": "hub" }));
    let [third] = commands(&world, "hub")[..] else { panic!("a command") };
    assert_eq!(third.boot, world.boots, "also after a death");
    assert!(third.number > second.number);
}

#[test]
fn a_device_of_the_first_protocol_is_told_without_a_signature_until_it_speaks_the_next() {
    let mut world = World::with_devices();
    let runtime = RuntimeId([0; 8]);
    world.device_speaks("hub", Class::Mpu, "linux", runtime, 1);
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "hub" }));
    let message = *world.sent_to("p/v1/hub/dn/desired").last().unwrap();
    assert_eq!(minicbor::decode::<Desired<'_>>(&message.payload).unwrap().revision, FIRST + 1);
    world.ask("device-restart", json!({ "to": "hub" }));
    let command = world.sent.iter().rfind(|message| message.topic.starts_with("p/v1/hub/dn/cmd/")).unwrap();
    assert_eq!(minicbor::decode::<Command>(&command.payload).unwrap().verb, Verb::Restart);

    world.device_speaks("hub", Class::Mpu, "linux", runtime, PROTOCOL);
    world.sent.clear();
    world.connect();
    assert_eq!(world.desired("hub").unwrap().0, FIRST + 1, "signed");
}

#[test]
fn a_service_that_lost_its_store_is_above_what_it_said_before() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    for to in ["pump", "hub"] {
        world.ask("deploy", json!({ "module": "thermo", "to": to }));
    }
    let before = world.desired("hub").unwrap().0;
    world.beat_for(&["pump", "hub"], 10_000);
    world.lose_the_store();
    world.ask("device-add", json!({ "device": "hub", "board": "linux" }));
    world.connect();
    assert!(world.desired("hub").unwrap().0 > before);
}

#[test]
fn a_service_with_an_old_store_goes_above_what_a_device_has_accepted() {
    let mut world = World::with_devices();
    let told = refused(1, Subject::Desired, Refusal::Stale, FIRST + 40);
    world.refuses("hub", told);
    assert_eq!(world.desired("hub").unwrap().0, FIRST + 41);
    assert_eq!(world.desired("pump"), None, "others are not told anew");
    // Who says so need not be the device: revisions do not run away.
    world.refuses("hub", refused(2, Subject::Desired, Refusal::Stale, u64::from(u32::MAX)));
    world.refuses("hub", refused(3, Subject::Command, Refusal::Stale, FIRST + 90));
    assert_eq!(world.desired("hub").unwrap().0, FIRST + 41);
}

#[test]
fn what_a_broker_keeps_in_the_place_of_what_was_said_is_said_again() {
    let mut world = World::with_devices();
    add_a_key(&mut world);
    world.sent.clear();
    world.refuses("pump", refused(1, Subject::Command, Refusal::Forged, FIRST));
    assert_eq!((world.desired("pump"), world.sent_to("p/v1/pump/dn/keys").len()), (None, 0));
    for (count, reason) in [(2, Refusal::Stale), (3, Refusal::Forged)] {
        world.refuses("pump", refused(count, Subject::Desired, reason, FIRST));
        assert_eq!(world.desired("pump").unwrap().0, FIRST);
        world.sent.clear();
    }
    world.refuses("pump", refused(4, Subject::Keys, Refusal::Forged, FIRST));
    assert_eq!(world.sent_to("p/v1/pump/dn/keys").len(), 1);
}

fn add_a_key(world: &mut World) {
    let key = Signer::from_seed([8; 32]).public();
    world.ask("key-add", json!({ "name": "release", "key": key, "roles": ["firmware"] }));
}

#[test]
fn what_a_device_refuses_is_told_once_and_forgeries_are_alerts() {
    let mut world = World::with_devices();
    for (count, (subject, reason)) in (1..).zip([
        (Subject::Desired, Refusal::Forged),
        (Subject::Command, Refusal::UnknownKey),
        (Subject::Keys, Refusal::WrongRole),
        (Subject::Desired, Refusal::Malformed),
        (Subject::Command, Refusal::Stale),
    ]) {
        for _ in 0..2 {
            world.refuses("pump", refused(count, subject, reason, 0));
        }
    }
    let told = world.events().into_iter().filter(|event| event["kind"] == "device-refused");
    let severities: Vec<_> = told.map(|event| event["severity"].clone()).collect();
    assert_eq!(severities, ["alert", "alert", "alert", "alert", "warning"]);
    let reasons = world.reasons("device-refused");
    assert!(reasons[0].contains("a desired state") && reasons[0].contains("1 so far"), "{}", reasons[0]);
    assert!(reasons[2].contains("a keyring"), "{}", reasons[2]);
}
