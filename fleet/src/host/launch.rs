//! What it takes to start one device: its private folder, its files, its command line.
//!
//! A device's folder is its alone (0700) and holds what it is started from, what it keeps over a power
//! cycle, and its console log. Sockets lie there too, or apart (`sockets`). A board with firmware has its flash there (`flash.bin`, or the file of its bank),
//! what was last written to it as in a factory (`factory`), the secret it is provisioned with (`secret`), and for
//! a chip where its window is (`window.address`); `fault.toml` is for tests (`nor`). A machine with an operating
//! system has its disk there.
//!
//! A process that an earlier host started is taken over with what it has: nothing in its folder is written then.
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
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{net::UnixListener, sync::watch};
use wasmbed_boards::{Board, Boards, Forward, Holds, ImageError, Place, Places, Run, Unfit};
use wasmbed_broker_client::{IdentityError, TlsError, Version};
use wasmbed_wire::{
    BoardName, DeviceId, Digest, Seq,
    provision::{self, Broker, Provision},
};

use super::{
    bridge::Port,
    faults::Faults,
    keeper::Bounds,
    nor::Chip,
    orders::Flip,
    process::{Spec, find},
    sockets::{self, Sockets},
};
use crate::{
    api::{Code, Problem},
    connection::Connection,
    host_api::DesiredDevice,
};
use certificate::Shown;
use images::Images;

/// What an emulator may take beyond its machine and itself, as bounds go: translated code, buffers.
const SPARE_BYTES: u64 = 256 * 1024 * 1024;
/// Threads of an emulator or agent, and what modules add to that.
const TASKS: u32 = 1024;

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
    /// Of everything it is started with, but what is new at each start.
    pub(super) digest: String,
    /// What its process may take.
    pub(super) bounds: Bounds,
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

/// What a device is started as, before anything is written.
struct Plan<'a> {
    board: &'a Board,
    spec: Spec,
    digest: String,
    sockets: PathBuf,
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
        sockets: Sockets,
    ) -> io::Result<Self> {
        let devices = data_dir.join("devices");
        make_private(&devices)?;
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
        let plan = self.plan(device)?;
        let (board, dir) = (plan.board, &plan.spec.dir);
        if let Run::Qemu { program, package, .. } = &board.run {
            emulator::check(program, package)?;
        }
        machine::check(board, &device.machine)?;
        make_private(dir).map_err(at(dir))?;
        make_private(&plan.sockets).map_err(at(&plan.sockets))?;
        let images = Images::of(board, &self.firmware);
        let mut chip = match (&board.firmware, &images) {
            (Some(firmware), Some(images)) => flash::prepare(board, firmware, images, dir)?,
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
                    chip.window().map_err(at(dir))?
                }
                Holds::Provision => self.blob(board, device, boot_floor, dir)?,
                Holds::Disk => Vec::new(),
            };
            file.fill(dir, &contents).map_err(at(&dir.join(&file.name)))?;
        }
        if board.run.uses(Place::Config) {
            let connection = certificate::connection(&self.connection, device, dir)?;
            agent::write_config(dir, device, board, &connection).map_err(at(dir))?;
        }
        self.attach(plan, device, chip)
    }

    /// Attaches to a device that an earlier host started with what has this digest; nothing if it would be started with
    /// something else now.
    pub(super) fn adopt(&self, device: &DesiredDevice, digest: &str) -> Result<Option<Launch>, PrepareError> {
        let plan = self.plan(device)?;
        if plan.digest != digest {
            return Ok(None);
        }
        let chip = match &plan.board.firmware {
            Some(firmware) => flash::reopen(plan.board, firmware, &plan.spec.dir)?,
            None => None,
        };
        self.attach(plan, device, chip).map(Some)
    }

    fn plan(&self, device: &DesiredDevice) -> Result<Plan<'_>, PrepareError> {
        let board = self.boards.get(&device.board).ok_or_else(|| self.unknown_board(device.board))?;
        let dir = self.device_dir(&device.id);
        let sockets = self.sockets.for_device(&device.id, &dir);
        let mut places = Places::from([
            (Place::Dir, dir.clone()),
            (Place::Config, dir.join(agent::CONFIG)),
            (Place::Link, sockets.join(sockets::LINK)),
            (Place::Qmp, sockets.join(sockets::QMP)),
            (Place::Nor, sockets.join(sockets::NOR)),
            (Place::Console, sockets.join(sockets::CONSOLE)),
        ]);
        places.extend(machine::files(board, &self.firmware)?);
        places.extend(board.run.files().iter().map(|file| (file.holds.place(), dir.join(&file.name))));
        let mut args = board
            .run
            .arguments(&places, &device.machine)
            .map_err(|place| PrepareError::NoSuchPlace { board: board.name, place })?;
        if let Run::Qemu { program, .. } = &board.run {
            emulator::translate(program, &mut args);
        }
        let spec = Spec { program: self.program(&board.run), remedy: remedy(&board.run), args, dir };
        let digest = self.digest(board, &spec, device);
        Ok(Plan { board, spec, digest, sockets })
    }

    /// Of everything that makes a device another one: what [`Wishes`](super::device::Wishes) starts it anew for, its board,
    /// and where it was told that its broker is.
    fn digest(&self, board: &Board, spec: &Spec, device: &DesiredDevice) -> String {
        let Connection { address, prefix, .. } = &self.connection;
        let DesiredDevice { machine, password, certificate, .. } = device;
        let all = format!("{:?}", (board, spec, machine, password, certificate, address, prefix));
        Digest(Sha256::digest(all).into()).to_string()
    }

    /// Listens where the device's lines come in.
    fn attach(
        &self,
        plan: Plan<'_>,
        device: &DesiredDevice,
        chip: Option<Chip>,
    ) -> Result<Launch, PrepareError> {
        let Plan { board, spec, digest, sockets } = plan;
        let (faults, told) = watch::channel(Faults::default());
        let qmp = board.run.uses(Place::Qmp).then(|| sockets.join(sockets::QMP));
        let link = match board.run.uses(Place::Link) {
            true => {
                let listener = listen(&sockets.join(sockets::LINK))?;
                let connection = certificate::connection(&self.connection, device, &spec.dir)?;
                let port = Port { device: device.id, connection, faults: told };
                Some(Link { listener, port })
            }
            false => None,
        };
        let console = match board.run.uses(Place::Console) {
            true => Some(listen(&sockets.join(sockets::CONSOLE))?),
            false => None,
        };
        let chip = match chip {
            Some(chip) => Some(ChipLine { listener: listen(&sockets.join(sockets::NOR))?, chip }),
            None => None,
        };
        let silence = board.run.watchdog_ms().map(|ms| Duration::from_millis(ms.into()));
        let has_network = board.run.loopback().is_some();
        let bounds = bounds(board, device);
        Ok(Launch { spec, digest, bounds, qmp, link, console, chip, silence, faults, has_network })
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

/// What is in the way of everything else on the machine, not what a device is expected to take.
fn bounds(board: &Board, device: &DesiredDevice) -> Bounds {
    let own = board.run.memory_bytes(&device.machine);
    // The memory of modules in a process is that of the agent.
    let of_modules = match board.run {
        Run::Process { .. } => board.class.limits().memory_bytes,
        Run::Qemu { .. } => 0,
    };
    Bounds { memory_bytes: own + of_modules + SPARE_BYTES, tasks: TASKS }
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
