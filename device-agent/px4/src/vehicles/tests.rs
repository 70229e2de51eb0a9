use std::{vec, vec::Vec};

use wasmbed_abi::{ARMED, NAV_TAKEOFF, STALE, UNKNOWN, UNKNOWN_PERCENT};

use super::*;
use crate::messages::{
    BATTERY_STATUS, COMMAND_INT, COMMAND_LONG, EXTENDED_SYS_STATE, GLOBAL_POSITION_INT, LOCAL_POSITION_NED,
    PARAM_REQUEST_READ, SYS_STATUS,
};

const OWN: Config = Config { system: 245, component: 191, vehicles: 16 };
const A: Owner = Owner(1);
const B: Owner = Owner(2);
const ACCEPTED: u8 = 0;
const DENIED: u8 = 2;
const IN_PROGRESS: u8 = 5;
const ARM: u16 = 400;

fn autopilot(system: u8) -> Source {
    Source { system, component: AUTOPILOT }
}

/// Of a PX4 quadrotor.
fn heartbeat(armed: bool) -> [u8; 9] {
    [0, 0, 4, 3, 2, 12, if armed { 0x81 } else { 0x01 }, 4, 3]
}

/// Vehicles, one of which said that it is there at 0.
fn with(systems: &[u8]) -> Vehicles {
    let mut vehicles = Vehicles::new(OWN);
    for system in systems {
        vehicles.on_message(0, autopilot(*system), HEARTBEAT, &heartbeat(false));
    }
    vehicles
}

fn sent(vehicles: &mut Vehicles, now: u64) -> Vec<Message> {
    core::iter::from_fn(|| vehicles.poll_message(now)).collect()
}

/// Commands to vehicles that were sent: vehicle, number, confirmation.
fn commands(vehicles: &mut Vehicles, now: u64) -> Vec<(u8, u16, u8)> {
    let is_asked = |message: &Message| message.payload().get(28..30) == Some(&511u16.to_le_bytes());
    let sent =
        sent(vehicles, now).into_iter().filter(|message| message.id == COMMAND_LONG && !is_asked(message));
    sent.map(|message| {
        let fields = Fields(message.payload());
        (fields.u8(30), fields.u16(28), fields.u8(32))
    })
    .collect()
}

fn ack(vehicles: &mut Vehicles, now: u64, system: u8, command: u16, result: u8) {
    let payload = [&command.to_le_bytes()[..], &[result]].concat();
    vehicles.on_message(now, autopilot(system), COMMAND_ACK, &payload);
}

#[test]
fn it_says_each_second_that_it_is_there() {
    let mut vehicles = Vehicles::new(OWN);
    assert_eq!(sent(&mut vehicles, 5), [Message::heartbeat()]);
    assert_eq!(Message::heartbeat().payload(), [0, 0, 0, 0, 18, 8, 0, 4, 3]);
    assert_eq!(vehicles.next_deadline(5), 1_005);
    assert!(sent(&mut vehicles, 1_004).is_empty());
    assert_eq!(sent(&mut vehicles, 1_005).len(), 1);
}

#[test]
fn a_command_has_the_answer_of_the_vehicle() {
    let mut vehicles = with(&[7]);
    let ticket = vehicles.send(A, VehicleCommand::arm(0, true)).expect("a ticket");
    assert_eq!(vehicles.result(A, ticket), Err(Errno::Busy));
    assert_eq!(vehicles.result(B, ticket), Err(Errno::NotFound), "it is another's");
    assert_eq!(commands(&mut vehicles, 10), [(7, ARM, 0)]);
    ack(&mut vehicles, 12, 7, ARM, DENIED);
    assert_eq!(vehicles.result(A, ticket), Ok(DENIED));
    ack(&mut vehicles, 13, 7, ARM, ACCEPTED);
    assert_eq!(vehicles.result(A, ticket), Ok(DENIED), "the first answer counts");
    assert!(commands(&mut vehicles, 5_000).is_empty());
}

