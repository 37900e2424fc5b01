//! Windows that several gateways share: what of a count the store does not know yet, and what the
//! store says of the others.
//!
//! ```text
//! count:   passed + 1, unsent + 1       at once, as without a store
//! send:    unsent --> in flight         at the end of the turn
//! ask:     passed + 1, in flight + 1    a request that waits goes to the store by itself
//! answer:  in flight - number; passed = max(passed, total + in flight + unsent); end = now + left
//! ```
//!
//! Sliding windows and buckets, which only a supervisor shares, are joined by `meter.rs`.

use super::{RateTable, Window};
use crate::policy::meter::{Algorithm, Full};
use crate::policy::rate_fields::Quota;
use crate::policy::store::keys;
use crate::slab::Key;
use crate::time::{Duration, Instant};

/// Name of a window. It is valid until the window is over.
#[derive(Clone, Copy)]
pub struct WindowId(Key<Window>);

/// Requests of a window that the store may not know.
#[derive(Clone, Copy, Default)]
pub(super) struct Share {
    /// Use of the slot that the numbers belong to.
    generation: u32,
    /// Requests that were not sent; below zero: more were taken back.
    unsent: i32,
    /// Requests that were sent and have no answer.
    in_flight: i32,
    /// True if the window waits to be sent.
    is_queued: bool,
}

impl Share {
    /// Bytes of the shares of a table for this many clients.
    pub(super) const BYTES: usize = size_of::<Share>();
}

/// Numbers of a window that go to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// Key of the client.
    pub client: u128,
    /// Requests since the last time; below zero: taken back.
    pub number: i32,
}

impl RateTable {
    /// Counts a request of a client whose window is shared. Returns what the client has left, and
    /// the window if it has to be queued for the store. `has_room`: the queue takes one more.
    ///
    /// # Errors
    /// The limit is reached.
    #[cold]
    pub fn count_shared(
        &mut self,
        client: u128,
        has_room: bool,
        now: Instant,
    ) -> Result<(Quota, Option<WindowId>), Full> {
        let quota = self.count_key(client, now)?;
        Ok((quota, self.note(client, 1, has_room)))
    }

    /// Counts a request that waits for the answer of the store. Returns what the client has left, and
    /// the window, of which one request is to be sent.
    ///
    /// # Errors
    /// The limit is reached.
    #[cold]
    pub fn ask_shared(
        &mut self,
        client: u128,
        now: Instant,
    ) -> Result<(Quota, Option<WindowId>), Full> {
        let quota = self.count_key(client, now)?;
        let key = self.index.get(&client).copied();
        let share = key.and_then(|key| self.share(key));
        if let Some(share) = share {
            share.in_flight = share.in_flight.saturating_add(1);
        }
        Ok((quota, key.map(WindowId)))
    }

    /// Returns the client of a window; `None`: the window is over.
    pub fn client_of(&self, window: WindowId) -> Option<u128> {
        self.windows.get(window.0).map(|window| window.client)
    }

    /// Judges a request by its place among all requests of its window; `None`: the window is over.
    /// Returns what the client has left.
    ///
    /// # Errors
    /// The request is one too many.
    pub fn judge_place(
        &self,
        window: WindowId,
        place: u64,
        now: Instant,
    ) -> Option<Result<Quota, Full>> {
        let end = self.windows.get(window.0)?.end;
        let left = u64::from(self.limit.requests).checked_sub(place);
        let wait = end.since(now);
        Some(match left {
            Some(left) => Ok(Quota::new(u32::try_from(left).unwrap_or(u32::MAX), end)),
            None => Err(Full { wait, end }),
        })
    }

    /// Takes back what a request of a client was counted for, and returns the window if it has to be
    /// queued for the store.
    #[cold]
    pub fn give_back_shared(&mut self, client: u128, has_room: bool) -> Option<WindowId> {
        self.give_back(client);
        self.note(client, -1, has_room)
    }

    /// Notes requests that the store has to know.
    fn note(&mut self, client: u128, number: i32, has_room: bool) -> Option<WindowId> {
        let key = *self.index.get(&client)?;
        let share = self.share(key)?;
        share.unsent = share.unsent.saturating_add(number);
        let is_new = has_room && !core::mem::replace(&mut share.is_queued, has_room);
        is_new.then_some(WindowId(key))
    }

    /// Takes what is to be sent of a window out; `None`: the window is over.
    pub fn take_unsent(&mut self, window: WindowId) -> Option<Unsent> {
        let client = self.windows.get(window.0)?.client;
        let share = self.share(window.0)?;
        share.is_queued = false;
        let number = core::mem::take(&mut share.unsent);
        share.in_flight = share.in_flight.saturating_add(number);
        Some(Unsent { client, number })
    }

    /// Notes that requests which were sent have an answer, or will have none. `total`: sum of all
    /// gateways, and the time until the window ends, where the store knows it. Returns the key of the
    /// client.
    pub fn settle(
        &mut self,
        window: WindowId,
        number: i32,
        total: Option<(u64, Option<Duration>)>,
        now: Instant,
    ) -> Option<u128> {
        let (longest, meter) = (self.limit.window, self.limit.meter());
        let is_marked = self.has_marked_keys();
        let share = self.share(window.0)?;
        share.in_flight = share.in_flight.saturating_sub(number);
        let outstanding = share.in_flight.saturating_add(share.unsent);
        let key = window.0;
        let window = self.windows.get_mut(key)?;
        let client = window.client;
        if is_marked {
            if let Some((total, left)) = total {
                let known = (total, left.unwrap_or_default());
                let used = meter.joined(window.used(), known, outstanding, now);
                self.set_used(key, used);
            }
        } else if let Some((total, left)) = total {
            let all = total.saturating_add_signed(outstanding.into());
            let all = u32::try_from(all).unwrap_or(u32::MAX);
            // A store that lost its counts knows less than was counted here, also of the end.
            if all >= window.passed {
                window.passed = all;
                if let Some(left) = left.filter(|left| *left > Duration::ZERO) {
                    window.end = now.after(left.min(longest));
                }
            }
        }
        Some(client)
    }

