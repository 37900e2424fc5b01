//! Text of the rate limits about a request.

use crate::config::shown::limit::rate;
use crate::policy::forward::Peer;
use crate::policy::rate::RateLimit;
use crate::policy::rate_key::{RateKey, only_value};
use crate::policy::request::Request;
use crate::proxy::settings::{Service, ServiceRateLimit, Settings};

/// Returns what each limit says, in order.
pub(super) fn limits(
    settings: &Settings,
    service: Option<&Service>,
    client: Peer,
    request: &Request<'_>,
) -> Vec<String> {
    let limits = service.map_or(&settings.rate_limit[..], |service| {
        service.limits(&settings.rate_limit)
    });
    let of = match service.map(|service| &service.rate_limit) {
        Some(ServiceRateLimit::Own(_)) => "this service has",
        _ => "all services without a limit of their own share",
    };
    let is_guarded = service.is_some_and(|service| !service.auth.providers.is_empty());
    let text = |limit: &RateLimit| {
        let store = limit
            .store
            .and_then(|shared| settings.stores.get(shared.store));
        let store = store.map(|store| format!(", shared through the store {}", store.name));
        let numbers = format!("{}{}", rate(limit), store.unwrap_or_default());
        if limit.exempt.contains(client) {
            return format!("{numbers}: {} is not counted", address_of(client));
        }
        let key = key(limit, client, is_guarded, request);
        format!("{numbers}, here {key}; taken as the first one of the window that {of}")
    };
    match limits {
        [] => vec!["off".to_owned()],
        [single] => vec![text(single)],
        limits => {
            let numbered = limits.iter().zip(1_usize..);
            let all = limits.len();
            let text = |(limit, number)| format!("{number} of {all}: {}", text(limit));
            numbered.map(text).collect()
        }
    }
}

/// Returns what the request counts by.
fn key(limit: &RateLimit, client: Peer, is_guarded: bool, request: &Request<'_>) -> String {
    let address = match client {
        Peer::Ip(address) if address.is_ipv6() => {
            format!("{address}/{}", limit.ipv6_prefix)
        }
        other => address_of(other),
    };
    match &limit.key {
        RateKey::Ip => address,
        RateKey::Header(name) => match only_value(request.head, name.as_bytes()) {
            Some(value) => format!("{:?}", String::from_utf8_lossy(value)),
            None => format!("{address}, because {name} is not there once with a value"),
        },
        RateKey::Consumer | RateKey::Claim(_) if !is_guarded || request.is_preflight() => {
            format!("{address}, because the request is not authenticated")
        }
        RateKey::Consumer => {
            format!("by the credential, after \"auth\"; {address} for one without it")
        }
        RateKey::Claim(name) => format!(
            "by the claim {name}, after \"auth\"; by the consumer for a token without it, and {address} for one without both"
        ),
    }
}

fn address_of(client: Peer) -> String {
    let address = client.ip();
    address.map_or("unix".to_owned(), |address| address.to_string())
}
