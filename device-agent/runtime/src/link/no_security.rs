//! No calls for security, on boards whose class has none.

use wasmbed_abi::{Call, Errno};
use wasmtime::Caller;

use super::Args;
use crate::{Host, instance::Guest};

pub(super) fn answer<H: Host>(_: Call, _: &mut Caller<'_, Guest<H>>, _: &mut Args<'_>) -> Result<i32, Errno> {
    Err(Errno::Unsupported)
}
