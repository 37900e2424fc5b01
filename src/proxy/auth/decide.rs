//! Authentication decision with the information that is available now. Any valid credential admits
//! a request. Only if there is none, the gateway starts a lookup.

use std::rc::Rc;
use std::sync::Arc;

use super::super::ids::LookupId;
use super::super::reason::Busy;
use super::super::rules::ServiceRules;
use super::counts::{count_result, count_verdict, provider_of};
use super::progress::{AuthProgress, ProviderVerdict};
use super::{Asking, AuthEnv, Authenticator, Denial};
use crate::observe::access::Outcome;
use crate::observe::metrics::counters::AuthResult;
use crate::policy::auth::credential_cache::Fingerprint;
use crate::policy::auth::credentials::{self, Ambiguous, Authorization, is_bearer_token};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::jwt::{Checked, Examined};
use crate::policy::auth::provider::{Keys, Kind, Reads};
use crate::policy::auth::signature::CostlySignature;
use crate::policy::auth::{api_key, challenge};
use crate::policy::request::Request;
use crate::time::Duration;

/// Decision about a request.
pub(in crate::proxy) enum AuthDecision {
    /// The request is admitted.
    Open {
        /// Grant of its credential.
        grant: Arc<Grant>,
        /// True if the credential was not an API key, so that `Authorization` may have admitted the
        /// request.
        by_authorization: bool,
    },
    /// The request is refused.
    Refused(Refusal),
    /// The request waits for a lookup, for the service's provider at this position.
    Wait(LookupId, usize),
}

/// Reason why a request is not admitted.
pub(in crate::proxy) enum Refusal {
    /// 400: a credential occurs twice.
    Ambiguous,
    /// 401, with these challenges.
    Unauthorized(Vec<u8>, CredentialFault),
    /// 403, with this challenge.
    Forbidden(Vec<u8>),
    /// Response of the forward endpoint.
    Denied(Denial),
    /// 429: too many forged credentials came from this client. The value is the time until they are
    /// verified again.
    Throttled(Duration),
    /// 503: the provider that could decide does not respond, or cannot be asked now.
    Down(Outcome, Option<Busy>),
}

/// A signature that a helper thread has to verify, and the fingerprint of its token.
pub(super) struct Costly {
    pub(super) fingerprint: Fingerprint,
    pub(super) signature: CostlySignature,
}

impl Authenticator {
    /// Decides if a request for a service is admitted.
    pub(in crate::proxy) fn authenticate(
        &mut self,
        asking: Asking<'_>,
        progress: &mut AuthProgress,
        env: &mut AuthEnv<'_>,
    ) -> AuthDecision {
        progress.begin(&asking.service.providers);
        let decision = self.decide(asking, progress, env);
        if matches!(
            decision,
            AuthDecision::Refused(
                Refusal::Unauthorized(..)
                    | Refusal::Forbidden(_)
                    | Refusal::Denied(_)
                    | Refusal::Down(..)
            )
        ) && progress.is_forged()
        {
            env.count_failure(asking.client);
        }
        decision
    }

    fn decide(
        &mut self,
        asking: Asking<'_>,
        progress: &mut AuthProgress,
        env: &mut AuthEnv<'_>,
    ) -> AuthDecision {
        let Asking {
            client,
            request,
            service,
            ..
        } = asking;
        let Ok(authorization) = credentials::authorization(&request.head.fields) else {
            return AuthDecision::Refused(Refusal::Ambiguous);
        };
        let count = service.providers.len();
        let is_fresh = progress.answer.is_none();
        // First all providers that can decide at once.
        for position in 0..count {
            if progress.is_settled(position) {
                continue;
            }
            let verdict = match progress.take_answer(position) {
                Some(verdict) => verdict,
                None => self.verify_locally(service, position, request, &authorization, env),
            };
            count_verdict(service, position, &verdict, env);
            if let Some(decision) = self.record_verdict(service, position, verdict, progress) {
                return decision;
            }
        }
        let verifies = (0..count)
            .any(|position| !progress.is_settled(position) && self.verifies(service, position));
        let failures = env.ctx.rules.state.failures;
        if (verifies || (is_fresh && progress.is_forged()))
            && let Err(wait) = env.limiter.admit_credential(failures, client, env.ctx.now)
        {
            return AuthDecision::Refused(Refusal::Throttled(wait));
        }
        // Costly signatures, each with the position of its provider.
        let mut costly = Vec::new();
        if let Authorization::Bearer(token) = authorization {
            for position in 0..count {
                if progress.is_settled(position) {
                    continue;
                }
                let verdict = match self.verify_token(service, position, token, progress, env) {
                    Ok(verdict) => verdict,
                    Err(signature) => {
                        costly.push((position, signature));
                        ProviderVerdict::Later
                    }
                };
                count_verdict(service, position, &verdict, env);
                if let Some(decision) = self.record_verdict(service, position, verdict, progress) {
                    return decision;
                }
            }
        }
        match self.start_lookups(asking, &authorization, costly, progress, env) {
            Some((lookup, position)) => AuthDecision::Wait(lookup, position),
            None => AuthDecision::Refused(self.refusal(service, progress)),
        }
    }

