//! The engine with the sockets that its commands act upon.
//!
//! Run the commands after every `handle_*` call, before the socket that it was about is used again.
//! Out of scope: moving bytes (`io/pump.rs`), and the order of an iteration (`event_loop.rs`).

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use log::{debug, warn};
use mio::{Interest, Poll, Waker};

use super::acceptor::{Acceptor, Arrival};
use super::certificates::orders::{self, Orders};
use super::certificates::store::Store;
use super::io::connection::Connection;
use super::io::dial::{dial, dial_socket, passed, refusal};
use super::io::socket::Socket;
use super::io::sockets::Sockets;
use super::listener::Accepted;
use super::messages::Messages;
use super::token::token_of;
use super::workers::dns::Resolver;
use super::workers::recorder::RecordWriter;
use super::workers::verifier::Verifier;
use crate::acme::Row;
use crate::config::Acme;
use crate::proxy::Proxy;
use crate::proxy::announcements;
use crate::proxy::command::{Command, Fault, Side, TargetId, UpstreamId};
use crate::proxy::errands;
use crate::proxy::inputs;
use crate::proxy::inspect::socket_of;
use crate::proxy::overview::refused;
use crate::proxy::settings::{SUPERVISOR, TargetHost};
use crate::time::{Instant, UnixTime};
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;
use crate::upstream::addresses::is_socket;

/// The engine, and everything that its commands act upon.
pub(super) struct Executor {
    pub(super) poll: Poll,
    pub(super) proxy: Proxy,
    pub(super) sockets: Sockets<Socket>,
    pub(super) acceptor: Acceptor,
    pub(super) messages: Messages,
    pub(super) resolver: Resolver,
    pub(super) verifier: Verifier,
    pub(super) records: RecordWriter,
    /// TLS settings of the targets, by their slots in the engine.
    pub(super) tls: Vec<Option<ClientTls>>,
    /// Orders of certificates; `None`: the configuration asks for none.
    pub(super) orders: Option<Box<Orders>>,
    /// TLS settings of handshakes that prove names to an authority; `None`: none is asked for.
    pub(super) challenge: Option<ServerTls>,
    /// Connection on which the supervisor of a worker counts; `None`: it is used, or this is no worker.
    pub(super) counts: Option<UnixStream>,
}

impl Executor {
    /// Runs the commands of the engine. Sides that it marked ready are served later, by the run
    /// queue.
    #[inline]
    pub(super) fn run_commands(&mut self, now: Instant) {
        while let Some(command) = self.proxy.poll_command() {
            self.run_command(command, now);
        }
    }

