//! Asking: an authorization server about a token, a helper thread about a password or a signature, another service about a request.

use core::mem;
use core::net::IpAddr;

use super::super::Proxy;
use super::super::command::{ClientId, Command, Report, VerificationId, Work};
use super::super::reason::Reason;
use super::super::request::Request;
use super::super::subrequest::{Requester, SubResponse, SubrequestSpec, subrequest_head};
use super::decide::{AuthProgress, Costly};
use super::{Lookup, LookupId, LookupKind, LookupResult, ProviderState, Starter, forward};
use crate::limits::{
    AUTH_BASIC_REMEMBERED, AUTH_KEEP_ALIVE, AUTH_QUESTIONS, AUTH_REFUSED_REMEMBERED, AUTH_WAIT_MAX,
    FORWARD_ANSWER_BYTES, INTROSPECTION_BYTES, PASSWORDS_WAITING, PASSWORDS_WAITING_PER_CLIENT,
    SIGNATURES_WAITING, SIGNATURES_WAITING_PER_CLIENT, TOKENS_LEFT_PER_CLIENT,
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
use crate::policy::auth::signature::CostlySignature;
use crate::time::{Duration, Instant};
use std::sync::Arc;

impl Proxy {
    /// Asks for a provider of a service about a request. Requests that need the same answer share a question.
    pub(super) fn start_lookup(
        &mut self,
        starter: Starter,
        (service, position): (usize, usize),
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        progress: &mut AuthProgress,
        now: Instant,
    ) -> Option<LookupId> {
        let provider = self.provider_of(service, position)?;
        match (&self.settings.auth.get(provider)?.kind, authorization) {
            (Kind::Jwt { .. }, Authorization::Bearer(token)) => {
                // Its signature is being verified for another request.
                let fingerprint = self.auth.fingerprints.of(provider, token, b"");
                if let Some(&lookup) = self.auth.pending.get(&fingerprint) {
                    return Some(lookup);
                }
                let (lookup, under_way) = self.fetch_keys_for_token(provider, now)?;
                progress.note_waits_for_keys(position, under_way);
                Some(lookup)
            }
            (Kind::Introspection { .. }, Authorization::Bearer(token)) => {
                self.look_up_token(starter, provider, token, service, now)
            }
            (Kind::Basic { .. }, Authorization::Basic(pair)) => {
                self.look_up_password(starter, provider, pair)
            }
            (Kind::Forward { .. }, _) => {
                self.look_up_request(starter.id, provider, request, service, now)
            }
            _ => None,
        }
    }

    /// Lets a request wait for a question.
    pub(super) fn join_lookup(&mut self, id: ClientId, lookup: LookupId) {
        if let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) {
            lookup_entry.waiting.push(id);
        }
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
        starter: Starter,
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
            (LookupKind::Token(provider, fingerprint), Some(starter)),
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
            (LookupKind::Request(provider), None),
            endpoint.target,
            text,
            FORWARD_ANSWER_BYTES,
            service,
            now,
        )
    }

    fn send_lookup(
        &mut self,
        (kind_of_lookup, starter): (LookupKind, Option<Starter>),
        target: usize,
        request: Vec<u8>,
        body_bytes: usize,
        service: usize,
        now: Instant,
    ) -> Option<LookupId> {
        // Health checks have their own share of what may be asked at once.
        let others = self
            .auth
            .entries()
            .filter(|lookup_entry| !lookup_entry.is_work())
            .count();
        if others >= AUTH_QUESTIONS {
            return None;
        }
        let lookup = self.auth.lookups.insert(Lookup {
            kind_of_lookup,
            waiting: Vec::new(),
            subrequest: None,
            starter,
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

    /// Hands a password to its helper thread, if not too many wait there already.
    fn look_up_password(
        &mut self,
        starter: Starter,
        provider: usize,
        pair: &Pair,
    ) -> Option<LookupId> {
        let prints = &self.auth.fingerprints;
        let fingerprint = prints.of(provider, pair.user.bytes(), pair.password.bytes());
        if let Some(&lookup) = self.auth.pending.get(&fingerprint) {
            return Some(lookup);
        }
        let Kind::Basic { users } = &self.settings.auth.get(provider)?.kind else {
            return None;
        };
        let work = Verification::of(users, pair.user.bytes(), pair.password.clone())?;
        let account = prints.of(provider, pair.user.bytes(), b"");
        let is_password = |lookup_entry: &&Lookup| {
            matches!(lookup_entry.kind_of_lookup, LookupKind::Password { .. })
        };
        let is_of_account = |lookup_entry: &Lookup| matches!(lookup_entry.kind_of_lookup, LookupKind::Password { account: other, .. } if other == account);
        let waiting = || self.auth.entries().filter(is_password);
        let own =
            || waiting().filter(|lookup_entry| lookup_entry.is_of(starter.client, &self.accounts));
        if waiting().count() >= PASSWORDS_WAITING
            || own().count() >= PASSWORDS_WAITING_PER_CLIENT
            || own().any(is_of_account)
        {
            return None;
        }
        let kind_of_lookup = LookupKind::Password {
            provider,
            fingerprint,
            account,
        };
        Some(self.start_work(
            starter,
            kind_of_lookup,
            fingerprint,
            Work::Password(Box::new(work)),
        ))
    }

    /// Hands a signature to its helper thread, if not too many wait there already.
    pub(super) fn look_up_signature(
        &mut self,
        starter: Starter,
        provider: usize,
        costly: Costly,
    ) -> Option<LookupId> {
        let Costly {
            fingerprint,
            signature,
        } = costly;
        let is_signature = |lookup_entry: &&Lookup| {
            matches!(lookup_entry.kind_of_lookup, LookupKind::Signature { .. })
        };
        let waiting = || self.auth.entries().filter(is_signature);
        let own =
            || waiting().filter(|lookup_entry| lookup_entry.is_of(starter.client, &self.accounts));
        if waiting().count() >= SIGNATURES_WAITING || own().count() >= SIGNATURES_WAITING_PER_CLIENT
        {
            return None;
        }
        let signature = Arc::new(signature);
        let kind_of_lookup = LookupKind::Signature {
            provider,
            fingerprint,
            generation: self.auth.providers.get(provider)?.generation,
            signature: Arc::clone(&signature),
        };
        Some(self.start_work(
            starter,
            kind_of_lookup,
            fingerprint,
            Work::Signature(signature),
        ))
    }

    /// Hands work to a helper thread.
    fn start_work(
        &mut self,
        starter: Starter,
        kind_of_lookup: LookupKind,
        fingerprint: Fingerprint,
        work: Work,
    ) -> LookupId {
        let lookup = self.auth.lookups.insert(Lookup {
            kind_of_lookup,
            waiting: Vec::new(),
            subrequest: None,
            starter: Some(starter),
        });
        self.auth.pending.insert(fingerprint, lookup);
        self.commands.push_back(Command::Verify {
            verification: lookup,
            work,
        });
        lookup
    }

    // --- answers ---

    /// Counts a credential that is not authentic for the client whose request started the question, when it has left: a client that
    /// waits is counted when it is told.
    fn charge_starter(&mut self, lookup: LookupId, outcome: &LookupResult, now: Instant) {
        let is_forged = matches!(outcome, LookupResult::Bad(fault) if fault.is_forged());
        if let Some(lookup_entry) = self.auth.lookups.get(lookup)
            && let Some(starter) = lookup_entry.starter
            && is_forged
            && !lookup_entry.waiting.contains(&starter.id)
        {
            self.rates.count_failure(starter.client, now);
        }
    }

    /// Takes the answer of a helper thread: whether a credential is right.
    pub(in super::super) fn credential_verified(
        &mut self,
        verification: VerificationId,
        good: bool,
        now: Instant,
    ) {
        let Some(lookup_entry) = self.auth.lookups.get(verification) else {
            return;
        };
        let outcome = match lookup_entry.kind_of_lookup.clone() {
            LookupKind::Password {
                provider,
                fingerprint,
                ..
            } => self.password_verified(provider, fingerprint, good, now),
            LookupKind::Signature {
                provider,
                fingerprint,
                generation,
                signature,
            } => {
                let is_same = |state: &ProviderState| state.generation == generation;
                if self.auth.providers.get(provider).is_some_and(is_same) {
                    self.signature_verified((provider, fingerprint), &signature, good, now)
                } else {
                    LookupResult::KeysChanged
                }
            }
            LookupKind::Keys(_) | LookupKind::Token(..) | LookupKind::Request(_) => return,
        };
        self.charge_starter(verification, &outcome, now);
        self.resolve(verification, outcome, now);
    }

    fn password_verified(
        &mut self,
        provider: usize,
        fingerprint: Fingerprint,
        good: bool,
        now: Instant,
    ) -> LookupResult {
        let state = self.auth.providers.get_mut(provider);
        if !good {
            let fault = CredentialFault::Password;
            if let Some(state) = state {
                let until = now.after(AUTH_REFUSED_REMEMBERED);
                state.bad.put(fingerprint, fault, 0, (now, until));
            }
            return LookupResult::Bad(fault);
        }
        let grant = Arc::<Grant>::default();
        if let Some(state) = state {
            let until = now.after(AUTH_BASIC_REMEMBERED);
            let bytes = grant.bytes();
            state
                .good
                .put(fingerprint, grant.clone(), bytes, (now, until));
        }
        LookupResult::Good(grant)
    }

    fn signature_verified(
        &mut self,
        (provider, fingerprint): (usize, Fingerprint),
        signature: &CostlySignature,
        good: bool,
        now: Instant,
    ) -> LookupResult {
        let wall = self.wall(now);
        let kind = self.settings.auth.get(provider).map(|known| &known.kind);
        let (Some(Kind::Jwt { rules, .. }), Some(state)) =
            (kind, self.auth.providers.get_mut(provider))
        else {
            return LookupResult::KeysChanged;
        };
        match rules.conclude(signature, good, wall) {
            Ok(grant) => LookupResult::Good(state.remember_good(fingerprint, grant, now)),
            Err(fault) => {
                state.remember_bad(fingerprint, fault, now);
                LookupResult::Bad(fault)
            }
        }
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
        let outcome = match lookup_entry.kind_of_lookup.clone() {
            LookupKind::Keys(provider) => self.keys_answered(provider, answer, reason, now),
            LookupKind::Token(provider, fingerprint) => {
                let outcome = self.token_answered(provider, fingerprint, answer, now);
                self.report_provider_down(provider, &outcome, reason, now);
                self.charge_starter(lookup, &outcome, now);
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
            LookupKind::Password { .. } | LookupKind::Signature { .. } => return,
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

    /// Forgets a request that waits. A question about a token goes on without it, so that its answer is counted, but only
    /// [`TOKENS_LEFT_PER_CLIENT`] of one client; one above them is dropped and counts as if it was not authentic.
    pub(super) fn leave_lookup(&mut self, id: ClientId, lookup: LookupId, now: Instant) {
        let Some(lookup_entry) = self.auth.lookups.get_mut(lookup) else {
            return;
        };
        lookup_entry.waiting.retain(|&waiting| waiting != id);
        if !lookup_entry.waiting.is_empty() {
            return;
        }
        let client = lookup_entry.starter.and_then(|starter| starter.client);
        let is_dropped = match lookup_entry.kind_of_lookup {
            LookupKind::Request(_) => true,
            LookupKind::Token(..) => {
                let left = self.auth.entries().filter(|lookup_entry| {
                    matches!(lookup_entry.kind_of_lookup, LookupKind::Token(..))
                        && lookup_entry.waiting.is_empty()
                        && lookup_entry.is_of(client, &self.accounts)
                });
                left.count() > TOKENS_LEFT_PER_CLIENT
            }
            LookupKind::Keys(_) | LookupKind::Password { .. } | LookupKind::Signature { .. } => {
                false
            }
        };
        if is_dropped && let Some(lookup_entry) = self.auth.lookups.remove(lookup) {
            self.auth.forget_pending(&lookup_entry.kind_of_lookup);
            if let Some(subrequest) = lookup_entry.subrequest {
                self.drop_subrequest(subrequest);
            }
            if lookup_entry.starter.is_some() {
                self.rates.count_failure(client, now);
            }
        }
    }

    /// Whether the answer to a question says whether a token is authentic.
    pub(super) fn is_about_token(&self, lookup: LookupId) -> bool {
        self.auth.lookups.get(lookup).is_some_and(|lookup_entry| {
            matches!(
                lookup_entry.kind_of_lookup,
                LookupKind::Token(..) | LookupKind::Signature { .. }
            )
        })
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
    /// The questions that have no answer yet.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Lookup> {
        self.lookups
            .keys()
            .filter_map(|lookup| self.lookups.get(lookup))
    }

    fn forget_pending(&mut self, kind_of_lookup: &LookupKind) {
        if let LookupKind::Token(_, fingerprint)
        | LookupKind::Password { fingerprint, .. }
        | LookupKind::Signature { fingerprint, .. } = kind_of_lookup
        {
            self.pending.remove(fingerprint);
        }
    }
}

impl Lookup {
    /// Whether a helper thread answers it.
    pub(super) fn is_work(&self) -> bool {
        matches!(
            self.kind_of_lookup,
            LookupKind::Password { .. } | LookupKind::Signature { .. }
        )
    }

    /// Whether a request of this client started it. All clients of unix sockets are one.
    fn is_of(&self, client: Option<IpAddr>, accounts: &Accounts) -> bool {
        self.starter
            .is_some_and(|starter| match (starter.client, client) {
                (Some(one), Some(other)) => accounts.is_same(one, other),
                (one, other) => one == other,
            })
    }
}
