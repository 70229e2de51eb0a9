//! Scripts over a fleet of one or two devices: facts come in, the clock moves, actions come out.
#![allow(clippy::unwrap_used, reason = "a test may stop where its script is wrong")]

use wasmbed_plan::{
    Action, Device, Effect, Host, Link, Plan, Power, Presence, Stage, Time, View, plan, plan_device,
};
use wasmbed_wire::{DeviceId, HostId};

const HEARTBEAT_MS: u32 = 1_000;

struct World {
    now: Time,
    view: View,
    sessions: u64,
    log: Vec<String>,
}

impl World {
    /// A connected service; the clock starts at one million milliseconds, shown as 0.
    fn new() -> Self {
        let mut world = World { now: Time(1_000_000), view: View::default(), sessions: 0, log: Vec::new() };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.sessions += 1;
        self.view.link = Some(Link { session: self.sessions, since: self.now });
    }

    fn host(&mut self, name: &str) -> HostId {
        let id = name.parse().unwrap();
        let mut host = Host::new(id, 1);
        (host.presence, host.since) = (Presence::Online, self.now);
        host.reported = Some(1);
        self.view.hosts.insert(id, host);
        id
    }

    fn device(&mut self, name: &str, host: Option<HostId>) -> DeviceId {
        let id = name.parse().unwrap();
        let mut device = Device::new(self.now, id, host, HEARTBEAT_MS);
        device.presence = Presence::Online;
        self.view.devices.insert(id, device);
        self.alive(&id);
        self.settle();
        self.log.clear();
        id
    }

    fn edit(&mut self, id: &DeviceId) -> &mut Device {
        self.view.devices.get_mut(id).unwrap()
    }

    fn edit_host(&mut self, id: &HostId) -> &mut Host {
        self.view.hosts.get_mut(id).unwrap()
    }

    fn alive(&mut self, id: &DeviceId) {
        let now = self.now;
        self.edit(id).seen = Some(now);
    }

    /// Plans and records until nothing is left to do now; returns the next deadline.
    fn settle(&mut self) -> Option<Time> {
        for _ in 0..10 {
            let Plan { actions, next_deadline } = plan(self.now, &self.view);
            if actions.is_empty() {
                return next_deadline;
            }
            for action in actions {
                self.view.record(self.now, &action);
                self.log.push(self.line(&action));
                if let Action::PublishHost(id) = action {
                    // This world's hosts obey at once.
                    let host = self.edit_host(&id);
                    host.reported = Some(host.desired);
                }
            }
        }
        panic!("the plan does not come to rest: {:#?}", self.log);
    }

    /// Lets the clock run, stopping at every deadline.
    fn run(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some(at) = self.settle().filter(|at| *at <= end) {
            assert!(at > self.now, "a deadline that is not in the future");
            self.now = at;
        }
        self.now = end;
        self.settle();
    }

    fn beat_for(&mut self, id: &DeviceId, ms: u64) {
        for _ in 0..ms / u64::from(HEARTBEAT_MS) {
            self.run(u64::from(HEARTBEAT_MS));
            self.alive(id);
        }
        self.settle();
    }

    fn line(&self, action: &Action) -> String {
        let at = self.now.0 - 1_000_000;
        match action {
            Action::PublishDevice(id) => format!("{at} {id} publish {}", self.view.devices[id].desired),
            Action::RaiseDevice(id, above) => format!("{at} {id} above {above}"),
            Action::PublishHost(id) => format!("{at} {id} publish {}", self.view.hosts[id].desired),
            Action::RaiseHost(id, above) => format!("{at} {id} above {above}"),
            Action::Move { device, to, reason, effect } => {
                let effect = match effect {
                    None => "",
                    Some(Effect::Ping) => " [ping]",
                    Some(Effect::PowerCycle) => " [cycle]",
                    Some(Effect::PowerOff) => " [off]",
                    Some(Effect::Restart) => " [restart]",
                };
                format!("{at} {device} {}{effect}: {reason}", to.stage.name())
            }
        }
    }

    fn stage(&self, id: &DeviceId) -> Stage {
        self.view.devices[id].health.stage
    }

