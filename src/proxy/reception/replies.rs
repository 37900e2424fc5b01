//! Replies of the gateway's own to requests that get no exchange.

use super::super::auth::Refusal;
use super::super::client::LocalReply;
use super::super::heads::Content;
use super::super::log_entry::AccessLogEntry;
use super::super::reason::Reason;
use super::super::rules::ServiceRules;
use super::super::settings::FixedReply;
use super::super::transfer::{BodyReader, BodyWriter, Transfer};
use super::super::upstream::NoEndpoint;
use super::{Grants, Received, Reception};
use crate::http::chunked::ChunkDecoder;
use crate::http::error::RequestFault;
use crate::http::field::Name;
use crate::http::framing::RequestBody;
use crate::http::head::RequestHead;
use crate::limits::DRAIN_BYTES;
use crate::observe::access::Outcome;
use crate::policy::admission::Refusal as Refused;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::redirect;
use crate::policy::reply::Reply;
use crate::policy::request::Request;
use crate::time::Duration;

/// Returns the reply to a request that is refused.
pub(super) fn refused_reply(refused: Refused) -> LocalReply<'static> {
    let refuse = |outcome, reason: Reason| LocalReply::refusal(refused.reply(), outcome, reason);
    match refused {
        Refused::AddressDenied => refuse(Outcome::Unauthorized, Reason::AddressDenied),
        Refused::MaxForwards => refuse(Outcome::BadRequest, RequestFault::MaxForwards.into()),
        Refused::UnsafePath(fault) => refuse(Outcome::BadRequest, Reason::UnsafePath(fault)),
        Refused::Maintenance(wait) => LocalReply {
            retry_after: wait.map(u64::from),
            ..LocalReply::last(refused.reply(), Outcome::Maintenance)
        },
        Refused::NoRoute => LocalReply::last(refused.reply(), Outcome::NoRoute),
        Refused::BodyTooLong => refuse(Outcome::OverLimit, Reason::BodyTooLong),
        Refused::Loop => refuse(Outcome::LoopDetected, Reason::Loop),
    }
}

/// Returns the reply to a request whose service wants a client certificate.
pub(super) fn certificate_reply() -> LocalReply<'static> {
    let (outcome, reason) = (Outcome::Unauthorized, Reason::NoCertificate);
    LocalReply::refusal(Reply::Forbidden, outcome, reason)
}

/// Returns the reply to a client that has no request left; in `wait` it has some again.
pub(super) fn rate_limited_reply(wait: Duration) -> LocalReply<'static> {
    LocalReply {
        retry_after: Some(wait.as_secs_ceil().max(1)),
        ..LocalReply::last(Reply::TooManyRequests, Outcome::RateLimited)
    }
}

/// Returns the redirect to the TLS listener (308, RFC 9110 15.4.9: with the same method and body).
pub(super) fn redirect_reply(
    request: &Request<'_>,
    https_port: Option<u16>,
) -> LocalReply<'static> {
    let target = &request.target;
    match request.asked_host().filter(|host| !host.is_empty()) {
        Some(host) => LocalReply {
            lines: redirect::location(host, https_port, target.path, target.query),
            ..LocalReply::with(Content::Bare(308), Outcome::Ok)
        },
        // An HTTP/1.0 client that names no host cannot be told where it is.
        None => LocalReply::refusal(
            Reply::BadRequest,
            Outcome::BadRequest,
            RequestFault::NothingToRedirect,
        ),
    }
}

/// Returns the reply to a request that is not let in.
pub(super) fn unauthorized_reply(refusal: &Refusal) -> LocalReply<'_> {
    match refusal {
        Refusal::Ambiguous => LocalReply::refusal(
            Reply::BadRequest,
            Outcome::BadRequest,
            RequestFault::TwoCredentials,
        ),
        Refusal::Throttled(wait) => LocalReply {
            reason: Some(Reason::FailureBudget),
            ..rate_limited_reply(*wait)
        },
        Refusal::Down(outcome, busy) => LocalReply {
            retry_after: busy.map(|_| 1),
            ..LocalReply::refusal(
                Reply::ServiceUnavailable,
                *outcome,
                busy.map_or(Reason::ProviderDown, Reason::Busy),
            )
        },
        Refusal::Unauthorized(lines, fault) => LocalReply {
            lines: lines.clone(),
            ..LocalReply::refusal(Reply::Unauthorized, Outcome::Unauthorized, *fault)
        },
        Refusal::Forbidden(lines) => LocalReply {
            lines: lines.clone(),
            ..LocalReply::refusal(
                Reply::Forbidden,
                Outcome::Unauthorized,
                CredentialFault::Scope,
            )
        },
        Refusal::Denied(denial) => {
            let (content, lines) = denial.parts();
            LocalReply {
                lines: lines.to_vec(),
                reason: Some(CredentialFault::Denied.into()),
                ..LocalReply::with(content, Outcome::Unauthorized)
            }
        }
    }
}

