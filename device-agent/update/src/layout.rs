//! What lies where in a device's firmware flash.

use minicbor::{Decode, Encode};

use crate::Region;

/// Where everything is, one after the other: boot records and keyrings (two sectors each), the journal (one
/// sector), a patch, and two slots. A slot is a sector for its header and the image behind it. Where there are
/// modules' values they come last.
///
/// Host, bootloader, agent and tools compute the same layout from the same numbers of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a sector.
    pub sector_bytes: u32,
    /// Two sectors of boot records.
    pub records: u32,
    /// Two sectors of keyrings.
    pub keyrings: u32,
    /// The journal's sector.
    pub journal: u32,
    /// A patch while it is fetched and applied.
    pub patch: Region,
    /// Headers of the two slots.
    headers: [u32; 2],
    /// Largest image, in bytes; a multiple of a sector.
    pub image_bytes: u32,
    /// What modules store; empty where they cannot.
    pub values: Region,
}

/// One of the two places for a firmware image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ImageSlot {
    /// The first.
    #[n(0)]
    A,
    /// The second.
    #[n(1)]
    B,
}

impl ImageSlot {
    /// Both.
    pub const ALL: [ImageSlot; 2] = [ImageSlot::A, ImageSlot::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            ImageSlot::A => ImageSlot::B,
            ImageSlot::B => ImageSlot::A,
        }
    }
}

impl Layout {
    /// The layout from `base` on, for images and patches of these sizes at least.
    pub const fn new(base: u32, sector_bytes: u32, image_bytes: u32, patch_bytes: u32) -> Self {
        let image_bytes = image_bytes.next_multiple_of(sector_bytes);
        let patch_bytes = patch_bytes.next_multiple_of(sector_bytes);
        let patch = Region { origin: base + 5 * sector_bytes, bytes: patch_bytes };
        let first = patch.end();
        let slot_bytes = sector_bytes + image_bytes;
        Layout {
            sector_bytes,
            records: base,
            keyrings: base + 2 * sector_bytes,
            journal: base + 4 * sector_bytes,
            patch,
            headers: [first, first + slot_bytes],
            image_bytes,
            values: Region { origin: first + 2 * slot_bytes, bytes: 0 },
        }
    }

    /// The same with room for modules' values, of this size at least.
    #[must_use]
    pub const fn with_values(mut self, bytes: u32) -> Self {
        self.values.bytes = bytes.next_multiple_of(self.sector_bytes);
        self
    }

    /// The address after the last one in use.
    pub const fn end(&self) -> u32 {
        self.values.end()
    }

    /// Where a slot's header is.
    pub const fn header(&self, slot: ImageSlot) -> u32 {
        self.headers[slot as usize]
    }

    /// Where a slot's image is.
    pub const fn image(&self, slot: ImageSlot) -> Region {
        Region { origin: self.header(slot) + self.sector_bytes, bytes: self.image_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_everything_begins_with_a_sector() {
        let layout = Layout::new(0x4_0000, 0x1000, 100_000, 10_000).with_values(0x4000);
        let places = [
            (layout.records, 0x2000),
            (layout.keyrings, 0x2000),
            (layout.journal, 0x1000),
            (layout.patch.origin, layout.patch.bytes),
            (layout.header(ImageSlot::A), 0x1000),
            (layout.image(ImageSlot::A).origin, layout.image_bytes),
            (layout.header(ImageSlot::B), 0x1000),
            (layout.image(ImageSlot::B).origin, layout.image_bytes),
            (layout.values.origin, 0x4000),
        ];
        let mut at = 0x4_0000;
        for (origin, bytes) in places {
            assert_eq!(origin, at);
            assert_eq!(origin % 0x1000, 0);
            at += bytes;
        }
        assert_eq!(layout.end(), at);
        assert!(layout.image_bytes >= 100_000 && layout.patch.bytes >= 10_000);
    }
}
