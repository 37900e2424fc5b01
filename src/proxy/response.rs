//! An exchange under way: the request's body up, the response's head and body down.

use super::client::Phase;
use super::command::{ClientId, Command, Side, UpstreamId};
use super::exchange::{ClientFate, Reply as ReplyState, ReplyEnd, Upload, UpstreamFate, settle};
use super::forward::{Blocks, ResponseParts, interim_bound, write_interim};
use super::reason::{Failure, Reason};
use super::relay::{BodyReader, BodyWriter, Progress, Transfer};
use super::upstream::Owner;
use super::{Proxy, RESPONSE_LIMITS};
use crate::http::chunked::ChunkDecoder;
use crate::http::connection::Connection;
use crate::http::emit::Framing;
use crate::http::error::ResponseError;
use crate::http::field::{Name, tokens};
use crate::http::framing::{ResponseBody, keeps_alive, response_body};
use crate::http::head::{ResponseHead, parse_response};
use crate::http::persistence::{idle_seconds, offers_connection_scheme};
use crate::limits::{
    INTERIM_BYTES, INTERIM_RESPONSES_MAX, LINGER_BYTES, LINGER_IDLE, LINGER_TOTAL,
};
use crate::observe::access::Outcome;
use crate::time::Instant;

/// What a response head came to.
enum HeadOutcome {
    /// It is not complete.
    More,
    /// A 1xx; look again.
    Interim,
    /// The final head was passed on.
    Final,
    /// The tunnel is open.
    Switched,
    /// It cannot be passed on.
    Malformed(ResponseError),
    /// The exchange is over.
    Gone,
}

impl Proxy {
    // --- from the client ---

    pub(super) fn downstream_received(&mut self, id: ClientId, n: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.inbox.fill(n);
        if n > 0 {
            match client.phase {
                Phase::Idle { older, newer } => {
                    client.phase = Phase::ReadHead {
                        scan: Default::default(),
                        begun: false,
                    };
                    self.unlink_idle(older, newer);
                    self.read_head(id, now);
                }
                Phase::ReadHead { .. } => self.read_head(id, now),
                Phase::Relay(_) => self.pump_upload(id, now),
                Phase::Reply { .. } => self.drain(id, now),
                Phase::Tunnel(_) => self.tunnel_up(id, now),
                Phase::Linger { .. } => self.discard(id, now),
                Phase::Suspended(_) | Phase::Closed => {}
            }
        }
        if let Some(client) = self.clients.get_mut(id) {
            self.pool.shrink(&mut client.inbox);
        }
    }

    /// Moves request body bytes towards the upstream.
    pub(super) fn pump_upload(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let transfer = match &mut exchange.upload {
            Upload::Copy(transfer) => transfer,
            Upload::Gather(_) => return self.gather(id, now),
            Upload::NotStarted | Upload::Done | Upload::Abandoned => return,
        };
        let Some(link) = exchange.link else { return };
        let Some(up) = self.upstreams.get_mut(link.id) else {
            return;
        };
        let before = transfer.moved();
        let step = transfer.step(&mut client.inbox, &mut up.outbox, &mut self.pool);
        exchange.log_entry.bytes_in = transfer.moved();
        if let Some(pace) = exchange.pace.as_mut().filter(|_| !client.inbox.is_empty()) {
            pace.hold_up();
        }
        let moved = transfer.moved() > before;
        if self
            .settings
            .limits
            .body_bytes
            .is_some_and(|limit| exchange.log_entry.bytes_in > limit)
        {
            return self.refuse_body(
                id,
                Failure::new(Outcome::OverLimit, Reason::BodyTooLong),
                now,
            );
        }
        match step {
            Ok(Progress::More) if !moved => {}
            Ok(progress) => self.upload_moved(id, progress, now),
            Err(error) => self.refuse_body(id, Failure::request_body(error), now),
        }
    }

    /// Bytes of the request are on their way up. Once it is all of them, a client that is already gone is noticed.
    pub(super) fn upload_moved(&mut self, id: ClientId, progress: Progress, now: Instant) {
        let half_close = self.settings.half_close;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let cancelled = progress == Progress::Complete && client.ended && !half_close;
        if progress == Progress::Complete {
            exchange.upload = Upload::Done;
            exchange.pace = None;
        }
        if let Some(link) = exchange.link {
            self.mark_upstream_ready(link.id);
        }
        if cancelled {
            self.cancel(id, now);
        }
    }

