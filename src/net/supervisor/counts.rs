//! Counts of rate limits that the workers share: the supervisor is their store.
//!
//! A worker has one connection for them. When it ends, by a mistake in what the worker sends for
//! example, the worker gets another one. The counts are the supervisor's, so that they outlive workers.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as Socket;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use crate::limits::{CARRIED_PIECE_BYTES, CARRIED_WINDOW_BYTES};
use crate::net::upgrade::handover::Offer;
use crate::net::upgrade::state::Piece;
use crate::policy::store::counts::{Counts, Walk};
use crate::policy::store::server::Server;
use crate::proxy::carried::{CarriedState, CarriedTable, OF_WORKERS};
use crate::proxy::settings::SUPERVISOR;
use crate::time::{Duration, Instant};

/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// Reads for one worker before others have their turn.
const READS: usize = 4;

/// Counts of all workers.
pub(super) struct SharedCounts {
    counts: Counts,
    lines: Vec<Option<Line>>,
    /// First token of the connections.
    first: usize,
    room: Vec<u8>,
    /// Walk of the upgrade that is under way, and its begin.
    walk: Option<(Walk, Instant)>,
    seed: u64,
}

/// Connection of a worker.
struct Line {
    stream: UnixStream,
    server: Server,
    /// Start of a command.
    inbox: Vec<u8>,
    /// Replies that wait for the socket. No command is read meanwhile.
    outbox: Vec<u8>,
}

impl SharedCounts {
    /// Creates an empty table. `clients`: bound of the counts.
    pub(super) fn new(clients: usize, seed: u64, first: usize) -> SharedCounts {
        SharedCounts {
            counts: Counts::new(clients, seed),
            lines: Vec::new(),
            first,
            room: vec![0; READ_BYTES],
            walk: None,
            seed,
        }
    }

    /// Returns the next counts for the new process of an upgrade, at least one piece; `None`: there are
    /// no more.
    pub(super) fn carried(&mut self, now: Instant) -> Option<Piece> {
        let counts = &self.counts;
        let is_over = |(walk, _): &(Walk, Instant)| walk.is_over();
        if self.walk.as_ref().is_some_and(is_over) {
            return None;
        }
        let (walk, begun) = self.walk.get_or_insert_with(|| (counts.walk(), now));
        let windows = counts.records(walk, CARRIED_PIECE_BYTES / CARRIED_WINDOW_BYTES, *begun);
        let longest = windows.last().map(|last| last.left);
        let table = longest.map(|longest| CarriedTable {
            owner: OF_WORKERS.to_vec(),
            window: Duration::from_millis(1),
            ipv6_prefix: 128,
            longest,
            windows,
        });
        Some(Piece {
            engine: CarriedState {
                // A process without workers would take it over.
                client_seed: self.seed,
                tables: table.into_iter().collect(),
                ..CarriedState::default()
            },
            ..Piece::default()
        })
    }

    /// Ends the walk of an upgrade.
    pub(super) fn keep(&mut self) {
        self.walk = None;
    }

    /// Takes counts of the old process of an upgrade over. Returns their number.
    pub(super) fn take_over(&mut self, tables: Vec<CarriedTable>, now: Instant) -> usize {
        let tables = tables.into_iter();
        let own = tables.filter(|table| table.owner == OF_WORKERS);
        let windows = own.flat_map(|table| table.windows);
        windows
            .map(|window| self.counts.restore(window, now))
            .count()
    }

    /// Notes that all counts of the old process are taken over.
    pub(super) fn taken_over(&mut self) {
        self.counts.restored();
    }

    /// Changes the bound of the counts.
    pub(super) fn set_clients(&mut self, clients: usize) {
        self.counts.set_most(clients);
    }

    /// Opens a connection for a worker, in place of the one before. Returns the worker's end.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn open(&mut self, worker: usize, registry: &Registry) -> io::Result<Offer> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let mut line = Line {
            stream: UnixStream::from_std(ours),
            server: Server::default(),
            inbox: Vec::new(),
            outbox: Vec::new(),
        };
        let token = Token(self.first.saturating_add(worker));
        registry.register(&mut line.stream, token, INTEREST)?;
        if self.lines.len() <= worker {
            self.lines.resize_with(worker.saturating_add(1), || None);
        }
        if let Some(slot) = self.lines.get_mut(worker) {
            *slot = Some(line);
        }
        Ok(Offer {
            name: SUPERVISOR.to_owned(),
            is_admin: false,
            owns_file: false,
            socket: theirs.into(),
        })
    }

    /// Closes the connection of a worker.
    pub(super) fn close(&mut self, worker: usize) {
        if let Some(slot) = self.lines.get_mut(worker) {
            *slot = None;
        }
    }

    /// Executes what a worker sent. Returns true if its connection has ended.
    pub(super) fn handle(&mut self, worker: usize, registry: &Registry, now: Instant) -> bool {
        let Some(slot) = self.lines.get_mut(worker) else {
            return false;
        };
        let Some(line) = slot else { return false };
        let served = line.serve(&mut self.counts, &mut self.room, now);
        let goes_on = served.and_then(|is_done| {
            if is_done {
                return Ok(());
            }
            // The poll tells of the rest once more.
            let token = Token(self.first.saturating_add(worker));
            registry.reregister(&mut line.stream, token, INTEREST)
        });
        if goes_on.is_err() {
            self.close(worker);
        }
        goes_on.is_err()
    }
}

