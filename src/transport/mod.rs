//! Byte pipes, plain or TLS, behind one set of calls, over any `Read + Write`.
//!
//! No socket, no HTTP, no decision. A caller does not see which kind of pipe it uses.

mod byte_queue;
mod certificate;
mod chain;
pub mod client;
pub mod hello;
pub mod identity;
pub mod inspect;
pub mod leaf;
mod meter;
mod names;
pub mod ordered;
mod provider;
pub mod server;
mod session;
pub mod tickets;
pub mod tls;

use core::fmt;
use std::io::{self, IoSlice, Read, Write};

use self::client::ClientTls;
use self::server::ServerTls;
use self::tls::TlsPipe;
use crate::time::UnixTime;

/// Byte pipe.
pub enum Transport {
    /// Plain bytes.
    Plain,
    /// TLS records.
    Tls(Box<TlsPipe>),
}

/// State of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// Finished: the pipe carries bytes, and the peer's certificate was verified.
    Done,
    /// Waiting for the peer, or for the socket to accept bytes.
    Pending,
}

/// Facts of a TLS session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsFacts {
    /// Version of TLS.
    pub version: server::TlsVersion,
    /// True if the session was resumed with a ticket.
    pub is_resumed: bool,
}

/// Result of a read.
#[derive(PartialEq, Eq, Debug)]
pub enum Received {
    /// `n` bytes are at the front of the room.
    Bytes {
        /// At least 1.
        n: usize,
        /// The socket is empty: another read would block.
        drained: bool,
    },
    /// No bytes are available now.
    Blocked,
    /// The bytes read had no plaintext (empty records, key updates), and the limit of one call is
    /// reached. More may follow: call again.
    NoPlaintext,
    /// The peer ended its direction cleanly: with FIN on a plain pipe, with close_notify on TLS.
    End,
    /// The stream failed.
    Fault(TransportFault),
}

/// Fault of a pipe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportFault {
    /// The connection was reset.
    Reset,
    /// A TLS stream ended without close_notify: bytes may be missing.
    Truncated,
    /// The client of a TLS listener speaks plain HTTP; its first bytes.
    NotTls(Vec<u8>),
    /// The certificate of a client was refused, or it showed none although one is required: the reason.
    Certificate(String),
    /// TLS failed.
    Tls {
        /// Description of the fault.
        reason: String,
        /// Advice to the operator; may be empty.
        cure: &'static str,
    },
    /// Any other error of the kernel.
    Io(io::ErrorKind),
}

impl fmt::Display for TransportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportFault::Reset => f.write_str("connection reset by peer"),
            TransportFault::Truncated => f.write_str("the TLS stream ended without close_notify"),
            TransportFault::NotTls(_) => f.write_str("plain HTTP on a TLS listener"),
            TransportFault::Certificate(reason) | TransportFault::Tls { reason, cure: "" } => {
                f.write_str(reason)
            }
            TransportFault::Tls { reason, cure } => write!(f, "{reason}; {cure}"),
            TransportFault::Io(kind) => kind.fmt(f),
        }
    }
}

impl core::error::Error for TransportFault {}

impl TransportFault {
    /// A fault of TLS for which there is no advice.
    fn tls(reason: &str) -> TransportFault {
        TransportFault::Tls {
            reason: reason.to_owned(),
            cure: "",
        }
    }
}

impl From<io::Error> for TransportFault {
    fn from(error: io::Error) -> TransportFault {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => TransportFault::Reset,
            kind => TransportFault::Io(kind),
        }
    }
}