#[test]
fn a_command_that_nobody_acknowledges_is_sent_again_and_has_an_end() {
    let mut vehicles = with(&[7]);
    let ticket = vehicles.send(A, VehicleCommand::land(7)).expect("a ticket");
    let mut tries = Vec::new();
    let mut now = 100;
    while vehicles.result(A, ticket) == Err(Errno::Busy) {
        tries.extend(commands(&mut vehicles, now).into_iter().map(|(.., confirmation)| (now, confirmation)));
        now = vehicles.next_deadline(now).max(now + 1);
        assert!(now < 10_000, "it has an end");
    }
    assert_eq!(tries, [(100, 0), (1_100, 1), (2_100, 2), (3_100, 3)]);
    assert_eq!(vehicles.result(A, ticket), Err(Errno::TimedOut));
}

#[test]
fn a_vehicle_at_work_is_waited_for_but_not_for_ever() {
    let mut vehicles = with(&[7]);
    let ticket = vehicles.send(A, VehicleCommand::arm(7, true)).expect("a ticket");
    assert_eq!(commands(&mut vehicles, 0).len(), 1);
    ack(&mut vehicles, 500, 7, ARM, IN_PROGRESS);
    assert!(commands(&mut vehicles, 9_000).is_empty(), "it is not sent again");
    ack(&mut vehicles, 9_000, 7, ARM, IN_PROGRESS);
    assert!(commands(&mut vehicles, 18_999).is_empty());
    ack(&mut vehicles, 18_999, 7, ARM, ACCEPTED);
    assert_eq!(vehicles.result(A, ticket), Ok(ACCEPTED));

    let ticket = vehicles.send(A, VehicleCommand::arm(7, false)).expect("a ticket");
    assert_eq!(commands(&mut vehicles, 20_000).len(), 1);
    let mut now = 20_000;
    while vehicles.result(A, ticket) == Err(Errno::Busy) {
        ack(&mut vehicles, now, 7, ARM, IN_PROGRESS);
        now += 5_000;
        assert!(commands(&mut vehicles, now).is_empty() && now < 200_000);
    }
    assert_eq!((vehicles.result(A, ticket), now), (Err(Errno::TimedOut), 140_000));
}

#[test]
fn acknowledgements_for_others_are_ignored() {
    let mut vehicles = with(&[7, 8]);
    let ticket = vehicles.send(A, VehicleCommand::arm(7, true)).expect("a ticket");
    assert_eq!(commands(&mut vehicles, 0), [(7, ARM, 0)]);
    ack(&mut vehicles, 1, 8, ARM, ACCEPTED);
    ack(&mut vehicles, 1, 7, ARM + 1, ACCEPTED);
    let camera = Source { system: 7, component: 100 };
    vehicles.on_message(1, camera, COMMAND_ACK, &[0x90, 1, 0]);
    for (system, component) in [(255, 190), (245, 1), (244, 191)] {
        let to_other = [0x90, 1, ACCEPTED, 0, 0, 0, 0, 0, system, component];
        vehicles.on_message(1, autopilot(7), COMMAND_ACK, &to_other);
    }
    assert_eq!(vehicles.result(A, ticket), Err(Errno::Busy));
    vehicles.on_message(1, autopilot(7), COMMAND_ACK, &[0x90, 1, ACCEPTED, 0, 0, 0, 0, 0, 245, 191]);
    assert_eq!(vehicles.result(A, ticket), Ok(ACCEPTED));
}

