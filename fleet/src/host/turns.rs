//! Whose turn it is to start.
//!
//! An emulator takes a whole processor until its board has come up. If a host started all of its boards at once, none
//! of them would come up in the time it has, all of them would be started again, and so on for ever.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// Boards that may come up at once, for each processor: not all of them always need one.
const PER_PROCESSOR: usize = 4;

/// A host's turns, in the order in which they are asked for.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// Of this machine.
    pub(super) fn of_this_machine() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Turns(Arc::new(Semaphore::new(processors * PER_PROCESSOR)))
    }

    /// A turn, if nobody has to wait for one.
    pub(super) fn try_take(&self) -> Option<Turn> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(|permit| Turn { _permit: permit })
    }

    /// A turn, once there is one.
    pub(super) async fn take(&self) -> Turn {
        match Arc::clone(&self.0).acquire_owned().await {
            Ok(permit) => Turn { _permit: permit },
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The right to start.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Ends the turn when what is returned is dropped, which says that the board has come up, or after `longest`.
    pub(super) fn at_most(self, longest: Duration) -> ComingUp {
        let (up, is_up) = oneshot::channel();
        tokio::spawn(async move {
            // Either way it is over.
            let _ = timeout(longest, is_up).await;
            drop(self);
        });
        ComingUp { _up: up }
    }
}

/// A board that comes up.
pub(super) struct ComingUp {
    _up: oneshot::Sender<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_ends_when_the_board_is_up_or_has_taken_too_long() {
        let turns = Turns(Arc::new(Semaphore::new(2)));
        let first = turns.take().await.at_most(Duration::from_secs(3600));
        let _second = turns.take().await.at_most(Duration::from_millis(1));
        let third = turns.take().await;
        assert!(turns.try_take().is_none(), "two boards come up");
        drop(first);
        turns.take().await;
        drop(third);
    }
}
