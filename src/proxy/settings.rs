//! Settings of the engine: checked values, which `config` creates once at startup.

mod store;
mod target;

use std::sync::Arc;

pub use self::store::Store;
pub use self::target::{SUPERVISOR, Target, TargetHost, TargetIdentity};
pub use super::record_rule::RecordRule;
pub use crate::policy::auth::provider::Provider;
use crate::policy::auth::sticky_key::StickyKey;
pub use crate::policy::conditions::{Condition, Part};
use crate::policy::cors::CorsPolicy;
use crate::policy::edits::Edits;
pub use crate::policy::entrance::ServiceEntrance;
pub use crate::policy::error_pages::ErrorPages;
pub use crate::policy::fixed::{FixedReply, Redirect, Respond};
pub use crate::policy::forward::{Network, PeerSet};
pub use crate::policy::gate::{BodyLimit, Gate, Gates, Maintenance, OwnMaintenance};
use crate::policy::of_service::HeaderPolicies;
use crate::policy::rate::RateLimit;
use crate::policy::security::SecurityHeaders;
use crate::policy::sticky::StickyCookie;
use crate::time::Duration;
pub use crate::upstream::balance::Strategy;
pub use crate::upstream::health::{Hysteresis, PassiveHealth};
pub use crate::upstream::rules::{HealthCheck, Role};

/// All settings of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Services, in the order of the file. No two match the same request.
    pub services: Vec<Arc<Service>>,
    /// Upstream addresses of the services. Services with the same authority and TLS settings share
    /// a target and its pool.
    pub targets: Vec<Target>,
    /// Providers of `auth`, in the order of the file.
    pub auth: Vec<Provider>,
    /// Rate limits of services without limits of their own, and of requests without a route; empty
    /// if off.
    pub rate_limit: Vec<RateLimit>,
    /// `stores`: stores that limits share their counts through, in the order of the file.
    pub stores: Vec<Store>,
    /// `authFailures`: limit for forged credentials of each client; `None` if off.
    pub auth_failures: Option<RateLimit>,
    /// Timeouts that apply before a route is known.
    pub timeouts: ConnectionTimeouts,
    /// Sizes and counts.
    pub limits: Limits,
    /// `halfClose`: a client that half-closed its connection still gets the response.
    pub half_close: bool,
    /// `cors`; `None`: off.
    pub cors: Option<CorsPolicy>,
    /// `securityHeaders`; `None`: off.
    pub security_headers: Option<SecurityHeaders>,
    /// `requestHeaders` and `responseHeaders` of requests without a service; `None`: none.
    pub edits: Option<Arc<Edits>>,
    /// `trustedProxies`: peers whose X-Forwarded-* fields are accepted.
    pub trusted_proxies: PeerSet,
    /// `allow`: clients that are served; empty for all.
    pub allow: PeerSet,
    /// `deny`: clients that are refused, even if `allow` contains them.
    pub deny: PeerSet,
    /// `maintenance` of services without their own, and of requests without a route; `None`: off.
    pub maintenance: Option<Arc<Maintenance>>,
    /// Address and `name` of each listener that has a name.
    pub listener_names: Vec<(String, String)>,
    /// `errorPages` of requests without a service.
    pub error_pages: Option<Arc<ErrorPages>>,
    /// Port for the redirects of a `redirectToHttps` listener: that of the first TLS listener.
    pub https_port: Option<u16>,
    /// `accessLog`.
    pub access_log: AccessLogFormat,
    /// `requestId`: name of the field with the id of a request; `None`: off.
    pub request_id: Option<String>,
    /// `record`: the flight recorder; `None`: off.
    pub record: Option<RecordRule>,
}

impl Settings {
    /// Compiles what single services say about clients, maintenance and bodies. `None`: nothing, and
    /// the gateway is not in maintenance.
    pub fn gates(&self) -> Option<Box<Gates>> {
        let services = self.services.iter().map(|service| service.gate.as_ref());
        Gates::new(services, self.maintenance.as_ref(), self.limits.body_bytes)
    }

    /// Returns true if a service forwards the name of its consumer: then no client says it.
    pub fn says_consumer(&self) -> bool {
        let mut services = self.services.iter();
        services.any(|service| service.auth.forwards_consumer)
    }

    /// Returns the limit for forged credentials, if there are providers.
    pub fn counted_failures(&self) -> Option<&RateLimit> {
        self.auth_failures
            .as_ref()
            .filter(|_| !self.auth.is_empty())
    }
}

/// Format of the access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLogFormat {
    /// Apache's combined format.
    Combined,
    /// JSON: an object for each line.
    Json,
    /// No access log.
    Off,
}

