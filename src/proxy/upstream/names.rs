//! Names of the targets, and the endpoints that these have.
//!
//! An endpoint is one address of one target. When a name's answer no longer has an address, its
//! endpoint goes, and its idle connections with it; what is in flight there comes to its end, and
//! its connection is closed then.

use core::net::SocketAddr;
use std::rc::Rc;

use super::super::command::Command;
use super::super::context::{Context, TimerKey};
use super::super::ids::{EndpointId, ServiceId, TargetId, UpstreamId};
use super::super::settings::{Target, TargetHost};
use super::Upstreams;
use super::connection::Stage;
use crate::limits::{IDLE_UPSTREAMS_PER_TARGET, RESOLVE_INTERVAL, RESOLVE_RETRY};
use crate::time::{Duration, Instant};
use crate::upstream::addresses::{Addresses, of_socket};
use crate::upstream::idle::IdlePool;
use crate::wheel::Timer;

/// An address of a target.
pub(in crate::proxy) struct Endpoint {
    pub(super) address: SocketAddr,
    idle: IdlePool<UpstreamId>,
    /// Most connections that may idle: what a target may have is shared by its addresses.
    idle_max: usize,
}

/// A target: its addresses, and the connections that wait for them.
pub(in crate::proxy) struct TargetState {
    pub(super) target: Rc<Target>,
    /// Services that have the target, and the number of the destination there.
    pub(super) users: Vec<(ServiceId, usize)>,
    pub(super) addresses: Addresses,
    /// Endpoints of the known addresses.
    pub(super) endpoints: Vec<EndpointId>,
    /// Connections that wait for a look-up, while no address is known.
    waiting: Vec<UpstreamId>,
    has_name: bool,
    /// Number of the first edition of the rules that has the target.
    pub(super) first_edition: u64,
    /// Number of the last edition of the rules that has the target; `u64::MAX`: that of the moment.
    pub(super) last_edition: u64,
    source: Source,
    /// Look-ups in a row that failed while no address was known.
    failures: u32,
    /// End of the last look-up.
    looked_up: Instant,
    /// The next look-up.
    pub(super) timer: Timer,
}

/// Source of the addresses that a target has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// No source: the target was not begun with.
    None,
    /// The settings, or look-ups.
    Own,
    /// The old process of an upgrade. With the first answer, no address counts as new.
    OldProcess,
}

impl Endpoint {
    /// Puts a connection into the pool; false where there is no room.
    pub(super) fn put_idle(&mut self, up: UpstreamId) -> bool {
        self.idle.put(up, self.idle_max)
    }

    /// Takes the connection that idles for the shortest time.
    pub(super) fn take_idle(&mut self) -> Option<UpstreamId> {
        self.idle.take()
    }

    /// Takes the connection that idles for the longest time.
    pub(super) fn take_oldest_idle(&mut self) -> Option<UpstreamId> {
        self.idle.take_oldest()
    }

    /// Takes a connection out that closed.
    pub(super) fn remove_idle(&mut self, up: UpstreamId) {
        self.idle.remove(up);
    }

    /// Returns whether a connection idles.
    pub(super) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Number of connections that idle.
    pub(super) fn idle_len(&self) -> usize {
        self.idle.len()
    }
}

impl TargetState {
    pub(super) fn new(target: &Target, first_edition: u64) -> TargetState {
        let (addresses, has_name) = match &target.host {
            TargetHost::Address(address) => (
                Addresses::fixed(SocketAddr::new(*address, target.port)),
                false,
            ),
            TargetHost::Unix(_) => {
                let path = target.host.socket().unwrap_or_default();
                (Addresses::fixed(of_socket(path)), false)
            }
            TargetHost::Name(_) => (Addresses::unknown(), true),
        };
        TargetState {
            target: Rc::new(target.clone()),
            users: Vec::new(),
            addresses,
            endpoints: Vec::new(),
            waiting: Vec::new(),
            has_name,
            first_edition,
            last_edition: u64::MAX,
            source: Source::None,
            failures: 0,
            looked_up: Instant::ZERO,
            timer: Timer::default(),
        }
    }

    /// Returns the time from a look-up that has just ended to the next one. A name that was never
    /// known is looked up again soon.
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

