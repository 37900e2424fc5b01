//! What the operator is told of requests that were refused and of exchanges that failed: where, why, and whose request it was.
//!
//! Nothing is made before something has failed, and a flood of one failure is told ten times a second and counted.

use core::net::{IpAddr, SocketAddr};

use super::command::{ClientId, Command, Report};
use super::log_entry::AccessLogEntry;
use super::reason::{Failure, Reason};
use super::upstream::Stage;
use super::{Proxy, TimerKey};
use crate::observe::access::Outcome;
use crate::observe::dampen::{DAMPEN_TOTAL, DAMPEN_WINDOW, Kind};
use crate::time::Instant;

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

/// A request that was refused, or whose exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Index of the service, where a route was found.
    pub service: Option<u32>,
    /// Index into the settings' targets: the one it went to last.
    pub target: Option<u32>,
    /// The address it went to, where that was known.
    pub address: Option<SocketAddr>,
    /// How it ended.
    pub end: Outcome,
    /// Why.
    pub reason: Option<Reason>,
    /// The status that the client was told.
    pub status: Option<u16>,
    /// Whether the response had begun, so that the client's connection was cut.
    pub is_cut: bool,
    /// Who sent the request; `None`: a client on a unix socket.
    pub client: Option<IpAddr>,
    /// As sent, at most 64 bytes of it, and empty where it could not be read.
    pub method: Box<[u8]>,
    /// The path and the query as sent, at most 512 bytes of them, and empty where they could not be read.
    pub path: Box<[u8]>,
}

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

impl Proxy {
    /// Tells of an exchange that fails for a reason that lies with the upstream. `status`: what the client is told in place of a
    /// response; `None`: a part of one is with it already.
    pub(super) fn report_failed(
        &mut self,
        id: ClientId,
        failure: &Failure,
        status: Option<u16>,
        now: Instant,
    ) {
        let address = self
            .link_of(id)
            .and_then(|link| self.upstreams.get(link.id))
            .and_then(|up| match up.stage {
                Stage::Dialing(address) => Some(address),
                _ => self
                    .endpoints
                    .get(up.endpoint?)
                    .map(|endpoint| endpoint.address),
            });
        let Some(exchange) = self
            .clients
            .get_mut(id)
            .and_then(|client| client.exchange())
        else {
            return;
        };
        let log_entry = &mut exchange.log_entry;
        log_entry.reason = failure.reason.clone().map(Box::new);
        let what = failure
            .reason
            .as_ref()
            .map_or(failure.end.as_str(), Reason::what);
        let kind = Kind {
            subject: Subject::Service(log_entry.service).number(),
            what,
        };
        if self.dampener.admit(kind, now) {
            let failed = Failed {
                address,
                is_cut: status.is_none(),
                ..failed(
                    log_entry,
                    failure.end,
                    failure.reason.clone(),
                    status.or(log_entry.status),
                )
            };
            self.commands
                .push_back(Command::Report(Report::UpstreamFailed(Box::new(failed))));
        }
        self.await_unsaid(now);
    }

    /// Tells of a request that is answered here for what it is, or for what it lacks.
    pub(super) fn report_refused(
        &mut self,
        log_entry: &mut AccessLogEntry,
        end: Outcome,
        reason: Reason,
        now: Instant,
    ) {
        let kind = Kind {
            subject: Subject::Service(log_entry.service).number(),
            what: reason.what(),
        };
        // A provider that is down is told of by itself.
        if reason != Reason::ProviderDown && self.dampener.admit(kind, now) {
            let failed = failed(log_entry, end, Some(reason.clone()), log_entry.status);
            self.commands
                .push_back(Command::Report(Report::Refused(Box::new(failed))));
        }
        self.await_unsaid(now);
        log_entry.reason = Some(Box::new(reason));
    }

    /// Whether a message about a provider is told.
    pub(super) fn admits_report_of(
        &mut self,
        provider: usize,
        what: &'static str,
        now: Instant,
    ) -> bool {
        let admitted = self.dampener.admit(
            Kind {
                subject: Subject::Provider(provider as u32).number(),
                what,
            },
            now,
        );
        self.await_unsaid(now);
        admitted
    }

    /// Counts of messages that were not told are due when their window is over.
    fn await_unsaid(&mut self, now: Instant) {
        if self.dampener.has_suppressed() && self.unsaid_timer.deadline().is_none() {
            self.wheel.arm(
                &mut self.unsaid_timer,
                TimerKey::Unsaid,
                now.after(DAMPEN_WINDOW),
            );
        }
    }

    /// Tells how many messages were not told.
    pub(super) fn tell_unsaid(&mut self, now: Instant) {
        while let Some(unsaid) = self.dampener.take(now) {
            let (service, provider, what) = match unsaid
                .kind
                .map(|kind| (Subject::of(kind.subject), kind.what))
            {
                Some((Subject::Service(service), what)) => (service, None, Some(what)),
                Some((Subject::Provider(provider), what)) => (None, Some(provider), Some(what)),
                None => (None, None, None),
            };
            let report = Report::Unsaid {
                service,
                provider,
                what,
                count: unsaid.count,
            };
            self.commands.push_back(Command::Report(report));
        }
        self.await_unsaid(now);
    }
}

fn failed(
    log_entry: &AccessLogEntry,
    end: Outcome,
    reason: Option<Reason>,
    status: Option<u16>,
) -> Failed {
    let (method, path) = log_entry.method_and_path();
    Failed {
        service: log_entry.service,
        target: log_entry.sent_to,
        address: None,
        end,
        reason,
        status,
        is_cut: false,
        client: log_entry.client,
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
