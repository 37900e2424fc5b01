//! After a 101: bytes both ways, unread, until both directions ended (RFC 9110 7.8).
//!
//! Each direction ends on its own: what is buffered is written, then the end is passed on.

use super::Proxy;
use super::command::{Command, DownstreamId, Side, UpstreamId};
use super::downstream::Phase;
use super::exchange::Exchange;
use crate::observe::access::End;
use crate::time::Instant;

impl Proxy {
    /// The 101 is in the client's outbox: from here on nothing is HTTP.
    pub(super) fn open_tunnel(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let phase = core::mem::replace(&mut down.phase, Phase::Closed);
        let Phase::Relay(mut exchange) = phase else {
            down.phase = phase;
            return;
        };
        exchange.draft.is_answered(101, now);
        if let Some(up) = exchange.link.and_then(|link| self.ups.get_mut(link.id)) {
            up.outbox.forget(&mut self.pool);
        }
        down.ended = false;
        down.phase = Phase::Tunnel(exchange);
        self.tunnel_up(id, now);
        self.tunnel_down(id, now);
    }

    /// Client to upstream.
    pub(super) fn tunnel_up(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut down.phase else {
            return;
        };
        let Some(up) = exchange.link.and_then(|link| self.ups.get_mut(link.id)) else {
            return;
        };
        if up.outbox.accepts() {
            let n = down.inbox.len();
            let moved = up.outbox.take(&mut down.inbox, n, &mut self.pool) as u64;
            exchange.draft.bytes_in = exchange.draft.bytes_in.saturating_add(moved);
        }
        self.tunnel_moved(id, now);
    }

    /// Upstream to client.
    pub(super) fn tunnel_down(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut down.phase else {
            return;
        };
        let Some(up) = exchange.link.and_then(|link| self.ups.get_mut(link.id)) else {
            return;
        };
        if down.outbox.accepts() {
            let n = up.inbox.len();
            let moved = down.outbox.take(&mut up.inbox, n, &mut self.pool) as u64;
            exchange.draft.bytes_out = exchange.draft.bytes_out.saturating_add(moved);
        }
        self.tunnel_moved(id, now);
    }

    /// Something was written: there may be room again, or an end to pass on.
    pub(super) fn tunnel_sent(&mut self, id: DownstreamId, now: Instant) {
        self.tunnel_up(id, now);
        self.tunnel_down(id, now);
        self.pass_ends_on(id, now);
    }

    /// The upstream takes no more: what it has said goes on to the client, for as long as the client takes it.
    pub(super) fn tunnel_deaf(&mut self, id: DownstreamId, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.ups.get_mut(up) else {
            return;
        };
        upstream.deaf = true;
        upstream.outbox.clear(&mut self.pool);
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        self.pool.give_back(&mut down.inbox);
        if let Some(exchange) = down.exchange() {
            exchange.client_ended = Ended::PassedOn;
        }
        self.tunnel_moved(id, now);
        self.pass_ends_on(id, now);
    }

    fn tunnel_moved(&mut self, id: DownstreamId, now: Instant) {
        // Behind an upstream that is gone only the client is waited for.
        let is_deaf = self
            .link_of(id)
            .and_then(|link| self.ups.get(link.id))
            .is_some_and(|up| up.deaf);
        let span = self.timeouts_of(id).and_then(|timeouts| {
            if is_deaf {
                timeouts.idle
            } else {
                timeouts.tunnel
            }
        });
        self.arm_down(id, span, now);
        self.attend_down(id);
        if let Some(link) = self.link_of(id) {
            self.attend_up(link.id);
        }
    }

    /// One side ended its direction.
    pub(super) fn tunnel_ended(&mut self, id: DownstreamId, side: Side, now: Instant) {
        if let Some(exchange) = self.exchange_of(id) {
            match side {
                Side::Down(_) => exchange.client_ended = Ended::Heard,
                Side::Up(_) => exchange.upstream_ended = Ended::Heard,
            }
        }
        self.pass_ends_on(id, now);
    }

    /// Passes an end on once everything before it is written; when both are passed on, the tunnel is over.
    fn pass_ends_on(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let Phase::Tunnel(exchange) = &mut down.phase else {
            return;
        };
        let Exchange {
            link,
            client_ended,
            upstream_ended,
            ..
        } = exchange.as_mut();
        let Some(link) = *link else { return };
        let Some(up) = self.ups.get(link.id) else {
            return;
        };
        if *client_ended == Ended::Heard && down.inbox.is_empty() && up.outbox.is_sent() {
            *client_ended = Ended::PassedOn;
            self.commands.push_back(Command::Shut(Side::Up(link.id)));
        }
        if *upstream_ended == Ended::Heard && up.inbox.is_empty() && down.outbox.is_sent() {
            *upstream_ended = Ended::PassedOn;
            self.commands.push_back(Command::Shut(Side::Down(id)));
        }
        if *client_ended == Ended::PassedOn && *upstream_ended == Ended::PassedOn {
            self.abandon(id, End::Ok, false, now);
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
    Heard,
    /// The receiver was told.
    PassedOn,
}
