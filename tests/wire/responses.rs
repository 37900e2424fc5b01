//! Responses: rows 26, 54 to 66, 71, 73 and 77 to 85 of docs/http.md.

use tollgate::properties::reference::{self, Framing, Stop};
use tollgate::proxy::command::Fault;

use super::rows::*;
use crate::engine::script::*;

const DATE: &str = "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n";

/// Checks an upstream's answer to a GET, and the bytes that the client gets.
#[track_caller]
fn passes(row: &str, upstream: &str, client: &str, fate: Fate) {
    Responses::default().check(row, upstream, Got::Bytes(client), fate);
}

/// Checks an answer behind which the upstream ends its stream.
#[track_caller]
fn passes_ended(row: &str, upstream: &str, client: &str, fate: Fate) {
    Responses {
        ended: true,
        ..Responses::default()
    }
    .check(row, upstream, Got::Bytes(client), fate);
}

/// Checks a malformed response: the client gets a 502, and its connection stays open.
#[track_caller]
fn malformed(row: &str, upstream: impl AsRef<[u8]>) {
    Responses::default().check(row, upstream, Got::Own(502), Fate::UpstreamClosed);
}

#[test]
fn row_26_every_response_has_a_date() {
    passes(
        "26",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        &format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"),
        Fate::Kept,
    );
    passes(
        "26 kept",
        "HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n",
        Fate::Kept,
    );
    // An empty Date counts as missing.
    passes(
        "26 empty",
        "HTTP/1.1 200 OK\r\nDate:\r\nContent-Length: 0\r\n\r\n",
        &format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"),
        Fate::Kept,
    );
}

#[test]
fn rows_18_to_23_in_a_response() {
    for line in [
        "A : b",
        " A: b",
        "A: b\r\n c",
        "A: \0",
        "A: b\rC: d",
        ": b",
        "A",
        "A\u{e9}: b",
        "A: b\nC: d",
    ] {
        malformed(
            &format!("18 to 21 {line:?}"),
            format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n"),
        );
    }
    let fields = format!(
        "{DATE}Set-Cookie: a\r\nX: 1\r\nset-cookie: b\r\nX: 2\r\nSet-Cookie: c\r\nA_b: c\r\n"
    );
    let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    passes("22, 23", &text, &text, Fate::Kept);
}

/// The limits are 256 fields and 32 KiB of head.
#[test]
fn row_27_limits_of_a_response_head() {
    let uncut = Responses {
        uncut: true,
        ..Responses::default()
    };
    let response =
        |fields: &str| format!("HTTP/1.1 200 OK\r\n{DATE}{fields}Content-Length: 0\r\n\r\n");
    let many = |n: usize| response(&(2..n).map(|n| format!("a{n}: b\r\n")).collect::<String>());
    let sized = |n: usize| {
        response(&format!(
            "A: {}\r\n",
            "v".repeat(n - response("A: \r\n").len())
        ))
    };
    for (row, fits, over) in [
        ("fields", many(256), many(257)),
        ("bytes", sized(32_768), sized(32_769)),
    ] {
        uncut.check(
            &format!("27 {row} that fit"),
            &fits,
            Got::Bytes(&fits),
            Fate::Kept,
        );
        uncut.check(
            &format!("27 {row}, one too many"),
            over,
            Got::Own(502),
            Fate::UpstreamClosed,
        );
    }
}

