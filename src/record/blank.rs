//! Blanks what may be secret in the bytes of one direction: in place and with the same length, so
//! that a parser takes the same way through them.
//!
//! A closed list stays: methods, paths, versions and statuses; names of known fields; the framing
//! of chunks; the start of a PROXY header, of which a client is told; and of few fields the words
//! that the gateway acts upon. Every other byte of a value, of a query or of content is replaced.

use crate::http::chunked::{ChunkDecoder, ChunkError, ChunkStep};
use crate::http::field::{Name, is_tchar};
use crate::http::framing::{RequestBody, ResponseBody, request_body, response_body};
use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request, parse_response};
use crate::http::proxy_header::first_word;
use crate::http::target::authority;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: usize::MAX >> 1,
    request_line_bytes: usize::MAX >> 1,
    fields: crate::limits::FIELDS_MAX,
};

const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT",
];

/// Fields whose known words stay.
const FIELDS: [&str; 15] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "expect",
    "te",
    "max-forwards",
    "via",
    "authorization",
    "www-authenticate",
    "proxy-authenticate",
    "sec-websocket-version",
    "trailer",
];

/// Words of these fields that the gateway acts upon. None of them is secret.
const WORDS: [&str; 24] = [
    "chunked",
    "gzip",
    "x-gzip",
    "deflate",
    "compress",
    "identity",
    "close",
    "keep-alive",
    "upgrade",
    "websocket",
    "h2c",
    "100-continue",
    "trailers",
    "te",
    "http2-settings",
    "timeout",
    "max",
    "tollgate",
    "1.0",
    "1.1",
    "2.0",
    "ntlm",
    "negotiate",
    "bearer",
];

/// Fields in which a number stays.
const NUMBERS: [&str; 4] = [
    "content-length",
    "max-forwards",
    "keep-alive",
    "sec-websocket-version",
];

/// Blanks the bytes that a client sent. Returns true if every byte behind them is one of content
/// whose value nobody looks at.
pub(super) fn request(bytes: &mut [u8]) -> bool {
    if let Some(word) = first_word(bytes) {
        blank(bytes.split_at_mut(word.len()).1);
        return false;
    }
    let head = head_end(bytes);
    let (head, rest) = bytes.split_at_mut(head);
    let is_other = has_two_hosts(head);
    blank_head(head, false);
    if is_other {
        distinguish(head);
    }
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let parsed = parse_request(head, &mut scan, &mut table, &LIMITS);
    let body = parsed
        .ok()
        .flatten()
        .and_then(|head| request_body(&head).ok());
    match body {
        Some(RequestBody::Chunked) => blank_chunks(rest),
        Some(RequestBody::Empty | RequestBody::Sized(_)) | None => rest.fill(b'x'),
    }
    matches!(body, Some(RequestBody::Empty | RequestBody::Sized(_)))
}

/// Blanks the bytes that an upstream sent. `is_head`: the request was HEAD. Returns true if every
/// byte behind them is one of content whose value nobody looks at.
pub(super) fn response(mut bytes: &mut [u8], is_head: bool) -> bool {
    loop {
        let end = head_end(bytes);
        let (head, rest) = bytes.split_at_mut(end);
        blank_head(head, true);
        let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
        let parsed = parse_response(head, &mut scan, &mut table, &LIMITS);
        let parsed = parsed.ok().flatten();
        let body = parsed.and_then(|head| {
            let framing = response_body(&head, is_head).ok()?;
            Some((head.status, framing.body))
        });
        match body {
            Some((100 | 102..=199, _)) if !rest.is_empty() => bytes = rest,
            Some((_, ResponseBody::Chunked)) => {
                blank_chunks(rest);
                return false;
            }
            other => {
                rest.fill(b'x');
                // Behind an interim response comes another head.
                return !matches!(other, Some((100 | 102..=199, _)) | None);
            }
        }
    }
}

/// Returns true if the target names another host than `Host`: still after both are blanked.
fn has_two_hosts(head: &[u8]) -> bool {
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let parsed = parse_request(head, &mut scan, &mut table, &LIMITS);
    parsed.ok().flatten().is_some_and(|head| {
        let host = head.fields.first(Name::Host);
        let authority = authority(head.target);
        authority.is_some() && host.is_some() && authority != host
    })
}

/// Changes the host in the target, so that it stays another one than `Host`.
fn distinguish(head: &mut [u8]) {
    let start = head.windows(3).position(|three| three == b"://");
    let start = start.map_or(head.len(), |start| start.saturating_add(3));
    if let Some(first) = head.get_mut(start) {
        *first = b'y';
    }
}

