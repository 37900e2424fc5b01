//! Plaintext that was sealed, and how much of it the socket has accepted.

/// Plaintext on its way to the socket.
#[derive(Default)]
pub(super) struct Batch {
    /// Bytes of plaintext.
    pub(super) taken: usize,
    /// Bytes of ciphertext, with overhead.
    pub(super) sealed: usize,
    /// Bytes of plaintext that were reported as sent.
    pub(super) reported: usize,
    /// Bytes of ciphertext that the socket accepted since the batch started.
    pub(super) written: usize,
}

impl Batch {
    /// Returns the bytes of plaintext that are not reported yet.
    pub(super) fn unreported(&self) -> usize {
        self.taken.saturating_sub(self.reported)
    }

    /// Returns the bytes of plaintext that are certainly sent, wherever the overhead is in the
    /// ciphertext, and marks them as reported. The last byte is not reported before the whole batch
    /// is sent.
    pub(super) fn progress(&mut self) -> usize {
        let added = self.sealed.saturating_sub(self.taken);
        let out = self
            .written
            .saturating_sub(added)
            .min(self.taken.saturating_sub(1));
        let more = out.saturating_sub(self.reported);
        self.reported = self.reported.saturating_add(more);
        more
    }
}
