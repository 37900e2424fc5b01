//! Routing by host and method beside the prefix: the upstream of a request, and the answer if only
//! the method does not match.

use super::script::*;

fn world() -> World {
    World::with(
        r#"{ "services": [
            { "route": "/a", "target": "http://10.0.0.1" },
            { "route": "/a", "target": "http://10.0.0.2", "hosts": ["api.test"], "methods": ["GET", "POST"] },
            { "route": "/a", "target": "http://10.0.0.3", "hosts": ["api.test"], "methods": ["DELETE"] },
            { "route": "/a", "target": "http://10.0.0.4", "hosts": ["*.test"] } ],
          "rateLimit": { "requests": 100 }, "securityHeaders": false, "cors": false }"#,
    )
}

#[test]
fn host_and_method_choose_the_upstream() {
    for (line, host, upstream) in [
        ("GET /a", "api.test", "10.0.0.2"),
        ("HEAD /a", "API.TEST:5000", "10.0.0.2"),
        ("DELETE /a", "api.test", "10.0.0.3"),
        ("DELETE /a", "other.test", "10.0.0.4"),
        ("GET /a", "test", "10.0.0.1"),
        // A port without digits counts as no port (RFC 3986 3.2.3).
        ("GET /a", "api.test:", "10.0.0.2"),
        ("GET /a", "other.test.:", "10.0.0.4"),
        ("GET http://api.test:/a", "api.test", "10.0.0.2"),
        // The authority of the absolute form is the host, and replaces the field (RFC 9112 3.2.2).
        ("GET http://api.test/a", "api.test", "10.0.0.2"),
    ] {
        let mut world = world();
        let client = world.connect();
        world.send(client, format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let (_, address) = *world.dials.last().expect("a connection");
        assert_eq!(address.ip().to_string(), upstream, "{line} {host}");
    }
}

#[test]
fn a_route_for_one_path_gives_the_target_s_path() {
    let mut world = World::with(
        r#"{ "services": [
            { "route": "= /", "target": "http://10.0.0.1/start.html", "methods": ["GET"] },
            { "route": "= /a/b/", "target": "http://10.0.0.2/x" },
            { "route": "/a", "target": "http://10.0.0.3" },
            { "route": "= /old", "redirect": { "to": "/new", "keepPath": true } } ],
          "securityHeaders": false, "cors": false }"#,
    );
    for (target, upstream, path) in [
        ("/?q", "10.0.0.1", "/start.html?q"),
        ("http://gate", "10.0.0.1", "/start.html"),
        ("/a/b/", "10.0.0.2", "/x"),
        ("/a/b", "10.0.0.3", "/b"),
        ("/a/b/c", "10.0.0.3", "/b/c"),
    ] {
        let client = world.connect();
        world.send(
            client,
            format!("GET {target} HTTP/1.1\r\nHost: gate\r\n\r\n"),
        );
        let (_, address) = *world.dials.last().expect("a connection");
        assert_eq!(address.ip().to_string(), upstream, "{target}");
        let origin = world.accept();
        let sent = world.received_upstream(origin);
        assert!(
            sent.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{target}: {sent}"
        );
    }
    for (line, status) in [
        ("POST /", 405),
        ("GET /old", 308),
        ("GET /old/", 404),
        ("GET /x", 404),
    ] {
        let client = world.connect();
        world.send(client, format!("{line} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        let answer = world.expect_status(client, status);
        let is_redirect = status == 308;
        assert_eq!(
            answer.contains("\r\nLocation: /new\r\n"),
            is_redirect,
            "{answer}"
        );
    }
}

/// The target's own URL is that of the route; what is below it belongs to no route here.
#[test]
fn a_route_for_one_path_takes_one_url_of_the_target() {
    for (strip, location, expected) in [
        (true, "http://10.0.0.1/start?q", "http://gate/in?q"),
        (true, "http://10.0.0.1/start/x", "http://10.0.0.1/start/x"),
        (false, "http://10.0.0.1/start/x", "http://gate/x"),
    ] {
        let mut world = World::with(&format!(
            r#"{{ "services": [ {{ "route": "= /in", "target": "http://10.0.0.1/start", "stripPrefix": {strip}, "rewriteLocation": true }} ],
              "securityHeaders": false, "cors": false }}"#
        ));
        let client = world.connect();
        world.send(client, "GET /in HTTP/1.1\r\nHost: gate\r\n\r\n");
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"),
        );
        let answer = world.expect_status(client, 302);
        let line = format!("\r\nLocation: {expected}\r\n");
        assert!(answer.contains(&line), "{strip} {location}: {answer}");
    }
}

