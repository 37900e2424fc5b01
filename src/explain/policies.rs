//! Text of each policy about a request.

use super::Verdict;
use super::engine::Run;
use super::facts::Facts;
use super::request::Arrival;
use crate::config::schema::units::show_size;
use crate::config::shown::service::list;
use crate::config::shown::service::strategy;
use crate::http::framing::RequestBody;
use crate::policy::admission::{Answer, Decision, Refusal};
use crate::policy::cors::{Cors, CorsPolicy};
use crate::policy::forward::{Peer, PeerSet};
use crate::policy::path::PathFault;
use crate::proxy::settings::{Service, Settings, TargetHost};

/// Returns the text of an address.
pub(super) fn shown(peer: Peer) -> String {
    peer.ip()
        .map_or("unix".to_owned(), |address| address.to_string())
}

pub(super) fn client(settings: &Settings, arrival: &Arrival, facts: &Facts) -> String {
    let (peer, client) = (shown(arrival.peer), shown(facts.client));
    match (
        settings.trusted_proxies.contains(arrival.peer),
        facts.has_forwarded,
    ) {
        (true, true) if peer != client => {
            format!("{client}, by X-Forwarded-For of {peer}, which \"trustedProxies\" names")
        }
        (true, _) => {
            format!("{client}, which \"trustedProxies\" names: its X-Forwarded fields stay")
        }
        (false, true) => format!(
            "{client}; its X-Forwarded fields are replaced, because \"trustedProxies\" does not name it"
        ),
        (false, false) => client,
    }
}

pub(super) fn addresses((allow, deny): (&PeerSet, &PeerSet), client: Peer) -> String {
    let hit = |set: &PeerSet, key: &str| {
        let network = client.ip().and_then(|address| {
            let mut networks = set.networks.iter();
            networks.find(|network| network.contains(address))
        });
        let hit = network.map(|network| format!("{}/{}", network.address, network.prefix));
        let hit = hit.or((set.contains(client)).then(|| "unix".to_owned()));
        hit.map(|hit| format!("\"{key}\" has {hit}"))
    };
    let who = shown(client);
    if let Some(denied) = hit(deny, "deny") {
        return format!("{denied}, which is {who}");
    }
    match (allow.is_empty(), hit(allow, "allow")) {
        (true, _) if deny.is_empty() => "neither is set".to_owned(),
        (true, _) => format!("\"deny\" does not have {who}"),
        (false, Some(allowed)) => format!("{allowed}, which is {who}"),
        (false, None) => {
            let networks = allow.networks.len();
            format!("none of the {networks} networks of \"allow\" has {who}")
        }
    }
}

/// Returns what CORS does, and whether an OPTIONS request ends here.
pub(super) fn cors(
    settings: &Settings,
    service: Option<&Service>,
    facts: &Facts,
    decision: Decision,
) -> (String, bool) {
    if let Decision::Answer(Answer::Refuse(Refusal::MaxForwards, _)) = decision {
        return ("Max-Forwards is no number".to_owned(), true);
    }
    let is_over = matches!(decision, Decision::Answer(Answer::Options(_)));
    let top = settings.cors.as_ref();
    let policy = service.map_or(top, |service| service.headers.cors.or(top));
    let is_options = facts.method == b"OPTIONS";
    let own = service.filter(|service| !service.headers.cors.is_inherited());
    let with_name = |text: String| match own {
        Some(service) => format!(
            "{text} (\"cors\" of {})",
            crate::config::changes::name(service)
        ),
        None => text,
    };
    // A browser asks by a preflight, or with the request itself.
    let asks = match is_options {
        true => is_over && facts.is_preflight,
        false => !is_over,
    };
    let text = match (policy, is_over, facts.is_preflight) {
        (Some(cors), _, _) if asks => return (with_name(origin(cors, facts)), is_over),
        (Some(cors), true, false) if !cors.forward_options => {
            "the gateway answers every OPTIONS; with \"forwardOptions\": true only preflights"
        }
        (None, true, true) => {
            "a preflight for a service without CORS, which no service with CORS gets"
        }
        (_, true, _) => "the last hop of Max-Forwards answers, and the gateway is the one for *",
        (None, false, _) if is_options => "off: OPTIONS goes on like any other method",
        (None, false, _) => "off",
        (Some(_), false, _) => {
            "no preflight, and so forwarded: one has Origin and Access-Control-Request-Method, and no body, Authorization or Cookie"
        }
    };
    (with_name(text.to_owned()), is_over)
}

/// Returns what a browser makes of the response.
fn origin(policy: &CorsPolicy, facts: &Facts) -> String {
    let Some(origins) = &policy.origins else {
        return "any origin may read the response".to_owned();
    };
    let asked = facts.origin.escape_ascii();
    match Cors::new(policy).allows(&facts.origin) {
        true => format!("{asked} may read the response"),
        false if facts.origin.is_empty() => {
            format!("no Origin; {} may read the response", list(origins))
        }
        false => format!(
            "{asked} may not read the response, only {} may",
            list(origins)
        ),
    }
}

