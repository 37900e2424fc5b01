//! The rate tables: the top-level one, those of services with their own, and the budget for
//! credentials that are not authentic.

mod failures;

use core::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use super::carried::{CarriedTable, OF_ALL, OF_FAILURES, service_identity};
use super::ids::{ClientId, OfRateTable, RateTableId, ServiceId, StoreId};
use super::rate_held::{Counted, Waits};
use super::rate_owners::{owned, owned_tables, shared_rules};
use super::rate_queue::StoreQueues;
use super::rate_rules::{Asked, LISTED, Limited, RateRules, RateState, SharedRule, Stage};
use super::rules::Rules;
use super::settings::{ServiceRateLimit, Settings, Store};
use super::state_keys::StateKeys;
use crate::limits::{RATE_EVICTED_PER_TURN, RATE_LIMITS_MAX};
use crate::policy::rate::{RateLimit, RateTable, Walk, client_key};
use crate::policy::rate_fields::Quota;
use crate::policy::rate_key::{ClientHash, RateKey};
use crate::slab::Slab;
use crate::sort::Index;
use crate::time::{Duration, Instant};

/// All rate tables.
pub(super) struct Limiter {
    tables: Slab<RateTable, OfRateTable>,
    /// Key of the hash of client addresses, so that a client cannot aim at one slot.
    seed: u64,
    /// Hash of clients that count by other keys than their addresses.
    clients: ClientHash,
    /// Store and keys of failures of credentials; `None`: they are not shared.
    failures: Option<SharedRule>,
    /// Windows that stores have to know of, a queue for each store.
    pub(super) queues: StoreQueues,
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
            clients: ClientHash::new(seed),
            failures: None,
            queues: StoreQueues::default(),
        }
    }

    /// Makes the tables those of these settings, and names them in `keys`. A table is kept, with its
    /// windows, when it belongs to the same (the top level, the failures, one service) and has the
    /// same window, IPv6 prefix, algorithm and key. `before`: the rules of the moment; none at the start.
    pub(super) fn adopt(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
    ) {
        let old = before.map(|rules| (&rules.settings, &rules.state));
        let default = old.map_or(Vec::new(), |(settings, state)| {
            owned(&state.rate, &settings.rate_limit)
        });
        let failures =
            old.and_then(|(settings, state)| Some((state.failures?, settings.counted_failures()?)));
        let services = before.map_or(&[][..], |rules| &rules.services);
        let places = services.iter().map(|rules| u64::from(rules.id));
        let places = Index::new(places.collect());
        let own_of = |service: ServiceId| {
            let rules = places
                .place(&service.into())
                .and_then(|place| services.get(place));
            rules.map_or(Vec::new(), |rules| {
                owned(&rules.rate, rules.service.own_limits())
            })
        };
        let ids = keys.stores.clone();
        let stores = (&settings.stores[..], &ids[..]);
        let all = (OF_ALL, &settings.rate_limit[..]);
        keys.rate = self.keep_or_add_all(all, default, stores);
        let limit = settings.counted_failures();
        keys.failures =
            limit.map(|limit| self.keep_or_add(limit, &mut failures.into_iter().collect()));
        self.failures = limit.and_then(|limit| {
            let mut rules = shared_rules(OF_FAILURES, core::slice::from_ref(limit), stores);
            rules.pop().flatten()
        });
        for (service, of_service) in settings.services.iter().zip(&mut keys.services) {
            of_service.rate = match &service.rate_limit {
                ServiceRateLimit::Inherited => keys.rate.clone(),
                ServiceRateLimit::Off => RateState::default(),
                ServiceRateLimit::Own(limits) => {
                    let owner = service_identity(service);
                    self.keep_or_add_all((&owner, limits), own_of(of_service.id), stores)
                }
            };
        }
        let own = keys
            .services
            .iter()
            .flat_map(|service| service.rate.tables());
        let used = own.chain(keys.rate.tables()).chain(keys.failures);
        let used = Index::new(used.map(u64::from).collect());
        for id in self.tables.keys().collect::<Vec<_>>() {
            if !used.contains(&u64::from(id)) {
                self.tables.remove(id);
            }
        }
    }

    /// Returns the tables of a list of limits: those that there are, with the new limits, or new
    /// ones. `owner`: identity of the owner. `known`: tables of the same owner. `stores`: the stores of
    /// the settings, and their keys.
    fn keep_or_add_all(
        &mut self,
        (owner, limits): (&[u8], &[RateLimit]),
        mut known: Vec<(RateTableId, &RateLimit)>,
        stores: (&[Store], &[StoreId]),
    ) -> RateState {
        let tables = limits
            .iter()
            .map(|limit| self.keep_or_add(limit, &mut known));
        let tables = tables.collect::<Vec<_>>();
        match (limits, &tables[..]) {
            ([], _) => RateState::default(),
            ([single], [table]) if single.is_plain() => RateState {
                table: Some(*table),
                rules: None,
            },
            _ => RateState {
                table: Some(LISTED),
                rules: {
                    let shared = shared_rules(owner, limits, stores);
                    Some(Rc::new(RateRules::new(limits, &tables, shared)))
                },
            },
        }
    }

    /// Returns the first of the known tables whose limit was like this one, with the new limit, or
    /// a new table.
    fn keep_or_add(
        &mut self,
        limit: &RateLimit,
        known: &mut Vec<(RateTableId, &RateLimit)>,
    ) -> RateTableId {
        let like = known.iter().position(|(_, before)| before.is_like(limit));
        if let Some((id, _)) = like.map(|place| known.swap_remove(place))
            && let Some(table) = self.tables.get_mut(id)
        {
            table.set_limit(limit.clone());
            return id;
        }
        self.tables.insert(RateTable::new(limit.clone(), self.seed))
    }

    /// Evicts clients of tables that became too large for their limits, a bounded number in one
    /// call. Returns true if none is too large any more.
    #[cold]
    pub(super) fn shrink(&mut self) -> bool {
        let Some(table) = self.tables.values_mut().find(|table| table.is_too_large()) else {
            return true;
        };
        table.shrink(RATE_EVICTED_PER_TURN);
        false
    }

    /// Returns the seed of the hash of clients.
    pub(super) fn client_seed(&self) -> u64 {
        self.clients.seed()
    }

    /// Returns the number of clients in the tables of these limits; `None`: there is no limit.
    pub(super) fn clients(&self, state: &RateState) -> Option<u64> {
        state.table?;
        let tables = state.tables().filter_map(|table| self.tables.get(table));
        Some(tables.fold(0, |sum, table| sum.saturating_add(table.len() as u64)))
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
            longest: table.map_or(Duration::ZERO, RateTable::longest),
            windows,
        }
    }

    /// Takes windows over that another process has counted, and the seed of its hash of clients.
    /// Returns the number of windows.
    pub(super) fn take_over(
        &mut self,
        rules: &Rules,
        (client_seed, carried): (u64, Vec<CarriedTable>),
        now: Instant,
    ) -> usize {
        if !carried.is_empty() && self.clients.seed() != client_seed {
            self.clients = ClientHash::new(client_seed);
        }
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

    /// Counts a request of a connection by the limits of a stage, if none of them is reached.
    ///
    /// # Errors
    /// The first limit of the list that is reached, and its place. The request counts in none.
    #[cold]
    pub(super) fn count_by(
        &mut self,
        rules: &RateRules,
        stage: Stage,
        (client, asked): (ClientId, &Asked<'_>),
        now: Instant,
    ) -> Result<Counted, Limited> {
        let keys = self.keys(rules, stage, asked);
        for ((place, limit), key) in rules.limits.iter().enumerate().zip(keys) {
            if let (Some(key), Some(table)) = (key, self.tables.get(limit.table)) {
                let shared = limit.shared.as_deref();
                if shared.is_some_and(|rule| self.queues.refuse(rule.store)) {
                    return Err(Limited::StoreDown);
                }
                let judged = table.judge(key, now);
                judged.map_err(|full| Limited::Full(place, full))?;
            }
        }
        let (mut tightest, mut waits) = (None, Waits::begin(client, &mut self.queues));
        for ((place, limit), key) in rules.limits.iter().enumerate().zip(keys) {
            if let (Some(key), Some(table)) = (key, self.tables.get_mut(limit.table)) {
                let quota = match &limit.shared {
                    None => table.count_key(key, now),
                    Some(rule) => {
                        let waiter = rule.is_exact.then(|| waits.at(place));
                        let table = (limit.table, table);
                        let counted = self.queues.count(rule.store, table, key, waiter, now);
                        counted.map(|(quota, waits_here)| {
                            waits.note(place, waits_here);
                            quota
                        })
                    }
                };
                let quota = quota.map_err(|full| Limited::Full(place, full))?;
                tightest = rules.tighter(tightest, Some(quota.of_limit(place)));
            }
        }
        Ok(Counted {
            quota: tightest,
            waits: waits.some(),
        })
    }

    /// Takes back what the limits of a stage have counted for a request.
    #[cold]
    pub(super) fn give_back(&mut self, rules: &RateRules, stage: Stage, asked: &Asked<'_>) {
        let keys = self.keys(rules, stage, asked);
        for (limit, key) in rules.limits.iter().zip(keys) {
            if let (Some(key), Some(table)) = (key, self.tables.get_mut(limit.table)) {
                match &limit.shared {
                    None => table.give_back(key),
                    Some(rule) => self.queues.give_back(rule.store, (limit.table, table), key),
                }
            }
        }
    }

    /// Returns the keys of a request in the tables of a list; `None`: the limit does not count it.
    fn keys(
        &self,
        rules: &RateRules,
        stage: Stage,
        asked: &Asked<'_>,
    ) -> [Option<u128>; RATE_LIMITS_MAX] {
        let mut keys = [None; RATE_LIMITS_MAX];
        for (limit, key) in rules.limits.iter().zip(&mut keys) {
            if !limit.counts(stage, asked.client) {
                continue;
            }
            let address = client_key(counted(asked.client.ip()), limit.ipv6_prefix);
            *key = Some(match (&limit.key, limit.value(asked), &limit.shared) {
                (_, Some(value), Some(rule)) => rule.keys.value(value),
                (_, None, Some(rule)) => rule.keys.address(address),
                (RateKey::Ip, ..) => address,
                (_, Some(value), None) => self.clients.value(value),
                (_, None, None) => self.clients.address(address),
            });
        }
        keys
    }

    /// Returns a table.
    pub(super) fn table(&mut self, table: RateTableId) -> Option<&mut RateTable> {
        self.tables.get_mut(table)
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
