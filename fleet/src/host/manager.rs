//! Every device this host should run, one task each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use wasmbed_wire::{CommandId, DeviceId};

use super::{
    device::{Device, Wishes},
    keeper::{Keeper, Taken},
    launch::Launcher,
    orders::Order,
    reporter::Reporter,
    turns::Turns,
};
use crate::{
    api::{Code, Problem},
    host_api::{self, Desired, DesiredDevice},
    shutdown::Shutdown,
};

/// How long devices may take to end with the host; longer than a stop by degrees.
const GOODBYE: Duration = Duration::from_secs(5);

/// Orders that may wait for a device.
const ORDERS: usize = 8;

/// The task of a device, from outside.
struct Handle {
    wanted: watch::Sender<Option<DesiredDevice>>,
    orders: mpsc::Sender<Order>,
}

/// Runs devices as desired.
pub(super) struct Manager {
    started_ms: u64,
    launcher: Arc<Launcher>,
    keeper: Arc<Keeper>,
    reporter: Reporter,
    turns: Turns,
    /// What the host before had started, until it is known what is desired.
    taken: BTreeMap<DeviceId, Taken>,
    revision: Option<u64>,
    /// What each device's task goes by. One that is forgotten keeps its idle task, so that the same
    /// device can come back without two tasks ever holding its folder.
    devices: BTreeMap<DeviceId, Handle>,
    tasks: JoinSet<()>,
}

impl Manager {
    /// A manager of what the host before had started, in a process that started at this Unix time in milliseconds.
    pub(super) fn new(
        started_ms: u64,
        launcher: Arc<Launcher>,
        keeper: Arc<Keeper>,
        reporter: Reporter,
        taken: BTreeMap<DeviceId, Taken>,
    ) -> Self {
        Manager {
            started_ms,
            launcher,
            keeper,
            reporter,
            turns: Turns::of_this_machine(),
            taken,
            revision: None,
            devices: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Follows what is desired and ordered until the shutdown, or until another process is to do it: then it
    /// returns when that one started, in milliseconds of Unix time. Every process is gone then.
    pub(super) async fn run(
        mut self,
        mut desired: mpsc::Receiver<Desired>,
        mut orders: mpsc::Receiver<(CommandId, host_api::Order)>,
        mut shutdown: Shutdown,
    ) -> Option<u64> {
        let superseded = loop {
            tokio::select! {
                () = shutdown.wait() => break None,
                received = desired.recv() => match received {
                    Some(desired) if desired.holder_ms > self.started_ms => break Some(desired.holder_ms),
                    Some(desired) => self.accept(desired),
                    None => break None,
                },
                Some((id, order)) = orders.recv() => self.order(id, order),
            }
        };
        // Whatever happens to this process while it stops them.
        self.keeper.keep_nothing().await;
        self.devices.clear();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GOODBYE, gone).await.is_err() {
            // Dropping a task kills its process.
            self.tasks.shutdown().await;
        }
        superseded
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
            let is_wanted = |id: &DeviceId| desired.devices.iter().any(|device| device.id == *id);
            self.launcher.forget_all_but(|id| is_wanted(id) || self.taken.contains_key(id));
            let unwanted: Vec<DeviceId> = self.taken.keys().filter(|id| !is_wanted(id)).copied().collect();
            // Its task stops it and forgets it.
            unwanted.into_iter().for_each(|id| self.start(id, None));
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
                None => self.start(id, Some(device)),
            }
        }
    }

    fn order(&self, id: CommandId, order: host_api::Order) {
        let host_api::Order { device, control } = order;
        let refused = match self.devices.get(&device) {
            None => Problem::new(Code::NotFound, format!("this host does not run {device}")),
            Some(handle) => match handle.orders.try_send(Order { id, control }) {
                Ok(()) => return,
                Err(_) => Problem::new(Code::Conflict, format!("{device} has too many orders to carry out"))
                    .hint("wait for the answers to the earlier ones"),
            },
        };
        self.reporter.result(id, Err(refused));
    }

    fn start(&mut self, id: DeviceId, device: Option<DesiredDevice>) {
        let (sender, wanted) = watch::channel(device);
        let (orders, given) = mpsc::channel(ORDERS);
        self.devices.insert(id, Handle { wanted: sender, orders });
        let device = Device::new(
            id,
            Wishes::new(wanted, given),
            Arc::clone(&self.launcher),
            Arc::clone(&self.keeper),
            self.reporter.clone(),
            self.turns.clone(),
            self.taken.remove(&id),
        );
        self.tasks.spawn(device.run());
    }
}

/// Wakes the device's task only if something changed.
fn set(device: &Handle, wanted: Option<DesiredDevice>) {
    device.wanted.send_if_modified(|known| {
        let changed = *known != wanted;
        *known = wanted;
        changed
    });
}
