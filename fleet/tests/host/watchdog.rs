//! A board that is silent is reset through its emulator's monitor.

use std::{fs, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixListener,
    time::timeout,
};
use wasmbed_fleet::host_api::{Event, EventKind, ProcessStatus};

use crate::{
    board::{Board, Heard},
    broker::LIMIT,
    chip,
    world::{World, device, exists, json, script},
};

const REASON: &str = "nothing heard on its link for 3 s";

async fn world() -> World {
    let (name, text) = script("watched", "exec sleep 1000");
    let text = text.replace("files = []", "files = []\nwatchdog_ms = 3_000");
    let mut world = World::new(&[(name, text)]).await;
    world.desire(&[device("pump-1", "watched")]).await;
    world
}

/// An emulator's monitor.
struct Monitor(UnixListener);

impl Monitor {
    fn listen(dir: &Path) -> Self {
        Monitor(UnixListener::bind(dir.join("qmp.sock")).expect("a socket"))
    }

    /// Until the next reset.
    async fn is_reset(&self) {
        timeout(LIMIT, async {
            let (stream, _) = self.0.accept().await.expect("a connection");
            let (reader, mut writer) = stream.into_split();
            writer.write_all(b"{\"QMP\": {\"version\": {}}}\r\n").await.expect("a monitor's reader");
            let mut lines = BufReader::new(reader).lines();
            for command in ["qmp_capabilities", "system_reset"] {
                let line = lines.next_line().await.expect("a line").expect("a command");
                assert!(line.contains(&format!("\"execute\":\"{command}\"")), "{line}");
                let answer =
                    format!("{{\"event\": \"RESET\"}}\r\n{{\"return\": {{}}, \"id\": \"{command}\"}}\r\n");
                writer.write_all(answer.as_bytes()).await.expect("a monitor's reader");
            }
        })
        .await
        .expect("a reset");
    }
}

#[tokio::test]
async fn a_silent_board_is_reset_again_and_again_but_not_one_that_is_heard() {
    let mut world = world().await;
    let first = world.running(0).await;
    let monitor = Monitor::listen(&world.data.path().join("devices/pump-1"));
    for _ in 0..2 {
        monitor.is_reset().await;
        assert_eq!(world.event(EventKind::Watchdog).await.reason, REASON);
    }
    let mut board = Board::start(&world.link("pump-1"), 1).await;
    board.until(&Heard::Up).await;
    let alive = async {
        tokio::select! {
            () = monitor.is_reset() => panic!("reset while it was heard"),
            never = board.live() => match never {},
        }
    };
    assert!(timeout(Duration::from_secs(5), alive).await.is_err());
    // What it prints without a link is no sign of life.
    drop(board);
    let mut board = Board::start(&world.link("pump-1"), 2).await;
    let printing = async {
        loop {
            board.print("panic").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = monitor.is_reset() => {}
        () = printing => {}
    }
    assert_eq!(world.event(EventKind::Watchdog).await.reason, REASON);
    assert!(exists(first.pid), "the emulator runs on");
}

#[tokio::test]
async fn an_emulator_that_does_not_answer_is_left_to_others() {
    let mut world = world().await;
    let first = world.running(0).await;
    let deaf = Monitor::listen(&world.data.path().join("devices/pump-1"));
    for _ in 0..2 {
        drop(timeout(LIMIT, deaf.0.accept()).await.expect("an attempt").expect("a connection"));
    }
    let (_held, _) = timeout(LIMIT, deaf.0.accept()).await.expect("an attempt").expect("a connection");
    let mut desired = device("pump-1", "watched");
    desired.cycle = 1;
    world.desire(&[desired]).await;
    let told = |topic: &str, publish: &_| {
        let event: Option<Event> = json("up/event", topic, publish);
        let kind = event?.kind;
        assert_ne!(kind, EventKind::Watchdog, "nothing was reset");
        (kind == EventKind::Started).then_some(())
    };
    world.service.until("the power cycle", told).await;
    let second = world.running(1).await;
    assert!(!exists(first.pid) && second.status != ProcessStatus::Error);
}

/// An endless loop behind a vector table, one at the start of a bank, and one in RAM.
const HANGING: [(&str, u32, &[u8]); 3] = [
    ("netduino2", 0x0800_0000, b"\x00\x10\x00\x20\x09\x00\x00\x08\xfe\xe7\xfe\xe7"),
    ("rv32-virt", 0x2000_0000, b"\x6f\x00\x00\x00"),
    ("lx60", 0xd030_0000, b"\x06\xff\xff"),
];

#[tokio::test]
async fn boards_in_a_real_emulator_start_and_are_reset() {
    let mut world = World::new(&[]).await;
    let dir = world.config().firmware_dir;
    fs::create_dir_all(&dir).expect("a folder");
    for (board, address, bootloader) in HANGING {
        fs::write(dir.join(format!("{board}-boot.elf")), chip::elf(address, bootloader)).expect("a file");
    }
    let devices = [("pump-1", "netduino2"), ("pump-2", "rv32-virt"), ("pump-3", "lx60")];
    world.desire(&devices.map(|(id, board)| device(id, board))).await;
    let mut missing = devices.map(|(id, _)| id).to_vec();
    while !missing.is_empty() {
        let event = world.any_event(|kind| kind != EventKind::Started).await;
        assert_eq!((event.kind, &*event.reason), (EventKind::Watchdog, "nothing heard on its link for 8 s"));
        missing.retain(|id| *id != event.device.as_str());
    }
}
