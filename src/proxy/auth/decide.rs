//! Who is let in, as far as it can be said now. Any good credential lets a request in; only when none does, somebody is asked.

use core::net::IpAddr;
use std::sync::Arc;

use super::super::Proxy;
use super::super::command::ClientId;
use super::super::request::Request;
use super::{Denial, LookupId, LookupResult, Starter};
use crate::limits::{AUTH_BASIC_REMEMBERED, AUTH_BASIC_REMEMBERED_MAX};
use crate::observe::access::Outcome;
use crate::policy::auth::credentials::{self, Ambiguous, Authorization, is_bearer_token};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::jwt::{Checked, Examined};
use crate::policy::auth::provider::{Keys, Kind};
use crate::policy::auth::remembered::Fingerprint;
use crate::policy::auth::signature::CostlySignature;
use crate::policy::auth::{api_key, challenge};
use crate::time::{Duration, Instant};

/// What becomes of a request.
pub(in super::super) enum AuthDecision {
    /// It goes on.
    Open {
        /// What its credential says.
        grant: Option<Arc<Grant>>,
        /// It was not an API key, so that `Authorization` may have been what let it in.
        by_authorization: bool,
    },
    /// It does not.
    Refused(Refusal),
    /// Somebody must say so first: the question, and which of the service's providers it is for.
    Wait(LookupId, usize),
}

/// Why a request is not let in.
pub(in super::super) enum Refusal {
    /// 400: a credential is there twice.
    Ambiguous,
    /// 401, with these challenges.
    Unauthorized(Vec<u8>, CredentialFault),
    /// 403, with this challenge.
    Forbidden(Vec<u8>),
    /// What the forward endpoint said.
    Denied(Denial),
    /// 429: too many of this client's credentials were not authentic; for how long that lasts.
    Throttled(Duration),
    /// 503: whoever could say does not answer.
    Down(Outcome),
}

/// Reasons to take a token for one that no issuer has signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Forgery {
    /// No provider has a key for it.
    Unknown,
    /// A signature was verified, or an authorization server asked, and the answer was no.
    Refuted,
}

/// A signature that a helper thread has to verify, and the fingerprint of its token.
pub(super) struct Costly {
    pub(super) fingerprint: Fingerprint,
    pub(super) signature: CostlySignature,
}

/// What the providers of a request's service have said so far.
#[derive(Default)]
pub(in super::super) struct AuthProgress {
    /// One bit each, by their order in the service: what it said is below.
    settled: u8,
    /// Bits of providers whose key set was fetched for this request already.
    fetched: u8,
    /// Bits of providers where the fetch that is waited for began before this request came.
    joined: u8,
    /// Bits of providers where such a fetch ended: one more may be waited for.
    outdated: u8,
    /// A Bearer token was not authentic.
    forged_token: Option<Forgery>,
    /// A Bearer token was authentic, and is not good here or now.
    unfit_token: bool,
    /// An API key, or a user and password, were not authentic.
    forged_other: bool,
    /// Why a Bearer token was not good.
    bad_token: Option<CredentialFault>,
    /// Why the first credential that was not good was not.
    fault: Option<CredentialFault>,
    /// A credential was good, but not for this service.
    insufficient: bool,
    denied: Option<Denial>,
    down: Option<Outcome>,
    /// Who let the request in has lines for the client, too.
    for_client: Option<Arc<Grant>>,
    /// The answer that has just come.
    pub(super) answer: Option<(usize, LookupResult)>,
}

impl AuthProgress {
    fn bit(position: usize) -> u8 {
        1_u8.checked_shl(position as u32).unwrap_or(0)
    }

    fn is_settled(&self, position: usize) -> bool {
        self.settled & AuthProgress::bit(position) != 0
    }

    fn was_fetched(&self, position: usize) -> bool {
        self.fetched & AuthProgress::bit(position) != 0
    }

    /// The fetch of a provider's key set ended.
    fn note_fetched(&mut self, position: usize) {
        let bit = AuthProgress::bit(position);
        if self.joined & bit == 0 {
            self.fetched |= bit;
        } else {
            self.joined &= !bit;
            self.outdated |= bit;
        }
    }

    /// A provider's key set is waited for. `under_way`: its fetch had begun before.
    pub(super) fn note_waits_for_keys(&mut self, position: usize, under_way: bool) {
        let bit = AuthProgress::bit(position);
        // One that began when the first one had ended is as new as the request.
        if under_way && self.outdated & bit == 0 {
            self.joined |= bit;
        }
    }

