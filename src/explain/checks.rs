//! Policies in the order in which they decide, each with its verdict.

use super::Verdict;
use super::engine::Run;
use super::facts::Facts;
use super::policies;
use super::request::Arrival;
use crate::config::schema::units::show_size;
use crate::config::shown;
use crate::config::shown::listener::listener;
use crate::config::shown::service::exchange_timeouts;
use crate::config::{Config, ListenKind};
use crate::http::error::RequestError;
use crate::policy::admission::{Answer, Decision, Refusal};
use crate::proxy::settings::{OwnMaintenance, Service, Settings};

/// A policy, and what it says.
pub(super) struct Check {
    /// Name of the policy: a key of the file, where it has one.
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    pub(super) text: String,
}

/// Policies, in order.
pub(super) struct Checks {
    pub(super) rows: Vec<Check>,
    /// Places of the targets, the chosen one first.
    pub(super) targets: Vec<(String, String)>,
    /// Names of the policies that the request does not come to.
    pub(super) unreached: Vec<&'static str>,
}

/// Names of the policies that a request may not come to.
const ALL: [&str; 5] = ["allow, deny", "route", "rateLimit", "body", "auth"];

/// Policies in the making.
struct Order<'a> {
    config: &'a Config,
    settings: &'a Settings,
    facts: &'a Facts,
    service: Option<&'a Service>,
    /// Reason of the access log.
    reason: &'a str,
    rows: Vec<Check>,
}

/// Returns the policies with their verdicts.
pub(super) fn checks(
    config: &Config,
    arrival: &Arrival,
    facts: &Facts,
    run: &Run,
    reason: &str,
) -> Checks {
    let settings = &config.settings;
    let service = facts.service().and_then(|at| settings.services.get(at));
    let service = service.map(|service| &**service);
    let mut order = Order {
        config,
        settings,
        facts,
        service,
        reason,
        rows: Vec::new(),
    };
    let decision = order.arrived(arrival, run);
    let is_stopped = decision.is_none_or(|decision| {
        let refusal = match decision {
            Decision::Answer(Answer::Refuse(refusal, _)) => Some(refusal),
            _ => None,
        };
        order.before_route(arrival, decision, refusal)
            || order.routed(decision, refusal)
            || order.behind_route(arrival, run, refusal)
    });
    order.edits(is_stopped);
    order.replaced(is_stopped);
    let rows = order.rows;
    let targets = match (is_stopped, service) {
        (false, Some(service)) => policies::targets(service, settings, run.destination),
        _ => Vec::new(),
    };
    let reached = |name: &str| rows.iter().any(|row| row.name == name);
    let unreached = ALL.into_iter().filter(|name| is_stopped && !reached(name));
    let unreached = unreached.collect();
    Checks {
        rows,
        targets,
        unreached,
    }
}