pub(super) fn route(
    facts: &Facts,
    decision: Decision,
    service: Option<&Service>,
    reason: &str,
) -> String {
    let name = service
        .map(crate::config::changes::name)
        .unwrap_or_default();
    match decision {
        Decision::Answer(Answer::MethodNotAllowed { .. }) => {
            format!("{name}: {reason} {}", facts.method.escape_ascii())
        }
        Decision::Answer(Answer::Refuse(Refusal::UnsafePath(fault @ PathFault::OtherMatch), _)) => {
            format!(
                "{}: the target could read another value, which leads to a service that lets in other clients",
                fault.as_str()
            )
        }
        Decision::Answer(Answer::Refuse(Refusal::UnsafePath(fault), _)) => {
            format!(
                "{}: the target could read the path as another one",
                fault.as_str()
            )
        }
        Decision::Answer(Answer::Refuse(Refusal::NoRoute, _)) => reason.to_owned(),
        _ if service.is_none() => "none".to_owned(),
        _ => name,
    }
}

/// Returns a line for each provider of the service.
pub(super) fn auth(
    facts: &Facts,
    service: Option<&Service>,
    run: &Run,
    settings: &Settings,
) -> Vec<(String, Verdict)> {
    let is_guarded = service.is_some_and(|service| !service.auth.providers.is_empty());
    if !is_guarded {
        return vec![("none: everybody is let in".to_owned(), Verdict::Passed)];
    }
    if facts.is_preflight {
        return vec![(
            "a preflight needs no credentials".to_owned(),
            Verdict::Passed,
        )];
    }
    let lines = facts.seen.iter().map(|seen| {
        let provider = settings.auth.get(seen.provider);
        let name = provider.map_or("", |provider| provider.name.as_str());
        let is_asked = run.asked.iter().any(|asked| asked.name == name);
        let is_basic = provider.is_some_and(|provider| provider.kind.name() == "basic");
        let text = match run.password {
            Some(true) if is_basic => format!("{}; the password is right", seen.text),
            Some(false) if is_basic => format!("{}; user or password is wrong", seen.text),
            _ => seen.text.clone(),
        };
        let verdict = match is_asked {
            true => Verdict::Open,
            false => Verdict::Passed,
        };
        (text, verdict)
    });
    lines.collect()
}

/// Returns the targets of a service, and how one of them is chosen.
pub(super) fn targets(
    service: &Service,
    settings: &Settings,
    chosen: Option<usize>,
) -> Vec<(String, String)> {
    let count = service.destinations.len();
    let lines = service.destinations.iter().enumerate();
    let lines = lines.filter_map(|(at, destination)| {
        let target = settings.targets.get(destination.target)?;
        let mut notes = Vec::new();
        let is_chosen = chosen == Some(at);
        if count == 1 {
            notes.push("the only one".to_owned());
        } else {
            notes.push(format!("weight {}", destination.role.weight));
            if destination.role.backup {
                notes.push("a backup, for when all others are down or full".to_owned());
            }
            if is_chosen {
                let strategy = strategy(service.balance);
                notes.push(format!("chosen here by {strategy}, with nothing in flight"));
                notes.push(format!("retries {}", service.retries));
            }
        }
        if destination.role.max_in_flight < u32::MAX {
            let most = destination.role.max_in_flight;
            notes.push(format!("at most {most} in flight at each address"));
        }
        if is_chosen && let Some(sticky) = service.sticky.as_deref() {
            let cookie = sticky.cookie.shown();
            notes.push(format!("sticky, by the cookie {cookie}"));
        }
        if is_chosen && let Some(most) = service.in_flight {
            notes.push(format!("at most {most} of the service in flight"));
        }
        if is_chosen && let TargetHost::Name(name) = &target.host {
            notes.push(format!("would ask the DNS for {name} first"));
        }
        if is_chosen && let Some(check) = &service.health_check {
            notes.push(format!(
                "its health check of {} is taken as good",
                check.path
            ));
        }
        Some((is_chosen, target.url(), notes.join("; ")))
    });
    let (first, rest): (Vec<_>, Vec<_>) = lines.partition(|(is_chosen, ..)| *is_chosen);
    let all = first.into_iter().chain(rest);
    all.map(|(_, name, note)| (name, note)).collect()
}

pub(super) fn body(facts: &Facts, most: Option<u64>) -> String {
    let most = most.map_or("any size".to_owned(), show_size);
    match facts.body {
        RequestBody::Empty => "none".to_owned(),
        RequestBody::Sized(bytes) => format!("{bytes} bytes (limits.bodyBytes: {most})"),
        RequestBody::Chunked => format!("chunked (limits.bodyBytes: {most})"),
    }
}
