//! In the place of calls that boards of this class do not have, so that they carry no code for them.

use wasmbed_abi::{Call, Errno};
use wasmtime::Caller;

use super::Args;
use crate::{Host, instance::Guest};

pub(super) fn answer<H: Host>(_: Call, _: &mut Caller<'_, Guest<H>>, _: &mut Args<'_>) -> Result<i32, Errno> {
    Err(Errno::Unsupported)
}

pub(super) fn size<H: Host>(_: &mut Caller<'_, Guest<H>>, _: &mut Args<'_>) -> Result<i64, Errno> {
    Err(Errno::Unsupported)
}

#[cfg(not(feature = "ros"))]
pub(super) fn unsubscribed<H: Host>(_: &mut Guest<H>, _: &str) {}
