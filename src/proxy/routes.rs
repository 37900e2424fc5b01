//! Routing tables of the settings.

use super::settings::{FixedReply, PeerSet, Service, Settings};
use crate::policy::entrance::Routes;
use crate::policy::guard::{GuardId, OPEN};
use crate::policy::router::{Router, Rule};
use crate::sort::Index;

impl Settings {
    /// Builds the routing tables of the listeners.
    pub fn routes(&self) -> Routes {
        let entrance = |at: usize| {
            let service = self.services.get(at)?;
            service.entrance.as_deref()
        };
        Routes::new(&self.rules(), &entrance, &self.listener_names)
    }

    /// Builds the routing table of all services, on whatever listeners they answer.
    pub fn router(&self) -> Router {
        Router::new(self.rules())
    }

    fn rules(&self) -> Vec<Rule<'_>> {
        let guards = self.services.iter().map(|service| guard(service));
        let guards = guards.collect::<Vec<_>>();
        let known = Index::new(guards.iter().flatten().collect());
        let services = self.services.iter().zip(&guards);
        let rules = services.map(|(service, guard)| Rule {
            route: &service.route,
            hosts: &service.hosts,
            methods: &service.methods,
            conditions: &service.conditions,
            guard: match guard.as_ref().and_then(|guard| known.place(&guard)) {
                Some(place) => OPEN.saturating_add(1).saturating_add(place as GuardId),
                None => OPEN,
            },
            keeps_slashes: service.keeps_encoded_slashes,
        });
        rules.collect()
    }
}

/// Rules that decide which clients a service serves.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Admits<'s> {
    providers: &'s [usize],
    scopes: &'s [String],
    /// `allow` and `deny`.
    networks: Option<[&'s PeerSet; 2]>,
    needs_certificate: bool,
    /// `respond` with 401, 403 or 404: the service is there to serve nobody.
    refuses: bool,
}

/// Returns what decides which clients a service serves; `None`: it serves all that the top level
/// lets in.
fn guard(service: &Service) -> Option<Admits<'_>> {
    let gate = service.gate.as_deref();
    let networks = gate.map(|gate| [&gate.allow, &gate.deny]);
    let reply = service.reply.as_deref();
    let (providers, scopes) = service.auth.admits();
    let admits = Admits {
        providers,
        scopes,
        networks: networks.filter(|both| both.iter().any(|peers| !peers.is_empty())),
        needs_certificate: service.needs_certificate(),
        refuses: matches!(
            reply,
            Some(FixedReply::Respond(respond)) if matches!(respond.status, 401 | 403 | 404)
        ),
    };
    let is_open = admits.providers.is_empty()
        && admits.networks.is_none()
        && !admits.needs_certificate
        && !admits.refuses;
    (!is_open).then_some(admits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::load;
    use crate::policy::entrance::ServiceEntrance;

    #[test]
    fn what_decides_who_is_let_in_is_a_guard() {
        let guards = |keys: &[&str]| {
            let services = keys.iter().enumerate().map(|(n, keys)| {
                format!(r#"{{ "route": "/{n}", "target": "http://a", {keys} "retries": 1 }}"#)
            });
            let text = format!(
                r#"{{ "auth": {{ "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{ "a": "sha256:{0}" }} }} }}, "services": [{1}] }}"#,
                "0".repeat(64),
                services.collect::<Vec<_>>().join(",")
            );
            let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
            let config = load(text.as_bytes(), "f", &|_| None, &read).expect("valid");
            let mut settings = config.settings;
            if let Some(last) = settings.services.last_mut() {
                // No listener of the file has TLS.
                Arc::make_mut(last).entrance = Some(Box::new(ServiceEntrance {
                    listeners: Vec::new(),
                    needs_certificate: true,
                }));
            }
            let rules = settings.rules();
            rules.iter().map(|rule| rule.guard).collect::<Vec<_>>()
        };
        let allow = r#""allow": ["10.0.0.0/8"],"#;
        let found = guards(&[
            "",
            r#""rateLimit": { "requests": 1 }, "maintenance": true,"#,
            allow,
            r#""deny": ["10.0.0.0/8"],"#,
            r#""auth": "keys","#,
            r#""auth": "keys", "allow": ["10.0.0.0/8"],"#,
            allow,
            "",
        ]);
        assert_eq!(found[..2], [OPEN, OPEN]);
        assert_eq!(found[2], found[6]);
        let mut others = found[2..].to_vec();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), 5, "{found:?}");
        assert!(!others.contains(&OPEN), "{found:?}");
    }
}
