use std::collections::BTreeMap;

use wasmbed_wire::{DeviceId, HostId};

use crate::{Action, Effect, Health, Policy, Stage, Time};

/// Everything a plan follows from.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The service's own connection to the broker; `None` while there is none.
    pub link: Option<Link>,
    /// How patient the fleet is.
    pub policy: Policy,
    /// Hosts of emulated devices, by id.
    pub hosts: BTreeMap<HostId, Host>,
    /// Registered devices, by id.
    pub devices: BTreeMap<DeviceId, Device>,
}

/// One connection of the service to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Differs from that of every other connection: a broker may have forgotten everything between.
    pub session: u64,
    /// Since when.
    pub since: Time,
}

/// What was last published for a device or a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// On which [`Link::session`].
    pub session: u64,
    /// Which revision.
    pub revision: u64,
    /// When.
    pub at: Time,
}

/// Whether a device or a host is connected to the broker, as its state topic says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nothing was heard yet.
    #[default]
    Unknown,
    /// Connected.
    Online,
    /// Restarting into another firmware: said that itself.
    Updating,
    /// Not connected.
    Offline,
}

/// Whether a device should run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Power {
    /// It should.
    #[default]
    On,
    /// It should not.
    Off,
}

/// A host of emulated devices.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Whether it is connected.
    pub presence: Presence,
    /// Since when `presence` holds.
    pub since: Time,
    /// The revision it should reach.
    pub desired: u64,
    /// The revision it says it reached.
    pub reported: Option<u64>,
    /// What was last published for it.
    pub sent: Option<Sent>,
}

impl Host {
    /// A host nothing is known of.
    pub const fn new(id: HostId, desired: u64) -> Self {
        Host { id, presence: Presence::Unknown, since: Time(0), desired, reported: None, sent: None }
    }
}

/// Crashes of one device with little time between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crashes {
    /// How many.
    pub count: u32,
    /// The last one.
    pub last: Time,
}

impl Crashes {
    /// Counts a crash; those before a long time without one are forgotten.
    pub fn add(&mut self, now: Time, policy: &Policy) {
        let is_next = now.ms_since(self.last) < policy.crash_window_ms;
        self.count = if is_next { self.count.saturating_add(1) } else { 1 };
        self.last = now;
    }
}

/// A registered device.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Who holds its power switch; `None` for real hardware.
    pub host: Option<HostId>,
    /// Whether it should run.
    pub power: Power,
    /// Its heartbeat interval, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long its own watchdog waits before it resets the device, in milliseconds, if it has one.
    pub watchdog_ms: Option<u32>,
    /// How long it has from power-on to its first sign of life, in milliseconds, if it needs more than others.
    pub start_ms: Option<u32>,
    /// Whether it is connected.
    pub presence: Presence,
    /// When it last sent anything itself: not its will, and nothing the broker had retained.
    pub seen: Option<Time>,
    /// When its process was last started, as its host says.
    pub started: Option<Time>,
    /// Whether its host has still to start it, and knows.
    pub is_waiting: bool,
    /// How often it crashed of late.
    pub crashes: Crashes,
    /// The revision it should reach.
    pub desired: u64,
    /// The revision it says it reached.
    pub reported: Option<u64>,
    /// What was last published for it.
    pub sent: Option<Sent>,
    /// How well it is.
    pub health: Health,
}

impl Device {
    /// A device that was just registered.
    pub const fn new(now: Time, id: DeviceId, host: Option<HostId>, heartbeat_ms: u32) -> Self {
        Device {
            id,
            host,
            power: Power::On,
            heartbeat_ms,
            watchdog_ms: None,
            start_ms: None,
            presence: Presence::Unknown,
            seen: None,
            started: None,
            is_waiting: false,
            crashes: Crashes { count: 0, last: Time(0) },
            desired: 1,
            reported: None,
            sent: None,
            health: Health { stage: Stage::Starting, since: now, attempts: 0 },
        }
    }
}

impl View {
    /// Notes that an action is being carried out at `now`.
    pub fn record(&mut self, now: Time, action: &Action) {
        let session = self.link.map_or(0, |link| link.session);
        match *action {
            Action::PublishDevice(id) => {
                if let Some(device) = self.devices.get_mut(&id) {
                    device.sent = Some(Sent { session, revision: device.desired, at: now });
                }
            }
            Action::RaiseDevice(id, above) => {
                if let Some(device) = self.devices.get_mut(&id) {
                    device.desired = device.desired.max(above.saturating_add(1));
                }
            }
            Action::RaiseHost(id, above) => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.desired = host.desired.max(above.saturating_add(1));
                }
            }
            Action::PublishHost(id) => {
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.sent = Some(Sent { session, revision: host.desired, at: now });
                }
            }
            Action::Move { device, to, effect, .. } => {
                let Some(device) = self.devices.get_mut(&device) else { return };
                device.health = to;
                if to.stage == Stage::Quarantined {
                    device.crashes = Crashes::default();
                }
                if matches!(effect, Some(Effect::PowerCycle | Effect::PowerOff))
                    && let Some(host) = device.host.and_then(|host| self.hosts.get_mut(&host))
                {
                    host.desired = host.desired.saturating_add(1);
                }
            }
        }
    }
}
