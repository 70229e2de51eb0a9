//! The serial link over a simulated line, in virtual time.

mod faults;
mod sessions;
mod world;

use wasmbed_wire::link::{Config, SendError, console_frame};
use world::{BOARD_CONFIG, DATAGRAM_BYTES, Faults, HOST_CONFIG, Side::*, Told, World};

fn connected() -> World {
    let mut world = World::new(1);
    world.until(200, |w| w.both_up());
    world
}

#[test]
fn both_ends_come_up_within_a_few_frames() {
    let mut world = connected();
    world.run(100);
    assert_eq!(world.told(Board), [Told::Up]);
    assert_eq!(world.told(Host), [Told::Up]);
    let frames = world.frames(Board) + world.frames(Host);
    assert!(frames <= 8, "{frames} frames");
}

#[test]
fn either_end_may_start_long_before_the_other() {
    for (first, second) in [(Board, Host), (Host, Board)] {
        let mut world = World::off(3, BOARD_CONFIG, HOST_CONFIG);
        world.start(first, 9);
        world.run(30_000);
        let frames = world.frames(first);
        assert!(frames < 60, "{frames} frames to nobody");
        world.start(second, 9);
        world.until(200, |w| w.both_up());
    }
}

#[test]
fn datagrams_of_every_size_arrive_unchanged() {
    let mut world = connected();
    for len in 0..=DATAGRAM_BYTES {
        // Long runs with and without zeros: both sides of every boundary of the stuffing.
        let datagram: Vec<u8> = (0..len).map(|i| if len % 3 == 0 { 0 } else { i as u8 }).collect();
        world.until(1_000, |w| w.link(Board).can_send(len));
        world.send(Board, &datagram).expect("room");
        world.until(1_000, |w| w.told(Host).last() == Some(&Told::Datagram(datagram.clone())));
    }
}

#[test]
fn numbers_wrap_around_without_notice() {
    let mut world = connected();
    let total = 3_000_u32;
    let (mut up, mut down) = (0, 0);
    world.until(200_000, |w| {
        while up < total && w.link(Board).can_send(4) {
            w.send(Board, &up.to_le_bytes()).expect("room");
            up += 1;
        }
        while down < total && w.link(Host).can_send(4) {
            w.send(Host, &down.to_le_bytes()).expect("room");
            down += 1;
        }
        w.told(Board).len().min(w.told(Host).len()) > total as usize
    });
    let expected: Vec<_> = (0..total).map(|i| i.to_le_bytes().to_vec()).collect();
    assert_eq!(world.datagrams(Host), expected);
    assert_eq!(world.datagrams(Board), expected);
    assert_eq!(world.link(Host).counters().resent, 0, "a clean line needs no repetition");
    assert_eq!(world.link(Host).counters().received, total);
}

#[test]
fn an_idle_link_only_pings() {
    let mut world = connected();
    world.run(1_000);
    let before = world.frames(Board) + world.frames(Host);
    world.run(60_000);
    let frames = world.frames(Board) + world.frames(Host) - before;
    // One ping and its answer per half second.
    assert!((200..=244).contains(&frames), "{frames} frames in a quiet minute");
    assert!(world.both_up());
}

#[test]
fn a_dead_end_is_noticed_by_its_silence() {
    let mut world = connected();
    world.stop(Board);
    let took = world.until(10_000, |w| w.told(Host).last() == Some(&Told::Down));
    assert!((1_500..=2_600).contains(&took), "noticed after {took} ms");
    let before = world.frames(Host);
    world.run(60_000);
    let frames = world.frames(Host) - before;
    assert!((55..=65).contains(&frames), "{frames} frames in a minute of looking for it");
}

#[test]
fn an_end_without_pings_notices_when_its_datagrams_stay_unanswered() {
    let mut world = connected();
    world.stop(Host);
    world.run(20_000);
    assert_eq!(world.told(Board), [Told::Up], "nothing was owed");
    world.send(Board, b"anyone there?").expect("room");
    let took = world.until(10_000, |w| w.told(Board).last() == Some(&Told::Down));
    assert!((2_000..=2_100).contains(&took), "noticed after {took} ms");
}

