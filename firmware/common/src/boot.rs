//! What the bootloader of every board does: choose an image, put it where it runs, and say so.
//!
//! The decision itself, and with it everything that keeps a device bootable, is `wasmbed_update`'s
//! ([`boot::decide`]). The jump is the board's.

use alloc::boxed::Box;
use core::fmt;

use sha2::{Digest as _, Sha256};
use wasmbed_update::{
    BootKeys, Fault, Flash, Region,
    boot::{self, Boot, Device, Place},
};
use wasmbed_wire::{Digest, message::ResetCause, provision::Provision};

use crate::{
    Board, Running, Sheet,
    console::Line,
    flash::{SerialLine, SerialNor},
};

/// How long a bootloader waits before it tries again, in milliseconds.
const AGAIN_MS: u64 = 10_000;

/// Images run in this RAM, which is theirs alone: they are copied there.
pub struct InRam(pub &'static mut [u8]);

impl<F: Flash> Place<F> for InRam {
    fn place(&mut self, flash: &mut F, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let image = self.0.get_mut(..bytes as usize).ok_or(Fault::OutOfRange)?;
        flash.read(region.origin, image)?;
        Ok(digest(image))
    }
}

/// Images run where the window of a flash chip is.
pub struct InWindow;

impl<L: SerialLine> Place<SerialNor<L>> for InWindow {
    fn place(&mut self, flash: &mut SerialNor<L>, region: Region, bytes: u32) -> Result<Digest, Fault> {
        flash.map(region.origin)?.get(..bytes as usize).map(digest).ok_or(Fault::OutOfRange)
    }
}

fn digest(image: &[u8]) -> Digest {
    Digest(Sha256::digest(image).into())
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The image that was placed is started.
    Image,
    /// There is nothing to start: this program goes on by itself.
    Recovery,
}

/// Chooses what to start, places it and tells it to `say`. Not inlined: what follows needs the stack.
///
/// # Errors
/// If the flash fails: nothing can be said about the images in it.
#[inline(never)]
pub fn choose<F: Flash>(
    flash: &mut F,
    sheet: &Sheet,
    provision: &[u8],
    cause: ResetCause,
    place: &mut impl Place<F>,
    say: impl Fn(fmt::Arguments<'_>),
) -> Result<Next, Fault> {
    // Without keys nothing is believed, and why there are none is told in recovery.
    let (Some(keys), Ok(board)) = (keys(flash, sheet, provision)?, sheet.name.parse()) else {
        return Ok(Next::Recovery);
    };
    let device = Device { layout: &sheet.layout, board, keys: &keys, cause };
    match boot::decide(flash, &device, place)? {
        Boot::Image { .. } => {
            say_image(flash, sheet, say)?;
            Ok(Next::Image)
        }
        Boot::Recovery => {
            say(format_args!("no image in flash can be started; waiting for one to be sent"));
            Ok(Next::Recovery)
        }
    }
}

/// Whom the device believes; none if its provisioning cannot be read. They lie in the heap, for a signature is verified
/// above them, which takes half of a small stack.
#[inline(never)]
fn keys(flash: &mut impl Flash, sheet: &Sheet, provision: &[u8]) -> Result<Option<Box<BootKeys>>, Fault> {
    let Ok(provision) = Provision::read(provision) else { return Ok(None) };
    let keys = BootKeys::provisioned(provision.trusted.iter(), provision.boot_floor);
    let mut keys = Box::write(Box::new_uninit(), keys);
    keys.load(flash, &sheet.layout)?;
    Ok(Some(keys))
}

#[inline(never)]
fn say_image<F: Flash>(flash: &mut F, sheet: &Sheet, say: impl Fn(fmt::Arguments<'_>)) -> Result<(), Fault> {
    if let Some(running) = Running::load(flash, &sheet.layout)? {
        say(format_args!("starting {} {running}", sheet.name));
    }
    Ok(())
}

/// Says that the flash failed and resets the board some time later.
pub fn start_over(board: &mut impl Board, fault: Fault) -> ! {
    board.write(Line::new(format_args!("no image can be started: {fault}")).frame());
    board.wait_ms(AGAIN_MS);
    board.reset()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ed25519_compact::{KeyPair, Seed};
    use wasmbed_update::{Hashing, ImageSlot, Layout, Record, key_id, model::Nor, write_header};
    use wasmbed_wire::{
        PublicKey, RuntimeId, Seq,
        limits::{Class, MAX_MANIFEST_BYTES},
        manifest::{Classes, Kind, Manifest, Trial},
        sign1::{self, Audience, Sign1},
    };

    use super::*;

    const SECTOR: u32 = 0x1000;
    const SHEET: Sheet = Sheet {
        name: "test",
        class: Class::Mcu,
        slot_bytes: 8192,
        block_bytes: 1024,
        window_blocks: 2,
        desired_bytes: 1024,
        layout: Layout::new(0, SECTOR, 0x4000, 0x1000),
    };
    const IMAGE: [u8; 5000] = [0x5a; 5000];

    /// Notes what was placed, and runs it where it lies.
    #[derive(Default)]
    struct InFlash(Option<Region>);

    impl Place<Nor> for InFlash {
        fn place(&mut self, flash: &mut Nor, region: Region, bytes: u32) -> Result<Digest, Fault> {
            self.0 = Some(region);
            Hashing::new(region, bytes).advance(flash, bytes)?.ok_or(Fault::Failed)
        }
    }

    fn key_pair() -> KeyPair {
        KeyPair::from_seed(Seed::new([3; 32]))
    }

    fn provisioning() -> Vec<u8> {
        let keys = [PublicKey(*key_pair().pk)];
        let device = "dut".parse().expect("a name");
        let mut area = vec![0; 256];
        let provision =
            Provision { device, trusted: Seq::new(&keys[..]), boot_floor: 0, secret: None, broker: None };
        provision.write(&mut area).expect("room");
        area
    }

    fn install(flash: &mut Nor, slot: ImageSlot, version: &str) {
        let region = SHEET.layout.image(slot);
        flash.program(region.origin, &IMAGE).expect("programmed");
        let size = IMAGE.len() as u32;
        let digest = InFlash::default().place(flash, region, size).expect("readable");
        let manifest = minicbor::to_vec(Manifest {
            kind: Kind::Firmware,
            name: "test".parse().expect("a name"),
            version,
            classes: Classes::default().with(SHEET.class),
            runtime: RuntimeId([0; 8]),
            size,
            digest,
            block_bytes: 1024,
            board: SHEET.name.parse().ok(),
            counter: 0,
            patch: None,
            trial: None,
            capabilities: 0,
            stack_bytes: 0,
        })
        .expect("a manifest");
        let pair = key_pair();
        let head = sign1::signed_head(Audience::Everyone, manifest.len()).expect("room");
        let signature = pair.sk.sign([head.as_ref(), &manifest].concat(), None);
        let key = key_id(&PublicKey(*pair.pk));
        let mut signed = [0; MAX_MANIFEST_BYTES];
        let sign1 = Sign1 { key, payload: &manifest, signature: &signature };
        let len = sign1.encode(&mut signed).expect("room");
        write_header(flash, &SHEET.layout, slot, &signed[..len]).expect("written");
    }

    struct Chosen {
        next: Result<Next, Fault>,
        placed: Option<Region>,
        said: Vec<String>,
    }

    fn choose_with(flash: &mut Nor, provision: &[u8]) -> Chosen {
        let (mut place, said) = (InFlash::default(), RefCell::new(Vec::new()));
        let say = |text: fmt::Arguments<'_>| said.borrow_mut().push(text.to_string());
        let next = choose(flash, &SHEET, provision, ResetCause::Power, &mut place, say);
        Chosen { next, placed: place.0, said: said.into_inner() }
    }

    fn flash() -> Nor {
        Nor::new(SHEET.layout.end(), SECTOR)
    }

    #[test]
    fn a_board_starts_the_image_in_its_slot_and_says_which() {
        let mut flash = flash();
        install(&mut flash, ImageSlot::B, "1.2.3");
        let chosen = choose_with(&mut flash, &provisioning());
        assert_eq!((chosen.next, chosen.placed), (Ok(Next::Image), Some(SHEET.layout.image(ImageSlot::B))));
        assert_eq!(chosen.said, ["starting test 1.2.3"]);
    }

    #[test]
    fn a_trial_is_told_with_the_starts_it_has_left() {
        let mut flash = flash();
        install(&mut flash, ImageSlot::A, "1.0.0");
        install(&mut flash, ImageSlot::B, "2.0.0-rc.1");
        let mut record = Record::default();
        record.active = Some(ImageSlot::A);
        record.arm(ImageSlot::B, Trial { tries: 3, confirm_s: 60 }, 1);
        record.save(&mut flash, &SHEET.layout).expect("saved");
        let mut said = Vec::new();
        for _ in 0..4 {
            said.extend(choose_with(&mut flash, &provisioning()).said);
        }
        let expected = [
            "starting test 2.0.0-rc.1, trial, 2 tries left",
            "starting test 2.0.0-rc.1, trial, 1 try left",
            "starting test 2.0.0-rc.1, trial, its last try",
            "starting test 1.0.0",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn without_an_image_or_without_keys_there_is_recovery() {
        let mut flash = flash();
        let chosen = choose_with(&mut flash, &provisioning());
        assert_eq!((chosen.next, chosen.said.len()), (Ok(Next::Recovery), 1));
        install(&mut flash, ImageSlot::A, "1.0.0");
        assert_eq!(choose_with(&mut flash, &[0xff; 256]).next, Ok(Next::Recovery));
    }

    #[test]
    fn a_flash_that_fails_is_no_reason_for_recovery() {
        let mut flash = Nor::new(SECTOR, SECTOR);
        assert_eq!(choose_with(&mut flash, &provisioning()).next, Err(Fault::OutOfRange));
    }
}
