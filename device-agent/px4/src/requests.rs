//! Commands and questions for parameters that are under way, and what became of those that are over.
//!
//! An acknowledgement names a command by its number and the vehicle, and nothing else: of two alike to one component the
//! second waits for the first. A parameter has the same value for everyone who asks, so those do not wait.

use alloc::vec::Vec;

use wasmbed_abi::{
    ANSWER_STALE_MS, Errno, MAX_VEHICLE_COMMANDS, MAX_VEHICLE_QUESTIONS, ParameterName, VehicleCommand,
    VehicleParameter,
};

use crate::{Owner, Source, messages::Message};

/// Time for an answer, in milliseconds; then the request is sent again.
const ANSWER_MS: u64 = 1_000;
/// How often it is sent.
const TRIES: u8 = 4;
/// Time for the next word of a vehicle that said that it is at work, in milliseconds.
const PROGRESS_MS: u64 = 10_000;
/// Time for everything, in milliseconds.
const TOTAL_MS: u64 = 120_000;
/// `MAV_RESULT_IN_PROGRESS`.
const IN_PROGRESS: u8 = 5;

#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// In the order they were given.
    given: Vec<Given>,
    tickets: u32,
}

#[derive(Debug)]
struct Given {
    ticket: u32,
    owner: Owner,
    what: What,
    to: Source,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Command(VehicleCommand),
    Parameter(ParameterName),
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Not sent yet.
    Waiting,
    /// Sent so many times; the next is due then, or the last wait ends. All ends at `end`.
    Sent { tries: u8, due: u64, end: u64 },
    /// The answer, or nobody answered; since when.
    Over(Result<Answer, Errno>, u64),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// `MAV_RESULT`.
    Acknowledged(u8),
    Value(VehicleParameter),
}

impl Requests {
    /// Takes a command and returns its ticket.
    pub(crate) fn command(
        &mut self,
        owner: Owner,
        to: Source,
        command: VehicleCommand,
    ) -> Result<u32, Errno> {
        let is_command = |given: &Given| matches!(given.what, What::Command(_));
        self.make_room(owner, MAX_VEHICLE_COMMANDS, is_command, |_| true)?;
        self.give(owner, to, What::Command(command))
    }

    /// What a vehicle answered to the question for a parameter, which is done with then. Whoever did not ask, or for so
    /// long did not fetch the answer that it may be another by now, asks.
    pub(crate) fn parameter(
        &mut self,
        now: u64,
        owner: Owner,
        to: Source,
        name: ParameterName,
    ) -> Result<VehicleParameter, Errno> {
        let is_it =
            |given: &Given| given.owner == owner && given.to == to && given.what == What::Parameter(name);
        if let Some(nth) = self.given.iter().position(is_it) {
            let Some(Stage::Over(answer, since)) = self.given.get(nth).map(|given| given.stage) else {
                return Err(Errno::Busy);
            };
            self.given.remove(nth);
            if !is_stale(now, since) {
                return match answer? {
                    Answer::Value(parameter) => Ok(parameter),
                    // Nobody acknowledges questions.
                    Answer::Acknowledged(_) => Err(Errno::NotFound),
                };
            }
        }
        let is_question = |given: &Given| matches!(given.what, What::Parameter(_));
        self.make_room(owner, MAX_VEHICLE_QUESTIONS, is_question, |since| is_stale(now, since))?;
        self.give(owner, to, What::Parameter(name))?;
        Err(Errno::Busy)
    }

    /// Sees to it that an owner has fewer than so many of one kind: the oldest of those goes that are over, since a time
    /// that lets them go.
    fn make_room(
        &mut self,
        owner: Owner,
        most: usize,
        is_it: impl Fn(&Given) -> bool,
        may_go: impl Fn(u64) -> bool,
    ) -> Result<(), Errno> {
        let is_own = |given: &&Given| given.owner == owner && is_it(given);
        if self.given.iter().filter(is_own).count() < most {
            return Ok(());
        }
        let goes = |given: &Given| is_own(&given) && given.since().is_some_and(&may_go);
        let oldest = self.given.iter().position(goes).ok_or(Errno::Busy)?;
        self.given.remove(oldest);
        Ok(())
    }

    fn give(&mut self, owner: Owner, to: Source, what: What) -> Result<u32, Errno> {
        self.given.try_reserve(1).map_err(|_| Errno::Busy)?;
        let ticket = self.tickets;
        self.tickets = (ticket + 1) & u32::MAX >> 1;
        self.given.push(Given { ticket, owner, what, to, stage: Stage::Waiting });
        Ok(ticket)
    }

