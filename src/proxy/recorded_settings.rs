//! Settings that a record has: those that its request was judged by, without what is secret.

use std::sync::Arc;

use super::rules::{Rules, ServiceRules};
use super::settings::{
    AccessLogFormat, Destination, PeerSet, Service, ServiceAuth, ServiceRateLimit, Settings,
};
use crate::limits::RECORD_SERVICES;
use crate::policy::of_service::HeaderPolicies;
use crate::upstream::rules::Role;

/// Role of a destination of which nothing is known.
const PLAIN: Role = Role {
    weight: 1,
    backup: false,
    max_in_flight: u32::MAX,
};

/// Returns the settings of a service, or of the first ones without a route, without what is secret and what the replay does not need.
pub(super) fn settings_of(rules: &Rules, service: Option<&ServiceRules>) -> Settings {
    let mut settings = Settings {
        services: Vec::new(),
        targets: Vec::new(),
        auth: Vec::new(),
        rate_limit: Vec::new(),
        auth_failures: None,
        cors: None,
        security_headers: None,
        edits: None,
        trusted_proxies: PeerSet::default(),
        allow: PeerSet::default(),
        deny: PeerSet::default(),
        access_log: AccessLogFormat::Json,
        request_id: None,
        ..rules.settings.clone()
    };
    let all = match service {
        Some(_) => &[][..],
        // The routes decide which paths are safe.
        None => &rules.services,
    };
    for rules in service.into_iter().chain(all.iter().map(|rules| &**rules)) {
        let known = settings.services.iter();
        let is_known = known
            .clone()
            .any(|known| known.route == rules.service.route);
        if !is_known && known.len() < RECORD_SERVICES {
            add_service(&mut settings, rules);
        }
    }
    settings
}

/// Adds a service that takes all hosts and methods, and every client.
fn add_service(settings: &mut Settings, rules: &ServiceRules) {
    let mut service = Service::clone(&rules.service);
    service.hosts = Vec::new();
    service.methods = Vec::new();
    service.conditions = Vec::new();
    service.health_check = None;
    service.passive_health = None;
    service.edits = None;
    service.auth = ServiceAuth::default();
    service.headers = HeaderPolicies::default();
    service.rate_limit = ServiceRateLimit::Off;
    let known = core::mem::take(&mut service.destinations);
    for (place, rules) in rules.destinations.iter().enumerate() {
        let known = known.get(place);
        service.destinations.push(Destination {
            target: settings.targets.len(),
            path: known.map_or_else(String::new, |to| to.path.clone()),
            role: known.map_or(PLAIN, |to| to.role),
        });
        settings.targets.push((*rules.target).clone());
    }
    settings.services.push(Arc::new(service));
}
