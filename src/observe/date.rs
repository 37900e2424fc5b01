//! Time of day as text, rendered once a second.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::time::UnixTime;

/// Texts of the current second.
pub struct DateCache {
    second: Option<u64>,
    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    imf: [u8; IMF],
    /// `06/Nov/1994:08:49:37 +0000`
    clf: [u8; CLF],
    /// `1994-11-06T08:49:37`
    rfc3339: [u8; TIMESTAMP],
}

impl Default for DateCache {
    fn default() -> Self {
        DateCache::new()
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Bytes of the texts. They are constants, so that the compiler copies a text without a loop.
const IMF: usize = 29;
const CLF: usize = 26;
const TIMESTAMP: usize = 19;

/// Last second of the year 9999, the latest that an IMF-fixdate can express.
const LAST_SECOND: u64 = 253_402_300_799;

impl DateCache {
    /// Creates an empty cache.
    pub fn new() -> DateCache {
        DateCache {
            second: None,
            imf: [b' '; IMF],
            clf: [b' '; CLF],
            rfc3339: [b' '; TIMESTAMP],
        }
    }

    /// Returns the date as IMF-fixdate (RFC 9110 5.6.7), for `Date`.
    #[inline(always)]
    pub fn imf_fixdate(&mut self, now: UnixTime) -> &[u8; IMF] {
        self.refresh(now);
        &self.imf
    }

    /// Returns the date of the common log format, without its brackets.
    pub fn clf(&mut self, now: UnixTime) -> &[u8; CLF] {
        self.refresh(now);
        &self.clf
    }

    /// Returns the date as RFC 3339, to the second, without fraction and zone.
    pub fn rfc3339(&mut self, now: UnixTime) -> &[u8; TIMESTAMP] {
        self.refresh(now);
        &self.rfc3339
    }

    /// Renders the texts where `now` is in another second than they are.
    #[inline]
    fn refresh(&mut self, now: UnixTime) {
        let second = now.as_secs().min(LAST_SECOND);
        if self.second != Some(second) {
            self.render(second);
        }
    }

    #[cold]
    fn render(&mut self, second: u64) {
        self.second = Some(second);
        let date = HttpDate::from(
            UNIX_EPOCH
                .checked_add(Duration::from_secs(second))
                .unwrap_or(UNIX_EPOCH),
        );
        // Each text has one length until the year 9999, so that writing does not fail.
        let _ = write!(self.imf.as_mut_slice(), "{date}");
        // The other two formats have the same fields in another order: `Www, dd Mmm yyyy hh:mm:ss
        // GMT`.
        let imf = core::str::from_utf8(&self.imf).unwrap_or_default();
        let part = |from: usize, to: usize| imf.get(from..to).unwrap_or_default();
        let (day, month, year, time) = (part(5, 7), part(8, 11), part(12, 16), part(17, 25));
        let number = (1..)
            .zip(MONTHS)
            .find(|(_, name)| *name == month)
            .map_or(1, |(number, _)| number);
        let _ = write!(self.clf.as_mut_slice(), "{day}/{month}/{year}:{time} +0000");
        let _ = write!(
            self.rfc3339.as_mut_slice(),
            "{year}-{number:02}-{day}T{time}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_say_a_second() {
        let mut dates = DateCache::new();
        for (second, imf, clf, rfc3339) in [
            (
                784_111_777,
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "06/Nov/1994:08:49:37 +0000",
                "1994-11-06T08:49:37",
            ),
            (
                0,
                "Thu, 01 Jan 1970 00:00:00 GMT",
                "01/Jan/1970:00:00:00 +0000",
                "1970-01-01T00:00:00",
            ),
            (
                1_709_164_800,
                "Thu, 29 Feb 2024 00:00:00 GMT",
                "29/Feb/2024:00:00:00 +0000",
                "2024-02-29T00:00:00",
            ),
            (
                u64::MAX / 2000,
                "Fri, 31 Dec 9999 23:59:59 GMT",
                "31/Dec/9999:23:59:59 +0000",
                "9999-12-31T23:59:59",
            ),
        ] {
            let now = UnixTime::from_millis(second * 1000 + 999);
            assert_eq!(dates.imf_fixdate(now), imf.as_bytes());
            assert_eq!(dates.clf(now), clf.as_bytes());
            assert_eq!(dates.rfc3339(now), rfc3339.as_bytes());
        }
    }
}
