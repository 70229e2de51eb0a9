//! What it takes to start one device: its private folder, its files, its command line.
//!
//! A device's folder is its alone (0700) and holds what it is started from, what it keeps over a power
//! cycle, and its console log. Sockets lie there too, unless that would make their paths longer than
//! the kernel allows.
//!
//! Not here: what a board needs (`wasmbed-boards`), and the process itself (`process`).

mod agent;

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::net::UnixListener;
use wasmbed_boards::{Board, Boards, Firmware, Holds, Image, ImageError, Place, Places, Run};
use wasmbed_wire::{
    BoardName, DeviceId, Seq,
    id::MAX_NAME_BYTES,
    provision::{self, Provision},
};

use super::{
    bridge::Port,
    process::{Spec, find},
};
use crate::{connection::Connection, host_api::DesiredDevice};

/// Longest path of a socket, in bytes, with its end.
const SOCKET_PATH_BYTES: usize = 108;
const LINK: &str = "link.sock";
const QMP: &str = "qmp.sock";

/// Prepares devices of every board.
pub(super) struct Launcher {
    boards: Boards,
    connection: Connection,
    devices: PathBuf,
    firmware: PathBuf,
    agent: PathBuf,
    sockets: Sockets,
}

/// A device ready to be started.
pub(super) struct Launch {
    pub(super) spec: Spec,
    /// Where the emulator's monitor will listen, if it has one.
    pub(super) qmp: Option<PathBuf>,
    /// Where the emulator will connect with its serial line, if it has one.
    pub(super) link: Option<Link>,
}

/// The host's end of a serial line before it is there.
pub(super) struct Link {
    pub(super) listener: UnixListener,
    pub(super) port: Port,
}

/// Why a device cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("this host knows no board {board}; it knows {known}")]
    UnknownBoard { board: BoardName, known: String },
    #[error("no firmware for {board} at {}; build it with `cargo xtask fw`, or point the host to the folder of images", path.display())]
    NoImage { board: BoardName, path: PathBuf },
    #[error("{}: {source}", path.display())]
    BadImage { path: PathBuf, source: ImageError },
    #[error("board {board} has no [firmware], but its run.files holds an image")]
    NoFirmware { board: BoardName },
    #[error("{count} trusted keys do not fit into a provisioning blob of {} bytes", provision::MAX_BYTES)]
    TooManyKeys { count: usize },
    #[error("board {board} uses {{{}}}, which is nothing it has", place.name())]
    NoSuchPlace { board: BoardName, place: Place },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Launcher {
    /// A launcher that keeps its devices' files below `data_dir`.
    ///
    /// # Errors
    /// If the folders cannot be made.
    pub(super) fn new(
        boards: Boards,
        connection: Connection,
        data_dir: &Path,
        firmware: PathBuf,
        agent: PathBuf,
    ) -> io::Result<Self> {
        let devices = data_dir.join("devices");
        make_private(&devices)?;
        let sockets = Sockets::choose(&devices)?;
        Ok(Launcher { boards, connection, devices, firmware, agent, sockets })
    }

    /// The folder of a device.
    pub(super) fn device_dir(&self, device: &DeviceId) -> PathBuf {
        self.devices.join(device.as_str())
    }

    /// Removes everything a device had.
    pub(super) fn forget(&self, device: &DeviceId) {
        let dir = self.device_dir(device);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%device, dir = %dir.display(), %error, "could not remove the files of a device");
            }
            _ => {}
        }
    }

    /// Removes what devices had that went while the host did not run.
    pub(super) fn forget_all_but(&self, is_wanted: impl Fn(&DeviceId) -> bool) {
        let entries = fs::read_dir(&self.devices).into_iter().flatten().flatten();
        // What has no device's name was not made by a host.
        let known = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<DeviceId>().ok());
        known.filter(|device| !is_wanted(device)).for_each(|device| self.forget(&device));
    }

    /// The boards whose emulator and image, or whose program, are there.
    pub(super) fn startable(&self) -> Vec<BoardName> {
        self.boards.iter().filter(|board| self.is_startable(board)).map(|board| board.name).collect()
    }

    fn is_startable(&self, board: &Board) -> bool {
        let image = board.firmware.is_none() || self.image_path(board).is_file();
        image && find(&self.program(&board.run)).is_some()
    }

    fn image_path(&self, board: &Board) -> PathBuf {
        self.firmware.join(format!("{}.elf", board.name))
    }

    /// Makes everything the device is started from, afresh where it is not the device's own. The device
    /// numbers its connects above `boot_floor`.
    pub(super) fn prepare(&self, device: &DesiredDevice, boot_floor: u32) -> Result<Launch, PrepareError> {
        let board = self.boards.get(&device.board).ok_or_else(|| self.unknown_board(device.board))?;
        let dir = self.device_dir(&device.id);
        make_private(&dir).map_err(at(&dir))?;
        let sockets = self.sockets.for_device(&device.id, &dir)?;
        let mut places = Places::from([
            (Place::Dir, dir.clone()),
            (Place::Link, sockets.join(LINK)),
            (Place::Qmp, sockets.join(QMP)),
        ]);
        for file in board.run.files() {
            let contents = match file.holds {
                Holds::Image => self.image(board)?,
                Holds::Provision => blob(device, boot_floor)?,
            };
            let path = file.fill(&dir, &contents).map_err(at(&dir.join(&file.name)))?;
            places.insert(file.holds.place(), path);
        }
        if let Run::Process { .. } = board.run {
            let config = agent::write_config(&dir, device, &self.connection).map_err(at(&dir))?;
            places.insert(Place::Config, config);
        }
        let args = board
            .run
            .arguments(&places)
            .map_err(|place| PrepareError::NoSuchPlace { board: board.name, place })?;
        let spec = Spec { program: self.program(&board.run), remedy: remedy(&board.run), args, dir };
        let (qmp, link) = match board.run {
            Run::Qemu { .. } => (Some(sockets.join(QMP)), Some(self.listen(device, &sockets.join(LINK))?)),
            Run::Process { .. } => (None, None),
        };
        Ok(Launch { spec, qmp, link })
    }

    /// The program of this name beside this one is meant when a board names the agent's.
    fn program(&self, run: &Run) -> PathBuf {
        match run {
            Run::Process { program, .. }
                if self.agent.file_name().is_some_and(|agent| agent == program.as_str()) =>
            {
                self.agent.clone()
            }
            _ => PathBuf::from(run.program()),
        }
    }

    fn image(&self, board: &Board) -> Result<Vec<u8>, PrepareError> {
        let Some(Firmware { memory, .. }) = &board.firmware else {
            return Err(PrepareError::NoFirmware { board: board.name });
        };
        let path = self.image_path(board);
        let elf = match fs::read(&path) {
            Ok(elf) => elf,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PrepareError::NoImage { board: board.name, path });
            }
            Err(source) => return Err(PrepareError::Io { path, source }),
        };
        match Image::from_elf(&elf, memory) {
            Ok(image) => Ok(image.bytes),
            Err(source) => Err(PrepareError::BadImage { path, source }),
        }
    }

    fn listen(&self, device: &DesiredDevice, path: &Path) -> Result<Link, PrepareError> {
        // What is there was left by the last start: the folder is this device's alone.
        let listener = remove_if_there(path).and_then(|()| UnixListener::bind(path)).map_err(at(path))?;
        let connection = self.connection.with_identity(device.id.as_str(), &device.password);
        Ok(Link { listener, port: Port { device: device.id, connection } })
    }

    fn unknown_board(&self, board: BoardName) -> PrepareError {
        let known: Vec<&str> = self.boards.iter().map(|board| board.name.as_str()).collect();
        PrepareError::UnknownBoard { board, known: known.join(", ") }
    }
}

