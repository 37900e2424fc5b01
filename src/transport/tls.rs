//! TLS over a pipe's calls.
//!
//! Ciphertext is read into the caller's scratch, behind what was left of a record that had not come whole, and is decrypted
//! there; what is sent is sealed there. A pipe holds bytes of its own only while it waits: the front of a record, plaintext that
//! its reader had no room for, ciphertext that the socket did not take.

use std::io::{self, Read, Write};

use rustls::{CertificateError, Error, InvalidMessage};

use super::chain::ChainFault;
use super::client::ClientTls;
use super::meter::Meter;
use super::server::ServerTls;
use super::session::{Failure, Opened, Plaintext, Session};
use super::store::Store;
use super::{Handshake, Received, TransportFault, certificate, read_some};
use crate::limits::{READ_BYTES, SCRATCH_BYTES};

/// The most a single record can still add to the plaintext after its last byte came (RFC 8446 5.2, with room for overhead).
const RECORD: usize = 20 << 10;
/// The most a session holds: a handshake message that is arriving (no more of it than the scratch has room for) and the peer's
/// certificates (rustls takes 64 KB), what is decrypted and not taken (16 KB, and what came with it), ciphertext that waits for
/// the socket, and the keys.
pub const CONNECTION_BYTES: usize =
    SCRATCH_BYTES + (64 << 10) + 2 * RECORD + (SCRATCH_BYTES + RECORD) + (6 << 10);

/// One end of a TLS connection.
pub struct TlsPipe {
    session: Session,
    /// A server's end that has not read a byte: the first ones may be plain HTTP.
    unheard: bool,
    /// Ciphertext that cannot be worked off before more of it comes.
    incoming: Store,
    /// Plaintext that its reader had no room for.
    plaintext: Store,
    /// Ciphertext that waits for the socket.
    outgoing: Store,
    /// Plaintext that was taken and is not in the socket.
    batch: Batch,
    /// What the peer has asked for beside application data.
    meter: Meter,
    /// Ciphertext that went over the socket and was not told of.
    ciphertext: usize,
    /// An end that was not reported: another read has something to say.
    unread: bool,
    /// The peer said that it is done.
    closed: bool,
    /// Its FIN has come.
    ended: bool,
    /// We have said that we are done.
    leaving: bool,
    /// What broke, once something has. It is told behind the bytes that came before it, and whenever it is asked for again.
    fault: Option<TransportFault>,
}

/// The first read of a server's end.
const FIRST_READ: usize = 2 << 10;
/// Ciphertext after which one call reads no more: with the last read, of at most [`READ_BYTES`], it is less than 96 KB.
const CIPHERTEXT_PER_CALL: usize = READ_BYTES / 2;
/// The least to ask the socket for, whatever the reader has room for; a flight of a handshake is a few KB, too.
const LEAST_READ: usize = 4 << 10;

