//! Targets and services across editions of the rules: what is kept, what is new, what goes.
//!
//! A target is the same when host, port and TLS settings are equal. A service is the same when
//! route, hosts and methods are equal. The state of both is kept then: addresses, pools, health,
//! requests in flight.
//!
//! State that no edition has any more goes when nothing needs it. A target with a request that
//! waits for its name is kept until the name is resolved. A target and a service are kept while a
//! request that began with their edition has no response: its first attempt may still be to come,
//! because its body is read whole before (see `exchange/request.rs`). It goes to a target that is
//! gone if there is no other for it. No retry does.

use std::rc::Rc;

use super::super::context::Context;
use super::super::ids::{ServiceId, TargetId};
use super::super::rate_rules::RateState;
use super::super::rules::Rules;
use super::super::settings::{Service, Settings, Target};
use super::super::state_keys::{ServiceKeys, StateKeys};
use super::Upstreams;
use super::names::TargetState;
use super::selection::{ServiceDestination, ServiceState, group_rules, set_names};
use crate::observe::metrics::numbers::TargetCounters;
use crate::sort::Index;
use crate::upstream::balance::identity;
use crate::upstream::group::Group;

impl Upstreams {
    /// Makes targets and services those of these settings, and names them in `keys`. `before`: the
    /// rules of the moment; none at the start. [`begin_edition`](Self::begin_edition) follows.
    pub(in crate::proxy) fn adopt(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
    ) {
        self.adopt_targets(settings, before, keys);
        self.adopt_services(settings, before, keys);
        self.renew_users();
    }

    /// Begins with the state that new rules name: looks up what is new, lets go of what is old, and
    /// plans checks.
    pub(in crate::proxy) fn begin_edition(&mut self, rules: &Rules, ctx: &mut Context) {
        let keys = &rules.state;
        let mut is_current = vec![false; self.targets.slots()];
        for id in &keys.targets {
            if let Some(current) = is_current.get_mut(id.index() as usize) {
                *current = true;
            }
        }
        for id in self.targets.keys().collect::<Vec<_>>() {
            if is_current.get(id.index() as usize) != Some(&true) {
                self.retire_target(id, ctx);
            }
        }
        for &target in &keys.targets {
            self.find_target(target, ctx);
        }
        if keys.edition > 0 {
            self.fill_groups(rules, ctx);
        }
    }

    fn adopt_targets(&mut self, settings: &Settings, before: Option<&Rules>, keys: &mut StateKeys) {
        let (targets, ids) = before.map_or((&[][..], &[][..]), |rules| {
            (&rules.settings.targets, &rules.state.targets)
        });
        let known = Index::new(targets.iter().map(Target::identity).collect());
        let kept = |guess: usize, target: &Target| {
            let place = known.place_near(guess, &target.identity())?;
            ids.get(place).copied()
        };
        let targets = settings.targets.iter().enumerate();
        let targets = targets.map(|(guess, target)| {
            kept(guess, target)
                .unwrap_or_else(|| self.targets.insert(TargetState::new(target, keys.edition)))
        });
        keys.targets = targets.collect();
        let values = keys.targets.iter().filter_map(|id| self.targets.get(*id));
        keys.target_values = values.map(|state| Rc::clone(&state.target)).collect();
    }

    fn adopt_services(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
    ) {
        let known = before.map_or(&[][..], |rules| &rules.services);
        let mut goes = vec![true; known.len()];
        let places = known.iter().map(|rules| rules.service.identity());
        let places = Index::new(places.collect());
        let mut numbers = Vec::new();
        for (guess, service) in settings.services.iter().enumerate() {
            let place = places.place_near(guess, &service.identity());
            if let Some(goes) = place.and_then(|place| goes.get_mut(place)) {
                *goes = false;
            }
            let id = match place.and_then(|place| known.get(place)) {
                Some(rules) => rules.id,
                None => {
                    let seed = self.seed;
                    self.seed = seed.wrapping_add(1);
                    self.services
                        .insert(ServiceState::new(service, keys.edition, seed))
                }
            };
            let Some(state) = self.services.get_mut(id) else {
                continue;
            };
            state.adopt(service, settings, keys, &mut numbers);
            keys.services.push(ServiceKeys {
                id,
                label: Rc::clone(&state.label),
                rate: RateState::default(),
            });
        }
        keys.destinations = numbers;
        let gone = known.iter().zip(&goes).filter(|(_, goes)| **goes);
        for (rules, _) in gone {
            self.retire_service(rules.id, keys.edition);
        }
        for id in self.services.keys().collect::<Vec<_>>() {
            let state = self.services.get(id);
            if state.is_some_and(|state| {
                state.last_edition < keys.edition
                    && !keys.is_live(state.first_edition, state.last_edition)
            }) {
                self.services.remove(id);
            }
        }
    }

    /// Notes with each target which services have it.
    fn renew_users(&mut self) {
        for state in self.targets.values_mut() {
            state.users.clear();
        }
        for id in self.services.keys().collect::<Vec<_>>() {
            let Some(service) = self.services.get(id) else {
                continue;
            };
            for (number, destination) in service.destinations.iter().enumerate() {
                if let Some(state) = self.targets.get_mut(destination.target) {
                    state.users.push((id, number));
                }
            }
        }
    }

