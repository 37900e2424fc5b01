//! CORS and security headers of a service in the whole engine.

use tollgate::proxy::command::Fault;

use super::script::*;

/// SHA-256 of `abc`.
const KEY: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Services with policies of their own: `/own`, `/off`, and `/top` with those of the top level.
fn config(keys: &str) -> String {
    format!(
        r#"{{ "cors": {{ "origins": ["https://top.test"] }}, "requestId": false,
            "securityHeaders": {{ "X-Top": "1", "Content-Security-Policy": null }},
            "auth": {{ "keys": {{ "type": "apiKey", "keys": {{ "a": "{KEY}" }} }} }}, {keys}
            "services": [
              {{ "route": "/own", "target": "http://10.0.0.1", "methods": ["GET", "POST"],
                "cors": {{ "origins": ["https://own.test"], "credentials": true, "methods": ["GET"] }},
                "securityHeaders": {{ "X-Frame-Options": "DENY", "X-Top": null, "X-Own": "2" }} }},
              {{ "route": "/off", "target": "http://10.0.0.2", "cors": false, "securityHeaders": false }},
              {{ "route": "/guarded", "target": "http://10.0.0.3", "auth": "keys",
                "cors": {{ "origins": ["https://own.test"] }}, "securityHeaders": {{ "X-Own": "3" }} }},
              {{ "route": "/top", "target": "http://10.0.0.4" }} ] }}"#
    )
}

/// Returns the values of a field.
fn values(text: &str, name: &str) -> Vec<String> {
    let lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
    let named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.to_owned()).collect()
}

/// Expects the policies of `/own` in a response to a page of `origin`.
fn expect_own(text: &str, origin: &str) {
    let allowed: &[&str] = match origin {
        "https://own.test" => &["https://own.test"],
        _ => &[],
    };
    assert_eq!(
        values(text, "access-control-allow-origin"),
        allowed,
        "{text}"
    );
    assert_eq!(
        values(text, "access-control-allow-credentials"),
        ["true"],
        "{text}"
    );
    assert_eq!(values(text, "x-frame-options"), ["DENY"], "{text}");
    assert_eq!(values(text, "x-own"), ["2"], "{text}");
    assert_eq!(values(text, "x-top"), [""; 0], "{text}");
    assert_eq!(values(text, "content-security-policy"), [""; 0], "{text}");
    assert_eq!(values(text, "x-xss-protection"), ["0"], "{text}");
}

/// Expects the policies of the top level.
fn expect_top(text: &str, origin: &str) {
    let allowed: &[&str] = match origin {
        "https://top.test" => &["https://top.test"],
        _ => &[],
    };
    assert_eq!(
        values(text, "access-control-allow-origin"),
        allowed,
        "{text}"
    );
    assert_eq!(values(text, "vary"), ["Origin"], "{text}");
    assert_eq!(values(text, "x-frame-options"), ["SAMEORIGIN"], "{text}");
    assert_eq!(values(text, "x-top"), ["1"], "{text}");
    assert_eq!(values(text, "x-own"), [""; 0], "{text}");
}

fn expect_none(text: &str) {
    for name in [
        "access-control-allow-origin",
        "vary",
        "x-frame-options",
        "x-top",
        "x-xss-protection",
    ] {
        assert_eq!(values(text, name), [""; 0], "{name}: {text}");
    }
}

fn get(target: &str, origin: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: gate\r\nOrigin: {origin}\r\n\r\n")
}

#[test]
fn responses_have_the_policies_of_their_service() {
    for origin in ["https://own.test", "https://top.test", "null"] {
        let mut world = World::with(&config(""));
        let client = world.connect();
        for target in ["/own/x", "/off/x", "/top/x"] {
            world.send(client, get(target, origin));
            let upstream = world.accept();
            world.reply(upstream, OK);
            let text = world.received(client);
            match target {
                "/own/x" => expect_own(&text, origin),
                "/off/x" => expect_none(&text),
                _ => expect_top(&text, origin),
            }
        }
        // Before a service is known, the policies of the top level hold.
        for target in ["/nowhere", "/own/../x"] {
            let client = world.connect();
            world.send(client, get(target, origin));
            expect_top(&world.received(client), origin);
        }
        world.expect_quiet();
    }
}

