//! After a 101: bytes both ways, unread, until both directions ended (RFC 9110 7.8).
//!
//! Each direction ends on its own: what is buffered is written, then the end is passed on.

use super::Proxy;
use super::client::Phase;
use super::command::{ClientId, Command, Side, UpstreamId};
use super::exchange::Exchange;
use crate::observe::access::Outcome;
use crate::time::Instant;

impl Proxy {
    /// The 101 is in the client's outbox: from here on nothing is HTTP.
    pub(super) fn open_tunnel(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let phase = core::mem::replace(&mut client.phase, Phase::Closed);
        let Phase::Relay(mut exchange) = phase else {
            client.phase = phase;
            return;
        };
        exchange.log_entry.is_answered(101, now);
        if let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        {
            up.outbox.release_head(&mut self.pool);
        }
        client.ended = false;
        client.phase = Phase::Tunnel(exchange);
        self.tunnel_up(id, now);
        self.tunnel_down(id, now);
    }

    /// Client to upstream.
    pub(super) fn tunnel_up(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut client.phase else {
            return;
        };
        let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        else {
            return;
        };
        if up.outbox.accepts() {
            let n = client.inbox.len();
            let moved = up.outbox.take(&mut client.inbox, n, &mut self.pool) as u64;
            exchange.log_entry.bytes_in = exchange.log_entry.bytes_in.saturating_add(moved);
        }
        self.tunnel_moved(id, now);
    }

    /// Upstream to client.
    pub(super) fn tunnel_down(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut client.phase else {
            return;
        };
        let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        else {
            return;
        };
        if client.outbox.accepts() {
            let n = up.inbox.len();
            let moved = client.outbox.take(&mut up.inbox, n, &mut self.pool) as u64;
            exchange.log_entry.bytes_out = exchange.log_entry.bytes_out.saturating_add(moved);
        }
        self.tunnel_moved(id, now);
    }

    /// Something was written: there may be room again, or an end to pass on.
    pub(super) fn tunnel_sent(&mut self, id: ClientId, now: Instant) {
        self.tunnel_up(id, now);
        self.tunnel_down(id, now);
        self.pass_ends_on(id, now);
    }

    /// The upstream takes no more: what it has said goes on to the client, for as long as the client takes it.
    pub(super) fn tunnel_deaf(&mut self, id: ClientId, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        upstream.write_failed = true;
        upstream.outbox.clear(&mut self.pool);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        self.pool.give_back(&mut client.inbox);
        if let Some(exchange) = client.exchange() {
            exchange.client_ended = Ended::PassedOn;
        }
        self.tunnel_moved(id, now);
        self.pass_ends_on(id, now);
    }

    fn tunnel_moved(&mut self, id: ClientId, now: Instant) {
        // Behind an upstream that is gone only the client is waited for.
        let is_write_failed = self
            .link_of(id)
            .and_then(|link| self.upstreams.get(link.id))
            .is_some_and(|up| up.write_failed);
        let span = self.timeouts_of(id).and_then(|timeouts| {
            if is_write_failed {
                timeouts.idle
            } else {
                timeouts.tunnel
            }
        });
        self.arm_client(id, span, now);
        self.mark_client_ready(id);
        if let Some(link) = self.link_of(id) {
            self.mark_upstream_ready(link.id);
        }
    }

    /// One side ended its direction.
    pub(super) fn tunnel_ended(&mut self, id: ClientId, side: Side, now: Instant) {
        if let Some(exchange) = self.exchange_of(id) {
            match side {
                Side::Client(_) => exchange.client_ended = Ended::HeadOutcome,
                Side::Upstream(_) => exchange.upstream_ended = Ended::HeadOutcome,
            }
        }
        self.pass_ends_on(id, now);
    }

    /// Passes an end on once everything before it is written; when both are passed on, the tunnel is over.
    fn pass_ends_on(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut client.phase else {
            return;
        };
        let Exchange {
            link,
            client_ended,
            upstream_ended,
            ..
        } = exchange.as_mut();
        let Some(link) = *link else { return };
        let Some(up) = self.upstreams.get(link.id) else {
            return;
        };
        if *client_ended == Ended::HeadOutcome && client.inbox.is_empty() && up.outbox.is_sent() {
            *client_ended = Ended::PassedOn;
            self.commands
                .push_back(Command::Shut(Side::Upstream(link.id)));
        }
        if *upstream_ended == Ended::HeadOutcome && up.inbox.is_empty() && client.outbox.is_sent() {
            *upstream_ended = Ended::PassedOn;
            self.commands.push_back(Command::Shut(Side::Client(id)));
        }
        if *client_ended == Ended::PassedOn && *upstream_ended == Ended::PassedOn {
            self.drop_client(id, Outcome::Ok, false, now);
        }
    }
}

/// How far the end of one direction of a tunnel has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Ended {
    /// It is open.
    #[default]
    No,
    /// The sender ended it; bytes may still wait to be written.
    HeadOutcome,
    /// The receiver was told.
    PassedOn,
}
