//! Values that survive restarts, updates and power cuts.
//!
//! A key is text of 1 to 64 bytes, a value has at most 4096 bytes, 1024 on boards. They are the module's own: no other module sees
//! them.

use crate::{Errno, Result, errno::check, raw};

/// The value under a key, kept in `buffer`.
///
/// # Errors
/// `NotFound` if there is none, `NoSpace` if the buffer is too small, `Unsupported` if the device stores nothing.
pub fn get<'a>(key: &str, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::kv_get(key.as_ptr(), key.len(), buffer.as_mut_ptr(), buffer.len()) };
    let len = check(answer)? as usize;
    buffer.get(..len).ok_or(Errno::NoSpace)
}

/// Stores a value in place of the one before.
///
/// # Errors
/// `NoSpace` if the module has stored as much as it may, `TooLong` if the device takes no such value, `Busy` if the
/// module changes values more often than flash takes, `Io` if it cannot be kept: then the one before is.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<()> {
    let value = value.as_ref();
    // SAFETY: both pointers go with the length of what they point to.
    check(unsafe { raw::kv_set(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }).map(drop)
}

/// Forgets the value under a key.
///
/// # Errors
/// `NotFound` if there is none, `Busy` as for [`set`].
pub fn remove(key: &str) -> Result<()> {
    // SAFETY: pointer and length are those of a string.
    check(unsafe { raw::kv_remove(key.as_ptr(), key.len()) }).map(drop)
}
