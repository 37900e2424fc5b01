//! `rateLimit`, of the whole gateway and of a service.

use std::sync::Arc;

use crate::limits::{AUTH_CLAIM_NAME_BYTES, AUTH_COUNTED_CLAIMS, RATE_LIMITS_MAX};
use crate::policy::forward::PeerSet;
use crate::policy::meter::Algorithm;
use crate::policy::rate::{RateLimit, SharedCount};
use crate::policy::rate_fields::RateHeaders;
use crate::policy::rate_key::RateKey;
use crate::proxy::settings::{Service, ServiceRateLimit};

use crate::config::schema::{RATE_KEY_EXPECTED, RATE_LIMIT};
use crate::config::syntax::document::Value;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::syntax::suggestions;
use crate::config::values::header_name::is_token;
use crate::config::values::{networks, scalars};

/// Credentials that a service lets requests in by.
#[derive(Clone, Copy)]
pub(crate) enum Credentials {
    /// No credentials: all requests are let in.
    Nothing,
    /// No tokens.
    NoTokens,
    /// Tokens, among others.
    Tokens,
}

/// Returns the limit that holds without `rateLimit`.
pub(crate) fn defaults(report: &mut Report<'_>) -> RateLimit {
    let object = Object::empty(&RATE_LIMIT);
    RateLimit {
        requests: scalars::small_of(&object, "requests", report),
        window: scalars::duration_of(&object, "window", report),
        ipv6_prefix: prefix(scalars::number_of(&object, "ipv6Prefix", report)),
        max_clients: scalars::count_of(&object, "maxClients", report),
        headers: RateHeaders::Off,
        algorithm: Algorithm::Fixed,
        key: RateKey::Ip,
        exempt: PeerSet::default(),
        store: None,
        exact: false,
    }
}

/// Reads the top-level `rateLimit`; empty: off. `stores`: names of the stores.
pub(crate) fn top(
    place: Option<&Located<'_>>,
    stores: &[String],
    report: &mut Report<'_>,
) -> Vec<RateLimit> {
    let defaults = defaults(report);
    match place {
        None => vec![defaults],
        Some(place) if place.is_false() => Vec::new(),
        Some(place) => rate_limits(place, (&defaults, stores), report),
    }
}

/// Reads a service's `rateLimit`: keys that it does not give are the top level's, if that is one
/// limit. `stores`: names of the stores. `credentials`: what the service lets requests in by.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    (top, stores): (&[RateLimit], &[String]),
    credentials: Credentials,
    report: &mut Report<'_>,
) -> ServiceRateLimit {
    let Some(place) = place else {
        return ServiceRateLimit::Inherited;
    };
    if place.is_false() {
        return ServiceRateLimit::Off;
    }
    let base = match top {
        [single] => single.clone(),
        _ => defaults(report),
    };
    let limits = rate_limits(place, (&base, stores), report);
    let fault = limits.iter().find_map(|limit| {
        let then = match (&limit.key, credentials) {
            (RateKey::Consumer | RateKey::Claim(_), Credentials::Nothing) => {
                "the service asks nobody for credentials; write \"key\": \"ip\" there, or name a provider in \"auth\""
            }
            (RateKey::Claim(_), Credentials::NoTokens) => {
                "only tokens have claims; write \"key\": \"consumer\" there, or add a provider of the type \"jwt\" or \"introspection\""
            }
            _ => return None,
        };
        Some(format!("counts by {:?}, and {then}", limit.key.text()))
    });
    if let Some(fault) = fault {
        place.fail_bare(report, fault);
    }
    ServiceRateLimit::Own(limits)
}

/// Returns the claims that limits of the top level and of services count by, each once. `at`: the
/// place of the file, for an error.
pub(crate) fn claims<'a>(
    (top, services): (&'a [RateLimit], &'a [Arc<Service>]),
    at: usize,
    report: &mut Report<'_>,
) -> Vec<&'a str> {
    let mut claims = Vec::new();
    let own = services.iter().flat_map(|service| service.own_limits());
    for limit in top.iter().chain(own) {
        if let RateKey::Claim(name) = &limit.key
            && !claims.contains(&name.as_str())
        {
            if claims.len() == AUTH_COUNTED_CLAIMS {
                let text = format!(
                    "the limits count by more than {AUTH_COUNTED_CLAIMS} claims, {name:?} among them; use the same ones in all services"
                );
                report.add(at, "rateLimit", text);
                break;
            }
            claims.push(name.as_str());
        }
    }
    claims
}

