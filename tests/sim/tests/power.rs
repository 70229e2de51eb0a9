//! Power cuts: at every flash operation of an update, one by one, and by chance.

use std::sync::OnceLock;

use wasmbed_sim::{Build, Cut, Delta, FIRMWARE_BLOCK_BYTES, Image, ImageSlot, Memory, Ring, Start, World};
use wasmbed_wire::{
    ArtifactId, DeviceId,
    keyring::Role,
    message::{FirmwareState, Reason},
};

/// Bytes of the images here; not a whole number of sectors or blocks.
const SIZE: usize = 20_001;
/// Long enough for everything that has to be done again, in milliseconds.
const LIMIT_MS: u64 = 300_000;
/// Ways in which an operation can be torn that are tried at each.
const SEEDS: u64 = 8;

/// How the device gets to the new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Full,
    Delta,
    /// Forth, undisturbed, and back.
    Rollback,
}

const WAYS: [Way; 3] = [Way::Full, Way::Delta, Way::Rollback];

struct Scene {
    world: World,
    pump: DeviceId,
    old: Image,
    new: Image,
    patch: ArtifactId,
}

impl Scene {
    /// A device that runs the image before the one it is to go to, with this many records in its flash.
    fn new(way: Way, memory: Memory, seed: u64) -> Self {
        let mut world = World::seeded(seed);
        let old = world.firmware(&Build::new("1.0.0", SIZE).counter(4));
        let new = world.firmware(&Build::new("2.0.0", SIZE).counter(4));
        let pump = world.board("pump-7", memory, old);
        // Making it takes longer than everything else here.
        static DELTA: OnceLock<Delta> = OnceLock::new();
        let patch = world.patch(DELTA.get_or_init(|| world.delta(old, new)));
        world.run_for(500);
        let (from, to) = if way == Way::Rollback { (new, old) } else { (old, new) };
        let mut scene = Scene { world, pump, old: from, new: to, patch };
        if way == Way::Rollback {
            scene.world.install(pump, from);
            scene.world.confirm_image(pump, from, LIMIT_MS);
        }
        scene
    }

    fn begin(&mut self, way: Way) {
        match way {
            Way::Full | Way::Rollback => self.world.install(self.pump, self.new),
            Way::Delta => self.world.install_by_patch(self.pump, self.new, self.patch),
        }
    }

    /// Runs to the end, whatever was cut. At every instant one of the two images runs.
    fn complete(&mut self, what: &str) {
        let Scene { pump, old, new, .. } = *self;
        self.world.run_until(LIMIT_MS, &format!("updated: {what}"), |world| {
            let image = world.running_image(pump);
            assert!(image == Some(old.digest) || image == Some(new.digest), "{what}: {image:?} runs");
            world.is_confirmed(pump, new)
        });
        assert_eq!(self.world.record(pump).counter, 4, "{what}");
    }
}

/// Operations of an update that nothing disturbs.
fn operations(way: Way, memory: Memory) -> u64 {
    let mut scene = Scene::new(way, memory, 1);
    let before = scene.world.flash_operations(scene.pump);
    scene.begin(way);
    scene.complete("undisturbed");
    scene.world.flash_operations(scene.pump) - before
}

#[test]
fn power_may_fail_at_every_flash_operation_of_an_update() {
    let mut points = 0;
    for way in WAYS {
        for memory in [Memory::Lasting, Memory::Volatile] {
            for after in 0..operations(way, memory) {
                for seed in 0..SEEDS {
                    let mut scene = Scene::new(way, memory, 1);
                    scene.world.cut_power(scene.pump, [Cut { after, seed }]);
                    scene.begin(way);
                    let what = format!("{way:?}, {memory:?}, cut at operation {after}, seed {seed}");
                    scene.complete(&what);
                    assert_eq!(scene.world.power_cuts(scene.pump), 1, "{what}");
                    points += 1;
                }
            }
        }
    }
    assert!(points >= 3_000, "only {points} points");
}