#[test]
fn of_two_commands_alike_the_second_waits_for_the_first() {
    let mut vehicles = with(&[7, 8]);
    let first = vehicles.send(A, VehicleCommand::arm(7, true)).expect("a ticket");
    let second = vehicles.send(B, VehicleCommand::arm(7, false)).expect("a ticket");
    let other = vehicles.send(B, VehicleCommand::arm(8, false)).expect("a ticket");
    assert_eq!(commands(&mut vehicles, 0), [(7, ARM, 0), (8, ARM, 0)]);
    ack(&mut vehicles, 1, 7, ARM, ACCEPTED);
    assert_eq!((vehicles.result(A, first), vehicles.result(B, second)), (Ok(ACCEPTED), Err(Errno::Busy)));
    assert_eq!(commands(&mut vehicles, 2), [(7, ARM, 0)]);
    ack(&mut vehicles, 3, 7, ARM, DENIED);
    assert_eq!((vehicles.result(B, second), vehicles.result(B, other)), (Ok(DENIED), Err(Errno::Busy)));
}

#[test]
fn an_owner_has_so_many_commands_and_no_more() {
    let mut vehicles = with(&[7]);
    let tickets: Vec<u32> =
        (0..16).map(|_| vehicles.send(A, VehicleCommand::arm(7, true)).expect("a ticket")).collect();
    assert_eq!(vehicles.send(A, VehicleCommand::arm(7, true)), Err(Errno::Busy));
    assert!(vehicles.send(B, VehicleCommand::land(7)).is_ok(), "another has its own");
    assert_eq!(commands(&mut vehicles, 0).len(), 2);
    ack(&mut vehicles, 1, 7, ARM, ACCEPTED);
    assert!(vehicles.send(A, VehicleCommand::arm(7, true)).is_ok());
    assert_eq!(vehicles.result(A, tickets[0]), Err(Errno::NotFound), "its place was taken");
    vehicles.forget(A);
    assert_eq!(vehicles.result(A, tickets[1]), Err(Errno::NotFound));
    assert!(commands(&mut vehicles, 500).is_empty(), "nothing of it is sent any more");
}

#[test]
fn nobody_is_commanded_who_was_never_heard_of() {
    let mut vehicles = with(&[]);
    assert_eq!(vehicles.send(A, VehicleCommand::arm(0, true)), Err(Errno::NotFound));
    let ground_station = [0, 0, 0, 0, 6, 8, 0, 4, 3];
    vehicles.on_message(0, Source { system: 255, component: 190 }, HEARTBEAT, &heartbeat(false));
    vehicles.on_message(0, autopilot(254), HEARTBEAT, &ground_station);
    vehicles.on_message(0, autopilot(9), SYS_STATUS, &[0; 31]);
    assert_eq!(vehicles.status(0, 0), Err(Errno::NotFound));
    vehicles.on_message(0, autopilot(7), HEARTBEAT, &heartbeat(false));
    assert_eq!(vehicles.status(0, 0).map(|status| status.vehicle), Ok(7));
    vehicles.on_message(0, autopilot(8), HEARTBEAT, &heartbeat(true));
    assert_eq!(vehicles.status(0, 0), Err(Errno::NotFound), "there are two");
    assert_eq!(vehicles.status(0, 8).map(|status| status.flags), Ok(ARMED));
    assert_eq!(vehicles.send(A, VehicleCommand::arm(9, true)), Err(Errno::NotFound));
}

#[test]
fn what_was_heard_grows_old_and_says_so() {
    let mut vehicles = with(&[7]);
    assert_eq!(vehicles.battery(0, 7), Err(Errno::NotFound));
    assert_eq!(vehicles.position(0, 7), Err(Errno::NotFound));
    vehicles.on_message(1_000, autopilot(7), HEARTBEAT, &heartbeat(true));
    vehicles.on_message(1_000, autopilot(7), EXTENDED_SYS_STATE, &[0, 2]);
    let position: Vec<u8> =
        [[1, 0, 0, 0], 1f32.to_le_bytes(), 2f32.to_le_bytes(), (-5f32).to_le_bytes()].concat();
    vehicles.on_message(1_000, autopilot(7), LOCAL_POSITION_NED, &position);
    let status = vehicles.status(3_999, 7).expect("a status");
    assert_eq!((status.age_ms, status.flags, status.landed_state), (2_999, ARMED, 2));
    assert_eq!((status.kind, status.autopilot, status.custom_mode), (2, 12, 0x0304_0000));
    assert_eq!(vehicles.status(4_000, 7).map(|status| status.flags), Ok(ARMED | STALE));
    let position = vehicles.position(1_999, 7).expect("a position");
    assert_eq!((position.x, position.y, position.z, position.vz, position.flags), (1.0, 2.0, -5.0, 0.0, 0));
    assert_eq!(vehicles.position(2_000, 7).map(|position| position.flags), Ok(STALE));
}

