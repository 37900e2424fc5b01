//! Numbers that the engine counts: one row for each service, target and provider.
//!
//! A row is found by the slot of its service and belongs to one use of that slot, so that a service
//! that a reload keeps keeps its row, and another one in the slot begins with zeros.

use super::histogram::Histogram;
use super::numbers::{Ended, ServiceCounters, add};
use crate::time::{Duration, Instant};

/// Numbers of the whole engine.
#[derive(Default)]
pub struct Counters {
    /// Requests without a route.
    without_route: ServiceCounters,
    /// A service has numbers once a request of it has ended: most of many thousands have none.
    services: Vec<Row<Option<Box<Marked>>>>,
    providers: Vec<Row<ProviderCounters>>,
    /// Times of the two marks in each row, the older one first.
    marks: [Instant; 2],
    /// Replies of the gateway's own, by [`reply_codes`].
    replies: [u64; REPLIES],
}

/// Slot of a service or a provider, and number of its earlier uses.
pub type RowKey = (u32, u32);

#[derive(Clone, Default)]
struct Row<T> {
    generation: u32,
    counters: T,
}

/// Numbers of a service, and its durations at two marks.
#[derive(Clone, Copy, Default)]
struct Marked {
    counters: ServiceCounters,
    marks: [Histogram; 2],
}

/// Time between two marks: what is recent is 30 to 60 s old at most.
const MARK_INTERVAL: Duration = Duration::from_secs(30);
/// Time without a mark in which nothing can have happened.
const MARK_IDLE: Duration = Duration::from_secs(60);

/// Result of a provider's decision about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthResult {
    /// The credential is good.
    Good,
    /// The request has no credential for the provider.
    Missing,
    /// The credential is not good.
    Bad,
    /// The forward endpoint denied the request.
    Denied,
    /// The provider gave no answer.
    Down,
}

impl AuthResult {
    /// All results, in the order of their declaration.
    pub const ALL: [AuthResult; 5] = [
        AuthResult::Good,
        AuthResult::Missing,
        AuthResult::Bad,
        AuthResult::Denied,
        AuthResult::Down,
    ];

    /// Returns the word of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuthResult::Good => "good",
            AuthResult::Missing => "missing",
            AuthResult::Bad => "bad",
            AuthResult::Denied => "denied",
            AuthResult::Down => "down",
        }
    }
}

/// Number of decisions of a provider, by [`AuthResult`].
pub type ProviderCounters = [u64; AuthResult::ALL.len()];

