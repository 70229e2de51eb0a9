//! What a board is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use wasmbed_wire::{
    BoardName,
    limits::{BLOCK_BYTES, Class},
};

use crate::run::Run;

const EMBEDDED: [(&str, &str); 3] = [
    ("linux", include_str!("../linux/board.toml")),
    ("netduino2", include_str!("../netduino2/board.toml")),
    ("rv32-virt", include_str!("../rv32-virt/board.toml")),
];

/// One kind of device; the contents of a `board.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name, also that of its folder.
    pub name: BoardName,
    /// What it is, in a few words for people.
    pub title: String,
    /// The class whose limits its modules have.
    pub class: Class,
    /// Its room for modules.
    pub modules: Modules,
    /// How its firmware is built; absent where a program runs under an operating system.
    pub firmware: Option<Firmware>,
    /// How it is started.
    pub run: Run,
}

/// Room for modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// How many it can hold, 1 to 255.
    pub slots: u8,
    /// Largest payload, in bytes.
    pub slot_bytes: u32,
    /// Size of the blocks it asks for, in bytes; within [`BLOCK_BYTES`].
    pub block_bytes: u16,
    /// How many blocks it takes in at once, 1 to 32.
    pub window_blocks: u8,
}

/// A firmware binary and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// The package in the firmware workspace.
    pub package: String,
    /// Its binary.
    pub binary: String,
    /// The target it is compiled for.
    pub target: String,
    /// The board's memories.
    pub memory: Memory,
    /// What the firmware may use of them.
    pub budget: Budget,
}

/// The memories of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Where the image lies.
    pub flash: Region,
    /// Where the provisioning lies (`wasmbed_wire::provision`).
    pub provision: Region,
    /// RAM the firmware may use.
    pub ram: Region,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The first address.
    pub origin: u32,
    /// How many bytes.
    pub size_bytes: u32,
}

/// What a firmware may use; exceeding it fails the build's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The image, in bytes.
    pub flash_bytes: u32,
    /// Static memory, heap and stacks at their peak with one module running, in bytes.
    pub ram_bytes: u32,
}

/// A board cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what is expected.
    #[error("{file} is not a board: {message}")]
    Invalid {
        /// Which file.
        file: String,
        /// What is wrong and what is expected.
        message: String,
    },
}

/// All boards by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boards(BTreeMap<BoardName, Board>);

impl Boards {
    /// The boards this crate was built with.
    ///
    /// # Errors
    /// Never for a released crate: a test reads every board.
    pub fn embedded() -> Result<Self, BoardError> {
        let mut boards = BTreeMap::new();
        for (folder, text) in EMBEDDED {
            let board = Board::parse(folder, text, &format!("boards/{folder}/board.toml"))?;
            boards.insert(board.name, board);
        }
        Ok(Boards(boards))
    }

    /// The embedded boards, with those of `dir` (`<name>/board.toml` each) added or in their place.
    ///
    /// # Errors
    /// If the folder or one of its boards cannot be read.
    pub fn with_overrides(dir: &Path) -> Result<Self, BoardError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| BoardError::Read { path, source }
        };
        let mut boards = Boards::embedded()?;
        for entry in fs::read_dir(dir).map_err(unreadable(dir))? {
            let entry = entry.map_err(unreadable(dir))?;
            let path = entry.path().join("board.toml");
            if !path.exists() {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            let folder = entry.file_name().to_string_lossy().into_owned();
            let board = Board::parse(&folder, &text, &path.display().to_string())?;
            boards.0.insert(board.name, board);
        }
        Ok(boards)
    }

    /// The board of this name.
    pub fn get(&self, name: &BoardName) -> Option<&Board> {
        self.0.get(name)
    }

    /// Every board, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Board> {
        self.0.values()
    }
}

impl Board {
    fn parse(folder: &str, text: &str, file: &str) -> Result<Self, BoardError> {
        let invalid = |message: String| BoardError::Invalid { file: file.to_owned(), message };
        let board: Board = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        board.check(folder).map_err(invalid)?;
        Ok(board)
    }

