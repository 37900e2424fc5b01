//! Editions of the rules: the first one, and those that replace it while requests are in flight.
//!
//! ```text
//! settings --> state: kept, added, retired (each part, by identity) --> rules that name it --> swapped
//! ```
//!
//! A request that has no response yet keeps the rules of its service that it began with. Once a byte
//! of the final head is out, it keeps only what it still needs of them, so that a long stream does
//! not hold an edition. A request that waits for authentication is judged by the rules of the
//! moment when the answer comes.

use core::hash::BuildHasherDefault;
use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::rc::Rc;

use super::Proxy;
use super::auth::{Authenticator, Resolved};
use super::client::Clients;
use super::exchange::Exchanges;
use super::ids::TargetId;
use super::limiter::Limiter;
use super::memory;
use super::prepared::Prepared;
use super::recorder::Recorder;
use super::rules::{Rules, ServiceRules};
use super::settings::Settings;
use super::state_keys::StateKeys;
use super::step::Step;
use super::stores::{self, Stores};
use super::upstream::Upstreams;
use crate::limits::{EDITIONS_MAX, RATE_IPV6_PREFIX_DEFAULT, RETIRED_PER_TURN};
use crate::time::Instant;

/// Parts whose state rules name.
pub(super) struct Parts<'a> {
    pub(super) upstreams: &'a mut Upstreams,
    pub(super) auth: &'a mut Authenticator,
    pub(super) limiter: &'a mut Limiter,
    pub(super) stores: &'a mut Stores,
}

/// Makes the state that of these settings, and compiles the rules that name it. `live`: numbers of
/// the editions that requests without a response began with. Returns the
/// rules, and the look-ups of credentials that ended because their provider is gone.
pub(super) fn compile(
    parts: Parts<'_>,
    prepared: Prepared,
    before: Option<&Rules>,
    live: Vec<u64>,
) -> (Rules, Vec<Resolved>) {
    let edition = before.map_or(0, |rules| rules.state.edition.saturating_add(1));
    let mut keys = StateKeys {
        edition,
        live,
        ..StateKeys::default()
    };
    let settings = &prepared.settings;
    parts.upstreams.adopt(settings, before, &mut keys);
    let resolved = parts.auth.adopt(settings, before, &mut keys);
    parts
        .stores
        .adopt(settings, before, &mut keys, parts.limiter);
    parts.limiter.adopt(settings, before, &mut keys);
    let bounds = memory::bounds(settings);
    (Rules::new(prepared, bounds, keys), resolved)
}

/// Returns the leading bits of an IPv6 address that are one client.
pub(super) fn ipv6_prefix(settings: &Settings) -> u8 {
    let limit = settings.rate_limit.first();
    limit.map_or(RATE_IPV6_PREFIX_DEFAULT, |limit| limit.ipv6_prefix)
}

/// Rules that were replaced and that no request uses any more, until their storage is given back.
/// That takes as long as half of a reload, so it is done a piece at a time, between the events.
#[derive(Default)]
pub(super) struct Retired(Option<Box<Rules>>);

impl Retired {
    /// Takes rules. The rest of earlier ones goes at once.
    fn take(&mut self, rules: Rc<Rules>, limiter: &mut Limiter) {
        self.0 = Rc::into_inner(rules).map(Box::new);
        self.give_back(limiter);
    }

    /// Returns true if nothing is left to give back.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Gives the storage of the next piece back, and evicts clients of rate tables that became too
    /// large for their new limits.
    #[cold]
    pub(super) fn give_back(&mut self, limiter: &mut Limiter) {
        if let Some(rules) = &mut self.0 {
            let is_shrunk = limiter.shrink();
            let is_last = [
                cut(&mut rules.services),
                cut(&mut rules.settings.targets),
                cut(&mut rules.state.target_values),
            ];
            if is_last == [true; 3] && is_shrunk {
                self.0 = None;
            }
        }
    }
}

/// Gives a piece of a list back. Returns true if it was the last one.
fn cut<T>(list: &mut Vec<T>) -> bool {
    list.truncate(list.len().saturating_sub(RETIRED_PER_TURN));
    list.is_empty()
}

