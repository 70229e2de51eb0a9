//! From an uploaded file to signed artifacts: check, compile, sign.
//!
//! [`build`] is deterministic: the same file, name, version and key give the same artifacts byte for
//! byte. It promises that nothing is compiled before every check passed, and that an artifact names
//! only classes that admitted the module.
//!
//! Not here: storing (`store`), and what devices check again (`wasmbed-core`).

mod admit;
mod firmware;
mod firmware_file;
mod sign;
mod trust;
mod validate;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmbed_abi::Capabilities;
use wasmbed_boards::Boards;
use wasmbed_runtime::Target;
use wasmbed_wire::{
    Digest, ModuleName,
    limits::{BLOCK_BYTES, Class, MAX_MODULE_BYTES, MAX_PAYLOAD_BYTES},
    manifest::{Classes, Kind, Manifest},
};

use crate::{
    api::{ClassReport, Code, Problem, Violation},
    store::{NewModule, StoredArtifact},
};
pub use admit::{admit_firmware, refuse_firmware};
pub use firmware::{FlatError, Release, flat_image, largest_image, sign_firmware};
pub use firmware_file::{FirmwareFile, FirmwareFileError, MAGIC, MAX_METADATA_BYTES, Metadata};
pub use sign::{KeyError, Signer};
pub use trust::{Trust, Untrusted};
pub use validate::{Checked, check, function_names};
pub use wasmbed_update::key_id;

/// Longest version text, in bytes.
const MAX_VERSION_BYTES: usize = 32;
/// Makes a module's artifacts for every class that admits it.
///
/// # Errors
/// If the file is too large, or no class admits it; the reports of all classes are in the detail.
pub fn build(
    signer: &Signer,
    boards: &Boards,
    name: ModuleName,
    version: &str,
    wasm: Bytes,
) -> Result<NewModule, Problem> {
    check_version(version)?;
    check_size(wasm.len() as u64)?;
    let Checked { classes: mut report, needs, uses, stack_bytes } = check(&wasm);
    let mut artifacts = Vec::new();
    for (target, classes) in targets(&report) {
        // Native code has frames of its own, on the stack of its thread.
        let stack_bytes = if target == Target::Wasm { 0 } else { stack_bytes.unwrap_or(0) };
        match make(signer, boards, name, version, &wasm, target, (classes, uses, stack_bytes)) {
            Ok(artifact) => artifacts.push(artifact),
            Err(violation) => withdraw(&mut report, classes, &violation),
        }
    }
    if artifacts.is_empty() {
        return Err(refusal(&report));
    }
    Ok(NewModule {
        name,
        version: version.to_owned(),
        digest: Digest(Sha256::digest(&wasm).into()),
        wasm,
        report,
        needs,
        uses,
        artifacts,
    })
}

/// Refuses a file that no module could be made of because of its size alone.
///
/// # Errors
/// If it has more than [`MAX_MODULE_BYTES`].
pub fn check_size(bytes: u64) -> Result<(), Problem> {
    if bytes <= u64::from(MAX_MODULE_BYTES) {
        return Ok(());
    }
    Err(Problem::new(
        Code::TooLarge,
        format!("the file has {bytes} bytes; at most {MAX_MODULE_BYTES} are accepted"),
    )
    .hint("strip debug information (wasm-strip, or strip = true in the release profile)"))
}

/// What a refused module's author is told.
pub fn refusal(report: &[ClassReport]) -> Problem {
    let mut lines: Vec<String> = Vec::new();
    for class in report {
        for Violation { rule, found, limit } in &class.violations {
            lines.push(format!("{}: {rule}: {found}; {limit}", class.class));
        }
    }
    Problem {
        detail: serde_json::to_value(report).ok(),
        ..Problem::new(Code::Refused, format!("no device class admits the module\n  {}", lines.join("\n  ")))
    }
}

/// Versions are semantic (2.0) and fit a topic level and a manifest.
fn check_version(version: &str) -> Result<(), Problem> {
    let core = version.split_once('-').map_or(version, |(core, _)| core);
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_semantic = core.split('.').count() == 3 && core.split('.').all(number);
    let is_plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if is_semantic && is_plain && !version.ends_with(['-', '.']) && version.len() <= MAX_VERSION_BYTES {
        return Ok(());
    }
    Err(Problem::new(Code::BadRequest, format!("{version:?} is not a version")).hint(format!(
        "use semantic versions such as 1.2.3 or 1.2.3-rc.1, at most {MAX_VERSION_BYTES} characters"
    )))
}

/// The forms to make, each with the classes it is for.
fn targets(report: &[ClassReport]) -> Vec<(Target, Classes)> {
    let mut targets: Vec<(Target, Classes)> = Vec::new();
    for class in report.iter().filter(|report| report.admitted).map(|report| report.class) {
        let target = Target::of(class);
        match targets.iter_mut().find(|(other, _)| *other == target) {
            Some((_, classes)) => *classes = classes.with(class),
            None => targets.push((target, Classes::default().with(class))),
        }
    }
    targets
}

fn make(
    signer: &Signer,
    boards: &Boards,
    name: ModuleName,
    version: &str,
    wasm: &Bytes,
    target: Target,
    (classes, uses, stack_bytes): (Classes, Capabilities, u32),
) -> Result<StoredArtifact, Violation> {
    // Compiled with the features of the smallest class, it loads on the larger ones too.
    let smallest = classes.iter().min_by_key(|class| class.limits().memory_bytes).unwrap_or(Class::Mcu);
    let payload = wasmbed_runtime::compile(wasm, target, smallest)
        .map_err(|error| violation("compile", error.to_string(), "the compiler must accept it"))?;
    let size =
        u32::try_from(payload.len()).ok().filter(|size| *size <= MAX_PAYLOAD_BYTES).ok_or_else(|| {
            violation(
                "size",
                format!("{} bytes when compiled", payload.len()),
                format!("at most {MAX_PAYLOAD_BYTES}"),
            )
        })?;
    let runtime = target.runtime_id();
    let block_bytes = block_bytes(boards, classes);
    let digest = Digest(Sha256::digest(&payload).into());
    let manifest = Manifest {
        kind: Kind::Module,
        name,
        version,
        classes,
        runtime,
        size,
        digest,
        block_bytes,
        board: None,
        counter: 0,
        patch: None,
        trial: None,
        capabilities: uses.bits(),
        stack_bytes,
    };
    let (id, manifest) = signer
        .sign(&manifest)
        .map_err(|error| violation("size", "the manifest is too large", error.to_string()))?;
    let classes = classes.iter().fold(0, |bits, class| bits | 1 << class as u8);
    Ok(StoredArtifact { id, classes, runtime, block_bytes, manifest, payload: payload.into() })
}

/// The largest block that every board of these classes takes that runs modules.
fn block_bytes(boards: &Boards, classes: Classes) -> u16 {
    let fitting = boards.iter().filter(|board| board.runs_modules() && classes.contains(board.class));
    fitting.map(|board| board.modules.block_bytes).min().unwrap_or(*BLOCK_BYTES.start() as u16)
}

fn withdraw(report: &mut [ClassReport], classes: Classes, violation: &Violation) {
    for class in report.iter_mut().filter(|report| classes.contains(report.class)) {
        class.admitted = false;
        class.violations.push(violation.clone());
    }
}

pub(crate) fn violation(rule: &str, found: impl Into<String>, limit: impl Into<String>) -> Violation {
    Violation { rule: rule.to_owned(), found: found.into(), limit: limit.into() }
}
