//! Which endpoint a request goes to, and what requests and checks say of how the endpoints are.
//!
//! A service has a group when there is something to choose or somebody to check. One target at a literal address has none,
//! and its requests pass by here.

use core::net::IpAddr;

use super::command::{Cause, ClientId, Command, Fault, Report, UpstreamId};
use super::endpoints::EndpointId;
use super::reason::Reason;
use super::settings::{HealthCheck, Service, Settings};
use super::subrequest::{Requester, SubResponse, SubrequestSpec, subrequest_head};
use super::upstream::{InFlight, Stage};
use super::{Proxy, TimerKey};
use crate::observe::access::Outcome;
use crate::time::{Duration, Instant};
use crate::upstream::balance::identity;
use crate::upstream::group::{Group, Member};
use crate::upstream::health::{Availability, Change};
use crate::upstream::rules::{Blame, Checks, Choice, Rules};
use crate::wheel::Timer;

/// The endpoints of a service, and when the next of them is to be checked.
pub(super) struct ServiceGroup {
    group: Group<EndpointId>,
    pub(super) timer: Timer,
}

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Selection {
    /// Index into the settings' targets.
    pub(super) target: usize,
    /// Which of the service's targets that is.
    pub(super) destination: usize,
    /// `None`: its name is not known yet, or has no address.
    pub(super) endpoint: Option<EndpointId>,
}

/// The checks of all endpoints of a service fail; a check may say otherwise after this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AllDown(pub(super) Duration);

/// How soon a check is tried again for which there was no room.
const NO_ROOM: Duration = Duration::from_millis(500);

impl ServiceGroup {
    /// The group of a service, without members; `None`: it needs none.
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
        let roles = service
            .destinations
            .iter()
            .map(|destination| destination.role)
            .collect();
        Some(Box::new(ServiceGroup {
            group: Group::new(rules, roles, seed),
            timer: Timer::default(),
        }))
    }
}

impl Proxy {
    // --- who belongs to it ---

    /// A target has one more endpoint; `late`: it had others before.
    pub(super) fn join_groups(
        &mut self,
        target: usize,
        endpoint: EndpointId,
        late: Option<Instant>,
    ) {
        let Some(address) = self
            .endpoints
            .get(endpoint)
            .map(|endpoint| endpoint.address)
        else {
            return;
        };
        for (service, group) in self.settings.services.iter().zip(&mut self.groups) {
            let Some(group) = group else { continue };
            let destinations = service.destinations.iter().enumerate();
            for (index, destination) in
                destinations.filter(|(_, destination)| destination.target == target)
            {
                group
                    .group
                    .join(endpoint, index, identity(address, &destination.path), late);
            }
        }
    }

    pub(super) fn leave_groups(&mut self, target: usize, endpoint: EndpointId) {
        for (service, group) in self.settings.services.iter().zip(&mut self.groups) {
            if let Some(group) = group
                && service
                    .destinations
                    .iter()
                    .any(|destination| destination.target == target)
            {
                group.group.leave(endpoint);
            }
        }
    }

    // --- which one is next ---