impl AccessLogFormat {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            AccessLogFormat::Combined => "combined",
            AccessLogFormat::Json => "json",
            AccessLogFormat::Off => "off",
        }
    }
}

/// Sizes and counts (`limits`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Upper bound of a request head's bytes.
    pub head_bytes: usize,
    /// Upper bound of a request line's bytes.
    pub request_line_bytes: usize,
    /// Upper bound of a request head's fields.
    pub fields: usize,
    /// Upper bound of the client connections at one time.
    pub connections: usize,
    /// Upper bound of one client's connections at one time. A client is an address, or an IPv6
    /// network. `None` means an eighth of `connections`, which applies while more than half of them
    /// are in use.
    pub connections_per_client: Option<usize>,
    /// Number of further connections that are accepted only to reply 503.
    pub overflow: usize,
    /// Upper bound of the bytes of a request body that is read completely before an upstream
    /// connection is opened.
    pub gathered_bytes: u64,
    /// Minimum of remaining body bytes for which splicing saves time.
    pub splice_min_bytes: u64,
    /// Upper bound of a request body's bytes; `None` if there is no limit.
    pub body_bytes: Option<u64>,
}

/// Timeouts of a client connection; `None` if off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionTimeouts {
    /// Time from the first byte to the complete request head.
    pub head: Option<Duration>,
    /// Time between two requests.
    pub keep_alive: Option<Duration>,
    /// Time for exchanges in flight when the gateway stops.
    pub shutdown: Option<Duration>,
}

impl ConnectionTimeouts {
    /// Returns the timeouts under their keys in the configuration.
    pub fn by_key(&self) -> [(&'static str, Option<Duration>); 3] {
        let ConnectionTimeouts {
            head,
            keep_alive,
            shutdown,
        } = *self;
        [
            ("head", head),
            ("keepAlive", keep_alive),
            ("shutdown", shutdown),
        ]
    }
}

/// Timeouts of an exchange, each of which a service may override; `None` if off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeTimeouts {
    /// Time for name resolution, connect and TLS handshake together.
    pub connect: Option<Duration>,
    /// Time in which the upstream may send nothing before its head is complete. Upload progress
    /// restarts it.
    pub response: Option<Duration>,
    /// Time for the complete request body.
    pub body: Option<Duration>,
    /// Time without a byte in either direction after the response head was sent.
    pub idle: Option<Duration>,
    /// Time for which an unused upstream connection stays in the pool.
    pub upstream_keep_alive: Option<Duration>,
    /// Time without a byte in either direction in a tunnel.
    pub tunnel: Option<Duration>,
}

impl ExchangeTimeouts {
    /// Returns all timeouts, each with its key in the file.
    pub fn by_key(&self) -> [(&'static str, Option<Duration>); 6] {
        // All fields are named, so that a new one is an error here.
        let ExchangeTimeouts {
            connect,
            response,
            body,
            idle,
            upstream_keep_alive,
            tunnel,
        } = *self;
        [
            ("connect", connect),
            ("response", response),
            ("body", body),
            ("idle", idle),
            ("upstreamKeepAlive", upstream_keep_alive),
            ("tunnel", tunnel),
        ]
    }
}

/// A service: one row of the routes table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// `name`; `None`: reports call the service by its route.
    pub name: Option<Box<str>>,
    /// Route such as `/users`, without a trailing slash; `/` matches every path.
    pub route: String,
    /// `hosts`: `api.example.com` or `*.example.com`, in lower case, without a port; empty for any
    /// host.
    pub hosts: Vec<String>,
    /// `methods`; empty for any method.
    pub methods: Vec<String>,
    /// `match`: conditions on headers, cookies and query parameters, sorted; empty for any request.
    pub conditions: Vec<Condition>,
    /// Destinations of the requests; at least one is not a backup. Empty if there is a `reply`.
    pub destinations: Vec<Destination>,
    /// `allow`, `deny`, `maintenance` and `limits.bodyBytes` of the service; `None`: those of the top
    /// level alone.
    pub gate: Option<Arc<Gate>>,
    /// `errorPages` of the service, or of the top level; `None`: JSON for all clients.
    pub error_pages: Option<Arc<ErrorPages>>,
    /// `accessLog` of the service; `None`: that of the top level.
    pub access_log: Option<AccessLogFormat>,
    /// `redirect` or `respond`: the reply to all requests, in place of destinations.
    pub reply: Option<Arc<FixedReply>>,
    /// `listeners` and `clientCertificate`; `None`: neither.
    pub entrance: Option<Box<ServiceEntrance>>,
    /// `balance`: strategy that selects a destination.
    pub balance: Strategy,
    /// `healthCheck`; `None`: off.
    pub health_check: Option<Arc<HealthCheck>>,
    /// `passiveHealth`; `None`: off.
    pub passive_health: Option<PassiveHealth>,
    /// `retries`: how often a request may be sent to another target.
    pub retries: u32,
    /// `limits.inFlight` of the service: most requests at its targets at one time; `None` without a
    /// limit.
    pub in_flight: Option<u32>,
    /// `sticky`; `None`: off.
    pub sticky: Option<Box<Sticky>>,
    /// `stripPrefix`.
    pub strip_prefix: bool,
    /// `preserveHost`.
    pub preserve_host: bool,
    /// `encodedSlashes`: true to forward a `%2F` in a path, false to refuse the path.
    pub keeps_encoded_slashes: bool,
    /// `requestHeaders` and `responseHeaders`, merged with those of the top level; `None`: none.
    pub edits: Option<Arc<Edits>>,
    /// Policies for the headers of responses.
    pub headers: HeaderPolicies,
    /// `rateLimit` of the service.
    pub rate_limit: ServiceRateLimit,
    /// Timeouts of the service, with defaults filled in. Services without their own share those of
    /// the top level.
    pub timeouts: Arc<ExchangeTimeouts>,
    /// Authentication of the service.
    pub auth: ServiceAuth,
}

