//! Whether a machine can be had here, and what the folder of firmware holds for one with an operating system.

use std::{
    io,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
};

use wasmbed_boards::{Board, Forward, Machine, Place, Protocol};

use super::PrepareError;
use crate::host::memory;

/// Refuses a machine that the board cannot be, or that this host has no memory or ports for now.
pub(super) fn check(board: &Board, machine: &Machine) -> Result<(), PrepareError> {
    let unfit = |unfit| PrepareError::Unfit { board: board.name, unfit };
    board.run.check_machine(machine).map_err(unfit)?;
    let (needed, free) = (board.run.memory_bytes(machine), memory::free_bytes());
    if (1..needed).contains(&free) {
        return Err(PrepareError::NoMemory { board: board.name, needed: needed >> 20, free: free >> 20 });
    }
    for forward in &machine.forwards {
        try_port(forward).map_err(|source| PrepareError::PortTaken { forward: *forward, source })?;
    }
    Ok(())
}

/// The emulator would say less clearly what it cannot have.
fn try_port(Forward { listen, protocol, .. }: &Forward) -> io::Result<()> {
    match protocol {
        Protocol::Tcp => TcpListener::bind(listen).map(drop),
        Protocol::Udp => UdpSocket::bind(listen).map(drop),
    }
}

/// Where kernel and initramfs of the board are, if it has any.
pub(super) fn files(board: &Board, dir: &Path) -> Result<Vec<(Place, PathBuf)>, PrepareError> {
    let files = board.system_files().map(|(place, name)| {
        let path = dir.join(name);
        match path.is_file() {
            true => Ok((place, path)),
            false => Err(PrepareError::NoMachine { board: board.name, place, path }),
        }
    });
    files.collect()
}
