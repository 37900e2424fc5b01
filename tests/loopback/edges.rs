//! Behavior of the real kernel that the event loop depends on: edge-triggered epoll as mio sets it
//! up, on TCP and on unix sockets. If one of these tests fails, `net/io/connection.rs` waits for
//! events that do not come.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use super::world::PATIENCE;

/// Connection: the gateway's end as the event loop uses it, and the peer's end as a socket of std.
struct Pair {
    name: &'static str,
    ours: Box<dyn Socket>,
    peer: Box<dyn Peer>,
}

trait Socket: Source + Read + Write {}
impl Socket for mio::net::TcpStream {}
impl Socket for mio::net::UnixStream {}

trait Peer: Read + Write + Send {
    /// Ends the peer's direction with FIN.
    fn end(&self);
    /// Closes the peer's end with RST.
    fn reset(self: Box<Self>);
}

impl Peer for std::net::TcpStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).expect("the peer ends");
    }

    fn reset(self: Box<Self>) {
        socket2::SockRef::from(&*self)
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
    }
}

impl Peer for UnixStream {
    fn end(&self) {
        self.shutdown(Shutdown::Write).expect("the peer ends");
    }

    /// Closing a unix socket with unread bytes resets the connection.
    fn reset(self: Box<Self>) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pairs() -> [Pair; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
        .expect("a connection");
    peer.set_nodelay(true).expect("an option");
    let (ours, _) = listener.accept().expect("a connection");
    ours.set_nonblocking(true).expect("an option");
    let (our_unix, unix_peer) = UnixStream::pair().expect("a pair");
    our_unix.set_nonblocking(true).expect("an option");
    [
        Pair {
            name: "TCP",
            ours: Box::new(mio::net::TcpStream::from_std(ours)),
            peer: Box::new(peer),
        },
        Pair {
            name: "unix",
            ours: Box::new(mio::net::UnixStream::from_std(our_unix)),
            peer: Box::new(unix_peer),
        },
    ]
}

/// Readiness that the kernel has reported.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Seen {
    readable: bool,
    writable: bool,
    read_closed: bool,
    error: bool,
}

/// Poll with one registered socket.
struct Watch {
    poll: Poll,
    events: Events,
}

impl Watch {
    fn new(pair: &mut Pair, interest: Interest) -> Watch {
        let poll = Poll::new().expect("a poll");
        poll.registry()
            .register(&mut pair.ours, Token(0), interest)
            .expect("registered");
        Watch {
            poll,
            events: Events::with_capacity(8),
        }
    }

    fn look(&mut self, patience: Duration) -> Option<Seen> {
        self.poll
            .poll(&mut self.events, Some(patience))
            .expect("the poll works");
        let mut seen = None;
        for event in &self.events {
            let seen = seen.get_or_insert_with(Seen::default);
            seen.readable |= event.is_readable();
            seen.writable |= event.is_writable();
            seen.read_closed |= event.is_read_closed();
            seen.error |= event.is_error();
        }
        seen
    }

    /// Collects events until the condition holds.
    #[track_caller]
    fn wait(&mut self, name: &str, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let seen = self
                .look(PATIENCE)
                .unwrap_or_else(|| panic!("{name}: no event reported {what}"));
            if wanted(&seen) {
                return seen;
            }
        }
    }

    /// Checks that the next event reports readable bytes.
    #[track_caller]
    fn readable(&mut self, pair: &Pair) {
        self.wait(pair.name, "readable", |seen| seen.readable);
    }

    #[track_caller]
    fn silent(&mut self, pair: &Pair) {
        let seen = self.look(Duration::ZERO);
        assert_eq!(seen, None, "{}: nothing has happened since", pair.name);
    }
}

/// Reads once, with more room than there are bytes.
fn read(pair: &mut Pair) -> io::Result<usize> {
    pair.ours.read(&mut [0; 4096])
}

