use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use wasmbed_wire::nor::{Answer, Frames, MAX_FRAME_BYTES, Request};

use super::*;

const SIZE: u32 = 0x8000;
const SECTOR: u32 = 0x1000;
const SHOWN: Region = Region { origin: 0x0802_0000, size_bytes: 0x3000 };
const DEFAULT: u32 = 0x2000;

/// A device's folder.
struct Device(TempDir);

impl Device {
    fn new() -> Self {
        Device(tempfile::tempdir().expect("a folder"))
    }

    /// The chip at another start.
    fn start(&self) -> Chip {
        let flash = NorFile::open(&self.0.path().join("flash"), SIZE, SECTOR).expect("a file");
        Chip::open(self.0.path(), flash, &SHOWN, DEFAULT).expect("a chip")
    }

    fn erased(&self) -> Chip {
        let mut chip = self.start();
        chip.flash.erase_all().expect("erased");
        chip
    }

    fn cut_power_after(&self, operations: u32) {
        self.plan(&format!("[[cut]]\nafter_operations = {operations}"));
    }

    fn plan(&self, cuts: &str) {
        fs::write(self.0.path().join(FAULT), cuts).expect("a file");
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(self.0.path().join("flash")).expect("a file")
    }
}

fn ask(chip: &mut Chip, operation: Operation<'_>) -> Result<Result<Vec<u8>, Fault>, Demand> {
    let mut out = [0; MAX_DATA_BYTES];
    match chip.perform(operation, &mut out) {
        Outcome::Answer(result) => Ok(result.map(<[u8]>::to_vec)),
        Outcome::Demand(demand) => Err(demand),
    }
}

fn program(chip: &mut Chip, address: u32, data: &[u8]) -> Result<Result<Vec<u8>, Fault>, Demand> {
    ask(chip, Operation::Program { address, data })
}

fn erase(chip: &mut Chip, address: u32) -> Result<Result<Vec<u8>, Fault>, Demand> {
    ask(chip, Operation::Erase { address })
}

fn map(chip: &mut Chip, address: u32) -> Result<Result<Vec<u8>, Fault>, Demand> {
    ask(chip, Operation::Map { address })
}

const DONE: Result<Result<Vec<u8>, Fault>, Demand> = Ok(Ok(Vec::new()));

#[test]
fn a_chip_that_is_taken_over_knows_whether_its_window_is_out_of_date() {
    let device = Device::new();
    let mut chip = device.erased();
    let file = [&b"a header"[..], &chip.window().expect("a window")].concat();
    let taken_over = || {
        let flash = NorFile::reopen(&device.0.path().join("flash"), SIZE, SECTOR).expect("a file");
        let mut chip = Chip::open(device.0.path(), flash, &SHOWN, DEFAULT).expect("a chip");
        chip.is_shown_as(&file).expect("a comparison");
        chip
    };
    assert_eq!(map(&mut taken_over(), DEFAULT), DONE);
    assert_eq!(program(&mut chip, DEFAULT, &[0]), DONE);
    assert_eq!(map(&mut taken_over(), DEFAULT), Err(Demand::Remap));
}

#[test]
fn a_chip_of_another_size_is_not_taken_over() {
    let device = Device::new();
    device.erased();
    let other =
        NorFile::reopen(&device.0.path().join("flash"), 2 * SIZE, SECTOR).err().expect("another size");
    assert_eq!(other.to_string(), "it has 32768 bytes instead of 65536");
    assert_eq!(device.contents().len(), SIZE as usize, "it is as it was");
}

