//! Requests in flight, and what the failed ones say of their endpoints.

use super::super::command::{Cause, Fault};
use super::super::context::Context;
use super::super::ids::{EndpointId, ServiceId, UpstreamId};
use super::super::rules::ServiceRules;
use super::Upstreams;
use super::attempts::Search;
use super::connection::{InFlight, Owner, Stage};
use super::notes::HealthNote;
use super::selection::Seen;
use crate::observe::access::Outcome;
use crate::observe::metrics::numbers::TargetCounters;
use crate::upstream::health::Availability;
use crate::upstream::rules::Blame;

impl Upstreams {
    /// Counts an exchange of `service` as in flight on a connection. The connection holds a slot of
    /// the service unless it is a contender.
    #[inline(always)]
    pub(super) fn count_in_flight(
        &mut self,
        up: UpstreamId,
        service: ServiceId,
        destination: usize,
    ) {
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let Some(group) = &mut state.group else {
            return;
        };
        let Some(upstream) = self.connections.get_mut(up) else {
            return;
        };
        let Some(endpoint) = upstream.endpoint else {
            return;
        };
        let slots = u32::from(!matches!(upstream.owner, Owner::Contender(_)));
        upstream.in_flight = Some(InFlight {
            service,
            destination: destination as u32,
            slots,
        });
        state.slots = state.slots.saturating_add(slots);
        group.begin(endpoint, destination);
    }

    /// Returns whether a service takes one more request, see `limits.inFlight`.
    pub(super) fn has_slot(&self, rules: &ServiceRules) -> bool {
        rules.service.in_flight.is_none_or(|most| {
            let state = self.services.get(rules.id);
            state.is_none_or(|state| state.slots < most)
        })
    }

    /// Has a connection that waits for its target's name hold a slot of the service.
    #[cold]
    pub(super) fn hold_slot(&mut self, up: UpstreamId, service: ServiceId, destination: usize) {
        let (Some(state), Some(upstream)) =
            (self.services.get_mut(service), self.connections.get_mut(up))
        else {
            return;
        };
        let slots = u32::from(state.group.is_some());
        state.slots = state.slots.saturating_add(slots);
        upstream.in_flight = Some(InFlight {
            service,
            destination: destination as u32,
            slots,
        });
    }

    /// Moves the slot of a connection to another one that takes its request over.
    pub(super) fn move_slot(&mut self, from: UpstreamId, to: UpstreamId) {
        let mut held = |up: UpstreamId, slots: u32| {
            let in_flight = self.connections.get_mut(up)?.in_flight.as_mut()?;
            Some(core::mem::replace(&mut in_flight.slots, slots))
        };
        let slots = held(from, 0).unwrap_or(0);
        if held(to, slots).is_none() {
            // A connection that nothing counts: the slot stays where it is.
            held(from, slots);
        }
    }

    /// Counts all requests in flight again, after a reload has changed groups. `exchanges`: the
    /// connection of each exchange, its service, and the number of its destination.
    pub(in crate::proxy) fn recount(
        &mut self,
        exchanges: impl Iterator<Item = (UpstreamId, ServiceId, u32)>,
    ) {
        for state in self.services.values_mut() {
            state.slots = 0;
            if let Some(group) = &mut state.group {
                group.clear_loads();
            }
        }
        for (up, service, destination) in exchanges {
            let slots = u32::from(self.has_group(service));
            if let Some(upstream) = self.connections.get_mut(up) {
                upstream.in_flight = Some(InFlight {
                    service,
                    destination,
                    slots,
                });
            }
        }
        for upstream in self.connections.values() {
            let Some(in_flight) = upstream.in_flight else {
                continue;
            };
            let Some(state) = self.services.get_mut(in_flight.service) else {
                continue;
            };
            state.slots = state.slots.saturating_add(in_flight.slots);
            if let (Some(group), Some(endpoint)) = (&mut state.group, upstream.endpoint) {
                group.begin(endpoint, in_flight.destination as usize);
            }
        }
    }

