//! Chunked bodies: sizes, line ends, extensions, trailers. Each has a request behind it that a
//! wrong reading would reveal.

use tollgate::properties::reference;

use super::*;
use crate::engine::script::*;

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_sizes();
    bugs.extend(of_lines());
    bugs
}

#[test]
fn chunk_bugs() {
    hold(bugs());
}

/// Returns a chunked POST with the smuggled request at its end.
fn chunked(body: &str) -> String {
    post(CHUNKED, &format!("{body}{SMUGGLED}"))
}

fn response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{DATE}{CHUNKED}\r\n{body}")
}

/// Returns a probe of an upstream's body that breaks after these data: the client gets only the
/// data, and can see that the body is incomplete.
fn cut(body: &str, data: &'static str) -> Probe {
    let body = body.to_owned();
    Probe::Scenes(Box::new(move |row| {
        let run = |pieces: &[&[u8]]| {
            let mut world = World::plain();
            let client = world.connect();
            world.send(client, GET);
            let origin = world.accept();
            world.reply(origin, response(""));
            for piece in pieces {
                world.reply(origin, piece);
            }
            assert_eq!(
                world.closed(client),
                Some(Closed::Aborted),
                "{row}: {body:?}"
            );
            assert!(world.closed_upstream(origin), "{row}: {body:?}");
            let heard = world.take(client);
            let (got, _) =
                reference::response(&heard, b"GET", true).expect("what was passed on is in order");
            assert!(
                !got.complete && data.as_bytes().starts_with(&got.body),
                "{row}: {got:?}"
            );
            world.expect_quiet();
        };
        let bytes = body.as_bytes();
        run(&[bytes]);
        run(&bytes.chunks(1).collect::<Vec<_>>());
        (1..bytes.len()).for_each(|at| run(&[&bytes[..at], &bytes[at..]]));
    }))
}

