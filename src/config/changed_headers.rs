//! Changes of the header policies of a service.

use crate::policy::of_service::HeaderPolicies;
use crate::policy::own_url::Rewrites;

/// Returns the keys that changed.
pub(super) fn keys(old: &HeaderPolicies, new: &HeaderPolicies) -> Vec<&'static str> {
    // Every field has a line below.
    let HeaderPolicies {
        cors: _,
        security_headers: _,
        rewrites: Rewrites {
            location: _,
            cookie_path: _,
        },
    } = old;
    let differs = [
        (old.cors != new.cors, "cors"),
        (
            old.security_headers != new.security_headers,
            "securityHeaders",
        ),
        (
            old.rewrites.location != new.rewrites.location,
            "rewriteLocation",
        ),
        (
            old.rewrites.cookie_path != new.rewrites.cookie_path,
            "rewriteCookiePath",
        ),
    ];
    let differing = differs.iter().filter(|(differs, _)| *differs);
    differing.map(|(_, name)| *name).collect()
}
