//! An exchange with both its connections: what the files of this folder work on.

use super::super::client::Client;
use super::super::command::Side;
use super::super::context::{Context, TimerKey};
use super::super::ids::{ExchangeId, UpstreamId};
use super::super::settings::{ExchangeTimeouts, Service};
use super::super::upstream::{Search, Upstream, Upstreams};
use super::traits::WaitsFor;
use super::{Exchange, Upload};
use crate::time::Duration;
use crate::wheel::Timer;

/// An exchange, looked up once for an event, with its connections.
pub(in crate::proxy) struct Relay<'a> {
    pub(in crate::proxy) id: ExchangeId,
    pub(in crate::proxy) exchange: &'a mut Exchange,
    pub(in crate::proxy) timer: &'a mut Timer,
    pub(in crate::proxy) client: &'a mut Client,
    pub(in crate::proxy) upstreams: &'a mut Upstreams,
    pub(in crate::proxy) ctx: &'a mut Context,
}

impl Relay<'_> {
    /// Returns the id of the upstream connection.
    pub(super) fn upstream_id(&self) -> Option<UpstreamId> {
        self.exchange.attempts.upstream_id()
    }

    /// Returns the upstream connection.
    #[inline(always)]
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        self.upstreams.get(self.upstream_id()?)
    }

    /// Returns the rules of the service.
    #[inline]
    pub(super) fn service(&self) -> &Service {
        &self.exchange.rules.service
    }

    /// Has the loop look at the client connection again.
    #[inline]
    pub(super) fn mark_client_ready(&mut self) {
        let side = Side::Client(self.exchange.client);
        self.ctx.mark_ready(&mut self.client.queued, side);
    }

    /// Has the loop look at the upstream connection again.
    #[inline]
    pub(super) fn mark_upstream_ready(&mut self) {
        if let Some(up) = self.exchange.attempts.upstream_id() {
            self.upstreams.mark_ready(up, self.ctx);
        }
    }

    /// Writes bytes to the client, behind what waits there.
    pub(in crate::proxy) fn write_to_client(&mut self, bytes: &[u8]) {
        let outbox = &mut self.client.outbox;
        let room = outbox.head_room(bytes.len(), &mut self.ctx.buffers);
        let _ = room.push(bytes);
        self.mark_client_ready();
    }

    /// Returns the upstream part, the exchange's search for a connection, and the context.
    pub(super) fn search(&mut self) -> (&mut Upstreams, Search<'_>, &mut Context) {
        let search = Search::Exchange {
            id: self.id,
            client_id: self.exchange.client,
            client: self.exchange.log_entry.numbers.client,
            rules: &self.exchange.rules,
            attempts: &mut self.exchange.attempts,
        };
        (self.upstreams, search, self.ctx)
    }

    /// Sets the deadline for what the exchange waits for now: a timeout of its service, or what the
    /// pace of its request's body says.
    #[inline(always)]
    pub(super) fn arm(&mut self, waits_for: WaitsFor) {
        self.exchange.waits_for = waits_for;
        let span = span(&self.service().timeouts, waits_for);
        // Few bodies are watched.
        let span = match self.exchange.pace {
            None => span,
            Some(_) => self.paced(waits_for, span),
        };
        self.arm_for(span);
    }

    /// Returns the deadline that the pace of the request's body asks for.
    #[inline(never)]
    fn paced(&mut self, waits_for: WaitsFor, span: Option<Duration>) -> Option<Duration> {
        match (&mut self.exchange.pace, &self.exchange.upload) {
            (Some(pace), _) if waits_for == WaitsFor::Connect => {
                pace.pause();
                span
            }
            (Some(pace), Upload::Copy(transfer)) => pace.next(span, transfer.moved(), self.ctx.now),
            _ => span,
        }
    }

    /// Sets the deadline; `None` turns it off.
    #[inline]
    pub(super) fn arm_for(&mut self, span: Option<Duration>) {
        let key = TimerKey::Exchange(self.id.index());
        self.ctx.arm(self.timer, key, span);
    }
}

#[inline(always)]
fn span(timeouts: &ExchangeTimeouts, waits_for: WaitsFor) -> Option<Duration> {
    match waits_for {
        WaitsFor::Connect => timeouts.connect,
        WaitsFor::Response => timeouts.response,
        WaitsFor::Progress | WaitsFor::TunnelEnd => timeouts.idle,
        WaitsFor::Tunnel => timeouts.tunnel,
        WaitsFor::RequestBody => timeouts.body,
    }
}
