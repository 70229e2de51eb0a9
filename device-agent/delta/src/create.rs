//! Making a patch, on the service.

use std::vec::Vec;

use crate::{
    format::{HEATSHRINK, SEQUENTIAL, write_size},
    heatshrink::encode::compress,
};

mod matches;
mod records;

/// A patch that makes `new` out of `old`, compressed for the window of [`crate::Applier`]. The same images
/// give the same patch.
///
/// Time and memory grow in proportion to the images, at worst 5 us and 30 bytes for each of their bytes.
pub fn create(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut patch = Vec::from([SEQUENTIAL << 4 | HEATSHRINK]);
    write_size(&mut patch, new.len() as i64);
    if !new.is_empty() {
        let mut stream = Vec::new();
        // No data format.
        write_size(&mut stream, 0);
        records::write(&mut stream, old, new);
        compress(&mut patch, &stream);
    }
    patch
}

/// How many bytes both begin with.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
