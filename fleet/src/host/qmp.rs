//! The one word said to QEMU's monitor (QMP): `quit`.

use std::{io, path::Path};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// Longest answer read, in bytes; the greeting is the longest and well below this.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Asks the QEMU whose monitor listens at `socket` to end. It flushes its disks first. An answer is
/// not waited for: the end of the process is the answer.
pub(super) async fn quit(socket: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(socket).await?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(ANSWER_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    writer.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n").await?;
    // Closing before QEMU has read both would lose the second one.
    while reader.read_line(&mut line).await? > 0 {
        line.clear();
    }
    Ok(())
}
