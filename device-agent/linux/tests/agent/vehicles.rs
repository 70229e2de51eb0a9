//! Vehicles of other people's making: an autopilot of MAVSDK, and a quadrotor framed by pymavlink.
//!
//! `cargo xtask test` installs both from PyPI and names their interpreter in `WASMBED_PYTHON`; without it there is nothing
//! to test here. The example `flight` is looked for where `WASMBED_E2E_MODULES` says.

use std::{
    env,
    net::UdpSocket,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use wasmbed_abi::{
    ARMED, BatteryStatus, Errno, LocalPosition, NO_FRAME, STALE, VehicleCommand, VehicleParameter,
    VehicleStatus,
};
use wasmbed_peers::{
    python,
    vehicle::{PILOT, Vehicle},
};
use wasmbed_wire::{
    message::{Heartbeat, ModuleState},
    topic::{Down, Level, Up},
};

use crate::fleet::{Agent, Fleet};

const ACCEPTED: i32 = 0;
const UNSUPPORTED: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct World {
    fleet: Fleet,
    port: u16,
    _agent: Agent,
}

impl World {
    /// An agent that hears vehicles, with more lines in that part of its configuration, and the module `pilot` on it.
    fn start(more: &str) -> Self {
        let mut fleet = Fleet::start();
        let port = free_port();
        let agent = fleet.agent_with(&format!("[px4]\nconnection = 'udpin:127.0.0.1:{port}'\n{more}"));
        let pilot = fleet.publish_artifact("pilot", PILOT);
        fleet.desire(1, &[("pilot", pilot)]);
        fleet.wait_for_report(|report| report.state("pilot") == Some(ModuleState::Running));
        World { fleet, port, _agent: agent }
    }

    fn tell(&self, letter: u8, vehicle: u8, more: &[u8]) {
        let topic = Down::Message("pilot".parse().unwrap(), "in".parse().unwrap());
        self.fleet.say(topic, [&[letter, vehicle], more].concat());
    }

    /// What a call answered, and what was written.
    fn answer(&mut self) -> (i32, Vec<u8>) {
        let (_, said) = self.fleet.wait_for(|topic, _| matches!(topic, Up::Message(..)));
        let (answer, written) = said.split_first_chunk().expect("an answer");
        (i32::from_le_bytes(*answer), written.to_vec())
    }

    fn ask(&mut self, letter: u8, vehicle: u8, more: &[u8]) -> (i32, Vec<u8>) {
        self.tell(letter, vehicle, more);
        self.answer()
    }

    fn command(&mut self, letter: u8, vehicle: u8, more: &[u8]) -> i32 {
        let (ticket, _) = self.ask(letter, vehicle, more);
        self.result(ticket)
    }

    /// What became of a command in the end.
    fn result(&mut self, ticket: i32) -> i32 {
        let ticket = u8::try_from(ticket).unwrap_or_else(|_| panic!("no ticket: {ticket}"));
        self.ask_until_over(b'r', ticket, &[]).0
    }

    /// The same again and again while it is under way.
    fn ask_until_over(&mut self, letter: u8, vehicle: u8, more: &[u8]) -> (i32, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answer, written) = self.ask(letter, vehicle, more);
            if answer != Errno::Busy.code() {
                return (answer, written);
            }
            assert!(Instant::now() < deadline, "everything has an end");
        }
    }

    fn status(&mut self, vehicle: u8) -> Result<VehicleStatus, i32> {
        let (answer, written) = self.ask(b's', vehicle, &[]);
        let status = written.first_chunk().map(VehicleStatus::decode).expect("a status");
        if answer == 32 { Ok(status) } else { Err(answer) }
    }

    fn wait_for_status(&mut self, vehicle: u8, matches: impl Fn(&VehicleStatus) -> bool) -> VehicleStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.status(vehicle) {
                Ok(status) if matches(&status) => return status,
                found => assert!(Instant::now() < deadline, "vehicle {vehicle}: {found:?}"),
            }
        }
    }

    fn wait_for_position(&mut self, vehicle: u8, matches: impl Fn(&LocalPosition) -> bool) -> LocalPosition {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answer, written) = self.ask(b'p', vehicle, &[]);
            let position = written.first_chunk().map(LocalPosition::decode).expect("a position");
            if answer == 36 && matches(&position) {
                return position;
            }
            assert!(Instant::now() < deadline, "vehicle {vehicle}: {answer} {position:?}");
        }
    }

    /// What a vehicle says of a parameter in the end.
    fn parameter(&mut self, vehicle: u8, name: &str) -> Result<VehicleParameter, i32> {
        let (answer, written) = self.ask_until_over(b'n', vehicle, name.as_bytes());
        let parameter = written.first_chunk().map(VehicleParameter::decode).expect("a parameter");
        if answer == 16 { Ok(parameter) } else { Err(answer) }
    }

    fn battery(&mut self, vehicle: u8) -> Result<BatteryStatus, i32> {
        let (answer, written) = self.ask(b'b', vehicle, &[]);
        let battery = written.first_chunk().map(BatteryStatus::decode).expect("a battery");
        if answer == 32 { Ok(battery) } else { Err(answer) }
    }
}

