//! Explanations: for each word of `end` and each kind of 400 a scripted cause, and the line that an operator reads.

use std::collections::BTreeSet;

use tollgate::http::chunked::ChunkError;
use tollgate::http::error::{LineFault, RequestFault, ResponseError};
use tollgate::net::messages::Line;
use tollgate::observe::access::Outcome;
use tollgate::policy::path::PathFault;
use tollgate::proxy::command::{Fault, ListenerKind, Report};

use super::script::*;

pub const CONFIG: &str = r#"{ "requestId": false, "accessLog": "json", "rateLimit": false, "cors": false, "securityHeaders": false,
    "limits": { "bodyBytes": 100 },
    "auth": { "keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } } },
    "services": [
        { "route": "/open", "target": "http://10.0.0.1" },
        { "route": "/open/in", "target": "http://10.0.0.2", "auth": ["keys"] },
        { "route": "/limited", "target": "http://10.0.0.3", "rateLimit": { "requests": 1 } },
        { "route": "/checked", "target": "http://10.0.0.4",
          "healthCheck": { "path": "/", "interval": "1s", "fall": 1 } },
        { "route": "/secure", "target": "https://10.0.0.5" },
        { "route": "/named", "target": "http://up.internal" },
        { "route": "/closed", "target": "http://10.0.0.6", "maintenance": true } ] }"#;

/// The lines that the operator reads on stderr, each with its level.
pub fn lines(world: &mut World) -> Vec<String> {
    let reports = std::mem::take(&mut world.reports);
    let line = |report| match report {
        Report::UpstreamFailed(failed) => Some(format!("WARN {}", Line(&failed))),
        Report::TryFailed(failed) | Report::Refused(failed) => {
            Some(format!("INFO {}", Line(&failed)))
        }
        _ => None,
    };
    reports.into_iter().filter_map(line).collect()
}

/// The members of the last line of the access log.
#[track_caller]
pub fn last_logged(world: &mut World) -> serde_json::Value {
    let log = world.log();
    let line = log.last().expect("a line of the access log");
    serde_json::from_str(line).expect("a line is JSON")
}

