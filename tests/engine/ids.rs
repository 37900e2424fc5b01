//! Ids of requests: at the client, at the upstream and in the log.

use super::script::*;
use std::net::IpAddr;

const KEYS: &str = r#""rateLimit": false, "cors": false, "securityHeaders": false, "accessLog": "json",
    "trustedProxies": ["10.9.0.0/16"]"#;

/// Returns a configuration with this `requestId`, and further keys of its service.
fn config(request_id: &str, service: &str) -> String {
    format!(
        r#"{{ "requestId": {request_id}, {KEYS}, "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth" {service} }} ] }}"#
    )
}

fn world(request_id: &str) -> World {
    World::with(&config(request_id, ""))
}

fn trusted() -> IpAddr {
    [10, 9, 0, 1].into()
}

/// Returns the values of a field of a head.
fn values(head: &str, name: &str) -> Vec<String> {
    let lines = head
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let fields = lines.filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim().to_owned()).collect()
}

/// Returns the only id of a head, and checks that the gateway has made it.
#[track_caller]
fn own(head: &str, name: &str) -> String {
    let ids = values(head, name);
    assert_eq!(ids.len(), 1, "{head}");
    assert!(is_own(&ids[0]), "{head}");
    ids[0].clone()
}

fn is_own(id: &str) -> bool {
    id.len() == 32
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Sends a request. Returns what the upstream and the client get, and the line of the log.
#[track_caller]
fn exchange(world: &mut World, from: IpAddr, fields: &str, answer: &str) -> [String; 3] {
    let client = world.connect_from(from);
    world.send(
        client,
        format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{fields}\r\n"),
    );
    let origin = world.accept();
    let up = world.received_upstream(origin);
    world.reply(origin, answer);
    let down = world.received(client);
    world.finish(client);
    world.finish_upstream(origin);
    let mut log = world.log();
    [up, down, log.pop().expect("a line")]
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n";

#[test]
fn an_id_is_at_the_upstream_at_the_client_and_in_the_log() {
    let mut world = world(r#""X-Request-Id""#);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let from = [192, 0, 2, 1].into();
        let [up, down, log] = exchange(&mut world, from, "", ANSWER);
        let id = own(&up, "X-Request-Id");
        assert_eq!(own(&down, "X-Request-Id"), id);
        assert!(log.contains(&format!(r#""id":"{id}""#)), "{log}");
        assert!(!seen.contains(&id), "{id} again");
        seen.push(id);
    }
    world.expect_quiet();
}

#[test]
fn each_request_of_a_connection_has_its_own_id_pipelined_or_not() {
    let mut world = world(r#""X-Request-Id""#);
    let client = world.connect();
    world.send(client, GET.repeat(2));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let origin = world.accept();
        ids.push(own(&world.received_upstream(origin), "X-Request-Id"));
        world.reply(
            origin,
            "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
        world.finish_upstream(origin);
        assert_eq!(
            own(&world.received(client), "X-Request-Id"),
            *ids.last().expect("an id")
        );
    }
    assert_ne!(ids[0], ids[1]);
}

/// Rows of the table: peer, field of the request, and whether the id is kept.
#[test]
fn only_a_single_valid_id_of_a_trusted_proxy_is_kept() {
    let long = "x".repeat(128);
    let rows = [
        (
            true,
            format!("X-Request-Id: {long}\r\n"),
            Some(long.clone()),
        ),
        (true, "x-request-id: Root=1\r\n".to_owned(), None),
        (
            true,
            "x-request-ID:  a.B_9-\r\n".to_owned(),
            Some("a.B_9-".to_owned()),
        ),
        (true, format!("X-Request-Id: {long}x\r\n"), None),
        (true, "X-Request-Id:\r\n".to_owned(), None),
        (
            true,
            "X-Request-Id: a\r\nX-Request-Id: a\r\n".to_owned(),
            None,
        ),
        (
            true,
            "X-Request-Id: a\r\nX-Request-Id: b\r\n".to_owned(),
            None,
        ),
        (true, "X-Request-Id: a, b\r\n".to_owned(), None),
        (
            true,
            "Connection: X-Request-Id\r\nX-Request-Id: a\r\n".to_owned(),
            Some("a".to_owned()),
        ),
        (false, "X-Request-Id: a\r\n".to_owned(), None),
    ];
    for name in ["X-Request-Id", "X-Correlation-Id"] {
        let mut world = world(&format!("{name:?}"));
        for (is_trusted, fields, kept) in &rows {
            let from = if *is_trusted {
                trusted()
            } else {
                [192, 0, 2, 1].into()
            };
            let fields = fields
                .replace("X-Request-Id", name)
                .replace("x-request-ID", name);
            let fields = fields.replace("x-request-id", &name.to_lowercase());
            let [up, down, log] = exchange(&mut world, from, &fields, ANSWER);
            let id = match kept {
                Some(id) => id.clone(),
                None => own(&up, name),
            };
            assert_eq!(values(&up, name), [&*id], "{fields}");
            assert_eq!(values(&down, name), [&*id], "{fields}");
            assert!(log.contains(&format!(r#""id":"{id}""#)), "{fields}: {log}");
            assert!(
                up.contains(&format!("\r\n{name}: {id}\r\n")),
                "the name as configured: {up}"
            );
        }
        world.expect_quiet();
    }
}

#[test]
fn the_id_of_an_upstream_is_replaced() {
    for name in ["X-Request-Id", "X-Correlation-Id"] {
        let mut world = world(&format!("{name:?}"));
        let lower = name.to_lowercase();
        let answer = format!(
            "HTTP/1.1 103 Early Hints\r\n{lower}: theirs\r\nLink: a\r\n\r\n\
             HTTP/1.1 200 OK\r\n{lower}: theirs\r\nDate: x\r\n{name}: theirs\r\nContent-Length: 0\r\n\r\n"
        );
        let [up, down, _] = exchange(&mut world, [192, 0, 2, 1].into(), "", &answer);
        let id = own(&up, name);
        assert_eq!(
            down,
            format!(
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                 HTTP/1.1 200 OK\r\nDate: x\r\n{name}: {id}\r\nContent-Length: 0\r\n\r\n"
            )
        );
    }
}

#[test]
fn without_ids_the_field_is_any_other() {
    let mut world = world("false");
    let answer = "HTTP/1.1 200 OK\r\nDate: x\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n";
    for from in [trusted(), [192, 0, 2, 1].into()] {
        let fields = "X-Request-Id: a b\r\nx-request-id: c\r\n";
        let [up, down, log] = exchange(&mut world, from, fields, answer);
        assert_eq!(values(&up, "X-Request-Id"), ["a b", "c"]);
        assert_eq!(down, answer);
        assert!(log.contains(r#""id":null"#), "{log}");
    }
    // If another field has the id, X-Request-Id is an ordinary field.
    let mut world = self::world(r#""X-Own""#);
    let [up, down, _] = exchange(&mut world, trusted(), "X-Request-Id: a b\r\n", answer);
    assert_eq!(values(&up, "X-Request-Id"), ["a b"]);
    assert_eq!(values(&down, "X-Request-Id"), ["theirs"]);
    assert_eq!(own(&up, "X-Own"), own(&down, "X-Own"));
}

#[test]
fn replies_of_the_gateways_own_have_an_id() {
    let text = config(r#""X-Request-Id""#, "").replace(
        r#""rateLimit": false, "cors": false"#,
        r#""rateLimit": { "requests": 3 }, "cors": true"#,
    );
    let mut world = World::with(&text);
    for (request, status) in [
        ("GET /auth HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /auth HTTP/1.1\r\n\r\n", 400),
        ("GET /auth HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        ("G\0T / HTTP/1.1\r\n\r\n", 400),
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("OPTIONS /auth HTTP/1.1\r\nHost: a\r\n\r\n", 204),
        ("GET /auth HTTP/1.1\r\nHost: a\r\n\r\n", 502),
        ("HEAD /auth/x HTTP/1.1\r\nHost: a\r\n\r\n", 502),
        ("GET /auth HTTP/1.1\r\nHost: a\r\n\r\n", 429),
    ] {
        let client = world.connect();
        world.send(client, request);
        if status == 502 {
            world.refuse(tollgate::proxy::command::Fault::Refused);
        }
        let text = world.expect_status(client, status);
        let id = own(&text, "X-Request-Id");
        let log = world.log().pop().expect("a line");
        assert!(log.contains(&format!(r#""id":"{id}""#)), "{log}");
        world.finish(client);
    }
    // The head never comes.
    let client = world.connect();
    world.send(client, "GET /auth HTTP/1.1\r\n");
    world.wait(60_000);
    own(&world.expect_status(client, 408), "X-Request-Id");
}

#[test]
fn a_websocket_has_one_in_its_101_and_other_1xx_have_none() {
    let mut world = world(r#""X-Request-Id""#);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let origin = world.accept();
    let id = own(&world.received_upstream(origin), "X-Request-Id");
    world.reply(
        origin,
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nX-Request-Id: theirs\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    world.expect(
        client,
        format!(
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nX-Request-Id: {id}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ),
    );
}

#[test]
fn a_retry_and_the_question_of_forward_auth_have_the_same_id() {
    let service = r#", "retries": 1, "auth": "sso""#;
    let text = config(r#""X-Request-Id""#, service).replacen(
        '{',
        r#"{ "auth": { "sso": { "type": "forward", "url": "http://10.0.0.3/check" } },"#,
        1,
    );
    let text = text.replace(
        r#""target": "http://10.0.0.1/auth""#,
        r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/other"]"#,
    );
    let mut world = World::with(&text);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nX-Request-Id: mine\r\n\r\n",
    );
    let provider = world.accept();
    let id = own(&world.received_upstream(provider), "X-Request-Id");
    world.reply(provider, ANSWER);
    world.refuse(tollgate::proxy::command::Fault::Refused);
    let origin = world.accept();
    assert_eq!(own(&world.received_upstream(origin), "X-Request-Id"), id);
    world.reply(origin, ANSWER);
    assert_eq!(own(&world.expect_status(client, 200), "X-Request-Id"), id);
}

#[test]
fn a_reload_changes_the_name_for_the_next_request_only() {
    let mut world = world(r#""X-Request-Id""#);
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    let id = own(&world.received_upstream(origin), "X-Request-Id");
    world.reload(&config(r#""X-Own""#, ""));
    world.reply(origin, "HTTP/1.1 200 OK\r\nDate: x\r\nX-Own: theirs\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n");
    world.expect(
        client,
        format!("HTTP/1.1 200 OK\r\nDate: x\r\nX-Own: theirs\r\nX-Request-Id: {id}\r\nContent-Length: 0\r\n\r\n"),
    );
    world.send(client, GET);
    let up = world.received_upstream(origin);
    assert_ne!(own(&up, "X-Own"), id);
    assert!(values(&up, "X-Request-Id").is_empty());
    world.reload(&config("false", ""));
    world.reply(origin, ANSWER);
    own(&world.expect_status(client, 200), "X-Own");
    world.send(client, GET);
    world.expect_upstream(origin, GET_UPSTREAM);
    world.reply(origin, ANSWER);
    world.expect(client, ANSWER);
}

#[test]
fn two_gateways_make_other_ids() {
    let mut worlds = [7_u128 << 64, 8 << 64].map(|seed| {
        let mut world = world(r#""X-Request-Id""#);
        world.proxy = tollgate::proxy::Proxy::new(settings(&config(r#""X-Request-Id""#, "")), seed);
        world
    });
    let ids = worlds.each_mut().map(|world| {
        let [up, ..] = exchange(world, [192, 0, 2, 1].into(), "", ANSWER);
        own(&up, "X-Request-Id")
    });
    assert_ne!(ids[0], ids[1]);
}

// --- other fields of the JSON log ---

/// Returns the member of a line with its exact text.
#[track_caller]
fn member<'a>(line: &'a str, name: &str) -> &'a str {
    let start = format!("\"{name}\":");
    let at = line
        .find(&start)
        .unwrap_or_else(|| panic!("no {name}: {line}"));
    let rest = &line[at + start.len()..];
    let mut is_text = false;
    let mut is_escaped = false;
    let end = rest.find(|c| {
        is_text ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        !is_text && matches!(c, ',' | '}')
    });
    &rest[..end.unwrap_or(rest.len())]
}

#[test]
fn a_json_line_has_host_agent_referer_and_user() {
    let mut world = world("false");
    for (line, fields, expected) in [
        (
            "GET /auth",
            "Host: Gate.test:8080\r\n",
            ["\"Gate.test:8080\"", "null", "null", "null"],
        ),
        (
            "GET http://a.test/auth",
            "Host: a.test\r\nReferer: http://x/\"\\\r\nUser-Agent: \u{e9}\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n",
            [
                "\"a.test\"",
                r#""\u00C3\u00A9""#,
                r#""http://x/\"\\""#,
                "\"ann\"",
            ],
        ),
        (
            "GET /auth",
            "Host: a\r\nHost: b\r\n",
            ["null", "null", "null", "null"],
        ),
        (
            "GET /none",
            "Host: a\r\n",
            ["\"a\"", "null", "null", "null"],
        ),
    ] {
        let client = world.connect();
        world.send(client, format!("{line} HTTP/1.1\r\n{fields}\r\n"));
        if line.ends_with("/auth") && !fields.contains("Host: b") {
            let origin = world.accept();
            world.take_upstream(origin);
            world.reply(origin, ANSWER);
            world.finish_upstream(origin);
        }
        world.take(client);
        world.finish(client);
        let line = world.log().pop().expect("a line");
        let found = ["host", "userAgent", "referer", "user"].map(|name| member(&line, name));
        assert_eq!(found, expected, "{fields}");
        assert!(!line.contains("secret"), "{line}");
    }
}

#[test]
fn a_line_of_a_long_head_is_bounded() {
    let text = config("false", "").replacen('{', r#"{ "limits": { "headBytes": "60KB" }, "#, 1);
    let mut world = World::with(&text);
    let long = "\u{1f600}".repeat(3000);
    let fields =
        format!("Referer: {long}\r\nUser-Agent: {long}\r\nAuthorization: Basic YW5uOg==\r\n");
    let [_, _, line] = exchange(&mut world, trusted(), &fields, ANSWER);
    assert!(
        line.len() < 110_000 && line.len() > 90_000,
        "{}",
        line.len()
    );
    assert_eq!(member(&line, "host"), "\"gate\"");
    assert_eq!(member(&line, "user"), "\"ann\"");
}

#[test]
fn a_line_names_the_listener_and_the_version_of_tls() {
    use tollgate::observe::access::TlsVersion;
    let mut world = world("false");
    for (listener, tls, expected) in [
        (None, None, ["null", "null"]),
        (Some("0.0.0.0:5000"), None, ["\"0.0.0.0:5000\"", "null"]),
        (
            Some("[::]:443"),
            Some(TlsVersion::Tls13),
            ["\"[::]:443\"", "\"TLSv1.3\""],
        ),
        (
            Some("0.0.0.0:5000"),
            Some(TlsVersion::Tls12),
            ["\"0.0.0.0:5000\"", "\"TLSv1.2\""],
        ),
    ] {
        let client = world.connect();
        world.note_entrance(client, listener, tls);
        for request in [
            "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
            "G\0T / HTTP/1.1\r\n\r\n",
        ] {
            world.send(client, request);
            world.take(client);
            let line = world.log().pop().expect("a line");
            let found = ["listener", "tls"].map(|name| member(&line, name));
            assert_eq!(found, expected, "{request:?}");
        }
    }
}

// --- trace context ---

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `traceparent` passes with all of `tracestate` if it is valid and single; otherwise both are dropped.
#[test]
fn a_trace_context_passes_whole_or_not_at_all() {
    let mut world = world("false");
    let parent = format!("Traceparent: {PARENT}\r\n");
    for (fields, passes) in [
        (parent.clone(), true),
        (
            format!("{parent}tracestate: a=1,b=2\r\nTracestate: c=3\r\n"),
            true,
        ),
        (format!("tracestate: a=1\r\n{parent}"), true),
        (format!("{parent}{parent}"), false),
        (format!("{parent}{parent}tracestate: a=1\r\n"), false),
        (
            format!("{parent}traceparent: x\r\ntracestate: a=1\r\n"),
            false,
        ),
        ("traceparent: x\r\ntracestate: a=1\r\n".to_owned(), false),
        ("tracestate: a=1\r\n".to_owned(), false),
    ] {
        let [up, _, line] = exchange(&mut world, [192, 0, 2, 1].into(), &fields, ANSWER);
        let expected = if passes { &*fields } else { "" };
        let head = GET_UPSTREAM.replace("X-Forwarded-For", &format!("{expected}X-Forwarded-For"));
        assert_eq!(up, head);
        let trace = if passes {
            "\"4bf92f3577b34da6a3ce929d0e0e4736\""
        } else {
            "null"
        };
        assert_eq!(member(&line, "trace"), trace, "{fields}");
    }
}