fn would_block(result: io::Result<usize>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Writes until a write is short or would block. Returns the number of bytes that were taken.
fn write_until_short(pair: &mut Pair) -> u64 {
    let offered = [b'x'; 64 << 10];
    let mut taken = 0;
    loop {
        match pair.ours.write(&offered) {
            Ok(n) => {
                taken += n as u64;
                if n < offered.len() {
                    return taken;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{}: {error}", pair.name),
        }
    }
}

/// Reads this number of bytes at the peer.
fn drain(pair: &mut Pair, bytes: u64) {
    let read = io::copy(&mut (&mut pair.peer).take(bytes), &mut io::sink()).expect("bytes");
    assert_eq!(read, bytes);
}

#[test]
fn a_short_read_has_drained_the_socket_until_the_next_edge() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        for _ in 0..100 {
            // Two writes are two pieces in the kernel's queue; one read takes both.
            pair.peer.write_all(b"first").expect("taken");
            watch.readable(&pair);
            pair.peer.write_all(b"second").expect("taken");
            let mut got = 0;
            while got < b"firstsecond".len() {
                got += read(&mut pair).unwrap_or_else(|error| {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    // The second piece arrives later, and brings its own edge.
                    watch.readable(&pair);
                    0
                });
            }
            assert!(
                would_block(read(&mut pair)),
                "{}: a short read leaves nothing",
                pair.name
            );
            // The edge may have come before the bytes were read.
            watch.look(Duration::ZERO);
            watch.silent(&pair);
        }
    }
}

#[test]
fn unread_bytes_do_not_suppress_the_next_edge() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        for _ in 0..10 {
            pair.peer.write_all(b"x").expect("taken");
            watch.readable(&pair);
            watch.silent(&pair);
        }
        assert_eq!(read(&mut pair).expect("bytes"), 10);
    }
}

#[test]
fn the_end_is_reported_with_the_last_bytes_and_only_once() {
    for mut pair in pairs() {
        // The first poll must come after all bytes have arrived.
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.peer.write_all(b"last").expect("taken");
        pair.peer.end();
        watch.wait(pair.name, "read_closed", |seen| seen.read_closed);
        watch
            .poll
            .registry()
            .deregister(&mut pair.ours)
            .expect("deregistered");

        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        let seen = watch.look(PATIENCE).expect("an event");
        assert!(
            seen.readable && seen.read_closed,
            "{}: {seen:?} in one event",
            pair.name
        );
        assert_eq!(read(&mut pair).expect("bytes"), 4);
        // No further event comes: code that stopped at this short read would miss the end.
        watch.silent(&pair);
        assert_eq!(read(&mut pair).expect("an end"), 0);
    }
}

#[test]
fn an_end_behind_bytes_that_were_read_has_an_edge_of_its_own() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.peer.write_all(b"last").expect("taken");
        watch.readable(&pair);
        assert_eq!(read(&mut pair).expect("bytes"), 4);
        pair.peer.end();
        let seen = watch.wait(pair.name, "read_closed", |seen| seen.read_closed);
        assert!(seen.readable, "{}: the end is there to be read", pair.name);
        assert_eq!(read(&mut pair).expect("an end"), 0);
    }
}

#[test]
fn registering_again_reports_the_present_readiness() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.peer.write_all(b"x").expect("taken");
        watch.readable(&pair);
        watch.silent(&pair);
        let interest = Interest::READABLE | Interest::WRITABLE;
        watch
            .poll
            .registry()
            .reregister(&mut pair.ours, Token(0), interest)
            .expect("registered again");
        let seen = watch.look(PATIENCE).expect("an event");
        assert!(seen.readable && seen.writable, "{}: {seen:?}", pair.name);
    }
}

#[test]
fn a_short_write_is_followed_by_an_edge_once_there_is_room() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE | Interest::WRITABLE);
        watch.wait(pair.name, "writable", |seen| seen.writable);
        for _ in 0..10 {
            let taken = write_until_short(&mut pair);
            drain(&mut pair, taken);
            watch.wait(pair.name, "writable", |seen| seen.writable);
        }
    }
}

