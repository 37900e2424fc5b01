//! Reports to the operator about refused requests and failed exchanges, with service, reason and
//! client.
//!
//! Nothing is formatted before something has failed. Repeated failures are reported ten times a
//! second at most; the rest is counted.

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::command::{Failed, FullLimit, Got, Report, Uncertified};
use super::context::{Context, TimerKey};
use super::ids::ProviderId;
use super::log_entry::AccessLogEntry;
use super::reason::{Failure, Reason, Told};
use crate::http::chunked::ChunkError;
use crate::http::proxy_header::HeaderFault;
use crate::limits::{FULL_NOTICE, REQUEST_ID_BYTES};
use crate::observe::access::Outcome;
use crate::observe::dampen::{DAMPEN_TOTAL, DAMPEN_WINDOW, Kind};
use crate::policy::forward::Peer;
use crate::policy::rate_fields::Quota;

/// Bytes of a request's path in a report.
const PATH_BYTES: usize = 512;
/// Bytes of a request's method in a report.
const METHOD_BYTES: usize = 64;

/// Upper bound of the bytes of the reports that one call of the engine creates.
pub(super) const REPORTS_BYTES: usize = (DAMPEN_TOTAL as usize).saturating_mul(
    size_of::<Failed>()
        .saturating_add(PATH_BYTES)
        .saturating_add(REQUEST_ID_BYTES)
        .saturating_add(METHOD_BYTES),
);

/// Subject of a report, encoded as a number: the slot of a service or of a provider.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    /// A request of a service that failed.
    Service(Option<u32>),
    /// A request of a service that was refused, or goes on to another target: at `info`.
    Info(Option<u32>),
    Provider(u32),
}

impl Subject {
    const PROVIDER: u32 = 1 << 31;
    const INFO: u32 = 1 << 30;
    const NO_SERVICE: u32 = Subject::INFO - 1;

    fn number(self) -> u32 {
        let slot = |service: Option<u32>| {
            service.map_or(Subject::NO_SERVICE, |slot| slot & Subject::NO_SERVICE)
        };
        match self {
            Subject::Service(service) => slot(service),
            Subject::Info(service) => slot(service) | Subject::INFO,
            Subject::Provider(provider) => provider | Subject::PROVIDER,
        }
    }

    fn of(number: u32) -> Subject {
        if number & Subject::PROVIDER != 0 {
            return Subject::Provider(number & !Subject::PROVIDER);
        }
        let slot = number & Subject::NO_SERVICE;
        let service = (slot != Subject::NO_SERVICE).then_some(slot);
        if number & Subject::INFO != 0 {
            Subject::Info(service)
        } else {
            Subject::Service(service)
        }
    }
}

/// Returns the slot of a request's service.
fn service_of(entry: &AccessLogEntry) -> Option<u32> {
    entry.service.as_ref().map(|rules| rules.id.index())
}

impl Context {
    /// Reports an exchange that fails because of the upstream. `status`: status of the gateway's
    /// reply; `None` if it gives none. `address`: address that the
    /// request was sent to, if it is known.
    pub(super) fn report_failed(
        &mut self,
        entry: &mut AccessLogEntry,
        failure: &Failure,
        status: Option<u16>,
        address: Option<SocketAddr>,
    ) {
        entry.reason = failure.reason.clone().map(Box::new);
        if self.admits(Subject::Service(service_of(entry)), failure.what()) {
            let got = match (status, entry.numbers.status) {
                (Some(status), _) => Got::Reply(status),
                (None, Some(status)) => Got::Part(status),
                (None, None) => Got::Nothing,
            };
            let failed = Failed {
                address,
                is_kept_lost: status.is_some()
                    && entry.numbers.upstream_status.is_none()
                    && entry.numbers.reused
                    && failure.outcome == Outcome::UpstreamClosed,
                ..failed(entry, failure.outcome, failure.reason.clone(), got)
            };
            self.report(Report::UpstreamFailed(Box::new(failed)));
        }
        self.await_counts();
    }

