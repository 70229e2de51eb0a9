//! The records of a patch, out of the decompressed stream.

use crate::{ApplyError, Old, PIECE_BYTES, Sink, format::Size};

/// Makes the new image out of records and the old image.
pub(crate) struct Records {
    field: Field,
    size: Size,
    old_size: u32,
    new_size: u32,
    /// The next byte to read of the old image: inside it or just behind its end.
    old_at: u32,
    /// Bytes of the new image that are in no piece and no data announced yet.
    new_left: u32,
    /// Bytes of the diff or extra data behind this piece.
    data_left: u32,
    /// The piece in the making. Of diff data it begins as the old bytes, to which the stream is added.
    piece: [u8; PIECE_BYTES],
    piece_len: usize,
    filled: usize,
}

/// What the next byte of the stream belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    DataFormat,
    DiffSize,
    Diff,
    ExtraSize,
    Extra,
    Adjustment,
    End,
}

impl Records {
    /// Records that wait for [`Records::start`].
    pub(crate) const fn new(old_size: u32) -> Self {
        Records {
            field: Field::DataFormat,
            size: Size::START,
            old_size,
            new_size: 0,
            old_at: 0,
            new_left: 0,
            data_left: 0,
            piece: [0; PIECE_BYTES],
            piece_len: 0,
            filled: 0,
        }
    }

    /// The size of the new image is known.
    pub(crate) fn start(&mut self, new_size: u32) {
        (self.new_size, self.new_left) = (new_size, new_size);
        if new_size == 0 {
            self.field = Field::End;
        }
    }

    pub(crate) fn new_size(&self) -> u32 {
        self.new_size
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.field == Field::End
    }

    /// Takes the next byte of the stream.
    pub(crate) fn push(
        &mut self,
        byte: u8,
        old: &mut impl Old,
        out: &mut impl Sink,
    ) -> Result<(), ApplyError> {
        match self.field {
            Field::Diff | Field::Extra => self.push_data(byte, old, out),
            Field::End => Err(ApplyError::TooLong),
            Field::DataFormat | Field::DiffSize | Field::ExtraSize | Field::Adjustment => {
                match self.size.push(byte)? {
                    Some(size) => self.on_size(size, old),
                    None => Ok(()),
                }
            }
        }
    }

    fn on_size(&mut self, size: i64, old: &mut impl Old) -> Result<(), ApplyError> {
        match self.field {
            Field::DataFormat if size != 0 => Err(ApplyError::UnsupportedDataFormat),
            Field::DataFormat => {
                self.field = Field::DiffSize;
                Ok(())
            }
            Field::DiffSize => self.begin_data(size, Field::Diff, old),
            Field::ExtraSize => self.begin_data(size, Field::Extra, old),
            _ => {
                self.old_at = self.old_place(size)?;
                self.field = if self.new_left == 0 { Field::End } else { Field::DiffSize };
                Ok(())
            }
        }
    }

    /// The place in the old image that is `distance` bytes from here.
    fn old_place(&self, distance: i64) -> Result<u32, ApplyError> {
        let offset = i64::from(self.old_at) + distance;
        match u32::try_from(offset) {
            Ok(place) if place <= self.old_size => Ok(place),
            _ => Err(ApplyError::OutsideOld { offset, old_size: self.old_size }),
        }
    }

    fn begin_data(&mut self, size: i64, field: Field, old: &mut impl Old) -> Result<(), ApplyError> {
        let size = u32::try_from(size).map_err(|_| ApplyError::BadSize)?;
        self.new_left = self.new_left.checked_sub(size).ok_or(ApplyError::PastNewEnd)?;
        if field == Field::Diff {
            self.old_place(i64::from(size))?;
        }
        self.data_left = size;
        self.field = field;
        self.begin_piece(old)
    }

    /// Prepares for the next bytes of the data, or for what follows on it.
    fn begin_piece(&mut self, old: &mut impl Old) -> Result<(), ApplyError> {
        self.filled = 0;
        self.piece_len = PIECE_BYTES.min(self.data_left as usize);
        self.data_left -= self.piece_len as u32;
        let is_diff = self.field == Field::Diff;
        if self.piece_len == 0 {
            self.field = if is_diff { Field::ExtraSize } else { Field::Adjustment };
        } else if is_diff {
            let piece = &mut self.piece[..self.piece_len];
            old.read(self.old_at, piece).map_err(|_| ApplyError::OldFailed)?;
            self.old_at += self.piece_len as u32;
        }
        Ok(())
    }

    fn push_data(&mut self, byte: u8, old: &mut impl Old, out: &mut impl Sink) -> Result<(), ApplyError> {
        let place = &mut self.piece[self.filled];
        *place = if self.field == Field::Diff { place.wrapping_add(byte) } else { byte };
        self.filled += 1;
        if self.filled < self.piece_len {
            return Ok(());
        }
        out.write(&self.piece[..self.piece_len]).map_err(|_| ApplyError::SinkFailed)?;
        self.begin_piece(old)
    }
}
