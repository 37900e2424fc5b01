//! Endpoints of one service: which are usable, which is next, and when each is checked.
//!
//! Backups are used while no other endpoint is up. If every endpoint is ejected, ejected ones are
//! used. Endpoints whose health checks fail are never used.

mod checks;
mod failures;
mod loads;
mod member;

use core::net::IpAddr;

use self::member::Check;
pub use self::member::Member;
use super::balance::{Balancer, client_hash};
use super::health::{Availability, Health};
use super::rules::{Choice, Role, Rules};
use crate::limits::PASSIVE_CLIENTS;
use crate::observe::metrics::numbers::TargetCounters;
use crate::time::Instant;

/// Endpoints of one service. `E` is the key of an endpoint.
pub struct Group<E> {
    rules: Rules,
    roles: Vec<Role>,
    balancer: Balancer,
    /// Members, in the order of the balancer's candidates.
    members: Vec<Member<E>>,
    /// True if a target has `maxInFlight`.
    is_limited: bool,
    /// Fingerprints of the clients whose requests failed in the current window, one list a member.
    failed_clients: Vec<Vec<u32>>,
    /// Time of the first end of an ejection or of a slow start.
    next_expiry: Option<Instant>,
    /// True if a member that was ejected has not answered since.
    awaits_answer: bool,
}

impl<E: Copy + PartialEq> Group<E> {
    /// Size of one member in bytes, without the clients that it remembers.
    pub const MEMBER_BYTES: usize =
        size_of::<Member<E>>() + Balancer::CANDIDATE_BYTES + size_of::<Vec<u32>>();
    /// Size of a remembered client in bytes. A member remembers at most [`PASSIVE_CLIENTS`], and at
    /// most `failures`.
    pub const CLIENT_BYTES: usize = size_of::<u32>();

    /// Creates a group without members. `roles` has one entry for each target of the service.
    pub fn new(rules: Rules, roles: Vec<Role>, seed: u64) -> Group<E> {
        let mut balancer = Balancer::new(rules.strategy, seed);
        balancer.set_common_weight(common_weight(roles.iter()));
        Group {
            rules,
            roles,
            balancer,
            members: Vec::new(),
            is_limited: false,
            failed_clients: Vec::new(),
            next_expiry: None,
            awaits_answer: false,
        }
    }

    /// Replaces the rules. `roles`: the destinations that the service has now, by their numbers.
    /// Members of other destinations leave; the others keep their health and their requests in
    /// flight.
    pub fn set_rules(&mut self, rules: Rules, roles: &[(usize, Role)]) {
        self.balancer.set_strategy(rules.strategy);
        let weight = common_weight(roles.iter().map(|(_, role)| role));
        self.balancer.set_common_weight(weight);
        let mut current = vec![None; self.roles.len()];
        for &(number, role) in roles {
            if number >= current.len() {
                current.resize(number.saturating_add(1), None);
                self.roles.resize(number.saturating_add(1), role);
            }
            if let (Some(now), Some(known)) = (current.get_mut(number), self.roles.get_mut(number))
            {
                (*now, *known) = (Some(role), role);
            }
        }
        for index in (0..self.members.len()).rev() {
            let Some(member) = self.members.get_mut(index) else {
                continue;
            };
            match current.get(member.destination) {
                Some(Some(role)) => member.role = *role,
                _ => self.remove(index),
            }
        }
        for (member, failed_clients) in self.members.iter_mut().zip(&mut self.failed_clients) {
            if rules.checks.is_none() {
                member.check = Check::Unplanned;
                member.health.forget_checks();
            }
            if rules.passive.is_none() {
                member.health.forget_failures();
                failed_clients.clear();
            }
        }
        self.rules = rules;
        self.is_limited = roles.iter().any(|(_, role)| role.max_in_flight < u32::MAX);
        self.renew_weights();
        self.forget_names();
        self.update_next_expiry();
    }

