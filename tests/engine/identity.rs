//! Identity decides what a reload keeps: rows of the table in `docs/operations.md`, each with changes that leave the
//! thing the same and changes that make another one of it.

use std::net::IpAddr;

use tollgate::proxy::command::Fault;

use super::script::*;

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
const GET: &str = "GET /auth/1?v=2 HTTP/1.1\r\nHost: gate\r\n\r\n";

/// Returns a configuration with these keys of the top level and services.
fn config(keys: &str, services: &str) -> String {
    format!(r#"{{ {keys} "cors": false, "services": [ {services} ] }}"#)
}

/// Serves one request. Returns the last number of the address that it went to.
#[track_caller]
fn served(world: &mut World, client: Client) -> u8 {
    world.send(client, GET);
    let place = match world.dials.first().expect("a connection is made").1.ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => panic!("{address}"),
    };
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    place
}

/// Returns the status of one request of a client that the gateway answers itself.
#[track_caller]
fn answered(world: &mut World, client: Client, request: &str) -> u16 {
    world.send(client, request);
    let text = world.received(client);
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {text:?}"))
}

const BALANCED: &str = r#"{ "route": "/auth", "targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth"],
    "passiveHealth": { "failures": 1, "window": "10s", "eject": "20s" } }"#;

/// Sends requests until one reaches a target that refuses it, which is ejected. Returns its last number.
#[track_caller]
fn ejected(world: &mut World, client: Client) -> u8 {
    world.send(client, GET);
    let place = world.dials.first().expect("a connection is made").1.ip();
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    match place {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => panic!("{address}"),
    }
}

