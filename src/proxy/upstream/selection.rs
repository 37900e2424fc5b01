//! Selection of the endpoint for a request.
//!
//! A service has a group when there is something to choose or to check. A service with one target
//! at a literal address has none, and its requests pass by here.

use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use super::super::command::{Cause, Command, Report};
use super::super::context::Context;
use super::super::ids::{ClientId, EndpointId, ServiceId, TargetId};
use super::super::rules::{DestinationRules, ServiceRules};
use super::super::settings::{HealthCheck, Service};
use super::Upstreams;
use super::attempts::{NoEndpoint, Unchosen};
use super::notes::HealthNotes;
use crate::observe::metrics::numbers::TargetCounters;
use crate::policy::auth::sticky_key::StickyKey;
use crate::time::Duration;
use crate::upstream::balance::identity;
use crate::upstream::group::{Group, Member};
use crate::upstream::health::{Availability, Change};
use crate::upstream::rules::{Checks, Choice, Rules};
use crate::wheel::Timer;

/// State of a service: its endpoints, and what is known of their health. It outlives the rules
/// that it was made for, when a later edition has the same service.
pub(in crate::proxy) struct ServiceState {
    /// Label in reports.
    pub(super) label: Rc<str>,
    /// Destinations, by their numbers. Those of earlier editions stay while a request knows them.
    pub(super) destinations: Vec<ServiceDestination>,
    pub(super) health_check: Option<Arc<HealthCheck>>,
    /// Endpoints to choose from; `None`: there is nothing to choose or to check, as in most services.
    pub(super) group: Option<Box<Group<EndpointId>>>,
    /// Requests that hold a slot of the service. Counted where the service has a group.
    pub(super) slots: u32,
    /// The next health check.
    pub(super) timer: Timer,
    /// Number of the first edition of the rules that has it.
    pub(super) first_edition: u64,
    /// Last edition of the rules that has the service; [`u64::MAX`]: the rules of the moment.
    pub(super) last_edition: u64,
    /// Seed of the group's choices at random.
    pub(super) seed: u64,
    /// Key of the names that cookies have for the endpoints.
    pub(super) sticky: Option<Box<StickyKey>>,
    /// Last change of the health of each endpoint that has had one.
    pub(super) notes: HealthNotes,
}

/// Destination of a service.
pub(in crate::proxy) struct ServiceDestination {
    pub(super) target: TargetId,
    /// Path of the destination as configured.
    pub(super) path: Box<str>,
    /// Numbers of its one endpoint, of a service without a group.
    pub(super) counters: TargetCounters,
    /// Number of the first edition of the rules that has it.
    pub(super) first_edition: u64,
    /// Last edition of the rules that has the destination.
    pub(super) last_edition: u64,
}

/// Destination of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct Selection {
    pub(in crate::proxy) target: TargetId,
    /// Number of the destination within the service.
    pub(in crate::proxy) destination: usize,
    /// `None`: its name is not known yet, or has no address.
    pub(in crate::proxy) endpoint: Option<EndpointId>,
}

/// An endpoint as one service sees it: the service, the number of the destination, and the
/// endpoint.
pub(super) type Seen = (ServiceId, usize, EndpointId);

impl ServiceState {
    /// Returns the state of a service, without destinations. `seed` is for choices at random.
    pub(super) fn new(service: &Service, first_edition: u64, seed: u64) -> ServiceState {
        ServiceState {
            label: Rc::from(service.label()),
            destinations: Vec::new(),
            health_check: None,
            group: None,
            slots: 0,
            timer: Timer::default(),
            first_edition,
            last_edition: u64::MAX,
            seed,
            sticky: None,
            notes: HealthNotes::default(),
        }
    }
}

/// Gives the endpoints of a group their names.
pub(super) fn set_names(group: &mut Group<EndpointId>, key: Option<&StickyKey>) {
    if let Some(key) = key {
        group.set_names(&|identity| key.name(identity));
    }
}

/// Returns the rules of a service's group.
pub(super) fn group_rules(service: &Service) -> Rules {
    Rules {
        strategy: service.balance,
        checks: service.health_check.as_ref().map(|check| Checks {
            rule: check.rule,
            interval: check.interval,
        }),
        passive: service.passive_health,
    }
}

impl Upstreams {
    /// Returns the endpoints that a service chooses from.
    pub(super) fn group(&self, service: ServiceId) -> Option<&Group<EndpointId>> {
        self.services.get(service)?.group.as_deref()
    }

