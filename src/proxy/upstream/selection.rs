//! Selection of the endpoint for a request.
//!
//! A service has a group when there is something to choose or to check. A service with one target
//! at a literal address has none, and its requests pass by here.

use core::net::{IpAddr, SocketAddr};

use super::super::command::{Cause, Report};
use super::super::context::Context;
use super::super::ids::{ClientId, EndpointId, OfEndpoint};
use super::super::reason::Reason;
use super::super::settings::{Service, Settings};
use super::Upstreams;
use super::names::Endpoint;
use crate::slab::Slab;
use crate::time::Duration;
use crate::upstream::balance::identity;
use crate::upstream::group::{Group, Member};
use crate::upstream::health::Change;
use crate::upstream::rules::{Checks, Choice, Rules};
use crate::wheel::Timer;

/// The endpoints of a service, and when the next of them is to be checked.
pub(in crate::proxy) struct ServiceGroup {
    pub(super) group: Group<EndpointId>,
    pub(super) timer: Timer,
}

/// Destination of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct Selection {
    /// Index into the settings' targets.
    pub(in crate::proxy) target: usize,
    /// Index among the service's targets.
    pub(in crate::proxy) destination: usize,
    /// `None`: its name is not known yet, or has no address.
    pub(in crate::proxy) endpoint: Option<EndpointId>,
}

/// The checks of all endpoints of a service fail; a check may say otherwise after this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct AllDown(pub(in crate::proxy) Duration);

/// An endpoint as one service sees it: index of the service, which of its targets, and the
/// endpoint.
pub(super) type Seen = (usize, usize, EndpointId);

impl ServiceGroup {
    /// Returns the group of a service, without members; `None`: it needs none.
    pub(super) fn of(
        service: &Service,
        settings: &Settings,
        seed: u64,
    ) -> Option<Box<ServiceGroup>> {
        if !service.has_group(&settings.targets) {
            return None;
        }
        let checks = service.health_check.as_ref().map(|check| Checks {
            rule: check.rule,
            interval: check.interval,
        });
        let rules = Rules {
            strategy: service.balance,
            checks,
            passive: service.passive_health,
        };
        let destinations = service.destinations.iter();
        let roles = destinations.map(|destination| destination.role).collect();
        Some(Box::new(ServiceGroup {
            group: Group::new(rules, roles, seed),
            timer: Timer::default(),
        }))
    }
}

impl Upstreams {
    /// Adds an endpoint of a target to the groups; `is_late`: the target had others before.
    pub(super) fn join_groups(
        &mut self,
        target: usize,
        endpoint: EndpointId,
        is_late: bool,
        ctx: &Context,
    ) {
        let Some(address) = self.address_at(endpoint) else {
            return;
        };
        let late = is_late.then_some(ctx.now);
        for (service, group) in ctx.rules.settings.services.iter().zip(&mut self.groups) {
            let Some(group) = group else { continue };
            for (index, destination) in service.destinations.iter().enumerate() {
                if destination.target == target {
                    let identity = identity(address, &destination.path);
                    group.group.join(endpoint, index, identity, late);
                }
            }
        }
    }

    /// Takes an endpoint of a target out of the groups.
    pub(super) fn leave_groups(&mut self, target: usize, endpoint: EndpointId, ctx: &Context) {
        for (service, group) in ctx.rules.settings.services.iter().zip(&mut self.groups) {
            let mut destinations = service.destinations.iter();
            if let Some(group) = group
                && destinations.any(|destination| destination.target == target)
            {
                group.group.leave(endpoint);
            }
        }
    }

    /// Returns whether there is anything to choose for a service.
    pub(super) fn has_group(&self, service: usize) -> bool {
        matches!(self.groups.get(service), Some(Some(_)))
    }

