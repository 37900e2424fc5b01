//! State that the new process of an upgrade takes over, as values: the windows of the rate limits,
//! the addresses of names and their health, and fetched key sets.
//!
//! State belongs to the same as in a reload, and is found by an identity that is made of the
//! settings alone: bytes that mean nothing but "the same". What belongs to nothing in the settings
//! of the new process is left out. Requests in flight do not go along: they end in the old process.

use core::net::{IpAddr, SocketAddr};

use super::settings::{Provider, Service, Target};
use crate::policy::auth::key::Secret;
use crate::policy::auth::provider::{Keys, Kind};
use crate::policy::rate::WindowRecord;
use crate::time::Duration;
use crate::upstream::health::HealthRecord;

/// State that is taken over.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CarriedState {
    /// Seed of the hash of clients that rate tables have under other keys than addresses; zero
    /// without tables.
    pub client_seed: u64,
    /// Rate tables that have windows.
    pub tables: Vec<CarriedTable>,
    /// Names that were resolved. They come before the health of their addresses.
    pub names: Vec<CarriedName>,
    /// Addresses whose health is more than "up".
    pub health: Vec<CarriedHealth>,
    /// Key sets that were fetched.
    pub keys: Vec<CarriedKeys>,
}

/// Numbers of what was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Rate windows.
    pub windows: usize,
    /// Names with addresses.
    pub names: usize,
    /// Addresses whose health is known.
    pub health: usize,
    /// Key sets.
    pub keys: usize,
}

impl Taken {
    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Taken) -> Taken {
        Taken {
            windows: self.windows.saturating_add(other.windows),
            names: self.names.saturating_add(other.names),
            health: self.health.saturating_add(other.health),
            keys: self.keys.saturating_add(other.keys),
        }
    }
}

/// Addresses of the name of a target: the last good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarriedName {
    /// Identity of the target.
    pub target: Vec<u8>,
    /// Addresses, in the order in which they are tried.
    pub addresses: Vec<IpAddr>,
}

/// Key set of a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarriedKeys {
    /// Identity of the provider.
    pub provider: Vec<u8>,
    /// The set, as JSON (RFC 7517 5).
    pub set: Secret,
}

/// Windows of a rate table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarriedTable {
    /// Identity of the owner.
    pub owner: Vec<u8>,
    /// Length of its windows.
    pub window: Duration,
    /// Leading bits of an IPv6 address that are one client.
    pub ipv6_prefix: u8,
    /// Longest time until a client is forgotten.
    pub longest: Duration,
    /// Running windows, the oldest first.
    pub windows: Vec<WindowRecord>,
}

/// Health of an address, as one service knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarriedHealth {
    /// Identity of the service.
    pub service: Vec<u8>,
    /// Identity of the target.
    pub target: Vec<u8>,
    /// Address of the target.
    pub address: SocketAddr,
    /// Health of the address.
    pub health: HealthRecord,
    /// Fingerprints of the clients whose requests failed there.
    pub failed_clients: Vec<u32>,
}

/// Identity of the top level as the owner of a rate table. The route of a service is not empty.
pub(super) const OF_ALL: &[u8] = b"";
/// Identity of `authFailures` as the owner of a rate table.
pub(super) const OF_FAILURES: &[u8] = b"\0";
/// Identity of a supervisor as the owner of the counts that its workers share.
pub const OF_WORKERS: &[u8] = b"\0workers";

/// Returns the identity of a service: route, hosts, methods and conditions.
pub(super) fn service_identity(service: &Service) -> Vec<u8> {
    let mut identity = service.route.as_bytes().to_vec();
    for list in [&service.hosts, &service.methods] {
        identity.push(0);
        for item in list {
            identity.extend_from_slice(item.as_bytes());
            identity.push(0);
        }
    }
    for condition in &service.conditions {
        identity.push(0);
        identity.extend_from_slice(condition.text().as_bytes());
    }
    identity
}

/// Returns the identity of a target: TLS settings, scheme, host and port.
pub(super) fn target_identity(target: &Target) -> Vec<u8> {
    [&target.trust[..], target.origin().as_bytes()].concat()
}

/// Returns the identity of a provider's fetched key set: name, endpoint, and the algorithms that the
/// set was read for. `target`: the target of the endpoint. `None`: the provider fetches no keys.
pub(super) fn keys_identity(provider: &Provider, target: &Target) -> Option<Vec<u8>> {
    let Kind::Jwt {
        rules,
        keys: Keys::Fetched(endpoint),
    } = &provider.kind
    else {
        return None;
    };
    let target = target_identity(target);
    let mut identity = Vec::new();
    for part in [provider.name.as_bytes(), &target, endpoint.path.as_bytes()] {
        identity.extend_from_slice(part);
        identity.push(0);
    }
    for algorithm in rules.algorithms.iter() {
        identity.extend_from_slice(algorithm.name().as_bytes());
        identity.push(0);
    }
    Some(identity)
}
