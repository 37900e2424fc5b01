//! Values of a service's keys, as text.

use crate::config::keys::services::balance;
use crate::config::schema::units::{show_duration, show_size};
use crate::policy::cors::CorsPolicy;
use crate::policy::edits::{Edits, HeaderEdits};
use crate::policy::rewrite::Rewrite;
use crate::policy::route::RoutePath;
use crate::policy::security::SecurityHeaders;
use crate::proxy::settings::{
    BodyLimit, Destination, ErrorPages, ExchangeTimeouts, FixedReply, HealthCheck, Maintenance,
    PassiveHealth, PeerSet, Role, Service, Settings, Strategy,
};
use crate::time::Duration;

/// Parts of a key's value: the name of the part, empty for a value without parts, and its text.
pub(crate) type Parts = Vec<(&'static str, String)>;

/// Returns where requests go, such as `http://a.test/users or http://b.test/users (backup)`.
pub(crate) fn destinations(service: &Service, settings: &Settings) -> String {
    let is_single = service.destinations.len() == 1;
    let shown = service.destinations.iter().filter_map(|destination| {
        let url = url(service, destination, settings)?;
        let Role {
            weight,
            backup,
            max_in_flight,
        } = destination.role;
        let notes = [
            (!is_single && weight > 1).then(|| format!("weight {weight}")),
            (!is_single && backup).then(|| "backup".to_owned()),
            (max_in_flight < u32::MAX).then(|| format!("{max_in_flight} in flight")),
        ];
        let notes = notes.into_iter().flatten().collect::<Vec<_>>();
        Some(match notes.is_empty() {
            true => url,
            false => format!("{url} ({})", notes.join(", ")),
        })
    });
    shown.collect::<Vec<_>>().join(" or ")
}

/// Returns the pages in place of the gateway's own JSON.
pub(crate) fn error_pages(pages: Option<&ErrorPages>) -> String {
    pages.map_or("off".to_owned(), ErrorPages::shown)
}

/// Returns the networks of an `allow`.
pub(crate) fn allowed(set: &PeerSet) -> String {
    match set.is_empty() {
        true => "all".to_owned(),
        false => peers(set),
    }
}

/// Returns a set of peers.
pub(crate) fn peers(peers: &PeerSet) -> String {
    let networks = peers.networks.iter();
    let networks = networks.map(|network| format!("{}/{}", network.address, network.prefix));
    let unix = peers.unix.then(|| "unix".to_owned());
    let all = networks.chain(unix).collect::<Vec<_>>();
    list(&all)
}

/// Returns a `maintenance` that is on.
pub(crate) fn maintenance(maintenance: &Maintenance) -> String {
    let mut text = "on".to_owned();
    if let Some(seconds) = maintenance.retry_after {
        text = format!("{text}, Retry-After {seconds} s");
    }
    if !maintenance.allow.is_empty() {
        text = format!("{text}, not for {}", peers(&maintenance.allow));
    }
    text
}

/// Returns a reply that stands in place of targets, such as `308 to /new`.
pub(crate) fn fixed(reply: &FixedReply) -> String {
    match reply {
        FixedReply::Redirect(redirect) => {
            let path = match redirect.keeps_path {
                true => ", with the path behind the route",
                false => "",
            };
            format!("{} to {}{path}", redirect.status, redirect.to())
        }
        FixedReply::Respond(respond) if respond.body.is_empty() => {
            format!("{} without a body", respond.status)
        }
        FixedReply::Respond(respond) => {
            let (bytes, media) = (respond.body.len(), respond.content_type());
            format!("{} with {bytes} bytes of {media}", respond.status)
        }
    }
}

/// Returns where a request for the route itself goes.
fn url(service: &Service, destination: &Destination, settings: &Settings) -> Option<String> {
    let route = RoutePath::of(&service.route);
    let rewrite = Rewrite::new(&destination.path, service.strip_prefix);
    let path = rewrite
        .parts(route.path.as_bytes(), route.matched().len())
        .concat();
    let target = settings.targets.get(destination.target)?;
    Some(format!(
        "{}{}",
        target.origin(),
        String::from_utf8_lossy(&path)
    ))
}

/// Returns the names of the providers of `auth`.
pub(crate) fn providers<'s>(
    service: &Service,
    settings: &'s Settings,
) -> impl Iterator<Item = &'s String> {
    let indices = service.auth.providers.iter();
    indices.filter_map(|index| Some(&settings.auth.get(*index)?.name))
}

