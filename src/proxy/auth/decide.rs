//! Who is let in, as far as it can be said now. Any good credential lets a request in; only when none does, somebody is asked.

use std::sync::Arc;

use super::super::Proxy;
use super::super::command::DownstreamId;
use super::super::intake::Request;
use super::{Denial, Outcome, QuestionId};
use crate::limits::AUTH_TOKENS_REMEMBERED;
use crate::observe::access::End;
use crate::policy::auth::credentials::{self, Ambiguous, Authorization, is_bearer_token};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::jwt::Checked;
use crate::policy::auth::provider::{Keys, Kind};
use crate::policy::auth::{api_key, challenge};
use crate::time::Instant;

/// What becomes of a request.
pub(in super::super) enum Entry {
    /// It goes on, with what its credential says.
    Open(Option<Arc<Grant>>),
    /// It does not.
    Refused(Refusal),
    /// Somebody must say so first: the question, and which of the service's providers it is for.
    Wait(QuestionId, usize),
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
    /// 503: whoever could say does not answer.
    Down(End),
}

/// What the providers of a request's service have said so far.
#[derive(Default)]
pub(in super::super) struct Trail {
    /// One bit each, by their order in the service: what it said is below.
    settled: u8,
    /// Bits of providers whose key set was fetched for this request already.
    fetched: u8,
    /// Why a Bearer token was not good.
    bad_token: Option<CredentialFault>,
    /// Why the first credential that was not good was not.
    fault: Option<CredentialFault>,
    /// A credential was good, but not for this service.
    insufficient: bool,
    denied: Option<Denial>,
    down: Option<End>,
    /// Who let the request in has lines for the client, too.
    for_client: Option<Arc<Grant>>,
    /// The answer that has just come.
    pub(super) answer: Option<(usize, Outcome)>,
}

impl Trail {
    fn bit(position: usize) -> u8 {
        1_u8.checked_shl(position as u32).unwrap_or(0)
    }

    fn is_settled(&self, position: usize) -> bool {
        self.settled & Trail::bit(position) != 0
    }

    fn was_fetched(&self, position: usize) -> bool {
        self.fetched & Trail::bit(position) != 0
    }

    /// The grant whose lines the client gets with the final response, if there is one.
    pub(in super::super) fn take_for_client(&mut self) -> Option<Arc<Grant>> {
        self.for_client.take()
    }

    fn settle(&mut self, position: usize) {
        self.settled |= Trail::bit(position);
    }

    /// A provider cannot be asked, or does not answer.
    fn go_down(&mut self, position: usize, end: End) {
        self.down = Some(end);
        self.settle(position);
    }
}

/// What a provider says.
pub(super) enum Said {
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
    Down(End),
}

impl Proxy {
    /// Whether a request for a service is let in.
    pub(in super::super) fn authenticate(
        &mut self,
        id: DownstreamId,
        request: &Request<'_>,
        service: usize,
        trail: &mut Trail,
        now: Instant,
    ) -> Entry {
        let Ok(authorization) = credentials::authorization(&request.head.fields) else {
            return Entry::Refused(Refusal::Ambiguous);
        };
        let count = self.settings.services.get(service).map_or(0, |row| row.auth.providers.len());
        // All that can be said at once, before anybody is asked.
        for position in 0..count {
            if trail.is_settled(position) {
                continue;
            }
            let said = match trail.answer.take_if(|(asked, _)| *asked == position).map(|(_, outcome)| outcome) {
                Some(Outcome::Good(grant)) => Said::Good(Some(grant)),
                Some(Outcome::Bad(fault)) => Said::Bad(fault),
                Some(Outcome::Denied(denial)) => Said::Denied(denial),
                Some(Outcome::Down(end)) => Said::Down(end),
                Some(Outcome::Fetched) => {
                    trail.fetched |= Trail::bit(position);
                    self.consult(service, position, request, &authorization, trail, now)
                }
                None => self.consult(service, position, request, &authorization, trail, now),
            };
            if let Some(entry) = self.weigh(service, position, said, trail) {
                return entry;
            }
        }
        for position in 0..count {
            if trail.is_settled(position) {
                continue;
            }
            match self.ask_provider(id, service, position, request, &authorization, now) {
                Ok(question) => return Entry::Wait(question, position),
                Err(end) => trail.go_down(position, end),
            }
        }
        Entry::Refused(self.refusal(service, trail))
    }

