//! TLS over a pipe's calls: rustls, fed from the caller's scratch.
//!
//! rustls reads 4 KB at a time when it reads itself; here one large read of ciphertext is fed to it piece by piece, and what
//! came out is handed on before more is read, so that nothing grows without bound. `complete_io` and `Stream` are not used:
//! they loop.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{CertificateError, ClientConnection, Connection, Error, InvalidMessage, ServerConnection};

use super::client::ClientTls;
use super::server::ServerTls;
use super::{Handshake, Received, TransportFault, certificate, read_some};

/// Plaintext rustls holds while the socket takes no ciphertext.
const PLAINTEXT_BYTES: usize = 64 << 10;
/// The most a session holds: a handshake message that is arriving and the peer's certificates (rustls takes 64 KB each), what
/// is decrypted and not taken (16 KB, and the record that went over it), ciphertext that waits for the socket, and the keys.
pub const CONNECTION_BYTES: usize = 2 * (64 << 10) + 2 * RECORD + (PLAINTEXT_BYTES + RECORD) + (8 << 10);
/// One end of a TLS connection.
pub struct TlsPipe {
    session: Connection,
    /// A server's end that has not read a byte: the first ones may be plain HTTP.
    unheard: bool,
    /// Plaintext that was taken and is not in the socket.
    batch: Batch,
    /// Plaintext is left inside, or an end that was not reported: another read has something to say.
    unread: bool,
    /// What broke, once something has. It is told behind the bytes that came before it, and whenever it is asked for again.
    fault: Option<TransportFault>,
}

/// The most a single record can still add to the plaintext after its last byte came (RFC 8446 5.2, with room for overhead).
const RECORD: usize = 20 << 10;
/// The first read of a server's end; no more than rustls takes at once.
const FIRST_READ: usize = 2 << 10;
/// What rustls reads at a time when it reads itself; a read of ours is worth its copy when it may bring more.
const OWN_READ: usize = 4 << 10;

