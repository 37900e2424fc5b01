//! Several targets: the choice for a request, the retries after a failure, and the targets that are
//! left out.

use super::metrics::table;
use super::script::*;
use std::net::{IpAddr, SocketAddr};
use tollgate::proxy::command::{Cause, Fault, Report};
use tollgate::proxy::tables::Table;
use tollgate::upstream::health::Change;

/// Length of a timer wheel slot in milliseconds.
const SLOT: u64 = 64;

/// Returns a gateway with the service `/auth` and these keys in it. Nothing is added to responses.
fn world(keys: &str) -> World {
    World::with(&config(keys))
}

/// Returns such a gateway that also forwards short request bodies before they are complete.
fn streaming(keys: &str) -> World {
    World::streaming(&config(keys))
}

fn config(keys: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", {keys} }} ], "rateLimit": false, "cors": false, "securityHeaders": false,
              "accessLog": "json" }}"#
    )
}

const THREE: &str =
    r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth", "http://10.0.0.3/auth"]"#;
const TWO: &str = r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth"]"#;
const POST: &str = "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi";
const PUT: &str = "PUT /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi";
const NTLM: &str = "GET /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: NTLM x\r\n\r\n";
const EJECTS: &str = r#""passiveHealth": { "failures": 1, "eject": "30s" }"#;
const LAST: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";

/// Returns the last number of the address that the engine connects to next.
#[track_caller]
fn dialed(world: &World) -> u8 {
    let address = world.dials.first().expect("a connection is being made").1;
    match address.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => panic!("{address}"),
    }
}

/// Serves a request on a new connection. Returns the last number of the address.
fn served(world: &mut World, client: Client, request: &str) -> u8 {
    world.send(client, request);
    let place = dialed(world);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    place
}

fn places(world: &mut World, client: Client, count: usize) -> Vec<u8> {
    (0..count).map(|_| served(world, client, GET)).collect()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn health(world: &mut World) -> Vec<(u8, Change)> {
    let told = std::mem::take(&mut world.reports);
    let change = |report| match report {
        Report::Health {
            address, change, ..
        } => match address.ip() {
            IpAddr::V4(ip) => Some((ip.octets()[3], change)),
            IpAddr::V6(_) => None,
        },
        _ => None,
    };
    told.into_iter().filter_map(change).collect()
}

/// Sends requests until one reaches a target that refuses it. The target is ejected.
fn eject(world: &mut World, client: Client, place: u8) {
    for _ in 0..20 {
        world.send(client, GET);
        let is_there = dialed(world) == place;
        if is_there {
            world.refuse(Fault::Refused);
        }
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
        if is_there {
            break;
        }
    }
    assert!(health(world).contains(&(place, Change::Ejected)));
}

// --- choice of a target ---

#[test]
fn round_robin_follows_the_weights() {
    let mut world = world(
        r#""targets": ["http://10.0.0.1/auth", { "url": "http://10.0.0.2/auth", "weight": 2 },
           { "url": "http://10.0.0.9/auth", "backup": true }]"#,
    );
    let client = world.connect();
    assert_eq!(places(&mut world, client, 6), [2, 1, 2, 2, 1, 2]);
    world.expect_quiet();
}