#[test]
fn a_slow_reader_is_not_a_dead_one() {
    let mut world = connected();
    // More than the dead time at line speed, in one go.
    let mut sent = 0;
    world.until(20_000, |w| {
        while sent < 200 && w.link(Host).can_send(DATAGRAM_BYTES) {
            w.send(Host, &[sent; DATAGRAM_BYTES]).expect("room");
            sent += 1;
        }
        w.told(Board).len() > 200
    });
    assert!(!world.told(Host).contains(&Told::Down));
}

#[test]
fn what_cannot_be_queued_says_why() {
    let mut world = World::off(1, BOARD_CONFIG, HOST_CONFIG);
    world.start(Board, 1);
    assert_eq!(world.send(Board, b"early"), Err(SendError::Down));
    assert_eq!(world.link(Board).largest_datagram(), 0);
    world.start(Host, 1);
    world.until(200, |w| w.both_up());
    assert_eq!(world.link(Board).largest_datagram(), DATAGRAM_BYTES);
    let too_large = world.send(Board, &[0; DATAGRAM_BYTES + 1]);
    assert_eq!(too_large, Err(SendError::TooLarge { limit: DATAGRAM_BYTES }));
    assert!(!world.link(Board).can_send(usize::MAX));
    let mut queued = 0;
    while world.link(Board).can_send(DATAGRAM_BYTES) {
        world.send(Board, &[7; DATAGRAM_BYTES]).expect("room was promised");
        queued += 1;
    }
    assert_eq!(world.send(Board, &[7; DATAGRAM_BYTES]), Err(SendError::Full));
    world.until(2_000, |w| w.datagrams(Host).len() == queued);
    assert!(world.link(Board).can_send(DATAGRAM_BYTES), "acknowledged datagrams make room");
}

#[test]
fn no_more_than_the_window_is_under_way() {
    for window in [0, 1, 2, 64, 255] {
        let mut world = World::off(1, Config { window, ..BOARD_CONFIG }, HOST_CONFIG);
        world.start(Board, 1);
        world.start(Host, 1);
        world.until(200, |w| w.both_up());
        world.run(50);
        world.stop(Board);
        for i in 0..100 {
            world.send(Host, &[i]).expect("room");
        }
        // Before the first repetition every datagram was sent once.
        let before = world.frames(Host);
        world.run(u64::from(HOST_CONFIG.resend_ms) - 10);
        let data = world.frames(Host) - before;
        assert_eq!(data, u64::from(window.clamp(1, 64)), "window {window}");
    }
}

#[test]
fn console_text_passes_between_frames_without_disturbing_them() {
    let mut world = connected();
    let mut out = [0; 64];
    let len = console_frame(b"panicked at reading the sensor", &mut out);
    for i in 0..20 {
        world.send(Board, &[i; 20]).expect("room");
        world.inject(Board, &out[..len]);
        world.run(40);
    }
    let text = Told::Console(b"panicked at reading the sensor".to_vec());
    assert_eq!(world.told(Host).iter().filter(|told| **told == text).count(), 20);
    assert_eq!(world.datagrams(Host), (0..20).map(|i| vec![i; 20]).collect::<Vec<_>>());
    assert_eq!(world.link(Host).counters().corrupt, 0);
    assert_eq!(world.link(Host).counters().received, 20);
}

#[test]
fn console_text_ends_a_frame_that_was_cut_by_the_crash() {
    let mut world = World::off(1, BOARD_CONFIG, HOST_CONFIG);
    world.start(Host, 1);
    let mut out = [0; 64];
    let len = console_frame(b"last words", &mut out);
    world.inject(Board, b"\x07half a");
    world.inject(Board, &out[..len]);
    world.run(50);
    assert_eq!(world.told(Host), [Told::Console(b"last words".to_vec())]);
    assert_eq!(console_frame(b"last words", &mut [0; 10]), 0, "no room, no frame");
    assert_eq!(console_frame(b"", &mut []), 0);
}

