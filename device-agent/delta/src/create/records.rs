//! Which part of the new image is which part of the old one, changed in places.

use std::vec::Vec;

use super::matches::longest_matches;
use crate::format::write_size;

/// A match must explain this many bytes more than the alignment in force before it is worth a record.
const WORTH_A_RECORD: usize = 8;

/// A place of the new image and the place of the old image it is aligned with, both growing together until
/// the next alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alignment {
    new: usize,
    old: usize,
}

/// Appends the records that make `new`, which is not empty, out of `old`.
pub(super) fn write(stream: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let mut current = Alignment { new: 0, old: 0 };
    for next in alignments(old, new) {
        current = write_record(stream, old, new, current, Some(next));
    }
    write_record(stream, old, new, current, None);
}

/// Where the alignment changes, in the order of the new image. Before the first one, both images are
/// aligned at their beginnings.
fn alignments(old: &[u8], new: &[u8]) -> Vec<Alignment> {
    let matches = longest_matches(old, new);
    let mut found = Vec::new();
    let mut current = Alignment { new: 0, old: 0 };
    // How many bytes of `place..counted` the current alignment predicts.
    let (mut place, mut counted, mut predicted) = (0, 0, 0);
    while let Some(best) = matches.get(place) {
        let predicts = |at: usize| old.get(at - current.new + current.old) == Some(&new[at]);
        let end = place + best.len;
        while counted < end {
            predicted += usize::from(predicts(counted));
            counted += 1;
        }
        if best.len > predicted + WORTH_A_RECORD {
            current = Alignment { new: place, old: best.old };
            found.push(current);
        } else if best.len == 0 || best.len != predicted {
            if place < counted {
                predicted -= usize::from(predicts(place));
            }
            place += 1;
            counted = counted.max(place);
            continue;
        }
        (place, counted, predicted) = (end, end, 0);
    }
    found
}

/// Appends the record from `current` to `next`, or to the end of the image, and returns where the next
/// record begins.
fn write_record(
    stream: &mut Vec<u8>,
    old: &[u8],
    new: &[u8],
    current: Alignment,
    next: Option<Alignment>,
) -> Alignment {
    let stop = next.map_or(new.len(), |next| next.new);
    let (gap, tail) = (&new[current.new..stop], &old[current.old..]);
    let mut diff = worthwhile(gap.iter().zip(tail));
    let mut back = next.map_or(0, |next| worthwhile(gap.iter().rev().zip(old[..next.old].iter().rev())));
    if let (Some(next), Some(overlap)) = (next, (diff + back).checked_sub(gap.len())) {
        // Both alignments claim these bytes: the border goes where most of them are right.
        let start = diff - overlap;
        let behind = &old[next.old - back..];
        let ahead = best_split(&gap[start..diff], &tail[start..], behind);
        diff = start + ahead;
        back -= ahead;
    }
    let start = Alignment { new: stop - back, old: next.map_or(current.old + diff, |next| next.old - back) };
    write_size(stream, diff as i64);
    stream.extend(gap[..diff].iter().zip(tail).map(|(new, old)| new.wrapping_sub(*old)));
    let extra = &gap[diff..gap.len() - back];
    write_size(stream, extra.len() as i64);
    stream.extend_from_slice(extra);
    write_size(stream, start.old as i64 - (current.old + diff) as i64);
    start
}

/// How far an alignment is worth following: to where the bytes it predicts outnumber the others most.
fn worthwhile<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best, mut len) = (0_i64, 0, 0);
    for (at, (new, old)) in pairs.enumerate() {
        score += if new == old { 1 } else { -1 };
        if score > best {
            (best, len) = (score, at + 1);
        }
    }
    len
}

/// How many of the contested bytes the first alignment gets.
fn best_split(contested: &[u8], first: &[u8], second: &[u8]) -> usize {
    let (mut score, mut best, mut split) = (0_i64, 0, 0);
    for (at, ((new, first), second)) in contested.iter().zip(first).zip(second).enumerate() {
        score += i64::from(new == first) - i64::from(new == second);
        if score > best {
            (best, split) = (score, at + 1);
        }
    }
    split
}
