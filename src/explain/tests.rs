//! Requests, and what is said about them.

use std::sync::Arc;

use super::*;
use crate::config::ListenKind;
use crate::policy::auth::base64::{decode, encode};
use crate::policy::entrance::ServiceEntrance;
use crate::transport::server::{ClientAuth, TlsFiles, TlsVersion};

/// Time of day of the tests.
const WALL: u64 = 1_795_521_600_000;

const KEY: &str = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // "key"

fn config(text: &str) -> Config {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn asked(line: &str, headers: &[&str]) -> Asked {
    let (method, url) = line.split_once(' ').expect("two words");
    Asked {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        data: None,
        from: None,
    }
}

fn told(config: &Config, asked: &Asked) -> Explanation {
    explain(config, asked, UnixTime::from_millis(WALL)).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the lines without the notes, up to the first blank line behind the verdict.
fn marked(told: &Explanation) -> Vec<String> {
    let text = told.text();
    text.lines()
        .filter(|line| line.starts_with(['>', '?']))
        .map(str::to_owned)
        .collect()
}

/// Returns the line of the verdict.
fn verdict(told: &Explanation) -> String {
    let text = told.text();
    let mut parts = text.split("\n\n");
    parts.nth(1).expect("a verdict").trim_end().to_owned()
}

fn guarded() -> Config {
    config(&format!(
        r#"{{ "requestId": false, "securityHeaders": false,
        "listen": ["127.0.0.1:5000", {{ "address": "127.0.0.1:5001" }}],
        "deny": ["203.0.113.0/24"], "trustedProxies": ["10.0.0.0/8"],
        "cors": {{ "origins": ["https://a.test"], "forwardOptions": true }},
        "rateLimit": {{ "requests": 7, "window": "3m" }}, "limits": {{ "bodyBytes": "1KB" }},
        "auth": {{
            "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{ "b": "{KEY}" }} }},
            "idp": {{ "type": "jwt", "jwks": "https://idp.test/keys", "issuer": "https://idp.test", "audience": "api" }},
            "ask": {{ "type": "introspection", "url": "http://as.test/introspect" }},
            "forward": {{ "type": "forward", "url": "http://auth.test/verify" }} }},
        "services": [
            {{ "route": "/a", "target": "http://10.1.1.1:80/x/" }},
            {{ "route": "/a/b", "methods": ["GET"], "target": "http://10.1.1.2" }},
            {{ "route": "/k", "target": "http://10.1.1.3", "auth": ["keys"] }},
            {{ "route": "/j", "target": "http://10.1.1.3", "auth": ["idp"], "scopes": ["read"] }},
            {{ "route": "/i", "target": "http://10.1.1.3", "auth": ["ask"], "scopes": ["read"] }},
            {{ "route": "/f", "target": "http://10.1.1.3", "auth": ["forward"] }},
            {{ "route": "/h", "hosts": ["*.x.test"], "target": "http://name.test" }},
            {{ "route": "/h", "hosts": ["b.x.test"], "targets": [ {{ "url": "http://10.1.1.5" }},
                {{ "url": "http://10.1.1.6", "weight": 5 }} ], "rateLimit": false }} ] }}"#
    ))
}

