//! Message heads (RFC 9112 2 to 5): httparse tokenizes, this module decides what is a head.
//!
//! httparse 1.10 is lenient where a gateway must not be. Input that it accepts:
//!
//! | input | httparse | here |
//! |---|---|---|
//! | `\n` in place of `\r\n` at any line end | a line end | malformed |
//! | any number of empty lines before the start line | skipped | one CRLF before a request, none before a response |
//! | bytes 0x80-0xff in the target | part of it | malformed |
//! | a version it does not know | one error | 505 when it is `HTTP/d.d` in a line of three parts, else malformed |
//! | a further space before the version | an unknown version | malformed |
//! | a status below 100 or above 599 | a number | malformed |
//! | obs-text in a reason phrase | an empty reason | the bytes as they are |
//! | an empty field value | a slice from anywhere | its place in the head |
//!
//! After httparse every byte of the head is accounted for: each line must be exactly name, colon,
//! optional whitespace, value, optional whitespace, CRLF, with nothing between two lines.
//!
//! Fields are offsets into the head's bytes, kept in a table that the caller reuses: a head costs
//! no allocation.

use core::mem::MaybeUninit;

use httparse::{Error as TokenError, Header, Status};

use super::error::{LineFault, RequestError, RequestFault, ResponseError};
use super::field::{is_tchar, is_value_byte};
use super::fields::locate;
use super::head_fault::{line_fault, request_error, response_fault};
use super::mistaken;
use super::scan::ScanFault;
use crate::buffer::joined_len;
use crate::bytes;
use crate::cost;
use crate::digits;
use crate::limits::FIELDS_MAX;

pub use super::fields::{Field, FieldTable, Fields};
pub use super::scan::{HeadLimits, HeadScan};

/// Version of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Method: a token, case-sensitive (RFC 9110 9.1).
    pub method: &'a [u8],
    /// Target as sent; visible ASCII.
    pub target: &'a [u8],
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Field lines, in order.
    pub fields: Fields<'a>,
    /// Request line without its CRLF.
    pub line: &'a [u8],
    /// All bytes of the head, with an ignored CRLF before it and the blank line behind it.
    pub len: usize,
}

/// Head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Status, 100 to 599.
    pub status: u16,
    /// Reason phrase as sent, possibly empty.
    pub reason: &'a [u8],
    /// Field lines, in order.
    pub fields: Fields<'a>,
    /// All bytes of the head, with the blank line.
    pub len: usize,
}

/// Table for the tokenizer; uninitialised, so that its size costs nothing.
type Slots<'a> = [MaybeUninit<Header<'a>>; FIELDS_MAX];

const fn slots<'a>() -> Slots<'a> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Parses a request head from the front of `bytes`; `None` if it is incomplete: call again with the
/// same `scan` and more bytes.
///
/// # Errors
/// The bytes cannot become an acceptable request. Nothing behind them may be parsed.
pub fn parse_request<'a>(
    bytes: &'a [u8],
    scan: &mut HeadScan,
    table: &'a mut FieldTable,
    limits: &HeadLimits,
) -> Result<Option<RequestHead<'a>>, RequestError> {
    let Some(start) = request_start(bytes)? else {
        return Ok(None);
    };
    let message = bytes.get(start..).unwrap_or_default();
    // The ignored CRLF takes room, too: a limit without it could fill a reader's buffer and still
    // ask for more bytes.
    let limits = &HeadLimits {
        head_bytes: limits.head_bytes.saturating_sub(start),
        ..*limits
    };
    if scan.seen > 0 && !scan.advance(message, limits)? {
        return Ok(None);
    }
    let mut slots = slots();
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(message, &mut slots);
    count_tokens(&parsed, message);
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        // First scan of an incomplete head; later ones look only at new bytes.
        Ok(Status::Partial) if scan.seen == 0 => {
            scan.advance(message, limits)?;
            return Ok(None);
        }
        Ok(Status::Partial) => return Err(RequestFault::Lines(line_fault(message)).into()),
        // The version can be judged only when its line is complete.
        Err(TokenError::Version) if scan.seen == 0 && !message.contains(&b'\n') => {
            scan.advance(message, limits)?;
            return Ok(None);
        }
        Err(error) => return Err(request_error(error, message, limits)),
    };
    let (method, target) = (
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    );
    let line_len = joined_len([method.len(), target.len(), "  HTTP/1.1".len()]);
    check_bounds(line_len, len, request.headers.len(), limits)?;
    let line = message.get(..line_len).unwrap_or_default();
    let version = request_line_version(line, method.len(), target.len())?;
    if !bytes::all(target.as_bytes(), |byte| byte.is_ascii_graphic()) {
        return Err(RequestFault::TargetByte.into());
    }
    let fields = locate(
        message.get(..len).unwrap_or_default(),
        line_len,
        request.headers,
        table,
    )
    .ok_or_else(|| RequestFault::Lines(line_fault(message)))?;
    let (method, rest) = line.split_at_checked(method.len()).unwrap_or_default();
    let target = rest.get(1..=target.len()).unwrap_or_default();
    Ok(Some(RequestHead {
        method,
        target,
        version,
        fields,
        line,
        len: start.saturating_add(len),
    }))
}

