//! What the operator is told of requests that were refused and of exchanges that failed: where, why, and whose request it was.
//!
//! Nothing is made before something has failed, and a flood of one failure is told ten times a second and counted.

use core::net::SocketAddr;

use super::command::{Failed, Report};
use super::context::{Context, TimerKey};
use super::log_entry::AccessLogEntry;
use super::reason::{Failure, Reason};
use crate::observe::access::Outcome;
use crate::observe::dampen::{DAMPEN_TOTAL, DAMPEN_WINDOW, Kind};

/// Bytes of a request's path that a report has.
const PATH_BYTES: usize = 512;
/// Bytes of a request's method that a report has.
const METHOD_BYTES: usize = 64;

/// Bytes of the reports that one call of the engine can leave.
pub(super) const REPORTS_BYTES: usize = (DAMPEN_TOTAL as usize).saturating_mul(
    size_of::<Failed>()
        .saturating_add(PATH_BYTES)
        .saturating_add(METHOD_BYTES),
);

/// What messages are about, as a number.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    Service(Option<u32>),
    Provider(u32),
}

impl Subject {
    const PROVIDER: u32 = 1 << 31;
    const NO_SERVICE: u32 = Subject::PROVIDER - 1;

    fn number(self) -> u32 {
        match self {
            Subject::Service(service) => {
                service.unwrap_or(Subject::NO_SERVICE) & !Subject::PROVIDER
            }
            Subject::Provider(provider) => provider | Subject::PROVIDER,
        }
    }

    fn of(number: u32) -> Subject {
        match number {
            Subject::NO_SERVICE => Subject::Service(None),
            number if number & Subject::PROVIDER != 0 => {
                Subject::Provider(number & !Subject::PROVIDER)
            }
            number => Subject::Service(Some(number)),
        }
    }
}

impl Context {
    /// Tells the operator of an exchange that fails for a reason that lies with the upstream. `status`: what the client is told in
    /// place of a response; `None`: a part of one is with it already. `address`: where the request went, where that is known.
    pub(super) fn report_failed(
        &mut self,
        entry: &mut AccessLogEntry,
        failure: &Failure,
        status: Option<u16>,
        address: Option<SocketAddr>,
    ) {
        entry.reason = failure.reason.clone().map(Box::new);
        let what = failure
            .reason
            .as_ref()
            .map_or(failure.outcome.as_str(), Reason::what);
        if self.admits(Subject::Service(entry.service), what) {
            let status_told = status.or(entry.status);
            let failed = Failed {
                address,
                is_cut: status.is_none(),
                ..failed(entry, failure.outcome, failure.reason.clone(), status_told)
            };
            self.report(Report::UpstreamFailed(Box::new(failed)));
        }
        self.await_counts();
    }

    /// Tells the operator of a request that is answered here for what it is, or for what it lacks.
    pub(super) fn report_refused(
        &mut self,
        entry: &mut AccessLogEntry,
        outcome: Outcome,
        reason: Reason,
    ) {
        // A provider that is down is told of by itself.
        if reason != Reason::ProviderDown
            && self.admits(Subject::Service(entry.service), reason.what())
        {
            let failed = failed(entry, outcome, Some(reason.clone()), entry.status);
            self.report(Report::Refused(Box::new(failed)));
        }
        self.await_counts();
        entry.reason = Some(Box::new(reason));
    }

    /// Whether the operator is told a message about a provider.
    pub(super) fn admits_report_of(&mut self, provider: usize, what: &'static str) -> bool {
        let is_admitted = self.admits(Subject::Provider(provider as u32), what);
        self.await_counts();
        is_admitted
    }

    fn admits(&mut self, subject: Subject, what: &'static str) -> bool {
        let kind = Kind {
            subject: subject.number(),
            what,
        };
        self.messages.dampener.admit(kind, self.now)
    }

    /// Sets the time at which counts of messages that were not told are due.
    fn await_counts(&mut self) {
        if self.messages.dampener.has_suppressed() && self.messages.timer.deadline().is_none() {
            let due = self.now.after(DAMPEN_WINDOW);
            self.timers
                .arm(&mut self.messages.timer, TimerKey::Messages, due);
        }
    }

    /// Tells how many messages were not told.
    pub(super) fn report_counts(&mut self) {
        while let Some(unsaid) = self.messages.dampener.take(self.now) {
            let (service, provider, what) = match unsaid
                .kind
                .map(|kind| (Subject::of(kind.subject), kind.what))
            {
                Some((Subject::Service(service), what)) => (service, None, Some(what)),
                Some((Subject::Provider(provider), what)) => (None, Some(provider), Some(what)),
                None => (None, None, None),
            };
            self.report(Report::Unsaid {
                service,
                provider,
                what,
                count: unsaid.count,
            });
        }
        self.await_counts();
    }
}

fn failed(
    entry: &AccessLogEntry,
    outcome: Outcome,
    reason: Option<Reason>,
    status: Option<u16>,
) -> Failed {
    let (method, path) = entry.method_and_path();
    Failed {
        service: entry.service,
        target: entry.sent_to,
        address: None,
        end: outcome,
        reason,
        status,
        is_cut: false,
        client: entry.client,
        method: method.get(..METHOD_BYTES).unwrap_or(method).into(),
        path: path.get(..PATH_BYTES).unwrap_or(path).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_apart() {
        for subject in [
            Subject::Service(None),
            Subject::Service(Some(0)),
            Subject::Service(Some(7)),
            Subject::Provider(7),
        ] {
            assert_eq!(Subject::of(subject.number()).number(), subject.number());
        }
        assert!(matches!(
            Subject::of(Subject::Service(None).number()),
            Subject::Service(None)
        ));
        assert!(matches!(
            Subject::of(Subject::Service(Some(7)).number()),
            Subject::Service(Some(7))
        ));
        assert!(matches!(
            Subject::of(Subject::Provider(7).number()),
            Subject::Provider(7)
        ));
    }
}
