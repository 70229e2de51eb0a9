//! What it takes to start one device: its private folder, its files, its command line.
//!
//! A device's folder is its alone (0700) and holds what it is started from, what it keeps over a power
//! cycle, and its console log. Sockets lie there too, unless that would make their paths longer than
//! the kernel allows. A board with firmware has its flash there (`flash.bin`, or the file of its bank),
//! what was last written to it as in a factory (`factory`), the secret it is provisioned with (`secret`), and for
//! a chip where its window is (`window.address`); `fault.toml` is for tests (`nor`). A machine with an operating
//! system has its disk there.
//!
//! Not here: what a board needs (`wasmbed-boards`), and the process itself (`process`).

mod agent;
mod certificate;
mod emulator;
mod flash;
mod images;
mod machine;
mod secret;

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::UnixListener, sync::watch};
use wasmbed_boards::{Board, Boards, Forward, Holds, ImageError, Place, Places, Run, Unfit};
use wasmbed_broker_client::{IdentityError, TlsError, Version};
use wasmbed_wire::{
    BoardName, DeviceId, Seq,
    id::MAX_NAME_BYTES,
    provision::{self, Broker, Provision},
};

use super::{
    bridge::Port,
    faults::Faults,
    nor::Chip,
    orders::Flip,
    process::{Spec, find},
};
use crate::{
    api::{Code, Problem},
    connection::Connection,
    host_api::DesiredDevice,
};
use certificate::Shown;
use images::Images;

/// Longest path of a socket, in bytes, with its end.
const SOCKET_PATH_BYTES: usize = 108;
const LINK: &str = "link.sock";
const QMP: &str = "qmp.sock";
const CONSOLE: &str = "tty.sock";
const NOR: &str = "nor.sock";

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
    /// Where the emulator will connect with the machine's console, if that is no part of the link.
    pub(super) console: Option<UnixListener>,
    /// The flash chip, if the host is it.
    pub(super) chip: Option<ChipLine>,
    /// How long the board may be silent.
    pub(super) silence: Option<Duration>,
    /// What its bridge is told to be wrong with its lines.
    pub(super) faults: watch::Sender<Faults>,
    /// Whether the emulator has a network.
    pub(super) has_network: bool,
}

/// The host's end of a serial line before it is there.
pub(super) struct Link {
    pub(super) listener: UnixListener,
    pub(super) port: Port,
}

/// A flash chip and its end of a serial line before that is there.
pub(super) struct ChipLine {
    pub(super) listener: UnixListener,
    pub(super) chip: Chip,
}

