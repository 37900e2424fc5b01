//! The last decisions, for `tollgate why`: what was decided about each request that ended.
//!
//! A record has a fixed size. It is copied from the entry of the access log when the request ends,
//! and becomes text when an operator asks for it. Only what failed on the way has parts of its own
//! on the heap, with a bound for each record.
//!
//! The ring keeps no edition of the rules alive: a reload leaves names of the services and targets.

mod text;

use std::rc::Rc;

pub use self::text::why;
use super::log_entry::{AccessLogEntry, Numbers};
use super::reason::Reason;
use super::rules::{Rules, ServiceRules};
use super::tries::{Tries, cut, shorten};
use crate::limits::{
    DECISION_NAME_BYTES, DECISION_REASON_BYTES, DECISION_TEXT_BYTES, DECISION_TRIES, DECISIONS,
};
use crate::observe::access::Outcome;
use crate::policy::meter::Algorithm;
use crate::policy::rate::RateLimit;
use crate::time::{Duration, Instant};

/// The last decisions, at most [`DECISIONS`].
#[derive(Default)]
pub(super) struct Decisions {
    ring: Vec<Decision>,
    /// Place of the next record.
    next: usize,
}

/// Decision about one request.
struct Decision {
    numbers: Numbers,
    ended: Instant,
    outcome: Outcome,
    /// Bytes of the id, of the method and of the target, which are cut where `text` ends.
    id: u8,
    method: u16,
    target: u16,
    /// Id, CRLF and the start of the request line.
    text: [u8; DECISION_TEXT_BYTES],
    service: Service,
    reason: Option<Box<Reason>>,
    tries: Option<Box<Tries>>,
}

/// Service of a request.
enum Service {
    /// The request has no route.
    None,
    /// Rules of the edition of the moment.
    Rules(Rc<ServiceRules>),
    /// Names that an earlier edition left.
    Former(Box<Former>),
}

/// Rate limit that decided about a request.
#[derive(Clone, Copy)]
struct Limit {
    /// Number of the limit in its list, from 1; `None`: the limit stands alone.
    number: Option<usize>,
    requests: u32,
    window: Duration,
    algorithm: Algorithm,
}

/// Names of a service of an earlier edition.
struct Former {
    label: Box<str>,
    limit: Option<Limit>,
    /// Targets that the request went to, by their numbers.
    targets: Vec<(u32, Box<str>)>,
}

/// Upper bound of the bytes of the ring with all records.
pub(super) const BYTES: usize = {
    let names = DECISION_NAME_BYTES.saturating_mul(DECISION_TRIES.saturating_add(2));
    let targets = size_of::<(u32, Box<str>)>().saturating_mul(2 * DECISION_TRIES);
    let record = size_of::<Decision>()
        .saturating_add(size_of::<Former>())
        .saturating_add(names)
        .saturating_add(targets)
        .saturating_add(size_of::<Reason>())
        .saturating_add(DECISION_REASON_BYTES)
        .saturating_add(Tries::BYTES);
    record.saturating_mul(DECISIONS)
};

impl Decisions {
    /// Notes a request that has ended, if it has an id. Takes what the entry has of the service and
    /// of the reason. `edition`: number of the rules of the moment.
    #[inline(always)]
    pub(super) fn note(
        &mut self,
        entry: &mut AccessLogEntry,
        outcome: Outcome,
        now: Instant,
        edition: u64,
    ) {
        let Some(text) = entry.text_from_id() else {
            return;
        };
        if self.next >= self.ring.len() {
            self.grow();
        }
        let Some(record) = self.ring.get_mut(self.next) else {
            return;
        };
        self.next = self.next.wrapping_add(1);
        if self.next == DECISIONS {
            self.next = 0;
        }
        match text.first_chunk() {
            Some(text) => record.text = *text,
            None => copy_short(text, &mut record.text),
        }
        let (id, method, target) = entry.lengths();
        (record.id, record.method, record.target) = (id as u8, method, target);
        record.numbers = entry.numbers;
        record.ended = now;
        record.outcome = outcome;
        replace_rare(&mut record.tries, &mut entry.tries);
        replace_rare(&mut record.reason, &mut entry.reason);
        record.service = match entry.service.take() {
            None => Service::None,
            Some(rules) if rules.common.edition == edition => Service::Rules(rules),
            Some(rules) => record.former(&rules, &[]),
        };
        if record.reason.is_some() {
            record.cut_reason();
        }
    }

