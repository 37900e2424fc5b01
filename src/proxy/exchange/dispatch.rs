//! The upstream connection of an exchange: retried at most once for each endpoint, carried on to
//! other endpoints when that cannot execute a request twice, and given back only when nothing is
//! left on it (invariant I3).
//!
//! ```text
//! a pooled connection was dead            --same endpoint-->   a fresh one to the same endpoint
//! the connection was not made             --next endpoint-->   another address of the same target, or another target
//! it ended, or was silent for too long    --next endpoint-->   another target, at most `retries` times
//! ```

use super::super::command::Fault;
use super::super::heads::{TargetParts, retarget};
use super::super::ids::UpstreamId;
use super::super::outbox::Outbox;
use super::super::reason::{Failure, Reason};
use super::super::upstream::{ConnectTime, Dialed, NoEndpoint, Selection, Stage, Upstream};
use super::relay::Relay;
use super::retry::{FailedAttempt, Retry, Used};
use super::settle::{ResponseEnd, UpstreamEnd};
use super::traits::{Persistence, Sharing, Traits, WaitsFor};
use super::{ExchangeStep, Response, Upload};
use crate::buffer::total;
use crate::observe::access::Outcome;
use crate::optional::OptionalU32;
use crate::upstream::group::Member;

/// Failed attempt of an exchange, and its reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Attempt {
    /// The connection ended or broke: it may have been dead in the pool.
    Lost,
    /// The endpoint is of no use to this exchange.
    Failed,
}