    pub(super) fn upstream_sent(&mut self, up: UpstreamId, n: usize, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        upstream.outbox.sent(n, &mut self.pool);
        let Owner::Exchange(id) = upstream.owner else {
            return;
        };
        match self.clients.get(id).map(|client| &client.phase) {
            Some(Phase::Relay(exchange)) => {
                // Upload progress keeps the upstream's clock from running out.
                match exchange.reply {
                    ReplyState::Await => self.arm_response(id, now),
                    ReplyState::Copy { .. } | ReplyState::Done => self.arm_idle(id, now),
                }
                if matches!(
                    self.exchange_of(id).map(|exchange| &exchange.upload),
                    Some(Upload::Copy(_))
                ) {
                    self.pump_upload(id, now);
                    self.mark_client_ready(id);
                }
            }
            Some(Phase::Tunnel(_)) => self.tunnel_sent(id, now),
            _ => {}
        }
    }

    // --- from the upstream ---

    pub(super) fn upstream_received(&mut self, up: UpstreamId, n: usize, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        upstream.inbox.fill(n);
        if n > 0 {
            match upstream.owner {
                Owner::Idle | Owner::Private(_) => return self.close_idle(up),
                Owner::Contender(_) => {}
                Owner::Subrequest(id) => self.on_subresponse_bytes(id, up, now),
                Owner::Exchange(id) => self.exchange_heard(id, up, now),
            }
        }
        if let Some(upstream) = self.upstreams.get_mut(up) {
            self.pool.shrink(&mut upstream.inbox);
        }
    }

    fn exchange_heard(&mut self, id: ClientId, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        match self.clients.get(id).map(|client| &client.phase) {
            Some(Phase::Relay(exchange)) if exchange.is_unasked(upstream) => {
                self.upstream_lost(id, up, ResponseError::Unasked.into(), now);
            }
            Some(Phase::Relay(_)) => self.on_response_bytes(id, up, now),
            Some(Phase::Tunnel(_)) => self.tunnel_down(id, now),
            _ => {}
        }
    }

    /// The upstream said something: heads until the final one, then the body.
    fn on_response_bytes(&mut self, id: ClientId, up: UpstreamId, now: Instant) {
        loop {
            let Some(exchange) = self.exchange_of(id) else {
                return;
            };
            if !matches!(exchange.reply, ReplyState::Await) {
                return self.pump_reply(id, now);
            }
            exchange.subrequest_done = true;
            match self.read_reply_head(id, up, now) {
                HeadOutcome::More => return,
                HeadOutcome::Interim => {}
                HeadOutcome::Final => return self.pump_reply(id, now),
                HeadOutcome::Switched => return self.open_tunnel(id, now),
                HeadOutcome::Malformed(error) => return self.fail_with_reply(id, error, now),
                HeadOutcome::Gone => return,
            }
        }
    }

