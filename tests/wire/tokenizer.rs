//! Inputs that httparse accepts and the gateway refuses: the table at the head of
//! `src/http/head.rs`, row by row.
//!
//! Each input is first given to httparse itself: if a new version of httparse refuses it or reads
//! it differently, the row must be reviewed.

use super::rows::*;

/// Returns the result of httparse for a request's head.
fn tokenized(head: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    match httparse::Request::new(&mut fields).parse(head) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        _ => None,
    }
}

#[track_caller]
fn let_through(row: &str, head: &[u8]) {
    assert_eq!(
        tokenized(head),
        Some(head.len()),
        "httparse does not let {row} through any more"
    );
    Requests::default().check(row, head, &[reply(400)], true);
}

#[test]
fn bare_line_feeds() {
    let_through(
        "in the request line",
        b"GET /auth HTTP/1.1\nHost: gate\r\n\r\n",
    );
    let_through(
        "behind a field",
        b"GET /auth HTTP/1.1\r\nHost: gate\nA: b\r\n\r\n",
    );
    let_through(
        "as the blank line",
        b"GET /auth HTTP/1.1\r\nHost: gate\r\n\n",
    );
    let_through("everywhere", b"GET /auth HTTP/1.1\nHost: gate\n\n");
}

#[test]
fn empty_lines_before_the_request() {
    let_through("two", b"\r\n\r\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
    let_through("LF", b"\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
    let_through(
        "many",
        b"\r\n\n\r\n\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
    );
}

#[test]
fn bytes_above_127_in_the_target() {
    let_through(
        "UTF-8",
        "GET /auth/é HTTP/1.1\r\nHost: gate\r\n\r\n".as_bytes(),
    );
}

#[test]
fn checks_that_httparse_leaves_to_its_caller() {
    for (row, head) in [
        ("no Host", &b"GET /auth HTTP/1.1\r\n\r\n"[..]),
        ("two Hosts", b"GET /auth HTTP/1.1\r\nHost: gate\r\nHost: gate\r\n\r\n"),
        ("two lengths", b"GET /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        ("a length that is none", b"GET /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: +1\r\n\r\n"),
        (
            "both framings",
            b"GET /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("a fragment", b"GET /auth#x HTTP/1.1\r\nHost: gate\r\n\r\n"),
        ("a target that is none", b"GET auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
    ] {
        let_through(row, head);
    }
}

/// Returns the result of httparse for a response's head.
fn tokenized_response(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    matches!(
        httparse::Response::new(&mut fields).parse(head),
        Ok(httparse::Status::Complete(_))
    )
}

#[test]
fn checks_that_httparse_leaves_to_its_caller_in_a_response() {
    for head in [
        &b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n",
    ] {
        let what = String::from_utf8_lossy(head);
        assert!(
            tokenized_response(head),
            "httparse does not let {what:?} through any more"
        );
        Responses::default().check(&what, head, Got::Own(502), Fate::UpstreamClosed);
    }
    let obs_text = b"HTTP/1.1 200 \xe9t\xe9\r\nDate: x\r\nContent-Length: 0\r\n\r\n";
    assert!(tokenized_response(obs_text));
    Responses::default().check(
        "obs-text",
        obs_text,
        Got::Bytes("HTTP/1.1 200 \u{fffd}t\u{fffd}\r\nDate: x\r\nContent-Length: 0\r\n\r\n"),
        Fate::Kept,
    );
}
