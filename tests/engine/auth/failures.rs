//! `authFailures`: the limit of failed credentials of a client, and the requests that are still
//! served above it.

use tollgate::policy::auth::base64::encode;
use tollgate::proxy::command::Fault;

use super::*;

const TWO: &str = r#"{ "requests": 2, "window": "10s" }"#;
const MAIN: &str = r#""main": { "type": "jwt", "secret": "a secret of more than thirty-two bytes", "audience": "gate" }"#;
const KEYS: &str = r#""keys": { "type": "apiKey", "keys": {
    "a": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } }"#;
const ASKED: &str = r#""asked": { "type": "introspection", "url": "http://10.0.0.9/introspect" }"#;
const FORWARD: &str = r#""forward": { "type": "forward", "url": "http://10.0.0.8/verify" }"#;

/// Returns a gateway with these providers, where two credentials of a client may fail.
fn world(names: &str, providers: &str, failures: &str) -> World {
    World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": [{names}] }},
                            {{ "route": "/open", "target": "http://10.0.0.2/" }} ],
              "auth": {{ {providers} }}, "authFailures": {failures}, "rateLimit": false, "cors": false,
              "securityHeaders": false, "accessLog": "json" }}"#
    ))
}

/// Returns the answer to a request with these lines on a new connection.
#[track_caller]
fn told(world: &mut World, from: &str, lines: &str, status: u16) -> String {
    let client = world.connect_from(from.parse().expect("an address"));
    world.send(client, get(lines));
    refused(world, client, status)
}

