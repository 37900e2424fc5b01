//! The admin listener: state of the gateway and commands to it, over unix sockets and TCP.
//!
//! | file | duty |
//! |---|---|
//! | `listener` | sockets on which it accepts |
//! | `accept` | which client gets a connection |
//! | `connection` | a connection |
//! | `front`, `wish` | the admin listener of a supervisor, and what is asked there |
//! | `request` | what a head asks for, and who may ask |
//! | `paths` | the table of paths, and the answer of each |
//! | `query`, `json` | parameters of a request; JSON of an answer |
//! | `response` | responses, as values and as bytes |
//! | `log_level` | a log level for a while |
//! | `stream` | long answers, written piece by piece |
//! | `metrics`, `facts` | metrics of the process; what the event loop knows |
//! | `state`, `sections` | the state as JSON, and the status page |
//! | `wall` | the time of day |
//! | `client` | the client of the command line |
//! | `property` | what the fuzz target checks |
//!
//! Connections to it are few and bounded. They are not counted in `limits.connections`, not rate
//! limited, and not in the access log. Without listeners nothing of this runs. Out of scope: what a
//! command does, which the event loop knows.

mod accept;
pub mod client;
mod connection;
mod facts;
mod front;
mod json;
mod listener;
mod log_level;
pub mod metrics;
mod paths;
pub(crate) mod property;
mod query;
mod request;
mod response;
mod sections;
mod state;
mod stream;
mod supervised;
mod wall;
mod wish;

#[cfg(test)]
mod tests;

use std::io;

use log::info;
use mio::event::Event;
use mio::{Interest, Registry, Token};

use self::connection::{Connection, INBOX_BYTES, Shared, Turn};
pub use self::facts::{ConfigFacts, Facts, GatewayState, ListenerFacts, Progress};
pub(in crate::net) use self::front::{Front, answer};
pub use self::listener::AdminListener;
pub(in crate::net) use self::log_level::CurrentLogLevel;
pub use self::paths::AdminCommand;
use self::request::Access;
use self::wall::Wall;
pub(in crate::net) use self::wish::{Part, Wish};
pub(in crate::net) use self::{response::Response, state::POLICY};
use super::io::socket::readiness;
use super::listener::Listener;
use super::token::{ADMIN, admin_connection};
use crate::config::{AdminAccess, ListenAddress, LogLevel};
use crate::http::head::FieldTable;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_FIELDS, ADMIN_LISTENERS_MAX, ADMIN_PIECE_BYTES};
use crate::time::{Instant, UnixTime};

/// Bytes that the admin listener holds at most. The list of services of a scrape is counted with the
/// services.
pub(super) const BYTES: usize = ADMIN_CONNECTIONS
    * (2 * (INBOX_BYTES + ADMIN_PIECE_BYTES) + ADMIN_FIELDS * 64 + size_of::<Connection>());

/// The admin listener.
pub struct Admin {
    listeners: [Option<Entry>; ADMIN_LISTENERS_MAX],
    connections: [Option<Connection>; ADMIN_CONNECTIONS],
    hosts: Vec<String>,
    table: FieldTable,
    wall: Wall,
    log_level: CurrentLogLevel,
    /// Time of the next work; `None`: when an event comes.
    due: Option<Instant>,
    /// Another process may keep the sockets: meanwhile none is closed.
    offered: bool,
}

struct Entry {
    listener: AdminListener,
    state: Accepting,
    /// The configuration does not have the address any more: the listener closes once the clients
    /// that wait in the kernel's queue are accepted.
    retired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// No client waits.
    Idle,
    /// Clients may wait in the kernel's queue.
    Ready,
    /// Clients wait, and no descriptor is left before this time.
    Paused(Instant),
}

impl Admin {
    /// Registers the listeners. `log_level`: that of the configuration.
    ///
    /// # Errors
    /// The kernel has no memory left.
    pub fn register(
        listeners: Vec<AdminListener>,
        access: &AdminAccess,
        log_level: LogLevel,
        registry: &Registry,
    ) -> io::Result<Admin> {
        let mut admin = Admin {
            listeners: [const { None }; ADMIN_LISTENERS_MAX],
            connections: [const { None }; ADMIN_CONNECTIONS],
            hosts: Vec::new(),
            table: FieldTable::default(),
            wall: Wall::default(),
            log_level: CurrentLogLevel::new(log_level),
            due: None,
            offered: false,
        };
        admin.set(access, listeners, registry)?;
        Ok(admin)
    }

