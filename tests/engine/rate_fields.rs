//! Rate limit fields of responses (`rateLimit.headers`).

use super::script::*;
use tollgate::proxy::command::Fault;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n";

/// Returns a configuration. `limit`: keys of the top-level `rateLimit`.
fn config(limit: &str, service: &str, keys: &str) -> String {
    format!(
        r#"{{ "requestId": false, "securityHeaders": false, "rateLimit": {{ {limit} }}, {keys}
            "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth" {service} }},
                {{ "route": "/open", "target": "http://10.0.0.1", "rateLimit": false }} ] }}"#
    )
}

const NO_CORS: &str = r#""cors": false,"#;

/// Returns the lines of a head that the gateway adds, or that an upstream sent under their names.
fn fields(text: &str) -> Vec<String> {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.split("\r\n").filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        name.contains("ratelimit") || name == "access-control-expose-headers"
    });
    lines.map(str::to_owned).collect()
}

fn draft(name: &str, requests: u32, left: u32, reset: u64) -> Vec<String> {
    vec![
        format!("RateLimit-Policy: \"{name}\";q={requests};w=60"),
        format!("RateLimit: \"{name}\";r={left};t={reset}"),
    ]
}

fn old(requests: u32, left: u32, reset: u64) -> Vec<String> {
    vec![
        format!("X-RateLimit-Limit: {requests}"),
        format!("X-RateLimit-Remaining: {left}"),
        format!("X-RateLimit-Reset: {reset}"),
    ]
}

/// Sends a GET. Returns what the client gets. `answer`: what the upstream answers, if it is asked.
#[track_caller]
fn ask(world: &mut World, path: &str, answer: Option<&str>) -> String {
    let client = world.connect();
    world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
    if let Some(answer) = answer {
        let origin = world.accept();
        world.take_upstream(origin);
        world.reply(origin, answer);
        world.finish_upstream(origin);
    }
    let text = world.received(client);
    world.finish(client);
    text
}

