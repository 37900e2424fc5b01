//! Counts that the workers of one gateway share, in the memory of their supervisor.
//!
//! A key lives from its first count until its window ends; one of a sliding window for as long as it
//! weighs, and one of a bucket until that is full. The number of keys has a bound: a new key takes the
//! place of the one that would end first. What is forgotten so counts from 0 again here; the
//! workers go on with what they know, as with a store that was restarted empty. So a client that many
//! others push out can use up its limit once in each worker, and no more.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::keys::Kind;
use crate::policy::meter::Meter;
use crate::policy::rate::{WindowRecord, buckets};
use crate::policy::seeded::Seeded;
use crate::sort::sort_by;
use crate::time::{Duration, Instant};

/// All counts.
pub struct Counts {
    known: HashMap<u128, Count, Seeded>,
    /// Ends of the keys, each once; the first end is at the top. The end of a key may be later by now.
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

/// Keys whose end is later by now, and which stay for that when another one has to go.
const SPARED: usize = 8;

struct Count {
    /// Sum of a fixed window; of others the numbers of a [`Meter`].
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
            if let Some(Reverse((_, key))) = self.ends.pop()
                && !self.is_later(key, now)
            {
                self.known.remove(&key);
            }
        }
    }

    /// Puts a key back if it ends later than at `end`. Returns true if it does.
    fn is_later(&mut self, key: u128, end: Instant) -> bool {
        let now = self.known.get(&key).map(|count| count.end);
        let later = now.filter(|later| *later > end);
        self.ends.extend(later.map(|later| Reverse((later, key))));
        later.is_some()
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

    /// Adds to the count of a key. `meter`: how requests are counted, unless in a fixed window. Returns
    /// the sum, or the numbers of the meter; `None`: there is no such key.
    pub(super) fn add(
        &mut self,
        key: u128,
        meter: Option<Meter>,
        number: i64,
        now: Instant,
    ) -> Option<i64> {
        let count = self.known.get_mut(&key)?;
        match meter {
            None => count.total = count.total.saturating_add(number),
            Some(meter) => {
                let used = meter.known(count.total.unsigned_abs(), count.end);
                let (total, end) = meter.remembered(meter.add(used, number, now));
                count.total = i64::try_from(total).unwrap_or(i64::MAX);
                count.end = end;
            }
        }
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

    /// Goes on with a walk by at most `most` keys. Returns those that go on, the first to end first, with
    /// the times from `begun`. There may be none before the walk is over.
    pub fn records(&self, walk: &mut Walk, most: usize, begun: Instant) -> Vec<WindowRecord> {
        let mut records = Vec::new();
        for _ in 0..most {
            let Some(Reverse((_, client))) = walk.0.pop() else {
                break;
            };
            let count = self.known.get(&client);
            if let Some(count) = count.filter(|count| count.end > begun) {
                let total = count.total.max(0).unsigned_abs();
                let (passed, previous) = match Kind::of(client) {
                    Kind::Fixed => (u32::try_from(total).unwrap_or(u32::MAX), 0),
                    Kind::Sliding | Kind::Bucket => (total as u32, (total >> 32) as u32),
                };
                records.push(WindowRecord {
                    client,
                    passed,
                    previous,
                    left: count.end.since(begun),
                });
            }
        }
        // Some end later than when the walk began.
        sort_by(&mut records, |one, other| one.left.cmp(&other.left));
        records
    }

    /// Takes the window of a key over from another process. What was counted here meanwhile is added.
    pub fn restore(&mut self, record: WindowRecord, now: Instant) {
        let key = record.client;
        let is_new = self.begin(key, record.left, now);
        let total = u64::from(record.previous) << 32 | u64::from(record.passed);
        let total = i64::try_from(total).unwrap_or(i64::MAX);
        let Some(count) = self.known.get_mut(&key) else {
            return;
        };
        count.total = count.total.saturating_add(total);
        match Kind::of(key) {
            // It takes as long as both need to fill the bucket again.
            Kind::Bucket if !is_new => count.end = count.end.after(record.left),
            _ => count.end = count.end.min(now.after(record.left)),
        }
    }

    /// Notes that all windows are taken over: some end sooner than they did before.
    pub fn restored(&mut self) {
        let ends = self.known.iter();
        let ends = ends.map(|(key, count)| Reverse((count.end, *key)));
        self.ends = ends.collect::<Vec<_>>().into();
    }

    /// Forgets the key that ends first. Of many whose ends are later by now it may be another one.
    fn forget_first(&mut self) {
        for spared in 0..=SPARED {
            let Some(Reverse((end, key))) = self.ends.pop() else {
                return;
            };
            if spared == SPARED || !self.is_later(key, end) {
                self.known.remove(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;
    use crate::policy::meter::Algorithm;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const WINDOW: Duration = Duration::from_millis(100);

    #[test]
    fn a_key_lives_for_its_window() {
        let mut counts = Counts::new(10, 1);
        assert_eq!(
            (counts.add(7, None, 1, at(0)), counts.left(7, at(0))),
            (None, None)
        );
        assert!(counts.begin(7, WINDOW, at(0)));
        assert!(!counts.begin(7, WINDOW, at(60)), "the window goes on");
        assert_eq!(counts.add(7, None, 5, at(0)), Some(5));
        assert_eq!(counts.add(7, None, -2, at(0)), Some(3));
        let left = counts.left(7, at(60));
        assert_eq!(left, Some(Duration::from_millis(40)));
        counts.expire(at(99));
        assert_eq!(counts.len(), 1);
        counts.expire(at(100));
        assert!(counts.is_empty() && counts.ends.is_empty());
        assert!(counts.begin(7, WINDOW, at(100)));
        assert_eq!(counts.add(7, None, i64::MAX, at(0)), Some(i64::MAX));
        assert_eq!(counts.add(7, None, 1, at(0)), Some(i64::MAX), "no overflow");
    }

    #[test]
    fn a_full_table_forgets_what_ends_first() {
        let mut counts = Counts::new(3, 1);
        for (key, window) in [(1, 300), (2, 100), (3, 200), (4, 400)] {
            assert!(counts.begin(key, Duration::from_millis(window), at(0)));
        }
        assert_eq!(counts.add(2, None, 1, at(0)), None, "the first to end went");
        for key in [1, 3, 4] {
            assert!(counts.add(key, None, 1, at(0)).is_some(), "{key}");
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
            assert_eq!(counts.add(key, None, 2, at(0)), Some(2));
        }
        assert_eq!(counts.len(), 1);
    }

    #[test]
    fn another_process_goes_on_with_the_counts() {
        let mut old = Counts::new(10, 1);
        for key in 0..5 {
            old.begin(key, Duration::from_millis(100 * (5 - key as u64)), at(0));
            old.add(key, None, 7 + key as i64, at(0));
        }
        old.add(3, None, i64::MIN / 2, at(0));
        old.add(1, None, i64::MAX, at(0));
        let mut walk = old.walk();
        let mut pieces = vec![old.records(&mut walk, 2, at(40))];
        // Meanwhile one ends and begins again, one ends, and one is counted on.
        old.expire(at(310));
        old.begin(2, WINDOW, at(310));
        old.begin(9, WINDOW, at(310));
        old.add(0, None, 1, at(0));
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
            vec![(1, u32::MAX, 360), (2, 0, 370)],
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
        new.add(1, None, 2, at(0));
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
        new.add(1, None, 2, at(0));
        new.restore(record(1, 400), at(1010));
        new.restored();
        assert_eq!(
            (new.add(1, None, 1, at(0)), new.left(1, at(1010))),
            (Some(8), Some(Duration::from_millis(400)))
        );
        new.expire(at(1409));
        assert_eq!(new.len(), 1);
        new.expire(at(1410));
        assert!(new.begin(1, WINDOW, at(1410)), "a new window");
        assert_eq!((new.known.len(), new.ends.len()), (1, 1));
    }

    /// Returns the key of a client whose requests are counted by this meter.
    fn marked(client: u128, meter: &Meter) -> u128 {
        let mut text = Vec::new();
        keys::write("", client, &mut text);
        keys::mark(meter, &mut text);
        keys::read(&text).0
    }

    /// Meters of ten requests in 100 ms.
    fn meters() -> [Meter; 2] {
        [Algorithm::Sliding, Algorithm::Bucket { burst: u32::MAX }].map(|algorithm| Meter {
            requests: 10,
            window: WINDOW,
            algorithm,
        })
    }

    #[test]
    fn windows_that_slide_and_buckets_end_when_they_weigh_nothing() {
        let [sliding, bucket] = meters();
        let mut counts = Counts::new(10, 1);
        let count = |counts: &mut Counts, meter: Meter, now| {
            let key = marked(7, &meter);
            counts.begin(key, meter.first_memory(), at(now));
            counts.add(key, Some(meter), 5, at(now))
        };
        assert_eq!(count(&mut counts, sliding, 0), Some(5));
        assert_eq!(count(&mut counts, bucket, 0), Some(500), "parts of 100");
        assert_eq!((counts.len(), counts.ends.len()), (2, 2));
        assert_eq!(count(&mut counts, bucket, 20), Some(800), "200 came back");
        counts.expire(at(99));
        assert_eq!((counts.len(), counts.ends.len()), (2, 2));
        counts.expire(at(100));
        assert_eq!(counts.len(), 1, "the bucket is full again");
        // A window that begins at 150 has half of the one before.
        assert_eq!(count(&mut counts, sliding, 150), Some(2 << 32 | 5));
        counts.expire(at(349));
        assert_eq!((counts.len(), counts.ends.len()), (1, 1));
        counts.expire(at(350));
        assert!(counts.is_empty() && counts.ends.is_empty());
    }

    #[test]
    fn a_full_table_spares_what_ends_later_by_now() {
        let [sliding, _] = meters();
        let mut counts = Counts::new(3, 1);
        let key = marked(7, &sliding);
        counts.begin(key, sliding.first_memory(), at(0));
        counts.begin(1, Duration::from_millis(250), at(0));
        counts.begin(2, Duration::from_millis(260), at(0));
        counts.add(key, Some(sliding), 1, at(150));
        assert!(counts.begin(3, WINDOW, at(160)));
        assert!(counts.left(key, at(160)).is_some() && counts.left(1, at(160)).is_none());
        assert_eq!((counts.len(), counts.ends.len()), (3, 3));
    }

    #[test]
    fn windows_that_slide_and_buckets_go_along() {
        for (meter, mine, sum) in [(meters()[0], 6, 11), (meters()[1], 600, 1050)] {
            let key = marked(7, &meter);
            let mut old = Counts::new(10, 1);
            for client in 0..4 {
                let key = marked(client * 2 + 1, &meter);
                old.begin(key, meter.first_memory(), at(client as u64));
                old.add(key, Some(meter), 6, at(client as u64));
            }
            let mut walk = old.walk();
            // The first to end is counted on while it goes along.
            old.add(marked(1, &meter), Some(meter), 60, at(5));
            let records = old.records(&mut walk, 10, at(5));
            assert!(records.is_sorted_by_key(|record| record.left));
            assert_eq!((records.len(), walk.is_over()), (4, true));
            let (mut new, mut alone) = (Counts::new(10, 1), Counts::new(10, 1));
            new.begin(key, meter.first_memory(), at(1000));
            new.add(key, Some(meter), 5, at(1000));
            for record in records {
                new.restore(record, at(1003));
                alone.restore(record, at(1003));
            }
            new.restored();
            alone.restored();
            assert_eq!((new.len(), new.ends.len()), (4, 4));
            assert_eq!(alone.known[&key].total, mine, "as it was");
            let both = new.add(key, Some(meter), 0, at(1003));
            assert_eq!(both, Some(sum), "what both have counted");
        }
    }
}
