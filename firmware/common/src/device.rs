//! The device as the agent sees it.

use alloc::rc::Rc;
use core::cell::RefCell;

use wasmbed_core::{Facts, Flash, Layout, Platform, Slot, Store, StoreError, Vitals};
#[cfg(feature = "px4")]
use wasmbed_wire::message::{HeardVehicle, MAX_HEARD_VEHICLES};
use wasmbed_wire::{BoardName, DeviceId, PublicKey, Seq, message::Crash, provision::Provision};

use crate::{Board, Running, Setup, crash::LastCrash, flash::SharedFlash, modules, port::Port, slots::Slots};

/// Version of this program where no signed manifest says which one it is: that of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Slots are shared with the running modules' keeper.
pub(crate) type SharedSlots<const N: usize> = Rc<RefCell<Slots<N>>>;

/// What the agent asks of the device.
pub(crate) struct Device<B, F, const SLOTS: usize> {
    port: Rc<Port<B>>,
    slots: SharedSlots<SLOTS>,
    id: DeviceId,
    trusted: Seq<'static, PublicKey>,
    boot_floor: u32,
    flash: SharedFlash<F>,
    layout: Layout,
    running: Option<Running>,
    is_recovery: bool,
    facts: Facts<'static>,
    crash: Option<LastCrash>,
    boot: u32,
    keep_boot: fn(u32),
    random: u32,
}

impl<B: Board, F: Flash, const SLOTS: usize> Device<B, F, SLOTS> {
    pub(crate) fn new(
        port: Rc<Port<B>>,
        slots: SharedSlots<SLOTS>,
        board: BoardName,
        provision: &Provision<'static>,
        setup: Setup<F>,
    ) -> Self {
        let Setup { sheet, flash, running, is_recovery, start, keep_boot, .. } = setup;
        let heap_bytes = port.board.borrow().heap().total as u32;
        let facts = Facts {
            board,
            class: sheet.class,
            firmware: VERSION,
            runtime: modules::runtime_id(sheet.class),
            reset: start.cause,
            slot_bytes: sheet.slot_bytes,
            block_bytes: sheet.block_bytes,
            heap_bytes,
        };
        let boot = start.last_boot.max(provision.boot_floor);
        let name = provision.device.as_str().bytes();
        // Devices that start together must not retry together.
        let random = name.fold(boot ^ start.starts, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte)) | 1;
        Device {
            port,
            slots,
            id: provision.device,
            trusted: provision.trusted,
            boot_floor: provision.boot_floor,
            flash: SharedFlash::new(flash),
            layout: sheet.layout,
            running,
            is_recovery,
            facts,
            crash: start.crash,
            boot,
            keep_boot,
            random,
        }
    }

    /// The flash that the agent works with.
    pub(crate) fn flash(&self) -> &SharedFlash<F> {
        &self.flash
    }
}

impl<B: Board, F: Flash, const SLOTS: usize> Platform for Device<B, F, SLOTS> {
    type Flash = SharedFlash<F>;

    fn firmware(&mut self) -> Option<(&mut SharedFlash<F>, Layout)> {
        Some((&mut self.flash, self.layout))
    }

    fn device(&self) -> &DeviceId {
        &self.id
    }

    fn is_recovery(&self) -> bool {
        self.is_recovery
    }

    fn earliest_s(&self) -> u32 {
        self.boot_floor
    }

    fn facts(&self) -> Facts<'_> {
        let firmware = self.running.as_ref().map_or(self.facts.firmware, |running| &running.version);
        Facts { firmware, ..self.facts }
    }

    fn vitals(&self) -> Vitals {
        let board = self.port.board.borrow();
        let heap = board.heap();
        Vitals {
            heap_used: heap.used as u32,
            heap_peak: heap.peak as u32,
            stack_free: board.stack_free() as u32,
            link: Some(self.port.counters()),
        }
    }

    #[cfg(feature = "px4")]
    fn vehicles(&self, heard: &mut [HeardVehicle; MAX_HEARD_VEHICLES]) -> usize {
        self.port.autopilot.heard(self.port.now_ms(), heard)
    }

    fn trusted(&self, nth: usize) -> Option<PublicKey> {
        self.trusted.iter().nth(nth)
    }

    fn next_boot(&mut self) -> u32 {
        self.boot = self.boot.saturating_add(1);
        (self.keep_boot)(self.boot);
        self.boot
    }

    fn crash(&self) -> Option<Crash<'_>> {
        self.crash.as_ref().map(|crash| Crash {
            boot: crash.boot,
            message: crash.text(),
            pc: crash.pc,
            uptime_ms: crash.uptime_ms,
        })
    }

    fn clear_crash(&mut self) {
        self.crash = None;
    }

    fn random(&mut self) -> u32 {
        // Marsaglia's xorshift; the low bits of the clock make two runs differ.
        self.random ^= self.port.now_us() as u32 | 1;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

impl<B: Board, F, const SLOTS: usize> Store for Device<B, F, SLOTS> {
    fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        let begun = self.slots.borrow_mut().begin(slot, size);
        // Only firmware that runs modules fetches any.
        if begun.is_err() && modules::ARE_RUN {
            self.port.say(format_args!("store: no room for {size} bytes in slot {}", slot.0));
        }
        begun
    }

    fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.slots.borrow_mut().write(slot, offset, bytes)
    }

    fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        self.slots.borrow().read(slot, offset, out)
    }

    fn commit(&mut self, _: Slot, _: &[u8]) -> Result<(), StoreError> {
        // The payload is where it will be run; nothing here survives a reset, so nothing is kept.
        Ok(())
    }

    fn discard(&mut self, slot: Slot) {
        self.slots.borrow_mut().discard(slot);
    }
}
