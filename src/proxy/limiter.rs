//! The rate tables: the top-level one, those of services with their own, and the budget for
//! credentials that are not authentic.

use core::net::{IpAddr, Ipv4Addr};

use super::carried::{CarriedTable, OF_ALL, OF_FAILURES, service_identity};
use super::ids::{OfRateTable, RateTableId, ServiceId};
use super::rules::Rules;
use super::settings::{ServiceRateLimit, Settings};
use super::state_keys::StateKeys;
use crate::policy::rate::{RateLimit, RateTable, Walk};
use crate::policy::rate_fields::Quota;
use crate::slab::Slab;
use crate::sort::Index;
use crate::time::{Duration, Instant};

/// All rate tables.
pub(super) struct Limiter {
    tables: Slab<RateTable, OfRateTable>,
    /// Key of the hash of client addresses, so that a client cannot aim at one slot.
    seed: u64,
}

/// Walk over the windows of a table, which another process takes over.
pub(super) struct TableWalk {
    owner: Vec<u8>,
    table: RateTableId,
    window: Duration,
    ipv6_prefix: u8,
    walk: Walk,
}

impl TableWalk {
    /// Returns true if no window is left.
    pub(super) fn is_over(&self) -> bool {
        self.walk.is_over()
    }
}

impl Limiter {
    /// Creates a limiter without tables. `seed` keys the hash of client addresses.
    pub(super) fn new(seed: u64) -> Limiter {
        Limiter {
            tables: Slab::new(),
            seed,
        }
    }

    /// Makes the tables those of these settings, and names them in `keys`. A table is kept, with its
    /// windows, when it belongs to the same (the top level, the failures, one service) and has the
    /// same window and IPv6 prefix. `before`: the rules of the moment; none at the start.
    pub(super) fn adopt(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
    ) {
        let old = before.map(|rules| (&rules.settings, &rules.state));
        let default = old
            .and_then(|(settings, state)| Some((state.rate_table?, settings.rate_limit.as_ref()?)));
        let failures =
            old.and_then(|(settings, state)| Some((state.failures?, settings.counted_failures()?)));
        let services = before.map_or(&[][..], |rules| &rules.services);
        let places = services.iter().map(|rules| u64::from(rules.id));
        let places = Index::new(places.collect());
        let own_of = |service: ServiceId| {
            let rules = services.get(places.place(&service.into())?)?;
            match &rules.service.rate_limit {
                ServiceRateLimit::Own(limit) => Some((rules.rate_table?, limit)),
                ServiceRateLimit::Inherited | ServiceRateLimit::Off => None,
            }
        };
        let limit = settings.rate_limit.as_ref();
        keys.rate_table = limit.map(|limit| self.keep_or_add(limit, default));
        let limit = settings.counted_failures();
        keys.failures = limit.map(|limit| self.keep_or_add(limit, failures));
        for (service, of_service) in settings.services.iter().zip(&mut keys.services) {
            of_service.rate_table = match &service.rate_limit {
                ServiceRateLimit::Inherited => keys.rate_table,
                ServiceRateLimit::Off => None,
                ServiceRateLimit::Own(limit) => {
                    Some(self.keep_or_add(limit, own_of(of_service.id)))
                }
            };
        }
        let own = keys.services.iter().map(|service| service.rate_table);
        let used = own.chain([keys.rate_table, keys.failures]).flatten();
        let used = Index::new(used.map(u64::from).collect());
        for id in self.tables.keys().collect::<Vec<_>>() {
            if !used.contains(&u64::from(id)) {
                self.tables.remove(id);
            }
        }
    }

    /// Returns the table that there is, with the new limit, or a new table.
    fn keep_or_add(
        &mut self,
        limit: &RateLimit,
        known: Option<(RateTableId, &RateLimit)>,
    ) -> RateTableId {
        if let Some((id, before)) = known
            && (before.window, before.ipv6_prefix) == (limit.window, limit.ipv6_prefix)
            && let Some(table) = self.tables.get_mut(id)
        {
            table.set_limit(limit.clone());
            return id;
        }
        self.tables.insert(RateTable::new(limit.clone(), self.seed))
    }

