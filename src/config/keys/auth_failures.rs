//! `authFailures`: how many credentials of a client may turn out not to be authentic.

use crate::limits as bound;
use crate::policy::rate::RateLimit;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;

use super::rate_limit::{DEFAULT_RATE, counts};

const FAILURE_KEYS: [&str; 2] = ["requests", "window"];

/// `authFailures`; `None`: off. `rate`: the top-level `rateLimit`, which says what a client is and how many are counted.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    rate: Option<&RateLimit>,
    report: &mut Report<'_>,
) -> Option<RateLimit> {
    let mut limit = RateLimit {
        requests: bound::AUTH_FAILURES_DEFAULT,
        window: bound::AUTH_FAILURES_WINDOW_DEFAULT,
        ..rate.unwrap_or(&DEFAULT_RATE).clone()
    };
    match place {
        None => {}
        Some(place) if place.is_false() => return None,
        Some(place) => {
            if let Some(object) = place.object(report, "an object or false", &FAILURE_KEYS) {
                counts(&object, &mut limit, report);
            }
        }
    }
    Some(limit)
}
