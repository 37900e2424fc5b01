//! The one loop that carries steps from part to part.
//!
//! ```text
//! handle_* --> a part --> Step --> drive --> a part --> Step --> ... --> no further step
//! ```
//!
//! A part never calls its sibling: it returns what should happen next. Steps that follow from one
//! event (several requests waited for one name) are done in order.

use super::Proxy;
use super::auth::{AuthEnv, AuthRequest, Authenticator, SuspendedRequest};
use super::client::{ClientStep, LocalReply, Phase};
use super::context::TimerKey;
use super::errands;
use super::exchange::{Attempt, ClientEnd, ExchangeStep, Relay, ResponseEnd, Traits, Upload};
use super::exchange::{Exchange, Persistence};
use super::ids::{ClientId, ExchangeId};
use super::reception::{Received, Reception};
use super::step::Step;
use super::subrequest::{Done, Requester};
use crate::http::head::parse_request;
use crate::observe::access::Outcome;

impl Proxy {
    /// Does a step and everything that follows from it, and ends the event.
    #[inline]
    pub(super) fn drive(&mut self, first: Option<Step>) {
        // Most events have no step and leave nothing behind.
        let is_over = first.is_none()
            && self.steps.is_empty()
            && self.ctx.gone_clients.is_empty()
            && self.ctx.timers.len() <= self.ctx.rules.bounds.reminders;
        if !is_over {
            finish_event(self, first);
        }
    }

    fn run(&mut self, step: Step) -> Option<Step> {
        match step {
            Step::Client(id, ClientStep::ReadHead) => self.read_head(id, None),
            Step::Client(id, ClientStep::GiveUp) => Some(Step::DropClient {
                id,
                outcome: Outcome::ClientClosed,
                abort: false,
            }),
            Step::Client(id, ClientStep::TimedOut) => {
                let mut suspended = self.clients.get_mut(id)?.take_suspended()?;
                self.auth(|auth, env| auth.timed_out(id, &mut suspended, env));
                Some(Step::Resume(id, suspended))
            }
            Step::Client(_, ClientStep::Wait | ClientStep::Exchange(_)) => None,
            Step::Body(id) => match self.clients.get(id)?.exchange() {
                Some(exchange) => self.relay(exchange, |relay| relay.on_client_bytes()),
                None => Step::of_client(id, self.clients.drain(id, &mut self.ctx)),
            },
            Step::Exchange(id, step) => self.run_exchange(id, step),
            Step::Resume(id, suspended) => {
                let next = self.read_head(id, Some(suspended));
                self.clients.mark_ready(id, &mut self.ctx);
                next
            }
            Step::DropClient { id, outcome, abort } => {
                self.drop_client(id, outcome, abort);
                None
            }
            Step::SubrequestDone(done) => subrequest_done(self, *done),
            Step::Resolved(resolved) => {
                for (id, suspended) in self.clients.take_waiting(&resolved) {
                    self.steps.push_back(Step::Resume(id, suspended));
                }
                None
            }
        }
    }

    fn run_exchange(&mut self, id: ExchangeId, step: ExchangeStep) -> Option<Step> {
        match step {
            ExchangeStep::Wait => None,
            ExchangeStep::Connect(gathered) => {
                self.relay(id, |relay| relay.connect_gathered(*gathered))
            }
            ExchangeStep::UpstreamLost(failure) => {
                self.relay(id, |relay| relay.on_attempt(Attempt::Lost, failure))
            }
            ExchangeStep::AttemptFailed(failure) => {
                self.relay(id, |relay| relay.on_attempt(Attempt::Failed, failure))
            }
            ExchangeStep::Fail(failure) => {
                let reply = failure.reply();
                self.relay_of(id)?.report(&failure, Some(reply.status()));
                self.replace_response(id, LocalReply::last(reply, failure.outcome))
            }
            ExchangeStep::RefuseBody(failure) => {
                if !self.relay_of(id)?.take_response_back() {
                    return Some(Step::Exchange(id, ExchangeStep::Reset(failure)));
                }
                let reply = LocalReply::last(failure.refusal(), failure.outcome);
                let reason = failure.reason;
                self.replace_response(id, LocalReply { reason, ..reply })
            }
            ExchangeStep::Refuse(no_endpoint) => {
                self.replace_response(id, LocalReply::no_endpoint(no_endpoint))
            }
            ExchangeStep::Reset(failure) => self.relay(id, |relay| relay.fail_behind_head(failure)),
            ExchangeStep::Drop { outcome, abort } => {
                let id = self.exchanges.get(id)?.client;
                Some(Step::DropClient { id, outcome, abort })
            }
            ExchangeStep::Finished => finish_exchange(self, id),
        }
    }

