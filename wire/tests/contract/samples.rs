//! One value of every message, with everything optional present, and its bytes. A constant changes only
//! when a field is added, and what was sent before is kept in `first.rs`: any other change is a changed
//! wire, and devices in the field speak the old one.

use std::str::FromStr;

use expect_test::{Expect, expect};
use wasmbed_wire::{
    ArtifactId, Digest, PublicKey, RuntimeId, Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
    limits::Class,
    manifest::{Classes, Kind, Manifest, Patch, Trial},
    message::*,
    provision::{Broker, DeviceSecret, PrivateKey, Provision, Tls},
    ros::*,
};

/// A message, encoded.
pub(crate) struct Sample {
    /// Its type.
    pub(crate) name: &'static str,
    /// What the encoder makes of it.
    pub(crate) bytes: Vec<u8>,
    /// What it must make of it.
    pub(crate) hex: Expect,
    /// The value, for comparison with what `read` says.
    pub(crate) debug: String,
    /// Reads bytes and writes the value for comparison, `None` if they are refused.
    pub(crate) read: fn(&[u8]) -> Option<String>,
}

macro_rules! sample {
    ($type:ident $fields:tt, $hex:expr) => {
        sample!($type = $type $fields, $hex)
    };
    ($type:ident = $value:expr, $hex:expr) => {
        written(stringify!($type), &$value, $hex, |bytes| {
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
const PATCH: ArtifactId = ArtifactId([0xa8, 1, 2, 3, 4, 5, 6, 7]);
const RUNTIME: RuntimeId = RuntimeId([0xb0, 1, 2, 3, 4, 5, 6, 7]);
const IMAGE: Digest = Digest([0xd2; 32]);

pub(crate) fn samples() -> Vec<Sample> {
    let mut all = reports();
    all.extend(exchanges());
    all.extend(desires());
    all.extend(parts());
    all.extend(ros());
    all.push(manifest());
    all.push(keyring());
    all.push(provision());
    all
}

const FIRMWARE_SLOTS: FirmwareSlots = FirmwareSlots {
    running: Some(Digest([0xd3; 32])),
    other: Some(IMAGE),
    image_bytes: 458_752,
    patch_bytes: 65_536,
    counter: 7,
};

const TYPED: RosTyped<'static> = RosTyped { name: "/t", ty: "p/msg/T" };

const HEARD_VEHICLE: HeardVehicle =
    HeardVehicle { system: 1, kind: 2, base_mode: 209, landed: 2, battery: Some(73), age_ms: 300 };

const FIRMWARE_REPORT: FirmwareReport = FirmwareReport {
    image: IMAGE,
    state: FirmwareState::Refused,
    progress: 100,
    reason: Some(Reason::Blocked),
    generation: 2,
    since: Some(0x0001_0000),
};

const DESIRED_FIRMWARE: DesiredFirmware = DesiredFirmware {
    artifact: ARTIFACT,
    image: IMAGE,
    patch: Some(PATCH),
    generation: 2,
    confirm: Some(259),
};

fn trusted_key() -> TrustedKey {
    TrustedKey {
        key: PublicKey([0xe1; 32]),
        roles: Roles::default().with(Role::Firmware).with(Role::Patch),
        not_after_s: Some(1_900_000_000),
    }
}

/// What travels inside others and may be incomplete.
fn parts() -> Vec<Sample> {
    vec![
        sample!(
            FirmwareSlots = FIRMWARE_SLOTS,
            expect![
                "a5005820d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2021a00070000031a000100000407"
            ]
        ),
        sample!(
            FirmwareReport = FIRMWARE_REPORT,
            expect![
                "a6005820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2010902186403181a0402051a00010000"
            ]
        ),
        sample!(
            DesiredFirmware = DESIRED_FIRMWARE,
            expect![
                "a50048a001020304050607015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d20248a801020304050607030204190103"
            ]
        ),
        sample!(
            TrustedKey = trusted_key(),
            expect![
                "a3005820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1010a021a713fb300"
            ]
        ),
    ]
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
                firmware_slots: Some(FIRMWARE_SLOTS),
            },
            expect![
                "ac00190102010202696e65746475696e6f3203010465302e312e300548b00102030405060706030704081a00010000091902000a000ba5005820d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2021a00070000031a000100000407"
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
                firmware: Some(FIRMWARE_REPORT),
                keyring: Some(5),
            },
            expect![
                "a50003011b00000001000000000282a60066746865726d6f0148a00102030405060702030318640402050ba60065626c696e6b0148a00102030405060702000318250400050d03a6005820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2010902186403181a0402051a000100000405"
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
                modules: Seq::new(&[ModuleUse {
                    name: parsed("thermo"),
                    calls: 12,
                    busy_ms: 34,
                    slowest_us: 5_600,
                    kilo_fuel: 789,
                    memory_bytes: 65_536,
                    stops: 1,
                }]),
                vehicles: Seq::new(&[HEARD_VEHICLE]),
            },
            expect![
                "ab0003011a00011170021b000000010000000103192ee0041938a405190800060107a4000a0118c802030301081905dc0981a70066746865726d6f010c021822031915e004190315051a0001000006010a81a6000101020218d103020418490519012c"
            ]
        ),
        sample!(
            HeardVehicle { system: 1, kind: 2, base_mode: 209, landed: 2, battery: Some(73), age_ms: 300 },
            expect!["a6000101020218d103020418490519012c"]
        ),
        sample!(
            ModuleUse {
                name: parsed("thermo"),
                calls: 12,
                busy_ms: 34,
                slowest_us: 5_600,
                kilo_fuel: 789,
                memory_bytes: 65_536,
                stops: 1,
            },
            expect!["a70066746865726d6f010c021822031915e004190315051a000100000601"]
        ),
        sample!(Frame { function: 7, offset: 290 }, expect!["a2000701190122"]),
        sample!(
            Trap {
                boot: 3,
                name: parsed("thermo"),
                artifact: ARTIFACT,
                reason: Reason::Trapped,
                stops: 2,
                frames: Seq::new(&[Frame { function: 7, offset: 0 }, Frame { function: 3, offset: 290 }]),
            },
            expect!["a600030166746865726d6f0248a001020304050607030b04020582a200070100a2000301190122"]
        ),
        sample!(
            Refused {
                boot: 3,
                count: 70_000,
                subject: Subject::Command,
                reason: Refusal::Unchecked,
                revision: 0x1_0000_0000,
            },
            expect!["a50003011a0001117002010306041b0000000100000000"]
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
        sample!(
            Command { verb: Verb::Restart, boot: 3, number: 0x1_0000_0000 },
            expect!["a300010103021b0000000100000000"]
        ),
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
                grants: 0b1_0110,
            }]),
            heartbeat_ms: Some(5_000),
            firmware: Some(DESIRED_FIRMWARE),
        },
        expect![
            "a400090181a50066746865726d6f0148a0010203040506070282a20069706572696f645f6d73016431303030a20064756e69740163c2b043030404160219138803a50048a001020304050607015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d20248a801020304050607030204190103"
        ]
    )]
}

