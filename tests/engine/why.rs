//! Text of `tollgate why ID` about the last requests.

use tollgate::limits::DECISIONS;
use tollgate::proxy::command::{Fault, Report};
use tollgate::proxy::decisions::why;

use super::script::*;

const CONFIG: &str = r#"{ "requestId": "X-Request-Id", "accessLog": "off", "cors": false, "securityHeaders": false,
    "trustedProxies": ["10.9.0.0/16"],
    "rateLimit": { "requests": 3, "window": "60s" },
    "auth": { "keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } } },
    "services": [
        { "route": "/open", "target": "http://10.0.0.1" },
        { "route": "/in", "target": "http://10.0.0.2", "auth": ["keys"] },
        { "route": "/two", "targets": ["http://10.0.0.3", "http://10.0.0.4"], "retries": 1, "rateLimit": false } ] }"#;

/// Returns the id in a head.
#[track_caller]
fn id(head: &str) -> String {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Request-Id: "));
    line.expect("the head has an id").to_owned()
}

/// Sends a request.
fn ask(world: &mut World, line: &str, fields: &str) -> Client {
    let client = world.connect();
    world.send(
        client,
        format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
    );
    client
}

/// Returns what is said of the request that a client has the answer to.
#[track_caller]
fn explained(world: &mut World, client: Client) -> String {
    let id = id(&world.received(client));
    why(&world.proxy, &id).expect("the id is known")
}

#[track_caller]
fn expect_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|known| known == *line),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn a_success_names_route_window_target_and_times() {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /open/1?token=secret", "");
    world.wait(5);
    let origin = world.accept();
    world.wait(20);
    world.reply(origin, OK);
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &[
            "time      2026-11-24T12:00:00.000Z, took 25 ms",
            "client    192.0.2.1",
            "request   GET /open/1?..",
            "route     /open",
            "limit     2 of 3 in 60 s left; the window ends 60 s later",
            "auth      not asked",
            "upstream  10.0.0.1, sent after 0 ms on a new connection: 200 after 25 ms",
            "answer    200, end ok; 0 bytes of content in, 2 out",
        ],
    );
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn refusals_name_the_policy() {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /in", "X-Key: bar\r\n");
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &["route     /in", "auth      refused: unknown API key"],
    );
    let client = ask(&mut world, "GET /in", "X-Key: foo\r\n");
    let origin = world.accept();
    world.reply(origin, OK);
    let text = explained(&mut world, client);
    expect_lines(&text, &["auth      let in by an API key"]);
    let client = ask(&mut world, "GET /nowhere", "");
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &[
            "route     none: no service has a route for this host and path",
            "limit     0 of 3 in 60 s left; the window ends 60 s later",
        ],
    );
    let client = ask(&mut world, "GET /open", "");
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &[
            "limit     0 of 3 in 60 s left; the window ends 60 s later",
            "answer    429, end rate_limited: more requests than rateLimit allows; 0 bytes of content in, 74 out",
        ],
    );
    let client = ask(
        &mut world,
        "GET /open",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
    );
    let text = explained(&mut world, client);
    assert!(text.contains("two Content-Length fields"), "{text}");
    let client = ask(&mut world, "G(T /open", "");
    let text = explained(&mut world, client);
    expect_lines(&text, &["request   no head that could be read"]);
}

#[test]
fn attempts_have_address_time_and_reason() {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /two/1", "");
    world.wait(7);
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    world.wait(3);
    world.refuse_because(Fault::Tls, "bad certificate");
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &[
            "tried     10.0.0.3, given up after 7 ms: connection refused (os error 111)",
            "tried     10.0.0.4, given up after 10 ms: bad certificate",
        ],
    );
    assert!(
        text.contains("answer    502, end upstream_tls: bad certificate"),
        "{text}"
    );
    assert!(!text.contains("\nupstream "), "{text}");
}

