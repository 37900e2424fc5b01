//! Routing tables of the settings.

use super::settings::Settings;
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
        let services = self.services.iter();
        let known = Index::new(
            services
                .clone()
                .map(|service| service.auth.admits())
                .collect(),
        );
        let rules = services.map(|service| Rule {
            route: &service.route,
            hosts: &service.hosts,
            methods: &service.methods,
            conditions: &service.conditions,
            guard: match known.place(&service.auth.admits()) {
                Some(place) if !service.auth.providers.is_empty() => {
                    OPEN.saturating_add(1).saturating_add(place as GuardId)
                }
                _ => OPEN,
            },
            keeps_slashes: service.keeps_encoded_slashes,
        });
        rules.collect()
    }
}