#[test]
fn health_is_that_of_a_service_its_target_and_its_address() {
    let with = |key: &str| BALANCED.replacen('{', &format!("{{ {key},"), 1);
    for (before, after, is_kept) in [
        (BALANCED.to_owned(), with(r#""retries": 2"#), true),
        (
            BALANCED.to_owned(),
            with(r#""balance": "random-two""#),
            true,
        ),
        (BALANCED.to_owned(), with(r#""rateLimit": false"#), true),
        (BALANCED.to_owned(), BALANCED.replace("20s", "21s"), true),
        // The targets change their places.
        (
            BALANCED.to_owned(),
            BALANCED
                .replace("10.0.0.1", "10.0.0.3")
                .replace("10.0.0.2", "10.0.0.1")
                .replace("10.0.0.3", "10.0.0.2"),
            true,
        ),
        (
            BALANCED.to_owned(),
            BALANCED.replace(r#""/auth""#, r#""/""#),
            false,
        ),
        (BALANCED.to_owned(), with(r#""hosts": ["gate"]"#), false),
        (
            with(r#""hosts": ["gate"]"#),
            with(r#""hosts": ["gate", "b"]"#),
            false,
        ),
        (BALANCED.to_owned(), with(r#""methods": ["GET"]"#), false),
        (
            with(r#""methods": ["GET"]"#),
            with(r#""methods": ["GET", "PUT"]"#),
            false,
        ),
        (
            BALANCED.to_owned(),
            with(r#""match": { "query": { "v": "2" } }"#),
            false,
        ),
        // Another port is another target.
        (
            BALANCED.to_owned(),
            BALANCED
                .replace("10.0.0.1/", "10.0.0.1:81/")
                .replace("10.0.0.2/", "10.0.0.2:81/"),
            false,
        ),
    ] {
        let mut world = World::with(&config(r#""rateLimit": false,"#, &before));
        let client = world.connect();
        let bad = ejected(&mut world, client);
        world.reload(&config(r#""rateLimit": false,"#, &after));
        let places = (0..12)
            .map(|_| served(&mut world, client))
            .collect::<Vec<_>>();
        assert_eq!(
            !places.contains(&bad),
            is_kept,
            "{before} => {after}: {bad} of {places:?}"
        );
    }
}

#[test]
fn a_slow_start_goes_on() {
    let changed = BALANCED.replacen('{', r#"{ "retries": 2,"#, 1);
    for (after, most) in [
        (BALANCED, 20),
        (&*changed, 20),
        (&changed.replace(r#""/auth""#, r#""/""#), 110),
    ] {
        let mut world = World::with(&config(r#""rateLimit": false,"#, BALANCED));
        let client = world.connect();
        let bad = ejected(&mut world, client);
        world.wait(20_000);
        world.reload(&config(r#""rateLimit": false,"#, after));
        let slow = (0..110)
            .filter(|_| served(&mut world, client) == bad)
            .count();
        assert!(slow > 0 && slow <= most, "{after}: {slow} of 110");
        assert!(
            most == 20 || slow > 20,
            "another service begins at once: {slow} of 110"
        );
    }
}

/// A target keeps what the DNS said of its name, whatever its service becomes.
#[test]
fn addresses_of_a_name_are_those_of_the_target() {
    let named = r#"{ "route": "/auth", "target": "http://users.test/auth" }"#;
    for (after, is_kept) in [
        (named.to_owned(), true),
        (named.replace("/auth\" }", "/else\" }"), true),
        (
            named.replace(" }", r#", "retries": 2, "preserveHost": true }"#),
            true,
        ),
        (named.replace("users.test", "users.test:81"), false),
        (named.replace("users.test", "others.test"), false),
    ] {
        let mut world = World::with(&config(r#""rateLimit": false,"#, named));
        let client = world.connect();
        world.send(client, GET);
        world.resolve(0, &["10.0.0.7:80".parse().expect("an address")]);
        let origin = world.accept();
        world.reply(origin, OK);
        world.expect_status(client, 200);
        world.lookups.clear();
        world.reload(&config(r#""rateLimit": false,"#, &after));
        if is_kept {
            assert_eq!(served(&mut world, client), 7, "{after}");
            assert!(world.lookups.is_empty(), "{after}");
        } else {
            world.send(client, GET);
            world.expect_no_dial();
            assert_eq!(world.lookups.len(), 1, "{after}");
        }
    }
}

#[test]
fn rate_windows_are_those_of_the_top_level_or_of_a_service() {
    let top = |keys: &str| {
        let service = r#"{ "route": "/auth", "respond": { "status": 204 } }"#;
        config(
            &format!(r#""rateLimit": {{ "requests": 1, {keys} }},"#),
            service,
        )
    };
    let own = |service: &str| {
        let limit =
            r#""respond": { "status": 204 }, "rateLimit": { "requests": 1, "window": "60s" }"#;
        config(
            r#""rateLimit": false,"#,
            &format!("{{ {service}, {limit} }}"),
        )
    };
    let prefix = |length: u8| top(&format!(r#""window": "60s", "ipv6Prefix": {length}"#));
    let auth = own(r#""route": "/auth""#);
    for (before, after, expected) in [
        (prefix(64), prefix(64), 429),
        (prefix(64), prefix(56), 204),
        (
            top(r#""window": "60s""#),
            top(r#""window": "1m", "headers": "x""#),
            429,
        ),
        (top(r#""window": "60s""#), top(r#""window": "61s""#), 204),
        // The limit of the top level and that of a service are two.
        (top(r#""window": "60s""#), auth.clone(), 204),
        (auth.clone(), auth.replace("204 }", "200 }"), 429),
        (
            auth.clone(),
            own(r#""route": "/auth", "securityHeaders": false"#),
            429,
        ),
        (auth.clone(), own(r#""route": "/""#), 204),
        (
            auth.clone(),
            own(r#""route": "/auth", "hosts": ["gate"]"#),
            204,
        ),
        (
            auth.clone(),
            own(r#""route": "/auth", "methods": ["GET"]"#),
            204,
        ),
    ] {
        let mut world = World::with(&before);
        let client = world.connect_from("2001:db8::1".parse().expect("an address"));
        assert_eq!(answered(&mut world, client, GET), 204);
        assert_eq!(answered(&mut world, client, GET), 429);
        world.reload(&after);
        assert_eq!(
            answered(&mut world, client, GET),
            expected,
            "{before} => {after}"
        );
    }
}

/// New limits are for new work: nothing that is there is cut.
#[test]
fn a_smaller_limit_of_connections_cuts_none() {
    let auth = r#"{ "route": "/auth", "target": "http://10.0.0.1/auth" }"#;
    let limited = |keys: &str| {
        config(
            &format!(r#""rateLimit": false, "limits": {{ {keys} }},"#),
            auth,
        )
    };
    for smaller in [
        r#""connections": 1"#,
        r#""connections": 64, "connectionsPerClient": 1"#,
    ] {
        let mut world = World::with(&limited(r#""connections": 64"#));
        let busy = [world.connect(), world.connect(), world.connect()];
        let origins = busy.map(|client| {
            world.send(client, GET);
            world.accept()
        });
        world.reload(&limited(smaller));
        for (client, origin) in busy.into_iter().zip(origins) {
            world.expect_open(client);
            world.reply(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            world.expect_status(client, 200);
            world.expect_open(client);
        }
        let late = world.connect();
        assert_eq!(answered(&mut world, late, GET), 503, "{smaller}");
        for (client, origin) in busy.into_iter().zip(origins) {
            world.reply(origin, "hi");
            assert_eq!(world.received(client), "hi", "{smaller}");
        }
    }
}
