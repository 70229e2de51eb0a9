//! Files, on Linux devices.
//!
//! A path is names separated by `/`, at most 128 bytes of UTF-8; no name is `.` or `..`. Folders come and go with the
//! files in them. A module has at most 256 files with their folders, 16 MiB in all; no other module sees them, and
//! they survive restarts and updates. What a power cut must not lose or leave half done is written to a file of
//! another name, and then [`rename`]d.

use crate::{Errno, Result, errno::check, raw};

/// Bytes of a file from `offset` on, kept in `buffer`: as many as fit, at most 64 KiB; none at its end.
///
/// # Errors
/// `NotFound` if there is no such file.
pub fn read<'a>(path: &str, offset: u64, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let (out, room) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::file_read(path.as_ptr(), path.len(), offset.cast_signed(), out, room) };
    buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)
}

/// Writes at most 64 KiB into a file from `offset` on; makes it, and reads as zeros where nothing was written.
///
/// # Errors
/// `NoSpace` if the module's files are too many or too long with it: then nothing is written.
pub fn write(path: &str, offset: u64, bytes: impl AsRef<[u8]>) -> Result<()> {
    let (bytes, offset) = (bytes.as_ref(), offset.cast_signed());
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::file_write(path.as_ptr(), path.len(), offset, bytes.as_ptr(), bytes.len()) };
    check(answer).map(drop)
}

/// How many bytes a file has.
///
/// # Errors
/// `NotFound` if there is no such file.
pub fn size(path: &str) -> Result<u64> {
    // SAFETY: pointer and length are those of a string.
    let size = unsafe { raw::file_size(path.as_ptr(), path.len()) };
    u64::try_from(size).or_else(|_| check(size as i32).map(u64::from))
}

/// Cuts off what a file has beyond `size` bytes.
///
/// # Errors
/// `NotFound` if there is no such file.
pub fn truncate(path: &str, size: u64) -> Result<()> {
    // SAFETY: pointer and length are those of a string.
    check(unsafe { raw::file_truncate(path.as_ptr(), path.len(), size.cast_signed()) }).map(drop)
}

/// Removes a file.
///
/// # Errors
/// `NotFound` if there is no such file.
pub fn remove(path: &str) -> Result<()> {
    // SAFETY: pointer and length are those of a string.
    check(unsafe { raw::file_remove(path.as_ptr(), path.len()) }).map(drop)
}

/// Gives a file another name in place of the file that has it. The old or the new one is found there after a power
/// cut, whole.
///
/// # Errors
/// `NotFound` if there is no such file.
pub fn rename(from: &str, to: &str) -> Result<()> {
    // SAFETY: both pointers go with the length of what they point to.
    check(unsafe { raw::file_rename(from.as_ptr(), from.len(), to.as_ptr(), to.len()) }).map(drop)
}

/// The path of file number `nth`, in the order of their paths, kept in `buffer`.
///
/// # Errors
/// `NotFound` after the last one, `NoSpace` if the buffer is too small.
pub fn list(nth: u32, buffer: &mut [u8]) -> Result<&str> {
    // SAFETY: pointer and length are those of a slice.
    let answer = unsafe { raw::file_list(nth.cast_signed(), buffer.as_mut_ptr(), buffer.len()) };
    let path = buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)?;
    core::str::from_utf8(path).map_err(|_| Errno::Other)
}
