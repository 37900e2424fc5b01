//! Requests that the gateway answers itself: each status with its exact body, and no byte at an
//! upstream.

use tollgate::limits::DRAIN_BYTES;
use tollgate::proxy::command::Fault;

use super::script::*;

fn body(code: u16, message: &str) -> String {
    format!("{{\"code\":{code},\"status\":\"Error\",\"message\":\"{message}\",\"data\":null}}")
}

#[test]
fn each_reply_byte_for_byte() {
    let long_line = format!(
        "GET /auth/{} HTTP/1.1\r\nHost: gate\r\n\r\n",
        "a".repeat(8_200)
    );
    let large_head = format!(
        "GET /auth HTTP/1.1\r\nHost: gate\r\nX: {}\r\n\r\n",
        "a".repeat(17_000)
    );
    let many_fields = format!(
        "GET /auth HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    for (request, code, reason, message, open) in [
        (
            "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n",
            404,
            "Not Found",
            "Route not found.",
            true,
        ),
        (
            "GET /auth HTTP/1.1\r\n\r\n",
            400,
            "Bad Request",
            "Bad request.",
            false,
        ),
        (
            "nonsense\r\n\r\n",
            400,
            "Bad Request",
            "Bad request.",
            false,
        ),
        (
            "GET /auth/../x HTTP/1.1\r\nHost: gate\r\n\r\n",
            400,
            "Bad Request",
            "Bad request.",
            false,
        ),
        (
            "CONNECT gate:443 HTTP/1.1\r\nHost: gate:443\r\n\r\n",
            405,
            "Method Not Allowed",
            "Method not allowed.",
            false,
        ),
        (
            "TRACE /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
            405,
            "Method Not Allowed",
            "Method not allowed.",
            false,
        ),
        (
            "GET /auth HTTP/1.1\r\nHost: gate\r\nExpect: tea\r\n\r\n",
            417,
            "Expectation Failed",
            "Expectation failed.",
            false,
        ),
        (
            "GET /auth HTTP/2.0\r\nHost: gate\r\n\r\n",
            505,
            "HTTP Version Not Supported",
            "HTTP version not supported.",
            false,
        ),
        (
            "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "Not Implemented",
            "Not implemented.",
            false,
        ),
        (&long_line, 414, "URI Too Long", "URI too long.", false),
        (
            &large_head,
            431,
            "Request Header Fields Too Large",
            "Request header fields too large.",
            false,
        ),
        (
            &many_fields,
            431,
            "Request Header Fields Too Large",
            "Request header fields too large.",
            false,
        ),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, request);
        let body = body(code, message);
        let allow = if code == 405 {
            "Allow: GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS\r\n"
        } else {
            ""
        };
        let close = if open { "" } else { "Connection: close\r\n" };
        world.expect(
            client,
            format!(
                "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json; charset=utf-8\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
                 {allow}{close}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        if open {
            world.expect_open(client)
        } else {
            world.expect_closing(client)
        }
        world.expect_no_dial();
        assert!(world.log()[0].contains(&format!("\" {code} {}", body.len())));
        world.expect_quiet();
    }
}

#[test]
fn no_body_for_head() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, "HEAD /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    let text = world.expect_status(client, 404);
    assert!(text.ends_with("Content-Length: 70\r\n\r\n"), "{text}");
    assert!(world.log()[0].contains("\"HEAD /nowhere HTTP/1.1\" 404 - "));
    world.expect_quiet();
}

/// A client that sent HEAD reads no body of any reply: a body would be its next response.
#[test]
fn no_reply_to_head_has_a_body() {
    for (request, status) in [
        ("HEAD /auth HTTP/1.1\r\n\r\n", 400),
        ("HEAD /auth/../x HTTP/1.1\r\nHost: gate\r\n\r\n", 400),
        ("HEAD /auth HTTP/1.1\nHost: gate\r\n\r\n", 400),
        ("\r\nHEAD /auth HTTP/1.1\r\nHost : gate\r\n\r\n", 400),
        ("HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n", 502),
        ("HEAD /auth HTTP/1.1\r\nHost: gate\r\n", 408),
        ("\r\nHEAD /auth HTTP/1.1\r\nHost: gate\r\n", 408),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, request);
        match status {
            502 => {
                world.refuse(Fault::Refused);
            }
            408 => world.wait(20_000),
            _ => {}
        }
        let text = world.expect_status(client, status);
        assert_eq!(
            text.find("\r\n\r\n"),
            Some(text.len() - 4),
            "{request:?}: {text:?}"
        );
        assert!(
            world.log()[0].contains(&format!("\" {status} - ")),
            "no byte of a body is logged"
        );
        world.expect_quiet();
    }
}

#[test]
fn the_twenty_first_request_of_an_address_is_a_429() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ] }"#,
    );
    let client = world.connect();
    for _ in 0..20 {
        world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
        world.expect_status(client, 404);
        world.send(client, "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
        world.expect_status(client, 204);
    }
    world.wait(1_500);
    world.send(client, GET);
    let text = world.expect_status(client, 429);
    assert!(text.contains("\r\nRetry-After: 59\r\n"), "{text}");
    assert!(
        text.ends_with(&body(429, "Rate limit exceeded."))
            && text.contains("Content-Length: 74\r\n"),
        "{text}"
    );
    assert!(
        text.contains("Access-Control-Allow-Origin: *\r\n")
            && text.contains("X-Frame-Options: SAMEORIGIN\r\n")
    );
    world.expect_open(client);
    world.expect_no_dial();
    let other = world.connect_from("192.0.2.2".parse().expect("an address"));
    world.send(other, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(other, 404);
    world.wait(58_500);
    world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 404);
    world.expect_quiet();
}

