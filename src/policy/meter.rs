//! Arithmetic of the rate limit: what one client has used, and what is left of it.
//!
//! ```text
//! fixed     a window begins at the first request and ends after `window`
//! sliding   the same, and the window before counts by the share of it that is not older than `window`
//! bucket    a bucket of `burst` requests, of which `requests` come back in each `window`, evenly
//! ```
//!
//! All numbers are whole: time in milliseconds, and the bucket in parts of a request.

use super::rate_fields::Quota;
use crate::time::{Duration, Instant};

/// Configuration `rateLimit.algorithm`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// Windows that begin at a client's first request.
    #[default]
    Fixed,
    /// Windows as in `Fixed`. A new one begins with what the last one still weighs.
    Sliding,
    /// A bucket that is refilled evenly.
    Bucket {
        /// Number of requests that the bucket holds; at least 1.
        burst: u32,
    },
}

impl Algorithm {
    /// Returns true if counts of one algorithm mean the same in the other.
    pub const fn is_like(self, other: Algorithm) -> bool {
        matches!(
            (self, other),
            (Algorithm::Fixed, Algorithm::Fixed)
                | (Algorithm::Sliding, Algorithm::Sliding)
                | (Algorithm::Bucket { .. }, Algorithm::Bucket { .. })
        )
    }
}

/// Numbers that are remembered of one client. The algorithm says what they mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// Requests of the window; of a bucket the lower half of its missing parts.
    pub passed: u32,
    /// Weight of the window before when this one began; of a bucket the upper half of its missing
    /// parts.
    pub previous: u32,
    /// End of the window; of a bucket the time of the last counted request, or a later one that a store
    /// has named.
    pub end: Instant,
}

/// A limit that a client has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Time until one request passes.
    pub wait: Duration,
    /// Time at which the client has all requests again.
    pub end: Instant,
}

/// Numbers of a limit that decide about one client.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    pub(super) requests: u32,
    pub(super) window: Duration,
    pub(super) algorithm: Algorithm,
}

impl Meter {
    /// Returns the time after `end` of [`Used`] for which a client must be remembered.
    pub(super) fn linger(&self) -> Duration {
        match self.algorithm {
            Algorithm::Fixed => Duration::ZERO,
            Algorithm::Sliding => self.window,
            Algorithm::Bucket { burst } => {
                Duration::from_millis(self.capacity(burst).div_ceil(self.rate()))
            }
        }
    }

    /// Counts one more request of a client. `used`: what is remembered of the client. Returns what
    /// is to be remembered, and what the client has left.
    ///
    /// # Errors
    /// The limit is reached.
    pub(super) fn count(&self, used: Option<Used>, now: Instant) -> Result<(Used, Quota), Full> {
        match self.algorithm {
            Algorithm::Fixed => self.fixed(used.filter(|used| now < used.end), now),
            Algorithm::Sliding => self.sliding(used, now),
            Algorithm::Bucket { burst } => self.bucket(used, burst, now),
        }
    }

