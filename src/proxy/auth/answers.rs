//! Answers: of the helper threads about passwords and signatures, of providers about tokens and
//! requests.

use std::rc::Rc;
use std::sync::Arc;

use super::super::command::Report;
use super::super::ids::{ClientId, LookupId, ProviderId};
use super::super::reason::{Failure, Reason};
use super::super::subrequest::SubResponse;
use super::{AuthEnv, Authenticator, LookupKind, LookupResult, ProviderState, forward};
use crate::limits::{AUTH_BASIC_REMEMBERED, AUTH_REFUSED_REMEMBERED};
use crate::observe::access::Outcome;
use crate::policy::auth::credential_cache::Fingerprint;
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::introspection::{self, Answer as TokenState};
use crate::policy::auth::provider::Kind;
use crate::policy::auth::signature::CostlySignature;

/// Lookup that ended.
pub(in crate::proxy) struct Resolved {
    pub(super) lookup_id: LookupId,
    /// Connections whose requests wait for the lookup.
    pub(in crate::proxy) waiting: Vec<ClientId>,
    pub(super) result: LookupResult,
}

impl Authenticator {
    /// Counts a credential that is not authentic for the client whose request started the lookup,
    /// if it has left. A client that waits is counted when its request is resumed.
    fn charge_starter(
        &mut self,
        lookup_id: LookupId,
        result: &LookupResult,
        env: &mut AuthEnv<'_>,
    ) {
        let is_forged = matches!(result, LookupResult::Bad(fault) if fault.is_forged());
        if let Some(lookup) = self.lookups.get(lookup_id)
            && let Some(starter) = lookup.starter
            && is_forged
            && !lookup.waiting.contains(&starter.id)
        {
            env.count_failure(starter.client);
        }
    }

    /// Takes the result of a helper thread: `good` if the credential is authentic.
    pub(in crate::proxy) fn credential_verified(
        &mut self,
        lookup_id: LookupId,
        good: bool,
        env: &mut AuthEnv<'_>,
    ) -> Option<Resolved> {
        let lookup = self.lookups.get(lookup_id)?;
        let result = match lookup.kind.clone() {
            LookupKind::Password {
                provider,
                fingerprint,
                grant,
                ..
            } => self.password_verified((provider, fingerprint), grant, good, env),
            LookupKind::Signature {
                provider,
                fingerprint,
                generation,
                signature,
            } => {
                let is_same = |state: &ProviderState| state.generation == generation;
                if self.providers.get(provider).is_some_and(is_same) {
                    self.signature_verified((provider, fingerprint), &signature, good, env)
                } else {
                    LookupResult::KeysChanged
                }
            }
            LookupKind::Keys(_) | LookupKind::Token(..) | LookupKind::Request(_) => return None,
        };
        self.charge_starter(lookup_id, &result, env);
        self.resolve(lookup_id, result)
    }

    fn password_verified(
        &mut self,
        (provider, fingerprint): (ProviderId, Fingerprint),
        grant: Arc<Grant>,
        good: bool,
        env: &mut AuthEnv<'_>,
    ) -> LookupResult {
        let state = self.providers.get_mut(provider);
        if !good {
            let fault = CredentialFault::Password;
            if let Some(state) = state {
                let until = env.ctx.now.after(AUTH_REFUSED_REMEMBERED);
                state.bad.put(fingerprint, fault, 0, (env.ctx.now, until));
            }
            return LookupResult::Bad(fault);
        }
        if let Some(state) = state {
            let until = env.ctx.now.after(AUTH_BASIC_REMEMBERED);
            let bytes = grant.bytes();
            state
                .good
                .put(fingerprint, grant.clone(), bytes, (env.ctx.now, until));
        }
        LookupResult::Good(grant)
    }

    fn signature_verified(
        &mut self,
        (provider, fingerprint): (ProviderId, Fingerprint),
        signature: &CostlySignature,
        good: bool,
        env: &mut AuthEnv<'_>,
    ) -> LookupResult {
        let wall = env.ctx.wall();
        let Some(state) = self.providers.get_mut(provider) else {
            return LookupResult::KeysChanged;
        };
        let definition = Rc::clone(&state.provider);
        let Kind::Jwt { rules, .. } = &definition.kind else {
            return LookupResult::KeysChanged;
        };
        match rules.conclude(signature, good, wall) {
            Ok(grant) => LookupResult::Good(state.remember_good(fingerprint, grant, env.ctx.now)),
            Err(fault) => {
                state.remember_bad(fingerprint, fault, env.ctx.now);
                LookupResult::Bad(fault)
            }
        }
    }

