//! Decisions about logged requests, made by the code that decides about real ones.

use std::sync::Arc;

use std::rc::Rc;

use super::logged::Logged;
use crate::config::Config;
use crate::config::shown::service::{destinations, fixed, providers};
use crate::http::error::{RequestError, RequestFault};
use crate::policy::addresses::AddressRules;
use crate::policy::admission::{self, AdmissionRules, Answer, Decision, Refusal};
use crate::policy::cors::Cors;
use crate::policy::entrance::Routes;
use crate::policy::forward::{Peer, PeerSet};
use crate::policy::reply::Reply;
use crate::policy::request::Request;
use crate::policy::rewrite::Rewrite;
use crate::policy::router::Router;
use crate::proxy::command::ListenerKind;
use crate::proxy::settings::{FixedReply, Gates, Service, Settings};

/// Configuration that judges requests.
pub(super) struct Judge<'a> {
    settings: &'a Settings,
    /// Tables of the listeners.
    routes: Routes,
    /// Table for requests whose listener is not known: all services.
    all: Router,
    cors: Option<Rc<Cors>>,
    /// CORS policies of the services; `None` if all have that of the top level.
    service_cors: Option<Vec<Option<Rc<Cors>>>>,
    addresses: AddressRules,
    gates: Option<Box<Gates>>,
    /// Rules for a client that is not known.
    no_rules: AddressRules,
    /// Address of each listener, and what is spoken there.
    listeners: Vec<(String, ListenerKind)>,
    services: Vec<Judged<'a>>,
}

/// A service.
struct Judged<'a> {
    route: &'a str,
    /// Scheme, authority and rewrite of each destination, and whether it is a backup.
    destinations: Vec<(String, Rewrite, bool)>,
    /// Reply in place of destinations.
    reply: Option<&'a FixedReply>,
    /// Host field that the upstream gets, where it is not that of the target.
    preserves_host: bool,
    /// Credentials that are required.
    auth: String,
    text: String,
}

/// Route, credentials and Host of a request that is forwarded, and the reply in place of targets.
type Forwarded<'a> = (&'a str, &'a str, bool, Option<&'a FixedReply>);

/// Decision about a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Verdict {
    /// The service with this index gets the request.
    Forward {
        /// Index of the service.
        service: usize,
        /// True if credentials are required.
        guarded: bool,
    },
    /// The gateway answers an OPTIONS request.
    Answer,
    /// The client is redirected to https at this port.
    Redirect(Option<u16>),
    /// The connection is closed before its TLS handshake: the client is denied.
    Closed,
    /// The request is refused with this status and reason.
    Refuse(u16, &'static str),
}

/// Verdict about a request, and where the request goes.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// URL of each destination, backups last; empty if the request is not forwarded.
    pub(super) urls: Vec<(bool, Vec<u8>)>,
}

impl Verdict {
    /// Creates the verdict about a request that breaks a rule.
    fn malformed(error: RequestError) -> Verdict {
        Verdict::Refuse(error.status(), error.as_str())
    }
}

impl Judgement {
    /// Creates the judgement of a request that is not forwarded.
    const fn without_url(verdict: Verdict) -> Judgement {
        Judgement {
            verdict,
            urls: Vec::new(),
        }
    }
}