/// Returns the end of a head: behind the first empty line, or the end of the bytes.
fn head_end(bytes: &[u8]) -> usize {
    // An empty line in front of a request is ignored.
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let lines = bytes.get(start..).unwrap_or_default();
    let ends = lines.windows(2).enumerate().find_map(|(at, two)| {
        let is_empty_line = two == b"\n\n" || two == b"\n\r";
        is_empty_line.then_some(at.saturating_add(2))
    });
    let end = ends.map_or(bytes.len(), |end| end.saturating_add(start));
    match bytes.get(end.saturating_sub(1)..end.saturating_add(1)) {
        Some(b"\r\n") => end.saturating_add(1),
        _ => end,
    }
}

fn blank_head(head: &mut [u8], is_response: bool) {
    let mut is_first = true;
    for line in head.split_inclusive_mut(|&byte| byte == b'\n') {
        if line == b"\r\n" {
            continue;
        }
        match (core::mem::replace(&mut is_first, false), is_response) {
            (true, true) => blank_status_line(line),
            (true, false) => blank_request_line(line),
            (false, _) => blank_field(line),
        }
    }
}

/// Blanks the reason phrase. A line that ends before it stays as far as it has the form of one: the
/// parser waits for its rest, and would refuse blanks.
fn blank_status_line(line: &mut [u8]) {
    const FORM: &[u8] = b"HTTP/0.0 000";
    let is_status = line.iter().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    match line.get_mut(FORM.len()..) {
        Some(phrase) if is_status => blank(phrase),
        None if is_status => {}
        _ => blank(line),
    }
}

fn blank_request_line(line: &mut [u8]) {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    let end = end.map_or(0, |end| end.saturating_add(1));
    let line = line.get_mut(..end).unwrap_or_default();
    let Some(first) = line.iter().position(|&byte| byte == b' ') else {
        if !METHODS.contains(&&*line) {
            blank_token(line);
        }
        return;
    };
    let (method, rest) = line.split_at_mut(first);
    if !METHODS.contains(&&*method) {
        blank_token(method);
    }
    let last = rest.iter().rposition(|&byte| byte == b' ').unwrap_or(0);
    let is_version = |end: &[u8]| matches!(end, [b' ', b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit());
    let (target, version) = rest.split_at_mut(last);
    if is_version(version) {
        blank_target(target.get_mut(1..).unwrap_or_default());
    } else if last == 0 {
        // The line ends in its target.
        blank_target(version.get_mut(1..).unwrap_or_default());
    } else {
        blank(version);
        blank_target(target.get_mut(1..).unwrap_or_default());
    }
}

/// Blanks the authority and the query of a target; the path stays.
fn blank_target(target: &mut [u8]) {
    let authority = match &*target {
        [b'/', ..] | [b'*'] => 0,
        _ => {
            let schemes: [&[u8]; 2] = [b"http://", b"https://"];
            let scheme = schemes.iter().find(|scheme| target.starts_with(scheme));
            let Some(scheme) = scheme else {
                return blank(target);
            };
            scheme.len()
        }
    };
    let (_, rest) = target.split_at_mut(authority);
    let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let path = match authority {
        0 => 0,
        _ => rest.iter().position(is_end).unwrap_or(rest.len()),
    };
    let (host, path) = rest.split_at_mut(path);
    blank_host(host);
    let query = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    if let Some(query) = query {
        blank_query(path.get_mut(query..).unwrap_or_default());
    }
}

fn blank_query(query: &mut [u8]) {
    for byte in query {
        if !matches!(byte, b'?' | b'&' | b'#') {
            *byte = blanked(*byte);
        }
    }
}

/// Blanks a host so that it stays one.
fn blank_host(host: &mut [u8]) {
    let is_literal = host.first() == Some(&b'[');
    for byte in host {
        *byte = match *byte {
            b'a'..=b'f' | b'A'..=b'F' | b'0'..=b'9' if is_literal => b'1',
            byte @ (b'.' | b':' | b'[' | b']' | b'0'..=b'9' | b'-' | b'@') => match byte {
                b'0'..=b'9' => b'1',
                byte => byte,
            },
            byte => blanked(byte),
        };
    }
}

/// Blanks the value of a field line; a line that is none is blanked whole.
fn blank_field(line: &mut [u8]) {
    let colon = line.iter().position(|&byte| byte == b':');
    let is_name = |name: &[u8]| {
        let trimmed = name.trim_ascii_end();
        !trimmed.is_empty() && trimmed.iter().all(|&byte| is_tchar(byte))
    };
    let Some((name, value)) = colon.and_then(|colon| line.split_at_mut_checked(colon)) else {
        return blank(line);
    };
    if !is_name(name) {
        blank_token(name);
        return blank(value.get_mut(1..).unwrap_or_default());
    }
    // A name that the gateway does not know may be a part of a body, where a head is malformed.
    if Name::of(name.trim_ascii_end()) == Name::Other && !is_listed(name) {
        blank_token(name);
    }
    let name = lower(name);
    let value = value.get_mut(1..).unwrap_or_default();
    if name == "host" {
        let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        return blank_host(value.get_mut(start.unwrap_or(0)..).unwrap_or_default());
    }
    if !FIELDS.contains(&&*name) {
        return blank(value);
    }
    let has_numbers = NUMBERS.contains(&&*name);
    for word in value.split_mut(|byte| !(is_tchar(*byte))) {
        let text = String::from_utf8_lossy(word).to_ascii_lowercase();
        let is_number = has_numbers && word.len() < 20 && word.iter().all(u8::is_ascii_digit);
        // A name that `Connection` lists says which fields go.
        let is_known = WORDS.contains(&&*text) || Name::of(word) != Name::Other;
        if !is_number && !is_known {
            blank(word);
        }
    }
    for byte in value.iter_mut().filter(|byte| !byte.is_ascii()) {
        *byte = 0x80;
    }
}

/// Returns true for a name of [`FIELDS`].
fn is_listed(name: &[u8]) -> bool {
    FIELDS.contains(&&*lower(name))
}

/// Returns a name in lower case, without the spaces behind it.
fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name.trim_ascii_end()).to_ascii_lowercase()
}

