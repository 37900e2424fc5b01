//! Requests of the gateway itself: what each kind sends, and which answers are valid.

use tollgate::proxy::command::Report;

use super::script::*;

/// Kinds of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Health,
    Keys,
    Introspection,
    Forward,
}

const KINDS: [Kind; 4] = [Kind::Health, Kind::Keys, Kind::Introspection, Kind::Forward];

/// Result of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// A healthy target, a key set, or a request that is accepted.
    Good,
    /// A valid refusal: an inactive token, or the status that a forward-auth service sends to the
    /// client.
    No(u16),
    /// An unhealthy target, no key set, or no decision about the request (503).
    None,
}

use Outcome::{Good, No, None as Nothing};

/// Starts a gateway that sends a request of this kind. Returns the connection, and the client whose
/// request waits, if there is one.
fn asked(kind: Kind) -> (World, Origin, Option<Client>) {
    let (service, provider) = match kind {
        Kind::Health => (r#""healthCheck": { "path": "/own?a=b", "fall": 1 }"#, ""),
        Kind::Keys => (
            r#""auth": "p""#,
            r#""p": { "type": "jwt", "jwks": "http://10.0.0.9:81/own?a=b" }"#,
        ),
        Kind::Introspection => (
            r#""auth": "p""#,
            r#""p": { "type": "introspection", "url": "http://10.0.0.9:81/own?a=b" }"#,
        ),
        Kind::Forward => (
            r#""auth": "p""#,
            r#""p": { "type": "forward", "url": "http://10.0.0.9:81/own?a=b" }"#,
        ),
    };
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.9:81/auth", {service} }} ],
              "auth": {{ {provider} }}, "rateLimit": false, "cors": false, "securityHeaders": false }}"#
    ));
    world.wait(100);
    let client = match kind {
        Kind::Health | Kind::Keys => None,
        Kind::Introspection | Kind::Forward => {
            let client = world.connect();
            world.send(
                client,
                "GET /auth HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer t\r\n\r\n",
            );
            Some(client)
        }
    };
    let origin = world.accept();
    (world, origin, client)
}

#[test]
fn a_check_has_the_host_of_its_key() {
    let mut world = World::with(
        r#"{ "services": [ { "route": "/", "target": "http://10.0.0.9:81/", "preserveHost": true,
             "healthCheck": { "path": "/own", "host": "app.example.com:8443" } } ], "rateLimit": false }"#,
    );
    world.wait(100);
    let origin = world.accept();
    let request = world.received_upstream(origin);
    assert!(
        request.starts_with("GET /own HTTP/1.1\r\nHost: app.example.com:8443\r\nAccept: */*\r\n"),
        "{request}"
    );
}

#[test]
fn the_request_of_each_kind() {
    let common = "Accept-Encoding: identity\r\n";
    for (kind, expected) in [
        (
            Kind::Health,
            format!(
                "GET /own?a=b HTTP/1.1\r\nHost: 10.0.0.9:81\r\nAccept: */*\r\n{common}User-Agent: tollgate/health\r\nConnection: close\r\n\r\n"
            ),
        ),
        (
            Kind::Keys,
            format!(
                "GET /own?a=b HTTP/1.1\r\nHost: 10.0.0.9:81\r\nAccept: application/jwk-set+json, application/json\r\n{common}\
                 User-Agent: tollgate\r\n\r\n"
            ),
        ),
        (
            Kind::Introspection,
            format!(
                "POST /own?a=b HTTP/1.1\r\nHost: 10.0.0.9:81\r\nAccept: application/json\r\n{common}User-Agent: tollgate\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 36\r\n\r\ntoken=t&token_type_hint=access_token"
            ),
        ),
        (
            // The fields are the client's own. The gateway adds no Accept.
            Kind::Forward,
            format!(
                "GET /own?a=b HTTP/1.1\r\nHost: 10.0.0.9:81\r\nAuthorization: Bearer t\r\nX-Forwarded-Method: GET\r\n\
                 X-Forwarded-Uri: /auth\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\n\
                 Accept: */*\r\n{common}\r\n"
            ),
        ),
    ] {
        let (mut world, origin, _) = asked(kind);
        world.expect_upstream(origin, expected);
    }
}

