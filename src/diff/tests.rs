//! Logs in, groups out.

use std::sync::Arc;

use super::*;
use crate::config::compared::facts::Of;
use crate::config::compared::service::parts;
use crate::config::{Config, ListenKind};
use crate::policy::entrance::ServiceEntrance;
use crate::transport::server::{ClientAuth, TlsFiles, TlsVersion};

fn config(keys: &str, services: &str) -> Config {
    let separator = if keys.is_empty() { "" } else { "," };
    let text = format!(r#"{{ {keys}{separator} "services": [ {services} ] }}"#);
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn replayed(old: &Config, new: &Config, log: &[u8]) -> Vec<String> {
    let text = replay(old, new, &mut &*log).expect("readable");
    text.lines().map(str::to_owned).collect()
}

fn combined(line: &str) -> String {
    format!("192.0.2.7 - - [22/Nov/2026:12:15:43 +0000] \"{line}\" 200 2 \"-\" \"-\"\n")
}

fn json(method: &str, path: &str, more: &str) -> String {
    format!(
        r#"{{"client":"192.0.2.7","method":"{method}","path":"{path}","proto":"HTTP/1.1"{more}}}"#
    ) + "\n"
}

const USERS: &str = r#"{ "route": "/users", "target": "http://a.test:81/users" }"#;

/// A key without a text would be a change that is not shown.
#[test]
fn each_key_of_a_service_has_a_text() {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let text = br#"[ { "route": "/a", "target": "http://a.test" } ]"#;
    let config = crate::config::load(text, "a.json", &|_| None, &read).expect("good");
    let service = &config.settings.services[0];
    for key in crate::config::schema::SERVICE.keys {
        // Those make a service the same in two configurations; `tls` belongs to the target.
        if matches!(key.name, "route" | "hosts" | "methods" | "match" | "tls") {
            continue;
        }
        let of = Of::new(service, &config.settings);
        let parts = parts(key.name, of);
        let is_shown = parts.iter().all(|(_, text)| !text.is_empty());
        assert!(
            is_shown && !parts.is_empty(),
            "{} has no text: give it a row in src/config/compared/service.rs ({parts:?})",
            key.name
        );
    }
}

/// A change of the configuration, a request, and what becomes of it; empty: no difference.
#[test]
fn what_becomes_of_a_request() {
    let key = r#""auth": { "k": { "type": "apiKey", "keys": { "b": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" } } }"#;
    let users = ("", USERS);
    let users_of_a = "/users -> http://a.test:81/users";
    for (old, new, line, expected) in [
        (
            users,
            users,
            combined("GET /users/1 HTTP/1.1"),
            String::new(),
        ),
        (
            users,
            ("", r#"{ "route": "/people", "target": "http://b.test" }"#),
            combined("GET /users/1 HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  404 (no route)"),
        ),
        (
            ("", r#"{ "route": "/", "target": "http://a.test" }"#),
            (
                "",
                r#"{ "route": "/", "target": "http://a.test" }, { "route": "/x", "target": "http://b.test/y" }"#,
            ),
            combined("GET /x/1?q HTTP/1.1"),
            "1 request GET /* : / -> http://a.test/  =>  /x -> http://b.test/y".to_owned(),
        ),
        (
            users,
            ("", r#"{ "route": "= /users/1", "target": "http://b.test/y" }"#),
            combined("GET /users/1 HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  = /users/1 -> http://b.test/y"),
        ),
        (
            ("", r#"{ "route": "= /users/1", "target": "http://b.test/y" }"#),
            users,
            combined("GET /users/1 HTTP/1.1"),
            "1 request GET /users/1 : = /users/1 -> http://b.test/y  =>  /users -> http://a.test:81/users".to_owned(),
        ),
        // Another route that leads to the same URL is another service.
        (
            users,
            ("", r#"{ "route": "/", "target": "http://a.test:81/" }"#),
            combined("GET /users/1 HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  / -> http://a.test:81/"),
        ),
        // The target's slash at the end counts only for the route itself.
        (
            users,
            (
                "",
                r#"{ "route": "/users", "target": "http://a.test:81/users/" }"#,
            ),
            combined("GET /users/1 HTTP/1.1"),
            String::new(),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "target": "http://a.test:81/users/" }"#,
            ),
            combined("GET /users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  /users -> http://a.test:81/users/"),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "methods": ["POST"], "target": "http://a.test:81/users" }"#,
            ),
            combined("GET /users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  405 (method not allowed)"),
        ),
        (
            (key, USERS),
            (
                key,
                r#"{ "route": "/users", "auth": "k", "target": "http://a.test:81/users" }"#,
            ),
            combined("GET /users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  {users_of_a} (auth k)"),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "preserveHost": true, "target": "http://a.test:81/users" }"#,
            ),
            combined("GET /users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  {users_of_a} (Host preserved)"),
        ),
        (
            users,
            (r#""deny": ["192.0.2.0/24"]"#, USERS),
            combined("GET /users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  403 (address denied)"),
        ),
        (
            users,
            (r#""limits": { "requestLine": 1024 }"#, USERS),
            combined(&format!("GET /users/{} HTTP/1.1", "x".repeat(1024))),
            format!("1 request GET /users/* : {users_of_a}  =>  414 (request line too long)"),
        ),
        (
            users,
            (r#""limits": { "bodyBytes": 1024 }"#, USERS),
            json("PUT", "/users", r#","bytesIn":1025"#),
            format!("1 request PUT /users/* : {users_of_a}  =>  413 (body too long)"),
        ),
        (
            users,
            (r#""cors": false"#, USERS),
            combined("OPTIONS /users HTTP/1.1"),
            format!("1 request OPTIONS /users/* : answered by the gateway  =>  {users_of_a}"),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "cors": false, "target": "http://a.test:81/users" }"#,
            ),
            combined("OPTIONS /users HTTP/1.1"),
            format!("1 request OPTIONS /users/* : answered by the gateway  =>  {users_of_a}"),
        ),
        (
            ("", r#"{ "route": "/a", "target": "http://a.test" }"#),
            (
                "",
                r#"{ "route": "/a", "encodedSlashes": "keep", "target": "http://a.test" }"#,
            ),
            combined("GET /a/x%2Fy HTTP/1.1"),
            "1 request GET /a/* : 400 (unsafe path)  =>  /a -> http://a.test/".to_owned(),
        ),
        // The host is that of the log.
        (
            users,
            (
                "",
                r#"{ "route": "/users", "hosts": ["h.test"], "target": "http://b.test" }, { "route": "/users", "target": "http://a.test:81/users" }"#,
            ),
            json("GET", "/users", r#","host":"H.test:80""#),
            format!("1 request GET /users/* : {users_of_a}  =>  /users -> http://b.test/"),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "hosts": ["h.test"], "target": "http://b.test" }, { "route": "/users", "target": "http://a.test:81/users" }"#,
            ),
            json("GET", "/users", r#","host":"i.test""#),
            String::new(),
        ),
        (
            users,
            (
                "",
                r#"{ "route": "/users", "hosts": ["*.test"], "target": "http://b.test" }, { "route": "/users", "target": "http://a.test:81/users" }"#,
            ),
            combined("GET http://h.test/users HTTP/1.1"),
            format!("1 request GET /users/* : {users_of_a}  =>  /users -> http://b.test/"),
        ),
        // Refused by both, for whatever reason.
        (
            users,
            ("", r#"{ "route": "/x", "target": "http://a.test" }"#),
            combined("GET /a#b HTTP/1.1"),
            String::new(),
        ),
    ] {
        let (old, new) = (config(old.0, old.1), config(new.0, new.1));
        let found = replayed(&old, &new, line.as_bytes());
        if expected.is_empty() {
            assert_eq!(found, ["0 of 1 request go elsewhere"], "{line}");
        } else {
            let [count, group, example] = &found[..] else {
                panic!("{found:?}");
            };
            assert_eq!(count, "1 of 1 request go elsewhere", "{line}");
            assert_eq!(*group, expected, "{line}");
            assert!(example.starts_with("    line 1: "), "{example}");
        }
    }
}

/// A service that names listeners gets the requests of these alone, as far as the log says which listener it was.
#[test]
fn requests_go_to_the_services_of_their_listener() {
    let listen = r#""listen": [ { "address": "127.0.0.1:81", "name": "inside" }, "127.0.0.1:82" ]"#;
    let of = |name: &str| {
        format!(
            r#"{{ "route": "/users", "target": "http://a.test" }},
               {{ "route": "/users/x", "listeners": ["inside"], "target": "http://{name}.test" }}"#
        )
    };
    let (old, new) = (config(listen, &of("b")), config(listen, &of("c")));
    let at = |port: u16| {
        json(
            "GET",
            "/users/x",
            &format!(r#","listener":"127.0.0.1:{port}""#),
        )
    };
    for (line, expected) in [
        (at(81), "1 of 1 request go elsewhere"),
        (at(82), "0 of 1 request go elsewhere"),
        (json("GET", "/users/x", ""), "1 of 1 request go elsewhere"),
    ] {
        let found = replayed(&old, &new, line.as_bytes());
        assert_eq!(found[0], expected, "{line}");
    }
}

/// Returns a configuration with listeners of three kinds, of which no file is read: 81 is plain, 82 has TLS, 83 redirects.
fn of_three_kinds(keys: &str, services: &str) -> Config {
    let listen = r#""listen": ["127.0.0.1:81", "127.0.0.1:82", "127.0.0.1:83"]"#;
    let mut config = config(
        &[keys, listen].join(if keys.is_empty() { "" } else { "," }),
        services,
    );
    config.listeners[1].kind = ListenKind::Tls(TlsFiles {
        certificates: Vec::new(),
        ordered: Vec::new(),
        contact: None,
        min_version: TlsVersion::Tls12,
        client_ca: None,
        client_auth: ClientAuth::Required,
    });
    config.listeners[2].kind = ListenKind::Redirect;
    config
}

/// Returns a line of a client of a listener. `tls`: what the member says.
fn at(port: u16, tls: &str) -> String {
    json(
        "GET",
        "/users",
        &format!(r#","listener":"127.0.0.1:{port}","tls":{tls}"#),
    )
}

/// The listener decides what becomes of a request before a byte of it is read.
#[test]
fn the_kind_of_a_listener_decides_before_the_request() {
    const TLS: &str = r#""TLSv1.3""#;
    let deny = r#""deny": ["192.0.2.0/24"]"#;
    let proxied = r#""deny": ["192.0.2.0/24"], "trustedProxies": ["10.0.0.0/8"]"#;
    let is_client = r#""deny": ["192.0.2.0/24"], "trustedProxies": ["192.0.2.7"]"#;
    let closed = "no response (address denied, closed before TLS)";
    let denied = "403 (address denied)";
    let either = "403 (address denied; no response to the client itself over TLS)";
    let redirected = "308 to https, port 443";
    let own =
        r#"{ "route": "/users", "target": "http://a.test:81/users", "deny": ["192.0.2.0/24"] }"#;
    for (keys, services, line, expected) in [
        (deny, USERS, at(81, "null"), denied),
        (deny, USERS, at(82, TLS), closed),
        (deny, USERS, at(83, "null"), denied),
        // The peer of a log with `trustedProxies` is not known.
        (proxied, USERS, at(82, TLS), either),
        (proxied, USERS, at(81, "null"), denied),
        (is_client, USERS, at(82, TLS), either),
        // A service denies once its request is read.
        ("", own, at(82, TLS), denied),
        // Without a listener of the file: by what was spoken; without that either may be.
        (deny, USERS, at(99, TLS), closed),
        (deny, USERS, at(99, "null"), denied),
        (deny, USERS, combined("GET /users HTTP/1.1"), either),
        (deny, USERS, json("GET", "/users", ""), either),
        // The wrong protocol.
        (
            "",
            USERS,
            at(82, "null"),
            "400 (plain HTTP on a TLS listener)",
        ),
        (deny, USERS, at(82, "null"), closed),
        ("", USERS, at(81, TLS), "400 (TLS on a plain listener)"),
        ("", USERS, at(83, TLS), "400 (TLS on a plain listener)"),
        ("", USERS, at(83, "null"), redirected),
        (
            "",
            USERS,
            json(
                "GET",
                "/users",
                r#","listener":"x","tls":null,"status":308"#,
            ),
            redirected,
        ),
    ] {
        let new = of_three_kinds(keys, services);
        // One in which the request goes elsewhere, whatever its listener is.
        let old = config(r#""maintenance": true"#, USERS);
        let found = replayed(&old, &new, line.as_bytes());
        let group = format!("1 request GET /users/* : 503 (maintenance)  =>  {expected}");
        let group = group.replace("/users/*", "/*");
        assert_eq!(found.get(1), Some(&group), "{keys} {line}");
    }
    let mut asking = of_three_kinds("", USERS);
    Arc::make_mut(&mut asking.settings.services[0]).entrance = Some(Box::new(ServiceEntrance {
        listeners: Vec::new(),
        needs_certificate: true,
    }));
    let found = replayed(&of_three_kinds("", USERS), &asking, at(82, TLS).as_bytes());
    let to = "/users -> http://a.test:81/users";
    let group = format!("1 request GET /users/* : {to}  =>  {to} (client certificate)");
    assert_eq!(found.get(1), Some(&group));
    // What is denied on the wire in another way goes elsewhere.
    let (plain, mixed) = (config(deny, USERS), of_three_kinds(deny, USERS));
    for (line, changed) in [(at(82, TLS), 1), (at(81, "null"), 0), (at(81, TLS), 1)] {
        let found = replayed(&plain, &mixed, line.as_bytes());
        assert_eq!(
            found[0],
            format!("{changed} of 1 request go elsewhere"),
            "{line}"
        );
    }
}

#[test]
fn groups_are_sorted_and_have_examples() {
    let old = config("", USERS);
    let new = config("", r#"{ "route": "/users", "target": "http://b.test/u" }"#);
    let mut log = combined("GET /other HTTP/1.1") + &combined("PUT /users HTTP/1.1");
    for number in 0..1204 {
        log += &combined(&format!("GET /users/{number}?a=\\x22 HTTP/1.1"));
    }
    assert_eq!(
        replayed(&old, &new, log.as_bytes()),
        [
            "1,205 of 1,206 requests go elsewhere",
            "1,204 requests GET /users/* : /users -> http://a.test:81/users  =>  /users -> http://b.test/u",
            "    line 3: GET /users/0?a=\" HTTP/1.1: http://a.test:81/users/0?a=\"  =>  http://b.test/u/0?a=\"",
            "1 request PUT /users/* : /users -> http://a.test:81/users  =>  /users -> http://b.test/u",
            "    line 2: PUT /users HTTP/1.1: http://a.test:81/users  =>  http://b.test/u",
        ]
    );
}

#[test]
fn lines_that_cannot_be_read_are_counted() {
    let old = config("", USERS);
    let new = config(
        "",
        r#"{ "route": "/users", "hosts": ["a.test"], "target": "http://b.test" }"#,
    );
    let mut log = Vec::new();
    log.extend_from_slice(b"\n\r\n\x7fELF\0\xff\"\n{\"path\":\n");
    log.extend_from_slice(&vec![b'{'; 1 << 20]);
    log.push(b'\n');
    log.extend_from_slice(combined("-").as_bytes());
    log.extend_from_slice(combined("GET /cut").as_bytes());
    log.extend_from_slice(json("GET", "/a\\u000D\\u000AHost: a.test", "").as_bytes());
    log.extend_from_slice(json("GET", "/users", r#","host":"a.test\u000D\u000AX: y""#).as_bytes());
    log.extend_from_slice(combined("GET /users HTTP/1.1").trim_end().as_bytes());
    assert_eq!(
        replayed(&old, &new, &log),
        [
            "1 of 1 request go elsewhere",
            "1 request GET /users/* : /users -> http://a.test:81/users  =>  404 (no route)",
            "    line 10: GET /users HTTP/1.1: http://a.test:81/users  =>  404 (no route)",
            "1 request without a host in the log: judged as for a host that no service names in \"hosts\"",
            "3 lines of no known format, the first is line 3",
            "4 lines without a whole request line, the first is line 6",
        ]
    );
}
