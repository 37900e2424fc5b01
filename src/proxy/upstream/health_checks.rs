//! Health checks: when the next one is due, what it asks, and what its answer says of the endpoint.

use core::net::SocketAddr;

use super::super::command::{Cause, Fault};
use super::super::context::{Context, TimerKey};
use super::super::heads::subrequest_head;
use super::super::ids::EndpointId;
use super::super::reason::Reason;
use super::super::settings::HealthCheck;
use super::Upstreams;
use crate::observe::access::Outcome;
use crate::time::Duration;

/// Time after which a check is tried again that there was no room for.
const NO_ROOM: Duration = Duration::from_millis(500);

/// An endpoint that is checked, as one service sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct CheckedEndpoint {
    /// Index of the service.
    pub(in crate::proxy) service: u32,
    /// Index among the service's targets.
    pub(in crate::proxy) destination: u32,
    pub(in crate::proxy) endpoint: EndpointId,
}

/// A check that is due.
pub(in crate::proxy) struct DueCheck {
    pub(in crate::proxy) checked: CheckedEndpoint,
    /// Index of the target.
    pub(in crate::proxy) target: usize,
    pub(in crate::proxy) address: SocketAddr,
    /// The whole request.
    pub(in crate::proxy) request: Vec<u8>,
    /// Time for the answer, connecting included.
    pub(in crate::proxy) within: Duration,
}

impl Upstreams {
    /// Plans a check of each endpoint of a target that has none planned, in every group that checks
    /// its members.
    pub(super) fn plan_checks(&mut self, target: usize, ctx: &mut Context) {
        let rules = ctx.rules.clone();
        for (index, service) in rules.settings.services.iter().enumerate() {
            let Some(Some(entry)) = self.groups.get_mut(index) else {
                continue;
            };
            for (destination, to) in service.destinations.iter().enumerate() {
                if to.target == target {
                    entry.group.plan_checks(destination, ctx.now);
                }
            }
            self.arm_checks(index, ctx);
        }
    }

    /// Sets the timer of a service's checks.
    pub(in crate::proxy) fn arm_checks(&mut self, service: usize, ctx: &mut Context) {
        if ctx.draining {
            return;
        }
        let Some(Some(entry)) = self.groups.get_mut(service) else {
            return;
        };
        if let Some(due) = entry.group.next_check() {
            let key = TimerKey::HealthChecks(service as u32);
            ctx.timers.arm(&mut entry.timer, key, due);
        }
    }

    /// Takes the next check of a service that is due.
    pub(in crate::proxy) fn due_check(
        &mut self,
        service: usize,
        ctx: &Context,
    ) -> Option<DueCheck> {
        if ctx.draining {
            return None;
        }
        let settings = &ctx.rules.settings;
        let row = settings.services.get(service)?;
        let check = row.health_check.as_ref()?;
        loop {
            let entry = self.groups.get_mut(service)?.as_mut()?;
            let (endpoint, destination) = entry.group.due_check(ctx.now)?;
            let checked = CheckedEndpoint {
                service: service as u32,
                destination: destination as u32,
                endpoint,
            };
            let target = row.destinations.get(destination).map(|to| to.target);
            let authority = target.and_then(|target| settings.targets.get(target));
            if let (Some(target), Some(row), Some(address)) =
                (target, authority, self.address_at(endpoint))
            {
                return Some(DueCheck {
                    checked,
                    target,
                    address,
                    request: health_request(check, &row.authority),
                    within: check.timeout,
                });
            }
            self.postpone_check(checked, ctx);
        }
    }

    /// Puts a check off that there was no room for, which says nothing about the endpoint.
    pub(in crate::proxy) fn postpone_check(&mut self, checked: CheckedEndpoint, ctx: &Context) {
        if let Some(Some(entry)) = self.groups.get_mut(checked.service as usize) {
            let due = ctx.now.after(NO_ROOM);
            let destination = checked.destination as usize;
            entry
                .group
                .postpone_check(checked.endpoint, destination, due);
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
        let service = checked.service as usize;
        let rules = ctx.rules.clone();
        let row = rules.settings.services.get(service);
        let check = row.and_then(|service| service.health_check.as_ref());
        let (Some(check), Some(Some(entry))) = (check, self.groups.get_mut(service)) else {
            return;
        };
        if answer == Err(Outcome::OverLimit) {
            self.postpone_check(checked, ctx);
            return self.arm_checks(service, ctx);
        }
        let is_good = answer.is_ok_and(|status| check.status.contains(&status));
        let cause = answer.map_or_else(Cause::Failure, Cause::Status);
        let seen = (service, checked.destination as usize, checked.endpoint);
        let change = entry.group.checked(seen.2, seen.1, is_good, ctx.now);
        // Where the name's other loopback address serves, this one is not missed.
        if let Some(change) = change
            && !self.is_replaceable(seen, Fault::Refused)
        {
            self.report_health(seen, (change, cause, reason), ctx);
        }
        self.arm_checks(service, ctx);
    }
}

/// Returns the request of a check.
pub(in crate::proxy) fn health_request(check: &HealthCheck, authority: &str) -> Vec<u8> {
    let mut request = subrequest_head("GET", &check.path, authority, "*/*", "tollgate/health");
    request.push_str("Connection: close\r\n\r\n");
    request.into_bytes()
}
