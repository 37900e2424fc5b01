//! Windows with counts that a store does not know yet.
//!
//! The limiter puts windows in while it counts. The stores take them out at the end of the turn.

use std::collections::VecDeque;

use super::ids::{RateTableId, StoreId};
use crate::limits::STORE_QUEUE_MAX;
use crate::policy::meter::Full;
use crate::policy::rate::{RateTable, WindowId};
use crate::policy::rate_fields::Quota;
use crate::time::Instant;

/// Window of a table.
pub(super) type Queued = (RateTableId, WindowId);

/// Queue of each store.
#[derive(Default)]
pub(super) struct StoreQueues(Vec<StoreQueue>);

struct StoreQueue {
    store: StoreId,
    windows: VecDeque<Queued>,
    /// True while the store is down and its limits refuse requests for that.
    refuses: bool,
}

impl StoreQueues {
    /// Upper bound of the bytes of one queue.
    pub(super) const BYTES: usize = {
        let entries = STORE_QUEUE_MAX.next_power_of_two() / 2 * 3;
        entries * size_of::<Queued>() + size_of::<StoreQueue>() * 2
    };

    /// Adds the queue of a store, unless it is there.
    pub(super) fn add(&mut self, store: StoreId) {
        if !self.0.iter().any(|queue| queue.store == store) {
            self.0.push(StoreQueue {
                store,
                windows: VecDeque::new(),
                refuses: false,
            });
        }
    }

    /// Removes the queue of a store.
    pub(super) fn remove(&mut self, store: StoreId) {
        self.0.retain(|queue| queue.store != store);
    }

    /// Counts a request in a table that shares its counts.
    ///
    /// # Errors
    /// The limit is reached.
    pub(super) fn count(
        &mut self,
        store: StoreId,
        (id, table): (RateTableId, &mut RateTable),
        client: u128,
        now: Instant,
    ) -> Result<Quota, Full> {
        let queue = self.of(store);
        let has_room = queue.as_ref().is_some_and(|queue| queue.has_room());
        let (quota, window) = table.count_shared(client, has_room, now)?;
        put(queue, id, window);
        Ok(quota)
    }

    /// Takes back what a request was counted for in a table that shares its counts.
    pub(super) fn give_back(
        &mut self,
        store: StoreId,
        (id, table): (RateTableId, &mut RateTable),
        client: u128,
    ) {
        let queue = self.of(store);
        let has_room = queue.as_ref().is_some_and(|queue| queue.has_room());
        put(queue, id, table.give_back_shared(client, has_room));
    }

    /// Returns true if the limits of a store refuse requests.
    pub(super) fn refuse(&mut self, store: StoreId) -> bool {
        self.of(store).is_some_and(|queue| queue.refuses)
    }

    /// Sets whether the limits of a store refuse requests.
    pub(super) fn set_refuses(&mut self, store: StoreId, refuses: bool) {
        if let Some(queue) = self.of(store) {
            queue.refuses = refuses;
        }
    }

    /// Takes the next window of a store.
    pub(super) fn take(&mut self, store: StoreId) -> Option<Queued> {
        self.of(store)?.windows.pop_front()
    }

    /// Returns true if no window waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|queue| queue.windows.is_empty())
    }

    fn of(&mut self, store: StoreId) -> Option<&mut StoreQueue> {
        self.0.iter_mut().find(|queue| queue.store == store)
    }
}

impl StoreQueue {
    /// Returns true if one more window has room. The counts of others stay in the table until their
    /// client sends another request.
    fn has_room(&self) -> bool {
        self.windows.len() < STORE_QUEUE_MAX
    }
}

fn put(queue: Option<&mut StoreQueue>, table: RateTableId, window: Option<WindowId>) {
    if let (Some(queue), Some(window)) = (queue, window) {
        queue.windows.push_back((table, window));
    }
}
