//! The least of a fleet: what devices should run, what they say, and the blocks they ask for.

use std::collections::BTreeMap;

use wasmbed_wire::{
    ArtifactId, DeviceId, Digest, ModuleName, Seq,
    message::{
        Block, Command, CommandResult, Desired, DesiredFirmware, DesiredModule, FirmwareReport,
        FirmwareSlots, FirmwareState, Get, Heartbeat, Info, ModuleReport, ModuleUse, Outcome, Refused,
        Reported, Setting, State, Trap,
    },
    sign1::Audience,
    topic::{Down, Up},
};

use crate::{
    artifact::{Artifact, Behaviour, CONTROLLER, sign_for},
    firmware::Start,
};

#[derive(Debug)]
pub(crate) struct Fleet {
    artifacts: BTreeMap<ArtifactId, Artifact>,
    /// Every image that was ever signed, and what becomes of a start with it.
    pub(crate) images: BTreeMap<Digest, (Vec<u8>, Start)>,
    /// Whether an image that is seen running is confirmed.
    pub(crate) confirms: bool,
    /// The key that signs desired states and commands.
    pub(crate) key: u8,
    /// Blocks and bytes served of each artifact.
    pub(crate) served: BTreeMap<ArtifactId, Served>,
    desired: BTreeMap<DeviceId, Wish>,
    seen: BTreeMap<DeviceId, Seen>,
}

impl Default for Fleet {
    fn default() -> Self {
        Fleet {
            artifacts: BTreeMap::new(),
            images: BTreeMap::new(),
            confirms: true,
            key: CONTROLLER,
            served: BTreeMap::new(),
            desired: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }
}

/// What was sent of one artifact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Blocks, the manifest's among them.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What one device should run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) revision: u64,
    pub(crate) firmware: Option<DesiredFirmware>,
    pub(crate) modules: Vec<WishedModule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WishedModule {
    pub(crate) name: ModuleName,
    pub(crate) artifact: ArtifactId,
    pub(crate) generation: u32,
    pub(crate) unit: &'static str,
}

/// What one device last said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) state: Option<State>,
    pub(crate) revision: u64,
    pub(crate) modules: Vec<ModuleReport>,
    pub(crate) firmware: Option<FirmwareReport>,
    /// Every state a firmware was ever reported in, without repetitions.
    pub(crate) history: Vec<FirmwareState>,
    pub(crate) keyring: Option<u32>,
    pub(crate) slots: Option<FirmwareSlots>,
    pub(crate) heartbeats: usize,
    /// Of the last heartbeat.
    pub(crate) used: Vec<ModuleUse>,
    /// How often a module stopped, as it last said.
    pub(crate) traps: u32,
    pub(crate) crashes: usize,
    pub(crate) outcomes: Vec<Outcome>,
    /// What it said last about what it does not believe.
    pub(crate) refused: Option<Refused>,
}

impl Wish {
    fn encode(&self) -> Vec<u8> {
        let units: Vec<_> = self.modules.iter().map(|m| [Setting { key: "unit", value: m.unit }]).collect();
        let modules: Vec<_> = self.modules.iter().zip(&units).map(wished).collect();
        let desired = Desired {
            revision: self.revision,
            modules: Seq::new(&modules),
            heartbeat_ms: None,
            firmware: self.firmware,
        };
        minicbor::to_vec(desired).expect("a vector takes everything")
    }
}

fn wished<'a>((module, settings): (&'a WishedModule, &'a [Setting<'a>; 1])) -> DesiredModule<'a> {
    DesiredModule {
        name: module.name,
        artifact: module.artifact,
        settings: Seq::new(settings),
        generation: module.generation,
        grants: 0,
    }
}

impl Fleet {
    pub(crate) fn keep(&mut self, artifact: Artifact) -> ArtifactId {
        let id = artifact.id;
        self.artifacts.insert(id, artifact);
        id
    }

    pub(crate) fn behaviour(&self, artifact: ArtifactId) -> Behaviour {
        self.artifacts[&artifact].behaviour
    }

    pub(crate) fn signed_digest(&self, artifact: ArtifactId) -> Digest {
        self.artifacts[&artifact].digest
    }

    pub(crate) fn wish(&mut self, device: DeviceId) -> &mut Wish {
        self.desired.entry(device).or_default()
    }

    pub(crate) fn seen(&self, device: DeviceId) -> &Seen {
        const NOTHING: &Seen = &Seen::NOTHING;
        self.seen.get(&device).unwrap_or(NOTHING)
    }