/// The gateway's own replies, each with the policies of the service.
#[test]
fn replies_of_the_gateway_have_the_policies_of_the_service() {
    let origin = "https://own.test";
    let keys = r#""rateLimit": { "requests": 3 }, "limits": { "bodyBytes": 10 }, "timeouts": { "response": "1s" },
        "passiveHealth": false, "retries": 0,"#;
    let mut world = World::with(&config(keys));
    let client = world.connect();
    // 405: the policy is that of the first service with the path.
    world.send(client, get("/own", origin).replacen("GET", "DELETE", 1));
    expect_own(&world.expect_status(client, 405), origin);
    // 413.
    let long = "Content-Length: 11\r\n\r\n12345678901";
    let post = get("/own", origin).replacen("GET", "POST", 1);
    world.send(client, post.replace("\r\n\r\n", &format!("\r\n{long}")));
    expect_own(&world.expect_status(client, 413), origin);
    // 502.
    let client = world.connect();
    world.send(client, get("/own", origin));
    world.refuse(Fault::Refused);
    expect_own(&world.expect_status(client, 502), origin);
    // 429.
    let client = world.connect();
    world.send(client, get("/own", origin));
    expect_own(&world.expect_status(client, 429), origin);
    world.expect_quiet();

    // 504.
    let mut world = World::with(&config(keys));
    let client = world.connect();
    world.send(client, get("/own", origin));
    let _upstream = world.accept();
    world.wait(1300);
    expect_own(&world.expect_status(client, 504), origin);

    // 401, and what the other services say of themselves.
    let mut world = World::with(&config(keys));
    let client = world.connect();
    world.send(client, get("/guarded", origin));
    let text = world.expect_status(client, 401);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        [origin],
        "{text}"
    );
    assert_eq!(values(&text, "x-own"), ["3"], "{text}");
    assert_eq!(values(&text, "x-top"), ["1"], "{text}");
    let client = world.connect();
    world.send(client, get("/off", origin));
    world.refuse(Fault::Refused);
    expect_none(&world.expect_status(client, 502));
}

fn preflight(target: &str, origin: &str, method: &str) -> String {
    format!(
        "OPTIONS {target} HTTP/1.1\r\nHost: gate\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\r\n"
    )
}

#[test]
fn preflights_have_the_policy_of_the_service_that_is_asked_for() {
    let mut world = World::with(&config(""));
    let client = world.connect();
    for (target, origin, allowed, methods) in [
        ("/own", "https://own.test", true, "GET"),
        ("/own", "https://top.test", false, "GET"),
        (
            "/guarded/x",
            "https://own.test",
            true,
            "GET,HEAD,PUT,PATCH,POST,DELETE",
        ),
        (
            "/top",
            "https://top.test",
            true,
            "GET,HEAD,PUT,PATCH,POST,DELETE",
        ),
        (
            "/top",
            "https://own.test",
            false,
            "GET,HEAD,PUT,PATCH,POST,DELETE",
        ),
        (
            "/nowhere",
            "https://top.test",
            true,
            "GET,HEAD,PUT,PATCH,POST,DELETE",
        ),
    ] {
        world.send(client, preflight(target, origin, "PUT"));
        let text = world.expect_status(client, 204);
        let expected: &[&str] = if allowed { &[origin] } else { &[] };
        assert_eq!(
            values(&text, "access-control-allow-origin"),
            expected,
            "{target} {origin}: {text}"
        );
        assert_eq!(
            values(&text, "access-control-allow-methods"),
            [methods],
            "{target}: {text}"
        );
    }
    world.expect_no_dial();
    // A service without CORS gets its preflights itself.
    world.send(client, preflight("/off", "https://top.test", "PUT"));
    let upstream = world.accept();
    assert!(
        world
            .received_upstream(upstream)
            .starts_with("OPTIONS / HTTP/1.1\r\n")
    );
    world.reply(
        upstream,
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n\r\n",
    );
    let text = world.expect_status(client, 204);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        ["*"],
        "{text}"
    );
    world.expect_quiet();
}

