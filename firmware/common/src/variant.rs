//! What tests build firmware with: the cargo feature `variant`. A release has none of it.
//!
//! One program serves every test of a board: which fault it has is written into its image afterwards
//! (`cargo xtask fw --variants`), for compiling it again would change nothing else.

use crate::{Board, port::Port};

/// Time from a start to the fault that was built in, in milliseconds: too little for the fleet to have seen the
/// image run and confirmed it.
const FAULT_MS: u64 = 20;

/// Where the fault's name is written.
#[cfg(feature = "variant")]
#[used]
static MARK: [u8; 20] = *b"WASMBED FAULT: none ";

/// The name of the fault.
#[cfg(feature = "variant")]
fn fault() -> [u8; 5] {
    // SAFETY: a reference can be read from; volatile, for what is written into the image is not what was compiled.
    let [.., a, b, c, d, e] = unsafe { core::ptr::read_volatile(&raw const MARK) };
    [a, b, c, d, e]
}

#[cfg(not(feature = "variant"))]
const fn fault() -> [u8; 5] {
    *b"none "
}

/// Whether this firmware never opens a session.
pub(crate) fn is_mute() -> bool {
    fault() == *b"mute "
}

/// The first thing a firmware says: the change of one line that a patch is made of.
pub(crate) fn note<B: Board>(port: &Port<B>) {
    if cfg!(feature = "variant") {
        port.say(format_args!("this firmware differs from the one before in this line"));
    }
}

/// Fails if that is what this firmware is for.
pub(crate) fn fail(now_ms: u64) {
    if now_ms < FAULT_MS {
        return;
    }
    match &fault() {
        b"panic" => panic!("the fault this firmware was built with"),
        b"hang " => loop {
            core::hint::spin_loop();
        },
        _ => {}
    }
}
