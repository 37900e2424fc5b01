//! TLS over a pipe's calls.
//!
//! Ciphertext is read into the caller's scratch, behind what was left of a record that had not come whole, and is decrypted
//! there; what is sent is sealed there. A pipe holds bytes of its own only while it waits: the front of a record, plaintext that
//! its reader had no room for, ciphertext that the socket did not take.

use std::io::{self, Read, Write};

use rustls::{CertificateError, Error, InvalidMessage};

use super::byte_queue::ByteQueue;
use super::chain::ChainFault;
use super::client::ClientTls;
use super::meter::Meter;
use super::server::ServerTls;
use super::session::{Failure, Opened, Plaintext, Session};
use super::{Handshake, Received, TransportFault, certificate, read_some};
use crate::limits::{READ_BYTES, SCRATCH_BYTES};

/// The most a single record can still add to the plaintext after its last byte came (RFC 8446 5.2, with room for overhead).
const RECORD_BYTES: usize = 20 << 10;
/// The most a session holds: a handshake message that is arriving (no more of it than the scratch has room for) and the peer's
/// certificates (rustls takes 64 KB), what is decrypted and not taken (16 KB, and what came with it), ciphertext that waits for
/// the socket, and the keys.
pub const CONNECTION_BYTES: usize =
    SCRATCH_BYTES + (64 << 10) + 2 * RECORD_BYTES + (SCRATCH_BYTES + RECORD_BYTES) + (6 << 10);

/// One end of a TLS connection.
pub struct TlsPipe {
    session: Session,
    /// A server's end that has not read a byte: the first ones may be plain HTTP.
    awaiting_first_bytes: bool,
    /// Ciphertext that cannot be worked off before more of it comes.
    incoming: ByteQueue,
    /// Plaintext that its reader had no room for.
    plaintext: ByteQueue,
    /// Ciphertext that waits for the socket.
    outgoing: ByteQueue,
    /// Plaintext that was taken and is not in the socket.
    batch: Batch,
    /// What the peer has asked for beside application data.
    meter: Meter,
    /// Ciphertext that went over the socket and was not told of.
    ciphertext: usize,
    /// An end that was not reported: another read has something to say.
    end_unreported: bool,
    /// The peer said that it is done.
    close_notify_received: bool,
    /// Its FIN has come.
    fin_received: bool,
    /// We have said that we are done.
    close_notify_sent: bool,
    /// What broke, once something has. It is told behind the bytes that came before it, and whenever it is asked for again.
    fault: Option<TransportFault>,
}

/// The first read of a server's end.
const FIRST_READ: usize = 2 << 10;
/// Ciphertext after which one call reads no more: with the last read, of at most [`READ_BYTES`], it is less than 96 KB.
const CIPHERTEXT_PER_CALL: usize = READ_BYTES / 2;
/// The least to ask the socket for, whatever the reader has room for; a flight of a handshake is a few KB, too.
const MIN_READ: usize = 4 << 10;

