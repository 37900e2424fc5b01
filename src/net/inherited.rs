//! Listening sockets that another process has opened: a service manager (socket activation), or the
//! old process of an upgrade.
//!
//! A socket replaces the entry of `listen` that has its address, or the one that has its name
//! (`"systemd:web"`). A socket that fits no entry is an error: its clients would wait for ever.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::config_files::ConfigFiles;
use super::link::{Link, Voice};
use super::listener::Listener;
use super::upgrade::handover::Offer;
use super::upgrade::{Predecessor, WORKER};
use crate::config::{Listen, ListenAddress};
use crate::limits::LISTENERS_MAX;

/// Returns the number of workers, in one of them.
pub fn workers() -> Option<usize> {
    std::env::var(WORKER).ok()?.parse().ok()
}

fn is_worker() -> bool {
    workers().is_some()
}

/// Name of a socket for which the service manager sets none.
const UNNAMED: &str = "unknown";

/// Sockets that are not used yet.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
    /// Old process of an upgrade.
    predecessor: Option<Predecessor>,
    /// Link to the supervisor of a worker.
    link: Option<Link>,
    /// Files of the configuration that the supervisor has accepted.
    files: Option<ConfigFiles>,
}

struct Socket {
    /// Name that the service manager gave it, or its address in the old process.
    name: String,
    /// Purpose, where another tollgate has opened it.
    handed_over: Option<Purpose>,
    /// Place among the sockets that came.
    place: u8,
    listener: Listener,
}

/// Purpose of a socket in the old process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Clients,
    Admin,
}

impl Inherited {
    /// Takes the sockets of the old process of an upgrade, or those that `LISTEN_FDS`, `LISTEN_PID`
    /// and `LISTEN_FDNAMES` announce. Call it before a thread is started.
    ///
    /// # Errors
    /// A descriptor is no listening stream socket. The text names it.
    pub fn from_environment() -> Result<Inherited, String> {
        if is_worker() {
            let explain = |error| {
                format!("{WORKER} is set, and the input is no supervisor: {error}; unset it")
            };
            let (mut link, offers) = Link::of_process().map_err(explain)?;
            let accepted = link.take_files().map(ConfigFiles::accepted);
            let files = accepted.transpose().map_err(explain)?;
            let inherited = Inherited::handed_over(None, Some(link), offers)?;
            return Ok(Inherited { files, ..inherited });
        }
        match Predecessor::of_process()? {
            Some((predecessor, offers)) => Inherited::handed_over(Some(predecessor), None, offers),
            None => Inherited::passed(),
        }
    }

    fn handed_over(
        predecessor: Option<Predecessor>,
        link: Option<Link>,
        offers: Vec<Offer>,
    ) -> Result<Inherited, String> {
        let mut sockets = Vec::with_capacity(offers.len());
        for (place, offer) in (0..).zip(offers) {
            let mut listener = Listener::from_socket(offer.socket.into())
                .map_err(|error| format!("the socket of {}: {error}", offer.name))?;
            if offer.owns_file {
                listener.set_inherited();
            }
            let purpose = if offer.is_admin {
                Purpose::Admin
            } else {
                Purpose::Clients
            };
            sockets.push(Socket {
                name: offer.name,
                handed_over: Some(purpose),
                place,
                listener,
            });
        }
        Ok(Inherited {
            sockets,
            predecessor,
            link,
            files: None,
        })
    }

