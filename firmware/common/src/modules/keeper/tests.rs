use std::collections::HashSet;

use wasmbed_update::model::{Cut, Nor};
use wasmbed_wire::{PublicKey, Seq, provision::DeviceSecret};

use super::*;

const SECTOR: u32 = 0x1000;
const LAYOUT: Layout = Layout::new(0, SECTOR, 0x4000, 0x1000).with_values(4 * SECTOR);
const SECRET: Option<DeviceSecret> = Some(DeviceSecret([7; 32]));

fn provision(secret: Option<DeviceSecret>) -> Provision<'static> {
    let keys: &'static [PublicKey] = &[];
    let device = "dut".parse().expect("a name");
    Provision { device, trusted: Seq::new(keys), boot_floor: 0, secret, broker: None }
}

/// A board's flash, and its keeper as each start makes it.
struct Board(Rc<RefCell<Nor>>, SharedFlash<Nor>);

impl Board {
    fn new() -> Self {
        let flash = SharedFlash::new(Nor::noisy(LAYOUT.end(), SECTOR, 3));
        Board(flash.share(), flash)
    }

    fn start(&self, secret: Option<DeviceSecret>) -> Keeper {
        Keeper::new(&self.1, &LAYOUT, &provision(secret), 1, None)
    }
}

#[test]
fn values_are_each_modules_own_and_survive_a_start() {
    let board = Board::new();
    let (pump, fan) = ("pump", "fan");
    let mut keeper = board.start(None);
    assert_eq!(keeper.set(0, pump, "level", b"45"), Ok(()));
    let mut out = [0; 8];
    let mut keeper = board.start(None);
    assert_eq!(keeper.get(pump, "level", &mut out), Ok(2));
    assert_eq!(out[..2], *b"45");
    assert_eq!(keeper.get(fan, "level", &mut out), Err(Errno::NotFound));
    assert_eq!(keeper.remove(0, fan, "level"), Err(Errno::NotFound));
    assert_eq!(keeper.remove(0, pump, "level"), Ok(()));
    assert_eq!(board.start(None).get(pump, "level", &mut out), Err(Errno::NotFound));
}

#[test]
fn a_board_without_room_says_so() {
    let flash = SharedFlash::new(Nor::new(LAYOUT.end(), SECTOR));
    let layout = Layout::new(0, SECTOR, 0x4000, 0x1000);
    let mut keeper = Keeper::new(&flash, &layout, &provision(None), 1, None);
    assert_eq!(keeper.set(0, "pump", "level", b"1"), Err(Errno::Unsupported));
}

mod secrets {
    use super::*;

    fn draw(keeper: &mut Keeper) -> [u8; 12] {
        let mut out = [0; 12];
        keeper.random(5_000, &mut out).expect("drawn");
        out
    }

    #[test]
    fn a_module_has_the_same_secret_at_each_start_and_another_than_the_others() {
        let board = Board::new();
        let secret = board.start(SECRET).secret("pump");
        // HMAC-SHA-256 of "wasmbed module secretpump" under 32 bytes of 7, by Python's hmac.
        let expected = "2e0f2c9e25f4cf2f8e7de45fb4393c2a5fdb60e14deb44a89fae91066ae56794";
        let digits = secret.map(|secret| secret.map(|byte| format!("{byte:02x}")).concat());
        assert_eq!(digits.as_deref(), Ok(expected), "values sealed before an update could not be opened");
        assert_eq!(board.start(SECRET).secret("pump"), secret);
        assert_ne!(board.start(SECRET).secret("fan"), secret);
        assert_ne!(board.start(Some(DeviceSecret([8; 32]))).secret("pump"), secret);
    }

    #[test]
    fn without_a_secret_there_is_nothing_to_derive_from() {
        let mut keeper = Board::new().start(None);
        assert_eq!(keeper.secret("pump"), Err(Errno::Unsupported));
        assert_eq!(keeper.random(0, &mut [0; 8]), Err(Errno::Unsupported));
    }

    #[test]
    fn no_two_draws_of_any_starts_are_alike() {
        let board = Board::new();
        let mut seen = HashSet::new();
        for _ in 0..50 {
            // The clock is the same at each start: only the number in flash differs.
            let mut keeper = board.start(SECRET);
            for _ in 0..20 {
                assert!(seen.insert(draw(&mut keeper)));
            }
        }
        let (mut long, mut short) = ([0; 5000], [0; 12]);
        let mut keeper = board.start(SECRET);
        keeper.random(0, &mut long).expect("drawn");
        keeper.random(0, &mut short).expect("drawn");
        assert!(long.windows(12).all(|window| window != short));
        let ones: u32 = long.iter().map(|byte| byte.count_ones()).sum();
        assert!((19_000..21_000).contains(&ones), "{ones} of 40000 bits");
    }

    #[test]
    fn a_power_cut_while_starts_are_counted_repeats_no_draw() {
        let board = Board::new();
        let mut seen = HashSet::new();
        for round in 0..300 {
            board.0.borrow_mut().cut(Cut { after: round % 4, seed: round });
            let mut keeper = board.start(SECRET);
            let mut out = [0; 12];
            // What was drawn before the power failed may have been used.
            if keeper.random(0, &mut out).is_ok() {
                assert!(seen.insert(out), "in round {round}");
            }
            board.0.borrow_mut().power_on();
            assert!(seen.insert(draw(&mut board.start(SECRET))), "after round {round}");
        }
        assert!(seen.len() > 400, "most draws succeed: {}", seen.len());
    }

    #[test]
    fn with_noise_a_board_draws_without_a_secret_and_without_counting_its_starts() {
        let board = Board::new();
        let mut seen = HashSet::new();
        for noise in 0..50 {
            let mut keeper = Keeper::new(&board.1, &LAYOUT, &provision(None), 1, Some([noise; 32]));
            board.0.borrow_mut().cut(Cut { after: 0, seed: 1 });
            assert!(seen.insert(draw(&mut keeper)));
        }
    }

    #[test]
    fn starts_that_cannot_be_counted_give_nothing() {
        let board = Board::new();
        let mut keeper = board.start(SECRET);
        board.0.borrow_mut().cut(Cut { after: 0, seed: 1 });
        assert_eq!(keeper.random(0, &mut [0; 8]), Err(Errno::Io));
    }
}
