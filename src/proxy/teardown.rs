//! Everything that ends before its time: faults, deadlines, clients that leave, uploads that break a rule.
//!
//! Before the response head was passed on, the client gets a reply of ours (502, 503, 504, or the 4xx it earned). After
//! that its connection is cut so that nobody can take the body for complete.

use super::Proxy;
use super::client::Phase;
use super::command::{ClientId, Command, Fault, Side, UpstreamId};
use super::exchange::{ClientFate, Exchange, Reply as ReplyState, ReplyEnd, Upload, settle};
use super::local_reply::LocalReply;
use super::reason::{Failure, Reason};
use super::request::asks_for_head;
use super::upstream::{Owner, Stage};
use crate::limits::ACCESS_FIELD_BYTES;
use crate::observe::access::Outcome;
use crate::policy::reply::Reply;
use crate::time::Instant;

impl Proxy {
    // --- an exchange fails ---

    /// The upstream is of no more use to an exchange whose response head was not passed on.
    pub(super) fn fail_with_reply(
        &mut self,
        id: ClientId,
        failure: impl Into<Failure>,
        now: Instant,
    ) {
        let failure = failure.into();
        let reply = match failure.end {
            Outcome::UpstreamTimeout | Outcome::ClientTimeout => Reply::GatewayTimeout,
            Outcome::OverLimit => Reply::ServiceUnavailable,
            _ => Reply::BadGateway,
        };
        self.report_failed(id, &failure, Some(reply.status()), now);
        self.replace_response(id, LocalReply::last(reply, failure.end), now);
    }

    /// The request's body broke a rule while it was passed on.
    pub(super) fn refuse_body(&mut self, id: ClientId, failure: Failure, now: Instant) {
        let reply = match failure.end {
            Outcome::OverLimit => Reply::PayloadTooLarge,
            Outcome::ClientTimeout => Reply::RequestTimeout,
            _ => Reply::BadRequest,
        };
        let awaited = self
            .exchange_of(id)
            .is_some_and(|exchange| matches!(exchange.reply, ReplyState::Await));
        if awaited {
            let answer = LocalReply {
                reason: failure.reason,
                ..LocalReply::last(reply, failure.end)
            };
            self.replace_response(id, answer, now);
        } else {
            self.reset_client(id, failure, now);
        }
    }

    /// Closes the upstream connection and answers in its place.
    fn replace_response(&mut self, id: ClientId, answer: LocalReply<'_>, now: Instant) {
        self.drop_link(id);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let phase = core::mem::replace(&mut client.phase, Phase::Closed);
        let (Phase::Relay(mut exchange) | Phase::Tunnel(mut exchange)) = phase else {
            client.phase = phase;
            return;
        };
        let (_, fate) = settle(exchange.upload_end(), ReplyEnd::Missing, exchange.keep);
        debug_assert_eq!(fate, ClientFate::LocalReply);
        let for_client = exchange.for_client.take();
        let answer = LocalReply {
            lines: for_client.map_or_else(Vec::new, |grant| grant.client_lines().to_vec()),
            is_head: exchange.is_head,
            // What the client still sends of an unfinished body must not become a request.
            keep: exchange.keep && matches!(exchange.upload, Upload::Done),
            ..answer
        };
        // A resting exchange keeps a resting draft.
        let log_entry = core::mem::replace(
            &mut exchange.log_entry,
            self.free_entries.pop().unwrap_or_default(),
        );
        let origin = core::mem::take(&mut exchange.origin);
        self.drop_gathered(&mut exchange);
        self.free_exchanges.push(exchange);
        self.reply(
            id,
            answer,
            log_entry,
            (!origin.is_empty()).then_some(&*origin),
            now,
        );
        self.drain(id, now);
    }

    /// The response head is with the client already: no clean end may follow.
    pub(super) fn reset_client(&mut self, id: ClientId, failure: impl Into<Failure>, now: Instant) {
        let failure = failure.into();
        self.report_failed(id, &failure, None, now);
        self.drop_client(id, failure.end, true, now);
    }

    /// Ends a client connection and whatever it was busy with.
    pub(super) fn drop_client(&mut self, id: ClientId, end: Outcome, abort: bool, now: Instant) {
        self.end_suspended(id, end, now);
        self.drop_link(id);
        if let Some(exchange) = self.end_exchange(id, end, now) {
            self.free_exchanges.push(exchange);
        }
        self.close_client(id, abort);
    }

    /// The upstream connection ended or broke before a byte of the final head: once more on a fresh one, or on
    /// another endpoint, or a reply of ours.
    pub(super) fn upstream_lost(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        failure: Failure,
        now: Instant,
    ) {
        if !self.retry_same_endpoint(id, up, now) {
            self.attempt_failed(id, up, failure, now);
        }
    }

