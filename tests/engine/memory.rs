//! Memory of the engine: each bound is reached, and none is exceeded.
//!
//! In all other tests, too, the driver checks the total bound at each step.

use std::net::{IpAddr, Ipv4Addr};

use tollgate::limits::INTERIM_BYTES;
use tollgate::policy::forward::Peer;
use tollgate::proxy::command::{Fault, ListenerKind, Side};
use tollgate::proxy::memory;

use super::script::*;

const TWO: &str = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" }, { "route": "/b", "target": "http://10.0.0.2" } ],
    "rateLimit": false, "cors": false, "securityHeaders": false, "limits": { "connections": 2 } }"#;

fn settings(config: &str) -> tollgate::proxy::settings::Settings {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    tollgate::config::load(config.as_bytes(), "test.json", &|_| None, &read)
        .expect("a configuration")
        .settings
}

#[test]
fn a_connection_stalled_both_ways_stays_within_its_bound() {
    // All at the same time: a head whose rewritten copy is largest, a body that is not read with
    // requests behind it, 1xx heads and a large head of the response, and a body in small chunks.
    let mut world = World::with(TWO);
    let client = world.connect();
    world.stall(client, true);
    let path = "p".repeat(7_000);
    let host = "h".repeat(8_000);
    world.send(
        client,
        format!("POST /auth/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n"),
    );
    let origin = world.accept();
    world.stall_upstream(origin, true);
    world.send(client, vec![b'x'; 66_000]);
    let interim = format!("HTTP/1.1 103 Early\r\nLink: {}\r\n\r\n", "l".repeat(1_900));
    for _ in 0..8 {
        world.reply(origin, &interim);
    }
    world.reply(
        origin,
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            "x".repeat(32_000)
        ),
    );
    world.reply(origin, "1\r\ny\r\n".repeat(40_000));
    world.send(client, vec![b'x'; 100_000]);
    let held = world.proxy.holdings().buffer_bytes;
    let bound = memory::buffers_of_connection(&settings(TWO));
    assert!(held <= bound, "{held} bytes are more than {bound}");
    assert!(
        held > bound / 2,
        "the scene holds {held} bytes, far from the {bound} it is about"
    );
    assert!(world.unread_upstream(origin) > 0, "the stream is stalled");
}

#[test]
fn interim_heads_that_are_not_read_do_not_pile_up() {
    let mut world = World::plain();
    let client = world.connect();
    world.stall(client, true);
    world.send(client, GET);
    let origin = world.accept();
    let interim = format!(
        "HTTP/1.1 103 Early\r\nLink: {}\r\n\r\n",
        "l".repeat(INTERIM_BYTES / 2)
    );
    world.reply(origin, &interim);
    assert!(world.closed(client).is_none() && !world.closed_upstream(origin));
    world.reply(origin, &interim);
    assert!(
        world.closed_upstream(origin),
        "more than {INTERIM_BYTES} bytes of them are malformed"
    );
    world.stall(client, false);
    assert!(world.received(client).contains("HTTP/1.1 502 "));
}

#[test]
fn there_are_no_more_upstream_connections_than_clients() {
    let mut world = World::with(TWO);
    let clients = [world.connect(), world.connect()];
    world.send(clients[0], GET);
    let first = world.accept();
    world.send(clients[1], GET);
    let second = world.accept();
    world.reply(first, OK);
    world.reply(second, OK);
    assert_eq!(world.proxy.holdings().upstreams, 2, "both idle");
    world.send(clients[0], "GET /b HTTP/1.1\r\nHost: gate\r\n\r\n");
    assert_eq!(
        world.proxy.holdings().upstreams,
        2,
        "the other target's idle connection made room"
    );
    world.accept();
    assert!(
        world.closed_upstream(first) != world.closed_upstream(second),
        "one of the idle ones went"
    );
}

#[test]
fn short_connections_leave_a_bounded_number_of_reminders() {
    let mut world = World::with(TWO);
    // All come at the same time, so that no slot of the wheel is due.
    for _ in 0..5_000 {
        let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let id = world
            .proxy
            .handle_accepted(peer, ListenerKind::Plain, world.now)
            .expect("taken");
        world
            .proxy
            .handle_fault(Side::Client(id), Fault::Reset, None, world.now);
        while world.proxy.poll_command().is_some() || world.proxy.poll_ready().is_some() {}
        assert!(world.proxy.check(false).is_ok());
    }
    // The sweep has kept the deadlines.
    let client = world.connect();
    world.send(client, "GET ");
    world.wait(15_000 + 64);
    world.expect_status(client, 408);
}

#[test]
fn clients_that_gave_up_waiting_for_a_name_are_forgotten() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://slow.test/auth" } ], "rateLimit": false, "limits": { "connections": 2 } }"#,
    );
    // The driver checks the bound for twice the connections.
    for _ in 0..100 {
        let client = world.connect();
        world.send(client, GET);
        world.reset(client);
    }
    let client = world.connect();
    world.send(client, GET);
    world.resolve(0, &[([10, 0, 0, 9], 80).into()]);
    let origin = world.accept();
    world.reply(origin, OK);
    assert!(world.received(client).starts_with("HTTP/1.1 200 "));
}

#[test]
fn access_log_lines_that_are_not_read_are_dropped_and_counted() {
    let mut world = World::plain();
    let client = world.connect();
    let long = "a".repeat(7_000);
    for _ in 0..400 {
        world.send(
            client,
            format!("GET /none/{long} HTTP/1.1\r\nHost: gate\r\n\r\n"),
        );
    }
    assert!(
        world.proxy.access_lines().len()
            < tollgate::limits::ACCESS_LOG_BYTES + memory::access_line()
    );
    let written = world.log().len() as u64;
    assert_eq!(written + world.proxy.take_dropped_lines(), 400);
    assert_eq!(world.proxy.take_dropped_lines(), 0);
}
