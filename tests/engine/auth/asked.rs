//! Introspection: the authorization server is asked, its answers are cached, and without an answer
//! the request is refused.

use tollgate::proxy::command::Fault;

use super::*;

const OPAQUE: &str = r#""opaque": { "type": "introspection", "url": "http://10.0.0.9:8080/introspect?x=y", "clientId": "me :",
    "clientSecret": "p%w", "forwardClaims": { "sub": "X-User-Id" } }"#;

fn world() -> World {
    guarded(r#""auth": "opaque", "scopes": ["read"]"#, OPAQUE)
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const ACTIVE: &str = r#"{"active":true,"sub":"ann","scope":"read write"}"#;

/// Returns a client whose token the authorization server is asked about.
#[track_caller]
fn asks(world: &mut World, token: &str) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, bearer(token));
    world.expect_silence(client);
    let server = world.accept();
    (client, server)
}

#[test]
fn the_introspection_request_byte_for_byte() {
    let mut world = world();
    let (client, server) = asks(&mut world, "a+b/c=");
    // RFC 6749 2.3.1: "me :" is "me+%3A", "p%w" is "p%25w".
    let credentials = tollgate::policy::auth::base64::encode(b"me+%3A:p%25w");
    let form = "token=a%2Bb%2Fc%3D&token_type_hint=access_token";
    world.expect_upstream(
        server,
        format!(
            "POST /introspect?x=y HTTP/1.1\r\nHost: 10.0.0.9:8080\r\nAccept: application/json\r\n\
             Accept-Encoding: identity\r\nUser-Agent: tollgate\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nAuthorization: Basic {credentials}\r\n\r\n{form}",
            form.len()
        ),
    );
    world.reply(server, answer(ACTIVE));
    let upstream = passes(&mut world, client);
    assert!(upstream.contains("\r\nX-User-Id: ann\r\n"));
    world.expect_quiet();
}

