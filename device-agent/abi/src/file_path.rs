//! Names of files.

use crate::{Errno, MAX_PATH_BYTES};

/// The path of a file, within what is the module's own: names separated by `/`. None of them is empty, `.` or
/// `..`, so that no path leads anywhere else and each file has one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePath<'p>(&'p str);

impl<'p> FilePath<'p> {
    /// Reads a path of 1 to [`MAX_PATH_BYTES`] bytes.
    ///
    /// # Errors
    /// [`Errno::TooLong`]; [`Errno::Invalid`] if it is no such path, is not UTF-8 or has control characters.
    pub fn parse(path: &'p [u8]) -> Result<Self, Errno> {
        if path.len() > MAX_PATH_BYTES {
            return Err(Errno::TooLong);
        }
        let path = core::str::from_utf8(path).map_err(|_| Errno::Invalid)?;
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(char::is_control);
        if path.split('/').all(is_name) { Ok(FilePath(path)) } else { Err(Errno::Invalid) }
    }

    /// The path.
    pub const fn as_str(self) -> &'p str {
        self.0
    }

    /// The folders it lies in, the outermost first.
    pub fn folders(self) -> impl DoubleEndedIterator<Item = &'p str> {
        self.0.match_indices('/').filter_map(|(end, _)| self.0.get(..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_path_is_names_and_each_file_has_one() {
        for path in ["a", "log/2026/11.csv", "...", ".hidden", "a b", "\u{e9}t\u{e9}", "c:\\x"] {
            assert_eq!(FilePath::parse(path.as_bytes()).map(FilePath::as_str), Ok(path));
        }
        for path in
            ["", "/", "/etc/passwd", "a/", "a//b", ".", "..", "a/../b", "../b", "a/..", "./a", "a\0", "a\nb"]
        {
            assert_eq!(FilePath::parse(path.as_bytes()), Err(Errno::Invalid), "{path:?}");
        }
        assert_eq!(FilePath::parse(b"a\xff"), Err(Errno::Invalid));
        assert!(FilePath::parse(&[b'a'; MAX_PATH_BYTES]).is_ok());
        assert_eq!(FilePath::parse(&[b'a'; MAX_PATH_BYTES + 1]), Err(Errno::TooLong));
    }

    #[test]
    fn folders_are_told_from_the_outside_in() {
        let folders =
            |path: &'static str| FilePath::parse(path.as_bytes()).map(|path| path.folders().collect());
        assert_eq!(folders("a"), Ok(Vec::<&str>::new()));
        assert_eq!(folders("a/b/c"), Ok(["a", "a/b"].to_vec()));
    }
}
