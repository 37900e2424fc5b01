//! Requests that wait for a provider, or for the store of a limit. The head stays in the client's inbox, and nothing more is
//! read. When the result arrives, the head is processed again from the start, with the result
//! known.

use super::super::ids::{ClientId, LookupId};
use super::super::log_entry::AccessLogEntry;
use super::super::rate_held::RateHeld;
use super::super::rate_queue::Judged;
use super::super::reason::Reason;
use super::super::rules::ServiceRules;
use super::lookup::auth_timeout;
use super::{AuthEnv, AuthProgress, Authenticator, LookupResult, Resolved};
use crate::observe::access::Outcome;
use crate::time::{Duration, Instant};

/// State of a waiting request.
#[derive(Default)]
pub(in crate::proxy) struct SuspendedRequest {
    pub(in crate::proxy) log_entry: Box<AccessLogEntry>,
    /// Lookup that the request waits for, and the position of the provider.
    lookup: Option<(LookupId, usize)>,
    /// End of the time for the look-up.
    deadline: Instant,
    /// True if the next look-up replaces a failed one, because the keys or
    /// the provider have changed: it has what is left of that one's time.
    keeps_deadline: bool,
    progress: AuthProgress,
    /// Limits that wait for a store.
    pub(in crate::proxy) rate: Option<Box<RateHeld>>,
}

impl SuspendedRequest {
    /// Returns the verdicts about the request so far.
    pub(in crate::proxy) fn progress(&mut self) -> &mut AuthProgress {
        &mut self.progress
    }

    /// Records the lookup that the request waits for. Returns the time for which it waits.
    pub(in crate::proxy) fn wait(
        &mut self,
        (lookup, position): (LookupId, usize),
        service: &ServiceRules,
        now: Instant,
    ) -> Duration {
        self.lookup = Some((lookup, position));
        let span = if core::mem::take(&mut self.keeps_deadline) {
            self.deadline.since(now)
        } else {
            auth_timeout(service)
        };
        self.deadline = now.after(span);
        span
    }

    /// Takes the answer of a store. Returns true if the request waits for no other.
    pub(in crate::proxy) fn judge(&mut self, judged: Judged) -> bool {
        let held = self.rate.as_mut();
        held.is_some_and(|held| held.judge(judged))
    }

    /// Returns the lookup that the request waits for.
    pub(in crate::proxy) fn lookup(&self) -> Option<LookupId> {
        self.lookup.map(|(lookup, _)| lookup)
    }

    /// Returns true if the request waits for this lookup.
    pub(in crate::proxy) fn waits_for(&self, resolved: &Resolved) -> bool {
        self.lookup
            .is_some_and(|(lookup, _)| lookup == resolved.lookup_id)
    }

    /// Takes the result of the look-up that the request waits for.
    pub(in crate::proxy) fn answer(&mut self, resolved: &Resolved) {
        if let Some((_, position)) = self.lookup.take() {
            self.keeps_deadline = matches!(resolved.result, LookupResult::KeysChanged);
            self.progress.answer = Some((position, resolved.result.clone()));
        }
    }
}

impl Authenticator {
    /// Drops a request that ends while it waits.
    pub(in crate::proxy) fn give_up(
        &mut self,
        id: ClientId,
        suspended: &SuspendedRequest,
        env: &mut AuthEnv<'_>,
    ) {
        let Some((lookup, _)) = suspended.lookup else {
            return;
        };
        let is_decided = !self.is_about_token(lookup);
        if suspended.progress.is_forged_so_far(is_decided) {
            let client = suspended.log_entry.numbers.client;
            env.count_failure(client);
        }
        self.leave_lookup(id, lookup, env);
    }

    /// Records that no result came in time (503), or no answer of a store.
    pub(in crate::proxy) fn timed_out(
        &mut self,
        id: ClientId,
        suspended: &mut SuspendedRequest,
        env: &mut AuthEnv<'_>,
    ) {
        if let Some(held) = &mut suspended.rate {
            held.time_out();
        }
        if let Some((lookup, position)) = suspended.lookup.take() {
            let late = match self.asked_provider(lookup) {
                // The question to it ends at the same moment, and is dropped when it comes second.
                Some(provider) => {
                    let down = LookupResult::Down(Outcome::UpstreamTimeout);
                    let told = (Some(Reason::AnswerTimeout), None);
                    self.report_provider_down(provider, &down, told, env);
                    down
                }
                None => LookupResult::Late,
            };
            self.leave_lookup(id, lookup, env);
            suspended.progress.answer = Some((position, late));
        }
    }
}