    /// Takes note of what a device says; returns what it is told.
    pub(crate) fn take(&mut self, device: DeviceId, topic: Up, payload: &[u8]) -> Vec<(Down, Vec<u8>)> {
        let seen = self.seen.entry(device).or_default();
        match topic {
            Up::State => seen.take_state(minicbor::decode(payload).expect("a state")),
            Up::Reported => {
                let reported: Reported<'_> = minicbor::decode(payload).expect("a report");
                seen.revision = reported.revision;
                seen.modules = reported.modules.iter().collect();
                seen.keyring = reported.keyring;
                seen.take_firmware(reported.firmware);
                self.confirm(device);
                return self.remind(device);
            }
            Up::Heartbeat => {
                let heartbeat: Heartbeat<'_> = minicbor::decode(payload).expect("a heartbeat");
                seen.used = heartbeat.modules.iter().collect();
                seen.heartbeats += 1;
            }
            Up::Crash => seen.crashes += 1,
            Up::Trap => {
                let trap: Trap<'_> = minicbor::decode(payload).expect("a trap");
                seen.traps = trap.stops;
            }
            Up::Result(_) => {
                let result: CommandResult = minicbor::decode(payload).expect("a result");
                seen.outcomes.push(result.outcome);
            }
            Up::Refused => seen.refused = Some(minicbor::decode(payload).expect("a refusal")),
            Up::Get => return self.blocks(minicbor::decode(payload).expect("a request")),
            Up::Info => {
                let info: Info<'_> = minicbor::decode(payload).expect("an introduction");
                seen.slots = info.firmware_slots;
            }
            Up::Telemetry(_) | Up::Message(..) | Up::Ros(..) | Up::Nodes | Up::Log(_) => {}
        }
        Vec::new()
    }

    /// The desired state as the device believes it.
    pub(crate) fn desired(&self, device: DeviceId) -> Vec<u8> {
        let payload = self.desired.get(&device).map_or_else(|| Wish::default().encode(), Wish::encode);
        self.sign(device, &Down::Desired, &payload)
    }

    /// A command as the device believes it.
    pub(crate) fn command(&self, device: DeviceId, topic: &Down, command: &Command) -> Vec<u8> {
        self.sign(device, topic, &minicbor::to_vec(command).expect("a vector takes everything"))
    }

    fn sign(&self, device: DeviceId, topic: &Down, payload: &[u8]) -> Vec<u8> {
        sign_for(Audience::Device { id: &device, topic: &topic.to_string() }, payload, self.key)
    }

    /// The desired state, if the device does not have it.
    fn remind(&self, device: DeviceId) -> Vec<(Down, Vec<u8>)> {
        let behind = |wish: &&Wish| wish.revision != self.seen(device).revision;
        let wish = self.desired.get(&device).filter(behind);
        wish.map(|_| (Down::Desired, self.desired(device))).into_iter().collect()
    }

    /// The image that should run was seen running: that is the proof.
    fn confirm(&mut self, device: DeviceId) {
        let Some(report) = self.seen(device).firmware.filter(|_| self.confirms) else { return };
        let wish = self.wish(device);
        let Some(firmware) = &mut wish.firmware else { return };
        let is_seen = report.state == FirmwareState::Trial && report.image == firmware.image;
        if is_seen && firmware.confirm < report.since {
            firmware.confirm = report.since;
            wish.revision += 1;
        }
    }

    /// Serves another manifest under the name of this artifact.
    pub(crate) fn replace_manifest(&mut self, artifact: ArtifactId, signed: Vec<u8>) {
        self.artifacts.get_mut(&artifact).expect("a known artifact").blocks[0] = signed;
    }

    pub(crate) fn manifest(&self, artifact: ArtifactId) -> Vec<u8> {
        self.artifacts[&artifact].blocks[0].clone()
    }

    pub(crate) fn payload(&self, artifact: ArtifactId) -> Vec<u8> {
        self.artifacts[&artifact].payload()
    }

    fn blocks(&mut self, get: Get) -> Vec<(Down, Vec<u8>)> {
        let Some(artifact) = self.artifacts.get(&get.artifact) else { return Vec::new() };
        let served = self.served.entry(get.artifact).or_default();
        let asked =
            (0..32).filter(|bit| get.bitmap & 1 << bit != 0).filter_map(|bit| get.base.checked_add(bit));
        asked
            .filter_map(|index| {
                let bytes = artifact.blocks.get(index as usize)?;
                served.blocks += 1;
                served.bytes += bytes.len() as u64;
                let block = minicbor::to_vec(Block { index, bytes }).expect("a vector takes everything");
                Some((Down::Block(get.artifact), block))
            })
            .collect()
    }
}

impl Seen {
    const NOTHING: Seen = Seen {
        state: None,
        revision: 0,
        modules: Vec::new(),
        firmware: None,
        history: Vec::new(),
        keyring: None,
        slots: None,
        heartbeats: 0,
        used: Vec::new(),
        traps: 0,
        crashes: 0,
        outcomes: Vec::new(),
        refused: None,
    };

    fn take_firmware(&mut self, report: Option<FirmwareReport>) {
        self.firmware = report;
        self.history.extend(report.map(|report| report.state));
        self.history.dedup();
    }

    fn take_state(&mut self, state: State) {
        // A will that arrives late is about a connect that is over.
        if self.state.is_none_or(|last| state.boot >= last.boot) {
            self.state = Some(state);
        }
    }
}