    #[track_caller]
    fn says(&mut self, expected: &[&str]) {
        assert_eq!(self.log, expected, "\n{:#?}", self.log);
        self.log.clear();
    }
}

#[test]
fn a_device_that_beats_in_time_is_left_in_peace() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.beat_for(&pump, 60_000);
    world.says(&[]);
    assert_eq!(world.stage(&pump), Stage::Healthy);
}

#[test]
fn a_silent_emulated_device_is_pinged_then_power_cycled_and_comes_back() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.run(6_000);
    world.says(&[
        "2500 pump suspect [ping]: no heartbeat or other sign of life for 2.5 s; asked to answer",
        "5500 pump recovering [cycle]: it did not answer; restart 1 of 5",
        "5500 h publish 2",
    ]);
    world.alive(&pump);
    world.settle();
    world.says(&["6000 pump healthy: it gave a sign of life"]);
}

#[test]
fn an_answered_ping_ends_the_suspicion() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.run(3_000);
    world.alive(&pump);
    world.settle();
    world.says(&[
        "2500 pump suspect [ping]: no heartbeat or other sign of life for 2.5 s; asked to answer",
        "3000 pump healthy: it gave a sign of life",
    ]);
}

#[test]
fn real_hardware_is_asked_to_restart_itself() {
    let mut world = World::new();
    world.device("pump", None);
    world.run(5_500);
    world.says(&[
        "2500 pump suspect [ping]: no heartbeat or other sign of life for 2.5 s; asked to answer",
        "5500 pump recovering [restart]: it did not answer; restart 1 of 5",
    ]);
}

#[test]
fn restarts_that_do_not_help_are_paused_ever_longer_and_end_in_quarantine() {
    let mut world = World::new();
    world.view.policy.restart_budget = 3;
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.run(3_600_000);
    world.says(&[
        "2500 pump suspect [ping]: no heartbeat or other sign of life for 2.5 s; asked to answer",
        "5500 pump recovering [cycle]: it did not answer; restart 1 of 3",
        "5500 h publish 2",
        "25500 pump backoff: the restart did not help; trying again in 2.0 s",
        "27500 pump recovering [cycle]: still no sign of life; restart 2 of 3",
        "27500 h publish 3",
        "47500 pump backoff: the restart did not help; trying again in 4.0 s",
        "51500 pump recovering [cycle]: still no sign of life; restart 3 of 3",
        "51500 h publish 4",
        "71500 pump backoff: the restart did not help; trying again in 8.0 s",
        "79500 pump quarantined [off]: 3 restarts did not help; quarantined until `wasmbed device clear`",
        "79500 h publish 5",
    ]);
    world.alive(&pump);
    world.run(60_000);
    world.says(&[]);
}

#[test]
fn a_device_that_its_host_has_still_to_start_is_waited_for() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.run(1_000);
    world.edit(&pump).is_waiting = true;
    world.run(600_000);
    world.says(&[
        "2500 pump suspect [ping]: no heartbeat or other sign of life for 2.5 s; asked to answer",
        "2500 pump starting: its host has still to start it",
    ]);
    let now = world.now;
    let waiting = world.edit(&pump);
    (waiting.is_waiting, waiting.started) = (false, Some(now));
    world.run(20_000);
    world.says(&[
        "621000 pump recovering [cycle]: still no sign of life; restart 1 of 5",
        "621000 h publish 2",
    ]);
    world.run(20_000);
    world.edit(&pump).is_waiting = true;
    world.run(60_000);
    world.says(&[
        "641000 pump backoff: the restart did not help; trying again in 2.0 s",
        "641000 pump starting: its host has still to start it",
    ]);
}

#[test]
fn earlier_restarts_are_forgotten_only_after_a_long_healthy_time() {
    let mut world = World::new();
    world.view.policy.settle_ms = 10_000;
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.run(5_500);
    world.alive(&pump);
    world.beat_for(&pump, 9_000);
    assert_eq!(world.view.devices[&pump].health.attempts, 1);
    world.beat_for(&pump, 2_000);
    assert_eq!(world.view.devices[&pump].health.attempts, 0);
}

