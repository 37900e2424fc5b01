//! Ends of bodies: Content-Length and Transfer-Encoding, as they are read and as they are
//! forwarded.

use super::*;
use crate::engine::script::*;

const CL: &str = "Content-Length: 5\r\n";

pub fn bugs() -> Vec<Bug> {
    let mut bugs = in_requests();
    bugs.extend(in_responses());
    bugs
}

#[test]
fn framing_bugs() {
    hold(bugs());
}

fn in_requests() -> Vec<Bug> {
    let te = |value: &str| {
        post(
            &format!("Transfer-Encoding: {value}\r\n"),
            &format!("0\r\n\r\n{SMUGGLED}"),
        )
    };
    vec![
        bug(
            "HAProxy CVE-2023-40225",
            "an empty Content-Length is skipped and passed on",
            [
                refused(400, post("Content-Length:\r\n", SMUGGLED)),
                refused(400, post("Content-Length: \t \r\n", SMUGGLED)),
                refused(400, post(&format!("Content-Length:\r\n{CL}"), "hello")),
                refused(400, post(&format!("{CL}Content-Length:\r\n"), "hello")),
                malformed("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello"),
                malformed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length:\r\n\r\nhello"),
            ],
        ),
        bug(
            "HAProxy 2024-07",
            "an empty Transfer-Encoding is none",
            [
                refused(400, te("")),
                refused(400, post(&format!("Transfer-Encoding:\r\n{CL}"), "hello")),
                refused(
                    400,
                    post(&format!("{CHUNKED}Transfer-Encoding: \r\n"), "0\r\n\r\n"),
                ),
            ],
        ),
        bug(
            "HAProxy 2026-04, 32 bits",
            "a length that passes through 32 bits",
            [Probe::Scene(lengths_beyond_32_bits)],
        ),
        bug(
            "Pingora CVE-2026-2835, HTTP/1.0",
            "the body of an HTTP/1.0 request ends with the connection",
            [
                read_last(
                    format!("POST /auth HTTP/1.0\r\nHost: gate\r\n\r\n{SMUGGLED}"),
                    [forward("POST /auth", "Via: 1.0 tollgate\r\n", "")],
                ),
                read_last(
                    format!(
                        "POST /auth HTTP/1.0\r\nHost: gate\r\nConnection: keep-alive\r\n{CL}\r\nhello{SMUGGLED}"
                    ),
                    [forward(
                        "POST /auth",
                        &format!("Via: 1.0 tollgate\r\n{CL}"),
                        "hello",
                    )],
                ),
            ],
        ),
        bug(
            "Pingora CVE-2026-2835, lines",
            "one of several Transfer-Encoding lines is looked at",
            [
                refused(
                    400,
                    post(
                        &format!("{CHUNKED}Transfer-Encoding: identity\r\n"),
                        "0\r\n\r\n",
                    ),
                ),
                refused(
                    400,
                    post(
                        &format!("Transfer-Encoding: identity\r\n{CHUNKED}"),
                        "0\r\n\r\n",
                    ),
                ),
                refused(400, te("chunked, identity")),
                refused(501, te("identity, chunked")),
            ],
        ),
        bug(
            "Pingora #945",
            "Transfer-Encoding and Content-Length are taken together",
            [
                refused(
                    400,
                    post(&format!("{CL}{CHUNKED}"), &format!("0\r\n\r\n{SMUGGLED}")),
                ),
                refused(
                    400,
                    post(&format!("{CHUNKED}{CL}"), &format!("0\r\n\r\n{SMUGGLED}")),
                ),
                refused(
                    400,
                    post(&format!("Content-Length: 0\r\nA: b\r\n{CHUNKED}"), SMUGGLED),
                ),
            ],
        ),
        bug(
            "hyper RUSTSEC-2021-0020",
            "the last of several Transfer-Encoding lines counts",
            [
                refused(
                    400,
                    post(
                        &format!("{CHUNKED}Transfer-Encoding: gzip\r\n"),
                        &format!("0\r\n\r\n{SMUGGLED}"),
                    ),
                ),
                refused(
                    400,
                    post(
                        &format!("Transfer-Encoding: gzip\r\nA: b\r\n{CHUNKED}"),
                        "0\r\n\r\n",
                    ),
                ),
            ],
        ),
        bug(
            "hyper RUSTSEC-2021-0078",
            "a length with a sign",
            [
                refused(400, post("Content-Length: +5\r\n", "hello")),
                refused(400, post("Content-Length: -5\r\n", "hello")),
                malformed("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
            ],
        ),
        bug(
            "actix-web RUSTSEC-2021-0081",
            "lengths with signs, several lengths, codings nobody knows",
            [
                refused(400, post("Content-Length: +3\r\n", "abc")),
                refused(
                    400,
                    post("Content-Length: 0\r\nContent-Length: 3\r\n", "abc"),
                ),
                refused(400, post(&format!("{CL}Transfer-Encoding: x\r\n"), "hello")),
                refused(501, te("chunk")),
            ],
        ),
        bug(
            "actix-web #2794",
            "chunks in HTTP/1.0",
            [
                refused(
                    400,
                    format!(
                        "POST /auth HTTP/1.0\r\nHost: gate\r\n{CHUNKED}\r\n0\r\n\r\n{SMUGGLED}"
                    ),
                ),
                refused(
                    400,
                    format!("POST /auth HTTP/1.0\r\nHost: gate\r\n{CL}{CHUNKED}\r\n0\r\n\r\n"),
                ),
            ],
        ),
        bug(
            "tiny_http RUSTSEC-2020-0031",
            "a space behind the name of Transfer-Encoding",
            [
                refused(
                    400,
                    post(
                        "Transfer-Encoding : chunked\r\n",
                        &format!("0\r\n\r\n{SMUGGLED}"),
                    ),
                ),
                refused(
                    400,
                    post(&format!("{CL}Transfer-Encoding : chunked\r\n"), "hello"),
                ),
            ],
        ),
        bug(
            "Node.js CVE-2022-32213",
            "a Transfer-Encoding that only ends in chunked",
            [
                refused(501, te("chunkedchunked")),
                refused(501, te("eee, chunked")),
                refused(400, te("eee chunked")),
                refused(400, te("chunked\u{b}")),
            ],
        ),
        bug(
            "Node.js CVE-2022-32215",
            "a Transfer-Encoding in several lines",
            [
                refused(400, te("chunked\r\n , identity")),
                refused(400, te("\r\n chunked")),
                refused(400, te("chunked,\r\n\tchunked")),
            ],
        ),
        bug(
            "Node.js CVE-2024-27982",
            "a Content-Length with a space before its name",
            [
                refused(400, post(&format!(" {CL}"), "hello")),
                refused(400, post(&format!("A: b\r\n {CL}"), "hello")),
                refused(400, post(&format!("A: b\r\n\t{CL}"), SMUGGLED)),
            ],
        ),
        bug(
            "Varnish VSV00010",
            "Connection takes Content-Length or Host away",
            [
                refused(
                    400,
                    post(&format!("{CL}Connection: Content-Length\r\n"), "hello"),
                ),
                refused(
                    400,
                    post(
                        &format!("Connection: close, content-length\r\n{CL}"),
                        "hello",
                    ),
                ),
                refused(400, with_fields("Connection: host\r\n")),
                refused(
                    400,
                    post(
                        &format!("{CHUNKED}Connection: transfer-encoding\r\n"),
                        "0\r\n\r\n",
                    ),
                ),
            ],
        ),
        bug(
            "sozu #726",
            "chunked with a tab behind it is understood, and passed on as it came",
            [
                read_as(
                    post(
                        "Transfer-Encoding: chunked\t\r\n",
                        &format!("2\r\nhi\r\n0\r\n\r\n{SMUGGLED}"),
                    ),
                    [
                        forward("POST /auth", CHUNKED, "hi"),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
                read_as(
                    post(
                        "transfer-ENCODING:\t chunked \t\r\n",
                        "2\r\nhi\r\n0\r\n\r\n",
                    ),
                    [forward("POST /auth", CHUNKED, "hi")],
                ),
            ],
        ),
        bug(
            "sozu #1293",
            "the guard against it missed other white space",
            [
                refused(400, te("chunked\u{b}")),
                refused(400, te("chunked\u{c}")),
                refused(400, te("\u{b}chunked")),
                refused(400, te("chunked\u{a0}")),
                refused(400, te("chunked\u{0}")),
            ],
        ),
        bug(
            "sozu #1295",
            "the guard hung on a side effect of the parser",
            [
                refused(400, te("\tchunked\t,\tidentity\t")),
                refused(
                    400,
                    post(
                        &format!("Transfer-Encoding: chunked\t\r\n{CL}"),
                        "0\r\n\r\n",
                    ),
                ),
                refused(
                    400,
                    post(&format!("{CL}Transfer-Encoding:\tchunked\r\n"), "0\r\n\r\n"),
                ),
            ],
        ),
        bug(
            "http-proxy-middleware 4, trailers",
            "a Trailer field beside a length",
            [
                read_as(
                    post(&format!("Trailer: x\r\n{CL}"), &format!("hello{SMUGGLED}")),
                    [
                        forward("POST /auth", CL, "hello"),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
                heard(
                    format!("HTTP/1.1 200 OK\r\n{DATE}Trailer: x\r\n{CL}\r\nhello"),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CL}\r\nhello"),
                    Fate::Kept,
                ),
            ],
        ),
        bug(
            "the article's gateway (http-proxy-middleware 2)",
            "a DELETE's chunks go up behind Content-Length: 0",
            [read_as(
                format!(
                    "DELETE /auth HTTP/1.1\r\nHost: gate\r\n{CHUNKED}\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
                    SMUGGLED.len()
                ),
                [forward("DELETE /auth", CHUNKED, SMUGGLED)],
            )],
        ),
    ]
}

fn in_responses() -> Vec<Bug> {
    let chunks = "2\r\nhi\r\n0\r\n\r\n";
    let recoded = format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n{chunks}");
    let head = |ended| Responses {
        request: "HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        ended,
        ..Responses::default()
    };
    let announced = format!("HTTP/1.1 200 OK\r\n{DATE}{CL}\r\n");
    let unmodified = format!("HTTP/1.1 304 Not Modified\r\n{DATE}{CL}\r\n");
    vec![
        bug(
            "hyper #4124",
            "a Content-Length before the Transfer-Encoding stays",
            [
                refused(400, post(&format!("{CL}{CHUNKED}"), "0\r\n\r\n")),
                heard(
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CL}{CHUNKED}\r\n{chunks}"),
                    &recoded,
                    Fate::UpstreamClosed,
                ),
                heard(
                    format!("HTTP/1.1 200 OK\r\n{CL}{DATE}{CHUNKED}{CL}\r\n{chunks}"),
                    &recoded,
                    Fate::UpstreamClosed,
                ),
                heard(
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}{CL}\r\n{chunks}"),
                    &recoded,
                    Fate::UpstreamClosed,
                ),
            ],
        ),
        bug(
            "HAProxy 2026-04, bodyless",
            "a message without a body that announces one leaves its reader waiting",
            [
                upstream(
                    head(false),
                    &announced,
                    Heard::Bytes(announced.clone()),
                    Fate::Kept,
                ),
                heard(&unmodified, &unmodified, Fate::Kept),
                heard(
                    format!("HTTP/1.1 204 No Content\r\n{DATE}{CL}\r\n"),
                    format!("HTTP/1.1 204 No Content\r\n{DATE}\r\n"),
                    Fate::UpstreamClosed,
                ),
            ],
        ),
        bug(
            "http-proxy-middleware 4, no body",
            "an answer without a body gets one",
            [
                heard(
                    format!("HTTP/1.1 204 No Content\r\n{DATE}{CHUNKED}\r\n{chunks}"),
                    format!("HTTP/1.1 204 No Content\r\n{DATE}\r\n"),
                    Fate::UpstreamClosed,
                ),
                upstream(
                    head(false),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n"),
                    Heard::Bytes(format!("HTTP/1.1 200 OK\r\n{DATE}\r\n")),
                    Fate::Kept,
                ),
                // Bytes behind such a head are not a response to the next request.
                upstream(
                    head(false),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CL}\r\nhello"),
                    Heard::Bytes(announced),
                    Fate::UpstreamClosed,
                ),
            ],
        ),
        bug(
            "Pingora 0.6, body",
            "a response longer than its length is pooled",
            [
                heard(
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CL}\r\nhello, world"),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CL}\r\nhello"),
                    Fate::UpstreamClosed,
                ),
                heard(format!("{recoded}\r\n"), &recoded, Fate::UpstreamClosed),
            ],
        ),
        bug(
            "Pingora 0.8, chunk head",
            "an end within a chunk's size line is an end of the body",
            [
                heard_to_the_end(
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n2\r\nhi\r\n1"),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n2\r\nhi\r\n"),
                    Fate::Cut,
                ),
                heard_to_the_end(
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n0"),
                    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n"),
                    Fate::Cut,
                ),
            ],
        ),
    ]
}

