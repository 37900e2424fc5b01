//! Failed requests of members: what ejects them, for how long, and what ends that.

use super::super::health::{Availability, Change};
use super::super::rules::Blame;
use super::Group;
use super::member::{Member, client_fingerprint};
use crate::limits::{ABSENCE, PASSIVE_CLIENTS};
use crate::time::Instant;

impl<E: Copy + PartialEq> Group<E> {
    #[cold]
    pub(super) fn note_answer(&mut self, index: usize) {
        if let Some(member) = self.members.get_mut(index) {
            member.health.answered();
        }
        self.update_next_expiry();
    }

    /// Records a request that failed at a member.
    ///
    /// Failed requests eject at most half of the members, and never the last one that is up.
    pub fn failed(
        &mut self,
        endpoint: E,
        destination: usize,
        blame: Blame,
        now: Instant,
    ) -> Option<Change> {
        let rule = self.rules.passive?;
        let index = self.index(endpoint, destination)?;
        let may_eject = self.may_eject(index);
        let (health, failed_clients) = (
            &mut self.members.get_mut(index)?.health,
            self.failed_clients.get_mut(index)?,
        );
        if health.window_is_over(now) {
            failed_clients.clear();
        }
        if let Blame::Client(client) = blame {
            let client = client_fingerprint(client);
            if failed_clients.contains(&client) {
                return None;
            }
            if failed_clients.len() < PASSIVE_CLIENTS.min(rule.failures as usize) {
                failed_clients.push(client);
            }
        }
        let change = health.failed(rule, !may_eject, now);
        if change.is_some() {
            *failed_clients = Vec::new();
        }
        self.update_next_expiry();
        change
    }

    /// Returns true if this member may be ejected, too.
    fn may_eject(&self, index: usize) -> bool {
        let counted = self
            .members
            .iter()
            .filter(|member| !member.health.is_absent());
        let (mut all, mut aside) = (0_usize, 0_usize);
        for member in counted {
            all = all.saturating_add(1);
            aside = aside.saturating_add(usize::from(member.health.is_ejected()));
        }
        let mut others = self
            .members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        aside.saturating_add(1) <= all / 2
            && others.any(|(_, member)| member.health.availability() == Availability::Up)
    }

    /// Marks an endpoint that cannot be reached as absent: for [`ABSENCE`] it is used only if no
    /// other is up.
    pub fn mark_absent(&mut self, endpoint: E, destination: usize, now: Instant) {
        if let Some(member) = self
            .index(endpoint, destination)
            .and_then(|index| self.members.get_mut(index))
        {
            member.health.mark_absent(now.after(ABSENCE));
        }
        self.update_next_expiry();
    }

    /// Ends ejections and slow starts whose time is over, and reports each to `changed`.
    pub fn expire_ejections(&mut self, now: Instant, mut changed: impl FnMut(&Member<E>, Change)) {
        if self.next_expiry.is_none_or(|at| at > now) {
            return;
        }
        for member in &mut self.members {
            while let Some(change) = member.health.expire(now) {
                changed(member, change);
            }
        }
        self.update_next_expiry();
    }

    pub(super) fn update_next_expiry(&mut self) {
        self.next_expiry = self
            .members
            .iter()
            .filter_map(|member| member.health.expires_at())
            .min();
        self.awaits_answer = self.members.iter().any(|of| of.health.awaits_answer());
    }
}
