//! Vehicles on a MAVLink connection, if the configuration names one.
//!
//! ```toml
//! [px4]
//! connection = "udpin:127.0.0.1:14540"    # or udpout:HOST:PORT, tcpout:HOST:PORT, serial:/dev/ttyACM0:57600
//! system = 245                            # who this device is to vehicles, if absent
//! component = 191
//! signing_key_file = "/etc/wasmbed/mavlink.key"   # 32 bytes, or as many in hexadecimal; unsigned if absent
//! ```
//!
//! One task carries messages between the connection and [`wasmbed_px4::Vehicles`], and opens the connection again when it
//! ends; modules ask and command through a lock that nobody holds for long. MAVLink 2 is sent, and version 1 is understood.
//! With a key only what is signed with it is heard.

mod carrier;
mod frames;
mod signing;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{Instant as Deadline, sleep_until},
};
use wasmbed_abi::{
    BatteryStatus, Errno, LocalPosition, ParameterName, VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_px4::{COMPONENT, Config, Message, Owner, SYSTEM, Vehicles};
use wasmbed_wire::message::HeardVehicle;

use self::{
    carrier::{Carrier, Connection},
    frames::Frames,
};

/// Most vehicles on a connection.
const VEHICLES: usize = 16;
const KEY_BYTES: usize = 32;

/// The connection as configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Px4Config {
    connection: String,
    #[serde(default = "system")]
    system: u8,
    #[serde(default = "component")]
    component: u8,
    signing_key_file: Option<PathBuf>,
}

fn system() -> u8 {
    SYSTEM
}

fn component() -> u8 {
    COMPONENT
}

/// The connection as validated.
#[derive(Debug, Clone)]
pub(crate) struct Px4Settings {
    connection: Connection,
    own: Config,
    key: Option<[u8; KEY_BYTES]>,
}

impl Px4Config {
    pub(crate) fn validate(self) -> anyhow::Result<Px4Settings> {
        let Px4Config { connection, system, component, signing_key_file } = self;
        ensure!(system > 0, "px4 has system 0; use 1 to 255");
        ensure!(component > 0, "px4 has component 0; use 1 to 255");
        let key = signing_key_file.map(|path| {
            let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let what = || format!("{} is no key; write 32 bytes, or 64 hexadecimal digits", path.display());
            key(&contents).with_context(what)
        });
        let own = Config { system, component, vehicles: VEHICLES };
        Ok(Px4Settings { connection: connection.parse()?, own, key: key.transpose()? })
    }
}

fn key(contents: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(key) = contents.try_into() {
        return Some(key);
    }
    let digits = contents.trim_ascii();
    let mut key = [0; KEY_BYTES];
    let (pairs, rest) = digits.as_chunks::<2>();
    for (place, pair) in key.iter_mut().zip(pairs) {
        *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (pairs.len() == KEY_BYTES && rest.is_empty()).then_some(key)
}

/// The vehicles of this device, if it has a connection to any; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Px4(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    vehicles: Mutex<Vehicles>,
    /// There may be something to send.
    changed: Notify,
    start: Instant,
    owners: AtomicU32,
}

impl Px4 {
    /// Starts the task, on the runtime it is called from.
    pub(crate) fn start(settings: Option<Px4Settings>, start: Instant) -> Self {
        Px4(settings.map(|settings| {
            let vehicles = Mutex::new(Vehicles::new(settings.own));
            let owners = AtomicU32::new(0);
            let shared = Arc::new(Shared { vehicles, changed: Notify::new(), start, owners });
            tokio::spawn(run(settings, Arc::clone(&shared)));
            shared
        }))
    }

    /// The vehicles on the connection, as many as there is room for.
    pub(crate) fn heard(&self, heard: &mut [HeardVehicle]) -> usize {
        self.0.as_ref().map_or(0, |shared| shared.lock().heard(shared.now(), heard))
    }

    /// A module's handle.
    pub(crate) fn pilot(&self) -> Pilot {
        let shared = self.0.clone();
        let owner = shared.as_ref().map_or(0, |shared| shared.owners.fetch_add(1, Ordering::Relaxed));
        Pilot { shared, owner: Owner(owner) }
    }
}

/// What one module sees of the vehicles. Its commands are not sent again once it is dropped.
#[derive(Debug)]
pub(crate) struct Pilot {
    shared: Option<Arc<Shared>>,
    owner: Owner,
}

impl Pilot {
    pub(crate) fn send(&self, command: VehicleCommand) -> Result<u32, Errno> {
        let shared = self.shared()?;
        let ticket = shared.lock().send(self.owner, command);
        shared.changed.notify_one();
        ticket
    }

    pub(crate) fn takeoff(&self, vehicle: u8, altitude: f32) -> Result<u32, Errno> {
        let shared = self.shared()?;
        let ticket = shared.lock().takeoff(self.owner, vehicle, altitude);
        shared.changed.notify_one();
        ticket
    }

    pub(crate) fn result(&self, ticket: u32) -> Result<u8, Errno> {
        self.shared()?.lock().result(self.owner, ticket)
    }

