//! One value of every message, with everything optional present, and the bytes it has had since it
//! was first sent. A changed constant is a changed wire: devices in the field speak the old one.

use std::str::FromStr;

use expect_test::{Expect, expect};
use wasmbed_wire::{
    ArtifactId, Digest, PublicKey, RuntimeId, Seq,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    message::*,
    provision::Provision,
};

/// A message, encoded.
pub(crate) struct Sample {
    /// Its type.
    pub(crate) name: &'static str,
    /// What the encoder makes of it.
    pub(crate) bytes: Vec<u8>,
    /// What it always made of it.
    pub(crate) hex: Expect,
    /// The value, for comparison with what `read` says.
    pub(crate) debug: String,
    /// Reads bytes and writes the value for comparison, `None` if they are refused.
    pub(crate) read: fn(&[u8]) -> Option<String>,
}

macro_rules! sample {
    ($type:ident $fields:tt, $hex:expr) => {
        written(stringify!($type), &$type $fields, $hex, |bytes| {
            minicbor::decode::<$type>(bytes).ok().map(|value| format!("{value:?}"))
        })
    };
}

fn written<T: minicbor::Encode<()> + std::fmt::Debug>(
    name: &'static str,
    value: &T,
    hex: Expect,
    read: fn(&[u8]) -> Option<String>,
) -> Sample {
    let bytes = minicbor::to_vec(value).expect("vectors grow");
    Sample { name, bytes, hex, debug: format!("{value:?}"), read }
}

pub(crate) fn parsed<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

const ARTIFACT: ArtifactId = ArtifactId([0xa0, 1, 2, 3, 4, 5, 6, 7]);
const RUNTIME: RuntimeId = RuntimeId([0xb0, 1, 2, 3, 4, 5, 6, 7]);

pub(crate) fn samples() -> Vec<Sample> {
    let mut all = reports();
    all.extend(exchanges());
    all.extend(desires());
    all.push(manifest());
    all.push(provision());
    all
}

/// What a device says of itself.
fn reports() -> Vec<Sample> {
    vec![
        sample!(State { status: Status::Online, boot: 258 }, expect!["a2000101190102"]),
        sample!(
            Info {
                boot: 258,
                protocol: PROTOCOL,
                board: parsed("netduino2"),
                class: Class::Mcu,
                firmware: "0.1.0",
                runtime: RUNTIME,
                reset: ResetCause::Watchdog,
                slots: 4,
                slot_bytes: 65_536,
                block_bytes: 512,
                heap_bytes: 0,
            },
            expect![
                "ab00190102010102696e65746475696e6f3203010465302e312e300548b00102030405060706030704081a00010000091902000a00"
            ]
        ),
        sample!(
            Reported {
                boot: 3,
                revision: 0x1_0000_0000,
                modules: Seq::new(&[
                    ModuleReport {
                        name: parsed("thermo"),
                        artifact: ARTIFACT,
                        state: ModuleState::Backoff,
                        progress: 100,
                        restarts: 2,
                        reason: Some(Reason::Trapped),
                    },
                    ModuleReport {
                        name: parsed("blink"),
                        artifact: ARTIFACT,
                        state: ModuleState::Downloading,
                        progress: 37,
                        restarts: 0,
                        reason: Some(Reason::OutOfMemory),
                    },
                ]),
            },
            expect![
                "a30003011b00000001000000000282a60066746865726d6f0148a00102030405060702030318640402050ba60065626c696e6b0148a00102030405060702000318250400050d"
            ]
        ),
        sample!(
            Heartbeat {
                boot: 3,
                seq: 70_000,
                uptime_ms: 0x1_0000_0001,
                heap_used: 12_000,
                heap_peak: 14_500,
                stack_free: 2_048,
                running: 1,
                link: Some(LinkCounters { received: 10, sent: 200, resent: 3, corrupt: 1 }),
                slowest_call_us: 1_500,
            },
            expect![
                "a90003011a00011170021b000000010000000103192ee0041938a405190800060107a4000a0118c802030301081905dc"
            ]
        ),
        sample!(
            Crash { boot: 2, message: "index out of bounds", pc: 0x0800_1234, uptime_ms: 5_000 },
            expect!["a400020173696e646578206f7574206f6620626f756e6473021a0800123403191388"]
        ),
    ]
}

/// Blocks and commands.
fn exchanges() -> Vec<Sample> {
    vec![
        sample!(
            Get { artifact: ARTIFACT, base: 1, bitmap: 0x8000_0001 },
            expect!["a30048a0010203040506070101021a80000001"]
        ),
        sample!(Block { index: 7, bytes: &[0, 0xff, 1] }, expect!["a20007014300ff01"]),
        sample!(Command { verb: Verb::Restart }, expect!["a10001"]),
        sample!(CommandResult { boot: 3, outcome: Outcome::Unsupported }, expect!["a200030101"]),
    ]
}

/// What a device should run.
fn desires() -> Vec<Sample> {
    vec![sample!(
        Desired {
            revision: 9,
            modules: Seq::new(&[DesiredModule {
                name: parsed("thermo"),
                artifact: ARTIFACT,
                settings: Seq::new(&[
                    Setting { key: "period_ms", value: "1000" },
                    Setting { key: "unit", value: "°C" },
                ]),
                generation: 4,
            }]),
            heartbeat_ms: Some(5_000),
        },
        expect![
            "a300090181a40066746865726d6f0148a0010203040506070282a20069706572696f645f6d73016431303030a20064756e69740163c2b043030402191388"
        ]
    )]
}

fn manifest() -> Sample {
    sample!(
        Manifest {
            kind: Kind::Module,
            name: parsed("thermo"),
            version: "1.2.3",
            classes: Classes::default().with(Class::Mcu).with(Class::Riscv),
            runtime: RUNTIME,
            size: 4_096,
            digest: Digest([0xd1; 32]),
            block_bytes: 512,
        },
        expect![
            "a800000166746865726d6f0265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d107190200"
        ]
    )
}

fn provision() -> Sample {
    sample!(
        Provision {
            device: parsed("pump-7"),
            trusted: Seq::new(&[PublicKey([0xe1; 32]), PublicKey([0xe2; 32])]),
            boot_floor: 1_800_000_000,
        },
        expect![
            "a3006670756d702d3701825820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e15820e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2021a6b49d200"
        ]
    )
}