    /// Lets go of a target that the rules of the moment do not have any more. Idle connections close
    /// at once, busy ones when they are done.
    pub(super) fn retire_target(&mut self, id: TargetId, ctx: &mut Context) {
        let Some(state) = self.targets.get_mut(id) else {
            return;
        };
        let keys = &ctx.rules.state;
        state.last_edition = state.last_edition.min(keys.edition.saturating_sub(1));
        let is_awaited = state.waiting() > 0 && state.addresses.is_lookup_pending();
        if is_awaited || keys.is_live(state.first_edition, state.last_edition) {
            for endpoint in state.endpoints.clone() {
                self.retire_endpoint(id, endpoint, ctx);
            }
            return;
        }
        for endpoint in core::mem::take(&mut state.endpoints) {
            self.drop_endpoint(id, endpoint, ctx);
        }
        self.targets.remove(id);
    }

    /// Stops the checks of a service that no rules have any more. Requests that began with it go
    /// on.
    fn retire_service(&mut self, id: ServiceId, edition: u64) {
        let Some(state) = self.services.get_mut(id) else {
            return;
        };
        state.health_check = None;
        state.timer.clear();
        // A service that a later edition brings back starts as a new one.
        state.last_edition = edition.saturating_sub(1);
    }

    /// Adds the endpoints that are known already to groups that do not have them yet, and plans
    /// checks.
    fn fill_groups(&mut self, rules: &Rules, ctx: &mut Context) {
        for service in &rules.services {
            for destination in &service.destinations {
                self.fill_group(service.id, destination.number, ctx);
            }
            self.arm_checks(service.id, ctx);
        }
    }

    fn fill_group(&mut self, service: ServiceId, number: usize, ctx: &Context) {
        let Some(state) = self.services.get_mut(service) else {
            return;
        };
        let (Some(group), Some(to)) = (&mut state.group, state.destinations.get(number)) else {
            return;
        };
        let target = self.targets.get(to.target);
        let has_others = !group.members().is_empty();
        for &endpoint in target.map_or(&[][..], |target| &target.endpoints) {
            let Some(known) = self.endpoints.get(endpoint) else {
                continue;
            };
            let identity = identity(known.address, &to.path);
            if group.has(endpoint, number) {
                group.set_identity(endpoint, number, identity);
            } else {
                group.join(endpoint, number, identity, has_others.then_some(ctx.now));
            }
        }
        set_names(group, state.sticky.as_deref());
        group.plan_checks(number, ctx.now);
    }
}

impl ServiceState {
    /// Makes the state one of these settings. Adds the number of each destination to `numbers`. What
    /// has not changed is neither copied nor made again: a reload does this for thousands of services
    /// in one turn of the event loop.
    fn adopt(
        &mut self,
        service: &Service,
        settings: &Settings,
        keys: &StateKeys,
        numbers: &mut Vec<usize>,
    ) {
        self.last_edition = u64::MAX;
        if *self.label != *service.label() {
            self.label = Rc::from(service.label());
        }
        self.health_check.clone_from(&service.health_check);
        let sticky = service.sticky.as_deref();
        self.sticky = sticky.map(|sticky| Box::new(sticky.key));
        if self.destinations.is_empty() {
            self.destinations.reserve_exact(service.destinations.len());
        }
        let first = numbers.len();
        for (guess, destination) in service.destinations.iter().enumerate() {
            // Each destination has a target.
            let target = keys.targets.get(destination.target);
            numbers.push(target.map_or(usize::MAX, |target| {
                self.number_of(guess, (*target, &destination.path), keys)
            }));
        }
        // Requests of earlier editions may still choose among their destinations.
        if !service.has_group(&settings.targets) && (keys.live.is_empty() || self.group.is_none()) {
            self.group = None;
            return;
        }
        let rules = group_rules(service);
        let roles = service.destinations.iter().map(|to| to.role);
        let numbers = numbers.get(first..).unwrap_or_default().iter();
        let roles = numbers.copied().zip(roles).collect::<Vec<_>>();
        let seed = self.seed;
        let group = self
            .group
            .get_or_insert_with(|| Box::new(Group::new(rules, Vec::new(), seed)));
        group.set_rules(rules, &roles);
    }

    /// Returns the number of a destination: the one that its target has already, or one that no
    /// edition uses any more, or a new one. Of several destinations with one target, those with the
    /// same path are the same. `guess`: the number that it probably has.
    fn number_of(
        &mut self,
        guess: usize,
        (target, path): (TargetId, &str),
        keys: &StateKeys,
    ) -> usize {
        let edition = keys.edition;
        let find = |is_wanted: &dyn Fn(&ServiceDestination) -> bool| {
            if self.first_edition == edition {
                // All that a new service has so far are of this edition.
                return None;
            }
            let mut known = self.destinations.iter();
            known.position(|known| known.last_edition < edition && is_wanted(known))
        };
        let is_same = |known: &ServiceDestination| known.target == target && *known.path == *path;
        let guessed = self.destinations.get(guess);
        let same = guessed
            .filter(|known| known.last_edition < edition && is_same(known))
            .map(|_| guess)
            .or_else(|| find(&is_same))
            .or_else(|| find(&|known| known.target == target));
        let number =
            same.or_else(|| find(&|known| !keys.is_live(known.first_edition, known.last_edition)));
        if let Some((number, known)) =
            same.and_then(|number| Some((number, self.destinations.get_mut(number)?)))
        {
            known.last_edition = edition;
            if *known.path != *path {
                known.path = path.into();
            }
            return number;
        }
        if let (Some(number), Some(group)) = (number, &mut self.group) {
            group.leave_destination(number);
        }
        let to = ServiceDestination {
            target,
            path: path.into(),
            counters: TargetCounters::default(),
            first_edition: edition,
            last_edition: edition,
        };
        match number.and_then(|number| self.destinations.get_mut(number)) {
            Some(known) => *known = to,
            None => self.destinations.push(to),
        }
        number.unwrap_or_else(|| self.destinations.len().saturating_sub(1))
    }
}
