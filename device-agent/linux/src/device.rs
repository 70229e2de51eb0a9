//! This machine as the agent's platform.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use wasmbed_core::{Facts, Layout, Platform, Slot, Store, StoreError, Vitals};
use wasmbed_runtime::{Runtime, Target};
use wasmbed_wire::{
    BoardName, DeviceId, PublicKey,
    limits::Class,
    message::{Crash, HeardVehicle, MAX_HEARD_VEHICLES},
};

use crate::{
    boot::Running,
    crash::{self, CrashRecord},
    files,
    flash::{FileFlash, LAYOUT},
    px4::Px4,
    settings::Settings,
    store::SlotStore,
};

/// The class of every Linux device.
pub(crate) const CLASS: Class = Class::Mpu;
/// How many modules it can hold; `boards/linux/board.toml` says the same.
pub(crate) const SLOTS: usize = 16;
/// Bytes of settings of each module.
pub(crate) const SETTINGS_BYTES: usize = 4096;
/// Blocks taken in at once; `boards/linux/board.toml` says the same.
pub(crate) const WINDOW_BLOCKS: u8 = 32;
const SLOT_BYTES: u32 = 16 << 20;
const BLOCK_BYTES: u16 = 16 << 10;

pub(crate) struct Device {
    store: SlotStore,
    running: Running,
    crash: CrashRecord,
    dir: PathBuf,
    id: DeviceId,
    board: BoardName,
    trusted: Vec<PublicKey>,
    boot_floor: u32,
    boot: u32,
    desired: Option<Vec<u8>>,
    px4: Px4,
}

impl Device {
    /// Takes up what the previous run left in the folder.
    pub(crate) fn open(settings: &Settings, running: Running) -> anyhow::Result<Self> {
        let dir = settings.data_dir.clone();
        let boot = files::read(&dir.join("boot"))?;
        let boot = boot.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()).unwrap_or(0);
        Ok(Device {
            store: SlotStore::new(&modules_dir(&dir)),
            running,
            crash: CrashRecord::read(&dir)?,
            id: settings.device,
            board: settings.board,
            trusted: settings.trusted.clone(),
            boot_floor: settings.boot_floor,
            boot: settings.boot_floor.max(boot),
            desired: files::read(&dir.join("desired"))?,
            dir,
            px4: Px4::default(),
        })
    }

    /// Tells of the vehicles here from now on.
    pub(crate) fn hear(&mut self, px4: Px4) {
        self.px4 = px4;
    }

    fn keep(&self, name: &str, contents: &[u8]) {
        let path = self.dir.join(name);
        if let Err(error) = files::replace(&path, contents) {
            tracing::error!("{} cannot be written: {error}", path.display());
        }
    }
}

/// It is no earlier, in seconds of Unix time.
pub(crate) fn earliest_s(boot_floor: u32) -> u32 {
    unix_seconds().max(boot_floor)
}

/// Where module payloads lie below the data folder.
pub(crate) fn modules_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("modules")
}

impl Platform for Device {
    type Flash = FileFlash;

    fn firmware(&mut self) -> Option<(&mut FileFlash, Layout)> {
        Some((self.running.flash.as_mut()?, LAYOUT))
    }

    fn device(&self) -> &DeviceId {
        &self.id
    }

    fn is_recovery(&self) -> bool {
        self.running.is_recovery
    }

    fn earliest_s(&self) -> u32 {
        earliest_s(self.boot_floor)
    }

    fn self_test(&mut self) -> bool {
        let probe = self.dir.join("self-test");
        let kept = files::replace(&probe, b"kept").and_then(|()| files::remove(&probe));
        let kept = kept.inspect_err(|error| tracing::error!("{} cannot be kept: {error}", probe.display()));
        let runs = Runtime::new(CLASS).inspect_err(|error| tracing::error!("{error}"));
        kept.is_ok() && runs.is_ok()
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            board: self.board,
            class: CLASS,
            firmware: &self.running.version,
            runtime: Target::of(CLASS).runtime_id(),
            reset: self.running.cause,
            slot_bytes: SLOT_BYTES,
            block_bytes: BLOCK_BYTES,
            heap_bytes: 0,
        }
    }

    fn vitals(&self) -> Vitals {
        let (heap_used, heap_peak) = memory().unwrap_or_default();
        Vitals { heap_used, heap_peak, stack_free: 0, link: None }
    }

    fn vehicles(&self, heard: &mut [HeardVehicle; MAX_HEARD_VEHICLES]) -> usize {
        self.px4.heard(heard)
    }

    fn trusted(&self, nth: usize) -> Option<PublicKey> {
        self.trusted.get(nth).copied()
    }

    fn next_boot(&mut self) -> u32 {
        // The clock takes over where the folder was lost.
        self.boot = self.boot.saturating_add(1).max(unix_seconds());
        self.keep("boot", self.boot.to_string().as_bytes());
        crash::set_boot(self.boot);
        self.boot
    }

    fn crash(&self) -> Option<Crash<'_>> {
        self.crash.get()
    }

    fn clear_crash(&mut self) {
        self.crash.clear();
    }

    fn random(&mut self) -> u32 {
        // Only jitter depends on it.
        getrandom::u32().unwrap_or_default()
    }

    fn save_desired(&mut self, cbor: &[u8]) {
        self.keep("desired", cbor);
        self.desired = Some(cbor.to_vec());
    }

    fn saved_desired(&self) -> Option<&[u8]> {
        self.desired.as_deref()
    }
}

impl Store for Device {
    fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        self.store.begin(slot, size)
    }

    fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.write(slot, offset, bytes)
    }

    fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        self.store.read(slot, offset, out)
    }

    fn commit(&mut self, slot: Slot, manifest: &[u8]) -> Result<(), StoreError> {
        self.store.commit(slot, manifest)
    }

    fn discard(&mut self, slot: Slot) {
        self.store.discard(slot);
    }

    fn committed(&mut self, slot: Slot, out: &mut [u8]) -> Option<usize> {
        self.store.committed(slot, out)
    }
}

fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// Resident memory of this process, now and at its peak, in bytes.
fn memory() -> io::Result<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(u32::try_from(kib.saturating_mul(1024)).unwrap_or(u32::MAX))
    };
    Ok((field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BOARD;
    use wasmbed_boards::{Board, Boards};

    #[test]
    fn the_constants_are_those_of_the_boards_that_run_this_program() {
        let boards = Boards::embedded().expect("the boards of this workspace are valid");
        let names: Vec<&str> = boards.iter().filter(|board| board.class == CLASS).map(check).collect();
        assert_eq!(names, [BOARD, "linux-x86-64"]);
    }

    fn check(board: &Board) -> &str {
        let modules = &board.modules;
        assert_eq!(u32::from(modules.slots), SLOTS as u32);
        assert_eq!((modules.slot_bytes, modules.block_bytes), (SLOT_BYTES, BLOCK_BYTES));
        assert_eq!(modules.window_blocks, WINDOW_BLOCKS);
        board.name.as_str()
    }

    #[test]
    fn memory_in_use_is_measured() {
        let (used, peak) = memory().expect("Linux has /proc");
        assert!(used > 0 && peak >= used);
    }
}
