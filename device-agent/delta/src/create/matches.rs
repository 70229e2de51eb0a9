//! Where the old image resembles the new one, for every place of it.

use std::{vec, vec::Vec};

use super::common_prefix;

/// Bytes of the old image that are also at some place of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Match {
    /// Where they begin in the old image.
    pub(crate) old: usize,
    /// How many there are; 0 if no byte is the same.
    pub(crate) len: usize,
}

/// The longest match for every byte of the new image to begin at.
///
/// Both images are sorted as one text. The best match of a suffix of the new image is then one of the two
/// suffixes of the old image that are next to it, so that all of them are found in linear time, however
/// repetitive the images are.
pub(crate) fn longest_matches(old: &[u8], new: &[u8]) -> Vec<Match> {
    let mut found = vec![Match::default(); new.len()];
    let text = [old, new].concat();
    // The sorter counts in `i32`; images that large have nothing in common as far as we know.
    if old.is_empty() || i32::try_from(text.len()).is_err() {
        return found;
    }
    let (_, sorted) = divsufsort::sort(&text).into_parts();
    let shared = shared_with_previous(&text, &sorted);

    let mut near = Match::default();
    let mut visit = |suffix: usize, near: &mut Match| {
        if let Some(place) = suffix.checked_sub(old.len()) {
            if near.len > found[place].len {
                found[place] = *near;
            }
        } else if old.len() - suffix >= near.len {
            // Text behind the end of the old image is no match, hence a suffix can be too short.
            *near = Match { old: suffix, len: old.len() - suffix };
        }
    };
    for (&suffix, &shared) in sorted.iter().zip(&shared) {
        near.len = near.len.min(shared as usize);
        visit(suffix as usize, &mut near);
    }
    near.len = 0;
    for (&suffix, &shared) in sorted.iter().zip(&shared).rev() {
        visit(suffix as usize, &mut near);
        near.len = near.len.min(shared as usize);
    }
    found
}

/// How many bytes each sorted suffix has in common with the one before it (Kasai et al. 2001).
fn shared_with_previous(text: &[u8], sorted: &[i32]) -> Vec<u32> {
    let mut rank = vec![0_u32; text.len()];
    for (place, &suffix) in sorted.iter().enumerate() {
        rank[suffix as usize] = place as u32;
    }
    let mut shared = vec![0_u32; text.len()];
    let mut len = 0;
    for (suffix, &place) in rank.iter().enumerate() {
        let Some(before) = (place as usize).checked_sub(1) else {
            len = 0;
            continue;
        };
        let previous = sorted[before] as usize;
        len += common_prefix(&text[suffix + len..], &text[previous + len..]);
        shared[place as usize] = len as u32;
        len = len.saturating_sub(1);
    }
    shared
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_longer_match_exists(
            old in proptest::collection::vec(0_u8..3, 0..60),
            new in proptest::collection::vec(0_u8..3, 0..60),
        ) {
            let found = longest_matches(&old, &new);
            prop_assert_eq!(found.len(), new.len());
            for (place, found) in found.iter().enumerate() {
                let longest = (0..old.len()).map(|at| common_prefix(&old[at..], &new[place..])).max();
                prop_assert_eq!(found.len, longest.unwrap_or(0));
                prop_assert_eq!(&old[found.old..][..found.len], &new[place..][..found.len]);
            }
        }
    }
}
