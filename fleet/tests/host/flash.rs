//! Boards with firmware have a flash that is filled once, survives everything, and shows what they ask for.

use std::{fs, path::PathBuf};

use wasmbed_fleet::host_api::{EventKind, ReportedDevice};
use wasmbed_update::ImageSlot;
use wasmbed_wire::nor::Operation;

use crate::{
    chip::{self, A, B, BOOTLOADER, LAYOUT, Line, SLOT_BYTES},
    world::{World, device, exists},
};

const IMAGE: &[u8] = b"the factory's image";
const BOARD: &str = "chip";

async fn world(image: Option<&[u8]>) -> World {
    let world = World::new(&[chip::board(BOARD)]).await;
    chip::build(&firmware_dir(&world), BOARD, image);
    world
}

async fn started(world: &mut World, cycle: u32) -> (ReportedDevice, Line) {
    let mut desired = device("pump-1", BOARD);
    desired.cycle = cycle;
    world.desire(&[desired]).await;
    let running = world.running(cycle).await;
    (running, Line::start(&file(world, "nor.sock")).await)
}

fn firmware_dir(world: &World) -> PathBuf {
    world.config().firmware_dir
}

fn file(world: &World, name: &str) -> PathBuf {
    world.data.path().join("devices/pump-1").join(name)
}

fn window(world: &World) -> Vec<u8> {
    fs::read(file(world, "window.bin")).expect("a window")
}

fn erased_after(bytes: &[u8]) -> Vec<u8> {
    let mut window = bytes.to_vec();
    window.resize(SLOT_BYTES, 0xff);
    window
}

#[tokio::test]
async fn a_new_device_has_the_factory_image_in_its_first_slot_and_nothing_else() {
    let mut world = world(Some(IMAGE)).await;
    let (_, mut line) = started(&mut world, 0).await;
    let header = line.read(LAYOUT.header(ImageSlot::A), 256).await;
    let manifest = chip::signed(BOARD, IMAGE).manifest;
    assert_eq!(header[..4], *b"WBIM");
    assert_eq!(header[12..12 + manifest.len()], manifest);
    assert_eq!(line.read(A, IMAGE.len() as u16).await, IMAGE);
    let flash = fs::read(file(&world, "flash.bin")).expect("a flash");
    assert_eq!(flash.len(), LAYOUT.end() as usize);
    let after = A as usize + IMAGE.len();
    for (start, end) in [(0, LAYOUT.header(ImageSlot::A) as usize), (after, flash.len())] {
        assert!(flash[start..end].iter().all(|byte| *byte == 0xff));
    }
    assert_eq!(window(&world), erased_after(IMAGE));
    assert_eq!(fs::read(file(&world, "boot.bin")).expect("a bootloader"), BOOTLOADER);
}

#[tokio::test]
async fn a_board_that_asks_for_another_image_is_started_with_it_and_has_not_died() {
    let mut world = world(Some(IMAGE)).await;
    let (first, mut line) = started(&mut world, 0).await;
    line.program(B, b"another image").await;
    assert_eq!(line.ask(Operation::Map { address: A }).await, Some(Ok(vec![])), "it shows just that");
    // More often than a board may die.
    for address in [B, A, B, A, B, A, B] {
        assert_eq!(line.ask(Operation::Map { address }).await, None);
        assert_eq!(world.event(EventKind::Remapped).await.reason, "the board asked for another image");
        line = Line::start(&file(&world, "nor.sock")).await;
        assert_eq!(line.ask(Operation::Map { address }).await, Some(Ok(vec![])));
    }
    let last = world.reported("the last start", |device| device.pid.is_some()).await;
    assert_eq!((last.restarts, last.reason), (0, None));
    assert!(!exists(first.pid));
    assert_eq!(window(&world), erased_after(b"another image"));
    // What it shows is kept, and changes under it are seen.
    let (_, mut line) = started(&mut world, 1).await;
    assert_eq!(line.ask(Operation::Map { address: B }).await, Some(Ok(vec![])));
    line.program(B, b"ANOTHER").await;
    assert_eq!(line.ask(Operation::Map { address: B }).await, None);
    world.event(EventKind::Remapped).await;
    assert_eq!(window(&world), erased_after(b"ANOTHER image"));
}

#[tokio::test]
async fn a_board_that_asks_for_images_without_end_uses_up_its_budget() {
    let mut world = world(Some(IMAGE)).await;
    let (_, mut line) = started(&mut world, 0).await;
    let mut address = B;
    let exited = loop {
        assert_eq!(line.ask(Operation::Map { address }).await, None);
        address = if address == A { B } else { A };
        let is_told = |kind| matches!(kind, EventKind::Remapped | EventKind::Exited);
        let event = world.any_event(is_told).await;
        if event.kind == EventKind::Exited {
            break event;
        }
        line = Line::start(&file(&world, "nor.sock")).await;
    };
    assert!(exited.reason.contains("more than 20 times in 60 s"), "{}", exited.reason);
}

