//! Images to patch, and a board that patches them.

use wasmbed_delta::{Applier, ApplyError, Failed, Old, PIECE_BYTES, Sink};

/// The most a patch may make of an image here, in bytes.
pub(crate) const MAX_NEW: u32 = 1 << 20;

/// Bytes as code has them: mostly few values, with repetition, the same for the same seed.
pub(crate) fn image(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    let mut bytes = Vec::with_capacity(size + 4);
    while bytes.len() < size {
        let word = match random() % 8 {
            0 => 0,
            1 | 2 => 0x4770_b510,
            3 | 4 => random() & 0x00ff_00ff,
            _ => random(),
        };
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The image and a copy of it in which each edit, from the last to the first, replaces bytes from a place
/// on by new ones: (place, bytes removed, bytes inserted).
pub(crate) fn edited(image: &[u8], edits: &[(usize, usize, usize)]) -> (Vec<u8>, Vec<u8>) {
    let mut new = image.to_vec();
    for (nth, &(place, removed, inserted)) in edits.iter().enumerate().rev() {
        let start = place.min(new.len());
        let end = (start + removed).min(new.len());
        new.splice(start..end, self::image(1000 + nth as u64, inserted));
    }
    (image.to_vec(), new)
}

/// An image that checks that it is read where it is.
struct Image<'a>(&'a [u8]);

impl Old for Image<'_> {
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Failed> {
        assert!((1..=PIECE_BYTES).contains(&out.len()));
        let from = offset as usize;
        out.copy_from_slice(self.0.get(from..from + out.len()).expect("a read outside the old image"));
        Ok(())
    }
}

/// What was written, and the sizes of the pieces.
#[derive(Default)]
struct Written(Vec<u8>, Vec<usize>);

impl Sink for Written {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        assert!((1..=PIECE_BYTES).contains(&bytes.len()));
        self.0.extend_from_slice(bytes);
        self.1.push(bytes.len());
        assert!(self.0.len() <= MAX_NEW as usize, "more than was allowed");
        Ok(())
    }
}

/// What a patch makes of an image.
pub(crate) fn apply(patch: &[u8], old: &[u8]) -> Result<Vec<u8>, ApplyError> {
    apply_in_pieces(patch, old, &[patch.len().max(1)])
}

/// The same, with the patch coming in pieces of these sizes, over and over.
pub(crate) fn apply_in_pieces(patch: &[u8], old: &[u8], pieces: &[usize]) -> Result<Vec<u8>, ApplyError> {
    Ok(apply_traced(patch, old, pieces)?.0)
}

/// The same, with the sizes in which the new image was written.
pub(crate) fn apply_traced(
    patch: &[u8],
    old: &[u8],
    pieces: &[usize],
) -> Result<(Vec<u8>, Vec<usize>), ApplyError> {
    let mut applier = Applier::new(old.len() as u32, MAX_NEW);
    let (mut image, mut written) = (Image(old), Written::default());
    let (mut rest, mut sizes) = (patch, pieces.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        applier.push(piece, &mut image, &mut written)?;
        rest = behind;
    }
    let size = applier.finish()?;
    assert_eq!(size as usize, written.0.len());
    Ok((written.0, written.1))
}