    /// Reports an attempt that failed before the request goes on to another target: the client waits
    /// for it, and gets a response that does not show it. `address`: as above.
    #[cold]
    pub(super) fn report_try(
        &mut self,
        entry: &AccessLogEntry,
        failure: &Failure,
        address: Option<SocketAddr>,
    ) {
        if self.admits(Subject::Info(service_of(entry)), failure.what()) {
            let reason = failure.reason.clone();
            let failed = Failed {
                address,
                ..failed(entry, failure.outcome, reason, Got::NotYet)
            };
            self.report(Report::TryFailed(Box::new(failed)));
        }
        self.await_counts();
    }

    /// Reports a request that the gateway refuses because of its content or its credentials.
    pub(super) fn report_refused(
        &mut self,
        entry: &mut AccessLogEntry,
        outcome: Outcome,
        reason: Reason,
    ) {
        let told = reason.told();
        if told != Told::Elsewhere {
            let service = service_of(entry);
            let subject = match told {
                Told::Warn => Subject::Service(service),
                Told::Info | Told::Elsewhere => Subject::Info(service),
            };
            if self.admits(subject, reason.what()) {
                let got = entry.numbers.status.map_or(Got::Nothing, Got::Reply);
                let failed = Box::new(failed(entry, outcome, Some(reason.clone()), got));
                self.report(match told {
                    Told::Warn => Report::UpstreamFailed(failed),
                    Told::Info | Told::Elsewhere => Report::Refused(failed),
                });
            }
            self.await_counts();
        }
        entry.reason = Some(Box::new(reason));
    }

    /// Reports a malformed body of a request that has its answer and its line in the access log.
    #[cold]
    pub(super) fn report_broken_body(&mut self, client: Option<IpAddr>, fault: ChunkError) {
        if self.admits(Subject::Info(None), fault.as_str()) {
            self.report(Report::BodyBroken { client, fault });
        }
        self.await_counts();
    }

    /// Reports a connection that should begin with a header of the PROXY protocol and does not.
    #[cold]
    pub(super) fn report_unannounced(&mut self, sender: Option<IpAddr>, fault: HeaderFault) {
        if self.admits(Subject::Service(None), fault.as_str()) {
            self.report(Report::Unannounced { sender, fault });
        }
        self.await_counts();
    }

    /// Reports a client whose certificate was refused. `listener`: number of the listener's name.
    #[cold]
    pub(super) fn report_uncertified(
        &mut self,
        client: Option<IpAddr>,
        listener: u16,
        reason: Reason,
    ) {
        if self.admits(Subject::Info(None), "client certificate") {
            let listener = self.access_log.listener_name(listener).map(Box::from);
            self.report(Report::Uncertified(Uncertified {
                client,
                listener,
                reason,
            }));
        }
        self.await_counts();
    }

    /// Reports the first 429 of a service since the start or the last reload, with the limit that
    /// the client reached.
    #[cold]
    pub(super) fn report_rate_limited(&mut self, entry: &AccessLogEntry) {
        if !self.messages.limited.insert(service_of(entry)) {
            return;
        }
        let service = entry.service.as_ref();
        let rules = Rc::clone(&self.rules);
        let common = &rules.settings.rate_limit[..];
        let limits = service.map_or(common, |rules| rules.service.limits(common));
        let place = entry.numbers.quota.map_or(0, Quota::place);
        if let Some(limit) = limits.get(place) {
            self.report(Report::FirstRateLimited(FullLimit {
                service: service.map(|rules| Rc::clone(&rules.label)),
                client: entry.numbers.client,
                key: limit.key.clone(),
                requests: limit.requests,
                window: limit.window,
                algorithm: limit.algorithm,
            }));
        }
    }

