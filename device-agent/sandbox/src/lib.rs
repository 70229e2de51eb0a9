//! Files and connections of a Linux machine, handed to modules with a fence around them.
//!
//! What a module is refused here it is refused with an error that the ABI knows; why is told to the log only.
//!
//! Not here: which module has which folder, and the module's memory; that is the programs' and the runtime's.
#![forbid(unsafe_code)]

mod files;
mod network;

pub use files::Files;
pub use network::{Connections, Network};
