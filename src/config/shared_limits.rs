//! Rate limits that the workers of one gateway share: their supervisor is a store.
//!
//! Limits in fixed windows that name no store share their counts through it. Others count in each
//! worker: a store has no other windows.

use crate::policy::meter::Algorithm;
use crate::policy::rate::{RateLimit, SharedCount};
use crate::proxy::settings::{SUPERVISOR, ServiceRateLimit, Settings, Store, Target, TargetHost};

/// Makes the supervisor a store, also where no limit needs one: a reload may bring a limit. The
/// target of the store is the last one of the settings, and has no TLS.
pub(super) fn share(settings: &mut Settings) {
    let store = settings.stores.len();
    let target = settings.targets.len();
    for limit in limits(settings).filter(|limit| is_shared(limit)) {
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
    let services = settings.services.iter();
    let own = services.flat_map(|service| service.own_limits());
    let all = settings.rate_limit.iter().chain(own);
    let shared = all.filter(|limit| is_shared(limit));
    shared.fold(0, |sum, limit| sum.saturating_add(limit.max_clients))
}

fn is_shared(limit: &RateLimit) -> bool {
    limit.algorithm == Algorithm::Fixed && limit.store.is_none()
}

fn limits(settings: &mut Settings) -> impl Iterator<Item = &mut RateLimit> {
    let own = settings
        .services
        .iter_mut()
        .flat_map(|service| match &mut service.rate_limit {
            ServiceRateLimit::Own(limits) => limits.as_mut_slice(),
            ServiceRateLimit::Inherited | ServiceRateLimit::Off => &mut [],
        });
    settings.rate_limit.iter_mut().chain(own)
}
