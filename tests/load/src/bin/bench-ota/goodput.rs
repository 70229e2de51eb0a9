//! What comes through a link, against what it carries.

use wasmbed_figures::{Aim, line, median, verdict};

/// How far two measurements of the same link may lie apart.
const STEADY: f64 = 1.15;

/// Steady rounds without which nothing is said.
const ENOUGH: usize = 3;

/// Prints what reached of a link what it carries raw: the median of rounds, how far they lie apart, and what
/// became of the aim.
pub(crate) fn goodput(board: &str, what: &str, rounds: &[Round], aim: f64) {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    line(board, "raw link", of(Round::raw), "B/s");
    line(board, &format!("{what}: goodput"), of(|round| round.goodput), "B/s");
    let steady: Vec<f64> = rounds.iter().filter(|round| round.is_steady()).map(Round::share).collect();
    let (least, most) = steady.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(*x), b.max(*x)));
    let mut found = format!("{} of {} rounds steady", steady.len(), rounds.len());
    if !steady.is_empty() {
        found += &format!(", {least:.3} to {most:.3}");
    }
    let what = format!("{what}: goodput / raw");
    match share(&steady) {
        Ok(share) => {
            let verdict = verdict(share, Aim::AtLeast(aim));
            println!("{board:<10} {what:<28} {share:>11.3}   {verdict} ({found})");
        }
        Err(why) => {
            println!("{board:<10} {what:<28} {:>11}   aim >= {aim}: not measured, {why} ({found})", "-")
        }
    }
}

/// The median share of steady rounds, or why it says nothing.
fn share(steady: &[f64]) -> Result<f64, &'static str> {
    if steady.len() < ENOUGH {
        return Err("the machine was too busy with other things");
    }
    // One such round shows that the load changed unseen; the others may be as wrong the other way.
    if steady.iter().any(|share| *share > 1.0) {
        return Err("in one round more came through than the link carries");
    }
    Ok(median(steady.to_vec()))
}

/// Whether there are enough steady rounds.
pub(crate) fn is_enough(rounds: &[Round]) -> bool {
    rounds.iter().filter(|round| round.is_steady()).count() >= ENOUGH
}

/// A transfer between two measurements of the raw link, all in bytes per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) before: f64,
    pub(crate) goodput: f64,
    pub(crate) after: f64,
}

impl Round {
    fn raw(&self) -> f64 {
        f64::midpoint(self.before, self.after)
    }

    fn share(&self) -> f64 {
        self.goodput / self.raw()
    }

    /// Whether the machine did the same before and after, as far as the link can tell: what else runs on it
    /// decides how fast an emulated link is, and then the two cannot be compared.
    fn is_steady(&self) -> bool {
        let (least, most) = (self.before.min(self.after), self.before.max(self.after));
        most <= least * STEADY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_counts_only_if_the_raw_link_was_the_same_before_and_after() {
        let round = |before, after| Round { before, goodput: 90.0, after };
        assert!(round(100.0, 110.0).is_steady() && round(110.0, 100.0).is_steady());
        assert!(!round(100.0, 120.0).is_steady() && !round(120.0, 100.0).is_steady());
        assert!((round(80.0, 100.0).share() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_said_of_too_few_rounds_or_of_more_than_the_link_carries() {
        assert!(share(&[0.9, 0.9]).is_err());
        assert!(share(&[0.7, 1.1, 0.9]).is_err());
        assert_eq!(share(&[0.7, 0.95, 0.9]), Ok(0.9));
    }
}
