//! Table of path bypasses: every spelling of a path reaches the service of the literal path, or no
//! service.

use super::rows::*;

/// Routes of each configuration. The service of a route is `10.0.0.N`, where N is its position.
const TABLES: [&[&str]; 6] = [
    &["/auth"],
    &["/auth", "/"],
    &["/auth/", "/api"],
    &["/auth", "/auth/admin", "/api", "/"],
    &["/api", "/users", "/"],
    &["/a", "/au", "/auth/x", "/authx", "/"],
];

/// Paths, each with the literal path whose service alone may get it; `None` if no service may (400
/// or 404).
const PATHS: [(&str, Option<&str>); 47] = [
    ("/auth/..%2fx", None),
    ("/auth/%2e%2e/x", None),
    ("/auth/.%2e/x", None),
    ("/auth%2f..%2fx", None),
    ("/auth/../x", None),
    ("/auth/./x", None),
    ("/auth/..", None),
    ("/auth/.", None),
    ("/auth/..;x/y", None),
    ("/auth/..;x=1", None),
    ("/./auth", None),
    ("/../auth", None),
    ("//auth", Some("//auth")),
    ("/auth//x", Some("/auth//x")),
    ("/auth%2fx", None),
    ("/auth%5cx", None),
    ("/auth\\x", None),
    ("/auth;x=1/y", Some("/auth;x=1/y")),
    ("/auth%3bx", Some("/auth;x")),
    ("/auth%00", None),
    ("/auth%0d%0aX:1", None),
    ("/auth%7f", None),
    ("/auth%3fx", Some("/auth")),
    ("/auth%23x", Some("/auth")),
    ("/AUTH", Some("/AUTH")),
    ("/%61uth", Some("/auth")),
    ("/%61uth/x", Some("/auth/x")),
    ("/auth.", Some("/auth.")),
    ("/auth%20", Some("/auth%20")),
    ("/authx", Some("/authx")),
    ("/auth/", Some("/auth/")),
    ("/auth", Some("/auth")),
    ("/auth/%61dmin", Some("/auth/admin")),
    ("/auth%252f..", None),
    ("/auth/%252e%252e/x", None),
    ("/auth%c0%af", None),
    ("/auth%u002f", None),
    ("/auth%", None),
    ("/auth%2", None),
    ("/auth/x?/../y", Some("/auth/x")),
    ("/auth?/../x", Some("/auth")),
    ("/api%2e/admin", Some("/api./admin")),
    ("/api/%2e/admin", None),
    ("/api//evil.com/", Some("/api//evil.com/")),
    ("/api@evil", Some("/api@evil")),
    ("/api:80", Some("/api:80")),
    ("/api/http://evil/", Some("/api/http://evil/")),
];

/// Definition of routing: the longest route that equals the path, or that is followed by a slash in
/// it.
fn service(routes: &[&str], path: &str) -> Option<usize> {
    let prefix = |index: usize| routes[index].trim_end_matches('/');
    (0..routes.len())
        .filter(|&index| {
            path.strip_prefix(prefix(index))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|&index| prefix(index).len())
}

fn config(routes: &[&str], base: &str, strip: bool) -> String {
    let services: Vec<String> = (0..routes.len())
        .map(|n| {
            format!(r#"{{ "route": "{}", "target": "http://10.0.0.{n}{base}", "stripPrefix": {strip} }}"#, routes[n])
        })
        .collect();
    format!(
        r#"{{ "services": [ {} ], "rateLimit": false, "cors": false, "securityHeaders": false }}"#,
        services.join(", ")
    )
}

#[test]
fn the_path_bypass_table_on_every_table_of_routes() {
    for routes in TABLES {
        for (base, strip) in [("", true), ("/base", true), ("/base/", true), ("/", false)] {
            let config = config(routes, base, strip);
            for (path, literal) in PATHS {
                for target in [path.to_owned(), format!("http://gate{path}")] {
                    check(routes, &config, &target, literal);
                }
            }
        }
    }
}

fn check(routes: &[&str], config: &str, target: &str, literal: Option<&str>) {
    let what = format!("{target} on {routes:?}, {config}");
    let mut stage = Stage::new(config);
    let client = stage.world.connect();
    stage.world.send(
        client,
        format!("GET {target} HTTP/1.1\r\nHost: gate\r\n\r\n"),
    );
    let dialed = stage.world.dials.first().map(|(_, address)| address.ip());
    stage.play(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    stage.keep(&what);
    let heard = stage.world.received(client);
    let Some(seen) = stage.seen.first() else {
        assert!(
            heard.starts_with("HTTP/1.1 400 ") || heard.starts_with("HTTP/1.1 404 "),
            "{what}: {heard}"
        );
        assert_eq!(dialed, None, "{what}");
        return;
    };
    // A path that is forwarded reaches the service of the literal path, and means the same path
    // there.
    let service = literal.and_then(|literal| service(routes, literal));
    let expected = service.map(|n| std::net::IpAddr::from([10, 0, 0, n as u8]));
    assert_eq!(dialed, expected, "{what}");
    assert!(heard.starts_with("HTTP/1.1 200 "), "{what}: {heard}");
    let path = String::from_utf8(seen.head.path.clone()).expect("ASCII");
    assert!(
        path.starts_with('/') && !path.starts_with("//"),
        "{what}: {path}"
    );
    assert!(
        !path.split('/').any(|segment| matches!(segment, "." | "..")),
        "{what}: {path}"
    );
    let host = seen
        .head
        .fields
        .iter()
        .find(|(name, _)| name == b"Host")
        .map(|(_, value)| value.clone());
    assert_eq!(
        host,
        expected.map(|address| address.to_string().into_bytes()),
        "{what}: the host is the target's"
    );
}

#[test]
fn harmless_paths_reach_their_service() {
    for (path, seen) in [
        ("/auth", "/auth"),
        ("/auth/", "/auth/"),
        ("/auth/x%20y/%C3%A9", "/auth/x%20y/%C3%A9"),
        ("/auth/a.b/..c/.d/e..", "/auth/a.b/..c/.d/e.."),
        ("/auth/x//y", "/auth/x//y"),
        ("/auth/;a=b/c", "/auth/;a=b/c"),
        ("/auth/http://evil/", "/auth/http://evil/"),
        ("/auth?/../x", "/auth?/../x"),
        ("/auth?%2e%2e%00%zz", "/auth?%2e%2e%00%zz"),
        ("/auth/%2B%40", "/auth/%2B%40"),
    ] {
        let client = format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n");
        Requests::default().check(
            path,
            client,
            &[forward(&format!("GET {seen}"), "", "")],
            false,
        );
    }
}
