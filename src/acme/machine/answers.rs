//! Answers of the authority, of the disk, and of the gateway itself.

use super::super::jws::sha256;
use super::super::messages::{
    Authorization, Directory, Offered, Order, Problem, Status, shown, window,
};
use super::super::schedule::{DAY, in_window};
use super::super::{Challenge, Keys, Kind, Level, Proof, Response, Step};
use super::{Awaited, Inbox, Machine, Phase, report};
use crate::acme::identifier::listed;

/// Nonces of one order that the authority may refuse, one after the other.
const NONCES_REFUSED_MAX: u32 = 10;

/// Longest pause between two looks at an order, in seconds.
const POLL_PAUSE_MAX: u64 = 300;

/// Pause of an order behind a failed probe, in seconds.
const PROBE_PAUSE: u64 = 600;

/// Seconds between two questions when to renew, where the authority does not say.
const ASK_PAUSE: u64 = 6 * 3600;

impl Machine {
    /// Takes what came.
    pub(super) fn take(&mut self, awaited: Awaited, inbox: Inbox, now: u64, keys: &mut dyn Keys) {
        match (awaited, inbox) {
            (Awaited::Save, Inbox::Done(result)) => self.on_saved(result, now),
            (Awaited::Probe, Inbox::Done(result)) => self.on_probed(result, now),
            (_, Inbox::Response(Ok(response))) => self.on_response(awaited, &response, now, keys),
            (_, Inbox::Response(Err(text))) => {
                self.nonce = None;
                self.fail(
                    format!("the authority cannot be reached: {text}"),
                    None,
                    true,
                    now,
                );
            }
            (_, Inbox::Done(_)) => {}
        }
    }

    fn on_saved(&mut self, result: Result<(), String>, now: u64) {
        match result {
            Ok(()) => {
                if let Some(Phase::Install(_)) = self.task.as_ref().map(|task| &task.phase) {
                    self.installed();
                }
            }
            Err(text) => self.not_saved(&text, now),
        }
    }

    fn on_probed(&mut self, result: Result<(), String>, now: u64) {
        let Some(set) = self.set_mut() else { return };
        set.probed = true;
        let Err(text) = result else { return };
        let names = listed(&set.names);
        set.retry = now.saturating_add(PROBE_PAUSE);
        let text = format!("the gateway does not reach itself by its names: {text}");
        set.problem = Some(shown(&text));
        self.task = None;
        self.save(Vec::new());
        self.out.push_back(report(
            Level::Warn,
            format!("certificate for {names}: {text}; the order is tried in 10 min all the same"),
        ));
    }

    fn on_response(
        &mut self,
        awaited: Awaited,
        response: &Response,
        now: u64,
        keys: &mut dyn Keys,
    ) {
        if let Some(nonce) = response.nonce() {
            self.nonce = Some(nonce);
        }
        match response.status {
            200..=299 => {
                if let Err(text) = self.on_success(awaited, response, now, keys) {
                    self.fail(text, response.retry_after(now), false, now);
                }
            }
            300..=399 => {
                let to = shown(response.field("Location").unwrap_or_default());
                let text = format!(
                    "the authority redirects to {to:?} (status {}), which is not followed; correct acme.directory",
                    response.status
                );
                self.fail(text, response.retry_after(now), true, now);
            }
            _ => self.on_problem(awaited, response, now),
        }
    }

    /// Takes a response that says no (RFC 8555 6.7).
    fn on_problem(&mut self, awaited: Awaited, response: &Response, now: u64) {
        let problem = Problem::read(response);
        let asked = response.retry_after(now);
        let is_of_phase = awaited == Awaited::Phase;
        let Some(task) = &mut self.task else { return };
        let is_new = matches!(task.phase, Phase::NewOrder);
        let first_time = !task.is_corrected;
        match problem.kind.as_str() {
            "badNonce" if task.refused_nonces < NONCES_REFUSED_MAX => {
                task.refused_nonces = task.refused_nonces.saturating_add(1);
                return;
            }
            "accountDoesNotExist" if is_of_phase && first_time => {
                task.is_corrected = true;
                self.state.account = None;
                return;
            }
            "alreadyReplaced" if is_new && is_of_phase && first_time => {
                task.is_corrected = true;
                if let Some(set) = self.set_mut() {
                    set.certificate = None;
                }
                return;
            }
            _ => {}
        }
        let may_keep = response.status >= 500 || response.status == 429;
        let text = format!("the authority says {}: {}", response.status, problem.text);
        self.fail(text, asked, may_keep, now);
    }

    fn on_success(
        &mut self,
        awaited: Awaited,
        response: &Response,
        now: u64,
        keys: &mut dyn Keys,
    ) -> Result<(), String> {
        let at = self.plan.directory.clone();
        match awaited {
            Awaited::Directory => {
                let directory = Directory::read(&response.body, &at);
                self.directory = Some(directory.map_err(of_authority)?);
                return Ok(());
            }
            Awaited::Nonce => {
                return match self.nonce {
                    Some(_) => Ok(()),
                    None => Err("the authority sends no nonce".to_owned()),
                };
            }
            Awaited::Account => {
                let account = response.location(&at).map_err(of_authority)?;
                self.state.account = Some(account.as_str().to_owned());
                self.save(Vec::new());
                return Ok(());
            }
            Awaited::Phase | Awaited::Probe | Awaited::Save => {}
        }
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        task.refused_nonces = 0;
        let (kind, count) = (task.wanted.kind, task.wanted.names.len());
        match &task.phase {
            Phase::Renewal => {
                self.on_window(response, now, keys);
                Ok(())
            }
            Phase::NewOrder => {
                let url = response.location(&at).map_err(of_authority)?;
                if let Some(order) = self.set_mut().and_then(|set| set.order.as_mut()) {
                    order.url = Some(url.as_str().to_owned());
                }
                let order = Order::read(&response.body, &at, count).map_err(of_authority)?;
                self.on_order(order, response, now)?;
                self.save(Vec::new());
                Ok(())
            }
            Phase::Order | Phase::Finalize(_) => {
                let order = Order::read(&response.body, &at, count).map_err(of_authority)?;
                self.on_order(order, response, now)
            }
            Phase::Authorization => {
                let read = Authorization::read(&response.body, &at, kind);
                self.on_authorization(read.map_err(of_authority)?, response, now, keys)
            }
            Phase::Respond(_) => {
                task.phase = Phase::Authorization;
                task.is_responded = true;
                self.poll_later(response, now);
                Ok(())
            }
            Phase::Certificate(_) => self.on_certificate(response, now, keys),
            Phase::Begin | Phase::Install(_) => Ok(()),
        }
    }

