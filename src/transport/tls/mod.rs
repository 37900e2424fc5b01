//! TLS behind the calls of a pipe.
//!
//! Ciphertext is read into the caller's scratch buffer, behind the rest of an incomplete record,
//! and is decrypted there. Plaintext is sealed into the scratch buffer as well. A pipe owns storage
//! only while it must keep bytes: the front of a record, plaintext that its reader had no room for,
//! ciphertext that the socket did not accept. `ciphertext` has the side of the socket.

mod batch;
mod ciphertext;
mod error_text;
mod socket_read;

use std::io::{self, Read, Write};

use rustls::Error;

use self::batch::Batch;
use self::socket_read::SocketRead;
use super::byte_queue::ByteQueue;
use super::client::ClientTls;
use super::meter::Meter;
use super::server::ServerTls;
use super::session::Session;
use super::{Handshake, Received, TlsFacts, TransportFault, certificate};
use crate::limits::{READ_BYTES, SCRATCH_BYTES};
use crate::time::UnixTime;

/// Largest plaintext that a single record can still add after its last byte arrived (RFC 8446 5.2,
/// with room for overhead).
const RECORD_BYTES: usize = 20 << 10;
/// Upper bound of the bytes of a session: an arriving handshake message (at most the size of the
/// scratch buffer) and the peer's certificates (rustls accepts 64 KB), unread plaintext (16 KB and
/// what arrived with it), ciphertext waiting for the socket, and the keys.
pub const CONNECTION_BYTES: usize =
    SCRATCH_BYTES + (64 << 10) + 2 * RECORD_BYTES + (SCRATCH_BYTES + RECORD_BYTES) + (6 << 10);

/// Endpoint of a TLS connection, client or server.
pub struct TlsPipe {
    session: Session,
    /// A server has not read a byte yet. The first bytes may be plain HTTP.
    awaiting_first_bytes: bool,
    /// Ciphertext of an incomplete record or handshake message.
    incoming: ByteQueue,
    /// Plaintext that its reader had no room for.
    plaintext: ByteQueue,
    /// Ciphertext waiting for the socket.
    outgoing: ByteQueue,
    /// Plaintext that was sealed and is not yet in the socket.
    batch: Batch,
    /// Counter of the peer's requests beside application data.
    meter: Meter,
    /// Bytes of ciphertext, in both directions, since [`take_ciphertext`](Self::take_ciphertext).
    ciphertext: usize,
    /// An end was found and not reported yet: another read reports it.
    end_unreported: bool,
    /// The peer sent close_notify.
    close_notify_received: bool,
    /// The peer sent a FIN.
    fin_received: bool,
    /// close_notify was sent to the peer.
    close_notify_sent: bool,
    /// First fault. It is reported behind the bytes that arrived before it, and again by every
    /// later call.
    fault: Option<TransportFault>,
}

/// Size of a server's first read.
const FIRST_READ: usize = 2 << 10;
/// Ciphertext after which a call reads no more. With the last read, of at most [`READ_BYTES`], a
/// call reads less than 96 KB.
const CIPHERTEXT_PER_CALL: usize = READ_BYTES / 2;
/// Smallest read from the socket, whatever room the reader has. A flight of a handshake has a few
/// KB, too.
const MIN_READ: usize = 4 << 10;