#[test]
fn a_method_that_nobody_takes_is_a_405_with_those_that_are() {
    let mut world = world();
    let client = world.connect();
    world.send(
        client,
        "PATCH /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nhi",
    );
    let answer = world.expect_status(client, 405);
    assert!(
        answer.contains("\r\nAllow: GET, HEAD, POST, DELETE\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with(
        "{\"code\":405,\"status\":\"Error\",\"message\":\"Method not allowed.\",\"data\":null}"
    ));
    world.expect_open(client);
    world.send(client, "HEAD /nowhere HTTP/1.1\r\nHost: api.test\r\n\r\n");
    world.expect_status(client, 404);
    world.expect_no_dial();
    assert!(world.log()[0].contains("\"PATCH /a HTTP/1.1\" 405 73"));
}

#[test]
fn a_wrong_method_is_counted_by_the_rate_limit() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/a", "target": "http://10.0.0.1", "methods": ["PUT"] } ], "rateLimit": { "requests": 2 } }"#,
    );
    let client = world.connect();
    for status in [405, 405, 429] {
        world.send(client, "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n");
        world.expect_status(client, status);
    }
}

/// Paths that an upstream may read as one of `/admin/in`.
const ALIKE: [&str; 8] = [
    "/admin//in",
    "/admin///in/x",
    "/Admin/in",
    "/admin/IN/x",
    "/admin;v=1/in",
    "/admin./in",
    "/admin/in;x/y",
    "/admin/in%20",
];

/// Sends a request, which a target answers.
fn passes(world: &mut World, path: &str) {
    let client = world.connect();
    world.send(client, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let origin = world.accept();
    world.take_upstream(origin);
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    world.expect_status(client, 200);
}

#[test]
fn no_path_gets_round_what_a_route_lets_in() {
    for keys in [
        r#""target": "http://10.0.0.2", "allow": ["10.9.0.0/16"]"#,
        r#""target": "http://10.0.0.2", "deny": ["192.0.2.0/24"]"#,
        r#""target": "http://10.0.0.2", "auth": ["keys"]"#,
        r#""respond": { "status": 403 }"#,
        r#""respond": { "status": 404 }"#,
    ] {
        let mut world = World::with(&format!(
            r#"{{ "rateLimit": false, "auth": {{ "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{
                "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" }} }} }},
                "services": [ {{ "route": "/", "target": "http://10.0.0.1" }}, {{ "route": "/admin/in", {keys} }} ] }}"#
        ));
        for path in ALIKE {
            let client = world.connect();
            world.send(client, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            world.expect_status(client, 400);
            assert_eq!(world.log().len(), 1, "{keys} {path}");
        }
        let client = world.connect();
        world.send(client, "GET /admin/in/x HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = world.received(client);
        assert!(
            ["401", "403", "404"]
                .iter()
                .any(|status| head.contains(status)),
            "{keys} {head}"
        );
        for path in ["/admin/inner", "/Admin//x", "/x//admin/in"] {
            passes(&mut world, path);
        }
    }
}

#[test]
fn routes_that_let_in_the_same_take_each_other_s_spellings() {
    // Neither a limit of its own nor another reply is a matter of who is let in.
    for [root, below] in [
        [
            r#""allow": ["192.0.2.0/24"]"#,
            r#""allow": ["192.0.2.0/24"]"#,
        ],
        [r#""retries": 1"#, r#""rateLimit": { "requests": 9 }"#],
        [r#""retries": 1"#, r#""maintenance": false"#],
        [r#""deny": ["192.0.2.9"]"#, r#""retries": 1"#],
    ] {
        let mut world = World::with(&format!(
            r#"{{ "rateLimit": false, "services": [ {{ "route": "/", "target": "http://10.0.0.1", {root} }},
                {{ "route": "/admin/in", "target": "http://10.0.0.2", {below} }} ] }}"#
        ));
        for path in ALIKE {
            passes(&mut world, path);
        }
    }
}
