//! What the engine is told once, at its start: checked values that cannot be wrong. `config` makes them.

use core::fmt;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use std::collections::BTreeMap;

pub use crate::policy::auth::provider::Provider;
use crate::policy::cors::CorsPolicy;
pub use crate::policy::forward::{Network, PeerSet};
use crate::policy::guard::{GuardId, OPEN};
use crate::policy::rate::RateLimit;
use crate::policy::router::{Router, Rule};
use crate::policy::security::SecurityHeaders;
use crate::time::Duration;
pub use crate::upstream::balance::Strategy;
pub use crate::upstream::health::{Hysteresis, PassiveHealth};
pub use crate::upstream::rules::Role;

/// Everything the engine is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The services, in the order of the file; no two take the same request.
    pub services: Vec<Service>,
    /// The upstream addresses the services point to; services of one authority and one TLS setting share a target (and its pool).
    pub targets: Vec<Target>,
    /// The providers of `auth`, in the order of the file.
    pub auth: Vec<Provider>,
    /// The rate limit of services without one of their own and of requests without a route. `None`: off.
    pub rate_limit: Option<RateLimit>,
    /// `authFailures`: credentials that are not authentic, for each client. `None`: off.
    pub auth_failures: Option<RateLimit>,
    /// What holds before a route is known.
    pub timeouts: ConnectionTimeouts,
    /// Sizes and counts.
    pub limits: Limits,
    /// `halfClose`: a client that half-closed still gets its answer.
    pub half_close: bool,
    /// `cors`; `None`: off.
    pub cors: Option<CorsPolicy>,
    /// `securityHeaders`; `None`: off.
    pub security_headers: Option<SecurityHeaders>,
    /// `trustedProxies`: peers whose X-Forwarded-* is believed.
    pub trusted_proxies: PeerSet,
    /// `allow`: clients that are served; empty: all.
    pub allow: PeerSet,
    /// `deny`: clients that are refused, allowed or not.
    pub deny: PeerSet,
    /// The port that a `redirectToHttps` listener names: the first TLS listener's.
    pub https_port: Option<u16>,
    /// `accessLog`.
    pub access_log: AccessLogFormat,
}

impl Settings {
    /// The routes table of the services.
    pub fn router(&self) -> Router {
        let mut known: BTreeMap<(&[usize], &[String]), GuardId> = BTreeMap::new();
        let guards = self.services.iter().map(|service| {
            let ServiceAuth {
                providers, scopes, ..
            } = &service.auth;
            if providers.is_empty() {
                return OPEN;
            }
            let next = OPEN
                .saturating_add(1)
                .saturating_add(known.len() as GuardId);
            *known.entry((providers, scopes)).or_insert(next)
        });
        let guards = guards.collect::<Vec<_>>();
        Router::new(
            self.services
                .iter()
                .zip(guards)
                .map(|(service, guard)| Rule {
                    route: &service.route,
                    hosts: &service.hosts,
                    methods: &service.methods,
                    guard,
                    keeps_slashes: service.keeps_encoded_slashes,
                }),
        )
    }

    /// The budget for credentials that are not authentic, where there are providers.
    pub fn counted_failures(&self) -> Option<&RateLimit> {
        self.auth_failures
            .as_ref()
            .filter(|_| !self.auth.is_empty())
    }
}

/// The form of the access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLogFormat {
    /// Apache's combined format.
    Combined,
    /// One JSON object a line.
    Json,
    /// None.
    Off,
}

/// Sizes and counts (`limits`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Bytes of a request line.
    pub request_line_bytes: usize,
    /// Fields of a request head.
    pub fields: usize,
    /// Client connections at once.
    pub connections: usize,
    /// Client connections at once of one client (an address, or an IPv6 network). `None`: an eighth of `connections`, once more than
    /// half of them are in use.
    pub connections_per_client: Option<usize>,
    /// Connections beyond those that are held for as long as it takes to tell them 503.
    pub overflow: usize,
    /// Longest request body that is read whole before an upstream connection is taken, in bytes.
    pub gathered_bytes: u64,
    /// Bytes of a body that are still to come when it pays that they go by unseen.
    pub splice_min_bytes: u64,
    /// Bytes of a request body; `None`: no limit.
    pub body_bytes: Option<u64>,
}

