//! Heads that are made of logged requests, and read once for both configurations.

use super::logged::Logged;
use crate::http::error::RequestError;
use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};
use crate::policy::request::Request;

/// Fields of such a head.
const FIELDS: usize = 8;

/// Has `judge` judge the request of a head, which is read once for all configurations.
pub(super) fn read<R>(
    head: &[u8],
    judge: impl FnOnce(&Result<Request<'_>, RequestError>) -> R,
) -> R {
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    // The bound of a request line differs; the line of a log has one.
    let limits = HeadLimits {
        head_bytes: usize::MAX,
        request_line_bytes: usize::MAX,
        fields: FIELDS,
    };
    let parsed = parse_request(head, &mut scan, &mut table, &limits);
    let whole = parsed.and_then(|parsed| parsed.ok_or(RequestError::HeadTooLarge));
    judge(
        &whole
            .as_ref()
            .map_err(|error| *error)
            .and_then(Request::read),
    )
}

/// Writes the head of a logged request. A log has no fields: `host` stands in for a missing Host,
/// and OPTIONS is taken for a CORS preflight, as nearly all are.
pub(super) fn write(logged: &Logged, host: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&logged.line);
    out.extend_from_slice(b"\r\nHost: ");
    out.extend_from_slice(logged.host.as_deref().unwrap_or(host));
    out.extend_from_slice(b"\r\n");
    if logged.line.starts_with(b"OPTIONS ") {
        out.extend_from_slice(b"Origin: null\r\nAccess-Control-Request-Method: GET\r\n");
    }
    if logged.body_bytes > 0 {
        let length = crate::digits::write(logged.body_bytes, &mut [0; 20]).to_vec();
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(&length);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