#[tokio::test]
async fn the_factory_flashes_once_and_again_when_it_has_another_image() {
    let mut world = world(Some(IMAGE)).await;
    let (_, mut line) = started(&mut world, 0).await;
    line.program(LAYOUT.records, b"decided").await;
    line.program(B, b"fetched").await;
    assert_eq!(line.ask(Operation::Map { address: B }).await, None);
    world.event(EventKind::Remapped).await;

    let (_, mut line) = started(&mut world, 1).await;
    assert_eq!(line.read(LAYOUT.records, 7).await, b"decided");

    chip::build(&firmware_dir(&world), BOARD, Some(b"newer"));
    let (_, mut line) = started(&mut world, 2).await;
    assert_eq!(line.read(LAYOUT.records, 7).await, [0xff; 7]);
    assert_eq!(line.read(A, 7).await, b"newer\xff\xff");
    assert_eq!(line.read(B, 7).await, b"fetched");
    assert_eq!(window(&world), erased_after(b"newer"));

    // A device without its flash is a new one.
    fs::remove_file(file(&world, "flash.bin")).expect("a flash");
    let (_, mut line) = started(&mut world, 3).await;
    assert_eq!(line.read(A, 7).await, b"newer\xff\xff");
    assert_eq!(line.read(B, 7).await, [0xff; 7]);
}

#[tokio::test]
async fn a_device_without_a_factory_image_starts_with_empty_slots_and_keeps_what_it_gets() {
    let mut world = world(None).await;
    let (_, mut line) = started(&mut world, 0).await;
    assert_eq!(line.read(LAYOUT.header(ImageSlot::A), 4).await, [0xff; 4]);
    line.program(A, b"fetched").await;
    let (_, mut line) = started(&mut world, 1).await;
    assert_eq!(line.read(A, 7).await, b"fetched");
}

#[tokio::test]
async fn firmware_that_cannot_be_used_says_why() {
    let mut world = world(None).await;
    let dir = firmware_dir(&world);
    let mut cycle = 0;
    let mut refused = async |world: &mut World| {
        let mut desired = device("pump-1", BOARD);
        cycle += 1;
        desired.cycle = cycle;
        world.desire(&[desired]).await;
        world.event(EventKind::StartFailed).await.reason
    };
    fs::write(dir.join("chip.elf"), chip::elf(0x0802_0000, IMAGE)).expect("a file");
    let reason = refused(&mut world).await;
    assert!(
        reason.contains("chip.elf is not signed") && reason.contains("wasmbed firmware sign"),
        "{reason}"
    );

    let signed = dir.join("chip.wbfw");
    fs::write(&signed, "nonsense").expect("a file");
    let reason = refused(&mut world).await;
    assert!(reason.contains("chip.wbfw: it begins with"), "{reason}");

    fs::write(&signed, chip::signed("netduino2", IMAGE).to_bytes()).expect("a file");
    let reason = refused(&mut world).await;
    assert!(reason.contains("it is for netduino2; build and sign a firmware for chip"), "{reason}");

    let mut file = chip::signed(BOARD, IMAGE);
    file.payload = vec![0; IMAGE.len()].into();
    fs::write(&signed, file.to_bytes()).expect("a file");
    let reason = refused(&mut world).await;
    assert!(reason.contains("SHA-256"), "{reason}");

    fs::write(&signed, chip::signed(BOARD, &[1; SLOT_BYTES + 1]).to_bytes()).expect("a file");
    let reason = refused(&mut world).await;
    assert!(reason.contains("the image has 8193 bytes; the slots of chip have 8192"), "{reason}");

    fs::write(&signed, chip::signed(BOARD, IMAGE).to_bytes()).expect("a file");
    fs::write(dir.join("chip-boot.elf"), chip::elf(0x0802_0000, BOOTLOADER)).expect("a file");
    let reason = refused(&mut world).await;
    assert!(reason.contains("lie outside of where it runs"), "{reason}");
}

#[tokio::test]
async fn a_power_cut_asked_for_tears_an_operation_and_starts_the_board_again() {
    let mut world = world(Some(IMAGE)).await;
    started(&mut world, 0).await;
    for (number, cycle) in (1..=7).zip(1..) {
        fs::write(file(&world, "fault.toml"), "[[cut]]\nafter_operations = 1").expect("a file");
        let (first, mut line) = started(&mut world, cycle).await;
        line.program(B, b"whole").await;
        let torn = Operation::Program { address: B + 0x100 * number, data: b"torn" };
        assert_eq!(line.ask(torn).await, None);
        let reason = world.event(EventKind::Exited).await.reason;
        assert!(reason.contains("power cut"), "{reason}");
        world.event(EventKind::Restarted).await;
        assert!(!exists(first.pid) && !file(&world, "fault.toml").exists());
        let mut line = Line::start(&file(&world, "nor.sock")).await;
        assert_eq!(line.read(B + 0x100 * number, 4).await, b"to\xff\xff");
    }
}
