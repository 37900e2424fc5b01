//! Whole files: what they become, and every line that is said about what is wrong with them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use crate::observe::access::Outcome;
use crate::policy::forward::PeerSet;
use crate::policy::meter::Algorithm;
use crate::policy::rate::RateLimit;
use crate::policy::rate_fields::RateHeaders;
use crate::policy::rate_key::RateKey;
use crate::proxy::settings::{AccessLogFormat, Network, Service, ServiceRateLimit, TargetHost};
use crate::time::Duration;

use super::schema::{SERVICE, TOP};
use super::*;

/// A root that nobody has the key of.
const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBkTCCATegAwIBAgIUY2VJdVKq6V1jKsC5vYktX4U8c0IwCgYIKoZIzj0EAwIw\n\
HTEbMBkGA1UEAwwSdG9sbGdhdGUgdGVzdCByb290MCAXDTI2MTEyNDEzMjIyMVoY\n\
DzIxMjYxMDMxMTMyMjIxWjAdMRswGQYDVQQDDBJ0b2xsZ2F0ZSB0ZXN0IHJvb3Qw\n\
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT7puxRNfkxZOCOcrjj5dQF7n3SwaWN\n\
ceiLEX7By3ZS59+L3eHe9gqWF8QYz2JFPUOUjXAaGFus3dtZCG7RGOzio1MwUTAd\n\
BgNVHQ4EFgQUIm7a2wMaIdcdEGK275p95LLUpdkwHwYDVR0jBBgwFoAUIm7a2wMa\n\
IdcdEGK275p95LLUpdkwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF\n\
AiEAyCcYEj1z3phRxApFr6JZWXrshH5wEM5BgKPSfLQO9KgCIAx6yLpeMhCcfTrb\n\
gKjCk1WCPYmO1YWPV3rl4P44fUTr\n\
-----END CERTIFICATE-----";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("/etc/tg/ca.pem") => Ok(CA.as_bytes().to_vec()),
        Some("/etc/tg/two.pem") => Ok(format!("{CA}\n{CA}\n").into_bytes()),
        Some("/etc/tg/key.pem") => {
            Ok(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec())
        }
        Some("/etc/tg/bad.pem") => {
            Ok(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec())
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variable = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    load(text.as_bytes(), "/etc/tg/t.json", &variable, &read).map_err(|errors| {
        let lines = errors.iter().map(ToString::to_string);
        lines
            .map(|line| {
                line.strip_prefix("/etc/tg/t.json:")
                    .expect("the file")
                    .to_owned()
            })
            .collect()
    })
}

fn good(text: &str) -> Config {
    load_with(text, &[]).unwrap_or_else(|errors| panic!("{text}: {errors:#?}"))
}

const SERVICES: &str = r#""services":[{"route":"/a","target":"http://b"}]"#;

/// A file with one more top-level key, in line 2.
fn with(key: &str) -> String {
    format!("{{{SERVICES},\n{key}}}")
}

/// A file whose only service has one more key, in line 2.
fn in_service(key: &str) -> String {
    format!("{{\"services\":[{{\"route\":\"/a\",\"target\":\"https://b\",\n{key}}}]}}")
}

#[track_caller]
fn says(text: &str, lines: &[&str]) {
    let named = [
        ("[keys of the file]", &TOP),
        ("[keys of a service]", &SERVICE),
    ];
    let lines = lines.iter().map(|line| {
        let line = (*line).to_owned();
        named.iter().fold(line, |line, (place, table)| {
            line.replace(place, &names_of(table))
        })
    });
    let lines = lines.collect::<Vec<_>>();
    assert_eq!(load_with(text, &[]).expect_err(text), lines, "{text}");
}

/// Returns the keys of a table, as an error lists them.
fn names_of(table: &schema::Table) -> String {
    let names = table.keys.iter().map(|key| key.name);
    let names = names.filter(|name| !name.starts_with('$'));
    names.collect::<Vec<_>>().join(", ")
}

const ARTICLE: &str = r#"{ "services": [
  { "route": "/auth",    "target": "https://your-deployed-service.herokuapp.com/auth" },
  { "route": "/users",   "target": "https://your-deployed-service.herokuapp.com/users/" },
  { "route": "/chats",   "target": "https://your-deployed-service.herokuapp.com/chats/" },
  { "route": "/payment", "target": "https://your-deployed-service.herokuapp.com/payment/" } ] }"#;

/// The contract's page of defaults, its comments left out.
const DEFAULTS: &str = r#"{
  "listen": "0.0.0.0:5000",
  "services": [ { "route": "/users", "target": "http://127.0.0.1:9000/users/", "stripPrefix": true, "preserveHost": false,
    "encodedSlashes": "reject", "tls": { "ca": null, "serverName": null } } ],
  "rateLimit": { "requests": 20, "window": "60s", "ipv6Prefix": 64, "maxClients": 65536 },
  "timeouts": { "connect": "5s", "head": "15s", "response": "15s", "idle": "60s", "keepAlive": "75s",
    "upstreamKeepAlive": "30s", "tunnel": "1h", "shutdown": "10s" },
  "limits": { "headBytes": "16KB", "requestLine": "8KB", "headers": 100, "connections": 4096, "bodyBytes": null },
  "halfClose": false,
  "cors": { "origins": ["*"], "methods": ["GET","HEAD","PUT","PATCH","POST","DELETE"], "headers": "reflect",
    "exposeHeaders": [], "credentials": false, "maxAge": null, "forwardOptions": false },
  "securityHeaders": true,
  "accessLog": "combined",
  "requestId": "X-Request-Id",
  "trustedProxies": [],
  "logLevel": "info"
}"#;

