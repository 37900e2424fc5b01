//! Requests of a task.

use super::super::jws::{AccountKey, By};
use super::super::pem_file;
use super::super::schedule::{ISSUED_MAX, ORDERS_SPAN};
use super::super::state::OpenOrder;
use super::super::{ACCOUNT_FILE, File, Keys, Method, Request, Step, Url, text};
use super::{Awaited, Machine, Phase};

/// Requests of one order, beside those for each name.
const REQUESTS_MAX: usize = 100;

/// Seconds of one order.
const ORDER_TIME: u64 = 900;

impl Machine {
    /// Does what the task needs next.
    pub(super) fn advance(&mut self, now: u64, keys: &mut dyn Keys) {
        let Some(task) = &mut self.task else { return };
        if self.awaits.is_some() {
            return;
        }
        let count = task.wanted.names.len();
        task.requests = task.requests.saturating_add(1);
        let most = REQUESTS_MAX.saturating_add(count.saturating_mul(30));
        if task.requests > most || now > task.begun.saturating_add(ORDER_TIME) {
            let text = "the authority does not come to an end with the order".to_owned();
            return self.fail(text, None, true, now);
        }
        if matches!(task.phase, Phase::Begin) {
            return self.begin(now, keys);
        }
        if !self.has_account_key(keys) {
            let text = format!(
                "the key in {ACCOUNT_FILE} cannot be used; remove the file, and a new account is made"
            );
            return self.fail(text, None, false, now);
        }
        let made = self.request(now, keys);
        match made {
            Ok((request, awaited)) => {
                self.awaits = Some(awaited);
                self.out.push_back(Step::Request(request));
            }
            Err(text) => self.fail(text, None, true, now),
        }
    }

    /// Makes the keys of an order, and saves them and its begin.
    fn begin(&mut self, now: u64, keys: &mut dyn Keys) {
        let is_first = self.account_file.is_none() && self.account_key.is_none();
        let account = if is_first { keys.generate() } else { None };
        let Some(key) = keys.generate().filter(|_| !is_first || account.is_some()) else {
            let text = "the kernel gives no randomness for a key".to_owned();
            return self.fail(text, None, false, now);
        };
        if self.state.span.saturating_add(ORDERS_SPAN) <= now {
            (self.state.span, self.state.orders) = (now, 0);
        }
        self.state.orders = self.state.orders.saturating_add(1);
        let mut files = Vec::new();
        if let Some(account) = account {
            files.push(File {
                name: ACCOUNT_FILE.to_owned(),
                bytes: Some(pem_file::of_key(&account)),
            });
            self.account_file = Some(account);
            self.state.account = None;
        }
        if let Some(set) = self.set_mut() {
            let [_, next] = set.files();
            set.order = Some(OpenOrder {
                url: None,
                begun: now,
                key: key.clone(),
            });
            files.push(File {
                name: next,
                bytes: Some(pem_file::of_key(&key)),
            });
        }
        if let Some(task) = &mut self.task {
            task.key = key;
            task.phase = Phase::NewOrder;
        }
        self.save(files);
    }

    fn has_account_key(&mut self, keys: &mut dyn Keys) -> bool {
        if self.account_key.is_none() {
            let file = self.account_file.clone();
            self.account_key = file.and_then(|file| AccountKey::new(file, keys));
        }
        self.account_key.is_some()
    }

    /// Returns the next request.
    fn request(&mut self, now: u64, keys: &mut dyn Keys) -> Result<(Request, Awaited), String> {
        let bare = |method, url: &Url| Request {
            method,
            path: url.path().into(),
            body: Vec::new(),
        };
        let Some(directory) = &self.directory else {
            let request = bare(Method::Get, &self.plan.directory);
            return Ok((request, Awaited::Directory));
        };
        if let Some(Phase::Renewal) = self.task.as_ref().map(|task| &task.phase) {
            return match (
                &directory.renewal,
                self.set().and_then(|set| set.certificate.as_ref()),
            ) {
                (Some(url), Some(id)) => {
                    let mut request = bare(Method::Get, url);
                    request.path = format!("{}/{id}", url.path().trim_end_matches('/')).into();
                    Ok((request, Awaited::Phase))
                }
                _ => Err(String::new()),
            };
        }
        // RFC 8555 7.2 has GET beside HEAD.
        let Some(nonce) = self.nonce.take() else {
            return Ok((bare(Method::Get, &directory.nonce), Awaited::Nonce));
        };
        let key = self.account_key.as_ref().ok_or("there is no account key")?;
        let (url, payload, awaited) = match &self.state.account {
            None => (
                directory.account.clone(),
                self.account(key, directory)?,
                Awaited::Account,
            ),
            Some(_) => {
                let (url, payload) = self.of_phase(keys)?;
                (url, payload, Awaited::Phase)
            }
        };
        let by = match &self.state.account {
            Some(account) => By::Account(account),
            None => By::Key,
        };
        let mut request = bare(Method::Post, &url);
        request.body = key
            .sign((by, &nonce, url.as_str()), &payload, keys)
            .ok_or("the key of the account cannot sign")?;
        if let Some(Phase::Finalize(_)) = self.task.as_ref().map(|task| &task.phase)
            && awaited == Awaited::Phase
        {
            self.note_issued(now);
        }
        Ok((request, awaited))
    }

