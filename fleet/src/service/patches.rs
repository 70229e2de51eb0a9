//! Patches between firmware images: made once for each pair, beside everything else, and kept.
//!
//! The fleet orders a patch where one would help: when a version is pushed, from every image that runs, and when
//! one is deployed ([`Fleet::lacking`]). A task makes it, and [`Fleet::on_patch`] keeps it. Whoever wants to
//! deploy waits for that a little; without a patch devices get the whole image.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use wasmbed_plan::Time;
use wasmbed_runtime::Target;
use wasmbed_wire::{
    BoardName, DeviceId, Digest, ModuleName,
    keyring::Role,
    limits::Class,
    manifest::{Classes, Kind, Manifest, Patch},
};

use super::{
    change::Change,
    fleet::{Fleet, Record},
    worker::Input,
};
use crate::{
    api::{Request, Selector},
    artifacts::Signer,
    store::{FirmwareRow, NewPatch, PatchRow, Payloads, StoreError},
};

/// A patch is worth its trouble below this many percent of the image.
const WORTH_PERCENT: u64 = 80;
/// Pairs remembered that no patch is worth making for.
const MAX_USELESS: usize = 1_000;

/// Two images by their SHA-256: of the first a patch makes the second.
pub type Pair = (Digest, Digest);

/// A patch to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchOrder {
    /// SHA-256 of the image to start from.
    pub base: Digest,
    /// SHA-256 of the image to make.
    pub image: Digest,
    /// The firmware whose image is made.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// The board of both.
    pub board: BoardName,
    /// The class of that board.
    pub class: Class,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
}

impl PatchOrder {
    pub(super) const fn pair(&self) -> Pair {
        (self.base, self.image)
    }
}

/// What is ordered, and what was tried in vain.
#[derive(Debug, Default)]
pub(super) struct Desk {
    orders: VecDeque<PatchOrder>,
    pending: BTreeSet<Pair>,
    useless: BTreeSet<Pair>,
}

impl Desk {
    pub(super) fn is_pending(&self, pair: &Pair) -> bool {
        self.pending.contains(pair)
    }
}

impl Fleet {
    /// Orders the patches that a request would use and that are not there yet; it is better carried out
    /// once they are made.
    pub fn lacking(&mut self, now: Time, verb: &str, payload: &[u8]) -> Vec<Pair> {
        let Some((name, version, to)) = read(verb, payload) else { return Vec::new() };
        // What is wrong with it is said when it is carried out.
        let Ok(firmware) = self.named(&name, version.as_deref()) else { return Vec::new() };
        let Ok(records) = self.select(&to) else { return Vec::new() };
        let ids: Vec<DeviceId> = records.iter().map(|record| record.row.id).collect();
        self.order_patches(now, &firmware, &ids)
    }

    /// Orders the patches to this firmware that these devices could use and that are not there yet.
    pub(super) fn order_patches(&mut self, now: Time, firmware: &FirmwareRow, ids: &[DeviceId]) -> Vec<Pair> {
        if !self.may_patch(now) {
            return Vec::new();
        }
        let Ok(known) = self.store.firmware() else { return Vec::new() };
        let records = ids.iter().filter_map(|id| self.records.get(id));
        let bases: BTreeSet<Digest> =
            records.filter_map(|record| base_for(&known, record, firmware)).collect();
        let class = self.options.boards.get(&firmware.board).map_or(Class::Mcu, |board| board.class);
        let wanted = bases.into_iter().filter(|base| matches!(self.patch(base, firmware), Ok(None)));
        let wanted: Vec<Digest> = wanted.collect();
        wanted.into_iter().filter_map(|base| self.order(base, firmware, class)).collect()
    }

    fn order(&mut self, base: Digest, firmware: &FirmwareRow, class: Class) -> Option<Pair> {
        let pair = (base, firmware.digest);
        if self.patches.useless.contains(&pair) {
            return None;
        }
        if self.patches.pending.insert(pair) {
            self.patches.orders.push_back(PatchOrder {
                base,
                image: firmware.digest,
                name: firmware.name,
                version: firmware.version.clone(),
                board: firmware.board,
                class,
                block_bytes: firmware.block_bytes,
            });
        }
        Some(pair)
    }

    /// An image is there that maybe was not when a patch was tried.
    pub(super) fn forget_useless(&mut self, image: &Digest) {
        self.patches.useless.retain(|(base, made)| base != image && made != image);
    }

    /// The next patch to make; its outcome goes to [`Fleet::on_patch`].
    pub fn poll_patch(&mut self) -> Option<PatchOrder> {
        self.patches.orders.pop_front()
    }

    /// Keeps a patch that was made, or remembers that none is worth making.
    pub fn on_patch(&mut self, now: Time, order: &PatchOrder, made: Option<NewPatch>) {
        self.patches.pending.remove(&order.pair());
        match made {
            Some(patch) => self.commit_or_log(now, Change { patch: Some(patch), ..Change::default() }),
            None => {
                if self.patches.useless.len() >= MAX_USELESS {
                    self.patches.useless.clear();
                }
                self.patches.useless.insert(order.pair());
            }
        }
    }

