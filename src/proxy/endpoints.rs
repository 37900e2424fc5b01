//! Where the targets are: their names, the endpoints that these have, and the idle connections to each.
//!
//! An endpoint is one address of one target. When a name's answer no longer has an address, its endpoint goes, and its idle
//! connections with it; what is in flight there comes to its end, and its connection is closed then.

use core::net::SocketAddr;

use super::command::{ClientId, Command, Side, UpstreamId};
use super::exchange::UpstreamRef;
use super::outbox::Outbox;
use super::settings::{Target, TargetHost};
use super::subrequest::SubrequestId;
use super::upstream::{Owner, Stage};
use super::{Proxy, TimerKey};
use crate::limits::{IDLE_UPSTREAMS_PER_TARGET, RESOLVE_INTERVAL, RESOLVE_RETRY};
use crate::slab::Key;
use crate::time::{Duration, Instant};
use crate::upstream::addresses::Addresses;
use crate::upstream::idle::IdlePool;
use crate::wheel::Timer;

/// Names an endpoint.
pub(super) type EndpointId = Key<Endpoint>;

/// One address of a target.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    idle: IdlePool<UpstreamId>,
    /// How many may idle: what a target may have is shared by its addresses.
    idle_max: usize,
}

/// One target: where it is, and who waits to know.
pub(super) struct TargetState {
    pub(super) addresses: Addresses,
    /// One for each known address.
    pub(super) endpoints: Vec<EndpointId>,
    /// Who waits for a lookup, while no address is known.
    waiting: Vec<Waiter>,
    named: bool,
    /// Look-ups in a row that failed while no address was known.
    failures: u32,
    /// When the last look-up ended.
    looked_up: Instant,
    /// The next lookup.
    pub(super) timer: Timer,
}

/// Who waits for a target's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Exchange(ClientId),
    Subrequest(SubrequestId),
}

impl Waiter {
    /// Any order that puts the same ones side by side.
    fn rank(self) -> (bool, u32) {
        match self {
            Waiter::Exchange(id) => (false, id.index()),
            Waiter::Subrequest(id) => (true, id.index()),
        }
    }
}

impl TargetState {
    pub(super) fn new(target: &Target) -> TargetState {
        let (addresses, named) = match target.host {
            TargetHost::Address(address) => (
                Addresses::fixed(SocketAddr::new(address, target.port)),
                false,
            ),
            TargetHost::Name(_) => (Addresses::unknown(), true),
        };
        TargetState {
            addresses,
            endpoints: Vec::new(),
            waiting: Vec::new(),
            named,
            failures: 0,
            looked_up: Instant::ZERO,
            timer: Timer::default(),
        }
    }

    /// When a look-up that has just ended is followed by the next one. A name that was never known is asked for again soon.
    fn next_lookup(&mut self) -> Duration {
        if !self.addresses.known().is_empty() {
            self.failures = 0;
            return RESOLVE_INTERVAL;
        }
        let wait = RESOLVE_RETRY
            .as_millis()
            .saturating_mul(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(wait).min(RESOLVE_INTERVAL)
    }

    /// Exchanges and inquiries that are remembered as waiting for the name.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Proxy {
    // --- names ---

    /// At the start: literal addresses are endpoints at once, names are looked up.
    pub(super) fn find_targets(&mut self) {
        for target in 0..self.targets.len() {
            if self.targets.get(target).is_some_and(|state| state.named) {
                self.look_up(target);
            } else {
                self.renew_endpoints(target, Instant::ZERO);
            }
        }
    }

    /// Looks a target's name up, unless that is under way.
    pub(super) fn look_up(&mut self, target: usize) {
        if let Some(state) = self.targets.get_mut(target)
            && !state.addresses.is_lookup_pending()
        {
            state.addresses.lookup_started();
            self.commands.push_back(Command::Resolve { target });
        }
    }

    /// Somebody wants to connect to a target that may have no address yet. A name that was never known is looked up again then,
    /// not before [`RESOLVE_RETRY`] has passed since the last answer. Says whether an answer is awaited.
    pub(super) fn awaits_name(&mut self, target: usize, now: Instant) -> bool {
        let Some(state) = self.targets.get(target) else {
            return false;
        };
        let never_known = state.named && state.addresses.known().is_empty();
        if never_known
            && !state.addresses.is_lookup_pending()
            && now.since(state.looked_up) >= RESOLVE_RETRY
        {
            self.look_up(target);
        }
        self.targets
            .get(target)
            .is_some_and(|state| state.addresses.is_awaited())
    }

    pub(super) fn target_resolved(
        &mut self,
        target: usize,
        addresses: &[SocketAddr],
        now: Instant,
    ) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        state.addresses.lookup_ended(addresses);
        state.looked_up = now;
        let wait = state.next_lookup();
        self.wheel.arm(
            &mut state.timer,
            TimerKey::Target(target as u32),
            now.after(wait),
        );
        let waiting = core::mem::take(&mut state.waiting);
        self.renew_endpoints(target, now);
        for waiter in waiting {
            // The one that waited may be gone, and its connection busy with another request by now.
            let Some(link) = self.link_that_waits(waiter, target) else {
                continue;
            };
            match waiter {
                Waiter::Exchange(id) => self.name_resolved(id, link, now),
                Waiter::Subrequest(id) => self.dial_subrequest(id, link, now),
            }
        }
    }

