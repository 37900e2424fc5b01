//! Parts of listeners that stay: sockets whose address comes back before they are closed, and keys of
//! tickets at an upgrade.

use super::Acceptor;
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
        let mut entries = self.entries.iter_mut().flatten();
        if let Some(entry) = entries.find(|entry| entry.address == *address) {
            entry.retired = false;
        }
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
