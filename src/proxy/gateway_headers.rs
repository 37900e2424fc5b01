//! Headers of a client that do not go to the upstream, because the gateway says them or they are
//! credentials.

use super::settings::{ServiceAuth, Settings};
use crate::policy::auth::provider::Reads;
use crate::policy::edits::CONSUMER;

/// Returns the headers of a service's own providers; and of all others those that exist for nothing
/// else, because the upstream that believes them may be behind several services. `Authorization`
/// and `Cookie` are a client's own everywhere else. `consumer`: some service forwards its name.
pub(super) fn gateway_headers(settings: &Settings, own: &[usize], consumer: bool) -> Box<[String]> {
    let mut all = Vec::from_iter(consumer.then(|| CONSUMER.to_owned()));
    for (index, provider) in settings.auth.iter().enumerate() {
        for header in provider.kind.headers() {
            let clients = ["authorization", "cookie"]
                .iter()
                .any(|name| header.eq_ignore_ascii_case(name));
            let counts = own.contains(&index) || !clients;
            if counts && !all.iter().any(|known| known.eq_ignore_ascii_case(header)) {
                all.push(header.to_owned());
            }
        }
    }
    all.into_boxed_slice()
}

/// Returns the headers for `ServiceRules::dropped` of a service with `"forwardCredentials":
/// false`; empty for every other.
pub(super) fn credential_headers(
    settings: &Settings,
    auth: &ServiceAuth,
    consumer: bool,
) -> Box<[String]> {
    if !auth.strips_credentials {
        return Box::default();
    }
    let mut all = gateway_headers(settings, &auth.providers, consumer).into_vec();
    for provider in auth
        .providers
        .iter()
        .filter_map(|&index| settings.auth.get(index))
    {
        match provider.kind.reads() {
            Reads::Header(header) => all.push(header.to_owned()),
            // All kinds are named, so that a new one is an error here.
            Reads::Bearer | Reads::Basic | Reads::Request => {}
        }
    }
    all.push("Authorization".to_owned());
    all.into_boxed_slice()
}
