//! What tests do to firmware, and see of it.

use wasmbed_core::Flash;
use wasmbed_update::{ImageSlot, model::Cut, write_header};
use wasmbed_wire::{
    ArtifactId, DeviceId,
    message::{Block, DesiredFirmware, FirmwareReport, FirmwareSlots, FirmwareState, Reason, ResetCause},
    topic::Down,
};

use super::{Event, World};
use crate::{
    device::{Device, Memory},
    firmware::{Build, Delta, Image},
    flash::{LAYOUT, Shared},
    fleet::Served,
    keys::Ring,
};

impl World {
    /// Adds a device whose firmware can be replaced, with this image from the factory, and switches it on.
    pub fn board(&mut self, name: &str, memory: Memory, factory: Image) -> DeviceId {
        let id: DeviceId = name.parse().expect("a device name");
        let mut flash = Shared::noisy(self.rng.next());
        let (image, signed) = (self.fleet.payload(factory.artifact), self.fleet.manifest(factory.artifact));
        flash.put(LAYOUT.image(ImageSlot::A), &image);
        flash.erase(LAYOUT.header(ImageSlot::A)).expect("the flash works");
        write_header(&mut flash, &LAYOUT, ImageSlot::A, &signed).expect("the flash works");
        self.devices.insert(id, Device::new(id, memory, Some(flash)));
        self.start(id, ResetCause::Power);
        id
    }

    /// Makes a firmware known to the fleet.
    pub fn firmware(&mut self, build: &Build) -> Image {
        let artifact = build.make();
        let digest = artifact.digest;
        self.fleet.images.insert(digest, (build.payload.clone(), build.start));
        Image { artifact: self.fleet.keep(artifact), digest }
    }

    /// The patch from one image to another, for [`World::patch`].
    pub fn delta(&self, base: Image, makes: Image) -> Delta {
        let image = |image: Image| &self.fleet.images[&image.digest].0;
        let payload = wasmbed_delta::create(image(base), image(makes));
        Delta { payload, base, makes, key: crate::TRUSTED }
    }

    /// Makes a patch known to the fleet.
    pub fn patch(&mut self, delta: &Delta) -> ArtifactId {
        self.fleet.keep(delta.make())
    }

    /// From now on the device should run this image.
    pub fn install(&mut self, device: DeviceId, image: Image) {
        self.wish_firmware(device, Some(image), None);
    }

    /// From now on the device should run this image, made by a patch.
    pub fn install_by_patch(&mut self, device: DeviceId, image: Image, patch: ArtifactId) {
        self.wish_firmware(device, Some(image), Some(patch));
    }

    /// From now on the device may run what it runs.
    pub fn withdraw_firmware(&mut self, device: DeviceId) {
        self.wish_firmware(device, None, None);
    }

    /// The device should try its image again.
    pub fn try_again(&mut self, device: DeviceId) {
        let wish = self.fleet.wish(device);
        wish.firmware.as_mut().expect("a wish").generation += 1;
        wish.revision += 1;
        self.publish_desired(device);
    }

    fn wish_firmware(&mut self, device: DeviceId, image: Option<Image>, patch: Option<ArtifactId>) {
        let wish = self.fleet.wish(device);
        let generation = wish.firmware.map_or(0, |before| before.generation);
        wish.firmware = image.map(|Image { artifact, digest }| DesiredFirmware {
            artifact,
            image: digest,
            patch,
            generation,
            confirm: None,
        });
        wish.revision += 1;
        self.publish_desired(device);
    }

    /// Publishes a keyring to the device.
    pub fn publish_keys(&mut self, device: DeviceId, ring: &Ring) {
        self.keyrings.insert(device, ring.make());
        self.publish_keyring(device);
    }

    pub(super) fn publish_keyring(&mut self, device: DeviceId) {
        if let Some(signed) = self.keyrings.get(&device).cloned() {
            self.publish(device, Down::Keys, signed);
        }
    }

    /// Serves this artifact from now on with the manifest of another.
    pub fn serve_foreign_manifest(&mut self, artifact: ArtifactId, other: ArtifactId) {
        let signed = self.fleet.manifest(other);
        self.fleet.replace_manifest(artifact, signed);
    }

    /// Flips a bit of the signed manifest that is served; false if it is shorter.
    pub fn forge(&mut self, artifact: ArtifactId, bit: usize) -> bool {
        let mut signed = self.fleet.manifest(artifact);
        let Some(byte) = signed.get_mut(bit / 8) else { return false };
        *byte ^= 1 << (bit % 8);
        self.fleet.replace_manifest(artifact, signed);
        true
    }

