//! Forward-auth: another service decides about a request.

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
fn the_forward_auth_request_byte_for_byte() {
    let mut world = world();
    let (client, server) = asks(
        &mut world,
        "POST /auth/x?q=1 HTTP/1.1\r\nHost: gate\r\nCookie: a=b\r\nX-Other: y\r\nAuthorization: Bearer t\r\nCookie: c=d\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Uri: /forged\r\nX-Auth-Request-User: root\r\nContent-Length: 5\r\n\r\nhello",
    );
    world.expect_upstream(
        server,
        "GET /oauth2/auth?a=b HTTP/1.1\r\nHost: 127.0.0.1:4180\r\nCookie: a=b\r\nX-Other: y\r\nAuthorization: Bearer t\r\n\
         Cookie: c=d\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Uri: /auth/x?q=1\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n",
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

/// End-to-end fields of the client are sent along. Fields that describe only its own request are
/// not.
#[test]
fn fields_of_the_forward_auth_request() {
    let common = "GET / HTTP/1.1\r\nHost: 10.0.0.8\r\n";
    let ends = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /auth\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                X-Forwarded-Host: gate\r\n";
    for goes in [
        "Accept: text/html,application/xhtml+xml",
        "Accept-Language: de",
        "User-Agent: curl/8",
        "X-Requested-With: XMLHttpRequest",
        "Origin: https://a",
        "Referer: https://a/b",
        "Sec-Fetch-Mode: navigate",
        "X-Api-Key: k",
        "DPoP: x.y.z",
        "authorization: Bearer x",
        "Via: 1.1 other",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let mut world = guarded(
            r#""auth": "sso""#,
            r#""sso": { "type": "forward", "url": "http://10.0.0.8" }"#,
        );
        let (client, server) = asks(&mut world, &get(&format!("{goes}\r\n")));
        let accept = if goes.starts_with("Accept:") {
            ""
        } else {
            "Accept: */*\r\n"
        };
        world.expect_upstream(
            server,
            format!("{common}{goes}\r\n{ends}{accept}Accept-Encoding: identity\r\n\r\n"),
        );
        world.finish(client);
        world.expect_quiet();
    }
    for stays in [
        "Accept-Encoding: gzip, br",
        "Content-Type: text/plain",
        "content-language: de",
        "Content-Digest: sha-256=:YQ==:",
        "Digest: x",
        "Range: bytes=0-5",
        "If-Range: \"x\"",
        "If-None-Match: *",
        "If-Modified-Since: Tue, 24 Nov 2026 12:00:00 GMT",
        "Connection: X-Hop\r\nX-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic YTpi",
        "X-Forwarded-Method: DELETE",
        "X-Forwarded-Uri: /public",
        "X-Forwarded-Host: other",
        "X-Forwarded-User: root",
        "X-Original-URL: https://gate/public",
        "X-Original-Method: OPTIONS",
        "X-Client-Subject: CN=root",
        "X_User: root",
        "X-User: root",
    ] {
        let mut world = guarded(
            r#""auth": "sso""#,
            r#""sso": { "type": "forward", "url": "http://10.0.0.8", "copyHeaders": ["x-user"] }"#,
        );
        let (client, server) = asks(&mut world, &get(&format!("{stays}\r\n")));
        world.expect_upstream(
            server,
            format!("{common}{ends}Accept: */*\r\nAccept-Encoding: identity\r\n\r\n"),
        );
        world.finish(client);
        world.expect_quiet();
    }
}

#[test]
fn a_trusted_proxy_says_where_the_request_came_from() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "sso" } ],
             "auth": { "sso": { "type": "forward", "url": "http://10.0.0.8" } }, "trustedProxies": ["192.0.2.1"],
             "rateLimit": false, "cors": false, "securityHeaders": false }"#,
    );
    let lines = "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nX-Forwarded-Uri: /x\r\n";
    let (client, server) = asks(&mut world, &get(lines));
    world.expect_upstream(
        server,
        "GET / HTTP/1.1\r\nHost: 10.0.0.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nX-Forwarded-Method: GET\r\n\
         X-Forwarded-Uri: /auth\r\nX-Forwarded-For: 203.0.113.5, 192.0.2.1\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n",
    );
    world.finish(client);
    world.expect_quiet();
}

/// Returns the `Set-Cookie` lines of an answer.
fn cookies(answer: &str) -> Vec<&str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("Set-Cookie: "))
        .collect()
}

