//! Connections to the targets: where they go, which one a request gets, and what becomes of them
//! afterwards.
//!
//! | file | duty |
//! |---|---|
//! | `connection` | one connection |
//! | `attempts` | where one request may go, and where it was tried |
//! | `editions` | what of this survives new rules |
//! | `carried` | what of this another process takes over |
//! | `names` | targets, the addresses of their names, endpoints |
//! | `affinity` | the endpoint that a cookie names |
//! | `selection` | which endpoint is next |
//! | `in_flight` | what requests in flight and their failures say of endpoints |
//! | `health_checks` | what checks say of them |
//! | `notes` | since when they are down, and why |
//! | `pool` | idle connections |
//! | `dial` | a connection for a request |
//! | `race` | several addresses of one name at once (RFC 8305 5) |
//! | `view` | what the metrics and the status page show |
//!
//! In scope: everything of a connection but the bytes of a request. Requests are the matter of
//! `exchange` and `subrequest`, which use this part.

mod affinity;
mod attempts;
mod carried;
mod connection;
mod dial;
mod editions;
mod health_checks;
mod in_flight;
mod names;
mod notes;
mod pool;
mod race;
mod selection;
mod view;

use std::collections::BTreeMap;

pub(super) use self::attempts::{Attempts, Dialing, NoEndpoint, Search};
pub(super) use self::carried::HealthWalk;
pub(super) use self::connection::{Owner, Stage, Upstream};
pub(super) use self::dial::{ConnectTime, Dialed};
pub(super) use self::health_checks::{CheckedEndpoint, DueCheck, health_request};
pub(super) use self::names::{Endpoint, TargetState};
pub(super) use self::notes::HealthNotes;
pub(super) use self::selection::{Selection, ServiceState};
pub(super) use self::view::EndpointView;
use super::command::{Command, Side};
use super::context::{Context, TimerKey};
use super::ids::{EndpointId, OfEndpoint, OfService, OfTarget, OfUpstream, TargetId, UpstreamId};
use crate::slab::Slab;
use crate::wheel::{Timer, Wheel};

/// All upstream connections, and what is known of where they lead.
pub(super) struct Upstreams {
    connections: Slab<Upstream, OfUpstream>,
    targets: Slab<TargetState, OfTarget>,
    endpoints: Slab<Endpoint, OfEndpoint>,
    services: Slab<ServiceState, OfService>,
    /// Source of the seeds for choices at random.
    seed: u64,
    /// Idle connections that are kept for one client each, under the slots of both.
    private: BTreeMap<(u32, u32), UpstreamId>,
    /// Connections that race against another one, under its slot, in the order in which they began.
    races: BTreeMap<u32, Vec<UpstreamId>>,
}

impl Upstreams {
    /// Creates the part without connections, targets and services. `seed` is for choices at random.
    pub(super) fn new(seed: u64) -> Upstreams {
        Upstreams {
            connections: Slab::new(),
            targets: Slab::new(),
            endpoints: Slab::new(),
            services: Slab::new(),
            seed,
            private: BTreeMap::new(),
            races: BTreeMap::new(),
        }
    }

    /// Returns a connection.
    #[inline]
    pub(super) fn get(&self, up: UpstreamId) -> Option<&Upstream> {
        self.connections.get(up)
    }

    /// Returns a connection.
    #[inline]
    pub(super) fn get_mut(&mut self, up: UpstreamId) -> Option<&mut Upstream> {
        self.connections.get_mut(up)
    }

    /// Number of connections, idle ones included.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Number of targets, services and destinations whose state is kept.
    pub(super) fn states(&self) -> usize {
        self.services
            .values()
            .map(|service| service.destinations.len().saturating_add(1))
            .fold(self.targets.len(), usize::saturating_add)
    }

    /// Targets of all connections, one for each.
    pub(super) fn targets_of_connections(&self) -> impl Iterator<Item = TargetId> {
        self.connections.values().map(|upstream| upstream.target)
    }

    /// Has the loop look at a connection again.
    #[inline]
    pub(super) fn mark_ready(&mut self, up: UpstreamId, ctx: &mut Context) {
        if let Some(upstream) = self.connections.get_mut(up) {
            ctx.mark_ready(&mut upstream.queued, Side::Upstream(up));
        }
    }

    /// Closes a connection and drops what it holds, and those that race against it.
    pub(super) fn close(&mut self, up: UpstreamId, ctx: &mut Context) {
        if !self.races.is_empty() {
            for contender in self.races.remove(&up.index()).unwrap_or_default() {
                self.remove(contender, ctx);
            }
        }
        self.remove(up, ctx);
    }

    fn remove(&mut self, up: UpstreamId, ctx: &mut Context) {
        self.release_in_flight(up, false);
        if let Some(mut upstream) = self.connections.remove(up) {
            ctx.buffers.give_back(&mut upstream.inbox);
            upstream.outbox.clear(&mut ctx.buffers);
            ctx.command(Command::Close {
                side: Side::Upstream(up),
                abort: false,
            });
        }
    }

    /// Returns the timer of a connection, of a service's health checks, or of a target.
    pub(super) fn timer(&mut self, key: TimerKey) -> Option<&mut Timer> {
        match key {
            TimerKey::Upstream(up) => self.get_mut(up).map(|upstream| &mut upstream.timer),
            TimerKey::HealthChecks(service) => {
                let state = self.services.get_mut(service)?;
                Some(&mut state.timer)
            }
            TimerKey::Target(target) => {
                let state = self.targets.get_mut(target)?;
                Some(&mut state.timer)
            }
            _ => None,
        }
    }

    /// Leaves one reminder for each timer of this part.
    pub(super) fn renew_reminders(&mut self, timers: &mut Wheel<TimerKey>) {
        for up in self.connections.keys().collect::<Vec<_>>() {
            if let Some(upstream) = self.connections.get_mut(up) {
                timers.renew(&mut upstream.timer, TimerKey::Upstream(up));
            }
        }
        for service in self.services.keys().collect::<Vec<_>>() {
            if let Some(state) = self.services.get_mut(service) {
                timers.renew(&mut state.timer, TimerKey::HealthChecks(service));
            }
        }
        for target in self.targets.keys().collect::<Vec<_>>() {
            if let Some(state) = self.targets.get_mut(target) {
                timers.renew(&mut state.timer, TimerKey::Target(target));
            }
        }
    }

    /// Returns the address that a connection goes to, where it is known.
    pub(super) fn address_of(&self, up: UpstreamId) -> Option<core::net::SocketAddr> {
        let upstream = self.get(up)?;
        match upstream.stage {
            Stage::Dialing(address) => Some(address),
            _ => self.address_at(upstream.endpoint?),
        }
    }

    /// Returns the addresses that the target of a connection has now.
    #[cold]
    pub(super) fn addresses_of(&self, up: UpstreamId) -> Vec<core::net::SocketAddr> {
        let target = self.get(up).map(|upstream| upstream.target);
        let state = target.and_then(|target| self.targets.get(target));
        state.map_or_else(Vec::new, |state| state.addresses.known().to_vec())
    }

    /// Returns the address of an endpoint that its name still has.
    pub(super) fn address_at(&self, endpoint: EndpointId) -> Option<core::net::SocketAddr> {
        self.endpoints
            .get(endpoint)
            .map(|endpoint| endpoint.address)
    }

    /// Returns whether no name has more waiting for it than may wait.
    pub(super) fn is_within_bounds(&self, waiting: usize) -> bool {
        self.targets
            .values()
            .all(|target| target.waiting() <= waiting.saturating_add(1))
    }
}
