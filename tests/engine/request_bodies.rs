//! Slow request bodies: small ones are read completely first, longer ones have a minimum rate, and
//! `timeouts.body` holds for all.

use tollgate::proxy::command::Fault;

use super::script::*;

const SLOT: u64 = 64;

fn post(length: usize, came: &str) -> String {
    format!("POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n\r\n{came}")
}

fn with(more: &str) -> World {
    World::with(&PLAIN.replacen('{', &format!("{{ {more}, "), 1))
}

#[test]
fn a_small_body_is_read_whole_before_a_connection_is_made() {
    for length in [1_usize, 2, 100, 5_000, 64 << 10] {
        for piece in [1, 7, 1_000, 40_000]
            .into_iter()
            .filter(|piece| *piece <= length && length / piece <= 5_000)
        {
            let mut world = World::plain();
            let client = world.connect();
            let body = "abcdefghij".repeat(length.div_ceil(10))[..length].to_owned();
            world.send(client, post(length, ""));
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(piece).collect();
            let (last, first) = pieces.split_last().expect("there is a body");
            for piece in first {
                world.send(client, piece);
                world.expect_no_dial();
            }
            // Bytes of the next request do not count for the body.
            world.send(client, [last, GET.as_bytes()].concat());
            let origin = world.accept();
            assert!(
                world
                    .received_upstream(origin)
                    .ends_with(&format!("Content-Length: {length}\r\n\r\n{body}"))
            );
            world.reply(origin, OK);
            world.expect(client, OK);
            world.reply(origin, OK);
            world.expect(client, OK);
            world.expect_quiet();
        }
    }
}

#[test]
fn a_longer_body_and_one_in_chunks_are_passed_on_as_they_come() {
    for request in [
        post((64 << 10) + 1, "first"),
        "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            .to_owned(),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, request);
        let origin = world.accept();
        assert!(world.received_upstream(origin).contains("first"));
        world.finish(client);
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
    }
}

#[test]
fn a_small_body_that_does_not_come_in_time_is_a_408_without_an_upstream() {
    for (more, millis) in [
        ("\"accessLog\": \"json\"", 15_000),
        (
            "\"accessLog\": \"json\", \"timeouts\": { \"head\": \"3s\" }",
            3_000,
        ),
        (
            "\"accessLog\": \"json\", \"timeouts\": { \"body\": \"2s\" }",
            2_000,
        ),
        (
            "\"accessLog\": \"json\", \"timeouts\": { \"head\": false, \"body\": \"20s\" }",
            20_000,
        ),
    ] {
        let mut world = with(more);
        let client = world.connect();
        world.send(client, post(1000, "x"));
        for _ in 0..9 {
            world.wait(millis / 10);
            world.send(client, "x");
        }
        world.expect_silence(client);
        world.wait(millis / 10 + SLOT);
        let text = world.expect_status(client, 408);
        assert!(text.contains("Connection: close\r\n"), "{text}");
        world.expect_closing(client);
        world.expect_no_dial();
        let log = world.log();
        assert!(
            log.len() == 1 && log[0].contains("\"end\":\"client_timeout\""),
            "{more}: {log:?}"
        );
        assert!(log[0].contains("\"bytesIn\":10,"), "{log:?}");
        world.expect_quiet();
    }
}

#[test]
fn a_client_that_leaves_within_a_small_body_is_forgotten() {
    for half_close in [false, true] {
        for scene in ["fin", "fault", "reset", "abort", "stop"] {
            let mut world = with(&format!("\"halfClose\": {half_close}"));
            let client = world.connect();
            world.send(client, post(1000, "x"));
            match scene {
                "fin" => world.finish(client),
                "fault" => world.fail(client, Fault::Reset),
                "reset" => world.reset_unread(client),
                _ => {
                    world.shut_down();
                    if scene == "stop" {
                        world.send(client, "x".repeat(999));
                        let origin = world.accept();
                        world.reply(origin, OK);
                        world.expect_status(client, 200);
                        continue;
                    }
                    world.abort();
                }
            }
            assert!(world.closed(client).is_some(), "{scene}");
            world.expect_no_dial();
            world.expect_quiet();
        }
    }
}

