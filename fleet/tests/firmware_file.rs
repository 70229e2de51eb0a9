//! Signed firmware files and images for boards, without any fleet.
#![allow(clippy::unwrap_used, reason = "a test may stop where its world is wrong")]

use bytes::Bytes;
use wasmbed_boards::{Board, Boards};
use wasmbed_fleet::artifacts::{
    FirmwareFile, FirmwareFileError, FlatError, Metadata, Release, Signer, Trust, Untrusted, flat_image,
    sign_firmware,
};
use wasmbed_wire::{
    keyring::{Role, Roles, TrustedKey},
    manifest::{Kind, Trial},
};

fn board(name: &str) -> Board {
    Boards::embedded().unwrap().get(&name.parse().unwrap()).unwrap().clone()
}

fn signer() -> Signer {
    Signer::from_seed([7; 32])
}

fn image() -> Bytes {
    let mut image = [0x2001_0000_u32, 0x0802_0401].map(u32::to_le_bytes).concat();
    image.extend([7; 1_000]);
    image.into()
}

fn file() -> FirmwareFile {
    let mut release = Release::new("pump-control".parse().unwrap(), "1.2.3-rc.1");
    (release.counter, release.trial) = (4, Some(Trial { tries: 2, confirm_s: 90 }));
    let build = [("commit".to_owned(), "abc".to_owned())].into();
    release.metadata = Metadata { notes: "what is new".into(), build };
    sign_firmware(&signer(), &board("netduino2"), release, image()).unwrap()
}

#[test]
fn a_file_reads_back_as_it_was_written_and_is_the_same_every_time() {
    let bytes = file().to_bytes();
    assert_eq!(FirmwareFile::parse(bytes.clone()).unwrap(), file());
    assert_eq!(file().to_bytes(), bytes);
    assert_eq!(&bytes[..8], b"WBFW\x01\0\0\0");
    let manifest = file();
    let manifest = manifest.manifest().unwrap();
    assert_eq!((manifest.kind, manifest.counter, manifest.version), (Kind::Firmware, 4, "1.2.3-rc.1"));
    assert_eq!((manifest.size, manifest.trial), (1_008, Some(Trial { tries: 2, confirm_s: 90 })));
    assert!(file().verify_payload().is_ok());
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let bytes = file().to_bytes();
    for len in 0..bytes.len() {
        let error = FirmwareFile::parse(bytes.slice(..len)).unwrap_err();
        let is_named = matches!(error, FirmwareFileError::Truncated { .. } | FirmwareFileError::Magic { .. });
        assert!(is_named, "{len}: {error}");
    }
}

#[test]
fn no_byte_of_a_file_makes_reading_panic() {
    let bytes = file().to_bytes().to_vec();
    for at in 0..bytes.len() - 1_000 {
        for byte in [0, 0x7f, 0xff] {
            let mut file = bytes.clone();
            file[at] = byte;
            if let Ok(file) = FirmwareFile::parse(file.into()) {
                let _ = (file.verify_payload(), file.artifact());
            }
        }
    }
}

#[test]
fn a_changed_or_longer_image_is_not_the_one_that_was_signed() {
    for payload in [[&image()[..], b"x"].concat(), image()[..1_007].iter().copied().chain([8]).collect()] {
        let file = FirmwareFile { payload: payload.into(), ..file() };
        let file = FirmwareFile::parse(file.to_bytes()).unwrap();
        assert!(matches!(file.verify_payload(), Err(FirmwareFileError::Digest { .. })));
    }
}

#[test]
fn other_files_and_formats_are_named() {
    let mut newer = file().to_bytes().to_vec();
    newer[4] = 2;
    let mut long = file().to_bytes().to_vec();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    for (file, expected) in [
        (b"PK\x03\x04zip".to_vec(), "begins with"),
        (newer, "format version 2"),
        (long, "manifest has 4294967295 bytes"),
    ] {
        let error = FirmwareFile::parse(file.into()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn signatures_are_believed_from_keys_that_may_and_are_still_good() {
    let trusted = |seed, roles, not_after_s| TrustedKey {
        key: Signer::from_seed([seed; 32]).public(),
        roles,
        not_after_s,
    };
    let (id, manifest) = (signer().id(), file().manifest);
    let firmware = Roles::default().with(Role::Firmware);
    let judged = |key: TrustedKey, now_s: u32| {
        Trust { keys: vec![key], now_s }.verify(Role::Firmware, &manifest).map(|(key, _)| key)
    };
    assert_eq!(judged(trusted(7, firmware, Some(100)), 100), Ok(id));
    assert_eq!(
        judged(trusted(7, firmware, Some(100)), 101),
        Err(Untrusted::Expired { key: id, not_after_s: 100 })
    );
    assert_eq!(judged(trusted(8, firmware, None), 0), Err(Untrusted::UnknownKey(id)));
    let module = Roles::default().with(Role::Module);
    let wrong = Untrusted::WrongRole { key: id, role: Role::Firmware };
    assert_eq!(judged(trusted(7, module, None), 0), Err(wrong));
    let keys = vec![trusted(7, firmware, None)];
    let mut forged = manifest.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let trust = Trust { keys, now_s: 0 };
    assert_eq!(trust.verify(Role::Firmware, &forged), Err(Untrusted::Forged(id)));
    assert_eq!(trust.verify(Role::Firmware, b"x"), Err(Untrusted::Malformed));
}

#[test]
fn an_image_must_fit_its_board_and_look_like_it() {
    let netduino2 = board("netduino2");
    assert_eq!(flat_image(&netduino2, &image()).unwrap(), image());
    let flash = netduino2.firmware.as_ref().unwrap().slots.image_bytes as usize;
    let large = Bytes::from([&image()[..], &vec![0; flash]].concat());
    assert!(matches!(flat_image(&netduino2, &large), Err(FlatError::TooLarge { .. })));
    assert!(matches!(flat_image(&netduino2, &Bytes::new()), Err(FlatError::Empty)));
    assert!(matches!(flat_image(&netduino2, &Bytes::from_static(b"\x7fELF")), Err(FlatError::Elf(_))));
    for words in [[0x2001_0000, 0x0802_0400], [0x0802_0000, 0x0802_0401], [0x2001_0000, 0x2000_0401]] {
        let file = Bytes::from(words.map(u32::to_le_bytes).concat());
        assert!(matches!(flat_image(&netduino2, &file), Err(FlatError::Unlike)), "{words:x?}");
    }
}