    fn read_reply_head(&mut self, id: ClientId, up: UpstreamId, now: Instant) -> HeadOutcome {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return HeadOutcome::More;
        };
        if upstream.inbox.is_empty() {
            return HeadOutcome::More;
        }
        // The head borrows these while the engine works on it.
        let mut inbox = core::mem::take(&mut upstream.inbox);
        let mut scan = core::mem::take(&mut upstream.scan);
        let mut table = core::mem::take(&mut self.table);
        let (head_outcome, consumed) =
            match parse_response(inbox.filled(), &mut scan, &mut table, &RESPONSE_LIMITS) {
                Ok(Some(head)) => {
                    scan = Default::default();
                    (self.pass_head_on(id, &head, now), head.len)
                }
                Ok(None) => (HeadOutcome::More, 0),
                Err(error) => (HeadOutcome::Malformed(error), 0),
            };
        self.table = table;
        inbox.consume(consumed);
        match self.upstreams.get_mut(up) {
            Some(upstream) => {
                upstream.inbox = inbox;
                upstream.scan = scan;
            }
            None => self.pool.give_back(&mut inbox),
        }
        head_outcome
    }

    fn pass_head_on(&mut self, id: ClientId, head: &ResponseHead<'_>, now: Instant) -> HeadOutcome {
        let connection = Connection::of(&head.fields);
        if let Err(error) = connection.check_response() {
            return HeadOutcome::Malformed(error);
        }
        match head.status {
            101 => self.pass_switch_on(id, head, &connection),
            100..=199 => self.pass_interim_on(id, head, &connection),
            _ => self.pass_final_on(id, head, &connection, now),
        }
    }

    /// A 101 is good only where it was asked for, and only for what was asked for (RFC 9110 7.8).
    fn pass_switch_on(
        &mut self,
        id: ClientId,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
    ) -> HeadOutcome {
        let Some(client) = self.clients.get_mut(id) else {
            return HeadOutcome::Gone;
        };
        let (asked, for_client) = match client.exchange() {
            Some(exchange) => (exchange.websocket, exchange.for_client.clone()),
            None => (false, None),
        };
        let mut protocols = head.fields.get_all(Name::Upgrade).flat_map(tokens);
        let named = protocols
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
            && protocols.next().is_none();
        if !asked || !named || !connection.upgrade {
            return HeadOutcome::Malformed(ResponseError::Switch);
        }
        let lines = for_client
            .as_ref()
            .map_or(&[][..], |grant| grant.client_lines());
        let room = client.outbox.head_room(
            interim_bound(head).saturating_add(lines.len()),
            &mut self.pool,
        );
        if write_interim(head, connection, lines, room).is_err() {
            return HeadOutcome::Malformed(ResponseError::HeadTooLarge);
        }
        if let Some(exchange) = client.exchange() {
            exchange.for_client = None;
        }
        HeadOutcome::Switched
    }

    fn pass_interim_on(
        &mut self,
        id: ClientId,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
    ) -> HeadOutcome {
        let Some(client) = self.clients.get_mut(id) else {
            return HeadOutcome::Gone;
        };
        let Some(exchange) = client.exchange() else {
            return HeadOutcome::Gone;
        };
        exchange.interim = exchange.interim.saturating_add(1);
        exchange.interim_bytes = exchange.interim_bytes.saturating_add(head.len as u32);
        if exchange.interim > INTERIM_RESPONSES_MAX
            || exchange.interim_bytes as usize > INTERIM_BYTES
        {
            return HeadOutcome::Malformed(ResponseError::TooManyInterim);
        }
        // The gateway answers expectations itself, and HTTP/1.0 knows no 1xx.
        if head.status != 100 && !exchange.http10 {
            let room = client.outbox.head_room(interim_bound(head), &mut self.pool);
            if write_interim(head, connection, b"", room).is_err() {
                return HeadOutcome::Malformed(ResponseError::HeadTooLarge);
            }
            self.mark_client_ready(id);
        }
        HeadOutcome::Interim
    }

    fn pass_final_on(
        &mut self,
        id: ClientId,
        head: &ResponseHead<'_>,
        connection: &Connection<'_>,
        now: Instant,
    ) -> HeadOutcome {
        let wall = self.wall(now);
        let Some(client) = self.clients.get_mut(id) else {
            return HeadOutcome::Gone;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return HeadOutcome::Gone;
        };
        let incoming = match response_body(head, exchange.is_head) {
            Ok(incoming) => incoming,
            Err(error) => return HeadOutcome::Malformed(error),
        };
        let plan = ReplyPlan::of(&incoming.body, incoming.declared, exchange.http10);
        // An upload that goes on behind the answer, or bytes that may be WebSocket frames, must not become a request.
        let complete = matches!(exchange.upload, Upload::Done);
        exchange.keep &= complete && !plan.ends_with_close && !self.draining;
        let origin = (!exchange.origin.is_empty()).then_some(&*exchange.origin);
        let parts = ResponseParts {
            connection,
            blocks: Blocks {
                cors: self.policy.cors.as_ref(),
                security: self.policy.security.as_ref(),
                origin,
            },
            date: self.access_log.dates.imf_fixdate(wall),
            close: !exchange.keep,
            framing: plan.framing,
            lines: exchange
                .for_client
                .as_ref()
                .map_or(&[], |grant| grant.client_lines()),
        };
        let room = client.outbox.head_room(parts.bound(head), &mut self.pool);
        if parts.write(head, room).is_err() {
            return HeadOutcome::Malformed(ResponseError::HeadTooLarge);
        }
        exchange.for_client = None;
        let reusable = complete
            && !exchange.odd_content
            && incoming.reusable
            && keeps_alive(head.version, &head.fields);
        exchange.private |=
            matches!(head.status, 401 | 407) && offers_connection_scheme(&head.fields);
        exchange.log_entry.is_answered(head.status, now);
        exchange.reply = ReplyState::Copy {
            transfer: Transfer::new(plan.from, plan.to),
            reusable,
        };
        if let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        {
            up.outbox.release_head(&mut self.pool);
            if let Some(seconds) = idle_seconds(&head.fields) {
                up.note_idle(seconds);
            }
        }
        self.arm_idle(id, now);
        self.mark_client_ready(id);
        HeadOutcome::Final
    }

    /// Moves response body bytes towards the client.
    fn pump_reply(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Relay(exchange) = &mut client.phase else {
            return;
        };
        let ReplyState::Copy { transfer, reusable } = &mut exchange.reply else {
            return;
        };
        let Some(up) = exchange
            .link
            .and_then(|link| self.upstreams.get_mut(link.id))
        else {
            return;
        };
        let before = transfer.moved();
        let step = transfer.step(&mut up.inbox, &mut client.outbox, &mut self.pool);
        let moved = transfer.moved() > before;
        exchange.log_entry.bytes_out = transfer.moved();
        let reusable = *reusable && up.inbox.is_empty();
        match step {
            Ok(Progress::Complete) => self.reply_read(id, reusable, now),
            Ok(Progress::More) if moved => self.reply_moved(id, now),
            Ok(Progress::More) => {}
            Err(error) => self.reset_client(id, Failure::response_body(error), now),
        }
    }

    /// Bytes of the response are on their way down.
    pub(super) fn reply_moved(&mut self, id: ClientId, now: Instant) {
        self.arm_idle(id, now);
        self.mark_client_ready(id);
    }

    /// The response was read to its end; what the table says for the upstream happens now, for the client once it is written.
    pub(super) fn reply_read(&mut self, id: ClientId, reusable: bool, now: Instant) {
        let Some(exchange) = self.exchange_of(id) else {
            return;
        };
        exchange.reply = ReplyState::Done;
        let (fate, _) = settle(exchange.upload_end(), reply_end(reusable), exchange.keep);
        self.release(id, fate == UpstreamFate::Pool, now);
        self.mark_client_ready(id);
        self.finish_if_sent(id, now);
    }

    pub(super) fn upstream_ended(&mut self, up: UpstreamId, now: Instant) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        let id = match upstream.owner {
            Owner::Idle | Owner::Private(_) => return self.close_idle(up),
            Owner::Contender(_) => return,
            Owner::Subrequest(id) => return self.subrequest_ended(id, up, now),
            Owner::Exchange(id) => id,
        };
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match &mut client.phase {
            Phase::Relay(exchange) => match &mut exchange.reply {
                ReplyState::Await => self.upstream_lost(id, up, Failure::ended_early(), now),
                ReplyState::Copy { transfer, .. } if transfer.ends_with_stream() => {
                    transfer.finish(&mut client.outbox, &mut self.pool);
                    self.reply_read(id, false, now);
                }
                ReplyState::Copy { .. } => self.reset_client(id, Failure::ended_early(), now),
                ReplyState::Done => {}
            },
            Phase::Tunnel(_) => self.tunnel_ended(id, Side::Upstream(up), now),
            _ => {}
        }
    }

    // --- to the client ---

    pub(super) fn downstream_sent(&mut self, id: ClientId, n: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.outbox.sent(n, &mut self.pool);
        match &client.phase {
            Phase::Relay(exchange) => match exchange.reply {
                ReplyState::Await => {}
                ReplyState::Copy { .. } => {
                    self.arm_idle(id, now);
                    if let Some(link) = self.link_of(id) {
                        self.pump_reply(id, now);
                        self.mark_upstream_ready(link.id);
                    }
                }
                ReplyState::Done if client.outbox.is_sent() => self.finish_if_sent(id, now),
                ReplyState::Done => self.arm_idle(id, now),
            },
            Phase::Reply { .. } => self.finish_answer(id, now),
            Phase::Tunnel(_) => self.tunnel_sent(id, now),
            _ => {}
        }
    }

    /// The exchange is over when the last byte of the response is written.
    fn finish_if_sent(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if !client.outbox.is_sent() {
            return;
        }
        let Some(exchange) = self.end_exchange(id, Outcome::Ok, now) else {
            return;
        };
        let (_, fate) = settle(exchange.upload_end(), ReplyEnd::Final, exchange.keep);
        self.free_exchanges.push(exchange);
        match fate {
            ClientFate::Next => self.next_request(id, now),
            _ => self.linger(id, now),
        }
    }

    /// Back to the start: the next request may already be here. Whoever wrote the last byte, or attends to it, reads on.
    pub(super) fn next_request(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if !client.inbox.is_empty() {
            client.phase = Phase::ReadHead {
                scan: Default::default(),
                begun: false,
            };
            self.arm_client(id, self.settings.timeouts.head, now);
            return self.read_head(id, now);
        }
        if self.draining {
            return self.linger(id, now);
        }
        self.link_idle(id);
        self.arm_client(id, self.settings.timeouts.keep_alive, now);
    }

    // --- replies of our own, and the end ---

    /// Drops what is left of the body of a request that was answered here.
    pub(super) fn drain(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Reply { drain, keep } = &mut client.phase else {
            return;
        };
        let Some(transfer) = drain else {
            if !*keep {
                // What follows a last reply is never looked at.
                self.pool.give_back(&mut client.inbox);
            }
            return;
        };
        match transfer.step(&mut client.inbox, &mut client.outbox, &mut self.pool) {
            Ok(Progress::Complete) => *drain = None,
            Ok(Progress::More) if transfer.moved() <= crate::limits::DRAIN_BYTES => return,
            Ok(Progress::More) | Err(_) => {
                *drain = None;
                *keep = false;
            }
        }
        self.finish_answer(id, now);
    }

    pub(super) fn finish_answer(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Reply { drain, keep } = &client.phase else {
            return;
        };
        if !client.outbox.is_sent() {
            return;
        }
        match (keep, drain.is_some()) {
            (true, true) => {}
            (true, false) => self.next_request(id, now),
            (false, _) => self.linger(id, now),
        }
    }

    /// RFC 9112 9.6: end our direction, then read until the client ends its own.
    pub(super) fn linger(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.ended {
            return self.close_client(id, false);
        }
        client.phase = Phase::Linger {
            since: now,
            left: LINGER_BYTES,
        };
        self.pool.give_back(&mut client.inbox);
        self.arm_client(id, Some(LINGER_IDLE), now);
        self.commands.push_back(Command::Shut(Side::Client(id)));
        self.mark_client_ready(id);
    }

    fn discard(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Phase::Linger { since, left } = &mut client.phase else {
            return;
        };
        *left = left.saturating_sub(client.inbox.len() as u64);
        let over = *left == 0 || now.since(*since) >= LINGER_TOTAL;
        self.pool.give_back(&mut client.inbox);
        if over {
            self.close_client(id, false);
        } else {
            self.arm_client(id, Some(LINGER_IDLE), now);
        }
    }
}

