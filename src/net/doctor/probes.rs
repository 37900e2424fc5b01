//! Questions of the doctor, and the reason for each.

use std::sync::Arc;

use super::ask::Asked;
use crate::config::Config;
use crate::config::schema::units::show_duration;
use crate::limits::{INTROSPECTION_BYTES, JWKS_BYTES};
use crate::policy::auth::introspection;
use crate::policy::auth::provider::{Kind, Provider};
use crate::proxy::settings::{HealthCheck, Service, Settings, Store, Target};
use crate::sort;
use crate::time::Duration;

/// Question to a target or a store, and the reason for it.
pub(super) struct Probe<'a> {
    pub(super) index: usize,
    pub(super) target: &'a Target,
    /// Services, providers and stores that use the target.
    pub(super) users: Vec<String>,
    pub(super) purpose: Purpose<'a>,
    /// The services, unless it is for something else.
    services: Vec<&'a Arc<Service>>,
    /// Least `timeouts.response` of services that wait for the answer.
    time: Option<Duration>,
    /// The target is a listener of this gateway, and a service's.
    pub(super) is_own: bool,
}

/// Reason for a question.
pub(super) enum Purpose<'a> {
    /// Any answer is good.
    Any,
    Health(&'a HealthCheck),
    Provider(&'a Provider),
    /// The second value: requests of a limit wait for its answers (`exact`).
    Store(&'a Store, bool),
}

impl Probe<'_> {
    /// Returns true if both are questions of services to one target.
    pub(super) fn shares_target(&self, other: &Probe<'_>) -> bool {
        let is_of_service =
            |probe: &Probe<'_>| matches!(probe.purpose, Purpose::Any | Purpose::Health(_));
        self.index == other.index && is_of_service(self) && is_of_service(other)
    }

    /// Returns true if a store is asked.
    pub(super) fn is_store(&self) -> bool {
        matches!(self.purpose, Purpose::Store(..))
    }

    /// Returns the time in which the gateway wants the answer, and the key that sets it.
    fn within(&self) -> Option<(Duration, &'static str)> {
        match &self.purpose {
            Purpose::Health(check) => Some((check.timeout, "healthCheck.timeout")),
            _ => Some((self.time?, "timeouts.response")),
        }
    }

    /// Returns the users that do not wait for an answer that took so long, the problem, and what helps.
    #[inline(never)]
    pub(super) fn late(&self, took: std::time::Duration) -> Option<(Vec<String>, String, String)> {
        let (within, key) = self.within()?;
        let took = took.as_millis() as u64;
        if took <= within.as_millis() {
            return None;
        }
        let mut users = self.users.clone();
        let mut asked = "";
        if let Purpose::Any = self.purpose {
            asked = "OPTIONS * ";
            users.clear();
            for service in &self.services {
                let time = service.timeouts.response;
                if time.is_some_and(|time| took > time.as_millis()) {
                    users.push(service.label().to_owned());
                }
            }
        }
        let within = show_duration(within);
        let problem = format!("answers {asked}in {took} ms, {key} is {within}");
        let cure = format!("look into the log of the service there, or raise {key}");
        Some((users, problem, cure))
    }

    /// Returns what is said where no answer came in the time of a check: the gateway may wait longer, or less.
    pub(super) fn silent(&self) -> String {
        // Services without a health check may wait longer for other requests.
        let is_any = matches!(self.purpose, Purpose::Any);
        let within = self.within().filter(|_| !is_any);
        let within = within.map(|(time, key)| format!("; {key} is {}", show_duration(time)));
        let within = within.unwrap_or_default();
        format!("accepts a connection, and gives no answer in 3 s{within}")
    }
}

/// Returns what tells the health checks of services apart; empty without one.
fn difference(check: Option<&HealthCheck>) -> String {
    let Some(check) = check else {
        return String::new();
    };
    let host = check.host.as_deref().unwrap_or_default();
    let (good, within) = (&check.status, check.timeout.as_millis());
    format!(
        "{} {host} {} {} {within}",
        check.path,
        good.start(),
        good.end()
    )
}

/// Returns the questions to each target that a service uses, each provider that is asked over the network, and
/// each store. Services whose health checks of a target are the same share a question, those without one, too.
#[inline(never)]
pub(super) fn probes(config: &Config) -> Vec<Probe<'_>> {
    let settings = &config.settings;
    let used = settings.services.iter().flat_map(|service| {
        let targets = service.destinations.iter().map(|to| to.target);
        let mut targets = targets.collect::<Vec<_>>();
        sort::unique(&mut targets);
        let asked = difference(service.health_check.as_deref());
        targets
            .into_iter()
            .map(move |target| ((target, asked.clone()), service))
    });
    let services = sort::group(used);
    let services = services.into_iter().map(|((index, _), services)| {
        let users = services.iter().map(|service| service.label().to_owned());
        let check = services
            .first()
            .and_then(|service| service.health_check.as_deref());
        let purpose = check.map_or(Purpose::Any, Purpose::Health);
        (index, users.collect(), purpose, services)
    });
    let providers = settings.auth.iter().filter_map(|provider| {
        let users = vec![format!("auth.{}", provider.name)];
        let index = provider.kind.endpoint()?.target;
        Some((index, users, Purpose::Provider(provider), Vec::new()))
    });
    let own = settings.services.iter();
    let own = own.flat_map(|service| service.own_limits());
    let exact = own.chain(&settings.rate_limit).filter(|limit| limit.exact);
    let exact = exact.filter_map(|limit| Some(limit.store?.store));
    let exact = exact.collect::<Vec<_>>();
    let stores = settings.stores.iter().enumerate().map(|(place, store)| {
        let users = vec![format!("stores.{}", store.name)];
        let is_waited_for = exact.contains(&place);
        let purpose = Purpose::Store(store, is_waited_for);
        (store.target, users, purpose, Vec::new())
    });
    let all = services.chain(providers).chain(stores);
    let probes = all.filter_map(|(index, users, purpose, services)| {
        let target = settings.targets.get(index)?;
        Some(Probe {
            index,
            target,
            users,
            time: match &purpose {
                Purpose::Provider(provider) => provider_time(settings, provider),
                _ => {
                    let times = services.iter();
                    times.filter_map(|service| service.timeouts.response).min()
                }
            },
            purpose,
            is_own: !services.is_empty() && config.is_own(target),
            services,
        })
    });
    probes.collect()
}

