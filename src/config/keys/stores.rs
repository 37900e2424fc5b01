//! `stores`: servers through which gateways share counts.

use crate::limits::{STORE_PREFIX_BYTES_MAX, STORES_MAX};
use crate::proxy::settings::Store;

use crate::config::keys::target_list::TargetList;
use crate::config::keys::upstream_tls::Trust;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::syntax::stray::Fault;
use crate::config::values::store_url;

/// Stores, and the targets of their servers.
#[derive(Default)]
pub(crate) struct Compiled {
    /// Names of all stores, also of those with an error.
    pub(crate) names: Vec<String>,
    stores: Vec<Store>,
    /// Targets of the servers. Until [`Compiled::join`] a store has an index into this list.
    targets: TargetList,
}

impl Compiled {
    /// Returns the stores, and adds their targets to the others.
    pub(crate) fn join(mut self, targets: &mut TargetList) -> Vec<Store> {
        let places = targets.join(self.targets);
        for store in &mut self.stores {
            store.target = places.get(store.target).copied().unwrap_or_default();
        }
        self.stores
    }
}

/// Reads all stores.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Compiled {
    let entries = place.and_then(|place| place.secret_entries(report));
    let mut compiled = Compiled::default();
    let mut trust = Trust::new(source);
    for entry in entries.unwrap_or_default() {
        if entry.name.is_empty() {
            report.add(entry.name_at, &entry.place.path, "a store needs a name");
        }
        if compiled.names.len() == STORES_MAX {
            let message = format!("is one store too many; there are at most {STORES_MAX}");
            report.add(entry.name_at, &entry.place.path, message);
        }
        compiled.names.push(entry.name.to_owned());
        let store = store(
            entry.name,
            &entry.place,
            &mut trust,
            &mut compiled.targets,
            report,
        );
        compiled.stores.extend(store);
    }
    compiled
}

fn store(
    name: &str,
    place: &Located<'_>,
    trust: &mut Trust<'_>,
    targets: &mut TargetList,
    report: &mut Report<'_>,
) -> Option<Store> {
    let object = place.object(report)?;
    let closed = [("local", false), ("closed", true)];
    let on_failure = object.get("onFailure");
    let on_failure = on_failure.and_then(|place| place.choice(report, &closed));
    let prefix = prefix(&object, report);
    let Some(url) = object.get("url") else {
        place.fail_bare(
            report,
            "\"url\" is missing; add where the store is, such as \"redis://valkey:6379\"",
        );
        return None;
    };
    let parsed = store_url::parse(url.secret_text(report)?);
    let (target, account) = parsed
        .map_err(|message| url.fail_bare(report, message))
        .ok()?;
    let tls = object.get("tls").filter(|place| !place.is_null());
    if let Some(place) = tls
        && !target.tls
    {
        place.fail_bare(
            report,
            "the store is redis, which has no TLS; write rediss:// in \"url\", or remove this",
        );
        return None;
    }
    let tls = tls.map(|place| trust.settings(place, Some(true), report));
    Some(Store {
        name: name.to_owned(),
        target: targets.share(target, tls.unwrap_or_default()),
        account,
        prefix,
        is_closed: on_failure.unwrap_or_default(),
    })
}

/// Reads `prefix`.
fn prefix(object: &Object<'_>, report: &mut Report<'_>) -> String {
    let place = object.get("prefix");
    let text = place.and_then(|place| place.text(report));
    let text = text.unwrap_or("tollgate:");
    if let Some(place) = place
        && (text.len() > STORE_PREFIX_BYTES_MAX
            || !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        place.fail(
            report,
            Fault::uncured(format!(
                "must be at most {STORE_PREFIX_BYTES_MAX} visible ASCII characters"
            )),
        );
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    fn read(stores: &str, limit: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            r#"{{ "stores": {stores}, "rateLimit": {limit}, "services": [{{ "route": "/a", "target": "http://b" }}] }}"#
        );
        let file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let variable = |name: &str| (name == "PW").then(|| "hush".to_owned());
        load(text.as_bytes(), "t.json", &variable, &file).map_err(|errors| {
            let lines = errors.iter();
            lines
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()
        })
    }

    #[test]
    fn a_store_and_its_limit() {
        let stores = r#"{ "a": { "url": "redis://x" },
            "main": { "url": "rediss://u:${PW}@v:7/2", "prefix": "p:", "onFailure": "closed" } }"#;
        let config = read(stores, r#"{ "store": "main" }"#).expect("it is valid");
        let store = &config.settings.stores[1];
        assert_eq!(
            (store.name.as_str(), store.prefix.as_str(), store.is_closed),
            ("main", "p:", true)
        );
        assert_eq!(store.account.password.as_deref(), Some("hush"));
        let target = &config.settings.targets[store.target];
        assert_eq!((target.authority.as_str(), target.tls), ("v:7", true));
        let shared = config.settings.rate_limit[0].store.expect("a store");
        assert_eq!(shared.store, 1);
        assert!(!format!("{:?}", config.settings).contains("hush"));
        let first = &config.settings.stores[0];
        assert_eq!(
            (first.prefix.as_str(), first.is_closed),
            ("tollgate:", false)
        );
    }

    #[test]
    fn errors_without_secrets() {
        let valid = r#"{ "main": { "url": "redis://v" } }"#;
        for (stores, limit, message) in [
            (
                r#"{ "main": { "url": "redis://u:${PW}@v:x" } }"#,
                "{}",
                "stores.main.url: has a malformed port",
            ),
            (r#"{ "main": {} }"#, "{}", "\"url\" is missing"),
            (r#"{ "": { "url": "redis://v" } }"#, "{}", "needs a name"),
            (
                r#"{ "main": { "url": "redis://v", "tls": { "ca": "x" } } }"#,
                "{}",
                "write rediss://",
            ),
            (
                r#"{ "main": { "url": "redis://v", "prefix": "a b" } }"#,
                "{}",
                "visible ASCII",
            ),
            (valid, r#"{ "store": "mian" }"#, "did you mean \"main\""),
            (valid, r#"{ "store": "x" }"#, "\"stores\" has no such name"),
            (
                valid,
                r#"{ "exact": true, "algorithm": "bucket" }"#,
                "has a store count each request, which only \"fixed\" windows do",
            ),
            (valid, r#"{ "exact": 1 }"#, "must be true or false"),
            (
                valid,
                r#"{ "store": "main", "algorithm": "sliding" }"#,
                "only \"fixed\" windows",
            ),
        ] {
            let errors = read(stores, limit).expect_err(stores);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(message), "{message}: {errors:?}");
            assert!(!errors[0].contains("hush"), "{errors:?}");
        }
        let many = (0..9).map(|number| format!(r#""s{number}": {{ "url": "redis://v" }}"#));
        let many = format!("{{ {} }}", many.collect::<Vec<_>>().join(", "));
        let errors = read(&many, "{}").expect_err("nine stores");
        assert!(errors[0].contains("one store too many"), "{errors:?}");
    }
}
