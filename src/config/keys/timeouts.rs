//! `timeouts`, of the whole gateway and of a service.

use crate::limits as bound;
use crate::proxy::settings::{ConnectionTimeouts, ExchangeTimeouts};

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

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

/// The top-level `timeouts`.
pub(crate) struct Timeouts {
    pub(crate) connection: ConnectionTimeouts,
    pub(crate) exchange: ExchangeTimeouts,
}

/// The top-level `timeouts`.
pub(crate) fn top(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Timeouts {
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
            .and_then(|place| scalars::timeout(place, report))
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
pub(crate) fn service(
    place: Option<&Located<'_>>,
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

fn timeouts_object<'a>(place: &Located<'a>, report: &mut Report<'_>) -> Option<Object<'a>> {
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
            .and_then(|place| scalars::timeout(place, report))
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