/// Sends a request and returns its client.
fn ask(world: &mut World, line: &str) -> Client {
    let client = world.connect();
    world.send(client, format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

/// Makes the checks of 10.0.0.4 fail.
fn fail_checks(world: &mut World) {
    for _ in 0..20 {
        world.wait(100);
        while !world.dials.is_empty() {
            world.refuse(Fault::Refused);
        }
    }
}

/// A word of `end`, the status, the reason in the access log, the line on stderr, and the cause.
pub type Ending = (
    &'static str,
    Option<u16>,
    Option<&'static str>,
    &'static str,
    fn(&mut World),
);

pub const ENDINGS: &[Ending] = &[
    ("ok", Some(200), None, "", |world| {
        ask(world, "GET /open/1");
        let origin = world.accept();
        world.reply(origin, OK);
    }),
    ("client_closed", None, None, "", |world| {
        let client = ask(world, "GET /open/1");
        world.accept();
        world.finish(client);
    }),
    (
        "client_timeout",
        Some(408),
        Some("no whole head within timeouts.head"),
        "INFO no whole head within timeouts.head; 408 to 192.0.2.1, GET /open/1",
        |world| {
            let client = world.connect();
            world.send(client, "GET /open/1 HTTP/1.1\r\nHo");
            world.wait(60_000);
        },
    ),
    (
        "upstream_refused",
        Some(502),
        Some("connection refused (os error 111)"),
        "WARN /open -> 10.0.0.1:80: connection refused (os error 111); 502 to 192.0.2.1, GET /open/1",
        |world| {
            ask(world, "GET /open/1");
            world.refuse_because(Fault::Refused, "connection refused (os error 111)");
        },
    ),
    (
        "upstream_unreachable",
        Some(502),
        Some("no route to host (os error 113)"),
        "WARN /open -> 10.0.0.1:80: no route to host (os error 113); 502 to 192.0.2.1, GET /open/1",
        |world| {
            ask(world, "GET /open/1");
            world.refuse_because(Fault::NoRoute, "no route to host (os error 113)");
        },
    ),
    (
        "upstream_unreachable",
        Some(502),
        Some("network is unreachable (os error 101)"),
        "WARN /open -> 10.0.0.1:80: network is unreachable (os error 101); 502 to 192.0.2.1, GET /open/1",
        |world| {
            ask(world, "GET /open/1");
            world.refuse_because(Fault::Unreachable, "network is unreachable (os error 101)");
        },
    ),
    (
        "no_target_up",
        Some(503),
        Some("the checks of all targets fail"),
        "WARN /checked: the checks of all targets fail; 503 to 192.0.2.1, GET /checked",
        |world| {
            fail_checks(world);
            ask(world, "GET /checked");
        },
    ),
    (
        "upstream_unresolved",
        Some(502),
        Some("the target's name has no address"),
        "WARN /named -> up.internal:80: the target's name has no address; 502 to 192.0.2.1, GET /named",
        |world| {
            ask(world, "GET /named");
            world.resolve(5, &[]);
        },
    ),
    (
        "upstream_tls",
        Some(502),
        Some("invalid peer certificate: UnknownIssuer"),
        "WARN /secure -> 10.0.0.5:443: invalid peer certificate: UnknownIssuer; 502 to 192.0.2.1, GET /secure",
        |world| {
            ask(world, "GET /secure");
            world.refuse_because(Fault::Tls, "invalid peer certificate: UnknownIssuer");
        },
    ),
    (
        "upstream_closed",
        Some(502),
        Some("the upstream ended the connection before its response was complete"),
        "WARN /open -> 10.0.0.1:80: the upstream ended the connection before its response was complete; 502 to 192.0.2.1, \
         POST /open/1",
        |world| {
            ask(world, "POST /open/1");
            let origin = world.accept();
            world.finish_upstream(origin);
        },
    ),
    (
        "upstream_malformed",
        Some(502),
        Some("status code"),
        "WARN /open -> 10.0.0.1:80: malformed response: status code; 502 to 192.0.2.1, GET /open/1",
        |world| {
            ask(world, "GET /open/1");
            let origin = world.accept();
            world.reply(origin, "HTTP/1.1 999 Denied\r\n\r\n");
        },
    ),
    (
        "upstream_timeout",
        Some(504),
        Some("no response within timeouts.response"),
        "WARN /open -> 10.0.0.1:80: no response within timeouts.response; 504 to 192.0.2.1, GET /open/1",
        |world| {
            ask(world, "GET /open/1");
            world.accept();
            world.wait(120_000);
        },
    ),
    (
        "rate_limited",
        Some(429),
        Some("more requests than rateLimit allows"),
        "",
        |world| {
            ask(world, "GET /limited");
            ask(world, "GET /limited");
        },
    ),
    (
        "maintenance",
        Some(503),
        Some("the service is in maintenance"),
        "",
        |world| {
            ask(world, "GET /closed");
        },
    ),
    (
        "store_down",
        Some(503),
        Some("the store of the rate limit is down, see onFailure"),
        "",
        |world| {
            *world = World::with(
                r#"{ "accessLog": "json", "rateLimit": { "store": "main" },
                    "stores": { "main": { "url": "redis://10.0.0.9", "onFailure": "closed" } },
                    "services": [ { "route": "/open", "target": "http://10.0.0.1" } ] }"#,
            );
            ask(world, "GET /open");
        },
    ),
    (
        "no_route",
        Some(404),
        Some("no service has a route for this host and path"),
        "",
        |world| {
            ask(world, "GET /none");
        },
    ),
    (
        "bad_request",
        Some(400),
        Some("two slashes behind the route"),
        "INFO two slashes behind the route; 400 to 192.0.2.1, GET /open//x",
        |world| {
            ask(world, "GET /open//x");
        },
    ),
    (
        "unauthorized",
        Some(401),
        Some("no credential"),
        "INFO /open/in: no credential; 401 to 192.0.2.1, GET /open/in",
        |world| {
            ask(world, "GET /open/in");
        },
    ),
    (
        "over_limit",
        Some(413),
        Some("body longer than limits.bodyBytes"),
        "INFO /open: body longer than limits.bodyBytes; 413 to 192.0.2.1, POST /open",
        |world| {
            let client = world.connect();
            world.send(
                client,
                "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
            );
        },
    ),
    (
        "loop_detected",
        Some(502),
        Some("Via shows that the request runs in a circle"),
        "WARN /open: Via shows that the request runs in a circle; 502 to 192.0.2.1, GET /open",
        |world| {
            let client = world.connect();
            let via = ["1.1 tollgate"; 16].join(", ");
            world.send(
                client,
                format!("GET /open HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n"),
            );
        },
    ),
    ("shutdown", None, None, "", |world| {
        ask(world, "GET /open/1");
        world.accept();
        world.abort();
    }),
];

#[test]
fn each_word_of_end_has_a_cause_and_a_line() {
    let mut seen = BTreeSet::new();
    for (end, status, reason, line, cause) in ENDINGS {
        let mut world = World::with(CONFIG);
        cause(&mut world);
        let logged = last_logged(&mut world);
        let null = serde_json::Value::Null;
        assert_eq!(logged["end"], *end);
        assert_eq!(
            logged["status"],
            status.map_or(null.clone(), Into::into),
            "{end}"
        );
        assert_eq!(logged["reason"], reason.map_or(null, Into::into), "{end}");
        let lines = lines(&mut world);
        let expected: &[&str] = if line.is_empty() { &[] } else { &[line] };
        assert_eq!(lines, expected, "{end}");
        seen.insert(*end);
    }
    let all = Outcome::ALL.iter().map(|outcome| outcome.as_str());
    assert_eq!(seen, all.collect::<BTreeSet<_>>());
}

/// The bytes that a client sends, and the line: without its level, and without ` to 192.0.2.1` behind the status.
pub const MALFORMED: &[(&str, &str)] = &[
    ("(\r\n", "start of the request line; 400"),
    ("\x16\x03\x01\x02", "TLS on a plain listener; 400"),
    (
        "PROXY TCP4 192.0.2.9 192.0.2.8 1 2\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROXY header from an address that is not in proxyProtocol; 400, PROXY TCP4",
    ),
    (
        "GET /op\x01en HTTP/1.1\r\nHost: a\r\n\r\n",
        "request line; 400, GET",
    ),
    (
        "GET /open HTTP/1.10\r\nHost: a\r\n\r\n",
        "HTTP version; 400, GET /open",
    ),
    (
        "GET /open#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "byte in the target; 400, GET /open#b",
    ),
    (
        "GET open HTTP/1.1\r\nHost: a\r\n\r\n",
        "form of the target; 400, GET open",
    ),
    (
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "the target * is for OPTIONS alone; 400, GET *",
    ),
    (
        "GET http://b/open HTTP/1.1\r\nHost: a\r\n\r\n",
        "target and Host differ; 400, GET http://b/open",
    ),
    (
        "GET /open HTTP/1.1\r\n\r\n",
        "no Host field; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "two Host fields; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a b\r\n\r\n",
        "Host is no host and port; 400, GET /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding and Content-Length; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding in HTTP/1.0; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "Transfer-Encoding; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "two Content-Length fields; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\n",
        "Content-Length is no number; 400, POST /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a\r\nConnection: (\r\n\r\n",
        "Connection is no list of at most 64 tokens; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
        "Connection names a framing field; 400, GET /open",
    ),
    (
        "OPTIONS /open HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n",
        "Max-Forwards is no number; 400, OPTIONS /open",
    ),
    (
        "GET /open/in HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n",
        "/open/in: two fields with credentials; 400, GET /open/in",
    ),
    (
        "GET /open HTTP/1.1\nHost: a\n\n",
        "bare CR or LF; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "folded field line; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost\r\n\r\n",
        "field line without a colon; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\n: a\r\n\r\n",
        "empty field name; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost : a\r\n\r\n",
        "whitespace before the colon of a field line; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHo st: a\r\n\r\n",
        "byte in a field name; 400, GET /open",
    ),
    (
        "GET /open HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "byte in a field value; 400, GET /open",
    ),
    (
        "GET /open/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "% without two hex digits in the path; 400, GET /open/%zz",
    ),
    (
        "GET /open/%u002f HTTP/1.1\r\nHost: a\r\n\r\n",
        "%u escape in the path; 400, GET /open/%u002f",
    ),
    (
        "GET /open/%5c HTTP/1.1\r\nHost: a\r\n\r\n",
        "encoded backslash or control character in the path; 400, GET /open/%5c",
    ),
    (
        "GET /open/%c0%af HTTP/1.1\r\nHost: a\r\n\r\n",
        "overlong UTF-8 in the path; 400, GET /open/%c0%af",
    ),
    (
        "GET /open/%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "dot segment in the path; 400, GET /open/%2e%2e/x",
    ),
    (
        "GET /open/a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
        "encoded slash in the path, see encodedSlashes; 400, GET /open/a%2fb",
    ),
    (
        "GET /open/a%252fb HTTP/1.1\r\nHost: a\r\n\r\n",
        "slash encoded twice in the path, see encodedSlashes; 400, GET /open/a%252fb",
    ),
    (
        "GET /open//x HTTP/1.1\r\nHost: a\r\n\r\n",
        "two slashes behind the route; 400, GET /open//x",
    ),
    (
        "GET /open/i%6e HTTP/1.1\r\nHost: a\r\n\r\n",
        "path that has another route once it is decoded; 400, GET /open/i%6e",
    ),
    (
        "GET /open/IN HTTP/1.1\r\nHost: a\r\n\r\n",
        "path that resembles a guarded route; 400, GET /open/IN",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "/open -> 10.0.0.1:80: chunk size; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd",
        "/open -> 10.0.0.1:80: line end of a chunk; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;=\r\n",
        "/open -> 10.0.0.1:80: chunk extension; 400, POST /open",
    ),
    (
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n",
        "/open -> 10.0.0.1:80: trailer line; 400, POST /open",
    ),
];

/// Checks the line of a 400, and returns its reason.
#[track_caller]
fn check_400(world: &mut World, client: Client, line: &str) -> String {
    world.expect_status(client, 400);
    let (front, request) = line.split_once("; 400").expect("a status");
    assert_eq!(
        lines(world),
        [format!("INFO {front}; 400 to 192.0.2.1{request}")]
    );
    let logged = last_logged(world);
    assert_eq!(logged["end"], "bad_request");
    let reason = front.rsplit(": ").next().expect("a reason");
    assert_eq!(logged["reason"], reason);
    reason.to_owned()
}

#[test]
fn each_kind_of_400_has_a_line() {
    let mut seen = BTreeSet::new();
    for (request, line) in MALFORMED {
        let mut world = World::with(CONFIG);
        let client = world.connect();
        world.send(client, request);
        seen.insert(check_400(&mut world, client, line));
    }
    let mut world = World::with(CONFIG);
    let client = world.connect();
    let extension = "x".repeat(100_000);
    world.send(
        client,
        format!(
            "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;{extension}"
        ),
    );
    let line = "/open -> 10.0.0.1:80: chunk extensions or trailers too large; 400, POST /open";
    seen.insert(check_400(&mut world, client, line));
    let mut world = World::with(CONFIG);
    let client = world.connect_by(ListenerKind::Secure);
    world.not_tls(client, "GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    let line = "plain HTTP on a TLS listener; 400, GET /open";
    seen.insert(check_400(&mut world, client, line));
    let mut world = World::with(CONFIG);
    let client = world.connect_by(ListenerKind::Redirect);
    world.send(client, "GET /open HTTP/1.0\r\n\r\n");
    let line = "no Host field to redirect by; 400, GET /open";
    seen.insert(check_400(&mut world, client, line));

    let matched = r#""services": [
        { "route": "/matched", "target": "http://10.0.0.1", "match": { "headers": { "X-Beta": "1" } } },
        { "route": "/matched", "target": "http://10.0.0.1", "auth": ["keys"] },"#;
    let mut world = World::with(&CONFIG.replace("\"services\": [", matched));
    let client = world.connect();
    world.send(
        client,
        "GET /matched HTTP/1.1\r\nHost: a\r\nX-Beta: 1\r\nX_Beta: 1\r\n\r\n",
    );
    let line =
        "header, cookie or parameter of match in several values or spellings; 400, GET /matched";
    seen.insert(check_400(&mut world, client, line));

    // The request line has refused these bytes before the path is looked at.
    let unseen = [PathFault::Byte.as_str(), "field line"];
    let all = RequestFault::TEXTS
        .iter()
        .chain(LineFault::TEXTS)
        .copied()
        .chain(ChunkError::ALL.iter().map(|fault| fault.as_str()))
        .chain(PathFault::ALL.iter().map(|fault| fault.as_str()))
        .filter(|text| !unseen.contains(text));
    let all = all.map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(seen, all);
}

/// The bytes that an upstream sends, and the reason of the 502.
const BROKEN_RESPONSES: &[(&str, &str)] = &[
    ("SSH-2.0-x\r\n", "start of the status line"),
    ("\x15\x03\x01", "TLS; write https:// in the target"),
    (
        "\0\0\x06\x04\0\0\0\0\0\0\x05",
        "HTTP/2; the target must speak HTTP/1.1",
    ),
    ("HTTP/1.1 OK\r\n\r\n", "status line"),
    ("HTTP/2.0 200 OK\r\n\r\n", "HTTP version"),
    ("HTTP/1.1 999 Denied\r\n\r\n", "status code"),
    ("HTTP/1.1 200 O\x01K\r\n\r\n", "byte in the reason phrase"),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding in HTTP/1.0",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "Transfer-Encoding",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "unknown transfer coding",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "two different Content-Length values",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "Content-Length is no number",
    ),
    (
        "HTTP/1.1 200 OK\r\nConnection: (\r\n\r\n",
        "Connection is no list of at most 64 tokens",
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        "101 that was not asked for",
    ),
    ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare CR or LF"),
    ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "folded field line"),
    ("HTTP/1.1 200 OK\r\nA\r\n\r\n", "field line without a colon"),
    ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", "empty field name"),
    (
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "whitespace before the colon of a field line",
    ),
    ("HTTP/1.1 200 OK\r\nA a: b\r\n\r\n", "byte in a field name"),
    ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", "byte in a field value"),
];

