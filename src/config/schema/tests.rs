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
