//! `passiveHealth`: failures of requests that eject a target for a time.

use crate::limits as bound;
use crate::proxy::settings::PassiveHealth;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::scalars::{self, at_least, small};

const PASSIVE_KEYS: [&str; 3] = ["failures", "window", "eject"];

/// `passiveHealth`; with `false` or `null` requests that fail put nobody aside.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> Option<PassiveHealth> {
    let mut passive = PassiveHealth {
        failures: bound::PASSIVE_FAILURES_DEFAULT,
        window: bound::PASSIVE_SPAN_DEFAULT,
        eject: bound::PASSIVE_SPAN_DEFAULT,
    };
    let Some(place) = place else {
        return Some(passive);
    };
    if place.is_false() || place.is_null() {
        return None;
    }
    let object = place.object(report, "an object or false", &PASSIVE_KEYS)?;
    if let Some(place) = object.get("failures") {
        let most = u64::from(bound::PASSIVE_FAILURES_MAX);
        passive.failures = small(place, 1..=most, report).unwrap_or(passive.failures);
    }
    if let Some(place) = object.get("window") {
        passive.window = scalars::duration(place, report).unwrap_or(passive.window);
    }
    if let Some(place) = object.get("eject") {
        passive.eject = at_least(place, bound::PASSIVE_EJECT_MIN, report).unwrap_or(passive.eject);
    }
    Some(passive)
}
