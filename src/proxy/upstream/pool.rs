//! Idle connections: in the pool of their endpoint, or kept for one client (invariant I3: nothing
//! is left on them).

use core::net::IpAddr;

use super::super::context::{Context, TimerKey};
use super::super::ids::{ClientId, EndpointId, TargetId, UpstreamId};
use super::super::rules::ServiceRules;
use super::Upstreams;
use super::connection::Owner;
use super::names::TargetState;
use super::selection::Selection;
use crate::time::Duration;
use crate::upstream::group::Member;
use crate::upstream::health::Availability;

impl Upstreams {
    /// Puts a connection into its endpoint's pool, for at most `keep`, when `reusable` says that it
    /// may go there and nothing is left on it. Otherwise it is closed; without `keep` connections
    /// do not idle.
    pub(in crate::proxy) fn put_back(
        &mut self,
        up: UpstreamId,
        reusable: bool,
        keep: Option<Duration>,
        ctx: &mut Context,
    ) {
        let Some(upstream) = self.connections.get_mut(up) else {
            return;
        };
        upstream.outbox.release_head(&mut ctx.buffers);
        let may_idle = reusable && keep.is_some() && !ctx.draining && upstream.may_be_kept();
        let endpoint = upstream.endpoint.and_then(|id| self.endpoints.get_mut(id));
        if !may_idle || !endpoint.is_some_and(|endpoint| endpoint.put_idle(up)) {
            self.release_in_flight(up, true);
            return self.close(up, ctx);
        }
        upstream.disengage(Owner::Idle, &mut ctx.buffers);
        if let Some(span) = upstream.may_idle().into_iter().chain(keep).min() {
            let due = ctx.now.after(span);
            ctx.timers
                .arm(&mut upstream.timer, TimerKey::Upstream(up), due);
        }
        // Bytes that were not asked for may already wait in the socket: the loop, which reads on or
        // looks again, finds them.
        if upstream.in_flight.is_some() {
            self.release_in_flight(up, true);
        }
    }

    /// Keeps a connection that is authenticated as a whole for the client that it served, until
    /// that client's own connection closes or the upstream wants no more of it. Returns whether it
    /// is kept; otherwise it is closed. Without `keep` connections do not idle.
    pub(in crate::proxy) fn keep_private(
        &mut self,
        client: ClientId,
        up: UpstreamId,
        reusable: bool,
        keep: Option<Duration>,
        ctx: &mut Context,
    ) -> bool {
        let Some(upstream) = self.connections.get_mut(up) else {
            return false;
        };
        upstream.outbox.release_head(&mut ctx.buffers);
        let target = self.targets.get(upstream.target);
        let is_known = upstream
            .endpoint
            .is_some_and(|endpoint| self.endpoints.get(endpoint).is_some())
            && !target.is_some_and(TargetState::is_retired);
        let may_idle = reusable && keep.is_some() && !ctx.draining && upstream.may_be_kept();
        if !may_idle || !is_known {
            self.release_in_flight(up, true);
            self.close(up, ctx);
            return false;
        }
        upstream.disengage(Owner::Private(client), &mut ctx.buffers);
        upstream.private = true;
        if let Some(span) = upstream.may_idle() {
            let due = ctx.now.after(span);
            ctx.timers
                .arm(&mut upstream.timer, TimerKey::Upstream(up), due);
        }
        self.private.insert((client.index(), up.index()), up);
        self.release_in_flight(up, true);
        true
    }

    /// Idle connections that are kept for a client.
    fn private_of(&self, client: ClientId) -> impl Iterator<Item = UpstreamId> {
        self.private
            .range((client.index(), 0)..=(client.index(), u32::MAX))
            .map(|(_, up)| *up)
    }

    /// Returns the endpoints that these go to.
    fn private_endpoints(&self, client: ClientId) -> Vec<EndpointId> {
        self.private_of(client)
            .filter_map(|up| self.connections.get(up)?.endpoint)
            .collect()
    }

    /// Chooses an endpoint that a connection is kept for a client to: one that is up before one that
    /// is ejected.
    pub(super) fn choose_kept(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        id: ClientId,
        ctx: &mut Context,
    ) -> Option<Selection> {
        let kept = self.private_endpoints(id);
        for worst in [Availability::Up, Availability::Ejected] {
            for &endpoint in &kept {
                let fits = |member: &Member<EndpointId>| {
                    member.endpoint == endpoint && member.availability() <= worst
                };
                if let Ok(selection) = self.choose_among(rules, client, ctx, fits) {
                    return Some(selection);
                }
            }
        }
        None
    }

