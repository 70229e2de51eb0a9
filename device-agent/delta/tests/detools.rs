//! Both ends against Python's detools, the tool whose format this is.
//!
//! `WASMBED_PYTHON` names a `python3` that has `detools==0.53.0`; without it there is nothing to test
//! against. `WASMBED_FIRMWARE_PAIR=old:new`, with several pairs separated by commas, adds real images.

mod support;

use std::{env, fs, path::Path, process::Command, time::Instant};

use support::{apply, edited, image};
use wasmbed_delta::create;

/// Creates a patch with the options in `argv[4]`, or applies one.
const CREATE: &str = "
import sys, json, detools
old, new, patch, options = sys.argv[1:]
detools.create_patch_filenames(old, new, patch, **json.loads(options))
";
const APPLY: &str = "
import sys, detools
old, patch, new = sys.argv[1:]
detools.apply_patch_filenames(old, patch, new)
";

/// How detools makes patches that boards take; its own default is window 8, lookahead 7.
const OPTIONS: [&str; 4] = [
    r#"{"compression": "heatshrink", "patch_type": "sequential"}"#,
    r#"{"compression": "heatshrink", "heatshrink_window_sz2": 10, "heatshrink_lookahead_sz2": 8}"#,
    r#"{"compression": "heatshrink", "algorithm": "match-blocks", "use_mmap": false}"#,
    r#"{"compression": "none"}"#,
];

#[test]
fn either_end_can_be_detools() {
    let Some(python) = env::var_os("WASMBED_PYTHON") else {
        println!("skipped: WASMBED_PYTHON does not name a python3 that has detools 0.53");
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let python = |program: &str, arguments: &[&Path], options: Option<&str>| {
        let mut command = Command::new(&python);
        command.args(["-c", program]).args(arguments).args(options);
        let output = command.output().expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let [old_path, new_path, patch_path, made_path] =
        ["old", "new", "patch", "made"].map(|name| dir.path().join(name));

    for (name, old, new) in pairs() {
        fs::write(&old_path, &old).expect("written");
        fs::write(&new_path, &new).expect("written");

        let begun = Instant::now();
        let ours = create(&old, &new);
        let took = begun.elapsed();
        assert_eq!(apply(&ours, &old), Ok(new.clone()), "{name}: ours, applied by us");
        fs::write(&patch_path, &ours).expect("written");
        python(APPLY, &[&old_path, &patch_path, &made_path], None);
        assert!(fs::read(&made_path).expect("made") == new, "{name}: ours, applied by detools");

        // For an image of nothing, match-blocks writes a stream that detools itself does not read.
        let usual = |options: &&str| !new.is_empty() || !options.contains("match-blocks");
        let theirs = OPTIONS.into_iter().filter(usual).map(|options| {
            python(CREATE, &[&old_path, &new_path, &patch_path], Some(options));
            let patch = fs::read(&patch_path).expect("made");
            assert_eq!(apply(&patch, &old), Ok(new.clone()), "{name}: by detools with {options}");
            patch.len()
        });
        let theirs: Vec<usize> = theirs.collect();
        println!(
            "{name}: {} bytes from {}: ours {} ({took:.1?}), detools {theirs:?}",
            new.len(),
            old.len(),
            ours.len()
        );
        assert!(ours.len() <= theirs[0], "{name}: {} bytes, detools {}", ours.len(), theirs[0]);
    }
}

/// Named pairs of an old and a new image.
fn pairs() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let base = image(7, 30_000);
    let made = [
        ("the same", (base.clone(), base.clone())),
        ("from nothing", (Vec::new(), base.clone())),
        ("to nothing", (base.clone(), Vec::new())),
        ("one byte", (vec![1], vec![2])),
        ("swapped halves", (base.clone(), [&base[15_000..], &base[..15_000]].concat())),
        ("unrelated", (base.clone(), image(8, 20_000))),
        ("inserted", edited(&base, &[(100, 0, 1), (9000, 0, 500)])),
        ("removed", edited(&base, &[(100, 3, 0), (9000, 700, 0)])),
        ("replaced", edited(&base, &[(0, 4, 4), (5000, 90, 40), (20_000, 1, 1), (29_999, 1, 300)])),
    ];
    let made = made.into_iter().map(|(name, (old, new))| (name.to_owned(), old, new));
    let real = env::var("WASMBED_FIRMWARE_PAIR").unwrap_or_default();
    let real = real.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (old, new) = pair.split_once(':').expect("WASMBED_FIRMWARE_PAIR is old:new");
        (pair.to_owned(), fs::read(old).expect("the old image"), fs::read(new).expect("the new image"))
    });
    made.chain(real).collect()
}
