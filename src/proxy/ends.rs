//! Everything that ends before its time: faults, deadlines, clients that leave, uploads that break a rule.
//!
//! Before the response head was passed on, the client gets a reply of ours (502, 503, 504, or the 4xx it earned). After
//! that its connection is cut so that nobody can take the body for complete.

use super::Proxy;
use super::answer::Answer;
use super::command::{Command, DownstreamId, Fault, Side, UpstreamId};
use super::downstream::Phase;
use super::exchange::{DownstreamFate, Exchange, Reply as ReplyState, ReplyEnd, Upload, settle};
use super::intake::asks_for_head;
use super::reason::{Failure, Reason};
use super::upstream::{Stage, Work};
use crate::limits::ACCESS_FIELD_BYTES;
use crate::observe::access::End;
use crate::policy::reply::Reply;
use crate::time::Instant;

impl Proxy {
    // --- an exchange fails ---

    /// The upstream is of no more use to an exchange whose response head was not passed on.
    pub(super) fn fail(&mut self, id: DownstreamId, failure: impl Into<Failure>, now: Instant) {
        let failure = failure.into();
        let reply = match failure.end {
            End::UpstreamTimeout | End::ClientTimeout => Reply::GatewayTimeout,
            End::OverLimit => Reply::ServiceUnavailable,
            _ => Reply::BadGateway,
        };
        self.report_failed(id, &failure, Some(reply.status()), now);
        self.answer_instead(id, Answer::last(reply, failure.end), now);
    }

    /// The request's body broke a rule while it was passed on.
    pub(super) fn refuse_body(&mut self, id: DownstreamId, failure: Failure, now: Instant) {
        let reply = match failure.end {
            End::OverLimit => Reply::PayloadTooLarge,
            End::ClientTimeout => Reply::RequestTimeout,
            _ => Reply::BadRequest,
        };
        let awaited = self
            .exchange_of(id)
            .is_some_and(|exchange| matches!(exchange.reply, ReplyState::Await));
        if awaited {
            let answer = Answer {
                reason: failure.reason,
                ..Answer::last(reply, failure.end)
            };
            self.answer_instead(id, answer, now);
        } else {
            self.cut(id, failure, now);
        }
    }

    /// Closes the upstream connection and answers in its place.
    fn answer_instead(&mut self, id: DownstreamId, answer: Answer<'_>, now: Instant) {
        self.drop_link(id);
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let phase = core::mem::replace(&mut down.phase, Phase::Closed);
        let (Phase::Relay(mut exchange) | Phase::Tunnel(mut exchange)) = phase else {
            down.phase = phase;
            return;
        };
        let (_, fate) = settle(exchange.upload_end(), ReplyEnd::Missing, exchange.keep);
        debug_assert_eq!(fate, DownstreamFate::Answer);
        let for_client = exchange.for_client.take();
        let answer = Answer {
            lines: for_client.map_or_else(Vec::new, |grant| grant.client_lines().to_vec()),
            is_head: exchange.is_head,
            // What the client still sends of an unfinished body must not become a request.
            keep: exchange.keep && matches!(exchange.upload, Upload::Done),
            ..answer
        };
        // A resting exchange keeps a resting draft.
        let draft = core::mem::replace(&mut exchange.draft, self.drafts.pop().unwrap_or_default());
        let origin = core::mem::take(&mut exchange.origin);
        self.drop_gathered(&mut exchange);
        self.spare.push(exchange);
        self.answer(
            id,
            answer,
            draft,
            (!origin.is_empty()).then_some(&*origin),
            now,
        );
        self.drain(id, now);
    }

    /// The response head is with the client already: no clean end may follow.
    pub(super) fn cut(&mut self, id: DownstreamId, failure: impl Into<Failure>, now: Instant) {
        let failure = failure.into();
        self.report_failed(id, &failure, None, now);
        self.abandon(id, failure.end, true, now);
    }

    /// Ends a client connection and whatever it was busy with.
    pub(super) fn abandon(&mut self, id: DownstreamId, end: End, abort: bool, now: Instant) {
        self.end_held(id, end, now);
        self.drop_link(id);
        if let Some(exchange) = self.end_exchange(id, end, now) {
            self.spare.push(exchange);
        }
        self.close_down(id, abort);
    }

    /// The upstream connection ended or broke before a byte of the final head: once more on a fresh one, or on
    /// another endpoint, or a reply of ours.
    pub(super) fn upstream_lost(
        &mut self,
        id: DownstreamId,
        up: UpstreamId,
        failure: Failure,
        now: Instant,
    ) {
        if !self.replay(id, up, now) {
            self.try_failed(id, up, failure, now);
        }
    }

