//! Replies of the gateway's own: what one is made of, how it is written and logged, and what
//! becomes of the rest of its request.

use super::super::command::Side;
use super::super::context::{Context, TimerKey};
use super::super::heads::{Blocks, Content, ReplyParts};
use super::super::ids::ClientId;
use super::super::log_entry::AccessLogEntry;
use super::super::reason::Reason;
use super::super::rules::Rules;
use super::super::transfer::Transfer;
use super::super::upstream::NoEndpoint;
use super::Clients;
use super::connection::Phase;
use crate::observe::access::Outcome;
use crate::policy::edits::HeaderEdits;
use crate::policy::rate_fields::RateFields;
use crate::policy::reply::Reply;
use crate::time::Duration;

/// A reply of the gateway's own and what goes with it.
pub(in crate::proxy) struct LocalReply<'a> {
    pub(in crate::proxy) content: Content<'a>,
    pub(in crate::proxy) outcome: Outcome,
    /// Reason why a request is refused: the operator is told, once for each reply.
    pub(in crate::proxy) reason: Option<Reason>,
    pub(in crate::proxy) retry_after: Option<u64>,
    /// Whole field lines, each with its CRLF, that only this answer has.
    pub(in crate::proxy) lines: Vec<u8>,
    pub(in crate::proxy) is_head: bool,
    pub(in crate::proxy) keep: bool,
    pub(in crate::proxy) drain: Option<Box<Transfer>>,
}

impl<'a> LocalReply<'a> {
    /// An answer after which the connection closes.
    pub(in crate::proxy) fn with(content: Content<'a>, outcome: Outcome) -> LocalReply<'a> {
        LocalReply {
            content,
            outcome,
            reason: None,
            retry_after: None,
            lines: Vec::new(),
            is_head: false,
            keep: false,
            drain: None,
        }
    }

    /// A reply after which the connection closes.
    pub(in crate::proxy) fn last(reply: Reply, outcome: Outcome) -> LocalReply<'a> {
        LocalReply::with(Content::Reply(reply), outcome)
    }

    /// Returns a last reply to a request that is refused for this reason.
    pub(in crate::proxy) fn refusal(
        reply: Reply,
        outcome: Outcome,
        reason: impl Into<Reason>,
    ) -> LocalReply<'a> {
        LocalReply {
            reason: Some(reason.into()),
            ..LocalReply::last(reply, outcome)
        }
    }

    /// Returns a last reply to a request whose service has no target for it. Targets that are down
    /// by their checks may be up after the next check; a slot may be free after a second.
    pub(in crate::proxy) fn no_endpoint(why: NoEndpoint) -> LocalReply<'a> {
        let (wait, outcome, reason) = match why {
            NoEndpoint::AllDown(wait) => (wait, Outcome::NoTargetUp, Reason::AllTargetsDown),
            NoEndpoint::ServiceFull => (Duration::ZERO, Outcome::OverLimit, Reason::ServiceFull),
            NoEndpoint::TargetsFull => (Duration::ZERO, Outcome::OverLimit, Reason::TargetsFull),
        };
        LocalReply {
            retry_after: Some(wait.as_secs_ceil().max(1)),
            ..LocalReply::refusal(Reply::ServiceUnavailable, outcome, reason)
        }
    }
}

impl Clients {
    /// Writes a reply of the gateway's own and its line in the log; what is left of the request is
    /// dropped. `origin`: the request's `Origin`.
    pub(in crate::proxy) fn reply(
        &mut self,
        id: ClientId,
        reply: LocalReply<'_>,
        mut entry: Box<AccessLogEntry>,
        origin: Option<&[u8]>,
        ctx: &mut Context,
    ) {
        let keep = reply.keep && !ctx.draining;
        let Some(client) = self.connections.get_mut(id) else {
            return;
        };
        let common = &ctx.rules.common;
        let (headers, rate_lines) = match &entry.service {
            Some(rules) => (&rules.headers, rules.rate_lines.as_deref()),
            None => (&common.headers, common.rate_lines.as_deref()),
        };
        let parts = ReplyParts {
            page: page_of(&entry, reply.content, &ctx.rules),
            blocks: Blocks {
                cors: headers.cors.as_deref(),
                security: headers.security.as_deref(),
                origin,
            },
            date: ctx.access_log.date(ctx.now),
            close: !keep,
            retry_after: reply.retry_after,
            lines: &reply.lines,
            id_line: entry.id_field().line,
            rate: RateFields::of(rate_lines, entry.numbers.quota, ctx.now),
            is_head: reply.is_head,
        };
        let edits = match &entry.service {
            Some(rules) => rules.service.edits.as_deref(),
            None => common.edits.as_deref(),
        };
        let edits = edits.map(|edits| &edits.response);
        let added = edits.map_or(0, HeaderEdits::bound);
        let bound = parts.bound(reply.content).saturating_add(added);
        let room = client.outbox.head_room(bound, &mut ctx.buffers);
        let start = room.len();
        let written = parts.write(reply.content, room);
        let written = written.and_then(|()| match edits {
            Some(edits) => entry.edit_response(edits, client.listener.scheme(), (room, start)),
            None => Ok(()),
        });
        debug_assert!(written.is_ok(), "the bound covers every reply");
        let body_bytes = parts.body_bytes(reply.content);
        let status = reply.content.status();
        entry.numbers.status = Some(status);
        ctx.counters.count_reply(status);
        entry.numbers.bytes_out = body_bytes;
        client.phase = Phase::Reply {
            drain: reply.drain,
            keep,
        };
        let timeouts = &ctx.rules.settings.timeouts;
        let span = timeouts.head.or(timeouts.keep_alive);
        ctx.arm(&mut client.timer, TimerKey::Client(id), span);
        ctx.mark_ready(&mut client.queued, Side::Client(id));
        if let Some(reason) = reply.reason {
            ctx.report_refused(&mut entry, reply.outcome, reason);
        }
        ctx.record(id, entry, reply.outcome);
    }
}

/// Returns the page in place of the JSON of a fixed reply. `Some(None)`: there is one, and the client
/// asks for none.
fn page_of<'a>(
    entry: &'a AccessLogEntry,
    content: Content<'_>,
    rules: &'a Rules,
) -> Option<Option<&'a [u8]>> {
    let pages = match &entry.service {
        Some(rules) => &rules.service.error_pages,
        None => &rules.settings.error_pages,
    };
    match content {
        Content::Reply(reply) => {
            let page = pages.as_deref()?.page(reply.status())?;
            Some(entry.names_html().then_some(page))
        }
        _ => None,
    }
}

/// Returns whether these bytes begin a HEAD request, although the rest of it is no head: what
/// answers it has no body either.
pub(in crate::proxy) fn asks_for_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
}
