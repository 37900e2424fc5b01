//! Byte pipes: plain or TLS, behind the same few calls, over anything that reads and writes.
//!
//! No socket here, no HTTP, no decision. Who uses a pipe does not know which kind it is.

mod byte_queue;
mod certificate;
mod chain;
pub mod client;
pub mod identity;
mod meter;
mod names;
mod provider;
pub mod server;
mod session;
pub mod tls;

use core::fmt;
use std::io::{self, IoSlice, Read, Write};

use self::client::ClientTls;
use self::server::ServerTls;
use self::tls::TlsPipe;

/// A pipe.
pub enum Transport {
    /// The bytes themselves.
    Plain,
    /// TLS records.
    Tls(Box<TlsPipe>),
}

/// How far a handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// The pipe carries bytes; the peer's certificate is the right one.
    Done,
    /// It waits for the peer, or for room to write.
    Pending,
}

/// What reading came to.
#[derive(PartialEq, Eq, Debug)]
pub enum Received {
    /// `n` bytes are at the front of the room.
    Bytes {
        /// At least 1.
        n: usize,
        /// Nothing more is there now: another read would only say so.
        drained: bool,
    },
    /// Nothing is there now.
    Blocked,
    /// What was there held nothing to read (empty records, changes of keys), and one call may read no more of it. There may be
    /// more: to be called again.
    NoPlaintext,
    /// The peer ended its direction in order: FIN, or close_notify where there is TLS.
    End,
    /// It ended in disorder.
    Fault(TransportFault),
}

/// How a pipe breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportFault {
    /// The connection was reset.
    Reset,
    /// A TLS stream ended without close_notify: bytes may be missing.
    Truncated,
    /// The peer of a server's end speaks plain HTTP; its first bytes.
    NotTls(Vec<u8>),
    /// TLS failed; the text says what to do about it.
    Tls(String),
    /// Anything else the kernel says.
    Io(io::ErrorKind),
}

impl fmt::Display for TransportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportFault::Reset => f.write_str("connection reset by peer"),
            TransportFault::Truncated => f.write_str("the TLS stream ended without close_notify"),
            TransportFault::NotTls(_) => f.write_str("plain HTTP on a TLS listener"),
            TransportFault::Tls(reason) => f.write_str(reason),
            TransportFault::Io(kind) => kind.fmt(f),
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
    /// The client's end of a TLS pipe.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn client(tls: &ClientTls) -> Result<Transport, TransportFault> {
        Ok(Transport::Tls(Box::new(TlsPipe::client(tls)?)))
    }

    /// The server's end of a TLS pipe.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn server(tls: &ServerTls) -> Result<Transport, TransportFault> {
        Ok(Transport::Tls(Box::new(TlsPipe::server(tls)?)))
    }

    /// Whom the peer's certificate is for (RFC 4514, visible ASCII), where it showed one; known once the handshake is done.
    ///
    /// # Errors
    /// The subject cannot be said in [`crate::limits::CLIENT_SUBJECT_BYTES`].
    pub fn subject(&self) -> Result<Option<String>, TransportFault> {
        match self {
            Transport::Plain => Ok(None),
            Transport::Tls(pipe) => pipe.subject(),
        }
    }

    /// Goes on with the handshake; a plain pipe has none. `scratch`, of [`crate::limits::SCRATCH_BYTES`], takes ciphertext here as
    /// everywhere.
    ///
    /// # Errors
    /// The peer is not who it should be, or does not speak TLS.
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

    /// Reads into `room`, which is not empty.
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

    /// Writes the front of `head` and `body`, in one call where both have bytes; says how many bytes were taken.
    ///
    /// # Errors
    /// `WouldBlock`: none was. Anything else: none will be.
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

    /// Whether what goes over the socket is what is read and written here.
    pub fn is_plain(&self) -> bool {
        matches!(self, Transport::Plain)
    }

    /// Bytes that went over the socket, both ways, since this was last asked; none for a plain pipe, where they are the bytes
    /// that are read and written.
    pub fn take_ciphertext(&mut self) -> usize {
        match self {
            Transport::Plain => 0,
            Transport::Tls(pipe) => pipe.take_ciphertext(),
        }
    }

    /// Whether bytes can be read although the socket has none.
    pub fn has_plaintext(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(pipe) => pipe.has_plaintext(),
        }
    }

    /// Whether bytes that were taken are not written yet.
    pub fn wants_write(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(pipe) => pipe.wants_write(),
        }
    }

    /// Says that no more bytes follow (RFC 8446 6.1), as far as the socket takes it now.
    pub fn close_notify<S: Read + Write>(&mut self, io: &mut S) {
        if let Transport::Tls(pipe) = self {
            pipe.close_notify(io);
        }
    }
}

/// One read; `None`: it would block.
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
