//! Rate limit: number of requests in a time window for each client address.
//!
//! A window starts at a client's first request. The timer wheel ends it, which also removes the
//! client. All windows of a table have the same length, so they end in the order in which they
//! started. A full table evicts the oldest window, the one that would end next. For the same reason
//! the table needs only one timer, for the oldest window. With one timer for each window, timers of
//! evicted clients would stay in the wheel, and a flood of new clients would exceed the memory
//! bound.
//!
//! Clients of the other algorithms (`meter.rs`) are remembered for a while longer, which is the same for
//! all clients of a table. What is said of windows above holds for them, too: a client whose end
//! moves becomes the newest.

mod carry;
mod counts;
mod shared;

use core::net::IpAddr;
use std::collections::HashMap;
use std::rc::Rc;

pub use self::carry::{Walk, WindowRecord};
use self::shared::Share;
pub use self::shared::{Unsent, WindowId};
use super::forward::PeerSet;
use super::meter::{Algorithm, Meter, Used};
use super::rate_fields::{Quota, RateHeaders, RateLines};
use super::rate_key::RateKey;
use super::seeded::Seeded;
use crate::slab::{Key, Slab};
use crate::time::{Duration, Instant};
use crate::wheel::{Timer, Wheel};

/// Configuration `rateLimit`: number of requests in a window for each client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Number of requests that are allowed in one window; at least 1.
    pub requests: u32,
    /// Length of a window, which starts at a client's first request; at least 1 ms.
    pub window: Duration,
    /// Number of leading bits of an IPv6 address that identify a client, 1 to 128.
    pub ipv6_prefix: u8,
    /// Upper bound of the windows in the table, at least 1. A full table evicts the oldest.
    pub max_clients: usize,
    /// Fields that tell clients what they have left.
    pub headers: RateHeaders,
    /// Way in which requests are counted.
    pub algorithm: Algorithm,
    /// Part of a request that says whose it is.
    pub key: RateKey,
    /// Clients that are not counted.
    pub exempt: PeerSet,
    /// `store`: store of the counts that gateways share; `None`: each counts by itself.
    pub store: Option<SharedCount>,
    /// `exact`: a request waits until the store has counted it.
    pub exact: bool,
}

/// Store of a limit's counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedCount {
    /// Index into the stores of the settings.
    pub store: usize,
}

impl RateLimit {
    /// Returns true if the limit counts every request by its address, in fixed windows.
    pub fn is_plain(&self) -> bool {
        let is_alone = self.exempt.is_empty() && self.store.is_none();
        self.algorithm == Algorithm::Fixed && self.key == RateKey::Ip && is_alone
    }

    /// Returns true if counts of one limit mean the same in the other.
    pub fn is_like(&self, other: &RateLimit) -> bool {
        (self.window, self.ipv6_prefix) == (other.window, other.ipv6_prefix)
            && self.algorithm.is_like(other.algorithm)
            && self.key == other.key
            // Clients of shared limits have other keys.
            && self.store.is_some() == other.store.is_some()
    }

    fn meter(&self) -> Meter {
        Meter {
            requests: self.requests,
            window: self.window,
            algorithm: self.algorithm,
        }
    }
}

/// Returns the field lines of a list of limits; `None`: no limit has any. `name`: name of the first
/// limit. The others are called `NAME-2` and so on, because a client tells limits apart by their
/// names. `exposed`: see [`RateLines::new`].
pub fn lines(limits: &[RateLimit], name: &str, exposed: bool) -> Option<Rc<RateLines>> {
    let lines = limits.iter().zip(1_usize..).map(|(limit, number)| {
        let numbered = format!("{name}-{number}");
        let name = if number == 1 { name } else { &numbered };
        let requests = match limit.algorithm {
            Algorithm::Bucket { burst } => burst,
            Algorithm::Fixed | Algorithm::Sliding => limit.requests,
        };
        RateLines::new(limit.headers, (requests, limit.window), name, exposed)
    });
    RateLines::of_list(lines.collect()).map(Rc::new)
}

/// The windows of one limit.
pub struct RateTable {
    limit: RateLimit,
    /// Time after its end for which a window is remembered.
    linger: Duration,
    windows: Slab<Window>,
    index: HashMap<u128, Key<Window>, Seeded>,
    wheel: Wheel<()>,
    /// Timer for the end of the oldest window.
    timer: Timer,
    oldest: Option<Key<Window>>,
    newest: Option<Key<Window>>,
    /// Shares of the windows, by their slots; empty unless the limit has a store.
    shares: Vec<Share>,
}