    /// Starts the first possible lookup for a provider without a verdict. Returns the lookup and
    /// the position of the provider.
    fn start_lookups(
        &mut self,
        asking: Asking<'_>,
        authorization: &Authorization<'_>,
        mut costly: Vec<(usize, Costly)>,
        progress: &mut AuthProgress,
        env: &mut AuthEnv<'_>,
    ) -> Option<(LookupId, usize)> {
        let count = asking.service.providers.len();
        for position in 0..count {
            if progress.is_settled(position) {
                continue;
            }
            let signature = costly.iter().position(|(of, _)| *of == position);
            let lookup = match signature.map(|at| costly.swap_remove(at)) {
                Some((_, signature)) => provider_of(asking.service, position)
                    .ok_or(None)
                    .and_then(|provider| self.look_up_signature(asking, provider, signature, env)),
                None => self.start_lookup(asking, position, authorization, progress, env),
            };
            match lookup {
                Ok(lookup) => {
                    self.join_lookup(asking.id, lookup);
                    return Some((lookup, position));
                }
                Err(busy) => {
                    count_result(asking.service, position, AuthResult::Down, env);
                    progress.go_down(position, Outcome::OverLimit, busy);
                }
            }
        }
        None
    }

    /// Records the verdict of a provider. Returns the decision if the verdict is final.
    fn record_verdict(
        &self,
        service: &ServiceRules,
        position: usize,
        verdict: ProviderVerdict,
        progress: &mut AuthProgress,
    ) -> Option<AuthDecision> {
        let scopes = &service.service.auth.scopes;
        let kind = self.kind_of(service, position);
        match verdict {
            ProviderVerdict::Later => return None,
            ProviderVerdict::Twice => return Some(AuthDecision::Refused(Refusal::Ambiguous)),
            ProviderVerdict::Good(grant) => {
                if !grant.client_lines().is_empty() {
                    progress.for_client = Some(grant.clone());
                }
                if grant.has_scopes(scopes) {
                    let by_authorization = match kind.map(Kind::reads) {
                        Some(Reads::Header(_)) => false,
                        Some(Reads::Bearer | Reads::Basic | Reads::Request) | None => true,
                    };
                    return Some(AuthDecision::Open {
                        grant,
                        by_authorization,
                    });
                }
                progress.unfit_token |= kind.is_some_and(Kind::takes_bearer);
                progress.insufficient = true;
            }
            ProviderVerdict::Nothing => {}
            ProviderVerdict::Bad(fault) => {
                progress.note_bad(fault, kind.is_some_and(Kind::takes_bearer));
            }
            ProviderVerdict::Denied(denial) => {
                progress.denied.get_or_insert(denial);
            }
            ProviderVerdict::Down(outcome, busy) => progress.go_down(position, outcome, busy),
        }
        progress.settle(position);
        None
    }

    /// Returns the verdict of a provider, as far as it needs no lookup.
    fn verify_locally(
        &mut self,
        service: &ServiceRules,
        position: usize,
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        env: &mut AuthEnv<'_>,
    ) -> ProviderVerdict {
        let wall = env.ctx.wall();
        let Some(id) = provider_of(service, position) else {
            return ProviderVerdict::Nothing;
        };
        let Some(state) = self.providers.get_mut(id) else {
            return ProviderVerdict::Nothing;
        };
        let provider = Rc::clone(&state.provider);
        match (&provider.kind, authorization) {
            (Kind::ApiKey { header, keys }, _) => {
                match credentials::api_key(&request.head.fields, header) {
                    Err(Ambiguous) => ProviderVerdict::Twice,
                    Ok(None) => ProviderVerdict::Nothing,
                    Ok(Some(key)) => match api_key::find(key, keys) {
                        Some(grant) => ProviderVerdict::Good(Arc::clone(grant)),
                        None => ProviderVerdict::Bad(CredentialFault::ApiKey),
                    },
                }
            }
            (Kind::Forward { .. }, _) => ProviderVerdict::Later,
            (Kind::Basic { .. }, Authorization::Basic(pair)) => {
                let fingerprint =
                    self.fingerprints
                        .compute(id.into(), pair.user.bytes(), pair.password.bytes());
                state.cached_password(&fingerprint, env.ctx.now)
            }
            (Kind::Basic { .. }, Authorization::Malformed) => {
                ProviderVerdict::Bad(CredentialFault::BasicForm)
            }
            (Kind::Jwt { .. } | Kind::Introspection { .. }, Authorization::Bearer(token)) => {
                if !is_bearer_token(token) {
                    return ProviderVerdict::Bad(CredentialFault::TokenForm);
                }
                let fingerprint = self.fingerprints.compute(id.into(), token, b"");
                state.cached_token(&fingerprint, env.ctx.now, wall)
            }
            // A credential of another kind. The kinds are named, so that a new one is an error here.
            (Kind::Basic { .. } | Kind::Jwt { .. } | Kind::Introspection { .. }, _) => {
                ProviderVerdict::Nothing
            }
        }
    }

