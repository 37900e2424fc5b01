//! Listening sockets, TCP and unix, and the sockets that come out of them.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::io::connection::RawStream;
use super::io::splice_pipes::KernelPipe;
use crate::config::ListenAddress;
use crate::limits::LISTEN_BACKLOG;
use crate::policy::forward::Peer;

/// A socket that accepts clients.
pub enum Listener {
    /// On an address and port.
    Tcp(TcpListener, SocketAddr),
    /// On a path; the file goes when the listener does.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket, and which one it is: somebody may have put another in its place.
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A client that was accepted.
pub struct Accepted {
    /// Its socket, non-blocking.
    pub socket: Socket,
    /// Who it is.
    pub peer: Peer,
}

impl Listener {
    /// Binds all of them, or none.
    ///
    /// # Errors
    /// As those of [`Listener::bind`].
    pub fn bind_all<'a>(
        addresses: impl Iterator<Item = &'a ListenAddress> + Clone,
    ) -> io::Result<Vec<Listener>> {
        let is_ipv4_at = |port| move |address: &ListenAddress| matches!(address, ListenAddress::Tcp(SocketAddr::V4(v4)) if v4.port() == port);
        let ipv4_is_taken = |address: &ListenAddress| match address {
            ListenAddress::Tcp(address) => addresses.clone().any(is_ipv4_at(address.port())),
            ListenAddress::Unix(_) => false,
        };
        addresses
            .clone()
            .map(|address| Listener::bind(address, ipv4_is_taken(address)))
            .collect()
    }

    /// Binds and listens. An IPv6 wildcard takes IPv4, too, as Node's does, unless it shall take `ipv6_only`.
    ///
    /// # Errors
    /// The address cannot be bound; the text says what to do.
    pub fn bind(address: &ListenAddress, ipv6_only: bool) -> io::Result<Listener> {
        match address {
            ListenAddress::Tcp(address) => {
                bind_tcp(*address, ipv6_only).map_err(|error| explain(&address.to_string(), &error))
            }
            ListenAddress::Unix(path) => bind_unix(path)
                .map_err(|error| explain(&format!("unix:{}", path.display()), &error)),
        }
    }

    /// The next client that waits.
    ///
    /// # Errors
    /// `WouldBlock`: none waits. No descriptor left. The client is gone again.
    pub fn accept(&mut self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener, _) => {
                let (socket, address) = listener.accept()?;
                Ok(Accepted {
                    socket: Socket::Tcp(socket),
                    peer: Peer::Ip(address.ip().to_canonical()),
                })
            }
            Listener::Unix(listener, _) => {
                let (socket, _) = listener.accept()?;
                Ok(Accepted {
                    socket: Socket::Unix(socket),
                    peer: Peer::Unix,
                })
            }
        }
    }

    /// The port that was bound, for a TCP listener.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(_, address) => Some(address.port()),
            Listener::Unix(..) => None,
        }
    }
}

/// `port 5000`, or the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(_, address) => write!(f, "port {}", address.port()),
            Listener::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(
            _,
            SocketFile {
                path,
                device,
                inode,
            },
        ) = self
            && std::fs::symlink_metadata(&path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (*device, *inode))
        {
            // Somebody may have taken it away before us.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Source for Listener {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Listener::Tcp(listener, _) => listener.register(registry, token, interests),
            Listener::Unix(listener, _) => listener.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Listener::Tcp(listener, _) => listener.reregister(registry, token, interests),
            Listener::Unix(listener, _) => listener.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Listener::Tcp(listener, _) => listener.deregister(registry),
            Listener::Unix(listener, _) => listener.deregister(registry),
        }
    }
}

fn bind_tcp(address: SocketAddr, ipv6_only: bool) -> io::Result<Listener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    // Accepted sockets inherit it, so that it costs no call for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    let bound = listener.local_addr()?;
    Ok(Listener::Tcp(listener, bound))
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    let made = std::fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: made.dev(),
        inode: made.ino(),
    };
    Ok(Listener::Unix(UnixListener::from_std(socket.into()), file))
}

/// A socket file that nobody listens on any more is what a killed gateway leaves behind.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

fn explain(address: &str, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process listens there; stop it, or change \"listen\" (or PORT)"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address; change \"listen\"",
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need a privilege (setcap cap_net_bind_service, AmbientCapabilities in systemd); a socket's folder must be writable"
        }
        io::ErrorKind::NotFound => ": the folder of the socket does not exist",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {address}: {error}{advice}"),
    )
}

/// A connected socket, non-blocking.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// The peer's address; `None`: it has none, or the connection is gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok(),
            Socket::Unix(_) => None,
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

