//! Floods of one message: so many of a kind are told in a second, the rest are counted.
//!
//! The table has a fixed number of places and a look-up costs the same whatever comes, because peers decide what comes.
//! A kind that finds its places taken shares the last place with all others that found none: it may be told less, never more.

use crate::time::{Duration, Instant};

/// Messages of one kind that are told in a window.
pub const DAMPEN_MESSAGES: u32 = 10;
/// Messages of all kinds together that are told in a window.
pub const DAMPEN_TOTAL: u32 = 100;
/// How long a window lasts.
pub const DAMPEN_WINDOW: Duration = Duration::from_secs(1);
/// Places of the table for one kind each.
const OWN_PLACES: usize = 256;
/// All of its places; the last one is shared.
const PLACES: usize = OWN_PLACES + 1;
/// Places that a kind may have.
const WAYS: usize = 4;

/// What a message is about and what it says: messages of one kind count together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// A number for the thing it is about.
    pub subject: u32,
    /// The text that all messages of this kind have in common.
    pub what: &'static str,
}

/// Messages of one kind that were not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsaid {
    /// Their kind; `None`: several kinds.
    pub kind: Option<Kind>,
    /// How many there were.
    pub count: u32,
}

#[derive(Clone, Copy)]
struct Place {
    kind: Option<Kind>,
    since: Instant,
    told: u32,
    unsaid: u32,
}

const FREE: Place = Place {
    kind: None,
    since: Instant::ZERO,
    told: 0,
    unsaid: 0,
};

/// Counts messages by their kind.
#[derive(Default)]
pub struct Dampener {
    /// Empty before the first message.
    places: Vec<Place>,
    /// Places with messages that were not told.
    unsaid: usize,
    /// Messages of all kinds that were told in the window that began then.
    told: u32,
    since: Instant,
}

impl Dampener {
    /// Bytes of the table.
    pub const BYTES: usize = PLACES.saturating_mul(size_of::<Place>());

    /// Whether a message of this kind is told now. If not, it is counted, and [`take`](Self::take) has it later.
    pub fn admit(&mut self, kind: Kind, now: Instant) -> bool {
        if self.places.is_empty() {
            self.places = vec![FREE; PLACES];
        }
        if now.since(self.since) >= DAMPEN_WINDOW {
            (self.since, self.told) = (now, 0);
        }
        let at = self.place_of(kind, now);
        let Some(place) = self.places.get_mut(at) else {
            return false;
        };
        let shared = at == OWN_PLACES;
        // A place with a count that was not taken yet keeps it, and its kind.
        let is_free = place.kind.is_none() && !shared;
        if place.unsaid == 0 && (is_free || is_over(place, now)) {
            *place = Place {
                kind: (!shared).then_some(kind),
                since: now,
                ..FREE
            };
        }
        if place.told < DAMPEN_MESSAGES && self.told < DAMPEN_TOTAL && place.unsaid == 0 {
            place.told = place.told.saturating_add(1);
            self.told = self.told.saturating_add(1);
            return true;
        }
        self.unsaid = self.unsaid.saturating_add(usize::from(place.unsaid == 0));
        place.unsaid = place.unsaid.saturating_add(1);
        false
    }

    /// Whether any message was not told, and its count not taken yet.
    pub fn has_unsaid(&self) -> bool {
        self.unsaid > 0
    }

    /// Takes a count whose window is over.
    pub fn take(&mut self, now: Instant) -> Option<Unsaid> {
        let place = self
            .places
            .iter_mut()
            .find(|place| place.unsaid > 0 && is_over(place, now))?;
        let unsaid = Unsaid {
            kind: place.kind,
            count: place.unsaid,
        };
        *place = FREE;
        self.unsaid = self.unsaid.saturating_sub(1);
        Some(unsaid)
    }

    fn place_of(&self, kind: Kind, now: Instant) -> usize {
        let start = hash(kind) as usize % OWN_PLACES;
        let ways = (0..WAYS).map(|way| start.wrapping_add(way) % OWN_PLACES);
        let at = |wanted: &dyn Fn(&Place) -> bool| {
            ways.clone()
                .find(|&at| self.places.get(at).is_some_and(wanted))
        };
        at(&|place| place.kind == Some(kind))
            .or_else(|| {
                at(&|place| place.kind.is_none() || (place.unsaid == 0 && is_over(place, now)))
            })
            .unwrap_or(OWN_PLACES)
    }
}

fn is_over(place: &Place, now: Instant) -> bool {
    now.since(place.since) >= DAMPEN_WINDOW
}

/// FNV-1a over the subject and the start of the text. Nothing in it comes from a peer: subjects and texts are the gateway's own.
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
        assert_eq!((dampener.has_unsaid(), dampener.take(at(0))), (false, None));
        let told = (0..100).filter(|n| dampener.admit(A, at(5000 + n))).count();
        assert_eq!((told, dampener.has_unsaid()), (10, true));
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
            Some(Unsaid {
                kind: Some(A),
                count: 90
            })
        );
        assert_eq!(
            (dampener.take(at(6000)), dampener.has_unsaid()),
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
            Some(Unsaid {
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
        let told = kinds
            .clone()
            .filter(|&subject| dampener.admit(Kind { subject, what: "x" }, at(5000)))
            .count();
        assert_eq!(
            told, DAMPEN_TOTAL as usize,
            "all kinds together have a budget"
        );
        let counts: Vec<Unsaid> = core::iter::from_fn(|| dampener.take(at(6000))).collect();
        assert_eq!(
            counts
                .iter()
                .map(|unsaid| unsaid.count as usize)
                .sum::<usize>(),
            20_000 - told
        );
        assert_eq!(
            counts.iter().filter(|unsaid| unsaid.kind.is_none()).count(),
            1
        );
        assert!(counts.len() <= PLACES && !dampener.has_unsaid());
    }
}
