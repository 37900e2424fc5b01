//! Header edits: `requestHeaders` and `responseHeaders` in the whole engine.

use tollgate::limits::VIA_LOOPS_MAX;
use tollgate::policy::auth::api_key::KeyHash;
use tollgate::policy::auth::basic::PasswordHash;
use tollgate::proxy::command::{Fault, ListenerKind};

use super::auth::{SECRET, anns, token};
use super::script::*;

const DATE: &str = "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n";

/// Returns a gateway for `/auth`, with keys of the top level and of the service.
fn world(top: &str, service: &str) -> World {
    World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth" {service} }},
                            {{ "route": "/post", "target": "http://10.0.0.2/", "methods": ["POST"] {service} }} ],
             "rateLimit": false, "cors": false, "securityHeaders": false {top} }}"#
    ))
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{lines}\r\n")
}

/// Returns the values of a field.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n\r\n").next().unwrap_or_default();
    let lines = lines.split("\r\n").skip(1);
    let lines = lines.filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

const EDITS: &str = r#", "responseHeaders": { "set": { "X-Env": "b" }, "add": { "Link": "</a>" }, "remove": ["Server", "Content-Type"] }"#;

#[test]
fn an_upstreams_response_byte_for_byte() {
    let mut world = world(EDITS, "");
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(
        origin,
        format!(
            "HTTP/1.1 200 OK\r\nserver: x\r\nX-ENV: a\r\nLink: </b>\r\n{DATE}x-env: c\r\nContent-Type: y\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n\r\n"
        ),
    );
    world.expect(
        client,
        format!(
            "HTTP/1.1 200 OK\r\nLink: </b>\r\n{DATE}Transfer-Encoding: chunked\r\nX-Env: b\r\nLink: </a>\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        ),
    );
    world.expect_quiet();
}

#[test]
fn a_request_byte_for_byte() {
    let service = r#", "requestHeaders": { "set": { "X-Env": "b", "Authorization": "Basic eDp5" }, "add": { "X-Tag": "2" }, "remove": ["Cookie"] }"#;
    let mut world = world("", service);
    let client = world.connect();
    world.send(
        client,
        "PUT /auth HTTP/1.1\r\nHost: gate\r\ncookie: a\r\nX-Tag: 1\r\nx-env: evil\r\nX-ENV: evil\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n\r\nhi",
    );
    let origin = world.accept();
    world.expect_upstream(
        origin,
        "PUT /auth HTTP/1.1\r\nHost: 10.0.0.1\r\nX-Tag: 1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\n\
         Via: 1.1 tollgate\r\nContent-Length: 2\r\nX-Env: b\r\nAuthorization: Basic eDp5\r\nX-Tag: 2\r\n\r\nhi",
    );
    world.reply(origin, OK);
    world.expect(client, OK);
}

/// Every reply of the gateway's own has the edits of the service, or of the top level where no
/// service was found.
#[test]
fn replies_of_the_gateway_have_them() {
    let top = r#", "limits": { "bodyBytes": 10, "headBytes": 1024 }, "responseHeaders": { "set": { "X-Env": "top" }, "remove": ["Content-Type"] }"#;
    let service =
        r#", "responseHeaders": { "set": { "X-Env": "service" } }, "rateLimit": { "requests": 3 }"#;
    let long = format!("GET /auth HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2000));
    let looping = get("/auth", &"Via: 1.1 tollgate\r\n".repeat(VIA_LOOPS_MAX));
    for (request, status, value) in [
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404, "top"),
        ("GET /auth HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "top"),
        ("GET /auth HTTP/1.1\r\n\r\n", 400, "top"),
        ("nonsense\r\n\r\n", 400, "top"),
        ("GET /auth/.. HTTP/1.1\r\nHost: a\r\n\r\n", 400, "top"),
        ("GET /post HTTP/1.1\r\nHost: a\r\n\r\n", 405, "service"),
        ("TRACE /auth HTTP/1.1\r\nHost: a\r\n\r\n", 405, "top"),
        (
            "PUT /auth HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            413,
            "service",
        ),
        (&looping, 502, "service"),
        (&long, 431, "top"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204, "top"),
    ] {
        let mut world = world(top, service);
        let client = world.connect();
        world.send(client, request);
        let text = world.expect_status(client, status);
        assert_eq!(values(&text, "X-Env"), [value], "{request}: {text}");
        assert_eq!(values(&text, "Content-Type"), [""; 0], "{text}");
        let length = values(&text, "Content-Length");
        let body = text.split_once("\r\n\r\n").expect("a head").1.len();
        match status {
            204 => assert_eq!(length, [""; 0]),
            _ => assert_eq!(length, [body.to_string()]),
        }
    }
    // 429, and HEAD.
    let mut world = world(top, service);
    let client = world.connect();
    for _ in 0..3 {
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, OK);
        let text = world.expect_status(client, 200);
        assert_eq!(values(&text, "X-Env"), ["service"]);
        world.finish_upstream(origin);
    }
    world.send(client, GET.replace("GET", "HEAD"));
    let text = world.expect_status(client, 429);
    assert_eq!(values(&text, "X-Env"), ["service"]);
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn failures_redirects_and_overflow_have_them() {
    let top = r#", "limits": { "connections": 1 }, "timeouts": { "head": "15s" }, "responseHeaders": { "set": { "X-Env": "b" } }"#;
    let expect = |text: String| assert_eq!(values(&text, "X-Env"), ["b"], "{text}");
    // 502 and 504 of an exchange.
    let mut failing = world(top, "");
    let client = failing.connect();
    failing.send(client, GET);
    failing.refuse(Fault::Refused);
    expect(failing.expect_status(client, 502));
    failing.send(client, GET);
    let origin = failing.accept();
    failing.reply(origin, "nonsense\r\n\r\n");
    expect(failing.expect_status(client, 502));
    // 503 of overflow.
    let mut full = world(top, "");
    let busy = full.connect();
    full.send(busy, GET);
    let client = full.connect();
    expect(full.expect_status(client, 503));
    // 308 to the TLS listener.
    let mut redirecting = world(top, "");
    let client = redirecting.connect_by(ListenerKind::Redirect);
    redirecting.send(client, GET);
    let text = redirecting.expect_status(client, 308);
    assert_eq!(values(&text, "Location").len(), 1);
    expect(text);
    // 408.
    let mut slow = world(top, "");
    let client = slow.connect();
    slow.send(client, "GET /auth HT");
    slow.wait(16_000);
    expect(slow.expect_status(client, 408));
    // A preflight.
    let mut cors = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/" }} ] {top} }}"#
    ));
    let client = cors.connect();
    cors.send(
        client,
        "OPTIONS /auth HTTP/1.1\r\nHost: a\r\nOrigin: http://o\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    );
    expect(cors.expect_status(client, 204));
    // A preflight of a service that changes the edits.
    let mut cors = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/", "responseHeaders": {{ "set": {{ "X-Env": "own" }} }} }} ] {top} }}"#
    ));
    let client = cors.connect();
    cors.send(
        client,
        "OPTIONS /auth HTTP/1.1\r\nHost: a\r\nOrigin: http://o\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    );
    let text = cors.expect_status(client, 204);
    assert_eq!(values(&text, "X-Env"), ["own"], "{text}");
}

