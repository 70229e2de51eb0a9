//! Archives as the kernel unpacks them: cpio, the "newc" format (Documentation/driver-api/early-userspace/
//! buffer-format). Everything belongs to root and has no time.

use std::{collections::BTreeMap, path::Path};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";

/// Files by path. Folders come before what is in them, which the order of paths is enough for.
#[derive(Default)]
pub(super) struct Archive(BTreeMap<String, Entry>);

#[derive(Default)]
struct Entry {
    mode: u32,
    contents: Vec<u8>,
    /// Major and minor number.
    device: (u32, u32),
}

impl Archive {
    pub(super) fn folder(&mut self, path: &str) {
        self.add(path, Entry { mode: FOLDER, ..Entry::default() });
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        self.add(path, Entry { mode: FILE | mode, contents, ..Entry::default() });
    }

    pub(super) fn device(&mut self, path: &str, device: (u32, u32)) {
        self.add(path, Entry { mode: CHARACTER_DEVICE, device, ..Entry::default() });
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for folder in Path::new(path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let folder = folder.to_string_lossy().into_owned();
            self.0.entry(folder).or_insert(Entry { mode: FOLDER, ..Entry::default() });
        }
        self.0.insert(path.to_owned(), entry);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.0) {
            write(&mut out, number, path, entry);
        }
        write(&mut out, 0, TRAILER, &Entry::default());
        out
    }
}

fn write(out: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let (size, (major, minor)) = (entry.contents.len() as u32, entry.device);
    let path_bytes = path.len() as u32 + 1;
    out.extend(b"070701");
    // Inode, mode, user, group, links, time, size, device it is on, device it is, length of the path, checksum.
    for field in [number, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, path_bytes, 0] {
        out.extend(format!("{field:08X}").bytes());
    }
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(&entry.contents);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_folders_first_and_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o644, b"hello".into());
        archive.device("a/tty", (5, 1));
        let bytes = archive.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let headers: Vec<&str> = text.split("070701").skip(1).collect();
        let paths: Vec<&str> =
            headers.iter().filter_map(|header| header.get(104..)?.split('\0').next()).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/tty", TRAILER]);
        assert_eq!(&headers[2][8..16], "000081A4");
        assert_eq!(&headers[2][48..56], "00000005");
        assert_eq!(&headers[3][72..88], "0000000500000001");
        assert_eq!(bytes.len() % 4, 0);
    }
}
