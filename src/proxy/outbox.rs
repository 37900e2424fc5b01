//! Bytes that wait to be written to one side: a head (with the small body that fitted behind it),
//! then body bytes.
//!
//! The two parts go out in one call. The head of a request is kept after it was sent, so that a
//! request which met a dead pooled connection can be sent again as a whole; everything else is
//! dropped as it goes. Behind both come bytes that go by unseen: the loop has them, here they are
//! only counted.

use crate::buffer::{Buffer, BufferPool, joined_len};
use crate::limits::READ_BYTES;

/// Bytes on their way to a socket.
#[derive(Default)]
pub(super) struct Outbox {
    head: Buffer,
    /// Bytes of `head` that were sent; counted only when `retain_head`.
    head_sent: usize,
    retain_head: bool,
    body: Buffer,
    /// Bytes that the loop holds for this side.
    bytes_in_pipe: u32,
    /// See [`any_sent`](Self::any_sent).
    any_sent: bool,
    /// True if a byte was sent that is no longer here.
    dropped_sent_bytes: bool,
}

impl Outbox {
    /// An outbox that holds on to its head, for a replay.
    pub(super) fn retain_head(head: Buffer) -> Outbox {
        Outbox {
            head,
            retain_head: true,
            ..Outbox::default()
        }
    }

    /// The two parts to write, in order.
    #[inline(always)]
    pub(super) fn pending(&self) -> (&[u8], &[u8]) {
        (self.head.filled_from(self.head_sent), self.body.filled())
    }

    /// Returns whether everything was written.
    pub(super) fn is_sent(&self) -> bool {
        self.head.len() <= self.head_sent && self.accepts()
    }

    /// Returns whether any bytes wait here to be written.
    pub(super) fn has_bytes(&self) -> bool {
        self.head.len() > self.head_sent || !self.body.is_empty()
    }

    fn head_left(&self) -> usize {
        self.head.len().saturating_sub(self.head_sent)
    }

    /// Returns whether body bytes may be put in: what was put in before is out.
    pub(super) fn accepts(&self) -> bool {
        self.body.is_empty() && self.bytes_in_pipe == 0
    }

    /// Returns whether a byte was written to the socket since the outbox was filled or rewound, or
    /// since a head was put into it while it was empty.
    pub(super) fn any_sent(&self) -> bool {
        self.any_sent
    }

    /// Notes that TLS holds bytes from here which it has not reported as sent: they cannot be taken
    /// back.
    pub(super) fn note_sealed(&mut self) {
        self.any_sent = true;
    }

    /// Returns whether everything that was ever put in is still here to be sent again.
    pub(super) fn can_rewind(&self) -> bool {
        self.retain_head && !self.dropped_sent_bytes
    }

    /// Starts over, for a fresh connection.
    pub(super) fn rewind(&mut self) {
        self.head_sent = 0;
        self.any_sent = false;
    }

    /// Replaces a head that is kept, and of which nothing is sent, by what `write` makes of it in
    /// at most `more` bytes more.
    ///
    /// # Errors
    /// `write` failed; then the head is what it was.
    pub(super) fn rewrite_head<E>(
        &mut self,
        more: usize,
        pool: &mut BufferPool,
        write: impl FnOnce(&[u8], &mut Buffer) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut fresh = pool.lend(self.head.len().saturating_add(more));
        let written = write(self.head.filled(), &mut fresh);
        if written.is_ok() {
            core::mem::swap(&mut self.head, &mut fresh);
        }
        pool.give_back(&mut fresh);
        written
    }

    /// Room for a head of at most `bound` bytes, behind a head that still waits. Attaches storage.
    #[inline(always)]
    pub(super) fn head_room(&mut self, bound: usize, pool: &mut BufferPool) -> &mut Buffer {
        let needed = self.head.len().saturating_add(bound);
        if self.head.is_detached() {
            self.head = pool.lend(needed);
            self.any_sent = false;
        } else {
            pool.reserve(&mut self.head, needed);
        }
        &mut self.head
    }

    /// `n` bytes went out.
    #[inline(always)]
    pub(super) fn sent(&mut self, n: usize, pool: &mut BufferPool) {
        self.any_sent |= n > 0;
        let of_head = n.min(self.head_left());
        if self.retain_head {
            self.head_sent = self.head_sent.saturating_add(of_head);
        } else {
            self.head.consume(of_head);
            pool.release_if_empty(&mut self.head);
        }
        let behind_head = n.wrapping_sub(of_head);
        if behind_head > 0 {
            self.sent_behind_head(behind_head, pool);
        }
    }

    fn sent_behind_head(&mut self, n: usize, pool: &mut BufferPool) {
        let of_body = n.min(self.body.len());
        if of_body > 0 {
            self.body.consume(of_body);
            self.dropped_sent_bytes = true;
            pool.release_if_empty(&mut self.body);
        }
        let passed = n.wrapping_sub(of_body);
        debug_assert!(
            passed <= self.bytes_in_pipe as usize,
            "more was sent than there was"
        );
        self.bytes_in_pipe = self
            .bytes_in_pipe
            .saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
    }

    /// `n` bytes for this side are with the loop. They cannot be sent twice.
    pub(super) fn spliced(&mut self, n: usize) {
        self.bytes_in_pipe = self
            .bytes_in_pipe
            .saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        self.dropped_sent_bytes = true;
    }

