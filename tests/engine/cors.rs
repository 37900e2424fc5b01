//! CORS, security headers and forwarded headers in the whole engine.

use tollgate::proxy::command::Fault;

use super::script::*;

const DEFAULTS: &str =
    r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ] }"#;

const SECURITY: &str = "Content-Security-Policy: default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
    frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';\
    style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests\r\nCross-Origin-Opener-Policy: same-origin\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nOrigin-Agent-Cluster: ?1\r\nReferrer-Policy: no-referrer\r\n\
    Strict-Transport-Security: max-age=31536000; includeSubDomains\r\nX-Content-Type-Options: nosniff\r\nX-DNS-Prefetch-Control: off\r\n\
    X-Download-Options: noopen\r\nX-Frame-Options: SAMEORIGIN\r\nX-Permitted-Cross-Domain-Policies: none\r\nX-XSS-Protection: 0\r\n";

fn answer(config: &str, reply: &str, fields: &str) -> String {
    let mut world = World::with(config);
    let client = world.connect();
    world.send(
        client,
        format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n"),
    );
    let origin = world.accept();
    world.reply(origin, reply);
    let text = world.received(client);
    world.expect_quiet();
    text
}

#[test]
fn every_response_gets_both_blocks() {
    let text = answer(
        DEFAULTS,
        "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
        "",
    );
    assert_eq!(
        text,
        format!(
            "HTTP/1.1 200 OK\r\nDate: x\r\nAccess-Control-Allow-Origin: *\r\n{SECURITY}Content-Length: 0\r\n\r\n"
        )
    );
}

#[test]
fn fields_of_the_upstream_stay() {
    let reply = "HTTP/1.1 200 OK\r\nDate: x\r\naccess-control-allow-origin: https://own\r\nx-frame-options: DENY\r\nX-XSS-protection: 1\r\nContent-Length: 0\r\n\r\n";
    let text = answer(DEFAULTS, reply, "");
    let rest = SECURITY
        .replace("X-Frame-Options: SAMEORIGIN\r\n", "")
        .replace("X-XSS-Protection: 0\r\n", "");
    assert_eq!(
        text,
        format!(
            "HTTP/1.1 200 OK\r\nDate: x\r\naccess-control-allow-origin: https://own\r\nx-frame-options: DENY\r\nX-XSS-protection: 1\r\n{rest}Content-Length: 0\r\n\r\n"
        )
    );
}

