//! Limits of requests in flight: of a service, and at the addresses of a target. A slot is free
//! again after every end of a request, and the limit is never exceeded.

use std::net::SocketAddr;

use super::script::*;
use tollgate::proxy::command::Fault;

const OK: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi";
const POST: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\n";
const PUT: &str = "PUT /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi";
const HANDSHAKE: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// A service with room for one request.
const ONE: &str = r#""target": "http://10.0.0.1/auth", "limits": { "inFlight": 1 }"#;
/// A target with room for one request.
const ONE_EACH: &str = r#""targets": [{ "url": "http://10.0.0.1/auth", "maxInFlight": 1 }]"#;
/// Two targets with room for one request each.
const TWO: &str = r#""targets": [{ "url": "http://10.0.0.1/auth", "maxInFlight": 1 },
    { "url": "http://10.0.0.2/auth", "maxInFlight": 1 }]"#;
const NAMED: &str = r#""target": "http://name/auth", "limits": { "inFlight": 1 }"#;

fn config(keys: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", {keys} }} ], "rateLimit": false, "cors": false, "securityHeaders": false,
              "accessLog": "json" }}"#
    )
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

/// Returns the last number of the address that the engine connects to next.
#[track_caller]
fn dialed(world: &World) -> SocketAddr {
    world.dials.first().expect("a connection is being made").1
}

