//! Patches made here, applied here.

use proptest::prelude::*;
use wasmbed_delta::{ApplyError, create};

use crate::support::{apply, apply_in_pieces, apply_traced, edited, image};

#[test]
fn an_image_is_made_of_nothing() {
    let new = image(1, 5000);
    assert_eq!(apply(&create(&[], &new), &[]), Ok(new));
}

#[test]
fn nothing_is_made_of_an_image() {
    let old = image(1, 5000);
    let patch = create(&old, &[]);
    assert_eq!(patch, [0x04, 0x00]);
    assert_eq!(apply(&patch, &old), Ok(Vec::new()));
    assert_eq!(apply(&create(&[], &[]), &[]), Ok(Vec::new()));
}

#[test]
fn the_same_image_takes_half_a_percent() {
    let old = image(1, 300_000);
    let patch = create(&old, &old);
    assert_eq!(apply(&patch, &old), Ok(old.clone()));
    assert!(patch.len() < old.len() / 150, "{} bytes", patch.len());
}

#[test]
fn a_moved_part_costs_its_edges_only() {
    let old = image(1, 100_000);
    let new = [&old[60_000..], &old[..60_000]].concat();
    let patch = create(&old, &new);
    assert_eq!(apply(&patch, &old), Ok(new));
    assert!(patch.len() < old.len() / 100, "{} bytes", patch.len());
}

#[test]
fn the_same_images_give_the_same_patch() {
    let (old, new) = (image(1, 20_000), image(2, 20_000));
    assert_eq!(create(&old, &new), create(&old, &new));
}

#[test]
fn images_full_of_repetition_do_not_slow_the_service_down() {
    // A matcher that compares byte by byte takes hours for these.
    let old = [vec![0xff; 400_000], image(1, 1000)].concat();
    let mut new = vec![0xff; 500_000];
    for place in (0..new.len()).step_by(997) {
        new[place] = 0;
    }
    let patch = create(&old, &new);
    assert_eq!(apply(&patch, &old), Ok(new));
}

#[test]
fn pieces_are_full_while_a_record_goes_on() {
    let old = image(1, 1000);
    let (_, sizes) = apply_traced(&create(&old, &old), &old, &[1]).expect("a good patch");
    assert_eq!(sizes, [256, 256, 256, 232]);
}

#[test]
fn every_proper_beginning_of_a_patch_is_too_short() {
    let (old, new) = edited(&image(3, 2000), &[(500, 20, 30), (1200, 0, 4)]);
    let patch = create(&old, &new);
    for len in 0..patch.len() {
        assert_eq!(apply(&patch[..len], &old), Err(ApplyError::TooShort), "{len} of {}", patch.len());
    }
}

proptest! {
    #[test]
    fn an_edited_image_is_made_by_its_patch(
        seed in any::<u64>(),
        size in 0_usize..4000,
        edits in proptest::collection::vec((0_usize..4000, 0_usize..200, 0_usize..200), 0..8),
        cut in 0_usize..4000,
        pieces in proptest::collection::vec(1_usize..40, 1..10),
    ) {
        let (old, mut new) = edited(&image(seed, size), &edits);
        let cut = cut.min(new.len());
        new.rotate_left(cut);
        let patch = create(&old, &new);
        prop_assert_eq!(apply_in_pieces(&patch, &old, &pieces), Ok(new.clone()));
        prop_assert_eq!(apply_in_pieces(&patch, &old, &[1]), Ok(new));
    }
}