#[test]
fn programming_clears_bits_and_erasing_sets_a_whole_sector() {
    let device = Device::new();
    let mut chip = device.erased();
    assert_eq!(program(&mut chip, 0x1ffe, &[0xf0, 0x0f]), DONE);
    assert_eq!(program(&mut chip, 0x1ffe, &[0x30, 0x0f]), DONE);
    assert_eq!(program(&mut chip, 0x2000, &[0]), DONE);
    assert_eq!(
        ask(&mut chip, Operation::Read { address: 0x1ffd, len: 4 }),
        Ok(Ok(vec![0xff, 0x30, 0x0f, 0]))
    );
    assert_eq!(device.contents()[0x1ffe], 0x30, "what was answered is in the file");
    assert_eq!(erase(&mut chip, 0x1000), DONE);
    assert_eq!(
        ask(&mut chip, Operation::Read { address: 0x1ffd, len: 4 }),
        Ok(Ok(vec![0xff, 0xff, 0xff, 0]))
    );
    let sizes = [SIZE, SECTOR].map(u32::to_le_bytes).concat();
    assert_eq!(ask(&mut chip, Operation::Identify), Ok(Ok(sizes)));
}

#[test]
fn what_breaks_a_rule_is_refused_as_a_whole() {
    let device = Device::new();
    let mut chip = device.erased();
    assert_eq!(program(&mut chip, 0x10, &[0xf0]), DONE);
    let before = device.contents();
    let cases = [
        (program(&mut chip, 0x0f, &[0, 0xf1]), Fault::NotErased),
        (program(&mut chip, 0xfff, &[0, 0]), Fault::Misaligned),
        (program(&mut chip, SIZE - 1, &[0, 0]), Fault::OutOfRange),
        (program(&mut chip, u32::MAX, &[0, 0]), Fault::OutOfRange),
        (erase(&mut chip, 0x10), Fault::Misaligned),
        (erase(&mut chip, SIZE), Fault::OutOfRange),
        (map(&mut chip, 0x10), Fault::Misaligned),
        (map(&mut chip, SIZE), Fault::OutOfRange),
        (ask(&mut chip, Operation::Read { address: SIZE - 1, len: 2 }), Fault::OutOfRange),
        (ask(&mut chip, Operation::Read { address: 0, len: 257 }), Fault::Unknown),
    ];
    for (number, (result, fault)) in cases.into_iter().enumerate() {
        assert_eq!(result, Ok(Err(fault)), "case {number}");
    }
    assert_eq!(device.contents(), before);
}

#[test]
fn the_window_moves_only_where_it_shows_something_else() {
    let device = Device::new();
    let mut chip = device.erased();
    assert_eq!(program(&mut chip, 0x5000, b"B"), DONE);
    assert_eq!(map(&mut chip, DEFAULT), DONE, "what lies outside of the window has changed");
    assert_eq!(map(&mut chip, 0x4000), Err(Demand::Remap));

    let mut chip = device.start();
    assert_eq!(chip.window().expect("readable")[..0x1002], [&[0xff; 0x1000][..], b"B\xff"].concat());
    assert_eq!(map(&mut chip, 0x4000), DONE);
    assert_eq!(program(&mut chip, 0x6fff, b"C"), DONE);
    assert_eq!(map(&mut chip, 0x4000), Err(Demand::Remap), "its last byte has changed");
    assert_eq!(map(&mut device.start(), 0x4000), DONE);

    // A window that reaches beyond the chip.
    assert_eq!(map(&mut device.start(), 0x7000), Err(Demand::Remap));
    let window = device.start().window().expect("readable");
    assert_eq!(window, [0xff; 0x3000]);
    reset_window(device.0.path()).expect("removed");
    assert_eq!(map(&mut device.start(), DEFAULT), DONE);
}

#[test]
fn a_window_that_no_host_wrote_is_the_default() {
    let device = Device::new();
    for text in ["", "nonsense", "17", "4294963200"] {
        fs::write(device.0.path().join(WINDOW), text).expect("a file");
        let mut chip = device.start();
        assert!(chip.window().is_ok());
        assert_eq!(map(&mut chip, DEFAULT), DONE, "{text:?}");
    }
}

