//! Authentication with the real binary: hashes, helper threads, and an identity provider on
//! loopback.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use tollgate::policy::auth::base64::{encode, encode_url};

use super::world::*;

/// Returns the output of `tollgate hash` for a line of input.
fn hash(line: &str, options: &[&str]) -> String {
    let mut child = Command::new(TOLLGATE)
        .arg("hash")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(line.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        output.status.code(),
        Some(if line.trim().is_empty() { 2 } else { 0 })
    );
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

fn get(gateway: &Gateway, path: &str, lines: &str) -> String {
    gateway.ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{lines}\r\n"
    ))
}

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}\r\n", encode(pair.as_bytes()))
}

#[test]
fn hashes_are_made_and_accepted() {
    let (one, two) = (hash("correct horse\n", &[]), hash("correct horse\r\n", &[]));
    assert!(
        one.starts_with("pbkdf2-sha256:600000:") && one != two,
        "each has a salt of its own: {one} {two}"
    );
    assert_eq!(
        hash("abc\nsecond line\n", &["--api-key"]),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(hash("\n", &[]), "");

    let origin = Origin::polite();
    let key = hash("abc", &["--api-key"]);
    let gateway = Gateway::start(&format!(
        r#"{{ "services": [ {{ "route": "/a", "target": "http://{0}", "auth": ["people", "keys"] }}, {{ "route": "/open", "target": "http://{0}" }} ],
              "auth": {{ "people": {{ "type": "basic", "users": {{ "ann": "{one}", "bob": "{two}" }} }},
                         "keys": {{ "type": "apiKey", "keys": {{ "shop": "{key}" }} }} }} }}"#,
        origin.address
    ));
    let begun = Instant::now();
    assert!(get(&gateway, "/a", &basic("ann:correct horse")).starts_with("HTTP/1.1 200 "));
    let first = begun.elapsed();
    // The credential cache avoids a second computation.
    let begun = Instant::now();
    assert!(get(&gateway, "/a", &basic("ann:correct horse")).starts_with("HTTP/1.1 200 "));
    assert!(
        begun.elapsed() < first.max(Duration::from_millis(200)),
        "{:?} after {first:?}",
        begun.elapsed()
    );
    let refused = get(&gateway, "/a", &basic("bob:wrong"));
    assert!(
        refused.starts_with("HTTP/1.1 401 ") && refused.contains("WWW-Authenticate: Basic realm="),
        "{refused}"
    );
    assert!(get(&gateway, "/a", "X-Api-Key: abc\r\n").starts_with("HTTP/1.1 200 "));
    assert!(get(&gateway, "/a", "X-Api-Key: abd\r\n").starts_with("HTTP/1.1 401 "));
    let log = gateway.stdout.expect("\"GET /a HTTP/1.1\" 401 67");
    assert!(
        log.contains("127.0.0.1 - ann [") && log.contains("127.0.0.1 - bob ["),
        "{log}"
    );
}

#[test]
fn the_loop_continues_while_a_password_is_verified() {
    let origin = Origin::polite();
    let slow = "pbkdf2-sha256:3000000:c2FsdA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let gateway = Gateway::start(&format!(
        r#"{{ "services": [ {{ "route": "/a", "target": "http://{0}", "auth": "people" }}, {{ "route": "/open", "target": "http://{0}" }} ],
              "auth": {{ "people": {{ "type": "basic", "users": {{ "ann": "{slow}" }} }} }} }}"#,
        origin.address
    ));
    let mut waiting = gateway.connect();
    waiting.send(format!(
        "GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{}\r\n",
        basic("ann:x")
    ));
    assert!(get(&gateway, "/open", "").starts_with("HTTP/1.1 200 "));
    let log = gateway.stdout.expect("/open");
    assert!(!log.contains("/a HTTP"), "the password takes longer: {log}");
    assert!(waiting.read_to_end().starts_with("HTTP/1.1 401 "));
}