/// What instances and a gateway of ROS 2 say to each other.
fn ros() -> Vec<Sample> {
    vec![
        sample!(
            RosWant {
                run: 7,
                number: 3,
                topics: Seq::new(&["/in", "/scan"]),
                clients: Seq::new(&["/ask"]),
                services: Seq::new(&["/set"]),
            },
            expect!["a5000701030282632f696e652f7363616e0381642f61736b0481642f736574"]
        ),
        sample!(
            RosPublication { run: 7, topic: "/out", bytes: &[0, 1, 0, 0] },
            expect!["a3000701642f6f7574024400010000"]
        ),
        sample!(
            RosCall { run: 7, ticket: 300, service: "/ask", bytes: b"{}" },
            expect!["a400070119012c02642f61736b03427b7d"]
        ),
        sample!(RosReply { run: 7, ticket: 300, bytes: b"{}" }, expect!["a300070119012c02427b7d"]),
        sample!(
            RosQuestion { run: 7, ticket: 2, node: Some("/peer"), nth: 1 },
            expect!["a40007010202652f706565720301"]
        ),
        sample!(RosTaken { run: 7, seq: 0x1_0000_0000 }, expect!["a20007011b0000000100000000"]),
        sample!(
            RosNodes {
                nodes: Seq::new(&[RosNode {
                    name: "/a/b",
                    publishers: Seq::new(&[TYPED]),
                    subscribers: Seq::new(&[TYPED]),
                    clients: Seq::new(&[TYPED]),
                    services: Seq::new(&[TYPED]),
                }]),
                omitted: 300,
            },
            expect![
                "a20081a500642f612f620181a200622f740167702f6d73672f540281a200622f740167702f6d73672f540381a200622f740167702f6d73672f540481a200622f740167702f6d73672f540119012c"
            ]
        ),
        sample!(
            RosNode {
                name: "/a/b",
                publishers: Seq::new(&[TYPED]),
                subscribers: Seq::new(&[TYPED]),
                clients: Seq::new(&[TYPED]),
                services: Seq::new(&[TYPED]),
            },
            expect![
                "a500642f612f620181a200622f740167702f6d73672f540281a200622f740167702f6d73672f540381a200622f740167702f6d73672f540481a200622f740167702f6d73672f54"
            ]
        ),
        sample!(RosTyped { name: "/t", ty: "p/msg/T" }, expect!["a200622f740167702f6d73672f54"]),
        sample!(RosHave { run: 7, number: 3, patience_ms: 30_000 }, expect!["a30007010302197530"]),
        sample!(
            RosTell {
                run: 7,
                seq: 0x1_0000_0000,
                what: RosWhat::Notice,
                name: "/in",
                ticket: 300,
                error: Some(7),
                bytes: "hällo".as_bytes(),
            },
            expect!["a70007011b0000000100000000020403632f696e0419012c0507064668c3a46c6c6f"]
        ),
    ]
}

