//! Upgrades: only HTTP before the 101, and no HTTP after it.

use tollgate::proxy::command::Fault;
use tollgate::proxy::retire;

use super::script::*;

const HANDSHAKE: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

fn open(world: &mut World) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, HANDSHAKE);
    let origin = world.accept();
    world.received_upstream(origin);
    world.reply(origin, SWITCH);
    world.received(client);
    (client, origin)
}

#[test]
fn bytes_pass_both_ways_after_the_101() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, [HANDSHAKE, "early frame"].concat());
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "no frame before the 101: {seen}"
    );
    assert!(seen.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
    world.reply(origin, [SWITCH, "first"].concat());
    world.expect(
        client,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
    );
    world.expect_upstream(origin, "early frame");
    world.send(client, "GET /auth HTTP/1.1\r\n\r\n");
    world.expect_upstream(origin, "GET /auth HTTP/1.1\r\n\r\n");
    world.wait(3_000_000);
    world.reply(origin, "still here");
    world.expect(client, "still here");
    world.finish(client);
    assert!(world.shut_upstream(origin), "the end is passed on");
    world.reply(origin, "last words");
    world.expect(client, "last words");
    world.finish_upstream(origin);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    assert!(world.log()[0].contains("\" 101 25 "));
    world.expect_quiet();
}

