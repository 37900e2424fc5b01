//! Connecting to upstreams, and what a failure says about the target.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpStream, UnixStream};

use super::socket::Socket;
use crate::net::messages::mid_sentence;
use crate::proxy::command::Fault;

/// Starts to connect. The socket becomes writable when it is connected, or reports an error.
///
/// # Errors
/// No descriptor or port is left, or the address cannot be reached at all.
pub fn dial(address: SocketAddr) -> io::Result<Socket> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(Socket::Tcp(socket))
}

/// Connects to a unix socket, which succeeds or fails at once.
///
/// # Errors
/// `WouldBlock`: the queue of the socket is full. Others: no descriptor is left, nothing listens
/// there, or the path does not exist or is not open to this user.
#[cold]
pub fn dial_socket(path: &str) -> io::Result<Socket> {
    UnixStream::connect(path).map(Socket::Unix)
}

/// Takes a connection that another process has made.
///
/// # Errors
/// `NotConnected`: no connection was passed.
#[cold]
pub fn passed(socket: Option<std::os::unix::net::UnixStream>) -> io::Result<Socket> {
    let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Unix(UnixStream::from_std(socket)))
}

/// Returns what the error of [`dial`] or [`dial_socket`] says of the target, and its words for
/// operators.
#[cold]
pub fn refusal(error: &io::Error, address: SocketAddr) -> (Fault, Box<str>) {
    let fault = match is_exhaustion(error) {
        _ if is_unreachable(error, address) => Fault::Unreachable,
        true => Fault::Exhausted,
        false => Fault::Refused,
    };
    let reason = match error.kind() {
        // EAGAIN of connect() on a unix socket.
        io::ErrorKind::WouldBlock => Box::from("the queue of the socket is full (os error 11)"),
        _ => mid_sentence(error.to_string()),
    };
    (fault, reason)
}

/// Returns `true` if the process or the machine has no more of some resource.
pub fn is_exhaustion(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, and ENOSPC (no more sockets may be watched) on
    // Linux.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12 | 99 | 28))
}

/// Returns `true` if the error of [`dial`] says that this machine has no route to the address.
///
/// EADDRNOTAVAIL means that or that no port is left. Connecting a datagram socket, which takes no
/// TCP port, tells the two apart.
#[cold]
pub fn is_unreachable(error: &io::Error, address: SocketAddr) -> bool {
    match error.raw_os_error() {
        // ENETUNREACH, EHOSTUNREACH, EAFNOSUPPORT on Linux.
        Some(101 | 113 | 97) => true,
        Some(99) => {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            std::net::UdpSocket::bind(any)
                .and_then(|socket| socket.connect(address))
                .is_err()
        }
        _ => false,
    }
}

/// Returns `true` if the error of a connection that was being made says that a router or the
/// neighbour discovery found no way to the address.
pub fn is_no_route(error: &io::Error) -> bool {
    // ENETUNREACH, EHOSTUNREACH on Linux.
    matches!(error.raw_os_error(), Some(101 | 113))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::io::raw_stream::RawStream;
    use mio::{Events, Interest, Poll, Token};
    use std::net::TcpListener;
    use std::time::Duration;

    /// Returns the error that the socket has when the poll reports it.
    fn outcome(address: SocketAddr) -> Option<io::ErrorKind> {
        let mut socket = match dial(address) {
            Ok(socket) => socket,
            Err(error) => return Some(error.kind()),
        };
        let mut poll = Poll::new().expect("epoll");
        poll.registry()
            .register(&mut socket, Token(1), Interest::WRITABLE)
            .expect("registered");
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20)))
            .expect("epoll");
        assert!(
            events.iter().any(|event| event.is_writable()),
            "it is reported"
        );
        socket
            .take_error()
            .expect("the socket can be asked")
            .map(|error| error.kind())
    }

    #[test]
    fn connecting_ends_in_an_event() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        assert_eq!(outcome(address), None);
        drop(listener);
        assert_eq!(outcome(address), Some(io::ErrorKind::ConnectionRefused));
    }
}
