//! Paths that different readers interpret differently, on a gateway that guards `/admin`.

use super::*;

/// `/admin` has its own service; all other paths belong to the public one.
const GUARDED: &str = r#"{ "services": [ { "route": "/admin", "target": "http://10.0.0.1/admin" }, { "route": "/", "target": "http://10.0.0.2" } ],
    "rateLimit": false, "cors": false, "securityHeaders": false }"#;

/// Field that tells the upstream which prefix was stripped.
const PREFIX: &str = "X-Forwarded-Prefix: /a/long/prefix\r\n";

/// The prefix is longer than the path that replaces it.
const SHORTER: &str = r#"{ "services": [ { "route": "/a/long/prefix", "target": "http://10.0.0.1" } ],
    "rateLimit": false, "cors": false, "securityHeaders": false }"#;

pub fn bugs() -> Vec<Bug> {
    let mut bugs = of_spelling();
    bugs.extend(of_authorities());
    bugs
}

#[test]
fn path_bugs() {
    hold(bugs());
}

fn on(config: &'static str, target: &str, expect: Expect) -> Probe {
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: gate\r\n\r\n");
    // The path is refused after a valid head, but every 400 ends the connection.
    let closed = expect == reply(400);
    client(
        Requests {
            config,
            ..Requests::default()
        },
        bytes,
        [expect],
        closed,
    )
}

/// Returns a probe with a path that some reader takes for `/admin`: no upstream gets it.
fn nowhere(target: &str) -> Probe {
    on(GUARDED, target, reply(400))
}

fn public(target: &str) -> Probe {
    on(
        GUARDED,
        target,
        forward(&format!("GET {target}"), "Host: 10.0.0.2\r\n", ""),
    )
}

fn admin(target: &str) -> Probe {
    on(GUARDED, target, forward(&format!("GET {target}"), "", ""))
}

fn of_spelling() -> Vec<Bug> {
    vec![
        bug(
            "Envoy CVE-2019-9901",
            "a path is matched before dot segments and slashes are merged",
            [
                nowhere("/x/../admin"),
                nowhere("/./admin"),
                nowhere("//admin"),
                nowhere("/admin/../x"),
            ],
        ),
        bug(
            "Envoy CVE-2021-29492",
            "%2F and %5C are slashes to the upstream alone",
            [
                nowhere("/x%2f..%2fadmin"),
                nowhere("/%2fadmin"),
                nowhere("/%5cadmin"),
                nowhere("/x%5C..%5Cadmin"),
                nowhere("/x\\..\\admin"),
            ],
        ),
        bug(
            "Envoy CVE-2021-32779",
            "a # ends the path for one of two readers",
            [
                nowhere("/admin#x"),
                nowhere("/x#/admin"),
                nowhere("/admin%23x"),
            ],
        ),
        bug(
            "Traefik CVE-2025-32431",
            "PathPrefix matches a path with /../",
            [
                nowhere("/public/../admin"),
                nowhere("/public/..;/admin"),
                nowhere("/public/..;x=y/admin"),
            ],
        ),
        bug(
            "Traefik GHSA-vrch-868g-9jx5",
            "PathPrefix matches a path with an encoded /../",
            [
                nowhere("/public/%2e%2e/admin"),
                nowhere("/public/.%2E/admin"),
                nowhere("/public%2f%2e%2e%2fadmin"),
                nowhere("/public/%252e%252e/admin"),
            ],
        ),
        bug(
            "Traefik CVE-2025-66490",
            "encoded delimiters hide where a path leads",
            [
                nowhere("/admin%2Fx"),
                nowhere("/admin%5Cx"),
                nowhere("/admin%00"),
                nowhere("/admin%3Fx"),
                nowhere("/admin%23"),
                // A decoded `;` leads to the same route: a parameter is part of its segment.
                public("/admin%3Bx"),
                public("/admin;x"),
            ],
        ),
        bug(
            "Traefik 2026, StripPrefix",
            "what is left behind the prefix is a dot segment",
            [
                nowhere("/admin/./x"),
                nowhere("/admin/%2e/x"),
                on(SHORTER, "/a/long/prefix/%2e/admin", reply(400)),
                on(SHORTER, "/a/long/prefix/.", reply(400)),
                on(SHORTER, "/a/long/prefix//admin", reply(400)),
                public("/admin%2e/x"),
            ],
        ),
        bug(
            "Caddy #4407",
            "a doubled slash is no prefix, but the upstream merges it",
            [
                nowhere("//admin"),
                nowhere("///admin"),
                nowhere("/admin//x"),
                admin("/admin/x//y"),
            ],
        ),
        bug(
            "Caddy CVE-2026-27587",
            "a path with escapes is compared by another rule than one without",
            [
                nowhere("/%61dmin"),
                nowhere("/%41dmin/../admin"),
                nowhere("/adm%69n/x"),
                public("/%41dmin"),
                admin("/admin/%41"),
            ],
        ),
        bug(
            "Caddy CVE-2026-27588",
            "a short cut for many entries compares by another rule than the loop",
            [
                Probe::Scene(many_routes_match_as_one_does),
                held_by(
                    include_str!("../../../src/policy/route.rs"),
                    "agrees_with_the_definition",
                ),
            ],
        ),
        bug(
            "Caddy GHSA-m8m5",
            "the matcher and the handler have two ideas of the path",
            [
                held_by(
                    include_str!("../../../src/policy/route.rs"),
                    "no_spelling_reaches_another_service",
                ),
                nowhere("/%2561dmin"),
                nowhere("/x%2f%61dmin"),
            ],
        ),
        bug(
            "nginx 2025-11",
            "a rewritten path that is shorter than its prefix is read beyond its end",
            [
                held_by(
                    include_str!("../../../src/policy/route.rs"),
                    "what_goes_upstream_is_a_plain_path",
                ),
                on(SHORTER, "/a/long/prefix", forward("GET /", PREFIX, "")),
                on(SHORTER, "/a/long/prefix?q", forward("GET /?q", PREFIX, "")),
                on(SHORTER, "/a/long/prefix/", forward("GET /", PREFIX, "")),
                on(SHORTER, "/a/long/prefix/x", forward("GET /x", PREFIX, "")),
                on(SHORTER, "/a/long/prefi", reply(404)),
            ],
        ),
        bug(
            "nginx, alias off by a slash",
            "a prefix that ends within a segment",
            [
                on(SHORTER, "/a/long/prefix../x", reply(404)),
                on(SHORTER, "/a/long/prefixed", reply(404)),
                public("/admins"),
                public("/admin.."),
            ],
        ),
    ]
}