/// The last word is the edits': lines of the gateway itself are replaced, too.
#[test]
fn lines_of_the_gateway_go_and_change() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth", "responseHeaders": {
             "set": { "X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "https://a" },
             "remove": ["Content-Security-Policy", "Date"] } } ] }"#,
    );
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reply(origin, OK);
    let text = world.expect_status(client, 200);
    assert_eq!(values(&text, "X-Frame-Options"), ["DENY"]);
    assert_eq!(values(&text, "Access-Control-Allow-Origin"), ["https://a"]);
    for gone in ["Content-Security-Policy", "Date"] {
        assert_eq!(values(&text, gone), [""; 0]);
    }
    assert_eq!(values(&text, "Referrer-Policy"), ["no-referrer"]);
}

#[test]
fn interim_heads_stay_and_a_101_has_the_edits() {
    let edits = r#", "responseHeaders": { "set": { "X-Env": "b" }, "remove": ["Link", "Sec-WebSocket-Protocol"] }"#;
    let mut world = world(edits, "");
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    world.reply(origin, early);
    world.expect(client, early);
    world.reply(
        origin,
        format!("HTTP/1.1 204 No Content\r\n{DATE}Link: </a>\r\n\r\n"),
    );
    world.expect(
        client,
        format!("HTTP/1.1 204 No Content\r\n{DATE}X-Env: b\r\n\r\n"),
    );
    world.finish_upstream(origin);
    let upgrade = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    world.send(client, upgrade);
    let origin = world.accept();
    let asked = world.received_upstream(origin);
    assert!(asked.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    world.reply(
        origin,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: y\r\n\r\nfr",
    );
    world.expect(
        client,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Env: b\r\n\r\nfr",
    );
    world.send(client, "frame");
    world.expect_upstream(origin, "frame");
}

const VARIABLES: &str =
    r#"{ "set": { "X-All": "${client.ip}|${host}|${scheme}|${id}|${service}|${consumer}" } }"#;

#[test]
fn variables_of_a_request_and_its_response() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "jwt",
                 "requestHeaders": {VARIABLES}, "responseHeaders": {VARIABLES} }} ],
              "auth": {{ "jwt": {{ "type": "jwt", "secret": "{SECRET}" }} }},
              "requestId": "X-Request-Id", "trustedProxies": ["192.0.2.1"], "securityHeaders": false, "cors": false }}"#
    ));
    let client = world.connect();
    let lines = format!(
        "Authorization: Bearer {}\r\nX-Request-Id: 4f\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: HTTPS\r\n",
        anns("")
    );
    world.send(client, get("/auth", &lines));
    let origin = world.accept();
    let expected = ["198.51.100.7|gate|https|4f|/auth|ann"];
    let asked = world.received_upstream(origin);
    assert_eq!(values(&asked, "X-All"), expected, "{asked}");
    world.reply(origin, OK);
    let text = world.expect_status(client, 200);
    assert_eq!(values(&text, "X-All"), expected, "{text}");
    // A request without a service, and bytes that are no request.
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth" }} ], "responseHeaders": {VARIABLES} }}"#
    ));
    for (request, status, value) in [
        (get("/none", ""), 404, "192.0.2.1|gate|http|||"),
        ("nonsense\r\n\r\n".to_owned(), 400, "192.0.2.1||http|||"),
    ] {
        let client = world.connect();
        world.send(client, request);
        let text = world.expect_status(client, status);
        assert_eq!(values(&text, "X-All"), [value]);
    }
    let client = world.connect_by(ListenerKind::Secure);
    world.secured(client, None);
    world.send(client, get("/none", "X-Forwarded-Proto: http\r\n"));
    let text = world.expect_status(client, 404);
    assert_eq!(values(&text, "X-All"), ["192.0.2.1|gate|https|||"]);
}