/// By the kernel's own door: the C library's `recv` and `send` are points where a thread may be cancelled, and what they do about
/// that costs some sixty instructions a call.
impl Read for Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (n, _) = rustix::net::recv(self, room, RecvFlags::empty())?;
        Ok(n)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Not by `writev`, which goes through the layer of files before it comes to the socket.
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
        match self {
            Socket::Tcp(socket) => socket.register(registry, token, interests),
            Socket::Unix(socket) => socket.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.reregister(registry, token, interests),
            Socket::Unix(socket) => socket.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.deregister(registry),
            Socket::Unix(socket) => socket.deregister(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};
    use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
    use std::time::Instant;

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp(address.parse().expect("an address"))
    }

    /// Accepts what is on its way.
    fn accept(listener: &mut Listener) -> Accepted {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match listener.accept() {
                Ok(accepted) => return accepted,
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A port that is free on all addresses; another process may still take it first.
    fn free_port() -> u16 {
        StdListener::bind("[::]:0")
            .expect("a free port")
            .local_addr()
            .expect("bound")
            .port()
    }

    #[test]
    fn accepted_sockets_do_not_block_and_do_not_wait_for_company() {
        let mut listener = Listener::bind(&tcp("127.0.0.1:0"), false).expect("a free port");
        assert_eq!(
            listener.accept().err().expect("nobody").kind(),
            io::ErrorKind::WouldBlock
        );
        let client =
            StdStream::connect(("127.0.0.1", listener.port().expect("TCP"))).expect("listening");
        let Accepted { mut socket, peer } = accept(&mut listener);
        assert_eq!(peer, Peer::Ip([127, 0, 0, 1].into()));
        let Socket::Tcp(inner) = &socket else {
            panic!("TCP was accepted")
        };
        assert!(
            inner.nodelay().expect("an option"),
            "inherited from the listener"
        );
        assert_eq!(
            socket.read(&mut [0; 1]).expect_err("nothing sent").kind(),
            io::ErrorKind::WouldBlock
        );
        let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(
            socket.write_vectored(&parts).expect("room"),
            8,
            "one call for both parts"
        );
        socket.shutdown_write().expect("connected");
        let mut said = String::new();
        (&client).read_to_string(&mut said).expect("a clean end");
        assert_eq!(said, "headbody");
    }

    #[test]
    fn a_reset_is_no_clean_end() {
        let mut listener = Listener::bind(&tcp("127.0.0.1:0"), false).expect("a free port");
        let mut client =
            StdStream::connect(("127.0.0.1", listener.port().expect("TCP"))).expect("listening");
        let accepted = accept(&mut listener);
        accepted.socket.reset_on_close();
        drop(accepted);
        assert_eq!(
            client.read(&mut [0; 1]).expect_err("a reset").kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_too_and_ipv4_clients_stay_ipv4() {
        let mut listener = Listener::bind(&tcp("[::]:0"), false).expect("a free port");
        let port = listener.port().expect("TCP");
        for client in ["127.0.0.1", "::1"] {
            let _client = StdStream::connect((client, port)).expect("listening");
            assert_eq!(
                accept(&mut listener).peer,
                Peer::Ip(client.parse().expect("an address"))
            );
        }
    }

    #[test]
    fn both_wildcards_go_together_in_any_order() {
        for pair in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
            let port = free_port();
            let addresses = pair.map(|address| tcp(&format!("{address}:{port}")));
            let mut listeners = Listener::bind_all(addresses.iter()).expect("both");
            for (at, address) in pair.iter().enumerate() {
                let client = if address.contains(':') {
                    "::1"
                } else {
                    "127.0.0.1"
                };
                let _client = StdStream::connect((client, port)).expect("listening");
                assert_eq!(
                    accept(&mut listeners[at]).peer,
                    Peer::Ip(client.parse().expect("an address"))
                );
            }
        }
    }

    #[test]
    fn what_another_put_in_our_place_stays() {
        let path =
            std::env::temp_dir().join(format!("tollgate-test-{}-other.sock", std::process::id()));
        let mut listener =
            Listener::bind(&ListenAddress::Unix(path.clone()), false).expect("a fresh path");
        let _client = StdUnixStream::connect(&path).expect("listening");
        assert_eq!(accept(&mut listener).peer, Peer::Unix);
        std::fs::rename(&path, path.with_extension("old")).expect("moved");
        let _other = StdUnixListener::bind(&path).expect("another's");
        drop(listener);
        assert!(path.exists(), "it is not ours");
        std::fs::remove_file(path.with_extension("old")).expect("clean");
        std::fs::remove_file(&path).expect("clean");
    }

    #[test]
    fn a_taken_port_is_explained() {
        let first = Listener::bind(&tcp("127.0.0.1:0"), false).expect("a free port");
        let Listener::Tcp(_, address) = &first else {
            panic!("TCP was asked for")
        };
        let error = Listener::bind(&ListenAddress::Tcp(*address), false)
            .err()
            .expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains("another process listens there"),
            "{error}"
        );
    }

    #[test]
    fn unix_sockets_come_and_go() {
        let path = std::env::temp_dir().join(format!("tollgate-test-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let listener = Listener::bind(&address, false).expect("a fresh path");
        assert_eq!(
            Listener::bind(&address, false).err().expect("taken").kind(),
            io::ErrorKind::AddrInUse
        );
        drop(listener);
        assert!(!path.exists(), "the file goes with the listener");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale file"));
        assert!(path.exists());
        drop(Listener::bind(&address, false).expect("a stale socket is replaced"));
        std::fs::write(&path, "precious").expect("a file");
        assert!(
            Listener::bind(&address, false).is_err() && path.exists(),
            "no other file is touched"
        );
        std::fs::remove_file(&path).expect("clean");
    }
}
