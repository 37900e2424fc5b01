//! Asking: an authorization server about a token, a helper thread about a password, another service about a request.

use core::mem;
use core::net::IpAddr;

use super::super::Proxy;
use super::super::command::{Command, DownstreamId, Report, VerificationId};
use super::super::inquiry::{Asker, Finding, Question as Inquiry, own_request};
use super::super::intake::Request;
use super::super::reason::Reason;
use super::decide::Trail;
use super::{About, Outcome, Question, QuestionId, Started, forward};
use crate::limits::{
    AUTH_BASIC_REMEMBERED, AUTH_KEEP_ALIVE, AUTH_QUESTIONS, AUTH_REFUSED_REMEMBERED, AUTH_WAIT_MAX,
    FORWARD_ANSWER_BYTES, INTROSPECTION_BYTES, PASSWORDS_WAITING, PASSWORDS_WAITING_PER_CLIENT,
};
use crate::observe::access::End;
use crate::policy::accounts::Accounts;
use crate::policy::auth::basic::Verification;
use crate::policy::auth::credentials::{Authorization, Pair};
use crate::policy::auth::fault::CredentialFault;
use crate::policy::auth::grant::Grant;
use crate::policy::auth::introspection::{self, Answer};
use crate::policy::auth::provider::Kind;
use crate::policy::auth::remembered::Fingerprint;
use crate::time::{Duration, Instant};
use std::sync::Arc;