impl Proxy {
    /// Replaces the settings. Nothing in flight is cut and no connection of a client closes; see
    /// the head of this file and of `upstream/editions.rs` for what is kept.
    ///
    /// # Errors
    /// Requests that began with [`EDITIONS_MAX`] earlier editions have no response yet. The caller
    /// gets the settings back and tries again later.
    pub fn handle_settings(
        &mut self,
        settings: impl Into<Prepared>,
        now: Instant,
    ) -> Result<(), Box<Prepared>> {
        let prepared = settings.into();
        self.ctx.now = now;
        let live = release_editions(&mut self.exchanges, &mut self.clients);
        if live.len() >= EDITIONS_MAX {
            return Err(Box::new(prepared));
        }
        let before = Rc::clone(&self.ctx.rules);
        let parts = Parts {
            upstreams: &mut self.upstreams,
            auth: &mut self.auth,
            limiter: &mut self.limiter,
            stores: &mut self.stores,
        };
        let (rules, resolved) = compile(parts, prepared, Some(&before), live);
        let rules = Rc::new(rules);
        self.ctx.peaks = self.ctx.peaks.max(&rules.bounds);
        self.ctx.access_log.set(&rules);
        self.ctx.decisions.end_edition(&before);
        self.ctx.rules = Rc::clone(&rules);
        rules.routes.watch(self.ctx.challenges.is_some());
        self.ctx.messages.begin_edition();
        self.ctx.recorder = Recorder::renew(self.ctx.recorder.take(), &rules.settings);
        rules.adopt_counters(&mut self.ctx.counters);
        let prefix = ipv6_prefix(&rules.settings);
        if prefix != ipv6_prefix(&before.settings)
            || rules.settings.trusted_proxies != before.settings.trusted_proxies
        {
            self.clients.recount(prefix, &self.ctx);
        }
        let ctx = &mut self.ctx;
        self.upstreams.begin_edition(&rules, ctx);
        self.upstreams.recount(self.exchanges.in_flight());
        stores::act(self, |stores, env| stores.begin_edition(&rules.state, env));
        self.auth(Authenticator::fetch_new_keys);
        self.steps.extend(resolved.into_iter().map(Step::Resolved));
        self.drive(None);
        self.retired.take(before, &mut self.limiter);
        self.ctx.has_leftovers = true;
        Ok(())
    }

    /// Targets of the settings of the moment, in their order.
    pub fn targets(&self) -> &[TargetId] {
        &self.ctx.rules.state.targets
    }
}

/// Reduces the rules of exchanges whose response head is on its way, and of requests that are judged
/// again, to what they still need. Returns the numbers of the editions that others began with.
fn release_editions(exchanges: &mut Exchanges, clients: &mut Clients) -> Vec<u64> {
    let mut live = Vec::new();
    let mut remnants: HashMap<_, _, BuildHasherDefault<DefaultHasher>> = HashMap::default();
    let mut remnant = |rules: &ServiceRules, number: u32| {
        let key = (rules.common.edition, u64::from(rules.id), number);
        let fresh = || Rc::new(rules.remnant(number as usize));
        Rc::clone(remnants.entry(key).or_insert_with(fresh))
    };
    for exchange in exchanges.values_mut() {
        let edition = exchange.rules.common.edition;
        if edition == u64::MAX {
            continue;
        }
        // A head of which no byte is out may be taken back.
        let client = clients.get(exchange.client);
        let is_out = client.is_some_and(|client| client.outbox.any_sent());
        if exchange.awaits_head() || !is_out {
            if !live.contains(&edition) {
                live.push(edition);
            }
            continue;
        }
        let reduced = remnant(&exchange.rules, exchange.attempts.destination);
        exchange.log_entry.service = Some(Rc::clone(&reduced));
        exchange.rules = reduced;
    }
    for entry in clients.suspended_entries() {
        if let Some(rules) = &entry.service
            && rules.common.edition != u64::MAX
        {
            entry.service = Some(remnant(rules, 0));
        }
    }
    live
}
