//! Structures that cross the border: little-endian, each field aligned to its size, so that C and Rust read and write
//! them in place.

use core::fmt;

/// A number in a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// 32 bits, two's complement.
    I32,
    /// 32 bits, IEEE 754.
    F32,
    /// 64 bits, IEEE 754.
    F64,
}

impl Number {
    /// What it takes, in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Number::U8 => 1,
            Number::U16 => 2,
            Number::U32 | Number::I32 | Number::F32 => 4,
            Number::F64 => 8,
        }
    }
}

/// As in Rust: `u16`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Number::U8 => "u8",
            Number::U16 => "u16",
            Number::U32 => "u32",
            Number::I32 => "i32",
            Number::F32 => "f32",
            Number::F64 => "f64",
        })
    }
}

/// A field of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub name: &'static str,
    /// What it holds.
    pub number: Number,
    /// Where it is, in bytes from the structure's start.
    pub at: usize,
}

/// A structure of fixed layout. What lies between its fields and behind them is zero.
macro_rules! layout {
    ($(#[doc = $doc:literal])* $name:ident, $bytes:literal {
        $($(#[doc = $field_doc:literal])* $at:literal $field:ident: $ty:ident $number:ident,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $ty,)*
        }

        impl $name {
            /// Its length, in bytes.
            pub const BYTES: usize = $bytes;
            /// Its fields, in their order.
            pub const FIELDS: &'static [$crate::Field] = &[
                $($crate::Field { name: stringify!($field), number: $crate::Number::$number, at: $at },)*
            ];

            /// As modules write and read it.
            pub fn encode(&self) -> [u8; $bytes] {
                let mut out = [0; $bytes];
                $(if let Some(place) = out.get_mut($at..$at + size_of::<$ty>()) {
                    place.copy_from_slice(&self.$field.to_le_bytes());
                })*
                out
            }

            /// Reads one.
            pub fn decode(bytes: &[u8; $bytes]) -> Self {
                $name { $($field: bytes.get($at..).and_then(|rest| rest.first_chunk()).copied()
                    .map_or_else(Default::default, <$ty>::from_le_bytes),)* }
            }
        }
    };
}

pub(crate) use layout;
