//! Answers of the gateway's own: what one is made of, how it is written and logged, and what becomes of the rest of its request.

use super::Proxy;
use super::client::Phase;
use super::command::ClientId;
use super::forward::{Blocks, ReplyParts};
use super::log_entry::AccessLogEntry;
use super::reason::Reason;
use super::relay::Transfer;
use crate::observe::access::Outcome;
use crate::policy::reply::Reply;
use crate::time::Instant;

/// What an answer says.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// One of the fixed replies, with its body.
    Reply(Reply),
    /// 204 to an OPTIONS, and the `Access-Control-Request-Headers` to echo.
    Options(Option<&'a [u8]>),
    /// This status without a body: its fields say it all.
    Bare(u16),
    /// What somebody else says in our place.
    AuthService {
        /// Its status.
        status: u16,
        /// Its body.
        body: &'a [u8],
    },
}

/// An answer of our own and what goes with it.
pub(super) struct LocalReply<'a> {
    pub(super) content: Content<'a>,
    pub(super) end: Outcome,
    /// Why a request is refused: the operator is told, once for each answer.
    pub(super) reason: Option<Reason>,
    pub(super) retry_after: Option<u64>,
    /// Whole field lines, each with its CRLF, that only this answer has.
    pub(super) lines: Vec<u8>,
    pub(super) is_head: bool,
    pub(super) keep: bool,
    pub(super) drain: Option<Box<Transfer>>,
}

impl Content<'_> {
    fn status(self) -> u16 {
        match self {
            Content::Reply(reply) => reply.status(),
            Content::Options(_) => 204,
            Content::Bare(status) | Content::AuthService { status, .. } => status,
        }
    }

    fn body_bytes(self) -> u64 {
        match self {
            Content::Reply(reply) => reply.body().len() as u64,
            Content::AuthService { body, .. } => body.len() as u64,
            Content::Options(_) | Content::Bare(_) => 0,
        }
    }
}

impl<'a> LocalReply<'a> {
    /// An answer after which the connection closes.
    pub(super) fn with(content: Content<'a>, end: Outcome) -> LocalReply<'a> {
        LocalReply {
            content,
            end,
            reason: None,
            retry_after: None,
            lines: Vec::new(),
            is_head: false,
            keep: false,
            drain: None,
        }
    }

    /// A reply after which the connection closes.
    pub(super) fn last(reply: Reply, end: Outcome) -> LocalReply<'a> {
        LocalReply::with(Content::Reply(reply), end)
    }

    /// The same for a request that is refused for this reason.
    pub(super) fn refusal(reply: Reply, end: Outcome, reason: impl Into<Reason>) -> LocalReply<'a> {
        LocalReply {
            reason: Some(reason.into()),
            ..LocalReply::last(reply, end)
        }
    }
}

impl Proxy {
    /// Writes an answer of our own and its line in the log; what is left of the request is dropped.
    pub(super) fn reply(
        &mut self,
        id: ClientId,
        answer: LocalReply<'_>,
        mut log_entry: Box<AccessLogEntry>,
        origin: Option<&[u8]>,
        now: Instant,
    ) {
        let keep = answer.keep && !self.draining;
        let wall = self.wall(now);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let parts = ReplyParts {
            blocks: Blocks {
                cors: self.policy.cors.as_ref(),
                security: self.policy.security.as_ref(),
                origin,
            },
            date: self.access_log.dates.imf_fixdate(wall),
            close: !keep,
            retry_after: answer.retry_after,
            lines: &answer.lines,
            is_head: answer.is_head,
        };
        let theirs = match answer.content {
            Content::Options(Some(asked)) => asked.len(),
            Content::AuthService { body, .. } => body.len(),
            _ => 0,
        };
        let room = client
            .outbox
            .head_room(parts.bound().saturating_add(theirs), &mut self.pool);
        let written = match answer.content {
            Content::Reply(reply) => parts.write(reply, room),
            Content::Options(asked_headers) => parts.write_options(asked_headers, room),
            Content::Bare(status) => parts.write_bare(status, room),
            Content::AuthService { status, body } => parts.write_auth_denial(status, body, room),
        };
        debug_assert!(written.is_ok(), "the bound covers every answer");
        log_entry.status = Some(answer.content.status());
        log_entry.bytes_out = if answer.is_head {
            0
        } else {
            answer.content.body_bytes()
        };
        client.phase = Phase::Reply {
            drain: answer.drain,
            keep,
        };
        if let Some(reason) = answer.reason {
            self.report_refused(&mut log_entry, answer.end, reason, now);
        }
        self.record(&log_entry, answer.end, now);
        self.recycle(log_entry);
        self.arm_client(
            id,
            self.settings
                .timeouts
                .head
                .or(self.settings.timeouts.keep_alive),
            now,
        );
        self.mark_client_ready(id);
    }
}
