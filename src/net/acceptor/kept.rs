//! Parts of listeners that stay: sockets whose address comes back before they are closed, and at an
//! upgrade those that another process keeps, and keys of tickets.

use mio::Registry;

use super::{Acceptor, Entry};
use crate::config::ListenAddress;
use crate::net::upgrade::state::CarriedTickets;

impl Acceptor {
    /// Returns whether a listener of an address is about to close.
    #[cold]
    pub(in crate::net) fn is_closing(&self, address: &ListenAddress) -> bool {
        let mut entries = self.entries.iter().flatten();
        entries.any(|entry| entry.retired && entry.address == *address)
    }

    /// Keeps the listener of an address, which may be about to close.
    pub(in crate::net) fn keep(&mut self, address: &ListenAddress) {
        if self.has(address) {
            return;
        }
        let mut entries = self.entries.iter_mut().flatten();
        if let Some(entry) = entries.find(|entry| entry.address == *address) {
            entry.retired = false;
        }
    }

    /// Notes whether another process may keep the sockets. Those that are about to close stay open as
    /// long as it may.
    #[cold]
    pub(in crate::net) fn set_offered(&mut self, offered: bool) {
        self.offered = offered;
        let entries = self.entries.iter_mut().flatten();
        entries
            .filter(|entry| entry.retired)
            .for_each(Entry::retire);
    }

    /// Leaves the listeners to another process, which has the same sockets, and closes them here.
    /// Listeners of the `unused` addresses close once the clients that wait there are accepted.
    pub(in crate::net) fn leave(&mut self, unused: &[String], registry: &Registry) {
        for slot in &mut self.entries {
            let Some(entry) = slot else { continue };
            if unused.contains(&entry.address.to_string()) {
                entry.retire();
            } else {
                // The other process keeps the socket open, and with it a place in the poll.
                let _ = registry.deregister(&mut entry.listener);
                entry.listener.disown();
                *slot = None;
            }
        }
        self.offered = false;
    }

    /// Leaves all clients that come from now on to other processes. Which of the sockets they have is not
    /// known: with fewer workers some are nobody's. So each closes once the clients that wait there are
    /// accepted.
    pub(in crate::net) fn leave_to_others(&mut self, registry: &Registry) {
        for entry in self.entries.iter_mut().flatten() {
            if !entry.retired {
                let _ = registry.deregister(&mut entry.listener);
                entry.listener.disown();
            }
            entry.retire();
        }
        self.is_left = true;
    }

    /// Returns the keys of the tickets of TLS listeners.
    #[cold]
    pub(in crate::net) fn tickets(&self) -> Vec<CarriedTickets> {
        let entries = self.entries.iter().flatten().filter(|entry| !entry.retired);
        let keys = entries.filter_map(|entry| {
            let tls = entry.tls.as_ref()?;
            Some(CarriedTickets {
                listener: entry.name.as_bytes().to_vec(),
                identity: tls.identity(),
                keys: tls.ticket_keys(),
            })
        });
        keys.collect()
    }

    /// Goes on with the keys of tickets of another process, for listeners whose address and TLS
    /// settings are the same.
    #[cold]
    pub(in crate::net) fn restore_tickets(&self, carried: &[CarriedTickets]) {
        for tickets in carried {
            let same = self.entries.iter().flatten().find(|entry| {
                let is_named = entry.name.as_bytes() == tickets.listener;
                let tls = entry.tls.as_ref().filter(|_| is_named);
                tls.is_some_and(|tls| tls.identity() == tickets.identity)
            });
            if let Some(tls) = same.and_then(|entry| entry.tls.as_ref()) {
                tls.restore_tickets(tickets.keys);
            }
        }
    }
}
