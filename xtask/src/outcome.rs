//! What `cargo test` says: how many tests passed, how many failed, and why.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Lines of a reason that are repeated at the end; the rest is where the test has failed.
const REASON_LINES: usize = 12;

/// What came of some tests.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    /// Of each that failed, its name and the reason.
    reasons: Vec<String>,
}

impl Outcome {
    /// Runs a `cargo test`, shows what it prints, and adds what came of it.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
        let stdout = child.stdout.take().context("no output from cargo")?;
        let mut reader = Reader::default();
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what cargo prints")?;
            println!("{line}");
            reader.push(&line);
        }
        let Outcome { passed, failed, reasons } = reader.outcome;
        self.passed += passed;
        self.failed += failed;
        self.reasons.extend(reasons);
        let status = child.wait()?;
        if !status.success() && failed == 0 {
            bail!("cargo test ended with {status} before all tests ran");
        }
        Ok(())
    }

    /// Prints why tests failed, and the counts.
    ///
    /// # Errors
    /// If a test failed, or none ran.
    pub(crate) fn close(&self) -> Result<()> {
        for reason in &self.reasons {
            println!("failed: {reason}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        match self {
            Outcome { failed: 0, passed: 1.., .. } => Ok(()),
            Outcome { failed: 0, .. } => bail!("no test ran"),
            Outcome { failed, .. } => bail!("{failed} tests failed"),
        }
    }
}

/// Reads what libtest prints, line by line.
#[derive(Default)]
struct Reader {
    outcome: Outcome,
    /// The failed test whose output is being read.
    test: Option<String>,
    /// Lines of its reason still to be taken.
    wanted: usize,
}

impl Reader {
    fn push(&mut self, line: &str) {
        if let Some(summary) = line.trim().strip_prefix("test result: ") {
            self.outcome.passed += number_before(summary, "passed");
            self.outcome.failed += number_before(summary, "failed");
            (self.test, self.wanted) = (None, 0);
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.test = Some(name.to_owned());
            self.wanted = 0;
        } else if line == "failures:" || line.starts_with("Stack backtrace:") || line == "stack backtrace:" {
            self.wanted = 0;
        } else if let Some(test) = &self.test
            && (line.starts_with("Error: ") || line.contains(" panicked at "))
        {
            self.outcome.reasons.push(format!("{test}\n    {line}"));
            self.wanted = REASON_LINES;
        } else if self.wanted > 0
            && !line.trim().is_empty()
            && let Some(reason) = self.outcome.reasons.last_mut()
        {
            reason.push_str("\n    ");
            reason.push_str(line);
            self.wanted -= 1;
        }
    }
}

/// The number before a word, as in `ok. 3 passed; 0 failed; ...`.
fn number_before(summary: &str, word: &str) -> u32 {
    let words: Vec<&str> = summary.split([' ', ';']).collect();
    let at = words.iter().position(|candidate| *candidate == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_reasons_are_read() {
        let printed = "running 3 tests\n\
            test a ... ok\n\
            \n\
            failures:\n\
            \n\
            ---- power::a_board stdout ----\n\
            --- broker.log\n\
            Error: rv-1\n\
            \n\
            Caused by:\n\
            \u{20}   waited 60s in vain\n\
            \n\
            Stack backtrace:\n\
            \u{20}  0: main\n\
            ---- pins::b stdout ----\n\
            \n\
            thread 'pins::b' (7) panicked at tests/pins.rs:3:5:\n\
            left is right\n\
            note: run with `RUST_BACKTRACE=1`\n\
            \n\
            failures:\n\
            \u{20}   pins::b\n\
            \n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out";
        let mut reader = Reader::default();
        printed.lines().for_each(|line| reader.push(line));
        let Outcome { passed, failed, reasons } = reader.outcome;
        assert_eq!((passed, failed), (1, 2));
        let board = "power::a_board\n    Error: rv-1\n    Caused by:\n        waited 60s in vain";
        let pins = "pins::b\n    thread 'pins::b' (7) panicked at tests/pins.rs:3:5:\n    left is right\n    \
                    note: run with `RUST_BACKTRACE=1`";
        assert_eq!(reasons, [board, pins]);
    }
}
