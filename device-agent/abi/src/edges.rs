//! Changes of a pin.

/// Which changes of a pin are watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edges {
    /// From low to high.
    pub rising: bool,
    /// From high to low.
    pub falling: bool,
}

impl Edges {
    /// The argument of `gpio_watch`: 1 rising, 2 falling, 3 both, 0 neither.
    pub const fn from_code(code: i32) -> Option<Edges> {
        match code {
            0..=3 => Some(Edges { rising: code & 1 != 0, falling: code & 2 != 0 }),
            _ => None,
        }
    }

    /// Whether a change to this level is one of them.
    pub const fn watch(self, high: bool) -> bool {
        if high { self.rising } else { self.falling }
    }
}
