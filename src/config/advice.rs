//! Warnings about settings that are allowed and unwise. `tollgate check` prints them, and a gateway
//! logs them when it starts.

mod foreign;

use std::sync::Arc;

use crate::limits::HMAC_KEY_BYTES;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::{Keys, Kind, Provider};
use crate::policy::path::PathFault;
use crate::policy::route::RoutePath;
use crate::policy::router::{By, Refusal};
use crate::proxy::settings::{Condition, FixedReply, SUPERVISOR, Service, Settings, TargetHost};
use crate::sort::{self, Index};

/// The warnings, in the order of their lines. A list takes less code than a chain of iterators.
const ALL: [fn(&Settings) -> Vec<String>; 12] = [
    providers,
    ways_round,
    misspelled,
    told_apart,
    passed_by,
    any_audience,
    unused_stores,
    foreign::variables,
    foreign::variables_of_replies,
    foreign::patterns,
    foreign::patterns_of_targets,
    taken_away,
];

/// Returns a line for each warning. No line has a secret in it.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for find in ALL {
        lines.append(&mut find(settings));
    }
    lines
}

/// Returns the warnings about each provider.
fn providers(settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    for provider in settings.auth.iter() {
        lines.append(&mut about(provider, settings));
    }
    lines
}

/// Returns a line for each header that a key sets and the header edits of a response remove: they come
/// last.
fn taken_away(settings: &Settings) -> Vec<String> {
    let found = settings.services.iter().flat_map(|service| {
        let removed = service
            .edits
            .iter()
            .flat_map(|edits| edits.response.removed());
        removed.filter_map(move |name| {
            Some(((key_of(name, service, settings)?, name), &*service.route))
        })
    });
    let line = |((key, name), routes): ((&str, &str), Vec<&str>)| {
        let cure = match key {
            "securityHeaders" => "null for it in \"securityHeaders\" if none is to be sent",
            "sticky" => "\"sticky\": false",
            _ => "\"cors\": false if none is to be sent",
        };
        format!(
            "\"remove\" of the responseHeaders of {} takes {name} of {key:?} away, too; take it out there, or write {cure}",
            listed(&routes)
        )
    };
    sort::group(found).into_iter().map(line).collect()
}

/// Returns the key that puts a header of this name into responses of a service.
fn key_of(name: &str, service: &Service, settings: &Settings) -> Option<&'static str> {
    let policies = &service.headers;
    let cors = policies.cors.or(settings.cors.as_ref());
    let security = policies
        .security_headers
        .or(settings.security_headers.as_ref());
    if cors.is_some_and(|policy| policy.has(name)) {
        Some("cors")
    } else if security.is_some_and(|headers| headers.has(name)) {
        Some("securityHeaders")
    } else {
        (service.sticky.is_some() && name.eq_ignore_ascii_case("Set-Cookie")).then_some("sticky")
    }
}

/// Returns what is equal once, in the order of the list.
fn each_once<T: Ord + Clone>(list: &[T]) -> impl Iterator<Item = &T> {
    let known = Index::new(list.to_vec());
    let places = list.iter().enumerate();
    let first = places.filter(move |(place, one)| known.place(one) == Some(*place));
    first.map(|(_, one)| one)
}

/// Providers that take tokens which were issued for another service.
fn any_audience(settings: &Settings) -> Vec<String> {
    let any = settings
        .auth
        .iter()
        .filter(|provider| match &provider.kind {
            Kind::Jwt { rules, .. } => rules.audiences.is_empty(),
            Kind::Introspection { .. }
            | Kind::ApiKey { .. }
            | Kind::Basic { .. }
            | Kind::Forward { .. } => false,
        });
    let line = |provider: &Provider| {
        format!(
            "auth {}: takes tokens that were issued for another service, too; name yours with \"audience\"",
            provider.name
        )
    };
    any.map(line).collect()
}

/// Returns a line for each store that no limit shares its counts through.
fn unused_stores(settings: &Settings) -> Vec<String> {
    let services = settings.services.iter();
    let limits = services.flat_map(|service| service.own_limits());
    let limits = limits.chain(&settings.rate_limit);
    let used = limits.filter_map(|limit| Some(limit.store?.store));
    let used = used.collect::<Vec<_>>();
    let stores = settings.stores.iter().enumerate();
    // Workers share limits through their supervisor where there are such limits.
    let unused = stores.filter(|(place, store)| store.name != SUPERVISOR && !used.contains(place));
    let lines = unused.map(|(_, store)| {
        let name = &store.name;
        format!("stores.{name}: no limit counts through it; write \"store\": \"{name}\" in \"rateLimit\"")
    });
    lines.collect()
}

