//! The ladder: overdue, suspect, ping, restart, backoff, quarantine.

use serde::{Deserialize, Serialize};

use crate::{Action, Device, Effect, Plan, Power, Presence, Reason, Time, View};

/// How well a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Where on the ladder it stands.
    pub stage: Stage,
    /// Since when.
    pub since: Time,
    /// Restarts since it was last healthy for long.
    pub attempts: u32,
}

/// Where on the ladder a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Should not run.
    Off,
    /// Was started and has not given a sign of life yet.
    Starting,
    /// Gives signs of life in time.
    Healthy,
    /// Was silent too long and has been asked to answer.
    Suspect,
    /// Was restarted because it did not answer.
    Recovering,
    /// Did not come back after a restart; the next follows after a pause.
    Backoff,
    /// Restarts did not help; left alone until an operator clears it.
    Quarantined,
    /// Not connected, and nobody can start it from here.
    Offline,
    /// Its host is not connected.
    Unknown,
}

impl Stage {
    /// The name used in events and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Off => "off",
            Stage::Starting => "starting",
            Stage::Healthy => "healthy",
            Stage::Suspect => "suspect",
            Stage::Recovering => "recovering",
            Stage::Backoff => "backoff",
            Stage::Quarantined => "quarantined",
            Stage::Offline => "offline",
            Stage::Unknown => "unknown",
        }
    }
}

/// The state of a device's host as far as it decides about the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostState {
    /// The device has no host.
    None,
    Online {
        since: Time,
    },
    Gone,
    /// Not heard of yet, but there was little time.
    Awaited {
        until: Time,
    },
}

/// One device with everything that decides about it.
struct Case<'a> {
    now: Time,
    view: &'a View,
    device: &'a Device,
    host: HostState,
    connected_since: Time,
}

pub(crate) fn device(now: Time, view: &View, device: &Device, plan: &mut Plan) {
    // Without the broker everybody is silent: judging would restart a whole fleet.
    let Some(link) = view.link else { return };
    let mut case = Case { now, view, device, host: HostState::None, connected_since: link.since };
    case.host = case.host_state();
    match case.judge() {
        Verdict::Stay => {}
        Verdict::Until(at) => plan.come_back(at),
        Verdict::Move { stage, attempts, reason, effect } => plan.actions.push(Action::Move {
            device: device.id,
            to: Health { stage, since: now, attempts },
            reason,
            effect,
        }),
    }
    // A move is followed by its own deadline: the caller records it and plans again.
}

enum Verdict {
    Stay,
    Until(Time),
    Move { stage: Stage, attempts: u32, reason: Reason, effect: Option<Effect> },
}