fn header(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn forged(number: u32) -> String {
    header(&token_by(
        &format!(r#"{{"aud":"gate","exp":{},"n":{number}}}"#, NOW + 60),
        "another secret of thirty-two bytes.",
    ))
}

fn anns_token() -> String {
    header(&anns(r#","aud":"gate""#))
}

#[test]
fn each_client_has_a_budget_of_failed_credentials() {
    let mut world = world(r#""main""#, MAIN, TWO);
    let (here, neighbour, other) = ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1");
    let known = world.connect();
    world.send(known, get(&anns_token()));
    passes(&mut world, known);
    told(&mut world, here, &forged(1), 401);
    told(&mut world, neighbour, &forged(2), 401);
    for lines in [
        forged(3),
        forged(1),
        header(&anns(r#","aud":"gate","new":1"#)),
        header(&anns(r#","aud":"x""#)),
    ] {
        let answer = told(&mut world, here, &lines, 429);
        assert!(answer.contains("\r\nRetry-After: 10\r\n"), "{answer}");
    }
    // A cached credential is accepted, and a malformed one gets a 401.
    let client = world.connect_from(here.parse().expect("an address"));
    world.send(client, get(&anns_token()));
    passes(&mut world, client);
    for lines in [
        "",
        "Authorization: Digest x\r\n",
        "Authorization: Bearer !\r\n",
    ] {
        told(&mut world, here, lines, 401);
    }
    told(&mut world, other, &forged(4), 401);
    let log = world.log();
    let refusal = log
        .iter()
        .find(|line| line.contains("\"status\":429"))
        .expect("a line");
    assert!(
        refusal.contains(
            "\"reason\":\"more credentials that are not authentic than authFailures allows\""
        ),
        "{refusal}"
    );
    assert!(refusal.contains("\"end\":\"rate_limited\""), "{refusal}");
    world.wait(10_000);
    told(&mut world, here, &forged(5), 401);
    let client = world.connect_from(here.parse().expect("an address"));
    world.send(client, get(&header(&anns(r#","aud":"gate","new":1"#))));
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn which_failures_count() {
    let wrong_key = "X-Api-Key: wrong\r\n".to_owned();
    let good_key = "X-Api-Key: abc\r\n";
    let expired = header(&token(&format!(r#"{{"aud":"gate","exp":{}}}"#, NOW - 60)));
    let elsewhere = header(&anns(r#","aud":"x""#));
    let none = encode_url(br#"{"alg":"none"}"#);
    for (lines, counts) in [
        (forged(1), true),
        (wrong_key.clone(), true),
        // A client with an expired token must not use it to guess keys.
        (format!("{wrong_key}{expired}"), true),
        (expired, false),
        (elsewhere, false),
        (String::new(), false),
        (header("a.b.c"), false),
        (header("opaque"), false),
        (header(&format!("{none}.e30.")), false),
        (
            format!("Authorization: Basic {}\r\n", encode(b"ann:x")),
            false,
        ),
    ] {
        let mut world = world(r#""main", "keys""#, &format!("{MAIN}, {KEYS}"), TWO);
        for _ in 0..4 {
            let client = world.connect();
            world.send(client, get(&lines));
            world.expect_no_dial();
            world.finish(client);
        }
        told(
            &mut world,
            "192.0.2.1",
            &forged(2),
            if counts { 429 } else { 401 },
        );
        let client = world.connect();
        world.send(client, get(&format!("{good_key}{}", forged(3))));
        passes(&mut world, client);
    }
    // The limit is off.
    let mut world = world(r#""main""#, MAIN, "false");
    for number in 0..200 {
        told(&mut world, "192.0.2.1", &forged(number), 401);
    }
}

#[test]
fn a_token_that_any_provider_knows_is_authentic() {
    let other = r#""other": { "type": "jwt", "secret": "another secret of thirty-two bytes." }"#;
    let mut first = world(r#""main", "other""#, &format!("{MAIN}, {other}"), TWO);
    for number in 0..5 {
        let client = first.connect();
        first.send(client, get(&forged(number)));
        passes(&mut first, client);
    }
    // An opaque token is malformed for the first provider, so the second one is asked.
    let mut second = world(r#""main", "asked""#, &format!("{MAIN}, {ASKED}"), TWO);
    for (number, answer) in [
        (1, r#"{"active":true}"#),
        (2, r#"{"active":true}"#),
        (3, r#"{"active":false}"#),
    ] {
        let client = second.connect();
        second.send(client, get(&forged(number)));
        let server = second.accept();
        second.reply(
            server,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            ),
        );
        second.finish_upstream(server);
        match number {
            3 => drop(refused(&mut second, client, 401)),
            _ => drop(passes(&mut second, client)),
        }
    }
    told(&mut second, "192.0.2.1", &forged(3), 401);
    told(&mut second, "192.0.2.1", &forged(4), 429);
    told(&mut second, "192.0.2.1", &header("opaque"), 429);
    second.expect_quiet();
}

/// A credential that was verified or introspected, and failed, counts even if another provider
/// could accept it: each attempt costs as much.
#[test]
fn a_refuted_token_counts_while_another_provider_is_down() {
    let keys = r#""fetched": { "type": "jwt", "jwks": "http://10.0.0.7/jwks" }"#;
    let again = r#""again": { "type": "introspection", "url": "http://10.0.0.6/i" }"#;
    let unknown = |number: u32| {
        let header = encode_url(br#"{"alg":"RS256","kid":"x"}"#);
        let claims = encode_url(format!(r#"{{"n":{number}}}"#).as_bytes());
        format!("Authorization: Bearer {header}.{claims}.AAAA\r\n")
    };
    let opaque = |number: u32| header(&format!("opaque{number}"));
    type Lines<'a> = &'a dyn Fn(u32) -> String;
    for (names, lines, counts) in [
        (r#""main", "asked""#, &forged as Lines<'_>, true),
        (r#""main", "forward""#, &forged, true),
        (r#""again", "asked""#, &opaque, true),
        (r#""main", "asked""#, &opaque, false),
        (r#""fetched", "asked""#, &unknown, false),
    ] {
        let providers = format!("{MAIN}, {ASKED}, {FORWARD}, {keys}, {again}");
        let mut world = world(names, &providers, TWO);
        for number in 0..4 {
            let client = world.connect();
            world.send(client, get(&lines(number)));
            while let Some((_, address)) = world.dials.first().copied() {
                if address.ip().to_string() == "10.0.0.6" {
                    let server = world.accept();
                    let body = r#"{"active":false}"#;
                    let length = body.len();
                    world.reply(
                        server,
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
                    );
                    world.finish_upstream(server);
                } else {
                    world.refuse(Fault::Refused);
                }
            }
            let status = if counts && number > 1 { 429 } else { 503 };
            refused(&mut world, client, status);
        }
    }
}

/// A client that guesses a credential and leaves while another one is looked up is charged for the
/// guess.
#[test]
fn a_failed_credential_counts_although_its_client_leaves() {
    let wrong_key = "X-Api-Key: wrong\r\n".to_owned();
    for (names, lines) in [
        (
            r#""keys", "asked""#,
            format!("{wrong_key}{}", header("opaque")),
        ),
        (r#""keys", "forward""#, wrong_key),
        (r#""main", "forward""#, forged(1)),
    ] {
        let mut world = world(names, &format!("{MAIN}, {KEYS}, {ASKED}, {FORWARD}"), TWO);
        for _ in 0..2 {
            let client = world.connect();
            world.send(client, get(&lines));
            world.expect_silence(client);
            world.reset(client);
        }
        let client = world.connect();
        world.send(client, get(&lines));
        world.expect_status(client, 429);
    }
    // A token that the authorization server may know is decided by the server's answer.
    let mut world = world(r#""main", "asked""#, &format!("{MAIN}, {ASKED}"), TWO);
    for number in 0..4 {
        let client = world.connect();
        world.send(client, get(&forged(number)));
        let server = world.accept();
        world.reset(client);
        world.reply(
            server,
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"active\":true}",
        );
        world.finish_upstream(server);
    }
}

#[test]
fn a_forward_endpoint_is_asked_after_every_failure() {
    let mut world = world(r#""forward""#, FORWARD, TWO);
    for _ in 0..4 {
        let client = world.connect();
        world.send(client, get("Authorization: Bearer x\r\n"));
        let server = world.accept();
        world.reply(server, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        world.finish_upstream(server);
        refused(&mut world, client, 401);
    }
}

#[test]
fn credentials_stay_here_where_the_service_says_so() {
    let hash = {
        let mut out = [0; 32];
        let once = std::num::NonZeroU32::MIN;
        ring::pbkdf2::derive(
            ring::pbkdf2::PBKDF2_HMAC_SHA256,
            once,
            b"salt",
            b"secret",
            &mut out,
        );
        encode_url(&out)
    };
    let people = format!(
        r#""people": {{ "type": "basic", "users": {{ "ann": "pbkdf2-sha256:1:c2FsdA:{hash}" }} }}"#
    );
    let basic = format!("Authorization: Basic {}\r\n", encode(b"ann:secret"));
    let key = "x-API-key: abc\r\n";
    let cookie = "Cookie: session=1\r\n";
    for (provider, lines, stays_for_false) in [
        ("main", anns_token(), ""),
        (
            "main",
            format!("{}{key}{cookie}", anns_token()),
            "Cookie: session=1",
        ),
        ("keys", format!("{key}{basic}"), &*basic),
        ("people", format!("{basic}{key}"), ""),
        ("forward", format!("{basic}{cookie}"), "Cookie: session=1"),
    ] {
        for forwards in [
            "",
            r#", "forwardCredentials": true"#,
            r#", "forwardCredentials": false"#,
        ] {
            let providers = format!("{MAIN}, {KEYS}, {people}, {FORWARD}");
            let all = if provider == "keys" {
                r#"["keys", "people"]"#.to_owned()
            } else {
                format!(r#"["{provider}", "keys"]"#)
            };
            let all = if provider == "main" || provider == "people" {
                all
            } else {
                all.replace(r#", "keys"]"#, "]")
            };
            let mut world = guarded(&format!(r#""auth": {all}{forwards}"#), &providers);
            let client = world.connect();
            // One of both credentials is accepted. If it is the key, the token is forwarded as the
            // client's own.
            let lines = if provider == "main" || provider == "people" {
                lines.replace(key, "")
            } else {
                lines.clone()
            };
            world.send(client, get(&lines));
            if provider == "people" {
                assert!(world.verify());
            }
            if provider == "forward" {
                let server = world.accept();
                let question = world.received_upstream(server);
                assert!(
                    question.contains(basic.trim_end()),
                    "the endpoint decides by it: {question}"
                );
                world.reply(server, "HTTP/1.1 204 No Content\r\n\r\n");
                world.finish_upstream(server);
            }
            let received = passes(&mut world, client);
            for line in lines.lines() {
                let stays = !forwards.ends_with("false") || stays_for_false.contains(line);
                assert_eq!(
                    received.contains(line),
                    stays,
                    "{provider}{forwards}: {line} in {received}"
                );
            }
        }
    }
}
