//! What is said to an uploaded firmware before anybody has to trust it.

use bytes::Bytes;
use wasmbed_boards::{Board, Boards, ImageError};
use wasmbed_wire::{
    BoardName, ModuleName,
    limits::BLOCK_BYTES,
    manifest::{Classes, Manifest},
    sign1::Sign1,
};

use super::{
    FirmwareFile, FirmwareFileError, FlatError, MAGIC, Release, Signer, check_version, flat_image,
    largest_image, sign_firmware, violation,
};
use crate::{
    api::{Code, Problem, Violation},
    store::{FirmwareRow, NewFirmware, Source},
};

/// Makes what is stored of an uploaded firmware: of a signed file as it is, of an image for the board it is
/// named after by signing it. Whether the key may sign firmware is not decided here.
///
/// # Errors
/// If it is not acceptable; the rule it breaks is in the detail.
pub fn admit_firmware(
    signer: &Signer,
    boards: &Boards,
    name: ModuleName,
    version: &str,
    upload: &Bytes,
) -> Result<NewFirmware, Problem> {
    check_version(version)?;
    let (file, source) = if upload.starts_with(&MAGIC) {
        let file =
            FirmwareFile::parse(upload.clone()).map_err(|error| refuse_firmware(file_error(&error)))?;
        (file, Source::Signed)
    } else {
        (signed(signer, boards, name, version, upload)?, Source::Image)
    };
    check(boards, name, version, &file, source).map_err(refuse_firmware)
}

/// What the author of a refused firmware is told.
pub fn refuse_firmware(violation: Violation) -> Problem {
    let Violation { rule, found, limit } = &violation;
    let message = format!("the firmware is refused: {rule}: {found}; {limit}");
    Problem { detail: serde_json::to_value(&violation).ok(), ..Problem::new(Code::Refused, message) }
}

/// An image under the name of its board, signed by the service.
fn signed(
    signer: &Signer,
    boards: &Boards,
    name: ModuleName,
    version: &str,
    upload: &Bytes,
) -> Result<FirmwareFile, Problem> {
    let board = name.as_str().parse().ok().and_then(|name| boards.get(&name));
    let Some(board) = board else {
        let first = format!("{:?}", String::from_utf8_lossy(upload.get(..4).unwrap_or(upload)));
        return Err(refuse_firmware(violation(
            "format",
            format!("a file that begins with {first}, as {name}"),
            format!(
                "push a signed file (`wasmbed firmware sign`), which begins with \"WBFW\", or an image under the \
                 name of its board: {}",
                known(boards)
            ),
        )));
    };
    let image = flat_image(board, upload).map_err(|error| refuse_firmware(flat_error(board, &error)))?;
    sign_firmware(signer, board, Release::new(name, version), image)
        .map_err(|error| refuse_firmware(violation("size", "the manifest is too large", error.to_string())))
}

fn check(
    boards: &Boards,
    name: ModuleName,
    version: &str,
    file: &FirmwareFile,
    source: Source,
) -> Result<NewFirmware, Violation> {
    let unreadable = |error: FirmwareFileError| file_error(&error);
    let manifest = file.manifest().map_err(unreadable)?;
    let board = check_manifest(boards, name, version, &manifest)?;
    file.verify_payload().map_err(unreadable)?;
    let signed = Sign1::decode(&file.manifest).map_err(|_| unreadable(FirmwareFileError::Manifest))?;
    let row = FirmwareRow {
        artifact: file.artifact().map_err(unreadable)?,
        name,
        version: version.to_owned(),
        board,
        counter: manifest.counter,
        size_bytes: manifest.size,
        digest: manifest.digest,
        block_bytes: manifest.block_bytes,
        key: signed.key,
        notes: file.metadata.notes.clone(),
        build: file.metadata.build.clone(),
        source,
        at_ms: 0,
    };
    Ok(NewFirmware { row, manifest: file.manifest.clone(), payload: file.payload.clone() })
}

fn check_manifest(
    boards: &Boards,
    name: ModuleName,
    version: &str,
    manifest: &Manifest<'_>,
) -> Result<BoardName, Violation> {
    if manifest.name != name {
        return Err(violation(
            "name",
            format!("its manifest says {}", manifest.name),
            format!("push it as {name}"),
        ));
    }
    if manifest.version != version {
        let limit = format!("it was pushed as {version}");
        return Err(violation("version", format!("its manifest says {}", manifest.version), limit));
    }
    let board = manifest.board.and_then(|board| boards.get(&board)).ok_or_else(|| {
        let named = manifest.board.map_or("none".to_owned(), |board| board.to_string());
        violation("board", format!("the board {named}"), format!("boards are: {}", known(boards)))
    })?;
    if manifest.classes != Classes::default().with(board.class) {
        let named: Vec<&str> = manifest.classes.iter().map(|class| class.name()).collect();
        let found = format!("made for class {}", named.join(", "));
        return Err(violation("class", found, format!("board {} is of class {}", board.name, board.class)));
    }
    let limit = largest_image(board);
    if manifest.size > limit {
        return Err(too_large(board, manifest.size as usize, limit));
    }
    let most = u32::from(board.modules.block_bytes);
    let blocks = *BLOCK_BYTES.start()..=most;
    if !blocks.contains(&manifest.block_bytes.into()) {
        let limit = format!("{} takes {} to {most}", board.name, BLOCK_BYTES.start());
        return Err(violation("blocks", format!("blocks of {} bytes", manifest.block_bytes), limit));
    }
    Ok(board.name)
}

fn known(boards: &Boards) -> String {
    let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
    names.join(", ")
}

fn too_large(board: &Board, found: usize, limit: u32) -> Violation {
    violation("size", format!("an image of {found} bytes"), format!("{} has room for {limit}", board.name))
}

fn file_error(error: &FirmwareFileError) -> Violation {
    let rule = if matches!(error, FirmwareFileError::Digest { .. }) { "digest" } else { "format" };
    let limit = match error {
        FirmwareFileError::Digest { .. } => "the image must be the one that was signed; sign it again",
        FirmwareFileError::Truncated { .. } => "the file must be whole; copy it again",
        _ => "make the file with `wasmbed firmware sign`",
    };
    violation(rule, error.to_string(), limit)
}

fn flat_error(board: &Board, error: &FlatError) -> Violation {
    match *error {
        FlatError::TooLarge { found, limit } => too_large(board, found, limit),
        FlatError::Elf(ImageError::Outside { address, size_bytes }) => {
            let region = board.firmware.as_ref().map(|firmware| firmware.memory.flash);
            let range = region.map_or(String::new(), |region| {
                let end = region.origin.saturating_add(region.size_bytes);
                format!("{:#010x} to {end:#010x}", region.origin)
            });
            violation(
                "memory",
                format!("{size_bytes} bytes at {address:#010x}"),
                format!("an image for {} lies within {range}; link it for this board", board.name),
            )
        }
        _ => violation(
            "format",
            error.to_string(),
            "push the ELF file or the flat image of the board's firmware",
        ),
    }
}