    /// Takes the exchange out of its connection and writes its line in the log.
    pub(super) fn end_exchange(
        &mut self,
        id: DownstreamId,
        end: End,
        now: Instant,
    ) -> Option<Box<Exchange>> {
        let down = self.downs.get_mut(id)?;
        let phase = core::mem::replace(&mut down.phase, Phase::Closed);
        let (Phase::Relay(mut exchange) | Phase::Tunnel(mut exchange)) = phase else {
            down.phase = phase;
            return None;
        };
        self.record(&exchange.draft, end, now);
        exchange.draft.shrink();
        exchange.for_client = None;
        if !matches!(exchange.upload, Upload::Done) {
            self.drop_gathered(&mut exchange);
        }
        Some(exchange)
    }

    fn drop_link(&mut self, id: DownstreamId) {
        if let Some(link) = self
            .exchange_of(id)
            .and_then(|exchange| exchange.link.take())
        {
            self.close_up(link.id);
        }
    }

    /// Ends a client connection and everything it holds.
    pub(super) fn close_down(&mut self, id: DownstreamId, abort: bool) {
        if let Some(mut down) = self.downs.remove(id) {
            if down.has_private {
                self.close_privates(id);
            }
            self.pool.give_back(&mut down.inbox);
            down.outbox.clear(&mut self.pool);
            self.discount(&down);
            self.commands.push_back(Command::Close {
                side: Side::Down(id),
                abort,
            });
        }
    }

    // --- the client leaves ---

    pub(super) fn downstream_ended(&mut self, id: DownstreamId, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        down.ended = true;
        match &mut down.phase {
            Phase::Idle { .. } => self.close_down(id, false),
            Phase::ReadHead { begun, .. } => {
                if *begun {
                    self.record_unfinished(id, End::ClientClosed, now);
                }
                self.close_down(id, false);
            }
            Phase::Relay(exchange) => {
                if !half_close || !matches!(exchange.upload, Upload::Done) {
                    self.cancel(id, now);
                }
            }
            Phase::Tunnel(_) => self.tunnel_ended(id, Side::Down(id), now),
            Phase::Held(_) => {
                if !half_close {
                    self.abandon(id, End::ClientClosed, false, now);
                }
            }
            // The reply still goes out; what was to be drained will never come.
            Phase::Answer { drain, keep } => {
                *drain = None;
                *keep = false;
                self.finish_answer(id, now);
            }
            Phase::Linger { .. } | Phase::Closed => self.close_down(id, false),
        }
    }

    pub(super) fn downstream_hung_up(&mut self, id: DownstreamId, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        if let Phase::Held(_) = &down.phase {
            down.ended = true;
            if !half_close {
                self.abandon(id, End::ClientClosed, false, now);
            }
        } else if let Phase::Relay(exchange) = &down.phase {
            down.ended = true;
            let over = matches!(exchange.reply, ReplyState::Done);
            if !half_close && !over && !matches!(exchange.upload, Upload::Copy(_)) {
                self.cancel(id, now);
            }
        }
    }

    /// The client wants no more of its exchange. Where a part of a response is with it already, a clean end would say that this
    /// was all (RFC 9112 8: an HTTP/1.0 client has nothing else to go by).
    pub(super) fn cancel(&mut self, id: DownstreamId, now: Instant) {
        let begun = self
            .exchange_of(id)
            .is_some_and(|exchange| !matches!(exchange.reply, ReplyState::Await));
        self.abandon(id, End::ClientClosed, begun, now);
    }

    pub(super) fn downstream_failed(&mut self, id: DownstreamId, now: Instant) {
        if matches!(
            self.downs.get(id).map(|down| &down.phase),
            Some(Phase::ReadHead { begun: true, .. })
        ) {
            self.record_unfinished(id, End::ClientClosed, now);
        }
        self.abandon(id, End::ClientClosed, true, now);
    }

    /// No handshake, no request, and nothing that was to be said over it; but the alert that says why is still on its way.
    pub(super) fn downstream_not_secured(&mut self, id: DownstreamId, now: Instant) {
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        down.outbox.clear(&mut self.pool);
        self.linger(id, now);
    }