fn manifest() -> Sample {
    sample!(
        Manifest {
            kind: Kind::Patch,
            name: parsed("base"),
            version: "1.2.3",
            classes: Classes::default().with(Class::Mcu).with(Class::Riscv),
            runtime: RUNTIME,
            size: 4_096,
            digest: Digest([0xd1; 32]),
            block_bytes: 512,
            board: Some(parsed("netduino2")),
            counter: 7,
            patch: Some(Patch { base: Digest([0xd3; 32]), image: IMAGE }),
            trial: Some(Trial { tries: 5, confirm_s: 300 }),
            capabilities: 0b1_0110,
            stack_bytes: 1_408,
        },
        expect![
            "ae00020164626173650265312e322e3303060448b00102030405060705191000065820d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d10719020008696e65746475696e6f3209070aa2005820d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3015820d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d20ba200050119012c0c160d190580"
        ]
    )
}

fn keyring() -> Sample {
    let root = TrustedKey { key: PublicKey([0xe2; 32]), roles: Roles::ALL, ..trusted_key() };
    sample!(
        Keyring { version: 5, issued_s: 1_800_000_000, keys: Seq::new(&[root, trusted_key()]) },
        expect![
            "a30005011a6b49d2000282a3005820e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e201181f021a713fb300a3005820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1010a021a713fb300"
        ]
    )
}

fn provision() -> Sample {
    sample!(
        Provision {
            device: parsed("pump-7"),
            trusted: Seq::new(&[PublicKey([0xe1; 32]), PublicKey([0xe2; 32])]),
            boot_floor: 1_800_000_000,
            secret: Some(DeviceSecret([0x5e; 32])),
            broker: Some(Broker {
                host: "10.0.2.2",
                port: 1883,
                username: "pump-7",
                password: "hush",
                prefix: "wasmbed",
                tls: Some(Tls {
                    ca: &[0x30, 0xca],
                    certificate: &[0x30, 0xce],
                    key: PrivateKey([0x6b; 32]),
                    name: Some("broker.example"),
                }),
            }),
        },
        expect![
            "a5006670756d702d3701825820e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e15820e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2021a6b49d2000358205e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e04a6006831302e302e322e320119075b026670756d702d3703646875736804677761736d62656405a4004230ca014230ce0258206b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b036e62726f6b65722e6578616d706c65"
        ]
    )
}