#[test]
fn a_battery_is_the_one_with_the_lowest_number_or_of_what_else_is_known() {
    let mut vehicles = with(&[7]);
    let mut status = [0; 31];
    (status[14], status[15], status[16], status[17], status[30]) = (0x70, 0x30, 0xff, 0xff, 0xff);
    vehicles.on_message(0, autopilot(7), SYS_STATUS, &status);
    let battery = vehicles.battery(0, 7).expect("a battery");
    assert_eq!((battery.voltage, battery.current, battery.remaining), (12_400, UNKNOWN, UNKNOWN_PERCENT));
    let numbered = |id: u8, remaining: u8| {
        let mut payload = vec![0xff; 36];
        payload[..12].copy_from_slice(&[0x10, 0, 0, 0, 0, 0, 0, 0, 0xc4, 0x09, 0x70, 0x10]);
        (payload[12], payload[13], payload[30], payload[31]) = (0x72, 0x10, 0xfa, 0);
        (payload[32], payload[35]) = (id, remaining);
        payload
    };
    vehicles.on_message(100, autopilot(7), BATTERY_STATUS, &numbered(1, 80));
    let battery = vehicles.battery(100, 7).expect("a battery");
    assert_eq!((battery.id, battery.voltage, battery.current), (1, 4_208 + 4_210, 2_500));
    assert_eq!((battery.remaining, battery.consumed, battery.temperature), (80, 16, 25_000));
    assert_eq!(battery.time_remaining, UNKNOWN);
    vehicles.on_message(200, autopilot(7), BATTERY_STATUS, &numbered(0, 70));
    vehicles.on_message(300, autopilot(7), BATTERY_STATUS, &numbered(1, 80));
    vehicles.on_message(300, autopilot(7), SYS_STATUS, &status);
    assert_eq!(vehicles.battery(300, 7).map(|battery| (battery.id, battery.age_ms)), Ok((0, 100)));
    assert_eq!(vehicles.battery(5_200, 7).map(|battery| battery.flags), Ok(STALE));
}

#[test]
fn takeoff_is_above_the_place_where_it_started() {
    let mut vehicles = with(&[7]);
    assert_eq!(vehicles.takeoff(A, 0, 5.0), Err(Errno::Busy), "it does not know how high that is");
    let mut global = [0; 28];
    global[12..16].copy_from_slice(&491_000i32.to_le_bytes());
    global[16..20].copy_from_slice(&3_000i32.to_le_bytes());
    vehicles.on_message(0, autopilot(7), GLOBAL_POSITION_INT, &global);
    assert!(vehicles.takeoff(A, 0, 5.0).is_ok());
    let takeoff =
        sent(&mut vehicles, 0).into_iter().find(|message| Fields(message.payload()).u16(28) == NAV_TAKEOFF);
    assert_eq!(takeoff.map(|message| Fields(message.payload()).f32(24)), Some(493.0));
}

fn name(text: &str) -> ParameterName {
    ParameterName::new(text.as_bytes()).expect("a name")
}

/// How often vehicles are asked for parameters.
fn questions(vehicles: &mut Vehicles, now: u64) -> usize {
    sent(vehicles, now).iter().filter(|message| message.id == PARAM_REQUEST_READ).count()
}