/// Sends an answer to a request of this kind. Returns the result.
fn heard(kind: Kind, answer: &str) -> Outcome {
    let (mut world, origin, client) = asked(kind);
    world.reply(origin, answer);
    world.finish_upstream(origin);
    let client = match (kind, client) {
        (Kind::Keys, _) => {
            return match world.reports.as_slice() {
                [Report::KeysFetched { .. }] => Good,
                [Report::KeysFailed { .. }] => Nothing,
                other => panic!("{other:?}"),
            };
        }
        (_, Some(client)) => client,
        (_, None) => {
            let client = world.connect();
            world.send(client, GET);
            client
        }
    };
    // A redirect is not followed.
    assert!(world.dials.len() <= 1);
    if world.dials.pop().is_some() {
        return Good;
    }
    let answer = world.received(client);
    match answer
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .expect("a status")
    {
        503 => Nothing,
        status => No(status),
    }
}

#[test]
fn valid_and_invalid_answers_of_each_kind() {
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    // Returns a valid answer for each kind, with this status and these fields.
    let with = |kind: Kind, status: &str, fields: &str| {
        let body = match kind {
            Kind::Keys => keys,
            Kind::Introspection => r#"{"active":true}"#,
            Kind::Health | Kind::Forward => "ok",
        };
        format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (status, fields, expected) in [
        ("200 OK", "", [Good, Good, Good, Good]),
        // The media type does not matter; many servers send a key set as text.
        (
            "200 OK",
            "Content-Type: text/plain\r\n",
            [Good, Good, Good, Good],
        ),
        (
            "200 OK",
            "Content-Encoding: identity\r\n",
            [Good, Good, Good, Good],
        ),
        // A content coding that was not accepted cannot be read. Where only the status matters, the
        // answer is valid.
        (
            "200 OK",
            "Content-Encoding: gzip\r\n",
            [Good, Nothing, Nothing, Good],
        ),
        ("201 Created", "", [Good, Nothing, Nothing, Good]),
        ("299 Fine", "", [Good, Nothing, Nothing, Good]),
        (
            "302 Found",
            "Location: http://10.0.0.9:81/other\r\n",
            [Good, Nothing, Nothing, No(302)],
        ),
        ("401 No", "", [Nothing, Nothing, Nothing, No(401)]),
        ("403 No", "", [Nothing, Nothing, Nothing, No(403)]),
        ("404 No", "", [Nothing, Nothing, Nothing, No(404)]),
        ("429 No", "", [Nothing, Nothing, Nothing, No(429)]),
        ("500 No", "", [Nothing, Nothing, Nothing, Nothing]),
    ] {
        for (kind, expected) in KINDS.into_iter().zip(expected) {
            assert_eq!(
                heard(kind, &with(kind, status, fields)),
                expected,
                "{kind:?} {status} {fields}"
            );
            // Interim heads are ignored (RFC 9110 15.2).
            let early = format!(
                "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n{}",
                with(kind, status, fields)
            );
            assert_eq!(
                heard(kind, &early),
                expected,
                "{kind:?} early {status} {fields}"
            );
        }
    }
    for (answer, expected) in [
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            [Good, Nothing, Nothing, Good],
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            [Good, Nothing, Nothing, Nothing],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"active\":false",
            [Good, Nothing, Nothing, Nothing],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"active\":false}",
            [Good, Nothing, No(401), Good],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            [Nothing; 4],
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            [Nothing; 4],
        ),
        ("HTTP/1.1 2", [Nothing; 4]),
        ("what?\r\n\r\n", [Nothing; 4]),
    ] {
        for (kind, expected) in KINDS.into_iter().zip(expected) {
            assert_eq!(heard(kind, answer), expected, "{kind:?} {answer}");
        }
    }
}
