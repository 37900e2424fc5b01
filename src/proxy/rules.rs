//! What the configuration was compiled to: one immutable value, shared by everything that reads it.
//!
//! A request keeps the rules that it began with. State (connections, health, rate windows) is kept elsewhere.

use super::bounds::Bounds;
use super::settings::Settings;
use crate::http::head::HeadLimits;
use crate::policy::addresses::AddressRules;
use crate::policy::cors::Cors;
use crate::policy::forward::TrustedProxies;
use crate::policy::rewrite::Rewrite;
use crate::policy::router::Router;
use crate::policy::security::SecurityBlock;

/// The settings, and what is compiled from them once.
pub(super) struct Rules {
    /// The settings as they were checked.
    pub(super) settings: Settings,
    /// The routes table.
    pub(super) routes: Router,
    /// Path rewrites: for each service one for each of its targets.
    pub(super) rewrites: Vec<Vec<Rewrite>>,
    /// CORS policy; `None`: off.
    pub(super) cors: Option<Cors>,
    /// Security headers of every response; `None`: off.
    pub(super) security: Option<SecurityBlock>,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub(super) trusted: TrustedProxies,
    /// Addresses that are served.
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
