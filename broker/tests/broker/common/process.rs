//! The broker as a process of its own.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::within;

/// The broker with these arguments, which ends with the test.
pub fn broker(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmbed-broker"));
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Reads the log until the broker listens; the address it listens on.
pub async fn address(child: &mut Child) -> String {
    let [address] = addresses(child, ["listening address="]).await;
    address
}

/// Reads the log until the broker has said all of these; what follows each.
pub async fn addresses<const N: usize>(child: &mut Child, said: [&str; N]) -> [String; N] {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut addresses = [const { String::new() }; N];
    within(async {
        while addresses.iter().any(String::is_empty) {
            let line = lines.next_line().await.expect("readable").expect("it listens before it ends");
            for (address, said) in addresses.iter_mut().zip(said) {
                if let Some((_, found)) = line.split_once(said) {
                    *address = found.to_owned();
                }
            }
        }
    })
    .await;
    // Keep reading, so that the broker can go on logging.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    addresses
}
