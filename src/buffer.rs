//! Byte buffers, and the pool that lends them.
//!
//! A connection owns no buffer while it has nothing incomplete: an idle one costs no buffer at all. Buffers come from
//! four size classes and go back last-in first-out, so that the one lent next is the one still in the cache.
//!
//! ```text
//! storage  | consumed |  filled  |  room  |
//!          0        start       end   capacity
//! ```

use crate::cost;
use crate::limits::{BUFFER_CLASSES, BUFFERS_RETAINED_BYTES};

/// A byte queue over one piece of storage; without storage ("detached") it is empty and has no room.
#[derive(Default)]
pub struct Buffer {
    storage: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buffer {
    /// A buffer without storage.
    pub fn detached() -> Buffer {
        Buffer::default()
    }

    fn with_storage(storage: Box<[u8]>) -> Buffer {
        Buffer {
            storage,
            start: 0,
            end: 0,
        }
    }

    /// Whether there is no storage behind it.
    pub fn is_detached(&self) -> bool {
        self.storage.is_empty()
    }

    /// Whether nothing is filled in.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes filled in and not consumed.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Bytes the storage holds in all.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// The bytes filled in and not consumed.
    pub fn filled(&self) -> &[u8] {
        self.storage
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The free space behind the filled bytes.
    pub fn room(&mut self) -> &mut [u8] {
        self.storage
            .get_mut(self.end as usize..)
            .unwrap_or_default()
    }

    /// Counts `n` bytes, written to the start of [`room`](Self::room), as filled. More than fitted is a bug of the caller's and is cut.
    pub fn fill(&mut self, n: usize) {
        debug_assert!(n <= self.room().len());
        self.end = (self.end as usize).saturating_add(n).min(self.capacity()) as u32;
    }

    /// Drops `n` bytes from the front.
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.start = (self.start as usize)
            .saturating_add(n)
            .min(self.end as usize) as u32;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Drops everything behind the first `n` filled bytes.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.end = self.start.saturating_add(n as u32);
        }
    }

    /// Moves the filled bytes to the front of the storage, so that all free space is room.
    pub fn compact(&mut self) {
        if self.start > 0 {
            cost::count(self.len());
            self.storage
                .copy_within(self.start as usize..self.end as usize, 0);
            self.end = self.len() as u32;
            self.start = 0;
        }
    }

    /// For many small pieces.
    pub fn appender(&mut self) -> Appender<'_> {
        let capacity = self.storage.len();
        let room = self
            .storage
            .get_mut(self.end as usize..)
            .unwrap_or_default();
        Appender {
            room,
            end: &mut self.end,
            capacity,
            fits: true,
        }
    }

    /// Appends as much of `bytes` as there is room for and says how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let n = bytes.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), bytes.get(..n)) {
            cost::count(n);
            to.copy_from_slice(from);
        }
        self.fill(n);
        n
    }

    /// Appends all of `bytes`, or nothing when they do not fit.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let start = self.end as usize;
        match self
            .storage
            .get_mut(start..start.saturating_add(bytes.len()))
        {
            Some(to) => {
                cost::count(bytes.len());
                to.copy_from_slice(bytes);
                self.fill(bytes.len());
                true
            }
            None => false,
        }
    }
}

/// Appends many small pieces to one [`Buffer`]. They count as filled once [`done`](Self::done) says so.
pub struct Appender<'b> {
    room: &'b mut [u8],
    /// Behind what was filled before.
    end: &'b mut u32,
    capacity: usize,
    fits: bool,
}

impl Appender<'_> {
    /// Appends `bytes`. When they do not fit, that is remembered.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8]) {
        match core::mem::take(&mut self.room).split_at_mut_checked(bytes.len()) {
            Some((to, rest)) => {
                cost::count(bytes.len());
                to.copy_from_slice(bytes);
                self.room = rest;
            }
            None => self.fits = false,
        }
    }

    /// Counts what was appended as filled. False, and nothing is: not all of it fitted.
    #[must_use]
    pub fn done(self) -> bool {
        if self.fits {
            *self.end = self.capacity.saturating_sub(self.room.len()) as u32;
        }
        self.fits
    }
}

/// The sum of lengths: how much room all of it needs. Saturates, as no storage is that large.
pub fn total(lengths: impl IntoIterator<Item = usize>) -> usize {
    lengths.into_iter().fold(0, usize::saturating_add)
}

/// Lends [`Buffer`]s by size class and takes them back, keeping a bounded number for the next borrower.
#[derive(Default)]
pub struct BufferPool {
    shelves: [Vec<Box<[u8]>>; BUFFER_CLASSES.len()],
    retained: usize,
    lent: usize,
    lent_bytes: usize,
}

impl BufferPool {
    /// An empty pool; allocates nothing until somebody borrows.
    pub fn new() -> BufferPool {
        BufferPool::default()
    }

