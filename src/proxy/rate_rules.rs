//! Rate limits beyond a single one by address, in fixed windows: lists, keys, algorithms, and clients
//! that are not counted.
//!
//! A request is judged by all limits first and counted by all then, so that one that a limit refuses
//! counts in none. Limits by a credential follow after authentication. One of them that refuses takes
//! back what the others have counted.

use std::rc::Rc;

use super::ids::{RateTableId, StoreId};
use super::settings::{Service, ServiceRateLimit};
use crate::buffer::total;
use crate::http::head::RequestHead;
use crate::policy::auth::grant::Grant;
use crate::policy::forward::{Peer, PeerSet};
use crate::policy::meter::Full;
use crate::policy::rate::RateLimit;
use crate::policy::rate_fields::{Quota, RateHeaders};
use crate::policy::rate_key::{RateKey, only_value};
use crate::policy::store::keys::StoreKeys;

/// Rate limits of a service, or of requests without a route, and their tables.
#[derive(Clone, Default)]
pub(super) struct RateState {
    /// Table of a single limit by address, in fixed windows. [`LISTED`]: see `rules`. `None`: no
    /// limit.
    pub(super) table: Option<RateTableId>,
    /// All other limits.
    pub(super) rules: Option<Rc<RateRules>>,
}

/// Key of no table: the limits are in [`RateState::rules`]. A look-up of the table finds nothing,
/// and only then does a request look at the rules, so that a single limit costs nothing for them.
pub(super) const LISTED: RateTableId = RateTableId::from_parts(u32::MAX, 0);

/// Compiled limits, in the order of the settings.
pub(super) struct RateRules {
    pub(super) limits: Vec<LimitRule>,
}

/// Compiled limit.
pub(super) struct LimitRule {
    pub(super) table: RateTableId,
    pub(super) key: RateKey,
    pub(super) exempt: PeerSet,
    pub(super) ipv6_prefix: u8,
    has_fields: bool,
    /// Store of the counts, if gateways share them.
    pub(super) shared: Option<Box<SharedRule>>,
}

/// Compiled `store` of a limit.
pub(super) struct SharedRule {
    pub(super) store: StoreId,
    /// Keys of the clients, in the store and in the table.
    pub(super) keys: StoreKeys,
    /// A request waits until the store has counted it.
    pub(super) is_exact: bool,
    /// While the store is down, requests are refused.
    pub(super) is_closed: bool,
}

/// Reason why a limit refuses a request.
pub(super) enum Limited {
    /// The client has no request left of the limit in this place.
    Full(usize, Full),
    /// The store is down, and its `onFailure` is `closed`.
    StoreDown,
}

/// Limits of a list that are judged together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// All limits: the request is not authenticated.
    All,
    /// Limits that need no credential: the request is authenticated later.
    Arrived,
    /// Limits by the credential that let the request in.
    Admitted,
}

/// Parts of a request that limits look at.
pub(super) struct Asked<'a> {
    pub(super) client: Peer,
    pub(super) head: &'a RequestHead<'a>,
    /// Grant of the credential that let the request in.
    pub(super) grant: Option<&'a Grant>,
}

impl RateState {
    /// Returns the tables, in the order of the limits.
    pub(super) fn tables(&self) -> impl Iterator<Item = RateTableId> {
        let single = self.table.filter(|table| *table != LISTED);
        let limits = self.rules.iter().flat_map(|rules| &rules.limits);
        single.into_iter().chain(limits.map(|limit| limit.table))
    }
}

impl RateRules {
    /// Compiles a list of limits with their tables. `shared`: what they share, in the same order.
    pub(super) fn new(
        limits: &[RateLimit],
        tables: &[RateTableId],
        mut shared: Vec<Option<SharedRule>>,
    ) -> RateRules {
        let mut shared = shared.drain(..);
        let limits = limits.iter().zip(tables);
        let limits = limits.map(|(limit, &table)| LimitRule {
            table,
            key: limit.key.clone(),
            exempt: limit.exempt.clone(),
            ipv6_prefix: limit.ipv6_prefix,
            has_fields: limit.headers != RateHeaders::Off,
            shared: shared.next().flatten().map(Box::new),
        });
        RateRules {
            limits: limits.collect(),
        }
    }

    /// Returns the bytes of a limit in the settings and of its rule.
    pub(super) fn bytes_of(limit: &RateLimit) -> usize {
        let key = match &limit.key {
            RateKey::Ip | RateKey::Consumer => 0,
            RateKey::Header(name) | RateKey::Claim(name) => name.len(),
        };
        let exempt = size_of_val(&limit.exempt.networks[..]);
        let texts = key.saturating_add(exempt).saturating_mul(2);
        let shared = limit.store.map_or(0, |_| size_of::<SharedRule>());
        total([
            texts,
            shared,
            size_of::<LimitRule>(),
            size_of::<RateLimit>(),
        ])
    }

    /// Returns true if limits follow after authentication.
    pub(super) fn follow_credentials(&self) -> bool {
        let mut limits = self.limits.iter();
        limits.any(|limit| limit.key.is_of_credential())
    }

    /// Returns the quota of which a response tells: that of a limit with fields before one without,
    /// and then the one that leaves fewer requests; the first of the list if both leave as many.
    pub(super) fn tighter(&self, one: Option<Quota>, other: Option<Quota>) -> Option<Quota> {
        let (Some(first), Some(second)) = (one, other) else {
            return one.or(other);
        };
        let rank = |quota: &Quota| {
            let limit = self.limits.get(quota.place());
            let is_silent = !limit.is_some_and(|limit| limit.has_fields);
            (is_silent, quota.remaining(), quota.place())
        };
        Some(if rank(&second) < rank(&first) {
            second
        } else {
            first
        })
    }
}

impl LimitRule {
    /// Returns true if the limit counts the request in this stage.
    pub(super) fn counts(&self, stage: Stage, client: Peer) -> bool {
        let is_of_stage = match stage {
            Stage::All => true,
            Stage::Arrived => !self.key.is_of_credential(),
            Stage::Admitted => self.key.is_of_credential(),
        };
        is_of_stage && !self.exempt.contains(client)
    }

    /// Returns the value that the request counts by; `None`: by its address.
    pub(super) fn value<'a>(&self, asked: &Asked<'a>) -> Option<&'a [u8]> {
        let consumer = || Some(asked.grant?.consumer()?.as_bytes());
        let value = match &self.key {
            RateKey::Ip => return None,
            RateKey::Header(name) => only_value(asked.head, name.as_bytes()),
            RateKey::Consumer => consumer(),
            RateKey::Claim(name) => {
                let claim = asked.grant.and_then(|grant| grant.claim(name));
                claim.or_else(consumer)
            }
        };
        value.filter(|value| !value.is_empty())
    }
}

impl Service {
    /// Returns the rate limits that are the service's own.
    pub fn own_limits(&self) -> &[RateLimit] {
        match &self.rate_limit {
            ServiceRateLimit::Own(limits) => limits,
            ServiceRateLimit::Inherited | ServiceRateLimit::Off => &[],
        }
    }

    /// Returns the rate limits of the service's requests. `common`: those of the top level.
    pub fn limits<'a>(&'a self, common: &'a [RateLimit]) -> &'a [RateLimit] {
        match &self.rate_limit {
            ServiceRateLimit::Own(limits) => limits,
            ServiceRateLimit::Inherited => common,
            ServiceRateLimit::Off => &[],
        }
    }
}