    /// A line for a request of which not even the head came.
    fn record_unfinished(&mut self, id: DownstreamId, end: End, now: Instant) {
        let client = self.downs.get(id).and_then(|down| down.peer.ip());
        let draft = self.new_draft(client, now);
        self.record(&draft, end, now);
        self.rest(draft);
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
        let Some(upstream) = self.ups.get(up) else {
            return;
        };
        let (is_open, work) = (upstream.stage == Stage::Open, upstream.work);
        let id = match work {
            Work::Idle | Work::Private(_) => return self.close_idle(up),
            Work::Inquiry(id) if is_open => {
                return self.inquiry_failed(id, up, (fault, why.map(Reason::Said)), now);
            }
            Work::Contender(leader) => return self.contender_failed(up, leader, fault, now),
            _ if !is_open && self.pass_lead(up, fault, now) => return,
            Work::Inquiry(id) => {
                return self.inquiry_refused(id, up, (fault, why.map(Reason::Said)), now);
            }
            Work::Exchange(id) if is_open => id,
            Work::Exchange(id) => {
                return self.link_refused(id, up, fault, why.map(Reason::Said), now);
            }
        };
        let Some(down) = self.downs.get_mut(id) else {
            return;
        };
        let failure = Failure {
            end: fault.end(),
            reason: why.map(Reason::Said),
        };
        match &mut down.phase {
            Phase::Relay(exchange) if fault == Fault::SendFailed => {
                // The peer may have answered before it closed: what it said is read first.
                if let Upload::Copy(_) = exchange.upload {
                    exchange.upload = Upload::Abandoned;
                }
                if let Some(upstream) = self.ups.get_mut(up) {
                    upstream.deaf = true;
                }
                self.attend_up(up);
            }
            Phase::Tunnel(_) if fault == Fault::SendFailed => self.tunnel_deaf(id, up, now),
            Phase::Relay(exchange) => match exchange.reply {
                ReplyState::Await => self.upstream_lost(id, up, failure, now),
                ReplyState::Copy { .. } | ReplyState::Done => self.cut(id, failure, now),
            },
            Phase::Tunnel(_) => self.cut(id, failure, now),
            _ => self.abandon(id, failure.end, true, now),
        }
    }

    // --- a deadline comes ---

    pub(super) fn downstream_due(&mut self, id: DownstreamId, now: Instant) {
        if self.body_due(id, now) {
            return;
        }
        let Some(down) = self.downs.get(id) else {
            return;
        };
        match &down.phase {
            Phase::Idle { .. } | Phase::ReadHead { begun: false, .. } => self.close_down(id, false),
            Phase::ReadHead { begun: true, .. } => self.head_timed_out(id, now),
            Phase::Relay(exchange) => {
                // Whoever the bytes wait for is the one that was too slow.
                let waits_for_client = match exchange.reply {
                    ReplyState::Await => {
                        matches!(exchange.upload, Upload::Copy(_)) && self.uploaded_all(exchange)
                    }
                    ReplyState::Copy { .. } | ReplyState::Done => !down.outbox.is_sent(),
                };
                let awaited = matches!(exchange.reply, ReplyState::Await);
                let link = exchange.link;
                let failure = if waits_for_client {
                    Failure::new(End::ClientTimeout, Reason::ClientIdle)
                } else {
                    let stage = link
                        .and_then(|link| self.ups.get(link.id))
                        .map(|up| up.stage);
                    Failure::new(End::UpstreamTimeout, timed_out(awaited, stage))
                };
                match link {
                    Some(link) if awaited && !waits_for_client => {
                        self.try_failed(id, link.id, failure, now)
                    }
                    _ if awaited => self.fail(id, failure, now),
                    _ => self.cut(id, failure, now),
                }
            }
            Phase::Tunnel(exchange) => {
                let is_deaf = exchange
                    .link
                    .and_then(|link| self.ups.get(link.id))
                    .is_some_and(|up| up.deaf);
                let end = if is_deaf {
                    End::UpstreamClosed
                } else {
                    End::Ok
                };
                self.abandon(id, end, is_deaf, now);
            }
            Phase::Held(_) => self.held_due(id, now),
            Phase::Answer { .. } | Phase::Linger { .. } | Phase::Closed => {
                self.close_down(id, false)
            }
        }
    }

    /// Whether the upstream took everything that came of the request so far.
    pub(super) fn uploaded_all(&self, exchange: &Exchange) -> bool {
        exchange
            .link
            .and_then(|link| self.ups.get(link.id))
            .is_some_and(|up| up.stage == Stage::Open && up.outbox.is_sent())
    }

    fn head_timed_out(&mut self, id: DownstreamId, now: Instant) {
        let client = self.downs.get(id).and_then(|down| down.peer.ip());
        let mut draft = self.new_draft(client, now);
        let mut answer = Answer::refusal(
            Reply::RequestTimeout,
            End::ClientTimeout,
            Reason::HeadTimeout,
        );
        if let Some(down) = self.downs.get_mut(id) {
            let bytes = down.inbox.filled();
            let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
            answer.is_head = asks_for_head(bytes);
            draft.note_start(bytes, ACCESS_FIELD_BYTES);
            self.pool.give_back(&mut down.inbox);
        }
        self.answer(id, answer, draft, None, now);
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
