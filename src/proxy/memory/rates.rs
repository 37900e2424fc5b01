//! The most memory that rate limits can come to hold.

use super::super::rate_rules::RateRules;
use super::super::settings::{Service, Settings};
use crate::buffer::total;
use crate::policy::rate::{RateLimit, RateTable};
use crate::policy::rate_fields::{RateHeaders, RateLines};

/// Bytes of one rate table.
pub fn rate_table(limit: &RateLimit) -> usize {
    let shared = limit
        .store
        .map_or(0, |_| RateTable::shared_bytes(limit.max_clients));
    RateTable::bytes(limit.max_clients).saturating_add(shared)
}

/// Bytes of a service's own rate limits, beside their tables.
pub(super) fn own_limits(service: &Service) -> usize {
    total(service.own_limits().iter().map(RateRules::bytes_of))
}

/// Bytes of the rate limit fields of a service with a limit of its own.
pub(super) fn rate_lines(service: &Service) -> usize {
    lines_of(&service.route, service.own_limits())
}

/// Bytes of the fields of the limits with this name.
pub(super) fn lines_of(name: &str, limits: &[RateLimit]) -> usize {
    let lines = limits.iter().map(|limit| match limit.headers {
        RateHeaders::Off => 0,
        RateHeaders::Draft | RateHeaders::X => RateLines::bytes(name),
    });
    total(lines)
}

/// The limits that have a table of their own.
pub fn rate_limits(settings: &Settings) -> impl Iterator<Item = &RateLimit> {
    let own = settings
        .services
        .iter()
        .flat_map(|service| service.own_limits());
    settings
        .rate_limit
        .iter()
        .chain(settings.counted_failures())
        .chain(own)
}
