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
use super::command::{Command, DownstreamId, Entrance, Report};
use super::downstream::{Admission, Downstream, Phase};
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
    Of(DownstreamId),
    /// None.
    Nowhere,
}

impl Proxy {
    /// A client connected. `None`: it must be closed at once, not even a 503 fits. [`is_full`](Self::is_full) says before whether
    /// that is so for everybody.
    pub fn handle_accepted(
        &mut self,
        peer: Peer,
        entrance: Entrance,
        now: Instant,
    ) -> Option<DownstreamId> {
        let is_trusted = self.policy.trusted.is_trusted(peer);
        if !is_trusted && !self.policy.addresses.admit(peer) {
            return self.accept_denied(peer, entrance, now);
        }
        if let Some(client) = self.account_of(peer)
            && self.has_its_share(client)
        {
            return match self.own_idle(client) {
                Some(own) => Some(self.accept_served(peer, entrance, Some(own), now)),
                None => {
                    self.commands
                        .push_back(Command::Report(Report::ClientConnectionsFull { client }));
                    (entrance != Entrance::Secure)
                        .then(|| self.accept_surplus(peer, entrance, now))
                        .flatten()
                }
            };
        }
        match self.place() {
            Place::Free => Some(self.accept_served(peer, entrance, None, now)),
            Place::Of(idle) => Some(self.accept_served(peer, entrance, Some(idle), now)),
            Place::Nowhere => {
                self.commands
                    .push_back(Command::Report(Report::ConnectionsFull));
                self.accept_surplus(peer, entrance, now)
            }
        }
    }

    /// Clients that have a connection which is counted.
    pub fn clients(&self) -> usize {
        self.accounts.clients()
    }