#[test]
fn rows_28_to_31_in_a_response() {
    let upstream = format!(
        "HTTP/1.1 200 OK\r\n{DATE}X-Secret: a\r\nConnection: x-secret, keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nTrailer: x\r\nUpgrade: h2c\r\nX-Powered-By: y\r\nContent-Length: 0\r\n\r\n"
    );
    passes(
        "28, 30",
        &upstream,
        &format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"),
        Fate::Kept,
    );
    let answer = |options: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{DATE}Connection: {options}\r\nn63: x\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let options = |count: usize| {
        (0..count)
            .map(|n| format!("n{n}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let uncut = Responses {
        uncut: true,
        ..Responses::default()
    };
    let plain = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n");
    uncut.check(
        "28 64 options",
        answer(&options(64)),
        Got::Bytes(&plain),
        Fate::Kept,
    );
    uncut.check(
        "28 65 options",
        answer(&options(65)),
        Got::Own(502),
        Fate::UpstreamClosed,
    );
    uncut.check(
        "28 15,000 options",
        answer(&"a,".repeat(15_000)),
        Got::Own(502),
        Fate::UpstreamClosed,
    );
    for option in ["a b", "close;q=1", "x/y", "\"close\"", "keep-alive, \u{e4}"] {
        malformed(&format!("28 {option}"), answer(option));
        malformed(
            &format!("28 {option} in a 1xx"),
            answer(option).replace("200 OK", "103 Early"),
        );
    }
}

#[test]
fn row_54_what_an_http_1_0_client_gets() {
    let request = "GET /auth HTTP/1.0\r\nHost: gate\r\n\r\n";
    let old = |ended| Responses {
        request,
        ended,
        ..Responses::default()
    };
    for (row, ended, fate, upstream, client) in [
        (
            "sized",
            false,
            Fate::ClientClosed,
            "Content-Length: 2\r\n\r\nhi",
            "Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        ),
        (
            "chunked",
            false,
            Fate::ClientClosed,
            "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "Connection: close\r\n\r\nhi",
        ),
        (
            "until close",
            true,
            Fate::Closed,
            "\r\nhi",
            "Connection: close\r\n\r\nhi",
        ),
    ] {
        let upstream = format!("HTTP/1.1 200 OK\r\n{DATE}{upstream}");
        old(ended).check(
            &format!("54 {row}"),
            upstream,
            Got::Bytes(&format!("HTTP/1.1 200 OK\r\n{DATE}{client}")),
            fate,
        );
    }
    let upstream = format!(
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"
    );
    old(false).check(
        "65 no 1xx",
        upstream,
        Got::Bytes(&format!(
            "HTTP/1.1 200 OK\r\n{DATE}Connection: close\r\nContent-Length: 0\r\n\r\n"
        )),
        Fate::ClientClosed,
    );
}

/// Four methods, twelve statuses and seven framings, with a body behind each: the client receives
/// what the reference reads.
#[test]
fn row_55_where_a_response_ends() {
    const FRAMINGS: [&str; 7] = [
        "",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 5, 5\r\nContent-Length: 5\r\n",
    ];
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        for status in [200, 201, 204, 205, 206, 301, 304, 400, 404, 416, 500, 503] {
            for fields in FRAMINGS {
                for body in ["", "hello", "5\r\nhello\r\n0\r\n\r\n"] {
                    relayed(
                        method,
                        &format!("HTTP/1.1 {status} X\r\n{DATE}{fields}\r\n{body}"),
                    );
                }
            }
        }
    }
}

fn relayed(method: &str, upstream: &str) {
    let what = format!("{method}, {upstream:?}");
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        format!("{method} /auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
    );
    let origin = world.accept();
    world.reply(origin, upstream);
    world.finish_upstream(origin);
    let heard = world.take(client);
    if heard.is_empty() {
        // The body broke in the same read, so the connection was cut before the head was sent.
        assert_eq!(world.closed(client), Some(Closed::Aborted), "{what}");
        assert_eq!(
            reference::response(upstream.as_bytes(), method.as_bytes(), true),
            Err(Stop::Bad),
            "{what}"
        );
        return;
    }
    let (got, rest) =
        reference::response(&heard, method.as_bytes(), world.closed(client).is_some())
            .unwrap_or_else(|stop| {
                panic!("{what}: {stop:?} of {:?}", String::from_utf8_lossy(&heard))
            });
    assert!(rest.is_empty(), "{what}: bytes behind the response");
    match reference::response(upstream.as_bytes(), method.as_bytes(), true) {
        Ok((sent, _)) => {
            assert_eq!(
                (got.head.status, &got.body),
                (sent.head.status, &sent.body),
                "{what}"
            );
            assert_eq!(got.complete, sent.complete, "{what}");
            assert_eq!(
                world.closed(client) == Some(Closed::Aborted),
                !sent.complete,
                "{what}: a cut is a cut"
            );
            let has = |name: &[u8]| reference::values(&got.head.fields, name).next().is_some();
            assert!(
                !(got.head.status == 204 && has(b"content-length")),
                "{what}: RFC 9110 8.6"
            );
            assert!(
                !(got.head.framing == Framing::None && has(b"transfer-encoding")),
                "{what}: RFC 9112 6.1"
            );
            assert!(
                !(has(b"content-length") && has(b"transfer-encoding")),
                "{what}: row 54"
            );
        }
        // No byte of an invalid body was forwarded, or the client can see that the body is
        // incomplete.
        Err(_) => assert!(got.head.status == 502 || !got.complete, "{what}: {heard:?}"),
    }
    assert!(world.closed_upstream(origin), "{what}: its stream ended");
}

#[test]
fn row_55_an_announced_length_survives() {
    let head = |ended| Responses {
        request: "HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        ended,
        ..Responses::default()
    };
    let text = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 5\r\n\r\n");
    head(false).check("55 HEAD", &text, Got::Bytes(&text), Fate::Kept);
    let text = format!("HTTP/1.1 304 Not Modified\r\n{DATE}Content-Length: 5\r\n\r\n");
    passes("55 304", &text, &text, Fate::Kept);
    let bare = format!("HTTP/1.1 204 No Content\r\n{DATE}\r\n");
    passes("55 204", &bare, &bare, Fate::Kept);
    // An upstream that announces a body for a response without one may send it, so its connection
    // is not reused.
    passes(
        "55 204 with a length",
        &format!("HTTP/1.1 204 No Content\r\n{DATE}Content-Length: 5\r\n\r\n"),
        &bare,
        Fate::UpstreamClosed,
    );
    passes(
        "55 204 with a body",
        &format!("HTTP/1.1 204 No Content\r\n{DATE}Content-Length: 5\r\n\r\nhello"),
        &bare,
        Fate::UpstreamClosed,
    );
}

#[test]
fn row_56_a_205_has_no_content() {
    let client = format!("HTTP/1.1 205 Reset Content\r\n{DATE}Content-Length: 0\r\n\r\n");
    passes("56", &client, &client, Fate::Kept);
    for rest in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello",
    ] {
        passes(
            &format!("56 {rest:?}"),
            &format!("HTTP/1.1 205 Reset Content\r\n{DATE}{rest}"),
            &client,
            Fate::UpstreamClosed,
        );
    }
}

#[test]
fn row_57_transfer_encoding_wins_and_ends_the_connection() {
    let client =
        format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    for fields in [
        "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n",
    ] {
        let upstream = format!("HTTP/1.1 200 OK\r\n{DATE}{fields}\r\n2\r\nhi\r\n0\r\n\r\n");
        passes(
            &format!("57 {fields:?}"),
            &upstream,
            &client,
            Fate::UpstreamClosed,
        );
    }
}

#[test]
fn row_58_codings_nobody_knows() {
    for value in [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "",
        ",chunked",
        "chunked;a=b",
        "identity",
    ] {
        malformed(
            &format!("58 {value}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {value}\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        );
    }
    malformed(
        "58 two lines",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    malformed(
        "40 in HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn row_59_lengths_that_are_none() {
    for value in [
        "x",
        "",
        "+5",
        "-1",
        "5x",
        "0x5",
        "5 5",
        "5,6",
        "5,",
        ",5",
        "99999999999999999999",
        "1000000000000000000",
    ] {
        malformed(
            &format!("59 {value}"),
            format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello"),
        );
    }
    malformed(
        "59 two",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    );
    let client = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 5\r\n\r\nhello");
    for same in ["5, 5", "5,5 ,\t5", "05"] {
        passes(
            &format!("46, 47 {same}"),
            &format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {same}\r\n\r\nhello"),
            &client,
            Fate::Kept,
        );
    }
}

#[test]
fn rows_60_and_61_an_end_that_is_none() {
    let cut = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{DATE}{fields}\r\n{body}");
    // An orderly end of the stream ends a body without a length.
    let client = cut("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n");
    passes_ended("60", &cut("", "hi"), &client, Fate::UpstreamClosed);
    // A reset does not.
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, cut("", "hi"));
    world.fail_upstream(origin, Fault::Reset);
    assert!(!world.received(client).ends_with("0\r\n\r\n"));
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    for upstream in [
        cut("Content-Length: 3\r\n", "hi"),
        cut("Content-Length: 3\r\n", ""),
    ] {
        passes_ended("61 sized", &upstream, &upstream, Fate::Cut);
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    for body in [
        "2\r\nhi",
        "2\r\nhi\r",
        "2\r\nhi\r\n",
        "2\r\nhi\r\n0",
        "2\r\nhi\r\n0\r\n",
        "2\r\nhi\r\n0\r\n\r",
        "2\r\nhi\r\n0\r\nA: b\r\n",
    ] {
        passes_ended(
            &format!("61 {body:?}"),
            &cut(chunked, body),
            &cut(chunked, "2\r\nhi\r\n"),
            Fate::Cut,
        );
    }
    // Before the head is complete the gateway can still answer itself.
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    for end in 0..whole.len() {
        let responses = Responses {
            ended: true,
            uncut: true,
            ..Responses::default()
        };
        responses.check(
            &format!("61 head cut at {end}"),
            &whole[..end],
            Got::Own(502),
            Fate::UpstreamClosed,
        );
    }
}

#[test]
fn row_62_extra_bytes_are_no_response() {
    let client = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nhi");
    for extra in ["!", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        passes(
            &format!("62 {extra:?}"),
            &format!("{client}{extra}"),
            &client,
            Fate::UpstreamClosed,
        );
    }
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    passes(
        "62 chunked",
        &format!("{chunked}HTTP/1.1 200 OK\r\n\r\n"),
        &chunked,
        Fate::UpstreamClosed,
    );
}

#[test]
fn row_63_unsolicited_bytes_close_an_idle_connection() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    assert!(world.closed_upstream(origin));
    world.received(client);
    world.send(client, GET);
    let fresh = world.accept();
    world.reply(fresh, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn rows_64_to_66_interim_responses() {
    let final_one = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nhi");
    let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    for (row, interim, passed) in [
        ("64 two", [early, early].concat(), [early, early].concat()),
        ("64 eight", early.repeat(8), early.repeat(8)),
        ("65 102", "HTTP/1.1 102 Processing\r\n\r\n".to_owned(), "HTTP/1.1 102 Processing\r\n\r\n".to_owned()),
        ("65 a 100 nobody waits for", "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), String::new()),
        (
            "66 with a length",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nLink: x\r\n\r\n".to_owned(),
            early.to_owned(),
        ),
        (
            "66 nominated",
            "HTTP/1.1 103 Early Hints\r\nConnection: x-a\r\nX-A: b\r\nLink: x\r\n\r\n".to_owned(),
            early.to_owned(),
        ),
    ] {
        passes(row, &format!("{interim}{final_one}"), &format!("{passed}{final_one}"), Fate::Kept);
    }
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, early.repeat(9));
    assert!(
        world.received(client).contains("HTTP/1.1 502 "),
        "64: a flood is a fault"
    );
    assert!(world.closed_upstream(origin));
}

#[test]
fn row_71_nobody_switches_unasked() {
    for fields in [
        "",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
    ] {
        malformed(
            &format!("71 {fields:?}"),
            format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nframes"),
        );
    }
    let handshake = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n";
    let asked = Responses {
        request: handshake,
        ..Responses::default()
    };
    for fields in [
        "",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
    ] {
        let upstream = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nframes");
        asked.check(
            &format!("71 asked, {fields:?}"),
            upstream,
            Got::Own(502),
            Fate::Closed,
        );
    }
    let switch = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes";
    asked.check("73", switch, Got::Bytes(switch), Fate::Open);
}

#[test]
fn rows_77_and_78_what_is_sent_again() {
    for (row, request, again) in [
        ("GET", "GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n", true),
        ("HEAD", "HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n", true),
        (
            "DELETE",
            "DELETE /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
            true,
        ),
        ("PUT", "PUT /auth HTTP/1.1\r\nHost: gate\r\n\r\n", true),
        ("POST", "POST /auth HTTP/1.1\r\nHost: gate\r\n\r\n", false),
        ("PATCH", "PATCH /auth HTTP/1.1\r\nHost: gate\r\n\r\n", false),
        ("PURGE", "PURGE /auth HTTP/1.1\r\nHost: gate\r\n\r\n", false),
        ("get", "get /auth HTTP/1.1\r\nHost: gate\r\n\r\n", false),
    ] {
        for answer in ["", "H", "HTTP/1.1 200 OK\r\n"] {
            let mut world = World::plain();
            let client = world.connect();
            world.send(client, GET);
            let pooled = world.accept();
            world.reply(pooled, OK);
            world.received(client);
            world.take_upstream(pooled);
            world.send(client, request);
            assert!(
                !world.take_upstream(pooled).is_empty(),
                "{row}: it was written"
            );
            world.reply(pooled, answer);
            world.finish_upstream(pooled);
            if again && answer.is_empty() {
                let fresh = world.accept();
                world.reply(fresh, "HTTP/1.1 204 No Content\r\n\r\n");
                world.expect_status(client, 204);
            } else {
                world.expect_no_dial();
                world.expect_status(client, 502);
            }
            world.expect_quiet();
        }
    }
}

#[test]
fn row_81_an_end_of_the_client_with_half_close_ends_nothing() {
    let mut world = World::with(&PLAIN.replacen('{', "{ \"halfClose\": true,", 1));
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi",
    );
    world.finish(client);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn row_82_a_client_that_goes_takes_its_request_along() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, answer);
        world.reset(client);
        assert!(world.closed_upstream(origin), "{answer:?}");
        world.expect_quiet();
    }
}

#[test]
fn row_83_an_early_answer_ends_both_connections() {
    let early = Responses {
        request: "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhello",
        ..Responses::default()
    };
    let upstream = format!("HTTP/1.1 403 Forbidden\r\n{DATE}Content-Length: 2\r\n\r\nno");
    let client =
        format!("HTTP/1.1 403 Forbidden\r\n{DATE}Connection: close\r\nContent-Length: 2\r\n\r\nno");
    early.check("83", upstream, Got::Bytes(&client), Fate::Closed);
}

#[test]
fn row_85_what_the_gateways_own_statuses_mean() {
    for (fault, status) in [
        (Fault::Refused, 502),
        (Fault::Tls, 502),
        (Fault::Exhausted, 503),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        world.refuse(fault);
        world.expect_status(client, status);
    }
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    world.accept();
    world.wait(15_100);
    world.expect_status(client, 504);
    world.expect_quiet();
}

#[test]
fn status_lines() {
    for line in [
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 X",
        "HTTP/1.1 600 X",
        "HTTP/1.1 200\tOK",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 +20 OK",
    ] {
        malformed(
            &format!("status line {line:?}"),
            format!("{line}\r\nContent-Length: 0\r\n\r\n"),
        );
    }
    for reason in [
        "",
        " ",
        " OK",
        " \u{e9}",
        " a\tb  c",
        &format!(" {}", "r".repeat(30_000)),
    ] {
        let uncut = Responses {
            uncut: true,
            ..Responses::default()
        };
        let line = if reason.is_empty() {
            "HTTP/1.1 200 ".to_owned()
        } else {
            format!("HTTP/1.1 200{reason}")
        };
        let client = format!("{line}\r\n{DATE}Content-Length: 0\r\n\r\n");
        uncut.check(
            "reason",
            format!("HTTP/1.1 200{reason}\r\n{DATE}Content-Length: 0\r\n\r\n"),
            Got::Bytes(&client),
            Fate::Kept,
        );
    }
    let uncut = Responses {
        uncut: true,
        ..Responses::default()
    };
    uncut.check(
        "a head over 32 KB",
        format!("HTTP/1.1 200 {}\r\n\r\n", "r".repeat(40_000)),
        Got::Own(502),
        Fate::UpstreamClosed,
    );
}