/// The routes that lead to a server.
#[derive(Default)]
struct Reached<'s> {
    open: Vec<&'s str>,
    guarded: Vec<&'s str>,
}

/// Open routes that reach what a guarded route reaches, a line for each host and port.
fn ways_round(settings: &Settings) -> Vec<String> {
    // By host and port: the same server, whatever the scheme and the trust settings are.
    let used = settings.services.iter().flat_map(|service| {
        let targets = service.destinations.iter();
        let targets = targets.filter_map(|one| settings.targets.get(one.target));
        targets.map(move |target| {
            let host = target.host.to_string().to_ascii_lowercase();
            ((host, target.port), service)
        })
    });
    let reached = sort::group(used).into_iter().map(|(place, services)| {
        let mut by = Reached::default();
        for service in services {
            let routes = if is_open(service) {
                &mut by.open
            } else {
                &mut by.guarded
            };
            routes.push(service.route.as_str());
        }
        (place, by)
    });
    let both = reached.filter(|(_, by)| !by.open.is_empty() && !by.guarded.is_empty());
    let line = |((host, port), by): ((String, u16), Reached<'_>)| {
        format!(
            "{host}:{port} is behind the guarded {} and the open {}: a client that is refused there may ask here; see that it tells them \
             apart, or give all of them \"auth\"",
            listed(&by.guarded),
            listed(&by.open)
        )
    };
    both.map(line).collect()
}

/// Open routes whose own paths are refused, because they differ from a guarded route in their
/// spelling alone.
fn misspelled(settings: &Settings) -> Vec<String> {
    let router = settings.router();
    let refused = settings.services.iter().filter(|service| {
        let host = service.hosts.first().map(|host| host.replacen('*', "x", 1));
        let method = service.methods.first().map_or("GET", String::as_str);
        let found = router.resolve_by(
            host.as_deref().map(str::as_bytes),
            RoutePath::of(&service.route).path.as_bytes(),
            method.as_bytes(),
            By::Usual,
        );
        found == Err(Refusal::Unsafe(PathFault::OtherGuard))
    });
    let line = |service: &Arc<Service>| {
        format!(
            "route {:?} differs from a guarded one in its spelling alone (case, \";\", a dot or space at a segment's end, a slash at the end): its \
             requests are refused with 400; rename one of them",
            service.route
        )
    };
    refused.map(line).collect()
}

/// Routes whose services admit different clients, and differ in `match`: what a client sends decides
/// who is asked for credentials.
fn told_apart(settings: &Settings) -> Vec<String> {
    let differs = |one: &Service, other: &Service| {
        let (own, others) = (&one.auth, &other.auth);
        let is_other = own.providers != others.providers || own.scopes != others.scopes;
        is_other && meets(&one.hosts, &other.hosts)
    };
    let line = |services: &[&Service]| {
        let service = services.iter().find(|one| {
            !one.conditions.is_empty() && services.iter().any(|other| differs(one, other))
        })?;
        let texts = service.conditions.iter().map(Condition::text);
        Some(format!(
            "route {:?} has services with different \"auth\", which \"match\" tells apart ({}): a client chooses between them; \
             give all of them the same \"auth\" and \"scopes\"",
            service.route,
            texts.collect::<Vec<_>>().join(", ")
        ))
    };
    let services = settings.services.iter();
    let by_route = sort::group(services.map(|service| (&service.route, &**service)));
    let lines = by_route.iter();
    lines.filter_map(|(_, services)| line(services)).collect()
}

/// Most hosts that each guarded route is tried with.
const HOSTS_TRIED: usize = 64;