    /// A block arrives that nobody sent.
    pub fn inject_block(&mut self, device: DeviceId, artifact: ArtifactId, index: u32, bytes: &[u8]) {
        let payload = minicbor::to_vec(Block { index, bytes }).expect("a vector takes everything");
        let session = self.devices[&device].session;
        self.after(1, Event::Down { device, session, topic: Down::Block(artifact).to_string(), payload });
    }

    /// Lets the power fail at this flash operation counted from now, and again at the ones that follow, each
    /// counted from when it came back.
    pub fn cut_power(&mut self, device: DeviceId, cuts: impl IntoIterator<Item = Cut>) {
        self.flash(device).cut(cuts);
    }

    /// How often the power failed in the middle of a flash operation.
    pub fn power_cuts(&self, device: DeviceId) -> usize {
        self.devices[&device].power_cuts
    }

    /// Erase and program operations of the device's flash so far.
    pub fn flash_operations(&self, device: DeviceId) -> u64 {
        self.flash(device).with(|nor| nor.operations())
    }

    /// The device's flash takes nothing any more, or works again.
    pub fn wear_flash(&mut self, device: DeviceId, is_worn: bool) {
        self.flash(device).wear(is_worn);
    }

    /// Flips a bit of the image in a slot.
    pub fn damage(&mut self, device: DeviceId, slot: ImageSlot) {
        let region = LAYOUT.image(slot);
        let byte = self.flash(device).bytes(region, 1)[0];
        self.flash(device).put(region, &[byte ^ 1]);
    }

    /// Whether the fleet confirms images that it sees running.
    pub fn set_confirming(&mut self, confirms: bool) {
        self.fleet.confirms = confirms;
    }

    /// What was sent of an artifact so far.
    pub fn served(&self, artifact: ArtifactId) -> Served {
        self.fleet.served.get(&artifact).copied().unwrap_or_default()
    }

    /// What the device last said about its firmware.
    pub fn firmware_report(&self, device: DeviceId) -> Option<FirmwareReport> {
        self.fleet.seen(device).firmware
    }

    /// The states in which firmware was reported, one after the other.
    pub fn firmware_history(&self, device: DeviceId) -> Vec<FirmwareState> {
        self.fleet.seen(device).history.clone()
    }

    /// What the device last said about its firmware slots.
    pub fn firmware_slots(&self, device: DeviceId) -> Option<FirmwareSlots> {
        self.fleet.seen(device).slots
    }

    /// The keyring the device says it uses.
    pub fn keyring(&self, device: DeviceId) -> Option<u32> {
        self.fleet.seen(device).keyring
    }

    /// Whether the device runs this image for good, has said so, and has it in flash as it was signed.
    pub fn is_confirmed(&self, device: DeviceId, image: Image) -> bool {
        let is_reported =
            |report: FirmwareReport| report.image == image.digest && report.state == FirmwareState::Confirmed;
        self.firmware_report(device).is_some_and(is_reported)
            && self.running_image(device) == Some(image.digest)
            && self.record(device).trial.is_none()
            && self.is_whole(device, image)
    }

    fn is_whole(&self, device: DeviceId, image: Image) -> bool {
        let signed = &self.fleet.images[&image.digest].0;
        let active = self.record(device).active;
        active.is_some_and(|slot| self.flash(device).bytes(LAYOUT.image(slot), signed.len()) == *signed)
    }

    /// Runs until the device has confirmed this image.
    ///
    /// # Panics
    /// If it is not within `limit_ms`.
    pub fn confirm_image(&mut self, device: DeviceId, image: Image, limit_ms: u64) {
        self.run_until(limit_ms, "confirmed", |world| world.is_confirmed(device, image));
    }

    /// Runs until firmware is reported in this state for this reason.
    ///
    /// # Panics
    /// If it is not within `limit_ms`.
    pub fn run_until_firmware(
        &mut self,
        device: DeviceId,
        state: FirmwareState,
        reason: Option<Reason>,
        limit_ms: u64,
    ) {
        let reached = |world: &mut World| {
            let report = world.firmware_report(device);
            report.is_some_and(|report| (report.state, report.reason) == (state, reason))
        };
        self.run_until(limit_ms, &format!("firmware {state:?} {reason:?}"), reached);
    }
}
