//! Bytes that wait: storage of a pipe's own, there only while something is in it.

/// A queue of bytes.
#[derive(Default)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    /// Bytes at the front that are gone already.
    start: usize,
}

impl ByteQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// What waits, to be worked on where it is.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Puts bytes behind the others.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Room for `len` bytes behind the others, which it holds from now on.
    pub(super) fn extend(&mut self, len: usize) -> &mut [u8] {
        let end = self.bytes.len();
        self.bytes.resize(end.saturating_add(len), 0);
        self.bytes.get_mut(end..).unwrap_or_default()
    }

    /// Moves as much as has room to the front of it; says how much that is.
    pub(super) fn move_to(&mut self, room: &mut [u8]) -> usize {
        let n = self.bytes().len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..n), self.bytes().get(..n)) {
            room.copy_from_slice(bytes);
        }
        self.advance(n);
        n
    }

    /// Lets the first `n` bytes go, and the storage with the last.
    pub(super) fn advance(&mut self, n: usize) {
        self.start = self.start.saturating_add(n);
        if self.start >= self.bytes.len() {
            *self = ByteQueue::default();
        }
    }

    /// Holds these bytes and no others; in storage that it has, if they have room there.
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
