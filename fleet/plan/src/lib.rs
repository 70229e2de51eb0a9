//! What the fleet service should do next: pure, deterministic, without I/O.
//!
//! The service keeps a [`View`] of the fleet up to date and asks [`plan`] (or [`plan_device`], when only
//! one device changed) what follows from it. It makes each [`Action`] durable, records it in the view
//! with [`View::record`], and then carries it out. Planning again right after that yields nothing: no
//! step is taken twice.
//!
//! Two concerns are planned. *Convergence*: retained desired states are published until the broker
//! has them and the device reports them. *Health*: a silent device is pinged, restarted, backed off
//! and finally quarantined, and so is one
//! that keeps crashing; each step comes with its [`Reason`]. While the broker is out of reach nobody is
//! judged, and devices of a host that vanished are unknown, not dead.
//!
//! Bringing a firmware to many devices is planned apart from that, in [`rollout`].
//!
//! Not here: sockets, clocks, the store, and what a desired state consists of.
#![forbid(unsafe_code)]

mod converge;
mod health;
mod policy;
mod reason;
pub mod rollout;
mod time;
mod view;

pub use health::{Health, Stage};
pub use policy::Policy;
pub use reason::Reason;
pub use time::Time;
pub use view::{Crashes, Device, Host, Link, Power, Presence, Sent, View};

use wasmbed_wire::{DeviceId, HostId};

/// What should be done now, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub actions: Vec<Action>,
    /// When to plan again if nothing happens before; `None` to wait for something to happen.
    pub next_deadline: Option<Time>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish the device's desired state, retained.
    PublishDevice(DeviceId),
    /// Give the device's desired state a revision above this one, which the device already reports:
    /// the fleet's store is older than the device's memory.
    RaiseDevice(DeviceId, u64),
    /// The same for a host.
    RaiseHost(HostId, u64),
    /// Publish the host's desired state, retained.
    PublishHost(HostId),
    /// The device's health changed.
    Move {
        /// The device.
        device: DeviceId,
        /// Its new health.
        to: Health,
        /// Why.
        reason: Reason,
        /// What to do about it.
        effect: Option<Effect>,
    },
}

/// What is done to a device whose health changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Ask the device to answer.
    Ping,
    /// Raise the number that makes its host take it off power and on again.
    PowerCycle,
    /// Have its host keep it off power.
    PowerOff,
    /// Ask the device to restart itself: nobody else can.
    Restart,
}

impl Plan {
    fn come_back(&mut self, at: Time) {
        self.next_deadline = Some(self.next_deadline.map_or(at, |before| before.min(at)));
    }
}

/// Plans for the whole fleet.
pub fn plan(now: Time, view: &View) -> Plan {
    let mut plan = Plan::default();
    for host in view.hosts.values() {
        converge::host(now, view, host, &mut plan);
    }
    for device in view.devices.values() {
        add_device(now, view, device, &mut plan);
    }
    plan
}

/// Plans for one device and its host only, for when nothing else changed.
pub fn plan_device(now: Time, view: &View, id: &DeviceId) -> Plan {
    let mut plan = Plan::default();
    if let Some(device) = view.devices.get(id) {
        if let Some(host) = device.host.and_then(|host| view.hosts.get(&host)) {
            converge::host(now, view, host, &mut plan);
        }
        add_device(now, view, device, &mut plan);
    }
    plan
}

fn add_device(now: Time, view: &View, device: &Device, plan: &mut Plan) {
    converge::device(now, view, device, plan);
    health::device(now, view, device, plan);
}