/// Why a device cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("this host knows no board {board}; it knows {known}")]
    UnknownBoard { board: BoardName, known: String },
    #[error("no bootloader for {board} at {}; build it with `cargo xtask fw`, or point the host to the folder of firmware", path.display())]
    NoBoot { board: BoardName, path: PathBuf },
    #[error("no {} for {board} at {}; make it with `cargo xtask fw {board}`, or point the host to the folder of firmware", place.name(), path.display())]
    NoMachine { board: BoardName, place: Place, path: PathBuf },
    #[error("{} is not signed, and no board starts what is not; sign it with `wasmbed firmware sign` as {board}.wbfw beside it, or start with `wasmbed up`, which does", path.display())]
    Unsigned { board: BoardName, path: PathBuf },
    #[error("{}: {message}", path.display())]
    BadFirmware { path: PathBuf, message: String },
    #[error("{}: {source}", path.display())]
    BadImage { path: PathBuf, source: ImageError },
    #[error("board {board} has no [firmware], but its run.files holds some")]
    NoFirmware { board: BoardName },
    #[error("board {board} has no file for its flash bank")]
    NoBank { board: BoardName },
    #[error("board {board} has no flash chip, but its run.files holds a window")]
    NoChip { board: BoardName },
    #[error(
        "{keys} trusted keys and the names of the broker do not fit into a provisioning blob of {} bytes",
        provision::MAX_BYTES
    )]
    BlobTooLarge { keys: usize },
    #[error("board {board} uses {{{}}}, which is nothing it has", place.name())]
    NoSuchPlace { board: BoardName, place: Place },
    #[error(
        "{program} is version {found}; boards are run by {} or later: update the Debian package {package}",
        emulator::LEAST
    )]
    OldEmulator { program: String, package: String, found: emulator::Version },
    #[error(
        "{board} takes {needed} MiB of memory, of which this host has {free} MiB left; stop other devices, or put it on another host"
    )]
    NoMemory { board: BoardName, needed: u64, free: u64 },
    #[error("no {board} can be such a machine: {unfit}")]
    Unfit { board: BoardName, unfit: Unfit },
    #[error("port {} of this machine, which is to be forwarded to the device, cannot be taken: {source}; choose another one", forward.listen)]
    PortTaken { forward: Forward, source: io::Error },
    #[error(
        "the broker speaks TLS, and {board} has no certificate to connect itself with: set service.ca_dir, so that the service gives it one"
    )]
    Uncertified { board: BoardName },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
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
        let has_images = Images::of(board, &self.firmware).is_none_or(|images| images.are_there());
        has_images
            && machine::files(board, &self.firmware).is_ok()
            && find(&self.program(&board.run)).is_some()
    }

    /// Makes everything the device is started from, afresh where it is not the device's own. The device
    /// numbers its connects above `boot_floor`.
    pub(super) fn prepare(&self, device: &DesiredDevice, boot_floor: u32) -> Result<Launch, PrepareError> {
        let board = self.boards.get(&device.board).ok_or_else(|| self.unknown_board(device.board))?;
        if let Run::Qemu { program, package, .. } = &board.run {
            emulator::check(program, package)?;
        }
        machine::check(board, &device.machine)?;
        let dir = self.device_dir(&device.id);
        make_private(&dir).map_err(at(&dir))?;
        let sockets = self.sockets.for_device(&device.id, &dir)?;
        let mut places = Places::from([
            (Place::Dir, dir.clone()),
            (Place::Link, sockets.join(LINK)),
            (Place::Qmp, sockets.join(QMP)),
            (Place::Nor, sockets.join(NOR)),
            (Place::Console, sockets.join(CONSOLE)),
        ]);
        places.extend(machine::files(board, &self.firmware)?);
        let images = Images::of(board, &self.firmware);
        let mut chip = match (&board.firmware, &images) {
            (Some(firmware), Some(images)) => flash::prepare(board, firmware, images, &dir)?,
            _ => None,
        };
        for file in board.run.files() {
            let contents = match file.holds {
                Holds::Boot => {
                    let images = images.as_ref().ok_or(PrepareError::NoFirmware { board: board.name })?;
                    images.boot()?
                }
                Holds::Window => {
                    let chip = chip.as_mut().ok_or(PrepareError::NoChip { board: board.name })?;
                    chip.window().map_err(at(&dir))?
                }
                Holds::Provision => self.blob(board, device, boot_floor, &dir)?,
                Holds::Disk => Vec::new(),
            };
            let path = file.fill(&dir, &contents).map_err(at(&dir.join(&file.name)))?;
            places.insert(file.holds.place(), path);
        }
        if board.run.uses(Place::Config) {
            let connection = certificate::connection(&self.connection, device, &dir)?;
            let config = agent::write_config(&dir, device, board, &connection).map_err(at(&dir))?;
            places.insert(Place::Config, config);
        }
        let args = board
            .run
            .arguments(&places, &device.machine)
            .map_err(|place| PrepareError::NoSuchPlace { board: board.name, place })?;
        let (faults, told) = watch::channel(Faults::default());
        let qmp = board.run.uses(Place::Qmp).then(|| sockets.join(QMP));
        let link = match board.run.uses(Place::Link) {
            true => {
                let listener = listen(&sockets.join(LINK))?;
                let connection = certificate::connection(&self.connection, device, &dir)?;
                let port = Port { device: device.id, connection, faults: told };
                Some(Link { listener, port })
            }
            false => None,
        };
        let console = match board.run.uses(Place::Console) {
            true => Some(listen(&sockets.join(CONSOLE))?),
            false => None,
        };
        let chip = match chip {
            Some(chip) => Some(ChipLine { listener: listen(&sockets.join(NOR))?, chip }),
            None => None,
        };
        let silence = board.run.watchdog_ms().map(|ms| Duration::from_millis(ms.into()));
        let has_network = board.run.loopback().is_some();
        let spec = Spec { program: self.program(&board.run), remedy: remedy(&board.run), args, dir };
        Ok(Launch { spec, qmp, link, console, chip, silence, faults, has_network })
    }

    /// Keeps the certificate a device is to have, and says what to ask for one with if it has none.
    pub(super) fn certify(&self, device: &DesiredDevice) -> Result<Option<String>, PrepareError> {
        certificate::certify(device, &self.device_dir(&device.id))
    }

    /// Inverts bits in the flash of a device that does not run.
    pub(super) fn flip(&self, device: &DesiredDevice, flip: &Flip) -> Result<serde_json::Value, Problem> {
        let board = self
            .boards
            .get(&device.board)
            .ok_or_else(|| Problem::new(Code::NotFound, self.unknown_board(device.board).to_string()))?;
        let bits = flip.choose(board)?;
        let path = self.device_dir(&device.id).join(flash::file(board));
        flash::flip(&path, &bits)
            .map_err(|error| Problem::new(Code::Internal, format!("{}: {error}", path.display())))?;
        let addresses = || bits.iter().map(|(address, _)| *address);
        Ok(serde_json::json!({ "bits": bits.len(), "from": addresses().min(), "to": addresses().max() }))
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

    /// The provisioning blob; it names the broker where the board has a network to reach it by, and speaks its MQTT.
    fn blob(
        &self,
        board: &Board,
        device: &DesiredDevice,
        boot_floor: u32,
        dir: &Path,
    ) -> Result<Vec<u8>, PrepareError> {
        let secret = Some(secret::of(dir)?);
        // Boards speak MQTT 5; where that is not spoken the bridge takes their messages, as it does for others.
        let is_understood = self.connection.dialect.version() != Some(Version::V311);
        let loopback = board.run.loopback().filter(|_| is_understood);
        let address = loopback.map(|loopback| self.connection.address.as_seen_from_guest(loopback));
        let shown = match address.as_ref().is_some_and(|address| address.is_tls) {
            true => Some(Shown::load(board, device, dir)?),
            false => None,
        };
        let broker = address.as_ref().map(|address| Broker {
            host: &address.host,
            port: address.port,
            username: device.id.as_str(),
            password: &device.password,
            prefix: &self.connection.prefix,
            tls: shown.as_ref().map(|shown| shown.tls(&self.connection.address.host)),
        });
        let trusted = Seq::new(&device.trusted);
        let provision = Provision { device: device.id, trusted, boot_floor, secret, broker };
        let mut area = vec![0; provision::MAX_BYTES];
        let too_large = PrepareError::BlobTooLarge { keys: device.trusted.len() };
        let len = provision.write(&mut area).ok_or(too_large)?;
        area.truncate(len);
        Ok(area)
    }

    fn unknown_board(&self, board: BoardName) -> PrepareError {
        let known: Vec<&str> = self.boards.iter().map(|board| board.name.as_str()).collect();
        PrepareError::UnknownBoard { board, known: known.join(", ") }
    }
}

fn listen(path: &Path) -> Result<UnixListener, PrepareError> {
    // What is there was left by the last start: the folder is this device's alone.
    remove_if_there(path).and_then(|()| UnixListener::bind(path)).map_err(at(path))
}

fn remedy(run: &Run) -> String {
    match run {
        Run::Qemu { package, .. } => format!("install the Debian package {package}"),
        Run::Process { .. } => "build it, or point the host to it".to_owned(),
    }
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
    base.as_os_str().len()
        + 1
        + MAX_NAME_BYTES
        + 1
        + LINK.len().max(QMP.len()).max(NOR.len()).max(CONSOLE.len())
        < SOCKET_PATH_BYTES
}