    /// Returns the addresses that are open: a reload binds those that are missing.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        let entries = self.listeners.iter().flatten();
        let kept = entries.filter(|entry| !entry.retired);
        kept.map(|entry| entry.listener.address())
    }

    /// Returns the sockets, those that are about to close included, each with its address.
    pub(super) fn sockets(&mut self) -> impl Iterator<Item = (&ListenAddress, &mut Listener)> {
        let entries = self.listeners.iter_mut().flatten();
        entries.map(|entry| entry.listener.socket())
    }

    /// Makes the listeners those of a configuration. The ones with its addresses stay, the others
    /// close once the clients that wait there are accepted, and those in `bound` are added. A
    /// connection of a listener that closes ends after the request that is under way.
    ///
    /// # Errors
    /// The kernel has no memory left.
    pub fn set(
        &mut self,
        access: &AdminAccess,
        bound: Vec<AdminListener>,
        registry: &Registry,
    ) -> io::Result<()> {
        self.hosts.clone_from(&access.hosts);
        for slot in 0..self.listeners.len() {
            let entry = self.listeners.get(slot).and_then(Option::as_ref);
            if entry.is_some_and(|entry| !access.addresses.contains(entry.listener.address())) {
                self.retire(slot);
            }
        }
        for mut listener in bound {
            // A queue that does not end keeps no new listener out.
            let entries = &mut self.listeners;
            let free = entries.iter().position(Option::is_none);
            let retired = |slot: &Option<Entry>| slot.as_ref().is_some_and(|entry| entry.retired);
            let index = free.or_else(|| entries.iter().position(retired));
            let Some((index, slot)) = index.and_then(|at| Some((at, entries.get_mut(at)?))) else {
                return Err(io::ErrorKind::QuotaExceeded.into());
            };
            *slot = None;
            let token = Token(ADMIN.saturating_add(index));
            registry.register(&mut listener.listener, token, Interest::READABLE)?;
            if !matches!(listener.listener, Listener::Link(_)) {
                info!("the admin listener is on {}", listener.name());
            }
            *slot = Some(Entry {
                listener,
                state: Accepting::Idle,
                retired: false,
            });
        }
        Ok(())
    }

    /// Returns whether the listener of an address is about to close.
    #[cold]
    pub fn is_closing_at(&self, address: &ListenAddress) -> bool {
        let mut entries = self.listeners.iter().flatten();
        entries.any(|entry| entry.retired && entry.listener.address() == address)
    }

    /// Keeps the listener of an address, which may be about to close.
    pub fn keep(&mut self, address: &ListenAddress) {
        let mut entries = self.listeners.iter_mut().flatten();
        if let Some(entry) = entries.find(|entry| entry.listener.address() == address) {
            entry.retired = false;
        }
    }

    /// Closes a listener once the clients that wait there are accepted.
    fn retire(&mut self, slot: usize) {
        let Some(Some(entry)) = self.listeners.get_mut(slot) else {
            return;
        };
        entry.retired = true;
        if entry.state == Accepting::Idle {
            entry.state = Accepting::Ready;
        }
        let connections = self.connections.iter_mut().flatten();
        connections
            .filter(|connection| connection.listener == slot)
            .for_each(Connection::finish);
        self.due = Some(Instant::ZERO);
    }

    /// Leaves the listeners to another process, which has the same sockets, and closes them here.
    /// Listeners of the `unused` addresses close once the clients that wait there are accepted.
    pub fn leave(&mut self, unused: &[String], registry: &Registry) {
        for slot in 0..self.listeners.len() {
            self.retire(slot);
            if let Some(place) = self.listeners.get_mut(slot)
                && let Some(entry) = place
                && !unused.contains(&entry.listener.address().to_string())
            {
                let (_, listener) = entry.listener.socket();
                // The other process keeps the socket open, and with it a place in the poll.
                let _ = registry.deregister(listener);
                listener.disown();
                *place = None;
            }
        }
        self.offered = false;
    }

    /// Returns the log level.
    pub(in crate::net) fn log_level(&mut self) -> &mut CurrentLogLevel {
        &mut self.log_level
    }

    /// Returns the time at which [`Admin::serve`] has work; `None`: when an event comes.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records an event of one of its sockets.
    pub fn record_event(&mut self, event: &Event) {
        match admin_connection(event.token()) {
            None => {
                let slot = event.token().0.saturating_sub(ADMIN);
                if let Some(Some(entry)) = self.listeners.get_mut(slot)
                    && entry.state == Accepting::Idle
                {
                    entry.state = Accepting::Ready;
                }
            }
            Some(slot) => {
                if let Some(Some(connection)) = self.connections.get_mut(slot) {
                    connection.record_readiness(readiness(event));
                }
            }
        }
        self.due = Some(Instant::ZERO);
    }

    /// Serves each connection for one turn, and accepts clients. Returns what the clients ask the
    /// gateway to do.
    pub fn serve(
        &mut self,
        state: &GatewayState<'_>,
        registry: &Registry,
        now: Instant,
        wall: UnixTime,
    ) -> Vec<AdminCommand> {
        self.log_level.expire(now);
        self.wall.now = wall;
        self.accept(registry, now);
        let mut commands = Vec::new();
        if self.link().is_some_and(super::link::Link::takes_end) {
            commands.push(AdminCommand::Stop);
        }
        let mut state = *state;
        for command in [AdminCommand::Reload, AdminCommand::Upgrade] {
            if self.waits_for(command) {
                state.begin(command);
            }
        }
        for slot in &mut self.connections {
            let Some(connection) = slot else { continue };
            let mut shared = Shared {
                table: &mut self.table,
                hosts: &self.hosts,
                wall: &mut self.wall,
                now,
            };
            let (mut turn, mut command) = (Turn::Wait, None);
            // A request that is here is answered in the turn that reads it.
            for _ in 0..TURN_STEPS {
                if turn == Turn::Gone || !connection.is_ready() {
                    break;
                }
                let step = connection.turn(&state, &mut shared);
                turn = step.0;
                command = command.or(step.1);
                if command.is_some() && connection.waits() {
                    break;
                }
            }
            if turn != Turn::Gone && connection.deadline <= now {
                turn = connection.expire(&mut shared);
            }
            if turn == Turn::Gone {
                *slot = None;
            }
            match command {
                None => {}
                Some(AdminCommand::LogLevel { level, time }) => {
                    self.log_level.change("POST /log", level, time, now);
                }
                Some(command) => {
                    state.begin(command);
                    commands.push(command);
                }
            }
        }
        // A connection that has ended, or has become idle, makes room.
        self.accept(registry, now);
        self.due = self.next_due();
        commands
    }

    /// Answers the clients that wait for a reload. `result`: its summary, or the lines of its
    /// errors.
    pub fn reload_finished(&mut self, result: &Result<String, String>, now: Instant) {
        self.finished(AdminCommand::Reload, &Response::of_reload(result), now);
    }

    /// Answers the client that waits for an upgrade. `result`: id of the new process, or why there
    /// is none.
    pub fn upgrade_finished(&mut self, result: &Result<String, String>, now: Instant) {
        self.finished(AdminCommand::Upgrade, &Response::of_upgrade(result), now);
    }

    fn finished(&mut self, command: AdminCommand, response: &Response, now: Instant) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.waits_for(command) {
                let mut shared = Shared {
                    table: &mut self.table,
                    hosts: &self.hosts,
                    wall: &mut self.wall,
                    now,
                };
                connection.respond(response, &mut shared);
                self.due = Some(Instant::ZERO);
            }
        }
    }

    fn waits_for(&self, command: AdminCommand) -> bool {
        let mut connections = self.connections.iter().flatten();
        connections.any(|connection| connection.waits_for(command))
    }

    fn next_due(&self) -> Option<Instant> {
        let has_room = self.free_slot(Access::Commands).is_some();
        let listeners = self
            .listeners
            .iter()
            .flatten()
            .filter_map(|entry| match entry.state {
                Accepting::Paused(until) if has_room => Some(until),
                _ => None,
            });
        let connections = self.connections.iter().flatten().map(|connection| {
            if connection.is_ready() {
                Instant::ZERO
            } else {
                connection.deadline
            }
        });
        listeners
            .chain(connections)
            .chain(self.log_level.due())
            .min()
    }
}

/// Steps of one connection in a turn: a read, the answer, its writing, and the end.
const TURN_STEPS: usize = 4;
