//! Compiled configuration: one immutable value that all parts share.
//!
//! A request keeps the rules that it began with. State (connections, health, rate windows) is
//! stored elsewhere.

use super::bounds::Bounds;
use super::settings::Settings;
use crate::http::head::HeadLimits;
use crate::policy::addresses::AddressRules;
use crate::policy::cors::Cors;
use crate::policy::forward::TrustedProxies;
use crate::policy::rewrite::Rewrite;
use crate::policy::router::Router;
use crate::policy::security::SecurityBlock;

/// Settings, and the values that are compiled from them.
pub(super) struct Rules {
    /// Settings as checked by `config`.
    pub(super) settings: Settings,
    /// The routes table.
    pub(super) routes: Router,
    /// Path rewrites of each service, one for each of its targets.
    pub(super) rewrites: Vec<Vec<Rewrite>>,
    /// CORS policy; `None` if off.
    pub(super) cors: Option<Cors>,
    /// Security headers of every response; `None` if off.
    pub(super) security: Option<SecurityBlock>,
    /// Peers whose `X-Forwarded-*` fields are accepted.
    pub(super) trusted: TrustedProxies,
    /// Rules for client addresses.
    pub(super) addresses: AddressRules,
    /// Limits of a request's head.
    pub(super) request_limits: HeadLimits,
    /// Bounds of the engine's memory, in counts and bytes.
    pub(super) bounds: Bounds,
}

impl Rules {
    /// Compiles the settings. `bounds`: see `memory`.
    pub(super) fn new(settings: Settings, bounds: Bounds) -> Rules {
        let rewrites = settings.services.iter().map(|service| {
            let targets = service.destinations.iter();
            targets
                .map(|target| Rewrite::new(&target.path, service.strip_prefix))
                .collect()
        });
        Rules {
            routes: settings.router(),
            rewrites: rewrites.collect(),
            cors: settings.cors.as_ref().map(Cors::new),
            security: settings.security_headers.as_ref().map(SecurityBlock::new),
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            addresses: AddressRules::new(&settings.allow, &settings.deny),
            request_limits: HeadLimits {
                head_bytes: settings.limits.head_bytes,
                request_line_bytes: settings.limits.request_line_bytes,
                fields: settings.limits.fields,
            },
            bounds,
            settings,
        }
    }
}
