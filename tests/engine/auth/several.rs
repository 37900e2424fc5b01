//! Several providers: one valid credential is enough.

use tollgate::proxy::command::Fault;

use super::*;

const MAIN: &str = r#""main": { "type": "jwt", "secret": "a secret of more than thirty-two bytes", "forwardClaims": { "sub": "X-User" } }"#;
const KEYS: &str = r#""keys": { "type": "apiKey", "keys": { "a": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } }"#;
const OPAQUE: &str = r#""opaque": { "type": "introspection", "url": "http://10.0.0.9/i", "forwardClaims": { "sub": "X-Opaque" } }"#;
const SSO: &str =
    r#""sso": { "type": "forward", "url": "http://10.0.0.8/f", "copyHeaders": ["X-Sso"] }"#;
const PEOPLE: &str = r#""people": { "type": "basic", "users": { "ann": "pbkdf2-sha256:1:c2FsdA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" } }"#;

fn all(service: &str) -> World {
    guarded(
        service,
        &format!("{MAIN}, {KEYS}, {OPAQUE}, {SSO}, {PEOPLE}"),
    )
}

#[test]
fn any_valid_credential_is_enough() {
    let mut world = all(r#""auth": ["people", "opaque", "keys", "main"]"#);
    for lines in [
        format!("Authorization: Bearer {}\r\n", anns("")),
        "X-Api-Key: abc\r\n".to_owned(),
        // The key is valid, so no server is asked about the token.
        "X-Api-Key: abc\r\nAuthorization: Bearer opaque\r\n".to_owned(),
        "X-Api-Key: abc\r\nAuthorization: Basic YTpi\r\n".to_owned(),
    ] {
        let client = world.connect();
        world.send(client, get(&lines));
        passes(&mut world, client);
    }
    assert!(world.passwords.is_empty());
    let client = world.connect();
    world.send(client, GET);
    assert_eq!(
        challenges(&refused(&mut world, client, 401)),
        [
            r#"Bearer realm="tollgate""#,
            r#"Basic realm="tollgate", charset="UTF-8""#,
            r#"ApiKey realm="tollgate", header="X-Api-Key""#
        ]
    );
    world.expect_quiet();
}

#[test]
fn a_good_credential_counts_although_another_provider_is_down() {
    let mut world = all(r#""auth": ["opaque", "sso"]"#);
    for (first, second, status) in [
        ("", "200", 200),
        ("500", "200", 200),
        ("500", "403", 503),
        ("inactive", "403", 403),
        ("inactive", "500", 503),
    ] {
        let client = world.connect();
        let asks = !first.is_empty();
        world.send(
            client,
            if asks {
                bearer(&format!("t{first}{second}"))
            } else {
                GET.to_owned()
            },
        );
        if asks {
            let server = world.accept();
            let body = if first == "inactive" {
                r#"{"active":false}"#
            } else {
                ""
            };
            let code = if first == "inactive" { "200" } else { first };
            world.reply(
                server,
                format!(
                    "HTTP/1.1 {code} x\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ),
            );
            world.finish_upstream(server);
        }
        let server = world.accept();
        world.reply(
            server,
            format!("HTTP/1.1 {second} x\r\nX-Sso: s\r\nContent-Length: 0\r\n\r\n"),
        );
        world.finish_upstream(server);
        if status == 200 {
            let upstream = passes(&mut world, client);
            assert!(upstream.contains("X-Sso: s\r\n"), "{upstream}");
        } else {
            refused(&mut world, client, status);
        }
    }
    world.expect_quiet();
}

#[test]
fn forwarded_claims_of_all_providers_are_protected() {
    let mut world = all(r#""auth": ["main", "opaque", "sso"]"#);
    let client = world.connect();
    world.send(
        client,
        get(&format!(
            "Authorization: Bearer {}\r\nX-User: root\r\nX-Opaque: root\r\nX-Sso: root\r\n",
            anns("")
        )),
    );
    let upstream = passes(&mut world, client);
    assert!(
        !upstream.contains("root") && upstream.contains("X-User: ann\r\n"),
        "{upstream}"
    );
    world.expect_quiet();
}

/// The threat model (`docs/security.md`) states this.
#[test]
fn a_path_in_a_field_passes_unless_a_provider_names_the_field() {
    let lines =
        "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\n";
    let request = format!("GET /open HTTP/1.1\r\nHost: gate\r\n{lines}\r\n");
    for (provider, stays) in [
        (MAIN, ""),
        (
            r#""p": { "type": "jwt", "secret": "a secret of more than thirty-two bytes", "forwardClaims": { "none": "X-Original-URL" } }"#,
            "X-Original-URL: /admin\r\n",
        ),
        (
            r#""p": { "type": "forward", "url": "http://10.0.0.8", "copyHeaders": ["X-Rewrite-Url"] }"#,
            "X-Rewrite-URL: /admin\r\n",
        ),
    ] {
        let mut world = guarded(r#""stripPrefix": true"#, provider);
        let client = world.connect();
        world.send(client, &request);
        let upstream = passes(&mut world, client);
        let expected = match stays {
            "" => lines.to_owned(),
            stays => lines.replace(stays, ""),
        };
        assert!(upstream.contains(&format!("\r\n{expected}")), "{upstream}");
        assert!(stays.is_empty() || !upstream.contains(stays), "{upstream}");
    }
}

#[test]
fn keys_have_no_scopes() {
    let mut world = all(r#""auth": ["keys", "main"], "scopes": ["read"]"#);
    let client = world.connect();
    world.send(client, get("X-Api-Key: abc\r\n"));
    refused(&mut world, client, 403);
    world.send(
        client,
        get(&format!(
            "X-Api-Key: abc\r\nAuthorization: Bearer {}\r\n",
            anns(r#","scope":"read""#)
        )),
    );
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn providers_are_asked_in_order_until_one_accepts() {
    let mut world = all(r#""auth": ["people", "sso"]"#);
    let client = world.connect();
    world.send(client, get("Authorization: Basic YW5uOngK\r\n"));
    assert!(!world.verify());
    let server = world.accept();
    world.reply(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    passes(&mut world, client);
    world.expect_quiet();
}

#[test]
fn a_retry_has_the_same_claims_of_the_user() {
    let mut world = World::with(&format!(
        r#"{{ "services": [ {{ "route": "/auth", "targets": ["http://10.0.0.1/auth", "http://10.0.0.2/a/longer/path"], "retries": 1, "auth": "main" }} ],
              "auth": {{ {MAIN} }}, "rateLimit": false, "cors": false, "securityHeaders": false }}"#
    ));
    let client = world.connect();
    world.send(
        client,
        get(&format!(
            "Authorization: Bearer {}\r\nX-User: root\r\n",
            anns("")
        )),
    );
    let first = world.refuse(Fault::Refused);
    let origin = world.accept();
    let upstream = world.received_upstream(origin);
    let other = if first.ip().to_string() == "10.0.0.1" {
        "10.0.0.2"
    } else {
        "10.0.0.1"
    };
    assert!(
        upstream.contains(&format!("\r\nHost: {other}\r\n")),
        "{upstream}"
    );
    assert!(
        upstream.contains("\r\nX-User: ann\r\n") && !upstream.contains("root"),
        "{upstream}"
    );
    world.reply(origin, OK);
    world.expect_status(client, 200);
    world.expect_quiet();
}
