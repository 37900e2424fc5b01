//! Byte buffers, and the pool that lends them.
//!
//! A connection owns no buffer while it has nothing incomplete, so an idle connection costs no
//! buffer. Buffers come from four size classes and are returned last-in first-out, so that the next
//! one lent is still in the cache.
//!
//! ```text
//! storage  | consumed |  filled  |  room  |
//!          0        start       end   capacity
//! ```

use crate::cost;
use crate::limits::{BUFFER_CLASSES, BUFFERS_RETAINED_BYTES};

/// Byte queue over one piece of storage. Without storage ("detached") it is empty and has no room.
#[derive(Default)]
pub struct Buffer {
    storage: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buffer {
    /// Creates a buffer without storage.
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

    /// Returns true without storage.
    pub fn is_detached(&self) -> bool {
        self.storage.is_empty()
    }

    /// Returns true if no byte is filled.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the number of bytes filled and not consumed.
    pub fn len(&self) -> usize {
        debug_assert!(self.start <= self.end);
        self.end.wrapping_sub(self.start) as usize
    }

    /// Returns the size of the storage.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Returns the bytes filled and not consumed.
    pub fn filled(&self) -> &[u8] {
        self.storage
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Returns the bytes filled and not consumed, without the first `n`.
    pub fn filled_from(&self, n: usize) -> &[u8] {
        self.storage
            .get((self.start as usize).wrapping_add(n)..self.end as usize)
            .unwrap_or_default()
    }

    /// Returns the bytes filled and not consumed, to be changed.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        self.storage
            .get_mut(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Returns the free space behind the filled bytes.
    pub fn room(&mut self) -> &mut [u8] {
        self.storage
            .get_mut(self.end as usize..)
            .unwrap_or_default()
    }

    /// Counts `n` bytes at the start of [`room`](Self::room) as filled. A larger `n` than the room
    /// is a bug of the caller and is reduced.
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

    /// Keeps the first `n` filled bytes and drops the rest.
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

    /// Returns an appender for many small pieces.
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

    /// Appends as much of `bytes` as fits, and returns the number of bytes appended.
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

    /// Appends all of `bytes`, or nothing if they do not fit.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let start = self.end as usize;
        // An end that wraps around lies before the start, where there is no room.
        let end = start.wrapping_add(bytes.len());
        match self.storage.get_mut(start..end) {
            Some(to) => {
                cost::count(bytes.len());
                to.copy_from_slice(bytes);
                self.end = end as u32;
                true
            }
            None => false,
        }
    }
}

/// Appender of many small pieces to one [`Buffer`]. They count as filled after
/// [`done`](Self::done).
pub struct Appender<'b> {
    room: &'b mut [u8],
    /// End of the filled bytes, which [`done`](Self::done) moves.
    end: &'b mut u32,
    capacity: usize,
    fits: bool,
}

impl Appender<'_> {
    /// Appends `bytes`, or remembers that they did not fit.
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

    /// Counts the appended bytes as filled. Returns false and counts nothing if not all of them
    /// fitted.
    #[must_use]
    pub fn done(self) -> bool {
        if self.fits {
            *self.end = self.capacity.saturating_sub(self.room.len()) as u32;
        }
        self.fits
    }
}

/// Returns the sum of sizes. Saturates: a machine with 32 bits cannot count all that a configuration
/// may ask for.
pub fn total(sizes: impl IntoIterator<Item = usize>) -> usize {
    sizes.into_iter().fold(0, usize::saturating_add)
}

/// Returns the length of parts of a message, one behind the other. All of them are in memory, so
/// their sum does not wrap around.
#[inline(always)]
pub fn joined_len(lengths: impl IntoIterator<Item = usize>) -> usize {
    lengths.into_iter().fold(0, |sum: usize, length| {
        debug_assert!(sum.checked_add(length).is_some());
        sum.wrapping_add(length)
    })
}

/// Pool that lends [`Buffer`]s by size class, and keeps a bounded number of returned ones.
#[derive(Default)]
pub struct BufferPool {
    shelves: [Vec<Box<[u8]>>; BUFFER_CLASSES.len()],
    /// Bytes of all storage, lent and kept.
    bytes: usize,
    lent: usize,
    lent_bytes: usize,
}

