//! Reports to the operator about refused and failed requests: place, reason and request.

use tollgate::observe::access::Outcome;
use tollgate::proxy::command::{Failed, Fault, Got, Reason, Report};

use super::script::*;

const CONFIG: &str = r#"{ "accessLog": "json", "rateLimit": { "requests": 3 }, "cors": false, "securityHeaders": false,
    "limits": { "bodyBytes": 100 },
    "auth": { "keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } } },
    "services": [
        { "route": "/open", "target": "http://10.0.0.1", "methods": ["GET", "POST"], "rateLimit": false },
        { "route": "/guarded", "target": "http://10.0.0.2", "auth": ["keys"], "rateLimit": false },
        { "route": "/limited", "target": "http://10.0.0.3" } ] }"#;

/// Returns the only report.
#[track_caller]
fn only(world: &mut World) -> Report {
    let mut reports = std::mem::take(&mut world.reports);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

#[track_caller]
fn failed(world: &mut World) -> Failed {
    match only(world) {
        Report::UpstreamFailed(failed) => *failed,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(world: &mut World) -> Failed {
    match only(world) {
        Report::Refused(failed) => *failed,
        other => panic!("{other:?}"),
    }
}

fn reason(failed: &Failed) -> &str {
    failed.reason.as_ref().map_or("", Reason::as_str)
}

/// Returns a member of the only line of the access log.
#[track_caller]
fn logged(log: &str, member: &str) -> serde_json::Value {
    let line: serde_json::Value = serde_json::from_str(log).expect("a line is JSON");
    line.get(member)
        .unwrap_or_else(|| panic!("no {member} in {log}"))
        .clone()
}

#[test]
fn a_502_is_told_with_place_reason_and_request() {
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(client, "GET /open/1?q HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    let text = world.expect_status(client, 502);
    assert!(!text.contains("refused"), "{text}");
    let failed = failed(&mut world);
    assert_eq!(
        (
            failed.service.as_deref(),
            failed.target.as_ref().map(|target| &*target.authority),
            failed.address
        ),
        (Some("/open"), Some("10.0.0.1"), "10.0.0.1:80".parse().ok())
    );
    assert_eq!(
        (failed.outcome, failed.got),
        (Outcome::UpstreamRefused, Got::Reply(502))
    );
    assert_eq!(
        (failed.client, reason(&failed)),
        (
            "192.0.2.1".parse().ok(),
            "connection refused (os error 111)"
        )
    );
    assert_eq!(
        (&*failed.method, &*failed.path),
        (&b"GET"[..], &b"/open/1?q"[..])
    );
    assert_eq!(
        logged(&world.log()[0], "reason"),
        "connection refused (os error 111)"
    );
    world.expect_quiet();
}

#[test]
fn what_is_wrong_with_an_answer_is_told() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(300));
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nSecured by X : y\r\n\r\n",
            "whitespace before the colon of a field line",
        ),
        (
            "HTTP/1.1 200 OK\r\nSecured by: y\r\n\r\n",
            "byte in a field name",
        ),
        (
            "HTTP/1.1 200 OK\r\nSecured\r\n\r\n",
            "field line without a colon",
        ),
        ("HTTP/1.1 200 OK\r\n: y\r\n\r\n", "empty field name"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "folded field line"),
        ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", "byte in a field value"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "bare CR or LF"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
            "bare CR or LF",
        ),
        ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "bare CR or LF"),
        ("HTTP/1.1 999 Denied\r\n\r\n", "status code"),
        ("HTTP/1.1 99 Low\r\n\r\n", "status code"),
        ("HTTP/1.1 2000 High\r\n\r\n", "status code"),
        ("HTTP/1.1 OK\r\n\r\n", "status line"),
        ("HTTP/2.0 200 OK\r\n\r\n", "HTTP version"),
        ("HTTP/1.1 200 O\0K\r\n\r\n", "byte in the reason phrase"),
        ("<html>", "start of the status line"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
            "unknown transfer coding",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nok",
            "Transfer-Encoding",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding in HTTP/1.0",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "two different Content-Length values",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
            "Content-Length is no number",
        ),
        (
            "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "101 that was not asked for",
        ),
        (
            &"HTTP/1.1 103 Early\r\n\r\n".repeat(100),
            "too many 1xx responses",
        ),
        (&large, "head too large"),
        (&many, "too many fields"),
    ] {
        for step in [usize::MAX, 7] {
            let mut world = World::with(CONFIG);
            let client = world.connect();
            world.send(client, "GET /open HTTP/1.1\r\nHost: gate\r\n\r\n");
            let origin = world.accept();
            world.step = step;
            world.reply(origin, answer);
            let failed = failed(&mut world);
            assert_eq!(
                (reason(&failed), failed.outcome),
                (expected, Outcome::UpstreamMalformed),
                "{answer:.60} by {step}"
            );
            assert_eq!(failed.got, Got::Reply(502));
            let log = world.log();
            assert_eq!(
                (logged(&log[0], "reason"), logged(&log[0], "status")),
                (expected.into(), 502.into())
            );
        }
    }
}