/// Identity of a service: what makes it the same in two configurations.
pub type ServiceIdentity<'a> = (
    &'a str,
    &'a [String],
    &'a [String],
    &'a [String],
    &'a [Condition],
);

/// `auth` and `scopes` of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceAuth {
    /// Indices into [`Settings::auth`]. A credential that is valid for any of them is sufficient.
    /// Empty admits every client.
    pub providers: Vec<usize>,
    /// Scopes that a credential must have, all of them.
    pub scopes: Vec<String>,
    /// True to remove the credential that admitted a request before it is forwarded
    /// (`"forwardCredentials": false`).
    pub strips_credentials: bool,
    /// `forwardConsumer`: true if the upstream gets the consumer's name as `X-Consumer`. The header
    /// edits of the service have it.
    pub forwards_consumer: bool,
}

impl ServiceAuth {
    /// Returns what decides who is admitted.
    pub(super) fn admits(&self) -> (&[usize], &[String]) {
        (&self.providers, &self.scopes)
    }
}

/// A target of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Index into [`Settings::targets`].
    pub target: usize,
    /// Path of the destination as configured, which may be empty: `/users/`.
    pub path: String,
    /// `weight`, `backup` and `maxInFlight`.
    pub role: Role,
}

/// `sticky`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sticky {
    /// The cookie.
    pub cookie: StickyCookie,
    /// Key of its values.
    pub key: StickyKey,
}

impl Service {
    /// Returns what reports, metrics and logs call the service: its name, or else its route. A route
    /// has a `/`, which no name has.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.route)
    }

    /// Returns what makes it the same in two configurations.
    pub fn identity(&self) -> ServiceIdentity<'_> {
        (
            &self.route,
            &self.hosts,
            &self.methods,
            self.listeners(),
            &self.conditions,
        )
    }

    /// Returns `listeners`: names of those that the service answers on; empty for all.
    pub fn listeners(&self) -> &[String] {
        let entrance = self.entrance.as_deref();
        entrance.map_or(&[], |entrance| &entrance.listeners)
    }

    /// Returns true if the service refuses requests without a client certificate.
    pub fn needs_certificate(&self) -> bool {
        let entrance = self.entrance.as_deref();
        entrance.is_some_and(|entrance| entrance.needs_certificate)
    }

    /// Returns the bound of a body's bytes; `None`: no limit. `top`: that of the top level.
    pub fn body_bytes(&self, top: Option<u64>) -> Option<u64> {
        let own = self.gate.as_ref().map(|gate| gate.body);
        own.unwrap_or_default().or(top)
    }

    /// Returns true if the service needs a group of endpoints: it has several targets, a name that
    /// may have several addresses, health checks, sticky
    /// sessions, or a limit of requests in flight. `targets`: the targets of the settings.
    pub fn has_group(&self, targets: &[Target]) -> bool {
        let named = |destination: &Destination| {
            targets
                .get(destination.target)
                .is_some_and(|target| matches!(target.host, TargetHost::Name(_)))
        };
        let limited = |destination: &Destination| destination.role.max_in_flight < u32::MAX;
        self.destinations.len() > 1
            || self.health_check.is_some()
            || self.in_flight.is_some()
            || self.sticky.is_some()
            || self.destinations.iter().any(limited)
            || self.destinations.iter().any(named)
    }
}

/// Rate limit of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceRateLimit {
    /// The limit of the top level, with its table.
    Inherited,
    /// No limit.
    Off,
    /// Limits of the service, at least one, each with its own table.
    Own(Vec<RateLimit>),
}
