use std::{string::String, vec, vec::Vec};

use proptest::prelude::*;
use wasmbed_wire::{
    ArtifactId, Digest, Seq,
    message::{
        Block, CommandResult, Crash, Desired, DesiredFirmware, DesiredModule, Frame, Info, MAX_FRAMES,
        ModuleState, Outcome, Reason, Refusal, Reported, Setting, Verb,
    },
    sign1::Audience,
};

use super::*;
use crate::{
    Used,
    module::{Held, Identity, Wanted},
    testing::{
        Bench, DEVICE, command, desired, encoded, make, manifest, online, serve, settle, sign_for, told,
    },
};

#[test]
fn the_largest_messages_fit() {
    fits_with_slots::<0>();
    fits_with_slots::<1>();
    fits_with_slots::<2>();
    fits_with_slots::<4>();
    fits_with_slots::<5>();
}

/// Everything a device can say, as large as it can be.
fn fits_with_slots<const SLOTS: usize>() {
    let long: String = core::iter::repeat_n('é', 500).collect();
    let bench = Bench { firmware: long.clone(), crash: Some(long), ..Bench::default() };
    let mut agent = Agent::<_, SLOTS>::new(bench, Config::default());
    settle(&mut agent);
    agent.session.boot = u32::MAX;
    agent.revision = u64::MAX;
    fill_tables(&mut agent);
    agent.on_connected(Instant(1));
    let said = settle(&mut agent);
    let longest = said.iter().map(|(_, payload)| payload.len()).max().expect("messages");
    assert!(longest <= largest_message_bytes(SLOTS), "{longest} bytes with {SLOTS} slots");
    let find = |topic: &str| said.iter().find(|(said, _)| said == topic).map(|(_, payload)| &payload[..]);

    let info: Info<'_> = minicbor::decode(find("up/info").expect("an info")).expect("a whole one");
    assert_eq!(info.firmware.len(), 64);
    let crash: Crash<'_> = minicbor::decode(find("up/crash").expect("a crash")).expect("a whole one");
    assert_eq!(crash.message.len(), 160);
    let reported: Reported<'_> =
        minicbor::decode(find("up/reported").expect("a report")).expect("a whole one");
    assert_eq!(reported.modules.len(), 2 * SLOTS + 2);
    assert!(find("up/hb").is_some());
}

#[test]
fn the_largest_desired_states_fit() {
    let value: String = core::iter::repeat_n('v', SETTINGS_BYTES - 8).collect();
    let setting = [Setting { key: "k", value: &value }];
    let settings = Seq::new(&setting);
    assert_eq!(encoded(&settings).len(), SETTINGS_BYTES, "as much as an agent keeps");
    let module = DesiredModule {
        name: "a-module-with-a-name-of-32-bytes".parse().expect("a name"),
        artifact: ArtifactId([0xff; 8]),
        settings,
        generation: u32::MAX,
        grants: u32::MAX,
    };
    let firmware = DesiredFirmware {
        artifact: ArtifactId([0xff; 8]),
        image: Digest([0xff; 32]),
        patch: Some(ArtifactId([0xff; 8])),
        generation: u32::MAX,
        confirm: Some(u32::MAX),
    };
    for slots in 0..=16 {
        let modules = std::vec![module; slots];
        let desired = Desired {
            revision: u64::MAX,
            modules: Seq::new(&modules),
            heartbeat_ms: Some(u32::MAX),
            firmware: Some(firmware),
        };
        let signed = told("dn/desired", &desired).len();
        assert!(signed <= largest_desired_bytes(slots), "{signed} bytes with {slots} modules");
    }
}

/// Every slot holds a predecessor, every module waits for its successor, and two have no slot.
pub(super) fn fill_tables<const SLOTS: usize>(agent: &mut Agent<Bench, SLOTS>) {
    let identity = |nth: usize, artifact: u8| Identity {
        name: std::format!("a-module-with-a-name-of-all-32{nth:02}").parse().expect("a name"),
        artifact: ArtifactId([artifact; 8]),
    };
    for nth in 0..SLOTS {
        let Identity { name, artifact } = identity(nth, 2);
        let mut wanted = Wanted::new(&DesiredModule {
            name,
            artifact,
            settings: Seq::default(),
            generation: 0,
            grants: 0,
        });
        wanted.refuse(Reason::OutOfMemory);
        wanted.restarts = u32::MAX;
        agent.tables.wanted[nth] = Some(wanted);
        let Identity { name, artifact } = identity(nth, 1);
        let mut held =
            Held::new(name, crate::ModuleInfo { name, artifact, size: 1, capabilities: 0, stack_bytes: 0 });
        held.run = Run::Running { since: Instant(0), tick: Tick::Never };
        agent.tables.places[nth] = crate::module::Place::Held(held);
    }
    agent.tables.overflow = [Some(identity(98, 1)), Some(identity(99, 1))];
}

