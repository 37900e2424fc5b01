//! Forward-auth: another service decides, from what a request says of itself. It is asked by a GET
//! without a body; 2xx lets the request in, anything else below 500 is its answer to the client.

use std::sync::Arc;

use super::super::command::ListenerKind;
use super::super::heads::{Content, RequestParts};
use super::super::subrequest::SubResponse;
use super::{Asking, AuthEnv, LookupResult};
use crate::http::emit::Framing;
use crate::limits::FORWARD_BODY_BYTES;
use crate::observe::access::Outcome;
use crate::policy::auth::grant::Grant;
use crate::policy::reply::Reply;

/// Response of the forward endpoint that the client gets in place of a local reply.
#[derive(Clone)]
pub(in crate::proxy) struct Denial {
    /// From 300 to 499, without 304.
    status: u16,
    /// Whole header lines.
    lines: Vec<u8>,
    /// At most [`FORWARD_BODY_BYTES`].
    body: Vec<u8>,
}

/// The fields of an answer that go to the client.
const PASSED: [&str; 4] = [
    "Location",
    "WWW-Authenticate",
    "Set-Cookie",
    "Cache-Control",
];

/// Fields that describe the body (RFC 9110 8.3 to 8.5); passed on with it.
const PASSED_WITH_BODY: [&str; 3] = ["Content-Type", "Content-Encoding", "Content-Language"];

impl Denial {
    /// Returns content and header lines. A 401 or 403 without a body gets the body of the local
    /// reply.
    pub(in crate::proxy) fn parts(&self) -> (Content<'_>, &[u8]) {
        let content = match (self.status, self.body.is_empty()) {
            (401, true) => Content::Reply(Reply::Unauthorized),
            (403, true) => Content::Reply(Reply::Forbidden),
            (status, _) => Content::Response {
                type_line: b"",
                status,
                body: &self.body,
            },
        };
        (content, &self.lines)
    }

    /// A 401 must have one.
    pub(super) fn lacks_challenge(&self) -> bool {
        const NAME: &[u8] = b"www-authenticate:";
        let is_challenge = |line: &[u8]| {
            line.get(..NAME.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(NAME))
        };
        self.status == 401 && !self.lines.split(|&byte| byte == b'\n').any(is_challenge)
    }

    /// Returns the denial with these header lines added.
    pub(super) fn with_lines(mut self, lines: &[u8]) -> Denial {
        self.lines.extend_from_slice(lines);
        self
    }
}

/// Interprets an answer. `copied`: fields of a 2xx that go upstream.
pub(super) fn read_answer(copied: &[String], answer: Result<SubResponse, Outcome>) -> LookupResult {
    let SubResponse {
        status,
        fields,
        body,
    } = match answer {
        Ok(sub_response) => sub_response,
        Err(outcome) => return LookupResult::without_answer(outcome),
    };
    let named = |name: &str, field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
    match status {
        200..=299 => {
            let lines_of = |name| {
                let fields = fields.iter().filter(move |(field, _)| named(name, field));
                fields.map(move |(_, value)| (str::as_bytes(name), &**value))
            };
            let upstream = copied.iter().flat_map(|name| lines_of(name));
            // A session that is renewed while its request is let in (RFC 6265 4.1).
            let grant = Grant::with_lines(upstream, lines_of("Set-Cookie"));
            grant.map_or(LookupResult::Down(Outcome::OverLimit), |grant| {
                LookupResult::Good(Arc::new(grant))
            })
        }
        // All but 304, which is about something that the client has and we have not.
        300..=303 | 305..=499 => {
            let body = if body.len() > FORWARD_BODY_BYTES {
                Vec::new()
            } else {
                body
            };
            let mut lines = Vec::new();
            let about_body: &[&str] = if body.is_empty() {
                &[]
            } else {
                &PASSED_WITH_BODY
            };
            for &name in PASSED.iter().chain(about_body) {
                for (_, value) in fields.iter().filter(|(field, _)| named(name, field)) {
                    lines.extend_from_slice(name.as_bytes());
                    lines.extend_from_slice(b": ");
                    lines.extend_from_slice(value);
                    lines.extend_from_slice(b"\r\n");
                }
            }
            LookupResult::Denied(Denial {
                status,
                lines,
                body,
            })
        }
        _ => LookupResult::Down(Outcome::UpstreamMalformed),
    }
}

/// Returns the request to a forward endpoint, by its authority and path, about a client's request;
/// `None`: it outgrows every buffer.
pub(super) fn forwarded_request(
    asking: Asking<'_>,
    (authority, path): (&str, &str),
    env: &mut AuthEnv<'_>,
) -> Option<Vec<u8>> {
    let request = asking.request;
    let parts = RequestParts {
        target: [path.as_bytes(), b"", b""],
        host: authority.as_bytes(),
        connection: &request.connection,
        peer: asking.peer.ip(),
        trusted: env.ctx.rules.trusted.is_trusted(asking.peer),
        secure: asking.listener == ListenerKind::Secure,
        subject: None,
        asked_host: request.asked_host(),
        websocket: false,
        max_forwards: None,
        framing: Framing::None,
        id: asking.id_field,
        gateway_headers: &asking.service.gateway_headers,
        prefix_line: b"",
        lines: b"",
    };
    let uri = [request.target.path, request.target.query];
    let bound = parts.subrequest_bound(request.head, &uri);
    let mut head = env.ctx.buffers.lend(bound);
    let written = parts.write_subrequest(request.head, &uri, &mut head);
    let text = written.is_ok().then(|| head.filled().to_vec());
    env.ctx.buffers.give_back(&mut head);
    text
}