const RENEWS: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: session=new; Path=/\r\nset-cookie: b=2\r\nX-More: no\r\nContent-Length: 0\r\n\r\n";

/// Returns a client that was accepted and whose session is renewed. The caller answers as the
/// upstream.
fn renewed(request: &str) -> (World, Client, Origin) {
    let mut world = world();
    let (client, server) = asks(&mut world, request);
    world.reply(server, RENEWS);
    world.expect_silence(client);
    (world, client, server)
}

#[test]
fn a_renewed_session_reaches_the_client_with_every_answer() {
    let expected = ["session=new; Path=/", "b=2"];
    // The upstream sets a cookie of its own, too.
    let (mut world, client, server) = renewed(GET);
    let origin = world.accept();
    assert!(!world.received_upstream(origin).contains("ookie"));
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nSet-Cookie: app=1\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(
        cookies(&world.expect_status(client, 200)),
        ["app=1", "session=new; Path=/", "b=2"]
    );
    // The next request has its own answer.
    world.send(client, GET);
    world.reply(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    world.reply(origin, OK);
    assert_eq!(cookies(&world.expect_status(client, 200)), [""; 0]);

    // A 103 gets no cookie. A 304 and a 101 get it.
    let (mut world, client, _) = renewed(&GET.replace("GET", "HEAD"));
    let origin = world.accept();
    world.reply(origin, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
    assert_eq!(cookies(&world.expect_status(client, 103)), [""; 0]);
    world.reply(origin, "HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_eq!(cookies(&world.expect_status(client, 304)), expected);
    let (mut world, client, _) = renewed(&get(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ));
    let origin = world.accept();
    world.reply(origin, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    let answer = world.expect_status(client, 101);
    assert_eq!(cookies(&answer), expected);
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");

    // The gateway answers itself: the upstream sends nothing, sends an invalid response, or refuses
    // the connection.
    for says in [
        "",
        "what?\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let (mut world, client, _) = renewed(&GET.replace("GET", "POST"));
        let origin = world.accept();
        world.reply(origin, says);
        world.finish_upstream(origin);
        assert_eq!(
            cookies(&world.expect_status(client, 502)),
            expected,
            "{says}"
        );
    }
    let (mut world, client, _) = renewed(GET);
    world.refuse(Fault::Refused);
    assert_eq!(cookies(&world.expect_status(client, 502)), expected);
    let (mut world, client, _) = renewed(GET);
    let _origin = world.accept();
    world.wait(15_000);
    assert_eq!(cookies(&world.expect_status(client, 504)), expected);
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "sso",
                               "healthCheck": {{ "path": "/health", "fall": 1 }} }} ],
              "auth": {{ {SSO} }}, "rateLimit": false, "cors": false, "securityHeaders": false }}"#
    ));
    world.wait(1);
    let check = world.accept();
    world.reply(check, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let (client, server) = asks(&mut world, GET);
    world.reply(server, RENEWS);
    assert_eq!(cookies(&refused(&mut world, client, 503)), expected);
}

#[test]
fn a_session_that_is_renewed_survives_a_retry_and_a_refusal() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "targets": ["http://10.0.0.1/auth", "http://10.0.0.2/auth"], "auth": "sso" }},
                            {{ "route": "/more", "target": "http://10.0.0.1/", "auth": ["sso", "main"], "scopes": ["a"] }} ],
              "auth": {{ {SSO}, "main": {{ "type": "jwt", "secret": "{SECRET}" }} }}, "rateLimit": false, "cors": false,
              "securityHeaders": false }}"#
    ));
    let (client, server) = asks(&mut world, GET);
    world.reply(server, RENEWS);
    world.refuse(Fault::Refused);
    let origin = world.accept();
    world.reply(origin, OK);
    assert_eq!(
        cookies(&world.expect_status(client, 200)),
        ["session=new; Path=/", "b=2"]
    );
    // The other service demands a scope, which only a token has.
    world.send(client, GET.replace("/auth", "/more"));
    world.reply(server, RENEWS);
    let answer = refused(&mut world, client, 403);
    assert_eq!(cookies(&answer), ["session=new; Path=/", "b=2"]);
    world.expect_quiet();
}

