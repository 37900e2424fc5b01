//! `passiveHealth`: failures of requests that eject a target for a time.

use crate::proxy::settings::PassiveHealth;

use crate::config::schema::PASSIVE_HEALTH;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Reads `passiveHealth`. With `false` or `null` no target is ejected.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    report: &mut Report<'_>,
) -> Option<PassiveHealth> {
    if place.is_some_and(|place| place.is_false() || place.is_null()) {
        return None;
    }
    let object = match place {
        Some(place) => place.object(report)?,
        None => Object::empty(&PASSIVE_HEALTH),
    };
    Some(PassiveHealth {
        failures: scalars::small_of(&object, "failures", report),
        window: scalars::duration_of(&object, "window", report),
        eject: scalars::duration_of(&object, "eject", report),
    })
}
