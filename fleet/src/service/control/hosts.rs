//! Verbs about hosts, and where a device is put.

use wasmbed_boards::{Board, Machine};
use wasmbed_plan::Presence;
use wasmbed_wire::HostId;

use crate::{
    api::{self, Code, Problem},
    service::fleet::Fleet,
};

impl Fleet {
    pub(super) fn host_list(&self) -> Vec<api::Host> {
        let hosts = self.view.hosts.values();
        hosts
            .map(|host| api::Host {
                id: host.id,
                online: host.presence == Presence::Online,
                since_ms: host.since.0,
                info: self.host_info.get(&host.id).and_then(|facts| facts.info.clone()),
                devices: self.records.values().filter(|record| record.row.host == Some(host.id)).count(),
            })
            .collect()
    }

    /// The host that is to run one more device of this board.
    pub(super) fn place(&self, board: &Board, machine: &Machine) -> Result<HostId, Problem> {
        let none = |message: String, hint: &str| Err(Problem::new(Code::Conflict, message).hint(hint));
        let online: Vec<_> = self
            .view
            .hosts
            .values()
            .filter(|host| host.presence == Presence::Online)
            .filter_map(|host| Some((host.id, self.host_info.get(&host.id)?.info.as_ref()?)))
            .collect();
        if online.is_empty() {
            return none("no host is connected".to_owned(), "start one with `wasmbed host`");
        }
        let able = online.iter().filter(|(_, info)| info.boards.contains(&board.name));
        let left = able.map(|(id, info)| (self.memory_left(id, info.free_memory_bytes), *id));
        let need = board.run.memory_bytes(machine);
        match left.max() {
            Some((left, id)) if left >= need => Ok(id),
            Some((left, id)) => {
                let (need, left) = (need >> 20, left >> 20);
                let message = format!(
                    "{} takes {need} MiB of memory; host {id}, which has the most, has {left} MiB left",
                    board.name
                );
                none(message, "remove devices, or start another host")
            }
            None => none(
                format!("no host that is connected can start {}", board.name),
                "`wasmbed hosts` lists what each can start: what it has an emulator and firmware for",
            ),
        }
    }

    /// Memory of a host that no device is going to take that does not run yet.
    fn memory_left(&self, host: &HostId, free_bytes: u64) -> u64 {
        let on_host = self.records.values().filter(|record| record.row.host == Some(*host));
        let to_come = on_host
            .filter(|record| record.row.power)
            .filter(|record| record.process.as_ref().is_none_or(|process| process.pid.is_none()))
            .filter_map(|record| {
                let board = self.options.boards.get(&record.row.board)?;
                Some(board.run.memory_bytes(&record.row.machine))
            });
        free_bytes.saturating_sub(to_come.sum())
    }
}
