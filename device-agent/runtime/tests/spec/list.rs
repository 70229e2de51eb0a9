//! What is not expected to pass, and why.
//!
//! A line of `skipped.txt` names classes, a file and a reason:
//!
//! ```text
//! mcu,riscv  wasm-v2/simd_lane     lacks simd
//! mcu        wasm-v1/block         lacks multi-value and nothing is left
//! mpu        wasm-v3/memory:12,34  because …
//! ```
//!
//! `lacks` covers modules that are refused for want of these features, and what is asked of them.
//! `and nothing is left` is due where nothing else in the file passes, so that the file tests nothing; where
//! it never does, the reason is `asserts nothing of a runtime`.
//! A name with `@` is a kind of directives in any file; the test knows them. With numbers of lines and `because`, these
//! directives are expected to fail. A `*` at the end of a file's name
//! stands for the rest of it; each of these files must need the entry.

use std::collections::BTreeSet;

use wasmbed_wire::limits::Class;
use wasmparser::WasmFeatures;

const SKIPPED: &str = include_str!("skipped.txt");

/// The entries for one class.
pub(crate) struct List(Vec<Entry>);

struct Entry {
    file: String,
    what: What,
}

enum What {
    Lacks { features: Vec<&'static str>, nothing_is_left: bool },
    Lines(Vec<usize>),
    Kind,
}

/// What is expected of one file.
#[derive(Default)]
pub(crate) struct Expected {
    /// Names of features that it uses and the class lacks.
    pub(crate) lacks: Vec<&'static str>,
    /// Whether nothing passes.
    pub(crate) nothing: bool,
    /// Lines of directives that fail.
    pub(crate) lines: Vec<usize>,
}

impl List {
    pub(crate) fn of(class: Class) -> Self {
        let lines = SKIPPED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        List(lines.filter_map(|line| entry(line, class)).collect())
    }

    pub(crate) fn expected(&self, file: &str) -> Expected {
        let mut expected = Expected::default();
        for entry in self.0.iter().filter(|entry| entry.is_for(file)) {
            match &entry.what {
                What::Lacks { features, nothing_is_left } => {
                    expected.lacks.extend(features);
                    expected.nothing |= nothing_is_left;
                }
                What::Lines(numbers) => expected.lines.extend(numbers),
                What::Kind => {}
            }
        }
        expected
    }

    /// Complains about kinds of directives that are listed and did not occur, or the other way round.
    pub(crate) fn other_kinds(&self, occurred: &BTreeSet<&'static str>) -> Vec<String> {
        let listed = self.0.iter().filter(|entry| matches!(entry.what, What::Kind));
        let listed: BTreeSet<&str> = listed.map(|entry| entry.file.as_str()).collect();
        let differ = listed.symmetric_difference(occurred);
        differ.map(|kind| format!("{kind}: either listed or met, but not both")).collect()
    }

    /// Complains about entries for files that do not exist.
    pub(crate) fn unknown_files(&self, files: &[String]) -> Vec<String> {
        let named = self.0.iter().filter(|entry| !matches!(entry.what, What::Kind));
        let unknown = named.filter(|entry| !files.iter().any(|file| entry.is_for(file)));
        unknown.map(|entry| format!("{}: listed as skipped, but there is no such file", entry.file)).collect()
    }
}

impl Entry {
    fn is_for(&self, file: &str) -> bool {
        match self.file.strip_suffix('*') {
            Some(start) => file.starts_with(start),
            None => self.file == file,
        }
    }
}

/// The entry in a line, if it is for this class.
fn entry(line: &'static str, class: Class) -> Option<Entry> {
    let (classes, rest) = line.split_once(' ').expect("classes, then a file");
    let (file, reason) = rest.trim_start().split_once(' ').expect("a file, then a reason");
    if !classes.split(',').any(|name| name.parse() == Ok(class)) {
        return None;
    }
    let reason = reason.trim_start();
    let entry = if let Some(features) = reason.strip_prefix("lacks ") {
        let (features, nothing_is_left) = match features.strip_suffix(" and nothing is left") {
            Some(features) => (features, true),
            None => (features, false),
        };
        let features = features.split(", ").collect();
        Entry { file: file.to_owned(), what: What::Lacks { features, nothing_is_left } }
    } else if reason.starts_with("because ") && file.starts_with('@') {
        Entry { file: file.to_owned(), what: What::Kind }
    } else if reason.starts_with("because ") {
        let (file, numbers) = file.split_once(':').expect("lines to skip");
        let numbers = numbers.split(',').map(|number| number.parse().expect("the number of a line"));
        Entry { file: file.to_owned(), what: What::Lines(numbers.collect()) }
    } else {
        let features = Vec::new();
        assert_eq!(reason, "asserts nothing of a runtime", "an unknown reason in {line:?}");
        Entry { file: file.to_owned(), what: What::Lacks { features, nothing_is_left: true } }
    };
    Some(entry)
}

/// The feature of this name.
pub(crate) fn feature(name: &str) -> WasmFeatures {
    let constant = name.to_uppercase().replace('-', "_");
    WasmFeatures::from_name(&constant).unwrap_or_else(|| panic!("there is no feature {name}"))
}

/// A feature's name as the list has it.
pub(crate) fn written(constant: &str) -> String {
    constant.to_lowercase().replace('_', "-")
}
