//! A serial line: bytes as they are, 8 bits, no parity, no flow control.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{
    fcntl::OFlag,
    sys::termios::{
        BaudRate, ControlFlags, FlushArg, SetArg, cfmakeraw, cfsetspeed, tcflush, tcgetattr, tcsetattr,
    },
};
use tokio::io::unix::AsyncFd;

/// Speeds of serial lines, in bits per second.
const SPEEDS: [(u32, BaudRate); 9] = [
    (9_600, BaudRate::B9600),
    (19_200, BaudRate::B19200),
    (38_400, BaudRate::B38400),
    (57_600, BaudRate::B57600),
    (115_200, BaudRate::B115200),
    (230_400, BaudRate::B230400),
    (460_800, BaudRate::B460800),
    (921_600, BaudRate::B921600),
    (2_000_000, BaudRate::B2000000),
];

/// A speed that there is, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::px4) struct Speed(u32);

impl Speed {
    pub(super) fn of(bits_per_s: u32) -> Option<Self> {
        SPEEDS.iter().any(|(speed, _)| *speed == bits_per_s).then_some(Speed(bits_per_s))
    }

    pub(super) const fn bits_per_s(self) -> u32 {
        self.0
    }
}

/// An open line.
#[derive(Debug)]
pub(in crate::px4) struct Serial(AsyncFd<File>);

impl Serial {
    /// Opens a terminal and sets it up. What was received before is dropped.
    pub(super) fn open(path: &Path, speed: Speed) -> io::Result<Self> {
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        let mut settings = tcgetattr(&file)?;
        cfmakeraw(&mut settings);
        settings.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
        settings.control_flags &= !ControlFlags::CRTSCTS;
        if let Some((_, rate)) = SPEEDS.iter().find(|(known, _)| *known == speed.bits_per_s()) {
            cfsetspeed(&mut settings, *rate)?;
        }
        tcsetattr(&file, SetArg::TCSANOW, &settings)?;
        tcflush(&file, FlushArg::TCIFLUSH)?;
        #[expect(
            deprecated,
            reason = "the other way is unsafe code; a file keeps its descriptor until it is dropped"
        )]
        let file = AsyncFd::new(file)?;
        Ok(Serial(file))
    }

    /// What was received, at least a byte.
    ///
    /// # Errors
    /// If the line is gone.
    pub(super) async fn read(&self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|file| file.get_ref().read(out)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// If the line is gone.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            if let Ok(written) = ready.try_io(|file| file.get_ref().write(bytes)) {
                bytes = bytes.get(written?..).unwrap_or_default();
            }
        }
        Ok(())
    }
}
