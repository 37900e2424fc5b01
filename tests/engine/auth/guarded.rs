//! Ways around a guarded route: spellings that match an open route and that an upstream reads as
//! the guarded one, and OPTIONS that only look like a preflight.

use super::*;

/// Returns a gateway with a guarded route, an open one and an open catch-all, all with one
/// upstream.
fn world(more: &str) -> World {
    World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main" }},
                            {{ "route": "/open", "target": "http://10.0.0.1/open" }},
                            {{ "route": "/", "target": "http://10.0.0.1/" }} ],
              "auth": {{ "main": {{ "type": "jwt", "secret": "{SECRET}" }} }}, "rateLimit": false, "securityHeaders": false, {more} }}"#
    ))
}

#[test]
fn no_spelling_of_a_guarded_path_reaches_its_upstream_by_an_open_route() {
    for path in [
        "/auth;v=1",
        "/auth;v=1/x",
        "/auth%3bv=1/x",
        "/auth%253b/x",
        "/AUTH/x",
        "/%41uth",
        "/auth.",
        "/auth./x",
        "/auth%2e/x",
        "/auth%20",
        "/auth%20/x?y=z",
        "/Auth.;v%20/x",
        "/;v/auth",
    ] {
        for target in [path.to_owned(), format!("http://gate{path}")] {
            // A valid token does not help, because the meaning of the path is unknown.
            for lines in [
                String::new(),
                format!("Authorization: Bearer {}\r\n", anns("")),
            ] {
                let mut world = world(r#""cors": false"#);
                let client = world.connect();
                world.send(
                    client,
                    format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{lines}\r\n"),
                );
                refused(&mut world, client, 400);
                world.expect_quiet();
            }
        }
    }
    for (path, seen) in [
        ("/open;v=2/x", "GET /open;v=2/x HTTP/1.1\r\n"),
        ("/open/auth;v", "GET /open/auth;v HTTP/1.1\r\n"),
        ("/OPEN/x.;y", "GET /OPEN/x.;y HTTP/1.1\r\n"),
        ("/authors/A.", "GET /authors/A. HTTP/1.1\r\n"),
        ("/?/AUTH;v", "GET /?/AUTH;v HTTP/1.1\r\n"),
    ] {
        let mut world = world(r#""cors": false"#);
        let client = world.connect();
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        let received = passes(&mut world, client);
        assert!(received.starts_with(seen), "{path}: {received}");
    }
    // The own paths of the guarded route may have any spelling.
    let mut world = world(r#""cors": false"#);
    let client = world.connect();
    world.send(
        client,
        format!(
            "GET /auth/X.;v/%20 HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {}\r\n\r\n",
            anns("")
        ),
    );
    assert!(passes(&mut world, client).starts_with("GET /auth/X.;v/%20 HTTP/1.1\r\n"));
}

/// A browser sends neither content nor credentials with a preflight (Fetch standard).
#[test]
fn options_with_content_or_credentials_are_no_preflight() {
    let ask = |lines: &str| {
        format!(
            "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nOrigin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n{lines}\r\n"
        )
    };
    for more in [r#""cors": false"#, r#""cors": { "forwardOptions": true }"#] {
        for (lines, body) in [
            ("Authorization: Bearer x\r\n", ""),
            ("Cookie: session=1\r\n", ""),
            ("cookie:\r\n", ""),
            ("Content-Length: 2\r\n", "hi"),
            ("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
        ] {
            let mut world = world(more);
            let client = world.connect();
            world.send(client, ask(lines) + body);
            refused(&mut world, client, 401);
        }
        // With a valid token the OPTIONS is forwarded like any other request.
        let mut world = world(more);
        let client = world.connect();
        world.send(
            client,
            ask(&format!(
                "Authorization: Bearer {}\r\nContent-Length: 2\r\n",
                anns("")
            )) + "hi",
        );
        assert!(passes(&mut world, client).ends_with("\r\n\r\nhi"));
    }
    // A length above 0 is content, so this is no preflight.
    let mut world = world(r#""cors": false"#);
    let client = world.connect();
    world.send(client, ask("Content-Length: 0\r\n"));
    passes(&mut world, client);
    // A request without a requested method is no preflight, either.
    for empty in [
        "Origin: https://a.test",
        "Access-Control-Request-Method: PUT",
    ] {
        let name = empty.split(' ').next().expect("a name");
        let client = world.connect();
        world.send(client, ask("").replacen(empty, name, 1));
        refused(&mut world, client, 401);
    }
}