/// A browser joins two lines of a name to one value, which it does not know (Fetch standard, CORS
/// check). Therefore the response has either the CORS lines of the upstream or those of the
/// gateway.
#[test]
fn no_cors_line_comes_twice() {
    let lines = |text: &str| {
        let cors = |line: &&str| line.to_ascii_lowercase().starts_with("access-control-");
        text.split("\r\n")
            .filter(cors)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let any = r#"{ "securityHeaders": false,"#;
    let named = r#"{ "securityHeaders": false, "cors": { "origins": ["https://a"], "credentials": true, "exposeHeaders": ["X-One"] },"#;
    let ours = [
        "Access-Control-Allow-Origin: https://a",
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Expose-Headers: X-One",
    ];
    let denied = &ours[1..];
    let star: &[&str] = &["Access-Control-Allow-Origin: *"];
    for (config, origin, sent, expected) in [
        // The upstream sends no origin line, so the gateway's lines replace its other ones.
        (
            named,
            "https://a",
            "Access-Control-Allow-Credentials: true\r\n",
            &ours[..],
        ),
        (
            named,
            "https://a",
            "access-control-allow-credentials: true\r\nACCESS-CONTROL-ALLOW-METHODS: GET\r\n",
            &ours,
        ),
        (
            named,
            "https://a",
            "Access-Control-Allow-Headers: x\r\nAccess-Control-Allow-Private-Network: true\r\n",
            &ours,
        ),
        (
            named,
            "https://a",
            "Access-Control-Expose-Headers: X-Two\r\nAccess-Control-Expose-Headers: X-One\r\n",
            &ours,
        ),
        (
            named,
            "https://b",
            "Access-Control-Allow-Credentials: true\r\n",
            denied,
        ),
        (
            any,
            "https://a",
            "Access-Control-Allow-Credentials: true\r\n",
            star,
        ),
        // The gateway sends no lines with these names.
        (
            any,
            "https://a",
            "Access-Control-Expose-Headers: X-Two\r\n",
            &["Access-Control-Expose-Headers: X-Two", star[0]],
        ),
        (
            any,
            "https://a",
            "Access-Control-Max-Age: 5\r\n",
            &["Access-Control-Max-Age: 5", star[0]],
        ),
        // The upstream sends an origin line, so its lines stay.
        (
            named,
            "https://a",
            "Access-Control-Allow-Origin: https://own\r\nAccess-Control-Expose-Headers: X-Two\r\n",
            &[
                "Access-Control-Allow-Origin: https://own",
                "Access-Control-Expose-Headers: X-Two",
            ],
        ),
        (
            named,
            "https://a",
            "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Origin: https://a\r\n",
            &[
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Allow-Origin: https://a",
            ],
        ),
        (
            any,
            "https://a",
            "Access-Control-Allow-Origin:\r\n",
            &["Access-Control-Allow-Origin:"],
        ),
    ] {
        let config = DEFAULTS.replacen('{', config, 1);
        let reply = format!("HTTP/1.1 200 OK\r\nDate: x\r\n{sent}Content-Length: 0\r\n\r\n");
        let text = answer(&config, &reply, &format!("Origin: {origin}\r\n"));
        assert_eq!(lines(&text), expected, "{config} {sent}");
    }
    // For a route without `cors` the upstream's lines stay unchanged.
    let sent = "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET\r\n";
    let text = answer(
        PLAIN,
        &format!("HTTP/1.1 200 OK\r\n{sent}Content-Length: 0\r\n\r\n"),
        "Origin: https://a\r\n",
    );
    assert!(text.contains(sent), "{text}");
}

#[test]
fn options_are_answered_before_routing_and_not_counted() {
    let config = DEFAULTS.replacen('{', r#"{ "rateLimit": { "requests": 1 },"#, 1);
    let mut world = World::with(&config);
    let client = world.connect();
    for target in ["/auth", "/nowhere", "*", "/auth/../x"] {
        world.send(client, format!("OPTIONS {target} HTTP/1.1\r\nHost: gate\r\nOrigin: http://a\r\nAccess-Control-Request-Headers: x-a, x-b\r\n\r\n"));
        world.expect(
            client,
            "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n\
             Vary: Access-Control-Request-Headers\r\nAccess-Control-Allow-Headers: x-a, x-b\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n",
        );
    }
    world.expect_no_dial();
    world.expect_open(client);
    world.expect_quiet();
}

#[test]
fn options_that_are_forwarded() {
    let off = r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ], "cors": false, "securityHeaders": false }"#;
    let part = off.replace("\"cors\": false", r#""cors": { "forwardOptions": true }"#);
    let preflight = "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nOrigin: http://a\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    let plain = "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\n\r\n";
    for (config, request, forwarded) in [
        (off, preflight, true),
        (off, plain, true),
        (part.as_str(), preflight, false),
        (part.as_str(), plain, true),
    ] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(client, request);
        if forwarded {
            let origin = world.accept();
            assert!(
                world
                    .received_upstream(origin)
                    .starts_with("OPTIONS /auth HTTP/1.1\r\n")
            );
        } else {
            world.expect_status(client, 204);
        }
    }
    let mut world = World::with(off);
    let client = world.connect();
    world.send(client, "OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n");
    assert!(world.expect_status(client, 204).contains("Allow: GET,"));
    for (given, forwarded) in [
        ("0", None),
        ("1", Some("0")),
        ("010", Some("9")),
        ("x", None),
    ] {
        let client = world.connect();
        world.send(
            client,
            format!("OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nMax-Forwards: {given}\r\n\r\n"),
        );
        match forwarded {
            Some(left) => {
                let origin = world.accept();
                assert!(
                    world
                        .received_upstream(origin)
                        .contains(&format!("\r\nMax-Forwards: {left}\r\n"))
                );
            }
            None => assert!(world.received(client).starts_with(if given == "0" {
                "HTTP/1.1 204 "
            } else {
                "HTTP/1.1 400 "
            })),
        }
    }
}

#[test]
fn named_origins() {
    let config = DEFAULTS.replacen(
        '{',
        r#"{ "securityHeaders": false, "cors": { "origins": ["https://a"], "credentials": true },"#,
        1,
    );
    let reply = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n";
    let text = answer(&config, reply, "Origin: https://a\r\n");
    assert!(
        text.contains(
            "Access-Control-Allow-Origin: https://a\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n"
        ),
        "{text}"
    );
    for fields in ["", "Origin: https://b\r\n"] {
        let text = answer(&config, reply, fields);
        assert!(
            !text.contains("Allow-Origin") && text.contains("Vary: Origin\r\n"),
            "{text}"
        );
    }
}

