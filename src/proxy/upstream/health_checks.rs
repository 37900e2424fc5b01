//! Health checks: when the next one is due, what it asks, and what its answer says of the endpoint.

use core::net::SocketAddr;
use std::rc::Rc;

use super::super::command::{Cause, Fault, Report};
use super::super::context::{Context, TimerKey};
use super::super::heads::subrequest_head;
use super::super::ids::{EndpointId, ServiceId, TargetId};
use super::super::reason::Reason;
use super::super::settings::HealthCheck;
use super::Upstreams;
use super::notes::HealthNote;
use super::selection::Seen;
use crate::observe::access::Outcome;
use crate::observe::metrics::numbers::TargetCounters;
use crate::time::Duration;
use crate::upstream::group::Group;
use crate::upstream::health::Change;

/// Time after which a check is tried again that there was no room for.
const NO_ROOM: Duration = Duration::from_millis(500);

/// An endpoint that is checked, as one service sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct CheckedEndpoint {
    pub(in crate::proxy) service: ServiceId,
    /// Number of the destination within the service.
    pub(in crate::proxy) destination: u32,
    pub(in crate::proxy) endpoint: EndpointId,
}

/// A check that is due.
pub(in crate::proxy) struct DueCheck {
    pub(in crate::proxy) checked: CheckedEndpoint,
    pub(in crate::proxy) target: TargetId,
    pub(in crate::proxy) address: SocketAddr,
    /// The whole request.
    pub(in crate::proxy) request: Vec<u8>,
    /// Time for the answer, connecting included.
    pub(in crate::proxy) within: Duration,
}

impl Upstreams {
    /// Plans a check of each endpoint of a target that has none planned, in every group that checks
    /// its members.
    pub(super) fn plan_checks(&mut self, target: TargetId, ctx: &mut Context) {
        let users = self.targets.get(target).map(|state| state.users.clone());
        for (service, number) in users.unwrap_or_default() {
            if let Some(group) = self.group_mut(service) {
                group.plan_checks(number, ctx.now);
                self.arm_checks(service, ctx);
            }
        }
    }

    /// Sets the timer of a service's checks.
    pub(in crate::proxy) fn arm_checks(&mut self, service: ServiceId, ctx: &mut Context) {
        if ctx.draining {
            return;
        }
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        if let Some(due) = state.group.as_deref().and_then(Group::next_check) {
            let key = TimerKey::HealthChecks(service);
            ctx.timers.arm(&mut state.timer, key, due);
        }
    }

    /// Takes the next check of a service that is due.
    pub(in crate::proxy) fn due_check(
        &mut self,
        service: ServiceId,
        ctx: &Context,
    ) -> Option<DueCheck> {
        if ctx.draining {
            return None;
        }
        loop {
            let state = self.services.get_mut(service)?;
            let check = state.health_check.as_ref()?;
            let (endpoint, number) = state.group.as_mut()?.due_check(ctx.now)?;
            let checked = CheckedEndpoint {
                service,
                destination: number as u32,
                endpoint,
            };
            let address = self.endpoints.get(endpoint);
            if let (Some(destination), Some(endpoint)) = (state.destinations.get(number), address) {
                let target = self.targets.get(destination.target);
                let authority = target.map_or("", |state| &state.target.authority);
                return Some(DueCheck {
                    checked,
                    target: destination.target,
                    address: endpoint.address,
                    request: health_request(check, authority),
                    within: check.timeout,
                });
            }
            self.postpone_check(checked, ctx);
        }
    }

    /// Puts a check off that there was no room for, which says nothing about the endpoint.
    pub(in crate::proxy) fn postpone_check(&mut self, checked: CheckedEndpoint, ctx: &Context) {
        if let Some(group) = self.group_mut(checked.service) {
            let due = ctx.now.after(NO_ROOM);
            let destination = checked.destination as usize;
            group.postpone_check(checked.endpoint, destination, due);
        }
    }

    /// Takes the answer of a check: its status, or how it failed.
    pub(in crate::proxy) fn checked(
        &mut self,
        checked: CheckedEndpoint,
        answer: Result<u16, Outcome>,
        reason: Option<Reason>,
        ctx: &mut Context,
    ) {
        let service = checked.service;
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let (Some(check), Some(group)) = (&state.health_check, &mut state.group) else {
            return;
        };
        if answer == Err(Outcome::OverLimit) {
            self.postpone_check(checked, ctx);
            return self.arm_checks(service, ctx);
        }
        let is_good = answer.is_ok_and(|status| check.status.contains(&status));
        let cause = answer.map_or_else(Cause::Failure, Cause::Status);
        let seen = (service, checked.destination as usize, checked.endpoint);
        if !is_good && let Some(counters) = group.counters_mut(seen.2, seen.1) {
            TargetCounters::one_more(&mut counters.check_failures);
        }
        let change = group.checked(seen.2, seen.1, is_good, ctx.now);
        if is_good && change.is_none() && group.is_up(seen.2, seen.1) {
            state.notes.forget_failure(seen.2, seen.1);
        }
        // Where the name's other loopback address serves, this one is not missed.
        if let Some(change) = change
            && !self.is_replaceable(seen, Fault::Refused)
        {
            self.report_health(seen, (change, cause, reason), ctx);
        }
        self.arm_checks(service, ctx);
    }

    /// Tells the operator that the health of an endpoint changed.
    pub(super) fn report_health(
        &mut self,
        (service, destination, endpoint): Seen,
        (change, cause, reason): (Change, Cause, Option<Reason>),
        ctx: &mut Context,
    ) {
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let (place, seen) = ((destination, endpoint), (cause, reason.clone()));
        if change != Change::StillDown {
            let note = HealthNote::new(place, Some(ctx.now), seen);
            state.notes.note(note);
        } else if !state.notes.note_again(place, seen, ctx.now) {
            return;
        }
        let Some(state) = self.services.get(service) else {
            return;
        };
        let target = state.destinations.get(destination);
        let target = target.and_then(|to| self.targets.get(to.target));
        if let (Some(target), Some(address)) = (target, self.address_at(endpoint)) {
            ctx.report(Report::Health {
                service: Rc::clone(&state.label),
                target: Rc::clone(&target.target),
                address,
                change,
                cause,
                reason,
            });
        }
    }
}

/// Returns the request of a check of a target.
pub(in crate::proxy) fn health_request(check: &HealthCheck, authority: &str) -> Vec<u8> {
    let host = check.host.as_deref().unwrap_or(authority);
    let mut request = subrequest_head("GET", &check.path, host, "*/*", "tollgate/health");
    request.push_str("Connection: close\r\n\r\n");
    request.into_bytes()
}
