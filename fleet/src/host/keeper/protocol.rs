//! What a host and its keeper say to each other: JSON, one value a line, on a socket that only this user can reach.
//!
//! A keeper says its [`Greeting`] first, which every version can read, and then what it holds. What a host asks for is
//! carried out in its order. A keeper of another version is not spoken to: SIGTERM ends any of them, with its processes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::unix::OwnedReadHalf,
};
use wasmbed_wire::DeviceId;

use crate::host::process::Exit;

/// Rises whenever one side would not understand the other as before.
pub(in crate::host) const VERSION: u32 = 1;

/// The first line of a keeper. More may stand in those of other versions.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::host) struct Greeting {
    pub(in crate::host) version: u32,
}

/// What a host asks for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(in crate::host) enum Request {
    /// Wait this long for another host once this one is gone.
    Grace { ms: u64 },
    /// Start a process for a device that has none.
    Start { device: DeviceId, command: Command, bounds: Bounds, launched: Launched },
    /// Send a signal to a device's process and all of its group.
    Signal { device: DeviceId, signal: i32 },
    /// Kill every process and end.
    End,
}

/// What a keeper tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "kebab-case")]
pub(in crate::host) enum Report {
    /// Once, after the greeting.
    Holds {
        /// What an earlier host had it start.
        processes: Vec<Held>,
        /// Why processes are not bounded by cgroups, if they are not.
        unbounded: Option<String>,
    },
    /// The device has a process, in this cgroup if in any of its own.
    Started { device: DeviceId, pid: u32, group: Option<PathBuf> },
    /// Nothing was started.
    Failed { device: DeviceId, error: String },
    /// A line of the process' standard error; as long as the host keeps up.
    Said { device: DeviceId, line: String },
    /// The process ended.
    Exited { device: DeviceId, exit: Exit },
}

/// A process that an earlier host had started.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Held {
    pub(in crate::host) device: DeviceId,
    pub(in crate::host) pid: u32,
    pub(in crate::host) group: Option<PathBuf>,
    pub(in crate::host) launched: Launched,
    /// How it ended, if it did while there was no host.
    pub(in crate::host) exit: Option<Exit>,
}

/// A program to start.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Command {
    pub(in crate::host) program: PathBuf,
    pub(in crate::host) args: Vec<String>,
    pub(in crate::host) dir: PathBuf,
}

/// What a process and its children may take together, where there are cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Bounds {
    pub(in crate::host) memory_bytes: u64,
    /// Processes and threads.
    pub(in crate::host) tasks: u32,
}

/// What the next host has to know of a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Launched {
    /// Of everything that the process was started with: who would start it with something else starts it anew.
    pub(in crate::host) digest: String,
    /// The last power cycle done.
    pub(in crate::host) cycle: u32,
    /// The device numbers its connects above this.
    pub(in crate::host) boot_floor: u32,
}

/// A value as a line. What is said here has text keys only, so that this cannot fail.
pub(in crate::host) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What the other side says.
pub(in crate::host) struct Reader(Lines<BufReader<OwnedReadHalf>>);

impl Reader {
    pub(in crate::host) fn new(from: OwnedReadHalf) -> Self {
        Reader(BufReader::new(from).lines())
    }

    /// The next value; nothing at the end. Safe to drop and call again.
    pub(in crate::host) async fn next<T: DeserializeOwned>(&mut self) -> std::io::Result<Option<T>> {
        match self.0.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_of_a_later_version_is_understood() {
        let later = r#"{"version":9,"holds":{"of":"another form"}}"#;
        assert_eq!(serde_json::from_str::<Greeting>(later).expect("a greeting").version, 9);
    }

    /// A change here is another [`VERSION`].
    #[test]
    fn the_protocol_is_what_it_was() {
        let device = "pump-1".parse().expect("a name");
        let launched = Launched { digest: "d".into(), cycle: 2, boot_floor: 3 };
        let exit = Exit { code: None, signal: Some(9), last_line: "ouch".into() };
        let command = Command { program: "/p".into(), args: vec!["a".into()], dir: "/d".into() };
        let bounds = Bounds { memory_bytes: 4, tasks: 5 };
        let requests = [
            Request::Grace { ms: 1 },
            Request::Start { device, command, bounds, launched: launched.clone() },
            Request::Signal { device, signal: 15 },
            Request::End,
        ];
        let held = Held { device, pid: 6, group: Some("/g".into()), launched, exit: Some(exit.clone()) };
        let reports = [
            Report::Holds { processes: vec![held], unbounded: None },
            Report::Started { device, pid: 6, group: None },
            Report::Failed { device, error: "e".into() },
            Report::Said { device, line: "l".into() },
            Report::Exited { device, exit },
        ];
        let mut text = requests.iter().flat_map(line).collect::<Vec<u8>>();
        text.extend(reports.iter().flat_map(line));
        expect_test::expect![[r#"
            {"do":"grace","ms":1}
            {"do":"start","device":"pump-1","command":{"program":"/p","args":["a"],"dir":"/d"},"bounds":{"memory_bytes":4,"tasks":5},"launched":{"digest":"d","cycle":2,"boot_floor":3}}
            {"do":"signal","device":"pump-1","signal":15}
            {"do":"end"}
            {"told":"holds","processes":[{"device":"pump-1","pid":6,"group":"/g","launched":{"digest":"d","cycle":2,"boot_floor":3},"exit":{"code":null,"signal":9,"last_line":"ouch"}}],"unbounded":null}
            {"told":"started","device":"pump-1","pid":6,"group":null}
            {"told":"failed","device":"pump-1","error":"e"}
            {"told":"said","device":"pump-1","line":"l"}
            {"told":"exited","device":"pump-1","exit":{"code":null,"signal":9,"last_line":"ouch"}}
        "#]]
        .assert_eq(&String::from_utf8(text).expect("text"));
    }
}
