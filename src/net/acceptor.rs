//! The listeners of the event loop, and when they accept.
//!
//! ```text
//! Idle  ──event──>  Ready  ──WouldBlock──>  Idle
//!                     │  ^
//!   no descriptor, or │  │ ACCEPT_RETRY is over, or a connection was closed
//!   limit is reached  v  │
//!                    Paused
//!
//! Idle  ──WouldBlock, retired by a new configuration──>  closed
//! ```
//!
//! Clients that are not accepted wait in the kernel's queue. Out of scope: what becomes of an
//! accepted client (`commands.rs`).

mod kept;

use std::io;

use log::{debug, info, warn};
use mio::{Interest, Registry, Token};

use super::io::dial::is_exhaustion;
use super::listener::{Accepted, Listener};
use super::listener_counters::ListenerCounters;
use super::token::{LISTENER_SLOTS, LISTENERS};
use crate::config::{Listen, ListenAddress, Port};
use crate::limits::ACCEPT_RETRY;
use crate::policy::forward::PeerSet;
use crate::proxy::command::ListenerKind;
use crate::time::Instant;
use crate::transport::server::ServerTls;

/// Bound of [`Acceptor::opened`], so that serial numbers stay in their type.
const GENERATIONS: u32 = u32::MAX / LISTENER_SLOTS as u32;

/// Returns the slot of a listener, by its serial number.
pub(super) fn slot_of(serial: u32) -> usize {
    serial as usize % LISTENER_SLOTS
}

/// All listeners; none after a stop. Each has a slot for as long as it is open.
pub(super) struct Acceptor {
    entries: Vec<Option<Entry>>,
    /// Number of listeners that were opened, modulo [`GENERATIONS`].
    opened: u32,
    /// Another process may keep the sockets: meanwhile none is closed.
    offered: bool,
    /// True once all clients are left to other processes.
    is_left: bool,
}

struct Entry {
    /// Address in the configuration.
    address: ListenAddress,
    /// Address as text, for the access log.
    name: Box<str>,
    /// Number of that text in the access log, once it is known.
    number: Option<u16>,
    listener: Listener,
    /// True if the configuration does not have it any more: it closes once the clients that wait
    /// in the kernel's queue are accepted.
    retired: bool,
    kind: ListenerKind,
    /// TLS settings for new connections.
    tls: Option<ServerTls>,
    /// Peers whose connections begin with a header of the PROXY protocol.
    proxied: PeerSet,
    /// Processes that may listen on the port.
    port: Port,
    state: State,
    /// Number that no other listener has. Modulo [`LISTENER_SLOTS`] it is the slot.
    serial: u32,
    counters: ListenerCounters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No client waits.
    Idle,
    /// Clients may wait in the kernel's queue.
    Ready,
    /// Clients wait, and are not accepted before this time.
    Paused(Instant),
}

/// Way on which a client came.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    /// Kind of the listener.
    pub(super) kind: ListenerKind,
    /// Serial number of the listener.
    pub(super) listener: u32,
    /// True if the connection begins with a header of the PROXY protocol.
    pub(super) is_proxied: bool,
}

/// Result of [`Acceptor::accept`].
pub(super) enum AcceptResult {
    /// A client, how it came, and the TLS settings of its listener.
    Client(Accepted, Arrival, Option<ServerTls>),
    /// The client closed the connection before it was accepted.
    Lost,
    /// No descriptor is left: free one, or call [`Acceptor::pause`].
    Exhausted(io::Error),
    /// No client is to be accepted now.
    Nothing,
}

impl Entry {
    /// Has the listener close once the clients that wait there are accepted.
    fn retire(&mut self) {
        self.retired = true;
        if self.state == State::Idle {
            self.state = State::Ready;
        }
    }
}

impl Acceptor {
    /// Creates an acceptor without listeners.
    pub(super) fn new() -> Acceptor {
        Acceptor {
            entries: Vec::new(),
            opened: 0,
            offered: false,
            is_left: false,
        }
    }

