//! What devices and services of the first version send, which had no firmware updates and no keyrings:
//! it is read for ever, with what they do not know absent.

use ed25519_compact::Signature;
use wasmbed_wire::{
    ArtifactId, Digest, RuntimeId, Seq,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    message::*,
    sign1::{Audience, Sign1},
};

use super::{
    samples::parsed,
    signed::{KEY, covered, hex, key_pair},
};

const INFO: &str = "ab00190102010102696e65746475696e6f3203010465302e312e300548b00102030405060706030704081a00010000091902000a00";
const REPORTED: &str = "a30003011b00000001000000000282a60066746865726d6f0148a00102030405060702030318640402050ba60065626c696e6b0148a00102030405060702000318250400050d";
const DESIRED: &str = "a300090181a40066746865726d6f0148a0010203040506070282a20069706572696f645f6d73016431303030a20064756e69740163c2b043030402191388";
const MANIFEST: &str = "a800000166746865726d6f0265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d107190200";
const SIGNED_MANIFEST: &str = "d28443a10127a10448c0010203040506075849a800000166746865726d6f0265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1071902005840f8b83b6a7b040128be9d5f2a8788caaefb36c981a84c8982f6db82a89463c11279903e50b5e0b5c712cf532cec860fa07675a7f61b3c3265ff0863ff447cf900";

const ARTIFACT: ArtifactId = ArtifactId([0xa0, 1, 2, 3, 4, 5, 6, 7]);
const RUNTIME: RuntimeId = RuntimeId([0xb0, 1, 2, 3, 4, 5, 6, 7]);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn written<T: minicbor::Encode<()>>(value: T) -> String {
    hex(&minicbor::to_vec(value).expect("vectors grow"))
}

/// A device without firmware slots still speaks like this.
#[test]
fn reports_are_read_and_written_the_same() {
    let info = Info {
        boot: 258,
        protocol: 1,
        board: parsed("netduino2"),
        class: Class::Mcu,
        firmware: "0.1.0",
        runtime: RUNTIME,
        reset: ResetCause::Watchdog,
        slots: 4,
        slot_bytes: 65_536,
        block_bytes: 512,
        heap_bytes: 0,
        firmware_slots: None,
    };
    assert_eq!(minicbor::decode::<Info>(&bytes(INFO)).expect("readable"), info);
    assert_eq!(written(info), INFO);

    let thermo = ModuleReport {
        name: parsed("thermo"),
        artifact: ARTIFACT,
        state: ModuleState::Backoff,
        progress: 100,
        restarts: 2,
        reason: Some(Reason::Trapped),
    };
    let blink = ModuleReport {
        name: parsed("blink"),
        artifact: ARTIFACT,
        state: ModuleState::Downloading,
        progress: 37,
        restarts: 0,
        reason: Some(Reason::OutOfMemory),
    };
    let modules = [thermo, blink];
    let reported = Reported {
        boot: 3,
        revision: 0x1_0000_0000,
        modules: Seq::new(&modules),
        firmware: None,
        keyring: None,
    };
    assert_eq!(minicbor::decode::<Reported>(&bytes(REPORTED)).expect("readable"), reported);
    assert_eq!(written(reported), REPORTED);
}

/// A device of the first version is still commanded like this, and skips what it does not know.
#[test]
fn a_command_is_read_as_one_for_no_connect() {
    let command = Command { verb: Verb::Restart, boot: 0, number: 0 };
    assert_eq!(minicbor::decode::<Command>(&bytes("a10001")).expect("readable"), command);
}

/// A device that should keep its firmware is still told like this.
#[test]
fn a_desired_state_is_read_and_written_the_same() {
    let settings = [Setting { key: "period_ms", value: "1000" }, Setting { key: "unit", value: "°C" }];
    let thermo = DesiredModule {
        name: parsed("thermo"),
        artifact: ARTIFACT,
        settings: Seq::new(&settings),
        generation: 4,
        grants: 0,
    };
    let modules = [thermo];
    let desired =
        Desired { revision: 9, modules: Seq::new(&modules), heartbeat_ms: Some(5_000), firmware: None };
    assert_eq!(minicbor::decode::<Desired>(&bytes(DESIRED)).expect("readable"), desired);
    assert_eq!(written(desired), DESIRED);
}

#[test]
fn a_manifest_is_read_and_now_says_its_counter_too() {
    let manifest = Manifest {
        kind: Kind::Module,
        name: parsed("thermo"),
        version: "1.2.3",
        classes: Classes::default().with(Class::Mcu).with(Class::Riscv),
        runtime: RUNTIME,
        size: 4_096,
        digest: Digest([0xd1; 32]),
        block_bytes: 512,
        board: None,
        counter: 0,
        patch: None,
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
    };
    assert_eq!(minicbor::decode::<Manifest>(&bytes(MANIFEST)).expect("readable"), manifest);
    // Nine fields instead of eight, and the ninth.
    let fields = MANIFEST.strip_prefix("a8").expect("a map of eight");
    assert_eq!(written(manifest), format!("a9{fields}0900"));
}

#[test]
fn a_signature_still_holds() {
    let message = bytes(SIGNED_MANIFEST);
    let received = Sign1::decode(&message).expect("well-formed");
    assert_eq!((received.key, hex(received.payload).as_str()), (KEY, MANIFEST));
    let covered = covered(Audience::Everyone, received.payload);
    assert!(key_pair().pk.verify(covered, &Signature::new(*received.signature)).is_ok());
}
