//! One file of tests against what is expected of it.

use std::{
    collections::BTreeSet,
    fmt,
    ops::{AddAssign, Range},
};

use wasmbed_wire::limits::Class;
use wast::{lexer::Lexer, parser::ParseBuffer};

use crate::{
    list::{Expected, List},
    machine::{Machine, Path},
    script::{Outcome, Script, parse},
    suites::File,
};

/// What became of directives.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    files: usize,
    passed: usize,
    lacks: usize,
    listed: usize,
    /// The kinds that occurred of those that are not about a runtime like ours, and how often they did.
    aside: usize,
    pub(crate) kinds: BTreeSet<&'static str>,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, mut other: Counts) {
        self.files += other.files;
        self.passed += other.passed;
        self.lacks += other.lacks;
        self.listed += other.listed;
        self.aside += other.aside;
        self.kinds.append(&mut other.kinds);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { files, passed, lacks, listed, aside, kinds: _ } = self;
        write!(
            f,
            "{files} files, {passed} assertions passed; skipped: {lacks} directives need a feature that the class \
             lacks, {listed} are listed one by one, {aside} are not about a runtime"
        )
    }
}

/// Runs a file; returns what happened in it and what should not have.
pub(crate) fn run(file: &File, path: Path, class: Class, list: &List) -> (Counts, Vec<String>) {
    let expected = list.expected(&file.name);
    let mut counts = Counts { files: 1, ..Counts::default() };
    let mut complaints = directives(file, path, class, &expected, &mut counts)
        .unwrap_or_else(|error| vec![format!("{}: {error}", file.name)]);
    if expected.nothing != (counts.passed == 0) {
        complaints.push(format!("{}: {} assertions passed, not as listed", file.name, counts.passed));
    }
    (counts, complaints)
}

fn directives(
    file: &File,
    path: Path,
    class: Class,
    expected: &Expected,
    counts: &mut Counts,
) -> Result<Vec<String>, String> {
    let mut lexer = Lexer::new(file.text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(|error| error.to_string())?;
    let directives = parse(&buffer)?;
    let machine = Machine::new(path, class).map_err(|error| format!("{error:#}"))?;
    let mut script = Script::new(machine, class, &expected.lacks);
    let listed: Vec<Range<usize>> = expected.lines.iter().map(|number| line(file.text, *number)).collect();
    let mut failed = BTreeSet::new();
    let mut complaints = Vec::new();
    for directive in directives {
        let span = directive.span();
        let index = listed.iter().position(|line| line.contains(&span.offset()));
        match (script.run(directive), index) {
            (Ok(Outcome::Passed), _) => counts.passed += 1,
            (Ok(Outcome::Done), _) => {}
            (Ok(Outcome::Lacks), _) => counts.lacks += 1,
            (Ok(Outcome::Aside(kind)), _) => {
                counts.aside += 1;
                counts.kinds.insert(kind);
            }
            (Err(_), Some(index)) => {
                counts.listed += 1;
                failed.insert(index);
            }
            (Err(error), None) => {
                let (line, _) = span.linecol_in(file.text);
                complaints.push(format!("{}:{}: {}", file.name, line + 1, error.root_cause()));
            }
        }
    }
    let needless = expected.lines.iter().enumerate().filter(|(index, _)| !failed.contains(index));
    complaints.extend(needless.map(|(_, number)| format!("{}:{number}: fails no more", file.name)));
    let missed = script.missed();
    let needless = expected.lacks.iter().filter(|feature| !missed.contains(*feature));
    complaints.extend(needless.map(|feature| format!("{}: nothing lacks {feature}", file.name)));
    Ok(complaints)
}

/// Where a line is, counted from 1, in bytes.
fn line(text: &str, number: usize) -> Range<usize> {
    let start = text.split_inclusive('\n').take(number.saturating_sub(1)).map(str::len).sum();
    let len = text[start..].find('\n').unwrap_or(text.len() - start);
    start..start + len
}