    /// Reports a connection for which there is no place. `client`: it has its share; `None`: all
    /// connections are in use.
    #[cold]
    pub(super) fn report_full(&mut self, client: Option<IpAddr>) {
        let told = match client {
            Some(_) => &mut self.messages.share,
            None => &mut self.messages.full,
        };
        let now = self.now;
        let is_first = told.is_none_or(|told| now.since(told) >= FULL_NOTICE);
        if is_first {
            *told = Some(now);
        }
        self.report(Report::ConnectionsFull { client, is_first });
    }

    /// Reports `X-Forwarded-For` from a proxy that is not trusted, once: most private addresses that
    /// send the field are a proxy that the configuration forgot.
    #[cold]
    pub(super) fn report_forwarded(&mut self, peer: Peer) {
        if peer.is_private()
            && !self.rules.trusted.is_trusted(peer)
            && self.messages.ignored_forwarder.is_none()
        {
            self.messages.ignored_forwarder = Some(peer);
            self.report(Report::ForwardedIgnored { peer: peer.ip() });
        }
    }

    /// Returns true if a message about a provider is reported now, and false if it is suppressed.
    pub(super) fn admits_report_of(&mut self, provider: ProviderId, what: &'static str) -> bool {
        let is_admitted = self.admits(Subject::Provider(provider.index()), what);
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

    /// Sets the timer for the report of suppressed messages.
    fn await_counts(&mut self) {
        if self.messages.dampener.has_suppressed() && self.messages.timer.deadline().is_none() {
            let due = self.now.after(DAMPEN_WINDOW);
            self.timers
                .arm(&mut self.messages.timer, TimerKey::Messages, due);
        }
    }

    /// Reports the number of suppressed messages.
    pub(super) fn report_counts(&mut self) {
        while let Some(suppressed) = self.messages.dampener.take(self.now) {
            let subject = suppressed.kind.map(|kind| Subject::of(kind.subject));
            let (service, provider) = match subject {
                Some(Subject::Service(service) | Subject::Info(service)) => {
                    (service.and_then(|service| self.label_of(service)), None)
                }
                Some(Subject::Provider(provider)) => (None, self.provider_name(provider)),
                None => (None, None),
            };
            self.report(Report::Suppressed {
                is_info: matches!(subject, Some(Subject::Info(_))),
                service,
                provider,
                what: suppressed.kind.map(|kind| kind.what),
                count: suppressed.count,
            });
        }
        self.await_counts();
    }

    /// Returns the label of the service in a slot, if the rules of the moment have that service.
    fn label_of(&self, slot: u32) -> Option<Rc<str>> {
        let mut services = self.rules.services.iter();
        let service = services.find(|service| service.id.index() == slot)?;
        Some(Rc::clone(&service.label))
    }

    /// Returns the name of the provider in a slot, if the rules of the moment have that provider.
    fn provider_name(&self, slot: u32) -> Option<Rc<str>> {
        let mut ids = self.rules.state.providers.iter();
        let index = ids.position(|id| id.index() == slot)?;
        let provider = self.rules.settings.auth.get(index)?;
        Some(Rc::from(provider.name.as_str()))
    }
}

fn failed(entry: &AccessLogEntry, outcome: Outcome, reason: Option<Reason>, got: Got) -> Failed {
    let (method, path) = entry.method_and_path();
    Failed {
        service: entry.service.as_ref().map(|rules| Rc::clone(&rules.label)),
        target: entry.target().map(Rc::clone),
        address: None,
        outcome,
        reason,
        got,
        is_kept_lost: false,
        client: entry.numbers.client,
        id: entry.id().map(Into::into),
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
            Subject::Info(None),
            Subject::Info(Some(7)),
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
            Subject::of(Subject::Info(None).number()),
            Subject::Info(None)
        ));
        assert!(matches!(
            Subject::of(Subject::Info(Some(7)).number()),
            Subject::Info(Some(7))
        ));
        assert!(matches!(
            Subject::of(Subject::Provider(7).number()),
            Subject::Provider(7)
        ));
    }
}
