//! What all devices of a swarm have in common.

use anyhow::{Context, Result};
use bytes::Bytes;
use wasmbed_boards::Board;
use wasmbed_update::{ImageSlot, Layout, model::Nor};
use wasmbed_wire::{BoardName, limits::Class};

use crate::platform::failed;

/// The board a simulated device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub board: BoardName,
    /// The class of its limits.
    pub class: Class,
    /// What lies where in its firmware flash.
    pub layout: Layout,
    /// Largest block it accepts, in bytes.
    pub block_bytes: u16,
    /// How many blocks it takes in at once, 1 to 32.
    pub window_blocks: u8,
}

impl Kind {
    /// A board as its `board.toml` describes it.
    ///
    /// # Errors
    /// If the board has no firmware slots.
    pub fn of(board: &Board) -> Result<Self> {
        let firmware = board.firmware.as_ref().with_context(|| format!("{} has no slots", board.name))?;
        Ok(Self::with_layout(board, firmware.slots.layout()))
    }

    /// A board with this layout instead of its own.
    pub fn with_layout(board: &Board, layout: Layout) -> Self {
        let modules = board.modules;
        Kind {
            board: board.name,
            class: board.class,
            layout,
            block_bytes: modules.block_bytes,
            window_blocks: modules.window_blocks,
        }
    }

    /// The flash of a device that has just been made.
    pub(crate) fn flash(&self, factory: &Factory) -> Result<Nor> {
        let layout = &self.layout;
        let mut flash = Nor::new(layout.end(), layout.sector_bytes);
        let image = layout.image(ImageSlot::A);
        anyhow::ensure!(factory.image.len() <= image.bytes as usize, "the factory image is too large");
        wasmbed_update::Flash::program(&mut flash, image.origin, &factory.image).map_err(failed)?;
        wasmbed_update::write_header(&mut flash, layout, ImageSlot::A, &factory.manifest).map_err(failed)?;
        Ok(flash)
    }
}

/// What a device is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factory {
    /// The signed manifest of the image.
    pub manifest: Bytes,
    /// The image.
    pub image: Bytes,
}