    /// Returns where the next request of a client goes first. `private`: the client, where
    /// connections are kept for it. Its request goes where one of them leads, if that is one of the
    /// service's endpoints and may be used, since what the client said there counts nowhere else.
    ///
    /// # Errors
    /// The checks of all endpoints fail.
    pub(in crate::proxy) fn choose(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        private: Option<ClientId>,
        ctx: &mut Context,
    ) -> Result<Selection, AllDown> {
        if !self.has_group(service) {
            return Ok(self.only_endpoint(service, ctx));
        }
        if let Some(id) = private {
            for endpoint in self.private_endpoints(id) {
                let is_this = |member: &Member<EndpointId>| member.endpoint == endpoint;
                if let Some(selection) = self.choose_among(service, client, ctx, is_this) {
                    return Ok(selection);
                }
            }
        }
        let choice = self.pick(service, client, ctx, |_| true);
        let row = ctx.rules.settings.services.get(service);
        match choice {
            Choice::Member {
                endpoint,
                destination,
            } => Ok(select(
                &ctx.rules.settings,
                service,
                destination,
                Some(endpoint),
            )),
            Choice::AllDown => {
                let check = row.and_then(|row| row.health_check.as_ref());
                Err(AllDown(
                    check.map_or(Duration::ZERO, |check| check.interval),
                ))
            }
            Choice::NoMember => Ok(self.awaited_target(service, ctx)),
        }
    }

    /// The one target of a service without a group.
    fn only_endpoint(&self, service: usize, ctx: &Context) -> Selection {
        let selection = select(&ctx.rules.settings, service, 0, None);
        let state = self.targets.get(selection.target);
        Selection {
            endpoint: state.and_then(|state| state.endpoints.first().copied()),
            ..selection
        }
    }

    /// The first target whose name may have an address soon; where there is none, the first target.
    fn awaited_target(&mut self, service: usize, ctx: &mut Context) -> Selection {
        let row = ctx.rules.settings.services.get(service);
        let count = row.map_or(0, |row| row.destinations.len());
        let mut awaited = 0;
        for destination in (0..count).rev() {
            let target = select(&ctx.rules.settings, service, destination, None).target;
            if self.awaits_name(target, ctx) {
                awaited = destination;
            }
        }
        select(&ctx.rules.settings, service, awaited, None)
    }

    /// Chooses among the endpoints of a service that `allowed` lets through.
    pub(in crate::proxy) fn choose_among(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        ctx: &mut Context,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Option<Selection> {
        match self.pick(service, client, ctx, allowed) {
            Choice::Member {
                endpoint,
                destination,
            } => Some(select(
                &ctx.rules.settings,
                service,
                destination,
                Some(endpoint),
            )),
            Choice::AllDown | Choice::NoMember => None,
        }
    }

    fn pick(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        ctx: &mut Context,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Choice<EndpointId> {
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return Choice::NoMember;
        };
        let (settings, commands) = (&ctx.rules.settings, &mut ctx.commands);
        entry.group.expire_ejections(ctx.now, |member, change| {
            let seen = (service, member.destination, member.endpoint);
            let cause = (change, Cause::Time, None);
            if let Some(report) = health_report(settings, &self.endpoints, seen, cause) {
                commands.push_back(super::Command::Report(report));
            }
        });
        entry.group.pick(client, ctx.now, allowed)
    }

    /// Returns whether an address is known where a selection leads.
    pub(in crate::proxy) fn is_known(&self, selection: Selection) -> bool {
        selection
            .endpoint
            .is_some_and(|endpoint| self.address_at(endpoint).is_some())
    }

    /// Returns the address where a selection leads.
    pub(super) fn selected_address(&self, selection: Selection) -> Option<SocketAddr> {
        self.address_at(selection.endpoint?)
    }

    /// Tells the operator that the health of an endpoint changed.
    pub(super) fn report_health(
        &self,
        seen: Seen,
        cause: (Change, Cause, Option<Reason>),
        ctx: &mut Context,
    ) {
        if let Some(report) = health_report(&ctx.rules.settings, &self.endpoints, seen, cause) {
            ctx.report(report);
        }
    }
}

fn select(
    settings: &Settings,
    service: usize,
    destination: usize,
    endpoint: Option<EndpointId>,
) -> Selection {
    let row = settings.services.get(service);
    let target = row
        .and_then(|row| row.destinations.get(destination))
        .map(|destination| destination.target);
    Selection {
        target: target.unwrap_or(usize::MAX),
        destination,
        endpoint,
    }
}

fn health_report(
    settings: &Settings,
    endpoints: &Slab<Endpoint, OfEndpoint>,
    (service, destination, endpoint): Seen,
    (change, cause, reason): (Change, Cause, Option<Reason>),
) -> Option<Report> {
    let row = settings.services.get(service)?;
    Some(Report::Health {
        service: service as u32,
        target: row.destinations.get(destination)?.target as u32,
        address: endpoints.get(endpoint)?.address,
        change,
        cause,
        reason,
    })
}
