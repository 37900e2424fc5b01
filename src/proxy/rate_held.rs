//! Requests that wait for a store to say whether they are within a limit (`exact`).
//!
//! ```text
//! counted here --> the count goes to the store --> place of the request among all --> passes, or is refused
//!                                             `--> no answer in time: as `onFailure` says
//! ```

use std::rc::Rc;
use std::sync::Arc;

use super::ids::ClientId;
use super::rate_queue::{Judged, StoreQueues, Verdict, Waiter};
use super::rate_rules::{Limited, RateRules, Stage};
use super::rules::ServiceRules;
use crate::limits::RATE_LIMITS_MAX;
use crate::policy::auth::grant::Grant;
use crate::policy::rate_fields::Quota;

/// Result of counting a request.
pub(super) struct Counted {
    /// Quota that a response tells of; `None`: no limit counts the request.
    pub(super) quota: Option<Quota>,
    /// Answers that the request waits for.
    pub(super) waits: Option<Waits>,
}

/// Answers that a request waits for.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    client: ClientId,
    number: u32,
    /// Places of the limits, a bit for each.
    places: u8,
}

/// Request that waits.
pub(super) struct RateHeld {
    pub(super) rules: Rc<RateRules>,
    pub(super) stage: Stage,
    /// Credential that has let the request in, where its limits wait.
    pub(super) admitted: Option<Admitted>,
    waits: Waits,
    quota: Option<Quota>,
    limited: Option<Limited>,
}

/// Credential that has let a request in, and the rules of the service that it was for.
pub(super) struct Admitted {
    pub(super) grant: Arc<Grant>,
    pub(super) by_authorization: bool,
    pub(super) service: Rc<ServiceRules>,
}

impl Waits {
    /// Begins to count a request.
    pub(super) fn begin(client: ClientId, queues: &mut StoreQueues) -> Waits {
        Waits {
            client,
            number: queues.next_number(),
            places: 0,
        }
    }

    /// Returns the waiter for the answer to the limit in this place.
    pub(super) fn at(&self, place: usize) -> Waiter {
        Waiter {
            client: self.client,
            number: self.number,
            place: u8::try_from(place).unwrap_or(u8::MAX),
        }
    }

    /// Notes whether the request waits for the answer to the limit in this place.
    pub(super) fn note(&mut self, place: usize, waits: bool) {
        if waits {
            self.places |= bit(place);
        }
    }

    /// Returns the answers that are awaited, if there are any.
    pub(super) fn some(self) -> Option<Waits> {
        (self.places != 0).then_some(self)
    }
}

impl RateHeld {
    /// Returns a request that waits for these answers.
    pub(super) fn new(rules: &Rc<RateRules>, stage: Stage, waits: Waits) -> RateHeld {
        RateHeld {
            rules: Rc::clone(rules),
            stage,
            admitted: None,
            waits,
            quota: None,
            limited: None,
        }
    }

    /// Takes an answer. Returns true if the wait is over.
    pub(super) fn judge(&mut self, judged: Judged) -> bool {
        let Waiter { number, place, .. } = judged.waiter;
        let place = usize::from(place);
        // An answer may be late, and the connection wait for those to another request.
        if number != self.waits.number || self.waits.places & bit(place) == 0 {
            return false;
        }
        self.waits.places &= !bit(place);
        match judged.verdict {
            Verdict::Passed(quota) => {
                let quota = Some(quota.of_limit(place));
                self.quota = self.rules.tighter(self.quota, quota);
            }
            Verdict::Full(full) => self.limited = Some(Limited::Full(place, full)),
            Verdict::Unknown => self.fail(place),
        }
        self.limited.is_some() || self.waits.places == 0
    }

    /// Takes note that the rest of the answers is late.
    pub(super) fn time_out(&mut self) {
        for place in 0..self.rules.limits.len() {
            if self.waits.places & bit(place) != 0 {
                self.fail(place);
            }
        }
    }

    /// Does what `onFailure` says: without an answer a request passes by what is known here.
    fn fail(&mut self, place: usize) {
        let limit = self.rules.limits.get(place);
        let shared = limit.and_then(|limit| limit.shared.as_deref());
        if shared.is_some_and(|rule| rule.is_closed) {
            self.limited = Some(Limited::StoreDown);
        }
    }

    /// Returns what the client has left by the answers.
    ///
    /// # Errors
    /// A limit refuses the request.
    pub(super) fn end(&mut self) -> Result<Option<Quota>, Limited> {
        self.limited.take().map_or(Ok(self.quota), Err)
    }
}

// A list of limits fits into the bits of `Waits::places`.
const _: () = assert!(RATE_LIMITS_MAX <= u8::BITS as usize);

/// Returns the bit of a place.
fn bit(place: usize) -> u8 {
    u32::try_from(place)
        .ok()
        .and_then(|place| 1_u8.checked_shl(place))
        .unwrap_or(0)
}