#[test]
fn noise_before_the_first_frame_and_empty_frames_do_no_harm() {
    let mut world = World::off(1, BOARD_CONFIG, HOST_CONFIG);
    world.start(Host, 1);
    world.inject(Board, &[0; 100]);
    world.inject(Board, b"U-Boot 2016.01\r\n\x01\x00\x00\xff\x00\x02\x01\x00");
    world.start(Board, 1);
    world.until(500, |w| w.both_up());
    assert_eq!(world.told(Host), [Told::Up]);
}

#[test]
fn a_lost_datagram_is_asked_for_at_once_and_once() {
    let mut world = connected();
    world.run(100);
    for round in 1..=5 {
        world.muted = Some(Board);
        world.send(Board, &[0; 40]).expect("room");
        world.run(5);
        world.muted = None;
        for i in 1..8 {
            world.send(Board, &[i; 40]).expect("room");
        }
        let took = world.until(1_000, |w| w.datagrams(Host).len() == 8 * round);
        assert!(took < 100, "repaired after {took} ms, long before the time-out of 200");
        world.run(1_000);
        let expected: Vec<_> = (0..8).map(|i| vec![i; 40]).collect();
        assert_eq!(world.datagrams(Host)[8 * (round - 1)..], expected);
        let resent = world.link(Board).counters().resent;
        // The lost one, and what was on the line until the board heard of it.
        assert!(resent <= 3 * round as u32, "{resent} sent again after {round} losses");
    }
}

#[test]
fn a_lost_acknowledgement_is_given_again() {
    let mut world = World::off(1, BOARD_CONFIG, Config { ping_ms: None, ..HOST_CONFIG });
    world.start(Board, 1);
    world.start(Host, 2);
    world.run(200);
    world.muted = Some(Host);
    world.send(Board, b"heard").expect("room");
    world.run(50);
    world.muted = None;
    world.run(1_000);
    let before = world.frames(Board);
    world.run(60_000);
    assert_eq!(world.frames(Board), before, "the board knows that it arrived");
    assert_eq!(world.told(Host), [Told::Up, Told::Datagram(b"heard".to_vec())]);
    assert_eq!(world.told(Board), [Told::Up]);
}

#[test]
fn repetition_slows_down_during_an_outage_but_not_beyond_two_seconds() {
    let patient = Config { dead_ms: 300_000, ..BOARD_CONFIG };
    let mut world = World::off(1, patient, Config { dead_ms: 300_000, ..HOST_CONFIG });
    world.start(Board, 1);
    world.start(Host, 2);
    world.run(200);
    world.faults = Faults::CUT;
    world.send(Board, b"late").expect("room");
    let before = world.frames(Board);
    world.run(200_000);
    let frames = world.frames(Board) - before;
    assert!((98..=106).contains(&frames), "{frames} frames in 200 s");
    world.faults = Faults::default();
    world.until(2_050, |w| w.datagrams(Host) == [b"late"]);
}

/// A driver or an emulator may repeat what it had in its buffer.
#[test]
fn old_frames_of_this_session_do_no_harm() {
    let mut world = connected();
    for round in 0..20_u8 {
        let (board, host) = (world.said(Board).len(), world.said(Host).len());
        for i in 0..5 {
            world.send(Board, &[round, i]).expect("room");
            world.send(Host, &[round, i]).expect("room");
        }
        world.run(60);
        let again = (world.said(Board).split_off(board), world.said(Host).split_off(host));
        world.send(Board, &[round, 5]).expect("room");
        world.send(Host, &[round, 5]).expect("room");
        world.inject(Board, &again.0);
        world.inject(Host, &again.1);
        world.run(300);
    }
    let expected: Vec<_> = (0..20).flat_map(|round| (0..6).map(move |i| vec![round, i])).collect();
    assert_eq!(world.datagrams(Host), expected);
    assert_eq!(world.datagrams(Board), expected);
}

#[test]
fn a_lost_last_datagram_is_sent_again_after_the_time_out() {
    let mut world = connected();
    world.run(100);
    world.faults = Faults::CUT;
    world.send(Board, b"lost").expect("room");
    world.run(5);
    world.faults = Faults::default();
    let took = world.until(1_000, |w| w.datagrams(Host).len() == 1);
    assert!((150..=250).contains(&took), "sent again after {took} ms");
}