/// Blanks the data of chunks, their extensions and the values of trailers.
fn blank_chunks(mut rest: &mut [u8]) {
    let mut decoder = ChunkDecoder::new();
    while !rest.is_empty() {
        let (framing, data) = match decoder.step(rest) {
            Ok(ChunkStep::Data { skip, len }) => (skip, len),
            Ok(ChunkStep::Skip(skip)) => (skip, 0),
            Ok(ChunkStep::Need) => (rest.len(), 0),
            Ok(ChunkStep::End { skip }) => (skip, rest.len().saturating_sub(skip)),
            Err(fault) => return blank_fault(rest, fault),
        };
        let (lines, after) = rest.split_at_mut(framing.min(rest.len()));
        lines
            .split_inclusive_mut(|&byte| byte == b'\n')
            .for_each(blank_framing);
        let (data, after) = after.split_at_mut(data.min(after.len()));
        data.fill(b'x');
        rest = after;
    }
}

/// Blanks the extensions of a size line, or the value of a trailer line.
fn blank_framing(line: &mut [u8]) {
    let size = line.iter().position(|byte| !byte.is_ascii_hexdigit());
    match size.and_then(|size| Some((size, *line.get(size)?))) {
        Some((_, b':')) => blank_field(line),
        Some((size, b'\r' | b';' | b' ' | b'\t')) => {
            blank(line.get_mut(size..).unwrap_or_default());
        }
        Some(_) => blank_field(line),
        // Digits only: a part of a size line.
        None => {}
    }
}

/// Blanks framing that breaks a rule, so that it still does.
fn blank_fault(rest: &mut [u8], fault: ChunkError) {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let (size, after) = rest.split_at_mut(digits);
    let is_long = fault == ChunkError::Size && digits >= 16;
    size.fill(if is_long { b'f' } else { b'x' });
    blank(after);
}

/// Blanks text: what separates its parts stays, and what no parser takes stays in its class.
fn blank(text: &mut [u8]) {
    for byte in text {
        *byte = blanked(*byte);
    }
}

/// Blanks a token; what belongs into none stays.
fn blank_token(text: &mut [u8]) {
    for byte in text {
        *byte = match *byte {
            byte if is_tchar(byte) => b'x',
            0x80.. => 0x80,
            byte => byte,
        };
    }
}

fn blanked(byte: u8) -> u8 {
    match byte {
        0..=b' ' | 0x7f | b'=' | b',' | b';' | b'"' => byte,
        0x80.. => 0x80,
        _ => b'x',
    }
}
