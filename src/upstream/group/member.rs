//! Member of a group.

use core::net::IpAddr;

use super::super::balance::client_hash;
use super::super::health::{Availability, Health, HealthRecord};
use super::super::rules::Role;
use crate::observe::metrics::numbers::TargetCounters;
use crate::time::Instant;

/// Schedule of a member's health check.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// No check is planned.
    Unplanned,
    /// Check due at this time.
    Due(Instant),
    /// Check running since this time.
    UnderWay(Instant),
}

/// Endpoint of a service: one address of one of its targets.
#[derive(Clone, Copy, Debug)]
pub struct Member<E> {
    /// Key of the endpoint.
    pub endpoint: E,
    /// Index of the target, among the service's.
    pub destination: usize,
    pub(super) role: Role,
    /// Weight of the role; 0 while the member has as many requests in flight as it takes.
    pub(super) weight: u32,
    pub(super) health: Health,
    pub(super) check: Check,
    pub(super) counters: TargetCounters,
    /// Name that cookies have for the member; 0 without sticky sessions.
    pub(super) sticky_name: u64,
}

impl<E> Member<E> {
    /// Returns the rank of this member, lower is better; `None` if it must not be used.
    pub(super) fn rank(&self) -> Option<u8> {
        match (self.health.availability(), self.role.backup) {
            (Availability::Up, false) => Some(0),
            (Availability::Up, true) => Some(1),
            (Availability::Ejected, false) => Some(2),
            (Availability::Ejected, true) => Some(3),
            (Availability::Down, _) => None,
        }
    }

    /// Returns the name that cookies have for this member; 0 without sticky sessions.
    pub fn sticky_name(&self) -> u64 {
        self.sticky_name
    }

    /// Returns what is counted of this member.
    pub fn counters(&self) -> &TargetCounters {
        &self.counters
    }

    /// Returns what another process is to know of this member; `None`: nothing.
    pub fn record(&self, now: Instant) -> Option<HealthRecord> {
        self.health.record(now)
    }

    /// Returns true if this member has as many requests in flight as it takes.
    pub fn is_full(&self) -> bool {
        self.weight == 0
    }

    /// Returns the availability of this member.
    pub fn availability(&self) -> Availability {
        self.health.availability()
    }

    /// Returns the availability that a request would find now.
    pub fn availability_at(&self, now: Instant) -> Availability {
        self.health.availability_at(now)
    }

    /// Returns true if no request was answered since an ejection of this member ended.
    pub fn awaits_answer_at(&self, now: Instant) -> bool {
        self.health.awaits_answer_at(now)
    }
}

/// Fingerprint of a client. A /64 counts as one IPv6 client.
pub(super) fn client_fingerprint(client: Option<IpAddr>) -> u32 {
    let network = match client {
        Some(IpAddr::V6(address)) => Some(IpAddr::V6(core::net::Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        ))),
        other => other,
    };
    network.map_or(0, |address| client_hash(address) as u32)
}