/// Returns one kind of header edits, or "none".
pub(crate) fn edits(edits: Option<&Edits>, kind: fn(&Edits) -> &HeaderEdits) -> String {
    edits.map_or("none".to_owned(), |edits| kind(edits).shown().to_owned())
}

/// Returns a list, or "none".
pub(crate) fn list<'s>(items: impl IntoIterator<Item = &'s String>) -> String {
    let items = items.into_iter().map(String::as_str).collect::<Vec<_>>();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

/// Returns a value without parts.
pub(crate) fn one(text: String) -> Parts {
    vec![("", text)]
}

pub(crate) fn off() -> Parts {
    one("off".to_owned())
}

pub(crate) fn span(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), show_duration)
}

pub(crate) fn exchange_timeouts(timeouts: &ExchangeTimeouts) -> Parts {
    let all = timeouts.by_key();
    all.map(|(name, time)| (name, span(time))).into()
}

pub(crate) fn limits(service: &Service) -> Parts {
    let in_flight = service.in_flight.map(|most| most.to_string());
    let body = match service.gate.as_ref().map(|gate| gate.body) {
        None | Some(BodyLimit::Inherited) => "that of the top level".to_owned(),
        Some(BodyLimit::Off) => "any size".to_owned(),
        Some(BodyLimit::Own(bytes)) => show_size(bytes),
    };
    vec![
        ("inFlight", in_flight.unwrap_or_else(|| "off".to_owned())),
        ("bodyBytes", body),
    ]
}

pub(crate) fn health_check(check: &HealthCheck) -> Parts {
    let HealthCheck {
        path,
        host,
        interval,
        timeout,
        rule,
        status,
    } = check;
    vec![
        ("path", path.clone()),
        ("host", host.clone().unwrap_or_else(|| "none".to_owned())),
        ("interval", show_duration(*interval)),
        ("timeout", show_duration(*timeout)),
        ("rise", rule.rise.to_string()),
        ("fall", rule.fall.to_string()),
        ("status", format!("{}-{}", status.start(), status.end())),
    ]
}

pub(crate) fn passive_health(health: PassiveHealth) -> Parts {
    let PassiveHealth {
        failures,
        window,
        eject,
    } = health;
    vec![
        ("failures", failures.to_string()),
        ("window", show_duration(window)),
        ("eject", show_duration(eject)),
    ]
}

pub(crate) fn cors(policy: &CorsPolicy) -> Parts {
    let CorsPolicy {
        origins,
        methods,
        headers,
        expose_headers,
        credentials,
        max_age,
        forward_options,
    } = policy;
    let any = |items: &Option<Vec<String>>, any: &str| {
        items.as_ref().map_or_else(|| any.to_owned(), list)
    };
    vec![
        ("origins", any(origins, "*")),
        ("methods", list(methods)),
        ("headers", any(headers, "as asked for")),
        ("exposeHeaders", list(expose_headers)),
        ("credentials", credentials.to_string()),
        ("maxAge", span(*max_age)),
        ("forwardOptions", forward_options.to_string()),
    ]
}

pub(crate) fn security_headers(headers: &SecurityHeaders) -> String {
    let fields = headers.fields.iter();
    let lines = fields.map(|(name, value)| format!("{name}: {value}"));
    let lines = lines.collect::<Vec<_>>();
    list(&lines)
}

/// Returns the word for a strategy of `balance`.
pub(crate) fn strategy(strategy: Strategy) -> &'static str {
    balance::word(strategy)
}
