//! Event loop of `net/event_loop/` without a kernel: it moves the bytes of the same connections in
//! the same order.

use std::collections::HashMap;
use std::net::SocketAddr;

use tollgate::limits::SCRATCH_BYTES;
use tollgate::net::io::connection::Connection;
use tollgate::net::io::dial::refusal;
use tollgate::net::io::pump::{self, PumpResult};
use tollgate::net::io::raw_stream::Readiness;
use tollgate::net::io::run_queue::RunQueue;
use tollgate::net::io::sockets::Sockets;
use tollgate::net::io::splice_pipes::Pipes;
use tollgate::policy::forward::Peer;
use tollgate::proxy::Proxy;
use tollgate::proxy::announcements;
use tollgate::proxy::command::TargetId;
use tollgate::proxy::command::{
    Command, Fault, ListenerKind, LookupId, Report, Side, UpstreamId, Work,
};
use tollgate::time::{Instant, UnixTime};
use tollgate::transport::client::ClientTls;
use tollgate::transport::server::ServerTls;

use super::link::{self, End, Socket};
use super::rng::Rng;
use super::sockets::UnixSockets;
use super::trace::Trace;

/// 2026-11-24T12:00:00Z
const WALL: u64 = 1_795_521_600_000;

/// Connection that the gateway has started.
pub struct Dialed {
    pub target: TargetId,
    pub address: SocketAddr,
    pub end: End,
}

/// Gateway with its sockets.
pub struct Gateway {
    pub proxy: Proxy,
    pub now: Instant,
    sockets: Sockets<Socket>,
    ends: Vec<(Side, End)>,
    run_queue: RunQueue,
    scratch: Vec<u8>,
    /// TLS settings by the numbers of the targets' keys.
    pub tls: HashMap<u64, Option<ClientTls>>,
    /// TLS settings of the listener, if clients use TLS.
    pub listener: Option<ServerTls>,
    /// Connections that the engine has started and the world has not collected yet.
    pub dialed: Vec<Dialed>,
    pub lookups: Vec<TargetId>,
    pub reports: Vec<Report>,
    /// Verifications for the helper threads.
    verifications: Vec<(LookupId, Work)>,
    /// Rate of missing descriptors for upstream sockets, in a thousand.
    pub exhausted: u32,
    /// Unix sockets of targets.
    pub unix_sockets: UnixSockets,
    /// Size of each new send buffer.
    pub window: usize,
    rng: Rng,
    pub trace: Trace,
    /// Number of passes since bytes last moved or an event came (I7).
    idle_passes: u64,
}

/// Number of pipes. A third body at the same time is copied instead of spliced.
const PIPES: usize = 2;

/// Passes without progress that do not count as a spin: a few for each connection that had an
/// event.
const IDLE_PASSES_MAX: u64 = 10_000;

impl Gateway {
    pub fn new(proxy: Proxy, tls: Vec<Option<ClientTls>>, rng: Rng) -> Gateway {
        let targets = proxy.targets().iter().map(|id| u64::from(*id));
        let tls = targets.zip(tls).collect();
        let mut gateway = Gateway {
            proxy,
            now: Instant::from_millis(1000),
            sockets: Sockets::new(Pipes::new(PIPES, 1)),
            ends: Vec::new(),
            run_queue: RunQueue::default(),
            scratch: vec![0; SCRATCH_BYTES],
            tls,
            listener: None,
            dialed: Vec::new(),
            lookups: Vec::new(),
            reports: Vec::new(),
            verifications: Vec::new(),
            exhausted: 0,
            unix_sockets: UnixSockets::default(),
            window: 256 << 10,
            rng,
            trace: Trace::default(),
            idle_passes: 0,
        };
        gateway
            .proxy
            .handle_clock(gateway.now, UnixTime::from_millis(WALL));
        gateway.run_commands();
        gateway
    }