impl TlsPipe {
    pub(super) fn client(tls: &ClientTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::client(tls))
    }

    pub(super) fn server(tls: &ServerTls) -> Result<TlsPipe, TransportFault> {
        TlsPipe::new(Session::server(tls))
    }

    fn new(session: Result<Session, Error>) -> Result<TlsPipe, TransportFault> {
        let session = session.map_err(|error| TransportFault::Tls(error.to_string()))?;
        let unheard = session.is_server();
        Ok(TlsPipe {
            session,
            unheard,
            incoming: Store::default(),
            plaintext: Store::default(),
            outgoing: Store::default(),
            batch: Batch::default(),
            meter: Meter::default(),
            ciphertext: 0,
            unread: false,
            closed: false,
            ended: false,
            leaving: false,
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
        let unsayable = || {
            TransportFault::Tls("the subject of the client's certificate is too long".to_owned())
        };
        certificate::subject(shown).map(Some).ok_or_else(unsayable)
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
            let supply = match self.send(io) {
                Err(error) => self.broken(error.into()),
                Ok(_) if !self.session.is_handshaking() => {
                    self.unread = true;
                    return Ok(Handshake::Done);
                }
                // Who is quick says something behind the last flight; that is for the first read.
                Ok(_) => self.fill(io, scratch, &mut []).1,
            };
            match supply {
                Supply::Dry => return Ok(Handshake::Pending),
                Supply::End => {
                    let reason = "the peer closed the connection during the TLS handshake";
                    self.broken(TransportFault::Tls(reason.to_owned()));
                }
                Supply::Short | Supply::More => {}
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
        let mut supply = Supply::More;
        let before = self.ciphertext;
        let mut is_enough = false;
        let end = loop {
            let rest = room.get_mut(filled..).unwrap_or_default();
            if rest.is_empty() || !self.plaintext.is_empty() {
                break None;
            }
            if let Some(end) = self.end() {
                break Some(end);
            }
            supply = match supply {
                Supply::Dry => break None,
                // Half a record proves nothing about what is behind it (a FIN?): only the socket itself does.
                Supply::Short if filled > 0 => break None,
                // Who says little in so many bytes waits for the next call, and the caller counts them.
                _ if self.ciphertext.saturating_sub(before) >= CIPHERTEXT_PER_CALL => {
                    is_enough = true;
                    break None;
                }
                // The next read of this size has its room in the next call.
                _ if filled > 0 && rest.len() < RECORD => break None,
                _ => {
                    let (n, supply) = self.fill(io, scratch, rest);
                    filled = n.saturating_add(filled);
                    supply
                }
            };
        };
        // Whatever broke or ended behind these bytes is said by the next read.
        self.unread = filled > 0 && self.end().is_some();
        match end {
            _ if filled > 0 => {
                let drained =
                    matches!(supply, Supply::Dry | Supply::Short) && !self.has_plaintext();
                Received::Bytes { n: filled, drained }
            }
            Some(end) => end,
            None if is_enough => Received::NoPlaintext,
            None => Received::Blocked,
        }
    }

    /// Why nothing more comes, if that is so.
    fn end(&self) -> Option<Received> {
        match &self.fault {
            // What follows a close_notify is nobody's (RFC 8446 6.1).
            _ if self.closed => Some(Received::End),
            Some(fault) => Some(Received::Fault(fault.clone())),
            None => self
                .ended
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
        let mut told = 0_usize;
        loop {
            let sent = if self.batch.taken > 0 {
                self.send(io)
            } else {
                // Answers of rustls' own go before.
                let sealed = if self.send(io)? {
                    self.seal(scratch, head, body, told)?
                } else {
                    &[]
                };
                if sealed.is_empty() {
                    break;
                }
                self.send_sealed(io, sealed)
            };
            match sent {
                Ok(true) => told = told.saturating_add(core::mem::take(&mut self.batch).left()),
                Ok(false) => {
                    told = told.saturating_add(self.batch.progress());
                    break;
                }
                Err(error) if told == 0 => return Err(error),
                // Said again by the next call.
                Err(_) => break,
            }
        }
        let nothing = told == 0 && !(head.is_empty() && body.is_empty());
        if nothing {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(told)
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
        self.unread || !self.plaintext.is_empty()
    }

    pub(super) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty() || self.session.wants_write()
    }

    pub(super) fn close_notify<S: Read + Write>(&mut self, io: &mut S) {
        self.session.collect(&mut self.outgoing);
        if self.fault.is_none() && !core::mem::replace(&mut self.leaving, true) {
            let (alert, bytes) = self.session.close(self.incoming.bytes_mut());
            self.outgoing.append(alert.get(..bytes).unwrap_or_default());
        }
        // The connection goes either way.
        let _ = self.send(io);
    }

    /// Reads ciphertext once and works it off: how many bytes of plaintext are in the room, and what the next read would bring.
    fn fill<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> (usize, Supply) {
        let held = self.incoming.bytes().len();
        // As much as the room takes, so that little is left for which there is none.
        let least = if self.unheard { FIRST_READ } else { LEAST_READ };
        let most = room.len().saturating_sub(held).max(least);
        let fresh = scratch.get_mut(held..).unwrap_or_default();
        let most = most.min(fresh.len());
        let fresh = fresh.get_mut(..most).unwrap_or_default();
        if fresh.is_empty() {
            return (
                0,
                self.broken(TransportFault::Tls(
                    "a message of the handshake is too long".to_owned(),
                )),
            );
        }
        let n = match read_some(io, fresh) {
            Ok(Some(0)) => {
                self.ended = true;
                return (0, Supply::End);
            }
            Ok(Some(n)) => n,
            Ok(None) => return (0, Supply::Dry),
            Err(fault) => return (0, self.broken(fault)),
        };
        self.ciphertext = self.ciphertext.saturating_add(n);
        if self.unheard {
            self.unheard = false;
            let heard = fresh.get(..n).unwrap_or_default();
            if is_plain_text(heard) {
                return (0, self.broken(TransportFault::NotTls(heard.to_vec())));
            }
        }
        if let Some(front) = scratch.get_mut(..held) {
            front.copy_from_slice(self.incoming.bytes());
        }
        let ciphertext = scratch
            .get_mut(..held.saturating_add(n))
            .unwrap_or_default();
        let filled = self.work_off(io, ciphertext, room);
        (
            filled,
            if n < most {
                Supply::Short
            } else {
                Supply::More
            },
        )
    }

    /// Decrypts what came, keeps what cannot be decrypted yet, and answers what wants an answer (flights of a handshake, updates
    /// of keys, alerts).
    fn work_off<S: Read + Write>(
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
        self.closed |= closed;
        let over = self.closed || failure.is_some();
        self.incoming.hold(if over {
            &[]
        } else {
            ciphertext.get(used..).unwrap_or_default()
        });
        // Also after a failure: the alert tells the peer why.
        let sent = self.send(io);
        match (failure, sent) {
            (Some(failure), _) => {
                let text = match failure {
                    Failure::Flood(text) => text.to_owned(),
                    Failure::Rustls(error) if self.session.is_server() => describe(&error),
                    Failure::Rustls(error) => reason(&error),
                };
                self.broken(TransportFault::Tls(text));
            }
            (None, Err(error)) => {
                self.broken(error.into());
            }
            (None, Ok(_)) => {}
        }
        filled
    }

    /// Remembers the first thing that broke.
    fn broken(&mut self, fault: TransportFault) -> Supply {
        self.fault.get_or_insert(fault);
        Supply::More
    }

    /// Writes ciphertext that waits as far as the socket takes it; true when none is left.
    fn send<S: Read + Write>(&mut self, io: &mut S) -> io::Result<bool> {
        self.session.collect(&mut self.outgoing);
        while !self.outgoing.is_empty() {
            let Some(n) = write_some(io, self.outgoing.bytes())? else {
                return Ok(false);
            };
            self.outgoing.advance(n);
            self.sent(n);
        }
        Ok(true)
    }

    /// Counts ciphertext that the socket has taken.
    fn sent(&mut self, n: usize) {
        self.batch.written = self.batch.written.saturating_add(n);
        self.ciphertext = self.ciphertext.saturating_add(n);
        self.meter.carry(n);
    }

    /// Writes ciphertext before which none waits; what the socket does not take waits from then on.
    fn send_sealed<S: Read + Write>(&mut self, io: &mut S, mut sealed: &[u8]) -> io::Result<bool> {
        while !sealed.is_empty() {
            match write_some(io, sealed) {
                Ok(Some(n)) => {
                    sealed = sealed.get(n..).unwrap_or_default();
                    self.sent(n);
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
fn is_plain_text(heard: &[u8]) -> bool {
    heard
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
    told: usize,
    /// Bytes of ciphertext that the socket took meanwhile.
    written: usize,
}

impl Batch {
    /// What is still to be told.
    fn left(&self) -> usize {
        self.taken.saturating_sub(self.told)
    }

    /// Tells what has surely gone out, wherever in the ciphertext the rest of it was; never the last byte before all is out.
    fn progress(&mut self) -> usize {
        let added = self.sealed.saturating_sub(self.taken);
        let out = self
            .written
            .saturating_sub(added)
            .min(self.taken.saturating_sub(1));
        let more = out.saturating_sub(self.told);
        self.told = self.told.saturating_add(more);
        more
    }
}

/// What a read from the socket says about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// It may bring more.
    More,
    /// It would bring nothing now, unless a FIN is behind what came.
    Short,
    /// It would block.
    Dry,
    /// The peer ended its direction.
    End,
}

/// What rustls says, or why we refused the peer's certificates.
fn describe(error: &Error) -> String {
    match ChainFault::of(error) {
        Some(fault) => format!("invalid peer certificate: {fault}"),
        None => error.to_string(),
    }
}

/// What an operator can do about an upstream's.
fn reason(error: &Error) -> String {
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
    format!("{}{advice}", describe(error))
}
