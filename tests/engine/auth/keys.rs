//! Key sets: times and number of fetches, and the keys that are valid meanwhile.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use tollgate::proxy::command::{Fault, KeysFault, Report};

use super::*;

const MAIN: &str = r#""main": { "type": "jwt", "jwks": "http://10.0.0.9/jwks", "forwardClaims": { "sub": "X-User" } }"#;

/// Key pair of the identity provider.
pub struct Issuer {
    id: &'static str,
    curve: &'static str,
    algorithm: &'static str,
    pair: EcdsaKeyPair,
}

impl Issuer {
    pub fn new(id: &'static str) -> Issuer {
        Issuer::on(id, "P-256", "ES256")
    }

    /// Returns an issuer with a key whose signatures the helper thread verifies.
    pub fn costly(id: &'static str) -> Issuer {
        Issuer::on(id, "P-384", "ES384")
    }

    fn on(id: &'static str, curve: &'static str, algorithm: &'static str) -> Issuer {
        let random = SystemRandom::new();
        let signing = match curve {
            "P-384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
        };
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).expect("a pair");
        Issuer {
            id,
            curve,
            algorithm,
            pair,
        }
    }

    fn jwk(&self) -> String {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        format!(
            r#"{{"kty":"EC","crv":"{}","kid":"{}","use":"sig","x":"{}","y":"{}"}}"#,
            self.curve,
            self.id,
            encode_url(x),
            encode_url(y)
        )
    }

    /// Returns a token that is valid for a day.
    pub fn token(&self) -> String {
        self.token_with(&format!(r#""sub":"ann","exp":{}"#, NOW + 100_000))
    }

    pub fn token_with(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, self.algorithm, self.id);
        let claims = format!("{{{claims}}}");
        let text = format!(
            "{}.{}",
            encode_url(header.as_bytes()),
            encode_url(claims.as_bytes())
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .expect("a signature");
        format!("{text}.{}", encode_url(signature.as_ref()))
    }
}

pub fn set(issuers: &[&Issuer]) -> String {
    let body = format!(
        "{{\"keys\":[{}]}}",
        issuers
            .iter()
            .map(|issuer| issuer.jwk())
            .collect::<Vec<_>>()
            .join(",")
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Answers the fetch that is in flight.
#[track_caller]
pub fn serve(world: &mut World, answer: &str) {
    let server = world.accept();
    assert!(
        world
            .received_upstream(server)
            .starts_with("GET /jwks HTTP/1.1\r\nHost: 10.0.0.9\r\n")
    );
    world.reply(server, answer);
    world.finish_upstream(server);
}

/// Returns a gateway that has fetched this set.
pub fn with(answer: &str) -> World {
    let mut world = guarded(r#""auth": "main""#, MAIN);
    world.wait(100);
    serve(&mut world, answer);
    world
}

/// Sends a request with this token on a new connection.
pub fn send(world: &mut World, token: &str) -> Client {
    let client = world.connect();
    world.send(client, bearer(token));
    client
}

#[test]
fn a_key_set_is_fetched_at_the_start_and_every_few_minutes() {
    let (old, new) = (Issuer::new("1"), Issuer::new("2"));
    let mut world = with(&set(&[&old]));
    assert_eq!(
        world.reports,
        [Report::KeysFetched {
            provider: "main".into(),
            count: 1,
            left_out: 0
        }]
    );
    for _ in 0..3 {
        let client = send(&mut world, &old.token());
        assert!(passes(&mut world, client).contains("X-User: ann\r\n"));
    }
    world.wait(299_000);
    world.expect_no_dial();
    world.wait(1_100);
    serve(&mut world, &set(&[&new]));
    // A removed key is not accepted any more, even for a cached token.
    let client = send(&mut world, &old.token());
    serve(&mut world, &set(&[&new]));
    refused(&mut world, client, 401);
    let client = send(&mut world, &new.token());
    passes(&mut world, client);
}

#[test]
fn an_upgrade_takes_a_fetched_set_over() {
    let (known, later) = (Issuer::new("1"), Issuer::new("2"));
    let old = with(&set(&[&known]));
    let mut new = old.upgrade(&guarded_config(r#""auth": "main""#, MAIN));
    let client = send(&mut new, &known.token());
    assert!(passes(&mut new, client).contains("X-User: ann\r\n"));
    // The fetch at the start replaces it.
    new.wait(100);
    serve(&mut new, &set(&[&later]));
    let client = send(&mut new, &later.token());
    passes(&mut new, client);
    for other in [
        MAIN.replace(
            "\"jwks\": \"http://10.0.0.9/",
            "\"jwks\": \"http://10.0.0.9:81/",
        ),
        MAIN.replace("/jwks", "/others"),
        MAIN.replace("{ \"type\"", "{ \"algorithms\": [\"ES256\"], \"type\""),
        MAIN.replace("\"main\"", "\"other\""),
    ] {
        let name = if other.contains("\"main\"") {
            "main"
        } else {
            "other"
        };
        let config = guarded_config(&format!(r#""auth": "{name}""#), &other);
        let mut new = old.upgrade(&config);
        send(&mut new, &known.token());
        let dialed = new.dials.first().map(|dial| dial.1.ip().to_string());
        assert_eq!(
            dialed.as_deref(),
            Some("10.0.0.9"),
            "{other}: a set is needed"
        );
    }
}

#[test]
fn an_unknown_key_waits_for_one_fetch() {
    let (old, new) = (Issuer::new("1"), Issuer::new("2"));
    let mut world = with(&set(&[&old]));
    // A token with an unknown key triggers a fetch, however recent the last one is.
    let clients = (0..5)
        .map(|_| send(&mut world, &new.token()))
        .collect::<Vec<_>>();
    assert_eq!(world.dials.len(), 1);
    // A known key needs no fetch.
    let known = send(&mut world, &old.token());
    assert_eq!(world.dials.len(), 2);
    serve(&mut world, &set(&[&old, &new]));
    passes(&mut world, known);
    for client in clients {
        passes(&mut world, client);
    }
}

#[test]
fn a_flood_of_unknown_keys_makes_two_fetches_and_one_each_five_seconds() {
    let (known, unknown) = (Issuer::new("1"), Issuer::new("2"));
    let mut world = with(&set(&[&known]));
    let mut fetches = Vec::new();
    for number in 0..200_u32 {
        let client = world.connect_from(std::net::Ipv4Addr::from_bits(number).into());
        world.send(client, bearer(&unknown.token()));
        if !world.dials.is_empty() {
            fetches.push(number);
            serve(&mut world, &set(&[&known]));
        }
        refused(&mut world, client, 401);
        world.wait(100);
    }
    // The numbers are steps of 100 ms.
    assert_eq!(fetches, [0, 1, 50, 100, 150]);
    let client = send(&mut world, &known.token());
    passes(&mut world, client);
}

#[test]
fn keys_that_change_right_after_the_start_are_found() {
    let (old, new, newer) = (Issuer::new("1"), Issuer::new("2"), Issuer::new("3"));
    // A token with the next key comes during the first fetch, whose answer may be older than the
    // key.
    let mut world = guarded(r#""auth": "main""#, MAIN);
    world.wait(100);
    let client = send(&mut world, &new.token());
    serve(&mut world, &set(&[&old]));
    serve(&mut world, &set(&[&new]));
    passes(&mut world, client);
    let client = send(&mut world, &newer.token());
    serve(&mut world, &set(&[&newer]));
    passes(&mut world, client);
}

#[test]
fn a_request_that_joins_a_fetch_causes_at_most_one_more() {
    let (known, unknown) = (Issuer::new("1"), Issuer::new("2"));
    let mut world = with(&set(&[&known]));
    let clients = (0..3)
        .map(|_| send(&mut world, &unknown.token()))
        .collect::<Vec<_>>();
    serve(&mut world, &set(&[&known]));
    refused_one(&mut world, clients[0]);
    serve(&mut world, &set(&[&known]));
    for &client in &clients[1..] {
        refused(&mut world, client, 401);
    }
}

/// Other requests wait for a fetch that is in flight.
#[track_caller]
fn refused_one(world: &mut World, client: Client) {
    world.expect_status(client, 401);
}

#[test]
fn the_last_valid_set_stays_in_use() {
    let issuer = Issuer::new("1");
    let mut world = with(&set(&[&issuer]));
    // After a failure the next try comes soon, and each further one after twice the time.
    for (after, bad) in [
        (300_100, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        (
            1_100,
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}",
        ),
        (2_100, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ] {
        world.wait(after);
        serve(&mut world, bad);
        let client = send(&mut world, &issuer.token());
        passes(&mut world, client);
    }
    let faults = world
        .reports
        .iter()
        .filter(|report| matches!(report, Report::KeysFailed { .. }))
        .count();
    assert_eq!(faults, 3);
    assert!(world.reports.contains(&Report::KeysFailed {
        provider: "main".into(),
        fault: KeysFault::Status(500),
        reason: None
    }));
    world.wait(4_100);
    serve(&mut world, &set(&[&issuer]));
}

#[test]
fn without_a_set_well_formed_tokens_get_a_503() {
    let issuer = Issuer::new("1");
    let mut world = guarded(r#""auth": "main""#, MAIN);
    world.wait(100);
    // The first requests wait for the first fetch.
    let waiting = send(&mut world, &issuer.token());
    world.refuse(Fault::Refused);
    refused(&mut world, waiting, 503);
    let client = send(&mut world, &issuer.token());
    refused(&mut world, client, 503);
    // A malformed token and a missing one are refused without keys.
    let client = send(&mut world, "x.y.z");
    refused(&mut world, client, 401);
    let client = world.connect();
    world.send(client, GET);
    refused(&mut world, client, 401);
    world.wait(1_000);
    let client = send(&mut world, &issuer.token());
    serve(&mut world, &set(&[&issuer]));
    passes(&mut world, client);
}

#[test]
fn a_fetch_that_takes_too_long_refuses_the_request() {
    let issuer = Issuer::new("1");
    let mut world = guarded(r#""auth": "main""#, MAIN);
    world.wait(100);
    let client = send(&mut world, &issuer.token());
    let _server = world.accept();
    world.wait(15_000);
    refused(&mut world, client, 503);
}

#[test]
fn a_key_of_the_issuers_is_needed() {
    let (issuer, thief) = (Issuer::new("1"), Issuer::new("1"));
    let mut world = with(&set(&[&issuer]));
    let client = send(&mut world, &thief.token());
    refused(&mut world, client, 401);
    // The token is signed with a key that it contains.
    let header = format!(r#"{{"alg":"ES256","jwk":{}}}"#, thief.jwk());
    let text = format!(
        "{}.{}",
        encode_url(header.as_bytes()),
        encode_url(format!(r#"{{"exp":{}}}"#, NOW + 60).as_bytes())
    );
    let signature = thief
        .pair
        .sign(&SystemRandom::new(), text.as_bytes())
        .expect("a signature");
    let client = send(
        &mut world,
        &format!("{text}.{}", encode_url(signature.as_ref())),
    );
    refused(&mut world, client, 401);
}
