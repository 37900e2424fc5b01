//! Stores across editions of the rules: one with the same server, TLS settings, user, password and
//! database keeps its connection.

use std::rc::Rc;

use super::super::ids::TargetId;
use super::super::limiter::Limiter;
use super::super::rules::Rules;
use super::super::settings::Settings;
use super::super::state_keys::StateKeys;
use super::{Stage, StoreEnv, StoreState, Stores};

impl Stores {
    /// Makes the stores those of these settings, and names them in `keys`, which names the targets
    /// already. [`begin_edition`](Self::begin_edition) follows.
    pub(in crate::proxy) fn adopt(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
        limiter: &mut Limiter,
    ) {
        let mut known = Vec::new();
        if let Some(rules) = before {
            let stores = rules.settings.stores.iter();
            known.extend(stores.zip(rules.state.stores.iter().copied()));
        }
        for store in &settings.stores {
            let identity = store.identity(&settings.targets);
            let same = known.iter().position(|(other, _)| {
                before.is_some_and(|rules| other.identity(&rules.settings.targets) == identity)
            });
            let settings = Rc::new(store.clone());
            let target = keys.targets.get(store.target).copied();
            let id = match same.map(|place| known.swap_remove(place).1) {
                Some(id) => {
                    if let Some(state) = self.slab.get_mut(id) {
                        state.settings = settings;
                    }
                    id
                }
                None => {
                    let target = target.unwrap_or(TargetId::from_parts(u32::MAX, 0));
                    self.slab.insert(StoreState::new(settings, target))
                }
            };
            limiter.queues.add(id);
            keys.stores.push(id);
        }
    }

    /// Begins with the stores that new rules name: connects to new ones, and closes the connections
    /// of those that are gone.
    pub(in crate::proxy) fn begin_edition(&mut self, keys: &StateKeys, env: &mut StoreEnv<'_>) {
        for id in self.slab.keys().collect::<Vec<_>>() {
            if !keys.stores.contains(&id) {
                self.disconnect(id, env);
                self.slab.remove(id);
                env.limiter.queues.remove(id);
                continue;
            }
            let Some(store) = self.slab.get(id) else {
                continue;
            };
            let is_up = store.stage == Stage::Up;
            let is_closed = store.settings.is_closed;
            env.limiter.queues.set_state(id, is_up, is_closed);
            if store.stage == Stage::Pausing && store.timer.deadline().is_none() {
                self.connect(id, env);
            }
        }
    }
}
