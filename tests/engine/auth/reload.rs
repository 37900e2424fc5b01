//! Reloads: cached credentials stay if the definition of their provider is equal, and waiting
//! requests are decided by the new configuration.

use super::keys::{Issuer, serve, set};
use super::*;

const OPAQUE: &str =
    r#""opaque": { "type": "introspection", "url": "http://10.0.0.9/introspect", "cache": "30s" }"#;

/// Returns a configuration whose only guarded service has these keys, with these providers.
fn text(service: &str, providers: &str) -> String {
    format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", {service} }},
                            {{ "route": "/open", "target": "http://10.0.0.2/" }} ],
              "auth": {{ {providers} }}, "rateLimit": false, "cors": false, "securityHeaders": false }}"#
    )
}

fn active() -> String {
    let body = r#"{"active":true,"sub":"ann","scope":"read"}"#;
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Returns a client whose token the authorization server is asked about.
#[track_caller]
fn asks(world: &mut World) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, bearer("t"));
    world.expect_silence(client);
    let server = world.accept();
    assert!(
        world
            .received_upstream(server)
            .starts_with("POST /introspect ")
    );
    (client, server)
}

#[test]
fn remembered_tokens_stay_with_an_equal_definition() {
    let service = r#""auth": "opaque""#;
    let changed = OPAQUE.replace("30s", "31s");
    for (providers, is_kept) in [(OPAQUE, true), (&*changed, false)] {
        let mut world = World::with(&text(service, OPAQUE));
        let (client, server) = asks(&mut world);
        world.reply(server, active());
        passes(&mut world, client);
        // The target of the provider gets another index in the settings.
        let more = r#""retries": 1, "auth": "opaque""#;
        let file = text(more, providers).replace("10.0.0.2", "10.0.0.3");
        world.reload(&file);
        world.send(client, bearer("t"));
        if is_kept {
            passes(&mut world, client);
        } else {
            world.expect_silence(client);
            assert!(
                world
                    .received_upstream(server)
                    .starts_with("POST /introspect "),
                "it is asked again, on the connection that was kept"
            );
            world.reply(server, active());
            passes(&mut world, client);
        }
        world.expect_quiet();
    }
}

#[test]
fn a_key_set_stays_with_an_equal_definition_and_is_fetched_for_another() {
    const MAIN: &str = r#""main": { "type": "jwt", "jwks": "http://10.0.0.9/jwks" }"#;
    let issuer = Issuer::new("1");
    let other = MAIN.replace(" }", r#", "issuer": "https://idp.test" }"#);
    let mut world = World::with(&text(r#""auth": "main""#, MAIN));
    world.wait(100);
    serve(&mut world, &set(&[&issuer]));
    let client = world.connect();
    world.send(client, bearer(&issuer.token()));
    passes(&mut world, client);
    world.reload(&text(r#""auth": "main", "retries": 1"#, MAIN));
    world.expect_no_dial();
    world.send(client, bearer(&issuer.token()));
    passes(&mut world, client);
    world.reload(&text(r#""auth": "main""#, &other));
    world.wait(100);
    serve(&mut world, &set(&[&issuer]));
    world.send(client, bearer(&issuer.token()));
    // This token has no issuer.
    refused(&mut world, client, 401);
    world.expect_quiet();
}

#[test]
fn a_waiting_request_is_decided_by_the_new_file_when_the_answer_comes() {
    let service = r#""auth": "opaque""#;
    for (file, status) in [
        (text(r#""auth": "opaque", "scopes": ["read"]"#, OPAQUE), 200),
        (
            text(r#""auth": "opaque", "scopes": ["write"]"#, OPAQUE),
            403,
        ),
        (
            text(service, OPAQUE).replace(r#""/auth""#, r#""/other""#),
            404,
        ),
    ] {
        let mut world = World::with(&text(service, OPAQUE));
        let (client, server) = asks(&mut world);
        world.reload(&file);
        world.expect_silence(client);
        world.reply(server, active());
        match status {
            200 => drop(passes(&mut world, client)),
            status => drop(refused(&mut world, client, status)),
        }
        world.expect_quiet();
    }
}

#[test]
fn a_request_whose_provider_is_gone_is_judged_again_at_once() {
    let secret = format!(r#""main": {{ "type": "jwt", "secret": "{SECRET}" }}"#);
    let elsewhere = OPAQUE.replace("10.0.0.9", "10.0.0.8");
    for (file, status) in [
        // No authorization server is asked any more.
        (
            text(r#""retries": 1"#, "").replace(r#""auth": {  },"#, ""),
            200,
        ),
        // Another provider decides without a question.
        (text(r#""auth": "main""#, &secret), 401),
        // Another server is asked.
        (text(r#""auth": "opaque""#, &elsewhere), 0),
    ] {
        let mut world = World::with(&text(r#""auth": "opaque""#, OPAQUE));
        let (client, server) = asks(&mut world);
        world.reload(&file);
        assert!(world.closed_upstream(server), "its answer is not needed");
        match status {
            200 => drop(passes(&mut world, client)),
            401 => drop(refused(&mut world, client, 401)),
            _ => {
                world.expect_silence(client);
                let server = world.accept();
                world.reply(server, active());
                passes(&mut world, client);
            }
        }
        world.expect_quiet();
    }
}

#[test]
fn verdicts_of_one_service_do_not_count_for_another() {
    let secret = format!(
        r#""main": {{ "type": "jwt", "secret": "{SECRET}" }}, {OPAQUE}, "key": {{ "type": "forward", "url": "http://10.0.0.7/ask" }}"#
    );
    // The first provider of the service has refused the token. In the new file another provider has
    // its place.
    let mut world = World::with(&text(r#""auth": ["main", "opaque"]"#, &secret));
    let (client, server) = asks(&mut world);
    world.reload(&text(r#""auth": ["key"]"#, &secret));
    world.expect_silence(client);
    world.reply(server, active());
    world.expect_silence(client);
    let asked = world.accept();
    assert!(world.received_upstream(asked).starts_with("GET /ask "));
    world.reply(asked, "HTTP/1.1 204 No Content\r\n\r\n");
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn reloads_do_not_make_a_request_wait_for_ever() {
    let caches = ["30s", "31s"].map(|cache| OPAQUE.replace("30s", cache));
    let service = r#""auth": "opaque", "timeouts": { "response": "2s" }"#;
    let mut world = World::with(&text(service, &caches[0]));
    let (client, _) = asks(&mut world);
    for cache in caches.iter().cycle().skip(1).take(3) {
        world.wait(500);
        world.reload(&text(service, cache));
        world.accept();
    }
    world.expect_silence(client);
    world.wait(700);
    world.expect_status(client, 503);
}