struct Window {
    client: u128,
    passed: u32,
    previous: u32,
    end: Instant,
    /// Neighbours in the list, which is in order of start.
    older: Option<Key<Window>>,
    newer: Option<Key<Window>>,
}

impl RateTable {
    /// Creates an empty table. `seed` must not be known to clients.
    pub fn new(limit: RateLimit, seed: u64) -> RateTable {
        RateTable {
            linger: limit.meter().linger(),
            limit,
            windows: Slab::new(),
            index: HashMap::with_hasher(Seeded::new(seed)),
            wheel: Wheel::new(),
            timer: Timer::default(),
            oldest: None,
            newest: None,
            shares: Vec::new(),
        }
    }

    /// Replaces the limit. The limit before must be like the new one: running windows keep their
    /// ends and their counts. A smaller `max_clients` evicts the oldest windows, a piece at a time:
    /// see [`shrink`](Self::shrink).
    pub fn set_limit(&mut self, limit: RateLimit) {
        self.linger = limit.meter().linger();
        self.limit = limit;
        self.watch_oldest();
    }

    /// Returns true if there are more clients than the limit's `max_clients`.
    pub fn is_too_large(&self) -> bool {
        self.windows.len() > self.limit.max_clients
    }

    /// Evicts the oldest windows that are too many, at most this number of them.
    pub fn shrink(&mut self, most: usize) {
        for _ in 0..most {
            let oldest = self.oldest.filter(|_| self.is_too_large());
            let Some(oldest) = oldest else { return };
            self.forget(oldest);
        }
    }

    /// Upper bound of the bytes of a table for this many clients. Worst case: tombstones force one
    /// doubling of the hash table. The hash table and the slab keep their old storage while they
    /// grow.
    pub const fn bytes(max_clients: usize) -> usize {
        let buckets = buckets(max_clients);
        let bucket = size_of::<(u128, Key<Window>)>().saturating_add(1);
        let slots = max_clients
            .next_power_of_two()
            .saturating_mul(Slab::<Window>::SLOT_BYTES);
        let both = buckets.saturating_mul(bucket).saturating_add(slots);
        both.saturating_add(both / 2)
            .saturating_add(Wheel::<()>::bytes(4))
    }

    /// Upper bound of the further bytes of a table whose limit has a store. An answer of the store may
    /// move the end of the oldest window forward, which leaves a stale entry in the wheel.
    pub const fn shared_bytes(max_clients: usize) -> usize {
        let shares = max_clients.next_power_of_two().saturating_mul(Share::BYTES);
        shares
            .saturating_add(shares / 2)
            .saturating_add(Wheel::<()>::bytes(256))
    }

    /// Counts a request of `client`. Returns what the client has left.
    ///
    /// # Errors
    /// The limit is reached. The value is the time until the client's window ends.
    #[inline(always)]
    pub fn count(&mut self, client: IpAddr, now: Instant) -> Result<Quota, Duration> {
        let client = client_key(client, self.limit.ipv6_prefix);
        if let Some(&key) = self.index.get(&client)
            && let Some(window) = self.windows.get_mut(key)
            && now < window.end
        {
            if window.passed >= self.limit.requests {
                return Err(window.end.since(now));
            }
            window.passed = window.passed.saturating_add(1);
            let left = self.limit.requests.saturating_sub(window.passed);
            return Ok(Quota::new(left, window.end));
        }
        self.start(client, now);
        let left = self.limit.requests.saturating_sub(1);
        Ok(Quota::new(left, now.after(self.limit.window)))
    }

    /// Returns the key of a client that counts by its address.
    pub fn key_of(&self, client: IpAddr) -> u128 {
        client_key(client, self.limit.ipv6_prefix)
    }

    /// Checks if a request of `client` would be counted in a fixed window, without counting it.
    ///
    /// # Errors
    /// The limit is reached. The value is the time until the client's window ends.
    pub fn peek(&self, client: u128, now: Instant) -> Result<(), Duration> {
        let key = self.index.get(&client);
        match key.and_then(|&key| self.windows.get(key)) {
            Some(window) if now < window.end && window.passed >= self.limit.requests => {
                Err(window.end.since(now))
            }
            _ => Ok(()),
        }
    }

