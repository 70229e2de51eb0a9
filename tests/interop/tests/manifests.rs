//! Signed manifests, keyrings and desired states, read by `pycose` (COSE, RFC 9052) and `zcbor` (CDDL, RFC 8610).

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use wasmbed_boards::Boards;
use wasmbed_fleet::artifacts::{self, Signer};
use wasmbed_wire::{
    BoardName, Digest, PublicKey, RuntimeId, Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
    limits::{Class, MAX_KEYRING_BYTES},
    manifest::{Classes, Kind, Manifest, Patch, Trial},
    message::Desired,
    sign1::Sign1,
};

const SEED: [u8; 32] = [7; 32];
/// Verifies a COSE_Sign1 from standard input, in hexadecimal, with key and external data in the arguments.
const VERIFY: &str = "
import sys
from pycose.keys import OKPKey
from pycose.messages import CoseMessage
message = CoseMessage.decode(bytes.fromhex(sys.stdin.read()))
message.key = OKPKey(crv='ED25519', x=bytes.fromhex(sys.argv[1]))
message.external_aad = sys.argv[2].encode()
sys.exit(0 if message.verify_signature() else 3)
";

/// The interpreter that has the programs; `None` where nobody set one up.
fn python() -> Option<PathBuf> {
    let python = env::var_os("WASMBED_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: WASMBED_PYTHON is not set; `cargo xtask test` sets it up");
    }
    python
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an interpreter that starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// What `pycose` says to a message and a key: whether the signature holds.
fn pycose(python: &Path, message: &[u8], key: &PublicKey) -> bool {
    pycose_with(python, message, key, "")
}