    /// Takes the exchange out of its connection and writes its line in the log.
    pub(super) fn end_exchange(
        &mut self,
        id: ClientId,
        end: Outcome,
        now: Instant,
    ) -> Option<Box<Exchange>> {
        let client = self.clients.get_mut(id)?;
        let phase = core::mem::replace(&mut client.phase, Phase::Closed);
        let (Phase::Relay(mut exchange) | Phase::Tunnel(mut exchange)) = phase else {
            client.phase = phase;
            return None;
        };
        self.record(&exchange.log_entry, end, now);
        exchange.log_entry.shrink();
        exchange.for_client = None;
        if !matches!(exchange.upload, Upload::Done) {
            self.drop_gathered(&mut exchange);
        }
        Some(exchange)
    }

    fn drop_link(&mut self, id: ClientId) {
        if let Some(link) = self
            .exchange_of(id)
            .and_then(|exchange| exchange.link.take())
        {
            self.close_up(link.id);
        }
    }

    /// Ends a client connection and everything it holds.
    pub(super) fn close_client(&mut self, id: ClientId, abort: bool) {
        if let Some(mut client) = self.clients.remove(id) {
            if client.has_private {
                self.close_privates(id);
            }
            self.pool.give_back(&mut client.inbox);
            client.outbox.clear(&mut self.pool);
            self.discount(&client);
            self.commands.push_back(Command::Close {
                side: Side::Client(id),
                abort,
            });
        }
    }

    // --- the client leaves ---

    pub(super) fn downstream_ended(&mut self, id: ClientId, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.ended = true;
        match &mut client.phase {
            Phase::Idle { .. } => self.close_client(id, false),
            Phase::ReadHead { begun, .. } => {
                if *begun {
                    self.record_unfinished(id, Outcome::ClientClosed, now);
                }
                self.close_client(id, false);
            }
            Phase::Relay(exchange) => {
                if !half_close || !matches!(exchange.upload, Upload::Done) {
                    self.cancel(id, now);
                }
            }
            Phase::Tunnel(_) => self.tunnel_ended(id, Side::Client(id), now),
            Phase::Suspended(_) => {
                if !half_close {
                    self.drop_client(id, Outcome::ClientClosed, false, now);
                }
            }
            // The reply still goes out; what was to be drained will never come.
            Phase::Reply { drain, keep } => {
                *drain = None;
                *keep = false;
                self.finish_answer(id, now);
            }
            Phase::Linger { .. } | Phase::Closed => self.close_client(id, false),
        }
    }

    pub(super) fn downstream_hung_up(&mut self, id: ClientId, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if let Phase::Suspended(_) = &client.phase {
            client.ended = true;
            if !half_close {
                self.drop_client(id, Outcome::ClientClosed, false, now);
            }
        } else if let Phase::Relay(exchange) = &client.phase {
            client.ended = true;
            let over = matches!(exchange.reply, ReplyState::Done);
            if !half_close && !over && !matches!(exchange.upload, Upload::Copy(_)) {
                self.cancel(id, now);
            }
        }
    }

    /// The client wants no more of its exchange. Where a part of a response is with it already, a clean end would say that this
    /// was all (RFC 9112 8: an HTTP/1.0 client has nothing else to go by).
    pub(super) fn cancel(&mut self, id: ClientId, now: Instant) {
        let begun = self
            .exchange_of(id)
            .is_some_and(|exchange| !matches!(exchange.reply, ReplyState::Await));
        self.drop_client(id, Outcome::ClientClosed, begun, now);
    }

    pub(super) fn downstream_failed(&mut self, id: ClientId, now: Instant) {
        if matches!(
            self.clients.get(id).map(|client| &client.phase),
            Some(Phase::ReadHead { begun: true, .. })
        ) {
            self.record_unfinished(id, Outcome::ClientClosed, now);
        }
        self.drop_client(id, Outcome::ClientClosed, true, now);
    }

    /// No handshake, no request, and nothing that was to be said over it; but the alert that says why is still on its way.
    pub(super) fn downstream_not_secured(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.outbox.clear(&mut self.pool);
        self.linger(id, now);
    }

    /// A line for a request of which not even the head came.
    fn record_unfinished(&mut self, id: ClientId, end: Outcome, now: Instant) {
        let client = self.clients.get(id).and_then(|client| client.peer.ip());
        let log_entry = self.new_log_entry(client, now);
        self.record(&log_entry, end, now);
        self.recycle(log_entry);
    }

    // --- the upstream fails ---

