//! Reload: state survives if its identity is the same, and each request is served by one edition of
//! the rules.

use super::script::*;
use tollgate::proxy::command::{Fault, Report};
use tollgate::proxy::inspect::upstream_states;

const OK: &str = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi";

/// Returns a configuration with these top-level keys and services. Nothing is added to responses.
fn config(keys: &str, services: &str) -> String {
    let rate = if keys.contains("rateLimit") {
        ""
    } else {
        r#""rateLimit": false,"#
    };
    format!(
        r#"{{ {keys} {rate} "cors": false, "securityHeaders": false, "accessLog": "json", "services": [ {services} ] }}"#
    )
}

/// Returns a service on `/auth` with this target and further keys.
fn auth(host: u8, keys: &str) -> String {
    format!(r#"{{ "route": "/auth", "target": "http://10.0.0.{host}/auth" {keys} }}"#)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n")
}

/// Returns the last number of the address that the engine connects to next.
#[track_caller]
fn dialed(world: &World) -> u8 {
    let address = world.dials.first().expect("a connection is being made").1;
    match address.ip() {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(_) => panic!("{address}"),
    }
}

/// Serves a request on a new connection. Returns the connection and the last number of the address.
#[track_caller]
fn serve(world: &mut World, client: Client, path: &str) -> (Origin, u8) {
    world.send(client, get(path));
    let place = dialed(world);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    (origin, place)
}

// --- clients ---

#[test]
fn an_idle_client_stays_and_its_next_request_is_judged_by_the_new_rules() {
    let mut world = World::with(&config("", &auth(1, "")));
    let client = world.connect();
    serve(&mut world, client, "/auth/1");
    world.reload(&config(
        "",
        r#"{ "route": "/users", "target": "http://10.0.0.2/users" }"#,
    ));
    world.expect_open(client);
    world.send(client, get("/auth/1"));
    let text = world.expect_status(client, 404);
    assert!(!text.contains("Connection: close"), "{text}");
    world.expect_open(client);
    assert_eq!(serve(&mut world, client, "/users/1").1, 2);
}

#[test]
fn a_head_that_is_cut_by_the_reload_is_judged_by_the_new_rules() {
    for cut in 1..get("/auth/1").len() {
        let mut world = World::with(&config("", &auth(1, "")));
        let client = world.connect();
        world.send(client, &get("/auth/1")[..cut]);
        world.reload(&config("", &auth(2, "")));
        world.send(client, &get("/auth/1")[cut..]);
        assert_eq!(dialed(&world), 2, "cut at {cut}");
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.expect_quiet();
    }
}

// --- requests in flight ---

#[test]
fn a_request_ends_under_the_rules_that_it_began_with() {
    let old = r#"{ "accessLog": "json", "rateLimit": false, "cors": false, "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth", "timeouts": { "response": "1s" } } ] }"#;
    for cut in 0..OK.len() {
        let mut world = World::with(old);
        let client = world.connect();
        world.send(client, get("/auth/1"));
        let origin = world.accept();
        assert!(world.received_upstream(origin).starts_with("GET /auth/1 "));
        world.reply(origin, &OK[..cut]);
        let before = world.received(client);
        world.reload(&config(
            "",
            r#"{ "route": "/other", "target": "http://10.0.0.9" }"#,
        ));
        world.reply(origin, &OK[cut..]);
        let text = before + &world.received(client);
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n"),
            "cut at {cut}: {text}"
        );
        assert!(
            text.contains("X-Frame-Options"),
            "the security headers of its edition: {text}"
        );
        assert!(
            text.ends_with("hi") && !text.contains("Connection: close"),
            "{text}"
        );
        world.expect_open(client);
        assert!(
            world.closed_upstream(origin),
            "its target is gone, and so is its connection"
        );
        let log = world.log().join("");
        assert!(
            log.contains(r#""service":"/auth""#) && log.contains(r#""target":"10.0.0.1""#),
            "{log}"
        );
        world.expect_quiet();
    }
}

#[test]
fn a_timeout_of_its_edition_ends_a_request() {
    let timeout = r#", "timeouts": { "response": "1s" }"#;
    let mut world = World::with(&config("", &auth(1, timeout)));
    let client = world.connect();
    world.send(client, get("/auth/1"));
    world.accept();
    world.reload(&config(
        "",
        &auth(1, r#", "timeouts": { "response": "9s" }"#),
    ));
    world.wait(1200);
    world.expect_status(client, 504);
}

#[test]
fn no_retry_goes_to_a_target_that_is_gone_or_new() {
    let two = |hosts: [u8; 2]| {
        let urls = hosts
            .map(|host| format!("\"http://10.0.0.{host}/auth\""))
            .join(",");
        format!(r#"{{ "route": "/auth", "targets": [{urls}], "retries": 3 }}"#)
    };
    let mut world = World::with(&config("", &two([1, 2])));
    let client = world.connect();
    world.send(client, get("/auth/1"));
    let first = dialed(&world);
    world.reload(&config("", &two([first, 3])));
    world.refuse(Fault::Refused);
    world.expect_status(client, 502);
    world.expect_no_dial();
    // Without a reload the request goes on to the other target.
    let mut world = World::with(&config("", &two([1, 2])));
    let client = world.connect();
    world.send(client, get("/auth/1"));
    let first = dialed(&world);
    world.refuse(Fault::Refused);
    assert_eq!(dialed(&world), 3 - first);
}

/// The number of a target that has left a service becomes that of a new one when no request of the
/// edition before is left. Another service still has the target, and so its address stays known.
#[test]
fn requests_go_to_the_targets_of_the_file_alone() {
    let two = |hosts: [u8; 2]| {
        let urls = hosts
            .map(|host| format!("\"http://10.0.0.{host}/auth\""))
            .join(",");
        let all = [1, 2, 3, 4, 5, 6].map(|host| format!("\"http://10.0.0.{host}/all\""));
        format!(
            r#"{{ "route": "/auth", "targets": [{urls}] }}, {{ "route": "/all", "targets": [{}] }}"#,
            all.join(",")
        )
    };
    let mut world = World::with(&config("", &two([1, 2])));
    let client = world.connect();
    for hosts in [[1, 2], [1, 3], [4, 3], [5, 6]] {
        world.reload(&config("", &two(hosts)));
        // A target that comes while others serve starts slowly, so not each one has its share.
        for _ in 0..4 {
            let answer = "HTTP/1.1 204 No Content\r\nDate: x\r\nConnection: close\r\n\r\n";
            world.send(client, get("/auth/1"));
            let place = dialed(&world);
            assert!(hosts.contains(&place), "{place} is none of {hosts:?}");
            let origin = world.accept();
            world.reply(origin, answer);
            world.expect_status(client, 204);
        }
    }
}

#[test]
fn a_retry_goes_to_a_target_that_stayed() {
    let two = |hosts: [u8; 2], keys: &str| {
        let urls = hosts
            .map(|host| format!("\"http://10.0.0.{host}/auth\""))
            .join(",");
        format!(r#"{{ "route": "/auth", "targets": [{urls}], "retries": 3 {keys} }}"#)
    };
    for (hosts, keys) in [
        ([2, 1], ""),
        ([1, 2], r#", "balance": "least-connections""#),
    ] {
        let mut world = World::with(&config("", &two([1, 2], "")));
        let client = world.connect();
        world.send(client, get("/auth/1"));
        let first = dialed(&world);
        world.reload(&config("", &two(hosts, keys)));
        world.refuse(Fault::Refused);
        assert_eq!(dialed(&world), 3 - first);
        let origin = world.accept();
        assert!(
            world
                .received_upstream(origin)
                .contains(&format!("Host: 10.0.0.{}\r\n", 3 - first))
        );
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.expect_quiet();
    }
}

/// A small body is gathered before a connection is chosen. Its target may be removed meanwhile,
/// from its service or completely. If one of two targets stays, it gets the request. If none stays,
/// a removed one gets it.
#[test]
fn a_request_whose_body_came_slowly_goes_to_a_target_of_its_edition() {
    let service = |route: &str, hosts: &[u8]| {
        let urls: Vec<_> = hosts
            .iter()
            .map(|host| format!("\"http://10.0.0.{host}/auth\""))
            .collect();
        format!(
            r#"{{ "route": "{route}", "targets": [{}] }}"#,
            urls.join(",")
        )
    };
    for (before, after, other, place) in [
        (&[1][..], &[1][..], 9, 1),
        (&[1, 2], &[2, 3], 9, 2),
        (&[1, 2], &[3, 4], 9, 1),
        (&[1], &[2, 3], 1, 1),
        (&[1], &[2], 1, 1),
        (&[1], &[2], 9, 1),
        (&[1], &[2, 3], 9, 1),
    ] {
        let mut world = World::with(&config("", &service("/auth", before)));
        let client = world.connect();
        world.send(
            client,
            "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nh",
        );
        let services = [service("/auth", after), service("/other", &[other])];
        world.reload(&config("", &services.join(",")));
        world.send(client, "i");
        assert_eq!(dialed(&world), place, "{before:?} {after:?}");
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        let is_gone = !after.contains(&place) && other != place;
        assert_eq!(world.closed_upstream(origin), is_gone);
        world.expect_quiet();
    }
}

#[test]
fn a_request_that_waits_for_a_name_goes_on_although_the_target_is_gone() {
    let named = r#"{ "route": "/auth", "target": "http://users.test/auth" }"#;
    for later in [
        auth(2, ""),
        r#"{ "route": "/other", "target": "http://10.0.0.9" }"#.to_owned(),
    ] {
        let mut world = World::with(&config("", named));
        let client = world.connect();
        world.send(client, get("/auth/1"));
        world.reload(&config("", &later));
        world.resolve(0, &["10.0.0.7:80".parse().expect("an address")]);
        assert_eq!(dialed(&world), 7);
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        assert!(world.closed_upstream(origin));
        world.expect_quiet();
        world.wait(60_000);
        assert_eq!(world.lookups, [0], "the name is not looked up again");
    }
}

#[test]
fn a_request_whose_body_comes_slowly_goes_to_its_target_although_that_is_gone() {
    let named = r#"{ "route": "/auth", "target": "http://users.test/auth" }"#.to_owned();
    for old in [auth(1, ""), named] {
        for new in [
            auth(2, ""),
            r#"{ "route": "/other", "target": "http://10.0.0.9" }"#.to_owned(),
        ] {
            let mut world = World::with(&config("", &old));
            let client = world.connect();
            world.send(
                client,
                "POST /auth/1 HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhe",
            );
            world.expect_no_dial();
            world.reload(&config("", &new));
            if old.contains("users.test") {
                world.resolve(0, &["10.0.0.1:80".parse().expect("an address")]);
            }
            world.send(client, "llo");
            assert_eq!(dialed(&world), 1);
            let origin = world.accept();
            assert!(world.received_upstream(origin).ends_with("hello"));
            world.reply(origin, OK);
            world.expect_status(client, 200);
            assert!(world.closed_upstream(origin), "its target is gone");
            world.expect_quiet();
        }
    }
}

#[test]
fn a_client_that_leaves_lets_its_target_go() {
    let mut world = World::with(&config("", &auth(1, "")));
    let client = world.connect();
    world.send(
        client,
        "POST /auth/1 HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhe",
    );
    world.reload(&config("", &auth(2, "")));
    world.reset(client);
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn a_health_check_of_a_target_that_is_gone_leaves_nothing_behind() {
    let checked = |host: u8| {
        auth(
            host,
            r#", "healthCheck": { "path": "/health", "interval": "1s" }"#,
        )
    };
    let mut world = World::with(&config("", &checked(1)));
    world.wait(600);
    assert_eq!(dialed(&world), 1);
    world.reload(&config("", &auth(2, "")));
    world.refuse(Fault::Refused);
    world.expect_quiet();
}

// --- targets ---

#[test]
fn the_pool_of_a_target_is_kept_and_that_of_another_closes_at_once() {
    let services = |host: u8, keys: &str| {
        format!(
            r#"{}, {{ "route": "/b", "target": "http://10.0.0.{host}/b" }}"#,
            auth(1, keys)
        )
    };
    let mut world = World::with(&config("", &services(2, "")));
    let client = world.connect();
    let (kept, _) = serve(&mut world, client, "/auth/1");
    let (gone, _) = serve(&mut world, client, "/b/1");
    world.reload(&config(
        "",
        &services(3, r#", "retries": 1, "preserveHost": true"#),
    ));
    assert!(!world.closed_upstream(kept) && world.closed_upstream(gone));
    world.send(client, get("/auth/2"));
    world.expect_no_dial();
    assert!(world.received_upstream(kept).contains("Host: gate"));
    world.reply(kept, OK);
    world.expect_status(client, 200);
}

#[test]
fn a_busy_connection_to_a_target_that_is_gone_closes_when_it_is_done() {
    let mut world = World::with(&config("", &auth(1, "")));
    let client = world.connect();
    world.send(client, get("/auth/1"));
    let origin = world.accept();
    world.reload(&config("", &auth(2, "")));
    assert!(!world.closed_upstream(origin));
    world.reply(origin, OK);
    world.expect_status(client, 200);
    assert!(world.closed_upstream(origin));
    world.expect_open(client);
}

// --- health ---

#[test]
fn health_is_kept_with_service_target_and_address() {
    let checked = |hosts: &[u8], keys: &str| {
        let urls = hosts
            .iter()
            .map(|host| format!("\"http://10.0.0.{host}/auth\""));
        let urls = urls.collect::<Vec<_>>().join(",");
        format!(
            r#"{{ "route": "/auth", "targets": [{urls}], "passiveHealth": {{ "failures": 1, "window": "10s", "eject": "30s" }} {keys} }}"#
        )
    };
    let mut world = World::with(&config("", &checked(&[1, 2], "")));
    let client = world.connect();
    // One of the two targets is ejected.
    world.send(client, get("/auth/1"));
    let bad = dialed(&world);
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.finish_upstream(origin);
    let changed = checked(&[2, 1, 3], r#", "retries": 2"#).replace("/auth\"", "/else\"");
    world.reload(&config(
        "",
        &changed.replace(r#""route": "/else""#, r#""route": "/auth""#),
    ));
    for _ in 0..6 {
        world.send(client, get("/auth/1"));
        assert_ne!(dialed(&world), bad, "it is ejected still");
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.finish_upstream(origin);
    }
    let ejections = world
        .reports
        .iter()
        .filter(|report| matches!(report, Report::Health { .. }));
    assert_eq!(ejections.count(), 1, "{:?}", world.reports);
}

/// Numbers of checks that a change of state takes are those of the new file, and the state is kept.
#[test]
fn health_is_kept_when_rise_and_fall_change() {
    let checked = |rise: u8, fall: u8| {
        auth(
            1,
            &format!(
                r#", "healthCheck": {{ "path": "/", "interval": "1s", "rise": {rise}, "fall": {fall} }}"#
            ),
        )
    };
    let mut world = World::with(&config("", &checked(1, 1)));
    let client = world.connect();
    let status = |world: &mut World| {
        world.send(client, get("/auth/1"));
        let text = world.received(client);
        text.get(9..12).map(str::to_owned).unwrap_or_default()
    };
    for _ in 0..30 {
        world.wait(100);
        while !world.dials.is_empty() {
            world.refuse(Fault::Refused);
        }
    }
    assert_eq!(status(&mut world), "503");
    world.reload(&config("", &checked(2, 3)));
    assert_eq!(status(&mut world), "503", "it is down still");
    for expected in ["503", ""] {
        while world.dials.is_empty() {
            world.wait(100);
        }
        let origin = world.accept();
        world.reply(origin, OK);
        assert_eq!(status(&mut world), expected, "two good checks are needed");
    }
}

// --- tunnels ---

#[test]
fn a_tunnel_goes_on_with_the_time_of_its_start() {
    let timed = |host, time: &str| {
        config(
            "",
            &auth(host, &format!(r#", "timeouts": {{ "tunnel": {time} }}"#)),
        )
    };
    for after in ["\"10s\"", "\"1000s\"", "false"] {
        let mut world = World::with(&timed(1, "\"100s\""));
        let client = world.connect();
        world.send(
            client,
            "GET /auth HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let origin = world.accept();
        world.reply(
            origin,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        world.expect_status(client, 101);
        world.take_upstream(origin);
        world.reload(&timed(2, after));
        for _ in 0..3 {
            world.wait(99_000);
            world.send(client, "frame");
            world.expect_upstream(origin, "frame");
            world.reply(origin, "answer");
            world.expect(client, "answer");
        }
        world.wait(101_000);
        assert!(
            world.closed(client).is_some() && world.closed_upstream(origin),
            "{after}"
        );
    }
}

// --- rate windows ---

/// A smaller `maxClients` forgets the clients that came first.
#[test]
fn fewer_clients_are_the_newest_ones() {
    let limit = |most: u32| {
        let keys = format!(r#""rateLimit": {{ "requests": 1, "maxClients": {most} }},"#);
        config(&keys, &auth(1, ""))
    };
    let mut world = World::with(&limit(9));
    let clients = (1..=9).map(|last| world.connect_from([192, 0, 2, last].into()));
    let clients = clients.collect::<Vec<_>>();
    let status = |world: &mut World, client: Client| {
        world.send(client, get("/other"));
        let text = world.received(client);
        text.get(9..12).map(str::to_owned).unwrap_or_default()
    };
    for client in &clients {
        assert_eq!(status(&mut world, *client), "404");
        world.wait(10);
    }
    world.reload(&limit(4));
    for client in &clients[5..] {
        assert_eq!(status(&mut world, *client), "429", "the newest four");
    }
    assert_eq!(status(&mut world, clients[0]), "404", "forgotten");
}

#[test]
fn rate_windows_are_kept_while_window_and_prefix_are() {
    let limit = |requests: u32, window: &str| {
        format!(r#""rateLimit": {{ "requests": {requests}, "window": "{window}" }},"#)
    };
    let mut world = World::with(&config(&limit(2, "60s"), &auth(1, "")));
    let client = world.connect();
    let count = |world: &mut World| {
        world.send(client, get("/other"));
        let text = world.received(client);
        text.split(' ')
            .nth(1)
            .map(str::to_owned)
            .unwrap_or_default()
    };
    assert_eq!(
        [count(&mut world), count(&mut world), count(&mut world)],
        ["404", "404", "429"]
    );
    world.reload(&config(&limit(3, "60s"), &auth(2, "")));
    assert_eq!(
        [count(&mut world), count(&mut world)],
        ["404", "429"],
        "two were counted before"
    );
    world.reload(&config(&limit(3, "61s"), &auth(2, "")));
    assert_eq!(count(&mut world), "404", "another window begins empty");
}

// --- editions ---

#[test]
fn eight_editions_live_at_most() {
    let mut world = World::with(&config("", &auth(1, "")));
    let mut waiting = Vec::new();
    for host in 2..10 {
        let client = world.connect();
        world.send(client, get("/auth/1"));
        waiting.push((client, world.accept()));
        let is_room = waiting.len() < 8;
        assert_eq!(world.try_reload(&config("", &auth(host, ""))), is_room);
    }
    // A response head releases its edition.
    let (client, origin) = waiting[3];
    world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123");
    world.expect_status(client, 200);
    world.reload(&config("", &auth(9, "")));
    for (client, origin) in waiting {
        world.reply(origin, OK);
        let _ = world.received(client);
    }
    world.expect_quiet();
}

#[test]
fn memory_is_flat_over_ten_thousand_reloads() {
    let two = |first: u8, second: u8| {
        format!(
            r#"{{ "route": "/auth", "targets": ["http://10.0.0.{first}/auth", "http://10.0.0.{second}/auth"] }},
               {{ "route": "/r{first}", "target": "http://name{second}.test" }}"#
        )
    };
    let mut world = World::with(&config("", &two(1, 2)));
    let client = world.connect();
    let mut stream = None;
    for round in 0..10_000_u32 {
        let [first, second] = [round % 3 + 1, round % 5 + 10].map(|host| host as u8);
        world.reload(&config("", &two(first, second)));
        world.lookups.clear();
        if round % 100 == 0 {
            let (origin, _) = serve(&mut world, client, "/auth/1");
            stream.get_or_insert(origin);
        }
    }
    let held = world.proxy.holdings();
    assert!(held.upstreams <= 2 && held.clients == 1, "{held:?}");
    // There are two services with three destinations, and their three targets.
    assert_eq!(upstream_states(&world.proxy), 8);
}

#[test]
fn a_request_keeps_the_state_of_its_own_edition_and_of_none_between() {
    let two = |host: u8| {
        format!(
            r#"{{ "route": "/auth", "target": "http://10.0.0.{host}/auth" }},
               {{ "route": "/r{host}", "target": "http://name{host}.test" }}"#
        )
    };
    let mut world = World::with(&config("", &two(1)));
    let client = world.connect();
    world.send(client, get("/auth/1"));
    let origin = world.accept();
    for round in 0..100 {
        world.reload(&config("", &two(round % 50 + 2)));
        world.lookups.clear();
        // Both editions have two services with one destination each, and two targets. One service
        // is in both: its destination counts once.
        let held = upstream_states(&world.proxy);
        assert!(held <= 6 + 5, "{held} after {round} reloads");
    }
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.reload(&config("", &two(1)));
    // The service in both editions keeps the slot of its second destination.
    assert_eq!(upstream_states(&world.proxy), 6 + 1);
}