    #[inline(never)]
    fn run_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Dial {
                upstream,
                target,
                address,
            } => self.dial(upstream, target, address, now),
            Command::Resolve { target, name } => {
                if let TargetHost::Name(host) = &name.host {
                    self.resolver.request(target, host.clone(), name.port);
                }
                self.messages.lookup_started(target, name);
            }
            Command::Shut(side) => {
                if let Some(connection) = self.sockets.get(side) {
                    connection.shut();
                }
            }
            Command::Close { side, abort } => {
                if self.sockets.close(side, abort) {
                    self.acceptor.resume();
                }
            }
            Command::Verify { verification, work } => self.verifier.request(verification, work),
            Command::Report(report) => self.messages.report(report),
            Command::Errand => self.take_errand(now),
            Command::Record => {
                if let Some(recording) = inputs::take(&mut self.proxy) {
                    self.records.write(recording);
                }
            }
        }
    }

    #[inline(never)]
    fn dial(&mut self, upstream: UpstreamId, target: TargetId, address: SocketAddr, now: Instant) {
        let side = Side::Upstream(upstream);
        let tls = self
            .tls
            .get(target.index() as usize)
            .and_then(Option::as_ref);
        let socket = if is_socket(address) {
            match socket_of(&self.proxy, target).unwrap_or_default() {
                SUPERVISOR => passed(self.counts.take()),
                path => dial_socket(path),
            }
        } else {
            dial(address)
        };
        let connected = socket.and_then(|socket| {
            let mut connection = Connection::upstream(socket, upstream.generation(), tls)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(connection.socket(), token_of(side), interest)?;
            connection.watch_for_writing();
            Ok(connection)
        });
        match connected {
            Ok(connection) => self.sockets.insert(side, connection),
            Err(error) => {
                debug!("connecting to {address}: {error}");
                let (fault, reason) = refusal(&error, address);
                self.proxy.handle_fault(side, fault, Some(reason), now);
            }
        }
    }

    /// Registers an accepted client with the engine and the poll.
    pub(super) fn register_client(
        &mut self,
        accepted: Accepted,
        arrival: Arrival,
        tls: Option<&ServerTls>,
        now: Instant,
    ) {
        let before = refused(&self.proxy);
        let Arrival {
            kind,
            listener,
            is_proxied,
        } = arrival;
        let accepted_by_engine = if is_proxied {
            announcements::accepted(&mut self.proxy, accepted.peer, kind, now)
        } else {
            self.proxy.handle_accepted(accepted.peer, kind, now)
        };
        if let Some(counters) = self.acceptor.counters(listener) {
            counters.count_connection(before, refused(&self.proxy));
        }
        if let Some(id) = accepted_by_engine {
            let name = self.acceptor.name(listener);
            self.proxy.note_entrance(id, name, None);
            let side = Side::Client(id);
            match self.connect_client(accepted.socket, side, id.generation(), tls) {
                Ok(mut connection) => {
                    connection.listener = listener;
                    if is_proxied {
                        connection.await_header();
                    } else if tls.is_some() && self.challenge.is_some() {
                        connection.await_hello();
                    }
                    self.sockets.insert(side, connection);
                }
                Err(text) => {
                    warn!("{text}");
                    self.proxy.handle_fault(side, Fault::Exhausted, None, now);
                }
            }
        }
        self.run_commands(now);
    }

    fn connect_client(
        &self,
        socket: Socket,
        side: Side,
        generation: u32,
        tls: Option<&ServerTls>,
    ) -> Result<Connection<Socket>, String> {
        let connection = match tls {
            None => Ok(Connection::client(socket, generation)),
            Some(tls) => Connection::secure_client(socket, generation, tls),
        };
        let mut connection =
            connection.map_err(|error| format!("cannot start TLS with a client: {error}"))?;
        self.poll
            .registry()
            .register(connection.socket(), token_of(side), Interest::READABLE)
            .map_err(|error| format!("cannot watch a client connection: {error}"))?;
        Ok(connection)
    }

    /// Frees a descriptor, or stops accepting on a listener for a while.
    #[cold]
    pub(super) fn pause_accepting(&mut self, index: usize, error: &io::Error, now: Instant) {
        if self.sockets.pipes.close_idle() || self.proxy.handle_exhausted() {
            self.run_commands(now);
        } else {
            self.acceptor.pause(index, error, now);
        }
    }

    /// Registers a socket for writable events; happens once in the life of a client connection.
    pub(super) fn watch_writable(&mut self, side: Side) {
        let Some(connection) = self.sockets.get(side) else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll
                .registry()
                .reregister(connection.socket(), token_of(side), interest)
        {
            warn!("cannot watch a connection: {error}");
        }
    }

    /// Takes the answer to an errand.
    #[cold]
    fn take_errand(&mut self, now: Instant) {
        let answer = errands::take(&mut self.proxy);
        if let (Some(orders), Some(answer)) = (&mut self.orders, answer) {
            orders.answered(answer, now);
        }
    }

    /// Returns the time of the next work on orders.
    pub(super) fn orders_due(&self) -> Option<Instant> {
        self.orders.as_ref().and_then(|orders| orders.due())
    }

    /// Returns the state of each certificate that is ordered.
    pub(super) fn order_rows(&self, wall: UnixTime) -> Vec<Row> {
        let rows = self.orders.as_ref().map(|orders| orders.rows(wall));
        rows.unwrap_or_default()
    }

    /// Goes on with the orders.
    #[cold]
    pub(super) fn step_orders(&mut self, now: Instant, wall: UnixTime) {
        if let Some(orders) = &mut self.orders {
            let engine = (&mut self.proxy, &mut self.challenge);
            orders.step(engine, &self.acceptor, (now, wall));
        }
        self.run_commands(now);
    }

    /// Serves the ordered certificates on listeners whose TLS settings are new.
    #[cold]
    pub(super) fn install_certificates(&self) {
        if let Some(orders) = &self.orders {
            orders.install(&self.acceptor);
        }
    }

    /// Begins to order certificates. A failure is told: everything else runs.
    #[cold]
    pub(super) fn start_orders(
        &mut self,
        (acme, shares): (&Acme, bool),
        store: Store,
        waker: &Arc<Waker>,
        times: (Instant, UnixTime),
    ) {
        let before = self.orders.as_deref();
        match Orders::start((acme, shares), (store, before), waker, times) {
            Ok(mut orders) => {
                orders.answer_shared((&mut self.proxy, &mut self.challenge));
                self.orders = Some(Box::new(orders));
            }
            Err(reason) => warn!("no certificate is ordered: {reason}"),
        }
    }

    /// Ends the orders, and gives their folder back.
    #[cold]
    pub(super) fn end_orders(&mut self) {
        if self.orders.take().is_some() {
            orders::end(&mut self.proxy, &mut self.challenge);
        }
    }

    /// Takes the answers of the helper threads.
    #[cold]
    pub(super) fn take_worker_results(&mut self, now: Instant) {
        while let Some((target, answer)) = self.resolver.poll() {
            let (addresses, reason) = match answer {
                Ok(addresses) => (addresses, None),
                Err(reason) => (Vec::new(), Some(reason)),
            };
            self.messages.log_resolution(target, reason);
            self.proxy.handle_resolved(target, &addresses, now);
            self.run_commands(now);
        }
        if let Some(orders) = &mut self.orders {
            orders.take_results(now);
        }
        while let Some((verification, good)) = self.verifier.poll() {
            self.proxy.handle_verified(verification, good, now);
            self.run_commands(now);
        }
    }
}