fn say_parameter(vehicles: &mut Vehicles, from: Source, parameter: &str, value: [u8; 4], kind: u8) {
    let payload = [&value[..], &[9, 0, 3, 0], name(parameter).bytes(), &[kind]].concat();
    vehicles.on_message(1, from, PARAM_VALUE, &payload);
}

fn float(value: f32) -> VehicleParameter {
    VehicleParameter { value: value.into(), kind: 9 }
}

#[test]
fn a_parameter_is_asked_for_and_told_once() {
    let mut vehicles = with(&[7, 8]);
    let read = |vehicles: &mut Vehicles, owner| vehicles.parameter(1, owner, 7, name("SYS_AUTOSTART"));
    assert_eq!(vehicles.parameter(1, A, 9, name("X")), Err(Errno::NotFound));
    assert_eq!(read(&mut vehicles, A), Err(Errno::Busy));
    assert_eq!(read(&mut vehicles, A), Err(Errno::Busy));
    assert_eq!(read(&mut vehicles, B), Err(Errno::Busy));
    assert_eq!(questions(&mut vehicles, 0), 2, "one for each who asks");
    say_parameter(&mut vehicles, autopilot(8), "SYS_AUTOSTART", [1, 0, 0, 0], 6);
    say_parameter(&mut vehicles, autopilot(7), "SYS_AUTOCONFIG", [1, 0, 0, 0], 6);
    say_parameter(&mut vehicles, Source { system: 7, component: 100 }, "SYS_AUTOSTART", [1, 0, 0, 0], 6);
    assert_eq!(read(&mut vehicles, A), Err(Errno::Busy), "others said something");
    say_parameter(&mut vehicles, autopilot(7), "SYS_AUTOSTART", 4_001i32.to_le_bytes(), 6);
    let parameter = VehicleParameter { value: 4_001.0, kind: 6 };
    assert_eq!((read(&mut vehicles, A), read(&mut vehicles, B)), (Ok(parameter), Ok(parameter)));
    assert_eq!(read(&mut vehicles, A), Err(Errno::Busy), "it is asked for again");
    assert_eq!(questions(&mut vehicles, 1), 1);
}

#[test]
fn a_parameter_that_nobody_has_is_not_waited_for() {
    let mut vehicles = with(&[7]);
    let read = |vehicles: &mut Vehicles, now| vehicles.parameter(now, A, 0, name("NONE"));
    assert_eq!(read(&mut vehicles, 0), Err(Errno::Busy));
    let mut asked = Vec::new();
    let mut now = 100;
    let end = loop {
        asked.extend((0..questions(&mut vehicles, now)).map(|_| now));
        match read(&mut vehicles, now) {
            Err(Errno::Busy) => now = vehicles.next_deadline(now).max(now + 1),
            end => break end,
        }
        assert!(now < 10_000, "it has an end");
    };
    assert_eq!((asked, end), (vec![100, 1_100, 2_100, 3_100], Err(Errno::TimedOut)));

    let error = |to: [u8; 2], why: u8| [&[0xff, 0xff][..], &to, name("NONE").bytes(), &[why]].concat();
    for (why, end) in
        [(1, Errno::NotFound), (3, Errno::Denied), (4, Errno::NotFound), (8, Errno::Io), (255, Errno::Io)]
    {
        assert_eq!(read(&mut vehicles, now), Err(Errno::Busy));
        assert_eq!(questions(&mut vehicles, now), 1);
        vehicles.on_message(now, autopilot(7), PARAM_ERROR, &error([245, 190], why));
        assert_eq!(read(&mut vehicles, now), Err(Errno::Busy), "somebody else is told");
        vehicles.on_message(now, autopilot(7), PARAM_ERROR, &error([245, 191], why));
        assert_eq!(read(&mut vehicles, now), Err(end));
    }
}