/// No text of a client or a token makes another line, or a part of one that looks like the
/// operator's.
#[test]
fn hostile_values_are_left_out() {
    let own = r#"{ "set": { "X-Host": "${host}", "X-Who": "${consumer}" } }"#;
    let config = format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "jwt", "requestHeaders": {own} }} ],
              "auth": {{ "jwt": {{ "type": "jwt", "secret": "{SECRET}" }} }}, "responseHeaders": {own},
              "securityHeaders": false, "cors": false, "rateLimit": false, "accessLog": "off" }}"#
    );
    for host in [
        "a b",
        "a;b",
        "a\"b",
        "a\tb",
        "a,b",
        "a/b",
        "é",
        "[::1",
        &"a".repeat(300),
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(
            client,
            format!("GET /none HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
        let text = world.received(client);
        assert_eq!(values(&text, "X-Host"), [""; 0], "{host}: {text}");
    }
    for (sub, value) in [
        ("a\\r\\nX-Admin: 1", None),
        ("a\\nb", None),
        ("a\\u0000b", None),
        ("a\\u007fb", None),
        (" a", None),
        ("a\\t", None),
        ("", None),
        ("ann lee", Some("ann lee")),
        ("auth0|5f", Some("auth0|5f")),
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        let token = token(&format!(r#"{{"sub":"{sub}","exp":1895521600}}"#));
        let line = format!("Authorization: Bearer {token}\r\nX-Who: root\r\n");
        world.send(client, get("/auth", &line));
        let origin = world.accept();
        let asked = world.received_upstream(origin);
        let expected = value.into_iter().collect::<Vec<_>>();
        assert_eq!(values(&asked, "X-Who"), expected, "{sub}: {asked}");
        assert_eq!(values(&asked, "X-Admin"), [""; 0]);
        world.reply(origin, OK);
        let text = world.expect_status(client, 200);
        assert_eq!(values(&text, "X-Who"), expected, "{sub}: {text}");
    }
    let long = token(&format!(
        r#"{{"sub":"{}","exp":1895521600}}"#,
        "a".repeat(300)
    ));
    let mut world = World::with(&config);
    let client = world.connect();
    let line = format!("Authorization: Bearer {long}\r\nX-Who: root\r\n");
    world.send(client, get("/auth", &line));
    let origin = world.accept();
    let asked = world.received_upstream(origin);
    assert_eq!(values(&asked, "X-Who"), [""; 0], "no part of a name");
}

/// Edits that `check` refuses are refused here as well: the framing of a message is as it was.
#[test]
fn framing_is_as_without_edits() {
    let edits = r#", "responseHeaders": { "set": { "Content-Type": "a", "Vary": "b" }, "add": { "Content-Type": "c" } }"#;
    for (reply, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "Content-Length: 2\r\n",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
            "Content-Length: 7\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n",
        ),
    ] {
        let mut world = world(edits, "");
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, reply);
        let text = world.received(client);
        assert!(text.contains(expected), "{text}");
        assert_eq!(values(&text, "Content-Type"), ["a", "c"]);
        assert_eq!(
            values(&text, "Content-Length").len() + values(&text, "Transfer-Encoding").len(),
            1
        );
    }
}

/// A request that goes on to another target has its edits there as well, once.
#[test]
fn another_target_gets_the_edits() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "targets": ["http://10.0.0.1/a", "http://10.0.0.2/bcd"],
             "requestHeaders": { "set": { "X-Env": "b" }, "remove": ["User-Agent"] } } ] }"#,
    );
    let client = world.connect();
    world.send(client, get("/auth/x", "User-Agent: u\r\n"));
    world.refuse(Fault::Refused);
    let origin = world.accept();
    let asked = world.received_upstream(origin);
    assert!(asked.starts_with("GET /bcd/x HTTP/1.1\r\nHost: 10.0.0.2\r\n"));
    assert_eq!(values(&asked, "X-Env"), ["b"]);
    assert_eq!(values(&asked, "User-Agent"), [""; 0]);
    world.reply(origin, OK);
    world.expect_status(client, 200);
}