    /// Removes the clients whose windows have ended.
    pub fn expire(&mut self, now: Instant) {
        while let Some(reminder) = self.wheel.pop_due(now) {
            if self.wheel.fire(&mut self.timer, reminder, now) {
                while let Some((oldest, gone)) = self.oldest_gone()
                    && gone <= now
                {
                    self.forget(oldest);
                }
                self.watch_oldest();
            }
        }
    }

    /// Returns the oldest window, and when it is forgotten.
    fn oldest_gone(&self) -> Option<(Key<Window>, Instant)> {
        let oldest = self.oldest?;
        let window = self.windows.get(oldest)?;
        Some((oldest, window.end.after(self.linger)))
    }

    /// Sets the timer. The end of the oldest window only moves later, so this rarely changes the
    /// wheel.
    fn watch_oldest(&mut self) {
        if let Some((_, gone)) = self.oldest_gone() {
            self.wheel.arm(&mut self.timer, (), gone);
        }
    }

    /// Returns the time of the next call of [`expire`](Self::expire).
    pub fn next_expiry(&self) -> Option<Instant> {
        self.wheel.next_due()
    }

    /// Returns the length of a window.
    pub fn window(&self) -> Duration {
        self.limit.window
    }

    /// Returns the number of clients in the table. At most the limit's `max_clients`, unless it
    /// became smaller: see [`shrink`](Self::shrink).
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Returns true if the table is empty.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn start(&mut self, client: u128, now: Instant) {
        if let Some(&ended) = self.index.get(&client) {
            self.forget(ended);
        }
        let used = Used {
            passed: 1,
            previous: 0,
            end: now.after(self.limit.window),
        };
        self.insert(client, used);
    }

    /// Inserts the newest window, of a client that has none.
    fn insert(&mut self, client: u128, used: Used) {
        if self.windows.len() >= self.limit.max_clients
            && let Some(oldest) = self.oldest
        {
            self.forget(oldest);
            self.shrink(1);
        }
        let key = self.windows.insert(Window {
            client,
            passed: used.passed,
            previous: used.previous,
            end: used.end,
            older: None,
            newer: None,
        });
        self.index.insert(client, key);
        self.append(key);
        self.watch_oldest();
    }

    /// Makes a window, which is not in the list, the newest.
    fn append(&mut self, key: Key<Window>) {
        let older = self.newest.replace(key);
        if let Some(window) = self.windows.get_mut(key) {
            (window.older, window.newer) = (older, None);
        }
        match older.and_then(|older| self.windows.get_mut(older)) {
            Some(older) => older.newer = Some(key),
            None => self.oldest = Some(key),
        }
    }

    fn forget(&mut self, key: Key<Window>) {
        self.unlink(key);
        if let Some(window) = self.windows.remove(key) {
            self.index.remove(&window.client);
        }
    }