    pub(crate) fn result(&self, owner: Owner, ticket: u32) -> Result<u8, Errno> {
        let is_it = |given: &&Given| given.owner == owner && given.ticket == ticket;
        match self.given.iter().find(is_it).ok_or(Errno::NotFound)?.stage {
            Stage::Over(answer, _) => match answer? {
                Answer::Acknowledged(result) => Ok(result),
                // Questions have tickets that nobody knows.
                Answer::Value(_) => Err(Errno::NotFound),
            },
            _ => Err(Errno::Busy),
        }
    }

    /// Drops what an owner gave, wherever it is.
    pub(crate) fn forget(&mut self, owner: Owner) {
        self.given.retain(|given| given.owner != owner);
    }

    pub(crate) fn on_ack(&mut self, now: u64, from: Source, command: u16, result: u8) {
        let is_it = |given: &&mut Given| given.is_sent() && given.is_command(from, command);
        let Some(given) = self.given.iter_mut().find(is_it) else { return };
        given.stage = match given.stage {
            Stage::Sent { end, .. } if result == IN_PROGRESS => {
                Stage::Sent { tries: TRIES, due: now + PROGRESS_MS, end }
            }
            _ => Stage::Over(Ok(Answer::Acknowledged(result)), now),
        };
    }

    /// What a vehicle says about a parameter, to everyone who asked; the last word counts.
    pub(crate) fn on_parameter(
        &mut self,
        now: u64,
        from: Source,
        name: ParameterName,
        said: Result<VehicleParameter, Errno>,
    ) {
        let asked = What::Parameter(name);
        for given in &mut self.given {
            if !matches!(given.stage, Stage::Waiting) && given.to == from && given.what == asked {
                given.stage = Stage::Over(said.map(Answer::Value), now);
            }
        }
    }

    /// Whether somebody waits for the acknowledgement of such a command.
    pub(crate) fn awaits(&self, system: u8, command: u16) -> bool {
        self.given.iter().any(|given| {
            given.since().is_none() && given.to.system == system && given.is_command(given.to, command)
        })
    }

    /// The next one to send, also again; ends those that took too long.
    pub(crate) fn next_message(&mut self, now: u64) -> Option<Message> {
        for nth in 0..self.given.len() {
            let is_free = self.is_free(nth);
            let Some(given) = self.given.get_mut(nth) else { break };
            match given.stage {
                Stage::Waiting if is_free => {
                    given.stage = Stage::Sent { tries: 1, due: now + ANSWER_MS, end: now + TOTAL_MS };
                    return Some(given.message(0));
                }
                Stage::Sent { tries, due, end } if due.min(end) <= now => {
                    if tries >= TRIES || end <= now {
                        given.stage = Stage::Over(Err(Errno::TimedOut), now);
                    } else {
                        given.stage = Stage::Sent { tries: tries + 1, due: now + ANSWER_MS, end };
                        return Some(given.message(tries));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// When to come back; `now` is past it if there is something to send.
    pub(crate) fn next_deadline(&self) -> u64 {
        let due = |(nth, given): (usize, &Given)| match given.stage {
            Stage::Waiting if self.is_free(nth) => Some(0),
            Stage::Sent { due, end, .. } => Some(due.min(end)),
            _ => None,
        };
        self.given.iter().enumerate().filter_map(due).min().unwrap_or(u64::MAX)
    }

    /// Whether no command like this one that was given before is under way.
    fn is_free(&self, nth: usize) -> bool {
        let Some(own) = self.given.get(nth) else { return false };
        let What::Command(VehicleCommand { command, .. }) = own.what else { return true };
        let is_like = |given: &Given| given.since().is_none() && given.is_command(own.to, command);
        !self.given.iter().take(nth).any(is_like)
    }
}

impl Given {
    const fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. })
    }

    /// Since when it is over, if it is.
    const fn since(&self) -> Option<u64> {
        match self.stage {
            Stage::Over(_, since) => Some(since),
            _ => None,
        }
    }

    /// Whether it is a command of this number to this component.
    fn is_command(&self, to: Source, number: u16) -> bool {
        self.to == to
            && matches!(self.what, What::Command(VehicleCommand { command, .. }) if command == number)
    }

    fn message(&self, confirmation: u8) -> Message {
        let Source { system, component } = self.to;
        match &self.what {
            What::Command(command) => Message::command(command, system, component, confirmation),
            What::Parameter(name) => Message::parameter_request(name, system, component),
        }
    }
}

/// Whether an answer has waited for too long.
const fn is_stale(now: u64, since: u64) -> bool {
    now.saturating_sub(since) >= ANSWER_STALE_MS as u64
}
