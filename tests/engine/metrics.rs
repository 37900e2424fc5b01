//! Metrics of the engine: the counters, and the proof that only the configuration adds series.

use std::net::SocketAddr;

use tollgate::limits::{ADMIN_PIECE_BYTES, SCRAPE_PIECE_BYTES};
use tollgate::observe::metrics::exposition::Format;
use tollgate::observe::report::{Form, Rows};
use tollgate::proxy::command::Fault;
use tollgate::proxy::metrics::{Piece, Scrape};
use tollgate::proxy::tables::{Table, Tables};

use super::script::*;

const CONFIG: &str = r#"{ "accessLog": "json", "rateLimit": { "requests": 1000000 }, "cors": false, "securityHeaders": false,
    "authFailures": false, "auth": { "keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } } },
    "services": [
        { "route": "/open", "target": "http://10.0.0.1", "rateLimit": { "requests": 3 } },
        { "route": "/guarded", "target": "http://10.0.0.2", "auth": ["keys"] },
        { "route": "/two", "targets": ["http://10.0.0.3", "http://10.0.0.4"], "retries": 1 } ] }"#;

pub fn scrape(world: &World, format: Format) -> String {
    let mut scrape = Scrape::new(&world.proxy, format);
    let mut text = Vec::new();
    loop {
        let mut piece = Vec::new();
        let result = scrape.write(&world.proxy, &mut piece);
        assert!(piece.len() < ADMIN_PIECE_BYTES, "{}", piece.len());
        assert!(result == Piece::Last || piece.len() >= SCRAPE_PIECE_BYTES);
        text.append(&mut piece);
        match result {
            Piece::More => {}
            Piece::Last => return String::from_utf8(text).expect("text"),
            Piece::Stale => panic!("nothing was reloaded"),
        }
    }
}

/// Returns the value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> String {
    let found = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{series} in {text}");
    found[0].to_owned()
}

#[track_caller]
fn expect(world: &World, values: &[(&str, &str)]) {
    let text = scrape(world, Format::Text);
    for (series, expected) in values {
        assert_eq!(
            value(&text, &format!("tollgate_{series}")),
            *expected,
            "{series}"
        );
    }
}

/// Sends a request on a new connection. Its target answers.
fn forward(world: &mut World, path: &str, millis: u64) {
    let client = world.connect();
    world.send(client, format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-Key: foo\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"));
    let origin = world.accept();
    world.take_upstream(origin);
    world.wait(millis);
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    );
    world.expect_status(client, 200);
}

