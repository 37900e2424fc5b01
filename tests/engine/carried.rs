//! Upgrade: the state that the new process takes over from the old one, and the state that is left
//! out.

use super::script::*;
use std::net::{IpAddr, SocketAddr};
use tollgate::proxy::command::Fault;
use tollgate::proxy::upgrade::{Export, import};

const OK: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
const CHECKED: &str = r#""healthCheck": { "path": "/", "interval": "10s", "rise": 1, "fall": 1 }"#;
const EJECTS: &str = r#""passiveHealth": { "failures": 1, "eject": "30s" }"#;

/// Returns a configuration with these top-level keys and services.
fn config(keys: &str, services: &str) -> String {
    let rate = if keys.contains("rateLimit") {
        ""
    } else {
        r#""rateLimit": false,"#
    };
    format!(r#"{{ {keys} {rate} "services": [ {services} ] }}"#)
}

/// Returns a service on `/auth` with these targets and further keys.
fn service(targets: &str, keys: &str) -> String {
    format!(r#"{{ "route": "/auth", "targets": [ {targets} ], {keys} }}"#)
}

const TWO: &str = r#""http://10.0.0.1/auth", "http://10.0.0.2/auth""#;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n")
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

/// Returns the last number of the address that the engine connects to next.
#[track_caller]
fn dialed(world: &World) -> u8 {
    let address = world.dials.first().expect("a connection is being made").1;
    match address.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => panic!("{address}"),
    }
}

/// Sends requests to `/auth`. Returns the targets. Connections to `refused` are refused.
fn places(world: &mut World, count: usize, refused: u8) -> Vec<u8> {
    let client = world.connect();
    let mut places = Vec::new();
    for _ in 0..count {
        world.send(client, get("/auth"));
        while dialed(world) == refused {
            places.push(refused);
            world.refuse(Fault::Refused);
        }
        places.push(dialed(world));
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
    }
    places
}

/// Answers the health checks that are due: those of `down` fail.
fn check(world: &mut World, down: u8) {
    for _ in 0..6 {
        world.wait(100);
        while !world.dials.is_empty() {
            if dialed(world) == down {
                world.refuse(Fault::Refused);
            } else {
                let origin = world.accept();
                world.received_upstream(origin);
                world.reply(origin, OK);
            }
        }
    }
}

fn status(world: &mut World, client: Client, path: &str) -> u16 {
    world.send(client, get(path));
    let text = world.received(client);
    text[9..12].parse().expect("a status")
}

#[test]
fn rate_windows_are_taken_over() {
    let limit = |requests, window, prefix| {
        format!(
            r#""rateLimit": {{ "requests": {requests}, "window": "{window}", "ipv6Prefix": {prefix} }},"#
        )
    };
    let own = r#"{ "route": "/auth", "target": "http://10.0.0.1", "rateLimit": { "requests": 1 }, "hosts": ["gate"] }"#;
    let mut old = World::with(&config(&limit(2, "60s", 64), own));
    old.wait(5_000_000);
    let client = old.connect();
    for wanted in [404, 404, 429] {
        assert_eq!(status(&mut old, client, "/other"), wanted);
    }
    old.send(client, get("/auth"));
    let origin = old.accept();
    old.reply(origin, OK);
    old.expect_status(client, 200);
    old.wait(20_000);
    for (keys, service, other, auth) in [
        (limit(2, "60s", 64), own.to_owned(), 429, 429),
        // The number `requests` may change.
        (
            limit(3, "60s", 64),
            own.replace("\"requests\": 1", "\"requests\": 1, \"maxClients\": 5"),
            404,
            429,
        ),
        (
            limit(2, "59s", 64),
            own.replace("gate", "*.test\", \"gate"),
            404,
            502,
        ),
        (
            limit(2, "60s", 56),
            own.replace("\"hosts\"", "\"methods\": [\"GET\"], \"hosts\""),
            404,
            502,
        ),
    ] {
        let mut new = old.upgrade(&config(&keys, &service));
        let client = new.connect();
        assert_eq!(status(&mut new, client, "/other"), other, "{keys}");
        new.send(client, get("/auth"));
        if auth == 502 {
            new.refuse(Fault::Refused);
        }
        new.expect_status(client, auth);
    }
    // The window ends at the same time as in the old process. Another client has its own window.
    let mut new = old.upgrade(&config(&limit(2, "60s", 64), own));
    let bob = new.connect_from(IpAddr::from([192, 0, 2, 9]));
    assert_eq!(status(&mut new, bob, "/other"), 404);
    new.wait(39_900);
    let client = new.connect();
    assert_eq!(status(&mut new, client, "/other"), 429);
    new.wait(200);
    assert_eq!(status(&mut new, client, "/other"), 404);
}

#[test]
fn failed_credentials_are_taken_over() {
    let hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let keys = format!(
        r#""auth": {{ "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{ "a": "{hash}" }} }} }},
           "authFailures": {{ "requests": 1, "window": "60s" }},"#
    );
    let keys = config(
        &keys,
        r#"{ "route": "/auth", "target": "http://10.0.0.1", "auth": "keys" }"#,
    );
    let wrong = "GET /auth HTTP/1.1\r\nHost: gate\r\nX-Key: wrong\r\n\r\n";
    let mut old = World::with(&keys);
    let client = old.connect();
    old.send(client, wrong);
    old.expect_status(client, 401);
    let mut new = old.upgrade(&keys);
    let client = new.connect();
    new.send(client, wrong);
    new.expect_status(client, 429);
}

#[test]
fn a_target_that_is_down_stays_down_without_a_check() {
    let keys = config("", &service(TWO, CHECKED));
    let mut old = World::with(&keys);
    check(&mut old, 1);
    assert_eq!(places(&mut old, 3, 9), [2, 2, 2]);
    let mut new = old.upgrade(&keys);
    assert_eq!(places(&mut new, 3, 9), [2, 2, 2], "before any check");
    assert!(new.reports.is_empty(), "{:?}", new.reports);
    check(&mut new, 9);
    let mut served = places(&mut new, 30, 9);
    served.dedup();
    assert!(served.contains(&1), "a check brings it back");
    // Without health checks the target could not come back.
    let mut new = old.upgrade(&config("", &service(TWO, EJECTS)));
    assert!(places(&mut new, 2, 9).contains(&1));
    // Other targets and services start without state.
    for (targets, route) in [
        (
            r#""http://10.0.0.1/auth", "http://10.0.0.2:81/auth""#,
            "/auth",
        ),
        (TWO, "/auth/"),
    ] {
        let text = service(targets, CHECKED).replace("\"/auth\"", &format!("\"{route}\""));
        let same = config("", &text);
        let mut new = old.upgrade(&same);
        assert_eq!(places(&mut new, 1, 9), [2], "{same}");
    }
}

#[test]
fn an_ejected_target_stays_ejected_until_its_time_is_over() {
    let keys = config("", &service(TWO, EJECTS));
    let mut old = World::with(&keys);
    old.wait(1_000_000);
    assert!(places(&mut old, 2, 1).contains(&1));
    old.wait(10_000);
    let mut new = old.upgrade(&keys);
    new.wait(19_900);
    assert_eq!(places(&mut new, 2, 9), [2, 2]);
    new.wait(200);
    let mut served = places(&mut new, 25, 9);
    assert!(served.contains(&1), "it returns");
    served.retain(|place| *place == 1);
    assert!(served.len() < 6, "slowly: {}", served.len());
    // During its slow start one failure ejects the target again, also in the next process.
    let mut third = new.upgrade(&keys);
    assert!(places(&mut third, 25, 1).contains(&1));
    assert_eq!(places(&mut third, 2, 9), [2, 2]);
}

#[test]
fn failed_requests_are_taken_over_with_their_clients() {
    let passive = r#""passiveHealth": { "failures": 2, "window": "30s" }, "retries": 0"#;
    for name in [false, true] {
        let targets = if name {
            r#""http://auth.internal/auth""#
        } else {
            TWO
        };
        let keys = config("", &service(targets, passive));
        let resolve = |world: &mut World| {
            if name {
                world.resolve(0, &[address(1), address(2)]);
            }
        };
        let mut old = World::with(&keys);
        resolve(&mut old);
        // The response breaks off, which counts against the target once for each client.
        let fail = |world: &mut World, client: u8| {
            let client = world.connect_from(IpAddr::from([192, 0, 2, client]));
            loop {
                world.send(client, get("/auth"));
                let is_first = dialed(world) == 1;
                let origin = world.accept();
                if is_first {
                    world.finish_upstream(origin);
                    world.expect_status(client, 502);
                    return;
                }
                world.reply(origin, OK);
                world.expect_status(client, 200);
            }
        };
        fail(&mut old, 1);
        old.wait(10_000);
        let mut new = old.upgrade(&keys);
        resolve(&mut new);
        fail(&mut new, 1);
        assert!(places(&mut new, 2, 9).contains(&1), "the same client");
        let mut new = old.upgrade(&keys);
        resolve(&mut new);
        fail(&mut new, 2);
        assert_eq!(places(&mut new, 2, 9), [2, 2], "the second failure");
        let mut new = old.upgrade(&keys);
        resolve(&mut new);
        new.wait(20_100);
        fail(&mut new, 2);
        assert!(places(&mut new, 2, 9).contains(&1), "the window is over");
    }
}

#[test]
fn addresses_of_names_are_taken_over() {
    let of = |target: &str| config("", &service(&format!("\"{target}\""), "\"retries\": 0"));
    let keys = of("http://auth.internal/auth");
    let mut old = World::with(&keys);
    old.resolve(0, &[address(1)]);
    let mut new = old.upgrade(&keys);
    assert_eq!(places(&mut new, 1, 9), [1], "before any answer");
    new.resolve(0, &[]);
    assert_eq!(places(&mut new, 1, 9), [1], "the look-up has failed");
    let mut third = new.upgrade(&keys);
    third.resolve(0, &[address(2)]);
    assert_eq!(places(&mut third, 1, 9), [2], "an answer replaces them");
    for other in ["http://auth.internal:81/auth", "http://auth.other/auth"] {
        let mut new = old.upgrade(&of(other));
        let client = new.connect();
        new.send(client, get("/auth"));
        new.expect_no_dial();
    }
}

#[test]
fn many_names_go_in_pieces() {
    let services = (0..2_000).map(|number| {
        format!(r#"{{ "route": "/{number}", "target": "http://{number}.internal" }}"#)
    });
    let keys = config("", &services.collect::<Vec<_>>().join(","));
    let mut old = World::with(&keys);
    (0..2_000).for_each(|target| old.resolve(target, &[address(1)]));
    let mut new = World::with(&keys);
    let mut export = Export::begin(&old.proxy, old.now);
    let mut pieces = Vec::new();
    let mut known = 0;
    while let Some(piece) = export.next(&old.proxy) {
        pieces.push(piece.names.len());
        known += import(&mut new.proxy, piece, new.now).names;
    }
    assert_eq!((known, pieces.iter().sum()), (2_000, 2_000));
    assert!(pieces.iter().all(|piece| *piece < 1_000), "{pieces:?}");
}

#[test]
fn the_health_of_a_name_waits_for_its_addresses() {
    let keys = config("", &service(r#""http://auth.internal/auth""#, CHECKED));
    let mut old = World::with(&keys);
    old.resolve(0, &[address(1), address(2)]);
    check(&mut old, 1);
    let mut new = old.upgrade(&keys);
    new.resolve(0, &[]);
    new.resolve(0, &[address(2), address(3), address(1)]);
    let mut served = places(&mut new, 4, 9);
    served.sort_unstable();
    assert_eq!(served, [2, 2, 3, 3]);
    // After a lookup, an address that comes back counts as new.
    new.resolve(0, &[address(2)]);
    new.resolve(0, &[address(2), address(1)]);
    assert!(places(&mut new, 30, 9).contains(&1));
    // An address that the name has lost is forgotten.
    let mut new = old.upgrade(&keys);
    new.resolve(0, &[address(2)]);
    new.resolve(0, &[address(1)]);
    assert_eq!(places(&mut new, 1, 9), [1]);
}

#[test]
fn empty_state_is_not_written() {
    let keys = config(
        "\"rateLimit\": { \"requests\": 2 },",
        &service(TWO, CHECKED),
    );
    let mut world = World::with(&keys);
    check(&mut world, 9);
    let mut export = Export::begin(&world.proxy, world.now);
    while let Some(state) = export.next(&world.proxy) {
        assert!(
            state.tables.is_empty() && state.health.is_empty(),
            "{state:?}"
        );
    }
}

/// No piece takes longer than the gateway may stop for, however many clients there are. Requests
/// between two pieces change nothing of the others.
#[test]
fn many_windows_go_in_pieces() {
    const CLIENTS: u32 = 9_000;
    let keys = config(
        r#""rateLimit": { "requests": 1 }, "trustedProxies": ["192.0.2.1"],"#,
        &service(TWO, EJECTS),
    );
    let visit = |world: &mut World, proxy, number: u32, wanted| {
        let client = IpAddr::from((0x0a01_0000 + number).to_be_bytes());
        world.send(
            proxy,
            format!("GET /other HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For: {client}\r\n\r\n"),
        );
        world.expect_status(proxy, wanted);
    };
    let mut old = World::with(&keys);
    let proxy = old.connect();
    (0..CLIENTS).for_each(|number| visit(&mut old, proxy, number, 404));
    let mut new = World::with(&keys);
    let mut export = Export::begin(&old.proxy, old.now);
    let mut pieces = Vec::new();
    while let Some(piece) = export.next(&old.proxy) {
        let windows = piece.tables.iter().map(|table| table.windows.len());
        pieces.push(windows.sum::<usize>());
        import(&mut new.proxy, piece, new.now);
        old.wait(40);
        visit(&mut old, proxy, CLIENTS + pieces.len() as u32, 404);
    }
    assert_eq!(pieces, [2_048, 2_048, 2_048, 2_048, 808]);
    let proxy = new.connect();
    for number in [0, 2_047, 2_048, CLIENTS - 1] {
        visit(&mut new, proxy, number, 429);
    }
    visit(&mut new, proxy, CLIENTS + 1, 404);
}

#[test]
fn the_health_of_many_addresses_goes_in_pieces() {
    let services = (0..1_000).map(|number| {
        let keys = r#""healthCheck": { "path": "/", "interval": "10s", "fall": 1 }"#;
        format!(r#"{{ "route": "/{number}", "target": "http://10.0.0.1", {keys} }}"#)
    });
    let keys = config("", &services.collect::<Vec<_>>().join(","));
    let mut old = World::with(&keys);
    for _ in 0..20 {
        check(&mut old, 1);
    }
    let mut new = World::with(&keys);
    let mut export = Export::begin(&old.proxy, old.now);
    let mut pieces = Vec::new();
    let mut known = 0;
    while let Some(piece) = export.next(&old.proxy) {
        pieces.push(piece.health.len());
        known += import(&mut new.proxy, piece, new.now).health;
    }
    assert_eq!((known, pieces.iter().sum()), (1_000, 1_000));
    assert!(
        pieces.len() > 1 && pieces.iter().all(|piece| *piece < 1_000),
        "{pieces:?}"
    );
}
