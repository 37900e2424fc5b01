//! Replies of the gateway by rule: `redirect` and `respond` of a service.

use tollgate::limits::FIXED_BODY_BYTES_MAX;
use tollgate::proxy::command::Fault;
use tollgate::proxy::settings::Settings;

use super::script::*;

const DATE: &str = "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n";

/// Returns the settings of a file whose folder has other files.
#[track_caller]
fn with_files(config: &str, files: &[(&str, &[u8])]) -> Settings {
    let read = |path: &std::path::Path| {
        let file = files
            .iter()
            .find(|(name, _)| path == std::path::Path::new("/etc/tg").join(name));
        file.map(|(_, bytes)| bytes.to_vec())
            .ok_or(std::io::ErrorKind::NotFound.into())
    };
    let loaded = tollgate::config::load(config.as_bytes(), "/etc/tg/t.json", &|_| None, &read);
    let mut settings = loaded
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .settings;
    settings.request_id = None;
    settings
}

fn plain(services: &str) -> String {
    format!(
        r#"{{ "rateLimit": false, "cors": false, "securityHeaders": false, "services": [ {services} ] }}"#
    )
}

#[test]
fn redirects() {
    let config = plain(
        r#"{ "route": "/old", "redirect": { "to": "/new" } },
        { "route": "/keeps", "redirect": { "to": "/new?v=2", "status": 301, "keepPath": true } },
        { "route": "/away", "redirect": { "to": "https://www.example.com", "status": 307, "keepPath": true } },
        { "route": "/root", "redirect": { "to": "/", "status": 302, "keepPath": true } }"#,
    );
    for (path, status, location) in [
        ("/old", "308 Permanent Redirect", "/new"),
        ("/old/x/y?a=1", "308 Permanent Redirect", "/new?a=1"),
        ("/keeps/x?a=1", "301 Moved Permanently", "/new/x?v=2&a=1"),
        ("/keeps/x", "301 Moved Permanently", "/new/x?v=2"),
        ("/away", "307 Temporary Redirect", "https://www.example.com"),
        (
            "/away/a%20b/?q",
            "307 Temporary Redirect",
            "https://www.example.com/a%20b/?q",
        ),
        ("/root/x//evil.test", "302 Found", "/x//evil.test"),
        ("http://gate/root/x?//", "302 Found", "/x?//"),
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        for method in ["GET", "HEAD", "OPTIONS"] {
            world.send(
                client,
                format!("{method} {path} HTTP/1.1\r\nHost: gate\r\n\r\n"),
            );
            world.expect(
                client,
                format!(
                    "HTTP/1.1 {status}\r\nLocation: {location}\r\n{DATE}Content-Length: 0\r\n\r\n"
                ),
            );
        }
        world.expect_no_dial();
        world.expect_open(client);
        let log = world.log();
        assert!(log[0].contains(&status[..3]), "{log:?}");
        world.expect_quiet();
    }
}

/// No path that a client sends makes the browser leave for a host of the client's choice, and none
/// adds a line.
#[test]
fn a_path_is_no_authority() {
    let config = plain(
        r#"{ "route": "/", "redirect": { "to": "/", "keepPath": true } },
        { "route": "/r", "redirect": { "to": "/", "keepPath": true } }"#,
    );
    for path in [
        "//evil.test",
        "/\\evil.test",
        "/r//evil.test",
        "/r/\\evil.test",
        "/r/%5cevil.test",
        "/r/%5Cevil.test",
        "/%2fevil.test",
        "/r/%2f/evil.test",
        "/r/x%0d%0aSet-Cookie:a=b",
        "/r/x\rSet-Cookie:a=b",
        "/r/x%0aa",
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
        let text = world.received(client);
        let location = text
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .unwrap_or("/none");
        assert!(
            location.starts_with('/')
                && !location.starts_with("//")
                && !location.starts_with("/\\"),
            "{path}: {text}"
        );
        assert!(!text.contains("Set-Cookie:a"), "{path}: {text}");
        world.expect_quiet();
    }
}