    /// Has an exchange and its connections act on an event.
    #[inline]
    pub(super) fn relay(
        &mut self,
        id: ExchangeId,
        act: impl FnOnce(&mut Relay<'_>) -> ExchangeStep,
    ) -> Option<Step> {
        let mut relay = self.relay_of(id)?;
        Step::of_exchange(id, act(&mut relay))
    }

    /// Looks an exchange and its connections up.
    #[inline]
    pub(super) fn relay_of(&mut self, id: ExchangeId) -> Option<Relay<'_>> {
        let (exchange, timer) = self.exchanges.with_timer(id)?;
        let client = self.clients.get_mut(exchange.client)?;
        Some(Relay {
            id,
            exchange,
            timer,
            client,
            upstreams: &mut self.upstreams,
            ctx: &mut self.ctx,
        })
    }

    // --- requests ---

    /// Looks for a complete head in what has arrived, and acts on it. `suspended`: the head is
    /// known to be complete, and was looked at before.
    pub(super) fn read_head(
        &mut self,
        id: ClientId,
        suspended: Option<Box<SuspendedRequest>>,
    ) -> Option<Step> {
        let client = self.clients.get_mut(id)?;
        let Phase::ReadHead { scan, started } = &mut client.phase else {
            return None;
        };
        if suspended.is_none() && (client.inbox.is_empty() || !client.outbox.is_sent()) {
            return None;
        }
        let is_first = !core::mem::replace(started, true);
        if is_first && self.ctx.recorder.is_some() {
            let bytes = client.inbox.filled();
            self.ctx.record_start(id, client.listener, bytes);
        }
        let mut scan = core::mem::take(scan);
        // The head borrows these two while the engine works on it.
        let mut inbox = core::mem::take(&mut client.inbox);
        let mut fields = core::mem::take(&mut self.ctx.fields);
        let limits = self.ctx.rules.request_limits;
        let parsed = parse_request(inbox.filled(), &mut scan, &mut fields, &limits);
        let (consumed, received) = match parsed {
            Ok(Some(head)) => {
                let behind = inbox.len().saturating_sub(head.len);
                let received = reception(self, id).on_head(&head, behind, suspended);
                match received {
                    // The head is looked at again.
                    Received::Suspended => (0, received),
                    _ => (head.len, received),
                }
            }
            Ok(None) => {
                self.clients.await_head(id, scan, is_first, &mut self.ctx);
                (0, Received::Suspended)
            }
            Err(error) => {
                reception(self, id).refuse_malformed(inbox.filled(), error);
                (inbox.len(), Received::Replied)
            }
        };
        self.ctx.fields = fields;
        inbox.consume(consumed);
        let is_empty = inbox.is_empty();
        match self.clients.get_mut(id) {
            Some(client) => client.inbox = inbox,
            None => self.ctx.buffers.give_back(&mut inbox),
        }
        if self.auth.has_requests() {
            carry_auth_requests(self);
        }
        match received {
            Received::Suspended => None,
            Received::Exchange(_, ExchangeStep::Wait) if is_empty => None,
            Received::Exchange(_, ExchangeStep::Wait) | Received::Replied => Some(Step::Body(id)),
            Received::Exchange(exchange, step) => {
                self.steps.push_back(Step::Body(id));
                Some(Step::Exchange(exchange, step))
            }
        }
    }

