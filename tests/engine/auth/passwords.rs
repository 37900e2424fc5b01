//! Basic authentication: a helper thread verifies the password while the request waits.

use tollgate::policy::auth::base64::encode;

use super::*;

/// Users ann:secret and bob:hunter2, each with two iterations.
const PEOPLE: &str = r#""people": { "type": "basic", "users": {
    "ann": "pbkdf2-sha256:2:c2FsdA:ANN", "bob": "pbkdf2-sha256:2:c2FsdA:BOB" } }"#;

fn world() -> World {
    world_with("")
}

/// `keys`: further top-level keys.
fn world_with(keys: &str) -> World {
    let hash = |password: &str| {
        let mut out = [0; 32];
        let twice = std::num::NonZeroU32::new(2).expect("two");
        ring::pbkdf2::derive(
            ring::pbkdf2::PBKDF2_HMAC_SHA256,
            twice,
            b"salt",
            password.as_bytes(),
            &mut out,
        );
        encode_url(&out)
    };
    let people = PEOPLE
        .replace("ANN", &hash("secret"))
        .replace("BOB", &hash("hunter2"));
    guarded(
        r#""auth": "people""#,
        &format!("{people} }}, {keys} \"halfClose\": false, \"limits\": {{"),
    )
}

fn basic(pair: &str) -> String {
    get(&format!(
        "Authorization: Basic {}\r\n",
        encode(pair.as_bytes())
    ))
}

#[test]
fn a_password_is_verified_once_in_a_while() {
    let mut world = world();
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    world.expect_no_dial();
    world.expect_silence(client);
    assert!(world.verify());
    passes(&mut world, client);
    assert!(world.log()[0].starts_with("192.0.2.1 - ann ["));
    // The credential cache is shared by all clients.
    world.wait(59_999);
    let other = world.connect();
    world.send(other, basic("ann:secret"));
    passes(&mut world, other);
    // Each use renews the entry.
    world.wait(60_000);
    world.send(other, basic("ann:secret"));
    world.expect_no_dial();
    assert!(world.verify());
    passes(&mut world, other);
    world.expect_quiet();
}

