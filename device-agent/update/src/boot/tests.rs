use std::{vec, vec::Vec};

use ed25519_compact::{KeyPair, Seed};
use sha2::{Digest as _, Sha256};
use wasmbed_wire::{
    PublicKey, RuntimeId, Seq,
    keyring::{self, Roles, TrustedKey},
    limits::MAX_MANIFEST_BYTES,
    manifest::{Classes, Kind, Manifest, Trial},
    sign1::{self, Audience, Sign1},
};

use super::*;
use crate::{
    Keyring, key_id,
    model::{Cut, Nor, Outcome},
    write_header,
};

const LAYOUT: Layout = Layout::new(0, 0x1000, 0x4000, 0x1000);
const TRIAL: Trial = Trial { tries: 2, confirm_s: 60 };

/// Copies nothing: images run where they lie.
struct InFlash;

impl Place<Nor> for InFlash {
    fn place(&mut self, flash: &mut Nor, region: Region, bytes: u32) -> Result<Digest, Fault> {
        flash.read(region.origin, &mut [0])?;
        let start = region.origin as usize;
        Ok(digest(&flash.bytes()[start..start + bytes as usize]))
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn keys(seed: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([seed; 32]))
}

fn public(seed: u8) -> PublicKey {
    PublicKey(*keys(seed).pk)
}

fn board() -> BoardName {
    "a-board".parse().expect("a name")
}

fn sign(cbor: &[u8], key: u8) -> Vec<u8> {
    let head = sign1::signed_head(Audience::Everyone, cbor.len()).expect("it fits");
    let signature = keys(key).sk.sign([head.as_ref(), cbor].concat(), None);
    let mut out = vec![0; MAX_MANIFEST_BYTES];
    let signed = Sign1 { key: key_id(&public(key)), payload: cbor, signature: &signature };
    let len = signed.encode(&mut out).expect("it fits");
    out.truncate(len);
    out
}

fn image(n: u8) -> Vec<u8> {
    vec![n; 3_000]
}

fn manifest(image: &[u8]) -> Manifest<'static> {
    Manifest {
        kind: Kind::Firmware,
        name: "image".parse().expect("a name"),
        version: "1.0.0",
        classes: Classes::default(),
        runtime: RuntimeId([1; 8]),
        size: image.len() as u32,
        digest: digest(image),
        block_bytes: 512,
        board: Some(board()),
        counter: 0,
        patch: None,
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
    }
}