    /// Returns what is counted of the endpoint that a connection of a service goes to.
    #[inline(always)]
    pub(super) fn counters_of(
        &mut self,
        up: UpstreamId,
        service: ServiceId,
        destination: usize,
    ) -> Option<&mut TargetCounters> {
        let state = self.services.get_mut(service)?;
        match &mut state.group {
            None => Some(&mut state.destinations.get_mut(destination)?.counters),
            Some(group) => {
                let endpoint = self.connections.get(up)?.endpoint?;
                group.counters_mut(endpoint, destination)
            }
        }
    }

    /// Counts the exchange on a connection as over. `is_answered`: its response was read whole.
    pub(super) fn release_in_flight(&mut self, up: UpstreamId, is_answered: bool) {
        let Some(upstream) = self.connections.get_mut(up) else {
            return;
        };
        let Some(in_flight) = upstream.in_flight.take() else {
            return;
        };
        let Some(state) = self.services.get_mut(in_flight.service) else {
            return;
        };
        state.slots = state.slots.saturating_sub(in_flight.slots);
        if let (Some(group), Some(endpoint)) = (&mut state.group, upstream.endpoint) {
            group.end(endpoint, in_flight.destination as usize, is_answered);
        }
    }

    /// Returns true if each service holds a slot for each of its exchanges with a connection, each
    /// endpoint counts the connections that requests use, and takes more unless it is full.
    /// `exchanges`: see
    /// [`recount`](Self::recount).
    pub(in crate::proxy) fn counts_hold(
        &self,
        exchanges: impl Iterator<Item = (UpstreamId, ServiceId, u32)>,
    ) -> bool {
        let exchanges = exchanges.collect::<Vec<_>>();
        self.services.keys().all(|id| {
            let Some((state, group)) = self
                .services
                .get(id)
                .and_then(|state| Some((state, state.group.as_ref()?)))
            else {
                return true;
            };
            let own = exchanges.iter().filter(|(_, service, _)| *service == id);
            let mut loads = group.members().iter().zip(group.loads());
            own.count() == state.slots as usize
                && group.weights_hold()
                && loads.all(|(member, load)| {
                    let place = (id, member.destination, member.endpoint);
                    let connections = self.connections.keys();
                    let used = connections.filter(|up| self.counted(*up) == Some(place));
                    used.count() == load as usize
                })
        })
    }

    /// Returns the endpoint that a connection's exchange is counted for.
    fn counted(&self, up: UpstreamId) -> Option<Seen> {
        let upstream = self.connections.get(up)?;
        let in_flight = upstream.in_flight?;
        let destination = in_flight.destination as usize;
        Some((in_flight.service, destination, upstream.endpoint?))
    }

    /// Notes a failed attempt. What lies with the endpoint counts against
    /// it.
    pub(in crate::proxy) fn note_failure(
        &mut self,
        up: UpstreamId,
        search: &Search<'_>,
        outcome: Outcome,
        ctx: &mut Context,
    ) {
        if !matches!(
            outcome,
            Outcome::UpstreamRefused
                | Outcome::UpstreamUnreachable
                | Outcome::UpstreamTls
                | Outcome::UpstreamClosed
                | Outcome::UpstreamTimeout
        ) {
            return;
        }
        let Some(seen) = self.counted(up) else {
            return self.note_only_endpoint(up, search, outcome, ctx);
        };
        let is_open = self
            .get(up)
            .is_some_and(|upstream| upstream.stage == Stage::Open);
        let (client, is_retry) = search.blame();
        // A request that failed elsewhere, too, says more of itself than of this endpoint.
        if is_retry && (is_open || outcome == Outcome::UpstreamTimeout) {
            return;
        }
        let blame = if is_open {
            Blame::Client(client)
        } else {
            Blame::Endpoint
        };
        let (service, destination, endpoint) = seen;
        let Some(group) = self.group_mut(service) else {
            return;
        };
        match group.failed(endpoint, destination, blame, ctx.now) {
            Some(change) => self.report_health(seen, (change, Cause::Failure(outcome), None), ctx),
            None if !is_open && group.is_up(endpoint, destination) => {
                self.note_failing(up, seen, outcome, ctx)
            }
            None => {}
        }
    }

