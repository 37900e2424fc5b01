//! `retries`: how often a request may go on to another target.

use crate::limits as bound;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::values::scalars::small;

/// `retries`.
pub(crate) fn compile(place: Option<&Located<'_>>, report: &mut Report<'_>) -> u32 {
    let most = u64::from(bound::RETRIES_MAX);
    place
        .and_then(|place| small(place, 0..=most, report))
        .unwrap_or(bound::RETRIES_DEFAULT)
}
