//! Responses that fail while no byte of their head is out: the gateway answers in their place. Where a
//! byte is out, the client's connection is cut.

use tollgate::observe::metrics::exposition::Format;
use tollgate::proxy::command::{Fault, Got, Report};
use tollgate::proxy::sealed;

use super::metrics::scrape;
use super::script::*;

const CONFIG: &str = r#"{ "accessLog": "json", "rateLimit": false, "cors": true, "securityHeaders": false,
    "limits": { "bodyBytes": 100 }, "timeouts": { "idle": "60s" },
    "responseHeaders": { "set": { "X-Edit": "${host}" } },
    "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth" } ] }"#;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n";
const HANDSHAKE: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

fn config() -> String {
    CONFIG.replace(
        r#""responseHeaders": { "set": { "X-Edit": "${host}" } },"#,
        "",
    )
}

/// Returns a client that takes nothing for now, with its request at the upstream.
fn asked(world: &mut World, request: &str) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, request);
    let origin = world.accept();
    world.received_upstream(origin);
    world.stall(client, true);
    (client, origin)
}

/// Returns the only line of the access log: status, end, upstream's status and bytes out.
#[track_caller]
fn logged(world: &mut World) -> (Option<u64>, String, Option<u64>, u64) {
    let lines = world.log();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("a line is JSON");
    let end = line["end"].as_str().expect("a word").to_owned();
    let out = line["bytesOut"].as_u64().unwrap_or(0);
    (
        line["status"].as_u64(),
        end,
        line["upstreamStatus"].as_u64(),
        out,
    )
}

/// Returns what the client got according to the only report.
#[track_caller]
fn reported(world: &mut World) -> Got {
    match &std::mem::take(&mut world.reports)[..] {
        [Report::UpstreamFailed(failed)] => failed.got,
        other => panic!("{other:?}"),
    }
}

/// Checks that the client gets a whole 502 and nothing else.
#[track_caller]
fn expect_502(world: &mut World, client: Client, end: &str, upstream_status: u64) -> String {
    world.stall(client, false);
    let text = world.expect_status(client, 502);
    assert_eq!(text.matches("HTTP/1.").count(), 1, "{text}");
    assert!(text.ends_with("\"message\":\"Bad gateway.\",\"data\":null}"));
    let (status, ended, upstream, bytes) = logged(world);
    assert_eq!(
        (status, ended.as_str(), upstream),
        (Some(502), end, Some(upstream_status))
    );
    assert_eq!(bytes, 66);
    assert_eq!(reported(world), Got::Reply(502));
    text
}

#[test]
fn a_fault_that_comes_with_the_head_is_a_502() {
    for body in ["zz\r\nhello\r\n", "3\r\nabcd", "0\r\nX : y\r\n\r\n"] {
        let mut world = World::with(&config());
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, [CHUNKED, body].concat());
        expect_502(&mut world, client, "upstream_malformed", 200);
        assert!(world.closed_upstream(origin));
        let metrics = scrape(&world, Format::Text);
        let count = |code: &str| format!("requests_total{{service=\"/auth\",code=\"{code}\"}} 1\n");
        assert!(metrics.contains(&count("5xx")) && !metrics.contains(&count("2xx")));
        // The client's connection is as good as after any other 502.
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.expect_quiet();
    }
}

#[test]
fn an_early_end_or_a_fault_before_the_head_is_out_is_a_502() {
    for (head, body, fault) in [
        (SIZED, "half", None),
        (SIZED, "", Some(Fault::Reset)),
        (CHUNKED, "4\r\nhalf\r\n", None),
        (CHUNKED, "4\r\nhalf\r\n", Some(Fault::Truncated)),
        (UNTIL_CLOSE, "half", Some(Fault::Reset)),
        (UNTIL_CLOSE, "half", Some(Fault::Truncated)),
    ] {
        for step in [usize::MAX, 1] {
            for request in [GET, "GET /auth HTTP/1.0\r\nHost: gate\r\n\r\n"] {
                let mut world = World::with(&config());
                world.step = step;
                let (client, origin) = asked(&mut world, request);
                world.reply(origin, [head, body].concat());
                match fault {
                    Some(fault) => world.fail_upstream(origin, fault),
                    None => world.finish_upstream(origin),
                }
                expect_502(&mut world, client, "upstream_closed", 200);
                world.expect_quiet();
            }
        }
    }
}