    fn note_bad(&mut self, fault: CredentialFault, is_token: bool) {
        self.fault.get_or_insert(fault);
        if is_token {
            self.bad_token.get_or_insert(fault);
            self.unfit_token |= fault.is_unfit();
            let forgery = match fault {
                CredentialFault::UnknownKey => Forgery::Unknown,
                _ => Forgery::Refuted,
            };
            self.forged_token = self.forged_token.max(fault.is_forged().then_some(forgery));
        } else {
            self.forged_other |= fault.is_forged();
        }
    }

    /// Whether a credential of the request is taken for one that is not authentic. What one provider does not know another one may:
    /// a token that no provider has a key for is forged when all could be asked. A token that was refuted is counted also where
    /// another provider is down: otherwise each guess would cost a signature, or a question, and none would be counted.
    fn is_forged(&self) -> bool {
        let least = match self.down {
            None => Forgery::Unknown,
            Some(_) => Forgery::Refuted,
        };
        self.forged_other || (!self.unfit_token && self.forged_token >= Some(least))
    }

    /// Tells of a request that ends before all providers have answered whether a credential is taken for one that is not authentic.
    /// `is_decided`: no answer to come says more of its token.
    pub(super) fn is_forged_so_far(&self, is_decided: bool) -> bool {
        let is_refuted = !self.unfit_token && self.forged_token == Some(Forgery::Refuted);
        self.forged_other || (is_refuted && is_decided)
    }

    /// The grant whose lines the client gets with the final response, if there is one.
    pub(in super::super) fn take_for_client(&mut self) -> Option<Arc<Grant>> {
        self.for_client.take()
    }

    /// Takes the answer that has just come, if it is of this provider. `None`: the provider is to be consulted once more.
    fn take_answer(&mut self, position: usize) -> Option<ProviderVerdict> {
        let (_, outcome) = self
            .answer
            .take_if(|(lookup_entry, _)| *lookup_entry == position)?;
        match outcome {
            LookupResult::Good(grant) => Some(ProviderVerdict::Good(Some(grant))),
            LookupResult::Bad(fault) => Some(ProviderVerdict::Bad(fault)),
            LookupResult::Denied(denial) => Some(ProviderVerdict::Denied(denial)),
            LookupResult::Down(end) => Some(ProviderVerdict::Down(end)),
            LookupResult::Fetched => {
                self.note_fetched(position);
                None
            }
            LookupResult::KeysChanged => None,
        }
    }

    fn settle(&mut self, position: usize) {
        self.settled |= AuthProgress::bit(position);
    }

    /// A provider cannot be asked, or does not answer.
    fn go_down(&mut self, position: usize, end: Outcome) {
        self.down = Some(end);
        self.settle(position);
    }
}

/// What a provider says.
pub(super) enum ProviderVerdict {
    /// The credential is good for this; `None`: for nothing but being let in.
    Good(Option<Arc<Grant>>),
    /// The request has no credential for it.
    Nothing,
    /// There is one, and it is not good.
    Bad(CredentialFault),
    /// It must ask.
    Later,
    /// The credential is there twice.
    Twice,
    Denied(Denial),
    Down(Outcome),
}

impl Proxy {
    /// Whether a request for a service is let in.
    pub(in super::super) fn authenticate(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        (service, client): (usize, Option<IpAddr>),
        progress: &mut AuthProgress,
        now: Instant,
    ) -> AuthDecision {
        let entry = self.decide_entry(id, request, (service, client), progress, now);
        if matches!(
            entry,
            AuthDecision::Refused(
                Refusal::Unauthorized(..)
                    | Refusal::Forbidden(_)
                    | Refusal::Denied(_)
                    | Refusal::Down(_)
            )
        ) && progress.is_forged()
        {
            self.rates.count_failure(client, now);
        }
        entry
    }

