//! State of targets as the operator sees it: `top`, `target_up` and the lines on stderr.

use std::net::IpAddr;

use tollgate::observe::metrics::exposition::Format;
use tollgate::proxy::command::{Fault, Report};
use tollgate::proxy::tables::Table;
use tollgate::time::UnixTime;
use tollgate::upstream::health::Change;

use super::metrics::{scrape, table};
use super::script::*;

const GET: &str = "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn world(keys: &str) -> World {
    World::with(&format!(
        r#"{{ "rateLimit": false, "services": [ {{ "route": "/a", {keys} }} ] }}"#
    ))
}

/// Returns the state of each target.
fn states(world: &World) -> Vec<String> {
    let rows = table(world, Table::Targets);
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| row["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Returns the reasons for the states, of those targets that have one.
fn reasons(world: &World) -> Vec<String> {
    let rows = table(world, Table::Targets);
    let reasons = rows.as_array().into_iter().flatten();
    let reasons = reasons.filter(|row| !row["why"].is_null() || !row["since"].is_null());
    reasons.map(|row| row["why"].to_string()).collect()
}

/// Returns the changes of health that the operator was told.
fn told(world: &mut World) -> Vec<Change> {
    let reports = std::mem::take(&mut world.reports).into_iter();
    let change = |report| match report {
        Report::Health { change, .. } => Some(change),
        _ => None,
    };
    reports.filter_map(change).collect()
}

/// Waits, and has the clock read at the end, as the event loop does once a second.
fn later(world: &mut World, millis: u64) {
    world.wait(millis);
    let wall = UnixTime::from_millis(1_800_000_000_000);
    world.proxy.handle_clock(world.now, wall);
}

/// Sends a request; each connection to 10.0.0.`dead` is refused, the others answer.
fn ask(world: &mut World, dead: &[u8]) {
    let client = world.connect();
    world.send(client, GET);
    while let Some((_, address)) = world.dials.first() {
        if dead
            .iter()
            .any(|last| address.ip() == IpAddr::from([10, 0, 0, *last]))
        {
            world.refuse(Fault::Refused);
        } else {
            let origin = world.accept();
            world.reply(origin, ANSWER);
        }
    }
    world.finish(client);
}

const TWO: &str = r#""targets": ["http://10.0.0.1", "http://10.0.0.2"], "retries": 1,
    "passiveHealth": { "failures": 2, "eject": "20s" }"#;

#[test]
fn a_target_that_has_not_answered_is_not_well_again() {
    let mut world = world(TWO);
    for _ in 0..4 {
        ask(&mut world, &[1]);
    }
    assert_eq!(told(&mut world), [Change::Ejected]);
    assert_eq!(states(&world), ["put aside", "up"]);
    later(&mut world, 15_000);
    assert_eq!(states(&world), ["put aside", "up"]);
    // Its time is over, and nobody has asked it since. Then it refuses as before.
    later(&mut world, 45_000);
    assert_eq!(states(&world), ["failing", "up"]);
    ask(&mut world, &[1]);
    assert_eq!(told(&mut world), [Change::Returned]);
    assert_eq!(states(&world), ["failing", "up"]);
    for _ in 0..4 {
        ask(&mut world, &[1]);
    }
    assert_eq!(told(&mut world), [Change::Ejected]);
    // Now it answers.
    world.wait(60_000);
    for _ in 0..40 {
        ask(&mut world, &[]);
    }
    assert_eq!(told(&mut world), [Change::Returned, Change::Recovered]);
    assert_eq!(states(&world), ["up", "up"]);
}

/// A connection that is made is no answer.
#[test]
fn a_target_that_hangs_is_not_well_again() {
    let mut world = world(TWO);
    for _ in 0..4 {
        ask(&mut world, &[1]);
    }
    world.wait(31_000);
    told(&mut world);
    let hang = |world: &mut World, requests| {
        for _ in 0..requests {
            let client = world.connect();
            world.send(client, GET);
            let address = world.dials[0].1;
            let origin = world.accept();
            if address.ip() == IpAddr::from([10, 0, 0, 2]) {
                world.reply(origin, ANSWER);
            }
        }
    };
    hang(&mut world, 4);
    assert_eq!(states(&world), ["failing", "up"]);
    world.wait(14_000);
    ask(&mut world, &[1]);
    assert_eq!(told(&mut world), [Change::Returned]);
}

/// Time alone heals no target that takes connections and answers nothing.
#[test]
fn a_target_that_hung_fails_until_it_answers() {
    let mut world = world(TWO);
    for last in 1..=4 {
        let client = world.connect_from(IpAddr::from([192, 0, 2, last]));
        world.send(client, GET);
        while let Some((_, address)) = world.dials.first() {
            let dead = address.ip() == IpAddr::from([10, 0, 0, 1]);
            let origin = world.accept();
            if dead {
                world.finish_upstream(origin);
            } else {
                world.reply(origin, ANSWER);
            }
        }
        world.finish(client);
    }
    assert_eq!(told(&mut world), [Change::Ejected]);
    assert_eq!(states(&world), ["put aside", "up"]);
    later(&mut world, 21_000);
    assert_eq!(states(&world), ["failing", "up"]);
    assert_eq!(reasons(&world), ["\"upstream_closed\""]);
    let up = scrape(&world, Format::Text);
    let up = up.lines();
    let up = up.filter(|line| line.starts_with("tollgate_target_up{") && line.ends_with(" 0"));
    assert_eq!(up.count(), 1);
    for _ in 0..40 {
        ask(&mut world, &[]);
    }
    assert_eq!(states(&world), ["up", "up"]);
}

/// The last target is never ejected, however it fails.
#[test]
fn a_target_that_is_used_although_it_refuses_is_failing() {
    let name = r#""target": "http://name.test""#;
    for (keys, dead, expected) in [
        (TWO, &[1, 2][..], vec!["failing", "put aside"]),
        (r#""target": "http://10.0.0.1""#, &[1], vec!["failing"]),
        (name, &[1], vec!["failing"]),
    ] {
        let mut world = world(keys);
        if keys == name {
            world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
        }
        for _ in 0..12 {
            ask(&mut world, dead);
        }
        let mut found = states(&world);
        found.sort_unstable();
        assert_eq!(found, expected, "{keys}");
        assert_eq!(reasons(&world).len(), expected.len(), "{keys}");
        let up = scrape(&world, Format::Text);
        let up = up
            .lines()
            .filter(|line| line.starts_with("tollgate_target_up{"));
        assert!(
            up.clone().all(|line| line.ends_with(" 0")),
            "{keys}: {up:?}"
        );
        // A request that has a connection ends it.
        world.wait(60_000);
        for _ in 0..40 {
            ask(&mut world, &[]);
        }
        assert_eq!(states(&world), vec!["up"; expected.len()], "{keys}");
        assert_eq!(reasons(&world), [""; 0], "{keys}: over");
    }
}

/// A good check ends it, too, where no request comes.
#[test]
fn a_good_check_ends_a_failure() {
    let mut world = world(
        r#""targets": ["http://10.0.0.1", "http://10.0.0.2"], "retries": 1,
        "healthCheck": { "path": "/", "interval": "10s", "fall": 5 }"#,
    );
    world.wait(10_000);
    while !world.dials.is_empty() {
        let origin = world.accept();
        world.reply(origin, ANSWER);
    }
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, ANSWER);
    assert_eq!(
        states(&world)
            .iter()
            .filter(|state| *state == "failing")
            .count(),
        1
    );
    for _ in 0..200 {
        world.wait(100);
        while !world.dials.is_empty() {
            let origin = world.accept();
            world.reply(origin, ANSWER);
        }
    }
    assert_eq!(states(&world), ["up", "up"]);
}
