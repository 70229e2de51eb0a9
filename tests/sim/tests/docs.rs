//! The table of `docs/updates.md`: every row is held by tests that exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where tests of firmware updates are.
const SOURCES: [&str; 4] = ["device-agent", "fleet", "tests", "wire"];

#[test]
fn every_row_of_the_table_of_faults_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/updates.md")).expect("the document");
    let (_, table) = text.split_once("| what happens |").expect("the table");
    let mut tests = BTreeSet::new();
    SOURCES.iter().for_each(|folder| collect(&root.join(folder), &mut tests));
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        // A heading inside the table.
        if row.starts_with("| **") {
            continue;
        }
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, end, names] = cells[..] else { panic!("not three cells: {row}") };
        assert!(!end.is_empty(), "no end state: {row}");
        let names: Vec<&str> = names.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            assert!(tests.contains(name), "there is no test `{name}`: {row}");
        }
        rows += 1;
    }
    assert!(rows >= 50, "only {rows} rows were found");
}

/// Adds the names of all tests in a folder and below.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests.extend(named(&fs::read_to_string(&path).expect("a source")));
        }
    }
}

/// Functions that follow a test's attribute.
fn named(source: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("::test(");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            names.extend(is_test.then(|| name.to_owned()));
            is_test = false;
        } else if !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}
