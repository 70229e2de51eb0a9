//! Every device this host should run, one task each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use wasmbed_wire::DeviceId;

use super::{device::Device, launch::Launcher, reporter::Reporter};
use crate::{
    host_api::{Desired, DesiredDevice},
    shutdown::Shutdown,
};

/// How long devices may take to end with the host; longer than a stop by degrees.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs devices as desired.
pub(super) struct Manager {
    launcher: Arc<Launcher>,
    reporter: Reporter,
    revision: Option<u64>,
    /// What each device's task goes by. One that is forgotten keeps its idle task, so that the same
    /// device can come back without two tasks ever holding its folder.
    devices: BTreeMap<DeviceId, watch::Sender<Option<DesiredDevice>>>,
    tasks: JoinSet<()>,
}

impl Manager {
    /// A manager of no device yet.
    pub(super) fn new(launcher: Arc<Launcher>, reporter: Reporter) -> Self {
        Manager { launcher, reporter, revision: None, devices: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Follows what is desired until the shutdown; every process is gone then.
    pub(super) async fn run(mut self, mut desired: mpsc::Receiver<Desired>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                received = desired.recv() => match received {
                    Some(desired) => self.accept(desired),
                    None => break,
                },
            }
        }
        self.devices.clear();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GOODBYE, gone).await.is_err() {
            // Dropping a task kills its process.
            self.tasks.shutdown().await;
        }
    }

    fn accept(&mut self, desired: Desired) {
        if self.revision.is_some_and(|accepted| desired.revision < accepted) {
            tracing::warn!(
                revision = desired.revision,
                accepted = self.revision,
                "ignored an older desired state"
            );
            return;
        }
        if self.revision.is_none() {
            self.launcher.forget_all_but(|id| desired.devices.iter().any(|device| device.id == *id));
        }
        self.revision = Some(desired.revision);
        self.reporter.accept(desired.revision, desired.devices.iter().map(|device| device.id));
        let wanted: BTreeMap<DeviceId, DesiredDevice> =
            desired.devices.into_iter().map(|device| (device.id, device)).collect();
        for (id, device) in &self.devices {
            if !wanted.contains_key(id) {
                set(device, None);
            }
        }
        for (id, device) in wanted {
            match self.devices.get(&id) {
                Some(known) => set(known, Some(device)),
                None => self.start(device),
            }
        }
    }

    fn start(&mut self, device: DesiredDevice) {
        let id = device.id;
        let (sender, wanted) = watch::channel(Some(device));
        self.devices.insert(id, sender);
        let device = Device::new(id, wanted, Arc::clone(&self.launcher), self.reporter.clone());
        self.tasks.spawn(device.run());
    }
}

/// Wakes the device's task only if something changed.
fn set(device: &watch::Sender<Option<DesiredDevice>>, wanted: Option<DesiredDevice>) {
    device.send_if_modified(|known| {
        let changed = *known != wanted;
        *known = wanted;
        changed
    });
}