#[test]
fn a_response_that_is_cut_is_told_with_its_status() {
    for (behind, end, expected) in [
        ("x\r\n", Outcome::UpstreamMalformed, "chunk size"),
        (
            "3\r\nabcd",
            Outcome::UpstreamMalformed,
            "line end of a chunk",
        ),
        (
            "0\r\nX : y\r\n\r\n",
            Outcome::UpstreamMalformed,
            "trailer line",
        ),
        (
            "3\r\nab",
            Outcome::UpstreamClosed,
            "the upstream ended the connection before its response was complete",
        ),
    ] {
        let mut world = World::with(CONFIG);
        let client = world.connect();
        world.send(client, "GET /open HTTP/1.1\r\nHost: gate\r\n\r\n");
        let origin = world.accept();
        world.reply(
            origin,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        world.reply(origin, behind);
        if end == Outcome::UpstreamClosed {
            world.finish_upstream(origin);
        }
        let failed = failed(&mut world);
        assert_eq!(
            (reason(&failed), failed.outcome, failed.got),
            (expected, end, Got::Part(200))
        );
        assert_eq!(logged(&world.log()[0], "reason"), expected);
    }
}

#[test]
fn silence_is_told_by_what_did_not_come() {
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(client, "GET /open HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.wait(60_000);
    assert_eq!(
        reason(&failed(&mut world)),
        "no connection within timeouts.connect"
    );
    world.expect_status(client, 504);
    let client = world.connect();
    world.send(client, "GET /open HTTP/1.1\r\nHost: gate\r\n\r\n");
    let _origin = world.accept();
    world.wait(120_000);
    assert_eq!(
        reason(&failed(&mut world)),
        "no response within timeouts.response"
    );
    world.expect_status(client, 504);
}

/// Request, reason, status, and the members of the access log line: service, method, path, proto.
type Refusal<'a> = (&'a str, &'a str, u16, [Option<&'a str>; 4]);

#[test]
fn what_is_wrong_with_a_request_is_told() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: gate\r\n\r\n", "a".repeat(20_000));
    let large = format!(
        "GET /open HTTP/1.1\r\nHost: gate\r\nX: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let many = format!(
        "GET /open HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        "X: y\r\n".repeat(101)
    );
    let whole = |service, method, path| [service, Some(method), Some(path), Some("HTTP/1.1")];
    let open = whole(None, "GET", "/open");
    let rows: &[Refusal<'_>] = &[
        (
            "GET /open HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "two Content-Length fields",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: gate\r\nContent-Length: 01\r\n\r\n",
            "Content-Length is no number",
            400,
            open,
        ),
        ("GET /open HTTP/1.1\r\n\r\n", "no Host field", 400, open),
        (
            "GET /open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "two Host fields",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: a b\r\n\r\n",
            "Host is no host and port",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost : a\r\n\r\n",
            "whitespace before the colon of a field line",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "folded field line",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\nHost: a\n\n",
            "bare CR or LF",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
            "Connection names a framing field",
            400,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
            "unknown transfer coding",
            501,
            open,
        ),
        (
            "GET /open HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
            "unknown expectation",
            417,
            open,
        ),
        (
            "GET /open/%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "dot segment in the path",
            400,
            whole(None, "GET", "/open/%2e%2e/x"),
        ),
        (&large, "head too large", 431, open),
        (&many, "too many fields", 431, open),
        (
            &long,
            "request line too long",
            414,
            [None, Some("GET"), None, None],
        ),
        (
            "GET /op\x01en HTTP/1.1\r\nHost: a\r\n\r\n",
            "request line",
            400,
            [None, Some("GET"), None, None],
        ),
        (
            "GET /open HTTP/2.0\r\nHost: a\r\n\r\n",
            "HTTP version not supported",
            505,
            [None, Some("GET"), Some("/open"), Some("HTTP/2.0")],
        ),
        (
            "GET /open HTTP/1.10\r\nHost: a\r\n\r\n",
            "HTTP version",
            400,
            [None, Some("GET"), Some("/open"), None],
        ),
        (
            "GET /open\r\nHost: a\r\n\r\n",
            "request line",
            400,
            [None, Some("GET"), None, None],
        ),
        (
            "\x16\x03\x01\x02",
            "TLS on a plain listener",
            400,
            [None; 4],
        ),
        (
            "DELETE /open HTTP/1.1\r\nHost: a\r\n\r\n",
            "no service of this route takes the method",
            405,
            whole(Some("/open"), "DELETE", "/open"),
        ),
        (
            "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
            "body longer than limits.bodyBytes",
            413,
            whole(Some("/open"), "POST", "/open"),
        ),
        (
            "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "chunk size",
            400,
            whole(Some("/open"), "POST", "/open"),
        ),
        (
            "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
            "no service has a route for this host and path",
            404,
            whole(None, "GET", "/none"),
        ),
        (
            "GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n",
            "no credential",
            401,
            whole(Some("/guarded"), "GET", "/guarded"),
        ),
        (
            "GET /guarded HTTP/1.1\r\nHost: a\r\nX-Key: bar\r\n\r\n",
            "unknown API key",
            401,
            whole(Some("/guarded"), "GET", "/guarded"),
        ),
        (
            "GET /guarded HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n",
            "two fields with credentials",
            400,
            whole(Some("/guarded"), "GET", "/guarded"),
        ),
    ];
    for (request, expected, status, [service, method, path, proto]) in rows {
        let mut world = World::with(CONFIG);
        let client = world.connect();
        world.send(client, request);
        world.expect_status(client, *status);
        let log = world.log();
        if matches!(status, 404 | 405) {
            // Scanners ask for thousands of paths: the access log has the reason, and stderr nothing.
            assert_eq!(
                (&world.reports[..], logged(&log[0], "reason")),
                (&[][..], (*expected).into()),
                "{request:.60}"
            );
        } else {
            let refused = refused(&mut world);
            assert_eq!(
                (reason(&refused), refused.got),
                (*expected, Got::Reply(*status)),
                "{request:.60}"
            );
            assert_eq!(logged(&log[0], "reason"), *expected);
        }
        for (member, value) in [
            ("service", service),
            ("method", method),
            ("path", path),
            ("proto", proto),
        ] {
            assert_eq!(
                logged(&log[0], member),
                value.map_or(serde_json::Value::Null, Into::into),
                "{member} of {request:.60}"
            );
        }
    }
}

