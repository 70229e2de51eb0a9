//! Applying a patch on a board.

use crate::{
    ApplyError, Failed, MAX_WINDOW_BITS,
    format::{HEATSHRINK, NONE, SEQUENTIAL, Size},
    heatshrink::Decoder,
    records::Records,
};

/// The most bytes that are read from the old image or given to the sink at once.
pub const PIECE_BYTES: usize = 256;

/// The image a patch starts from. It must not change until the patch is applied.
pub trait Old {
    /// Fills `out`, 1 to [`PIECE_BYTES`] bytes, with the image's bytes from `offset` on. Only asked for
    /// bytes inside the size given to [`Applier::new`].
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Failed>;
}

/// Where the new image goes.
pub trait Sink {
    /// Takes the next 1 to [`PIECE_BYTES`] bytes of the new image. Pieces come in order, and never more of
    /// them than [`Applier::new`] allows.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed>;
}

/// Applies one patch. All its memory is in the value itself: the window and less than 512 bytes.
pub struct Applier {
    stage: Stage,
    max_new_size: u32,
    decoder: Decoder,
    records: Records,
}

// What boards set aside for an update.
const _: () = assert!(size_of::<Applier>() <= (1 << MAX_WINDOW_BITS) + 512);

/// What the next byte of the patch is.
enum Stage {
    Header,
    NewSize { compressed: bool, size: Size },
    Window,
    Compressed,
    Uncompressed,
    End,
    Failed(ApplyError),
}

impl Applier {
    /// Starts a patch against an old image of `old_size` bytes that may make a new one of up to
    /// `max_new_size` bytes.
    pub const fn new(old_size: u32, max_new_size: u32) -> Self {
        Applier {
            stage: Stage::Header,
            max_new_size,
            decoder: Decoder::new(),
            records: Records::new(old_size),
        }
    }

    /// What [`Applier::new`] makes, in the same place: for a stack without room for another.
    pub fn restart(&mut self, old_size: u32, max_new_size: u32) {
        self.stage = Stage::Header;
        self.max_new_size = max_new_size;
        self.decoder.restart();
        self.records = Records::new(old_size);
    }

    /// Takes the next bytes of the patch, any number of them, and gives `out` the bytes of the new image
    /// that follow from them, but for a piece that is not full yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the patch, or that `old` or `out` failed. It is final: further calls return the
    /// same error.
    pub fn push(&mut self, patch: &[u8], old: &mut impl Old, out: &mut impl Sink) -> Result<(), ApplyError> {
        for &byte in patch {
            if let Err(error) = self.push_byte(byte, old, out) {
                self.stage = Stage::Failed(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The patch is complete: returns the size in bytes of the new image, all of which the sink has.
    ///
    /// # Errors
    ///
    /// [`ApplyError::TooShort`] if the patch is not complete, or the error that ended it before.
    pub fn finish(&self) -> Result<u32, ApplyError> {
        match self.stage {
            Stage::End => Ok(self.records.new_size()),
            Stage::Failed(error) => Err(error),
            _ => Err(ApplyError::TooShort),
        }
    }

    fn push_byte(&mut self, byte: u8, old: &mut impl Old, out: &mut impl Sink) -> Result<(), ApplyError> {
        match &mut self.stage {
            Stage::Header => {
                self.stage = Stage::NewSize { compressed: is_compressed(byte)?, size: Size::START };
                return Ok(());
            }
            Stage::NewSize { compressed, size } => {
                let Some(size) = size.push(byte)? else { return Ok(()) };
                let size = u32::try_from(size).map_err(|_| ApplyError::BadSize)?;
                if size > self.max_new_size {
                    return Err(ApplyError::NewTooLarge { size, limit: self.max_new_size });
                }
                self.stage = if *compressed { Stage::Window } else { Stage::Uncompressed };
                self.records.start(size);
            }
            Stage::Window => {
                self.decoder.start(byte)?;
                self.stage = Stage::Compressed;
            }
            Stage::Compressed => {
                self.decoder.push(byte);
                while let Some(byte) = self.decoder.next() {
                    self.records.push(byte, old, out)?;
                }
            }
            Stage::Uncompressed => self.records.push(byte, old, out)?,
            Stage::End => return Err(ApplyError::TooLong),
            Stage::Failed(error) => return Err(*error),
        }
        if self.records.is_complete() {
            self.stage = Stage::End;
        }
        Ok(())
    }
}

fn is_compressed(header: u8) -> Result<bool, ApplyError> {
    if header & 0x80 != 0 {
        return Err(ApplyError::BadHeader(header));
    }
    match (header >> 4, header & 0x0f) {
        (SEQUENTIAL, NONE) => Ok(false),
        (SEQUENTIAL, HEATSHRINK) => Ok(true),
        (SEQUENTIAL, compression) => Err(ApplyError::UnsupportedCompression(compression)),
        (patch_type, _) => Err(ApplyError::UnsupportedPatchType(patch_type)),
    }
}
