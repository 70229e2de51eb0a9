//! A swarm against the embedded broker and the least of a fleet.

mod fleet;

use std::time::Duration;

use wasmbed_boards::Boards;
use wasmbed_load::{Kind, Member, Plan, Report, Swarm};
use wasmbed_wire::{DeviceId, message::FirmwareState};

use fleet::{Fleet, Image};

const LIMIT: Duration = Duration::from_secs(60);

fn kind() -> Kind {
    let boards = Boards::embedded().expect("valid boards");
    let board = boards.get(&"netduino2".parse().expect("a name")).expect("a board");
    Kind::of(board).expect("a board with slots")
}

fn swarm(fleet: &Fleet, factory: &Image, devices: usize) -> Swarm {
    let members = (0..devices).map(|nth| {
        let device: DeviceId = format!("sim-{nth}").parse().expect("an id");
        Member { device, password: fleet.password(device) }
    });
    let members = members.collect();
    let (factory, trusted) = (factory.factory(), vec![fleet::key()]);
    Swarm::start(Plan { kind: kind(), factory, trusted, broker: fleet.broker(), members, limit: LIMIT })
        .expect("a swarm")
}

fn states(report: &Report) -> Vec<FirmwareState> {
    report.changes.iter().map(|change| change.state).collect()
}

#[test]
fn every_device_fetches_the_image_once_restarts_into_it_and_confirms() {
    let kind = kind();
    let (old, new) = (Image::new(&kind, "1.0.0", 20_000), Image::new(&kind, "1.1.0", 30_001));
    let fleet = Fleet::start(&new);
    let swarm = swarm(&fleet, &old, 3);
    swarm.wait("confirmed", LIMIT, |report| report.has_confirmed(&new.digest())).expect("confirmed");
    for report in swarm.reports() {
        assert_eq!((report.starts, report.is_online), (2, true), "{report:?}");
        assert_eq!((report.blocks, report.asked), (1 + 30, 1 + 30), "{report:?}");
        assert_eq!(report.block_bytes, 30_001 + new.manifest_bytes(), "{report:?}");
        let states = states(&report);
        assert!(
            states.ends_with(&[FirmwareState::Trial, FirmwareState::Confirmed])
                && states.contains(&FirmwareState::Downloading),
            "{report:?}"
        );
        assert!(report.reached(FirmwareState::Trial) <= report.reached(FirmwareState::Confirmed));
    }
    swarm.forget();
    let report = &swarm.reports()[0];
    assert_eq!((report.blocks, report.asked, report.starts, report.changes.len()), (0, 0, 0, 0));
    assert!(report.has_confirmed(&new.digest()), "what it runs is not forgotten");
}

#[test]
fn an_image_of_a_stranger_is_refused_by_every_device() {
    let kind = kind();
    let (old, new) = (Image::new(&kind, "1.0.0", 20_000), Image::new(&kind, "1.1.0", 5_000).by_a_stranger());
    let fleet = Fleet::start(&new);
    let swarm = swarm(&fleet, &old, 2);
    let is_refused =
        |report: &Report| report.firmware.is_some_and(|firmware| firmware.state == FirmwareState::Refused);
    swarm.wait("refused", LIMIT, is_refused).expect("refused");
    assert!(swarm.reports().iter().all(|report| report.starts == 1));
}

#[test]
fn a_device_whose_flash_holds_nothing_it_trusts_waits_in_recovery_for_an_image() {
    let kind = kind();
    let old = Image::new(&kind, "1.0.0", 20_000).by_a_stranger();
    let new = Image::new(&kind, "1.1.0", 5_000);
    let fleet = Fleet::start(&new);
    let swarm = swarm(&fleet, &old, 1);
    swarm.wait("confirmed", LIMIT, |report| report.has_confirmed(&new.digest())).expect("confirmed");
}

#[test]
fn a_swarm_ends_by_itself_when_its_time_is_over() {
    let kind = kind();
    let image = Image::new(&kind, "1.0.0", 5_000);
    let fleet = Fleet::start(&image);
    let members = vec![Member {
        device: "sim-0".parse().expect("an id"),
        password: fleet.password("sim-0".parse().expect("an id")),
    }];
    let plan = Plan {
        kind,
        factory: image.factory(),
        trusted: vec![fleet::key()],
        broker: fleet.broker(),
        members,
        limit: Duration::from_millis(300),
    };
    let swarm = Swarm::start(plan).expect("a swarm");
    fleet.wait_gone("sim-0");
    drop(swarm);
}