    /// How many buffers are with borrowers; zero when all is quiet (invariant I8).
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Bytes of storage that are with borrowers.
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// The bytes of storage that [`lend`](Self::lend) takes for `capacity`.
    pub fn storage_for(capacity: usize) -> usize {
        BUFFER_CLASSES
            .iter()
            .copied()
            .find(|&size| size >= capacity)
            .unwrap_or(capacity)
    }

    /// A buffer that holds at least `capacity` bytes. Above the largest class it is made to measure.
    pub fn lend(&mut self, capacity: usize) -> Buffer {
        self.lent = self.lent.saturating_add(1);
        let class = BUFFER_CLASSES.iter().position(|&size| size >= capacity);
        let size = class
            .and_then(|class| BUFFER_CLASSES.get(class))
            .copied()
            .unwrap_or(capacity);
        self.lent_bytes = self.lent_bytes.saturating_add(size);
        match class
            .and_then(|class| self.shelves.get_mut(class))
            .and_then(Vec::pop)
        {
            Some(storage) => {
                self.retained = self.retained.saturating_sub(size);
                Buffer::with_storage(storage)
            }
            None => Buffer::with_storage(vec![0; size].into_boxed_slice()),
        }
    }

    /// Takes a buffer's storage back and leaves it detached; what was in it is forgotten.
    pub fn give_back(&mut self, buffer: &mut Buffer) {
        if buffer.is_detached() {
            return;
        }
        debug_assert!(self.lent > 0, "more comes back than was lent");
        self.lent = self.lent.saturating_sub(1);
        let storage = core::mem::take(buffer).storage;
        let size = storage.len();
        self.lent_bytes = self.lent_bytes.saturating_sub(size);
        let class = BUFFER_CLASSES.iter().position(|&class| class == size);
        let retained = self.retained.saturating_add(size);
        if let Some(shelf) = class.and_then(|class| self.shelves.get_mut(class))
            && retained <= BUFFERS_RETAINED_BYTES
        {
            self.retained = retained;
            shelf.push(storage);
        }
    }

    /// Gives the storage back when nothing is filled in.
    pub fn release_if_empty(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() {
            self.give_back(buffer);
        }
    }

    /// Makes `buffer` hold at least `capacity` bytes with its filled bytes at the front, moving them if need be.
    pub fn reserve(&mut self, buffer: &mut Buffer, capacity: usize) {
        if buffer.is_detached() {
            *buffer = self.lend(capacity);
            return;
        }
        if buffer.capacity() >= capacity {
            buffer.compact();
            return;
        }
        let mut larger = self.lend(capacity.max(buffer.len()));
        larger.append(buffer.filled());
        self.give_back(buffer);
        *buffer = larger;
    }

    /// Moves a remainder into the smallest class that holds it, so that what waits long waits small. What no class holds stays
    /// where it is: storage made to measure would be full again with the next byte.
    pub fn shrink(&mut self, buffer: &mut Buffer) {
        let len = buffer.len();
        if len == 0 {
            self.give_back(buffer);
        } else if BUFFER_CLASSES
            .iter()
            .any(|&size| size >= len && size < buffer.capacity())
        {
            let mut smaller = self.lend(len);
            smaller.append(buffer.filled());
            self.give_back(buffer);
            *buffer = smaller;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_a_byte_queue() {
        let mut pool = BufferPool::new();
        let mut buffer = pool.lend(10);
        assert_eq!(buffer.capacity(), BUFFER_CLASSES[0]);
        assert!(buffer.push(b"hello world"));
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.compact();
        buffer.truncate(3);
        assert_eq!(buffer.filled(), b"wor");
        assert_eq!(buffer.room().len(), BUFFER_CLASSES[0] - 3);
        assert!(!buffer.push(&[0; 4096]));
        assert_eq!(buffer.append(&[b'x'; 4096]), BUFFER_CLASSES[0] - 3);
    }

    #[test]
    fn the_pool_lends_the_last_returned_and_counts() {
        let mut pool = BufferPool::new();
        let mut a = pool.lend(1);
        assert!(a.push(b"mark"));
        pool.give_back(&mut a);
        assert!(a.is_detached());
        assert_eq!(pool.lent(), 0);
        let mut again = pool.lend(1);
        again.fill(4);
        assert_eq!(again.filled(), b"mark", "the same storage came back");
        assert_eq!(pool.lent(), 1);
    }

    #[test]
    fn growing_and_shrinking_keep_the_bytes() {
        let mut pool = BufferPool::new();
        let mut buffer = pool.lend(1);
        assert!(buffer.push(b"abcdef"));
        buffer.consume(2);
        pool.reserve(&mut buffer, 200_000);
        assert_eq!(
            (buffer.filled(), buffer.capacity()),
            (&b"cdef"[..], 200_000)
        );
        pool.shrink(&mut buffer);
        assert_eq!(
            (buffer.filled(), buffer.capacity()),
            (&b"cdef"[..], BUFFER_CLASSES[0])
        );
        buffer.consume(4);
        pool.shrink(&mut buffer);
        assert!(buffer.is_detached());
        assert_eq!(pool.lent(), 0);
    }
}