impl Proxy {
    /// Asks for a provider of a service about a request; whoever asks the same waits for the same answer.
    pub(super) fn ask_provider(
        &mut self,
        (id, client): (DownstreamId, Option<IpAddr>),
        (service, position): (usize, usize),
        request: &Request<'_>,
        authorization: &Authorization<'_>,
        trail: &mut Trail,
        now: Instant,
    ) -> Result<QuestionId, End> {
        let provider = self.provider_of(service, position).ok_or(End::OverLimit)?;
        let kind = self
            .settings
            .auth
            .get(provider)
            .map(|provider| &provider.kind);
        let question = match (kind, authorization) {
            (Some(Kind::Jwt { .. }), _) => {
                self.fetch_keys_for_token(provider, now)
                    .map(|(question, under_way)| {
                        trail.note_waits_for_keys(position, under_way);
                        question
                    })
            }
            (Some(Kind::Introspection { .. }), Authorization::Bearer(token)) => {
                self.ask_about_token(provider, token, service, now)
            }
            (Some(Kind::Basic { .. }), Authorization::Basic(pair)) => {
                self.ask_about_password((id, client), provider, pair)
            }
            (Some(Kind::Forward { .. }), _) => {
                self.ask_about_request(id, provider, request, service, now)
            }
            _ => None,
        };
        let question = question.ok_or(End::OverLimit)?;
        if let Some(asked) = self.auth.questions.get_mut(question) {
            asked.waiting.push(id);
        }
        Ok(question)
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
    pub(super) fn patience(&self, service: usize) -> Duration {
        self.settings
            .services
            .get(service)
            .and_then(|row| row.timeouts.response)
            .unwrap_or(AUTH_WAIT_MAX)
    }

    fn ask_about_token(
        &mut self,
        provider: usize,
        token: &[u8],
        service: usize,
        now: Instant,
    ) -> Option<QuestionId> {
        let print = self.auth.fingerprints.of(provider, token, b"");
        if let Some(&question) = self.auth.pending.get(&print) {
            return Some(question);
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
        let mut request = own_request(
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
        let question = self.inquire(
            About::Token(provider, print),
            target,
            request,
            INTROSPECTION_BYTES,
            service,
            now,
        )?;
        self.auth.pending.insert(print, question);
        Some(question)
    }

    fn ask_about_request(
        &mut self,
        id: DownstreamId,
        provider: usize,
        request: &Request<'_>,
        service: usize,
        now: Instant,
    ) -> Option<QuestionId> {
        let endpoint = self.settings.auth.get(provider)?.kind.endpoint()?.clone();
        let text = self.forwarded_request(id, &endpoint, request, service)?;
        self.inquire(
            About::Request(provider),
            endpoint.target,
            text,
            FORWARD_ANSWER_BYTES,
            service,
            now,
        )
    }

    fn inquire(
        &mut self,
        about: About,
        target: usize,
        request: Vec<u8>,
        body_bytes: usize,
        service: usize,
        now: Instant,
    ) -> Option<QuestionId> {
        // Health checks have their own share of what may be asked at once.
        if self
            .auth
            .questions
            .len()
            .saturating_sub(self.auth.verifying)
            >= AUTH_QUESTIONS
        {
            return None;
        }
        let question = self.auth.questions.insert(Question {
            about,
            waiting: Vec::new(),
            inquiry: None,
        });
        let asker = Asker::Auth(question);
        let (within, keep) = (self.patience(service), Some(AUTH_KEEP_ALIVE));
        let inquiry = self.ask(
            Inquiry {
                asker,
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
        let Some(inquiry) = inquiry else {
            self.auth.questions.remove(question);
            return None;
        };
        if let Some(asked) = self.auth.questions.get_mut(question) {
            asked.inquiry = Some(inquiry);
        }
        Some(question)
    }

    /// Hands a password to the helper thread, if not too many wait there already.
    fn ask_about_password(
        &mut self,
        (id, client): (DownstreamId, Option<IpAddr>),
        provider: usize,
        pair: &Pair,
    ) -> Option<QuestionId> {
        let print = self
            .auth
            .fingerprints
            .of(provider, pair.user.bytes(), pair.password.bytes());
        if let Some(&question) = self.auth.pending.get(&print) {
            return Some(question);
        }
        let Kind::Basic { users } = &self.settings.auth.get(provider)?.kind else {
            return None;
        };
        let work = Verification::of(users, pair.user.bytes(), pair.password.clone())?;
        let account = self.auth.fingerprints.of(provider, pair.user.bytes(), b"");
        let own = || self.auth.started_by(&self.accounts, client);
        if self.auth.verifying >= PASSWORDS_WAITING
            || own().count() >= PASSWORDS_WAITING_PER_CLIENT
            || own().any(|started| started.account == account)
        {
            return None;
        }
        let question = Question {
            about: About::Password(provider, print),
            waiting: Vec::new(),
            inquiry: None,
        };
        let question = self.auth.questions.insert(question);
        self.auth.verifying = self.auth.verifying.saturating_add(1);
        self.auth.started.push(Started {
            question,
            id,
            client,
            account,
        });
        self.auth.pending.insert(print, question);
        self.commands.push_back(Command::Verify {
            verification: question,
            work: Box::new(work),
        });
        Some(question)
    }

    // --- answers ---

    /// The helper thread has answered a question. Whoever had it asked pays for a credential that is not authentic, even when it has
    /// left: it does not come back to be told, and to be counted then.
    fn end_started(&mut self, question: QuestionId, good: bool, now: Instant) {
        let Some(at) = self
            .auth
            .started
            .iter()
            .position(|started| started.question == question)
        else {
            return;
        };
        let started = self.auth.started.remove(at);
        let waits = self
            .auth
            .questions
            .get(question)
            .is_some_and(|asked| asked.waiting.contains(&started.id));
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
        let Some(Question {
            about: About::Password(provider, print),
            ..
        }) = self.auth.questions.get(verification)
        else {
            return;
        };
        let (provider, print) = (*provider, *print);
        self.auth.verifying = self.auth.verifying.saturating_sub(1);
        self.end_started(verification, good, now);
        let grant = Arc::<Grant>::default();
        if let Some(state) = self.auth.providers.get_mut(provider) {
            if good {
                state.good.put(
                    print,
                    grant.clone(),
                    grant.bytes(),
                    (now, now.after(AUTH_BASIC_REMEMBERED)),
                );
            } else {
                let until = now.after(AUTH_REFUSED_REMEMBERED);
                state
                    .bad
                    .put(print, CredentialFault::Password, 0, (now, until));
            }
        }
        let outcome = if good {
            Outcome::Good(grant)
        } else {
            Outcome::Bad(CredentialFault::Password)
        };
        self.tell(verification, outcome, now);
    }

    /// A provider answered, or did not.
    pub(in super::super) fn provider_answered(
        &mut self,
        question: QuestionId,
        answer: Result<Finding, End>,
        reason: Option<Reason>,
        now: Instant,
    ) {
        let Some(asked) = self.auth.questions.get_mut(question) else {
            return;
        };
        asked.inquiry = None;
        let outcome = match asked.about {
            About::Keys(provider) => self.keys_answered(provider, answer, reason, now),
            About::Token(provider, print) => {
                let outcome = self.token_answered(provider, print, answer, now);
                self.note_down(provider, &outcome, reason, now);
                outcome
            }
            About::Request(provider) => {
                let outcome = match self
                    .settings
                    .auth
                    .get(provider)
                    .map(|provider| &provider.kind)
                {
                    Some(Kind::Forward { copied, .. }) => forward::outcome(copied, answer),
                    _ => Outcome::Bad(CredentialFault::Denied),
                };
                self.note_down(provider, &outcome, reason, now);
                outcome
            }
            About::Password(..) => return,
        };
        self.tell(question, outcome, now);
    }

    fn token_answered(
        &mut self,
        provider: usize,
        print: Fingerprint,
        answer: Result<Finding, End>,
        now: Instant,
    ) -> Outcome {
        let wall = self.wall(now);
        let Some(Kind::Introspection {
            cache, forwarded, ..
        }) = self
            .settings
            .auth
            .get(provider)
            .map(|provider| &provider.kind)
        else {
            return Outcome::Bad(CredentialFault::Inactive);
        };
        let finding = match answer {
            Ok(finding) if finding.is_coded() => return Outcome::Down(End::UpstreamMalformed),
            Ok(finding) => finding,
            Err(end) => return no_answer(end),
        };
        let Some(answer) = introspection::read(finding.status, &finding.body, forwarded, wall)
        else {
            return Outcome::Down(End::UpstreamMalformed);
        };
        let until = now.after(*cache);
        let Some(state) = self.auth.providers.get_mut(provider) else {
            return Outcome::Bad(CredentialFault::Inactive);
        };
        match answer {
            // That a grant does not outlive its end is looked at each time.
            Answer::Active(grant) => {
                let grant = Arc::new(grant);
                state
                    .good
                    .put(print, grant.clone(), grant.bytes(), (now, until));
                Outcome::Good(grant)
            }
            Answer::Inactive => {
                state
                    .bad
                    .put(print, CredentialFault::Inactive, 0, (now, until));
                Outcome::Bad(CredentialFault::Inactive)
            }
        }
    }

    /// The operator should know of a provider that cannot say.
    fn note_down(
        &mut self,
        provider: usize,
        outcome: &Outcome,
        reason: Option<Reason>,
        now: Instant,
    ) {
        if let Outcome::Down(end) = outcome
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
    fn tell(&mut self, question: QuestionId, outcome: Outcome, now: Instant) {
        let Some(mut asked) = self.auth.questions.remove(question) else {
            return;
        };
        self.auth.forget_pending(&asked.about);
        for id in mem::take(&mut asked.waiting) {
            self.resume(id, question, outcome.clone(), now);
        }
    }

    /// One who waits is gone. What nobody waits for is not asked any more, unless the answer is good for others.
    pub(super) fn leave_question(&mut self, id: DownstreamId, question: QuestionId) {
        let Some(asked) = self.auth.questions.get_mut(question) else {
            return;
        };
        asked.waiting.retain(|&waiting| waiting != id);
        let idle =
            asked.waiting.is_empty() && matches!(asked.about, About::Token(..) | About::Request(_));
        if !idle {
            return;
        }
        if let Some(asked) = self.auth.questions.remove(question) {
            self.auth.forget_pending(&asked.about);
            if let Some(inquiry) = asked.inquiry {
                self.drop_inquiry(inquiry);
            }
        }
    }
}

/// Nothing came, or more than an answer has.
pub(super) fn no_answer(end: End) -> Outcome {
    Outcome::Down(if end == End::OverLimit {
        End::UpstreamMalformed
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

    fn forget_pending(&mut self, about: &About) {
        if let About::Token(_, print) | About::Password(_, print) = about {
            self.pending.remove(print);
        }
    }
}
