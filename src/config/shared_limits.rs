//! Rate limits that the workers of one gateway share: their supervisor is a store.
//!
//! All limits that name no store share their counts through it, and so do failures of credentials.

use std::sync::Arc;

use crate::policy::rate::{RateLimit, SharedCount};
use crate::proxy::memory::rate_limits;
use crate::proxy::settings::{SUPERVISOR, ServiceRateLimit, Settings, Store, Target, TargetHost};

/// Makes the supervisor a store, also where no limit needs one: a reload may bring a limit. The
/// target of the store is the last one of the settings, and has no TLS.
pub(super) fn share(settings: &mut Settings) {
    let store = settings.stores.len();
    let target = settings.targets.len();
    for limit in limits(settings).filter(|limit| limit.store.is_none()) {
        limit.store = Some(SharedCount { store });
    }
    settings.stores.push(Store {
        name: SUPERVISOR.to_owned(),
        target,
        account: Default::default(),
        prefix: String::new(),
        is_closed: false,
    });
    settings.targets.push(Target {
        host: TargetHost::Unix(format!("unix:{SUPERVISOR}")),
        port: 0,
        tls: false,
        trust: [0; 32],
        authority: String::new(),
    });
}

/// Returns the number of clients of all limits that are shared.
pub(super) fn clients(settings: &Settings) -> usize {
    let shared = rate_limits(settings).filter(|limit| limit.store.is_none());
    shared.fold(0, |sum, limit| sum.saturating_add(limit.max_clients))
}

fn limits(settings: &mut Settings) -> impl Iterator<Item = &mut RateLimit> {
    let own = settings
        .services
        .iter_mut()
        .filter(|service| matches!(service.rate_limit, ServiceRateLimit::Own(_)))
        .flat_map(|service| match &mut Arc::make_mut(service).rate_limit {
            ServiceRateLimit::Own(limits) => limits.as_mut_slice(),
            ServiceRateLimit::Inherited | ServiceRateLimit::Off => &mut [],
        });
    settings
        .rate_limit
        .iter_mut()
        .chain(&mut settings.auth_failures)
        .chain(own)
}
