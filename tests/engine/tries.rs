//! Lines for the operator about a target that failed when another one answered.

use tollgate::proxy::command::{Fault, Report};

use super::explanations::lines;
use super::script::*;

const GET: &str = "GET /two HTTP/1.1\r\nHost: gate\r\n\r\n";

fn world(keys: &str) -> World {
    World::with(&format!(
        r#"{{ "rateLimit": false, "services": [ {{ "route": "/two", "retries": 1,
            "targets": ["http://10.0.0.1", "http://10.0.0.2"] {keys} }} ] }}"#
    ))
}

/// Sends a request that another target answers after `fail`, and returns the lines on stderr.
fn rescued(keys: &str, fail: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = world(keys);
    let client = world.connect();
    world.send(client, GET);
    fail(&mut world);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    lines(&mut world)
}

#[test]
fn a_try_that_costs_the_client_time_is_told() {
    let told = |reason: &str| {
        vec![format!(
            "INFO /two -> 10.0.0.1:80: {reason}; tried elsewhere for 192.0.2.1, GET /two"
        )]
    };
    let silent = rescued("", |world| {
        world.accept();
        world.wait(15_000);
    });
    assert_eq!(silent, told("no response within timeouts.response"));
    let unreachable = rescued("", |world| world.wait(5_100));
    assert_eq!(unreachable, told("no connection within timeouts.connect"));
    let ended = rescued("", |world| {
        let origin = world.accept();
        world.finish_upstream(origin);
    });
    let expected = "the upstream ended the connection before its response was complete";
    assert_eq!(ended, told(expected));
}

#[test]
fn a_refused_connection_is_told_where_no_ejection_tells_it() {
    let refuse = |world: &mut World| {
        world.refuse_because(Fault::Refused, "connection refused");
    };
    assert_eq!(rescued("", refuse), [""; 0]);
    assert_eq!(
        rescued(r#", "passiveHealth": false"#, refuse),
        ["INFO /two -> 10.0.0.1:80: connection refused; tried elsewhere for 192.0.2.1, GET /two"]
    );
}

/// The service ended a kept connection at rest: nothing is wrong.
#[test]
fn a_kept_connection_that_was_dead_is_not_told() {
    let mut world = world("");
    let ask = |world: &mut World| {
        let client = world.connect();
        world.send(client, GET);
        client
    };
    let kept = [(); 2].map(|()| {
        ask(&mut world);
        let origin = world.accept();
        world.reply(origin, OK);
        origin
    });
    let client = ask(&mut world);
    world.finish_upstream(kept[0]);
    let fresh = world.accept();
    world.reply(fresh, OK);
    world.expect_status(client, 200);
    assert_eq!(lines(&mut world), [""; 0]);
}

#[test]
fn the_last_try_is_told_as_the_failure_of_the_request() {
    let mut world = world("");
    let client = world.connect();
    world.send(client, GET);
    for _ in 0..2 {
        let origin = world.accept();
        world.finish_upstream(origin);
    }
    world.expect_status(client, 502);
    let lines = lines(&mut world);
    assert!(
        matches!(&lines[..], [first, last]
            if first.starts_with("INFO /two -> 10.0.0.1:80: ") && last.starts_with("WARN /two -> 10.0.0.2:80: ")),
        "{lines:?}"
    );
}

/// A retry takes no turn: of two targets one hangs, and every other request is not slow.
#[test]
fn each_target_is_asked_first_in_turn() {
    let mut world = world("");
    let mut slow = 0;
    for _ in 0..6 {
        let client = world.connect();
        world.send(client, GET);
        let mut origin = world.accept();
        if world.received_upstream(origin).contains("10.0.0.1") {
            slow += 1;
            world.wait(15_100);
            origin = world.accept();
        }
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        world.reply(origin, answer);
        world.expect_status(client, 200);
    }
    assert_eq!(slow, 3);
}

/// Requests that wait for one lookup are shared by the addresses.
#[test]
fn who_waited_for_a_name_takes_a_turn() {
    let config = r#"{ "rateLimit": false, "services": [ { "route": "/two", "target": "http://name.test" } ] }"#;
    let mut world = World::with(config);
    for _ in 0..4 {
        let client = world.connect();
        world.send(client, GET);
    }
    let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|one| one.parse().expect("an address"));
    world.resolve(0, &addresses);
    let mut dialed: Vec<_> = world.dials.iter().map(|(_, address)| *address).collect();
    dialed.sort_unstable();
    let [first, second] = addresses;
    assert_eq!(dialed, [first, first, second, second]);
}

#[test]
fn a_flood_of_tries_is_counted() {
    let mut world = world(r#", "passiveHealth": false"#);
    for _ in 0..30 {
        let client = world.connect();
        world.send(client, GET);
        world.refuse(Fault::Refused);
        let origin = world.accept();
        world.reply(
            origin,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
        world.expect_status(client, 200);
    }
    let tries = |report: &Report| matches!(report, Report::TryFailed(_));
    assert_eq!(
        world.reports.iter().filter(|&report| tries(report)).count(),
        10
    );
    world.reports.clear();
    world.wait(1100);
    let [
        Report::Suppressed {
            is_info: true,
            count: 20,
            ..
        },
    ] = &world.reports[..]
    else {
        panic!("{:?}", world.reports);
    };
}
