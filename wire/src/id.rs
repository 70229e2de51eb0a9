//! Names and digests: short, fixed-size, comparable values instead of strings.

use core::{fmt, str::FromStr};

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

/// Longest name in bytes.
pub const MAX_NAME_BYTES: usize = 32;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text has this many bytes; [`MAX_NAME_BYTES`] are allowed.
    TooLong(usize),
    /// This character is not one of `a-z`, `0-9`, `-`.
    BadCharacter(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the name is empty; use 1 to 32 of a-z, 0-9 and -"),
            NameError::TooLong(len) => {
                write!(f, "the name has {len} bytes; at most {MAX_NAME_BYTES} are allowed")
            }
            NameError::BadCharacter(c) => {
                write!(f, "the name contains {c:?}; use 1 to 32 of a-z, 0-9 and -")
            }
        }
    }
}

impl core::error::Error for NameError {}

/// A name of `[a-z0-9-]{1,32}`; zero padding keeps the derived order that of the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Name {
    bytes: [u8; MAX_NAME_BYTES],
    len: u8,
}

impl Name {
    const fn as_str(&self) -> &str {
        let (text, _) = self.bytes.split_at(self.len as usize);
        // Only ASCII gets in, so this always holds.
        match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(c) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(NameError::BadCharacter(c));
        }
        let mut bytes = [0; MAX_NAME_BYTES];
        bytes.get_mut(..text.len()).ok_or(NameError::TooLong(text.len()))?.copy_from_slice(text.as_bytes());
        Ok(Name { bytes, len: text.len() as u8 })
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Name);

        impl $name {
            /// The name as text.
            pub const fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                d.str()?.parse().map_err(|_| DecodeError::message("not a name").at(at))
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                text::deserialize(d)
            }
        }
    )*};
}

names! {
    /// A device.
    DeviceId;
    /// A machine that runs emulated devices.
    HostId;
    /// A way to ROS 2 for devices.
    GatewayId;
    /// A module.
    ModuleName;
    /// A kind of board, the name of its folder in `boards/`.
    BoardName;
    /// A telemetry channel.
    Channel;
    /// One command or request; its answer carries the same id.
    CommandId;
}

macro_rules! byte_ids {
    ($($(#[$doc:meta])* $name:ident($len:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let mut bytes = [0; $len];
                parse_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                d.bytes()?
                    .try_into()
                    .map(Self)
                    .map_err(|_| DecodeError::message("wrong number of bytes").at(at))
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                text::deserialize(d)
            }
        }
    )*};
}

byte_ids! {
    /// A SHA-256 digest.
    Digest(32);
    /// An artifact: the first 8 bytes of the SHA-256 of its manifest. Used to ask for blocks; what
    /// arrives is checked against the whole digest in the signed manifest.
    ArtifactId(8);
    /// An Ed25519 public key (RFC 8032).
    PublicKey(32);
    /// The first 8 bytes of the SHA-256 of a public key: which key signed.
    KeyId(8);
    /// A runtime ABI: an artifact made for another one is never loaded.
    RuntimeId(8);
}

/// Why a text is not the hexadecimal form that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HexError {
    expected_digits: usize,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits (0-9, a-f)", self.expected_digits)
    }
}

impl core::error::Error for HexError {}

fn parse_hex(text: &str, out: &mut [u8]) -> Result<(), HexError> {
    let error = HexError { expected_digits: out.len() * 2 };
    if text.len() != out.len() * 2 {
        return Err(error);
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(error),
    };
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(())
}

#[cfg(feature = "serde")]
mod text {
    use core::{fmt, marker::PhantomData, str::FromStr};

    struct Parse<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Parse<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: fmt::Display>, D: serde::Deserializer<'de>>(
        d: D,
    ) -> Result<T, D::Error> {
        d.deserialize_str(Parse(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_name_is_short_lower_case_and_plain() {
        assert_eq!("pump-7".parse::<DeviceId>().map(|id| id.to_string()), Ok("pump-7".to_string()));
        assert_eq!("".parse::<DeviceId>(), Err(NameError::Empty));
        assert_eq!("Pump".parse::<DeviceId>(), Err(NameError::BadCharacter('P')));
        assert_eq!("a/b".parse::<DeviceId>(), Err(NameError::BadCharacter('/')));
        assert_eq!("a".repeat(33).parse::<DeviceId>(), Err(NameError::TooLong(33)));
    }

    #[test]
    fn names_sort_as_their_text_does() {
        let mut ids: std::vec::Vec<DeviceId> =
            ["b", "a-10", "a", "a-9"].iter().filter_map(|t| t.parse().ok()).collect();
        ids.sort();
        let texts: std::vec::Vec<_> = ids.iter().map(DeviceId::as_str).collect();
        assert_eq!(texts, ["a", "a-10", "a-9", "b"]);
    }

    #[test]
    fn hex_reads_what_it_writes_and_nothing_else() {
        let id = ArtifactId([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "00010203fcfdfeff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("00010203fcfdfef".parse::<ArtifactId>().is_err());
        assert!("00010203fcfdfefg".parse::<ArtifactId>().is_err());
    }
}
