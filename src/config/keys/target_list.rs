//! Targets of a configuration. Those with the same scheme, host, port and TLS settings are one target, whatever names
//! them: they share connections and addresses, and a reload tells by the same values which target stays.

use std::collections::HashMap;

use crate::config::keys::upstream_tls::TlsSettings;
use crate::config::model::UpstreamTls;
use crate::config::values::target_url;
use crate::proxy::settings::Target;

/// Targets, each once.
#[derive(Default)]
pub(crate) struct TargetList {
    pub(crate) targets: Vec<Target>,
    /// TLS settings of each target; `None` for http.
    pub(crate) tls: Vec<Option<UpstreamTls>>,
    places: HashMap<Identity, usize>,
}

/// Scheme, host, port, and digest of the TLS settings.
type Identity = ((bool, String, u16), [u8; 32]);

impl TargetList {
    /// Returns the place of a target, which is added if it is new.
    pub(crate) fn share(&mut self, mut target: Target, tls: TlsSettings) -> usize {
        target.trust = tls.digest();
        let tls = target.tls.then_some(UpstreamTls {
            roots: tls.roots,
            server_name: tls.server_name,
            client: tls.client,
        });
        self.insert(target, tls)
    }

    /// Adds the targets of another list. Returns the place of each.
    pub(crate) fn join(&mut self, other: TargetList) -> Vec<usize> {
        let targets = other.targets.into_iter().zip(other.tls);
        targets
            .map(|(target, tls)| self.insert(target, tls))
            .collect()
    }

    fn insert(&mut self, target: Target, tls: Option<UpstreamTls>) -> usize {
        let identity = (target_url::identity(&target), target.trust);
        *self.places.entry(identity).or_insert_with(|| {
            self.tls.push(tls);
            self.targets.push(target);
            self.targets.len() - 1
        })
    }
}
