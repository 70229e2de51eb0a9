//! One signal that ends everything running in a process.

use tokio::sync::watch;

/// Ends every [`Shutdown`] made from it, by [`Trigger::fire`] or by being dropped.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Says when to stop; clones share the signal.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A signal that has not been given.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Gives the signal; again changes nothing.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns when the signal was given; at once if that is past. Safe to drop and call again.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which is the signal too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