    /// Takes the connection to an endpoint that is kept for a client.
    pub(super) fn take_private(
        &mut self,
        client: ClientId,
        endpoint: EndpointId,
    ) -> Option<UpstreamId> {
        let leads_there = |up: &UpstreamId| {
            self.connections
                .get(*up)
                .is_some_and(|upstream| upstream.endpoint == Some(endpoint))
        };
        let up = self.private_of(client).find(leads_there)?;
        self.private.remove(&(client.index(), up.index()));
        Some(up)
    }

    /// Closes what is kept for a client that is gone.
    pub(in crate::proxy) fn close_private(&mut self, client: ClientId, ctx: &mut Context) {
        for up in self.private_of(client).collect::<Vec<_>>() {
            self.close_idle(up, ctx);
        }
    }

    /// Closes what is kept for clients and goes to an endpoint that its name does not have any
    /// more.
    pub(super) fn close_private_to(&mut self, endpoint: EndpointId, ctx: &mut Context) {
        let leads_there = |up: &UpstreamId| {
            self.connections
                .get(*up)
                .is_some_and(|upstream| upstream.endpoint == Some(endpoint))
        };
        let found = self.private.values().copied().filter(leads_there);
        for up in found.collect::<Vec<_>>() {
            self.close_idle(up, ctx);
        }
    }

    /// Takes the connection to an endpoint that idles for the shortest time.
    #[inline(always)]
    pub(super) fn take_idle(&mut self, endpoint: EndpointId) -> Option<UpstreamId> {
        let pooled = self.endpoints.get_mut(endpoint)?.take_idle()?;
        self.connections.get(pooled).map(|_| pooled)
    }

    /// Takes an idle connection to any endpoint of a target.
    pub(super) fn take_any_idle(&mut self, target: TargetId) -> Option<UpstreamId> {
        let has_one = |id: &EndpointId| {
            self.endpoints
                .get(*id)
                .is_some_and(|endpoint| endpoint.has_idle())
        };
        let endpoints = &self.targets.get(target)?.endpoints;
        let endpoint = endpoints.iter().copied().find(has_one)?;
        self.take_idle(endpoint)
    }

    /// Makes room for a connection that is needed: where there are as many as there may be, one
    /// that idles is closed, or one that races.
    pub(super) fn make_room(&mut self, ctx: &mut Context) {
        if self.len() >= ctx.rules.bounds.upstreams && !self.shed_idle(ctx) {
            self.shed_contender(ctx);
        }
    }

    /// Ends an idle connection: its time is over, or the peer closed it or sent what was not asked
    /// for.
    pub(in crate::proxy) fn close_idle(&mut self, up: UpstreamId, ctx: &mut Context) {
        let Some(upstream) = self.connections.get(up) else {
            return;
        };
        match upstream.owner {
            Owner::Idle => {
                if let Some(endpoint) = upstream.endpoint.and_then(|id| self.endpoints.get_mut(id))
                {
                    endpoint.remove_idle(up);
                }
            }
            Owner::Private(client) => {
                self.private.remove(&(client.index(), up.index()));
            }
            Owner::Exchange(_) | Owner::Subrequest(_) | Owner::Store(_) | Owner::Contender(_) => {
                return;
            }
        }
        self.close(up, ctx);
    }

    /// Closes all idle connections.
    pub(in crate::proxy) fn close_all_idle(&mut self, ctx: &mut Context) {
        while self.shed_idle(ctx) {}
    }

    /// Closes the oldest idle connection of the endpoint that has most of them; where there is
    /// none, one that is kept for a client. Returns whether there was one.
    pub(in crate::proxy) fn shed_idle(&mut self, ctx: &mut Context) -> bool {
        let fullest = self
            .endpoints
            .values_mut()
            .max_by_key(|endpoint| endpoint.idle_len());
        let shed = fullest
            .and_then(|endpoint| endpoint.take_oldest_idle())
            .or_else(|| self.private.pop_first().map(|(_, up)| up));
        if let Some(up) = shed {
            self.close(up, ctx);
        }
        shed.is_some()
    }
}
