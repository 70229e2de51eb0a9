//! How long the router may take for anything it is asked.
//!
//! A machine can stand still for many seconds: one that is suspended or moved, or has no processor to spare. Its
//! clock goes on, its router does not, and neither does this process: that is no reason to give the router up. So it
//! is not the clock that counts, but waits of a second that ended on time.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::RouterStopped;

/// Waits that end on time until the router is given up.
const WAITS: u32 = 10;
const WAIT: Duration = Duration::from_secs(1);
/// A wait that takes this long says that nothing ran.
const LATE: Duration = Duration::from_secs(2);

/// Does `work`, which needs the router; fails when the router does not do its part of it.
pub(super) async fn patiently<T>(work: impl Future<Output = T>) -> Result<T, RouterStopped> {
    let mut work = pin!(work);
    let mut patience = Patience { left: WAITS };
    loop {
        let start = Instant::now();
        if let Ok(done) = tokio::time::timeout(WAIT, &mut work).await {
            return Ok(done);
        }
        patience.on_wait(start.elapsed())?;
    }
}

struct Patience {
    left: u32,
}

impl Patience {
    /// A wait was in vain and took so long.
    fn on_wait(&mut self, took: Duration) -> Result<(), RouterStopped> {
        if took < LATE {
            self.left = self.left.saturating_sub(1);
        }
        if self.left == 0 { Err(RouterStopped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_in_which_the_process_ran_count() {
        let mut patience = Patience { left: WAITS };
        for _ in 1..WAITS {
            assert_eq!(patience.on_wait(WAIT), Ok(()));
            assert_eq!(patience.on_wait(Duration::from_secs(60)), Ok(()), "a machine that stood still");
        }
        assert_eq!(patience.on_wait(WAIT), Err(RouterStopped));
    }
}