#[test]
fn a_service_with_a_limit_of_its_own_counts_apart() {
    let config = r#"{ "services": [
        { "route": "/own", "target": "http://10.0.0.1", "rateLimit": { "requests": 1 } },
        { "route": "/free", "target": "http://10.0.0.1", "rateLimit": false },
        { "route": "/auth", "target": "http://10.0.0.1" } ], "rateLimit": { "requests": 1 } }"#;
    let mut world = World::with(config);
    for (path, statuses) in [
        ("/own", [200, 429]),
        ("/free", [200, 200]),
        ("/auth", [200, 429]),
    ] {
        for status in statuses {
            let client = world.connect();
            world.send(
                client,
                format!("GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"),
            );
            if status == 200 {
                let origin = world.accept();
                world.reply(
                    origin,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                );
            }
            world.expect_status(client, status);
        }
    }
    world.expect_quiet();
}

#[test]
fn a_small_body_of_a_refused_request_is_dropped_and_the_connection_kept() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /nowhere HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhel",
    );
    let text = world.expect_status(client, 404);
    assert!(!text.contains("Connection: close"));
    world.send(client, "loGET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 404);
    world.send(client, "POST /nowhere HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    let text = world.received(client);
    assert_eq!(text.matches("HTTP/1.1 404 ").count(), 2, "{text}");
    world.expect_open(client);
    world.expect_quiet();
}

#[test]
fn a_refused_client_that_leaves_in_the_middle_of_its_body_is_closed_at_once() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /nowhere HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhe",
    );
    world.expect_status(client, 404);
    world.finish(client);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn a_large_body_of_a_refused_request_is_a_lingering_close() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /nowhere HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000000\r\n\r\n",
    );
    let text = world.expect_status(client, 404);
    assert!(text.contains("Connection: close\r\n"));
    world.expect_closing(client);
    assert_eq!(
        world.closed(client),
        None,
        "what the client still sends is read, so that no reset destroys the reply"
    );
    world.send(client, "x".repeat(1_000_000));
    assert_eq!(world.closed(client), None);
    world.finish(client);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn a_chunked_body_that_turns_out_to_be_large_is_a_lingering_close_too() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /nowhere HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let text = world.expect_status(client, 404);
    assert!(
        !text.contains("Connection: close"),
        "the end is not known yet"
    );
    let chunk = |bytes: u64| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes as usize));
    world.send(client, chunk(DRAIN_BYTES));
    world.expect_open(client);
    world.send(client, chunk(1));
    world.expect_closing(client);
    world.send(
        client,
        "0\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n",
    );
    assert_eq!(world.received(client), "", "nothing behind it is answered");
    assert_eq!(
        world.closed(client),
        None,
        "what the client still sends is read, so that no reset destroys the reply"
    );
    world.finish(client);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn connections_beyond_the_limit_get_a_503() {
    let config = PLAIN.replacen('{', "{ \"limits\": { \"connections\": 2 },", 1);
    let mut world = World::with(&config);
    let (first, _second) = (world.connect(), world.connect());
    let third = world.connect();
    let text = world.expect_status(third, 503);
    assert!(
        text.ends_with(&body(503, "Service unavailable."))
            && text.contains("Connection: close\r\n")
    );
    world.expect_closing(third);
    world.send(first, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(first, OK);
    world.finish(first);
    let fourth = world.connect();
    world.send(fourth, GET);
    world.reply(origin, OK);
    world.expect(fourth, OK);
    world.expect_quiet();
}

#[test]
fn a_request_that_runs_in_a_circle_is_stopped() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        format!(
            "GET /auth HTTP/1.1\r\nHost: gate\r\nVia: {}1.1 tollgate\r\n\r\n",
            "1.1 tollgate, ".repeat(7)
        ),
    );
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn smuggling_attempts_reach_no_upstream() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 05",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Connection: content-length\r\nContent-Length: 5",
        "X: a\n\rTransfer-Encoding: chunked",
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(
            client,
            format!(
                "POST /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n\r\n0\r\n\r\nGET /auth HTTP/1.1\r\nHost: x\r\n\r\n"
            ),
        );
        let text = world.received(client);
        assert!(
            text.starts_with("HTTP/1.1 400 ") || text.starts_with("HTTP/1.1 501 "),
            "{fields}: {text}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields}");
        world.expect_closing(client);
        world.expect_no_dial();
        world.expect_quiet();
    }
}

#[test]
fn a_head_too_large_behind_an_empty_line_is_refused_at_once() {
    for (limit, kilobytes) in [("16KB", 17), ("64KB", 65), ("256KB", 257)] {
        let config = PLAIN.replacen(
            '{',
            &format!(r#"{{ "limits": {{ "headBytes": "{limit}" }},"#),
            1,
        );
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(
            client,
            format!(
                "\r\nGET /auth HTTP/1.1\r\nHost: gate\r\nX: {}",
                "a".repeat(kilobytes << 10)
            ),
        );
        world.expect_status(client, 431);
        world.expect_no_dial();
    }
}

/// A request line that is too long is refused without waiting for the fields, wherever it was cut.
#[test]
fn a_request_line_too_long_is_refused_at_its_end() {
    let line = |length: usize| format!("GET /auth/{} HTTP/1.1\r\n", "a".repeat(length - 19));
    for first in [0, 1, 8_000] {
        for (length, over) in [(8_192, false), (8_193, true), (8_194, true), (8_300, true)] {
            let mut world = World::plain();
            let client = world.connect();
            let line = line(length);
            world.send(client, &line[..first]);
            world.send(client, &line[first..]);
            if over {
                world.expect_status(client, 414);
                world.expect_closing(client);
            } else {
                world.expect_silence(client);
                world.send(client, "Host: gate\r\n\r\n");
                world.accept();
            }
            world.expect_quiet();
        }
    }
}