    fn passed() -> Result<Inherited, String> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let (count, names) = (variable("LISTEN_FDS"), variable("LISTEN_FDNAMES"));
        if count
            .parse::<usize>()
            .is_ok_and(|count| count > LISTENERS_MAX)
        {
            return Err(format!(
                "LISTEN_FDS is {count}; at most {LISTENERS_MAX} sockets can be passed"
            ));
        }
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty());
            let name = name.unwrap_or(UNNAMED);
            let listener = take(&mut passed, index).map_err(|error| {
                format!(
                    "socket {} that the service manager passed, named {name:?}, cannot be used: {error}; pass a stream socket \
                     (ListenStream= with Accept=no)",
                    index.saturating_add(1)
                )
            })?;
            sockets.push(Socket {
                name: name.to_owned(),
                handed_over: None,
                place: 0,
                listener,
            });
        }
        Ok(Inherited {
            sockets,
            predecessor: None,
            link: None,
            files: None,
        })
    }

    /// Binds all addresses, or none. An address of which there is a socket already gets that one.
    ///
    /// # Errors
    /// Errors of [`Listener::bind_as`] and [`Inherited::take`].
    pub fn bind_all(&mut self, entries: &[Listen]) -> io::Result<Vec<Listener>> {
        Listener::can_stay(&self.addresses(), entries)?;
        let addresses = entries.iter().map(|entry| &entry.address);
        entries
            .iter()
            .map(|Listen { address, port, .. }| match self.take(address)? {
                Some(listener) => Ok(listener),
                None => Listener::bind_entry((address, *port), addresses.clone(), self.listeners()),
            })
            .collect()
    }

    /// Takes the socket of an entry of `listen`; `None`: it is to be bound.
    ///
    /// # Errors
    /// The entry names a socket, and none has that name, or several have.
    pub fn take(&mut self, address: &ListenAddress) -> io::Result<Option<Listener>> {
        let fits = |socket: &Socket| match (socket.handed_over, address) {
            (Some(purpose), _) => purpose == Purpose::Clients && socket.name == address.to_string(),
            (None, ListenAddress::Systemd(name)) => socket.name == *name,
            (None, _) => socket.listener.address() == *address,
        };
        let index = self.sockets.iter().position(fits);
        if let ListenAddress::Systemd(name) = address {
            let count = self.sockets.iter().filter(|socket| fits(socket)).count();
            if count != 1 {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    self.explain(name, count),
                ));
            }
        }
        Ok(index.map(|index| self.sockets.swap_remove(index).listener))
    }

    /// Returns the addresses and ports of the old process that are not taken yet.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        let sockets = self.sockets.iter();
        let of_clients = sockets.filter(|socket| socket.handed_over == Some(Purpose::Clients));
        let parsed = of_clients.map(|socket| socket.name.parse().ok());
        parsed.flatten().map(ListenAddress::Tcp).collect()
    }

    /// Returns the listeners of the old process that are not taken yet.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        let sockets = self.sockets.iter();
        let of_clients = sockets.filter(|socket| socket.handed_over == Some(Purpose::Clients));
        of_clients.map(|socket| &socket.listener)
    }

    /// Takes the socket of an entry of `admin`; `None`: it is to be bound.
    pub fn take_admin(&mut self, address: &ListenAddress) -> Option<Listener> {
        if matches!(address, ListenAddress::Systemd(_)) {
            return self.link.take().map(|link| Listener::Link(Box::new(link)));
        }
        let name = address.to_string();
        let fits =
            |socket: &Socket| socket.handed_over == Some(Purpose::Admin) && socket.name == name;
        let index = self.sockets.iter().position(fits)?;
        Some(self.sockets.swap_remove(index).listener)
    }

    /// Returns the files that a configuration is read from: those that the supervisor has accepted, or
    /// those on the disk.
    pub fn config_files(&mut self) -> ConfigFiles {
        let accepted = self.files.take();
        accepted.unwrap_or_else(ConfigFiles::on_disk)
    }

    /// Returns true if there is an old process of an upgrade.
    pub(super) fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Returns what tells the supervisor that the worker serves; `None`: this is no worker.
    pub(super) fn voice(&self) -> Option<io::Result<Voice>> {
        self.link.as_ref().map(Link::voice)
    }

    /// Returns the old process of an upgrade, which is told that this one can serve. Sockets that
    /// were not taken are closed here, and by the old process when it has accepted who waits there.
    pub(super) fn into_predecessor(self) -> Option<Predecessor> {
        let mut predecessor = self.predecessor?;
        let unused = self.sockets.iter().map(|socket| socket.place);
        predecessor.announce(&unused.collect::<Vec<_>>());
        Some(predecessor)
    }

    /// Checks that each socket was taken. Those of an old process need not be: the configuration
    /// may have changed since.
    ///
    /// # Errors
    /// A socket fits no entry of `listen`. The text names each of them.
    pub fn refuse_rest(&self) -> Result<(), String> {
        if self.sockets.is_empty() || self.predecessor.is_some() || is_worker() {
            return Ok(());
        }
        let rest = self.sockets.iter();
        let rest = rest.map(|Socket { name, listener, .. }| {
            format!("{} (named {name:?})", listener.address())
        });
        Err(format!(
            "the service manager passed sockets that fit no entry of \"listen\": {}; list their addresses, or \"systemd:NAME\", \
             or remove them from the socket unit",
            rest.collect::<Vec<_>>().join(", ")
        ))
    }

    /// Explains why a name does not stand for one socket.
    fn explain(&self, name: &str, count: usize) -> String {
        let what = format!("cannot listen on systemd:{name}");
        if count > 1 {
            return format!(
                "{what}: {count} sockets of that name were passed; list their addresses, or give each a socket unit and a \
                 FileDescriptorName= of its own"
            );
        }
        if self.sockets.is_empty() {
            return format!(
                "{what}: the service manager passed no such socket; start the socket unit, with FileDescriptorName={name}"
            );
        }
        let names = self.sockets.iter();
        let names = names.map(|socket| format!("{:?}", socket.name));
        format!(
            "{what}: the sockets that were passed are named {}; set FileDescriptorName={name} in the socket unit",
            names.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Takes a descriptor. It is closed when a new program is executed.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let tcp = passed.take_tcp_listener(index).ok().flatten();
    let descriptor = match tcp {
        Some(listener) => Some(OwnedFd::from(listener)),
        None => passed.take_unix_listener(index)?.map(OwnedFd::from),
    };
    let descriptor = descriptor.ok_or(io::ErrorKind::NotFound)?;
    Listener::from_socket(descriptor.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    fn inherited(sockets: impl IntoIterator<Item = (&'static str, OwnedFd)>) -> Inherited {
        let sockets = sockets.into_iter().map(|(name, socket)| Socket {
            name: name.to_owned(),
            handed_over: None,
            place: 0,
            listener: Listener::from_socket(socket.into()).expect("a listening socket"),
        });
        Inherited {
            sockets: sockets.collect(),
            predecessor: None,
            link: None,
            files: None,
        }
    }

    fn tcp() -> (OwnedFd, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        (socket.into(), address)
    }

    fn named(name: &str) -> ListenAddress {
        ListenAddress::Systemd(name.to_owned())
    }

    #[test]
    fn sockets_are_found_by_address_and_by_name() {
        let ((one, first), (two, second)) = (tcp(), tcp());
        let mut all = inherited([("a", one), ("b", two)]);
        let other = ListenAddress::Tcp("127.0.0.1:1".parse().expect("an address"));
        assert!(all.take(&other).expect("an address").is_none());
        let address = ListenAddress::Tcp(second);
        let found = all.take(&address).expect("an address").expect("passed");
        assert_eq!(found.address(), address);
        let text = all.refuse_rest().expect_err("one is left");
        assert!(text.contains(&format!("{first} (named \"a\")")), "{text}");
        let found = all.take(&named("a")).expect("a name").expect("passed");
        assert_eq!(found.port(), Some(first.port()));
        assert_eq!(all.refuse_rest(), Ok(()));
    }

    #[test]
    fn a_name_stands_for_one_socket() {
        let mut all = Inherited::default();
        let text = all.take(&named("web")).err().expect("none").to_string();
        assert!(text.contains("passed no such socket"), "{text}");
        let mut all = inherited([("a", tcp().0), ("a", tcp().0)]);
        let text = all.take(&named("web")).err().expect("none").to_string();
        assert!(text.contains(r#"are named "a", "a""#), "{text}");
        let text = all.take(&named("a")).err().expect("two").to_string();
        assert!(text.contains("2 sockets of that name"), "{text}");
    }

    #[test]
    fn accepted_sockets_of_an_inherited_one_do_not_block_or_delay() {
        let (socket, address) = tcp();
        let mut listener = Listener::from_socket(socket.into()).expect("it listens");
        assert_eq!(
            listener.accept().err().expect("nobody").kind(),
            io::ErrorKind::WouldBlock
        );
        let _client = TcpStream::connect(address).expect("it listens");
        let accepted = loop {
            if let Ok(accepted) = listener.accept() {
                break accepted;
            }
        };
        let super::super::io::socket::Socket::Tcp(socket) = accepted.socket else {
            panic!("TCP was accepted")
        };
        assert!(socket.nodelay().expect("an option"));
    }

    #[test]
    fn the_file_of_an_inherited_unix_socket_stays() {
        let path =
            std::env::temp_dir().join(format!("tollgate-inherited-{}.sock", std::process::id()));
        let socket = UnixListener::bind(&path).expect("a fresh path");
        let mut all = inherited([("a", socket.into())]);
        let found = all.take(&ListenAddress::Unix(path.clone()));
        drop(found.expect("an address").expect("passed"));
        assert!(path.exists());
        std::fs::remove_file(&path).expect("clean");
    }

    #[test]
    fn other_sockets_are_refused() {
        let (server, address) = tcp();
        let client = TcpStream::connect(address).expect("it listens");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for (socket, why) in [
            (OwnedFd::from(client), "does not listen"),
            (datagrams.into(), "no stream socket"),
        ] {
            let error = Listener::from_socket(socket.into()).err().expect(why);
            assert!(error.to_string().contains(why), "{error}");
        }
        drop(server);
    }
}
