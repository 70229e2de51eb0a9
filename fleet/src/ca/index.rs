//! What was issued and revoked: a file of lines that several processes add to.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use wasmbed_wire::Digest;

use super::unix_s;

const FILE: &str = "index.jsonl";

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The MQTT user name of its holder, or a broker's first name.
    pub name: String,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the public key.
    pub key: Digest,
    /// Until when it is good, in seconds of Unix time.
    pub ends_s: u64,
    /// Whether it was revoked.
    #[serde(default)]
    pub is_revoked: bool,
    /// The number of the token it was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The certificate, PEM.
    pub certificate: String,
}

impl Issued {
    /// How long it is still good.
    pub fn left(&self) -> Duration {
        Duration::from_secs(self.ends_s.saturating_sub(unix_s(SystemTime::now())))
    }
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    Issued(Issued),
    Revoked {
        serial: String,
        at_s: u64,
    },
    /// The name is free for somebody else.
    Released {
        name: String,
    },
}

pub(super) struct Index {
    path: PathBuf,
    /// How much of the file was read.
    read_bytes: u64,
    issued: Vec<Issued>,
    revoked: Vec<(String, u64)>,
    /// Which of `issued` is the last of a name since it was last released.
    last: BTreeMap<String, usize>,
}

impl Index {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let mut index =
            Index { path, read_bytes: 0, issued: Vec::new(), revoked: Vec::new(), last: BTreeMap::new() };
        index.read()?;
        Ok(index)
    }

    /// Reads what was added since.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() == self.read_bytes {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut added = String::new();
        file.read_to_string(&mut added)?;
        // A line that somebody is still writing is read the next time.
        let whole = added.rfind('\n').map_or(0, |end| end + 1);
        for line in added[..whole].lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str(line) {
                // A power cut left half of it, so that nobody got what it was about.
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "left out a damaged line"),
                Ok(Line::Issued(issued)) => {
                    self.last.insert(issued.name.clone(), self.issued.len());
                    self.issued.push(issued);
                }
                Ok(Line::Revoked { serial, at_s }) => {
                    let concerned = self.issued.iter_mut().filter(|issued| issued.serial == serial);
                    concerned.for_each(|issued| issued.is_revoked = true);
                    self.revoked.push((serial, at_s));
                }
                Ok(Line::Released { name }) => {
                    self.last.remove(&name);
                }
            }
        }
        self.read_bytes += whole as u64;
        Ok(())
    }

    /// Adds a line, and reads it.
    pub(super) fn add(&mut self, line: Line) -> io::Result<()> {
        let mut text = serde_json::to_string(&line).map_err(io::Error::other)?;
        self.read()?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        // What a power cut left of a line before ends here.
        if file.metadata()?.len() != self.read_bytes {
            text.insert(0, '\n');
        }
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.read()
    }

    pub(super) fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// The last certificate of a name since it was last released.
    pub(super) fn last(&self, name: &str) -> Option<&Issued> {
        self.issued.get(*self.last.get(name)?)
    }

    /// Whether a token was used.
    pub(super) fn is_used(&self, token: &str) -> bool {
        self.issued.iter().any(|issued| issued.token.as_deref() == Some(token))
    }

    /// Serial numbers, and when they were revoked.
    pub(super) fn revoked(&self) -> &[(String, u64)] {
        &self.revoked
    }
}
