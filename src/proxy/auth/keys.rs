//! Key sets that are fetched: at the start, every few minutes, and when a token names a key that
//! nobody has heard of; the last good one stays. A flood of unknown keys makes [`JWKS_BURST`]
//! fetches and then one in [`JWKS_FLOOR`], whatever it brings; those that happen anyway do not
//! count.

use std::rc::Rc;

use super::super::command::{KeysFault, Report};
use super::super::context::TimerKey;
use super::super::heads::subrequest_head;
use super::super::ids::{LookupId, ProviderId};
use super::super::reason::Reason;
use super::super::subrequest::{Expects, Requester, SubResponse, SubrequestSpec};
use super::progress::ProviderVerdict;
use super::{AuthEnv, Authenticator, Lookup, LookupKind, LookupResult, ProviderState};
use crate::limits::{
    AUTH_KEEP_ALIVE, AUTH_REMEMBERED_BYTES, JWKS_BURST, JWKS_BYTES, JWKS_FLOOR, JWKS_REFRESH,
    JWKS_RETRY, JWKS_RETRY_MAX, RESPONSE_TIMEOUT_DEFAULT,
};
use crate::observe::access::Outcome;
use crate::policy::auth::credential_cache::CredentialCache;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::{Keys, Kind};
use crate::time::{Duration, Instant};

/// Media types of a key set (RFC 7517 8.5.2); many servers send plain JSON.
const ACCEPTED: &str = "application/jwk-set+json, application/json";

/// Time in which the bucket of fetches fills up when one is left.
const FLOOR_OF_REST: Duration = Duration::from_millis(
    JWKS_FLOOR
        .as_millis()
        .saturating_mul(JWKS_BURST.saturating_sub(1)),
);

impl ProviderState {
    /// Returns the verdict about a token whose key is not in the set; `fetched`: the set is as new
    /// as this request.
    pub(super) fn lacks_key(&self, fetched: bool, now: Instant) -> ProviderVerdict {
        let may_ask = !fetched && (self.fetching.is_some() || self.may_fetch(now));
        match (may_ask, &self.keys) {
            (true, _) => ProviderVerdict::Later,
            (false, Some(_)) => ProviderVerdict::Bad(CredentialFault::UnknownKey),
            // A set that was never obtained says nothing about the token.
            (false, None) => ProviderVerdict::Down(Outcome::UpstreamClosed, None),
        }
    }

    /// Returns whether the bucket of fetches for unknown keys has one left: [`JWKS_BURST`] when it
    /// is full, one more each [`JWKS_FLOOR`].
    fn may_fetch(&self, now: Instant) -> bool {
        self.full_at <= now.after(FLOOR_OF_REST)
    }

    /// Takes one fetch out of the bucket.
    fn take_fetch(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now).after(JWKS_FLOOR);
    }

    /// Takes a new set. What was verified with a key that is gone is good no more, and what had no
    /// key may have one.
    fn renew(&mut self, keys: KeySet) -> bool {
        let changed = self.keys.as_ref() != Some(&keys);
        if changed {
            self.generation = self.generation.wrapping_add(1);
            self.good = CredentialCache::new(AUTH_REMEMBERED_BYTES);
            self.bad = CredentialCache::new(AUTH_REMEMBERED_BYTES);
        }
        self.keys = Some(keys);
        changed
    }
}

impl Authenticator {
    /// The clock is set: key sets can be fetched.
    pub(in crate::proxy) fn start_fetching(&mut self, env: &mut AuthEnv<'_>) {
        if !core::mem::replace(&mut self.is_clock_set, true) {
            self.fetch_new_keys(env);
        }
    }

    /// Fetches the key sets that were never fetched, once the clock is set.
    pub(in crate::proxy) fn fetch_new_keys(&mut self, env: &mut AuthEnv<'_>) {
        if !self.is_clock_set {
            return;
        }
        for provider in self.providers.keys().collect::<Vec<_>>() {
            let is_new = |state: &ProviderState| {
                let is_fetched = matches!(
                    state.provider.kind,
                    Kind::Jwt {
                        keys: Keys::Fetched(_),
                        ..
                    }
                );
                is_fetched && state.fetching.is_none() && state.timer.deadline().is_none()
            };
            if self.providers.get(provider).is_some_and(is_new) {
                self.arm_fetch(provider, Duration::ZERO, env);
            }
        }
    }