/// Fills a slot with image `n`, described as it is but for the changes.
fn fill(flash: &mut Nor, slot: ImageSlot, n: u8, change: impl FnOnce(&mut Manifest<'_>)) {
    fill_signed(flash, slot, n, 1, change);
}

fn fill_signed(flash: &mut Nor, slot: ImageSlot, n: u8, key: u8, change: impl FnOnce(&mut Manifest<'_>)) {
    let mut manifest = manifest(&image(n));
    change(&mut manifest);
    let mut cbor = [0; MAX_MANIFEST_BYTES];
    let mut rest = &mut cbor[..];
    minicbor::encode(manifest, &mut rest).expect("it fits");
    let len = MAX_MANIFEST_BYTES - rest.len();
    let (at, bytes) = (LAYOUT.image(slot).origin as usize, image(n));
    flash.bytes_mut()[at..at + bytes.len()].copy_from_slice(&bytes);
    flash.erase(LAYOUT.header(slot)).expect("erased");
    write_header(flash, &LAYOUT, slot, &sign(&cbor[..len], key)).expect("written");
}

/// A device with image 1 in slot A, confirmed, and image 2 in slot B.
fn device() -> Nor {
    let mut flash = Nor::noisy(LAYOUT.end(), LAYOUT.sector_bytes, 5);
    fill(&mut flash, ImageSlot::A, 1, |_| {});
    fill(&mut flash, ImageSlot::B, 2, |_| {});
    change_record(&mut flash, |record| record.active = Some(ImageSlot::A));
    flash
}

fn change_record(flash: &mut Nor, change: impl FnOnce(&mut Record)) {
    let mut record = record(flash);
    change(&mut record);
    record.save(flash, &LAYOUT).expect("saved");
}

fn record(flash: &mut Nor) -> Record {
    Record::load(flash, &LAYOUT).expect("readable")
}

fn damage(flash: &mut Nor, slot: ImageSlot) {
    flash.bytes_mut()[LAYOUT.image(slot).origin as usize + 2_999] ^= 1;
}

fn provisioned() -> Keyring {
    Keyring::provisioned([public(1)].into_iter(), 0)
}

fn boot_keys() -> BootKeys {
    BootKeys::new(provisioned(), provisioned())
}

fn start_with(
    flash: &mut Nor,
    keys: &BootKeys,
    cause: ResetCause,
    place: &mut impl Place<Nor>,
) -> Result<Boot, Fault> {
    decide(flash, &Device { layout: &LAYOUT, board: board(), keys, cause }, place)
}

/// Which image starts, and whether that is a trial; `None` for recovery.
fn start(flash: &mut Nor, cause: ResetCause) -> Option<(u8, bool)> {
    named(start_with(flash, &boot_keys(), cause, &mut InFlash).expect("the flash works"))
}

fn named(boot: Boot) -> Option<(u8, bool)> {
    let Boot::Image { firmware, is_trial } = boot else { return None };
    let n = (0..9).find(|n| digest(&image(*n)) == firmware.image).expect("an image of these tests");
    Some((n, is_trial))
}

#[test]
fn a_board_from_the_factory_starts_what_is_in_its_first_slot() {
    let mut flash = Nor::noisy(LAYOUT.end(), LAYOUT.sector_bytes, 9);
    assert_eq!(start(&mut flash, ResetCause::Power), None);
    fill(&mut flash, ImageSlot::A, 1, |_| {});
    assert_eq!(start(&mut flash, ResetCause::Power), Some((1, false)));
    assert_eq!(record(&mut flash).active, Some(ImageSlot::A));
    let before = flash.operations();
    assert_eq!(start(&mut flash, ResetCause::Power), Some((1, false)));
    assert_eq!(flash.operations(), before, "a usual start writes nothing");
}

#[test]
fn a_trial_is_counted_before_it_starts_and_given_up_with_the_reason_of_the_last_reset() {
    let reasons = [
        (ResetCause::Crash, Reason::Crashed),
        (ResetCause::Watchdog, Reason::Hung),
        (ResetCause::Power, Reason::PowerLost),
        (ResetCause::Command, Reason::Unconfirmed),
    ];
    for (cause, reason) in reasons {
        let mut flash = device();
        change_record(&mut flash, |record| record.arm(ImageSlot::B, TRIAL, 7));
        for left in [1, 0] {
            assert_eq!(start(&mut flash, cause), Some((2, true)));
            assert_eq!(record(&mut flash).trial.map(|trial| trial.tries), Some(left));
        }
        assert_eq!(start(&mut flash, cause), Some((1, false)));
        let record = record(&mut flash);
        assert_eq!((record.active, record.trial), (Some(ImageSlot::A), None));
        assert_eq!(record.blocks(&digest(&image(2)), 7), Some(reason));
        assert_eq!(start(&mut flash, cause), Some((1, false)));
    }
}

#[test]
fn a_trial_of_what_is_damaged_ends_without_a_verdict() {
    let mut flash = device();
    change_record(&mut flash, |record| record.arm(ImageSlot::B, TRIAL, 7));
    damage(&mut flash, ImageSlot::B);
    assert_eq!(start(&mut flash, ResetCause::Command), Some((1, false)));
    let record = record(&mut flash);
    assert_eq!((record.trial, record.find(&digest(&image(2)))), (None, None));
}

#[test]
fn the_other_image_helps_when_the_confirmed_one_is_damaged() {
    let mut flash = device();
    damage(&mut flash, ImageSlot::A);
    assert_eq!(start(&mut flash, ResetCause::Power), Some((2, false)));
    assert_eq!(record(&mut flash).active, Some(ImageSlot::B), "the next update must not go there");
    damage(&mut flash, ImageSlot::B);
    let before = flash.operations();
    assert_eq!(start(&mut flash, ResetCause::Power), None);
    assert_eq!(flash.operations(), before);
}

#[test]
fn what_must_not_run_here_does_not_help_either() {
    let unfit: [fn(&mut Manifest<'_>); 4] = [
        |manifest| manifest.board = Some("another-board".parse().expect("a name")),
        |manifest| manifest.kind = Kind::Module,
        |manifest| manifest.counter = 3,
        |manifest| manifest.size = 0,
    ];
    for change in unfit {
        let mut flash = device();
        fill(&mut flash, ImageSlot::B, 2, change);
        damage(&mut flash, ImageSlot::A);
        change_record(&mut flash, |record| record.counter = 4);
        assert_eq!(start(&mut flash, ResetCause::Power), None);
    }
}

#[test]
fn an_image_that_failed_its_trial_does_not_help() {
    let mut flash = device();
    change_record(&mut flash, |record| {
        record.arm(ImageSlot::B, TRIAL, 7);
        record.give_up(&digest(&image(2)), Reason::Crashed);
    });
    damage(&mut flash, ImageSlot::A);
    assert_eq!(start(&mut flash, ResetCause::Power), None);
}

/// Those of a keyring with keys 9 and `key`, made in second 2000.
fn replaced(key: u8, not_after_s: Option<u32>) -> BootKeys {
    let keys = [
        TrustedKey { key: public(key), roles: Roles::ALL, not_after_s },
        TrustedKey { key: public(9), roles: Roles::ALL, not_after_s: None },
    ];
    let new = keyring::Keyring { version: 1, issued_s: 2_000, keys: Seq::new(&keys) };
    let mut cbor = [0; MAX_MANIFEST_BYTES];
    let mut rest = &mut cbor[..];
    minicbor::encode(new, &mut rest).expect("it fits");
    let len = MAX_MANIFEST_BYTES - rest.len();
    BootKeys::new(provisioned().successor(&sign(&cbor[..len], 1)).expect("accepted"), provisioned())
}

#[test]
fn an_image_starts_whatever_became_of_its_key_since_but_not_without_one() {
    let start = |flash: &mut Nor, keys| {
        named(start_with(flash, &keys, ResetCause::Power, &mut InFlash).expect("the flash works"))
    };
    let mut flash = device();
    assert_eq!(start(&mut flash, replaced(3, None)), Some((1, false)), "it was provisioned with that key");
    fill_signed(&mut flash, ImageSlot::A, 1, 2, |_| {});
    damage(&mut flash, ImageSlot::B);
    assert_eq!(start(&mut flash, replaced(2, None)), Some((1, false)));
    assert_eq!(start(&mut flash, replaced(2, Some(1_000))), Some((1, false)), "good when it was accepted");
    assert_eq!(start(&mut flash, replaced(3, None)), None);
}

/// What happens to a device before a start.
type Story = fn(&mut Nor);

/// Starts in which the bootloader writes.
const STORIES: [(Story, ResetCause); 4] = [
    // The first start.
    (|flash| change_record(flash, |record| record.active = None), ResetCause::Power),
    // A trial.
    (|flash| change_record(flash, |record| record.arm(ImageSlot::B, TRIAL, 7)), ResetCause::Command),
    // A trial that is over.
    (
        |flash| {
            change_record(flash, |record| {
                record.arm(ImageSlot::B, TRIAL, 7);
                record.trial = record.trial.map(|trial| Attempt { tries: 0, started: true, ..trial });
            });
        },
        ResetCause::Crash,
    ),
    // The confirmed image is damaged.
    (|flash| damage(flash, ImageSlot::A), ResetCause::Power),
];

#[test]
fn power_lost_at_any_operation_of_the_bootloader_changes_nothing_but_the_cause() {
    for (nth, (story, cause)) in STORIES.into_iter().enumerate() {
        // Also where the log has to erase a sector first.
        for filled in 0..80 {
            let mut before = device();
            (0..filled).for_each(|_| change_record(&mut before, |_| {}));
            story(&mut before);
            let mut undisturbed = before.clone();
            let expected = start(&mut undisturbed, cause);
            for after in 0..undisturbed.operations() - before.operations() {
                for seed in 0..4 {
                    let mut flash = before.clone();
                    flash.cut(Cut { after, seed });
                    let outcome = flash.run(|flash| start_with(flash, &boot_keys(), cause, &mut InFlash));
                    assert_eq!(outcome, Outcome::PowerCut);
                    let started = start(&mut flash, ResetCause::Power);
                    let at = std::format!("story {nth}, {filled} records, cut at {after}, seed {seed}");
                    assert_eq!(started, expected, "{at}");
                    assert_eq!(record(&mut flash).active, record(&mut undisturbed).active, "{at}");
                }
            }
        }
    }
}

/// A window onto one image that only changes with a restart.
struct Window {
    shown: Option<Region>,
}

impl Place<Nor> for Window {
    fn place(&mut self, flash: &mut Nor, region: Region, bytes: u32) -> Result<Digest, Fault> {
        if self.shown.replace(region) != Some(region) {
            return Err(Fault::Failed);
        }
        InFlash.place(flash, region, bytes)
    }
}

#[test]
fn where_placing_an_image_restarts_the_board_it_starts_after_a_few_restarts() {
    for (nth, (story, cause)) in STORIES.into_iter().enumerate() {
        for is_b_damaged in [false, true] {
            let mut flash = device();
            story(&mut flash);
            if is_b_damaged {
                damage(&mut flash, ImageSlot::B);
            }
            let expected = start(&mut flash.clone(), cause);
            let mut window = Window { shown: None };
            let started = (0..5).find_map(|_| start_with(&mut flash, &boot_keys(), cause, &mut window).ok());
            let started = started.unwrap_or_else(|| panic!("story {nth}: it restarts for ever"));
            assert_eq!(named(started), expected, "story {nth}");
        }
    }
}