#[test]
fn fixed_responses() {
    let long = vec![b'x'; FIXED_BODY_BYTES_MAX];
    let settings = with_files(
        &plain(
            r#"{ "route": "/ok", "respond": { "body": "ok" } },
            { "route": "/none", "respond": {} },
            { "route": "/gone", "respond": { "status": 410, "body": "{}", "type": "application/json" } },
            { "route": "/204", "respond": { "status": 204 } },
            { "route": "/205", "respond": { "status": 205 } },
            { "route": "/304", "respond": { "status": 304 } },
            { "route": "/499", "respond": { "status": 499 } },
            { "route": "/page", "respond": { "file": "pages/a.html" } },
            { "route": "/abs", "respond": { "status": 503, "file": "/etc/tg/b.bin" } }"#,
        ),
        &[("pages/a.html", b"<p>\xc3\xa9</p>"), ("b.bin", &long)],
    );
    let text = "Content-Type: text/plain; charset=utf-8\r\n";
    type Row<'a> = (&'a str, &'a str, &'a str, Option<usize>, &'a [u8]);
    let rows: [Row<'_>; 9] = [
        ("/ok", "200 OK", text, Some(2), b"ok"),
        ("/none", "200 OK", "", Some(0), b""),
        (
            "/gone/x?q",
            "410 Gone",
            "Content-Type: application/json\r\n",
            Some(2),
            b"{}",
        ),
        ("/204", "204 No Content", "", None, b""),
        ("/205", "205 Reset Content", "", Some(0), b""),
        ("/304", "304 Not Modified", "", None, b""),
        ("/499", "499 ", "", Some(0), b""),
        (
            "/page",
            "200 OK",
            "Content-Type: text/html; charset=utf-8\r\n",
            Some(9),
            b"<p>\xc3\xa9</p>",
        ),
        ("/abs", "503 Service Unavailable", text, Some(65_536), &long),
    ];
    for (path, status, media, length, body) in rows {
        for step in [usize::MAX, 1000] {
            let mut world = World::new(settings.clone());
            world.step = step;
            let client = world.connect();
            let length = length.map_or(String::new(), |length| {
                format!("Content-Length: {length}\r\n")
            });
            let head = format!("HTTP/1.1 {status}\r\n{media}{DATE}{length}\r\n");
            world.send(client, format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n"));
            world.expect(client, [head.as_bytes(), body].concat());
            world.send(client, format!("HEAD {path} HTTP/1.1\r\nHost: g\r\n\r\n"));
            world.expect(client, head);
            world.expect_open(client);
            world.expect_no_dial();
            let log = world.log();
            assert_eq!(log.len(), 2, "{log:?}");
            let bytes = match body.len() {
                0 => "-".to_owned(),
                bytes => bytes.to_string(),
            };
            let tail = format!("\" {} {bytes} \"-\" \"-\"", &status[..3]);
            assert!(log[0].ends_with(&tail), "{log:?} {tail}");
            world.expect_quiet();
        }
    }
}

/// Content of a request that is answered here is dropped, or the connection closes, as with all
/// replies of the gateway's own.
#[test]
fn bodies_of_requests_are_dropped() {
    let config = plain(r#"{ "route": "/r", "respond": { "status": 202, "body": "ok" } }"#);
    let answer = format!(
        "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain; charset=utf-8\r\n{DATE}Content-Length: 2\r\n\r\nok"
    );
    for (fields, body) in [
        ("Content-Length: 5\r\n", "hello"),
        (
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        ),
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        let head = format!("POST /r HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
        world.send(client, format!("{head}{body}{head}"));
        world.expect(client, answer.repeat(2));
        world.send(client, body);
        world.send(client, "GET /r HTTP/1.1\r\nHost: g\r\n\r\n");
        world.expect(client, &answer);
        world.expect_quiet();
    }
    for fields in [
        "Content-Length: 100000\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ] {
        let mut world = World::with(&config);
        let client = world.connect();
        world.send(
            client,
            format!("POST /r HTTP/1.1\r\nHost: g\r\n{fields}\r\n"),
        );
        world.expect(
            client,
            answer.replace("Content-Length", "Connection: close\r\nContent-Length"),
        );
        world.expect_closing(client);
        world.expect_quiet();
    }
}

/// Authentication, rate limit, CORS and security headers hold for these replies as for others.
#[test]
fn policies_apply_to_fixed_replies() {
    let mut world = World::with(
        r#"{ "rateLimit": { "requests": 3, "window": "60s" }, "accessLog": "json",
        "securityHeaders": { "X-Frame-Options": "DENY" },
        "auth": { "k": { "type": "apiKey", "header": "X-Key",
            "keys": { "b": "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683" } } },
        "services": [ { "route": "/r", "respond": { "body": "secret" }, "auth": "k" } ] }"#,
    );
    let client = world.connect();
    let get = |key: &str| format!("GET /r HTTP/1.1\r\nHost: g\r\n{key}\r\n");
    world.send(client, get(""));
    let text = world.expect_status(client, 401);
    assert!(!text.contains("secret"), "{text}");
    world.send(client, get("X-Key: key\r\n"));
    let text = world.expect_status(client, 200);
    assert!(text.ends_with("\r\n\r\nsecret"), "{text}");
    for line in [
        "X-Frame-Options: DENY\r\n",
        "Access-Control-Allow-Origin: *\r\n",
        "X-Content-Type-Options: nosniff\r\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // A preflight is answered, and not counted.
    world.send(client, "OPTIONS /r HTTP/1.1\r\nHost: g\r\n\r\n");
    world.expect_status(client, 204);
    world.send(client, get("X-Key: key\r\n"));
    world.expect_status(client, 200);
    world.send(client, get("X-Key: key\r\n"));
    world.expect_status(client, 429);
    let log = world.log();
    assert!(
        log[1].contains(r#""service":"/r""#) && log[1].contains(r#""end":"ok""#),
        "{log:?}"
    );
    world.expect_no_dial();
    world.expect_quiet();
}

/// A service becomes a reply and a target again at reloads. A request in flight keeps its target.
#[test]
fn a_reload_turns_a_target_into_a_reply_and_back() {
    for checks in ["", r#", "healthCheck": { "path": "/h", "interval": "1h" }"#] {
        let target = plain(&format!(
            r#"{{ "route": "/auth", "target": "http://10.0.0.1/auth"{checks} }}"#
        ));
        let fixed = plain(r#"{ "route": "/auth", "respond": { "status": 204 } }"#);
        let mut world = World::with(&target);
        let (first, second) = (world.connect(), world.connect());
        world.send(first, GET);
        let origin = world.accept();
        world.received_upstream(origin);
        world.reload(&fixed);
        world.send(second, GET);
        world.expect_status(second, 204);
        world.reply(origin, OK);
        world.expect(first, OK);
        world.reload(&target);
        world.send(second, GET);
        // The connection may be a pooled one.
        let is_pooled = world.dials.is_empty();
        let origin = if is_pooled { origin } else { world.accept() };
        assert!(world.received_upstream(origin).starts_with("GET /auth "));
        world.reply(origin, OK);
        world.expect(second, OK);
        world.reload(&fixed);
        world.send(first, GET);
        world.expect_status(first, 204);
        world.expect_quiet();
    }
}

/// The longest replies are within the bound of the buffers: the driver checks it at each step.
#[test]
fn the_longest_replies_are_within_the_bounds() {
    let settings = with_files(
        &plain(&format!(
            r#"{{ "route": "/r", "redirect": {{ "to": "/{}", "keepPath": true }} }},
            {{ "route": "/f", "respond": {{ "file": "f" }} }}"#,
            "a".repeat(2000)
        )),
        &[("f", &vec![b'x'; FIXED_BODY_BYTES_MAX])],
    );
    let mut world = World::new(settings);
    let client = world.connect();
    world.stall(client, true);
    let path = "b".repeat(7000);
    world.send(
        client,
        format!("GET /r/{path}?q HTTP/1.1\r\nHost: g\r\n\r\n"),
    );
    world.send(client, "GET /f HTTP/1.1\r\nHost: g\r\n\r\n".repeat(3));
    world.stall(client, false);
    let text = world.received(client);
    assert!(text.contains(&format!("/{path}?q\r\n")));
    assert_eq!(text.matches("200 OK").count(), 3);
    world.expect_quiet();
}

/// Lists of a service narrow what the top level admits. They are judged behind the rate limit, and
/// before the body and authentication.
#[test]
fn clients_of_a_service() {
    let config = r#"{ "cors": false, "securityHeaders": false, "rateLimit": { "requests": 4 },
        "trustedProxies": ["10.0.0.9"], "deny": ["203.0.113.0/24"], "limits": { "bodyBytes": 10 },
        "auth": { "f": { "type": "forward", "url": "http://10.9.9.9/" } },
        "services": [
            { "route": "/lan", "target": "http://10.0.0.1", "allow": ["192.168.0.0/16", "203.0.113.7"] },
            { "route": "/not", "target": "http://10.0.0.1", "deny": ["192.0.2.0/24"], "auth": "f" },
            { "route": "/all", "target": "http://10.0.0.1" } ] }"#;
    let from = |address: &str| address.parse().expect("an address");
    for (client, path, status) in [
        ("192.0.2.1", "/lan", 403),
        ("192.168.3.4", "/lan/x", 200),
        ("192.0.2.1", "/not", 403),
        ("192.0.2.1", "/all", 200),
        ("192.0.2.1", "/none", 404),
        // The service allows it, the top level does not.
        ("203.0.113.7", "/lan", 403),
    ] {
        let mut world = World::with(config);
        let client = world.connect_from(from(client));
        world.send(client, format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n"));
        if status == 200 {
            let origin = world.accept();
            world.received_upstream(origin);
            world.reply(origin, OK);
        }
        world.expect_status(client, status);
        world.expect_no_dial();
        world.expect_quiet();
    }
    let mut world = World::with(config);
    let client = world.connect_from(from("10.0.0.9"));
    let head = "POST /not HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 11\r\n\r\nhello world";
    for status in [403, 403, 403, 403, 429] {
        world.send(client, head);
        world.expect_status(client, status);
    }
    world.expect_open(client);
    let log = world.log();
    assert!(
        log[0].starts_with("192.0.2.1 ") && log[0].contains(" 403 "),
        "{log:?}"
    );
    world.expect_quiet();
}

const CLOSED: &str = r#""maintenance": { "allow": ["192.168.0.0/16"], "retryAfter": "10m" }"#;

/// Maintenance answers before authentication, and not the networks that it allows.
#[test]
fn maintenance_of_a_service_and_of_all() {
    let services = |first: &str, second: &str| {
        format!(
            r#""services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth"{first} }},
            {{ "route": "/g", "target": "http://10.0.0.2", "auth": "f"{second} }} ]"#
        )
    };
    let file = |top: &str, services: &str| {
        format!(
            r#"{{ "rateLimit": {{ "requests": 9 }}, "cors": true, "securityHeaders": false, {top}
            "auth": {{ "f": {{ "type": "forward", "url": "http://10.9.9.9/" }} }}, {services} }}"#
        )
    };
    let of_service = file(
        "",
        &services(&format!(", {CLOSED}"), ", \"maintenance\": true"),
    );
    let of_all = file(
        &format!("{CLOSED},"),
        &services("", ", \"maintenance\": true"),
    );
    let closed = |head: &str| {
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n{DATE}{head}\
             Access-Control-Allow-Origin: *\r\nContent-Length: 74\r\n\r\n{{\"code\":503,\"status\":\"Error\",\"message\":\
             \"Service unavailable.\",\"data\":null}}"
        )
    };
    for config in [&of_service, &of_all] {
        let mut world = World::with(config);
        let client = world.connect();
        world.send(client, GET);
        world.expect(client, closed("Retry-After: 600\r\n"));
        world.send(
            client,
            "POST /g HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi",
        );
        world.expect(client, closed(""));
        world.send(client, "OPTIONS /g HTTP/1.1\r\nHost: g\r\n\r\n");
        world.expect_status(client, 204);
        world.send(client, "GET /none HTTP/1.1\r\nHost: g\r\n\r\n");
        world.expect_status(client, if *config == of_all { 503 } else { 404 });
        world.expect_open(client);
        world.expect_no_dial();
        let log = world.log();
        assert!(log[0].contains(" 503 74 "), "{log:?}");
        let inside = world.connect_from("192.168.1.1".parse().expect("an address"));
        world.send(inside, GET);
        let origin = world.accept();
        assert!(world.received_upstream(origin).starts_with("GET /auth "));
        world.reply(origin, OK);
        world.expect_status(inside, 200);
        world.expect_quiet();
    }
    // A service that stays open.
    let open = file(
        "\"maintenance\": true,",
        &services(", \"maintenance\": false", ""),
    );
    let mut world = World::with(&open);
    let client = world.connect();
    world.send(client, "GET /g HTTP/1.1\r\nHost: g\r\n\r\n");
    world.expect_status(client, 503);
    world.send(client, GET);
    let origin = world.accept();
    world.received_upstream(origin);
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.expect_quiet();
}

/// A reload begins and ends maintenance. A response in flight and a connection are not cut.
#[test]
fn a_reload_begins_and_ends_maintenance() {
    let closed = PLAIN.replacen('{', r#"{ "maintenance": true,"#, 1);
    let mut world = World::with(PLAIN);
    let (first, second) = (world.connect(), world.connect());
    world.send(first, GET);
    let origin = world.accept();
    world.received_upstream(origin);
    world.reload(&closed);
    world.send(second, GET);
    world.expect_status(second, 503);
    world.reply(origin, OK);
    world.expect(first, OK);
    world.send(first, GET);
    world.expect_status(first, 503);
    world.reload(PLAIN);
    for client in [first, second] {
        world.send(client, GET);
        assert!(world.received_upstream(origin).starts_with("GET /auth "));
        world.reply(origin, OK);
        world.expect(client, OK);
    }
    world.expect_quiet();
}

/// The limit of a service stands in the place of the top level's, for bodies with a length and for
/// those in chunks.
#[test]
fn bodies_of_a_service() {
    let config = r#"{ "rateLimit": false, "cors": false, "securityHeaders": false, "limits": { "bodyBytes": 10 },
        "services": [ { "route": "/top", "target": "http://10.0.0.1" },
            { "route": "/small", "target": "http://10.0.0.1", "limits": { "bodyBytes": 5 } },
            { "route": "/large", "target": "http://10.0.0.1", "limits": { "bodyBytes": 15 } },
            { "route": "/any", "target": "http://10.0.0.1", "limits": { "bodyBytes": false } },
            { "route": "/null", "target": "http://10.0.0.1", "limits": { "bodyBytes": null } } ] }"#;
    for (path, bytes, is_good) in [
        ("/top", 10, true),
        ("/top", 11, false),
        ("/small", 5, true),
        ("/small", 6, false),
        ("/large", 15, true),
        ("/large", 16, false),
        ("/any", 5000, true),
        ("/null", 10, true),
        ("/null", 11, false),
    ] {
        for is_chunked in [false, true] {
            let mut world = World::with(config);
            let client = world.connect();
            let body = "x".repeat(bytes);
            let (framing, body) = match is_chunked {
                false => (format!("Content-Length: {bytes}"), body),
                true => (
                    "Transfer-Encoding: chunked".to_owned(),
                    format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n"),
                ),
            };
            let head = format!("POST {path} HTTP/1.1\r\nHost: g\r\n{framing}\r\n\r\n");
            world.send(client, format!("{head}{body}"));
            if is_good {
                let origin = world.accept();
                let seen = world.received_upstream(origin);
                assert!(seen.contains("xxxxx"), "{path} {bytes}: {seen}");
                world.reply(origin, OK);
            }
            let status = if is_good { 200 } else { 413 };
            world.expect_status(client, status);
            world.expect_no_dial();
            world.expect_quiet();
        }
    }
}

/// Each service has the lines that it asks for; requests without a service have those of the top
/// level.
#[test]
fn lines_of_a_service() {
    let config = |top: &str, own: &str| {
        format!(
            r#"{{ "rateLimit": false, "cors": false, "securityHeaders": false, "accessLog": "{top}", "services": [
            {{ "route": "/own", "respond": {{}}, "accessLog": "{own}" }}, {{ "route": "/top", "respond": {{}} }} ] }}"#
        )
    };
    let ask = |world: &mut World, path: &str| {
        let client = world.connect();
        world.send(
            client,
            format!("GET {path} HTTP/1.1\r\nHost: g.test\r\n\r\n"),
        );
        world.take(client);
        world.log()
    };
    for (top, own, of_own, of_top) in [
        ("combined", "json", "{", "192"),
        ("combined", "off", "", "192"),
        ("json", "combined", "192", "{"),
        ("off", "json", "{", ""),
        ("off", "off", "", ""),
        ("json", "json", "{", "{"),
    ] {
        let mut world = World::with(&config(top, own));
        for (path, start) in [("/own", of_own), ("/top", of_top), ("/none", of_top)] {
            let log = ask(&mut world, path);
            assert_eq!(
                log.len(),
                usize::from(!start.is_empty()),
                "{top} {own} {path}"
            );
            for line in log {
                assert!(line.starts_with(start), "{line}");
                assert!(
                    start != "{" || line.contains(r#""host":"g.test""#),
                    "{line}"
                );
            }
        }
        world.expect_quiet();
    }
    let mut world = World::with(&config("combined", "json"));
    assert!(ask(&mut world, "/own")[0].starts_with('{'));
    world.reload(&config("json", "combined"));
    assert!(ask(&mut world, "/own")[0].starts_with("192"));
    assert!(ask(&mut world, "/top")[0].contains("g.test"));
}

/// Clients that ask for HTML get the page of a status, and all others JSON. The rest of the reply is
/// the same.
#[test]
fn error_pages() {
    let settings = with_files(
        r#"{ "cors": false, "securityHeaders": false, "rateLimit": false,
        "errorPages": { "404": "404.html", "400": "400.html", "5xx": "5xx.html", "4xx": "4xx.html" },
        "services": [ { "route": "/up", "target": "http://10.0.0.1" },
            { "route": "/own", "target": "http://10.0.0.1", "errorPages": { "502": "own.html" } },
            { "route": "/off", "target": "http://10.0.0.1", "errorPages": false },
            { "route": "/get", "target": "http://10.0.0.1", "methods": ["GET"] },
            { "route": "/busy", "target": "http://10.0.0.1", "maintenance": { "retryAfter": "5s" } },
            { "route": "/fixed", "respond": { "status": 502, "body": "mine" } } ] }"#,
        &[
            ("404.html", b"<404>"),
            ("400.html", b"<400>"),
            ("5xx.html", b"<5xx>"),
            ("4xx.html", b"<4xx>"),
            ("own.html", b"<own>"),
        ],
    );
    let html = "Accept: application/json;q=0.5, text/html\r\n";
    // Request line, fields, status, whether the target refuses; the page, or None for JSON; Vary.
    for (line, fields, status, dials, page, varies) in [
        ("GET /none", html, 404, false, Some("<404>"), true),
        ("GET /none", "Accept: */*\r\n", 404, false, None, true),
        (
            "GET /none",
            "Accept: text/html;q=0\r\n",
            404,
            false,
            None,
            true,
        ),
        ("GET /none", "", 404, false, None, true),
        ("GET /up//x", html, 400, false, Some("<400>"), true),
        (
            "GET /up",
            "Accept: text/html\r\nContent-Length: x\r\n",
            400,
            false,
            Some("<400>"),
            true,
        ),
        ("POST /get", html, 405, false, Some("<4xx>"), true),
        ("GET /up", html, 502, true, Some("<5xx>"), true),
        ("GET /up", "", 502, true, None, true),
        ("GET /own", html, 502, true, Some("<own>"), true),
        ("GET /own//x", html, 400, false, Some("<400>"), true),
        ("GET /off", html, 502, true, None, false),
        ("GET /busy", html, 503, false, Some("<5xx>"), true),
        ("GET /fixed", html, 502, false, None, false),
    ] {
        for is_head in [false, true] {
            let line = match is_head && line.starts_with("GET") {
                true => line.replace("GET", "HEAD"),
                false => line.to_owned(),
            };
            let mut world = World::new(settings.clone());
            let client = world.connect();
            world.send(
                client,
                format!("{line} HTTP/1.1\r\nHost: g\r\n{fields}\r\n"),
            );
            if dials {
                world.refuse(Fault::Refused);
            }
            let text = world.expect_status(client, status);
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert_eq!(head.contains("Vary: Accept"), varies, "{line}: {text}");
            let is_page = head.contains("text/html; charset=utf-8");
            assert_eq!(is_page, page.is_some(), "{line} {fields}: {text}");
            assert_eq!(
                head.contains("Retry-After: 5"),
                line.contains("/busy"),
                "{text}"
            );
            assert_eq!(head.contains("Allow: GET"), line.contains("/get"), "{text}");
            if let Some(page) = page {
                assert!(
                    head.contains("Content-Length: 5\r\n") || head.ends_with("Content-Length: 5"),
                    "{text}"
                );
                assert_eq!(body, if line.starts_with("HEAD") { "" } else { page });
            }
            world.expect_quiet();
        }
    }
    // Bytes that are no head name nothing.
    let mut world = World::new(settings);
    let client = world.connect();
    world.send(client, "nonsense\r\n\r\n");
    let text = world.expect_status(client, 400);
    assert!(
        text.contains("\"code\":400") && text.contains("Vary: Accept"),
        "{text}"
    );
}
