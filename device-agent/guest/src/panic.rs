//! A panic is one line of the log and a trap.

use core::panic::PanicInfo;

use crate::{Level, Text, log};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Without `core::fmt`, which would be larger than most modules.
    let mut line = Text::<120>::new();
    line.push_str("panic");
    if let Some(location) = info.location() {
        line.push_str(" at ").push_str(location.file()).push_str(":").push_int(location.line().into());
    }
    // It is lost if the link is behind; the trap is reported in any case.
    log(Level::Error, line.as_str()).ok();
    core::arch::wasm32::unreachable()
}
