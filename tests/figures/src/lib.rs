//! How benchmarks print what they found: one figure, one line.
//!
//! Each line is: subject, what, figure, unit, and where there is one the aim with the share of it that was
//! reached, or by how much it was missed. Only what was measured in the same run is compared.
#![forbid(unsafe_code)]

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// Good up to this.
    AtMost(f64),
    /// Good from this on.
    AtLeast(f64),
}

/// Prints a figure that is a count of something.
pub fn line(subject: &str, what: &str, figure: f64, unit: &str) {
    println!("{subject:<10} {what:<28} {figure:>11.0} {unit}");
}

/// Prints a count of bytes, and what became of its aim.
pub fn bytes(subject: &str, what: &str, figure: f64, aim: Aim) {
    println!("{subject:<10} {what:<28} {figure:>11.0} B   {}", verdict(figure, aim));
}

/// Prints a share or a ratio, and what became of its aim.
pub fn ratio(subject: &str, what: &str, figure: f64, aim: Aim) {
    println!("{subject:<10} {what:<28} {figure:>11.3}   {}", verdict(figure, aim));
}

/// Prints a share or a ratio without an aim.
pub fn plain_ratio(subject: &str, what: &str, figure: f64) {
    println!("{subject:<10} {what:<28} {figure:>11.3}");
}

/// The value in the middle; not a number if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What became of an aim.
pub fn verdict(figure: f64, aim: Aim) -> String {
    match aim {
        Aim::AtMost(most) if figure <= most => format!("aim <= {most}: {:.2} of it", figure / most),
        Aim::AtLeast(least) if figure >= least => format!("aim >= {least}: {:.2} of it", figure / least),
        Aim::AtMost(aim) => format!("aim <= {aim}: missed by {:.3}", figure - aim),
        Aim::AtLeast(aim) => format!("aim >= {aim}: missed by {:.3}", aim - figure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_says_by_how_much() {
        assert_eq!(verdict(0.75, Aim::AtMost(1.5)), "aim <= 1.5: 0.50 of it");
        assert_eq!(verdict(1.75, Aim::AtMost(1.5)), "aim <= 1.5: missed by 0.250");
        assert_eq!(verdict(0.68, Aim::AtLeast(0.85)), "aim >= 0.85: missed by 0.170");
        assert_eq!(verdict(0.85, Aim::AtLeast(0.85)), "aim >= 0.85: 1.00 of it");
    }
}