/// Authentication lets preflights in. A preflight for a service without CORS must therefore not lead
/// to a guarded service that has it and answers every other preflight here.
#[test]
fn no_preflight_walks_round_a_guard() {
    let config = format!(
        r#"{{ "cors": false, "securityHeaders": false, "requestId": false,
            "auth": {{ "keys": {{ "type": "apiKey", "keys": {{ "a": "{KEY}" }} }} }},
            "services": [
              {{ "route": "/a", "methods": ["GET"], "target": "http://10.0.0.1" }},
              {{ "route": "/a", "target": "http://10.0.0.2", "auth": "keys", "cors": {{ "origins": ["https://a.test"] }} }} ] }}"#
    );
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(client, preflight("/a", "https://a.test", "GET"));
    let text = world.expect_status(client, 204);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        [""; 0],
        "{text}"
    );
    assert_eq!(
        values(&text, "access-control-allow-methods"),
        [""; 0],
        "{text}"
    );
    assert_eq!(values(&text, "allow").len(), 1, "{text}");
    world.send(client, preflight("/a", "https://a.test", "PUT"));
    let text = world.expect_status(client, 204);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        ["https://a.test"],
        "{text}"
    );
    // An OPTIONS request with a cookie is no preflight; the service answers OPTIONS here.
    let cookie =
        preflight("/a", "https://a.test", "GET").replace("\r\n\r\n", "\r\nCookie: a=b\r\n\r\n");
    world.send(client, cookie);
    let text = world.expect_status(client, 204);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        ["https://a.test"],
        "{text}"
    );
    world.expect_no_dial();
    world.expect_quiet();
}

/// Scripts may read the fields of a rate limit where the CORS of the service is on.
#[test]
fn rate_limit_fields_are_exposed_by_the_cors_of_the_service() {
    for (top, service, limit, exposed) in [
        ("true", "true", "", true),
        ("true", "false", "", false),
        ("false", "true", "", true),
        ("false", "false", "", false),
        ("true", "false", r#""rateLimit": { "requests": 5 },"#, false),
        ("false", "true", r#""rateLimit": { "requests": 5 },"#, true),
    ] {
        let config = format!(
            r#"{{ "cors": {top}, "rateLimit": {{ "requests": 9, "headers": "draft" }}, "services": [
                {{ "route": "/", "cors": {service}, {limit} "target": "http://10.0.0.1" }} ] }}"#
        );
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(client, get("/", "https://a.test"));
        let upstream = world.accept();
        world.reply(upstream, OK);
        let text = world.received(client);
        let expected: &[&str] = match exposed {
            true => &["RateLimit-Policy,RateLimit"],
            false => &[],
        };
        assert_eq!(
            values(&text, "access-control-expose-headers"),
            expected,
            "{config}: {text}"
        );
        assert_eq!(values(&text, "ratelimit-policy").len(), 1, "{text}");
    }
}

/// A request ends under the policies that it began with; the next one has the new ones.
#[test]
fn a_reload_changes_the_policies_of_a_service() {
    let mut world = World::with(&config(""));
    let client = world.connect();
    world.send(client, get("/own", "https://own.test"));
    let upstream = world.accept();
    world.reload(
        &config("")
            .replace("https://own.test", "https://new.test")
            .replace("DENY", "SAMEORIGIN"),
    );
    world.reply(upstream, OK);
    expect_own(&world.received(client), "https://own.test");
    world.send(client, get("/own", "https://new.test"));
    world.reply(upstream, OK);
    let text = world.received(client);
    assert_eq!(
        values(&text, "access-control-allow-origin"),
        ["https://new.test"],
        "{text}"
    );
    assert_eq!(values(&text, "x-frame-options"), ["SAMEORIGIN"], "{text}");
    world.expect_quiet();
}

// --- URLs and cookie paths of the target ---

