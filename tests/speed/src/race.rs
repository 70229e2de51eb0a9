//! The same thing done by several, in turn, for some rounds.

use std::time::{Duration, Instant};

use wasmbed_engines::Machine;
use wasmbed_figures::median;
use wasmtime::{Result, ensure};

const ROUNDS: usize = 15;
/// Time of one measurement, within a round.
const SAMPLE: Duration = Duration::from_millis(15);
/// Ticks after which all must have the same result.
const CHECKED: u32 = 3;

/// What takes part, by name.
pub(crate) type Runner<'a> = (&'a str, Box<dyn FnMut() -> Result<()> + 'a>);

/// Times of one thing, in nanoseconds.
pub(crate) struct Times<'a> {
    names: Vec<&'a str>,
    /// A time for each name, in every round.
    rounds: Vec<Vec<f64>>,
}

impl<'a> Times<'a> {
    /// Ticks of machines that all do the same work.
    ///
    /// # Errors
    /// If one of them comes to another result, or is stopped.
    pub(crate) fn of_ticks(machines: Vec<(&'a str, Box<dyn Machine>)>) -> Result<Self> {
        let mut expected = None;
        let mut runners: Vec<Runner<'a>> = Vec::new();
        for (name, mut machine) in machines {
            (0..CHECKED).try_for_each(|_| machine.tick())?;
            let result = machine.health()?;
            let expected = *expected.get_or_insert(result);
            ensure!(result == expected, "{name} comes to {result} instead of {expected}");
            runners.push((name, Box::new(move || machine.tick())));
        }
        Self::of(runners)
    }

    /// Anything, by turns.
    ///
    /// # Errors
    /// If one of them fails.
    pub(crate) fn of(mut runners: Vec<Runner<'a>>) -> Result<Self> {
        let mut counts = Vec::new();
        for (_, run) in &mut runners {
            counts.push(calls_per_sample(run)?);
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let each = runners.iter_mut().zip(&counts);
            let round: Result<Vec<f64>> = each.map(|((_, run), count)| time(run, *count)).collect();
            rounds.push(round?);
        }
        Ok(Times { names: runners.iter().map(|(name, _)| *name).collect(), rounds })
    }

    /// The median time, in nanoseconds.
    pub(crate) fn median(&self, name: &str) -> f64 {
        self.compare(name, name, |time, _| time)
    }

    /// How many times as long one takes as the other: the median of all rounds.
    pub(crate) fn ratio(&self, name: &str, to: &str) -> f64 {
        self.compare(name, to, |a, b| a / b)
    }

    /// How much longer one takes than the other, in nanoseconds: the median of all rounds.
    pub(crate) fn difference(&self, name: &str, to: &str) -> f64 {
        self.compare(name, to, |a, b| a - b)
    }

    fn compare(&self, name: &str, to: &str, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let index = |name: &str| self.names.iter().position(|other| *other == name);
        let (Some(a), Some(b)) = (index(name), index(to)) else { return f64::NAN };
        median(self.rounds.iter().map(|round| compare(round[a], round[b])).collect())
    }
}

/// How often to do something in one measurement.
fn calls_per_sample(run: &mut impl FnMut() -> Result<()>) -> Result<u32> {
    let mut count: u32 = 1;
    loop {
        let per_call = time(run, count)?;
        if per_call * f64::from(count) >= SAMPLE.as_nanos() as f64 {
            return Ok(count);
        }
        count = count.saturating_mul(2);
    }
}

/// Nanoseconds for one call.
fn time(run: &mut impl FnMut() -> Result<()>, count: u32) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        run()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
}