/// As for a client's connection: it is registered for reading only until a write is short. The free
/// space may come before the registration for writing.
#[test]
fn free_space_before_the_registration_is_reported() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        let taken = write_until_short(&mut pair);
        drain(&mut pair, taken);
        watch.silent(&pair);
        let interest = Interest::READABLE | Interest::WRITABLE;
        watch
            .poll
            .registry()
            .reregister(&mut pair.ours, Token(0), interest)
            .expect("registered again");
        watch.wait(pair.name, "writable", |seen| seen.writable);
    }
}

/// A connection that is not read still reports a reset, even with unread bytes in the socket. The
/// first call that fails takes the error: a read after a failed write looks like an end.
#[test]
fn a_reset_is_reported_without_a_read() {
    for (mut pair, first) in pairs()
        .into_iter()
        .zip(["reads", "reads"])
        .chain(pairs().into_iter().zip(["writes", "writes"]))
    {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.ours.write_all(b"never read").expect("taken");
        pair.peer.write_all(b"before").expect("taken");
        watch.readable(&pair);
        let name = pair.name;
        std::mem::replace(
            &mut pair.peer,
            Box::new(UnixStream::pair().expect("a pair").0),
        )
        .reset();
        let seen = watch.wait(name, "error", |seen| seen.error);
        assert!(seen.readable && seen.read_closed, "{name}: {seen:?}");
        if first == "writes" {
            let error = pair.ours.write(b"x").expect_err("the peer is gone");
            // A unix socket keeps the error for a read.
            let is_reset = error.kind() == io::ErrorKind::ConnectionReset;
            assert_eq!(is_reset, name == "TCP", "{name}: {error}");
        }
        assert_eq!(read(&mut pair).expect("what came before"), 6, "{name}");
        match read(&mut pair) {
            Ok(n) => assert!(
                n == 0 && (name, first) == ("TCP", "writes"),
                "{name}: an end where there is none"
            ),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{name}"),
        }
    }
}

/// Bytes in front of a FIN can be read even after a reset. An end without them would make an
/// incomplete body look complete.
#[test]
fn a_reset_behind_an_end_loses_no_bytes() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.ours.write_all(b"never read").expect("taken");
        pair.peer.write_all(b"before").expect("taken");
        pair.peer.end();
        let name = pair.name;
        watch.wait(name, "read_closed", |seen| seen.read_closed);
        std::mem::replace(
            &mut pair.peer,
            Box::new(UnixStream::pair().expect("a pair").0),
        )
        .reset();
        // The kernel has handled the reset once it reports an error.
        watch.wait(name, "error", |seen| seen.error);
        assert_eq!(read(&mut pair).expect("what came before"), 6, "{name}");
        match read(&mut pair) {
            Ok(n) => assert_eq!(n, 0, "{name}"),
            // A unix socket reports the reset in place of the end.
            Err(error) => assert_eq!(
                (name, error.kind()),
                ("unix", io::ErrorKind::ConnectionReset)
            ),
        }
    }
}

/// Both directions may have ended in order, which is no error.
#[test]
fn an_orderly_end_reports_no_error() {
    for mut pair in pairs() {
        let mut watch = Watch::new(&mut pair, Interest::READABLE);
        pair.peer.write_all(b"last").expect("taken");
        pair.peer.end();
        let seen = watch.wait(pair.name, "read_closed", |seen| seen.read_closed);
        assert!(!seen.error, "{}: {seen:?}", pair.name);
        assert_eq!(read(&mut pair).expect("bytes"), 4);
        let name = pair.name;
        drop(std::mem::replace(
            &mut pair.peer,
            Box::new(UnixStream::pair().expect("a pair").0),
        ));
        assert!(
            !watch
                .look(Duration::from_millis(20))
                .is_some_and(|seen| seen.error),
            "{name}"
        );
    }
}
