//! Counts that the workers of one gateway share, in the memory of their supervisor.
//!
//! A key lives from its first count until its window ends. The number of keys has a bound: a new key
//! takes the place of the one that would end first. What is forgotten so counts from 0 again here; the
//! workers go on with what they know, as with a store that was restarted empty. So a client that many
//! others push out can use up its limit once in each worker, and no more.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::policy::rate::buckets;
use crate::policy::seeded::Seeded;
use crate::time::{Duration, Instant};

/// All counts.
pub struct Counts {
    known: HashMap<u128, Count, Seeded>,
    /// Ends of the keys, each once; the first end is at the top.
    ends: BinaryHeap<Reverse<(Instant, u128)>>,
    most: usize,
}

struct Count {
    total: i64,
    end: Instant,
}

impl Counts {
    /// Creates an empty table. `most`: bound of the keys. `seed` must not be known to clients.
    pub fn new(most: usize, seed: u64) -> Counts {
        Counts {
            known: HashMap::with_hasher(Seeded::new(seed)),
            ends: BinaryHeap::new(),
            most,
        }
    }

    /// Upper bound of the bytes for this many keys. Both parts keep their old storage while they grow.
    pub const fn bytes(most: usize) -> usize {
        let bucket = size_of::<(u128, Count)>().saturating_add(1);
        let ends = most.next_power_of_two();
        let ends = ends.saturating_mul(size_of::<Reverse<(Instant, u128)>>());
        let both = buckets(most).saturating_mul(bucket).saturating_add(ends);
        both.saturating_add(both / 2)
    }

    /// Changes the bound. Keys that are too many go as new ones come.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns true if there is no key.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets keys whose window is over.
    pub fn expire(&mut self, now: Instant) {
        while self.ends.peek().is_some_and(|first| first.0.0 <= now) {
            self.forget_first();
        }
    }

    /// Begins the window of a key. Returns false if it has one.
    pub(super) fn begin(&mut self, key: u128, window: Duration, now: Instant) -> bool {
        if self.known.contains_key(&key) {
            return false;
        }
        // Two, so that a table that became too large gets smaller.
        for _ in 0..2 {
            if self.known.len() >= self.most {
                self.forget_first();
            }
        }
        let end = now.after(window);
        self.known.insert(key, Count { total: 0, end });
        self.ends.push(Reverse((end, key)));
        true
    }

    /// Adds to the count of a key. Returns the sum; `None`: there is no such key.
    pub(super) fn add(&mut self, key: u128, number: i64) -> Option<i64> {
        let count = self.known.get_mut(&key)?;
        count.total = count.total.saturating_add(number);
        Some(count.total)
    }

    /// Returns the time until the window of a key ends; `None`: there is no such key.
    pub(super) fn left(&self, key: u128, now: Instant) -> Option<Duration> {
        Some(self.known.get(&key)?.end.since(now))
    }

    fn forget_first(&mut self) {
        if let Some(Reverse((_, key))) = self.ends.pop() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const WINDOW: Duration = Duration::from_millis(100);

    #[test]
    fn a_key_lives_for_its_window() {
        let mut counts = Counts::new(10, 1);
        assert_eq!((counts.add(7, 1), counts.left(7, at(0))), (None, None));
        assert!(counts.begin(7, WINDOW, at(0)));
        assert!(!counts.begin(7, WINDOW, at(60)), "the window goes on");
        assert_eq!(counts.add(7, 5), Some(5));
        assert_eq!(counts.add(7, -2), Some(3));
        let left = counts.left(7, at(60));
        assert_eq!(left, Some(Duration::from_millis(40)));
        counts.expire(at(99));
        assert_eq!(counts.len(), 1);
        counts.expire(at(100));
        assert!(counts.is_empty() && counts.ends.is_empty());
        assert!(counts.begin(7, WINDOW, at(100)));
        assert_eq!(counts.add(7, i64::MAX), Some(i64::MAX));
        assert_eq!(counts.add(7, 1), Some(i64::MAX), "no overflow");
    }

    #[test]
    fn a_full_table_forgets_what_ends_first() {
        let mut counts = Counts::new(3, 1);
        for (key, window) in [(1, 300), (2, 100), (3, 200), (4, 400)] {
            assert!(counts.begin(key, Duration::from_millis(window), at(0)));
        }
        assert_eq!(counts.add(2, 1), None, "the first to end went");
        for key in [1, 3, 4] {
            assert!(counts.add(key, 1).is_some(), "{key}");
        }
        counts.set_most(1);
        assert!(counts.begin(5, Duration::from_millis(500), at(0)));
        assert_eq!(counts.len(), 2, "two went for one that came");
        assert!(counts.begin(6, Duration::from_millis(600), at(0)));
        assert_eq!(counts.len(), 1);
        // A flood of keys leaves both parts at the bound.
        for key in 100..10_000 {
            counts.begin(key, WINDOW, at(1));
        }
        assert_eq!((counts.len(), counts.ends.len()), (1, 1));
    }

    #[test]
    fn a_table_without_room_still_counts_one() {
        let mut counts = Counts::new(0, 1);
        for key in 0..5 {
            assert!(counts.begin(key, WINDOW, at(0)));
            assert_eq!(counts.add(key, 2), Some(2));
        }
        assert_eq!(counts.len(), 1);
    }
}