    /// Returns the endpoints that a service chooses from.
    pub(super) fn group_mut(&mut self, service: ServiceId) -> Option<&mut Group<EndpointId>> {
        self.services.get_mut(service)?.group.as_deref_mut()
    }

    /// Returns true if a service can use one of its destinations, as far as is known: its target
    /// has an address that is up, or the name was not looked up yet.
    pub(in crate::proxy) fn is_usable(
        &self,
        service: ServiceId,
        destination: &DestinationRules,
    ) -> bool {
        let Some(state) = self.targets.get(destination.id) else {
            return false;
        };
        if state.addresses.known().is_empty() {
            return !state.has_failed();
        }
        self.group(service).is_none_or(|group| {
            let mut members = group.members().iter();
            members.any(|member| {
                member.destination == destination.number
                    && member.availability() == Availability::Up
            })
        })
    }

    /// Returns true if all endpoints of a service are down by its health checks.
    pub(in crate::proxy) fn is_down(&self, service: ServiceId) -> bool {
        let members = self.group(service).map_or(&[][..], Group::members);
        let mut states = members.iter().map(Member::availability);
        !members.is_empty() && states.all(|state| state == Availability::Down)
    }

    /// Adds an endpoint of a target to the groups; `is_late`: the target had others before.
    pub(super) fn join_groups(
        &mut self,
        target: TargetId,
        endpoint: EndpointId,
        is_late: bool,
        ctx: &Context,
    ) {
        let Some(address) = self.address_at(endpoint) else {
            return;
        };
        let late = is_late.then_some(ctx.now);
        let users = self
            .targets
            .get(target)
            .map_or(&[][..], |state| &state.users);
        for &(service, number) in users {
            let Some(state) = self.services.get_mut(service) else {
                continue;
            };
            if let (Some(group), Some(to)) = (&mut state.group, state.destinations.get(number)) {
                group.join(endpoint, number, identity(address, &to.path), late);
                set_names(group, state.sticky.as_deref());
            }
        }
    }

    /// Takes an endpoint of a target out of the groups.
    pub(super) fn leave_groups(&mut self, target: TargetId, endpoint: EndpointId) {
        let users = self
            .targets
            .get(target)
            .map_or(&[][..], |state| &state.users);
        for &(service, _) in users {
            if let Some(state) = self.services.get_mut(service) {
                state.notes.forget(endpoint, None);
                if let Some(group) = &mut state.group {
                    group.leave(endpoint);
                }
            }
        }
    }

    /// Returns whether there is anything to choose for a service.
    pub(super) fn has_group(&self, service: ServiceId) -> bool {
        self.group(service).is_some()
    }

    /// Returns where the next request of a client goes first. `private`: the client, where
    /// connections are kept for it. Its request goes where one of them leads, if that is one of the
    /// service's endpoints and its checks do not fail, since what the client said there counts
    /// nowhere else. An ejection does not move it: its connection has not failed.
    ///
    /// # Errors
    /// No endpoint takes the request.
    pub(in crate::proxy) fn choose(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        private: Option<ClientId>,
        ctx: &mut Context,
    ) -> Result<Selection, NoEndpoint> {
        // A service without a destination has a reply of its own.
        let without = NoEndpoint::AllDown(Duration::ZERO);
        if !self.has_group(rules.id) {
            return self.only_endpoint(rules).ok_or(without);
        }
        if !self.has_slot(rules) {
            return Err(NoEndpoint::ServiceFull);
        }
        if let Some(id) = private
            && let Some(selection) = self.choose_kept(rules, client, id, ctx)
        {
            return Ok(selection);
        }
        match self.pick(rules, client, ctx, &|_| true) {
            Choice::Member {
                endpoint,
                destination,
            } => select(rules, destination, Some(endpoint)).ok_or(without),
            Choice::AllDown => {
                let check = rules.service.health_check.as_ref();
                Err(NoEndpoint::AllDown(
                    check.map_or(Duration::ZERO, |check| check.interval),
                ))
            }
            Choice::Full => Err(NoEndpoint::TargetsFull),
            Choice::NoMember => self.awaited_target(rules, ctx).ok_or(without),
        }
    }

