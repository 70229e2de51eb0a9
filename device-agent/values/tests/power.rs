//! The store against a model, with the power cut at every operation.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wasmbed_update::{
    Fault, Flash, Region,
    model::{Cut, Nor, Outcome},
};
use wasmbed_values::{MAX_VALUE_BYTES, QUOTA_BYTES, QUOTA_VALUES, Refused, Values};

const SECTOR: u32 = 0x1000;
/// Something else lies before and behind it.
const REGION: Region = Region { origin: SECTOR, bytes: 4 * SECTOR };
const END: u32 = REGION.origin + REGION.bytes + SECTOR;
/// Between two changes, in milliseconds: enough for any of them to be allowed.
const PAUSE_MS: u64 = 200_000;

type Key = (&'static str, &'static str);
type Model = BTreeMap<Key, Vec<u8>>;

const KEYS: [Key; 8] = [
    ("pump", "level"),
    ("pump", "starts"),
    ("pump", "curve"),
    ("fan", "level"),
    ("fan", "curve"),
    ("", "starts"),
    ("a-module-with-the-longest-name-0", "k"),
    ("fan", "a key as long as any may be ...................................."),
];

/// One change: a value, or `None` to remove it.
type Change = (Key, Option<Vec<u8>>);

/// Values of very different lengths, each other than the one before, and some removals.
fn change(nth: usize) -> Change {
    let key = KEYS[nth * 5 % KEYS.len()];
    if nth % 7 == 6 {
        return (key, None);
    }
    let len = [3, 700, 40, 333, 1000, 8][nth % 6];
    (key, Some((0..len).map(|at| (nth * 31 + at) as u8).collect()))
}

fn apply(values: &mut Values, nor: &mut Nor, now_ms: u64, (key, value): &Change) -> Result<(), Refused> {
    match value {
        Some(value) => values.set(now_ms, nor, key.0, key.1, value),
        None => match values.remove(now_ms, nor, key.0, key.1) {
            Err(Refused::NotFound) => Ok(()),
            done => done,
        },
    }
}

fn note(model: &mut Model, (key, value): &Change) {
    match value {
        Some(value) => model.insert(*key, value.clone()),
        None => model.remove(key),
    };
}

fn read(values: &mut Values, nor: &mut Nor, key: Key) -> Option<Vec<u8>> {
    let mut out = [0; MAX_VALUE_BYTES];
    match values.get(nor, key.0, key.1, &mut out) {
        Ok(len) => Some(out[..len].to_vec()),
        Err(Refused::NotFound) => None,
        Err(refused) => panic!("{key:?}: {refused}"),
    }
}

fn contents(values: &mut Values, nor: &mut Nor) -> Model {
    KEYS.into_iter().filter_map(|key| Some((key, read(values, nor, key)?))).collect()
}

/// The contents as a board finds them that starts now.
fn contents_after_start(nor: &mut Nor) -> Model {
    contents(&mut Values::new(REGION), nor)
}

fn new_nor() -> Nor {
    Nor::noisy(END, SECTOR, 5)
}

fn outside(nor: &Nor) -> (Vec<u8>, Vec<u8>) {
    let (start, end) = (REGION.origin as usize, REGION.end() as usize);
    (nor.bytes()[..start].to_vec(), nor.bytes()[end..].to_vec())
}

#[test]
fn values_are_found_after_every_change_and_after_every_start() {
    let (mut nor, mut values, mut model) = (new_nor(), Values::new(REGION), Model::new());
    let around = outside(&nor);
    assert_eq!(contents(&mut values, &mut nor), model, "noise is no value");
    for nth in 0..600 {
        let change = change(nth);
        apply(&mut values, &mut nor, nth as u64 * PAUSE_MS, &change).expect("changed");
        note(&mut model, &change);
        assert_eq!(contents(&mut values, &mut nor), model);
        assert_eq!(contents_after_start(&mut nor), model);
    }
    assert!(nor.erases() > 30, "the sectors went round: {} erasures", nor.erases());
    assert_eq!(outside(&nor), around);
}

/// Cuts the power in each operation of `change`, in several ways, and hands over what is left.
fn cut_everywhere(nor: &Nor, change: &Change, seeds: u64, mut then: impl FnMut(&mut Nor)) {
    for after in 0.. {
        let mut is_over = false;
        for seed in 0..seeds {
            let mut nor = nor.clone();
            nor.cut(Cut { after, seed: seed + after * 97 });
            let outcome = nor.run(|nor| apply(&mut Values::new(REGION), nor, 0, change));
            is_over = outcome == Outcome::Done(Ok(()));
            if is_over {
                break;
            }
            assert_eq!(outcome, Outcome::PowerCut);
            then(&mut nor);
        }
        if is_over {
            return;
        }
    }
}

