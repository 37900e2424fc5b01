//! The table and the parser know the same keys, bounds and defaults.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::syntax::located::reads;
use crate::config::{Config, load};

fn try_load(text: &str) -> Result<Config, Vec<String>> {
    let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    load(text.as_bytes(), "t.json", &|_| None, &read)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// Each table once.
fn tables() -> Vec<&'static Table> {
    let mut tables: Vec<&'static Table> = Vec::new();
    ROOT.tables(&mut |table| {
        if !tables.iter().any(|other| core::ptr::eq(*other, table)) {
            tables.push(table);
        }
    });
    tables
}

#[test]
fn the_parser_reads_each_key_of_the_table_and_no_other() {
    // Every object is there; what is in them does not matter, because missing keys are looked for
    // as well.
    let text = r#"{
        "admin": {}, "acme": { "eab": {} }, "listen": [{ "tls": { "certificates": [{}], "acme": {} } }],
        "auth": {
            "jwt": { "type": "jwt", "jwks": "https://a/", "tls": {} },
            "introspection": { "type": "introspection", "url": "https://a/", "tls": {} },
            "apiKey": { "type": "apiKey" }, "basic": { "type": "basic" },
            "forward": { "type": "forward", "url": "https://a/", "tls": {} } },
        "stores": { "s": { "url": "rediss://s", "tls": {} } },
        "authFailures": {}, "rateLimit": {}, "timeouts": {}, "limits": {}, "cors": {}, "record": {},
        "services": [{ "targets": [{}], "healthCheck": {}, "passiveHealth": {}, "tls": {},
            "rateLimit": {}, "timeouts": {}, "limits": {}, "sticky": {}, "match": {} },
            { "redirect": {}, "respond": {}, "maintenance": {} }, { "respond": {} }],
        "requestHeaders": {}, "responseHeaders": {} }"#;
    let _ = reads::take();
    let _ = try_load(text);
    let read = reads::take();
    let mut known = BTreeSet::new();
    for table in tables() {
        // `type` is read before the table of the provider is known.
        let is_plain = core::ptr::eq(table, &RESPOND);
        let keys = table.keys.iter();
        let keys = keys.filter(|key| key.name != "type" || is_plain);
        known.extend(keys.map(|key| (table.name, key.name.to_owned())));
    }
    let unread = known.difference(&read).collect::<Vec<_>>();
    let unknown = read.difference(&known).collect::<Vec<_>>();
    assert!(
        unread.is_empty() && unknown.is_empty(),
        "in the table of keys and not read: {unread:?} (a new object goes into the text of this test); \
         read and not in the table: {unknown:?}"
    );
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let top = |keys: &str| {
        format!(r#"{{ "services": [{{ "route": "/", "target": "http://b" }}]{keys} }}"#)
    };
    let service = |keys: &str| {
        format!(
            r#"{{ "auth": {{ "a": {{ "type": "basic", "users": {{ "u": "{HASH}" }} }} }},
            "services": [{{ "route": "/", {keys} }}] }}"#
        )
    };
    const HASH: &str =
        "pbkdf2-sha256:600000:FQoG2Gfzu0lE9mG9u6AiKg:tB2TMsVbHDUQp4YuW04kWPz_kSNj5fX2YKPHDPhdSW4";
    const KEY: &str = r#""keys": { "k": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }"#;
    let provider = |keys: &str| top(&format!(r#", "auth": {{ "a": {{ {keys} }} }}"#));
    let same = |table: &'static Table, start: &str, form: &dyn Fn(&str) -> String| {
        let plain = try_load(&form(start.trim_start_matches(", "))).expect(table.name);
        for key in table.keys {
            let Some(json) = key.default_json() else {
                continue;
            };
            // Without an `auth` there is no credential to forward.
            let is_of_service = table.name == SERVICE.name;
            let beside = if is_of_service && key.name.starts_with("forwardC") {
                r#", "auth": "a""#
            } else {
                ""
            };
            let plain = match beside {
                "" => plain.clone(),
                _ => try_load(&form(&format!("{start}{beside}"))).expect(key.name),
            };
            let text = form(&format!(r#"{start}{beside}, "{}": {json}"#, key.name));
            assert_eq!(try_load(&text).as_ref(), Ok(&plain), "{text}");
        }
    };
    same(&TOP, "", &top);
    same(&SERVICE, r#""target": "http://b""#, &service);
    same(&CORS, r#""credentials": false"#, &|keys| {
        let keys = keys.replacen(
            r#""credentials": false, "credentials""#,
            r#""credentials""#,
            1,
        );
        top(&format!(r#", "cors": {{ {keys} }}"#))
    });
    same(&TARGET, r#""url": "http://b""#, &|keys| {
        service(&format!(r#""targets": [{{ {keys} }}]"#))
    });
    same(&HEALTH_CHECK, r#""path": "/h""#, &|keys| {
        service(&format!(
            r#""target": "http://b", "healthCheck": {{ {keys} }}"#
        ))
    });
    same(
        &JWT,
        r#""type": "jwt", "secret": "0123456789abcdef0123456789abcdef""#,
        &provider,
    );
    same(
        &INTROSPECTION,
        r#""type": "introspection", "url": "https://a/""#,
        &provider,
    );
    same(&API_KEY, &format!(r#""type": "apiKey", {KEY}"#), &provider);
}

#[test]
fn bounds_are_those_of_the_parser() {
    for (table, form) in [
        (
            &LIMITS,
            r#"{ "services": [{ "route": "/", "target": "http://b" }], "limits": { "#,
        ),
        (
            &RATE_LIMIT,
            r#"{ "services": [{ "route": "/", "target": "http://b" }], "rateLimit": { "algorithm": "bucket", "#,
        ),
        (
            &SERVICE,
            r#"{ "services": [{ "route": "/", "target": "http://b", "x": { "#,
        ),
    ] {
        for key in table.keys {
            let Some((least, most)) = key.kind.find(&|kind| match kind {
                Kind::Whole(least, most) | Kind::Size(least, most) => Some((*least, *most)),
                _ => None,
            }) else {
                continue;
            };
            let load = |value: u64| {
                let mut text = format!("{form}\"{}\": {value} }}}}", key.name);
                if table.name == "services[]" {
                    text = text.replace("\"x\": { ", "").replace("}}", "}]}");
                }
                if key.name == "requestLine" {
                    text =
                        text.replace("\"requestLine\"", "\"headBytes\": 262144, \"requestLine\"");
                }
                try_load(&text)
            };
            for good in [least, most] {
                assert!(load(good).is_ok(), "{}: {:?}", key.name, load(good));
            }
            for bad in [least.checked_sub(1), most.checked_add(1)]
                .into_iter()
                .flatten()
            {
                let name = key.name;
                let Err(errors) = load(bad) else {
                    panic!(
                        "{name}: {bad} is out of the bounds of the table, and loads: \
                         read the key with a function of src/config/values/scalars.rs"
                    );
                };
                assert!(
                    errors.iter().all(|error| error.contains("must be")),
                    "{name}: {errors:?}"
                );
            }
        }
    }
}

#[test]
fn each_key_is_described() {
    let tables = tables();
    // Otherwise a table that nothing leads to would be described by nobody.
    assert_eq!(
        tables.len(),
        32,
        "number of the tables, which a new object changes"
    );
    for table in tables {
        let names = table
            .keys
            .iter()
            .map(|key| key.name)
            .collect::<BTreeSet<_>>();
        assert_eq!(names.len(), table.keys.len(), "{}", table.name);
        for key in table.keys {
            let about = key.about;
            assert!(
                about.ends_with('.') && about.len() <= 120,
                "{}: {about}",
                key.name
            );
            assert!(
                about.starts_with(|c: char| c.is_ascii_uppercase()),
                "{about}"
            );
            assert!(!key.kind.expected().is_empty(), "{}", key.name);
        }
    }
}

#[test]
fn keys_are_found_by_their_paths() {
    let name = |path| find(path).map(|key| key.name);
    for path in [
        "halfClose",
        "timeouts.head",
        "services[].tls.ca",
        "listen[].tls.certificates[].cert",
    ] {
        assert_eq!(name(path), path.rsplit('.').next(), "{path}");
    }
    for path in [
        "",
        "x",
        "halfClose.x",
        "services[].x",
        "services[].target.x",
    ] {
        assert_eq!(name(path), None, "{path}");
    }
    let bounds = |path| find(path).and_then(|key| key.kind.bounds());
    assert_eq!(bounds("services[].retries").as_deref(), Some("0 to 10"));
    assert_eq!(
        bounds("limits.headBytes").as_deref(),
        Some("256 bytes to 256KB")
    );
}

/// Returns the keys whose value names files, each as `table.key`.
fn keys_of_files() -> BTreeSet<String> {
    fn names_files(kind: &Kind) -> bool {
        match kind {
            Kind::Text(expected) => ["PEM file", "path of a file", "path of files"]
                .iter()
                .any(|word| expected.contains(word)),
            Kind::Any(_, kinds) => kinds.iter().any(names_files),
            Kind::List(_, kind) | Kind::Map(_, kind) => names_files(kind),
            _ => false,
        }
    }
    let keys = tables().into_iter().flat_map(|table| {
        let keys = table.keys.iter().filter(|key| names_files(&key.kind));
        keys.map(|key| format!("{}.{}", table.name, key.name))
    });
    keys.collect()
}

/// A file is read again by a reload, for which `watch` looks at it, or without one.
#[test]
fn each_file_that_a_key_names_is_read_again() {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("made");
    let pem = made.cert.pem();
    let files = [
        ("pem", pem.clone()),
        ("key", made.signing_key.serialize_pem()),
        ("page", "<p>".to_owned()),
        (
            "d/s",
            r#"{ "route": "/b", "target": "http://b" }"#.to_owned(),
        ),
        (
            "jwks",
            r#"{ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOgqP9N8wpI0UfNKLCrNn7K0" }] }"#
                .to_owned(),
        ),
    ];
    let read = |path: &Path| {
        let known = files.iter().find(|(name, _)| Path::new(name) == path);
        known
            .map(|(_, text)| text.clone().into_bytes())
            .ok_or(std::io::ErrorKind::NotFound.into())
    };
    let list = |_: &Path| Ok(vec!["s".into()]);
    const TLS: &str = r#""listen": { "address": "127.0.0.1:1", "tls": { "certificates": [{ "cert": "pem", "key": "key" }], "clientCa": "pem" } }"#;
    const UPSTREAM: &str = r#""services": [{ "route": "/a", "target": "https://a", "tls": { "ca": "pem", "cert": "pem", "key": "key" } }]"#;
    const SERVICE: &str = r#""services": [{ "route": "/a", "target": "http://a" }]"#;
    let provider = |key: &str| {
        format!(r#""auth": {{ "a": {{ "type": "jwt", {key} }} }}, "requireAuth": "a", {SERVICE}"#)
    };
    let after_reload: &[(&str, String, &[&str])] = &[
        (
            ".services",
            r#""services": "d/*""#.to_owned(),
            &["d", "d/s"],
        ),
        (
            ".errorPages",
            format!(r#""errorPages": {{ "404": "page" }}, {SERVICE}"#),
            &["page"],
        ),
        (
            "services[].errorPages",
            r#""services": [{ "route": "/a", "target": "http://a", "errorPages": { "404": "page" } }]"#.to_owned(),
            &["page"],
        ),
        (
            "services[].respond.file",
            r#""services": [{ "route": "/a", "respond": { "file": "page" } }]"#.to_owned(),
            &["page"],
        ),
        (
            "jwt.publicKey",
            provider(r#""publicKey": "pem""#),
            &["pem"],
        ),
        (
            "jwt.jwks",
            provider(r#""jwks": "jwks""#),
            &["jwks"],
        ),
    ];
    let mut known = BTreeSet::new();
    let load = |text: &str| {
        let text = format!("{{ {text} }}");
        crate::config::load_with_folder(text.as_bytes(), "t.json", &|_| None, &read, &list)
            .unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
    };
    for (key, text, files) in after_reload {
        let files = files.iter().map(std::path::PathBuf::from);
        assert_eq!(load(text).included, files.collect::<Vec<_>>(), "{key}");
        known.insert((*key).to_owned());
    }
    for (keys, text, files) in [
        (
            &[
                "listen[].tls.certificates[].cert",
                "listen[].tls.certificates[].key",
                "listen[].tls.clientCa",
            ][..],
            format!("{TLS}, {SERVICE}"),
            &[][..],
        ),
        (
            &[
                "services[].tls.ca",
                "services[].tls.cert",
                "services[].tls.key",
            ],
            UPSTREAM.to_owned(),
            &["key", "pem"],
        ),
        (
            &["acme.ca"],
            format!(
                r#""acme": {{ "directory": "https://a/", "state": "/s", "ca": "pem", "agree": true }},
                "listen": ["127.0.0.1:80", {{ "address": "127.0.0.1:1", "tls": {{ "acme": {{ "names": ["a.test"] }} }} }}], {SERVICE}"#
            ),
            &["pem"],
        ),
    ] {
        let config = load(&text);
        let files = files.iter().map(std::path::PathBuf::from);
        assert!(config.included.is_empty(), "{text}");
        assert_eq!(config.upstream_files, files.collect::<Vec<_>>(), "{text}");
        known.extend(keys.iter().map(|key| (*key).to_owned()));
    }
    assert_eq!(keys_of_files(), known, "a row for each key");
}
