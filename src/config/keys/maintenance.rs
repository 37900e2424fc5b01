//! `maintenance`, of the whole gateway and of a service.

use std::sync::Arc;

use crate::proxy::settings::{Maintenance, OwnMaintenance};

use crate::config::schema::MAINTENANCE;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::{networks, scalars};

/// Reads the top-level `maintenance`; `None`: off.
pub(crate) fn top(top: &Object<'_>, report: &mut Report<'_>) -> Option<Arc<Maintenance>> {
    match compile(top.get("maintenance"), report) {
        OwnMaintenance::On(maintenance) => Some(Arc::new(maintenance)),
        OwnMaintenance::Inherited | OwnMaintenance::Off => None,
    }
}

/// Reads `maintenance` of a service.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> OwnMaintenance {
    let Some(place) = place else {
        return OwnMaintenance::Inherited;
    };
    let object = match place.flag_value() {
        Some(false) => return OwnMaintenance::Off,
        Some(true) => Some(Object::empty(&MAINTENANCE)),
        None => place.object(report),
    };
    let Some(object) = object else {
        return OwnMaintenance::Inherited;
    };
    let allow = object.get("allow");
    let wait = object.get("retryAfter");
    let wait = wait.and_then(|place| scalars::duration(place, report));
    OwnMaintenance::On(Maintenance {
        allow: allow.map_or_else(Default::default, |place| networks::compile(place, report)),
        retry_after: wait.map(|wait| u32::try_from(wait.as_secs_ceil()).unwrap_or(u32::MAX)),
    })
}
