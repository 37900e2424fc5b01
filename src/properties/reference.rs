//! Second implementation of HTTP/1.1, written directly from the grammars of RFC 9112 and RFC 9110:
//! slow, without httparse and without any code of `http`. The gateway's parsers are compared with
//! it, and it reads the gateway's output.
//!
//! If the RFCs leave a choice, it makes the gateway's (README, protocol notes), so that both accept
//! the same messages.

use core::net::Ipv6Addr;

use crate::limits::{
    CHUNK_EXTENSION_BYTES, CHUNK_SIZE_DIGITS, CONNECTION_OPTIONS_MAX, DECIMAL_DIGITS, FIELDS_MAX,
    TRAILER_BYTES, TRAILER_FIELDS,
};

/// Reason why the bytes do not begin with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The bytes end before the message does.
    More,
    /// Invalid, whatever follows.
    Bad,
}

/// Parsed value, and the remaining bytes.
pub type Read<'a, T> = Result<(T, &'a [u8]), Stop>;

/// Name and value of a field line. The value has no white space around it.
pub type Line = (Vec<u8>, Vec<u8>);

/// Framing of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No body.
    None,
    /// Length in bytes.
    Length(u64),
    /// Chunked, with a last chunk and trailers.
    Chunked,
    /// The body ends when the connection closes.
    UntilClose,
}

/// Head of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Vec<u8>,
    /// Target as sent.
    pub target: Vec<u8>,
    /// Path of the target: `/` for an absolute form without one, empty for `*`.
    pub path: Vec<u8>,
    /// Query of the target, with the `?`.
    pub query: Vec<u8>,
    /// Minor version of HTTP/1.
    pub minor: u8,
    /// Field lines, in order.
    pub fields: Vec<Line>,
    /// Framing of the body.
    pub framing: Framing,
}

/// Complete request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Head of the request.
    pub head: RequestHead,
    /// Decoded body.
    pub body: Vec<u8>,
}

/// Head of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// Minor version of HTTP/1.
    pub minor: u8,
    /// Status, 100 to 599.
    pub status: u16,
    /// Reason phrase.
    pub reason: Vec<u8>,
    /// Field lines, in order.
    pub fields: Vec<Line>,
    /// Framing of the body.
    pub framing: Framing,
}

/// Response, complete or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Head of the response.
    pub head: ResponseHead,
    /// Decoded body, as far as it arrived.
    pub body: Vec<u8>,
    /// The body is complete according to its framing.
    pub complete: bool,
}

// --- messages ---

/// Parses a request and its body.
///
/// # Errors
/// The request is incomplete or invalid.
pub fn request(bytes: &[u8]) -> Read<'_, Request> {
    let (head, rest) = request_head(bytes)?;
    let (body, rest) = match head.framing {
        Framing::Length(length) => sized(rest, length)?,
        Framing::Chunked => chunked(rest)?,
        Framing::None | Framing::UntilClose => (Vec::new(), rest),
    };
    Ok((Request { head, body }, rest))
}

/// Parses all requests of a stream. Returns the reason why it stopped; `None` if the stream ends
/// with a request.
pub fn requests(mut bytes: &[u8]) -> (Vec<Request>, Option<Stop>) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match request(bytes) {
            Ok((request, rest)) => {
                requests.push(request);
                bytes = rest;
            }
            Err(stop) => return (requests, Some(stop)),
        }
    }
    (requests, None)
}

/// Parses a response to a request with this method, with the arrived part of its body. `ended`
/// tells that the stream ended.
///
/// # Errors
/// The head is incomplete or invalid, or the body is invalid.
pub fn response<'a>(bytes: &'a [u8], method: &[u8], ended: bool) -> Read<'a, Response> {
    let (head, rest) = response_head(bytes, method)?;
    let body = match head.framing {
        Framing::None => Ok((Vec::new(), rest)),
        Framing::Length(length) => sized(rest, length),
        Framing::Chunked => chunked(rest),
        Framing::UntilClose if ended => Ok((rest.to_vec(), &[][..])),
        Framing::UntilClose => Err(Stop::More),
    };
    match body {
        Ok((body, rest)) => Ok((
            Response {
                head,
                body,
                complete: true,
            },
            rest,
        )),
        Err(Stop::Bad) => Err(Stop::Bad),
        Err(Stop::More) => {
            let body = if head.framing == Framing::Chunked {
                chunked_front(rest)
            } else {
                rest.to_vec()
            };
            Ok((
                Response {
                    head,
                    body,
                    complete: false,
                },
                &[],
            ))
        }
    }
}

