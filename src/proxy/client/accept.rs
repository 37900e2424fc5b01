//! Admission of connections. It is decided when a connection is accepted, before TLS and before the
//! first byte.
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
//! Peers in `trustedProxies` speak for others: they are not denied here, and have no share. Peers
//! on unix sockets have no address to be counted by. `announce` has connections whose client is
//! announced by the PROXY protocol.

use core::net::IpAddr;

use super::super::command::{ListenerKind, Refused};
use super::super::context::Context;
use super::super::ids::ClientId;
use super::super::reason::Reason;
use super::Clients;
use super::connection::{Client, Phase, Place};
use super::local_reply::LocalReply;
use crate::limits::{DENIED_CONNECTIONS, IDLE_LOOKED_AT};
use crate::observe::access::{Entrance, Outcome};
use crate::policy::accounts::Accounts;
use crate::policy::forward::Peer;
use crate::policy::reply::Reply;

/// Judgement of a peer.
pub(super) enum Judged {
    /// The peer may have a connection.
    Admitted,
    /// The peer may have one in place of this idle one of its own.
    InsteadOf(ClientId),
    /// The address rules deny it.
    Denied,
    /// The peer has its share of the connections.
    HasShare,
}

impl Clients {
    /// Takes a connection in. `None`: it must be closed at once, not even a 503 fits.
    pub(in crate::proxy) fn accept(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        ctx: &mut Context,
    ) -> Option<ClientId> {
        match self.judge(peer, ctx) {
            Judged::Admitted => {}
            Judged::InsteadOf(own) => {
                return Some(self.accept_served(peer, listener, Some(own), ctx));
            }
            Judged::Denied => return self.accept_denied(peer, listener, ctx),
            Judged::HasShare if listener == ListenerKind::Secure => return None,
            Judged::HasShare => {
                return self.accept_overflow(peer, listener, Reason::ClientShare, ctx);
            }
        }
        if self.served() < ctx.rules.settings.limits.connections {
            return Some(self.accept_served(peer, listener, None, ctx));
        }
        if let Some(idle) = self.oldest_idle() {
            return Some(self.accept_served(peer, listener, Some(idle), ctx));
        }
        ctx.count_refused(Refused::Full);
        ctx.report_full(None);
        self.accept_overflow(peer, listener, Reason::ConnectionsFull, ctx)
    }

    /// Judges a peer by the address rules and by the connections that it has.
    #[inline]
    pub(super) fn judge(&self, peer: Peer, ctx: &mut Context) -> Judged {
        let is_trusted = ctx.rules.trusted.is_trusted(peer);
        if !is_trusted && !ctx.rules.addresses.admit(peer) {
            ctx.count_refused(Refused::Denied);
            return Judged::Denied;
        }
        let Some(client) = peer.ip().filter(|_| !is_trusted) else {
            return Judged::Admitted;
        };
        if !self.has_its_share(client, ctx) {
            return Judged::Admitted;
        }
        if let Some(own) = self.own_idle(client, ctx) {
            return Judged::InsteadOf(own);
        }
        ctx.count_refused(Refused::ClientShare);
        ctx.report_full(Some(client));
        Judged::HasShare
    }

    /// Returns whether no further connection is taken, not even to tell it 503.
    pub(in crate::proxy) fn is_full(&self, ctx: &Context) -> bool {
        let limits = &ctx.rules.settings.limits;
        self.served() >= limits.connections
            && self.overflow >= limits.overflow
            && self.idle.oldest.is_none()
    }

    /// Returns whether a client may have no further connection.
    fn has_its_share(&self, client: IpAddr, ctx: &Context) -> bool {
        let limits = &ctx.rules.settings.limits;
        match limits.connections_per_client {
            Some(share) => self.accounts.held(client) >= share,
            None => {
                self.served().saturating_mul(2) > limits.connections
                    && self.accounts.held(client).saturating_mul(8) > limits.connections
            }
        }
    }