#[test]
fn requests_are_counted_where_they_ended() {
    let mut world = World::with(CONFIG);
    forward(&mut world, "/open/1", 3);
    forward(&mut world, "/open/2", 100);
    forward(&mut world, "/guarded", 0);
    let client = world.connect();
    world.send(client, "GET /open/3 HTTP/1.1\r\nHost: a\r\n\r\n");
    world.refuse(Fault::Refused);
    world.expect_status(client, 502);
    world.send(client, "GET /open/4 HTTP/1.1\r\nHost: a\r\n\r\n");
    world.expect_status(client, 429);
    world.send(client, "GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n");
    world.expect_status(client, 401);
    world.send(
        client,
        "GET /guarded HTTP/1.1\r\nHost: a\r\nX-Key: bar\r\n\r\n",
    );
    world.expect_status(client, 401);
    world.send(client, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    world.expect_status(client, 404);
    world.send(client, "GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    let origin = world.accept();
    world.take_upstream(origin);
    expect(
        &world,
        &[
            ("requests_total{service=\"\",code=\"4xx\"}", "1"),
            ("requests_total{service=\"/open\",code=\"2xx\"}", "2"),
            ("requests_total{service=\"/open\",code=\"4xx\"}", "1"),
            ("requests_total{service=\"/open\",code=\"5xx\"}", "1"),
            ("requests_total{service=\"/guarded\",code=\"4xx\"}", "2"),
            ("requests_total{service=\"/two\",code=\"2xx\"}", "0"),
            ("requests_ended_total{service=\"\",end=\"no_route\"}", "1"),
            ("requests_ended_total{service=\"/open\",end=\"ok\"}", "2"),
            (
                "requests_ended_total{service=\"/open\",end=\"upstream_refused\"}",
                "1",
            ),
            (
                "requests_ended_total{service=\"/guarded\",end=\"unauthorized\"}",
                "2",
            ),
            (
                "request_duration_seconds_bucket{service=\"/open\",le=\"0.002\"}",
                "2",
            ),
            (
                "request_duration_seconds_bucket{service=\"/open\",le=\"0.004\"}",
                "3",
            ),
            (
                "request_duration_seconds_bucket{service=\"/open\",le=\"+Inf\"}",
                "4",
            ),
            ("request_duration_seconds_sum{service=\"/open\"}", "0.103"),
            ("upstream_duration_seconds_count{service=\"/open\"}", "2"),
            ("request_bytes_total{service=\"/open\"}", "6"),
            ("response_bytes_total{service=\"/guarded\"}", "139"),
            ("requests_in_flight{service=\"/open\"}", "0"),
            ("requests_in_flight{service=\"/two\"}", "1"),
            ("rate_limited_total{service=\"/open\"}", "1"),
            ("rate_limit_clients{service=\"/open\"}", "1"),
            ("rate_limit_clients{service=\"\"}", "1"),
            ("replies_total{code=\"401\"}", "2"),
            ("replies_total{code=\"502\"}", "1"),
            ("auth_total{provider=\"keys\",result=\"good\"}", "1"),
            ("auth_total{provider=\"keys\",result=\"missing\"}", "1"),
            ("auth_total{provider=\"keys\",result=\"bad\"}", "1"),
            (
                "target_requests_total{service=\"/open\",target=\"10.0.0.1\",address=\"10.0.0.1:80\"}",
                "2",
            ),
            (
                "target_connects_total{service=\"/open\",target=\"10.0.0.1\",address=\"10.0.0.1:80\"}",
                "2",
            ),
            (
                "target_up{service=\"/two\",target=\"10.0.0.4\",address=\"10.0.0.4:80\"}",
                "1",
            ),
        ],
    );
    let text = scrape(&world, Format::Text);
    let sum = |name: &str| {
        let values = text.lines().filter(|line| line.starts_with(name));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum::<u64>()
    };
    assert_eq!(
        sum("tollgate_requests_total{"),
        8,
        "one for each line of the log"
    );
    assert_eq!(sum("tollgate_requests_ended_total{"), 8);
    assert_eq!(sum("tollgate_target_in_flight{service=\"/two\""), 1);
    assert_eq!(world.log().len(), 8);
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    world.expect_status(client, 200);
    let text = scrape(&world, Format::Text);
    assert_eq!(
        value(&text, "tollgate_requests_in_flight{service=\"/two\"}"),
        "0"
    );
    assert!(text.contains("tollgate_target_idle_connections{service=\"/two\",target=\"10.0.0.3\",address=\"10.0.0.3:80\"} 1"), "{text}");
}

#[test]
fn a_retry_counts_at_both_targets() {
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(client, "GET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    let first = world.accept();
    world.take_upstream(first);
    world.finish_upstream(first);
    let second = world.accept();
    world.take_upstream(second);
    world.reply(second, "HTTP/1.1 204 No Content\r\n\r\n");
    world.expect_status(client, 204);
    let of =
        |target: &str| format!("{{service=\"/two\",target=\"{target}\",address=\"{target}:80\"}}");
    expect(
        &world,
        &[
            ("retries_total{service=\"/two\"}", "1"),
            (&format!("target_requests_total{}", of("10.0.0.3")), "1"),
            (&format!("target_requests_total{}", of("10.0.0.4")), "1"),
            ("requests_ended_total{service=\"/two\",end=\"ok\"}", "1"),
        ],
    );
}

/// The denial of a forward endpoint and its silence are results of their own.
#[test]
fn a_provider_that_denies_and_one_that_is_down_are_counted() {
    let sso =
        r#""auth": { "sso": { "type": "forward", "url": "http://10.0.0.9/verify" }, "keys": {"#;
    let config = CONFIG.replace(r#""auth": { "keys": {"#, sso);
    let mut world = World::with(&config.replace(r#""auth": ["keys"]"#, r#""auth": ["sso"]"#));
    let ask = |world: &mut World| {
        let client = world.connect();
        world.send(client, "GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    let client = ask(&mut world);
    let verifier = world.accept();
    world.reply(
        verifier,
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    world.expect_status(client, 403);
    let client = ask(&mut world);
    world.refuse(Fault::Refused);
    world.expect_status(client, 503);
    expect(
        &world,
        &[
            ("auth_total{provider=\"sso\",result=\"denied\"}", "1"),
            ("auth_total{provider=\"sso\",result=\"down\"}", "1"),
            ("auth_total{provider=\"sso\",result=\"good\"}", "0"),
            (
                "requests_ended_total{service=\"/guarded\",end=\"unauthorized\"}",
                "1",
            ),
        ],
    );
}

/// A name has a series for each of its addresses, sixteen at most, however many it has.
#[test]
fn addresses_of_a_name_are_counted_up_to_a_bound() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/a", "target": "http://up.internal",
            "healthCheck": { "path": "/", "interval": "1s", "fall": 1 } } ] }"#,
    );
    let address = |n: u8| SocketAddr::from(([10, 0, 1, n], 80));
    world.resolve(0, &(1..=40).map(address).collect::<Vec<_>>());
    for _ in 0..20 {
        world.wait(100);
        while !world.dials.is_empty() {
            world.refuse(Fault::Refused);
        }
    }
    let text = scrape(&world, Format::Text);
    for family in ["up", "requests_total", "check_failures_total"] {
        let start = format!("tollgate_target_{family}{{");
        let series = text.lines().filter(|line| line.starts_with(&start));
        assert_eq!(series.count(), 16, "{family} in {text}");
    }
    let labels = r#"{service="/a",target="up.internal",address="10.0.1.7:80"}"#;
    assert_eq!(value(&text, &format!("tollgate_target_up{labels}")), "0");
    let failures = value(
        &text,
        &format!("tollgate_target_check_failures_total{labels}"),
    );
    let failures = failures.parse::<u32>().expect("a number");
    assert!((1..=3).contains(&failures), "{failures}");
}

#[test]
fn nothing_that_a_client_chooses_adds_a_series() {
    let mut world = World::with(CONFIG);
    forward(&mut world, "/open/1", 3);
    let names = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.rsplit_once(' ').map_or("", |it| it.0));
        lines
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let client = world.connect();
    let odd = |n: usize| match n % 4 {
        0 => format!("GET /odd-{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
        1 => format!("GET /x HTTP/1.1\r\nHost: host-{n}.example\r\n\r\n"),
        2 => format!("M{n} /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        _ => format!("GET /guarded/{n}?\"}}{n} HTTP/1.1\r\nHost: a\r\nX-Key: {n}\r\n\r\n"),
    };
    // Each kind comes once first, and then many times.
    for n in 0..4 {
        world.send(client, odd(n));
        world.take(client);
    }
    let before = names(&scrape(&world, Format::Text));
    for n in 4..10_000 {
        world.send(client, odd(n));
        world.take(client);
    }
    let text = scrape(&world, Format::Text);
    assert_eq!(names(&text), before);
    assert_eq!(
        value(&text, "tollgate_requests_total{service=\"\",code=\"4xx\"}"),
        "7500"
    );
    assert_eq!(
        value(
            &text,
            "tollgate_requests_total{service=\"/guarded\",code=\"4xx\"}"
        ),
        "2500"
    );
}

#[test]
fn a_reload_keeps_the_rows_of_services_that_stay() {
    let mut world = World::with(CONFIG);
    forward(&mut world, "/open/1", 3);
    forward(&mut world, "/guarded", 3);
    let mut old = Scrape::new(&world.proxy, Format::Text);
    let later = CONFIG
        .replace(
            "{ \"route\": \"/open\"",
            "{ \"route\": \"/new\", \"target\": \"http://10.0.0.9\" }, { \"route\": \"/open\"",
        )
        .replace("\"route\": \"/guarded\"", "\"route\": \"/moved\"");
    world.reload(&later);
    assert_eq!(old.write(&world.proxy, &mut Vec::new()), Piece::Stale);
    expect(
        &world,
        &[
            ("requests_total{service=\"/open\",code=\"2xx\"}", "1"),
            ("requests_total{service=\"/new\",code=\"2xx\"}", "0"),
            ("requests_total{service=\"/moved\",code=\"2xx\"}", "0"),
            ("auth_total{provider=\"keys\",result=\"good\"}", "1"),
        ],
    );
    assert!(!scrape(&world, Format::Text).contains("/guarded"));
    // A service that comes back starts at zero.
    world.reload(CONFIG);
    expect(
        &world,
        &[("requests_total{service=\"/guarded\",code=\"2xx\"}", "0")],
    );
}

#[test]
fn a_target_that_a_reload_brings_begins_at_zero() {
    let config = |port: u16| {
        format!(r#"{{ "services": [ {{ "route": "/a", "target": "http://10.0.0.1:{port}" }} ] }}"#)
    };
    let series = |name: &str, port: u16| {
        format!(
            "target_{name}{{service=\"/a\",target=\"10.0.0.1:{port}\",address=\"10.0.0.1:{port}\"}}"
        )
    };
    let expect_of = |world: &World, port, requests, in_flight| {
        let names = ["requests_total", "connects_total", "in_flight"];
        for (name, expected) in names.into_iter().zip([requests, requests, in_flight]) {
            expect(world, &[(&series(name, port), expected)]);
        }
    };
    let mut world = World::with(&config(81));
    forward(&mut world, "/a", 3);
    let client = world.connect();
    world.send(client, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let origin = world.accept();
    expect_of(&world, 81, "2", "1");
    world.reload(&config(82));
    expect_of(&world, 82, "0", "0");
    forward(&mut world, "/a", 3);
    expect_of(&world, 82, "1", "0");
    // A target that comes back is a new one. The request that runs is none of it.
    world.reload(&config(81));
    expect_of(&world, 81, "0", "0");
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    world.expect_status(client, 200);
    expect_of(&world, 81, "0", "0");
}

#[test]
fn services_with_one_route_are_one_row() {
    let mut world = World::with(
        r#"{ "rateLimit": false, "services": [
            { "route": "/a", "hosts": ["one.example"], "target": "http://10.0.0.1" },
            { "route": "/b", "target": "http://10.0.0.1" },
            { "route": "/a", "hosts": ["two.example"], "target": "http://10.0.0.1" } ] }"#,
    );
    for host in ["one", "two"] {
        let client = world.connect();
        world.send(
            client,
            format!("GET /a HTTP/1.1\r\nHost: {host}.example\r\nConnection: close\r\n\r\n"),
        );
        let origin = world.accept();
        world.take_upstream(origin);
        world.reply(
            origin,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        world.expect_status(client, 200);
    }
    expect(
        &world,
        &[
            ("requests_total{service=\"/a\",code=\"2xx\"}", "2"),
            (
                "target_requests_total{service=\"/a\",target=\"10.0.0.1\",address=\"10.0.0.1:80\"}",
                "2",
            ),
        ],
    );
}

#[test]
fn five_thousand_services_come_in_pieces() {
    let service = |n: usize| {
        format!(
            r#"{{ "route": "/service-{n}", "target": "http://10.{}.{}.1" }}"#,
            n / 250,
            n % 250
        )
    };
    let services = (0..5000).map(service).collect::<Vec<_>>().join(",");
    let world = World::with(&format!("{{ \"services\": [{services}] }}"));
    let text = scrape(&world, Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    let mut seen = std::collections::BTreeSet::new();
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(name), "{name} twice");
        } else if !line.starts_with('#') {
            let series = line.rsplit_once(' ').expect("a value").0;
            assert!(seen.insert(series), "{series} twice");
        }
    }
    assert!(seen.len() > 5000 * 15, "{}", seen.len());
    // All services have the same route.
    let service = |n: usize| {
        format!(
            r#"{{ "route": "/", "hosts": ["h{n}.example"], "target": "http://10.{}.{}.1" }}"#,
            n / 250,
            n % 250
        )
    };
    let services = (0..1000).map(service).collect::<Vec<_>>().join(",");
    let world = World::with(&format!("{{ \"services\": [{services}] }}"));
    let text = scrape(&world, Format::Text);
    let up = text
        .lines()
        .filter(|line| line.starts_with("tollgate_target_up{"));
    assert_eq!(up.count(), 1000);
}

/// The rows of a table of the state.
pub(super) fn table(world: &World, table: Table) -> serde_json::Value {
    let mut tables = Tables::new(&world.proxy, false);
    let mut rows = Rows::new(Form::Json, usize::MAX);
    let mut text = b"[".to_vec();
    let written = tables.write(&world.proxy, table, (&mut rows, &mut text));
    assert_eq!(written, Piece::Last);
    text.push(b']');
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn the_state_says_what_fails_since_when_and_why() {
    let ids = CONFIG.replacen('{', r#"{ "requestId": "X-Request-Id","#, 1);
    let mut world = World::with(&ids);
    let client = world.connect();
    world.send(client, "GET /open/<b> HTTP/1.1\r\nHost: a\r\n\r\n");
    world.refuse_because(Fault::Refused, "connection refused (os error 111)");
    world.expect_status(client, 502);
    let targets = table(&world, Table::Targets);
    let first = &targets[0];
    assert_eq!(
        (&first["service"], &first["state"]),
        (&"/open".into(), &"failing".into())
    );
    assert_eq!(first["since"], "2026-11-24T12:00:00Z");
    assert_eq!(first["why"], "upstream_refused");
    assert_eq!(
        table(&world, Table::Troubles).as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(
        table(&world, Table::Usable).as_array().map(Vec::len),
        Some(3)
    );
    expect(
        &world,
        &[(
            "target_up{service=\"/open\",target=\"10.0.0.1\",address=\"10.0.0.1:80\"}",
            "0",
        )],
    );
    let recent = table(&world, Table::Recent);
    assert_eq!(recent[0]["reason"], "connection refused (os error 111)");
    assert_eq!(recent[0]["request"], "GET /open/<b>");
    assert_eq!(recent[0]["status"], 502);
    assert_eq!(recent[0]["id"].as_str().map(str::len), Some(32));
    // A connection that is made ends it; what a client does wrong is no failure.
    forward(&mut world, "/open/1", 3);
    let client = world.connect();
    world.send(client, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    world.expect_status(client, 404);
    assert_eq!(
        table(&world, Table::Troubles).as_array().map(Vec::len),
        Some(0)
    );
    assert_eq!(
        table(&world, Table::Recent).as_array().map(Vec::len),
        Some(1)
    );
    let services = table(&world, Table::Services);
    let first = &services[0];
    assert_eq!((&first["requests"], &first["5xx"]), (&2.into(), &1.into()));
    assert_eq!(first["p99"], 4);
    assert_eq!(table(&world, Table::Providers)[0]["provider"], "keys");
}

/// The cells of a service, a target, a provider and of the last failures after a few requests.
#[test]
fn rows_say_what_requests_have_met() {
    let mut world = World::with(CONFIG);
    for millis in [2, 2, 2, 2, 2, 2, 2, 2, 60, 900] {
        forward(&mut world, "/guarded", millis);
    }
    for (key, times) in [("", 2), ("X-Key: bar\r\n", 1)] {
        for _ in 0..times {
            let client = world.connect();
            let head = format!("GET /guarded HTTP/1.1\r\nHost: a\r\n{key}\r\n");
            world.send(client, head);
            world.expect_status(client, 401);
        }
    }
    let keep = "GET /guarded HTTP/1.1\r\nHost: a\r\nX-Key: foo\r\n\r\n";
    let (one, two) = (world.connect(), world.connect());
    world.send(one, keep);
    let first = world.accept();
    world.send(two, keep);
    let second = world.accept();
    let services = table(&world, Table::Services);
    let expect = |row: &serde_json::Value, cells: &[(&str, serde_json::Value)]| {
        for (column, value) in cells {
            assert_eq!(row[column], *value, "{column}: {row}");
        }
    };
    expect(
        &services[1],
        &[
            ("service", "/guarded".into()),
            ("inFlight", 2.into()),
            ("requests", 13.into()),
            ("2xx", 10.into()),
            ("4xx", 3.into()),
            ("5xx", 0.into()),
            ("limited", 0.into()),
            ("p50", 2.into()),
            ("p95", 1024.into()),
            ("p99", 1024.into()),
        ],
    );
    expect(&table(&world, Table::Targets)[1], &[("busy", 2.into())]);
    // One connection goes into the pool, and the next request is sent there.
    world.reply(first, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    world.expect_status(one, 200);
    world.send(one, keep);
    world.reply(first, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    world.expect_status(one, 200);
    expect(
        &table(&world, Table::Targets)[1],
        &[
            ("target", "10.0.0.2".into()),
            ("address", "10.0.0.2:80".into()),
            ("state", "up".into()),
            ("busy", 1.into()),
            ("idle", 1.into()),
            ("requests", 13.into()),
            ("reuse", 7.into()),
        ],
    );
    world.reply(second, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    expect(
        &table(&world, Table::Providers)[0],
        &[
            ("provider", "keys".into()),
            ("type", "apiKey".into()),
            ("good", 13.into()),
            ("missing", 2.into()),
            ("bad", 1.into()),
        ],
    );
    // The limit of `/open` is three; of the failures the last twenty are shown, the newest first.
    let client = world.connect();
    for number in 0..5 {
        world.send(
            client,
            format!("GET /open/{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
        if number < 3 {
            world.refuse(Fault::Refused);
        }
        world.expect_status(client, if number < 3 { 502 } else { 429 });
    }
    for number in 0..20 {
        world.send(
            client,
            format!("GET /two/{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
        world.refuse(Fault::Refused);
        world.refuse(Fault::Refused);
        world.expect_status(client, 502);
    }
    let services = table(&world, Table::Services);
    expect(&services[0], &[("limited", 2.into()), ("5xx", 3.into())]);
    let recent = table(&world, Table::Recent);
    assert_eq!(recent.as_array().map(Vec::len), Some(20));
    assert_eq!(recent[0]["request"], "GET /two/19");
    assert_eq!(recent[19]["request"], "GET /two/0");
}

#[test]
fn rates_are_those_of_the_last_minute() {
    let mut world = World::with(CONFIG);
    let rate = |world: &World| table(world, Table::Services)[1]["rate"].clone();
    let tick = |world: &mut World, seconds: u64| {
        for _ in 0..seconds {
            world.wait(1000);
            let wall =
                tollgate::time::UnixTime::from_millis(1_795_521_600_000 + world.now.as_millis());
            world.proxy.handle_clock(world.now, wall);
        }
    };
    for _ in 0..30 {
        forward(&mut world, "/guarded", 0);
    }
    tick(&mut world, 10);
    assert!(
        rate(&world).as_f64().is_some_and(|rate| rate > 2.0),
        "{}",
        rate(&world)
    );
    tick(&mut world, 100);
    assert_eq!(rate(&world), 0.0);
    assert!(table(&world, Table::Services)[1]["p99"].is_null());
    assert_eq!(table(&world, Table::Services)[1]["requests"], 30);
}

/// Checks that the table of docs/operations.md has each family of a scrape.
#[track_caller]
pub fn expect_rows(text: &str) {
    let (_, rest) = include_str!("../../docs/operations.md")
        .split_once("| name | labels | counts |")
        .expect("the table");
    let (table, _) = rest.split_once("\n\n").expect("its end");
    let families = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in families {
        let short = name.strip_prefix("tollgate_");
        assert!(
            short.is_some() || name.starts_with("process_"),
            "{name} has no prefix"
        );
        let cell = format!("`{}`", short.unwrap_or(name));
        assert!(
            table.contains(&cell),
            "docs/operations.md has no row for {name}"
        );
    }
}

#[test]
fn each_family_has_a_row() {
    expect_rows(&scrape(&World::plain(), Format::Text));
}
