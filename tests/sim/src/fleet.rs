//! The least of a fleet: what devices should run, what they say, and the blocks they ask for.

use std::collections::BTreeMap;

use wasmbed_wire::{
    ArtifactId, DeviceId, Digest, ModuleName, Seq,
    message::{
        Block, CommandResult, Desired, DesiredModule, Get, Heartbeat, ModuleReport, Outcome, Reported,
        Setting, State,
    },
    topic::{Down, Up},
};

use crate::artifact::{Artifact, Behaviour};

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    artifacts: BTreeMap<ArtifactId, Artifact>,
    desired: BTreeMap<DeviceId, Wish>,
    seen: BTreeMap<DeviceId, Seen>,
}

/// What one device should run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) revision: u64,
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
    pub(crate) heartbeats: Vec<Heartbeat>,
    pub(crate) crashes: usize,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Wish {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let units: Vec<_> = self.modules.iter().map(|m| [Setting { key: "unit", value: m.unit }]).collect();
        let modules: Vec<_> = self.modules.iter().zip(&units).map(wished).collect();
        let desired = Desired { revision: self.revision, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None };
        minicbor::to_vec(desired).expect("a vector takes everything")
    }
}

fn wished<'a>((module, settings): (&'a WishedModule, &'a [Setting<'a>; 1])) -> DesiredModule<'a> {
    DesiredModule {
        name: module.name,
        artifact: module.artifact,
        settings: Seq::new(settings),
        generation: module.generation,
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

    pub(crate) fn seen(&self, device: DeviceId) -> Seen {
        self.seen.get(&device).cloned().unwrap_or_default()
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
                return self.remind(device);
            }
            Up::Heartbeat => seen.heartbeats.push(minicbor::decode(payload).expect("a heartbeat")),
            Up::Crash => seen.crashes += 1,
            Up::Result(_) => {
                let result: CommandResult = minicbor::decode(payload).expect("a result");
                seen.outcomes.push(result.outcome);
            }
            Up::Get => return self.blocks(minicbor::decode(payload).expect("a request")),
            Up::Info | Up::Telemetry(_) | Up::Log(_) => {}
        }
        Vec::new()
    }

    /// The desired state, if the device does not have it.
    fn remind(&self, device: DeviceId) -> Vec<(Down, Vec<u8>)> {
        let behind = |wish: &&Wish| wish.revision != self.seen(device).revision;
        let wish = self.desired.get(&device).filter(behind);
        wish.map(|wish| (Down::Desired, wish.encode())).into_iter().collect()
    }

    fn blocks(&self, get: Get) -> Vec<(Down, Vec<u8>)> {
        let Some(artifact) = self.artifacts.get(&get.artifact) else { return Vec::new() };
        let asked =
            (0..32).filter(|bit| get.bitmap & 1 << bit != 0).filter_map(|bit| get.base.checked_add(bit));
        asked
            .filter_map(|index| {
                let bytes = artifact.blocks.get(index as usize)?;
                let block = minicbor::to_vec(Block { index, bytes }).expect("a vector takes everything");
                Some((Down::Block(get.artifact), block))
            })
            .collect()
    }
}

impl Seen {
    fn take_state(&mut self, state: State) {
        // A will that arrives late is about a connect that is over.
        if self.state.is_none_or(|last| state.boot >= last.boot) {
            self.state = Some(state);
        }
    }
}