    /// Takes the response of a provider, or the failure of its subrequest.
    pub(in crate::proxy) fn subrequest_done(
        &mut self,
        lookup_id: LookupId,
        answer: Result<SubResponse, Failure>,
        env: &mut AuthEnv<'_>,
    ) -> Option<Resolved> {
        let reason = answer
            .as_ref()
            .err()
            .and_then(|failure| failure.reason.clone());
        let status = answer.as_ref().ok().map(|response| response.status);
        let told = (reason, status);
        let answer = answer.map_err(|failure| failure.outcome);
        let lookup = self.lookups.get_mut(lookup_id)?;
        lookup.subrequest = None;
        let result = match lookup.kind.clone() {
            LookupKind::Keys(provider) => self.keys_answered(provider, answer, told.0, env),
            LookupKind::Token(provider, fingerprint) => {
                let result = self.token_answered(provider, fingerprint, answer, env);
                self.report_provider_down(provider, &result, told, env);
                self.charge_starter(lookup_id, &result, env);
                result
            }
            LookupKind::Request(provider) => {
                let state = self.providers.get(provider);
                let result = match state.map(|state| &state.provider.kind) {
                    Some(Kind::Forward { copied, .. }) => forward::read_answer(copied, answer),
                    Some(
                        Kind::Jwt { .. }
                        | Kind::Introspection { .. }
                        | Kind::ApiKey { .. }
                        | Kind::Basic { .. },
                    )
                    | None => LookupResult::Bad(CredentialFault::Denied),
                };
                self.report_provider_down(provider, &result, told, env);
                result
            }
            LookupKind::Password { .. } | LookupKind::Signature { .. } => return None,
        };
        self.resolve(lookup_id, result)
    }

    fn token_answered(
        &mut self,
        provider: ProviderId,
        fingerprint: Fingerprint,
        answer: Result<SubResponse, Outcome>,
        env: &mut AuthEnv<'_>,
    ) -> LookupResult {
        let wall = env.ctx.wall();
        let Some(state) = self.providers.get_mut(provider) else {
            return LookupResult::Bad(CredentialFault::Inactive);
        };
        let definition = Rc::clone(&state.provider);
        let Kind::Introspection { cache, claims, .. } = &definition.kind else {
            return LookupResult::Bad(CredentialFault::Inactive);
        };
        let sub_response = match answer {
            Ok(sub_response) if sub_response.is_coded() => {
                return LookupResult::Down(Outcome::UpstreamMalformed);
            }
            Ok(sub_response) => sub_response,
            Err(outcome) => return LookupResult::without_answer(outcome),
        };
        let Some(answer) =
            introspection::read(sub_response.status, &sub_response.body, claims, wall)
        else {
            return LookupResult::Down(Outcome::UpstreamMalformed);
        };
        let until = env.ctx.now.after(*cache);
        match answer {
            // Each use of a grant checks the time at which it expires.
            TokenState::Active(grant) => {
                let grant = Arc::new(grant);
                state.good.put(
                    fingerprint,
                    grant.clone(),
                    grant.bytes(),
                    (env.ctx.now, until),
                );
                LookupResult::Good(grant)
            }
            TokenState::Inactive => {
                state.bad.put(
                    fingerprint,
                    CredentialFault::Inactive,
                    0,
                    (env.ctx.now, until),
                );
                LookupResult::Bad(CredentialFault::Inactive)
            }
        }
    }

    /// Ends a lookup. Returns the connections that wait for it and its result.
    fn resolve(&mut self, lookup_id: LookupId, result: LookupResult) -> Option<Resolved> {
        let lookup = self.lookups.remove(lookup_id)?;
        self.forget_pending(&lookup.kind);
        Some(Resolved {
            lookup_id,
            waiting: lookup.waiting,
            result,
        })
    }

    /// Ends a lookup with an answer that no provider gave.
    #[cold]
    pub(in crate::proxy) fn answer_in_place(
        &mut self,
        lookup_id: LookupId,
        grant: Result<Grant, CredentialFault>,
    ) -> Option<Resolved> {
        let good = |grant| LookupResult::Good(Arc::new(grant));
        self.resolve(lookup_id, grant.map_or_else(LookupResult::Bad, good))
    }

    /// Reports a provider that gives no answer to the operator.
    pub(super) fn report_provider_down(
        &self,
        provider: ProviderId,
        result: &LookupResult,
        (reason, status): (Option<Reason>, Option<u16>),
        env: &mut AuthEnv<'_>,
    ) {
        if let LookupResult::Down(outcome) = result
            && let Some(state) = self.providers.get(provider)
            && env.ctx.admits_report_of(provider, outcome.as_str())
        {
            env.ctx.report(Report::ProviderFailed {
                provider: Rc::clone(&state.name),
                reason,
                status,
            });
        }
    }
}
