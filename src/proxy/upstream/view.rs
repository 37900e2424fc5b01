//! Endpoints of a service, as the metrics and the status page show them.

use core::net::SocketAddr;
use std::rc::Rc;

use super::super::ids::EndpointId;
use super::super::rules::{DestinationRules, ServiceRules};
use super::super::settings::Target;
use super::Upstreams;
use super::notes::HealthNote;
use crate::observe::metrics::numbers::TargetCounters;
use crate::time::Instant;
use crate::upstream::health::Availability;

/// Endpoint of a service.
pub(in crate::proxy) struct EndpointView<'a> {
    pub(in crate::proxy) target: Rc<Target>,
    /// Address; `None`: the target's name has none.
    pub(in crate::proxy) address: Option<SocketAddr>,
    pub(in crate::proxy) availability: Availability,
    /// True if it is used, but the last connection to it was not made, or no request was answered since it was
    /// put aside.
    pub(in crate::proxy) is_failing: bool,
    pub(in crate::proxy) counters: TargetCounters,
    /// Number of requests in flight; `None`: the service has no group, which would count them.
    pub(in crate::proxy) in_flight: Option<u64>,
    /// Last change of its health; `None` also if it is used and serves since that failure.
    pub(in crate::proxy) note: Option<&'a HealthNote>,
    /// Number of idle connections, of all services that have the target.
    pub(in crate::proxy) idle: u64,
}

impl<'a> EndpointView<'a> {
    /// Returns true if requests can be expected to be served there.
    pub(in crate::proxy) fn is_up(&self) -> bool {
        self.availability == Availability::Up && !self.is_failing
    }

    /// Sets the last change of its health. `awaits_answer`: no request was answered since it was put aside.
    fn set_note(&mut self, note: Option<&'a HealthNote>, awaits_answer: bool) {
        let requests = self.counters.requests;
        let is_used = self.availability == Availability::Up;
        let fails = |note: &HealthNote| match awaits_answer {
            true => note.is_failure(),
            false => note.is_failing(requests),
        };
        self.is_failing = is_used && note.is_some_and(fails);
        self.note = note.filter(|note| !is_used || self.is_failing || !note.is_failure());
    }
}

impl Upstreams {
    /// Returns the endpoints of a service. A target without an address counts as one, and is down
    /// if its name could not be resolved.
    pub(in crate::proxy) fn view(
        &self,
        rules: &ServiceRules,
        now: Instant,
    ) -> Vec<EndpointView<'_>> {
        let mut found = Vec::new();
        let Some(state) = self.services.get(rules.id) else {
            return found;
        };
        let Some(group) = &state.group else {
            if let Some(destination) = rules.destinations.first() {
                let target = self.targets.get(destination.id);
                let endpoint = target.and_then(|target| target.endpoints.first().copied());
                let mut view = self.view_one(destination, endpoint);
                let known = state.destinations.get(destination.number);
                view.counters = known.map_or(view.counters, |known| known.counters);
                view.set_note(
                    endpoint.and_then(|id| state.notes.of(id, destination.number)),
                    false,
                );
                found.push(view);
            }
            return found;
        };
        let mut has_member = vec![false; state.destinations.len()];
        for (member, load) in group.members().iter().zip(group.loads()) {
            let Some(destination) = rules.destination(member.destination) else {
                continue;
            };
            if let Some(has_member) = has_member.get_mut(member.destination) {
                *has_member = true;
            }
            let mut view = self.view_one(destination, Some(member.endpoint));
            view.availability = member.availability_at(now);
            view.counters = *member.counters();
            view.in_flight = Some(load.into());
            let note = state.notes.of(member.endpoint, member.destination);
            view.set_note(note, member.awaits_answer_at(now));
            found.push(view);
        }
        for destination in &rules.destinations {
            if has_member.get(destination.number) != Some(&true) {
                found.push(self.view_one(destination, None));
            }
        }
        found
    }

    fn view_one(
        &self,
        destination: &DestinationRules,
        endpoint: Option<EndpointId>,
    ) -> EndpointView<'_> {
        let known = endpoint.and_then(|id| self.endpoints.get(id));
        let target = self.targets.get(destination.id);
        let is_lost = known.is_none() && target.is_some_and(|target| target.has_failed());
        EndpointView {
            target: Rc::clone(&destination.target),
            address: known.map(|endpoint| endpoint.address),
            availability: if is_lost {
                Availability::Down
            } else {
                Availability::Up
            },
            is_failing: false,
            counters: TargetCounters::default(),
            in_flight: None,
            note: None,
            idle: known.map_or(0, |endpoint| endpoint.idle_len() as u64),
        }
    }
}