/// Expects that a request is refused at once, and that its connection stays.
#[track_caller]
fn expect_full(world: &mut World, reason: &str) {
    let client = world.connect();
    world.send(client, GET);
    let text = world.expect_status(client, 503);
    assert!(text.contains("Retry-After: 1\r\n"), "{text}");
    assert!(!text.contains("Connection: close"), "{text}");
    world.expect_open(client);
    world.expect_no_dial();
    let log = world.log().join("");
    assert!(log.contains(r#""end":"over_limit""#), "{log}");
    assert!(log.contains(reason), "{log}");
    world.finish(client);
}

/// Expects that a request goes to a target. Its client leaves.
#[track_caller]
fn expect_served(world: &mut World) {
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(world.received(client), "", "no reply of the gateway's own");
    expect_full_but(world);
    world.reset(client);
}

/// Every end of a request frees its slot. `occupy` returns a client whose request holds the slot.
#[test]
fn each_end_frees_the_slot() {
    /// Name, request, and what happens then.
    type End = (&'static str, &'static str, fn(&mut World, Client));
    let ends: [End; 14] = [
        ("answered", GET, |world, client| {
            let origin = world.accept();
            world.reply(origin, OK);
            world.expect_status(client, 200);
        }),
        ("answered without reuse", GET, |world, client| {
            let origin = world.accept();
            world.reply(
                origin,
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            world.expect_status(client, 200);
        }),
        ("until close", GET, |world, client| {
            let origin = world.accept();
            world.reply(origin, "HTTP/1.1 200 OK\r\n\r\nhi");
            world.finish_upstream(origin);
            world.received(client);
        }),
        ("client left while connecting", GET, World::finish),
        ("client reset while connecting", GET, World::reset),
        ("client reset", GET, |world, client| {
            world.accept();
            world.reset(client);
        }),
        ("client reset in the response", GET, |world, client| {
            let origin = world.accept();
            world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi");
            world.received(client);
            world.reset(client);
        }),
        ("refused", GET, |world, client| {
            world.refuse(Fault::Refused);
            world.expect_status(client, 502);
        }),
        ("closed early", GET, |world, client| {
            let origin = world.accept();
            world.finish_upstream(origin);
            world.expect_status(client, 502);
        }),
        ("cut in the response", GET, |world, client| {
            let origin = world.accept();
            world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi");
            world.fail_upstream(origin, Fault::Reset);
            world.received(client);
        }),
        ("malformed", GET, |world, client| {
            let origin = world.accept();
            world.reply(origin, "nonsense\r\n\r\n");
            world.expect_status(client, 502);
        }),
        ("connect timeout", GET, |world, client| {
            world.wait(6_000);
            world.expect_status(client, 504);
            world.dials.clear();
        }),
        ("response timeout", GET, |world, client| {
            world.accept();
            world.wait(16_000);
            world.expect_status(client, 504);
        }),
        ("tunnel", HANDSHAKE, |world, client| {
            let origin = world.accept();
            world.reply(origin, SWITCH);
            world.received(client);
            world.wait(100_000);
            expect_full(world, "in flight");
            world.finish(client);
            world.finish_upstream(origin);
        }),
    ];
    for keys in [ONE, ONE_EACH] {
        for (end, request, act) in ends {
            let mut world = World::with(&config(keys));
            let client = world.connect();
            world.send(client, request);
            expect_full_but(&mut world);
            act(&mut world, client);
            world.dials.clear();
            let client = world.connect();
            world.send(client, GET);
            assert_eq!(world.received(client), "", "the slot is free: {end}");
            expect_full_but(&mut world);
        }
    }
}

/// Expects a 503 while a connection of another request may be under way.
#[track_caller]
fn expect_full_but(world: &mut World) {
    let dials = world.dials.len();
    let client = world.connect();
    world.send(client, GET);
    let text = world.expect_status(client, 503);
    assert!(text.contains("Retry-After: 1\r\n"), "{text}");
    assert_eq!(world.dials.len(), dials);
    world.finish(client);
}

#[test]
fn a_full_service_says_so() {
    let mut world = World::with(&config(ONE));
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    expect_full(
        &mut world,
        "limits.inFlight requests of the service are in flight",
    );
    world.reply(origin, OK);
    world.expect_status(client, 200);
    expect_served(&mut world);
}

/// The slot belongs to what the target has to do: a client that is slow to read does not hold it.
#[test]
fn a_response_that_was_read_to_its_end_frees_the_slot() {
    let mut world = World::with(&config(ONE));
    let client = world.connect();
    world.stall(client, true);
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    expect_served(&mut world);
    world.stall(client, false);
    world.expect_status(client, 200);
}

#[test]
fn a_full_address_is_passed_over() {
    let mut world = World::with(&config(TWO));
    let clients = [world.connect(), world.connect()];
    let mut origins = Vec::new();
    for client in clients {
        world.send(client, GET);
        origins.push((dialed(&world), world.accept()));
    }
    assert_ne!(origins[0].0, origins[1].0);
    expect_full(
        &mut world,
        "all targets have maxInFlight requests in flight",
    );
    world.reply(origins[1].1, OK);
    world.expect_status(clients[1], 200);
    // The free one takes each of the next requests.
    for _ in 0..3 {
        let client = world.connect();
        world.send(client, GET);
        world.reply(origins[1].1, OK);
        world.expect_status(client, 200);
    }
    world.reply(origins[0].1, OK);
    world.expect_status(clients[0], 200);
}

/// A backup stands in for targets that are full, an ejected target does not.
#[test]
fn backups_stand_in_for_full_targets_and_ejected_ones_do_not() {
    let mut world = World::with(&config(
        r#""targets": [{ "url": "http://10.0.0.1/auth", "maxInFlight": 1 }, { "url": "http://10.0.0.2/auth", "backup": true }]"#,
    ));
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(dialed(&world), address(1));
    world.accept();
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(dialed(&world), address(2));

    let mut world = World::with(&config(&format!(
        r#"{TWO}, "passiveHealth": {{ "failures": 1, "eject": "30s" }}, "retries": 0"#
    )));
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Refused);
    world.expect_status(client, 502);
    world.send(client, GET);
    world.accept();
    expect_full(
        &mut world,
        "all targets have maxInFlight requests in flight",
    );
}

/// A retry takes the slot along: no other request gets it in between.
#[test]
fn a_retry_keeps_the_slot_of_the_service_and_changes_that_of_the_target() {
    let mut world = World::with(&config(&format!(r#"{TWO}, "limits": {{ "inFlight": 1 }}"#)));
    let client = world.connect();
    world.send(client, GET);
    let first = dialed(&world);
    world.refuse(Fault::Refused);
    expect_full_but(&mut world);
    assert_ne!(dialed(&world), first);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.log();
    expect_served(&mut world);
}

/// The other target is full: the failure of the first one is the answer.
#[test]
fn a_retry_does_not_go_to_a_full_target() {
    let mut world = World::with(&config(TWO));
    let clients = [world.connect(), world.connect()];
    world.send(clients[0], GET);
    world.accept();
    world.send(clients[1], GET);
    world.refuse(Fault::Refused);
    world.expect_status(clients[1], 502);
    world.expect_no_dial();
}

/// A dead pooled connection is replaced, and the slot stays.
#[test]
fn a_dead_pooled_connection_costs_no_slot() {
    for keys in [ONE, ONE_EACH] {
        let mut world = World::with(&config(keys));
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.send(client, GET);
        world.finish_upstream(origin);
        expect_full_but(&mut world);
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.send(client, GET);
        world.reply(origin, OK);
        world.expect_status(client, 200);
        expect_served_pooled(&mut world, origin);
    }
}

#[track_caller]
fn expect_served_pooled(world: &mut World, origin: Origin) {
    let client = world.connect();
    world.send(client, GET);
    world.reply(origin, OK);
    world.expect_status(client, 200);
}

/// A request whose body is still gathered holds no slot. It is refused when the slot is gone then.
#[test]
fn a_body_that_is_gathered_holds_no_slot() {
    for keys in [ONE, ONE_EACH] {
        let mut world = World::with(&config(keys));
        let slow = world.connect();
        world.send(slow, POST);
        world.expect_no_dial();
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.send(slow, "hi");
        let text = world.expect_status(slow, 503);
        assert!(text.contains("Retry-After: 1\r\n"), "{text}");
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.send(slow, PUT);
        world.reply(origin, OK);
        world.expect_status(slow, 200);
    }
}

/// A request that waits for the target's name holds a slot, whatever becomes of it.
#[test]
fn a_request_that_waits_for_a_name_holds_a_slot() {
    let mut world = World::with(&config(NAMED));
    let client = world.connect();
    world.send(client, GET);
    expect_full_but(&mut world);
    world.finish(client);
    let client = world.connect();
    world.send(client, GET);
    expect_full_but(&mut world);
    world.resolve(0, &[address(1), address(2)]);
    expect_full_but(&mut world);
    let origin = world.accept();
    expect_full_but(&mut world);
    world.reply(origin, OK);
    world.expect_status(client, 200);
    expect_served(&mut world);
}

#[test]
fn a_name_without_an_address_frees_the_slot() {
    let mut world = World::with(&config(NAMED));
    let client = world.connect();
    world.send(client, GET);
    world.resolve(0, &[]);
    world.expect_status(client, 502);
    world.resolve(0, &[address(1)]);
    expect_served(&mut world);
}

/// Requests that waited for a name find its addresses full when there are more than fit.
#[test]
fn requests_that_wait_for_a_name_are_refused_when_its_addresses_are_full() {
    let mut world = World::with(&config(
        r#""targets": [{ "url": "http://name/auth", "maxInFlight": 1 }]"#,
    ));
    let clients = [world.connect(), world.connect(), world.connect()];
    for client in clients {
        world.send(client, GET);
    }
    world.resolve(0, &[address(1), address(2)]);
    let text = world.expect_status(clients[2], 503);
    assert!(text.contains("Retry-After: 1\r\n"), "{text}");
    for client in &clients[..2] {
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(*client, 200);
    }
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(world.received(client), "", "no reply of the gateway's own");
}

/// Racing connections are one request, whichever of them wins.
#[test]
fn contenders_share_the_slot_of_their_request() {
    for winner in [0, 1] {
        let mut world = World::with(&config(NAMED));
        world.resolve(0, &[address(1), address(2)]);
        for _ in 0..3 {
            let client = world.connect();
            world.send(client, GET);
            world.wait(300);
            assert_eq!(world.dials.len(), 2, "two race");
            expect_full_but(&mut world);
            if winner == 1 {
                world.dials.swap(0, 1);
            }
            let origin = world.accept();
            expect_full_but(&mut world);
            world.reply(
                origin,
                OK.replace("\r\n\r\nhi", "\r\nConnection: close\r\n\r\nhi"),
            );
            world.expect_status(client, 200);
            world.dials.clear();
        }
    }
}

/// The number of a service that stays the same outlives a reload, also where the limit is new.
#[test]
fn the_count_survives_a_reload() {
    let none = r#""target": "http://10.0.0.1/auth""#;
    for before in [ONE, ONE_EACH, none] {
        for after in [ONE, ONE_EACH] {
            for request in [GET, HANDSHAKE] {
                let mut world = World::with(&config(before));
                let client = world.connect();
                world.send(client, request);
                let origin = world.accept();
                if request == HANDSHAKE {
                    world.reply(origin, SWITCH);
                    world.received(client);
                }
                for _ in 0..2 {
                    world.reload(&config(after));
                    expect_full(&mut world, "in flight");
                }
                if request == HANDSHAKE {
                    world.finish(client);
                    world.finish_upstream(origin);
                } else {
                    world.reply(origin, OK);
                    world.expect_status(client, 200);
                }
                world.reload(&config(after));
                let client = world.connect();
                world.send(client, GET);
                if request == HANDSHAKE {
                    world.accept();
                }
                expect_full(&mut world, "in flight");
                // A larger limit applies at once.
                let more = after.replace(": 1 }", ": 2 }");
                world.reload(&config(&more));
                let client = world.connect();
                world.send(client, GET);
                world.accept();
                expect_full(&mut world, "in flight");
                // And so does its removal.
                world.reload(&config(none));
                let client = world.connect();
                world.send(client, GET);
                world.accept();
            }
        }
    }
}

/// A target that leaves the configuration and comes back while its requests are in flight.
#[test]
fn a_target_that_comes_back_counts_what_is_still_in_flight() {
    let other = |keys: &str| {
        format!(
            r#"{{ "services": [ {{ "route": "/auth", {keys} }}, {{ "route": "/b", "target": "http://10.0.0.1" }} ],
                 "rateLimit": false, "accessLog": "json" }}"#
        )
    };
    let mut world = World::with(&other(ONE_EACH));
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reload(&other(r#""target": "http://10.0.0.2""#));
    world.reload(&other(ONE_EACH));
    expect_full(&mut world, "in flight");
    world.reply(origin, OK);
    world.expect_status(client, 200);
    let client = world.connect();
    world.send(client, GET);
    expect_full_but(&mut world);
}