fn reply_end(reusable: bool) -> ReplyEnd {
    if reusable {
        ReplyEnd::Framed
    } else {
        ReplyEnd::Final
    }
}

/// How a response leaves, given how it came (RFC 9112 6.1 to 6.3).
struct ReplyPlan {
    from: BodyReader,
    to: BodyWriter,
    framing: Framing,
    /// Only the end of the client's connection ends the body: an HTTP/1.0 client, and no length.
    ends_with_close: bool,
}

impl ReplyPlan {
    fn of(body: &ResponseBody, declared: Option<u64>, http10: bool) -> ReplyPlan {
        let plan = |from, to, framing, ends_with_close| ReplyPlan {
            from,
            to,
            framing,
            ends_with_close,
        };
        let (from, sized) = match body {
            ResponseBody::Empty => (
                BodyReader::Sized(0),
                declared.map_or(Some(Framing::None), |n| Some(Framing::Length(n))),
            ),
            ResponseBody::Sized(bytes) => {
                (BodyReader::Sized(*bytes), Some(Framing::Length(*bytes)))
            }
            ResponseBody::Chunked => (BodyReader::Chunked(ChunkDecoder::new()), None),
            ResponseBody::UntilClose => (BodyReader::UntilClose, None),
        };
        match sized {
            Some(framing) => plan(from, BodyWriter::Plain, framing, false),
            None if http10 => plan(from, BodyWriter::Plain, Framing::None, true),
            None => plan(from, BodyWriter::Chunked, Framing::Chunked, false),
        }
    }
}
