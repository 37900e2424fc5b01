//! Timer wheel of 256 slots of 64 ms, armed lazily.
//!
//! Most deadlines are moved or dropped long before they are due. So a deadline is a number in a
//! [`Timer`] that its owner keeps: setting, extending and clearing it is one store. The wheel holds
//! an entry for it. When the slot of the entry is due, the wheel looks at the owner's timer, and
//! only then puts a deadline that moved into its new slot.
//!
//! A timer never fires early, and at most one slot late while the loop runs.

use core::num::NonZeroU64;

use crate::limits::REMINDERS_RETAINED;
use crate::time::{Duration, Instant};

const SLOTS: u64 = 256;
const SLOT_MILLIS: u64 = 64;

/// Deadline, kept by its owner.
///
/// Sixteen bytes, since every connection has one: neither number is ever 0.
#[derive(Clone, Copy, Default, Debug)]
pub struct Timer {
    /// Deadline in milliseconds. The origin of time is stored as 1 ms.
    deadline: Option<NonZeroU64>,
    /// Tick of the valid entry in the wheel; any other entry is stale.
    entry: Option<NonZeroU64>,
}

impl Timer {
    /// Returns the deadline, if the timer is armed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
            .map(|millis| Instant::from_millis(millis.get()))
    }

    /// Disarms the timer. Its entry stays in the wheel, and is stale.
    pub fn clear(&mut self) {
        self.deadline = None;
    }
}

/// Entry that came out of the wheel. [`Wheel::fire`] takes it together with the timer of `item`.
#[derive(Clone, Copy, Debug)]
pub struct TimerEntry<T> {
    /// Owner of the timer.
    pub item: T,
    tick: u64,
}

/// Timer wheel. `T` is the key of a timer's owner.
///
/// All slots share one storage. A slot is due every 16 s, and storage of its own would be allocated
/// and freed long after the other slots have theirs.
pub struct Wheel<T> {
    nodes: Vec<Node<T>>,
    /// First node of each slot's list, and of the free list.
    slots: Box<[u32]>,
    free: u32,
    /// Bits of the slots that hold entries.
    occupied: [u64; (SLOTS / 64) as usize],
    /// Last tick whose slot was emptied.
    fired: u64,
    /// Earliest tick whose slot is marked in `occupied`; [`NEVER`] if no slot is. The loop asks for
    /// it in each iteration.
    first: u64,
    len: usize,
}

/// Tick that is never reached.
const NEVER: u64 = u64::MAX;

/// Node for an entry. Its tick follows from its slot: a slot holds the entries of one round only.
#[derive(Clone, Copy)]
struct Node<T> {
    item: T,
    /// Index of the next node of the list.
    next: u32,
}

/// End of a list.
const END: u32 = u32::MAX;

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Wheel::new()
    }
}

impl<T: Copy> Wheel<T> {
    /// Creates an empty wheel at the origin of time.
    pub fn new() -> Wheel<T> {
        let slots = Box::new([END; SLOTS as usize]);
        Wheel {
            nodes: Vec::new(),
            slots,
            free: END,
            occupied: [0; 4],
            fired: 0,
            first: NEVER,
            len: 0,
        }
    }

    /// Returns the number of entries, including stale ones.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true without entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the deadline of `timer`, which belongs to `item`. Adds an entry only if none is early
    /// enough.
    #[inline(always)]
    pub fn arm(&mut self, timer: &mut Timer, item: T, deadline: Instant) {
        timer.deadline = NonZeroU64::new(deadline.as_millis().max(1));
        // Nearly always the entry comes before the deadline.
        if timer
            .entry
            .is_none_or(|entry| entry.get() > deadline.as_millis() / SLOT_MILLIS)
        {
            self.remind(timer, item, deadline);
        }
    }

    #[inline(never)]
    fn remind(&mut self, timer: &mut Timer, item: T, deadline: Instant) {
        let tick = self.tick_of(deadline);
        if timer.entry.is_none_or(|entry| entry.get() > tick) {
            timer.entry = NonZeroU64::new(tick);
            self.insert(item, tick);
        }
    }