    /// Appends the key of a client as the store has it.
    pub fn write_key(&self, prefix: &str, client: u128, out: &mut Vec<u8>) {
        keys::write(prefix, client, out);
        if self.has_marked_keys() {
            keys::mark(&self.limit.meter(), out);
        }
    }

    /// Returns true if the keys in the store say what is counted: it is no fixed window.
    pub(super) fn has_marked_keys(&self) -> bool {
        self.limit.store.is_some() && self.limit.algorithm != Algorithm::Fixed
    }

    /// Returns the share of a window.
    fn share(&mut self, key: Key<Window>) -> Option<&mut Share> {
        self.windows.get(key)?;
        let place = key.index() as usize;
        if self.shares.len() <= place {
            self.shares
                .resize(place.saturating_add(1), Share::default());
        }
        let share = self.shares.get_mut(place)?;
        // The first use of a slot has the number 0, which a share without numbers has, too.
        if share.generation != key.generation() {
            *share = Share {
                generation: key.generation(),
                ..Share::default()
            };
        }
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RateLimit;
    use super::*;
    use crate::policy::forward::PeerSet;
    use crate::policy::meter::Algorithm;
    use crate::policy::rate::SharedCount;
    use crate::policy::rate_fields::RateHeaders;
    use crate::policy::rate_key::RateKey;

    fn table(requests: u32) -> RateTable {
        let limit = RateLimit {
            requests,
            window: Duration::from_secs(60),
            ipv6_prefix: 64,
            max_clients: 2,
            headers: RateHeaders::Off,
            algorithm: Algorithm::Fixed,
            key: RateKey::Ip,
            exempt: PeerSet::default(),
            store: Some(SharedCount { store: 0 }),
            exact: false,
        };
        RateTable::new(limit, 1)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Counts requests until one is refused.
    fn pass(table: &mut RateTable, now: Instant) -> u32 {
        let mut passed = 0;
        while table.count_shared(7, true, now).is_ok() {
            passed += 1;
        }
        passed
    }

    fn left(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn a_window_is_queued_once_until_it_is_sent() {
        let mut table = table(10);
        let (_, window) = table.count_shared(7, true, at(0)).expect("passes");
        let window = window.expect("queued");
        assert!(
            table
                .count_shared(7, true, at(0))
                .expect("passes")
                .1
                .is_none()
        );
        let unsent = |number| Some(Unsent { client: 7, number });
        assert_eq!(table.take_unsent(window), unsent(2));
        assert_eq!(table.take_unsent(window), unsent(0));
        // Without room the number stays, and goes with the next request.
        let mut count = |room| {
            table
                .count_shared(7, room, at(0))
                .expect("passes")
                .1
                .is_some()
        };
        assert!(!count(false));
        assert!(count(true));
        assert_eq!(table.take_unsent(window), unsent(2));
        assert!(table.give_back_shared(7, true).is_some());
        assert_eq!(table.take_unsent(window), unsent(-1));
    }

    #[test]
    fn an_answer_adds_what_others_counted() {
        let mut table = table(10);
        let (_, window) = table.count_shared(7, true, at(0)).expect("passes");
        let window = window.expect("queued");
        table.take_unsent(window);
        // Two requests that the answer does not know: one in flight, one not sent.
        let _ = table.count_shared(7, true, at(10));
        table.take_unsent(window);
        let _ = table.count_shared(7, true, at(10));
        table.settle(window, 1, Some((4, left(30_000))), at(20));
        assert_eq!(pass(&mut table, at(20)), 4, "4 there and 2 more of 10");
        let full = table.count_shared(7, true, at(20)).map(|_| ());
        assert_eq!(full.expect_err("full").end, at(30_020), "the store's end");
    }

    #[test]
    fn a_store_that_knows_less_lowers_nothing() {
        let mut table = table(10);
        let (_, window) = table.count_shared(7, true, at(0)).expect("passes");
        assert_eq!(pass(&mut table, at(0)), 9);
        let window = window.expect("queued");
        table.take_unsent(window);
        table.settle(window, 10, Some((1, left(60_000))), at(5_000));
        assert_eq!(pass(&mut table, at(5_000)), 0);
        assert_eq!(
            pass(&mut table, at(60_000)),
            10,
            "and does not make it longer"
        );
    }

    #[test]
    fn odd_answers() {
        let mut table = table(10);
        let (_, window) = table.count_shared(7, true, at(0)).expect("passes");
        let window = window.expect("queued");
        table.take_unsent(window);
        // Longer than the window, gone, without an end, and larger than any limit.
        table.settle(window, 1, Some((1, left(u64::MAX))), at(10));
        table.settle(window, 0, Some((1, left(0))), at(10));
        table.settle(window, 0, Some((1, None)), at(10));
        let full = |table: &mut RateTable| table.count_shared(7, true, at(20)).map(|_| ());
        table.settle(window, 0, Some((u64::MAX, None)), at(10));
        assert_eq!(full(&mut table).expect_err("full").end, at(60_010));
        // A window that is gone takes no answer.
        for client in [8, 9] {
            let _ = table.count_shared(client, true, at(20));
        }
        assert!(table.settle(window, 1, Some((1, None)), at(20)).is_none());
        assert!(table.take_unsent(window).is_none());
    }
}
