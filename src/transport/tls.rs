//! TLS over a pipe's calls: rustls, fed from the caller's scratch.
//!
//! rustls reads 4 KB at a time when it reads itself; here one large read of ciphertext is fed to it piece by piece, and what
//! came out is handed on before more is read, so that nothing grows without bound. `complete_io` and `Stream` are not used:
//! they loop.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, InvalidMessage};

use super::{Handshake, Received, TransportFault, identity, read_some};

/// Plaintext rustls holds while the socket takes no ciphertext.
const PLAINTEXT_BYTES: usize = 64 << 10;
/// Sessions remembered for each target.
const SESSIONS: usize = 32;

/// How to reach a target by TLS: whom to trust, what name to ask for. Its sessions are resumed.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// For a target at `host`; `server_name` is sent and verified in its place; `extra_roots` (DER) are trusted beside the
    /// public ones.
    ///
    /// # Errors
    /// A name that no certificate can have, or a broken root.
    pub fn new(host: &str, server_name: Option<&str>, extra_roots: &[Vec<u8>]) -> Result<ClientTls, String> {
        let name = server_name.unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{name}\" is no name for a certificate: set tls.serverName"))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(identity::roots(extra_roots)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(ClientTls { config: Arc::new(config), name })
    }
}

/// One end of a TLS connection.
pub struct TlsPipe {
    session: ClientConnection,
    /// Plaintext is left inside, or an end that was not reported: another read has something to say.
    unread: bool,
    /// The peer's FIN came.
    ended: bool,
}

/// The most a single record can still add to the plaintext after its last byte came (RFC 8446 5.2, with room for overhead).
const RECORD: usize = 20 << 10;

impl TlsPipe {
    pub(super) fn client(tls: &ClientTls) -> Result<TlsPipe, TransportFault> {
        let mut session = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone())
            .map_err(|error| TransportFault::Tls(error.to_string()))?;
        session.set_buffer_limit(Some(PLAINTEXT_BYTES));
        Ok(TlsPipe { session, unread: false, ended: false })
    }

    pub(super) fn handshake<S: Read + Write>(&mut self, io: &mut S) -> Result<Handshake, TransportFault> {
        loop {
            self.send(io)?;
            if !self.session.is_handshaking() {
                self.unread = true;
                return Ok(Handshake::Done);
            }
            if self.ended {
                let reason = "the upstream closed the connection during the TLS handshake";
                return Err(TransportFault::Tls(reason.to_owned()));
            }
            // A flight of a handshake is a few KB: rustls' own reads do.
            match self.session.read_tls(io) {
                Ok(0) => self.ended = true,
                Ok(_) => self.process(io)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Handshake::Pending),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn read<S: Read + Write>(&mut self, io: &mut S, scratch: &mut [u8], room: &mut [u8]) -> Received {
        let mut filled = 0;
        let mut dry = false;
        let outcome = loop {
            match self.drain(room.get_mut(filled..).unwrap_or_default()) {
                Drained::Bytes(n) => filled += n,
                Drained::End => break Some(Received::End),
                Drained::Truncated => break Some(Received::Fault(TransportFault::Truncated)),
                Drained::Empty if dry => break None,
                Drained::Empty => {
                    let rest = room.get_mut(filled..).unwrap_or_default();
                    match self.fill(io, scratch, rest) {
                        Ok(Filled { plaintext, dry: now_dry }) => {
                            filled += plaintext;
                            dry = now_dry;
                        }
                        Err(fault) => break Some(Received::Fault(fault)),
                    }
                }
            }
            if filled == room.len() {
                break None;
            }
        };
        // Whatever broke or ended behind these bytes is said by the next read.
        self.unread = filled > 0 && (outcome.is_some() || filled == room.len());
        match outcome {
            _ if filled > 0 => Received::Bytes { n: filled, drained: dry && !self.unread },
            Some(outcome) => outcome,
            None => Received::Blocked,
        }
    }

    pub(super) fn write<S: Read + Write>(&mut self, io: &mut S, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        for part in [head, body] {
            let mut rest = part;
            while !rest.is_empty() {
                let n = self.session.writer().write(rest)?;
                if n == 0 && !self.send(io)? {
                    return if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::WouldBlock.into()) };
                }
                taken += n;
                rest = rest.get(n..).unwrap_or_default();
            }
        }
        self.send(io)?;
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

    /// Reads ciphertext once and decrypts all of it. Nothing is left unfed: the read is bounded by what fits `room` when the
    /// record that was begun before comes out, too.
    fn fill<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> Result<Filled, TransportFault> {
        let share = room.len().saturating_sub(RECORD).min(scratch.len());
        if share < RECORD {
            // Little room: rustls' own read, which it never lets outgrow its buffers.
            let dry = match self.session.read_tls(io) {
                Ok(0) => false,
                Ok(_) => false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error.into()),
            };
            self.process(io)?;
            return Ok(Filled { plaintext: 0, dry });
        }
        let ciphertext = scratch.get_mut(..share).unwrap_or_default();
        let Some(n) = read_some(io, ciphertext)? else { return Ok(Filled { plaintext: 0, dry: true }) };
        let dry = 0 < n && n < share;
        let mut rest = ciphertext.get(..n).unwrap_or_default();
        let mut plaintext = 0;
        loop {
            // An empty rest tells rustls of the end.
            if n == 0 || !rest.is_empty() {
                self.session.read_tls(&mut rest)?;
                self.process(io)?;
            }
            if let Drained::Bytes(n) = self.drain(room.get_mut(plaintext..).unwrap_or_default()) {
                plaintext += n;
            } else if rest.is_empty() {
                return Ok(Filled { plaintext, dry });
            }
        }
    }

    /// Decrypts what was read, and answers what wants an answer (key updates, alerts).
    fn process<S: Read + Write>(&mut self, io: &mut S) -> Result<(), TransportFault> {
        let processed = self.session.process_new_packets();
        let sent = self.send(io);
        processed.map_err(|error| TransportFault::Tls(reason(&error)))?;
        sent.map(drop).map_err(TransportFault::from)
    }

    /// Writes ciphertext as far as the socket takes it; true when none is left.
    fn send<S: Read + Write>(&mut self, io: &mut S) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(io) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

enum Drained {
    Bytes(usize),
    Empty,
    End,
    Truncated,
}

struct Filled {
    plaintext: usize,
    dry: bool,
}

/// What an operator can do about it.
fn reason(error: &Error) -> String {
    let advice = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            ": no known authority signed it; set tls.ca to the one that did"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": it is for another name; set tls.serverName to the one it has",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ": it has expired; the upstream needs a new one"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            ": the upstream does not speak TLS on this port; is the target http://?"
        }
        _ => "",
    };
    format!("{error}{advice}")
}
