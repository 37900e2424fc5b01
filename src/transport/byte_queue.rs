//! Byte queue of a TLS pipe. Its storage exists only while it holds bytes.

/// Queue of bytes.
#[derive(Default)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    /// Number of bytes at the front that were consumed already.
    start: usize,
}

impl ByteQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the queued bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Returns the queued bytes, to be decrypted in place.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        crate::cost::count(bytes.len());
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends bytes to a message that arrives in pieces. Storage grows by doubling up to `most`
    /// bytes, so that each byte is moved a constant number of times.
    pub(super) fn accumulate(&mut self, bytes: &[u8], most: usize) {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if needed > self.bytes.capacity() {
            // Consumed bytes at the front make room first.
            crate::cost::count(self.bytes().len());
            self.bytes.drain(..self.start.min(self.bytes.len()));
            self.start = 0;
            let held = self.bytes.len();
            let larger = held.saturating_mul(2).min(most).saturating_sub(held);
            self.bytes.reserve_exact(larger.max(bytes.len()));
        }
        crate::cost::count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `len` zero bytes and returns them, to be overwritten.
    pub(super) fn extend(&mut self, len: usize) -> &mut [u8] {
        let end = self.bytes.len();
        self.bytes.resize(end.saturating_add(len), 0);
        self.bytes.get_mut(end..).unwrap_or_default()
    }

    /// Moves as many bytes as fit into `room` and returns their number.
    pub(super) fn move_to(&mut self, room: &mut [u8]) -> usize {
        let n = self.bytes().len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..n), self.bytes().get(..n)) {
            crate::cost::count(n);
            room.copy_from_slice(bytes);
        }
        self.advance(n);
        n
    }

    /// Consumes the first `n` bytes. Frees the storage with the last byte.
    pub(super) fn advance(&mut self, n: usize) {
        self.start = self.start.saturating_add(n);
        if self.start >= self.bytes.len() {
            *self = ByteQueue::default();
        }
    }

    /// Replaces the content. Existing storage is used if the bytes fit.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            *self = ByteQueue::default();
        } else {
            self.bytes.clear();
            self.start = 0;
            self.append(bytes);
        }
    }
}
