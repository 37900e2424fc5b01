//! Services of one route that headers, cookies and query parameters tell apart (`match`).

use super::script::*;

const KEY: &str = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // "key"

/// Target n is 10.0.0.n. The second service is guarded in `/b` only.
fn file() -> String {
    format!(
        r#"{{ "cors": false, "securityHeaders": false, "requestId": false, "rateLimit": {{ "requests": 100 }},
        "auth": {{ "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{ "k": "{KEY}" }} }} }},
        "services": [
            {{ "route": "/a", "target": "http://10.0.0.1" }},
            {{ "route": "/a", "target": "http://10.0.0.2", "match": {{ "headers": {{ "X-Beta": "1" }} }}, "rateLimit": {{ "requests": 2 }} }},
            {{ "route": "/a", "target": "http://10.0.0.3", "match": {{ "cookies": {{ "beta": "1" }}, "query": {{ "v": "2" }} }} }},
            {{ "route": "/a", "redirect": {{ "to": "/new" }}, "match": {{ "query": {{ "old": "" }} }} }},
            {{ "route": "/a", "target": "http://10.0.0.5", "match": {{ "query": {{ "soon": "1" }} }}, "maintenance": true }},
            {{ "route": "/b", "target": "http://10.0.0.6", "match": {{ "headers": {{ "X-Admin": "1" }} }}, "auth": "keys" }},
            {{ "route": "/b", "target": "http://10.0.0.6" }},
            {{ "route": "/c", "target": "http://10.0.0.7", "methods": ["GET"], "match": {{ "headers": {{ "X-Beta": "1" }} }} }}
        ] }}"#
    )
}

