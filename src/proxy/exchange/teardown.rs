//! Ends, faults and deadlines of an exchange.
//!
//! Before a byte of the response head is out, the client gets a reply of the gateway's own (502, 503,
//! 504, or the 4xx it earned). After that its connection is reset so that the body cannot be taken
//! for complete.

use super::super::command::Fault;
use super::super::ids::UpstreamId;
use super::super::reason::{Failure, Reason};
use super::super::upstream::Stage;
use super::pace::Judgement;
use super::relay::Relay;
use super::traits::WaitsFor;
use super::{ExchangeStep, Response, Upload};
use crate::observe::access::Outcome;

impl Relay<'_> {
    // --- the upstream ---

    /// Notes the end of the upstream's direction.
    #[inline(never)]
    pub(in crate::proxy) fn on_upstream_end(&mut self) -> ExchangeStep {
        match &mut self.exchange.response {
            Response::Awaited | Response::Begun => {
                ExchangeStep::UpstreamLost(Failure::ended_early())
            }
            Response::Copy { transfer, .. } if transfer.ends_with_stream() => {
                transfer.finish(&mut self.client.outbox, &mut self.ctx.buffers);
                self.response_read(false)
            }
            Response::Copy { .. } => ExchangeStep::Reset(Failure::ended_early()),
            Response::Done => ExchangeStep::Wait,
            Response::Tunnel(_) => self.tunnel_upstream_ended(),
        }
    }

    /// Goes on after the open connection to the upstream broke. `reason`: what the system or TLS
    /// said.
    pub(in crate::proxy) fn on_upstream_fault(
        &mut self,
        up: UpstreamId,
        fault: Fault,
        reason: Option<Reason>,
    ) -> ExchangeStep {
        let failure = Failure {
            outcome: fault.outcome(),
            reason,
        };
        let is_send = fault == Fault::SendFailed;
        match self.exchange.response {
            Response::Tunnel(_) if is_send => self.tunnel_write_failed(),
            Response::Tunnel(_) => ExchangeStep::Reset(failure),
            // The peer may have answered before it closed: what it sent is read first.
            _ if is_send => {
                if let Upload::Copy(_) = self.exchange.upload {
                    self.exchange.upload = Upload::Abandoned;
                }
                if let Some(upstream) = self.upstreams.get_mut(up) {
                    upstream.write_failed = true;
                }
                self.upstreams.mark_ready(up, self.ctx);
                ExchangeStep::Wait
            }
            Response::Awaited | Response::Begun => ExchangeStep::UpstreamLost(failure),
            Response::Copy { .. } | Response::Done => ExchangeStep::Reset(failure),
        }
    }

    /// Takes a response back whose head waits in the client's outbox, if no byte of what waits there
    /// is out. Returns whether the client has nothing of a response now.
    #[cold]
    pub(in crate::proxy) fn take_response_back(&mut self) -> bool {
        if self.exchange.awaits_head() {
            return true;
        }
        if self.client.outbox.any_sent() {
            return false;
        }
        self.client.outbox.clear(&mut self.ctx.buffers);
        self.exchange.response = Response::Begun;
        self.exchange.log_entry.numbers.status = None;
        self.exchange.log_entry.numbers.bytes_out = 0;
        true
    }

    /// Ends an exchange whose response fails behind its head. A client that takes nothing gets no
    /// reply either.
    #[cold]
    pub(in crate::proxy) fn fail_behind_head(&mut self, failure: Failure) -> ExchangeStep {
        let outcome = failure.outcome;
        if self.take_response_back() && outcome != Outcome::ClientTimeout {
            return ExchangeStep::UpstreamLost(failure);
        }
        self.report(&failure, None);
        let abort = true;
        ExchangeStep::Drop { outcome, abort }
    }

    /// Tells the operator that the exchange fails for a reason that lies with the upstream.
    /// `status`: what the client is told in place of a response; `None`: it gets no reply.
    pub(in crate::proxy) fn report(&mut self, failure: &Failure, status: Option<u16>) {
        let up = self.exchange.attempts.upstream_id();
        let address = up.and_then(|up| self.upstreams.address_of(up));
        let entry = &mut self.exchange.log_entry;
        self.ctx.report_failed(entry, failure, status, address);
    }

    // --- the client ---

    /// Notes the end of the client's direction.
    pub(in crate::proxy) fn on_client_end(&mut self) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            return self.tunnel_client_ended();
        }
        let half_close = self.exchange.rules.common.half_close;
        if half_close && matches!(self.exchange.upload, Upload::Done) {
            return ExchangeStep::Wait;
        }
        self.cancel()
    }

    /// Takes note that the client has ended its direction, although bytes of it may wait in the
    /// socket.
    pub(in crate::proxy) fn on_client_hangup(&mut self) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            return ExchangeStep::Wait;
        }
        self.client.ended = true;
        let half_close = self.exchange.rules.common.half_close;
        let is_over = matches!(self.exchange.response, Response::Done);
        if half_close || is_over || matches!(self.exchange.upload, Upload::Copy(_)) {
            return ExchangeStep::Wait;
        }
        self.cancel()
    }

    /// Ends the exchange: the client wants no more of it. Where a part of a response is with it
    /// already, a clean end would say that this was all (RFC 9112 8: an HTTP/1.0 client has nothing
    /// else to go by).
    pub(super) fn cancel(&mut self) -> ExchangeStep {
        ExchangeStep::Drop {
            outcome: Outcome::ClientClosed,
            abort: !self.exchange.awaits_head(),
        }
    }

    // --- deadlines ---

    /// Acts on the deadline of the exchange.
    pub(in crate::proxy) fn on_deadline(&mut self) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            // Behind an upstream that is gone the client took nothing more.
            let is_gone = self.exchange.waits_for == WaitsFor::TunnelEnd;
            let outcome = if is_gone {
                Outcome::UpstreamClosed
            } else {
                Outcome::Ok
            };
            return ExchangeStep::Drop {
                outcome,
                abort: is_gone,
            };
        }
        let has_passed_all = self
            .upstream()
            .is_some_and(|upstream| upstream.stage == Stage::Open && upstream.outbox.is_sent());
        let judgement = match (&self.exchange.upload, &mut self.exchange.pace) {
            (Upload::Gather(_), _) => Judgement::TooSlow(Reason::BodyTimeout),
            (Upload::Copy(transfer), Some(pace)) => {
                pace.assess(transfer.moved(), has_passed_all, self.ctx.now)
            }
            _ => Judgement::Silent,
        };
        match judgement {
            Judgement::TooSlow(reason) => {
                ExchangeStep::RefuseBody(Failure::new(Outcome::ClientTimeout, reason))
            }
            Judgement::GoOn => {
                let now = self.ctx.now;
                let pace = self.exchange.pace.as_ref();
                let span = pace.and_then(|pace| pace.rest(now));
                self.arm_for(span);
                ExchangeStep::Wait
            }
            Judgement::Silent => self.silent(has_passed_all),
        }
    }

    /// Blames the side that owes bytes.
    fn silent(&mut self, has_passed_all: bool) -> ExchangeStep {
        let awaits_head = self.exchange.awaits_head();
        let is_client = if awaits_head {
            matches!(self.exchange.upload, Upload::Copy(_)) && has_passed_all
        } else {
            !self.client.outbox.is_sent()
        };
        let failure = if is_client {
            Failure::new(Outcome::ClientTimeout, Reason::ClientIdle)
        } else {
            Failure::new(Outcome::UpstreamTimeout, self.upstream_timeout())
        };
        match (awaits_head, is_client, self.upstream_id()) {
            (true, false, Some(_)) => ExchangeStep::AttemptFailed(failure),
            (true, ..) => ExchangeStep::Fail(failure),
            (false, ..) => ExchangeStep::Reset(failure),
        }
    }

    /// Returns what did not happen in time on the upstream's side.
    fn upstream_timeout(&self) -> Reason {
        match self.upstream().map(|upstream| upstream.stage) {
            Some(Stage::Resolving) => Reason::LookupTimeout,
            Some(Stage::Dialing(_)) => Reason::ConnectTimeout,
            Some(Stage::Open) | None if self.exchange.awaits_head() => Reason::ResponseTimeout,
            Some(Stage::Open) | None => Reason::UpstreamIdle,
        }
    }
}