impl<'a> Judge<'a> {
    /// Compiles a configuration.
    pub(super) fn new(config: &'a Config) -> Judge<'a> {
        let settings = &config.settings;
        let none = PeerSet::default();
        let cors = settings
            .cors
            .as_ref()
            .map(|policy| Rc::new(Cors::new(policy)));
        Judge {
            settings,
            routes: settings.routes(),
            all: settings.router(),
            service_cors: service_cors(settings, cors.as_ref()),
            cors,
            addresses: AddressRules::new(&settings.allow, &settings.deny),
            gates: settings.gates(),
            no_rules: AddressRules::new(&none, &none),
            listeners: config
                .listeners
                .iter()
                .map(|listen| (listen.address.to_string(), listen.kind.spoken()))
                .collect(),
            services: judged(settings),
        }
    }

    /// Decides about a request of the log. `request`: what its head says, see [`head`].
    pub(super) fn judge(
        &self,
        logged: &Logged,
        request: &Result<Request<'_>, RequestError>,
    ) -> Judgement {
        let malformed = |error| Judgement::without_url(Verdict::malformed(error));
        let (own, kind) = self.spoken(logged);
        if let Some(verdict) = self.unread(logged, own, kind) {
            return Judgement::without_url(verdict);
        }
        let too_long = logged.line.len() > self.settings.limits.request_line_bytes;
        let request = match request {
            Ok(_) if too_long => return malformed(RequestError::TargetTooLong),
            Ok(request) => request,
            Err(error) => return malformed(*error),
        };
        let rules = AdmissionRules {
            addresses: match logged.client {
                Some(_) => &self.addresses,
                None => &self.no_rules,
            },
            cors: self.cors.as_deref(),
            service_cors: self.service_cors.as_deref(),
            routes: match &logged.listener {
                Some(address) => self.routes.of(|| core::str::from_utf8(address).ok()),
                None => &self.all,
            },
            body_bytes: self.settings.limits.body_bytes,
            gates: self.gates.as_deref(),
        };
        let client = logged.client.unwrap_or(Peer::Unix);
        let redirects = kind == Some(ListenerKind::Redirect);
        let verdict = match admission::decide(&rules, request, client, redirects).decision {
            Decision::Forward(route) => {
                return Judgement {
                    urls: self.urls(route.service, request, route.taken),
                    verdict: Verdict::Forward {
                        service: route.service,
                        guarded: !request.is_preflight(),
                    },
                };
            }
            Decision::Answer(Answer::Options(_)) => Verdict::Answer,
            Decision::Answer(Answer::Redirect) => Verdict::Redirect(self.settings.https_port),
            Decision::Answer(Answer::MethodNotAllowed { .. }) => {
                Verdict::Refuse(Reply::MethodNotAllowed.status(), "method not allowed")
            }
            // The peer may be a trusted proxy that names this client, or the client itself.
            Decision::Answer(Answer::Refuse(Refusal::AddressDenied, None))
                if kind.is_none_or(|kind| kind == ListenerKind::Secure) =>
            {
                let reason = "address denied; no response to the client itself over TLS";
                Verdict::Refuse(Reply::Forbidden.status(), reason)
            }
            Decision::Answer(Answer::Refuse(refusal, _)) => {
                Verdict::Refuse(refusal.reply().status(), reason(refusal))
            }
        };
        Judgement::without_url(verdict)
    }

    /// Returns what becomes of a connection before a request is read. `own`: what is spoken at the
    /// listener of the log.
    fn unread(
        &self,
        logged: &Logged,
        own: Option<ListenerKind>,
        kind: Option<ListenerKind>,
    ) -> Option<Verdict> {
        let is_peer = self.settings.trusted_proxies.is_empty();
        let peer = logged.client.filter(|_| is_peer);
        if kind == Some(ListenerKind::Secure)
            && peer.is_some_and(|peer| !self.addresses.admit(peer))
        {
            return Some(Verdict::Closed);
        }
        let fault = match (own? == ListenerKind::Secure, logged.is_secure?) {
            (true, false) => RequestFault::PlainOnTls,
            (false, true) => RequestFault::TlsOnPlain,
            _ => return None,
        };
        Some(Verdict::malformed(fault.into()))
    }

    /// Returns what is spoken where a request comes in: at the listener that the log names, if the
    /// configuration has it, and as far as the rest of the log says.
    fn spoken(&self, logged: &Logged) -> (Option<ListenerKind>, Option<ListenerKind>) {
        let named = logged.listener.as_deref();
        let mut known = self.listeners.iter();
        let own = known.find(|(address, _)| named == Some(address.as_bytes()));
        let own = own.map(|(_, kind)| *kind);
        let has = |kind| self.listeners.iter().any(|(_, other)| *other == kind);
        let kinds = [
            (ListenerKind::Redirect, logged.was_redirected),
            (ListenerKind::Secure, logged.is_secure == Some(true)),
            (ListenerKind::Plain, logged.is_secure == Some(false)),
        ];
        let mut fitting = kinds.iter().filter(|(kind, fits)| *fits && has(*kind));
        let guessed = fitting.next().map(|(kind, _)| *kind);
        // All listeners speak the same.
        let only = self.listeners.first().map(|(_, kind)| *kind);
        let only = only.filter(|only| self.listeners.iter().all(|(_, kind)| kind == only));
        (own, own.or(only).or(guessed))
    }

    /// Returns the URLs that a request may get at the upstreams.
    fn urls(&self, service: usize, request: &Request<'_>, taken: usize) -> Vec<(bool, Vec<u8>)> {
        let destinations = self
            .services
            .get(service)
            .map(|service| &service.destinations);
        let destinations = destinations.into_iter().flatten();
        let urls = destinations.map(|(origin, rewrite, is_backup)| {
            let [start, rest] = rewrite.parts(request.target.path, taken);
            let parts = [origin.as_bytes(), start, rest, request.target.query];
            (*is_backup, parts.concat())
        });
        let mut urls = urls.collect::<Vec<_>>();
        crate::sort::sort(&mut urls);
        urls
    }

    /// Returns true if both decide the same: the request goes to the same places under the same
    /// route, for the same credentials and with the same Host, or the client gets the same answer.
    pub(super) fn agrees(&self, own: &Judgement, other: &Judge<'_>, others: &Judgement) -> bool {
        match (own.verdict, others.verdict) {
            (Verdict::Forward { .. }, Verdict::Forward { .. }) => {
                let (one, two) = (self.forwarded(own.verdict), other.forwarded(others.verdict));
                own.urls == others.urls && one == two
            }
            (Verdict::Refuse(one, _), Verdict::Refuse(two, _)) => one == two,
            (one, two) => one == two,
        }
    }

    /// Returns route, credentials and Host of a request that is forwarded.
    fn forwarded(&self, verdict: Verdict) -> Option<Forwarded<'_>> {
        let Verdict::Forward { service, guarded } = verdict else {
            return None;
        };
        let service = self.services.get(service)?;
        let auth = if guarded { service.auth.as_str() } else { "" };
        Some((service.route, auth, service.preserves_host, service.reply))
    }

