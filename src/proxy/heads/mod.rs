//! The heads that leave: a request's towards its upstream, a response's towards its client, and
//! replies of the gateway's own.
//!
//! Everything is written from parsed values. Lines that stay are copied in runs, in their order and
//! spelling; hop-by-hop and framing fields never are (RFC 9110 7.6.1), and the message gets the
//! framing that we use ourselves.

mod edits;
mod own_urls;
mod reply;
mod request;
mod response;
mod retarget;

pub(super) use self::edits::{edit, edit_request};
pub(super) use self::own_urls::OwnUrls;
pub(super) use self::reply::{Content, ReplyParts};
pub(super) use self::request::RequestParts;
pub(super) use self::response::{Blocks, ResponseParts, interim_bound, write_interim};
pub(super) use self::retarget::{HeadVariant, TargetParts, retarget};

use crate::http::head::HeadLimits;
use crate::limits::{FIELDS_MAX, RESPONSE_HEAD_BYTES};

/// Limits of the head of an upstream's response.
pub(super) const RESPONSE_LIMITS: HeadLimits = HeadLimits {
    head_bytes: RESPONSE_HEAD_BYTES,
    request_line_bytes: RESPONSE_HEAD_BYTES,
    fields: FIELDS_MAX,
};

/// Returns the start of a request head of the gateway's own: the request line and the fields that
/// each of them has, each with its CRLF. The caller adds what only its own has, and the empty line.
/// An answer in a content coding could not be read here, and without `Accept-Encoding` any coding
/// may be chosen (RFC 9110 12.5.3).
pub(super) fn subrequest_head(
    method: &str,
    path: &str,
    authority: &str,
    accept: &str,
    agent: &str,
) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\n\
         User-Agent: {agent}\r\n"
    )
}
