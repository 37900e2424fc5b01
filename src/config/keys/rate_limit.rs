//! `rateLimit`, of the whole gateway and of a service.

use crate::policy::rate::RateLimit;
use crate::policy::rate_fields::RateHeaders;
use crate::proxy::settings::ServiceRateLimit;

use crate::config::schema::RATE_LIMIT;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Returns the limit that holds without `rateLimit`.
pub(crate) fn defaults(report: &mut Report<'_>) -> RateLimit {
    let object = Object::empty(&RATE_LIMIT);
    RateLimit {
        requests: scalars::small_of(&object, "requests", report),
        window: scalars::duration_of(&object, "window", report),
        ipv6_prefix: prefix(scalars::number_of(&object, "ipv6Prefix", report)),
        max_clients: scalars::count_of(&object, "maxClients", report),
        headers: RateHeaders::Off,
    }
}

/// Reads the top-level `rateLimit`; `None`: off.
pub(crate) fn top(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<RateLimit> {
    let defaults = defaults(report);
    match place {
        None => Some(defaults),
        Some(place) if place.is_false() => None,
        Some(place) => Some(rate_limit(place, defaults, report)),
    }
}

/// Reads a service's `rateLimit`: keys that it does not give are the top level's.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    top: Option<&RateLimit>,
    report: &mut Report<'_>,
) -> ServiceRateLimit {
    match place {
        None => ServiceRateLimit::Inherited,
        Some(place) if place.is_false() => ServiceRateLimit::Off,
        Some(place) => {
            let base = top.cloned().unwrap_or_else(|| defaults(report));
            ServiceRateLimit::Own(rate_limit(place, base, report))
        }
    }
}

fn rate_limit(place: &Located<'_>, base: RateLimit, report: &mut Report<'_>) -> RateLimit {
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
    let headers = object.get("headers");
    RateLimit {
        requests: requests.unwrap_or(base.requests),
        window: window.unwrap_or(base.window),
        ipv6_prefix: given("ipv6Prefix").map_or(base.ipv6_prefix, prefix),
        max_clients: given("maxClients").map_or(base.max_clients, scalars::as_usize),
        headers: headers.map_or(base.headers, |place| form(place, report)),
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