/// A service that ends kept connections too early is told apart from one that is down.
#[test]
fn attempts_on_kept_connections_are_told() {
    let mut world = World::with(CONFIG);
    let lost = |world: &mut World| {
        let reports = std::mem::take(&mut world.reports).into_iter();
        let lost = reports.filter_map(|report| match report {
            Report::UpstreamFailed(failed) => Some(failed.is_kept_lost),
            _ => None,
        });
        lost.collect::<Vec<_>>()
    };
    let ended = |age: &str| {
        format!(
            "tried     10.0.0.1, given up after 0 ms on a {age} connection: the upstream ended the connection before its response was complete"
        )
    };
    ask(&mut world, "GET /open", "");
    let origin = world.accept();
    world.reply(origin, OK);
    // An idempotent request goes again on a connection of its own.
    let client = ask(&mut world, "GET /open", "");
    world.finish_upstream(origin);
    let second = world.accept();
    world.finish_upstream(second);
    let text = explained(&mut world, client);
    expect_lines(&text, &[&ended("kept"), &ended("new")]);
    assert_eq!(lost(&mut world), [false]);

    world.wait(60_000);
    ask(&mut world, "GET /open", "");
    let origin = world.accept();
    world.reply(origin, OK);
    let client = ask(&mut world, "POST /open", "Content-Length: 0\r\n");
    world.finish_upstream(origin);
    let text = explained(&mut world, client);
    expect_lines(&text, &[&ended("kept")]);
    assert_eq!(lost(&mut world), [true]);
}

#[test]
fn a_name_is_told_with_its_address() {
    let mut world = World::with(
        r#"{ "requestId": "X-Request-Id", "services": [{ "route": "/", "target": "http://name.test:8080" }] }"#,
    );
    world.resolve(0, &["10.0.0.7:8080".parse().expect("an address")]);
    let client = ask(&mut world, "GET /", "");
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    let text = explained(&mut world, client);
    let line = "tried     name.test:8080 (10.0.0.7:8080), given up after 0 ms: connection refused (os error 111)";
    expect_lines(&text, &[line]);
}

#[test]
fn records_of_an_earlier_configuration_keep_its_names() {
    let mut world = World::with(CONFIG);
    let before = ask(&mut world, "GET /two/1", "");
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, OK);
    // Its request ends after the reload.
    let late = ask(&mut world, "GET /open/late", "");
    let origin = world.accept();
    world.reload(&CONFIG.replace("/two", "/three").replace("/open", "/closed"));
    world.reply(origin, OK);
    let text = explained(&mut world, before);
    expect_lines(&text, &["route     /two (of an earlier configuration)"]);
    assert!(text.contains("tried     10.0.0.3,"), "{text}");
    assert!(text.contains("upstream  10.0.0.4"), "{text}");
    let text = explained(&mut world, late);
    expect_lines(&text, &["route     /open (of an earlier configuration)"]);
    assert!(text.contains("upstream  10.0.0.1"), "{text}");
}

#[test]
fn given_ids_are_found_whole_and_the_newest_wins() {
    let mut world = World::with(CONFIG);
    let id = "b".repeat(128);
    for path in ["/open/1", "/open/2"] {
        let client = world.connect_from([10, 9, 0, 1].into());
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n");
        world.send(client, head);
        if path == "/open/1" {
            let origin = world.accept();
            world.reply(origin, OK);
        } else {
            world.reply(Origin(0), OK);
        }
        world.received(client);
    }
    let text = why(&world.proxy, &id).expect("known");
    expect_lines(
        &text,
        &[
            &format!("id        {id}"),
            "request   left out, because the id is long; the access log has it",
            "upstream  10.0.0.1, sent after 0 ms on a kept connection: 200 after 0 ms",
        ],
    );
    for other in [&id[1..], &id[..127], "b", ""] {
        let text = why(&world.proxy, other).expect_err("another id");
        assert!(text.contains("is known: the last 2 are kept"), "{text}");
    }
}

#[test]
fn the_ring_forgets_the_oldest() {
    let mut world = World::with(CONFIG);
    let text = why(&world.proxy, "9f").expect_err("nothing has come");
    assert!(
        text.contains("no request has ended since the start"),
        "{text}"
    );
    let mut ids = Vec::new();
    for _ in 0..DECISIONS + 3 {
        let client = ask(&mut world, "GET /", "");
        ids.push(id(&world.received(client)));
        world.forget(client);
        world.wait(1);
    }
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(why(&world.proxy, id).is_ok(), place >= 3, "{place}");
    }
    let text = why(&world.proxy, &ids[0]).expect_err("forgotten");
    assert!(
        text.contains("the last 1000 are kept (at most 1000), of requests that ended since 2026-11-24T12:00:00.003Z"),
        "{text}"
    );
    assert!(text.contains(&format!("\"id {}\"", ids[0])), "{text}");
}

