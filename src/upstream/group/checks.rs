//! Active health checks: when each endpoint is checked, and what a check shows.

use super::super::health::{Availability, Change};
use super::member::Check;
use super::{Group, Member};
use crate::time::{Duration, Instant};

/// Upper bound of the time until the first check of a member.
const FIRST_CHECKS_WITHIN: Duration = Duration::from_millis(500);

impl<E: Copy + PartialEq> Group<E> {
    /// Plans the first check of each member of a target, at random times soon.
    pub fn plan_checks(&mut self, destination: usize, now: Instant) {
        let Some(checks) = self.rules.checks else {
            return;
        };
        let within = checks
            .interval
            .as_millis()
            .min(FIRST_CHECKS_WITHIN.as_millis());
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.destination == destination)
        {
            if matches!(member.check, Check::Unplanned) {
                let wait = self.balancer.random_below(within);
                member.check = Check::Due(now.after(Duration::from_millis(wait)));
            }
        }
    }

    /// Returns the time of the next due check.
    pub fn next_check(&self) -> Option<Instant> {
        self.members.iter().filter_map(Member::due).min()
    }

    /// Returns a member whose check is due, and marks the check as running. Call until `None`.
    pub fn due_check(&mut self, now: Instant) -> Option<(E, usize)> {
        let due = self
            .members
            .iter_mut()
            .find(|member| member.due().is_some_and(|at| at <= now))?;
        due.check = Check::UnderWay(now);
        Some((due.endpoint, due.destination))
    }

    /// Plans a check that could not start again, at `at`.
    pub fn postpone_check(&mut self, endpoint: E, destination: usize, at: Instant) {
        if let Some(member) = self
            .index(endpoint, destination)
            .and_then(|index| self.members.get_mut(index))
        {
            member.check = Check::Due(at);
        }
    }

    /// Records the result of a check. The next one is due an interval after this one started. A member that
    /// was down and fails again is `StillDown`.
    pub fn checked(
        &mut self,
        endpoint: E,
        destination: usize,
        good: bool,
        now: Instant,
    ) -> Option<Change> {
        let checks = self.rules.checks?;
        let index = self.index(endpoint, destination)?;
        let member = self.members.get_mut(index)?;
        let began = if let Check::UnderWay(since) = member.check {
            since
        } else {
            now
        };
        // Jitter: between nine and eleven tenths of the interval.
        let tenth = checks.interval.as_millis() / 10;
        let jitter = self.balancer.random_below(tenth.saturating_mul(2));
        let wait = checks
            .interval
            .as_millis()
            .saturating_sub(tenth)
            .saturating_add(jitter);
        member.check = Check::Due(began.after(Duration::from_millis(wait)).max(now));
        let was = member.availability();
        let mut change = member.health.checked(good, checks.rule, now);
        if !good && was == Availability::Down {
            change = Some(Change::StillDown);
        }
        self.update_next_expiry();
        change
    }
}

impl<E> Member<E> {
    pub(super) fn due(&self) -> Option<Instant> {
        if let Check::Due(at) = self.check {
            Some(at)
        } else {
            None
        }
    }
}
