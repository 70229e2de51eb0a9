//! What the folder of firmware holds for a machine with an operating system.

use std::path::{Path, PathBuf};

use wasmbed_boards::{Board, Place};

use super::PrepareError;

/// Where kernel and initramfs of the board are, if it has any.
pub(super) fn files(board: &Board, dir: &Path) -> Result<Vec<(Place, PathBuf)>, PrepareError> {
    let files = board.system_files().map(|(place, name)| {
        let path = dir.join(name);
        match path.is_file() {
            true => Ok((place, path)),
            false => Err(PrepareError::NoMachine { board: board.name, place, path }),
        }
    });
    files.collect()
}
