//! Answers to the challenges of an authority that issues certificates.

use core::net::IpAddr;

use tollgate::policy::forward::Peer;
use tollgate::proxy::challenges::{self, Challenges};
use tollgate::proxy::command::ListenerKind;

use super::script::*;

/// Gateway that denies, redirects, limits and answers everything at `/`.
const GATE: &str = r#"{ "deny": ["10.6.0.0/16"], "rateLimit": { "requests": 1, "window": "1h" },
    "services": [{ "route": "/", "respond": { "status": 200, "body": "service" } }] }"#;

const PATH: &str = "/.well-known/acme-challenge/tok-1";

fn open(world: &mut World, in_handshakes: bool) {
    let files = vec![("tok-1".into(), "tok-1.thumb".into())];
    let open = Challenges {
        files,
        in_handshakes,
    };
    challenges::set(&mut world.proxy, Some(open));
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

fn denied() -> Peer {
    Peer::Ip("10.6.1.1".parse::<IpAddr>().expect("an address"))
}

#[test]
fn the_file_is_there_while_an_order_is_open() {
    let mut world = World::with(GATE);
    let client = world.connect();
    world.send(client, request("GET", PATH));
    let text = world.expect_status(client, 200);
    assert!(text.ends_with("service"), "{text}");
    open(&mut world, false);
    for _ in 0..3 {
        // The rate limit counts none of them.
        world.send(client, request("GET", PATH));
        let text = world.expect_status(client, 200);
        assert!(text.ends_with("\r\n\r\ntok-1.thumb"), "{text}");
        assert!(
            text.contains("Content-Type: application/octet-stream\r\n"),
            "{text}"
        );
        assert!(text.contains("Content-Length: 11\r\n"), "{text}");
    }
    world.send(client, request("HEAD", PATH));
    let text = world.expect_status(client, 200);
    assert!(
        text.contains("Content-Length: 11\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
    // Everything else takes its usual way.
    world.send(client, request("GET", "/.well-known/acme-challenge/tok-2"));
    world.expect_status(client, 429);
    world.send(client, request("POST", PATH));
    world.expect_status(client, 429);
    challenges::set(&mut world.proxy, None);
    world.send(client, request("GET", PATH));
    world.expect_status(client, 429);
}

#[test]
fn redirects_and_denied_peers_do_not_hide_the_file() {
    let mut world = World::with(GATE);
    open(&mut world, false);
    let redirected = world.connect_by(ListenerKind::Redirect);
    world.send(redirected, request("GET", PATH));
    world.expect_status(redirected, 200);
    world.send(redirected, request("GET", "/x"));
    world.expect_status(redirected, 308);
    let client = world.try_connect(denied()).expect("accepted for one head");
    world.send(client, request("GET", PATH));
    let text = world.expect_status(client, 200);
    assert!(text.contains("Connection: close\r\n"), "{text}");
    world.expect_closing(client);
    let client = world.try_connect(denied()).expect("accepted for one head");
    world.send(client, request("GET", "/x"));
    world.expect_status(client, 403);
    world.expect_closing(client);
}

#[test]
fn a_reload_keeps_open_challenges() {
    let mut world = World::with(GATE);
    open(&mut world, false);
    world.reload(GATE);
    let client = world.connect();
    world.send(client, request("GET", PATH));
    let text = world.expect_status(client, 200);
    assert!(text.ends_with("tok-1.thumb"), "{text}");
}

#[test]
fn listeners_with_tls_have_no_file_but_for_the_gateway_itself() {
    let mut world = World::with(GATE);
    open(&mut world, false);
    let secure = world.connect_by(ListenerKind::Secure);
    world.secured(secure, None);
    world.send(secure, request("GET", PATH));
    let text = world.expect_status(secure, 200);
    assert!(text.ends_with("service"), "{text}");
    for (path, is_answered) in [(PATH, true), ("/.well-known/acme-challenge/tok-12", false)] {
        let now = world.now;
        let peer = Peer::Ip("192.0.2.1".parse::<IpAddr>().expect("an address"));
        let id = world.proxy.handle_accepted(peer, ListenerKind::Secure, now);
        let id = id.expect("accepted");
        let bytes = request("GET", path);
        let answered = challenges::answer_plain(&mut world.proxy, id, bytes.as_bytes(), now);
        assert_eq!(answered, is_answered, "{path}");
    }
}

#[test]
fn denied_peers_get_to_a_handshake_only_while_names_are_proved_there() {
    let mut world = World::with(GATE);
    let accept = |world: &mut World| {
        let now = world.now;
        world
            .proxy
            .handle_accepted(denied(), ListenerKind::Secure, now)
    };
    assert!(accept(&mut world).is_none());
    open(&mut world, false);
    assert!(accept(&mut world).is_none());
    open(&mut world, true);
    let id = accept(&mut world).expect("accepted");
    assert!(challenges::is_denied(&world.proxy, id));
    challenges::close(&mut world.proxy, id, world.now);
    challenges::set(&mut world.proxy, None);
    assert!(accept(&mut world).is_none());
}