#[test]
fn a_device_that_keeps_crashing_is_quarantined_although_it_always_comes_back() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    for _ in 0..11 {
        world.run(2_000);
        let (now, policy) = (world.now, world.view.policy);
        world.edit(&pump).crashes.add(now, &policy);
        world.alive(&pump);
    }
    world.settle();
    world.says(&[
        "22000 pump quarantined [off]: 11 crashes in a row; quarantined until `wasmbed device clear`",
        "22000 h publish 2",
    ]);
}

#[test]
fn crashes_far_apart_are_not_a_loop() {
    let mut world = World::new();
    let pump = world.device("pump", None);
    for _ in 0..30 {
        let (now, policy) = (world.now, world.view.policy);
        world.edit(&pump).crashes.add(now, &policy);
        world.beat_for(&pump, 60_000);
    }
    world.says(&[]);
}

#[test]
fn a_host_that_vanishes_makes_its_devices_unknown_and_restarts_none() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.edit_host(&host).presence = Presence::Offline;
    world.edit(&pump).presence = Presence::Offline;
    world.run(3_600_000);
    world.says(&["0 pump unknown: its host is not connected"]);

    let now = world.now;
    (world.edit_host(&host).presence, world.edit_host(&host).since) = (Presence::Online, now);
    world.run(1_000);
    world.edit(&pump).presence = Presence::Online;
    world.alive(&pump);
    world.settle();
    world.says(&[
        "3600000 pump starting: its host is connected again",
        "3601000 pump healthy: it gave a sign of life",
    ]);
}

#[test]
fn a_host_never_heard_of_is_awaited_before_its_devices_are_unknown() {
    let mut world = World::new();
    let host = "h".parse().unwrap();
    world.view.hosts.insert(host, Host::new(host, 1));
    let pump = world.device("pump", Some(host));
    world.run(19_999);
    world.says(&[]);
    world.run(1);
    world.says(&["20000 pump unknown: its host is not connected"]);
    assert_eq!(world.stage(&pump), Stage::Unknown);
}

#[test]
fn nobody_is_judged_while_the_broker_is_away_nor_for_the_silence_of_that_time() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.view.link = None;
    world.run(3_600_000);
    world.says(&[]);
    world.connect();
    world.run(2_000);
    world.alive(&pump);
    world.run(2_000);
    // The new connection may lead to a broker without memory: everything is published again.
    world.says(&["3600000 h publish 1", "3600000 pump publish 1"]);
}

#[test]
fn a_suspect_gets_its_time_to_answer_again_after_an_outage() {
    let mut world = World::new();
    let host = world.host("h");
    world.device("pump", Some(host));
    world.run(3_000);
    world.log.clear();
    world.view.link = None;
    world.run(60_000);
    world.connect();
    world.run(4_000);
    world.says(&[
        "63000 h publish 1",
        "63000 pump publish 1",
        "66000 pump recovering [cycle]: it did not answer; restart 1 of 5",
        "66000 h publish 2",
    ]);
}

#[test]
fn a_device_that_hangs_is_left_to_its_own_watchdog_first() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.edit(&pump).watchdog_ms = Some(8_000);
    world.run(10_900);
    assert_eq!(world.stage(&pump), Stage::Suspect);
    world.alive(&pump);
    world.run(1);
    assert_eq!(world.stage(&pump), Stage::Healthy);
    world.log.clear();
    world.run(11_500);
    assert_eq!(world.stage(&pump), Stage::Recovering, "{:#?}", world.log);
}

#[test]
fn a_device_that_starts_slowly_is_left_the_time_its_board_needs() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.edit(&pump).start_ms = Some(60_000);
    world.run(5_500);
    assert_eq!(world.stage(&pump), Stage::Recovering);
    world.run(59_000);
    assert_eq!(world.stage(&pump), Stage::Recovering, "{:#?}", world.log);
    world.run(2_000);
    assert_eq!(world.stage(&pump), Stage::Backoff, "{:#?}", world.log);
}

