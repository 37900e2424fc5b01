//! Expensive signatures: a helper thread verifies them while their requests wait.

use super::keys::{Issuer, send, serve, set, with};
use super::*;

/// Returns the token with one byte of its signature changed.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a dot");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{first}{}", &signature[1..])
}

/// Returns a different token for each number.
fn numbered(issuer: &Issuer, number: usize) -> String {
    issuer.token_with(&format!(
        r#""sub":"ann","exp":{},"n":{number}"#,
        NOW + 100_000
    ))
}

/// Returns a different forged token for each number, without signing.
fn forgery(good: &str, number: usize) -> String {
    let (header, _) = good.split_once('.').expect("a dot");
    let claims = format!(r#"{{"exp":{},"n":{number}}}"#, NOW + 60);
    format!(
        "{header}.{}.{}",
        encode_url(claims.as_bytes()),
        encode_url(&[7; 96])
    )
}

fn send_from(world: &mut World, number: u8, token: &str) -> Client {
    let client = world.connect_from(std::net::IpAddr::from([192, 0, 2, number]));
    world.send(client, bearer(token));
    client
}

#[test]
fn a_costly_signature_is_verified_away_from_the_loop() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let client = send(&mut world, &issuer.token_with(r#""exp":9999999999"#));
    world.expect_no_dial();
    world.expect_silence(client);
    // A cheap verification does not wait.
    let open = world.connect();
    world.send(open, "GET /open HTTP/1.1\r\nHost: gate\r\n\r\n");
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(open, 200);
    world.finish_upstream(origin);
    assert!(world.verify_signature(0));
    passes(&mut world, client);

    let token = issuer.token();
    let client = send(&mut world, &token);
    assert!(world.verify_signature(0));
    assert!(passes(&mut world, client).contains("X-User: ann\r\n"));
    // The credential cache is shared by all clients.
    let other = send_from(&mut world, 9, &token);
    passes(&mut world, other);
    assert!(world.signatures.is_empty());
}

#[test]
fn wrong_signatures_and_wrong_claims_are_refused() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    for (token, good, description) in [
        (
            forged(&issuer.token()),
            false,
            "the signature of the token is wrong",
        ),
        (
            issuer.token_with(&format!(r#""exp":{}"#, NOW - 60)),
            true,
            "the token has expired",
        ),
        (
            issuer.token_with(r#""sub":"ann""#),
            true,
            "the token has no expiry",
        ),
    ] {
        for is_remembered in [false, true] {
            let client = send(&mut world, &token);
            if !is_remembered {
                assert_eq!(world.verify_signature(0), good, "{description}");
            }
            let answer = refused(&mut world, client, 401);
            assert!(
                challenges(&answer)[0].contains(description),
                "{description}: {answer}"
            );
        }
    }
    assert!(world.signatures.is_empty());
}

#[test]
fn a_token_that_expires_while_it_waits_is_refused() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let client = send(
        &mut world,
        &issuer.token_with(&format!(r#""exp":{}"#, NOW + 5)),
    );
    world.wait(10_000);
    assert!(world.verify_signature(0));
    refused(&mut world, client, 401);
}

#[test]
fn the_same_token_is_verified_once_at_a_time() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let token = issuer.token();
    let clients = (0..20)
        .map(|_| send(&mut world, &token))
        .collect::<Vec<_>>();
    assert_eq!(world.signatures.len(), 1);
    // The first client may leave.
    world.finish(clients[0]);
    assert!(world.verify_signature(0));
    for &client in &clients[1..] {
        passes(&mut world, client);
    }
    assert!(world.signatures.is_empty());
}

#[test]
fn results_come_in_any_order() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let first = send(&mut world, &issuer.token());
    let second = send(&mut world, &forged(&issuer.token()));
    assert!(!world.verify_signature(1));
    world.expect_status(second, 401);
    world.expect_silence(first);
    assert!(world.verify_signature(0));
    passes(&mut world, first);
}

#[test]
fn a_client_has_at_most_eight_waiting_signatures() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let good = issuer.token();
    let clients = (0..8)
        .map(|number| send_from(&mut world, 1, &forgery(&good, number)))
        .collect::<Vec<_>>();
    let ninth = send_from(&mut world, 1, &good);
    refused_as_busy(&mut world, ninth, Busy::SignaturesOfClient, false);
    // A token whose verification is in progress needs no further place. Other clients have their
    // own places.
    let joined = send_from(&mut world, 1, &forgery(&good, 3));
    let other = send_from(&mut world, 2, &good);
    assert_eq!(world.signatures.len(), 9);
    assert!(world.verify_signature(8));
    passes(&mut world, other);
    // The token is cached now.
    let again = send_from(&mut world, 1, &good);
    passes(&mut world, again);
    // A client that leaves frees no place, because the work of the thread cannot be cancelled.
    world.finish(clients[0]);
    let ninth = send_from(&mut world, 1, &forgery(&good, 8));
    refused_as_busy(&mut world, ninth, Busy::SignaturesOfClient, false);
    for _ in 0..8 {
        assert!(!world.verify_signature(0));
    }
    for &client in clients[1..].iter().chain([&joined]) {
        refused(&mut world, client, 401);
    }
    let room = send_from(&mut world, 1, &forgery(&good, 9));
    assert!(!world.verify_signature(0));
    refused(&mut world, room, 401);
}

#[test]
fn at_most_sixty_four_signatures_wait() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let good = issuer.token();
    for number in 0..64_usize {
        send_from(&mut world, (number / 8) as u8, &forgery(&good, number));
    }
    assert_eq!(world.signatures.len(), 64);
    let client = send_from(&mut world, 100, &good);
    refused_as_busy(&mut world, client, Busy::Signatures, true);
    assert!(!world.verify_signature(63));
    let client = send_from(&mut world, 100, &good);
    assert!(world.verify_signature(63));
    passes(&mut world, client);
}

#[test]
fn a_client_that_leaves_before_the_result_is_charged() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let good = issuer.token();
    for number in 0..60 {
        let client = send_from(&mut world, 1, &forgery(&good, number));
        if number % 2 == 0 {
            world.finish(client);
        } else {
            world.reset(client);
        }
        assert!(world.closed(client).is_some());
        assert!(!world.verify_signature(0));
    }
    let client = send_from(&mut world, 1, &good);
    refused(&mut world, client, 429);
    assert!(world.signatures.is_empty());
    // The result for another client is independent of it.
    let other = send_from(&mut world, 2, &good);
    assert!(world.verify_signature(0));
    passes(&mut world, other);
}