#[test]
fn the_flight_recorder_has_ends_a_directory_and_bounds() {
    let record = |text: &str| good(&with(text)).settings.record;
    assert_eq!(record(r#""record":false"#), None);
    let rule = record(r#""record":{"dir":"/r"}"#).expect("it is on");
    assert_eq!((rule.bytes, rule.keep, &*rule.dir), (64 << 10, 50, "/r"));
    for (on, outcome, status, is_picked) in [
        (r#"["5xx"]"#, Outcome::UpstreamRefused, Some(502), true),
        (r#"["5xx"]"#, Outcome::BadRequest, Some(400), false),
        // The upstream's own 503 is no failure of the gateway.
        (r#"["5xx"]"#, Outcome::Ok, Some(503), false),
        (r#"["4xx", "504"]"#, Outcome::BadRequest, Some(400), true),
        (
            r#"["4xx", "504"]"#,
            Outcome::UpstreamTimeout,
            Some(504),
            true,
        ),
        (r#"["504"]"#, Outcome::UpstreamRefused, Some(502), false),
        (
            r#"["upstream_closed"]"#,
            Outcome::UpstreamClosed,
            Some(200),
            true,
        ),
        (
            r#"["upstream_closed"]"#,
            Outcome::UpstreamClosed,
            None,
            true,
        ),
    ] {
        let rule = record(&format!(r#""record":{{"dir":"/r","on":{on}}}"#)).expect("it is on");
        assert_eq!(rule.picks(outcome, status), is_picked, "{on} {outcome}");
    }
    for (text, line) in [
        (
            r#"{}"#,
            "2:10: record: \"dir\" is missing; add the directory of the files, such as \"dir\": \"/var/lib/tollgate/records\"",
        ),
        (
            r#"{"dir":"r"}"#,
            "2:17: record.dir: \"r\" must be an absolute path, such as \"/var/lib/tollgate/records\"",
        ),
        (
            r#"{"dir":"/r","on":[]}"#,
            "2:27: record.on: must name an end or a status, such as [\"5xx\"]; \"record\": false is off",
        ),
        (
            r#"{"dir":"/r","on":["upstream_close"]}"#,
            "2:28: record.on[0]: \"upstream_close\" is no end of a request, did you mean \"upstream_closed\"?",
        ),
        (
            r#"{"dir":"/r","on":["600"]}"#,
            "2:28: record.on[0]: \"600\" is no end of a request; write a class such as \"5xx\", a status such as \"502\", or a word of \"end\" in the access log such as \"upstream_malformed\"",
        ),
        (
            r#"{"dir":"/r","keep":0}"#,
            "2:29: record.keep: 0 must be a whole number from 1 to 10000",
        ),
        (
            r#"{"dir":"/r","bytes":"2MB"}"#,
            "2:30: record.bytes: \"2MB\" must be from 1KB to 1MB",
        ),
    ] {
        says(&with(&format!(r#""record":{text}"#)), &[line]);
    }
}

#[test]
fn request_ids_have_a_name_or_are_off() {
    let long = "x".repeat(64);
    for (text, name) in [
        (r#""halfClose":false"#, Some("X-Request-Id")),
        (r#""requestId":null"#, Some("X-Request-Id")),
        (r#""requestId":"x-request-id""#, Some("x-request-id")),
        (r#""requestId":"Request-Id""#, Some("Request-Id")),
        (&format!(r#""requestId":"{long}""#), Some(&long)),
        (r#""requestId":false"#, None),
    ] {
        assert_eq!(good(&with(text)).settings.request_id.as_deref(), name);
    }
    let long = format!("{long}x");
    let line = format!("2:13: requestId: \"{long}\" is longer than 64 bytes; use a shorter name");
    says(&with(&format!(r#""requestId":"{long}""#)), &[&line]);
    let provider = r#""auth":{"a":{"type":"forward","url":"http://a/","copyHeaders":["X-User"]}},"requestId":"X-User""#;
    let line = "2:88: requestId: \"X-User\" is the header of a provider in \"auth\", too; use another name";
    says(&with(provider), &[line]);
}

#[test]
fn a_port_can_be_shared_and_a_unix_socket_cannot() {
    let listen = |entry: &str| {
        format!(r#"{{"listen":{entry},"services":[{{"route":"/","target":"http://b"}}]}}"#)
    };
    let config = good(&listen(r#"[{"address":"0.0.0.0:5000","reusePort":true}]"#));
    assert_eq!(config.listeners[0].port, Port::Shared);
    assert!(check::describe(&config).contains("0.0.0.0:5000, shared port"));
    let unix = listen(r#"[{"address":"unix:/a","reusePort":true}]"#);
    let line = "1:45: listen[0].reusePort: is for TCP ports: a unix socket belongs to one process; remove it, or give each \
                process an address of its own";
    says(&unix, &[line]);
    let systemd = listen(r#"[{"address":"systemd:web","reusePort":true}]"#);
    let line = "1:49: listen[0].reusePort: is set where the socket is opened: write ReusePort=yes into the socket unit, and \
                remove it here";
    says(&systemd, &[line]);
}

#[test]
fn the_articles_table_is_whole() {
    let config = good(ARTICLE);
    let address = ListenAddress::Tcp("0.0.0.0:5000".parse().expect("an address"));
    assert_eq!(
        config.listeners,
        [Listen {
            address,
            kind: ListenKind::Plain,
            name: None,
            proxied: PeerSet::default(),
            port: Port::Own,
        }]
    );
    assert_eq!(config.log_level, LogLevel::Info);
    let settings = &config.settings;
    let first = |s: &Arc<Service>| {
        (
            s.route.clone(),
            s.destinations[0].path.clone(),
            s.destinations[0].target,
        )
    };
    let routes = settings.services.iter().map(first).collect::<Vec<_>>();
    let routes = routes
        .iter()
        .map(|(route, path, target)| (route.as_str(), path.as_str(), *target))
        .collect::<Vec<_>>();
    assert_eq!(
        routes,
        [
            ("/auth", "/auth", 0),
            ("/users", "/users/", 0),
            ("/chats", "/chats/", 0),
            ("/payment", "/payment/", 0)
        ]
    );
    assert_eq!(settings.targets.len(), 1, "one host, one pool");
    let target = &settings.targets[0];
    assert_eq!(
        target.host,
        TargetHost::Name("your-deployed-service.herokuapp.com".to_owned())
    );
    assert_eq!(
        (target.port, target.tls, target.authority.as_str()),
        (443, true, "your-deployed-service.herokuapp.com")
    );
    assert_eq!(
        config.upstream_tls,
        [Some(UpstreamTls {
            roots: Vec::new(),
            server_name: None,
            client: None
        })]
    );
    assert_eq!(
        settings
            .security_headers
            .as_ref()
            .map(|headers| headers.fields.len()),
        Some(12)
    );
}

#[test]
fn the_bare_array_is_the_same() {
    let start = ARTICLE.find('[').expect("a list");
    let end = ARTICLE.rfind(']').expect("a list");
    assert_eq!(good(&ARTICLE[start..=end]), good(ARTICLE));
    says(
        "[{}]",
        &[
            "1:2: services[0]: \"route\" is missing; add the path prefix that leads here, such as \"/users\"",
            "1:2: services[0]: \"target\" is missing; add where the requests go, such as \"http://127.0.0.1:9000/\"",
        ],
    );
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let short = r#"[{"route":"/users","target":"http://127.0.0.1:9000/users/"}]"#;
    assert_eq!(good(DEFAULTS), good(short));
    assert_eq!(good(DEFAULTS), good(&DEFAULTS.replace("\n", "\r\n")));
    let config = good(short);
    let settings = config.settings;
    let secs = |n| Some(Duration::from_secs(n));
    assert_eq!(
        (
            settings.timeouts.head,
            settings.timeouts.keep_alive,
            settings.timeouts.shutdown
        ),
        (secs(15), secs(75), secs(10))
    );
    let timeouts = &settings.services[0].timeouts;
    assert_eq!(
        (timeouts.connect, timeouts.response, timeouts.idle),
        (secs(5), secs(15), secs(60))
    );
    assert_eq!(
        (timeouts.upstream_keep_alive, timeouts.tunnel),
        (secs(30), secs(3600))
    );
    let limits = settings.limits;
    assert_eq!(
        (limits.head_bytes, limits.request_line_bytes, limits.fields),
        (16384, 8192, 100)
    );
    assert_eq!((limits.connections, limits.body_bytes), (4096, None));
    let rate = RateLimit {
        requests: 20,
        window: Duration::from_secs(60),
        ipv6_prefix: 64,
        max_clients: 65536,
        headers: RateHeaders::Off,
        algorithm: Algorithm::Fixed,
        key: RateKey::Ip,
        exempt: PeerSet::default(),
        store: None,
        exact: false,
    };
    assert_eq!(settings.rate_limit, [rate]);
    assert_eq!(settings.services[0].rate_limit, ServiceRateLimit::Inherited);
    assert_eq!(
        (
            settings.access_log,
            settings.half_close,
            config.upstream_tls
        ),
        (AccessLogFormat::Combined, false, vec![None])
    );
}

#[test]
fn all_errors_in_one_run_in_the_order_of_the_file() {
    says(
        "{\n  \"logLevel\": \"loud\",\n  \"services\": [\n    { \"route\": \"/a\", \"target\": \"http://b\" },\n    \
         { \"route\": \"/a/\", \"target\": \"http://b\" },\n    { \"route\": \"/é\", \"taget\": \"http://b\" }\n  ],\n  \
         \"upstream\": {},\n  \"halfClose\": 1,\n  \"halfClose\": true\n}",
        &[
            "2:15: logLevel: \"loud\" must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
            "5:16: services[1].route: \"/a/\" is a duplicate route, services[0] has \"/a\" already; remove one of them",
            "6:16: services[2].route: \"/é\" has 'é'; a character that clients send as a \"%\" and two digits cannot be in a route, neither written out nor as \"%\": end it before that segment, as in \"/\"",
            "6:22: services[2].taget: unknown key, did you mean \"target\"?",
            "8:3: upstream: unknown key; it is \"target\" in \"services[]\"",
            "9:16: halfClose: 1 must be true or false, not a number",
            "10:3: halfClose: given twice, first in line 9; keep one of them",
        ],
    );
}

#[test]
fn the_document_itself() {
    says(
        "",
        &["1:1: the file is empty; it needs at least { \"services\": [ ... ] }"],
    );
    says(
        "7",
        &["1:1: 7 must be an object or a list of services, not a number"],
    );
    says(
        "{\n}",
        &[
            "1:1: \"services\" is missing; add \"services\": [{ \"route\": \"/x\", \"target\": \"http://...\" }]",
        ],
    );
    says(
        "[]",
        &[
            "1:1: services: is empty; add a service such as { \"route\": \"/x\", \"target\": \"http://...\" }",
        ],
    );
    says(
        "{\"services\":{}}",
        &[
            "1:13: services: must be a list such as [{ \"route\": \"/x\", \"target\": \"http://...\" }], not an object",
        ],
    );
    says(
        "[7]",
        &["1:2: services[0]: 7 must be an object with \"route\" and \"target\", not a number"],
    );
    says(
        "{\n \"listen\": 1,,\n}",
        &[
            "1:1: \"services\" is missing; add \"services\": [{ \"route\": \"/x\", \"target\": \"http://...\" }]",
            "2:14: nothing stands before this comma; remove it",
        ],
    );
    says(
        &with(r#""we\nird":1"#),
        &["2:1: \"we\\nird\": unknown key; the keys here are [keys of the file]"],
    );
}

/// A variable may stand for a number and for `true` or `false`; a text in quotes may not.
#[test]
fn variables_stand_for_numbers_and_flags() {
    let text = with(
        r#""halfClose":"${ON}","rateLimit":{"requests":"${N}","window":"${N}000"},"cors":"${OFF}",
        "timeouts":{"head":"${OFF}","idle":"${N}s"}"#,
    );
    let variables = [("ON", "true"), ("OFF", "false"), ("N", "30")];
    let settings = load_with(&text, &variables)
        .expect("a configuration")
        .settings;
    assert!(settings.half_close && settings.cors.is_none());
    assert_eq!(settings.timeouts.head, None);
    let limit = settings.rate_limit.first().expect("a limit");
    assert_eq!(
        (limit.requests, limit.window),
        (30, Duration::from_secs(30))
    );
    for (key, line) in [
        (
            r#""halfClose":"true""#,
            "2:13: halfClose: \"true\" must be true or false, not a string",
        ),
        (
            r#""halfClose":"${N}""#,
            "2:13: halfClose: \"${N}\" must be true or false, not a string",
        ),
        (
            r#""rateLimit":{"window":"${N}"}"#,
            "2:23: rateLimit.window: 30 has no unit; write \"30s\" or \"30ms\"",
        ),
        (
            r#""rateLimit":{"requests":"${ON}"}"#,
            "2:25: rateLimit.requests: \"${ON}\" must be a whole number from 1 to 1000000000, not a string",
        ),
    ] {
        assert_eq!(
            load_with(&with(key), &variables),
            Err(vec![line.to_owned()]),
            "{key}"
        );
    }
}

/// Notes are keys that begin with `//`, at any level; `$schema` stands at the top.
#[test]
fn notes_and_schema_change_nothing() {
    let plain = good(r#"{"services":[{"route":"/a","target":"http://b"}]}"#);
    let text = r#"{ "$schema": "s.json", "//": "a note", "// services": 7,
        "services": [{ "//": "x", "//": "y", "route": "/a", "target": "http://b" }],
        "securityHeaders": { "//": "none" } }"#;
    assert_eq!(good(text), plain);
    says(
        &in_service(r#""$schema":"x""#),
        &["2:1: services[0].\"$schema\": unknown key; it is a key of the top level"],
    );
}

/// `(key in line 2, what is said behind its path)`; each is the only error. Values begin behind
/// `"key":`.
#[test]
fn top_level_keys() {
    const RANGE: &str = "must be a duration such as \"15s\", \"250ms\", \"1m\" or \"1h\", or a whole number of milliseconds from 1000";
    const SIZE: &str =
        "must be a size such as \"16KB\", \"10MB\" or \"1GB\", or a whole number of bytes";
    let cases = [
        (r#""rateLimit":true"#, "2:13: rateLimit: must be an object such as { \"requests\": 20, \"window\": \"60s\" }, a list of them, or false, not true".to_owned()),
        (r#""rateLimit":{"requests":0}"#, "2:25: rateLimit.requests: 0 must be a whole number from 1 to 1000000000".to_owned()),
        (r#""rateLimit":{"requests":1.5}"#, "2:25: rateLimit.requests: 1.5 must be a whole number from 1 to 1000000000".to_owned()),
        (r#""rateLimit":{"requests":"20"}"#, "2:25: rateLimit.requests: \"20\" must be a whole number from 1 to 1000000000, not a string".to_owned()),
        (r#""rateLimit":{"window":0}"#, "2:23: rateLimit.window: 0 must be longer than zero".to_owned()),
        (r#""rateLimit":{"window":"1d"}"#, format!("2:23: rateLimit.window: \"1d\" {RANGE}")),
        (r#""rateLimit":{"window":false}"#, format!("2:23: rateLimit.window: {RANGE}, not false")),
        (r#""rateLimit":{"ipv6Prefix":129}"#, "2:27: rateLimit.ipv6Prefix: 129 must be a whole number from 1 to 128".to_owned()),
        (r#""rateLimit":{"maxClients":-1}"#, "2:27: rateLimit.maxClients: -1 must be a whole number from 1 to 1048576".to_owned()),
        (r#""authFailures":true"#, "2:16: authFailures: must be an object or false, not true".to_owned()),
        (r#""authFailures":{"requests":0}"#, "2:28: authFailures.requests: 0 must be a whole number from 1 to 1000000000".to_owned()),
        (r#""authFailures":{"window":"1d"}"#, format!("2:26: authFailures.window: \"1d\" {RANGE}")),
        (r#""authFailures":{"maxClients":9}"#, "2:17: authFailures.maxClients: unknown key; it is a key of \"rateLimit\", the keys here are requests, window".to_owned()),
        (r#""rateLimit":{"headers":true}"#, "2:24: rateLimit.headers: must be one of \"draft\", \"x\", or false, not true".to_owned()),
        (r#""rateLimit":{"headers":"draft-8"}"#, "2:24: rateLimit.headers: \"draft-8\" must be one of \"draft\", \"x\", or false; did you mean \"draft\"?".to_owned()),
        (r#""rateLimit":{"request":1}"#, "2:14: rateLimit.request: unknown key, did you mean \"requests\"?".to_owned()),
        (r#""timeouts":false"#, "2:12: timeouts: false must be an object; turn off a single one, as in { \"response\": false }".to_owned()),
        (r#""timeouts":{"conect":"1s"}"#, "2:13: timeouts.conect: unknown key, did you mean \"connect\"?".to_owned()),
        (r#""timeouts":{"head":0}"#, "2:20: timeouts.head: 0 must be longer than zero; false turns it off".to_owned()),
        (r#""timeouts":{"head":"0s"}"#, "2:20: timeouts.head: \"0s\" must be longer than zero; false turns it off".to_owned()),
        (r#""timeouts":{"head":-5}"#, format!("2:20: timeouts.head: -5 {RANGE}, or false")),
        (r#""timeouts":{"head":"1.5s"}"#, format!("2:20: timeouts.head: \"1.5s\" {RANGE}, or false")),
        (r#""timeouts":{"head":"15 s"}"#, format!("2:20: timeouts.head: \"15 s\" {RANGE}, or false")),
        (r#""timeouts":{"head":"15"}"#, "2:20: timeouts.head: \"15\" has no unit; write \"15s\" or \"15ms\"".to_owned()),
        (r#""timeouts":{"head":"s"}"#, format!("2:20: timeouts.head: \"s\" {RANGE}, or false")),
        (r#""timeouts":{"head":true}"#, format!("2:20: timeouts.head: {RANGE}, or false, not true")),
        (r#""timeouts":{"idle":"721h"}"#, "2:20: timeouts.idle: \"721h\" must be at most 30 days (\"720h\")".to_owned()),
        (r#""timeouts":{"idle":"99999999999999999999h"}"#, "2:20: timeouts.idle: \"99999999999999999999h\" must be at most 30 days (\"720h\")".to_owned()),
        (r#""limits":{"headBytes":"1KiB"}"#, format!("2:23: limits.headBytes: \"1KiB\" {SIZE}")),
        (r#""limits":{"headBytes":null}"#, format!("2:23: limits.headBytes: {SIZE}, not null")),
        (r#""limits":{"headBytes":255}"#, "2:23: limits.headBytes: 255 must be from 256 bytes to 256KB".to_owned()),
        (r#""limits":{"headBytes":"1MB"}"#, "2:23: limits.headBytes: \"1MB\" must be from 256 bytes to 256KB".to_owned()),
        (r#""limits":{"requestLine":"32KB"}"#, "2:25: limits.requestLine: \"32KB\" must be at most \"headBytes\" (16KB), which the request line is part of".to_owned()),
        (r#""limits":{"headers":257}"#, "2:21: limits.headers: 257 must be a whole number from 1 to 256".to_owned()),
        (r#""limits":{"connections":0}"#, "2:25: limits.connections: 0 must be a whole number from 1 to 131072".to_owned()),
        (r#""limits":{"bodyBytes":0}"#, "2:23: limits.bodyBytes: 0 must be from 1 bytes to 1048576GB".to_owned()),
        (r#""halfClose":"no""#, "2:13: halfClose: \"no\" must be true or false, not a string".to_owned()),
        (r#""accessLog":"jsn""#, "2:13: accessLog: \"jsn\" must be one of \"combined\", \"json\", \"off\"; did you mean \"json\"?".to_owned()),
        (r#""accessLog":false"#, "2:13: accessLog: must be one of \"combined\", \"json\", \"off\", not false".to_owned()),
        (r#""requestId":true"#, "2:13: requestId: must be a header name such as \"X-Request-Id\", or false, not true".to_owned()),
        (r#""requestId":"X Id""#, "2:13: requestId: \"X Id\" is no header name; letters, digits and \"-\" are allowed".to_owned()),
        (r#""requestId":"Content-Length""#, "2:13: requestId: \"Content-Length\" has a meaning of its own in HTTP; use a name such as \"X-Request-Id\"".to_owned()),
        (r#""requestId":"X_Id""#, "2:13: requestId: \"X_Id\" has a meaning of its own in HTTP; use a name such as \"X-Request-Id\"".to_owned()),
        (r#""requestId":"x-frame-options""#, "2:13: requestId: \"x-frame-options\" has a meaning of its own in HTTP; use a name such as \"X-Request-Id\"".to_owned()),
        (r#""securityHeaders":{"X-Own":"a"},"requestId":"x-own""#, "2:45: requestId: \"x-own\" is a name in \"securityHeaders\", too; use another name".to_owned()),
        (r#""logLevel":"WARN""#, "2:12: logLevel: \"WARN\" must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"; did you mean \"warn\"?".to_owned()),
        (r#""trustedProxies":"10.0.0.0/8""#, "2:18: trustedProxies: \"10.0.0.0/8\" must be a list of networks such as [\"10.0.0.0/8\"], not a string".to_owned()),
        (r#""trustedProxies":["unix:/run/t.sock"]"#, "2:19: trustedProxies[0]: \"unix:/run/t.sock\" must be a network such as \"10.0.0.0/8\" or \"fd00::/8\", an address such as \"10.0.0.1\", or \"unix\"".to_owned()),
        (r#""trustedProxies":["::1","10.0.0.1/8"]"#, "2:25: trustedProxies[1]: \"10.0.0.1/8\" has address bits behind its prefix; write \"10.0.0.0/8\"".to_owned()),
        (r#""bodyBytes":1"#, "2:1: bodyBytes: unknown key; it is a key of \"limits\"".to_owned()),
        // Near the name of a key of this level, and the name of one of the other level.
        (r#""match":{}"#, "2:1: match: unknown key; it is a key of \"services[]\"".to_owned()),
        (r#""scopes":[]"#, "2:1: scopes: unknown key; it is a key of \"services[]\"".to_owned()),
    ];
    for (key, line) in cases {
        says(&with(key), &[&line]);
    }
    says(
        "{\"services\":[{\"route\":\"/a\",\"target\":\"http://b\",\n\"watch\":true}]}",
        &["2:1: services[0].watch: unknown key; it is a key of the top level"],
    );
}

#[test]
fn cors_and_security_headers() {
    for (key, line) in [
        (
            r#""cors":"*""#,
            "2:8: cors: \"*\" must be true, false or an object such as { \"origins\": [\"https://app.example.com\"] }, not a string",
        ),
        (
            r#""cors":{"origin":["*"]}"#,
            "2:9: cors.origin: unknown key; write \"origins\"",
        ),
        (
            r#""cors":{"origins":"*"}"#,
            "2:19: cors.origins: \"*\" must be a list such as [\"https://app.example\"], or [\"*\"] for any, not a string",
        ),
        (
            r#""cors":{"origins":[]}"#,
            "2:19: cors.origins: is empty; name the origins, or write \"cors\": false to turn CORS off",
        ),
        (
            r#""cors":{"origins":["*","http://a"]}"#,
            "2:20: cors.origins[0]: \"*\" means any origin and stands alone; write [\"*\"], or remove it",
        ),
        (
            r#""cors":{"origins":["http://a/"]}"#,
            "2:20: cors.origins[0]: \"http://a/\" has a path, which no origin has; write \"http://a\"",
        ),
        (
            r#""cors":{"origins":["https://A.example"]}"#,
            "2:20: cors.origins[0]: \"https://A.example\" has upper case, which browsers do not send; write \"https://a.example\"",
        ),
        (
            r#""cors":{"origins":["https://a:443"]}"#,
            "2:20: cors.origins[0]: \"https://a:443\" has the standard port, which browsers leave out; write \"https://a\"",
        ),
        (
            r#""cors":{"origins":["a.example"]}"#,
            "2:20: cors.origins[0]: \"a.example\" must be an origin such as \"https://app.example\"",
        ),
        (
            r#""cors":{"origins":["http://a\r\nX: y"]}"#,
            "2:20: cors.origins[0]: \"http://a\\r\\nX: y\" has upper case, which browsers do not send; write \"http://a\\r\\nx: y\"",
        ),
        (
            r#""cors":{"origins":["http://a\r\nx: y"]}"#,
            "2:20: cors.origins[0]: \"http://a\\r\\nx: y\" has a character that no origin has; write it as the browser sends it",
        ),
        (
            r#""cors":{"credentials":true}"#,
            "2:23: cors.credentials: true must be false where any origin (\"*\") is allowed, which browsers refuse; name the origins in \"origins\"",
        ),
        (
            r#""cors":{"credentials":true,"origins":["*"]}"#,
            "2:23: cors.credentials: true must be false where any origin (\"*\") is allowed, which browsers refuse; name the origins in \"origins\"",
        ),
        (
            r#""cors":{"methods":[]}"#,
            "2:19: cors.methods: is empty; name at least one method, or leave \"methods\" out",
        ),
        (
            r#""cors":{"methods":["GET","P OST"]}"#,
            "2:26: cors.methods[1]: \"P OST\" is no method name; letters, digits and \"-\" are allowed",
        ),
        (
            r#""cors":{"headers":"all"}"#,
            "2:19: cors.headers: \"all\" must be \"reflect\" or a list such as [\"X-Token\"]",
        ),
        (
            r#""cors":{"headers":true}"#,
            "2:19: cors.headers: must be \"reflect\" or a list such as [\"X-Token\"], not true",
        ),
        (
            r#""cors":{"headers":["X:Y"]}"#,
            "2:20: cors.headers[0]: \"X:Y\" is no header name; letters, digits and \"-\" are allowed",
        ),
        (
            r#""cors":{"exposeHeaders":["a\r\nb"]}"#,
            "2:26: cors.exposeHeaders[0]: \"a\\r\\nb\" is no header name; letters, digits and \"-\" are allowed",
        ),
        (
            r#""cors":{"maxAge":600}"#,
            "2:18: cors.maxAge: 600 has no unit; write \"600s\" or \"600ms\"",
        ),
        (
            r#""cors":{"maxAge":1500}"#,
            "2:18: cors.maxAge: 1500 is 1500 ms, but browsers count whole seconds; write \"1500s\" if you meant seconds",
        ),
        (
            r#""cors":{"forwardOptions":"yes"}"#,
            "2:26: cors.forwardOptions: \"yes\" must be true or false, not a string",
        ),
        (
            r#""securityHeaders":[]"#,
            "2:19: securityHeaders: must be true, false or an object such as { \"X-Frame-Options\": \"DENY\" }, not a list",
        ),
        (
            r#""securityHeaders":{"X-A":"a\r\nb"}"#,
            "2:26: securityHeaders.X-A: \"a\\r\\nb\" has a line break, which would start another header; write it in one line",
        ),
        (
            r#""securityHeaders":{"X-A":"é"}"#,
            "2:26: securityHeaders.X-A: \"é\" has a character that no header value may have; use printable ASCII",
        ),
        (
            r#""securityHeaders":{"X-A":""}"#,
            "2:26: securityHeaders.X-A: \"\" is empty; write null to leave the header out",
        ),
        (
            r#""securityHeaders":{"X-A":" a"}"#,
            "2:26: securityHeaders.X-A: \" a\" has a space at its start or end; remove it",
        ),
        (
            r#""securityHeaders":{"X-A":false}"#,
            "2:26: securityHeaders.X-A: must be a string, or null to leave the header out, not false",
        ),
        (
            r#""securityHeaders":{"X A":"a"}"#,
            "2:20: securityHeaders.\"X A\": is no header name; letters, digits and \"-\" are allowed",
        ),
        (
            r#""securityHeaders":{"Content-Length":"0"}"#,
            "2:20: securityHeaders.Content-Length: is written by the gateway itself; remove it here",
        ),
        (
            r#""securityHeaders":{"Access-Control-Allow-Origin":"*"}"#,
            "2:20: securityHeaders.Access-Control-Allow-Origin: is part of CORS; set it in \"cors\"",
        ),
        (
            r#""securityHeaders":{"X-Frame-Option":null}"#,
            "2:20: securityHeaders.X-Frame-Option: is not sent by default, did you mean \"X-Frame-Options\"?",
        ),
        (
            r#""securityHeaders":{"contentSecurityPolicy":"default-src 'self'"}"#,
            "2:20: securityHeaders.contentSecurityPolicy: is an option of helmet; write the name of the header: \"Content-Security-Policy\"",
        ),
        (
            r#""securityHeaders":{"dnsPrefetchControl":null}"#,
            "2:20: securityHeaders.dnsPrefetchControl: is an option of helmet; write the name of the header: \"X-DNS-Prefetch-Control\"",
        ),
        (
            r#""securityHeaders":{"frameguard":{"action":"deny"}}"#,
            "2:20: securityHeaders.frameguard: is an option of helmet; write the name of the header: \"X-Frame-Options\"",
        ),
        (
            r#""securityHeaders":{"X-A":"1","x-a":"2"}"#,
            "2:30: securityHeaders.x-a: given twice, in another case; keep one of them",
        ),
    ] {
        says(&with(key), &[line]);
    }
    let settings = good(&with(
        r#""cors":{"origins":["https://a","null"],"methods":["GET"],"headers":["X-T"],"exposeHeaders":["X-E"],
           "credentials":true,"maxAge":"10m","forwardOptions":true},
           "securityHeaders":{"x-frame-options":"DENY","Content-Security-Policy":null,"Permissions-Policy":"camera=()"}"#,
    ))
    .settings;
    let cors = settings.cors.expect("on");
    assert_eq!(
        cors.origins,
        Some(vec!["https://a".to_owned(), "null".to_owned()])
    );
    assert_eq!(
        (cors.methods, cors.headers),
        (vec!["GET".to_owned()], Some(vec!["X-T".to_owned()]))
    );
    assert_eq!(
        (cors.expose_headers, cors.max_age),
        (vec!["X-E".to_owned()], Some(Duration::from_secs(600)))
    );
    assert!(cors.credentials && cors.forward_options);
    let headers = settings.security_headers.expect("on").fields;
    let value = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (value("X-Frame-Options"), value("Content-Security-Policy")),
        (Some("DENY"), None)
    );
    assert_eq!(
        (value("Permissions-Policy"), headers.len()),
        (Some("camera=()"), 12)
    );
    let off = good(&with(r#""cors":false,"securityHeaders":false"#)).settings;
    assert_eq!((off.cors, off.security_headers), (None, None));
}

#[test]
fn service_keys() {
    for (key, line) in [
        (
            r#""proxy_pass":{}"#,
            "2:1: services[0].proxy_pass: unknown key; the URL is \"target\", several are \"targets\", a path is \"route\"",
        ),
        (
            r#""colour":{}"#,
            "2:1: services[0].colour: unknown key; the keys here are [keys of a service]",
        ),
        (
            r#""taget":"http://b""#,
            "2:1: services[0].taget: unknown key, did you mean \"target\"?",
        ),
        (
            r#""strip_prefix":false"#,
            "2:1: services[0].strip_prefix: unknown key, did you mean \"stripPrefix\"?",
        ),
        (
            r#""route":"/b""#,
            "2:1: services[0].route: given twice, first in line 1; keep one of them",
        ),
        (
            r#""stripPrefix":null"#,
            "2:15: services[0].stripPrefix: must be true or false, not null",
        ),
        (
            r#""encodedSlashes":true"#,
            "2:18: services[0].encodedSlashes: must be one of \"reject\", \"keep\", not true",
        ),
        (
            r#""encodedSlashes":"decode""#,
            "2:18: services[0].encodedSlashes: \"decode\" must be one of \"reject\", \"keep\"",
        ),
        (
            r#""preserveHost":0"#,
            "2:16: services[0].preserveHost: 0 must be true or false, not a number",
        ),
        (
            r#""rateLimit":{"window":"0s"}"#,
            "2:23: services[0].rateLimit.window: \"0s\" must be longer than zero",
        ),
        (
            r#""timeouts":{"head":"1s"}"#,
            "2:20: services[0].timeouts.head: holds before a service is known; set it in the top-level \"timeouts\"",
        ),
        (
            r#""timeouts":{"keepAlive":"1s"}"#,
            "2:25: services[0].timeouts.keepAlive: holds before a service is known; set it in the top-level \"timeouts\"",
        ),
        (
            r#""timeouts":{"shutdown":false}"#,
            "2:24: services[0].timeouts.shutdown: holds before a service is known; set it in the top-level \"timeouts\"",
        ),
        (
            r#""tls":true"#,
            "2:7: services[0].tls: must be an object such as { \"ca\": \"ca.pem\" }, not true",
        ),
        (
            r#""tls":{"CA":null}"#,
            "2:8: services[0].tls.CA: unknown key, did you mean \"ca\"?",
        ),
        (
            r#""tls":{"ca":"no.pem"}"#,
            "2:13: services[0].tls.ca: \"/etc/tg/no.pem\": cannot be read: entity not found",
        ),
        (
            r#""tls":{"ca":""}"#,
            "2:13: services[0].tls.ca: \"\" is empty; name a PEM file, or write null",
        ),
        (
            r#""tls":{"ca":7}"#,
            "2:13: services[0].tls.ca: 7 must be the path of a PEM file, or null, not a number",
        ),
        (
            r#""tls":{"serverName":"https://b"}"#,
            "2:21: services[0].tls.serverName: \"https://b\" must be a host name such as \"backend.example\" or an address, without scheme and port",
        ),
        (
            r#""tls":{"serverName":"b:443"}"#,
            "2:21: services[0].tls.serverName: \"b:443\" must be a host name such as \"backend.example\" or an address, without scheme and port",
        ),
        (
            r#""tls":{"serverName":false}"#,
            "2:21: services[0].tls.serverName: must be a host name such as \"backend.example\" or an address, or null, not false",
        ),
    ] {
        says(&in_service(key), &[line]);
    }
    for (file, message) in [("key.pem", "no certificate"), ("bad.pem", "certificate 1")] {
        let errors =
            load_with(&in_service(&format!(r#""tls":{{"ca":"{file}"}}"#)), &[]).expect_err(file);
        assert!(
            errors.len() == 1 && errors[0].starts_with("2:13: ") && errors[0].contains(message),
            "{errors:?}"
        );
    }
    says(
        r#"[{"route":"/a","target":"http://b","tls":{"serverName":"c"}}]"#,
        &[
            "1:42: services[0].tls: the target is http, which has no TLS; write https:// in the target, or remove this",
        ],
    );
    says(
        r#"[{"route":7,"target":null}]"#,
        &[
            "1:11: services[0].route: 7 must be a path prefix such as \"/users\", not a number",
            "1:22: services[0].target: must be a URL such as \"http://127.0.0.1:9000/\", not null",
        ],
    );
    says(
        r#"[{"route":"/users/:id/posts","target":"http://b"}]"#,
        &[
            "1:11: services[0].route: \"/users/:id/posts\" has \":id\", but a route is no pattern: it is a prefix and takes every path below it; write \"/users\"",
        ],
    );
    says(
        r#"[{"route":"a","target":"http://u:secret@b/?x"}]"#,
        &[
            "1:11: services[0].route: \"a\" must start with \"/\", as in \"/users\", or in \"= /users\" for that path alone",
            "1:24: services[0].target: \"http://...@b/?x\" has a user name or password in it, which would not be sent; remove what is before the \"@\"",
        ],
    );
}

#[test]
fn services_override_the_top() {
    let config = good(
        r#"{"rateLimit":{"requests":5,"ipv6Prefix":48},"timeouts":{"response":"1s","idle":false,"head":"250ms"},"services":[
            {"route":"/a/","target":"http://b","rateLimit":{"window":"1m"},"timeouts":{"idle":"2s","connect":false}},
            {"route":"/","target":"http://b","rateLimit":false,"stripPrefix":false,"preserveHost":true},
            {"route":"/c","target":"http://b","rateLimit":{},"encodedSlashes":"keep"}]}"#,
    );
    let [a, root, c] = config.settings.services.as_slice() else {
        panic!("three services")
    };
    let own = RateLimit {
        requests: 5,
        window: Duration::from_secs(60),
        ipv6_prefix: 48,
        max_clients: 65536,
        headers: RateHeaders::Off,
        algorithm: Algorithm::Fixed,
        key: RateKey::Ip,
        exempt: PeerSet::default(),
        store: None,
        exact: false,
    };
    assert_eq!(
        (a.route.as_str(), &a.rate_limit),
        ("/a", &ServiceRateLimit::Own(vec![own.clone()]))
    );
    assert_eq!(c.rate_limit, ServiceRateLimit::Own(vec![own]));
    assert_eq!(
        (root.route.as_str(), &root.rate_limit),
        ("/", &ServiceRateLimit::Off)
    );
    assert!(!root.strip_prefix && root.preserve_host && a.strip_prefix && !a.preserve_host);
    assert!(c.keeps_encoded_slashes && !a.keeps_encoded_slashes);
    assert_eq!(
        (a.timeouts.idle, a.timeouts.connect),
        (Some(Duration::from_secs(2)), None)
    );
    assert_eq!(
        (a.timeouts.response, root.timeouts.idle),
        (Some(Duration::from_secs(1)), None)
    );
    assert_eq!(
        config.settings.timeouts.head,
        Some(Duration::from_millis(250))
    );
    let off = good(
        r#"{"rateLimit":false,"services":[{"route":"/a","target":"http://b","rateLimit":{"requests":3}}]}"#,
    );
    assert_eq!(off.settings.rate_limit, []);
    let own = RateLimit {
        requests: 3,
        window: Duration::from_secs(60),
        ipv6_prefix: 64,
        max_clients: 65536,
        headers: RateHeaders::Off,
        algorithm: Algorithm::Fixed,
        key: RateKey::Ip,
        exempt: PeerSet::default(),
        store: None,
        exact: false,
    };
    assert_eq!(
        off.settings.services[0].rate_limit,
        ServiceRateLimit::Own(vec![own])
    );
}

#[test]
fn targets_are_shared() {
    let config = good(
        r#"[{"route":"/1","target":"https://b/x"},{"route":"/2","target":"HTTPS://B:443/y"},
            {"route":"/3","target":"http://b:443"},{"route":"/4","target":"https://b","tls":{"ca":"ca.pem"}},
            {"route":"/5","target":"https://b","tls":{"ca":"/etc/tg/ca.pem","serverName":null}},
            {"route":"/6","target":"https://b","tls":{"serverName":"c"}},
            {"route":"/7","target":"https://b","tls":{"ca":"two.pem"}},
            {"route":"/8","target":"http://[::1]/"},{"route":"/9","target":"http://[0::1]:80"}]"#,
    );
    let indices = config
        .settings
        .services
        .iter()
        .map(|service| service.destinations[0].target)
        .collect::<Vec<_>>();
    assert_eq!(indices, [0, 0, 1, 2, 2, 3, 4, 5, 5]);
    let roots = |index: usize| {
        config.upstream_tls[index]
            .as_ref()
            .map(|tls| tls.roots.len())
    };
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(roots),
        [Some(0), None, Some(1), Some(0), Some(2), None]
    );
    assert_eq!(
        config.upstream_tls[3]
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref()),
        Some("c")
    );
}

#[test]
fn listeners() {
    let listeners = |value: &str, port: Option<&str>| {
        let variables = port.map(|port| ("PORT", port));
        let config = load_with(&with(&format!("\"listen\":{value}")), variables.as_slice())?;
        Ok::<_, Vec<String>>(
            config
                .listeners
                .iter()
                .map(|listen| listen.address.to_string())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    for (value, port, expected) in [
        (r#""127.0.0.1:80""#, None, "127.0.0.1:80"),
        (r#""[::]:5000""#, None, "[::]:5000"),
        (r#""localhost:81""#, None, "127.0.0.1:81"),
        (r#""5000""#, None, "0.0.0.0:5000"),
        ("5001", None, "0.0.0.0:5001"),
        (r#""127.0.0.1:0""#, None, "127.0.0.1:0"),
        (r#""unix:/run/t.sock""#, None, "unix:/run/t.sock"),
        (
            r#"["unix:/run/t.sock","127.0.0.1:1","[::1]:2"]"#,
            Some("9"),
            "unix:/run/t.sock 127.0.0.1:9 [::1]:2",
        ),
        (r#""unix:/run/t.sock""#, Some("9"), "unix:/run/t.sock"),
        (r#""127.0.0.1:80""#, Some(""), "127.0.0.1:80"),
        (r#""systemd:web""#, Some("80"), "systemd:web"),
        (
            r#"["127.0.0.1:0","127.0.0.1:0"]"#,
            None,
            "127.0.0.1:0 127.0.0.1:0",
        ),
    ] {
        assert_eq!(listeners(value, port).as_deref(), Ok(expected), "{value}");
    }
    const EXPECTED: &str = "must be an address such as \"0.0.0.0:5000\", \"[::]:5000\" or \"unix:/run/tollgate.sock\", or a list of them";
    let many = |n: u16| {
        format!(
            "[{}]",
            (1..=n)
                .map(|port| port.to_string())
                .collect::<Vec<_>>()
                .join(",")
        )
    };
    assert!(listeners(&many(62), None).is_ok());
    let too_many = "2:10: listen: has 63 addresses; at most 62 can be listened on".to_owned();
    assert_eq!(listeners(&many(63), None), Err(vec![too_many]));
    let expected = |value: &str| format!("2:10: listen: {value} {EXPECTED}");
    let mismatch = format!("2:10: listen: {EXPECTED}, not true");
    let long = format!("\"unix:/{}\"", "x".repeat(107));
    for (value, port, line) in [
        ("true", None, mismatch.as_str()),
        (
            "[]",
            None,
            "2:10: listen: is empty; name at least one address, such as \"0.0.0.0:5000\"",
        ),
        (
            r#"":5000""#,
            None,
            "2:10: listen: \":5000\" has no address; write \"0.0.0.0:5000\", or \"[::]:5000\" for IPv6",
        ),
        (
            r#""*:80""#,
            None,
            "2:10: listen: \"*:80\" has no address; write \"0.0.0.0:80\", or \"[::]:80\" for IPv6",
        ),
        (
            r#""127.0.0.1""#,
            None,
            "2:10: listen: \"127.0.0.1\" has no valid port; write \"127.0.0.1:5000\"",
        ),
        (
            r#""::1""#,
            None,
            "2:10: listen: \"::1\" has no valid port; write \"[::1]:5000\"",
        ),
        (
            r#""80 default_server;""#,
            None,
            "2:10: listen: \"80 default_server;\" is more than an address; write \"0.0.0.0:80\"",
        ),
        (
            r#""[::]:443 ssl""#,
            None,
            r#"2:10: listen: "[::]:443 ssl" is more than an address; write { "address": "[::]:443", "tls": { "certificates": [..] } }"#,
        ),
        (
            r#""http://*:80/""#,
            None,
            "2:10: listen: \"http://*:80/\" has no address; write \"0.0.0.0:80\", or \"[::]:80\" for IPv6",
        ),
        (
            r#""0.0.0.0:70000""#,
            None,
            r#"2:10: listen: "0.0.0.0:70000" has no valid port; write "0.0.0.0:5000""#,
        ),
        (
            r#""[::]""#,
            None,
            r#"2:10: listen: "[::]" has no valid port; write "[::]:5000""#,
        ),
        (
            r#""localhost:""#,
            None,
            r#"2:10: listen: "localhost:" has no valid port; write "localhost:5000""#,
        ),
        (
            r#""::8080""#,
            None,
            r#"2:10: listen: "::8080" has an IPv6 address without brackets; write "[::]:8080""#,
        ),
        (
            r#"":::80""#,
            None,
            r#"2:10: listen: ":::80" has an IPv6 address without brackets; write "[::]:80""#,
        ),
        (
            r#""fd00::1:8080""#,
            None,
            r#"2:10: listen: "fd00::1:8080" has an IPv6 address without brackets; write "[fd00::1]:8080""#,
        ),
        (
            r#""example.com:80""#,
            None,
            r#"2:10: listen: "example.com:80" has no address; write "0.0.0.0:80", or "[::]:80" for IPv6"#,
        ),
        (
            r#""fd://3""#,
            None,
            r#"2:10: listen: "fd://3" is no address; a socket that systemd passes on is "systemd:NAME", with the FileDescriptorName= of its unit"#,
        ),
        (
            r#""8080,""#,
            None,
            r#"2:10: listen: "8080," is more than an address; write "0.0.0.0:8080""#,
        ),
        (
            r#""'127.0.0.1:80'""#,
            None,
            r#"2:10: listen: "'127.0.0.1:80'" is more than an address; write "127.0.0.1:80""#,
        ),
        (
            r#""unix:/run/a.sock;""#,
            None,
            r#"2:10: listen: "unix:/run/a.sock;" ends as no path does; remove the ";" at its end"#,
        ),
        (r#""[::1]80""#, None, &expected(r#""[::1]80""#)),
        (r#""""#, None, &expected(r#""""#)),
        (
            "70000",
            None,
            "2:10: listen: 70000 must be a port, a whole number up to 65535",
        ),
        (
            "-1",
            None,
            "2:10: listen: -1 must be a port, a whole number up to 65535",
        ),
        (
            r#""unix:""#,
            None,
            "2:10: listen: \"unix:\" has no path; write \"unix:/run/tollgate.sock\"",
        ),
        (
            r#""unix:@name""#,
            None,
            "2:10: listen: \"...@name\" is an abstract socket, which is not supported; write a path, such as \"unix:/run/tollgate.sock\"",
        ),
        (
            r#""systemd:""#,
            None,
            "2:10: listen: \"systemd:\" has no name; write \"systemd:web\" and FileDescriptorName=web in the socket unit",
        ),
        (
            r#""systemd:a:b""#,
            None,
            "2:10: listen: \"systemd:a:b\" has a name that no socket of systemd has: write at most 255 visible ASCII characters without a colon",
        ),
        (
            r#"["systemd:web", "systemd:web"]"#,
            None,
            "2:26: listen[1]: systemd:web is listened on by listen[0] already; remove one of them",
        ),
        (
            &long,
            None,
            &format!(
                "2:10: listen: \"unix:/{}...\" has a path of 108 bytes, and that of a unix socket has at most 107; choose a shorter one",
                "x".repeat(74)
            ),
        ),
        (
            r#"["127.0.0.1:1", 1, "127.0.0.1:1"]"#,
            None,
            "2:29: listen[2]: 127.0.0.1:1 is listened on by listen[0] already; remove one of them",
        ),
        (
            r#"["127.0.0.1:1", "127.0.0.1:2"]"#,
            Some("2"),
            "2:26: listen[1]: 127.0.0.1:2 is listened on by listen[0] already; remove one of them",
        ),
        (
            "5000",
            Some("abc"),
            "2:10: listen: the environment variable PORT is \"abc\"; set it to a port up to 65535, or unset it",
        ),
        (
            "5000",
            Some("65536"),
            "2:10: listen: the environment variable PORT is \"65536\"; set it to a port up to 65535, or unset it",
        ),
    ] {
        assert_eq!(
            listeners(value, port),
            Err(vec![line.to_owned()]),
            "{value}"
        );
    }
    let file = format!("{{{SERVICES}}}");
    assert_eq!(
        load_with(&file, &[("PORT", "8080")])
            .expect("good")
            .listeners[0]
            .address
            .to_string(),
        "0.0.0.0:8080"
    );
    let line = "1:1: listen: the environment variable PORT is \"+1\"; set it to a port up to 65535, or unset it";
    assert_eq!(
        load_with(&file, &[("PORT", "+1")]),
        Err(vec![line.to_owned()])
    );
}

#[test]
fn the_admin_listener() {
    let admin = |value: &str| good(&with(&format!("\"admin\":{value}"))).admin;
    for (value, addresses) in [
        ("false", ""),
        (
            r#""unix:/run/tollgate/admin.sock""#,
            "unix:/run/tollgate/admin.sock",
        ),
        (r#""127.0.0.1:5001""#, "127.0.0.1:5001"),
        (r#""localhost:5001""#, "127.0.0.1:5001"),
        (r#"["unix:/a","[::1]:5001"]"#, "unix:/a [::1]:5001"),
        (r#"{"listen":"unix:/a"}"#, "unix:/a"),
        (
            r#"{"listen":["127.0.0.1:0","127.0.0.1:0"],"hosts":[]}"#,
            "127.0.0.1:0 127.0.0.1:0",
        ),
    ] {
        let found = admin(value).addresses;
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found.join(" "), addresses, "{value}");
    }
    assert_eq!(good(&with("\"cors\":false")).admin.addresses, []);
    assert_eq!(
        admin(r#"{"listen":"127.0.0.1:1","hosts":["Status.LAN.","a_b"]}"#).hosts,
        ["status.lan", "a_b"]
    );
    const EXPECTED: &str = "must be an address such as \"unix:/run/tollgate/admin.sock\" or \"127.0.0.1:5001\", or a list of them";
    for (value, message) in [
        ("5001", format!(": 5001 {EXPECTED}, not a number")),
        ("true", format!(": {EXPECTED}, not true")),
        (r#""5001""#, ": \"5001\" is a port of all addresses of the machine; write \"127.0.0.1:5001\"".to_owned()),
        (r#""status.lan:5001""#, ": \"status.lan:5001\" has no address; write \"127.0.0.1:5001\", or \"[::1]:5001\" for IPv6".to_owned()),
        (r#""0.0.0.0""#, ": \"0.0.0.0\" has no port; write \"127.0.0.1:5001\"".to_owned()),
        (r#"":5001""#, ": \":5001\" is a port of all addresses of the machine; write \"127.0.0.1:5001\"".to_owned()),
        (r#""81 ssl;""#, ": \"81 ssl;\" is more than an address; write \"127.0.0.1:81\"".to_owned()),
        (r#""http://0.0.0.0:81/""#, ": \"http://0.0.0.0:81/\" is more than an address; write \"0.0.0.0:81\"".to_owned()),
        (r#""0.0.0.0:x""#, ": \"0.0.0.0:x\" has no valid port; write \"0.0.0.0:5001\"".to_owned()),
        (r#""unix:""#, ": \"unix:\" has no path; write \"unix:/run/tollgate.sock\"".to_owned()),
        (r#""systemd:web""#, format!(": \"systemd:web\" {EXPECTED}")),
        (r#""0.0.0.0:5000""#, ": 0.0.0.0:5000 is an address in \"listen\"; choose another one for \"admin\"".to_owned()),
        (r#""127.0.0.1:5000""#, ": 127.0.0.1:5000 is a part of 0.0.0.0:5000 in \"listen\"; choose another port for \"admin\"".to_owned()),
    ] {
        says(&with(&format!("\"admin\":{value}")), &[&format!("2:9: admin{message}")]);
    }
    for (value, line) in [
        (
            "[]",
            "2:9: admin: is empty; name at least one address, or false for none",
        ),
        (
            r#"["unix:/a","unix:/a"]"#,
            "2:20: admin[1]: unix:/a is listened on by admin[0] already; remove one of them",
        ),
        (
            r#"[7]"#,
            &format!("2:10: admin[0]: 7 {EXPECTED}, not a number"),
        ),
        (
            r#"{}"#,
            "2:9: admin: \"listen\" is missing; add one such as \"unix:/run/tollgate/admin.sock\"",
        ),
        (
            r#"{"listen":"unix:/a","host":[]}"#,
            "2:29: admin.host: unknown key, did you mean \"hosts\"?",
        ),
        (
            r#"{"listen":"unix:/a","hosts":"a"}"#,
            "2:37: admin.hosts: \"a\" must be a list of host names such as [\"status.lan\"], not a string",
        ),
        (
            r#"{"listen":"unix:/a","hosts":["a:1"]}"#,
            "2:38: admin.hosts[0]: \"a:1\" must be a host name such as \"status.lan\"",
        ),
        (
            r#"{"listen":"unix:/a","hosts":["::1"]}"#,
            "2:38: admin.hosts[0]: \"::1\" must be a host name such as \"status.lan\"",
        ),
        (
            r#"{"listen":"unix:/a","hosts":["127.0.0.1"]}"#,
            "2:38: admin.hosts[0]: \"127.0.0.1\" is an address, which is accepted in any case; remove it",
        ),
    ] {
        says(&with(&format!("\"admin\":{value}")), &[line]);
    }
    let five = format!("\"admin\":[{}]", ["\"unix:/a\""; 5].join(","));
    let errors = load_with(&with(&five), &[]).expect_err("too many");
    assert!(
        errors[0].ends_with("has 5 addresses; at most 4 can be listened on"),
        "{errors:?}"
    );
    let both = with("\"listen\":\"unix:/a\",\"admin\":\"unix:/a\"");
    let errors = load_with(&both, &[]).expect_err("both");
    assert!(
        errors[0].contains("unix:/a is an address in \"listen\""),
        "{errors:?}"
    );
    assert!(load_with(&with("\"admin\":\"127.0.0.1:5001\""), &[("PORT", "5001")]).is_err());
    assert!(good(&with("\"watch\":true")).watch && !good(&with("\"watch\":false")).watch);
}

#[test]
fn the_admin_listener_is_read_alone() {
    let variable = |name: &str| (name == "RUN").then(|| "/run".to_owned());
    let alone = |text: &str| {
        load_admin(text.as_bytes(), "t.json", &variable).map_err(|errors| errors[0].to_string())
    };
    let addresses = |text: &str| alone(text).map(|admin| admin.addresses.len());
    for (text, count) in [
        ("[]", 0),
        ("7", 0),
        ("{}", 0),
        (r#"{"admin":false}"#, 0),
        (
            r#"{"admin":"unix:/a","services":"broken ${SECRET}","typo":1}"#,
            1,
        ),
        (
            r#"{"admin":["unix:${RUN}/a","127.0.0.1:1"],"listen":"127.0.0.1:1"}"#,
            2,
        ),
        // The gateway goes on while its file has a mistake.
        (r#"{"admin":"unix:/a" "services":[]}"#, 1),
        (r#"{"admin":"unix:/a","services":[{"route":"/""#, 1),
        (
            r#"{"services":[{"route":"/" "target":},],"admin":"unix:/a"}"#,
            1,
        ),
        (r#"{"services":[{"route":"/"],"admin":"unix:/a"}"#, 1),
        (r#"{"admin":"unix:/a","services":[]}}"#, 1),
    ] {
        assert_eq!(addresses(text), Ok(count), "{text}");
    }
    for (text, error) in [
        (
            r#"{"admin":"unix:${NONE}/a"}"#,
            "t.json:1:10: admin: \"unix:${NONE}/a\": ",
        ),
        (
            r#"{"admin":5001}"#,
            "t.json:1:10: admin: 5001 must be an address",
        ),
        ("{", "t.json:1:"),
        (r#"{"services":[} "#, "t.json:1:"),
        (r#"{"admin":"unix:/a"#, "t.json:1:"),
    ] {
        let message = addresses(text).expect_err(text);
        assert!(message.starts_with(error), "{message}");
    }
}

#[test]
fn a_target_that_is_the_gateway_is_warned_of() {
    for (listen, target, is_own) in [
        ("0.0.0.0:5000", "http://127.0.0.1:5000/x", true),
        ("[::]:5000", "http://LOCALHOST:5000", true),
        ("127.0.0.1:80", "http://127.0.0.1", true),
        ("127.0.0.1:5000", "https://127.0.0.1:5000", true),
        ("0.0.0.0:5000", "http://127.0.0.1:5001", false),
        ("127.0.0.2:5000", "http://127.0.0.1:5000", false),
        ("0.0.0.0:80", "http://10.0.0.1", false),
        ("0.0.0.0:80", "http://b", false),
        ("unix:/a", "http://unix:/a", false),
    ] {
        let file =
            format!(r#"{{"listen":{listen:?},"services":[{{"route":"/","target":{target:?}}}]}}"#);
        let warnings = good(&file).warnings();
        let told = warnings.iter().any(|line| line.contains("is this gateway"));
        assert_eq!(told, is_own, "{listen} {target}");
    }
}

#[test]
fn the_command_line_names_another_admin_address() {
    let mut config = good(&with(r#""admin":{"listen":"unix:/a","hosts":["b"]}"#));
    let other = admin_address("unix:/b").expect("an address");
    assert_eq!(config.replace_admin(other.clone()), Ok(()));
    assert_eq!(
        (config.admin.addresses.clone(), config.admin.hosts.len()),
        (vec![other], 1)
    );
    let taken = admin_address("127.0.0.1:5000").expect("an address");
    let message = config.replace_admin(taken).expect_err("it is listened on");
    assert!(
        message.starts_with("127.0.0.1:5000 is a part of 0.0.0.0:5000"),
        "{message}"
    );
    let warnings = |text: &str| good(&with(text)).warnings().join("\n");
    assert!(
        warnings(r#""admin":"0.0.0.0:1""#).contains("admin 0.0.0.0:1 is not a loopback address")
    );
    assert_eq!(
        warnings(r#""admin":["127.8.0.1:1","[::1]:1","unix:/a"]"#),
        ""
    );
}

#[test]
fn the_environment() {
    let text = r#"[{"route":"/${NAME}","target":"http://${HOST:-b}:${BPORT}/"},{"route":"/${NO}","target":"http://b"}]"#;
    let variables = [("NAME", "n"), ("BPORT", "81")];
    let no = "1:71: services[1].route: \"/${NO}\": the environment variable NO is not set; set it, or write ${NO:-default}";
    assert_eq!(load_with(text, &variables), Err(vec![no.to_owned()]));
    let config = load_with(text, &[("NAME", "n"), ("BPORT", "81"), ("NO", "m")]).expect("good");
    assert_eq!(config.settings.services[0].route, "/n");
    assert_eq!(config.settings.targets[0].authority, "b:81");
    // What a variable holds is a value, never a piece of JSON, and errors do not repeat it.
    let injected = load_with(
        r#"[{"route":"/a","target":"${T}"}]"#,
        &[("T", "http://b\", \"x\": \"y")],
    )
    .expect_err("bad");
    assert_eq!(
        injected,
        [
            "1:25: services[0].target: \"${T}\" has a malformed host name; letters, digits, \"-\", \"_\" and \".\" are allowed"
        ]
    );
    let trusted = good(&with(r#""trustedProxies":["10.0.0.0/8","::1"]"#))
        .settings
        .trusted_proxies;
    assert_eq!(
        trusted.networks[0],
        Network {
            address: [10, 0, 0, 0].into(),
            prefix: 8
        }
    );
    assert!(!trusted.unix);
    for (text, networks) in [
        (r#"["unix"]"#, 0),
        (r#"["unix:"]"#, 0),
        (r#"["::1","unix"]"#, 1),
    ] {
        let trusted = good(&with(&format!(r#""trustedProxies":{text}"#)))
            .settings
            .trusted_proxies;
        assert_eq!(
            (trusted.unix, trusted.networks.len()),
            (true, networks),
            "{text}"
        );
    }
}

#[test]
fn failures_are_counted_for_each_client() {
    let limit = |text: &str| {
        good(&format!("{{{SERVICES}{text}}}"))
            .settings
            .auth_failures
    };
    let sixty = RateLimit {
        requests: 60,
        window: Duration::from_secs(60),
        ipv6_prefix: 64,
        max_clients: 65536,
        headers: RateHeaders::Off,
        algorithm: Algorithm::Fixed,
        key: RateKey::Ip,
        exempt: PeerSet::default(),
        store: None,
        exact: false,
    };
    assert_eq!(limit(""), Some(sixty.clone()));
    assert_eq!(limit(r#","authFailures":false"#), None);
    assert_eq!(
        limit(r#","authFailures":{"requests":5}"#),
        Some(RateLimit {
            requests: 5,
            ..sixty.clone()
        })
    );
    // What a client is, and how many are counted, is said once.
    let rate = r#","rateLimit":{"requests":7,"window":"1s","ipv6Prefix":48,"maxClients":100},"authFailures":{"window":"5s"}"#;
    let narrow = RateLimit {
        window: Duration::from_secs(5),
        ipv6_prefix: 48,
        max_clients: 100,
        ..sixty.clone()
    };
    assert_eq!(limit(rate), Some(narrow));
    assert_eq!(limit(r#","rateLimit":false"#), Some(sixty));
}

#[test]
fn the_check_table() {
    let text = r#"{"listen":["127.0.0.1:5000","unix:/run/t.sock"],"services":[
        {"route":"/users","target":"http://127.0.0.1:9000/users/"},
        {"route":"/long/auth","target":"https://b:8443/auth","rateLimit":{"requests":3},"preserveHost":true},
        {"route":"/keep","target":"http://b/base","stripPrefix":false,"timeouts":{"idle":"90s"}},
        {"route":"=/","target":"http://b/start.html"},
        {"route":"= /in/","target":"http://b/base","stripPrefix":false},
        {"route":"= /old","redirect":{"to":"/new"}},
        {"route":"/","target":"http://b"}],"limits":{"bodyBytes":"10MB","connectionsPerClient":64},"timeouts":{"head":false}}"#;
    assert_eq!(
        check::describe(&good(text)),
        "/users       -> http://127.0.0.1:9000/users/\n\
         /users/x     -> http://127.0.0.1:9000/users/x\n\
         /long/auth   -> https://b:8443/auth  (3 requests in 1m, Host preserved)\n\
         /long/auth/x -> https://b:8443/auth/x\n\
         /keep        -> http://b/base/keep\n\
         /keep/x      -> http://b/base/keep/x\n\
         = /          -> http://b/start.html\n\
         = /in/       -> http://b/base/in/\n\
         = /old       -> 308 to /new\n\
         /            -> http://b/\n\
         /x           -> http://b/x\n\
         \n\
         listen     127.0.0.1:5000, unix:/run/t.sock\n\
         rateLimit  20 requests in 1m for each client (IPv6: each /64), 65536 clients at once\n\
         timeouts   head off, keepAlive 75s, shutdown 10s, connect 5s, response 15s, upstreamKeepAlive 30s, tunnel 1h; \
         others differ by service\n\
         limits     head 16KB, request line 8KB, 100 headers, body 10MB, 4096 connections, 64 of one client\n"
    );
}

#[test]
fn the_check_shows_where_a_service_answers() {
    let text = r#"{"acme":{"state":"/acme","agree":true},"listen":[{"address":"0.0.0.0:1","name":"lan"},
            {"address":"0.0.0.0:443","name":"wan","tls":{"acme":{"names":["a.test"]},"clientCa":"/etc/tg/ca.pem","clientAuth":"optional"}}],
        "services":[{"route":"/a","target":"http://b","listeners":["lan"]},
            {"route":"/b","respond":{"status":204},"listeners":["wan","lan"],"clientCertificate":"required"},
            {"route":"/c","target":"http://b"}]}"#;
    let told = check::describe(&good(text));
    let routes = told.split("\n\n").next().expect("the routes");
    assert_eq!(
        routes,
        "/a   -> http://b/           (on lan)\n\
         /a/x -> http://b/x\n\
         /b   -> 204 without a body  (on wan or lan, client certificate required)\n\
         /c   -> http://b/\n\
         /c/x -> http://b/x"
    );
}

#[test]
fn the_check_shows_stores() {
    let text = r#"{"stores":{"main":{"url":"rediss://gate:hush@valkey/2"},"spare":{"url":"redis://unix:/run/v.sock","onFailure":"closed"}},
        "rateLimit":{"store":"main"},"services":[{"route":"/","target":"http://b"}]}"#;
    let config = good(text);
    let told = check::describe(&config);
    for line in [
        "rateLimit  20 requests in 1m for each client (IPv6: each /64), 65536 clients at once, shared\n",
        "stores     main rediss://valkey:6379/2, keys tollgate:*; \
         spare redis://unix:/run/v.sock:/0, keys tollgate:*, closed on failure\n",
        "warning    stores.spare: no limit counts through it; write \"store\": \"spare\" in \"rateLimit\"\n",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(
        !told.contains("hush") && config.warnings().len() == 1,
        "{told}"
    );
}

#[test]
fn variables_of_other_programs_are_warned_about() {
    let text = r#"{"requestHeaders":{"set":{"X-A":"a %[src]","X-B":"${client.ip}","X-C":"{}","X-H":"one, B: $two","X-K-Token":"$http_x","X-L-Token":"a$b"},"add":{"X-D":"$remote_addr"}},
        "services":[{"route":"/","target":"http://b"},
            {"route":"/a","target":"http://b","responseHeaders":{"set":{"X-E":"{http.request.host}","X-F":"{\"a\":1}"}}},
            {"route":"/c","target":"http://b","responseHeaders":{"set":{"X-E":"{http.request.host}"}}},
            {"route":"/b","target":"http://b","requestHeaders":{"set":{"X-G":"$5","X-I":"$x added","X-J":"{a, b: c}"}}}]}"#;
    let said = |line: &str| {
        format!(
            "the header edit {line:?} has a variable of another program, which goes out as it stands; those here are ${{client.ip}}, \
             ${{host}}, ${{scheme}}, ${{id}}, ${{service}} and ${{consumer}}"
        )
    };
    let lines = [
        "X-A: a %[src]",
        "X-H: one, B: $two",
        "X-K-Token: ...",
        "X-D: $remote_addr added",
        "X-E: {http.request.host}",
        "X-I: $x added",
    ];
    assert_eq!(good(text).warnings(), lines.map(said));
}

#[test]
fn variables_of_other_programs_in_replies_are_warned_about() {
    for (reply, expected) in [
        (
            r#""redirect":{"to":"/x?u=$new_u"}"#,
            Some("\"to\" in \"redirect\""),
        ),
        (r#""redirect":{"to":"/x?u=5$"}"#, None),
        (
            r#""respond":{"body":"you are $remote_addr\n"}"#,
            Some("\"body\" in \"respond\""),
        ),
        (r#""respond":{"body":"costs $5 or $new"}"#, None),
    ] {
        let warnings = good(&format!(r#"{{"services":[{{"route":"/r",{reply}}}]}}"#)).warnings();
        let expected = expected.map(|what| {
            format!("{what} of /r has a variable of another program, which goes out as it stands; remove it")
        });
        assert_eq!(warnings, Vec::from_iter(expected), "{reply}");
    }
}

#[test]
fn headers_of_the_gateway_that_edits_remove_are_warned_about() {
    let warned = |top: &str, service: &str| {
        let text =
            format!(r#"{{{top}"services":[{{"route":"/a","target":"http://b"{service}}}]}}"#);
        let mut lines = good(&text).warnings().into_iter();
        (lines.next(), lines.next())
    };
    let said = |name: &str, key: &str, cure: &str| {
        format!(
            "\"remove\" of the responseHeaders of \"/a\" takes {name} of {key:?} away, too; take it out there, or write {cure}"
        )
    };
    let cors = "\"cors\": false if none is to be sent";
    let security = "null for it in \"securityHeaders\" if none is to be sent";
    let remove = |name: &str| format!(r#","responseHeaders":{{"remove":["Server","{name}"]}}"#);
    let (origin, max_age, hsts, cookie) = (
        "access-control-allow-origin",
        "Access-Control-Max-Age",
        "Strict-Transport-Security",
        "Set-Cookie",
    );
    for (name, more, expected) in [
        (origin, "", Some(said(origin, "cors", cors))),
        (origin, r#","cors":false"#, None),
        (max_age, "", None),
        (
            max_age,
            r#","cors":{"maxAge":"1h"}"#,
            Some(said(max_age, "cors", cors)),
        ),
        ("Access-Control-Expose-Headers", "", None),
        (hsts, "", Some(said(hsts, "securityHeaders", security))),
        (hsts, r#","securityHeaders":false"#, None),
        (
            hsts,
            r#","securityHeaders":{"Strict-Transport-Security":null}"#,
            None,
        ),
        (cookie, "", None),
        (
            cookie,
            r#","sticky":{}"#,
            Some(said(cookie, "sticky", "\"sticky\": false")),
        ),
    ] {
        let found = warned("", &format!("{}{more}", remove(name)));
        assert_eq!(found, (expected.clone(), None), "{name} {more}");
        // The edits of the top level are those of the service.
        let top = format!("{},", &remove(name)[1..]);
        assert_eq!(warned(&top, more), (expected, None), "{name} {more}");
    }
    let replaced = r#","responseHeaders":{"set":{"X-Frame-Options":"DENY","Access-Control-Allow-Origin":"https://a.b"}}"#;
    assert_eq!(warned("", replaced), (None, None));
}

#[test]
fn patterns_in_conditions_are_warned_about() {
    for (part, value, shown) in [
        ("headers", "*", Some("x-v: *")),
        ("headers", "~^3", Some("x-v: ~^3")),
        ("cookies", "^beta$", Some("cookie X-V=^beta$")),
        ("query", "a.*b", Some("?X-V=a.*b")),
        ("cookies", "beta*", Some("cookie X-V=beta*")),
        ("headers", "*/*", None),
        ("headers", "text/*", None),
        ("query", "a*b", None),
        ("query", "1.2~3", None),
        ("query", "", None),
    ] {
        let service = format!(
            r#"{{"route":"/a","target":"http://b","match":{{"{part}":{{"X-V":"{value}"}}}}"#
        );
        let text = format!(r#"{{"services":[{service}}},{service},"hosts":["a.test"]}}]}}"#);
        let wanted = shown.map(|shown| {
            format!("the condition {shown:?} of \"match\" is compared as it stands, without patterns and variables; write a whole value, and a service for each")
        });
        assert_eq!(good(&text).warnings(), Vec::from_iter(wanted), "{value}");
    }
}

#[test]
fn patterns_in_targets_are_warned_about() {
    for (path, pattern) in [
        ("/users/:id", Some(":id")),
        ("/api/*", Some("*")),
        ("/users/", None),
        ("/v1/x:verb", None),
    ] {
        let text = format!(r#"{{"services":[{{"route":"/a","target":"http://b{path}"}}]}}"#);
        let wanted = pattern.map(|pattern| {
            format!("the target of /a has {pattern:?} in its path, which goes out as it stands: the rest of the client's path follows it by itself; remove it")
        });
        assert_eq!(good(&text).warnings(), Vec::from_iter(wanted), "{path}");
    }
}

#[test]
fn guards_that_a_host_passes_by_are_warned_about() {
    let guards = [
        r#""allow":["10.0.0.0/8"]"#,
        r#""deny":["10.0.0.0/8"]"#,
        r#""auth":"p""#,
    ];
    let said = |guard: &str, admin: &str, other: &str| {
        let text = format!(
            r#"{{"auth":{{"p":{{"type":"apiKey","keys":{{"a":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}}}}},
                "services":[{{"route":"/admin","target":"http://a",{admin}{guard}}},{{"route":"/","target":"http://b",{other}"hosts":["www.test","*.api.test"]}},
                {{"route":"/","target":"http://c"}}]}}"#
        );
        let warnings = good(&text).warnings();
        let mut lines = warnings.into_iter();
        lines.find(|line| line.contains("guards nothing on"))
    };
    for guard in guards {
        let line = said(guard, "", "").expect("a warning");
        assert_eq!(
            line,
            "route \"/admin\" without \"hosts\" guards nothing on www.test: services that name it go first there; \
             name it in \"hosts\" of that route, too"
        );
        // A guard of some of the hosts was put there on purpose.
        let named = r#""hosts":["www.test"],"#;
        assert_eq!(said(guard, named, ""), None);
        let own = format!("{guard},");
        assert_eq!(said(guard, "", &own), None);
    }
    assert_eq!(said(r#""retries":2"#, "", ""), None);
    // An answer in place of a path is passed by, too; one for all that is left is meant so.
    let said = |route: &str, status: u16| {
        let text = format!(
            r#"{{"services":[{{"route":"{route}","respond":{{"status":{status}}}}},
                {{"route":"/","target":"http://b","hosts":["www.test"]}}]}}"#
        );
        let warnings = good(&text).warnings();
        warnings
            .into_iter()
            .find(|line| line.contains("guards nothing on www.test"))
    };
    assert!(said("/.git", 404).is_some() && said("= /a", 403).is_some());
    assert_eq!((said("/", 404), said("/ping", 200)), (None, None));
}

/// Every kind of wrong value is repeated in what is said of it, so that it is found although the
/// file was made by a program. The table has each key that takes a value, with values of the right
/// kind and of the wrong one.
#[test]
fn errors_name_the_value_that_they_met() {
    let top = |key: &str| format!("{{{SERVICES},{key}}}");
    let service = |key: &str| {
        format!("{{\"services\":[{{\"route\":\"/a\",\"target\":\"https://b\",{key}}}]}}")
    };
    let bare = |keys: &str| format!("{{\"services\":[{{{keys}}}]}}");
    let auth = |keys: &str| format!("{{{SERVICES},\"auth\":{{\"p\":{{{keys}}}}}}}");
    // `@` is where the value stands.
    let places: &[(String, &[&str])] = &[
        (
            top(r#""listen":@"#),
            &[
                r#""nowhere""#,
                r#""127.0.0.1""#,
                r#"":99""#,
                r#""unix:""#,
                "70000",
                "-3",
                "true",
                "1.5",
            ],
        ),
        (top(r#""listen":[@]"#), &[r#""nowhere""#, "70000"]),
        (
            top(r#""listen":{"address":@}"#),
            &[r#""nowhere""#, "70000", "null"],
        ),
        (
            top(r#""listen":{"address":1,"redirectToHttps":@}"#),
            &[r#""yes""#, "7"],
        ),
        (
            top(r#""authFailures":@"#),
            &[r#""20/m""#, "17", "true", "null"],
        ),
        (
            top(r#""authFailures":{"requests":@}"#),
            &["0", "-1", "1.5", "99999999999", "null"],
        ),
        (
            top(r#""authFailures":{"window":@}"#),
            &["0", r#""1d""#, "false"],
        ),
        (
            service(r#""auth":"p","forwardCredentials":@"#),
            &["0", r#""no""#, "null"],
        ),
        (top(r#""forwardConsumer":@"#), &["0", r#""no""#, "null"]),
        (
            top(r#""rateLimit":@"#),
            &[r#""20/m""#, "17", "true", "null"],
        ),
        (
            top(r#""rateLimit":{"requests":@}"#),
            &["0", "-1", "1.5", r#""twenty""#, "99999999999", "null"],
        ),
        (
            top(r#""rateLimit":{"window":@}"#),
            &["0", r#""1d""#, r#""9999h""#, "false"],
        ),
        (top(r#""rateLimit":{"ipv6Prefix":@}"#), &["129", r#""/64""#]),
        (
            top(r#""rateLimit":{"maxClients":@}"#),
            &["0", "99999999", r#""many""#],
        ),
        (top(r#""timeouts":@"#), &["false", r#""5s""#, "5"]),
        (
            top(r#""timeouts":{"response":@}"#),
            &[
                "0",
                r#""0s""#,
                r#""1.5s""#,
                r#""soon""#,
                r#""999h""#,
                "true",
                "-5",
            ],
        ),
        (top(r#""limits":@"#), &["17", r#""none""#]),
        (
            top(r#""limits":{"headBytes":@}"#),
            &["1", r#""1GB""#, r#""1KiB""#, "null"],
        ),
        (top(r#""limits":{"requestLine":@}"#), &[r#""32KB""#, "7"]),
        (top(r#""limits":{"headers":@}"#), &["0", "257", r#""all""#]),
        (
            top(r#""limits":{"connections":@}"#),
            &["0", "999999", r#""all""#],
        ),
        (top(r#""limits":{"bodyBytes":@}"#), &["0", r#""big""#]),
        (top(r#""halfClose":@"#), &[r#""no""#, "17"]),
        (top(r#""cors":@"#), &[r#""on""#, "17"]),
        (
            top(r#""cors":{"origins":@}"#),
            &[r#""https://a.test""#, "17"],
        ),
        (
            top(r#""cors":{"origins":["https://a.test",@]}"#),
            &[
                r#""*""#,
                r#""a.test""#,
                r#""https://b.test/x""#,
                r#""https://B.test""#,
                r#""https://b.test:443""#,
                "17",
            ],
        ),
        (top(r#""cors":{"methods":[@]}"#), &[r#""GET,PUT""#, "17"]),
        (top(r#""cors":{"headers":@}"#), &[r#""all""#, "17"]),
        (
            top(r#""cors":{"exposeHeaders":[@]}"#),
            &[r#""X Total""#, "17"],
        ),
        (top(r#""cors":{"credentials":@}"#), &["true", r#""yes""#]),
        (
            top(r#""cors":{"maxAge":@}"#),
            &[r#""1500ms""#, r#""long""#, "true"],
        ),
        (top(r#""cors":{"forwardOptions":@}"#), &[r#""yes""#]),
        (top(r#""securityHeaders":@"#), &[r#""helmet""#, "17"]),
        (
            top(r#""securityHeaders":{"X-Frame-Options":@}"#),
            &[r#""""#, r#"" DENY""#, r#""é""#, "17"],
        ),
        (top(r#""accessLog":@"#), &[r#""jsn""#, "false", "17"]),
        (top(r#""logLevel":@"#), &[r#""loud""#, "17", "null"]),
        (top(r#""trustedProxies":@"#), &[r#""10.0.0.0/8""#, "17"]),
        (
            top(r#""requestId":@"#),
            &[
                r#""X Id""#,
                r#""""#,
                r#""Via""#,
                r#""cookie""#,
                "true",
                "17",
            ],
        ),
        (
            top(r#""allow":[@]"#),
            &[r#""10.0.0.1/8""#, r#""10.0.0.0/33""#, r#""lan""#, "17"],
        ),
        (top(r#""deny":[@]"#), &[r#""10.0.0/8""#, "null"]),
        (
            bare(r#""target":"http://b","route":@"#),
            &[
                r#""a""#,
                r#""/a?b""#,
                r#""/a/../b""#,
                r#""/a/*""#,
                r#""/a//b""#,
                r#""/a%20""#,
                r#""/a b""#,
                "17",
                "null",
            ],
        ),
        (
            bare(r#""route":"/a","target":@"#),
            &[
                r#""b:80""#,
                r#""ftp://b""#,
                r#""ws://b""#,
                r#""http://""#,
                r#""http://b:0/""#,
                r#""http://b?x=1""#,
                r#""http://b/x#y""#,
                r#""http://b/../x""#,
                r#""http://a b/""#,
                r#""http://127.1/""#,
                "17",
                "null",
            ],
        ),
        (
            bare(r#""route":"/a","targets":@"#),
            &[r#""http://b""#, "17"],
        ),
        (
            bare(r#""route":"/a","targets":["http://c",@]"#),
            &[r#""b""#, r#""http://c""#, "17"],
        ),
        (
            bare(r#""route":"/a","targets":[{"url":"http://c","weight":@}]"#),
            &["0", "1001", r#""heavy""#, "1.5"],
        ),
        (
            bare(r#""route":"/a","targets":[{"url":"http://c","backup":@}]"#),
            &[r#""yes""#, "1"],
        ),
        (service(r#""hosts":@"#), &[r#""a.test""#, "17"]),
        (
            service(r#""hosts":["a.test",@]"#),
            &[
                r#""*""#,
                r#""a.*.b""#,
                r#""http://a.b""#,
                r#""a.b:80""#,
                r#""A.test.""#,
                r#""a b""#,
                "17",
            ],
        ),
        (
            service(r#""methods":["GET",@]"#),
            &[
                r#""get""#,
                r#""GET""#,
                r#""A B""#,
                r#""TRACE""#,
                r#""PSOT""#,
                "17",
            ],
        ),
        (service(r#""balance":@"#), &[r#""fastest""#, "17"]),
        (service(r#""retries":@"#), &["11", "-1", r#""many""#]),
        (service(r#""healthCheck":@"#), &[r#""/health""#, "true"]),
        (
            service(r#""healthCheck":{"path":@}"#),
            &[r#""health""#, r#""/a b""#, r#""/a?b c""#, "17"],
        ),
        (
            service(r#""healthCheck":{"path":"/","host":@}"#),
            &[
                r#""""#,
                r#""a b""#,
                r#""http://a""#,
                r#""a@b""#,
                r#""a:x""#,
                r#""a?b""#,
                "17",
            ],
        ),
        (
            service(r#""healthCheck":{"path":"/","interval":@}"#),
            &["1", r#""often""#],
        ),
        (
            service(r#""healthCheck":{"path":"/","rise":@}"#),
            &["0", "9999"],
        ),
        (
            service(r#""healthCheck":{"path":"/","status":@}"#),
            &["99", r#""2xx""#, r#""300-200""#, "true"],
        ),
        (service(r#""passiveHealth":@"#), &[r#""on""#, "true"]),
        (service(r#""passiveHealth":{"failures":@}"#), &["0"]),
        (
            service(r#""passiveHealth":{"eject":@}"#),
            &["7", r#""never""#],
        ),
        (service(r#""stripPrefix":@"#), &[r#""no""#, "17"]),
        (service(r#""preserveHost":@"#), &[r#""no""#]),
        (service(r#""tls":@"#), &[r#""ca.pem""#, "true"]),
        (
            service(r#""tls":{"ca":@}"#),
            &[r#""no.pem""#, r#""key.pem""#, r#""bad.pem""#, r#""""#, "17"],
        ),
        (
            service(r#""tls":{"serverName":@}"#),
            &[r#""https://c""#, r#""c:443""#, "17"],
        ),
        (service(r#""auth":@"#), &[r#""mian""#, "17", "true", "null"]),
        (service(r#""auth":[@]"#), &[r#""mian""#, "17"]),
        (service(r#""scopes":@"#), &[r#""read""#]),
        (service(r#""scopes":[@]"#), &[r#""a b""#, "17"]),
        (auth(r#""type":@"#), &[r#""jwtt""#, "17"]),
        (
            auth(r#""type":"jwt","secret":"s","algorithms":[@]"#),
            &[r#""none""#, r#""RS255""#, r#""HS256x""#, "17"],
        ),
        (
            auth(r#""type":"jwt","secret":"s","algorithms":@"#),
            &[r#""HS256""#, "17"],
        ),
        (
            auth(r#""type":"jwt","secret":"s","issuer":@"#),
            &["17", "null", r#""""#],
        ),
        (
            auth(r#""type":"jwt","secret":"s","leeway":@"#),
            &[r#""some""#, "-1", "null"],
        ),
        (
            auth(r#""type":"jwt","secret":"s","forwardClaims":{"sub":@}"#),
            &[r#""X User""#, r#""X_User""#, r#""Host""#, r#""ETag""#, "17"],
        ),
        (
            auth(r#""type":"jwt","publicKey":@"#),
            &[r#""no.pem""#, r#""key.pem""#, r#""bad.pem""#, "17"],
        ),
        (
            auth(r#""type":"jwt","jwks":@"#),
            &[r#""no.json""#, r#""key.pem""#, r#""ftp://idp""#, "17"],
        ),
        (
            auth(r#""type":"introspection","url":@"#),
            &[r#""idp""#, r#""http://i/?a b""#, "17"],
        ),
        (
            auth(r#""type":"introspection","url":"http://i/","cache":@"#),
            &[r#""long""#, "true"],
        ),
        (
            auth(r#""type":"forward","url":"http://i/","copyHeaders":[@]"#),
            &[r#""Set-Cookie""#, r#""X_A""#, "17"],
        ),
        (
            auth(r#""type":"apiKey","keys":{},"header":@"#),
            &[r#""Authorization""#, r#""X Key""#, "17"],
        ),
    ];
    for (text, values) in places {
        for value in *values {
            let errors = load_with(&text.replace('@', value), &[]).expect_err(value);
            // Numbers and lists stand for strings where those are expected, and are named by their
            // kind, too.
            let named = value.trim_matches('"');
            let message = |line: &String| {
                line.split_once(": ")
                    .is_some_and(|(_, rest)| rest.contains(named))
            };
            let quoted = |line: &String| !value.starts_with('"') || line.contains('"');
            assert!(
                errors.iter().any(|line| message(line) && quoted(line)),
                "{value} in {text}: {errors:#?}"
            );
            assert!(
                errors.iter().all(|line| !line.contains('\n')),
                "{errors:#?}"
            );
        }
    }
}

/// Asserts what must hold for any bytes.
fn sound(bytes: &[u8]) {
    match load(
        bytes,
        "t.json",
        &|name| (name == "A").then(|| "/".to_owned()),
        &read,
    ) {
        Ok(config) => {
            let settings = &config.settings;
            assert!(!config.listeners.is_empty() && !settings.services.is_empty());
            assert_eq!(settings.targets.len(), config.upstream_tls.len());
            for service in &settings.services {
                assert!(
                    service
                        .destinations
                        .iter()
                        .any(|destination| !destination.role.backup)
                );
                assert!(
                    service
                        .destinations
                        .iter()
                        .all(|destination| destination.target < settings.targets.len())
                );
            }
            assert!(settings.limits.request_line_bytes <= settings.limits.head_bytes);
            assert!(check::describe(&config).lines().count() > settings.services.len());
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.line > 0
                && error.column > 0
                && !error.to_string().contains('\n')));
            assert!(errors.is_sorted_by_key(|error| (error.line, error.column)));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        sound(&bytes);
    }

    #[test]
    fn nearly_json(text in "[\\[\\]{}\":,0-9a-z$\\\\ \\n]{0,80}") {
        sound(text.as_bytes());
    }

    #[test]
    fn damaged_files(edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 1..4)) {
        let mut bytes = DEFAULTS.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        sound(&bytes);
    }

    #[test]
    fn any_value_anywhere(
        at in any::<proptest::sample::Index>(),
        value in prop_oneof![
            Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned()), Just("[]".to_owned()),
            Just("{}".to_owned()), Just("-0".to_owned()), Just("1e999".to_owned()), Just("99999999999999999999".to_owned()),
            Just("\"${A}\"".to_owned()), Just("[null,1,\"*\",{}]".to_owned()), "\"[a-z0-9:/.%?#@*$ -]{0,24}\"",
        ],
    ) {
        // In place of the value behind some colon.
        let colons = DEFAULTS.match_indices("\": ").map(|(at, _)| at + 3).collect::<Vec<_>>();
        let start = colons[at.index(colons.len())];
        let rest = &DEFAULTS[start..];
        let end = match rest.as_bytes()[0] {
            b'[' => rest.find(']').map_or(0, |end| end + 1),
            b'{' => rest.find('}').map_or(0, |end| end + 1),
            _ => rest.find([',', '}', '\n', ' ']).unwrap_or(0),
        };
        sound(format!("{}{value}{}", &DEFAULTS[..start], &rest[end..]).as_bytes());
    }
}
