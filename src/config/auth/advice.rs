//! What is allowed and not wise: `tollgate check` shows it, and a gateway that starts warns of it.

use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::provider::{Keys, Kind, Provider};
use crate::proxy::settings::{Settings, TargetHost};

/// One line for each thing, without anything that is secret.
pub(in super::super) fn warnings(settings: &Settings) -> Vec<String> {
    settings.auth.iter().flat_map(|provider| about(provider, settings)).collect()
}

fn about(provider: &Provider, settings: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    if let Kind::Jwt { keys: Keys::Known(set), .. } = &provider.kind
        && let Some(bytes) = shortest_secret(set).filter(|&bytes| bytes < 32)
    {
        lines.push(format!(
            "auth {}: a secret of {bytes} bytes can be guessed from a token; RFC 7518 3.2 asks for 32 or more, as many as the hash has",
            provider.name
        ));
    }
    if let Kind::Jwt { keys: Keys::Known(set), .. } = &provider.kind
        && set.left_out() > 0
    {
        lines.push(format!(
            "auth {}: the first {} keys of the key set are used, and {} more are not: tokens that they signed are refused",
            provider.name,
            set.keys().len(),
            set.left_out()
        ));
    }
    let endpoint = provider.kind.endpoint().and_then(|endpoint| settings.targets.get(endpoint.target));
    if let Some(target) = endpoint.filter(|target| !target.tls) {
        let local = match &target.host {
            TargetHost::Address(address) => address.is_loopback(),
            TargetHost::Name(name) => name.eq_ignore_ascii_case("localhost"),
        };
        if !local {
            lines.push(format!(
                "auth {}: {} is asked over http, where anybody on the way can answer in its place; use https",
                provider.name, target.authority
            ));
        }
    }
    lines
}

fn shortest_secret(set: &KeySet) -> Option<usize> {
    set.keys().iter().filter_map(|key| key.secret_bytes()).min()
}
