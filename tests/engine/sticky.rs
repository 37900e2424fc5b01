//! Sticky sessions: a client's cookie leads to its target as long as that is up and has room.

use std::net::SocketAddr;

use super::script::*;
use tollgate::proxy::command::{Fault, ListenerKind};

const LAST: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
const THREE: &str =
    r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth", "http://10.0.0.3/auth"]"#;
const STICKY: &str = r#""sticky": { "cookie": "tg", "ttl": "1h", "key": "0123456789abcdef" }"#;
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn config(keys: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", {keys} }} ], "rateLimit": false, "cors": false, "securityHeaders": false,
              "accessLog": "json" }}"#
    )
}

fn sticky(keys: &str) -> String {
    config(&format!("{THREE}, {STICKY} {keys}"))
}

fn get(lines: &str) -> String {
    format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{lines}\r\n")
}

fn cookie(value: &str) -> String {
    format!("Cookie: a=b; tg={value}\r\n")
}

#[track_caller]
fn dialed(world: &World) -> SocketAddr {
    world.dials.first().expect("a connection is being made").1
}

/// Returns the value that a response sets, if it sets one.
fn set(response: &str) -> Option<String> {
    let line = response
        .lines()
        .find(|line| line.starts_with("Set-Cookie: tg="))?;
    let (_, value) = line.split_once('=')?;
    Some(value.split(';').next()?.to_owned())
}

/// A reply in place of a response that is taken back names no target.
#[test]
fn a_response_that_is_taken_back_sets_no_cookie() {
    let mut world = World::with(&sticky(""));
    let client = world.connect();
    world.send(client, get(""));
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    );
    assert_eq!(set(&world.expect_status(client, 502)), None);
    world.expect_quiet();
}

/// Serves a request with these lines. Returns the address that served it, and the response.
#[track_caller]
fn serve(world: &mut World, lines: &str) -> (SocketAddr, String) {
    let client = world.connect();
    world.send(client, get(lines));
    let place = dialed(world);
    let origin = world.accept();
    world.reply(origin, LAST);
    let text = world.expect_status(client, 200);
    world.finish(client);
    (place, text)
}