    /// Returns an idle connection of a client that has its share, where the file does not set what
    /// that is: one for the other, it has no more than before. Only the oldest ones are looked at.
    fn own_idle(&self, client: IpAddr, ctx: &Context) -> Option<ClientId> {
        if ctx.rules.settings.limits.connections_per_client.is_some() {
            return None;
        }
        let mut next = self.idle.oldest;
        for _ in 0..IDLE_LOOKED_AT {
            let (id, connection) = self.connections.at(next?)?;
            if account_of(connection.peer, ctx)
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
        ctx: &mut Context,
    ) -> ClientId {
        // The new one comes first: the loop still has a socket in the other one's slot.
        let id = self
            .connections
            .insert(Client::new(peer, listener, Place::Served));
        if let Some(client) = account_of(peer, ctx) {
            self.accounts.add(client);
        }
        if let Some(idle) = instead_of {
            self.close(idle, false, ctx);
        }
        self.arm(id, ctx.rules.settings.timeouts.head, ctx);
        id
    }

    /// Takes a connection in that is told 503, if there is a place for that.
    fn accept_overflow(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        reason: Reason,
        ctx: &mut Context,
    ) -> Option<ClientId> {
        if !self.has_overflow_place(ctx) {
            return None;
        }
        let id = self
            .connections
            .insert(Client::new(peer, listener, Place::Overflow));
        self.overflow = self.overflow.saturating_add(1);
        let entry = ctx
            .access_log
            .begin(peer.ip(), Entrance::default(), ctx.now);
        let reply = LocalReply::refusal(Reply::ServiceUnavailable, Outcome::OverLimit, reason);
        self.reply(id, reply, entry, None, ctx);
        Some(id)
    }

    /// Takes a connection of a denied peer in, whose first request is answered 403, if there is a
    /// place for that.
    fn accept_denied(
        &mut self,
        peer: Peer,
        listener: ListenerKind,
        ctx: &mut Context,
    ) -> Option<ClientId> {
        if !self.has_denied_place(listener, ctx) {
            return None;
        }
        let id = self
            .connections
            .insert(Client::new(peer, listener, Place::Denied));
        self.overflow = self.overflow.saturating_add(1);
        self.denied = self.denied.saturating_add(1);
        self.arm(id, ctx.rules.settings.timeouts.head, ctx);
        Some(id)
    }

    /// Returns whether one more connection can be told 503.
    pub(super) fn has_overflow_place(&self, ctx: &Context) -> bool {
        self.overflow < ctx.rules.settings.limits.overflow
    }

    /// Returns whether one more connection of a denied peer can be told 403.
    pub(super) fn has_denied_place(&self, listener: ListenerKind, ctx: &Context) -> bool {
        (listener != ListenerKind::Secure || ctx.proves_in_handshakes())
            && self.has_overflow_place(ctx)
            && self.denied < DENIED_CONNECTIONS
    }

    /// Takes a connection that is gone out of what is counted.
    pub(super) fn discount(&mut self, connection: &Client, ctx: &Context) {
        if let Phase::Idle { older, newer } = connection.phase {
            self.unlink_idle(older, newer);
        }
        match connection.place {
            Place::Served => {
                if let Some(client) = account_of(connection.peer, ctx) {
                    self.accounts.remove(client);
                }
            }
            Place::Unannounced => {}
            Place::Overflow => self.overflow = self.overflow.saturating_sub(1),
            Place::Denied => {
                self.overflow = self.overflow.saturating_sub(1);
                self.denied = self.denied.saturating_sub(1);
            }
        }
    }

    /// Counts the connections of each client again, by the rules of the moment: other peers are
    /// trusted now, or other networks are one client.
    pub(in crate::proxy) fn recount(&mut self, ipv6_prefix: u8, ctx: &Context) {
        let mut accounts = Accounts::new(ipv6_prefix, self.seed);
        for client in self.connections.values_mut() {
            if client.place == Place::Served
                && let Some(address) = account_of(client.peer, ctx)
            {
                accounts.add(address);
            }
        }
        self.accounts = accounts;
    }

    /// Number of client connections that are served.
    pub(in crate::proxy) fn served(&self) -> usize {
        self.connections.len().saturating_sub(self.overflow)
    }

    /// Returns whether what is counted is what there is. Looks at every connection: for tests.
    pub(in crate::proxy) fn counts_hold(&self, ctx: &Context) -> bool {
        let all = || {
            self.connections
                .keys()
                .filter_map(|id| self.connections.get(id))
        };
        let placed = |place| all().filter(|client| client.place == place).count();
        let served = all().filter(|client| client.place == Place::Served);
        let counted = served
            .filter_map(|client| account_of(client.peer, ctx))
            .collect::<Vec<_>>();
        let connections_of = |client: IpAddr| {
            let same = counted
                .iter()
                .filter(|other| self.accounts.is_same(client, **other));
            same.count()
        };
        self.idle_list_holds()
            && self.accounts.connections() == counted.len()
            && counted
                .iter()
                .all(|&client| self.accounts.held(client) == connections_of(client))
            && self.denied == placed(Place::Denied)
            && self.overflow == placed(Place::Overflow).saturating_add(self.denied)
    }
}

/// Returns the address that a connection is counted by, if it is.
pub(super) fn account_of(peer: Peer, ctx: &Context) -> Option<IpAddr> {
    peer.ip().filter(|_| !ctx.rules.trusted.is_trusted(peer))
}
