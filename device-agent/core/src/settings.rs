//! A module's settings in a buffer of fixed size.

use wasmbed_wire::{Seq, message::Setting};

/// Settings as they came, up to `N` bytes of CBOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Settings<N> {
    /// None at all.
    pub(crate) const EMPTY: Self = Settings { bytes: [0; N], len: 0 };

    /// Keeps these settings, or `None` if they do not fit.
    pub(crate) fn keep(settings: &Seq<'_, Setting<'_>>) -> Option<Self> {
        let mut kept = Self::EMPTY;
        let mut rest = &mut kept.bytes[..];
        minicbor::encode(settings, &mut rest).ok()?;
        kept.len = N - rest.len();
        Some(kept)
    }

    /// The settings.
    pub(crate) fn get(&self) -> Seq<'_, Setting<'_>> {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        minicbor::decode(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_whole_or_not_at_all() {
        let given = [Setting { key: "unit", value: "C" }, Setting { key: "every", value: "10" }];
        let kept = Settings::<32>::keep(&Seq::new(&given)).map(|kept| kept.get() == Seq::new(&given));
        assert_eq!(kept, Some(true));
        assert_eq!(Settings::<16>::keep(&Seq::new(&given)), None);
        assert!(Settings::<16>::EMPTY.get().is_empty());
    }
}
