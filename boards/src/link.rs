//! What a program for a board is linked and compiled with; for build scripts.

use std::fmt::{self, Write};

use crate::{Board, Firmware, Region};

/// The linker's memory map for a program whose code lies in `code`: the region FLASH, then what programs of
/// this board share, its `memory.x`.
pub fn memory_map(code: Region, shared: &str) -> String {
    let Region { origin, size_bytes } = code;
    format!("MEMORY {{ FLASH : ORIGIN = {origin:#010x}, LENGTH = {size_bytes:#x} }}\n{shared}")
}

/// The board as constants, in Rust, for a program to include.
///
/// # Errors
/// Never: writing to a string does not fail.
pub fn constants(board: &Board, firmware: &Firmware) -> Result<String, fmt::Error> {
    let (modules, slots, memory) = (&board.modules, &firmware.slots, &firmware.memory);
    let mut text = String::new();
    writeln!(text, "const SHEET: wasmbed_firmware_common::Sheet = wasmbed_firmware_common::Sheet {{")?;
    writeln!(text, "    name: {:?},", board.name.as_str())?;
    writeln!(text, "    class: wasmbed_firmware_common::Class::{:?},", board.class)?;
    writeln!(text, "    slot_bytes: {},", modules.slot_bytes)?;
    writeln!(text, "    block_bytes: {},", modules.block_bytes)?;
    writeln!(text, "    window_blocks: {},", modules.window_blocks)?;
    writeln!(text, "    desired_bytes: wasmbed_firmware_common::largest_desired_bytes({}),", modules.slots)?;
    writeln!(
        text,
        "    layout: wasmbed_firmware_common::Layout::new({:#x}, {:#x}, {:#x}, {:#x}).with_values({:#x}),",
        slots.base, slots.sector_bytes, slots.image_bytes, slots.patch_bytes, slots.values_bytes
    )?;
    writeln!(text, "}};")?;
    let unused = "#[allow(dead_code, reason = \"not every program asks\")]";
    writeln!(text, "{unused}\nconst SLOTS: usize = {};", modules.slots)?;
    for (name, Region { origin, size_bytes }) in [("PROVISION", memory.provision), ("IMAGE", memory.flash)] {
        writeln!(text, "{unused}\nconst {name}: *const [u8; {size_bytes:#x}] = {origin:#010x} as *const _;")?;
    }
    let Region { origin, size_bytes } = memory.ram;
    let end = origin + size_bytes;
    writeln!(text, "{unused}\nconst RAM: core::ops::Range<usize> = {origin:#x}..{end:#x};")?;
    Ok(text)
}