    /// Returns the route of a request; `None` if it is not forwarded.
    pub(super) fn route(&self, verdict: Verdict) -> Option<&'a str> {
        match verdict {
            Verdict::Forward { service, .. } => {
                self.services.get(service).map(|service| service.route)
            }
            _ => None,
        }
    }

    /// Returns a verdict for the operator.
    pub(super) fn describe(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Forward { service, guarded } => match self.services.get(service) {
                Some(service) if guarded => format!("{}{}", service.text, service.auth),
                Some(service) => service.text.clone(),
                None => String::new(),
            },
            Verdict::Answer => "answered by the gateway".to_owned(),
            Verdict::Redirect(port) => {
                let port = port.unwrap_or(443);
                format!("308 to https, port {port}")
            }
            Verdict::Closed => "no response (address denied, closed before TLS)".to_owned(),
            Verdict::Refuse(status, reason) => format!("{status} ({reason})"),
        }
    }
}

/// Returns the CORS policies of the services; `None` if all have that of the top level, `top`.
fn service_cors(settings: &Settings, top: Option<&Rc<Cors>>) -> Option<Vec<Option<Rc<Cors>>>> {
    let services = settings.services.iter();
    let has_own = services.clone().any(|one| !one.headers.cors.is_inherited());
    let policy = |service: &Arc<Service>| match service.headers.cors.is_inherited() {
        true => top.cloned(),
        false => {
            let own = service.headers.cors.if_own();
            own.map(|policy| Rc::new(Cors::new(policy)))
        }
    };
    has_own.then(|| services.map(policy).collect())
}

fn judged(settings: &Settings) -> Vec<Judged<'_>> {
    let services = settings.services.iter().map(|service| {
        let targets = service.destinations.iter().filter_map(|destination| {
            let target = settings.targets.get(destination.target)?;
            let rewrite = Rewrite::new(&destination.path, service.strip_prefix);
            Some((target.origin(), rewrite, destination.role.backup))
        });
        let names = providers(service, settings).map(String::as_str);
        let names = names.collect::<Vec<_>>();
        let auth = match (names.as_slice(), service.auth.scopes.as_slice()) {
            ([], _) => String::new(),
            (names, []) => format!(" (auth {})", names.join(" or ")),
            (names, scopes) => {
                format!(
                    " (auth {}, scopes {})",
                    names.join(" or "),
                    scopes.join(" ")
                )
            }
        };
        let certificate = match service.needs_certificate() {
            true => " (client certificate)",
            false => "",
        };
        let host = if service.preserve_host {
            " (Host preserved)"
        } else {
            ""
        };
        let reply = service.reply.as_deref();
        let to = reply.map_or_else(|| destinations(service, settings), fixed);
        Judged {
            route: &service.route,
            destinations: targets.collect(),
            reply,
            preserves_host: service.preserve_host,
            text: format!("{} -> {to}{host}", service.route),
            auth: auth + certificate,
        }
    });
    services.collect()
}

const fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::AddressDenied => "address denied",
        Refusal::MaxForwards => "Max-Forwards",
        Refusal::UnsafePath(_) => "unsafe path",
        Refusal::NoRoute => "no route",
        Refusal::Maintenance(_) => "maintenance",
        Refusal::BodyTooLong => "body too long",
        Refusal::Loop => "loop",
    }
}
