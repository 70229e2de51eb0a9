//! What a board is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wasmbed_update::Layout;
use wasmbed_wire::{
    BoardName,
    limits::{BLOCK_BYTES, Class},
    provision,
};

use crate::run::{Holds, Place, Run};

/// Sectors of NOR flash; a header fits into the smallest.
const SECTOR_BYTES: std::ops::RangeInclusive<u32> = 0x1000..=0x10_0000;
/// Fewest sectors for values: one is written, one is empty, one holds what is older.
const LEAST_VALUE_SECTORS: u32 = 3;
/// Largest of the sizes in [`Slots`].
const MOST_BYTES: u32 = 0x1000_0000;

const EMBEDDED: [(&str, &str); 7] = [
    ("hifive1", include_str!("../hifive1/board.toml")),
    ("linux", include_str!("../linux/board.toml")),
    ("linux-x86-64", include_str!("../linux-x86-64/board.toml")),
    ("lx60", include_str!("../lx60/board.toml")),
    ("mps2-an385", include_str!("../mps2-an385/board.toml")),
    ("netduino2", include_str!("../netduino2/board.toml")),
    ("rv32-virt", include_str!("../rv32-virt/board.toml")),
];

/// One kind of device; the contents of a `board.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// What modules may use of a machine that runs the agent for Linux.
    #[serde(default)]
    pub agent: Agent,
}

/// Pins and buses of a machine, as the agent's configuration names them; the agent judges what is in them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Lines of GPIO chips.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpio: Vec<toml::Table>,
    /// I2C buses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub i2c: Vec<toml::Table>,
    /// Chips on SPI buses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spi: Vec<toml::Table>,
}

/// Room for modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// How many it can hold; 0 where there is no memory for any, and the firmware has no runtime.
    pub slots: u8,
    /// Largest payload, in bytes; 0 if there are no slots.
    pub slot_bytes: u32,
    /// Size of the blocks it asks for, in bytes; within [`BLOCK_BYTES`].
    pub block_bytes: u16,
    /// How many blocks it takes in at once, 1 to 32.
    pub window_blocks: u8,
}

/// The firmware and its bootloader, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// The package in the firmware workspace.
    pub package: String,
    /// Its binary.
    pub binary: String,
    /// The package of the bootloader, in the same workspace.
    pub boot_package: String,
    /// Its binary.
    pub boot: String,
    /// The target both are compiled for; [`Firmware::XTENSA`] is none of the compiler's.
    pub target: String,
    /// The board's memories.
    pub memory: Memory,
    /// What the firmware may use of them.
    pub budget: Budget,
    /// The flash that holds what can be started.
    pub slots: Slots,
}

/// The memories of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Where the bootloader lies.
    pub boot: Region,
    /// Where the image runs; a part of RAM on a board that copies it there.
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

/// The flash from which images are started; its two slots take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Where in this flash the slots and what belongs to them begin.
    pub base: u32,
    /// Bytes erased together.
    pub sector_bytes: u32,
    /// Largest image, in bytes; whole sectors.
    pub image_bytes: u32,
    /// Largest patch, in bytes; whole sectors.
    pub patch_bytes: u32,
    /// Room for what modules store, in bytes; whole sectors, at least three. 0 if they cannot.
    #[serde(default)]
    pub values_bytes: u32,
    /// What the flash is.
    pub chip: Chip,
}

/// A flash that holds slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chip {
    /// A chip on a serial line (`wasmbed_wire::nor`), at [`Place::Nor`]; the host is the chip, and the
    /// processor sees a part of it at [`Memory::flash`], from the file that [`Holds::Window`].
    Serial,
    /// A flash bank, or memory that lasts, of the emulator; its file [`Holds::Provision`] at the beginning and is kept.
    Bank,
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
#[derive(Debug, Clone, PartialEq)]
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
    /// What a machine with an operating system is started from: files among the firmware, by place.
    pub fn system_files(&self) -> impl Iterator<Item = (Place, String)> {
        let files = [(Place::Kernel, "vmlinuz"), (Place::Initramfs, "initramfs")];
        let used = files.into_iter().filter(|(place, _)| self.run.uses(*place));
        used.map(|(place, extension)| (place, format!("{}.{extension}", self.name)))
    }

    fn parse(folder: &str, text: &str, file: &str) -> Result<Self, BoardError> {
        let invalid = |message: String| BoardError::Invalid { file: file.to_owned(), message };
        let board: Board = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        board.check(folder).map_err(invalid)?;
        Ok(board)
    }

    /// Whether it has room for modules, and its firmware a runtime.
    pub const fn runs_modules(&self) -> bool {
        self.modules.slots > 0
    }

    fn check(&self, folder: &str) -> Result<(), String> {
        if self.name.as_str() != folder {
            return Err(format!("its name is {}, that of its folder {folder}; use one name", self.name));
        }
        self.modules.check()?;
        self.run.check()?;
        match &self.firmware {
            Some(firmware) => firmware.check(&self.run),
            None => Ok(()),
        }
    }
}

