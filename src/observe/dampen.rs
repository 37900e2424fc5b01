//! Dampening of message floods: a bounded number of messages of a kind pass in a second, the rest
//! is counted.
//!
//! The table has a fixed size and a lookup has a constant cost, because peers decide which kinds
//! appear. A kind that finds its slots taken shares the last slot with all others in the same
//! situation: fewer of its messages may pass, never more.

use crate::time::{Duration, Instant};

/// Messages of one kind that pass in a window.
pub const DAMPEN_MESSAGES: u32 = 10;
/// Messages of all kinds together that pass in a window.
pub const DAMPEN_TOTAL: u32 = 100;
/// Length of a window.
pub const DAMPEN_WINDOW: Duration = Duration::from_secs(1);
/// Number of slots that hold a single kind.
const OWN_SLOTS: usize = 256;
/// Number of all slots; the last one is shared.
const SLOTS: usize = OWN_SLOTS + 1;
/// Number of slots that a kind may use.
const WAYS: usize = 4;

/// Kind of a message: subject and text. Messages of one kind are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Number of the subject.
    pub subject: u32,
    /// Text that all messages of this kind have in common.
    pub what: &'static str,
}

/// Number of suppressed messages of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suppressed {
    /// Kind of the messages; `None` for several kinds.
    pub kind: Option<Kind>,
    /// Number of messages.
    pub count: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    kind: Option<Kind>,
    since: Instant,
    passed: u32,
    suppressed: u32,
}

const FREE: Slot = Slot {
    kind: None,
    since: Instant::ZERO,
    passed: 0,
    suppressed: 0,
};

/// Counts messages by kind.
#[derive(Default)]
pub struct Dampener {
    /// Table, empty before the first message.
    slots: Vec<Slot>,
    /// Number of slots with suppressed messages.
    suppressed: usize,
    /// Messages of all kinds that passed in the current window, which started at `since`.
    passed: u32,
    since: Instant,
}

impl Dampener {
    /// Size of the table in bytes.
    pub const BYTES: usize = SLOTS.saturating_mul(size_of::<Slot>());

    /// Returns true if a message of this kind may pass now. Otherwise it is counted, and
    /// [`take`](Self::take) returns the count later.
    pub fn admit(&mut self, kind: Kind, now: Instant) -> bool {
        if self.slots.is_empty() {
            self.slots = vec![FREE; SLOTS];
        }
        if now.since(self.since) >= DAMPEN_WINDOW {
            (self.since, self.passed) = (now, 0);
        }
        let at = self.slot_of(kind, now);
        let Some(slot) = self.slots.get_mut(at) else {
            return false;
        };
        let shared = at == OWN_SLOTS;
        // A slot whose count was not taken yet keeps the count and its kind.
        let is_free = slot.kind.is_none() && !shared;
        if slot.suppressed == 0 && (is_free || is_over(slot, now)) {
            *slot = Slot {
                kind: (!shared).then_some(kind),
                since: now,
                ..FREE
            };
        }
        if slot.passed < DAMPEN_MESSAGES && self.passed < DAMPEN_TOTAL && slot.suppressed == 0 {
            slot.passed = slot.passed.saturating_add(1);
            self.passed = self.passed.saturating_add(1);
            return true;
        }
        self.suppressed = self
            .suppressed
            .saturating_add(usize::from(slot.suppressed == 0));
        slot.suppressed = slot.suppressed.saturating_add(1);
        false
    }

    /// Returns true if a count of suppressed messages was not taken yet.
    pub fn has_suppressed(&self) -> bool {
        self.suppressed > 0
    }

    /// Takes a count whose window is over.
    pub fn take(&mut self, now: Instant) -> Option<Suppressed> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.suppressed > 0 && is_over(slot, now))?;
        let suppressed = Suppressed {
            kind: slot.kind,
            count: slot.suppressed,
        };
        *slot = FREE;
        self.suppressed = self.suppressed.saturating_sub(1);
        Some(suppressed)
    }

    fn slot_of(&self, kind: Kind, now: Instant) -> usize {
        let start = hash(kind) as usize % OWN_SLOTS;
        let ways = (0..WAYS).map(|way| start.wrapping_add(way) % OWN_SLOTS);
        let at = |wanted: &dyn Fn(&Slot) -> bool| {
            ways.clone()
                .find(|&at| self.slots.get(at).is_some_and(wanted))
        };
        at(&|slot| slot.kind == Some(kind))
            .or_else(|| {
                at(&|slot| slot.kind.is_none() || (slot.suppressed == 0 && is_over(slot, now)))
            })
            .unwrap_or(OWN_SLOTS)
    }
}

fn is_over(slot: &Slot, now: Instant) -> bool {
    now.since(slot.since) >= DAMPEN_WINDOW
}

/// FNV-1a over the subject and the start of the text. Both are the gateway's own, never a peer's
/// bytes.
fn hash(kind: Kind) -> u32 {
    let bytes = kind.subject.to_le_bytes();
    let bytes = bytes.iter().chain(kind.what.as_bytes().iter().take(32));
    bytes.fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Kind = Kind {
        subject: 1,
        what: "a",
    };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn ten_a_second_are_told_and_the_rest_counted() {
        let mut dampener = Dampener::default();
        assert_eq!(
            (dampener.has_suppressed(), dampener.take(at(0))),
            (false, None)
        );
        let passed = (0..100).filter(|n| dampener.admit(A, at(5000 + n))).count();
        assert_eq!((passed, dampener.has_suppressed()), (10, true));
        assert!(
            dampener.admit(Kind { subject: 2, ..A }, at(5100)),
            "another subject is another kind"
        );
        assert!(
            dampener.admit(Kind { what: "b", ..A }, at(5100)),
            "so is another text"
        );
        assert_eq!(dampener.take(at(5999)), None);
        assert_eq!(
            dampener.take(at(6000)),
            Some(Suppressed {
                kind: Some(A),
                count: 90
            })
        );
        assert_eq!(
            (dampener.take(at(6000)), dampener.has_suppressed()),
            (None, false)
        );
        assert_eq!((0..100).filter(|_| dampener.admit(A, at(6001))).count(), 10);
    }

    #[test]
    fn a_window_that_is_over_and_not_taken_lets_no_second_burst_through_uncounted() {
        let mut dampener = Dampener::default();
        assert_eq!((0..11).filter(|_| dampener.admit(A, at(5000))).count(), 10);
        assert!(!dampener.admit(A, at(7000)), "its count comes first");
        assert_eq!(
            dampener.take(at(7000)),
            Some(Suppressed {
                kind: Some(A),
                count: 2
            })
        );
        assert!(dampener.admit(A, at(7000)));
    }

    #[test]
    fn more_kinds_than_places_share_one() {
        let mut dampener = Dampener::default();
        let kinds = 0..20_000;
        let passed = kinds
            .clone()
            .filter(|&subject| dampener.admit(Kind { subject, what: "x" }, at(5000)))
            .count();
        assert_eq!(
            passed, DAMPEN_TOTAL as usize,
            "all kinds together have a budget"
        );
        let counts: Vec<Suppressed> = core::iter::from_fn(|| dampener.take(at(6000))).collect();
        assert_eq!(
            counts
                .iter()
                .map(|suppressed| suppressed.count as usize)
                .sum::<usize>(),
            20_000 - passed
        );
        assert_eq!(
            counts
                .iter()
                .filter(|suppressed| suppressed.kind.is_none())
                .count(),
            1
        );
        assert!(counts.len() <= SLOTS && !dampener.has_suppressed());
    }
}
