//! Restarts: what was queued is dropped, nothing of the old session is delivered in the new one, and
//! whatever happens crosswise both ends find together again.

use wasmbed_wire::link::{Config, Event, Link, RX_OVERHEAD_BYTES};

use super::world::{BOARD_CONFIG, Faults, HOST_CONFIG, Side, Side::*, Told, World};

#[test]
fn a_restart_is_down_then_up_and_drops_what_was_queued() {
    for (stays, restarts) in [(Host, Board), (Board, Host)] {
        // Also with the session number it had before: a boot counter that was not kept.
        for session in [77, 2, 1] {
            let mut world = World::new(5);
            world.until(200, |w| w.both_up());
            world.run(50);
            for i in 0..6 {
                world.send(stays, &[b'o', b'l', b'd', i]).expect("room");
            }
            world.run(4);
            world.start(restarts, session);
            world.until(3_000, |w| w.both_up() && w.told(stays).len() > 2);
            assert_eq!(world.told(stays)[1..], [Told::Down, Told::Up], "{stays:?}, session {session}");
            world.send(stays, b"new").expect("room");
            world.until(1_000, |w| w.told(restarts).len() > 1);
            assert_eq!(world.told(restarts), [Told::Up, Told::Datagram(b"new".to_vec())]);
        }
    }
}

#[test]
fn the_end_that_stays_hears_down_before_anything_of_the_new_session() {
    let mut world = World::new(6);
    world.until(200, |w| w.both_up());
    world.send(Board, b"first").expect("room");
    world.run(100);
    world.start(Board, 20);
    world.until(1_000, |w| w.both_up());
    world.send(Board, b"second").expect("room");
    world.run(100);
    let expected = [
        Told::Up,
        Told::Datagram(b"first".to_vec()),
        Told::Down,
        Told::Up,
        Told::Datagram(b"second".to_vec()),
    ];
    assert_eq!(world.told(Host), expected);
}

#[test]
fn ends_that_restart_together_find_each_other() {
    // Every small offset between the two restarts crosses other frames of the handshake.
    for offset in 0..40 {
        for rest in 0..20 {
            let mut world = World::new(7);
            world.run(rest);
            world.start(Board, 100);
            world.run(offset);
            world.start(Host, 200);
            world.run(offset / 2);
            world.start(Board, 300);
            world.until(3_000, |w| w.both_up());
            let before = world.frames(Board) + world.frames(Host);
            world.run(10_000);
            let frames = world.frames(Board) + world.frames(Host) - before;
            assert!(frames <= 60, "{frames} frames in ten quiet seconds after {offset}, {rest}");
            assert!(!world.told(Board).contains(&Told::Down));
        }
    }
}

/// An end that is up and has nothing to say must not leave the other one alone.
#[test]
fn one_lost_frame_of_the_handshake_does_not_strand_an_end() {
    let silent = Config { ping_ms: None, ..HOST_CONFIG };
    for (muted, at) in [Board, Host].into_iter().flat_map(|side| (0..40).map(move |at| (side, at))) {
        let mut world = World::off(8, BOARD_CONFIG, silent);
        world.start(Board, 1);
        world.run(20);
        world.start(Host, 2);
        world.run(at);
        world.muted = Some(muted);
        world.run(3);
        world.muted = None;
        world.until(2_000, |w| w.both_up());
    }
}

#[test]
fn a_line_that_comes_back_joins_the_ends_again() {
    for outage in [100, 1_000, 5_000, 60_000] {
        let mut world = World::new(9);
        world.until(200, |w| w.both_up());
        world.faults = Faults::CUT;
        let told = |w: &mut World, side: Side| w.told(side).len();
        let (board, host) = (told(&mut world, Board), told(&mut world, Host));
        world.run(outage);
        world.faults = Faults::default();
        world.until(2_500, |w| w.both_up());
        world.send(Host, b"back").expect("room");
        world.until(3_000, |w| w.told(Board).last() == Some(&Told::Datagram(b"back".to_vec())));
        if outage < 1_500 {
            assert_eq!((board, host), (1, 1));
            assert!(!world.told(Host).contains(&Told::Down), "a short outage is not a restart");
        } else {
            assert!(world.told(Host).contains(&Told::Down));
        }
    }
}

#[test]
fn an_old_session_that_the_line_repeats_is_not_delivered() {
    let mut world = World::new(10);
    world.until(200, |w| w.both_up());
    for side in [Board, Host] {
        world.send(side, b"old").expect("room");
    }
    world.run(200);
    let old = (world.said(Board), world.said(Host));
    // Both notice the outage and start a new session without having restarted.
    world.faults = Faults::CUT;
    world.send(Board, b"never arrives").expect("room");
    world.run(5_000);
    world.faults = Faults::default();
    world.until(2_000, |w| w.both_up());
    world.inject(Board, &old.0);
    world.inject(Host, &old.1);
    world.run(3_000);
    world.until(2_000, |w| w.both_up());
    assert_eq!(world.datagrams(Host), [b"old"]);
    assert_eq!(world.datagrams(Board), [b"old"]);
}

