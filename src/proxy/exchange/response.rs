//! The response: heads until the final one, then the body, from the upstream to the client.

use super::super::heads::{Blocks, RESPONSE_LIMITS, ResponseParts, interim_bound, write_interim};
use super::super::ids::UpstreamId;
use super::super::reason::Failure;
use super::super::transfer::{BodyReader, BodyWriter, Progress, Transfer};
use super::relay::Relay;
use super::settle::{ClientEnd, ResponseEnd};
use super::traits::{Persistence, Sharing, Traits, WaitsFor};
use super::{ExchangeStep, Response, Upload};
use crate::buffer::joined_len;
use crate::http::connection::Connection;
use crate::http::emit::Framing;
use crate::http::error::ResponseError;
use crate::http::field::{Name, tokens};
use crate::http::framing::{ResponseBody, keeps_alive, response_body};
use crate::http::head::{ResponseHead, parse_response};
use crate::http::persistence::{idle_seconds, offers_connection_scheme};
use crate::limits::{INTERIM_BYTES, INTERIM_RESPONSES_MAX};
use crate::policy::auth::grant::Grant;

/// Result of reading a response head.
enum HeadOutcome {
    /// The head is not complete.
    More,
    /// A 1xx; another head follows.
    Interim,
    /// The final head was passed on.
    Final,
    /// The 101 was passed on.
    Switched,
}

