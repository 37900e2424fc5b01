//! Rate limits: exemptions, algorithms, lists, keys (`rateLimit`).

use super::auth::{NOW, SECRET, anns, token};
use super::script::*;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n";

/// Returns a configuration with this `rateLimit` at the top level.
fn config(limit: &str) -> String {
    format!(
        r#"{{ "requestId": false, "securityHeaders": false, "cors": false, "rateLimit": {limit},
            "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth" }} ] }}"#
    )
}

/// Sends a GET with these lines from an address `10.0.0.LAST`. Returns the response, whose status
/// says whether the request came to the upstream.
#[track_caller]
fn ask(world: &mut World, last: u8, lines: &str) -> String {
    let client = world.connect_from([10, 0, 0, last].into());
    world.send(
        client,
        format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{lines}\r\n"),
    );
    if let Some(_dial) = world.dials.first() {
        let origin = world.accept();
        world.take_upstream(origin);
        world.reply(origin, ANSWER);
        world.finish_upstream(origin);
    }
    let text = world.received(client);
    world.finish(client);
    text
}

/// Returns the status of a response.
fn status(text: &str) -> u16 {
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{text}"))
}

/// Returns the value of a field.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.split("\r\n");
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Sends requests from one address, with a pause before each. Returns the statuses, and what a 429
/// says in `Retry-After`.
#[track_caller]
fn run(limit: &str, pauses: &[u64]) -> Vec<(u16, u64)> {
    let mut world = World::with(&config(limit));
    let mut seen = Vec::new();
    for pause in pauses {
        world.wait(*pause);
        let text = ask(&mut world, 1, "");
        let wait = field(&text, "Retry-After").map_or(0, |wait| wait.parse().expect("a number"));
        seen.push((status(&text), wait));
    }
    seen
}

const OK: (u16, u64) = (200, 0);

#[test]
fn each_algorithm_says_when_a_request_passes_again() {
    assert_eq!(
        run(
            r#"{ "requests": 2, "window": "60s" }"#,
            &[0, 0, 10_000, 50_000, 0, 0]
        ),
        [OK, OK, (429, 50), OK, OK, (429, 60)]
    );
    // Two requests weigh two at the end of their window, and one behind it; a window that begins with
    // one is full with the next.
    assert_eq!(
        run(
            r#"{ "requests": 2, "window": "60s", "algorithm": "sliding" }"#,
            &[0, 0, 0, 60_000, 1_000, 0, 29_000]
        ),
        [OK, OK, (429, 61), (429, 1), OK, (429, 1), OK]
    );
    // One of three comes back every 20 s.
    assert_eq!(
        run(
            r#"{ "requests": 3, "window": "60s", "algorithm": "bucket", "burst": 2 }"#,
            &[0, 0, 0, 19_000, 1_000, 0, 100_000, 0, 0]
        ),
        [
            OK,
            OK,
            (429, 20),
            (429, 1),
            OK,
            (429, 20),
            OK,
            OK,
            (429, 20)
        ]
    );
    // Without `burst` the bucket holds `requests`.
    assert_eq!(
        run(
            r#"{ "requests": 1, "window": "60s", "algorithm": "bucket" }"#,
            &[0, 0]
        ),
        [OK, (429, 60)]
    );
}

#[test]
fn an_exempt_network_is_not_counted_and_its_responses_say_nothing() {
    let mut world = World::with(&config(
        r#"{ "requests": 1, "headers": "x", "exempt": ["10.0.0.8/29"] }"#,
    ));
    for _ in 0..3 {
        let text = ask(&mut world, 9, "");
        assert_eq!(
            (status(&text), field(&text, "X-RateLimit-Limit")),
            (200, None)
        );
    }
    let text = ask(&mut world, 1, "");
    assert_eq!(
        (status(&text), field(&text, "X-RateLimit-Remaining")),
        (200, Some("0"))
    );
    assert_eq!(status(&ask(&mut world, 1, "")), 429);
}

