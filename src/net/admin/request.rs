//! Requests to the admin listener: what a head asks for, and who may ask.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::response::Response;
use crate::http::error::RequestError;
use crate::http::field::Name;
use crate::http::framing::{RequestBody, keeps_alive, request_body};
use crate::http::head::{FieldTable, HeadLimits, HeadScan, RequestHead, Version, parse_request};
use crate::http::target::parse_target;
use crate::limits::{ADMIN_BODY_BYTES, ADMIN_FIELDS, ADMIN_HEAD_BYTES};
use crate::observe::metrics::exposition::Format;

const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes: ADMIN_HEAD_BYTES,
    request_line_bytes: ADMIN_HEAD_BYTES / 2,
    fields: ADMIN_FIELDS,
};

/// Rights of a client, by the socket that it came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// A unix socket, whose file has mode 0600: everything.
    Commands,
    /// TCP: reading.
    ReadOnly,
}

/// A request whose form was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) path: &'a [u8],
    /// Query with its `?`, or empty.
    pub(super) query: &'a [u8],
    pub(super) version: Version,
    /// Format of metrics that the client accepts.
    pub(super) format: Format,
}

/// Front of the received bytes.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// A part of a head.
    Incomplete,
    /// A request.
    Request {
        request: Request<'a>,
        /// Bytes of the head.
        head: usize,
        /// Bytes of the body behind it, which are discarded.
        body: usize,
        keeps_alive: bool,
    },
    /// A request that gets this response, and no other one on its connection.
    Refused(Response),
}

/// Parses the front of the bytes that a client has sent. `hosts`: names in Host beside `localhost`,
/// in lower case.
pub(super) fn receive<'a>(
    bytes: &'a [u8],
    scan: &mut HeadScan,
    table: &'a mut FieldTable,
    access: Access,
    hosts: &[String],
) -> Received<'a> {
    match parse_request(bytes, scan, table, &HEAD_LIMITS) {
        Ok(None) => Received::Incomplete,
        Ok(Some(head)) => checked(&head, access, hosts).unwrap_or_else(Received::Refused),
        Err(error) => Received::Refused(refusal(error)),
    }
}

fn checked<'a>(
    head: &RequestHead<'a>,
    access: Access,
    hosts: &[String],
) -> Result<Received<'a>, Response> {
    let target = parse_target(head).map_err(refusal)?;
    let body = match request_body(head).map_err(refusal)? {
        RequestBody::Empty => Some(0),
        RequestBody::Sized(bytes) => usize::try_from(bytes).ok(),
        RequestBody::Chunked => None,
    };
    let Some(body) = body.filter(|&body| body <= ADMIN_BODY_BYTES) else {
        let message =
            format!("a body is not read here, and may have {ADMIN_BODY_BYTES} bytes at most");
        return Err(Response::error(413, &message));
    };
    if access == Access::ReadOnly {
        let host = head.fields.get_all(Name::Host).next();
        if let Some(host) = host.filter(|host| !is_known(host, hosts)) {
            let message = format!(
                "the host {:?} is not known; add it to \"hosts\" of \"admin\", or use the address",
                String::from_utf8_lossy(host)
            );
            return Err(Response::error(403, &message));
        }
    }
    Ok(Received::Request {
        request: Request {
            method: head.method,
            path: target.path,
            query: target.query,
            version: head.version,
            format: format_of(head),
        },
        head: head.len,
        body,
        // A client that expects 100 may leave its body out after a final response.
        keeps_alive: keeps_alive(head.version, &head.fields) && !head.fields.has(Name::Expect),
    })
}

/// Returns OpenMetrics for clients that name it in `Accept`. Weights do not count: who names it can
/// read it.
fn format_of(head: &RequestHead<'_>) -> Format {
    const OPEN_METRICS: &[u8] = b"application/openmetrics-text";
    let accepted = head.fields.iter();
    let mut accepted = accepted.filter(|field| field.name.eq_ignore_ascii_case(b"accept"));
    let is_open = |value: &[u8]| {
        let mut ranges = value.split(|&byte| byte == b',' || byte == b';');
        ranges.any(|range| range.trim_ascii().eq_ignore_ascii_case(OPEN_METRICS))
    };
    if accepted.any(|field| is_open(field.value)) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

fn refusal(error: RequestError) -> Response {
    Response::error(error.status(), error.as_str())
}

/// Returns `true` for a host that no other site can have made point here (DNS rebinding): an
/// address, `localhost`, or a name of the configuration. `host` is a valid Host.
fn is_known(host: &[u8], hosts: &[String]) -> bool {
    let Ok(host) = core::str::from_utf8(host) else {
        return false;
    };
    if let Some(literal) = host.strip_prefix('[') {
        let address = literal.split(']').next().unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
}
