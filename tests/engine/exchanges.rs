//! Whole exchanges: the exact bytes that each side receives, and the state of the connections
//! afterwards.

use tollgate::proxy::command::Fault;

use super::script::*;

#[test]
fn a_request_goes_up_and_its_answer_comes_down() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.expect_upstream(origin, GET_UPSTREAM);
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_open(client);
    assert_eq!(
        world.log(),
        ["192.0.2.1 - - [24/Nov/2026:12:00:00 +0000] \"GET /auth HTTP/1.1\" 200 2 \"-\" \"-\""]
    );
    world.expect_quiet();
}

#[test]
fn the_same_byte_by_byte() {
    let mut world = World::plain();
    world.step = 1;
    let client = world.connect();
    world.send(client, "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.ends_with("Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"),
        "{seen}"
    );
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let text = world.received(client);
    assert!(
        text.ends_with("chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"),
        "{text}"
    );
    world.expect_quiet();
}

/// The bytes are a 408 for an idle connection that is about to close, or excess bytes behind the
/// last answer.
#[test]
fn bytes_before_the_request_was_sent_are_not_its_answer() {
    for request in [
        GET,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let pooled = world.accept();
        world.reply(pooled, OK);
        world.expect(client, OK);
        world.stall_upstream(pooled, true);
        world.send(client, request);
        world.reply(
            pooled,
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(
            world.closed_upstream(pooled),
            "the rest of its bytes is unknown"
        );
        world.expect_silence(client);
        let fresh = world.accept();
        assert!(world.received_upstream(fresh).starts_with(&request[..4]));
        world.reply(fresh, OK);
        world.expect(client, OK);
        world.expect_quiet();
    }
}

#[test]
fn an_upstream_connection_is_used_again_the_last_one_first() {
    let mut world = World::plain();
    let (a, b) = (world.connect(), world.connect());
    world.send(a, GET);
    world.send(b, GET);
    let (first, second) = (world.accept(), world.accept());
    world.reply(first, OK);
    world.reply(second, OK);
    world.send(a, GET);
    world.expect_no_dial();
    world.expect_upstream(first, GET_UPSTREAM);
    world.expect_upstream(second, [GET_UPSTREAM, GET_UPSTREAM].concat());
    world.reply(second, OK);
    world.expect(a, [OK, OK].concat());
    world.expect_quiet();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut world = World::plain();
    let client = world.connect();
    let missing = "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n";
    world.send(client, [GET, missing, GET].concat());
    let origin = world.accept();
    world.expect_upstream(origin, GET_UPSTREAM);
    world.expect_silence(client);
    world.reply(origin, OK);
    world.expect_upstream(origin, GET_UPSTREAM);
    let text = world.received(client);
    let rest = text.strip_prefix(OK).expect("the first answer first");
    assert!(
        rest.starts_with("HTTP/1.1 404 ") && rest.ends_with("\"data\":null}"),
        "{rest}"
    );
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn close_is_honoured_and_what_follows_is_not_looked_at() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
    );
    let origin = world.accept();
    world.expect_upstream(origin, GET_UPSTREAM);
    world.reply(origin, OK);
    let text = world.received(client);
    assert!(
        text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\nhi"),
        "{text}"
    );
    world.expect_closing(client);
    world.expect_upstream(origin, "");
    world.expect_quiet();
}

#[test]
fn an_http_10_client_gets_no_chunks_and_is_closed() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, "GET /auth HTTP/1.0\r\n\r\n");
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.starts_with("GET /auth HTTP/1.1\r\nHost: 10.0.0.1\r\n")
            && seen.contains("Via: 1.0 tollgate\r\n"),
        "{seen}"
    );
    world.reply(origin, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    world.expect(
        client,
        "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nhi",
    );
    world.expect_closing(client);
    world.expect_quiet();
}

#[test]
fn interim_responses_are_passed_on_but_for_the_100() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    for head in [
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n",
    ] {
        world.reply(origin, head);
    }
    world.reply(origin, OK);
    world.expect(
        client,
        ["HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n", OK].concat(),
    );
    world.expect_quiet();
}

