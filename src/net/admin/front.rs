//! Admin listener of a supervisor: the same paths, whose answers come from the workers.
//!
//! A connection has one request. Out of scope: what the supervisor does with it.

use std::io::{self, Read, Write};

use log::warn;
use mio::event::Event;
use mio::{Interest, Registry, Token};

use super::listener::AdminListener;
use super::paths::AdminCommand;
use super::request::{Access, Received, receive};
use super::response::Response;
use super::wall::Wall;
use super::wish::{Wish, wish};
use crate::config::{AdminAccess, ListenAddress};
use crate::http::head::{FieldTable, HeadScan};
use crate::limits::{
    ADMIN_BODY_BYTES, ADMIN_CONNECTIONS, ADMIN_HEAD_BYTES, ADMIN_LISTENERS_MAX,
    ADMIN_RELOAD_TIMEOUT, ADMIN_TCP_CONNECTIONS, ADMIN_TIMEOUT,
};
use crate::net::inherited::Inherited;
use crate::net::io::socket::Socket;
use crate::net::listener::Listener;
use crate::time::{Instant, UnixTime};

/// Admin listener of a supervisor.
pub(in crate::net) struct Front {
    listeners: Vec<AdminListener>,
    clients: [Option<Client>; ADMIN_CONNECTIONS],
    hosts: Vec<String>,
    table: FieldTable,
    wall: Wall,
    /// First token.
    first: usize,
}

struct Client {
    socket: Socket,
    access: Access,
    phase: Phase,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    is_head: bool,
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Waiting,
    Writing,
    Closing,
}

impl Front {
    /// Creates a front without listeners. `first`: first token of its sockets.
    pub(in crate::net) fn new(first: usize) -> Front {
        Front {
            listeners: Vec::new(),
            clients: [const { None }; ADMIN_CONNECTIONS],
            hosts: Vec::new(),
            table: FieldTable::default(),
            wall: Wall::default(),
            first,
        }
    }

    /// Binds the addresses that are not open yet.
    ///
    /// # Errors
    /// An address cannot be bound. The text says what to do.
    pub(in crate::net) fn bind(
        &self,
        access: &AdminAccess,
        inherited: &mut Inherited,
    ) -> io::Result<Vec<AdminListener>> {
        let known = |address: &&ListenAddress| {
            let mut open = self.listeners.iter();
            !open.any(|listener| listener.address() == *address)
        };
        let addresses = access.addresses.iter().filter(known);
        let bound = addresses.map(|address| match inherited.take_admin(address) {
            Some(listener) => Ok(AdminListener::inherited(address, listener)),
            None => AdminListener::bind(address),
        });
        bound.collect()
    }