    /// Takes note of what a provider said; `Some` ends it.
    fn weigh(&self, service: usize, position: usize, said: Said, trail: &mut Trail) -> Option<Entry> {
        let row = self.settings.services.get(service)?;
        match said {
            Said::Later => return None,
            Said::Twice => return Some(Entry::Refused(Refusal::Ambiguous)),
            Said::Good(grant) => {
                if let Some(grant) = grant.as_ref().filter(|grant| !grant.client_lines().is_empty()) {
                    trail.for_client = Some(grant.clone());
                }
                let suffices =
                    grant.as_ref().map_or(row.auth.scopes.is_empty(), |grant| grant.has_scopes(&row.auth.scopes));
                if suffices {
                    return Some(Entry::Open(grant));
                }
                trail.insufficient = true;
            }
            Said::Nothing => {}
            Said::Bad(fault) => {
                trail.fault.get_or_insert(fault);
                let provider = row.auth.providers.get(position).and_then(|&provider| self.settings.auth.get(provider));
                if provider.is_some_and(|provider| provider.kind.takes_bearer()) {
                    trail.bad_token.get_or_insert(fault);
                }
            }
            Said::Denied(denial) => {
                trail.denied.get_or_insert(denial);
            }
            Said::Down(end) => trail.go_down(position, end),
        }
        trail.settle(position);
        None
    }

    /// What a provider can say without asking anybody.
    fn consult(
        &mut self,
        service: usize,
        position: usize,
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        trail: &Trail,
        now: Instant,
    ) -> Said {
        let wall = self.wall(now);
        let Proxy { settings, auth, .. } = self;
        let Some(&index) = settings.services.get(service).and_then(|row| row.auth.providers.get(position)) else {
            return Said::Nothing;
        };
        let (Some(provider), Some(state)) = (settings.auth.get(index), auth.providers.get_mut(index)) else {
            return Said::Nothing;
        };
        match (&provider.kind, authorization) {
            (Kind::ApiKey { header, keys }, _) => match credentials::api_key(&request.head.fields, header) {
                Err(Ambiguous) => Said::Twice,
                Ok(None) => Said::Nothing,
                Ok(Some(key)) if api_key::is_known(key, keys) => Said::Good(None),
                Ok(Some(_)) => Said::Bad(CredentialFault::ApiKey),
            },
            (Kind::Forward { .. }, _) => Said::Later,
            (Kind::Basic { .. }, Authorization::Basic(pair)) => {
                let print = auth.fingerprints.of(index, pair.user.bytes(), pair.password.bytes());
                state.good.get(&print, now).map_or(Said::Later, |_| Said::Good(None))
            }
            (Kind::Basic { .. }, Authorization::Malformed) => Said::Bad(CredentialFault::BasicForm),
            (kind, Authorization::Bearer(token)) if kind.takes_bearer() => {
                if !is_bearer_token(token) {
                    return Said::Bad(CredentialFault::TokenForm);
                }
                let print = auth.fingerprints.of(index, token, b"");
                if let Some(grant) = state.good.get(&print, now) {
                    return match grant.check_time(wall) {
                        Ok(()) => Said::Good(Some(grant.clone())),
                        Err(fault) => Said::Bad(fault),
                    };
                }
                let Kind::Jwt { rules, keys } = kind else {
                    return state.bad.get(&print, now).map_or(Said::Later, |()| Said::Bad(CredentialFault::Inactive));
                };
                let none = KeySet::default();
                let set = match keys {
                    Keys::Known(set) => set,
                    Keys::Fetched(_) => state.keys.as_ref().unwrap_or(&none),
                };
                match (rules.check(token, set, wall), keys) {
                    (Checked::Good(grant), _) => {
                        let grant = Arc::new(grant);
                        let until = now.after(AUTH_TOKENS_REMEMBERED);
                        state.good.put(print, grant.clone(), grant.bytes(), until);
                        Said::Good(Some(grant))
                    }
                    (Checked::Bad(fault), _) => Said::Bad(fault),
                    (Checked::UnknownKey, Keys::Known(_)) => Said::Bad(CredentialFault::UnknownKey),
                    (Checked::UnknownKey, Keys::Fetched(_)) => state.lacks_key(trail.was_fetched(position), now),
                }
            }
            _ => Said::Nothing,
        }
    }

    /// What is said to a request that nobody let in. Who could not be asked might have: that comes first.
    fn refusal(&self, service: usize, trail: &mut Trail) -> Refusal {
        if let Some(end) = trail.down {
            return Refusal::Down(end);
        }
        let Some(row) = self.settings.services.get(service) else { return Refusal::Down(End::OverLimit) };
        if trail.insufficient {
            return Refusal::Forbidden(challenge::insufficient_scope(&row.auth.scopes));
        }
        let kinds = row.auth.providers.iter().filter_map(|&index| Some(&self.settings.auth.get(index)?.kind));
        let challenges = challenge::unauthorized(kinds, trail.bad_token);
        match trail.denied.take() {
            // RFC 9110 15.5.2: every 401 has a challenge.
            Some(denial) if denial.lacks_challenge() => Refusal::Denied(denial.with_lines(&challenges)),
            Some(denial) => Refusal::Denied(denial),
            None => Refusal::Unauthorized(challenges, trail.fault.unwrap_or(CredentialFault::Missing)),
        }
    }
}