#[test]
fn active_and_inactive_answers_are_cached() {
    let mut world = world();
    let (client, server) = asks(&mut world, "good");
    world.reply(server, answer(ACTIVE));
    passes(&mut world, client);
    let other = world.connect();
    world.send(other, bearer("bad"));
    world.expect_no_dial();
    assert!(
        world.received_upstream(server).contains("token=bad&"),
        "the connection is used again"
    );
    world.reply(server, answer(r#"{"active":false}"#));
    refused(&mut world, other, 401);
    world.wait(20_000);
    world.send(client, bearer("good"));
    passes(&mut world, client);
    world.send(other, bearer("bad"));
    let text = refused(&mut world, other, 401);
    assert_eq!(
        challenges(&text),
        [
            r#"Bearer realm="tollgate", error="invalid_token", error_description="the token is not active""#
        ]
    );
    world.expect_upstream(server, "");
    // An answer is valid for half a minute. A token that was revoked meanwhile is refused
    // afterwards.
    world.wait(10_100);
    world.send(client, bearer("good"));
    world.expect_silence(client);
    let server = world.accept();
    world.reply(server, answer(r#"{"active":false}"#));
    refused(&mut world, client, 401);
    world.expect_quiet();
}

#[test]
fn an_answer_ends_with_its_token_and_scopes_are_checked() {
    let mut world = world();
    let (client, server) = asks(&mut world, "short");
    world.reply(
        server,
        answer(&format!(
            r#"{{"active":true,"scope":"read","exp":{}}}"#,
            NOW + 5
        )),
    );
    passes(&mut world, client);
    world.wait(4_999);
    world.send(client, bearer("short"));
    passes(&mut world, client);
    world.wait(1);
    world.send(client, bearer("short"));
    refused(&mut world, client, 401);
    let (client, server) = {
        world.wait(60_000);
        asks(&mut world, "other")
    };
    world.reply(server, answer(r#"{"active":true,"scope":"write"}"#));
    assert!(refused(&mut world, client, 403).contains("insufficient_scope"));
    world.expect_quiet();
}

#[test]
fn without_a_cache_each_request_is_asked_about() {
    let mut world = guarded(
        r#""auth": "opaque""#,
        &OPAQUE.replace(r#""clientId""#, r#""cache": false, "clientId""#),
    );
    let (client, server) = asks(&mut world, "t");
    world.reply(server, answer(ACTIVE));
    let origin = world.accept();
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.take_upstream(server);
    world.send(client, bearer("t"));
    world.expect_silence(client);
    assert!(world.received_upstream(server).contains("token=t&"));
    world.reply(server, answer(r#"{"active":false}"#));
    world.expect_status(client, 401);
    world.expect_quiet();
}

#[test]
fn without_a_valid_answer_the_request_gets_a_503() {
    for reply in [
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\n{\"active\":true}".to_owned(),
        "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        answer(""),
        answer("{}"),
        answer(r#"{"active":"true"}"#),
        answer(r#"{"active":true"#),
        answer(r#"{"active":true,"active":true}"#),
        "nonsense\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}",
            " ".repeat(100_000)
        ),
    ] {
        let mut world = world();
        let (client, server) = asks(&mut world, "t");
        world.reply(server, &reply);
        refused(&mut world, client, 503);
        world.expect_open(client);
        assert_eq!(world.reports.len(), 1, "{reply:.40}");
        world.expect_quiet();
    }
    let mut world = world();
    let client = world.connect();
    world.send(client, bearer("t"));
    world.refuse(Fault::Refused);
    refused(&mut world, client, 503);
    let (client, server) = asks(&mut world, "t");
    world.finish_upstream(server);
    refused(&mut world, client, 503);
    let (client, _server) = asks(&mut world, "t");
    world.wait(15_000);
    refused(&mut world, client, 503);
    world.expect_quiet();
}

#[test]
fn a_token_is_asked_about_once_at_a_time() {
    let mut world = world();
    let (first, server) = asks(&mut world, "t");
    let others = (0..5).map(|_| world.connect()).collect::<Vec<_>>();
    for &client in &others {
        world.send(client, bearer("t"));
    }
    world.expect_no_dial();
    // The client that asked first may leave; the others still get the answer.
    world.finish(first);
    world.reply(server, answer(ACTIVE));
    for client in others {
        passes(&mut world, client);
    }
    world.expect_quiet();
}

/// The answer is still counted or cached.
#[test]
fn a_question_continues_after_its_client_has_left() {
    let mut world = world();
    let (client, server) = asks(&mut world, "t");
    world.finish(client);
    assert!(world.closed(client).is_some() && !world.closed_upstream(server));
    // A client that comes meanwhile waits for the same answer.
    let second = world.connect();
    world.send(second, bearer("t"));
    world.expect_no_dial();
    world.reset(second);
    world.reply(server, answer(ACTIVE));
    let third = world.connect();
    world.send(third, bearer("t"));
    passes(&mut world, third);
    world.take_upstream(server);
    world.send(third, bearer("never"));
    world.reset(third);
    world.wait(15_100);
    assert!(world.closed_upstream(server));
    assert_eq!(world.log().len(), 4);
    world.expect_quiet();
}

/// A question has a cost for the authorization server, so a client that leaves is counted, too.
#[test]
fn a_client_that_leaves_before_the_answer_is_charged() {
    let mut world = world();
    for number in 0..60 {
        let (client, server) = asks(&mut world, &format!("t{number}"));
        world.reset(client);
        world.reply(server, answer(r#"{"active":false}"#));
        world.finish_upstream(server);
    }
    let client = world.connect();
    world.send(client, bearer("t"));
    refused(&mut world, client, 429);
    world.expect_quiet();
}

/// Active tokens and missing answers do not count as failures.
#[test]
fn a_client_that_leaves_is_not_charged_for_an_active_token() {
    let mut world = world();
    for number in 0..100 {
        let (client, server) = asks(&mut world, &format!("t{number}"));
        world.reset(client);
        if number % 2 == 0 {
            world.reply(server, answer(ACTIVE));
        }
        world.finish_upstream(server);
    }
    asks(&mut world, "t");
}

#[test]
fn a_client_has_at_most_eight_questions() {
    let mut world = world();
    for number in 0..100 {
        let (client, server) = asks(&mut world, &format!("t{number}"));
        world.reset(client);
        // Questions above the limit are dropped, and count.
        assert_eq!(world.closed_upstream(server), number >= 8, "{number}");
        if number == 67 {
            break;
        }
    }
    let client = world.connect();
    world.send(client, bearer("t"));
    refused(&mut world, client, 429);
    let other = world.connect_from(std::net::IpAddr::from([192, 0, 2, 9]));
    world.send(other, bearer("t"));
    world.accept();
    world.expect_silence(other);
}

#[test]
fn a_request_that_waited_is_counted_once() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "opaque" }} ],
              "auth": {{ {OPAQUE} }}, "rateLimit": {{ "requests": 2 }}, "cors": false, "securityHeaders": false }}"#
    ));
    let (client, server) = asks(&mut world, "t");
    world.reply(server, answer(ACTIVE));
    passes(&mut world, client);
    world.send(client, bearer("t"));
    passes(&mut world, client);
    world.send(client, bearer("t"));
    refused(&mut world, client, 429);
    world.expect_quiet();
}

#[test]
fn a_half_closed_client_may_get_its_answer() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "opaque" }} ], "halfClose": true,
              "auth": {{ {OPAQUE} }}, "cors": false, "securityHeaders": false }}"#
    ));
    let (client, server) = asks(&mut world, "t");
    world.finish(client);
    world.reply(server, answer(ACTIVE));
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn questions_above_the_limit_get_a_503() {
    let mut world = world();
    let clients = (0..257).map(|_| world.connect()).collect::<Vec<_>>();
    for (number, &client) in clients.iter().enumerate() {
        world.send(client, bearer(&format!("t{number}")));
    }
    assert_eq!(world.dials.len(), 256);
    let answer = world.expect_status(clients[256], 503);
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    assert!(
        matches!(&world.reports[..], [Report::UpstreamFailed(failed)]
            if failed.reason == Some(Reason::Busy(Busy::Questions))),
        "{:?}",
        world.reports
    );
    for &client in &clients[..256] {
        world.expect_silence(client);
        world.finish(client);
    }
    world.expect_quiet();
}
