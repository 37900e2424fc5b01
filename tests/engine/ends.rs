//! Clients that leave, upstreams that fail, names that do not resolve, and the shutdown of the
//! gateway.

use tollgate::proxy::command::{Fault, Report};

use super::script::*;

#[test]
fn a_client_that_leaves_cancels_its_request() {
    for leave in [World::finish, World::reset] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        leave(&mut world, client);
        assert!(world.closed_upstream(origin));
        assert_eq!(
            world.log(),
            ["192.0.2.1 - - [24/Nov/2026:12:00:00 +0000] \"GET /auth HTTP/1.1\" - - \"-\" \"-\""]
        );
        world.expect_quiet();
    }
}

/// In these situations nothing is read from the client, although bytes may be there.
#[test]
fn a_reset_cancels_a_request_although_its_client_is_not_read() {
    const POST: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 200000\r\n\r\n";
    let half_close = PLAIN.replacen('{', "{ \"halfClose\": true,", 1);
    for config in [PLAIN, &half_close] {
        for (scene, request) in [
            ("awaited", GET),
            ("upload", POST),
            ("answered", GET),
            ("early answer", POST),
        ] {
            let mut world = World::with(config);
            let client = world.connect();
            world.send(client, request);
            let origin = world.accept_stalled();
            world.send(client, vec![b'x'; 150_000]);
            if scene.contains("answer") {
                world.stall(client, true);
                world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n");
                world.reply(origin, vec![b'y'; 300_000]);
            }
            world.reset_unread(client);
            assert!(world.closed_upstream(origin), "{scene}");
            assert_eq!(world.closed(client), Some(Closed::Aborted), "{scene}");
            assert_eq!(world.log().len(), 1, "{scene}");
            world.expect_quiet();
        }
    }
}

/// A complete answer in front of a reset is valid.
#[test]
fn a_reset_behind_an_answer_that_is_not_read_does_not_cut_it() {
    for (length, whole) in [(300_000, true), (300_001, false)] {
        let mut world = World::plain();
        let client = world.connect();
        world.stall(client, true);
        world.send(client, GET);
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        );
        world.reply(origin, vec![b'y'; 300_000]);
        world.reset_upstream_unread(origin);
        assert!(world.closed(client).is_none() && world.unread_upstream(origin) > 0);
        world.stall(client, false);
        if whole {
            assert!(
                world.closed_upstream(origin),
                "it is of no use to the next request"
            );
            world.expect_open(client);
        } else {
            world.fail_upstream(origin, Fault::Reset);
            assert_eq!(world.closed(client), Some(Closed::Aborted));
        }
        assert!(world.take(client).len() > 300_000);
        world.expect_quiet();
    }
}

/// An HTTP/1.0 client that has ended its direction would take a clean end for the end of the body.
#[test]
fn a_client_that_ends_in_the_middle_of_an_answer_gets_no_clean_end() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, "GET /auth HTTP/1.0\r\nHost: gate\r\n\r\n");
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    assert!(world.received(client).ends_with("\r\n\r\nhello"));
    world.finish(client);
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    world.expect_quiet();
}

#[test]
fn with_half_close_a_finished_client_still_gets_its_answer() {
    let mut world = World::with(&PLAIN.replacen('{', "{ \"halfClose\": true,", 1));
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.finish(client);
    assert!(!world.closed_upstream(origin));
    world.reply(origin, OK);
    world.expect(client, OK);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn half_a_request_and_an_end_reach_no_false_end_upstream() {
    // With `halfClose`, too, the end of the stream does not end an incomplete body.
    for config in [PLAIN, &PLAIN.replacen('{', "{ \"halfClose\": true,", 1)] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(
            client,
            "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        );
        let origin = world.accept();
        world.finish(client);
        assert!(world.closed_upstream(origin));
        assert!(world.received_upstream(origin).ends_with("3\r\nabc\r\n"));
        world.expect_quiet();
    }
}

#[test]
fn faults_before_the_head_are_a_502() {
    for fault in [Fault::Refused, Fault::Tls] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        world.refuse(fault);
        let text = world.expect_status(client, 502);
        assert!(text.ends_with(
            "{\"code\":502,\"status\":\"Error\",\"message\":\"Bad gateway.\",\"data\":null}"
        ));
        world.expect_open(client);
        world.expect_quiet();
    }
    for reply in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "<html>",
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, reply);
        world.finish_upstream(origin);
        world.expect_status(client, 502);
        assert!(world.closed_upstream(origin), "{reply}");
        world.expect_quiet();
    }
}