#[test]
fn each_target_has_its_own_path_and_host() {
    let mut world =
        world(r#""targets": ["http://10.0.0.1/a", "http://10.0.0.2:81/b/", "http://10.0.0.3"]"#);
    let client = world.connect();
    for (path, targets) in [
        (
            "/auth/x?q=1",
            [
                "GET /a/x?q=1 HTTP/1.1\r\nHost: 10.0.0.1\r\n",
                "GET /b/x?q=1 HTTP/1.1\r\nHost: 10.0.0.2:81\r\n",
                "GET /x?q=1 HTTP/1.1\r\nHost: 10.0.0.3\r\n",
            ],
        ),
        (
            "/auth?q=1",
            [
                "GET /a?q=1 HTTP/1.1\r\nHost: 10.0.0.1\r\n",
                "GET /b/?q=1 HTTP/1.1\r\nHost: 10.0.0.2:81\r\n",
                "GET /?q=1 HTTP/1.1\r\nHost: 10.0.0.3\r\n",
            ],
        ),
        (
            "/auth/",
            [
                "GET /a/ HTTP/1.1\r\nHost: 10.0.0.1\r\n",
                "GET /b/ HTTP/1.1\r\nHost: 10.0.0.2:81\r\n",
                "GET / HTTP/1.1\r\nHost: 10.0.0.3\r\n",
            ],
        ),
    ] {
        for expected in targets {
            world.send(client, format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n"));
            let origin = world.accept();
            let received = world.received_upstream(origin);
            assert!(received.starts_with(expected), "{received:?} for {path}");
            world.reply(origin, LAST);
            world.expect_status(client, 200);
        }
    }
    world.expect_quiet();
}

/// A request to the second target is written for that target, independent of the name of the first
/// one.
#[test]
fn a_retry_is_written_for_its_target() {
    let targets = [
        "http://10.0.0.1",
        "http://10.0.0.2/",
        "http://10.0.0.3:8080/base",
        "http://10.0.0.4/base/deep/",
    ];
    for preserve in [false, true] {
        for (from, to) in (0..4)
            .flat_map(|from| (0..4).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
        {
            for path in [
                "/auth",
                "/auth/",
                "/auth/x/y",
                "/auth?Host: x",
                "/auth/auth/?q",
            ] {
                for head in [
                    "HTTP/1.1\r\nHost: 10.0.0.1\r\nX: y\r\n\r\n",
                    "HTTP/1.0\r\nX: y\r\n\r\n",
                ] {
                    if path.contains(' ') {
                        continue;
                    }
                    let request = format!("GET {path} {head}");
                    let keys = |list: &[&str]| {
                        let list = list
                            .iter()
                            .map(|url| format!("{url:?}"))
                            .collect::<Vec<_>>()
                            .join(",");
                        format!(r#""targets": [{list}], "preserveHost": {preserve}"#)
                    };
                    let mut direct = world(&keys(&[targets[to]]));
                    let client = direct.connect();
                    direct.send(client, &request);
                    let origin = direct.accept();
                    let expected = direct.received_upstream(origin);

                    let mut moved = world(&keys(&[targets[from], targets[to]]));
                    let client = moved.connect();
                    moved.send(client, &request);
                    moved.refuse(Fault::Refused);
                    let origin = moved.accept();
                    moved.expect_upstream(origin, expected);
                }
            }
        }
    }
}

#[test]
fn least_connections_takes_the_least_busy_target() {
    let mut world = world(&format!(r#"{TWO}, "balance": "least-connections""#));
    let (slow, quick) = (world.connect(), world.connect());
    world.send(slow, GET);
    assert_eq!(dialed(&world), 1);
    let held = world.accept();
    assert_eq!(
        places(&mut world, quick, 3),
        [2, 2, 2],
        "the first one is busy"
    );
    world.reply(held, LAST);
    world.expect_status(slow, 200);
    let mut both = places(&mut world, quick, 2);
    both.sort_unstable();
    assert_eq!(both, [1, 2], "no target is busy: in turn");
    world.expect_quiet();
}

/// Every end of a request lowers the count of its target: a cut, another try, or a client that has
/// left.
#[test]
fn a_target_is_busy_while_it_has_requests_in_flight() {
    let mut world = world(&format!(
        r#"{TWO}, "balance": "least-connections", "passiveHealth": false"#
    ));
    for scene in 0..30 {
        let client = world.connect();
        world.send(client, GET);
        match scene % 3 {
            0 => {
                world.refuse(Fault::Refused);
                world.accept();
            }
            1 => {
                let origin = world.accept();
                world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
                world.finish_upstream(origin);
            }
            _ => drop(world.accept()),
        }
        world.finish(client);
        world.dials.clear();
    }
    let client = world.connect();
    let mut both = places(&mut world, client, 10);
    both.sort_unstable();
    assert_eq!(
        both,
        [1, 1, 1, 1, 1, 2, 2, 2, 2, 2],
        "no target is busy any more"
    );
    world.expect_quiet();
}

#[test]
fn two_are_drawn_and_the_less_busy_one_is_taken() {
    let mut world = world(&format!(r#"{TWO}, "balance": "random-two""#));
    let (slow, quick) = (world.connect(), world.connect());
    world.send(slow, GET);
    let busy = dialed(&world);
    let held = world.accept();
    assert!(
        places(&mut world, quick, 10)
            .iter()
            .all(|place| *place != busy),
        "of two both are drawn"
    );
    world.reply(held, LAST);
    world.expect_quiet();
}

#[test]
fn a_client_stays_with_its_target() {
    let mut world = world(&format!(r#"{THREE}, "balance": "ip-hash""#));
    let mut homes = std::collections::BTreeSet::new();
    for number in 1..=20 {
        let from: IpAddr = [192, 0, 2, number].into();
        let (one, other) = (world.connect_from(from), world.connect_from(from));
        let home = served(&mut world, one, GET);
        assert_eq!(served(&mut world, other, GET), home);
        homes.insert(home);
    }
    assert_eq!(homes.len(), 3);
    world.expect_quiet();
}

#[test]
fn each_target_has_its_own_pool() {
    let mut world = world(TWO);
    let client = world.connect();
    let mut origins = Vec::new();
    for _ in 0..2 {
        world.send(client, GET);
        origins.push(world.accept());
        world.take_upstream(*origins.last().expect("one"));
        world.reply(*origins.last().expect("one"), OK);
        world.expect(client, OK);
    }
    for turn in 0..4 {
        world.send(client, GET);
        world.expect_no_dial();
        let origin = origins[turn % 2];
        assert!(
            world
                .received_upstream(origin)
                .contains(&format!("Host: 10.0.0.{}\r\n", turn % 2 + 1))
        );
        world.reply(origin, OK);
        world.expect(client, OK);
    }
    world.expect_quiet();
}

// --- retries ---

#[test]
fn after_a_refused_connection_any_method_is_retried() {
    for request in [GET, PUT, POST] {
        let mut world = world(THREE);
        let client = world.connect();
        world.send(client, request);
        assert_eq!(world.refuse(Fault::Refused), address(1));
        assert_eq!(dialed(&world), 2);
        let origin = world.accept();
        let received = world.received_upstream(origin);
        assert!(
            received.contains("\r\nHost: 10.0.0.2\r\n") && !received.contains("10.0.0.1"),
            "{received}"
        );
        assert_eq!(
            received.ends_with("hi"),
            request != GET,
            "the body came along: {received}"
        );
        world.reply(origin, OK);
        world.expect(client, OK);
        let log = world.log();
        assert!(
            log[0].contains(r#""target":"10.0.0.2""#) && log[0].contains(r#""retries":1"#),
            "{log:?}"
        );
        world.expect_quiet();
    }
}

#[test]
fn retries_bound_the_tries() {
    for (retries, tries) in [(0, 1), (1, 2), (2, 3), (9, 3)] {
        let mut world = world(&format!(r#"{THREE}, "retries": {retries}"#));
        let client = world.connect();
        world.send(client, GET);
        for _ in 0..tries {
            world.expect_silence(client);
            world.refuse(Fault::Refused);
        }
        world.expect_status(client, 502);
        world.expect_no_dial();
        world.expect_quiet();
    }
}

#[test]
fn whatever_keeps_a_connection_from_being_made_moves_it_on() {
    for fault in [Fault::Refused, Fault::Tls, Fault::Reset] {
        let mut world = world(TWO);
        let client = world.connect();
        world.send(client, POST);
        world.refuse(fault);
        assert_eq!(dialed(&world), 2, "{fault:?}");
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
        world.expect_quiet();
    }
}

#[test]
fn a_connection_that_is_not_made_in_time_is_retried() {
    let mut world = world(TWO);
    let client = world.connect();
    world.send(client, POST);
    world.wait(5_000 + SLOT);
    world.expect_silence(client);
    assert_eq!(dialed(&world), 2, "the first one was given up");
    world.wait(4_900);
    world.expect_silence(client);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet();
}

#[test]
fn after_a_silence_only_idempotent_requests_are_retried() {
    for (request, moves) in [(GET, true), (PUT, true), (POST, false)] {
        let mut world = world(TWO);
        let client = world.connect();
        world.send(client, request);
        let silent = world.accept();
        assert!(!world.take_upstream(silent).is_empty());
        world.wait(15_000 + SLOT);
        assert!(world.closed_upstream(silent));
        if !moves {
            world.expect_status(client, 504);
            world.expect_no_dial();
            continue;
        }
        world.expect_silence(client);
        assert_eq!(dialed(&world), 2);
        let origin = world.accept();
        world.wait(14_900);
        world.expect_silence(client);
        assert_eq!(
            world.received_upstream(origin).ends_with("hi"),
            request == PUT
        );
        world.reply(origin, LAST);
        world.expect_status(client, 200);
        world.expect_quiet();
    }
}

#[test]
fn silence_everywhere_is_a_504_after_each_had_its_time() {
    let mut world = world(THREE);
    let client = world.connect();
    world.send(client, GET);
    world.accept();
    world.wait(15_000 + SLOT);
    world.accept();
    world.wait(15_000 + SLOT);
    world.expect_status(client, 504);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn after_an_end_without_an_answer_only_idempotent_requests_are_retried() {
    for (request, moves) in [(GET, true), (PUT, true), (POST, false)] {
        for reset in [false, true] {
            let mut world = world(TWO);
            let client = world.connect();
            world.send(client, request);
            let origin = world.accept();
            if reset {
                world.fail_upstream(origin, Fault::Reset)
            } else {
                world.finish_upstream(origin)
            }
            if !moves {
                world.expect_status(client, 502);
                world.expect_no_dial();
                continue;
            }
            assert_eq!(dialed(&world), 2);
            let origin = world.accept();
            world.reply(origin, LAST);
            world.expect_status(client, 200);
            world.expect_quiet();
        }
    }
}

#[test]
fn after_the_first_byte_of_an_answer_nothing_is_retried() {
    for answer in [
        "HTTP/1.1 200 OK\r\nCont",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        let mut world = world(TWO);
        let client = world.connect();
        world.send(client, GET);
        let origin = world.accept();
        world.reply(origin, answer);
        world.finish_upstream(origin);
        world.expect_no_dial();
        assert!(world.received(client).contains("HTTP/1.1 502 "), "{answer}");
        world.expect_quiet();
    }
}

#[test]
fn an_error_status_of_a_target_is_not_retried() {
    let mut world = world(TWO);
    let client = world.connect();
    for _ in 0..20 {
        world.send(client, GET);
        let origin = world.accept();
        world.reply(
            origin,
            "HTTP/1.1 503 Oh\r\nDate: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        world.expect_status(client, 503);
    }
    assert_eq!(health(&mut world), [], "no passive failures");
    world.expect_quiet();
}

/// A body of which a byte was dropped cannot be sent again.
#[test]
fn a_body_that_was_sent_is_not_retried() {
    let mut world = world(TWO);
    let client = world.connect();
    world.send(
        client,
        "PUT /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 70000\r\n\r\n",
    );
    let origin = world.accept();
    world.send(client, vec![b'x'; 70_000]);
    assert!(world.take_upstream(origin).len() > 70_000);
    world.finish_upstream(origin);
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet();
}

/// The upstream reads no more of the body, so the rest is dropped and the request is not complete
/// any more.
#[test]
fn half_an_upload_is_not_retried() {
    for reused in [false, true] {
        let mut world = streaming(&format!(r#"{TWO}, "retries": 1"#));
        let client = world.connect();
        let mut origin = None;
        for _ in 0..if reused { 2 } else { 0 } {
            world.send(client, GET);
            let fresh = world.accept();
            world.take_upstream(fresh);
            world.reply(fresh, OK);
            world.expect(client, OK);
            origin.get_or_insert(fresh);
        }
        world.send(
            client,
            "PUT /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhello",
        );
        let origin = origin.unwrap_or_else(|| world.accept());
        assert!(world.received_upstream(origin).ends_with("hello"));
        world.fail_upstream(origin, Fault::SendFailed);
        world.finish_upstream(origin);
        world.expect_status(client, 502);
        world.expect_no_dial();
        world.expect_quiet();
    }
}

/// Half of the body had arrived when the connection was refused. The other half is sent to the
/// other target, too.
#[test]
fn an_upload_under_way_goes_on_at_the_other_target() {
    let mut world = streaming(TWO);
    let client = world.connect();
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhello",
    );
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.send(client, "world");
    assert!(
        world
            .received_upstream(origin)
            .ends_with("\r\n\r\nhelloworld")
    );
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet();
}

#[test]
fn a_dead_pooled_connection_costs_no_retry() {
    let mut world = world(&format!(r#"{TWO}, "retries": 0"#));
    let client = world.connect();
    let mut pooled = Vec::new();
    for _ in 0..2 {
        world.send(client, GET);
        pooled.push(world.accept());
        world.reply(*pooled.last().expect("one"), OK);
        world.expect(client, OK);
    }
    world.send(client, GET);
    world.fail_upstream(pooled[0], Fault::Reset);
    assert_eq!(dialed(&world), 1, "the same target, once more");
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect(client, OK);
    assert_eq!(health(&mut world), []);
    world.expect_quiet();
}

#[test]
fn a_killed_target_with_pooled_connections_fails_no_get_and_repeats_no_post() {
    let mut world = world(TWO);
    let client = world.connect();
    let mut pooled = Vec::new();
    for _ in 0..2 {
        world.send(client, GET);
        pooled.push(world.accept());
        world.take_upstream(pooled[pooled.len() - 1]);
        world.reply(pooled[pooled.len() - 1], OK);
        world.expect(client, OK);
    }
    // The first target is next. Its connection dies with the request, and a new one is refused.
    world.send(client, GET);
    world.fail_upstream(pooled[0], Fault::Reset);
    world.refuse(Fault::Refused);
    world.expect_no_dial();
    assert!(
        world
            .received_upstream(pooled[1])
            .contains("Host: 10.0.0.2")
    );
    world.reply(pooled[1], OK);
    world.expect(client, OK);
    world.expect_quiet();
}

#[test]
fn a_websocket_moves_on_before_it_is_one() {
    let mut world = world(TWO);
    let client = world.connect();
    world.send(
        client,
        "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n",
    );
    world.refuse(Fault::Refused);
    let origin = world.accept();
    assert!(
        world
            .received_upstream(origin)
            .contains("Upgrade: websocket")
    );
    world.reply(
        origin,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    world.expect_status(client, 101);
    world.fail_upstream(origin, Fault::Reset);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn a_client_that_left_is_not_moved() {
    let mut world = world(TWO);
    let client = world.connect();
    world.send(client, GET);
    world.accept();
    world.finish(client);
    world.expect_no_dial();
    world.wait(20_000);
    world.expect_no_dial();
    assert_eq!(health(&mut world), []);
    world.expect_quiet();
}

// --- ejection ---

#[test]
fn failures_eject_a_target_and_it_returns_slowly() {
    let mut world = world(&format!(
        r#"{TWO}, "passiveHealth": {{ "failures": 3, "window": "10s", "eject": "20s" }}"#
    ));
    let client = world.connect();
    let mut failures = 0;
    while failures < 3 {
        world.send(client, GET);
        if dialed(&world) == 1 {
            world.refuse(Fault::Refused);
            failures += 1;
        }
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
    assert_eq!(health(&mut world), [(1, Change::Ejected)]);
    assert_eq!(places(&mut world, client, 5), [2; 5]);
    world.wait(20_000);
    let back = places(&mut world, client, 110);
    assert_eq!(health(&mut world), [(1, Change::Returned)]);
    let count = back.iter().filter(|place| **place == 1).count();
    assert!(
        (9..=10).contains(&count),
        "a tenth of its weight: {count} of 110"
    );
    world.wait(10_000);
    assert_eq!(
        places(&mut world, client, 110)
            .iter()
            .filter(|place| **place == 1)
            .count(),
        55
    );
    assert_eq!(health(&mut world), [(1, Change::Recovered)]);
    world.expect_quiet();
}

#[test]
fn one_failure_during_slow_start_ejects_again() {
    let mut world = world(&format!(
        r#"{TWO}, "passiveHealth": {{ "failures": 2, "eject": "20s" }}"#
    ));
    let client = world.connect();
    let fail = |world: &mut World, times: usize| {
        let mut failures = 0;
        for _ in 0..100 {
            world.send(client, GET);
            if failures < times && dialed(world) == 1 {
                world.refuse(Fault::Refused);
                failures += 1;
            }
            let origin = world.accept();
            world.reply(origin, LAST);
            world.expect_status(client, 200);
        }
        assert_eq!(failures, times);
    };
    fail(&mut world, 2);
    assert_eq!(health(&mut world), [(1, Change::Ejected)]);
    world.wait(20_000);
    fail(&mut world, 1);
    assert_eq!(
        health(&mut world),
        [(1, Change::Returned), (1, Change::EjectedAgain)]
    );
    assert!(
        places(&mut world, client, 50)
            .iter()
            .all(|place| *place == 2)
    );
    world.expect_quiet();
}

#[test]
fn the_last_target_is_never_ejected() {
    let mut world = world(&format!(r#"{TWO}, "passiveHealth": {{ "failures": 1 }}"#));
    let client = world.connect();
    for _ in 0..10 {
        world.send(client, GET);
        world.refuse(Fault::Refused);
        world.refuse(Fault::Refused);
        world.expect_status(client, 502);
    }
    assert_eq!(health(&mut world), [(1, Change::Ejected)]);
    world.expect_quiet();
}

/// An ejected target is used if no other one is left.
#[test]
fn a_retry_may_use_an_ejected_target() {
    let mut world = world(&format!(r#"{TWO}, "passiveHealth": {{ "failures": 1 }}"#));
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    assert_eq!(health(&mut world), [(1, Change::Ejected)]);
    world.send(client, GET);
    assert_eq!(world.refuse(Fault::Refused), address(2));
    assert_eq!(dialed(&world), 1);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet();
}

#[test]
fn which_failures_count_against_a_target() {
    const RULE: &str = r#""passiveHealth": { "failures": 1 }"#;
    for (scene, counts) in [
        ("refused", true),
        ("tls", true),
        ("silent", true),
        ("closed", true),
        ("reset", true),
        ("unanswered", true),
        ("malformed", false),
        ("cut behind its head", false),
        ("client gone", false),
        ("half an upload", false),
        ("off", false),
    ] {
        let rule = if scene == "off" {
            r#""passiveHealth": false"#
        } else {
            RULE
        };
        let mut world = streaming(&format!(r#"{TWO}, {rule}, "timeouts": {{ "idle": "1s" }}"#));
        let client = world.connect();
        let request = if scene == "half an upload" {
            &POST[..POST.len() - 1]
        } else {
            GET
        };
        world.send(client, request);
        match scene {
            "refused" | "off" => drop(world.refuse(Fault::Refused)),
            "tls" => drop(world.refuse(Fault::Tls)),
            "unanswered" => world.wait(5_000 + SLOT),
            _ => {
                let origin = world.accept();
                match scene {
                    "silent" | "half an upload" => world.wait(15_000 + SLOT),
                    "closed" => world.finish_upstream(origin),
                    "reset" => world.fail_upstream(origin, Fault::Reset),
                    "malformed" => world.reply(origin, "220 smtp\r\n\r\n"),
                    "client gone" => world.finish(client),
                    _ => {
                        world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
                        world.finish_upstream(origin);
                    }
                }
            }
        }
        let expected: &[_] = if counts { &[(1, Change::Ejected)] } else { &[] };
        assert_eq!(health(&mut world), expected, "{scene}");
    }
}

/// Requests of a single client hang at every target. The targets stay in use, and no further target
/// is blamed.
#[test]
fn failures_of_one_client_eject_no_target() {
    let mut world = world(
        r#""targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth", "http://10.0.0.3/auth", "http://10.0.0.4/auth"],
           "passiveHealth": { "failures": 3, "window": "600s", "eject": "600s" }"#,
    );
    let from = |last: u8| IpAddr::from([192, 0, 2, last]);
    let fail = |world: &mut World, last: u8| {
        let client = world.connect_from(from(last));
        world.send(client, GET);
        let places = [0; 2].map(|_| {
            let place = dialed(world);
            world.accept();
            world.wait(15_000 + SLOT);
            place
        });
        world.expect_status(client, 504);
        places
    };
    for _ in 0..6 {
        fail(&mut world, 1);
    }
    assert_eq!(health(&mut world), []);
    // With several clients the targets are ejected, but half of them stay.
    for last in 2..=12 {
        fail(&mut world, last);
    }
    let out = health(&mut world);
    assert!((1..=2).contains(&out.len()), "{out:?}");
}

#[test]
fn backups_serve_while_no_other_target_can() {
    let mut world = world(
        r#""targets": ["http://10.0.0.1/auth", { "url": "http://10.0.0.9/auth", "backup": true }],
           "passiveHealth": { "failures": 2, "eject": "5s" }"#,
    );
    let client = world.connect();
    for _ in 0..2 {
        world.send(client, GET);
        assert_eq!(world.refuse(Fault::Refused), address(1));
        assert_eq!(dialed(&world), 9, "a retry may use it");
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
    assert_eq!(places(&mut world, client, 3), [9, 9, 9]);
    world.wait(5_000);
    assert_eq!(places(&mut world, client, 3), [1, 1, 1]);
    world.expect_quiet();
}

// --- names ---

const NAMED: &str = r#""target": "http://name.test/auth""#;

#[test]
fn the_addresses_of_a_name_are_endpoints_of_their_own() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1), address(2)]);
    assert_eq!(places(&mut world, client, 4), [1, 2, 1, 2]);
    world.send(client, GET);
    let origin = world.accept();
    let received = world.received_upstream(origin);
    assert!(received.contains("\r\nHost: name.test\r\n"), "{received}");
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet_but_lookups();
}

#[test]
fn refused_at_one_address_the_others_cost_no_retry() {
    let mut world = world(&format!(r#"{NAMED}, "retries": 0"#));
    let client = world.connect();
    world.resolve(0, &[address(1), address(2), address(3)]);
    world.send(client, POST);
    for last in 1..=3 {
        assert_eq!(world.refuse(Fault::Refused), address(last));
    }
    world.expect_status(client, 502);
    world.send(client, GET);
    let origin = world.accept();
    world.finish_upstream(origin);
    world.expect_status(client, 502);
    world.expect_no_dial();
    world.expect_quiet_but_lookups();
}

#[test]
fn addresses_come_and_go_and_their_pools_with_them() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1), address(2)]);
    let mut pooled = Vec::new();
    for _ in 0..2 {
        world.send(client, GET);
        pooled.push(world.accept());
        world.reply(pooled[pooled.len() - 1], OK);
        world.expect(client, OK);
    }
    let busy = world.connect();
    world.send(busy, GET);
    world.expect_no_dial();
    world.resolve(0, &[address(2), address(3)]);
    assert!(!world.closed_upstream(pooled[0]), "it is in use");
    world.reply(pooled[0], OK);
    world.expect(busy, OK);
    assert!(
        world.closed_upstream(pooled[0]),
        "the connection is not reused"
    );
    assert!(!world.closed_upstream(pooled[1]), "that address has stayed");
    world.resolve(0, &[address(3)]);
    assert!(world.closed_upstream(pooled[1]));
    assert_eq!(places(&mut world, client, 3), [3, 3, 3]);
    world.resolve(0, &[]);
    assert_eq!(
        places(&mut world, client, 1),
        [3],
        "a failed lookup changes nothing"
    );
    world.expect_quiet_but_lookups();
}

/// The name loses an address while a request is on its way there.
#[test]
fn a_request_under_way_outlives_its_address() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1)]);
    world.send(client, GET);
    world.resolve(0, &[address(2)]);
    assert_eq!(world.refuse(Fault::Refused), address(1));
    assert_eq!(dialed(&world), 2);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet_but_lookups();
}

#[test]
fn an_unresolved_name_delays_no_request() {
    let mut world = world(r#""targets": ["http://name.test/auth", "http://10.0.0.5/auth"]"#);
    let client = world.connect();
    assert_eq!(places(&mut world, client, 2), [5, 5]);
    world.resolve(0, &[address(1)]);
    let mut both = places(&mut world, client, 2);
    both.sort_unstable();
    assert_eq!(both, [1, 5]);
    world.expect_quiet_but_lookups();
}

#[test]
fn with_unresolved_names_only_a_request_waits_and_is_retried() {
    let mut world = world(r#""targets": ["http://one.test/auth", "http://two.test/auth"]"#);
    let client = world.connect();
    world.send(client, GET);
    world.expect_no_dial();
    world.resolve(1, &[address(2)]);
    world.expect_no_dial();
    world.resolve(0, &[]);
    assert_eq!(dialed(&world), 2, "the first one has no address");
    let origin = world.accept();
    assert!(
        world
            .received_upstream(origin)
            .contains("\r\nHost: two.test\r\n")
    );
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet_but_lookups();
}

// --- a race of addresses ---

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 80))
}

/// Returns the addresses with a connection attempt in progress.
fn racing(world: &World) -> Vec<SocketAddr> {
    world.dials.iter().map(|(_, address)| *address).collect()
}

/// Makes the connection to this address the next one that completes.
fn bring_forward(world: &mut World, address: SocketAddr) {
    let index = world
        .dials
        .iter()
        .position(|(_, other)| *other == address)
        .expect("it is being made");
    world.dials.swap(0, index);
}

#[test]
fn the_next_address_starts_after_250_ms() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[v6(1), v6(2), address(1), address(2)]);
    world.send(client, POST);
    assert_eq!(racing(&world), [v6(1)]);
    world.wait(249);
    assert_eq!(world.dials.len(), 1);
    world.wait(1 + SLOT);
    assert_eq!(
        racing(&world),
        [v6(1), address(1)],
        "one of the other family"
    );
    world.wait(250 + SLOT);
    assert_eq!(racing(&world), [v6(1), address(1), v6(2)]);
    world.wait(250 + SLOT);
    assert_eq!(racing(&world), [v6(1), address(1), v6(2), address(2)]);
    world.wait(2_000);
    assert_eq!(world.dials.len(), 4, "there is no other");
    bring_forward(&mut world, v6(2));
    let origin = world.accept();
    assert_eq!(racing(&world), [], "the others are closed");
    assert!(world.received_upstream(origin).ends_with("\r\n\r\nhi"));
    world.reply(origin, OK);
    world.expect(client, OK);
    assert_eq!(world.proxy.holdings().upstreams, 1);
    world.expect_quiet_but_lookups();
}

#[test]
fn the_first_address_may_win_late() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1), address(2)]);
    world.send(client, GET);
    world.wait(300 + SLOT);
    assert_eq!(racing(&world), [address(1), address(2)]);
    let origin = world.accept();
    assert_eq!(racing(&world), []);
    assert!(world.received_upstream(origin).starts_with("GET /auth "));
    world.reply(origin, OK);
    world.expect(client, OK);
    world.wait(1_000);
    assert_eq!(racing(&world), []);
    world.expect_quiet_but_lookups();
}

/// A failed connection starts the next one at once, for every address. The last failure is that of
/// the exchange.
#[test]
fn a_failed_address_of_a_race_is_replaced_at_once() {
    for fault in [Fault::Refused, Fault::Unreachable, Fault::Tls, Fault::Reset] {
        let mut world = world(&format!(r#"{NAMED}, "retries": 0"#));
        let client = world.connect();
        world.resolve(0, &[address(1), address(2), address(3), address(4)]);
        world.send(client, POST);
        world.wait(250 + SLOT);
        assert_eq!(racing(&world), [address(1), address(2)]);
        assert_eq!(world.refuse(fault), address(1), "the leader");
        assert_eq!(racing(&world), [address(2), address(3)]);
        bring_forward(&mut world, address(3));
        assert_eq!(world.refuse(fault), address(3), "a contender");
        assert_eq!(racing(&world), [address(2), address(4)]);
        world.refuse(fault);
        world.expect_silence(client);
        world.refuse(fault);
        world.expect_status(client, 502);
        assert_eq!(racing(&world), []);
        world.expect_quiet_but_lookups();
    }
}

/// All addresses of a name share `timeouts.connect`; then another target is tried.
#[test]
fn a_race_ends_with_the_connect_timeout() {
    let mut world = world(
        r#""targets": ["http://name.test/auth", { "url": "http://10.0.0.9/auth", "backup": true }]"#,
    );
    let client = world.connect();
    world.resolve(0, &[address(1), address(2)]);
    world.send(client, POST);
    world.wait(4_900);
    assert_eq!(racing(&world), [address(1), address(2)]);
    world.wait(100 + SLOT);
    assert_eq!(racing(&world), [address(9)]);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    world.expect_quiet_but_lookups();
}

#[test]
fn a_client_that_leaves_ends_the_race() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1), address(2), address(3)]);
    world.send(client, GET);
    world.wait(250 + SLOT);
    assert_eq!(world.dials.len(), 2);
    world.finish(client);
    assert_eq!(
        (world.dials.len(), world.proxy.holdings().upstreams),
        (0, 0)
    );
    world.wait(1_000);
    assert_eq!(world.dials.len(), 0);
    world.expect_quiet_but_lookups();
}

/// An idle connection to the next address is used instead of a new one.
#[test]
fn a_pooled_connection_wins_the_race() {
    let mut world = world(NAMED);
    let (client, other) = (world.connect(), world.connect());
    world.resolve(0, &[address(1), address(2)]);
    world.send(client, GET);
    let first = world.accept();
    world.reply(first, LAST);
    world.expect_status(client, 200);
    world.send(client, GET);
    assert_eq!(dialed(&world), 2);
    let pooled = world.accept();
    world.reply(pooled, OK);
    world.expect(client, OK);
    world.take_upstream(pooled);
    world.send(other, POST);
    assert_eq!(racing(&world), [address(1)]);
    world.wait(250 + SLOT);
    assert_eq!(racing(&world), []);
    assert!(world.received_upstream(pooled).ends_with("\r\n\r\nhi"));
    world.reply(pooled, OK);
    world.expect(other, OK);
    world.expect_quiet_but_lookups();
}

/// An address that does not answer is ejected like one that refuses, after several lost races.
#[test]
fn an_address_that_loses_races_is_ejected() {
    let mut world = world(NAMED);
    let client = world.connect();
    world.resolve(0, &[address(1), address(2)]);
    let mut delayed = 0;
    for _ in 0..40 {
        world.send(client, GET);
        if dialed(&world) == 1 {
            delayed += 1;
            world.wait(250 + SLOT);
            bring_forward(&mut world, address(2));
        }
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
    assert_eq!(
        (delayed, health(&mut world)),
        (5, vec![(1, Change::Ejected)])
    );
    world.expect_quiet_but_lookups();
}

/// Connections of a race never replace a connection of another client.
#[test]
fn connections_of_a_race_make_room() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://name.test/auth" } ], "rateLimit": false,
             "limits": { "connections": 3, "connectionsPerClient": 3 } }"#,
    );
    let clients = [world.connect(), world.connect(), world.connect()];
    world.resolve(0, &[address(1), address(2), address(3)]);
    world.send(clients[0], GET);
    world.wait(600);
    assert_eq!(world.dials.len(), 3);
    world.send(clients[1], GET);
    assert_eq!(world.proxy.holdings().upstreams, 3);
    world.send(clients[2], GET);
    assert_eq!(
        world.proxy.holdings().upstreams,
        3,
        "the driver holds it to its bound"
    );
    world.wait(600);
    assert_eq!(world.proxy.holdings().upstreams, 3);
    for client in clients {
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
    }
    world.expect_quiet_but_lookups();
}

// --- unreachable addresses ---

/// `localhost` has two addresses. A server that listens on one of them is healthy.
#[test]
fn one_working_address_of_localhost_is_enough() {
    let (here, gone): (SocketAddr, SocketAddr) = (
        ([127, 0, 0, 1], 80).into(),
        "[::1]:80".parse().expect("an address"),
    );
    for (here, gone) in [(here, gone), (gone, here)] {
        for checks in [
            "",
            r#", "healthCheck": { "path": "/", "interval": "1s", "fall": 1 }"#,
        ] {
            for fault in [Fault::Refused, Fault::Unreachable] {
                let mut world = world(&format!(
                    r#""target": "http://localhost/auth", "passiveHealth": {{ "failures": 1 }}{checks}"#
                ));
                let client = world.connect();
                world.resolve(0, &[gone, here]);
                let mut in_vain = 0;
                for _ in 0..100 {
                    world.send(client, GET);
                    while racing(&world)[0] == gone {
                        in_vain += 1;
                        world.refuse(fault);
                    }
                    let origin = world.accept();
                    world.reply(origin, LAST);
                    world.expect_status(client, 200);
                    world.wait(100);
                    while !world.dials.is_empty() {
                        if racing(&world)[0] == gone {
                            world.refuse(fault);
                        } else {
                            let origin = world.accept();
                            world.reply(origin, LAST);
                        }
                    }
                }
                let told = world
                    .reports
                    .iter()
                    .filter(|report| matches!(report, Report::Health { .. }))
                    .count();
                assert_eq!(told, 0, "{:?} {checks:?}", world.reports);
                assert_eq!(in_vain, 1, "it is left out for a while");
            }
        }
    }
}

/// If both addresses refuse, the target has failed. An address that listens again is found.
#[test]
fn both_addresses_of_localhost_refuse() {
    let (v4, v6): (SocketAddr, SocketAddr) = (
        ([127, 0, 0, 1], 80).into(),
        "[::1]:80".parse().expect("an address"),
    );
    for back in [v4, v6] {
        let mut world = world(r#""target": "http://localhost/auth", "retries": 0"#);
        let client = world.connect();
        world.resolve(0, &[v4, v6]);
        for _ in 0..10 {
            world.send(client, GET);
            world.refuse(Fault::Refused);
            world.refuse(Fault::Refused);
            world.expect_status(client, 502);
        }
        for _ in 0..10 {
            world.send(client, GET);
            if racing(&world)[0] != back {
                world.refuse(Fault::Refused);
            }
            assert_eq!(racing(&world), [back]);
            let origin = world.accept();
            world.reply(origin, LAST);
            world.expect_status(client, 200);
        }
        world.expect_quiet_but_lookups();
    }
}

/// An address that refuses, one of several, counts as a failed server and is logged.
#[test]
fn a_refusal_of_another_machine_is_a_failure() {
    let mut world = world(&format!(r#"{NAMED}, "passiveHealth": {{ "failures": 1 }}"#));
    let client = world.connect();
    world.resolve(0, &[address(1), v6(1)]);
    world.send(client, GET);
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, LAST);
    world.expect_status(client, 200);
    assert_eq!(health(&mut world), [(1, Change::Ejected)]);
    world.expect_quiet_but_lookups();
}

/// A name without an address is resolved again after 1, 2, 4 .. 30 s.
#[test]
fn a_name_that_was_never_known_is_asked_for_again_and_again() {
    let mut world = world(NAMED);
    assert_eq!(std::mem::take(&mut world.lookups), [0]);
    world.resolve(0, &[]);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        world.wait(seconds * 1000 - 1);
        assert_eq!(world.lookups.len(), 0, "{seconds} s");
        world.wait(1 + SLOT);
        assert_eq!(std::mem::take(&mut world.lookups), [0], "{seconds} s");
        world.wait(5_000);
        assert_eq!(world.lookups.len(), 0, "it is under way");
        world.resolve(0, &[]);
    }
    world.wait(30_000 + SLOT);
    world.resolve(0, &[address(1)]);
    world.lookups.clear();
    world.wait(29_000);
    world.resolve(0, &[]);
    assert_eq!(world.lookups.len(), 0, "it was known: every 30 s");
    let client = world.connect();
    assert_eq!(places(&mut world, client, 1), [1]);
    world.expect_quiet_but_lookups();
}

/// A request also starts a lookup, at most once a second, and waits for the answer.
#[test]
fn a_request_has_an_unknown_name_looked_up() {
    for targets in [
        NAMED,
        r#""targets": ["http://name.test/auth", "http://name.test/other"]"#,
    ] {
        let mut world = world(targets);
        let client = world.connect();
        world.resolve(0, &[]);
        world.wait(1_100);
        world.resolve(0, &[]);
        world.lookups.clear();
        world.wait(900);
        world.send(client, GET);
        world.expect_status(client, 502);
        assert_eq!(world.lookups.len(), 0, "it was asked a moment ago");
        world.wait(200);
        world.send(client, GET);
        world.expect_silence(client);
        assert!(!world.lookups.is_empty());
        world.lookups.clear();
        world.wait(1_500);
        assert_eq!(world.lookups.len(), 0, "one look-up at a time");
        world.resolve(0, &[address(1)]);
        let origin = world.accept();
        world.reply(origin, LAST);
        world.expect_status(client, 200);
        world.expect_quiet_but_lookups();
    }
}

/// An authenticated connection keeps its target, although other requests are balanced.
#[test]
fn a_client_with_a_private_connection_stays_with_its_target() {
    let mut world = world(TWO);
    let (ann, bob) = (world.connect(), world.connect());
    world.send(ann, NTLM);
    assert_eq!(dialed(&world), 1);
    let anns = world.accept();
    world.reply(anns, OK);
    world.expect(ann, OK);
    for _ in 0..3 {
        world.send(ann, GET);
        world.expect_no_dial();
        world.reply(anns, OK);
        world.expect(ann, OK);
        served(&mut world, bob, GET);
    }
    world.expect_quiet();
}

/// A private connection is kept if other requests at its target fail. It is closed if health checks
/// fail.
#[test]
fn an_ejection_keeps_private_connections() {
    let mut world = world(&format!("{TWO}, {EJECTS}, {CHECKED}"));
    let (ann, bob) = (world.connect(), world.connect());
    world.send(ann, NTLM);
    assert_eq!(dialed(&world), 1);
    let anns = world.accept();
    world.reply(anns, OK);
    world.expect(ann, OK);
    eject(&mut world, bob, 1);
    assert_eq!(places(&mut world, bob, 3), [2; 3]);
    world.send(ann, GET);
    world.expect_no_dial();
    world.reply(anns, OK);
    world.expect(ann, OK);
    checks(&mut world, 3_000, |place| (place != 1).then_some(200));
    assert_eq!(health(&mut world), [(1, Change::WentDown)]);
    assert_eq!(places(&mut world, ann, 2), [2; 2]);
}

/// A client with private connections to two targets uses the one whose target is up.
#[test]
fn of_two_private_connections_one_to_a_target_that_is_up_is_used() {
    let mut world = world(&format!("{TWO}, {EJECTS}, {CHECKED}"));
    let (ann, bob) = (world.connect(), world.connect());
    let mut kept = Vec::new();
    for place in [1, 2] {
        world.send(ann, NTLM);
        assert_eq!(dialed(&world), place);
        let anns = world.accept();
        world.reply(anns, OK);
        world.expect(ann, OK);
        kept.push(anns);
        checks(&mut world, 3_000, |at| (at != place).then_some(200));
    }
    checks(&mut world, 3_000, |_| Some(200));
    health(&mut world);
    for (aside, used) in [(1, kept[1]), (2, kept[0])] {
        eject(&mut world, bob, aside);
        world.send(ann, GET);
        world.expect_no_dial();
        world.reply(used, OK);
        world.expect(ann, OK);
        checks(&mut world, 31_000, |_| Some(200));
        health(&mut world);
    }
}

// --- health checks ---

const CHECKED: &str = r#""healthCheck": { "path": "/health?x=1", "interval": "1s", "timeout": "500ms", "rise": 2, "fall": 2 }"#;

/// Lets time pass. Each health check is answered with what `answer` returns for its target.
fn checks(world: &mut World, millis: u64, answer: impl Fn(u8) -> Option<u16>) -> usize {
    let mut count = 0;
    for _ in 0..millis / 100 {
        world.wait(100);
        while !world.dials.is_empty() {
            count += 1;
            let place = dialed(world);
            match answer(place) {
                None => drop(world.refuse(Fault::Refused)),
                Some(status) => {
                    let origin = world.accept();
                    let host = world.received_upstream(origin);
                    assert_eq!(
                        host,
                        format!(
                            "GET /health?x=1 HTTP/1.1\r\nHost: 10.0.0.{place}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
                             User-Agent: tollgate/health\r\nConnection: close\r\n\r\n"
                        )
                    );
                    world.reply(
                        origin,
                        format!("HTTP/1.1 {status} X\r\nContent-Length: 1000000\r\n\r\nsome"),
                    );
                    assert!(
                        world.closed_upstream(origin),
                        "the status is all that counts"
                    );
                }
            }
        }
    }
    count
}

#[test]
fn checks_take_a_target_out_and_bring_it_back() {
    let mut world = world(&format!("{TWO}, {CHECKED}"));
    let client = world.connect();
    assert_eq!(places(&mut world, client, 2), [1, 2], "up until checked");
    let count = checks(&mut world, 3_000, |_| Some(200));
    assert!(
        (5..=8).contains(&count),
        "{count} checks of two targets in three seconds"
    );
    checks(
        &mut world,
        1_100,
        |place| if place == 1 { None } else { Some(204) },
    );
    assert_eq!(health(&mut world), [], "one is not enough");
    checks(&mut world, 2_000, |place| {
        if place == 1 { Some(500) } else { Some(301) }
    });
    assert_eq!(health(&mut world), [(1, Change::WentDown)]);
    assert_eq!(places(&mut world, client, 4), [2; 4]);
    checks(&mut world, 1_100, |_| Some(399));
    assert_eq!(health(&mut world), []);
    checks(&mut world, 1_500, |_| Some(200));
    assert_eq!(health(&mut world), [(1, Change::CameUp)]);
    checks(&mut world, 11_000, |_| Some(200));
    let mut both = places(&mut world, client, 4);
    both.sort_unstable();
    assert_eq!(both, [1, 1, 2, 2]);
    assert!(
        world.log().iter().all(|line| !line.contains("health")),
        "checks are not in the access log"
    );
}

/// The port was closed, and now a server listens there that answers 404: its reason is another one, it is down
/// since the same time.
#[test]
fn a_target_that_is_down_says_why_it_is_now() {
    let mut world = world(&format!("{TWO}, {CHECKED}"));
    let state = |world: &World| {
        let rows = table(world, Table::Targets);
        let rows = rows.as_array().expect("rows");
        let row = rows.iter().find(|row| row["state"] == "down");
        let row = row.expect("a target that is down");
        (row["since"].to_string(), row["why"].to_string())
    };
    let fails = |with: Option<u16>| move |place| if place == 1 { with } else { Some(200) };
    checks(&mut world, 4_000, fails(None));
    assert_eq!(health(&mut world), [(1, Change::WentDown)]);
    let (since, why) = state(&world);
    assert!(why.contains("upstream_refused"), "{why}");
    checks(&mut world, 4_000, fails(Some(404)));
    assert_eq!(health(&mut world), [(1, Change::StillDown)], "told once");
    assert_eq!(state(&world), (since.clone(), r#""status 404""#.to_owned()));
    // One that flaps is shown as it is, and told a minute later.
    checks(&mut world, 4_000, fails(None));
    assert_eq!(health(&mut world), []);
    assert_eq!(state(&world), (since, why));
    checks(&mut world, 61_000, fails(None));
    assert_eq!(health(&mut world), [(1, Change::StillDown)]);
    checks(&mut world, 3_000, |_| Some(200));
    assert_eq!(health(&mut world), [(1, Change::CameUp)]);
}

#[test]
fn all_targets_down_is_a_503_with_retry_after() {
    let mut world = world(&format!("{TWO}, {}", CHECKED.replace("1s", "2500ms")));
    let client = world.connect();
    checks(&mut world, 6_000, |_| Some(503));
    assert_eq!(health(&mut world).len(), 2);
    world.send(client, POST);
    world.expect_no_dial();
    let text = world.expect_status(client, 503);
    assert!(text.contains("\r\nRetry-After: 3\r\n"), "{text}");
    assert!(text.ends_with(
        r#"{"code":503,"status":"Error","message":"Service unavailable.","data":null}"#
    ));
    world.expect_open(client);
    let log = world.log();
    assert!(
        log[0].contains(r#""status":503"#) && log[0].contains(r#""target":null"#),
        "{log:?}"
    );
    checks(&mut world, 6_000, |place| {
        Some(if place == 2 { 200 } else { 503 })
    });
    assert_eq!(places(&mut world, client, 2), [2, 2]);
}

#[test]
fn one_target_can_be_checked_too() {
    let mut world = world(&format!(r#""target": "http://10.0.0.1/auth", {CHECKED}"#));
    let client = world.connect();
    checks(&mut world, 3_000, |_| None);
    world.send(client, GET);
    world.expect_status(client, 503);
    checks(&mut world, 3_000, |_| Some(200));
    assert_eq!(places(&mut world, client, 1), [1]);
}

#[test]
fn a_check_without_an_answer_fails_after_its_time() {
    let mut world = world(&format!(r#""target": "http://10.0.0.1/auth", {CHECKED}"#));
    for _ in 0..30 {
        world.wait(100);
        while !world.dials.is_empty() {
            world.accept();
        }
    }
    let told = world.reports.clone();
    let cause = tollgate::observe::access::Outcome::UpstreamTimeout;
    assert!(
        matches!(told[..], [Report::Health { change: Change::WentDown, cause: Cause::Failure(end), .. }] if end == cause),
        "{told:?}"
    );
}

#[test]
fn every_address_of_a_name_is_checked() {
    let mut world = world(&format!("{NAMED}, {}", CHECKED.replace("/health?x=1", "/")));
    world.resolve(0, &[address(1), address(2)]);
    let mut checked = std::collections::BTreeSet::new();
    for _ in 0..7 {
        world.wait(100);
        while !world.dials.is_empty() {
            checked.insert(dialed(&world));
            world.refuse(Fault::Refused);
        }
    }
    assert_eq!(checked.into_iter().collect::<Vec<_>>(), [1, 2]);
    world.resolve(0, &[address(3)]);
    world.dials.clear();
    world.wait(600);
    assert_eq!(
        dialed(&world),
        3,
        "a newcomer is checked soon, one that is gone no more"
    );
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_gateway_that_stops_checks_no_more() {
    let mut world = world(&format!("{TWO}, {CHECKED}"));
    world.shut_down();
    assert_eq!(checks(&mut world, 5_000, |_| Some(200)), 0);
    world.expect_quiet();
}

// --- targets that go down during a body ---

/// Sends the head of a POST and half of its body. The target is chosen then.
fn begin_post(world: &mut World, client: Client) {
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nh",
    );
    world.expect_no_dial();
}

/// A target that goes out of use while a body is gathered does not get the request. The rows are
/// /one and /two.
#[test]
fn a_body_that_came_slowly_goes_to_a_target_that_is_up() {
    let other = TWO
        .replace("0.1/auth", "0.1/one")
        .replace("0.2/auth", "0.2/two");
    for is_ejected in [true, false] {
        let mut world = world(&format!("{other}, {EJECTS}, {CHECKED}, \"retries\": 1"));
        let (ann, bob) = (world.connect(), world.connect());
        begin_post(&mut world, ann);
        if is_ejected {
            eject(&mut world, bob, 1);
        } else {
            checks(&mut world, 3_000, |place| (place != 1).then_some(200));
        }
        world.send(ann, "i");
        assert_eq!(dialed(&world), 2, "ejected {is_ejected}");
        let origin = world.accept();
        let received = world.received_upstream(origin);
        assert!(
            received.starts_with("POST /two HTTP/1.1\r\nHost: 10.0.0.2\r\n")
                && received.ends_with("\r\n\r\nhi"),
            "{received}"
        );
        world.reply(origin, LAST);
        world.expect_status(ann, 200);
    }
}

/// The answer is the same as for a request that finds all targets down.
#[test]
fn a_body_that_came_slowly_finds_all_targets_down() {
    let mut world = world(&format!("{TWO}, {CHECKED}"));
    let (ann, bob) = (world.connect(), world.connect());
    begin_post(&mut world, ann);
    checks(&mut world, 3_000, |_| None);
    world.send(ann, "i");
    world.send(bob, POST);
    world.expect_no_dial();
    let [late, early] = [ann, bob].map(|client| world.take(client));
    let late = String::from_utf8_lossy(&late).into_owned();
    assert!(
        late.starts_with("HTTP/1.1 503 ") && late.contains("\r\nRetry-After: 1\r\n"),
        "{late}"
    );
    assert_eq!(late, String::from_utf8_lossy(&early));
    checks(&mut world, 3_000, |_| Some(200));
    assert!(
        (1..=2).contains(&served(&mut world, ann, GET)),
        "it goes on"
    );
}

/// Ann's private connection is still used when her body is complete, although its target was
/// ejected. In the second round it has closed.
#[test]
fn a_body_that_came_slowly_uses_the_private_connection() {
    for is_kept in [true, false] {
        let mut world = world(&format!("{TWO}, {EJECTS}"));
        let (ann, bob) = (world.connect(), world.connect());
        world.send(ann, NTLM);
        let anns = world.accept();
        world.reply(anns, OK);
        world.expect(ann, OK);
        begin_post(&mut world, ann);
        eject(&mut world, bob, 1);
        if !is_kept {
            world.finish_upstream(anns);
        }
        world.send(ann, "i");
        let origin = if is_kept {
            world.expect_no_dial();
            anns
        } else {
            assert_eq!(dialed(&world), 2);
            world.accept()
        };
        world.reply(origin, OK);
        world.expect(ann, OK);
        world.expect_quiet();
    }
}
