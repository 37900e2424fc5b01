//! Framing of message bodies (RFC 9112 6.3) as two tables, and the field `Expect`.

use super::connection::Connection;
use super::error::{RequestError, RequestFault, ResponseError};
use super::field::{Name, without_ows};
use super::head::{Fields, RequestHead, ResponseHead, Version};
use crate::digits;

/// Body of a request. Without framing fields there is none: a request body never ends with the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestBody {
    /// No framing field.
    Empty,
    /// Content-Length.
    Sized(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

impl RequestBody {
    /// Returns true if no byte follows the head: no framing field, or a length of 0.
    pub fn is_empty(&self) -> bool {
        matches!(self, RequestBody::Empty | RequestBody::Sized(0))
    }
}

/// Body of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseBody {
    /// No body: HEAD, 1xx, 204, 304.
    Empty,
    /// Content-Length.
    Sized(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// All bytes until the upstream ends its stream.
    UntilClose,
}

/// Framing of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseFraming {
    /// Body of the response.
    pub body: ResponseBody,
    /// Length announced by a response without a body to HEAD, or by a 304 (RFC 9110 8.6); zero for
    /// a 205.
    pub declared: Option<u64>,
    /// The framing is unambiguous. Only then may the connection carry another exchange.
    pub reusable: bool,
}

/// Determines the framing of a request (RFC 9112 6.3).
///
/// # Errors
/// Another parser could understand the framing differently.
#[inline(always)]
pub fn request_body(head: &RequestHead<'_>) -> Result<RequestBody, RequestError> {
    let fields = &head.fields;
    if fields.has(Name::TransferEncoding) {
        if fields.has(Name::ContentLength) {
            return Err(RequestFault::BothFramings.into());
        }
        if head.version == Version::Http10 {
            return Err(RequestFault::OldTransferEncoding.into());
        }
        return match coding(fields) {
            Coding::Chunked => Ok(RequestBody::Chunked),
            Coding::Malformed => Err(RequestFault::TransferEncoding.into()),
            Coding::Unknown => Err(RequestError::UnknownCoding),
        };
    }
    let mut lengths = fields.get_all(Name::ContentLength);
    let Some(value) = lengths.next() else {
        return Ok(RequestBody::Empty);
    };
    if lengths.next().is_some() {
        return Err(RequestFault::TwoContentLengths.into());
    }
    canonical_decimal(value)
        .map(RequestBody::Sized)
        .ok_or(RequestFault::ContentLength.into())
}

/// Determines the framing of a response (RFC 9112 6.3). `is_head`: the request was a HEAD.
///
/// # Errors
/// The end of the body cannot be determined.
pub fn response_body(
    head: &ResponseHead<'_>,
    is_head: bool,
) -> Result<ResponseFraming, ResponseError> {
    let fields = &head.fields;
    let framing = |body, declared, reusable| {
        Ok(ResponseFraming {
            body,
            declared,
            reusable,
        })
    };
    let both = fields.has(Name::ContentLength) && fields.has(Name::TransferEncoding);
    if matches!(head.status, 100..=199 | 204) {
        // RFC 9110 8.6, RFC 9112 6.1: neither field belongs here. An upstream that sends one may
        // send a body, too.
        let bodyless = !fields.has(Name::TransferEncoding)
            && matches!(response_length(fields), Ok(None | Some(0)));
        return framing(ResponseBody::Empty, None, bodyless);
    }
    if is_head || head.status == 304 {
        // The announced length of the missing body is forwarded if it is valid.
        let declared = response_length(fields)
            .ok()
            .flatten()
            .filter(|_| !fields.has(Name::TransferEncoding));
        return framing(
            ResponseBody::Empty,
            declared,
            !both && response_length(fields).is_ok(),
        );
    }
    if fields.has(Name::TransferEncoding) {
        if head.version == Version::Http10 {
            return Err(ResponseError::OldTransferEncoding);
        }
        return match coding(fields) {
            // RFC 9110 15.3.6: a 205 has no content, whatever its fields say.
            Coding::Chunked if head.status == 205 => framing(ResponseBody::Sized(0), None, false),
            Coding::Chunked => framing(ResponseBody::Chunked, None, !both),
            Coding::Malformed => Err(ResponseError::TransferEncoding),
            Coding::Unknown => Err(ResponseError::UnknownCoding),
        };
    }
    match response_length(fields)? {
        // RFC 9110 15.3.6: a 205 has no content. If its fields agree, the connection stays usable;
        // otherwise it ends.
        length if head.status == 205 => framing(ResponseBody::Sized(0), None, length == Some(0)),
        Some(length) => framing(ResponseBody::Sized(length), None, true),
        None => framing(ResponseBody::UntilClose, None, false),
    }
}

