//! Counts that the workers of one gateway share, in the memory of their supervisor.
//!
//! A key lives from its first count until its window ends. The number of keys has a bound: a new key
//! takes the place of the one that would end first. What is forgotten so counts from 0 again here; the
//! workers go on with what they know, as with a store that was restarted empty. So a client that many
//! others push out can use up its limit once in each worker, and no more.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::policy::rate::{WindowRecord, buckets};
use crate::policy::seeded::Seeded;
use crate::time::{Duration, Instant};

/// All counts.
pub struct Counts {
    known: HashMap<u128, Count, Seeded>,
    /// Ends of the keys, each once; the first end is at the top.
    ends: BinaryHeap<Reverse<(Instant, u128)>>,
    most: usize,
}

/// Walk over the keys, for another process: those that are left of it, the first to end at the top.
pub struct Walk(BinaryHeap<Reverse<(Instant, u128)>>);

impl Walk {
    /// Returns true if no key is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }
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

    /// Upper bound of the bytes for this many keys. Both parts keep their old storage while they grow, and
    /// a walk has a copy of the ends.
    pub const fn bytes(most: usize) -> usize {
        let bucket = size_of::<(u128, Count)>().saturating_add(1);
        let ends = most.next_power_of_two();
        let ends = ends.saturating_mul(size_of::<Reverse<(Instant, u128)>>());
        let both = buckets(most).saturating_mul(bucket).saturating_add(ends);
        both.saturating_add(both / 2).saturating_add(ends)
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

    /// Begins a walk over the keys that there are.
    pub fn walk(&self) -> Walk {
        Walk(self.ends.clone())
    }

    /// Goes on with a walk by at most `most` keys. Returns those whose window goes on, the first to end
    /// first, as they are at `begun`. There may be none before the walk is over.
    pub fn records(&self, walk: &mut Walk, most: usize, begun: Instant) -> Vec<WindowRecord> {
        let mut records = Vec::new();
        for _ in 0..most {
            let Some(Reverse((end, client))) = walk.0.pop() else {
                break;
            };
            let count = self.known.get(&client);
            // A window that began since the start of the walk is not part of it.
            if let Some(count) = count.filter(|count| count.end == end && end > begun) {
                records.push(WindowRecord {
                    client,
                    passed: u32::try_from(count.total.max(0)).unwrap_or(u32::MAX),
                    previous: 0,
                    left: end.since(begun),
                });
            }
        }
        records
    }

    /// Takes the window of a key over from another process. What was counted here meanwhile is added.
    pub fn restore(&mut self, record: WindowRecord, now: Instant) {
        self.begin(record.client, record.left, now);
        self.add(record.client, record.passed.into());
        if let Some(count) = self.known.get_mut(&record.client) {
            count.end = count.end.min(now.after(record.left));
        }
    }

    /// Notes that all windows are taken over: some end sooner than they did before.
    pub fn restored(&mut self) {
        let ends = self.known.iter();
        let ends = ends.map(|(key, count)| Reverse((count.end, *key)));
        self.ends = ends.collect::<Vec<_>>().into();
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

    #[test]
    fn another_process_goes_on_with_the_counts() {
        let mut old = Counts::new(10, 1);
        for key in 0..5 {
            old.begin(key, Duration::from_millis(100 * (5 - key as u64)), at(0));
            old.add(key, 7 + key as i64);
        }
        old.add(3, i64::MIN / 2);
        old.add(1, i64::MAX);
        let mut walk = old.walk();
        let mut pieces = vec![old.records(&mut walk, 2, at(40))];
        // Meanwhile one ends and begins again, one ends, and one is counted on.
        old.expire(at(310));
        old.begin(2, WINDOW, at(310));
        old.begin(9, WINDOW, at(310));
        old.add(0, 1);
        for _ in 0..3 {
            pieces.push(old.records(&mut walk, 2, at(40)));
        }
        let seen = |records: &[WindowRecord]| {
            let seen = records.iter();
            let seen = seen.map(|record| (record.client, record.passed, record.left.as_millis()));
            seen.collect::<Vec<_>>()
        };
        let pieces = pieces.iter().map(|piece| seen(piece)).collect::<Vec<_>>();
        let expected = [
            vec![(4, 11, 60), (3, 0, 160)],
            vec![(1, u32::MAX, 360)],
            vec![(0, 8, 460)],
            vec![],
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn counts_of_both_processes_are_added_and_end_with_the_first_window() {
        let record = |client, left| WindowRecord {
            client,
            passed: 5,
            previous: 0,
            left: Duration::from_millis(left),
        };
        let mut new = Counts::new(3, 1);
        new.begin(1, Duration::from_millis(900), at(1000));
        new.add(1, 2);
        new.restore(record(1, 400), at(1010));
        new.restore(record(2, 600), at(1010));
        new.restore(record(3, 800), at(1010));
        // The first to end goes, as for any new key.
        new.restore(record(4, 850), at(1010));
        new.restored();
        assert_eq!(new.len(), 3);
        assert_eq!((new.known.len(), new.ends.len()), (3, 3));
        new.expire(at(1860));
        assert!(new.is_empty(), "all end with their windows");

        let mut new = Counts::new(3, 1);
        new.begin(1, Duration::from_millis(900), at(1000));
        new.add(1, 2);
        new.restore(record(1, 400), at(1010));
        new.restored();
        assert_eq!(
            (new.add(1, 1), new.left(1, at(1010))),
            (Some(8), Some(Duration::from_millis(400)))
        );
        new.expire(at(1409));
        assert_eq!(new.len(), 1);
        new.expire(at(1410));
        assert!(new.begin(1, WINDOW, at(1410)), "a new window");
        assert_eq!((new.known.len(), new.ends.len()), (1, 1));
    }
}