    /// Makes room for a record that the ring does not have yet.
    #[cold]
    fn grow(&mut self) {
        self.ring
            .reserve_exact(DECISIONS.saturating_sub(self.ring.len()));
        self.ring.push(Decision {
            numbers: Numbers::default(),
            ended: Instant::ZERO,
            outcome: Outcome::Ok,
            id: 0,
            method: 0,
            target: 0,
            text: [0; DECISION_TEXT_BYTES],
            service: Service::None,
            reason: None,
            tries: None,
        });
    }

    /// Lets the rules of an edition go that is replaced; names stay.
    #[cold]
    pub(super) fn end_edition(&mut self, rules: &Rules) {
        for record in &mut self.ring {
            if let Service::Rules(of_service) = &record.service {
                let of_service = Rc::clone(of_service);
                record.service = record.former(&of_service, &rules.settings.rate_limit);
            }
        }
    }

    /// Returns the record with this id, the newest first.
    fn find(&self, id: &[u8]) -> Option<&Decision> {
        self.newest().find(|record| record.id() == id)
    }

    /// Returns all records, the newest first.
    fn newest(&self) -> impl Iterator<Item = &Decision> {
        let (newer, older) = self.ring.split_at_checked(self.next).unwrap_or_default();
        newer.iter().rev().chain(older.iter().rev())
    }
}

impl Decision {
    fn id(&self) -> &[u8] {
        self.text.get(..usize::from(self.id)).unwrap_or_default()
    }

    /// Returns the names that are left of a service. `common`: the limit that services without
    /// their own have.
    #[cold]
    fn former(&self, rules: &ServiceRules, common: &[RateLimit]) -> Service {
        let tries = self.tries.as_ref().map_or(&[][..], |tries| &tries.list);
        let numbers = tries.iter().map(|attempt| attempt.destination);
        let mut targets = Vec::new();
        for number in numbers.chain(self.numbers.sent_to.get()) {
            if !targets.iter().any(|(known, _)| *known == number)
                && let Some(to) = rules.destination(number as usize)
            {
                targets.push((number, cut(to.target.name(), DECISION_NAME_BYTES)));
            }
        }
        Service::Former(Box::new(Former {
            label: cut(&rules.label, DECISION_NAME_BYTES),
            limit: self.limit_of(rules.service.limits(common)),
            targets,
        }))
    }

    /// Returns the limit that decided about the request, of the limits that held for it.
    fn limit_of(&self, limits: &[RateLimit]) -> Option<Limit> {
        let place = self.numbers.quota?.place();
        let limit = limits.get(place)?;
        Some(Limit {
            number: (limits.len() > 1).then(|| place.saturating_add(1)),
            requests: limit.requests,
            window: limit.window,
            algorithm: limit.algorithm,
        })
    }

    /// Cuts the text of a reason to its bound.
    #[cold]
    fn cut_reason(&mut self) {
        if let Some(reason) = &mut self.reason {
            shorten(reason);
        }
    }
}

/// Replaces a part of a record that few requests have. The test comes first, since dropping the part
/// of before is a call.
#[inline(always)]
fn replace_rare<T>(of_record: &mut Option<Box<T>>, of_entry: &mut Option<Box<T>>) {
    if of_record.is_some() || of_entry.is_some() {
        *of_record = of_entry.take();
    }
}

/// Copies a text that is shorter than its room.
#[inline(never)]
fn copy_short(text: &[u8], room: &mut [u8; DECISION_TEXT_BYTES]) {
    if let Some(room) = room.get_mut(..text.len()) {
        room.copy_from_slice(text);
    }
}
