//! Fetched key sets on their way from the old process of an upgrade to the new one.

use super::super::carried::{CarriedKeys, keys_identity};
use super::super::rules::Rules;
use super::{Authenticator, ProviderState};
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::Kind;

impl ProviderState {
    /// Returns the identity of the key set that another process may have.
    fn keys_identity(&self) -> Option<Vec<u8>> {
        let (_, target) = self.target.as_ref()?;
        keys_identity(&self.provider, target)
    }
}

impl Authenticator {
    /// Returns the next key set from the provider at `place` on, and moves `place` behind it.
    pub(in crate::proxy) fn carried_keys(
        &self,
        place: &mut usize,
        rules: &Rules,
    ) -> Option<CarriedKeys> {
        while let Some(id) = rules.state.providers.get(*place) {
            *place = place.saturating_add(1);
            let state = self.providers.get(*id);
            let keys = state.and_then(|state| {
                Some(CarriedKeys {
                    provider: state.keys_identity()?,
                    set: state.keys.as_ref()?.write(),
                })
            });
            if keys.is_some() {
                return keys;
            }
        }
        None
    }

    /// Takes over the key sets that another process has fetched, where none was fetched here yet.
    /// The first fetch replaces them. Returns their number.
    pub(in crate::proxy) fn take_over(&mut self, carried: &[CarriedKeys]) -> usize {
        let mut count = 0_usize;
        for keys in carried {
            let same = |state: &&mut ProviderState| {
                state.keys.is_none() && state.keys_identity().as_ref() == Some(&keys.provider)
            };
            if let Some(state) = self.providers.values_mut().find(same)
                && let Kind::Jwt { rules, .. } = &state.provider.kind
                && let Ok(set) = KeySet::parse(keys.set.bytes(), rules.algorithms)
            {
                state.keys = Some(set);
                count = count.saturating_add(1);
            }
        }
        count
    }
}