#[test]
fn whole_numbers_of_an_ardupilot_are_floats() {
    let mut vehicles = Vehicles::new(OWN);
    vehicles.on_message(0, autopilot(7), HEARTBEAT, &[0, 0, 4, 3, 2, 3, 1, 4, 3]);
    assert_eq!(vehicles.parameter(1, A, 7, name("RATE")), Err(Errno::Busy));
    assert_eq!(questions(&mut vehicles, 0), 1);
    say_parameter(&mut vehicles, autopilot(7), "RATE", 400f32.to_le_bytes(), 4);
    assert_eq!(vehicles.parameter(1, A, 7, name("RATE")), Ok(VehicleParameter { value: 400.0, kind: 4 }));
}

#[test]
fn an_answer_that_nobody_fetches_grows_old() {
    let mut vehicles = with(&[7]);
    let read = |vehicles: &mut Vehicles, now| vehicles.parameter(now, A, 7, name("P"));
    assert_eq!(read(&mut vehicles, 0), Err(Errno::Busy));
    assert_eq!(questions(&mut vehicles, 0), 1);
    say_parameter(&mut vehicles, autopilot(7), "P", 1f32.to_le_bytes(), 9);
    // Somebody changes it, and the vehicle says so.
    say_parameter(&mut vehicles, autopilot(7), "P", 2f32.to_le_bytes(), 9);
    assert_eq!(read(&mut vehicles, 5_000), Ok(float(2.0)));

    assert_eq!(read(&mut vehicles, 5_000), Err(Errno::Busy));
    assert_eq!(questions(&mut vehicles, 5_000), 1);
    say_parameter(&mut vehicles, autopilot(7), "P", 3f32.to_le_bytes(), 9);
    assert_eq!(read(&mut vehicles, 6_000), Err(Errno::Busy), "it may be another by now");
    assert_eq!(questions(&mut vehicles, 6_000), 1);
}

#[test]
fn more_parameters_than_there_are_places_are_read_in_turn() {
    let mut vehicles = with(&[7]);
    let mut read = [0; 20];
    for now in 0..8 {
        for (nth, read) in read.iter_mut().enumerate() {
            match vehicles.parameter(now, A, 7, name(&std::format!("P{nth}"))) {
                Ok(_) => *read += 1,
                Err(why) => assert_eq!(why, Errno::Busy),
            }
        }
        assert!(questions(&mut vehicles, now) <= 16);
        for nth in 0..20 {
            say_parameter(&mut vehicles, autopilot(7), &std::format!("P{nth}"), [0; 4], 9);
        }
    }
    assert!(read.iter().all(|times| *times >= 2), "{read:?}");
}

#[test]
fn questions_and_commands_do_not_take_each_others_places() {
    let mut vehicles = with(&[7]);
    let ask =
        |vehicles: &mut Vehicles, now, nth: u8| vehicles.parameter(now, A, 7, name(&std::format!("P{nth}")));
    for nth in 0..17 {
        assert_eq!(ask(&mut vehicles, 0, nth), Err(Errno::Busy));
    }
    assert_eq!(questions(&mut vehicles, 0), 16, "no more than that");
    let ticket = vehicles.send(A, VehicleCommand::land(7)).expect("a ticket");
    assert_eq!(commands(&mut vehicles, 1), [(7, 21, 0)]);
    ack(&mut vehicles, 1, 7, 21, ACCEPTED);
    assert_eq!(vehicles.result(A, ticket), Ok(ACCEPTED));
    assert_eq!(vehicles.result(A, 3), Err(Errno::Busy), "that of a question, which nobody knows");
    say_parameter(&mut vehicles, autopilot(7), "P3", [0; 4], 9);
    assert_eq!(vehicles.result(A, 3), Err(Errno::NotFound));
    assert_eq!(ask(&mut vehicles, 1, 16), Err(Errno::Busy));
    assert_eq!(questions(&mut vehicles, 1), 0, "an answer waits to be fetched");
    assert_eq!(ask(&mut vehicles, 6_000, 16), Err(Errno::Busy));
    assert!(questions(&mut vehicles, 6_000) >= 1, "nobody has fetched it, so its place is taken");
}