impl TlsPipe {
    pub(super) fn client(tls: &ClientTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::client(tls))
    }

    pub(super) fn server(tls: &ServerTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::server(tls))
    }

    fn new(session: Result<Session, Error>) -> Result<TlsPipe, TransportFault> {
        let session = session.map_err(|error| TransportFault::tls(&error.to_string()))?;
        let awaiting_first_bytes = session.is_server();
        Ok(TlsPipe {
            session,
            awaiting_first_bytes,
            incoming: ByteQueue::default(),
            plaintext: ByteQueue::default(),
            outgoing: ByteQueue::default(),
            batch: Batch::default(),
            meter: Meter::default(),
            ciphertext: 0,
            end_unreported: false,
            close_notify_received: false,
            fin_received: false,
            close_notify_sent: false,
            fault: None,
        })
    }

    /// Returns the subject of the peer's certificate, if the peer sent one.
    ///
    /// # Errors
    /// The subject is too long for a header field.
    /// Returns the facts of a handshake that is done.
    pub(super) fn facts(&self) -> Option<TlsFacts> {
        self.session.facts()
    }

    pub(super) fn subject(&self) -> Result<Option<String>, TransportFault> {
        let Some(shown) = self.session.peer_certificates().and_then(<[_]>::first) else {
            return Ok(None);
        };
        let too_long = || TransportFault::Certificate("its subject is too long".to_owned());
        certificate::subject(shown).map(Some).ok_or_else(too_long)
    }

    /// Returns the first end of validity among the peer's certificates.
    pub(super) fn certificates_end(&self) -> Option<UnixTime> {
        let shown = self.session.peer_certificates()?.iter();
        shown.filter_map(|one| certificate::not_after(one)).min()
    }

    pub(super) fn handshake<S>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
    ) -> Result<Handshake, TransportFault>
    where
        S: Read + Write,
    {
        loop {
            if let Some(fault) = &self.fault {
                return Err(fault.clone());
            }
            let socket = match self.flush_outgoing(io) {
                Err(error) => self.record_fault(error.into()),
                Ok(_) if !self.session.is_handshaking() => {
                    self.end_unreported = true;
                    return Ok(Handshake::Done);
                }
                // Data that a fast client sends behind its last flight is left for the first read.
                Ok(_) => self.read_ciphertext(io, scratch, &mut []).1,
            };
            match socket {
                SocketRead::WouldBlock => return Ok(Handshake::Pending),
                SocketRead::End => {
                    let reason = "the peer closed the connection during the TLS handshake";
                    self.record_fault(TransportFault::tls(reason));
                }
                SocketRead::Short | SocketRead::More => {}
            }
        }
    }

    pub(super) fn read<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> Received {
        let mut filled = self.plaintext.move_to(room);
        let mut socket = SocketRead::More;
        let before = self.ciphertext;
        let mut limit_reached = false;
        let end = loop {
            let rest = room.get_mut(filled..).unwrap_or_default();
            if rest.is_empty() || !self.plaintext.is_empty() {
                break None;
            }
            if let Some(end) = self.end() {
                break Some(end);
            }
            socket = match socket {
                SocketRead::WouldBlock => break None,
                // Half a record does not show whether a FIN follows: only the next read from the
                // socket does.
                SocketRead::Short if filled > 0 => break None,
                // A peer that sends little plaintext in many bytes waits for the next call, and the
                // caller counts the bytes.
                _ if self.ciphertext.saturating_sub(before) >= CIPHERTEXT_PER_CALL => {
                    limit_reached = true;
                    break None;
                }
                // The next read of this size finds its room in the next call.
                _ if filled > 0 && rest.len() < RECORD_BYTES => break None,
                _ => {
                    let (n, socket) = self.read_ciphertext(io, scratch, rest);
                    filled = n.saturating_add(filled);
                    socket
                }
            };
        };
        // A fault or end behind these bytes is reported by the next read.
        self.end_unreported = filled > 0 && self.end().is_some();
        match end {
            _ if filled > 0 => {
                let drained = matches!(socket, SocketRead::WouldBlock | SocketRead::Short)
                    && !self.has_plaintext();
                Received::Bytes { n: filled, drained }
            }
            Some(end) => end,
            None if limit_reached => Received::NoPlaintext,
            None => Received::Blocked,
        }
    }

    /// Returns the end of the stream, if it was reached.
    fn end(&self) -> Option<Received> {
        match &self.fault {
            // Bytes behind a close_notify are ignored (RFC 8446 6.1).
            _ if self.close_notify_received => Some(Received::End),
            Some(fault) => Some(Received::Fault(fault.clone())),
            None => self
                .fin_received
                .then_some(Received::Fault(TransportFault::Truncated)),
        }
    }

    /// Writes the front of `head` and `body`, and returns the number of bytes whose ciphertext the
    /// socket accepted. The caller keeps bytes until they are reported and offers them again. So
    /// closing after all bytes are reported loses nothing, and a deadline sees progress.
    pub(super) fn write<S>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        head: &[u8],
        body: &[u8],
    ) -> io::Result<usize>
    where
        S: Read + Write,
    {
        let mut reported = 0_usize;
        loop {
            let sent = if self.batch.taken > 0 {
                self.flush_outgoing(io)
            } else {
                // Messages of rustls itself go first.
                let sealed = if self.flush_outgoing(io)? {
                    self.seal(scratch, head, body, reported)?
                } else {
                    &[]
                };
                if sealed.is_empty() {
                    break;
                }
                self.write_sealed(io, sealed)
            };
            match sent {
                Ok(true) => {
                    reported =
                        reported.saturating_add(core::mem::take(&mut self.batch).unreported())
                }
                Ok(false) => {
                    reported = reported.saturating_add(self.batch.progress());
                    break;
                }
                Err(error) if reported == 0 => return Err(error),
                // The next call returns this error.
                Err(_) => break,
            }
        }
        let nothing = reported == 0 && !(head.is_empty() && body.is_empty());
        if nothing {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(reported)
        }
    }

    /// Seals the offered bytes behind `skip`, as many as the scratch buffer has room for, and
    /// starts a batch.
    fn seal<'s>(
        &mut self,
        scratch: &'s mut [u8],
        head: &[u8],
        body: &[u8],
        skip: usize,
    ) -> io::Result<&'s [u8]> {
        if let Some(fault) = &self.fault {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                fault.to_string(),
            ));
        }
        let body_skip = skip.saturating_sub(head.len());
        let parts = [
            head.get(skip..).unwrap_or_default(),
            body.get(body_skip..).unwrap_or_default(),
        ];
        if parts.iter().all(|part| part.is_empty()) {
            return Ok(&[]);
        }
        let sealed = self
            .session
            .seal(self.incoming.bytes_mut(), parts, scratch)
            .map_err(io::Error::other)?;
        crate::cost::count(sealed.bytes);
        self.batch = Batch {
            taken: sealed.taken,
            sealed: sealed.bytes,
            ..Batch::default()
        };
        Ok(scratch.get(..sealed.bytes).unwrap_or_default())
    }

    /// Returns the bytes of ciphertext, in both directions, since the last call.
    pub(super) fn take_ciphertext(&mut self) -> usize {
        core::mem::take(&mut self.ciphertext)
    }

    pub(super) fn has_plaintext(&self) -> bool {
        self.end_unreported || !self.plaintext.is_empty()
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty() || self.session.wants_write()
    }

    pub(super) fn close_notify<S: Read + Write>(&mut self, io: &mut S) {
        self.session.collect_outgoing(&mut self.outgoing);
        if self.fault.is_none() && !core::mem::replace(&mut self.close_notify_sent, true) {
            let (alert, bytes) = self.session.close(self.incoming.bytes_mut());
            self.outgoing.append(alert.get(..bytes).unwrap_or_default());
        }
        // The connection closes whatever the result is.
        let _ = self.flush_outgoing(io);
    }
}
