//! Calls for the network: what reaches the host, and what bad arguments are answered with.

use wasmbed_abi::{Call, Errno, MAX_DESTINATION_BYTES, MAX_NET_CALL_BYTES};
use wasmbed_wire::limits::Class;

use crate::{
    calls::answer,
    world::{Path, World, on_both},
};

/// At 8, and 15 bytes long.
const ALLOWED: &str = "tcp:a.example:1";
const MEMORY: i32 = 65536;

#[test]
fn a_connection_is_opened_used_and_closed() {
    on_both(Class::Mpu, |world| {
        let answer = |call, args: &[i32]| answer(&world, call, args, ALLOWED).0;
        assert_eq!(answer(Call::NetSend, &[0, 8, 3]), Errno::NotFound.code());
        assert_eq!(answer(Call::NetConnect, &[8, 15]), 0);
        assert_eq!(answer(Call::NetSend, &[0, 8, 3]), 3);
        assert_eq!(world.device.seen().connection.as_deref(), Some(&b"tcp"[..]));
        assert_eq!(answer(Call::NetReceive, &[0, 8, 5]), 5);
        assert_eq!(answer(Call::NetClose, &[0]), 0);
        assert_eq!(answer(Call::NetClose, &[0]), Errno::NotFound.code());
    });
}

#[test]
fn what_is_no_destination_does_not_reach_the_host() {
    on_both(Class::Mpu, |world| {
        for (text, errno) in [
            ("tcp:b.other:1", Errno::Denied),
            ("tcp:a.example", Errno::Invalid),
            ("tcp:[::ffff:127.0.0.1]:1", Errno::Invalid),
            ("tcp:127.1:1", Errno::Invalid),
            ("\\ff\\fe", Errno::Invalid),
            ("", Errno::Invalid),
        ] {
            let len = if text.starts_with('\\') { 2 } else { text.len() as i32 };
            assert_eq!(answer(&world, Call::NetConnect, &[8, len], text).0, errno.code(), "{text}");
        }
        let too_long = MAX_DESTINATION_BYTES as i32 + 1;
        assert_eq!(answer(&world, Call::NetConnect, &[8, too_long], "").0, Errno::TooLong.code());
        assert_eq!(world.device.seen().connection, None);
    });
}

#[test]
fn numbers_lengths_and_pointers_have_their_bounds() {
    on_both(Class::Mpu, |world| {
        let answer = |call, args: &[i32]| answer(&world, call, args, ALLOWED).0;
        assert_eq!(answer(Call::NetConnect, &[8, 15]), 0);
        let most = MAX_NET_CALL_BYTES as i32;
        assert_eq!(answer(Call::NetSend, &[0, 8, most]), most);
        assert_eq!(answer(Call::NetSend, &[0, 8, most + 1]), Errno::TooLong.code());
        assert_eq!(answer(Call::NetReceive, &[0, 8, MEMORY - 8]), most, "so much at once");
        assert_eq!(answer(Call::NetReceive, &[0, 8, 0]), Errno::NoSpace.code());
        for number in [-1, 1, i32::MIN, i32::MAX] {
            assert_eq!(answer(Call::NetSend, &[number, 8, 1]), Errno::NotFound.code());
            assert_eq!(answer(Call::NetReceive, &[number, 8, 1]), Errno::NotFound.code());
        }
        for (ptr, len) in [(MEMORY, 1), (MEMORY - 3, 4), (-1, 1), (8, -1), (-8, -8), (i32::MIN, i32::MIN)] {
            for (call, args) in [
                (Call::NetConnect, &[ptr, len][..]),
                (Call::NetSend, &[0, ptr, len]),
                (Call::NetReceive, &[0, ptr, len]),
            ] {
                assert_eq!(answer(call, args), Errno::Fault.code(), "{call:?} {args:?}");
            }
        }
    });
}

#[test]
fn small_boards_have_no_network() {
    let world = World::new(Path::Bytecode, Class::Mcu);
    let text = r#"(module (import "wasmbed" "net_close" (func (param i32) (result i32)))
        (memory (export "memory") 0 0) (func (export "tick")))"#;
    let refusal = world.load(text).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refusal.contains("network"), "{refusal}");
    assert!(World::new(Path::Bytecode, Class::Riscv).load(text).is_ok());
}
