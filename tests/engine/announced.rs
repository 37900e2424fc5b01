//! Clients that a balancer announces (PROXY protocol): the announced address is the client for all
//! rules, and a connection without a header is closed.

use std::net::IpAddr;

use tollgate::http::proxy_header::{Announced, HeaderFault};
use tollgate::policy::forward::Peer;
use tollgate::proxy::command::{ListenerKind, Report};
use tollgate::proxy::overview::refused;

use super::script::*;

const BALANCER: &str = "10.0.0.1";

fn world(more: &str) -> World {
    World::with(&PLAIN.replacen('{', &format!("{{ {more}, "), 1))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(text: &str) -> Announced {
    Announced::Address(ip(text))
}

fn connect(world: &mut World, kind: ListenerKind) -> Client {
    let sender = Peer::Ip(ip(BALANCER));
    world.connect_unannounced(sender, kind).expect("taken")
}

/// Connects a client that is announced as this address.
fn announced(world: &mut World, client: &str) -> Client {
    let connection = connect(world, ListenerKind::Plain);
    assert!(world.announce(connection, address(client)));
    connection
}

#[test]
fn the_announced_address_is_the_client() {
    for (sender, announced, shown, forwarded) in [
        (
            BALANCER,
            address("192.0.2.7"),
            "192.0.2.7 - - [",
            "X-Forwarded-For: 192.0.2.7\r\n",
        ),
        (
            BALANCER,
            address("2001:db8::7"),
            "2001:db8::7 - - [",
            "X-Forwarded-For: 2001:db8::7\r\n",
        ),
        (
            BALANCER,
            Announced::Sender,
            "10.0.0.1 - - [",
            "X-Forwarded-For: 10.0.0.1\r\n",
        ),
        (
            "unix",
            address("192.0.2.7"),
            "192.0.2.7 - - [",
            "X-Forwarded-For: 192.0.2.7\r\n",
        ),
    ] {
        let sender = if sender == "unix" {
            Peer::Unix
        } else {
            Peer::Ip(ip(sender))
        };
        let mut world = World::plain();
        let client = world
            .connect_unannounced(sender, ListenerKind::Plain)
            .expect("taken");
        world.expect_silence(client);
        assert!(world.announce(client, announced));
        world.send(client, GET);
        let origin = world.accept();
        let head = world.received_upstream(origin);
        assert!(head.contains(forwarded), "{head}");
        world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        world.expect_status(client, 200);
        assert!(world.log()[0].starts_with(shown));
    }
}

#[test]
fn a_client_of_a_unix_socket_may_be_announced() {
    let mut world = world(r#""allow": ["unix"]"#);
    let client = connect(&mut world, ListenerKind::Plain);
    assert!(world.announce(client, Announced::Unix));
    world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 404);
}

/// Rows: `trustedProxies`, client in the access log. The balancer's own address does not count.
#[test]
fn trusted_proxies_are_those_that_the_balancer_announces() {
    for (trusted, expected) in [
        ("192.0.2.0/24", "198.51.100.9 - - ["),
        ("10.0.0.0/8", "192.0.2.7 - - ["),
    ] {
        let mut world = world(&format!(r#""trustedProxies": ["{trusted}"]"#));
        let client = announced(&mut world, "192.0.2.7");
        world.send(
            client,
            "GET /nowhere HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n",
        );
        world.expect_status(client, 404);
        assert!(world.log()[0].starts_with(expected), "{trusted}");
    }
}

#[test]
fn address_rules_judge_the_announced_client() {
    for (rules, client, status) in [
        (r#""deny": ["192.0.2.0/24"]"#, "192.0.2.7", 403),
        (r#""deny": ["10.0.0.0/8"]"#, "192.0.2.7", 404),
        (r#""allow": ["10.0.0.0/8"]"#, "192.0.2.7", 403),
        (r#""allow": ["192.0.2.0/24"]"#, "192.0.2.7", 404),
    ] {
        let mut world = world(rules);
        let connection = announced(&mut world, client);
        world.expect_silence(connection);
        world.send(connection, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
        let text = world.expect_status(connection, status);
        assert_eq!(text.contains("Connection: close"), status == 403, "{rules}");
        if status == 403 {
            world.expect_closing(connection);
            world.finish(connection);
        }
        world.expect_quiet();
    }
}

#[test]
fn a_denied_client_gets_no_handshake_and_no_place() {
    let mut world = world(r#""deny": ["192.0.2.0/24"], "limits": { "connections": 1 }"#);
    let secure = connect(&mut world, ListenerKind::Secure);
    assert!(
        !world.announce(secure, address("192.0.2.7")),
        "closed before TLS"
    );
    assert_eq!(world.closed(secure), Some(Closed::Clean));
    let denied: Vec<Client> = (0..3).map(|_| announced(&mut world, "192.0.2.7")).collect();
    // Denied clients wait for their 403 beside the only place.
    let other = announced(&mut world, "198.51.100.1");
    world.send(other, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(other, 404);
    for client in denied {
        world.send(client, GET);
        world.expect_status(client, 403);
    }
    assert_eq!(refused(&world.proxy), [0, 0, 4, 0, 0]);
}

#[test]
fn a_client_has_its_share_behind_the_balancer_too() {
    let mut world = world(r#""limits": { "connections": 64, "connectionsPerClient": 2 }"#);
    for client in ["192.0.2.1", "192.0.2.2"] {
        let first = announced(&mut world, client);
        let _second = announced(&mut world, client);
        let third = connect(&mut world, ListenerKind::Plain);
        assert!(world.announce(third, address(client)));
        world.expect_status(third, 503);
        world.expect_closing(third);
        let secure = connect(&mut world, ListenerKind::Secure);
        assert!(
            !world.announce(secure, address(client)),
            "closed before TLS"
        );
        world.finish(first);
        let fourth = announced(&mut world, client);
        world.expect_silence(fourth);
    }
    // The balancer itself has a share as well.
    for _ in 0..2 {
        let own = connect(&mut world, ListenerKind::Plain);
        assert!(world.announce(own, Announced::Sender));
        world.expect_silence(own);
    }
    let third = connect(&mut world, ListenerKind::Plain);
    assert!(world.announce(third, Announced::Sender));
    world.expect_status(third, 503);
    world.expect_quiet();
}

#[test]
fn the_rate_limit_counts_announced_clients() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ], "rateLimit": { "requests": 1 } }"#,
    );
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n";
    for client in ["192.0.2.1", "192.0.2.2"] {
        let connection = announced(&mut world, client);
        for status in [404, 429] {
            world.send(connection, nowhere);
            world.expect_status(connection, status);
        }
    }
}

#[test]
fn a_connection_beyond_the_limit_is_told_behind_its_header() {
    let mut world = world(r#""limits": { "connections": 1 }"#);
    let waits = connect(&mut world, ListenerKind::Plain);
    let beyond = connect(&mut world, ListenerKind::Plain);
    world.expect_silence(beyond);
    assert!(world.announce(beyond, address("192.0.2.1")));
    world.expect_status(beyond, 503);
    assert!(world.log()[0].starts_with("192.0.2.1 - - ["));
    world.finish(beyond);
    assert!(world.announce(waits, address("192.0.2.2")));
    world.send(waits, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(waits, 404);
    // An idle connection closes for the next one.
    let next = connect(&mut world, ListenerKind::Plain);
    assert_eq!(world.closed(waits), Some(Closed::Clean));
    world.unannounced(next, None);
    world.expect_quiet();
}

#[test]
fn a_connection_without_a_header_is_closed_and_reported() {
    for fault in [Some(HeaderFault::Missing), Some(HeaderFault::Cut), None] {
        let mut world = World::plain();
        let client = connect(&mut world, ListenerKind::Plain);
        world.unannounced(client, fault);
        assert_eq!(world.closed(client), Some(Closed::Clean));
        world.expect_silence(client);
        let sender = Some(ip(BALANCER));
        let expected = fault.map(|fault| Report::Unannounced { sender, fault });
        assert_eq!(world.reports.first(), expected.as_ref());
        assert_eq!(
            refused(&world.proxy),
            [0, 0, 0, u64::from(fault.is_some()), 0]
        );
        assert!(world.log().is_empty(), "no request, no line");
        world.expect_quiet();
    }
}

#[test]
fn reports_of_missing_headers_are_dampened() {
    let mut world = World::plain();
    for _ in 0..50 {
        let client = connect(&mut world, ListenerKind::Plain);
        world.unannounced(client, Some(HeaderFault::Missing));
    }
    assert_eq!(world.reports.len(), 10);
    world.wait(1_100);
    assert!(matches!(
        world.reports[10],
        Report::Suppressed { count: 40, .. }
    ));
}

/// The header has `timeouts.head`, and the first head what is left of it.
#[test]
fn a_header_comes_in_time() {
    for kind in [ListenerKind::Plain, ListenerKind::Secure] {
        let mut world = world(r#""timeouts": { "head": "2s" }"#);
        let late = connect(&mut world, kind);
        world.wait(1_900);
        assert!(world.is_open(late));
        world.wait(300);
        assert_eq!(world.closed(late), Some(Closed::Clean));
        assert!(matches!(
            world.reports[0],
            Report::Unannounced {
                fault: HeaderFault::Late,
                ..
            }
        ));
        world.expect_quiet();
    }
    let mut world = world(r#""timeouts": { "head": "2s" }"#);
    let slow = connect(&mut world, ListenerKind::Plain);
    world.wait(1_500);
    assert!(world.announce(slow, address("192.0.2.1")));
    world.wait(700);
    assert_eq!(world.closed(slow), Some(Closed::Clean));
    world.expect_quiet();
}

#[test]
fn a_reload_and_a_stop_find_connections_without_a_client() {
    let mut world = World::plain();
    let waits = connect(&mut world, ListenerKind::Plain);
    world.reload(&PLAIN.replacen('{', r#"{ "deny": ["192.0.2.0/24"], "#, 1));
    assert!(world.announce(waits, address("192.0.2.1")));
    world.send(waits, GET);
    world.expect_status(waits, 403);
    let waits = connect(&mut world, ListenerKind::Plain);
    world.shut_down();
    assert_eq!(world.closed(waits), Some(Closed::Clean));
}
