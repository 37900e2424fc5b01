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
