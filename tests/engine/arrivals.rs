//! Admission of connections: the share of a client, denied peers, and idle connections that make
//! room.

use std::net::IpAddr;

use tollgate::policy::forward::Peer;
use tollgate::proxy::command::{ListenerKind, Report};

use super::script::*;

fn world(more: &str) -> World {
    World::with(&PLAIN.replacen('{', &format!("{{ {more}, "), 1))
}

fn ip(text: &str) -> Peer {
    match text {
        "unix" => Peer::Unix,
        text => Peer::Ip(text.parse::<IpAddr>().expect("an address")),
    }
}

/// Returns a client whose connection had a request and is idle now.
fn kept(world: &mut World, peer: &str) -> Client {
    let client = world.try_connect(ip(peer)).expect("taken");
    world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 404);
    client
}

/// Opens connections of one client until one is refused. Returns the number that were accepted.
fn taken(world: &mut World, peer: &str, most: usize) -> usize {
    for n in 0..most {
        let Some(client) = world.try_connect(ip(peer)) else {
            return n;
        };
        if !world.received(client).is_empty() {
            return n;
        }
    }
    most
}

/// Rows: limits, number of connections of other clients, address of the client, number of
/// connections that it gets.
#[test]
fn a_client_has_its_share() {
    const TRUST: &str = r#", "trustedProxies": ["10.9.0.0/16"]"#;
    let by_default = r#""limits": { "connections": 64 }"#;
    let set = r#""limits": { "connections": 64, "connectionsPerClient": 5 }"#;
    let off = r#""limits": { "connections": 64, "connectionsPerClient": null }"#;
    for (config, others, peer, expected) in [
        // Until half of the connections are in use, no client has a share. Then the share is an
        // eighth.
        (by_default, 0, "192.0.2.1", 33),
        (off, 0, "192.0.2.1", 33),
        (by_default, 20, "192.0.2.1", 13),
        (by_default, 33, "192.0.2.1", 9),
        (by_default, 60, "192.0.2.1", 4),
        (by_default, 33, "2001:db8::1", 9),
        (set, 0, "192.0.2.1", 5),
        (set, 40, "192.0.2.1", 5),
        // Trusted proxies, and clients without an address.
        (&format!("{by_default}{TRUST}"), 33, "10.9.1.1", 31),
        (&format!("{set}{TRUST}"), 0, "10.9.1.1", 64),
        (by_default, 33, "unix", 31),
        (set, 0, "unix", 64),
    ] {
        let mut world = world(config);
        for n in 0..others {
            world
                .try_connect(ip(&format!("198.51.100.{n}")))
                .expect("taken");
        }
        assert_eq!(
            taken(&mut world, peer, 64),
            expected,
            "{config}, {others} others, {peer}"
        );
        world.expect_quiet();
    }
}

