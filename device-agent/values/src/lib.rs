//! Values that modules store, in some sectors of a board's flash.
//!
//! The sectors are a ring that is written in order, entry after entry. Before the newest one lies a sector that
//! holds nothing that counts; when the newest is full, that one is erased and takes what still counts of the
//! sector behind it, which thereby becomes the next that holds nothing. So all sectors wear alike, a change costs
//! one sector's work at most as long as there is room, and the order of entries never changes: of two with the
//! same key the later one counts, and a removal is an entry, too.
//!
//! Promised: a power cut between or within any two flash operations leaves the old or the new value. No sector is
//! taken for erased because it looks so. Reading finds the value of the asked key or none, never another's.
//!
//! Where a value lies is kept in memory and read from flash with the first call, and again after any failure.
//!
//! Not here: which module may call (`wasmbed-runtime`), flash drivers (firmware), Linux devices, which have files.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod budget;
mod entry;
mod ring;
mod values;

pub use budget::{BURST_BYTES, BYTES_PER_MINUTE};
pub use values::{
    MAX_KEY_BYTES, MAX_OWNER_BYTES, MAX_VALUE_BYTES, QUOTA_BYTES, QUOTA_VALUES, Refused, Values,
};
