//! Modules on a board that have to do with vehicles of other people's making, at the end of a serial line.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use wasmbed_abi::{ARMED, Errno, LocalPosition, STALE, VehicleParameter, VehicleStatus};
use wasmbed_e2e::{Fleet, Limit, Subscription, bytes, features, module};
use wasmbed_peers::{
    PATIENCE, python,
    vehicle::{Line, PILOT, Vehicle},
};

const ACCEPTED: i32 = 0;
/// What the module says about a call: the answer, and as many bytes that were written.
const ANSWER_BYTES: usize = 40;
const STAGES: [&str; 8] = ["arm", "takeoff", "climb", "hold", "land", "descend", "disarm", "ground"];

/// The module `pilot` on a board.
struct Pilot<'f> {
    fleet: &'f Fleet,
    device: &'f str,
    said: Subscription,
}

impl Pilot<'_> {
    /// Has the call made that these bytes stand for.
    fn ask(&self, asked: &[u8]) -> Result<(i32, Vec<u8>)> {
        let order = self.fleet.dir().join("order");
        fs::write(&order, asked)?;
        let topic = format!("wasmbed/v1/{}/dn/msg/pilot/in", self.device);
        self.fleet.publish_file(&topic, &order)?;
        let said = bytes(&self.said.next(|line| line.len() == 2 * ANSWER_BYTES)?)?;
        let (answer, written) = said.split_first_chunk().context("an answer")?;
        Ok((i32::from_le_bytes(*answer), written.to_vec()))
    }

    /// Asks until the answer is as wanted.
    fn ask_until<T>(&self, asked: &[u8], wanted: impl Fn(i32, &[u8]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answer, written) = self.ask(asked)?;
            if let Some(found) = wanted(answer, &written) {
                return Ok(found);
            }
            let asked = asked.escape_ascii();
            ensure!(Instant::now() < deadline, "{asked}: {answer} {written:?}");
        }
    }

    /// What became of a command in the end.
    fn command(&self, letter: u8, vehicle: u8) -> Result<i32> {
        let (ticket, _) = self.ask(&[letter, vehicle])?;
        let ticket = u8::try_from(ticket).with_context(|| format!("no ticket: {ticket}"))?;
        self.ask_until(&[b'r', ticket], |answer, _| (answer != Errno::Busy.code()).then_some(answer))
    }

    /// The value of a parameter, in the end.
    fn parameter(&self, vehicle: u8, name: &str) -> Result<f64> {
        let asked = [&[b'n', vehicle], name.as_bytes()].concat();
        self.ask_until(&asked, |answer, written| {
            let is_over = answer != Errno::Busy.code();
            is_over.then(|| {
                ensure!(answer == 16, "{name} of {vehicle}: {answer}");
                let parameter = written.first_chunk().map(VehicleParameter::decode);
                parameter.map(|parameter| parameter.value).context("a parameter")
            })
        })?
    }

    fn wait_for_status(&self, vehicle: u8, wanted: impl Fn(&VehicleStatus) -> bool) -> Result<VehicleStatus> {
        self.ask_until(&[b's', vehicle], |answer, written| {
            let status = VehicleStatus::decode(written.first_chunk()?);
            (answer == 32 && wanted(&status)).then_some(status)
        })
    }

    fn wait_for_position(&self, vehicle: u8, wanted: impl Fn(&LocalPosition) -> bool) -> Result<()> {
        self.ask_until(&[b'p', vehicle], |answer, written| {
            let position = LocalPosition::decode(written.first_chunk()?);
            (answer == 36 && wanted(&position)).then_some(())
        })
    }
}

fn is_fresh(status: &VehicleStatus) -> bool {
    status.flags & STALE == 0
}