#[test]
fn a_token_of_a_client_that_has_left_is_cached() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let client = send(&mut world, &issuer.token_with(r#""exp":9999999999"#));
    world.wait(15_100);
    refused(&mut world, client, 503);
    assert!(world.verify_signature(0));

    let token = numbered(&issuer, 1);
    let client = send(&mut world, &token);
    world.reset(client);
    assert!(world.verify_signature(0));
    let again = send(&mut world, &token);
    passes(&mut world, again);
}

#[test]
fn keys_that_changed_meanwhile_are_looked_up_again() {
    let (old, new) = (Issuer::costly("1"), Issuer::costly("1"));
    // A result that belongs to removed keys is ignored, whether it is valid or not.
    for (token, verdicts) in [(old.token(), [true, false]), (new.token(), [false, true])] {
        let mut world = with(&set(&[&old]));
        world.wait(295_000);
        let client = send(&mut world, &token);
        let gone = send_from(&mut world, 2, &forged(&token));
        world.wait(5_100);
        serve(&mut world, &set(&[&new]));
        world.reset(gone);
        assert_eq!(world.verify_signature(0), verdicts[0]);
        world.expect_silence(client);
        assert_eq!(world.signatures.len(), 2);
        assert!(!world.verify_signature(0));
        assert_eq!(world.verify_signature(0), verdicts[1]);
        if verdicts[1] {
            passes(&mut world, client);
        } else {
            refused(&mut world, client, 401);
        }
        assert!(world.signatures.is_empty());
    }
}

#[test]
fn a_key_that_is_gone_meanwhile_is_fetched_for() {
    let (old, new) = (Issuer::costly("1"), Issuer::costly("2"));
    let mut world = with(&set(&[&old]));
    world.wait(295_000);
    let client = send(&mut world, &old.token());
    world.wait(5_100);
    serve(&mut world, &set(&[&new]));
    assert!(world.verify_signature(0));
    serve(&mut world, &set(&[&new]));
    refused(&mut world, client, 401);
    assert!(world.signatures.is_empty());
}

#[test]
fn an_unchanged_set_needs_no_second_verification() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    world.wait(295_000);
    let client = send(&mut world, &issuer.token());
    world.wait(5_100);
    serve(&mut world, &set(&[&issuer]));
    assert!(world.verify_signature(0));
    passes(&mut world, client);
}

#[test]
fn cheap_keys_of_a_set_come_first() {
    let (cheap, costly) = (Issuer::new("1"), Issuer::costly("2"));
    let mut world = with(&set(&[&costly, &cheap]));
    let client = send(&mut world, &cheap.token());
    passes(&mut world, client);
    assert!(world.signatures.is_empty());
}

#[test]
fn waiting_requests_are_cut_at_the_end_of_the_grace_time() {
    let issuer = Issuer::costly("1");
    let mut world = with(&set(&[&issuer]));
    let client = send(&mut world, &issuer.token());
    world.shut_down();
    assert!(world.closed(client).is_none(), "it is in flight");
    world.abort();
    assert!(world.closed(client).is_some());
    assert!(world.verify_signature(0));
    world.expect_no_dial();
}
