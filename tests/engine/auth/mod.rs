//! Authentication: the providers, and the proof that no other request reaches an upstream.

mod asked;
mod explanations;
mod failures;
mod forward;
mod guarded;
mod keys;
mod local;
mod passwords;
mod reload;
mod several;
mod signatures;

use ring::hmac;
use tollgate::observe::access::Outcome;
use tollgate::policy::auth::base64::encode_url;
use tollgate::proxy::command::{Busy, Got, Reason, Report};

use super::script::*;

/// Seconds since the epoch when a [`World`] begins.
pub const NOW: u64 = 1_795_521_600;

pub const SECRET: &str = "a secret of more than thirty-two bytes";

/// Returns a gateway whose only service has these keys, with these providers.
pub fn guarded(service: &str, providers: &str) -> World {
    World::with(&guarded_config(service, providers))
}

/// Returns the configuration of [`guarded`].
pub fn guarded_config(service: &str, providers: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", {service} }},
                            {{ "route": "/open", "target": "http://10.0.0.2/" }} ],
              "auth": {{ {providers} }}, "rateLimit": false, "cors": false, "securityHeaders": false }}"#
    )
}

/// Returns a token that is signed with [`SECRET`].
pub fn token(claims: &str) -> String {
    token_by(claims, SECRET)
}

pub fn token_by(claims: &str, secret: &str) -> String {
    let text = format!(
        "{}.{}",
        encode_url(br#"{"alg":"HS256","typ":"JWT"}"#),
        encode_url(claims.as_bytes())
    );
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        text.as_bytes(),
    );
    format!("{text}.{}", encode_url(tag.as_ref()))
}

/// Returns a token with `{"sub":"ann", ...}` that is valid for a minute.
pub fn anns(more: &str) -> String {
    token(&format!(r#"{{"sub":"ann","exp":{}{more}}}"#, NOW + 60))
}

pub fn get(lines: &str) -> String {
    format!("GET /auth HTTP/1.1\r\nHost: gate\r\n{lines}\r\n")
}

pub fn bearer(token: &str) -> String {
    get(&format!("Authorization: Bearer {token}\r\n"))
}

/// Checks that the request reaches the upstream, which answers it. Returns what the upstream has
/// received.
#[track_caller]
pub fn passes(world: &mut World, client: Client) -> String {
    let origin = world.accept();
    let received = world.received_upstream(origin);
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.finish_upstream(origin);
    received
}

/// Checks that the request does not reach the upstream. Returns the answer.
#[track_caller]
pub fn refused(world: &mut World, client: Client, status: u16) -> String {
    world.expect_no_dial();
    world.expect_status(client, status)
}

/// Checks that the request is refused because as many wait as may, and what the operator is told.
#[track_caller]
pub fn refused_as_busy(world: &mut World, client: Client, busy: Busy, is_warning: bool) {
    let answer = refused(world, client, 503);
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    let failed = match world.reports.pop() {
        Some(Report::UpstreamFailed(failed)) if is_warning => failed,
        Some(Report::Refused(failed)) if !is_warning => failed,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (failed.outcome, &failed.reason, failed.got),
        (
            Outcome::OverLimit,
            &Some(Reason::Busy(busy)),
            Got::Reply(503)
        )
    );
}

/// Returns the challenges of an answer.
pub fn challenges(answer: &str) -> Vec<&str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("WWW-Authenticate: "))
        .collect()
}