    /// Where a request of this client goes first.
    pub(super) fn choose(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<Selection, AllDown> {
        let nowhere = Selection {
            target: usize::MAX,
            destination: 0,
            endpoint: None,
        };
        if !self.has_group(service) {
            let destination = self
                .settings
                .services
                .get(service)
                .and_then(|service| service.destinations.first());
            let Some(target) = destination.map(|destination| destination.target) else {
                return Ok(nowhere);
            };
            let endpoint = self
                .targets
                .get(target)
                .and_then(|state| state.endpoints.first().copied());
            return Ok(Selection {
                target,
                destination: 0,
                endpoint,
            });
        }
        let choice = self.pick(service, client, now, |_| true);
        let Some(row) = self.settings.services.get(service) else {
            return Ok(nowhere);
        };
        match choice {
            Choice::Member {
                endpoint,
                destination,
            } => Ok(self.selection(service, destination, Some(endpoint))),
            Choice::AllDown => Err(AllDown(
                row.health_check
                    .as_ref()
                    .map_or(Duration::ZERO, |check| check.interval),
            )),
            // No name has an address. One that may have some soon is waited for.
            Choice::NoMember => {
                let count = row.destinations.len();
                let mut awaited = None;
                for destination in (0..count).rev() {
                    let target = self.selection(service, destination, None).target;
                    awaited = if self.awaits_name(target, now) {
                        Some(destination)
                    } else {
                        awaited
                    };
                }
                Ok(self.selection(service, awaited.unwrap_or(0), None))
            }
        }
    }

    /// Where the next request of this client goes first: where it has a connection of its own, if that is one of the service's
    /// endpoints and may be used, since what it said there counts nowhere else.
    pub(super) fn choose_for(
        &mut self,
        id: ClientId,
        service: usize,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<Selection, AllDown> {
        if self
            .clients
            .get(id)
            .is_some_and(|client| client.has_private)
            && self.has_group(service)
        {
            for endpoint in self.private_endpoints(id) {
                if let Some(selection) =
                    self.choose_among(service, client, now, |member| member.endpoint == endpoint)
                {
                    return Ok(selection);
                }
            }
        }
        self.choose(service, client, now)
    }

    /// Whether there is anything to choose for a service.
    pub(super) fn has_group(&self, service: usize) -> bool {
        matches!(self.groups.get(service), Some(Some(_)))
    }

    /// Another one, of those that `allowed` lets through.
    pub(super) fn choose_among(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        now: Instant,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Option<Selection> {
        match self.pick(service, client, now, allowed) {
            Choice::Member {
                endpoint,
                destination,
            } => Some(self.selection(service, destination, Some(endpoint))),
            Choice::AllDown | Choice::NoMember => None,
        }
    }

    fn pick(
        &mut self,
        service: usize,
        client: Option<IpAddr>,
        now: Instant,
        allowed: impl Fn(&Member<EndpointId>) -> bool,
    ) -> Choice<EndpointId> {
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return Choice::NoMember;
        };
        entry.group.expire_ejections(now, |member, change| {
            let selection = (service, member.destination, member.endpoint);
            if let Some(report) = report(
                &self.settings,
                &self.endpoints,
                selection,
                (change, Cause::Time, None),
            ) {
                self.commands.push_back(Command::Report(report));
            }
        });
        entry.group.pick(client, now, allowed)
    }

    fn selection(
        &self,
        service: usize,
        destination: usize,
        endpoint: Option<EndpointId>,
    ) -> Selection {
        let row = self.settings.services.get(service);
        let target = row
            .and_then(|row| row.destinations.get(destination))
            .map(|destination| destination.target);
        Selection {
            target: target.unwrap_or(usize::MAX),
            destination,
            endpoint,
        }
    }

    // --- what is in flight ---

    /// An exchange of `service` begins on this connection.
    pub(super) fn count_in_flight(&mut self, up: UpstreamId, service: usize, destination: usize) {
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return;
        };
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        let Some(endpoint) = upstream.endpoint else {
            return;
        };
        upstream.in_flight = Some(InFlight {
            service: service as u32,
            destination: destination as u32,
        });
        entry.group.begin(endpoint, destination);
    }

    /// It is over.
    pub(super) fn release_in_flight(&mut self, up: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(up) else {
            return;
        };
        let (Some(in_flight), Some(endpoint)) = (upstream.in_flight.take(), upstream.endpoint)
        else {
            return;
        };
        if let Some(Some(entry)) = self.groups.get_mut(in_flight.service as usize) {
            entry.group.end(endpoint, in_flight.destination as usize);
        }
    }

    /// A try came to nothing. What lies with the endpoint is held against it.
    pub(super) fn note_failure(&mut self, up: UpstreamId, end: Outcome, now: Instant) {
        if !matches!(
            end,
            Outcome::UpstreamRefused
                | Outcome::UpstreamTls
                | Outcome::UpstreamClosed
                | Outcome::UpstreamTimeout
        ) {
            return;
        }
        let Some(upstream) = self.upstreams.get(up) else {
            return;
        };
        let (Some(in_flight), Some(endpoint)) = (upstream.in_flight, upstream.endpoint) else {
            return;
        };
        let (service, destination) = (in_flight.service as usize, in_flight.destination as usize);
        let is_open = upstream.stage == Stage::Open;
        let exchange = self
            .racer(up)
            .and_then(|id| self.clients.get_mut(id)?.exchange());
        let (is_retry, client) = exchange.map_or((false, None), |exchange| {
            (exchange.retried > 0, exchange.log_entry.client)
        });
        // A request that came to nothing elsewhere, too, says more of itself than of this endpoint.
        if is_retry && (is_open || end == Outcome::UpstreamTimeout) {
            return;
        }
        let blame = if is_open {
            Blame::Client(client)
        } else {
            Blame::Endpoint
        };
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return;
        };
        if let Some(change) = entry.group.failed(endpoint, destination, blame, now) {
            self.report_health(
                (service, destination, endpoint),
                change,
                Cause::Failure(end),
                None,
            );
        }
    }

    /// Whether an address is merely not there while another one of the same name is: nobody listens at one of the two loopback
    /// addresses of `localhost`, or this machine has no way to addresses of its family. That is no failure. The address is left
    /// out for a while, and nobody is told.
    pub(super) fn note_absence(&mut self, up: UpstreamId, fault: Fault, now: Instant) -> bool {
        let Some(upstream) = self.upstreams.get(up) else {
            return false;
        };
        let (Some(in_flight), Some(endpoint)) = (upstream.in_flight, upstream.endpoint) else {
            return false;
        };
        let selection = (
            in_flight.service as usize,
            in_flight.destination as usize,
            endpoint,
        );
        if !self.is_replaceable(selection, fault) {
            return false;
        }
        if let Some(Some(entry)) = self.groups.get_mut(selection.0) {
            entry.group.mark_absent(endpoint, selection.1, now);
        }
        true
    }