    pub(crate) fn status(&self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        let shared = self.shared()?;
        shared.lock().status(shared.now(), vehicle)
    }

    pub(crate) fn battery(&self, vehicle: u8) -> Result<BatteryStatus, Errno> {
        let shared = self.shared()?;
        shared.lock().battery(shared.now(), vehicle)
    }

    pub(crate) fn position(&self, vehicle: u8) -> Result<LocalPosition, Errno> {
        let shared = self.shared()?;
        shared.lock().position(shared.now(), vehicle)
    }

    pub(crate) fn parameter(&self, vehicle: u8, name: ParameterName) -> Result<VehicleParameter, Errno> {
        let shared = self.shared()?;
        let (now, mut vehicles) = (shared.now(), shared.lock());
        let parameter = vehicles.parameter(now, self.owner, vehicle, name);
        if vehicles.next_deadline(now) <= now {
            // It is asked for.
            shared.changed.notify_one();
        }
        parameter
    }

    fn shared(&self) -> Result<&Shared, Errno> {
        self.shared.as_deref().ok_or(Errno::Unsupported)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.lock().forget(self.owner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vehicles> {
        self.vehicles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits until there may be something to send.
    async fn due(&self) {
        let deadline = self.lock().next_deadline(self.now());
        let deadline = Deadline::from_std(self.start + Duration::from_millis(deadline));
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = self.changed.notified() => {}
        }
    }

    fn poll(&self) -> Option<Message> {
        self.lock().poll_message(self.now())
    }
}

/// Carries messages for as long as the agent runs.
async fn run(settings: Px4Settings, shared: Arc<Shared>) {
    let mut frames = Frames::new(settings.own, settings.key);
    let mut opening = Box::pin(carrier::open(settings.connection.clone(), Duration::ZERO));
    let mut carrier: Option<Carrier> = None;
    loop {
        let worked = tokio::select! {
            opened = &mut opening, if carrier.is_none() => {
                carrier = Some(opened);
                Ok(())
            }
            heard = hear(carrier.as_mut(), &frames) => heard.map(|heard| {
                let (now, mut vehicles) = (shared.now(), shared.lock());
                for (from, message) in heard {
                    vehicles.on_message(now, from, message.id, &message.payload);
                }
            }),
            // Also without a carrier: waiting for an answer ends all the same.
            () = shared.due() => send(carrier.as_mut(), &mut frames, &shared).await,
        };
        if let Err(error) = worked {
            tracing::warn!("{} ended: {error}", settings.connection);
            carrier = None;
            opening = Box::pin(carrier::open(settings.connection.clone(), carrier::RETRY));
        }
    }
}

async fn hear(carrier: Option<&mut Carrier>, frames: &Frames) -> std::io::Result<Vec<frames::Heard>> {
    match carrier {
        Some(carrier) => carrier.receive(frames).await,
        None => std::future::pending().await,
    }
}

async fn send(carrier: Option<&mut Carrier>, frames: &mut Frames, shared: &Shared) -> std::io::Result<()> {
    let Some(carrier) = carrier else {
        while shared.poll().is_some() {}
        return Ok(());
    };
    while let Some(message) = shared.poll() {
        carrier.send(message.to, &frames.encode(&message)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        fcntl::OFlag,
        pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, unix::AsyncFd},
        net::{TcpListener, UdpSocket},
        time::timeout,
    };

    const PATIENCE: Duration = Duration::from_secs(20);
    /// A heartbeat in a frame of version 2, in bytes.
    const HEARTBEAT_BYTES: usize = 21;

    /// That vehicle 9, a quadrotor, is there and armed.
    fn heartbeat() -> Vec<u8> {
        heartbeat_of(9)
    }

    fn heartbeat_of(system: u8) -> Vec<u8> {
        let checksum = match system {
            9 => [0x11, 0xdd],
            10 => [0x6f, 0x05],
            13 => [0xa8, 0xf5],
            other => panic!("no checksum for vehicle {other}"),
        };
        let mut frame = vec![0xfd, 9, 0, 0, 0, system, 1, 0, 0, 0, 0, 0, 0, 0, 2, 12, 0x81, 4, 3];
        frame.extend(checksum);
        frame
    }

    fn validated(text: &str) -> anyhow::Result<Px4Settings> {
        toml::from_str::<Px4Config>(text)?.validate()
    }

    #[test]
    fn a_connection_is_validated_and_mistakes_are_named() -> anyhow::Result<()> {
        let settings = validated("connection = \"udpin:127.0.0.1:14540\"")?;
        assert_eq!((settings.own.system, settings.own.component), (SYSTEM, COMPONENT));
        for (text, expected) in [
            ("connection = \"udp:1\"", "udpin:HOST:PORT"),
            ("connection = \"serial:/dev/x\"", "serial:/dev/NAME:SPEED"),
            ("connection = \"serial:/dev/x:57601\"", "serial:/dev/NAME:SPEED"),
            ("connection = \"serial:x:57600\"", "serial:/dev/NAME:SPEED"),
            ("connection = \"udpin:localhost\"", "udpin:HOST:PORT"),
            ("connection = \"udpin:127.0.0.1:1\"\nsystem = 0", "use 1 to 255"),
            ("connection = \"udpin:127.0.0.1:1\"\nsystem = 256", "256"),
            ("connection = \"udpin:127.0.0.1:1\"\nbaud = 1", "baud"),
            ("connection = \"udpin:127.0.0.1:1\"\nsigning_key_file = \"/nowhere\"", "/nowhere"),
        ] {
            let error = format!("{:#}", validated(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
        Ok(())
    }

    #[test]
    fn a_key_is_bytes_or_digits() {
        assert_eq!(key(&[7; 32]), Some([7; 32]));
        assert_eq!(key(format!("{}\n", "0f".repeat(32)).as_bytes()), Some([15; 32]));
        for wrong in ["", "0f", &"0f".repeat(31), &"0f".repeat(33), &"0g".repeat(32)] {
            assert_eq!(key(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_opened_again() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let settings = validated(&format!("connection = \"tcpout:{}\"", listener.local_addr()?))?;
        let px4 = Px4::start(Some(settings), Instant::now());
        for _ in 0..2 {
            // Each is closed again at the end of its turn.
            let (mut stream, _) = timeout(PATIENCE, listener.accept()).await??;
            let mut said = [0; HEARTBEAT_BYTES];
            timeout(PATIENCE, stream.read_exact(&mut said)).await??;
            assert_eq!((said[0], said[5], said[6]), (0xfd, SYSTEM, COMPONENT));
        }
        let (mut stream, _) = timeout(PATIENCE, listener.accept()).await??;
        let pilot = px4.pilot();
        assert_eq!(pilot.status(0), Err(Errno::NotFound));
        for piece in heartbeat().chunks(4) {
            stream.write_all(piece).await?;
            stream.flush().await?;
        }
        let heard = async {
            while pilot.status(0).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, heard).await?;
        assert_eq!(pilot.status(0).map(|status| status.vehicle), Ok(9));
        Ok(())
    }

    #[tokio::test]
    async fn a_vehicle_that_is_sent_to_need_not_be_there_yet() -> anyhow::Result<()> {
        let place = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?;
        let settings = validated(&format!("connection = \"udpout:{place}\""))?;
        let px4 = Px4::start(Some(settings), Instant::now());
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let vehicle = UdpSocket::bind(place).await?;
        let mut said = [0; HEARTBEAT_BYTES];
        let (_, from) = timeout(PATIENCE, vehicle.recv_from(&mut said)).await??;
        assert!(from.ip().is_loopback() && said[0] == 0xfd);
        vehicle.send_to(&heartbeat(), from).await?;
        let pilot = px4.pilot();
        let ticket = loop {
            if let Ok(ticket) = pilot.send(VehicleCommand::arm(0, true)) {
                break ticket;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut command = [0; 64];
        while command[7] != 76 {
            timeout(PATIENCE, vehicle.recv_from(&mut command)).await??;
        }
        assert_eq!(pilot.result(ticket), Err(Errno::Busy));
        Ok(())
    }

    /// The other end of a serial line, and where this one is. The line is there as long as the terminal is held.
    fn serial_line() -> anyhow::Result<(PtyMaster, String)> {
        let line = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)?;
        grantpt(&line)?;
        unlockpt(&line)?;
        let place = ptsname_r(&line)?;
        Ok((line, place))
    }

    /// Waits until this many bytes have come.
    async fn read_line(line: &AsyncFd<PtyMaster>, out: &mut [u8]) -> anyhow::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let mut ready = line.readable().await?;
            let read = |line: &AsyncFd<PtyMaster>| Ok(nix::unistd::read(line.get_ref(), &mut out[filled..])?);
            match ready.try_io(read) {
                Ok(read) => filled += read?,
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_serial_line_carries_bytes_as_they_are_and_is_opened_again_when_it_is_back()
    -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let device = dir.path().join("ttyACM0");
        let settings = validated(&format!("connection = \"serial:{}:57600\"", device.display()))?;
        let px4 = Px4::start(Some(settings), Instant::now());
        let pilot = px4.pilot();
        for system in [9, 13, 10] {
            // 13 and 10 are those that a terminal makes something else of.
            let (line, place) = serial_line()?;
            std::os::unix::fs::symlink(place, &device)?;
            #[expect(deprecated, reason = "the other way is unsafe code; a terminal keeps its descriptor")]
            let line = AsyncFd::new(line)?;
            let mut said = [0; HEARTBEAT_BYTES];
            timeout(PATIENCE, read_line(&line, &mut said)).await??;
            assert_eq!((said[0], said[5], said[6]), (0xfd, SYSTEM, COMPONENT));
            nix::unistd::write(line.get_ref(), &heartbeat_of(system))?;
            let heard = async {
                while pilot.status(system).is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, heard).await?;
            std::fs::remove_file(&device)?;
        }
        Ok(())
    }

    #[test]
    fn without_a_connection_there_are_no_vehicles() {
        let pilot = Px4::default().pilot();
        assert_eq!(pilot.status(0), Err(Errno::Unsupported));
        assert_eq!(pilot.send(VehicleCommand::arm(0, true)), Err(Errno::Unsupported));
    }
}
