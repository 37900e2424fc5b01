//! Setting of the flight recorder.

use core::ops::RangeInclusive;

use crate::observe::access::Outcome;

/// `record`: failed requests that the flight recorder keeps, and how much of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordRule {
    /// First and last status of each range in `on`.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Words of `end` in `on`.
    pub outcomes: Vec<Outcome>,
    /// Bytes that are kept of a request and its response.
    pub bytes: usize,
    /// Files that are kept.
    pub keep: usize,
    /// Directory of the files.
    pub dir: String,
}

impl RecordRule {
    /// Returns true if a request that ends like this is kept.
    pub fn picks(&self, outcome: Outcome, status: Option<u16>) -> bool {
        let has_status = |range: &RangeInclusive<u16>| status.is_some_and(|it| range.contains(&it));
        self.outcomes.contains(&outcome)
            || outcome != Outcome::Ok && self.statuses.iter().any(has_status)
    }
}
