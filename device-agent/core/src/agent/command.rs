//! One-shot commands and their answers.

use wasmbed_wire::{
    CommandId,
    message::{Command, Outcome, Verb},
};

use super::{Agent, Leave};
use crate::{Platform, Rejected, session::Letter};

/// The answer to one command; kept after it was acknowledged so that the command is not carried out
/// twice when it comes twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: CommandId,
    pub(super) outcome: Outcome,
    pub(super) letter: Letter,
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    #[inline(never)]
    pub(super) fn on_command(&mut self, id: CommandId, payload: &[u8]) -> Result<(), Rejected> {
        if let Some(known) = self.answers.iter_mut().flatten().find(|answer| answer.id == id) {
            known.letter.post();
            return Ok(());
        }
        // A verb of a newer fleet looks like a malformed message; both deserve an answer.
        let command = minicbor::decode(payload).map_err(|_| Rejected::Malformed);
        let outcome = if command.is_ok() { Outcome::Done } else { Outcome::Unsupported };
        self.answer(id, outcome)?;
        match command? {
            Command { verb: Verb::Ping } => self.next_heartbeat = self.now,
            Command { verb: Verb::Restart } => self.leave(Leave::Restart),
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
