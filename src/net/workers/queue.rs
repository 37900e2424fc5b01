//! Queues from one thread to another.
//!
//! Each type of item takes some 6 KB of the binary in a channel of the standard library, which brings
//! three kinds of queues and chooses while it runs. A queue of this file takes some hundred bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Creates a queue of at most `bound` items.
pub(in crate::net) fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bound,
            senders: 1,
            has_receiver: true,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Creates a queue whose users bound what waits in it.
pub(in crate::net) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// End of a queue that takes items.
pub(in crate::net) struct Sender<T>(Arc<Shared<T>>);

/// End of a queue that gives items.
pub(in crate::net) struct Receiver<T>(Arc<Shared<T>>);

/// Reason why a queue does not take an item.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::net) enum Refused<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed,
}

/// Reason why a queue gives no item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Empty {
    /// The time is over.
    TimedOut,
    /// The queue is empty and all senders are gone.
    Closed,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signalled after each item, and when the last sender is gone.
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    bound: usize,
    senders: usize,
    has_receiver: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Adds an item. Never waits.
    ///
    /// # Errors
    /// The queue is full, or the receiver is gone.
    #[inline(never)]
    pub(in crate::net) fn send(&self, item: T) -> Result<(), Refused<T>> {
        let mut state = self.0.lock();
        if !state.has_receiver {
            return Err(Refused::Closed);
        }
        if state.items.len() >= state.bound {
            return Err(Refused::Full(item));
        }
        state.items.push_back(item);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let mut state = self.0.lock();
        state.senders = state.senders.saturating_add(1);
        drop(state);
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders = state.senders.saturating_sub(1);
        drop(state);
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Returns the next item, if there is one. Never waits.
    #[inline(never)]
    pub(in crate::net) fn poll(&self) -> Option<T> {
        self.0.lock().items.pop_front()
    }

    /// Waits for the next item.
    ///
    /// # Errors
    /// The time is over, or all senders are gone.
    #[inline(never)]
    pub(in crate::net) fn receive(&self, timeout: Option<Duration>) -> Result<T, Empty> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.0.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Ok(item);
            }
            if state.senders == 0 {
                return Err(Empty::Closed);
            }
            state = match until {
                None => {
                    let waited = self.0.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Empty::TimedOut);
                    }
                    let waited = self.0.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_receiver = false;
        let items = core::mem::take(&mut state.items);
        drop(state);
        // An item may hold a sender of this queue.
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::workers::spawn;

    #[test]
    fn items_arrive_in_their_order() {
        let (sender, receiver) = unbounded();
        let second = sender.clone();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(second.send(2), Ok(()));
        assert_eq!(receiver.receive(None), Ok(1));
        assert_eq!(receiver.poll(), Some(2));
        assert_eq!(receiver.poll(), None);
    }

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let (sender, receiver) = bounded(1);
        assert_eq!(sender.send("one"), Ok(()));
        assert_eq!(sender.send("two"), Err(Refused::Full("two")));
        assert_eq!(receiver.poll(), Some("one"));
        assert_eq!(sender.send("two"), Ok(()));
    }

    #[test]
    fn a_queue_without_a_receiver_is_closed() {
        let (sender, receiver) = unbounded();
        let held = Arc::new(());
        assert_eq!(sender.send(Arc::clone(&held)), Ok(()));
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(sender.send(held), Err(Refused::Closed));
    }

    #[test]
    fn a_queue_is_closed_once_it_is_empty_and_all_senders_are_gone() {
        let (sender, receiver) = unbounded();
        let second = sender.clone();
        assert_eq!(second.send(1), Ok(()));
        drop(sender);
        drop(second);
        assert_eq!(receiver.receive(None), Ok(1));
        assert_eq!(receiver.receive(None), Err(Empty::Closed));
    }

    #[test]
    fn a_wait_ends_by_time_by_an_item_and_by_the_last_sender() {
        let (sender, receiver) = unbounded();
        let short = Some(Duration::from_millis(1));
        assert_eq!(receiver.receive(short), Err(Empty::TimedOut));
        let (begin, begun) = unbounded();
        let send = move || {
            let _ = begun.receive(None);
            let _ = sender.send(7);
            let _ = begun.receive(None);
        };
        spawn("sender", Box::new(send)).expect("a thread");
        let _ = begin.send(());
        assert_eq!(receiver.receive(Some(Duration::from_secs(20))), Ok(7));
        let _ = begin.send(());
        assert_eq!(receiver.receive(None), Err(Empty::Closed));
    }
}