    /// Accepts a client. Returns `None` if the gateway closes the connection at once. `is_proxied`:
    /// the connection begins with a header of the PROXY protocol.
    pub fn accept(&mut self, peer: Peer, is_proxied: bool) -> Option<End> {
        let entrance = if self.listener.is_some() {
            ListenerKind::Secure
        } else {
            ListenerKind::Plain
        };
        let id = match is_proxied {
            true => announcements::accepted(&mut self.proxy, peer, entrance, self.now)?,
            false => self.proxy.handle_accepted(peer, entrance, self.now)?,
        };
        let (end, socket) = link::connection(self.window);
        let mut connection = match &self.listener {
            None => Connection::client(socket, id.generation()),
            Some(tls) => Connection::secure_client(socket, id.generation(), tls)
                .expect("rustls takes the settings"),
        };
        if is_proxied {
            connection.await_header();
        }
        self.sockets.insert(Side::Client(id), connection);
        self.ends.push((Side::Client(id), end.clone()));
        self.run_commands();
        Some(end)
    }

    /// Runs one iteration of the loop: kernel events, due timers, bytes to move.
    pub fn turn(&mut self) {
        self.run_queue.begin();
        // The poll reports events in any order (F6). The batch may contain a socket that was closed
        // meanwhile.
        let mut events: Vec<(Side, Readiness)> = Vec::new();
        self.ends.retain(|(_, end)| end.left().is_none());
        for (side, end) in &self.ends {
            events.extend(end.take_edges().map(|edges| (*side, edges)));
        }
        self.rng.shuffle(&mut events);
        for (side, edges) in events {
            self.note(side, edges);
        }
        if self.proxy.poll_timeout().is_some_and(|due| due <= self.now) {
            self.proxy.handle_timeout(self.now);
            self.run_commands();
        }
        while let Some(side) = self.run_queue.next(&mut self.proxy, &mut self.sockets) {
            self.serve(side);
        }
    }

    /// Lets helper threads answer, in any order and with delays. The client may have left.
    pub fn verify(&mut self) {
        if self.verifications.is_empty() || !self.rng.hits(500) {
            return;
        }
        let index = self.rng.below(self.verifications.len());
        let (verification, work) = self.verifications.swap_remove(index);
        let good = match work {
            Work::Password(work) => work.run(),
            Work::Signature(work) => work.verify(),
        };
        self.trace.note(&[0x800, u64::from(good)]);
        self.proxy.handle_verified(verification, good, self.now);
        self.run_commands();
    }

    /// Returns true if a turn would do something without a new event.
    pub fn is_busy(&self) -> bool {
        self.run_queue.is_busy() || self.proxy.has_ready()
    }

    /// Number of pipes that hold bytes.
    pub fn pipes_lent(&self) -> usize {
        self.sockets.pipes.filled_count()
    }

    /// Number of open sockets.
    pub fn sockets(&self) -> usize {
        self.ends
            .iter()
            .filter(|(_, end)| end.left().is_none())
            .count()
    }

    fn note(&mut self, side: Side, mut edges: Readiness) {
        self.idle_passes = 0;
        let Some(connection) = self.sockets.get(side) else {
            return;
        };
        if !connection.is_watched_for_writing() && matches!(side, Side::Client(_)) {
            edges.writable = false;
        }
        connection.record_readiness(edges);
        self.run_queue.enqueue(side, connection);
    }

    fn serve(&mut self, side: Side) {
        let hung_up = loop {
            let place = (side, self.run_queue.current());
            let moved = match pump::pump_once(
                &mut self.proxy,
                &mut self.sockets,
                place,
                &mut self.scratch,
                self.now,
            ) {
                PumpResult::Pumped(moved) => moved,
                PumpResult::NotOpen if self.establish(side) => continue,
                PumpResult::NotOpen | PumpResult::Gone => return,
                PumpResult::OutOfBudget => return self.run_queue.defer(side, &mut self.sockets),
            };
            self.watch(side, moved.watch);
            self.trace.note(&[number(side), moved.bytes as u64]);
            self.count(moved.bytes);
            self.run_commands();
            if !moved.again {
                break moved.hung_up;
            }
        };
        if hung_up
            && let Some(connection) = self.sockets.get(side)
            && pump::report_hangup(&mut self.proxy, connection, side, self.now)
        {
            self.run_commands();
        }
    }