/// Lengths around the limits of integer types are forwarded unchanged.
fn lengths_beyond_32_bits() {
    for length in [
        (1_u64 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 5,
        1 << 53,
        (1 << 53) + 1,
        999_999_999_999_999_999,
    ] {
        let field = format!("Content-Length: {length}\r\n");
        let text = format!("HTTP/1.1 200 OK\r\n{DATE}{field}\r\n");
        let head = Responses {
            request: "HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
            ..Responses::default()
        };
        head.check(&field, &text, Got::Bytes(&text), Fate::Kept);
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, post(&field, "hello"));
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(seen.ends_with(&format!("{field}\r\nhello")), "{seen}");
        // The end of the client's stream does not end the body.
        world.finish(client);
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
        // As a chunk's size: the bytes that have arrived are forwarded in a chunk of their own
        // size.
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, post(CHUNKED, &format!("{length:x}\r\nhello")));
        let origin = world.accept();
        assert!(
            world
                .received_upstream(origin)
                .ends_with("\r\n\r\n5\r\nhello\r\n")
        );
        world.send(client, "\r\n0\r\n\r\n");
        assert!(
            world
                .received_upstream(origin)
                .ends_with("\r\n\r\n0\r\n\r\n\r\n"),
            "it is data"
        );
        world.expect_quiet();
    }
}