/// The same with external data.
fn pycose_with(python: &Path, message: &[u8], key: &PublicKey, external: &str) -> bool {
    let mut command = Command::new(python);
    let output = feed(command.args(["-c", VERIFY, &hex(&key.0), external]), hex(message).as_bytes());
    match output.status.code() {
        Some(0) => true,
        Some(3) => false,
        _ => panic!("pycose failed: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Whether `zcbor` finds that a message is of this type of `wire/manifest.cddl`.
fn zcbor(python: &Path, message: &[u8], entry: &str) -> bool {
    let cddl = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wire/manifest.cddl");
    let mut zcbor = Command::new(python.with_file_name("zcbor"));
    // From standard input: it cannot open files that are not text.
    zcbor.args(["validate", "--input-as", "cbor", "-i", "-", "-t", entry, "-c"]).arg(cddl);
    let output = feed(&mut zcbor, message);
    if !output.status.success() {
        println!("zcbor, {entry}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

fn firmware() -> Manifest<'static> {
    Manifest {
        kind: Kind::Firmware,
        name: "pump-controller".parse().expect("a name"),
        version: "1.2.3-rc.1",
        classes: Classes::default().with(Class::Mcu),
        runtime: RuntimeId([1; 8]),
        size: 400_000,
        digest: Digest([2; 32]),
        block_bytes: 1024,
        board: Some("netduino2".parse::<BoardName>().expect("a name")),
        counter: 7,
        patch: None,
        trial: Some(Trial { tries: 3, confirm_s: 90 }),
        capabilities: 0,
        stack_bytes: 0,
    }
}

/// Signed manifests of every kind, the module as the service makes it of a file.
fn manifests(signer: &Signer) -> Vec<(&'static str, Vec<u8>)> {
    let wasm = wat::parse_str(
        "(module (memory (export \"memory\") 1024 1024 (pagesize 1)) (func (export \"tick\")))",
    )
    .expect("a module");
    let boards = Boards::embedded().expect("boards");
    let module = artifacts::build(signer, &boards, "idle".parse().expect("a name"), "1.0.0", wasm.into());
    let module = module.expect("an admitted module");
    let sign = |manifest: &Manifest<'_>| signer.sign(manifest).expect("it fits").1.to_vec();
    let patch = Patch { base: Digest([3; 32]), image: Digest([2; 32]) };
    let mut all: Vec<_> =
        module.artifacts.iter().map(|artifact| ("module", artifact.manifest.to_vec())).collect();
    all.push(("firmware", sign(&firmware())));
    all.push((
        "patch",
        sign(&Manifest { kind: Kind::Patch, patch: Some(patch), trial: None, size: 9_000, ..firmware() }),
    ));
    all
}

fn keyring() -> Vec<u8> {
    let keys = [
        TrustedKey { key: PublicKey([4; 32]), roles: Roles::ALL, not_after_s: None },
        TrustedKey {
            key: PublicKey([5; 32]),
            roles: Roles::default().with(Role::Firmware),
            not_after_s: Some(1_900_000_000),
        },
    ];
    minicbor::to_vec(Keyring { version: 2, issued_s: 1_800_000_000, keys: Seq::new(&keys) }).expect("it fits")
}

#[test]
fn pycose_verifies_what_we_sign_and_nothing_else() {
    let Some(python) = python() else { return };
    let signer = Signer::from_seed(SEED);
    let stranger = Signer::from_seed([8; 32]);
    for (kind, message) in manifests(&signer) {
        assert!(pycose(&python, &message, &signer.public()), "{kind}");
        assert!(!pycose(&python, &message, &stranger.public()), "{kind}, another key");
        let mut forged = message.clone();
        // Inside of the manifest, behind the headers.
        forged[30] ^= 1;
        assert!(!pycose(&python, &forged, &signer.public()), "{kind}, forged");
    }
}

#[test]
fn pycose_verifies_what_a_device_is_told_for_that_device_and_topic_only() {
    let Some(python) = python() else { return };
    let signer = Signer::from_seed(SEED);
    let desired = Desired {
        revision: 1_800_000_000,
        modules: Seq::new(&[]),
        heartbeat_ms: Some(1_000),
        firmware: None,
    };
    let payload = minicbor::to_vec(desired).expect("it fits");
    let id = "pump-7".parse().expect("a name");
    let message = signer.sign_order(&id, "dn/desired", &payload).expect("a topic");
    let verifies = |external| pycose_with(&python, &message, &signer.public(), external);
    assert!(verifies("pump-7/dn/desired"));
    for external in ["", "dn/desired", "pump-8/dn/desired", "pump-7/dn/cmd/desired"] {
        assert!(!verifies(external), "{external:?}");
    }
}

#[test]
fn zcbor_finds_what_the_schema_says() {
    let Some(python) = python() else { return };
    let signer = Signer::from_seed(SEED);
    for (kind, message) in manifests(&signer) {
        assert!(zcbor(&python, &message, "signed-manifest"), "{kind}");
        assert!(!zcbor(&python, &message[1..], "signed-manifest"), "{kind}, without its tag");
        let sign1 = Sign1::decode(&message).expect("well-formed");
        assert!(zcbor(&python, sign1.payload, "manifest"), "{kind}");
        assert!(!zcbor(&python, sign1.payload, "keyring"), "{kind} is no keyring");
    }
    assert!(zcbor(&python, &keyring(), "keyring"));
    assert!(!zcbor(&python, &keyring(), "manifest"));
}

#[test]
fn pycose_signs_what_we_read() {
    let Some(python) = python() else { return };
    let script = "
import sys
from pycose.algorithms import EdDSA
from pycose.headers import Algorithm, KID
from pycose.keys import OKPKey
from pycose.messages import Sign1Message
payload, kid, seed = (bytes.fromhex(text) for text in sys.stdin.read().split())
message = Sign1Message(phdr={Algorithm: EdDSA}, uhdr={KID: kid}, payload=payload)
message.key = OKPKey(crv='ED25519', d=seed, optional_params={'ALG': 'EDDSA'})
print(message.encode().hex())
";
    let signer = Signer::from_seed(SEED);
    let payload = keyring();
    let ours = signer.sign(&firmware()).expect("it fits").1;
    let kid = Sign1::decode(&ours).expect("well-formed").key;
    let input = format!("{} {kid} {}", hex(&payload), hex(&SEED));
    let output = feed(Command::new(&python).args(["-c", script]), input.as_bytes());
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes: Vec<u8> = (0..text.trim().len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hexadecimal"))
        .collect();
    assert!(bytes.len() <= MAX_KEYRING_BYTES);
    let read = Sign1::decode(&bytes).expect("a COSE_Sign1 of our form");
    assert_eq!((read.key, read.payload), (kid, &payload[..]));
    assert!(pycose(&python, &bytes, &signer.public()));
}
