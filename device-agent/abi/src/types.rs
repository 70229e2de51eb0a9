//! Types of functions on the border between module and host.

use core::fmt;

/// A value that crosses the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// 32 bits, IEEE 754.
    F32,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::I32 => "i32",
            ValueType::I64 => "i64",
            ValueType::F32 => "f32",
        })
    }
}

/// Parameters and results of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// What it takes.
    pub params: &'static [ValueType],
    /// What it returns: nothing or one value.
    pub results: &'static [ValueType],
}

impl Signature {
    /// Whether a function with these types is meant; a type the border does not know is `None`.
    pub fn matches(
        &self,
        params: impl IntoIterator<Item = Option<ValueType>>,
        results: impl IntoIterator<Item = Option<ValueType>>,
    ) -> bool {
        params.into_iter().eq(self.params.iter().copied().map(Some))
            && results.into_iter().eq(self.results.iter().copied().map(Some))
    }
}

/// As in the text format: `(i32, i32) -> i32`.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        list(f, self.params)?;
        f.write_str(")")?;
        if !self.results.is_empty() {
            f.write_str(" -> ")?;
            list(f, self.results)?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, types: &[ValueType]) -> fmt::Result {
    for (index, ty) in types.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{ty}")?;
    }
    Ok(())
}
