//! Which clients get a connection. This is decided when a connection is accepted, before TLS and before the first byte.
//!
//! ```text
//! peer is denied -------------- TLS --> closed before the handshake
//!   |                 `-------- plain -> 403 to the first request, in a place beside `limits.connections`
//! client has its share -------- an idle connection of its own closes for the new one (only where no share is configured)
//!   |                 `-------- otherwise 503, and before TLS: closed
//! all connections are in use -- the connection that was idle longest closes for the new one; 503 when none is idle
//!   |
//! served
//! ```
//!
//! Peers in `trustedProxies` speak for others: they are not denied here, and have no share. Peers on unix sockets have no address to
//! be counted by.
//!
//! A connection is idle between two requests (keep-alive). Idle connections are a list through the connections themselves, oldest
//! first, so that nothing is searched for and nothing allocated.

use core::net::IpAddr;

use super::Proxy;
use super::client::{Admission, Client, Phase};
use super::command::{ClientId, Command, ListenerKind, Report};
use crate::limits::{DENIED_CONNECTIONS, IDLE_LOOKED_AT};
use crate::policy::forward::Peer;
use crate::time::Instant;

/// The ends of the list of idle client connections, by their slots.
#[derive(Default)]
pub(super) struct IdleClients {
    oldest: Option<u32>,
    newest: Option<u32>,
}

impl IdleClients {
    /// Whether no client connection is idle.
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_none()
    }
}

/// What a new connection gets.
enum Place {
    /// One that is free.
    Free,
    /// That of an idle connection.
    Of(ClientId),
    /// None.
    Nowhere,
}

impl Proxy {
    /// A client connected. `None`: it must be closed at once, not even a 503 fits. [`is_full`](Self::is_full) says before whether
    /// that is so for everybody.
    pub fn handle_accepted(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        now: Instant,
    ) -> Option<ClientId> {
        let is_trusted = self.policy.trusted.is_trusted(peer);
        if !is_trusted && !self.policy.addresses.admit(peer) {
            return self.accept_denied(peer, listener, now);
        }
        if let Some(client) = self.account_of(peer)
            && self.has_its_share(client)
        {
            return match self.own_idle(client) {
                Some(own) => Some(self.accept_served(peer, listener, Some(own), now)),
                None => {
                    self.commands
                        .push_back(Command::Report(Report::ClientConnectionsFull { client }));
                    (listener != ListenerKind::Secure)
                        .then(|| self.accept_overflow(peer, listener, now))
                        .flatten()
                }
            };
        }
        match self.place() {
            Place::Free => Some(self.accept_served(peer, listener, None, now)),
            Place::Of(idle) => Some(self.accept_served(peer, listener, Some(idle), now)),
            Place::Nowhere => {
                self.commands
                    .push_back(Command::Report(Report::ConnectionsFull));
                self.accept_overflow(peer, listener, now)
            }
        }
    }

    /// Clients that have a connection which is counted.
    pub fn clients(&self) -> usize {
        self.accounts.clients()
    }

    /// Whether what is counted is what there is, and the idle connections are one list. Looks at every connection: for tests.
    pub fn counts_hold(&self) -> bool {
        let all = || self.clients.keys().filter_map(|id| self.clients.get(id));
        let admitted = |admission| {
            all()
                .filter(|connection| connection.admission == admission)
                .count()
        };
        let served = all().filter(|connection| connection.admission == Admission::Served);
        let counted = served
            .filter_map(|connection| self.account_of(connection.peer))
            .collect::<Vec<_>>();
        let idle = all()
            .filter(|connection| matches!(connection.phase, Phase::Idle { .. }))
            .count();
        let (mut next, mut before, mut linked) = (self.idle.oldest, None, 0_usize);
        while let Some((slot, connection)) =
            next.and_then(|slot| Some((slot, self.clients.at(slot)?.1)))
        {
            let Phase::Idle { older, newer } = connection.phase else {
                return false;
            };
            if older != before || linked > idle {
                return false;
            }
            linked = linked.saturating_add(1);
            (next, before) = (newer, Some(slot));
        }
        linked == idle
            && before == self.idle.newest
            && self.accounts.connections() == counted.len()
            && counted.iter().all(|&client| {
                let same = counted
                    .iter()
                    .filter(|&&other| self.accounts.is_same(client, other))
                    .count();
                self.accounts.held(client) == same
            })
            && self.denied == admitted(Admission::Denied)
            && self.overflow == admitted(Admission::Overflow).saturating_add(self.denied)
    }

    /// The address that a connection is counted by, if it is.
    pub(super) fn account_of(&self, peer: Peer) -> Option<IpAddr> {
        peer.ip().filter(|_| !self.policy.trusted.is_trusted(peer))
    }

    /// Client connections that are served.
    pub(super) fn served(&self) -> usize {
        self.clients.len().saturating_sub(self.overflow)
    }

    fn place(&self) -> Place {
        if self.served() < self.settings.limits.connections {
            return Place::Free;
        }
        self.oldest_idle().map_or(Place::Nowhere, Place::Of)
    }