impl Relay<'_> {
    /// Takes bytes that came from the upstream.
    pub(in crate::proxy) fn on_upstream_bytes(&mut self, up: UpstreamId) -> ExchangeStep {
        if self.exchange.is_tunnel() {
            return self.tunnel_to_client();
        }
        if !self.exchange.awaits_head() {
            return self.pass_body();
        }
        if self.is_unasked() {
            return ExchangeStep::UpstreamLost(ResponseError::Unasked.into());
        }
        self.exchange.response = Response::Begun;
        loop {
            match self.read_head(up) {
                Ok(HeadOutcome::More) => return ExchangeStep::Wait,
                Ok(HeadOutcome::Interim) => {}
                Ok(HeadOutcome::Final) => return self.pass_body(),
                Ok(HeadOutcome::Switched) => return self.open_tunnel(),
                Err(error) => return self.refuse_response(up, error),
            }
        }
    }

    /// Ends the exchange, because the head of the response breaks a rule. The request was executed, so
    /// no other endpoint is tried.
    #[cold]
    fn refuse_response(&mut self, up: UpstreamId, error: ResponseError) -> ExchangeStep {
        let failure = Failure::from(error);
        self.note_try(up, &failure);
        ExchangeStep::Fail(failure)
    }

    /// Returns whether what the upstream sends cannot be the answer: the connection comes from the
    /// pool, and not a byte of this request has gone out on it. The last exchange's upstream sent
    /// too much, or sends 408 to an idle connection.
    fn is_unasked(&self) -> bool {
        let attempts = &self.exchange.attempts;
        attempts.upstream.is_some_and(|upstream| upstream.reused)
            && self
                .upstream()
                .is_some_and(|upstream| !upstream.outbox.any_sent())
    }

    fn read_head(&mut self, up: UpstreamId) -> Result<HeadOutcome, ResponseError> {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return Ok(HeadOutcome::More);
        };
        if upstream.inbox.is_empty() {
            return Ok(HeadOutcome::More);
        }
        // The head borrows these while the engine works on it.
        let mut inbox = core::mem::take(&mut upstream.inbox);
        let mut scan = core::mem::take(&mut upstream.scan);
        let mut fields = core::mem::take(&mut self.ctx.fields);
        let parsed = parse_response(inbox.filled(), &mut scan, &mut fields, &RESPONSE_LIMITS);
        let (head_outcome, consumed) = match parsed {
            Ok(Some(head)) => {
                scan = Default::default();
                (self.pass_head(&head), head.len)
            }
            Ok(None) => (Ok(HeadOutcome::More), 0),
            Err(error) => (Err(error), 0),
        };
        self.ctx.fields = fields;
        inbox.consume(consumed);
        match self.upstreams.get_mut(up) {
            Some(upstream) => {
                upstream.inbox = inbox;
                upstream.scan = scan;
            }
            None => self.ctx.buffers.give_back(&mut inbox),
        }
        head_outcome
    }

    fn pass_head(&mut self, head: &ResponseHead<'_>) -> Result<HeadOutcome, ResponseError> {
        let connection = Connection::of(&head.fields);
        connection.check_response()?;
        match head.status {
            101 => self.pass_switch(head, &connection),
            100..=199 => self.pass_interim(head, &connection),
            _ if self.exchange.for_client.is_some() => {
                let grant = self.with_cookie();
                self.pass_final(head, &connection, grant.as_deref())
            }
            _ => self.pass_final(head, &connection, None),
        }
    }

    /// Passes a 101 on: it is good only where it was asked for, and only for what was asked for
    /// (RFC 9110 7.8).
    #[cold]
    #[inline(never)]
    fn pass_switch(
        &mut self,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
    ) -> Result<HeadOutcome, ResponseError> {
        let was_asked = self.exchange.traits.has(Traits::WEBSOCKET);
        let mut protocols = head.fields.get_all(Name::Upgrade).flat_map(tokens);
        let is_websocket = protocols
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
            && protocols.next().is_none();
        if !was_asked || !is_websocket || !connection.upgrade {
            return Err(ResponseError::Switch);
        }
        let for_client = self.with_cookie();
        let lines = for_client
            .as_ref()
            .map_or(&[][..], |grant| grant.client_lines());
        let id = self.exchange.log_entry.id_field();
        let rate = self.exchange.rate_fields(self.ctx.now);
        let of_rate = rate.map_or(0, |rate| rate.bound());
        let urls = self.exchange.own_urls();
        let bound = interim_bound(head, urls.as_ref());
        let bound = joined_len([bound, lines.len(), id.line.len(), of_rate]);
        let edits = self.exchange.rules.service.edits.as_deref();
        let added = edits.map_or(0, |edits| edits.response.bound());
        let bound = bound.saturating_add(added);
        let room = self.client.outbox.head_room(bound, &mut self.ctx.buffers);
        let start = room.len();
        let (entry, scheme) = (&self.exchange.log_entry, self.client.listener.scheme());
        let ours = (lines, id, rate);
        let written = write_interim(head, connection, ours, urls.as_ref(), room);
        let written = written.and_then(|()| match edits {
            Some(edits) => entry.edit_response(&edits.response, scheme, (room, start)),
            None => Ok(()),
        });
        written.map_err(|_| ResponseError::HeadTooLarge)?;
        Ok(HeadOutcome::Switched)
    }

    /// Passes another 1xx on. The gateway answers expectations itself, and HTTP/1.0 knows no 1xx.
    #[cold]
    #[inline(never)]
    fn pass_interim(
        &mut self,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
    ) -> Result<HeadOutcome, ResponseError> {
        let exchange = &mut *self.exchange;
        exchange.interim = exchange.interim.saturating_add(1);
        exchange.interim_bytes = exchange.interim_bytes.saturating_add(head.len as u32);
        if exchange.interim > INTERIM_RESPONSES_MAX
            || exchange.interim_bytes as usize > INTERIM_BYTES
        {
            return Err(ResponseError::TooManyInterim);
        }
        if head.status != 100 && !exchange.traits.has(Traits::HTTP_1_0) {
            let bound = interim_bound(head, None);
            let room = self.client.outbox.head_room(bound, &mut self.ctx.buffers);
            let id = exchange.log_entry.id_field();
            let rate = exchange.rate_fields(self.ctx.now);
            if write_interim(head, connection, (b"", id, rate), None, room).is_err() {
                return Err(ResponseError::HeadTooLarge);
            }
            self.mark_client_ready();
        }
        Ok(HeadOutcome::Interim)
    }

    /// Passes the final head on. `grant`: it has lines for the client.
    fn pass_final(
        &mut self,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
        grant: Option<&Grant>,
    ) -> Result<HeadOutcome, ResponseError> {
        let exchange = &mut *self.exchange;
        let incoming = response_body(head, exchange.traits.has(Traits::HEAD))?;
        let is_http10 = exchange.traits.has(Traits::HTTP_1_0);
        let plan = BodyPlan::of(&incoming.body, incoming.declared, is_http10);
        // An upload that goes on behind the answer, or bytes that may be WebSocket frames, must not
        // become a request.
        let is_complete = matches!(exchange.upload, Upload::Done);
        if !is_complete || plan.ends_with_close || self.ctx.draining {
            exchange.persistence = Persistence::Close;
        }
        let parts = ResponseParts {
            connection,
            blocks: Blocks {
                cors: exchange.rules.headers.cors.as_deref(),
                security: exchange.rules.headers.security.as_deref(),
                origin: exchange.origin(),
            },
            date: self.ctx.access_log.date(self.ctx.now),
            close: exchange.persistence == Persistence::Close,
            framing: plan.framing,
            lines: grant.map_or(&[], Grant::client_lines),
            id: exchange.log_entry.id_field(),
            rate: exchange.rate_fields(self.ctx.now),
            urls: exchange.own_urls(),
        };
        let outbox = &mut self.client.outbox;
        let edits = exchange.rules.service.edits.as_deref();
        let added = edits.map_or(0, |edits| edits.response.bound());
        let bound = parts.bound(head).saturating_add(added);
        let room = outbox.head_room(bound, &mut self.ctx.buffers);
        let start = room.len();
        let (entry, scheme) = (&exchange.log_entry, self.client.listener.scheme());
        let written = parts.write(head, room).and_then(|()| match edits {
            Some(edits) => entry.edit_response(&edits.response, scheme, (room, start)),
            None => Ok(()),
        });
        written.map_err(|_| ResponseError::HeadTooLarge)?;
        let reusable = is_complete
            && !exchange.traits.has(Traits::CONTENT_WITHOUT_MEANING)
            && incoming.reusable
            && keeps_alive(head.version, &head.fields);
        if matches!(head.status, 401 | 407) && offers_connection_scheme(&head.fields) {
            exchange.sharing = Sharing::Private;
        }
        exchange.log_entry.is_answered(head.status, self.ctx.now);
        exchange.response = Response::Copy {
            transfer: Transfer::new(plan.from, plan.to),
            reusable,
        };
        self.note_answered(head);
        self.response_moved();
        Ok(HeadOutcome::Final)
    }

    /// Notes which endpoint answered, and how long its connection may be idle.
    #[inline(always)]
    fn note_answered(&mut self, head: &ResponseHead<'_>) {
        if let Some(up) = self.exchange.attempts.upstream_id()
            && let Some(upstream) = self.upstreams.get_mut(up)
        {
            self.exchange.log_entry.numbers.endpoint = upstream.endpoint;
            upstream.outbox.release_head(&mut self.ctx.buffers);
            if let Some(seconds) = idle_seconds(&head.fields) {
                upstream.note_idle(seconds);
            }
        }
    }

    /// Moves response body bytes towards the client.
    pub(super) fn pass_body(&mut self) -> ExchangeStep {
        let Response::Copy { transfer, reusable } = &mut self.exchange.response else {
            return ExchangeStep::Wait;
        };
        let Some(up) = self.exchange.attempts.upstream_id() else {
            return ExchangeStep::Wait;
        };
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return ExchangeStep::Wait;
        };
        let before = transfer.moved();
        let (outbox, buffers) = (&mut self.client.outbox, &mut self.ctx.buffers);
        let step = transfer.step(&mut upstream.inbox, outbox, buffers);
        let moved = transfer.moved();
        self.exchange.log_entry.numbers.bytes_out = moved;
        let reusable = *reusable && upstream.inbox.is_empty();
        match step {
            Ok(Progress::Complete) => return self.response_read(reusable),
            Ok(Progress::More) if moved > before => self.response_moved(),
            Ok(Progress::More) => {}
            Err(error) => return ExchangeStep::Reset(Failure::response_body(error)),
        }
        ExchangeStep::Wait
    }

    /// Notes bytes of the response that are on their way down.
    pub(super) fn response_moved(&mut self) {
        self.arm(WaitsFor::Progress);
        self.mark_client_ready();
    }

    /// Takes note that the response was read to its end. What the table says for the upstream
    /// happens now, for the client once it is written.
    #[inline(always)]
    pub(super) fn response_read(&mut self, reusable: bool) -> ExchangeStep {
        self.exchange.response = Response::Done;
        self.release_upstream(reusable);
        self.mark_client_ready();
        self.finish_if_sent()
    }

    /// Ends the exchange when the last byte of the response is written.
    fn finish_if_sent(&mut self) -> ExchangeStep {
        if self.client.outbox.is_sent() {
            ExchangeStep::Finished
        } else {
            ExchangeStep::Wait
        }
    }

    /// Returns what becomes of the client's connection behind the last byte.
    pub(in crate::proxy) fn client_end(&self) -> ClientEnd {
        self.exchange.settle(ResponseEnd::Final).1
    }

    /// Notes bytes that were written to the client.
    #[inline]
    pub(in crate::proxy) fn on_client_sent(&mut self) -> ExchangeStep {
        match self.exchange.response {
            Response::Awaited | Response::Begun => {}
            Response::Copy { .. } => {
                self.arm(WaitsFor::Progress);
                let step = self.pass_body();
                self.mark_upstream_ready();
                return step;
            }
            Response::Done if self.client.outbox.is_sent() => return ExchangeStep::Finished,
            Response::Done => self.arm(WaitsFor::Progress),
            Response::Tunnel(_) => return self.tunnel_sent(),
        }
        ExchangeStep::Wait
    }
}

/// Framing of a response that leaves, given how it came (RFC 9112 6.1 to 6.3).
struct BodyPlan {
    from: BodyReader,
    to: BodyWriter,
    framing: Framing,
    /// Only the end of the client's connection ends the body: an HTTP/1.0 client, and no length.
    ends_with_close: bool,
}

impl BodyPlan {
    fn of(body: &ResponseBody, declared: Option<u64>, is_http10: bool) -> BodyPlan {
        let plan = |from, to, framing, ends_with_close| BodyPlan {
            from,
            to,
            framing,
            ends_with_close,
        };
        let from = BodyReader::of_response(body);
        let sized = match body {
            ResponseBody::Empty => Some(declared.map_or(Framing::None, Framing::Length)),
            ResponseBody::Sized(bytes) => Some(Framing::Length(*bytes)),
            ResponseBody::Chunked | ResponseBody::UntilClose => None,
        };
        match sized {
            Some(framing) => plan(from, BodyWriter::Plain, framing, false),
            None if is_http10 => plan(from, BodyWriter::Plain, Framing::None, true),
            None => plan(from, BodyWriter::Chunked, Framing::Chunked, false),
        }
    }
}