const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl Line {
    /// Reads and answers commands for a while. Returns true if there is nothing to do until an event.
    ///
    /// # Errors
    /// The connection has ended, or what comes cannot be understood.
    fn serve(&mut self, counts: &mut Counts, room: &mut [u8], now: Instant) -> io::Result<bool> {
        for _ in 0..READS {
            if self.write()? {
                return Ok(true);
            }
            let count = match self.stream.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.inbox
                .extend_from_slice(room.get(..count).unwrap_or_default());
            let read = self
                .server
                .receive(&self.inbox, counts, now, &mut self.outbox);
            let read = read.map_err(|_| ErrorKind::InvalidData)?;
            self.inbox.drain(..read);
        }
        self.write()
    }

    /// Writes replies. Returns true if some wait for the socket.
    fn write(&mut self) -> io::Result<bool> {
        let mut written = 0_usize;
        while let Some(rest) = self.outbox.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => written = written.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.outbox.drain(..written);
        Ok(!self.outbox.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WORKERS_MAX;
    use crate::net::upgrade::state;
    use crate::policy::rate::WindowRecord;
    use mio::{Events, Poll};

    const COUNT: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*6\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n0\r\n$2\r\nPX\r\n$4\r\n5000\r\n$2\r\nNX\r\n\
        *3\r\n$6\r\nINCRBY\r\n$1\r\nk\r\n$1\r\n1\r\n*2\r\n$4\r\nPTTL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n";

    struct World {
        poll: Poll,
        counts: SharedCounts,
    }

    impl World {
        fn new() -> World {
            World {
                poll: Poll::new().expect("epoll"),
                counts: SharedCounts::new(10, 1, 7),
            }
        }

        fn open(&mut self, worker: usize) -> Socket {
            let offer = self.counts.open(worker, self.poll.registry());
            Socket::from(offer.expect("a pair").socket)
        }

        /// Serves what the poll reports, until it is silent. Returns the workers whose connection ended.
        fn serve(&mut self) -> Vec<usize> {
            let (mut events, mut ended) = (Events::with_capacity(8), Vec::new());
            loop {
                let time = core::time::Duration::from_millis(20);
                self.poll.poll(&mut events, Some(time)).expect("epoll");
                if events.is_empty() {
                    return ended;
                }
                for event in &events {
                    let worker = event.token().0 - 7;
                    let registry = self.poll.registry();
                    if self.counts.handle(worker, registry, Instant::ZERO) {
                        ended.push(worker);
                    }
                }
            }
        }
    }

    fn heard(stream: &Socket) -> String {
        stream.set_nonblocking(true).expect("a socket");
        let mut bytes = Vec::new();
        let end = (&mut &*stream).read_to_end(&mut bytes);
        assert!(end.is_err(), "the connection is open");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn counts_of_workers_are_added_and_outlive_them() {
        let mut world = World::new();
        let (mut one, mut two) = (world.open(0), world.open(WORKERS_MAX - 1));
        one.write_all(COUNT).expect("open");
        assert_eq!(world.serve(), [0; 0]);
        two.write_all(&COUNT.repeat(2)).expect("open");
        assert_eq!(world.serve(), [0; 0]);
        assert!(heard(&one).ends_with("*3\r\n+OK\r\n:1\r\n:5000\r\n"));
        assert!(heard(&two).ends_with("*3\r\n$-1\r\n:3\r\n:5000\r\n"));
        drop(one);
        assert_eq!(world.serve(), [0]);
        let mut again = world.open(0);
        again.write_all(COUNT).expect("open");
        assert_eq!(world.serve(), [0; 0]);
        assert!(heard(&again).ends_with(":4\r\n:5000\r\n"));
    }

    #[test]
    fn a_worker_that_sends_garbage_loses_its_connection_and_no_other_does() {
        for garbage in [
            &b"\r\n"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            &[0; 100_000],
            &[b'*'; 700],
        ] {
            let mut world = World::new();
            let (mut one, mut two) = (world.open(0), world.open(1));
            two.write_all(COUNT).expect("open");
            // The rest of a long one has no reader.
            let _ = one
                .set_nonblocking(true)
                .and_then(|()| one.write_all(garbage));
            assert_eq!(world.serve(), [0], "{}", garbage.len());
            assert!(heard(&two).ends_with(":1\r\n:5000\r\n"));
            assert!(!world.counts.handle(0, world.poll.registry(), Instant::ZERO));
        }
    }

    #[test]
    fn a_worker_that_reads_nothing_is_not_heard_after_a_while() {
        let mut world = World::new();
        let (one, mut two) = (world.open(0), world.open(1));
        one.set_nonblocking(true).expect("a socket");
        let (mut sent, mut is_heard) = (0_usize, true);
        while is_heard {
            let before = sent;
            while (&one).write_all(COUNT).is_ok() {
                sent += 1;
            }
            assert_eq!(world.serve(), [0; 0]);
            is_heard = sent > before;
        }
        let outbox = world.counts.lines[0].as_ref().map(|line| line.outbox.len());
        assert!(
            outbox.is_some_and(|bytes| (1..4 * READ_BYTES).contains(&bytes)),
            "{outbox:?}"
        );
        two.write_all(COUNT).expect("open");
        assert_eq!(world.serve(), [0; 0]);
        assert!(heard(&two).ends_with(":5000\r\n"), "others have their turn");
        let mut bytes = 0;
        loop {
            let mut room = [0; 65536];
            match (&one).read(&mut room) {
                Ok(count) => bytes += count,
                Err(_)
                    if world.counts.lines[0]
                        .as_ref()
                        .is_some_and(|line| line.outbox.is_empty()) =>
                {
                    break;
                }
                Err(_) => assert_eq!(world.serve(), [0; 0]),
            }
        }
        assert!(
            bytes > 50 * sent,
            "{bytes} bytes of answers to {sent} counts"
        );
    }

    #[test]
    fn another_supervisor_takes_the_counts_over_in_pieces() {
        let mut old = SharedCounts::new(10_000, 1, 7);
        let mut new = SharedCounts::new(10_000, 2, 7);
        for client in 0..5000 {
            old.counts.restore(
                WindowRecord {
                    client,
                    passed: 3,
                    previous: 0,
                    left: Duration::from_secs(60),
                },
                Instant::ZERO,
            );
        }
        let (mut pieces, mut taken) = (0, 0);
        while let Some(piece) = old.carried(Instant::from_millis(5)) {
            let bytes = state::write(&piece);
            assert!(bytes.len() < CARRIED_PIECE_BYTES + 100, "{}", bytes.len());
            let piece = state::read(&bytes).expect("it is whole");
            taken += new.take_over(piece.engine.tables, Instant::from_millis(900));
            pieces += 1;
        }
        new.taken_over();
        assert_eq!((pieces, taken, new.counts.len()), (3, 5000, 5000));
        old.keep();
        assert!(
            old.carried(Instant::ZERO).is_some(),
            "the next upgrade begins again"
        );
        // What belongs to others changes nothing.
        let mut piece = old.carried(Instant::ZERO).expect("a piece");
        piece.engine.tables[0].owner = b"/".to_vec();
        assert_eq!(new.take_over(piece.engine.tables, Instant::ZERO), 0);
        assert_eq!(new.counts.len(), 5000);
    }

    /// Windows that are over, and were not forgotten yet, come first in a walk.
    #[test]
    fn counts_go_along_behind_many_that_are_over() {
        let restore = |counts: &mut SharedCounts, client, left| {
            let record = WindowRecord {
                client,
                passed: 3,
                previous: 0,
                left: Duration::from_millis(left),
            };
            counts.counts.restore(record, Instant::ZERO);
        };
        let mut old = SharedCounts::new(10_000, 1, 7);
        (0..5000).for_each(|client| restore(&mut old, client, 10));
        restore(&mut old, 5000, 1000);
        let later = Instant::from_millis(500);
        let pieces = core::iter::from_fn(|| old.carried(later));
        let tables = pieces.flat_map(|piece| piece.engine.tables);
        let clients = tables.flat_map(|table| table.windows);
        let clients = clients.map(|window| (window.client, window.left.as_millis()));
        assert_eq!(clients.collect::<Vec<_>>(), [(5000, 500)]);
        let mut empty = SharedCounts::new(10, 1, 7);
        assert_eq!(
            empty.carried(later),
            Some(Piece {
                engine: CarriedState {
                    client_seed: 1,
                    ..CarriedState::default()
                },
                ..Piece::default()
            })
        );
        assert_eq!(empty.carried(later), None);
    }
}