#[test]
fn a_module_on_a_board_flies_a_vehicle() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let fleet = Fleet::of(features::PX4.devices)?;
    let file = fleet.dir().join("pilot.wasm");
    fs::write(&file, wat::parse_str(PILOT)?)?;
    for name in ["pilot", "flight"] {
        fleet.cli(&["module", "grant", name, "messages", "px4.command", "px4.telemetry"])?;
    }
    fleet.cli(&["module", "push", &file.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["module", "push", &module("flight")?.to_string_lossy(), "--version", "1.0.0"])?;
    for (device, board) in features::PX4.devices {
        let said = Subscription::open(&fleet, &format!("wasmbed/v1/{device}/up/msg/pilot/out"))?;
        let pilot = Pilot { fleet: &fleet, device, said };
        fleet.cli(&["deploy", "pilot", "--to", device, "--wait"])?;
        fleet.wait_running(device, "pilot", Limit::seconds(30))?;
        // A line with nothing at its end.
        assert_eq!(pilot.ask(&[b's', 0])?.0, Errno::NotFound.code());
        assert_eq!(pilot.ask(&[b'a', 1])?.0, Errno::NotFound.code());

        let mut line = Line::default();
        let place = line.place().to_string();
        let boot = fleet.device(device)?["heartbeat"]["boot"].as_u64();
        fleet.cli(&["device", "add", device, "--board", board, "--host", "bench", "--px4", &place])?;
        fleet.wait("another start", Limit::seconds(30), || {
            Ok(fleet.device(device)?["heartbeat"]["boot"].as_u64() > boot)
        })?;
        fleet.wait_running(device, "pilot", Limit::seconds(30))?;
        let quad = Vehicle::start(&python, "quad.py", line.vehicle_port(), &["1", "noise"]);
        assert_eq!(pilot.ask(&[b's', 0])?.0, Errno::NotFound.code(), "it is not plugged in yet");
        line.plug();
        let status = pilot.wait_for_status(0, is_fresh)?;
        assert_eq!((status.vehicle, status.flags & ARMED), (1, 0));

        assert_eq!(pilot.parameter(1, "MAV_SYS_ID")?, 1.0);
        assert_eq!(pilot.parameter(0, "MIS_TAKEOFF_ALT")?, 2.5);
        flies(&pilot)?;

        // Unplugged, and plugged in again.
        line.unplug();
        pilot.wait_for_status(1, |status| !is_fresh(status))?;
        assert_eq!(pilot.command(b'a', 1)?, Errno::TimedOut.code());
        line.plug();
        pilot.wait_for_status(1, is_fresh)?;
        assert_eq!(pilot.command(b'a', 1)?, ACCEPTED);
        pilot.wait_for_status(1, |status| status.flags & ARMED != 0)?;
        fleet.wait("an armed vehicle in a heartbeat", Limit::seconds(30), || {
            let vehicle = fleet.device(device)?["heartbeat"]["vehicles"][0].clone();
            let armed = vehicle["base_mode"].as_u64().is_some_and(|mode| mode & 128 != 0);
            Ok(armed && vehicle["system"] == 1 && vehicle["battery"] == 73)
        })?;

        // Another one on the same line.
        drop(quad);
        let _autopilot = Vehicle::start(&python, "autopilot.py", line.vehicle_port(), &["3", "armable"]);
        pilot.wait_for_status(3, is_fresh)?;
        assert_eq!(pilot.parameter(3, "CAL_ACC_PRIO")?, -75.0);
        assert_eq!(pilot.command(b'a', 3)?, ACCEPTED);
        pilot.wait_for_position(3, |position| position.z == 0.0)?;
        assert_eq!(pilot.command(b't', 3)?, ACCEPTED);
        pilot.wait_for_position(3, |position| position.z <= -5.0 && position.flags & STALE == 0)?;
        // It never acknowledges that.
        let start = Instant::now();
        assert_eq!(pilot.command(b'l', 3)?, Errno::TimedOut.code());
        ensure!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
    Ok(())
}

/// A whole flight by the example, while another module looks on.
fn flies(pilot: &Pilot<'_>) -> Result<()> {
    let Pilot { fleet, device, .. } = pilot;
    let stages = Subscription::open(fleet, &format!("wasmbed/v1/{device}/up/msg/flight/stage"))?;
    let log = Subscription::open(fleet, &format!("wasmbed/v1/{device}/up/log/info"))?;
    fleet.cli(&["deploy", "flight", "--to", device, "--wait"])?;
    fleet.wait_running(device, "flight", Limit::seconds(30))?;
    let go = fleet.dir().join("go");
    fs::write(&go, "go")?;
    fleet.publish_file(&format!("wasmbed/v1/{device}/dn/msg/flight/fly"), &go)?;
    let mut passed = Vec::new();
    while passed.last().is_none_or(|stage| stage != "ground") {
        let stage = String::from_utf8(bytes(&stages.next(|_| true)?)?)?;
        if stage == "hold" {
            pilot.wait_for_position(1, |position| position.z <= -4.5)?;
            pilot.wait_for_status(1, |status| status.flags & ARMED != 0 && status.landed_state == 2)?;
        }
        passed.push(stage);
    }
    assert_eq!(passed, STAGES);
    pilot.wait_for_status(1, |status| status.flags & ARMED == 0 && status.landed_state == 1)?;
    for order in
        ["arms vehicle 0", "takes off to 5.0 m with vehicle 0", "lands vehicle 0", "disarms vehicle 0"]
    {
        let line: String = format!("flight: {order}").bytes().map(|byte| format!("{byte:02x}")).collect();
        log.next(|said| said == line).with_context(|| order.to_owned())?;
    }
    Ok(())
}