    fn decide_entry(
        &mut self,
        id: ClientId,
        request: &Request<'_>,
        (service, client): (usize, Option<IpAddr>),
        progress: &mut AuthProgress,
        now: Instant,
    ) -> AuthDecision {
        let Ok(authorization) = credentials::authorization(&request.head.fields) else {
            return AuthDecision::Refused(Refusal::Ambiguous);
        };
        let count = self
            .settings
            .services
            .get(service)
            .map_or(0, |row| row.auth.providers.len());
        let is_fresh = progress.answer.is_none();
        // All that is known, before anything is verified or anybody asked.
        for position in 0..count {
            if progress.is_settled(position) {
                continue;
            }
            let verdict = match progress.take_answer(position) {
                Some(verdict) => verdict,
                None => self.verify_locally(service, position, request, &authorization, now),
            };
            if let Some(entry) = self.record_verdict(service, position, verdict, progress) {
                return entry;
            }
        }
        let verifies = (0..count)
            .any(|position| !progress.is_settled(position) && self.verifies(service, position));
        if (verifies || (is_fresh && progress.is_forged()))
            && let Err(wait) = self.rates.admit_credential(client, now)
        {
            return AuthDecision::Refused(Refusal::Throttled(wait));
        }
        // Signatures that take long, each with the position of its provider.
        let mut costly = Vec::new();
        if let Authorization::Bearer(token) = authorization {
            for position in 0..count {
                if progress.is_settled(position) {
                    continue;
                }
                let verdict = match self.verify_token(service, position, token, progress, now) {
                    Ok(verdict) => verdict,
                    Err(signature) => {
                        costly.push((position, signature));
                        ProviderVerdict::Later
                    }
                };
                if let Some(entry) = self.record_verdict(service, position, verdict, progress) {
                    return entry;
                }
            }
        }
        let starter = Starter { id, client };
        for position in 0..count {
            if progress.is_settled(position) {
                continue;
            }
            let signature = costly.iter().position(|(of, _)| *of == position);
            let lookup = match signature.map(|at| costly.swap_remove(at)) {
                Some((_, signature)) => self
                    .provider_of(service, position)
                    .and_then(|provider| self.look_up_signature(starter, provider, signature)),
                None => {
                    let place = (service, position);
                    self.start_lookup(starter, place, request, &authorization, progress, now)
                }
            };
            match lookup {
                Some(lookup) => {
                    self.join_lookup(id, lookup);
                    return AuthDecision::Wait(lookup, position);
                }
                None => progress.go_down(position, Outcome::OverLimit),
            }
        }
        AuthDecision::Refused(self.refusal(service, progress))
    }

