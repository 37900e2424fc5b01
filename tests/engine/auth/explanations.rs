//! Explanations: for each fault of a credential (401, and 403 where a scope is missing) a scripted cause, the line that an
//! operator reads, and what the client is told.

use std::collections::BTreeSet;

use tollgate::policy::auth::base64::encode;
use tollgate::policy::auth::fault::CredentialFault;

use super::super::explanations::{last_logged, lines};
use super::*;

const PROVIDERS: &str = r#"
    "main": { "type": "jwt", "secret": "a secret of more than thirty-two bytes", "issuer": "idp", "audience": "api" },
    "sets": { "type": "jwt", "jwks": "http://10.0.0.8/keys", "issuer": "idp", "audience": "api" },
    "keys": { "type": "apiKey", "header": "X-Key", "keys": {
        "ann": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" } },
    "people": { "type": "basic", "users": { "ann": "pbkdf2-sha256:2:c2FsdA:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564" } },
    "asked": { "type": "introspection", "url": "http://10.0.0.9/introspect", "clientId": "me", "clientSecret": "p" },
    "other": { "type": "forward", "url": "http://10.0.0.9/ask" }"#;

/// Answer of the provider, and what gives it.
enum Act {
    Nothing,
    /// The password is verified.
    Verify,
    /// The provider's server answers.
    Answer(&'static str),
}
use Act::{Answer, Nothing, Verify};

#[test]
fn each_fault_of_a_credential_has_a_line() {
    let claims = |more: &str| token(&format!(r#"{{"iss":"idp","aud":"api"{more}}}"#));
    let until = NOW + 60;
    let good = claims(&format!(r#","exp":{until}"#));
    let of_header = |header: &str| {
        let claims = good.split('.').nth(1).expect("claims");
        bearer(&format!("{}.{claims}.AAAA", encode_url(header.as_bytes())))
    };
    use CredentialFault as F;
    let rows = [
        (F::Missing, "main", get(""), Nothing),
        (F::TokenForm, "main", bearer("x"), Nothing),
        (
            F::Algorithm,
            "main",
            of_header(r#"{"alg":"RS256"}"#),
            Nothing,
        ),
        (
            F::UnknownKey,
            "sets",
            of_header(r#"{"alg":"ES256","kid":"x"}"#),
            Answer(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n93\r\n\
                 {\"keys\":[{\"kid\":\"k\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
                 \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}\r\n0\r\n\r\n",
            ),
        ),
        (
            F::Signature,
            "main",
            bearer(&token_by(r#"{"iss":"idp"}"#, "another secret")),
            Nothing,
        ),
        (
            F::Claims,
            "main",
            bearer(&claims(r#","iss":"idp""#)),
            Nothing,
        ),
        (
            F::Issuer,
            "main",
            bearer(&token(r#"{"iss":"x","aud":"api"}"#)),
            Nothing,
        ),
        (
            F::Audience,
            "main",
            bearer(&token(r#"{"iss":"idp","aud":"x"}"#)),
            Nothing,
        ),
        (
            F::IssuedLater,
            "main",
            bearer(&claims(&format!(r#","exp":{until},"iat":{}"#, NOW + 30))),
            Nothing,
        ),
        (
            F::NotYet,
            "main",
            bearer(&claims(&format!(r#","exp":{until},"nbf":{}"#, NOW + 30))),
            Nothing,
        ),
        (
            F::Expired,
            "main",
            bearer(&claims(&format!(r#","exp":{}"#, NOW - 60))),
            Nothing,
        ),
        (F::NoEnd, "main", bearer(&claims("")), Nothing),
        (F::Scope, "main", bearer(&good), Nothing),
        (
            F::Inactive,
            "asked",
            bearer("t"),
            Answer("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"active\":false}"),
        ),
        (
            F::BasicForm,
            "people",
            get("Authorization: Basic !\r\n"),
            Nothing,
        ),
        (
            F::Password,
            "people",
            get(&format!("Authorization: Basic {}\r\n", encode(b"ann:x"))),
            Verify,
        ),
        (F::ApiKey, "keys", get("X-Key: bar\r\n"), Nothing),
        (
            F::Denied,
            "other",
            get(""),
            Answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        ),
    ];
    let mut seen = BTreeSet::new();
    for (fault, provider, request, act) in rows {
        // RFC 6750 3.1: a token that is good, and not for this, is a 403.
        let (status, scopes, error) = match fault {
            F::Scope => (
                403,
                r#", "scopes": ["read"]"#,
                r#"error="insufficient_scope""#,
            ),
            _ => (401, "", r#"error="invalid_token""#),
        };
        let config = format!(
            r#"{{ "requestId": false, "accessLog": "json", "rateLimit": false, "cors": false, "securityHeaders": false,
                "auth": {{ {PROVIDERS} }},
                "services": [ {{ "route": "/auth", "target": "http://10.0.0.1/auth", "auth": "{provider}"{scopes} }} ] }}"#
        );
        // No other provider is there, whose questions would be in the way.
        let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        let providers = config["auth"].as_object_mut().expect("providers");
        providers.retain(|name, _| name == provider);
        let mut world = World::with(&config.to_string());
        let client = world.connect();
        world.send(client, &request);
        match act {
            Nothing => {}
            Verify => assert!(!world.verify()),
            Answer(text) => {
                let server = world.accept();
                world.reply(server, text);
            }
        }
        let answer = refused(&mut world, client, status);
        let why = fault.as_str();
        assert_eq!(
            lines(&mut world),
            [format!(
                "INFO /auth: {why}; {status} to 192.0.2.1, GET /auth"
            )],
            "{fault:?}"
        );
        let logged = last_logged(&mut world);
        assert_eq!(logged["reason"], why, "{fault:?}");
        assert_eq!(logged["end"], "unauthorized");
        assert_eq!(logged["service"], "/auth");
        // RFC 6750 3: a client without a token is not told what is wrong with one, and no other
        // scheme has the parameter.
        let is_told = request.contains("Bearer");
        let described = format!(r#"error_description="{why}""#);
        assert_eq!(answer.contains(error), is_told, "{answer}");
        if status == 401 {
            assert_eq!(answer.contains(&described), is_told, "{answer}");
        }
        assert_eq!(answer.contains("error"), is_told, "{answer}");
        seen.insert(why);
    }
    assert_eq!(
        seen,
        F::ALL.iter().map(|fault| fault.as_str()).collect(),
        "each fault of src/policy/auth/fault.rs has a row in this test"
    );
}
