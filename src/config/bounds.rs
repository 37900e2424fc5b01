//! `rateLimit`, `timeouts` and `limits`: how many, how long, how large.

use crate::limits as bound;
use crate::policy::rate::RateLimit;
use crate::proxy::settings::{ConnectionTimeouts, ExchangeTimeouts, Limits, ServiceRateLimit};

use super::raw::{Object, Place, Report};
use super::values;

const FAILURE_KEYS: [&str; 2] = ["requests", "window"];
const RATE_KEYS: [&str; 4] = ["requests", "window", "ipv6Prefix", "maxClients"];
/// Timeouts that hold before a service is known.
const CONNECTION_KEYS: [&str; 3] = ["head", "keepAlive", "shutdown"];
const TIMEOUT_KEYS: [&str; 9] = [
    "connect",
    "head",
    "body",
    "response",
    "idle",
    "keepAlive",
    "upstreamKeepAlive",
    "tunnel",
    "shutdown",
];
const LIMIT_KEYS: [&str; 6] = [
    "headBytes",
    "requestLine",
    "headers",
    "connections",
    "connectionsPerClient",
    "bodyBytes",
];

/// The top-level `timeouts`.
pub(super) struct Timeouts {
    pub(super) connection: ConnectionTimeouts,
    pub(super) exchange: ExchangeTimeouts,
}

const DEFAULT_RATE: RateLimit = RateLimit {
    requests: bound::RATE_REQUESTS_DEFAULT,
    window: bound::RATE_WINDOW_DEFAULT,
    ipv6_prefix: bound::RATE_IPV6_PREFIX_DEFAULT,
    max_clients: bound::RATE_CLIENTS_DEFAULT,
};

/// The top-level `rateLimit`; `None`: off.
pub(super) fn top_rate_limit(
    place: Option<&Place<'_>>,
    report: &mut Report<'_>,
) -> Option<RateLimit> {
    match place {
        None => Some(DEFAULT_RATE),
        Some(place) if place.is_false() => None,
        Some(place) => Some(rate_limit(place, &DEFAULT_RATE, report)),
    }
}

