//! Calls for files.

use wasmbed_abi::{Call, Errno, FilePath, MAX_FILE_CALL_BYTES, MAX_PATH_BYTES};
use wasmtime::Caller;

use super::{Args, Copied, bytes, charge, memory, room};
use crate::{
    Host,
    instance::Guest,
    memory::{Bytes, View},
};

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
    let size = guest.host.file_size(FilePath::parse(&name(&memory, args)?)?)?;
    i64::try_from(size).map_err(|_| Errno::TooLong)
}

fn read<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    // A copy: what is read may be written over it.
    let name = Copied::<MAX_PATH_BYTES>::take(&memory, args)?;
    let offset = position(args)?;
    let out = room(&memory, args, MAX_FILE_CALL_BYTES)?;
    let path = FilePath::parse(name.get())?;
    let len = memory.fill(out, |out| guest.host.file_read(path, offset, out))?;
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::TooLong)
}

fn write<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let name = name(&memory, args)?;
    let path = FilePath::parse(&name)?;
    let offset = position(args)?;
    let given = bytes(&memory, args, MAX_FILE_CALL_BYTES)?;
    let len = given.len();
    guest.host.file_write(path, offset, &given)?;
    charge(caller, len as u64);
    Ok(0)
}

fn truncate<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let name = name(&memory, args)?;
    let path = FilePath::parse(&name)?;
    guest.host.file_truncate(path, position(args)?)?;
    Ok(0)
}

fn remove<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    guest.host.file_remove(FilePath::parse(&name(&memory, args)?)?)?;
    Ok(0)
}

fn rename<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let from = name(&memory, args)?;
    let from = FilePath::parse(&from)?;
    guest.host.file_rename(from, FilePath::parse(&name(&memory, args)?)?)?;
    Ok(0)
}

fn list<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let nth = u32::try_from(args.i32()).map_err(|_| Errno::Invalid)?;
    let (mut memory, guest) = memory(caller)?;
    let out = room(&memory, args, MAX_FILE_CALL_BYTES)?;
    let len = memory.fill(out, |out| guest.host.file_list(nth, out))?;
    i32::try_from(len).map_err(|_| Errno::TooLong)
}

fn name<'m>(memory: &'m View<'_>, args: &mut Args<'_>) -> Result<Bytes<'m>, Errno> {
    bytes(memory, args, MAX_PATH_BYTES)
}

/// An offset or a size.
fn position(args: &mut Args<'_>) -> Result<u64, Errno> {
    u64::try_from(args.i64()).map_err(|_| Errno::Invalid)
}
