//! Report of `tollgate check`: where each route leads, and the main limits.
//!
//! The paths come from the same [`Rewrite`] that forwards requests.

use core::fmt::Write;

use crate::policy::rate_key::RateKey;
use crate::policy::rewrite::Rewrite;
use crate::policy::route::RoutePath;
use crate::proxy::settings::{
    BodyLimit, Condition, Destination, Gate, HealthCheck, OwnMaintenance, Service,
    ServiceRateLimit, Settings,
};
use crate::time::Duration;

use super::model::{Config, Workers};
use super::shown;
use super::shown::limit::{join, numbers, whole};
use crate::config::schema::units::{show_duration, show_size};

/// Returns the report; each line has its line feed.
pub fn describe(config: &Config) -> String {
    let settings = &config.settings;
    let rows = settings
        .services
        .iter()
        .flat_map(|service| rows(service, settings))
        .collect::<Vec<_>>();
    let left = rows.iter().map(|row| row.client.len()).max().unwrap_or(0);
    let right = rows
        .iter()
        .filter(|row| !row.note.is_empty())
        .map(|row| row.upstream.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for Row {
        client,
        upstream,
        note,
    } in &rows
    {
        // Writing to a string cannot fail.
        let _ = match note.is_empty() {
            true => writeln!(out, "{client:left$} -> {upstream}"),
            false => writeln!(out, "{client:left$} -> {upstream:right$}  {note}"),
        };
    }
    out.push('\n');
    for (name, value) in facts(config) {
        let _ = writeln!(out, "{name:10} {value}");
    }
    for warning in config.warnings() {
        let _ = writeln!(out, "{:10} {warning}", "warning");
    }
    out
}

/// Returns the last line of the report. `file`: the path of the configuration.
pub fn verdict(config: &Config, file: &str) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let services = count(config.settings.services.len(), "service");
    let listeners = count(config.listeners.len(), "listener");
    format!("{file} is valid: {services}, {listeners}\n")
}

struct Row {
    client: String,
    upstream: String,
    note: String,
}

/// Returns what `ROUTE` and `ROUTE/x` become, for each target; a route for one path has no second.
fn rows(service: &Service, settings: &Settings) -> Vec<Row> {
    let route = RoutePath::of(&service.route);
    let mut rows = Vec::new();
    if let Some(reply) = &service.reply {
        rows.push(Row {
            client: service.route.clone(),
            upstream: shown::service::fixed(reply),
            note: in_parentheses(&note(service, settings)),
        });
    }
    for (index, destination) in service.destinations.iter().enumerate() {
        let Some(target) = settings.targets.get(destination.target) else {
            continue;
        };
        let rewrite = Rewrite::new(&destination.path, service.strip_prefix);
        let mut row = |path: &str, client: String, note: String| {
            let taken = route.matched().len();
            let path = rewrite.parts(path.as_bytes(), taken).concat();
            let upstream = format!("{}{}", target.origin(), String::from_utf8_lossy(&path));
            rows.push(Row {
                client,
                upstream,
                note,
            });
        };
        // What holds for all targets is said once.
        let notes = if index == 0 {
            note(service, settings)
        } else {
            Vec::new()
        };
        let notes = role(service, destination)
            .into_iter()
            .chain(notes)
            .collect::<Vec<_>>();
        row(route.path, service.route.clone(), in_parentheses(&notes));
        if !route.is_exact {
            let below = format!("{}/x", route.matched());
            row(&below, below.clone(), String::new());
        }
    }
    rows
}

fn in_parentheses(notes: &[String]) -> String {
    match notes {
        [] => String::new(),
        notes => format!("({})", notes.join(", ")),
    }
}

/// Returns notes about a target.
fn role(service: &Service, destination: &Destination) -> Vec<String> {
    let mut notes = Vec::new();
    if service.destinations.len() > 1 {
        notes.push(format!("weight {}", destination.role.weight));
        if destination.role.backup {
            notes.push("backup".to_owned());
        }
    }
    if destination.role.max_in_flight < u32::MAX {
        notes.push(format!(
            "at most {} in flight",
            destination.role.max_in_flight
        ));
    }
    notes
}

/// Returns notes about settings of a service that are not the defaults.
fn note(service: &Service, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(name) = &service.name {
        notes.push(format!("named {name}"));
    }
    if !service.hosts.is_empty() {
        notes.push(service.hosts.join(", "));
    }
    if !service.methods.is_empty() {
        notes.push(service.methods.join(" "));
    }
    notes.extend(service.conditions.iter().map(Condition::text));
    if !service.listeners().is_empty() {
        notes.push(format!("on {}", service.listeners().join(" or ")));
    }
    if service.needs_certificate() {
        notes.push("client certificate required".to_owned());
    }
    match &service.rate_limit {
        ServiceRateLimit::Inherited => {}
        ServiceRateLimit::Off => notes.push("no rate limit".to_owned()),
        ServiceRateLimit::Own(limits) => {
            notes.extend(limits.iter().map(|limit| {
                let text = numbers(limit);
                let text = text.trim_end_matches(',');
                match limit.key {
                    RateKey::Ip => text.to_owned(),
                    _ => format!("{text} by {}", limit.key.text()),
                }
            }));
        }
    }
    if service.sticky.is_some() {
        notes.push("sticky".to_owned());
    }
    if let Some(most) = service.in_flight {
        notes.push(format!("at most {most} in flight in all"));
    }
    if let Some(gate) = service.gate.as_deref() {
        notes.extend(gate_notes(gate));
    }
    if let Some(format) = service.access_log {
        notes.push(format!("access log {}", format.word()));
    }
    if service.preserve_host {
        notes.push("Host preserved".to_owned());
    }
    if service.destinations.len() > 1 {
        notes.push(shown::service::strategy(service.balance).to_owned());
    }
    if let Some(HealthCheck { path, interval, .. }) = service.health_check.as_deref() {
        notes.push(format!("{path} checked every {}", show_duration(*interval)));
    }
    notes.extend(auth_notes(service, settings));
    notes
}

