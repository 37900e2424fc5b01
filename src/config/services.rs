//! `services`: routes and where they lead.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::policy::rate::RateLimit;
use crate::proxy::settings::{Destination, ExchangeTimeouts, Service, Target};
use crate::transport::identity;

use super::balance::{self, Listed};
use super::compile::Surroundings;
use super::matching::{self, Claims};
use super::raw::{Object, Place, Report};
use super::{UpstreamTls, bounds, host, route, target};

const KEYS: [&str; 14] = [
    "route",
    "hosts",
    "methods",
    "target",
    "targets",
    "balance",
    "healthCheck",
    "passiveHealth",
    "retries",
    "stripPrefix",
    "preserveHost",
    "tls",
    "rateLimit",
    "timeouts",
];
const TLS_KEYS: [&str; 2] = ["ca", "serverName"];

/// What a service inherits.
pub(super) struct Defaults {
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) timeouts: ExchangeTimeouts,
}

/// The services and what they point to.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) services: Vec<Service>,
    pub(super) targets: Vec<Target>,
    pub(super) upstream_tls: Vec<Option<UpstreamTls>>,
}

/// Services of one authority and one TLS setting share a target.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    address: (bool, String, u16),
    ca: Option<PathBuf>,
    server_name: Option<String>,
}

/// `tls` as written; the file it names was read.
#[derive(Clone, Default)]
struct TlsSettings {
    ca: Option<PathBuf>,
    roots: Vec<Vec<u8>>,
    server_name: Option<String>,
}

struct Compiler<'c> {
    defaults: &'c Defaults,
    around: &'c Surroundings<'c>,
    claims: Claims,
    known: HashMap<Identity, usize>,
    compiled: Compiled,
    /// Each file is read once.
    certificates: HashMap<PathBuf, Result<Vec<Vec<u8>>, String>>,
}