    /// Takes one request back.
    pub(super) fn give_back(&self, used: Used) -> Used {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => Used {
                passed: used.passed.saturating_sub(1),
                ..used
            },
            Algorithm::Bucket { .. } => {
                used.with_missing(used.missing().saturating_sub(self.part()))
            }
        }
    }

    /// Returns what another process takes over. What it takes over of a bucket is as of `now`, because
    /// the clock of that process may not have run for as long as the bucket has been refilled.
    pub(super) fn carried(&self, used: Used, now: Instant) -> Used {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => used,
            Algorithm::Bucket { burst } => {
                let missing = self.missing(used, self.capacity(burst), now);
                Used { end: now, ..used }.with_missing(missing)
            }
        }
    }

    /// Adds requests that were counted elsewhere, whether the limit is reached or not; below zero: takes
    /// them back.
    pub(super) fn add(&self, used: Used, number: i64, now: Instant) -> Used {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => {
                let used = self.slid(Some(used), now);
                let passed = i64::from(used.passed).saturating_add(number).max(0);
                Used {
                    passed: u32::try_from(passed).unwrap_or(u32::MAX),
                    ..used
                }
            }
            Algorithm::Bucket { burst } => {
                let missing = self.missing(used, self.capacity(burst), now);
                let parts = i64::try_from(self.part()).unwrap_or(i64::MAX);
                let missing = missing.saturating_add_signed(parts.saturating_mul(number));
                Used { end: now, ..used }.with_missing(missing)
            }
        }
    }

    /// Joins what is remembered of a client with what a store knows of all gateways: what leaves the
    /// client less. `total` is of `now`; `left`: time until the store forgets it. `outstanding`: requests
    /// that the store does not know.
    pub(super) fn joined(
        &self,
        used: Used,
        (total, left): (u64, Duration),
        outstanding: i32,
        now: Instant,
    ) -> Used {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => {
                let all = self.known(total, now.after(left));
                let all = self.add(all, outstanding.into(), now);
                let weight = |used: Used| {
                    let used = self.slid(Some(used), now);
                    let before = self.share(used.previous, used.end.since(now));
                    before.saturating_add(used.passed)
                };
                if weight(all) < weight(used) {
                    used
                } else {
                    all
                }
            }
            Algorithm::Bucket { burst } => {
                let capacity = self.capacity(burst);
                let all = Used { end: now, ..used }.with_missing(total);
                let parts = i64::try_from(self.part()).unwrap_or(i64::MAX);
                let parts = parts.saturating_mul(outstanding.into());
                let all = all.missing().saturating_add_signed(parts);
                if all < self.missing(used, capacity, now) {
                    return used;
                }
                // What is beyond the bucket comes back before the bucket is refilled.
                let beyond = all.saturating_sub(capacity).div_ceil(self.rate());
                let missing = all.saturating_sub(beyond.saturating_mul(self.rate()));
                let end = now.after(Duration::from_millis(beyond));
                Used { end, ..used }.with_missing(missing)
            }
        }
    }

    /// Returns what a store remembers of a client in one number, and when it forgets the client.
    pub(super) fn remembered(&self, used: Used) -> (u64, Instant) {
        let total = used.missing();
        (total, used.end.after(self.memory(total)))
    }

    /// Returns what [`remembered`](Self::remembered) stands for.
    pub(super) fn known(&self, total: u64, gone: Instant) -> Used {
        let end = gone
            .as_millis()
            .saturating_sub(self.memory(total).as_millis());
        let end = Instant::from_millis(end);
        let empty = Used {
            passed: 0,
            previous: 0,
            end,
        };
        empty.with_missing(total)
    }

    /// Returns the time for which a store remembers a client of which nothing was counted.
    pub(super) fn first_memory(&self) -> Duration {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => {
                let twice = self.window.as_millis().saturating_mul(2);
                Duration::from_millis(twice)
            }
            Algorithm::Bucket { .. } => Duration::ZERO,
        }
    }

    /// Returns the time after `end` of [`Used`] for which a store remembers a client.
    fn memory(&self, total: u64) -> Duration {
        match self.algorithm {
            Algorithm::Fixed | Algorithm::Sliding => self.window,
            Algorithm::Bucket { .. } => Duration::from_millis(total.div_ceil(self.rate())),
        }
    }

    fn fixed(&self, running: Option<Used>, now: Instant) -> Result<(Used, Quota), Full> {
        let (passed, end) = match running {
            Some(used) => (used.passed, used.end),
            None => (0, now.after(self.window)),
        };
        if passed >= self.requests {
            return Err(Full {
                wait: end.since(now),
                end,
            });
        }
        let used = Used {
            passed: passed.saturating_add(1),
            previous: 0,
            end,
        };
        Ok((
            used,
            Quota::new(self.requests.saturating_sub(used.passed), end),
        ))
    }

    /// Returns the window of `now`: the one that runs, or a new one, in which the one before weighs.
    fn slid(&self, used: Option<Used>, now: Instant) -> Used {
        let fresh = Used {
            passed: 0,
            previous: 0,
            end: now.after(self.window),
        };
        match used {
            Some(used) if now < used.end => used,
            Some(used) => Used {
                previous: self.share(used.passed, used.end.after(self.window).since(now)),
                ..fresh
            },
            None => fresh,
        }
    }

    fn sliding(&self, used: Option<Used>, now: Instant) -> Result<(Used, Quota), Full> {
        let used = self.slid(used, now);
        let before = self.share(used.previous, used.end.since(now));
        let all = before.saturating_add(used.passed);
        if all >= self.requests {
            return Err(self.slid_full(used, now));
        }
        let used = Used {
            passed: used.passed.saturating_add(1),
            ..used
        };
        let left = self.requests.saturating_sub(all).saturating_sub(1);
        Ok((used, Quota::new(left, used.end.after(self.window))))
    }

    /// Returns when a sliding limit that is reached lets a request pass.
    fn slid_full(&self, used: Used, now: Instant) -> Full {
        let end = used.end.after(self.window);
        // Time before the end of a window at which this many requests weigh less than `room`.
        let early = |requests: u32, room: u32| {
            let most = u64::from(room)
                .saturating_mul(self.part())
                .saturating_sub(1);
            most.checked_div(requests.into()).unwrap_or(0)
        };
        let room = self.requests.saturating_sub(used.passed);
        let (of, span) = match room {
            0 => (end, early(used.passed, self.requests)),
            _ => (used.end, early(used.previous, room)),
        };
        let left = of.since(now).as_millis().saturating_sub(span);
        Full {
            wait: Duration::from_millis(left),
            end,
        }
    }

    /// Returns the requests of an ended window that count when `left` of its share is left.
    fn share(&self, requests: u32, left: Duration) -> u32 {
        let parts = u64::from(requests).saturating_mul(left.as_millis());
        let share = parts.checked_div(self.part()).unwrap_or(0);
        u32::try_from(share).unwrap_or(u32::MAX)
    }

    fn bucket(&self, used: Option<Used>, burst: u32, now: Instant) -> Result<(Used, Quota), Full> {
        let capacity = self.capacity(burst);
        let missing = used.map_or(0, |used| self.missing(used, capacity, now));
        let wanted = missing.saturating_add(self.part());
        let full_at = |missing: u64| {
            let span = missing.div_ceil(self.rate());
            now.after(Duration::from_millis(span))
        };
        if let Some(over @ 1..) = wanted.checked_sub(capacity) {
            let wait = Duration::from_millis(over.div_ceil(self.rate()));
            return Err(Full {
                wait,
                end: full_at(missing),
            });
        }
        let used = Used {
            passed: 0,
            previous: 0,
            end: now,
        };
        let left = capacity.saturating_sub(wanted).checked_div(self.part());
        let left = u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX);
        Ok((used.with_missing(wanted), Quota::new(left, full_at(wanted))))
    }

    /// Returns the parts that a bucket misses at `now`. An `end` that is still to come is the time at which
    /// the bucket begins to be refilled.
    fn missing(&self, used: Used, capacity: u64, now: Instant) -> u64 {
        let parts = |span: Duration| span.as_millis().saturating_mul(self.rate());
        let then = used.missing().min(capacity);
        then.saturating_add(parts(used.end.since(now)))
            .saturating_sub(parts(now.since(used.end)))
    }

    /// Returns the parts of one request: the bucket gets [`rate`](Self::rate) of them in a
    /// millisecond, so that both numbers are whole.
    fn part(&self) -> u64 {
        self.window.as_millis().max(1)
    }

    fn rate(&self) -> u64 {
        u64::from(self.requests).max(1)
    }

    fn capacity(&self, burst: u32) -> u64 {
        u64::from(burst).saturating_mul(self.part())
    }
}

