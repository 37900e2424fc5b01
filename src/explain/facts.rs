//! Facts about a request, found by the engine's own rules.

use super::credentials::{self, Seen};
use super::engine::{Credential, Run};
use super::limits;
use super::request::Arrival;
use crate::config::Config;
use crate::http::error::RequestError;
use crate::http::field::Name;
use crate::http::framing::RequestBody;
use crate::policy::admission::{self, Admission, Counted, Decision};
use crate::policy::auth::credentials::{Authorization, authorization};
use crate::policy::conditions::{self, Answer};
use crate::policy::forward::Peer;
use crate::policy::request::Request;
use crate::policy::rewrite::Rewrite;
use crate::proxy::Proxy;
use crate::proxy::command::ListenerKind;
use crate::proxy::inspect::{Judged, judge};
use crate::proxy::settings::Settings;
use crate::time::UnixTime;

/// Facts about the request, found by the engine's own rules.
pub(super) struct Facts {
    pub(super) client: Peer,
    /// Decision of the checks before authentication, or the rule that the head breaks.
    pub(super) judged: Result<Admission, Option<RequestError>>,
    pub(super) method: Vec<u8>,
    pub(super) host: Option<Vec<u8>>,
    pub(super) path: Vec<u8>,
    pub(super) query: Vec<u8>,
    pub(super) body: RequestBody,
    pub(super) fields: usize,
    /// Value of `Origin`; empty without one.
    pub(super) origin: Vec<u8>,
    pub(super) has_forwarded: bool,
    pub(super) has_via: bool,
    pub(super) is_preflight: bool,
    /// True if the routes table was asked, and has an answer that is not about safety.
    pub(super) is_routed: bool,
    /// Services with a condition that does not hold, by their numbers, and what is said about it.
    pub(super) unmet: Vec<(usize, String)>,
    /// Texts of the rate limits.
    pub(super) limits: Vec<String>,
    pub(super) seen: Vec<Seen>,
    pub(super) credential: Credential,
}

impl Facts {
    /// Returns the decision before authentication, if the head has one.
    pub(super) fn decision(&self) -> Option<Decision> {
        Some(self.judged.as_ref().ok()?.decision)
    }

    /// Returns the number of the service that has the route.
    pub(super) fn service(&self) -> Option<usize> {
        match self.decision()? {
            Decision::Forward(route) => Some(route.service),
            Decision::Answer(admission::Answer::MethodNotAllowed { service, .. }) => Some(service),
            Decision::Answer(
                admission::Answer::Refuse(_, service) | admission::Answer::Options(service),
            ) => service,
            Decision::Answer(admission::Answer::Redirect) => None,
        }
    }
}

/// Has the engine's rules judge the request.
pub(super) fn facts(config: &Config, proxy: &Proxy, arrival: &Arrival, wall: UnixTime) -> Facts {
    let settings = &config.settings;
    let redirects = arrival.kind == ListenerKind::Redirect;
    let from = (arrival.peer, redirects, Some(arrival.address.as_str()));
    let judged = judge(proxy, &arrival.bytes, from, |judged| {
        facts_of(&judged, settings, wall)
    });
    judged.unwrap_or_else(|error| Facts {
        client: arrival.peer,
        judged: Err(error),
        method: Vec::new(),
        host: None,
        path: Vec::new(),
        query: Vec::new(),
        body: RequestBody::Empty,
        fields: 0,
        origin: Vec::new(),
        has_forwarded: false,
        has_via: false,
        is_preflight: false,
        is_routed: false,
        unmet: Vec::new(),
        limits: Vec::new(),
        seen: Vec::new(),
        credential: Credential::default(),
    })
}

fn facts_of(judged: &Judged<'_, '_>, settings: &Settings, wall: UnixTime) -> Facts {
    let request: &Request<'_> = judged.request;
    let fields = &request.head.fields;
    let token = match authorization(fields) {
        Ok(Authorization::Bearer(token)) => token.to_vec(),
        _ => Vec::new(),
    };
    let mut facts = Facts {
        client: judged.client,
        judged: Ok(judged.admission),
        method: request.head.method.to_vec(),
        host: request.asked_host().map(<[u8]>::to_vec),
        path: request.target.path.to_vec(),
        query: request.target.query.to_vec(),
        body: request.body,
        fields: fields.iter().count(),
        origin: fields.first(Name::Origin).unwrap_or_default().to_vec(),
        has_forwarded: fields.has(Name::XForwardedFor),
        has_via: fields.has(Name::Via),
        is_preflight: request.is_preflight(),
        is_routed: judged.admission.counted != Counted::No,
        unmet: unmet(settings, request),
        limits: Vec::new(),
        seen: Vec::new(),
        credential: Credential {
            token,
            scopes: Vec::new(),
        },
    };
    let service = facts.service().and_then(|at| settings.services.get(at));
    let service = service.map(|service| &**service);
    facts.limits = limits::limits(settings, service, facts.client, request);
    if let (Some(service), Decision::Forward(_), false) =
        (service, judged.admission.decision, facts.is_preflight)
    {
        facts.seen = credentials::seen(service, settings, request, wall);
        facts.credential.scopes.clone_from(&service.auth.scopes);
    }
    facts
}

/// Returns what is said about the conditions of services that do not hold.
fn unmet(settings: &Settings, request: &Request<'_>) -> Vec<(usize, String)> {
    let services = settings.services.iter().enumerate();
    let texts = services.filter_map(|(at, service)| {
        let (condition, answer) = conditions::unmet(&service.conditions, &request.evidence())?;
        let text = condition.text();
        let text = match answer {
            Answer::Unclear => {
                format!("wants {text}, and the request has several values or spellings of it")
            }
            Answer::Fails | Answer::Holds => {
                format!("wants {text}, which the request does not have")
            }
        };
        Some((at, text))
    });
    texts.collect()
}

/// Returns the URL that the request gets at its target.
pub(super) fn url(config: &Config, facts: &Facts, run: &Run) -> Option<String> {
    let settings = &config.settings;
    let Decision::Forward(route) = facts.decision()? else {
        return None;
    };
    let service = settings.services.get(route.service)?;
    let destination = service.destinations.get(run.destination?)?;
    let rewrite = Rewrite::new(&destination.path, service.strip_prefix);
    let [start, rest] = rewrite.parts(&facts.path, route.taken);
    let target = settings.targets.get(destination.target)?;
    let path = [start, rest, &facts.query].concat();
    Some(format!("{}{}", target.origin(), path.escape_ascii()))
}