#[test]
fn a_flood_of_interim_responses_is_a_malformed_answer() {
    let hint = |length: usize| {
        let front = "HTTP/1.1 103 Early Hints\r\nLink: ";
        format!("{front}{}\r\n\r\n", "a".repeat(length - front.len() - 4))
    };
    let bytes = |length: usize| [hint(8_000), hint(length - 8_000)].concat();
    for (hints, fit) in [
        (hint(100).repeat(8), true),
        (hint(100).repeat(9), false),
        (bytes(16_384), true),
        (bytes(16_385), false),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, &hints);
        if fit {
            world.reply(origin, OK);
            world.expect(client, [&hints, OK].concat());
        } else {
            let text = world.received(client);
            assert!(text.contains("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
            assert!(world.closed_upstream(origin));
        }
        world.expect_quiet();
    }
}

#[test]
fn expect_is_answered_here_after_all_checks() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    world.expect(client, "HTTP/1.1 100 Continue\r\n\r\n");
    world.send(client, "hi");
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        !seen.contains("Expect") && seen.ends_with("Content-Length: 2\r\n\r\nhi"),
        "{seen}"
    );
    world.reply(origin, OK);
    world.expect(client, OK);
    world.send(
        client,
        "POST /nowhere HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    let text = world.expect_status(client, 404);
    assert!(
        text.contains("Connection: close\r\n") && !text.contains("100 Continue"),
        "the body may or may not come"
    );
    world.expect_closing(client);
    world.expect_quiet();
}

#[test]
fn an_early_answer_is_passed_on_and_ends_the_connection() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\nfirst",
    );
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 413 Content Too Large\r\nDate: x\r\nContent-Length: 3\r\n\r\nno!",
    );
    world.expect(
        client,
        "HTTP/1.1 413 Content Too Large\r\nDate: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!",
    );
    world.expect_closing(client);
    assert!(
        world.closed_upstream(origin),
        "a connection with half a request on it is never pooled"
    );
    world.send(client, "GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn both_directions_at_once() {
    let mut world = World::streaming(PLAIN);
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 6\r\n\r\nabc",
    );
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 6\r\n\r\nabc",
    );
    assert!(
        world.received(client).ends_with("\r\n\r\nabc"),
        "the answer streams while the request does"
    );
    world.send(client, "def");
    assert!(world.received_upstream(origin).ends_with("\r\n\r\nabcdef"));
    world.reply(origin, "def");
    world.expect(client, "def");
    world.expect_closing(client);
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn bodiless_answers() {
    for (request, status, fields, expected) in [
        (
            "HEAD",
            "200 OK",
            "Content-Length: 5\r\n",
            "Content-Length: 5\r\n\r\n",
        ),
        ("GET", "204 No Content", "Content-Length: 0\r\n", "\r\n"),
        (
            "GET",
            "304 Not Modified",
            "Content-Length: 5\r\n",
            "Content-Length: 5\r\n\r\n",
        ),
        ("GET", "304 Not Modified", "", "\r\n"),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(
            client,
            format!("{request} /auth HTTP/1.1\r\nHost: gate\r\n\r\n"),
        );
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 {status}\r\nDate: x\r\n{fields}\r\n"),
        );
        world.expect(
            client,
            format!("HTTP/1.1 {status}\r\nDate: x\r\n{expected}"),
        );
        world.expect_open(client);
        assert!(!world.closed_upstream(origin), "{request} {status}");
        world.expect_quiet();
    }
}