    // --- ends ---

    /// Closes the upstream connection and answers in its place.
    fn replace_response(&mut self, id: ExchangeId, reply: LocalReply<'_>) -> Option<Step> {
        let mut relay = self.relay_of(id)?;
        relay.close_upstream();
        relay.drop_gathered();
        relay.client.phase = Phase::Closed;
        let mut exchange = self.exchanges.remove(id)?;
        let (_, client_end) = exchange.settle(ResponseEnd::Missing);
        debug_assert_eq!(client_end, ClientEnd::LocalReply);
        let lines = exchange.for_client.take();
        let keeps = exchange.persistence == Persistence::KeepAlive;
        let reply = LocalReply {
            lines: lines.map_or_else(Vec::new, |grant| grant.client_lines().to_vec()),
            is_head: exchange.traits.has(Traits::HEAD),
            // What the client still sends of an unfinished body must not become a request.
            keep: keeps && matches!(exchange.upload, Upload::Done),
            ..reply
        };
        let Exchange {
            client,
            log_entry,
            kept,
            rules,
            ..
        } = exchange;
        let origin = kept.origin(rules.service.headers.rewrites.location);
        let ctx = &mut self.ctx;
        self.clients.reply(client, reply, log_entry, origin, ctx);
        Step::of_client(client, self.clients.drain(client, ctx))
    }

    /// Takes an exchange out and writes its line in the log. Returns its client connection, and
    /// what becomes of that behind a response that was written.
    fn end_exchange(&mut self, id: ExchangeId, outcome: Outcome) -> Option<(ClientId, ClientEnd)> {
        let mut relay = self.relay_of(id)?;
        let client_end = relay.client_end();
        relay.close_upstream();
        relay.drop_gathered();
        relay.client.phase = Phase::Closed;
        let exchange = self.exchanges.remove(id)?;
        self.ctx
            .record(exchange.client, exchange.log_entry, outcome);
        Some((exchange.client, client_end))
    }

    /// Ends a client connection and whatever it was busy with.
    pub(super) fn drop_client(&mut self, id: ClientId, outcome: Outcome, abort: bool) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if let Some(exchange) = client.exchange() {
            // The log shows no status that the client did not get.
            if let Some(mut relay) = self.relay_of(exchange) {
                relay.take_response_back();
            }
            self.end_exchange(exchange, outcome);
        } else if let Some(suspended) = client.take_suspended() {
            client.phase = Phase::Closed;
            self.auth(|auth, env| auth.give_up(id, &suspended, env));
            self.ctx.record(id, suspended.log_entry, outcome);
        }
        self.clients.close(id, abort, &mut self.ctx);
    }

    // --- requests of the gateway's own ---

    /// Has authentication act, and starts and cancels the subrequests that it wants started and
    /// cancelled.
    pub(super) fn auth<R>(
        &mut self,
        act: impl FnOnce(&mut Authenticator, &mut AuthEnv<'_>) -> R,
    ) -> R {
        let bound = self.ctx.rules.bounds.subrequests;
        let mut env = AuthEnv {
            ctx: &mut self.ctx,
            limiter: &mut self.limiter,
            accounts: self.clients.accounts(),
            room: bound.saturating_sub(self.subrequests.len()),
        };
        let result = act(&mut self.auth, &mut env);
        carry_auth_requests(self);
        result
    }
}