#[test]
fn power_may_fail_again_and_again() {
    for seed in 0..400 {
        let way = WAYS[seed as usize % 3];
        let memory = if seed % 2 == 0 { Memory::Lasting } else { Memory::Volatile };
        let mut scene = Scene::new(way, memory, seed);
        let most = if way == Way::Rollback { 4 } else { 120 };
        // Two to five cuts; the later ones often while what the first one left is cleared up.
        let count = 2 + scene.world.below(4);
        let cuts: Vec<Cut> = (0..count)
            .map(|nth| Cut {
                after: scene.world.below(if nth == 0 { most } else { 12 }),
                seed: scene.world.below(1 << 40),
            })
            .collect();
        scene.world.cut_power(scene.pump, cuts.clone());
        scene.begin(way);
        scene.complete(&format!("{way:?}, {memory:?}, {cuts:?}, seed {seed}"));
    }
}

#[test]
fn a_power_cut_costs_no_more_than_the_blocks_on_their_way_and_one() {
    let memory = Memory::Lasting;
    let whole = {
        let mut scene = Scene::new(Way::Full, memory, 1);
        scene.begin(Way::Full);
        scene.complete("undisturbed");
        scene.world.served(scene.new.artifact).blocks
    };
    for after in 0..operations(Way::Full, memory) {
        let mut scene = Scene::new(Way::Full, memory, 1);
        scene.world.cut_power(scene.pump, [Cut { after, seed: after }]);
        scene.begin(Way::Full);
        scene.complete("cut");
        let again = scene.world.served(scene.new.artifact).blocks - whole;
        // The manifest, four blocks on their way, and the one that was being written.
        assert!(again <= 1 + 4 + 1, "{again} blocks again after a cut at operation {after}");
    }
}

#[test]
fn a_patch_is_not_fetched_again_when_the_power_fails_while_it_is_applied() {
    let memory = Memory::Volatile;
    let mut scene = Scene::new(Way::Delta, memory, 1);
    scene.begin(Way::Delta);
    scene.world.run_until(LIMIT_MS, "patching", |world| world.trace().contains("Patching"));
    let served = scene.world.served(scene.patch).blocks;
    scene.world.cut_power(scene.pump, [Cut { after: 30, seed: 1 }]);
    scene.complete("cut while patching");
    assert_eq!(scene.world.power_cuts(scene.pump), 1);
    assert_eq!(scene.world.served(scene.patch).blocks, served + 1, "only the manifest");
}

/// The bootloader writes when it counts a start, ends a trial, and goes over to the other slot.
#[test]
fn power_may_fail_at_every_operation_of_the_bootloader() {
    for start in [Start::Panics, Start::Hangs] {
        // The counts of two tries, and giving up; each once or twice.
        for first in 0..3 {
            for second in 0..3 {
                for seed in 0..SEEDS {
                    let mut world = World::seeded(seed);
                    let old = world.firmware(&Build::new("1.0.0", SIZE));
                    let bad = world.firmware(&Build::new("2.0.0", SIZE).trial(2, 60).starting(start));
                    let pump = world.board("pump-7", Memory::Volatile, old);
                    world.install(pump, bad);
                    world.run_until_firmware(pump, FirmwareState::Armed, None, 60_000);
                    let cuts = [(first, seed), (second, seed + 100)].map(|(after, seed)| Cut { after, seed });
                    world.cut_power(pump, cuts);
                    let what = format!("{start:?}, cuts {cuts:?}, seed {seed}");
                    world.run_until(LIMIT_MS, &what, |world| {
                        let is_over =
                            world.firmware_report(pump).is_some_and(|r| r.state == FirmwareState::Reverted);
                        is_over && world.running_image(pump) == Some(old.digest)
                    });
                    assert!(world.power_cuts(pump) > 0, "{what}");
                    assert_eq!(world.record(pump).active, Some(ImageSlot::A), "{what}");
                }
            }
        }
    }
}

#[test]
fn power_lost_in_every_start_of_a_trial_is_not_the_images_fault() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        let mut world = World::seeded(1);
        let old = world.firmware(&Build::new("1.0.0", SIZE));
        let new = world.firmware(&Build::new("2.0.0", SIZE).trial(2, 60));
        let pump = world.board("pump-7", memory, old);
        world.install(pump, new);
        world.run_until_firmware(pump, FirmwareState::Armed, None, 60_000);
        for _ in 0..2 {
            world.run_until(10_000, "in trial", |world| world.running_image(pump) == Some(new.digest));
            world.restart(pump);
        }
        assert_eq!(world.running_image(pump), Some(old.digest));
        let doubted = world.record(pump).find(&new.digest).map(|blocked| blocked.reason);
        assert_eq!(doubted, Some(Reason::PowerLost));
        world.confirm_image(pump, new, 60_000);
    }
}