    /// `why`: what the system or TLS said.
    pub(super) fn upstream_failed(
        &mut self,
        up: UpstreamId,
        fault: Fault,
        why: Option<Box<str>>,
        now: Instant,
    ) {
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        let (is_open, owner) = (upstream.stage == Stage::Open, upstream.owner);
        let id = match owner {
            Owner::Idle | Owner::Private(_) => return self.close_idle(up),
            Owner::Subrequest(id) if is_open => {
                return self.subrequest_failed(id, up, (fault, why.map(Reason::System)), now);
            }
            Owner::Contender(leader) => return self.contender_failed(up, leader, fault, now),
            _ if !is_open && self.pass_lead(up, fault, now) => return,
            Owner::Subrequest(id) => {
                return self.subrequest_refused(id, up, (fault, why.map(Reason::System)), now);
            }
            Owner::Exchange(id) if is_open => id,
            Owner::Exchange(id) => {
                return self.link_refused(id, up, fault, why.map(Reason::System), now);
            }
        };
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let failure = Failure {
            end: fault.end(),
            reason: why.map(Reason::System),
        };
        match &mut client.phase {
            Phase::Relay(exchange) if fault == Fault::SendFailed => {
                // The peer may have answered before it closed: what it said is read first.
                if let Upload::Copy(_) = exchange.upload {
                    exchange.upload = Upload::Abandoned;
                }
                if let Some(upstream) = self.upstreams.get_mut(up) {
                    upstream.write_failed = true;
                }
                self.mark_upstream_ready(up);
            }
            Phase::Tunnel(_) if fault == Fault::SendFailed => self.tunnel_deaf(id, up, now),
            Phase::Relay(exchange) => match exchange.reply {
                ReplyState::Await => self.upstream_lost(id, up, failure, now),
                ReplyState::Copy { .. } | ReplyState::Done => self.reset_client(id, failure, now),
            },
            Phase::Tunnel(_) => self.reset_client(id, failure, now),
            _ => self.drop_client(id, failure.end, true, now),
        }
    }

    // --- a deadline comes ---

    pub(super) fn downstream_due(&mut self, id: ClientId, now: Instant) {
        if self.body_due(id, now) {
            return;
        }
        let Some(client) = self.clients.get(id) else {
            return;
        };
        match &client.phase {
            Phase::Idle { .. } | Phase::ReadHead { begun: false, .. } => {
                self.close_client(id, false)
            }
            Phase::ReadHead { begun: true, .. } => self.head_timed_out(id, now),
            Phase::Relay(exchange) => {
                // Whoever the bytes wait for is the one that was too slow.
                let waits_for_client = match exchange.reply {
                    ReplyState::Await => {
                        matches!(exchange.upload, Upload::Copy(_)) && self.uploaded_all(exchange)
                    }
                    ReplyState::Copy { .. } | ReplyState::Done => !client.outbox.is_sent(),
                };
                let awaited = matches!(exchange.reply, ReplyState::Await);
                let link = exchange.link;
                let failure = if waits_for_client {
                    Failure::new(Outcome::ClientTimeout, Reason::ClientIdle)
                } else {
                    let stage = link
                        .and_then(|link| self.upstreams.get(link.id))
                        .map(|up| up.stage);
                    Failure::new(Outcome::UpstreamTimeout, timed_out(awaited, stage))
                };
                match link {
                    Some(link) if awaited && !waits_for_client => {
                        self.attempt_failed(id, link.id, failure, now)
                    }
                    _ if awaited => self.fail_with_reply(id, failure, now),
                    _ => self.reset_client(id, failure, now),
                }
            }
            Phase::Tunnel(exchange) => {
                let is_write_failed = exchange
                    .link
                    .and_then(|link| self.upstreams.get(link.id))
                    .is_some_and(|up| up.write_failed);
                let end = if is_write_failed {
                    Outcome::UpstreamClosed
                } else {
                    Outcome::Ok
                };
                self.drop_client(id, end, is_write_failed, now);
            }
            Phase::Suspended(_) => self.suspended_due(id, now),
            Phase::Reply { .. } | Phase::Linger { .. } | Phase::Closed => {
                self.close_client(id, false)
            }
        }
    }

    /// Whether the upstream took everything that came of the request so far.
    pub(super) fn uploaded_all(&self, exchange: &Exchange) -> bool {
        exchange
            .link
            .and_then(|link| self.upstreams.get(link.id))
            .is_some_and(|up| up.stage == Stage::Open && up.outbox.is_sent())
    }

    fn head_timed_out(&mut self, id: ClientId, now: Instant) {
        let client = self.clients.get(id).and_then(|client| client.peer.ip());
        let mut log_entry = self.new_log_entry(client, now);
        let mut answer = LocalReply::refusal(
            Reply::RequestTimeout,
            Outcome::ClientTimeout,
            Reason::HeadTimeout,
        );
        if let Some(client) = self.clients.get_mut(id) {
            let bytes = client.inbox.filled();
            let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
            answer.is_head = asks_for_head(bytes);
            log_entry.note_start(bytes, ACCESS_FIELD_BYTES);
            self.pool.give_back(&mut client.inbox);
        }
        self.reply(id, answer, log_entry, None, now);
    }
}

/// What did not happen in time on the upstream's side. `awaited`: the response's head.
fn timed_out(awaited: bool, stage: Option<Stage>) -> Reason {
    match stage {
        Some(Stage::Resolving) => Reason::LookupTimeout,
        Some(Stage::Dialing(_)) => Reason::ConnectTimeout,
        Some(Stage::Open) | None if awaited => Reason::ResponseTimeout,
        Some(Stage::Open) | None => Reason::UpstreamIdle,
    }
}
