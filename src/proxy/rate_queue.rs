//! Windows with counts that a store does not know yet.
//!
//! The limiter puts windows in while it counts. The stores take them out at the end of the turn.

use std::collections::VecDeque;

use super::ids::{ClientId, RateTableId, StoreId};
use crate::limits::STORE_QUEUE_MAX;
use crate::policy::meter::Full;
use crate::policy::rate::{RateTable, Unsent, WindowId};
use crate::policy::rate_fields::Quota;
use crate::time::Instant;

/// Window of a table.
pub(super) struct Queued {
    pub(super) table: RateTableId,
    pub(super) window: WindowId,
    /// Request that waits for the answer; it goes to the store by itself.
    pub(super) waiter: Option<Waiter>,
}

impl Queued {
    /// Takes out of the table what goes to the store; `None`: the window is over.
    pub(super) fn unsent(&self, table: &mut RateTable) -> Option<Unsent> {
        match self.waiter {
            None => table.take_unsent(self.window),
            Some(_) => table
                .client_of(self.window)
                .map(|client| Unsent { client, number: 1 }),
        }
    }
}

/// Request that waits for the answer to its count.
#[derive(Clone, Copy)]
pub(super) struct Waiter {
    pub(super) client: ClientId,
    /// Number of the request, by which a late answer is told from that to the next request.
    pub(super) number: u32,
    /// Place of the limit in its list.
    pub(super) place: u8,
}

/// Answer to a request that waits.
pub(super) struct Judged {
    pub(super) waiter: Waiter,
    pub(super) verdict: Verdict,
}

/// Verdict of a store about a request.
pub(super) enum Verdict {
    /// The request passes, and leaves its client this.
    Passed(Quota),
    /// The client has no request left.
    Full(Full),
    /// The store is down, or the window over.
    Unknown,
}

/// Queue of each store.
#[derive(Default)]
pub(super) struct StoreQueues {
    queues: Vec<StoreQueue>,
    /// Answers that requests wait for.
    pub(super) judged: Vec<Judged>,
    number: u32,
}

struct StoreQueue {
    store: StoreId,
    windows: VecDeque<Queued>,
    /// True while counts go to the store.
    is_up: bool,
    /// True while the store is down and its limits refuse requests for that.
    refuses: bool,
}

impl StoreQueues {
    /// Upper bound of the bytes of one queue.
    pub(super) const BYTES: usize = {
        let entries = STORE_QUEUE_MAX.next_power_of_two() / 2 * 3;
        entries * (size_of::<Queued>() + size_of::<Judged>()) + size_of::<StoreQueue>() * 2
    };

    /// Adds the queue of a store, unless it is there.
    pub(super) fn add(&mut self, store: StoreId) {
        if !self.queues.iter().any(|queue| queue.store == store) {
            self.queues.push(StoreQueue {
                store,
                windows: VecDeque::new(),
                is_up: false,
                refuses: false,
            });
        }
    }

    /// Removes the queue of a store.
    pub(super) fn remove(&mut self, store: StoreId) {
        self.queues.retain(|queue| queue.store != store);
    }

    /// Counts a request in a table that shares its counts. `waiter`: the request may wait for the
    /// answer, and the second value says whether it does.
    ///
    /// # Errors
    /// The limit is reached.
    pub(super) fn count(
        &mut self,
        store: StoreId,
        (id, table): (RateTableId, &mut RateTable),
        client: u128,
        waiter: Option<Waiter>,
        now: Instant,
    ) -> Result<(Quota, bool), Full> {
        let queue = self.of(store);
        let has_room = queue.as_ref().is_some_and(|queue| queue.has_room());
        let is_up = queue.as_ref().is_some_and(|queue| queue.is_up);
        // Without a store, or room, the request is counted as one that does not wait.
        let waiter = waiter.filter(|_| is_up && has_room);
        let (quota, window) = match waiter {
            Some(_) => table.ask_shared(client, now)?,
            None => table.count_shared(client, has_room, now)?,
        };
        put(queue, (id, window), waiter);
        Ok((quota, waiter.is_some()))
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
        let window = table.give_back_shared(client, has_room);
        put(queue, (id, window), None);
    }

    /// Returns true if the limits of a store refuse requests.
    pub(super) fn refuse(&mut self, store: StoreId) -> bool {
        self.of(store).is_some_and(|queue| queue.refuses)
    }

    /// Sets whether counts go to a store, and whether its limits refuse requests where none do.
    pub(super) fn set_state(&mut self, store: StoreId, is_up: bool, is_closed: bool) {
        if let Some(queue) = self.of(store) {
            queue.is_up = is_up;
            queue.refuses = is_closed && !is_up;
        }
    }

    /// Has a request that waits learn the answer.
    pub(super) fn judge(&mut self, waiter: Option<Waiter>, verdict: Verdict) {
        let judged = waiter.map(|waiter| Judged { waiter, verdict });
        self.judged.extend(judged);
    }

    /// Returns the number of the next request.
    pub(super) fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Takes the next window of a store.
    pub(super) fn take(&mut self, store: StoreId) -> Option<Queued> {
        self.of(store)?.windows.pop_front()
    }

    /// Returns true if no window waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.windows.is_empty())
    }

    fn of(&mut self, store: StoreId) -> Option<&mut StoreQueue> {
        self.queues.iter_mut().find(|queue| queue.store == store)
    }
}

impl StoreQueue {
    /// Returns true if one more window has room. The counts of others stay in the table until their
    /// client sends another request.
    fn has_room(&self) -> bool {
        self.windows.len() < STORE_QUEUE_MAX
    }
}

fn put(
    queue: Option<&mut StoreQueue>,
    (table, window): (RateTableId, Option<WindowId>),
    waiter: Option<Waiter>,
) {
    if let (Some(queue), Some(window)) = (queue, window) {
        queue.windows.push_back(Queued {
            table,
            window,
            waiter,
        });
    }
}