    /// Removes all endpoints of a destination.
    pub fn leave_destination(&mut self, destination: usize) {
        for index in (0..self.members.len()).rev() {
            let member = self.members.get(index);
            if member.is_some_and(|member| member.destination == destination) {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        self.members.remove(index);
        self.failed_clients.remove(index);
        self.balancer.remove(index);
    }

    /// Adds an endpoint of a target, which is up until checks or requests say otherwise. `late` is
    /// the current time if other members are already busy: the endpoint starts slowly then.
    pub fn join(&mut self, endpoint: E, destination: usize, identity: u64, late: Option<Instant>) {
        let Some(role) = self.roles.get(destination).copied() else {
            return;
        };
        let health = late.map_or(Health::default(), Health::slow_starting);
        self.balancer.add(identity);
        self.members.push(Member {
            endpoint,
            destination,
            role,
            weight: role.weight,
            health,
            check: Check::Unplanned,
            counters: TargetCounters::default(),
            sticky_name: 0,
        });
        self.failed_clients.push(Vec::new());
    }

    /// Removes an endpoint.
    pub fn leave(&mut self, endpoint: E) {
        while let Some(index) = self
            .members
            .iter()
            .position(|member| member.endpoint == endpoint)
        {
            self.remove(index);
        }
    }

    /// Returns the members.
    pub fn members(&self) -> &[Member<E>] {
        &self.members
    }

    /// Returns the number of requests in flight at each member.
    pub fn loads(&self) -> impl Iterator<Item = u32> {
        (0..self.members.len()).map(|index| self.balancer.load(index))
    }

    /// Chooses the next member for a client, among the allowed ones. Backups also stand in for
    /// members that are full; ejected members do not.
    pub fn pick(
        &mut self,
        client: Option<IpAddr>,
        now: Instant,
        allowed: &dyn Fn(&Member<E>) -> bool,
    ) -> Choice<E> {
        let candidates = self.members.iter().filter(|member| allowed(member));
        let mut best = None;
        for rank in candidates.filter_map(Member::rank) {
            best = Some(best.map_or(rank, |best: u8| best.min(rank)));
            // Most of the time the first one is in use, and none is better.
            if rank == 0 {
                break;
            }
        }
        let Some(mut best) = best else {
            let down = !self.members.is_empty()
                && self.members.iter().all(|member| member.rank().is_none());
            return if down {
                Choice::AllDown
            } else {
                Choice::NoMember
            };
        };
        let members = &self.members;
        let client = client.map_or(0, client_hash);
        loop {
            let weight = |index: usize| match members.get(index) {
                Some(member) if member.rank() == Some(best) && allowed(member) => member
                    .weight
                    .saturating_mul(member.health.slow_start_percent(now)),
                _ => 0,
            };
            let chosen = self.balancer.pick(client, weight);
            if let Some(member) = chosen.and_then(|index| members.get(index)) {
                return Choice::Member {
                    endpoint: member.endpoint,
                    destination: member.destination,
                };
            }
            // All members of this rank are full: the next rank has their backups.
            let backups = best | 1;
            if best == backups {
                return Choice::Full;
            }
            best = backups;
        }
    }

    /// Returns the member whose turn is next, by its place.
    pub fn turn(&self) -> usize {
        self.balancer.turn()
    }

    /// Goes on with the turn of a member.
    pub fn set_turn(&mut self, place: usize) {
        self.balancer.set_turn(place);
    }

    fn index(&self, endpoint: E, destination: usize) -> Option<usize> {
        let is_wanted =
            |member: &Member<E>| member.endpoint == endpoint && member.destination == destination;
        // Where each target has one address, the number of the target is the place.
        match self.members.get(destination) {
            Some(member) if is_wanted(member) => Some(destination),
            _ => self.members.iter().position(is_wanted),
        }
    }

    /// Returns true if an endpoint of a destination is a member.
    pub fn has(&self, endpoint: E, destination: usize) -> bool {
        self.index(endpoint, destination).is_some()
    }

    /// Returns true if an endpoint of a destination is used.
    pub fn is_up(&self, endpoint: E, destination: usize) -> bool {
        let index = self.index(endpoint, destination);
        let member = index.and_then(|index| self.members.get(index));
        member.is_some_and(|member| member.availability() == Availability::Up)
    }

    /// Replaces the identity of a member for ip-hash: the path of its target has changed.
    pub fn set_identity(&mut self, endpoint: E, destination: usize, identity: u64) {
        if let Some(index) = self.index(endpoint, destination) {
            self.balancer.set_identity(index, identity);
            self.forget_names();
        }
    }

    /// Returns what is counted of a member.
    pub fn counters_mut(&mut self, endpoint: E, destination: usize) -> Option<&mut TargetCounters> {
        let index = self.index(endpoint, destination)?;
        Some(&mut self.members.get_mut(index)?.counters)
    }

    /// Replaces the health of a member by what another process knew of it. What no rule of this
    /// group can end is left out. `failed_clients`: see [`Group::failed_clients`].
    pub fn restore(
        &mut self,
        endpoint: E,
        destination: usize,
        health: Health,
        failed_clients: &[u32],
    ) {
        let (checks, passive) = (self.rules.checks, self.rules.passive);
        let Some(index) = self.index(endpoint, destination) else {
            return;
        };
        let (Some(member), Some(clients)) = (
            self.members.get_mut(index),
            self.failed_clients.get_mut(index),
        ) else {
            return;
        };
        member.health = health;
        let max = passive.map_or(0, |rule| PASSIVE_CLIENTS.min(rule.failures as usize));
        *clients = failed_clients.iter().take(max).copied().collect();
        if checks.is_none() {
            member.health.forget_checks();
        }
        if passive.is_none() {
            member.health.forget_failures();
        }
        self.update_next_expiry();
    }

    /// Returns the fingerprints of the clients whose requests failed in the counting window of each
    /// member. A fingerprint is the same in each process.
    pub fn failed_clients(&self) -> &[Vec<u32>] {
        &self.failed_clients
    }

    /// Counts a request that starts at a member.
    pub fn begin(&mut self, endpoint: E, destination: usize) {
        if let Some(index) = self.index(endpoint, destination) {
            self.balancer.begin(index);
            if self.is_limited {
                self.renew_weight(index);
            }
        }
    }

    /// Counts a request that ended at a member. `is_answered`: its response was read whole.
    pub fn end(&mut self, endpoint: E, destination: usize, is_answered: bool) {
        if let Some(index) = self.index(endpoint, destination) {
            self.balancer.end(index);
            if self.is_limited {
                self.renew_weight(index);
            }
            if self.awaits_answer && is_answered {
                self.note_answer(index);
            }
        }
    }
}

/// Returns the greatest weight of a member, if it is the same whatever its role is; else 0.
fn common_weight<'r>(roles: impl Iterator<Item = &'r Role>) -> u32 {
    let mut weights = roles.map(|role| role.weight);
    let first = weights.next().unwrap_or(0);
    match weights.all(|weight| weight == first) {
        true => first.saturating_mul(100),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::balance::Strategy;
    use super::super::health::{Change, Hysteresis, PassiveHealth};
    use super::super::rules::{Blame, Checks};
    use super::*;
    use crate::time::Duration;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        strategy: Strategy::RoundRobin,
        checks: Some(Checks {
            rule: Hysteresis { rise: 1, fall: 1 },
            interval: Duration::from_secs(10),
        }),
        passive: Some(PassiveHealth {
            failures: 1,
            window: Duration::from_secs(10),
            eject: Duration::from_secs(30),
        }),
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// Creates a group with endpoints 0, 1, .. of these roles.
    fn group(roles: &[(u32, bool)]) -> Group<usize> {
        let roles: Vec<Role> = roles
            .iter()
            .map(|&(weight, backup)| Role {
                weight,
                backup,
                max_in_flight: u32::MAX,
            })
            .collect();
        let count = roles.len();
        let mut group = Group::new(RULES, roles, 1);
        (0..count).for_each(|index| group.join(index, index, index as u64, None));
        group
    }

    fn picked(group: &mut Group<usize>, now: Instant) -> Option<usize> {
        match group.pick(None, now, &|_| true) {
            Choice::Member { endpoint, .. } => Some(endpoint),
            _ => None,
        }
    }

    fn picks(group: &mut Group<usize>, now: Instant, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| picked(group, now)).collect()
    }

    #[test]
    fn backups_wait_until_no_other_is_up() {
        let mut group = group(&[(1, false), (1, false), (1, true), (1, true)]);
        assert_eq!(picks(&mut group, at(0), 4), [0, 1, 0, 1]);
        assert_eq!(
            group.failed(0, 0, Blame::Endpoint, at(1)),
            Some(Change::Ejected)
        );
        assert_eq!(picks(&mut group, at(1), 3), [1, 1, 1]);
        assert_eq!(
            group.failed(1, 1, Blame::Endpoint, at(2)),
            Some(Change::Ejected),
            "the backup is up"
        );
        assert_eq!(picks(&mut group, at(2), 3), [2, 3, 2]);
        assert_eq!(
            group.failed(2, 2, Blame::Endpoint, at(3)),
            None,
            "half of them are aside"
        );
        let mut returned = Vec::new();
        group.expire_ejections(at(31), |member, change| {
            returned.push((member.endpoint, change))
        });
        assert_eq!(returned, [(0, Change::Returned)]);
        assert_eq!(picks(&mut group, at(31), 3), [0, 0, 0]);
    }

    #[test]
    fn at_most_half_are_put_aside() {
        for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (7, 3)] {
            let mut group = group(&vec![(1, false); count]);
            let aside = (0..count)
                .filter(|&index| group.failed(index, index, Blame::Endpoint, at(0)).is_some())
                .count();
            assert_eq!(aside, most, "of {count}");
        }
    }

