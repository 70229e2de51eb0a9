//! What a run has of this machine, once the module asks for it: a folder for its files, and connections.

use anyhow::Result;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use wasmbed_abi::Errno;
use wasmbed_sandbox::{Connections, Files, Network};

pub(super) struct Outside {
    allow_network: String,
    /// The folder goes with the run.
    files: Option<(Files, TempDir)>,
    connections: Option<(Connections, Tasks)>,
}

/// The threads that open connections.
struct Tasks(Option<Runtime>);

impl Outside {
    /// `allow_network` are patterns separated by spaces.
    pub(super) fn new(allow_network: &str) -> Self {
        Outside { allow_network: allow_network.to_owned(), files: None, connections: None }
    }

    pub(super) fn files(&mut self) -> Result<&Files, Errno> {
        if self.files.is_none() {
            let dir = TempDir::with_prefix("wasmbed-files-").map_err(|_| Errno::Io)?;
            self.files = Some((Files::open(dir.path()).map_err(|_| Errno::Io)?, dir));
        }
        self.files.as_ref().map(|(files, _)| files).ok_or(Errno::Io)
    }

    pub(super) fn connections(&mut self) -> Result<&mut Connections, Errno> {
        if self.connections.is_none() {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.map_err(|_| Errno::Io)?;
            let connections = Network::new(runtime.handle().clone()).connections(&self.allow_network);
            self.connections = Some((connections, Tasks(Some(runtime))));
        }
        self.connections.as_mut().map(|(connections, _)| connections).ok_or(Errno::Io)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // A resolver that does not answer must not keep the run from ending.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
