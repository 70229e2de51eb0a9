//! What a module asks about who is there: one question at a time, which it repeats until there is an answer.

use alloc::{string::String, vec::Vec};

use wasmbed_abi::Errno;

/// How long an answer may take, in milliseconds.
const PATIENCE_MS: u64 = 5_000;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A topic, by its number.
    Topic(u32),
    /// A node.
    Node(String),
}

/// The last question, until its answer was taken.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    ticket: u32,
    last: Option<Question>,
}

#[derive(Debug)]
struct Question {
    about: About,
    until_ms: u64,
    answer: Option<Result<Vec<u8>, Errno>>,
}

impl Questions {
    /// Writes the answer; `None` if this has to be asked first.
    pub(crate) fn answer(
        &mut self,
        now_ms: u64,
        about: &About,
        out: &mut [u8],
    ) -> Option<Result<usize, Errno>> {
        let Question { until_ms, answer, .. } = self.last.as_ref().filter(|last| last.about == *about)?;
        let answered = match answer {
            None if now_ms < *until_ms => return Some(Err(Errno::Busy)),
            None => Err(Errno::TimedOut),
            // It stays for more room.
            Some(Ok(answer)) => match crate::write(answer, out) {
                Ok(len) => Ok(len),
                Err(errno) => return Some(Err(errno)),
            },
            Some(Err(errno)) => Err(*errno),
        };
        self.last = None;
        Some(answered)
    }

    /// The ticket of another question, which takes the place of the last.
    pub(crate) fn ask(&mut self, now_ms: u64, about: About) -> u32 {
        self.ticket = self.ticket.wrapping_add(1);
        self.last = Some(Question { about, until_ms: now_ms.saturating_add(PATIENCE_MS), answer: None });
        self.ticket
    }

    /// It could not be sent.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// The answer to the question with this ticket.
    pub(crate) fn answered(&mut self, ticket: u32, answer: Result<Vec<u8>, Errno>) {
        if let Some(last) = self.last.as_mut().filter(|_| ticket == self.ticket) {
            last.answer = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_once_and_its_answer_taken_once() {
        let (mut questions, mut out) = (Questions::default(), [0; 4]);
        let about = || About::Node("/a".into());
        assert_eq!(questions.answer(0, &about(), &mut out), None);
        let ticket = questions.ask(0, about());
        assert_eq!(questions.answer(1, &about(), &mut out), Some(Err(Errno::Busy)));
        assert_eq!(questions.answer(1, &About::Topic(0), &mut out), None);
        questions.answered(ticket - 1, Ok([9].into()));
        questions.answered(ticket, Ok([1, 2].into()));
        assert_eq!(questions.answer(1, &about(), &mut out[..1]), Some(Err(Errno::NoSpace)));
        assert_eq!(questions.answer(1, &about(), &mut out), Some(Ok(2)));
        assert_eq!(questions.answer(1, &about(), &mut out), None);
    }

    #[test]
    fn a_question_that_nobody_answers_ends() {
        let (mut questions, mut out) = (Questions::default(), [0; 4]);
        questions.ask(0, About::Topic(3));
        assert_eq!(questions.answer(4_999, &About::Topic(3), &mut out), Some(Err(Errno::Busy)));
        assert_eq!(questions.answer(5_000, &About::Topic(3), &mut out), Some(Err(Errno::TimedOut)));
        assert_eq!(questions.answer(5_000, &About::Topic(3), &mut out), None);
    }
}
