//! Listening sockets, TCP and unix. The sockets that they accept are in `io/socket.rs`.

mod entries;

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::warn;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::io::socket::Socket;
use super::link::Link;
use crate::config::{ListenAddress, Port};
use crate::limits::LISTEN_BACKLOG;
use crate::policy::forward::Peer;

/// Socket that accepts clients.
pub enum Listener {
    /// TCP, on an address and port.
    Tcp(TcpListener, SocketAddr),
    /// Unix, on a path. A file that the gateway made is removed when the listener is dropped.
    Unix(UnixListener, SocketFile),
    /// Connections that the supervisor passes on.
    Link(Box<Link>),
}

/// File of a unix socket.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode of a file that is the gateway's to remove. They tell whether another process
    /// has replaced it since.
    own: Option<(u64, u64)>,
    /// The file becomes the gateway's own when the process that made it hands it over.
    is_inherited: bool,
}

/// An accepted client.
pub struct Accepted {
    /// Socket of the connection, non-blocking.
    pub socket: Socket,
    /// Address of the client.
    pub peer: Peer,
}

impl Listener {
    /// Makes a listener of a socket that another process has bound. The file of a unix socket stays
    /// when the listener is dropped.
    ///
    /// # Errors
    /// The socket is no TCP or unix stream socket, or does not listen.
    pub fn from_socket(socket: socket2::Socket) -> io::Result<Listener> {
        let refuse = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if socket.r#type()? != Type::STREAM {
            return refuse("it is no stream socket");
        }
        if !socket.is_listener()? {
            return refuse("it does not listen");
        }
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        if let Some(bound) = address.as_socket() {
            // Accepted sockets inherit the option, which saves a system call for each.
            socket.set_tcp_nodelay(true)?;
            return Ok(Listener::Tcp(TcpListener::from_std(socket.into()), bound));
        }
        if !address.is_unix() {
            return refuse("it is neither a TCP nor a unix socket");
        }
        let path = match (address.as_pathname(), address.as_abstract_namespace()) {
            (Some(path), _) => path.to_owned(),
            (None, name) => {
                let name = String::from_utf8_lossy(name.unwrap_or_default());
                PathBuf::from(format!("@{name}"))
            }
        };
        let file = SocketFile {
            path,
            own: None,
            is_inherited: false,
        };
        Ok(Listener::Unix(UnixListener::from_std(socket.into()), file))
    }

    /// Duplicates the socket. Tells also whether the file of a unix socket is the gateway's own.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn duplicate(&self) -> io::Result<(OwnedFd, bool)> {
        match self {
            Listener::Tcp(listener, _) => Ok((listener.as_fd().try_clone_to_owned()?, false)),
            Listener::Unix(listener, file) => {
                let owns_file = file.own.is_some();
                Ok((listener.as_fd().try_clone_to_owned()?, owns_file))
            }
            Listener::Link(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Leaves the file of a unix socket to another process.
    pub(super) fn disown(&mut self) {
        if let Listener::Unix(_, file) = self {
            file.own = None;
        }
    }

    /// Marks the file of a unix socket as one that [`adopt`](Self::adopt) makes the gateway's own.
    pub(super) fn set_inherited(&mut self) {
        if let Listener::Unix(_, file) = self {
            file.is_inherited = true;
        }
    }

    /// Makes an inherited file the gateway's own, now that the other process has left it.
    pub(super) fn adopt(&mut self) {
        if let Listener::Unix(_, file) = self
            && core::mem::take(&mut file.is_inherited)
            && let Ok(found) = std::fs::symlink_metadata(&file.path)
        {
            file.own = Some((found.dev(), found.ino()));
        }
    }

    /// Returns the bound address.
    pub fn address(&self) -> ListenAddress {
        match self {
            Listener::Tcp(_, address) => ListenAddress::Tcp(*address),
            Listener::Unix(_, file) => ListenAddress::Unix(file.path.clone()),
            Listener::Link(_) => ListenAddress::Systemd(String::new()),
        }
    }

    /// Binds and listens. An IPv6 wildcard accepts IPv4 clients, too, as in Node, unless
    /// `ipv6_only`.
    ///
    /// # Errors
    /// The address cannot be bound. The text tells the operator what to do.
    pub fn bind(address: &ListenAddress, ipv6_only: bool) -> io::Result<Listener> {
        Listener::bind_as(address, ipv6_only, Port::Own)
    }

    /// Binds and listens as [`bind`](Self::bind) does. `port`: whether other processes may listen
    /// there, too.
    ///
    /// # Errors
    /// Faults of [`bind`](Self::bind).
    pub fn bind_as(address: &ListenAddress, ipv6_only: bool, port: Port) -> io::Result<Listener> {
        match address {
            ListenAddress::Tcp(address) => bind_port(*address, ipv6_only, port)
                .map_err(|error| explain_port(&address.to_string(), &error, port)),
            ListenAddress::Unix(path) => bind_unix(path, None)
                .map_err(|error| explain(&format!("unix:{}", path.display()), &error)),
            ListenAddress::Systemd(name) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "cannot listen on systemd:{name}: the service manager passes sockets at the start alone; restart tollgate"
                ),
            )),
        }
    }

    /// Changes whether other processes may listen on the port, as far as the kernel does that.
    pub(super) fn change_port(&self, port: Port) {
        let Listener::Tcp(listener, _) = self else {
            return;
        };
        if port == Port::Own {
            warn!(
                "{self}: other processes of this user may listen there until the gateway starts again"
            );
        } else if let Err(error) = SockRef::from(listener).set_reuse_port(true) {
            warn!("{self} cannot be shared: {error}");
        }
    }

    /// Returns whether an IPv6 wildcard must leave IPv4 to another of these addresses.
    pub fn is_ipv4_taken<'a>(
        address: &ListenAddress,
        mut others: impl Iterator<Item = &'a ListenAddress>,
    ) -> bool {
        let ListenAddress::Tcp(address) = address else {
            return false;
        };
        let port = address.port();
        others.any(
            |other| matches!(other, ListenAddress::Tcp(SocketAddr::V4(v4)) if v4.port() == port),
        )
    }

    /// Accepts the next client.
    ///
    /// # Errors
    /// `WouldBlock`: no client waits. Other errors: no descriptor is left, or the client has closed
    /// the connection already.
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
            Listener::Link(link) => Ok(Accepted {
                socket: Socket::Unix(UnixStream::from_std(link.accept()?)),
                peer: Peer::Unix,
            }),
        }
    }

    /// Returns the bound port of a TCP listener.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(_, address) => Some(address.port()),
            Listener::Unix(..) | Listener::Link(_) => None,
        }
    }

    /// Returns the part that mio registers.
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener, _) => listener,
            Listener::Unix(listener, _) => listener,
            Listener::Link(link) => link.source(),
        }
    }
}