    /// Returns the next entry whose slot is due at `now`. Call until `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<TimerEntry<T>> {
        let last = now.as_millis() / SLOT_MILLIS;
        loop {
            let tick = self.first;
            if tick == NEVER {
                return None;
            }
            if tick > last {
                // Every slot between is empty, so the wheel advances without looking at them.
                self.fired = self.fired.max(last);
                return None;
            }
            let slot = (tick % SLOTS) as usize;
            match self.take(slot) {
                Some(item) => {
                    // The slot may hold more entries, so its tick is not finished; all ticks before
                    // it are.
                    self.fired = tick.saturating_sub(1);
                    return Some(TimerEntry { item, tick });
                }
                None => {
                    self.fired = tick;
                    if let Some(word) = self.occupied.get_mut(slot / 64) {
                        *word &= !(1 << (slot % 64));
                    }
                    if self.len == 0 {
                        self.clear();
                    } else {
                        self.first = self.first_occupied();
                    }
                }
            }
        }
    }

    /// Fires the timer of an entry: returns true and disarms it if its deadline has come. A
    /// deadline that moved gets a new entry.
    pub fn fire(&mut self, timer: &mut Timer, entry: TimerEntry<T>, now: Instant) -> bool {
        if timer.entry.map(NonZeroU64::get) != Some(entry.tick) {
            return false;
        }
        timer.entry = None;
        match timer.deadline() {
            Some(deadline) if deadline <= now => {
                timer.deadline = None;
                true
            }
            Some(deadline) => {
                self.arm(timer, entry.item, deadline);
                false
            }
            None => false,
        }
    }

    /// Drops all entries, valid and stale. Every timer must be [renewed](Self::renew) then.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.nodes.shrink_to(REMINDERS_RETAINED);
        self.slots.fill(END);
        self.free = END;
        self.occupied = [0; 4];
        self.first = NEVER;
        self.len = 0;
    }

    /// Adds an entry for `timer`, which belongs to `item`, in place of one that
    /// [`clear`](Self::clear) dropped.
    pub fn renew(&mut self, timer: &mut Timer, item: T) {
        timer.entry = None;
        if let Some(deadline) = timer.deadline() {
            self.arm(timer, item, deadline);
        }
    }

    /// Returns the most bytes of a wheel that never held more than this number of entries, at least
    /// two. The storage grows by doubling, and the old one exists while it grows.
    pub const fn bytes(entries: usize) -> usize {
        let slots = (SLOTS as usize).saturating_mul(size_of::<u32>());
        entries
            .saturating_mul(3)
            .saturating_mul(size_of::<Node<T>>())
            .saturating_add(slots)
    }

    /// Returns the time of the next call of [`pop_due`](Self::pop_due).
    pub fn next_due(&self) -> Option<Instant> {
        (self.first != NEVER).then(|| Instant::from_millis(self.first.saturating_mul(SLOT_MILLIS)))
    }

    /// Longest reach of an entry. A later deadline needs several entries, one after the other.
    pub const SPAN: Duration = Duration::from_millis((SLOTS - 1) * SLOT_MILLIS);

    fn tick_of(&self, deadline: Instant) -> u64 {
        let (first, last) = (
            self.fired.saturating_add(1),
            self.fired.saturating_add(SLOTS - 1),
        );
        deadline
            .as_millis()
            .div_ceil(SLOT_MILLIS)
            .max(first)
            .min(last)
    }

    fn insert(&mut self, item: T, tick: u64) {
        let slot = (tick % SLOTS) as usize;
        let (Some(first), Some(word)) =
            (self.slots.get_mut(slot), self.occupied.get_mut(slot / 64))
        else {
            return;
        };
        let node = Node { item, next: *first };
        match self.nodes.get_mut(self.free as usize) {
            Some(unused) => {
                *first = core::mem::replace(&mut self.free, unused.next);
                *unused = node;
            }
            None => {
                *first = u32::try_from(self.nodes.len()).unwrap_or(END);
                self.nodes.push(node);
            }
        }
        *word |= 1 << (slot % 64);
        self.first = self.first.min(tick);
        self.len = self.len.saturating_add(1);
    }

    /// Removes the last entry of a slot.
    fn take(&mut self, slot: usize) -> Option<T> {
        let first = self.slots.get_mut(slot)?;
        let node = self.nodes.get_mut(*first as usize)?;
        let next = core::mem::replace(&mut node.next, self.free);
        self.free = core::mem::replace(first, next);
        self.len = self.len.saturating_sub(1);
        Some(node.item)
    }

    /// Returns the earliest tick behind `fired` whose slot is marked, or [`NEVER`].
    fn first_occupied(&self) -> u64 {
        let mut tick = self.fired.saturating_add(1);
        let end = tick.saturating_add(SLOTS);
        while tick < end {
            let slot = (tick % SLOTS) as usize;
            let word = self.occupied.get(slot / 64).copied().unwrap_or(0) >> (slot % 64);
            if word != 0 {
                return tick.saturating_add(u64::from(word.trailing_zeros()));
            }
            // First tick of the next word.
            tick = (tick | 63).saturating_add(1);
        }
        NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Runs the wheel at `now` and returns the items that fired.
    fn due(wheel: &mut Wheel<usize>, timers: &mut [Timer], now: u64) -> Vec<usize> {
        let mut due = Vec::new();
        while let Some(entry) = wheel.pop_due(at(now)) {
            if wheel.fire(&mut timers[entry.item], entry, at(now)) {
                due.push(entry.item);
            }
            assert_eq!(wheel.first, wheel.first_occupied());
        }
        assert_eq!(wheel.first, wheel.first_occupied());
        due.sort_unstable();
        due
    }

    #[test]
    fn never_early_and_at_most_one_slot_late() {
        for deadline in [
            1, 63, 64, 65, 1_000, 15_000, 16_320, 16_384, 75_000, 3_600_000,
        ] {
            let (mut wheel, mut timers) = (Wheel::new(), [Timer::default()]);
            wheel.arm(&mut timers[0], 0, at(deadline));
            let mut now = 0;
            loop {
                now = wheel.next_due().expect("armed").as_millis().max(now);
                if !due(&mut wheel, &mut timers, now).is_empty() {
                    break;
                }
                assert!(now < deadline + SLOT_MILLIS);
            }
            assert!(
                (deadline..deadline + SLOT_MILLIS).contains(&now),
                "{deadline} fired at {now}"
            );
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn extending_is_a_store_and_shortening_is_heard() {
        let (mut wheel, mut timers) = (Wheel::new(), [Timer::default()]);
        wheel.arm(&mut timers[0], 0, at(1_000));
        for deadline in 1_001..2_000 {
            wheel.arm(&mut timers[0], 0, at(deadline));
        }
        assert_eq!(wheel.len(), 1);
        wheel.arm(&mut timers[0], 0, at(500));
        assert_eq!(wheel.len(), 2);
        assert!(due(&mut wheel, &mut timers, 499).is_empty());
        assert_eq!(due(&mut wheel, &mut timers, 512), [0]);
        assert!(
            due(&mut wheel, &mut timers, 5_000).is_empty(),
            "the stale reminder does nothing"
        );
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_cleared_timer_stays_silent_and_can_be_armed_again() {
        let (mut wheel, mut timers) = (Wheel::new(), [Timer::default()]);
        wheel.arm(&mut timers[0], 0, at(300));
        timers[0].clear();
        assert!(due(&mut wheel, &mut timers, 10_000).is_empty());
        wheel.arm(&mut timers[0], 0, at(10_001));
        assert_eq!(due(&mut wheel, &mut timers, 10_100), [0]);
    }

    #[test]
    fn the_places_of_the_past_hold_the_future() {
        let (mut wheel, mut timers) = (Wheel::new(), [Timer::default(); 100]);
        for second in 1..200 {
            for (item, timer) in timers.iter_mut().enumerate() {
                wheel.arm(timer, item, at(second * 1000 + item as u64));
            }
            assert_eq!(
                wheel.nodes.len(),
                100,
                "no more places than reminders at once"
            );
            assert_eq!(
                due(&mut wheel, &mut timers, second * 1000 + 100 + SLOT_MILLIS).len(),
                100
            );
        }
        assert!(wheel.nodes.is_empty() && wheel.nodes.capacity() <= 128);
    }

    #[test]
    fn storage_is_given_back_once_the_wheel_is_empty() {
        let (mut wheel, mut timers) =
            (Wheel::new(), vec![Timer::default(); 4 * REMINDERS_RETAINED]);
        for (item, timer) in timers.iter_mut().enumerate() {
            wheel.arm(timer, item, at(item as u64));
        }
        assert_eq!(
            due(&mut wheel, &mut timers, 60_000).len(),
            4 * REMINDERS_RETAINED
        );
        assert!(wheel.nodes.capacity() <= REMINDERS_RETAINED);
    }

    #[test]
    fn a_jump_over_many_turns_loses_nothing() {
        let (mut wheel, mut timers) = (Wheel::new(), [Timer::default(); 500]);
        for (item, timer) in timers.iter_mut().enumerate() {
            wheel.arm(timer, item, at(item as u64 * 97));
        }
        assert_eq!(due(&mut wheel, &mut timers, 3_600_000).len(), 500);
        wheel.arm(&mut timers[7], 7, at(1));
        assert_eq!(
            due(&mut wheel, &mut timers, 3_600_064),
            [7],
            "an overdue deadline fires at the next tick"
        );
    }
}