impl TlsPipe {
    pub(super) fn client(tls: &ClientTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::client(tls))
    }

    pub(super) fn server(tls: &ServerTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::server(tls))
    }

    fn new(session: Result<Session, Error>) -> Result<TlsPipe, TransportFault> {
        let session = session.map_err(|error| TransportFault::Tls(error.to_string()))?;
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

    /// Whom the peer's certificate is for, where it showed one.
    ///
    /// # Errors
    /// It cannot be said in the bytes that a field has for it.
    pub(super) fn subject(&self) -> Result<Option<String>, TransportFault> {
        let Some(shown) = self.session.peer_certificates().and_then(<[_]>::first) else {
            return Ok(None);
        };
        let too_long = || {
            TransportFault::Tls("the subject of the client's certificate is too long".to_owned())
        };
        certificate::subject(shown).map(Some).ok_or_else(too_long)
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
                // Who is quick says something behind the last flight; that is for the first read.
                Ok(_) => self.read_ciphertext(io, scratch, &mut []).1,
            };
            match socket {
                SocketRead::WouldBlock => return Ok(Handshake::Pending),
                SocketRead::End => {
                    let reason = "the peer closed the connection during the TLS handshake";
                    self.record_fault(TransportFault::Tls(reason.to_owned()));
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
                // Half a record proves nothing about what is behind it (a FIN?): only the socket itself does.
                SocketRead::Short if filled > 0 => break None,
                // Who says little in so many bytes waits for the next call, and the caller counts them.
                _ if self.ciphertext.saturating_sub(before) >= CIPHERTEXT_PER_CALL => {
                    limit_reached = true;
                    break None;
                }
                // The next read of this size has its room in the next call.
                _ if filled > 0 && rest.len() < RECORD_BYTES => break None,
                _ => {
                    let (n, socket) = self.read_ciphertext(io, scratch, rest);
                    filled = n.saturating_add(filled);
                    socket
                }
            };
        };
        // Whatever broke or ended behind these bytes is said by the next read.
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

    /// Why nothing more comes, if that is so.
    fn end(&self) -> Option<Received> {
        match &self.fault {
            // What follows a close_notify is nobody's (RFC 8446 6.1).
            _ if self.close_notify_received => Some(Received::End),
            Some(fault) => Some(Received::Fault(fault.clone())),
            None => self
                .fin_received
                .then_some(Received::Fault(TransportFault::Truncated)),
        }
    }

    /// What is taken stays at the front of what is offered until it is in the socket: only then is it told. Whoever closes when
    /// all is told loses nothing, and a deadline sees progress.
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
                // Answers of rustls' own go before.
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
                // Said again by the next call.
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

    /// Seals what is offered behind `skip` bytes, as much as the scratch has room for, and begins a batch with it.
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
        self.batch = Batch {
            taken: sealed.taken,
            sealed: sealed.bytes,
            ..Batch::default()
        };
        Ok(scratch.get(..sealed.bytes).unwrap_or_default())
    }

    /// Bytes that went over the socket, both ways, since this was last asked.
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
        // The connection goes either way.
        let _ = self.flush_outgoing(io);
    }

    /// Reads ciphertext once and works it off: how many bytes of plaintext are in the room, and what the next read would bring.
    fn read_ciphertext<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> (usize, SocketRead) {
        let waiting = self.incoming.bytes().len();
        // As much as the room takes, so that little is left for which there is none.
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
                self.record_fault(TransportFault::Tls(
                    "a message of the handshake is too long".to_owned(),
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
        if let Some(front) = scratch.get_mut(..waiting) {
            front.copy_from_slice(self.incoming.bytes());
        }
        let ciphertext = scratch
            .get_mut(..waiting.saturating_add(n))
            .unwrap_or_default();
        let filled = self.process_ciphertext(io, ciphertext, room);
        (
            filled,
            if n < most {
                SocketRead::Short
            } else {
                SocketRead::More
            },
        )
    }

    /// Decrypts what came, keeps what cannot be decrypted yet, and answers what wants an answer (flights of a handshake, updates
    /// of keys, alerts).
    fn process_ciphertext<S: Read + Write>(
        &mut self,
        io: &mut S,
        ciphertext: &mut [u8],
        room: &mut [u8],
    ) -> usize {
        let mut plaintext = Plaintext::new(room, &mut self.plaintext);
        let Opened {
            used,
            closed,
            failure,
        } = self.session.open(
            ciphertext,
            &mut plaintext,
            &mut self.outgoing,
            &mut self.meter,
        );
        let filled = plaintext.filled();
        self.close_notify_received |= closed;
        let over = self.close_notify_received || failure.is_some();
        self.incoming.replace(if over {
            &[]
        } else {
            ciphertext.get(used..).unwrap_or_default()
        });
        // Also after a failure: the alert tells the peer why.
        let sent = self.flush_outgoing(io);
        match (failure, sent) {
            (Some(failure), _) => {
                let text = match failure {
                    Failure::Flood(text) => text.to_owned(),
                    Failure::Rustls(error) if self.session.is_server() => describe_error(&error),
                    Failure::Rustls(error) => describe_with_advice(&error),
                };
                self.record_fault(TransportFault::Tls(text));
            }
            (None, Err(error)) => {
                self.record_fault(error.into());
            }
            (None, Ok(_)) => {}
        }
        filled
    }

    /// Remembers the first thing that broke.
    fn record_fault(&mut self, fault: TransportFault) -> SocketRead {
        self.fault.get_or_insert(fault);
        SocketRead::More
    }

    /// Writes ciphertext that waits as far as the socket takes it; true when none is left.
    fn flush_outgoing<S: Read + Write>(&mut self, io: &mut S) -> io::Result<bool> {
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

    /// Counts ciphertext that the socket has taken.
    fn count_sent(&mut self, n: usize) {
        self.batch.written = self.batch.written.saturating_add(n);
        self.ciphertext = self.ciphertext.saturating_add(n);
        self.meter.count_bytes(n);
    }

    /// Writes ciphertext before which none waits; what the socket does not take waits from then on.
    fn write_sealed<S: Read + Write>(&mut self, io: &mut S, mut sealed: &[u8]) -> io::Result<bool> {
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

/// Whether a client's first bytes are no TLS: what begins like a request line is one (RFC 8446 5.1: a record begins with a
/// control character), and rustls would answer it with an alert that nobody understands.
fn is_plain_http(first_bytes: &[u8]) -> bool {
    first_bytes
        .first()
        .is_some_and(|byte| byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n'))
}

/// One write of something; `None`: it would block.
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

/// Plaintext on its way to the socket.
#[derive(Default)]
struct Batch {
    /// Bytes that were taken.
    taken: usize,
    /// Bytes of ciphertext that they became.
    sealed: usize,
    /// Bytes of these that were reported as sent.
    reported: usize,
    /// Bytes of ciphertext that the socket took meanwhile.
    written: usize,
}

impl Batch {
    /// What is still to be told.
    fn unreported(&self) -> usize {
        self.taken.saturating_sub(self.reported)
    }

    /// Tells what has surely gone out, wherever in the ciphertext the rest of it was; never the last byte before all is out.
    fn progress(&mut self) -> usize {
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

/// What a read from the socket says about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketRead {
    /// It may bring more.
    More,
    /// It would bring nothing now, unless a FIN is behind what came.
    Short,
    /// It would block.
    WouldBlock,
    /// The peer ended its direction.
    End,
}

/// What rustls says, or why we refused the peer's certificates.
fn describe_error(error: &Error) -> String {
    match ChainFault::from_error(error) {
        Some(fault) => format!("invalid peer certificate: {fault}"),
        None => error.to_string(),
    }
}

/// What an operator can do about an upstream's.
fn describe_with_advice(error: &Error) -> String {
    let advice = match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => ": no known authority signed it; set tls.ca to the one that did",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": it is for another name; set tls.serverName to the one it has",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => ": it has expired; the upstream needs a new one",
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ": it is not valid yet; is the clock of this machine right?",
        // webpki takes no authority for a server, unless it is trusted itself; what `openssl req -x509` makes is one.
        Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            ": it is an authority's; put this very certificate into tls.ca to trust it for this upstream"
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => ": the upstream does not speak TLS on this port; is the target http://?",
        _ => "",
    };
    format!("{}{advice}", describe_error(error))
}