#[test]
fn a_device_whose_process_died_has_the_time_of_a_start_to_come_back() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.edit(&pump).presence = Presence::Offline;
    world.run(1_500);
    world.edit(&pump).presence = Presence::Online;
    world.alive(&pump);
    world.settle();
    world.says(&[
        "0 pump starting: its connection to the broker ended",
        "1500 pump healthy: it gave a sign of life",
    ]);
}

#[test]
fn real_hardware_that_disconnects_is_offline_until_it_comes_back_by_itself() {
    let mut world = World::new();
    let pump = world.device("pump", None);
    world.edit(&pump).presence = Presence::Offline;
    world.run(3_600_000);
    world.edit(&pump).presence = Presence::Online;
    world.alive(&pump);
    world.settle();
    world.says(&[
        "0 pump offline: its connection to the broker ended",
        "3600000 pump healthy: it gave a sign of life",
    ]);
}

#[test]
fn a_device_that_should_not_run_is_off_and_starts_afresh() {
    let mut world = World::new();
    let host = world.host("h");
    let pump = world.device("pump", Some(host));
    world.edit(&pump).power = Power::Off;
    world.run(60_000);
    world.edit(&pump).power = Power::On;
    world.run(1_000);
    world.says(&["0 pump off: it should not run", "60000 pump starting: it should run"]);
}

#[test]
fn a_change_is_published_once_and_again_only_while_the_device_lags() {
    let mut world = World::new();
    let pump = world.device("pump", None);
    world.edit(&pump).reported = Some(1);
    world.edit(&pump).desired = 2;
    world.beat_for(&pump, 31_000);
    world.edit(&pump).reported = Some(2);
    world.beat_for(&pump, 60_000);
    world.says(&["0 pump publish 2", "30000 pump publish 2"]);
}

#[test]
fn a_device_that_remembers_a_later_revision_is_overtaken() {
    let mut world = World::new();
    let pump = world.device("pump", None);
    world.edit(&pump).reported = Some(41);
    world.settle();
    world.says(&["0 pump above 41", "0 pump publish 42"]);
}

#[test]
fn one_devices_trouble_does_not_touch_another() {
    let mut world = World::new();
    let host = world.host("h");
    let quiet = world.device("quiet", Some(host));
    let pump = world.device("pump", Some(host));
    world.beat_for(&pump, 120_000);
    assert!(world.log.iter().all(|line| !line.contains(" pump ")), "{:#?}", world.log);
    assert_eq!(world.stage(&pump), Stage::Healthy);
    assert_ne!(world.stage(&quiet), Stage::Healthy);
}

#[test]
fn planning_one_device_finds_what_planning_all_finds_for_it() {
    let mut world = World::new();
    let pump = world.device("pump", None);
    world.device("other", None);
    world.edit(&pump).desired = 2;
    assert_eq!(plan_device(world.now, &world.view, &pump).actions, [Action::PublishDevice(pump)]);
    assert_eq!(plan(world.now, &world.view).actions, [Action::PublishDevice(pump)]);
}

#[test]
fn a_device_that_restarts_into_another_firmware_has_as_long_as_after_a_power_on() {
    let mut world = World::new();
    let host = world.host("lab");
    let id = world.device("pump", Some(host));
    world.edit(&id).presence = Presence::Updating;
    world.alive(&id);
    world.run(19_000);
    assert_eq!(world.log, ["0 pump starting: it restarts into another firmware"]);
    world.edit(&id).presence = Presence::Online;
    world.alive(&id);
    world.settle();
    assert_eq!(world.view.devices[&id].health.stage, Stage::Healthy);
    assert_eq!(world.view.devices[&id].health.attempts, 0);
}

#[test]
fn a_device_that_does_not_come_back_from_its_update_is_restarted() {
    let mut world = World::new();
    let host = world.host("lab");
    let (pump, hub) = (world.device("pump", Some(host)), world.device("hub", None));
    for id in [&pump, &hub] {
        world.edit(id).presence = Presence::Updating;
        world.alive(id);
    }
    world.run(21_000);
    assert_eq!(world.view.devices[&pump].health.stage, Stage::Recovering);
    assert_eq!(world.view.devices[&hub].health.stage, Stage::Offline, "nobody can restart it from here");
}