    fn check(&self, folder: &str) -> Result<(), String> {
        if self.name.as_str() != folder {
            return Err(format!("its name is {}, that of its folder {folder}; use one name", self.name));
        }
        self.modules.check()?;
        if let Some(firmware) = &self.firmware {
            firmware.memory.check()?;
        }
        self.run.check()
    }
}

impl Modules {
    fn check(&self) -> Result<(), String> {
        if self.slots == 0 {
            return Err("modules.slots is 0; a board holds at least one module".into());
        }
        if !BLOCK_BYTES.contains(&self.block_bytes.into()) {
            let (least, most) = BLOCK_BYTES.into_inner();
            return Err(format!("modules.block_bytes is {}; use {least} to {most}", self.block_bytes));
        }
        if !(1..=32).contains(&self.window_blocks) {
            return Err(format!("modules.window_blocks is {}; use 1 to 32", self.window_blocks));
        }
        Ok(())
    }
}

impl Memory {
    fn check(&self) -> Result<(), String> {
        let regions = [("flash", self.flash), ("provision", self.provision), ("ram", self.ram)];
        for (index, (name, region)) in regions.iter().enumerate() {
            if region.size_bytes == 0 || region.origin.checked_add(region.size_bytes - 1).is_none() {
                return Err(format!("memory.{name} is empty or ends beyond 4 GiB"));
            }
            if let Some((other, _)) = regions[..index].iter().find(|(_, other)| other.overlaps(region)) {
                return Err(format!("memory.{name} and memory.{other} overlap"));
            }
        }
        Ok(())
    }
}

impl Region {
    /// Whether the address lies inside.
    pub const fn contains(&self, address: u32) -> bool {
        address >= self.origin && address - self.origin < self.size_bytes
    }

    const fn overlaps(&self, other: &Region) -> bool {
        self.contains(other.origin) || other.contains(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netduino2_with(from: &str, to: &str) -> Result<Board, String> {
        let text = EMBEDDED[1].1.replace(from, to);
        assert_ne!(text, EMBEDDED[1].1, "nothing was replaced");
        Board::parse("netduino2", &text, "test").map_err(|error| error.to_string())
    }

    #[test]
    fn every_board_of_the_repository_is_embedded_and_valid() {
        let boards = Boards::embedded().expect("valid boards");
        let folders = fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("this crate");
        let folders = folders.filter_map(|entry| Some(entry.ok()?.path().join("board.toml")));
        assert_eq!(boards.iter().count(), folders.filter(|path| path.exists()).count());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("slots = 2", "slots = 0", "modules.slots is 0"),
            ("block_bytes = 1024", "block_bytes = 128", "modules.block_bytes is 128; use 256 to 16384"),
            ("slots = 2", "slotz = 2", "unknown field `slotz`"),
            ("origin = 0x080f_f000", "origin = 0x080f_e000", "memory.provision and memory.flash overlap"),
            ("{provision}", "{provisions}", "{provisions}"),
            ("name = \"netduino2\"", "name = \"netduino3\"", "its name is netduino3"),
        ];
        for (from, to, expected) in cases {
            let message = netduino2_with(from, to).expect_err(to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_folder_of_the_users_adds_and_replaces_boards() {
        let dir = tempfile::tempdir().expect("a folder");
        let add = |name: &str, text: &str| {
            fs::create_dir(dir.path().join(name)).expect("a folder");
            fs::write(dir.path().join(name).join("board.toml"), text).expect("a file");
        };
        add("linux", &EMBEDDED[0].1.replace("slots = 16", "slots = 3"));
        add("mine", &EMBEDDED[0].1.replace("\"linux\"", "\"mine\""));
        let boards = Boards::with_overrides(dir.path()).expect("boards");
        let slots = |name: &str| boards.get(&name.parse().expect("a name")).map(|board| board.modules.slots);
        assert_eq!((slots("linux"), slots("mine"), slots("netduino2")), (Some(3), Some(16), Some(2)));
    }
}