impl TlsPipe {
    pub(super) fn client(tls: &ClientTls) -> Result<TlsPipe, TransportFault> {
        let mut session = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone())
            .map_err(|error| TransportFault::Tls(error.to_string()))?;
        session.set_buffer_limit(Some(PLAINTEXT_BYTES));
        Ok(TlsPipe {
            session: Connection::Client(session),
            unheard: false,
            batch: Batch::default(),
            unread: false,
            fault: None,
        })
    }

    pub(super) fn server(tls: &ServerTls) -> Result<TlsPipe, TransportFault> {
        let mut session =
            ServerConnection::new(Arc::clone(&tls.config)).map_err(|error| TransportFault::Tls(error.to_string()))?;
        session.set_buffer_limit(Some(PLAINTEXT_BYTES));
        Ok(TlsPipe {
            session: Connection::Server(session),
            unheard: true,
            batch: Batch::default(),
            unread: false,
            fault: None,
        })
    }

    /// Whom the peer's certificate is for, where it showed one.
    ///
    /// # Errors
    /// It cannot be said in the bytes that a field has for it.
    pub(super) fn subject(&self) -> Result<Option<String>, TransportFault> {
        let Some(shown) = self.session.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
        let unsayable = || TransportFault::Tls("the subject of the client's certificate is too long".to_owned());
        certificate::subject(shown).map(Some).ok_or_else(unsayable)
    }

    pub(super) fn handshake<S: Read + Write>(&mut self, io: &mut S) -> Result<Handshake, TransportFault> {
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
                Ok(_) if self.unheard => self.hear_first(io),
                // A flight of a handshake is a few KB: rustls' own reads do.
                Ok(_) => self.fill_itself(io),
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

    pub(super) fn read<S: Read + Write>(&mut self, io: &mut S, scratch: &mut [u8], room: &mut [u8]) -> Received {
        let mut filled = 0;
        let mut supply = Supply::More;
        let end = loop {
            let rest = room.get_mut(filled..).unwrap_or_default();
            if rest.is_empty() {
                break None;
            }
            match self.drain(rest) {
                Drained::Bytes(n) => filled = n.saturating_add(filled),
                Drained::End => break Some(Received::End),
                Drained::Empty if self.fault.is_some() => break self.fault.clone().map(Received::Fault),
                Drained::Truncated => break Some(Received::Fault(TransportFault::Truncated)),
                Drained::Empty => {
                    let share = rest.len().saturating_sub(RECORD).min(scratch.len());
                    supply = match supply {
                        Supply::Dry => break None,
                        // Half a record proves nothing about what is behind it (a FIN?): only the socket itself does.
                        Supply::Short if filled > 0 => break None,
                        // The next read of this size has its room in the next call.
                        _ if filled > 0 && share < OWN_READ => break None,
                        _ if share < OWN_READ => self.fill_itself(io),
                        _ => {
                            let (n, supply) = self.fill(io, scratch.get_mut(..share).unwrap_or_default(), rest);
                            filled = n.saturating_add(filled);
                            supply
                        }
                    };
                }
            }
        };
        // Whatever broke or ended behind these bytes is said by the next read.
        self.unread = filled > 0 && (end.is_some() || filled == room.len());
        match end {
            _ if filled > 0 => {
                let drained = matches!(supply, Supply::Dry | Supply::Short) && !self.unread;
                Received::Bytes { n: filled, drained }
            }
            Some(end) => end,
            None => Received::Blocked,
        }
    }

    /// What is taken stays at the front of what is offered until it is in the socket: only then is it told. Whoever closes when
    /// all is told loses nothing, and a deadline sees progress.
    pub(super) fn write<S: Read + Write>(&mut self, io: &mut S, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let mut told = 0_usize;
        loop {
            if self.batch.taken == 0 {
                // Answers of rustls' own go before.
                let clear = self.send(io)?;
                let taken = if clear { self.take(head, body, told)? } else { 0 };
                self.batch = Batch { taken, ..Batch::default() };
                if self.batch.taken == 0 {
                    break;
                }
            }
            match self.send(io) {
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
        if nothing { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(told) }
    }

    /// Gives rustls what is offered behind `skip` bytes, as much as it takes.
    fn take(&mut self, head: &[u8], body: &[u8], skip: usize) -> io::Result<usize> {
        let mut taken = 0_usize;
        let body_skip = skip.saturating_sub(head.len());
        for part in [head.get(skip..).unwrap_or_default(), body.get(body_skip..).unwrap_or_default()] {
            let n = self.session.writer().write(part)?;
            taken = taken.saturating_add(n);
            if n < part.len() {
                break;
            }
        }
        Ok(taken)
    }

    pub(super) fn has_plaintext(&self) -> bool {
        self.unread
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn close_notify<S: Read + Write>(&mut self, io: &mut S) {
        self.session.send_close_notify();
        // The connection goes either way.
        let _ = self.send(io);
    }

    /// Takes out what rustls has decrypted.
    fn drain(&mut self, room: &mut [u8]) -> Drained {
        match self.session.reader().read(room) {
            Ok(0) => Drained::End,
            Ok(n) => Drained::Bytes(n),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Drained::Truncated,
            Err(_) => Drained::Empty,
        }
    }

    /// Reads ciphertext once, decrypts all of it into `room`, and says how many bytes that came to. Nothing is left unfed:
    /// `ciphertext` is smaller than `room` by what the record that was begun before can add.
    fn fill<S: Read + Write>(&mut self, io: &mut S, ciphertext: &mut [u8], room: &mut [u8]) -> (usize, Supply) {
        let n = match read_some(io, ciphertext) {
            Ok(Some(n)) => n,
            Ok(None) => return (0, Supply::Dry),
            Err(fault) => return (0, self.broken(fault)),
        };
        if n == 0 {
            return (0, self.feed(io, &mut io::empty()));
        }
        let supply = if n < ciphertext.len() { Supply::Short } else { Supply::More };
        let mut rest = ciphertext.get(..n).unwrap_or_default();
        let mut filled = 0;
        loop {
            let fed = if rest.is_empty() { Supply::More } else { self.feed(io, &mut rest) };
            match self.drain(room.get_mut(filled..).unwrap_or_default()) {
                Drained::Bytes(n) => filled = n.saturating_add(filled),
                // What follows a close_notify is nobody's (RFC 8446 6.1); rustls does not even take it.
                Drained::End | Drained::Truncated => return (filled, Supply::End),
                Drained::Empty if rest.is_empty() || self.fault.is_some() || fed == Supply::End => {
                    return (filled, supply);
                }
                Drained::Empty => {}
            }
        }
    }

    /// The first read of a server's end. What begins like a request line is one (RFC 8446 5.1: a record begins with a control
    /// character), and rustls would answer it with an alert that nobody understands.
    fn hear_first<S: Read + Write>(&mut self, io: &mut S) -> Supply {
        let mut bytes = [0; FIRST_READ];
        let n = match read_some(io, &mut bytes) {
            Ok(None) => return Supply::Dry,
            Ok(Some(0)) => return Supply::End,
            Ok(Some(n)) => n,
            Err(fault) => return self.broken(fault),
        };
        self.unheard = false;
        let mut heard = bytes.get(..n).unwrap_or_default();
        if heard.first().is_some_and(|byte| byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n')) {
            return self.broken(TransportFault::NotTls(heard.to_vec()));
        }
        self.feed(io, &mut heard)
    }

    /// One of rustls' own reads from the socket, which it never lets outgrow its buffers.
    fn fill_itself<S: Read + Write>(&mut self, io: &mut S) -> Supply {
        loop {
            let supply = match self.session.read_tls(io) {
                Ok(0) => Supply::End,
                Ok(_) => Supply::More,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Supply::Dry,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.broken(error.into()),
            };
            self.process(io);
            return supply;
        }
    }

    /// Gives ciphertext to rustls, as much as it takes at once; none at all tells it of the end.
    fn feed<S: Read + Write>(&mut self, io: &mut S, ciphertext: &mut dyn Read) -> Supply {
        let supply = match self.session.read_tls(ciphertext) {
            Ok(0) => Supply::End,
            Ok(_) => Supply::More,
            Err(error) => return self.broken(error.into()),
        };
        self.process(io);
        supply
    }

    /// Decrypts what was read, and answers what wants an answer (key updates, alerts).
    fn process<S: Read + Write>(&mut self, io: &mut S) {
        let processed = self.session.process_new_packets();
        // Also after a failure: the alert tells the peer why.
        let sent = self.send(io);
        if let Err(error) = processed {
            let is_server = matches!(self.session, Connection::Server(_));
            self.broken(TransportFault::Tls(if is_server { error.to_string() } else { reason(&error) }));
        } else if let Err(error) = sent {
            self.broken(error.into());
        }
    }

    /// Remembers the first thing that broke.
    fn broken(&mut self, fault: TransportFault) -> Supply {
        self.fault.get_or_insert(fault);
        Supply::More
    }

    /// Writes ciphertext as far as the socket takes it; true when none is left.
    fn send<S: Read + Write>(&mut self, io: &mut S) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(io) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.batch.written = self.batch.written.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Plaintext on its way through rustls to the socket.
#[derive(Default)]
struct Batch {
    /// Bytes that rustls took.
    taken: usize,
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

    /// Tells what has surely gone out; never the last byte before all is out.
    fn progress(&mut self) -> usize {
        let records = (self.written / MAX_FRAGMENT).saturating_add(1);
        let out = self.written.saturating_sub(records.saturating_mul(OVERHEAD)).min(self.taken.saturating_sub(1));
        let more = out.saturating_sub(self.told);
        self.told = self.told.saturating_add(more);
        more
    }
}

/// Plaintext of a full record (RFC 8446 5.1), and the most that a record adds to it (RFC 5288 3 with its header).
const MAX_FRAGMENT: usize = 16 << 10;
const OVERHEAD: usize = 29;

enum Drained {
    Bytes(usize),
    Empty,
    End,
    Truncated,
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

/// What an operator can do about an upstream's.
fn reason(error: &Error) -> String {
    let advice = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            ": no known authority signed it; set tls.ca to the one that did"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": it is for another name; set tls.serverName to the one it has",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ": it has expired; the upstream needs a new one"
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            ": it is not valid yet; is the clock of this machine right?"
        }
        // webpki takes no authority for a server; what `openssl req -x509` makes on its own is one.
        Error::InvalidCertificate(CertificateError::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            ": it is an authority's; the upstream needs one of its own (self-signed: made with basicConstraints CA:FALSE)"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            ": the upstream does not speak TLS on this port; is the target http://?"
        }
        _ => "",
    };
    format!("{error}{advice}")
}