#[test]
fn a_session_that_is_renewed_survives_a_response_that_is_taken_back() {
    let (mut world, client, _) = renewed(GET);
    let origin = world.accept();
    world.reply(
        origin,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    );
    assert_eq!(
        cookies(&world.expect_status(client, 502)),
        ["session=new; Path=/", "b=2"]
    );
    world.expect_quiet();
}

#[test]
fn a_session_has_a_bounded_number_of_cookies() {
    let mut world = world();
    let cookie = |bytes: usize| format!("Set-Cookie: s={}\r\n", "x".repeat(bytes));
    let (client, server) = asks(&mut world, GET);
    world.reply(
        server,
        format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            cookie(4_000).repeat(4)
        ),
    );
    let origin = world.accept();
    world.reply(
        origin,
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok",
            "x".repeat(32_000)
        ),
    );
    assert_eq!(cookies(&world.expect_status(client, 200)).len(), 4);
    world.send(client, GET);
    world.reply(
        server,
        format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            cookie(4_000).repeat(5)
        ),
    );
    refused(&mut world, client, 503);
    world.expect_quiet();
}

/// A client needs the fields that describe an error page's body. Fields that describe another body
/// must not stay.
#[test]
fn a_denial_has_its_representation_fields() {
    for (says, expected) in [
        (
            "Content-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Language: de\r\nCache-Control: no-store\r\n\
             ETag: x\r\nContent-Length: 4\r\n\r\n\x1f8..",
            "Cache-Control: no-store\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Language: de\r\n\
             Content-Length: 4\r\n\r\n\x1f8..",
        ),
        (
            "Content-Type: text/html\r\nContent-Encoding: gzip\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n",
            "Content-Type: application/json; charset=utf-8\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nCache-Control: no-store\r\n\
             Content-Length: 64\r\n\r\n{\"code\":403,\"status\":\"Error\",\"message\":\"Forbidden.\",\"data\":null}",
        ),
    ] {
        let mut world = world();
        let (client, server) = asks(&mut world, GET);
        world.reply(server, format!("HTTP/1.1 403 No\r\n{says}"));
        let answer = refused(&mut world, client, 403);
        let (_, fields) = answer.split_once("Forbidden\r\n").expect("a reason");
        let fields = fields
            .strip_prefix("Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n")
            .unwrap_or(fields);
        assert_eq!(fields, expected);
        world.expect_quiet();
    }
}

#[test]
fn answers_that_are_passed_to_the_client() {
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
        (
            GET,
            "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            403,
            "\"data\":null}",
        ),
        (
            GET,
            "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope",
            403,
            "\r\n\r\nnope",
        ),
        (
            GET,
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            404,
            "Content-Length: 0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 418 No\r\nContent-Length: 0\r\n\r\n",
            418,
            "Content-Length: 0\r\n\r\n",
        ),
        (
            &head,
            "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope",
            403,
            "Content-Length: 4\r\n\r\n",
        ),
    ] {
        let client = world.connect();
        world.send(client, request);
        world.reply(server, says);
        let answer = refused(&mut world, client, status);
        assert!(answer.ends_with(ends), "{answer}");
        assert_eq!(
            challenges(&answer).len(),
            usize::from(status == 401),
            "{answer}"
        );
        world.expect_open(client);
        world.take_upstream(server);
    }
    // The 401 of the other service lacks the challenge that RFC 9110 15.5.2 requires.
    let client = world.connect();
    world.send(client, GET);
    world.reply(server, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        challenges(&refused(&mut world, client, 401)),
        [r#"Forward realm="tollgate""#]
    );
    world.expect_quiet();
}

#[test]
fn without_an_answer_every_request_is_refused() {
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
fn an_answer_that_does_not_fit_counts_as_missing() {
    let mut world = world();
    let (client, server) = asks(&mut world, GET);
    world.reply(
        server,
        format!(
            "HTTP/1.1 200 OK\r\nX-Auth-Request-User: {}\r\nContent-Length: 0\r\n\r\n",
            "a".repeat(9000)
        ),
    );
    refused(&mut world, client, 503);
    world.finish_upstream(server);
    let (client, server) = asks(&mut world, GET);
    let page = "a".repeat(20_000);
    world.reply(
        server,
        format!(
            "HTTP/1.1 403 No\r\nContent-Type: text/html\r\nContent-Length: 20000\r\n\r\n{page}"
        ),
    );
    assert!(
        refused(&mut world, client, 403).ends_with("\"data\":null}"),
        "too long to be passed on"
    );
    world.expect_quiet();
}