    /// Lets go of a head that was kept: the answer has begun, there is no replay any more.
    #[inline]
    pub(super) fn release_head(&mut self, pool: &mut BufferPool) {
        if self.retain_head {
            self.drop_head(pool);
        }
    }

    fn drop_head(&mut self, pool: &mut BufferPool) {
        self.retain_head = false;
        self.head.consume(self.head_sent);
        self.head_sent = 0;
        pool.release_if_empty(&mut self.head);
    }

    /// Moves up to `n` bytes from the front of `from` to the end of what is pending and says how
    /// many went. What is small rides in the head's buffer; the whole content of a large buffer
    /// changes hands without a copy.
    pub(super) fn take(&mut self, from: &mut Buffer, n: usize, pool: &mut BufferPool) -> usize {
        let n = n.min(from.len());
        let bytes = from.filled().get(..n).unwrap_or_default();
        if n == 0 {
            return 0;
        }
        if self.body.is_empty() && self.head_left() > 0 && self.head.push(bytes) {
            from.consume(n);
            pool.release_if_empty(from);
            return n;
        }
        if self.body.is_empty() && n == from.len() {
            pool.give_back(&mut self.body);
            core::mem::swap(&mut self.body, from);
            return n;
        }
        if self.body.is_detached() {
            self.body = pool.lend(n.min(READ_BYTES));
        }
        let moved = self.body.append(bytes);
        from.consume(moved);
        moved
    }

    /// Moves up to `n` bytes from the front of `from` to what is pending, where all of `n` have
    /// room; says how many went.
    pub(super) fn gather(&mut self, from: &mut Buffer, n: usize, pool: &mut BufferPool) -> usize {
        let bytes = from.filled().get(..n.min(from.len())).unwrap_or_default();
        let needed = self.body.len().saturating_add(n);
        if self.body.is_detached() {
            self.body = pool.lend(needed);
        } else {
            pool.reserve(&mut self.body, needed);
        }
        let moved = self.body.append(bytes);
        from.consume(moved);
        pool.release_if_empty(from);
        moved
    }

    /// Appends `parts` as a whole, or nothing when there is no room.
    #[must_use]
    pub(super) fn push(&mut self, parts: &[&[u8]], pool: &mut BufferPool) -> bool {
        let len = joined_len(parts.iter().map(|part| part.len()));
        let to = if self.body.is_empty() && self.head_left() > 0 && self.head.room().len() >= len {
            &mut self.head
        } else {
            if self.body.is_detached() {
                self.body = pool.lend(READ_BYTES);
            }
            &mut self.body
        };
        to.room().len() >= len && parts.iter().all(|part| to.push(part))
    }

    /// The most bytes that [`push`](Self::push) is sure to take now.
    pub(super) fn push_room(&mut self) -> usize {
        if self.body.is_detached() {
            READ_BYTES
        } else {
            self.body.room().len()
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self, pool: &mut BufferPool) {
        pool.give_back(&mut self.head);
        pool.give_back(&mut self.body);
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &mut BufferPool, bytes: &[u8]) -> Buffer {
        let mut buffer = pool.lend(bytes.len().max(1));
        assert!(buffer.push(bytes));
        buffer
    }

    fn joined(outbox: &Outbox) -> Vec<u8> {
        let (head, body) = outbox.pending();
        [head, body].concat()
    }

    #[test]
    fn a_kept_head_can_be_sent_again() {
        let mut pool = BufferPool::new();
        let mut outbox = Outbox::retain_head(filled(&mut pool, b"GET / "));
        let mut small = filled(&mut pool, b"body");
        assert_eq!(outbox.take(&mut small, 4, &mut pool), 4);
        outbox.sent(8, &mut pool);
        assert_eq!(joined(&outbox), b"dy");
        assert!(outbox.can_rewind() && outbox.any_sent() && !outbox.is_sent());
        outbox.rewind();
        assert_eq!(joined(&outbox), b"GET / body");
        assert!(!outbox.any_sent());
        outbox.sent(10, &mut pool);
        assert!(outbox.is_sent());
        outbox.release_head(&mut pool);
        assert!(!outbox.can_rewind());
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn a_large_body_changes_hands_and_then_cannot_be_replayed() {
        let mut pool = BufferPool::new();
        let mut outbox = Outbox::retain_head(filled(&mut pool, b"PUT / "));
        let mut large = filled(&mut pool, &[b'x'; 50_000]);
        assert_eq!(outbox.take(&mut large, 50_000, &mut pool), 50_000);
        assert!(large.is_detached() && !outbox.accepts());
        outbox.sent(6, &mut pool);
        assert!(outbox.can_rewind(), "only the head went out");
        outbox.sent(1, &mut pool);
        assert!(!outbox.can_rewind());
        outbox.sent(49_999, &mut pool);
        assert!(outbox.is_sent() && outbox.accepts());
        outbox.clear(&mut pool);
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn what_follows_the_body_in_its_buffer_stays_behind() {
        let mut pool = BufferPool::new();
        let mut outbox = Outbox::default();
        let mut from = filled(&mut pool, b"bodyGET /next");
        assert_eq!(outbox.take(&mut from, 4, &mut pool), 4);
        assert_eq!(
            (joined(&outbox).as_slice(), from.filled()),
            (&b"body"[..], &b"GET /next"[..])
        );
    }
}