#[test]
fn a_dead_pooled_connection_costs_an_idempotent_request_nothing() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let stale = world.accept();
    world.reply(stale, OK);
    world.send(client, GET);
    world.expect_upstream(stale, [GET_UPSTREAM, GET_UPSTREAM].concat());
    world.finish_upstream(stale);
    let fresh = world.accept();
    world.expect_upstream(fresh, GET_UPSTREAM);
    world.reply(fresh, OK);
    world.expect(client, [OK, OK].concat());
    world.send(client, GET);
    world.finish_upstream(fresh);
    let third = world.accept();
    world.finish_upstream(third);
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn a_post_is_never_sent_twice() {
    let post = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi";
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let stale = world.accept();
    world.reply(stale, OK);
    world.received(client);
    world.send(client, post);
    world.finish_upstream(stale);
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet();

    // No byte of it was written: the first write met the dead connection.
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let stale = world.accept();
    world.reply(stale, OK);
    world.received(client);
    world.stall_upstream(stale, true);
    world.send(client, post);
    world.fail_upstream(stale, Fault::Reset);
    let fresh = world.accept();
    assert!(
        world
            .received_upstream(fresh)
            .ends_with("Content-Length: 2\r\n\r\nhi")
    );
    world.reply(fresh, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn an_answer_that_began_is_never_replayed() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let stale = world.accept();
    world.reply(stale, OK);
    world.received(client);
    world.send(client, GET);
    world.reply(stale, "H");
    world.finish_upstream(stale);
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn a_write_that_fails_does_not_lose_the_answer_before_it() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 100000\r\n\r\nstart",
    );
    let origin = world.accept();
    world.fail_upstream(origin, Fault::SendFailed);
    world.reply(
        origin,
        "HTTP/1.1 403 Forbidden\r\nDate: x\r\nContent-Length: 2\r\n\r\nno",
    );
    let text = world.expect_status(client, 403);
    assert!(text.ends_with("\r\n\r\nno") && text.contains("Connection: close"));
    world.expect_closing(client);
    world.expect_quiet();
}

#[test]
fn unsolicited_bytes_close_an_idle_connection() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    assert!(world.closed_upstream(origin));
    world.expect(client, OK);
    world.send(client, GET);
    let fresh = world.accept();
    world.reply(fresh, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn bytes_behind_an_answer_are_no_answer() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(
        origin,
        [OK, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"].concat(),
    );
    world.expect(client, OK);
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn an_upstream_that_wants_to_close_is_not_pooled() {
    for reply in [
        "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, reply);
        let text = world.received(client);
        assert!(
            text.contains("hi") && !text.contains("Connection: close"),
            "{text}"
        );
        assert!(world.closed_upstream(origin), "{reply}");
        world.expect_open(client);
        world.expect_quiet();
    }
}

#[test]
fn fields_keep_their_order_case_and_number() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nX-A: 1\r\nHost: gate\r\nx-a:2\r\nConnection: keep-alive, X-Gone\r\nX-A:\t3 \r\nX-Gone: y\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nProxy-Connection: z\r\nX_Under: w\r\nCookie: a=b\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nVia: 1.0 before\r\n\r\n",
    );
    let origin = world.accept();
    world.expect_upstream(
        origin,
        "GET /auth HTTP/1.1\r\nHost: 10.0.0.1\r\nX-A: 1\r\nx-a:2\r\nX-A:\t3 \r\nCookie: a=b\r\nVia: 1.0 before\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\nVia: 1.1 tollgate\r\n\r\n",
    );
    world.reply(
        origin,
        "HTTP/1.1 200 Fine, thanks\r\nSet-Cookie: a=1\r\nX-Powered-By: php\r\nset-cookie: b=2\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 3\r\n\
         Trailer: z\r\nSet-Cookie: c=3\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect(
        client,
        "HTTP/1.1 200 Fine, thanks\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nSet-Cookie: c=3\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_quiet();
}

#[test]
fn a_date_is_added_where_there_is_none() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    world.expect(
        client,
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_quiet();
}

// --- reuse of connections ---

/// Sends an answer with these lines. Returns what the client receives.
fn answer_with(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: x\r\n{lines}Content-Length: 2\r\n\r\nhi")
}

#[test]
fn keep_alive_shortens_the_time_in_the_pool() {
    // The pool keeps a connection for 30 s. A timer may be 64 ms late.
    for (lines, millis) in [
        ("", 30_000),
        ("Keep-Alive: timeout=5\r\n", 4_000),
        ("Keep-Alive: timeout=2, max=100\r\n", 1_000),
        ("Keep-Alive: max=9\r\nKeep-Alive: timeout=3\r\n", 2_000),
        ("Keep-Alive: timeout=3600\r\n", 30_000),
        ("Keep-Alive: timeout=99999999999999999999999\r\n", 30_000),
        ("Keep-Alive: timeout=1\r\n", 0),
        ("Keep-Alive: timeout=0\r\n", 0),
        ("Keep-Alive: timeout=+9\r\n", 0),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, answer_with(lines));
        world.expect(client, answer_with(""));
        if millis > 0 {
            world.wait(millis - 100);
            assert!(!world.closed_upstream(origin), "{lines:?}");
            world.wait(100 + 64);
        }
        assert!(world.closed_upstream(origin), "{lines:?}");
        world.expect_quiet();
    }
}