/// The same faults cut the client's connection as soon as one byte of the head is out.
#[test]
fn behind_one_byte_of_the_head_the_client_is_cut() {
    for taken in [1, 20] {
        let mut world = World::with(&config());
        let (client, origin) = asked(&mut world, GET);
        world.reply(origin, [SIZED, "half"].concat());
        world.take_some(client, taken);
        world.finish_upstream(origin);
        assert_eq!(world.closed(client), Some(Closed::Aborted));
        assert_eq!(
            logged(&mut world),
            (Some(200), "upstream_closed".into(), Some(200), 4)
        );
        assert_eq!(reported(&mut world), Got::Part(200));
        world.expect_quiet();
    }
}

/// TLS may have sealed the head although the socket took no whole byte of it.
#[test]
fn a_head_that_tls_has_sealed_is_not_taken_back() {
    let mut world = World::with(&config());
    let (client, origin) = asked(&mut world, GET);
    world.reply(origin, [SIZED, "half"].concat());
    let side = world.side(client);
    sealed::held(&mut world.proxy, side);
    world.finish_upstream(origin);
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    // Only until the next head.
    let (client, origin) = asked(&mut world, GET);
    let side = world.side(client);
    sealed::held(&mut world.proxy, side);
    world.log();
    world.reports.clear();
    world.reply(origin, [SIZED, "half"].concat());
    world.finish_upstream(origin);
    expect_502(&mut world, client, "upstream_closed", 200);
    world.expect_quiet();
}

#[test]
fn interim_responses_in_front_of_the_head() {
    const EARLY: &str = "HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n";
    // Taken before: the 502 follows.
    let mut world = World::with(&config());
    let (client, origin) = asked(&mut world, GET);
    world.stall(client, false);
    world.reply(origin, EARLY);
    assert!(world.received(client).starts_with("HTTP/1.1 103 "));
    world.reply(origin, [CHUNKED, "zz\r\n"].concat());
    expect_502(&mut world, client, "upstream_malformed", 200);
    // Not a byte of it is out: it goes with the head.
    let (client, origin) = asked(&mut world, GET);
    world.reply(origin, [EARLY, SIZED, "half"].concat());
    world.finish_upstream(origin);
    expect_502(&mut world, client, "upstream_closed", 200);
    // A part of it is out: nothing can be taken back.
    let (client, origin) = asked(&mut world, GET);
    world.reply(origin, EARLY);
    world.take_some(client, 10);
    world.reply(origin, [CHUNKED, "zz\r\n"].concat());
    assert_eq!(world.closed(client), Some(Closed::Aborted));
    assert_eq!(world.received(client).len(), 10);
    world.expect_quiet();
}

/// The next request is read when the response before it is out, so that none is taken back with it.
#[test]
fn a_response_before_it_stays_whole() {
    let mut world = World::with(&config());
    let (client, origin) = asked(&mut world, &[GET, GET].concat());
    world.reply(origin, OK);
    assert_eq!(world.received_upstream(origin), "", "the second one waits");
    world.stall(client, false);
    world.expect_status(client, 200);
    world.stall(client, true);
    world.log();
    world.reply(origin, [SIZED, "half"].concat());
    world.finish_upstream(origin);
    expect_502(&mut world, client, "upstream_closed", 200);
    world.expect_quiet();
}

