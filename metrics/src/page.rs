//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::{self, Write as _};

/// What one scrape answers.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// A number; whole ones are written exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any other.
    Real(f64),
}

impl Page {
    /// A page with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that only rises while the process runs; by convention the name ends with `_total`.
    pub fn counter<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, help, "counter")
    }

    /// Something that rises and falls.
    pub fn gauge<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, help, "gauge")
    }

    fn family<'p>(&'p mut self, name: &'p str, help: &str, kind: &str) -> Family<'p> {
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.text.push_str("\n# TYPE ");
        for part in [name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
        Family { text: &mut self.text, name }
    }

    /// Takes in another page, with other metrics.
    pub fn append(&mut self, other: &Page) {
        self.text.push_str(&other.text);
    }

    /// The page as it is sent.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// One metric: a sample for each set of labels.
#[derive(Debug)]
pub struct Family<'p> {
    text: &'p mut String,
    name: &'p str,
}

impl Family<'_> {
    /// The only sample, without labels.
    pub fn set(mut self, value: impl Into<Value>) {
        self.sample(&[], value);
    }

    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.text.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.text, " {}", value.into());
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            char => out.push(char),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(value) => value.fmt(f),
            Value::Real(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Value::Real(value) => value.fmt(f),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_prometheus_text() {
        let mut page = Page::new();
        page.counter("a_total", "One\nor \\ two \"three\".").set(u64::MAX);
        let mut family = page.gauge("b", "By place.");
        family.sample(&[("place", "a\"b\\c\nd"), ("kind", "x")], 0.5);
        family.sample(&[("place", "")], f64::NEG_INFINITY);
        let expected = "# HELP a_total One\\nor \\\\ two \"three\".\n# TYPE a_total counter\n\
                        a_total 18446744073709551615\n# HELP b By place.\n# TYPE b gauge\n\
                        b{place=\"a\\\"b\\\\c\\nd\",kind=\"x\"} 0.5\nb{place=\"\"} -Inf\n";
        assert_eq!(page.into_text(), expected);
    }
}
