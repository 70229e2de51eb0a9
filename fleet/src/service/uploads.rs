//! Uploaded files on their way to artifacts: one at a time, beside everything else.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use wasmbed_boards::Boards;

use super::worker::{Input, Reply};
use crate::{
    api::{Code, Problem},
    artifacts::{self, Signer},
    store::{NewFirmware, NewModule},
};

/// Uploads that may wait; one more is refused.
pub(super) const MAX_WAITING: usize = 4;

/// What was made of an upload.
#[derive(Debug)]
pub enum Built {
    /// A module, checked and compiled.
    Module(NewModule),
    /// A firmware; whether its key is trusted is still to be seen.
    Firmware(NewFirmware),
}

/// One file as it came.
#[derive(Debug)]
pub(super) struct Upload {
    /// What follows `put/` in its topic.
    pub(super) what: String,
    /// The file.
    pub(super) file: Bytes,
    /// Where the answer goes.
    pub(super) reply: Reply,
}

/// Builds artifacts until `uploads` is closed.
pub(super) async fn build_all(
    signer: Arc<Signer>,
    boards: Arc<Boards>,
    mut uploads: mpsc::Receiver<Upload>,
    fleet: mpsc::Sender<Input>,
) {
    while let Some(Upload { what, file, reply }) = uploads.recv().await {
        let (signer, boards) = (Arc::clone(&signer), Arc::clone(&boards));
        let built = tokio::task::spawn_blocking(move || build(&signer, &boards, &what, file)).await;
        let built = built.unwrap_or_else(|error| {
            tracing::error!(%error, "building an upload failed");
            Err(Problem::new(Code::Internal, "the compiler failed on this file"))
        });
        let built = Box::new(built);
        if fleet.send(Input::Built { built, reply }).await.is_err() {
            return;
        }
    }
}

/// What an upload is answered that finds no place to wait.
pub(super) fn busy() -> Problem {
    Problem::new(Code::Conflict, format!("{MAX_WAITING} uploads are waiting already"))
        .hint("try again in a few seconds")
}

fn build(signer: &Signer, boards: &Boards, what: &str, file: Bytes) -> Result<Built, Problem> {
    let mut levels = what.splitn(3, '/');
    let (Some(kind @ ("module" | "firmware")), Some(name), Some(version)) =
        (levels.next(), levels.next(), levels.next())
    else {
        return Err(Problem::new(Code::BadRequest, format!("nothing can be put as {what:?}"))
            .hint("publish the file to _fleet/put/module/NAME/VERSION or _fleet/put/firmware/NAME/VERSION"));
    };
    // RabbitMQ makes a level of each part of a version.
    let version = version.replace('/', ".");
    let name = name.parse().map_err(|error| {
        Problem::new(Code::BadRequest, format!("{name:?} cannot be the name of a {kind}: {error}"))
    })?;
    if kind == "module" {
        artifacts::build(signer, boards, name, &version, file).map(Built::Module)
    } else {
        artifacts::admit_firmware(signer, boards, name, &version, &file).map(Built::Firmware)
    }
}
