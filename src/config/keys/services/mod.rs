//! `services`: routes and where they lead. Each key that is more than one value has the file of its
//! name.

pub(crate) mod auth;
pub(crate) mod balance;
mod conditions;
mod entrance;
mod fixed;
mod gate;
mod header_edits;
mod headers;
mod health_check;
pub(crate) mod limits;
mod matching;
mod passive_health;
mod policies;
pub(crate) mod route;
pub(crate) mod sticky;
mod targets;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::policy::rate::RateLimit;
use crate::proxy::settings::{
    Condition, Destination, ErrorPages, ExchangeTimeouts, Service, ServiceAuth, ServiceEntrance,
    ServiceRateLimit,
};

use crate::config::keys::listen::known::KnownListener;
use crate::config::keys::target_list::TargetList;
use crate::config::keys::upstream_tls::{TlsSettings, Trust};
use crate::config::keys::{self, error_pages, rate_limit, timeouts};
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::name;

use self::auth::Known;
pub(crate) use self::headers::TopHeaders;
use self::matching::RouteClaims;
pub(crate) use self::policies::Policies;
use self::sticky::Session;
use self::targets::Listed;
use crate::config::keys::rate_limit::Credentials;

/// Values of the top level that a service inherits.
pub(crate) struct Defaults<'d> {
    pub(crate) rate_limit: Vec<RateLimit>,
    pub(crate) timeouts: Arc<ExchangeTimeouts>,
    pub(crate) policies: Policies,
    /// Policies for the headers of responses.
    pub(crate) headers: TopHeaders<'d>,
    /// Listeners of the file.
    pub(crate) listeners: Vec<KnownListener<'d>>,
    pub(crate) error_pages: Option<Arc<ErrorPages>>,
    /// `limits.inFlight`: that of each service without its own.
    pub(crate) in_flight: Option<u32>,
    /// `sticky`.
    pub(crate) sticky: Option<Session>,
    /// Providers of the top-level `auth`.
    pub(crate) providers: &'d [Known],
    /// `forwardCredentials` and `forwardConsumer`.
    pub(crate) forwards: [bool; 2],
    /// Names of the top-level `stores`.
    pub(crate) stores: &'d [String],
    /// `requireAuth`: the providers, by their places in that list, of services without `auth`.
    pub(crate) required: Vec<usize>,
}

/// Services, and the targets that they have indices of.
#[derive(Default)]
pub(crate) struct Compiled {
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) targets: TargetList,
}

impl Compiled {
    fn into_parts(self) -> (Vec<Arc<Service>>, TargetList) {
        (self.services, self.targets)
    }
}

/// Name of a service, and the requests that it takes. `None` of the others: there is an error.
struct Place {
    name: Option<String>,
    route: Option<String>,
    hosts: Vec<String>,
    methods: Vec<String>,
    conditions: Option<Vec<Condition>>,
    entrance: Option<Box<ServiceEntrance>>,
}

struct Compiler<'c> {
    defaults: &'c Defaults<'c>,
    claims: RouteClaims,
    compiled: Compiled,
    trust: Trust<'c>,
}