#[test]
fn a_long_body_has_a_least_rate() {
    for (bytes, is_fast) in [(10_000, false), (10_240, true)] {
        let mut world = with("\"timeouts\": { \"response\": \"60s\" }");
        let client = world.connect();
        world.send(client, post(1_000_000, ""));
        let origin = world.accept();
        for _ in 0..3 {
            world.wait(10_000 - SLOT / 2);
            world.send(client, vec![b'x'; bytes]);
        }
        world.wait(SLOT * 3);
        if is_fast {
            world.expect_silence(client);
            // The surplus of one window does not count in the next one.
            world.wait(15_000);
            world.send(client, "x");
            world.wait(15_000 + SLOT);
        }
        let text = world.expect_status(client, 408);
        assert!(text.contains("Connection: close\r\n"), "{text}");
        world.expect_closing(client);
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
    }
}

/// The client cannot send faster than the upstream reads.
#[test]
fn a_slow_upstream_is_not_the_clients_fault() {
    let mut world = with("\"timeouts\": { \"response\": false }");
    let client = world.connect();
    world.send(client, post(1_000_000, ""));
    let origin = world.accept_stalled();
    world.send(client, vec![b'x'; 300_000]);
    for _ in 0..10 {
        world.wait(30_000);
    }
    world.expect_silence(client);
    assert!(!world.closed_upstream(origin));
    world.reset_unread(client);
    world.expect_quiet();
}

#[test]
fn the_time_for_a_body_bounds_one_in_chunks_as_well() {
    for request in [
        "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        post(1_000_000, ""),
    ] {
        let mut world = with("\"timeouts\": { \"body\": \"25s\" }");
        let client = world.connect();
        world.send(client, request);
        let origin = world.accept();
        for _ in 0..2 {
            world.wait(10_000);
            world.send(client, "4\r\nmore\r\n");
        }
        world.expect_silence(client);
        world.wait(5_000 + SLOT);
        world.expect_status(client, 408);
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_is_no_fault_of_the_body() {
    for request in [
        "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        post(1_000_000, ""),
    ] {
        for timeouts in ["{}", "{ \"body\": \"25s\" }"] {
            let mut world = with(&format!("\"timeouts\": {timeouts}"));
            let client = world.connect();
            world.send(client, &request);
            world.wait(5_000 + SLOT);
            world.expect_status(client, 504);
            world.expect_quiet();
        }
    }
}

/// Once the body is complete, `timeouts.body` has no effect.
#[test]
fn a_body_that_came_in_time_has_no_deadline_left() {
    for length in [10, 100_000] {
        let mut world = with("\"timeouts\": { \"body\": \"2s\", \"response\": \"60s\" }");
        let client = world.connect();
        world.send(client, post(length, ""));
        world.wait(1_000);
        world.send(client, vec![b'x'; length]);
        let origin = world.accept();
        world.wait(59_000);
        world.expect_silence(client);
        world.reply(origin, OK);
        world.expect(client, OK);
        world.expect_quiet();
    }
}

/// The body is complete, so the request can be sent to another target although its method is not
/// idempotent.
#[test]
fn a_gathered_body_goes_on_to_another_target() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth"] } ],
             "rateLimit": false, "cors": false, "securityHeaders": false }"#,
    );
    let client = world.connect();
    world.send(client, post(10, "hello"));
    world.send(client, "world");
    world.refuse(Fault::Refused);
    let origin = world.accept();
    assert!(
        world
            .received_upstream(origin)
            .ends_with("\r\n\r\nhelloworld")
    );
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_status(client, 200);
    world.expect_quiet();
}

