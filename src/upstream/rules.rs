//! Rules of a group of endpoints, and the values that go into it and come out of it.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use super::balance::Strategy;
use super::health::{Hysteresis, PassiveHealth};
use crate::time::Duration;

/// `healthCheck`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// Path of the health check requests, sent as configured.
    pub path: String,
    /// `Host` of the requests; `None`: that of the target.
    pub host: Option<String>,
    /// Time from one check to the next.
    pub interval: Duration,
    /// Time for the response, including the connect.
    pub timeout: Duration,
    /// `rise` and `fall`.
    pub rule: Hysteresis,
    /// Statuses of a healthy endpoint.
    pub status: RangeInclusive<u16>,
}

/// Configured role of one of a service's targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Role {
    /// Weight from 1, which each address of the target has.
    pub weight: u32,
    /// Used only while no endpoint without `backup` can take a request.
    pub backup: bool,
    /// `maxInFlight`: most requests in flight at one address; [`u32::MAX`] without a limit.
    pub max_in_flight: u32,
}

/// Rules of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Strategy that chooses the next endpoint.
    pub strategy: Strategy,
    /// Active health checks; `None` if there are none.
    pub checks: Option<Checks>,
    /// Rule for ejecting endpoints at which requests fail; `None` if they are never ejected.
    pub passive: Option<PassiveHealth>,
}

/// Rules of active health checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checks {
    /// Number of results in a row that change the state.
    pub rule: Hysteresis,
    /// Time from one check of a member to its next. Jitter is added, so that checks do not fall
    /// into step.
    pub interval: Duration,
}

/// Possible cause of a failed request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Only the endpoint: no connection was established, which no request can cause.
    Endpoint,
    /// The endpoint, or the request of this client. A client counts once in a window; all clients
    /// without an address are one.
    Client(Option<IpAddr>),
}

/// Result of choosing an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice<E> {
    /// Member that was chosen.
    Member {
        /// Key of the endpoint.
        endpoint: E,
        /// Index of the target, among the service's.
        destination: usize,
    },
    /// Members exist, and the health checks of all of them fail.
    AllDown,
    /// Each member that may be used has as many requests in flight as it takes.
    Full,
    /// No member exists, or none is allowed.
    NoMember,
}
