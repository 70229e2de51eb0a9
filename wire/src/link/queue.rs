//! Datagrams waiting to be sent or acknowledged, oldest first, in one buffer.

pub(super) struct Queue<B> {
    bytes: B,
    used: usize,
    len: u8,
}

const LENGTH_BYTES: usize = 2;

impl<B: AsRef<[u8]> + AsMut<[u8]>> Queue<B> {
    pub(super) const fn new(bytes: B) -> Self {
        Queue { bytes, used: 0, len: 0 }
    }

    /// The size of the largest datagram it ever has room for, in bytes.
    pub(super) fn largest(&self) -> usize {
        self.bytes.as_ref().len().saturating_sub(LENGTH_BYTES)
    }

    pub(super) fn clear(&mut self) {
        (self.used, self.len) = (0, 0);
    }

    /// Whether a datagram of this size can be added.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.len < u8::MAX / 2 && self.bytes.as_ref().len() - self.used >= size + LENGTH_BYTES
    }

    /// Adds a datagram; `false` if there is no room.
    pub(super) fn push(&mut self, datagram: &[u8]) -> bool {
        let Ok(len) = u16::try_from(datagram.len()) else {
            return false;
        };
        if !self.has_room(datagram.len()) {
            return false;
        }
        let (head, body) = self.bytes.as_mut()[self.used..].split_at_mut(LENGTH_BYTES);
        head.copy_from_slice(&len.to_le_bytes());
        body[..datagram.len()].copy_from_slice(datagram);
        self.used += LENGTH_BYTES + datagram.len();
        self.len += 1;
        true
    }

    /// The datagram at this place, 0 being the oldest.
    pub(super) fn get(&self, place: u8) -> Option<&[u8]> {
        if place >= self.len {
            return None;
        }
        let start = self.offset(place);
        self.bytes.as_ref().get(start + LENGTH_BYTES..start + LENGTH_BYTES + self.size_at(start))
    }

    /// Forgets the oldest `count` datagrams.
    pub(super) fn pop(&mut self, count: u8) {
        let count = count.min(self.len);
        let end = self.offset(count);
        self.bytes.as_mut().copy_within(end..self.used, 0);
        self.used -= end;
        self.len -= count;
    }

    fn offset(&self, place: u8) -> usize {
        (0..place).fold(0, |at, _| at + LENGTH_BYTES + self.size_at(at))
    }

    fn size_at(&self, at: usize) -> usize {
        match self.bytes.as_ref().get(at..at + LENGTH_BYTES) {
            Some(&[lo, hi]) => usize::from(u16::from_le_bytes([lo, hi])),
            _ => 0,
        }
    }
}