impl Case<'_> {
    fn judge(&self) -> Verdict {
        let stage = self.device.health.stage;
        match (self.device.power, stage) {
            (Power::Off, Stage::Off) | (Power::On, Stage::Quarantined) => return Verdict::Stay,
            (Power::Off, _) => return self.fresh(Stage::Off, Reason::PoweredOff),
            (Power::On, Stage::Off) => return self.fresh(Stage::Starting, Reason::PoweredOn),
            _ => {}
        }
        let crashes = self.device.crashes.count;
        if crashes > self.view.policy.crash_budget {
            return self.quarantine(Reason::CrashLoop { crashes });
        }
        match (self.host, stage) {
            (HostState::Gone, Stage::Unknown) => return Verdict::Stay,
            (HostState::Gone, _) => return self.go(Stage::Unknown, Reason::HostVanished),
            (HostState::Awaited { until }, _) => return Verdict::Until(until),
            (_, Stage::Unknown) => return self.go(Stage::Starting, Reason::HostReturned),
            _ => {}
        }
        self.climb()
    }

    fn climb(&self) -> Verdict {
        let health = self.device.health;
        match health.stage {
            // It restarts on purpose, so it has as long as after a power-on.
            Stage::Healthy | Stage::Suspect if self.device.presence == Presence::Updating => {
                self.go(Stage::Starting, Reason::Updating)
            }
            Stage::Healthy => self.healthy(),
            _ if self.is_alive() => self.go(Stage::Healthy, Reason::Alive),
            // Nothing runs that could be started again.
            Stage::Suspect | Stage::Backoff if self.is_waiting() => self.go(Stage::Starting, Reason::Waiting),
            Stage::Starting | Stage::Recovering if self.is_waiting() => Verdict::Stay,
            Stage::Starting => self.starting(),
            Stage::Suspect if self.is_lost() => self.go(Stage::Offline, Reason::Disconnected),
            Stage::Suspect => self.after(self.answer_deadline(), |case| {
                let attempt = health.attempts.saturating_add(1);
                let budget = case.view.policy.restart_budget;
                case.restart(Reason::NoAnswer { attempt, budget })
            }),
            Stage::Recovering => self.after(self.start_deadline(), |case| {
                let pause_ms = case.view.policy.pause_ms(health.attempts);
                case.go(Stage::Backoff, Reason::NotRecovered { pause_ms })
            }),
            Stage::Backoff if self.is_lost() => self.go(Stage::Offline, Reason::Disconnected),
            Stage::Backoff => {
                let pause_ms = self.view.policy.pause_ms(health.attempts);
                self.after(self.judged_since().after_ms(pause_ms), |case| case.restart_again())
            }
            // Comes back by a sign of life only.
            Stage::Offline | Stage::Off | Stage::Quarantined | Stage::Unknown => Verdict::Stay,
        }
    }

    fn healthy(&self) -> Verdict {
        if self.device.presence == Presence::Offline {
            // A hosted device is being started again by its host, or will be power cycled.
            let stage = if self.is_hosted() { Stage::Starting } else { Stage::Offline };
            return self.go(stage, Reason::Disconnected);
        }
        let health = self.device.health;
        let quiet = self.quiet_since();
        let overdue = quiet.after_ms(self.view.policy.overdue_ms(self.device.heartbeat_ms));
        if self.now >= overdue {
            return Verdict::Move {
                stage: Stage::Suspect,
                attempts: health.attempts,
                reason: Reason::Silent { ms: self.now.ms_since(quiet) },
                effect: Some(Effect::Ping),
            };
        }
        if health.attempts == 0 {
            return Verdict::Until(overdue);
        }
        let settled = health.since.after_ms(self.view.policy.settle_ms);
        if self.now >= settled {
            self.fresh(Stage::Healthy, Reason::Settled)
        } else {
            Verdict::Until(overdue.min(settled))
        }
    }

    fn starting(&self) -> Verdict {
        self.after(self.start_deadline(), |case| {
            let ms = case.start_ms();
            if case.is_hosted() {
                case.restart_again()
            } else if case.device.presence == Presence::Online {
                Verdict::Move {
                    stage: Stage::Suspect,
                    attempts: case.device.health.attempts,
                    reason: Reason::Silent { ms },
                    effect: Some(Effect::Ping),
                }
            } else {
                case.go(Stage::Offline, Reason::NeverCame { ms })
            }
        })
    }

    fn restart_again(&self) -> Verdict {
        let attempt = self.device.health.attempts.saturating_add(1);
        self.restart(Reason::StillSilent { attempt, budget: self.view.policy.restart_budget })
    }

    fn restart(&self, reason: Reason) -> Verdict {
        let restarts = self.device.health.attempts;
        if restarts >= self.view.policy.restart_budget {
            return self.quarantine(Reason::BudgetExhausted { restarts });
        }
        let effect = if self.is_hosted() { Effect::PowerCycle } else { Effect::Restart };
        Verdict::Move { stage: Stage::Recovering, attempts: restarts + 1, reason, effect: Some(effect) }
    }

    fn quarantine(&self, reason: Reason) -> Verdict {
        let attempts = self.device.health.attempts;
        // Off power, a device that cannot be helped does no harm either.
        let effect = self.device.host.is_some().then_some(Effect::PowerOff);
        Verdict::Move { stage: Stage::Quarantined, attempts, reason, effect }
    }

    fn after(&self, at: Time, then: impl FnOnce(&Self) -> Verdict) -> Verdict {
        if self.now >= at { then(self) } else { Verdict::Until(at) }
    }

    fn go(&self, stage: Stage, reason: Reason) -> Verdict {
        Verdict::Move { stage, attempts: self.device.health.attempts, reason, effect: None }
    }

    /// Like [`Case::go`], with earlier restarts forgotten.
    fn fresh(&self, stage: Stage, reason: Reason) -> Verdict {
        Verdict::Move { stage, attempts: 0, reason, effect: None }
    }

    /// Whether it gave a sign of life since it came to where it stands. Signs from the moment of the
    /// step itself count: the step was planned because of what was not heard before.
    fn is_alive(&self) -> bool {
        !matches!(self.device.presence, Presence::Offline | Presence::Updating)
            && self.device.seen.is_some_and(|seen| seen >= self.device.health.since)
    }

    fn is_hosted(&self) -> bool {
        self.host != HostState::None
    }

    /// Whether its host will start it.
    fn is_waiting(&self) -> bool {
        self.is_hosted() && self.device.is_waiting
    }

    /// Whether nothing can be done from here.
    fn is_lost(&self) -> bool {
        !self.is_hosted() && self.device.presence == Presence::Offline
    }

    /// From when on where it stands counts: time without the broker does not.
    fn judged_since(&self) -> Time {
        self.device.health.since.max(self.connected_since)
    }

    /// From when on its silence counts.
    fn quiet_since(&self) -> Time {
        let host = match self.host {
            HostState::Online { since } => since,
            _ => Time(0),
        };
        let seen = self.device.seen.unwrap_or_default();
        seen.max(self.judged_since()).max(host)
    }

    /// A device that hangs is reset by its own watchdog first: that one knows why it did so.
    fn answer_deadline(&self) -> Time {
        let ping_ms = self.view.policy.ping_ms;
        let answer = self.judged_since().after_ms(ping_ms);
        let seen = self.device.seen.unwrap_or_default().max(self.connected_since);
        match self.device.watchdog_ms {
            Some(watchdog_ms) => answer.max(seen.after_ms(u64::from(watchdog_ms) + ping_ms)),
            None => answer,
        }
    }

    fn start_deadline(&self) -> Time {
        let started = self.device.started.unwrap_or_default();
        self.quiet_since().max(started).after_ms(self.start_ms())
    }

    fn start_ms(&self) -> u64 {
        self.view.policy.start_ms.max(self.device.start_ms.unwrap_or(0).into())
    }

    fn host_state(&self) -> HostState {
        let Some(id) = self.device.host else { return HostState::None };
        let Some(host) = self.view.hosts.get(&id) else { return HostState::Gone };
        match host.presence {
            Presence::Online | Presence::Updating => HostState::Online { since: host.since },
            Presence::Offline => HostState::Gone,
            Presence::Unknown => {
                let until = self.connected_since.after_ms(self.view.policy.start_ms);
                if self.now >= until { HostState::Gone } else { HostState::Awaited { until } }
            }
        }
    }
}