/// Timeouts of a client connection; `None`: off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionTimeouts {
    /// First byte to complete request head.
    pub head: Option<Duration>,
    /// Between two requests.
    pub keep_alive: Option<Duration>,
    /// Grace for what is in flight when the gateway stops.
    pub shutdown: Option<Duration>,
}

/// Timeouts of an exchange; a service may override each. `None`: off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeTimeouts {
    /// Resolving, connecting and the TLS handshake together.
    pub connect: Option<Duration>,
    /// Silence of the upstream before its head is complete; upload progress re-arms it.
    pub response: Option<Duration>,
    /// All of a request's body.
    pub body: Option<Duration>,
    /// No byte either way after the response head was passed on.
    pub idle: Option<Duration>,
    /// A pooled upstream connection.
    pub upstream_keep_alive: Option<Duration>,
    /// No byte either way in a tunnel.
    pub tunnel: Option<Duration>,
}

/// One row of the routes table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// `/users`; no trailing slash, except that the catch-all is `/`.
    pub route: String,
    /// `hosts`: `api.example.com` or `*.example.com`, in lower case, without a port; none: any host.
    pub hosts: Vec<String>,
    /// `methods`; none: any method.
    pub methods: Vec<String>,
    /// Where its requests go; at least one that is no backup.
    pub destinations: Vec<Destination>,
    /// `balance`: which of them is next.
    pub balance: Strategy,
    /// `healthCheck`; `None`: off.
    pub health_check: Option<HealthCheck>,
    /// `passiveHealth`; `None`: off.
    pub passive_health: Option<PassiveHealth>,
    /// `retries`: how often a request may go to another target.
    pub retries: u32,
    /// `stripPrefix`.
    pub strip_prefix: bool,
    /// `preserveHost`.
    pub preserve_host: bool,
    /// `encodedSlashes`: whether a `%2F` in a path goes on as it is; else the path is refused.
    pub keeps_encoded_slashes: bool,
    /// `rateLimit` of this service.
    pub rate_limit: ServiceRateLimit,
    /// Its timeouts, defaults filled in.
    pub timeouts: ExchangeTimeouts,
    /// Who is let in.
    pub auth: ServiceAuth,
}

/// `auth` and `scopes` of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceAuth {
    /// Indices into [`Settings::auth`]; a credential that is good for any of them will do. Empty: everybody is let in.
    pub providers: Vec<usize>,
    /// What the credential must be good for, all of it.
    pub scopes: Vec<String>,
    /// `"forwardCredentials": false`: the credential that let a request in does not go upstream.
    pub keeps_credentials: bool,
}

/// One of a service's targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Index into [`Settings::targets`].
    pub target: usize,
    /// Its path as written, perhaps empty: `/users/`.
    pub path: String,
    /// `weight` and `backup`.
    pub role: Role,
}

/// `healthCheck`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// What is asked for, as it stands.
    pub path: String,
    /// From one check to the next.
    pub interval: Duration,
    /// For an answer, connecting included.
    pub timeout: Duration,
    /// `rise` and `fall`.
    pub rule: Hysteresis,
    /// The statuses that are good.
    pub status: RangeInclusive<u16>,
}

impl Service {
    /// Whether there is anything to choose, or anybody to check: several targets, a name that may have several addresses, or
    /// health checks. `targets`: those of the settings.
    pub fn has_group(&self, targets: &[Target]) -> bool {
        let named = |destination: &Destination| {
            targets
                .get(destination.target)
                .is_some_and(|target| matches!(target.host, TargetHost::Name(_)))
        };
        self.destinations.len() > 1
            || self.health_check.is_some()
            || self.destinations.iter().any(named)
    }
}

/// Whose rate limit counts for a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceRateLimit {
    /// The top-level one.
    Inherited,
    /// None.
    Off,
    /// Its own, in a table of its own.
    Own(RateLimit),
}

/// Where upstream connections go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// A name to resolve or an address.
    pub host: TargetHost,
    /// TCP port.
    pub port: u16,
    /// Whether it is reached by TLS; the trust settings are `net`'s, under the same index.
    pub tls: bool,
    /// The `Host` field for it: host as written, and the port when it is not the scheme's default.
    pub authority: String,
}

/// The host of a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetHost {
    /// A DNS name.
    Name(String),
    /// A literal address.
    Address(IpAddr),
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetHost::Name(name) => f.write_str(name),
            TargetHost::Address(address) => address.fmt(f),
        }
    }
}
