//! Many devices at once.

use std::{
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::watch,
    task::{LocalSet, spawn_local},
    time::timeout,
};
use wasmbed_wire::{DeviceId, PublicKey};

use crate::{
    Broker, Factory, Kind, Report,
    device::{Parts, lock, run},
    platform::Memory,
};

/// Devices that share a thread.
const GROUP: usize = 100;
/// Time between two looks at the reports.
const LOOK: Duration = Duration::from_millis(5);

/// Who a simulated device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id, also its user name.
    pub device: DeviceId,
    /// Its password.
    pub password: String,
}

/// What a swarm is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What each device is.
    pub kind: Kind,
    /// What each device was made with.
    pub factory: Factory,
    /// Whose artifacts they run.
    pub trusted: Vec<PublicKey>,
    /// Where they connect.
    pub broker: Broker,
    /// The devices.
    pub members: Vec<Member>,
    /// After this time they end by themselves.
    pub limit: Duration,
}

/// Devices at work. They end when it is dropped, or after [`Plan::limit`].
pub struct Swarm {
    reports: Vec<Arc<Mutex<Report>>>,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Swarm {
    /// Switches the devices on.
    ///
    /// # Errors
    /// If the factory image does not fit, and those of the system.
    pub fn start(plan: Plan) -> Result<Self> {
        let Plan { kind, factory, trusted, broker, members, limit } = plan;
        let trusted: Arc<[PublicKey]> = trusted.into();
        let flash = kind.flash(&factory)?;
        let (stop, stopped) = watch::channel(());
        let mut swarm = Swarm { reports: Vec::new(), stop, threads: Vec::new() };
        let mut random = 1;
        for group in members.chunks(GROUP) {
            let mut devices = Vec::new();
            for member in group {
                let report = Arc::new(Mutex::new(Report::new(member.device)));
                swarm.reports.push(Arc::clone(&report));
                random += 1;
                let memory = Memory { flash: flash.clone(), boot: 0, random, desired: None };
                let trusted = Arc::clone(&trusted);
                devices.push(Parts { kind, broker, member: member.clone(), trusted, memory, report });
            }
            let mut stopped = stopped.clone();
            let group = move || {
                // Without a runtime nobody comes online, and whoever waits for that is told.
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                    return;
                };
                let live = async {
                    devices.into_iter().for_each(|device| drop(spawn_local(run(device))));
                    // An end of the channel and one of the time both end the devices.
                    let _ = timeout(limit, stopped.changed()).await;
                };
                LocalSet::new().block_on(&runtime, live);
            };
            let thread = thread::Builder::new().name("swarm".into()).spawn(group);
            swarm.threads.push(thread.context("cannot start a thread")?);
        }
        Ok(swarm)
    }

    /// What became of each device until now.
    pub fn reports(&self) -> Vec<Report> {
        self.reports.iter().map(|report| lock(report).clone()).collect()
    }

    /// Counts from here on.
    pub fn forget(&self) {
        self.reports.iter().for_each(|report| lock(report).forget());
    }

    /// Waits until every device is in a state.
    ///
    /// # Errors
    /// If one cannot go on, or if it takes longer than `limit`; the error says how far they are.
    pub fn wait(&self, what: &str, limit: Duration, reached: impl Fn(&Report) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let waiting: Vec<Report> = self.reports().into_iter().filter(|report| !reached(report)).collect();
            let Some(first) = waiting.first() else { return Ok(()) };
            if let Some(failed) = waiting.iter().find(|report| report.failure.is_some()) {
                bail!("waited for {what}: {failed:?}");
            }
            if self.threads.iter().any(JoinHandle::is_finished) {
                bail!("waited for {what}: the time of the swarm is over; the first that is not is {first:?}");
            }
            if Instant::now() >= deadline {
                bail!(
                    "waited {limit:?} for {what}: {} devices are not, the first is {first:?}",
                    waiting.len()
                );
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // A group that has ended already does not listen.
        let _ = self.stop.send(());
        for thread in self.threads.drain(..) {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}
