//! Requests that a host carries out.

use serde_json::{Value, json};
use wasmbed_fleet::{api::Answer, service::Reaction};
use wasmbed_wire::CommandId;

use crate::world::World;

fn freeze(id: Option<&str>) -> Value {
    let mut fields = json!({ "device": "pump", "control": { "do": "freeze", "for_ms": 1000 } });
    if let Some(id) = id {
        fields["id"] = json!(id);
    }
    fields
}

/// The number of an order and the topic its host gets it on.
fn order(world: &mut World, fields: &Value) -> CommandId {
    match world.react("device-control", fields) {
        Reaction::Relayed(number) => number,
        Reaction::Answer(answer) => panic!("{answer:?}"),
    }
}

fn host_says(world: &mut World, host: &str, number: &CommandId, answer: &Value) {
    let topic = format!("p/v1/_host/{host}/up/res/{number}");
    world.say(&topic, answer.to_string().as_bytes(), false);
}

#[test]
fn an_order_reaches_its_host_and_its_answer_who_gave_it() {
    let mut world = World::with_devices();
    let number = order(&mut world, &freeze(Some("mine")));
    let sent = world.sent_to(&format!("p/v1/_host/lab/dn/ctl/{number}"));
    let message = sent.last().expect("an order");
    assert!(!message.delivery.retain && message.expiry_s.is_some());
    let read: Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!(read, json!({ "device": "pump", "control": { "do": "freeze", "for_ms": 1000 } }));
    assert_eq!(world.relayed(), None);

    // Of another host it is no answer.
    host_says(&mut world, "other", &number, &json!({ "ok": true, "result": 1 }));
    assert_eq!(world.relayed(), None);
    host_says(&mut world, "lab", &number, &json!({ "ok": true, "result": { "done": 1 } }));
    let expected = Answer::new(Some("mine".parse().expect("a name")), Ok(json!({ "done": 1 })));
    assert_eq!(world.relayed(), Some((number, expected.clone())));

    // Whoever asks again is told the same, also after a restart, and nothing is done again.
    for _ in 0..2 {
        assert_eq!(world.react("device-control", &freeze(Some("mine"))), Reaction::Answer(expected.clone()));
        world.die_and_start();
        world.connect();
    }
}

#[test]
fn the_same_request_twice_is_one_order_and_without_an_id_two() {
    let mut world = World::with_devices();
    let number = order(&mut world, &freeze(Some("mine")));
    assert_eq!(order(&mut world, &freeze(Some("mine"))), number);
    let others = [order(&mut world, &freeze(None)), order(&mut world, &freeze(None))];
    assert!(others[0] != others[1] && !others.contains(&number));
}

#[test]
fn a_refusal_is_passed_on_and_may_be_asked_again() {
    let mut world = World::with_devices();
    let number = order(&mut world, &freeze(Some("mine")));
    let refusal =
        json!({ "ok": false, "error": { "code": "conflict", "message": "the device does not run" } });
    host_says(&mut world, "lab", &number, &refusal);
    let (_, answer) = world.relayed().expect("an answer");
    assert_eq!(answer.error.expect("a refusal").message, "the device does not run");
    assert_ne!(order(&mut world, &freeze(Some("mine"))), number);
}

#[test]
fn a_host_that_does_not_answer_is_named() {
    let mut world = World::with_devices();
    let number = order(&mut world, &freeze(None));
    world.run(9_000);
    assert_eq!(world.relayed(), None);
    world.run(2_000);
    let (of, answer) = world.relayed().expect("an answer");
    assert_eq!(of, number);
    let message = answer.error.expect("no answer").message;
    assert!(message.contains("host lab has not answered within 10 s"), "{message}");
    // What it says later is for nobody.
    host_says(&mut world, "lab", &number, &json!({ "ok": true }));
    assert_eq!(world.relayed(), None);
}

#[test]
fn what_cannot_be_ordered_is_refused_with_the_reason() {
    let mut world = World::with_devices();
    let control = json!({ "do": "pause" });
    let cases = [
        (json!({ "device": "nobody", "control": control }), "there is no device"),
        (json!({ "device": "pump", "control": { "do": "explode" } }), "unknown variant `explode`"),
        (json!({ "device": "pump", "control": { "do": "freeze", "for": 1 } }), "unknown field `for`"),
        (json!({ "device": "pump" }), "missing field `control`"),
        (json!({ "device": "real", "control": control }), "real hardware"),
    ];
    world.ask("device-add", json!({ "device": "real", "board": "netduino2" }));
    for (fields, expected) in cases {
        let (_, message) = world.refused("device-control", fields);
        assert!(message.contains(expected), "{message}");
    }
    let gone = json!({ "status": "offline", "boot": world.now.0 });
    world.say("p/v1/_host/lab/up/state", gone.to_string().as_bytes(), false);
    let (code, message) = world.refused("device-control", freeze(None));
    assert_eq!(code, "conflict");
    assert!(message.contains("host lab, which runs pump, is not connected"), "{message}");
}
