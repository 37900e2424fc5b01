//! The last failures, for the status page.

use core::net::IpAddr;
use std::collections::VecDeque;
use std::rc::Rc;

use super::log_entry::AccessLogEntry;
use super::reason::Reason;
use super::settings::Target;
use crate::limits::{RECENT_FAILURES, RECENT_REQUEST_BYTES};
use crate::observe::access::Outcome;
use crate::time::Instant;

/// The last failures, the newest at the end.
#[derive(Default)]
pub(super) struct Recent(VecDeque<RecentFailure>);

/// Request that failed on the gateway's or the upstream's side.
pub(super) struct RecentFailure {
    pub(super) at: Instant,
    pub(super) service: Option<Rc<str>>,
    pub(super) target: Option<Rc<Target>>,
    pub(super) client: Option<IpAddr>,
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Box<Reason>>,
    /// Method and path.
    pub(super) request: String,
    pub(super) id: Option<String>,
}

impl Recent {
    /// Notes a request that has ended, if it failed. What a client does wrong is no failure.
    #[inline(always)]
    pub(super) fn note(&mut self, entry: &AccessLogEntry, outcome: Outcome, now: Instant) {
        if outcome != Outcome::Ok {
            self.note_end(entry, outcome, now);
        }
    }

    #[cold]
    fn note_end(&mut self, entry: &AccessLogEntry, outcome: Outcome, now: Instant) {
        let is_client = matches!(
            outcome,
            Outcome::Ok
                | Outcome::ClientClosed
                | Outcome::ClientTimeout
                | Outcome::RateLimited
                | Outcome::NoRoute
                | Outcome::BadRequest
                | Outcome::Unauthorized
                | Outcome::Shutdown
        );
        if is_client || entry.numbers.status.is_some_and(|status| status / 100 == 4) {
            return;
        }
        if self.0.len() >= RECENT_FAILURES {
            self.0.pop_front();
        }
        let (method, path) = entry.method_and_bare_path();
        let line = [method, b" ", path].concat();
        let line = line.get(..RECENT_REQUEST_BYTES).unwrap_or(&line);
        self.0.push_back(RecentFailure {
            at: now,
            service: entry.service.as_ref().map(|rules| Rc::clone(&rules.label)),
            target: entry.target().map(Rc::clone),
            client: entry.numbers.client,
            status: entry.numbers.status,
            outcome,
            reason: entry.reason.clone(),
            request: String::from_utf8_lossy(line).into_owned(),
            id: entry
                .id()
                .map(|id| String::from_utf8_lossy(id).into_owned()),
        });
    }

    /// Returns the failures, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &RecentFailure> {
        self.0.iter().rev()
    }
}
