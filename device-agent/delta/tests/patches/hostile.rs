//! Patches that nobody should have made: each ends in an error, and reads and writes only what it may.

use proptest::prelude::*;
use wasmbed_delta::{Applier, ApplyError, Failed, MAX_WINDOW_BITS, Old, Sink, create};

use crate::support::{MAX_NEW, apply, apply_in_pieces, edited, image};

/// An old image of 8 bytes.
const OLD: &[u8] = b"abcdefgh";

#[test]
fn headers_of_other_patches_are_told_apart() {
    for (patch, error) in [
        (&[0x84][..], ApplyError::BadHeader(0x84)),
        (&[0x14], ApplyError::UnsupportedPatchType(1)),
        (&[0x24], ApplyError::UnsupportedPatchType(2)),
        (&[0x01], ApplyError::UnsupportedCompression(1)),
        (&[0x06], ApplyError::UnsupportedCompression(6)),
        (&[0x04, 0x41], ApplyError::BadSize),
        (&[0x04, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], ApplyError::BadSize),
        (
            &[0x04, 0x08, 0x70],
            ApplyError::UnsupportedWindow { window_bits: MAX_WINDOW_BITS + 1, lookahead_bits: 3 },
        ),
        (&[0x00, 0x08, 0x01], ApplyError::UnsupportedDataFormat),
    ] {
        assert_eq!(apply(patch, OLD), Err(error), "{patch:02x?}");
    }
}

#[test]
fn records_stay_inside_both_images() {
    let outside = |offset| ApplyError::OutsideOld { offset, old_size: 8 };
    for (records, error) in [
        (&[9][..], outside(9)),
        (&[0x41], ApplyError::BadSize),
        (&[0, 0x41], ApplyError::BadSize),
        (&[0, 0, 9], outside(9)),
        (&[0, 0, 0x41], outside(-1)),
        (&[0, 0, 4, 5], outside(9)),
        (&[0, 13], ApplyError::PastNewEnd),
        (&[4, 0, 0, 0, 0, 9], ApplyError::PastNewEnd),
    ] {
        let patch = [&[0x00, 12, 0], records].concat();
        assert_eq!(apply(&patch, OLD), Err(error), "{records:02x?}");
    }
}

#[test]
fn a_read_may_go_to_the_last_byte_and_back() {
    // 8 old bytes, "!", back to the beginning; 3 old bytes with 1 added to the first.
    let patch = [0x00, 12, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'!', 0x48, 3, 1, 0, 0, 0, 0];
    assert_eq!(apply(&patch, OLD).as_deref(), Ok(&b"abcdefgh!bbc"[..]));
}

#[test]
fn a_new_image_larger_than_allowed_is_refused_before_anything_is_written() {
    let patch = create(OLD, &vec![7; MAX_NEW as usize + 1]);
    let error = ApplyError::NewTooLarge { size: MAX_NEW + 1, limit: MAX_NEW };
    assert_eq!(apply(&patch, OLD), Err(error));
}

#[test]
fn nothing_may_follow_a_patch() {
    for mut patch in [create(OLD, b"abcdefghi"), create(OLD, b""), vec![0x00, 1, 0, 0, 1, b'x', 0]] {
        assert!(apply(&patch, OLD).is_ok());
        patch.push(0);
        assert_eq!(apply(&patch, OLD), Err(ApplyError::TooLong), "{patch:02x?}");
    }
    // Literal 0 and 1, then a copy of 16 zeros, of which the last record takes 3.
    let patch = [0x04, 1, 0x41, 0b1000_0000, 0b0100_0000, 0b0101_1111, 0b1111_1110];
    assert_eq!(apply(&patch, OLD), Err(ApplyError::TooLong));
}

#[test]
fn an_error_is_final() {
    struct Broken;
    impl Old for Broken {
        fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), Failed> {
            Err(Failed)
        }
    }
    impl Sink for Broken {
        fn write(&mut self, _: &[u8]) -> Result<(), Failed> {
            Err(Failed)
        }
    }
    for (records, error) in [(&[1, 0][..], ApplyError::OldFailed), (&[0, 1, b'x'], ApplyError::SinkFailed)] {
        let mut applier = Applier::new(8, MAX_NEW);
        assert_eq!(applier.push(&[0x00, 1, 0], &mut Broken, &mut Broken), Ok(()));
        assert_eq!(applier.push(records, &mut Broken, &mut Broken), Err(error));
        assert_eq!(applier.push(&[0], &mut Broken, &mut Broken), Err(error));
        assert_eq!(applier.finish(), Err(error));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // The images of `support` fail the test where a patch reads outside or writes too much.
    #[test]
    fn any_bytes_are_applied_or_refused(
        header in prop_oneof![Just(vec![]), Just(vec![0x00, 0xbf, 0x7f, 0]), Just(vec![0x04, 0xbf, 0x7f, 0x65])],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        old in 0_usize..300,
    ) {
        let patch = [header, bytes].concat();
        let _ = apply(&patch, &image(1, old));
    }

    #[test]
    fn a_broken_patch_is_applied_or_refused_alike_in_any_pieces(
        seed in any::<u64>(),
        edits in proptest::collection::vec((0_usize..1000, 0_usize..50, 0_usize..50), 0..6),
        breaks in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        pieces in proptest::collection::vec(1_usize..40, 1..10),
    ) {
        let (old, new) = edited(&image(seed, 1000), &edits);
        let mut patch = create(&old, &new);
        for (place, byte) in breaks {
            let place = place.index(patch.len());
            patch[place] = byte;
        }
        prop_assert_eq!(apply(&patch, &old), apply_in_pieces(&patch, &old, &pieces));
    }
}