fn assert_old_or_new(nor: &mut Nor, old: &Model, change: &Change) -> Model {
    let mut new = old.clone();
    note(&mut new, change);
    let found = contents_after_start(nor);
    assert!(found == *old || found == new, "neither the old nor the new values after a power cut");
    found
}

#[test]
fn power_may_fail_at_every_operation_and_again_at_every_operation_after() {
    let (mut nor, mut model) = (new_nor(), Model::new());
    for nth in 0..120 {
        let (now, next) = (change(nth), change(nth + 1));
        cut_everywhere(&nor, &now, 8, |nor| {
            let found = assert_old_or_new(nor, &model, &now);
            // The one after it is cut, too, and then everything goes on.
            cut_everywhere(nor, &next, 2, |nor| {
                let mut found = assert_old_or_new(nor, &found, &next);
                let mut values = Values::new(REGION);
                for more in nth + 2..nth + 8 {
                    let change = change(more);
                    apply(&mut values, nor, more as u64 * PAUSE_MS, &change).expect("changed");
                    note(&mut found, &change);
                }
                assert_eq!(contents(&mut values, nor), found);
                assert_eq!(contents_after_start(nor), found);
            });
        });
        apply(&mut Values::new(REGION), &mut nor, 0, &now).expect("changed");
        note(&mut model, &now);
    }
}

#[test]
fn a_flash_that_fails_once_costs_only_the_call() {
    let (mut nor, mut values) = (new_nor(), Values::new(REGION));
    values.set(0, &mut nor, "pump", "level", b"1").expect("set");
    nor.cut(Cut { after: 0, seed: 1 });
    assert_eq!(values.set(0, &mut nor, "pump", "level", b"22"), Err(Refused::Flash(Fault::Failed)));
    nor.power_on();
    let found = read(&mut values, &mut nor, ("pump", "level"));
    assert!(found == Some(b"1".to_vec()) || found == Some(b"22".to_vec()), "{found:?}");
    values.set(0, &mut nor, "pump", "level", b"333").expect("set");
    assert_eq!(read(&mut values, &mut nor, ("pump", "level")), Some(b"333".to_vec()));
}

#[test]
fn what_is_stored_already_is_not_written_again() {
    let (mut nor, mut values) = (new_nor(), Values::new(REGION));
    values.set(0, &mut nor, "pump", "curve", &[7; 900]).expect("set");
    let before = nor.operations();
    for _ in 0..1000 {
        values.set(0, &mut nor, "pump", "curve", &[7; 900]).expect("nothing to do");
    }
    assert_eq!(nor.operations(), before);
    values.set(0, &mut nor, "pump", "curve", &[8; 900]).expect("set");
    assert!(nor.operations() > before);
}

#[test]
fn a_module_that_never_stops_writing_is_held_back() {
    let (mut nor, mut values) = (new_nor(), Values::new(REGION));
    let hour_ms = 3_600_000;
    let mut done = 0;
    for tick in 0..hour_ms / 100 {
        let value = u64::to_le_bytes(tick);
        match values.set(tick * 100, &mut nor, "pump", "count", &value) {
            Ok(()) => done += 1,
            Err(Refused::Busy) => {}
            Err(refused) => panic!("{refused}"),
        }
        assert_eq!(values.set(tick * 100, &mut nor, "fan", "mode", b"auto"), Ok(()), "another is not");
    }
    // 64 bytes each: a burst of 8 KiB, then 512 bytes a minute.
    assert!((128 + 8 * 59..=128 + 8 * 61).contains(&done), "{done}");
    assert!(nor.erases() <= 10, "{} erasures", nor.erases());
}

#[test]
fn a_module_stores_so_much_and_no_more() {
    let (mut nor, mut values) = (new_nor(), Values::new(REGION));
    let value = [7; MAX_VALUE_BYTES - 2];
    for key in ["k0", "k1", "k2", "k3"] {
        assert_eq!(values.set(0, &mut nor, "pump", key, &value), Ok(()), "{key}");
    }
    assert_eq!(4 * MAX_VALUE_BYTES, QUOTA_BYTES);
    assert_eq!(values.set(0, &mut nor, "pump", "k4", b""), Err(Refused::NoSpace));
    assert_eq!(
        values.set(PAUSE_MS, &mut nor, "pump", "k0", &[8; 1022]),
        Ok(()),
        "in place of the one before"
    );
    for nth in 0..QUOTA_VALUES {
        assert_eq!(values.set(0, &mut nor, "fan", &format!("k{nth}"), b""), Ok(()), "{nth}");
    }
    assert_eq!(values.set(0, &mut nor, "fan", "more", b""), Err(Refused::NoSpace));
    assert_eq!(values.set(0, &mut nor, "dim", "k", &[0; MAX_VALUE_BYTES + 1]), Err(Refused::BadLength));
    assert_eq!(values.set(0, &mut nor, "dim", "", b"1"), Err(Refused::BadLength));
    assert_eq!(values.get(&mut nor, "pump", "k0", &mut [0; 1021]), Err(Refused::NoSpace));
}