#[test]
fn a_position_is_sent_as_degrees_and_an_unknown_command_as_it_is() {
    let mut vehicles = with(&[7]);
    let command = VehicleCommand {
        command: 31_999,
        component: 42,
        frame: 6,
        param5: 47.5,
        ..VehicleCommand::default()
    };
    let ticket = vehicles.send(A, command).expect("a ticket");
    let message =
        sent(&mut vehicles, 0).into_iter().find(|message| message.id == COMMAND_INT).expect("a command");
    assert_eq!(Fields(message.payload()).i32(16), 475_000_000);
    vehicles.on_message(1, Source { system: 7, component: 42 }, COMMAND_ACK, &[0xff, 0x7c, 3]);
    assert_eq!(vehicles.result(A, ticket), Ok(3));
}

#[test]
fn a_vehicle_is_asked_for_what_does_not_come() {
    let mut vehicles = with(&[7]);
    let asked = |vehicles: &mut Vehicles, now| -> Vec<u32> {
        let messages = sent(vehicles, now).into_iter().filter(|message| message.id == COMMAND_LONG);
        messages.map(|message| Fields(message.payload()).f32(0) as u32).collect()
    };
    assert_eq!(asked(&mut vehicles, 0), [245, 1, 147, 33, 32]);
    assert!(asked(&mut vehicles, 4_999).is_empty());
    vehicles.on_message(5_000, autopilot(7), HEARTBEAT, &heartbeat(false));
    for id in [1, 147, 33, 32] {
        vehicles.on_message(5_000, autopilot(7), id, &[0; 4]);
    }
    assert_eq!(
        asked(&mut vehicles, 5_000),
        [245, 1, 147, 33, 32],
        "it was away, and may have started afresh"
    );
    vehicles.on_message(7_500, autopilot(7), HEARTBEAT, &heartbeat(false));
    for id in [1, 147, 33, 32] {
        vehicles.on_message(9_500, autopilot(7), id, &[0; 4]);
    }
    vehicles.on_message(9_500, autopilot(7), HEARTBEAT, &heartbeat(false));
    assert_eq!(asked(&mut vehicles, 10_000), [245]);
    assert!(asked(&mut vehicles, 60_000).is_empty(), "it is away");
    assert_eq!(vehicles.next_deadline(60_000), 61_000);
}

#[test]
fn many_vehicles_make_room_only_when_they_are_silent() {
    let all: Vec<u8> = (1..=16).collect();
    let mut vehicles = with(&all);
    vehicles.on_message(2_999, autopilot(99), HEARTBEAT, &heartbeat(false));
    assert_eq!(vehicles.status(2_999, 99), Err(Errno::NotFound));
    all[1..]
        .iter()
        .for_each(|system| vehicles.on_message(2_999, autopilot(*system), HEARTBEAT, &heartbeat(false)));
    vehicles.on_message(3_000, autopilot(99), HEARTBEAT, &heartbeat(false));
    assert!(vehicles.status(3_000, 99).is_ok());
    assert_eq!(vehicles.status(3_000, 1), Err(Errno::NotFound));
}

#[test]
fn whatever_messages_hold_is_survived() {
    let mut vehicles = with(&[7]);
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for now in 0..20_000u64 {
        let ids = [0, 1, 22, 32, 33, 77, 147, 245, 345, 9_999];
        let id = ids[usize::from(random()) % ids.len()];
        let payload: Vec<u8> = (0..random() % 64).map(|_| random()).collect();
        vehicles.on_message(now, Source { system: random() % 4, component: random() % 2 }, id, &payload);
        // Both may refuse; neither may panic.
        let _ = vehicles.send(A, VehicleCommand { command: random().into(), ..VehicleCommand::land(7) });
        let _ = vehicles.takeoff(B, 7, f32::from(random()));
        let _ = vehicles.parameter(now, B, 7, name("P"));
        assert!(sent(&mut vehicles, now).len() < 64);
    }
}