/// Statuses of the gateway's own replies. A forward endpoint can choose others, which count as one.
const REPLY_CODES: [(u16, &str); REPLIES - 1] = [
    (200, "200"),
    (204, "204"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (414, "414"),
    (417, "417"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
];

/// Number of the statuses, and one for all others.
pub const REPLIES: usize = 21;

impl Counters {
    /// Size of the row of a service in bytes.
    pub const SERVICE_ROW_BYTES: usize = size_of::<Row<Option<Box<Marked>>>>();
    /// Size of the numbers of a service in bytes, once it has some.
    pub const SERVICE_BYTES: usize = size_of::<Marked>();
    /// Size of the row of a provider in bytes.
    pub const PROVIDER_BYTES: usize = size_of::<Row<ProviderCounters>>();

    /// Makes the rows those of these services and providers. Rows that there are keep their numbers.
    pub fn adopt(
        &mut self,
        services: impl Iterator<Item = RowKey>,
        providers: impl Iterator<Item = RowKey>,
    ) {
        adopt(&mut self.services, services);
        adopt(&mut self.providers, providers);
    }

    /// Counts a request that has ended. `service`: row of its service; `None`: it has no route.
    #[inline(always)]
    pub fn count_request(&mut self, service: Option<RowKey>, ended: &Ended) {
        let row = match service {
            None => Some(&mut self.without_route),
            Some(key) => row_mut(&mut self.services, key)
                .map(|row| &mut row.get_or_insert_with(begin).counters),
        };
        // A service that is gone has no row.
        if let Some(row) = row {
            row.count(ended);
        }
    }

    /// Counts a reply of the gateway's own.
    pub fn count_reply(&mut self, status: u16) {
        let mut codes = REPLY_CODES.iter();
        let known = codes.position(|&(code, _)| code == status);
        add(&mut self.replies, known.unwrap_or(REPLY_CODES.len()), 1);
    }

    /// Counts a decision of a provider.
    pub fn count_auth(&mut self, provider: RowKey, result: AuthResult) {
        if let Some(row) = row_mut(&mut self.providers, provider) {
            add(row, result as usize, 1);
        }
    }

    /// Returns the numbers of a service; `None`: of requests without a route. A service that is
    /// gone has zeros.
    pub fn service(&self, service: Option<RowKey>) -> ServiceCounters {
        match service {
            None => self.without_route,
            Some(key) => marked(&self.services, key)
                .map_or_else(ServiceCounters::default, |marked| marked.counters),
        }
    }

    /// Marks the durations of all services, if the last mark is old. Call it at least once a second
    /// while requests end.
    pub fn mark(&mut self, now: Instant) {
        let [_, last] = self.marks;
        if now.since(last) < MARK_INTERVAL {
            return;
        }
        // Nothing ended while nothing was marked: what is here is as it was then.
        let is_idle = now.since(last) > MARK_IDLE;
        self.marks = [if is_idle { now } else { last }, now];
        let rows = self.services.iter_mut();
        for marked in rows.filter_map(|row| row.counters.as_deref_mut()) {
            let Marked { counters, marks } = marked;
            let [_, last] = *marks;
            *marks = [
                if is_idle { counters.duration } else { last },
                counters.duration,
            ];
        }
    }

    /// Returns the durations of a service in the last minute, and the seconds that they took.
    pub fn recent(&self, service: RowKey, now: Instant) -> (Histogram, u64) {
        let [since, _] = self.marks;
        let seconds = now.since(since).as_millis().div_ceil(1000);
        let durations = match marked(&self.services, service) {
            Some(Marked {
                counters,
                marks: [first, _],
            }) => counters.duration.since(first),
            None => Histogram::default(),
        };
        (durations, seconds.max(1))
    }

    /// Returns the numbers of a provider.
    pub fn provider(&self, provider: RowKey) -> ProviderCounters {
        match self.providers.get(provider.0 as usize) {
            Some(row) if row.generation == provider.1 => row.counters,
            _ => ProviderCounters::default(),
        }
    }

    /// Returns the statuses of the gateway's own replies, each with their number.
    pub fn replies(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let codes = REPLY_CODES.iter().map(|&(_, text)| text);
        codes.chain(["other"]).zip(self.replies)
    }
}

/// Makes the numbers of a service that had none.
#[cold]
#[inline(never)]
fn begin() -> Box<Marked> {
    Box::default()
}

fn adopt<T: Clone + Default>(rows: &mut Vec<Row<T>>, keys: impl Iterator<Item = RowKey>) {
    for (slot, generation) in keys {
        let slot = slot as usize;
        if rows.len() <= slot {
            rows.resize(slot.saturating_add(1), Row::default());
        }
        if let Some(row) = rows.get_mut(slot)
            && row.generation != generation
        {
            *row = Row {
                generation,
                counters: T::default(),
            };
        }
    }
}

/// Returns the numbers of a service; `None`: it has none so far, or is gone.
fn marked(rows: &[Row<Option<Box<Marked>>>], (slot, generation): RowKey) -> Option<&Marked> {
    let row = rows.get(slot as usize)?;
    let counters = row.counters.as_deref();
    counters.filter(|_| row.generation == generation)
}

#[inline(always)]
fn row_mut<T>(rows: &mut [Row<T>], (slot, generation): RowKey) -> Option<&mut T> {
    let row = rows.get_mut(slot as usize)?;
    (row.generation == generation).then_some(&mut row.counters)
}

#[cfg(test)]
mod tests {
    use super::super::numbers::CODES;
    use super::*;
    use crate::observe::access::Outcome;

    fn ended() -> Ended {
        Ended {
            status: Some(200),
            outcome: Outcome::Ok,
            millis: 3,
            upstream_millis: Some(2),
            request_bytes: 5,
            response_bytes: 7,
            retries: 1,
        }
    }

    #[test]
    fn a_row_belongs_to_one_use_of_its_slot() {
        let mut counters = Counters::default();
        counters.adopt([(0, 0), (2, 0)].into_iter(), [].into_iter());
        counters.count_request(Some((2, 0)), &ended());
        counters.count_request(Some((2, 1)), &ended());
        counters.count_request(Some((9, 0)), &ended());
        assert_eq!(counters.service(Some((2, 0))).codes, [0, 0, 1, 0, 0, 0]);
        assert_eq!(counters.service(Some((9, 0))).codes, [0; CODES]);
        // Kept by a reload, then replaced by another service in the slot.
        counters.adopt([(2, 0)].into_iter(), [].into_iter());
        assert_eq!(counters.service(Some((2, 0))).duration.count(), 1);
        counters.adopt([(2, 1)].into_iter(), [].into_iter());
        assert_eq!(counters.service(Some((2, 0))).duration.count(), 0);
        assert_eq!(counters.service(Some((2, 1))).duration.count(), 0);
        assert_eq!(counters.service(None).duration.count(), 0);
    }

    #[test]
    fn odd_statuses_have_a_place() {
        let mut counters = Counters::default();
        for status in [None, Some(99), Some(101), Some(599), Some(999)] {
            counters.count_request(None, &Ended { status, ..ended() });
        }
        assert_eq!(counters.service(None).codes, [2, 1, 0, 0, 0, 2]);
        assert_eq!(counters.service(None).request_bytes, 25);
        counters.count_reply(404);
        counters.count_reply(418);
        let replies = counters.replies().filter(|(_, count)| *count > 0);
        assert_eq!(replies.collect::<Vec<_>>(), [("404", 1), ("other", 1)]);
    }
}
