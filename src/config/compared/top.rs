//! Top-level keys that may change in a reload. No text has a secret in it.

use super::differs;
use crate::config::Config;
use crate::config::shown::limit::rate;
use crate::config::shown::listener;
use crate::config::shown::service::{
    Parts, allowed, cors, edits, error_pages, maintenance, off, peers,
};
use crate::config::shown::top as shown;
use crate::config::shown::top::Named;
use crate::policy::edits::{Edits, HeaderEdits};
use crate::proxy::settings::{Provider, Settings, Store, Target, TargetIdentity};

struct TopKey {
    name: &'static str,
    differs: fn(&Config, &Config) -> bool,
    parts: fn(&Config) -> Named,
}

/// Returns the top-level keys that changed.
pub(crate) fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let differing = KEYS.iter().filter(|key| (key.differs)(old, new));
    differing.map(|key| key.name).collect()
}

/// Returns the value of a key, in parts; nothing for a name that is not in the table. A part may
/// occur several times.
pub(crate) fn parts(name: &str, config: &Config) -> Named {
    let key = KEYS.iter().find(|key| key.name == name);
    key.map_or_else(Vec::new, |key| (key.parts)(config))
}

const fn row(
    name: &'static str,
    differs: fn(&Config, &Config) -> bool,
    parts: fn(&Config) -> Named,
) -> TopKey {
    TopKey {
        name,
        differs,
        parts,
    }
}

/// The rows, in the order in which changes are named.
const KEYS: [TopKey; 25] = [
    row(
        "listen",
        |old, new| {
            is_listener_changed(old, new) || old.settings.https_port != new.settings.https_port
        },
        shown::listeners,
    ),
    row(
        "acme",
        |old, new| old.acme != new.acme,
        |config| {
            let acme = config.acme.as_ref();
            word(acme.map_or("off".to_owned(), |acme| acme.shown()))
        },
    ),
    row(
        "auth",
        |old, new| is_provider_changed(&old.settings, &new.settings),
        providers,
    ),
    row(
        "stores",
        |old, new| is_store_changed(&old.settings, &new.settings),
        shown::stores,
    ),
    row(
        "rateLimit",
        |old, new| old.settings.rate_limit != new.settings.rate_limit,
        |config| named(shown::rate_limits(&config.settings.rate_limit)),
    ),
    row(
        "authFailures",
        |old, new| old.settings.auth_failures != new.settings.auth_failures,
        |config| {
            let limit = config.settings.auth_failures.as_ref();
            word(limit.map_or("off".to_owned(), rate))
        },
    ),
    row(
        "timeouts",
        |old, new| old.settings.timeouts != new.settings.timeouts,
        |config| named(shown::timeouts(&config.settings.timeouts)),
    ),
    row(
        "limits",
        |old, new| old.settings.limits != new.settings.limits,
        |config| named(shown::limits(&config.settings.limits)),
    ),
    row(
        "halfClose",
        |old, new| old.settings.half_close != new.settings.half_close,
        |config| word(config.settings.half_close.to_string()),
    ),
    row(
        "cors",
        |old, new| old.settings.cors != new.settings.cors,
        |config| named(config.settings.cors.as_ref().map_or_else(off, cors)),
    ),
    row(
        "securityHeaders",
        |old, new| old.settings.security_headers != new.settings.security_headers,
        |config| shown::security_headers(config.settings.security_headers.as_ref()),
    ),
    row(
        "requestHeaders",
        |old, new| is_edit_changed(old, new, |edits| &edits.request),
        |config| {
            word(edits(config.settings.edits.as_deref(), |edits| {
                &edits.request
            }))
        },
    ),
    row(
        "responseHeaders",
        |old, new| is_edit_changed(old, new, |edits| &edits.response),
        |config| {
            word(edits(config.settings.edits.as_deref(), |edits| {
                &edits.response
            }))
        },
    ),
    row(
        "trustedProxies",
        |old, new| old.settings.trusted_proxies != new.settings.trusted_proxies,
        |config| word(peers(&config.settings.trusted_proxies)),
    ),
    row(
        "allow",
        |old, new| old.settings.allow != new.settings.allow,
        |config| word(allowed(&config.settings.allow)),
    ),
    row(
        "deny",
        |old, new| old.settings.deny != new.settings.deny,
        |config| word(peers(&config.settings.deny)),
    ),
    row(
        "maintenance",
        |old, new| old.settings.maintenance != new.settings.maintenance,
        |config| {
            let on = config.settings.maintenance.as_deref();
            word(on.map_or("off".to_owned(), maintenance))
        },
    ),
    row(
        "errorPages",
        |old, new| old.settings.error_pages != new.settings.error_pages,
        |config| word(error_pages(config.settings.error_pages.as_deref())),
    ),
    row(
        "accessLog",
        |old, new| old.settings.access_log != new.settings.access_log,
        |config| word(config.settings.access_log.word().to_owned()),
    ),
    row(
        "requestId",
        |old, new| old.settings.request_id != new.settings.request_id,
        |config| {
            let header = config.settings.request_id.clone();
            word(header.unwrap_or("off".to_owned()))
        },
    ),
    row(
        "record",
        |old, new| old.settings.record != new.settings.record,
        |config| {
            word(match &config.settings.record {
                None => "off".to_owned(),
                Some(rule) => format!("{} files in {}", rule.keep, rule.dir),
            })
        },
    ),
    row(
        "logLevel",
        |old, new| old.log_level != new.log_level,
        |config| word(config.log_level.as_str().to_owned()),
    ),
    row(
        "admin",
        |old, new| old.admin != new.admin,
        |config| {
            word(match &config.admin.addresses[..] {
                [] => "off".to_owned(),
                _ => listener::admin(&config.admin),
            })
        },
    ),
    row(
        "watch",
        |old, new| old.watch != new.watch,
        |config| word(config.watch.to_string()),
    ),
    row(
        "workers",
        |old, new| old.workers != new.workers,
        |config| word(config.workers.to_string()),
    ),
];