/// Bearer token with these claims that nobody has signed.
fn bearer(claims: &str) -> String {
    let part = |text: &str| crate::policy::auth::base64::encode_url(text.as_bytes());
    let (head, claims) = (part(r#"{"alg":"ES256","kid":"1"}"#), part(claims));
    format!(
        "Authorization: Bearer {head}.{claims}.{}",
        part(&"s".repeat(64))
    )
}

/// Each row: the request, its headers, the verdict, and the lines with a mark.
#[test]
fn each_policy_says_what_it_did() {
    let good = bearer(r#"{"iss":"https://idp.test","aud":"api","exp":1795521700,"scope":"read"}"#);
    let old = bearer(r#"{"iss":"https://idp.test","aud":"api","exp":1795521500,"scope":"read"}"#);
    let poor = bearer(r#"{"iss":"https://idp.test","aud":"api","exp":1795521700}"#);
    let vias = format!(
        "Via: {}",
        ["1.1 tollgate"; crate::limits::VIA_LOOPS_MAX].join(", ")
    );
    let config = guarded();
    for (line, headers, expected, marks) in [
        (
            "GET /a/c?q=1",
            &[][..],
            "forwarded to http://10.1.1.1/x/c?q=1",
            &[][..],
        ),
        (
            "GET /nope",
            &[],
            "404 Not Found, answered by the gateway: no service has a route for this host and path",
            &["> route"],
        ),
        (
            "PUT /a/b/c",
            &[],
            "405 Method Not Allowed, answered by the gateway: no service of this route takes the method",
            &["> route            /a/b GET: no service of this route takes the method PUT"],
        ),
        (
            "GET /a/../b",
            &[],
            "400 Bad Request, answered by the gateway: dot segment in the path",
            &["> route"],
        ),
        (
            "GET /a",
            &["Host: a b"],
            "400 Bad Request, answered by the gateway: Host is no host and port",
            &["> request"],
        ),
        (
            "GET /a",
            &["Bad Name: x"],
            "400 Bad Request, answered by the gateway: ",
            &["> request"],
        ),
        (
            "POST /a",
            &["Content-Length: 2000"],
            "413 Content Too Large, answered by the gateway: body longer than limits.bodyBytes",
            &["> body             2000 bytes (limits.bodyBytes: 1KB)"],
        ),
        (
            "GET /a",
            &[&vias],
            "502 Bad Gateway, answered by the gateway: Via shows that the request runs in a circle",
            &["> Via"],
        ),
        (
            "OPTIONS /a",
            &[
                "Origin: https://a.test",
                "Access-Control-Request-Method: PUT",
            ],
            "204 No Content, answered by the gateway",
            &["> cors             https://a.test may read the response"],
        ),
        ("OPTIONS /a", &[], "forwarded to http://10.1.1.1/x/", &[]),
        (
            "OPTIONS *",
            &[],
            "204 No Content, answered by the gateway",
            &["> cors"],
        ),
        (
            "OPTIONS /a",
            &["Max-Forwards: x"],
            "400 Bad Request, answered by the gateway: Max-Forwards",
            &["> cors"],
        ),
        (
            "GET /k",
            &[],
            "401 Unauthorized, answered by the gateway: no credential",
            &["> auth             no credential"],
        ),
        (
            "GET /k",
            &["X-Key: wrong"],
            "401 Unauthorized, answered by the gateway: unknown API key",
            &["> auth"],
        ),
        (
            "GET /k",
            &["X-Key: key"],
            "forwarded to http://10.1.1.3/",
            &[],
        ),
        (
            "GET /k",
            &["X-Key: key", "X-Key: key"],
            "400 Bad Request, answered by the gateway: ",
            &["> auth"],
        ),
        (
            "GET /j",
            &[&good],
            "forwarded to http://10.1.1.3/\nif the provider idp lets it in, which is asked first",
            &[
                "? auth             idp (jwt): would ask https://idp.test/keys first, for the keys; without the signature the token is good (scopes read)",
            ],
        ),
        (
            "GET /j",
            &[&old],
            "401 Unauthorized, answered by the gateway: the token has expired",
            &[
                "? auth             idp (jwt): whatever the keys of https://idp.test/keys are, the token has expired",
                "> auth",
            ],
        ),
        (
            "GET /j",
            &[&poor],
            "403 Forbidden, answered by the gateway: the token lacks a scope",
            &["? auth", "> auth"],
        ),
        (
            "GET /j",
            &["Authorization: Bearer x"],
            "401 Unauthorized, answered by the gateway: the token is malformed",
            &["> auth"],
        ),
        (
            "GET /i",
            &["Authorization: Bearer x"],
            "forwarded to http://10.1.1.3/\nif the provider ask lets it in, which is asked first",
            &["? auth"],
        ),
        (
            "GET /i",
            &[],
            "401 Unauthorized, answered by the gateway: no credential",
            &["> auth"],
        ),
        (
            "GET /f",
            &[],
            "forwarded to http://10.1.1.3/\nif the provider forward lets it in, which is asked first",
            &["? auth"],
        ),
        (
            "GET http://b.x.test/h",
            &[],
            "forwarded to http://10.1.1.6/",
            &[],
        ),
        (
            "GET http://c.x.test/h",
            &[],
            "forwarded to http://name.test/",
            &[],
        ),
        (
            "GET http://x.test/h",
            &[],
            "404 Not Found, answered by the gateway: ",
            &["> route"],
        ),
        (
            "POST /a",
            &["Content-Length: 5"],
            "no answer: the gateway waits for the rest of the request; give the body with --data",
            &[],
        ),
        ("BREW /a", &[], "forwarded to http://10.1.1.1/x/", &[]),
        ("CONNECT /a", &[], "4", &["> request"]),
    ] {
        let told = told(&config, &asked(line, headers));
        assert!(
            verdict(&told).starts_with(expected),
            "{line} {headers:?}: {}",
            told.text()
        );
        let marked = marked(&told);
        assert!(
            marked.len() == marks.len()
                && marked
                    .iter()
                    .zip(marks)
                    .all(|(line, start)| line.starts_with(start)),
            "{line} {headers:?}: {marked:#?}"
        );
    }
}

#[test]
fn addresses_and_proxies() {
    let config = guarded();
    for (from, headers, expected) in [
        (
            "203.0.113.9",
            &[][..],
            &[
                "403 Forbidden",
                "> allow, deny      \"deny\" has 203.0.113.0/24, which is 203.0.113.9",
            ][..],
        ),
        (
            "192.0.2.1",
            &["X-Forwarded-For: 203.0.113.9"],
            &[
                "forwarded",
                "client           192.0.2.1; its X-Forwarded fields are replaced",
                "X-Forwarded-For: 192.0.2.1\n",
            ],
        ),
        (
            "10.2.3.4",
            &["X-Forwarded-For: 203.0.113.9"],
            &[
                "403 Forbidden",
                "client           203.0.113.9, by X-Forwarded-For of 10.2.3.4",
            ],
        ),
        (
            "10.2.3.4",
            &["X-Forwarded-For: 192.0.2.1"],
            &[
                "forwarded",
                "X-Forwarded-For: 192.0.2.1, 10.2.3.4\n",
                "7 requests in 3m for each client, here 192.0.2.1",
            ],
        ),
        ("2001:db8::1", &[], &["here 2001:db8::1/64"]),
    ] {
        let mut asked = asked("GET /a", headers);
        asked.from = Some(Peer::Ip(from.parse().expect("an address")));
        let text = told(&config, &asked).text();
        for part in expected {
            assert!(text.contains(part), "{from} {headers:?}: {part}\n{text}");
        }
    }
}

#[test]
fn why_others_were_not_chosen() {
    let config = guarded();
    for (line, expected) in [
        ("GET /a/b/c", &["/a               /a/b is longer"][..]),
        (
            "PUT /a/b/c",
            &[
                "/a               /a/b is longer",
                "/a/b GET         takes GET, and not PUT",
            ],
        ),
        (
            "GET http://b.x.test/h",
            &["/h *.x.test      /h b.x.test names the host more closely, and comes first"],
        ),
        (
            "GET http://c.x.test/h",
            &["/h b.x.test      for b.x.test, and the request is for \"c.x.test\""],
        ),
        (
            "GET /nope",
            &["/k               the path does not begin with it"],
        ),
    ] {
        let text = told(&config, &asked(line, &[])).text();
        for part in expected {
            assert!(
                text.contains(&format!("\n  {part}\n")),
                "{line}: {part}\n{text}"
            );
        }
    }
}

#[test]
fn a_route_for_one_path() {
    let config = config(
        r#"{ "services": [
        { "route": "/", "target": "http://u.test" },
        { "route": "= /", "target": "http://u.test/start.html" },
        { "route": "= /a", "target": "http://u.test/b/", "stripPrefix": false },
        { "route": "/a", "target": "http://u.test/c" } ] }"#,
    );
    for (line, expected) in [
        (
            "GET /?q",
            [
                "| GET /start.html?q HTTP/1.1",
                "/                = / is for this path alone, and comes first",
            ],
        ),
        (
            "GET /a",
            [
                "| GET /b/a HTTP/1.1",
                "/a               = /a is for this path alone, and comes first",
            ],
        ),
        (
            "GET /a/",
            ["| GET /c/ HTTP/1.1", "other services with other routes: 2"],
        ),
        ("GET /x", ["| GET /x HTTP/1.1", "route            /"]),
    ] {
        let text = told(&config, &asked(line, &[])).text();
        for part in expected {
            assert!(
                text.contains(&format!("  {part}\n")),
                "{line}: {part}\n{text}"
            );
        }
    }
    let config =
        self::config(r#"{ "services": [ { "route": "= /a", "target": "http://u.test" } ] }"#);
    let text = told(&config, &asked("GET /a/", &[])).text();
    let why = "\n  = /a             for that path alone\n";
    assert!(text.contains(why), "{text}");
}

#[test]
fn a_store_is_not_asked_and_refuses_nobody() {
    let config = config(
        r#"{ "stores": { "main": { "url": "redis://127.0.0.1:6379", "onFailure": "closed" } },
        "services": [ { "route": "/a", "target": "http://10.1.1.1/",
            "rateLimit": { "requests": 5, "window": "60s", "store": "main" } } ] }"#,
    );
    let told = told(&config, &asked("GET /a", &[]));
    assert_eq!(verdict(&told), "forwarded to http://10.1.1.1/");
    let line = "  rateLimit        5 requests in 1m for each client, shared through the store main, here 127.0.0.1; ";
    assert!(told.text().contains(line), "{}", told.text());
}

#[test]
fn targets_and_windows() {
    let config = guarded();
    let text = told(&config, &asked("GET http://b.x.test/h", &[])).text();
    for part in [
        "  target           http://10.1.1.6: weight 5; chosen here by round-robin, with nothing in flight; retries 1\n",
        "\n                   http://10.1.1.5: weight 1\n",
        "  rateLimit        off\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = told(&config, &asked("GET /a", &[])).text();
    let window =
        "taken as the first one of the window that all services without a limit of their own share";
    assert!(text.contains(window), "{text}");
    let config = self::config(r#"{"services":[{"route":"/","target":"http://unix:/run/a.sock"}]}"#);
    let text = told(&config, &asked("GET /", &[])).text();
    assert!(
        text.contains(" http://unix:/run/a.sock: the only one\n"),
        "{text}"
    );
}

/// JSON has the bytes; text shows them, with every byte that a terminal acts upon escaped.
#[test]
fn bytes_are_exact_and_readable() {
    let config = guarded();
    let mut asked = asked(
        "POST /a/%41?x=%00",
        &[
            "X-Odd: a\tb\\c\u{e9}",
            "Connection: close, X-Odd2",
            "X-Odd2: 1",
        ],
    );
    asked.data = Some("a\r\nb\u{1b}[31m".into());
    let told = told(&config, &asked);
    let text = told.text();
    assert!(
        text.contains(
            "the upstream gets (191 bytes)\n  | POST /x/%41?x=%00 HTTP/1.1\n  | Host: 10.1.1.1\n  | X-Odd: a\\x09b\\\\c\\xc3\\xa9\n  \
             | X-Forwarded-For: 127.0.0.1\n  | X-Forwarded-Proto: http\n  | X-Forwarded-Host: localhost\n  | Via: 1.1 tollgate\n  \
             | Content-Length: 9\n  | \n  | a\n  | b\\x1b[31m\n"
        ),
        "{text}"
    );
    assert!(
        text.chars()
            .all(|letter| letter == '\n' || !letter.is_control())
    );
    let json = Json::parse(&told.json()).expect("JSON");
    let bytes = |name: &str| decode(json.get(name).and_then(Json::text).expect(name).as_bytes());
    assert_eq!(bytes("upstreamBytes").as_deref(), Some(&told.run.up[..]));
    assert!(
        told.run
            .up
            .ends_with(b"Content-Length: 9\r\n\r\na\r\nb\x1b[31m")
    );
    let request = json.get("request").expect("a request");
    let sent = request.get("bytes").and_then(Json::text);
    assert_eq!(sent, Some(encode(&told.arrival.bytes).as_str()));
    let verdict = json.get("verdict").expect("a verdict");
    let url = verdict.get("url").and_then(Json::text);
    assert_eq!(url, Some("http://10.1.1.1/x/%41?x=%00"));
    assert_eq!(verdict.get("status"), None);
}

#[test]
fn a_body_is_as_long_as_its_content_length() {
    let config = guarded();
    let mut asked = asked("POST /a", &["content-length: 3"]);
    asked.data = Some("abcdef".into());
    let told = told(&config, &asked);
    assert!(told.arrival.bytes.ends_with(b"\r\n\r\nabc"));
    assert!(told.run.up.ends_with(b"Content-Length: 3\r\n\r\nabc"));
    let note =
        "(Content-Length is 3: of the body 3 bytes are left out, which would be another request)";
    assert!(told.text().contains(note), "{}", told.text());
}

#[test]
fn what_the_command_line_says_wrongly() {
    let config = guarded();
    for (line, headers, expected) in [
        (
            "GET api.example.com/a",
            &[][..],
            "the URL \"api.example.com/a\" has no scheme; write it as http://",
        ),
        (
            "GET ftp://a/b",
            &[],
            "the URL \"ftp://a/b\" is neither http:// nor https://",
        ),
        ("GET http:///b", &[], "names no host"),
        ("GET /a b", &[], "has a space"),
        (
            "GET /a",
            &["Accept"],
            "-H \"Accept\" has no colon; write it as -H 'Name: value'",
        ),
        (
            "GET /a",
            &["A: b\r\nX: y"],
            "has a line end; write one -H for each header",
        ),
    ] {
        let error = explain(&config, &asked(line, headers), UnixTime::from_millis(WALL));
        let error = error.err().expect("an error");
        assert!(error.contains(expected), "{line}: {error}");
    }
    let mut from_file = asked("GET /a", &[]);
    from_file.data = Some("@/nowhere/at/all".into());
    let error = explain(&config, &from_file, UnixTime::from_millis(WALL)).err();
    assert!(error.is_some_and(|error| error.starts_with("/nowhere/at/all: cannot be read: ")));
}

#[test]
fn the_listener_is_that_of_the_url() {
    let config = guarded();
    let first = "listen           127.0.0.1:5000\n";
    for (url, expected) in [
        ("/a", &[first, "(the URL names no host"][..]),
        (
            "http://h:5001/a",
            &["listen           127.0.0.1:5001\n", "Host: 10.1.1.1"],
        ),
        ("http://h/a", &[first, "(no such listener has port 80"]),
        (
            "https://h/a#part",
            &[first, "(no listener has TLS", "GET /a HTTP/1.1 from"],
        ),
        ("http://user@h?x=1", &["GET /?x=1 HTTP/1.1"]),
    ] {
        let text = told(&config, &asked(&format!("GET {url}"), &[])).text();
        for part in expected {
            assert!(text.contains(part), "{url}: {part}\n{text}");
        }
    }
}

/// The policy that decides about CORS is that of the service, and the text names it.
#[test]
fn cors_of_a_service() {
    let config = config(
        r#"{ "securityHeaders": false, "cors": { "origins": ["https://top.test"] }, "services": [
            { "route": "/own", "target": "http://10.1.1.1", "cors": { "origins": ["https://own.test"] } },
            { "route": "/off", "target": "http://10.1.1.1", "cors": false },
            { "route": "/top", "target": "http://10.1.1.1" } ] }"#,
    );
    let preflight = [
        "Origin: https://own.test",
        "Access-Control-Request-Method: PUT",
    ];
    for (method, url, headers, expected) in [
        (
            "GET",
            "/own",
            &preflight[..1],
            "https://own.test may read the response (\"cors\" of /own)",
        ),
        (
            "GET",
            "/top",
            &preflight[..1],
            "https://own.test may not read the response, only https://top.test may",
        ),
        ("GET", "/off", &preflight[..1], "off (\"cors\" of /off)"),
        (
            "OPTIONS",
            "/own",
            &preflight[..],
            "https://own.test may read the response (\"cors\" of /own)",
        ),
        (
            "OPTIONS",
            "/off",
            &preflight[..],
            "off: OPTIONS goes on like any other method (\"cors\" of /off)",
        ),
        (
            "OPTIONS",
            "/none",
            &preflight[..],
            "https://own.test may not read the response, only https://top.test may",
        ),
    ] {
        let text = told(&config, &asked(&format!("{method} {url}"), headers)).text();
        let line = text.lines().find(|line| line.contains(" cors "));
        assert!(
            line.is_some_and(|line| line.ends_with(expected)),
            "{method} {url}: {text}"
        );
    }
}

/// Returns the texts of a policy.
fn rows(told: &Explanation, name: &str) -> Vec<String> {
    let rows = told.checks.rows.iter().filter(|row| row.name == name);
    rows.map(|row| row.text.clone()).collect()
}

#[test]
fn conditions_that_do_not_hold_are_named() {
    let config = config(
        r#"{ "auth": { "k": { "type": "apiKey", "keys": { "b": "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683" } } },
        "services": [
            { "route": "/a", "target": "http://10.0.0.1" },
            { "route": "/a", "target": "http://10.0.0.2", "match": { "headers": { "X-Beta": "1" } } },
            { "route": "/a", "target": "http://10.0.0.3", "match": { "headers": { "X-Beta": "1" }, "query": { "v": "2" } } },
            { "route": "/a", "target": "http://10.0.0.4", "methods": ["PUT"], "match": { "cookies": { "c": "1" } } },
            { "route": "/b", "target": "http://10.0.0.5", "match": { "cookies": { "c": "1" } } },
            { "route": "/c", "target": "http://10.0.0.5", "match": { "cookies": { "c": "1" } } },
            { "route": "/c", "target": "http://10.0.0.5", "auth": "k" } ] }"#,
    );
    let lost = |line: &str, headers: &[&str]| {
        let told = told(&config, &asked(line, headers));
        let lost = told.candidates.lost.iter();
        let lost = lost.map(|(name, why)| format!("{name}: {why}"));
        (rows(&told, "route").join(""), lost.collect::<Vec<_>>())
    };
    let (route, others) = lost("GET /a", &["X-Beta: 1"]);
    assert_eq!(route, "/a [x-beta: 1]");
    assert_eq!(
        others,
        [
            "/a: /a [x-beta: 1] has more conditions, which all hold",
            "/a [x-beta: 1] [?v=2]: wants ?v=2, which the request does not have",
            "/a PUT [cookie c=1]: takes PUT, and not GET",
        ]
    );
    let (route, others) = lost("PUT /a", &["X-Beta: 1, 1"]);
    assert_eq!(route, "/a");
    assert_eq!(
        others,
        [
            "/a [x-beta: 1]: wants x-beta: 1, and the request has several values or spellings of it",
            "/a [x-beta: 1] [?v=2]: wants x-beta: 1, and the request has several values or spellings of it",
            "/a PUT [cookie c=1]: wants cookie c=1, which the request does not have",
        ]
    );
    let (_, others) = lost("GET /b", &[]);
    assert_eq!(
        others[0],
        "/b [cookie c=1]: wants cookie c=1, which the request does not have"
    );
    let (route, _) = lost("GET /c", &["Cookie: C=1"]);
    assert_eq!(
        route,
        "header, cookie or parameter of match in several values or spellings: the target could read another value, \
         which leads to a service that lets in other clients"
    );
}

#[test]
fn each_limit_of_a_list_is_told() {
    let config = config(&format!(
        r#"{{ "rateLimit": false, "auth": {{ "k": {{ "type": "apiKey", "header": "X-Key", "keys": {{ "b": "{KEY}" }} }} }},
        "services": [{{ "route": "/a", "target": "http://10.0.0.1", "auth": "k", "rateLimit": [
            {{ "requests": 5, "exempt": ["127.0.0.0/8"] }}, {{ "requests": 7, "key": "header:X-Tenant" }},
            {{ "requests": 9, "algorithm": "sliding" }}, {{ "requests": 3, "key": "consumer", "algorithm": "bucket", "burst": 4 }} ] }}] }}"#
    ));
    let own = "taken as the first one of the window that this service has";
    let texts = rows(
        &told(&config, &asked("GET /a", &["X-Key: key", "X-Tenant: t"])),
        "rateLimit",
    );
    assert_eq!(
        texts,
        [
            "1 of 4: 5 requests in 1m for each client, exempt 127.0.0.0/8: 127.0.0.1 is not counted"
                .to_owned(),
            format!("2 of 4: 7 requests in 1m for each value of x-tenant, here \"t\"; {own}"),
            format!("3 of 4: 9 requests in a sliding 1m for each client, here 127.0.0.1; {own}"),
            format!(
                "4 of 4: a bucket of 4 requests, 3 back in 1m, for each consumer, here by the credential, after \"auth\"; \
                 127.0.0.1 for one without it; {own}"
            ),
        ]
    );
    let texts = rows(&told(&config, &asked("GET /a", &[])), "rateLimit");
    assert_eq!(texts.len(), 4);
    assert!(
        texts[1].contains("127.0.0.1, because x-tenant is not there once with a value"),
        "{texts:?}"
    );
}