#[test]
fn a_host_of_its_own_goes_to_every_target() {
    let config = |top: &str, service: &str| {
        format!(
            r#"{{ "rateLimit": false, "cors": false, "securityHeaders": false {top}, "services": [
                {{ "route": "/auth", "targets": ["http://10.0.0.1:81/a", "http://10.0.0.2:82/b"] {service} }} ] }}"#
        )
    };
    let set = r#", "requestHeaders": { "set": { "host": "app.example:8080" } }"#;
    for (top, service, expected) in [
        ("", "", "10.0.0.2:82"),
        ("", set, "app.example:8080"),
        (set, "", "app.example:8080"),
        // It is the more special wish.
        (r#", "preserveHost": true"#, set, "app.example:8080"),
        (
            set,
            r#", "preserveHost": true, "requestHeaders": { "set": { "Host": null } }"#,
            "gate",
        ),
        (
            set,
            r#", "requestHeaders": { "set": { "Host": "[::1]" } }"#,
            "[::1]",
        ),
    ] {
        let mut world = World::with(&config(top, service));
        let client = world.connect();
        world.send(client, get("/auth/x", ""));
        // The head is written anew for the other target.
        world.refuse(Fault::Refused);
        let origin = world.accept();
        world.expect_upstream(
            origin,
            format!(
                "GET /b/x HTTP/1.1\r\nHost: {expected}\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host: gate\r\nVia: 1.1 tollgate\r\n\r\n"
            ),
        );
        world.reply(origin, OK);
        world.expect_status(client, 200);
    }
}

/// A request ends with the edits that it began with; the next one has the new ones.
#[test]
fn a_reload_changes_the_edits() {
    let config = |value: &str| {
        format!(
            r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth",
                  "responseHeaders": {{ "set": {{ "X-Env": "{value}" }} }} }} ] }}"#
        )
    };
    let mut world = World::with(&config("a"));
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.reload(&config("b"));
    world.reply(origin, OK);
    let text = world.expect_status(client, 200);
    assert_eq!(values(&text, "X-Env"), ["a"]);
    world.send(client, GET);
    world.reply(origin, OK);
    let text = world.expect_status(client, 200);
    assert_eq!(values(&text, "X-Env"), ["b"]);
}