    /// Verifies a token that a jwt provider has no cached verdict for.
    ///
    /// # Errors
    /// The signature takes too long to be verified here.
    fn verify_token(
        &mut self,
        service: &ServiceRules,
        position: usize,
        token: &[u8],
        progress: &AuthProgress,
        env: &mut AuthEnv<'_>,
    ) -> Result<ProviderVerdict, Costly> {
        let wall = env.ctx.wall();
        let Some(id) = provider_of(service, position) else {
            return Ok(ProviderVerdict::Later);
        };
        let Some(state) = self.providers.get_mut(id) else {
            return Ok(ProviderVerdict::Later);
        };
        let provider = Rc::clone(&state.provider);
        let Kind::Jwt { rules, keys } = &provider.kind else {
            return Ok(ProviderVerdict::Later);
        };
        let fingerprint = self.fingerprints.compute(id.into(), token, b"");
        if self.pending.contains_key(&fingerprint) {
            return Ok(ProviderVerdict::Later);
        }
        let none = KeySet::default();
        let set = match keys {
            Keys::Known(set) => set,
            Keys::Fetched(_) => state.keys.as_ref().unwrap_or(&none),
        };
        Ok(match (rules.examine(token, set, wall), keys) {
            (Examined::Costly(signature), _) => {
                return Err(Costly {
                    fingerprint,
                    signature,
                });
            }
            (Examined::Done(Checked::UnknownKey), Keys::Known(_)) => {
                ProviderVerdict::Bad(CredentialFault::UnknownKey)
            }
            (Examined::Done(Checked::UnknownKey), Keys::Fetched(_)) => {
                state.lacks_key(progress.was_fetched(position), env.ctx.now)
            }
            (Examined::Done(Checked::Good(grant)), _) => {
                ProviderVerdict::Good(state.remember_good(fingerprint, grant, env.ctx.now))
            }
            (Examined::Done(Checked::Bad(fault)), _) => {
                state.remember_bad(fingerprint, fault, env.ctx.now);
                ProviderVerdict::Bad(fault)
            }
        })
    }

    /// Returns the refusal of a request that no provider let in. A provider that is down comes
    /// first: it might have let it in.
    fn refusal(&self, service: &ServiceRules, progress: &mut AuthProgress) -> Refusal {
        if let Some((outcome, busy)) = progress.down {
            return Refusal::Down(outcome, busy);
        }
        if progress.insufficient {
            let scopes = &service.service.auth.scopes;
            return Refusal::Forbidden(challenge::insufficient_scope(scopes));
        }
        let positions = 0..service.providers.len();
        let kinds = positions.filter_map(|position| self.kind_of(service, position));
        let challenges = challenge::unauthorized(kinds, progress.bad_token);
        match progress.denied.take() {
            // RFC 9110 15.5.2: every 401 has a challenge.
            Some(denial) if denial.lacks_challenge() => {
                Refusal::Denied(denial.with_lines(&challenges))
            }
            Some(denial) => Refusal::Denied(denial),
            None => Refusal::Unauthorized(
                challenges,
                progress.fault.unwrap_or(CredentialFault::Missing),
            ),
        }
    }

    /// Returns the kind of one of a service's providers.
    fn kind_of(&self, service: &ServiceRules, position: usize) -> Option<&Kind> {
        let state = self.providers.get(provider_of(service, position)?)?;
        Some(&state.provider.kind)
    }

    /// Returns true if a provider verifies a credential, here or in a lookup. A forward endpoint
    /// decides about requests, not about credentials.
    fn verifies(&self, service: &ServiceRules, position: usize) -> bool {
        let kind = self.kind_of(service, position);
        kind.is_some_and(|kind| match kind.reads() {
            Reads::Bearer | Reads::Basic | Reads::Header(_) => true,
            Reads::Request => false,
        })
    }
}
