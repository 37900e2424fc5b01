//! Owners of rate tables, which have names for another process.

use super::carried::{OF_ALL, OF_FAILURES, service_identity};
use super::ids::{RateTableId, StoreId};
use super::rate_rules::{RateState, SharedRule};
use super::rules::Rules;
use super::settings::Store;
use crate::policy::meter::Algorithm;
use crate::policy::rate::RateLimit;
use crate::policy::store::keys::StoreKeys;

/// Returns the tables of some limits, each with its limit.
pub(super) fn owned<'a>(
    state: &RateState,
    limits: &'a [RateLimit],
) -> Vec<(RateTableId, &'a RateLimit)> {
    state.tables().zip(limits).collect()
}

/// Returns the tables of the rules, each with the identity of its owner.
pub(super) fn owned_tables(rules: &Rules) -> Vec<(Vec<u8>, RateTableId, &RateLimit)> {
    let Rules {
        settings,
        services,
        state,
        ..
    } = rules;
    let mut all = Vec::new();
    put_owned(&mut all, OF_ALL, owned(&state.rate, &settings.rate_limit));
    if let (Some(id), Some(limit)) = (state.failures, settings.counted_failures()) {
        put_owned(&mut all, OF_FAILURES, vec![(id, limit)]);
    }
    for rules in services {
        let own = rules.service.own_limits();
        if !own.is_empty() {
            let owner = service_identity(&rules.service);
            put_owned(&mut all, &owner, owned(&rules.rate, own));
        }
    }
    all
}

/// Adds the tables of one owner. What a table counts by belongs to its identity, and its number among
/// the tables that count alike.
fn put_owned<'a>(
    all: &mut Vec<(Vec<u8>, RateTableId, &'a RateLimit)>,
    owner: &[u8],
    tables: Vec<(RateTableId, &'a RateLimit)>,
) {
    let limits = tables.iter().map(|(_, limit)| *limit).collect::<Vec<_>>();
    for (place, (id, limit)) in tables.iter().enumerate() {
        all.push((identity(owner, &limits, place), *id, *limit));
    }
}

/// Returns the identity of the table of a limit. `limits`: all limits of the owner. `place`: that of
/// the limit among them.
pub(super) fn identity(owner: &[u8], limits: &[&RateLimit], place: usize) -> Vec<u8> {
    let mut identity = owner.to_vec();
    let Some(limit) = limits.get(place) else {
        return identity;
    };
    if !limit.is_plain() || limits.len() > 1 {
        let before = limits.iter().take(place);
        let alike = before.filter(|other| other.is_like(limit)).count();
        let algorithm = match limit.algorithm {
            Algorithm::Fixed if limit.store.is_some() => 3,
            Algorithm::Fixed => 0,
            Algorithm::Sliding => 1,
            Algorithm::Bucket { .. } => 2,
        };
        // No route, host or method has these bytes.
        identity.extend([1, algorithm, alike as u8]);
        identity.extend(limit.key.text().as_bytes());
    }
    identity
}

/// Returns what the limits of an owner share. `stores`: the stores of the settings, and their keys.
pub(super) fn shared_rules(
    owner: &[u8],
    limits: &[RateLimit],
    (stores, ids): (&[Store], &[StoreId]),
) -> Vec<Option<SharedRule>> {
    let all = limits.iter().collect::<Vec<_>>();
    let limits = limits.iter().enumerate();
    let rules = limits.map(|(place, limit)| {
        let number = limit.store?.store;
        let owner = identity(owner, &all, place);
        Some(SharedRule {
            store: *ids.get(number)?,
            keys: StoreKeys::new(&owner, limit.window, limit.ipv6_prefix),
            is_exact: limit.exact,
            is_closed: stores.get(number)?.is_closed,
        })
    });
    rules.collect()
}