/// The old process of an upgrade waits for what has deadlines of its own.
#[test]
fn the_grace_time_of_an_upgrade_ends_tunnels_and_idle_clients() {
    let mut world = World::plain();
    let (idle, begun, busy) = (world.connect(), world.connect(), world.connect());
    world.send(idle, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(idle, 404);
    let (tunnel, tunnel_origin) = open(&mut world);
    world.send(begun, "GET /auth HT");
    world.send(busy, GET);
    let origin = world.accept();
    world.received_upstream(origin);
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    let head = world.received(busy);
    assert!(!head.contains("Connection: close"), "{head}");
    retire(&mut world.proxy);
    for client in [idle, begun, busy, tunnel] {
        world.expect_open(client);
    }
    assert_eq!(world.end_others(), 1);
    assert_eq!(world.closed(idle), Some(Closed::Clean));
    assert_eq!(world.closed(tunnel), Some(Closed::Aborted));
    assert!(world.closed_upstream(tunnel_origin));
    let log = world.log();
    assert!(log.last().expect("a line").contains("\" 101 "), "{log:?}");
    world.reply(origin, "cd");
    world.expect(busy, "cd");
    world.expect_closing(busy);
    world.send(begun, "TP/1.1\r\nHost: gate\r\n\r\n");
    let origin = world.accept();
    world.reply(origin, OK);
    let last = world.expect_status(begun, 200);
    assert!(last.contains("Connection: close\r\n"), "{last}");
    world.expect_closing(begun);
    world.expect_quiet();
}

/// Envoy and Mojolicious send this field with each GET. A length of 0 is no content (RFC 9110 8.6).
#[test]
fn a_length_of_0_does_not_prevent_an_upgrade() {
    let mut world = World::plain();
    let client = world.connect();
    let handshake = HANDSHAKE.replacen("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1);
    world.send(client, [&handshake, "early frame"].concat());
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        "no frame before the 101: {seen}"
    );
    assert!(
        !seen.contains("Content-Length") && !seen.contains("Transfer-Encoding"),
        "{seen}"
    );
    world.reply(
        origin,
        SWITCH.replacen("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1),
    );
    assert!(
        world
            .expect_status(client, 101)
            .ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    );
    world.expect_upstream(origin, "early frame");
    world.reply(origin, "frame");
    world.expect(client, "frame");
    world.finish(client);
    world.finish_upstream(origin);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn a_megabyte_each_way_through_small_reads() {
    let mut world = World::plain();
    world.step = 3_000;
    let (client, origin) = open(&mut world);
    let up: Vec<u8> = (0..1_000_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    let down: Vec<u8> = (0..1_000_000_u32).map(|n| b'a' + (n % 19) as u8).collect();
    world.send(client, &up);
    world.finish(client);
    world.reply(origin, &down);
    world.finish_upstream(origin);
    world.expect_upstream(origin, &up);
    world.expect(client, &down);
    assert_eq!(world.closed(client), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn an_upgrade_that_is_refused_is_an_answer_and_ends_the_connection() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(client, [HANDSHAKE, GET].concat());
    let origin = world.accept();
    world.received_upstream(origin);
    world.reply(origin, OK);
    let text = world.expect_status(client, 200);
    assert!(
        text.contains("Connection: close\r\n"),
        "what follows might be frames: {text}"
    );
    world.expect_closing(client);
    world.expect_upstream(origin, "");
    world.expect_quiet();
}

#[test]
fn only_the_switch_that_was_asked_for() {
    for reply in [
        SWITCH.replace("websocket", "h2c"),
        SWITCH.replace("Upgrade: websocket\r\n", ""),
        SWITCH.replace("Connection: Upgrade\r\n", ""),
        SWITCH.replace("Upgrade: websocket", "Upgrade: websocket, h2c"),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, HANDSHAKE);
        let origin = world.accept();
        world.reply(origin, &reply);
        world.expect_status(client, 502);
        assert!(world.closed_upstream(origin), "{reply}");
        world.expect_quiet();
    }
}

#[test]
fn other_upgrades_are_plain_requests() {
    for (from, to) in [
        ("websocket", "h2c"),
        ("GET", "POST"),
        ("Version: 13", "Version: 8"),
        ("Upgrade\r\n", "close\r\n"),
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, HANDSHAKE.replacen(from, to, 1));
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(
            !seen.contains("Upgrade") && !seen.contains("Connection"),
            "{seen}"
        );
        world.reply(origin, SWITCH);
        world.expect_status(client, 502);
        world.expect_quiet();
    }
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    let mut world = World::plain();
    let (client, origin) = open(&mut world);
    world.wait(3_600_000 + 64);
    assert!(world.closed(client).is_some() && world.closed_upstream(origin));
    world.expect_quiet();
}

#[test]
fn a_tunnel_that_breaks_breaks_on_both_sides() {
    let mut world = World::plain();
    let (client, origin) = open(&mut world);
    world.reset(client);
    assert!(world.closed_upstream(origin));
    world.expect_quiet();
}

/// Neither side reads, so the engine reads from neither.
#[test]
fn a_reset_ends_a_stalled_tunnel() {
    const FULL: usize = 300_000;
    let mut world = World::plain();
    let (client, origin) = open(&mut world);
    world.stall_upstream(origin, true);
    world.send(client, vec![b'x'; FULL]);
    world.reset_unread(client);
    assert!(world.closed_upstream(origin));
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    world.expect_quiet();

    // Earlier bytes of the upstream are forwarded to the client, as long as the client reads.
    for takes in [true, false] {
        let mut world = World::plain();
        let (client, origin) = open(&mut world);
        world.stall(client, true);
        world.reply(origin, vec![b'y'; FULL]);
        world.send(client, "discarded.");
        world.reset_upstream_unread(origin);
        assert!(world.closed(client).is_none());
        world.stall(client, !takes);
        if takes {
            assert_eq!(world.take(client).len(), FULL);
            world.fail_upstream(origin, Fault::Reset);
        } else {
            world.wait(60_000 + 64);
        }
        assert_eq!(world.closed(client), Some(Closed::Aborted), "takes {takes}");
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
    }
}

/// Events of a tunnel, one after the other, and its word in the log. FIN and close_notify are the same event. TLS that
/// ends without close_notify is an end of a client (RFC 9112 9.8), and none of an upstream.
#[test]
fn each_end_of_a_tunnel_has_one_word() {
    let config = PLAIN.replacen('{', "{ \"accessLog\": \"json\",", 1);
    for (events, expected) in [
        ("upstream ends, client ends", "ok"),
        ("upstream ends, client truncates", "ok"),
        // The client has all of it. It may be gone by the time the end comes.
        ("upstream ends, client resets", "ok"),
        ("client ends, upstream ends", "ok"),
        ("client truncates, upstream ends", "ok"),
        ("client resets", "client_closed"),
        // Bytes wait for the client.
        (
            "client stalls, upstream sends, upstream ends, client resets",
            "client_closed",
        ),
        ("upstream truncates", "upstream_closed"),
        ("upstream resets", "upstream_closed"),
        ("client ends, upstream truncates", "upstream_closed"),
        ("client truncates, upstream resets", "upstream_closed"),
    ] {
        let mut world = World::with(&config);
        let (client, origin) = open(&mut world);
        for event in events.split(", ") {
            match event {
                "client ends" => world.finish(client),
                "client truncates" => {
                    world.send(client, "frame");
                    world.fail(client, Fault::Truncated);
                    world.expect_upstream(origin, "frame");
                    assert!(
                        world.shut_upstream(origin) || world.closed_upstream(origin),
                        "{events}: the end is passed on"
                    );
                }
                "client resets" => world.reset(client),
                "client stalls" => world.stall(client, true),
                "upstream sends" => world.reply(origin, "frame"),
                "upstream ends" => world.finish_upstream(origin),
                "upstream truncates" => world.fail_upstream(origin, Fault::Truncated),
                "upstream resets" => world.fail_upstream(origin, Fault::Reset),
                other => panic!("{other}"),
            }
        }
        let closed = world.closed(client).expect("closed");
        assert_eq!(
            closed == Closed::Clean,
            expected == "ok" && !events.contains("client resets"),
            "{events}"
        );
        assert!(world.closed_upstream(origin), "{events}");
        let line = world.log().pop().expect("a line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["end"], expected, "{events}");
        world.expect_quiet();
    }
}
