//! Services with a `name`: what metrics, logs, reports and the rest call them.

use tollgate::observe::metrics::exposition::Format;
use tollgate::proxy::command::{Fault, Report};
use tollgate::proxy::decisions::why;
use tollgate::proxy::overview::is_service_up;
use tollgate::proxy::tables::Table;

use super::metrics::{scrape, table};
use super::script::*;

/// Three services whose route is `/`, of which two have a name.
const CONFIG: &str = r#"{ "accessLog": "json", "requestId": "X-Request-Id", "cors": false, "securityHeaders": false,
    "responseHeaders": { "set": { "X-Service": "${service}" } },
    "services": [
        { "name": "shop", "route": "/", "hosts": ["shop.test"], "target": "http://10.0.0.1", "rateLimit": { "requests": 2 } },
        { "name": "blog", "route": "/", "hosts": ["blog.test"], "target": "http://10.0.0.2" },
        { "route": "/", "target": "http://10.0.0.3" } ] }"#;

/// Asks a host, whose service answers with 200. Returns the head that the client got.
fn ask(world: &mut World, host: &str) -> String {
    let client = world.connect();
    world.send(
        client,
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    );
    let origin = world.accept();
    let head = world.received_upstream(origin);
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(head.starts_with("GET / "), "{head}");
    world.expect_status(client, 200)
}

/// Returns the series of all answers with 2xx that are not zero.
fn answered(world: &World) -> Vec<String> {
    let text = scrape(world, Format::Text);
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("tollgate_requests_total{service=")?;
        let (label, count) = line.split_once(",code=\"2xx\"} ")?;
        (count != "0").then(|| format!("{label} {count}"))
    });
    lines.collect()
}

#[test]
fn a_name_stands_in_place_of_the_route() {
    let mut world = World::with(CONFIG);
    for (host, label) in [
        ("shop.test", "shop"),
        ("blog.test", "blog"),
        ("x.test", "/"),
    ] {
        let head = ask(&mut world, host);
        assert!(
            head.contains(&format!("\r\nX-Service: {label}\r\n")),
            "{head}"
        );
        let line = world.log().pop().expect("a line");
        assert!(line.contains(&format!("\"service\":\"{label}\"")), "{line}");
    }
    assert_eq!(answered(&world), ["\"/\" 1", "\"blog\" 1", "\"shop\" 1"]);
    let text = scrape(&world, Format::Text);
    let target =
        "tollgate_target_up{service=\"shop\",target=\"10.0.0.1\",address=\"10.0.0.1:80\"} 1";
    assert!(text.lines().any(|line| line == target), "{text}");
    let rows = table(&world, Table::Services);
    for (place, label) in ["shop", "blog", "/"].into_iter().enumerate() {
        assert_eq!(rows[place]["service"], label);
    }
}

#[test]
fn reports_and_why_tell_the_name() {
    let mut world = World::with(CONFIG);
    let client = world.connect();
    world.send(client, "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.refuse(Fault::Refused);
    let head = world.expect_status(client, 502);
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Request-Id: "))
        .expect("an id");
    let text = why(&world.proxy, id).expect("known");
    assert!(text.contains("shop /\n"), "{text}");
    let failed = |report: &Report| match report {
        Report::UpstreamFailed(failed) => failed.service.as_deref() == Some("shop"),
        _ => false,
    };
    assert!(world.reports.iter().any(failed), "{:?}", world.reports);
    ask(&mut world, "shop.test");
    let client = world.connect();
    world.send(client, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.expect_status(client, 429);
    let limited = |report: &Report| match report {
        Report::FirstRateLimited(full) => full.service.as_deref() == Some("shop"),
        _ => false,
    };
    assert!(world.reports.iter().any(limited), "{:?}", world.reports);
    // `/ready?service=` takes both.
    for known in ["shop", "blog", "/"] {
        assert_eq!(is_service_up(&world.proxy, known), Some(true), "{known}");
    }
    assert_eq!(is_service_up(&world.proxy, "other"), None);
}

#[test]
fn services_with_one_name_are_one_row() {
    let mut world = World::with(&CONFIG.replace("\"blog\"", "\"shop\""));
    ask(&mut world, "shop.test");
    ask(&mut world, "blog.test");
    assert_eq!(answered(&world), ["\"shop\" 2"]);
}

#[test]
fn a_reload_that_names_a_service_keeps_its_counts() {
    let mut world = World::with(&CONFIG.replace("\"name\": \"shop\", ", ""));
    ask(&mut world, "shop.test");
    assert_eq!(answered(&world), ["\"/\" 1"]);
    // A request that is under way has the label of its edition in the log.
    let client = world.connect();
    world.send(client, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let origin = world.accept();
    world.log();
    world.reload(CONFIG);
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    world.expect_status(client, 200);
    let line = world.log().pop().expect("a line");
    assert!(line.contains("\"service\":\"/\""), "{line}");
    assert_eq!(answered(&world), ["\"shop\" 2"]);
    // The limit is the same window: two of two are used.
    let client = world.connect();
    world.send(client, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.expect_status(client, 429);
}
