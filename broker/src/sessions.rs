//! Who holds which session: one connection or one keeper each, handed over on request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::credentials::Role;
use crate::router::lock;
use crate::session::Session;

/// How long the previous holder may take to let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Client ids of different roles never meet: nobody can take a device's session by calling itself like it.
pub(crate) type Key = (Role, String);

/// Somebody else wants the session.
#[derive(Debug)]
pub(crate) struct Request {
    /// The client wants to go on with the session, not to start a new one.
    pub(crate) resume: bool,
    answer: oneshot::Sender<Option<Session>>,
}

impl Request {
    /// Hands over, after everything the old holder had to do and after it has left its [`Seat`].
    pub(crate) fn answer(self, session: Option<Session>) {
        // One who does not wait any more gets nothing; the session ends.
        let _ = self.answer.send(session);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    by_key: HashMap<Key, Holder>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Holder {
    ticket: u64,
    requests: mpsc::UnboundedSender<Request>,
}

/// The right to be the client's only connection or keeper; left by dropping it.
#[derive(Debug)]
pub(crate) struct Seat {
    sessions: Arc<Sessions>,
    key: Key,
    ticket: u64,
    /// Whoever wants it next.
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
}

/// The previous holder does not let go.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Sessions {
    /// Takes the seat of `key`, from whoever has it, with the session if there is one and `resume` asks for it.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        key: Key,
        resume: bool,
    ) -> Result<(Seat, Option<Session>), Stuck> {
        let mut session = None;
        loop {
            let holder = match self.sit_down(&key) {
                Ok(seat) => return Ok((seat, session)),
                Err(holder) => holder,
            };
            let (answer, answered) = oneshot::channel();
            let sent = holder.send(Request { resume, answer });
            // A request that arrives while the holder leaves is only dropped with the last sender.
            drop(holder);
            if sent.is_err() {
                // It is leaving right now.
                tokio::task::yield_now().await;
                continue;
            }
            match tokio::time::timeout(PATIENCE, answered).await {
                Ok(Ok(handed_over)) => session = handed_over,
                // Another one was served first.
                Ok(Err(_)) => {}
                Err(_) => return Err(Stuck),
            }
        }
    }

    fn sit_down(self: &Arc<Self>, key: &Key) -> Result<Seat, mpsc::UnboundedSender<Request>> {
        let mut holders = lock(&self.holders);
        if let Some(holder) = holders.by_key.get(key) {
            return Err(holder.requests.clone());
        }
        let (sender, requests) = mpsc::unbounded_channel();
        holders.last_ticket += 1;
        let ticket = holders.last_ticket;
        holders.by_key.insert(key.clone(), Holder { ticket, requests: sender });
        Ok(Seat { sessions: self.clone(), key: key.clone(), ticket, requests })
    }

    /// Whether somebody holds the session.
    pub(crate) fn is_held(&self, key: &Key) -> bool {
        lock(&self.holders).by_key.contains_key(key)
    }
}

impl Seat {
    /// Tells the sessions that ever were apart.
    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut holders = lock(&self.sessions.holders);
        if holders.by_key.get(&self.key).is_some_and(|holder| holder.ticket == self.ticket) {
            holders.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    fn key() -> Key {
        (Role::Service, "fleet".to_owned())
    }

    #[tokio::test]
    async fn a_session_goes_to_whoever_resumes_it_and_to_nobody_else() {
        let sessions = Arc::new(Sessions::default());
        let (mut seat, none) = sessions.claim(key(), true).await.expect("free");
        assert!(none.is_none() && sessions.is_held(&key()));
        let old = tokio::spawn(async move {
            let request = seat.requests.recv().await.expect("a request");
            let session = request.resume.then(|| Session::new(Role::Service, seat.ticket()));
            drop(seat);
            request.answer(session);
        });
        let (seat, resumed) = sessions.claim(key(), true).await.expect("handed over");
        assert!(resumed.is_some());
        old.await.expect("no panic");
        drop(seat);
        assert!(!sessions.is_held(&key()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_to_one_who_is_leaving_is_not_lost() {
        let sessions = Arc::new(Sessions::default());
        let mut claimants = JoinSet::new();
        for _ in 0..4 {
            let sessions = sessions.clone();
            claimants.spawn(async move {
                for _ in 0..200_000 {
                    drop(sessions.claim(key(), false).await.expect("nobody is stuck"));
                }
            });
        }
        claimants.join_all().await;
    }
}