fn remedy(run: &Run) -> String {
    match run {
        Run::Qemu { package, .. } => format!("install the Debian package {package}"),
        Run::Process { .. } => "build it, or point the host to it".to_owned(),
    }
}

fn blob(device: &DesiredDevice, boot_floor: u32) -> Result<Vec<u8>, PrepareError> {
    let provision = Provision { device: device.id, trusted: Seq::new(&device.trusted), boot_floor };
    let mut area = vec![0; provision::MAX_BYTES];
    let len = provision.write(&mut area).ok_or(PrepareError::TooManyKeys { count: device.trusted.len() })?;
    area.truncate(len);
    Ok(area)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    |source| PrepareError::Io { path, source }
}

/// Makes a folder, and those above it, that only this user can enter.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where sockets lie.
enum Sockets {
    /// In the devices' folders.
    Beside,
    /// In a folder with a short path, which goes when the host ends.
    Apart(TempDir),
}

impl Sockets {
    fn choose(devices: &Path) -> io::Result<Self> {
        if is_short_enough(devices) {
            return Ok(Sockets::Beside);
        }
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
        let parent =
            runtime.filter(|dir| is_short_enough(&dir.join("wasmbed-XXXXXX"))).unwrap_or_else(env::temp_dir);
        let dir = tempfile::Builder::new().prefix("wasmbed-").tempdir_in(&parent)?;
        if is_short_enough(dir.path()) {
            return Ok(Sockets::Apart(dir));
        }
        Err(io::Error::other(format!(
            "neither {} nor {} leaves room for the path of a socket, {SOCKET_PATH_BYTES} bytes in all; \
             use a data folder or a TMPDIR with a shorter path",
            devices.display(),
            parent.display()
        )))
    }

    fn for_device(&self, device: &DeviceId, dir: &Path) -> Result<PathBuf, PrepareError> {
        match self {
            Sockets::Beside => Ok(dir.to_owned()),
            Sockets::Apart(base) => {
                let dir = base.path().join(device.as_str());
                make_private(&dir).map_err(at(&dir))?;
                Ok(dir)
            }
        }
    }
}

/// Whether a socket of any device fits in its folder in `base`.
fn is_short_enough(base: &Path) -> bool {
    base.as_os_str().len() + 1 + MAX_NAME_BYTES + 1 + LINK.len().max(QMP.len()) < SOCKET_PATH_BYTES
}
