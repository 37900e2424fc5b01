//! Budget for credentials that are not authentic (`authFailures`).

use core::net::IpAddr;

use super::super::ids::RateTableId;
use super::{Limiter, counted};
use crate::time::{Duration, Instant};

impl Limiter {
    /// Counts a credential that is not authentic. `failures`: the table of the rules.
    pub(in crate::proxy) fn count_failure(
        &mut self,
        failures: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) {
        let table = failures.and_then(|id| Some((id, self.tables.get_mut(id)?)));
        // One that was under way when the budget ran out counts for nothing more.
        if let (Some(rule), Some((id, table))) = (&self.failures, table) {
            let key = rule.keys.address(table.key_of(counted(client)));
            let queues = &mut self.queues;
            let _ = queues.count(rule.store, (id, table), key, None, now);
        } else {
            let _ = self.count(failures, client, now);
        }
    }

    /// Returns whether a client's credentials are verified: the budget for those that are not
    /// authentic has something left. `failures`: the table of the rules.
    ///
    /// # Errors
    /// Nothing is left; the value is the time until the client's window ends.
    pub(in crate::proxy) fn admit_credential(
        &self,
        failures: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(table) = failures.and_then(|table| self.tables.get(table)) else {
            return Ok(());
        };
        let key = table.key_of(counted(client));
        let shared = self.failures.as_ref();
        table.peek(shared.map_or(key, |rule| rule.keys.address(key)), now)
    }
}
