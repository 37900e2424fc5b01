//! Ciphertext of a TLS pipe: reading it from the socket, decrypting it, writing it to the socket.

use std::io::{self, Read, Write};

use super::error_text::{describe_error, describe_with_advice, is_about_certificate};
use super::socket_read::SocketRead;
use super::{FIRST_READ, MIN_READ, TlsPipe};
use crate::limits::SCRATCH_BYTES;
use crate::transport::session::{Failure, Opened, Plaintext};
use crate::transport::{TransportFault, read_some};

impl TlsPipe {
    /// Reads ciphertext once and decrypts it. Returns the bytes of plaintext in `room`, and what
    /// the next read would find.
    pub(super) fn read_ciphertext<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> (usize, SocketRead) {
        let waiting = self.incoming.bytes().len();
        // Reads as much as `room` can take, so that little plaintext has to be queued.
        let least = if self.awaiting_first_bytes {
            FIRST_READ
        } else {
            MIN_READ
        };
        let most = room.len().saturating_sub(waiting).max(least);
        let space = scratch.get_mut(waiting..).unwrap_or_default();
        let most = most.min(space.len());
        let space = space.get_mut(..most).unwrap_or_default();
        if space.is_empty() {
            return (
                0,
                self.record_fault(TransportFault::tls(
                    "a message of the handshake is too long",
                )),
            );
        }
        let n = match read_some(io, space) {
            Ok(Some(0)) => {
                self.fin_received = true;
                return (0, SocketRead::End);
            }
            Ok(Some(n)) => n,
            Ok(None) => return (0, SocketRead::WouldBlock),
            Err(fault) => return (0, self.record_fault(fault)),
        };
        self.ciphertext = self.ciphertext.saturating_add(n);
        crate::cost::count(n);
        if self.awaiting_first_bytes {
            self.awaiting_first_bytes = false;
            let first_bytes = space.get(..n).unwrap_or_default();
            if is_plain_http(first_bytes) {
                return (
                    0,
                    self.record_fault(TransportFault::NotTls(first_bytes.to_vec())),
                );
            }
        }
        let ciphertext = scratch
            .get_mut(..waiting.saturating_add(n))
            .unwrap_or_default();
        let (filled, opened) = self.decrypt(ciphertext, waiting, room);
        self.reply(io, opened);
        (
            filled,
            if n < most {
                SocketRead::Short
            } else {
                SocketRead::More
            },
        )
    }

    /// Decrypts the waiting ciphertext and the bytes that were read behind its place in
    /// `ciphertext`, and keeps an incomplete rest. Returns the bytes of plaintext in `room`.
    ///
    /// The smaller part is copied to the larger one. So a record that arrives in many reads is not
    /// copied again by each of them, and a large read does not grow the queue.
    fn decrypt(
        &mut self,
        ciphertext: &mut [u8],
        waiting: usize,
        room: &mut [u8],
    ) -> (usize, Opened) {
        let (front, new) = ciphertext.split_at_mut_checked(waiting).unwrap_or_default();
        let in_queue = new.len() < waiting;
        if in_queue {
            self.incoming.accumulate(new, SCRATCH_BYTES);
        } else {
            crate::cost::count(waiting);
            front.copy_from_slice(self.incoming.bytes());
        }
        let mut plaintext = Plaintext::new(room, &mut self.plaintext);
        let opened = self.session.open(
            if in_queue {
                self.incoming.bytes_mut()
            } else {
                &mut *ciphertext
            },
            &mut plaintext,
            &mut self.outgoing,
            &mut self.meter,
        );
        let filled = plaintext.filled();
        self.close_notify_received |= opened.closed;
        if self.close_notify_received || opened.failure.is_some() {
            self.incoming.replace(&[]);
        } else if in_queue {
            self.incoming.advance(opened.used);
        } else {
            let rest = ciphertext.get(opened.used..).unwrap_or_default();
            self.incoming.replace(rest);
        }
        (filled, opened)
    }

    /// Sends what the session replies to the ciphertext (flights of a handshake, key updates,
    /// alerts), and records a failure.
    fn reply<S: Read + Write>(&mut self, io: &mut S, opened: Opened) {
        // Flushes also after a failure: the alert tells the peer the reason.
        let sent = self.flush_outgoing(io);
        match (opened.failure, sent) {
            (Some(failure), _) => {
                let (reason, cure) = match failure {
                    Failure::Flood(text) => (text.to_owned(), ""),
                    Failure::Rustls(error) if self.session.is_server() => {
                        let reason = describe_error(&error);
                        if is_about_certificate(&error) {
                            self.record_fault(TransportFault::Certificate(reason));
                            return;
                        }
                        (reason, "")
                    }
                    Failure::Rustls(error) => describe_with_advice(&error),
                };
                self.record_fault(TransportFault::Tls { reason, cure });
            }
            (None, Err(error)) => {
                self.record_fault(error.into());
            }
            (None, Ok(_)) => {}
        }
    }

    /// Records a fault; the first one is kept.
    pub(super) fn record_fault(&mut self, fault: TransportFault) -> SocketRead {
        self.fault.get_or_insert(fault);
        SocketRead::More
    }

    /// Writes waiting ciphertext as far as the socket accepts it. Returns true if none is left.
    pub(super) fn flush_outgoing<S: Read + Write>(&mut self, io: &mut S) -> io::Result<bool> {
        self.session.collect_outgoing(&mut self.outgoing);
        while !self.outgoing.is_empty() {
            let Some(n) = write_some(io, self.outgoing.bytes())? else {
                return Ok(false);
            };
            self.outgoing.advance(n);
            self.count_sent(n);
        }
        Ok(true)
    }

    /// Counts ciphertext that the socket accepted.
    fn count_sent(&mut self, n: usize) {
        self.batch.written = self.batch.written.saturating_add(n);
        self.ciphertext = self.ciphertext.saturating_add(n);
        self.meter.count_bytes(n);
    }

    /// Writes ciphertext when none is waiting. Queues what the socket does not accept.
    pub(super) fn write_sealed<S: Read + Write>(
        &mut self,
        io: &mut S,
        mut sealed: &[u8],
    ) -> io::Result<bool> {
        while !sealed.is_empty() {
            match write_some(io, sealed) {
                Ok(Some(n)) => {
                    sealed = sealed.get(n..).unwrap_or_default();
                    self.count_sent(n);
                }
                blocked => {
                    self.outgoing.append(sealed);
                    return blocked.map(|_| false);
                }
            }
        }
        Ok(true)
    }
}

/// Returns true if a client's first bytes are plain text. A TLS record begins with a control
/// character (RFC 8446 5.1), and a client that sends a request line would not understand the alert
/// that rustls replies.
fn is_plain_http(first_bytes: &[u8]) -> bool {
    first_bytes
        .first()
        .is_some_and(|byte| byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n'))
}

/// Writes once; `None` if the socket would block.
fn write_some(io: &mut impl Write, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        match io.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