/// Parses the head of a response whose body is incomplete or invalid, and the valid front of that
/// body.
pub fn response_front(bytes: &[u8], method: &[u8]) -> Option<Response> {
    let (head, rest) = response_head(bytes, method).ok()?;
    let body = if head.framing == Framing::Chunked {
        chunked_front(rest)
    } else {
        rest.to_vec()
    };
    Some(Response {
        head,
        body,
        complete: false,
    })
}

// --- RFC 9112 2 to 5: heads ---

/// Parses a request head that a gateway may act on.
///
/// # Errors
/// The head is incomplete or invalid.
pub fn request_head(bytes: &[u8]) -> Read<'_, RequestHead> {
    // RFC 9112 2.2: one empty line before the request line is ignored.
    let bytes = if bytes.starts_with(b"\r") {
        literal(bytes, b"\r\n")?.1
    } else {
        bytes
    };
    let (method, rest) = some(bytes, is_tchar)?;
    let ((), rest) = literal(rest, b" ")?;
    let (target, rest) = some(rest, is_vchar)?;
    let ((), rest) = literal(rest, b" ")?;
    let (minor, rest) = version(rest)?;
    let ((), rest) = literal(rest, b"\r\n")?;
    let (fields, rest) = field_lines(rest)?;
    let (path, query) = target_parts(method, target, minor, &fields).ok_or(Stop::Bad)?;
    let framing = request_framing(minor, &fields).ok_or(Stop::Bad)?;
    if !has_good_options(&fields) {
        return Err(Stop::Bad);
    }
    // RFC 9110 7.6.1: no option may name a field that is needed to understand the message.
    let nominated = |name: &[u8]| members(&fields, b"connection").any(|option| same(&option, name));
    if nominated(b"host") || nominated(b"content-length") || nominated(b"transfer-encoding") {
        return Err(Stop::Bad);
    }
    // RFC 9110 10.1.1.
    if minor == 1 && !values(&fields, b"expect").all(|value| same(value, b"100-continue")) {
        return Err(Stop::Bad);
    }
    let (method, target) = (method.to_vec(), target.to_vec());
    Ok((
        RequestHead {
            method,
            target,
            path,
            query,
            minor,
            fields,
            framing,
        },
        rest,
    ))
}

/// Parses a response head to a request with this method.
///
/// # Errors
/// The head is incomplete or invalid.
pub fn response_head<'a>(bytes: &'a [u8], method: &[u8]) -> Read<'a, ResponseHead> {
    let (minor, rest) = version(bytes)?;
    let ((), rest) = literal(rest, b" ")?;
    let (hundreds, rest) = one(rest, |byte| (b'1'..=b'5').contains(&byte))?;
    let (tens, rest) = one(rest, |byte| byte.is_ascii_digit())?;
    let (ones, rest) = one(rest, |byte| byte.is_ascii_digit())?;
    let status = [hundreds, tens, ones]
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let (reason, rest) = match rest {
        [b' ', rest @ ..] => any(rest, is_value_byte),
        _ => (&[][..], rest),
    };
    let ((), rest) = literal(rest, b"\r\n")?;
    let (fields, rest) = field_lines(rest)?;
    if !has_good_options(&fields) {
        return Err(Stop::Bad);
    }
    let framing = response_framing(minor, status, method, &fields).ok_or(Stop::Bad)?;
    Ok((
        ResponseHead {
            minor,
            status,
            reason: reason.to_vec(),
            fields,
            framing,
        },
        rest,
    ))
}

