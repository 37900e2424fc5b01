//! Connected sockets of the kernel, TCP and unix.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use super::raw_stream::{RawStream, Readiness};
use super::splice_pipes::KernelPipe;

/// Connected socket, non-blocking.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// Returns the peer's address; `None` for a unix socket or a closed connection.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Returns the part that mio registers.
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        }
    }
}

impl RawStream for Socket {
    type Pipe = KernelPipe;

    fn splice_to_pipe(&mut self, pipe: &mut KernelPipe, most: usize) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => pipe.fill_from(socket, most),
            Socket::Unix(socket) => pipe.fill_from(socket, most),
        }
    }

    fn splice_from_pipe(&mut self, pipe: &mut KernelPipe, most: usize) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => pipe.empty_into(socket, most),
            Socket::Unix(socket) => pipe.empty_into(socket, most),
        }
    }

    fn peek(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (n, _) = rustix::net::recv(self, room, RecvFlags::PEEK)?;
        Ok(n)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    fn reset_on_close(&self) {
        if let Socket::Tcp(socket) = self
            && let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO))
        {
            log::debug!("SO_LINGER: {error}");
        }
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Socket::Tcp(socket) => socket.take_error(),
            Socket::Unix(socket) => socket.take_error(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Calls the kernel directly: the C library's `recv` and `send` are cancellation points, which costs
/// some sixty instructions a call.
impl Read for Socket {
    #[inline(always)]
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (n, _) = rustix::net::recv(self, room, RecvFlags::empty())?;
        Ok(n)
    }
}

impl Write for Socket {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Uses `sendmsg`: `writev` takes a longer way through the kernel's file layer.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::net::sendmsg(
            self,
            parts,
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        )?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Socket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

/// Returns the readiness that an event reports.
#[inline(always)]
pub(crate) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        failed: event.is_error() || (event.is_write_closed() && event.is_read_closed()),
        reset: event.is_error(),
    }
}