#[test]
fn a_websocket_whose_101_is_not_out_is_a_502() {
    let mut world = World::with(&config());
    let (client, origin) = asked(&mut world, &[HANDSHAKE, "frame"].concat());
    world.reply(origin, [SWITCH, "frame"].concat());
    world.fail_upstream(origin, Fault::Reset);
    expect_502(&mut world, client, "upstream_closed", 101);
    world.expect_closing(client);
    world.expect_quiet();
}

/// A body that is too long while the early response waits.
#[test]
fn a_request_that_is_refused_meanwhile_gets_its_own_reply() {
    let mut world = World::with(&config());
    let chunk = format!("50\r\n{}\r\n", "x".repeat(80));
    let head = "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (client, origin) = asked(&mut world, &[head, &chunk].concat());
    world.reply(origin, SIZED);
    world.send(client, &chunk);
    world.stall(client, false);
    world.expect_status(client, 413);
    let (status, end, upstream, _) = logged(&mut world);
    assert_eq!(
        (status, end.as_str(), upstream),
        (Some(413), "over_limit", Some(200))
    );
    world.expect_closing(client);
    world.expect_quiet();
}

#[test]
fn a_client_that_got_nothing_has_no_status() {
    let leaves = |world: &mut World, client: Client| world.reset(client);
    let idles = |world: &mut World, _: Client| world.wait(120_000);
    let stops = |world: &mut World, _: Client| world.abort();
    type Ending = dyn Fn(&mut World, Client);
    let cases: [(&str, &Ending); 3] = [
        ("client_closed", &leaves),
        ("client_timeout", &idles),
        ("shutdown", &stops),
    ];
    for (end, act) in cases {
        let mut world = World::with(&config());
        let (client, origin) = asked(&mut world, GET);
        world.reply(origin, [SIZED, "half"].concat());
        act(&mut world, client);
        assert_eq!(world.received(client), "", "{end}");
        assert_eq!(logged(&mut world), (None, end.into(), Some(200), 0));
        let reports = std::mem::take(&mut world.reports);
        for report in reports {
            let Report::UpstreamFailed(failed) = report else {
                continue;
            };
            assert_eq!(failed.got, Got::Nothing, "{end}");
        }
        let metrics = scrape(&world, Format::Text);
        assert!(metrics.contains("requests_total{service=\"/auth\",code=\"none\"} 1\n"));
    }
}

/// The reply has what each reply of the gateway's own has.
#[test]
fn the_reply_is_one_like_any_other() {
    let request = GET.replacen("\r\n\r\n", "\r\nOrigin: https://a\r\n\r\n", 1);
    let mut world = World::with(CONFIG);
    let (client, origin) = asked(&mut world, &request);
    world.reply(origin, [CHUNKED, "zz\r\n"].concat());
    world.stall(client, false);
    let late = world.expect_status(client, 502);
    assert!(late.contains("\r\nX-Edit: gate\r\n"), "{late}");
    world.send(client, &request);
    world.refuse(Fault::Refused);
    assert_eq!(late, world.expect_status(client, 502));
    world.expect_quiet();
}

#[test]
fn the_reply_obeys_the_rules_that_the_request_began_with() {
    let mut world = World::with(CONFIG);
    let (client, origin) = asked(&mut world, GET);
    world.reply(origin, [SIZED, "half"].concat());
    world.reload(&config());
    world.finish_upstream(origin);
    world.stall(client, false);
    let text = world.expect_status(client, 502);
    assert!(text.contains("\r\nX-Edit: gate\r\n"), "{text}");
    world.expect_quiet();
}

/// A request whose response has begun is not sent again.
#[test]
fn no_other_target_is_tried() {
    let mut world = World::with(&config().replace(
        r#""target": "http://10.0.0.1/auth""#,
        r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth"], "retries": 1"#,
    ));
    let (client, origin) = asked(&mut world, GET);
    world.reply(origin, [SIZED, "half"].concat());
    world.finish_upstream(origin);
    world.expect_no_dial();
    expect_502(&mut world, client, "upstream_closed", 200);
    world.expect_quiet();
}
