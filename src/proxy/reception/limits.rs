//! Rate limits beyond a single one by address: see [`rate_rules`](super::super::rate_rules).

use std::rc::Rc;

use super::super::client::LocalReply;
use super::super::log_entry::AccessLogEntry;
use super::super::rate_rules::{Asked, Limited, RateRules, Stage};
use super::replies::{rate_limited_reply, store_down_reply};
use super::{Decision, Reception};
use crate::policy::admission::Request;
use crate::policy::auth::grant::Grant;
use crate::policy::forward::Peer;
use crate::policy::rate_fields::Quota;

impl Reception<'_> {
    /// Counts a request by the limits of its service; without one, by those of the top level.
    ///
    /// # Errors
    /// A limit is reached; the value is the reply.
    #[cold]
    pub(super) fn count_listed(
        &mut self,
        (service, decision): (Option<usize>, Decision),
        client: Peer,
        request: &Request<'_>,
        entry: &mut AccessLogEntry,
    ) -> Result<(), LocalReply<'static>> {
        let rules = Rc::clone(&self.ctx.rules);
        let of_service = service.and_then(|service| rules.services.get(service));
        let rate = of_service.map_or(&rules.state.rate, |of_service| &of_service.rate);
        let Some(limits) = &rate.rules else {
            return Ok(());
        };
        let is_guarded = of_service.is_some_and(|it| !it.service.auth.providers.is_empty());
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
        let counted = self.limiter.count_by(limits, stage, &asked, self.ctx.now);
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
        match counted {
            Ok(quota) => {
                entry.numbers.quota = quota;
                Ok(())
            }
            Err(limited) => {
                entry.service = service.and_then(|service| rules.service(service));
                Err(self.limited(limited, entry))
            }
        }
    }

    /// Counts a request by the limits that need the credential which let it in. If one of them is
    /// reached, the request counts in none of the limits of its service.
    ///
    /// # Errors
    /// A limit is reached; the value is the reply.
    #[cold]
    pub(super) fn count_admitted(
        &mut self,
        limits: &RateRules,
        request: &Request<'_>,
        grant: &Grant,
        entry: &mut AccessLogEntry,
    ) -> Result<(), LocalReply<'static>> {
        if !limits.follow_credentials() {
            return Ok(());
        }
        let asked = Asked {
            client: entry.numbers.client.map_or(Peer::Unix, Peer::Ip),
            head: request.head,
            grant: Some(grant),
        };
        let counted = self
            .limiter
            .count_by(limits, Stage::Admitted, &asked, self.ctx.now);
        if counted.is_err() {
            self.limiter.give_back(limits, Stage::Arrived, &asked);
        }
        self.ctx.has_leftovers |= !self.limiter.queues.is_empty();
        match counted {
            Ok(quota) => {
                entry.numbers.quota = limits.tighter(entry.numbers.quota, quota);
                Ok(())
            }
            Err(limited) => Err(self.limited(limited, entry)),
        }
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