#[test]
fn a_module_is_fetched_started_and_reported() {
    let payload = [7; 1_300];
    let made = make(&manifest(&payload), &payload, 1);
    let mut agent: Agent<_, 2> = online(Bench::default());
    assert_eq!(agent.on_message(Instant(1), "dn/desired", &desired(1, made.id)), Ok(()));
    serve(&mut agent, &made);
    agent.on_module(Instant(2), Slot(0), ModuleEvent::Started { period_ms: 0, used: Used::default() });
    assert_eq!(last_states(&mut agent), [ModuleState::Running]);
}

fn last_states<const SLOTS: usize>(agent: &mut Agent<Bench, SLOTS>) -> Vec<ModuleState> {
    let said = settle(agent);
    let (_, payload) = said.iter().rev().find(|(topic, _)| topic == "up/reported").expect("a report");
    let reported: Reported<'_> = minicbor::decode(payload).expect("a whole one");
    reported.modules.iter().map(|module| module.state).collect()
}

#[test]
fn what_was_changed_in_the_store_while_the_power_was_off_does_not_run() {
    let payload = [7; 700];
    let made = make(&manifest(&payload), &payload, 1);
    let mut agent: Agent<_, 2> = online(Bench::default());
    assert_eq!(agent.on_message(Instant(1), "dn/desired", &desired(1, made.id)), Ok(()));
    serve(&mut agent, &made);
    let kept = agent.platform().clone();

    let starts = |bench: Bench| {
        let mut agent: Agent<_, 2> = Agent::new(bench, Config::default());
        core::iter::from_fn(|| agent.poll_effect().map(|effect| matches!(effect, Effect::Start { .. })))
            .any(|start| start)
    };
    assert!(starts(kept.clone()), "unchanged, it starts without a connection");

    let mut payload_changed = kept.clone();
    payload_changed.slots.get_mut(&Slot(0)).expect("a payload").0[699] ^= 1;
    assert!(!starts(payload_changed));

    let mut manifest_changed = kept.clone();
    let stranger = make(&manifest(&payload), &payload, 2);
    manifest_changed.slots.get_mut(&Slot(0)).expect("a manifest").1 = Some(stranger.signed);
    assert!(!starts(manifest_changed));

    let mut desired_lost = kept;
    desired_lost.desired = None;
    assert!(!starts(desired_lost));
}

#[test]
fn a_module_reads_the_settings_it_was_started_with() {
    let payload = [7; 100];
    let made = make(&manifest(&payload), &payload, 1);
    let mut agent: Agent<_, 2> = online(Bench::default());
    let given = [Setting { key: "unit", value: "F" }];
    let name = "flow".parse().expect("a name");
    let module =
        DesiredModule { name, artifact: made.id, settings: Seq::new(&given), generation: 0, grants: 0 };
    let modules = [module];
    let state = Desired { revision: 1, modules: Seq::new(&modules), heartbeat_ms: Some(1), firmware: None };
    assert_eq!(agent.on_message(Instant(1), "dn/desired", &told("dn/desired", &state)), Ok(()));
    serve(&mut agent, &made);
    assert_eq!(agent.settings(Slot(0)), Seq::new(&given));
    assert_eq!(agent.heartbeat_ms, *HEARTBEATS_MS.start(), "too short an interval would be all it does");

    let long: String = core::iter::repeat_n('x', 300).collect();
    let given = [Setting { key: "unit", value: &long }];
    let modules = [DesiredModule { settings: Seq::new(&given), ..module }];
    let state = Desired { revision: 2, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None };
    assert_eq!(agent.on_message(Instant(2), "dn/desired", &told("dn/desired", &state)), Ok(()));
    assert_eq!(last_states(&mut agent), [ModuleState::Refused]);
}

#[test]
fn strange_messages_are_turned_down_with_a_reason() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    let mut send = |topic: &str, payload: &[u8]| agent.on_message(Instant(1), topic, payload);
    assert_eq!(send("dn/nothing", b""), Err(Rejected::UnknownTopic));
    assert_eq!(send("up/state", b""), Err(Rejected::UnknownTopic));
    assert_eq!(send("dn/desired", b"\xff"), Err(Rejected::Refused(Refusal::Malformed)));
    assert_eq!(send("dn/blk/0011223344556677", b""), Err(Rejected::Unasked));
    let name = "flow".parse().expect("a name");
    let module = DesiredModule {
        name,
        artifact: ArtifactId([1; 8]),
        settings: Seq::default(),
        generation: 0,
        grants: 0,
    };
    let modules = [module; 2];
    let twice = Desired { revision: 1, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None };
    assert_eq!(send("dn/desired", &told("dn/desired", &twice)), Err(Rejected::DuplicateModule));
}