/// Returns a gateway whose service forwards the consumer, and another one that does not.
fn forwarding() -> World {
    let hash = PasswordHash::new(b"secret", b"saltsalt");
    let key = KeyHash::new(b"key");
    World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": ["jwt", "keys", "users"], "forwardConsumer": true }},
                            {{ "route": "/open", "target": "http://10.0.0.2/open" }} ],
              "auth": {{ "jwt": {{ "type": "jwt", "secret": "{SECRET}" }}, "keys": {{ "type": "apiKey", "keys": {{ "key-1": "{key}" }} }},
                         "users": {{ "type": "basic", "users": {{ "bob": "{hash}" }} }} }},
              "rateLimit": false, "securityHeaders": false }}"#
    ))
}

#[test]
fn the_consumer_goes_upstream() {
    let mut world = forwarding();
    let client = world.connect();
    let token = anns("");
    for (line, name) in [
        (format!("Authorization: Bearer {token}\r\n"), "ann"),
        ("X-Api-Key: key\r\n".to_owned(), "key-1"),
        (
            "Authorization: Basic Ym9iOnNlY3JldA==\r\n".to_owned(),
            "bob",
        ),
        // The password is remembered.
        (
            "Authorization: Basic Ym9iOnNlY3JldA==\r\n".to_owned(),
            "bob",
        ),
    ] {
        let forged = format!("{line}X-Consumer: root\r\nx-consumer: root\r\n");
        world.send(client, get("/auth", &forged));
        if !world.passwords.is_empty() {
            assert!(world.verify());
        }
        let origin = world.accept();
        let asked = world.received_upstream(origin);
        assert_eq!(values(&asked, "X-Consumer"), [name], "{asked}");
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.finish_upstream(origin);
    }
    // On every service, a client's own stays here.
    world.send(client, get("/open", "X-Consumer: root\r\n"));
    let origin = world.accept();
    let asked = world.received_upstream(origin);
    assert_eq!(values(&asked, "X-Consumer"), [""; 0], "{asked}");
}

#[test]
fn a_consumer_that_no_header_can_hold_is_none() {
    for sub in ["a\\r\\nX-Admin: 1", " a", "", &"a".repeat(257)] {
        let mut world = forwarding();
        let client = world.connect();
        let token = token(&format!(r#"{{"sub":"{sub}","exp":1895521600}}"#));
        let line = format!("Authorization: Bearer {token}\r\nX-Consumer: root\r\n");
        world.send(client, get("/auth", &line));
        let origin = world.accept();
        let asked = world.received_upstream(origin);
        assert_eq!(values(&asked, "X-Consumer"), [""; 0], "{sub}: {asked}");
        assert_eq!(values(&asked, "X-Admin"), [""; 0], "{sub}: {asked}");
    }
}

#[test]
fn a_stripped_prefix_goes_upstream() {
    let config = |targets: &str, more: &str| {
        format!(
            r#"{{ "services": [ {{ "route": "/api/users", "targets": [{targets}] {more} }} ], "trustedProxies": ["192.0.2.1"] }}"#
        )
    };
    for (targets, more, address, lines, expected) in [
        (r#""http://10.0.0.1""#, "", 9, "", &["/api/users"][..]),
        (r#""http://10.0.0.1/users/""#, "", 9, "", &["/api"]),
        (r#""http://10.0.0.1/api/users""#, "", 9, "", &[]),
        (r#""http://10.0.0.1/people""#, "", 9, "", &[]),
        (
            r#""http://10.0.0.1""#,
            r#", "stripPrefix": false"#,
            9,
            "",
            &[],
        ),
        (
            r#""http://10.0.0.1/", "http://10.0.0.2""#,
            "",
            9,
            "",
            &["/api/users"],
        ),
        // A client's own is replaced, that of a trusted proxy is kept.
        (
            r#""http://10.0.0.1""#,
            "",
            9,
            "X-Forwarded-Prefix: /x\r\n",
            &["/api/users"],
        ),
        (
            r#""http://10.0.0.1""#,
            "",
            1,
            "x-forwarded-prefix: /x\r\n",
            &["/x"],
        ),
        (
            r#""http://10.0.0.1""#,
            "",
            1,
            "X-Forwarded-Port: 1\r\n",
            &["/api/users"],
        ),
    ] {
        let mut world = World::with(&config(targets, more));
        let client = world.connect_from([192, 0, 2, address].into());
        world.send(client, get("/api/users/1", lines));
        let origin = world.accept();
        let asked = world.received_upstream(origin);
        assert_eq!(
            values(&asked, "X-Forwarded-Prefix"),
            expected,
            "{targets} {more} {lines}"
        );
    }
}
