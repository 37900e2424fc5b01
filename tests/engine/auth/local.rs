//! Credentials that are verified at once: tokens with known keys, and API keys.

use super::*;

const JWT: &str = r#""main": { "type": "jwt", "secret": "a secret of more than thirty-two bytes",
    "issuer": "idp", "audience": "api", "forwardClaims": { "sub": "X-User-Id", "roles": "X-Roles" } }"#;

fn good() -> String {
    anns(r#","iss":"idp","aud":"api","roles":["a","b"]"#)
}

#[test]
fn the_401_byte_for_byte() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    world.send(client, GET);
    world.expect(
        client,
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json; charset=utf-8\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
         WWW-Authenticate: Bearer realm=\"tollgate\"\r\nContent-Length: 67\r\n\r\n\
         {\"code\":401,\"status\":\"Error\",\"message\":\"Unauthorized.\",\"data\":null}",
    );
    world.expect_open(client);
    world.expect_no_dial();
    assert!(world.log()[0].contains("\"GET /auth HTTP/1.1\" 401 67"));
    world.expect_quiet();
}

#[test]
fn a_valid_token_is_forwarded_with_its_claims() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    let token = good();
    // The second round finds the token in the cache.
    for _ in 0..2 {
        world.send(client, bearer(&token));
        let upstream = passes(&mut world, client);
        assert_eq!(
            upstream,
            format!(
                "GET /auth HTTP/1.1\r\nHost: 10.0.0.1\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: 192.0.2.1\r\n\
                 X-Forwarded-Proto: http\r\nX-Forwarded-Host: gate\r\nX-User-Id: ann\r\nX-Roles: a,b\r\nVia: 1.1 tollgate\r\n\r\n"
            )
        );
    }
    world.expect_quiet();
}

/// The upstream handles CORS itself. A preflight of a browser has no credentials, and any other
/// OPTIONS needs them.
#[test]
fn a_preflight_needs_no_token() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    let preflight = "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nOrigin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    world.send(client, preflight);
    passes(&mut world, client);
    let asks = [
        "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nOrigin: https://a.test\r\n\r\n",
        &preflight.replace("OPTIONS", "GET"),
    ];
    for other in asks {
        let mut world = guarded(r#""auth": "main""#, JWT);
        let client = world.connect();
        world.send(client, other);
        refused(&mut world, client, 401);
    }
}