    /// Registers listeners, each with its address in the configuration.
    ///
    /// # Errors
    /// The kernel has no memory left, or there are more listeners than slots.
    pub(super) fn add(
        &mut self,
        listeners: Vec<(ListenAddress, Listener)>,
        registry: &Registry,
    ) -> io::Result<()> {
        for (address, mut listener) in listeners {
            let entries = &self.entries;
            let mut slot = entries.iter().position(Option::is_none);
            if slot.is_none() && entries.len() >= LISTENER_SLOTS {
                // Queues that do not end keep no new listener out.
                let mut flat = entries.iter().flatten();
                slot = flat.position(|entry| entry.retired);
                slot.ok_or(io::ErrorKind::QuotaExceeded)?;
            }
            let slot = slot.unwrap_or(entries.len());
            self.remove(slot);
            let token = Token(LISTENERS.saturating_add(slot));
            registry.register(&mut listener, token, Interest::READABLE)?;
            self.opened = self.opened.wrapping_add(1) % GENERATIONS;
            let generation = self.opened.wrapping_mul(LISTENER_SLOTS as u32);
            let entry = Some(Entry {
                name: address.to_string().into_boxed_str(),
                number: None,
                address,
                listener,
                retired: false,
                kind: ListenerKind::Plain,
                tls: None,
                proxied: PeerSet::default(),
                port: Port::Own,
                state: State::Idle,
                serial: generation.wrapping_add(slot as u32),
                counters: ListenerCounters::default(),
            });
            match self.entries.get_mut(slot) {
                Some(free) => *free = entry,
                None => self.entries.push(entry),
            }
        }
        Ok(())
    }