fn version(bytes: &[u8]) -> Read<'_, u8> {
    let ((), rest) = literal(bytes, b"HTTP/1.")?;
    let (minor, rest) = one(rest, |byte| matches!(byte, b'0' | b'1'))?;
    Ok((minor - b'0', rest))
}

fn field_lines(mut bytes: &[u8]) -> Read<'_, Vec<Line>> {
    let mut lines = Vec::new();
    while !bytes.starts_with(b"\r") {
        let (line, rest) = field_line(bytes)?;
        lines.push(line);
        if lines.len() > FIELDS_MAX {
            return Err(Stop::Bad);
        }
        bytes = rest;
    }
    let ((), rest) = literal(bytes, b"\r\n")?;
    Ok((lines, rest))
}

fn field_line(bytes: &[u8]) -> Read<'_, Line> {
    let (name, rest) = some(bytes, is_tchar)?;
    let ((), rest) = literal(rest, b":")?;
    let (value, rest) = any(rest, is_value_byte);
    let ((), rest) = literal(rest, b"\r\n")?;
    Ok(((name.to_vec(), trimmed(value).to_vec()), rest))
}

// --- RFC 9112 3: targets and Host ---

fn target_parts(
    method: &[u8],
    target: &[u8],
    minor: u8,
    fields: &[Line],
) -> Option<(Vec<u8>, Vec<u8>)> {
    if method == b"CONNECT" || method == b"TRACE" || target.contains(&b'#') {
        return None;
    }
    let hosts: Vec<&[u8]> = values(fields, b"host").collect();
    let host = match hosts[..] {
        [] if minor == 0 => None,
        [host] => Some(authority(host)?),
        _ => return None,
    };
    if target == b"*" {
        return (method == b"OPTIONS").then(|| (Vec::new(), Vec::new()));
    }
    let at = target
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(target.len());
    let (hierarchy, query) = target.split_at(at);
    if hierarchy.contains(&b'\\') {
        return None;
    }
    if hierarchy.starts_with(b"/") {
        return Some((hierarchy.to_vec(), query.to_vec()));
    }
    let text = String::from_utf8(hierarchy.to_vec()).ok()?;
    let (scheme, rest) = text.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let (named, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let named = authority(named.as_bytes())?;
    if let Some(host) = host
        && (!host.0.eq_ignore_ascii_case(named.0)
            || host.1.unwrap_or(default) != named.1.unwrap_or(default))
    {
        return None;
    }
    // RFC 9112 3.2.4: OPTIONS without a path asks about the server.
    let path = if !path.is_empty() || method == b"OPTIONS" && query.is_empty() {
        path
    } else {
        "/"
    };
    Some((path.as_bytes().to_vec(), query.to_vec()))
}

/// Splits an authority into host and port as written; the port is `None` if it has no digits
/// (RFC 3986 3.2.3).
fn authority(bytes: &[u8]) -> Option<(&str, Option<&str>)> {
    let text = core::str::from_utf8(bytes).ok()?;
    let (host, port) = match text
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    {
        Some((host, port)) => (host, (!port.is_empty()).then_some(port)),
        None => (text, None),
    };
    let valid = match host
        .strip_prefix('[')
        .and_then(|literal| literal.strip_suffix(']'))
    {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        }
    };
    let in_range =
        port.is_none_or(|port| number(port.as_bytes()).is_some_and(|port| port <= 65_535));
    (valid && in_range).then_some((host, port))
}

// --- RFC 9112 6: bodies ---

