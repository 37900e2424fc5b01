//! Connections to upstreams.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::super::listener::Socket;

/// Starts to connect; the socket becomes writable when it is done, or reports an error.
///
/// # Errors
/// No descriptor or port is left, or the address cannot be reached at all.
pub fn dial(address: SocketAddr) -> io::Result<Socket> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(Socket::Tcp(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::io::connection::RawStream;
    use mio::{Events, Interest, Poll, Token};
    use std::net::TcpListener;
    use std::time::Duration;

    /// What the socket has to say once the poll reports it.
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