/// A JSON line names the users that were accepted; the combined one has any name, as nginx does.
#[test]
fn a_json_line_names_no_user_that_was_not_accepted() {
    for (form, accepted, refused) in [
        ("json", r#""user":"ann""#, r#""user":null"#),
        ("combined", " - ann [", " - ann ["),
    ] {
        let mut world = world_with(&format!(r#""accessLog": "{form}","#));
        for (pair, expected) in [("ann:secret", accepted), ("ann:wrong", refused)] {
            let client = world.connect();
            world.send(client, basic(pair));
            assert_eq!(world.verify(), pair == "ann:secret");
            if pair == "ann:secret" {
                passes(&mut world, client);
            } else {
                world.expect_status(client, 401);
            }
            let line = world.log().pop().expect("a line");
            assert!(line.contains(expected), "{form}, {pair}: {line}");
        }
    }
}

/// A JSON line names an API key by its name in the file, never by its value.
#[test]
fn a_json_line_has_the_name_of_an_api_key() {
    let keys = r#""keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "billing": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } }"#;
    let config = guarded_config(r#""auth": "keys""#, keys);
    let mut world = World::with(&config.replacen('{', r#"{ "accessLog": "json","#, 1));
    for (key, user) in [("abc", r#""user":"billing""#), ("abd", r#""user":null"#)] {
        let client = world.connect();
        world.send(client, get(&format!("X-Key: {key}\r\n")));
        if key == "abc" {
            passes(&mut world, client);
        } else {
            world.expect_status(client, 401);
        }
        let line = world.log().pop().expect("a line");
        assert!(line.contains(user) && !line.contains(key), "{key}: {line}");
    }
}

#[test]
fn wrong_ones_are_refused_after_the_same_work() {
    let mut world = world();
    for pair in [
        "ann:Secret",
        "ann:",
        "ann:hunter2",
        "eve:secret",
        ":secret",
        "ann:secret:",
    ] {
        let client = world.connect();
        world.send(client, basic(pair));
        assert!(!world.verify(), "{pair}");
        let answer = refused(&mut world, client, 401);
        assert_eq!(
            challenges(&answer),
            [r#"Basic realm="tollgate", charset="UTF-8""#]
        );
        world.expect_open(client);
    }
    for lines in [
        "",
        "Authorization: Basic !\r\n",
        "Authorization: Basic YW5u\r\n",
        "Authorization: Bearer YW5uOnNlY3JldA==\r\n",
    ] {
        let client = world.connect();
        world.send(client, get(lines));
        refused(&mut world, client, 401);
    }
    assert!(world.passwords.is_empty());
    world.expect_quiet();
}

#[test]
fn a_body_waits_with_its_head_and_the_next_request_follows() {
    let mut world = world();
    world.step = 7;
    let client = world.connect();
    let pair = encode(b"bob:hunter2");
    world.send(
        client,
        format!(
            "POST /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: Basic {pair}\r\nContent-Length: 5\r\n\r\nhello{}",
            basic("eve:x")
        ),
    );
    assert!(world.verify());
    let origin = world.accept();
    assert!(
        world
            .received_upstream(origin)
            .ends_with("Content-Length: 5\r\n\r\nhello")
    );
    world.reply(origin, OK);
    world.expect_status(client, 200);
    assert!(!world.verify());
    refused(&mut world, client, 401);
    world.expect_quiet();
}

#[test]
fn a_100_is_sent_after_authentication() {
    let mut world = world();
    let client = world.connect();
    let pair = encode(b"bob:hunter2");
    world.send(client, format!("POST /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: Basic {pair}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    world.expect_silence(client);
    world.verify();
    world.expect(client, "HTTP/1.1 100 Continue\r\n\r\n");
    world.send(client, "hello");
    world.accept();
    world.finish(client);
    world.expect_quiet();
}

#[test]
fn the_same_password_is_verified_once_at_a_time() {
    let mut world = world();
    let clients = (0..5).map(|_| world.connect()).collect::<Vec<_>>();
    for &client in &clients {
        world.send(client, basic("ann:secret"));
    }
    assert_eq!(world.passwords.len(), 1);
    world.verify();
    for _ in &clients {
        let origin = world.accept();
        world.reply(origin, OK);
    }
    for client in clients {
        world.expect_status(client, 200);
    }
    world.expect_quiet();
}

fn from(world: &mut World, number: u8) -> Client {
    world.connect_from(std::net::IpAddr::from([192, 0, 2, number]))
}

#[test]
fn at_most_thirty_two_passwords_wait() {
    let mut world = world();
    let clients = (0..34)
        .map(|number| from(&mut world, number))
        .collect::<Vec<_>>();
    for (number, &client) in clients.iter().enumerate() {
        world.send(client, basic(&format!("ann:{number}")));
    }
    assert_eq!(world.passwords.len(), 32);
    for &client in &clients[32..] {
        refused_as_busy(&mut world, client, Busy::Passwords, true);
    }
    // A client that leaves does not free its place: the work cannot be cancelled.
    world.finish(clients[0]);
    let client = from(&mut world, 100);
    world.send(client, basic("ann:x"));
    refused_as_busy(&mut world, client, Busy::Passwords, true);
    world.verify();
    let client = from(&mut world, 100);
    world.send(client, basic("ann:secret"));
    assert_eq!(world.passwords.len(), 32);
    for _ in 0..31 {
        assert!(!world.verify());
    }
    for &client in &clients[1..32] {
        refused(&mut world, client, 401);
    }
    assert!(world.verify());
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn a_user_name_of_a_client_has_one_place() {
    let mut world = world();
    let send = |world: &mut World, number: u8, pair: &str| {
        let client = from(world, number);
        world.send(client, basic(pair));
        client
    };
    let first = send(&mut world, 1, "ann:1");
    for guess in 2..5 {
        let client = send(&mut world, 1, &format!("ann:{guess}"));
        refused_as_busy(&mut world, client, Busy::PasswordOfUser, false);
    }
    // Guesses at ann's password lock out neither bob, nor ann elsewhere.
    let bob = send(&mut world, 1, "bob:hunter2");
    let other = send(&mut world, 2, "ann:secret");
    assert_eq!(world.passwords.len(), 3);
    assert_eq!(
        [world.verify(), world.verify(), world.verify()],
        [false, true, true]
    );
    passes(&mut world, bob);
    passes(&mut world, other);
    refused(&mut world, first, 401);
    // The place is free again.
    let again = send(&mut world, 1, "ann:6");
    assert!(!world.verify());
    refused(&mut world, again, 401);
    world.expect_quiet();
}

#[test]
fn a_client_has_half_of_the_free_places_and_two_in_any_case() {
    let mut world = world();
    // One address after the other takes what it can.
    for (number, most) in [(1, 11), (2, 7), (3, 5), (4, 3), (5, 2), (6, 2), (7, 2)] {
        let before = world.passwords.len();
        for user in 0..most {
            let client = from(&mut world, number);
            world.send(client, basic(&format!("user{user}:{number}")));
        }
        assert_eq!(world.passwords.len() - before, most, "{number}");
        let client = from(&mut world, number);
        world.send(client, basic(&format!("another:{number}")));
        match number {
            7 => refused_as_busy(&mut world, client, Busy::Passwords, true),
            _ => refused_as_busy(&mut world, client, Busy::PasswordsOfClient, false),
        }
    }
    for _ in 0..32 {
        assert!(!world.verify());
    }
}

/// A client is an address, or an IPv6 network of 64 bits.
#[test]
fn addresses_of_one_network_share_their_places() {
    let mut world = world();
    let mut send = |address: &str, pair: &str| {
        let client = world.connect_from(address.parse().expect("an address"));
        world.send(client, basic(pair));
        client
    };
    let waiting = [
        send("2001:db8::1", "ann:1"),
        send("2001:db8:0:1::1", "ann:2"),
    ];
    let same = send("2001:db8::3", "ann:3");
    refused_as_busy(&mut world, same, Busy::PasswordOfUser, false);
    assert_eq!(world.passwords.len(), 2);
    for client in waiting {
        assert!(!world.verify());
        refused(&mut world, client, 401);
    }
    world.expect_quiet();
}

#[test]
fn a_pair_that_is_used_is_remembered_for_an_hour() {
    let mut world = world();
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    assert!(world.verify());
    passes(&mut world, client);
    for _ in 0..71 {
        world.wait(50_000);
        let client = world.connect();
        world.send(client, basic("ann:secret"));
        passes(&mut world, client);
    }
    world.wait(50_000);
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    assert!(world.verify(), "3,600 s after it was verified");
    passes(&mut world, client);
}

#[test]
fn a_wrong_pair_is_remembered_for_five_seconds() {
    let mut world = world();
    for (wait, verifies) in [(0, true), (4_999, false), (1, true), (0, false)] {
        world.wait(wait);
        let client = world.connect();
        world.send(client, basic("ann:wrong"));
        assert_eq!(
            world.passwords.len(),
            usize::from(verifies),
            "after {wait} ms"
        );
        if verifies {
            assert!(!world.verify());
        }
        refused(&mut world, client, 401);
    }
}

#[test]
fn a_client_that_leaves_before_the_result_is_charged() {
    let mut world = world();
    for guess in 0..60 {
        let client = world.connect();
        world.send(client, basic(&format!("ann:{guess}")));
        world.finish(client);
        assert!(!world.verify());
    }
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    refused(&mut world, client, 429);
    assert!(world.passwords.is_empty());
    let other = from(&mut world, 9);
    world.send(other, basic("ann:secret"));
    assert!(world.verify());
    passes(&mut world, other);
}

#[test]
fn a_client_that_leaves_or_waits_too_long_is_forgotten() {
    let mut world = world();
    let (gone, broken, late) = (
        from(&mut world, 1),
        from(&mut world, 2),
        from(&mut world, 3),
    );
    world.send(gone, basic("ann:1"));
    world.send(broken, basic("ann:2"));
    world.send(late, basic("ann:3"));
    world.finish(gone);
    world.reset(broken);
    assert!(world.closed(gone).is_some());
    world.wait(14_999);
    world.expect_silence(late);
    world.wait(1);
    refused_as_busy(&mut world, late, Busy::Late, true);
    let log = world.log();
    assert_eq!(log.len(), 3);
    assert!(
        log[0].contains("\"GET /auth HTTP/1.1\" - -")
            && log[2].contains("\"GET /auth HTTP/1.1\" 503 "),
        "{log:?}"
    );
    for _ in 0..3 {
        world.verify();
    }
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn waiting_requests_are_cut_at_the_end_of_the_grace_time() {
    let mut world = world();
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    world.shut_down();
    assert!(world.closed(client).is_none(), "it is in flight");
    world.abort();
    assert!(world.closed(client).is_some());
    world.verify();
    world.expect_no_dial();
    world.expect_quiet();
}

#[test]
fn waiting_requests_outlive_the_grace_time_of_an_upgrade() {
    let mut world = world();
    let client = world.connect();
    world.send(client, basic("ann:secret"));
    tollgate::proxy::retire(&mut world.proxy);
    assert_eq!(world.end_others(), 0);
    assert!(world.verify());
    let origin = world.accept();
    world.reply(origin, OK);
    let answer = world.expect_status(client, 200);
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    world.expect_closing(client);
    world.expect_quiet();
}