    /// Returns true if the last look-up failed while no address was known.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns true if the rules of the moment do not have the target any more.
    pub(super) fn is_retired(&self) -> bool {
        self.last_edition != u64::MAX
    }

    /// Number of connections that are remembered as waiting for the name.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Upstreams {
    /// Begins with a target: a literal address is an endpoint at once, a name is looked up.
    pub(super) fn find_target(&mut self, target: TargetId, ctx: &mut Context) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        if state.source != Source::None {
            return;
        }
        state.source = Source::Own;
        if state.has_name {
            self.look_up(target, ctx);
        } else {
            self.renew_endpoints(target, ctx);
        }
    }

    /// Looks a target's name up, unless that is under way.
    pub(in crate::proxy) fn look_up(&mut self, target: TargetId, ctx: &mut Context) {
        if self.is_retired(target) {
            return self.retire_target(target, ctx);
        }
        if let Some(state) = self.targets.get_mut(target)
            && !state.addresses.is_lookup_pending()
        {
            state.addresses.lookup_started();
            let name = Rc::clone(&state.target);
            ctx.command(Command::Resolve { target, name });
        }
    }

    /// Returns whether an answer is awaited for a target that may have no address yet. A name that
    /// was never known is looked up again for this, not before [`RESOLVE_RETRY`] has passed since
    /// the last answer.
    pub(super) fn awaits_name(&mut self, target: TargetId, ctx: &mut Context) -> bool {
        let Some(state) = self.targets.get(target) else {
            return false;
        };
        let never_known = state.has_name && state.addresses.known().is_empty();
        if never_known
            && !state.addresses.is_lookup_pending()
            && ctx.now.since(state.looked_up) >= RESOLVE_RETRY
        {
            self.look_up(target, ctx);
        }
        self.targets
            .get(target)
            .is_some_and(|state| state.addresses.is_awaited())
    }

    /// Takes the answer of a look-up; none: it failed. Returns the connections that waited for it;
    /// those that have gone since are among them, see [`is_waiting`](Self::is_waiting).
    pub(in crate::proxy) fn resolved(
        &mut self,
        target: TargetId,
        addresses: &[SocketAddr],
        ctx: &mut Context,
    ) -> Vec<UpstreamId> {
        let Some(state) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        state.addresses.lookup_ended(addresses);
        state.looked_up = ctx.now;
        let due = ctx.now.after(state.next_lookup());
        let key = TimerKey::Target(target);
        ctx.timers.arm(&mut state.timer, key, due);
        let waiting = core::mem::take(&mut state.waiting);
        self.renew_endpoints(target, ctx);
        if let Some(state) = self
            .targets
            .get_mut(target)
            .filter(|_| !addresses.is_empty())
        {
            state.source = Source::Own;
        }
        waiting
    }

    /// Returns the addresses of a name; nothing for a target without one.
    pub(super) fn answer_for(&self, target: TargetId) -> &[SocketAddr] {
        let state = self.targets.get(target).filter(|state| state.has_name);
        state.map_or(&[], |state| state.addresses.known())
    }

    /// Takes over the addresses of a name that was not resolved here yet. The first look-up goes on.
    /// Returns whether the target has a name.
    pub(super) fn restore_addresses(
        &mut self,
        target: TargetId,
        addresses: &[SocketAddr],
        ctx: &mut Context,
    ) -> bool {
        let Some(state) = self.targets.get_mut(target).filter(|state| state.has_name) else {
            return false;
        };
        if state.addresses.known().is_empty() {
            state.addresses.learn(addresses);
            state.source = Source::OldProcess;
            self.renew_endpoints(target, ctx);
        }
        true
    }

    /// Makes the endpoints of a target those of its addresses: new ones join the groups, old ones
    /// leave them.
    fn renew_endpoints(&mut self, target: TargetId, ctx: &mut Context) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        let known = state.addresses.known().to_vec();
        let before = core::mem::take(&mut state.endpoints);
        let is_first = before.is_empty() || state.source == Source::OldProcess;
        let idle_max = if state.is_retired() {
            0
        } else {
            IDLE_UPSTREAMS_PER_TARGET
                .checked_div(known.len())
                .unwrap_or(IDLE_UPSTREAMS_PER_TARGET)
        };
        let mut endpoints = Vec::with_capacity(known.len());
        for &id in &before {
            if self
                .address_at(id)
                .is_some_and(|address| known.contains(&address))
            {
                endpoints.push(id);
            } else {
                self.drop_endpoint(target, id, ctx);
            }
        }
        for address in known {
            if !endpoints
                .iter()
                .any(|&id| self.address_at(id) == Some(address))
            {
                let id = self.endpoints.insert(Endpoint {
                    address,
                    idle: IdlePool::default(),
                    idle_max,
                });
                endpoints.push(id);
                self.join_groups(target, id, !is_first, ctx);
            }
        }
        for &id in &endpoints {
            let Some(endpoint) = self.endpoints.get_mut(id) else {
                continue;
            };
            endpoint.idle_max = idle_max;
            for up in endpoint.idle.trim(idle_max) {
                self.close(up, ctx);
            }
        }
        if let Some(state) = self.targets.get_mut(target) {
            state.endpoints = endpoints;
        }
        self.plan_checks(target, ctx);
    }

    pub(super) fn drop_endpoint(&mut self, target: TargetId, id: EndpointId, ctx: &mut Context) {
        self.retire_endpoint(target, id, ctx);
        self.endpoints.remove(id);
    }

    /// Takes an endpoint out of the groups and closes its idle connections. No others idle there
    /// later.
    pub(super) fn retire_endpoint(&mut self, target: TargetId, id: EndpointId, ctx: &mut Context) {
        self.leave_groups(target, id);
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return;
        };
        endpoint.idle_max = 0;
        for up in endpoint.idle.trim(0) {
            self.close(up, ctx);
        }
        self.close_private_to(id, ctx);
    }

    /// Returns the path of the unix socket that a target is.
    pub(in crate::proxy) fn socket_of(&self, target: TargetId) -> Option<&str> {
        self.targets.get(target)?.target.host.socket()
    }

    /// Returns true if the rules of the moment do not have a target any more.
    pub(in crate::proxy) fn is_retired(&self, target: TargetId) -> bool {
        let state = self.targets.get(target);
        state.is_some_and(TargetState::is_retired)
    }

    /// Returns the endpoint of a target at an address.
    pub(super) fn endpoint_at(&self, target: TargetId, address: SocketAddr) -> Option<EndpointId> {
        let endpoints = &self.targets.get(target)?.endpoints;
        let mut endpoints = endpoints.iter().copied();
        endpoints.find(|&id| self.address_at(id) == Some(address))
    }

    /// Remembers a connection that waits for the target's first look-up. Those that gave up are
    /// forgotten when there are as many as can wait.
    pub(super) fn wait_for_name(&mut self, up: UpstreamId, target: TargetId, ctx: &Context) {
        let Some(state) = self.targets.get_mut(target) else {
            return;
        };
        let mut waiting = core::mem::take(&mut state.waiting);
        if waiting.len() >= ctx.rules.bounds.waiting {
            waiting.retain(|&up| self.is_waiting(up, target));
        }
        waiting.push(up);
        if let Some(state) = self.targets.get_mut(target) {
            state.waiting = waiting;
        }
    }

    /// Returns whether a connection waits for the name of a target.
    pub(in crate::proxy) fn is_waiting(&self, up: UpstreamId, target: TargetId) -> bool {
        self.connections
            .get(up)
            .is_some_and(|upstream| upstream.stage == Stage::Resolving && upstream.target == target)
    }

    /// Notes whether the address that a connection is being made to was reached: requests
    /// that do not choose begin with the one that was reached last.
    pub(in crate::proxy) fn note_address(&mut self, up: UpstreamId, is_reached: bool) {
        let Some(upstream) = self.connections.get(up) else {
            return;
        };
        let (Stage::Dialing(address), target) = (upstream.stage, upstream.target) else {
            return;
        };
        if let Some(state) = self.targets.get_mut(target) {
            if is_reached {
                state.addresses.reached(address)
            } else {
                state.addresses.refused(address)
            }
        }
    }
}