/// Guarded routes without `hosts` that do not hold for a host which other services name: one of those
/// takes the path there, and admits other clients.
fn passed_by(settings: &Settings) -> Vec<String> {
    let is_anywhere = |service: &&Arc<Service>| service.entrance.is_none();
    let services = settings.services.iter().filter(is_anywhere);
    let hosts = services.clone().flat_map(|service| &service.hosts);
    let hosts = hosts.map(String::as_str).collect::<Vec<_>>();
    let hosts = each_once(&hosts).take(HOSTS_TRIED).collect::<Vec<_>>();
    let is_guarded = |service: &&Arc<Service>| {
        let is_narrow = !is_open(service) || has_networks(service) || refuses(service);
        service.hosts.is_empty() && is_narrow
    };
    let guarded = services.filter(is_guarded).collect::<Vec<_>>();
    if hosts.is_empty() || guarded.is_empty() {
        return Vec::new();
    }
    let router = settings.router();
    let line = |service: &Arc<Service>| {
        let method = service.methods.first().map_or("GET", String::as_str);
        let passes = |host: &str| {
            let name = host.replacen('*', "x", 1);
            let (name, route) = (name.as_bytes(), RoutePath::of(&service.route));
            let path = route.path.as_bytes();
            let found = router.resolve_by(Some(name), path, method.as_bytes(), By::Usual);
            let other = found
                .ok()
                .and_then(|found| settings.services.get(found.service));
            other.is_some_and(|other| {
                let is_named = !other.hosts.is_empty() && other.reply.is_none();
                let is_weaker = (is_open(other) && !is_open(service))
                    || (!has_networks(other) && has_networks(service))
                    || refuses(service);
                is_named && is_weaker
            })
        };
        let host = hosts.iter().find(|host| passes(host))?;
        Some(format!(
            "route {:?} without \"hosts\" guards nothing on {host}: services that name it go first there; \
             name it in \"hosts\" of that route, too",
            service.route
        ))
    };
    guarded.into_iter().filter_map(line).collect()
}

/// Returns true if the service answers each request with an error, and is not for what all others
/// leave.
fn refuses(service: &Service) -> bool {
    let reply = service.reply.as_deref();
    let is_error = matches!(reply, Some(FixedReply::Respond(respond)) if respond.status >= 400);
    is_error && service.route != "/"
}

/// Returns true if the service has `allow` or `deny`.
fn has_networks(service: &Service) -> bool {
    let gate = service.gate.as_deref();
    gate.is_some_and(|gate| !gate.allow.is_empty() || !gate.deny.is_empty())
}

/// Returns true if a request may be for a host of both lists.
fn meets(one: &[String], other: &[String]) -> bool {
    (one.is_empty() && other.is_empty()) || one.iter().any(|host| other.contains(host))
}

fn is_open(service: &Service) -> bool {
    service.auth.providers.is_empty()
}

/// Routes for a message, each once: three of them at most.
fn listed(routes: &[&str]) -> String {
    let routes = each_once(routes).collect::<Vec<_>>();
    let shown = routes
        .iter()
        .take(3)
        .map(|route| format!("{route:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    match routes.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn about(provider: &Provider, settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if let Kind::Jwt {
        keys: Keys::Known(set),
        ..
    } = &provider.kind
        && let Some(bytes) = shortest_secret(set).filter(|&bytes| bytes < HMAC_KEY_BYTES)
    {
        lines.push(format!(
            "auth {}: a secret of {bytes} bytes can be guessed from a token; RFC 7518 3.2 asks for 32 or more, as many as the hash has",
            provider.name
        ));
    }
    if let Kind::Jwt {
        keys: Keys::Known(set),
        ..
    } = &provider.kind
        && set.left_out() > 0
    {
        lines.push(format!(
            "auth {}: the first {} keys of the key set are used, and {} more are not: tokens that they signed are refused",
            provider.name,
            set.keys().len(),
            set.left_out()
        ));
    }
    let endpoint = provider
        .kind
        .endpoint()
        .and_then(|endpoint| settings.targets.get(endpoint.target));
    if let Some(target) = endpoint.filter(|target| !target.tls) {
        let local = match &target.host {
            TargetHost::Address(address) => address.is_loopback(),
            TargetHost::Name(name) => name.eq_ignore_ascii_case("localhost"),
            TargetHost::Unix(_) => true,
        };
        if !local {
            lines.push(format!(
                "auth {}: {} is asked over http, where anybody on the way can answer in its place; use https",
                provider.name, target.name()
            ));
        }
    }
    lines
}

fn shortest_secret(set: &KeySet) -> Option<usize> {
    set.keys().iter().filter_map(|key| key.secret_bytes()).min()
}
