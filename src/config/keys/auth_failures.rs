//! `authFailures`: how many credentials of a client may turn out not to be authentic.

use crate::policy::rate::RateLimit;
use crate::policy::rate_fields::RateHeaders;

use crate::config::schema::AUTH_FAILURES;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

use super::rate_limit;

/// Reads `authFailures` of the top level; `None`: off. `rate` is the top-level `rateLimit`: it defines what a client
/// is and how many clients are counted.
pub(crate) fn compile(
    top: &Object<'_>,
    rate: Option<&RateLimit>,
    report: &mut Report<'_>,
) -> Option<RateLimit> {
    let place = top.get("authFailures");
    if place.is_some_and(Located::is_false) {
        return None;
    }
    let object = place.and_then(|place| place.object(report));
    let object = object.unwrap_or(Object::empty(&AUTH_FAILURES));
    let clients = rate
        .cloned()
        .unwrap_or_else(|| rate_limit::defaults(report));
    Some(RateLimit {
        requests: scalars::small_of(&object, "requests", report),
        window: scalars::duration_of(&object, "window", report),
        headers: RateHeaders::Off,
        ..clients
    })
}