    fn arm_fetch(&mut self, provider: ProviderId, span: Duration, env: &mut AuthEnv<'_>) {
        if let Some(state) = self.providers.get_mut(provider) {
            let key = TimerKey::Provider(provider);
            env.ctx.arm(&mut state.timer, key, Some(span));
        }
    }

    /// The fetch that is under way, or a new one for a token whose key is unknown; and whether it
    /// was under way.
    pub(super) fn fetch_keys_for_token(
        &mut self,
        provider: ProviderId,
        env: &mut AuthEnv<'_>,
    ) -> Option<(LookupId, bool)> {
        let state = self.providers.get_mut(provider)?;
        let under_way = state.fetching.is_some();
        if !under_way {
            state.take_fetch(env.ctx.now);
        }
        Some((self.fetch_keys(provider, env)?, under_way))
    }

    /// The fetch that is under way, or a new one.
    pub(in crate::proxy) fn fetch_keys(
        &mut self,
        provider: ProviderId,
        env: &mut AuthEnv<'_>,
    ) -> Option<LookupId> {
        let state = self.providers.get_mut(provider)?;
        if let Some(lookup) = state.fetching {
            return Some(lookup);
        }
        let path = &state.provider.kind.endpoint()?.path;
        let (target, authority) = state.target.as_ref().map(|(id, to)| (*id, &to.authority))?;
        let mut request = subrequest_head("GET", path, authority, ACCEPTED, "tollgate");
        request.push_str("\r\n");
        let lookup = self.lookups.insert(Lookup {
            kind: LookupKind::Keys(provider),
            waiting: Vec::new(),
            subrequest: None,
            starter: None,
        });
        let spec = SubrequestSpec {
            requester: Requester::Auth(lookup),
            target,
            address: None,
            request: request.into_bytes(),
            within: RESPONSE_TIMEOUT_DEFAULT,
            expects: Expects::Body(JWKS_BYTES),
            keep: Some(AUTH_KEEP_ALIVE),
        };
        if !self.want_subrequest(spec, env) {
            self.lookups.remove(lookup);
            self.arm_fetch(provider, JWKS_RETRY, env);
            return None;
        }
        if let Some(state) = self.providers.get_mut(provider) {
            state.fetching = Some(lookup);
        }
        Some(lookup)
    }

    /// A fetch ended.
    pub(super) fn keys_answered(
        &mut self,
        provider: ProviderId,
        answer: Result<SubResponse, Outcome>,
        reason: Option<Reason>,
        env: &mut AuthEnv<'_>,
    ) -> LookupResult {
        let Some(state) = self.providers.get_mut(provider) else {
            return LookupResult::Fetched;
        };
        let algorithms = match &state.provider.kind {
            Kind::Jwt { rules, .. } => rules.algorithms,
            Kind::Introspection { .. }
            | Kind::ApiKey { .. }
            | Kind::Basic { .. }
            | Kind::Forward { .. } => Default::default(),
        };
        let fetched = match answer {
            Ok(sub_response) if sub_response.status == 200 && sub_response.is_coded() => Err(
                KeysFault::Refused("came in a content coding, although only identity was accepted"),
            ),
            Ok(SubResponse {
                status: 200, body, ..
            }) => KeySet::parse(&body, algorithms).map_err(KeysFault::Refused),
            Ok(SubResponse { status, .. }) => Err(KeysFault::Status(status)),
            Err(outcome) => Err(KeysFault::NoAnswer(outcome)),
        };
        state.fetching = None;
        let span = match fetched {
            Ok(keys) => {
                state.retry = JWKS_RETRY;
                let (count, left_out) = (keys.keys().len(), keys.left_out());
                if state.renew(keys) {
                    env.ctx.report(Report::KeysFetched {
                        provider: Rc::clone(&state.name),
                        count,
                        left_out,
                    });
                }
                JWKS_REFRESH
            }
            Err(fault) => {
                let retry = state.retry;
                state.retry =
                    Duration::from_millis(retry.as_millis().saturating_mul(2)).min(JWKS_RETRY_MAX);
                if state.keys.is_none() {
                    // The next request may try again soon: without a set no request is let in.
                    state.full_at = env.ctx.now.after(JWKS_RETRY).after(FLOOR_OF_REST);
                }
                env.ctx.report(Report::KeysFailed {
                    provider: Rc::clone(&state.name),
                    fault,
                    reason,
                });
                retry
            }
        };
        self.arm_fetch(provider, span, env);
        LookupResult::Fetched
    }
}
