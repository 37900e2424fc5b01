//! `authFailures`: how many credentials of a client may turn out not to be authentic.

use crate::policy::rate::RateLimit;

use crate::config::schema::AUTH_FAILURES;
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

use super::rate_limit;

/// Reads `authFailures` of the top level; `None`: off. `rate` is the first limit of the top-level
/// `rateLimit`: it defines what a client is and how many clients are counted. Clients always count by
/// their addresses, in fixed windows, and none is exempt.
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
        ipv6_prefix: clients.ipv6_prefix,
        max_clients: clients.max_clients,
        ..rate_limit::defaults(report)
    })
}