/// Does steps until there are no more. Then closes what was kept for clients that are gone, and
/// sweeps the wheel where stale reminders fill it. Out of line: without it `drive` is small enough
/// to be inlined.
#[inline(never)]
fn finish_event(proxy: &mut Proxy, first: Option<Step>) {
    let mut next = first;
    while let Some(step) = next.or_else(|| proxy.steps.pop_front()) {
        next = proxy.run(step);
    }
    while let Some(id) = proxy.ctx.gone_clients.pop() {
        proxy.upstreams.close_private(id, &mut proxy.ctx);
    }
    if proxy.ctx.timers.len() > proxy.ctx.rules.bounds.reminders {
        sweep_reminders(proxy);
    }
}

/// Ends an exchange whose response is written, and goes on with its client connection.
#[inline(always)]
pub(super) fn finish_exchange(proxy: &mut Proxy, id: ExchangeId) -> Option<Step> {
    let (client, client_end) = proxy.end_exchange(id, Outcome::Ok)?;
    let keeps_alive = client_end == ClientEnd::Next;
    let ctx = &mut proxy.ctx;
    let step = proxy.clients.after_exchange(client, keeps_alive, ctx);
    Step::of_client(client, step)
}

/// Starts and cancels the subrequests that authentication wants started and cancelled.
fn carry_auth_requests(proxy: &mut Proxy) {
    for request in proxy.auth.take_requests() {
        let (upstreams, ctx) = (&mut proxy.upstreams, &mut proxy.ctx);
        match request {
            AuthRequest::Cancel(id) => proxy.subrequests.cancel(id, upstreams, ctx),
            AuthRequest::Start(spec) => {
                let requester = spec.requester;
                let started = proxy.subrequests.start(spec, upstreams, ctx);
                if let (Requester::Auth(lookup), Some(id)) = (requester, started) {
                    proxy.auth.note_subrequest(lookup, id);
                }
            }
        }
    }
}

/// Gives the answer of a subrequest to its requester.
fn subrequest_done(proxy: &mut Proxy, (requester, answer): Done) -> Option<Step> {
    match requester {
        Requester::Health(checked) => {
            let reason = answer.as_ref().err();
            let reason = reason.and_then(|failure| failure.reason.clone());
            let answer = answer.map(|response| response.status);
            let answer = answer.map_err(|failure| failure.outcome);
            let ctx = &mut proxy.ctx;
            proxy.upstreams.checked(checked, answer, reason, ctx);
            None
        }
        Requester::Auth(lookup) => {
            let resolved = proxy.auth(|auth, env| auth.subrequest_done(lookup, answer, env));
            resolved.map(Step::Resolved)
        }
        Requester::Errand => {
            errands::done(answer, &mut proxy.ctx);
            None
        }
        #[cfg(test)]
        Requester::Test(_) => {
            let answer = answer.map_err(|failure| failure.outcome);
            proxy.answers.push((requester, answer, proxy.ctx.now));
            None
        }
    }
}

/// Leaves one reminder for each timer. What closed connections and earlier deadlines left in the
/// wheel would be gone within its span anyway; until then a flood of short connections must not
/// fill it.
#[cold]
fn sweep_reminders(proxy: &mut Proxy) {
    let timers = &mut proxy.ctx.timers;
    timers.clear();
    proxy.clients.renew_reminders(timers);
    proxy.exchanges.renew_reminders(timers);
    proxy.upstreams.renew_reminders(timers);
    proxy.subrequests.renew_reminders(timers);
    proxy.auth.renew_reminders(timers);
    proxy.stores.renew_reminders(timers);
    timers.renew(&mut proxy.ctx.messages.timer, TimerKey::Messages);
}

/// Returns the parts that a request's head concerns.
pub(super) fn reception(proxy: &mut Proxy, id: ClientId) -> Reception<'_> {
    let bound = proxy.ctx.rules.bounds.subrequests;
    Reception {
        id,
        clients: &mut proxy.clients,
        exchanges: &mut proxy.exchanges,
        upstreams: &mut proxy.upstreams,
        auth: &mut proxy.auth,
        limiter: &mut proxy.limiter,
        room: bound.saturating_sub(proxy.subrequests.len()),
        ctx: &mut proxy.ctx,
    }
}
