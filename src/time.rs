//! Time in the core: milliseconds from a clock that the caller reads.
//!
//! Nothing here reads a clock. `net` reads one, once in each loop iteration, and passes the value.
//! A test passes any value it likes, so a timeout of 15 s takes no time to test.

use core::fmt;

/// Point on a monotonic scale: milliseconds since an origin that the caller chooses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// Origin of the scale.
    pub const ZERO: Instant = Instant(0);

    /// Creates the point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis)
    }

    /// Returns the milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the point `span` later; saturates at the end of the scale.
    pub const fn after(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }

    /// Returns the time since `earlier`; zero if it is not earlier.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}ms", self.0)
    }
}

/// Span of time in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(u64);

impl Duration {
    /// Empty span.
    pub const ZERO: Duration = Duration(0);

    /// Creates a span of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(millis)
    }

    /// Creates a span of `secs` seconds; saturates.
    pub const fn from_secs(secs: u64) -> Duration {
        Duration(secs.saturating_mul(1000))
    }

    /// Returns the span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the span in seconds, rounded up.
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Time of day for dates that people read: milliseconds since 1970-01-01T00:00:00Z. It may jump in
/// both directions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// Creates the time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> UnixTime {
        UnixTime(millis)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}