/// An incomplete head is logged only as far as its parts are complete.
#[test]
fn a_head_that_did_not_come_is_logged_as_far_as_it_did() {
    for (start, method, path) in [
        ("GE", None, None),
        ("GET ", Some("GET"), None),
        ("GET /op", Some("GET"), None),
        ("GET /open ", Some("GET"), Some("/open")),
        ("GET /open HTTP/1.1", Some("GET"), Some("/open")),
    ] {
        let mut world = World::with(CONFIG);
        let client = world.connect();
        world.send(client, start);
        world.wait(60_000);
        world.expect_status(client, 408);
        assert_eq!(
            reason(&refused(&mut world)),
            "no whole head within timeouts.head"
        );
        let log = world.log();
        for (member, value) in [("method", method), ("path", path)] {
            assert_eq!(
                logged(&log[0], member),
                value.map_or(serde_json::Value::Null, Into::into),
                "{member} of {start}"
            );
        }
    }
}

/// The service is in the line of each refusal behind the route, and in none before it.
#[test]
fn the_service_is_logged_wherever_a_route_was_found() {
    let more = r#""target": "http://10.0.0.3" },
        { "route": "/denied", "target": "http://10.0.0.4", "deny": ["192.0.2.0/24"] },
        { "route": "/closed", "target": "http://10.0.0.4", "maintenance": true }"#;
    let config = CONFIG.replace(r#""target": "http://10.0.0.3" }"#, more);
    let via = format!("Via: {}\r\n", ["1.1 tollgate"; 16].join(", "));
    let mut world = World::with(&config);
    for (line, fields, status, service) in [
        ("GET /guarded", "", 401, Some("/guarded")),
        ("GET /denied/x", "", 403, Some("/denied")),
        ("GET /closed", "", 503, Some("/closed")),
        ("PUT /open", "", 405, Some("/open")),
        ("POST /open", "Content-Length: 101\r\n", 413, Some("/open")),
        ("POST /open", &via, 502, Some("/open")),
        ("GET /limited", "", 429, Some("/limited")),
        ("GET /nothing", "", 429, None),
        ("GET /open/%2f/..", "", 400, None),
    ] {
        if status == 429 {
            // The window of the top level is used up.
            for _ in 0..3 {
                let client = world.connect();
                world.send(client, "GET /limited HTTP/1.1\r\nHost: gate\r\n\r\n");
            }
            world.log();
        }
        let client = world.connect();
        world.send(
            client,
            format!("{line} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n"),
        );
        world.expect_status(client, status);
        let log = world.log();
        let log = log.last().expect("a line");
        let found = (logged(log, "service"), logged(log, "status"));
        assert_eq!(found, (service.into(), status.into()), "{line}");
    }
}

#[test]
fn a_flood_of_one_failure_is_counted() {
    let mut world = World::with(CONFIG);
    for _ in 0..50 {
        let client = world.connect();
        world.send(client, "GET /open HTTP/1.1\r\n\r\n");
        world.expect_status(client, 400);
    }
    assert_eq!(world.reports.len(), 10, "ten in a second");
    world.reports.clear();
    world.wait(1100);
    let suppressed = Report::Suppressed {
        is_info: true,
        service: None,
        provider: None,
        what: Some("no Host field"),
        count: 40,
    };
    assert_eq!(world.reports, [suppressed]);
    assert_eq!(world.log().len(), 50, "the access log has all of them");
    world.expect_quiet();
}

const FORWARD: &str = r#"{ "accessLog": "json", "rateLimit": false, "cors": false, "securityHeaders": false,
    "auth": { "ask": { "type": "forward", "url": "http://10.0.0.9/ask" } },
    "services": [ { "route": "/guarded", "target": "http://10.0.0.2", "auth": ["ask"] } ] }"#;

