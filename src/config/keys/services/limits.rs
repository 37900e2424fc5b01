//! `limits` of a service, and `maxInFlight` of a target.

use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Reads `limits.inFlight` of a service. `None`: no limit.
pub(crate) fn in_flight(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<u32> {
    let object = place?.object(report)?;
    count(&object, "inFlight", report)
}

/// Reads `maxInFlight` of a target. [`u32::MAX`]: no limit.
pub(crate) fn max_in_flight(target: &Object<'_>, report: &mut Report<'_>) -> u32 {
    count(target, "maxInFlight", report).unwrap_or(u32::MAX)
}

/// Reads a count that is off without its key, and with `null`.
fn count(object: &Object<'_>, name: &str, report: &mut Report<'_>) -> Option<u32> {
    let place = object.get(name).filter(|place| !place.is_null())?;
    let count = scalars::number(place, report)?;
    u32::try_from(count).ok()
}