/// Returns the reply to a request whose target refuses the connection, behind its status.
fn plain_502() -> String {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /open/1");
    world.refuse(Fault::Refused);
    let received = world.received(client);
    received
        .strip_prefix("HTTP/1.1 502 ")
        .expect("a 502")
        .to_owned()
}

/// Sends a request whose response breaks a rule. Returns the reason in the access log.
#[track_caller]
fn reason_of_502(response: &str) -> String {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /open/1");
    let origin = world.accept();
    world.reply(origin, response);
    // Interim responses may stand before it.
    let received = world.received(client);
    assert!(received.contains("HTTP/1.1 502 "), "{received}");
    let logged = last_logged(&mut world);
    assert_eq!(logged["end"], "upstream_malformed");
    let reason = logged["reason"].as_str().expect("a reason").to_owned();
    // The client sees a 502, and not of which kind.
    let (_, reply) = received.split_once("HTTP/1.1 502 ").expect("a 502");
    assert_eq!(reply, plain_502(), "{reason}");
    let expected = format!(
        "WARN /open -> 10.0.0.1:80: malformed response: {reason}; 502 to 192.0.2.1, GET /open/1"
    );
    assert_eq!(lines(&mut world), [expected]);
    reason
}

/// A body comes behind a head that is out: what is wrong with chunks is no 502.
#[test]
fn each_kind_of_502_of_a_malformed_response_has_a_line() {
    let mut seen = BTreeSet::new();
    for (response, reason) in BROKEN_RESPONSES {
        assert_eq!(reason_of_502(response), *reason, "{response:?}");
        seen.insert((*reason).to_owned());
    }
    let long = "x".repeat(200_000);
    seen.insert(reason_of_502(&format!(
        "HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n"
    )));
    let fields = "A: b\r\n".repeat(2_000);
    seen.insert(reason_of_502(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
    seen.insert(reason_of_502(&interim));
    // Bytes on a connection that is not used yet.
    let unseen = [ResponseError::Unasked.as_str(), "field line"];
    let all = ResponseError::TEXTS.iter().chain(LineFault::TEXTS);
    let all = all.copied().filter(|text| !unseen.contains(text));
    assert_eq!(seen, all.map(str::to_owned).collect::<BTreeSet<_>>());
}

/// Bytes of a client must not break the line, nor make it long.
#[test]
fn a_line_is_one_line_of_bounded_length() {
    let mut world = World::with(CONFIG);
    let client = world.connect();
    let long = "y".repeat(4_000);
    world.send(
        client,
        format!("GET /open//\"%0a'{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    world.expect_status(client, 400);
    let lines = lines(&mut world);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].len() < 700, "{}", lines[0].len());
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(
        client,
        b"GET /open HTTP/1.1\r\nHost: \x1b[2J\n\r\n".as_slice(),
    );
    world.expect_status(client, 400);
    let last = self::lines(&mut world).remove(0);
    assert!(
        last.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "{last}"
    );
}

#[test]
fn the_first_429_of_each_service_is_told_once_and_again_after_a_reload() {
    let told = |world: &mut World| {
        let reports = std::mem::take(&mut world.reports);
        let first = |report| match report {
            Report::FirstRateLimited(full) => Some((
                full.service.map(|service| service.to_string()),
                full.client,
                full.requests,
                full.window.as_secs_ceil(),
            )),
            _ => None,
        };
        reports.into_iter().filter_map(first).collect::<Vec<_>>()
    };
    let config = CONFIG.replace(
        r#""rateLimit": false"#,
        r#""rateLimit": { "requests": 2, "window": "30s" }"#,
    );
    let mut world = World::with(&config);
    for _ in 0..5 {
        ask(&mut world, "GET /limited");
        ask(&mut world, "GET /none");
    }
    let client = "192.0.2.1".parse().ok();
    let limited = (Some("/limited".to_owned()), client, 1, 30);
    let unrouted = (None, client, 2, 30);
    let mut found = told(&mut world);
    found.sort();
    assert_eq!(found, [unrouted.clone(), limited.clone()]);
    world.reload(&config);
    for _ in 0..5 {
        ask(&mut world, "GET /limited");
    }
    assert_eq!(told(&mut world), std::slice::from_ref(&limited));
    // Limits that are counted by their own way are told with their route, too.
    for own in [
        r#"{ "algorithm": "bucket", "requests": 1, "window": "30s", "burst": 1 }"#,
        r#"{ "algorithm": "sliding", "requests": 1, "window": "30s" }"#,
        r#"{ "requests": 1, "window": "30s", "key": "header:X-Id" }"#,
        r#"[ { "requests": 1, "window": "30s" }, { "requests": 9, "window": "60s" } ]"#,
    ] {
        let mut world = World::with(&format!(
            r#"{{ "rateLimit": false, "services": [ {{ "route": "/limited", "target": "http://10.0.0.1", "rateLimit": {own} }} ] }}"#
        ));
        for _ in 0..3 {
            let client = world.connect();
            world.send(
                client,
                "GET /limited HTTP/1.1\r\nHost: a\r\nX-Id: 7\r\n\r\n",
            );
        }
        assert_eq!(told(&mut world), std::slice::from_ref(&limited), "{own}");
    }
}

#[test]
fn an_ignored_x_forwarded_for_from_a_private_address_is_told_once() {
    let forwarded = "GET /none HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let told = |world: &mut World, from: &str, request: &str| {
        let client = world.connect_from(from.parse().expect("an address"));
        world.send(client, request);
        let reports = std::mem::take(&mut world.reports);
        let peer = |report| match report {
            Report::ForwardedIgnored { peer } => peer.map(|peer| peer.to_string()),
            _ => None,
        };
        reports.into_iter().filter_map(peer).collect::<Vec<_>>()
    };
    let mut world = World::with(CONFIG);
    let plain = "GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(told(&mut world, "10.0.0.7", plain), [""; 0]);
    // An address of the internet may send what it likes.
    assert_eq!(told(&mut world, "203.0.113.1", forwarded), [""; 0]);
    assert_eq!(told(&mut world, "10.0.0.7", forwarded), ["10.0.0.7"]);
    assert_eq!(told(&mut world, "10.0.0.8", forwarded), [""; 0], "once");
    world.reload(CONFIG);
    assert_eq!(told(&mut world, "10.0.0.8", forwarded), ["10.0.0.8"]);
    let trusting = CONFIG.replacen('{', r#"{ "trustedProxies": ["10.0.0.0/8"], "#, 1);
    let mut world = World::with(&trusting);
    assert_eq!(told(&mut world, "10.0.0.7", forwarded), [""; 0]);
}

/// The answer to the request and its line in the access log were written before.
#[test]
fn a_broken_body_of_an_answered_request_is_told() {
    let mut world = World::plain();
    let client = world.connect();
    world.send(
        client,
        "POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    world.expect_status(client, 404);
    world.send(client, "x\r\n");
    let broken = Report::BodyBroken {
        client: "192.0.2.1".parse().ok(),
        fault: ChunkError::Size,
    };
    assert_eq!(std::mem::take(&mut world.reports), [broken]);
    world.expect_closing(client);
    world.expect_quiet();
}

/// The id that the client and the access log have.
#[test]
fn a_line_ends_with_the_id_of_the_request() {
    let mut world =
        World::with(&CONFIG.replace(r#""requestId": false"#, r#""requestId": "X-Request-Id""#));
    let client = ask(&mut world, "GET /open");
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    let answer = world.expect_status(client, 502);
    let (_, id) = answer.split_once("X-Request-Id: ").expect("an id");
    let id = id.get(..32).expect("32 digits");
    let lines = lines(&mut world);
    assert!(
        lines[0].ends_with(&format!("GET /open, id {id}")),
        "{lines:?}"
    );
    assert_eq!(last_logged(&mut world)["id"], id);
}

/// A flood of failures of one service and reason is counted; each other one is told.
#[test]
fn floods_are_counted_for_each_service_and_reason() {
    let mut world = World::with(CONFIG);
    for _ in 0..50 {
        ask(&mut world, "GET /open");
        world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    }
    ask(&mut world, "GET /secure");
    world.refuse_because(Fault::Tls, "invalid peer certificate: UnknownIssuer");
    assert_eq!(lines(&mut world).len(), 11);
    world.wait(1_100);
    let counted = Report::Suppressed {
        is_info: false,
        service: Some("/open".into()),
        provider: None,
        what: Some("connection"),
        count: 40,
    };
    assert!(world.reports.contains(&counted), "{:?}", world.reports);
}
