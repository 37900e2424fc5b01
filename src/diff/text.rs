//! Changes between two configurations, a line for each.

use core::fmt::Write;

use crate::config::Config;
use crate::config::changes::{Changed, Changes, name};
use crate::config::compared::facts::Of;
use crate::config::compared::{service, top};
use crate::config::shown::service::{Parts, destinations};
use crate::sort::Index;

/// Returns the changes, and a line that counts them; `None` if nothing changes.
///
/// The lines of a thing begin with `-` if it is removed, `+` if it is added and `~` if it changes.
pub fn describe(old: &Config, new: &Config) -> Option<String> {
    let changes = Changes::between(old, new);
    if changes.is_empty() {
        return None;
    }
    let mut out = String::new();
    services(old, new, &mut out);
    names("listen", &changes.listeners, &mut out);
    names("target", &changes.targets, &mut out);
    for key in &changes.keys {
        let (before, after) = (top::parts(key, old), top::parts(key, new));
        values("~ ", key, (&before, &after), &mut out);
    }
    // Writing to a string does not fail.
    let _ = write!(out, "\n{}\n", changes.comparison());
    Some(out)
}

/// Writes the services: those that go, those that come, and those that change.
fn services(old: &Config, new: &Config, out: &mut String) {
    let (before, after) = (&old.settings, &new.settings);
    let known = Index::new(before.services.iter().map(|one| one.identity()).collect());
    let stays = Index::new(after.services.iter().map(|one| one.identity()).collect());
    let removed = before.services.iter();
    for service in removed.filter(|service| !stays.contains(&service.identity())) {
        let to = destinations(service, before);
        let _ = writeln!(out, "- {} -> {to}", name(service));
    }
    let added = after.services.iter();
    for service in added.filter(|service| !known.contains(&service.identity())) {
        let to = destinations(service, after);
        let _ = writeln!(out, "+ {} -> {to}", name(service));
    }
    for service in &after.services {
        let place = known.place(&service.identity());
        let Some(earlier) = place.and_then(|place| before.services.get(place)) else {
            continue;
        };
        let (old, new) = (Of::new(earlier, before), Of::new(service, after));
        let keys = service::changed(old, new);
        if keys.is_empty() {
            continue;
        }
        let _ = writeln!(out, "~ {}", name(service));
        for key in keys {
            let owned = |parts: Parts| {
                let parts = parts.into_iter();
                let parts = parts.map(|(name, text)| (name.to_owned(), text));
                parts.collect::<Vec<_>>()
            };
            let one = owned(service::parts(key, old));
            let other = owned(service::parts(key, new));
            values("    ", key, (&one, &other), out);
        }
    }
}

fn names(kind: &str, changed: &Changed, out: &mut String) {
    let removed = changed.removed.iter().map(|name| ('-', name));
    let added = changed.added.iter().map(|name| ('+', name));
    for (sign, name) in removed.chain(added) {
        let _ = writeln!(out, "{sign} {kind} {name}");
    }
}

/// Parts of a value, each with its name.
type Named = [(String, String)];

/// Returns true for a thing that is off. Its parts are not those of one that is on.
fn is_off(value: &Named) -> bool {
    matches!(value, [(name, text)] if name.is_empty() && text == "off")
}