#[test]
fn a_limit_by_a_claim_is_told() {
    let config = config(
        r#"{ "rateLimit": { "requests": 7, "key": "claim:tenant" }, "auth": { "i": { "type": "introspection", "url": "https://i.test" } },
        "services": [{ "route": "/a", "target": "http://10.0.0.1", "auth": "i" }, { "route": "/b", "target": "http://10.0.0.1" }] }"#,
    );
    for (line, counted) in [
        (
            "GET /a",
            "by the claim tenant, after \"auth\"; by the consumer for a token without it, and 127.0.0.1 for one without both",
        ),
        (
            "GET /b",
            "127.0.0.1, because the request is not authenticated",
        ),
    ] {
        let texts = rows(&told(&config, &asked(line, &[])), "rateLimit");
        assert_eq!(
            texts,
            [format!(
                "7 requests in 1m for each value of the claim tenant, here {counted}; \
                 taken as the first one of the window that all services without a limit of their own share"
            )]
        );
    }
}

#[test]
fn pages_of_errors_and_rewritten_urls_are_told() {
    let text = r#"{ "errorPages": { "5xx": "e.html" }, "services": [
        { "route": "/a", "target": "http://10.0.0.1/x", "rewriteLocation": true, "rewriteCookiePath": true },
        { "route": "/b", "target": "http://10.0.0.1", "errorPages": { "404": "e.html" } },
        { "route": "/c", "redirect": { "to": "/a" }, "rewriteLocation": true } ] }"#;
    let read = |_: &std::path::Path| Ok(b"page".to_vec());
    let config = crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let names = ["errorPages", "rewriteLocation", "rewriteCookiePath"];
    for (line, expected) in [
        ("GET /a", [1, 1, 1]),
        ("GET /b", [1, 0, 0]),
        ("GET /c", [1, 0, 0]),
        ("GET /none", [1, 0, 0]),
    ] {
        let told = told(&config, &asked(line, &[]));
        let counts = names.map(|name| rows(&told, name).len());
        assert_eq!(counts, expected, "{line}");
    }
    let of_b = rows(&told(&config, &asked("GET /b", &[])), "errorPages");
    assert!(
        of_b[0].contains("404") && of_b[0].ends_with("where Accept names text/html"),
        "{of_b:?}"
    );
}

