//! Asking: an authorization server about a token, a helper thread about a password, another service about a request.

use core::mem;
use core::net::IpAddr;

use super::super::Proxy;
use super::super::command::{ClientId, Command, Report, VerificationId};
use super::super::reason::Reason;
use super::super::request::Request;
use super::super::subrequest::{Requester, SubResponse, SubrequestSpec, subrequest_head};
use super::decide::AuthProgress;
use super::{Lookup, LookupId, LookupKind, LookupResult, Started, forward};
use crate::limits::{
    AUTH_BASIC_REMEMBERED, AUTH_KEEP_ALIVE, AUTH_QUESTIONS, AUTH_REFUSED_REMEMBERED, AUTH_WAIT_MAX,
    FORWARD_ANSWER_BYTES, INTROSPECTION_BYTES, PASSWORDS_WAITING, PASSWORDS_WAITING_PER_CLIENT,
};
use crate::observe::access::Outcome;
use crate::policy::accounts::Accounts;
use crate::policy::auth::basic::Verification;
use crate::policy::auth::credentials::{Authorization, Pair};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::introspection::{self, Answer as TokenState};
use crate::policy::auth::provider::Kind;
use crate::policy::auth::remembered::Fingerprint;
use crate::time::{Duration, Instant};
use std::sync::Arc;