/// Reads one limit or a list of limits.
fn rate_limits(
    place: &Located<'_>,
    (base, stores): (&RateLimit, &[String]),
    report: &mut Report<'_>,
) -> Vec<RateLimit> {
    if !matches!(place.node.value, Value::List(_)) {
        return vec![rate_limit(place, (base.clone(), stores), report)];
    }
    let items = place.list(report).unwrap_or_default();
    if items.is_empty() {
        place.fail(report, "is empty; write false for no limit");
    }
    if let Some(item) = items.get(RATE_LIMITS_MAX) {
        item.fail_bare(
            report,
            format!("is one limit too many; a list has at most {RATE_LIMITS_MAX}"),
        );
    }
    let limits = items
        .iter()
        .map(|item| rate_limit(item, (base.clone(), stores), report));
    limits.collect()
}

fn rate_limit(
    place: &Located<'_>,
    (base, stores): (RateLimit, &[String]),
    report: &mut Report<'_>,
) -> RateLimit {
    let Some(object) = place.object(report) else {
        return base;
    };
    let window = object.get("window");
    let window = window.and_then(|place| scalars::duration(place, report));
    let mut given = |key| {
        object
            .get(key)
            .and_then(|place| scalars::number(place, report))
    };
    let requests = given("requests").and_then(|requests| u32::try_from(requests).ok());
    let requests = requests.unwrap_or(base.requests);
    let ipv6_prefix = given("ipv6Prefix").map_or(base.ipv6_prefix, prefix);
    let max_clients = given("maxClients").map_or(base.max_clients, scalars::as_usize);
    let headers = object.get("headers");
    let exempt = object.get("exempt");
    let store = store(&object, (base.store, stores), report);
    let limit = RateLimit {
        requests,
        window: window.unwrap_or(base.window),
        ipv6_prefix,
        max_clients,
        headers: headers.map_or(base.headers, |place| form(place, report)),
        algorithm: algorithm(&object, (base.algorithm, requests), report),
        key: object
            .get("key")
            .map_or(base.key, |place| key(place, report)),
        exempt: exempt.map_or(base.exempt, |place| networks::compile(place, report)),
        store,
        exact: match object.get("exact") {
            Some(_) => object.flag("exact", report),
            None => base.exact,
        },
    };
    if limit.exact && limit.algorithm != Algorithm::Fixed {
        let place = object.get("exact").unwrap_or(place);
        place.fail_bare(
            report,
            "has a store count each request, which only \"fixed\" windows do; remove \"algorithm\", or write \"exact\": false",
        );
    }
    if limit.store.is_some() && limit.algorithm != Algorithm::Fixed {
        let place = object.get("store").unwrap_or(place);
        place.fail_bare(
            report,
            "shares its counts, which only \"fixed\" windows do; remove \"algorithm\", or write \"store\": null",
        );
    }
    limit
}

/// Reads `store`. `base`: the one that holds without it.
fn store(
    object: &Object<'_>,
    (base, names): (Option<SharedCount>, &[String]),
    report: &mut Report<'_>,
) -> Option<SharedCount> {
    let Some(place) = object.get("store") else {
        return base;
    };
    if place.is_null() {
        return None;
    }
    let name = place.text(report)?;
    let Some(store) = names.iter().position(|known| known == name) else {
        let shown = place.node.shown().unwrap_or_default();
        let known = names.iter().map(String::as_str).collect::<Vec<_>>();
        let then = match suggestions::nearest(name, &known) {
            Some(near) => format!(", did you mean {near:?}?"),
            None => "; the top-level \"stores\" has no such name".to_owned(),
        };
        place.fail_bare(report, format!("unknown store {shown}{then}"));
        return None;
    };
    Some(SharedCount { store })
}

/// Reads `algorithm` and `burst`. `base`: the algorithm that holds without them. A bucket holds
/// `requests` without `burst`.
fn algorithm(
    object: &Object<'_>,
    (base, requests): (Algorithm, u32),
    report: &mut Report<'_>,
) -> Algorithm {
    let place = object.get("burst").filter(|place| !place.is_null());
    let burst = place.and_then(|place| scalars::number(place, report));
    let burst = burst.and_then(|burst| u32::try_from(burst).ok());
    let bucket = Algorithm::Bucket {
        burst: burst.unwrap_or(requests),
    };
    let named = [
        ("fixed", Algorithm::Fixed),
        ("sliding", Algorithm::Sliding),
        ("bucket", bucket),
    ];
    let named = object
        .get("algorithm")
        .map(|place| place.choice(report, &named).unwrap_or_default());
    let algorithm = match (named, base) {
        (Some(named), _) => named,
        (None, Algorithm::Bucket { .. }) if burst.is_some() => bucket,
        (None, base) => base,
    };
    if let Some(place) = place
        && !matches!(algorithm, Algorithm::Bucket { .. })
    {
        place.fail(
            report,
            "is the size of a bucket; add \"algorithm\": \"bucket\", or remove it",
        );
    }
    algorithm
}

