//! Code that all roles of this binary share: a listener with a long queue, and the end when the parent has gone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

/// Opens a listener with a queue of thousands; its connections have TCP_NODELAY.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let explain = |error: io::Error| io::Error::other(format!("{address}: {error}"));
    socket.bind(&address.into()).map_err(explain)?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Token of the event that standard input has ended, which means that the parent has gone.
pub fn watch_parent(poll: &Poll) -> io::Result<Token> {
    let token = Token(usize::MAX - 1);
    poll.registry()
        .register(&mut SourceFd(&0), token, Interest::READABLE)?;
    Ok(token)
}

/// Polls. A signal in between is no event.
pub fn wait(poll: &mut Poll, events: &mut Events, patience: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, patience) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}
