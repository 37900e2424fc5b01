//! The rate tables: the top-level one, those of services with their own, and the budget for
//! credentials that are not authentic.

use core::net::{IpAddr, Ipv4Addr};

use super::ids::{OfRateTable, RateTableId};
use super::rules::StateKeys;
use super::settings::{ServiceRateLimit, Settings};
use crate::policy::rate::{RateLimit, RateTable};
use crate::slab::Slab;
use crate::time::{Duration, Instant};

/// All rate tables.
pub(super) struct Limiter {
    tables: Slab<RateTable, OfRateTable>,
    /// Key of the hash of client addresses, so that a client cannot aim at one slot.
    seed: u64,
}

impl Limiter {
    /// Creates a limiter without tables. `seed` keys the hash of client addresses.
    pub(super) fn new(seed: u64) -> Limiter {
        Limiter {
            tables: Slab::new(),
            seed,
        }
    }

    /// Adds the tables of these settings.
    pub(super) fn add(&mut self, settings: &Settings, keys: &mut StateKeys) {
        let default = settings.rate_limit.as_ref();
        keys.rate_table = default.map(|limit| self.add_table(limit));
        keys.failures = settings
            .counted_failures()
            .map(|limit| self.add_table(limit));
        for (service, of_service) in settings.services.iter().zip(&mut keys.services) {
            of_service.rate_table = match &service.rate_limit {
                ServiceRateLimit::Inherited => keys.rate_table,
                ServiceRateLimit::Off => None,
                ServiceRateLimit::Own(limit) => Some(self.add_table(limit)),
            };
        }
    }

    fn add_table(&mut self, limit: &RateLimit) -> RateTableId {
        self.tables.insert(RateTable::new(limit.clone(), self.seed))
    }

    /// Counts a request in a table; `None`: there is no limit.
    ///
    /// # Errors
    /// The client has no request left; the value is the time until its window ends.
    pub(super) fn count(
        &mut self,
        table: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        match table.and_then(|table| self.tables.get_mut(table)) {
            Some(table) => table.count(counted(client), now),
            None => Ok(()),
        }
    }

    /// Counts a credential that is not authentic. `failures`: the table of the rules.
    pub(super) fn count_failure(
        &mut self,
        failures: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) {
        // One that was under way when the budget ran out counts for nothing more.
        let _ = self.count(failures, client, now);
    }

    /// Returns whether a client's credentials are verified: the budget for those that are not
    /// authentic has something left. `failures`: the table of the rules.
    ///
    /// # Errors
    /// Nothing is left; the value is the time until the client's window ends.
    pub(super) fn admit_credential(
        &self,
        failures: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        failures
            .and_then(|table| self.tables.get(table))
            .map_or(Ok(()), |table| table.peek(counted(client), now))
    }

    /// Forgets windows that are over.
    pub(super) fn expire(&mut self, now: Instant) {
        for table in self.tables.values_mut() {
            table.expire(now);
        }
    }

    /// Returns the end of the first window.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.tables
            .values()
            .filter_map(RateTable::next_expiry)
            .min()
    }
}

/// All clients of unix sockets are one: a peer there has no address.
fn counted(client: Option<IpAddr>) -> IpAddr {
    client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
