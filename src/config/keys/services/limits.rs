//! `limits` of a service, and `maxInFlight` of a target.

use crate::proxy::settings::BodyLimit;

use crate::config::schema::SERVICE_LIMITS;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Reads `limits` of a service: `inFlight`, where `None` is no limit, and `bodyBytes`. `top`: the
/// `inFlight` of services without their own.
pub(crate) fn of_service(
    place: Option<&Located<'_>>,
    top: Option<u32>,
    report: &mut Report<'_>,
) -> (Option<u32>, BodyLimit) {
    let object = place.and_then(|place| place.object(report));
    let object = object.unwrap_or(Object::empty(&SERVICE_LIMITS));
    let in_flight = match object.get("inFlight") {
        None => top,
        Some(_) => count(&object, "inFlight", report),
    };
    (in_flight, body_limit(&object, report))
}

fn body_limit(object: &Object<'_>, report: &mut Report<'_>) -> BodyLimit {
    match object.get("bodyBytes") {
        Some(place) if place.is_false() => BodyLimit::Off,
        Some(place) if !place.is_null() => {
            let bytes = scalars::number(place, report);
            bytes.map_or(BodyLimit::Inherited, BodyLimit::Own)
        }
        _ => BodyLimit::Inherited,
    }
}

/// Reads `maxInFlight` of a target. [`u32::MAX`]: no limit.
pub(crate) fn max_in_flight(target: &Object<'_>, report: &mut Report<'_>) -> u32 {
    count(target, "maxInFlight", report).unwrap_or(u32::MAX)
}

/// Reads a count that is off without its key, and with `null`.
pub(crate) fn count(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> Option<u32> {
    let place = object.get(name).filter(|place| !place.is_null())?;
    let count = scalars::number(place, report)?;
    u32::try_from(count).ok()
}
