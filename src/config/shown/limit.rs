//! Rate limits, as text.

use crate::config::schema::units::show_duration;
use crate::policy::meter::Algorithm;
use crate::policy::rate::RateLimit;
use crate::policy::rate_key::RateKey;

/// Returns a limit such as `20 requests in 1m`.
pub(crate) fn numbers(limit: &RateLimit) -> String {
    let requests = limit.requests;
    let window = show_duration(limit.window);
    match limit.algorithm {
        Algorithm::Fixed => format!("{requests} requests in {window}"),
        Algorithm::Sliding => format!("{requests} requests in a sliding {window}"),
        Algorithm::Bucket { burst } => {
            format!("a bucket of {burst} requests, {requests} back in {window},")
        }
    }
}

/// Returns a limit such as `20 requests in 1m for each client`.
pub(crate) fn rate(limit: &RateLimit) -> String {
    described(limit, "")
}

/// Returns limits, or "off".
pub(crate) fn rates(limits: &[RateLimit]) -> String {
    join(limits, rate)
}

/// Returns the texts of limits, or "off".
pub(crate) fn join(limits: &[RateLimit], text: fn(&RateLimit) -> String) -> String {
    match limits {
        [] => "off".to_owned(),
        limits => limits.iter().map(text).collect::<Vec<_>>().join("; "),
    }
}

/// Returns a limit with all that belongs to it.
pub(crate) fn whole(limit: &RateLimit) -> String {
    let RateLimit {
        ipv6_prefix,
        max_clients,
        store,
        exact,
        // In `described`.
        requests: _,
        window: _,
        headers: _,
        algorithm: _,
        key: _,
        exempt: _,
    } = limit;
    let clients = format!(" (IPv6: each /{ipv6_prefix}), {max_clients} clients at once");
    let shared = if store.is_some() { ", shared" } else { "" };
    let exact = if *exact { ", exact" } else { "" };
    described(limit, &clients) + shared + exact
}

/// Returns what has a count of its own.
pub(crate) fn counted(key: &RateKey) -> String {
    match key {
        RateKey::Ip => "client".to_owned(),
        RateKey::Header(name) => format!("value of {name}"),
        RateKey::Consumer => "consumer".to_owned(),
        RateKey::Claim(name) => format!("value of the claim {name}"),
    }
}

fn described(limit: &RateLimit, clients: &str) -> String {
    let each = counted(&limit.key);
    let fields = limit.headers.note();
    let mut text = format!("{} for each {each}{clients}{fields}", numbers(limit));
    let networks = limit.exempt.networks.iter();
    let networks = networks.map(|network| format!("{}/{}", network.address, network.prefix));
    let unix = limit.exempt.unix.then(|| "unix".to_owned());
    for (place, exempt) in networks.chain(unix).enumerate() {
        text.push_str(if place == 0 { ", exempt " } else { " and " });
        text.push_str(&exempt);
    }
    text
}
