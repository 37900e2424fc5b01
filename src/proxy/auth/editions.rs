//! Providers across editions of the rules. A provider with an equal definition keeps its key set and
//! the credentials that it remembers; every other starts empty.

use std::rc::Rc;

use super::super::ids::{ProviderId, TargetId};
use super::super::rules::Rules;
use super::super::settings::{Provider, Settings};
use super::super::state_keys::StateKeys;
use super::{
    AuthRequest, Authenticator, Lookup, LookupKind, LookupResult, ProviderState, Resolved,
};
use crate::sort::Index;

impl Authenticator {
    /// Makes the providers those of these settings, and names them in `keys`, which has the targets
    /// already. `before`: the rules of the moment; none at the start. Returns the look-ups of
    /// providers that are gone: requests that wait for them are judged again.
    pub(in crate::proxy) fn adopt(
        &mut self,
        settings: &Settings,
        before: Option<&Rules>,
        keys: &mut StateKeys,
    ) -> Vec<Resolved> {
        let (known, ids) = before.map_or((&[][..], &[][..]), |rules| {
            (&rules.settings.auth, &rules.state.providers)
        });
        let places = known.iter().map(|provider| provider.name.as_str());
        let places = Index::new(places.collect());
        let mut goes = vec![true; ids.len()];
        for provider in &settings.auth {
            let endpoint = provider.kind.endpoint().map(|endpoint| endpoint.target);
            let target = endpoint.and_then(|index| keys.targets.get(index).copied());
            let place = places.place(&provider.name.as_str());
            let same = place.and_then(|place| Some((*ids.get(place)?, goes.get_mut(place)?)));
            let id = match same.filter(|(id, _)| self.is_same(*id, provider, target)) {
                Some((id, goes)) => {
                    *goes = false;
                    id
                }
                None => {
                    let of_target = endpoint.and_then(|index| settings.targets.get(index));
                    let target = target.zip(of_target.cloned().map(Rc::new));
                    let state = ProviderState::new(provider.clone(), target);
                    self.providers.insert(state)
                }
            };
            keys.providers.push(id);
        }
        for (id, _) in ids.iter().zip(&goes).filter(|(_, goes)| **goes) {
            self.providers.remove(*id);
        }
        self.drop_lookups()
    }

    fn is_same(&self, id: ProviderId, provider: &Provider, target: Option<TargetId>) -> bool {
        self.providers.get(id).is_some_and(|state| {
            let known = state.target.as_ref().map(|(target, _)| *target);
            known == target && state.provider.is_like(provider)
        })
    }

    /// Drops the look-ups of providers that are gone.
    fn drop_lookups(&mut self) -> Vec<Resolved> {
        let is_gone = |lookup: &Lookup| self.providers.get(lookup.kind.provider()).is_none();
        let gone = self.lookups.keys().filter(|id| {
            let lookup = self.lookups.get(*id);
            lookup.is_some_and(is_gone)
        });
        let mut resolved = Vec::new();
        for lookup in gone.collect::<Vec<_>>() {
            let Some(entry) = self.lookups.remove(lookup) else {
                continue;
            };
            self.forget_pending(&entry.kind);
            if let Some(subrequest) = entry.subrequest {
                self.requests.push(AuthRequest::Cancel(subrequest));
            }
            resolved.push(Resolved {
                lookup_id: lookup,
                waiting: entry.waiting,
                result: LookupResult::KeysChanged,
            });
        }
        resolved
    }
}

impl LookupKind {
    fn provider(&self) -> ProviderId {
        match self {
            LookupKind::Keys(provider)
            | LookupKind::Token(provider, _)
            | LookupKind::Password { provider, .. }
            | LookupKind::Signature { provider, .. }
            | LookupKind::Request(provider) => *provider,
        }
    }
}