#[test]
fn a_block_that_is_too_short_or_too_long_is_turned_down() {
    let payload = [7; 600];
    let made = make(&manifest(&payload), &payload, 1);
    let mut agent: Agent<_, 2> = online(Bench::default());
    assert_eq!(agent.on_message(Instant(1), "dn/desired", &desired(1, made.id)), Ok(()));
    settle(&mut agent);
    let topic = std::format!("dn/blk/{}", made.id);
    let mut send =
        |index, bytes: &[u8]| agent.on_message(Instant(1), &topic, &encoded(&Block { index, bytes }));
    assert_eq!(send(0, &made.signed), Ok(()));
    assert_eq!(send(1, &payload[..511]), Err(Rejected::WrongLength { expected: 512 }));
    assert_eq!(send(2, &payload[..512]), Err(Rejected::WrongLength { expected: 88 }));
    assert_eq!(send(3, &payload[..1]), Err(Rejected::Unasked));
    assert_eq!(send(2, &payload[..88]), Ok(()));
}

#[test]
fn an_unknown_command_is_answered_too() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    // A verb that a later version may have.
    let (id, later) = (DEVICE.parse().expect("a name"), b"\xa3\x00\x18\x63\x01\x01\x02\x01");
    let signed = sign_for(Audience::Device { id: &id, topic: "dn/cmd/c-1" }, later, 1);
    assert_eq!(agent.on_message(Instant(1), "dn/cmd/c-1", &signed), Err(Rejected::Malformed));
    let said = settle(&mut agent);
    let answer = said.iter().find(|(topic, _)| topic == "up/res/c-1").map(|(_, payload)| &payload[..]);
    let answer: CommandResult = minicbor::decode(answer.expect("an answer")).expect("a whole one");
    assert_eq!(answer.outcome, Outcome::Unsupported);
}

#[test]
fn more_commands_than_answers_can_wait_are_turned_down() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    for nth in 0..ANSWERS {
        let topic = std::format!("dn/cmd/c-{nth}");
        assert_eq!(
            agent.on_message(Instant(1), &topic, &command(&topic, Verb::Ping, 1 + nth as u64)),
            Ok(())
        );
    }
    let ping = command("dn/cmd/one-more", Verb::Ping, 9);
    assert_eq!(agent.on_message(Instant(1), "dn/cmd/one-more", &ping), Err(Rejected::Busy));
    settle(&mut agent);
    assert_eq!(agent.on_message(Instant(2), "dn/cmd/one-more", &ping), Ok(()));
}

#[test]
fn goodbye_is_said_once_and_waits_for_nobody_for_long() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    agent.shutdown(Instant(5));
    assert!(matches!(agent.poll_effect(), Some(Effect::Publish { .. })));
    assert_eq!(agent.poll_effect(), None, "the broker has not acknowledged yet");
    assert_eq!(agent.next_deadline(), Some(Instant(5 + GOODBYE_MS)));
    agent.on_deadline(Instant(5 + GOODBYE_MS));
    assert_eq!(agent.poll_effect(), Some(Effect::Disconnect));
    assert_eq!(agent.poll_effect(), None);
    assert_eq!(agent.next_deadline(), None);
}

#[test]
fn a_restart_waits_until_the_broker_has_the_answer() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    let restart = command("dn/cmd/r-1", Verb::Restart, 1);
    assert_eq!(agent.on_message(Instant(1), "dn/cmd/r-1", &restart), Ok(()));
    let tokens = sent(&mut agent);
    let topics: Vec<&str> = tokens.iter().map(|(_, topic)| topic.as_str()).collect();
    assert_eq!(topics, ["up/state", "up/res/r-1"]);
    let (state, answer) = (tokens[0].0, tokens[1].0);
    agent.on_acked(Instant(2), state);
    assert_eq!(agent.poll_effect(), None, "the answer could still be lost");
    agent.on_acked(Instant(3), answer);
    assert_eq!(agent.poll_effect(), Some(Effect::Restart));
}

#[test]
fn what_the_broker_did_not_acknowledge_is_said_again_on_the_next_connection() {
    let mut agent: Agent<_, 2> = online(Bench::default());
    let ping = command("dn/cmd/p-1", Verb::Ping, 1);
    assert_eq!(agent.on_message(Instant(1), "dn/cmd/p-1", &ping), Ok(()));
    assert!(sent(&mut agent).iter().any(|(_, topic)| topic == "up/res/p-1"));
    agent.on_disconnected(Instant(2));
    agent.on_deadline(Instant(1_000));
    assert!(matches!(agent.poll_effect(), Some(Effect::Connect { .. })));
    agent.on_connected(Instant(1_001));
    let topics: Vec<String> = sent(&mut agent).into_iter().map(|(_, topic)| topic).collect();
    assert_eq!(topics, ["up/info", "up/state", "up/res/p-1", "up/reported", "up/hb"]);
}