fn of_sizes() -> Vec<Bug> {
    vec![
        bug(
            "nginx CVE-2013-2028",
            "a chunk's size is negative",
            [
                broken(chunked("ffffffffffffffed\r\n")),
                broken(chunked("8000000000000000\r\n")),
                broken(chunked("FFFFFFFFFFFFFFFF\r\n")),
                cut("ffffffffffffffed\r\nhello", ""),
            ],
        ),
        bug(
            "nginx 1.29.4",
            "a stricter parser lost the check for overflow",
            [
                broken(chunked("10000000000000002\r\nhi\r\n0\r\n\r\n")),
                broken(chunked(
                    "100000000000000000000000000000002\r\nhi\r\n0\r\n\r\n",
                )),
                broken(chunked("1000000000000000\r\n")),
                waits(post(CHUNKED, "fffffffffffffff\r\n")),
                cut("10000000000000002\r\nhi\r\n0\r\n\r\n", ""),
            ],
        ),
        bug(
            "hyper RUSTSEC-2021-0079",
            "a chunk's size overflows 64 bits",
            [
                broken(chunked("f0000000000000003\r\nabc\r\n0\r\n\r\n")),
                broken(chunked("3\r\nabc\r\nf0000000000000003\r\nabc\r\n0\r\n\r\n")),
                cut("f0000000000000003\r\nabc\r\n0\r\n\r\n", ""),
            ],
        ),
        bug(
            "hyper #3494",
            "a size without a digit is zero",
            [
                broken(chunked("\r\n\r\n")),
                broken(chunked(";a\r\n\r\n")),
                broken(chunked("2\r\nhi\r\n\r\n\r\n")),
                broken(chunked(" \r\n\r\n")),
                cut("\r\n\r\n", ""),
            ],
        ),
        bug(
            "HAProxy 2026-04, digits",
            "sizes of more digits than their buffer holds",
            [
                read_as(
                    chunked("000000000000002\r\nhi\r\n000000000000000\r\n\r\n"),
                    [
                        forward("POST /auth", CHUNKED, "hi"),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
                broken(chunked("0000000000000002\r\nhi\r\n0\r\n\r\n")),
                broken(chunked(&format!("{}2\r\nhi\r\n0\r\n\r\n", "0".repeat(300)))),
            ],
        ),
        bug(
            "Tomcat CVE-2023-46589",
            "a trailer over its limit ends the request",
            [
                long(post(
                    CHUNKED,
                    &format!("0\r\nA: {}\r\n\r\n{SMUGGLED}", "v".repeat(17_000)),
                )),
                long(post(
                    CHUNKED,
                    &format!("0\r\n{}\r\n{SMUGGLED}", "a: b\r\n".repeat(101)),
                )),
            ],
        ),
        bug(
            "http-proxy-middleware 4, trailer fields",
            "a trailer becomes a field of the message",
            [
                read_as(
                    chunked(
                        "2\r\nhi\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: other\r\nCookie: a\r\n\r\n",
                    ),
                    [
                        forward("POST /auth", CHUNKED, "hi"),
                        forward("GET /auth/smuggled", "", ""),
                    ],
                ),
                heard(
                    response("0\r\nSet-Cookie: a\r\nContent-Length: 9\r\n\r\n"),
                    response("0\r\n\r\n"),
                    Fate::Kept,
                ),
            ],
        ),
    ]
}

fn of_lines() -> Vec<Bug> {
    vec![
        bug(
            "HAProxy 2024-01",
            "a line feed alone ends a chunk's data or size",
            [
                broken(chunked("2\r\nhi\n0\r\n\r\n")),
                broken(chunked("2\nhi\r\n0\r\n\r\n")),
                broken(chunked("2\r\nhi\r\n0\n\n")),
                broken(chunked("0\r\n\n")),
            ],
        ),
        bug(
            "Node.js CVE-2021-22960",
            "what stands behind a chunk's size is not looked at",
            [
                broken(chunked("2 x\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2 ;x\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2;x y\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2h\r\nhi\r\n0\r\n\r\n")),
            ],
        ),
        bug(
            "Node.js CVE-2024-22019",
            "extensions are read without end",
            [Probe::Scene(extensions_cost_no_more_than_their_bound)],
        ),
        bug(
            "Go CVE-2023-39326",
            "a byte of data costs kilobytes of extension",
            [long(post(
                CHUNKED,
                &format!(
                    "{}0\r\n\r\n",
                    "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\nx\r\n".repeat(600)
                ),
            ))],
        ),
        bug(
            "hyper #3495",
            "one extension without end",
            [long(post(CHUNKED, &format!("2;{}", "e".repeat(20_000))))],
        ),
        bug(
            "Go CVE-2025-22871",
            "a line feed alone ends a chunk's size line",
            [
                broken(chunked("2\nhi\r\n0\r\n\r\n")),
                broken(chunked("2\r\nhi\r\n0\n\r\n")),
                broken(chunked("2;a\nhi\r\n0\r\n\r\n")),
                broken(chunked("2;a=\"\n\"\r\nhi\r\n0\r\n\r\n")),
                cut("2\nhi\r\n0\r\n\r\n", ""),
                cut("2;a\nhi\r\n0\r\n\r\n", ""),
            ],
        ),
        bug(
            "Netty CVE-2025-58056",
            "a line feed within an extension ends it",
            [
                broken(chunked("2;\nxx\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("0;\n\r\n\r\n")),
                broken(chunked("2;a=b\n;c\r\nhi\r\n0\r\n\r\n")),
                cut("2;\nxx\r\nhi\r\n0\r\n\r\n", ""),
            ],
        ),
        bug(
            "Kestrel CVE-2025-55315",
            "a CR or LF alone within an extension is part of it",
            [
                broken(chunked("2;\rxx\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2;a\rb\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2;a=\"\r\"\r\nhi\r\n0\r\n\r\n")),
                broken(chunked("2;a\r\rhi\r\n0\r\n\r\n")),
                broken(chunked("2;a\n\r\nhi\r\n0\r\n\r\n")),
                cut("2;a\rb\r\nhi\r\n0\r\n\r\n", ""),
            ],
        ),
        bug(
            "RFC 9112 erratum 7633",
            "what follows a chunk's data is skipped, not checked",
            [
                broken(chunked("2\r\nhiXX0\r\n\r\n")),
                broken(chunked("2\r\nhi\rX0\r\n\r\n")),
                broken(chunked("2\r\nhiX\n0\r\n\r\n")),
                broken(chunked("2\r\nhi0\r\n\r\n")),
                cut("2\r\nhiXX0\r\n\r\n", "hi"),
            ],
        ),
    ]
}

/// Returns a probe with too many bytes of one kind.
fn long(bytes: String) -> Probe {
    client(
        Requests {
            in_body: true,
            uncut: true,
            ..Requests::default()
        },
        bytes,
        [reply(400)],
        true,
    )
}

/// A client that sends extensions without end is cut off at their bound.
fn extensions_cost_no_more_than_their_bound() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, post(CHUNKED, "1;"));
    let mut sent = 0;
    while world.is_open(client) {
        world.send(client, "e".repeat(100));
        sent += 100;
        assert!(sent <= 20_000, "it is still read");
    }
    world.expect_status(client, 400);
    world.expect_quiet();
    // An upstream that does so is cut off, too.
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, response("1;"));
    world.expect(client, response(""));
    for _ in 0..200 {
        world.reply(origin, "e".repeat(100));
    }
    assert!(world.closed_upstream(origin), "it is still read");
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    world.expect_quiet();
}
