//! The clocks. The event loop reads them before and after each wait, and hands the time down as
//! values.

use std::time::{Instant as Monotonic, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, UnixTime};

/// Monotonic clock with its origin, and the time of day.
pub struct Clock {
    origin: Monotonic,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Clock {
    /// Creates a clock whose time is 0 now.
    pub fn new() -> Clock {
        Clock {
            origin: Monotonic::now(),
        }
    }

    /// Returns the monotonic time, in milliseconds since the clock was created.
    pub fn now(&self) -> Instant {
        let elapsed = self.origin.elapsed();
        // `Duration::as_millis` counts in 128 bits.
        let whole = elapsed.as_secs().saturating_mul(1000);
        Instant::from_millis(whole.saturating_add(u64::from(elapsed.subsec_millis())))
    }

    /// Returns the time of day; times before 1970 become 1970.
    pub fn wall(&self) -> UnixTime {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_begins_at_its_start_and_runs_in_milliseconds() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(first.as_millis() < 1_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!((20..5_000).contains(&clock.now().since(first).as_millis()));
        assert!(
            clock.wall().as_secs() > 1_750_000_000,
            "it is 2025 or later"
        );
    }
}
