//! The top-level keys: each is read by the file of its name, and the values are put together here.
//!
//! `halfClose`, `accessLog`, `trustedProxies`, `allow`, `deny`, `logLevel` and `watch` are one value
//! each and have no file.

mod acme;
pub(crate) mod admin;
mod auth;
mod auth_failures;
mod cors;
pub(crate) mod error_pages;
mod limits;
mod listen;
pub(crate) mod maintenance;
mod rate_limit;
mod record;
mod request_id;
mod security_headers;
pub(crate) mod services;
mod stores;
mod target_list;
mod timeouts;
mod upstream_tls;
mod workers;

use crate::policy::rate::RateLimit;
use crate::proxy::settings::{AccessLogFormat, PeerSet, Settings};

use self::target_list::TargetList;
use crate::config::model::{Config, Listen, ListenAddress, ListenKind, LogLevel};
use crate::config::orders::Acme;
use crate::config::schema::{ROOT, TOP};
use crate::config::syntax::document::{Node, Value};
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::networks;

const MISSING_SERVICES: &str =
    r#""services" is missing; add "services": [{ "route": "/x", "target": "http://..." }]"#;

const ACCESS_LOGS: [(&str, AccessLogFormat); 3] = [
    ("combined", AccessLogFormat::Combined),
    ("json", AccessLogFormat::Json),
    ("off", AccessLogFormat::Off),
];

/// Reads the whole document. `None`, or errors in `report`: the configuration must not be used.
pub(crate) fn compile(root: &Node, source: &Source<'_>, report: &mut Report<'_>) -> Option<Config> {
    let (object, places) = document(root, report)?;
    let (stores, rate_limit) = rate_limits(&object, source, report);
    let timeouts = timeouts::top(object.get("timeouts"), report);
    let auth = auth::compile(object.get("auth"), source, report);
    let (policies, edits) = services::Policies::of_top(&object, auth.claims(), report);
    let security_headers = security_headers::compile(object.get("securityHeaders"), report);
    let error_pages = error_pages::compile(object.get("errorPages"), source, report);
    let (limits, in_flight) = limits::compile(object.get("limits"), report);
    let defaults = services::Defaults {
        in_flight,
        sticky: services::sticky::of_top(&object, report),
        rate_limit: rate_limit.clone(),
        timeouts: timeouts.exchange,
        policies,
        headers: services::TopHeaders::of_top(&object, security_headers.as_ref(), report),
        error_pages: error_pages.clone(),
        listeners: listen::known::listeners(object.get("listen")),
        required: required(&object, &auth.known, report),
        providers: &auth.known,
        forwards: services::auth::forwards(&object, report),
        stores: &stores.names,
    };
    let (services, mut targets) = services::all(places.as_ref(), &defaults, source, report);
    let counted = rate_limit::claims((&rate_limit, &services), root.at, report);
    let (auth, stores) = (auth.join(&mut targets, &counted), stores.join(&mut targets));
    let listen = located(root, "listen");
    let (listeners, acme) = listeners(&object, listen, &mut targets, source, report);
    let names = (&services[..], security_headers.as_ref(), &auth[..]);
    let settings = Settings {
        request_id: request_id::compile(object.get("requestId"), names, report),
        services,
        targets: targets.targets,
        auth,
        stores,
        auth_failures: auth_failures::compile(&object, rate_limit.first(), report),
        rate_limit,
        timeouts: timeouts.connection,
        limits,
        half_close: object.flag("halfClose", report),
        cors: cors::compile(object.get("cors"), report),
        security_headers,
        edits,
        trusted_proxies: peers(&object, "trustedProxies", report),
        allow: peers(&object, "allow", report),
        deny: peers(&object, "deny", report),
        maintenance: maintenance::top(&object, report),
        listener_names: names_of(&listeners),
        error_pages,
        https_port: https_port(&listeners),
        access_log: access_log(&object, report).unwrap_or(AccessLogFormat::Combined),
        record: record::compile(object.get("record"), report),
    };
    Some(Config {
        settings,
        admin: admin::compile(object.get("admin"), &listeners, report),
        watch: object.flag("watch", report),
        workers: workers::compile(object.get("workers"), &listeners, report),
        listeners,
        upstream_tls: targets.tls,
        acme,
        log_level: log_level(&object, report),
        included: Vec::new(),
        upstream_files: Vec::new(),
    })
}