/// A page must be able to read why its request failed, whether the gateway or the upstream answers.
#[test]
fn named_origins_read_the_gateways_own_replies() {
    let config = DEFAULTS.replacen(
        '{',
        r#"{ "securityHeaders": false, "cors": { "origins": ["https://a"] },"#,
        1,
    );
    for (target, status) in [
        ("/auth", 502),
        ("/nowhere", 404),
        ("/auth/../x", 400),
        ("/auth#x", 400),
    ] {
        for (origin, allowed) in [
            ("Origin: https://a\r\n", true),
            ("Origin: https://b\r\n", false),
            ("", false),
        ] {
            let mut world = World::with(&config);
            let client = world.connect();
            world.send(
                client,
                format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{origin}\r\n"),
            );
            if status == 502 {
                world.refuse(Fault::Refused);
            }
            let text = world.expect_status(client, status);
            let named = text.contains("\r\nAccess-Control-Allow-Origin: https://a\r\n");
            assert_eq!(named, allowed, "{target} {origin:?}: {text}");
            assert_eq!(
                text.contains("Allow-Origin"),
                allowed,
                "{target} {origin:?}: {text}"
            );
            assert!(text.contains("\r\nVary: Origin\r\n"), "{text}");
            world.expect_quiet();
        }
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let config = PLAIN.replacen('{', r#"{ "trustedProxies": ["192.0.2.0/24"],"#, 1);
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nX-Forwarded-Port: 443\r\n\r\n",
    );
    let origin = world.accept();
    world.expect_upstream(
        origin,
        "GET /auth HTTP/1.1\r\nHost: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nX-Forwarded-Port: 443\r\n\
         X-Forwarded-For: 6.6.6.6, 203.0.113.9, 192.0.2.1\r\nVia: 1.1 tollgate\r\n\r\n",
    );
    world.reply(origin, OK);
    world.expect(client, OK);
    assert!(world.log()[0].starts_with("203.0.113.9 - - ["));
    world.expect_quiet();
}

/// RFC 7239 8.1: fields about the client are trusted only from a trusted proxy. `Proxy` is never
/// trusted (httpoxy).
#[test]
fn forwarding_fields_of_an_untrusted_peer_are_replaced() {
    let said = "Forwarded: for=203.0.113.9;proto=https;host=public\r\nX-Real-IP: 203.0.113.9\r\n";
    for (config, connection, believed) in [
        (PLAIN.to_owned(), "", false),
        (
            PLAIN.to_owned(),
            "Connection: forwarded, x-real-ip, proxy\r\n",
            false,
        ),
        (
            PLAIN.replacen('{', r#"{ "trustedProxies": ["198.51.100.0/24"],"#, 1),
            "",
            false,
        ),
        (
            PLAIN.replacen('{', r#"{ "trustedProxies": ["192.0.2.0/24"],"#, 1),
            "",
            true,
        ),
        // Connection options must not remove the fields that the proxy sets.
        (
            PLAIN.replacen('{', r#"{ "trustedProxies": ["192.0.2.0/24"],"#, 1),
            "Connection: forwarded, x-real-ip\r\n",
            true,
        ),
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(
            client,
            format!(
                "GET /auth HTTP/1.1\r\nHost: gate\r\n{connection}{said}Proxy: http://evil\r\n\r\n"
            ),
        );
        let origin = world.accept();
        let seen = world.received_upstream(origin);
        assert_eq!(
            seen.contains(said),
            believed,
            "{config} {connection}: {seen}"
        );
        assert_eq!(seen.contains("203.0.113.9"), believed, "{seen}");
        assert!(!seen.contains("evil"), "{seen}");
    }
}

/// An empty line has no value, so the gateway sets its own.
#[test]
fn a_trusted_proxy_without_forwarding_fields() {
    let config = PLAIN.replacen('{', r#"{ "trustedProxies": ["192.0.2.0/24"],"#, 1);
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For:\r\nX-Forwarded-Proto:\r\nX-Forwarded-Host:\r\n\r\n",
    );
    let origin = world.accept();
    world.expect_upstream(origin, GET_UPSTREAM);
}

#[test]
fn the_limit_counts_the_client_behind_a_trusted_proxy() {
    let config = DEFAULTS.replacen(
        '{',
        r#"{ "trustedProxies": ["192.0.2.1"], "rateLimit": { "requests": 1 },"#,
        1,
    );
    let mut world = World::with(&config);
    let client = world.connect();
    for (address, status) in [
        ("203.0.113.1", 404),
        ("203.0.113.2", 404),
        ("203.0.113.1", 429),
        ("203.0.113.3, 203.0.113.2", 429),
    ] {
        world.send(
            client,
            format!("GET /nowhere HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For: {address}\r\n\r\n"),
        );
        world.expect_status(client, status);
    }
    world.expect_quiet();
}

#[test]
fn no_nomination_removes_what_is_ours_to_say() {
    let config = PLAIN.replacen('{', r#"{ "trustedProxies": ["192.0.2.0/24"],"#, 1);
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: X-Forwarded-Proto, x-forwarded-host\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\n\r\n",
    );
    let origin = world.accept();
    let seen = world.received_upstream(origin);
    assert!(
        seen.contains("X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\n"),
        "{seen}"
    );
    world.reply(origin, OK);
    world.expect(client, OK);

    let reply = OK.replacen(
        "\r\n",
        "\r\nConnection: X-Frame-Options, Access-Control-Allow-Origin\r\nX-Frame-Options: DENY\r\nAccess-Control-Allow-Origin: https://a\r\n",
        1,
    );
    let mut world = World::with(DEFAULTS);
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, reply);
    let text = world.received(client);
    assert!(
        text.contains("X-Frame-Options: ") && text.contains("Access-Control-Allow-Origin: "),
        "{text}"
    );
}