#[test]
fn a_request_that_one_limit_refuses_counts_in_no_other() {
    let mut world = World::with(&config(
        r#"[ { "requests": 2, "window": "10s", "headers": "draft" },
             { "requests": 3, "window": "1h", "headers": "draft" } ]"#,
    ));
    let mut ask = |pause| {
        world.wait(pause);
        let text = ask(&mut world, 1, "");
        let wait = field(&text, "Retry-After").map(str::to_owned);
        (
            status(&text),
            field(&text, "RateLimit").map(str::to_owned),
            wait,
        )
    };
    let says = |text: &str| Some(text.to_owned());
    // The one with fewer requests left speaks.
    assert_eq!(ask(0), (200, says(r#""default";r=1;t=10"#), None));
    assert_eq!(ask(0), (200, says(r#""default";r=0;t=10"#), None));
    for _ in 0..5 {
        assert_eq!(ask(0), (429, says(r#""default";r=0;t=10"#), says("10")));
    }
    // The hour has counted two: a third is left.
    assert_eq!(ask(10_000), (200, says(r#""default-2";r=0;t=3590"#), None));
    assert_eq!(
        ask(0),
        (429, says(r#""default-2";r=0;t=3590"#), says("3590"))
    );
}

/// Of several limits that are full, the first in the list says how long to wait.
#[test]
fn the_first_limit_that_is_full_answers() {
    let short = r#"{ "requests": 1, "window": "10s" }"#;
    let long = r#"{ "requests": 1, "window": "1h" }"#;
    for (limits, wait) in [
        (format!("[ {short}, {long} ]"), "10"),
        (format!("[ {long}, {short} ]"), "3600"),
    ] {
        let mut world = World::with(&config(&limits));
        assert_eq!(status(&ask(&mut world, 1, "")), 200);
        let text = ask(&mut world, 1, "");
        assert_eq!(
            (status(&text), field(&text, "Retry-After")),
            (429, Some(wait))
        );
    }
}

#[test]
fn a_header_makes_a_client_if_it_is_there_once_with_a_value() {
    let mut world = World::with(&config(r#"{ "requests": 1, "key": "header:X-Tenant" }"#));
    let long = format!("X-Tenant: {}\r\n", "x".repeat(5_000));
    for (last, lines, expected) in [
        (1, "X-Tenant: a\r\n", 200),
        (2, "x-tenant:  a \r\n", 429),
        (1, "X-Tenant: b\r\n", 200),
        (1, "X-Tenant: A\r\n", 200),
        (1, &long, 200),
        (2, &long, 429),
        // By address, which no value is the same as.
        (1, "", 200),
        (1, "X-Tenant:\r\n", 429),
        (1, "X-Tenant: c\r\nX-Tenant: d\r\n", 429),
        (2, "X-Tenant: 10.0.0.1\r\n", 200),
        (2, "", 200),
        (2, "", 429),
    ] {
        assert_eq!(
            status(&ask(&mut world, last, lines)),
            expected,
            "{last} {lines:.40}"
        );
    }
}

/// Returns a gateway whose service asks for a token, with these limits.
fn guarded(limit: &str) -> World {
    World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": ["main", "keys"],
                "rateLimit": {limit} }} ],
              "auth": {{ "main": {{ "type": "jwt", "secret": "{SECRET}" }},
                         "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{
                            "one": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }} }} }},
              "cors": false, "securityHeaders": false }}"#
    ))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn a_consumer_counts_wherever_its_requests_come_from() {
    let mut world = guarded(r#"{ "requests": 1, "key": "consumer" }"#);
    let ann = bearer(&anns(""));
    let other = bearer(&anns(r#","x":1"#));
    let bob = bearer(&token(&format!(r#"{{"sub":"bob","exp":{}}}"#, NOW + 60)));
    let nobody = bearer(&token(&format!(r#"{{"exp":{}}}"#, NOW + 60)));
    for (last, lines, expected) in [
        (1, &*ann, 200),
        (2, &*ann, 429),
        (3, &*other, 429),
        (1, &*bob, 200),
        (1, "X-Key: abc\r\n", 200),
        (2, "X-Key: abc\r\n", 429),
        // Without a subject by address.
        (4, &*nobody, 200),
        (4, &*nobody, 429),
        (5, &*nobody, 200),
        // A bad credential is answered before.
        (1, "X-Key: abd\r\n", 401),
    ] {
        assert_eq!(
            status(&ask(&mut world, last, lines)),
            expected,
            "{last} {lines:.40}"
        );
    }
}

#[test]
fn a_claim_counts_whoever_sends_it() {
    let mut world = guarded(r#"{ "requests": 1, "key": "claim:tenant" }"#);
    let mut of = |last: u8, claims: &str, expected: u16| {
        let token = token(&format!(r#"{{{claims}"exp":{}}}"#, NOW + 60));
        let text = ask(&mut world, last, &bearer(&token));
        assert_eq!(status(&text), expected, "{last} {claims:.60}");
    };
    of(1, r#""sub":"ann","tenant":"a","#, 200);
    of(2, r#""sub":"bob","tenant":"a","#, 429);
    // A token that is remembered counts again.
    of(2, r#""sub":"bob","tenant":"a","#, 429);
    of(1, r#""sub":"ann","tenant":"b","#, 200);
    of(1, r#""sub":"ann","tenant":7,"#, 200);
    of(1, r#""sub":"ann","tenant":"7","#, 429);
    let long = "x".repeat(2_000);
    of(1, &format!(r#""tenant":"{long}y","#), 200);
    of(1, &format!(r#""tenant":"{long}z","#), 200);
    of(2, &format!(r#""tenant":"{long}y","#), 429);
    // Without a value by the consumer, and never together with one.
    of(1, r#""sub":"ann","#, 200);
    of(2, r#""sub":"ann","tenant":["a"],"#, 429);
    of(3, r#""sub":"ann","tenant":{"a":1},"#, 429);
    of(4, r#""sub":"ann","tenant":null,"#, 429);
    of(1, r#""sub":"a","#, 200);
    of(1, r#""sub":"7","tenant":"","#, 200);
    // Without both by the address.
    of(9, "", 200);
    of(9, "", 429);
    of(8, "", 200);
    // An API key is a consumer.
    for expected in [200, 429] {
        assert_eq!(status(&ask(&mut world, 1, "X-Key: abc\r\n")), expected);
    }
    assert_eq!(status(&ask(&mut world, 7, "X-Key: abd\r\n")), 401);
}

/// Nothing about the claim goes upstream, and header lines that a claim has otherwise stay.
#[test]
fn a_claim_that_counts_is_not_forwarded() {
    let text = |limit: &str| {
        format!(
            r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main" {limit} }} ],
              "auth": {{ "main": {{ "type": "jwt", "secret": "{SECRET}", "forwardClaims": {{ "sub": "X-User" }} }} }},
              "requestId": false, "cors": false, "securityHeaders": false }}"#
        )
    };
    let sent = |limit: &str| {
        let mut world = World::with(&text(limit));
        let client = world.connect();
        let lines = bearer(&anns(r#","tenant":"a""#));
        world.send(
            client,
            format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{lines}\r\n"),
        );
        let origin = world.accept();
        let text = world.received_upstream(origin);
        world.reply(origin, ANSWER);
        world.expect_status(client, 200);
        text
    };
    let plain = sent("");
    assert!(plain.contains("X-User: ann\r\n"), "{plain}");
    for key in ["claim:tenant", "claim:sub"] {
        let limit = format!(r#", "rateLimit": {{ "key": "{key}" }}"#);
        assert_eq!(sent(&limit), plain, "{key}");
    }
}

/// A claim that counts from a reload on counts for tokens that were remembered before.
#[test]
fn a_reload_that_counts_by_a_claim_reads_it_of_all_tokens() {
    let text = |limit: &str| {
        format!(
            r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main", "rateLimit": {limit} }} ],
              "auth": {{ "main": {{ "type": "jwt", "secret": "{SECRET}" }} }}, "cors": false, "securityHeaders": false }}"#
        )
    };
    let mut world = World::with(&text("false"));
    let of = |sub: &str| {
        bearer(&token(&format!(
            r#"{{"sub":"{sub}","tenant":"a","exp":{}}}"#,
            NOW + 60
        )))
    };
    let (ann, bob) = (of("ann"), of("bob"));
    for lines in [&ann, &bob] {
        assert_eq!(status(&ask(&mut world, 1, lines)), 200);
    }
    world.reload(&text(r#"{ "requests": 1, "key": "claim:tenant" }"#));
    assert_eq!(status(&ask(&mut world, 1, &ann)), 200);
    assert_eq!(status(&ask(&mut world, 2, &bob)), 429);
    // Another number keeps the count, another claim begins a new one.
    world.reload(&text(r#"{ "requests": 2, "key": "claim:tenant" }"#));
    assert_eq!(status(&ask(&mut world, 2, &bob)), 200);
    assert_eq!(status(&ask(&mut world, 2, &bob)), 429);
    world.reload(&text(r#"{ "requests": 2, "key": "claim:sub" }"#));
    assert_eq!(status(&ask(&mut world, 2, &bob)), 200);
}

#[test]
fn an_introspected_claim_counts() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "i",
                "rateLimit": { "requests": 1, "key": "claim:tenant" } } ],
             "auth": { "i": { "type": "introspection", "url": "http://10.0.0.9/i" } }, "cors": false, "securityHeaders": false }"#,
    );
    let mut of = |name: &str, claims: &str, expected: u16| {
        let client = world.connect();
        let lines = bearer(name);
        world.send(
            client,
            format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{lines}\r\n"),
        );
        let server = world.accept();
        world.take_upstream(server);
        let body = format!(r#"{{"active":true{claims}}}"#);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        world.reply(server, format!("{head}{body}"));
        world.finish_upstream(server);
        if expected == 200 {
            let origin = world.accept();
            world.take_upstream(origin);
            world.reply(origin, ANSWER);
            world.finish_upstream(origin);
        }
        world.expect_status(client, expected);
    };
    of("t1", r#","sub":"ann","tenant":"a""#, 200);
    of("t2", r#","sub":"bob","tenant":"a""#, 429);
    of("t3", r#","sub":"bob""#, 200);
    of("t4", r#","sub":"bob","tenant":[]"#, 429);
}

#[test]
fn a_limit_by_credential_gives_back_what_a_limit_by_address_counted() {
    let mut world = guarded(
        r#"[ { "requests": 2, "window": "1h", "headers": "x" }, { "requests": 1, "window": "10s", "key": "consumer" } ]"#,
    );
    let ann = bearer(&anns(""));
    assert_eq!(status(&ask(&mut world, 1, &ann)), 200);
    for _ in 0..3 {
        assert_eq!(status(&ask(&mut world, 1, &ann)), 429, "of the consumer");
    }
    // The address has one left, and what is refused for its credential takes it.
    let text = ask(&mut world, 1, "");
    assert_eq!(
        (status(&text), field(&text, "X-RateLimit-Remaining")),
        (401, Some("0"))
    );
    assert_eq!(status(&ask(&mut world, 1, "")), 429, "of the address");
}

#[test]
fn a_reload_keeps_counts_of_the_same_kind() {
    let of = |keys: &str| config(&format!(r#"{{ "window": "60s", {keys} }}"#));
    for (before, after, expected) in [
        (
            r#""requests": 1, "algorithm": "bucket""#,
            r#""requests": 1, "algorithm": "bucket""#,
            429,
        ),
        (
            r#""requests": 1, "algorithm": "bucket""#,
            r#""requests": 1, "algorithm": "bucket", "burst": 2"#,
            200,
        ),
        (
            r#""requests": 1, "algorithm": "bucket""#,
            r#""requests": 1, "algorithm": "sliding""#,
            200,
        ),
        (
            r#""requests": 1, "algorithm": "sliding""#,
            r#""requests": 1, "algorithm": "sliding", "maxClients": 9"#,
            429,
        ),
        (
            r#""requests": 1"#,
            r#""requests": 1, "exempt": ["10.9.0.0/16"]"#,
            429,
        ),
        (
            r#""requests": 1"#,
            r#""requests": 1, "key": "header:X-A""#,
            200,
        ),
        (
            r#""requests": 1, "key": "header:X-A""#,
            r#""requests": 1, "key": "header:x-a""#,
            429,
        ),
    ] {
        let mut world = World::with(&of(before));
        assert_eq!(status(&ask(&mut world, 1, "")), 200);
        world.reload(&of(after));
        assert_eq!(
            status(&ask(&mut world, 1, "")),
            expected,
            "{before} => {after}"
        );
    }
}

#[test]
fn an_upgrade_carries_what_each_algorithm_remembers() {
    for keys in [
        r#""requests": 1, "algorithm": "bucket""#,
        r#""requests": 1, "algorithm": "sliding""#,
        r#""requests": 1, "key": "header:X-A""#,
        r#""requests": 1, "exempt": ["10.9.0.0/16"]"#,
    ] {
        let text = config(&format!("{{ {keys} }}"));
        let mut world = World::with(&text);
        let lines = "X-A: value\r\n";
        assert_eq!(status(&ask(&mut world, 1, lines)), 200);
        let mut next = world.upgrade(&text);
        assert_eq!(status(&ask(&mut next, 1, lines)), 429, "{keys}");
        assert_eq!(status(&ask(&mut next, 2, "X-A: other\r\n")), 200, "{keys}");
    }
}