impl Order<'_> {
    /// Adds a row. Returns true if the request ends there.
    fn put(&mut self, name: &'static str, verdict: Verdict, text: String) -> bool {
        self.rows.push(Check {
            name,
            verdict,
            text,
        });
        verdict == Verdict::Stopped
    }

    fn pass(&mut self, name: &'static str, text: String) {
        self.put(name, Verdict::Passed, text);
    }

    /// Adds listener and head. Returns the decision about the request, if the head is a valid one
    /// and is read at all.
    fn arrived(&mut self, arrival: &Arrival, run: &Run) -> Option<Decision> {
        if let Some(listen) = self.config.listeners.get(arrival.listener) {
            self.pass("listen", listener(listen));
            if !listen.proxied.is_empty() {
                let text = format!(
                    "peers of {} announce their clients, here {}; without that they get no response",
                    shown::service::peers(&listen.proxied),
                    policies::shown(arrival.peer)
                );
                self.pass("proxyProtocol", text);
            }
        }
        if run.is_turned_away {
            let lists = (&self.settings.allow, &self.settings.deny);
            let text = policies::addresses(lists, arrival.peer);
            self.put("allow, deny", Verdict::Stopped, text);
            return None;
        }
        if let Some(listen) = self.config.listeners.get(arrival.listener)
            && let ListenKind::Tls(files) = &listen.kind
            && files.client_ca.is_some()
        {
            let (verdict, text) = match arrival.subject {
                Some(subject) => (
                    Verdict::Open,
                    format!(
                        "a client without a certificate gets no response, its handshake fails; here it has the subject {}",
                        subject.escape_ascii()
                    ),
                ),
                None => (
                    Verdict::Passed,
                    "a client may show a certificate; here it shows none".to_owned(),
                ),
            };
            self.put("clientCa", verdict, text);
        }
        match &self.facts.judged {
            Err(error) => {
                let text = error.map_or("the head has no end", RequestError::as_str);
                self.put("request", Verdict::Stopped, text.to_owned());
                None
            }
            Ok(admission) => {
                let limits = &self.settings.limits;
                let text = format!(
                    "head of {} bytes, fields: {} (limits: {} and {})",
                    arrival.head,
                    self.facts.fields,
                    show_size(limits.head_bytes as u64),
                    limits.fields
                );
                self.pass("request", text);
                Some(admission.decision)
            }
        }
    }

    /// Adds what decides before a route is looked for. Returns true if the request ends there.
    fn before_route(
        &mut self,
        arrival: &Arrival,
        decision: Decision,
        refusal: Option<Refusal>,
    ) -> bool {
        let (settings, facts) = (self.settings, self.facts);
        self.pass("client", policies::client(settings, arrival, facts));
        let is_denied = refusal == Some(Refusal::AddressDenied) && facts.service().is_none();
        let lists = (&settings.allow, &settings.deny);
        let text = policies::addresses(lists, facts.client);
        if self.put("allow, deny", verdict(is_denied), text) {
            return true;
        }
        let (text, is_over) = policies::cors(settings, self.service, facts, decision);
        if self.put("cors", verdict(is_over), text) {
            return true;
        }
        if decision != Decision::Answer(Answer::Redirect) {
            return false;
        }
        let port = settings.https_port.unwrap_or(443);
        let text = format!("this listener sends every request to https, port {port}");
        self.put("redirectToHttps", Verdict::Stopped, text)
    }

    /// Adds route and rate limit. Returns true if the request ends there.
    fn routed(&mut self, decision: Decision, refusal: Option<Refusal>) -> bool {
        let facts = self.facts;
        let is_over = matches!(decision, Decision::Answer(Answer::MethodNotAllowed { .. }))
            || matches!(refusal, Some(Refusal::NoRoute | Refusal::UnsafePath(_)));
        let route = policies::route(facts, decision, self.service, self.reason);
        // A request without a route counts before it gets its 404.
        if is_over && facts.is_routed {
            self.pass_limits();
        }
        if self.put("route", verdict(is_over), route) {
            return true;
        }
        self.pass_limits();
        false
    }

    /// Adds header edits. Those of the request only where it goes to a target.
    fn edits(&mut self, is_stopped: bool) {
        let edits = self
            .service
            .map_or(&self.settings.edits, |service| &service.edits);
        let Some(edits) = edits.as_deref() else {
            return;
        };
        if !is_stopped && !edits.request.is_empty() {
            self.pass("requestHeaders", edits.request.shown().to_owned());
        }
        if !edits.response.is_empty() {
            self.pass("responseHeaders", edits.response.shown().to_owned());
        }
    }

    /// Adds what takes the place of parts of a response: pages of errors, and URLs of the target.
    fn replaced(&mut self, is_stopped: bool) {
        let pages = match self.service {
            Some(service) => service.error_pages.as_deref(),
            None => self.settings.error_pages.as_deref(),
        };
        if pages.is_some() {
            let text = shown::service::error_pages(pages);
            let text = format!("{text}; for errors of the gateway, where Accept names text/html");
            self.pass("errorPages", text);
        }
        let Some(service) = self.service.filter(|_| !is_stopped) else {
            return;
        };
        let rewrites = service.headers.rewrites;
        if rewrites.location {
            let text = "the target's own URLs in Location, Content-Location and Refresh become the client's";
            self.pass("rewriteLocation", text.to_owned());
        }
        if rewrites.cookie_path {
            let text = "Path of Set-Cookie under the target's path becomes the route";
            self.pass("rewriteCookiePath", text.to_owned());
        }
    }

    /// Adds what the service says about its clients, where it says something. Returns true if the
    /// request ends there.
    fn gate(&mut self, refusal: Option<Refusal>) -> bool {
        let client = self.facts.client;
        let gate = self.service.and_then(|service| service.gate.as_deref());
        if let Some(gate) = gate.filter(|gate| !(gate.allow.is_empty() && gate.deny.is_empty())) {
            let is_denied = refusal == Some(Refusal::AddressDenied);
            let text = policies::addresses((&gate.allow, &gate.deny), client);
            if self.put("allow, deny of the service", verdict(is_denied), text) {
                return true;
            }
        }
        let is_closed = matches!(refusal, Some(Refusal::Maintenance(_)));
        let own = gate.map_or(&OwnMaintenance::Inherited, |gate| &gate.maintenance);
        let on = match own {
            OwnMaintenance::Inherited => self.settings.maintenance.as_deref(),
            OwnMaintenance::Off => None,
            OwnMaintenance::On(on) => Some(on),
        };
        let Some(on) = on else { return false };
        let text = shown::service::maintenance(on);
        self.put("maintenance", verdict(is_closed), text)
    }

    /// Adds the rate limits.
    fn pass_limits(&mut self) {
        for limit in &self.facts.limits {
            self.pass("rateLimit", limit.clone());
        }
    }

    /// Adds what decides behind the route. Returns true if the request ends there.
    fn behind_route(&mut self, arrival: &Arrival, run: &Run, refusal: Option<Refusal>) -> bool {
        let (settings, facts) = (self.settings, self.facts);
        if self.gate(refusal) {
            return true;
        }
        let most = settings.limits.body_bytes;
        let most = self
            .service
            .map_or(most, |service| service.body_bytes(most));
        let body = policies::body(facts, most);
        if self.put("body", verdict(refusal == Some(Refusal::BodyTooLong)), body) {
            return true;
        }
        if facts.has_via {
            let is_over = refusal == Some(Refusal::Loop);
            let text = if is_over {
                "the request passed this gateway too often: a target leads back to it"
            } else {
                "no loop"
            };
            if self.put("Via", verdict(is_over), text.to_owned()) {
                return true;
            }
        }
        let lacks_certificate = arrival.subject.is_none() && !facts.is_preflight;
        if lacks_certificate && self.service.is_some_and(Service::needs_certificate) {
            let text = "the service wants a client certificate, and this request shows none";
            return self.put("clientCertificate", Verdict::Stopped, text.to_owned());
        }
        for (text, verdict) in policies::auth(facts, self.service, run, settings) {
            self.put("auth", verdict, text);
        }
        if let Some(reply) = self.service.and_then(|service| service.reply.as_deref())
            && self.reason.is_empty()
        {
            let text = shown::service::fixed(reply);
            return self.put(reply.key(), Verdict::Stopped, text);
        }
        if !run.reply.is_empty() {
            // A head that outgrows every buffer is the exception behind authentication.
            let is_outgrown = run.reply.starts_with(b"HTTP/1.1 431 ");
            let is_auth = run.destination.is_none() && !facts.seen.is_empty() && !is_outgrown;
            let name = if is_auth { "auth" } else { "exchange" };
            return self.put(name, Verdict::Stopped, self.reason.to_owned());
        }
        if let Some(service) = self.service {
            let timeouts = exchange_timeouts(&service.timeouts).into_iter();
            let timeouts = timeouts.map(|(name, value)| format!("{name} {value}"));
            let timeouts = timeouts.collect::<Vec<_>>().join(", ");
            self.pass("timeouts", timeouts);
        }
        false
    }
}

const fn verdict(is_stopped: bool) -> Verdict {
    match is_stopped {
        true => Verdict::Stopped,
        false => Verdict::Passed,
    }
}