#[test]
fn invalid_tokens_get_a_challenge_with_the_error() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let whole = good();
    let mut changed = whole.clone();
    changed.replace_range(60..61, if &whole[60..61] == "A" { "B" } else { "A" });
    let (signed, _) = whole.rsplit_once('.').expect("a dot");
    let (_, claims) = signed.split_once('.').expect("a dot");
    let none = format!("{}.{claims}.", encode_url(br#"{"alg":"none"}"#));
    let rows: &[(&str, &str)] = &[
        (
            &token_by(
                r#"{"sub":"ann","exp":1795521660,"iss":"idp","aud":"api"}"#,
                "another secret",
            ),
            "the signature of the token is wrong",
        ),
        (
            &anns(r#","iss":"other","aud":"api""#),
            "the issuer of the token is not accepted",
        ),
        (
            &anns(r#","iss":"idp","aud":"other""#),
            "the token is for another audience",
        ),
        (&anns(""), "the issuer of the token is not accepted"),
        (
            &token(r#"{"exp":1795521595,"iss":"idp","aud":"api"}"#),
            "the token has expired",
        ),
        (
            &token(r#"{"exp":1795521660,"nbf":1795521606,"iss":"idp","aud":"api"}"#),
            "the token is not valid yet",
        ),
        (
            &token(r#"{"exp":1795521660,"iat":1795521606,"iss":"idp","aud":"api"}"#),
            "the token was issued in the future",
        ),
        (
            &token(r#"{"exp":null,"iss":"idp","aud":"api"}"#),
            "the token has no expiry",
        ),
        (
            &token(r#"{"iss":"idp","aud":"api"}"#),
            "the token has no expiry",
        ),
        (
            &token(r#"{"exp":1795521660,"iss":"idp","aud":"api","iss":"idp"}"#),
            "the claims of the token are malformed",
        ),
        (&whole[..whole.len() - 2], "the token is malformed"),
        (signed, "the token is malformed"),
        (&changed, "the signature of the token is wrong"),
        (&none, "the token is malformed"),
        (&format!("{none}AA"), "the token is malformed"),
        ("", "the token is malformed"),
        ("x", "the token is malformed"),
        ("..", "the token is malformed"),
        (&format!("{whole} {whole}"), "the token is malformed"),
        (&format!("{whole},"), "the token is malformed"),
        (&"a".repeat(10_000), "the token is malformed"),
    ];
    for (bad, why) in rows {
        let client = world.connect();
        world.send(client, bearer(bad));
        let answer = refused(&mut world, client, 401);
        let challenge =
            format!(r#"Bearer realm="tollgate", error="invalid_token", error_description="{why}""#);
        assert_eq!(challenges(&answer), [challenge], "{bad:.80}");
    }
    // A credential of another scheme is not an invalid token.
    let client = world.connect();
    world.send(client, get("Authorization: Digest x\r\n"));
    assert_eq!(
        challenges(&refused(&mut world, client, 401)),
        [r#"Bearer realm="tollgate""#]
    );
    world.expect_quiet();
}

/// Clocks of issuers and gateways differ by some seconds. Claims may have nulls and long lists.
#[test]
fn tokens_of_real_issuers_are_good() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let groups = (0..300)
        .map(|group| format!("\"group-{group}\""))
        .collect::<Vec<_>>()
        .join(",");
    for claims in [
        r#""exp":1795521596"#.to_owned(),
        r#""exp":1795521660,"nbf":1795521605,"iat":1795521605"#.to_owned(),
        r#""exp":1795521660,"nbf":null,"iat":null,"scope":null,"roles":null,"acr":null"#.to_owned(),
        format!(r#""exp":1795521660,"groups":[{groups}]"#),
    ] {
        let client = world.connect();
        world.send(
            client,
            bearer(&token(&format!(
                r#"{{"sub":"ann","iss":"idp","aud":"api",{claims}}}"#
            ))),
        );
        assert!(
            passes(&mut world, client).contains("\r\nX-User-Id: ann\r\n"),
            "{claims:.100}"
        );
    }
    world.expect_quiet();
}

#[test]
fn a_cached_token_ends_at_its_exp() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    let token = good();
    world.send(client, bearer(&token));
    passes(&mut world, client);
    world.wait(59_000);
    world.send(client, bearer(&token));
    passes(&mut world, client);
    // Five more seconds are allowed for clocks that differ.
    world.wait(5_900);
    world.send(client, bearer(&token));
    passes(&mut world, client);
    world.wait(100);
    world.send(client, bearer(&token));
    refused(&mut world, client, 401);
    world.expect_quiet();
}

#[test]
fn fields_of_the_gateway_cannot_be_forged() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    let forged = "x-user-ID: root\r\nX-User-Id: admin\r\nX_User_Id: root\r\nX-User_Id: root\r\nX-ROLES: root\r\nX-Kept: yes\r\n";
    // Without roles in the token the header is removed all the same. A client cannot remove it by
    // naming it in Connection, either.
    let token = anns(r#","iss":"idp","aud":"api""#);
    world.send(
        client,
        get(&format!(
            "Authorization: Bearer {token}\r\nConnection: X-User-Id\r\n{forged}"
        )),
    );
    let upstream = passes(&mut world, client);
    assert!(
        !upstream.contains("root") && !upstream.contains("admin"),
        "{upstream}"
    );
    assert!(
        !upstream.to_ascii_lowercase().contains("roles"),
        "{upstream}"
    );
    assert!(
        upstream.contains("\r\nX-User-Id: ann\r\n") && upstream.contains("\r\nX-Kept: yes\r\n"),
        "{upstream}"
    );
    // An open service may have the same upstream.
    world.send(
        client,
        format!("GET /open HTTP/1.1\r\nHost: gate\r\n{forged}\r\n"),
    );
    let upstream = passes(&mut world, client);
    assert!(
        !upstream.contains("root")
            && !upstream.contains("admin")
            && upstream.contains("X-Kept: yes"),
        "{upstream}"
    );
    world.expect_quiet();
}

#[test]
fn scopes() {
    let mut world = guarded(
        r#""auth": "main", "scopes": ["read:users", "b"]"#,
        &JWT.replace(r#""issuer": "idp", "audience": "api","#, ""),
    );
    for (claims, enough) in [
        (r#","scope":"a b read:users""#, true),
        (r#","scp":["read:users","b"]"#, true),
        (r#","scope":"read:users""#, false),
        (r#","scope":"read:users:b b""#, false),
        ("", false),
    ] {
        let client = world.connect();
        world.send(client, bearer(&anns(claims)));
        if enough {
            passes(&mut world, client);
        } else {
            let answer = refused(&mut world, client, 403);
            assert!(answer.ends_with(
                "{\"code\":403,\"status\":\"Error\",\"message\":\"Forbidden.\",\"data\":null}"
            ));
            let challenge =
                r#"Bearer realm="tollgate", error="insufficient_scope", scope="read:users b""#;
            assert_eq!(challenges(&answer), [challenge], "{claims}");
            assert!(world.log().last().expect("a line").contains("\" 403 "));
        }
    }
    world.expect_quiet();
}

#[test]
fn duplicate_credentials_are_refused() {
    let keys = r#""keys": { "type": "apiKey", "keys": { "a": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } }"#;
    let mut world = guarded(r#""auth": ["main", "keys"]"#, &format!("{JWT}, {keys}"));
    for lines in [
        format!(
            "Authorization: Bearer {0}\r\nAuthorization: Bearer {0}\r\n",
            good()
        ),
        "Authorization: Basic YTpi\r\nAuthorization: Bearer x\r\n".to_owned(),
        "X-Api-Key: abc\r\nx-api-key: abc\r\n".to_owned(),
    ] {
        let client = world.connect();
        world.send(client, get(&lines));
        refused(&mut world, client, 400);
    }
    world.expect_quiet();
}

#[test]
fn api_keys() {
    let keys = r#""keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "billing": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "shop": "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" } }"#;
    let mut world = guarded(r#""auth": "keys""#, keys);
    for (line, good) in [
        ("X-Key: abc\r\n", true),
        ("x-key: x\r\n", true),
        ("X-Key: abcd\r\n", false),
        ("X-Key:\r\n", false),
        ("X-Api-Key: abc\r\n", false),
        ("X_Key: abc\r\n", false),
        ("Authorization: Bearer abc\r\n", false),
        ("", false),
    ] {
        let client = world.connect();
        world.send(client, get(line));
        if good {
            passes(&mut world, client);
        } else {
            let answer = refused(&mut world, client, 401);
            assert_eq!(
                challenges(&answer),
                [r#"ApiKey realm="tollgate", header="X-Key""#],
                "{line}"
            );
        }
    }
    world.expect_quiet();
}

#[test]
fn refusals_before_authentication_and_routes_without_it() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main" }} ], "auth": {{ {JWT} }},
              "rateLimit": {{ "requests": 3 }}, "limits": {{ "bodyBytes": 5 }} }}"#
    ));
    let client = world.connect();
    world.send(
        client,
        "OPTIONS /auth HTTP/1.1\r\nHost: gate\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: authorization\r\n\r\n",
    );
    assert!(
        world
            .expect_status(client, 204)
            .contains("Access-Control-Allow-Headers: authorization\r\n")
    );
    // A missing route and a body that is too large are reported before authentication. All of these
    // requests are counted.
    world.send(client, "GET /other HTTP/1.1\r\nHost: gate\r\n\r\n");
    refused(&mut world, client, 404);
    for _ in 0..2 {
        world.send(client, GET);
        let answer = refused(&mut world, client, 401);
        assert!(
            answer.contains("Access-Control-Allow-Origin: *\r\n")
                && answer.contains("X-Frame-Options: SAMEORIGIN\r\n")
        );
    }
    world.send(client, GET);
    refused(&mut world, client, 429);
    world.expect_quiet();
}

#[test]
fn the_body_of_a_refused_request_is_not_read_as_a_request() {
    let mut world = guarded(r#""auth": "main""#, JWT);
    let client = world.connect();
    world.send(
        client,
        format!(
            "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n{GET}{}",
            GET.len(),
            bearer(&good())
        ),
    );
    assert!(world.received(client).starts_with("HTTP/1.1 401 "));
    let upstream = world.accept();
    assert!(
        world.received_upstream(upstream).contains("X-User-Id: ann"),
        "the one behind the body"
    );
    world.expect_no_dial();
    world.reply(upstream, OK);
    world.expect_status(client, 200);
    // A refused request gets no 100.
    world.send(
        client,
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    world.expect_status(client, 401);
    world.expect_closing(client);
    let head = world.connect();
    world.send(head, "HEAD /auth HTTP/1.1\r\nHost: gate\r\n\r\n");
    let answer = world.expect_status(head, 401);
    assert!(
        answer.ends_with("\r\n\r\n") && answer.contains("Content-Length: 67"),
        "{answer}"
    );
    world.expect_quiet();
}

#[test]
fn the_json_log_names_the_end_and_no_token() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main" }} ], "auth": {{ {JWT} }},
              "accessLog": "json" }}"#
    ));
    let client = world.connect();
    let token = token_by("{}", "x");
    world.send(client, bearer(&token));
    refused(&mut world, client, 401);
    let lines = world.log();
    assert!(
        lines[0].contains("\"status\":401") && lines[0].contains("\"end\":\"unauthorized\""),
        "{lines:?}"
    );
    assert!(!lines[0].contains(&token) && !format!("{:?}", world.reports).contains(&token));
}

/// The JSON log names the subject of a token that let a request in, the first time and when it is remembered; of one that did not,
/// it says nothing.
#[test]
fn the_log_has_the_subject() {
    let mut world = World::with(&format!(
        r#"{{ "auth": {{ {JWT} }}, "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "main" }} ],
            "rateLimit": false, "cors": false, "securityHeaders": false, "accessLog": "json" }}"#
    ));
    let client = world.connect();
    let long = format!("{}\u{e9}", "x".repeat(255));
    let long = token(&format!(
        r#"{{"sub":"{long}","exp":1795521660,"iss":"idp","aud":"api"}}"#
    ));
    let short = format!("\"user\":\"{}\"", "x".repeat(255));
    for (token, user) in [
        (&good(), "\"user\":\"ann\""),
        (&good(), "\"user\":\"ann\""),
        (&long, &short),
    ] {
        world.send(client, bearer(token));
        passes(&mut world, client);
        let line = world.log().pop().expect("a line");
        assert!(line.contains(user), "{line}");
    }
    world.send(client, bearer(&anns(r#","iss":"other","aud":"api""#)));
    world.expect_status(client, 401);
    let line = world.log().pop().expect("a line");
    assert!(line.contains("\"user\":null"), "{line}");
    world.expect_quiet();
}