    /// Returns a listener by its serial number.
    fn entry(&mut self, serial: u32) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(slot_of(serial))?.as_mut();
        entry.filter(|entry| entry.serial == serial)
    }

    /// Returns the address of a listener as the configuration has it, and the place for its number
    /// in the access log.
    pub(super) fn name(&mut self, serial: u32) -> Option<(&str, &mut Option<u16>)> {
        let entry = self.entry(serial)?;
        Some((&entry.name, &mut entry.number))
    }

    /// Sets what new connections of a listener get. Equal TLS settings stay, with their tickets.
    /// Returns the slot, and the settings that hold.
    pub(super) fn set(
        &mut self,
        listen: &Listen,
        kind: ListenerKind,
        tls: Option<ServerTls>,
    ) -> Option<(usize, Option<ServerTls>)> {
        let slot = self.position(&listen.address)?;
        let entry = self.entries.get_mut(slot)?.as_mut()?;
        entry.kind = kind;
        entry.proxied = listen.proxied.clone();
        if core::mem::replace(&mut entry.port, listen.port) != listen.port {
            entry.listener.change_port(listen.port);
        }
        match (&entry.tls, tls) {
            (Some(known), Some(tls)) if known.is_same(&tls) => {}
            (Some(_), Some(tls)) => {
                info!("the certificates of {} were read again", entry.listener);
                entry.tls = Some(tls);
            }
            (_, tls) => entry.tls = tls,
        }
        Some((slot, entry.tls.clone()))
    }

    /// Closes the listeners of other addresses, once the clients that wait there are accepted.
    pub(super) fn retire_others<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a ListenAddress> + Clone,
    ) {
        for entry in self.entries.iter_mut().flatten() {
            if !addresses.clone().any(|address| *address == entry.address) {
                entry.retire();
            }
        }
    }

    /// Returns the number of listeners, those that are about to close included.
    pub(super) fn open(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// Returns the addresses that are open, and not about to close.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        let entries = self.entries.iter().flatten();
        let open = entries.filter(|entry| !entry.retired);
        open.map(|entry| entry.address.clone()).collect()
    }

    /// Returns whether an address is open, and not about to close.
    pub(super) fn has(&self, address: &ListenAddress) -> bool {
        self.position(address).is_some()
    }

    /// Returns the sockets, each with its address in the configuration. One that is about to close is
    /// among them: the address may be in the file of another process again.
    pub(super) fn sockets(&mut self) -> impl Iterator<Item = (&ListenAddress, &mut Listener)> {
        let entries = self.entries.iter_mut().flatten();
        entries.map(|entry| (&entry.address, &mut entry.listener))
    }

    /// Returns the bound port of an address.
    pub(super) fn port(&self, address: &ListenAddress) -> Option<u16> {
        let entry = self.entries.get(self.position(address)?)?.as_ref()?;
        entry.listener.port()
    }

    fn position(&self, address: &ListenAddress) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let entry = entry.as_ref();
            entry.is_some_and(|entry| entry.address == *address && !entry.retired)
        })
    }

    /// Sets TLS settings that were read again, and logs that.
    pub(super) fn reload_tls(&mut self, listener: usize, tls: ServerTls) {
        if let Some(Some(entry)) = self.entries.get_mut(listener) {
            entry.tls = Some(tls);
            info!("the certificates of {} were read again", entry.listener);
        }
    }

    /// Records that clients wait. A pause ends at its time all the same.
    pub(super) fn record_event(&mut self, token: Token) {
        let index = token.0.checked_sub(LISTENERS);
        if let Some(Some(entry)) = index.and_then(|index| self.entries.get_mut(index))
            && entry.state == State::Idle
        {
            entry.state = State::Ready;
        }
    }

    /// Returns the number of slots.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Accepts the next client of a listener. `is_full`: the engine takes no more connections.
    #[inline]
    pub(super) fn accept(
        &mut self,
        index: usize,
        is_full: impl FnOnce() -> bool,
        now: Instant,
    ) -> AcceptResult {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return AcceptResult::Nothing;
        };
        match entry.state {
            State::Idle => return AcceptResult::Nothing,
            State::Paused(until) if until > now => return AcceptResult::Nothing,
            State::Ready | State::Paused(_) => {}
        }
        if is_full() {
            entry.state = State::Paused(now.after(ACCEPT_RETRY));
            return AcceptResult::Nothing;
        }
        entry.state = State::Ready;
        match entry.listener.accept() {
            Ok(accepted) => {
                let arrival = Arrival {
                    kind: entry.kind,
                    listener: entry.serial,
                    is_proxied: entry.proxied.contains(accepted.peer),
                };
                AcceptResult::Client(accepted, arrival, entry.tls.clone())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                entry.state = State::Idle;
                if entry.retired && !self.offered {
                    self.remove(index);
                }
                AcceptResult::Nothing
            }
            Err(error) if is_exhaustion(&error) => AcceptResult::Exhausted(error),
            Err(error) => {
                debug!("accept: {error}");
                AcceptResult::Lost
            }
        }
    }

    /// Stops accepting on a listener for a while: no descriptor is left.
    #[cold]
    pub(super) fn pause(&mut self, index: usize, error: &io::Error, now: Instant) {
        if let Some(Some(entry)) = self.entries.get_mut(index) {
            warn!("cannot accept: {error}; raise the limit of open files (LimitNOFILE, ulimit -n)");
            entry.state = State::Paused(now.after(ACCEPT_RETRY));
        }
    }

    /// Ends all pauses: a descriptor is free again.
    pub(super) fn resume(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            if matches!(entry.state, State::Paused(_)) {
                entry.state = State::Ready;
            }
        }
    }

    /// Returns the time from which on a client may be accepted; `None`: not before an event.
    pub(super) fn due(&self) -> Option<Instant> {
        let entries = self.entries.iter().flatten();
        let due = entries.filter_map(|entry| match entry.state {
            State::Idle => None,
            State::Ready => Some(Instant::ZERO),
            State::Paused(until) => Some(until),
        });
        due.min()
    }

    #[cold]
    fn remove(&mut self, index: usize) {
        if let Some(closed) = self.entries.get_mut(index).and_then(Option::take) {
            let name = closed.listener.to_string();
            // The socket leaves the poll when it is closed.
            drop(closed);
            if !self.is_left {
                info!("{name} is closed");
            }
        }
    }

    /// Returns what is counted of a listener, by its serial number.
    pub(super) fn counters(&mut self, serial: u32) -> Option<&mut ListenerCounters> {
        self.entry(serial).map(|entry| &mut entry.counters)
    }

    /// Returns the listeners that stay open: their serial numbers, addresses and numbers.
    pub(super) fn listeners(
        &self,
    ) -> impl Iterator<Item = (u32, &ListenAddress, ListenerCounters)> {
        let entries = self.entries.iter().flatten();
        let kept = entries.filter(|entry| !entry.retired);
        kept.map(|entry| (entry.serial, &entry.address, entry.counters))
    }

    /// Returns the TLS settings of the listeners.
    pub(super) fn tls(&self) -> impl Iterator<Item = &ServerTls> {
        let entries = self.entries.iter().flatten();
        entries.filter_map(|entry| entry.tls.as_ref())
    }

    /// Closes all listeners.
    pub(super) fn close(&mut self) {
        self.entries.clear();
    }
}