impl Relay<'_> {
    /// Gives the exchange a connection to where it goes, which will carry what is in `outbox`.
    pub(in crate::proxy) fn connect(
        &mut self,
        selection: Selection,
        outbox: Outbox,
    ) -> ExchangeStep {
        self.connect_within(selection, outbox, ConnectTime::Fresh)
    }

    fn connect_within(
        &mut self,
        selection: Selection,
        outbox: Outbox,
        time: ConnectTime,
    ) -> ExchangeStep {
        let (upstreams, mut search, ctx) = self.search();
        let dialed = upstreams.connect(&mut search, selection, outbox, ctx);
        self.note_dialed(dialed, time)
    }

    /// Sends the request on a connection of its own.
    fn connect_fresh(
        &mut self,
        selection: Selection,
        outbox: Outbox,
        time: ConnectTime,
    ) -> ExchangeStep {
        let (upstreams, mut search, ctx) = self.search();
        let dialed = upstreams.connect_fresh(&mut search, selection, outbox, ctx);
        self.note_dialed(dialed, time)
    }

    #[inline(always)]
    fn note_dialed(&mut self, dialed: Dialed, time: ConnectTime) -> ExchangeStep {
        let now = self.ctx.now;
        self.exchange
            .log_entry
            .goes_up(dialed == Dialed::Reused, now);
        if self.ctx.recorder.is_some() {
            self.record_attempt(dialed == Dialed::Reused);
        }
        match dialed {
            Dialed::Reused => self.arm(WaitsFor::Response),
            Dialed::Pending | Dialed::NoAddress | Dialed::Full if time == ConnectTime::Fresh => {
                self.arm(WaitsFor::Connect);
            }
            Dialed::Pending | Dialed::NoAddress | Dialed::Full => {}
        }
        address_step(dialed)
    }

    /// Goes on once the name that the exchange waited for is known, or known to have no address.
    pub(in crate::proxy) fn on_name_resolved(&mut self, up: UpstreamId) -> ExchangeStep {
        if self.ctx.recorder.is_some() {
            let addresses = self.upstreams.addresses_of(up);
            self.ctx.record_names(self.exchange.client, &addresses);
        }
        let (upstreams, mut search, ctx) = self.search();
        address_step(upstreams.name_resolved(up, &mut search, ctx))
    }

    /// Goes on once the connection is made.
    pub(in crate::proxy) fn on_connected(&mut self) -> ExchangeStep {
        self.arm(WaitsFor::Response);
        // What the client sent meanwhile may have waited for room.
        self.mark_client_ready();
        ExchangeStep::Wait
    }

    /// Tries the next address of the target: the connection to the last one takes long.
    #[inline(never)]
    pub(in crate::proxy) fn race_on(&mut self, leader: UpstreamId) -> ExchangeStep {
        let (upstreams, mut search, ctx) = self.search();
        if upstreams.race_on(leader, &mut search, ctx) {
            let now = self.ctx.now;
            self.exchange.log_entry.goes_up(true, now);
            return self.on_connected();
        }
        ExchangeStep::Wait
    }

    /// Goes on after the connection was not made.
    pub(in crate::proxy) fn on_refused(
        &mut self,
        up: UpstreamId,
        fault: Fault,
        reason: Option<Reason>,
    ) -> ExchangeStep {
        let failure = Failure {
            outcome: fault.outcome(),
            reason,
        };
        let (upstreams, search, ctx) = self.search();
        upstreams.note_refusal(up, &search, fault, ctx);
        let retry = self.retry_after(Attempt::Failed, &failure);
        self.next_endpoint(up, retry, failure)
    }

    /// Tries the same endpoint again, after a descriptor was freed for the connection.
    pub(in crate::proxy) fn retry_after_shedding(&mut self, up: UpstreamId) -> ExchangeStep {
        self.start_over(up, ConnectTime::Running)
    }

    // --- the same endpoint ---

    /// Goes on after a failed attempt.
    pub(in crate::proxy) fn on_attempt(
        &mut self,
        attempt: Attempt,
        failure: Failure,
    ) -> ExchangeStep {
        let Some(up) = self.upstream_id() else {
            return ExchangeStep::Fail(failure);
        };
        let retry = self.retry_after(attempt, &failure);
        if retry == Retry::SameEndpoint {
            let attempts = &mut self.exchange.attempts;
            attempts.retried_same_endpoint = true;
            self.note_try(up, &failure);
            let entry = &mut self.exchange.log_entry;
            entry.numbers.retries = entry.numbers.retries.saturating_add(1);
            return self.start_over(up, ConnectTime::Fresh);
        }
        let (upstreams, search, ctx) = self.search();
        upstreams.note_failure(up, &search, failure.outcome, ctx);
        self.next_endpoint(up, retry, failure)
    }

    /// Decides whether the request goes again after a failed attempt.
    fn retry_after(&self, attempt: Attempt, failure: &Failure) -> Retry {
        let Some(upstream) = self.upstream() else {
            return Retry::No;
        };
        let exchange = &self.exchange;
        let failed = FailedAttempt {
            used: self.used(upstream, attempt, failure.outcome),
            answered: !matches!(exchange.response, Response::Awaited),
            whole: upstream.outbox.can_rewind() && !matches!(exchange.upload, Upload::Abandoned),
            written: upstream.outbox.any_sent(),
            idempotent: exchange.traits.has(Traits::IDEMPOTENT),
        };
        failed.decide()
    }

    fn used(&self, upstream: &Upstream, attempt: Attempt, outcome: Outcome) -> Used {
        let attempts = &self.exchange.attempts;
        let is_reused = attempts.upstream.is_some_and(|upstream| upstream.reused);
        match (upstream.stage, attempt) {
            (Stage::Open, Attempt::Lost)
                if is_reused
                    && !attempts.retried_same_endpoint
                    && !self.upstreams.is_retired(upstream.target) =>
            {
                Used::LostFromPool
            }
            (Stage::Open, _) if is_reused => Used::FromPool,
            (Stage::Open, _) => Used::Fresh,
            _ if outcome == Outcome::UpstreamTimeout => Used::Silent,
            _ => Used::Refused,
        }
    }

    /// Sends the same request to the same endpoint, on a connection of its own.
    fn start_over(&mut self, up: UpstreamId, time: ConnectTime) -> ExchangeStep {
        let Some(upstream) = self.upstreams.get(up) else {
            return ExchangeStep::Wait;
        };
        let selection = Selection {
            target: upstream.target,
            destination: self.exchange.attempts.destination as usize,
            endpoint: upstream.endpoint,
        };
        let Some(outbox) = self.take_request_back(up) else {
            return ExchangeStep::Wait;
        };
        self.connect_fresh(selection, outbox, time)
    }

    /// Takes the request back, to send it once more, and closes the connection that it went to.
    fn take_request_back(&mut self, up: UpstreamId) -> Option<Outbox> {
        let upstream = self.upstreams.get_mut(up)?;
        let mut outbox = core::mem::take(&mut upstream.outbox);
        outbox.rewind();
        self.upstreams.close(up, self.ctx);
        Some(outbox)
    }

    // --- another endpoint ---

    /// Carries the request on to another endpoint, when there is one. The other addresses of a name
    /// cost no retry while the connection is being made: for the operator they are one target.
    fn next_endpoint(&mut self, up: UpstreamId, retry: Retry, failure: Failure) -> ExchangeStep {
        self.note_try(up, &failure);
        if retry == Retry::No {
            return ExchangeStep::Fail(failure);
        }
        let is_failover = retry == Retry::OtherAddress;
        let Some(selection) = self.choose_next(up, is_failover) else {
            return ExchangeStep::Fail(failure);
        };
        let is_free =
            is_failover && selection.destination == self.exchange.attempts.destination as usize;
        if !is_free {
            self.report_try(up, retry, &failure);
        }
        let attempts = &mut self.exchange.attempts;
        attempts.retried = attempts.retried.saturating_add(u32::from(!is_free));
        attempts.retried_same_endpoint = false;
        let entry = &mut self.exchange.log_entry;
        entry.numbers.retries = entry.numbers.retries.saturating_add(1);
        let Some(mut outbox) = self.take_request_back(up) else {
            return ExchangeStep::Fail(failure);
        };
        self.exchange.attempts.upstream = None;
        if !self.readdress(selection, &mut outbox) {
            outbox.clear(&mut self.ctx.buffers);
            return ExchangeStep::Fail(failure);
        }
        let time = if is_free {
            ConnectTime::Running
        } else {
            ConnectTime::Fresh
        };
        self.connect_within(selection, outbox, time)
    }

    /// Notes the connection that the request goes to, for the flight recorder.
    #[cold]
    fn record_attempt(&mut self, is_kept: bool) {
        let up = self.upstream_id();
        let addresses = up.map(|up| self.upstreams.addresses_of(up));
        let addresses = addresses.unwrap_or_default();
        let client = self.exchange.client;
        self.ctx.record_attempt(client, up, is_kept, &addresses);
    }

    /// Notes that an attempt came to nothing.
    pub(super) fn note_try(&mut self, up: UpstreamId, failure: &Failure) {
        let address = self.upstreams.address_of(up);
        let made = self
            .upstreams
            .get(up)
            .is_some_and(|up| up.stage == Stage::Open);
        let now = self.ctx.now;
        let entry = &mut self.exchange.log_entry;
        entry.note_try((address, made), failure, now);
    }

    /// Reports an attempt that costs a retry. A refused connection costs no time, and
    /// `passiveHealth` reports it when it puts the endpoint aside.
    #[cold]
    fn report_try(&mut self, up: UpstreamId, retry: Retry, failure: &Failure) {
        let is_slow = retry == Retry::OtherEndpoint;
        if is_slow || self.service().passive_health.is_none() {
            let address = self.upstreams.address_of(up);
            let entry = &self.exchange.log_entry;
            self.ctx.report_try(entry, failure, address);
        }
    }

    /// Chooses an endpoint that was not tried: `is_failover`: another address of the same target
    /// costs no retry.
    fn choose_next(&mut self, up: UpstreamId, is_failover: bool) -> Option<Selection> {
        let limit = self.service().retries;
        let (upstreams, mut search, _) = self.search();
        upstreams.note_all_tried(up, &mut search);
        let attempts = &self.exchange.attempts;
        let (rules, from) = (&self.exchange.rules, attempts.destination as usize);
        let may_retry = attempts.retried < limit;
        let client = self.exchange.log_entry.numbers.client;
        self.upstreams
            .choose_again(rules, client, self.ctx, |member: &Member<_>| {
                let is_allowed = may_retry || is_failover && member.destination == from;
                is_allowed && !attempts.was_tried(member.endpoint)
            })
            .ok()
    }

    /// Makes the head in `outbox` one for the target of `selection`.
    pub(super) fn readdress(&mut self, selection: Selection, outbox: &mut Outbox) -> bool {
        let destination = selection.destination as u32;
        let from = core::mem::replace(&mut self.exchange.attempts.destination, destination);
        self.exchange.log_entry.numbers.sent_to = OptionalU32::some(destination);
        if from == destination {
            return true;
        }
        let (rules, variant) = (&self.exchange.rules, self.exchange.variant);
        let target_parts = |destination: usize| {
            let destination = rules.destination(destination)?;
            Some(TargetParts {
                path: destination.rewrite.start(variant.is_bare),
                host: destination.target.authority.as_bytes(),
                prefix_line: &destination.prefix_line,
            })
        };
        let (Some(from), Some(to)) = (
            target_parts(from as usize),
            target_parts(selection.destination),
        ) else {
            return false;
        };
        let more = total([to.path.len(), to.host.len(), to.prefix_line.len()]);
        let written = outbox.rewrite_head(more, &mut self.ctx.buffers, |head, out| {
            retarget(head, variant, from, to, out)
        });
        debug_assert!(
            written.is_ok(),
            "the head was written for the target that it is rewritten from"
        );
        written.is_ok()
    }

    // --- the end of it ---

    /// Gives the connection back: the response was read to its end, and `reusable` says whether
    /// another request may follow.
    pub(super) fn release_upstream(&mut self, reusable: bool) {
        let response_end = if reusable {
            ResponseEnd::Framed
        } else {
            ResponseEnd::Final
        };
        let pools = self.exchange.settle(response_end).0 == UpstreamEnd::Pool;
        let keep = self.service().timeouts.upstream_keep_alive;
        let Some(upstream) = self.exchange.attempts.upstream.take() else {
            return;
        };
        let is_private = self.exchange.sharing == Sharing::Private
            || self.upstreams.get(upstream.id).is_some_and(is_private);
        if !is_private {
            return self.upstreams.put_back(upstream.id, pools, keep, self.ctx);
        }
        let goes_on = self.exchange.persistence == Persistence::KeepAlive;
        let client = self.exchange.client;
        let is_kept =
            self.upstreams
                .keep_private(client, upstream.id, pools && goes_on, keep, self.ctx);
        self.client.has_private |= is_kept;
    }

    /// Closes the upstream connection, where there is one.
    #[inline(always)]
    pub(in crate::proxy) fn close_upstream(&mut self) {
        if let Some(upstream) = self.exchange.attempts.upstream.take() {
            self.upstreams.close(upstream.id, self.ctx);
        }
    }
}

fn is_private(upstream: &Upstream) -> bool {
    upstream.private
}

fn address_step(dialed: Dialed) -> ExchangeStep {
    match dialed {
        Dialed::Reused | Dialed::Pending => ExchangeStep::Wait,
        Dialed::NoAddress => ExchangeStep::AttemptFailed(Failure::no_address()),
        Dialed::Full => ExchangeStep::Refuse(NoEndpoint::TargetsFull),
    }
}