    /// Takes note of what a provider said; `Some` ends it.
    fn record_verdict(
        &self,
        service: usize,
        position: usize,
        verdict: ProviderVerdict,
        progress: &mut AuthProgress,
    ) -> Option<AuthDecision> {
        let row = self.settings.services.get(service)?;
        match verdict {
            ProviderVerdict::Later => return None,
            ProviderVerdict::Twice => return Some(AuthDecision::Refused(Refusal::Ambiguous)),
            ProviderVerdict::Good(grant) => {
                if let Some(grant) = grant
                    .as_ref()
                    .filter(|grant| !grant.client_lines().is_empty())
                {
                    progress.for_client = Some(grant.clone());
                }
                let suffices = grant.as_ref().map_or(row.auth.scopes.is_empty(), |grant| {
                    grant.has_scopes(&row.auth.scopes)
                });
                let provider = row
                    .auth
                    .providers
                    .get(position)
                    .and_then(|&provider| self.settings.auth.get(provider));
                let kind = provider.map(|provider| &provider.kind);
                if suffices {
                    let by_authorization = !matches!(kind, Some(Kind::ApiKey { .. }));
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
                let provider = row
                    .auth
                    .providers
                    .get(position)
                    .and_then(|&provider| self.settings.auth.get(provider));
                progress.note_bad(
                    fault,
                    provider.is_some_and(|provider| provider.kind.takes_bearer()),
                );
            }
            ProviderVerdict::Denied(denial) => {
                progress.denied.get_or_insert(denial);
            }
            ProviderVerdict::Down(end) => progress.go_down(position, end),
        }
        progress.settle(position);
        None
    }

    /// Whether a provider that has not said anything yet would verify a credential, here or elsewhere. What a forward endpoint is asked
    /// is none.
    fn verifies(&self, service: usize, position: usize) -> bool {
        let provider = self
            .provider_of(service, position)
            .and_then(|index| self.settings.auth.get(index));
        provider.is_some_and(|provider| !matches!(provider.kind, Kind::Forward { .. }))
    }

    /// What a provider can say by looking it up.
    fn verify_locally(
        &mut self,
        service: usize,
        position: usize,
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        now: Instant,
    ) -> ProviderVerdict {
        let wall = self.wall(now);
        let Proxy { settings, auth, .. } = self;
        let Some(&index) = settings
            .services
            .get(service)
            .and_then(|row| row.auth.providers.get(position))
        else {
            return ProviderVerdict::Nothing;
        };
        let (Some(provider), Some(state)) =
            (settings.auth.get(index), auth.providers.get_mut(index))
        else {
            return ProviderVerdict::Nothing;
        };
        match (&provider.kind, authorization) {
            (Kind::ApiKey { header, keys }, _) => {
                match credentials::api_key(&request.head.fields, header) {
                    Err(Ambiguous) => ProviderVerdict::Twice,
                    Ok(None) => ProviderVerdict::Nothing,
                    Ok(Some(key)) if api_key::is_known(key, keys) => ProviderVerdict::Good(None),
                    Ok(Some(_)) => ProviderVerdict::Bad(CredentialFault::ApiKey),
                }
            }
            (Kind::Forward { .. }, _) => ProviderVerdict::Later,
            (Kind::Basic { .. }, Authorization::Basic(pair)) => {
                let fingerprint =
                    auth.fingerprints
                        .of(index, pair.user.bytes(), pair.password.bytes());
                if state
                    .good
                    .renew(
                        &fingerprint,
                        now,
                        AUTH_BASIC_REMEMBERED,
                        AUTH_BASIC_REMEMBERED_MAX,
                    )
                    .is_some()
                {
                    return ProviderVerdict::Good(None);
                }
                state
                    .bad
                    .get(&fingerprint, now)
                    .map_or(ProviderVerdict::Later, |&fault| ProviderVerdict::Bad(fault))
            }
            (Kind::Basic { .. }, Authorization::Malformed) => {
                ProviderVerdict::Bad(CredentialFault::BasicForm)
            }
            (kind, Authorization::Bearer(token)) if kind.takes_bearer() => {
                if !is_bearer_token(token) {
                    return ProviderVerdict::Bad(CredentialFault::TokenForm);
                }
                let fingerprint = auth.fingerprints.of(index, token, b"");
                if let Some(grant) = state.good.get(&fingerprint, now) {
                    return match grant.check_time(wall) {
                        Ok(()) => ProviderVerdict::Good(Some(grant.clone())),
                        Err(fault) => ProviderVerdict::Bad(fault),
                    };
                }
                state
                    .bad
                    .get(&fingerprint, now)
                    .map_or(ProviderVerdict::Later, |&fault| ProviderVerdict::Bad(fault))
            }
            _ => ProviderVerdict::Nothing,
        }
    }

    /// What a jwt provider says of a token that it does not remember.
    ///
    /// # Errors
    /// The signature takes too long to be verified here.
    fn verify_token(
        &mut self,
        service: usize,
        position: usize,
        token: &[u8],
        progress: &AuthProgress,
        now: Instant,
    ) -> Result<ProviderVerdict, Costly> {
        let wall = self.wall(now);
        let Some(index) = self.provider_of(service, position) else {
            return Ok(ProviderVerdict::Later);
        };
        let Proxy { settings, auth, .. } = self;
        let (Some(provider), Some(state)) =
            (settings.auth.get(index), auth.providers.get_mut(index))
        else {
            return Ok(ProviderVerdict::Later);
        };
        let Kind::Jwt { rules, keys } = &provider.kind else {
            return Ok(ProviderVerdict::Later);
        };
        let fingerprint = auth.fingerprints.of(index, token, b"");
        if auth.pending.contains_key(&fingerprint) {
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
                state.lacks_key(progress.was_fetched(position), now)
            }
            (Examined::Done(Checked::Good(grant)), _) => {
                ProviderVerdict::Good(Some(state.remember_good(fingerprint, grant, now)))
            }
            (Examined::Done(Checked::Bad(fault)), _) => {
                state.remember_bad(fingerprint, fault, now);
                ProviderVerdict::Bad(fault)
            }
        })
    }

    /// What is said to a request that nobody let in. Who could not be asked might have: that comes first.
    fn refusal(&self, service: usize, progress: &mut AuthProgress) -> Refusal {
        if let Some(end) = progress.down {
            return Refusal::Down(end);
        }
        let Some(row) = self.settings.services.get(service) else {
            return Refusal::Down(Outcome::OverLimit);
        };
        if progress.insufficient {
            return Refusal::Forbidden(challenge::insufficient_scope(&row.auth.scopes));
        }
        let kinds = row
            .auth
            .providers
            .iter()
            .filter_map(|&index| Some(&self.settings.auth.get(index)?.kind));
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
}