/// Returns the reply to a request that no target takes: not even a try is made.
pub(super) fn no_endpoint_reply(
    request: &Request<'_>,
    grants: &Grants,
    why: NoEndpoint,
) -> LocalReply<'static> {
    let drain = drainable(request);
    LocalReply {
        lines: client_lines(grants),
        is_head: request.head.method == b"HEAD",
        keep: request.keep && drain.is_some(),
        drain: drain.flatten(),
        ..LocalReply::no_endpoint(why)
    }
}

impl Reception<'_> {
    /// Answers a request of a service that has `redirect` or `respond`. `taken`: bytes of the path
    /// that the route matches.
    #[cold]
    pub(super) fn reply_fixed(
        &mut self,
        request: &Request<'_>,
        (rules, taken): (&ServiceRules, usize),
        grants: &Grants,
        entry: Box<AccessLogEntry>,
    ) -> Received {
        let location;
        let content = match rules.service.reply.as_deref() {
            Some(FixedReply::Redirect(redirect)) => {
                let rest = request.target.path.get(taken..).unwrap_or_default();
                location = redirect.location(rest, request.target.query);
                Content::Redirect(redirect.status, &location)
            }
            Some(FixedReply::Respond(respond)) => Content::Response {
                status: respond.status,
                type_line: respond.type_line.as_bytes(),
                body: &respond.body,
            },
            None => Content::Reply(Reply::InternalError),
        };
        let reply = LocalReply {
            lines: client_lines(grants),
            ..LocalReply::with(content, Outcome::Ok)
        };
        self.reply_and_drain(request, reply, entry)
    }
}

/// Returns the reply to a request that cannot be counted, because the store of its limit is down.
pub(super) fn store_down_reply() -> LocalReply<'static> {
    LocalReply {
        retry_after: Some(1),
        ..LocalReply::refusal(
            Reply::ServiceUnavailable,
            Outcome::StoreDown,
            Reason::StoreDown,
        )
    }
}

/// The lines for the client, for a reply of the gateway's own.
pub(super) fn client_lines(grants: &Grants) -> Vec<u8> {
    let grant = grants.for_client.as_ref();
    grant.map_or_else(Vec::new, |grant| grant.client_lines().to_vec())
}

/// The request's head outgrows every buffer once it is written for the upstream.
pub(super) fn outgrown_reply(request: &Request<'_>, grants: &Grants) -> LocalReply<'static> {
    LocalReply {
        is_head: request.head.method == b"HEAD",
        lines: client_lines(grants),
        ..LocalReply::refusal(
            Reply::FieldsTooLarge,
            Outcome::OverLimit,
            Reason::HeadOutgrown,
        )
    }
}

/// Returns the request's `Origin`.
pub(super) fn origin<'a>(head: &RequestHead<'a>) -> Option<&'a [u8]> {
    head.fields.first(Name::Origin)
}

/// Returns how the body of a request that is answered here can be dropped: `None` when the
/// connection must close instead, because it is long, or because it is not known whether the client
/// sends it at all.
pub(super) fn drainable(request: &Request<'_>) -> Option<Option<Box<Transfer>>> {
    let from = match &request.body {
        RequestBody::Empty | RequestBody::Sized(0) => return Some(None),
        _ if request.expects => return None,
        RequestBody::Sized(bytes) if *bytes <= DRAIN_BYTES => BodyReader::Sized(*bytes),
        RequestBody::Sized(_) => return None,
        RequestBody::Chunked => BodyReader::Chunked(ChunkDecoder::new()),
    };
    Some(Some(Box::new(Transfer::new(from, BodyWriter::Discard))))
}
