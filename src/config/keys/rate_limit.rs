//! `rateLimit`, of the whole gateway and of a service.

use crate::limits as bound;
use crate::policy::rate::RateLimit;
use crate::proxy::settings::ServiceRateLimit;

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

const RATE_KEYS: [&str; 4] = ["requests", "window", "ipv6Prefix", "maxClients"];

pub(crate) const DEFAULT_RATE: RateLimit = RateLimit {
    requests: bound::RATE_REQUESTS_DEFAULT,
    window: bound::RATE_WINDOW_DEFAULT,
    ipv6_prefix: bound::RATE_IPV6_PREFIX_DEFAULT,
    max_clients: bound::RATE_CLIENTS_DEFAULT,
};

/// The top-level `rateLimit`; `None`: off.
pub(crate) fn top(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<RateLimit> {
    match place {
        None => Some(DEFAULT_RATE),
        Some(place) if place.is_false() => None,
        Some(place) => Some(rate_limit(place, &DEFAULT_RATE, report)),
    }
}

/// A service's `rateLimit`: keys it does not give are the top-level's.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    top: Option<&RateLimit>,
    report: &mut Report<'_>,
) -> ServiceRateLimit {
    match place {
        None => ServiceRateLimit::Inherited,
        Some(place) if place.is_false() => ServiceRateLimit::Off,
        Some(place) => {
            ServiceRateLimit::Own(rate_limit(place, top.unwrap_or(&DEFAULT_RATE), report))
        }
    }
}

/// `requests` and `window`.
pub(crate) fn counts(object: &Object<'_>, limit: &mut RateLimit, report: &mut Report<'_>) {
    if let Some(place) = object.get("window") {
        limit.window = scalars::duration(place, report).unwrap_or(limit.window);
    }
    let requests = object.get("requests");
    let requests = requests
        .and_then(|place| scalars::whole(place, 1..=bound::RATE_REQUESTS_MAX.into(), report));
    limit.requests = requests
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(limit.requests);
}

fn rate_limit(place: &Located<'_>, base: &RateLimit, report: &mut Report<'_>) -> RateLimit {
    let mut limit = base.clone();
    let Some(object) = place.object(report, "an object or false", &RATE_KEYS) else {
        return limit;
    };
    counts(&object, &mut limit, report);
    let mut count = |key, most: u64| {
        object
            .get(key)
            .and_then(|place| scalars::whole(place, 1..=most, report))
    };
    limit.ipv6_prefix = count("ipv6Prefix", 128)
        .and_then(|bits| u8::try_from(bits).ok())
        .unwrap_or(limit.ipv6_prefix);
    limit.max_clients = count("maxClients", bound::RATE_CLIENTS_MAX as u64)
        .map_or(limit.max_clients, scalars::as_usize);
    limit
}