/// Reads all services; without a place there are none. Returns them with their targets.
pub(crate) fn all(
    place: Option<&Located<'_>>,
    defaults: &Defaults<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> (Vec<Arc<Service>>, TargetList) {
    let compiled = place.map(|place| compile(place, defaults, source, report));
    compiled.unwrap_or_default().into_parts()
}

/// Reads all services of the list.
fn compile(
    place: &Located<'_>,
    defaults: &Defaults<'_>,
    source: &Source<'_>,
    report: &mut Report<'_>,
) -> Compiled {
    let items = place.list(report);
    if items.as_ref().is_some_and(Vec::is_empty) {
        place.fail(
            report,
            r#"is empty; add a service such as { "route": "/x", "target": "http://..." }"#,
        );
    }
    let mut compiler = Compiler {
        defaults,
        claims: RouteClaims::default(),
        compiled: Compiled::default(),
        trust: Trust::new(source),
    };
    for item in items.unwrap_or_default() {
        if let Some(object) = item.object(report) {
            compiler.service(&item, &object, report);
        }
    }
    compiler.compiled
}

impl Compiler<'_> {
    fn service(&mut self, place: &Located<'_>, object: &Object<'_>, report: &mut Report<'_>) {
        let Place {
            name,
            route,
            hosts,
            methods,
            conditions,
            entrance,
        } = self.place(place, object, report);
        let listed = targets::compile(place, object, report);
        let reply = fixed::compile(object, self.trust.source, report);
        let (in_flight, body) =
            limits::of_service(object.get("limits"), self.defaults.in_flight, report);
        let gate = gate::compile(object, body, report);
        let access_log = keys::access_log(object, report);
        let tls = self.tls(object, listed.as_deref(), report);
        let error_pages = self.error_pages(object, report);
        let Policies {
            balance,
            health_check,
            passive_health,
            retries,
            strip_prefix,
            preserve_host,
            keeps_encoded_slashes,
            edits,
        } = self.defaults.policies.of_service(object, report);
        let headers = headers::compile(object, self.defaults, report);
        let timeouts = timeouts::service(object.get("timeouts"), &self.defaults.timeouts, report);
        let auth = auth::compile(object, self.defaults, report);
        let rate_limit = self.rate_limit(object, &auth, report);
        let sticky = self.defaults.sticky.as_ref();
        let sticky = sticky::of_service((place, object), sticky, route.as_deref(), report);
        let (Some(route), Some(conditions), Some(listed), Some(reply)) =
            (route, conditions, listed, reply)
        else {
            return;
        };
        // What the top level says about targets is for services that have some.
        let has_targets = reply.is_none();
        let service = Service {
            name: name.map(String::into_boxed_str),
            route,
            hosts,
            methods,
            conditions,
            entrance,
            destinations: self.destinations(listed, &tls),
            health_check: health_check.filter(|_| has_targets),
            reply,
            gate,
            error_pages,
            access_log,
            balance,
            passive_health,
            retries,
            in_flight: in_flight.filter(|_| has_targets),
            sticky: sticky.filter(|_| has_targets),
            strip_prefix,
            preserve_host,
            keeps_encoded_slashes,
            edits: edits.of_service(auth.forwards_consumer),
            headers,
            rate_limit,
            timeouts,
            auth,
        };
        self.compiled.services.push(Arc::new(service));
    }

    /// Reads the rate limit of a service.
    fn rate_limit(
        &self,
        object: &Object<'_>,
        auth: &ServiceAuth,
        report: &mut Report<'_>,
    ) -> ServiceRateLimit {
        let top = (&self.defaults.rate_limit[..], self.defaults.stores);
        let credentials = match auth::takes_tokens(auth, self.defaults.providers) {
            _ if auth.providers.is_empty() => Credentials::Nothing,
            true => Credentials::Tokens,
            false => Credentials::NoTokens,
        };
        rate_limit::service(object.get("rateLimit"), top, credentials, report)
    }

    /// Reads the name of a service, and which requests it takes.
    fn place(
        &mut self,
        place: &Located<'_>,
        object: &Object<'_>,
        report: &mut Report<'_>,
    ) -> Place {
        let name = name::of(object, report);
        let hosts = object.get("hosts");
        let hosts = hosts.map_or_else(Vec::new, |place| matching::hosts(place, report));
        let methods = object.get("methods");
        let methods = methods.map_or_else(Vec::new, |place| matching::methods(place, report));
        let entrance = entrance::compile(object, &self.defaults.listeners, report);
        let on = entrance.as_ref();
        let on = on.map_or(&[][..], |entrance| &entrance.listeners);
        let conditions = conditions::compile(object.get("match"), report);
        // One with an error claims nothing: it would be a duplicate of the rest.
        let claimed = conditions.as_deref();
        let claimed = claimed.map(|conditions| ([&*hosts, &methods, on], conditions));
        let route = self.route(place, object, claimed, report);
        Place {
            name,
            route,
            hosts,
            methods,
            conditions,
            entrance,
        }
    }

    /// Reads `tls` of a service with these targets; `None`: they have an error.
    fn tls(
        &mut self,
        object: &Object<'_>,
        listed: Option<&[Listed]>,
        report: &mut Report<'_>,
    ) -> TlsSettings {
        let is_tls = listed.map(|listed| listed.iter().any(|one| one.target.tls));
        let tls = object.get("tls");
        tls.map(|place| self.trust.settings(place, is_tls, report))
            .unwrap_or_default()
    }

    /// Reads `errorPages`, which replace those of the top level.
    fn error_pages(
        &self,
        service: &Object<'_>,
        report: &mut Report<'_>,
    ) -> Option<Arc<ErrorPages>> {
        match service.get("errorPages") {
            None => self.defaults.error_pages.clone(),
            place => error_pages::compile(place, self.trust.source, report),
        }
    }

    /// Returns the targets of a service, which have these TLS settings.
    fn destinations(&mut self, listed: Vec<Listed>, tls: &TlsSettings) -> Vec<Destination> {
        let mut all = Vec::with_capacity(listed.len());
        // A collection would keep the storage of the list, which is larger.
        all.extend(listed.into_iter().map(|Listed { target, path, role }| {
            let tls = if target.tls {
                tls.clone()
            } else {
                TlsSettings::default()
            };
            Destination {
                target: self.compiled.targets.share(target, tls),
                path,
                role,
            }
        }));
        all
    }

    fn route(
        &mut self,
        service: &Located<'_>,
        object: &Object<'_>,
        claimed: Option<([&[String]; 3], &[Condition])>,
        report: &mut Report<'_>,
    ) -> Option<String> {
        let Some(place) = object.get("route") else {
            service.fail(
                report,
                r#""route" is missing; add the path prefix that leads here, such as "/users""#,
            );
            return None;
        };
        let text = place.text(report)?;
        let route = route::parse(text)
            .map_err(|message| place.fail(report, message))
            .ok()?
            .into_owned();
        if let Err(message) = self.claims.claim(&route, claimed?, &service.path) {
            place.fail(report, message);
            return None;
        }
        Some(route)
    }
}
