//! Accepting of clients: from which listener, and into which slot.

use std::io;

use log::{info, warn};
use mio::{Interest, Registry, Token};

use super::connection::Connection;
use super::request::Access;
use super::{Accepting, Admin, Entry};
use crate::limits::{ACCEPT_RETRY, ADMIN_LISTENERS_MAX, ADMIN_TCP_CONNECTIONS};
use crate::net::token::ADMIN;
use crate::time::Instant;

impl Admin {
    pub(super) fn accept(&mut self, registry: &Registry, now: Instant) {
        for index in 0..self.listeners.len() {
            while let Some(slot) = self.slot_for(index, now) {
                let Some(Some(entry)) = self.listeners.get_mut(index) else {
                    break;
                };
                let accepted = match entry.listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        entry.state = Accepting::Idle;
                        if entry.retired && !self.offered {
                            self.close(index);
                        }
                        break;
                    }
                    // The client has gone already.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                    Err(error) => {
                        warn!("the admin listener cannot accept: {error}");
                        entry.state = Accepting::Paused(now.after(ACCEPT_RETRY));
                        break;
                    }
                };
                let access = entry.listener.access();
                let is_last = entry.retired;
                let mut connection = Connection::new(accepted.socket, access, index, now);
                if is_last {
                    connection.finish();
                }
                let token = Token(
                    ADMIN
                        .saturating_add(ADMIN_LISTENERS_MAX)
                        .saturating_add(slot),
                );
                let interest = Interest::READABLE | Interest::WRITABLE;
                if let Err(error) = registry.register(connection.socket(), token, interest) {
                    warn!("the admin listener cannot watch a connection: {error}");
                    continue;
                }
                if let Some(place) = self.connections.get_mut(slot) {
                    *place = Some(connection);
                }
            }
        }
    }

    /// Notes whether another process may keep the sockets. Those that are about to close stay open as
    /// long as it may.
    #[cold]
    pub fn set_offered(&mut self, offered: bool) {
        self.offered = offered;
        for slot in 0..self.listeners.len() {
            let entry = self.listeners.get(slot).and_then(Option::as_ref);
            if entry.is_some_and(|entry| entry.retired) {
                self.retire(slot);
            }
        }
    }

    /// Returns whether clients of a listener that closes, or is another process's now, wait for an
    /// answer.
    pub fn is_closing(&self) -> bool {
        let is_kept = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| !entry.retired);
        let mut listeners = self.listeners.iter().flatten();
        let mut connections = self.connections.iter().flatten();
        listeners.any(|entry| entry.retired)
            || connections.any(|connection| {
                let listener = self.listeners.get(connection.listener);
                connection.is_awaited() && !listener.is_some_and(is_kept)
            })
    }

    fn close(&mut self, index: usize) {
        if let Some(closed) = self.listeners.get_mut(index).and_then(Option::take) {
            let name = closed.listener.name();
            // The socket leaves the poll when it is closed.
            drop(closed);
            info!("the admin listener on {name} is closed");
        }
    }

    /// Returns the slot for the next client of a listener; `None`: no client is to be accepted now.
    fn slot_for(&mut self, listener: usize, now: Instant) -> Option<usize> {
        let entry = self.listeners.get_mut(listener)?.as_mut()?;
        match entry.state {
            Accepting::Idle => return None,
            Accepting::Paused(until) if until > now => return None,
            Accepting::Paused(_) | Accepting::Ready => entry.state = Accepting::Ready,
        }
        let access = entry.listener.access();
        self.free_slot(access).or_else(|| self.longest_idle(access))
    }

    /// Returns a slot that clients with this access may use.
    pub(super) fn free_slot(&self, access: Access) -> Option<usize> {
        let others = self.connections.iter().flatten();
        let over_tcp = others
            .filter(|connection| connection.access == Access::ReadOnly)
            .count();
        if access == Access::ReadOnly && over_tcp >= ADMIN_TCP_CONNECTIONS {
            return None;
        }
        self.connections.iter().position(Option::is_none)
    }

    /// Returns the slot of the connection that has waited longest for its next request. A client
    /// over TCP takes no slot of a unix socket.
    fn longest_idle(&self, access: Access) -> Option<usize> {
        let connections = self.connections.iter().enumerate();
        let idle = connections.filter_map(|(slot, connection)| {
            let connection = connection.as_ref()?;
            let is_usable = access == Access::Commands || connection.access == access;
            (is_usable && connection.is_idle()).then_some((connection.deadline, slot))
        });
        idle.min().map(|(_, slot)| slot)
    }
}