/// Rows: keys of the limit, keys of the service, the fields of four responses that come 10.001 s
/// apart. The third request has no request left.
#[test]
fn each_response_says_what_is_left() {
    let top = r#""requests": 2, "headers": "draft""#;
    for (limit, service, expected) in [
        (r#""requests": 2"#, "", [vec![], vec![], vec![], vec![]]),
        (
            r#""requests": 2, "headers": false"#,
            "",
            [vec![], vec![], vec![], vec![]],
        ),
        (
            top,
            "",
            [
                draft("default", 2, 1, 60),
                draft("default", 2, 0, 50),
                draft("default", 2, 0, 40),
                draft("default", 2, 1, 60),
            ],
        ),
        (
            top,
            r#", "rateLimit": { "requests": 2 }"#,
            [
                draft("/auth", 2, 1, 60),
                draft("/auth", 2, 0, 50),
                draft("/auth", 2, 0, 40),
                draft("/auth", 2, 1, 60),
            ],
        ),
        (
            top,
            r#", "rateLimit": { "requests": 2, "headers": "x" }"#,
            [old(2, 1, 60), old(2, 0, 50), old(2, 0, 40), old(2, 1, 60)],
        ),
        (
            top,
            r#", "rateLimit": { "headers": false }"#,
            [vec![], vec![], vec![], vec![]],
        ),
        (
            r#""requests": 2, "headers": "x""#,
            "",
            [old(2, 1, 60), old(2, 0, 50), old(2, 0, 40), old(2, 1, 60)],
        ),
    ] {
        let mut world = World::with(&config(limit, service, NO_CORS));
        for (nth, expected) in expected.iter().enumerate() {
            let answer = (nth != 2).then_some(ANSWER);
            let text = ask(&mut world, "/auth", answer);
            assert_eq!(&fields(&text), expected, "{limit} {service} {nth}");
            let status = if nth == 2 { " 429 " } else { " 200 " };
            assert!(text.contains(status), "{text}");
            // The field and `Retry-After` agree.
            if nth == 2 {
                assert!(text.contains("\r\nRetry-After: 40\r\n"), "{text}");
            }
            // The window of the first request ends behind the third.
            world.wait(if nth == 2 { 40_000 } else { 10_000 });
        }
    }
}

/// Rows: a request that the limit counts, and the status of the reply.
#[test]
fn replies_of_the_gateways_own_have_the_fields_once_the_limit_was_judged() {
    let counted = draft("default", 20, 19, 60);
    let service = r#", "methods": ["GET", "HEAD", "POST"]"#;
    let keys = r#""cors": false, "limits": { "bodyBytes": 10 }, "deny": ["10.66.0.0/16"],"#;
    let none = Vec::new();
    for (request, status, expected) in [
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404, &counted),
        ("PUT /auth HTTP/1.1\r\nHost: a\r\n\r\n", 405, &counted),
        (
            "POST /auth HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            413,
            &counted,
        ),
        ("HEAD /auth HTTP/1.1\r\nHost: a\r\n\r\n", 502, &counted),
        ("GET /auth/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, &none),
        ("GET /auth HTTP/1.1\r\n\r\n", 400, &none),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204, &none),
        ("GET /open HTTP/1.1\r\nHost: a\r\n\r\n", 502, &none),
        ("G\0T / HTTP/1.1\r\n\r\n", 400, &none),
    ] {
        let mut world = World::with(&config(r#""headers": "draft""#, service, keys));
        let client = world.connect();
        world.send(client, request);
        if status == 502 {
            world.refuse(Fault::Refused);
        }
        let text = world.expect_status(client, status);
        assert_eq!(&fields(&text), expected, "{request}");
    }
    let mut world = World::with(&config(r#""headers": "draft""#, service, keys));
    let denied = world.connect_from([10, 66, 0, 1].into());
    world.send(denied, GET);
    assert_eq!(fields(&world.expect_status(denied, 403)), none);
}

#[test]
fn fields_of_the_upstream_are_replaced() {
    let theirs = "ratelimit: \"u\";r=1\r\nRateLimit-Policy: \"u\";q=1\r\nX-RateLimit-Limit: 7\r\nx-ratelimit-remaining: 7\r\nX-Ratelimit-RESET: 7\r\n";
    let theirs_draft = vec![
        "ratelimit: \"u\";r=1".to_owned(),
        "RateLimit-Policy: \"u\";q=1".to_owned(),
    ];
    let theirs_old = vec![
        "X-RateLimit-Limit: 7".to_owned(),
        "x-ratelimit-remaining: 7".to_owned(),
        "X-Ratelimit-RESET: 7".to_owned(),
    ];
    for (headers, interim, last) in [
        (
            "false",
            [theirs_draft.clone(), theirs_old.clone()].concat(),
            [theirs_draft.clone(), theirs_old.clone()].concat(),
        ),
        (
            r#""draft""#,
            theirs_old.clone(),
            [theirs_old.clone(), draft("default", 20, 19, 60)].concat(),
        ),
        (
            r#""x""#,
            theirs_draft.clone(),
            [theirs_draft.clone(), old(20, 19, 60)].concat(),
        ),
    ] {
        let limit = format!(r#""headers": {headers}"#);
        let answer = format!(
            "HTTP/1.1 103 Early Hints\r\n{theirs}\r\nHTTP/1.1 200 OK\r\nDate: x\r\n{theirs}Content-Length: 0\r\n\r\n"
        );
        let mut world = World::with(&config(&limit, "", NO_CORS));
        let text = ask(&mut world, "/auth", Some(&answer));
        let (first, second) = text.split_once("\r\n\r\n").expect("two heads");
        assert_eq!(fields(first), interim, "{headers}");
        assert_eq!(fields(second), last, "{headers}");
        // A response without a limit keeps its fields.
        let text = ask(&mut world, "/open", Some(&answer));
        let (_, second) = text.split_once("\r\n\r\n").expect("two heads");
        assert_eq!(
            fields(second),
            [theirs_draft.clone(), theirs_old.clone()].concat()
        );
    }
}

#[test]
fn scripts_of_other_origins_may_read_the_fields() {
    let line = |names: &str| format!("Access-Control-Expose-Headers: {names}");
    let ours = line("RateLimit-Policy,RateLimit");
    for (headers, cors, answer, expected) in [
        (r#""draft""#, "true", "", vec![ours.clone()]),
        (
            r#""x""#,
            "true",
            "",
            vec![line(
                "X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset",
            )],
        ),
        (
            r#""draft""#,
            r#"{ "exposeHeaders": ["X-One"] }"#,
            "",
            vec![ours.clone(), line("X-One")],
        ),
        // The upstream has CORS lines of its own: a list over two lines is one list.
        (
            r#""draft""#,
            "true",
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Up\r\n",
            vec![line("X-Up"), ours.clone()],
        ),
        (
            r#""draft""#,
            "true",
            "Access-Control-Expose-Headers: X-Up\r\n",
            vec![line("X-Up"), ours.clone()],
        ),
        (r#""draft""#, "false", "", vec![]),
        ("false", "true", "", vec![]),
    ] {
        let limit = format!(r#""headers": {headers}"#);
        let mut world = World::with(&config(&limit, "", &format!(r#""cors": {cors},"#)));
        let answer = ANSWER.replace("Date", &format!("{answer}Date"));
        let text = ask(&mut world, "/auth", Some(&answer));
        let lines = fields(&text);
        let exposed = lines.iter().filter(|line| line.starts_with("Access"));
        assert_eq!(
            exposed.cloned().collect::<Vec<_>>(),
            expected,
            "{headers} {cors}"
        );
        let found = ask(&mut world, "/open", Some(ANSWER));
        assert!(!found.contains("RateLimit"), "{found}");
    }
}

#[test]
fn a_websocket_has_them_in_its_101() {
    let mut world = World::with(&config(r#""headers": "x""#, "", NO_CORS));
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let origin = world.accept();
    world.take_upstream(origin);
    world.wait(2_500);
    world.reply(
        origin,
        "HTTP/1.1 101 Switching Protocols\r\nx-ratelimit-limit: 9\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    world.expect(
        client,
        "HTTP/1.1 101 Switching Protocols\r\nX-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 19\r\nX-RateLimit-Reset: 58\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
}

/// A request that waits for a provider is counted once, and its response has the fields. A response
/// behind the end of the window says that the window is over.
#[test]
fn a_request_that_waits_keeps_what_was_counted() {
    let keys = r#""cors": false, "timeouts": { "response": "10m" },
        "auth": { "sso": { "type": "forward", "url": "http://10.0.0.3/check" } },"#;
    let limit = r#""requests": 3, "headers": "draft""#;
    let text = config(limit, r#", "auth": "sso""#, keys);
    for (verdict, status, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            403,
            58,
        ),
    ] {
        let mut world = World::with(&text);
        let client = world.connect();
        world.send(client, GET);
        let provider = world.accept();
        world.take_upstream(provider);
        world.wait(2_000);
        world.reply(provider, verdict);
        if status == 200 {
            let origin = world.accept();
            world.take_upstream(origin);
            world.wait(70_000);
            world.reply(origin, ANSWER);
        }
        let text = world.expect_status(client, status);
        assert_eq!(fields(&text), draft("default", 3, 2, reset));
    }
}

/// `headers` may change while the windows stay.
#[test]
fn a_reload_changes_the_form_and_keeps_the_windows() {
    let with = |headers: &str| {
        config(
            &format!(r#""requests": 5, "headers": {headers}"#),
            "",
            NO_CORS,
        )
    };
    let mut world = World::with(&with("false"));
    assert!(fields(&ask(&mut world, "/auth", Some(ANSWER))).is_empty());
    world.reload(&with(r#""draft""#));
    let text = ask(&mut world, "/auth", Some(ANSWER));
    assert_eq!(fields(&text), draft("default", 5, 3, 60));
    // A request in flight ends under the form that it began with.
    let client = world.connect();
    world.send(client, GET);
    let origin = world.accept();
    world.take_upstream(origin);
    world.reload(&with(r#""x""#));
    world.reply(origin, ANSWER);
    let text = world.expect_status(client, 200);
    assert_eq!(fields(&text), draft("default", 5, 2, 60));
    world.finish(client);
    world.finish_upstream(origin);
    let text = ask(&mut world, "/auth", Some(ANSWER));
    assert_eq!(fields(&text), old(5, 1, 60));
    world.reload(&with("false"));
    assert!(fields(&ask(&mut world, "/auth", Some(ANSWER))).is_empty());
    assert!(ask(&mut world, "/auth", None).contains(" 429 "));
}
