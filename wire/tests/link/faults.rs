//! Random traffic over a random line: what arrives is a gapless beginning of what one session sent, and
//! once the line is good again everything arrives in bounded time.

use proptest::prelude::*;
use wasmbed_wire::link::Config;

use super::world::{DATAGRAM_BYTES, Faults, Side, Side::*, Told, World};

/// Something that happens after a pause.
#[derive(Debug, Clone)]
enum Step {
    Send(Side, usize),
    Restart(Side),
    Faults(Faults),
    Console,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Board), Just(Host)]
}

fn faults() -> impl Strategy<Value = Faults> {
    let rare = || prop_oneof![3 => Just(0_u16), 1 => 1..200_u16];
    let often = || prop_oneof![3 => Just(0_u16), 1 => 1..4_000_u16];
    let bytes = (rare(), rare(), rare(), rare(), rare());
    let frames = (often(), often(), often());
    let mixed = (bytes, frames).prop_map(|(bytes, frames)| Faults {
        lose_byte: bytes.0,
        repeat_byte: bytes.1,
        flip_byte: bytes.2,
        noise_byte: bytes.3,
        zero_byte: bytes.4,
        lose_frame: frames.0,
        repeat_frame: frames.1,
        cut_frame: frames.2,
    });
    prop_oneof![8 => mixed, 1 => Just(Faults::CUT), 1 => Just(Faults::default())]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (side(), 0..=DATAGRAM_BYTES - 8).prop_map(|(side, len)| Step::Send(side, len)),
        1 => side().prop_map(Step::Restart),
        2 => faults().prop_map(Step::Faults),
        2 => Just(Step::Console),
    ]
}

fn config(ping: bool) -> impl Strategy<Value = Config> {
    (0..=80_u8, 20..400_u32, 300..3_000_u32).prop_map(move |(window, resend_ms, dead_ms)| Config {
        window,
        resend_ms,
        ping_ms: ping.then_some(dead_ms / 4),
        dead_ms,
    })
}

/// What one side sent: a running number per session, and the session in which it stands.
#[derive(Default)]
struct Sender {
    session: u32,
    next: u32,
    heard: usize,
    starts: u16,
}

impl Sender {
    /// A datagram that says where it belongs.
    fn datagram(&self, len: usize) -> Vec<u8> {
        let head = [self.session.to_le_bytes(), self.next.to_le_bytes()].concat();
        let fill = (0..len).map(|i| (i as u32 ^ self.next) as u8 & 0x81);
        head.into_iter().chain(fill).collect()
    }

    /// Starts a new session at every `Up` this side was told since the last look.
    fn follow(&mut self, told: &[Told]) {
        let ups = told[self.heard..].iter().filter(|told| **told == Told::Up).count();
        self.heard = told.len();
        if ups > 0 {
            self.session += ups as u32;
            self.next = 0;
        }
    }
}

/// What one side received must be, from each `Up` to its `Down`, datagrams 0, 1, 2, … of one session of
/// the other side, and of a later one than before.
fn check(told: &[Told], mut last: u32) -> u32 {
    let mut current: Option<(u32, u32)> = None;
    let mut up = false;
    for told in told {
        match told {
            Told::Up => {
                assert!(!up, "up while up");
                (up, current) = (true, None);
            }
            Told::Down => {
                assert!(up, "down while down");
                up = false;
            }
            Told::Datagram(bytes) => {
                assert!(up, "a datagram while down");
                let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
                let (session, index) = (number(0), number(4));
                let expected = match current {
                    Some((session, index)) => (session, index + 1),
                    None => {
                        assert!(session > last, "session {session} after {last}");
                        (session, 0)
                    }
                };
                assert_eq!((session, index), expected);
                let sender = Sender { session, next: index, ..Sender::default() };
                assert_eq!(bytes, &sender.datagram(bytes.len() - 8), "contents");
                (current, last) = (Some((session, index)), session);
            }
            Told::Console(text) => assert_eq!(text, b"hello, people"),
        }
    }
    last
}

struct Run {
    world: World,
    board: Sender,
    host: Sender,
    /// Last session of the other side each side has heard, over its restarts.
    board_heard: u32,
    host_heard: u32,
}

impl Run {
    fn sender(&mut self, side: Side) -> &mut Sender {
        match side {
            Board => &mut self.board,
            Host => &mut self.host,
        }
    }

    fn follow(&mut self) {
        self.board.follow(self.world.told(Board));
        self.host.follow(self.world.told(Host));
    }

    fn perform(&mut self, step: &Step) {
        self.follow();
        match step {
            Step::Send(side, len) => {
                let datagram = self.sender(*side).datagram(*len);
                if self.world.send(*side, &datagram).is_ok() {
                    self.sender(*side).next += 1;
                }
            }
            Step::Restart(side) => {
                self.check(*side);
                let sender = self.sender(*side);
                sender.heard = 0;
                sender.starts += 1;
                let boot = 1 + sender.starts;
                self.world.start(*side, boot);
            }
            Step::Faults(faults) => self.world.faults = *faults,
            Step::Console => {
                let mut out = [0; 64];
                let len = wasmbed_wire::link::console_frame(b"hello, people", &mut out);
                self.world.inject(Board, &out[..len]);
            }
        }
    }

    fn check(&mut self, side: Side) {
        match side {
            Board => self.board_heard = check(self.world.told(Board), self.board_heard),
            Host => self.host_heard = check(self.world.told(Host), self.host_heard),
        }
    }

    /// Whether everything of the present session has arrived on both sides.
    fn settled(&mut self) -> bool {
        self.follow();
        let (to_host, to_board) = (self.board.next, self.host.next);
        self.world.both_up()
            && arrived(&mut self.world, Host) == to_host
            && arrived(&mut self.world, Board) == to_board
    }
}

/// Datagrams since the last `Up`.
fn arrived(world: &mut World, side: Side) -> u32 {
    let recent = world.told(side).iter().rev().take_while(|told| **told != Told::Up);
    recent.filter(|told| matches!(told, Told::Datagram(_))).count() as u32
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_arrives_is_what_one_session_sent(
        seed in any::<u64>(),
        board in config(false),
        host in config(true),
        steps in prop::collection::vec((0..120_u64, step()), 1..120),
    ) {
        let mut run = Run {
            world: World::off(seed, board, host),
            board: Sender::default(),
            host: Sender::default(),
            board_heard: 0,
            host_heard: 0,
        };
        run.world.start(Board, 1);
        run.world.start(Host, 1);
        for (pause, step) in &steps {
            run.world.run(*pause);
            run.perform(step);
        }
        run.world.faults = Faults::default();
        // The longest wait for silence, then hello, then the longest wait for a repetition.
        let bound = u64::from(host.dead_ms.max(board.dead_ms)) + 1_000 + 2_000 + 2_000;
        let deadline = run.world.now() + bound;
        while !run.settled() {
            assert!(run.world.now() < deadline, "not settled after {bound} ms");
            run.world.run(1);
        }
        run.check(Board);
        run.check(Host);
    }
}
