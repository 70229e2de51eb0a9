//! The boards, as data: one folder each with `board.toml` and, where firmware is linked for it,
//! `memory.x`.
//!
//! [`Boards::embedded`] holds what was there when this crate was built, so that an installed program
//! needs no files; [`Boards::with_overrides`] puts a folder of the user's before it. A board that is
//! here has been checked: numbers in range, files and placeholders known.
//!
//! Build scripts of firmware take from here what the linker and the compiler need to know ([`memory_map`],
//! [`constants`]).
//!
//! Not here: starting anything. A host fills the files a board needs ([`DeviceFile::fill`]), makes its
//! command line ([`Run::arguments`]) and owns the process.
#![forbid(unsafe_code)]

mod board;
mod image;
mod link;
mod machine;
mod run;

pub use board::{Agent, Board, BoardError, Boards, Budget, Chip, Firmware, Memory, Modules, Region, Slots};
pub use image::{Image, ImageError};
pub use link::{constants, memory_map};
pub use machine::{Autopilot, Choice, Forward, Machine, NoAutopilot, NoForward, Protocol, Span, Unfit};
pub use run::{DeviceFile, Holds, Place, Places, Run};