/// An authenticated connection of the client is used for a request whose body came later,
/// independent of the next address.
#[test]
fn a_gathered_body_goes_to_the_address_that_was_chosen() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://name.test/auth" } ], "rateLimit": false, "cors": false,
             "securityHeaders": false }"#,
    );
    world.resolve(0, &[([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()]);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: NTLM dA==\r\n\r\n",
    );
    let origin = world.accept();
    world.take_upstream(origin);
    world.reply(origin, OK);
    world.expect(client, OK);
    for _ in 0..4 {
        world.send(client, post(2, ""));
        world.send(client, "hi");
        world.expect_no_dial();
        assert!(String::from_utf8_lossy(&world.take_upstream(origin)).ends_with("\r\n\r\nhi"));
        world.reply(origin, OK);
        world.expect(client, OK);
    }
}

/// The client gets its 100 although no connection is made before the body is complete.
#[test]
fn a_small_body_behind_an_expectation_is_asked_for_at_once() {
    const EXPECTING: &str =
        "POST /auth HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n";
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    for comes in [true, false] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, EXPECTING);
        world.expect(client, CONTINUE);
        world.expect_no_dial();
        world.send(client, "hello");
        world.expect_no_dial();
        if !comes {
            world.wait(15_000 + SLOT);
            world.expect_status(client, 408);
            world.expect_closing(client);
            world.expect_no_dial();
            world.expect_quiet();
            continue;
        }
        world.send(client, "world");
        let origin = world.accept();
        let received = world.received_upstream(origin);
        assert!(
            received.ends_with("\r\n\r\nhelloworld") && !received.contains("Expect"),
            "{received}"
        );
        world.reply(origin, OK);
        world.expect(client, OK);
        world.expect_quiet();
    }
}

/// The response has begun, so the slow body gets no answer.
#[test]
fn a_slow_body_behind_an_early_answer_cuts_the_connection() {
    for timeouts in ["{ \"body\": \"25s\" }", "{}"] {
        let mut world = with(&format!("\"timeouts\": {timeouts}"));
        let client = world.connect();
        world.send(client, post(1_000_000, "x"));
        let origin = world.accept();
        world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        let early = world.received(client);
        assert!(
            early.starts_with("HTTP/1.1 200 OK\r\n") && early.ends_with("\r\n\r\nhello"),
            "{early}"
        );
        for _ in 0..4 {
            world.wait(8_000);
            world.send(client, "x");
        }
        world.expect_silence(client);
        assert!(world.closed(client).is_some(), "{timeouts}");
        assert!(world.closed_upstream(origin), "{timeouts}");
        world.expect_quiet();
    }
}

#[test]
fn a_service_has_its_own_time_for_bodies() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth", "timeouts": { "body": "2s" } },
                           { "route": "/slow", "target": "http://10.0.0.2/", "timeouts": { "body": false } } ],
             "timeouts": { "body": "5s", "head": "60s" }, "rateLimit": false, "cors": false, "securityHeaders": false }"#,
    );
    let [own, none] = ["/auth", "/slow"].map(|path| {
        let client = world.connect();
        world.send(client, post(10, "x").replace("/auth", path));
        client
    });
    world.wait(2_000 + SLOT);
    world.expect_status(own, 408);
    world.wait(55_000);
    world.expect_silence(none);
    world.send(none, "123456789");
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(none, 200);
    world.expect_quiet();
}

/// The time for the second body begins with its turn.
#[test]
fn a_small_body_of_a_pipelined_request_has_its_own_time() {
    let mut world = with("\"timeouts\": { \"response\": \"60s\" }");
    let client = world.connect();
    world.send(client, format!("{GET}{}", post(10, "hello")));
    let origin = world.accept();
    world.wait(20_000);
    world.reply(origin, OK);
    world.expect(client, OK);
    world.wait(14_000);
    world.expect_silence(client);
    world.send(client, "world");
    assert!(
        world
            .received_upstream(origin)
            .ends_with("\r\n\r\nhelloworld")
    );
    world.reply(origin, OK);
    world.expect(client, OK);
    world.send(client, post(10, "hello"));
    world.wait(15_000 + SLOT);
    world.expect_status(client, 408);
    world.expect_quiet();
}
