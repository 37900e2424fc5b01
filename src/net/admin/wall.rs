//! Time of day of a turn.

use crate::observe::date::DateCache;
use crate::time::UnixTime;

/// Time of day, for `Date`.
#[derive(Default)]
pub(super) struct Wall {
    dates: DateCache,
    pub(super) now: UnixTime,
}

impl Wall {
    /// Returns the value of the field.
    pub(super) fn date(&mut self) -> &[u8] {
        self.dates.imf_fixdate(self.now)
    }
}
