//! What is said to QEMU's monitor (QMP).

use std::{io, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Most read from a monitor, in bytes; a tree of all objects has less.
const ANSWER_BYTES: u64 = 1024 * 1024;
/// How long an answer may take; a QEMU that is suspended never answers.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks the QEMU whose monitor listens at `socket` to end. It flushes its disks first. An answer is
/// not waited for: the end of the process is the answer.
pub(super) async fn quit(socket: &Path) -> io::Result<()> {
    let mut monitor = Monitor::connect(socket).await?;
    monitor.write("quit", &json!({})).await?;
    // Closing before QEMU has read it would lose it.
    while !monitor.line().await?.is_empty() {}
    Ok(())
}

/// Resets the board in the QEMU whose monitor listens at `socket`; its memory keeps what it holds.
///
/// # Errors
/// If there is no answer within two seconds, or it is none.
pub(super) async fn reset(socket: &Path) -> io::Result<()> {
    execute(socket, &[("system_reset", json!({}))]).await.map(drop)
}

/// Has the QEMU whose monitor listens at `socket` carry out commands, one after the other, and returns what the last
/// one gave.
///
/// # Errors
/// If one is refused, or there is no answer within two seconds.
pub(super) async fn execute(socket: &Path, commands: &[(&str, Value)]) -> io::Result<Value> {
    let all = async {
        let mut monitor = Monitor::connect(socket).await?;
        let mut given = Value::Null;
        for (command, arguments) in commands {
            given = monitor.execute(command, arguments).await?;
        }
        Ok(given)
    };
    timeout(ANSWER, all).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "no answer; it may be suspended, or somebody else asks"))
    })
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
        monitor.write("qmp_capabilities", &json!({})).await?;
        Ok(monitor)
    }

    async fn write(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        let request = json!({ "execute": command, "arguments": arguments, "id": command });
        self.writer.write_all(format!("{request}\n").as_bytes()).await
    }

    /// Returns once the command is done.
    async fn execute(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        self.write(command, arguments).await?;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            // Others are events and answers to what was said before.
            if answer["id"] == command {
                return match answer.get("error") {
                    Some(error) => Err(io::Error::other(error["desc"].as_str().unwrap_or_default())),
                    None => Ok(answer["return"].take()),
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
