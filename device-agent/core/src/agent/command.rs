//! One-shot commands and their answers.

use minicbor::Decode;
use wasmbed_wire::{
    CommandId,
    keyring::Role,
    message::{Command, Outcome, Refusal, Subject, Verb},
    sign1::Sign1,
};

use super::{Agent, Leave};
use crate::{Platform, Rejected, session::Letter};

/// When a command holds; also of one whose verb is that of a newer fleet.
#[derive(Decode)]
#[cbor(map)]
struct Occasion {
    /// The connect.
    #[n(1)]
    boot: u32,
    /// Its place among the commands of that connect.
    #[n(2)]
    number: u64,
}

/// The answer to one command; kept after it was acknowledged so that the command is not carried out
/// twice when it comes twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: CommandId,
    pub(super) outcome: Outcome,
    pub(super) letter: Letter,
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    pub(super) fn on_command(&mut self, id: CommandId, topic: &str, bytes: &[u8]) -> Result<(), Rejected> {
        match self.judge_command(id, topic, bytes) {
            Ok(Some((number, payload))) => self.carry_out(id, number, payload),
            Ok(None) => Ok(()),
            Err(refusal) => self.disbelieve(Subject::Command, refusal),
        }
    }

    /// A command that is to be believed, with its number; `None` if it was carried out before, and is answered again.
    #[inline(never)]
    fn judge_command<'m>(
        &mut self,
        id: CommandId,
        topic: &str,
        bytes: &'m [u8],
    ) -> Result<Option<(u64, &'m [u8])>, Refusal> {
        let signed = Sign1::decode(bytes).map_err(|_| Refusal::Malformed)?;
        self.ring.permits(Role::Control, &signed.key)?;
        let Occasion { boot, number } = minicbor::decode(signed.payload).map_err(|_| Refusal::Malformed)?;
        if boot != self.session.boot {
            return Err(Refusal::Stale);
        }
        if let Some(known) = self.answers.iter_mut().flatten().find(|answer| answer.id == id) {
            known.letter.post();
            return Ok(None);
        }
        if self.control.has_passed(number) {
            return Err(Refusal::Stale);
        }
        self.verify_order(topic, &signed)?;
        Ok(Some((number, signed.payload)))
    }

    #[inline(never)]
    fn carry_out(&mut self, id: CommandId, number: u64, payload: &[u8]) -> Result<(), Rejected> {
        // A verb of a newer fleet looks like a malformed message; both deserve an answer.
        let command = minicbor::decode(payload).map_err(|_| Rejected::Malformed);
        let outcome = if command.is_ok() { Outcome::Done } else { Outcome::Unsupported };
        self.answer(id, outcome)?;
        self.control.pass(number);
        let Command { verb, .. } = command?;
        match verb {
            Verb::Ping => self.next_heartbeat = self.now,
            Verb::Restart => self.leave(Leave::Restart),
        }
        Ok(())
    }

    fn answer(&mut self, id: CommandId, outcome: Outcome) -> Result<(), Rejected> {
        let settled = |answer: &Option<Answer>| answer.as_ref().is_none_or(|a| a.letter.is_settled());
        let oldest = self.answers.iter().position(settled).ok_or(Rejected::Busy)?;
        let mut letter = Letter::default();
        letter.post();
        // The newest comes last, so that the oldest settled one is always found first.
        self.answers[oldest..].rotate_left(1);
        if let Some(last) = self.answers.last_mut() {
            *last = Some(Answer { id, outcome, letter });
        }
        Ok(())
    }
}
