//! Calls for files.

use wasmbed_abi::{Call, Errno, FilePath, MAX_FILE_CALL_BYTES, MAX_PATH_BYTES};
use wasmtime::Caller;

use super::{Args, Copied, bytes, charge, memory, room};
use crate::{Host, instance::Guest};

pub(super) fn answer<H: Host>(
    call: Call,
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    match call {
        Call::FileRead => read(caller, args),
        Call::FileWrite => write(caller, args),
        Call::FileTruncate => truncate(caller, args),
        Call::FileRemove => remove(caller, args),
        Call::FileRename => rename(caller, args),
        Call::FileList => list(caller, args),
        _ => Err(Errno::Unsupported),
    }
}

pub(super) fn size<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i64, Errno> {
    let (memory, guest) = memory(caller)?;
    let size = guest.host.file_size(path(memory, args)?)?;
    i64::try_from(size).map_err(|_| Errno::TooLong)
}

fn read<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    // A copy: what is read may be written over it.
    let name = Copied::<MAX_PATH_BYTES>::take(memory, args)?;
    let offset = position(args)?;
    let out = room(memory, args, MAX_FILE_CALL_BYTES)?;
    let len = guest.host.file_read(FilePath::parse(name.get())?, offset, out)?;
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::TooLong)
}

fn write<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let path = path(memory, args)?;
    let offset = position(args)?;
    let given = bytes(memory, args, MAX_FILE_CALL_BYTES)?;
    let len = given.len();
    guest.host.file_write(path, offset, given)?;
    charge(caller, len as u64);
    Ok(0)
}

fn truncate<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let path = path(memory, args)?;
    guest.host.file_truncate(path, position(args)?)?;
    Ok(0)
}

fn remove<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    guest.host.file_remove(path(memory, args)?)?;
    Ok(0)
}

fn rename<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let from = path(memory, args)?;
    guest.host.file_rename(from, path(memory, args)?)?;
    Ok(0)
}

fn list<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let nth = u32::try_from(args.i32()).map_err(|_| Errno::Invalid)?;
    let (memory, guest) = memory(caller)?;
    let len = guest.host.file_list(nth, room(memory, args, usize::MAX)?)?;
    i32::try_from(len).map_err(|_| Errno::TooLong)
}

fn path<'m>(memory: &'m [u8], args: &mut Args<'_>) -> Result<FilePath<'m>, Errno> {
    FilePath::parse(bytes(memory, args, MAX_PATH_BYTES)?)
}

/// An offset or a size.
fn position(args: &mut Args<'_>) -> Result<u64, Errno> {
    u64::try_from(args.i64()).map_err(|_| Errno::Invalid)
}
