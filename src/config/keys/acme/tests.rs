//! Tests of `acme`, at the top level and of listeners.

use std::io;
use std::path::Path;

use crate::config::{Acme, Challenge, Config, check, load};
use crate::policy::auth::base64::encode_url;

/// Loads these listeners and this `acme`; no file exists.
fn load_acme(listen: &str, acme: &str) -> Result<Config, Vec<String>> {
    let acme = match acme {
        "" => String::new(),
        acme => format!(r#""acme":{acme},"#),
    };
    let text =
        format!(r#"{{"listen":{listen},{acme}"services":[{{"route":"/","target":"http://b"}}]}}"#);
    let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
    load(text.as_bytes(), "t.json", &|_| None, &read).map_err(|errors| {
        let errors = errors.iter();
        let line =
            |error: &crate::config::ConfigError| format!("{}: {}", error.path, error.message);
        errors.map(line).collect()
    })
}

fn acme(listen: &str, acme: &str) -> Acme {
    let config = load_acme(listen, acme).unwrap_or_else(|errors| panic!("{errors:?}"));
    config.acme.expect("orders")
}

const AGREED: &str = r#"{"agree":true}"#;

#[test]
fn names_are_those_of_certificates() {
    let listen = r#"{"address":"0.0.0.0:443","tls":{"acme":{"names":["B.test.","a.test","::ffff:192.0.2.1","[2001:DB8::1]","b.test"],"email":"ops@b.test"}}}"#;
    let found = acme(listen, AGREED);
    assert_eq!(found.orders.len(), 1);
    assert_eq!(
        found.orders[0].names,
        ["192.0.2.1", "2001:db8::1", "a.test", "b.test"]
    );
    assert_eq!(found.emails, ["ops@b.test"]);
    assert_eq!(found.state, Path::new("/var/lib/tollgate"));
    assert_eq!(
        found.directory,
        "https://acme-v02.api.letsencrypt.org/directory"
    );
}

#[test]
fn the_authority_is_a_target() {
    let listen = r#"{"address":"0.0.0.0:443","tls":{"acme":{"names":["a.test"]}}}"#;
    let config = load_acme(
        listen,
        r#"{"agree":true,"directory":"https://ca.test:14000/dir"}"#,
    );
    let config = config.expect("good");
    let target = config.acme.expect("orders").target;
    assert_eq!(config.settings.targets[target].authority, "ca.test:14000");
    assert!(config.upstream_tls[target].is_some());
}

#[test]
fn the_proof_follows_the_listeners() {
    let tls = |port: u16| {
        format!(r#"{{"address":"0.0.0.0:{port}","tls":{{"acme":{{"names":["a.test"]}}}}}}"#)
    };
    for (listen, challenge, expected) in [
        (tls(443), "auto", (Challenge::TlsAlpn01, 443)),
        (
            format!("[{},80]", tls(443)),
            "auto",
            (Challenge::TlsAlpn01, 443),
        ),
        (
            format!("[{},8080,80]", tls(8443)),
            "auto",
            (Challenge::Http01, 80),
        ),
        (
            format!("[{},8080]", tls(8443)),
            "auto",
            (Challenge::Http01, 8080),
        ),
        (
            format!("[{},8080]", tls(443)),
            "http-01",
            (Challenge::Http01, 8080),
        ),
        (tls(8443), "tls-alpn-01", (Challenge::TlsAlpn01, 8443)),
    ] {
        let found = acme(
            &listen,
            &format!(r#"{{"agree":true,"challenge":"{challenge}"}}"#),
        );
        let order = &found.orders[0];
        assert_eq!(
            (order.challenge, order.port),
            expected,
            "{listen} {challenge}"
        );
    }
}

#[test]
fn equal_names_of_two_listeners_are_one_order() {
    let tls = |port: u16, name: &str| {
        format!(r#"{{"address":"0.0.0.0:{port}","tls":{{"acme":{{"names":["{name}"]}}}}}}"#)
    };
    let listen = format!(
        "[{},{},{}]",
        tls(443, "a.test"),
        tls(8443, "A.test"),
        tls(9443, "b.test")
    );
    assert_eq!(acme(&listen, AGREED).orders.len(), 2);
}

#[test]
fn each_mistake_is_said_with_what_to_do() {
    let tls = r#"{"address":"0.0.0.0:443","tls":{"acme":{"names":["a.test"]}}}"#;
    let other = r#"{"address":"0.0.0.0:8443","tls":{"acme":{"names":["a.test"]}}}"#;
    let names =
        |names: &str| format!(r#"{{"address":"0.0.0.0:443","tls":{{"acme":{{{names}}}}}}}"#);
    for (listen, acme, expected) in [
        (
            tls,
            "",
            "listen: orders a certificate for a.test, and nothing says where; add \"acme\": { \"agree\": true }",
        ),
        (tls, "{}", "acme: \"agree\" is missing; add \"agree\": true"),
        (
            tls,
            r#"{"agree":false}"#,
            "acme.agree: false must be true: with it you agree to the terms",
        ),
        (
            "80",
            AGREED,
            "acme: orders nothing: no listener has \"tls\"",
        ),
        (
            other,
            AGREED,
            "acme: no listener can prove a.test: the authority connects to port 443",
        ),
        (
            other,
            r#"{"agree":true,"challenge":"http-01"}"#,
            "acme.challenge: http-01 needs a listener without \"tls\" to prove a.test; add {",
        ),
        (
            tls,
            r#"{"agree":true,"challenge":"dns-01"}"#,
            "acme.challenge: \"dns-01\" must be one of \"auto\", \"http-01\", \"tls-alpn-01\"",
        ),
        (
            tls,
            r#"{"agree":true,"state":"here"}"#,
            "acme.state: \"here\" must be an absolute path",
        ),
        (
            tls,
            r#"{"agree":true,"directory":"http://ca.test/dir"}"#,
            "acme.directory: \"http://ca.test/dir\" must be an https URL",
        ),
        (
            tls,
            r#"{"agree":true,"directory":"https://ca.test"}"#,
            "acme.directory: \"https://ca.test\" has no path",
        ),
        (
            tls,
            r#"{"agree":true,"ca":"none.pem"}"#,
            "acme.ca: \"none.pem\": cannot be read",
        ),
        (
            tls,
            r#"{"agree":true,"profile":""}"#,
            "acme.profile: \"\" must have 1 to 254 visible",
        ),
        (
            tls,
            r#"{"agree":true,"eab":{"kid":"k"}}"#,
            "acme.eab: \"key\" is missing; add the key that the authority",
        ),
        (
            tls,
            r#"{"agree":true,"eab":{"kid":"k","key":"?"}}"#,
            "acme.eab.key: is no base64url",
        ),
        (
            &names(r#""names":["*.a.test"]"#),
            AGREED,
            "listen.tls.acme.names[0]: \"*.a.test\" has a wildcard, which is proven by records in the DNS",
        ),
        (
            &names(r#""names":[]"#),
            AGREED,
            "listen.tls.acme.names: is empty; name at least one",
        ),
        (&names(""), AGREED, "listen.tls.acme: \"names\" is missing"),
        (
            &names(r#""names":["a b"]"#),
            AGREED,
            "listen.tls.acme.names[0]: \"a b\" has a malformed host name",
        ),
        (
            &names(r#""names":["https://a.test/"]"#),
            AGREED,
            "listen.tls.acme.names[0]: \"https://a.test/\" is more than a name; write \"a.test\"",
        ),
        (
            &names(r#""names":["a.test:443"]"#),
            AGREED,
            "listen.tls.acme.names[0]: \"a.test:443\" is more than a name; write \"a.test\"",
        ),
        (
            &names(r#""names":"a.test""#),
            AGREED,
            "listen.tls.acme.names: \"a.test\" must be a list of names",
        ),
        (
            &names(r#""names":["a.test"],"email":"me""#),
            AGREED,
            "listen.tls.acme.email: \"me\" must be one address",
        ),
    ] {
        let errors = load_acme(listen, acme).expect_err(expected);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{errors:?}");
    }
    assert!(load_acme("80", "null").is_ok());
}

#[test]
fn check_says_what_is_ordered() {
    let tls = r#"{"address":"0.0.0.0:443","tls":{"acme":{"names":["a.test","192.0.2.1"]}}}"#;
    let config = load_acme(tls, AGREED).expect("good");
    let text = check::describe(&config);
    assert!(
        text.contains("(TLS 1.2 and 1.3, orders 192.0.2.1 a.test)"),
        "{text}"
    );
    assert!(
        text.contains("acme       192.0.2.1 a.test by tls-alpn-01, from https://acme-v02"),
        "{text}"
    );
}

#[test]
fn check_warns_of_names_of_a_private_network() {
    let own = r#"{"agree":true,"directory":"https://ca.example.com/dir"}"#;
    for (name, acme, warns) in [
        ("pi.local", r#"{"agree":true}"#, true),
        ("nas", r#"{"agree":true}"#, true),
        ("a.home.arpa", r#"{"agree":true}"#, true),
        ("192.168.1.10", r#"{"agree":true}"#, true),
        ("[fd00::1]", r#"{"agree":true}"#, true),
        ("pi.local", own, false),
        ("local.example.com", r#"{"agree":true}"#, false),
        ("8.8.8.8", r#"{"agree":true}"#, false),
    ] {
        let tls = format!(r#"{{"address":"0.0.0.0:443","tls":{{"acme":{{"names":["{name}"]}}}}}}"#);
        let config = load_acme(&tls, acme).expect("good");
        let lines = config.warnings();
        let found = lines
            .iter()
            .filter(|line| line.contains("no public authority"));
        assert_eq!(found.count(), usize::from(warns), "{name}: {lines:?}");
    }
}

#[test]
fn check_warns_of_a_short_key_of_the_binding() {
    let tls = r#"{"address":"0.0.0.0:443","tls":{"acme":{"names":["a.test"]}}}"#;
    for (bytes, weak) in [(1, true), (31, true), (32, false), (64, false)] {
        let key = encode_url(&vec![b'k'; bytes]);
        let eab = format!(r#"{{"agree":true,"eab":{{"kid":"k","key":"{key}"}}}}"#);
        let config = load_acme(tls, &eab).expect("good");
        let line = format!(
            "acme.eab: a key of {bytes} bytes is weak, and some authorities refuse it; RFC 7518 3.2 asks for 32 or more: get another one from yours"
        );
        let expected = if weak { vec![line] } else { Vec::new() };
        assert_eq!(config.warnings(), expected, "{bytes}");
        assert!(!check::describe(&config).contains(&key));
    }
}
