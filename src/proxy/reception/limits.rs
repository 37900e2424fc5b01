//! Rate limits beyond a single one by address: see [`rate_rules`](super::super::rate_rules). A request
//! of an `exact` limit waits until the store has counted it, as one waits for a provider: its head
//! stays, and is looked at again.

use std::rc::Rc;
use std::sync::Arc;

use super::super::auth::{AuthDecision, SuspendedRequest};
use super::super::client::LocalReply;
use super::super::log_entry::AccessLogEntry;
use super::super::rate_held::{Admitted, RateHeld};
use super::super::rate_rules::{Asked, Limited, RateRules, Stage};
use super::super::rules::ServiceRules;
use super::replies::{rate_limited_reply, store_down_reply};
use super::{Decision, Received, Reception};
use crate::limits::STORE_EXACT_WAIT;
use crate::policy::auth::grant::Grant;
use crate::policy::forward::Peer;
use crate::policy::rate_fields::Quota;
use crate::policy::request::Request;

/// Reason why a request goes no further for now.
pub(super) enum Stopped {
    /// The request gets this reply.
    Reply(LocalReply<'static>),
    /// The request waits for a store.
    Wait(Box<RateHeld>),
}

impl Reception<'_> {
    /// Counts a request by the limits of its service; without one, by those of the top level.
    ///
    /// # Errors
    /// A limit is reached, or the request waits for a store.
    #[cold]
    pub(super) fn count_listed(
        &mut self,
        (service, decision): (Option<usize>, Decision),
        client: Peer,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<(), Stopped> {
        let rules = Rc::clone(&self.ctx.rules);
        let of_service = service.and_then(|service| rules.services.get(service));
        let rate = of_service.map_or(&rules.state.rate, |of_service| &of_service.rate);
        let Some(limits) = &rate.rules else {
            return Ok(());
        };
        let is_guarded = of_service.is_some_and(|it| !it.providers.is_empty());
        let is_authenticated =
            is_guarded && matches!(decision, Decision::Forward(_)) && !request.is_preflight();
        let stage = match is_authenticated {
            true => Stage::Arrived,
            false => Stage::All,
        };
        let asked = Asked {
            client,
            head: request.head,
            grant: None,
        };
        let counted = self
            .limiter
            .count_by(limits, stage, (self.id, &asked), self.ctx.now);
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
        let owner = || service.and_then(|service| rules.service(service));
        match counted {
            Ok(counted) => {
                entry.numbers.quota = counted.quota;
                let Some(waits) = counted.waits else {
                    return Ok(());
                };
                entry.service = owner();
                Err(Stopped::Wait(Box::new(RateHeld::new(limits, stage, waits))))
            }
            Err(limited) => {
                // The message about the first 429 names the route, and the limit of the service.
                entry.service = owner();
                Err(Stopped::Reply(self.limited(limited, entry)))
            }
        }
    }

    /// Counts a request by the limits that need the credential which let it in. If one of them is
    /// reached, the request counts in none of the limits of its service.
    ///
    /// # Errors
    /// A limit is reached, or the request waits for a store.
    #[cold]
    pub(super) fn count_admitted(
        &mut self,
        (limits, service): (&Rc<RateRules>, &Rc<ServiceRules>),
        request: &Request<'_>,
        (grant, by_authorization): (&Arc<Grant>, bool),
        entry: &mut AccessLogEntry,
    ) -> Result<(), Stopped> {
        if !limits.follow_credentials() {
            return Ok(());
        }
        let asked = asked(request, entry, Some(grant));
        let counted =
            self.limiter
                .count_by(limits, Stage::Admitted, (self.id, &asked), self.ctx.now);
        if counted.is_err() {
            self.limiter.give_back(limits, Stage::Arrived, &asked);
        }
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
        match counted {
            Ok(counted) => {
                entry.numbers.quota = limits.tighter(entry.numbers.quota, counted.quota);
                let Some(waits) = counted.waits else {
                    return Ok(());
                };
                let mut held = RateHeld::new(limits, Stage::Admitted, waits);
                held.admitted = Some(Admitted {
                    grant: Arc::clone(grant),
                    by_authorization,
                    service: Rc::clone(service),
                });
                Err(Stopped::Wait(Box::new(held)))
            }
            Err(limited) => Err(Stopped::Reply(self.limited(limited, entry))),
        }
    }

    /// Answers a request, or lets it wait for a store.
    #[cold]
    pub(super) fn stop(
        &mut self,
        stopped: Stopped,
        request: &Request<'_>,
        entry: Box<AccessLogEntry>,
        suspended: Option<Box<SuspendedRequest>>,
    ) -> Received {
        match stopped {
            Stopped::Reply(reply) => self.reply_and_drain(request, reply, entry),
            Stopped::Wait(held) => {
                let mut suspended = suspended.unwrap_or_default();
                suspended.rate = Some(held);
                self.suspend(suspended, entry, STORE_EXACT_WAIT)
            }
        }
    }

    /// Goes on with a request that may have waited for a store before authentication.
    ///
    /// # Errors
    /// A limit is reached.
    #[cold]
    pub(super) fn after_wait(
        &mut self,
        waited: &mut SuspendedRequest,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<(), Stopped> {
        let is_before = |held: &mut Box<RateHeld>| held.stage != Stage::Admitted;
        match waited.rate.take_if(is_before) {
            Some(mut held) => self
                .judged(&mut held, request, entry)
                .map_err(Stopped::Reply),
            None => Ok(()),
        }
    }

    /// Goes on with a request that has waited for a store after authentication. Returns the credential
    /// that has let it in; `None`: the rules are others now, and must let it in again.
    ///
    /// # Errors
    /// A limit is reached; the value is the reply.
    #[cold]
    pub(super) fn after_admission(
        &mut self,
        mut held: RateHeld,
        service: &Rc<ServiceRules>,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<Option<AuthDecision>, LocalReply<'static>> {
        self.judged(&mut held, request, entry)?;
        let admitted = held.admitted.take();
        let same = admitted.filter(|admitted| Rc::ptr_eq(&admitted.service, service));
        Ok(same.map(|admitted| AuthDecision::Open {
            grant: admitted.grant,
            by_authorization: admitted.by_authorization,
        }))
    }

    /// Acts on the answers that a request has waited for. One that is refused counts in none of the
    /// limits.
    fn judged(
        &mut self,
        held: &mut RateHeld,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<(), LocalReply<'static>> {
        let limited = match held.end() {
            Ok(quota) => {
                entry.numbers.quota = held.rules.tighter(entry.numbers.quota, quota);
                return Ok(());
            }
            Err(limited) => limited,
        };
        let grant = held.admitted.as_ref().map(|admitted| &*admitted.grant);
        let asked = asked(request, entry, grant);
        self.limiter.give_back(&held.rules, held.stage, &asked);
        if held.stage == Stage::Admitted {
            self.limiter.give_back(&held.rules, Stage::Arrived, &asked);
        }
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
        Err(self.limited(limited, entry))
    }

    /// Returns the reply to a request that a limit refuses.
    fn limited(&mut self, limited: Limited, entry: &mut AccessLogEntry) -> LocalReply<'static> {
        let Limited::Full(place, full) = limited else {
            return store_down_reply();
        };
        entry.numbers.quota = Some(Quota::new(0, full.end).of_limit(place));
        self.ctx.report_rate_limited(entry);
        rate_limited_reply(full.wait)
    }
}

/// Returns what limits look at of a request that has a log entry.
fn asked<'a>(request: &Request<'a>, entry: &AccessLogEntry, grant: Option<&'a Grant>) -> Asked<'a> {
    Asked {
        client: entry.numbers.client.map_or(Peer::Unix, Peer::Ip),
        head: request.head,
        grant,
    }
}
