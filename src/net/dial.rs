//! Connections to upstreams.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::listener::Socket;

/// Starts to connect; the socket becomes writable when it is done, or reports an error.
///
/// # Errors
/// No descriptor or port is left, or the address cannot be reached at all.
pub fn dial(address: SocketAddr) -> io::Result<Socket> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(Socket::Tcp(socket))
}
