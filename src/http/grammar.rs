//! The grammar of a head, written a second time and as plainly as possible, to hold the parsers against it. Around a few
//! heads every byte is replaced, inserted and removed, in every position; both must agree, whole and in pieces.

use super::field::{is_tchar, is_value_byte};
use super::head::{FieldTable, HeadLimits, HeadScan, parse_request, parse_response};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 16_384, request_line_bytes: 8_192, fields: 100 };

/// The lines of a whole head, without the blank one; they end with CRLF, and only there.
fn lines(head: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = head.strip_suffix(b"\r\n\r\n")?;
    let mut lines = Vec::new();
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    Some(lines)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte))
}

fn is_field(line: &[u8]) -> bool {
    let colon = line.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| is_token(&line[..colon]) && is_value(&line[colon + 1..]))
}

/// The statuses that may refuse the request; none: it is one. Of two faults, either may be seen first.
fn refused(head: &[u8]) -> &'static [u16] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = head.windows(2).position(|pair| pair == b"\r\n").map_or(head, |at| &head[..at]);
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [method, target, version] = parts[..] else { return &[400] };
    if !is_token(method) || target.is_empty() || !target.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
        return &[400];
    }
    let sound = lines(head).is_some_and(|lines| lines[1..].iter().all(|line| is_field(line)));
    match (version, sound) {
        (b"HTTP/1.1" | b"HTTP/1.0", true) => &[],
        (b"HTTP/1.1" | b"HTTP/1.0", false) => &[400],
        ([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'], true) => &[505],
        ([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'], false) => &[400, 505],
        _ => &[400],
    }
}

fn is_response(head: &[u8]) -> bool {
    let Some(lines) = lines(head) else { return false };
    let Some((start, reason)) = lines[0].split_at_checked(12) else { return false };
    let status = &start[9..];
    (start.starts_with(b"HTTP/1.1 ") || start.starts_with(b"HTTP/1.0 "))
        && status.iter().all(u8::is_ascii_digit)
        && (b'1'..=b'5').contains(&status[0])
        && (reason.is_empty() || reason[0] == b' ' && is_value(reason))
        && lines[1..].iter().all(|line| is_field(line))
}

/// Every head one edit away from this one.
fn edits(head: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..head.len()).flat_map(move |at| {
        let edit = move |taken: usize, put: &[u8]| [&head[..at], put, &head[at + taken..]].concat();
        (0..=255).flat_map(move |byte| [edit(1, &[byte]), edit(0, &[byte])]).chain([edit(1, b"")])
    })
}

/// Feeds a head in pieces: what came of it, `None` when more was wanted.
fn feed<T>(head: &[u8], piece: usize, mut parse: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let ends = (piece..head.len()).step_by(piece).chain([head.len()]);
    ends.into_iter().find_map(|end| parse(&head[..end]))
}

/// `Ok` when all of the bytes became a request.
fn request(bytes: &[u8], piece: usize) -> Option<Result<bool, u16>> {
    let mut scan = HeadScan::default();
    feed(bytes, piece, |seen| {
        let mut table = FieldTable::default();
        match parse_request(seen, &mut scan, &mut table, &LIMITS) {
            Ok(None) => None,
            Ok(Some(head)) => Some(Ok(head.len == bytes.len())),
            Err(error) => Some(Err(error.status())),
        }
    })
}

/// `Ok` when all of the bytes became a response.
fn response(bytes: &[u8], piece: usize) -> Option<Result<bool, ()>> {
    let mut scan = HeadScan::default();
    feed(bytes, piece, |seen| {
        let mut table = FieldTable::default();
        match parse_response(seen, &mut scan, &mut table, &LIMITS) {
            Ok(None) => None,
            Ok(Some(head)) => Some(Ok(head.len == bytes.len())),
            Err(_) => Some(Err(())),
        }
    })
}

#[test]
fn requests_are_what_the_grammar_says() {
    for base in [
        &b"GET /p HTTP/1.1\r\nHost: h\r\nA: b c\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /?q HTTP/2.0\r\nHost: h\r\n\r\n",
        b"\r\nP /?q HTTP/1.1\r\nX:\r\nY: \t z \t\r\n\r\n",
    ] {
        for head in edits(base) {
            let text = String::from_utf8_lossy(&head);
            for piece in [head.len(), 1, 5] {
                let refused = refused(&head);
                match request(&head, piece) {
                    // An edit that ends the head early leaves bytes behind it.
                    Some(Ok(whole)) => assert_eq!(whole, refused.is_empty(), "{text:?}, pieces of {piece}"),
                    Some(Err(status)) => assert!(refused.contains(&status), "{status} for {text:?}, pieces of {piece}"),
                    // One that takes its end away leaves it incomplete.
                    None => assert!(!refused.is_empty(), "{text:?}, pieces of {piece}"),
                }
            }
        }
    }
}

#[test]
fn responses_are_what_the_grammar_says() {
    for base in [
        &b"HTTP/1.1 200 OK\r\nA: b c\r\nB:\r\n\r\n"[..],
        b"HTTP/1.0 404\r\nY: \t z \t\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
    ] {
        for head in edits(base) {
            let text = String::from_utf8_lossy(&head);
            for piece in [head.len(), 1, 5] {
                let accepted = response(&head, piece) == Some(Ok(true));
                assert_eq!(accepted, is_response(&head), "{text:?}, pieces of {piece}");
            }
        }
    }
}