    fn establish(&mut self, side: Side) -> bool {
        let Some(connection) = self.sockets.get(side) else {
            return false;
        };
        let established = pump::establish(
            &mut self.proxy,
            connection,
            side,
            &mut self.scratch,
            self.now,
        );
        self.watch(side, established.watch);
        self.run_commands();
        established.open
    }

    /// Reports a readiness that exists already when a socket is registered: epoll does the same.
    fn watch(&mut self, side: Side, newly_registered: bool) {
        if newly_registered
            && let Some((_, end)) = self.ends.iter().find(|(other, _)| *other == side)
        {
            end.report(Readiness {
                writable: true,
                ..Readiness::default()
            });
        }
    }

    /// Fails if the loop runs without progress (I7).
    fn count(&mut self, moved: usize) {
        self.idle_passes = if moved == 0 { self.idle_passes + 1 } else { 0 };
        assert!(self.idle_passes < IDLE_PASSES_MAX, "I7: the loop spins");
    }

    pub fn run_commands(&mut self) {
        for commands in 0_u64.. {
            assert!(commands < 1_000_000, "I7: the engine spins");
            let Some(command) = self.proxy.poll_command() else {
                break;
            };
            self.trace.note(&[kind(&command)]);
            match command {
                Command::Dial {
                    upstream,
                    target,
                    address,
                } => self.dial(upstream, target, address),
                Command::Resolve { target, .. } => self.lookups.push(target),
                Command::Shut(side) => {
                    if let Some(connection) = self.sockets.get(side) {
                        connection.shut();
                    }
                }
                Command::Close { side, abort } => {
                    self.sockets.close(side, abort);
                }
                Command::Verify { verification, work } => {
                    self.verifications.push((verification, work));
                }
                Command::Report(report) => self.reports.push(report),
                Command::Record | Command::Errand => {}
            }
        }
    }

    fn dial(&mut self, upstream: UpstreamId, target: TargetId, address: SocketAddr) {
        if self.rng.hits(self.exhausted) {
            self.proxy
                .handle_fault(Side::Upstream(upstream), Fault::Exhausted, None, self.now);
            return;
        }
        let is_unix = self.unix_sockets.has(address);
        if is_unix && let Err(error) = self.unix_sockets.connect(address) {
            let (fault, reason) = refusal(&error, address);
            let side = Side::Upstream(upstream);
            return self.proxy.handle_fault(side, fault, Some(reason), self.now);
        }
        let tls = self.tls.get(&u64::from(target)).and_then(Option::as_ref);
        let (end, socket) = link::connection(self.window);
        let connection = Connection::upstream(socket, upstream.generation(), tls)
            .expect("rustls takes the settings");
        self.sockets.insert(Side::Upstream(upstream), connection);
        self.ends.push((Side::Upstream(upstream), end.clone()));
        if is_unix {
            end.finish_connecting(true);
        }
        self.dialed.push(Dialed {
            target,
            address,
            end,
        });
    }
}

fn number(side: Side) -> u64 {
    match side {
        Side::Client(id) => u64::from(id.index()) << 1,
        Side::Upstream(id) => u64::from(id.index()) << 1 | 1,
    }
}

fn kind(command: &Command) -> u64 {
    match command {
        Command::Dial { target, .. } => 0x200 + u64::from(*target),
        Command::Resolve { target, .. } => 0x300 + u64::from(*target),
        Command::Shut(side) => 0x400 + number(*side),
        Command::Close { side, abort } => 0x500 + (number(*side) << 1 | u64::from(*abort)),
        Command::Report(_) => 0x600,
        Command::Record => 0x601,
        Command::Errand => 0x701,
        Command::Verify { .. } => 0x700,
    }
}
