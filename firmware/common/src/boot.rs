//! What the bootloader of every board does: choose an image, put it where it runs, and say so.
//!
//! The decision itself, and with it everything that keeps a device bootable, is `wasmbed_update`'s
//! ([`boot::decide`]). The jump is the board's.

use core::fmt;

use wasmbed_update::{
    BootKeys, Fault, Flash, Keyring,
    boot::{self, Boot, Device, Place},
};
use wasmbed_wire::{message::ResetCause, provision::Provision};

use crate::{Board, Running, Sheet, console::Line};

/// How long a bootloader waits before it tries again, in milliseconds.
const AGAIN_MS: u64 = 10_000;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The image that was placed is started.
    Image,
    /// There is nothing to start: this program goes on by itself.
    Recovery,
}

/// Chooses what to start, places it and tells it to `say`.
///
/// # Errors
/// If the flash fails: nothing can be said about the images in it.
pub fn choose<F: Flash>(
    flash: &mut F,
    sheet: &Sheet,
    provision: &[u8],
    cause: ResetCause,
    place: &mut impl Place<F>,
    say: impl Fn(fmt::Arguments<'_>),
) -> Result<Next, Fault> {
    // Without keys nothing is believed, and why there are none is told in recovery.
    let (Ok(provision), Ok(board)) = (Provision::read(provision), sheet.name.parse()) else {
        return Ok(Next::Recovery);
    };
    let provisioned = Keyring::provisioned(provision.trusted.iter(), provision.boot_floor);
    let keys = BootKeys::new(provisioned.load(flash, &sheet.layout)?, provisioned);
    let device = Device { layout: &sheet.layout, board, keys: &keys, cause };
    match boot::decide(flash, &device, place)? {
        Boot::Image { .. } => {
            if let Some(running) = Running::load(flash, &sheet.layout)? {
                say(format_args!("starting {} {running}", sheet.name));
            }
            Ok(Next::Image)
        }
        Boot::Recovery => {
            say(format_args!("no image in flash can be started; waiting for one to be sent"));
            Ok(Next::Recovery)
        }
    }
}

/// Says that the flash failed and resets the board some time later.
pub fn start_over(board: &mut impl Board, fault: Fault) -> ! {
    board.write(Line::new(format_args!("no image can be started: {fault}")).frame());
    let until_ms = board.now_ms().saturating_add(AGAIN_MS);
    while board.now_ms() < until_ms {
        // What arrives is of no use, but would keep the board awake.
        while board.read(&mut [0; 64]) > 0 {}
        board.sleep(Some(until_ms));
    }
    board.reset()
}