#[test]
fn without_ids_it_says_so() {
    let mut world = World::with(&CONFIG.replace("\"X-Request-Id\"", "false"));
    ask(&mut world, "GET /", "");
    let text = why(&world.proxy, "9f").expect_err("no ids");
    assert!(text.contains("because \"requestId\" is false"), "{text}");
}

/// Of a list of limits, the tightest is told of a request that is let in, and the one that refused.
#[test]
fn the_limit_of_a_list_that_decides_is_told() {
    let list = r#""rateLimit": [{ "requests": 9, "window": "60s" }, { "requests": 2, "window": "30s", "key": "header:X-Tenant" }],"#;
    let config = CONFIG.replace(r#""rateLimit": { "requests": 3, "window": "60s" },"#, list);
    let mut world = World::with(&config);
    let mut origin = None;
    for (left, status) in [(1, 200), (0, 200), (0, 429)] {
        let client = ask(&mut world, "GET /open", "X-Tenant: t\r\n");
        if status == 200 {
            // The second request goes on the connection of the first one.
            let origin = *origin.get_or_insert_with(|| world.accept());
            world.reply(origin, OK);
        }
        let text = explained(&mut world, client);
        let limit = text.lines().find(|line| line.starts_with("limit"));
        let limit = limit.unwrap_or_else(|| panic!("no limit in {text}"));
        let start = match status {
            200 => format!("{left} of 2 in 30 s left"),
            _ => String::new(),
        };
        assert!(limit.contains(&start), "{limit}");
        assert!(limit.contains("of 2 in 30 s"), "{limit}");
        assert!(text.contains(&format!("answer    {status}")), "{text}");
    }
}

#[test]
fn a_malformed_response_names_the_target() {
    let mut world = World::with(CONFIG);
    let client = ask(&mut world, "GET /open/1", "");
    let origin = world.accept();
    world.wait(5);
    world.reply(origin, "HTTP/1.1 999 Denied\r\n\r\n");
    let text = explained(&mut world, client);
    expect_lines(
        &text,
        &["tried     10.0.0.1, given up after 5 ms on a new connection: status code"],
    );
}

/// The reason is the same for all stores: only one that refuses while it is down can be the cause.
#[test]
fn a_store_that_is_down_is_named() {
    let stores = r#""stores": { "spare": { "url": "redis://10.0.0.8", "onFailure": "closed" },
        "lax": { "url": "redis://10.0.0.7" }, "main": { "url": "redis://10.0.0.9", "onFailure": "closed" } },
        "rateLimit": [{ "requests": 3, "window": "60s", "store": "lax" }, { "requests": 3, "window": "60s", "store": "main" },
                      { "requests": 9, "window": "90s", "store": "main" }],"#;
    let config = CONFIG.replace(
        r#""rateLimit": { "requests": 3, "window": "60s" },"#,
        stores,
    );
    let mut world = World::with(&config);
    let refused = "answer    503, end store_down: the store of the rate limit is down, see onFailure; 0 bytes of content in, 74 out";
    for path in ["/nowhere", "/open"] {
        let client = ask(&mut world, &format!("GET {path}"), "");
        let text = explained(&mut world, client);
        expect_lines(
            &text,
            &["limit     refused, the store is down: main", refused],
        );
    }
    let client = ask(&mut world, "GET /open", "");
    // The names of the configuration of the moment say nothing of an earlier one.
    world.reload(&config.replace("main", "other"));
    let text = explained(&mut world, client);
    expect_lines(&text, &["limit     refused, the store is down", refused]);
}

/// Of ten providers those are named that a request of the service asks.
#[test]
fn providers_that_cannot_say_are_named() {
    let providers = r#""auth": { "other": { "type": "introspection", "url": "http://10.0.0.7/x" },
        "sso": { "type": "forward", "url": "http://10.0.0.8/verify" },
        "opaque": { "type": "introspection", "url": "http://10.0.0.9/introspect" },"#;
    let config = CONFIG
        .replace(r#""auth": {"#, providers)
        .replace(r#"["keys"]"#, r#"["keys", "opaque", "sso"]"#);
    let mut world = World::with(&config);
    let client = ask(&mut world, "GET /in", "Authorization: Bearer abc\r\n");
    world.refuse(Fault::Refused);
    world.refuse(Fault::Refused);
    let text = explained(&mut world, client);
    let line = "auth      refused: no provider can say whether the request is let in: opaque, sso";
    expect_lines(&text, &[line]);
    assert!(
        text.contains("answer    503, end upstream_refused: no provider can say whether the request is let in; 0 "),
        "{text}"
    );
}