    /// Whether what is counted is what there is, and the idle connections are one list. Looks at every connection: for tests.
    pub fn counts_hold(&self) -> bool {
        let all = || self.downs.keys().filter_map(|id| self.downs.get(id));
        let admitted = |admission| all().filter(|down| down.admission == admission).count();
        let served = all().filter(|down| down.admission == Admission::Served);
        let counted = served
            .filter_map(|down| self.account_of(down.peer))
            .collect::<Vec<_>>();
        let idle = all()
            .filter(|down| matches!(down.phase, Phase::Idle { .. }))
            .count();
        let (mut next, mut before, mut linked) = (self.idle.oldest, None, 0_usize);
        while let Some((slot, down)) = next.and_then(|slot| Some((slot, self.downs.at(slot)?.1))) {
            let Phase::Idle { older, newer } = down.phase else {
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
            && self.surplus == admitted(Admission::Surplus).saturating_add(self.denied)
    }

    /// The address that a connection is counted by, if it is.
    pub(super) fn account_of(&self, peer: Peer) -> Option<IpAddr> {
        peer.ip().filter(|_| !self.policy.trusted.is_trusted(peer))
    }

    /// Client connections that are served.
    pub(super) fn served(&self) -> usize {
        self.downs.len().saturating_sub(self.surplus)
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
    fn own_idle(&self, client: IpAddr) -> Option<DownstreamId> {
        if self.settings.limits.connections_per_client.is_some() {
            return None;
        }
        let mut next = self.idle.oldest;
        for _ in 0..IDLE_LOOKED_AT {
            let (id, down) = self.downs.at(next?)?;
            if self
                .account_of(down.peer)
                .is_some_and(|other| self.accounts.is_same(client, other))
            {
                return Some(id);
            }
            let Phase::Idle { newer, .. } = down.phase else {
                return None;
            };
            next = newer;
        }
        None
    }

    fn accept_served(
        &mut self,
        peer: Peer,
        entrance: Entrance,
        instead_of: Option<DownstreamId>,
        now: Instant,
    ) -> DownstreamId {
        // The new one comes first: the loop still has a socket in the other one's slot.
        let id = self
            .downs
            .insert(Downstream::new(peer, entrance, Admission::Served));
        if let Some(client) = self.account_of(peer) {
            self.accounts.add(client);
        }
        if let Some(idle) = instead_of {
            self.close_down(idle, false);
        }
        self.arm_down(id, self.settings.timeouts.head, now);
        id
    }

    /// A connection that is told 503, if there is a place for that.
    fn accept_surplus(
        &mut self,
        peer: Peer,
        entrance: Entrance,
        now: Instant,
    ) -> Option<DownstreamId> {
        if self.surplus >= self.settings.limits.surplus {
            return None;
        }
        let id = self
            .downs
            .insert(Downstream::new(peer, entrance, Admission::Surplus));
        self.surplus = self.surplus.saturating_add(1);
        self.turn_away(id, now);
        Some(id)
    }

    /// A connection of a denied peer, whose first request is answered 403, if there is a place for that.
    fn accept_denied(
        &mut self,
        peer: Peer,
        entrance: Entrance,
        now: Instant,
    ) -> Option<DownstreamId> {
        let limit = self.settings.limits.surplus;
        if entrance == Entrance::Secure
            || self.surplus >= limit
            || self.denied >= DENIED_CONNECTIONS
        {
            return None;
        }
        let id = self
            .downs
            .insert(Downstream::new(peer, entrance, Admission::Denied));
        self.surplus = self.surplus.saturating_add(1);
        self.denied = self.denied.saturating_add(1);
        self.arm_down(id, self.settings.timeouts.head, now);
        Some(id)
    }

    /// A connection is gone, and what was counted of it.
    pub(super) fn discount(&mut self, down: &Downstream) {
        if let Phase::Idle { older, newer } = down.phase {
            self.unlink_idle(older, newer);
        }
        match down.admission {
            Admission::Served => {
                if let Some(client) = self.account_of(down.peer) {
                    self.accounts.remove(client);
                }
            }
            Admission::Surplus => self.surplus = self.surplus.saturating_sub(1),
            Admission::Denied => {
                self.surplus = self.surplus.saturating_sub(1);
                self.denied = self.denied.saturating_sub(1);
            }
        }
    }

    // --- idle connections ---

    /// The client connection that has been idle for the longest time.
    pub(super) fn oldest_idle(&self) -> Option<DownstreamId> {
        self.downs.at(self.idle.oldest?).map(|(id, _)| id)
    }

    /// Closes it; false: none is idle.
    pub(super) fn shed_idle_client(&mut self) -> bool {
        let Some(id) = self.oldest_idle() else {
            return false;
        };
        self.close_down(id, false);
        true
    }

    /// A connection has become idle.
    pub(super) fn link_idle(&mut self, id: DownstreamId) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let older = self.idle.newest.replace(id.index());
        down.phase = Phase::Idle { older, newer: None };
        match older
            .and_then(|older| self.downs.at_mut(older))
            .map(|down| &mut down.phase)
        {
            Some(Phase::Idle { newer, .. }) => *newer = Some(id.index()),
            _ => self.idle.oldest = Some(id.index()),
        }
    }

    /// Takes a connection that was between these two out of the list.
    pub(super) fn unlink_idle(&mut self, older: Option<u32>, newer: Option<u32>) {
        let neighbour = |slot: Option<u32>,
                         downs: &mut crate::slab::Slab<Downstream>,
                         other,
                         is_older: bool| {
            match slot
                .and_then(|slot| downs.at_mut(slot))
                .map(|down| &mut down.phase)
            {
                Some(Phase::Idle { newer, .. }) if is_older => *newer = other,
                Some(Phase::Idle { older, .. }) => *older = other,
                _ => return false,
            }
            true
        };
        if !neighbour(older, &mut self.downs, newer, true) {
            self.idle.oldest = newer;
        }
        if !neighbour(newer, &mut self.downs, older, false) {
            self.idle.newest = older;
        }
    }
}