/// Reads `key`.
fn key(place: &Located<'_>, report: &mut Report<'_>) -> RateKey {
    let text = place.text(report).unwrap_or("ip");
    match text.split_once(':') {
        None if text == "ip" => RateKey::Ip,
        None if text == "consumer" => RateKey::Consumer,
        Some(("header", name)) if is_token(name) => RateKey::Header(name.to_ascii_lowercase()),
        Some(("claim", name)) if !name.is_empty() && name.len() <= AUTH_CLAIM_NAME_BYTES => {
            RateKey::Claim(name.to_owned())
        }
        _ => {
            place.fail(
                report,
                Fault::uncured(format!("must be {RATE_KEY_EXPECTED}")),
            );
            RateKey::Ip
        }
    }
}

/// Reads `headers`.
fn form(place: &Located<'_>, report: &mut Report<'_>) -> RateHeaders {
    if place.is_false() {
        return RateHeaders::Off;
    }
    let forms = [("draft", RateHeaders::Draft), ("x", RateHeaders::X)];
    place.choice(report, &forms).unwrap_or_default()
}

fn prefix(bits: u64) -> u8 {
    u8::try_from(bits).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    fn errors(top: &str, service: &str) -> Vec<String> {
        let text = format!(
            r#"{{ "services": [{{ "route": "/a", "target": "http://b" {service} }}] {top} }}"#
        );
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        match load(text.as_bytes(), "f", &|_| None, &read) {
            Ok(_) => Vec::new(),
            Err(errors) => {
                let lines = errors.iter();
                lines
                    .map(|error| format!("{}: {}", error.path, error.message))
                    .collect()
            }
        }
    }

    #[test]
    fn each_wrong_limit_has_its_line() {
        const KEY: &str = "must be \"ip\", \"header:NAME\", \"consumer\" or \"claim:NAME\"";
        const BURST: &str = "is the size of a bucket; add \"algorithm\": \"bucket\", or remove it";
        const NETWORK: &str = "is no address; write one such as \"10.0.0.0/8\"";
        let five = "{}, {}, {}, {}, {}";
        for (value, path, message) in [
            (r#"{ "key": "host" }"#, ".key", KEY),
            (r#"{ "key": "header" }"#, ".key", KEY),
            (r#"{ "key": "header:" }"#, ".key", KEY),
            (r#"{ "key": "header:X Y" }"#, ".key", KEY),
            (r#"{ "key": "claim" }"#, ".key", KEY),
            (r#"{ "key": "claim:" }"#, ".key", KEY),
            (r#"{ "key": "Claim:a" }"#, ".key", KEY),
            (r#"{ "key": "IP" }"#, ".key", KEY),
            (r#"{ "key": 1 }"#, ".key", KEY),
            (
                r#"{ "algorithm": "leaky" }"#,
                ".algorithm",
                "must be one of \"fixed\", \"sliding\", \"bucket\"",
            ),
            (
                r#"{ "algorithm": true }"#,
                ".algorithm",
                "must be one of \"fixed\", \"sliding\", \"bucket\"",
            ),
            (r#"{ "burst": 5 }"#, ".burst", BURST),
            (r#"{ "algorithm": "sliding", "burst": 5 }"#, ".burst", BURST),
            (
                r#"{ "algorithm": "bucket", "burst": 0 }"#,
                ".burst",
                "must be a whole number",
            ),
            (
                r#"{ "algorithm": "bucket", "burst": "x" }"#,
                ".burst",
                "must be a whole number",
            ),
            (r#"{ "exempt": "10.0.0.0/8" }"#, ".exempt", "must be a list"),
            (r#"{ "exempt": ["10.0.0.0/33"] }"#, ".exempt[0]", NETWORK),
            (r#"{ "exempt": [7] }"#, ".exempt[0]", "must be "),
            ("[]", "", "is empty; write false for no limit"),
            ("[true]", "[0]", "must be an object"),
            (five, "[4]", "is one limit too many; a list has at most 4"),
            ("[{}, { \"burst\": 5 }]", "[1].burst", BURST),
        ] {
            let value = if value == five {
                format!("[{five}]")
            } else {
                value.to_owned()
            };
            let limit = format!(r#", "rateLimit": {value}"#);
            for (found, at) in [
                (errors(&limit, ""), "rateLimit"),
                (errors("", &limit), "services[0].rateLimit"),
            ] {
                assert_eq!(found.len(), 1, "{value}: {found:?}");
                let (own, text) = found[0].split_once(": ").expect("a path");
                assert_eq!(own, format!("{at}{path}"), "{value}");
                let is_network = message == NETWORK;
                assert!(is_network || text.contains(message), "{value}: {text}");
            }
        }
        for good in [
            r#"[{}, {}, {}, {}]"#,
            r#"{ "key": "header:X-Tenant", "algorithm": "bucket", "burst": 1, "exempt": ["unix", "10.0.0.1"] }"#,
            r#"{ "algorithm": "bucket", "burst": null }"#,
            r#"{ "algorithm": "fixed", "burst": null }"#,
        ] {
            let limit = format!(r#", "rateLimit": {good}"#);
            assert_eq!(errors(&limit, &limit), [""; 0], "{good}");
        }
    }

    #[test]
    fn a_limit_by_credential_needs_auth() {
        const AUTH: &str = r#", "auth": { "a": { "type": "apiKey", "header": "X-Key", "keys": { "k": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } }, "i": { "type": "introspection", "url": "https://i.test" } }"#;
        const NOBODY: &str = "and the service asks nobody for credentials; write \"key\": \"ip\" there, or name a provider in \"auth\"";
        const TOKENS: &str = "and only tokens have claims; write \"key\": \"consumer\" there, or add a provider of the type \"jwt\" or \"introspection\"";
        for (auth, key, fault) in [
            ("", "consumer", Some(NOBODY)),
            ("", "claim:t", Some(NOBODY)),
            (r#", "auth": false"#, "claim:t", Some(NOBODY)),
            (r#", "auth": "a""#, "claim:t", Some(TOKENS)),
            (r#", "auth": "a""#, "consumer", None),
            (r#", "auth": "i""#, "claim:https://a.test/t t", None),
            (r#", "auth": ["a", "i"]"#, "claim:t", None),
        ] {
            let found = errors(
                AUTH,
                &format!(r#"{auth}, "rateLimit": [{{}}, {{ "key": "{key}" }}]"#),
            );
            let expected =
                fault.map(|fault| format!("services[0].rateLimit: counts by {key:?}, {fault}"));
            assert_eq!(
                found,
                expected.into_iter().collect::<Vec<_>>(),
                "{auth} {key}"
            );
        }
        // The key may come from the top level; what the message says cures that, too.
        let by = format!(r#"{AUTH}, "rateLimit": {{ "key": "consumer" }}"#);
        let found = errors(&by, r#", "rateLimit": { "requests": 5 }"#);
        let said = format!("services[0].rateLimit: counts by \"consumer\", {NOBODY}");
        assert_eq!(found, [said]);
        for cure in [
            r#", "rateLimit": { "requests": 5, "key": "ip" }"#,
            r#", "rateLimit": { "requests": 5 }, "auth": "a""#,
        ] {
            assert_eq!(errors(&by, cure), [""; 0], "{cure}");
        }
        // At the top level it is for the services that ask for credentials.
        let top = |name: &str| format!(r#", "rateLimit": {{ "key": "claim:{name}" }}"#);
        assert_eq!(errors(&top("t"), ""), [""; 0]);
        assert_eq!(errors(&top(&"t".repeat(128)), ""), [""; 0]);
        assert_eq!(errors(&top(&"t".repeat(129)), "").len(), 1);
    }

    #[test]
    fn claims_that_count_are_few() {
        let all = |numbers: core::ops::Range<usize>| {
            let service = |n: usize| {
                format!(
                    r#"{{ "route": "/{n}", "target": "http://b", "auth": "i", "rateLimit": {{ "key": "claim:c{n}" }} }}"#
                )
            };
            let services = numbers.map(service).collect::<Vec<_>>().join(",");
            let text = format!(
                r#"{{ "services": [{services}], "rateLimit": {{ "key": "claim:c0" }}, "auth": {{ "i": {{ "type": "introspection", "url": "https://i.test" }} }} }}"#
            );
            let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
            let loaded = load(text.as_bytes(), "f", &|_| None, &read);
            loaded
                .map(|config| config.settings)
                .map_err(|errors| errors[0].message.clone())
        };
        let settings = all(0..8).expect("eight of them, one of which is there twice");
        let mut kind = settings.auth[0].kind.clone();
        let claims = kind.claims_mut().expect("it takes tokens");
        let claims = claims.iter().map(|used| used.claim.as_str());
        assert_eq!(claims.collect::<String>(), "c0c1c2c3c4c5c6c7");
        let fault = "the limits count by more than 8 claims, \"c8\" among them; use the same ones in all services";
        assert_eq!(all(0..9).err().as_deref(), Some(fault));
    }
}
