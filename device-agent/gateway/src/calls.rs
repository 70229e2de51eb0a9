//! Calls of services that a module made, until it has asked for their responses.

use alloc::{collections::VecDeque, vec::Vec};

use wasmbed_abi::{Errno, MAX_SERVICE_CALLS};

/// What responses that were not asked for may take, in bytes.
const KEPT_BYTES: usize = 4096;

/// The calls of one instance, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: u32,
    calls: VecDeque<Call>,
}

#[derive(Debug)]
struct Call {
    ticket: u32,
    began_ms: u64,
    /// [`Errno::Busy`] while it is under way.
    response: Result<Vec<u8>, Errno>,
}

impl Call {
    fn is_under_way(&self) -> bool {
        matches!(self.response, Err(Errno::Busy))
    }
}

impl Calls {
    /// The ticket of the next call.
    ///
    /// # Errors
    /// [`Errno::Busy`] if the oldest of as many as are kept is still under way.
    pub(crate) fn next(&self) -> Result<u32, Errno> {
        let oldest = self.calls.front().filter(|_| self.calls.len() >= MAX_SERVICE_CALLS);
        match oldest.is_some_and(Call::is_under_way) {
            true => Err(Errno::Busy),
            false => Ok(self.next),
        }
    }

    /// It was made.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        if self.calls.len() >= MAX_SERVICE_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(Call { ticket: self.next, began_ms: now_ms, response: Err(Errno::Busy) });
        self.next = self.next.wrapping_add(1) & i32::MAX.cast_unsigned();
    }

    /// The end of a call; a second one changes nothing. Of responses that were not asked for, the newest stay.
    pub(crate) fn end(&mut self, ticket: u32, response: Result<Vec<u8>, Errno>) {
        let ending = self.calls.iter_mut().find(|call| call.ticket == ticket && call.is_under_way());
        if let Some(call) = ending {
            call.response = response;
        }
        while self.kept_bytes() > KEPT_BYTES {
            let oldest = self.calls.iter().position(|call| call.response.is_ok());
            drop(oldest.and_then(|at| self.calls.remove(at)));
        }
    }

    /// Ends what is under way for longer than this.
    pub(crate) fn expire(&mut self, now_ms: u64, patience_ms: u64) {
        for call in self.calls.iter_mut().filter(|call| call.is_under_way()) {
            if call.began_ms.saturating_add(patience_ms) <= now_ms {
                call.response = Err(Errno::TimedOut);
            }
        }
    }

    /// When the next one expires.
    pub(crate) fn next_deadline(&self, patience_ms: u64) -> Option<u64> {
        let under_way = self.calls.iter().filter(|call| call.is_under_way());
        under_way.map(|call| call.began_ms.saturating_add(patience_ms)).min()
    }

    /// Copies the response to the start of `out`.
    pub(crate) fn response(&self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let call = self.calls.iter().find(|call| call.ticket == ticket).ok_or(Errno::NotFound)?;
        crate::write(call.response.as_ref().map_err(|errno| *errno)?, out)
    }

    fn kept_bytes(&self) -> usize {
        self.calls.iter().filter_map(|call| call.response.as_ref().ok()).map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(calls: &mut Calls) -> u32 {
        let ticket = calls.next().expect("room");
        calls.begin(0);
        ticket
    }

    #[test]
    fn a_call_is_kept_until_as_many_came_after_it() {
        let (mut calls, mut out) = (Calls::default(), [0; 2]);
        let first = begun(&mut calls);
        assert_eq!(calls.response(first, &mut out), Err(Errno::Busy));
        for _ in 1..MAX_SERVICE_CALLS {
            begun(&mut calls);
        }
        assert_eq!(calls.next(), Err(Errno::Busy), "none may be forgotten");
        calls.end(first, Ok([1, 2].into()));
        calls.end(first, Err(Errno::Io));
        assert_eq!(calls.response(first, &mut out[..1]), Err(Errno::NoSpace));
        assert_eq!(calls.response(first, &mut out), Ok(2));
        begun(&mut calls);
        assert_eq!(calls.response(first, &mut out), Err(Errno::NotFound));
    }

    #[test]
    fn what_nobody_answers_ends_and_stays_ended() {
        let (mut calls, mut out) = (Calls::default(), [0; 2]);
        let ticket = begun(&mut calls);
        calls.expire(999, 1000);
        assert_eq!(
            (calls.response(ticket, &mut out), calls.next_deadline(1000)),
            (Err(Errno::Busy), Some(1000))
        );
        calls.expire(1000, 1000);
        calls.end(ticket, Ok([1].into()));
        assert_eq!(
            (calls.response(ticket, &mut out), calls.next_deadline(1000)),
            (Err(Errno::TimedOut), None)
        );
    }

    #[test]
    fn responses_have_a_bound_in_bytes() {
        let (mut calls, mut out) = (Calls::default(), [0; 960]);
        let tickets: Vec<u32> = (0..5).map(|_| begun(&mut calls)).collect();
        tickets.iter().for_each(|ticket| calls.end(*ticket, Ok([0; 960].into())));
        assert_eq!(calls.response(tickets[0], &mut out), Err(Errno::NotFound));
        assert_eq!(calls.response(tickets[1], &mut out), Ok(960));
    }
}
