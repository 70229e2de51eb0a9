//! One figure, one line.

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// Good up to this.
    AtMost(f64),
    /// Good from this on.
    AtLeast(f64),
}

/// Prints a figure that is a count of something.
pub(crate) fn line(board: &str, what: &str, figure: f64, unit: &str) {
    println!("{board:<10} {what:<28} {figure:>11.0} {unit}");
}

/// Prints a share or a ratio, and what became of its aim.
pub(crate) fn ratio(board: &str, what: &str, figure: f64, aim: Aim) {
    println!("{board:<10} {what:<28} {figure:>11.3}   {}", verdict(figure, aim));
}

fn verdict(figure: f64, aim: Aim) -> String {
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