/// A keep-alive announcement holds for the connection until the next one.
#[test]
fn keep_alive_holds_until_the_next_announcement() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    for (lines, millis) in [
        ("Keep-Alive: timeout=5\r\n", 3_900),
        ("", 3_900),
        ("Keep-Alive: timeout=9\r\n", 7_900),
    ] {
        world.reply(origin, answer_with(lines));
        world.expect(client, answer_with(""));
        world.wait(millis);
        assert!(!world.closed_upstream(origin), "{lines:?}");
        world.send(client, GET);
        world.expect_no_dial();
    }
    world.expect_quiet();
}

#[test]
fn content_without_a_meaning_ends_its_connection() {
    for method in [
        "GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "QUERY",
    ] {
        for (framing, body) in [
            ("", ""),
            ("Content-Length: 0\r\n", ""),
            ("Content-Length: 2\r\n", "hi"),
            ("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
        ] {
            let mut world = World::plain();
            let client = world.connect();
            world.send(
                client,
                format!("{method} /auth HTTP/1.1\r\nHost: gate\r\n{framing}\r\n{body}"),
            );
            if world.dials.is_empty() {
                continue;
            }
            let origin = world.accept();
            world.reply(
                origin,
                if method == "HEAD" {
                    "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"
                } else {
                    OK
                },
            );
            world.expect_status(client, 200);
            let odd = !body.is_empty() && !["POST", "PUT", "PATCH", "QUERY"].contains(&method);
            assert_eq!(world.closed_upstream(origin), odd, "{method} {framing:?}");
            world.expect_open(client);
            world.expect_quiet();
        }
    }
}

/// The POST may use a pooled connection; the next request gets another one.
#[test]
fn content_without_a_meaning_on_a_pooled_connection() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi",
    );
    world.expect_no_dial();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.send(client, GET);
    let next = world.accept();
    // The upstream has read the content as a request.
    world.reply(
        origin,
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    );
    world.reply(next, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

const NTLM: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: NTLM TlRMTVNTUAAD\r\n\r\n";
const CHALLENGE: &str = "HTTP/1.1 401 Unauthorized\r\nDate: x\r\nWWW-Authenticate: Basic realm=\"x\", NTLM\r\nContent-Length: 0\r\n\r\n";

/// Ann's connection is authenticated by a field of her request, or by a challenge of the upstream.
/// No other client gets it.
#[test]
fn an_authenticated_connection_serves_one_client() {
    let by_request = (NTLM, OK);
    let by_answer = (GET, CHALLENGE);
    let proxy = CHALLENGE
        .replace("401 Unauthorized", "407 P")
        .replace("WWW-Auth", "Proxy-Auth");
    for (request, answer) in [by_request, by_answer, (GET, &proxy)] {
        for pooled in [false, true] {
            let mut world = World::plain();
            let (ann, bob) = (world.connect(), world.connect());
            if pooled {
                world.send(bob, GET);
                let origin = world.accept();
                world.reply(origin, OK);
                world.expect(bob, OK);
            }
            world.send(ann, request);
            let anns = if pooled { Origin(0) } else { world.accept() };
            world.take_upstream(anns);
            world.reply(anns, answer);
            world.take(ann);
            // Bob gets another connection, which returns to the pool. Ann's connection stays hers.
            world.send(bob, GET);
            let other = world.accept();
            world.reply(other, OK);
            world.expect(bob, OK);
            for request in [NTLM, GET] {
                world.send(ann, request);
                world.expect_no_dial();
                assert!(!world.take_upstream(anns).is_empty());
                world.reply(anns, OK);
                world.expect(ann, OK);
            }
            world.wait(60_000);
            assert!(!world.closed_upstream(anns), "it stays as long as Ann does");
            assert!(world.closed_upstream(other));
            world.finish(ann);
            assert!(world.closed_upstream(anns), "and no longer");
            world.expect_quiet();
        }
    }
}

#[test]
fn other_answers_do_not_make_a_connection_private() {
    for (request, answer) in [
        (GET, CHALLENGE.replace(", NTLM", "")),
        (GET, CHALLENGE.replace("401 Unauthorized", "200 OK")),
        (
            "GET /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer NTLM\r\n\r\n",
            OK.to_owned(),
        ),
    ] {
        let mut world = World::plain();
        let (ann, bob) = (world.connect(), world.connect());
        world.send(ann, request);
        let origin = world.accept();
        world.reply(origin, &answer);
        world.take(ann);
        world.send(bob, GET);
        world.expect_no_dial();
        world.reply(origin, OK);
        world.expect(bob, OK);
        world.expect_quiet();
    }
}

/// After every end of a private connection Ann's next request gets a new one. It is private, too,
/// if she authenticates it.
#[test]
fn a_private_connection_that_ends_is_replaced() {
    for scene in [
        "fin",
        "reset",
        "unasked bytes",
        "keep-alive",
        "dies under the request",
        "shed",
        "stop",
    ] {
        let mut world = World::plain();
        let (ann, bob) = (world.connect(), world.connect());
        world.send(ann, NTLM);
        let first = world.accept();
        world.reply(
            first,
            answer_with(if scene == "keep-alive" {
                "Keep-Alive: timeout=5\r\n"
            } else {
                ""
            }),
        );
        world.expect(ann, answer_with(""));
        match scene {
            "fin" => world.finish_upstream(first),
            "reset" => world.fail_upstream(first, Fault::Reset),
            "unasked bytes" => world.reply(first, "HTTP/1.1 408 Oh\r\n\r\n"),
            "keep-alive" => world.wait(4_064),
            "shed" => {
                assert!(world.proxy.handle_exhausted() && world.proxy.holdings().upstreams == 0)
            }
            "stop" => {
                world.shut_down();
                assert_eq!(world.proxy.holdings().upstreams, 0);
                continue;
            }
            _ => {}
        }
        world.send(ann, NTLM);
        if scene == "dies under the request" {
            world.expect_no_dial();
            world.finish_upstream(first);
        }
        let second = world.accept();
        world.reply(second, OK);
        world.expect(ann, OK);
        world.send(bob, GET);
        let bobs = world.accept();
        world.reply(bobs, OK);
        world.expect(bob, OK);
        world.expect_quiet();
    }
}

/// Private connections count as upstream connections. An idle one is closed if a connection is
/// needed.
#[test]
fn private_connections_make_room() {
    let mut world =
        World::with(&PLAIN.replace("\"cors\"", "\"limits\": { \"connections\": 2 }, \"cors\""));
    let (ann, bob) = (world.connect(), world.connect());
    world.send(ann, NTLM);
    let anns = world.accept();
    world.reply(anns, OK);
    world.send(bob, NTLM);
    let bobs = world.accept();
    world.reply(bobs, OK);
    world.finish(bob);
    assert!(world.closed_upstream(bobs) && !world.closed_upstream(anns));
    for _ in 0..3 {
        let other = world.connect();
        world.send(other, NTLM);
        let origin = world.accept();
        world.reply(origin, OK);
        world.finish(other);
        assert!(world.proxy.holdings().upstreams <= 2);
    }
    world.expect_quiet();
}
