//! What is said to QEMU's monitor (QMP): `quit` and `system_reset`.

use std::{io, path::Path, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Most read from a monitor, in bytes; the greeting is the longest answer and well below this.
const ANSWER_BYTES: u64 = 64 * 1024;
/// How long a reset may take; one that is suspended never answers.
const RESET: Duration = Duration::from_secs(2);

/// Asks the QEMU whose monitor listens at `socket` to end. It flushes its disks first. An answer is
/// not waited for: the end of the process is the answer.
pub(super) async fn quit(socket: &Path) -> io::Result<()> {
    let mut monitor = Monitor::connect(socket).await?;
    monitor.write("quit").await?;
    // Closing before QEMU has read it would lose it.
    while !monitor.line().await?.is_empty() {}
    Ok(())
}

/// Resets the board in the QEMU whose monitor listens at `socket`; its memory keeps what it holds.
///
/// # Errors
/// If there is no answer within two seconds, or it is none.
pub(super) async fn reset(socket: &Path) -> io::Result<()> {
    let reset = async {
        let mut monitor = Monitor::connect(socket).await?;
        monitor.execute("system_reset").await
    };
    timeout(RESET, reset).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

struct Monitor {
    reader: BufReader<Take<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Monitor {
    async fn connect(socket: &Path) -> io::Result<Self> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let mut monitor = Monitor { reader: BufReader::new(reader.take(ANSWER_BYTES)), writer };
        // The greeting.
        monitor.line().await?;
        monitor.write("qmp_capabilities").await?;
        Ok(monitor)
    }

    async fn write(&mut self, command: &str) -> io::Result<()> {
        self.writer
            .write_all(format!("{{\"execute\":\"{command}\",\"id\":\"{command}\"}}\n").as_bytes())
            .await
    }

    /// Returns once the command is done.
    async fn execute(&mut self, command: &str) -> io::Result<()> {
        self.write(command).await?;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: Value = serde_json::from_str(&line)?;
            // Others are events and answers to what was said before.
            if answer["id"] == command {
                return match answer.get("error") {
                    Some(error) => Err(io::Error::other(error.to_string())),
                    None => Ok(()),
                };
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await?;
        Ok(line)
    }
}