/// Identity provider: a key pair that can be replaced, a key set, and answers to introspection.
#[derive(Clone)]
struct Provider {
    key: Arc<Mutex<(String, EcdsaKeyPairBox)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

type EcdsaKeyPairBox = Arc<EcdsaKeyPair>;

fn pair() -> EcdsaKeyPairBox {
    let random = SystemRandom::new();
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    Arc::new(
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
            .expect("a pair"),
    )
}

impl Provider {
    fn start() -> (Provider, Origin) {
        let provider = Provider {
            key: Arc::new(Mutex::new(("1".to_owned(), pair()))),
            asked: Arc::new(Mutex::new(Vec::new())),
        };
        let for_thread = provider.clone();
        let origin = Origin::start(move |mut client| {
            while let Some(head) = read_head(&mut client) {
                let answer = for_thread.answer(&head, &mut client);
                if client.0.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        (provider, origin)
    }

    fn rotate(&self) {
        *self.key.lock().expect("no panic") = ("2".to_owned(), pair());
    }

    fn answer(&self, head: &str, client: &mut Client) -> String {
        self.asked.lock().expect("no panic").push(head.to_owned());
        let ok = |body: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        if head.starts_with("GET /jwks ") {
            let (id, key) = self.key.lock().expect("no panic").clone();
            let point = key.public_key().as_ref();
            let (x, y) = (encode_url(&point[1..33]), encode_url(&point[33..]));
            return ok(&format!(
                r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{x}","y":"{y}"}}]}}"#
            ));
        }
        if head.starts_with("POST /introspect ") {
            let form = client.read_until("&token_type_hint=access_token");
            return ok(&format!(
                r#"{{"active":{},"sub":"ann"}}"#,
                form.starts_with("token=good&")
            ));
        }
        match head.contains("Cookie: session=1") {
            true => "HTTP/1.1 200 OK\r\nX-User: ann\r\nContent-Length: 0\r\n\r\n".to_owned(),
            false => {
                "HTTP/1.1 302 Found\r\nLocation: /sign-in\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
        }
    }

    fn token(&self) -> String {
        let (id, key) = self.key.lock().expect("no panic").clone();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let claims = format!(r#"{{"sub":"ann","exp":{}}}"#, now + 60);
        let header = format!(r#"{{"alg":"ES256","kid":"{id}"}}"#);
        let text = format!(
            "{}.{}",
            encode_url(header.as_bytes()),
            encode_url(claims.as_bytes())
        );
        let signature = key
            .sign(&SystemRandom::new(), text.as_bytes())
            .expect("a signature");
        format!("{text}.{}", encode_url(signature.as_ref()))
    }
}

/// Starts an upstream that answers with the user that the gateway has named.
fn echo() -> Origin {
    Origin::start(|mut client| {
        while let Some(head) = read_head(&mut client) {
            let user = head
                .lines()
                .filter(|line| line.starts_with("X-User: "))
                .collect::<Vec<_>>()
                .join("|");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}",
                user.len()
            );
            if client.0.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn an_identity_provider_is_asked() {
    let (provider, idp) = Provider::start();
    let origin = echo();
    let idp = idp.address;
    let gateway = Gateway::start(&format!(
        r#"{{ "services": [ {{ "route": "/jwt", "target": "http://{0}", "auth": "main" }},
                            {{ "route": "/opaque", "target": "http://{0}", "auth": "opaque" }},
                            {{ "route": "/sso", "target": "http://{0}", "auth": "sso" }} ],
              "auth": {{ "main": {{ "type": "jwt", "jwks": "http://{idp}/jwks", "forwardClaims": {{ "sub": "X-User" }} }},
                         "opaque": {{ "type": "introspection", "url": "http://{idp}/introspect", "clientId": "me", "clientSecret": "hush",
                                      "forwardClaims": {{ "sub": "X-User" }} }},
                         "sso": {{ "type": "forward", "url": "http://{idp}/check", "copyHeaders": ["X-User"] }} }},
              "logLevel": "trace" }}"#,
        origin.address
    ));
    gateway.stderr.expect("auth main: 1 keys in the key set");
    let token = provider.token();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\nX-User: root\r\n");
    assert!(get(&gateway, "/jwt", &bearer(&token)).ends_with("\r\n\r\nX-User: ann"));
    assert!(get(&gateway, "/jwt", "").contains("WWW-Authenticate: Bearer realm=\"tollgate\"\r\n"));

    // A token with a new key: the key set is fetched again, once, and the token is accepted.
    provider.rotate();
    let fresh = provider.token();
    let fetches = || {
        provider
            .asked
            .lock()
            .expect("no panic")
            .iter()
            .filter(|head| head.starts_with("GET /jwks"))
            .count()
    };
    for _ in 0..3 {
        assert!(get(&gateway, "/jwt", &bearer(&fresh)).ends_with("X-User: ann"));
    }
    assert_eq!(fetches(), 2);
    assert!(
        get(&gateway, "/jwt", &bearer(&token)).starts_with("HTTP/1.1 401 "),
        "by a key that is gone"
    );

    assert!(get(&gateway, "/opaque", &bearer("good")).ends_with("X-User: ann"));
    assert!(get(&gateway, "/opaque", &bearer("bad")).starts_with("HTTP/1.1 401 "));
    assert!(
        get(&gateway, "/sso", "Cookie: session=1\r\nX-User: root\r\n")
            .ends_with("\r\n\r\nX-User: ann")
    );
    let away = get(&gateway, "/sso", "");
    assert!(
        away.starts_with("HTTP/1.1 302 Found\r\n") && away.contains("\r\nLocation: /sign-in\r\n"),
        "{away}"
    );

    gateway.stdout.expect("\"GET /sso HTTP/1.1\" 302");
    let logged = gateway.stderr.text() + &gateway.stdout.text();
    assert!(
        !logged.contains(&token)
            && !logged.contains(&fresh)
            && !logged.contains("hush")
            && !logged.contains("session=1"),
        "{logged}"
    );
}

/// Token of an identity provider whose key is on P-384.
#[test]
fn costly_signatures_are_verified_by_a_thread_of_their_own() {
    let (random, kind) = (SystemRandom::new(), &ECDSA_P384_SHA384_FIXED_SIGNING);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).expect("a pair");
    let point = pair.public_key().as_ref();
    let (x, y) = (encode_url(&point[1..49]), encode_url(&point[49..]));
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}]}}"#);
    let (folder, origin) = (Folder::new(), echo());
    let file = folder.write("set.json", &set);
    let slow = "pbkdf2-sha256:3000000:c2FsdA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let gateway = Gateway::start(&format!(
        r#"{{ "services": [ {{ "route": "/jwt", "target": "http://{0}", "auth": "main" }},
                            {{ "route": "/a", "target": "http://{0}", "auth": "people" }} ],
              "auth": {{ "main": {{ "type": "jwt", "jwks": {file:?}, "forwardClaims": {{ "sub": "X-User" }} }},
                         "people": {{ "type": "basic", "users": {{ "ann": "{slow}" }} }} }}, "rateLimit": false }}"#,
        origin.address
    ));
    let text = |number: usize| {
        let claims = format!(r#"{{"sub":"ann","n":{number},"exp":9999999999}}"#);
        let header = encode_url(br#"{"alg":"ES384"}"#);
        format!("{header}.{}", encode_url(claims.as_bytes()))
    };
    let bearer = |text: &str, signature: &[u8]| {
        format!("Authorization: Bearer {text}.{}\r\n", encode_url(signature))
    };
    // Passwords, which take far longer, are verified at the same time.
    let mut waiting = gateway.connect();
    waiting.send(format!(
        "GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{}\r\n",
        basic("ann:x")
    ));
    for number in 0..20 {
        let text = text(number);
        let good = pair.sign(&random, text.as_bytes()).expect("a signature");
        for _ in 0..2 {
            let answer = get(&gateway, "/jwt", &bearer(&text, good.as_ref()));
            assert!(answer.ends_with("X-User: ann"), "{number}: {answer}");
        }
        let refused = get(&gateway, "/jwt", &bearer(&text, &[7; 96]));
        assert!(
            refused.starts_with("HTTP/1.1 401 ") && refused.contains("signature"),
            "{refused}"
        );
    }
    let log = gateway.stdout.expect("/jwt");
    assert!(!log.contains("/a HTTP"), "the password takes longer: {log}");
    assert!(waiting.read_to_end().starts_with("HTTP/1.1 401 "));
    // A client that leaves before the verification ends does no harm.
    for number in 100..104 {
        let mut client = gateway.connect();
        client.send(format!(
            "GET /jwt HTTP/1.1\r\nHost: gate\r\n{}\r\n",
            bearer(&text(number), &[7; 96])
        ));
        drop(client);
    }
    let text = text(200);
    let good = pair.sign(&random, text.as_bytes()).expect("a signature");
    assert!(get(&gateway, "/jwt", &bearer(&text, good.as_ref())).ends_with("X-User: ann"));
}

#[test]
fn check_names_what_guards_a_route_and_run_warns() {
    let origin = Origin::polite();
    let config = format!(
        r#"{{ "services": [ {{ "route": "/a", "target": "http://{}", "auth": "main", "scopes": ["r"] }} ],
              "auth": {{ "main": {{ "type": "jwt", "secret": "short" }} }} }}"#,
        origin.address
    );
    let folder = Folder::new();
    let file = folder.write("tollgate.json", &config);
    let output = Command::new(TOLLGATE)
        .arg("check")
        .arg("--config")
        .arg(file)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("(auth main (jwt), scopes r)\n")
            && text.contains("warning    auth main: a secret of 5 bytes")
            && text.contains(
                "warning    auth main: takes tokens that were issued for another service"
            ),
        "{text}"
    );
    assert!(
        text.contains(", authentication "),
        "the memory of it is part of the bound: {text}"
    );
    let gateway = Gateway::start(&config);
    gateway.stderr.expect("auth main: a secret of 5 bytes");
}