    /// Whether a client may have no further connection.
    fn has_its_share(&self, client: IpAddr) -> bool {
        let limits = &self.settings.limits;
        match limits.connections_per_client {
            Some(share) => self.accounts.held(client) >= share,
            None => {
                self.served().saturating_mul(2) > limits.connections
                    && self.accounts.held(client).saturating_mul(8) > limits.connections
            }
        }
    }

    /// An idle connection of a client that has its share, where nobody has set what that is: one for the other, it has no more than
    /// before. Only the oldest ones are looked at.
    fn own_idle(&self, client: IpAddr) -> Option<ClientId> {
        if self.settings.limits.connections_per_client.is_some() {
            return None;
        }
        let mut next = self.idle.oldest;
        for _ in 0..IDLE_LOOKED_AT {
            let (id, connection) = self.clients.at(next?)?;
            if self
                .account_of(connection.peer)
                .is_some_and(|other| self.accounts.is_same(client, other))
            {
                return Some(id);
            }
            let Phase::Idle { newer, .. } = connection.phase else {
                return None;
            };
            next = newer;
        }
        None
    }

    fn accept_served(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        instead_of: Option<ClientId>,
        now: Instant,
    ) -> ClientId {
        // The new one comes first: the loop still has a socket in the other one's slot.
        let id = self
            .clients
            .insert(Client::new(peer, listener, Admission::Served));
        if let Some(client) = self.account_of(peer) {
            self.accounts.add(client);
        }
        if let Some(idle) = instead_of {
            self.close_client(idle, false);
        }
        self.arm_client(id, self.settings.timeouts.head, now);
        id
    }

    /// A connection that is told 503, if there is a place for that.
    fn accept_overflow(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        now: Instant,
    ) -> Option<ClientId> {
        if self.overflow >= self.settings.limits.overflow {
            return None;
        }
        let id = self
            .clients
            .insert(Client::new(peer, listener, Admission::Overflow));
        self.overflow = self.overflow.saturating_add(1);
        self.reject_overloaded(id, now);
        Some(id)
    }

    /// A connection of a denied peer, whose first request is answered 403, if there is a place for that.
    fn accept_denied(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        now: Instant,
    ) -> Option<ClientId> {
        let limit = self.settings.limits.overflow;
        if listener == ListenerKind::Secure
            || self.overflow >= limit
            || self.denied >= DENIED_CONNECTIONS
        {
            return None;
        }
        let id = self
            .clients
            .insert(Client::new(peer, listener, Admission::Denied));
        self.overflow = self.overflow.saturating_add(1);
        self.denied = self.denied.saturating_add(1);
        self.arm_client(id, self.settings.timeouts.head, now);
        Some(id)
    }

    /// A connection is gone, and what was counted of it.
    pub(super) fn discount(&mut self, connection: &Client) {
        if let Phase::Idle { older, newer } = connection.phase {
            self.unlink_idle(older, newer);
        }
        match connection.admission {
            Admission::Served => {
                if let Some(client) = self.account_of(connection.peer) {
                    self.accounts.remove(client);
                }
            }
            Admission::Overflow => self.overflow = self.overflow.saturating_sub(1),
            Admission::Denied => {
                self.overflow = self.overflow.saturating_sub(1);
                self.denied = self.denied.saturating_sub(1);
            }
        }
    }

    // --- idle connections ---

    /// The client connection that has been idle for the longest time.
    pub(super) fn oldest_idle(&self) -> Option<ClientId> {
        self.clients.at(self.idle.oldest?).map(|(id, _)| id)
    }

    /// Closes it; false: none is idle.
    pub(super) fn shed_idle_client(&mut self) -> bool {
        let Some(id) = self.oldest_idle() else {
            return false;
        };
        self.close_client(id, false);
        true
    }

    /// A connection has become idle.
    pub(super) fn link_idle(&mut self, id: ClientId) {
        let Some(connection) = self.clients.get_mut(id) else {
            return;
        };
        let older = self.idle.newest.replace(id.index());
        connection.phase = Phase::Idle { older, newer: None };
        match older
            .and_then(|older| self.clients.at_mut(older))
            .map(|connection| &mut connection.phase)
        {
            Some(Phase::Idle { newer, .. }) => *newer = Some(id.index()),
            _ => self.idle.oldest = Some(id.index()),
        }
    }

    /// Takes a connection that was between these two out of the list.
    pub(super) fn unlink_idle(&mut self, older: Option<u32>, newer: Option<u32>) {
        let neighbour =
            |slot: Option<u32>, clients: &mut crate::slab::Slab<Client>, other, is_older: bool| {
                match slot
                    .and_then(|slot| clients.at_mut(slot))
                    .map(|connection| &mut connection.phase)
                {
                    Some(Phase::Idle { newer, .. }) if is_older => *newer = other,
                    Some(Phase::Idle { older, .. }) => *older = other,
                    _ => return false,
                }
                true
            };
        if !neighbour(older, &mut self.clients, newer, true) {
            self.idle.oldest = newer;
        }
        if !neighbour(newer, &mut self.clients, older, false) {
            self.idle.newest = older;
        }
    }
}
