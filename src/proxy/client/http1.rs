//! HTTP/1 on a client connection: from one request to the next, and the end of the connection.

use super::super::command::{Command, Refused, Side};
use super::super::context::Context;
use super::super::ids::{ClientId, ExchangeId};
use super::super::reason::Reason;
use super::super::transfer::Progress;
use super::Clients;
use super::connection::{Phase, Place};
use super::local_reply::{LocalReply, asks_for_head};
use crate::http::head::HeadScan;
use crate::http::proxy_header::HeaderFault;
use crate::limits::{ACCESS_FIELD_BYTES, DRAIN_BYTES, LINGER_BYTES, LINGER_IDLE, LINGER_TOTAL};
use crate::observe::access::Outcome;
use crate::policy::reply::Reply;

/// Step that follows an event of a client connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum ClientStep {
    /// Nothing.
    Wait,
    /// A request's head may be complete.
    ReadHead,
    /// The event concerns the connection's exchange.
    Exchange(ExchangeId),
    /// The suspended request is to be given up: its client is gone.
    GiveUp,
    /// The suspended request has waited for too long.
    TimedOut,
}

impl Clients {
    /// Takes `n` bytes that were put into the inbox.
    #[inline]
    pub(in crate::proxy) fn received(
        &mut self,
        id: ClientId,
        n: usize,
        ctx: &mut Context,
    ) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        client.inbox.fill(n);
        if n == 0 {
            return ClientStep::Wait;
        }
        match client.phase {
            Phase::Exchange(exchange) => ClientStep::Exchange(exchange),
            Phase::ReadHead { .. } => ClientStep::ReadHead,
            Phase::Idle { older, newer } => {
                client.phase = Phase::ReadHead {
                    scan: HeadScan::default(),
                    started: false,
                };
                self.unlink_idle(older, newer);
                ClientStep::ReadHead
            }
            Phase::Reply { .. } => self.drain(id, ctx),
            Phase::Linger { .. } => {
                self.discard(id, ctx);
                ClientStep::Wait
            }
            Phase::Suspended(_) | Phase::Closed => ClientStep::Wait,
        }
    }

    /// Notes `n` bytes that were written.
    #[inline]
    pub(in crate::proxy) fn sent(
        &mut self,
        id: ClientId,
        n: usize,
        ctx: &mut Context,
    ) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        client.outbox.sent(n, &mut ctx.buffers);
        match client.phase {
            Phase::Exchange(exchange) => ClientStep::Exchange(exchange),
            Phase::Reply { .. } => self.finish_reply(id, ctx),
            _ => ClientStep::Wait,
        }
    }

    /// Waits for the rest of a head; from its first byte on `timeouts.head` runs.
    pub(in crate::proxy) fn await_head(
        &mut self,
        id: ClientId,
        scan: HeadScan,
        is_first: bool,
        ctx: &mut Context,
    ) {
        if let Some(client) = self.connections.get_mut(id)
            && let Phase::ReadHead { scan: kept, .. } = &mut client.phase
        {
            *kept = scan;
        }
        if is_first {
            self.arm(id, ctx.rules.settings.timeouts.head, ctx);
        }
    }

    /// Goes on behind the last byte of a response: with the next request, or with a clean close.
    #[inline(always)]
    pub(in crate::proxy) fn after_exchange(
        &mut self,
        id: ClientId,
        keeps_alive: bool,
        ctx: &mut Context,
    ) -> ClientStep {
        if keeps_alive {
            return self.next_request(id, ctx);
        }
        self.linger(id, ctx);
        ClientStep::Wait
    }

    /// Goes back to the start: the next request may already be here. The loop, which wrote the last
    /// byte or looks at the connection again, reads on.
    fn next_request(&mut self, id: ClientId, ctx: &mut Context) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        if !client.inbox.is_empty() {
            client.phase = Phase::ReadHead {
                scan: HeadScan::default(),
                started: false,
            };
            self.arm(id, ctx.rules.settings.timeouts.head, ctx);
            return ClientStep::ReadHead;
        }
        if ctx.draining && !ctx.keeps_idle {
            self.linger(id, ctx);
            return ClientStep::Wait;
        }
        self.link_idle(id);
        self.arm(id, ctx.rules.settings.timeouts.keep_alive, ctx);
        ClientStep::Wait
    }

    /// Drops what is left of the body of a request that was answered here.
    pub(in crate::proxy) fn drain(&mut self, id: ClientId, ctx: &mut Context) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        let Phase::Reply { drain, keep } = &mut client.phase else {
            return ClientStep::Wait;
        };
        let Some(transfer) = drain else {
            if !*keep {
                // What follows a last reply is never looked at.
                ctx.buffers.give_back(&mut client.inbox);
            }
            return ClientStep::Wait;
        };
        match transfer.step(&mut client.inbox, &mut client.outbox, &mut ctx.buffers) {
            Ok(Progress::Complete) => *drain = None,
            Ok(Progress::More) if transfer.moved() <= DRAIN_BYTES => return ClientStep::Wait,
            Ok(Progress::More) => {
                *drain = None;
                *keep = false;
            }
            Err(fault) => {
                *drain = None;
                *keep = false;
                ctx.report_broken_body(client.peer.ip(), fault);
            }
        }
        self.finish_reply(id, ctx)
    }

    /// Ends a reply of the gateway's own, once it is written and its request's body is dropped.
    fn finish_reply(&mut self, id: ClientId, ctx: &mut Context) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        let Phase::Reply { drain, keep } = &client.phase else {
            return ClientStep::Wait;
        };
        if !client.outbox.is_sent() {
            return ClientStep::Wait;
        }
        match (*keep, drain.is_some()) {
            (true, true) => ClientStep::Wait,
            (true, false) => self.next_request(id, ctx),
            (false, _) => {
                self.linger(id, ctx);
                ClientStep::Wait
            }
        }
    }

    /// Ends our direction, then reads until the client ends its own (RFC 9112 9.6).
    pub(in crate::proxy) fn linger(&mut self, id: ClientId, ctx: &mut Context) {
        let Some(client) = self.connections.get_mut(id) else {
            return;
        };
        if client.ended {
            return self.close(id, false, ctx);
        }
        client.phase = Phase::Linger {
            since: ctx.now,
            left: LINGER_BYTES,
        };
        ctx.buffers.give_back(&mut client.inbox);
        self.arm(id, Some(LINGER_IDLE), ctx);
        ctx.command(Command::Shut(Side::Client(id)));
        self.mark_ready(id, ctx);
    }

    /// Drops what a client still sends behind the last reply.
    fn discard(&mut self, id: ClientId, ctx: &mut Context) {
        let Some(client) = self.connections.get_mut(id) else {
            return;
        };
        let Phase::Linger { since, left } = &mut client.phase else {
            return;
        };
        *left = left.saturating_sub(client.inbox.len() as u64);
        let is_over = *left == 0 || ctx.now.since(*since) >= LINGER_TOTAL;
        ctx.buffers.give_back(&mut client.inbox);
        if is_over {
            self.close(id, false, ctx);
        } else {
            self.arm(id, Some(LINGER_IDLE), ctx);
        }
    }

    /// Notes the end of the client's direction.
    pub(in crate::proxy) fn ended(&mut self, id: ClientId, ctx: &mut Context) -> ClientStep {
        let half_close = ctx.rules.settings.half_close;
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        client.ended = true;
        match &mut client.phase {
            Phase::Exchange(exchange) => return ClientStep::Exchange(*exchange),
            Phase::Suspended(_) if half_close => {}
            Phase::Suspended(_) => return ClientStep::GiveUp,
            // The reply still goes out; what was to be drained will never come.
            Phase::Reply { drain, keep } => {
                *drain = None;
                *keep = false;
                return self.finish_reply(id, ctx);
            }
            Phase::ReadHead { .. } => {
                self.record_unfinished(id, ctx);
                self.close(id, false, ctx);
            }
            Phase::Idle { .. } | Phase::Linger { .. } | Phase::Closed => self.close(id, false, ctx),
        }
        ClientStep::Wait
    }

    /// Acts on the deadline of a connection.
    pub(in crate::proxy) fn on_deadline(&mut self, id: ClientId, ctx: &mut Context) -> ClientStep {
        let Some(client) = self.connections.get_mut(id) else {
            return ClientStep::Wait;
        };
        match client.phase {
            Phase::Exchange(_) => {}
            Phase::Suspended(_) => return ClientStep::TimedOut,
            Phase::ReadHead { started: true, .. } => self.head_timed_out(id, ctx),
            Phase::ReadHead { .. } if client.place == Place::Unannounced => {
                self.unannounced(id, Some(HeaderFault::Late), ctx);
            }
            Phase::Idle { .. }
            | Phase::ReadHead { .. }
            | Phase::Reply { .. }
            | Phase::Linger { .. }
            | Phase::Closed => self.close(id, false, ctx),
        }
        ClientStep::Wait
    }

    /// Answers a client that sent no whole head in time.
    fn head_timed_out(&mut self, id: ClientId, ctx: &mut Context) {
        let Some(client) = self.connections.get_mut(id) else {
            return;
        };
        let mut entry = ctx
            .access_log
            .begin(client.peer.ip(), client.entrance, ctx.now);
        let bytes = client.inbox.filled();
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let is_head = asks_for_head(bytes);
        entry.note_start(bytes, ACCESS_FIELD_BYTES);
        ctx.buffers.give_back(&mut client.inbox);
        let refusal = LocalReply::refusal(
            Reply::RequestTimeout,
            Outcome::ClientTimeout,
            Reason::HeadTimeout,
        );
        let reply = LocalReply { is_head, ..refusal };
        self.reply(id, reply, entry, None, ctx);
    }

    /// Writes the line of a request of which not even the head came, where one had begun.
    pub(in crate::proxy) fn record_unfinished(&mut self, id: ClientId, ctx: &mut Context) {
        let Some(client) = self.connections.get(id) else {
            return;
        };
        if matches!(client.phase, Phase::ReadHead { started: true, .. }) {
            let entry = ctx
                .access_log
                .begin(client.peer.ip(), client.entrance, ctx.now);
            ctx.record(id, entry, Outcome::ClientClosed);
        }
    }

    /// Ends a connection whose TLS handshake failed: no request came, and nothing that was to be
    /// written over it can be; but the alert that says why is still on its way. `uncertified`: why
    /// the certificate was refused, if that is what failed.
    pub(in crate::proxy) fn not_secured(
        &mut self,
        id: ClientId,
        uncertified: Option<Reason>,
        ctx: &mut Context,
    ) {
        if let Some(client) = self.connections.get_mut(id) {
            if let Some(reason) = uncertified {
                ctx.count_refused(Refused::Certificate);
                ctx.report_uncertified(client.peer.ip(), client.entrance.listener, reason);
            }
            client.outbox.clear(&mut ctx.buffers);
            self.linger(id, ctx);
        }
    }

    /// Returns whether a stop of the gateway closes a connection at once.
    pub(in crate::proxy) fn is_between_requests(&self, id: ClientId) -> bool {
        self.get(id).is_some_and(|client| {
            let is_between = matches!(
                client.phase,
                Phase::Idle { .. } | Phase::ReadHead { started: false, .. }
            );
            is_between && client.outbox.is_sent()
        })
    }
}