impl Used {
    fn missing(self) -> u64 {
        u64::from(self.previous) << 32 | u64::from(self.passed)
    }

    fn with_missing(self, missing: u64) -> Used {
        Used {
            passed: missing as u32,
            previous: (missing >> 32) as u32,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A limit of three requests in 60 s.
    fn meter(algorithm: Algorithm) -> Meter {
        Meter {
            requests: 3,
            window: Duration::from_secs(60),
            algorithm,
        }
    }

    /// Model of one client, in fractions and without anything that is forgotten.
    trait Model {
        /// Returns the requests that are left at this time, whole ones and parts.
        fn left(&self, now: f64) -> f64;
        fn count(&mut self, now: f64);
    }

    /// Windows: start and requests, and what the one before weighed at the start.
    #[derive(Default)]
    struct Windows(Vec<(f64, f64, f64)>);

    impl Windows {
        /// Returns the weight of what came before a window that begins now.
        fn before(&self, now: f64) -> f64 {
            self.0.last().map_or(0.0, |(start, requests, _)| {
                (requests * ((start + 120_000.0 - now) / 60_000.0).clamp(0.0, 1.0)).floor()
            })
        }
    }

    impl Model for Windows {
        fn left(&self, now: f64) -> f64 {
            match self.0.last() {
                Some((start, requests, before)) if now < start + 60_000.0 => {
                    let weight = before * (start + 60_000.0 - now) / 60_000.0;
                    3.0 - requests - (weight + 1e-9).floor()
                }
                _ => 3.0 - self.before(now),
            }
        }

        fn count(&mut self, now: f64) {
            let before = self.before(now);
            match self.0.last_mut() {
                Some((start, requests, _)) if now < *start + 60_000.0 => *requests += 1.0,
                _ => self.0.push((now, 1.0, before)),
            }
        }
    }

    /// Requests in a bucket of 5, and the time of the last change.
    struct Bucket(f64, f64);

    impl Model for Bucket {
        fn left(&self, now: f64) -> f64 {
            (self.0 + (now - self.1) * 3.0 / 60_000.0).min(5.0)
        }

        fn count(&mut self, now: f64) {
            *self = Bucket(self.left(now) - 1.0, now);
        }
    }

    /// Checks that the meter counts as the model does, that a client which waits for as long as it is
    /// told passes then and not a millisecond earlier, and that a client which is forgotten after
    /// [`Meter::linger`] loses nothing by it.
    fn agrees(meter: Meter, model: &mut dyn Model, pauses: Vec<u64>) -> Result<(), TestCaseError> {
        let mut used: Option<Used> = None;
        let mut now = Instant::from_millis(1_000_000);
        for pause in pauses {
            now = now.after(Duration::from_millis(pause));
            if used.is_some_and(|used| used.end.after(meter.linger()) <= now) {
                used = None;
            }
            let left = model.left(now.as_millis() as f64) + 1e-6;
            match meter.count(used, now) {
                Ok((next, quota)) => {
                    prop_assert!(left >= 1.0, "{left}");
                    prop_assert_eq!(quota.remaining(), left as u32 - 1);
                    prop_assert!(quota.end() > now && meter.count(Some(next), quota.end()).is_ok());
                    prop_assert_eq!(
                        meter
                            .count(Some(next), quota.end())
                            .map(|(_, quota)| quota.remaining()),
                        meter.count(None, now).map(|(_, quota)| quota.remaining()),
                        "all requests are back at the end"
                    );
                    model.count(now.as_millis() as f64);
                    used = Some(next);
                }
                Err(full) => {
                    prop_assert!(left < 1.0, "{left}");
                    prop_assert!(full.wait > Duration::ZERO && full.end >= now.after(full.wait));
                    let early = Duration::from_millis(full.wait.as_millis() - 1);
                    prop_assert!(meter.count(used, now.after(early)).is_err());
                    prop_assert!(meter.count(used, now.after(full.wait)).is_ok());
                }
            }
            if let Some(used) = used {
                let back = meter.give_back(used);
                prop_assert!(meter.count(Some(back), now).is_ok(), "one request is back");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn sliding_windows_agree_with_a_model(pauses in prop::collection::vec(0_u64..50_000, 1..100)) {
            agrees(meter(Algorithm::Sliding), &mut Windows::default(), pauses)?;
        }

        #[test]
        fn buckets_agree_with_a_model(pauses in prop::collection::vec(0_u64..50_000, 1..100)) {
            agrees(meter(Algorithm::Bucket { burst: 5 }), &mut Bucket(5.0, 0.0), pauses)?;
        }
    }

    #[test]
    fn the_largest_numbers_stay_in_order() {
        let now = Instant::from_millis(1 << 40);
        for algorithm in [
            Algorithm::Sliding,
            Algorithm::Bucket {
                burst: 1_000_000_000,
            },
        ] {
            let meter = Meter {
                requests: 1_000_000_000,
                window: Duration::from_secs(30 * 24 * 3600),
                algorithm,
            };
            let (used, quota) = meter.count(None, now).expect("a request");
            assert_eq!(quota.remaining(), 999_999_999, "{algorithm:?}");
            let (_, quota) = meter.count(Some(used), now).expect("another");
            assert_eq!(quota.remaining(), 999_999_998, "{algorithm:?}");
        }
    }
}
