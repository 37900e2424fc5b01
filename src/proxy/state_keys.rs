//! Names of the state that rules use.

use std::rc::Rc;

use super::ids::{ProviderId, RateTableId, ServiceId, StoreId, TargetId};
use super::rate_rules::RateState;
use super::settings::Target;

/// Names of the state that rules use.
#[derive(Default)]
pub(super) struct StateKeys {
    /// Number of these rules: one more than that of the rules before.
    pub(super) edition: u64,
    /// Numbers of the earlier rules that a request without a response began with.
    pub(super) live: Vec<u64>,
    /// Services, in the order of the settings, until their rules are made.
    pub(super) services: Vec<ServiceKeys>,
    /// Number of each destination within its service, one service after the other, until the rules
    /// are made.
    pub(super) destinations: Vec<usize>,
    /// Targets, in the order of the settings.
    pub(super) targets: Vec<TargetId>,
    /// Values of the targets, in the same order. Their state has them, too.
    pub(super) target_values: Vec<Rc<Target>>,
    /// Providers, in the order of the settings.
    pub(super) providers: Vec<ProviderId>,
    /// Stores, in the order of the settings.
    pub(super) stores: Vec<StoreId>,
    /// Rate limits of requests without a route.
    pub(super) rate: RateState,
    /// Rate table of forged credentials, if there are providers.
    pub(super) failures: Option<RateTableId>,
}

impl StateKeys {
    /// Returns true if a request without a response began with one of these editions.
    pub(super) fn is_live(&self, first: u64, last: u64) -> bool {
        self.live
            .iter()
            .any(|edition| (first..=last).contains(edition))
    }
}

/// Names of the state of one service.
pub(super) struct ServiceKeys {
    pub(super) id: ServiceId,
    /// Label of the service in reports.
    pub(super) label: Rc<str>,
    pub(super) rate: RateState,
}
