//! The top-level keys: each is read by the file of its name, and the values are put together here.
//!
//! `halfClose`, `accessLog`, `trustedProxies`, `allow`, `deny` and `logLevel` are one value each and have no file.

mod auth;
mod auth_failures;
mod cors;
mod limits;
mod listen;
mod rate_limit;
mod security_headers;
pub(crate) mod services;
mod timeouts;
mod upstream_tls;

use crate::policy::security::SecurityHeaders;
use crate::proxy::settings::{AccessLog, Settings};

use crate::config::model::{Config, Listen, LogLevel};
use crate::config::syntax::document::{Node, Value};
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::networks;

/// The known keys, in the order of the documentation.
const KEYS: [&str; 15] = [
    "listen",
    "services",
    "auth",
    "authFailures",
    "rateLimit",
    "timeouts",
    "limits",
    "halfClose",
    "cors",
    "securityHeaders",
    "accessLog",
    "trustedProxies",
    "allow",
    "deny",
    "logLevel",
];

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const ACCESS_LOGS: [(&str, AccessLog); 3] = [
    ("combined", AccessLog::Combined),
    ("json", AccessLog::Json),
    ("off", AccessLog::Off),
];

/// Everything that can be made of the document. `None` or reported errors: it is not to be used.
pub(crate) fn compile(
    root: &Node<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let place = Located {
        node: root,
        path: String::new(),
    };
    let bare = Located {
        node: root,
        path: "services".to_owned(),
    };
    let is_bare = matches!(root.value, Value::List(_));
    let object = match is_bare {
        true => None,
        false => Some(place.object(report, "an object or a list of services", &KEYS)?),
    };
    let get = |key| object.as_ref().and_then(|object| object.get(key));

    let rate_limit = rate_limit::top(get("rateLimit"), report);
    let auth_failures = auth_failures::compile(get("authFailures"), rate_limit.as_ref(), report);
    let timeouts = timeouts::top(get("timeouts"), report);
    let limits = limits::compile(get("limits"), report);
    let services_place = if is_bare {
        Some(&bare)
    } else {
        get("services")
    };
    if services_place.is_none() {
        report.add(
            root.at,
            "",
            r#""services" is missing; add "services": [{ "route": "/x", "target": "http://..." }]"#,
        );
    }
    let auth = get("auth")
        .map(|place| auth::compile(place, source, report))
        .unwrap_or_default();
    let defaults = services::Defaults {
        rate_limit: rate_limit.clone(),
        timeouts: timeouts.exchange,
        providers: &auth.known,
    };
    let compiled = services_place
        .map(|place| services::compile(place, &defaults, source, report))
        .unwrap_or_default();
    let services::Compiled {
        services,
        mut targets,
        mut upstream_tls,
    } = compiled;
    let auth = auth.join(&mut targets, &mut upstream_tls);
    let listeners = listeners(get("listen"), &place, source, report);
    let flag = |key, default, report: &mut Report<'_>| {
        get(key)
            .and_then(|place| place.flag(report))
            .unwrap_or(default)
    };

    let settings = Settings {
        services,
        targets,
        auth,
        rate_limit,
        auth_failures,
        timeouts: timeouts.connection,
        limits,
        half_close: flag("halfClose", false, report),
        cors: cors::compile(get("cors"), report),
        security_headers: match get("securityHeaders") {
            Some(place) => security_headers::compile(place, report),
            None => Some(SecurityHeaders::helmet_defaults()),
        },
        trusted_proxies: get("trustedProxies")
            .map(|place| networks::compile(place, report))
            .unwrap_or_default(),
        allow: get("allow")
            .map(|place| networks::compile(place, report))
            .unwrap_or_default(),
        deny: get("deny")
            .map(|place| networks::compile(place, report))
            .unwrap_or_default(),
        https_port: None,
        access_log: get("accessLog")
            .and_then(|place| place.choice(report, &ACCESS_LOGS))
            .unwrap_or(AccessLog::Combined),
    };
    let log_level = get("logLevel")
        .and_then(|place| place.choice(report, &LOG_LEVELS))
        .unwrap_or(LogLevel::Info);
    Some(Config {
        settings,
        listeners,
        upstream_tls,
        log_level,
    })
}

/// `listen` and `PORT`; an error about `PORT` has no better place than `listen`.
fn listeners(
    place: Option<&Located<'_>>,
    root: &Located<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Vec<Listen> {
    let at = Located {
        path: "listen".to_owned(),
        ..root.clone()
    };
    listen::compile(place, place.unwrap_or(&at), source, report)
}