/// Sends a request to `/r` and returns the response to it; `fields`: what the upstream says.
fn rewritten(config: &str, request: &str, fields: &str) -> String {
    let mut world = World::with(config);
    let client = world.connect();
    world.send(client, request);
    let upstream = world.accept();
    world.reply(
        upstream,
        format!("HTTP/1.1 302 Found\r\nX-A: 1\r\n{fields}X-B: 2\r\nContent-Length: 0\r\n\r\n"),
    );
    let text = world.received(client);
    assert!(
        text.contains("X-A: 1\r\n") && text.contains("X-B: 2\r\n"),
        "{text}"
    );
    world.expect_quiet();
    text
}

fn both(keys: &str, service: &str) -> String {
    format!(
        r#"{{ "cors": false, "securityHeaders": false, "requestId": false, {keys} "services": [
            {{ "route": "/r", "rewriteLocation": true, "rewriteCookiePath": true, {service} }} ] }}"#
    )
}

const ASKED: &str = "GET /r/x HTTP/1.1\r\nHost: gate:8443\r\n\r\n";

#[test]
fn urls_of_the_target_become_the_clients() {
    let config = both("", r#""target": "http://10.0.0.1:81/base/""#);
    for (fields, name, expected) in [
        (
            "Location: http://10.0.0.1:81/base/y?z#f\r\n",
            "location",
            &["http://gate:8443/r/y?z#f"][..],
        ),
        (
            "LOCATION:http://10.0.0.1:81/base\r\n",
            "location",
            &["http://gate:8443/r"],
        ),
        (
            "Content-Location: http://10.0.0.1:81/base/y\r\n",
            "content-location",
            &["http://gate:8443/r/y"],
        ),
        (
            "Refresh: 5; url=http://10.0.0.1:81/base/y\r\n",
            "refresh",
            &["5; url=http://gate:8443/r/y"],
        ),
        ("Location: /base/y\r\n", "location", &["/base/y"]),
        ("Location: y\r\n", "location", &["y"]),
        (
            "Location: http://other/base/y\r\n",
            "location",
            &["http://other/base/y"],
        ),
        (
            "Location: http://10.0.0.1/base/y\r\n",
            "location",
            &["http://10.0.0.1/base/y"],
        ),
        ("Location: \r\n", "location", &[""]),
        (
            "Set-Cookie: a=1; Path=/base/y\r\nSet-Cookie: b=2\r\nSet-Cookie: c=Path=/base; path = /\r\n",
            "set-cookie",
            &["a=1; Path=/r/y", "b=2", "c=Path=/base; path = /r"],
        ),
        // A line that the connection alone is for goes.
        (
            "Connection: location\r\nLocation: http://10.0.0.1:81/base/y\r\n",
            "location",
            &[],
        ),
    ] {
        let text = rewritten(&config, ASKED, fields);
        assert_eq!(values(&text, name), expected, "{fields}: {text}");
    }
    // Neither is done where it is not asked for.
    for (key, location, cookie) in [
        (
            "rewriteLocation",
            "http://10.0.0.1:81/base/y",
            "a=1; Path=/r",
        ),
        (
            "rewriteCookiePath",
            "http://gate:8443/r/y",
            "a=1; Path=/base",
        ),
    ] {
        let config = config.replace(&format!("\"{key}\": true"), &format!("\"{key}\": false"));
        let fields = "Location: http://10.0.0.1:81/base/y\r\nSet-Cookie: a=1; Path=/base\r\n";
        let text = rewritten(&config, ASKED, fields);
        assert_eq!(values(&text, "location"), [location], "{text}");
        assert_eq!(values(&text, "set-cookie"), [cookie], "{text}");
    }
}

#[test]
fn what_the_client_asked_for() {
    let fields = "Location: http://10.0.0.1/base/y\r\nSet-Cookie: a=1; Path=/base\r\n";
    let target = r#""target": "http://10.0.0.1/base""#;
    let trusts = r#""trustedProxies": ["192.0.2.0/24"],"#;
    let said = "GET /r HTTP/1.1\r\nHost: gate\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: pub.test\r\n\r\n";
    for (keys, service, request, location) in [
        ("", target, said, "http://gate/r/y"),
        (trusts, target, said, "https://pub.test/r/y"),
        (trusts, target, ASKED, "http://gate:8443/r/y"),
        (
            "",
            target,
            "GET http://abs.test/r HTTP/1.1\r\nHost: abs.test\r\n\r\n",
            "http://abs.test/r/y",
        ),
        ("", target, "GET /r HTTP/1.0\r\n\r\n", "/r/y"),
        // The prefix stays, and so the target's path alone goes.
        (
            "",
            r#""target": "http://10.0.0.1/base", "stripPrefix": false"#,
            ASKED,
            "http://gate:8443/y",
        ),
        // The URL of a target that did not answer.
        (
            "",
            r#""targets": ["http://10.0.0.9/base", { "url": "http://10.0.0.1/base", "backup": true }]"#,
            ASKED,
            "http://gate:8443/r/y",
        ),
    ] {
        let text = rewritten(&both(keys, service), request, fields);
        assert_eq!(
            values(&text, "location"),
            [location],
            "{service} {request}: {text}"
        );
    }
    // Over TLS.
    let mut world = World::with(&both("", target));
    let client = world.connect_by(tollgate::proxy::command::ListenerKind::Secure);
    world.secured(client, None);
    world.send(client, ASKED);
    let upstream = world.accept();
    world.reply(
        upstream,
        format!("HTTP/1.1 302 Found\r\n{fields}Content-Length: 0\r\n\r\n"),
    );
    let text = world.received(client);
    assert_eq!(
        values(&text, "location"),
        ["https://gate:8443/r/y"],
        "{text}"
    );
    assert_eq!(values(&text, "set-cookie"), ["a=1; Path=/r"], "{text}");
}

/// Named origins and rewritten URLs keep their texts of the request apart, also for a reply of the
/// gateway's own.
#[test]
fn the_origin_is_kept_beside_the_url() {
    let cors = r#""target": "http://10.0.0.1/base", "cors": { "origins": ["https://a.test", "https://*.p.test"] }"#;
    let config = both("", cors);
    for origin in ["https://a.test", "https://x.y.p.test", "https://b.test", ""] {
        let line = if origin.is_empty() {
            String::new()
        } else {
            format!("Origin: {origin}\r\n")
        };
        let request = format!("GET /r HTTP/1.1\r\nHost: gate\r\n{line}\r\n");
        let allowed = [origin];
        let allowed = if ["", "https://b.test"].contains(&origin) {
            &[][..]
        } else {
            &allowed[..]
        };
        let text = rewritten(&config, &request, "Location: http://10.0.0.1/base\r\n");
        assert_eq!(
            values(&text, "access-control-allow-origin"),
            allowed,
            "{text}"
        );
        assert_eq!(values(&text, "location"), ["http://gate/r"], "{text}");
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(client, &request);
        world.refuse(Fault::Refused);
        let text = world.expect_status(client, 502);
        assert_eq!(
            values(&text, "access-control-allow-origin"),
            allowed,
            "{text}"
        );
    }
}

/// A head may grow by a bounded number of bytes.
#[test]
fn the_growth_of_a_head_has_a_bound() {
    let route = format!("/{}", "r".repeat(1000));
    let config =
        both("", r#""target": "http://10.0.0.1/b""#).replace("\"/r\"", &format!("\"{route}\""));
    for (count, status) in [(10, 200), (200, 502)] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(
            client,
            format!("GET {route} HTTP/1.1\r\nHost: gate\r\n\r\n"),
        );
        let upstream = world.accept();
        let cookies = "Set-Cookie: a=1; Path=/b\r\n".repeat(count);
        world.reply(
            upstream,
            format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n"),
        );
        let text = world.expect_status(client, status);
        assert_eq!(
            text.matches(&format!("Path={route}\r\n")).count(),
            if status == 200 { count } else { 0 }
        );
    }
}

/// The 101 of a WebSocket sets cookies, too.
#[test]
fn cookies_of_a_101() {
    let config = both("", r#""target": "http://10.0.0.1/base""#);
    let mut world = World::with(&config);
    let client = world.connect();
    world.send(
        client,
        "GET /r HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let upstream = world.accept();
    world.reply(
        upstream,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: a=1; Path=/base\r\n\r\n",
    );
    let text = world.received(client);
    assert_eq!(values(&text, "set-cookie"), ["a=1; Path=/r"], "{text}");
}
