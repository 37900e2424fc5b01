//! Numbers of services and targets for a status line.

use core::net::IpAddr;

use super::Proxy;
use super::client::Phase;
use super::command::{ClientId, Refused};
use crate::sort::Index;

/// Numbers of what the configuration names, and of what is usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overview {
    /// Services.
    pub services: usize,
    /// Targets of all services. A target that two services name counts twice, because each of them
    /// has its own checks.
    pub targets: usize,
    /// Targets with an address that is up, and those whose first lookup is still under way.
    pub targets_up: usize,
}

/// Counts services and targets, which takes time in proportion to their number.
pub fn overview(proxy: &Proxy) -> Overview {
    let rules = &proxy.ctx.rules;
    let mut found = Overview {
        services: rules.services.len(),
        targets: 0,
        targets_up: 0,
    };
    for service in &rules.services {
        for destination in &service.destinations {
            found.targets = found.targets.saturating_add(1);
            let is_up = proxy.upstreams.is_usable(service.id, destination);
            found.targets_up = found.targets_up.saturating_add(usize::from(is_up));
        }
    }
    found
}

/// Returns whether a service of this name or route has an address that is not down by its health
/// checks. Of several services with it, each must have one. `None`: there is no such service.
pub fn is_service_up(proxy: &Proxy, sought: &str) -> Option<bool> {
    let services = proxy.ctx.rules.services.iter();
    services
        .filter(|rules| *rules.label == *sought || rules.service.route == sought)
        .map(|service| !proxy.upstreams.is_down(service.id))
        .reduce(|all, one| all && one)
}

/// Returns the numbers of connections that were not served, by [`Refused`].
pub fn refused(proxy: &Proxy) -> [u64; Refused::ALL.len()] {
    proxy.ctx.refused
}

/// Returns the address of a proxy whose `X-Forwarded-For` was ignored since the configuration was
/// read, because `trustedProxies` does not name it.
pub fn ignored_forwarder(proxy: &Proxy) -> Option<IpAddr> {
    proxy.ctx.messages.ignored_forwarder?.ip()
}

/// Returns whether a client connection has no request under way.
pub fn is_idle(proxy: &Proxy, client: ClientId) -> bool {
    let client = proxy.clients.get(client);
    client.is_some_and(|client| matches!(client.phase, Phase::Idle { .. } | Phase::ReadHead { .. }))
}

/// Returns the number of upstream connections to the targets of the rules of the moment.
pub fn connections_to_targets(proxy: &Proxy) -> usize {
    let rules = &proxy.ctx.rules;
    let targets = rules.settings.targets.iter().zip(&rules.state.targets);
    let targets = targets.filter(|(target, _)| !target.is_supervisor());
    let targets = Index::new(targets.map(|(_, id)| u64::from(*id)).collect());
    let connections = proxy.upstreams.targets_of_connections();
    connections
        .filter(|target| targets.contains(&u64::from(*target)))
        .count()
}