/// Checks the sizes of a request head against the configured bounds.
#[inline(always)]
fn check_bounds(
    line_len: usize,
    len: usize,
    fields: usize,
    limits: &HeadLimits,
) -> Result<(), RequestError> {
    if line_len > limits.request_line_bytes {
        return Err(RequestError::TargetTooLong);
    }
    if len > limits.head_bytes {
        return Err(RequestError::HeadTooLarge);
    }
    if fields > limits.fields {
        return Err(RequestError::TooManyFields);
    }
    Ok(())
}

/// Parses a response head from the front of `bytes`; `None` if it is incomplete: call again with
/// the same `scan` and more bytes.
///
/// # Errors
/// The bytes cannot become an acceptable response.
pub fn parse_response<'a>(
    bytes: &'a [u8],
    scan: &mut HeadScan,
    table: &'a mut FieldTable,
    limits: &HeadLimits,
) -> Result<Option<ResponseHead<'a>>, ResponseError> {
    if bytes.first().is_some_and(|&byte| byte != b'H') {
        return Err(mistaken::response_fault(bytes));
    }
    if scan.seen > 0 && !scan.advance(bytes, limits)? {
        return Ok(None);
    }
    let mut slots = slots();
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut slots,
    );
    count_tokens(&parsed, bytes);
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if scan.seen == 0 => {
            scan.advance(bytes, limits)?;
            return Ok(None);
        }
        Ok(Status::Partial) => return Err(ResponseError::Lines(line_fault(bytes))),
        Err(TokenError::TooManyHeaders) => return Err(ResponseError::TooManyFields),
        Err(_) => return Err(response_fault(bytes)),
    };
    if len > limits.head_bytes {
        return Err(ResponseError::HeadTooLarge);
    }
    if response.headers.len() > limits.fields {
        return Err(ResponseError::TooManyFields);
    }
    let (version, status, reason, line_len) =
        status_line(bytes).ok_or_else(|| response_fault(bytes))?;
    let fields = locate(
        bytes.get(..len).unwrap_or_default(),
        line_len,
        response.headers,
        table,
    )
    .ok_or_else(|| ResponseError::Lines(line_fault(bytes)))?;
    Ok(Some(ResponseHead {
        version,
        status,
        reason,
        fields,
        len,
    }))
}

impl From<ScanFault> for RequestError {
    fn from(fault: ScanFault) -> RequestError {
        match fault {
            ScanFault::BareLineEnd => RequestFault::Lines(LineFault::BareLineEnd).into(),
            ScanFault::StartLineTooLong => RequestError::TargetTooLong,
            ScanFault::TooLarge => RequestError::HeadTooLarge,
        }
    }
}