fn request_framing(minor: u8, fields: &[Line]) -> Option<Framing> {
    let codings: Vec<&[u8]> = values(fields, b"transfer-encoding").collect();
    let lengths: Vec<&[u8]> = values(fields, b"content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Some(Framing::None),
        ([], [length]) if length.len() == 1 || !length.starts_with(b"0") => {
            Some(Framing::Length(number(length)?))
        }
        ([coding], []) if minor == 1 && same(coding, b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

fn response_framing(minor: u8, status: u16, method: &[u8], fields: &[Line]) -> Option<Framing> {
    if method == b"HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return Some(Framing::None);
    }
    let codings: Vec<&[u8]> = values(fields, b"transfer-encoding").collect();
    match codings[..] {
        [] => {}
        // RFC 9110 15.3.6: a 205 has no content, whatever its fields say.
        [coding] if minor == 1 && same(coding, b"chunked") && status == 205 => {
            return Some(Framing::None);
        }
        [coding] if minor == 1 && same(coding, b"chunked") => return Some(Framing::Chunked),
        _ => return None,
    }
    let mut agreed = None;
    for length in
        values(fields, b"content-length").flat_map(|value| value.split(|&byte| byte == b','))
    {
        let length = number(trimmed(length))?;
        if agreed.is_some_and(|before| before != length) {
            return None;
        }
        agreed = Some(length);
    }
    Some(if status == 205 {
        Framing::None
    } else {
        agreed.map_or(Framing::UntilClose, Framing::Length)
    })
}

fn sized(bytes: &[u8], length: u64) -> Read<'_, Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| Stop::More)?;
    bytes
        .split_at_checked(length)
        .map(|(body, rest)| (body.to_vec(), rest))
        .ok_or(Stop::More)
}

/// Parses a chunked body (RFC 9112 7.1): `*chunk last-chunk trailer-section CRLF`. Extensions and
/// trailers are dropped.
///
/// # Errors
/// The body is incomplete or invalid.
pub fn chunked(bytes: &[u8]) -> Read<'_, Vec<u8>> {
    let mut body = Vec::new();
    let rest = chunks(bytes, &mut body)?;
    let (trailers, behind) = field_lines(rest)?;
    let trailer_bytes = rest.len() - behind.len();
    if trailers.len() > TRAILER_FIELDS || trailer_bytes > TRAILER_BYTES {
        return Err(Stop::Bad);
    }
    Ok((body, behind))
}

/// Returns the data of an incomplete chunked body.
fn chunked_front(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = chunks(bytes, &mut body);
    body
}

/// Parses the chunks, and the size line of the last chunk.
fn chunks<'a>(mut bytes: &'a [u8], body: &mut Vec<u8>) -> Result<&'a [u8], Stop> {
    let mut extension_bytes = 0;
    loop {
        let (digits, rest) = some(bytes, |byte| byte.is_ascii_hexdigit())?;
        if digits.len() > CHUNK_SIZE_DIGITS {
            return Err(Stop::Bad);
        }
        let size = core::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let ((), behind) = extensions(rest)?;
        extension_bytes += rest.len() - behind.len();
        if extension_bytes > CHUNK_EXTENSION_BYTES {
            return Err(Stop::Bad);
        }
        let ((), rest) = literal(behind, b"\r\n")?;
        let size = size.ok_or(Stop::Bad)?;
        if size == 0 {
            return Ok(rest);
        }
        let (data, rest) =
            rest.split_at(rest.len().min(usize::try_from(size).unwrap_or(usize::MAX)));
        body.extend_from_slice(data);
        if (data.len() as u64) < size {
            return Err(Stop::More);
        }
        bytes = literal(rest, b"\r\n")?.1;
    }
}

/// Parses `*( ";" token [ "=" ( token / quoted-string ) ] )`.
fn extensions(mut bytes: &[u8]) -> Read<'_, ()> {
    while let Some(rest) = bytes.strip_prefix(b";") {
        let (_, rest) = some(rest, is_tchar)?;
        bytes = match rest {
            [b'=', b'"', rest @ ..] => quoted(rest)?.1,
            [b'='] => return Err(Stop::More),
            [b'=', rest @ ..] => some(rest, is_tchar)?.1,
            _ => rest,
        };
    }
    Ok(((), bytes))
}

/// Parses a quoted string behind its opening quote (RFC 9110 5.6.4).
fn quoted(mut bytes: &[u8]) -> Read<'_, ()> {
    loop {
        bytes = match bytes {
            [] | [b'\\'] => return Err(Stop::More),
            [b'"', rest @ ..] => return Ok(((), rest)),
            [b'\\', escaped, rest @ ..] if is_value_byte(*escaped) => rest,
            [byte, rest @ ..] if is_value_byte(*byte) && *byte != b'\\' => rest,
            _ => return Err(Stop::Bad),
        };
    }
}