fn request(line: &str) -> String {
    let (line, fields) = line.split_once('\n').unwrap_or((line, ""));
    let fields = fields.split('\n').filter(|field| !field.is_empty());
    let fields = fields.map(|field| format!("{field}\r\n"));
    let fields = fields.collect::<String>();
    format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn headers_cookies_and_parameters_choose_the_upstream() {
    for (line, upstream) in [
        ("GET /a", "10.0.0.1"),
        ("GET /a\nX-Beta: 1", "10.0.0.2"),
        ("GET /a/b?x\nx-beta:1", "10.0.0.2"),
        ("GET /a\nX-Beta: 2", "10.0.0.1"),
        ("GET /a\nX-Beta: 1\nX-Beta: 2", "10.0.0.1"),
        ("GET /a?v=2\nCookie: a=b; beta=1", "10.0.0.3"),
        ("GET /a?v=2\nCookie: beta=1\nX-Beta: 1", "10.0.0.3"),
        ("GET http://a/a?v=%32\nCookie: beta=1", "10.0.0.3"),
        ("GET /a?v=2", "10.0.0.1"),
        ("GET /b", "10.0.0.6"),
        ("GET /b\nX-Admin: 1\nX-Key: key", "10.0.0.6"),
        ("HEAD /c\nX-Beta: 1", "10.0.0.7"),
    ] {
        let mut world = World::with(&file());
        let client = world.connect();
        world.send(client, request(line));
        let (_, address) = *world.dials.last().expect("a connection");
        assert_eq!(address.ip().to_string(), upstream, "{line}");
    }
}

#[test]
fn each_service_has_its_own_policies() {
    let mut world = World::with(&file());
    let client = world.connect();
    world.send(client, request("GET /a?old"));
    let answer = world.expect_status(client, 308);
    assert!(answer.contains("\r\nLocation: /new?old\r\n"), "{answer}");
    world.send(client, request("GET /a?soon=1"));
    world.expect_status(client, 503);
    world.send(client, request("GET /c"));
    world.expect_status(client, 404);
    world.send(client, request("PUT /c\nX-Beta: 1"));
    let answer = world.expect_status(client, 405);
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    world.expect_no_dial();
    // The limit of the second service counts its own requests only.
    for (line, is_limited) in [
        ("GET /a", false),
        ("GET /a\nX-Beta: 1", false),
        ("GET /a", false),
        ("GET /a\nX-Beta: 1", false),
        ("GET /a\nX-Beta: 1", true),
        ("GET /a", false),
    ] {
        let client = world.connect();
        let before = world.dials.len();
        world.send(client, request(line));
        assert_eq!(world.dials.len() == before, is_limited, "{line}");
    }
}

/// The target reads a header that the gateway may read otherwise: no client gets past the guard.
#[test]
fn no_spelling_of_a_condition_walks_round_authentication() {
    let mut world = World::with(&file());
    for line in [
        "GET /b\nX-Admin: 0\nX-Admin: 1",
        "GET /b\nX-Admin: 1\nX-Admin: 0",
        "GET /b\nX_Admin: 1",
        "GET /b\nX-Admin: 0, 1",
        "GET /b\nX-Admin: \"1\"",
    ] {
        let client = world.connect();
        world.send(client, request(line));
        world.expect_status(client, 400);
    }
    let log = world.log().join("\n");
    assert_eq!(log.matches(" 400 ").count(), 5, "{log}");
    let client = world.connect();
    world.send(client, request("GET /b\nX-Admin: 1"));
    world.expect_status(client, 401);
    world.expect_no_dial();
}

/// The request that follows a preflight is not known: the policy is that of the service without
/// conditions.
#[test]
fn the_service_without_conditions_answers_preflights() {
    let preflight = "OPTIONS /a\nOrigin: https://o.test\nAccess-Control-Request-Method: GET\n\
                     Access-Control-Request-Headers: x-beta";
    let services = |rest: &str, beta: &str| {
        format!(
            r#"{{ "securityHeaders": false, "cors": false, "services": [
            {{ "route": "/a", "target": "http://10.0.0.2", "match": {{ "headers": {{ "X-Beta": "1" }} }} {beta} }},
            {{ "route": "/a", "target": "http://10.0.0.1" {rest} }} ] }}"#
        )
    };
    let cors = r#", "cors": { "origins": ["https://o.test"] }"#;
    let mut world = World::with(&services(cors, ""));
    let client = world.connect();
    world.send(client, request(preflight));
    let answer = world.expect_status(client, 204);
    assert!(
        answer.contains("\r\nAccess-Control-Allow-Origin: https://o.test\r\n"),
        "{answer}"
    );
    // The preflight goes on to where it leads itself: to the service without conditions.
    let mut world = World::with(&services("", cors));
    let client = world.connect();
    world.send(client, request(preflight));
    let (_, address) = *world.dials.last().expect("a connection");
    assert_eq!(address.ip().to_string(), "10.0.0.1");
    // One that has the header of a service with CORS does not reach it.
    world.send(client, "");
    let client = world.connect();
    let before = world.dials.len();
    world.send(client, request(&format!("{preflight}\nX-Beta: 1")));
    world.expect_status(client, 204);
    assert_eq!(world.dials.len(), before);
}

/// A service is the same after a reload when its conditions are the same.
#[test]
fn conditions_are_part_of_the_identity() {
    let services = |value: &str| {
        format!(
            r#"{{ "securityHeaders": false, "cors": false, "services": [
            {{ "route": "/a", "target": "http://10.0.0.1", "rateLimit": {{ "requests": 1 }} }},
            {{ "route": "/a", "target": "http://10.0.0.2", "match": {{ "headers": {{ "X-Beta": "{value}" }} }}, "rateLimit": {{ "requests": 1 }} }} ] }}"#
        )
    };
    let mut world = World::with(&services("1"));
    let is_limited = |world: &mut World, line: &str| {
        let client = world.connect();
        let before = world.dials.len();
        world.send(client, request(line));
        world.dials.len() == before
    };
    assert!(!is_limited(&mut world, "GET /a\nX-Beta: 1"));
    assert!(!is_limited(&mut world, "GET /a"));
    world.reload(&services("1"));
    assert!(
        is_limited(&mut world, "GET /a\nX-Beta: 1"),
        "the window is kept"
    );
    world.reload(&services("2"));
    assert!(
        !is_limited(&mut world, "GET /a\nX-Beta: 2"),
        "another service"
    );
    assert!(is_limited(&mut world, "GET /a"), "the other is the same");
    assert!(
        is_limited(&mut world, "GET /a\nX-Beta: 1"),
        "that of the rest"
    );
}