fn is_fresh(status: &VehicleStatus) -> bool {
    status.flags & STALE == 0
}

#[test]
fn an_autopilot_of_mavsdk_is_commanded_and_heard() {
    let Some(python) = python() else { return };
    let mut world = World::start("");
    assert_eq!(world.status(0), Err(Errno::NotFound.code()), "nobody was heard yet");
    let _autopilot = Vehicle::start(&python, "autopilot.py", world.port, &["3", "armable"]);
    let status = world.wait_for_status(0, is_fresh);
    assert_eq!((status.vehicle, status.flags & ARMED), (3, 0));
    assert_eq!(world.status(9), Err(Errno::NotFound.code()));

    world.tell(b'a', 3, &[]);
    world.fleet.wait_for(|topic, line| topic == Up::Log(Level::Info) && line == b"pilot: arms vehicle 3");
    let (ticket, _) = world.answer();
    assert_eq!(world.result(ticket), ACCEPTED);
    world.wait_for_status(3, |status| is_fresh(status) && status.flags & ARMED != 0);
    world.wait_for_position(3, |position| position.flags & STALE == 0 && position.z == 0.0);
    assert_eq!(world.command(b't', 0, &[]), ACCEPTED);
    let position = world.wait_for_position(3, |position| position.z <= -5.0);
    assert_eq!((position.x, position.y, position.flags), (1.0, 2.0, 0));
    world.wait_for_status(3, |status| status.landed_state == 2);
    // The fleet sees it, too.
    world.fleet.wait_for(|topic, payload| {
        topic == Up::Heartbeat
            && minicbor::decode::<Heartbeat<'_>>(payload).unwrap().vehicles.iter().any(|vehicle| {
                (vehicle.system, vehicle.landed, vehicle.battery) == (3, 2, Some(75))
                    && vehicle.base_mode & 128 != 0
            })
    });
    let battery = world.battery(3).expect("a battery");
    assert_eq!((battery.voltage, battery.remaining, battery.flags), (12_500, 75, 0));
    let (whole, float) = (world.parameter(3, "CAL_ACC_PRIO"), world.parameter(0, "MPC_XY_CRUISE"));
    assert_eq!(whole, Ok(VehicleParameter { value: -75.0, kind: 6 }));
    assert_eq!(float, Ok(VehicleParameter { value: 2.5, kind: 9 }));
    assert_eq!(world.parameter(3, "NONE"), Err(Errno::NotFound.code()));
    assert_eq!(world.parameter(9, "MPC_XY_CRUISE"), Err(Errno::NotFound.code()));

    // It never acknowledges either.
    let start = Instant::now();
    assert_eq!(world.command(b'l', 3, &[]), Errno::TimedOut.code());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// What stands in for a vehicle here may judge us: ground stations of others fly it, too.
#[test]
fn ground_stations_of_others_fly_the_quadrotor() {
    let Some(python) = python() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/ground.py");
    for station in ["pymavlink", "mavsdk"] {
        let port = free_port();
        let _quad = Vehicle::start(&python, "quad.py", port, &["1"]);
        let flown = Command::new(&python).args([script, &port.to_string(), station]).output().unwrap();
        assert!(flown.status.success(), "{station}: {flown:#?}");
    }
}

#[test]
fn what_an_autopilot_refuses_is_told() {
    let Some(python) = python() else { return };
    let mut world = World::start("");
    let _autopilot = Vehicle::start(&python, "autopilot.py", world.port, &["3"]);
    world.wait_for_status(3, is_fresh);
    let refused = world.command(b'a', 3, &[]);
    assert!([1, 2].contains(&refused), "{refused}");
    assert_eq!(world.status(3).map(|status| status.flags & ARMED), Ok(0));
}