/// A datagram nobody has polled yet belongs to the session that ends.
#[test]
fn down_is_the_last_word_of_a_session() {
    let config = Config { ping_ms: Some(100), dead_ms: 300, ..HOST_CONFIG };
    let mut a: Link<100, 100> = Link::new(0, config, 1);
    let mut b: Link<100, 100> = Link::new(0, config, 2);
    for now in 0..20 {
        pass(now, &mut a, &mut b);
        pass(now, &mut b, &mut a);
    }
    while a.poll_event().is_some() || b.poll_event().is_some() {}
    a.send(b"unread").expect("up");
    pass(20, &mut a, &mut b);
    assert_eq!(b.transmit(1_000, &mut [0; 200]).min(1), 1, "says hello after the silence");
    let mut told = Vec::new();
    while let Some(event) = b.poll_event() {
        told.push(format!("{event:?}"));
    }
    assert_eq!(told, ["Down"]);
}

/// A session nobody heard of did not happen.
#[test]
fn up_and_down_between_two_polls_cancel_out() {
    let config = Config { ping_ms: Some(100), dead_ms: 300, ..HOST_CONFIG };
    let mut a: Link<100, 100> = Link::new(0, config, 1);
    let mut b: Link<100, 100> = Link::new(0, config, 2);
    let mut out = [0; 200];
    let mut pass = |from: &mut Link<100, 100>, to: &mut Link<100, 100>| {
        let len = from.transmit(0, &mut out);
        to.on_bytes(0, &out[..len])
    };
    pass(&mut a, &mut b);
    pass(&mut b, &mut a);
    assert!(a.is_up());
    a.transmit(5_000, &mut [0; 200]);
    assert!(!a.is_up());
    assert_eq!(a.poll_event(), None);
}

#[test]
fn each_end_sends_only_what_the_other_can_take() {
    const SMALL: usize = 64 + RX_OVERHEAD_BYTES;
    let mut board: Link<SMALL, 1_000> = Link::new(0, BOARD_CONFIG, 1);
    let mut host: Link<2_000, 66> = Link::new(0, HOST_CONFIG, 2);
    let mut out = [0; 64];
    let len = board.transmit(0, &mut out);
    host.on_bytes(0, &out[..len]);
    assert_eq!(host.largest_datagram(), 0, "it knows the board, but the board does not know it yet");
    for now in 0..20 {
        pass(now, &mut board, &mut host);
        pass(now, &mut host, &mut board);
        while board.poll_event().is_some() || host.poll_event().is_some() {}
    }
    assert_eq!(host.largest_datagram(), 64, "what the board can take");
    assert_eq!(board.largest_datagram(), 998, "what its own queue can take");
    host.send(&[5; 64]).expect("room");
    pass(21, &mut host, &mut board);
    assert_eq!(board.poll_event(), Some(Event::Datagram(&[5; 64])));
    board.send(&[6; 998]).expect("room");
    pass(21, &mut board, &mut host);
    assert_eq!(host.poll_event(), Some(Event::Datagram(&[6; 998])));
}

/// Everything `from` has to say, to `to`.
fn pass<const RX: usize, const TX: usize, const RX2: usize, const TX2: usize>(
    now: u64,
    from: &mut Link<RX, TX>,
    to: &mut Link<RX2, TX2>,
) {
    let mut out = [0; 2_100];
    loop {
        let len = from.transmit(now, &mut out);
        if len == 0 {
            return;
        }
        to.on_bytes(now, &out[..len]);
    }
}

/// Of an end that restarted, only what it says in its new session counts.
#[test]
fn an_end_that_is_not_up_takes_no_datagram_of_an_earlier_session() {
    let mut host: Link<100, 100> = Link::new(0, HOST_CONFIG, 1);
    let mut old: Link<100, 100> = Link::new(0, BOARD_CONFIG, 10);
    let mut out = [0; 200];
    // The board hears the host and is up; the host has not heard of that yet.
    pass(0, &mut old, &mut host);
    pass(0, &mut host, &mut old);
    old.send(b"old").expect("up");
    let late = old.transmit(1, &mut out);
    assert!(late > 0);
    let mut new: Link<100, 100> = Link::new(2, BOARD_CONFIG, 11);
    pass(2, &mut new, &mut host);
    host.on_bytes(3, &out[..late]);
    assert_eq!(host.poll_event(), None);
}