#[test]
fn a_provider_that_gives_no_answer_is_told_with_the_reason() {
    let get = "GET /guarded HTTP/1.1\r\nHost: gate\r\n\r\n";
    for (answer, expected) in [
        (None, "connection refused (os error 111)"),
        (Some("HTTP/1.1 999 Denied\r\n\r\n"), "status code"),
        (
            Some("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            "two different Content-Length values",
        ),
        (
            Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
            "chunk size",
        ),
    ] {
        let mut world = World::with(FORWARD);
        let client = world.connect();
        world.send(client, get);
        match answer {
            None => world.refuse_because(Fault::Refused, "connection refused (os error 111)"),
            Some(answer) => {
                let origin = world.accept();
                world.reply(origin, answer);
            }
        }
        world.expect_status(client, 503);
        let Report::ProviderFailed {
            provider,
            reason: Some(reason),
            ..
        } = only(&mut world)
        else {
            panic!("{expected}")
        };
        assert_eq!(&*provider, "ask");
        assert_eq!(reason.as_str(), expected);
    }
}

/// The timer of the request and that of the question to the provider end in one millisecond: which
/// comes first says nothing, and the line is there whatever the time is.
#[test]
fn a_provider_that_never_answers_is_named() {
    for (seconds, earlier) in [3, 5, 8, 10, 15, 16].into_iter().flat_map(|seconds| {
        // The timer wheel sorts by the time since its start, too.
        (0..20_000)
            .step_by(577)
            .map(move |earlier| (seconds, earlier))
    }) {
        let timeouts = format!("{{ \"timeouts\": {{ \"response\": \"{seconds}s\" }},");
        let mut world = World::with(&FORWARD.replacen('{', &timeouts, 1));
        world.wait(earlier);
        let client = world.connect();
        world.send(client, "GET /guarded HTTP/1.1\r\nHost: gate\r\n\r\n");
        world.accept();
        world.wait(seconds * 1000 + 1000);
        world.expect_status(client, 503);
        let Report::ProviderFailed {
            reason: Some(reason),
            ..
        } = only(&mut world)
        else {
            panic!("{seconds} {earlier}")
        };
        assert_eq!(reason.as_str(), "no whole answer in time");
    }
}

/// An answer that says nothing about the request is no connection that ended.
#[test]
fn an_answer_of_a_provider_that_cannot_be_used() {
    for status in ["304 Not Modified", "500 Internal Server Error"] {
        let mut world = World::with(FORWARD);
        let client = world.connect();
        world.send(client, "GET /guarded HTTP/1.1\r\nHost: gate\r\n\r\n");
        let origin = world.accept();
        world.reply(
            origin,
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
        );
        world.expect_status(client, 503);
        let report = only(&mut world);
        assert!(
            matches!(report, Report::ProviderFailed { reason: None, status: Some(code), .. }
                if status.starts_with(&code.to_string())),
            "{report:?}"
        );
        assert!(
            world.log()[0].contains("\"end\":\"upstream_malformed\""),
            "{status}"
        );
    }
}

/// The table of docs/operations.md has each member of a JSON line, and no other.
#[test]
fn each_member_of_the_log_has_a_row() {
    let (_, rest) = include_str!("../../docs/operations.md")
        .split_once("| member of the JSON log |")
        .expect("the table");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let mut named = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect::<Vec<_>>();
    named.sort_unstable();
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(client, "GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n");
    world.expect_status(client, 404);
    let line: serde_json::Value = serde_json::from_str(&world.log()[0]).expect("a line is JSON");
    let members = line.as_object().expect("a line is an object").keys();
    let mut members = members.map(String::as_str).collect::<Vec<_>>();
    members.sort_unstable();
    assert_eq!(
        named, members,
        "rows of the table of members in docs/operations.md, and members of a line"
    );
}