impl BufferPool {
    /// Creates an empty pool, without an allocation.
    pub fn new() -> BufferPool {
        BufferPool::default()
    }

    /// Returns the number of buffers lent; zero without activity (invariant I8).
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Returns the bytes of storage lent.
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// Returns the bytes of storage that [`lend`](Self::lend) uses for `capacity`.
    pub fn storage_for(capacity: usize) -> usize {
        BUFFER_CLASSES
            .iter()
            .copied()
            .find(|&size| size >= capacity)
            .unwrap_or(capacity)
    }

    /// Lends a buffer of at least `capacity` bytes. Above the largest class the storage has exactly
    /// that size.
    #[inline(always)]
    pub fn lend(&mut self, capacity: usize) -> Buffer {
        let kept = self
            .shelves
            .iter_mut()
            .zip(BUFFER_CLASSES)
            .find(|(_, size)| *size >= capacity)
            .and_then(|(shelf, _)| shelf.pop());
        let storage = kept.unwrap_or_else(|| self.new_storage(capacity));
        self.lent = self.lent.saturating_add(1);
        self.lent_bytes = self.lent_bytes.saturating_add(storage.len());
        Buffer::with_storage(storage)
    }

    /// Takes the storage of a buffer back and leaves the buffer detached. Its content is dropped.
    #[inline]
    pub fn give_back(&mut self, buffer: &mut Buffer) {
        // Many are: an idle connection, a body without content.
        if !buffer.is_detached() {
            self.take_back(core::mem::take(buffer).storage);
        }
    }

    #[inline(always)]
    fn take_back(&mut self, storage: Box<[u8]>) {
        debug_assert!(self.lent > 0, "more comes back than was lent");
        let size = storage.len();
        self.lent = self.lent.saturating_sub(1);
        self.lent_bytes = self.lent_bytes.saturating_sub(size);
        let kept = self.bytes.saturating_sub(self.lent_bytes);
        let mut shelves = self.shelves.iter_mut().zip(BUFFER_CLASSES);
        match shelves.find(|(_, class)| *class == size) {
            Some((shelf, _)) if kept <= BUFFERS_RETAINED_BYTES => shelf.push(storage),
            _ => self.free(storage),
        }
    }

    /// Allocates storage of the smallest class that has `capacity` bytes. Out of line, as
    /// [`free`](Self::free) is: a pool that is warm does neither.
    #[cold]
    fn new_storage(&mut self, capacity: usize) -> Box<[u8]> {
        let size = BufferPool::storage_for(capacity);
        self.bytes = self.bytes.saturating_add(size);
        vec![0; size].into_boxed_slice()
    }

    /// Frees storage that is not kept.
    #[cold]
    fn free(&mut self, storage: Box<[u8]>) {
        self.bytes = self.bytes.saturating_sub(storage.len());
        drop(storage);
    }

    /// Takes the storage back if nothing is filled.
    #[inline]
    pub fn release_if_empty(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() {
            self.give_back(buffer);
        }
    }

    /// Makes `buffer` hold at least `capacity` bytes, with its filled bytes at the front.
    #[inline]
    pub fn reserve(&mut self, buffer: &mut Buffer, capacity: usize) {
        if buffer.is_detached() {
            *buffer = self.lend(capacity);
        } else {
            self.enlarge(buffer, capacity);
        }
    }

    fn enlarge(&mut self, buffer: &mut Buffer, capacity: usize) {
        if buffer.capacity() >= capacity {
            buffer.compact();
            return;
        }
        let mut larger = self.lend(capacity.max(buffer.len()));
        larger.append(buffer.filled());
        self.give_back(buffer);
        *buffer = larger;
    }

    /// Moves the filled bytes into the smallest class that holds them, so that bytes that wait long
    /// use little memory. Bytes larger than every class are not moved: storage of their exact size
    /// would be full again with the next byte.
    #[inline(always)]
    pub fn shrink(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() {
            self.give_back(buffer);
        } else {
            self.move_to_smaller(buffer);
        }
    }

    fn move_to_smaller(&mut self, buffer: &mut Buffer) {
        let len = buffer.len();
        if BUFFER_CLASSES
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