    /// `failures` of different clients eject an endpoint; those of one client count once in a
    /// window. Failures that no client can cause count each time.
    #[test]
    fn a_client_counts_once_in_a_window() {
        let passive = PassiveHealth {
            failures: 3,
            window: Duration::from_secs(10),
            eject: Duration::from_secs(30),
        };
        let group = || {
            let mut group = group(&[(1, false); 4]);
            group.rules.passive = Some(passive);
            group
        };
        let v4 = |last: u8| Blame::Client(Some(IpAddr::from([192, 0, 2, last])));
        let v6 = |net: u16, host: u16| {
            Blame::Client(Some(IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host])))
        };
        let fail = |blames: &[Blame], pace: u64| {
            let mut group = group();
            let times = blames.iter().zip(0_u64..);
            times
                .map(|(blame, turn)| group.failed(0, 0, *blame, at(turn * pace)))
                .filter(Option::is_some)
                .count()
        };
        assert_eq!(fail(&[v4(1); 100], 0), 0);
        assert_eq!(fail(&[v4(1); 100], 11), 0, "one in each window");
        assert_eq!(fail(&[v4(1), v4(1), v4(2), v4(2), v4(1)], 0), 0);
        assert_eq!(fail(&[v4(1), v4(1), v4(2), v4(2), v4(3)], 0), 1);
        assert_eq!(
            fail(&[v6(1, 1), v6(1, 2), v6(1, 3), v6(1, 4)], 0),
            0,
            "one client has a /64"
        );
        assert_eq!(fail(&[v6(1, 1), v6(2, 1), v6(3, 1)], 0), 1);
        assert_eq!(fail(&[Blame::Client(None); 5], 0), 0);
        assert_eq!(
            fail(&[v4(1), Blame::Endpoint, v4(1), Blame::Endpoint], 0),
            1
        );
        assert_eq!(fail(&[Blame::Endpoint; 3], 0), 1);
        assert_eq!(
            fail(&[v4(1), v4(2), v4(1), v4(2), v4(1), v4(2)], 6),
            0,
            "the window begins again each time"
        );
        let mut group = group();
        group.rules.passive = Some(PassiveHealth {
            failures: 1_000_000,
            ..passive
        });
        (0..3000_u32).for_each(|client| {
            let client = Blame::Client(Some(IpAddr::from(core::net::Ipv4Addr::from_bits(client))));
            group.failed(0, 0, client, at(0));
        });
        assert_eq!(group.failed_clients[0].len(), PASSIVE_CLIENTS);
    }

    #[test]
    fn who_is_left_out_comes_back_without_a_word_and_does_not_count() {
        let mut group = group(&[(1, false); 3]);
        group.mark_absent(0, 0, at(0));
        assert_eq!(picks(&mut group, at(0), 4), [1, 2, 1, 2]);
        assert_eq!(
            group.failed(1, 1, Blame::Endpoint, at(1)),
            Some(Change::Ejected),
            "one of two"
        );
        assert_eq!(group.failed(2, 2, Blame::Endpoint, at(1)), None);
        assert_eq!(
            group.pick(None, at(1), &|member| member.endpoint == 0),
            Choice::Member {
                endpoint: 0,
                destination: 0
            }
        );
        let mut told = Vec::new();
        group.expire_ejections(at(30), |member, change| {
            told.push((member.endpoint, change))
        });
        assert_eq!(told, []);
        assert_eq!(
            picks(&mut group, at(30), 4),
            [2, 0, 2, 0],
            "with its whole weight"
        );
    }

    #[test]
    fn those_put_aside_come_before_nobody_and_those_down_never() {
        let mut group = group(&[(1, false), (1, false)]);
        group.failed(0, 0, Blame::Endpoint, at(0));
        group.checked(1, 1, false, at(1));
        assert_eq!(picks(&mut group, at(1), 2), [0, 0]);
        group.checked(0, 0, false, at(2));
        assert_eq!(group.pick(None, at(2), &|_| true), Choice::AllDown);
        assert_eq!(group.pick(None, at(2), &|_| false), Choice::AllDown);
        group.checked(1, 1, true, at(3));
        assert_eq!(picks(&mut group, at(3), 2), [1, 1]);
        assert_eq!(
            group.pick(None, at(3), &|member| member.endpoint == 0),
            Choice::NoMember
        );
    }

    #[test]
    fn who_comes_back_gets_a_tenth_and_then_its_share() {
        let mut group = group(&[(1, false), (1, false)]);
        group.checked(1, 1, false, at(0));
        group.checked(1, 1, true, at(5));
        let count = |group: &mut Group<usize>, now| {
            picks(group, now, 1100)
                .iter()
                .filter(|index| **index == 1)
                .count()
        };
        assert_eq!(count(&mut group, at(5)), 100);
        assert_eq!(count(&mut group, at(20)), 550);
    }

    #[test]
    fn a_group_without_members_has_nobody() {
        let mut group: Group<usize> = Group::new(RULES, Vec::new(), 1);
        assert_eq!(group.pick(None, at(0), &|_| true), Choice::NoMember);
        group.leave(7);
        group.end(7, 0, true);
        assert_eq!(group.failed(7, 0, Blame::Endpoint, at(0)), None);
    }

    #[test]
    fn endpoints_come_and_go() {
        let mut group = group(&[(1, false), (2, false)]);
        group.join(7, 1, 7, Some(at(100)));
        group.begin(7, 1);
        group.leave(1);
        assert_eq!(
            group
                .members()
                .iter()
                .map(|member| member.endpoint)
                .collect::<Vec<_>>(),
            [0, 7]
        );
        let picks = picks(&mut group, at(200), 3);
        assert_eq!(
            picks.iter().filter(|index| **index == 7).count(),
            2,
            "it has its target's weight: {picks:?}"
        );
        assert_eq!(group.balancer.load(1), 1, "its requests moved with it");
        group.end(7, 1, true);
        assert_eq!(group.balancer.load(1), 0);
        group.end(1, 1, true);
    }

    #[test]
    fn each_member_is_checked_in_its_turn() {
        let mut group = group(&[(1, false), (1, false)]);
        assert_eq!((group.next_check(), group.due_check(at(99))), (None, None));
        group.plan_checks(0, at(1));
        group.plan_checks(0, at(50));
        let first = group.next_check().expect("planned");
        assert!(first >= at(1) && first < at(2));
        assert_eq!(group.due_check(at(0)), None);
        assert_eq!(
            (
                group.due_check(at(2)),
                group.due_check(at(2)),
                group.next_check()
            ),
            (Some((0, 0)), None, None)
        );
        group.plan_checks(1, at(3));
        assert_eq!(group.due_check(at(4)), Some((1, 1)));
        group.postpone_check(1, 1, at(5));
        assert_eq!(group.next_check(), Some(at(5)));
        group.checked(0, 0, true, at(4));
        assert_eq!(group.due_check(at(5)), Some((1, 1)));
        let next = group.next_check().expect("an interval later");
        assert!(next >= at(11) && next <= at(13), "{next:?}");
        group.checked(1, 1, false, at(60));
        assert_eq!(group.due_check(at(60)), Some((0, 0)));
        assert_eq!(
            group.due_check(at(60)),
            Some((1, 1)),
            "a check that took longer than an interval is followed at once"
        );
    }

    #[test]
    fn checks_do_not_fall_into_step() {
        let mut group = group(&[(1, false); 20]);
        let mut waits = std::collections::BTreeSet::new();
        for index in 0..20 {
            group.plan_checks(index, at(0));
            group.due_check(at(1));
            group.checked(index, index, true, at(1));
        }
        for member in group.members() {
            waits.insert(member.due().expect("the next one").as_millis());
        }
        assert!(waits.len() > 15, "{waits:?}");
        assert!(waits.iter().all(|at| (10_000..=12_000).contains(at)));
    }

    proptest! {
        /// After any events: while a member is up, only members that are up are picked; while a
        /// primary is up, no backup is; passive failures never eject all; and a pick fails only if
        /// all checks fail.
        #[test]
        fn only_the_best_are_picked(
            roles in prop::collection::vec((1_u32..5, any::<bool>()), 1..6),
            events in prop::collection::vec((0_usize..6, 0_u8..4, 0_u64..20), 0..100),
        ) {
            let mut group = group(&roles);
            let (mut now, mut down) = (at(0), vec![false; roles.len()]);
            for (index, event, seconds) in events {
                let index = index % roles.len();
                match event {
                    0 => drop(group.failed(index, index, Blame::Endpoint, now)),
                    1 => { group.checked(index, index, false, now); down[index] = true; }
                    2 => { group.checked(index, index, true, now); down[index] = false; }
                    _ => { now = now.after(Duration::from_secs(seconds)); group.expire_ejections(now, |_, _| {}); }
                }
                let availabilities: Vec<Availability> = group.members().iter().map(Member::availability).collect();
                let up = |backup: bool| availabilities.iter().zip(&roles).any(|(s, role)| *s == Availability::Up && role.1 == backup);
                match picked(&mut group, now) {
                    None => prop_assert!(down.iter().all(|down| *down)),
                    Some(pick) => {
                        prop_assert!(!down[pick]);
                        prop_assert!(availabilities[pick] == Availability::Up || !(up(false) || up(true)));
                        prop_assert!(!roles[pick].1 || !up(false));
                    }
                }
                let all_aside = availabilities.iter().all(|s| *s == Availability::Ejected);
                prop_assert!(!all_aside, "the last was put aside");
            }
        }
    }
}