/// What is published now, not acknowledged.
fn sent<const SLOTS: usize>(agent: &mut Agent<Bench, SLOTS>) -> Vec<(Token, String)> {
    let mut sent = Vec::new();
    while let Some(Effect::Publish { topic, token, .. }) = agent.poll_effect() {
        sent.push((token, std::format!("{topic}")));
    }
    sent
}

/// An input, possibly nonsense.
#[derive(Debug, Clone)]
enum Input {
    Connected,
    Disconnected,
    Message(String, Vec<u8>),
    Acked(u16),
    Module(u8, ModuleEvent),
    Wait(u64),
    Deadline,
    Shutdown,
}

fn inputs() -> impl Strategy<Value = Input> {
    let payload = [3; 900];
    let made = make(&manifest(&payload), &payload, 1);
    let blocks: Vec<Vec<u8>> = core::iter::once(&made.signed[..])
        .chain(payload.chunks(512))
        .enumerate()
        .map(|(index, bytes)| encoded(&Block { index: index as u32, bytes }))
        .collect();
    let block_topic = std::format!("dn/blk/{}", made.id);
    let topics = prop::sample::select(vec![
        "dn/desired".into(),
        block_topic.clone(),
        "dn/cmd/c-1".into(),
        "dn/x".into(),
    ]);
    let events = prop_oneof![
        (any::<u32>(), used()).prop_map(|(period_ms, used)| ModuleEvent::Started { period_ms, used }),
        (any::<u32>(), used()).prop_map(|(period_ms, used)| ModuleEvent::Ran { period_ms, used }),
        used().prop_map(|used| ModuleEvent::Handled { used }),
        (prop::sample::select(vec![Reason::Trapped, Reason::LoadFailed]), used())
            .prop_map(|(reason, used)| stopped(reason, used)),
        Just(ModuleEvent::Halted),
    ];
    let id = made.id;
    prop_oneof![
        2 => Just(Input::Connected),
        1 => Just(Input::Disconnected),
        3 => (topics, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(topic, p)| Input::Message(topic, p)),
        3 => (0..4u64).prop_map(move |revision| Input::Message("dn/desired".into(), desired(revision, id))),
        9 => prop::sample::select(blocks).prop_map(move |block| Input::Message(block_topic.clone(), block)),
        1 => Just(Input::Message("dn/cmd/p-1".into(), command("dn/cmd/p-1", Verb::Ping, 1))),
        3 => any::<u16>().prop_map(Input::Acked),
        6 => (0..4u8, events).prop_map(|(slot, event)| Input::Module(slot, event)),
        3 => prop_oneof![0..3_000u64, 0..u64::from(u32::MAX)].prop_map(Input::Wait),
        9 => Just(Input::Deadline),
        1 => Just(Input::Shutdown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// No input panics, effects end, and a deadline that has come does not stay.
    #[test]
    fn any_inputs_in_any_order_are_survived(inputs in prop::collection::vec(inputs(), 0..80)) {
        let mut agent: Agent<_, 2> = Agent::new(Bench::default(), Config::default());
        let mut now = Instant(0);
        for input in inputs {
            match input {
                Input::Connected => agent.on_connected(now),
                Input::Disconnected => agent.on_disconnected(now),
                Input::Message(topic, payload) => drop(agent.on_message(now, &topic, &payload)),
                Input::Acked(token) => agent.on_acked(now, Token(token % 32)),
                Input::Module(slot, event) => agent.on_module(now, Slot(slot), event),
                Input::Wait(ms) => {
                    now = now.after(ms);
                    agent.on_deadline(now);
                }
                Input::Deadline => {
                    now = agent.next_deadline().map_or(now, |deadline| now.max(deadline));
                    agent.on_deadline(now);
                }
                Input::Shutdown => agent.shutdown(now),
            }
            let mut effects = 0;
            while agent.poll_effect().is_some() {
                effects += 1;
                prop_assert!(effects < 100, "effects without an end");
            }
            agent.on_deadline(now);
            if agent.poll_effect().is_none() {
                prop_assert!(agent.next_deadline().is_none_or(|next| next > now), "a deadline that stays");
            }
        }
    }
}

fn used() -> impl Strategy<Value = Used> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>());
    numbers.prop_map(|(took_us, fuel, memory_bytes)| Used { took_us, fuel, memory_bytes })
}

fn stopped(reason: Reason, used: Used) -> ModuleEvent {
    let frames = [Frame { function: u32::MAX, offset: u32::MAX }; MAX_FRAMES + 1];
    ModuleEvent::Stopped { reason, used, backtrace: frames.into_iter().collect() }
}