// --- RFC 9110 5.6 and RFC 5234 B.1: common syntax ---

fn literal<'a>(bytes: &'a [u8], text: &[u8]) -> Read<'a, ()> {
    match (bytes, text) {
        (_, []) => Ok(((), bytes)),
        ([], _) => Err(Stop::More),
        ([byte, rest @ ..], [wanted, more @ ..]) if byte == wanted => literal(rest, more),
        _ => Err(Stop::Bad),
    }
}

fn one(bytes: &[u8], class: impl Fn(u8) -> bool) -> Read<'_, u8> {
    match bytes {
        [] => Err(Stop::More),
        [byte, rest @ ..] if class(*byte) => Ok((*byte, rest)),
        _ => Err(Stop::Bad),
    }
}

fn any(bytes: &[u8], class: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|&byte| !class(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn some(bytes: &[u8], class: impl Fn(u8) -> bool) -> Read<'_, &[u8]> {
    match any(bytes, class) {
        ([], []) => Err(Stop::More),
        ([], _) => Err(Stop::Bad),
        found => Ok(found),
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_vchar(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

/// VCHAR, obs-text, SP and HTAB: bytes allowed in a field value, a reason phrase and behind a
/// backslash.
fn is_value_byte(byte: u8) -> bool {
    is_vchar(byte) || byte >= 0x80 || byte == b' ' || byte == b'\t'
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty()
        && digits.len() <= DECIMAL_DIGITS
        && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Returns the values of all lines with this name.
pub fn values<'a>(fields: &'a [Line], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(other, _)| same(other, name))
        .map(|(_, value)| value.as_slice())
}

/// RFC 9110 7.6.1: `Connection` is a list of tokens. A gateway accepts a limited number of them.
fn has_good_options(fields: &[Line]) -> bool {
    let options: Vec<Vec<u8>> = members(fields, b"connection")
        .filter(|option| !option.is_empty())
        .collect();
    options.len() <= CONNECTION_OPTIONS_MAX && options.iter().flatten().all(|byte| is_tchar(*byte))
}

/// RFC 9110 5.6.1: returns the members of a list, over all lines with this name.
fn members(fields: &[Line], name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|member| trimmed(member).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_requests_is_read_to_its_end() {
        let stream = b"POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"\\\"\"\r\nabc\r\n0\r\nT: t\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
        let (seen, stop) = requests(stream);
        let bodies: Vec<&[u8]> = seen.iter().map(|request| &request.body[..]).collect();
        assert_eq!((bodies, stop), (vec![&b"abc"[..], b"hi"], None));
        assert_eq!(
            (&seen[0].head.path[..], &seen[0].head.query[..]),
            (&b"/a"[..], &b"?b"[..])
        );
        assert_eq!(requests(&stream[..stream.len() - 1]).1, Some(Stop::More));
        assert_eq!(requests(b"GET / HTTP/1.1\nHost: h\n\n").1, Some(Stop::Bad));
    }

    #[test]
    fn a_response_says_whether_it_is_all_there() {
        let read = |bytes: &'static [u8], ended| {
            response(bytes, b"GET", ended).map(|(read, _)| (read.body, read.complete))
        };
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\n\r\nhi", true),
            Ok((b"hi".to_vec(), true))
        );
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\n\r\nhi", false),
            Ok((b"hi".to_vec(), false))
        );
        assert_eq!(
            read(b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nhi", true),
            Ok((b"hi".to_vec(), false))
        );
        let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n5\r\nabc";
        assert_eq!(read(cut, true), Ok((b"hiabc".to_vec(), false)));
        assert_eq!(
            read(b"HTTP/1.1 204 No\r\n\r\nhi", true),
            Ok((Vec::new(), true))
        );
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nhi", true),
            Err(Stop::Bad)
        );
    }
}
