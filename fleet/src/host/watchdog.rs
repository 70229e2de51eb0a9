//! Resets a board that is not heard of any more, as the watchdog of a real board does.
//!
//! The board is reset, not its emulator: a board that hangs comes back, and an emulator that hangs stays
//! what it is, for whoever watches the device to deal with.
//!
//! Not here: when a link is up (`bridge`), and what happens to a device that stays silent (`wasmbed-plan`).

use std::{
    convert::Infallible,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::qmp;

/// A host that wakes this much later than it meant to did not run: what boards said meanwhile still waits
/// to be read.
const LATE: Duration = Duration::from_secs(1);

/// The watchdog of one start of a board.
pub(super) struct Watchdog {
    limit: Duration,
    heard: Mutex<Instant>,
}

impl Watchdog {
    /// A watchdog that bites after this much silence.
    pub(super) fn new(limit: Duration) -> Self {
        Watchdog { limit, heard: Mutex::new(Instant::now()) }
    }

    /// The board gave a sign of life.
    pub(super) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resets the board whose monitor listens at `qmp` whenever it was silent for too long, and then calls
    /// `on_reset` with the reason.
    pub(super) async fn watch(&self, qmp: &Path, mut on_reset: impl FnMut(&str)) -> Infallible {
        loop {
            let due = *self.heard.lock().unwrap_or_else(PoisonError::into_inner) + self.limit;
            if Instant::now() < due {
                sleep_until(due).await;
                if due.elapsed() > LATE {
                    self.heard();
                }
                continue;
            }
            match qmp::reset(qmp).await {
                Ok(()) => on_reset(&format!("nothing heard on its link for {} s", self.limit.as_secs_f32())),
                Err(error) => {
                    tracing::warn!(monitor = %qmp.display(), %error, "could not reset a board that is silent");
                }
            }
            // A board that was reset has as long again.
            self.heard();
        }
    }
}
