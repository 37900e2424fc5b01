//! `timeouts`, of the whole gateway and of a service.

use std::sync::Arc;

use crate::proxy::settings::{ConnectionTimeouts, ExchangeTimeouts};
use crate::time::Duration;

use crate::config::schema::TIMEOUTS;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Timeouts that hold before a service is known.
const CONNECTION_KEYS: [&str; 3] = ["head", "keepAlive", "shutdown"];

/// Timeouts of the top level.
pub(crate) struct Timeouts {
    pub(crate) connection: ConnectionTimeouts,
    pub(crate) exchange: Arc<ExchangeTimeouts>,
}

/// Reads the top-level `timeouts`.
pub(crate) fn top(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Timeouts {
    let object = place.and_then(|place| timeouts_object(place, report));
    let object = object.unwrap_or(Object::empty(&TIMEOUTS));
    let mut value = |key| given(&object, key, scalars::default_timeout(&object, key), report);
    let connection = ConnectionTimeouts {
        head: value("head"),
        keep_alive: value("keepAlive"),
        shutdown: value("shutdown"),
    };
    let default = |key| scalars::default_timeout(&object, key);
    let base = ExchangeTimeouts {
        connect: default("connect"),
        response: default("response"),
        body: default("body"),
        idle: default("idle"),
        upstream_keep_alive: default("upstreamKeepAlive"),
        tunnel: default("tunnel"),
    };
    Timeouts {
        connection,
        exchange: Arc::new(exchange_timeouts(&object, base, report)),
    }
}

/// Reads a service's `timeouts`: keys that it does not give are the top level's.
pub(crate) fn service(
    place: Option<&Located<'_>>,
    top: &Arc<ExchangeTimeouts>,
    report: &mut Report<'_>,
) -> Arc<ExchangeTimeouts> {
    let Some(object) = place.and_then(|place| timeouts_object(place, report)) else {
        return Arc::clone(top);
    };
    for place in CONNECTION_KEYS.iter().filter_map(|key| object.get(key)) {
        place.fail_bare(
            report,
            r#"holds before a service is known; set it in the top-level "timeouts""#,
        );
    }
    Arc::new(exchange_timeouts(&object, **top, report))
}

fn timeouts_object<'a>(place: &Located<'a>, report: &mut Report<'_>) -> Option<Object<'a>> {
    if place.is_false() {
        place.fail(
            report,
            r#"must be an object; turn off a single one, as in { "response": false }"#,
        );
        return None;
    }
    place.object(report)
}

fn exchange_timeouts(
    object: &Object<'_>,
    base: ExchangeTimeouts,
    report: &mut Report<'_>,
) -> ExchangeTimeouts {
    let mut value = |key, base| given(object, key, base, report);
    ExchangeTimeouts {
        connect: value("connect", base.connect),
        response: value("response", base.response),
        body: value("body", base.body),
        idle: value("idle", base.idle),
        upstream_keep_alive: value("upstreamKeepAlive", base.upstream_keep_alive),
        tunnel: value("tunnel", base.tunnel),
    }
}

/// Returns the timeout that is given; without it, or when it is wrong, `base`.
fn given(
    object: &Object<'_>,
    key: &str,
    base: Option<Duration>,
    report: &mut Report<'_>,
) -> Option<Duration> {
    object
        .get(key)
        .and_then(|place| scalars::timeout(place, report))
        .unwrap_or(base)
}
