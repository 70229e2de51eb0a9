//! Firmware flash in a file: the slots of a Linux device, with the rules of a NOR chip.
//!
//! Bytes are kept inverted, so that what was never written, a hole in the file and what lies behind its
//! end all read as erased; erasing an image makes a hole and takes no time.
//!
//! What says that something else is there (boot records, keyrings, the journal, headers) is written only
//! after that something is durable, and is durable itself before anything follows. The journal is the
//! exception: it is written a few blocks late, because making each durable alone would be slower than the
//! network, and what it does not know is only fetched again. All these sectors keep their disk space for
//! ever, so that decisions can be written on a full disk.
//!
//! Not here: what lies where (`wasmbed_update::Layout`), and who may write (the lock of the data folder).

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    libc::off_t,
};
use wasmbed_core::{Fault, Flash, Layout};
use wasmbed_update::{ImageSlot, Region};

use crate::files;

/// What lies where, for every Linux device; an update cannot change it.
pub(crate) const LAYOUT: Layout = Layout::new(0, SECTOR_BYTES, IMAGE_BYTES, PATCH_BYTES);

const SECTOR_BYTES: u32 = 64 << 10;
/// Largest agent, in bytes.
const IMAGE_BYTES: u32 = 64 << 20;
const PATCH_BYTES: u32 = 16 << 20;
/// The journal may be this many blocks late.
const LATE_BLOCKS: u32 = 8;

static BLANK: [u8; SECTOR_BYTES as usize] = [0; SECTOR_BYTES as usize];

pub(crate) struct FileFlash {
    file: File,
    /// Whether something may not be durable yet.
    is_dirty: bool,
    /// Bytes of the journal that are not in the file yet, inverted, by their address.
    late: BTreeMap<u32, u8>,
    late_blocks: u32,
}

/// What a range of addresses holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// An image or a patch.
    Payload,
    Journal,
    /// Boot records, keyrings and headers.
    Record,
}

impl Zone {
    fn of(address: u32, len: u32) -> Self {
        let end = address.saturating_add(len);
        let lies_in = |region: Region| region.origin <= address && end <= region.end();
        let journal = Region { origin: LAYOUT.journal, bytes: SECTOR_BYTES };
        let [a, b] = ImageSlot::ALL.map(|slot| LAYOUT.image(slot));
        match () {
            () if [LAYOUT.patch, a, b].into_iter().any(lies_in) => Zone::Payload,
            () if lies_in(journal) => Zone::Journal,
            () => Zone::Record,
        }
    }
}