    /// Makes the listeners those of a configuration. `bound`: those that are new.
    pub(in crate::net) fn set(
        &mut self,
        access: &AdminAccess,
        bound: Vec<AdminListener>,
        registry: &Registry,
        now: Instant,
    ) {
        self.hosts.clone_from(&access.hosts);
        // Clients that wait at an address that goes are served.
        (0..self.listeners.len()).for_each(|index| self.accept(index, registry, now));
        self.listeners
            .retain(|listener| access.addresses.contains(listener.address()));
        self.listeners.extend(bound);
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            let token = Token(self.first.saturating_add(index));
            let socket = &mut listener.listener;
            let watched = registry
                .reregister(socket, token, Interest::READABLE)
                .or_else(|_| registry.register(socket, token, Interest::READABLE));
            if let Err(error) = watched {
                warn!("the admin listener cannot be watched: {error}");
            }
        }
    }

    /// Returns the sockets, each with its address.
    pub(in crate::net) fn sockets(
        &mut self,
    ) -> impl Iterator<Item = (&ListenAddress, &mut Listener)> {
        self.listeners.iter_mut().map(AdminListener::socket)
    }

    /// Leaves the sockets to another process.
    pub(in crate::net) fn leave(&mut self) {
        for listener in &mut self.listeners {
            listener.listener.disown();
        }
        self.listeners.clear();
    }

    /// Returns the time at which a client's time is over.
    pub(in crate::net) fn due(&self) -> Option<Instant> {
        let clients = self.clients.iter().flatten();
        clients.map(|client| client.deadline).min()
    }

    /// Handles an event of one of its sockets. Returns what a client asks for, with its slot.
    pub(in crate::net) fn handle(
        &mut self,
        event: &Event,
        registry: &Registry,
        now: Instant,
        wall: UnixTime,
    ) -> Option<(usize, Wish)> {
        self.wall.now = wall;
        let place = event.token().0.saturating_sub(self.first);
        match place.checked_sub(ADMIN_LISTENERS_MAX) {
            None => {
                self.accept(place, registry, now);
                None
            }
            Some(slot) => Some((slot, self.serve(slot, now)?)),
        }
    }

    fn accept(&mut self, index: usize, registry: &Registry, now: Instant) {
        let first = self.first.saturating_add(ADMIN_LISTENERS_MAX);
        while let Some(listener) = self.listeners.get_mut(index) {
            let Ok(accepted) = listener.accept() else {
                return;
            };
            let access = listener.access();
            let tcp = self.clients.iter().flatten();
            let tcp = tcp
                .filter(|client| client.access == Access::ReadOnly)
                .count();
            let is_full = access == Access::ReadOnly && tcp >= ADMIN_TCP_CONNECTIONS;
            let free = self.clients.iter().position(Option::is_none);
            let Some(slot) = free.filter(|_| !is_full) else {
                continue;
            };
            let mut client = Client {
                socket: accepted.socket,
                access,
                phase: Phase::Head,
                inbox: Vec::new(),
                outbox: Vec::new(),
                is_head: false,
                deadline: now.after(ADMIN_TIMEOUT),
            };
            let token = Token(first.saturating_add(slot));
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry
                .register(&mut client.socket, token, interest)
                .is_ok()
                && let Some(place) = self.clients.get_mut(slot)
            {
                *place = Some(client);
            }
        }
    }

    fn serve(&mut self, slot: usize, now: Instant) -> Option<Wish> {
        let client = self.clients.get_mut(slot)?.as_mut()?;
        let done = match client.phase {
            Phase::Head => client.read(),
            Phase::Waiting => return None,
            Phase::Writing => client.write(),
            Phase::Closing => client.discard(),
        };
        if !done.is_ok_and(|is_open| is_open) {
            self.forget(slot);
            return None;
        }
        let client = self.clients.get_mut(slot)?.as_mut()?;
        if client.phase != Phase::Head {
            return None;
        }
        let mut scan = HeadScan::default();
        let inbox = core::mem::take(&mut client.inbox);
        let received = receive(
            &inbox,
            &mut scan,
            &mut self.table,
            client.access,
            &self.hosts,
        );
        let wished = match received {
            Received::Incomplete => {
                client.inbox = inbox;
                return None;
            }
            Received::Refused(response) => Err(response),
            Received::Request { request, .. } => {
                client.is_head = request.method == b"HEAD";
                wish(&request, client.access)
            }
        };
        client.phase = Phase::Waiting;
        client.deadline = now.after(ADMIN_RELOAD_TIMEOUT);
        match wished {
            Ok(wish) => Some(wish),
            Err(response) => {
                self.respond(slot, &response, now);
                None
            }
        }
    }

    /// Gives a client its answer.
    pub(in crate::net) fn respond(&mut self, slot: usize, response: &Response, now: Instant) {
        let date = self.wall.date().to_vec();
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return;
        };
        if client.phase != Phase::Waiting {
            return;
        }
        response.write(client.is_head, false, &date, &mut client.outbox);
        client.phase = Phase::Writing;
        client.deadline = now.after(ADMIN_TIMEOUT);
        if !client.write().is_ok_and(|is_open| is_open) {
            self.forget(slot);
        }
    }

    /// Ends connections whose time is over.
    pub(in crate::net) fn expire(&mut self, now: Instant) {
        for slot in 0..self.clients.len() {
            let client = self.clients.get(slot).and_then(Option::as_ref);
            let Some((deadline, phase)) = client.map(|client| (client.deadline, client.phase))
            else {
                continue;
            };
            if deadline > now {
                continue;
            }
            if phase == Phase::Waiting {
                let message =
                    "the command has not ended yet, and goes on; its result is in the log";
                self.respond(slot, &Response::error(504, message), now);
            } else {
                self.forget(slot);
            }
        }
    }

    /// Returns true if an answer is being written.
    pub(in crate::net) fn is_busy(&self) -> bool {
        let mut clients = self.clients.iter().flatten();
        clients.any(|client| client.phase == Phase::Writing)
    }

    fn forget(&mut self, slot: usize) {
        if let Some(place) = self.clients.get_mut(slot) {
            *place = None;
        }
    }
}

impl Client {
    /// Reads what is there. Returns false at the end of the connection.
    fn read(&mut self) -> io::Result<bool> {
        let mut room = [0; 4096];
        while self.inbox.len() < ADMIN_HEAD_BYTES + ADMIN_BODY_BYTES {
            match self.socket.read(&mut room) {
                Ok(0) => return Ok(false),
                Ok(count) => self
                    .inbox
                    .extend_from_slice(room.get(..count).unwrap_or_default()),
                Err(error) => return unless_waiting(error),
            }
        }
        Ok(true)
    }

    /// Writes what there is room for, and ends the connection behind it.
    fn write(&mut self) -> io::Result<bool> {
        while !self.outbox.is_empty() {
            match self.socket.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) => return unless_waiting(error),
            }
        }
        self.phase = Phase::Closing;
        use crate::net::io::raw_stream::RawStream;
        self.socket.shutdown_write()?;
        self.discard()
    }

    fn discard(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) => return unless_waiting(error),
            }
        }
    }
}

fn unless_waiting(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(true),
        _ => Err(error),
    }
}

/// Returns the answer to a command that is not a document.
pub(in crate::net) fn answer(command: AdminCommand, result: &Result<String, String>) -> Response {
    match command {
        AdminCommand::Upgrade => Response::of_upgrade(result),
        _ => Response::of_reload(result),
    }
}
