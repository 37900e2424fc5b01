//! Deadlines, in virtual time: a 15 s timeout takes no time to test.

use super::script::*;

/// Length of a wheel slot, the largest delay of a deadline.
const SLOT: u64 = 64;

#[test]
fn a_silent_upstream_is_a_504_after_15_seconds() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.wait(14_999);
    world.expect_silence(client);
    world.wait(1 + SLOT);
    let text = world.expect_status(client, 504);
    assert!(
        text.ends_with(
            "{\"code\":504,\"status\":\"Error\",\"message\":\"Gateway timeout.\",\"data\":null}"
        ),
        "{text}"
    );
    assert!(world.closed_upstream(origin));
    world.expect_open(client);
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    assert!(world.log()[0].contains(" 504 70 "));
    world.expect_quiet();
}

#[test]
fn part_of_a_head_is_still_silence() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.wait(14_000);
    world.reply(origin, "HTTP/1.1 200 OK\r\nX: y\r\n");
    world.wait(1_000 + SLOT);
    world.expect_status(client, 504);
    world.expect_quiet();
}

#[test]
fn connecting_for_more_than_5_seconds_is_a_504() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(world.dials.len(), 1);
    world.wait(4_999);
    world.expect_silence(client);
    world.wait(1 + SLOT);
    world.expect_status(client, 504);
    world.expect_quiet();
}

#[test]
fn upload_progress_keeps_the_deadline_away_and_its_stall_does_not() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 200000\r\n\r\n",
    );
    let origin = world.accept();
    for _ in 0..5 {
        world.wait(10_000);
        world.send(client, [b'x'; 20_000]);
    }
    world.expect_silence(client);
    world.wait(15_000 + SLOT);
    let text = world.expect_status(client, 504);
    assert!(text.contains("Connection: close\r\n"));
    world.expect_closing(client);
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn a_head_that_does_not_come_is_a_408_and_an_idle_connection_just_closes() {
    let mut world = World::plain();
    let slow = world.connect();
    world.send(slow, "GET /auth HTTP/1.1\r\n");
    for _ in 0..14 {
        world.wait(1_000);
        world.send(slow, "X: y\r\n");
    }
    world.wait(1_000 + SLOT);
    let text = world.expect_status(slow, 408);
    assert!(text.ends_with("\"message\":\"Request timeout.\",\"data\":null}"));
    world.expect_closing(slow);
    assert!(world.log()[0].contains("\"GET /auth HTTP/1.1\" 408 "));

    let silent = world.connect();
    world.wait(15_000 + SLOT);
    world.expect_silence(silent);
    assert_eq!(world.closed(silent), Some(Closed::Clean));

    let kept = world.connect();
    world.send(kept, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(kept, 404);
    world.wait(74_000);
    world.expect_open(kept);
    world.wait(1_000 + SLOT);
    world.expect_silence(kept);
    assert_eq!(world.closed(kept), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn a_body_that_stalls_is_cut_after_the_idle_time() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 10\r\n\r\n",
    );
    for _ in 0..5 {
        world.wait(59_000);
        world.reply(origin, "x");
    }
    world.wait(60_000 + SLOT);
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn a_client_that_does_not_read_is_cut_after_the_idle_time() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.stall(client, true);
    world.reply(origin, OK);
    world.wait(60_000 + SLOT);
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    world.expect_quiet();
}

/// The timeout blames the peer that the bytes wait for, even if the other peer is silent, too.
#[test]
fn the_log_names_the_peer_that_was_too_slow() {
    const HALF: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhalf";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let answer = |world: &mut World, client, stalled| {
        let origin = world.accept();
        world.stall(client, stalled);
        world.reply(origin, ANSWER);
        origin
    };
    for (scene, request, end) in [
        ("no answer", GET, "upstream_timeout"),
        ("half a request", HALF, "client_timeout"),
        ("a request that is not read", HALF, "upstream_timeout"),
        ("a connection that is not made", HALF, "upstream_timeout"),
        ("half an answer", GET, "upstream_timeout"),
        ("an answer that is not read", GET, "client_timeout"),
    ] {
        let mut world = World::streaming(&PLAIN.replacen('{', "{ \"accessLog\": \"json\",", 1));
        let client = world.connect();
        world.send(client, request);
        let _origin = match scene {
            "a connection that is not made" => None,
            "a request that is not read" => Some(world.accept_stalled()),
            "half an answer" => Some(answer(&mut world, client, false)),
            "an answer that is not read" => Some(answer(&mut world, client, true)),
            _ => Some(world.accept()),
        };
        world.wait(60_000 + SLOT);
        let log = world.log();
        assert!(
            log.len() == 1 && log[0].contains(&format!("\"end\":\"{end}\",\"reason\":\"")),
            "{scene}: {log:?}"
        );
        world.expect_quiet();
    }
}

#[test]
fn pooled_connections_are_closed_after_their_time() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    world.wait(29_000);
    assert!(!world.closed_upstream(origin));
    world.wait(1_000 + SLOT);
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn timeouts_can_be_set_and_turned_off() {
    let config = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1", "timeouts": { "response": "1s" } },
        { "route": "/slow", "target": "http://10.0.0.1", "timeouts": { "response": false } } ], "rateLimit": false, "timeouts": { "response": "2s" } }"#;
    let mut world = World::with(config);
    let (quick, slow) = (world.connect(), world.connect());
    world.send(quick, GET);
    world.send(slow, "GET /slow HTTP/1.1\r\nHost: gate\r\n\r\n");
    let (_, origin) = (world.accept(), world.accept());
    world.wait(1_000 + SLOT);
    world.expect_status(quick, 504);
    world.wait(3_600_000);
    world.expect_silence(slow);
    world.reply(origin, OK);
    world.expect_status(slow, 200);
    world.expect_quiet();
}

#[test]
fn a_lingering_close_ends_by_itself() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, "bad\r\n\r\n");
    world.expect_status(client, 400);
    assert_eq!(world.closed(client), None);
    world.wait(2_000 + SLOT);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    let chatty = world.connect();
    world.send(chatty, "bad\r\n\r\n");
    for _ in 0..31 {
        world.wait(1_000);
        world.send(chatty, "x");
    }
    assert_eq!(
        world.closed(chatty),
        Some(Closed::Clean),
        "not even for a client that never stops"
    );
    world.expect_quiet();
}