    /// Notes that no connection was made to the one endpoint of a service without a group.
    fn note_only_endpoint(
        &mut self,
        up: UpstreamId,
        search: &Search<'_>,
        outcome: Outcome,
        ctx: &Context,
    ) {
        let upstream = self.connections.get(up);
        let upstream = upstream.filter(|upstream| upstream.stage != Stage::Open);
        let endpoint = upstream.and_then(|upstream| upstream.endpoint);
        if let (Some((service, destination)), Some(endpoint)) = (search.place(), endpoint)
            && let Some(state) = self.services.get_mut(service)
            && state.group.is_none()
        {
            // The address of before, where the name has another one now.
            if state.notes.of(endpoint, destination).is_none() {
                state.notes.clear();
            }
            self.note_failing(up, (service, destination, endpoint), outcome, ctx);
        }
    }

    /// Notes that no connection was made to an endpoint that is used all the same. Operators see it
    /// as failing until a request has a connection to it.
    fn note_failing(
        &mut self,
        up: UpstreamId,
        (service, destination, endpoint): Seen,
        outcome: Outcome,
        ctx: &Context,
    ) {
        let counters = self.counters_of(up, service, destination);
        let requests = counters.map_or(0, |counters| counters.requests);
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let (place, seen) = ((destination, endpoint), (Cause::Failure(outcome), None));
        let known = state.notes.of(endpoint, destination);
        if known.is_some_and(|known| known.is_failing(requests)) {
            state.notes.note_again(place, seen, ctx.now);
            return;
        }
        let mut note = HealthNote::new(place, Some(ctx.now), seen);
        note.requests = requests;
        state.notes.note(note);
    }

    /// Notes a connection that was refused, or failed in another way before it was made.
    pub(in crate::proxy) fn note_refusal(
        &mut self,
        up: UpstreamId,
        search: &Search<'_>,
        fault: Fault,
        ctx: &mut Context,
    ) {
        if !self.note_absence(up, fault, ctx) {
            self.note_failure(up, search, fault.outcome(), ctx);
        }
        self.note_address(up, false);
    }

    /// Returns whether an address is merely not there while another one of the same name is:
    /// nothing listens at one of the two loopback addresses of `localhost`, or this machine has no
    /// way to addresses of its family. That is no failure. The address is left out for a while, and
    /// the operator is not told.
    fn note_absence(&mut self, up: UpstreamId, fault: Fault, ctx: &Context) -> bool {
        let Some(seen) = self.counted(up) else {
            return false;
        };
        if !self.is_replaceable(seen, fault) {
            return false;
        }
        let (service, destination, endpoint) = seen;
        if let Some(group) = self.group_mut(service) {
            group.mark_absent(endpoint, destination, ctx.now);
        }
        true
    }

    /// Returns whether another address of the same target serves in place of this one, which cannot
    /// be reached for this reason.
    pub(super) fn is_replaceable(
        &self,
        (service, destination, endpoint): Seen,
        fault: Fault,
    ) -> bool {
        let address = |id: EndpointId| self.address_at(id).map(|address| address.ip());
        let (Some(own), Some(group)) = (address(endpoint), self.group(service)) else {
            return false;
        };
        let mut others = group.members().iter().filter(|member| {
            member.destination == destination
                && member.endpoint != endpoint
                && member.availability() == Availability::Up
        });
        match fault {
            Fault::Unreachable => others.next().is_some(),
            Fault::Refused => others.any(|member| {
                let other = address(member.endpoint);
                own.is_loopback()
                    && other.is_some_and(|ip| ip.is_loopback() && ip.is_ipv4() != own.is_ipv4())
            }),
            _ => false,
        }
    }
}
