//! `auth`: what each provider becomes, and every line about what is wrong with one.

use std::io;
use std::path::Path;

use super::*;
use crate::config::schema::PROVIDERS;
use crate::config::{Config, load};
use crate::policy::auth::algorithm::Algorithm;
use crate::policy::auth::provider::Keys;
use crate::proxy::settings::TargetHost;

const EC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n\
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n\
-----END PUBLIC KEY-----\n";

const SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

const HASH: &str = "pbkdf2-sha256:1:c2FsdA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const KEY: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("/etc/tg/ec.pem") => Ok(EC_KEY.as_bytes().to_vec()),
        Some("/etc/tg/private.pem") => {
            Ok(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec())
        }
        Some("/etc/tg/set.json") => Ok(SET.as_bytes().to_vec()),
        Some("/etc/tg/many.json") => {
            let key = SET.trim_start_matches("{\"keys\":[").trim_end_matches("]}");
            Ok(format!("{{\"keys\":[{}]}}", vec![key; 300].join(",")).into_bytes())
        }
        Some("/etc/tg/empty.json") => Ok(b"{\"keys\":[]}".to_vec()),
        Some("/etc/tg/huge.json") => Ok(vec![b' '; 300 << 10]),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A file with this `auth` in line 2, and these further keys of its only service in line 1.
fn try_load(service: &str, auth: &str) -> Result<Config, Vec<String>> {
    let text = format!(
        "{{\"services\":[{{\"route\":\"/a\",\"target\":\"http://b\"{service}}}],\n\"auth\":{auth}}}"
    );
    let env = |name: &str| match name {
        "KEY" => Some(EC_KEY.to_owned()),
        "HUSH" => Some("hush-hush".to_owned()),
        _ => None,
    };
    load(text.as_bytes(), "/etc/tg/t.json", &env, &read).map_err(|errors| {
        let lines = errors.iter().map(ToString::to_string);
        lines
            .map(|line| line_and_message(line.strip_prefix("/etc/tg/t.json:").expect("the file")))
            .collect()
    })
}

/// Without the column: `crate::config::tests` has those.
fn line_and_message(text: &str) -> String {
    let (line, rest) = text.split_once(':').expect("a line");
    let (_, message) = rest.split_once(": ").expect("a column");
    format!("{line}: {message}")
}