/// Writes `port 5000`, or the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(_, address) => write!(f, "port {}", address.port()),
            Listener::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
            Listener::Link(_) => f.write_str("the link to the supervisor"),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, file) = self
            && let SocketFile {
                path,
                own: Some(own),
                ..
            } = file
            && std::fs::symlink_metadata(&path)
                .is_ok_and(|found| (found.dev(), found.ino()) == *own)
        {
            // The file may be gone already.
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

/// Binds a TCP address. An IPv6 wildcard accepts IPv4 clients, too, unless `ipv6_only`.
pub(super) fn bind_tcp(address: SocketAddr, ipv6_only: bool) -> io::Result<Listener> {
    bind_port(address, ipv6_only, Port::Own)
}

fn bind_port(address: SocketAddr, ipv6_only: bool, port: Port) -> io::Result<Listener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    if port == Port::Shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit the option, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    let bound = listener.local_addr()?;
    Ok(Listener::Tcp(listener, bound))
}

/// Binds a unix socket. `mode`: permissions of its file, which it never has more of.
pub(super) fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Listener> {
    remove_stale(path)?;
    let mut socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(mode) = mode {
        // Linux makes the file with the mode of the socket, less the umask. The umask itself is of
        // the whole process.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(mode))?;
        socket = OwnedFd::from(file).into();
    }
    socket.bind(&SockAddr::unix(path)?)?;
    let made = std::fs::symlink_metadata(path)?;
    // Before `listen` no client can connect, with any mode.
    if mode.is_some_and(|mode| made.mode() & 0o777 & !mode != 0) {
        let _ = std::fs::remove_file(path);
        return Err(io::Error::other(
            "the file system gives the socket's file other permissions; choose another folder",
        ));
    }
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    let file = SocketFile {
        path: path.to_owned(),
        own: Some((made.dev(), made.ino())),
        is_inherited: false,
    };
    Ok(Listener::Unix(UnixListener::from_std(socket.into()), file))
}

