//! A board with a flash chip and without an emulator: the test holds the board's end of the chip's line.

use std::{fs, path::Path, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{sleep, timeout},
};
use wasmbed_fleet::artifacts::{FirmwareFile, Metadata, Signer};
use wasmbed_update::{ImageSlot, Layout};
use wasmbed_wire::{
    Digest, RuntimeId,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    nor::{Answer, Fault, Frames, MAX_FRAME_BYTES, Operation, Request},
};

use crate::broker::LIMIT;

pub(crate) const LAYOUT: Layout = Layout::new(0, 0x1000, 0x2000, 0x1000);
pub(crate) const A: u32 = LAYOUT.image(ImageSlot::A).origin;
pub(crate) const B: u32 = LAYOUT.image(ImageSlot::B).origin;
pub(crate) const SLOT_BYTES: usize = LAYOUT.image_bytes as usize;
pub(crate) const BOOTLOADER: &[u8] = b"bootloader";

/// A board with a chip, whose emulator is a shell script that does nothing.
pub(crate) fn board(name: &str) -> (String, String) {
    let text = format!(
        r#"
name = "{name}"
title = "a board with a chip"
class = "mcu"
[modules]
slots = 1
slot_bytes = 1024
block_bytes = 256
window_blocks = 1
[firmware]
package = "p"
binary = "b"
boot_package = "p"
boot = "b"
target = "t"
[firmware.memory]
boot = {{ origin = 0x0800_0000, size_bytes = 0x1000 }}
flash = {{ origin = 0x0802_0000, size_bytes = 0x2000 }}
provision = {{ origin = 0x080f_f000, size_bytes = 0x1000 }}
ram = {{ origin = 0x2000_0000, size_bytes = 0x1000 }}
[firmware.budget]
flash_bytes = 0x2000
ram_bytes = 0x1000
[firmware.slots]
base = 0
sector_bytes = 0x1000
image_bytes = 0x2000
patch_bytes = 0x1000
chip = "serial"
[run]
kind = "qemu"
program = "/bin/sh"
package = "dash"
arguments = ["-c", "exec sleep 1000", "{{nor}}", "{{boot}}", "{{window}}"]
files = [{{ holds = "boot", name = "boot.bin" }}, {{ holds = "window", name = "window.bin" }}]
"#
    );
    (name.to_owned(), text)
}

/// What the linker wrote: one segment at this address.
pub(crate) fn elf(address: u32, contents: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec();
    file.extend([1, 0, 52, 0, 0].map(u32::to_le_bytes).concat());
    file.extend([52_u16, 32, 1, 40, 0, 0].map(u16::to_le_bytes).concat());
    let len = contents.len() as u32;
    file.extend([1, 84, address, address, len, len, 5, 4].map(u32::to_le_bytes).concat());
    file.extend(contents);
    file
}

/// A signed firmware file for this board.
pub(crate) fn signed(board: &str, image: &[u8]) -> FirmwareFile {
    let manifest = Manifest {
        kind: Kind::Firmware,
        name: "pump".parse().expect("a name"),
        version: "1.0.0",
        classes: Classes::default().with(Class::Mcu),
        runtime: RuntimeId([0; 8]),
        size: image.len() as u32,
        digest: Digest(Sha256::digest(image).into()),
        block_bytes: 256,
        board: Some(board.parse().expect("a name")),
        counter: 1,
        patch: None,
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
    };
    let (_, manifest) = Signer::from_seed([7; 32]).sign(&manifest).expect("it fits");
    FirmwareFile { manifest, metadata: Metadata::default(), payload: image.to_vec().into() }
}

/// Puts a bootloader, and a signed image if there is one, where the host looks for them.
pub(crate) fn build(firmware_dir: &Path, board: &str, image: Option<&[u8]>) {
    fs::create_dir_all(firmware_dir).expect("a folder");
    let put = |name: &str, bytes: &[u8]| fs::write(firmware_dir.join(name), bytes).expect("a file");
    put(&format!("{board}-boot.elf"), &elf(0x0800_0000, BOOTLOADER));
    if let Some(image) = image {
        put(&format!("{board}.wbfw"), &signed(board, image).to_bytes());
    }
}

/// The board's end of the chip's line.
pub(crate) struct Line {
    line: UnixStream,
    frames: Frames,
    number: u8,
}

impl Line {
    /// Connects to the host as an emulator does.
    pub(crate) async fn start(socket: &Path) -> Self {
        let line = timeout(LIMIT, async {
            loop {
                if let Ok(line) = UnixStream::connect(socket).await {
                    return line;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        Line { line: line.await.expect("a host that listens"), frames: Frames::new(), number: 0 }
    }

    /// What the chip answers; `None` if the host ends the line instead.
    pub(crate) async fn ask(&mut self, operation: Operation<'_>) -> Option<Result<Vec<u8>, Fault>> {
        timeout(LIMIT, self.exchange(operation)).await.expect("an answer, or the end of the line")
    }

    pub(crate) async fn read(&mut self, address: u32, len: u16) -> Vec<u8> {
        self.ask(Operation::Read { address, len }).await.expect("an answer").expect("bytes")
    }

    pub(crate) async fn program(&mut self, address: u32, data: &[u8]) {
        self.ask(Operation::Program { address, data }).await.expect("an answer").expect("programmed");
    }

    async fn exchange(&mut self, operation: Operation<'_>) -> Option<Result<Vec<u8>, Fault>> {
        self.number = self.number.wrapping_add(1);
        let mut frame = [0; MAX_FRAME_BYTES];
        let len = Request { number: self.number, operation }.encode(&mut frame).expect("room");
        self.line.write_all(&frame[..len]).await.ok()?;
        loop {
            let byte = self.line.read_u8().await.ok()?;
            let Some(body) = self.frames.push(byte) else { continue };
            let answer = Answer::decode(body).expect("an answer");
            assert_eq!(answer.number, self.number);
            return Some(answer.result.map(<[u8]>::to_vec));
        }
    }
}
