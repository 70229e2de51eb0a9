//! Where a crash came from, without debug information: return addresses found on the stack.
//!
//! Every word that points behind a call instruction is taken for a return address. A few may be left
//! over from earlier calls; `addr2line` with the image's ELF file tells which make sense.

use core::{borrow::Borrow, fmt};

/// Addresses kept.
const CALLERS: usize = 6;

/// Return addresses, the innermost first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Callers {
    addresses: [u32; CALLERS],
}

impl Callers {
    /// Searches words, innermost first; `is_return` tells whether one points behind a call.
    pub fn find(words: impl IntoIterator<Item = impl Borrow<u32>>, is_return: impl Fn(u32) -> bool) -> Self {
        let mut callers = Callers::default();
        let found = words.into_iter().map(|word| *word.borrow()).filter(|word| is_return(*word));
        for (place, address) in callers.addresses.iter_mut().zip(found) {
            *place = address;
        }
        callers
    }

    /// The innermost one; 0 if there is none.
    pub fn innermost(&self) -> u32 {
        self.addresses.first().copied().unwrap_or(0)
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addresses
            .iter()
            .take_while(|address| **address != 0)
            .try_for_each(|address| write!(f, " {address:x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_callers_are_kept_in_order() {
        let stack = [7, 0x801, 3, 0x802, 0x803, 0x804, 0x805, 0x806, 0x807];
        let callers = Callers::find(&stack, |word| word >= 0x800);
        assert_eq!(std::format!("{callers}"), " 801 802 803 804 805 806");
        assert_eq!(callers.innermost(), 0x801);
        assert_eq!(Callers::find(&stack, |_| false), Callers::default());
    }
}