/// Names every field of the settings, so that a new one is an error here: it needs a row, or it is
/// compared as a list in `changes.rs`.
const _: fn(Settings) = |settings| {
    let Settings {
        services: _,
        targets: _,
        auth: _,
        stores: _,
        rate_limit: _,
        auth_failures: _,
        timeouts: _,
        limits: _,
        half_close: _,
        cors: _,
        security_headers: _,
        edits: _,
        trusted_proxies: _,
        allow: _,
        deny: _,
        maintenance: _,
        listener_names: _,
        error_pages: _,
        https_port: _,
        access_log: _,
        request_id: _,
        record: _,
    } = settings;
};

/// Returns a value without parts.
fn word(text: String) -> Named {
    vec![(String::new(), text)]
}

fn named(parts: Parts) -> Named {
    let parts = parts.into_iter();
    parts.map(|(name, text)| (name.to_owned(), text)).collect()
}

fn providers(config: &Config) -> Named {
    let providers = config.settings.auth.iter();
    let providers = providers.map(|one| (one.name.clone(), one.kind.name().to_owned()));
    providers.collect()
}

fn is_edit_changed(old: &Config, new: &Config, kind: fn(&Edits) -> &HeaderEdits) -> bool {
    let (old, new) = (&old.settings.edits, &new.settings.edits);
    differs(old.as_deref(), new.as_deref(), kind)
}

/// Returns where a provider is asked, if it is asked over the network.
fn endpoint<'a>(settings: &'a Settings, provider: &Provider) -> Option<TargetIdentity<'a>> {
    let endpoint = provider.kind.endpoint()?;
    settings.targets.get(endpoint.target).map(Target::identity)
}

fn is_provider_changed(before: &Settings, after: &Settings) -> bool {
    before.auth.len() != after.auth.len()
        || before.auth.iter().zip(&after.auth).any(|(one, other)| {
            !one.as_written().is_like(&other.as_written())
                || endpoint(before, one) != endpoint(after, other)
        })
}

/// Returns true if a listener that stays changes. One that was added or removed is counted
/// elsewhere.
fn is_listener_changed(old: &Config, new: &Config) -> bool {
    let mut stays = new.listeners.iter().filter_map(|listen| {
        let mut before = old.listeners.iter();
        let before = before.find(|known| known.address == listen.address)?;
        Some((before, listen))
    });
    stays.any(|(before, after)| before != after)
}

/// Returns true if a store changed.
fn is_store_changed(before: &Settings, after: &Settings) -> bool {
    // The place of a store's target is no part of it.
    let stores = |settings: &Settings| {
        let stores = settings.stores.iter();
        let stores = stores.map(|store| Store {
            target: 0,
            ..store.clone()
        });
        stores.collect::<Vec<_>>()
    };
    let mut both = before.stores.iter().zip(&after.stores);
    stores(before) != stores(after)
        || both.any(|(one, other)| one.identity(&before.targets) != other.identity(&after.targets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::load(text.as_bytes(), "test.json", &|_| None, &read)
            .unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// A key without a row would be a change that is not shown.
    #[test]
    fn each_key_has_a_row() {
        use crate::config::schema::{SERVICE, TOP};
        for key in TOP.keys {
            // Services are compared one by one, and so is what they inherit: keys that they have, too, and `requireAuth`.
            let elsewhere = matches!(key.name, "$schema" | "services" | "requireAuth");
            assert!(
                elsewhere
                    || SERVICE.key(key.name).is_some()
                    || KEYS.iter().any(|row| row.name == key.name),
                "{} has no row: give it one in src/config/compared/top.rs",
                key.name
            );
        }
    }

    #[test]
    fn a_provider_that_moves_is_a_change() {
        let at = |host: &str, tls: &str| {
            config(&format!(
                r#"{{ "auth": {{ "f": {{ "type": "forward", "url": "https://{host}/x"{tls} }} }}, "services": [
                    {{ "route": "/a", "target": "https://a.test" }}, {{ "route": "/b", "target": "https://b.test" }} ] }}"#
            ))
        };
        let here = at("a.test", "");
        assert_eq!(
            here.settings.targets.len(),
            2,
            "the provider has the target of a service"
        );
        assert_eq!(changed(&here, &at("a.test", "")), [""; 0]);
        assert_eq!(changed(&here, &at("b.test", "")), ["auth"]);
        let named = at("a.test", r#", "tls": { "serverName": "Idp.test" }"#);
        assert_eq!(named.settings.targets.len(), 3, "its TLS settings differ");
        assert_eq!(changed(&here, &named), ["auth"]);
        let again = at("a.test", r#", "tls": { "serverName": "idp.test" }"#);
        assert_eq!(
            changed(&named, &again),
            [""; 0],
            "names of hosts have no case"
        );
    }
}
