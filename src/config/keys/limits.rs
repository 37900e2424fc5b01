//! `limits`: how large a message may be, and how many connections there are.

use crate::limits as bound;
use crate::proxy::settings::Limits;

use super::services::limits as of_service;
use crate::config::schema::units;
use crate::config::schema::{Fallback, LIMITS};
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::values::scalars;

/// Reads `limits`. Returns `inFlight` beside the others: it is the default of each service.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> (Limits, Option<u32>) {
    let object = place.and_then(|place| place.object(report));
    let object = object.unwrap_or(Object::empty(&LIMITS));
    let head_bytes = scalars::count_of(&object, "headBytes", report);
    let in_flight = of_service::count(&object, "inFlight", report);
    let limits = Limits {
        head_bytes,
        request_line_bytes: request_line(&object, head_bytes, report),
        fields: scalars::count_of(&object, "headers", report),
        connections: scalars::count_of(&object, "connections", report),
        connections_per_client: optional(&object, "connectionsPerClient", report)
            .map(scalars::as_usize),
        overflow: bound::SURPLUS_CONNECTIONS,
        gathered_bytes: bound::BODY_GATHERED_BYTES,
        splice_min_bytes: bound::SPLICE_MIN_BYTES,
        body_bytes: optional(&object, "bodyBytes", report),
    };
    (limits, in_flight)
}

/// Reads a number that is off without its key, and with `null`.
fn optional(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> Option<u64> {
    let place = object.get(name).filter(|place| !place.is_null())?;
    scalars::number(place, report)
}

/// Reads `requestLine`. A request line is part of its head: a smaller head makes the default
/// smaller.
fn request_line(object: &Object<'_>, head_bytes: usize, report: &mut Report<'_>) -> usize {
    let Some(place) = object.get("requestLine") else {
        let default = match object.default("requestLine") {
            Fallback::Number(bytes) => scalars::as_usize(*bytes),
            _ => head_bytes,
        };
        return default.min(head_bytes);
    };
    let Some(bytes) = scalars::number(place, report).map(scalars::as_usize) else {
        return head_bytes;
    };
    if bytes > head_bytes {
        let head = units::show_size(head_bytes as u64);
        place.fail(
            report,
            Fault::uncured(format!(
                r#"must be at most "headBytes" ({head}), which the request line is part of"#
            )),
        );
    }
    bytes
}