/// Returns the least time for which a request waits for a provider. The time for key sets is no setting.
fn provider_time(settings: &Settings, provider: &Provider) -> Option<Duration> {
    if matches!(provider.kind, Kind::Jwt { .. }) {
        return None;
    }
    let all = &settings.auth;
    let place = all.iter().position(|other| other.name == provider.name)?;
    let services = settings.services.iter();
    let users = services.filter(|service| service.auth.providers.contains(&place));
    users.filter_map(|service| service.timeouts.response).min()
}

/// Returns the most bytes of the body that a provider is asked for.
fn most(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Jwt { .. } => Some(JWKS_BYTES),
        Kind::Introspection { .. } => Some(INTROSPECTION_BYTES),
        Kind::ApiKey { .. } | Kind::Basic { .. } | Kind::Forward { .. } => None,
    }
}

/// Returns what is asked. `OPTIONS *` asks about the server as a whole, and changes nothing
/// (RFC 9110 9.3.7).
pub(super) fn question(probe: &Probe<'_>) -> Asked {
    let mut body = None;
    let mut form = Vec::new();
    let mut secret: &[u8] = b"";
    let (method, path) = match &probe.purpose {
        Purpose::Any => ("OPTIONS", "*"),
        Purpose::Health(check) => ("GET", check.path.as_str()),
        Purpose::Store(store, _) => {
            return Asked::Store(store.account.clone(), store.prefix.clone());
        }
        Purpose::Provider(provider) => {
            body = most(&provider.kind);
            let path = provider.kind.endpoint().map_or("/", |to| &to.path);
            match &provider.kind {
                Kind::Introspection { credentials, .. } => {
                    form = introspection::form(b"tollgate-doctor");
                    secret = credentials.as_ref().map_or(b"", |secret| secret.bytes());
                    ("POST", path)
                }
                Kind::Jwt { .. }
                | Kind::ApiKey { .. }
                | Kind::Basic { .. }
                | Kind::Forward { .. } => ("GET", path),
            }
        }
    };
    let host = match &probe.purpose {
        Purpose::Health(check) => check.host.as_ref(),
        Purpose::Any | Purpose::Store(..) | Purpose::Provider(_) => None,
    };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         User-Agent: tollgate-doctor\r\nConnection: close\r\n",
        host.unwrap_or(&probe.target.authority)
    )
    .into_bytes();
    if !secret.is_empty() {
        head.extend_from_slice(&[b"Authorization: ", secret, b"\r\n"].concat());
    }
    if !form.is_empty() {
        let length = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            form.len()
        );
        head.extend_from_slice(length.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(&form);
    Asked::Http(head, body)
}
