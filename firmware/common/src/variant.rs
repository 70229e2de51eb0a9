//! What tests build firmware with, each a cargo feature; a release has none of them.

use crate::{Board, port::Port};

/// Time from a start to the fault that was built in, in milliseconds: too little for the fleet to have seen the
/// image run and confirmed it.
const FAULT_MS: u64 = 20;

/// Whether this firmware never opens a session.
pub(crate) const IS_MUTE: bool = cfg!(feature = "fault-mute");

/// The first thing a firmware says: the change of one line that a patch is made of.
pub(crate) fn note<B: Board>(port: &Port<B>) {
    if cfg!(feature = "variant-note") {
        port.say(format_args!("this firmware differs from the one before in this line"));
    }
}

/// Fails if that is what this firmware is for.
pub(crate) fn fail(now_ms: u64) {
    if now_ms < FAULT_MS {
        return;
    }
    if cfg!(feature = "fault-panic") {
        panic!("the fault this firmware was built with");
    }
    if cfg!(feature = "fault-hang") {
        loop {
            core::hint::spin_loop();
        }
    }
}