    /// Counts a certificate that will be issued.
    fn note_issued(&mut self, now: u64) {
        if let Some(set) = self.set_mut()
            && set.issued.last() != Some(&now)
        {
            set.issued.push(now);
            let surplus = set
                .issued
                .len()
                .saturating_sub(ISSUED_MAX.saturating_mul(2));
            set.issued.drain(..surplus);
        }
    }

    /// Returns the payload of a new account (RFC 8555 7.3).
    fn account(&self, key: &AccountKey, directory: &super::Directory) -> Result<String, String> {
        let mut payload = String::from(r#"{"termsOfServiceAgreed":true"#);
        if !self.plan.emails.is_empty() {
            payload.push_str(r#","contact":["#);
            for (index, email) in self.plan.emails.iter().enumerate() {
                if index > 0 {
                    payload.push(',');
                }
                text::push(&mut payload, &format!("mailto:{email}"));
            }
            payload.push(']');
        }
        match &self.plan.eab {
            Some(eab) => {
                payload.push_str(r#","externalAccountBinding":"#);
                payload.push_str(&key.binding(eab, directory.account.as_str()));
            }
            None if directory.wants_binding => {
                return Err("the authority wants the key of an account there: get one from it, and set acme.eab".to_owned());
            }
            None => {}
        }
        payload.push('}');
        Ok(payload)
    }

    /// Returns URL and payload of the phase.
    fn of_phase(&self, keys: &mut dyn Keys) -> Result<(Url, String), String> {
        let gone = || "the order is not open any more".to_owned();
        let (task, directory) = self
            .task
            .as_ref()
            .zip(self.directory.as_ref())
            .ok_or_else(gone)?;
        let empty = String::new();
        Ok(match &task.phase {
            Phase::NewOrder => (directory.order.clone(), self.order(directory)),
            Phase::Authorization => {
                let url = task.authorizations.get(task.index);
                (url.cloned().ok_or_else(gone)?, empty)
            }
            Phase::Respond(url) => (url.clone(), "{}".to_owned()),
            Phase::Finalize(url) => {
                let request = super::super::encode::request(&task.wanted.names, &task.key, keys);
                let request = request.ok_or("the key of the order cannot be used")?;
                let request = crate::policy::auth::base64::encode_url(&request);
                (url.clone(), format!(r#"{{"csr":"{request}"}}"#))
            }
            Phase::Certificate(url) => (url.clone(), empty),
            _ => {
                let order = self.set().and_then(|set| set.order.as_ref());
                let url = order.and_then(|order| order.url.as_deref());
                (url.and_then(Url::parse).ok_or_else(gone)?, empty)
            }
        })
    }

    /// Returns the payload of a new order (RFC 8555 7.4, RFC 9773 5).
    fn order(&self, directory: &super::Directory) -> String {
        let mut payload = String::from(r#"{"identifiers":["#);
        let names = self.task.iter().flat_map(|task| &task.wanted.names);
        for (index, name) in names.enumerate() {
            if index > 0 {
                payload.push(',');
            }
            payload.push_str(&format!(
                r#"{{"type":"{}","value":"{name}"}}"#,
                name.type_word()
            ));
        }
        payload.push(']');
        if let Some(profile) = &self.plan.profile {
            payload.push_str(r#","profile":"#);
            text::push(&mut payload, profile);
        }
        let replaced = self.set().and_then(|set| set.certificate.as_deref());
        if let (Some(id), Some(_)) = (replaced, &directory.renewal) {
            payload.push_str(r#","replaces":"#);
            text::push(&mut payload, id);
        }
        payload.push('}');
        payload
    }
}