/// Removes a socket file without a listener, which a killed gateway leaves behind.
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
    explain_port(address, error, Port::Own)
}

fn explain_port(address: &str, error: &io::Error, port: Port) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if port == Port::Shared => {
            ": another process listens there and does not share the port; set \"reusePort\": true in its configuration, too, and \
             run both as one user"
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Listen, ListenKind};
    use crate::net::inherited::Inherited;
    use crate::net::io::raw_stream::RawStream;
    use crate::policy::forward::PeerSet;
    use std::io::{IoSlice, Read, Write};
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};
    use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
    use std::time::{Duration, Instant};

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp(address.parse().expect("an address"))
    }

    /// Accepts a client that has connected.
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

    /// Returns a port that is free on all addresses; another process may still take it first.
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
            let entries = addresses.clone().map(|address| Listen {
                address,
                kind: ListenKind::Plain,
                name: None,
                proxied: PeerSet::default(),
                port: Port::Own,
            });
            let mut listeners = Inherited::default().bind_all(&entries).expect("both");
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
    fn a_shared_port_has_several_listeners() {
        let first = Listener::bind_as(&tcp("127.0.0.1:0"), false, Port::Shared);
        let mut first = first.expect("a free port");
        let address = first.address();
        let error = Listener::bind(&address, false).err().expect("not shared");
        assert!(error.to_string().contains("stop it, or"), "{error}");
        let mut second = Listener::bind_as(&address, false, Port::Shared).expect("shared");
        let mut clients = Vec::new();
        let mut accepted = [0, 0];
        for _ in 0..64 {
            let port = first.port().expect("TCP");
            clients.push(StdStream::connect(("127.0.0.1", port)).expect("listening"));
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while accepted[0] + accepted[1] < clients.len() && Instant::now() < deadline {
            accepted[0] += usize::from(first.accept().is_ok());
            accepted[1] += usize::from(second.accept().is_ok());
        }
        assert!(accepted[0] > 0 && accepted[1] > 0, "{accepted:?}");
    }

    #[test]
    fn a_port_is_shared_from_the_moment_on_at_which_all_agree() {
        let first = Listener::bind(&tcp("127.0.0.1:0"), false).expect("a free port");
        let second = || Listener::bind_as(&first.address(), false, Port::Shared);
        let error = second().err().expect("not shared");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("\"reusePort\": true"), "{error}");
        first.change_port(Port::Shared);
        second().expect("shared");
        let error = Listener::bind(&first.address(), false).err();
        assert!(error.is_some(), "another process without it never shares");
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
    fn a_private_socket_is_never_open_to_others() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let path =
            std::env::temp_dir().join(format!("tollgate-test-{}-private.sock", std::process::id()));
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let (watched, ended) = (path.clone(), std::sync::Arc::clone(&done));
        // Looks at the file as often as it can, while it comes and goes.
        let watcher = std::thread::spawn(move || {
            let mut seen = 0_u32;
            while !ended.load(Ordering::Relaxed) {
                if let Ok(found) = std::fs::symlink_metadata(&watched) {
                    assert_eq!(found.mode() & 0o777, 0o600);
                    seen += 1;
                }
            }
            seen
        });
        for _ in 0..2_000 {
            drop(bind_unix(&path, Some(0o600)).expect("a fresh path"));
        }
        let _listener = bind_unix(&path, Some(0o600)).expect("a fresh path");
        let found = std::fs::symlink_metadata(&path).expect("the file");
        assert_eq!(found.mode() & 0o777, 0o600);
        StdUnixStream::connect(&path).expect("its owner may connect");
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("the mode was 0600 at each look");
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
