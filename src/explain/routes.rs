//! Services that have a part in the choice of the route, and why each other one was not chosen.

use super::facts::Facts;
use crate::config::changes::name;
use crate::config::shown::service::list;
use crate::policy::admission::{Answer, Decision};
use crate::policy::route::RoutePath;
use crate::policy::tables::{Covers, covers};
use crate::proxy::settings::{Service, Settings};

/// Services that are told; the rest is counted.
const SHOWN_MAX: usize = 8;

/// Services beside the chosen one.
#[derive(Default)]
pub(super) struct Candidates {
    /// Name of a service, and why it was not chosen.
    pub(super) lost: Vec<(String, String)>,
    /// Further services.
    pub(super) others: usize,
}

/// Returns why each service that was not chosen was not: those that the path leads to first.
pub(super) fn candidates(settings: &Settings, facts: &Facts) -> Candidates {
    let mut found = Candidates::default();
    if !facts.is_routed {
        return found;
    }
    let chosen = facts.service();
    let winner = chosen.and_then(|at| settings.services.get(at));
    let winner = winner.map(|service| &**service);
    let of = |service: &Service| {
        let own = (service.route.as_str(), service.hosts.as_slice());
        covers(own, facts.host.as_deref(), &facts.path)
    };
    let best = winner.map(|service| (service, of(service)));
    let is_method = matches!(
        facts.decision(),
        Some(Decision::Answer(Answer::MethodNotAllowed { .. }))
    );
    for wants_path in [true, false] {
        for (at, service) in settings.services.iter().enumerate() {
            let covered = of(service);
            if (Some(at) == chosen && !is_method) || covered.path != wants_path {
                continue;
            }
            // Of a request that has a route, services elsewhere say nothing.
            let is_elsewhere = !covered.path && winner.is_some();
            if is_elsewhere || found.lost.len() >= SHOWN_MAX {
                found.others = found.others.saturating_add(1);
                continue;
            }
            let why = why((at, service), covered, best, facts);
            found.lost.push((name(service), why));
        }
    }
    found
}

fn why(
    (at, service): (usize, &Service),
    covered: Covers,
    best: Option<(&Service, Covers)>,
    facts: &Facts,
) -> String {
    let route = RoutePath::of(&service.route);
    if !covered.path {
        return match route.is_exact {
            true => "for that path alone",
            false => "the path does not begin with it",
        }
        .to_owned();
    }
    let Some(rank) = covered.host else {
        let host = facts.host.as_deref().unwrap_or_default();
        let host = String::from_utf8_lossy(host);
        return format!(
            "for {}, and the request is for {host:?}",
            list(&service.hosts)
        );
    };
    let mut unmet = facts.unmet.iter();
    let unmet = unmet
        .find(|(of, _)| *of == at)
        .map(|(_, text)| text.clone());
    let Some((winner, won)) = best else {
        if let Some(unmet) = unmet {
            return unmet;
        }
        return "the path is another one after decoding".to_owned();
    };
    let method = String::from_utf8_lossy(&facts.method);
    let first = RoutePath::of(&winner.route);
    let is_longer = first.matched().len() > route.matched().len();
    match won.host {
        Some(first) if first > rank => {
            format!(
                "{} names the host more closely, and comes first",
                name(winner)
            )
        }
        _ if first.is_exact && !route.is_exact => {
            format!("{} is for this path alone, and comes first", winner.route)
        }
        _ if is_longer => format!("{} is longer", winner.route),
        _ if !takes(service, &method) => {
            format!("takes {}, and not {method}", list(&service.methods))
        }
        _ => match unmet {
            Some(unmet) => unmet,
            None if names(winner, &method) && !names(service, &method) => {
                format!("{} names {method}", name(winner))
            }
            None if winner.conditions.len() > service.conditions.len() => {
                format!("{} has more conditions, which all hold", name(winner))
            }
            None => format!("{} stands before it in the file", name(winner)),
        },
    }
}

/// Returns true if a service takes requests with this method.
fn takes(service: &Service, method: &str) -> bool {
    let takes_head = || method == "HEAD" && names(service, "GET");
    service.methods.is_empty() || names(service, method) || takes_head()
}

fn names(service: &Service, method: &str) -> bool {
    service.methods.iter().any(|own| own == method)
}
