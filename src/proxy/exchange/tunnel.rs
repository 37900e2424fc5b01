//! After a 101: bytes both ways, unread, until both directions ended (RFC 9110 7.8).
//!
//! Each direction ends on its own: what is buffered is written, then the end is passed on.

use super::super::command::{Command, Side};
use super::relay::Relay;
use super::traits::WaitsFor;
use super::{ExchangeStep, Response};
use crate::observe::access::Outcome;

/// State of the two directions of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::proxy) struct Tunnel {
    client: Direction,
    upstream: Direction,
}

/// Progress of the end of one direction of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Direction {
    /// Bytes may come.
    #[default]
    Open,
    /// The sender ended it; bytes may still wait to be written.
    Ended,
    /// The receiver was told.
    PassedOn,
}

impl Tunnel {
    /// Returns whether bytes may come from the client.
    pub(super) fn client_is_open(self) -> bool {
        self.client == Direction::Open
    }

    /// Returns whether everything from the upstream was passed on, its end included.
    pub(super) fn client_has_all(self) -> bool {
        self.upstream == Direction::PassedOn
    }

    /// Returns whether bytes may come from the upstream.
    pub(super) fn upstream_is_open(self) -> bool {
        self.upstream == Direction::Open
    }
}

impl Relay<'_> {
    /// Opens the tunnel: the 101 is in the client's outbox, and from here on nothing is HTTP.
    #[inline(never)]
    pub(super) fn open_tunnel(&mut self) -> ExchangeStep {
        self.exchange.log_entry.is_answered(101, self.ctx.now);
        if let Some(up) = self.exchange.attempts.upstream_id()
            && let Some(upstream) = self.upstreams.get_mut(up)
        {
            upstream.outbox.release_head(&mut self.ctx.buffers);
        }
        self.client.ended = false;
        self.exchange.response = Response::Tunnel(Tunnel::default());
        self.tunnel_to_upstream();
        self.tunnel_to_client()
    }

    /// Moves bytes from the client to the upstream.
    pub(super) fn tunnel_to_upstream(&mut self) -> ExchangeStep {
        if let Some(up) = self.exchange.attempts.upstream_id()
            && let Some(upstream) = self.upstreams.get_mut(up)
        {
            if upstream.outbox.accepts() {
                let (inbox, buffers) = (&mut self.client.inbox, &mut self.ctx.buffers);
                let n = inbox.len();
                let moved = upstream.outbox.take(inbox, n, buffers) as u64;
                let entry = &mut self.exchange.log_entry;
                entry.numbers.bytes_in = entry.numbers.bytes_in.saturating_add(moved);
            }
            self.tunnel_moved();
        }
        ExchangeStep::Wait
    }

    /// Moves bytes from the upstream to the client.
    #[inline(never)]
    pub(super) fn tunnel_to_client(&mut self) -> ExchangeStep {
        if let Some(up) = self.exchange.attempts.upstream_id()
            && let Some(upstream) = self.upstreams.get_mut(up)
        {
            if self.client.outbox.accepts() {
                let (inbox, buffers) = (&mut upstream.inbox, &mut self.ctx.buffers);
                let n = inbox.len();
                let moved = self.client.outbox.take(inbox, n, buffers) as u64;
                let entry = &mut self.exchange.log_entry;
                entry.numbers.bytes_out = entry.numbers.bytes_out.saturating_add(moved);
            }
            self.tunnel_moved();
        }
        ExchangeStep::Wait
    }

    /// Goes on once something was written: there may be room again, or an end to pass on.
    pub(super) fn tunnel_sent(&mut self) -> ExchangeStep {
        self.tunnel_to_upstream();
        self.tunnel_to_client();
        self.pass_ends_on()
    }

    /// Goes on when the upstream takes no more: what it has sent goes on to the client, for as long
    /// as the client takes it.
    pub(super) fn tunnel_write_failed(&mut self) -> ExchangeStep {
        if let Some(up) = self.exchange.attempts.upstream_id()
            && let Some(upstream) = self.upstreams.get_mut(up)
        {
            upstream.write_failed = true;
            upstream.outbox.clear(&mut self.ctx.buffers);
        }
        self.ctx.buffers.give_back(&mut self.client.inbox);
        if let Response::Tunnel(tunnel) = &mut self.exchange.response {
            tunnel.client = Direction::PassedOn;
        }
        self.tunnel_moved();
        self.pass_ends_on()
    }

    fn tunnel_moved(&mut self) {
        // Behind an upstream that is gone only the client is waited for.
        let is_gone = self
            .upstream()
            .is_some_and(|upstream| upstream.write_failed);
        self.arm(if is_gone {
            WaitsFor::TunnelEnd
        } else {
            WaitsFor::Tunnel
        });
        self.mark_client_ready();
        self.mark_upstream_ready();
    }

    /// Notes the end of the client's direction.
    pub(super) fn tunnel_client_ended(&mut self) -> ExchangeStep {
        if let Response::Tunnel(tunnel) = &mut self.exchange.response {
            tunnel.client = Direction::Ended;
        }
        self.pass_ends_on()
    }

    /// Notes the end of the upstream's direction.
    pub(super) fn tunnel_upstream_ended(&mut self) -> ExchangeStep {
        if let Response::Tunnel(tunnel) = &mut self.exchange.response {
            tunnel.upstream = Direction::Ended;
        }
        self.pass_ends_on()
    }

    /// Passes an end on once everything before it is written; when both are passed on, the tunnel
    /// is over.
    fn pass_ends_on(&mut self) -> ExchangeStep {
        let Response::Tunnel(tunnel) = &mut self.exchange.response else {
            return ExchangeStep::Wait;
        };
        let Some(up) = self.exchange.attempts.upstream_id() else {
            return ExchangeStep::Wait;
        };
        let Some(upstream) = self.upstreams.get(up) else {
            return ExchangeStep::Wait;
        };
        if tunnel.client == Direction::Ended
            && self.client.inbox.is_empty()
            && upstream.outbox.is_sent()
        {
            tunnel.client = Direction::PassedOn;
            self.ctx.command(Command::Shut(Side::Upstream(up)));
        }
        if tunnel.upstream == Direction::Ended
            && upstream.inbox.is_empty()
            && self.client.outbox.is_sent()
        {
            tunnel.upstream = Direction::PassedOn;
            let client = Side::Client(self.exchange.client);
            self.ctx.command(Command::Shut(client));
        }
        if tunnel.client == Direction::PassedOn && tunnel.upstream == Direction::PassedOn {
            return ExchangeStep::Drop {
                outcome: Outcome::Ok,
                abort: false,
            };
        }
        ExchangeStep::Wait
    }
}
