//! Starts: through the bootloader, where there is one.

use wasmbed_update::boot::{self, Boot};
use wasmbed_update::{BootKeys, Keyring, Record};
use wasmbed_wire::{DeviceId, Digest, message::ResetCause};

use super::{Event, World};
use crate::{
    artifact::{CONTROLLER, TRUSTED, public_key},
    firmware::{BOARD, Start},
    flash::{InFlash, LAYOUT, Shared},
    rng::Rng,
};

/// How long an image lives that panics, in milliseconds.
const PANIC_MS: u64 = 50;
/// How long a device may say nothing before it is reset, in milliseconds.
const WATCHDOG_MS: u64 = 8_000;

impl World {
    /// Ends what runs on the device and starts it again.
    pub(super) fn start(&mut self, id: DeviceId, cause: ResetCause) {
        self.device_mut(id).halt(cause);
        let Some(flash) = self.devices[&id].flash.clone() else {
            return self.begin(id, false, Start::Well);
        };
        match decide(flash, cause) {
            Some(Boot::Image { firmware, is_trial }) => {
                let signed = self.fleet.images.get(&firmware.image);
                let (image, start) = signed.expect("only what was signed starts");
                assert_eq!(image.len(), firmware.size as usize);
                let start = *start;
                self.note(id, if is_trial { "starts in trial" } else { "starts" });
                self.device_mut(id).image = Some(firmware.image);
                self.begin(id, false, start);
            }
            Some(Boot::Recovery) => {
                self.note(id, "starts in recovery");
                self.device_mut(id).image = None;
                self.begin(id, true, Start::Well);
            }
            None => self.power_lost(id),
        }
    }

    fn begin(&mut self, id: DeviceId, is_recovery: bool, start: Start) {
        let rng = Rng::seeded(self.rng.next());
        let now = self.now;
        let device = self.device_mut(id);
        let life = device.life;
        device.is_mute = start == Start::Mute;
        let mut dies = |ms, cause| self.after(ms, Event::Dies { device: id, life, cause });
        match start {
            Start::Panics => dies(PANIC_MS, ResetCause::Crash),
            Start::Hangs => dies(WATCHDOG_MS, ResetCause::Watchdog),
            Start::Well | Start::Mute | Start::Unfit => {
                self.device_mut(id).boot(now, rng, is_recovery, start != Start::Unfit);
                self.carry_out(id);
            }
        }
    }

    /// The power failed in the middle of a flash operation, and comes back.
    pub(super) fn power_lost(&mut self, id: DeviceId) {
        let device = self.device_mut(id);
        device.power_cuts += 1;
        if let Some(flash) = &device.flash {
            flash.power_on();
        }
        self.reset(id, ResetCause::Power);
    }

    /// The image that runs on the device, whatever was reported; `None` in recovery.
    pub fn running_image(&self, device: DeviceId) -> Option<Digest> {
        self.devices[&device].image
    }

    /// The device's boot record.
    pub fn record(&self, device: DeviceId) -> Record {
        let mut flash = self.flash(device).clone();
        Record::load(&mut flash, &LAYOUT).expect("the flash works")
    }

    pub(super) fn flash(&self, device: DeviceId) -> &Shared {
        self.devices[&device].flash.as_ref().expect("a device with firmware flash")
    }
}

/// What the bootloader decides; `None` if the power failed meanwhile.
fn decide(mut flash: Shared, cause: ResetCause) -> Option<Boot> {
    let provisioned = Keyring::provisioned([TRUSTED, CONTROLLER].map(public_key).into_iter(), 0);
    let decided = provisioned.load(&mut flash, &LAYOUT).and_then(|keys| {
        let board = BOARD.parse().expect("a board name");
        let keys = &BootKeys::new(keys, provisioned);
        boot::decide(&mut flash, &boot::Device { layout: &LAYOUT, board, keys, cause }, &mut InFlash)
    });
    if flash.is_dead() {
        return None;
    }
    Some(decided.expect("the flash works"))
}