    /// Makes the endpoints of a target those of its addresses: new ones join the groups, old ones leave them.
    fn renew_endpoints(&mut self, target: usize, now: Instant) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        let known = state.addresses.known().to_vec();
        let before = core::mem::take(&mut state.endpoints);
        let is_first = before.is_empty();
        let idle_max = IDLE_UPSTREAMS_PER_TARGET
            .checked_div(known.len())
            .unwrap_or(IDLE_UPSTREAMS_PER_TARGET);
        let mut endpoints = Vec::with_capacity(known.len());
        for &id in &before {
            if self
                .endpoints
                .get(id)
                .is_some_and(|endpoint| known.contains(&endpoint.address))
            {
                endpoints.push(id);
            } else {
                self.drop_endpoint(target, id);
            }
        }
        for address in known {
            if !endpoints.iter().any(|&id| {
                self.endpoints
                    .get(id)
                    .is_some_and(|old| old.address == address)
            }) {
                let id = self.endpoints.insert(Endpoint {
                    address,
                    idle: IdlePool::default(),
                    idle_max,
                });
                endpoints.push(id);
                self.join_groups(target, id, (!is_first).then_some(now));
            }
        }
        for &id in &endpoints {
            let Some(endpoint) = self.endpoints.get_mut(id) else {
                continue;
            };
            endpoint.idle_max = idle_max;
            for up in endpoint.idle.trim(idle_max) {
                self.close_up(up);
            }
        }
        if let Some(state) = self.targets.get_mut(target) {
            state.endpoints = endpoints;
        }
        self.plan_checks(target, now);
    }

    fn drop_endpoint(&mut self, target: usize, id: EndpointId) {
        self.leave_groups(target, id);
        let Some(mut endpoint) = self.endpoints.remove(id) else {
            return;
        };
        for up in endpoint.idle.trim(0) {
            self.close_up(up);
        }
        let is_there = |up: &UpstreamId| {
            self.upstreams
                .get(*up)
                .is_some_and(|upstream| upstream.endpoint == Some(id))
        };
        for up in self
            .privates
            .values()
            .copied()
            .filter(is_there)
            .collect::<Vec<_>>()
        {
            self.close_idle(up);
        }
    }

    /// The endpoint of a target at this address.
    pub(super) fn endpoint_at(&self, target: usize, address: SocketAddr) -> Option<EndpointId> {
        let endpoints = &self.targets.get(target)?.endpoints;
        let is_there = |id: &EndpointId| {
            self.endpoints
                .get(*id)
                .is_some_and(|endpoint| endpoint.address == address)
        };
        endpoints.iter().copied().find(is_there)
    }

    /// Remembers who waits for the target's first lookup. Those that gave up are forgotten when there are as many as can wait.
    pub(super) fn wait_for_name(&mut self, waiter: Waiter, target: usize) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        let mut waiting = core::mem::take(&mut state.waiting);
        if waiting.len() >= self.bounds.waiting {
            waiting.retain(|&waiter| self.link_that_waits(waiter, target).is_some());
            waiting.sort_unstable_by_key(|waiter| waiter.rank());
            waiting.dedup();
        }
        waiting.push(waiter);
        if let Some(state) = self.targets.get_mut(target) {
            state.waiting = waiting;
        }
    }

    /// The connection that will be made once the name of `target` is known; `None`: this waiter has gone.
    fn link_that_waits(&self, waiter: Waiter, target: usize) -> Option<UpstreamId> {
        let link = match waiter {
            Waiter::Exchange(id) => self.link_of(id),
            Waiter::Subrequest(id) => self.upstream_of_subrequest(id),
        }?;
        let up = self.upstreams.get(link.id)?;
        (up.stage == Stage::Resolving && up.target == target).then_some(link.id)
    }

    fn upstream_of_subrequest(&self, id: SubrequestId) -> Option<UpstreamRef> {
        self.subrequests.get(id)?.link
    }

    // --- the pools ---

    /// Puts a connection into its endpoint's pool, for at most `keep`, when it may go there and nothing is left on it.
    pub(super) fn put_back(
        &mut self,
        up: UpstreamId,
        pool: bool,
        keep: Option<Duration>,
        now: Instant,
    ) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        upstream.outbox.release_head(&mut self.pool);
        let pure = pool
            && keep.is_some()
            && !self.draining
            && upstream.is_clean()
            && upstream.idle_seconds > 0;
        let endpoint = upstream.endpoint.and_then(|id| self.endpoints.get_mut(id));
        if !pure || !endpoint.is_some_and(|endpoint| endpoint.idle.put(up, endpoint.idle_max)) {
            return self.close_up(up);
        }
        upstream.owner = Owner::Idle;
        upstream.served = upstream.served.saturating_add(1);
        upstream.outbox = Outbox::default();
        self.pool.give_back(&mut upstream.inbox);
        if let Some(span) = upstream.may_idle().into_iter().chain(keep).min() {
            self.wheel
                .arm(&mut upstream.timer, TimerKey::Up(up), now.after(span));
        }
        // Bytes nobody asked for may already wait in the socket: whoever read the last ones, or attends to it, finds them.
        self.release_in_flight(up);
    }

    /// Keeps a connection that is authenticated as a whole for the client that it served, until that client's own connection
    /// closes or the upstream wants no more of it. Where no connection may idle (`keep`) this one may not either.
    pub(super) fn keep_private(
        &mut self,
        id: ClientId,
        up: UpstreamId,
        pool: bool,
        keep: Option<Duration>,
        now: Instant,
    ) {
        let (Some(client), Some(upstream)) = (self.clients.get_mut(id), self.upstreams.get_mut(up))
        else {
            return;
        };
        upstream.outbox.release_head(&mut self.pool);
        let is_known = upstream
            .endpoint
            .is_some_and(|endpoint| self.endpoints.get(endpoint).is_some());
        let pure = pool
            && keep.is_some()
            && !self.draining
            && upstream.is_clean()
            && upstream.idle_seconds > 0;
        if !pure || !is_known {
            return self.close_up(up);
        }
        upstream.owner = Owner::Private(id);
        upstream.private = true;
        upstream.served = upstream.served.saturating_add(1);
        upstream.outbox = Outbox::default();
        self.pool.give_back(&mut upstream.inbox);
        if let Some(span) = upstream.may_idle() {
            self.wheel
                .arm(&mut upstream.timer, TimerKey::Up(up), now.after(span));
        }
        client.has_private = true;
        self.privates.insert((id.index(), up.index()), up);
        self.release_in_flight(up);
    }

    /// The connections that are kept for a client, and idle.
    fn privates_of(&self, id: ClientId) -> impl Iterator<Item = UpstreamId> {
        self.privates
            .range((id.index(), 0)..=(id.index(), u32::MAX))
            .map(|(_, up)| *up)
    }

    /// The endpoints that these go to.
    pub(super) fn private_endpoints(&self, id: ClientId) -> Vec<EndpointId> {
        self.privates_of(id)
            .filter_map(|up| self.upstreams.get(up)?.endpoint)
            .collect()
    }

    /// The one to this endpoint that is kept for this client.
    pub(super) fn take_private(
        &mut self,
        id: ClientId,
        endpoint: EndpointId,
    ) -> Option<UpstreamId> {
        if self.privates.is_empty() || !self.clients.get(id)?.has_private {
            return None;
        }
        let is_there = |up: &UpstreamId| {
            self.upstreams
                .get(*up)
                .is_some_and(|upstream| upstream.endpoint == Some(endpoint))
        };
        let up = self.privates_of(id).find(is_there)?;
        self.privates.remove(&(id.index(), up.index()));
        Some(up)
    }

    /// A client is gone, and what was kept for it goes too.
    pub(super) fn close_privates(&mut self, id: ClientId) {
        for up in self.privates_of(id).collect::<Vec<_>>() {
            self.close_idle(up);
        }
    }

    /// The connection to this endpoint that idles for the shortest time.
    pub(super) fn take_idle(&mut self, endpoint: EndpointId) -> Option<UpstreamId> {
        let pooled = self
            .endpoints
            .get_mut(endpoint)
            .and_then(|endpoint| endpoint.idle.take());
        pooled.filter(|&up| self.upstreams.get(up).is_some())
    }

    /// One to any endpoint of a target.
    pub(super) fn take_any_idle(&mut self, target: usize) -> Option<UpstreamId> {
        let endpoints = &self.targets.get(target)?.endpoints;
        let has_one = |id: &EndpointId| {
            self.endpoints
                .get(*id)
                .is_some_and(|endpoint| !endpoint.idle.is_empty())
        };
        let endpoint = endpoints.iter().copied().find(has_one)?;
        self.take_idle(endpoint)
    }

    /// There are as many as there may be, idle ones included: one that idles makes room for one that is needed.
    pub(super) fn make_room_upstream(&mut self) {
        if self.upstreams.len() >= self.bounds.upstreams && !self.shed_idle() {
            self.shed_contender();
        }
    }

    /// The timer of an upstream connection fired.
    pub(super) fn upstream_due(&mut self, up: UpstreamId, now: Instant) {
        match self.upstreams.get(up).map(|upstream| upstream.owner) {
            Some(Owner::Idle | Owner::Private(_)) => self.close_idle(up),
            Some(Owner::Exchange(_) | Owner::Subrequest(_)) => self.race_on(up, now),
            Some(Owner::Contender(_)) | None => {}
        }
    }

    /// An idle connection ends: its time is over, or the peer closed it or spoke unasked.
    pub(super) fn close_idle(&mut self, up: UpstreamId) {
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        match upstream.owner {
            Owner::Idle => {
                if let Some(endpoint) = upstream.endpoint.and_then(|id| self.endpoints.get_mut(id))
                {
                    endpoint.idle.remove(up);
                }
            }
            Owner::Private(client) => drop(self.privates.remove(&(client.index(), up.index()))),
            Owner::Exchange(_) | Owner::Subrequest(_) | Owner::Contender(_) => return,
        }
        self.close_up(up);
    }

    pub(super) fn close_all_idle(&mut self) {
        while self.shed_idle() {}
    }

    /// Closes the oldest idle connection of the endpoint that has most of them; where there is none, one that is kept for a
    /// client.
    pub(super) fn shed_idle(&mut self) -> bool {
        let fullest = self
            .endpoints
            .values_mut()
            .max_by_key(|endpoint| endpoint.idle.len());
        if let Some(up) = fullest.and_then(|endpoint| endpoint.idle.take_oldest()) {
            self.close_up(up);
            return true;
        }
        match self.privates.pop_first() {
            Some((_, up)) => {
                self.close_up(up);
                true
            }
            None => false,
        }
    }

    /// Ends an upstream connection and everything it holds.
    pub(super) fn close_up(&mut self, up: UpstreamId) {
        self.release_in_flight(up);
        self.end_race(up);
        if let Some(mut upstream) = self.upstreams.remove(up) {
            self.pool.give_back(&mut upstream.inbox);
            upstream.outbox.clear(&mut self.pool);
            self.commands.push_back(Command::Close {
                side: Side::Upstream(up),
                abort: false,
            });
        }
    }
}
