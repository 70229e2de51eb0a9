//! The MQTT session: when to connect, and what the broker has acknowledged.

use crate::{Instant, Token};

/// First and longest wait before connecting again, in milliseconds.
const BACKOFF_MS: core::ops::RangeInclusive<u64> = 100..=5_000;
/// A connection that lasted this long was a good one: the next wait is short again, in milliseconds.
const GOOD_MS: u64 = 10_000;
/// How long a connect may take, in milliseconds.
const CONNECT_MS: u64 = 30_000;
/// How long an acknowledgement may take before the message is sent again, in milliseconds.
const ACK_MS: u64 = 15_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    phase: Phase,
    /// Bad connects in a row.
    failures: u32,
    /// Of the last connect.
    pub(crate) boot: u32,
    /// Of the last heartbeat.
    pub(crate) seq: u32,
    next_token: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Connect at this time.
    Apart {
        until: Instant,
    },
    /// Give up at this time.
    Connecting {
        until: Instant,
    },
    Connected {
        since: Instant,
    },
}

impl Session {
    pub(crate) const fn new() -> Self {
        Session { phase: Phase::Apart { until: Instant(0) }, failures: 0, boot: 0, seq: 0, next_token: 0 }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected { .. })
    }

    /// Whether it is time to connect.
    pub(crate) fn wants_connect(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Apart { until } if now >= until)
    }

    pub(crate) fn connecting(&mut self, now: Instant, boot: u32) {
        self.phase = Phase::Connecting { until: now.after(CONNECT_MS) };
        self.boot = boot;
        self.seq = 0;
    }

    /// The session is up; false if nobody asked for it.
    pub(crate) fn connected(&mut self, now: Instant) -> bool {
        let expected = !matches!(self.phase, Phase::Apart { .. });
        if expected {
            self.phase = Phase::Connected { since: now };
        }
        expected
    }

    /// The session is gone; false if there was none.
    pub(crate) fn disconnected(&mut self, now: Instant, random: u32) -> bool {
        match self.phase {
            Phase::Apart { .. } => return false,
            Phase::Connected { since } if now.since(since) >= GOOD_MS => self.failures = 0,
            Phase::Connecting { .. } | Phase::Connected { .. } => {}
        }
        let longest = (BACKOFF_MS.start() << self.failures.min(16)).min(*BACKOFF_MS.end());
        self.failures = self.failures.saturating_add(1);
        // Between half and all of it: a fleet must not come back in one instant.
        let wait = longest - u64::from(random) % (longest / 2);
        self.phase = Phase::Apart { until: now.after(wait) };
        true
    }

    /// Whether a connect takes too long.
    pub(crate) fn timed_out(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Connecting { until } if now >= until)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Apart { until } | Phase::Connecting { until } => Some(until),
            Phase::Connected { .. } => None,
        }
    }

    pub(crate) fn token(&mut self) -> Token {
        // 0 is for what is never acknowledged.
        self.next_token = self.next_token.checked_add(1).unwrap_or(1);
        Token(self.next_token)
    }
}

/// One message that the broker must get: a flag instead of a queue, for its latest content is made when
/// it is sent. At most one is unacknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Letter {
    due: bool,
    sent: Option<(Token, Instant)>,
}

impl Letter {
    pub(crate) const fn new() -> Self {
        Letter { due: false, sent: None }
    }

    /// There is something new to say.
    pub(crate) fn post(&mut self) {
        self.due = true;
    }

    /// Whether to send it now.
    pub(crate) fn is_due(&self) -> bool {
        self.due && self.sent.is_none()
    }

    /// Whether the broker has all there is to say.
    pub(crate) fn is_settled(&self) -> bool {
        !self.due && self.sent.is_none()
    }

    pub(crate) fn sent(&mut self, now: Instant, token: Token) {
        *self = Letter { due: false, sent: Some((token, now.after(ACK_MS))) };
    }

    /// Takes an acknowledgement; false if it is for something else.
    pub(crate) fn acked(&mut self, token: Token) -> bool {
        let mine = self.sent.is_some_and(|(sent, _)| sent == token);
        if mine {
            self.sent = None;
        }
        mine
    }

    /// The acknowledgement will not come any more if the connection is lost.
    pub(crate) fn lost(&mut self) {
        self.due |= self.sent.take().is_some();
    }

    pub(crate) fn check(&mut self, now: Instant) {
        if self.sent.is_some_and(|(_, until)| now >= until) {
            self.lost();
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sent.map(|(_, until)| until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_while_connects_fail_and_are_short_after_a_good_connection() {
        let mut session = Session::new();
        let mut now = Instant(0);
        let mut waits = [0; 8];
        for wait in &mut waits {
            session.connecting(now, 1);
            assert!(session.disconnected(now, 0));
            *wait = session.deadline().map_or(0, |deadline| deadline.since(now));
            now = now.after(*wait);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        session.connecting(now, 2);
        assert!(session.connected(now));
        now = now.after(GOOD_MS);
        assert!(session.disconnected(now, 0));
        assert_eq!(session.deadline(), Some(now.after(100)));
        assert!(!session.disconnected(now, 0), "the wait must not start over");
    }

    #[test]
    fn news_wait_for_the_acknowledgement_of_the_last_ones() {
        let mut letter = Letter::default();
        letter.post();
        letter.sent(Instant(0), Token(1));
        letter.post();
        assert!(!letter.is_due());
        assert!(!letter.acked(Token(7)));
        assert!(letter.acked(Token(1)));
        assert!(letter.is_due());
    }

    #[test]
    fn what_is_never_acknowledged_is_sent_again() {
        let mut letter = Letter::default();
        letter.post();
        letter.sent(Instant(0), Token(1));
        letter.check(Instant(ACK_MS - 1));
        assert!(!letter.is_due());
        letter.check(Instant(ACK_MS));
        assert!(letter.is_due());
    }
}