/// All services of the list.
pub(super) fn compile(
    place: &Place<'_>,
    defaults: &Defaults,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Compiled {
    let items = place.list(report, r#"a list such as [{ "route": "/x", "target": "http://..." }]"#);
    if items.as_ref().is_some_and(Vec::is_empty) {
        place.fail(report, r#"is empty; add a service such as { "route": "/x", "target": "http://..." }"#);
    }
    let mut compiler = Compiler {
        defaults,
        around,
        claims: Claims::default(),
        known: HashMap::new(),
        compiled: Compiled::default(),
        certificates: HashMap::new(),
    };
    for item in items.unwrap_or_default() {
        if let Some(object) = item.object(report, "an object with \"route\" and \"target\"", &KEYS) {
            compiler.service(&item, &object, report);
        }
    }
    compiler.compiled
}

impl Compiler<'_> {
    fn service(&mut self, place: &Place<'_>, object: &Object<'_>, report: &mut Report<'_>) {
        let hosts = object.get("hosts").map(|place| matching::hosts(place, report)).unwrap_or_default();
        let methods = object.get("methods").map(|place| matching::methods(place, report)).unwrap_or_default();
        let route = self.route(place, object, (&hosts, &methods), report);
        let listed = balance::targets(place, object, report);
        let is_tls = listed.as_ref().map(|listed| listed.iter().any(|one| one.target.tls));
        let tls = object.get("tls").map(|place| self.tls(place, is_tls, report)).unwrap_or_default();
        let balance = balance::strategy(object.get("balance"), report);
        let health_check = balance::health_check(object.get("healthCheck"), report);
        let passive_health = balance::passive_health(object.get("passiveHealth"), report);
        let retries = balance::retries(object.get("retries"), report);
        let strip_prefix = object.flag("stripPrefix", true, report);
        let preserve_host = object.flag("preserveHost", false, report);
        let top = self.defaults.rate_limit.as_ref();
        let rate_limit = bounds::service_rate_limit(object.get("rateLimit"), top, report);
        let timeouts = bounds::service_timeouts(object.get("timeouts"), self.defaults.timeouts, report);
        let (Some(route), Some(listed)) = (route, listed) else { return };
        let destinations = listed.into_iter().map(|Listed { target, path, role }| {
            let tls = if target.tls { tls.clone() } else { TlsSettings::default() };
            Destination { target: self.share(target, tls), path, role }
        });
        let service = Service {
            route,
            hosts,
            methods,
            destinations: destinations.collect(),
            balance,
            health_check,
            passive_health,
            retries,
            strip_prefix,
            preserve_host,
            rate_limit,
            timeouts,
        };
        self.compiled.services.push(service);
    }

    fn route(
        &mut self,
        service: &Place<'_>,
        object: &Object<'_>,
        (hosts, methods): (&[String], &[String]),
        report: &mut Report<'_>,
    ) -> Option<String> {
        let Some(place) = object.get("route") else {
            service.fail(report, r#""route" is missing; add the path prefix that leads here, such as "/users""#);
            return None;
        };
        let text = place.text(report, r#"a path prefix such as "/users""#)?;
        let route = route::parse(text).map_err(|message| place.fail(report, message)).ok()?.to_owned();
        if let Err(message) = self.claims.claim(&route, hosts, methods, &service.path) {
            place.fail(report, message);
            return None;
        }
        Some(route)
    }

    /// `is_tls`: whether any target is https, when it is known.
    fn tls(&mut self, place: &Place<'_>, is_tls: Option<bool>, report: &mut Report<'_>) -> TlsSettings {
        let mut settings = TlsSettings::default();
        let Some(object) = place.object(report, "an object", &TLS_KEYS) else { return settings };
        // Written-out defaults do no harm to an http target.
        let ca = object.get("ca").filter(|place| !place.is_null());
        let name = object.get("serverName").filter(|place| !place.is_null());
        if is_tls == Some(false) && (ca.is_some() || name.is_some()) {
            place.fail(report, "the target is http, which has no TLS; write https:// in the target, or remove this");
            return settings;
        }
        if let Some(place) = ca
            && let Some((path, roots)) = self.roots(place, report)
        {
            (settings.ca, settings.roots) = (Some(path), roots);
        }
        settings.server_name = name.and_then(|place| server_name(place, report));
        settings
    }

    fn roots(&mut self, place: &Place<'_>, report: &mut Report<'_>) -> Option<(PathBuf, Vec<Vec<u8>>)> {
        let text = place.text(report, "the path of a PEM file, or null")?;
        if text.is_empty() {
            place.fail(report, "is empty; name a PEM file, or write null");
            return None;
        }
        let path = self.around.folder.join(text);
        let loaded = self.certificates.entry(path.clone()).or_insert_with(|| {
            let bytes = (self.around.read)(&path).map_err(|error| format!("cannot be read: {error}"))?;
            identity::certificates_from_pem(&bytes).map_err(|error| error.to_string())
        });
        match loaded {
            Ok(roots) => Some((path, roots.clone())),
            Err(message) => {
                // One line, whatever the file is called.
                place.fail(report, format!("{:?}: {message}", path.display().to_string()));
                None
            }
        }
    }

    /// The index of the target.
    fn share(&mut self, target: Target, tls: TlsSettings) -> usize {
        let TlsSettings { ca, roots, server_name } = tls;
        let lower = server_name.as_ref().map(|name| name.to_ascii_lowercase());
        let identity = Identity { address: target::identity(&target), ca, server_name: lower };
        let Compiled { targets, upstream_tls, .. } = &mut self.compiled;
        *self.known.entry(identity).or_insert_with(|| {
            upstream_tls.push(target.tls.then_some(UpstreamTls { roots, server_name }));
            targets.push(target);
            targets.len() - 1
        })
    }
}

/// An address has no brackets here: it is what a certificate names.
fn server_name(place: &Place<'_>, report: &mut Report<'_>) -> Option<String> {
    let expected = "a host name such as \"backend.example\" or an address";
    let text = place.text(report, &format!("{expected}, or null"))?;
    let is_name = !text.starts_with('[') && host::parse(text).is_ok();
    if !is_name && text.parse::<std::net::IpAddr>().is_err() {
        place.fail(report, format!("must be {expected}, without scheme and port"));
        return None;
    }
    Some(text.to_owned())
}