    /// Looks again later: when the authority says, otherwise after 1 s, 2 s, .. 10 s.
    fn poll_later(&mut self, response: &Response, now: u64) {
        if let Some(task) = &mut self.task {
            task.polls = task.polls.saturating_add(1);
            let usual = task.polls.min(10);
            let asked = response.retry_after(now).unwrap_or(0).min(POLL_PAUSE_MAX);
            task.at = now.saturating_add(usual.max(asked));
        }
    }

    fn on_order(&mut self, order: Order, response: &Response, now: u64) -> Result<(), String> {
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        task.phase = match (order.status, order.certificate) {
            (Status::Invalid, _) => {
                let why = order.problem.unwrap_or_default();
                return Err(format!("the order became invalid: {why}"));
            }
            (Status::Pending, _) if task.index < order.authorizations.len() => {
                task.authorizations = order.authorizations;
                Phase::Authorization
            }
            (Status::Ready, _) => Phase::Finalize(order.finalize),
            (Status::Valid, Some(url)) => Phase::Certificate(url),
            (Status::Valid, None) => {
                return Err("the authority names no certificate of the valid order".to_owned());
            }
            (Status::Pending | Status::Processing, _) => {
                task.phase = Phase::Order;
                self.poll_later(response, now);
                return Ok(());
            }
        };
        Ok(())
    }

    fn on_authorization(
        &mut self,
        authorization: Authorization,
        response: &Response,
        now: u64,
        keys: &mut dyn Keys,
    ) -> Result<(), String> {
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        match authorization.status {
            Status::Valid => {
                task.index = task.index.saturating_add(1);
                if core::mem::take(&mut task.is_offered) {
                    self.out.push_back(Step::Withdraw);
                }
                task.is_responded = false;
                if task.index >= task.authorizations.len() {
                    task.phase = Phase::Order;
                }
                Ok(())
            }
            Status::Invalid => {
                let why = authorization.problem.unwrap_or_default();
                let of = authorization.identifier;
                Err(format!(
                    "the authority did not accept the proof for {of}: {why}"
                ))
            }
            Status::Pending | Status::Ready | Status::Processing => {
                let mut names = task.wanted.names.iter();
                let Some(name) = names.find(|name| authorization.is_for(name)).cloned() else {
                    let of = &authorization.identifier;
                    return Err(format!(
                        "the authority asks for proof of {of:?}, which is not in the order"
                    ));
                };
                let kind = task.wanted.kind;
                let Some(challenge) = &authorization.challenge else {
                    return Err(format!(
                        "the authority offers no {} for {name}; choose the other kind with acme.challenge",
                        kind.as_str()
                    ));
                };
                if !task.is_offered {
                    let proof = self.proof(&name, kind, challenge, keys);
                    let proof = proof.ok_or("no proof can be made of the key")?;
                    self.out.push_back(Step::Offer(Challenge {
                        identifier: name,
                        proof,
                    }));
                }
                let Some(task) = &mut self.task else {
                    return Ok(());
                };
                task.is_offered = true;
                match challenge.is_pending && !task.is_responded {
                    true => task.phase = Phase::Respond(challenge.url.clone()),
                    false => self.poll_later(response, now),
                }
                Ok(())
            }
        }
    }

    fn proof(
        &self,
        name: &super::Identifier,
        kind: Kind,
        challenge: &Offered,
        keys: &mut dyn Keys,
    ) -> Option<Proof> {
        let text = self.account_key.as_ref()?.authorization(&challenge.token);
        Some(match kind {
            Kind::Http01 => Proof::Http01 {
                token: challenge.token.clone(),
                text: text.into(),
            },
            Kind::TlsAlpn01 => {
                let key = keys.generate()?;
                let digest = sha256(text.as_bytes());
                let certificate = super::super::encode::proof(name, &digest, &key, keys)?;
                Proof::TlsAlpn01 { certificate, key }
            }
        })
    }

    /// Takes the window in which the authority wants the renewal (RFC 9773 4.2).
    fn on_window(&mut self, response: &Response, now: u64, keys: &mut dyn Keys) {
        let found = window(&response.body);
        let pause = response.retry_after(now).unwrap_or(ASK_PAUSE);
        let random = keys.random();
        if let Some(set) = self.set_mut() {
            set.ask = now.saturating_add(pause.clamp(60, DAY));
            if let (Some(window), Some(life)) = (found, set.life)
                && set.window != found
            {
                set.window = found;
                set.renew = in_window(window, life, random);
                self.task = None;
                return self.save(Vec::new());
            }
        }
        self.task = None;
    }
}

fn of_authority(text: String) -> String {
    format!("the authority cannot be understood: {text}")
}