#[test]
fn a_power_cut_tears_the_operation_it_is_told_to_and_no_other() {
    let device = Device::new();
    device.cut_power_after(2);
    let mut chip = device.erased();
    assert_eq!(program(&mut chip, 0, b"one"), DONE);
    assert_eq!(program(&mut chip, 0, b"\xff"), Ok(Err(Fault::NotErased)), "counts, as it reaches the flash");
    assert_eq!(program(&mut chip, 0x100, b"torn"), Err(Demand::PowerCut));
    assert_eq!(device.contents()[0x100..0x104], *b"to\xff\xff");

    assert!(!device.0.path().join(FAULT).exists());
    let mut chip = device.start();
    assert_eq!(program(&mut chip, 0x200, &[0; 256]), DONE, "once only");

    device.cut_power_after(0);
    let mut chip = device.start();
    assert_eq!(program(&mut chip, 0xf00, &[0; 0x100]), Err(Demand::PowerCut));
    device.cut_power_after(1);
    let mut chip = device.start();
    assert_eq!(program(&mut chip, 0xf80, &[0; 0x80]), DONE);
    assert_eq!(erase(&mut chip, 0), Err(Demand::PowerCut));
    let contents = device.contents();
    assert!(contents[..0x800].iter().all(|byte| *byte == 0xff));
    assert!(contents[0xf00..0x1000].iter().all(|byte| *byte == 0));

    device.plan("after = 3");
    let flash = NorFile::open(&device.0.path().join("flash"), SIZE, SECTOR).expect("a file");
    let error = Chip::open(device.0.path(), flash, &SHOWN, DEFAULT).err().expect("a refusal").to_string();
    assert!(error.contains("fault.toml says no power cuts"), "{error}");
}

#[test]
fn power_cuts_follow_each_other_and_wait_for_the_window() {
    let device = Device::new();
    let cuts = "[[cut]]\nafter_operations = 1\n[[cut]]\nafter_remap = true\nafter_operations = 0\n";
    device.plan(cuts);
    let mut chip = device.erased();
    assert_eq!(program(&mut chip, 0, b"whole"), DONE);
    assert_eq!(program(&mut chip, 0x100, b"torn"), Err(Demand::PowerCut));

    let mut chip = device.start();
    assert_eq!(program(&mut chip, 0x200, b"whole"), DONE);
    assert_eq!(map(&mut chip, 0x4000), Err(Demand::Remap));
    let mut chip = device.start();
    assert_eq!(program(&mut chip, 0x300, b"torn"), Err(Demand::PowerCut));
    assert!(!device.0.path().join(FAULT).exists());
}

#[tokio::test]
async fn requests_are_answered_in_their_order_and_damaged_ones_not_at_all() {
    let device = Device::new();
    let mut chip = device.erased();
    let path = device.0.path().join("sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut line = UnixStream::connect(&path).await.expect("a line");
    let operations = [
        Operation::Program { address: 0, data: b"abc" },
        Operation::Read { address: 0, len: 4 },
        Operation::Erase { address: 1 },
        Operation::Identify,
        Operation::Map { address: 0x4000 },
    ];
    let (mut bytes, mut last) = (Vec::new(), 0);
    for (number, operation) in (0..).zip(operations) {
        let mut frame = [0; MAX_FRAME_BYTES];
        let len = Request { number, operation }.encode(&mut frame).expect("room");
        last = bytes.len();
        bytes.extend_from_slice(&frame[..len]);
        if number == 1 {
            frame[2] ^= 1;
            bytes.extend_from_slice(&frame[..len]);
        }
    }
    let (asked, last) = bytes.split_at(last);
    let id = "pump-1".parse().expect("a name");
    let client = async {
        line.write_all(asked).await.expect("written");
        let (mut frames, mut answers) = (Frames::new(), Vec::new());
        while answers.len() < 4 {
            let byte = line.read_u8().await.expect("an answer");
            if let Some(body) = frames.push(byte) {
                let Answer { number, result } = Answer::decode(body).expect("an answer");
                answers.push((number, result.map(<[u8]>::to_vec)));
            }
        }
        line.write_all(last).await.expect("written");
        answers
    };
    let (answers, demand) = tokio::join!(client, attend(&id, &listener, &mut chip, || {}));
    let sizes = [SIZE, SECTOR].map(u32::to_le_bytes).concat();
    let expected =
        [(0, Ok(vec![])), (1, Ok(b"abc\xff".to_vec())), (2, Err(Fault::Misaligned)), (3, Ok(sizes))];
    assert_eq!(answers, expected);
    assert_eq!(demand, Demand::Remap);
}
