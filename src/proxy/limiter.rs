//! The rate tables: the top-level one, those of services with their own, and the budget for
//! credentials that are not authentic.

use core::net::{IpAddr, Ipv4Addr};

use super::settings::{ServiceRateLimit, Settings};
use crate::policy::rate::{RateLimit, RateTable};
use crate::time::{Duration, Instant};

/// All rate tables.
pub(super) struct Limiter {
    tables: Vec<RateTable>,
    /// Table of requests without a route.
    default: Option<usize>,
    by_service: Vec<Option<usize>>,
    /// Table of credentials that are not authentic, where there are providers.
    failures: Option<usize>,
}

impl Limiter {
    /// Empty tables; `seed` keys the hash of client addresses, so that a client cannot aim at one
    /// slot.
    pub(super) fn new(settings: &Settings, seed: u64) -> Limiter {
        let mut tables = Vec::new();
        let mut add = |limit: &RateLimit| {
            let index = tables.len();
            tables.push(RateTable::new(limit.clone(), seed));
            index
        };
        let default = settings.rate_limit.as_ref().map(&mut add);
        let failures = settings.counted_failures().map(&mut add);
        let by_service = settings
            .services
            .iter()
            .map(|service| match &service.rate_limit {
                ServiceRateLimit::Inherited => default,
                ServiceRateLimit::Off => None,
                ServiceRateLimit::Own(limit) => Some(add(limit)),
            })
            .collect();
        Limiter {
            tables,
            default,
            by_service,
            failures,
        }
    }

    /// Counts a request; `service`: its index, where there is a route.
    ///
    /// # Errors
    /// The client has none left; the value is the time until its window ends.
    pub(super) fn count(
        &mut self,
        service: Option<usize>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        let table = match service {
            Some(service) => self.by_service.get(service).copied().flatten(),
            None => self.default,
        };
        match table.and_then(|table| self.tables.get_mut(table)) {
            Some(table) => table.count(counted(client), now),
            None => Ok(()),
        }
    }

    /// Counts a credential that is not authentic.
    pub(super) fn count_failure(&mut self, client: Option<IpAddr>, now: Instant) {
        if let Some(table) = self.failures.and_then(|table| self.tables.get_mut(table)) {
            // One that was under way when the budget ran out counts for nothing more.
            let _ = table.count(counted(client), now);
        }
    }

    /// Returns whether a client's credentials are verified: the budget for those that are not
    /// authentic has something left.
    ///
    /// # Errors
    /// Nothing is left; the value is the time until the client's window ends.
    pub(super) fn admit_credential(
        &self,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        self.failures
            .and_then(|table| self.tables.get(table))
            .map_or(Ok(()), |table| table.peek(counted(client), now))
    }

    /// Forgets windows that are over.
    pub(super) fn expire(&mut self, now: Instant) {
        for table in &mut self.tables {
            table.expire(now);
        }
    }

    /// Returns the end of the first window.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.tables.iter().filter_map(RateTable::next_expiry).min()
    }
}

/// All clients of unix sockets are one: a peer there has no address.
fn counted(client: Option<IpAddr>) -> IpAddr {
    client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
