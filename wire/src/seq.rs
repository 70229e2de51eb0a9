//! A list inside a message, without allocation in either direction.

use core::fmt;

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

/// A list that is either about to be sent (borrowed items) or was received (borrowed bytes).
///
/// Received lists are checked completely while the message is decoded, so iterating cannot fail.
#[derive(Clone, Copy)]
pub struct Seq<'a, T>(Inner<'a, T>);

#[derive(Clone, Copy)]
enum Inner<'a, T> {
    Items(&'a [T]),
    Encoded { bytes: &'a [u8], len: usize },
}

impl<'a, T> Seq<'a, T> {
    /// The list of these items.
    pub const fn new(items: &'a [T]) -> Self {
        Seq(Inner::Items(items))
    }

    /// How many items there are.
    pub const fn len(&self) -> usize {
        match self.0 {
            Inner::Items(items) => items.len(),
            Inner::Encoded { len, .. } => len,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Default for Seq<'_, T> {
    fn default() -> Self {
        Seq::new(&[])
    }
}

impl<'a, T: Copy + Decode<'a, ()>> Seq<'a, T> {
    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + 'a {
        let (items, bytes, mut left): (&'a [T], &'a [u8], usize) = match self.0 {
            Inner::Items(items) => (items, &[], 0),
            Inner::Encoded { bytes, len } => (&[], bytes, len),
        };
        let mut decoder = Decoder::new(bytes);
        let decoded = core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            decoder.decode().ok()
        });
        items.iter().copied().chain(decoded)
    }
}

impl<C, T: Encode<C>> Encode<C> for Seq<'_, T> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.len() as u64)?;
        match self.0 {
            Inner::Items(items) => items.iter().try_for_each(|item| item.encode(e, ctx)),
            Inner::Encoded { bytes, .. } => e.writer_mut().write_all(bytes).map_err(EncodeError::write),
        }
    }
}

impl<'b, C, T: Decode<'b, C>> Decode<'b, C> for Seq<'b, T> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let indefinite = || DecodeError::message("a list without a length").at(at);
        let len = d.array()?.ok_or_else(indefinite)?;
        let start = d.position();
        for _ in 0..len {
            T::decode(d, ctx)?;
        }
        let bytes = d.input().get(start..d.position()).unwrap_or_default();
        // Every item takes at least one byte, so `len` is no larger than the message.
        Ok(Seq(Inner::Encoded { bytes, len: len as usize }))
    }
}

impl<'a, T: Copy + Decode<'a, ()> + PartialEq> PartialEq for Seq<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Copy + Decode<'a, ()> + fmt::Debug> fmt::Debug for Seq<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