impl FileFlash {
    /// The flash in this data folder; an erased one if there was none.
    ///
    /// # Errors
    /// If the file cannot be made or opened.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = path(data_dir);
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if is_new {
            reserve(&file);
            file.sync_all()?;
            files::sync_dir_of(&path)?;
        }
        Ok(FileFlash::new(file))
    }

    /// The flash in this data folder, to be read only; `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn inspect(data_dir: &Path) -> io::Result<Option<Self>> {
        match File::open(path(data_dir)) {
            Ok(file) => Ok(Some(FileFlash::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(file: File) -> Self {
        FileFlash { file, is_dirty: false, late: BTreeMap::new(), late_blocks: 0 }
    }

    fn try_read(&self, address: u32, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, u64::from(address) + filled as u64) {
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        for (at, byte) in self.late.range(address..address.saturating_add(len(out))) {
            if let Some(place) = out.get_mut((at - address) as usize) {
                *place = *byte;
            }
        }
        out.iter_mut().for_each(|byte| *byte = !*byte);
        Ok(())
    }

    fn try_program(&mut self, address: u32, inverted: &[u8]) -> io::Result<()> {
        match Zone::of(address, len(inverted)) {
            Zone::Payload => self.write(address, inverted),
            Zone::Journal => {
                self.late.extend((address..).zip(inverted.iter().copied()));
                self.late_blocks += 1;
                if self.late_blocks < LATE_BLOCKS { Ok(()) } else { self.write_late() }
            }
            Zone::Record => {
                self.write_late()?;
                self.sync()?;
                self.write(address, inverted)?;
                self.sync()
            }
        }
    }

    fn try_erase(&mut self, address: u32) -> io::Result<()> {
        match Zone::of(address, SECTOR_BYTES) {
            Zone::Payload => return self.make_hole(address),
            Zone::Journal => {
                self.late.clear();
                self.late_blocks = 0;
            }
            Zone::Record => {
                self.write_late()?;
                self.sync()?;
            }
        }
        self.blank(address)?;
        self.sync()
    }

    fn make_hole(&mut self, address: u32) -> io::Result<()> {
        self.is_dirty = true;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.file, flags, address as off_t, SECTOR_BYTES as off_t) {
            // Not every file system has holes.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.blank(address),
            made => made.map_err(io::Error::from),
        }
    }

    fn blank(&mut self, address: u32) -> io::Result<()> {
        // Behind the end of the file everything is erased.
        let there = self.file.metadata()?.len().saturating_sub(address.into());
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(BLANK.len());
        self.write(address, BLANK.get(..there).unwrap_or_default())
    }

    fn write(&mut self, address: u32, inverted: &[u8]) -> io::Result<()> {
        self.is_dirty = true;
        self.file.write_all_at(inverted, address.into())
    }

    /// Writes what the journal says, once that is true for good.
    fn write_late(&mut self) -> io::Result<()> {
        if self.late.is_empty() {
            return Ok(());
        }
        self.sync()?;
        for (address, byte) in &self.late {
            self.is_dirty = true;
            self.file.write_all_at(&[*byte], u64::from(*address))?;
        }
        self.late.clear();
        self.late_blocks = 0;
        Ok(())
    }

    /// Makes everything durable that was written so far.
    fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

impl Drop for FileFlash {
    fn drop(&mut self) {
        // What is lost here is fetched again.
        let _ = self.write_late();
    }
}

impl Flash for FileFlash {
    fn sector_bytes(&self) -> u32 {
        SECTOR_BYTES
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        check(address, out.len())?;
        self.try_read(address, out).map_err(log("read"))
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        check(address, bytes.len())?;
        let mut now = vec![0; bytes.len()];
        self.try_read(address, &mut now).map_err(log("read"))?;
        if now.iter().zip(bytes).any(|(now, new)| now & new != *new) {
            return Err(Fault::NotErased);
        }
        // A block that came again is there already.
        if now == bytes {
            return Ok(());
        }
        now.iter_mut().zip(bytes).for_each(|(now, new)| *now = !new);
        self.try_program(address, &now).map_err(log("written"))
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        if !address.is_multiple_of(SECTOR_BYTES) {
            return Err(Fault::Misaligned);
        }
        check(address, BLANK.len())?;
        self.try_erase(address).map_err(log("erased"))
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("flash.bin")
}

/// Gives everything but images and patches its disk space. Best effort: not every file system can.
fn reserve(file: &File) {
    let [a, b] = ImageSlot::ALL.map(|slot| (LAYOUT.header(slot), SECTOR_BYTES));
    for (origin, bytes) in [(0, LAYOUT.patch.origin), a, b] {
        let _ = fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, origin as off_t, bytes as off_t);
    }
}

fn check(address: u32, bytes: usize) -> Result<(), Fault> {
    let end = u64::from(address) + bytes as u64;
    if end > u64::from(LAYOUT.end()) { Err(Fault::OutOfRange) } else { Ok(()) }
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn log(what: &str) -> impl FnOnce(io::Error) -> Fault {
    move |error| {
        tracing::error!("the firmware flash cannot be {what}: {error}");
        Fault::Failed
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use wasmbed_update::model::Nor;

    use super::*;

    /// As the generator of seeds in `wasmbed_update::model`: splitmix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u32) -> u32 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ mixed >> 31) % u64::from(end)) as u32
        }
    }

    #[test]
    fn it_does_what_the_model_does_and_still_has_it_when_opened_again() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut flash = FileFlash::open(dir.path())?;
        let mut model = Nor::new(LAYOUT.end(), SECTOR_BYTES);
        let mut random = Random(3);
        // Around the borders of everything that is treated differently.
        let places = [
            LAYOUT.records,
            LAYOUT.keyrings,
            LAYOUT.journal,
            LAYOUT.patch.origin,
            LAYOUT.patch.end(),
            LAYOUT.image(ImageSlot::A).origin,
            LAYOUT.header(ImageSlot::B),
            LAYOUT.image(ImageSlot::B).end(),
        ];
        for step in 0..3_000 {
            let place = places[random.below(places.len() as u32) as usize];
            let address = (place + random.below(300)).saturating_sub(150);
            if step % 500 == 0 {
                flash = FileFlash::open(dir.path())?;
            }
            match random.below(8) {
                0 => {
                    let address = if step % 5 == 0 { address } else { address & !(SECTOR_BYTES - 1) };
                    assert_eq!(flash.erase(address), model.erase(address), "step {step}");
                }
                1..4 => {
                    let bits = 1 << random.below(8);
                    let bytes = vec![!bits; random.below(200) as usize];
                    assert_eq!(flash.program(address, &bytes), model.program(address, &bytes), "step {step}");
                }
                _ => {
                    let (mut found, mut expected) = ([0; 300], [0; 300]);
                    let len = random.below(300) as usize;
                    let answer = flash.read(address, &mut found[..len]);
                    assert_eq!(answer, model.read(address, &mut expected[..len]), "step {step}");
                    assert_eq!(found, expected, "step {step}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn an_erased_image_takes_no_space() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut flash = FileFlash::open(dir.path())?;
        let used = |flash: &FileFlash| flash.file.metadata().map(|found| found.blocks() * 512);
        let before = used(&flash)?;
        let image = LAYOUT.image(ImageSlot::A).origin;
        assert_eq!(flash.program(image, &[0; 2 * SECTOR_BYTES as usize]), Ok(()));
        flash.sync()?;
        assert!(used(&flash)? >= before + u64::from(2 * SECTOR_BYTES));
        assert_eq!(flash.erase(image).and_then(|()| flash.erase(image + SECTOR_BYTES)), Ok(()));
        flash.sync()?;
        // The file system may need a little to know where the hole is.
        assert!(used(&flash)? < before + u64::from(SECTOR_BYTES));
        assert_eq!(flash.file.metadata()?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }

    #[test]
    fn what_says_that_something_is_there_is_known_by_its_place() {
        let [a, b] = ImageSlot::ALL.map(|slot| LAYOUT.image(slot));
        for region in [LAYOUT.patch, a, b] {
            assert_eq!(Zone::of(region.origin, region.bytes), Zone::Payload);
            assert_eq!(Zone::of(region.origin - 1, 2), Zone::Record);
        }
        assert_eq!(Zone::of(LAYOUT.journal, SECTOR_BYTES), Zone::Journal);
        for address in [LAYOUT.records, LAYOUT.keyrings, LAYOUT.header(ImageSlot::A)] {
            assert_eq!(Zone::of(address, SECTOR_BYTES), Zone::Record);
        }
    }

    #[test]
    fn the_journal_is_late_by_a_few_blocks_only_and_never_behind_a_record() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut flash = FileFlash::open(dir.path())?;
        let seen = |address| {
            let mut byte = [0];
            let mut other = FileFlash::inspect(dir.path())?.ok_or(io::ErrorKind::NotFound)?;
            other.read(address, &mut byte).map_err(|_| io::ErrorKind::Other)?;
            io::Result::Ok(byte != [0xff])
        };
        for nth in 0..LATE_BLOCKS {
            assert_eq!(flash.program(LAYOUT.journal + nth, &[0]), Ok(()));
            let mut byte = [0xff];
            assert_eq!(
                (flash.read(LAYOUT.journal + nth, &mut byte), byte),
                (Ok(()), [0]),
                "for itself at once"
            );
            assert_eq!(seen(LAYOUT.journal)?, nth == LATE_BLOCKS - 1, "block {nth}");
        }
        assert!(seen(LAYOUT.journal + LATE_BLOCKS - 1)?);

        assert_eq!(flash.program(LAYOUT.journal + 100, &[0]), Ok(()));
        assert_eq!(flash.program(LAYOUT.records, &[0]), Ok(()));
        assert!(seen(LAYOUT.journal + 100)?);

        assert_eq!(flash.program(LAYOUT.journal + 200, &[0]), Ok(()));
        assert_eq!(flash.erase(LAYOUT.journal), Ok(()));
        drop(flash);
        assert!(!seen(LAYOUT.journal)? && !seen(LAYOUT.journal + 200)?, "what was erased stays so");
        Ok(())
    }

    #[test]
    fn what_is_inspected_is_not_changed() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(FileFlash::inspect(dir.path())?.is_none());
        FileFlash::open(dir.path())?;
        let mut flash = FileFlash::inspect(dir.path())?.ok_or(io::ErrorKind::NotFound)?;
        assert_eq!(flash.program(0, &[0]), Err(Fault::Failed));
        let mut out = [0; 4];
        assert_eq!(flash.read(LAYOUT.end() - 4, &mut out), Ok(()));
        assert_eq!(out, [0xff; 4]);
        Ok(())
    }
}