impl From<ScanFault> for ResponseError {
    fn from(fault: ScanFault) -> ResponseError {
        match fault {
            ScanFault::BareLineEnd => ResponseError::Lines(LineFault::BareLineEnd),
            ScanFault::StartLineTooLong | ScanFault::TooLarge => ResponseError::HeadTooLarge,
        }
    }
}

/// The tokenizer looks at each byte of a head once.
fn count_tokens(parsed: &Result<Status<usize>, TokenError>, bytes: &[u8]) {
    cost::count(if let Ok(Status::Complete(len)) = parsed {
        *len
    } else {
        bytes.len()
    });
}

/// Returns the start of the request line, behind at most one CRLF (RFC 9112 2.2); `None` if it is
/// too early to decide.
fn request_start(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let start = match bytes {
        [] | [b'\r'] | [b'\r', b'\n'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    match bytes.get(start) {
        Some(&byte) if is_tchar(byte) => Ok(Some(start)),
        _ => Err(mistaken::request_fault(bytes).into()),
    }
}

/// Checks that the line is method, one space, target, one space, version, and nothing else.
#[inline(always)]
fn request_line_version(
    line: &[u8],
    method: usize,
    target: usize,
) -> Result<Version, RequestError> {
    match behind_space(line, method).and_then(|rest| behind_space(rest, target)) {
        Some(b"HTTP/1.1") if target > 0 => Ok(Version::Http11),
        Some(b"HTTP/1.0") if target > 0 => Ok(Version::Http10),
        _ => Err(RequestFault::RequestLine.into()),
    }
}

/// Returns the part behind the first `len` bytes and the space that follows them.
fn behind_space(bytes: &[u8], len: usize) -> Option<&[u8]> {
    bytes.get(len..)?.strip_prefix(b" ")
}

/// Parses the status line (RFC 9112 4): version, status, reason, and the length of the line without
/// its CRLF.
fn status_line(bytes: &[u8]) -> Option<(Version, u16, &[u8], usize)> {
    let (version, rest) = bytes.split_at_checked(8)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return None,
    };
    let [
        b' ',
        a @ b'1'..=b'5',
        b @ b'0'..=b'9',
        c @ b'0'..=b'9',
        rest @ ..,
    ] = rest
    else {
        return None;
    };
    let status = u16::try_from(digits::parse(&[*a, *b, *c])?).ok()?;
    let end = rest
        .iter()
        .position(|&byte| byte == b'\r' || byte == b'\n')?;
    let tail = rest.get(..end)?;
    let reason = match tail {
        [] => tail,
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    let line_len = joined_len(["HTTP/1.1 200".len(), end]);
    reason
        .iter()
        .all(|&byte| is_value_byte(byte))
        .then_some((version, status, reason, line_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    type Parsed = Result<Option<(Vec<u8>, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, usize)>, u16>;

    fn feed(bytes: &[u8], cuts: &[usize]) -> Parsed {
        let mut scan = HeadScan::default();
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let mut table = FieldTable::default();
            match parse_request(&bytes[..cut], &mut scan, &mut table, &LIMITS) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    let fields = head
                        .fields
                        .iter()
                        .map(|field| (field.name.to_vec(), field.value.to_vec()))
                        .collect();
                    return Ok(Some((
                        head.method.to_vec(),
                        head.target.to_vec(),
                        fields,
                        head.len,
                    )));
                }
                Err(error) => return Err(error.status()),
            }
        }
        Ok(None)
    }

    /// Parses whole, byte by byte, at every split, and with bytes behind; all results must agree.
    fn parse(bytes: &[u8]) -> Parsed {
        let whole = feed(bytes, &[]);
        let every: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(
            feed(bytes, &every),
            whole,
            "byte by byte: {:?}",
            String::from_utf8_lossy(bytes)
        );
        for &split in &every {
            assert_eq!(
                feed(bytes, &[split]),
                whole,
                "split at {split}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        if whole.is_ok() && whole != Ok(None) {
            let trailing = [bytes, b"GET /next HTTP/1.1\r\n"].concat();
            assert_eq!(feed(&trailing, &[]), whole, "with trailing bytes");
        }
        whole
    }

    #[test]
    fn a_head_is_parsed_into_its_parts() {
        let (method, target, fields, len) =
            parse(b"GET /a?b HTTP/1.1\r\nHost: h\r\nX:\r\nY: \t a b \t\r\n\r\n")
                .unwrap()
                .unwrap();
        assert_eq!(
            (method.as_slice(), target.as_slice(), len),
            (&b"GET"[..], &b"/a?b"[..], 46)
        );
        let expected: [(&[u8], &[u8]); 3] = [(b"Host", b"h"), (b"X", b""), (b"Y", b"a b")];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.to_vec(), value.to_vec()))
        );
    }

    #[test]
    fn strictness_row_by_row() {
        for (row, bytes, status) in [
            (
                "1 non-ASCII in target",
                &b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n"[..],
                400,
            ),
            (
                "2 bare LF ends the request line",
                b"GET / HTTP/1.1\nHost: h\r\n\r\n",
                400,
            ),
            (
                "2 bare LF ends a field line",
                b"GET / HTTP/1.1\r\nHost: h\n\r\n",
                400,
            ),
            (
                "2 bare LF is the blank line",
                b"GET / HTTP/1.1\r\nHost: h\r\n\n",
                400,
            ),
            (
                "2 bare CR in a value",
                b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
                400,
            ),
            ("2 CR CR LF", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", 400),
            (
                "3 two empty lines before",
                b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "3 bare LF before",
                b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "4 whitespace before the first field",
                b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
                400,
            ),
            ("5 garbage", b"\x16\x03\x01\x02\x00\x01", 400),
            (
                "6 lower-case http",
                b"GET / http/1.1\r\nHost: h\r\n\r\n",
                400,
            ),
            ("6 no version", b"GET /\r\nHost: h\r\n\r\n", 400),
            ("6 HTTP/1.2", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
            ("6 HTTP/2.0", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
            ("6 HTTP/11.1", b"GET / HTTP/11.1\r\nHost: h\r\n\r\n", 400),
            ("6 HTTP/1.10", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
            ("8 two spaces", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (
                "8 two spaces before the version",
                b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "8 space in the target",
                b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "2 bare LF behind another version",
                b"GET / HTTP/2.0\nHost: h\r\n\r\n",
                400,
            ),
            (
                "8 space in the target, other version",
                b"GET /a b HTTP/2.0\r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "11 non-ASCII in target, other version",
                b"GET /\xe4 HTTP/2.0\r\nHost: h\r\n\r\n",
                400,
            ),
            ("8 tab", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (
                "8 trailing space",
                b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
                400,
            ),
            (
                "18 space before the colon",
                b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
                400,
            ),
            (
                "19 obs-fold",
                b"GET / HTTP/1.1\r\nHost: h\r\n b\r\n\r\n",
                400,
            ),
            (
                "20 NUL in a value",
                b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
                400,
            ),
            (
                "20 DEL in a value",
                b"GET / HTTP/1.1\r\nHost: h\x7f\r\n\r\n",
                400,
            ),
            ("21 empty name", b"GET / HTTP/1.1\r\n: h\r\n\r\n", 400),
            ("21 no colon", b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
            (
                "21 space in a name",
                b"GET / HTTP/1.1\r\nHo st: h\r\n\r\n",
                400,
            ),
        ] {
            assert_eq!(parse(bytes), Err(status), "row {row}");
        }
        assert!(
            parse(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap()
                .is_some(),
            "row 3: one CRLF is skipped"
        );
        assert!(
            parse(b"get / HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap()
                .is_some(),
            "any token is a method"
        );
        assert!(
            parse(b"GET / HTTP/1.1\r\nX: \xe4\tb\r\n\r\n")
                .unwrap()
                .is_some(),
            "obs-text and HTAB in a value"
        );
    }

    #[test]
    fn limits_have_their_own_statuses() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(n - 14));
        assert!(feed(line(8_192).as_bytes(), &[]).unwrap().is_some());
        for cuts in [&[][..], &[8_000], &[100, 8_192, 8_193]] {
            assert_eq!(feed(line(8_193).as_bytes(), cuts), Err(414));
        }
        assert_eq!(
            feed("G".repeat(9_000).as_bytes(), &[]),
            Err(414),
            "no end in sight"
        );
        let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(feed(fields(100).as_bytes(), &[]).unwrap().is_some());
        assert_eq!(feed(fields(101).as_bytes(), &[]), Err(431));
        assert_eq!(
            feed(fields(300).as_bytes(), &[50]),
            Err(431),
            "more than the tokenizer's table holds"
        );
        let large = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(n - 23));
        assert!(feed(large(16_384).as_bytes(), &[]).unwrap().is_some());
        for cuts in [&[][..], &[16_383], &[16_384]] {
            assert_eq!(feed(large(16_385).as_bytes(), cuts), Err(431));
        }
        let behind_crlf = |n: usize| format!("\r\n{}", large(n - 2));
        assert!(feed(behind_crlf(16_384).as_bytes(), &[]).unwrap().is_some());
        for cuts in [&[][..], &[1], &[3], &[16_384]] {
            assert_eq!(
                feed(behind_crlf(16_385).as_bytes(), cuts),
                Err(431),
                "the ignored CRLF counts"
            );
        }
        assert_eq!(
            feed(&behind_crlf(20_000).as_bytes()[..16_384], &[]),
            Err(431),
            "no more room is needed to say so"
        );
    }

    #[test]
    fn every_byte_value_in_every_position_never_panics_and_never_splits_differently() {
        let base = b"GET /p HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        for position in 0..base.len() {
            for value in 0..=255 {
                let mut bytes = base.to_vec();
                bytes[position] = value;
                let whole = feed(&bytes, &[]);
                let every: Vec<usize> = (1..bytes.len()).collect();
                let slowly = feed(&bytes, &every);
                if let Ok(Some(_)) = whole {
                    assert_eq!(slowly, whole);
                    assert!(
                        !bytes
                            .windows(2)
                            .any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
                    );
                }
                assert_eq!(
                    whole.is_ok_and(|head| head.is_some()),
                    slowly.is_ok_and(|head| head.is_some())
                );
            }
        }
    }

    fn response(bytes: &[u8]) -> Result<Option<(u16, Vec<u8>, usize)>, ResponseError> {
        let run = |cuts: &[usize]| {
            let mut scan = HeadScan::default();
            for &cut in cuts.iter().chain([&bytes.len()]) {
                let mut table = FieldTable::default();
                if let Some(head) = parse_response(&bytes[..cut], &mut scan, &mut table, &LIMITS)? {
                    return Ok(Some((
                        head.status,
                        head.reason.to_vec(),
                        head.fields.iter().count(),
                    )));
                }
            }
            Ok(None)
        };
        let whole = run(&[]);
        for split in 1..bytes.len() {
            assert_eq!(run(&[split]).is_ok(), whole.is_ok(), "split at {split}");
        }
        whole
    }

    #[test]
    fn responses() {
        for (bytes, status, reason, fields) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..], 200, &b"OK"[..], 1),
            (b"HTTP/1.1 200 \r\n\r\n", 200, b"", 0),
            (b"HTTP/1.1 200\r\n\r\n", 200, b"", 0),
            (b"HTTP/1.0 404 \xe4 b\r\n\r\n", 404, b"\xe4 b", 0),
        ] {
            assert_eq!(response(bytes), Ok(Some((status, reason.to_vec(), fields))));
        }
        for bytes in [
            &b"HTTP/1.1 99 Low\r\n\r\n"[..],
            b"HTTP/1.1 600 High\r\n\r\n",
            b"HTTP/1.1 099 Low\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            b"HTTP/1.1 200 O\0K\r\n\r\n",
            b"<html>",
        ] {
            assert!(
                response(bytes).is_err(),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