impl Firmware {
    /// The target of Xtensa boards: `cargo xtask fw` describes it to the compiler, assembles and links.
    pub const XTENSA: &str = "xtensa-none-elf";

    /// Whether Cargo alone builds it.
    pub fn is_for_cargo(&self) -> bool {
        self.target != Firmware::XTENSA
    }

    fn check(&self, run: &Run) -> Result<(), String> {
        self.memory.check()?;
        self.slots.check()?;
        let Slots { base, image_bytes, chip, .. } = self.slots;
        let Memory { flash, provision, .. } = self.memory;
        if image_bytes > flash.size_bytes {
            return Err(format!(
                "slots.image_bytes is {image_bytes:#x}, but images run in memory.flash, which has {:#x}",
                flash.size_bytes
            ));
        }
        if run.files().iter().all(|file| file.holds != Holds::Boot) {
            return Err("no run.files holds the bootloader; add one with holds = \"boot\"".into());
        }
        match chip {
            Chip::Serial => {
                if !run.uses(Place::Nor) || !run.uses(Place::Window) {
                    return Err("slots.chip is \"serial\"; use {nor} and {window} in run.arguments".into());
                }
            }
            Chip::Bank => {
                if base < provision.size_bytes {
                    return Err(format!(
                        "slots.base is {base:#x}, within memory.provision, which begins the same bank and has {:#x}",
                        provision.size_bytes
                    ));
                }
                let end = u64::from(self.slots.layout().end());
                let holds_slots = run.files().iter().any(|file| {
                    file.holds == Holds::Provision
                        && file.keep
                        && file.size_bytes.is_some_and(|size| size >= end)
                });
                if !holds_slots {
                    return Err(format!(
                        "slots.chip is \"bank\"; the run.files that holds the provisioning needs keep = true and \
                         size_bytes of {end:#x} at least"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Slots {
    /// What lies where.
    pub const fn layout(&self) -> Layout {
        Layout::new(self.base, self.sector_bytes, self.image_bytes, self.patch_bytes)
            .with_values(self.values_bytes)
    }

    fn check(&self) -> Result<(), String> {
        let sector = self.sector_bytes;
        if !sector.is_power_of_two() || !SECTOR_BYTES.contains(&sector) {
            let (least, most) = SECTOR_BYTES.into_inner();
            return Err(format!(
                "slots.sector_bytes is {sector:#x}; use a power of two from {least:#x} to {most:#x}"
            ));
        }
        let sizes = [
            ("base", self.base),
            ("image_bytes", self.image_bytes),
            ("patch_bytes", self.patch_bytes),
            ("values_bytes", self.values_bytes),
        ];
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| !size.is_multiple_of(sector)) {
            return Err(format!("slots.{name} is {size:#x}; use a multiple of sector_bytes, {sector:#x}"));
        }
        if self.image_bytes == 0 {
            return Err("slots.image_bytes is 0; a slot holds an image".into());
        }
        if (1..LEAST_VALUE_SECTORS).contains(&(self.values_bytes / sector)) {
            return Err(format!(
                "slots.values_bytes is {:#x}; use 0 or at least {LEAST_VALUE_SECTORS} sectors of {sector:#x}",
                self.values_bytes
            ));
        }
        // A bound far above any board's keeps every address of the layout below 4 GiB.
        if sizes.into_iter().any(|(_, size)| size > MOST_BYTES) {
            return Err(format!("slots has a size above {MOST_BYTES:#x}; no flash of a board is that large"));
        }
        Ok(())
    }
}

impl Modules {
    fn check(&self) -> Result<(), String> {
        if (self.slots == 0) != (self.slot_bytes == 0) {
            return Err(format!(
                "modules.slots is {} and modules.slot_bytes {}; a board without modules has 0 for both",
                self.slots, self.slot_bytes
            ));
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
    /// Where a program lies that runs alone from the reset on: in the bootloader's place, and in the image's as
    /// well where that follows it.
    pub const fn alone(&self) -> Region {
        let Region { origin, size_bytes } = self.boot;
        let adjoins = self.flash.origin.wrapping_sub(origin) == size_bytes;
        Region { origin, size_bytes: if adjoins { size_bytes + self.flash.size_bytes } else { size_bytes } }
    }

    fn check(&self) -> Result<(), String> {
        let regions =
            [("boot", self.boot), ("flash", self.flash), ("provision", self.provision), ("ram", self.ram)];
        for (index, (name, region)) in regions.iter().enumerate() {
            if region.size_bytes == 0 || region.origin.checked_add(region.size_bytes - 1).is_none() {
                return Err(format!("memory.{name} is empty or ends beyond 4 GiB"));
            }
            if let Some((other, _)) = regions[..index].iter().find(|(_, other)| other.overlaps(region)) {
                return Err(format!("memory.{name} and memory.{other} overlap"));
            }
        }
        let (found, least) = (self.provision.size_bytes, provision::MAX_BYTES);
        if (found as usize) < least {
            return Err(format!("memory.provision has {found:#x} bytes; a blob may need {least:#x}"));
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

    /// What a board's file holds.
    fn text_of(name: &str) -> &'static str {
        let found = EMBEDDED.iter().find(|(of, _)| *of == name);
        found.map_or("", |(_, text)| text)
    }

    fn netduino2_with(from: &str, to: &str) -> Result<Board, String> {
        let text = text_of("netduino2").replace(from, to);
        assert_ne!(text, text_of("netduino2"), "nothing was replaced");
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
            ("slots = 2", "slots = 0", "modules.slots is 0 and modules.slot_bytes 32768"),
            ("block_bytes = 1024", "block_bytes = 128", "modules.block_bytes is 128; use 256 to 16384"),
            ("slots = 2", "slotz = 2", "unknown field `slotz`"),
            ("[modules]", "[[agent.uart]]\npin = 1\n[modules]", "unknown field `uart`"),
            ("origin = 0x080f_f000", "origin = 0x080d_f000", "memory.provision and memory.flash overlap"),
            ("origin = 0x0802_0000", "origin = 0x0801_f000", "memory.flash and memory.boot overlap"),
            (
                "0x080f_f000, size_bytes = 0x1000",
                "0x080f_f000, size_bytes = 0x800",
                "memory.provision has 0x800 bytes; a blob may need 0x1000",
            ),
            ("sector_bytes = 0x1000", "sector_bytes = 0x800", "slots.sector_bytes is 0x800"),
            ("image_bytes = 0xc_0000", "image_bytes = 0xc_1000", "slots.image_bytes is 0xc1000, but"),
            (
                "image_bytes = 0xc_0000",
                "image_bytes = 0xb_0001",
                "slots.image_bytes is 0xb0001; use a multiple",
            ),
            ("patch_bytes = 0x2_0000", "patch_bytes = 0x4000_0000", "slots has a size above"),
            ("values_bytes = 0x8000", "values_bytes = 0x2000", "use 0 or at least 3 sectors of 0x1000"),
            ("path={nor}", "path={link}", "use {nor} and {window}"),
            ("chip = \"serial\"", "chip = \"bank\"", "within memory.provision"),
            ("holds = \"boot\"", "holds = \"window\"", "no run.files holds it"),
            ("{provision}", "{provisions}", "{provisions}"),
            ("name = \"netduino2\"", "name = \"netduino3\"", "its name is netduino3"),
        ];
        for (from, to, expected) in cases {
            let message = netduino2_with(from, to).expect_err(to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn slots_of_a_bank_lie_in_a_file_that_is_kept() {
        let parse = |from: &str, to: &str| {
            let text = text_of("rv32-virt").replace(from, to);
            assert_ne!(text, text_of("rv32-virt"), "nothing was replaced");
            Board::parse("rv32-virt", &text, "test").map_err(|error| error.to_string())
        };
        for (from, to) in [("keep = true", "keep = false"), ("base = 0x4_0000", "base = 0x200_0000")] {
            let message = parse(from, to).expect_err(to);
            assert!(message.contains("needs keep = true and size_bytes"), "{message}");
        }
    }

    #[test]
    fn slots_and_what_belongs_to_them_lie_in_their_flash() {
        let boards = Boards::embedded().expect("valid boards");
        let layout = |name: &str| {
            let board = boards.get(&name.parse().expect("a name")).expect("a board");
            board.firmware.as_ref().expect("firmware").slots.layout()
        };
        assert_eq!((layout("netduino2").records, layout("netduino2").end()), (0, 0x1a_f000));
        assert_eq!((layout("rv32-virt").records, layout("rv32-virt").end()), (0x4_0000, 0x58_0000));
        assert_eq!((layout("lx60").records, layout("lx60").end()), (0x1_0000, 0x38_0000));
    }

    #[test]
    fn a_folder_of_the_users_adds_and_replaces_boards() {
        let dir = tempfile::tempdir().expect("a folder");
        let add = |name: &str, text: &str| {
            fs::create_dir(dir.path().join(name)).expect("a folder");
            fs::write(dir.path().join(name).join("board.toml"), text).expect("a file");
        };
        add("linux", &text_of("linux").replace("slots = 16", "slots = 3"));
        add("mine", &text_of("linux").replace("\"linux\"", "\"mine\""));
        let boards = Boards::with_overrides(dir.path()).expect("boards");
        let slots = |name: &str| boards.get(&name.parse().expect("a name")).map(|board| board.modules.slots);
        assert_eq!((slots("linux"), slots("mine"), slots("netduino2")), (Some(3), Some(16), Some(2)));
    }
}
