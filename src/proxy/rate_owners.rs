//! Owners of rate tables, which have names for another process.

use super::carried::{OF_ALL, OF_FAILURES, service_identity};
use super::ids::RateTableId;
use super::rate_rules::RateState;
use super::rules::Rules;
use crate::policy::meter::Algorithm;
use crate::policy::rate::RateLimit;

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
    for (place, (id, limit)) in tables.iter().enumerate() {
        let before = tables.get(..place).unwrap_or_default();
        let alike = before
            .iter()
            .filter(|(_, other)| other.is_like(limit))
            .count();
        let mut owner = owner.to_vec();
        if !limit.is_plain() || tables.len() > 1 {
            let algorithm = match limit.algorithm {
                Algorithm::Fixed => 0,
                Algorithm::Sliding => 1,
                Algorithm::Bucket { .. } => 2,
            };
            // No route, host or method has these bytes.
            owner.extend([1, algorithm, alike as u8]);
            owner.extend(limit.key.text().as_bytes());
        }
        all.push((owner, *id, *limit));
    }
}
