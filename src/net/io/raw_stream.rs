//! The operations that a [`Connection`](super::connection::Connection) needs of its socket.
//!
//! `socket.rs` implements them for sockets of the kernel; tests implement them in memory.

use std::io::{self, Read, Write};

use super::splice_pipes::Pipe;

/// A non-blocking byte stream, before TLS.
pub trait RawStream: Read + Write {
    /// Pipe that bytes are spliced through.
    type Pipe: Pipe;

    /// Moves up to `most` received bytes into an empty pipe and returns their number; 0 means that
    /// the peer has ended its direction. Fewer than `most` do not mean that the socket is drained:
    /// a pipe is full when its slots are, and the bytes in one slot depend on the sender.
    ///
    /// # Errors
    /// Errors of `read`; `InvalidInput`: this socket cannot be spliced.
    fn splice_to_pipe(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Sends up to `most` bytes from a pipe and returns their number. Only `WouldBlock` means that
    /// the socket takes no more.
    ///
    /// # Errors
    /// Errors of `write`; `InvalidInput`: this socket cannot be spliced.
    fn splice_from_pipe(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;

    /// Reads without taking the bytes out of the socket.
    ///
    /// # Errors
    /// Errors of `read`; `Unsupported`: this socket cannot do that.
    fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let _ = room;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Ends the gateway's direction (FIN).
    ///
    /// # Errors
    /// The socket is closed already.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Makes the later close send a reset.
    fn reset_on_close(&self);

    /// Returns the error that is pending on the socket, such as a refused connection.
    ///
    /// # Errors
    /// The error cannot be read.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

/// Readiness of a socket, as one event of the kernel reports it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Readiness {
    /// Data, an end of stream or an error can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
    /// A FIN of the peer has come.
    pub read_closed: bool,
    /// An error is pending on the socket.
    pub failed: bool,
    /// A reset has come, or the kernel has given the connection up. Bytes that came before may
    /// still wait in the socket.
    pub reset: bool,
}