fn provider(keys: &str) -> Kind {
    let config = try_load("", &format!(r#"{{"p":{{{keys}}}}}"#))
        .unwrap_or_else(|errors| panic!("{keys}: {errors:#?}"));
    config
        .settings
        .auth
        .into_iter()
        .next()
        .expect("a provider")
        .kind
}

#[track_caller]
fn wrong(keys: &str, line: &str) {
    let errors = try_load("", &format!(r#"{{"p":{{{keys}}}}}"#)).expect_err(keys);
    assert_eq!(errors, [line], "{keys}");
}

fn algorithms(kind: &Kind) -> Vec<&'static str> {
    let Kind::Jwt { rules, .. } = kind else {
        panic!("a jwt provider")
    };
    rules.algorithms.iter().map(Algorithm::name).collect()
}

#[test]
fn jwt_providers() {
    let secret = provider(
        r#""type":"jwt","secret":"s","issuer":"i","audience":["a","b"],"leeway":"30s","forwardClaims":{"sub":"X-User"}"#,
    );
    let Kind::Jwt {
        rules,
        keys: Keys::Known(_),
    } = &secret
    else {
        panic!("a known key")
    };
    assert_eq!(
        (rules.issuers.concat(), rules.audiences.join("|").as_str()),
        ("i".to_owned(), "a|b")
    );
    assert_eq!(rules.leeway, Duration::from_secs(30));
    assert_eq!(
        rules.claims,
        [UsedClaim {
            claim: "sub".to_owned(),
            header: Some("X-User".to_owned())
        }]
    );
    assert_eq!(algorithms(&secret), ["HS256", "HS384", "HS512"]);
    assert_eq!(
        algorithms(&provider(
            r#""type":"jwt","secret":"s","algorithms":["HS512"]"#
        )),
        ["HS512"]
    );
    let Kind::Jwt { rules, .. } = provider(r#""type":"jwt","secret":"s""#) else {
        panic!("a jwt provider")
    };
    assert_eq!(rules.leeway, Duration::from_secs(5));
    let Kind::Jwt { rules, .. } = provider(r#""type":"jwt","secret":"s","leeway":0"#) else {
        panic!("a jwt provider")
    };
    assert_eq!(rules.leeway, Duration::ZERO);
    for name in ["EdDSA", "Ed25519"] {
        let listed = provider(&format!(
            r#""type":"jwt","jwks":"https://idp/","algorithms":["{name}"]"#
        ));
        assert_eq!(algorithms(&listed), ["EdDSA"]);
    }
    assert_eq!(
        algorithms(&provider(r#""type":"jwt","publicKey":"ec.pem""#)),
        ["ES256"]
    );
    assert_eq!(
        provider(r#""type":"jwt","publicKey":"ec.pem""#),
        provider(r#""type":"jwt","publicKey":"${KEY}""#)
    );
    assert_eq!(
        algorithms(&provider(
            r#""type":"jwt","jwks":"set.json","algorithms":["RS256","ES256"]"#
        )),
        ["RS256", "ES256"]
    );
    let fetched = provider(r#""type":"jwt","jwks":"https://idp.example/keys?x=y""#);
    assert_eq!(algorithms(&fetched).len(), 9, "everything but HMAC");
    let Kind::Jwt {
        keys: Keys::Fetched(endpoint),
        ..
    } = fetched
    else {
        panic!("a fetched set")
    };
    assert_eq!(
        endpoint,
        Endpoint {
            target: 1,
            path: "/keys?x=y".to_owned()
        }
    );
}

#[test]
fn endpoints_are_targets_behind_those_of_the_services() {
    let config = try_load(
        r#","auth":["i","f"]"#,
        r#"{"f":{"type":"forward","url":"http://127.0.0.1:4180","copyHeaders":["X-A","Authorization"]},
            "i":{"type":"introspection","url":"https://idp/i","clientId":"c","clientSecret":"s","cache":"5s","tls":{"serverName":"other"}}}"#,
    )
    .expect("good");
    let settings = &config.settings;
    assert_eq!(settings.services[0].auth.providers, [1, 0]);
    let hosts = settings
        .targets
        .iter()
        .map(|target| target.authority.as_str())
        .collect::<Vec<_>>();
    assert_eq!(hosts, ["b", "127.0.0.1:4180", "idp"]);
    assert_eq!(
        config.upstream_tls[2]
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref()),
        Some("other")
    );
    let Kind::Forward { endpoint, copied } = &settings.auth[0].kind else {
        panic!("forward")
    };
    assert_eq!(
        (endpoint.target, endpoint.path.as_str(), copied.len()),
        (1, "/", 2)
    );
    let Kind::Introspection {
        endpoint,
        credentials,
        cache,
        ..
    } = &settings.auth[1].kind
    else {
        panic!("introspection")
    };
    assert_eq!((endpoint.target, *cache), (2, Duration::from_secs(5)));
    assert!(credentials.is_some());
    assert!(matches!(&settings.targets[2].host, TargetHost::Name(name) if name == "idp"));
    let Kind::Introspection {
        cache, credentials, ..
    } = provider(r#""type":"introspection","url":"http://i/""#)
    else {
        panic!("introspection")
    };
    assert_eq!(
        (cache, credentials),
        (crate::limits::INTROSPECTION_CACHE_DEFAULT, None)
    );
    let Kind::Introspection { cache, .. } =
        provider(r#""type":"introspection","url":"http://i/","cache":false"#)
    else {
        panic!("introspection")
    };
    assert_eq!(cache, Duration::ZERO);
}

#[test]
fn keys_and_users() {
    let Kind::ApiKey { header, keys } = provider(&format!(
        r#""type":"apiKey","keys":{{"a":"{KEY}","b":"{KEY}"}}"#
    )) else {
        panic!("keys")
    };
    assert_eq!((header.as_str(), keys.len()), ("X-Api-Key", 2));
    let Kind::Basic { users } = provider(&format!(r#""type":"basic","users":{{"ann":"{HASH}"}}"#))
    else {
        panic!("users")
    };
    assert_eq!(users[0].name, "ann");
}

#[test]
fn what_is_wrong_with_a_jwt_provider() {
    for (keys, line) in [
        (
            r#""type":"jwt""#,
            r#"2: auth.p: has no key; add "secret", "publicKey" (a PEM file) or "jwks" (a URL or a file)"#,
        ),
        (
            r#""type":"jwt","secret":"s","jwks":"set.json""#,
            r#"2: auth.p.jwks: is one source of keys too many; keep one of "secret", "publicKey" and "jwks""#,
        ),
        (
            r#""type":"jwt","secret":"""#,
            "2: auth.p.secret: \"\" is empty; write the secret, or the name of a variable that holds it, as in \"${SECRET}\"",
        ),
        (
            r#""type":"jwt","secret":7"#,
            "2: auth.p.secret: must be a string, not a number",
        ),
        (
            r#""type":"jwt","secret":"s","sekret":"s""#,
            r#"2: auth.p.sekret: unknown key, did you mean "secret"?"#,
        ),
        (
            r#""type":"jwt","secret":"s","algorithms":["RS256"]"#,
            "2: auth.p.algorithms: RS256 does not fit the key, which is a shared secret: HS256, HS384, HS512",
        ),
        (
            r#""type":"jwt","publicKey":"ec.pem","algorithms":["ES256","HS256"]"#,
            "2: auth.p.algorithms: HS256 does not fit the key, which is an EC key on P-256: ES256",
        ),
        (
            r#""type":"jwt","secret":"s","algorithms":[]"#,
            "2: auth.p.algorithms: is empty: no token could be good; name what the issuer signs with, such as \"RS256\"",
        ),
        (
            r#""type":"jwt","secret":"s","algorithms":["none"]"#,
            "2: auth.p.algorithms[0]: \"none\" would let everybody in, with any claims; remove it",
        ),
        (
            r#""type":"jwt","secret":"s","algorithms":"HS256""#,
            r#"2: auth.p.algorithms: "HS256" must be a list such as ["RS256", "ES256"], not a string"#,
        ),
        (
            r#""type":"jwt","publicKey":"no.pem""#,
            r#"2: auth.p.publicKey: "/etc/tg/no.pem": cannot be read: entity not found"#,
        ),
        (
            r#""type":"jwt","publicKey":"set.json""#,
            "2: auth.p.publicKey: \"/etc/tg/set.json\": no public key inside (a PEM file with -----BEGIN PUBLIC KEY----- is expected)",
        ),
        (
            r#""type":"jwt","jwks":"no.json""#,
            r#"2: auth.p.jwks: "/etc/tg/no.json": cannot be read: entity not found"#,
        ),
        (
            r#""type":"jwt","jwks":"empty.json""#,
            "2: auth.p.jwks: \"/etc/tg/empty.json\": the key set has no key for the algorithms that are allowed",
        ),
        (
            r#""type":"jwt","jwks":"set.json","algorithms":["EdDSA"]"#,
            "2: auth.p.jwks: \"/etc/tg/set.json\": the key set has no key for the algorithms that are allowed",
        ),
        (
            r#""type":"jwt","jwks":"huge.json""#,
            "2: auth.p.jwks: \"/etc/tg/huge.json\": is larger than 256 KB; is it the right file?",
        ),
        (
            r#""type":"jwt","jwks":"ftp://idp/""#,
            r#"2: auth.p.jwks: "ftp://idp/" must start with "http://" or "https://""#,
        ),
        (
            r#""type":"jwt","jwks":"https://idp/","algorithms":["HS256"]"#,
            "2: auth.p.algorithms: has an HMAC algorithm, whose key would be a secret that anybody can fetch; remove it",
        ),
        (
            r#""type":"jwt","secret":"s","tls":{}"#,
            r#"2: auth.p.tls: says how an https "jwks" is trusted, and there is none; remove it"#,
        ),
        (
            r#""type":"jwt","secret":"s","issuer":"""#,
            "2: auth.p.issuer: \"\" is empty; write an issuer, or a list of them",
        ),
        (
            r#""type":"jwt","secret":"s","audience":[]"#,
            "2: auth.p.audience: is empty; leave it out, and it is not looked at",
        ),
        (
            r#""type":"jwt","secret":"s","forwardClaims":{"sub":"X User"}"#,
            "2: auth.p.forwardClaims.sub: \"X User\" is no header name; letters, digits and \"-\" are allowed",
        ),
        (
            r#""type":"jwt","secret":"s","forwardClaims":{"sub":"X_User"}"#,
            "2: auth.p.forwardClaims.sub: \"X_User\" has a \"_\", which many servers take for a \"-\"; write a \"-\"",
        ),
        (
            r#""type":"jwt","secret":"s","forwardClaims":{"sub":"Host"}"#,
            "2: auth.p.forwardClaims.sub: \"Host\" is written by the gateway itself; choose another name",
        ),
        (
            r#""type":"jwt","secret":"s","forwardClaims":{"a":"X-A","b":"x-a"}"#,
            "2: auth.p.forwardClaims.b: \"x-a\" is given twice; keep one of them",
        ),
    ] {
        wrong(keys, line);
    }
    let private =
        try_load("", r#"{"p":{"type":"jwt","publicKey":"private.pem"}}"#).expect_err("private");
    assert!(
        private[0].contains("holds a private key") && private[0].contains("-pubout"),
        "{private:?}"
    );
}

#[test]
fn what_is_wrong_with_the_others() {
    for (keys, line) in [
        (
            r#""type":"introspection""#,
            r#"2: auth.p: "url" is missing; add where it is asked, such as "https://idp.example/""#,
        ),
        (
            r#""type":"introspection","url":"http://i/","clientId":"c""#,
            r#"2: auth.p: "clientSecret" is missing; with a "clientId" it takes both"#,
        ),
        (
            r#""type":"introspection","url":"http://i/","clientSecret":"c""#,
            r#"2: auth.p: "clientId" is missing; with a "clientSecret" it takes both"#,
        ),
        (
            r#""type":"introspection","url":"http://u:p@i/""#,
            "2: auth.p.url: \"http://...@i/\" has a user name or password in it, which would not be sent; remove what is before the \"@\"",
        ),
        (
            r#""type":"introspection","url":"http://i/","tls":{"serverName":"x"}"#,
            "2: auth.p.tls: the target is http, which has no TLS; write https:// in the target, or remove this",
        ),
        (
            r#""type":"forward","url":"http://i/?a b""#,
            "2: auth.p.url: \"http://i/?a b\" has a query with a character that none may have; write it percent-encoded",
        ),
        (
            r#""type":"forward","url":"http://i/","copyHeaders":["Location"]"#,
            "2: auth.p.copyHeaders[0]: \"Location\" is about an answer, its content or a connection, and would mislead an upstream; leave it out",
        ),
        (
            r#""type":"forward","url":"http://i/","copyHeaders":["set-cookie"]"#,
            "2: auth.p.copyHeaders[0]: \"set-cookie\" is for the client, which gets it from a forward endpoint in any case; leave it out",
        ),
        (
            r#""type":"forward","url":"http://i/","copyHeaders":["X-Client-Subject"]"#,
            "2: auth.p.copyHeaders[0]: \"X-Client-Subject\" is written by the gateway itself; choose another name",
        ),
        (
            r#""type":"apiKey""#,
            r#"2: auth.p: "keys" is missing; add { "name": "sha256:..." }, which "tollgate hash --api-key" prints"#,
        ),
        (
            r#""type":"apiKey","keys":{}"#,
            "2: auth.p.keys: is empty: nobody could be let in",
        ),
        (
            r#""type":"apiKey","keys":{"a":"s3cret"}"#,
            r#"2: auth.p.keys.a: must be "sha256:" and 64 hexadecimal digits, which "tollgate hash --api-key" prints for a key"#,
        ),
        (
            r#""type":"basic""#,
            r#"2: auth.p: "users" is missing; add { "name": "pbkdf2-sha256:..." }, which "tollgate hash" prints"#,
        ),
        (
            r#""type":"basic","users":{}"#,
            "2: auth.p.users: is empty: nobody could be let in",
        ),
        (
            r#""type":"basic","users":{"ann":"s3cret"}"#,
            r#"2: auth.p.users.ann: must be "pbkdf2-sha256:...", as "tollgate hash" prints it"#,
        ),
        (
            r#""kind":"jwt""#,
            r#"2: auth.p: "type" is missing; it is one of jwt, introspection, apiKey, basic, forward"#,
        ),
        (
            r#""type":"jwtt""#,
            r#"2: auth.p.type: "jwtt" must be one of "jwt", "introspection", "apiKey", "basic", "forward"; did you mean "jwt"?"#,
        ),
        (
            r#""type":"basic","users":{"a:b":"x"}"#,
            r#"2: auth.p.users."a:b": is no user name: it is empty, or has a ":" (RFC 7617 2)"#,
        ),
    ] {
        wrong(keys, line);
    }
    let header = try_load(
        "",
        &format!(r#"{{"p":{{"type":"apiKey","header":"Authorization","keys":{{"a":"{KEY}"}}}}}}"#),
    );
    assert_eq!(
        header.expect_err("a header"),
        [
            r#"2: auth.p.header: "Authorization" cannot hold a key; name a header of its own such as "X-Api-Key""#
        ]
    );
    assert_eq!(
        try_load("", "7").expect_err("a number"),
        [r#"2: auth: must be an object such as { "main": { "type": "jwt", ... } }, not a number"#]
    );
    assert_eq!(
        try_load("", r#"{"p":7}"#).expect_err("a number"),
        [r#"2: auth.p: must be an object with "type", not a number"#]
    );
}

#[test]
fn what_is_wrong_with_a_service() {
    let two = format!(
        r#"{{"main":{{"type":"jwt","secret":"s"}},"keys":{{"type":"apiKey","keys":{{"a":"{KEY}"}}}}}}"#
    );
    for (service, line) in [
        (
            r#""auth":"mian""#,
            r#"1: services[0].auth: unknown provider "mian", did you mean "main"?"#,
        ),
        (
            r#""auth":"other""#,
            r#"1: services[0].auth: unknown provider "other"; "auth" has main, keys"#,
        ),
        (
            r#""auth":["main","x"]"#,
            r#"1: services[0].auth[1]: unknown provider "x"; "auth" has main, keys"#,
        ),
        (
            r#""auth":["main","main"]"#,
            "1: services[0].auth[1]: \"main\" is named twice; keep one of them",
        ),
        (
            r#""auth":[]"#,
            "1: services[0].auth: is empty; name a provider, or write false to let everybody in",
        ),
        (
            r#""auth":7"#,
            "1: services[0].auth: 7 must be the name of a provider, a list of names, or false, not a number",
        ),
        (
            r#""auth":"main","scopes":"read""#,
            r#"1: services[0].scopes: "read" must be a list of scopes such as ["read:users"], not a string"#,
        ),
        (
            r#""auth":"main","scopes":["a b"]"#,
            "1: services[0].scopes[0]: \"a b\" is no scope: one is a word without spaces, quotes and backslashes",
        ),
        (
            r#""auth":null"#,
            "1: services[0].auth: must be the name of a provider, a list of names, or false, not null",
        ),
        (
            r#""auth":false,"scopes":["a"]"#,
            r#"1: services[0].scopes: asks for scopes, and "auth": false lets everybody in; remove one of them"#,
        ),
        (
            r#""forwardCredentials":false"#,
            r#"1: services[0].forwardCredentials: says what becomes of a credential, and nothing asks for one; add "auth""#,
        ),
        (
            r#""auth":false,"forwardConsumer":true"#,
            r#"1: services[0].forwardConsumer: says what becomes of a credential, and "auth": false lets everybody in; remove one of them"#,
        ),
        (
            r#""scopes":["a"]"#,
            r#"1: services[0].scopes: asks for scopes, and nothing says who has them; add "auth""#,
        ),
        (
            r#""auth":"keys","scopes":["a"]"#,
            r#"1: services[0].scopes: asks for scopes, which only tokens have; add a provider of the type "jwt" or "introspection""#,
        ),
    ] {
        let errors = try_load(&format!(",{service}"), &two).expect_err(service);
        assert_eq!(errors, [line], "{service}");
    }
    for none in [
        r#","scopes":[]"#,
        r#","auth":"main","scopes":[]"#,
        r#","auth":false,"scopes":[]"#,
    ] {
        assert!(
            try_load(none, &two).expect(none).settings.services[0]
                .auth
                .scopes
                .is_empty()
        );
    }
    assert!(
        try_load(r#","auth":false"#, &two)
            .expect("open")
            .settings
            .services[0]
            .auth
            .providers
            .is_empty()
    );
    let both = try_load(r#","auth":["keys","main"],"scopes":["a","b:c"]"#, &two).expect("both");
    assert_eq!(both.settings.services[0].auth.providers, [1, 0]);
    // A provider that is wrong itself is known all the same.
    let errors = try_load(r#","auth":"main""#, r#"{"main":{"type":"jwt"}}"#).expect_err("no key");
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[test]
fn secrets_are_in_no_message() {
    for auth in [
        r#"{"p":{"type":"apiKey","keys":{"a":"hush-hush"}}}"#,
        r#"{"p":{"type":"basic","users":{"a":"hush-hush"}}}"#,
        r#"{"p":{"type":"jwt","secret":["hush-hush"]}}"#,
        r#"{"p":{"type":"apiKey","keys":"hush-hush"}}"#,
        r#"{"p":{"type":"basic","users":"hush-hush"}}"#,
        r#"{"p":"hush-hush"}"#,
        r#""hush-hush""#,
        r#"{"p":{"type":"jwt","jwks":"set.json","secret":"hush-hush"}}"#,
        r#"{"p":{"type":"jwt","publicKey":"-----BEGIN PRIVATE KEY-----\nhush-hush\n-----END PRIVATE KEY-----"}}"#,
        r#"{"p":{"type":"forward","url":"http://user:hush-hush@i/?x"}}"#,
        r#"{"p":{"type":"forward","url":"user:hush-hush@i"}}"#,
        r#"{"p":{"type":"forward","url":"${HUSH}"}}"#,
        r#"{"p":{"type":"introspection","url":"http://hush-hush@i/","clientId":"hush-hush","clientSecret":["hush-hush"]}}"#,
    ] {
        let errors = try_load("", auth).expect_err(auth).join("\n");
        assert!(!errors.contains("hush"), "{errors}");
    }
    let config = try_load(
        "",
        r#"{"p":{"type":"jwt","secret":"hush-hush"},"q":{"type":"introspection","url":"http://i/","clientId":"c","clientSecret":"hush-hush"}}"#,
    );
    let shown = format!("{:?}", config.expect("good"));
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn what_is_allowed_and_not_wise() {
    let warnings = |auth: &str| {
        try_load("", auth)
            .unwrap_or_else(|errors| panic!("{errors:?}"))
            .warnings()
    };
    let lines = warnings(
        r#"{"p":{"type":"jwt","secret":"short"},"q":{"type":"forward","url":"http://idp:80/"}}"#,
    );
    assert!(
        lines[0].starts_with("auth p: a secret of 5 bytes") && !lines[0].contains("short"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("auth q: idp is asked over http"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("auth p: takes tokens that were issued for another service"),
        "{lines:?}"
    );
    let lines = warnings(r#"{"p":{"type":"jwt","jwks":"many.json","audience":"api"}}"#);
    assert!(
        lines.len() == 1 && lines[0].contains("the first 64 keys") && lines[0].contains("236 more"),
        "{lines:?}"
    );
    for fine in [
        r#"{"p":{"type":"jwt","audience":"api","secret":"01234567890123456789012345678901"}}"#,
        r#"{"p":{"type":"jwt","audience":"api","jwks":"https://idp/"}}"#,
        r#"{"p":{"type":"forward","url":"http://127.0.0.1:4180/"}}"#,
        r#"{"p":{"type":"forward","url":"http://localhost/"}}"#,
        r#"{"p":{"type":"jwt","audience":"api","publicKey":"ec.pem"}}"#,
    ] {
        assert_eq!(warnings(fine), [""; 0], "{fine}");
    }
}

#[test]
fn an_open_route_to_a_guarded_server_is_warned_of() {
    let warnings = |services: &str| {
        let text = format!(
            r#"{{"services":[{services}],"auth":{{"p":{{"type":"apiKey","keys":{{"a":"{KEY}"}}}}}}}}"#
        );
        let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
        load(text.as_bytes(), "t.json", &|_| None, &read)
            .expect(services)
            .warnings()
    };
    let guarded = r#"{"route":"/admin","target":"http://B:80/admin","auth":"p"}"#;
    for (open, warned) in [
        (r#"{"route":"/","target":"http://b"}"#, true),
        (r#"{"route":"/","target":"http://b/other"}"#, true),
        (
            r#"{"route":"/","targets":[{"url":"http://c"},{"url":"http://b"}]}"#,
            true,
        ),
        (r#"{"route":"/","target":"http://b:81"}"#, false),
        (r#"{"route":"/","target":"http://c"}"#, false),
        (r#"{"route":"/","target":"http://b","auth":"p"}"#, false),
    ] {
        let lines = warnings(&format!("{guarded},{open}"));
        assert_eq!(lines.len(), usize::from(warned), "{open}: {lines:?}");
        let line =
            "B:80 is behind the guarded \"/admin\" and the open \"/\": ".to_ascii_lowercase();
        assert!(
            lines.iter().all(|found| found.starts_with(&line)),
            "{lines:?}"
        );
    }
    let many = (0..5)
        .map(|n| format!(r#",{{"route":"/o{n}","target":"http://b"}}"#))
        .collect::<String>();
    let lines = warnings(&format!("{guarded}{many}"));
    assert!(
        lines[0].contains("the open \"/o0\", \"/o1\", \"/o2\" and 2 more: "),
        "{lines:?}"
    );
    // One whose own paths are refused.
    let lines = warnings(&format!(
        r#"{guarded},{{"route":"/Admin","target":"http://c"}}"#
    ));
    assert!(
        lines[0].starts_with("route \"/Admin\" differs from a guarded one in its spelling alone"),
        "{lines:?}"
    );
}

#[test]
fn check_names_the_auth_of_each_route() {
    let auth = format!(
        r#"{{"main":{{"type":"jwt","publicKey":"ec.pem"}},"keys":{{"type":"apiKey","keys":{{"a":"{KEY}"}}}}}}"#
    );
    let config = try_load(r#","auth":["main","keys"],"scopes":["a","b"]"#, &auth).expect("good");
    let text = crate::config::check::describe(&config);
    assert!(
        text.contains("/a   -> http://b/  (auth main (jwt) or keys (apiKey), scopes a b)\n"),
        "{text}"
    );
}

/// Header names that a provider must not set: they would break the message, or describe another
/// one.
#[test]
fn headers_that_make_no_sense_upstream() {
    for name in [
        "Set-Cookie",
        "set-cookie",
        "Host",
        "Content-Length",
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Content-Disposition",
        "Transfer-Encoding",
        "Trailer",
        "TE",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Expect",
        "Range",
        "If-None-Match",
        "WWW-Authenticate",
        "Location",
        "Server",
        "ETag",
        "Access-Control-Allow-Origin",
        "Sec-WebSocket-Accept",
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "Date",
        "Proxy",
    ] {
        for provider in [
            format!(r#""type":"forward","url":"http://i/","copyHeaders":["X-A","{name}"]"#),
            format!(r#""type":"jwt","secret":"s","forwardClaims":{{"a":"X-A","b":"{name}"}}"#),
        ] {
            let errors = try_load("", &format!(r#"{{"p":{{{provider}}}}}"#)).expect_err(name);
            assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        }
    }
}

#[test]
fn each_type_has_a_table_and_a_reader() {
    let names = TYPES.map(|(name, _)| name).to_vec();
    let lists = "TYPES in src/config/keys/auth/mod.rs, PROVIDERS and PROVIDER_TYPE in src/config/schema/auth.rs: \
                 the same types in one order";
    assert_eq!(PROVIDER_TYPE.kind.words(), Some(&names[..]), "{lists}");
    assert_eq!(PROVIDERS.map(|table| table.name).to_vec(), names, "{lists}");
    assert_eq!(
        TYPES.map(|(_, of)| of.table().name).to_vec(),
        names,
        "each type in `TYPES` has the table of its name"
    );
}