#[test]
fn a_502_names_no_reason_to_the_client() {
    let mut world = World::with(&PLAIN.replacen('{', "{ \"accessLog\": \"json\",", 1));
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Refused);
    let text = world.expect_status(client, 502);
    assert!(
        !text.contains("10.0.0.1") && !text.contains("refused"),
        "{text}"
    );
    let log = world.log();
    assert!(
        log[0].contains("\"status\":502") && log[0].contains("\"end\":\"upstream_refused\","),
        "{}",
        log[0]
    );
}

#[test]
fn without_descriptors_it_is_a_503() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Exhausted);
    world.expect_status(client, 503);
    assert!(
        world.reports.contains(&Report::Exhausted),
        "the operator hears of it: {:?}",
        world.reports
    );
    world.expect_quiet();
}

#[test]
fn an_idle_connection_gives_its_descriptor_to_a_new_one() {
    let config = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1" }, { "route": "/b", "target": "http://10.0.0.2" } ],
        "rateLimit": false, "cors": false, "securityHeaders": false }"#;
    let mut world = World::with(config);
    let client = world.connect();
    world.send(client, GET);
    let idle = world.accept();
    world.reply(idle, OK);
    world.expect(client, OK);
    world.send(client, "GET /b HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.refuse(Fault::Exhausted);
    assert!(world.closed_upstream(idle));
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet();
}

const NAMED: &str = r#"{ "services": [ { "route": "/auth", "target": "http://name.test/auth" } ], "rateLimit": false, "cors": false, "securityHeaders": false }"#;

#[test]
fn a_request_waits_for_the_first_lookup() {
    let mut world = World::with(NAMED);
    assert_eq!(world.lookups, [0]);
    let client = world.connect();
    world.send(client, GET);
    world.expect_no_dial();
    let addresses = [
        "10.0.0.1:80".parse().expect("an address"),
        "10.0.0.2:80".parse().expect("an address"),
    ];
    world.resolve(0, &addresses);
    assert_eq!(world.refuse(Fault::Refused), addresses[0]);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    let other = world.connect();
    world.send(client, GET);
    world.send(other, GET);
    assert_eq!(
        world.refuse(Fault::Refused),
        addresses[0],
        "each address has its turn"
    );
    // The turn of the first client is at the second address, where a connection is kept.
    assert_eq!(world.refuse(Fault::Refused), addresses[1]);
    world.expect_status(other, 502);
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet_but_lookups();
}

#[test]
fn a_name_that_does_not_resolve_is_a_502_and_is_looked_up_again() {
    let mut world = World::with(NAMED);
    let client = world.connect();
    world.send(client, GET);
    world.resolve(0, &[]);
    world.expect_status(client, 502);
    world.send(client, GET);
    world.expect_status(client, 502);
    world.wait(30_100);
    assert_eq!(world.lookups, [0, 0]);
    world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.wait(30_100);
    world.resolve(0, &[]);
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet_but_lookups();
}

#[test]
fn a_lookup_that_takes_too_long_is_a_504() {
    let mut world = World::with(NAMED);
    let client = world.connect();
    world.send(client, GET);
    world.wait(5_100);
    world.expect_status(client, 504);
    world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
    world.expect_no_dial();
    world.expect_quiet_but_lookups();
}

#[test]
fn a_client_that_gave_up_waiting_and_asked_again_is_connected_once() {
    let mut world = World::with(NAMED);
    let client = world.connect();
    world.send(client, GET);
    world.wait(5_100);
    world.expect_status(client, 504);
    world.send(client, GET);
    world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
    assert_eq!(world.dials.len(), 1);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    world.expect_quiet_but_lookups();
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    let mut world = World::plain();
    let (busy, idle, begun) = (world.connect(), world.connect(), world.connect());
    world.send(idle, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(idle, 404);
    world.send(busy, GET);
    world.send(begun, "GET /auth HT");
    let origin = world.accept();
    world.shut_down();
    assert_eq!(world.closed(idle), Some(Closed::Clean));
    world.expect_open(busy);
    world.reply(origin, OK);
    let text = world.expect_status(busy, 200);
    assert!(text.contains("Connection: close\r\n") && text.ends_with("hi"));
    world.expect_closing(busy);
    assert!(world.closed_upstream(origin), "nothing is pooled any more");
    world.send(begun, "TP/1.1\r\nHost: gate\r\n\r\n");
    let origin = world.accept();
    world.reply(origin, OK);
    assert!(
        world
            .expect_status(begun, 200)
            .contains("Connection: close\r\n")
    );
    world.expect_quiet();
}

#[test]
fn requests_that_outlive_the_grace_time_are_cut_and_logged() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.shut_down();
    world.abort();
    assert!(world.closed_upstream(origin));
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    assert_eq!(world.log().len(), 1);
    world.expect_quiet();
}