    /// Returns the number of clients in a table; `None`: there is no limit.
    pub(super) fn clients(&self, table: Option<RateTableId>) -> Option<u64> {
        let table = self.tables.get(table?)?;
        Some(table.len() as u64)
    }

    /// Begins walks over the windows of all tables.
    pub(super) fn walks(&self, rules: &Rules) -> Vec<TableWalk> {
        let owned = owned_tables(rules).into_iter();
        let walks = owned.filter_map(|(owner, table, limit)| {
            Some(TableWalk {
                owner,
                table,
                window: limit.window,
                ipv6_prefix: limit.ipv6_prefix,
                walk: self.tables.get(table)?.walk(),
            })
        });
        walks.filter(|walk| !walk.is_over()).collect()
    }

    /// Goes on with a walk by at most `max` windows. Returns those that run at `now`.
    pub(super) fn carried(&self, walk: &mut TableWalk, max: usize, now: Instant) -> CarriedTable {
        // No reload removes the table: one begins after the export.
        let table = self.tables.get(walk.table);
        let windows = table.map_or_else(Vec::new, |table| table.records(&mut walk.walk, max, now));
        CarriedTable {
            owner: walk.owner.clone(),
            window: walk.window,
            ipv6_prefix: walk.ipv6_prefix,
            windows,
        }
    }

    /// Takes windows over that another process has counted. Returns their number.
    pub(super) fn take_over(
        &mut self,
        rules: &Rules,
        carried: Vec<CarriedTable>,
        now: Instant,
    ) -> usize {
        let owned = owned_tables(rules);
        let owners = Index::new(owned.iter().map(|(owner, ..)| owner).collect());
        let mut count = 0_usize;
        for table in carried {
            let place = owners.place(&&table.owner);
            if let Some((_, id, limit)) = place.and_then(|place| owned.get(place))
                && (limit.window, limit.ipv6_prefix) == (table.window, table.ipv6_prefix)
                && let Some(own) = self.tables.get_mut(*id)
            {
                for window in table.windows {
                    count = count.saturating_add(usize::from(own.restore(window, now)));
                }
            }
        }
        count
    }

    /// Counts a request in a table; `None`: there is no limit. Returns what the client has left.
    ///
    /// # Errors
    /// The client has no request left; the value is the time until its window ends.
    #[inline(always)]
    pub(super) fn count(
        &mut self,
        table: Option<RateTableId>,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<Option<Quota>, Duration> {
        match table.and_then(|table| self.tables.get_mut(table)) {
            Some(table) => table.count(counted(client), now).map(Some),
            None => Ok(None),
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

/// Returns the tables of the rules, each with the identity of its owner.
fn owned_tables(rules: &Rules) -> Vec<(Vec<u8>, RateTableId, &RateLimit)> {
    let Rules {
        settings,
        services,
        state,
        ..
    } = rules;
    let all = (OF_ALL, state.rate_table, settings.rate_limit.as_ref());
    let failures = (OF_FAILURES, state.failures, settings.counted_failures());
    let mut owned = Vec::new();
    for (owner, id, limit) in [all, failures] {
        if let (Some(id), Some(limit)) = (id, limit) {
            owned.push((owner.to_vec(), id, limit));
        }
    }
    for rules in services {
        let service = &rules.service;
        if let (ServiceRateLimit::Own(limit), Some(id)) = (&service.rate_limit, rules.rate_table) {
            owned.push((service_identity(service), id, limit));
        }
    }
    owned
}

/// All clients of unix sockets are one: a peer there has no address.
fn counted(client: Option<IpAddr>) -> IpAddr {
    client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