    /// Takes a window out of the list.
    fn unlink(&mut self, key: Key<Window>) {
        let Some(window) = self.windows.get(key) else {
            return;
        };
        let (older, newer) = (window.older, window.newer);
        match older.and_then(|older| self.windows.get_mut(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match newer.and_then(|newer| self.windows.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}

impl Window {
    fn used(&self) -> Used {
        Used {
            passed: self.passed,
            previous: self.previous,
            end: self.end,
        }
    }
}

/// Returns the buckets of a hash table for this many clients: at most seven of eight are used, and
/// there must be room for twice as many clients.
pub(super) const fn buckets(max_clients: usize) -> usize {
    max_clients
        .saturating_add(1)
        .saturating_mul(16)
        .div_ceil(7)
        .next_power_of_two()
}

/// Returns the key of a client. An IPv4 address and its mapped form are the same client. IPv6
/// addresses with the same leading bits are one client.
#[inline(always)]
pub fn client_key(client: IpAddr, ipv6_prefix: u8) -> u128 {
    match client.to_canonical() {
        // Within ::ffff:0:0/96, which no IPv6 client uses.
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => {
            let dropped = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            u128::from(address)
                .checked_shr(dropped)
                .unwrap_or(0)
                .checked_shl(dropped)
                .unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts a request, and leaves the state of the window out.
    fn count(table: &mut RateTable, client: IpAddr, now: Instant) -> Result<(), Duration> {
        table.count(client, now).map(|_| ())
    }
    use core::net::{Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    fn limit(requests: u32, max_clients: usize) -> RateLimit {
        RateLimit {
            requests,
            window: Duration::from_secs(60),
            ipv6_prefix: 64,
            max_clients,
            headers: RateHeaders::Off,
            algorithm: Algorithm::Fixed,
            key: RateKey::Ip,
            exempt: PeerSet::default(),
            store: None,
            exact: false,
        }
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Returns all running windows of a table.
    fn all(table: &RateTable, now: Instant) -> Vec<WindowRecord> {
        let mut walk = table.walk();
        let records = table.records(&mut walk, table.len() + 1, now);
        assert!(walk.is_over());
        records
    }

    #[test]
    fn twenty_pass_and_the_next_waits_for_the_window_to_end() {
        let mut table = RateTable::new(limit(20, 100), 1);
        for _ in 0..20 {
            assert_eq!(count(&mut table, v4(1), at(1_000)), Ok(()));
        }
        assert_eq!(
            count(&mut table, v4(1), at(1_000)),
            Err(Duration::from_secs(60))
        );
        assert_eq!(
            count(&mut table, v4(1), at(60_999)),
            Err(Duration::from_millis(1))
        );
        assert_eq!(
            count(&mut table, v4(2), at(60_999)),
            Ok(()),
            "another client"
        );
        assert_eq!(
            count(&mut table, v4(1), at(61_000)),
            Ok(()),
            "exact, although the wheel has not turned"
        );
        for _ in 0..19 {
            assert_eq!(count(&mut table, v4(1), at(61_000)), Ok(()));
        }
        assert!(count(&mut table, v4(1), at(61_000)).is_err());
    }

    #[test]
    fn the_wheel_forgets() {
        let mut table = RateTable::new(limit(20, 100), 1);
        let _ = count(&mut table, v4(1), at(1_000));
        let mut now = at(1_000);
        while let Some(due) = table.next_expiry() {
            now = due;
            table.expire(now);
        }
        assert!(table.is_empty());
        assert!((61_000..61_100).contains(&now.as_millis()), "{now:?}");
    }

    #[test]
    fn another_table_takes_windows_over() {
        let mut old = RateTable::new(limit(2, 100), 1);
        for (client, millis) in [(1, 0), (2, 10_000), (2, 10_001), (3, 20_000)] {
            assert_eq!(count(&mut old, v4(client), at(millis)), Ok(()));
        }
        let records = all(&old, at(61_000));
        assert_eq!(
            records
                .iter()
                .map(|record| (record.passed, record.left.as_millis()))
                .collect::<Vec<_>>(),
            [(2, 9_000), (1, 19_000)],
            "the oldest first, and none that is over"
        );
        // The clock of another process is at another time.
        let mut new = RateTable::new(limit(2, 100), 9);
        for record in &records {
            assert!(new.restore(*record, at(50)));
        }
        assert_eq!(all(&new, at(50)), records);
        assert_eq!(count(&mut new, v4(2), at(50)), Err(Duration::from_secs(9)));
        assert_eq!(count(&mut new, v4(3), at(50)), Ok(()));
        assert!(count(&mut new, v4(3), at(50)).is_err());
        assert_eq!(
            count(&mut new, v4(2), at(9_050)),
            Ok(()),
            "its window is over"
        );
        new.expire(at(19_200));
        assert_eq!(new.len(), 1, "the timer knows the windows");
    }

    #[test]
    fn a_walk_has_an_end_whatever_clients_come_and_go() {
        let mut table = RateTable::new(limit(1, 100), 1);
        for n in 0..100 {
            assert_eq!(count(&mut table, v4(n), at(u64::from(n))), Ok(()));
        }
        let mut walk = table.walk();
        let mut clients = Vec::new();
        let mut next = 1_000;
        while !walk.is_over() {
            let records = table.records(&mut walk, 10, at(100));
            assert!(records.len() <= 10);
            clients.extend(records.into_iter().map(|record| record.client as u32));
            // Each new client takes the place of the oldest.
            for _ in 0..15 {
                next += 1;
                assert_eq!(count(&mut table, v4(next), at(u64::from(next))), Ok(()));
            }
        }
        // After each ten that are visited the fifteen oldest are gone.
        let wanted = [0..10, 15..25, 30..40, 45..55, 60..70, 75..85, 90..100];
        assert_eq!(clients, wanted.into_iter().flatten().collect::<Vec<_>>());
    }

    #[test]
    fn windows_that_do_not_fit_are_left_out() {
        let mut table = RateTable::new(limit(2, 2), 1);
        let record = |client, left| WindowRecord {
            client,
            passed: 2,
            previous: 0,
            left: Duration::from_millis(left),
        };
        for (window, fits) in [
            (record(1, 10_000), true),
            (record(2, 9_999), false),
            (record(1, 10_001), false),
            (record(3, 0), false),
            (record(3, 60_001), false),
            (record(3, 60_000), true),
            (record(4, 60_000), true),
        ] {
            assert_eq!(table.restore(window, at(5)), fits, "{window:?}");
        }
        let clients = all(&table, at(5)).into_iter().map(|record| record.client);
        assert_eq!(clients.collect::<Vec<_>>(), [3, 4], "the oldest went");
    }

    #[test]
    fn who_is_one_client() {
        let mut table = RateTable::new(limit(1, 100), 1);
        let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().expect("an address"));
        assert!(count(&mut table, v6("2001:db8::1"), at(0)).is_ok());
        assert!(
            count(&mut table, v6("2001:db8::ffff:1"), at(0)).is_err(),
            "the same /64"
        );
        assert!(
            count(&mut table, v6("2001:db8:0:1::1"), at(0)).is_ok(),
            "another /64"
        );
        assert!(count(&mut table, v4(0x0a00_0001), at(0)).is_ok());
        assert!(
            count(&mut table, v6("::ffff:10.0.0.1"), at(0)).is_err(),
            "mapped"
        );
    }

    #[test]
    fn a_hundred_thousand_clients_stay_within_the_bound() {
        // The first row counts as requests by address do, the others as all other limits do.
        for (is_plain, algorithm) in [
            (true, Algorithm::Fixed),
            (false, Algorithm::Fixed),
            (false, Algorithm::Sliding),
            (false, Algorithm::Bucket { burst: 1 }),
        ] {
            let limit = RateLimit {
                algorithm,
                ..limit(1, 1_000)
            };
            let mut table = RateTable::new(limit, 1);
            let passes = |table: &mut RateTable, client: IpAddr, now: Instant| match is_plain {
                true => count(table, client, now).is_ok(),
                false => table.count_key(client_key(client, 64), now).is_ok(),
            };
            for n in 0..100_000 {
                assert!(passes(&mut table, v4(n), at(u64::from(n))), "{algorithm:?}");
                assert!(table.len() <= 1_000);
                assert!(
                    table.wheel.len() <= 2,
                    "{} reminders: what was evicted leaves nothing behind",
                    table.wheel.len()
                );
            }
            assert!(
                !passes(&mut table, v4(99_999), at(100_000)),
                "the newest are remembered"
            );
            assert!(
                passes(&mut table, v4(98_999), at(100_000)),
                "the oldest went"
            );
            // An empty map says how many it has room for.
            table.index.clear();
            let room = buckets(1_000) / 8 * 7;
            assert!(
                table.index.capacity() <= room,
                "{} clients fit, not {room}",
                table.index.capacity()
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_list(
            steps in prop::collection::vec((0_u32..6, 0_u64..30_000, any::<bool>()), 1..200),
            max_clients in 1_usize..8,
        ) {
            let mut table = RateTable::new(limit(3, max_clients), 1);
            // Client, start and count, oldest first.
            let mut naive: Vec<(u32, u64, u32)> = Vec::new();
            let mut now = 0;
            for (client, pause, expire) in steps {
                now += pause;
                if expire {
                    table.expire(at(now));
                }
                naive.retain(|(_, start, _)| now < start + 60_000);
                let expected = match naive.iter_mut().find(|(known, ..)| *known == client) {
                    Some((_, start, 3)) => Err(Duration::from_millis(*start + 60_000 - now)),
                    Some((.., count)) => {
                        *count += 1;
                        Ok(())
                    }
                    None => {
                        if naive.len() == max_clients {
                            naive.remove(0);
                        }
                        naive.push((client, now, 1));
                        Ok(())
                    }
                };
                prop_assert_eq!(table.peek(table.key_of(v4(client)), at(now)), expected);
                prop_assert_eq!(table.peek(table.key_of(v4(client)), at(now)), expected, "looking counts nothing");
                prop_assert_eq!(count(&mut table, v4(client), at(now)), expected);
                prop_assert!(table.len() <= max_clients && table.wheel.len() <= 1);
                prop_assert!(table.next_expiry().is_some(), "somebody is always to be forgotten");
            }
            while let Some(due) = table.next_expiry() {
                table.expire(due);
            }
            prop_assert!(table.is_empty() && table.index.is_empty() && table.oldest.is_none() && table.newest.is_none());
        }
    }
}