#[test]
fn full_of_values_it_still_takes_changes_and_the_devices_own() {
    let (mut nor, mut values, mut model) = (new_nor(), Values::new(REGION), BTreeMap::new());
    let owners = ["a", "b", "c", "d", "e", "f"];
    'full: for owner in owners {
        for nth in 0..7 {
            let value = vec![nth; 500];
            match values.set(0, &mut nor, owner, &format!("{nth}"), &value) {
                Ok(()) => model.insert((owner, nth), value),
                Err(Refused::NoSpace) => break 'full,
                Err(refused) => panic!("{refused}"),
            };
        }
    }
    assert!(model.len() > 14, "{} values of 500 bytes", model.len());
    assert_eq!(values.set(0, &mut nor, "", "starts", &[1; 8]), Ok(()));
    for round in 1..60_u8 {
        for (&(owner, nth), value) in &mut model {
            *value = vec![nth ^ round; 500];
            let now = u64::from(round) * 10 * PAUSE_MS;
            assert_eq!(values.set(now, &mut nor, owner, &format!("{nth}"), value), Ok(()), "{round}");
        }
    }
    let mut values = Values::new(REGION);
    for ((owner, nth), value) in model {
        let mut out = [0; 500];
        assert_eq!(values.get(&mut nor, owner, &format!("{nth}"), &mut out), Ok(500));
        assert_eq!(out[..], value);
    }
}

#[test]
fn no_owner_reaches_anothers_values() {
    let (mut nor, mut values) = (new_nor(), Values::new(REGION));
    values.set(0, &mut nor, "ab", "c", b"1").expect("set");
    for (owner, key) in [("a", "bc"), ("", "abc"), ("abc", "c"), ("b", "c")] {
        assert_eq!(values.get(&mut nor, owner, key, &mut [0; 8]), Err(Refused::NotFound), "{owner} {key}");
        assert_eq!(values.remove(0, &mut nor, owner, key), Err(Refused::NotFound), "{owner} {key}");
    }
    assert_eq!(values.get(&mut nor, "ab", "c", &mut [0; 8]), Ok(1));
}

#[test]
fn a_damaged_value_is_told_and_may_be_set_again() {
    let (mut nor, mut values) = (Nor::new(END, SECTOR), Values::new(REGION));
    values.set(0, &mut nor, "pump", "level", b"0123456789").expect("set");
    let at = nor.bytes().windows(10).position(|bytes| bytes == b"0123456789").expect("it is there");
    nor.bytes_mut()[at] ^= 4;
    let refused = values.get(&mut nor, "pump", "level", &mut [0; 16]);
    assert_eq!(refused, Err(Refused::Flash(Fault::Failed)));
    values.set(0, &mut nor, "pump", "level", b"0123456789").expect("set");
    assert_eq!(values.get(&mut nor, "pump", "level", &mut [0; 16]), Ok(10));
}

#[test]
fn without_a_region_of_three_sectors_nothing_is_stored() {
    let mut nor = Nor::new(END, SECTOR);
    for bytes in [0, 2 * SECTOR] {
        let mut values = Values::new(Region { origin: 0, bytes });
        let refused = values.set(0, &mut nor, "pump", "level", b"1");
        assert_eq!(refused, Err(Refused::Flash(Fault::OutOfRange)));
    }
    assert_eq!(nor.sector_bytes(), SECTOR);
}

proptest! {
    /// Whatever the sectors hold, nothing panics, and values can be stored.
    #[test]
    fn any_bits_in_flash_are_survived(damage in prop::collection::vec((0..REGION.bytes, any::<u8>()), 1..200)) {
        let (mut nor, mut values) = (new_nor(), Values::new(REGION));
        for nth in 0..40 {
            apply(&mut values, &mut nor, nth as u64 * PAUSE_MS, &change(nth)).expect("changed");
        }
        for (at, byte) in damage {
            nor.bytes_mut()[(REGION.origin + at) as usize] = byte;
        }
        let mut values = Values::new(REGION);
        for (owner, key) in KEYS {
            let _ = values.get(&mut nor, owner, key, &mut [0; MAX_VALUE_BYTES]);
        }
        let new = (("pump", "level"), Some(b"new".to_vec()));
        apply(&mut values, &mut nor, 0, &new).expect("changed");
        prop_assert_eq!(read(&mut Values::new(REGION), &mut nor, new.0), new.1);
    }
}