    /// The patch for this device, if there is one it can take; `known` is the registry.
    pub(super) fn patch_for(
        &self,
        now: Time,
        known: &[FirmwareRow],
        record: &Record,
        firmware: &FirmwareRow,
    ) -> Option<PatchRow> {
        if !self.may_patch(now) {
            return None;
        }
        let base = base_for(known, record, firmware)?;
        let room = record.firmware_slots()?.patch_bytes;
        self.patch(&base, firmware).ok()?.filter(|patch| patch.size_bytes <= room)
    }

    /// Whether devices believe what the service's key says about patches.
    pub(super) fn may_patch(&self, now: Time) -> bool {
        self.trust(now).permits(Role::Patch, self.options.signer.id()).is_ok()
    }

    /// The patch from an image to that of a firmware.
    pub(super) fn patch(
        &self,
        base: &Digest,
        firmware: &FirmwareRow,
    ) -> Result<Option<PatchRow>, StoreError> {
        self.store.patch(base, &firmware.digest, &self.options.signer.id())
    }
}

impl Record {
    /// The image a patch would start from: what it runs for good, if it has room for a patch and needs one.
    pub(super) fn patch_base(&self, firmware: &FirmwareRow) -> Option<Digest> {
        let slots = self.firmware_slots()?;
        let base = slots.running.filter(|base| *base != firmware.digest)?;
        let has_it = slots.other == Some(firmware.digest);
        // A trial ends with a restart into the image before, which is not the one that runs now.
        (slots.patch_bytes > 0 && !has_it && !self.is_in_trial()).then_some(base)
    }
}

/// The image a patch for this device would start from, if the registry has it.
fn base_for(known: &[FirmwareRow], record: &Record, firmware: &FirmwareRow) -> Option<Digest> {
    record.patch_base(firmware).filter(|base| is_base(known, base, firmware))
}

/// Whether an image is that of another version of the same firmware.
pub(super) fn is_base(known: &[FirmwareRow], base: &Digest, firmware: &FirmwareRow) -> bool {
    known.iter().any(|row| row.digest == *base && row.board == firmware.board && row.name == firmware.name)
}

/// Which firmware a request is about to send to whom, if patches would help.
fn read(verb: &str, payload: &[u8]) -> Option<(ModuleName, Option<String>, Selector)> {
    if !matches!(verb, "firmware-deploy" | "rollout-create") {
        return None;
    }
    let mut fields: Value = serde_json::from_slice(payload).ok()?;
    fields.as_object_mut()?.remove("id");
    match Request::parse(verb, fields).ok()? {
        Request::FirmwareDeploy(deploy) if deploy.delta => Some((deploy.firmware, deploy.version, deploy.to)),
        Request::RolloutCreate(create) => Some((create.firmware, create.version, create.to)),
        _ => None,
    }
}

/// Makes patches until `orders` is closed, one at a time: each needs many times the memory of its images.
pub(super) async fn make_all(
    signer: Arc<Signer>,
    payloads: Payloads,
    mut orders: mpsc::UnboundedReceiver<PatchOrder>,
    fleet: mpsc::Sender<Input>,
) {
    let payloads = Arc::new(Mutex::new(payloads));
    while let Some(order) = orders.recv().await {
        let (signer, payloads, wanted) = (Arc::clone(&signer), Arc::clone(&payloads), order.clone());
        let make = move || {
            let image =
                |digest| payloads.lock().unwrap_or_else(PoisonError::into_inner).image(digest).ok().flatten();
            make_patch(&signer, &wanted, &image(&wanted.base)?, &image(&wanted.image)?)
        };
        let made = tokio::task::spawn_blocking(make).await.unwrap_or_else(|error| {
            tracing::error!(%error, "making a patch failed");
            None
        });
        if fleet.send(Input::Patched { order, made: made.map(Box::new) }).await.is_err() {
            return;
        }
    }
}

/// Makes and signs the patch between two images; nothing where it would not save much. The same images
/// and key give the same patch.
pub fn make_patch(signer: &Signer, order: &PatchOrder, base: &[u8], image: &[u8]) -> Option<NewPatch> {
    let payload = wasmbed_delta::create(base, image);
    if payload.len() as u64 * 100 >= image.len() as u64 * WORTH_PERCENT {
        return None;
    }
    let size = u32::try_from(payload.len()).ok()?;
    let manifest = Manifest {
        kind: Kind::Patch,
        name: order.name,
        version: &order.version,
        classes: Classes::default().with(order.class),
        runtime: Target::of(order.class).runtime_id(),
        size,
        digest: Digest(Sha256::digest(&payload).into()),
        block_bytes: order.block_bytes,
        board: Some(order.board),
        counter: 0,
        patch: Some(Patch { base: order.base, image: order.image }),
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
    };
    let (artifact, manifest) = signer.sign(&manifest).ok()?;
    let row = PatchRow { artifact, base: order.base, image: order.image, key: signer.id(), size_bytes: size };
    Some(NewPatch { row, block_bytes: order.block_bytes, manifest, payload: payload.into() })
}