/// Returns notes about the credentials of a service.
fn auth_notes(service: &Service, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let providers = service
        .auth
        .providers
        .iter()
        .filter_map(|&index| settings.auth.get(index));
    let providers =
        providers.map(|provider| format!("{} ({})", provider.name, provider.kind.name()));
    let providers = providers.collect::<Vec<_>>();
    if !providers.is_empty() {
        notes.push(format!("auth {}", providers.join(" or ")));
    }
    if service.auth.strips_credentials {
        notes.push("credentials not forwarded".to_owned());
    }
    if service.auth.forwards_consumer {
        notes.push("consumer as X-Consumer".to_owned());
    }
    if !service.auth.scopes.is_empty() {
        notes.push(format!("scopes {}", service.auth.scopes.join(" ")));
    }
    notes
}

/// Returns notes about clients, maintenance and bodies of a service.
fn gate_notes(gate: &Gate) -> Vec<String> {
    let mut notes = Vec::new();
    if !gate.allow.is_empty() {
        notes.push(format!("for {}", shown::service::peers(&gate.allow)));
    }
    if !gate.deny.is_empty() {
        notes.push(format!("not for {}", shown::service::peers(&gate.deny)));
    }
    match &gate.maintenance {
        OwnMaintenance::Inherited => {}
        OwnMaintenance::Off => notes.push("no maintenance".to_owned()),
        OwnMaintenance::On(on) => {
            notes.push(format!("maintenance {}", shown::service::maintenance(on)));
        }
    }
    match gate.body {
        BodyLimit::Inherited => {}
        BodyLimit::Off => notes.push("bodies of any size".to_owned()),
        BodyLimit::Own(bytes) => notes.push(format!("bodies of at most {}", show_size(bytes))),
    }
    notes
}

fn facts(config: &Config) -> Vec<(&'static str, String)> {
    let settings = &config.settings;
    let listeners = config
        .listeners
        .iter()
        .map(shown::listener::listener)
        .collect::<Vec<_>>()
        .join(", ");
    let limits = &settings.limits;
    let body = limits.body_bytes.map_or("any size".to_owned(), show_size);
    let mut connections = format!("{} connections", limits.connections);
    if let Some(most) = limits.connections_per_client {
        connections = format!("{connections}, {most} of one client");
        if config.workers != Workers::Count(1) {
            connections.push_str(" in each worker");
        }
    }
    let limits = format!(
        "head {}, request line {}, {} headers, body {body}, {connections}",
        show_size(limits.head_bytes as u64),
        show_size(limits.request_line_bytes as u64),
        limits.fields,
    );
    let mut facts = vec![
        ("listen", listeners),
        ("rateLimit", join(&settings.rate_limit, whole)),
        ("timeouts", timeouts(settings)),
        ("limits", limits),
    ];
    let stores = shown::top::stores(config);
    if !stores.is_empty() {
        let stores = stores.iter().map(|(name, text)| format!("{name} {text}"));
        facts.push(("stores", stores.collect::<Vec<_>>().join("; ")));
    }
    if let Some(acme) = &config.acme {
        facts.push(("acme", acme.shown()));
    }
    if config.workers != Workers::Count(1) {
        let count = config.workers;
        facts.push((
            "workers",
            format!("{count}, each with its part of the connections"),
        ));
    }
    if let Some(pages) = settings.error_pages.as_deref() {
        facts.push(("errorPages", pages.shown()));
    }
    if let Some(on) = settings.maintenance.as_deref() {
        facts.push(("maintenance", shown::service::maintenance(on)));
    }
    if !config.admin.addresses.is_empty() {
        facts.push(("admin", shown::listener::admin(&config.admin)));
    }
    facts
}

/// Returns the timeouts of connections, and those that all services have in common.
fn timeouts(settings: &Settings) -> String {
    let mut shown = settings.timeouts.by_key().to_vec();
    let services = settings.services.iter();
    let all = services.map(|service| service.timeouts.by_key());
    let all = all.collect::<Vec<_>>();
    let first = all.first().copied().unwrap_or_default();
    let is_common = |one: &_| all.iter().all(|of_service| of_service.contains(one));
    let common = first.into_iter().filter(is_common).collect::<Vec<_>>();
    let differs = common.len() < first.len();
    // By default a body has no time of its own.
    shown.extend(common.into_iter().filter(|one| *one != ("body", None)));
    let show = |(name, value): &(&str, Option<Duration>)| {
        format!("{name} {}", value.map_or("off".to_owned(), show_duration))
    };
    let differing = if differs {
        "; others differ by service"
    } else {
        ""
    };
    format!(
        "{}{differing}",
        shown.iter().map(show).collect::<Vec<_>>().join(", ")
    )
}
