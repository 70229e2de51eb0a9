//! What people read about a rollout.

use std::fmt;

use super::{Abort, Failure, Found, Hold, Phase, Skip};

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Running { group } => write!(f, "updating group {}", group + 1),
            Phase::Soaking { group, .. } => write!(f, "watching group {} before the next", group + 1),
            Phase::Done => f.write_str("done"),
            Phase::Aborted { why } => write!(f, "aborted: {why}"),
            Phase::Cancelled => f.write_str("cancelled"),
            Phase::RollingBack { why: None } => f.write_str("rolling back"),
            Phase::RollingBack { why: Some(why) } => write!(f, "rolling back: {why}"),
            Phase::RolledBack { why: None } => f.write_str("rolled back"),
            Phase::RolledBack { why: Some(why) } => write!(f, "rolled back: {why}"),
        }
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Abort::Canary { failed } => write!(f, "{failed} failed in the canary group"),
            Abort::Failures { failed } => write!(f, "{failed} failed"),
            Abort::Share { failed, of } => write!(f, "{failed} of the {of} whose turn has come failed"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Paused => f.write_str("paused"),
            Hold::Group { group, confirmed, failed } => {
                let (group, of) = (group + 1, confirmed.saturating_add(*failed));
                write!(f, "held: only {confirmed} of {of} succeeded in group {group}")
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Reverted { .. } => f.write_str("it did not prove itself; the one before runs again"),
            Failure::Refused { .. } => f.write_str("the device refused it"),
            Failure::TimedOut { ms } => write!(f, "it was not confirmed within {} s", ms / 1_000),
            Failure::Quarantined => f.write_str("the device had to be quarantined after the update"),
            Failure::NotReturned { ms } => {
                write!(f, "the device did not return to its firmware within {} s", ms / 1_000)
            }
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skip::Removed => "the device is no longer registered",
            Skip::Superseded => "a later deployment has the device",
            Skip::Unfit => "the firmware is not made for the device",
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::In(phase) => write!(f, "it is {phase}"),
            Found::NotHeld => f.write_str("it is not held"),
        }
    }
}
