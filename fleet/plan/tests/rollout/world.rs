//! A fleet of devices that do as they are told by the script, and a service that is stored after every step.

use wasmbed_plan::{
    Link, Time,
    rollout::{
        Action, DeviceState, Facts, Firmware, Owner, Phase, Progress, Report, Rollout, Spec, View, plan,
    },
};
use wasmbed_wire::{
    DeviceId, Digest,
    message::{FirmwareState, Reason},
};

pub(crate) const OLD: Digest = Digest([1; 32]);
pub(crate) const NEW: Digest = Digest([2; 32]);
pub(crate) const OTHER: Digest = Digest([3; 32]);
pub(crate) const OWNER: Owner = Owner(5);
pub(crate) const IMAGE_BYTES: u64 = 1_000;
const START_MS: u64 = 1_000_000;

/// The clock starts at one million milliseconds, shown as 0; the service has been connected for long.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) view: View,
    pub(crate) rollout: Rollout,
    log: Vec<String>,
}

/// A spec without soak time and with times that are easy to read.
pub(crate) fn spec(groups: &[&str]) -> Spec {
    let firmware = Firmware {
        name: "pump-fw".parse().unwrap(),
        version: "2.0.0".into(),
        image: NEW,
        size_bytes: IMAGE_BYTES,
    };
    let groups = groups.iter().map(|text| text.parse().unwrap()).collect();
    Spec { groups, soak_ms: 0, device_timeout_ms: 60_000, ..Spec::new(firmware) }
}

/// A device that runs the old image and is ready for the new one.
pub(crate) fn ready() -> Facts {
    Facts {
        online: true,
        fits: true,
        owner: OWNER,
        running: Some(OLD),
        transfer_bytes: IMAGE_BYTES,
        ..Facts::default()
    }
}

impl World {
    /// Devices `d0`, `d1` and so on.
    pub(crate) fn new(spec: Spec, count: usize) -> Self {
        let ids = (0..count).map(|number| format!("d{number}").parse().unwrap());
        let now = Time(START_MS);
        let devices = ids.map(|id: DeviceId| (id, ready())).collect();
        let view = View { link: Some(Link { session: 1, since: Time(0) }), devices };
        let rollout = Rollout::new(now, spec, OWNER, 2, view.devices.keys().copied()).unwrap();
        World { now, view, rollout, log: Vec::new() }
    }

    /// Numbers of the devices in a group.
    pub(crate) fn group(&self, group: usize) -> Vec<usize> {
        let of_group = self.rollout.devices().iter().filter(|(_, member)| member.group == group);
        of_group.map(|(id, _)| id.as_str()[1..].parse().unwrap()).collect()
    }

    pub(crate) fn facts(&mut self, number: usize) -> &mut Facts {
        self.view.devices.get_mut(&id(number)).unwrap()
    }

    pub(crate) fn state(&self, number: usize) -> DeviceState {
        self.rollout.devices()[&id(number)].state
    }

    pub(crate) fn report(
        &mut self,
        number: usize,
        image: Digest,
        state: FirmwareState,
        reason: Option<Reason>,
    ) {
        self.facts(number).report = Some(Report { image, state, progress: 50, reason });
    }

    /// The device runs this image for good and says so.
    pub(crate) fn confirm(&mut self, number: usize, image: Digest) {
        self.facts(number).running = Some(image);
        self.report(number, image, FirmwareState::Confirmed, None);
        self.settle();
    }

    pub(crate) fn revert(&mut self, number: usize) {
        self.report(number, NEW, FirmwareState::Reverted, Some(Reason::Crashed));
        self.settle();
    }

    /// Confirms whatever has been started, until nothing more is.
    pub(crate) fn confirm_all(&mut self) {
        self.settle();
        while let Some(number) = self.started().first() {
            self.confirm(*number, NEW);
        }
    }

    pub(crate) fn started(&self) -> Vec<usize> {
        let devices = self.rollout.devices().iter();
        let started = devices.filter(|(_, member)| matches!(member.state, DeviceState::Started { .. }));
        started.map(|(id, _)| id.as_str()[1..].parse().unwrap()).collect()
    }

    pub(crate) fn lose_link(&mut self) {
        self.view.link = None;
    }

    pub(crate) fn connect(&mut self) {
        self.view.link = Some(Link { session: self.now.0, since: self.now });
    }

    /// Plans and records; there must be nothing left to plan then, also for a service that starts afresh.
    pub(crate) fn settle(&mut self) -> Option<Time> {
        let before = plan(self.now, &self.view, &self.rollout);
        for action in &before.actions {
            self.rollout.record(self.now, action);
            self.log.extend(self.line(action));
        }
        let stored = serde_json::to_string(&self.rollout).unwrap();
        self.rollout = serde_json::from_str(&stored).unwrap();
        let after = plan(self.now, &self.view, &self.rollout);
        assert_eq!(after.actions, [], "after {:#?}", before.actions);
        assert_eq!(after.next_deadline, before.next_deadline);
        assert_eq!(serde_json::to_string(&self.rollout).unwrap(), stored);
        assert!(after.next_deadline.is_none_or(|at| at > self.now), "a deadline that is not in the future");
        after.next_deadline
    }

    /// Lets the clock run, stopping at every deadline.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some(at) = self.settle().filter(|at| *at <= end) {
            self.now = at;
        }
        self.now = end;
        self.settle();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.rollout.phase()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress::of(self.now, &self.view, &self.rollout)
    }

    fn line(&self, action: &Action) -> Option<String> {
        let at = i128::from(self.now.0) - i128::from(START_MS);
        Some(match action {
            Action::Clock { .. } => return None,
            Action::Start { device, .. } => format!("{at} {device} start"),
            Action::Withdraw { device, to, .. } => format!("{at} {device} withdraw: {}", text(to)),
            Action::RollBack { device, to } => {
                assert_eq!(*to, OLD);
                format!("{at} {device} roll back")
            }
            Action::Mark { device, to } => format!("{at} {device} {}", text(to)),
            Action::Phase { to } => format!("{at} {to}"),
            Action::Hold { why } => format!("{at} {why}"),
        })
    }

    #[track_caller]
    pub(crate) fn says(&mut self, expected: &[&str]) {
        assert_eq!(self.log, expected, "\n{:#?}", self.log);
        self.log.clear();
    }

    pub(crate) fn forget(&mut self) {
        self.log.clear();
    }
}

pub(crate) fn id(number: usize) -> DeviceId {
    format!("d{number}").parse().unwrap()
}

fn text(state: &DeviceState) -> String {
    match state {
        DeviceState::Pending => "pending".into(),
        DeviceState::Started { .. } => "started".into(),
        DeviceState::Confirmed { took_ms: None, .. } => "runs it already".into(),
        DeviceState::Confirmed { .. } => "confirmed".into(),
        DeviceState::Failed { failure, .. } => format!("failed: {failure}"),
        DeviceState::Skipped { why } => format!("skipped: {why}"),
        DeviceState::Withdrawn { .. } => "withdrawn".into(),
        DeviceState::RollingBack { .. } => "rolling back".into(),
        DeviceState::RolledBack { .. } => "rolled back".into(),
    }
}