#[test]
fn addresses_of_one_network_are_one_client() {
    for (prefix, other, is_same) in [
        (64, "2001:db8::ffff:1", true),
        (64, "2001:db8:0:1::1", false),
        (48, "2001:db8:0:1::1", true),
    ] {
        let limits = r#""limits": { "connections": 64, "connectionsPerClient": 1 }"#;
        let rate = format!(r#""rateLimit": {{ "ipv6Prefix": {prefix} }}"#);
        let config = PLAIN.replacen("\"rateLimit\": false", &format!("{rate}, {limits}"), 1);
        let mut world = World::with(&config);
        world.try_connect(ip("2001:db8::1")).expect("taken");
        assert_eq!(
            taken(&mut world, other, 1) == 0,
            is_same,
            "/{prefix}: {other}"
        );
    }
}

#[test]
fn one_client_more_than_its_share_gets_503_or_no_handshake() {
    let mut world = world(r#""limits": { "connections": 64, "connectionsPerClient": 1 }"#);
    let peer = ip("192.0.2.1");
    let first = world.try_connect(peer).expect("taken");
    let second = world.try_connect(peer).expect("accepted for a 503");
    world.expect_status(second, 503);
    world.expect_closing(second);
    assert_eq!(
        world
            .proxy
            .handle_accepted(peer, ListenerKind::Secure, world.now),
        None,
        "closed before TLS"
    );
    let full = |is_first| Report::ConnectionsFull {
        client: Some([192, 0, 2, 1].into()),
        is_first,
    };
    assert_eq!(world.reports, [full(true)]);
    let third = world.try_connect(peer).expect("accepted for a 503");
    world.expect_status(third, 503);
    world.expect_closing(third);
    assert!(world.reports.contains(&full(false)), "{:?}", world.reports);
    // What happens an hour later has another cause.
    world.finish(first);
    world.wait(3_600_000);
    world.reports.clear();
    for is_first in [true, false] {
        let first = world.try_connect(peer).expect("taken");
        let refused = world.try_connect(peer).expect("accepted for a 503");
        world.expect_status(refused, 503);
        assert_eq!(world.reports, [full(is_first)]);
        world.reports.clear();
        world.finish(first);
    }
    let first = world.try_connect(peer).expect("taken");
    // Another client is accepted, and the same one after its connection has closed.
    assert_eq!(taken(&mut world, "192.0.2.2", 1), 1);
    world.finish(first);
    assert_eq!(taken(&mut world, "192.0.2.1", 1), 1);
    world.expect_quiet();
}

/// A client that has used its share may replace an idle connection of its own, but never one of
/// another client.
#[test]
fn a_client_with_its_share_replaces_its_own_idle_connection() {
    let mut world = world(r#""limits": { "connections": 8 }"#);
    let others = kept(&mut world, "198.51.100.1");
    let own = kept(&mut world, "192.0.2.1");
    for _ in 0..3 {
        world.try_connect(ip("192.0.2.1")).expect("taken");
    }
    let new = world.try_connect(ip("192.0.2.1")).expect("taken");
    assert_eq!(world.closed(own), Some(Closed::Clean));
    world.expect_open(others);
    world.expect_silence(new);
    assert_eq!(
        taken(&mut world, "192.0.2.1", 1),
        0,
        "none of its own is idle now"
    );
    world.expect_open(others);

    // A configured share holds without pressure, too.
    let mut world = self::world(r#""limits": { "connections": 8, "connectionsPerClient": 1 }"#);
    let own = kept(&mut world, "192.0.2.1");
    assert_eq!(taken(&mut world, "192.0.2.1", 1), 0);
    world.expect_open(own);
}

#[test]
fn the_connection_that_was_idle_longest_makes_room() {
    let mut world = world(r#""limits": { "connections": 4 }"#);
    let peers = ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"];
    let clients = peers.map(|peer| kept(&mut world, peer));
    // The first connection is used again, and so becomes the youngest. The second one is busy.
    world.send(clients[0], "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(clients[0], 404);
    world.send(clients[1], "GET /auth HTTP/1.1\r\n");
    for (n, goes) in [2, 3, 0].into_iter().enumerate() {
        assert!(!world.proxy.is_full());
        let new = world
            .try_connect(ip(&format!("10.0.2.{n}")))
            .expect("taken");
        world.expect_silence(new);
        assert_eq!(world.closed(clients[goes]), Some(Closed::Clean), "{goes}");
        assert_eq!(world.proxy.holdings().clients, 4);
    }
    // No connection is idle any more: a new one without a request has time to send one.
    world.expect_open(clients[1]);
    let last = world
        .try_connect(ip("10.0.2.9"))
        .expect("accepted for a 503");
    world.expect_status(last, 503);
    world.expect_quiet();
}

#[test]
fn idle_connections_leave_the_list_in_any_order() {
    let mut world = world(r#""limits": { "connections": 40 }"#);
    let mut clients: Vec<Client> = (0..20)
        .map(|n| kept(&mut world, &format!("10.0.1.{n}")))
        .collect();
    // The driver checks the list of idle connections in every step: its order, and both ends.
    for step in [7, 3, 11, 5] {
        for _ in 0..3 {
            let client = clients.remove(step % clients.len());
            world.finish(client);
            let client = clients[step % clients.len()];
            world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
            world.expect_status(client, 404);
        }
    }
    world.wait(75_000 + 64);
    assert_eq!(
        world.proxy.holdings().clients,
        0,
        "each of them had its time"
    );
    world.expect_quiet();
}

/// Without a descriptor for a new client or an upstream, an idle client connection is closed if no
/// idle upstream connection is left.
#[test]
fn an_idle_client_gives_its_descriptor() {
    let mut world = World::plain();
    let idle = kept(&mut world, "10.0.1.1");
    let busy = world.connect();
    world.send(busy, GET);
    world.refuse(tollgate::proxy::command::Fault::Exhausted);
    assert_eq!(world.closed(idle), Some(Closed::Clean));
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(busy, OK);
    let second = kept(&mut world, "10.0.1.2");
    assert!(
        world.proxy.handle_exhausted() && world.proxy.handle_exhausted(),
        "the upstream's, then the oldest client's"
    );
    assert_eq!(
        (
            world.proxy.holdings().upstreams,
            world.proxy.holdings().clients
        ),
        (0, 1)
    );
    world.send(second, "G");
    world.expect_open(second);
    assert_eq!(world.closed(busy), Some(Closed::Clean));
}

const DENY: &str =
    r#""deny": ["10.6.0.0/16"], "limits": { "connections": 4, "connectionsPerClient": 1 }"#;

#[test]
fn denied_peers_get_403_for_their_first_head_and_no_handshake() {
    let mut world = world(DENY);
    let peer = ip("10.6.1.1");
    assert_eq!(
        world
            .proxy
            .handle_accepted(peer, ListenerKind::Secure, world.now),
        None
    );
    // Denied connections do not count, neither in the total nor for their client.
    let denied: Vec<Client> = (0..10)
        .map(|_| world.try_connect(peer).expect("accepted for a 503"))
        .collect();
    for n in 0..4 {
        assert_eq!(taken(&mut world, &format!("192.0.2.{n}"), 1), 1, "{n}");
    }
    for (n, client) in denied.iter().copied().enumerate() {
        world.send(client, "GET /auth HTTP/1.1\r\nHo");
        world.expect_silence(client);
        world.send(
            client,
            "st: gate\r\n\r\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        );
        let text = world.expect_status(client, 403);
        assert!(
            text.contains("Connection: close\r\n") && text.matches("HTTP/1.1 ").count() == 1,
            "{n}: {text}"
        );
        world.expect_closing(client);
    }
    world.expect_no_dial();
    assert_eq!(world.log().len(), 10, "one line each");
    // A client that sends nothing is closed after the head timeout.
    let silent = world.try_connect(peer).expect("taken");
    world.wait(15_000 + 64);
    assert_eq!(world.closed(silent), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn denied_peers_fill_no_more_than_their_places() {
    let mut world = world(DENY);
    let peer = ip("10.6.1.1");
    let held = (0..100)
        .filter(|_| world.try_connect(peer).is_some())
        .count();
    assert_eq!(held, tollgate::limits::DENIED_CONNECTIONS);
    // Other clients are accepted, and the last one gets its 503.
    for n in 0..4 {
        assert_eq!(taken(&mut world, &format!("192.0.2.{n}"), 1), 1);
    }
    let late = world.try_connect(ip("192.0.2.9")).expect("taken");
    world.expect_status(late, 503);
    world.expect_quiet();
}