#[test]
fn a_cookie_leads_to_the_target_that_set_it() {
    let mut world = World::with(&sticky(""));
    let mut values = Vec::new();
    for _ in 0..3 {
        let (place, text) = serve(&mut world, "");
        let value = set(&text).expect("a cookie is set");
        let line =
            format!("Set-Cookie: tg={value}; Path=/auth; Max-Age=3600; HttpOnly; SameSite=Lax\r\n");
        assert!(text.contains(&line), "{text}");
        values.push((place, value));
    }
    for (place, value) in values.iter().cycle().take(9) {
        let (at, text) = serve(&mut world, &cookie(value));
        assert_eq!(at, *place);
        assert!(!text.contains("Set-Cookie"), "it is the same: {text}");
    }
    let mut distinct = values.iter().map(|(_, value)| value).collect::<Vec<_>>();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
    // Another process with the same key, and targets in another order, knows them.
    let turned =
        r#""targets": ["http://10.0.0.3/auth", "http://10.0.0.2/auth", "http://10.0.0.1/auth"]"#;
    let mut other = World::with(&config(&format!("{turned}, {STICKY}")));
    for (place, value) in &values {
        assert_eq!(serve(&mut other, &cookie(value)).0, *place);
    }
    // And one with another key does not.
    let mut stranger = World::with(&config(&format!(r#"{THREE}, "sticky": {{}}"#)));
    let (_, text) = serve(&mut stranger, &cookie(&values[0].1));
    assert!(set(&text).is_some_and(|value| values.iter().all(|(_, known)| *known != value)));
}

/// The cookie goes upstream with the others, and values of others are no names.
#[test]
fn values_that_name_no_target_are_replaced() {
    let mut world = World::with(&sticky(""));
    for value in ["", "0000000000000000", "x", "ffffffffffffffff0", "10.0.0.1"] {
        let client = world.connect();
        world.send(client, get(&cookie(value)));
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(seen.contains(&cookie(value)), "{seen}");
        world.reply(origin, LAST);
        let text = world.expect_status(client, 200);
        assert!(set(&text).is_some(), "{text}");
    }
}

#[test]
fn over_tls_the_cookie_is_secure() {
    let mut world = World::with(&sticky(""));
    let client = world.connect_by(ListenerKind::Secure);
    world.secured(client, None);
    world.send(client, get(""));
    let origin = world.accept();
    world.reply(origin, LAST);
    let text = world.expect_status(client, 200);
    assert!(
        text.contains("; HttpOnly; SameSite=Lax; Secure\r\n"),
        "{text}"
    );
}

#[test]
fn a_websocket_is_sticky() {
    let mut world = World::with(&sticky(""));
    let client = world.connect();
    world.send(client, get(HANDSHAKE));
    let place = dialed(&world);
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    );
    let text = world.received(client);
    let value = set(&text).expect("a cookie is set");
    for _ in 0..3 {
        assert_eq!(serve(&mut world, &cookie(&value)).0, place);
    }
}

/// A target that refuses is left for another one, and the cookie follows.
#[test]
fn a_retry_sets_the_cookie_of_the_target_that_answers() {
    let mut world = World::with(&sticky(
        r#", "passiveHealth": { "failures": 1, "eject": "30s" }"#,
    ));
    let (place, text) = serve(&mut world, "");
    let value = set(&text).expect("a cookie is set");
    let client = world.connect();
    world.send(client, get(&cookie(&value)));
    assert_eq!(dialed(&world), place);
    world.refuse(Fault::Refused);
    let second = dialed(&world);
    assert_ne!(second, place);
    let origin = world.accept();
    world.reply(origin, LAST);
    let text = world.expect_status(client, 200);
    let fresh = set(&text).expect("the cookie is set again");
    assert_ne!(fresh, value);
    // The first one is ejected now: its clients are moved, and those of the second one stay.
    for _ in 0..3 {
        let (at, text) = serve(&mut world, &cookie(&fresh));
        assert_eq!((at, set(&text)), (second, None));
        let (at, text) = serve(&mut world, &cookie(&value));
        assert!(at != place && set(&text).is_some(), "{text}");
    }
    // It comes back, and the old cookie leads to it.
    world.wait(40_000);
    let (at, text) = serve(&mut world, &cookie(&value));
    assert_eq!((at, set(&text)), (place, None));
}

#[test]
fn a_full_target_is_left_for_another_one() {
    let mut world = World::with(&config(&format!(
        r#""targets": [{{ "url": "http://10.0.0.1/auth", "maxInFlight": 1 }}, "http://10.0.0.2/auth"], {STICKY}"#
    )));
    let mut first = serve(&mut world, "");
    if first.0 != SocketAddr::from(([10, 0, 0, 1], 80)) {
        first = serve(&mut world, "");
    }
    let value = set(&first.1).expect("a cookie is set");
    let busy = world.connect();
    world.send(busy, get(&cookie(&value)));
    let origin = world.accept();
    let (at, text) = serve(&mut world, &cookie(&value));
    assert!(at != first.0 && set(&text).is_some(), "{text}");
    world.reply(origin, LAST);
    world.expect_status(busy, 200);
    assert_eq!(serve(&mut world, &cookie(&value)).0, first.0);
}

#[test]
fn a_target_that_is_gone_is_replaced_and_a_reload_keeps_the_others() {
    let mut world = World::with(&sticky(""));
    let (place, text) = serve(&mut world, "");
    let value = set(&text).expect("a cookie is set");
    world.reload(&sticky(r#", "retries": 0"#));
    assert_eq!(serve(&mut world, &cookie(&value)).0, place);
    let gone = sticky("").replace(&format!("http://{}", place.ip()), "http://10.0.0.9");
    world.reload(&gone);
    let (at, text) = serve(&mut world, &cookie(&value));
    assert!(at != place && set(&text).is_some(), "{text}");
    world.reload(&sticky(""));
    assert_eq!(serve(&mut world, &cookie(&value)).0, place);
    // Another key renames all of them.
    world.reload(&sticky("").replace("0123456789abcdef", "0123456789abcdefg"));
    assert!(set(&serve(&mut world, &cookie(&value)).1).is_some());
    // Without the key nothing is set.
    world.reload(&config(THREE));
    assert_eq!(set(&serve(&mut world, "").1), None);
}

/// The gateway's own replies name no target.
#[test]
fn replies_of_the_gateway_set_no_cookie() {
    let mut world = World::with(&sticky(r#", "retries": 0"#));
    let client = world.connect();
    world.send(client, get(""));
    world.refuse(Fault::Refused);
    let text = world.expect_status(client, 502);
    assert_eq!(set(&text), None, "{text}");
}

/// Each address of a name has a cookie, also for a client that waited for the name.
#[test]
fn addresses_of_a_name_are_told_apart() {
    let mut world = World::with(&config(&format!(
        r#""target": "http://name/auth", {STICKY}"#
    )));
    let addresses = [1, 2, 3].map(|last| SocketAddr::from(([10, 0, 0, last], 80)));
    world.resolve(0, &addresses);
    let (place, text) = serve(&mut world, "");
    let value = set(&text).expect("a cookie is set");
    for _ in 0..3 {
        assert_eq!(serve(&mut world, &cookie(&value)).0, place);
    }
    let mut world = World::with(&config(&format!(
        r#""target": "http://name/auth", {STICKY}"#
    )));
    let client = world.connect();
    world.send(client, get(&cookie(&value)));
    world.resolve(0, &addresses);
    assert_eq!(dialed(&world), place);
}