fn of_authorities() -> Vec<Bug> {
    vec![
        bug(
            "fast-proxy #42",
            "//host in a path is a new authority",
            [
                on(SHORTER, "//10.10.10.10", reply(404)),
                on(SHORTER, "//10.10.10.10/a/long/prefix", reply(404)),
                nowhere("//10.10.10.10/admin"),
                on(SHORTER, "/a/long/prefix//10.10.10.10", reply(400)),
            ],
        ),
        bug(
            "harp #855",
            "a URL within the path is where the request goes",
            [
                on(SHORTER, "/http://evil/", reply(404)),
                on(
                    SHORTER,
                    "/a/long/prefix/http://evil/",
                    forward("GET /http://evil/", PREFIX, ""),
                ),
                on(SHORTER, "/a/long/prefix@evil", reply(404)),
                on(SHORTER, "/a/long/prefix:80", reply(404)),
                on(SHORTER, "http://evil/a/long/prefix", reply(400)),
            ],
        ),
        bug(
            "http-proxy-middleware 4, tables",
            "a table of host and path matches in the middle of either",
            [
                on(SHORTER, "/x/a/long/prefix", reply(404)),
                on(SHORTER, "/?/a/long/prefix", reply(404)),
                public("/x/admin"),
                public("/x?/admin"),
            ],
        ),
    ]
}

/// All routes follow the same rule, independent of their number.
fn many_routes_match_as_one_does() {
    for count in [1, 2, 50, 101, 1_000] {
        let routes: Vec<String> = (0..count).map(|n| format!("/r{n}")).collect();
        let table = tollgate::policy::route::RouteTable::new(routes.iter().map(String::as_str));
        for (n, route) in routes.iter().enumerate() {
            let found = |path: &str| {
                table
                    .resolve(path.as_bytes())
                    .ok()
                    .map(|found| found.service)
            };
            assert_eq!(found(route), Some(n));
            assert_eq!(found(&format!("{route}/x")), Some(n));
            assert_eq!(found(&route.to_uppercase()), None, "{route} of {count}");
            assert_eq!(found(&format!("{route}x")), None, "{route} of {count}");
        }
    }
}