/// A service's `rateLimit`: keys it does not give are the top-level's.
pub(super) fn service_rate_limit(
    place: Option<&Place<'_>>,
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

/// `authFailures`; `None`: off. `rate`: the top-level `rateLimit`, which says what a client is and how many are counted.
pub(super) fn auth_failures(
    place: Option<&Place<'_>>,
    rate: Option<&RateLimit>,
    report: &mut Report<'_>,
) -> Option<RateLimit> {
    let mut limit = RateLimit {
        requests: bound::AUTH_FAILURES_DEFAULT,
        window: bound::AUTH_FAILURES_WINDOW_DEFAULT,
        ..rate.unwrap_or(&DEFAULT_RATE).clone()
    };
    match place {
        None => {}
        Some(place) if place.is_false() => return None,
        Some(place) => {
            if let Some(object) = place.object(report, "an object or false", &FAILURE_KEYS) {
                counts(&object, &mut limit, report);
            }
        }
    }
    Some(limit)
}

/// `requests` and `window`.
fn counts(object: &Object<'_>, limit: &mut RateLimit, report: &mut Report<'_>) {
    if let Some(place) = object.get("window") {
        limit.window = values::duration(place, report).unwrap_or(limit.window);
    }
    let requests = object.get("requests");
    let requests = requests
        .and_then(|place| values::whole(place, 1..=bound::RATE_REQUESTS_MAX.into(), report));
    limit.requests = requests
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(limit.requests);
}

fn rate_limit(place: &Place<'_>, base: &RateLimit, report: &mut Report<'_>) -> RateLimit {
    let mut limit = base.clone();
    let Some(object) = place.object(report, "an object or false", &RATE_KEYS) else {
        return limit;
    };
    counts(&object, &mut limit, report);
    let mut count = |key, most: u64| {
        object
            .get(key)
            .and_then(|place| values::whole(place, 1..=most, report))
    };
    limit.ipv6_prefix = count("ipv6Prefix", 128)
        .and_then(|bits| u8::try_from(bits).ok())
        .unwrap_or(limit.ipv6_prefix);
    limit.max_clients =
        count("maxClients", bound::RATE_CLIENTS_MAX as u64).map_or(limit.max_clients, as_usize);
    limit
}

/// The top-level `timeouts`.
pub(super) fn top_timeouts(place: Option<&Place<'_>>, report: &mut Report<'_>) -> Timeouts {
    let mut timeouts = Timeouts {
        connection: ConnectionTimeouts {
            head: Some(bound::HEAD_TIMEOUT_DEFAULT),
            keep_alive: Some(bound::KEEP_ALIVE_DEFAULT),
            shutdown: Some(bound::SHUTDOWN_TIMEOUT_DEFAULT),
        },
        exchange: ExchangeTimeouts {
            connect: Some(bound::CONNECT_TIMEOUT_DEFAULT),
            response: Some(bound::RESPONSE_TIMEOUT_DEFAULT),
            body: None,
            idle: Some(bound::IDLE_TIMEOUT_DEFAULT),
            upstream_keep_alive: Some(bound::UPSTREAM_KEEP_ALIVE_DEFAULT),
            tunnel: Some(bound::TUNNEL_TIMEOUT_DEFAULT),
        },
    };
    let Some(object) = place.and_then(|place| timeouts_object(place, report)) else {
        return timeouts;
    };
    timeouts.exchange = exchange_timeouts(&object, timeouts.exchange, report);
    let mut set = |key, field: &mut _| {
        if let Some(value) = object
            .get(key)
            .and_then(|place| values::timeout(place, report))
        {
            *field = value;
        }
    };
    set("head", &mut timeouts.connection.head);
    set("keepAlive", &mut timeouts.connection.keep_alive);
    set("shutdown", &mut timeouts.connection.shutdown);
    timeouts
}

/// A service's `timeouts`: what it does not give is the top-level's.
pub(super) fn service_timeouts(
    place: Option<&Place<'_>>,
    top: ExchangeTimeouts,
    report: &mut Report<'_>,
) -> ExchangeTimeouts {
    let Some(object) = place.and_then(|place| timeouts_object(place, report)) else {
        return top;
    };
    for place in CONNECTION_KEYS.iter().filter_map(|key| object.get(key)) {
        place.fail_bare(
            report,
            r#"holds before a service is known; set it in the top-level "timeouts""#,
        );
    }
    exchange_timeouts(&object, top, report)
}

fn timeouts_object<'a>(place: &Place<'a>, report: &mut Report<'_>) -> Option<Object<'a>> {
    if place.is_false() {
        place.fail(
            report,
            r#"must be an object; turn off a single one, as in { "response": false }"#,
        );
        return None;
    }
    place.object(report, "an object", &TIMEOUT_KEYS)
}

fn exchange_timeouts(
    object: &Object<'_>,
    base: ExchangeTimeouts,
    report: &mut Report<'_>,
) -> ExchangeTimeouts {
    let mut value = |key, default| {
        object
            .get(key)
            .and_then(|place| values::timeout(place, report))
            .unwrap_or(default)
    };
    ExchangeTimeouts {
        connect: value("connect", base.connect),
        response: value("response", base.response),
        body: value("body", base.body),
        idle: value("idle", base.idle),
        upstream_keep_alive: value("upstreamKeepAlive", base.upstream_keep_alive),
        tunnel: value("tunnel", base.tunnel),
    }
}

/// `limits`.
pub(super) fn limits(place: Option<&Place<'_>>, report: &mut Report<'_>) -> Limits {
    let mut limits = Limits {
        head_bytes: bound::HEAD_BYTES_DEFAULT,
        request_line_bytes: bound::REQUEST_LINE_BYTES_DEFAULT,
        fields: bound::FIELDS_DEFAULT,
        connections: bound::CONNECTIONS_DEFAULT,
        connections_per_client: None,
        overflow: bound::SURPLUS_CONNECTIONS,
        gathered_bytes: bound::BODY_GATHERED_BYTES,
        splice_min_bytes: bound::SPLICE_MIN_BYTES,
        body_bytes: None,
    };
    let Some(object) = place.and_then(|place| place.object(report, "an object", &LIMIT_KEYS))
    else {
        return limits;
    };
    let heads = bound::HEAD_BYTES_MIN as u64..=bound::HEAD_BYTES_MAX as u64;
    if let Some(bytes) = object
        .get("headBytes")
        .and_then(|place| values::size(place, heads.clone(), report))
    {
        limits.head_bytes = as_usize(bytes);
    }
    limits.request_line_bytes =
        request_line(object.get("requestLine"), limits.head_bytes, heads, report);
    let mut count = |key, most: usize, default| {
        let value = object
            .get(key)
            .and_then(|place| values::whole(place, 1..=most as u64, report));
        value.map_or(default, as_usize)
    };
    limits.fields = count("headers", bound::FIELDS_MAX, limits.fields);
    limits.connections = count("connections", bound::CONNECTIONS_MAX, limits.connections);
    if let Some(place) = object
        .get("connectionsPerClient")
        .filter(|place| !place.is_null())
    {
        let range = 1..=bound::CONNECTIONS_PER_CLIENT_MAX as u64;
        limits.connections_per_client = values::whole(place, range, report).map(as_usize);
    }
    if let Some(place) = object.get("bodyBytes").filter(|place| !place.is_null()) {
        limits.body_bytes = values::size(place, 1..=bound::BODY_BYTES_MAX, report);
    }
    limits
}

/// A request line is part of its head; the default gives way to a smaller head.
fn request_line(
    place: Option<&Place<'_>>,
    head_bytes: usize,
    range: core::ops::RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> usize {
    let Some(place) = place else {
        return bound::REQUEST_LINE_BYTES_DEFAULT.min(head_bytes);
    };
    let Some(bytes) = values::size(place, range, report).map(as_usize) else {
        return head_bytes;
    };
    if bytes > head_bytes {
        let head = values::show_size(head_bytes as u64);
        place.fail(
            report,
            format!(r#"must be at most "headBytes" ({head}), which the request line is part of"#),
        );
    }
    bytes
}

/// For numbers that a bound keeps small.
fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