    fn is_replaceable(
        &self,
        (service, destination, endpoint): (usize, usize, EndpointId),
        fault: Fault,
    ) -> bool {
        let address = |id: EndpointId| self.endpoints.get(id).map(|endpoint| endpoint.address.ip());
        let (Some(own), Some(Some(entry))) = (address(endpoint), self.groups.get(service)) else {
            return false;
        };
        let mut others = entry.group.members().iter().filter(|member| {
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

    // --- checks ---

    /// The endpoints of a target that are not checked yet will be, in every group that checks its members.
    pub(super) fn plan_checks(&mut self, target: usize, now: Instant) {
        for index in 0..self.groups.len() {
            let Some(service) = self.settings.services.get(index) else {
                continue;
            };
            let Some(Some(entry)) = self.groups.get_mut(index) else {
                continue;
            };
            let destinations = service.destinations.iter().enumerate();
            for (destination, _) in
                destinations.filter(|(_, destination)| destination.target == target)
            {
                entry.group.plan_checks(destination, now);
            }
            self.arm_checks(index);
        }
    }

    fn arm_checks(&mut self, service: usize) {
        if self.draining {
            return;
        }
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return;
        };
        if let Some(due) = entry.group.next_check() {
            self.wheel
                .arm(&mut entry.timer, TimerKey::Group(service as u32), due);
        }
    }

    /// Checks of a service are due.
    pub(super) fn check_endpoints(&mut self, service: usize, now: Instant) {
        if self.draining {
            return;
        }
        while let Some(Some(entry)) = self.groups.get_mut(service)
            && let Some((endpoint, destination)) = entry.group.due_check(now)
        {
            let question = self.health_question(service, destination, endpoint);
            let asked = question.and_then(|question| self.start_subrequest(question, now));
            if let (None, Some(Some(entry))) = (asked, self.groups.get_mut(service)) {
                entry
                    .group
                    .postpone_check(endpoint, destination, now.after(NO_ROOM));
            }
        }
        self.arm_checks(service);
    }

    fn health_question(
        &self,
        service: usize,
        destination: usize,
        endpoint: EndpointId,
    ) -> Option<SubrequestSpec> {
        let row = self.settings.services.get(service)?;
        let check = row.health_check.as_ref()?;
        let target = row.destinations.get(destination)?.target;
        let authority = &self.settings.targets.get(target)?.authority;
        let requester = Requester::Health {
            service: service as u32,
            destination: destination as u32,
            endpoint,
        };
        Some(SubrequestSpec {
            requester,
            target,
            address: Some(self.endpoints.get(endpoint)?.address),
            request: health_request(check, authority),
            within: check.timeout,
            head_only: true,
            body_bytes: 0,
            keep: None,
        })
    }

    /// A check came to its end.
    pub(super) fn health_answered(
        &mut self,
        (service, destination, endpoint): (usize, usize, EndpointId),
        answer: Result<SubResponse, Outcome>,
        reason: Option<Reason>,
        now: Instant,
    ) {
        let check = self
            .settings
            .services
            .get(service)
            .and_then(|service| service.health_check.as_ref());
        let (Some(check), Some(Some(entry))) = (check, self.groups.get_mut(service)) else {
            return;
        };
        if answer == Err(Outcome::OverLimit) {
            // It was the gateway that had nothing left for it, which says nothing about the endpoint.
            entry
                .group
                .postpone_check(endpoint, destination, now.after(NO_ROOM));
            return self.arm_checks(service);
        }
        let good = answer
            .as_ref()
            .is_ok_and(|sub_response| check.status.contains(&sub_response.status));
        let cause = answer.map_or_else(Cause::Failure, |sub_response| {
            Cause::Status(sub_response.status)
        });
        if let Some(change) = entry.group.checked(endpoint, destination, good, now) {
            // Where the name's other loopback address serves, this one is not missed.
            if !self.is_replaceable((service, destination, endpoint), Fault::Refused) {
                self.report_health((service, destination, endpoint), change, cause, reason);
            }
        }
        self.arm_checks(service);
    }

    fn report_health(
        &mut self,
        selection: (usize, usize, EndpointId),
        change: Change,
        cause: Cause,
        reason: Option<Reason>,
    ) {
        if let Some(report) = report(
            &self.settings,
            &self.endpoints,
            selection,
            (change, cause, reason),
        ) {
            self.commands.push_back(Command::Report(report));
        }
    }
}

/// What a check asks, and the most it can measure: see `memory`.
pub(super) fn health_request(check: &HealthCheck, authority: &str) -> Vec<u8> {
    let mut request = subrequest_head("GET", &check.path, authority, "*/*", "tollgate/health");
    request.push_str("Connection: close\r\n\r\n");
    request.into_bytes()
}

fn report(
    settings: &Settings,
    endpoints: &crate::slab::Slab<super::endpoints::Endpoint>,
    (service, destination, endpoint): (usize, usize, EndpointId),
    (change, cause, reason): (Change, Cause, Option<Reason>),
) -> Option<Report> {
    let target = settings
        .services
        .get(service)?
        .destinations
        .get(destination)?
        .target;
    let address = endpoints.get(endpoint)?.address;
    Some(Report::Health {
        service: service as u32,
        target: target as u32,
        address,
        change,
        cause,
        reason,
    })
}