impl Proxy {
    /// Asks for a provider of a service about a request; whoever asks the same waits for the same answer.
    pub(super) fn start_lookup(
        &mut self,
        (id, client): (ClientId, Option<IpAddr>),
        (service, position): (usize, usize),
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        progress: &mut AuthProgress,
        now: Instant,
    ) -> Result<LookupId, Outcome> {
        let provider = self
            .provider_of(service, position)
            .ok_or(Outcome::OverLimit)?;
        let kind = self
            .settings
            .auth
            .get(provider)
            .map(|provider| &provider.kind);
        let lookup = match (kind, authorization) {
            (Some(Kind::Jwt { .. }), _) => {
                self.fetch_keys_for_token(provider, now)
                    .map(|(lookup, under_way)| {
                        progress.note_waits_for_keys(position, under_way);
                        lookup
                    })
            }
            (Some(Kind::Introspection { .. }), Authorization::Bearer(token)) => {
                self.look_up_token(provider, token, service, now)
            }
            (Some(Kind::Basic { .. }), Authorization::Basic(pair)) => {
                self.look_up_password((id, client), provider, pair)
            }
            (Some(Kind::Forward { .. }), _) => {
                self.look_up_request(id, provider, request, service, now)
            }
            _ => None,
        };
        let lookup = lookup.ok_or(Outcome::OverLimit)?;
        if let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) {
            lookup_entry.waiting.push(id);
        }
        Ok(lookup)
    }

    pub(super) fn provider_of(&self, service: usize, position: usize) -> Option<usize> {
        self.settings
            .services
            .get(service)?
            .auth
            .providers
            .get(position)
            .copied()
    }

    /// How long a request of a service waits for a provider.
    pub(super) fn auth_timeout(&self, service: usize) -> Duration {
        self.settings
            .services
            .get(service)
            .and_then(|row| row.timeouts.response)
            .unwrap_or(AUTH_WAIT_MAX)
    }

    fn look_up_token(
        &mut self,
        provider: usize,
        token: &[u8],
        service: usize,
        now: Instant,
    ) -> Option<LookupId> {
        let fingerprint = self.auth.fingerprints.of(provider, token, b"");
        if let Some(&lookup) = self.auth.pending.get(&fingerprint) {
            return Some(lookup);
        }
        let Kind::Introspection {
            endpoint,
            credentials,
            ..
        } = &self.settings.auth.get(provider)?.kind
        else {
            return None;
        };
        let authority = &self.settings.targets.get(endpoint.target)?.authority;
        let form = introspection::form(token);
        let mut request = subrequest_head(
            "POST",
            &endpoint.path,
            authority,
            "application/json",
            "tollgate",
        );
        request.push_str("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ");
        request.push_str(&form.len().to_string());
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        if let Some(credentials) = credentials {
            request.extend_from_slice(b"Authorization: ");
            request.extend_from_slice(credentials.bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(&form);
        let target = endpoint.target;
        let lookup = self.send_lookup(
            LookupKind::Token(provider, fingerprint),
            target,
            request,
            INTROSPECTION_BYTES,
            service,
            now,
        )?;
        self.auth.pending.insert(fingerprint, lookup);
        Some(lookup)
    }

    fn look_up_request(
        &mut self,
        id: ClientId,
        provider: usize,
        request: &Request<'_>,
        service: usize,
        now: Instant,
    ) -> Option<LookupId> {
        let endpoint = self.settings.auth.get(provider)?.kind.endpoint()?.clone();
        let text = self.forwarded_request(id, &endpoint, request, service)?;
        self.send_lookup(
            LookupKind::Request(provider),
            endpoint.target,
            text,
            FORWARD_ANSWER_BYTES,
            service,
            now,
        )
    }

    fn send_lookup(
        &mut self,
        kind_of_lookup: LookupKind,
        target: usize,
        request: Vec<u8>,
        body_bytes: usize,
        service: usize,
        now: Instant,
    ) -> Option<LookupId> {
        // Health checks have their own share of what may be asked at once.
        if self.auth.lookups.len().saturating_sub(self.auth.verifying) >= AUTH_QUESTIONS {
            return None;
        }
        let lookup = self.auth.lookups.insert(Lookup {
            kind_of_lookup,
            waiting: Vec::new(),
            subrequest: None,
        });
        let requester = Requester::Auth(lookup);
        let (within, keep) = (self.auth_timeout(service), Some(AUTH_KEEP_ALIVE));
        let subrequest = self.start_subrequest(
            SubrequestSpec {
                requester,
                target,
                address: None,
                request,
                within,
                body_bytes,
                head_only: false,
                keep,
            },
            now,
        );
        let Some(subrequest) = subrequest else {
            self.auth.lookups.remove(lookup);
            return None;
        };
        if let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) {
            lookup_entry.subrequest = Some(subrequest);
        }
        Some(lookup)
    }

    /// Hands a password to the helper thread, if not too many wait there already.
    fn look_up_password(
        &mut self,
        (id, client): (ClientId, Option<IpAddr>),
        provider: usize,
        pair: &Pair,
    ) -> Option<LookupId> {
        let fingerprint =
            self.auth
                .fingerprints
                .of(provider, pair.user.bytes(), pair.password.bytes());
        if let Some(&lookup) = self.auth.pending.get(&fingerprint) {
            return Some(lookup);
        }
        let Kind::Basic { users } = &self.settings.auth.get(provider)?.kind else {
            return None;
        };
        let owner = Verification::of(users, pair.user.bytes(), pair.password.clone())?;
        let account = self.auth.fingerprints.of(provider, pair.user.bytes(), b"");
        let own = || self.auth.started_by(&self.accounts, client);
        if self.auth.verifying >= PASSWORDS_WAITING
            || own().count() >= PASSWORDS_WAITING_PER_CLIENT
            || own().any(|started| started.account == account)
        {
            return None;
        }
        let lookup = Lookup {
            kind_of_lookup: LookupKind::Password(provider, fingerprint),
            waiting: Vec::new(),
            subrequest: None,
        };
        let lookup = self.auth.lookups.insert(lookup);
        self.auth.verifying = self.auth.verifying.saturating_add(1);
        self.auth.started.push(Started {
            lookup,
            id,
            client,
            account,
        });
        self.auth.pending.insert(fingerprint, lookup);
        self.commands.push_back(Command::Verify {
            verification: lookup,
            work: Box::new(owner),
        });
        Some(lookup)
    }

    // --- answers ---

    /// The helper thread has answered a question. Whoever had it asked pays for a credential that is not authentic, even when it has
    /// left: it does not come back to be told, and to be counted then.
    fn end_started(&mut self, lookup: LookupId, good: bool, now: Instant) {
        let Some(at) = self
            .auth
            .started
            .iter()
            .position(|started| started.lookup == lookup)
        else {
            return;
        };
        let started = self.auth.started.remove(at);
        let waits = self
            .auth
            .lookups
            .get(lookup)
            .is_some_and(|lookup_entry| lookup_entry.waiting.contains(&started.id));
        if !good && !waits {
            self.rates.count_failure(started.client, now);
        }
    }

    /// A password was verified.
    pub(in super::super) fn password_verified(
        &mut self,
        verification: VerificationId,
        good: bool,
        now: Instant,
    ) {
        let Some(Lookup {
            kind_of_lookup: LookupKind::Password(provider, fingerprint),
            ..
        }) = self.auth.lookups.get(verification)
        else {
            return;
        };
        let (provider, fingerprint) = (*provider, *fingerprint);
        self.auth.verifying = self.auth.verifying.saturating_sub(1);
        self.end_started(verification, good, now);
        let grant = Arc::<Grant>::default();
        if let Some(state) = self.auth.providers.get_mut(provider) {
            if good {
                state.good.put(
                    fingerprint,
                    grant.clone(),
                    grant.bytes(),
                    (now, now.after(AUTH_BASIC_REMEMBERED)),
                );
            } else {
                let until = now.after(AUTH_REFUSED_REMEMBERED);
                state
                    .bad
                    .put(fingerprint, CredentialFault::Password, 0, (now, until));
            }
        }
        let outcome = if good {
            LookupResult::Good(grant)
        } else {
            LookupResult::Bad(CredentialFault::Password)
        };
        self.resolve(verification, outcome, now);
    }

    /// A provider answered, or did not.
    pub(in super::super) fn provider_replied(
        &mut self,
        lookup: LookupId,
        answer: Result<SubResponse, Outcome>,
        reason: Option<Reason>,
        now: Instant,
    ) {
        let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) else {
            return;
        };
        lookup_entry.subrequest = None;
        let outcome = match lookup_entry.kind_of_lookup {
            LookupKind::Keys(provider) => self.keys_answered(provider, answer, reason, now),
            LookupKind::Token(provider, fingerprint) => {
                let outcome = self.token_answered(provider, fingerprint, answer, now);
                self.report_provider_down(provider, &outcome, reason, now);
                outcome
            }
            LookupKind::Request(provider) => {
                let outcome = match self
                    .settings
                    .auth
                    .get(provider)
                    .map(|provider| &provider.kind)
                {
                    Some(Kind::Forward { copied, .. }) => forward::outcome(copied, answer),
                    _ => LookupResult::Bad(CredentialFault::Denied),
                };
                self.report_provider_down(provider, &outcome, reason, now);
                outcome
            }
            LookupKind::Password(..) => return,
        };
        self.resolve(lookup, outcome, now);
    }

    fn token_answered(
        &mut self,
        provider: usize,
        fingerprint: Fingerprint,
        answer: Result<SubResponse, Outcome>,
        now: Instant,
    ) -> LookupResult {
        let wall = self.wall(now);
        let Some(Kind::Introspection {
            cache, forwarded, ..
        }) = self
            .settings
            .auth
            .get(provider)
            .map(|provider| &provider.kind)
        else {
            return LookupResult::Bad(CredentialFault::Inactive);
        };
        let sub_response = match answer {
            Ok(sub_response) if sub_response.is_coded() => {
                return LookupResult::Down(Outcome::UpstreamMalformed);
            }
            Ok(sub_response) => sub_response,
            Err(end) => return no_answer(end),
        };
        let Some(answer) =
            introspection::read(sub_response.status, &sub_response.body, forwarded, wall)
        else {
            return LookupResult::Down(Outcome::UpstreamMalformed);
        };
        let until = now.after(*cache);
        let Some(state) = self.auth.providers.get_mut(provider) else {
            return LookupResult::Bad(CredentialFault::Inactive);
        };
        match answer {
            // That a grant does not outlive its end is looked at each time.
            TokenState::Active(grant) => {
                let grant = Arc::new(grant);
                state
                    .good
                    .put(fingerprint, grant.clone(), grant.bytes(), (now, until));
                LookupResult::Good(grant)
            }
            TokenState::Inactive => {
                state
                    .bad
                    .put(fingerprint, CredentialFault::Inactive, 0, (now, until));
                LookupResult::Bad(CredentialFault::Inactive)
            }
        }
    }

    /// The operator should know of a provider that cannot say.
    fn report_provider_down(
        &mut self,
        provider: usize,
        outcome: &LookupResult,
        reason: Option<Reason>,
        now: Instant,
    ) {
        if let LookupResult::Down(end) = outcome
            && self.admits_report_of(provider, end.as_str(), now)
        {
            self.commands
                .push_back(Command::Report(Report::ProviderFailed {
                    provider,
                    end: *end,
                    reason,
                }));
        }
    }

    /// Those who wait for a question are looked at again, with its answer.
    fn resolve(&mut self, lookup: LookupId, outcome: LookupResult, now: Instant) {
        let Some(mut lookup_entry) = self.auth.lookups.remove(lookup) else {
            return;
        };
        self.auth.forget_pending(&lookup_entry.kind_of_lookup);
        for id in mem::take(&mut lookup_entry.waiting) {
            self.resume(id, lookup, outcome.clone(), now);
        }
    }

    /// One who waits is gone. What nobody waits for is not asked any more, unless the answer is good for others.
    pub(super) fn leave_lookup(&mut self, id: ClientId, lookup: LookupId) {
        let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) else {
            return;
        };
        lookup_entry.waiting.retain(|&waiting| waiting != id);
        let idle = lookup_entry.waiting.is_empty()
            && matches!(
                lookup_entry.kind_of_lookup,
                LookupKind::Token(..) | LookupKind::Request(_)
            );
        if !idle {
            return;
        }
        if let Some(lookup_entry) = self.auth.lookups.remove(lookup) {
            self.auth.forget_pending(&lookup_entry.kind_of_lookup);
            if let Some(subrequest) = lookup_entry.subrequest {
                self.drop_subrequest(subrequest);
            }
        }
    }
}

/// Nothing came, or more than an answer has.
pub(super) fn no_answer(end: Outcome) -> LookupResult {
    LookupResult::Down(if end == Outcome::OverLimit {
        Outcome::UpstreamMalformed
    } else {
        end
    })
}

impl super::Auth {
    /// What a client has started on the helper thread. All clients of unix sockets are one.
    fn started_by(
        &self,
        accounts: &Accounts,
        client: Option<IpAddr>,
    ) -> impl Iterator<Item = &Started> {
        self.started
            .iter()
            .filter(move |started| match (started.client, client) {
                (Some(one), Some(other)) => accounts.is_same(one, other),
                (one, other) => one == other,
            })
    }

    fn forget_pending(&mut self, kind_of_lookup: &LookupKind) {
        if let LookupKind::Token(_, fingerprint) | LookupKind::Password(_, fingerprint) =
            kind_of_lookup
        {
            self.pending.remove(fingerprint);
        }
    }
}
