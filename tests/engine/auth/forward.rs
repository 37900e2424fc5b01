//! Forward-auth: another service decides.

use tollgate::proxy::command::Fault;

use super::*;

const SSO: &str = r#""sso": { "type": "forward", "url": "http://127.0.0.1:4180/oauth2/auth?a=b",
    "copyHeaders": ["X-Auth-Request-User", "Authorization"] }"#;

fn world() -> World {
    guarded(r#""auth": "sso""#, SSO)
}

#[track_caller]
fn asks(world: &mut World, request: &str) -> (Client, Origin) {
    let client = world.connect();
    world.send(client, request);
    world.expect_silence(client);
    (client, world.accept())
}

#[test]
fn the_question_byte_for_byte() {
    let mut world = world();
    let (client, server) = asks(
        &mut world,
        "POST /auth/x?q=1 HTTP/1.1\r\nHost: gate\r\nCookie: a=b\r\nX-Other: y\r\nAuthorization: Bearer t\r\nCookie: c=d\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Uri: /forged\r\nX-Auth-Request-User: root\r\nContent-Length: 5\r\n\r\nhello",
    );
    world.expect_upstream(
        server,
        "GET /oauth2/auth?a=b HTTP/1.1\r\nHost: 127.0.0.1:4180\r\nCookie: a=b\r\nCookie: c=d\r\nAuthorization: Bearer t\r\n\
         X-Forwarded-Method: POST\r\nX-Forwarded-Uri: /auth/x?q=1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: gate\r\n\r\n",
    );
    world.reply(server, "HTTP/1.1 202 Accepted\r\nx-auth-request-user: ann\r\nAUTHORIZATION: Bearer other\r\nX-More: no\r\nContent-Length: 0\r\n\r\n");
    let origin = world.accept();
    world.expect_upstream(
        origin,
        "POST /auth/x?q=1 HTTP/1.1\r\nHost: 10.0.0.1\r\nCookie: a=b\r\nX-Other: y\r\nCookie: c=d\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\nX-Auth-Request-User: ann\r\nAuthorization: Bearer other\r\n\
         Via: 1.1 tollgate\r\nContent-Length: 5\r\n\r\nhello",
    );
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.expect_quiet();
}

#[test]
fn what_it_says_to_the_client() {
    let mut world = world();
    let (client, server) = asks(&mut world, GET);
    world.reply(
        server,
        "HTTP/1.1 302 Found\r\nLocation: https://sso/?rd=x\r\nSet-Cookie: a=1; HttpOnly\r\nSet-Cookie: b=2\r\nServer: x\r\n\
         Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nthere",
    );
    world.expect_no_dial();
    world.expect(
        client,
        "HTTP/1.1 302 Found\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nLocation: https://sso/?rd=x\r\nSet-Cookie: a=1; HttpOnly\r\n\
         Set-Cookie: b=2\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nthere",
    );
    assert!(world.log()[0].contains("\" 302 5 "));
    let head = GET.replace("GET", "HEAD");
    for (request, says, status, ends) in [
        (
            GET,
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"sso\"\r\nContent-Length: 0\r\n\r\n",
            401,
            "\"data\":null}",
        ),
        (GET, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403, "\"data\":null}"),
        (GET, "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", 403, "\r\n\r\nnope"),
        (GET, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, "Content-Length: 0\r\n\r\n"),
        (GET, "HTTP/1.1 418 No\r\nContent-Length: 0\r\n\r\n", 418, "Content-Length: 0\r\n\r\n"),
        (&head, "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", 403, "Content-Length: 4\r\n\r\n"),
    ] {
        let client = world.connect();
        world.send(client, request);
        world.reply(server, says);
        let answer = refused(&mut world, client, status);
        assert!(answer.ends_with(ends), "{answer}");
        assert_eq!(challenges(&answer).len(), usize::from(status == 401), "{answer}");
        world.expect_open(client);
        world.take_upstream(server);
    }
    // Its own 401 forgot what RFC 9110 15.5.2 asks for.
    let client = world.connect();
    world.send(client, GET);
    world.reply(server, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(challenges(&refused(&mut world, client, 401)), [r#"Forward realm="tollgate""#]);
    world.expect_quiet();
}

#[test]
fn without_an_answer_nobody_is_let_in() {
    for says in [
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 No\r\n\r\n",
        "what?\r\n\r\n",
    ] {
        let mut world = world();
        let (client, server) = asks(&mut world, GET);
        world.reply(server, says);
        refused(&mut world, client, 503);
        world.expect_quiet();
    }
    let mut world = world();
    let client = world.connect();
    world.send(client, GET);
    world.refuse(Fault::Refused);
    refused(&mut world, client, 503);
    let (client, _) = asks(&mut world, GET);
    world.wait(15_000);
    refused(&mut world, client, 503);
    world.expect_quiet();
}

#[test]
fn every_request_is_asked_about() {
    let mut world = world();
    let (first, server) = asks(&mut world, GET);
    let second = world.connect();
    world.send(second, GET);
    let other = world.accept();
    world.reply(other, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    world.expect_status(second, 403);
    world.reply(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    passes(&mut world, first);
    world.expect_quiet();
}

#[test]
fn an_answer_that_does_not_fit_is_none() {
    let mut world = world();
    let (client, server) = asks(&mut world, GET);
    world.reply(
        server,
        format!("HTTP/1.1 200 OK\r\nX-Auth-Request-User: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(9000)),
    );
    refused(&mut world, client, 503);
    world.finish_upstream(server);
    let (client, server) = asks(&mut world, GET);
    let page = "a".repeat(20_000);
    world.reply(server, format!("HTTP/1.1 403 No\r\nContent-Type: text/html\r\nContent-Length: 20000\r\n\r\n{page}"));
    assert!(refused(&mut world, client, 403).ends_with("\"data\":null}"), "too long to be passed on");
    world.expect_quiet();
}