/// Returns all parts of a value.
fn whole(value: &Named) -> String {
    let parts = value.iter().map(|(name, text)| match name.as_str() {
        "" => text.clone(),
        name => format!("{name} {text}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Writes the parts of a key's value that differ.
fn values(indent: &str, key: &str, (old, new): (&Named, &Named), out: &mut String) {
    if is_off(old) != is_off(new) {
        let _ = writeln!(out, "{indent}{key}: {} => {}", whole(old), whole(new));
        return;
    }
    let mut parts: Vec<&str> = Vec::new();
    for (part, _) in old.iter().chain(new) {
        if !parts.contains(&part.as_str()) {
            parts.push(part);
        }
    }
    let text = |of: &Named, part: &str| {
        let found = of.iter().find(|(name, _)| name == part);
        found.map(|(_, text)| text.clone())
    };
    let mut shown = 0_usize;
    for part in parts {
        let (before, after) = (text(old, part), text(new, part));
        if before == after {
            continue;
        }
        shown = shown.saturating_add(1);
        let name = if part.is_empty() {
            key.to_owned()
        } else {
            format!("{key} {part}")
        };
        let absent = || "none".to_owned();
        let (before, after) = (before.unwrap_or_else(absent), after.unwrap_or_else(absent));
        let _ = writeln!(out, "{indent}{name}: {before} => {after}");
    }
    if shown == 0 {
        // A key, a secret or the content of a file.
        let _ = writeln!(out, "{indent}{key}: changed in parts that are not shown");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys: &str, services: &str) -> Config {
        let separator = if keys.is_empty() { "" } else { "," };
        let text = format!(r#"{{ {keys}{separator} "services": [ {services} ] }}"#);
        let read = |path: &std::path::Path| match path.to_str() {
            Some("one.pem" | "two.pem") => Ok(path.as_os_str().as_encoded_bytes().to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
            .unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// Returns the lines before the blank one.
    fn lines(old: &Config, new: &Config) -> Vec<String> {
        let text = describe(old, new).expect("a difference");
        let (lines, count) = text.split_once("\n\n").expect("a line that counts");
        assert_eq!(count.lines().count(), 1, "{text}");
        lines.lines().map(str::to_owned).collect()
    }

    const A: &str = r#"{ "route": "/a", "target": "http://a.test/a/" }"#;

    #[test]
    fn services_listeners_and_targets() {
        let old = config(
            r#""listen": ["127.0.0.1:5000", "127.0.0.1:5001"]"#,
            r#"{ "route": "/users", "target": "http://a.test/users" }, { "route": "/gone", "target": "http://b.test" },
               { "route": "/both", "methods": ["GET"], "target": "http://b.test" }"#,
        );
        let new = config(
            r#""listen": ["127.0.0.1:5000"]"#,
            r#"{ "route": "/both", "methods": ["GET"], "target": "http://b.test" },
               { "route": "/users", "hosts": ["x.test"], "target": "http://a.test/users" }, { "route": "/users", "target": "http://c.test:81/users" }"#,
        );
        assert_eq!(
            describe(&old, &new).expect("a difference"),
            "- /gone -> http://b.test/\n\
             + /users x.test -> http://a.test/users\n\
             ~ /users\n    target: http://a.test/users => http://c.test:81/users\n\
             - listen 127.0.0.1:5001\n\
             + target c.test:81\n\n\
             1 service added, 1 changed (/users: target), 1 removed; listeners: 1 kept, 1 removed; targets: 2 kept, 1 added\n"
        );
        assert_eq!(describe(&old, &old), None);
    }

    /// Each key of a service, alone.
    #[test]
    fn keys_of_services() {
        let auth = r#""auth": { "k": { "type": "apiKey", "keys": { "b": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" } } }"#;
        let old = config(auth, A);
        for (keys, expected) in [
            (
                r#""target": "http://b.test""#,
                "target: http://a.test/a/ => http://b.test/",
            ),
            (r#""stripPrefix": false"#, "stripPrefix: true => false"),
            (r#""retries": 3"#, "retries: 1 => 3"),
            (r#""balance": "ip-hash""#, "balance: round-robin => ip-hash"),
            (r#""preserveHost": true"#, "preserveHost: false => true"),
            (
                r#""encodedSlashes": "keep""#,
                "encodedSlashes: reject => keep",
            ),
            (
                r#""rateLimit": false"#,
                "rateLimit: that of the top level => off",
            ),
            (
                r#""rateLimit": { "requests": 5, "window": "1s" }"#,
                "rateLimit: that of the top level => 5 requests in 1s for each client",
            ),
            (
                r#""timeouts": { "response": "3s" }"#,
                "timeouts response: 15s => 3s",
            ),
            (r#""auth": "k""#, "auth: none => k"),
            (r#""cors": false"#, "cors: that of the top level => off"),
            (
                r#""rewriteLocation": true"#,
                "rewriteLocation: false => true",
            ),
            (
                r#""rewriteCookiePath": true"#,
                "rewriteCookiePath: false => true",
            ),
            (
                r#""securityHeaders": { "X-Own": "1" }"#,
                "securityHeaders: those of the top level => Content-Security-Policy: default-src",
            ),
            (
                r#""healthCheck": { "path": "/up" }"#,
                "healthCheck: off => path /up, host none, interval 10s",
            ),
        ] {
            let target = if keys.contains("target") {
                ""
            } else {
                r#", "target": "http://a.test/a/""#
            };
            let new = config(auth, &format!(r#"{{ "route": "/a", {keys}{target} }}"#));
            let lines = lines(&old, &new);
            assert_eq!(lines[0], "~ /a", "{keys}");
            assert!(
                lines[1].trim_start().starts_with(expected),
                "{keys}: {lines:?}"
            );
            assert!(
                lines.iter().all(|line| !line.contains("not shown")),
                "{lines:?}"
            );
        }
    }

    /// Each top-level key, alone.
    #[test]
    fn top_level_keys() {
        let old = config("", A);
        for (keys, expected) in [
            (
                r#""rateLimit": { "requests": 7 }"#,
                "~ rateLimit: 20 requests in 1m for each client => 7 requests in 1m for each client",
            ),
            (
                r#""rateLimit": { "headers": "draft" }"#,
                "~ rateLimit: 20 requests in 1m for each client => 20 requests in 1m for each client, headers draft",
            ),
            (r#""authFailures": false"#, "~ authFailures: "),
            (r#""timeouts": { "head": "1s" }"#, "~ timeouts head: "),
            (
                r#""limits": { "bodyBytes": "1MB" }"#,
                "~ limits bodyBytes: ",
            ),
            (r#""halfClose": true"#, "~ halfClose: false => true"),
            (r#""cors": false"#, "~ cors: origins *, methods GET"),
            (
                r#""cors": { "origins": ["http://o.test"] }"#,
                "~ cors origins: * => http://o.test",
            ),
            (
                r#""securityHeaders": { "X-Frame-Options": "DENY" }"#,
                "~ securityHeaders X-Frame-Options: SAMEORIGIN => DENY",
            ),
            (
                r#""trustedProxies": ["10.0.0.0/8", "unix"]"#,
                "~ trustedProxies: none => 10.0.0.0/8, unix",
            ),
            (r#""allow": ["10.0.0.1"]"#, "~ allow: all => 10.0.0.1/32"),
            (r#""deny": ["10.0.0.1"]"#, "~ deny: none => 10.0.0.1/32"),
            (r#""accessLog": "json""#, "~ accessLog: combined => json"),
            (
                r#""requestId": "X-Id""#,
                "~ requestId: X-Request-Id => X-Id",
            ),
            (r#""requestId": false"#, "~ requestId: X-Request-Id => off"),
            (r#""logLevel": "debug""#, "~ logLevel: info => debug"),
            (
                r#""admin": "127.0.0.1:5009""#,
                "~ admin: off => 127.0.0.1:5009",
            ),
            (r#""watch": true"#, "~ watch: false => true"),
        ] {
            let lines = lines(&old, &config(keys, A));
            assert!(lines[0].starts_with(expected), "{keys}: {lines:?}");
            assert_eq!(lines.len(), 1, "{keys}: {lines:?}");
        }
    }

    /// A secret that changes is a change, and is not shown.
    #[test]
    fn secrets_are_not_shown() {
        let config = |digit: &str| {
            let hash = digit.repeat(64);
            let auth = format!(
                r#""auth": {{ "k": {{ "type": "apiKey", "keys": {{ "b": "sha256:{hash}" }} }} }}"#
            );
            config(&auth, A)
        };
        assert_eq!(
            lines(&config("1"), &config("2")),
            ["~ auth: changed in parts that are not shown"]
        );
    }
}