impl Transport {
    /// Creates the client's end of a TLS pipe.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn client(tls: &ClientTls) -> Result<Transport, TransportFault> {
        Ok(Transport::Tls(Box::new(TlsPipe::client(tls)?)))
    }

    /// Creates the server's end of a TLS pipe.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn server(tls: &ServerTls) -> Result<Transport, TransportFault> {
        Ok(Transport::Tls(Box::new(TlsPipe::server(tls)?)))
    }

    /// Returns the subject of the peer's certificate (RFC 4514, visible ASCII), if the peer sent
    /// one. Known once the handshake is finished.
    ///
    /// # Errors
    /// The subject does not fit into [`crate::limits::CLIENT_SUBJECT_BYTES`].
    pub fn subject(&self) -> Result<Option<String>, TransportFault> {
        match self {
            Transport::Plain => Ok(None),
            Transport::Tls(pipe) => pipe.subject(),
        }
    }

    /// Returns the facts of a TLS handshake that is done.
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        match self {
            Transport::Plain => None,
            Transport::Tls(pipe) => pipe.facts(),
        }
    }

    /// Returns the first end of validity among the certificates that the peer showed; `None`: there
    /// is none. Known once the handshake is finished.
    pub fn certificates_end(&self) -> Option<UnixTime> {
        match self {
            Transport::Plain => None,
            Transport::Tls(pipe) => pipe.certificates_end(),
        }
    }

    /// Continues the handshake; a plain pipe has none. `scratch`, of
    /// [`crate::limits::SCRATCH_BYTES`], is the buffer for ciphertext, as in all calls.
    ///
    /// # Errors
    /// The peer is not the expected one, or does not speak TLS.
    pub fn handshake<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
    ) -> Result<Handshake, TransportFault> {
        match self {
            Transport::Plain => Ok(Handshake::Done),
            Transport::Tls(pipe) => pipe.handshake(io, scratch),
        }
    }

    /// Reads into `room`, which must not be empty.
    pub fn read<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> Received {
        match self {
            Transport::Plain => match read_some(io, room) {
                Ok(Some(0)) => Received::End,
                Ok(Some(n)) => Received::Bytes {
                    n,
                    drained: n < room.len(),
                },
                Ok(None) => Received::Blocked,
                Err(fault) => Received::Fault(fault),
            },
            Transport::Tls(pipe) => pipe.read(io, scratch, room),
        }
    }

    /// Writes the front of `head` and `body`, both in one call if possible. Returns the number of
    /// bytes accepted.
    ///
    /// # Errors
    /// `WouldBlock`: none was accepted now. Any other error: none will be.
    pub fn write<S>(
        &mut self,
        io: &mut S,
        scratch: &mut [u8],
        head: &[u8],
        body: &[u8],
    ) -> io::Result<usize>
    where
        S: Read + Write,
    {
        match self {
            Transport::Plain => loop {
                let written = match (head, body) {
                    ([], only) | (only, []) => io.write(only),
                    _ => io.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
                };
                match written {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    written => return written,
                }
            },
            Transport::Tls(pipe) => pipe.write(io, scratch, head, body),
        }
    }

    /// Returns true for a plain pipe, whose bytes go over the socket unchanged.
    pub fn is_plain(&self) -> bool {
        matches!(self, Transport::Plain)
    }

    /// Returns the bytes of ciphertext, in both directions, since the last call; 0 for a plain
    /// pipe, whose bytes the caller counts itself.
    pub fn take_ciphertext(&mut self) -> usize {
        match self {
            Transport::Plain => 0,
            Transport::Tls(pipe) => pipe.take_ciphertext(),
        }
    }

    /// Returns true if a read has a result although the socket is empty.
    pub fn has_plaintext(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(pipe) => pipe.has_plaintext(),
        }
    }

    /// Returns true if accepted bytes are not written to the socket yet.
    pub fn wants_write(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(pipe) => pipe.wants_write(),
        }
    }

    /// Sends a close_notify (RFC 8446 6.1), as far as the socket accepts it now.
    pub fn close_notify<S: Read + Write>(&mut self, io: &mut S) {
        if let Transport::Tls(pipe) = self {
            pipe.close_notify(io);
        }
    }
}

/// Reads once; `None` if the socket would block.
#[inline(always)]
fn read_some(io: &mut impl Read, room: &mut [u8]) -> Result<Option<usize>, TransportFault> {
    loop {
        match io.read(room) {
            Ok(n) => return Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