/// Returns the object of the document, and the place of its services. A bare list stands for the
/// services.
fn document<'a>(
    root: &'a Node,
    report: &mut Report<'_>,
) -> Option<(Object<'a>, Option<Located<'a>>)> {
    if matches!(root.value, Value::List(_)) {
        return Some((Object::empty(&TOP), Some(located(root, "services"))));
    }
    let object = located(root, "").object(report)?;
    let services = object.get("services").cloned();
    read_rest(&object, services.is_none().then_some(root.at), report);
    Some((object, services))
}

/// Returns the root of the document as the value of a key.
fn located<'a>(root: &'a Node, path: &str) -> Located<'a> {
    Located {
        node: root,
        path: path.to_owned(),
        kind: &ROOT,
    }
}

/// Reads `stores`, and `rateLimit`, which names them.
fn rate_limits(
    object: &Object<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> (stores::Compiled, Vec<RateLimit>) {
    let stores = stores::compile(object.get("stores"), source, report);
    let limits = rate_limit::top(object.get("rateLimit"), &stores.names, report);
    (stores, limits)
}

/// Returns the address and the name of each listener that has a name.
fn names_of(listeners: &[Listen]) -> Vec<(String, String)> {
    let named = listeners
        .iter()
        .filter_map(|listen| Some((listen.address.to_string(), listen.name.clone()?)));
    named.collect()
}

/// Returns the port of the first TLS listener, to which plain ones redirect; `None`: there is none, or
/// the system chooses its port.
fn https_port(listeners: &[Listen]) -> Option<u16> {
    let is_tls = |listen: &&Listen| matches!(listen.kind, ListenKind::Tls(_));
    match listeners.iter().find(is_tls)?.address {
        ListenAddress::Tcp(address) => Some(address.port()).filter(|port| *port > 0),
        _ => None,
    }
}

/// Reads `$schema`, from which nothing follows here. `missing`: the place where services should be.
fn read_rest(object: &Object<'_>, missing: Option<usize>, report: &mut Report<'_>) {
    if let Some(at) = missing {
        report.add(at, "", MISSING_SERVICES);
    }
    if let Some(place) = object.get("$schema") {
        let _ = place.text(report);
    }
}

/// Reads `listen` and `acme`. `missing`: the place of `listen` when it is missing, for errors about
/// `PORT`.
fn listeners(
    object: &Object<'_>,
    missing: Located<'_>,
    targets: &mut TargetList,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> (Vec<Listen>, Option<Acme>) {
    let listen = object.get("listen");
    let listeners = listen::compile(listen, listen.unwrap_or(&missing), source, report);
    let acme = acme::compile(object, (&listeners, targets), source, report);
    (listeners, acme)
}

/// Reads `requireAuth`: the places of the providers in `known`.
fn required(
    object: &Object<'_>,
    known: &[services::auth::Known],
    report: &mut Report<'_>,
) -> Vec<usize> {
    let place = object.get("requireAuth");
    place.map_or(Vec::new(), |place| {
        services::auth::providers(place, known, report)
    })
}

/// Reads `accessLog`, of the top level or of a service.
pub(crate) fn access_log(object: &Object<'_>, report: &mut Report<'_>) -> Option<AccessLogFormat> {
    word(object, "accessLog", &ACCESS_LOGS, report)
}

fn log_level(object: &Object<'_>, report: &mut Report<'_>) -> LogLevel {
    let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
    word(object, "logLevel", &levels, report).unwrap_or(LogLevel::Info)
}

fn peers(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> PeerSet {
    object
        .get(name)
        .map(|place| networks::compile(place, report))
        .unwrap_or_default()
}

fn word<T: Copy>(
    object: &Object<'_>,
    name: &str,
    words: &[(&str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    object
        .get(name)
        .and_then(|place| place.choice(report, words))
}