/// Makes the first listener one with TLS. `client_auth`: it asks for client certificates.
fn over_tls(mut config: Config, client_auth: Option<ClientAuth>) -> Config {
    config.listeners[0].kind = ListenKind::Tls(TlsFiles {
        certificates: Vec::new(),
        ordered: Vec::new(),
        contact: None,
        min_version: TlsVersion::Tls12,
        client_ca: client_auth.map(|_| "/ca.pem".into()),
        client_auth: client_auth.unwrap_or_default(),
    });
    config
}

/// A denied peer has no response over TLS, whatever it would send. A client behind a trusted proxy has one.
#[test]
fn a_denied_peer_gets_no_response_over_tls() {
    let config = over_tls(guarded(), None);
    let get = |line: &str, from: &str, headers: &[&str]| {
        let mut asked = asked(line, headers);
        asked.from = Some(Peer::Ip(from.parse().expect("an address")));
        told(&config, &asked)
    };
    let closed =
        "no response: the connection is closed before its TLS handshake, the client is denied";
    for headers in [&[][..], &["Content-Length: x"], &["Bad Name: 1"]] {
        let told = get("GET https://h/a", "203.0.113.9", headers);
        assert_eq!(verdict(&told), closed, "{headers:?}");
        assert_eq!(
            marked(&told),
            ["> allow, deny      \"deny\" has 203.0.113.0/24, which is 203.0.113.9"]
        );
        let text = told.text();
        let end = "not reached      route, rateLimit, body, auth\n";
        assert!(text.ends_with(end), "{text}");
        let json = String::from_utf8(told.json()).expect("text");
        let words = format!(
            r#""verdict":{{"status":null,"reason":"{}","end":null,"url":null}}"#,
            closed.strip_prefix("no response: ").expect("its start")
        );
        assert!(json.contains(&words), "{json}");
        assert!(json.contains(r#""clientBytes":null"#), "{json}");
    }
    let forwarded = ["X-Forwarded-For: 203.0.113.9"];
    for (line, from, headers, expected) in [
        (
            "GET https://h/a",
            "10.0.0.1",
            &forwarded[..],
            "403 Forbidden",
        ),
        ("GET http://h:5001/a", "203.0.113.9", &[], "403 Forbidden"),
        ("GET https://h/a", "192.0.2.1", &[], "forwarded to"),
    ] {
        let told = get(line, from, headers);
        assert!(verdict(&told).starts_with(expected), "{}", told.text());
    }
}

/// A listener that wants client certificates has no client without one; one that takes them has.
#[test]
fn client_certificates_are_as_the_listener_wants_them() {
    let service = |needs_certificate| {
        let mut config = config(r#"[ { "route": "/a", "target": "http://10.1.1.1" } ]"#);
        Arc::make_mut(&mut config.settings.services[0]).entrance =
            Some(Box::new(ServiceEntrance {
                listeners: Vec::new(),
                needs_certificate,
            }));
        config
    };
    for (needs, client_auth, expected) in [
        (
            true,
            Some(ClientAuth::Required),
            &[
                "forwarded to http://10.1.1.1/",
                "? clientCa         a client without a certificate gets no response, its handshake fails; here it has the subject CN=client",
                "\r\nX-Client-Subject: CN=client\r\n",
            ][..],
        ),
        (
            true,
            Some(ClientAuth::Optional),
            &[
                "403 Forbidden",
                "  clientCa         a client may show a certificate; here it shows none",
                "> clientCertificate the service wants a client certificate, and this request shows none",
            ],
        ),
        (true, None, &["403 Forbidden"]),
        (
            false,
            Some(ClientAuth::Optional),
            &["forwarded to http://10.1.1.1/"],
        ),
    ] {
        let config = over_tls(service(needs), client_auth);
        let told = told(&config, &asked("GET https://h/a", &[]));
        let up = String::from_utf8_lossy(&told.run.up);
        let text = told.text() + &up;
        for part in expected {
            assert!(text.contains(part), "{client_auth:?}: {part}\n{text}");
        }
        let is_shown = client_auth == Some(ClientAuth::Required);
        assert_eq!(up.contains("X-Client-Subject"), is_shown, "{up}");
    }
}

/// The client of a listener with the PROXY protocol is the one that is announced.
#[test]
fn an_announced_client_is_told() {
    let config = config(
        r#"{ "listen": { "address": "127.0.0.1:5000", "proxyProtocol": ["127.0.0.0/8", "unix"] },
             "services": [ { "route": "/a", "target": "http://10.1.1.1" } ] }"#,
    );
    let mut asked = asked("GET /a", &[]);
    asked.from = Some(Peer::Ip([203, 0, 113, 9].into()));
    let text = told(&config, &asked).text();
    let row = "  proxyProtocol    peers of 127.0.0.0/8, unix announce their clients, here 203.0.113.9; without that they get no response\n";
    assert!(text.contains(row), "{text}");
}