#[test]
fn several_vehicles_are_told_apart_and_one_that_is_gone_grows_stale() {
    let Some(python) = python() else { return };
    let mut world = World::start("system = 200\ncomponent = 7\n");
    let one = Vehicle::start(&python, "quad.py", world.port, &["1", "noise"]);
    let _two = Vehicle::start(&python, "quad.py", world.port, &["2", "v1"]);
    for vehicle in [1, 2] {
        let status = world.wait_for_status(vehicle, |status| is_fresh(status) && status.load == 250);
        assert_eq!(
            (status.vehicle, status.kind, status.autopilot, status.custom_mode),
            (vehicle, 2, 12, 3 << 16)
        );
        assert_eq!(
            world.battery(vehicle).map(|battery| (battery.voltage, battery.current)),
            Ok((12_400, 1_500))
        );
    }
    for vehicle in [1, 2] {
        let parameter = VehicleParameter { value: f64::from(vehicle), kind: 6 };
        assert_eq!(world.parameter(vehicle, "MAV_SYS_ID"), Ok(parameter));
    }
    // The second one says nothing where it has none.
    assert_eq!(world.parameter(1, "NONE"), Err(Errno::NotFound.code()));
    let start = Instant::now();
    assert_eq!(world.parameter(2, "NONE"), Err(Errno::TimedOut.code()));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(world.status(0), Err(Errno::NotFound.code()), "there are two");
    assert_eq!(world.ask(b'a', 0, &[]).0, Errno::NotFound.code());
    while world.command(b'a', 2, &[]) != ACCEPTED {}
    world.wait_for_status(2, |status| status.flags & ARMED != 0);
    assert_eq!(world.status(1).map(|status| status.flags & ARMED), Ok(0));
    let unknown =
        VehicleCommand { command: 31_999, vehicle: 1, frame: NO_FRAME, ..VehicleCommand::default() };
    assert_eq!(world.command(b'c', 0, &unknown.encode()), UNSUPPORTED);

    drop(one);
    world.wait_for_status(1, |status| !is_fresh(status));
    assert!(world.status(2).is_ok_and(|status| is_fresh(&status)));
    assert_eq!(world.command(b'd', 1, &[]), Errno::TimedOut.code());
    let _again = Vehicle::start(&python, "quad.py", world.port, &["1"]);
    world.wait_for_status(1, is_fresh);
    assert_eq!(world.command(b'd', 1, &[]), ACCEPTED);
}

#[test]
fn with_a_key_only_vehicles_that_sign_are_heard_and_hear() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, KEY).unwrap();
    let mut world = World::start(&format!("signing_key_file = '{}'\n", file.display()));
    let _plain = Vehicle::start(&python, "quad.py", world.port, &["1"]);
    let _other =
        Vehicle::start(&python, "quad.py", world.port, &["2", &format!("signed={}", "ff".repeat(32))]);
    let _signs = Vehicle::start(&python, "quad.py", world.port, &["3", &format!("signed={KEY}")]);
    world.wait_for_status(3, is_fresh);
    while world.command(b'a', 3, &[]) != ACCEPTED {}
    world.wait_for_status(3, |status| status.flags & ARMED != 0);
    assert_eq!(world.status(0).map(|status| status.vehicle), Ok(3), "it is the only one");
}

#[test]
fn the_example_flies_when_it_is_told_and_lands() {
    let Some(python) = python() else { return };
    let Some(modules) = env::var_os("WASMBED_E2E_MODULES").map(PathBuf::from) else {
        return println!("skipped: WASMBED_E2E_MODULES is not set; `cargo xtask test` sets it");
    };
    let wasm = std::fs::read(modules.join("flight.wasm")).expect("the example");
    let mut world = World::start("");
    let flight = world.fleet.publish_wasm("flight", &wasm);
    let _quad = Vehicle::start(&python, "quad.py", world.port, &["1"]);
    world.fleet.desire(2, &[("flight", flight)]);
    world.fleet.wait_for_report(|report| report.state("flight") == Some(ModuleState::Running));
    let name = "flight".parse().unwrap();
    world.fleet.say(Down::Message(name, "fly".parse().unwrap()), b"go".to_vec());
    let mut stages = Vec::new();
    while stages.last().is_none_or(|stage| stage != "ground") {
        let (_, stage) =
            world.fleet.wait_for(|topic, _| topic == Up::Message(name, "stage".parse().unwrap()));
        stages.push(String::from_utf8(stage).unwrap());
    }
    assert_eq!(stages, ["arm", "takeoff", "climb", "hold", "land", "descend", "disarm", "ground"]);
}
