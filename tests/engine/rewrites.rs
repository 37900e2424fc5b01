//! Table of rewrites of the contract, row by row, in the whole engine.

use super::script::*;

#[test]
fn each_row_of_the_table() {
    for (target, request, upstream) in [
        ("http://b/auth", "/auth", "/auth"),
        ("http://b/auth", "/auth/", "/auth/"),
        ("http://b/auth", "/auth/x?q=1", "/auth/x?q=1"),
        ("http://b/auth", "/auth/auth", "/auth/auth"),
        ("http://b/users/", "/auth", "/users/"),
        ("http://b/users/", "/auth/1", "/users/1"),
        ("http://b/users/", "/auth?x=1", "/users/?x=1"),
        ("http://b", "/auth", "/"),
        ("http://b", "/auth?x=1", "/?x=1"),
        (
            "http://b/auth",
            "/auth/fetch/http://h//y",
            "/auth/fetch/http://h//y",
        ),
        ("http://b/auth", "http://any.host/auth/x", "/auth/x"),
        (
            "http://b/auth",
            "/auth?a=%2e%2e/../&b=//#".trim_end_matches('#'),
            "/auth?a=%2e%2e/../&b=//",
        ),
    ] {
        let mut world = World::with(&PLAIN.replace("http://10.0.0.1/auth", target));
        world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
        let client = world.connect();
        world.send(
            client,
            format!("GET {request} HTTP/1.1\r\nHost: any.host\r\n\r\n"),
        );
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(
            seen.starts_with(&format!("GET {upstream} HTTP/1.1\r\nHost: b\r\n")),
            "{target} {request}: {seen}"
        );
        world.reply(origin, OK);
        world.expect(client, OK);
        world.expect_quiet();
    }
}

#[test]
fn what_is_not_forwarded() {
    for path in [
        "/authx",
        "/auth%2Fx",
        "//auth",
        "/AUTH/x",
        "/%61uth",
        "/product",
        "/auth/..",
        "/auth//x",
        "/auth/%2e%2e/x",
        "/auth\\x",
    ] {
        let mut world = World::plain();
        let client = world.connect();
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        let text = world.received(client);
        assert!(
            text.starts_with("HTTP/1.1 404 ") || text.starts_with("HTTP/1.1 400 "),
            "{path}: {text}"
        );
        world.expect_no_dial();
        world.expect_quiet();
    }
}

#[test]
fn host_prefix_and_port_options() {
    let config = r#"{ "services": [
        { "route": "/kept", "target": "http://10.0.0.1:8080/base", "stripPrefix": false },
        { "route": "/host", "target": "http://10.0.0.1:8080", "preserveHost": true } ],
        "rateLimit": false, "cors": false, "securityHeaders": false }"#;
    for (path, line, host) in [
        ("/kept/x", "GET /base/kept/x HTTP/1.1", "10.0.0.1:8080"),
        ("/host/x", "GET /x HTTP/1.1", "gate:5000"),
    ] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(
            client,
            format!("GET {path} HTTP/1.1\r\nHost: gate:5000\r\n\r\n"),
        );
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(
            seen.starts_with(&format!("{line}\r\nHost: {host}\r\n")),
            "{seen}"
        );
    }
}

/// `encodedSlashes`: `%2F` and `%252F` are forwarded unchanged, and the parts on either side of it are never dot
/// segments.
#[test]
fn encoded_slashes_by_choice() {
    let config = r#"{ "services": [
        { "route": "/npm", "target": "http://10.0.0.1/base", "encodedSlashes": "keep" },
        { "route": "/npm/own", "target": "http://10.0.0.1" },
        { "route": "/x", "target": "http://10.0.0.1", "encodedSlashes": "reject" } ],
        "rateLimit": false, "cors": false, "securityHeaders": false }"#;
    for (path, upstream) in [
        ("/npm/@scope%2fname", "/base/@scope%2fname"),
        (
            "/npm/queues/%2F/name?q=%2f..",
            "/base/queues/%2F/name?q=%2f..",
        ),
        ("/npm/%2F", "/base/%2F"),
        ("/npm/a%2fb%20c/", "/base/a%2fb%20c/"),
        ("http://gate/npm/group%2Fproject", "/base/group%2Fproject"),
        (
            "/npm/job/feature%252Flogin/",
            "/base/job/feature%252Flogin/",
        ),
    ] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert!(
            seen.starts_with(&format!("GET {upstream} HTTP/1.1\r\n")),
            "{path}: {seen}"
        );
    }
    for path in [
        "/npm/..%2fx",
        "/npm/%2e%2e%2fx",
        "/npm/.%2e%2Fx",
        "/npm/x%2f..",
        "/npm/x%2F%2E%2e%2Fy",
        "/npm/x%2f.",
        "/npm/..;v%2fx",
        "/npm/x%2f%252e%252e",
        "/npm/x%252f..",
        "/npm/%252e%252e%252fx",
        "/npm%252fx",
        "/x/feature%252Flogin",
        "/npm/x%5cy",
        "/npm/own%2fx",
        "/npm%2fx",
        "/%2fnpm/x",
        "/x/@scope%2fname",
        "/x%2fy",
        "/none%2fx",
    ] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        world.expect_status(client, 400);
        world.expect_no_dial();
        world.expect_quiet();
    }
}
