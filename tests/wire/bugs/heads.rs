//! Start lines and field lines.

use super::*;
use crate::engine::script::*;

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_lines();
    bugs.extend(of_names_and_values());
    bugs
}

#[test]
fn head_bugs() {
    hold(bugs());
}

fn of_lines() -> Vec<Bug> {
    vec![
        bug(
            "nginx CVE-2013-4547",
            "an unescaped space in the target loses the parser's state",
            [
                refused(400, "GET /auth \0.php HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET /none /../auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET /auth /x HTTP/1.1\r\nHost: gate\r\n\r\n"),
            ],
        ),
        bug(
            "HAProxy CVE-2023-45539",
            "a # is part of the path that rules see",
            [
                refused(400, "GET /auth#.png HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET /none#/auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET /auth?a#b HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "GET http://gate/auth#x HTTP/1.1\r\nHost: gate\r\n\r\n"),
            ],
        ),
        bug(
            "HAProxy 2026-04, authority",
            "a comma in an authority",
            [
                refused(400, "GET /auth HTTP/1.1\r\nHost: gate,evil\r\n\r\n"),
                refused(
                    400,
                    "GET http://gate,evil/auth HTTP/1.1\r\nHost: gate,evil\r\n\r\n",
                ),
            ],
        ),
        bug(
            "Node.js CVE-2022-32214",
            "a line feed alone ends a field line",
            [
                refused(
                    400,
                    post(&format!("A: b\n{CHUNKED}"), &format!("0\r\n\r\n{SMUGGLED}")),
                ),
                refused(400, post(&format!("A:\n{CHUNKED}"), "0\r\n\r\n")),
            ],
        ),
        bug(
            "Node.js CVE-2022-35256",
            "a field line that does not end in CRLF",
            [
                refused(400, post("Content-Length: 5\rA: b\r\n", "hello")),
                refused(400, "GET /auth HTTP/1.1\r\nHost: gate\r\nA: b\r\r\n\r\n"),
                refused(400, "GET /auth HTTP/1.1\r\nHost: gate\r\nA\r\n\r\n"),
            ],
        ),
        bug(
            "Node.js CVE-2023-30589",
            "a CR alone ends a field line",
            [
                refused(
                    400,
                    post(&format!("A: b\r{CHUNKED}"), &format!("0\r\n\r\n{SMUGGLED}")),
                ),
                refused(400, post(&format!("A:\r{CHUNKED}"), "0\r\n\r\n")),
                refused(
                    400,
                    format!("GET /auth HTTP/1.1\r\nHost: gate\r\n\r{SMUGGLED}"),
                ),
            ],
        ),
        bug(
            "nginx 2026-05",
            "a status line in two reads loses bytes",
            [heard(
                format!(
                    "HTTP/1.1 299 A reason of some length\r\n{DATE}Content-Length: 2\r\n\r\nhi"
                ),
                format!(
                    "HTTP/1.1 299 A reason of some length\r\n{DATE}Content-Length: 2\r\n\r\nhi"
                ),
                Fate::Kept,
            )],
        ),
        bug(
            "nginx 2026-04",
            "the second 103 is the final response",
            [
                held_by(
                    include_str!("../responses.rs"),
                    "rows_64_to_66_interim_responses",
                ),
                heard(
                    format!(
                        "HTTP/1.1 103 \r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nhi"
                    ),
                    format!(
                        "HTTP/1.1 103 \r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nhi"
                    ),
                    Fate::Kept,
                ),
            ],
        ),
        bug(
            "Varnish VSV00009",
            "a reason phrase ends the process",
            [
                held_by(include_str!("../responses.rs"), "status_lines"),
                heard(
                    format!("HTTP/1.1 200\r\n{DATE}Content-Length: 0\r\n\r\n"),
                    format!("HTTP/1.1 200 \r\n{DATE}Content-Length: 0\r\n\r\n"),
                    Fate::Kept,
                ),
                malformed("HTTP/1.1 200 \u{1}\r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 200 \u{7f}\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        bug(
            "Envoy CVE-2025-64763",
            "what follows a CONNECT goes up before its answer",
            [
                refused(
                    405,
                    format!("CONNECT gate:80 HTTP/1.1\r\nHost: gate\r\n\r\n{SMUGGLED}"),
                ),
                refused(
                    405,
                    format!(
                        "CONNECT /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhello{SMUGGLED}"
                    ),
                ),
            ],
        ),
    ]
}

fn of_names_and_values() -> Vec<Bug> {
    let conn = b"GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: \xff\xfe, x-a\r\nX-A: b\r\n\r\n";
    let said = [
        format!("HTTP/1.1 200 OK\r\n{DATE}Connection: ").as_bytes(),
        &b"\xff, x-a\r\nX-A: b\r\nContent-Length: 0\r\n\r\n"[..],
    ]
    .concat();
    vec![
        bug(
            "HAProxy CVE-2021-40346",
            "the length of a name spills over into its value's",
            [Probe::Scene(names_of_every_length)],
        ),
        bug(
            "HAProxy CVE-2023-25725",
            "an empty name ends the list of fields for one of two readers",
            [
                refused(
                    400,
                    format!("GET /auth HTTP/1.1\r\n: x\r\nHost: gate\r\n{CHUNKED}\r\n0\r\n\r\n"),
                ),
                refused(400, with_fields(":\r\nContent-Length: 5\r\n")),
                refused(400, with_fields("A: b\r\n: x\r\nC: d\r\n")),
                refused(400, with_fields("A: b\r\n:\r\n")),
                malformed("HTTP/1.1 200 OK\r\n:\r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n: x\r\n\r\n"),
            ],
        ),
        bug(
            "HAProxy 2024-05",
            "a NUL in a value",
            [
                refused(400, with_fields("A: b\0c\r\n")),
                refused(400, post("Content-Length: 5\0\r\n", "hello")),
                refused(400, "GET /auth HTTP/1.1\r\nHost: gate\0\r\n\r\n"),
            ],
        ),
        bug(
            "Envoy CVE-2019-9900",
            "a NUL ends a value for the one that routes, not for the one that checks",
            [
                held_by(
                    include_str!("../requests.rs"),
                    "row_20_no_control_bytes_in_a_value",
                ),
                refused(400, "GET /auth HTTP/1.1\r\nHost: gate\0.evil\r\n\r\n"),
                refused(400, "GET /auth\0/x HTTP/1.1\r\nHost: gate\r\n\r\n"),
                malformed("HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        bug(
            "Envoy CVE-2023-27491",
            "invalid names and targets are passed on",
            [
                refused(400, with_fields("A\u{e9}: b\r\n")),
                refused(400, with_fields("A(b): c\r\n")),
                refused(400, "GET /auth\x7f HTTP/1.1\r\nHost: gate\r\n\r\n"),
                refused(400, "G\x01T /auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
                malformed("HTTP/1.1 200 OK\r\nA(b): c\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        bug(
            "Node.js CVE-2021-22959",
            "a space before the colon",
            [
                refused(400, post("Content-Length : 5\r\n", "hello")),
                refused(400, with_fields("A : b\r\n")),
                refused(400, "GET /auth HTTP/1.1\r\nHost : gate\r\n\r\n"),
                malformed("HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
            ],
        ),
        bug(
            "Go CVE-2021-33197",
            "an empty Connection line hides the one behind it",
            [
                read_as(
                    with_fields("X-A: b\r\nConnection:\r\nConnection: x-a\r\n"),
                    [get()],
                ),
                read_last(
                    with_fields(
                        "Connection:\r\nX-A: b\r\nConnection: ,\r\nConnection: x-a, close\r\n",
                    ),
                    [get()],
                ),
                heard(
                    format!(
                        "HTTP/1.1 200 OK\r\n{DATE}X-A: b\r\nConnection:\r\nConnection: x-a\r\nContent-Length: 0\r\n\r\n"
                    ),
                    format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"),
                    Fate::Kept,
                ),
            ],
        ),
        bug(
            "Apache httpd CVE-2022-31813",
            "Connection takes X-Forwarded-For away",
            [read_as(
                with_fields(
                    "Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Via\r\nX-Forwarded-For: 127.0.0.1\r\n",
                ),
                [get()],
            )],
        ),
        bug(
            "hyper #4019",
            "a Connection that is no UTF-8 ends the process",
            [refused(400, conn), malformed(said)],
        ),
        bug(
            "http-proxy #1647",
            "a Trailer field in a GET ends the process",
            [
                read_as(with_fields("Trailer: x\r\n"), [get()]),
                read_as(with_fields("Trailer: \u{e9},, \"\r\n"), [get()]),
                read_as(
                    "HEAD /none HTTP/1.1\r\nHost: gate\r\nTrailer: x\r\n\r\n"
                        .replace("HEAD", "GET"),
                    [reply(404)],
                ),
            ],
        ),
        bug(
            "http-proxy #1679",
            "a name that is no token ends the process",
            [
                refused(400, with_fields("User Agent: x\r\n")),
                refused(400, with_fields("User-Agent\u{2010}: x\r\n")),
            ],
        ),
        bug(
            "http-proxy #964",
            "an upstream's value with a control byte ends the process",
            [
                malformed("HTTP/1.1 200 OK\r\nContent-Type: \u{1}?@\r\nContent-Length: 0\r\n\r\n"),
                malformed("HTTP/1.1 200 OK\r\nSet-Cookie: a\u{7f}\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        bug(
            "sozu #1223",
            "the length of a short host underflows",
            [
                Probe::Scene(hosts_of_every_length),
                refused(400, "GET /auth HTTP/1.1\r\nHost:\r\n\r\n"),
            ],
        ),
    ]
}

/// Names of every length up to the limit of the head, and beyond: a name is forwarded unchanged or
/// refused.
fn names_of_every_length() {
    // Lengths around each power of two, where a bit field could overflow.
    let powers = (10..17)
        .flat_map(|bits| [1 << bits, (1 << bits) + 14])
        .flat_map(|length: usize| length - 2..length + 3);
    for length in (1..700).chain(powers) {
        let name = &format!("Content-Length0{}", "a".repeat(length))[..length];
        let head = post(
            &format!("{name}: \r\nContent-Length: 5\r\n{name}: 9\r\n"),
            "",
        );
        let mut stage = Stage::new(PLAIN);
        let client = stage.world.connect();
        stage.world.send(client, format!("{head}hello{SMUGGLED}"));
        stage.play(OK.as_bytes());
        let text = stage.world.received(client);
        if length == "Content-Length".len() || head.len() > 16_384 {
            let status = if head.len() > 16_384 { 431 } else { 400 };
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")),
                "{length}: {text}"
            );
            assert!(
                stage.seen.is_empty() && !stage.world.is_open(client),
                "{length}"
            );
            continue;
        }
        let [seen, smuggled] = &stage.seen[..] else {
            panic!("{length}: {} requests", stage.seen.len())
        };
        assert_eq!(
            (&seen.body[..], &smuggled.head.path[..]),
            (&b"hello"[..], &b"/auth/smuggled"[..]),
            "{length}"
        );
        let named = |wanted: &str| -> Vec<&[u8]> {
            let fields = seen.head.fields.iter();
            fields
                .filter(|(name, _)| name == wanted.as_bytes())
                .map(|(_, value)| &value[..])
                .collect()
        };
        assert_eq!(
            (named(name), named("Content-Length")),
            (vec![&b""[..], b"9"], vec![&b"5"[..]]),
            "{length}"
        );
    }
}

fn hosts_of_every_length() {
    for length in 1..300 {
        let host = "h".repeat(length);
        let mut stage = Stage::new(PLAIN);
        let client = stage.world.connect();
        stage.world.send(
            client,
            format!("GET /auth HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
        stage.play(OK.as_bytes());
        stage.world.expect_status(client, 200);
        let fields = &stage.seen[0].head.fields;
        assert!(fields.contains(&(b"X-Forwarded-Host".to_vec(), host.into_bytes())));
    }
}