    /// The one target of a service without a group.
    fn only_endpoint(&self, rules: &ServiceRules) -> Option<Selection> {
        let destination = rules.destinations.first()?;
        let state = self.targets.get(destination.id);
        Some(Selection {
            target: destination.id,
            destination: destination.number,
            endpoint: state.and_then(|state| state.endpoints.first().copied()),
        })
    }

    /// The first target whose name may have an address soon; where there is none, the first target
    /// with an address that later rules do not have any more, or the first target.
    fn awaited_target(&mut self, rules: &ServiceRules, ctx: &mut Context) -> Option<Selection> {
        let mut awaited = None;
        for destination in rules.destinations.iter().rev() {
            if self.awaits_name(destination.id, ctx) {
                awaited = Some((destination, None));
            }
        }
        let mut destinations = rules.destinations.iter();
        let retired = || {
            destinations.find_map(|destination| {
                let state = self.targets.get(destination.id)?;
                let endpoint = state.endpoints.first().filter(|_| state.is_retired())?;
                Some((destination, Some(*endpoint)))
            })
        };
        let (destination, endpoint) = awaited
            .or_else(retired)
            .or_else(|| Some((rules.destinations.first()?, None)))?;
        Some(Selection {
            target: destination.id,
            destination: destination.number,
            endpoint,
        })
    }

    /// Chooses among the endpoints of a service that `allowed` lets through.
    pub(in crate::proxy) fn choose_among(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        ctx: &mut Context,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Result<Selection, Unchosen> {
        match self.pick(rules, client, ctx, &allowed) {
            Choice::Member {
                endpoint,
                destination,
            } => select(rules, destination, Some(endpoint)).ok_or(Unchosen::NoMember),
            Choice::Full => Err(Unchosen::Full),
            Choice::AllDown | Choice::NoMember => Err(Unchosen::NoMember),
        }
    }

    fn pick(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        ctx: &mut Context,
        allowed: &dyn Fn(&Member<EndpointId>) -> bool,
    ) -> Choice<EndpointId> {
        let Some(state) = self.services.get_mut(rules.id) else {
            return Choice::NoMember;
        };
        let ServiceState {
            label,
            destinations,
            group: Some(group),
            notes,
            ..
        } = state
        else {
            return Choice::NoMember;
        };
        group.expire_ejections(ctx.now, |member, change| {
            // It fails, as far as anybody knows, until it has answered a request.
            if change != Change::Returned {
                notes.forget(member.endpoint, Some(member.destination));
            }
            let target = destinations.get(member.destination);
            let target = target.and_then(|to| self.targets.get(to.target));
            let endpoint = self.endpoints.get(member.endpoint);
            if let (Some(target), Some(endpoint)) = (target, endpoint) {
                ctx.commands.push_back(Command::Report(Report::Health {
                    service: Rc::clone(label),
                    target: Rc::clone(&target.target),
                    address: endpoint.address,
                    change,
                    cause: Cause::Time,
                    reason: None,
                }));
            }
        });
        // A request knows the destinations of its own edition of the rules, and no others.
        if destinations.len() == rules.destinations.len() {
            return group.pick(client, ctx.now, allowed);
        }
        group.pick(client, ctx.now, &|member| {
            rules.destination(member.destination).is_some() && allowed(member)
        })
    }

    /// Returns whether a request that has waited may go where a selection leads before any other
    /// place: the rules of the moment have the target, the address is still known, the endpoint is
    /// up, and neither it nor the service is full.
    pub(in crate::proxy) fn is_up(&self, rules: &ServiceRules, selection: Selection) -> bool {
        let Some(endpoint) = selection.endpoint else {
            return false;
        };
        let group = self.group(rules.id);
        let mut members = group.map_or(&[][..], Group::members).iter();
        let place = (endpoint, selection.destination);
        // A group that a later edition began does not have the endpoints of earlier ones.
        let member = members.find(|member| (member.endpoint, member.destination) == place);
        !self.is_retired(selection.target)
            && self.address_at(endpoint).is_some()
            && member
                .is_none_or(|member| member.availability() == Availability::Up && !member.is_full())
            && self.has_slot(rules)
    }

    /// Returns the address where a selection leads.
    pub(super) fn selected_address(&self, selection: Selection) -> Option<SocketAddr> {
        self.address_at(selection.endpoint?)
    }
}

fn select(rules: &ServiceRules, number: usize, endpoint: Option<EndpointId>) -> Option<Selection> {
    let destination = rules.destination(number)?;
    Some(Selection {
        target: destination.id,
        destination: number,
        endpoint,
    })
}
