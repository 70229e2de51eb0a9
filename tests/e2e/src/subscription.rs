//! Messages on a topic as they come, through `mosquitto_sub`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::Fleet;

/// Messages that come while this lives, as hexadecimal text, with no more delay than a pipe has.
pub struct Subscription {
    child: Child,
    lines: Receiver<String>,
}

impl Subscription {
    /// Returns once the subscription stands.
    pub fn open(fleet: &Fleet, topic: &str) -> Result<Self> {
        let mut command = fleet.mosquitto("mosquitto_sub")?;
        // What is retained there tells when the subscription stands.
        command.args(["-F", "%x", "-t", topic, "-t", "wasmbed/v1/_fleet/state"]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start mosquitto_sub")?;
        let stdout = child.stdout.take().context("no output of mosquitto_sub")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let subscription = Subscription { child, lines };
        subscription.receive(Duration::from_secs(20)).context("nothing retained")?;
        Ok(subscription)
    }

    /// What has come and was not taken yet.
    pub fn drain(&self) -> impl Iterator<Item = String> {
        self.lines.try_iter()
    }

    /// The next one that is wanted; those before it are lost.
    pub fn next(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        loop {
            let line = self.receive(Duration::from_secs(60))?;
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    fn receive(&self, limit: Duration) -> Result<String> {
        self.lines.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow!("no message within {} s", limit.as_secs()),
            RecvTimeoutError::Disconnected => anyhow!("mosquitto_sub ended"),
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text as a line of a [`Subscription`] tells it.
pub fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that a line of a [`Subscription`] tells.
///
/// # Errors
/// If it is not in hexadecimal.
pub fn bytes(line: &str) -> Result<Vec<u8>> {
    let (digits, _) = line.as_bytes().as_chunks::<2>();
    digits.iter().map(|two| Ok(u8::from_str_radix(std::str::from_utf8(two)?, 16)?)).collect()
}