/// Returns the length on which all Content-Length lines and list members agree (RFC 9112 6.3, 5).
fn response_length(fields: &Fields<'_>) -> Result<Option<u64>, ResponseError> {
    // Nearly always there is one line with one number.
    let mut lengths = fields.get_all(Name::ContentLength);
    if let (Some(length), None) = (lengths.next().and_then(digits::parse), lengths.next()) {
        return Ok(Some(length));
    }
    let mut agreed = None;
    for member in fields
        .get_all(Name::ContentLength)
        .flat_map(|value| value.split(|&byte| byte == b','))
    {
        let length = digits::parse(without_ows(member)).ok_or(ResponseError::ContentLength)?;
        if agreed
            .replace(length)
            .is_some_and(|before| before != length)
        {
            return Err(ResponseError::ContentLengths);
        }
    }
    Ok(agreed)
}

/// Parses digits without leading zeros, which another parser could take for octal.
fn canonical_decimal(value: &[u8]) -> Option<u64> {
    digits::parse(value).filter(|_| value.len() == 1 || value.first() != Some(&b'0'))
}

enum Coding {
    Chunked,
    Malformed,
    Unknown,
}

/// Result of the Transfer-Encoding lines. Only a single `chunked` is supported.
fn coding(fields: &Fields<'_>) -> Coding {
    let mut lines = fields.get_all(Name::TransferEncoding);
    let value = lines.next().unwrap_or_default();
    if lines.next().is_some() {
        return Coding::Malformed;
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let mut last = &b""[..];
    let mut chunked = 0;
    for member in value.split(|&byte| byte == b',').map(without_ows) {
        if member.is_empty() || !member.iter().all(|&byte| byte > b' ' && byte < 0x7f) {
            return Coding::Malformed;
        }
        chunked = usize::from(is_chunked(member)).saturating_add(chunked);
        last = member;
    }
    // RFC 9112 6.1: `chunked` once, last, without parameters; codings before it are unknown.
    match chunked {
        0 => Coding::Unknown,
        1 if last.eq_ignore_ascii_case(b"chunked") => Coding::Unknown,
        _ => Coding::Malformed,
    }
}

fn is_chunked(member: &[u8]) -> bool {
    let name = member
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default();
    without_ows(name).eq_ignore_ascii_case(b"chunked")
}

/// Returns true if the connection may carry another message (RFC 9112 9.3). Never for HTTP/1.0
/// peers.
#[inline(always)]
pub fn keeps_alive(version: Version, fields: &Fields<'_>) -> bool {
    if !fields.has(Name::Connection) {
        return version == Version::Http11;
    }
    let connection = Connection::of(fields);
    version == Version::Http11 && !connection.close && !connection.malformed
}

/// Returns true if the client waits for a 100 before it sends its body (RFC 9110 10.1.1). HTTP/1.0
/// has no expectations.
///
/// # Errors
/// Any other expectation.
pub fn expects_continue(head: &RequestHead<'_>) -> Result<bool, RequestError> {
    if head.version == Version::Http10 || !head.fields.has(Name::Expect) {
        return Ok(false);
    }
    let mut expectations = head.fields.get_all(Name::Expect);
    let known = expectations.all(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if known {
        Ok(true)
    } else {
        Err(RequestError::Expectation)
    }
}

/// Returns true for a WebSocket handshake that is forwarded (RFC 6455 4.1); other upgrades are not
/// offered to the upstream. A length of 0 counts as no body: some clients and proxies send it with
/// every GET.
pub fn wants_websocket(head: &RequestHead<'_>, body: &RequestBody) -> bool {
    let fields = &head.fields;
    if !fields.has(Name::Upgrade) || head.version != Version::Http11 || head.method != b"GET" {
        return false;
    }
    let once = |name| {
        let mut values = fields.get_all(name);
        values
            .next()
            .filter(|value| !value.is_empty() && values.next().is_none())
    };
    body.is_empty()
        && Connection::of(fields).upgrade
        && once(Name::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && once(Name::SecWebSocketVersion) == Some(b"13")
        && once(Name::SecWebSocketKey).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request, parse_response};
    use crate::limits::CONNECTION_OPTIONS_MAX;

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    fn with_request<T>(fields: &str, check: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let version = if fields.starts_with("1.0 ") {
            "1.0"
        } else {
            "1.1"
        };
        let fields = fields.strip_prefix("1.0 ").unwrap_or(fields);
        let text = format!("GET / HTTP/{version}\r\n{fields}\r\n");
        let mut table = FieldTable::default();
        let head = parse_request(
            text.as_bytes(),
            &mut HeadScan::default(),
            &mut table,
            &LIMITS,
        );
        check(&head.expect("well-formed").expect("complete"))
    }

    fn request(fields: &str) -> Result<RequestBody, u16> {
        with_request(fields, |head| {
            request_body(head).map_err(RequestError::status)
        })
    }

    fn response(head: &str, is_head: bool) -> Result<(ResponseBody, Option<u64>, bool), ()> {
        let text = format!("{head}\r\n");
        let mut table = FieldTable::default();
        let head = parse_response(
            text.as_bytes(),
            &mut HeadScan::default(),
            &mut table,
            &LIMITS,
        );
        let framing = response_body(&head.expect("well-formed").expect("complete"), is_head)
            .map_err(|_| ())?;
        Ok((framing.body, framing.declared, framing.reusable))
    }

    #[test]
    fn the_request_table() {
        use RequestBody::{Chunked, Empty, Sized};
        for (row, fields, expected) in [
            ("48 neither", "", Ok(Empty)),
            ("46 length", "Content-Length: 5\r\n", Ok(Sized(5))),
            ("46 zero", "Content-Length: 0\r\n", Ok(Sized(0))),
            ("43 chunked", "Transfer-Encoding: chunked\r\n", Ok(Chunked)),
            ("44 case", "Transfer-Encoding: ChUnKeD\r\n", Ok(Chunked)),
            (
                "39 TE and CL",
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                Err(400),
            ),
            (
                "39 CL and TE",
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Err(400),
            ),
            (
                "40 HTTP/1.0",
                "1.0 Transfer-Encoding: chunked\r\n",
                Err(400),
            ),
            (
                "41 gzip, chunked",
                "Transfer-Encoding: gzip, chunked\r\n",
                Err(501),
            ),
            ("41 identity", "Transfer-Encoding: identity\r\n", Err(501)),
            ("41 xchunked", "Transfer-Encoding: xchunked\r\n", Err(501)),
            (
                "42 chunked, gzip",
                "Transfer-Encoding: chunked, gzip\r\n",
                Err(400),
            ),
            (
                "42 chunked;q=1",
                "Transfer-Encoding: chunked;q=1\r\n",
                Err(400),
            ),
            (
                "43 chunked, chunked",
                "Transfer-Encoding: chunked, chunked\r\n",
                Err(400),
            ),
            (
                "43 two lines",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(400),
            ),
            (
                "43 two lines, identity",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                Err(400),
            ),
            ("45 empty", "Transfer-Encoding:\r\n", Err(400)),
            (
                "24 empty element",
                "Transfer-Encoding: ,chunked\r\n",
                Err(400),
            ),
            (
                "sozu chunked with VT inside",
                "Transfer-Encoding: chunked x\r\n",
                Err(400),
            ),
            ("46 sign", "Content-Length: +5\r\n", Err(400)),
            ("46 minus", "Content-Length: -0\r\n", Err(400)),
            ("46 hex", "Content-Length: 0x5\r\n", Err(400)),
            ("46 underscore", "Content-Length: 5_0\r\n", Err(400)),
            ("46 list", "Content-Length: 5,5\r\n", Err(400)),
            (
                "46 twice",
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                Err(400),
            ),
            (
                "46 10^19",
                "Content-Length: 10000000000000000000\r\n",
                Err(400),
            ),
            ("46 empty", "Content-Length:\r\n", Err(400)),
            ("46 leading zero", "Content-Length: 010\r\n", Err(400)),
        ] {
            assert_eq!(request(fields), expected, "row {row}");
        }
    }

    #[test]
    fn the_response_table() {
        use ResponseBody::{Chunked, Empty, Sized, UntilClose};
        for (row, head, is_head, expected) in [
            (
                "55 HEAD",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
                true,
                Ok((Empty, Some(5), true)),
            ),
            (
                "55 HEAD, bad CL",
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n",
                true,
                Ok((Empty, None, false)),
            ),
            (
                "57 HEAD, TE and CL",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                true,
                Ok((Empty, None, false)),
            ),
            (
                "55 HEAD, TE",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
                true,
                Ok((Empty, None, true)),
            ),
            (
                "55 204",
                "HTTP/1.1 204 No\r\n",
                false,
                Ok((Empty, None, true)),
            ),
            (
                "55 204, CL 0",
                "HTTP/1.1 204 No\r\nContent-Length: 0\r\n",
                false,
                Ok((Empty, None, true)),
            ),
            (
                "55 204, CL",
                "HTTP/1.1 204 No\r\nContent-Length: 5\r\n",
                false,
                Ok((Empty, None, false)),
            ),
            (
                "55 204, TE",
                "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n",
                false,
                Ok((Empty, None, false)),
            ),
            (
                "55 304",
                "HTTP/1.1 304 No\r\nContent-Length: 5\r\n",
                false,
                Ok((Empty, Some(5), true)),
            ),
            (
                "66 1xx",
                "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n",
                false,
                Ok((Empty, None, false)),
            ),
            (
                "56 205",
                "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n",
                false,
                Ok((Sized(0), None, true)),
            ),
            (
                "56 205 in chunks",
                "HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n",
                false,
                Ok((Sized(0), None, false)),
            ),
            (
                "56 205 with a body",
                "HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n",
                false,
                Ok((Sized(0), None, false)),
            ),
            (
                "57 TE and CL",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                false,
                Ok((Chunked, None, false)),
            ),
            (
                "57 CL and TE",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                false,
                Ok((Chunked, None, false)),
            ),
            (
                "58 unknown coding",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
                false,
                Err(()),
            ),
            (
                "58 not final",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n",
                false,
                Err(()),
            ),
            (
                "40 TE in 1.0",
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
                false,
                Err(()),
            ),
            (
                "59 bad CL",
                "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n",
                false,
                Err(()),
            ),
            (
                "46 equal CLs",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n",
                false,
                Ok((Sized(5), None, true)),
            ),
            (
                "46 unequal CLs",
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
                false,
                Err(()),
            ),
            (
                "60 neither",
                "HTTP/1.1 200 OK\r\n",
                false,
                Ok((UntilClose, None, false)),
            ),
        ] {
            assert_eq!(response(head, is_head), expected, "row {row}");
        }
    }

    fn nominates(connection: &Connection<'_>, name: &str) -> bool {
        connection
            .nominated()
            .is_some_and(|nominated| nominated.has(name.as_bytes()))
    }

    /// RFC 9110 7.6.1: `connection-option = token`.
    #[test]
    fn options_are_tokens_and_no_more_than_anybody_needs() {
        let most = CONNECTION_OPTIONS_MAX;
        let many = |count: usize| {
            (0..count)
                .map(|n| format!("X-{n}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        for (fields, good) in [
            ("Connection: a b\r\n".to_owned(), false),
            ("Connection: \"close\"\r\n".to_owned(), false),
            ("Connection: keep-alive;timeout=5\r\n".to_owned(), false),
            ("Connection: close, x/y\r\n".to_owned(), false),
            (
                "Connection: close\r\nConnection: \u{e4}\r\n".to_owned(),
                false,
            ),
            (
                "Connection: ,,, ,\t,!#$%&'*+-.^_`|~0aZ,\r\n".to_owned(),
                true,
            ),
            (format!("Connection: {}\r\n", many(most)), true),
            (format!("Connection: {}\r\n", many(most + 1)), false),
            (
                format!(
                    "Connection: {}\r\nConnection: {}\r\n",
                    many(most - 10),
                    many(10)
                ),
                true,
            ),
            (
                format!(
                    "Connection: {}\r\nConnection: {}\r\n",
                    many(most - 10),
                    many(11)
                ),
                false,
            ),
            // Well-known options count, too.
            (
                format!("Connection: {}\r\n", "close,".repeat(most + 1)),
                false,
            ),
            (format!("Connection: {}\r\n", ",".repeat(10_000)), true),
        ] {
            with_request(&fields, |head| {
                let connection = Connection::of(&head.fields);
                assert_eq!(connection.check_request().is_ok(), good, "{fields}");
                assert_eq!(connection.check_response().is_ok(), good, "{fields}");
            });
        }
        with_request(&format!("Connection: {}\r\n", many(most)), |head| {
            let connection = Connection::of(&head.fields);
            assert!(
                (0..most).all(|n| nominates(&connection, &format!("x-{n}")))
                    && !nominates(&connection, "x-64")
            );
            assert!(!nominates(&connection, "x-") && !nominates(&connection, ""));
        });
    }

    #[test]
    fn connection_options() {
        with_request(
            "Connection:\r\nConnection: ,X-Secret, Close,\r\nX-Secret: a\r\n",
            |head| {
                let connection = Connection::of(&head.fields);
                assert!(
                    connection.close && !connection.upgrade && connection.check_request().is_ok()
                );
                assert!(nominates(&connection, "x-secret") && !nominates(&connection, "x-other"));
                assert!(!keeps_alive(head.version, &head.fields));
            },
        );
        for kept in [
            "Authorization",
            "Cookie",
            "Content-Type",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "x-real-ip",
            "Forwarded",
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Credentials",
            "Access-Control-Expose-Headers",
            "X-Frame-Options",
        ] {
            with_request(&format!("Connection: {kept}\r\n"), |head| {
                assert!(!nominates(&Connection::of(&head.fields), kept), "{kept}");
            });
        }
        for attack in ["host", "Content-Length", "transfer-encoding"] {
            with_request(&format!("Connection: close, {attack}\r\n"), |head| {
                assert!(
                    Connection::of(&head.fields).check_request().is_err(),
                    "{attack}"
                );
            });
        }
        with_request("1.0 Connection: keep-alive\r\n", |head| {
            assert!(!keeps_alive(head.version, &head.fields))
        });
        with_request("", |head| assert!(keeps_alive(head.version, &head.fields)));
        with_request("Connection: keep-alive, x\r\n", |head| {
            assert!(keeps_alive(head.version, &head.fields))
        });
    }

    #[test]
    fn expectations() {
        for (fields, expected) in [
            ("", Ok(false)),
            ("Expect: 100-Continue\r\n", Ok(true)),
            ("Expect: 200-ok\r\n", Err(417)),
            ("Expect:\r\n", Err(417)),
            ("1.0 Expect: 200-ok\r\n", Ok(false)),
        ] {
            assert_eq!(
                with_request(fields, |head| expects_continue(head)
                    .map_err(RequestError::status)),
                expected
            );
        }
    }

    #[test]
    fn websocket_handshakes_and_nothing_else() {
        let good = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n";
        let wants =
            |fields: &str| with_request(fields, |head| wants_websocket(head, &RequestBody::Empty));
        assert!(wants(good));
        for (body, wanted) in [
            (RequestBody::Sized(0), true),
            (RequestBody::Sized(1), false),
            (RequestBody::Chunked, false),
        ] {
            assert_eq!(
                with_request(good, |head| wants_websocket(head, &body)),
                wanted,
                "{body:?}"
            );
        }
        for (from, to) in [
            ("Upgrade\r\nUpgrade", "close\r\nUpgrade"),
            ("WebSocket", "h2c"),
            ("WebSocket", "websocket, h2c"),
            ("13", "12"),
            ("Key: k", "Key:"),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Kez"),
            ("Connection", "1.0 Connection"),
        ] {
            assert!(!wants(&good.replacen(from, to, 1)), "{from} -> {to}");
        }
    }
}