#[test]
fn a_trial_survives_some_power_cuts() {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE));
    let new = world.firmware(&Build::new("2.0.0", SIZE));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.set_confirming(false);
    world.install(pump, new);
    world.run_until_firmware(pump, FirmwareState::Trial, None, 60_000);
    world.restart(pump);
    world.restart(pump);
    assert_eq!(world.running_image(pump), Some(new.digest));
    world.set_confirming(true);
    world.confirm_image(pump, new, 60_000);
}

#[test]
fn a_damaged_image_gives_way_to_the_other_one() {
    let mut scene = Scene::new(Way::Rollback, Memory::Volatile, 1);
    let (pump, newer, older) = (scene.pump, scene.old, scene.new);
    scene.world.damage(pump, ImageSlot::B);
    scene.world.restart(pump);
    assert_eq!(scene.world.running_image(pump), Some(older.digest));
    // What is damaged is fetched again, for it is still wanted.
    scene.world.confirm_image(pump, newer, LIMIT_MS);
}

#[test]
fn with_both_images_damaged_a_device_recovers_over_the_network() {
    for after in (0..100).map(Some).chain([None]) {
        let mut scene = Scene::new(Way::Rollback, Memory::Volatile, 1);
        let (pump, wanted) = (scene.pump, scene.old);
        scene.world.damage(pump, ImageSlot::A);
        scene.world.damage(pump, ImageSlot::B);
        scene.world.cut_power(pump, after.map(|after| Cut { after, seed: after }));
        scene.world.restart(pump);
        assert_eq!(scene.world.running_image(pump), None);
        scene.world.confirm_image(pump, wanted, LIMIT_MS);
    }
}

#[test]
fn an_image_that_fails_in_recovery_is_not_taken_for_the_confirmed_one() {
    let mut scene = Scene::new(Way::Full, Memory::Volatile, 1);
    let (pump, good) = (scene.pump, scene.new);
    scene.world.damage(pump, ImageSlot::A);
    scene.world.restart(pump);
    assert_eq!(scene.world.running_image(pump), None, "there was only one");
    let bad = scene.world.firmware(&Build::new("3.0.0", SIZE).starting(Start::Panics));
    scene.world.install(pump, bad);
    scene.world.run_until_firmware(pump, FirmwareState::Reverted, Some(Reason::Crashed), LIMIT_MS);
    assert_eq!(scene.world.running_image(pump), None);
    scene.world.install(pump, good);
    scene.world.confirm_image(pump, good, LIMIT_MS);
}

#[test]
fn a_keyring_is_the_old_or_the_new_one_after_a_power_cut() {
    for after in 0..2 {
        for seed in 0..64 {
            let mut world = World::seeded(seed);
            let old = world.firmware(&Build::new("1.0.0", SIZE));
            let pump = world.board("pump-7", Memory::Volatile, old);
            world.run_for(500);
            // So that an erase is among the operations.
            for version in 1..30 {
                world.publish_keys(pump, &Ring::new(version, 0).key(1, &Role::ALL));
                world.run_for(100);
            }
            world.cut_power(pump, [Cut { after, seed }]);
            for version in [40, 41, 42] {
                world.publish_keys(pump, &Ring::new(version, 0).key(1, &Role::ALL));
                world.run_for(100);
            }
            world.run_until(60_000, "the newest keyring", |world| world.keyring(pump) == Some(42));
            assert_eq!(world.power_cuts(pump), 1, "cut at operation {after}, seed {seed}");
            world.restart(pump);
            world.run_until(60_000, "online", |world| world.is_online(pump));
            world.run_for(1_000);
            assert_eq!(world.keyring(pump), Some(42));
        }
    }
}

#[test]
fn an_update_of_one_sector_pays_for_its_journal_only() {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE));
    let small = world.firmware(&Build::new("2.0.0", usize::from(FIRMWARE_BLOCK_BYTES)));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.run_for(500);
    let before = world.flash_operations(pump);
    world.install(pump, small);
    world.confirm_image(pump, small, 60_000);
    // Journal cleared and begun, header and image erased, block, bit, header, three records and two revisions.
    assert_eq!(world.flash_operations(pump) - before, 2 + 2 + 2 + 1 + 3 + 2);
}
